//! Instructions per delivery in the core, counted by callgrind: a number that does not depend on
//! the machine's mood, but on the compiler, the target and its C library.
//!
//! ```text
//! instructions            prints the table
//! instructions --bless    prints it and writes benches/instructions.txt
//! instructions --check    compares with that file; fails when a row is worse by more than 3 %
//! instructions --time     prints nanoseconds instead: for what instructions do not show, such as
//!                         reading at once what was written in parts
//! instructions --play ROW what valgrind runs
//! ```
//!
//! `benches/instructions/run` builds and starts it.

mod rows;
mod table;

use rows::{ROWS, Row};
use std::process::{Command, ExitCode};
use std::time::Instant;
use table::Table;
use whimbrel_benches::stage::Stage;
use whimbrel_benches::traffic::Recording;

/// Turns before counting starts, and turns that are counted.
const WARM_TURNS: usize = 60;
const TURNS: usize = 60;

/// Counted only inside this function; its name is what callgrind is told.
#[inline(never)]
fn measured(recording: &Recording, stage: &mut Stage) -> usize {
    recording.play(stage, WARM_TURNS..WARM_TURNS + TURNS)
}

/// Plays one row, as valgrind's child, and says how many deliveries there were.
fn play(row: &Row) {
    let traffic = row.traffic();
    let recording = traffic.record(WARM_TURNS + TURNS);
    let mut stage = traffic.stage();
    recording.play(&mut stage, 0..WARM_TURNS);
    let before = stage.broker.statistics().publishes_sent;
    std::hint::black_box(measured(&recording, &mut stage));
    let deliveries = stage.broker.statistics().publishes_sent - before;
    println!("deliveries {deliveries}");
}

/// Rounds of a row that is timed; the fastest counts, since what disturbs it makes it slower.
const TIMED_ROUNDS: usize = 20;

/// Nanoseconds per delivery of one row.
fn time(row: &Row) -> f64 {
    let traffic = row.traffic();
    let recording = traffic.record(WARM_TURNS + TURNS);
    let rounds = (0..TIMED_ROUNDS).map(|_| {
        let mut stage = traffic.stage();
        recording.play(&mut stage, 0..WARM_TURNS);
        let before = stage.broker.statistics().publishes_sent;
        let began = Instant::now();
        std::hint::black_box(measured(&recording, &mut stage));
        let took = began.elapsed();
        let deliveries = stage.broker.statistics().publishes_sent - before;
        took.as_nanos() as f64 / deliveries as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}

/// Runs one row under callgrind.
fn count(row: &Row) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*measured*")
        .arg(program)
        .args(["--play", row.name])
        .output()
        .map_err(|error| format!("cannot run valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let number = |text: &str, label: &str| -> Option<f64> {
        let (_, rest) = text.split_once(label)?;
        rest.split_whitespace().next()?.parse().ok()
    };
    let instructions = number(&said, "Collected :");
    let deliveries = number(&String::from_utf8_lossy(&output.stdout), "deliveries");
    match (instructions, deliveries) {
        (Some(instructions), Some(deliveries)) if deliveries > 0.0 => Ok(instructions / deliveries),
        _ => Err(format!("{}: valgrind says\n{said}", row.name)),
    }
}

fn run() -> Result<ExitCode, String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["--play", name] = arguments[..] {
        let row = ROWS.iter().find(|row| row.name == name);
        play(row.ok_or_else(|| format!("there is no row {name}"))?);
        return Ok(ExitCode::SUCCESS);
    }
    if arguments == ["--time"] {
        for row in ROWS {
            println!("{:<24} {:6.1} ns", row.name, time(&row));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if arguments == ["--check"] && !table::is_comparable() {
        println!("not run: benches/instructions.txt is of another compiler, or for another target");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::default();
    for row in ROWS {
        table.push(row.name, count(&row)?);
    }
    match arguments[..] {
        [] => print!("{table}"),
        ["--bless"] => {
            table.write()?;
            print!("{table}");
        }
        ["--check"] => return Table::read()?.compare(&table),
        _ => {
            return Err("usage: instructions [--bless | --check | --time | --play ROW]".to_owned());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}
