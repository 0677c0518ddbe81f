//! Power cuts: the broker keeps things on a file system in a file. It is stopped, the file is
//! copied as it is, and a second broker starts from the copy: what the system had not written to
//! the file by then is not there, as after a power cut. Needs root and loop devices, so it runs
//! only when `WHIMBREL_POWER_CUTS` says how often.

use crate::cast::{Directions, Playing};
use crate::line::{Introduction, Line};
use crate::program::{Directory, Program, Setup, run};
use crate::publisher::{Promises, Publisher};
use crate::subscriber::Subscriber;
use crate::verdict::{Verdict, judge_stream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use whimbrel_core::codec::packet::QoS::{AtLeastOnce, ExactlyOnce};
use whimbrel_core::codec::packet::Version::{V4, V5};
use whimbrel_tests::Random;

/// How long a broker may take to start from a copy.
const PATIENCE: Duration = Duration::from_secs(30);

const EVERYTHING: &[&str] = &["one/+", "two/+"];

/// A mounted file system, until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(image: &Path, at: PathBuf) -> Self {
        std::fs::create_dir_all(&at).expect("the directory of the test can be written to");
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(image)
            .arg(&at));
        Self(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.0.display());
        }
    }
}

/// A broker whose queues hold all that these tests send.
fn setup(mounted: &Path, said: PathBuf, sync: &'static str) -> Setup {
    Setup::new(mounted.join("data"), said)
        .set("STORAGE_SYNC", sync)
        .set("STORAGE_SEGMENT_BYTES", "256 KiB")
        .set("STORAGE_CHECKPOINT_MIN_BYTES", "1 MiB")
        .set("SESSION_QUEUE_MESSAGES_MAXIMUM", 10_000_000)
        .set("SESSION_QUEUE_BYTES_MAXIMUM", "1 GiB")
}

fn signal(program: &Program, name: &str) {
    run(Command::new("kill").args([format!("-{name}"), program.id().to_string()]));
}

/// What was promised when the power failed, and what was on the disk then.
struct Cut {
    promised: Vec<(&'static str, u64)>,
    image: PathBuf,
}

/// Stops the broker, notes what its clients were promised, and copies its disk.
fn cut(
    program: &Program,
    publishers: &[(&'static str, Playing<Promises>)],
    (image, copy): (&Path, PathBuf),
) -> Cut {
    signal(program, "STOP");
    // What was sent before the stop may still be on its way to the clients.
    thread::sleep(Duration::from_millis(50));
    let promised = publishers.iter().map(|(name, playing)| {
        let acknowledged = playing.look(|promises| promises.acknowledged);
        (*name, acknowledged)
    });
    let promised = promised.collect();
    run(Command::new("cp")
        .arg("--sparse=always")
        .arg(image)
        .arg(&copy));
    signal(program, "CONT");
    Cut {
        promised,
        image: copy,
    }
}

/// Starts from what was on the disk, and lets the subscriber have what waited for it.
fn judge(cut: &Cut, directory: &Path, verdict: &mut Verdict) {
    let mounted = Mounted::new(&cut.image, directory.join("after"));
    let setup = setup(&mounted.0, directory.join("said-after"), "always");
    let mut program = setup.start();
    let directions = Directions::new(setup.address);
    let subscriber = Subscriber::new("subscriber", V5, EVERYTHING, 1);
    let mut playing = Playing::start(subscriber, &directions);
    directions.stop_publishing();
    let deadline = Instant::now() + PATIENCE;
    let mut count = 0;
    let mut quiet = Instant::now();
    // Everything has come when all that is owed has, or when nothing comes any longer.
    let last = loop {
        let mut now = Verdict::default();
        let received = playing.ledger();
        for (publisher, promised) in &cut.promised {
            let numbers = received
                .numbers
                .get(*publisher)
                .cloned()
                .unwrap_or_default();
            let names = (*publisher, "subscriber");
            judge_stream(&mut now, names, *promised, &numbers, *publisher == "two");
        }
        let total = received.numbers.values().map(Vec::len).sum();
        if core::mem::replace(&mut count, total) != total || !received.subscribed {
            quiet = Instant::now();
        }
        let over = quiet.elapsed() > Duration::from_secs(2) || Instant::now() > deadline;
        if now.owed == 0 || over {
            break now;
        }
        thread::sleep(Duration::from_millis(50));
    };
    directions.end();
    program.kill(&setup);
    playing.leave();
    verdict.add(last);
}

/// Cuts the power of a broker with this policy a number of times.
fn power_cuts(sync: &'static str, cuts: u64, seed: u64) -> Verdict {
    let directory = Directory::new(&format!("power-{sync}"));
    let path = directory.path();
    let image = path.join("image");
    run(Command::new("truncate").args(["-s", "512M"]).arg(&image));
    run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
    let mounted = Mounted::new(&image, path.join("before"));
    let setup = setup(&mounted.0, path.join("said"), sync);
    let mut program = setup.start();

    subscribe_and_leave(&setup);
    // The subscription is not what this is about.
    run(&mut Command::new("sync"));
    let directions = Directions::new(setup.address);
    let publishers =
        [("one", V4, AtLeastOnce), ("two", V5, ExactlyOnce)].map(|(name, version, qos)| {
            let actor = Publisher::new(name, version, qos, seed);
            (name, Playing::start(actor, &directions))
        });
    let mut random = Random::new(seed);
    let cuts: Vec<Cut> = (0..cuts)
        .map(|number| {
            thread::sleep(Duration::from_millis(200 + random.below(500) as u64));
            let copy = path.join(format!("copy-{number}"));
            cut(&program, &publishers, (&image, copy))
        })
        .collect();
    directions.end();
    program.kill(&setup);
    for (_, mut playing) in publishers {
        playing.leave();
    }
    let mut verdict = Verdict::default();
    for cut in &cuts {
        judge(cut, path, &mut verdict);
    }
    verdict
}

/// From here on messages wait for this client.
fn subscribe_and_leave(setup: &Setup) {
    let introduction = Introduction {
        name: "subscriber".to_owned(),
        version: V5,
        persistent: true,
        starts_anew: false,
        will: None,
    };
    let deadline = Instant::now() + PATIENCE;
    let mut line = loop {
        match Line::open(setup.address, &introduction) {
            Ok(line) => break line,
            Err(error) => assert!(Instant::now() < deadline, "{error}: {}", setup.said()),
        }
        thread::sleep(Duration::from_millis(10));
    };
    line.subscribe(EVERYTHING);
    line.flush().expect("the broker is there");
    while line.next().expect("the broker is there").is_none() {
        line.fill(Duration::from_millis(100))
            .expect("the broker is there");
    }
    line.disconnect().expect("the broker is there");
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let Some(cuts) = std::env::var("WHIMBREL_POWER_CUTS").ok() else {
        println!("not run: needs root and loop devices; WHIMBREL_POWER_CUTS says how often");
        return;
    };
    let cuts = cuts.parse().expect("WHIMBREL_POWER_CUTS is a number");
    let seed = crate::kills::seed();
    let always = power_cuts("always", cuts, seed);
    println!("sync = always, {cuts} power cuts: {always}");
    let never = power_cuts("never", cuts, seed);
    println!("sync = never, {cuts} power cuts: {never}");
    assert!(always.is_good(), "{always:#?}");
    assert!(
        never.owed > 0,
        "a rig that finds no loss here would find none anywhere"
    );
}
