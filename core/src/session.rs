//! A session: what outlives the connection. Subscriptions, expiry, will, and the messages under
//! way.
//!
//! It knows no version and no socket. An idle session owns no [`Traffic`].

pub(crate) mod cursors;
pub(crate) mod inflight;
pub(crate) mod queue;
pub(crate) mod received;
pub(crate) mod refusals;

use crate::access::Absentee;
use crate::config::SessionConfig;
use crate::journal::Journal;
use crate::slab::{Key, Slab};
use crate::state::{Reader, State, Writer};
use crate::tenant::TenantId;
use crate::time::{Timestamp, UnixTime};
use crate::topic::{FilterId, GroupId};
use crate::will::Will;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::Hasher;
use cursors::Cursors;
use hashbrown::HashTable;
use inflight::Inflight;
use queue::Queue;
use received::Received;
use refusals::Refusals;
use siphasher::sip::SipHasher13;

/// The session expiry interval that stands for "never".
pub(crate) const NEVER_EXPIRES: u32 = u32::MAX;

/// The part of a session number that counts; above it is the shard that gave it.
pub(crate) const SESSION_COUNT: u64 = (1 << 48) - 1;

/// One subscription of a session, as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubscriptionRef {
    pub(crate) filter: FilterId,
    pub(crate) group: Option<GroupId>,
}

/// Messages under way, in both directions.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) inflight: Inflight,
    pub(crate) received: Received,
    /// Of messages that this client sent, while there was no room for them.
    pub(crate) refusals: Option<Box<Refusals>>,
    pub(crate) queue: Queue,
    pub(crate) cursors: Cursors,
    /// How many at the front of the queue were put there under other rules, or for a connection
    /// that is gone.
    pub(crate) unchecked: usize,
    /// Exchanges that were begun on an earlier connection and not resent on this one yet.
    pub(crate) unsent: usize,
    /// PUBLISH packets sent on this connection whose exchange is open: what the window counts.
    pub(crate) outstanding: usize,
    /// The sequence of the next delivery that the log is told of.
    pub(crate) next_sequence: u64,
    pub(crate) retransmit_armed: Timestamp,
    /// When what room the exchanges do not need any more is given back.
    pub(crate) tighten_armed: Timestamp,
    /// Messages dropped for the session so far.
    pub(crate) dropped: u64,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            inflight: Inflight::default(),
            received: Received::default(),
            refusals: None,
            queue: Queue::default(),
            cursors: Cursors::default(),
            unchecked: 0,
            unsent: 0,
            outstanding: 0,
            next_sequence: 0,
            retransmit_armed: Timestamp::MAX,
            tighten_armed: Timestamp::MAX,
            dropped: 0,
        }
    }
}

impl Traffic {
    /// Whether anything waits to be sent, window or not.
    pub(crate) fn is_waiting(&self) -> bool {
        self.unsent > 0 || !self.queue.is_empty() || !self.cursors.is_empty()
    }

    /// Whether one more QoS 1 or 2 message may begin, with the window that the client gives.
    /// [MQTT-4.9.0-2]
    pub(crate) fn may_begin(&self, window: u16, config: &SessionConfig) -> bool {
        self.outstanding < usize::from(window)
            && self.inflight.has_room(config.inflight_bytes_maximum)
    }

    /// Whether exchanges have left much room, and nothing is done about it yet. Ask whenever one
    /// has ended.
    #[inline]
    pub(crate) fn is_to_be_tightened(&self) -> bool {
        self.inflight.is_roomy() && self.tighten_armed == Timestamp::MAX
    }

    /// No retained message is owed to this subscription any longer.
    pub(crate) fn drop_cursor(&mut self, session: u64, filter: &str, journal: &mut Journal) {
        if let Some(cursor) = self.cursors.forget(filter) {
            journal.cursor_done(session, &cursor);
        }
    }

    /// A new connection: everything open has to be sent again.
    pub(crate) fn restart(&mut self) {
        self.unsent = self.inflight.restart();
        self.outstanding = 0;
    }
}

