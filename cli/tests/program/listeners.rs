//! Listeners that others can reach: what goes wrong with them and is found by `whimbrel check`, and
//! certificates that are replaced under a running broker.

use crate::harness::{Directory, whimbrel};
use whimbrel_tests::authority::Authority;

/// What `whimbrel check` is to find, how it ends, and what it says: what is wrong, and the remedy.
struct Mistake {
    name: &'static str,
    /// The configuration; words in braces stand for files.
    text: &'static str,
    code: i32,
    found: &'static str,
    remedy: &'static str,
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        name: "TLS without a certificate",
        text: "[[listener]]\nurl = \"tls://127.0.0.1\"\n",
        code: 2,
        found: "needs a certificate",
        remedy: "set `certificate` and `key`",
    },
    Mistake {
        name: "the key of another certificate",
        text: "[[listener]]\nurl = \"tls://127.0.0.1\"\ncertificate = [\"{good.crt}\"]\nkey = [\"{other.key}\"]\n",
        code: 2,
        found: "is not the key of",
        remedy: "good.crt",
    },
    Mistake {
        name: "a certificate that has expired",
        text: "[[listener]]\nurl = \"wss://127.0.0.1\"\ncertificate = [\"{expired.crt}\"]\nkey = [\"{expired.key}\"]\n",
        code: 2,
        found: "expired.crt expired",
        remedy: "renew it",
    },
    Mistake {
        name: "client certificates where nothing is encrypted",
        text: "[[listener]]\nurl = \"tcp://127.0.0.1\"\nclient_ca = [\"{authority.crt}\"]\n",
        code: 2,
        found: "client_ca does nothing",
        remedy: "tcp has no TLS",
    },
    Mistake {
        name: "two listeners at one place",
        text: "[[listener]]\nurl = \"tcp://127.0.0.1\"\n[[listener]]\nurl = \"mqtt://127.0.0.1:1883\"\n",
        code: 2,
        found: "listened at twice",
        remedy: "name it once",
    },
    Mistake {
        name: "a password file that is not there",
        text: "[authentication]\npassword_file = \"{nowhere.txt}\"\n",
        code: 2,
        found: "nowhere.txt",
        remedy: "whimbrel passwd set",
    },
    Mistake {
        name: "rules that are not there",
        text: "[access]\nfile = \"{nowhere.toml}\"\n",
        code: 2,
        found: "nowhere.toml cannot be read",
        remedy: "`access.file`",
    },
    Mistake {
        name: "rules about a listener that there is not",
        text: "[access]\nfile = \"{rules.toml}\"\n",
        code: 2,
        found: "unknown listener `inside`",
        remedy: "there are tcp://127.0.0.1:1883",
    },
    Mistake {
        name: "a ban of nobody",
        text: "[access]\nban_file = \"{bans.toml}\"\n",
        code: 2,
        found: "this ban names nobody",
        remedy: "write users, clients or addresses",
    },
    Mistake {
        name: "open to the network, and nobody outside can get in",
        text: "[[listener]]\nurl = \"tcp://0.0.0.0\"\n",
        code: 0,
        found: "clients from other machines will be refused",
        remedy: "write password_file",
    },
    Mistake {
        name: "open to everybody",
        text: "[[listener]]\nurl = \"tcp://0.0.0.0\"\nallow_anonymous = \"always\"\n",
        code: 0,
        found: "may read and write all",
        remedy: "write password_file",
    },
    Mistake {
        name: "open to nobody",
        text: "[[listener]]\nurl = \"tcp://127.0.0.1\"\nallow_anonymous = \"never\"\n",
        code: 0,
        found: "every client will be refused",
        remedy: "write password_file",
    },
    Mistake {
        name: "passwords that everybody on the way can read",
        text: "[[listener]]\nurl = \"tcp://0.0.0.0\"\n[authentication]\npassword_file = \"{users.txt}\"\n",
        code: 0,
        found: "can read their passwords",
        remedy: "listen at tls://",
    },
];

