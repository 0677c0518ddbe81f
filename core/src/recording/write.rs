//! A broker whose inputs are written down.

use super::digest::Digest;
use super::step::{self, code};
use super::{Redaction, Sender};
use crate::access::ban::Bans;
use crate::access::rules::Rules;
use crate::action::{Action, Batch, CloseReason, Peer, Verdict};
use crate::broker::Broker;
use crate::codec::frame;
use crate::codec::packet::Version;
use crate::connection::{Connection, Stage};
use crate::explain::Explanation;
use crate::id::{ConnectionId, MessageId, PeerId, Position};
use crate::letter::Letter;
use crate::log::{BatchRef, Op};
use crate::message::MessageView;
use crate::record;
use crate::state::{State, Writer};
use crate::statistics::Statistics;
use crate::time::Now;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::ops::Deref;

/// A chunk of this size is ready to be written.
const CHUNK_BYTES: usize = 1 << 20;

/// Bytes that nobody takes, beside the state that a part begins with. When there are more, the part
/// is given up: whoever writes is too slow, and the broker does not wait for it.
const WAITING_BYTES_MAX: u64 = 8 << 20;

/// What a new buffer has room for: a chunk ends with the input that makes it large enough.
const BUFFER_BYTES: usize = CHUNK_BYTES + CHUNK_BYTES / 8;

/// Buffers that came back and are kept: as many as may be under way, since fresh memory of the
/// system costs more than to fill it.
const SPARES_MAX: usize = 1 + (WAITING_BYTES_MAX / CHUNK_BYTES as u64) as usize;

/// A new part is not begun before the recording is so many times the state it begins with, so that
/// most of the writing is about what happens.
const STATE_SHARE: u64 = 4;

/// How a recording is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOptions {
    /// After how many bytes a part ends and the next one begins. Default 64 MiB.
    pub part_bytes: u64,
    /// How large a part may be at most, however large the state is that it begins with; nothing is
    /// recorded where that alone takes [half](Self::STATES_IN_A_PART) of it. Default 256 MiB.
    pub part_bytes_maximum: u64,
    /// Payloads are blotted out, also those of wills and of retained messages. Passwords always
    /// are. Default: no.
    pub redact_payloads: bool,
}

impl RecordOptions {
    /// How often the state that a part begins with has to fit into the largest part there may be.
    pub const STATES_IN_A_PART: u64 = 2;
}

impl Default for RecordOptions {
    fn default() -> Self {
        Self {
            part_bytes: 64 << 20,
            part_bytes_maximum: 256 << 20,
            redact_payloads: false,
        }
    }
}

/// Some of a recording, to be written behind what came before.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk {
    /// A new part begins, with a file of its own: write [`Mark::part_header`](super::Mark).
    Begin,
    /// A frame of the part: write [`Mark::frame_header`](super::Mark) and the bytes.
    Frame(Vec<u8>),
    /// The part is complete.
    End,
    /// The part cannot be completed. What was written of it is good up to there.
    GivenUp,
    /// No part can begin: the state takes so many bytes. Nothing is recorded until
    /// [`RecordedBroker::resume_recording`].
    StateTooLarge(u64),
}

impl Chunk {
    /// How many bytes it holds.
    fn len(&self) -> u64 {
        match self {
            Self::Frame(bytes) => bytes.len() as u64,
            Self::Begin | Self::End | Self::GivenUp | Self::StateTooLarge(_) => 0,
        }
    }
}

/// How far a recording is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A part begins as soon as the broker is at rest.
    Waiting,
    /// A part is being written.
    Running,
    /// Nothing is written for now.
    Suspended,
    /// Nothing more is written.
    Over,
}

/// What is being recorded.
struct Tape {
    options: RecordOptions,
    phase: Phase,
    chunks: VecDeque<Chunk>,
    /// Bytes of these.
    waiting_bytes: u64,
    /// The chunk that is being filled.
    open: Vec<u8>,
    /// Empty buffers for the next ones.
    spares: Vec<Vec<u8>>,
    /// Bytes of this part, its state included.
    part_bytes: u64,
    state_bytes: u64,
    now: Option<Now>,
    durable: u64,
    digest: Digest,
    /// Calls that are not written yet: of `poll_action`, or of that and of `transmit` for what it
    /// named, in turn. One of both is 0.
    polled: u64,
    sent: u64,
    /// One more call of `poll_action`, which named this connection.
    named: Option<ConnectionId>,
    parts_given_up: u64,
    scratch: Vec<u8>,
}

