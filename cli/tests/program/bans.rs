//! `whimbrel ban`, as it is typed, and what a running broker makes of it.

use crate::harness::{Directory, whimbrel};

/// What it said, on either output, and what it ended with.
fn typed(arguments: &[&str]) -> (String, Option<i32>) {
    let arguments = [&["ban"], arguments].concat();
    let output = whimbrel(&arguments).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (said, output.status.code())
}

#[track_caller]
fn done(arguments: &[&str]) -> String {
    let (said, code) = typed(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

#[test]
fn bans_are_added_listed_and_removed() {
    let directory = Directory::new("bans");
    let file = directory.path().join("bans.toml");
    let file = file.to_str().unwrap();
    let until = "2099-01-31T12:00:00Z";
    let both = [
        "add", file, "-u", "mallory", "--client", "meter-*", "--until", until,
    ];
    let said = done(&both);
    let expected = format!(
        "user mallory: kept out until {until}\nclient meter-*: kept out until {until}\n\
         note: {file} is new; a broker heeds it when access.ban_file names it\n"
    );
    assert_eq!(said, expected);
    assert_eq!(
        done(&["add", file, "--address", "198.51.100.0/24"]),
        "address 198.51.100.0/24: kept out for ever\n"
    );
    let listed = format!(
        "user mallory\tuntil {until}\nclient meter-*\tuntil {until}\n\
         address 198.51.100.0/24\tfor ever\n"
    );
    assert_eq!(done(&["list", file]), listed);
    // Somebody who is there already has the new end.
    assert!(done(&["add", file, "-u", "mallory", "--for", "2h"]).contains("kept out until 20"));
    let listed = done(&["list", file]);
    assert_eq!(listed.matches("mallory").count(), 1, "{listed}");
    assert!(
        !listed.contains(&format!("mallory\tuntil {until}")),
        "{listed}"
    );
    let said = done(&[
        "remove",
        file,
        "--client",
        "meter-*",
        "--address",
        "198.51.100.0/24",
    ]);
    assert!(said.contains("client meter-*: no longer in"), "{said}");
    assert!(done(&["list", file]).starts_with("user mallory\tuntil 20"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn bans_that_are_over_are_told_and_taken_away() {
    let directory = Directory::new("bans-over");
    let file = directory.write(
        "bans.toml",
        "# ours\n[[ban]]\nusers = \"old\"\nuntil = 2020-01-01T00:00:00Z\n\n[[ban]]\nusers = \"new\"\n",
    );
    let listed = done(&["list", &file]);
    assert!(
        listed.starts_with("user old\tuntil 2020-01-01T00:00:00Z, which is over\n"),
        "{listed}"
    );
    assert!(done(&["remove", &file, "--ended"]).starts_with("user old: no longer in"));
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        "# ours\n\n[[ban]]\nusers = \"new\"\n"
    );
    let said = done(&["add", &file, "--client", "*"]);
    assert!(
        said.contains("note: ") && said.contains("keeps everybody out"),
        "{said}"
    );
}

#[test]
fn what_is_wrong_is_told_with_the_remedy_and_changes_nothing() {
    let directory = Directory::new("bans-wrong");
    let broken = directory.write("broken.toml", "[[ban]]\nuser = \"u\"\n");
    let good = directory.write("good.toml", "[[ban]]\nusers = \"u\"\n");
    let missing = directory.path().join("missing.toml");
    let missing = missing.to_str().unwrap();
    for (arguments, expected, code) in [
        (
            &["add", &*good][..],
            "name somebody: --user, --client or --address",
            2,
        ),
        (
            &["add", &good, "-u", "x", "--for", "2 h"],
            "90s, 15m, 2h or 30d",
            2,
        ),
        (
            &["add", &good, "-u", "x", "--for", "0s"],
            "90s, 15m, 2h or 30d",
            2,
        ),
        (
            &["add", &good, "-u", "x", "--until", "tomorrow"],
            "2027-01-31T12:00:00Z",
            2,
        ),
        (
            &["add", &good, "-u", "x", "--until", "2020-01-01T00:00:00Z"],
            "--until is in the past",
            2,
        ),
        (
            &[
                "add",
                &good,
                "-u",
                "x",
                "--for",
                "1h",
                "--until",
                "2099-01-01T00:00:00Z",
            ],
            "take one of --for and --until",
            2,
        ),
        (
            &["add", &good, "--address", "10.0.0.1/8"],
            "bits behind its prefix",
            2,
        ),
        (&["add", &good, "-u", ""], "a name is not empty", 2),
        (
            &["add", &broken, "-u", "x"],
            "broken.toml:2: unknown key of a ban `user`",
            1,
        ),
        (&["list", &broken], "did you mean `users`?", 1),
        (&["list", missing], "`whimbrel ban add` makes it", 1),
        (
            &["remove", missing, "-u", "x"],
            "`whimbrel ban add` makes it",
            1,
        ),
        (
            &["remove", &good, "-u", "u", "--client", "u"],
            "client u is not in it",
            1,
        ),
        (&["remove", &good], "name somebody", 2),
        (&["unban", &good], "there are add, remove, list", 2),
    ] {
        let (said, ended) = typed(arguments);
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert_eq!(ended, Some(code), "{arguments:?}: {said}");
    }
    assert_eq!(
        std::fs::read_to_string(good).unwrap(),
        "[[ban]]\nusers = \"u\"\n"
    );
}

#[cfg(unix)]
#[test]
fn a_running_broker_takes_bans_over_and_a_restart_keeps_them() {
    use crate::harness::{Running, forgetful};
    use crate::raw::{BANNED, NOT_AUTHORIZED, connect_as};

    let directory = Directory::new("bans-running");
    let bans = directory.write("bans.toml", "");
    let config = directory.write(
        "whimbrel.toml",
        &format!("[[listener]]\nurl = \"tcp://127.0.0.1:0\"\n[access]\nban_file = {bans:?}\n"),
    );
    let start = || {
        let mut broker = Running::start(forgetful(&["-c", &config]));
        let address = broker.address();
        let address = address.split_whitespace().next().unwrap().to_owned();
        (broker, address)
    };
    let (mut broker, address) = start();
    let (mut mallory, _) = connect_as(&address, "mallory", "", "");
    done(&["add", &bans, "--client", "mallory", "--for", "1h"]);
    broker.signal("HUP");
    broker.wait_for("reloaded");
    mallory.is_sent_away(NOT_AUTHORIZED);
    assert_eq!(connect_as(&address, "mallory", "", "").1, BANNED);
    broker.signal("TERM");
    assert!(broker.wait().success());
    let (mut broker, address) = start();
    assert_eq!(connect_as(&address, "mallory", "", "").1, BANNED);
    done(&["remove", &bans, "--client", "mallory"]);
    broker.signal("HUP");
    broker.wait_for("reloaded");
    assert_eq!(connect_as(&address, "mallory", "", "").1, 0);
}
