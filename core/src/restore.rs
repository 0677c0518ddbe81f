//! From records back to a broker.
//!
//! [`Restorer`] takes the batches of the log in order and keeps what is live at the end;
//! [`Broker::restore`] makes a broker of it: sessions with their subscriptions, queues and open
//! exchanges under their packet identifiers, incoming QoS 2 identifiers, retained messages, wills
//! and deadlines.

use crate::action::{DropReason, Event};
use crate::broker::Broker;
use crate::codec::packet::QoS;
use crate::config::{Config, ConfigError};
use crate::estate::session_of;
use crate::id::{ById, MANY, MessageId, PacketId};
use crate::letter::ExchangeId;
use crate::log::{BatchError, BatchRef, BatchWriter, Op};
use crate::message::Message;
use crate::placement::Placement;
use crate::record::{self, DeliveryRecord, Fields, SessionRecord};
use crate::retained::{Author, Last};
use crate::session::cursors::Cursor;
use crate::session::inflight::Stage;
use crate::session::queue::Delivery;
use crate::session::refusals::Refusal;
use crate::session::{SESSION_COUNT, Session};
use crate::slab::Key;
use crate::taken::Taken;
use crate::time::{Now, UnixTime};
use crate::topic::{Subscription, TopicFilter};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use thiserror::Error;

/// Records that this version cannot take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// The bytes are no batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A record of a kind that this version does not know, and that may not be skipped.
    #[error(
        "the log has records of kind {kind:#04x}, which this version does not know; start the \
             version that wrote them, or a later one"
    )]
    UnknownKind {
        /// The first byte of its key.
        kind: u8,
    },
    /// A record that does not say what its kind must say.
    #[error(
        "a record of kind {:?} cannot be understood; it may be of a later version: start that one",
        char::from(*kind)
    )]
    BadRecord {
        /// The first byte of its key.
        kind: u8,
    },
}

/// What goes with the record of `key` when that is deleted: every record whose key begins with one
/// of these. [`Restorer`] does so by itself; who keeps records by their keys must.
pub fn dependents(key: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    key.strip_prefix(&[record::SESSION])
        .into_iter()
        .flat_map(|session| record::OF_SESSION.map(|kind| [&[kind], session].concat()))
}

/// What is known of one session so far.
#[derive(Debug, Default)]
struct Kept {
    record: Option<SessionRecord>,
    subscriptions: BTreeMap<Box<str>, Subscription>,
    received: BTreeSet<PacketId>,
    refused: BTreeMap<PacketId, u64>,
    /// Deliveries that are another session's, whichever record of them comes first.
    moved: BTreeSet<u64>,
    cursors: BTreeMap<Box<str>, Cursor>,
    deliveries: BTreeMap<u64, DeliveryRecord>,
}

impl Kept {
    /// What is lost with it; `None` when that is nothing that anybody could miss.
    fn in_doubt(&self) -> Option<SessionInDoubt> {
        let is_waiting =
            |delivery: &&DeliveryRecord| !matches!(delivery.exchange, Some((Stage::Released, _)));
        let mut lost = SessionInDoubt {
            subscriptions: self.subscriptions.len(),
            deliveries: self.deliveries.values().filter(is_waiting).count(),
            receiving: self.received.len(),
            ..SessionInDoubt::default()
        };
        if self.record.is_none() && lost.subscriptions + lost.deliveries + lost.receiving == 0 {
            return None;
        }
        if let Some(record) = &self.record {
            lost.tenant.clone_from(&record.tenant);
            lost.client_id = Some(record.client_id.clone());
            lost.will_topic = record.will.as_ref().map(|will| will.topic.clone());
        }
        Some(lost)
    }
}

/// What a repair of the log has cost, beside what it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedInDoubt {
    /// To be kept.
    pub operations: Vec<u8>,
    /// The sessions that have ended.
    pub sessions: Vec<SessionInDoubt>,
    /// Retained messages that are lost.
    pub retained_lost: Vec<RetainedLost>,
}