impl Tape {
    fn new(options: RecordOptions) -> Self {
        Self {
            options,
            phase: Phase::Waiting,
            chunks: VecDeque::new(),
            waiting_bytes: 0,
            open: Vec::new(),
            spares: Vec::new(),
            part_bytes: 0,
            state_bytes: 0,
            now: None,
            durable: 0,
            digest: Digest::new(),
            polled: 0,
            sent: 0,
            named: None,
            parts_given_up: 0,
            scratch: Vec::new(),
        }
    }

    /// Writes which calls there were since the last step.
    fn flush_calls(&mut self) {
        if self.named.take().is_some() {
            self.count_poll();
        }
        self.flush(code::POLLED);
        self.flush(code::SENT);
    }

    fn flush(&mut self, code: u8) {
        let count = match code {
            code::SENT => &mut self.sent,
            _ => &mut self.polled,
        };
        if *count > 0 {
            self.open.push(code);
            step::put_number(core::mem::take(count), &mut self.open);
        }
    }

    fn count_poll(&mut self) {
        self.flush(code::SENT);
        self.polled += 1;
    }

    fn polled(&mut self, action: Option<&Action>) {
        if self.named.take().is_some() {
            self.count_poll();
        }
        match action {
            Some(Action::Send(connection)) => self.named = Some(*connection),
            _ => self.count_poll(),
        }
        if let Some(action) = action {
            digest_action(&mut self.digest, action, self.options.redact_payloads);
        }
    }

    fn sent(
        &mut self,
        now: Now,
        connection: ConnectionId,
        redaction: Option<Redaction>,
        bytes: &[u8],
    ) {
        if self.named == Some(connection) && self.now == Some(now) {
            self.named = None;
            self.flush(code::POLLED);
            self.sent += 1;
        } else {
            self.step(now, code::TRANSMIT);
            step::put_connection(connection, &mut self.open);
        }
        digest_sent(&mut self.digest, redaction, bytes);
    }

    /// Begins a step.
    fn step(&mut self, now: Now, code: u8) {
        self.flush_calls();
        self.time(now);
        self.open.push(code);
    }

    fn time(&mut self, now: Now) {
        let Some(before) = self.now.replace(now) else {
            return;
        };
        if before == now {
            return;
        }
        self.open.push(code::TIME);
        let (monotonic, wall) = (now.monotonic.0, now.wall.0);
        step::put_difference(monotonic, before.monotonic.0, &mut self.open);
        // Mostly it runs with the other one.
        let expected = (before.wall.0).wrapping_add(monotonic.wrapping_sub(before.monotonic.0));
        step::put_difference(wall, expected, &mut self.open);
        self.open
            .extend_from_slice(&self.digest.sum().to_le_bytes());
    }

