//! Long runs of the simulator: fresh seeds for so many seconds, and what was done in them.
//!
//! `cargo run --release -p whimbrel-tests --example sim -- --seconds 600 [--seed N]`

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use whimbrel_tests::sim::{Counts, Options, run};

/// A seed that nobody has tried.
fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(1, |since| since.as_nanos() as u64)
}

/// The number behind a flag, wherever it stands.
fn number(flag: &str) -> Option<u64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != flag);
    arguments.nth(1)?.parse().ok()
}

fn main() -> ExitCode {
    let patience = Duration::from_secs(number("--seconds").unwrap_or(60));
    let first = number("--seed").unwrap_or_else(fresh_seed);
    let run_count_max = number("--runs").unwrap_or(u64::MAX);
    let started = Instant::now();
    let (mut counts, mut run_count, mut virtual_ms) = (Counts::default(), 0, 0);
    let mut violations = Vec::new();
    while started.elapsed() < patience && run_count < run_count_max {
        let options = Options::from_seed(first.wrapping_add(run_count));
        let report = run(&options);
        run_count += 1;
        virtual_ms += report.virtual_ms;
        counts.add(&report.counts);
        if let Some(violation) = report.violation {
            println!("seed {}: {violation}\n{options:#?}\n", options.seed);
            violations.push(options.seed);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{counts}");
    println!(
        "{run_count} runs from seed {first} on, {:.1} virtual hours in {seconds:.0} s; \
         {:.0} operations and {:.0} faults a second",
        virtual_ms as f64 / 3_600_000.0,
        counts.operation_count() as f64 / seconds,
        counts.fault_count() as f64 / seconds,
    );
    if violations.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("violations: {}, seeds {violations:?}", violations.len());
    ExitCode::FAILURE
}
