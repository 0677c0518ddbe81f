//! The journal: what the log is told, so that nothing acknowledged is lost.
//!
//! Everything that happens between two drains becomes one batch, applied by recovery all or not at
//! all; more than one when that is much.
//! A message is written once a shard, when the first durable reference to it is; the table here
//! counts the references, and the record of a shard that is alone goes when the last of them does.
//! It also knows which messages are whole in memory, and which only in the log: see `spill`.

use crate::action::{Batch, BatchMark};
use crate::broker::Broker;
use crate::id::{ById, FEW, MessageId, PacketId, Position};
use crate::letter::{DeliveryId, ExchangeId};
use crate::log::BatchWriter;
use crate::message::Message;
use crate::record::{self, delivery_key, message_key, received_key, session_key};
use crate::retained::{Author, Last};
use crate::session::Session;
use crate::session::cursors::Cursor;
use crate::session::inflight::Stage;
use crate::session::queue::Delivery;
use crate::session::refusals::Refusal;
use crate::state::{Reader, State, Writer};
use crate::taken::Taken;
use crate::tenant::Tenants;
use crate::time::UnixTime;
use crate::topic::Subscription;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use hashbrown::HashTable;

/// A message that the log has.
#[derive(Debug)]
struct Stored {
    /// Its stub, once it was let go and until it is read back.
    message: Message,
    references: u32,
    /// Deliveries among them that hold it whole.
    held: u32,
    /// The position that it was written with first, modulo 2^32.
    written: u32,
    /// The checkpoint that wrote it last, modulo 2^16; see `checkpoint`.
    checkpoint: u16,
    /// Some delivery may have its stub.
    was_let_go: bool,
}

crate::state::state!(Stored {
    message,
    references,
    held,
    written,
    checkpoint,
    was_let_go
});

fn hash(id: MessageId) -> u64 {
    ById::<FEW>.hash_one(id)
}

/// The open batch, and what the log holds of messages.
pub(crate) struct Journal {
    on: bool,
    /// No other shard writes to the log.
    is_alone: bool,
    batch: Vec<u8>,
    /// Batches that were closed because they were large enough.
    closed: VecDeque<Batch>,
    /// The position that the open batch will have.
    next: u64,
    /// The position that covers the last time when less was to be kept for somebody.
    narrowed: Position,
    mark: Option<BatchMark>,
    stored: HashTable<Stored>,
    /// What these messages take together.
    stored_bytes: u64,
    /// Those of them that a delivery holds whole.
    held_bytes: u64,
    /// What deliveries would take beyond that, had each its own.
    repeated_bytes: u64,
    /// Deliveries that hold a stub, and the bytes of their messages.
    stubs: u64,
    stub_bytes: u64,
    /// Messages that a checkpoint has to write before it ends, though it may not come by any more.
    owed: Vec<MessageId>,
    checkpoint: u16,
    scratch: Vec<u8>,
    /// When the clock was last recorded.
    clock_at: UnixTime,
    /// Batches that were handed over and are not durable yet: their positions and sizes.
    unpersisted: VecDeque<(Position, usize)>,
    unpersisted_bytes: usize,
    is_behind: bool,
}

/// Only [when there is nothing left to tell](Journal::is_told).
impl State for Journal {
    fn save(&self, to: &mut Writer<'_>) {
        let Self {
            on,
            is_alone,
            batch: _,
            closed: _,
            next,
            narrowed,
            mark: _,
            stored,
            stored_bytes: _,
            held_bytes,
            repeated_bytes,
            stubs,
            stub_bytes,
            owed,
            checkpoint,
            scratch: _,
            clock_at,
            unpersisted,
            unpersisted_bytes: _,
            is_behind,
        } = self;
        on.save(to);
        is_alone.save(to);
        next.save(to);
        narrowed.save(to);
        checkpoint.save(to);
        clock_at.save(to);
        unpersisted.save(to);
        is_behind.save(to);
        (*held_bytes, *stubs, *stub_bytes).save(to);
        repeated_bytes.save(to);
        owed.save(to);
        let mut ordered: Vec<&Stored> = stored.iter().collect();
        ordered.sort_unstable_by_key(|stored| stored.message.id());
        ordered.len().save(to);
        ordered.iter().for_each(|stored| stored.save(to));
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let mut journal = Self::new(State::load(from)?, State::load(from)?);
        journal.next = State::load(from)?;
        journal.narrowed = State::load(from)?;
        journal.checkpoint = State::load(from)?;
        journal.clock_at = State::load(from)?;
        journal.unpersisted = State::load(from)?;
        journal.unpersisted_bytes = journal.unpersisted.iter().map(|(_, bytes)| bytes).sum();
        journal.is_behind = State::load(from)?;
        (journal.held_bytes, journal.stubs, journal.stub_bytes) = State::load(from)?;
        journal.repeated_bytes = State::load(from)?;
        journal.owed = State::load(from)?;
        for _ in 0..usize::load(from)? {
            let stored = Stored::load(from)?;
            journal.stored_bytes += stored.message.stored_len() as u64;
            let hash_of = |stored: &Stored| hash(stored.message.id());
            journal
                .stored
                .insert_unique(hash_of(&stored), stored, hash_of);
        }
        Some(journal)
    }
}

