//! The executor, on real files.

use crate::harness::{UUID, small};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;
use whimbrel_core::id::Position;
use whimbrel_core::log::executor::Executor;
use whimbrel_core::log::{
    Batch, BatchWriter, Engine, LogConfig, LogEnd, LogEvent, Marker, Recovery, Summary,
};

/// A directory of this test's own, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("whimbrel-log-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path, config: &LogConfig) -> (Executor, Engine, Summary, usize) {
    let mut executor = Executor::open(path).unwrap();
    let mut recovery = Recovery::open(config.clone(), UUID);
    let mut batches = 0;
    loop {
        while recovery.poll_batch().is_some() {
            batches += 1;
        }
        let Some(operation) = recovery.poll_operation() else {
            break;
        };
        let id = operation.id;
        let result = executor.run(&operation.action);
        recovery.completed(id, result);
    }
    let (engine, summary) = recovery.into_engine().unwrap();
    (executor, engine, summary, batches)
}

/// What the thread of a runtime does.
fn run(engine: &mut Engine, executor: &mut Executor) -> Vec<LogEvent> {
    let mut events = Vec::new();
    loop {
        while let Some(event) = engine.poll_event() {
            events.push(event);
        }
        let Some(operation) = engine.poll_operation() else {
            return events;
        };
        let id = operation.id;
        let result = executor.run(&operation.action);
        engine.completed(id, result);
    }
}

fn append(engine: &mut Engine, position: u64, value: &[u8]) {
    let mut ops = Vec::new();
    BatchWriter::new(&mut ops).put(&position.to_le_bytes(), value);
    let batch = Batch {
        shard: 0,
        position: Position(position),
        marker: Marker::None,
        ops: &ops,
    };
    engine.append(batch).unwrap();
}

#[test]
fn a_log_in_a_directory_is_closed_and_opened() {
    let directory = Directory::new("reopen");
    let (mut executor, mut engine, summary, _) = open(&directory.0, &small());
    assert_eq!(summary.end, LogEnd::New);
    for position in 1..=200 {
        append(&mut engine, position, &[7; 500]);
        if position % 7 == 0 {
            run(&mut engine, &mut executor);
        }
    }
    let events = run(&mut engine, &mut executor);
    let position = Position(200);
    assert!(events.contains(&LogEvent::Durable { shard: 0, position }));
    engine.close();
    assert!(run(&mut engine, &mut executor).contains(&LogEvent::Closed));
    drop(executor);
    let (_, _, summary, batches) = open(&directory.0, &small());
    assert_eq!(summary.end, LogEnd::Clean);
    assert_eq!(batches, 200);
}

#[test]
fn a_directory_has_one_user() {
    let directory = Directory::new("lock");
    let first = Executor::open(&directory.0).unwrap();
    let second = Executor::open(&directory.0).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::WouldBlock);
    drop(first);
    Executor::open(&directory.0).unwrap();
}

#[cfg(unix)]
#[test]
fn files_are_the_owners_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new("mode");
    let _log = open(&directory.0, &small());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory.0), 0o700);
    for entry in std::fs::read_dir(&directory.0).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

/// Not a test: figures for the report, with the disk's own beside them.
#[test]
#[ignore = "measures; run with --release --ignored --nocapture"]
fn figures() {
    use std::os::unix::fs::FileExt;
    let directory = Directory::new("figures");
    let (mut executor, mut engine, ..) = open(&directory.0, &LogConfig::default());
    run(&mut engine, &mut executor);
    let raw = std::fs::File::create(directory.0.join("raw")).unwrap();
    raw.write_all_at(&vec![0; 64 << 20], 0).unwrap();
    raw.sync_all().unwrap();
    let mut position = 0;
    let mut offset = 0;
    for batch in [1_u64, 16, 100, 1_000, 10_000] {
        let rounds = (20_000 / batch).clamp(40, 300);
        let mut ours = Vec::new();
        let mut bare = Vec::new();
        for _ in 0..rounds {
            for _ in 0..batch {
                position += 1;
                append(&mut engine, position, &[7; 120]);
            }
            let start = Instant::now();
            let wanted = Position(position);
            'durable: loop {
                let operation = engine.poll_operation().unwrap();
                let id = operation.id;
                let result = executor.run(&operation.action);
                engine.completed(id, result);
                while let Some(event) = engine.poll_event() {
                    if matches!(event, LogEvent::Durable { position, .. } if position == wanted) {
                        break 'durable;
                    }
                }
            }
            ours.push(start.elapsed().as_micros());
            run(&mut engine, &mut executor);
            let bytes = vec![7; (batch * 176) as usize];
            let start = Instant::now();
            raw.write_all_at(&bytes, offset % (60 << 20)).unwrap();
            raw.sync_data().unwrap();
            bare.push(start.elapsed().as_micros());
            offset += bytes.len() as u64;
        }
        ours.sort_unstable();
        bare.sort_unstable();
        let (p10, p50) = (ours.len() / 10, ours.len() / 2);
        println!(
            "batch {batch:>6}: log p10 {:>6} us p50 {:>6} us   bare write+fdatasync p10 {:>6} us p50 {:>6} us",
            ours[p10], ours[p50], bare[p10], bare[p50],
        );
    }
    let statistics = engine.statistics();
    drop((engine, executor));
    let start = Instant::now();
    let (.., summary, batches) = open(&directory.0, &LogConfig::default());
    println!(
        "reopened {batches} batches, {} bytes in {} ms; {statistics:?}",
        summary.bytes,
        start.elapsed().as_millis()
    );
}
