//! What was durable and cannot be read: refused by default, repaired on request, never deleted.

use crate::harness::{Log, drive, open, repair, small, try_open, verify};
use whimbrel_core::log::{
    Damage, DamageKind, FileAction, FileName, LogConfig, LogEnd, OnCorruption, Recovery,
    RecoveryError, Summary,
};
use whimbrel_tests::{CrashStyle, Disk, Random};

/// A log of several full segments, `k0` to `k39`, 1,000 bytes each.
fn written() -> Log {
    let (mut log, ..) = open(&config(), Disk::default());
    for round in 0..40_u8 {
        log.put(&format!("k{round}"), &[round; 1_000]);
    }
    log
}

fn config() -> LogConfig {
    LogConfig {
        checkpoint_min_bytes: 1 << 30,
        ..small()
    }
}

fn quarantine() -> LogConfig {
    LogConfig {
        on_corruption: OnCorruption::Quarantine,
        ..config()
    }
}

fn segment(number: u64) -> String {
    FileName::Segment(number).to_string()
}

fn corruption(disk: &Disk) -> Damage {
    match verify(disk) {
        Err(RecoveryError::Corrupt(damage)) => damage,
        other => panic!("{other:?} instead of corruption"),
    }
}

/// Repairs a damaged disk in both ways; gives how many keys are left.
fn repaired(disk: &Disk) -> (usize, Summary) {
    let mut by_hand = disk.clone();
    let summary = repair(&mut by_hand).unwrap();
    let again = verify(&by_hand).unwrap();
    assert!(again.lost.is_empty());
    let (mut log, contents, _) = open(&config(), by_hand);
    log.put("goes", b"on");
    assert!(open(&config(), log.disk).1.state.contains_key(&b"goes"[..]));
    let (mut log, by_itself, same) = open(&quarantine(), disk.clone());
    assert_eq!(same.lost, summary.lost);
    assert!(by_itself.state == contents.state);
    log.put("goes", b"on");
    (contents.state.len(), summary)
}

#[test]
fn a_damaged_frame_is_named_and_everything_else_is_saved() {
    let mut log = written();
    log.disk.tamper(&segment(2), |bytes| bytes[4096 + 500] ^= 1);
    let damage = corruption(&log.disk);
    assert_eq!(damage.file, FileName::Segment(2));
    assert_eq!(damage.offset, 4096);
    assert_eq!(damage.kind, DamageKind::Frames);
    assert_eq!(damage.last_lsn, Some(damage.first_lsn));
    let (shard, position) = damage.batch.unwrap();
    assert_eq!((shard, position.0), (0, damage.first_lsn));
    assert!(matches!(
        try_open(&config(), log.disk.clone()).err(),
        Some(RecoveryError::Corrupt(_))
    ));
    let (left, summary) = repaired(&log.disk);
    assert_eq!(left, 39);
    assert_eq!(summary.lost.len(), 1);
    assert_eq!(summary.lost[0].first_lsn, damage.first_lsn);
    assert_eq!(summary.gaps, 1);
}

#[test]
fn a_verification_changes_nothing() {
    let mut log = written();
    log.disk.tamper(&segment(1), |bytes| bytes[4096 + 500] ^= 1);
    let mut disk = log.disk.clone();
    let mut recovery = Recovery::verify();
    while let Some(operation) = {
        while recovery.poll_batch().is_some() {}
        recovery.poll_operation()
    } {
        let verb = operation.action.verb();
        assert!(verb == "list" || verb == "read", "{verb}");
        let id = operation.id;
        let result = disk.run(&operation.action);
        recovery.completed(id, result);
    }
    assert!(recovery.into_summary().is_err());
}

#[test]
fn a_repair_keeps_what_was_there() {
    let mut log = written();
    log.disk.tamper(&segment(2), |bytes| bytes[5_000] ^= 1);
    let before = log.disk.file(&segment(2)).unwrap().to_vec();
    repair(&mut log.disk).unwrap();
    let copy = FileName::Damaged {
        segment: 2,
        copy: 1,
    };
    assert_eq!(log.disk.file(&copy.to_string()), Some(before.as_slice()));
    // A second damage does not replace the first copy.
    log.disk.tamper(&segment(2), |bytes| bytes[9_000] ^= 1);
    repair(&mut log.disk).unwrap();
    assert_eq!(log.disk.file(&copy.to_string()), Some(before.as_slice()));
    let second = FileName::Damaged {
        segment: 2,
        copy: 2,
    };
    assert!(log.disk.file(&second.to_string()).is_some());
    let (log, ..) = open(&config(), log.disk);
    assert!(log.disk.file(&second.to_string()).is_some());
}