    /// A chunk that is large enough, or `always`, is to be written.
    fn close_chunk(&mut self, always: bool) {
        let enough = if always { 1 } else { CHUNK_BYTES };
        if self.open.len() < enough {
            return;
        }
        self.part_bytes += self.open.len() as u64;
        let next = self.spares.pop();
        let next = next.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES));
        let chunk = core::mem::replace(&mut self.open, next);
        self.waiting_bytes += chunk.len() as u64;
        self.chunks.push_back(Chunk::Frame(chunk));
        let is_overlong = self.part_bytes > self.options.part_bytes_maximum;
        if self.waiting_bytes > WAITING_BYTES_MAX + self.state_bytes || is_overlong {
            self.give_up();
        }
    }

    /// The oldest chunk that waits.
    fn take_chunk(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.waiting_bytes -= chunk.len();
        Some(chunk)
    }

    /// This part ends without its end; the next one begins when it can.
    fn give_up(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        self.phase = Phase::Waiting;
        self.parts_given_up += 1;
        self.open.clear();
        // What was not taken yet is no more use than what is missing after it.
        let begin = self.chunks.iter().rposition(|chunk| *chunk == Chunk::Begin);
        let useless = self.chunks.drain(begin.unwrap_or(0)..);
        self.waiting_bytes -= useless.map(|chunk| chunk.len()).sum::<u64>();
        if begin.is_none() {
            self.chunks.push_back(Chunk::GivenUp);
        }
    }

    /// The part is complete. `is_last`: and the recording, because the process ends.
    fn end_part(&mut self, is_last: bool) {
        self.flush_calls();
        self.open.push(code::END);
        self.open.push(is_last.into());
        self.open
            .extend_from_slice(&self.digest.sum().to_le_bytes());
        self.close_chunk(true);
        if self.phase == Phase::Running {
            self.phase = Phase::Waiting;
            self.chunks.push_back(Chunk::End);
        }
    }

    /// Begins a part at once, if that can be.
    fn begin_at_rest(&mut self, broker: &Broker) {
        if self.chunks.is_empty() && broker.is_at_rest() {
            self.begin_part(broker);
        }
    }

    fn begin_part(&mut self, broker: &Broker) {
        self.chunks.push_back(Chunk::Begin);
        let now = Now {
            monotonic: broker.clock.now(),
            wall: broker.machine_wall,
        };
        self.now = Some(now);
        self.durable = broker.durable.0;
        self.digest = Digest::new();
        self.polled = 0;
        self.sent = 0;
        self.named = None;
        let maximum = self.options.part_bytes_maximum / RecordOptions::STATES_IN_A_PART;
        let mut to = Writer::new(&mut self.open, self.options.redact_payloads);
        to.bytes_maximum = usize::try_from(maximum).unwrap_or(usize::MAX);
        self.options.redact_payloads.save(&mut to);
        now.save(&mut to);
        self.parts_given_up.save(&mut to);
        broker.save(&mut to);
        self.state_bytes = to.left_out() + self.open.len() as u64;
        self.part_bytes = 0;
        if self.state_bytes > maximum {
            // Much room for once, which is not kept.
            self.open = Vec::new();
            self.chunks.pop_back();
            self.parts_given_up += 1;
            self.chunks
                .push_back(Chunk::StateTooLarge(self.state_bytes));
            self.phase = Phase::Suspended;
            return;
        }
        self.phase = Phase::Running;
        self.close_chunk(true);
    }

    /// Whether it is time for another part.
    fn is_full(&self) -> bool {
        // A part that was full and could not end for a while is not too large yet.
        let most = self.options.part_bytes_maximum / 4 * 3;
        let enough = self
            .options
            .part_bytes
            .max(STATE_SHARE * self.state_bytes)
            .min(most);
        self.part_bytes + self.open.len() as u64 >= enough
    }
}

/// Adds an action to the sum of outputs: all of it but what must not be kept.
pub(super) fn digest_action(digest: &mut Digest, action: &Action, without_payloads: bool) {
    match action {
        Action::Send(connection) => {
            digest.number(u64::from(connection.index) << 32 | u64::from(connection.generation));
        }
        Action::Persist(batch) => digest_batch(digest, batch, without_payloads),
        Action::Close {
            connection,
            last_bytes,
        } => {
            digest.number(connection.index.into());
            digest.number(last_bytes.len() as u64);
            if !without_payloads {
                digest_sent(digest, Some(Redaction::of_what_is_sent()), last_bytes);
            }
        }
        Action::Load(message) => digest.number(message.sequence),
        Action::Authenticate { connection, .. } => {
            digest.number(1);
            digest.number(connection.index.into());
        }
        Action::Route { to, letter } => {
            digest.number(to.0.into());
            digest_letter(digest, letter, without_payloads);
        }
        // With the password.
        Action::HandOver {
            connection,
            to,
            bytes,
            ..
        } => {
            digest.number(connection.index.into());
            digest.number(to.0.into());
            digest.number(bytes.len() as u64);
        }
        Action::Pause(_) | Action::Resume(_) | Action::Event(_) => {
            // Rare, and they hold no secrets.
            let written = write!(digest, "{action:?}");
            debug_assert!(written.is_ok(), "a digest takes everything");
        }
    }
}

