//! What the command for long runs takes, and what it refuses.

use std::time::Duration;
use whimbrel_tests::sim::LongRun;

fn parse(line: &str) -> Result<Option<LongRun>, String> {
    LongRun::parse(line.split_whitespace().map(str::to_owned))
}

/// A run that nobody asked for began, and took a minute.
#[test]
fn what_is_not_understood_begins_no_run() {
    for line in ["--help", "-h", "--seed 4 --help"] {
        assert_eq!(parse(line), Ok(None), "{line}");
    }
    let wrong = [
        ("--seeds 4", "\"--seeds\" is not known"),
        ("4", "\"4\" is not known"),
        ("--seed", "--seed needs a number, not \"\""),
        ("--seed --tell", "--seed needs a number, not \"--tell\""),
        ("--runs few", "--runs needs a number, not \"few\""),
        ("--seconds -1", "--seconds needs a number, not \"-1\""),
        ("--players 1", "--players is 2 to 5000"),
        ("--players 5001", "--players is 2 to 5000"),
    ];
    for (line, what) in wrong {
        assert_eq!(parse(line), Err(what.to_owned()), "{line}");
    }
}

#[test]
fn what_is_asked_for_is_done() {
    assert_eq!(parse(""), Ok(Some(LongRun::default())));
    let wanted = LongRun {
        patience: Duration::from_secs(7),
        first_seed: Some(3),
        run_count_max: 1,
        players: Some(1_000),
        is_told: true,
    };
    let line = "--tell --players 1000 --seed 3 --seconds 7 --runs 1";
    assert_eq!(parse(line), Ok(Some(wanted)));
}
