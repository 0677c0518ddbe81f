//! Playing a recording back.

use super::FORMAT;
use super::digest::Digest;
use super::frame::{self, Mark};
use super::step::{self, Input, Step, code};
use super::write::{digest_action, digest_sent, redaction_of};
use crate::action::Action;
use crate::broker::Broker;
use crate::explain::Explanation;
use crate::id::ConnectionId;
use crate::state::{Reader, State};
use crate::time::{Now, Timestamp};
use alloc::vec::Vec;
use thiserror::Error;

/// Why a recording cannot be played, or not any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// It does not begin like one.
    #[error("this is no part of a recording")]
    NotARecording,
    /// It was written by another version.
    #[error(
        "the recording has format {found:#x}, and this version reads {FORMAT:#x}; replay it with \
         the version that wrote it"
    )]
    Format {
        /// The format it has.
        found: u32,
    },
    /// The process ended before the state of the broker was written, which all else follows from.
    #[error("its beginning is missing")]
    NoBeginning,
    /// Bytes that are not as they were written. What is before them can be played.
    #[error("the recording is damaged at byte {at}")]
    Damaged {
        /// Where the frame begins.
        at: usize,
    },
    /// Bytes that no broker of this version has written.
    #[error("the recording cannot be understood at step {step}")]
    BadStep {
        /// Which step.
        step: u64,
    },
    /// Something else came out than when it was recorded.
    #[error(
        "what comes out differs: first between {:?} and {:?} ms of the broker's clock, before step \
         {step}", after.0, before.0
    )]
    Differs {
        /// The last time at which it was the same.
        after: Timestamp,
        /// The first time at which it is not.
        before: Timestamp,
        /// The steps until there.
        step: u64,
    },
}

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The part is complete, and the next one went on.
    Complete,
    /// The recording ended, because the process did.
    Ended,
    /// The process ended first, or the part was given up.
    CutOff,
}

/// A broker that does once more what it did when it was recorded.
pub struct Replay {
    broker: Broker,
    steps: Vec<u8>,
    at: usize,
    without_payloads: bool,
    parts_given_up: u64,
    now: Now,
    /// The last time at which all was as it was.
    same_at: Timestamp,
    durable: u64,
    digest: Digest,
    count: u64,
    /// Calls that are left of a run: of `poll_action`, and whether each goes with a `transmit`.
    calls: u64,
    with_bytes: bool,
    /// The connection whose bytes come next.
    named: Option<ConnectionId>,
    stop: Option<Stop>,
    /// Where it is damaged.
    damaged_at: Option<usize>,
}

impl Replay {
    /// Takes a part as it was written.
    ///
    /// # Errors
    ///
    /// It is none, or one of another version, or damaged. A part whose end is missing is none of
    /// that.
    pub fn new(part: &[u8]) -> Result<Self, ReplayError> {
        let (steps, end) = frame::contents(part)?;
        let damaged_at = end.is_damaged.then_some(end.at as usize);
        if steps.is_empty() {
            return Err(damaged_at.map_or(ReplayError::NoBeginning, damaged));
        }
        let mut from = Reader::new(&steps);
        let bad = ReplayError::BadStep { step: 0 };
        let without_payloads = State::load(&mut from).ok_or(bad)?;
        let now = Now::load(&mut from).ok_or(bad)?;
        let parts_given_up = u64::load(&mut from).ok_or(bad)?;
        let broker = Broker::load(&mut from).ok_or(bad)?;
        let at = steps.len() - from.bytes.len();
        Ok(Self {
            durable: broker.durable.0,
            broker,
            at,
            steps,
            without_payloads,
            parts_given_up,
            now,
            same_at: now.monotonic,
            digest: Digest::new(),
            count: 0,
            calls: 0,
            with_bytes: false,
            named: None,
            stop: None,
            damaged_at,
        })
    }

    /// Tells the process that was recorded from others: the same for all its shards and parts.
    #[must_use]
    pub fn process(&self) -> u64 {
        self.broker.random.seed() ^ u64::from(self.shard())
    }

