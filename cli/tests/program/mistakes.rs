//! What people get wrong in a configuration file, and the answers. `whimbrel check` and
//! `whimbrel serve` are asked; the place of each problem is a line and a column.

use crate::harness::{Directory, whimbrel};

#[test]
fn check_names_every_mistake_with_its_place_and_the_nearest_key() {
    let directory = Directory::new("mistakes");
    for (text, expected) in MISTAKES {
        let file = directory.write("test.toml", text);
        let output = whimbrel(&["check", &file]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let problems: Vec<&str> = stderr
            .lines()
            .map(|line| {
                line.strip_prefix(&file)
                    .and_then(|rest| rest.strip_prefix(':'))
            })
            .map(|line| line.expect("a line begins with the file"))
            .collect();
        assert_eq!(problems, *expected, "in {text:?}");
        assert_eq!(output.status.code(), Some(2), "in {text:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn serve_says_the_same_and_does_not_start() {
    let directory = Directory::new("serve-mistakes");
    let file = directory.write("test.toml", MISTAKES[0].0);
    let checked = whimbrel(&["check", &file]).output().unwrap();
    let served = whimbrel(&["-c", &file]).output().unwrap();
    assert_eq!(served.status.code(), Some(2));
    assert_eq!(served.stderr, checked.stderr);
}

/// One group of files that cannot be used does not hide what is wrong with the others, nor does a
/// mistake in the configuration itself.
#[test]
fn every_file_that_cannot_be_used_is_named_at_once() {
    let directory = Directory::new("no-files");
    let mut lines = vec![
        (
            "[access]\nfile = \"/nowhere/rules\"\nban_file = \"/nowhere/bans\"\n",
            &["2:8: `access.file`", "3:12: `access.ban_file`"][..],
        ),
        (
            "[authentication]\npassword_file = \"/nowhere/users\"\n",
            &["5:17: authentication.password_file"],
        ),
    ];
    if cfg!(feature = "tls") {
        lines.push((
            "[[listener]]\nurl = \"tls://127.0.0.1:1\"\nkey = \"/nowhere/key\"\n\
             certificate = \"/nowhere/certificate\"\n",
            &["9:15: tls://127.0.0.1:1"],
        ));
    }
    lines.push(("[log]\ncolour = true\n", &[": unknown key `colour`"]));
    let (texts, expected): (String, Vec<_>) = lines.into_iter().unzip();
    let file = directory.write("test.toml", &texts);
    for arguments in [["check", &file], ["-c", &file]] {
        let output = whimbrel(&arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let problems: Vec<&str> = stderr.lines().collect();
        let expected = expected.concat();
        assert_eq!(problems.len(), expected.len(), "{stderr}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.contains(expected), "{expected}: {stderr}");
        }
        assert_eq!(output.status.code(), Some(2));
    }
}

/// What is wrong with a number, and a file that is not there, come with what would be right.
#[test]
fn what_would_be_right_is_said() {
    for (arguments, expected) in [
        (
            &["check", "/nowhere/a.toml"][..],
            "whimbrel check --print-defaults > /nowhere/a.toml",
        ),
        (
            &["-c", "/nowhere/a.toml"],
            "check --print-defaults > /nowhere/a.toml",
        ),
        (
            &["pub", "-t", "a", "-n", "-k", "70000"],
            "a number from 0 to 65535",
        ),
        (&["sub", "-t", "a", "-p", "-1"], "a number from 0 to 65535"),
        (
            &["sub", "-t", "a", "-x", "1h"],
            "a number from 0 to 4294967295",
        ),
    ] {
        let output = whimbrel(arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

/// What the other runtime has is a mistake with this one, and not found out at the start only.
#[cfg(not(feature = "tokio"))]
#[test]
fn what_this_runtime_has_not_is_refused_as_a_mistake() {
    let directory = Directory::new("not-here");
    let file = directory.write("threads.toml", "[server]\nthreads = 4\n");
    let record = directory.path().join("record").display().to_string();
    let asked: [(&[&str], &str); 4] = [
        (&["check", &file], "4 is out of range"),
        (&["serve", "-c", &file], "4 is out of range"),
        (
            &["serve", "--threads", "4"],
            "expected a number from 1 to 1",
        ),
        (&["serve", "--record", &record], "cannot record"),
    ];
    for (arguments, expected) in asked {
        let output = whimbrel(arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn the_file_to_check_is_named_as_for_serve() {
    let directory = Directory::new("check-names");
    let file = directory.write("good.toml", "[log]\nlevel = \"warn\"\n");
    for (arguments, variable, expected) in [
        (&["check", &file][..], None, "good.toml: ok"),
        (&["check", "-c", &file], None, "good.toml: ok"),
        (
            &["check"],
            Some(("WHIMBREL_CONFIG", &*file)),
            "good.toml: ok",
        ),
        (
            &["check"],
            Some(("WHIMBREL_LOG_LEVEL", "warn")),
            "the environment: ok",
        ),
        (&["check"], None, "name the file to check"),
        (&["check", "-c", &file, &file], None, "two files"),
        (
            &["check"],
            Some(("WHIMBREL_LISTENER_URL", "x:y,tcp://127.0.0.1:1883")),
            "\"x:y\"",
        ),
    ] {
        let mut command = whimbrel(arguments);
        command.envs(variable);
        let output = command.output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(said.contains(expected), "{said}");
        let code = if expected.ends_with("ok") { 0 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(!said.contains("same place"), "{said}");
    }
}

const MISTAKES: &[(&str, &[&str])] = &[
    (
        "[limits]\nconections_maximum = 1\n",
        &["2:1: unknown key `conections_maximum` in [limits]; did you mean `connections_maximum`?"],
    ),
    (
        "[limits]\nmax_connections = 1\n",
        &["2:1: unknown key `max_connections` in [limits]; did you mean `connections_maximum`?"],
    ),
    (
        "[session]\nreceive_maximum = 1\n",
        &["2:1: unknown key `receive_maximum` in [session]; it belongs under [protocol]"],
    ),
    (
        "[log]\ncolour = true\n",
        &["2:1: unknown key `colour` in [log]; [log] has `level`, `format`"],
    ),
    (
        "receive_maximum = 1\n",
        &["1:1: unknown key `receive_maximum`; it belongs under [protocol]"],
    ),
    (
        "[protocoll]\n",
        &["1:2: unknown section `protocoll`; did you mean `protocol`?"],
    ),
    (
        "[bridge]\n",
        &[
            "1:2: unknown section `bridge`; there are [server], [[listener]], [access], [authentication], [storage], [log], [protocol], [session], [quotas], [topics], [tenants], [limits]",
        ],
    ),
    (
        "[listener]\nurl = \"tcp://127.0.0.1\"\n",
        &["1:2: `listener` is a section; write [[listener]]"],
    ),
    (
        "[[log]]\nlevel = \"info\"\n",
        &["1:3: `log` is a section; write [log]"],
    ),
    (
        "[protocol]\nreceive_maximum = 70000\n",
        &[
            "2:19: `protocol.receive_maximum`: 70000 is out of range: expected a number from 1 to 65_535",
        ],
    ),
    (
        "[protocol]\nmaximum_qos = -1\n",
        &["2:15: `protocol.maximum_qos`: -1 is out of range: expected a number from 0 to 2"],
    ),
    (
        "[protocol]\nretain_available = \"yes\"\n",
        &["2:20: `protocol.retain_available`: expected true or false, found the text \"yes\""],
    ),
    (
        "[protocol]\nversions = [\"3.1.1\", \"5\"]\n",
        &["2:12: `protocol.versions`: \"5\" is not one of \"3.1\", \"3.1.1\", \"5.0\""],
    ),
    (
        "[protocol]\nshared_strategy = \"round_robin\"\n",
        &[
            "2:19: `protocol.shared_strategy`: \"round_robin\" is not one of \"round-robin\", \"sticky\", \"random\", \"least-inflight\"; did you mean \"round-robin\"?",
        ],
    ),
    (
        "[limits]\nconnect_timeout_ms = 2.5\n",
        &[
            "2:22: `limits.connect_timeout_ms`: expected a number of milliseconds from 1 to 4_294_967_295, found the fraction 2.5",
        ],
    ),
    (
        "[limits]\nunsent_bytes_maximum = \"1 MB\"\n",
        &[
            "2:24: `limits.unsent_bytes_maximum`: \"1 MB\" is not a size: write a whole number of B, KiB, MiB, GiB or TiB, such as \"64 KiB\"",
        ],
    ),
    (
        "[[listener]]\nurl = \"0.0.0.0:1883\"\n",
        &[
            "2:7: `listener.url`: \"0.0.0.0:1883\" should begin with \"tcp://\", such as \"tcp://127.0.0.1:1883\", or with one of tls, ws, wss, unix, quic",
        ],
    ),
    (
        // The second listener is nowhere, so it is not where the first is.
        "[[listener]]\nurl = \"tcp://127.0.0.1:1883\"\n[[listener]]\nurl = \"tcp//x\"\n",
        &[
            "4:7: `listener.url`: \"tcp//x\" should begin with \"tcp://\", such as \"tcp://127.0.0.1:1883\", or with one of tls, ws, wss, unix, quic",
        ],
    ),
    (
        "[limits]\nunsent_bytes_maximum = \"64 KiB\"\nunsent_bytes_pause = \"1 MiB\"\n",
        &[
            "3:22: limits.unsent_bytes_pause: must not be above limits.unsent_bytes_maximum; limits.unsent_bytes_maximum is \"64 KiB\", limits.unsent_bytes_pause is \"1 MiB\"",
        ],
    ),
    (
        "[limits]\nmemory_budget_bytes = 1\n",
        &[
            "2:23: `limits.memory_budget_bytes`: 1 is out of range: expected a number of bytes (or text such as \"64 KiB\"), \"256 KiB\" or more",
        ],
    ),
    (
        "[storage]\nsegment_bytes = 100000\n",
        &[
            "2:17: storage.segment_bytes: must be a multiple of 4,096 from 64 KiB to 1 GiB, such as 102400 instead of 100000",
        ],
    ),
    (
        "[log]\nlevel = # info\n",
        &["2:9: there is no value behind `level =`; write one, or take it away"],
    ),
    (
        "[log]\nlevel = \"inof\"\nformt = \"json\"\n[limits]\nfanout_step = 0\n",
        &[
            "2:9: `log.level`: \"inof\" is not one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"; did you mean \"info\"?",
            "3:1: unknown key `formt` in [log]; did you mean `format`?",
            "5:15: `limits.fanout_step`: 0 is out of range: expected a number from 1 to 4_294_967_295",
        ],
    ),
];
