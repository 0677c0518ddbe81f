//! The journal: what the log is told, so that nothing acknowledged is lost.
//!
//! Everything that happens between two drains becomes one batch, applied by recovery all or not at
//! all; more than one when that is much.
//! A message is written once, when the first durable reference to it is; the table here counts the
//! references, and the record goes when the last of them does.

use crate::action::{Batch, BatchMark};
use crate::id::{MessageId, PacketId, Position};
use crate::log::BatchWriter;
use crate::message::Message;
use crate::record::{self, delivery_key, message_key, received_key, session_key};
use crate::session::inflight::Stage;
use crate::session::queue::Delivery;
use crate::session::{Cursor, Session};
use crate::state::{Reader, State, Writer};
use crate::time::UnixTime;
use crate::topic::Subscription;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::hash::BuildHasher;
use hashbrown::HashMap;
use siphasher::sip::SipHasher13;

/// A message that the log has.
#[derive(Clone, Copy, Debug)]
struct Stored {
    references: u32,
    /// How long the message is.
    bytes: u32,
    /// The checkpoint that wrote it last; see `checkpoint`.
    checkpoint: u32,
}

crate::state::state!(Stored {
    references,
    bytes,
    checkpoint
});

/// Hashes message identifiers: they are ours, nobody can choose them to collide.
#[derive(Clone, Copy, Debug, Default)]
struct ById;

impl BuildHasher for ById {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(0, 0)
    }
}

/// The open batch, and what the log holds of messages.
pub(crate) struct Journal {
    on: bool,
    batch: Vec<u8>,
    /// Batches that were closed because they were large enough.
    closed: VecDeque<Batch>,
    /// The position that the open batch will have.
    next: u64,
    mark: Option<BatchMark>,
    stored: HashMap<MessageId, Stored, ById>,
    /// What these messages take together.
    stored_bytes: u64,
    checkpoint: u32,
    scratch: Vec<u8>,
    /// When the clock was last recorded.
    clock_at: UnixTime,
}

