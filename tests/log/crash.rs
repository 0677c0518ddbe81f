//! The machine stops at every single operation, and at every one of the recovery that follows.

use crate::harness::{
    Crashed, Log, Stop, UUID, check_contents, check_kept, check_prefix, drive, open, small,
    try_open,
};
use whimbrel_core::log::{LogConfig, LogEvent, Marker, Recovery, SyncPolicy};
use whimbrel_tests::{CrashStyle, Disk, Random};

/// Some minutes of a broker's life in small: keys set and deleted in groups, a large value,
/// checkpoints when they are wanted, and a restart with or without a proper end.
fn live(log: &mut Log, rounds: u32) -> Result<(), Crashed> {
    let mut random = Random::new(7);
    for round in 0..rounds {
        for _ in 0..=random.below(3) {
            let key = [b'k', random.below(12) as u8];
            let length = if round == 20 {
                30_000
            } else {
                random.below(1_500)
            };
            let value = vec![round as u8; length];
            let value = (random.below(4) > 0).then_some(value.as_slice());
            log.append(&[(&key, value)]).unwrap();
            if random.below(3) == 0 {
                log.step()?;
            }
        }
        if random.below(2) == 0 {
            log.try_run()?;
        }
        if log.heard(LogEvent::CheckpointWanted) {
            log.checkpoint()?;
        }
        log.wait();
    }
    if rounds.is_multiple_of(2) {
        log.engine.close();
    }
    log.try_run()
}

/// Gives the log as it was when the machine stopped, and the disk after that. `None` when the
/// machine would have had to stop later.
fn stopped(config: &LogConfig, disk: Disk, rounds: u32, stop: Stop) -> Option<(Log, Disk)> {
    let mut recovery = Recovery::open(config.clone(), UUID);
    let mut fresh = disk.clone();
    if let Err(Crashed(crashed)) = drive(&mut recovery, &mut fresh, Some(stop)) {
        // Before anything could be appended: as if nothing had been.
        let (log, ..) = open(config, disk);
        return Some((log, *crashed));
    }
    let (mut log, ..) = open(config, disk);
    log.stop = Some(stop);
    live(&mut log, rounds)
        .err()
        .map(|crashed| (log, *crashed.0))
}

const STYLES: [CrashStyle; 4] = [
    CrashStyle::LosesAll,
    CrashStyle::KeepsAll,
    CrashStyle::Mixed,
    CrashStyle::Mixed,
];

fn stop_everywhere(
    config: &LogConfig,
    first_disk: &Disk,
    rounds: u32,
    check: fn(&LogConfig, &Log, Disk, &str),
) {
    for step in 0.. {
        let mut stopped_at_all = false;
        for (seed, style) in (step * 4..).zip(STYLES) {
            let mut disk = first_disk.clone();
            disk.step_count = 0;
            let stop = Stop { step, style, seed };
            if let Some((log, disk)) = stopped(config, disk, rounds, stop) {
                stopped_at_all = true;
                check(config, &log, disk, &format!("{stop:?}"));
            }
        }
        if !stopped_at_all {
            assert!(step > 60, "the story is too short: {step} operations");
            return;
        }
    }
}

#[test]
fn what_was_reported_durable_survives_a_stop_at_any_operation() {
    stop_everywhere(&small(), &Disk::default(), 61, |config, log, disk, what| {
        let disk = check_prefix(config, log, disk, what);
        check_prefix(config, log, disk, &format!("{what}, once more"));
    });
}

#[test]
fn what_was_reported_durable_survives_a_second_life() {
    let (mut log, ..) = open(&small(), Disk::default());
    live(&mut log, 31).unwrap();
    let disk = log.disk.crash(None, CrashStyle::Mixed, 3);
    stop_everywhere(&small(), &disk, 20, |config, log, disk, what| {
        check_prefix(config, log, disk, what);
    });
}

#[test]
fn a_stop_at_any_operation_of_a_recovery_does_no_harm() {
    let mut random = Random::new(99);
    for first in 0..120 {
        let stop = Stop {
            step: first * 7 + 3,
            style: STYLES[random.below(4)],
            seed: random.next(),
        };
        let Some((log, broken)) = stopped(&small(), Disk::default(), 61, stop) else {
            return assert!(first > 20);
        };
        for step in 0.. {
            let stop = Stop {
                step,
                style: STYLES[random.below(4)],
                seed: random.next(),
            };
            let mut disk = broken.clone();
            let mut recovery = Recovery::open(small(), UUID);
            match drive(&mut recovery, &mut disk, Some(stop)) {
                Ok(contents) => {
                    check_contents(&log, &contents, "at last");
                    break;
                }
                Err(Crashed(crashed)) => {
                    let what = format!("first at {}, then {stop:?}", first * 7 + 3);
                    check_prefix(&small(), &log, *crashed, &what);
                }
            }
        }
    }
}

