//! A full disk: met one segment early, survived, and left by itself.

use crate::harness::{Crashed, Log, Stop, UUID, check_prefix, drive, open, small};
use whimbrel_core::log::{
    IoFailureKind, LogConfig, LogEvent, Marker, Pressure, Recovery, Shortage,
};
use whimbrel_tests::{CrashStyle, Disk};

fn disk_of(bytes: usize) -> Disk {
    let mut disk = Disk::default();
    disk.capacity_bytes = Some(bytes);
    disk
}

/// What a narrow log has room for.
const ROOM_BYTES: u64 = 320 << 10;

/// No more room than that: by a quota on a disk that has more, or by the disk itself.
fn narrow(by_quota: bool) -> (Option<u64>, Disk) {
    if by_quota {
        (Some(ROOM_BYTES), Disk::default())
    } else {
        (None, disk_of(ROOM_BYTES as usize))
    }
}

/// What it is then.
fn high(quota: bool) -> Pressure {
    Pressure::High(if quota {
        Shortage::Quota
    } else {
        Shortage::Disk
    })
}

/// Appends until there is pressure.
fn fill(log: &mut Log) {
    for round in 0..10_000_u32 {
        if log.pressure != Pressure::None {
            return;
        }
        log.put(&format!("k{round}"), &[1; 700]);
        assert_eq!(log.durable, log.position);
    }
    panic!("never full");
}

#[test]
fn a_full_disk_is_met_one_segment_early() {
    let (mut log, ..) = open(&small(), disk_of(200 << 10));
    fill(&mut log);
    assert_eq!(log.pressure, Pressure::High(Shortage::Disk));
    // What frees space is still taken, a whole segment of it.
    for round in 0..100_u32 {
        log.append(&[(format!("k{round}").as_bytes(), None)])
            .unwrap();
        log.run();
        assert_eq!(log.durable, log.position);
    }
}

#[test]
fn a_disk_that_is_freed_is_used_again() {
    let (mut log, ..) = open(&small(), disk_of(200 << 10));
    fill(&mut log);
    while log.pressure != Pressure::Full(Shortage::Disk) {
        log.put("more", &[2; 700]);
    }
    assert!(log.durable < log.position);
    log.wait();
    log.run();
    assert_eq!(log.pressure, Pressure::Full(Shortage::Disk));
    check_prefix(&small(), &log, log.disk.clone(), "while full");
    log.disk.capacity_bytes = Some(400 << 10);
    log.wait();
    log.run();
    assert_eq!(log.pressure, Pressure::None);
    assert_eq!(log.durable, log.position);
    check_prefix(&small(), &log, log.disk.clone(), "after");
}

/// The broker refuses new messages, the clients fetch theirs, and a checkpoint gives the space
/// back.
#[test]
fn a_full_disk_empties_itself_when_its_messages_are_fetched() {
    for quota in [false, true] {
        let (quota_bytes, disk) = narrow(quota);
        let config = LogConfig {
            quota_bytes,
            checkpoint_min_bytes: 64 << 20,
            ..small()
        };
        let (mut log, ..) = open(&config, disk);
        for turn in 0..6 {
            let mut live = 0;
            for round in 0..10_000_u32 {
                if log.pressure != Pressure::None {
                    break;
                }
                log.put(&format!("k{round}"), &[turn; 700]);
                live = log.tell_live_bytes();
            }
            assert_eq!(log.pressure, high(quota), "turn {turn}");
            assert!(
                live > ROOM_BYTES / 6,
                "turn {turn}: {live} bytes are in use"
            );
            let keys: Vec<Vec<u8>> = log.state().keys().cloned().collect();
            for key in keys {
                log.append(&[(&key, None)]).unwrap();
                log.run();
                log.tell_live_bytes();
                log.run();
                if log.heard(LogEvent::CheckpointWanted) {
                    log.checkpoint().unwrap();
                }
                if log.pressure == Pressure::None {
                    break;
                }
            }
            let statistics = log.engine.statistics();
            assert_eq!(log.durable, log.position, "turn {turn}: {statistics:?}");
            assert_eq!(log.pressure, Pressure::None, "turn {turn}");
            assert!(log.engine.statistics().used_bytes <= ROOM_BYTES);
            let counted = log.engine.statistics().used_bytes;
            assert_eq!(counted, log.disk.used_bytes() as u64, "turn {turn}");
        }
        check_prefix(&config, &log, log.disk.clone(), "at last");
    }
}

