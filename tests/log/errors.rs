//! The disk fails: never twice the same sync, never a word about what may be lost.

use crate::harness::{Log, Stop, UUID, check_prefix, drive, open, small};
use whimbrel_core::log::{
    AppendError, FileName, IoFailure, IoFailureKind, LogConfig, LogEvent, Marker, Poison, Recovery,
    RecoveryError, SyncPolicy,
};
use whimbrel_tests::{CrashStyle, Disk, Random};

fn one() -> Vec<(&'static [u8], Option<&'static [u8]>)> {
    vec![(b"k", Some(b"v"))]
}

#[test]
fn a_failed_sync_is_the_end() {
    let (mut log, ..) = open(&small(), Disk::default());
    log.put("a", b"1");
    log.append(&one()).unwrap();
    log.step().unwrap();
    log.disk.fail(log.disk.step_count, IoFailureKind::Other);
    log.run();
    let failure = IoFailure {
        kind: IoFailureKind::Other,
        code: None,
    };
    let poison = Poison {
        verb: "sync",
        file: Some(FileName::Segment(1)),
        failure,
    };
    assert!(log.heard(LogEvent::Poisoned(poison)));
    assert_eq!(
        poison.to_string(),
        "sync of seg-0000000000000001 failed: input/output error"
    );
    assert_eq!(log.durable, 1);
    assert_eq!(log.append(&one()), Err(AppendError::Poisoned));
    log.wait();
    assert!(log.engine.poll_operation().is_none());
    assert_eq!(log.engine.next_deadline(), None);
}

#[test]
fn a_failed_sync_is_the_end_also_where_nobody_waits_for_it() {
    for sync in [SyncPolicy::Interval { ms: 10 }, SyncPolicy::Never] {
        let config = LogConfig { sync, ..small() };
        let (mut log, ..) = open(&config, Disk::default());
        for round in 0..10_000 {
            log.put(&format!("k{}", round % 10), &[1; 700]);
            log.wait();
            if log.heard(LogEvent::CheckpointWanted) {
                break;
            }
        }
        log.run();
        // The next operation that is a sync: of the interval, or before segments are removed.
        let durable = log.durable;
        log.disk.fails_next_sync = Some(IoFailureKind::Other);
        let _ = log.append_marked(Marker::CheckpointBegin, &one());
        let _ = log.append_marked(Marker::CheckpointEnd, &[]);
        for _ in 0..10 {
            log.run();
            log.wait();
        }
        assert!(log.poisoned, "{sync:?}");
        assert!(log.durable >= durable, "what was written was reported");
        assert_eq!(log.append(&one()), Err(AppendError::Poisoned));
        assert!(log.engine.poll_operation().is_none());
        assert_eq!(log.engine.next_deadline(), None);
        let removed = |event: &LogEvent| matches!(event, LogEvent::Checkpointed { .. });
        assert!(!log.events.iter().any(removed), "nothing is removed");
        // What an earlier sync proved is there.
        let disk = log.disk.crash(None, CrashStyle::LosesAll, 1);
        open(&config, disk);
    }
}

/// After a failed sync the system shows what it did not write, and the next sync of the same file
/// says that all is well. Whatever recovery takes for read must be written anew before it is
/// reported.
#[test]
fn a_lying_disk_is_not_believed() {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let (mut log, ..) = open(&small(), Disk::default());
        for round in 0..random.below(20) {
            log.put("k", &vec![round as u8; random.below(3_000)]);
        }
        log.append(&one()).unwrap();
        log.append(&[(b"large", Some(&[7; 3_000]))]).unwrap();
        log.step().unwrap();
        log.disk.fail(log.disk.step_count, IoFailureKind::Other);
        log.run();
        assert!(log.poisoned);
        // The process ends, the system goes on: what it shows is recovered, and acknowledged again.
        let (mut second, contents, _) = open(&small(), log.disk.clone());
        second.put("new", b"1");
        let promised = second.state().clone();
        assert!(contents.last() >= log.durable);
        // Now the power goes.
        let disk = second.disk.crash(None, CrashStyle::LosesAll, seed);
        let (_, contents, _) = open(&small(), disk);
        assert!(contents.state == promised, "seed {seed}");
    }
}