fn digest_letter(digest: &mut Digest, letter: &Letter, without_payloads: bool) {
    digest.number(letter.number);
    digest.number(letter.clock);
    digest.number(letter.confirms.taken_bytes);
    digest.number(letter.confirms.kept);
    // Not its room, which depends on what was in its buffer before.
    let mut bytes = Vec::new();
    let mut to = Writer::new(&mut bytes, without_payloads);
    letter
        .parcels
        .iter()
        .for_each(|parcel| parcel.save(&mut to));
    digest.bytes(&bytes);
}

fn digest_batch(digest: &mut Digest, batch: &Batch, without_payloads: bool) {
    digest.number(batch.position.0);
    digest.number(batch.mark.map_or(0, |mark| mark as u64 + 1));
    if !without_payloads {
        return digest.bytes(&batch.operations);
    }
    for op in BatchRef::new(&batch.operations).iter() {
        match op {
            Ok(Op::Put { key, value }) => {
                digest.bytes(key);
                digest.number(value.len() as u64);
                match key.first() {
                    Some(&record::MESSAGE) => {
                        let payload =
                            MessageView::parse(value).map_or(0, |view| view.payload.len());
                        digest.bytes(&value[..value.len() - payload]);
                    }
                    // With its will.
                    Some(&record::SESSION) => {}
                    _ => digest.bytes(value),
                }
            }
            Ok(Op::Delete { key }) => digest.bytes(key),
            Err(_) => return,
        }
    }
}

/// Adds bytes for a client to the sum of outputs, without what has to go.
pub(super) fn digest_sent(digest: &mut Digest, redaction: Option<Redaction>, bytes: &[u8]) {
    let Some(redaction) = redaction else {
        return digest.bytes(bytes);
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        let whole = frame::needed(rest).unwrap_or(rest.len());
        let (packet, later) = rest.split_at(whole.min(rest.len()));
        digest.number(packet.len() as u64);
        if redaction.payloads && packet.first().is_some_and(|byte| frame::is_publish(*byte)) {
            digest.bytes(&packet[..redaction.payload_at(packet)]);
        } else {
            let mut packet = packet.to_vec();
            redaction.blot(&mut packet, 0);
            digest.bytes(&packet);
        }
        rest = later;
    }
}

impl Connection {
    /// What has to be blotted out of what comes here next.
    pub(crate) const fn redaction(&self, payloads: bool) -> Redaction {
        Redaction {
            version: self.profile.version(),
            payloads,
            sender: match self.stage {
                Stage::Waiting => Sender::Newcomer,
                Stage::Parked(_) => Sender::Parked,
                Stage::Connected { .. } => Sender::Client,
            },
        }
    }
}

/// A [`Broker`] with the same inputs and outputs, which can write down what it is given. Where
/// nothing is recorded it costs one branch a call.
///
/// Everything that changes a broker is a method here; what only looks at it goes through
/// [`Deref`]. [`Broker`] says what they do.
pub struct RecordedBroker {
    broker: Broker,
    tape: Option<Box<Tape>>,
}

impl Deref for RecordedBroker {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.broker
    }
}

impl From<Broker> for RecordedBroker {
    fn from(broker: Broker) -> Self {
        Self { broker, tape: None }
    }
}

impl RecordedBroker {
    // --- Recording ---

    /// Records from now on, or from the next moment in which the broker is at rest.
    pub fn record(&mut self, options: RecordOptions) {
        let tape = self.tape.insert(Box::new(Tape::new(options)));
        tape.begin_at_rest(&self.broker);
    }

    /// What is to be written next. Call it until `None` when actions are drained: chunks that
    /// nobody takes are given up. With `all`, also what is no full chunk yet.
    pub fn poll_chunk(&mut self, all: bool) -> Option<Chunk> {
        let tape = self.tape.as_mut()?;
        if tape.chunks.is_empty() && tape.phase == Phase::Running {
            if all {
                tape.flush_calls();
            }
            tape.close_chunk(all);
        }
        tape.take_chunk()
    }

    /// Whether something waits to be handed over as a chunk that is not full yet. What a turn
    /// without any input leaves is no reason to write.
    #[must_use]
    pub fn has_unwritten(&self) -> bool {
        let tape = self.tape.as_ref();
        tape.is_some_and(|tape| tape.phase == Phase::Running && !tape.open.is_empty())
    }

