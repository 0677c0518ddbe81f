//! Committing: what it costs, and when it is reported.

use crate::harness::{open, small};
use whimbrel_core::id::Position;
use whimbrel_core::log::{
    AppendError, Batch, FileAction, LogConfig, LogEnd, LogEvent, Marker, SyncPolicy,
};
use whimbrel_tests::Disk;

#[test]
fn a_new_log_is_empty() {
    let (mut log, contents, summary) = open(&small(), Disk::default());
    assert!(contents.batches.is_empty());
    assert_eq!(summary.end, LogEnd::New);
    log.run();
    assert_eq!(log.engine.statistics().spares, 1);
}

#[test]
fn a_lone_batch_costs_one_write_and_one_sync() {
    let (mut log, ..) = open(&small(), Disk::default());
    log.run();
    let before = log.disk.step_count;
    log.append(&[(b"a", Some(b"1"))]).unwrap();
    assert!(log.step().unwrap());
    assert_eq!(log.durable, 0, "written is not durable");
    assert!(log.step().unwrap());
    assert_eq!(log.durable, 1);
    log.run();
    assert_eq!(log.disk.step_count - before, 2);
}

#[test]
fn what_comes_during_a_commit_shares_the_next() {
    let (mut log, ..) = open(&small(), Disk::default());
    log.run();
    log.append(&[(b"a", Some(b"1"))]).unwrap();
    log.step().unwrap();
    for key in [b"b", b"c", b"d"] {
        log.append(&[(key, Some(b"2"))]).unwrap();
    }
    let before = log.engine.statistics();
    log.run();
    let after = log.engine.statistics();
    assert_eq!(
        (after.writes - before.writes, after.syncs - before.syncs),
        (1, 2)
    );
    assert_eq!(log.durable, 4);
}

#[test]
fn a_segment_follows_without_waiting() {
    let (mut log, ..) = open(&small(), Disk::default());
    log.run();
    for round in 0..40_u8 {
        log.append(&[(b"k", Some(&[round; 900]))]).unwrap();
        let operations = {
            let before = log.disk.step_count;
            while log.durable < log.position {
                assert!(log.step().unwrap());
            }
            log.disk.step_count - before
        };
        assert_eq!(operations, 2, "round {round}");
        log.run();
    }
    assert!(log.engine.statistics().segments > 2);
}

#[test]
fn a_busy_log_still_gets_its_spare() {
    let (mut log, ..) = open(&small(), Disk::default());
    for round in 0..400_u32 {
        log.append(&[(b"k", Some(&[7; 500]))]).unwrap();
        assert!(log.step().unwrap(), "round {round} has nothing to do");
    }
    log.run();
    assert_eq!(log.durable, 400);
}

#[test]
fn a_batch_larger_than_a_segment_makes_it_longer() {
    let (mut log, ..) = open(&small(), Disk::default());
    log.put("small", b"1");
    log.put("large", &[9; 70_000]);
    log.put("small", b"2");
    assert_eq!(log.durable, 3);
    let (_, contents, _) = open(&small(), log.disk);
    assert_eq!(contents.batches.len(), 3);
    assert_eq!(contents.state[&b"large"[..]], [9; 70_000]);
}

#[test]
fn callers_are_told_what_they_do_wrong() {
    let config = LogConfig {
        batch_bytes_max: 100,
        ..small()
    };
    let (mut log, ..) = open(&config, Disk::default());
    let batch = Batch {
        shard: 0,
        position: Position(5),
        marker: Marker::None,
        ops: &[],
    };
    let too_large = Batch {
        ops: &[0; 101],
        ..batch
    };
    assert_eq!(log.engine.append(too_large), Err(AppendError::TooLarge));
    let shard = Batch { shard: 1, ..batch };
    assert_eq!(log.engine.append(shard), Err(AppendError::Shard));
    assert_eq!(log.engine.append(batch), Ok(()));
    assert_eq!(log.engine.append(batch), Err(AppendError::Position));
    log.engine.close();
    let next = Batch {
        position: Position(6),
        ..batch
    };
    assert_eq!(log.engine.append(next), Err(AppendError::Closed));
}

#[test]
fn a_closed_log_is_clean() {
    for sync in [
        SyncPolicy::Always,
        SyncPolicy::Interval { ms: 50 },
        SyncPolicy::Never,
    ] {
        let config = LogConfig { sync, ..small() };
        let (mut log, ..) = open(&config, Disk::default());
        log.append(&[(b"a", Some(b"1"))]).unwrap();
        log.engine.close();
        log.run();
        assert!(log.heard(LogEvent::Closed));
        assert!(log.engine.poll_operation().is_none());
        let disk = log
            .disk
            .crash(None, whimbrel_tests::CrashStyle::LosesAll, 0);
        let (_, contents, summary) = open(&config, disk);
        assert_eq!(summary.end, LogEnd::Clean);
        assert_eq!(contents.batches.len(), 1);
    }
}