#[test]
fn a_lost_header_is_guessed() {
    for number in 1..=4 {
        let mut log = written();
        assert!(log.engine.statistics().segments >= 4);
        log.disk
            .tamper(&segment(number), |bytes| bytes[..64].fill(0xEE));
        let damage = corruption(&log.disk);
        assert_eq!(damage.kind, DamageKind::Header, "{number}: {damage}");
        assert_eq!(damage.file, FileName::Segment(number));
        let (left, _) = repaired(&log.disk);
        assert_eq!(left, 40, "nothing but the header was lost");
    }
}

#[test]
fn a_missing_segment_is_named_and_the_others_are_saved() {
    for number in 1..=4 {
        let mut log = written();
        log.disk.lose(&segment(number));
        let damage = corruption(&log.disk);
        assert!(
            matches!(damage.kind, DamageKind::Missing),
            "{number}: {damage}"
        );
        assert_eq!(damage.file, FileName::Segment(number));
        let (left, _) = repaired(&log.disk);
        assert!((20..40).contains(&left), "{number}: {left} keys are left");
    }
}

#[test]
fn a_shortened_segment_is_noticed() {
    let mut log = written();
    let newest = log.disk.file_names().count() as u64 - 1;
    let end = {
        let bytes = log.disk.file(&segment(newest)).unwrap();
        bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
    };
    log.disk
        .tamper(&segment(newest), |bytes| bytes.truncate(end / 8 * 8));
    let damage = corruption(&log.disk);
    assert_eq!(damage.kind, DamageKind::Shortened);
    let (left, _) = repaired(&log.disk);
    assert!(left >= 39);
}

#[test]
fn several_damages_are_all_listed() {
    let mut log = written();
    for number in 1..=3 {
        log.disk.tamper(&segment(number), |bytes| {
            bytes[4096 + 500] ^= 1;
            bytes[4096 + 4_000] ^= 1;
        });
    }
    let (left, summary) = repaired(&log.disk);
    assert_eq!(left, 34);
    assert_eq!(summary.lost.len(), 6, "{:?}", summary.lost);
}

#[test]
fn a_repair_may_be_interrupted_anywhere() {
    let mut random = Random::new(8);
    for step in 0.. {
        let mut log = written();
        log.disk.tamper(&segment(2), |bytes| bytes[5_000] ^= 1);
        log.disk.lose(&segment(3));
        let (expected, _) = repaired(&log.disk);
        let stop = crate::harness::Stop {
            step: log.disk.step_count + step,
            style: CrashStyle::Mixed,
            seed: random.next(),
        };
        let mut recovery = Recovery::open(quarantine(), crate::harness::UUID);
        match drive(&mut recovery, &mut log.disk, Some(stop)) {
            Ok(_) => {
                assert!(step > 30);
                return;
            }
            Err(crate::harness::Crashed(disk)) => {
                let (_, contents, _) = open(&quarantine(), *disk);
                assert_eq!(contents.state.len(), expected, "stopped at {step}");
            }
        }
    }
}

#[test]
fn after_a_repair_and_a_checkpoint_the_gap_is_gone() {
    let mut log = written();
    log.disk.tamper(&segment(2), |bytes| bytes[5_000] ^= 1);
    let (mut log, _, summary) = open(&quarantine(), log.disk);
    assert_eq!(summary.gaps, 1);
    log.checkpoint().unwrap();
    let (_, contents, summary) = open(&config(), log.disk);
    assert_eq!(summary.gaps, 0);
    assert_eq!(contents.state.len(), 39);
}

#[test]
fn other_files_are_left_alone() {
    let mut log = written();
    log.disk.tamper("notes.txt", |bytes| bytes.extend(b"mine"));
    let (log, _, summary) = open(&config(), log.disk);
    assert_eq!(summary.foreign_files, ["notes.txt"]);
    assert_eq!(log.disk.file("notes.txt"), Some(&b"mine"[..]));
}

