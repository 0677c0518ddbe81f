//! The log gives back what lies in it, wherever writing, checkpoints, crashes and recoveries have
//! moved it.

use crate::harness::{Contents, Crashed, Log, State, Stop, open, small};
use whimbrel_core::id::MessageId;
use whimbrel_core::log::Loaded;
use whimbrel_tests::disk::Random;
use whimbrel_tests::{CrashStyle, Disk};

const MESSAGES: usize = 30;

fn message(number: usize) -> MessageId {
    MessageId {
        origin: 1,
        sequence: number as u64,
    }
}

/// Asks for every message there can be; gives those that are there.
fn read_all(log: &mut Log) -> State {
    for number in 0..MESSAGES {
        log.engine.read_back(0, message(number));
    }
    log.run();
    let mut state = State::new();
    let mut count = 0;
    while let Some(Loaded { message, value, .. }) = log.engine.poll_loaded() {
        count += 1;
        state.extend(value.map(|value| (message.key().to_vec(), value)));
    }
    assert_eq!(count, MESSAGES, "each is answered once");
    state
}

fn change(log: &mut Log, random: &mut Random) -> Result<(), Crashed> {
    let keys: Vec<[u8; 17]> = (0..=random.below(4))
        .map(|_| message(random.below(MESSAGES)).key())
        .collect();
    let length = [10, 500, 3_000, 20_000][random.below(4)];
    let value: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
    let ops: Vec<(&[u8], Option<&[u8]>)> = keys
        .iter()
        .map(|key| {
            let is_put = random.below(3) > 0;
            (key.as_slice(), is_put.then_some(value.as_slice()))
        })
        .collect();
    log.append(&ops).expect("it is open");
    match random.below(12) {
        0 => log.checkpoint(),
        1..=6 => log.try_run(),
        _ => Ok(()),
    }
}

#[test]
fn what_is_live_is_read_back_whatever_happened_to_the_log() {
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let mut disk = Disk::default();
        for round in 0..12 {
            let (mut log, Contents { state, .. }, _) = open(&small(), disk);
            assert!(read_all(&mut log) == state, "seed {seed}, round {round}");
            for _ in 0..20 {
                change(&mut log, &mut random).expect("nothing stops it");
            }
            log.run();
            let state = log.state().clone();
            assert!(read_all(&mut log) == state, "seed {seed}, round {round}");
            let style = [
                CrashStyle::LosesAll,
                CrashStyle::KeepsAll,
                CrashStyle::Mixed,
            ];
            log.stop = Some(Stop {
                step: log.disk.step_count + random.below(60) as u64,
                style: style[random.below(3)],
                seed: random.next(),
            });
            disk = loop {
                if let Err(Crashed(disk)) = change(&mut log, &mut random) {
                    break *disk;
                }
            };
        }
    }
}

/// While batches come without a pause, a few are read between two commits, and no more.
#[test]
fn reading_and_writing_take_turns() {
    let (mut log, ..) = open(&small(), Disk::default());
    for number in 0..MESSAGES {
        let key = message(number).key();
        log.append(&[(&key, Some(b"value"))]).unwrap();
    }
    log.run();
    for number in 0..MESSAGES {
        log.engine.read_back(0, message(number));
    }
    let mut reads = Vec::new();
    for _ in 0..4 {
        log.append(&[(b"x", Some(b"y"))]).unwrap();
        let (durable, before) = (log.durable, log.disk.step_count);
        while log.durable == durable {
            assert!(log.step().unwrap());
        }
        // A commit is a write and a sync.
        reads.push(log.disk.step_count - before - 2);
    }
    assert_eq!(reads, [16, 14, 0, 0]);
    let answers = core::iter::from_fn(|| log.engine.poll_loaded());
    assert_eq!(answers.count(), MESSAGES);
}

#[test]
fn a_read_that_fails_is_answered_and_the_log_goes_on() {
    let (mut log, ..) = open(&small(), Disk::default());
    log.append(&[(&message(0).key(), Some(b"value"))]).unwrap();
    log.run();
    log.engine.read_back(0, message(0));
    let step = log.disk.step_count;
    log.disk
        .fail(step, whimbrel_core::log::IoFailureKind::Other);
    log.run();
    assert_eq!(log.engine.poll_loaded().expect("an answer").value, None);
    log.put("after", b"it");
    assert!(!log.poisoned);
}

/// What cannot be opened for now is not unreadable: it is read when there are descriptors again.
#[test]
fn a_read_without_a_descriptor_waits_for_one() {
    let (mut log, ..) = open(&small(), Disk::default());
    log.append(&[(&message(0).key(), Some(b"value"))]).unwrap();
    log.run();
    for number in [0, 1] {
        log.engine.read_back(0, message(number));
    }
    let step = log.disk.step_count;
    log.disk
        .fail(step, whimbrel_core::log::IoFailureKind::NoDescriptor);
    log.run();
    assert_eq!(log.engine.poll_loaded(), None);
    let retry = log.engine.next_deadline().expect("it is tried again");
    log.engine.advance(retry);
    log.run();
    let answer = log.engine.poll_loaded().expect("an answer");
    assert_eq!(answer.message, message(0));
    assert!(answer.value.is_some());
    let answer = log.engine.poll_loaded().expect("another");
    assert_eq!((answer.message, answer.value), (message(1), None));
    assert!(!log.poisoned);
}

/// Who comes back frees room: that may not wait for room.
#[test]
fn a_full_disk_is_read() {
    let (mut log, ..) = open(&small(), Disk::default());
    for number in 0..MESSAGES {
        let key = message(number).key();
        log.append(&[(&key, Some(b"value"))]).unwrap();
    }
    log.run();
    log.disk.capacity_bytes = Some(log.disk.used_bytes());
    for _ in 0..40 {
        log.append(&[(b"x", Some(&[1; 2_000]))]).unwrap();
    }
    log.run();
    assert!(log.durable < log.position, "it is full");
    assert_eq!(read_all(&mut log).len(), MESSAGES);
}
