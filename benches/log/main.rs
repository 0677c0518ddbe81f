//! What a durable commit costs, and what the disk below it costs by itself, side by side:
//! `cargo run --release -p whimbrel-benches --bin log -- DIRECTORY`.
//!
//! Batches of 120-byte records are appended and awaited; then as many bytes are written to a file
//! of zeros and synced. The difference is the log's. At the end the log is opened again.

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;
use whimbrel_core::id::Position;
use whimbrel_core::log::{
    Batch, BatchWriter, Engine, LogConfig, LogEvent, LogUuid, Marker, Recovery, Summary,
};
use whimbrel_host::Executor;

/// The file that is written to without a log takes this much.
const BARE_BYTES: u64 = 64 << 20;

/// What a frame of this program takes.
const FRAME_BYTES: u64 = 176;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).ok_or("say in which directory")?;
    let directory = PathBuf::from(directory).join("whimbrel-log-figures");
    let (mut executor, mut engine, _) = open(&directory)?;
    run(&mut engine, &mut executor, None);
    let bare = File::create(directory.join("bare"))?;
    bare.write_all_at(&vec![0; BARE_BYTES as usize], 0)?;
    bare.sync_all()?;
    let mut position = 0;
    for batches in [1, 16, 100, 1_000, 10_000] {
        let mut ours = Vec::new();
        let mut disks = Vec::new();
        for round in 0..(20_000 / batches).clamp(40, 300) {
            for _ in 0..batches {
                position += 1;
                append(&mut engine, position)?;
            }
            let start = Instant::now();
            run(&mut engine, &mut executor, Some(Position(position)));
            ours.push(start.elapsed().as_micros());
            run(&mut engine, &mut executor, None);
            let bytes = vec![7; (batches * FRAME_BYTES) as usize];
            let start = Instant::now();
            let at = round * batches * FRAME_BYTES % (BARE_BYTES - bytes.len() as u64);
            bare.write_all_at(&bytes, at)?;
            bare.sync_data()?;
            disks.push(start.elapsed().as_micros());
        }
        print(batches, &mut ours, &mut disks);
    }
    println!("{:?}", engine.statistics());
    drop((engine, executor));
    let start = Instant::now();
    let (_, _, summary) = open(&directory)?;
    let (batches, bytes) = (summary.batches, summary.bytes);
    let elapsed = start.elapsed().as_millis();
    println!("opened again: {batches} batches, {bytes} bytes, {elapsed} ms");
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

fn print(batches: u64, ours: &mut [u128], disks: &mut [u128]) {
    ours.sort_unstable();
    disks.sort_unstable();
    let (p10, p50) = (ours.len() / 10, ours.len() / 2);
    println!(
        "{batches:>6} batches durable: p10 {:>6} us, p50 {:>6} us; bare: p10 {:>6} us, p50 {:>6} us",
        ours[p10], ours[p50], disks[p10], disks[p50],
    );
}

fn open(directory: &Path) -> Result<(Executor, Engine, Summary), Box<dyn Error>> {
    let mut executor = Executor::open(directory)?;
    let uuid = LogUuid(*b"whimbrel-figures");
    let mut recovery = Recovery::open(LogConfig::default(), uuid);
    loop {
        while recovery.poll_batch().is_some() {}
        let Some(operation) = recovery.poll_operation() else {
            break;
        };
        let id = operation.id;
        let result = executor.run(&operation.action);
        recovery.completed(id, result);
    }
    let (engine, summary) = recovery.into_engine()?;
    Ok((executor, engine, summary))
}

fn append(engine: &mut Engine, position: u64) -> Result<(), Box<dyn Error>> {
    let mut ops = Vec::new();
    BatchWriter::new(&mut ops).put(&position.to_le_bytes(), &[7; 120]);
    engine.append(Batch {
        shard: 0,
        position: Position(position),
        marker: Marker::None,
        ops: &ops,
    })?;
    Ok(())
}

/// Carries out operations until `wanted` is durable, or until there are none.
fn run(engine: &mut Engine, executor: &mut Executor, wanted: Option<Position>) {
    while let Some(operation) = engine.poll_operation() {
        let id = operation.id;
        let result = executor.run(&operation.action);
        engine.completed(id, result);
        while let Some(event) = engine.poll_event() {
            if matches!(event, LogEvent::Durable { position, .. } if Some(position) == wanted) {
                return;
            }
        }
    }
}
