//! Checkpoints: everything live is written to the log once more, in bounded steps between ordinary
//! batches, so that the log before it can go.
//!
//! What changes behind the walk is in the batches anyway; what changes before it is written as it
//! is when the walk comes by. Records are set and deleted by key, so writing one twice does no
//! harm.

use crate::broker::Broker;
use crate::letter::ExchangeId;
use crate::slab::Key;
use crate::tenant::TenantId;
use crate::time::Now;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound;

/// About how many bytes one step writes. Several fit in the smallest segment that is sensible, 64
/// KiB: a step that does not fit needs a longer file, for which a full disk has no room.
const STEP_BYTES: usize = 16 << 10;

/// Where the walk has come.
#[derive(Debug)]
pub(crate) enum Walk {
    /// Sessions, slot by slot. A slot that gets a new tenant meanwhile is as good as walked: what
    /// the new one is and has is recorded behind the begin of the checkpoint.
    Session { slot: u32, place: Place },
    /// Retained messages, tenant by tenant, topic by topic.
    Retained {
        tenant: TenantId,
        after: Option<Box<str>>,
    },
    /// Incoming QoS 2 messages that shards have to remember.
    Taken { after: Option<ExchangeId> },
    /// Messages that others hold by now than when they were to be written.
    Owed,
}

/// Where the walk has come within a session.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// At its beginning.
    Head,
    /// So many subscriptions are left.
    Subscriptions(usize),
    /// So many fan-outs of retained messages are left.
    Cursors(u64),
    /// Deliveries from this sequence on.
    Deliveries(u64),
}

impl Broker {
    /// Begins a checkpoint; a step is written with each [`persisted`](Self::persisted).
    /// Does nothing while one is under way, or when nothing is recorded at all.
    pub fn checkpoint(&mut self, now: Now) {
        self.tick(now);
        if self.walk.is_some() || !self.journal.is_on() {
            return;
        }
        self.journal.begin_checkpoint();
        self.journal.boot(self.config.identity.boot_epoch);
        self.journal.clock_now(self.clock.wall(), now.wall);
        for name in self.tenants.names() {
            self.journal.tenant(name);
        }
        self.walk = Some(Walk::Session {
            slot: 0,
            place: Place::Head,
        });
    }

    /// One more step.
    pub(crate) fn continue_checkpoint(&mut self) {
        let full = self.journal.batch_bytes() + STEP_BYTES;
        // What has to be read back first, is; nobody else waits for it.
        while self.journal.batch_bytes() < full && !self.spill.holds_checkpoint() {
            self.walk = match self.walk.take() {
                None => return,
                Some(Walk::Session { slot, place }) => Some(self.walk_session(slot, place, full)),
                Some(Walk::Retained { tenant, after }) => Some(self.walk_retained(tenant, after)),
                Some(Walk::Taken { after }) => Some(self.walk_taken(after)),
                Some(Walk::Owed) => self.walk_owed(),
            };
            if self.walk.is_none() && self.estates.owes_records() {
                // Records from before it still count; when they change, a batch comes.
                self.walk = Some(Walk::Owed);
                return;
            }
            if self.walk.is_none() {
                return self.journal.end_checkpoint();
            }
        }
    }

    fn walk_session(&mut self, slot: u32, place: Place, full: usize) -> Walk {
        let Some(key) = self.sessions.key_from(slot) else {
            return Walk::Retained {
                tenant: TenantId::DEFAULT,
                after: None,
            };
        };
        // Should the one it had come to have ended, it is at the beginning of the next.
        let place = if key.index == slot {
            place
        } else {
            Place::Head
        };
        let slot = key.index;
        let next = Walk::Session {
            slot: slot + 1,
            place: Place::Head,
        };
        let Some(session) = self.sessions.get(key).filter(|session| session.is_recorded) else {
            return next;
        };
        match place {
            Place::Head => {
                if !session.record_waits {
                    self.journal.session(session, &self.tenants);
                }
                for id in session
                    .traffic
                    .iter()
                    .flat_map(|traffic| traffic.received.iter())
                {
                    self.journal.received(session.number, id);
                }
                let traffic = session.traffic.as_ref();
                let refusals = traffic.and_then(|traffic| traffic.refusals.as_ref());
                for refusal in refusals.iter().flat_map(|refusals| refusals.iter()) {
                    self.journal.refused(session.number, refusal);
                }
                let place = Place::Subscriptions(session.subscriptions.len());
                Walk::Session { slot, place }
            }
            Place::Subscriptions(left) => {
                let place = self.walk_subscriptions(key, left, full);
                Walk::Session { slot, place }
            }
            Place::Cursors(left) => {
                let place = self.walk_cursors(key, left, full);
                Walk::Session { slot, place }
            }
            Place::Deliveries(from) => match self.walk_deliveries(key, from, full) {
                Some(from) => Walk::Session {
                    slot,
                    place: Place::Deliveries(from),
                },
                None => next,
            },
        }
    }