    /// Gives up the part that is being written, and begins none until
    /// [`resume_recording`](Self::resume_recording): whoever writes cannot.
    pub fn suspend_recording(&mut self) {
        if let Some(tape) = self.tape.as_mut()
            && tape.phase != Phase::Over
        {
            tape.give_up();
            tape.phase = Phase::Suspended;
        }
    }

    /// Begins a part if recording was suspended: at once, or as soon as the broker is at rest.
    pub fn resume_recording(&mut self) {
        if let Some(tape) = self.tape.as_mut()
            && tape.phase == Phase::Suspended
        {
            tape.phase = Phase::Waiting;
            tape.begin_at_rest(&self.broker);
        }
    }

    /// Gives a buffer back that came in a chunk and was written, so that it need not be made anew.
    pub fn reuse(&mut self, mut buffer: Vec<u8>) {
        if let Some(tape) = self.tape.as_mut()
            && tape.spares.len() < SPARES_MAX
            && buffer.capacity() <= 2 * CHUNK_BYTES
        {
            buffer.clear();
            tape.spares.push(buffer);
        }
    }

    /// Completes the part, and records no more. [`poll_chunk`](Self::poll_chunk) gives the rest.
    pub fn end_recording(&mut self) {
        if let Some(tape) = self.tape.as_mut() {
            if tape.phase == Phase::Running {
                tape.end_part(true);
            }
            tape.phase = Phase::Over;
        }
    }

    /// See [`Broker::explain`]. Changes nothing that comes out, so it is not recorded.
    pub fn explain(&mut self, tenant: &str, client_id: &str, filter: &str) {
        self.broker.explain(tenant, client_id, filter);
    }

    /// See [`Broker::poll_explanation`].
    pub fn poll_explanation(&mut self) -> Option<Explanation> {
        self.broker.poll_explanation()
    }

