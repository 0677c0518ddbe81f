//! The proof that the oracle bites: what is deliberately wrong is found, and how soon.

use whimbrel_tests::sim::{Defect, Options, run};

/// How many runs a defect may stay hidden for.
const RUNS_MAX: u64 = 120;

/// After how many runs a defect shows, and by what.
fn found(defect: Defect) -> Option<(u64, String)> {
    findings(defect).next()
}

/// The runs in which a defect shows, and by what.
fn findings(defect: Defect) -> impl Iterator<Item = (u64, String)> {
    (1..=RUNS_MAX).filter_map(move |seed| {
        let options = Options::from_seed(seed).with(defect);
        let report = run(&options);
        let mut violation = report.violation;
        if violation.is_none() && defect == Defect::IsNotDeterministic {
            let again = run(&options);
            violation = (again.trace != report.trace)
                .then(|| "the same seed gives another trace".to_owned());
        }
        Some((seed, violation?))
    })
}

/// Prints a table; `cargo test -p whimbrel-tests --test sim defect -- --nocapture` shows it.
#[test]
fn every_deliberate_defect_is_caught() {
    let mut missed = Vec::new();
    println!("{:<32}{:>6}  what gave it away", "defect", "runs");
    for defect in Defect::ALL {
        let name = format!("{defect:?}");
        match found(defect) {
            Some((run_count, violation)) => {
                let violation = violation.replace('\n', " ");
                let shown: String = violation.chars().take(100).collect();
                println!("{name:<32}{run_count:>6}  {shown}");
            }
            None => missed.push(defect),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

/// Other checks may notice it as well: here it is the one of what is left in the end.
#[test]
fn what_an_ended_session_had_is_seen_to_be_left_behind() {
    let mut findings = findings(Defect::KeepsAnEndedSession);
    assert!(findings.any(|(_, violation)| violation.contains("something is left behind")));
}