/// Who a session belongs to.
#[derive(Debug, Default)]
pub(crate) struct Owner {
    /// The verified user who opened it.
    pub(crate) user: Option<Box<str>>,
    /// He had rules of his own.
    pub(crate) had_rules: bool,
    /// Who he was, while there is no connection and something is done in his name.
    pub(crate) absentee: Option<Absentee>,
}

crate::state::state!(Owner {
    user,
    had_rules,
    absentee
});

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) tenant: TenantId,
    pub(crate) client_id: Box<str>,
    /// Whose it is; `None` when it was opened without a name and nothing is done in its name.
    pub(crate) owner: Option<Box<Owner>>,
    /// Names the session in the log; never used twice.
    pub(crate) number: u64,
    pub(crate) connection: Option<Key>,
    /// The CONNECT of that connection, or of the last one; 0 is of an earlier life of the broker.
    pub(crate) connect: u64,
    /// Seconds that it outlives its connection; 0 ends with it, `NEVER_EXPIRES` lives on.
    pub(crate) expiry_s: u32,
    /// When it ends, while it has no connection.
    pub(crate) ends_at: UnixTime,
    /// When a delayed will is due, while it has no connection.
    pub(crate) will_at: UnixTime,
    pub(crate) will: Option<Box<Will>>,
    pub(crate) armed: Timestamp,
    pub(crate) subscriptions: Vec<SubscriptionRef>,
    pub(crate) traffic: Option<Box<Traffic>>,
    /// The log knows of it.
    pub(crate) is_recorded: bool,
    /// The log may have subscriptions and messages of it: it was to outlive its connection.
    pub(crate) has_kept: bool,
    /// What the log knows is left as it is for now; see `estate`.
    pub(crate) record_waits: bool,
    /// Some of its subscriptions match more than it may receive; or may do so, by rules that are
    /// newer than its last connection.
    pub(crate) is_filtered: bool,
    /// What of its will is in the statistics.
    pub(crate) will_counted: u32,
    /// What of it is in the broker's footprints.
    pub(crate) footprint: u32,
}

impl Session {
    pub(crate) fn new(tenant: TenantId, client_id: Box<str>, number: u64) -> Self {
        Self {
            tenant,
            client_id,
            owner: None,
            number,
            connection: None,
            connect: 0,
            expiry_s: 0,
            ends_at: UnixTime::MAX,
            will_at: UnixTime::MAX,
            will: None,
            armed: Timestamp::MAX,
            subscriptions: Vec::new(),
            traffic: None,
            is_recorded: false,
            has_kept: false,
            record_waits: false,
            is_filtered: false,
            will_counted: 0,
            footprint: 0,
        }
    }

    /// The verified user who opened it.
    pub(crate) fn user(&self) -> Option<&str> {
        self.owner.as_ref()?.user.as_deref()
    }

    /// Whether whoever opened it had rules of his own.
    pub(crate) fn had_own_rules(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.had_rules)
    }

    /// It belongs to this user from now on. Who he was before he was away is forgotten.
    pub(crate) fn belongs_to(&mut self, user: Option<&str>, had_rules: bool) {
        let is_known = user.is_some() || had_rules;
        self.owner = is_known.then(|| {
            Box::new(Owner {
                user: user.map(Box::from),
                had_rules,
                absentee: None,
            })
        });
    }

    pub(crate) fn traffic(&mut self) -> &mut Traffic {
        self.traffic.get_or_insert_default()
    }

    /// When it ends if its connection is lost now.
    pub(crate) const fn end_from(&self, wall: UnixTime) -> UnixTime {
        match self.expiry_s {
            NEVER_EXPIRES => UnixTime::MAX,
            expiry => wall.after_s(expiry as u64),
        }
    }

    /// Whether it outlives its connection: what is under way to it is kept.
    pub(crate) const fn is_persistent(&self) -> bool {
        self.expiry_s > 0
    }

    /// Whether a broker that stops without warning owes anything for it: a session, or a will.
    pub(crate) const fn is_worth_recording(&self) -> bool {
        self.is_persistent() || self.will.is_some()
    }
}