#[test]
fn check_finds_typical_mistakes_and_says_what_to_do() {
    let authority = Authority::new("check-mistakes");
    let directory = Directory::new("typical-mistakes");
    for file in ["good", "other"] {
        let _ = authority.server(file, &["localhost"]);
    }
    let _ = authority.server_in("expired", &["localhost"], (2020, 2021));
    authority.write(
        "rules.toml",
        "[[rule]]\nallow = \"all\"\ntopics = \"#\"\nlisteners = \"inside\"\n",
    );
    authority.write("bans.toml", "[[ban]]\nuntil = 2099-01-01T00:00:00Z\n");
    let users = authority.path("users.txt");
    let set = whimbrel(&["passwd", "set", &users, "ada", "--visible-password", "1815"]).output();
    assert!(set.unwrap().status.success());
    for mistake in MISTAKES {
        let name = mistake.name;
        let text = mistake
            .text
            .replace('{', &authority.path(""))
            .replace('}', "");
        let file = directory.write("whimbrel.toml", &text);
        let output = whimbrel(&["check", &file]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(output.status.code(), Some(mistake.code), "{name}: {said}");
        let line = said.lines().find(|line| line.contains(mistake.found));
        let line = line.unwrap_or_else(|| panic!("{name}: {said}"));
        assert!(line.contains(mistake.remedy), "{name}: {line}");
    }
}

/// A client that was here before the certificate was replaced stays, and hears one that came after.
#[cfg(unix)]
#[test]
fn certificates_are_replaced_by_sighup_while_clients_stay() {
    use crate::harness::{Running, forgetful};
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let authority = Authority::new("sighup");
    let directory = Directory::new("sighup-certificates");
    let pair = authority.server("server", &["localhost"]);
    let config = directory.write(
        "whimbrel.toml",
        &format!(
            "[[listener]]\nurl = \"tls://127.0.0.1:0\"\ncertificate = [{:?}]\nkey = [{:?}]\n",
            pair.certificate, pair.key
        ),
    );
    let mut broker = Running::start(forgetful(&["-c", &config]));
    let address = broker.address_of("tls");
    let (_, port) = address.rsplit_once(':').unwrap();
    let url = format!("mqtts://localhost:{port}");
    let ca = authority.file();

    let arguments = ["sub", "-h", &url, "--ca", &ca, "-t", "t", "-C", "2"];
    let mut subscriber = whimbrel(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut heard = BufReader::new(subscriber.stdout.take().unwrap()).lines();
    let say = |ca: &str, what: &str| {
        let arguments = ["pub", "-h", &url, "--ca", ca, "-t", "t", "-m", what, "-r"];
        whimbrel(&arguments).output().unwrap().status.success()
    };
    assert!(say(&ca, "before"));
    assert_eq!(heard.next().unwrap().unwrap(), "before");

    // Of another authority, so that nobody can be shown the old one by mistake.
    let renewed = Authority::new("sighup-renewed");
    let other = renewed.server("server", &["localhost"]);
    std::fs::copy(&other.certificate, &pair.certificate).unwrap();
    broker.signal("HUP");
    broker.wait_for("not reloaded");
    assert!(say(&ca, "before"), "half of a pair changes nothing");
    assert_eq!(heard.next().unwrap().unwrap(), "before");
    assert!(subscriber.wait().unwrap().success());

    let arguments = ["sub", "-h", &url, "--ca", &ca, "-t", "t", "-C", "2"];
    let mut subscriber = whimbrel(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut heard = BufReader::new(subscriber.stdout.take().unwrap()).lines();
    assert_eq!(heard.next().unwrap().unwrap(), "before", "it is retained");
    std::fs::copy(&other.key, &pair.key).unwrap();
    broker.signal("HUP");
    broker.wait_for("reloaded");
    assert!(!say(&ca, "unheard"), "the old certificate is gone");
    assert!(say(&renewed.file(), "after"));
    assert_eq!(heard.next().unwrap().unwrap(), "after");
    assert!(subscriber.wait().unwrap().success());
}
