//! A full disk: refused, not lost; freed, and it goes on by itself.

use crate::line::{Heard, Introduction, Line};
use crate::program::{Directory, Setup, run};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use whimbrel_core::codec::packet::QoS::AtLeastOnce;
use whimbrel_core::codec::packet::Version;
use whimbrel_core::codec::{Packet, ReasonCode};
use whimbrel_core::id::PacketId;

const PATIENCE: Duration = Duration::from_secs(30);

/// How long something is watched that must not happen.
const MOMENT: Duration = Duration::from_millis(400);

fn connect(setup: &Setup, name: &str, version: Version) -> Line {
    let introduction = Introduction {
        name: name.to_owned(),
        version,
        persistent: true,
        starts_anew: false,
        will: None,
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Line::open(setup.address, &introduction) {
            Ok(line) => return line,
            Err(error) => assert!(Instant::now() < deadline, "{error}: {}", setup.said()),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// What comes next, if anything does in time.
fn hear(line: &mut Line, patience: Duration) -> Option<Heard> {
    line.flush().expect("the broker is there");
    let deadline = Instant::now() + patience;
    loop {
        if let Some(heard) = line.next().expect("the broker is there") {
            return Some(heard);
        }
        if Instant::now() >= deadline {
            return None;
        }
        line.fill(Duration::from_millis(20))
            .expect("the broker is there");
    }
}

fn id(number: u32) -> PacketId {
    PacketId::new((number % 50_000) as u16 + 1).expect("not zero")
}

/// Publishes message `number`, of some 2,000 bytes, with the next flush.
fn push(line: &mut Line, number: u32) {
    push_of(line, number, 2_000);
}

fn push_of(line: &mut Line, number: u32, bytes: usize) {
    let payload = format!("{number} {}", ".".repeat(bytes));
    line.publish(
        ("t", payload.as_bytes()),
        (AtLeastOnce, false, false),
        id(number),
    );
}

/// Publishes message `number` without waiting.
fn publish(line: &mut Line, number: u32) {
    push(line, number);
    line.flush().expect("the broker is there");
}

/// Publishes message `number`, and gives the answer.
fn ask(line: &mut Line, number: u32) -> ReasonCode {
    publish(line, number);
    match hear(line, PATIENCE) {
        Some(Heard::PubAck(acknowledged, reason)) if acknowledged == id(number) => reason,
        other => panic!("message {number} was answered with {other:?}"),
    }
}

/// Publishes until it is refused. The numbers of what was acknowledged.
fn fill(line: &mut Line, first: u32) -> Vec<u32> {
    for number in first..first + 100_000 {
        match ask(line, number) {
            ReasonCode::QUOTA_EXCEEDED => return (first..number).collect(),
            reason => assert!(!reason.is_error(), "{reason:?}"),
        }
    }
    panic!("it never gets full");
}

/// Takes what waits, and acknowledges it: `owed` messages, however slow the disk is, and what comes
/// right after them. The numbers, as they came.
fn take(line: &mut Line, owed: usize) -> Vec<u32> {
    let mut numbers = Vec::new();
    loop {
        let patience = match numbers.len() < owed {
            true => PATIENCE,
            false => MOMENT,
        };
        let Some(heard) = hear(line, patience) else {
            break;
        };
        if let Heard::Message { payload, id, .. } = heard {
            let text = String::from_utf8(payload).expect("text");
            let number = text.split(' ').next().and_then(|text| text.parse().ok());
            numbers.push(number.expect("a number"));
            line.acknowledge(Packet::PubAck, id.expect("QoS 1"));
        }
    }
    line.flush().expect("the broker is there");
    numbers
}

/// Full, killed, still full, freed, and as before; what was acknowledged arrives.
fn story(setup: &Setup) {
    let mut program = setup.start();
    let mut subscriber = connect(setup, "subscriber", Version::V5);
    subscriber.subscribe(&["t"]);
    assert!(matches!(
        hear(&mut subscriber, PATIENCE),
        Some(Heard::Subscribed(_))
    ));
    subscriber.disconnect().expect("the broker is there");

    let mut publisher = connect(setup, "publisher", Version::V5);
    let mut old = connect(setup, "old", Version::V4);
    let mut owed = fill(&mut publisher, 0);
    assert!(owed.len() > 20, "it took {} messages", owed.len());

    // 3.1.1 has no word for it: such a client waits.
    publish(&mut old, 40_000);
    assert_eq!(hear(&mut old, MOMENT), None, "not acknowledged while full");

    // The end of the process changes nothing.
    program.kill(setup);
    let _program = setup.start();
    let mut publisher = connect(setup, "publisher", Version::V5);
    let more = fill(&mut publisher, 45_000);
    owed.extend(&more);

    // The client comes back and takes what waits: that makes room.
    let mut subscriber = connect(setup, "subscriber", Version::V5);
    let mut got = take(&mut subscriber, owed.len());
    let deadline = Instant::now() + PATIENCE;
    let mut number = 48_000;
    while ask(&mut publisher, number) == ReasonCode::QUOTA_EXCEEDED {
        assert!(Instant::now() < deadline, "it stays full: {}", setup.said());
        thread::sleep(Duration::from_millis(20));
        number += 1;
    }
    owed.push(number);
    let mut old = connect(setup, "old", Version::V4);
    assert_eq!(ask(&mut old, 49_000), ReasonCode::SUCCESS);
    owed.push(49_000);

    got.extend(take(&mut subscriber, 2));
    got.dedup();
    let missing: Vec<&u32> = owed.iter().filter(|number| !got.contains(number)).collect();
    assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
    println!(
        "{} messages were acknowledged until it was full, {} more after a kill; all arrived",
        owed.len() - more.len() - 2,
        more.len()
    );
}

fn setup(directory: PathBuf, said: PathBuf) -> Setup {
    Setup::new(directory, said)
        .set("STORAGE_SEGMENT_BYTES", "64 KiB")
        .set("STORAGE_CHECKPOINT_MIN_BYTES", "64 KiB")
}

#[test]
fn a_quota_that_is_used_up_refuses_and_loses_nothing() {
    let directory = Directory::new("quota");
    let (data, said) = (directory.path().join("data"), directory.path().join("said"));
    story(&setup(data, said).set("STORAGE_QUOTA_BYTES", "1 MiB"));
}

/// Messages that come all at once: more than fits is on its way before the first is refused.
#[test]
fn a_burst_into_a_quota_leaves_room_to_go_on() {
    // As many as a client may have open.
    const BURST: u32 = 1_000;
    let directory = Directory::new("burst");
    let (data, said) = (directory.path().join("data"), directory.path().join("said"));
    let setup = setup(data, said)
        .set("STORAGE_SEGMENT_BYTES", "1 MiB")
        .set("STORAGE_CHECKPOINT_MIN_BYTES", "1 MiB")
        .set("STORAGE_QUOTA_BYTES", "4 MiB");
    let _program = setup.start();
    let mut subscriber = connect(&setup, "subscriber", Version::V5);
    subscriber.subscribe(&["t"]);
    assert!(hear(&mut subscriber, PATIENCE).is_some());
    subscriber.disconnect().expect("the broker is there");

    let mut publishers = ["a", "b", "c", "d"].map(|name| connect(&setup, name, Version::V5));
    let mut owed = Vec::new();
    for burst in 0..2 {
        for (line, from) in publishers.iter_mut().zip(0..) {
            for number in 0..BURST {
                push(line, (burst * 4 + from) * BURST + number);
            }
            line.flush().expect("the broker is there");
        }
        for (line, from) in publishers.iter_mut().zip(0..) {
            for number in 0..BURST {
                let number = (burst * 4 + from) * BURST + number;
                match hear(line, PATIENCE) {
                    Some(Heard::PubAck(_, ReasonCode::QUOTA_EXCEEDED)) => {}
                    Some(Heard::PubAck(_, ReasonCode::SUCCESS)) => owed.push(number),
                    other => panic!("{number}: {other:?}, {}", setup.said()),
                }
            }
        }
    }
    assert!(owed.len() < 2 * 4 * BURST as usize, "it was never full");
    let mut subscriber = connect(&setup, "subscriber", Version::V5);
    let mut got = take(&mut subscriber, owed.len());
    let deadline = Instant::now() + PATIENCE;
    while ask(&mut publishers[0], 49_000) == ReasonCode::QUOTA_EXCEEDED {
        assert!(Instant::now() < deadline, "it stays full: {}", setup.said());
        thread::sleep(Duration::from_millis(20));
    }
    got.sort_unstable();
    got.dedup();
    owed.sort_unstable();
    assert_eq!(got, owed, "what was acknowledged arrives");
}

/// Small messages, so that what is written when they are sent and acknowledged is as much as they
/// are; some clients acknowledge each, others when they have all that they may.
#[test]
fn small_messages_that_fill_a_quota_make_room_when_they_are_fetched() {
    for (name, at_once) in [("eager", "200"), ("idle", "16384")] {
        let directory = Directory::new(&format!("small-{name}"));
        let (data, said) = (directory.path().join("data"), directory.path().join("said"));
        let setup = setup(data, said)
            .set("STORAGE_QUOTA_BYTES", "768 KiB")
            .set("SESSION_INFLIGHT_MAXIMUM", at_once)
            .set("SESSION_QUEUE_MESSAGES_MAXIMUM", "100000");
        let mut program = setup.start();
        let mut owed = Vec::new();
        for turn in 0..2 {
            let mut subscriber = connect(&setup, "subscriber", Version::V5);
            subscriber.subscribe(&["t"]);
            assert!(matches!(
                hear(&mut subscriber, PATIENCE),
                Some(Heard::Subscribed(_))
            ));
            subscriber.disconnect().expect("the broker is there");
            let mut publisher = connect(&setup, "publisher", Version::V5);
            owed.extend(fill_at_once(&mut publisher, turn * 50_000));
            assert!(owed.len() > 200, "it took {} messages", owed.len());
            if turn == 1 {
                program.kill(&setup);
                program = setup.start();
                publisher = connect(&setup, "publisher", Version::V5);
            }

            let mut subscriber = connect(&setup, "subscriber", Version::V5);
            let mut got = Vec::new();
            while got.len() < owed.len() {
                let mut open = Vec::new();
                while got.len() < owed.len() {
                    // Who has acknowledged everything is owed more, however slow the disk is.
                    let patience = if open.is_empty() { PATIENCE } else { MOMENT };
                    let Some(heard) = hear(&mut subscriber, patience) else {
                        break;
                    };
                    if let Heard::Message { payload, id, .. } = heard {
                        let text = String::from_utf8(payload).expect("text");
                        let number = text.split(' ').next().and_then(|text| text.parse().ok());
                        got.push(number.expect("a number"));
                        open.push(id.expect("QoS 1"));
                    }
                    if name == "eager" {
                        for id in open.drain(..) {
                            subscriber.acknowledge(Packet::PubAck, id);
                        }
                    }
                }
                assert!(
                    !open.is_empty() || name == "eager" && got.len() >= owed.len(),
                    "{name}, turn {turn}: {} of {} came: {}",
                    got.len(),
                    owed.len(),
                    setup.said()
                );
                for id in open {
                    subscriber.acknowledge(Packet::PubAck, id);
                }
                subscriber.flush().expect("the broker is there");
            }
            got.sort_unstable();
            got.dedup();
            owed.sort_unstable();
            assert_eq!(
                got, owed,
                "{name}, turn {turn}: what was acknowledged arrives"
            );
            owed.clear();
            let deadline = Instant::now() + PATIENCE;
            while ask(&mut publisher, 1) == ReasonCode::QUOTA_EXCEEDED {
                assert!(
                    Instant::now() < deadline,
                    "{name}, turn {turn}: it stays full: {}",
                    setup.said()
                );
                thread::sleep(Duration::from_millis(20));
            }
            owed.push(1);
            got = take(&mut subscriber, 1);
            assert!(got.ends_with(&owed), "{got:?}");
            owed.clear();
        }
    }
}

/// Publishes small messages, many at once, until some are refused. The numbers of what was
/// acknowledged.
fn fill_at_once(line: &mut Line, first: u32) -> Vec<u32> {
    const AT_ONCE: u32 = 100;
    let mut taken = Vec::new();
    for from in (first..first + 50_000).step_by(AT_ONCE as usize) {
        (from..from + AT_ONCE).for_each(|number| push_of(line, number, 40));
        let before = taken.len();
        for number in from..from + AT_ONCE {
            match hear(line, PATIENCE) {
                Some(Heard::PubAck(_, ReasonCode::QUOTA_EXCEEDED)) => {}
                Some(Heard::PubAck(_, ReasonCode::SUCCESS)) => taken.push(number),
                other => panic!("message {number} was answered with {other:?}"),
            }
        }
        if taken.len() - before < AT_ONCE as usize {
            return taken;
        }
    }
    panic!("it never gets full");
}

/// A file system in memory, until it is dropped.
struct Small(PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    if std::env::var_os("WHIMBREL_FULL_DISK").is_none() {
        println!(
            "not run: needs root to mount a small file system; WHIMBREL_FULL_DISK=1 asks for it"
        );
        return;
    }
    let directory = Directory::new("full");
    let at = directory.path().join("mounted");
    std::fs::create_dir_all(&at).expect("the directory of the test can be written to");
    run(Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&at));
    let small = Small(at);
    story(&setup(small.0.join("data"), directory.path().join("said")));
}
