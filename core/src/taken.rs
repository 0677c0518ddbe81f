//! QoS 2 among several shards: who has taken an incoming message in.
//!
//! What a message makes shards record is in as many batches, and a crash may leave some of them.
//! Its client was not told that it is taken in, and sends it again; then those who have their part
//! already must not deliver it twice. So each shard records, in the batch with its deliveries, for
//! which slots it has taken the message in; see [`placement`](crate::placement). After a restart
//! the sessions may be on other shards, and the slots still tell.

use crate::broker::Broker;
use crate::id::{MessageId, PacketId};
use crate::letter::{ExchangeId, Parcel};
use alloc::vec::Vec;
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// Where an incoming QoS 2 message has been taken in, until its exchange is complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// One bit for each slot.
    pub(crate) slots: u64,
    /// Hashes of the shared subscriptions that have delivered it.
    pub(crate) groups: Vec<u64>,
    /// The shards that have a record of it, one bit each.
    pub(crate) writers: u64,
    /// It was taken in by an earlier life of the broker, or by some shards of it.
    pub(crate) is_restored: bool,
    /// The message, when a member of a shared subscription has it whose session does not last.
    pub(crate) lent: Option<MessageId>,
}

crate::state::state!(Taken {
    slots,
    groups,
    writers,
    is_restored,
    lent
});

impl Taken {
    /// Whether the log has something of it.
    pub(crate) const fn is_recorded(&self) -> bool {
        self.writers != 0
    }
}

fn hash(group: &str) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0, 0x5a9e);
    hasher.write(group.as_bytes());
    hasher.finish()
}

impl Broker {
    /// Whether anybody has to know which shards have taken a message in.
    pub(crate) fn counts_taken(&self) -> bool {
        self.journal.is_on() && !(self.peers.is_alone() && self.taken.is_empty())
    }

    /// The slots for which a message has been taken in already.
    pub(crate) fn taken_slots(&self, exchange: Option<ExchangeId>) -> u64 {
        let taken = exchange.and_then(|exchange| self.taken.get(&exchange));
        taken.map_or(0, |taken| taken.slots)
    }

    /// Whether a shared subscription has delivered it already.
    pub(crate) fn has_taken(&self, exchange: ExchangeId, group: &str) -> bool {
        let taken = self.taken.get(&exchange);
        taken.is_some_and(|taken| taken.groups.contains(&hash(group)))
    }

    /// This shard has taken a message in for its sessions.
    pub(crate) fn take(&mut self, exchange: ExchangeId) {
        let slots = self.placement.slots_of(self.config.identity.shard);
        let taken = self.taken.entry(exchange).or_default();
        taken.slots |= slots;
        taken.is_restored = false;
        self.record_taken(exchange);
    }

    /// It has delivered it to a member of a shared subscription.
    pub(crate) fn take_for_group(&mut self, exchange: ExchangeId, group: &str) {
        let taken = self.taken.entry(exchange).or_default();
        taken.groups.push(hash(group));
        self.record_taken(exchange);
    }

    /// A member has it whose session does not last. That is not recorded, because a crash takes it
    /// back; but whoever it is passed on to has it by the same exchange.
    pub(crate) fn lend(&mut self, exchange: ExchangeId, message: MessageId) {
        self.taken.entry(exchange).or_default().lent = Some(message);
        self.lent.insert(message, exchange);
    }

    /// Tells the log.
    pub(crate) fn record_taken(&mut self, exchange: ExchangeId) {
        let shard = self.config.identity.shard;
        if let Some(taken) = self.taken.get_mut(&exchange) {
            taken.writers |= 1 << shard;
            self.journal.taken(exchange, shard, taken);
        }
    }

    /// The exchange is complete, on all shards. Whether any of them has to be told.
    pub(crate) fn complete_exchange(&mut self, exchange: ExchangeId) -> bool {
        let is_known = self.forget_taken(exchange);
        if is_known {
            for peer in self.peers.all() {
                self.peers.tell(peer, Parcel::Completed(exchange));
            }
        }
        is_known
    }

    /// The same here. Whether it was recorded, by any shard.
    pub(crate) fn forget_taken(&mut self, exchange: ExchangeId) -> bool {
        let Some(taken) = self.taken.remove(&exchange) else {
            return false;
        };
        if let Some(message) = taken.lent {
            self.lent.remove(&message);
        }
        for shard in (0..64).filter(|shard| taken.writers >> shard & 1 != 0) {
            self.journal.forget_taken(exchange, shard);
        }
        taken.is_recorded()
    }

    /// A session ends, and all exchanges with it.
    pub(crate) fn complete_all(&mut self, session: u64) {
        let first = ExchangeId {
            session,
            packet_id: PacketId::FIRST,
        };
        while let Some((exchange, _)) = self.taken.range(first..).next()
            && exchange.session == session
        {
            let exchange = *exchange;
            self.complete_exchange(exchange);
        }
    }
}
