//! Wills: one for each connection that is lost, none for one that was closed in order.

use super::Arrival;
use super::losses::LossBook;
use std::collections::BTreeMap;
use std::fmt::Write;
use whimbrel_core::codec::packet::QoS;

/// How long a process that ends in disorder may have known of something and not written it down: a
/// DISCONNECT, or that a will was published. At QoS 0 and 1 that does not wait for the log.
const LAZY_MS: u64 = 30_000;

/// How long after its delay a will may come for no reason that anybody could know.
const SLACK_MS: u64 = 1_000;

/// The one who hears all wills.
pub(crate) const WATCHER: usize = 0;

/// What a will says beside its text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WillKind {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) delay_s: u32,
}

#[derive(Debug)]
struct Will {
    /// Whose, and in which life.
    player: usize,
    life: u64,
    qos: QoS,
    /// The last one of its topic that is published is retained.
    retain: bool,
    delay_s: u32,
    /// How many are owed for sure.
    owed: u64,
    /// How many there may be.
    possible: u64,
    arrived: u64,
    /// When, as long as a process that ends may not have written it down.
    fresh: Vec<u64>,
}

/// How the connection of a delayed will stands with the broker. While one is there, or its delay
/// passes, the next connection of its client takes the will back, unless it begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The broker has the connection, or does not know of it yet.
    Open,
    /// It has not had it any longer since this moment.
    Since(u64),
    /// The process has ended; the delay begins when the next one starts. What was gone before that
    /// was perhaps written down with its time, by the wall clock.
    Restart { was_gone: bool },
    /// It is decided whether the will is owed.
    Decided,
}

#[derive(Debug)]
struct Line {
    player: usize,
    /// The name of its will, if it has one.
    will: String,
    is_clean: bool,
    wait: Wait,
    /// Some of its CONNECT has reached the broker.
    is_known: bool,
    /// The process that it reached has ended; what it has sent may still arrive.
    has_ended: bool,
    /// The broker has sent CONNACK.
    is_accepted: bool,
    is_parting: bool,
    /// When it said so, it waited for the answer to a message.
    is_unanswered: bool,
    is_over: bool,
    is_counted: bool,
    parted_at: Option<u64>,
    /// It was found that its will, delayed, is owed.
    due: Option<Due>,
}

/// A delayed will is owed, and perhaps not written down.
#[derive(Clone, Copy, Debug)]
struct Due {
    /// Since this moment at the latest.
    at: u64,
    /// By the connection that came too late for it, which is not answered before it is.
    late: u64,
}

#[derive(Debug, Default)]
pub(super) struct WillBook {
    /// By payload.
    wills: BTreeMap<String, Will>,
    lines: BTreeMap<u64, Line>,
    /// The wall clock has jumped since the last process began.
    has_jumped: bool,
    /// Nothing can be written, for want of room.
    log_is_stuck: bool,
    /// When that was so last.
    stuck_at: u64,
}

fn name(player: usize, life: u64) -> String {
    format!("w{player}-{life}")
}

/// A connection that was accepted and is lost owes a will; when that is delayed, [`decide`] says
/// whether the client came back in time.
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

/// A delayed will is owed now, or never for this connection. Whether it is.
fn decide(wills: &mut BTreeMap<String, Will>, line: &mut Line, is_owed: bool) -> bool {
    let is_lost = line.is_accepted && line.is_over && !line.is_parting;
    line.wait = Wait::Decided;
    if is_owed
        && is_lost
        && let Some(will) = wills.get_mut(&line.will)
        && will.delay_s > 0
    {
        will.owed += 1;
        return true;
    }
    false
}

/// Whether a connection is gone for longer than the delay of its will.
fn is_due(wills: &BTreeMap<String, Will>, line: &Line, (now, slack_ms): (u64, u64)) -> bool {
    let delay_ms = wills
        .get(&line.will)
        .map_or(0, |will| u64::from(will.delay_s) * 1_000);
    match line.wait {
        Wait::Since(at) => at + delay_ms + slack_ms <= now,
        Wait::Open | Wait::Restart { .. } | Wait::Decided => false,
    }
}

impl WillBook {
    pub(super) fn made(&mut self, player: usize, life: u64, kind: WillKind) -> String {
        let will = Will {
            player,
            life,
            qos: kind.qos,
            retain: kind.retain,
            delay_s: kind.delay_s,
            owed: 0,
            possible: 0,
            arrived: 0,
            fresh: Vec::new(),
        };
        self.wills.insert(name(player, life), will);
        name(player, life)
    }

