//! Tenants: namespaces that do not see each other.
//!
//! Each has indexes of its own of what is subscribed to, and everything else that is looked up by
//! name has the tenant as the first step of its key: sessions by client identifier, routes and
//! retained messages by topic. What is found by a number, such as a session by its slot, was found
//! in its tenant before. A connection has a tenant from the verdict on its credentials on, a
//! session for its whole life, and a message carries the name of its tenant wherever it goes.
//!
//! Numbers mean something on one shard only, and for one run; elsewhere tenants have names.

use crate::access::identity::Grant;
use crate::action::CloseReason;
use crate::broker::Broker;
use crate::codec::reason::ReasonCode;
use crate::id::PeerId;
use crate::letter::{Parcel, TenantCounts};
use crate::retained::Usage;
use crate::slab::Key;
use crate::state::{Reader, State, Writer};
use crate::topic::Subscriptions;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

/// The longest name of a tenant, in bytes: a message has one byte for its length.
pub(crate) const NAME_BYTES_MAXIMUM: usize = u8::MAX as usize;

/// Whether a text can be the name of a tenant: not empty, no control characters, and of at most 255
/// bytes.
#[must_use]
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_BYTES_MAXIMUM && !text.chars().any(char::is_control)
}

/// A tenant of this shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TenantId(u32);

crate::state::state!(TenantId(number));

impl TenantId {
    /// The namespace of everybody who has no tenant.
    pub(crate) const DEFAULT: Self = Self(0);

    /// The tenant of this number, of a state that was written with as many.
    pub(crate) const fn numbered(number: u32) -> Self {
        Self(number)
    }

    /// Sets what is hashed for one tenant apart from what is hashed for another.
    pub(crate) const fn key(self, purpose: u64) -> u64 {
        (self.0 as u64) << 32 | purpose
    }

    /// Where it stands in a table that has one place for each.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One namespace.
pub(crate) struct Tenant {
    /// `None` for the default one.
    name: Option<Arc<str>>,
    pub(crate) subscriptions: Subscriptions,
    /// What other shards subscribe to.
    pub(crate) interests: Subscriptions,
    /// What of both is in the broker's footprints.
    pub(crate) footprint: u64,
    /// What it has here, and what it has on other shards as far as they have said.
    here: Counts,
    pub(crate) elsewhere: BTreeMap<PeerId, Counts>,
    /// What waits for its sessions here.
    pub(crate) queued_bytes: u64,
    /// The others do not know what it has here.
    is_untold: bool,
}

/// How much there is of what tenants may have only so much of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connected clients.
    pub connections: u32,
    /// Sessions, connected or not.
    pub sessions: u32,
    /// Subscriptions of all sessions.
    pub subscriptions: u32,
}

crate::state::state!(Counts {
    connections,
    sessions,
    subscriptions
});

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.connections = self.connections.saturating_add(other.connections);
        self.sessions = self.sessions.saturating_add(other.sessions);
        self.subscriptions = self.subscriptions.saturating_add(other.subscriptions);
    }
}

impl Tenant {
    /// What it has on all shards.
    fn counts(&self) -> Counts {
        let mut sum = self.here;
        for other in self.elsewhere.values() {
            sum.add(*other);
        }
        sum
    }
}

/// What a tenant may not have any more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quota {
    Connections,
    Sessions,
    Subscriptions,
}

/// All namespaces of a shard. The default one is always there.
pub(crate) struct Tenants {
    all: Vec<Tenant>,
    by_name: BTreeMap<Arc<str>, TenantId>,
    /// Those of which the others do not know what they have here.
    untold: Vec<TenantId>,
    seed: u64,
}

impl Tenants {
    pub(crate) fn new(seed: u64) -> Self {
        let mut tenants = Self {
            all: Vec::new(),
            by_name: BTreeMap::new(),
            untold: Vec::new(),
            seed,
        };
        tenants.insert("");
        tenants
    }

    /// How many there are, the default one included.
    pub(crate) const fn len(&self) -> usize {
        self.all.len()
    }

    /// All of them, in the order of their numbers.
    pub(crate) fn ids(&self) -> impl Iterator<Item = TenantId> + use<> {
        (0..self.all.len()).map(|index| TenantId(index as u32))
    }