/// All sessions of a shard, by slot, and by tenant and client identifier.
pub(crate) struct Sessions {
    slab: Slab<Session>,
    by_client: HashTable<Key>,
    seed: u64,
    /// CONNECTs so far, whether or not they led to one.
    connects: u64,
}

impl Sessions {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            slab: Slab::new(),
            by_client: HashTable::new(),
            seed,
            connects: 0,
        }
    }

    pub(crate) fn save(&self, to: &mut Writer<'_>) {
        self.slab.save(to);
        self.connects.save(to);
    }

    pub(crate) fn load(from: &mut Reader<'_>, seed: u64) -> Option<Self> {
        let mut sessions = Self {
            slab: State::load(from)?,
            by_client: HashTable::new(),
            seed,
            connects: State::load(from)?,
        };
        let mut slot = 0;
        while let Some(key) = sessions.slab.key_from(slot) {
            // Of two, the earlier one is about to end.
            if let Some(session) = sessions.get(key)
                && let Some(earlier) = sessions.find(session.tenant, &session.client_id)
            {
                sessions.unlist(earlier);
            }
            sessions.index(key);
            slot = key.index + 1;
        }
        Some(sessions)
    }

    fn hash(seed: u64, tenant: TenantId, client_id: &str) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(seed, tenant.key(0x5e55));
        hasher.write(client_id.as_bytes());
        hasher.finish()
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// The number of the next CONNECT: who comes later has the greater one.
    pub(crate) const fn next_connect(&mut self) -> u64 {
        self.connects += 1;
        self.connects
    }

    pub(crate) fn find(&self, tenant: TenantId, client_id: &str) -> Option<Key> {
        let hash = Self::hash(self.seed, tenant, client_id);
        let same = |key: &Key| {
            self.slab
                .get(*key)
                .is_some_and(|s| s.tenant == tenant && *s.client_id == *client_id)
        };
        self.by_client.find(hash, same).copied()
    }

    /// The caller has made sure that no session of its tenant has this client identifier.
    pub(crate) fn insert(&mut self, session: Session) -> Key {
        let key = self.slab.insert_with(|_| session);
        self.index(key);
        key
    }

    /// Lets a session be found by its client identifier.
    fn index(&mut self, key: Key) {
        let (slab, seed) = (&self.slab, self.seed);
        let Some(session) = slab.get(key) else { return };
        let hash_of = |session: &Session| Self::hash(seed, session.tenant, &session.client_id);
        self.by_client.insert_unique(hash_of(session), key, |key| {
            slab.get(*key).map_or(0, hash_of)
        });
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Session> {
        self.unlist(key);
        self.slab.remove(key)
    }

    /// A session is not found by its client identifier any more.
    pub(crate) fn unlist(&mut self, key: Key) {
        let Some(session) = self.slab.get(key) else {
            return;
        };
        let hash = Self::hash(self.seed, session.tenant, &session.client_id);
        if let Ok(entry) = self.by_client.find_entry(hash, |known| *known == key) {
            entry.remove();
        }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Session> {
        self.slab.get(key)
    }

    /// All of them, in slot order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Session> {
        self.slab.values()
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Session> {
        self.slab.get_mut(key)
    }

    pub(crate) fn at(&self, index: u32) -> Option<&Session> {
        self.slab.at(index)
    }

    pub(crate) fn at_mut(&mut self, index: u32) -> Option<&mut Session> {
        self.slab.at_mut(index)
    }

    pub(crate) fn key_from(&self, index: u32) -> Option<Key> {
        self.slab.key_from(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::format;

    /// Whoever knows the hash but not the seed chooses client identifiers that collide, and they do
    /// not.
    #[test]
    fn class_18_client_identifiers_chosen_to_collide_are_spread_by_the_seed() {
        let place = |seed, name: &str| Sessions::hash(seed, TenantId::DEFAULT, name) % 256;
        let names = (0..100_000).map(|number| format!("client-{number}"));
        let chosen: Vec<_> = names.filter(|name| place(1, name) == 0).collect();
        assert!(chosen.len() > 256);
        let places: BTreeSet<u64> = chosen.iter().map(|name| place(2, name)).collect();
        assert!(places.len() > 128, "{}", places.len());
    }
}