    pub(super) fn connecting(&mut self, (player, life): (usize, u64), line: u64, is_clean: bool) {
        let line_of = Line {
            player,
            will: name(player, life),
            is_clean,
            wait: Wait::Open,
            is_known: false,
            has_ended: false,
            is_accepted: false,
            is_parting: false,
            is_unanswered: false,
            is_over: false,
            is_counted: false,
            parted_at: None,
            due: None,
        };
        self.lines.insert(line, line_of);
    }

    /// The broker has heard of this connection: a delayed will of an earlier one was due before, or
    /// is when this one ends the session, or never.
    pub(super) fn known(&mut self, id: u64, now: u64) {
        let Some(line) = self.lines.get_mut(&id).filter(|line| !line.is_known) else {
            return;
        };
        line.is_known = true;
        if let Some(will) = self.wills.get_mut(&line.will) {
            will.possible += 1;
        }
        let (player, is_clean) = (line.player, line.is_clean);
        // When there are several, nobody knows which of them the broker takes for the last.
        let is_alone = self.undecided(player, id).count() == 1;
        for (other, line) in &mut self.lines {
            let counts = line.is_known && line.wait != Wait::Decided;
            if *other == id || line.player != player || !counts {
                continue;
            }
            let is_owed = is_due(&self.wills, line, (now, SLACK_MS)) || is_clean && is_alone;
            let is_owed = decide(&mut self.wills, line, is_owed);
            line.due = is_owed.then_some(Due { at: now, late: id });
        }
    }

    /// Other connections of a client that the broker has heard of.
    fn undecided(&self, player: usize, id: u64) -> impl Iterator<Item = &Line> {
        let lines = self.lines.iter();
        lines.filter_map(move |(other, line)| {
            let counts = line.is_known && line.wait != Wait::Decided;
            (*other != id && line.player == player && counts).then_some(line)
        })
    }

    /// The broker has this connection no longer.
    pub(super) fn gone(&mut self, id: u64, now: u64) {
        let Some(player) = self.lines.get(&id).map(|line| line.player) else {
            return;
        };
        // Another one has taken over, or may have.
        let is_alone = self.undecided(player, id).next().is_none();
        if let Some(line) = self.lines.get_mut(&id)
            && line.wait == Wait::Open
        {
            line.wait = match line.is_accepted && is_alone {
                true => Wait::Since(now),
                false => Wait::Decided,
            };
        }
    }

    /// The wall clock is not what it was. It counts when the next process begins.
    pub(super) const fn clock_jumped(&mut self) {
        self.has_jumped = true;
    }

    /// Nothing can be written, or it can again.
    pub(super) const fn log_is_stuck(&mut self, is_stuck: bool, now: u64) {
        if self.log_is_stuck {
            self.stuck_at = now;
        }
        self.log_is_stuck = is_stuck;
    }

    /// A process begins: what was lost with the last one waits from now on.
    pub(super) fn booted(&mut self, now: u64) {
        for line in self.lines.values_mut() {
            if let Wait::Restart { was_gone } = line.wait {
                line.wait = match was_gone && self.has_jumped {
                    true => Wait::Decided,
                    false => Wait::Since(now),
                };
            }
        }
        self.has_jumped = false;
    }

    /// The broker has sent CONNACK, whether or not it arrives: from now on the will is its affair.
    /// And a will that was due before it is written down.
    pub(super) fn accepted(&mut self, id: u64) {
        if let Some(line) = self.lines.get_mut(&id) {
            line.is_accepted = true;
            owe(&mut self.wills, line);
        }
        for line in self.lines.values_mut() {
            line.due = line.due.filter(|due| due.late != id);
        }
    }

    pub(super) fn parting(&mut self, line: u64, is_unanswered: bool) {
        if let Some(line) = self.lines.get_mut(&line) {
            line.is_parting = true;
            line.is_unanswered = is_unanswered;
        }
    }