    /// Which shard was recorded.
    #[must_use]
    pub const fn shard(&self) -> u16 {
        self.broker.config.identity.shard
    }

    /// How many shards the process had.
    #[must_use]
    pub const fn shard_count(&self) -> u16 {
        self.broker.config.identity.shards
    }

    /// The broker as it is now.
    #[must_use]
    pub const fn broker(&self) -> &Broker {
        &self.broker
    }

    /// What time it is now.
    #[must_use]
    pub const fn now(&self) -> Now {
        self.now
    }

    /// How many steps were taken.
    #[must_use]
    pub const fn step_count(&self) -> u64 {
        self.count
    }

    /// How many parts the process had given up, or could not begin, when this one began.
    #[must_use]
    pub const fn parts_given_up(&self) -> u64 {
        self.parts_given_up
    }

    /// Whether payloads were left out of the recording.
    #[must_use]
    pub const fn is_redacted(&self) -> bool {
        self.without_payloads
    }

    /// How it ended; `None` while it goes on.
    #[must_use]
    pub const fn stop(&self) -> Option<Stop> {
        self.stop
    }

    /// Takes the next step, and tells what it was; `None` when there is none left.
    ///
    /// # Errors
    ///
    /// Something else comes out than then, or the recording cannot be understood.
    pub fn step(&mut self) -> Result<Option<Step>, ReplayError> {
        loop {
            if let Some(connection) = self.named.take() {
                return Ok(Some(self.transmit(connection)));
            }
            if self.calls > 0 {
                self.calls -= 1;
                if let Some(step) = self.poll()? {
                    return Ok(Some(step));
                }
                continue;
            }
            if self.stop.is_some() {
                return Ok(None);
            }
            if let Some(step) = self.read()? {
                return Ok(Some(step));
            }
        }
    }

    /// See [`Broker::explain`].
    pub fn explain(&mut self, tenant: &str, client_id: &str, filter: &str) {
        self.broker.explain(tenant, client_id, filter);
    }

    /// See [`Broker::poll_explanation`].
    pub fn poll_explanation(&mut self) -> Option<Explanation> {
        self.broker.poll_explanation()
    }

    /// See [`Broker::explanations_lost`].
    #[must_use]
    pub fn explanations_lost(&self) -> u64 {
        self.broker.explanations_lost()
    }

    /// What was played so far, as a part that ends here.
    #[must_use]
    pub fn until_here(&self) -> Vec<u8> {
        let steps = &self.steps[..self.at];
        let mark = Mark::of_part(0);
        let mut part = mark.part_header().to_vec();
        part.extend_from_slice(&mark.frame_header(steps));
        part.extend_from_slice(steps);
        part
    }

    fn poll(&mut self) -> Result<Option<Step>, ReplayError> {
        let had_turned = self.broker.sends_left == 0;
        let action = self.broker.poll_action();
        if action.is_none() && had_turned && !self.with_bytes {
            // Nothing changes until the next input: there may be more calls than anybody can wait
            // for.
            self.calls = 0;
        }
        if let Some(action) = &action {
            digest_action(&mut self.digest, action, self.without_payloads);
        }
        if self.with_bytes {
            let Some(Action::Send(connection)) = action else {
                return Err(self.differs(self.now.monotonic));
            };
            self.named = Some(connection);
        }
        Ok(action.map(Step::Action))
    }

    fn transmit(&mut self, connection: ConnectionId) -> Step {
        let redaction = redaction_of(&self.broker, connection, self.without_payloads);
        let mut bytes = Vec::new();
        self.broker.transmit(self.now, connection, &mut bytes);
        digest_sent(&mut self.digest, redaction, &bytes);
        Step::Sent(connection, bytes)
    }

