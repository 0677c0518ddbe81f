//! `kill -9`, again and again.

use crate::cast::{Directions, Playing};
use crate::mourner::{Mourner, Wills};
use crate::program::{Directory, Program, Setup, backend};
use crate::publisher::{Promises, Publisher};
use crate::subscriber::{Received, Subscriber};
use crate::verdict::{Verdict, judge_retained, judge_shared, judge_stream, judge_wills};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use whimbrel_core::codec::packet::QoS::{AtLeastOnce, ExactlyOnce};
use whimbrel_core::codec::packet::Version::{V4, V5};
use whimbrel_tests::Random;

/// How long what is owed may take to arrive once the faults have stopped.
const PATIENCE: Duration = Duration::from_secs(30);

/// What everybody subscribes to: all publishers, and all wills.
const EVERYTHING: &[&str] = &["one-a/+", "one-b/+", "two-a/+", "two-b/+", "+/will"];

/// What the members of a shared subscription subscribe to: QoS 1, which may move from one to
/// another.
const SHARED: &[&str] = &["$share/group/one-a/+", "$share/group/one-b/+"];

/// The same with QoS 2, which stays with the one it went to first.
const SHARED_ONCE: &[&str] = &["$share/pair/two-a/+", "$share/pair/two-b/+"];

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Everybody who takes part.
struct Company {
    directions: Arc<Directions>,
    publishers: Vec<(&'static str, Playing<Promises>)>,
    retaining: Vec<(&'static str, Playing<Promises>)>,
    mourners: Vec<(&'static str, Playing<Wills>)>,
    subscribers: Vec<(&'static str, Playing<Received>)>,
    members: Vec<(&'static str, Playing<Received>)>,
    pair: Vec<(&'static str, Playing<Received>)>,
}

impl Company {
    /// Subscribers first: what is published counts from the first message on.
    fn gather(setup: &Setup, seed: u64) -> Self {
        let directions = Directions::new(setup.address);
        let subscriber = |name, version, seed| Subscriber::new(name, version, EVERYTHING, seed);
        let subscribers = [
            ("sub-a", subscriber("sub-a", V4, seed + 1)),
            ("sub-b", subscriber("sub-b", V5, seed + 2)),
            ("sub-c", subscriber("sub-c", V5, seed + 3).sleepy()),
        ]
        .map(|(name, actor)| (name, Playing::start(actor, &directions)));
        let member = |name, seed| Subscriber::new(name, V5, SHARED, seed);
        let members = [
            ("member-a", member("member-a", seed + 4)),
            ("member-b", member("member-b", seed + 5).sleepy()),
            ("member-c", member("member-c", seed + 6).fickle()),
            ("member-d", member("member-d", seed + 7).fickle()),
        ]
        .map(|(name, actor)| (name, Playing::start(actor, &directions)));
        let one = |name, seed| Subscriber::new(name, V5, SHARED_ONCE, seed);
        let pair = [
            ("one-of-two", one("one-of-two", seed + 8)),
            ("two-of-two", one("two-of-two", seed + 9).sleepy()),
        ]
        .map(|(name, actor)| (name, Playing::start(actor, &directions)));
        let company = Self {
            subscribers: subscribers.into(),
            members: members.into(),
            pair: pair.into(),
            publishers: Vec::new(),
            retaining: Vec::new(),
            mourners: Vec::new(),
            directions,
        };
        company.wait("subscriptions", || {
            let all = company.subscribers.iter().chain(&company.members);
            let mut all = all.chain(&company.pair);
            all.all(|(_, playing)| playing.look(|received| received.subscribed))
        });
        company.with_publishers(seed)
    }

    fn with_publishers(mut self, seed: u64) -> Self {
        let directions = &self.directions;
        self.publishers = [
            ("one-a", V4, AtLeastOnce),
            ("one-b", V5, AtLeastOnce),
            ("two-a", V4, ExactlyOnce),
            ("two-b", V5, ExactlyOnce),
        ]
        .into_iter()
        .zip(seed + 10..)
        .map(|((name, version, qos), seed)| {
            let actor = Publisher::new(name, version, qos, seed);
            (name, Playing::start(actor, directions))
        })
        .collect();
        self.retaining = [("keep-a", AtLeastOnce), ("keep-b", ExactlyOnce)]
            .into_iter()
            .zip(seed + 20..)
            .map(|((name, qos), seed)| {
                let actor = Publisher::retaining(name, V5, qos, seed);
                (name, Playing::start(actor, directions))
            })
            .collect();
        self.mourners = [("mourner-a", true), ("mourner-b", false)]
            .into_iter()
            .zip(seed + 30..)
            .map(|((name, persistent), seed)| {
                let actor = Mourner::new(name, persistent, seed);
                (name, Playing::start(actor, directions))
            })
            .collect();
        self
    }

    fn acknowledged(&self) -> u64 {
        let all = self.publishers.iter().chain(&self.retaining);
        all.map(|(_, playing)| playing.look(|promises| promises.acknowledged))
            .sum()
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "{what} took too long");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// No more faults: what was begun is finished, what is owed arrives.
    fn finish(&self) {
        self.directions.stop_publishing();
        self.wait("finishing what was begun", || {
            let mut all = self.publishers.iter().chain(&self.retaining);
            all.all(|(_, playing)| playing.is_done())
        });
        let deadline = Instant::now() + PATIENCE;
        while self.judge().owed > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(100));
        }
        // Whatever comes twice may still be on its way.
        thread::sleep(Duration::from_millis(300));
    }

    /// Compares all ledgers.
    fn judge(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for (subscriber, playing) in &self.subscribers {
            let received = playing.ledger();
            verdict.broken(subscriber, &received.broken);
            for (publisher, promises) in &self.publishers {
                let numbers = received.numbers.get(*publisher);
                let numbers = numbers.map_or(&[][..], Vec::as_slice);
                let exactly_once = publisher.starts_with("two");
                let promised = promises.look(|promises| promises.acknowledged);
                let names = (*publisher, *subscriber);
                judge_stream(&mut verdict, names, promised, numbers, exactly_once);
            }
            for (mourner, wills) in &self.mourners {
                let numbers = received.numbers.get(*mourner);
                let numbers = numbers.map_or(&[][..], Vec::as_slice);
                judge_wills(
                    &mut verdict,
                    (mourner, subscriber),
                    &wills.ledger(),
                    numbers,
                );
            }
        }
        self.judge_members(&mut verdict);
        self.judge_pair(&mut verdict);
        for (name, playing) in self.publishers.iter().chain(&self.retaining) {
            verdict.broken(name, &playing.ledger().broken);
        }
        verdict
    }

    fn judge_members(&self, verdict: &mut Verdict) {
        let ledgers = self.members.iter().map(|(_, playing)| playing.ledger());
        let ledgers: Vec<Received> = ledgers.collect();
        for ((name, _), received) in self.members.iter().zip(&ledgers) {
            verdict.broken(name, &received.broken);
        }
        for (publisher, promises) in &self.publishers {
            if publisher.starts_with("one") {
                let numbers = ledgers.iter().flat_map(|member| &member.numbers);
                let numbers = numbers.filter(|(from, _)| from == publisher);
                let numbers = numbers.flat_map(|(_, numbers)| numbers).copied().collect();
                let promised = promises.look(|promises| promises.acknowledged);
                judge_shared(verdict, (publisher, "the group"), promised, &numbers);
            }
        }
    }

    fn judge_pair(&self, verdict: &mut Verdict) {
        let ledgers = self.pair.iter().map(|(_, playing)| playing.ledger());
        let ledgers: Vec<Received> = ledgers.collect();
        for ((name, _), received) in self.pair.iter().zip(&ledgers) {
            verdict.broken(name, &received.broken);
        }
        for (publisher, promises) in &self.publishers {
            if publisher.starts_with("two") {
                let numbers = ledgers.iter().filter_map(|one| one.numbers.get(*publisher));
                let mut numbers: Vec<u64> = numbers.flatten().copied().collect();
                // Between two there is no order.
                numbers.sort_unstable();
                let promised = promises.look(|promises| promises.acknowledged);
                let names = (*publisher, "the pair");
                judge_stream(verdict, names, promised, &numbers, true);
            }
        }
    }

    fn leave(&mut self) {
        self.directions.end();
        self.subscribers.iter_mut().for_each(|(_, p)| p.leave());
        self.members.iter_mut().for_each(|(_, p)| p.leave());
        self.pair.iter_mut().for_each(|(_, p)| p.leave());
        self.publishers.iter_mut().for_each(|(_, p)| p.leave());
        self.retaining.iter_mut().for_each(|(_, p)| p.leave());
        self.mourners.iter_mut().for_each(|(_, p)| p.leave());
    }
}

/// Lets it run for a while, often only until something was acknowledged, sometimes not even until
/// it listens; then kills it.
fn live_and_die(program: &mut Program, setup: &Setup, company: &Company, random: &mut Random) {
    if random.below(5) == 0 {
        thread::sleep(Duration::from_micros(random.below(40_000) as u64));
    } else {
        let before = company.acknowledged();
        company.wait("the first acknowledgement after a restart", || {
            company.acknowledged() > before
        });
        thread::sleep(Duration::from_micros(random.below(200_000) as u64));
    }
    program.kill(setup);
}

#[test]
fn nothing_acknowledged_is_lost_by_killing_the_broker() {
    kill_again_and_again(1);
}

#[test]
fn nothing_acknowledged_is_lost_by_killing_a_broker_of_two_threads() {
    kill_again_and_again(2);
}

fn kill_again_and_again(threads: u16) {
    if threads > 1 && backend() == "sqlite" {
        println!("not run: a database is written by one thread");
        return;
    }
    let kills = number("WHIMBREL_KILLS", 20);
    let seed = number("WHIMBREL_SEED", seed());
    println!("{threads} threads: WHIMBREL_KILLS={kills} WHIMBREL_SEED={seed}");
    let directory = Directory::new(&format!("kills-{threads}"));
    let setup = Setup::new(directory.path().join("data"), directory.path().join("said"))
        .set("SERVER_THREADS", threads)
        .set("STORAGE_SEGMENT_BYTES", "64 KiB")
        .set("STORAGE_CHECKPOINT_MIN_BYTES", "512 KiB");

    let mut random = Random::new(seed);
    let began = Instant::now();
    let mut program = setup.start();
    let mut company = Company::gather(&setup, seed);
    for _ in 0..kills {
        live_and_die(&mut program, &setup, &company, &mut random);
        program = setup.start();
    }
    company.finish();
    let mut verdict = company.judge();
    for (name, playing) in &company.retaining {
        let promised = playing.look(|promises| promises.retained.clone());
        judge_retained(&mut verdict, setup.address, name, &promised);
    }
    company.leave();
    println!(
        "{}, {threads} threads: {kills} kills in {:.1} s, {} checkpoints, {} torn writes; {verdict}",
        backend(),
        began.elapsed().as_secs_f64(),
        setup.count("a checkpoint is complete"),
        setup.count("had not been finished"),
    );
    assert!(verdict.is_good(), "{verdict:#?}\n{}", setup.said());
}

/// Differs from run to run.
pub(crate) fn seed() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed();
    since.map_or(0, |since| u64::from(since.subsec_nanos()))
}