/// How often the clock is recorded, in milliseconds: how much of a power-off may count as passed
/// time.
const CLOCK_INTERVAL_MS: u64 = 60_000;

/// How much was written at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JournalMark {
    next: u64,
    bytes: usize,
}

/// From how many bytes on a batch is closed at the next opportunity, at most. Far more than what
/// makes writing efficient, far less than what a log takes.
const CUT_BYTES: usize = 1 << 20;

/// How much the log has of what waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredCounts {
    /// Messages that it must keep.
    pub(crate) messages: u64,
    /// What the deliveries that hold one whole, beyond the first of each, would take had each its
    /// own.
    pub(crate) repeated_bytes: u64,
    /// Deliveries whose messages are only in the log.
    pub(crate) stubs: u64,
    /// The bytes of these.
    pub(crate) stub_bytes: u64,
}

impl Journal {
    pub(crate) fn new(on: bool, is_alone: bool) -> Self {
        Self {
            on,
            is_alone,
            batch: Vec::new(),
            closed: VecDeque::new(),
            next: 1,
            narrowed: Position(0),
            mark: None,
            stored: HashTable::new(),
            stored_bytes: 0,
            held_bytes: 0,
            repeated_bytes: 0,
            stubs: 0,
            stub_bytes: 0,
            owed: Vec::new(),
            checkpoint: 0,
            scratch: Vec::new(),
            clock_at: UnixTime(0),
            unpersisted: VecDeque::new(),
            unpersisted_bytes: 0,
            is_behind: false,
        }
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.on
    }

    /// Whether the log has been told everything.
    pub(crate) fn is_told(&self) -> bool {
        self.batch.is_empty() && self.closed.is_empty() && self.mark.is_none()
    }

    /// Where the open batch will stand.
    pub(crate) const fn open_position(&self) -> Position {
        Position(self.next)
    }

    /// The position that covers everything said so far.
    pub(crate) const fn latest(&self) -> Position {
        if self.batch.is_empty() && self.mark.is_none() {
            Position(self.next - 1)
        } else {
            Position(self.next)
        }
    }

    /// A mark to ask `written_since` about.
    pub(crate) const fn mark(&self) -> JournalMark {
        JournalMark {
            next: self.next,
            bytes: self.batch.len(),
        }
    }

    /// The position to wait for, if anything was written since `mark`.
    pub(crate) const fn written_since(&self, mark: JournalMark) -> Option<Position> {
        if self.next == mark.next && self.batch.len() == mark.bytes {
            return None;
        }
        Some(self.latest())
    }

    /// What an acknowledgement waits for whose message had nobody to be kept for: that nobody is
    /// there has to be durable as well, or a subscription might come back that has missed it.
    pub(crate) const fn narrowed(&self) -> Position {
        self.narrowed
    }

    /// What was said last is that less is to be kept for somebody.
    pub(crate) const fn narrow(&mut self) {
        self.narrowed = self.latest();
    }

    /// Everything so far is whole, and leaves as a batch of its own whatever follows.
    pub(crate) fn close(&mut self) {
        if let Some(batch) = self.close_batch() {
            self.closed.push_back(batch);
        }
    }

