//! Passwords at a broker that runs, and what SIGHUP changes about it.

use crate::harness::{Directory, Running, forgetful, whimbrel};
use crate::raw::{
    ACCEPTED, BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED, answer, connect, dial_as, text,
};
use std::io::Write;
use std::process::Stdio;

/// A directory with a configuration, and users in a file.
struct Home {
    directory: Directory,
    users: String,
    config: String,
}

impl Home {
    fn new(name: &str, users: &[(&str, &str)]) -> Self {
        let directory = Directory::new(name);
        let path = directory.path().join("users.txt");
        let mut home = Self {
            users: path.to_str().unwrap().to_owned(),
            config: String::new(),
            directory,
        };
        home.configure("never", "");
        for (user, password) in users {
            home.set(user, password);
        }
        home
    }

    fn configure(&mut self, anonymous: &str, more: &str) {
        self.config = self.directory.write(
            "whimbrel.toml",
            &format!(
                "[[listener]]\nurl = \"tcp://127.0.0.1:0\"\nallow_anonymous = \"{anonymous}\"\n\
                 [authentication]\npassword_file = \"{}\"\n{more}",
                self.users
            ),
        );
    }

    fn set(&self, user: &str, password: &str) {
        let mut child = whimbrel(&["passwd", "set", &self.users, user])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(password.as_bytes()).unwrap();
        drop(input);
        assert!(child.wait().unwrap().success());
    }

    fn start(&self) -> (Running, String) {
        let mut broker = Running::start(forgetful(&["-c", &self.config]));
        let address = broker.address();
        let address = address.rsplit('/').next().unwrap().to_owned();
        (broker, address)
    }
}

#[test]
fn users_are_let_in_with_their_password() {
    let home = Home::new("auth-users", &[("alice", "secret")]);
    let (_broker, address) = home.start();
    for (user, password, expected) in [
        ("alice", "secret", ACCEPTED),
        ("alice", "guess", BAD_USER_NAME_OR_PASSWORD),
        ("mallory", "secret", BAD_USER_NAME_OR_PASSWORD),
        ("", "", NOT_AUTHORIZED),
    ] {
        assert_eq!(answer(&address, user, password), expected, "{user}");
    }
}

/// Its password is looked at when it has said all it had to say, and left: it need not
/// wait for the answer (MQTT 5.0, 3.1.4).
#[test]
fn who_does_not_wait_for_the_answer_is_heard() {
    let home = Home::new("auth-in-passing", &[("alice", "secret")]);
    let (_broker, address) = home.start();
    let (mut listener, _) = connect(&address, "alice", "secret");
    assert_eq!(listener.subscribe("news"), 0);
    let mut passing = dial_as(&address, "passing", "alice", "secret");
    passing.send(0x30, &[&text(b"news")[..], b"\0rain"].concat());
    passing.send(0xE0, &[]);
    drop(passing);
    let (_, message) = listener.next();
    assert!(message.ends_with(b"rain"), "{message:?}");
}

#[cfg(feature = "tools")]
#[test]
fn load_comes_from_a_user() {
    let home = Home::new("auth-bench", &[("alice", "secret")]);
    let (_broker, address) = home.start();
    let (_, port) = address.rsplit_once(':').unwrap();
    for (password, complaint) in [("secret", ""), ("guess", "the broker refuses a client")] {
        let mut command = whimbrel(&["bench", "pairs", "-u", "alice", "-p", port]);
        command.args(["--clients", "1", "--count", "100"]);
        command.env("WHIMBREL_PASSWORD", password);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), complaint.is_empty(), "{said}");
        assert!(said.contains(complaint), "{said}");
    }
}

/// Class 16, secrets in logs: at no level is a password, or anything made from it, written.
#[test]
fn class_16_no_secret_is_written_to_the_log() {
    let home = Home::new("auth-log", &[("alice", "correct-horse")]);
    let mut command = forgetful(&["-c", &home.config]);
    command.env("WHIMBREL_LOG_LEVEL", "trace");
    let mut broker = Running::start(command);
    let address = broker.address();
    let address = address.rsplit('/').next().unwrap();
    answer(address, "alice", "correct-horse");
    answer(address, "alice", "battery-staple");
    answer(address, "mallory\u{1b}[2J", "battery-staple");
    broker.wait_for("mallory");
    broker.signal("TERM");
    broker.wait();
    let said = broker.said.join("\n");
    assert!(said.contains("unknown user or wrong password"), "{said}");
    let hash = std::fs::read_to_string(&home.users).unwrap();
    let hash = hash.trim_end().rsplit('$').next().unwrap();
    for secret in ["correct-horse", "battery-staple", hash, "\u{1b}[2J"] {
        assert!(!said.contains(secret), "{secret:?} in {said}");
    }
}