#[test]
fn many_stops_in_a_row_do_no_harm() {
    let mut random = Random::new(5);
    for _ in 0..60 {
        let mut disk = Disk::default();
        let mut durable = None;
        for _ in 0..12 {
            let (mut log, contents, _) = match try_open(&small(), disk.clone()) {
                Ok(opened) => opened,
                Err(error) => panic!("{error}"),
            };
            if let Some((last, state)) = durable.take() {
                assert!(contents.last() >= last);
                if contents.last() == last {
                    assert!(contents.state == state);
                }
            }
            log.stop = Some(Stop {
                step: log.disk.step_count + random.below(60) as u64,
                style: STYLES[random.below(4)],
                seed: random.next(),
            });
            disk = match live(&mut log, 9) {
                Ok(()) => log.disk.crash(None, CrashStyle::Mixed, random.next()),
                Err(Crashed(crashed)) => *crashed,
            };
            durable = Some((log.durable, log.state_at(log.durable).clone()));
        }
        assert!(disk.file_names().count() < 16, "old segments are removed");
    }
}

/// With `interval` and `never` a power cut may take the end, but what is left is a prefix; and the
/// end of the process takes nothing.
#[test]
fn lazy_policies_keep_a_prefix() {
    for sync in [SyncPolicy::Interval { ms: 200 }, SyncPolicy::Never] {
        let config = LogConfig { sync, ..small() };
        stop_everywhere(&config, &Disk::default(), 41, |config, log, disk, what| {
            let (reopened, contents, _) =
                try_open(config, disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            if what.contains("KeepsAll") {
                check_contents(log, &contents, what);
            }
            let last = contents.last();
            assert!(contents.state == *log.state_at(last), "{what}");
            check_kept(config, &reopened.disk, &contents, what);
            check_prefix(config, &reopened, reopened.disk.clone(), what);
        });
    }
}

#[test]
fn a_checkpoint_in_one_batch_counts() {
    let (mut log, ..) = open(&small(), Disk::default());
    while !log.heard(LogEvent::CheckpointWanted) {
        log.put("k", &[1; 1_000]);
    }
    log.append_marked(Marker::CheckpointEnd, &[(b"k", Some(&[1; 1_000]))])
        .unwrap();
    log.run();
    assert!(log.engine.statistics().segments < 3);
    check_prefix(&small(), &log, log.disk.clone(), "after");
}

/// The only frame is proven by nothing, and no spare is there: all moves to a file with a new name.
#[test]
fn a_recovery_that_moves_everything_may_be_stopped_anywhere() {
    for step in 0..30 {
        for seed in 0..40 {
            let (mut log, ..) = open(&small(), Disk::default());
            log.append(&[(b"only", Some(b"1"))]).unwrap();
            log.step().unwrap();
            log.step().unwrap();
            assert_eq!(log.durable, 1);
            let mut disk = log.disk.crash(None, CrashStyle::KeepsAll, 0);
            let stop = Stop {
                step,
                style: CrashStyle::Mixed,
                seed,
            };
            let mut recovery = Recovery::open(small(), UUID);
            let what = format!("{stop:?}");
            if let Err(Crashed(crashed)) = drive(&mut recovery, &mut disk, Some(stop)) {
                check_prefix(&small(), &log, *crashed, &what);
            }
        }
    }
}

/// A process may die between the zeros of a spare and their sync. The next one relies on the size
/// of every spare: it is what the header of a segment promises, and a segment that is shorter than
/// that is taken for damaged.
#[test]
fn spares_that_a_dead_process_left_unsynced_are_synced_before_they_count() {
    let mut unsynced = 0;
    for step in 0..160 {
        let (mut log, ..) = open(&small(), Disk::default());
        // A reserve of several spares: the next process begins with the first of them.
        log.engine.set_live_bytes(60_000);
        log.stop = Some(Stop {
            step: log.disk.step_count + step,
            style: CrashStyle::KeepsAll,
            seed: 0,
        });
        let Err(Crashed(killed)) = live(&mut log, 40) else {
            break;
        };
        unsynced += u32::from(!are_whole_after_a_power_cut(&killed));
        let (log, ..) = open(&small(), *killed);
        assert!(are_whole_after_a_power_cut(&log.disk), "{step}");
    }
    assert!(unsynced > 0, "no process has died at such a moment");
}

/// Whether no file would be shorter.
fn are_whole_after_a_power_cut(disk: &Disk) -> bool {
    let cut = disk.crash(None, CrashStyle::LosesAll, 0);
    let bytes = |disk: &Disk, name| disk.file(name).map_or(0, <[u8]>::len);
    let mut names = disk.file_names();
    names.all(|name| bytes(&cut, name) >= bytes(disk, name))
}