    /// The next batch, if there is anything to say, with what is live by now in bytes. Not the open
    /// one while that is but half of something.
    pub(crate) fn take_batch(&mut self, live_bytes: u64, is_half: bool) -> Option<Batch> {
        let batch = match self.closed.pop_front() {
            None if is_half => None,
            None => self.close_batch(),
            batch => batch,
        };
        let batch = batch?;
        let bytes = batch.operations.len();
        self.unpersisted.push_back((batch.position, bytes));
        self.unpersisted_bytes += bytes;
        Some(Batch {
            live_bytes,
            ..batch
        })
    }

    /// Everything up to there is durable.
    pub(crate) fn persisted(&mut self, position: Position) {
        while let Some((first, bytes)) = self.unpersisted.front().copied()
            && first <= position
        {
            self.unpersisted.pop_front();
            self.unpersisted_bytes -= bytes;
        }
    }

    /// Bytes that the log is still to be told.
    pub(crate) fn untold_bytes(&self) -> usize {
        // Asked for every delivery, and they leave at once.
        if self.closed.is_empty() {
            return self.batch.len();
        }
        let closed = self.closed.iter().map(|batch| batch.operations.len());
        self.batch.len() + closed.sum::<usize>()
    }

    /// Whether there are batches that can leave whatever the open one lacks.
    pub(crate) fn has_closed(&self) -> bool {
        !self.closed.is_empty()
    }

    /// Finds out whether the log has more than `maximum` bytes to catch up with; once it had, until
    /// it has come down to half of that.
    pub(crate) fn measure(&mut self, maximum: usize) {
        let limit = if self.is_behind { maximum / 2 } else { maximum };
        self.is_behind = self.untold_bytes() + self.unpersisted_bytes > limit;
    }

    pub(crate) const fn is_behind(&self) -> bool {
        self.is_behind
    }

    fn close_batch(&mut self) -> Option<Batch> {
        if self.batch.is_empty() && self.mark.is_none() {
            return None;
        }
        let position = Position(self.next);
        self.next += 1;
        let operations = core::mem::take(&mut self.batch);
        Some(Batch {
            position,
            operations,
            mark: self.mark.take(),
            live_bytes: 0,
        })
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        BatchWriter::new(&mut self.batch).put(key, value);
    }

    fn delete(&mut self, key: &[u8]) {
        BatchWriter::new(&mut self.batch).delete(key);
    }

    /// The node has started once more.
    pub(crate) fn boot(&mut self, epoch: u32) {
        self.put(&[record::BOOT], &epoch.to_le_bytes());
    }

    /// There are records of this tenant.
    pub(crate) fn tenant(&mut self, name: &str) {
        self.put(&[&[record::TENANT], name.as_bytes()].concat(), &[]);
    }

    /// What time the broker has, beside what the machine says.
    pub(crate) fn clock_now(&mut self, broker: UnixTime, machine: UnixTime) {
        self.clock_at = broker;
        let mut value = [0; 16];
        value[..8].copy_from_slice(&broker.0.to_le_bytes());
        value[8..].copy_from_slice(&machine.0.to_le_bytes());
        self.put(&[record::CLOCK], &value);
    }

    /// The same with a batch that is written anyway, and not more often than makes sense.
    pub(crate) fn clock(&mut self, broker: UnixTime, machine: UnixTime) {
        if broker.since(self.clock_at) < CLOCK_INTERVAL_MS || self.batch.is_empty() {
            return;
        }
        self.clock_now(broker, machine);
    }

    fn find(&mut self, id: MessageId) -> Option<&mut Stored> {
        self.stored.find_mut(hash(id), |s| s.message.id() == id)
    }

    fn store(&mut self, message: &Message) -> &mut Stored {
        let id = message.id();
        let written = self.next.to_le_bytes();
        let stored_bytes = &mut self.stored_bytes;
        let entry = self
            .stored
            .entry(hash(id), |s| s.message.id() == id, |s| hash(s.message.id()));
        entry
            .or_insert_with(|| {
                *stored_bytes += message.stored_len() as u64;
                Stored {
                    message: message.clone(),
                    references: 0,
                    held: 0,
                    written: u32::from_le_bytes([written[0], written[1], written[2], written[3]]),
                    checkpoint: 0,
                    was_let_go: message.is_stub(),
                }
            })
            .into_mut()
    }

