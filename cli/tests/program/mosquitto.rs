//! The files of a mosquitto, as they are, at a broker that runs: passwords that `mosquitto_passwd`
//! of mosquitto 2.0.11 has written, and rules in the manner of the example that comes with it.

use crate::harness::{Directory, Running, forgetful};
use crate::raw::{ACCEPTED, BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED, connect_as};

/// `roger` has the password `secret`, and `sensor` has `pass word:1`.
pub(crate) const PASSWORDS: &str = include_str!("mosquitto/passwd");
const RULES: &str = include_str!("mosquitto/acl");

#[test]
fn passwords_and_rules_of_mosquitto_work_together_unchanged() {
    let directory = Directory::new("mosquitto");
    let users = directory.write("passwd", PASSWORDS);
    let rules = directory.write("acl", RULES);
    let config = directory.write(
        "whimbrel.toml",
        &format!(
            "[[listener]]\nurl = \"tcp://127.0.0.1:0\"\n\
             [authentication]\npassword_file = {users:?}\n[access]\nfile = {rules:?}\n"
        ),
    );
    let mut broker = Running::start(forgetful(&["-c", &config]));
    let address = broker.address();
    for (user, password) in [("roger", "guess"), ("sensor", "secret"), ("eve", "secret")] {
        let (_, code) = connect_as(&address, "c", user, password);
        assert_eq!(code, BAD_USER_NAME_OR_PASSWORD, "{user}");
    }
    // What each may publish and subscribe to, and what not.
    for (user, password, publishes, not, subscribes, nor) in [
        (
            "roger",
            "secret",
            &["foo/bar", "cmnd/x", "sensor/roger/t"][..],
            &["cmnd/secret", "public/x", "sensor/sensor/t"][..],
            &["foo/bar", "sensor/roger/#"][..],
            &["cmnd/x", "public/#"][..],
        ),
        (
            "sensor",
            "pass word:1",
            &["sensor/sensor/t"],
            &["cmnd/x", "sensor/roger/t", "foo/bar"],
            &["cmnd/#", "sensor/sensor/+"],
            &["foo/bar", "$SYS/broker/uptime"],
        ),
        (
            "",
            "",
            &[],
            &["public/x", "foo/bar", "cmnd/x"],
            &["public/#", "$SYS/#"],
            &["foo/bar"],
        ),
    ] {
        // Each with an identifier of its own: while the one before is still here, it is only his.
        let (mut client, code) = connect_as(&address, &format!("of-{user}"), user, password);
        assert_eq!(code, ACCEPTED, "{user}");
        for topic in publishes {
            assert!(client.publish(topic) < 0x80, "{user} publishes {topic}");
        }
        for topic in not {
            assert_eq!(client.publish(topic), NOT_AUTHORIZED, "{user}: {topic}");
        }
        for filter in subscribes {
            assert_eq!(client.subscribe(filter), 0, "{user} subscribes {filter}");
        }
        for filter in nor {
            assert_eq!(client.subscribe(filter), NOT_AUTHORIZED, "{user}: {filter}");
        }
    }
}