/// A session that has ended because some of its records may be lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionInDoubt {
    /// In which tenant; `None` is the default one.
    pub tenant: Option<Box<str>>,
    /// Whose; `None` when the record that says so is lost.
    pub client_id: Option<Box<str>>,
    /// How many are known.
    pub subscriptions: usize,
    /// Messages that waited, or were not acknowledged.
    pub deliveries: usize,
    /// QoS 2 messages that its client was sending. One of them that comes again counts as new.
    pub receiving: usize,
    /// Where its will would have been published, if it had one.
    pub will_topic: Option<Box<str>>,
}

/// A retained message of which it is known that there was one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedLost {
    /// In which tenant; empty for the default one.
    pub tenant: Box<str>,
    /// Its topic.
    pub topic: Box<str>,
}

/// Takes batches in order; knows at the end what is live.
#[derive(Debug, Default)]
pub struct Restorer {
    boot_epoch: u32,
    clock: Option<(UnixTime, UnixTime)>,
    sessions: BTreeMap<u64, Kept>,
    messages: HashMap<MessageId, Stored, ById<MANY>>,
    /// By what stands in their keys: the topic, behind the tenant if there is one.
    retained: BTreeMap<Box<str>, Last>,
    /// Incoming QoS 2 messages, as each shard has taken them in.
    taken: BTreeMap<(ExchangeId, u16), Box<[u8]>>,
    /// The same of all shards together, once that is known.
    united: BTreeMap<ExchangeId, Taken>,
    /// Records of exchanges that are complete.
    complete: Vec<(ExchangeId, u16)>,
    /// The greatest session number, whichever shard gave it.
    last_session: u64,
    /// How many bytes of messages are kept whole, if not all.
    budget_bytes: Option<u64>,
    whole_bytes: u64,
    /// Gaps of the log whose sessions have ended.
    heeded: BTreeSet<(u64, u64)>,
    /// Of some message only what identifies it is kept, or was: otherwise none has to be looked
    /// for.
    has_stubs: bool,
}

/// A message of the log. Nothing says in the log that it is gone: that is when nothing refers to it
/// any more at the end, on whichever shard.
#[derive(Debug, Default)]
struct Stored {
    message: Option<Message>,
    references: u32,
}

impl Stored {
    /// What it takes, unless only what identifies it is there.
    fn whole_bytes(&self) -> u64 {
        let whole = self.message.as_ref().filter(|message| !message.is_stub());
        whole.map_or(0, |message| message.stored_len() as u64)
    }
}

impl Restorer {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing yet. Of messages beyond so many bytes only what identifies them is kept: the broker
    /// reads them back when they are due. See
    /// [`Limits::queued_payload_memory_bytes`](crate::config::Limits::queued_payload_memory_bytes),
    /// and [`wanted`](Self::wanted).
    #[must_use]
    pub fn within(budget_bytes: u64) -> Self {
        Self {
            budget_bytes: Some(budget_bytes),
            ..Self::default()
        }
    }

    /// Messages that the broker needs whole from the start, because they are retained. To be read
    /// from the log when all batches are applied, and handed to [`supply`](Self::supply).
    #[must_use]
    pub fn wanted(&self) -> Vec<MessageId> {
        if !self.has_stubs {
            return Vec::new();
        }
        let retained = self.retained.values().map(|last| last.id);
        let is_stub =
            |id: &MessageId| message_in(&self.messages, *id).is_some_and(Message::is_stub);
        retained.filter(is_stub).collect()
    }

    /// What the log has under the key of a message that is [`wanted`](Self::wanted). Whether it is
    /// what was kept.
    pub fn supply(&mut self, id: MessageId, value: &[u8]) -> bool {
        let stored = self.messages.get_mut(&id);
        let Some(message) = stored.and_then(|stored| stored.message.as_mut()) else {
            return false;
        };
        if message.is_stub() {
            let Some(whole) = message.whole(value) else {
                return false;
            };
            self.whole_bytes += whole.stored_len() as u64;
            *message = whole;
        }
        true
    }

