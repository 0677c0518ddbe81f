//! Wills: one for each connection that is lost, none for one that was closed in order.

use super::Arrival;
use std::collections::BTreeMap;
use std::fmt::Write;
use whimbrel_core::codec::packet::QoS;

/// How long a process that ends in disorder may have known of something and not written it down: a
/// DISCONNECT, or that a will was published. At QoS 0 and 1 that does not wait for the log.
const LAZY_MS: u64 = 30_000;

/// The one who hears all wills.
pub(crate) const WATCHER: usize = 0;

#[derive(Debug)]
struct Will {
    qos: QoS,
    delay_s: u32,
    /// How many are owed for sure.
    owed: u64,
    /// How many there may be.
    possible: u64,
    arrived: u64,
    /// When, as long as a process that ends may not have written it down.
    fresh: Vec<u64>,
}

#[derive(Debug)]
struct Line {
    will: String,
    /// Some of its CONNECT has reached the broker.
    is_known: bool,
    /// The broker has sent CONNACK.
    is_accepted: bool,
    is_parting: bool,
    is_over: bool,
    is_counted: bool,
    parted_at: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct WillBook {
    /// By payload.
    wills: BTreeMap<String, Will>,
    lines: BTreeMap<u64, Line>,
}

fn name(player: usize, life: u64) -> String {
    format!("w{player}-{life}")
}

/// A connection that was accepted and is lost owes a will; not for sure when it is delayed, because
/// the client may come back in time.
fn owe(wills: &mut BTreeMap<String, Will>, line: &mut Line) {
    let is_lost = line.is_accepted && line.is_over && !line.is_parting;
    if is_lost
        && !line.is_counted
        && let Some(will) = wills.get_mut(&line.will)
        && will.delay_s == 0
    {
        line.is_counted = true;
        will.owed += 1;
    }
}

impl WillBook {
    pub(super) fn made(&mut self, player: usize, life: u64, qos: QoS, delay_s: u32) -> String {
        let will = Will {
            qos,
            delay_s,
            owed: 0,
            possible: 0,
            arrived: 0,
            fresh: Vec::new(),
        };
        self.wills.insert(name(player, life), will);
        name(player, life)
    }

    pub(super) fn connecting(&mut self, player: usize, life: u64, line: u64) {
        let name = name(player, life);
        if !self.wills.contains_key(&name) {
            return;
        }
        let line_of = Line {
            will: name,
            is_known: false,
            is_accepted: false,
            is_parting: false,
            is_over: false,
            is_counted: false,
            parted_at: None,
        };
        self.lines.insert(line, line_of);
    }

    /// The broker has heard of this connection.
    pub(super) fn known(&mut self, line: u64) {
        if let Some(line) = self.lines.get_mut(&line)
            && !line.is_known
            && let Some(will) = self.wills.get_mut(&line.will)
        {
            line.is_known = true;
            will.possible += 1;
        }
    }

    /// The broker has sent CONNACK, whether or not it arrives: from now on the will is its affair.
    pub(super) fn accepted(&mut self, line: u64) {
        if let Some(line) = self.lines.get_mut(&line) {
            line.is_accepted = true;
            owe(&mut self.wills, line);
        }
    }

    pub(super) fn parting(&mut self, line: u64) {
        if let Some(line) = self.lines.get_mut(&line) {
            line.is_parting = true;
        }
    }

    /// The broker has read the DISCONNECT: this will is not for publishing.
    pub(super) fn parted(&mut self, line: u64, now: u64) {
        if let Some(line) = self.lines.get_mut(&line)
            && line.is_parting
            && line.parted_at.is_none()
            && let Some(will) = self.wills.get_mut(&line.will)
        {
            line.parted_at = Some(now);
            will.possible -= 1;
        }
    }

    /// What the broker knew and had not written down is forgotten.
    pub(super) fn crashed(&mut self, now: u64) {
        for line in self.lines.values_mut() {
            let is_fresh = line.parted_at.is_some_and(|at| at + LAZY_MS > now);
            if is_fresh && let Some(will) = self.wills.get_mut(&line.will) {
                will.possible += 1;
                // Not again at the next crash.
                line.parted_at = Some(0);
            }
        }
        for will in self.wills.values_mut() {
            let fresh = core::mem::take(&mut will.fresh).into_iter();
            will.possible += fresh.filter(|at| at + LAZY_MS > now).count() as u64;
        }
    }

    pub(super) fn disconnected(&mut self, line: u64) {
        if let Some(line) = self.lines.get_mut(&line) {
            line.is_over = true;
            owe(&mut self.wills, line);
        }
    }

    pub(super) fn arrived(
        &mut self,
        player: usize,
        text: &str,
        (arrival, now): (&Arrival, u64),
    ) -> Result<(), String> {
        if player != WATCHER {
            return Ok(());
        }
        let Some(will) = self.wills.get_mut(text) else {
            return Err(format!("nobody has the will {text}"));
        };
        will.arrived += 1;
        if arrival.qos < QoS::ExactlyOnce {
            will.fresh.push(now);
        }
        let is_too_often = will.arrived > will.possible
            && (will.qos != QoS::AtLeastOnce || arrival.qos == QoS::ExactlyOnce);
        if is_too_often {
            return Err(format!("the will {text} comes too often: {will:?}"));
        }
        Ok(())
    }

    pub(super) fn finish(&self, owed: &mut String) {
        for (name, will) in &self.wills {
            // Connections that are open still have theirs.
            let lines = self.lines.values();
            let open = lines.filter(|line| line.will == *name && line.is_known && !line.is_over);
            let possible = will.possible - open.count() as u64;
            let is_right = match will.qos {
                QoS::AtMostOnce => will.arrived <= possible,
                QoS::AtLeastOnce => will.owed <= will.arrived,
                QoS::ExactlyOnce => (will.owed..=possible).contains(&will.arrived),
            };
            if !is_right {
                let _ = write!(owed, "\n  the will {name}, {possible} at most: {will:?}");
            }
        }
    }
}