/// Only [when there is nothing left to tell](Journal::is_told).
impl State for Journal {
    fn save(&self, to: &mut Writer<'_>) {
        let Self {
            on,
            batch: _,
            closed: _,
            next,
            mark: _,
            stored,
            stored_bytes: _,
            checkpoint,
            scratch: _,
            clock_at,
        } = self;
        on.save(to);
        next.save(to);
        checkpoint.save(to);
        clock_at.save(to);
        #[expect(clippy::disallowed_methods, reason = "what is found is put in order")]
        let found = stored.iter();
        let ordered: BTreeMap<MessageId, Stored> = found.map(|(id, s)| (*id, *s)).collect();
        ordered.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let mut journal = Self::new(State::load(from)?);
        journal.next = State::load(from)?;
        journal.checkpoint = State::load(from)?;
        journal.clock_at = State::load(from)?;
        for (id, stored) in BTreeMap::<MessageId, Stored>::load(from)? {
            journal.stored_bytes += u64::from(stored.bytes);
            journal.stored.insert(id, stored);
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

/// From how many bytes on a batch is closed at the next opportunity. Far more than what makes
/// writing efficient, far less than what a log takes.
const CUT_BYTES: usize = 1 << 20;

impl Journal {
    pub(crate) fn new(on: bool) -> Self {
        Self {
            on,
            batch: Vec::new(),
            closed: VecDeque::new(),
            next: 1,
            mark: None,
            stored: HashMap::with_hasher(ById),
            stored_bytes: 0,
            checkpoint: 0,
            scratch: Vec::new(),
            clock_at: UnixTime(0),
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

    /// Everything so far may be a batch of its own. It becomes one when it is large, so that no
    /// batch grows with the number of clients or of messages.
    pub(crate) fn cut(&mut self) {
        if self.batch.len() >= CUT_BYTES {
            self.close();
        }
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
        Some(Batch {
            live_bytes,
            ..batch?
        })
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

    /// One more reference to a message; the first writes it, and the first that a checkpoint meets:
    /// what referred to it before may be gone when the checkpoint gets there.
    fn refer(&mut self, message: &Message) -> MessageId {
        let id = message.view().id;
        let checkpoint = self.checkpoint;
        let entry = self.store(message);
        entry.references += 1;
        if entry.references == 1 || entry.checkpoint != checkpoint {
            entry.checkpoint = checkpoint;
            BatchWriter::new(&mut self.batch).put(&message_key(id), message.as_bytes());
        }
        id
    }

    /// One reference less; the last takes it away.
    fn release(&mut self, id: MessageId) {
        let Some(stored) = self.stored.get_mut(&id) else {
            return;
        };
        stored.references -= 1;
        if stored.references == 0 {
            self.stored_bytes -= u64::from(stored.bytes);
            self.stored.remove(&id);
            self.delete(&message_key(id));
        }
    }

    /// Counts a reference that the log has already, while restoring.
    pub(crate) fn restored(&mut self, message: &Message) {
        self.store(message).references += 1;
    }

    fn store(&mut self, message: &Message) -> &mut Stored {
        let bytes = u32::try_from(message.as_bytes().len()).unwrap_or(u32::MAX);
        let stored_bytes = &mut self.stored_bytes;
        self.stored.entry(message.view().id).or_insert_with(|| {
            *stored_bytes += u64::from(bytes);
            Stored {
                references: 0,
                bytes,
                checkpoint: 0,
            }
        })
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
        self.delivery(session, delivery, id, None);
    }

    /// It is sent, under this packet identifier.
    pub(crate) fn sent(&mut self, session: u64, delivery: &Delivery, id: PacketId) {
        let message = delivery.message.view().id;
        self.delivery(session, delivery, message, Some((Stage::Published, id)));
    }

    /// PUBREC came: the message is no longer needed, its packet identifier is.
    pub(crate) fn released(&mut self, session: u64, delivery: &Delivery, id: PacketId) {
        let message = delivery.message.view().id;
        let none = MessageId {
            origin: 0,
            sequence: 0,
        };
        self.delivery(session, delivery, none, Some((Stage::Released, id)));
        self.release(message);
    }

    /// A delivery is over, however it ended.
    pub(crate) fn delivered(&mut self, session: u64, delivery: &Delivery) {
        self.delete(&delivery_key(session, delivery.sequence));
        self.release(delivery.message.view().id);
    }

    /// A delivery ends with its session.
    pub(crate) fn unreferenced(&mut self, delivery: &Delivery) {
        if delivery.is_recorded() {
            self.release(delivery.message.view().id);
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

    /// The session as it is now.
    pub(crate) fn session(&mut self, session: &Session) {
        let key = session_key(record::SESSION, session.number);
        if !session.is_worth_recording() {
            return self.delete(&key);
        }
        self.scratch.clear();
        record::encode_session(session, &mut self.scratch);
        BatchWriter::new(&mut self.batch).put(&key, &self.scratch);
    }

    /// The session and everything of it is gone. Recovery drops what belongs to a session that is
    /// not there, so its deliveries and subscriptions need no record of their own.
    pub(crate) fn session_ended(&mut self, session: &Session) {
        self.delete(&session_key(record::SESSION, session.number));
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

    fn retained_key(&mut self, topic: &str) -> Vec<u8> {
        let mut key = core::mem::take(&mut self.scratch);
        key.clear();
        key.push(record::RETAINED);
        key.extend_from_slice(topic.as_bytes());
        key
    }

    /// A message is retained, in the place of another.
    pub(crate) fn retained(&mut self, message: &Message, old: Option<&Message>) {
        let id = self.refer(message);
        let key = self.retained_key(message.topic_str());
        self.put(&key, &record::message_id_bytes(id));
        self.scratch = key;
        if let Some(old) = old {
            self.release(old.view().id);
        }
    }

    pub(crate) fn retained_cleared(&mut self, old: &Message) {
        let key = self.retained_key(old.topic_str());
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

    /// Writes a message once more, if this checkpoint has not yet.
    fn write_again(&mut self, message: &Message) -> MessageId {
        let id = message.view().id;
        if let Some(stored) = self.stored.get_mut(&id)
            && stored.checkpoint != self.checkpoint
        {
            stored.checkpoint = self.checkpoint;
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
    pub(crate) fn retained_again(&mut self, message: &Message) {
        let id = self.write_again(message);
        let key = self.retained_key(message.topic_str());
        self.put(&key, &record::message_id_bytes(id));
        self.scratch = key;
    }

    /// Bytes that the open batch holds.
    pub(crate) const fn batch_bytes(&self) -> usize {
        self.batch.len()
    }
}