    /// The boot epoch for the broker that is about to start: one more than the last.
    #[must_use]
    pub const fn next_boot_epoch(&self) -> u32 {
        self.boot_epoch.wrapping_add(1)
    }

    /// How many sessions and retained messages there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (
            self.sessions
                .values()
                .filter(|kept| kept.record.is_some())
                .count(),
            self.retained.len(),
        )
    }

    /// How many messages wait for clients, or are not acknowledged, each counted for each of them.
    #[must_use]
    pub fn queued_count(&self) -> usize {
        self.sessions
            .values()
            .map(|kept| kept.deliveries.len())
            .sum()
    }

    /// Applies one batch.
    ///
    /// # Errors
    ///
    /// When it cannot be understood: written by a later version, or not by this program. What was
    /// applied before stays applied.
    pub fn apply(&mut self, operations: &[u8]) -> Result<(), RestoreError> {
        for op in BatchRef::new(operations).iter() {
            let (key, value) = match op? {
                Op::Put { key, value } => (key, Some(value)),
                Op::Delete { key } => (key, None),
            };
            let Some((&kind, name)) = key.split_first() else {
                return Err(RestoreError::BadRecord { kind: 0 });
            };
            let known = self.apply_record(kind, Fields(name), value);
            if !known? && kind & crate::log::batch::SKIPPABLE == 0 {
                return Err(RestoreError::UnknownKind { kind });
            }
        }
        Ok(())
    }

    /// Ends all sessions, when there are gaps in the log (first and last number) for which that was
    /// not done yet: whatever a repair gave up may have been a subscription of any of them, and a
    /// client that hears that its session is present does not subscribe again. Gives what says so
    /// in the log, to be kept in one batch before anything else.
    pub fn end_in_doubt(&mut self, gaps: &[(u64, u64)]) -> Option<EndedInDoubt> {
        if gaps.iter().all(|gap| self.heeded.contains(gap)) {
            return None;
        }
        let mut operations = Vec::new();
        let mut batch = BatchWriter::new(&mut operations);
        let mut sessions = Vec::new();
        for (number, kept) in &self.sessions {
            batch.delete(&record::session_key(record::SESSION, *number));
            sessions.extend(kept.in_doubt());
        }
        for gap in gaps {
            batch.put(&record::heeded_key(*gap), &[]);
        }
        self.apply(&operations).ok()?;
        let is_there = |id| message_in(&self.messages, id).is_some();
        let lost = self.retained.iter().filter(|(_, last)| !is_there(last.id));
        let lost = lost.map(|(text, _)| {
            let (tenant, topic) = record::retained_topic(text);
            RetainedLost {
                tenant: tenant.into(),
                topic: topic.into(),
            }
        });
        Some(EndedInDoubt {
            operations,
            sessions,
            retained_lost: lost.collect(),
        })
    }

    /// Whether the kind is known.
    fn apply_record(
        &mut self,
        kind: u8,
        name: Fields<'_>,
        value: Option<&[u8]>,
    ) -> Result<bool, RestoreError> {
        let done = match kind {
            record::BOOT => value.map_or(Some(()), |value| {
                self.boot_epoch = Fields(value).u32()?;
                Some(())
            }),
            record::CLOCK => value.map_or(Some(()), |value| {
                let mut fields = Fields(value);
                self.clock = Some((UnixTime(fields.u64()?), UnixTime(fields.u64()?)));
                Some(())
            }),
            record::SESSION => self.session(name, value),
            record::SUBSCRIPTION => self.subscription(name, value),
            record::MESSAGE => self.message(name, value),
            record::DELIVERY => self.delivery(name, value),
            record::RECEIVED => self.received(name, value),
            record::RETAINED => self.retained(name, value),
            record::TAKEN => self.taken(name, value),
            record::CURSOR => self.cursor(name, value),
            record::REFUSED => self.refused(name, value),
            record::MOVED => self.moved(name, value),
            record::HEEDED => self.heeded(name),
            // Whatever is in it says so itself.
            record::TENANT => core::str::from_utf8(name.0).ok().map(|_| ()),
            _ => return Ok(false),
        };
        done.map(|()| true).ok_or(RestoreError::BadRecord { kind })
    }

    fn session(&mut self, mut name: Fields<'_>, value: Option<&[u8]>) -> Option<()> {
        let number = name.u64()?;
        self.last_session = self.last_session.max(number & SESSION_COUNT);
        match value {
            Some(value) => {
                let record = record::decode_session(value)?;
                self.sessions.entry(number).or_default().record = Some(record);
            }
            None => {
                let kept = self.sessions.remove(&number).unwrap_or_default();
                for delivery in kept.deliveries.into_values() {
                    self.release(delivery.message);
                }
            }
        }
        Some(())
    }

    /// A reference is gone. Should it have been the last one so far, another may still follow: a
    /// checkpoint writes a message once, and who waits for it later, one after the other. So the
    /// message is not forgotten, but it gives its bytes back if they can be read again.
    fn release(&mut self, id: MessageId) {
        let Some(stored) = self.messages.get_mut(&id) else {
            return;
        };
        stored.references = stored.references.saturating_sub(1);
        if stored.references == 0
            && self.budget_bytes.is_some()
            && let Some(whole) = stored.message.take_if(|message| !message.is_stub())
        {
            stored.message = Some(whole.stub());
            self.has_stubs = true;
            self.whole_bytes -= whole.stored_len() as u64;
        }
    }

    /// Numbers are never used twice, whatever record tells of them.
    fn kept(&mut self, number: u64) -> &mut Kept {
        self.last_session = self.last_session.max(number & SESSION_COUNT);
        self.sessions.entry(number).or_default()
    }

    fn subscription(&mut self, mut name: Fields<'_>, value: Option<&[u8]>) -> Option<()> {
        let kept = self.kept(name.u64()?);
        let filter = core::str::from_utf8(name.0).ok()?;
        match value {
            Some(value) => {
                kept.subscriptions
                    .insert(filter.into(), record::decode_subscription(value)?);
            }
            None => {
                kept.subscriptions.remove(filter);
            }
        }
        Some(())
    }

    fn message(&mut self, mut name: Fields<'_>, value: Option<&[u8]>) -> Option<()> {
        let id = name.message_id()?;
        let Some(value) = value else {
            if let Entry::Occupied(stored) = self.messages.entry(id)
                && stored.get().references == 0
            {
                self.whole_bytes -= stored.remove().whole_bytes();
            }
            return Some(());
        };
        let mut message = Message::from_bytes(value)?;
        let before_bytes = self.stored(id).whole_bytes();
        self.whole_bytes -= before_bytes;
        let bytes = self.whole_bytes + value.len() as u64;
        if self.budget_bytes.is_some_and(|budget| bytes > budget) {
            message = message.stub();
            self.has_stubs = true;
        } else {
            self.whole_bytes = bytes;
        }
        self.stored(id).message = Some(message);
        Some(())
    }

    /// A message that some record names. No start may use the epoch of it again, also when the
    /// record of the start that used it is lost: another message would get the same name.
    fn stored(&mut self, id: MessageId) -> &mut Stored {
        self.boot_epoch = self.boot_epoch.max(id.boot_epoch());
        self.messages.entry(id).or_default()
    }

    fn delivery(&mut self, mut name: Fields<'_>, value: Option<&[u8]>) -> Option<()> {
        let kept = self.kept(name.u64()?);
        let sequence = name.u64()?;
        let old = match value {
            // It is elsewhere.
            Some(_) if kept.moved.contains(&sequence) => None,
            Some(value) => {
                let record = record::decode_delivery(value)?;
                let id = record.message;
                let old = kept.deliveries.insert(sequence, record);
                self.stored(id).references += 1;
                old
            }
            None => kept.deliveries.remove(&sequence),
        };
        if let Some(old) = old {
            self.release(old.message);
        }
        Some(())
    }

    fn heeded(&mut self, mut name: Fields<'_>) -> Option<()> {
        self.heeded.insert((name.u64()?, name.u64()?));
        Some(())
    }

    fn received(&mut self, mut name: Fields<'_>, value: Option<&[u8]>) -> Option<()> {
        let kept = self.kept(name.u64()?);
        let id = PacketId::new(name.u16()?)?;
        match value {
            Some(_) => kept.received.insert(id),
            None => kept.received.remove(&id),
        };
        Some(())
    }

    fn refused(&mut self, mut name: Fields<'_>, value: Option<&[u8]>) -> Option<()> {
        let kept = self.kept(name.u64()?);
        let id = PacketId::new(name.u16()?)?;
        match value {
            Some(value) => kept.refused.insert(id, Fields(value).u64()?),
            None => kept.refused.remove(&id),
        };
        Some(())
    }

    fn moved(&mut self, mut name: Fields<'_>, value: Option<&[u8]>) -> Option<()> {
        let kept = self.kept(name.u64()?);
        let sequence = name.u64()?;
        if value.is_none() {
            kept.moved.remove(&sequence);
            return Some(());
        }
        kept.moved.insert(sequence);
        if let Some(old) = kept.deliveries.remove(&sequence) {
            self.release(old.message);
        }
        Some(())
    }

    fn cursor(&mut self, mut name: Fields<'_>, value: Option<&[u8]>) -> Option<()> {
        let kept = self.kept(name.u64()?);
        let filter = core::str::from_utf8(name.0).ok()?;
        match value {
            Some(value) => {
                let cursor = record::decode_cursor(filter, value)?;
                kept.cursors.insert(filter.into(), cursor);
            }
            None => {
                kept.cursors.remove(filter);
            }
        }
        Some(())
    }

    fn retained(&mut self, name: Fields<'_>, value: Option<&[u8]>) -> Option<()> {
        let topic = core::str::from_utf8(name.0).ok()?;
        let old = match value {
            Some(value) => {
                let last = record::decode_retained(value)?;
                self.stored(last.id).references += 1;
                self.retained.insert(topic.into(), last)
            }
            None => self.retained.remove(topic),
        };
        if let Some(old) = old {
            self.release(old.id);
        }
        Some(())
    }

    fn taken(&mut self, mut name: Fields<'_>, value: Option<&[u8]>) -> Option<()> {
        let exchange = ExchangeId {
            session: name.u64()?,
            packet_id: PacketId::new(name.u16()?)?,
        };
        let key = (exchange, name.u16()?);
        match value {
            Some(value) => self.taken.insert(key, value.into()),
            None => self.taken.remove(&key),
        };
        Some(())
    }

    /// Finds out what all shards together have taken in, of exchanges that are still open, and of
    /// which others the log is to be told that they are not.
    fn unite(&mut self) {
        for ((exchange, shard), value) in core::mem::take(&mut self.taken) {
            let (session, is_will) = session_of(exchange);
            let session = self.sessions.get(&session);
            let record = session.and_then(|kept| kept.record.as_ref());
            if record.is_some_and(|record| !is_will || record.will.is_some()) {
                let taken = self.united.entry(exchange).or_default();
                // One that says nothing has taken nothing.
                let _ = record::decode_taken(&value, shard, taken);
            } else {
                self.complete.push((exchange, shard));
            }
        }
    }

    /// Distributes what there is among the shards of a node, by their numbers. There may be fewer
    /// or more of them than there were before.
    #[must_use]
    pub fn split(mut self, shards: u16) -> Vec<Self> {
        self.unite();
        if shards <= 1 {
            return alloc::vec![self];
        }
        let placement = Placement { shards };
        let mut parts: Vec<Self> = (0..shards)
            .map(|_| Self {
                boot_epoch: self.boot_epoch,
                clock: self.clock,
                retained: self.retained.clone(),
                last_session: self.last_session,
                united: self.united.clone(),
                has_stubs: self.has_stubs,
                ..Self::default()
            })
            .collect();
        for (number, kept) in self.sessions {
            let shard = kept
                .record
                .as_ref()
                .map_or(0, |record| placement.of_client(&record.client_id));
            if let Some(part) = parts.get_mut(usize::from(shard)) {
                let ids = kept.deliveries.values().map(|delivery| delivery.message);
                part.messages.extend(messages_of(&self.messages, ids));
                part.sessions.insert(number, kept);
            }
        }
        if let Some(first) = parts.first_mut() {
            first.complete = self.complete;
        }
        for part in &mut parts {
            let ids = part.retained.values().map(|last| last.id);
            let messages: Vec<_> = messages_of(&self.messages, ids).collect();
            part.messages.extend(messages);
        }
        parts
    }

    /// The broker's wall clock at the start. Time that passed while the machine was off counts,
    /// unless its clock says that it has gone back.
    fn wall(&self, machine: UnixTime) -> UnixTime {
        match self.clock {
            Some((broker, then)) => UnixTime(broker.0.saturating_add(machine.since(then))),
            None => machine,
        }
    }
}