    /// From the last to the first: when one is removed, the last takes its place in the list, and
    /// that was walked already.
    fn walk_subscriptions(&mut self, key: Key, mut left: usize, full: usize) -> Place {
        let Some(session) = self.sessions.get(key) else {
            return Place::Cursors(0);
        };
        left = left.min(session.subscriptions.len());
        let cursors = session
            .traffic
            .as_ref()
            .map_or(0, |traffic| traffic.cursors.end());
        let mut filter = String::new();
        while left > 0 && self.journal.batch_bytes() < full {
            left -= 1;
            let reference = session.subscriptions[left];
            filter.clear();
            self.text(session.tenant, reference, &mut filter);
            if let Some(subscription) = self.subscription_of(key, reference) {
                self.journal
                    .subscribed(session.number, &filter, subscription);
            }
        }
        if left > 0 {
            Place::Subscriptions(left)
        } else {
            Place::Cursors(cursors)
        }
    }

    /// From the last to the first as well: they are taken off the front, and what has come nearer
    /// to it meanwhile is among those that are left.
    fn walk_cursors(&mut self, key: Key, mut left: u64, full: usize) -> Place {
        let Some(session) = self.sessions.get(key) else {
            return Place::Deliveries(0);
        };
        let Some(traffic) = session.traffic.as_ref() else {
            return Place::Deliveries(0);
        };
        while let Some((order, cursor)) = traffic.cursors.last_before(left) {
            if self.journal.batch_bytes() >= full {
                return Place::Cursors(left);
            }
            if cursor.is_recorded {
                self.journal.cursor(session.number, cursor);
            }
            left = order;
        }
        Place::Deliveries(0)
    }

    /// The sequence to go on from, unless all are written.
    fn walk_deliveries(&mut self, key: Key, from: u64, full: usize) -> Option<u64> {
        let session = self.sessions.get(key)?;
        let traffic = session.traffic.as_ref()?;
        let begun = traffic
            .inflight
            .iter()
            .map(|(id, exchange)| (&exchange.delivery, Some((exchange.stage, id))));
        let waiting = traffic.queue.since(from).map(|delivery| (delivery, None));
        // What has to be read back: from the first of it on, what follows comes later.
        let (mut lacking, mut bytes, mut stop) = (Vec::new(), 0, None);
        for (delivery, exchange) in begun.chain(waiting) {
            if !delivery.is_recorded() || delivery.sequence < from {
                continue;
            }
            let (message, id) = (&delivery.message, delivery.message.id());
            let lacks = message.is_stub()
                && self.journal.must_write_again(id)
                && !self.spill.is_unreadable(id);
            if lacks || stop.is_some() {
                stop = stop.or(Some(delivery.sequence));
                bytes += message.stored_len();
                lacking.extend(lacks.then_some(id));
                if bytes >= STEP_BYTES {
                    break;
                }
                continue;
            }
            if self.journal.batch_bytes() >= full {
                return Some(delivery.sequence);
            }
            self.journal
                .delivery_again(session.number, delivery, exchange);
        }
        for id in lacking {
            self.load_for_checkpoint(id);
        }
        stop
    }

    fn walk_owed(&mut self) -> Option<Walk> {
        let id = self.journal.next_owed()?;
        if !self.spill.is_unreadable(id) {
            self.load_for_checkpoint(id);
        }
        Some(Walk::Owed)
    }

    fn walk_retained(&mut self, mut tenant: TenantId, mut after: Option<Box<str>>) -> Walk {
        for _ in 0..64 {
            let next = self.retained.next(tenant, after.as_deref());
            let Some((message, author)) = next.map(|(message, author)| (message.clone(), author))
            else {
                let Some(next) = self.tenants.after(tenant) else {
                    return Walk::Taken { after: None };
                };
                (tenant, after) = (next, None);
                continue;
            };
            if self.records_retained(message.topic_str()) {
                self.journal.retained_again(&message, author);
            }
            after = Some(message.topic_str().into());
        }
        Walk::Retained { tenant, after }
    }

    /// Each shard writes what it knows, whoever wrote it first.
    fn walk_taken(&mut self, after: Option<ExchangeId>) -> Walk {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let Some((exchange, taken)) = self.taken.range((from, Bound::Unbounded)).next() else {
            return Walk::Owed;
        };
        let (exchange, is_recorded) = (*exchange, taken.is_recorded());
        if is_recorded {
            self.record_taken(exchange);
        }
        Walk::Taken {
            after: Some(exchange),
        }
    }
}