    /// The one after this one, in the order of their numbers.
    pub(crate) fn after(&self, id: TenantId) -> Option<TenantId> {
        let next = TenantId(id.0 + 1);
        (next.index() < self.all.len()).then_some(next)
    }

    /// The one of this name; the empty one is the default.
    pub(crate) fn find(&self, name: &str) -> Option<TenantId> {
        if name.is_empty() {
            return Some(TenantId::DEFAULT);
        }
        self.by_name.get(name).copied()
    }

    /// The caller has made sure that there is none of this name.
    pub(crate) fn insert(&mut self, name: &str) -> TenantId {
        let id = TenantId(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        let name = (!name.is_empty()).then(|| Arc::<str>::from(name));
        if let Some(name) = &name {
            self.by_name.insert(name.clone(), id);
        }
        self.all.push(Tenant {
            name,
            subscriptions: Subscriptions::new(self.seed),
            interests: Subscriptions::new(self.seed),
            footprint: 0,
            here: Counts::default(),
            elsewhere: BTreeMap::new(),
            queued_bytes: 0,
            is_untold: false,
        });
        id
    }

    /// The name of a tenant; the default one has none.
    pub(crate) fn name(&self, id: TenantId) -> Option<Arc<str>> {
        self[id].name.clone()
    }

    /// The same, borrowed.
    pub(crate) fn text(&self, id: TenantId) -> Option<&str> {
        self[id].name.as_deref()
    }

    /// What it has here, and the bytes that wait for it here.
    pub(crate) fn usage(&self, id: TenantId) -> (Counts, u64) {
        let tenant = &self[id];
        (tenant.here, tenant.queued_bytes)
    }

    /// The names of all that have one.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().filter_map(|tenant| tenant.name.as_deref())
    }

    /// Makes the routes worthless that were found in a tenant so far.
    pub(crate) fn touch(&mut self, id: TenantId) {
        self[id].subscriptions.touch();
    }

    /// The same for all tenants.
    pub(crate) fn touch_all(&mut self) {
        for tenant in &mut self.all {
            tenant.subscriptions.touch();
        }
    }

    pub(crate) fn save(&self, to: &mut Writer<'_>) {
        self.all.len().save(to);
        for tenant in &self.all {
            let Tenant {
                name,
                subscriptions,
                interests,
                here,
                elsewhere,
                queued_bytes,
                footprint,
                is_untold: _,
            } = tenant;
            name.save(to);
            subscriptions.save(to);
            interests.save(to);
            here.save(to);
            elsewhere.save(to);
            queued_bytes.save(to);
            footprint.save(to);
        }
    }

    pub(crate) fn load(from: &mut Reader<'_>, seed: u64) -> Option<Self> {
        let mut tenants = Self {
            all: Vec::new(),
            by_name: BTreeMap::new(),
            untold: Vec::new(),
            seed,
        };
        for _ in 0..usize::load(from)? {
            let name = Option::<Arc<str>>::load(from)?;
            let name = name.filter(|name| !name.is_empty());
            let is_first = tenants.all.is_empty();
            let is_new = name
                .as_ref()
                .is_some_and(|name| tenants.find(name).is_none());
            // The default one, and then others.
            if is_first != name.is_none() || !is_first && !is_new {
                return None;
            }
            let id = tenants.insert(name.as_deref().unwrap_or_default());
            tenants[id].subscriptions = Subscriptions::load(from, seed)?;
            let tenant = &mut tenants[id];
            tenant.interests = Subscriptions::load(from, seed)?;
            tenant.here = State::load(from)?;
            tenant.elsewhere = State::load(from)?;
            tenant.queued_bytes = State::load(from)?;
            tenant.footprint = State::load(from)?;
        }
        (!tenants.all.is_empty()).then_some(tenants)
    }
}

impl Broker {
    /// A tenant has more here, or less.
    pub(crate) fn count(&mut self, id: TenantId, change: impl FnOnce(&mut Counts)) {
        let tenant = &mut self.tenants[id];
        change(&mut tenant.here);
        if id != TenantId::DEFAULT
            && !tenant.is_untold
            && !self.peers.is_alone()
            && self.config.tenants.counts_together()
        {
            tenant.is_untold = true;
            self.tenants.untold.push(id);
        }
    }