#[cfg(unix)]
mod reload {
    use super::*;

    #[test]
    fn a_changed_password_file_is_taken_over_and_the_revoked_are_disconnected() {
        let home = Home::new(
            "auth-reload",
            &[("alice", "secret"), ("bob", "b"), ("eve", "e")],
        );
        let (mut broker, address) = home.start();
        let (mut alice, _) = connect(&address, "alice", "secret");
        let (mut eve, _) = connect(&address, "eve", "e");
        home.set("carol", "c");
        home.set("eve", "another");
        assert_eq!(answer(&address, "carol", "c"), BAD_USER_NAME_OR_PASSWORD);
        broker.signal("HUP");
        let line = broker.wait_for("reloaded");
        assert!(line.contains("disconnected_clients=1"), "{line}");
        assert_eq!(answer(&address, "carol", "c"), ACCEPTED);
        assert_eq!(answer(&address, "bob", "b"), ACCEPTED);
        assert_eq!(answer(&address, "eve", "e"), BAD_USER_NAME_OR_PASSWORD);
        eve.is_sent_away(NOT_AUTHORIZED);
        alice.is_there();
    }

    #[test]
    fn what_a_listener_says_about_anonymous_clients_is_taken_over() {
        let mut home = Home::new("auth-anonymous", &[("alice", "secret")]);
        let (mut broker, address) = home.start();
        assert_eq!(answer(&address, "", ""), NOT_AUTHORIZED);
        home.configure(
            "always",
            "[limits]\nconnections_maximum = 7\n[log]\nformat = \"json\"\n",
        );
        broker.signal("HUP");
        let line = broker.wait_for("taken over by a restart only");
        assert!(line.contains("limits.connections_maximum"), "{line}");
        assert!(line.contains("log.format"), "{line}");
        assert!(!line.contains("listener"), "{line}");
        assert_eq!(answer(&address, "", ""), ACCEPTED);
    }

    /// Who has lost a group has lost the rights that go with it.
    #[test]
    fn a_user_who_has_lost_a_group_is_disconnected() {
        let home = Home::new("auth-groups", &[("alice", "secret"), ("bob", "b")]);
        let users = std::fs::read_to_string(&home.users).unwrap();
        let with_group = |groups: &str| {
            let lines = users.lines().map(|line| match line.starts_with("alice:") {
                true => format!("{line}:{groups}\n"),
                false => format!("{line}\n"),
            });
            std::fs::write(&home.users, lines.collect::<String>()).unwrap();
        };
        with_group("staff,operators");
        let (mut broker, address) = home.start();
        let (mut alice, _) = connect(&address, "alice", "secret");
        let (mut bob, _) = connect(&address, "bob", "b");
        with_group("staff");
        broker.signal("HUP");
        let line = broker.wait_for("reloaded");
        assert!(line.contains("disconnected_clients=1"), "{line}");
        alice.is_sent_away(NOT_AUTHORIZED);
        bob.is_there();
        // What has not changed disconnects nobody.
        let (mut alice, _) = connect(&address, "alice", "secret");
        broker.signal("HUP");
        let line = broker.wait_for("reloaded");
        assert!(!line.contains("disconnected_clients"), "{line}");
        alice.is_there();
    }

    #[test]
    fn anonymous_clients_go_when_they_may_no_longer_come() {
        let mut home = Home::new("auth-anonymous-live", &[("alice", "secret")]);
        home.configure("always", "");
        let (mut broker, address) = home.start();
        let (mut nobody, _) = connect(&address, "", "");
        let (mut alice, _) = connect(&address, "alice", "secret");
        home.configure("loopback-only", "");
        broker.signal("HUP");
        broker.wait_for("reloaded");
        nobody.is_there();
        home.configure("never", "");
        broker.signal("HUP");
        broker.wait_for("reloaded");
        nobody.is_sent_away(NOT_AUTHORIZED);
        alice.is_there();
    }

