//! Commands that end by themselves.

use crate::harness::{Directory, whimbrel};

fn stdout(arguments: &[&str]) -> String {
    let output = whimbrel(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn version_is_one_line() {
    let expected = format!("whimbrel {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(stdout(&["--version"]), expected);
    assert_eq!(stdout(&["-V"]), expected);
}

#[test]
fn help_names_commands_flags_and_exit_codes() {
    let help = stdout(&["--help"]);
    for expected in ["serve", "check", "--version", "Error codes:"] {
        assert!(help.contains(expected), "{expected}: {help}");
    }
    let help = stdout(&["serve", "--help"]);
    for expected in [
        "--config",
        "--listen",
        "--data-dir",
        "--memory",
        "--log-level",
        "--log-format",
        "SIGTERM",
    ] {
        assert!(help.contains(expected), "{expected}: {help}");
    }
}

#[test]
fn help_may_stand_before_a_command() {
    assert_eq!(stdout(&["help", "pub"]), stdout(&["pub", "--help"]));
    assert_eq!(stdout(&["help"]), stdout(&["--help"]));
}

#[test]
fn misuse_says_what_to_do_and_ends_with_2() {
    for (arguments, expected) in [
        (&["serv"][..], "did you mean serve?"),
        (&["--listne", "tcp://127.0.0.1:0"], "did you mean --listen?"),
        (&["-l", "127.0.0.1:0"], "should begin with \"tcp://\""),
        (&["-l"], "No value provided"),
        (&["--log-level=loud"], "expected one of error, warn, info"),
        (&["check"], "name the file to check"),
        (&["--memory", "-d", "x"], "leave out one of"),
        (&["-c", "there-is-no-such.toml"], "cannot be read"),
    ] {
        let output = whimbrel(arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn check_tells_what_would_run() {
    let directory = Directory::new("check");
    let file = directory.write(
        "good.toml",
        "[[listener]]\nurl = \"tcp://0.0.0.0:18830\"\n[[listener]]\nurl = \"tcp://[::1]\"\n",
    );
    let summary = stdout(&["check", &file]);
    for expected in [
        "good.toml: ok\n",
        "listens at tcp://0.0.0.0:18830",
        "listens at tcp://[::1]:1883",
        "acknowledged means on disk: kept in whimbrel-data",
        "allow_anonymous = \"always\"",
    ] {
        assert!(summary.contains(expected), "{expected}: {summary}");
    }
}

#[test]
fn the_printed_defaults_are_a_good_configuration() {
    let directory = Directory::new("defaults");
    let defaults = stdout(&["check", "--print-defaults"]);
    let file = directory.write("whimbrel.toml", &defaults);
    let summary = stdout(&["check", &file]);
    assert!(
        summary.contains("listens at tcp://127.0.0.1:1883"),
        "{summary}"
    );
}

#[test]
fn check_heeds_the_environment() {
    let directory = Directory::new("environment");
    let file = directory.write("empty.toml", "");
    let checked = |name: &str, value: &str| {
        let mut command = whimbrel(&["check", &file]);
        command.env(name, value).output().unwrap()
    };

    let good = checked("WHIMBREL_LISTENER_URL", "tcp://127.0.0.1:18831");
    let summary = String::from_utf8(good.stdout).unwrap();
    assert!(summary.contains("tcp://127.0.0.1:18831"), "{summary}");
    assert!(summary.contains("WHIMBREL_LISTENER_URL"), "{summary}");

    let bad = checked("WHIMBREL_LISTENER_URLS", "tcp://127.0.0.1:18831");
    assert_eq!(bad.status.code(), Some(2));
    let stderr = String::from_utf8(bad.stderr).unwrap();
    assert!(
        stderr.contains("did you mean WHIMBREL_LISTENER_URL?"),
        "{stderr}"
    );
}
