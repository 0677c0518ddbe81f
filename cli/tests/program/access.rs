//! Access rules: asked about with `acl test`, and found wrong before anything starts.

use crate::harness::{Directory, whimbrel};

const RULES: &str = "\
[[rule]]
allow = [\"subscribe\", \"receive\"]
topics = \"meters/%c/#\"

[[rule]]
deny = \"publish\"
topics = \"meters/closed\"
users = \"alice\"

[[rule]]
allow = \"publish\"
topics = \"meters/#\"
addresses = \"10.0.0.0/8\"
listeners = \"tcp://127.0.0.1:1883\"
";

#[test]
fn acl_test_says_by_which_rule() {
    let directory = Directory::new("acl-test");
    let file = directory.write("access.toml", RULES);
    for (line, expected, code) in [
        ("--client m1 subscribe meters/m1/#", "access.toml:1\n", 0),
        (
            "--client m1 subscribe meters/#",
            "denied: not everything",
            1,
        ),
        (
            "--client m1 receive meters/m2/x",
            "denied: no rule allows it",
            1,
        ),
        (
            "--user alice --address 10.1.1.1 publish meters/closed",
            "denied by the rule at",
            1,
        ),
        ("--user alice publish meters/closed", "access.toml:5\n", 1),
        (
            "--address 10.1.1.1 publish meters/closed",
            "access.toml:10\n",
            0,
        ),
        (
            "--address 11.1.1.1 publish meters/closed",
            "no rule allows it",
            1,
        ),
        ("publish meters/#", "nothing is published to a wildcard", 2),
        ("read a", "publish, subscribe or receive", 2),
        (
            "--listener elsewhere publish a",
            "there are tcp://127.0.0.1:1883",
            2,
        ),
    ] {
        let mut arguments = vec!["acl", "test", "--rules", &file];
        arguments.extend(line.split(' '));
        let output = whimbrel(&arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(expected), "{line}: {said}");
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
    }
}

/// Files with rules, users and bans, and the configuration that names them; and the rules.
fn configured(directory: &Directory) -> (String, String) {
    let rules = directory.write(
        "access.toml",
        "[[rule]]\nallow = \"all\"\ntopics = [\"d/%c/#\", \"$SYS/#\"]\n\
         [[rule]]\nallow = \"receive\"\ntopics = \"d/heard/#\"\n\
         [[rule]]\nallow = \"publish\"\ntopics = \"d/boss/staff\"\ngroups = \"staff\"\n\
         [[rule]]\nallow = \"publish\"\ntopics = \"d/boss/by-name\"\nusers = \"pump.example.org\"\n",
    );
    let users = directory.path().join("users.txt").display().to_string();
    for (user, groups) in [("alice", "staff"), ("bob", "")] {
        let mut arguments = vec!["passwd", "set", &users, user, "--visible-password", "x"];
        if !groups.is_empty() {
            arguments.extend(["--groups", groups]);
        }
        assert!(whimbrel(&arguments).output().unwrap().status.success());
    }
    let bans = directory.write(
        "bans.toml",
        "[[ban]]\nusers = \"mallory\"\n[[ban]]\naddresses = \"192.0.2.0/24\"\n\
         [[ban]]\nclients = \"old\"\nuntil = 2020-01-01T00:00:00Z\n",
    );
    let config = directory.write(
        "whimbrel.toml",
        &format!(
            "[[listener]]\nurl = \"tcp://127.0.0.1\"\nname = \"plain\"\n\
             [[listener]]\nurl = \"tls://127.0.0.1:2\"\nname = \"named\"\n\
             client_ca = [\"devices.crt\"]\n\
             certificate_user = \"alternative-name\"\n\
             [[listener]]\nurl = \"tcp://127.0.0.1:3\"\nname = \"tenants\"\n\
             tenant = \"from:user-domain\"\n\
             [authentication]\npassword_file = {users:?}\n\
             [access]\nfile = {rules:?}\nban_file = {bans:?}\n\
             [topics]\nrequired_prefix = \"d\"\nsession_prefix = \"me\"\n\
             session_prefix_means = \"d/%c\"\n"
        ),
    );
    (config, rules)
}

/// A broker with this configuration would say the same.
#[test]
fn acl_test_knows_what_else_the_configuration_says() {
    let directory = Directory::new("acl-config");
    let (config, rules) = configured(&directory);
    for (line, expected, code) in [
        ("--client c publish d/c/x", "allowed by the rule at", 0),
        (
            "--client c publish me/x",
            "me/x means d/c/x\npublish d/c/x: allowed",
            0,
        ),
        (
            "--client c publish elsewhere",
            "it is not below topics.required_prefix",
            1,
        ),
        (
            "--client c subscribe #",
            "not below topics.required_prefix",
            1,
        ),
        (
            "--client a/b publish d/x",
            "it may not connect: it is called nothing that could stand in a topic",
            1,
        ),
        // What comes needs both.
        ("--client c receive d/heard/x", "no rule allows it", 1),
        (
            "--user alice --client boss publish d/boss/staff",
            "access",
            0,
        ),
        ("--user alice --client c publish d/boss/staff", ":7\n", 0),
        ("--user bob --client c publish d/boss/staff", "no rule", 1),
        (
            "--user bob --group staff --client c publish d/boss/staff",
            ":7\n",
            0,
        ),
        (
            "--user mallory --client c publish d/c/x",
            "a ban names it",
            1,
        ),
        (
            "--address 192.0.2.9 --client c publish d/c/x",
            "a ban names it",
            1,
        ),
        ("--client old publish d/old/x", "allowed", 0),
        (
            "--listener named --certificate pump --alternative-name pump.example.org --client c \
             publish d/boss/by-name",
            ":11\n",
            0,
        ),
        (
            "--listener plain --alternative-name pump.example.org --client c publish d/boss/by-name",
            "no rule",
            1,
        ),
        (
            "--listener tenants --user alice --client c publish d/c/x",
            "it may not connect: it has no tenant",
            1,
        ),
        (
            "--listener tenants --user a@b --client c publish d/c/x",
            "allowed",
            0,
        ),
    ] {
        let mut arguments = vec!["acl", "test", "-c", &config];
        arguments.extend(line.split_whitespace());
        let output = whimbrel(&arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(expected), "{line}: {said}");
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
    }
    // Without a prefix, the broker's own word is still its own.
    let system = ["acl", "test", "--rules", &rules, "publish", "$SYS/x"];
    let output = whimbrel(&system).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("the broker's own word"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    // No rules are no mistake where the configuration says so.
    let open = directory.write("open.toml", "");
    let output = whimbrel(&["acl", "test", "-c", &open, "publish", "x"]).output();
    let said = String::from_utf8(output.unwrap().stdout).unwrap();
    assert_eq!(said, "publish x: allowed: there are no rules\n");
    let output = whimbrel(&["acl", "test", "publish", "x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn rules_that_are_missing_or_wrong_are_a_mistake_and_not_no_rules() {
    let directory = Directory::new("acl-wrong");
    let rules = directory.write("bad.toml", "[[rule]]\nallow = \"publsh\"\ntopics = \"a\"\n");
    let missing = directory.path().join("missing.toml");
    for (path, expected) in [
        (&*rules, "bad.toml:2: `allow`: \"publsh\": unknown word"),
        (missing.to_str().unwrap(), "missing.toml cannot be read"),
    ] {
        let text = format!("[access]\nfile = {path:?}\n");
        let config = directory.write("whimbrel.toml", &text);
        for arguments in [
            &["check", &config][..],
            &["serve", "--memory", "-c", &config],
        ] {
            let output = whimbrel(arguments).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert!(stderr.contains(expected), "{stderr}");
            assert_eq!(output.status.code(), Some(2));
        }
    }
}

/// A broker with rules, bans and a shadow file, which are changed while it runs.
#[cfg(unix)]
mod reload {
    use super::*;
    use crate::harness::{Running, forgetful};
    use crate::raw::{BANNED, NOT_AUTHORIZED, Raw, connect_as};

    const ALL: &str = "[[rule]]\nallow = \"all\"\ntopics = \"#\"\n";

    struct Home {
        directory: Directory,
        config: String,
    }

    impl Home {
        fn new(name: &str) -> Self {
            let directory = Directory::new(name);
            let home = Self {
                config: directory.write("whimbrel.toml", ""),
                directory,
            };
            home.rules(ALL);
            home.directory.write("bans.toml", "");
            home.configure("name = \"here\"", "");
            home
        }

        fn rules(&self, text: &str) {
            self.directory.write("access.toml", text);
        }

        fn configure(&self, listener: &str, more: &str) {
            let at = self.directory.path().display();
            let text = format!(
                "[[listener]]\nurl = \"tcp://127.0.0.1:0\"\n{listener}\n\
                 [access]\nfile = \"{at}/access.toml\"\nban_file = \"{at}/bans.toml\"\n{more}\n"
            );
            self.directory.write("whimbrel.toml", &text);
        }

        fn start(&self) -> (Running, String) {
            let mut broker = Running::start(forgetful(&["-c", &self.config]));
            let address = broker.address();
            let address = address.split_whitespace().next().unwrap().to_owned();
            (broker, address)
        }
    }

    fn connect(address: &str, client_id: &str) -> (Raw, u8) {
        connect_as(address, client_id, "", "")
    }

    #[test]
    fn rules_are_taken_over() {
        let home = Home::new("acl-reload");
        let (mut broker, address) = home.start();
        let (mut client, _) = connect(&address, "c");
        assert!(client.publish("a") < 0x80);
        home.rules("[[rule]]\ndeny = \"publish\"\ntopics = \"a\"\nlisteners = \"here\"\n");
        broker.signal("HUP");
        broker.wait_for("reloaded");
        assert_eq!(client.publish("a"), NOT_AUTHORIZED);

        // A broken file keeps what holds, and one that is not there does.
        home.rules("[[rule]]\nallow = \"al\"\ntopics = \"#\"\n");
        broker.signal("HUP");
        broker.wait_for("access.toml:2: `allow`: \"al\": unknown word");
        broker.wait_for("not reloaded");
        assert_eq!(client.publish("a"), NOT_AUTHORIZED);
        std::fs::remove_file(home.directory.path().join("access.toml")).unwrap();
        broker.signal("HUP");
        broker.wait_for("access.toml cannot be read");
        broker.wait_for("not reloaded");
        assert_eq!(client.publish("a"), NOT_AUTHORIZED);
        // An empty one allows nothing.
        home.rules("");
        broker.signal("HUP");
        broker.wait_for("reloaded");
        assert_eq!(client.publish("b"), NOT_AUTHORIZED);
    }

    #[test]
    fn bans_are_taken_over_and_survive_a_restart() {
        let home = Home::new("acl-bans");
        let ban = "[[ban]]\nclients = \"mallory\"\n";
        let (mut broker, address) = home.start();
        let (mut mallory, _) = connect(&address, "mallory");
        let (mut other, _) = connect(&address, "other");
        home.directory.write("bans.toml", ban);
        broker.signal("HUP");
        broker.wait_for("reloaded");
        // The only reason of this kind that a DISCONNECT may have.
        mallory.is_sent_away(NOT_AUTHORIZED);
        assert!(other.publish("a") < 0x80);
        assert_eq!(connect(&address, "mallory").1, BANNED);
        broker.signal("TERM");
        assert!(broker.wait().success());
        let (mut broker, address) = home.start();
        assert_eq!(connect(&address, "mallory").1, BANNED);
        home.directory.write("bans.toml", "");
        broker.signal("HUP");
        broker.wait_for("reloaded");
        assert_eq!(connect(&address, "mallory").1, 0);
    }

    #[test]
    fn rules_that_are_tried_are_taken_over() {
        let home = Home::new("acl-shadow");
        let (mut broker, address) = home.start();
        let (mut client, _) = connect(&address, "c");
        let shadow = home.directory.write("new.toml", "");
        home.configure("name = \"here\"", &format!("shadow_file = \"{shadow}\""));
        broker.signal("HUP");
        broker.wait_for("reloaded");
        assert!(client.publish("a") < 0x80);
        broker.wait_for("the shadow rules would deny this");
    }

    /// Listeners change by a restart alone, and that keeps nothing else from being taken over.
    #[test]
    fn rules_and_bans_are_about_the_listeners_that_run() {
        let home = Home::new("acl-listeners");
        let (mut broker, address) = home.start();
        let (mut client, _) = connect(&address, "c");
        home.directory
            .write("bans.toml", "[[ban]]\nclients = \"mallory\"\n");
        let deny = |listener| {
            format!("[[rule]]\ndeny = \"all\"\ntopics = \"a\"\nlisteners = \"{listener}\"\n{ALL}")
        };
        // One more listener, before the one that there is.
        home.rules(&deny("here"));
        home.configure(
            "name = \"new\"\n[[listener]]\nurl = \"tcp://127.0.0.2:0\"\nname = \"here\"",
            "",
        );
        broker.signal("HUP");
        broker.wait_for("reloaded");
        broker.wait_for("taken over by a restart only: listener.url");
        assert_eq!(client.publish("a"), NOT_AUTHORIZED);
        assert!(client.publish("b") < 0x80);
        assert_eq!(connect(&address, "mallory").1, BANNED);
        // What is about one that does not run is not taken over by half.
        home.rules(&deny("new"));
        home.directory.write("bans.toml", "");
        broker.signal("HUP");
        broker.wait_for("rules are about the listeners that run, here; others need a restart");
        broker.wait_for("not reloaded");
        assert_eq!(client.publish("a"), NOT_AUTHORIZED);
        assert_eq!(connect(&address, "mallory").1, BANNED);
    }
}