    /// Reads a step of the recording. Some of them tell nothing.
    fn read(&mut self) -> Result<Option<Step>, ReplayError> {
        let bad = ReplayError::BadStep { step: self.count };
        let mut from = Reader::new(&self.steps[self.at..]);
        let Some(code) = u8::load(&mut from) else {
            if let Some(at) = self.damaged_at {
                return Err(damaged(at));
            }
            self.stop = Some(Stop::CutOff);
            return Ok(None);
        };
        let mut known = None;
        let mut input = None;
        let mut sum = None;
        let mut now = self.now;
        match code {
            code::END => {
                let is_last = bool::load(&mut from).ok_or(bad)?;
                sum = Some(u32::load(&mut from).ok_or(bad)?);
                self.stop = Some(if is_last { Stop::Ended } else { Stop::Complete });
            }
            code::TIME => {
                let before = self.now;
                let monotonic = step::take_difference(before.monotonic.0, &mut from).ok_or(bad)?;
                let passed = monotonic.wrapping_sub(before.monotonic.0);
                let expected = before.wall.0.wrapping_add(passed);
                now.monotonic.0 = monotonic;
                now.wall.0 = step::take_difference(expected, &mut from).ok_or(bad)?;
                sum = Some(u32::load(&mut from).ok_or(bad)?);
            }
            code::POLLED | code::SENT => {
                self.calls = step::take_number(&mut from).ok_or(bad)?;
                self.with_bytes = code == code::SENT;
            }
            code::TRANSMIT => known = Some(step::take_connection(&mut from).ok_or(bad)?),
            _ => input = Some(step::take_input(code, &mut from, self.durable).ok_or(bad)?),
        }
        self.at = self.steps.len() - from.bytes.len();
        self.count += 1;
        self.named = known;
        if let Some(sum) = sum {
            if sum != self.digest.sum() {
                return Err(self.differs(now.monotonic));
            }
            self.same_at = now.monotonic;
        }
        if code == code::TIME {
            self.now = now;
            return Ok(Some(Step::Time(now)));
        }
        Ok(input.map(|input| self.give(input)))
    }

    const fn differs(&self, before: Timestamp) -> ReplayError {
        ReplayError::Differs {
            after: self.same_at,
            before,
            step: self.count,
        }
    }

    /// Gives an input to the broker.
    fn give(&mut self, input: Input) -> Step {
        let now = self.now;
        let broker = &mut self.broker;
        let mut accepted = None;
        match &input {
            Input::Accept(peer) => accepted = Some(broker.accept(now, peer.clone())),
            Input::Introduce(connection, peer) => broker.introduce(now, *connection, peer.clone()),
            Input::Receive(connection, bytes) => broker.receive(now, *connection, bytes),
            Input::Blocked(connection, bytes) => {
                broker.blocked(
                    now,
                    *connection,
                    usize::try_from(*bytes).unwrap_or(usize::MAX),
                );
            }
            Input::Closed(connection) => broker.closed(now, *connection),
            Input::Advance => broker.advance(now),
            Input::Authenticated(connection, verdict) => {
                broker.authenticated(now, *connection, verdict.clone());
            }
            Input::Persisted(position) => {
                self.durable = position.0;
                broker.persisted(now, *position);
            }
            Input::Loaded(message, whole) => broker.read_back(now, *message, whole.clone()),
            Input::StoragePressure(is_full) => broker.storage_pressure(now, *is_full),
            Input::PersistFailed => broker.persist_failed(now),
            Input::Checkpoint => broker.checkpoint(now),
            Input::Routed(from, letter) => broker.routed(now, *from, letter.clone()),
            Input::Adopt(peer, bytes) => {
                accepted = Some(broker.adopt(now, peer.clone(), bytes));
            }
            Input::Disconnect(connection, why) => broker.disconnect(now, *connection, *why),
            Input::ShutDown => broker.shut_down(now),
            Input::SetRules(rules) => broker.set_rules(now, rules.clone()),
            Input::SetShadowRules(rules) => broker.set_shadow_rules(now, rules.clone()),
            Input::SetBans(bans) => broker.set_bans(now, bans.clone()),
        }
        Step::Input(input, accepted)
    }
}

const fn damaged(at: usize) -> ReplayError {
    ReplayError::Damaged { at }
}