fn message_in(
    messages: &HashMap<MessageId, Stored, ById<MANY>>,
    id: MessageId,
) -> Option<&Message> {
    messages.get(&id)?.message.as_ref()
}

/// Those of these messages that there are.
fn messages_of(
    messages: &HashMap<MessageId, Stored, ById<MANY>>,
    ids: impl Iterator<Item = MessageId>,
) -> impl Iterator<Item = (MessageId, Stored)> {
    ids.filter_map(|id| {
        let stored = Stored {
            message: messages.get(&id)?.message.clone(),
            references: 1,
        };
        Some((id, stored))
    })
}

impl Broker {
    /// A broker that goes on where another one stopped, however it stopped. Of several shards, each
    /// gets its part of a [`Restorer::split`], and all have to take in what the others want before
    /// any time passes.
    ///
    /// `config.identity.boot_epoch` should be [`Restorer::next_boot_epoch`]. Its first batch is on
    /// offer at once.
    ///
    /// # Errors
    ///
    /// A configuration that cannot run; see [`Config::validate`].
    pub fn restore(
        config: Config,
        seed: u64,
        now: Now,
        mut restorer: Restorer,
    ) -> Result<Self, ConfigError> {
        let epoch = config.identity.boot_epoch;
        let mut broker = Self::new(config, seed, now)?;
        broker.clock.set_wall(restorer.wall(now.wall));
        broker.session_numbers += restorer.last_session;
        if broker.journal.is_on() {
            broker.journal.boot(epoch);
        }
        restorer.unite();
        let Restorer {
            sessions,
            messages,
            retained,
            united,
            complete,
            ..
        } = restorer;
        broker.taken = united;
        for (exchange, shard) in complete {
            broker.journal.forget_taken(exchange, shard);
        }
        broker.journal.expect(messages.len());
        for Last { id, author } in retained.into_values() {
            if let Some(message) = message_in(&messages, id) {
                if message.is_stub() {
                    broker.statistics.loads_failed += 1;
                    broker.event(Event::Unreadable { message: id });
                    continue;
                }
                if broker.records_retained(message.topic_str()) {
                    broker.journal.restored_retained(message);
                }
                let tenant = broker.tenant_named(message.view().tenant);
                broker.retained.set(tenant, message.clone(), author);
            }
        }
        let mut keys = Vec::new();
        // As they were opened, on whichever shard.
        let mut sessions: Vec<(u64, Kept)> = sessions.into_iter().collect();
        sessions.sort_by_key(|(number, _)| (number & SESSION_COUNT, *number));
        for (number, kept) in sessions {
            keys.extend(broker.restore_session(number, kept, &messages));
            broker.cut();
        }
        // Wills that are due, and sessions that have ended, wait for the first turn: until all
        // subscribers are there, on all shards, and everything that refers to a message is known.
        for key in keys {
            broker.arm_session(key);
        }
        broker.expire_retained();
        broker.settle();
        Ok(broker)
    }

