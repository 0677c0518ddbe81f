//! What durability costs on this machine: the program, on a real disk, with publishers over
//! loopback, beside what the disk itself does in the same minute.
//!
//! ```sh
//! cargo build --release -p whimbrel
//! cargo run --release -p whimbrel-benches --bin durability -- target/release/whimbrel DIRECTORY
//! ```
//!
//! The directory must be on the disk in question; it is left empty. Of several short rounds, since
//! the disk may be shared with others, that one is told of that is in the middle by the broker's
//! share of the bare loop; *range* is that share in the others:
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

/// What was measured in one round.
struct Round {
    /// Messages a second.
    broker: f64,
    bare: f64,
    memory: f64,
    disk: f64,
    /// Microseconds in the middle.
    acknowledged_us: f64,
    bare_acknowledged_us: f64,
    memory_acknowledged_us: f64,
    sync_us: f64,
    bare_sync_us: f64,
}

impl Round {
    /// What of the bare loop the broker has reached.
    fn of_bare(&self) -> f64 {
        self.broker / self.bare
    }
}

fn measure(program: &Path, directory: &Path) -> std::io::Result<()> {
    println!(
        "publishers  broker/s  bare loop/s  of loop   (range)  in memory/s  disk alone/s  of disk  \
         ack p50 us  bare ack  memory ack  sync alone  bare sync  in syncs  added"
    );
    for publishers in [1, 16, 256] {
        let mut rounds = (0..ROUNDS)
            .map(|_| round(program, directory, publishers))
            .collect::<Result<Vec<_>, _>>()?;
        rounds.sort_by(|one, other| one.of_bare().total_cmp(&other.of_bare()));
        let [least, .., most] = rounds.as_slice() else {
            continue;
        };
        let (least, most) = (least.of_bare() * 100.0, most.of_bare() * 100.0);
        let it = &rounds[ROUNDS / 2];
        let added_us = it.acknowledged_us - it.memory_acknowledged_us;
        println!(
            "{publishers:>10}  {:>8.0}  {:>11.0}  {:>5.0} %  {least:>3.0}-{most:<4.0}  {:>11.0}  {:>12.0}  {:>5.0} %  {:>10.0}  {:>8.0}  {:>10.0}  {:>10.0}  {:>9.0}  {:>8.1}  {:>5.1}",
            it.broker,
            it.bare,
            it.of_bare() * 100.0,
            it.memory,
            it.disk,
            it.broker / it.disk * 100.0,
            it.acknowledged_us,
            it.bare_acknowledged_us,
            it.memory_acknowledged_us,
            it.sync_us,
            it.bare_sync_us,
            it.acknowledged_us / it.sync_us,
            added_us / it.sync_us,
        );
    }
    Ok(())
}

/// A disk and a machine that are shared change their minds from second to second: neighbours are
/// compared.
fn round(program: &Path, directory: &Path, publishers: usize) -> std::io::Result<Round> {
    let (disk, sync_us) = disk::alone(directory, publishers, RECORD_BYTES, ROUND)?;
    let server = server::Server::start(program, directory)?;
    let broker = publishers::publish(server.address, publishers, ROUND)?;
    drop(server);
    let bare_loop = bare::Bare::start(directory)?;
    let bare = publishers::publish(bare_loop.address, publishers, ROUND)?;
    let bare_sync_us = bare_loop.stop()?;
    let server = server::Server::in_memory(program)?;
    let memory = publishers::publish(server.address, publishers, ROUND)?;
    Ok(Round {
        broker: broker.messages_per_second,
        bare: bare.messages_per_second,
        memory: memory.messages_per_second,
        disk,
        acknowledged_us: broker.acknowledged_us(500),
        bare_acknowledged_us: bare.acknowledged_us(500),
        memory_acknowledged_us: memory.acknowledged_us(500),
        sync_us,
        bare_sync_us,
    })
}
