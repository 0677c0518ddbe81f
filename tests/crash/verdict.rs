//! What was promised against what arrived.

use crate::line::{Heard, Introduction, Line};
use crate::mourner::Wills;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use whimbrel_core::codec::packet::Version;

/// The sum of all ledgers.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// QoS 1 and 2 messages that were acknowledged, once for each subscriber.
    pub(crate) promised: u64,
    /// Of them, those that have not arrived.
    pub(crate) owed: u64,
    /// Who did not get which of them.
    pub(crate) lost: Vec<String>,
    /// QoS 1 messages that arrived more than once, which is allowed.
    pub(crate) repeated: u64,
    /// Wills that arrived.
    pub(crate) wills: u64,
    /// Retained messages that were compared.
    pub(crate) retained: u64,
    /// What must not be, in words.
    pub(crate) faults: Vec<String>,
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        self.owed == 0 && self.faults.is_empty()
    }

    /// Adds another one.
    pub(crate) fn add(&mut self, other: Self) {
        self.promised += other.promised;
        self.owed += other.owed;
        self.lost.extend(other.lost);
        self.repeated += other.repeated;
        self.wills += other.wills;
        self.retained += other.retained;
        self.faults.extend(other.faults);
    }

    fn owes(&mut self, what: &str, (from, to): (&str, &str), numbers: &[u64]) {
        if !numbers.is_empty() {
            self.owed += numbers.len() as u64;
            let some = &numbers[..numbers.len().min(10)];
            self.lost
                .push(format!("{to} did not get {what} {some:?} of {from}"));
        }
    }

    pub(crate) fn broken(&mut self, name: &str, broken: &[String]) {
        let broken = broken.iter().map(|what| format!("{name}: {what}"));
        self.faults.extend(broken);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} deliveries of acknowledged messages, {} lost, {} repeated at QoS 1; {} wills; {} retained; \
             {} faults",
            self.promised,
            self.owed,
            self.repeated,
            self.wills,
            self.retained,
            self.faults.len()
        )
    }
}

/// One publisher's messages at one subscriber: all there, in order, and at QoS 2 exactly once.
pub(crate) fn judge_stream(
    verdict: &mut Verdict,
    (publisher, subscriber): (&str, &str),
    promised: u64,
    numbers: &[u64],
    exactly_once: bool,
) {
    let mut seen = BTreeSet::new();
    let mut highest = 0;
    for number in numbers {
        if !seen.insert(*number) {
            verdict.repeated += u64::from(!exactly_once);
            if exactly_once {
                let what = format!("{subscriber} got QoS 2 message {number} of {publisher} twice");
                verdict.faults.push(what);
            }
            continue;
        }
        if *number < highest {
            let what =
                format!("{subscriber} got message {number} of {publisher} only after {highest}");
            verdict.faults.push(what);
        }
        highest = highest.max(*number);
    }
    verdict.promised += promised;
    let missing = (1..=promised).filter(|number| !seen.contains(number));
    let missing: Vec<u64> = missing.collect();
    verdict.owes("messages", (publisher, subscriber), &missing);
}

/// One publisher's messages at the members of a shared subscription: each at one of them at least.
pub(crate) fn judge_shared(
    verdict: &mut Verdict,
    (publisher, group): (&str, &str),
    promised: u64,
    numbers: &BTreeSet<u64>,
) {
    verdict.promised += promised;
    let missing = (1..=promised).filter(|number| !numbers.contains(number));
    let missing: Vec<u64> = missing.collect();
    verdict.owes("messages", (publisher, group), &missing);
}

/// One client's wills at one subscriber: all that are owed, each exactly once, no others.
pub(crate) fn judge_wills(
    verdict: &mut Verdict,
    (mourner, subscriber): (&str, &str),
    wills: &Wills,
    numbers: &[u64],
) {
    let seen: BTreeSet<u64> = numbers.iter().copied().collect();
    if seen.len() != numbers.len() {
        let what = format!("{subscriber} got a QoS 2 will of {mourner} twice: {numbers:?}");
        verdict.faults.push(what);
    }
    let last = wills.owed.last().copied();
    // The last connection has not ended.
    let owed = wills.owed.iter().filter(|number| Some(**number) != last);
    let missing: Vec<u64> = owed
        .filter(|number| !seen.contains(number))
        .copied()
        .collect();
    verdict.owes("wills", (mourner, subscriber), &missing);
    for number in &seen {
        if !wills.owed.contains(number) && !wills.possible.contains(number) {
            let what = format!("{subscriber} got will {number} of {mourner}, which is not owed");
            verdict.faults.push(what);
        }
    }
    verdict.wills += seen.len() as u64;
}

/// What a new subscriber is told is retained, against what was acknowledged last.
pub(crate) fn judge_retained(
    verdict: &mut Verdict,
    address: SocketAddr,
    name: &str,
    promised: &BTreeMap<String, Vec<u8>>,
) {
    let introduction = Introduction {
        name: format!("{name}-reader"),
        version: Version::V5,
        persistent: false,
        starts_anew: false,
        will: None,
    };
    let mut line = Line::open(address, &introduction).expect("the broker is there");
    let filter = format!("{name}/#");
    line.subscribe(&[&filter]);
    line.flush().expect("the broker is there");
    let mut found = BTreeMap::new();
    // What is retained comes at once; then nothing comes.
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut quiet = Instant::now();
    while Instant::now() < deadline && quiet.elapsed() < Duration::from_millis(500) {
        line.fill(Duration::from_millis(20))
            .expect("the broker is there");
        while let Some(heard) = line.next().expect("the broker is there") {
            quiet = Instant::now();
            if let Heard::Message { topic, payload, .. } = heard {
                found.insert(topic, payload);
            }
        }
    }
    verdict.retained += promised.len() as u64;
    if found != *promised {
        let what = format!("retained of {name}: found {found:?}, acknowledged {promised:?}");
        verdict.faults.push(what);
    }
}