    fn restore_session(
        &mut self,
        number: u64,
        kept: Kept,
        messages: &HashMap<MessageId, Stored, ById<MANY>>,
    ) -> Option<Key> {
        let record = kept.record?;
        let tenant = self.tenant_named(record.tenant.as_deref().unwrap_or_default());
        if let Some(earlier) = self.sessions.find(tenant, &record.client_id) {
            self.supersede(earlier);
        }
        let wall = self.clock.wall();
        let mut session = Session::new(tenant, record.client_id, number);
        session.belongs_to(record.user.as_deref(), record.had_own_rules);
        session.expiry_s = record.expiry_s;
        session.will = record.will;
        session.is_recorded = true;
        session.is_filtered = self.access.is_on();
        (session.ends_at, session.will_at) = (record.ends_at, record.will_at);
        if record.is_connected {
            // It lost its connection when the broker stopped.
            session.ends_at = session.end_from(wall);
        }
        // One that is not delayed is due, by whatever clock its time was written down.
        if let Some(will) = session.will.as_ref()
            && (record.is_connected || will.delay_s == 0)
        {
            session.will_at = wall.after_s(u64::from(will.delay_s));
        }
        for id in kept.received {
            session.traffic().received.insert(id);
        }
        for (id, fingerprint) in kept.refused {
            let refusals = session.traffic().refusals.get_or_insert_default();
            refusals.restore(Refusal { id, fingerprint });
        }
        // Their sequences are not for others.
        if let Some(last) = kept.moved.last() {
            session.traffic().next_sequence = last + 1;
        }
        for (filter, mut cursor) in kept.cursors {
            let subscription = kept.subscriptions.get(&filter);
            if subscription.is_some_and(|subscription| subscription.options.no_local) {
                cursor.without = Author::of(&session.client_id);
            }
            session.traffic().cursors.push(cursor);
        }
        session.has_kept = session.is_persistent();
        if record.is_connected && self.journal.is_on() {
            self.journal.session(&session, &self.tenants);
        }
        self.count(tenant, |counts| counts.sessions += 1);
        let key = self.sessions.insert(session);
        self.count_will(key);
        for (filter, subscription) in kept.subscriptions {
            if let Ok(parsed) = TopicFilter::parse(&filter) {
                self.insert_subscription(key, &parsed, subscription);
            }
        }
        for (sequence, delivery) in kept.deliveries {
            self.restore_delivery(key.index, sequence, delivery, messages);
        }
        self.tighten(key);
        self.count_session(key);
        Some(key)
    }