/// Deliveries that are begun are written again, and so are those that end: what is fetched takes
/// room before it gives some. The room that a checkpoint needs is not given away for it.
#[test]
fn a_full_disk_empties_itself_however_its_messages_are_fetched() {
    for (value_bytes, group) in [(100, 1), (100, 50), (700, 1), (5_000, 1)] {
        let config = LogConfig {
            quota_bytes: Some(256 << 10),
            checkpoint_min_bytes: 64 << 20,
            ..small()
        };
        let (mut log, ..) = open(&config, Disk::default());
        for turn in 0..2 {
            let what = format!("{group} of {value_bytes} bytes, turn {turn}");
            for round in 0..100_000_u32 {
                if log.pressure != Pressure::None {
                    break;
                }
                log.put(&format!("k{round}"), &vec![turn; value_bytes]);
                log.tell_live_bytes();
            }
            assert_eq!(log.pressure, Pressure::High(Shortage::Quota), "{what}");
            let keys: Vec<Vec<u8>> = log.state().keys().cloned().collect();
            for keys in keys.chunks(group) {
                for change in [Some(&[1_u8; 20][..]), None] {
                    let ops: Vec<_> = keys.iter().map(|key| (key.as_slice(), change)).collect();
                    log.append(&ops).unwrap();
                    log.run();
                    log.tell_live_bytes();
                    log.run();
                    if log.heard(LogEvent::CheckpointWanted) {
                        log.checkpoint().unwrap();
                    }
                    let statistics = log.engine.statistics();
                    assert_eq!(log.durable, log.position, "{what}: {statistics:?}");
                    assert!(statistics.used_bytes <= 256 << 10, "{what}: {statistics:?}");
                }
            }
            let statistics = log.engine.statistics();
            assert_eq!(log.pressure, Pressure::None, "{what}: {statistics:?}");
        }
        check_prefix(&config, &log, log.disk.clone(), "at last");
    }
}

/// Spares make room for it.
#[test]
fn a_batch_larger_than_a_segment_fits_when_there_is_no_room_for_more() {
    for quota in [false, true] {
        let (quota_bytes, disk) = narrow(quota);
        let config = LogConfig {
            quota_bytes,
            ..small()
        };
        let (mut log, ..) = open(&config, disk);
        for round in 0..10_000_u32 {
            if log.pressure != Pressure::None {
                break;
            }
            log.put(&format!("k{round}"), &[1; 700]);
            log.tell_live_bytes();
        }
        assert_eq!(log.pressure, high(quota));
        let spares = log.engine.statistics().spares;
        assert!(spares > 4, "{spares}");
        log.put("large", &[2; 50_000]);
        for _ in 0..5 {
            log.wait();
            log.run();
        }
        let statistics = log.engine.statistics();
        assert_eq!(log.durable, log.position, "{statistics:?}");
        assert_eq!(statistics.used_bytes, log.disk.used_bytes() as u64);
        assert!(statistics.used_bytes <= ROOM_BYTES, "{statistics:?}");
        check_prefix(&config, &log, log.disk.clone(), "after");
    }
}

#[test]
fn a_start_heeds_the_quota() {
    let config = LogConfig {
        quota_bytes: Some(128 << 10),
        ..small()
    };
    let (mut log, ..) = open(&config, Disk::default());
    fill(&mut log);
    while log.pressure != Pressure::Full(Shortage::Quota) {
        log.put("more", &[2; 700]);
    }
    for _ in 0..4 {
        let disk = check_prefix(&config, &log, log.disk.clone(), "full");
        assert!(disk.used_bytes() <= 128 << 10, "{}", disk.used_bytes());
        log = open(&config, log.disk.crash(None, CrashStyle::Mixed, 0)).0;
        log.append(&[(b"k1", None)]).unwrap();
        log.run();
    }
}

#[test]
fn a_full_disk_does_not_prevent_a_start() {
    for is_closed in [false, true] {
        let (mut log, ..) = open(&small(), disk_of(200 << 10));
        fill(&mut log);
        log.disk.capacity_bytes = Some(log.disk.used_bytes());
        for round in 0..20_u8 {
            log.put("k1", &[round; 30]);
            log.append(&[(&[b'x', round], None)]).unwrap();
            log.run();
            assert_eq!(log.durable, log.position);
            if is_closed {
                log.engine.close();
                log.run();
            }
            let disk = check_prefix(&small(), &log, log.disk.clone(), "restart");
            assert!(disk.used_bytes() <= log.disk.used_bytes());
            let (state, position) = (log.state().clone(), log.position);
            log = open(&small(), log.disk.crash(None, CrashStyle::Mixed, 0)).0;
            assert!(*log.state() == state && log.position == position);
        }
    }
}