    /// One more reference to a message; the first writes it, and the first that a checkpoint meets:
    /// what referred to it before may be gone when the checkpoint gets there.
    fn refer(&mut self, message: &Message) -> MessageId {
        let (id, checkpoint) = (message.id(), self.checkpoint);
        let entry = self.store(message);
        entry.references += 1;
        if entry.references == 1 || entry.checkpoint != checkpoint {
            if message.is_stub() {
                self.owed.push(id);
            } else {
                entry.checkpoint = checkpoint;
                BatchWriter::new(&mut self.batch).put(&message_key(id), message.as_bytes());
            }
        }
        id
    }

    /// One reference less; the last takes it away. Where other shards may refer to it as well, no
    /// record says so: recovery counts, and the next checkpoint leaves it out.
    fn release(&mut self, id: MessageId) {
        let entry = self.stored.find_entry(hash(id), |s| s.message.id() == id);
        let Ok(mut entry) = entry else {
            return;
        };
        let stored = entry.get_mut();
        stored.references -= 1;
        if stored.references == 0 {
            let (stored, _) = entry.remove();
            self.stored_bytes -= stored.message.stored_len() as u64;
            if self.is_alone {
                self.delete(&message_key(id));
            }
        }
    }

    /// The same for a delivery.
    fn release_delivery(&mut self, message: &Message) {
        if message.is_stub() {
            self.stubs -= 1;
            self.stub_bytes -= message.stored_len() as u64;
        } else {
            self.unhold(message);
        }
        self.release(message.id());
    }

    /// A delivery has this message: whole, or as a stub.
    fn hold(&mut self, message: &Message) {
        let length = message.stored_len() as u64;
        if message.is_stub() {
            self.stubs += 1;
            self.stub_bytes += length;
            return;
        }
        let Some(stored) = self.find(message.id()) else {
            return;
        };
        stored.held += 1;
        if stored.held == 1 {
            self.held_bytes += length;
        } else {
            self.repeated_bytes += length;
        }
    }

    /// A delivery has it no longer, or no longer whole.
    fn unhold(&mut self, message: &Message) {
        let Some(stored) = self.find(message.id()) else {
            return;
        };
        stored.held -= 1;
        if stored.held > 0 {
            self.repeated_bytes -= message.stored_len() as u64;
            return;
        }
        // Others have its stub, and nobody needs it whole.
        if stored.was_let_go && stored.references > 1 && !stored.message.is_stub() {
            stored.message = message.stub();
        }
        self.held_bytes -= message.stored_len() as u64;
    }

    /// What a delivery keeps of a message that it need not have whole: everything up to `durable`
    /// can be read back. `None` when this cannot.
    pub(crate) fn let_go(&mut self, delivery: &Delivery, durable: Position) -> Option<Message> {
        let message = &delivery.message;
        if !delivery.is_recorded() || message.is_stub() {
            return None;
        }
        let durable = durable.0.to_le_bytes();
        let durable = u32::from_le_bytes([durable[0], durable[1], durable[2], durable[3]]);
        let stored = self.find(message.id())?;
        // Positions that are this near to each other differ by less than half of the numbers there
        // are; others only keep it whole.
        if durable.wrapping_sub(stored.written) > u32::MAX / 2 {
            return None;
        }
        if !stored.message.is_stub() {
            stored.message = message.stub();
        }
        stored.was_let_go = true;
        let stub = stored.message.clone();
        self.unhold(message);
        self.hold(&stub);
        Some(stub)
    }

    /// A delivery that has the stub gets the message whole.
    pub(crate) fn take_back(&mut self, whole: &Message) {
        self.stubs -= 1;
        self.stub_bytes -= whole.stored_len() as u64;
        self.hold(whole);
        if let Some(stored) = self.find(whole.id()) {
            stored.message = whole.clone();
        }
    }

    /// A message as memory has it: whole if anybody has it so. `None` when nothing refers to it.
    pub(crate) fn in_memory(&mut self, id: MessageId) -> Option<Message> {
        self.find(id).map(|stored| stored.message.clone())
    }