/// Neither of them can name the log any more, and yet their frames can.
#[test]
fn a_file_without_any_header_is_not_taken_for_a_new_log() {
    let mut log = written();
    let names: Vec<String> = log.disk.file_names().map(str::to_owned).collect();
    for name in names {
        log.disk.tamper(&name, |bytes| bytes[..4096].fill(0));
    }
    assert_eq!(corruption(&log.disk).kind, DamageKind::Header);
    assert!(matches!(
        try_open(&config(), log.disk.clone()).err(),
        Some(RecoveryError::Corrupt(_))
    ));
    let (left, summary) = repaired(&log.disk);
    assert_eq!(left, 40, "nothing but headers was lost");
    assert_eq!((summary.gaps, summary.doubts.len()), (0, 0));
}

/// A log that has one segment yet, and spares behind it.
fn young() -> Log {
    let (mut log, ..) = open(&config(), Disk::default());
    for round in 0..5_u8 {
        log.put(&format!("k{round}"), &[round; 1_000]);
    }
    assert_eq!(log.engine.statistics().segments, 1);
    assert!(log.engine.statistics().spares > 0);
    log
}

/// What a change makes of the bytes of a file.
type Change = fn(&mut Vec<u8>);

#[test]
fn the_header_of_the_only_segment_is_found_again() {
    let changes: [(&str, Change); 4] = [
        ("one byte", |bytes| bytes[60] ^= 1),
        ("its uuid", |bytes| bytes[20] ^= 1),
        ("zeros", |bytes| bytes[..76].fill(0)),
        ("uuid kept, first frame lost", |bytes| {
            bytes[60] ^= 1;
            bytes[4_096 + 500] ^= 1;
        }),
    ];
    for (what, change) in changes {
        let mut log = young();
        log.disk.tamper(&segment(1), change);
        assert_eq!(corruption(&log.disk).kind, DamageKind::Header, "{what}");
        let (left, summary) = repaired(&log.disk);
        let is_lost = what.ends_with("lost");
        assert_eq!(left, 5 - usize::from(is_lost), "{what}");
        assert_eq!(summary.doubts.len(), usize::from(is_lost), "{what}");
    }
}

#[test]
fn the_only_segment_is_not_passed_over_when_nothing_of_it_is_left() {
    let changes: [(&str, Change); 6] = [
        ("emptied", Vec::clear),
        ("cut below its header", |bytes| bytes.truncate(50)),
        ("cut to its header", |bytes| bytes.truncate(4_096)),
        ("zeros", |bytes| bytes.fill(0)),
        ("noise", |bytes| {
            let mut random = Random::new(1);
            bytes.fill_with(|| random.next() as u8);
        }),
        ("gone", |_| {}),
    ];
    for (what, change) in changes {
        let mut log = young();
        log.disk.tamper(&segment(1), change);
        if what == "gone" {
            log.disk.lose(&segment(1));
        }
        let damage = corruption(&log.disk);
        assert_eq!(damage.file, FileName::Segment(1), "{what}: {damage}");
        let refused = try_open(&config(), log.disk.clone()).err();
        assert!(matches!(refused, Some(RecoveryError::Corrupt(_))), "{what}");
        let (left, summary) = repaired(&log.disk);
        assert_eq!(left, 0, "{what}");
        assert!(!summary.lost.is_empty(), "{what}");
    }
}

#[test]
fn what_nobody_can_read_is_set_aside_and_kept() {
    let mut log = young();
    log.disk.tamper(&segment(1), |bytes| bytes.fill(0xEE));
    let before = log.disk.file(&segment(1)).unwrap().to_vec();
    let mut disk = log.disk.clone();
    let summary = repair(&mut disk).unwrap();
    let copy = summary.copies[0];
    assert_eq!(disk.file(&copy.to_string()), Some(before.as_slice()));
    assert_eq!(summary.end, LogEnd::New);
    assert_eq!(summary.lost[0].kind, DamageKind::SetAside);
    for step in 0..12 {
        let stop = crate::harness::Stop {
            step: log.disk.step_count + step,
            style: CrashStyle::Mixed,
            seed: step,
        };
        let mut recovery = Recovery::open(quarantine(), crate::harness::UUID);
        let mut disk = log.disk.clone();
        if let Err(crashed) = drive(&mut recovery, &mut disk, Some(stop)) {
            disk = *crashed.0;
        }
        let (log, ..) = open(&quarantine(), disk);
        assert_eq!(log.disk.file(&copy.to_string()), Some(before.as_slice()));
    }
}