#[test]
fn a_start_on_a_full_disk_may_be_stopped_anywhere() {
    let (mut log, ..) = open(&small(), disk_of(200 << 10));
    fill(&mut log);
    log.append(&[(b"k1", Some(&[3; 100]))]).unwrap();
    log.append(&[(b"k2", Some(&[4; 100]))]).unwrap();
    log.disk.capacity_bytes = Some(log.disk.used_bytes());
    log.step().unwrap();
    let full = log.disk.crash(None, CrashStyle::KeepsAll, 0);
    for step in 0..40 {
        for seed in 0..20 {
            let stop = Stop {
                step,
                style: CrashStyle::Mixed,
                seed,
            };
            let mut recovery = Recovery::open(small(), UUID);
            let result = drive(&mut recovery, &mut full.clone(), Some(stop));
            if let Err(Crashed(disk)) = result {
                check_prefix(&small(), &log, *disk, &format!("{stop:?}"));
            }
        }
    }
}

/// Found by the simulator (seed 12333): a checkpoint and all that proves it were in the one segment
/// that was left. It counted as superseded by the copy that was still to be made of it, and was
/// removed for want of room.
#[test]
fn a_start_on_a_full_disk_keeps_what_it_has_not_copied_yet() {
    let (mut log, ..) = open(&small(), Disk::default());
    log.put("k", b"kept");
    log.append_marked(Marker::CheckpointBegin, &[]).unwrap();
    log.append(&[(b"k", Some(b"kept"))]).unwrap();
    log.append_marked(Marker::CheckpointEnd, &[]).unwrap();
    log.run();
    let mut disk = log.disk.clone();
    let names: Vec<String> = disk.file_names().map(String::from).collect();
    names[1..].iter().for_each(|spare| disk.lose(spare));
    disk.capacity_bytes = Some(disk.used_bytes() + 100);
    let mut recovery = Recovery::open(small(), UUID);
    let outcome = drive(&mut recovery, &mut disk, None);
    assert!(outcome.is_ok(), "nothing stops it");
    disk.capacity_bytes = None;
    check_prefix(&small(), &log, disk, "with room again");
}

/// The second batch of a torn write is whole on the disk. It was cut with the first, and must not
/// come back behind a batch that takes the first one's place.
#[test]
fn what_was_cut_does_not_come_back() {
    let (mut log, ..) = open(&small(), Disk::default());
    log.append(&[(b"a", Some(b"cut"))]).unwrap();
    log.append(&[(b"b", Some(b"cut"))]).unwrap();
    log.step().unwrap();
    let mut disk = log.disk.crash(None, CrashStyle::KeepsAll, 0);
    disk.tamper("seg-0000000000000001", |bytes| bytes[4096 + 42] ^= 1);
    disk.capacity_bytes = Some(disk.used_bytes());
    let (mut log, contents, _) = open(&small(), disk);
    assert!(contents.batches.is_empty());
    log.put("c", b"new");
    assert_eq!(log.disk.file_names().count(), 1);
    check_prefix(&small(), &log, log.disk.clone(), "after");
}

/// Files that cannot be made, for whatever reason, are short like space, and it is said why; but
/// where the directory is gone, so are the names of the files that are written to.
#[test]
fn files_that_cannot_be_made_are_told_from_a_directory_that_is_gone() {
    for kind in [
        IoFailureKind::Denied,
        IoFailureKind::NoDescriptor,
        IoFailureKind::Other,
    ] {
        let (mut log, ..) = open(&small(), Disk::default());
        log.disk.refuses_files = Some(kind);
        fill(&mut log);
        assert_eq!(log.pressure, Pressure::High(Shortage::Files));
        log.disk.refuses_files = None;
        log.wait();
        log.run();
        assert_eq!(log.pressure, Pressure::None);
    }
    let (mut log, ..) = open(&small(), Disk::default());
    log.disk.refuses_files = Some(IoFailureKind::NotFound);
    while !log.poisoned {
        log.put("k", &[1; 700]);
    }
    assert!(log.append(&[(b"k", None)]).is_err(), "no more of it");
}

#[test]
fn a_quota_works_like_a_full_disk() {
    let config = LogConfig {
        quota_bytes: Some(128 << 10),
        ..small()
    };
    let (mut log, ..) = open(&config, Disk::default());
    fill(&mut log);
    assert_eq!(log.pressure, Pressure::High(Shortage::Quota));
    assert!(log.disk.used_bytes() <= 128 << 10);
}