    /// Bytes of the messages that deliveries hold whole.
    pub(crate) const fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// How much the log has of what waits.
    pub(crate) fn stored(&self) -> StoredCounts {
        StoredCounts {
            messages: self.stored.len() as u64,
            repeated_bytes: self.repeated_bytes,
            stubs: self.stubs,
            stub_bytes: self.stub_bytes,
        }
    }

    /// So many messages are about to be restored.
    pub(crate) fn expect(&mut self, messages: usize) {
        self.stored
            .reserve(messages, |stored| hash(stored.message.id()));
    }

    /// Counts a delivery that the log has already, while restoring.
    pub(crate) fn restored(&mut self, message: &Message) {
        self.restored_retained(message);
        self.hold(message);
    }

    /// The same for a retained message.
    pub(crate) fn restored_retained(&mut self, message: &Message) {
        let stored = self.store(message);
        stored.references += 1;
        // What was read from the log is durable.
        stored.written = 0;
    }

    /// What the messages take that the log must keep.
    pub(crate) fn stored_bytes(&self) -> u64 {
        const KEY: u64 = 24;
        self.stored_bytes + self.stored.len() as u64 * KEY
    }

    fn delivery(
        &mut self,
        session: u64,
        delivery: &Delivery,
        id: MessageId,
        exchange: Option<(Stage, PacketId)>,
    ) {
        self.scratch.clear();
        record::encode_delivery(delivery, id, exchange, &mut self.scratch);
        let key = delivery_key(session, delivery.sequence);
        BatchWriter::new(&mut self.batch).put(&key, &self.scratch);
    }

    /// A message waits for a session.
    pub(crate) fn queued(&mut self, session: u64, delivery: &Delivery) {
        let id = self.refer(&delivery.message);
        self.hold(&delivery.message);
        self.delivery(session, delivery, id, None);
    }

    /// It is sent, under this packet identifier.
    pub(crate) fn sent(&mut self, session: u64, delivery: &Delivery, id: PacketId) {
        let message = delivery.message.id();
        self.delivery(session, delivery, message, Some((Stage::Published, id)));
    }

    /// PUBREC came: the message is no longer needed, its packet identifier is.
    pub(crate) fn released(&mut self, session: u64, delivery: &Delivery, id: PacketId) {
        let none = MessageId {
            origin: 0,
            sequence: 0,
        };
        self.delivery(session, delivery, none, Some((Stage::Released, id)));
        self.release_delivery(&delivery.message);
    }

    /// A delivery is over, however it ended.
    pub(crate) fn delivered(&mut self, session: u64, delivery: &Delivery) {
        self.delete(&delivery_key(session, delivery.sequence));
        self.release_delivery(&delivery.message);
    }

    /// A delivery ends with its session.
    pub(crate) fn unreferenced(&mut self, delivery: &Delivery) {
        if delivery.is_recorded() {
            self.release_delivery(&delivery.message);
        }
    }

    /// An incoming QoS 2 message was taken in.
    pub(crate) fn received(&mut self, session: u64, id: PacketId) {
        self.put(&received_key(session, id), &[]);
    }

    /// PUBREL came for it.
    pub(crate) fn completed(&mut self, session: u64, id: PacketId) {
        self.delete(&received_key(session, id));
    }

    /// A message was refused, and a later one is taken in.
    pub(crate) fn refused(&mut self, session: u64, refusal: Refusal) {
        let key = record::refused_key(session, refusal.id);
        self.put(&key, &refusal.fingerprint.to_le_bytes());
    }

    /// The identifier of a message that was refused is that of another one.
    pub(crate) fn refusal_forgotten(&mut self, session: u64, id: PacketId) {
        self.delete(&record::refused_key(session, id));
    }

    /// A delivery of a session that ends, on whichever shard, is another session's from this batch
    /// on: a crash must not bring it back.
    pub(crate) fn moved(&mut self, delivery: DeliveryId) {
        self.put(&record::moved_key(delivery), &[]);
    }

    /// Where an incoming QoS 2 message has been taken in, as far as this shard knows.
    pub(crate) fn taken(&mut self, exchange: ExchangeId, shard: u16, taken: &Taken) {
        self.scratch.clear();
        record::encode_taken(taken, &mut self.scratch);
        let key = record::taken_key(exchange, shard);
        BatchWriter::new(&mut self.batch).put(&key, &self.scratch);
    }