/// The same where there is no room for a new segment.
#[test]
fn a_lying_disk_that_is_full_is_not_believed() {
    for seed in 0..200 {
        let (mut log, ..) = open(&small(), Disk::default());
        let value = vec![3; Random::new(seed).below(5_000)];
        log.append(&[(b"k", Some(&value))]).unwrap();
        log.step().unwrap();
        let mut disk = log.disk.clone();
        disk.fail(disk.step_count, IoFailureKind::Other);
        log.disk = disk;
        log.step().unwrap();
        assert!(log.poisoned);
        log.disk.capacity_bytes = Some(log.disk.used_bytes());
        let (second, contents, _) = open(&small(), log.disk.clone());
        assert_eq!(second.disk.file_names().count(), 1);
        assert_eq!(contents.last(), 1);
        let disk = second.disk.crash(None, CrashStyle::LosesAll, seed);
        let (_, kept, _) = open(&small(), disk);
        assert!(kept.state == contents.state, "seed {seed}");
    }
}

/// Any operation fails, in any way; then the power goes.
#[test]
fn a_failure_of_any_operation_costs_nothing_durable() {
    for kind in [
        IoFailureKind::NoSpace,
        IoFailureKind::NoDescriptor,
        IoFailureKind::Other,
        IoFailureKind::Denied,
        IoFailureKind::NotFound,
    ] {
        let mut was_reached = true;
        for step in 0.. {
            if !was_reached {
                break;
            }
            was_reached = fail_at(step, kind);
        }
    }
}

fn fail_at(step: u64, kind: IoFailureKind) -> bool {
    let mut disk = Disk::default();
    disk.fail(step, kind);
    let mut recovery = Recovery::open(small(), UUID);
    drive(&mut recovery, &mut disk, None).unwrap();
    if let Err(error) = recovery.into_engine() {
        assert!(matches!(error, RecoveryError::Io { .. }));
        open(&small(), disk.crash(None, CrashStyle::Mixed, step));
        return true;
    }
    let mut disk = Disk::default();
    disk.fail(step, kind);
    let (mut log, ..) = open(&small(), disk);
    story(&mut log);
    let what = format!("{kind:?} at {step}");
    assert!(
        kind != IoFailureKind::NoDescriptor || !log.poisoned,
        "{what}"
    );
    if matches!(kind, IoFailureKind::NoSpace | IoFailureKind::NoDescriptor) && !log.poisoned {
        assert_eq!(log.durable, log.position, "{what}: it goes on by itself");
    }
    let reached = log.disk.step_count > step;
    let disk = log.disk.crash(None, CrashStyle::Mixed, step);
    check_prefix(&small(), &log, disk, &what);
    reached
}

fn story(log: &mut Log) {
    for round in 0..50_u8 {
        let length = if round == 30 { 20_000 } else { 900 };
        let value = vec![round; length];
        if log.append(&[(&[b'k', round % 5], Some(&value))]).is_err() {
            return;
        }
        log.run();
        if log.heard(LogEvent::CheckpointWanted) && !log.poisoned {
            if log.append_marked(Marker::CheckpointBegin, &[]).is_err() {
                return;
            }
            let state = log.state().clone();
            for (key, value) in &state {
                let _ = log.append(&[(key, Some(value))]);
                log.run();
            }
            let _ = log.append_marked(Marker::CheckpointEnd, &[]);
        }
        log.wait();
        log.run();
    }
    for _ in 0..5 {
        log.wait();
        log.run();
    }
}

#[test]
fn a_failed_recovery_says_where_and_can_be_repeated() {
    let (mut log, ..) = open(&small(), Disk::default());
    for round in 0..30 {
        log.put("k", &[round; 1_000]);
    }
    let disk = log.disk.crash(None, CrashStyle::KeepsAll, 0);
    let mut failed = 0;
    for step in 0..60 {
        let mut broken = disk.clone();
        // A read that fails otherwise is repeated, block by block.
        broken.fail(step, IoFailureKind::Denied);
        let mut recovery = Recovery::open(small(), UUID);
        drive(&mut recovery, &mut broken, None).unwrap();
        if recovery.into_engine().is_err() {
            failed += 1;
        }
        let after = broken.crash(None, CrashStyle::Mixed, step);
        check_prefix(&small(), &log, after, &format!("failed at {step}"));
    }
    assert!(failed > 8);
}

#[test]
fn only_the_right_answer_counts() {
    let stop = Stop {
        step: 3,
        style: CrashStyle::LosesAll,
        seed: 0,
    };
    let mut recovery = Recovery::open(small(), UUID);
    assert!(drive(&mut recovery, &mut Disk::default(), Some(stop)).is_err());
    assert_eq!(
        recovery.into_engine().err(),
        Some(RecoveryError::Unfinished)
    );
}
