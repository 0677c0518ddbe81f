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