    /// Tells the other shards what has changed since they were told: once a turn, however much that
    /// is.
    pub(crate) fn tell_counts(&mut self) {
        while let Some(id) = self.tenants.untold.pop() {
            let tenant = &mut self.tenants[id];
            tenant.is_untold = false;
            let (Some(name), counts) = (tenant.name.clone(), tenant.here) else {
                continue;
            };
            for peer in self.peers.all() {
                let tenant = name.clone();
                let parcel = Parcel::Counts(TenantCounts { tenant, counts });
                self.peers.tell(peer, parcel);
            }
        }
    }

    /// Whether a tenant may have one more. Counts it when not.
    pub(crate) fn has_room_in_tenant(&mut self, id: TenantId, quota: Quota) -> bool {
        let config = &self.config.tenants;
        let maximum = match quota {
            Quota::Connections => config.connections_maximum,
            Quota::Sessions => config.sessions_maximum,
            Quota::Subscriptions => config.subscriptions_maximum,
        };
        if id == TenantId::DEFAULT || maximum == 0 {
            return true;
        }
        let counts = self.tenants[id].counts();
        let has_room = maximum
            > match quota {
                Quota::Connections => counts.connections,
                Quota::Sessions => counts.sessions,
                Quota::Subscriptions => counts.subscriptions,
            };
        self.statistics.tenant_refusals += u64::from(!has_room);
        has_room
    }

    /// What may be retained for a tenant.
    pub(crate) fn retained_maximum(&self, id: TenantId) -> Usage {
        let config = &self.config.tenants;
        let or_all = |maximum| match maximum {
            _ if id == TenantId::DEFAULT => u64::MAX,
            0 => u64::MAX,
            maximum => maximum,
        };
        Usage {
            messages: or_all(config.retained_messages_maximum),
            bytes: or_all(config.retained_bytes_maximum),
        }
    }

    /// Whether so much more may wait for the sessions of a tenant.
    pub(crate) fn may_queue_in_tenant(&self, id: TenantId, cost: usize) -> bool {
        let maximum = self.config.tenants.queued_bytes_maximum;
        maximum == 0
            || id == TenantId::DEFAULT
            || self.tenants[id].queued_bytes + cost as u64 <= maximum
    }

    /// The tenant of a connection that was let in.
    pub(crate) fn tenant_of(&self, key: Key) -> TenantId {
        let connection = self.connections.get(key);
        connection.map_or(TenantId::DEFAULT, |connection| connection.tenant)
    }

    /// The tenant that a client is in by its grant. A name that cannot be one lets nobody in.
    pub(crate) fn tenant_granted(&mut self, grant: &Grant) -> Result<TenantId, CloseReason> {
        let Some(name) = grant.tenant.as_deref() else {
            return Ok(TenantId::DEFAULT);
        };
        if !is_name(name) {
            return Err(CloseReason::Refused(ReasonCode::NOT_AUTHORIZED));
        }
        let is_known = self.tenants.find(name).is_some();
        if !is_known && self.tenants.len() > self.config.tenants.maximum as usize {
            self.statistics.tenant_refusals += 1;
            return Err(CloseReason::Limit(
                ReasonCode::QUOTA_EXCEEDED,
                "tenants.maximum",
            ));
        }
        Ok(self.tenant_named(name))
    }

    /// The tenant of this name, which another shard or the log tells of: there is one from now on.
    pub(crate) fn tenant_named(&mut self, name: &str) -> TenantId {
        if let Some(known) = self.tenants.find(name) {
            return known;
        }
        if self.journal.is_on() {
            self.journal.tenant(name);
        }
        self.tenants.insert(name)
    }
}

/// Numbers are given out by the table, and none is taken back.
impl Index<TenantId> for Tenants {
    type Output = Tenant;

    fn index(&self, id: TenantId) -> &Tenant {
        &self.all[id.index()]
    }
}

impl IndexMut<TenantId> for Tenants {
    fn index_mut(&mut self, id: TenantId) -> &mut Tenant {
        &mut self.all[id.index()]
    }
}