#[test]
fn a_first_start_may_be_interrupted_again_and_again() {
    let mut random = Random::new(3);
    for seed in 0..300 {
        let mut disk = Disk::default();
        for _ in 0..3 {
            let stop = crate::harness::Stop {
                step: disk.step_count + random.below(8) as u64,
                style: [CrashStyle::Mixed, CrashStyle::KeepsAll][random.below(2)],
                seed,
            };
            let segment_bytes = [16 << 10, 32 << 10][random.below(2)];
            let config = LogConfig {
                segment_bytes,
                ..config()
            };
            let mut recovery = Recovery::open(config, crate::harness::UUID);
            if let Err(crashed) = drive(&mut recovery, &mut disk, Some(stop)) {
                disk = *crashed.0;
            }
        }
        open(&config(), disk);
    }
}

/// Whether it holds frames, the end of them, or room for more.
#[test]
fn what_the_disk_does_not_read_is_damage() {
    for (from, kind, left) in [
        (0, DamageKind::Header, 40),
        (4_096, DamageKind::Frames, 35),
        (8_192, DamageKind::Frames, 34),
    ] {
        let mut log = written();
        log.disk.spoil(&segment(2), from..=from + 511);
        let damage = corruption(&log.disk);
        assert_eq!((damage.file, damage.kind), (FileName::Segment(2), kind));
        let (kept, summary) = repaired(&log.disk);
        assert!(kept >= left, "{from}: {kept} are left");
        assert_eq!(summary.doubts.is_empty(), from == 0);
    }
    let mut log = young();
    log.disk.spoil(&segment(1), 12_288..=12_288);
    let damage = corruption(&log.disk);
    assert_eq!(damage.kind, DamageKind::Unreadable, "{damage}");
    assert_eq!(damage.offset, 12_288);
    let (kept, summary) = repaired(&log.disk);
    assert_eq!(kept, 5);
    assert_eq!(summary.doubts.len(), 1, "something may have been there");
}

/// A device that nobody reaches has to come up, and what fills its disk are the spares.
#[test]
fn a_repair_without_room_takes_that_of_spares_and_leaves_nothing_behind() {
    for (no_links, room, spares) in [
        (false, 0, 0),
        (false, 0, 2),
        (false, 3_000, 0),
        (false, 20_000, 0),
        (true, 0, 0),
        (true, 0, 1),
        (true, 0, 3),
        (true, 20_000, 0),
    ] {
        let mut log = written();
        log.disk.no_links = no_links;
        log.disk.tamper(&segment(2), |bytes| bytes[5_000] ^= 1);
        let used = (1..).take_while(|number| {
            let file = log.disk.file(&segment(*number));
            file.is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0))
        });
        let last_used = used.max().unwrap();
        for number in last_used + 1.. {
            if log.disk.file(&segment(number)).is_none() {
                break;
            }
            log.disk.lose(&segment(number));
        }
        for spare in 0..spares {
            let file = FileName::Segment(last_used + 1 + spare);
            let (offset, bytes) = (0, small().segment_bytes);
            for action in [
                FileAction::Create { file },
                FileAction::ZeroAt {
                    file,
                    offset,
                    bytes,
                },
                FileAction::Sync { file },
                FileAction::SyncDirectory,
            ] {
                log.disk.run(&action).unwrap();
            }
        }
        log.disk.capacity_bytes = Some(log.disk.used_bytes() + room);
        let what = format!("{no_links} {room} {spares}");
        let kept = |disk: &Disk| {
            let names = (1..=last_used)
                .map(segment)
                .chain(["rewrite.tmp".to_owned()]);
            names
                .map(|name| disk.file(&name).map(<[u8]>::to_vec))
                .collect::<Vec<_>>()
        };
        let before = kept(&log.disk);
        let by_itself = try_open(&quarantine(), log.disk.clone());
        let repaired = repair(&mut log.disk);
        let segments_of_room = spares as usize + usize::from(room > 16 << 10);
        let is_enough = segments_of_room > usize::from(no_links);
        assert_eq!(repaired.is_ok(), is_enough, "{what}: {repaired:?}");
        assert_eq!(by_itself.is_ok(), is_enough, "{what}");
        if !is_enough {
            assert!(repaired.unwrap_err().is_no_space(), "{what}");
            assert!(kept(&log.disk) == before, "{what}");
        }
    }
}