#[test]
fn an_interval_reports_after_the_write_and_syncs_in_time() {
    let config = LogConfig {
        sync: SyncPolicy::Interval { ms: 50 },
        ..small()
    };
    let (mut log, ..) = open(&config, Disk::default());
    log.run();
    let syncs = log.engine.statistics().syncs;
    log.put("a", b"1");
    assert_eq!(log.durable, 1);
    assert_eq!(log.engine.statistics().syncs, syncs);
    let due = log.engine.next_deadline().unwrap();
    assert_eq!(due, log.now.after_ms(50));
    log.put("b", b"2");
    assert_eq!(log.engine.next_deadline(), Some(due), "not put off");
    log.wait();
    log.run();
    assert_eq!(log.engine.statistics().syncs, syncs + 1);
    assert_eq!(log.engine.next_deadline(), None);
}

#[test]
fn only_one_operation_is_out_at_a_time() {
    let (mut log, ..) = open(&small(), Disk::default());
    log.run();
    log.append(&[(b"a", Some(b"1"))]).unwrap();
    let operation = log.engine.poll_operation().unwrap();
    let id = operation.id;
    assert!(matches!(operation.action, FileAction::WriteAt { .. }));
    assert!(log.engine.poll_operation().is_none());
    let stale = whimbrel_core::log::OperationId(id.0 - 1);
    let done = Ok(whimbrel_core::log::Completion::Done);
    log.engine.completed(stale, done);
    assert!(log.engine.poll_operation().is_none());
    log.engine.completed(id, done);
    assert!(log.engine.poll_operation().is_some());
}

#[test]
fn shards_are_told_apart() {
    let config = LogConfig {
        shards: 3,
        ..small()
    };
    let (mut log, ..) = open(&config, Disk::default());
    for (shard, position) in [(0, 1), (2, 1), (0, 2), (2, 9)] {
        let batch = Batch {
            shard,
            position: Position(position),
            marker: Marker::None,
            ops: &[],
        };
        log.engine.append(batch).unwrap();
    }
    let mut reports = Vec::new();
    while let Some(operation) = log.engine.poll_operation() {
        let id = operation.id;
        let result = log.disk.run(&operation.action);
        log.engine.completed(id, result);
        while let Some(event) = log.engine.poll_event() {
            if let LogEvent::Durable { shard, position } = event {
                reports.push((shard, position.0));
            }
        }
    }
    assert_eq!(reports, [(0, 2), (2, 9)]);
}

#[test]
fn a_window_lets_company_come_and_ends() {
    let config = LogConfig {
        sync_window_ms: 20,
        ..small()
    };
    let (mut log, ..) = open(&config, Disk::default());
    log.run();
    let before = log.engine.statistics();
    for key in [b"a", b"b"] {
        log.append(&[(key, Some(b"1"))]).unwrap();
        log.run();
        assert_eq!(log.durable, 0);
    }
    log.wait();
    log.run();
    assert_eq!(log.durable, 2);
    let after = log.engine.statistics();
    assert_eq!(after.writes - before.writes, 1);
    assert_eq!(log.engine.next_deadline(), None);
}

#[test]
fn much_is_company_enough() {
    let config = LogConfig {
        sync_window_ms: 20,
        ..small()
    };
    let (mut log, ..) = open(&config, Disk::default());
    log.append(&[(b"a", Some(&vec![1; 2 << 20]))]).unwrap();
    log.run();
    assert_eq!(log.durable, 1);
}

#[test]
fn every_byte_for_the_disk_is_counted() {
    let (mut log, ..) = open(&small(), Disk::default());
    log.run();
    let made = log.engine.statistics();
    assert_eq!(made.prepared_bytes, small().segment_bytes);
    assert_eq!(made.payload_bytes, 0);
    let ops: &[(&[u8], Option<&[u8]>)] = &[(b"key", Some(b"value"))];
    for _ in 0..2 {
        log.append(ops).unwrap();
        log.run();
    }
    let after = log.engine.statistics();
    let bytes = after.written_bytes - made.written_bytes;
    // Two lengths of a byte each, key and value, padded, behind a header of 40; the segment was
    // begun by recovery.
    assert_eq!(after.payload_bytes, 2 * (2 + 3 + 5));
    assert_eq!(bytes, 2 * (40 + 16));
    assert_eq!(after.block_bytes - made.block_bytes, 2 * 4_096);
    assert!(after.write_amplification() > 4_096.0 / 10.0);
}