    /// Nobody has to remember it.
    pub(crate) fn forget_taken(&mut self, exchange: ExchangeId, shard: u16) {
        self.delete(&record::taken_key(exchange, shard));
    }

    /// The session as it is now.
    pub(crate) fn session(&mut self, session: &Session, tenants: &Tenants) {
        let key = session_key(record::SESSION, session.number);
        if !session.is_worth_recording() {
            return self.delete(&key);
        }
        self.scratch.clear();
        let tenant = tenants.name(session.tenant);
        record::encode_session(session, tenant.as_deref(), &mut self.scratch);
        BatchWriter::new(&mut self.batch).put(&key, &self.scratch);
    }

    /// The session and everything of it is gone. Recovery drops what belongs to a session that is
    /// not there, so its deliveries and subscriptions need no record of their own.
    pub(crate) fn session_ended(&mut self, number: u64) {
        self.delete(&session_key(record::SESSION, number));
    }

    fn filter_key(&mut self, kind: u8, session: u64, filter: &str) -> Vec<u8> {
        let mut key = core::mem::take(&mut self.scratch);
        key.clear();
        key.extend_from_slice(&session_key(kind, session));
        key.extend_from_slice(filter.as_bytes());
        key
    }

    pub(crate) fn subscribed(&mut self, session: u64, filter: &str, subscription: Subscription) {
        let key = self.filter_key(record::SUBSCRIPTION, session, filter);
        self.put(&key, &record::encode_subscription(subscription));
        self.scratch = key;
    }

    pub(crate) fn unsubscribed(&mut self, session: u64, filter: &str) {
        let key = self.filter_key(record::SUBSCRIPTION, session, filter);
        self.delete(&key);
        self.narrow();
        self.scratch = key;
    }

    /// How far a subscription has come in the retained messages it is owed.
    pub(crate) fn cursor(&mut self, session: u64, cursor: &Cursor) {
        let key = self.filter_key(record::CURSOR, session, &cursor.filter);
        let mut value = Vec::new();
        record::encode_cursor(cursor, &mut value);
        self.put(&key, &value);
        self.scratch = key;
    }

    /// It is owed none any longer.
    pub(crate) fn cursor_done(&mut self, session: u64, cursor: &Cursor) {
        if cursor.is_recorded {
            let key = self.filter_key(record::CURSOR, session, &cursor.filter);
            self.delete(&key);
            self.scratch = key;
        }
    }

    fn retained_key(&mut self, message: &Message) -> Vec<u8> {
        let mut key = core::mem::take(&mut self.scratch);
        key.clear();
        record::retained_key(message, &mut key);
        key
    }

    /// A message is retained, in the place of another.
    pub(crate) fn retained(
        &mut self,
        (message, author): (&Message, Option<Author>),
        old: Option<&Message>,
    ) {
        let id = self.refer(message);
        self.put_retained(message, Last { id, author });
        if let Some(old) = old {
            self.release(old.view().id);
        }
    }

    fn put_retained(&mut self, message: &Message, last: Last) {
        let key = self.retained_key(message);
        let (value, length) = record::encode_retained(last);
        self.put(&key, &value[..length]);
        self.scratch = key;
    }

    pub(crate) fn retained_cleared(&mut self, old: &Message) {
        let key = self.retained_key(old);
        self.delete(&key);
        self.scratch = key;
        self.release(old.view().id);
    }

    /// A checkpoint begins: from now on everything live is written once more.
    pub(crate) fn begin_checkpoint(&mut self) {
        self.checkpoint = self.checkpoint.wrapping_add(1);
        self.mark = Some(BatchMark::CheckpointBegin);
    }

    /// The checkpoint is complete with the open batch.
    pub(crate) const fn end_checkpoint(&mut self) {
        self.mark = Some(BatchMark::CheckpointEnd);
    }

    /// Whether this checkpoint has still to write this message.
    pub(crate) fn must_write_again(&mut self, id: MessageId) -> bool {
        let checkpoint = self.checkpoint;
        let stored = self.find(id);
        stored.is_some_and(|stored| stored.checkpoint != checkpoint)
    }

