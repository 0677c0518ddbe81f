//! Long runs of the simulator: fresh seeds for so many seconds, and what was done in them.
//!
//! `cargo run --release -p whimbrel-tests --example sim -- --seconds 600 [--seed N]`
//!
//! `--seed N --runs 1 --tell` tells on standard error what happens in one run, `--players 1000`
//! makes a crowd of each, and `--help` names the rest.

use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use whimbrel_tests::sim::{Counts, LongRun, USAGE, run};

/// A seed that nobody has tried.
fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(1, |since| since.as_nanos() as u64)
}

fn main() -> ExitCode {
    match LongRun::parse(std::env::args().skip(1)) {
        Ok(Some(wanted)) => carry_out(&wanted),
        Ok(None) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("{what}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn carry_out(wanted: &LongRun) -> ExitCode {
    let first = wanted.first_seed.unwrap_or_else(fresh_seed);
    let started = Instant::now();
    let (mut counts, mut run_count, mut virtual_ms) = (Counts::default(), 0, 0);
    let mut violations = Vec::new();
    while started.elapsed() < wanted.patience && run_count < wanted.run_count_max {
        let options = wanted.options(first.wrapping_add(run_count));
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