    /// For `pump-7`, until the year 2100, of the first of the secrets.
    #[cfg(feature = "tokio")]
    const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJwdW1wLTciLCJleHAiOjQxMDI0NDQ4MDB9.4u5Q-wC_kJS749m0fdkF-Z2q7RHLxIEh27zxKMcyyOY";
    #[cfg(feature = "tokio")]
    const SECRETS: [&str; 2] = [
        "0123456789abcdef0123456789abcdef",
        "another-secret-of-thirty-two-bytes",
    ];

    #[cfg(feature = "tokio")]
    #[test]
    fn a_token_ends_with_the_key_that_it_was_checked_with() {
        let mut home = Home::new("auth-token", &[("alice", "secret")]);
        let secret = home.directory.write("jwt.secret", SECRETS[0]);
        let more = format!("jwt_secret_file = \"{secret}\"\n");
        home.configure("never", &more);
        let (mut broker, address) = home.start();
        let (mut pump, code) = connect(&address, "x", TOKEN);
        assert_eq!(code, ACCEPTED);
        let (mut alice, _) = connect(&address, "alice", "secret");
        broker.signal("HUP");
        broker.wait_for("reloaded");
        pump.is_there();
        home.directory.write("jwt.secret", SECRETS[1]);
        broker.signal("HUP");
        broker.wait_for("reloaded");
        pump.is_sent_away(NOT_AUTHORIZED);
        alice.is_there();
        assert_eq!(answer(&address, "x", TOKEN), BAD_USER_NAME_OR_PASSWORD);
        // So does one that was for nobody in particular, when it has to be for somebody.
        home.directory.write("jwt.secret", SECRETS[0]);
        broker.signal("HUP");
        broker.wait_for("reloaded");
        let (mut pump, code) = connect(&address, "x", TOKEN);
        assert_eq!(code, ACCEPTED);
        home.configure("never", &format!("{more}jwt_audience = \"mqtt\"\n"));
        broker.signal("HUP");
        broker.wait_for("reloaded");
        pump.is_sent_away(NOT_AUTHORIZED);
        alice.is_there();
    }

    /// Class 8: what was good stays when what comes is not.
    #[test]
    fn class_08_what_cannot_be_read_changes_nothing_and_is_told() {
        let mut home = Home::new("auth-kept", &[("alice", "secret")]);
        let (mut broker, address) = home.start();
        let good = std::fs::read_to_string(&home.users).unwrap();
        for (text, expected) in [
            (String::new(), "there are no users in it"),
            (
                format!("{good}mallory:x\n"),
                "users.txt:2: user \"mallory\"",
            ),
            (
                format!("mallory\n{good}"),
                "users.txt:1: expected NAME:HASH",
            ),
        ] {
            std::fs::write(&home.users, text).unwrap();
            broker.signal("HUP");
            let line = broker.wait_for(expected);
            assert!(
                line.contains("whimbrel.toml:5:17: authentication.password_file"),
                "{line}"
            );
            broker.wait_for("not reloaded");
            assert_eq!(answer(&address, "alice", "secret"), ACCEPTED);
            assert_eq!(answer(&address, "mallory", "x"), BAD_USER_NAME_OR_PASSWORD);
            assert_eq!(answer(&address, "", ""), NOT_AUTHORIZED);
        }
        std::fs::remove_file(&home.users).unwrap();
        broker.signal("HUP");
        broker.wait_for("there is no such file");
        assert_eq!(answer(&address, "alice", "secret"), ACCEPTED);
        assert_eq!(answer(&address, "", ""), NOT_AUTHORIZED);

        // Neither is a configuration in which another part is wrong: not even its good parts.
        std::fs::write(&home.users, good).unwrap();
        home.configure("always", "jwt_issuer = \"me\"\n");
        broker.signal("HUP");
        broker.wait_for("authentication.jwt_issuer: there are no keys for tokens");
        assert_eq!(answer(&address, "", ""), NOT_AUTHORIZED);
        home.configure("always", "[limits]\nfanout_step = 0\n");
        broker.signal("HUP");
        broker.wait_for("not reloaded");
        assert_eq!(answer(&address, "", ""), NOT_AUTHORIZED);
    }

