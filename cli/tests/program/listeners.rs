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
        found: ":4:7: tls://127.0.0.1:8883: ",
        remedy: "is not the key of",
    },
    Mistake {
        name: "certificate and key exchanged",
        text: "[[listener]]\nurl = \"tls://127.0.0.1\"\ncertificate = [\"{good.key}\"]\nkey = [\"{good.crt}\"]\n",
        code: 2,
        found: "good.key has no certificate",
        remedy: "belongs into `key`",
    },
    Mistake {
        name: "a certificate where nothing is encrypted",
        text: "[[listener]]\nurl = \"tcp://127.0.0.1\"\ncertificate = [\"{good.crt}\"]\nkey = [\"{good.key}\"]\n",
        code: 2,
        found: ":3:15: certificate does nothing",
        remedy: "tcp has no TLS",
    },
    Mistake {
        name: "versions of what is not spoken",
        text: "[[listener]]\nurl = \"ws://127.0.0.1\"\ntls_versions = [\"1.3\"]\n",
        code: 2,
        found: ":3:16: tls_versions does nothing",
        remedy: "ws has no TLS",
    },
    Mistake {
        name: "permissions of no file",
        text: "[[listener]]\nurl = \"tcp://127.0.0.1\"\nunix_mode = \"600\"\n",
        code: 2,
        found: ":3:13: unix_mode does nothing",
        remedy: "tcp has no file",
    },
    Mistake {
        name: "a certificate that is not there",
        text: "[[listener]]\nurl = \"tls://127.0.0.1\"\ncertificate = [\"{none.crt}\"]\nkey = [\"{good.key}\"]\n",
        code: 2,
        found: ":3:15: tls://127.0.0.1:8883: cannot read",
        remedy: "none.crt",
    },
    Mistake {
        name: "a list of revoked certificates by nobody",
        text: "[[listener]]\nurl = \"tls://127.0.0.1\"\ncrl = [\"{revoked.pem}\"]\ncertificate = [\"{good.crt}\"]\nkey = [\"{good.key}\"]\n",
        code: 2,
        found: ":3:7: tls://127.0.0.1:8883: a `crl`",
        remedy: "needs `client_ca`",
    },
    Mistake {
        name: "a budget for one large packet",
        text: "[protocol]\nmaximum_packet_size = \"16 MiB\"\n[limits]\nmemory_budget_bytes = \"1 MiB\"\n",
        code: 0,
        found: ":2:23: protocol.maximum_packet_size = \"16 MiB\"",
        remedy: "limits.memory_budget_bytes = \"1 MiB\"",
    },
    Mistake {
        name: "queues above the budget",
        text: "[limits]\nmemory_budget_bytes = \"1 MiB\"\nqueue_bytes_total_maximum = \"2 MiB\"\n[storage]\nbackend = \"memory\"\n",
        code: 0,
        found: ":3:29: limits.queue_bytes_total_maximum = \"2 MiB\"",
        remedy: "limits.memory_budget_bytes = \"1 MiB\"",
    },
    Mistake {
        name: "what waits in memory above the budget",
        text: "[limits]\nmemory_budget_bytes = \"1 MiB\"\nqueued_payload_memory_bytes = \"2 MiB\"\n",
        code: 0,
        found: ":3:31: limits.queued_payload_memory_bytes = \"2 MiB\"",
        remedy: "what waits is left to the log alone",
    },
    Mistake {
        name: "one queue above all queues",
        text: "[session]\nqueue_bytes_maximum = \"2 MiB\"\n[limits]\nqueue_bytes_total_maximum = \"1 MiB\"\n",
        code: 0,
        found: ":2:23: session.queue_bytes_maximum = \"2 MiB\"",
        remedy: "limits.queue_bytes_total_maximum = \"1 MiB\"",
    },
    Mistake {
        name: "a packet above one queue",
        text: "[protocol]\nmaximum_packet_size = \"32 MiB\"\n",
        code: 0,
        found: ":2:23: protocol.maximum_packet_size = \"32 MiB\"",
        remedy: "above session.queue_bytes_maximum = \"16 MiB\": the largest messages can never wait",
    },
    Mistake {
        name: "a queue below one packet",
        text: "[session]\nqueue_bytes_maximum = \"1 MiB\"\n",
        code: 0,
        found: ":2:23: protocol.maximum_packet_size = \"1088 KiB\"",
        remedy: "above session.queue_bytes_maximum = \"1 MiB\"",
    },
    Mistake {
        name: "more connections than sessions",
        text: "[limits]\nconnections_maximum = 200\nsessions_maximum = 100\n",
        code: 0,
        found: "limits.connections_maximum = 200",
        remedy: "above limits.sessions_maximum = 100",
    },
    Mistake {
        name: "two keep alives",
        text: "[protocol]\nserver_keep_alive_s = 600\nkeep_alive_maximum_s = 60\n",
        code: 0,
        found: "protocol.server_keep_alive_s = 600",
        remedy: "above protocol.keep_alive_maximum_s = 60",
    },
    Mistake {
        name: "everybody with a certificate, which is not everybody",
        text: "[[listener]]\nurl = \"tls://0.0.0.0\"\nallow_anonymous = \"always\"\nclient_ca = [\"{authority.crt}\"]\ncertificate = [\"{good.crt}\"]\nkey = [\"{good.key}\"]\n",
        code: 0,
        found: "listens at tls://0.0.0.0:8883",
        remedy: "open to everyone with a certificate",
    },
    Mistake {
        name: "two protocols at one port",
        text: "[[listener]]\nurl = \"tcp://0.0.0.0:1883\"\n[[listener]]\nurl = \"ws://127.0.0.1:1883\"\n",
        code: 2,
        found: "is at the same place as tcp://0.0.0.0:1883",
        remedy: "give one of them another port",
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
    Mistake {
        name: "users by certificates that nobody is asked for",
        text: "[[listener]]\nurl = \"tls://0.0.0.0\"\ncertificate_user = \"common-name\"\ncertificate = [\"{good.crt}\"]\nkey = [\"{good.key}\"]\n",
        code: 2,
        found: "no client shows a certificate without client_ca",
        remedy: "name its files",
    },
    Mistake {
        name: "certificates that name nobody",
        text: "[[listener]]\nurl = \"tls://0.0.0.0\"\nallow_anonymous = \"never\"\nclient_ca = [\"{authority.crt}\"]\ncertificate = [\"{good.crt}\"]\nkey = [\"{good.key}\"]\n",
        code: 0,
        found: "every client will be refused",
        remedy: "write certificate_user = \"common-name\"",
    },
    Mistake {
        name: "tenants by users that nobody checks",
        text: "[[listener]]\nurl = \"tcp://0.0.0.0\"\nallow_anonymous = \"always\"\ntenant = \"from:user\"\n",
        code: 0,
        found: "its tenant is to be \"from:user\" and nobody is there to check",
        remedy: "write password_file",
    },
    Mistake {
        name: "tenants by users that nobody checks, in the summary",
        text: "[[listener]]\nurl = \"tcp://0.0.0.0\"\nallow_anonymous = \"always\"\ntenant = \"from:user\"\n",
        code: 0,
        found: "open to nobody",
        remedy: "see below",
    },
    Mistake {
        name: "proxies that everybody is",
        text: "[[listener]]\nurl = \"tcp://0.0.0.0\"\nproxy_from = [\"10.0.0.1\", \"0.0.0.0/0\"]\n",
        code: 0,
        found: "proxy_from believes everybody (0.0.0.0/0)",
        remedy: "name the addresses of your proxies alone",
    },
    Mistake {
        name: "forwarders that everybody is",
        text: "[[listener]]\nurl = \"ws://0.0.0.0\"\nforwarded_for_from = [\"::/0\"]\n",
        code: 0,
        found: "forwarded_for_from believes everybody (::/0)",
        remedy: "name the addresses of your proxies alone",
    },
    Mistake {
        name: "a list of revoked certificates by somebody else",
        text: "[[listener]]\nurl = \"tls://127.0.0.1\"\nclient_ca = [\"{good.crt}\"]\ncrl = [\"{revoked.pem}\"]\ncertificate = [\"{good.crt}\"]\nkey = [\"{good.key}\"]\n",
        code: 2,
        found: "would revoke nothing",
        remedy: "name the certificate of the one that has",
    },
    Mistake {
        name: "a list of revoked certificates that is late",
        text: "[[listener]]\nurl = \"tls://127.0.0.1\"\nclient_ca = [\"{authority.crt}\"]\ncrl = [\"{revoked.pem}\"]\ncertificate = [\"{good.crt}\"]\nkey = [\"{good.key}\"]\n",
        code: 0,
        found: "should have been replaced",
        remedy: "fetch the new one, and reload",
    },
    Mistake {
        name: "the configuration of mosquitto",
        text: "# mosquitto.conf\nlistener 1883\nallow_anonymous true\n",
        code: 2,
        found: ":2:1: this is a mosquitto.conf",
        remedy: "whimbrel check --print-defaults",
    },
    Mistake {
        name: "a rule that nobody gets to",
        text: "[access]\nfile = \"{odd.toml}\"\n",
        code: 0,
        found: "odd.toml:4: this rule decides nothing",
        remedy: "the one in line 1 comes first",
    },
    Mistake {
        name: "a placeholder that is none",
        text: "[access]\nfile = \"{odd.toml}\"\n",
        code: 0,
        found: "odd.toml:4: `%i` in \"a/%i\" stands for itself",
        remedy: "%c (client identifier)",
    },
    Mistake {
        name: "a ban that is over",
        text: "[access]\nban_file = \"{odd-bans.toml}\"\n",
        code: 0,
        found: "odd-bans.toml:1: this ban is over",
        remedy: "take it away",
    },
    Mistake {
        name: "a ban of everybody",
        text: "[access]\nban_file = \"{odd-bans.toml}\"\n",
        code: 0,
        found: "odd-bans.toml:4",
        remedy: "keeps everybody out",
    },
    Mistake {
        name: "a directory that is a file",
        text: "[storage]\ndirectory = \"{rules.toml}/data\"\n",
        code: 2,
        found: "rules.toml is no directory",
        remedy: "name another",
    },
];