    /// Counters and gauges, those of the recording included.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            recording: u64::from(
                self.tape
                    .as_ref()
                    .is_some_and(|tape| matches!(tape.phase, Phase::Running | Phase::Waiting)),
            ),
            recording_parts_given_up: self.tape.as_ref().map_or(0, |tape| tape.parts_given_up),
            ..self.broker.statistics()
        }
    }

    /// The tape, if a part is being written to it.
    fn tape(&mut self) -> Option<&mut Tape> {
        self.tape
            .as_deref_mut()
            .filter(|tape| tape.phase == Phase::Running)
    }

    // --- Inputs ---

    /// See [`Broker::accept`].
    pub fn accept(&mut self, now: Now, peer: Peer) -> ConnectionId {
        if let Some(tape) = self.tape() {
            tape.step(now, code::ACCEPT);
            peer.save(&mut Writer::new(&mut tape.open, false));
        }
        self.broker.accept(now, peer)
    }

    /// See [`Broker::introduce`].
    pub fn introduce(&mut self, now: Now, connection: ConnectionId, peer: Peer) {
        if let Some(tape) = self.tape() {
            tape.step(now, code::INTRODUCE);
            step::put_connection(connection, &mut tape.open);
            peer.save(&mut Writer::new(&mut tape.open, false));
        }
        self.broker.introduce(now, connection, peer);
    }

    /// See [`Broker::receive`].
    pub fn receive(&mut self, now: Now, connection: ConnectionId, bytes: &[u8]) {
        if self.tape.is_some() {
            self.record_bytes(now, connection, bytes);
        }
        self.broker.receive(now, connection, bytes);
    }

    fn record_bytes(&mut self, now: Now, id: ConnectionId, bytes: &[u8]) {
        let Some(tape) = self
            .tape
            .as_deref_mut()
            .filter(|tape| tape.phase == Phase::Running)
        else {
            return;
        };
        tape.step(now, code::RECEIVE);
        step::put_connection(id, &mut tape.open);
        let Some(connection) = self.broker.connections.get(id.key()) else {
            // It is gone, and nothing looks at the bytes.
            step::put_number(0, &mut tape.open);
            return;
        };
        step::put_number(bytes.len() as u64, &mut tape.open);
        let redaction = connection.redaction(tape.options.redact_payloads);
        let start = tape.open.len();
        let inbox = &connection.inbox;
        let harmless = match inbox.is_empty() {
            true => Some(0),
            false if connection.stalls.any() => None,
            false => redaction.harmless(inbox),
        };
        match harmless {
            Some(count) => {
                tape.open.extend_from_slice(bytes);
                redaction.blot(&mut tape.open[start + count.min(bytes.len())..], 0);
            }
            None => {
                let scratch = &mut tape.scratch;
                scratch.clear();
                scratch.extend_from_slice(inbox);
                scratch.extend_from_slice(bytes);
                redaction.blot(scratch, inbox.len());
                tape.open.extend_from_slice(&scratch[inbox.len()..]);
            }
        }
        tape.close_chunk(false);
    }

    /// See [`Broker::closed`].
    pub fn closed(&mut self, now: Now, connection: ConnectionId) {
        if let Some(tape) = self.tape() {
            tape.step(now, code::CLOSED);
            step::put_connection(connection, &mut tape.open);
        }
        self.broker.closed(now, connection);
    }

    /// See [`Broker::blocked`].
    pub fn blocked(&mut self, now: Now, connection: ConnectionId, bytes: usize) {
        if let Some(tape) = self.tape() {
            tape.step(now, code::BLOCKED);
            step::put_connection(connection, &mut tape.open);
            step::put_number(bytes as u64, &mut tape.open);
        }
        self.broker.blocked(now, connection, bytes);
    }

    /// See [`Broker::advance`].
    pub fn advance(&mut self, now: Now) {
        if let Some(tape) = self.tape() {
            tape.step(now, code::ADVANCE);
        }
        self.broker.advance(now);
    }

    /// See [`Broker::authenticated`].
    pub fn authenticated(&mut self, now: Now, connection: ConnectionId, verdict: Verdict) {
        if let Some(tape) = self.tape() {
            tape.step(now, code::AUTHENTICATED);
            step::put_connection(connection, &mut tape.open);
            step::put_verdict(&verdict, &mut Writer::new(&mut tape.open, false));
        }
        self.broker.authenticated(now, connection, verdict);
    }

    /// See [`Broker::persisted`].
    pub fn persisted(&mut self, now: Now, position: Position) {
        if let Some(tape) = self.tape() {
            tape.step(now, code::PERSISTED);
            step::put_difference(position.0, tape.durable, &mut tape.open);
            tape.durable = position.0;
        }
        self.broker.persisted(now, position);
    }

    /// See [`Broker::loaded`].
    pub fn loaded(&mut self, now: Now, message: MessageId, value: Option<&[u8]>) {
        let whole = self.broker.verified(message, value);
        if let Some(tape) = self.tape() {
            tape.step(now, code::LOADED);
            let mut to = Writer::new(&mut tape.open, tape.options.redact_payloads);
            message.save(&mut to);
            whole.save(&mut to);
            tape.close_chunk(false);
        }
        self.broker.read_back(now, message, whole);
    }

    /// See [`Broker::storage_pressure`].
    pub fn storage_pressure(&mut self, now: Now, is_full: bool) {
        if let Some(tape) = self.tape() {
            tape.step(now, code::PRESSURE);
            tape.open.push(u8::from(is_full));
        }
        self.broker.storage_pressure(now, is_full);
    }

    /// See [`Broker::set_rules`].
    pub fn set_rules(&mut self, now: Now, rules: Option<Arc<Rules>>) {
        self.write_value(now, code::SET_RULES, &rules);
        self.broker.set_rules(now, rules);
    }

    /// See [`Broker::set_shadow_rules`].
    pub fn set_shadow_rules(&mut self, now: Now, rules: Option<Arc<Rules>>) {
        self.write_value(now, code::SET_SHADOW_RULES, &rules);
        self.broker.set_shadow_rules(now, rules);
    }

    /// See [`Broker::set_bans`].
    pub fn set_bans(&mut self, now: Now, bans: Arc<Bans>) {
        self.write_value(now, code::SET_BANS, &bans);
        self.broker.set_bans(now, bans);
    }

    fn write_value(&mut self, now: Now, code: u8, value: &impl State) {
        if let Some(tape) = self.tape() {
            tape.step(now, code);
            value.save(&mut Writer::new(&mut tape.open, false));
        }
    }

    /// See [`Broker::persist_failed`].
    pub fn persist_failed(&mut self, now: Now) {
        if let Some(tape) = self.tape() {
            tape.step(now, code::PERSIST_FAILED);
        }
        self.broker.persist_failed(now);
    }

    /// See [`Broker::checkpoint`].
    pub fn checkpoint(&mut self, now: Now) {
        if let Some(tape) = self.tape() {
            tape.step(now, code::CHECKPOINT);
        }
        self.broker.checkpoint(now);
    }

    /// See [`Broker::adopt`].
    pub fn adopt(&mut self, now: Now, peer: Peer, bytes: &[u8]) -> ConnectionId {
        if let Some(tape) = self.tape() {
            tape.step(now, code::ADOPT);
            peer.save(&mut Writer::new(&mut tape.open, false));
            let mut packets = bytes.to_vec();
            let redaction = Redaction {
                version: Version::V4,
                payloads: tape.options.redact_payloads,
                sender: Sender::Newcomer,
            };
            redaction.blot(&mut packets, 0);
            step::put_bytes(&packets, &mut tape.open);
            tape.close_chunk(false);
        }
        self.broker.adopt(now, peer, bytes)
    }

    /// See [`Broker::routed`].
    pub fn routed(&mut self, now: Now, from: PeerId, letter: Letter) {
        if let Some(tape) = self.tape() {
            tape.step(now, code::ROUTED);
            let mut to = Writer::new(&mut tape.open, tape.options.redact_payloads);
            from.save(&mut to);
            letter.save(&mut to);
            tape.close_chunk(false);
        }
        self.broker.routed(now, from, letter);
    }

    /// See [`Broker::disconnect`].
    pub fn disconnect(&mut self, now: Now, connection: ConnectionId, why: CloseReason) {
        if let Some(tape) = self.tape() {
            tape.step(now, code::DISCONNECT);
            step::put_connection(connection, &mut tape.open);
            if step::put_close_reason(why, &mut tape.open).is_none() {
                tape.give_up();
            }
        }
        self.broker.disconnect(now, connection, why);
    }

    /// See [`Broker::shut_down`].
    pub fn shut_down(&mut self, now: Now) {
        if let Some(tape) = self.tape() {
            tape.step(now, code::SHUT_DOWN);
        }
        self.broker.shut_down(now);
    }

    // --- Outputs ---

    /// See [`Broker::poll_action`].
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.broker.poll_action();
        if self.tape.is_some() {
            self.record_poll(action.as_ref());
        }
        action
    }

    fn record_poll(&mut self, action: Option<&Action>) {
        let Some(tape) = self.tape.as_deref_mut() else {
            return;
        };
        let wants_part = match tape.phase {
            // Not while the last part still waits for whoever writes it.
            Phase::Waiting => tape.chunks.is_empty(),
            Phase::Running => {
                tape.polled(action);
                tape.is_full()
            }
            Phase::Suspended | Phase::Over => false,
        };
        if wants_part && action.is_none() && self.broker.is_at_rest() {
            if tape.phase == Phase::Running {
                tape.end_part(false);
            }
            tape.begin_part(&self.broker);
        }
    }

    /// See [`Broker::transmit`].
    pub fn transmit(&mut self, now: Now, connection: ConnectionId, out: &mut Vec<u8>) {
        let Some(tape) = self
            .tape
            .as_deref_mut()
            .filter(|tape| tape.phase == Phase::Running)
        else {
            return self.broker.transmit(now, connection, out);
        };
        let redaction = redaction_of(&self.broker, connection, tape.options.redact_payloads);
        let before = out.len();
        self.broker.transmit(now, connection, out);
        tape.sent(
            now,
            connection,
            redaction,
            out.get(before..).unwrap_or_default(),
        );
    }
}

/// How is found what has to go from what a connection is sent; `None` when nothing has.
pub(super) fn redaction_of(
    broker: &Broker,
    connection: ConnectionId,
    payloads: bool,
) -> Option<Redaction> {
    let connection = broker.connections.get(connection.key())?;
    let has_secrets = payloads || connection.has_method();
    has_secrets.then(|| connection.redaction(payloads).of_the_broker())
}