    /// Whether the client said DISCONNECT behind a message that it had no answer to.
    pub(super) fn parted_unanswered(&self, line: u64) -> bool {
        self.lines.get(&line).is_some_and(|line| line.is_unanswered)
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
        // Nor that a delayed will was published: to the next process its client has been there
        // until now, and may come back in time. The log of a crowd may be far behind, and any that
        // has had no room.
        self.log_is_stuck(false, now);
        const CROWD: usize = 100;
        let behind_ms = match self.wills.len() {
            0..CROWD => SLACK_MS,
            CROWD.. => LAZY_MS,
        };
        for line in self.lines.values_mut() {
            let due = line.due.take();
            let is_fresh = due.is_some_and(|due| due.at.max(self.stuck_at) + behind_ms > now);
            if is_fresh && let Some(will) = self.wills.get_mut(&line.will) {
                will.owed -= 1;
            }
        }
        for line in self.lines.values_mut().filter(|line| line.is_known) {
            line.has_ended = true;
            // Published so long ago that it is written down.
            let is_kept = is_due(&self.wills, line, (now, SLACK_MS + LAZY_MS));
            match line.wait {
                Wait::Open if line.is_accepted => line.wait = Wait::Restart { was_gone: false },
                Wait::Since(_) if is_kept => {
                    decide(&mut self.wills, line, true);
                }
                Wait::Since(_) => line.wait = Wait::Restart { was_gone: true },
                Wait::Restart { .. } => {}
                Wait::Open | Wait::Decided => line.wait = Wait::Decided,
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
        if arrival.retain {
            return Err(format!(
                "the will {text} comes as if it had been there before"
            ));
        }
        will.arrived += 1;
        if arrival.qos < QoS::ExactlyOnce {
            let mut lines = self.lines.values().rev();
            let line = lines.find(|line| line.player == WATCHER);
            match line.is_some_and(|line| line.has_ended) {
                true => will.possible += 1, // the crash after it was published has been
                false => will.fresh.push(now),
            }
        }
        let is_too_often = will.arrived > will.possible
            && (will.qos != QoS::AtLeastOnce || arrival.qos == QoS::ExactlyOnce);
        if is_too_often {
            return Err(format!("the will {text} comes too often: {will:?}"));
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, now: u64, losses: &LossBook, owed: &mut String) {
        for line in self.lines.values_mut() {
            if is_due(&self.wills, line, (now, SLACK_MS)) {
                decide(&mut self.wills, line, true);
            }
        }
        // What was dropped for the one who hears them, or could not be read back.
        let missing = |(name, will): (&String, &Will)| {
            let is_owed = will.qos > QoS::AtMostOnce && !losses.excuses(name);
            if is_owed {
                will.owed.saturating_sub(will.arrived)
            } else {
                0
            }
        };
        let missing = self.wills.iter().map(missing).sum();
        let is_excused = losses.excuse(&[WATCHER], missing);
        for (name, will) in &self.wills {
            let possible = self.possible(name, will);
            let is_lost = will.arrived < will.owed && !is_excused && !losses.excuses(name);
            let is_right = match will.qos {
                QoS::AtMostOnce => will.arrived <= possible,
                QoS::AtLeastOnce => !is_lost,
                QoS::ExactlyOnce => !is_lost && will.arrived <= possible,
            };
            if !is_right {
                let _ = write!(owed, "\n  the will {name}, {possible} at most: {will:?}");
            }
        }
    }

    /// How often it may have been published. Connections that are open still have theirs.
    fn possible(&self, name: &str, will: &Will) -> u64 {
        let lines = self.lines.values();
        let open = lines.filter(|line| line.will == name && line.is_known && !line.is_over);
        will.possible - open.count() as u64
    }

    /// Compares with what a fresh subscriber has got: the last will of a client that was to be
    /// retained and is owed for sure, or a later one that may have been published.
    pub(super) fn finish_retained(
        &self,
        found: &[(String, String)],
        losses: &LossBook,
        owed: &mut String,
    ) {
        let mut by_topic: BTreeMap<String, Vec<(&String, &Will)>> = BTreeMap::new();
        for (name, will) in &self.wills {
            let topic = format!("w/{}", will.player);
            by_topic.entry(topic).or_default().push((name, will));
        }
        let (mut missing, mut told) = (0, String::new());
        for (topic, wills) in &by_topic {
            let there = found.iter().find(|(name, _)| name == topic);
            let there = there.map(|(_, text)| text);
            let is_sure = |(name, will): &&(&String, &Will)| {
                let is_owed = will.owed > 0 && will.qos > QoS::AtMostOnce;
                will.retain && is_owed && !losses.excuses(name)
            };
            let sure = wills.iter().filter(is_sure).map(|(_, will)| will.life);
            let sure = sure.max();
            let may_be = |(name, will): &&(&String, &Will)| {
                let is_late = sure.is_none_or(|life| will.life >= life);
                will.retain && is_late && self.possible(name, will) + will.arrived > 0
            };
            let mut candidates = wills.iter().filter(may_be);
            let is_right = match there {
                Some(text) => candidates.any(|(name, _)| *name == text),
                None => sure.is_none(),
            };
            if is_right {
                continue;
            }
            // Where there was no room for the last one, an earlier one is there, or none.
            let is_other = |(name, will): &(&String, &Will)| will.retain && Some(*name) == there;
            let is_missing = there.is_none() || wills.iter().any(is_other);
            missing += if is_missing { 1 } else { u64::MAX / 2 };
            let _ = write!(told, "\n  {topic} retains {there:?}, of {wills:?}");
        }
        if !losses.excuses_unretained(missing) {
            owed.push_str(&told);
        }
    }
}