    /// Class 8, CVE-2017-7652: a reload without file descriptors made a broker forget its rules.
    #[cfg(target_os = "linux")]
    #[test]
    fn class_08_a_reload_without_descriptors_keeps_what_holds() {
        let home = Home::new("auth-emfile", &[("alice", "secret")]);
        let (mut broker, address) = home.start();
        assert_eq!(answer(&address, "alice", "secret"), ACCEPTED);
        // One client is in and stays; not a single descriptor more can be had.
        let (_alice, _) = connect(&address, "alice", "secret");
        broker.limit_descriptors(3);
        broker.signal("HUP");
        broker.wait_for("Too many open files");
        broker.wait_for("not reloaded");
        broker.limit_descriptors(1_024);
        assert_eq!(answer(&address, "", ""), NOT_AUTHORIZED);
        assert_eq!(
            answer(&address, "alice", "guess"),
            BAD_USER_NAME_OR_PASSWORD
        );
        assert_eq!(answer(&address, "alice", "secret"), ACCEPTED);
    }
}

/// A token opens a connection, and its end is the end of that.
#[cfg(feature = "tokio")]
#[test]
fn a_token_lets_in_until_it_ends() {
    use base64ct::{Base64UrlUnpadded, Encoding};
    use ring::hmac;
    use std::time::{SystemTime, UNIX_EPOCH};
    let secret = "0123456789abcdef0123456789abcdef";
    let mut home = Home::new("auth-token-end", &[("alice", "secret")]);
    let file = home.directory.write("jwt.secret", secret);
    let rules = home.directory.write(
        "access.toml",
        "[[rule]]\nallow = \"publish\"\ntopics = \"%u/#\"\ngroups = \"pumps\"\n",
    );
    home.configure(
        "never",
        &format!(
            "jwt_secret_file = {file:?}\njwt_groups_claim = \"groups\"\njwt_leeway_s = 0\n\
             [access]\nfile = {rules:?}\n"
        ),
    );
    let (_broker, address) = home.start();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let token = |ends_s: u64, secret: &str| {
        let claims = format!(r#"{{"sub":"pump-7","groups":["pumps"],"exp":{ends_s}}}"#);
        let parts = [r#"{"alg":"HS256"}"#, &claims];
        let parts = parts.map(|part| Base64UrlUnpadded::encode_string(part.as_bytes()));
        let signed = parts.join(".");
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signature = hmac::sign(&key, signed.as_bytes());
        format!(
            "{signed}.{}",
            Base64UrlUnpadded::encode_string(signature.as_ref())
        )
    };
    for bad in [
        token(now.as_secs() + 60, "another-secret-of-thirty-two-bytes"),
        token(now.as_secs() - 1, secret),
    ] {
        assert_eq!(answer(&address, "x", &bad), BAD_USER_NAME_OR_PASSWORD);
    }
    let (mut pump, code) = connect(&address, "x", &token(now.as_secs() + 3, secret));
    assert_eq!(code, ACCEPTED);
    assert!(pump.publish("pump-7/pressure") < 0x80);
    assert_eq!(pump.publish("pump-8/pressure"), NOT_AUTHORIZED);
    // Maximum connect time.
    pump.is_sent_away(0xA0);
}

/// What people get wrong about authentication, and what `check` and `serve` say: the place of the
/// setting, the file and line, and what to do.
#[test]
fn check_finds_what_people_get_wrong_about_authentication() {
    let directory = Directory::new("auth-mistakes");
    let hash = "$6$LxRr16jLTSnHmK9R$J5FRsvJK/8nwpUo3o+nl5pJVMutPCVFgWYjPVfzilkPX87QTjJ0fhpT9Wo4TMa8XHG5Jn9E9ad3Emc2jcLlsUw==";
    let file = |name: &str, text: &str| directory.write(name, text);
    let missing = directory.path().join("missing").display().to_string();
    for (settings, expected) in [
        (
            format!("password_file = \"{missing}\""),
            "missing: there is no such file; `whimbrel passwd set",
        ),
        (
            format!("password_file = \"{}\"", directory.path().display()),
            "it is not a regular file",
        ),
        (
            format!("password_file = \"{}\"", file("empty", "")),
            "empty: there are no users in it, so nobody could log in; add one with `whimbrel passwd",
        ),
        (
            format!(
                "password_file = \"{}\"",
                file("no-hash", &format!("a:{hash}\nbob:\n"))
            ),
            "no-hash:2: user \"bob\": there is no password hash; set one with `whimbrel passwd set`",
        ),
        (
            format!("password_file = \"{}\"", file("plain", "bob:hunter2\n")),
            "plain:1: user \"bob\": this is not a password hash, perhaps it is the password itself",
        ),
        (
            format!(
                "password_file = \"{}\"",
                file("twice", &format!("a:{hash}\na:{hash}\n"))
            ),
            "twice:2: user \"a\" is in line 1 already; remove one of the two lines",
        ),
        (
            format!(
                "password_file = \"{}\"",
                file("cut", "a:$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ\n")
            ),
            "cut:1: user \"a\": the password hash does not have its parts",
        ),
        (
            format!(
                "jwt_key_file = \"{}\"",
                file("private", "-----BEGIN PRIVATE KEY-----\n")
            ),
            "this is a private key, which only belongs to whoever makes the tokens; `openssl pkey -pubout`",
        ),
        (
            format!(
                "jwt_key_file = \"{}\"",
                file("certificate", "-----BEGIN CERTIFICATE-----\n")
            ),
            "this is a certificate; `openssl x509 -noout -pubkey` gives its public key",
        ),
        (
            format!("jwt_secret_file = \"{}\"", file("short", "secret\n")),
            "the secret has 6 bytes; it needs 32 at least, such as `openssl rand -hex 32` makes",
        ),
        (
            "jwt_audience = \"mqtt\"".to_owned(),
            "there are no keys for tokens; name them as jwt_key_file or jwt_secret_file",
        ),
        #[cfg(feature = "tokio")]
        (
            "http_url = \"id.example.org/mqtt\"".to_owned(),
            "should begin with \"https://\" or \"http://\"",
        ),
        #[cfg(feature = "tokio")]
        (
            "http_ca_file = \"ca.pem\"".to_owned(),
            "there is no service to ask; name it as http_url",
        ),
        (
            "password_files = \"users.txt\"".to_owned(),
            "did you mean `password_file`?",
        ),
    ] {
        let config = file("test.toml", &format!("[authentication]\n{settings}\n"));
        let checked = whimbrel(&["check", &config]).output().unwrap();
        let said = String::from_utf8(checked.stderr.clone()).unwrap();
        assert_eq!(checked.status.code(), Some(2), "{settings}: {said}");
        assert!(said.starts_with(&format!("{config}:2:")), "{said}");
        assert!(said.contains(expected), "{said}");
        let served = whimbrel(&["-c", &config]).output().unwrap();
        assert_eq!(served.status.code(), Some(2));
        assert_eq!(served.stderr, checked.stderr);
    }
}

/// The light program asks no service.
const SERVICE: &str = if cfg!(feature = "tokio") {
    "http_url = \"http://192.0.2.1/\"\n"
} else {
    ""
};

/// What works and should be changed all the same.
#[test]
fn check_notes_what_is_open_weak_or_readable_by_others() {
    let directory = Directory::new("auth-notes");
    let users = directory.write(
        "users.txt",
        "a:$6$LxRr16jLTSnHmK9R$J5FRsvJK/8nwpUo3o+nl5pJVMutPCVFgWYjPVfzilkPX87QTjJ0fhpT9Wo4TMa8XHG5Jn9E9ad3Emc2jcLlsUw==\n",
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&users, mode).unwrap();
    }
    let config = directory.write(
        "test.toml",
        &format!(
            "[[listener]]\nurl = \"tcp://0.0.0.0:1883\"\nallow_anonymous = \"always\"\n\
             [[listener]]\nurl = \"tcp://0.0.0.0:1884\"\n\
             [authentication]\npassword_file = \"{users}\"\n{SERVICE}"
        ),
    );
    let checked = whimbrel(&["check", &config]).output().unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success(), "{said}");
    for expected in [
        "tcp://0.0.0.0:1883 (open to everyone who can reach it)",
        "tcp://0.0.0.0:1884 (open to this machine, and to others who show who they are)",
        "users.txt (1 users, 0 of them with keys for SCRAM)",
        #[cfg(feature = "tokio")]
        "asks the service http://192.0.2.1/",
        "note: tcp://0.0.0.0:1883: everyone who can reach it is let in without showing anything",
        "1 of the hashes can be guessed quickly by whoever gets hold of them, such as that of \"a\"",
        #[cfg(feature = "tokio")]
        "passwords are sent to another machine where others can read them; use https",
        #[cfg(unix)]
        "every user of this machine can read it; do `chmod 640",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let config = directory.write("nobody.toml", "[[listener]]\nallow_anonymous = \"never\"\n");
    let checked = whimbrel(&["check", &config]).output().unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(said.contains("every client will be refused"), "{said}");
}