#[test]
fn a_repair_that_finds_no_header_takes_the_room_of_spares_too() {
    let mut log = young();
    log.disk.tamper(&segment(1), |bytes| bytes[20] ^= 1);
    log.disk.capacity_bytes = Some(log.disk.used_bytes());
    let summary = repair(&mut log.disk).unwrap();
    assert_eq!(summary.lost[0].kind, DamageKind::Header);
    log.disk.capacity_bytes = None;
    assert_eq!(repaired(&log.disk).0, 5, "nothing is lost");
}

#[test]
fn a_copy_ends_where_there_are_only_zeros() {
    let mut log = young();
    log.disk.no_links = true;
    log.disk.tamper(&segment(1), |bytes| bytes[60] ^= 1);
    let before = log.disk.file(&segment(1)).unwrap().to_vec();
    let summary = repair(&mut log.disk).unwrap();
    let copy = log.disk.file(&summary.copies[0].to_string()).unwrap();
    assert!(copy.len() < before.len());
    assert_eq!(copy, &before[..copy.len()]);
    assert!(before[copy.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_torn_tail_says_how_much_was_cut() {
    let mut log = written();
    log.append(&[(b"torn", Some(&[1; 3_000]))]).unwrap();
    let newest = log.disk.file_names().count() as u64 - 1;
    let operation = log.engine.poll_operation().unwrap();
    let mut disk = log
        .disk
        .crash(Some(&operation.action), CrashStyle::KeepsAll, 2);
    disk.tamper(&segment(newest), |_| {});
    let summary = verify(&disk).unwrap();
    let LogEnd::Torn { file, bytes, .. } = summary.end else {
        panic!("{:?}", summary.end);
    };
    assert_eq!(file, FileName::Segment(newest));
    assert!((1..3_100).contains(&bytes));
}

#[test]
fn records_of_the_future_are_refused_by_name_or_skipped_by_rule() {
    let (mut log, ..) = open(&config(), Disk::default());
    log.put("k", b"v");
    for (kind, is_skipped) in [(0x7E_u8, false), (0xFE, true)] {
        let mut disk = log.disk.clone();
        // The first frame becomes one of another kind, with a good checksum.
        disk.tamper(&segment(1), |bytes| {
            bytes[4096 + 12] = kind;
            let mut sum = Vec::from(*b"whimbrel-testlog");
            sum.extend(1_u64.to_le_bytes());
            sum.extend(4096_u64.to_le_bytes());
            sum.extend(&bytes[4096 + 4..4096 + 40]);
            let crc = crc32c(&sum).to_le_bytes();
            bytes[4096..4100].copy_from_slice(&crc);
        });
        match verify(&disk) {
            Ok(summary) => assert!(is_skipped && summary.skipped == 1),
            Err(error) => {
                let refused = RecoveryError::UnknownRecord {
                    file: FileName::Segment(1),
                    offset: 4096,
                    kind,
                };
                assert!(!is_skipped);
                assert_eq!(error, refused);
            }
        }
    }
}

#[test]
fn a_format_of_the_future_is_refused_by_number() {
    let (mut log, ..) = open(&config(), Disk::default());
    log.put("k", b"v");
    log.disk.tamper(&segment(1), |bytes| {
        bytes[8] = 2;
        let crc = crc32c(&bytes[..72]).to_le_bytes();
        bytes[72..76].copy_from_slice(&crc);
    });
    let refused = RecoveryError::UnsupportedVersion {
        file: FileName::Segment(1),
        version: 2,
    };
    assert_eq!(verify(&log.disk), Err(refused));
}

/// Bit by bit, so that it shares nothing with the table of the core.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82F6_3B78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}