    /// A client has another session, and the end of this one was not recorded yet: it waited for
    /// others to keep what the session left them. So it ends once more, in the first turn.
    fn supersede(&mut self, earlier: Key) {
        self.sessions.unlist(earlier);
        if let Some(session) = self.sessions.get_mut(earlier) {
            session.ends_at = self.clock.wall();
        }
    }

    fn restore_delivery(
        &mut self,
        slot: u32,
        sequence: u64,
        record: DeliveryRecord,
        messages: &HashMap<MessageId, Stored, ById<MANY>>,
    ) {
        let known = message_in(messages, record.message);
        let message = known.unwrap_or(&self.nothing).clone();
        let (flags, identifiers) = (record.flags, record.identifiers);
        let delivery = Delivery::restored(message, sequence, flags, identifiers);
        let exchange = match (known, record.exchange) {
            (_, Some((Stage::Released, id))) => Some((Stage::Released, id)),
            (Some(message), exchange) => {
                self.journal.restored(message);
                exchange
            }
            // A checkpoint could not read it.
            (None, exchange) => {
                self.drop_message(slot, DropReason::Unreadable);
                // A client that has it would take the next message with its identifier for the
                // same one.
                match exchange.filter(|_| delivery.qos() == QoS::ExactlyOnce) {
                    Some((_, id)) => Some((Stage::Released, id)),
                    None => return,
                }
            }
        };
        match exchange {
            None => self.push_delivery(slot, delivery),
            Some((stage, id)) => {
                self.statistics.inflight_bytes += delivery.cost_bytes() as u64;
                let Some(session) = self.sessions.at_mut(slot) else {
                    return;
                };
                session.traffic().inflight.restore(id, stage, delivery);
            }
        }
        if let Some(session) = self.sessions.at_mut(slot) {
            let traffic = session.traffic();
            traffic.next_sequence = traffic.next_sequence.max(sequence + 1);
        }
    }
}
