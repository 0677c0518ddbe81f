//! What publishers notice of checkpoints: the same load with one every second or so, and with none.

use crate::median;
use crate::publishers::{connect, publish_packet, repeat, subscribe};
use crate::restart::publish_many;
use crate::server::Server;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Messages that wait for a client all the time: what a checkpoint writes.
const LIVE: usize = 100_000;

const PUBLISHERS: usize = 16;

/// Large, so that much is written and little of it is live.
const PAYLOAD_BYTES: usize = 1_024;

const ROUNDS: usize = 3;

const ROUND: Duration = Duration::from_secs(4);

/// The least that is written between checkpoints.
const MANY: &str = "1 MiB";
const NONE: &str = "100 GiB";

pub(crate) fn measure(program: &Path, directory: &Path) -> io::Result<()> {
    println!("{PUBLISHERS} publishers of {PAYLOAD_BYTES} bytes; {LIVE} small messages are live");
    let mut rows = [(MANY, Vec::new()), (NONE, Vec::new())];
    for _ in 0..ROUNDS {
        for (between, results) in &mut rows {
            results.push(round(program, directory, between)?);
        }
    }
    println!("checkpoints a round    msg/s   p50 us   p99 us  p99.9 us");
    for (_, results) in rows {
        let column =
            |index: usize| median(results.iter().map(|row: &[f64; 5]| row[index]).collect());
        println!(
            "{:>19.0}  {:>7.0}  {:>7.0}  {:>7.0}  {:>8.0}",
            column(0),
            column(1),
            column(2),
            column(3),
            column(4),
        );
    }
    Ok(())
}

fn round(program: &Path, directory: &Path, between: &str) -> io::Result<[f64; 5]> {
    let server = Server::start_set(
        program,
        directory,
        &[("WHIMBREL_STORAGE_CHECKPOINT_MIN_BYTES", between)],
    )?;
    subscribe(&mut connect(server.address, "away", true)?, "queued")?;
    publish_many(server.address, LIVE, |_| ("queued".to_owned(), false))?;
    let before = server.checkpoints()?;
    let packet = publish_packet("retained", 1, true, PAYLOAD_BYTES);
    let round = repeat(server.address, PUBLISHERS, ROUND, &packet)?;
    Ok([
        (server.checkpoints()? - before) as f64,
        round.messages_per_second,
        round.acknowledged_us(500),
        round.acknowledged_us(990),
        round.acknowledged_us(999),
    ])
}
