//! What durability costs on this machine: the program, on a real disk, with publishers over
//! loopback, beside what the disk itself does in the same minute.
//!
//! ```sh
//! cargo build --release -p whimbrel
//! cargo run --release -p whimbrel-benches --bin durability -- target/release/whimbrel DIRECTORY
//! ```
//!
//! The directory must be on the disk in question; it is left empty. Figures are medians of several
//! short rounds, disk and broker in turns, since the disk may be shared with others.

mod disk;
mod publishers;
mod restart;
mod server;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Payload of every message.
const PAYLOAD_BYTES: usize = 64;

/// What a message of this size takes as a record, roughly: what the disk is compared with.
const RECORD_BYTES: usize = 256;

/// Rounds of each measurement; the median counts.
const ROUNDS: usize = 7;

/// How long a round takes.
const ROUND: Duration = Duration::from_millis(1_500);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(program), Some(directory)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: durability PROGRAM DIRECTORY [restart]");
        return ExitCode::from(2);
    };
    let (program, directory) = (Path::new(&program), Path::new(&directory));
    let result = match arguments.next().as_deref() {
        Some("restart") => restart::measure(program, directory),
        _ => measure(program, directory),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn measure(program: &Path, directory: &Path) -> std::io::Result<()> {
    println!("publishers  broker msg/s  disk msg/s  share  ack p50 us  fdatasync p50 us  ack/sync");
    for publishers in [1, 16, 256] {
        let (mut broker, mut disk) = (Vec::new(), Vec::new());
        let (mut acks, mut syncs) = (Vec::new(), Vec::new());
        // A disk that is shared changes its mind from second to second: neighbours are compared.
        let (mut shares, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let bare = disk::append_and_sync(directory, publishers, RECORD_BYTES, ROUND)?;
            disk.push(bare.records_per_second);
            syncs.push(bare.sync_us);
            let server = server::Server::start(program, directory)?;
            let round = publishers::publish(server.address, publishers, ROUND)?;
            shares.push(round.messages_per_second / bare.records_per_second);
            ratios.push(round.acknowledged_us / bare.sync_us);
            broker.push(round.messages_per_second);
            acks.push(round.acknowledged_us);
        }
        let (broker, disk) = (median(broker), median(disk));
        println!(
            "{publishers:>10}  {broker:>12.0}  {disk:>10.0}  {:>3.0} %  {:>10.0}  {:>16.0}  {:>8.2}",
            median(shares) * 100.0,
            median(acks),
            median(syncs),
            median(ratios)
        );
    }
    Ok(())
}
