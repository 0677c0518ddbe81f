//! What durability costs on this machine: the program, on a real disk, with publishers over
//! loopback, beside what the disk itself does in the same minute.
//!
//! ```sh
//! cargo build --release -p whimbrel
//! cargo run --release -p whimbrel-benches --bin durability -- target/release/whimbrel DIRECTORY
//! ```
//!
//! The directory must be on the disk in question; it is left empty. Figures are medians of several
//! short rounds, in turns, since the disk may be shared with others:
//!
//! - *broker*: durable, every message kept for a client that is away;
//! - *bare loop*: the same publishers over the same sockets, but only append, `fdatasync`,
//!   acknowledge: see `bare.rs`. *of loop* is the broker's share of it;
//! - *in memory*: the broker without a disk;
//! - *disk alone*: as many records in each sync as there are publishers, and no sockets. *of disk*
//!   is the broker's share of it;
//! - *ack*: from PUBLISH to PUBACK as the publisher sees it, of the broker, of the bare loop, and
//!   of the broker without a disk, which is the way there and back; *sync*: one write with its
//!   `fdatasync`, one after the other and in the bare loop, which waits for a socket in between;
//! - *in syncs*: the broker's ack by the sync alone; and the same less the way there and back,
//!   which is what being durable adds.
//!
//! On a machine that does other work, a sync mostly waits for a processor, not for the disk: let
//! the scheduler prefer the run (`chrt -r 1`).

mod bare;
mod checkpoint;
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
const ROUNDS: usize = 5;

/// How long a round takes.
const ROUND: Duration = Duration::from_millis(1_000);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(program), Some(directory)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: durability PROGRAM DIRECTORY [restart | checkpoint]");
        return ExitCode::from(2);
    };
    let (program, directory) = (Path::new(&program), Path::new(&directory));
    let result = match arguments.next().as_deref() {
        Some("restart") => restart::measure(program, directory),
        Some("checkpoint") => checkpoint::measure(program, directory),
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

/// What was measured with some number of publishers, a value for each round.
#[derive(Default)]
struct Rounds {
    broker: Vec<f64>,
    bare: Vec<f64>,
    of_bare: Vec<f64>,
    of_disk: Vec<f64>,
    memory: Vec<f64>,
    disk: Vec<f64>,
    acknowledged_us: Vec<f64>,
    bare_acknowledged_us: Vec<f64>,
    memory_acknowledged_us: Vec<f64>,
    in_syncs: Vec<f64>,
    added_in_syncs: Vec<f64>,
    sync_us: Vec<f64>,
    bare_sync_us: Vec<f64>,
}

fn measure(program: &Path, directory: &Path) -> std::io::Result<()> {
    println!(
        "publishers  broker/s  bare loop/s  of loop  in memory/s  disk alone/s  of disk  \
         ack p50 us  bare ack  memory ack  sync alone  bare sync  in syncs  added"
    );
    for publishers in [1, 16, 256] {
        let mut rounds = Rounds::default();
        for _ in 0..ROUNDS {
            round(program, directory, publishers, &mut rounds)?;
        }
        println!(
            "{publishers:>10}  {:>8.0}  {:>11.0}  {:>5.0} %  {:>11.0}  {:>12.0}  {:>5.0} %  {:>10.0}  {:>8.0}  {:>10.0}  {:>10.0}  {:>9.0}  {:>8.1}  {:>5.1}",
            median(rounds.broker),
            median(rounds.bare),
            median(rounds.of_bare) * 100.0,
            median(rounds.memory),
            median(rounds.disk),
            median(rounds.of_disk) * 100.0,
            median(rounds.acknowledged_us),
            median(rounds.bare_acknowledged_us),
            median(rounds.memory_acknowledged_us),
            median(rounds.sync_us),
            median(rounds.bare_sync_us),
            median(rounds.in_syncs),
            median(rounds.added_in_syncs),
        );
    }
    Ok(())
}

/// A disk and a machine that are shared change their minds from second to second: neighbours are
/// compared.
fn round(
    program: &Path,
    directory: &Path,
    publishers: usize,
    rounds: &mut Rounds,
) -> std::io::Result<()> {
    let (alone, sync_us) = disk::alone(directory, publishers, RECORD_BYTES, ROUND)?;
    rounds.disk.push(alone);
    rounds.sync_us.push(sync_us);
    let server = server::Server::start(program, directory)?;
    let durable = publishers::publish(server.address, publishers, ROUND)?;
    drop(server);
    let loop_alone = bare::Bare::start(directory)?;
    let bare = publishers::publish(loop_alone.address, publishers, ROUND)?;
    rounds.bare_sync_us.push(loop_alone.stop()?);
    let server = server::Server::in_memory(program)?;
    let memory = publishers::publish(server.address, publishers, ROUND)?;
    rounds.memory.push(memory.messages_per_second);
    rounds.broker.push(durable.messages_per_second);
    rounds.bare.push(bare.messages_per_second);
    let broker = durable.messages_per_second;
    rounds.of_bare.push(broker / bare.messages_per_second);
    rounds.of_disk.push(broker / alone);
    let [ack_us, bare_us, memory_us] =
        [&durable, &bare, &memory].map(|round| round.acknowledged_us(500));
    rounds.acknowledged_us.push(ack_us);
    rounds.bare_acknowledged_us.push(bare_us);
    rounds.memory_acknowledged_us.push(memory_us);
    rounds.in_syncs.push(ack_us / sync_us);
    rounds.added_in_syncs.push((ack_us - memory_us) / sync_us);
    Ok(())
}