    /// A message that this checkpoint has to write before it ends.
    pub(crate) fn next_owed(&mut self) -> Option<MessageId> {
        while let Some(id) = self.owed.pop() {
            if self.must_write_again(id) {
                return Some(id);
            }
        }
        None
    }

    /// Writes a message once more, if this checkpoint has not yet, and it is known whole.
    pub(crate) fn write_again(&mut self, message: &Message) -> MessageId {
        let id = message.id();
        let checkpoint = self.checkpoint;
        if !message.is_stub()
            && let Some(stored) = self.find(id)
            && stored.checkpoint != checkpoint
        {
            stored.checkpoint = checkpoint;
            BatchWriter::new(&mut self.batch).put(&message_key(id), message.as_bytes());
        }
        id
    }

    /// Writes a delivery once more.
    pub(crate) fn delivery_again(
        &mut self,
        session: u64,
        delivery: &Delivery,
        exchange: Option<(Stage, PacketId)>,
    ) {
        let id = match exchange {
            Some((Stage::Released, _)) => MessageId {
                origin: 0,
                sequence: 0,
            },
            _ => self.write_again(&delivery.message),
        };
        self.delivery(session, delivery, id, exchange);
    }

    /// Writes a retained message once more.
    pub(crate) fn retained_again(&mut self, message: &Message, author: Option<Author>) {
        let id = self.write_again(message);
        self.put_retained(message, Last { id, author });
    }

    /// Bytes that the open batch holds.
    pub(crate) const fn batch_bytes(&self) -> usize {
        self.batch.len()
    }
}

impl Broker {
    /// What the log has to be told by now. A message, its references and the identifier it came
    /// under are kept together or not at all.
    pub(crate) fn take_batch(&mut self) -> Option<Batch> {
        let is_half = self.is_fanning_out();
        if !is_half {
            self.journal.clock(self.clock.wall(), self.machine_wall);
        }
        let live_bytes = self.live_bytes();
        let batch = self.journal.take_batch(live_bytes, is_half);
        self.measure_log();
        batch
    }

    /// How far it has come has changed, or how far it has to go.
    pub(crate) fn measure_log(&mut self) {
        let maximum = self.config.limits.unpersisted_bytes_maximum as usize;
        self.journal.measure(maximum);
    }

    /// Whether the open batch is as large as one should be: half of what may be on its way to the
    /// log, which fits in half a segment.
    pub(crate) const fn is_batch_large(&self) -> bool {
        let half = self.config.limits.unpersisted_bytes_maximum as usize / 2;
        let bytes = self.journal.batch_bytes();
        bytes >= half || bytes >= CUT_BYTES
    }

    /// Nothing is half said, unless a message is still being brought to all it is for. What was
    /// said becomes a batch when it is large, so that none grows with the number of clients or of
    /// messages.
    pub(crate) fn cut(&mut self) {
        if self.is_batch_large() && !self.is_fanning_out() {
            self.journal.close();
        }
    }

    /// What a checkpoint would write now, roughly: all that is live, with its keys and lengths, and
    /// an eighth for frames and for steps that do not fill a segment.
    fn live_bytes(&self) -> u64 {
        const SESSION: u64 = 96;
        const SUBSCRIPTION: u64 = 64;
        const DELIVERY: u64 = 48;
        const RETAINED: u64 = 64;
        let bytes = self.journal.stored_bytes()
            + self.sessions.len() as u64 * SESSION
            + self.statistics.subscriptions * SUBSCRIPTION
            + self.statistics.queued_messages * DELIVERY
            + self.statistics.will_bytes
            + self.retained.usage().messages * RETAINED / u64::from(self.placement.shards);
        bytes + bytes / 8
    }

    /// Whether the log has so much to catch up with that no connection should be read: memory waits
    /// for the disk then, whatever the number of publishers. It can only end with a
    /// [`persisted`](Self::persisted). Nobody is missed meanwhile for what could not be heard.
    #[must_use]
    pub const fn log_is_behind(&self) -> bool {
        self.journal.is_behind()
    }

    /// Nobody is heard now, if that is so.
    pub(crate) fn note_unread(&mut self) {
        if self.log_is_behind() {
            self.unread_until = self.clock.now();
        }
    }
}
