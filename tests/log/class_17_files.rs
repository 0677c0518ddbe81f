//! The executor, on real files.

use crate::harness::{UUID, small};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use whimbrel_core::id::Position;
use whimbrel_core::log::{
    Batch, BatchWriter, Engine, FileAction, FileName, LogConfig, LogEnd, LogEvent, Marker,
    Recovery, Summary,
};
use whimbrel_host::Executor;

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

/// As `whimbrel log verify` does.
#[test]
fn who_reads_leaves_nothing_behind_and_keeps_writers_out() {
    let directory = Directory::new("read");
    let (mut executor, mut engine, ..) = open(&directory.0, &small());
    append(&mut engine, 1, b"kept");
    run(&mut engine, &mut executor);
    let beside = Executor::read_only(&directory.0).unwrap_err();
    assert_eq!(beside.kind(), ErrorKind::WouldBlock);
    drop(executor);

    let reader = Executor::read_only(&directory.0).unwrap();
    Executor::read_only(&directory.0).unwrap();
    let writer = Executor::open(&directory.0).unwrap_err();
    assert_eq!(writer.kind(), ErrorKind::WouldBlock);
    drop(reader);

    std::fs::remove_file(directory.0.join("LOCK")).unwrap();
    let mut executor = Executor::read_only(&directory.0).unwrap();
    let mut recovery = Recovery::verify();
    let mut batches = 0;
    loop {
        while recovery.poll_batch().is_some() {
            batches += 1;
        }
        let Some(operation) = recovery.poll_operation() else {
            break;
        };
        let (id, result) = (operation.id, executor.run(&operation.action));
        recovery.completed(id, result);
    }
    recovery.into_summary().unwrap();
    assert_eq!(batches, 1);
    assert!(!directory.0.join("LOCK").exists());
    let write = FileAction::WriteAt {
        file: FileName::Segment(1),
        offset: 0,
        bytes: b"x",
    };
    assert!(executor.run(&write).is_err());
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