/// What only Unix has.
#[cfg(unix)]
const UNIX_MISTAKES: &[Mistake] = &[
    Mistake {
        name: "a socket in no directory",
        text: "[[listener]]\nurl = \"unix://{nowhere/whimbrel.sock}\"\n",
        code: 2,
        found: "there is no directory",
        remedy: "make it, or name another",
    },
    Mistake {
        name: "a socket with a long path",
        text: "[[listener]]\nurl = \"unix://{0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789}\"\n",
        code: 2,
        found: "systems take about 100",
        remedy: "name a shorter one",
    },
    Mistake {
        name: "a socket of nobody",
        text: "[[listener]]\nurl = \"unix://{whimbrel.sock}\"\nunix_owner = \"no-such-user\"\n",
        code: 2,
        found: "unix_owner: \"no-such-user\" is not in /etc/passwd",
        remedy: "write its number",
    },
    Mistake {
        name: "a socket for everybody",
        text: "[[listener]]\nurl = \"unix://{whimbrel.sock}\"\nunix_mode = \"777\"\n",
        code: 0,
        found: "every user of this machine is let in",
        remedy: "unix_mode = \"660\"",
    },
];

#[cfg(not(unix))]
const UNIX_MISTAKES: &[Mistake] = &[];

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
    authority.write(
        "odd.toml",
        "[[rule]]\nallow = \"all\"\ntopics = \"#\"\n[[rule]]\ndeny = \"publish\"\ntopics = \"a/%i\"\n",
    );
    authority.write(
        "odd-bans.toml",
        "[[ban]]\nclients = \"a\"\nuntil = 2020-01-01T00:00:00Z\n[[ban]]\nusers = \"*\"\n",
    );
    let _ = authority.revoke_until(&[], 2025);
    let users = authority.path("users.txt");
    let set = whimbrel(&["passwd", "set", &users, "ada", "--visible-password", "1815"]).output();
    assert!(set.unwrap().status.success());
    for mistake in MISTAKES.iter().chain(UNIX_MISTAKES) {
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

/// What a start cannot mend has the code that keeps a supervisor from trying again, and leaves
/// nothing behind.
#[test]
fn serve_finds_what_check_finds_of_listeners_before_it_makes_anything() {
    let directory = Directory::new("serve-listeners");
    let text =
        "[[listener]]\nurl = \"tls://127.0.0.1:0\"\ncertificate = \"no.crt\"\nkey = \"no.key\"\n";
    let file = directory.write("whimbrel.toml", text);
    let short = "tls://127.0.0.1:0?certificate=no.crt&key=no.key";
    let cases: &[(&[&str], &str)] = &[
        (
            &["-c", &file],
            "whimbrel.toml:3:15: tls://127.0.0.1:0: cannot read no.crt",
        ),
        (
            &["-l", short],
            "--listen: tls://127.0.0.1:0: cannot read no.crt",
        ),
        #[cfg(unix)]
        (
            &["-l", "unix://nowhere/a.sock"],
            "--listen: unix://nowhere/a.sock: there is no directory nowhere",
        ),
    ];
    for (arguments, expected) in cases {
        let output = whimbrel(arguments)
            .current_dir(directory.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(expected), "{said}");
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(!directory.path().join("whimbrel-data").exists());
    }
}

#[test]
fn what_is_wrong_with_a_certificate_is_told_with_a_remedy() {
    use crate::harness::{Running, forgetful};

    let authority = Authority::new("wrong");
    let other = Authority::new("wrong-other");
    for (pair, ca, remedy) in [
        (
            authority.server_as_authority("as-authority", &["localhost"]),
            authority.file(),
            "basicConstraints=critical,CA:FALSE",
        ),
        (
            authority.server("server", &["localhost"]),
            other.file(),
            "name its authority with --ca",
        ),
    ] {
        let listener = format!(
            "tls://127.0.0.1:0?certificate={}&key={}",
            pair.certificate, pair.key
        );
        let mut broker = Running::start(forgetful(&["-l", &listener]));
        let address = broker.address_of("tls");
        let (_, port) = address.rsplit_once(':').unwrap();
        let url = format!("mqtts://localhost:{port}");
        let arguments = ["pub", "-h", &url, "--ca", &ca, "-t", "t", "-m", "x"];
        let output = whimbrel(&arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(remedy), "{said}");
        assert_eq!(output.status.code(), Some(1), "{said}");
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
    // A mistake elsewhere does not hide this one, nor this one a mistake elsewhere.
    let text = std::fs::read_to_string(&config).unwrap();
    let more = "[authentication]\npassword_file = \"/nowhere/users\"\n[log]\ncolour = true\n";
    directory.write("whimbrel.toml", &format!("{text}{more}"));
    broker.signal("HUP");
    for told in [
        "password_file: /nowhere/users",
        "`colour`",
        "tls://",
        "not reloaded",
    ] {
        broker.wait_for(told);
    }
    directory.write("whimbrel.toml", &text);
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

/// From the certificate to what may be done: an alternative name is the user, and the user stands
/// in a rule.
#[test]
fn an_alternative_name_is_the_user_whom_rules_are_about() {
    use crate::harness::{Running, forgetful};

    let authority = Authority::new("alternative-user");
    let directory = Directory::new("alternative-user");
    let server = authority.server("server", &["localhost"]);
    let rules = directory.write(
        "access.toml",
        "[[rule]]\nallow = \"publish\"\ntopics = \"pumps/%u/#\"\n\
         users = [\"pump-7.example.org\", \"192.0.2.7\"]\n",
    );
    let config = directory.write(
        "whimbrel.toml",
        &format!(
            "[[listener]]\nurl = \"tls://127.0.0.1:0\"\ncertificate = [{:?}]\nkey = [{:?}]\n\
             client_ca = [{:?}]\ncertificate_user = \"alternative-name\"\n\
             [access]\nfile = {rules:?}\n",
            server.certificate,
            server.key,
            authority.file()
        ),
    );
    let mut broker = Running::start(forgetful(&["-c", &config]));
    let address = broker.address_of("tls");
    let (_, port) = address.rsplit_once(':').unwrap();
    let url = format!("mqtts://localhost:{port}");
    for (names, topic, is_allowed) in [
        (
            &["pump-7.example.org"][..],
            "pumps/pump-7.example.org/x",
            true,
        ),
        // The first one counts.
        (
            &["pump-7.example.org", "pump-8.example.org"],
            "pumps/pump-7.example.org/x",
            true,
        ),
        (
            &["pump-8.example.org", "pump-7.example.org"],
            "pumps/pump-7.example.org/x",
            false,
        ),
        (&["192.0.2.7"], "pumps/192.0.2.7/x", true),
        (&["192.0.2.8"], "pumps/192.0.2.7/x", false),
        (&[], "pumps/device/x", false),
    ] {
        let pair = authority.client_of_names("device", "device", names);
        let ca = authority.file();
        let (cert, key) = (&*pair.certificate, &*pair.key);
        let arguments = ["pub", "-h", &url, "--ca", &ca, "--cert", cert, "--key", key];
        let said = ["-V", "5", "-q", "1", "-t", topic, "-m", "1"];
        let output = whimbrel(&[&arguments[..], &said].concat())
            .output()
            .unwrap();
        assert_eq!(output.status.success(), is_allowed, "{names:?}: {output:?}");
    }
}

/// The file of a Unix socket is whose the configuration says, from the moment that it is there.
#[cfg(unix)]
#[test]
fn a_socket_has_its_owner_and_mode() {
    use crate::harness::{Running, forgetful};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let directory = Directory::new("socket-owner");
    let own = std::fs::metadata(directory.path()).unwrap();
    // Only root may give a file away; to anybody else it can be given that has it.
    let (user, group) = match own.uid() {
        0 => (65_534, 65_533),
        user => (user, own.gid()),
    };
    // Relative, as its path has to be short.
    let config = directory.write(
        "whimbrel.toml",
        &format!(
            "[[listener]]\nurl = \"unix://whimbrel.sock\"\nunix_owner = \"{user}:{group}\"\n\
             unix_mode = \"620\"\n"
        ),
    );
    let mut command = forgetful(&["-c", &config]);
    command.current_dir(directory.path());
    let mut broker = Running::start(command);
    broker.wait_for("listening");
    let socket = directory.path().join("whimbrel.sock");
    let metadata = std::fs::metadata(&socket).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (user, group));
    assert_eq!(metadata.permissions().mode() & 0o777, 0o620);
    broker.signal("TERM");
    assert!(broker.wait().success());
    assert!(!socket.exists());
}
