//! From a topic name to who gets the message, and how: the policy of fan-out.
//!
//! The index ([`Subscriptions`]) says which subscriptions match. Here those of one session become
//! one target: delivered once, with the highest QoS and all subscription identifiers. What other
//! shards want stands in an index of its own; the shard that took a message in chooses among
//! shards, and each of them among its sessions. What came out is kept for the next message to that
//! topic, until any subscription changes; a steady publisher pays no matching.

use crate::codec::packet::QoS;
use crate::id::PeerId;
use crate::session::queue::Identifiers;
use crate::tenant::{TenantId, Tenants};
use crate::topic::name::TopicName;
use crate::topic::{GroupId, Matches, Subscriber, SubscriberKey, Subscriptions, TopicFilter};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::hash::Hasher;
use core::num::NonZeroU16;
use siphasher::sip::SipHasher13;

/// How many topics are remembered. At about 100 bytes each.
const SLOTS: usize = 1_024;

const _: () = assert!(SLOTS < u16::MAX as usize && size_of::<Option<RouteSlot>>() == 2);

/// Routes with more targets are not kept: matching is a small part of such a fan-out.
const TARGETS_KEPT: usize = 4_096;

/// So many nodes of the index that are looked at cost as much as a delivery.
const NODES_PER_DELIVERY: u32 = 8;

/// One recipient of a message, with what its subscriptions ask for together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The slot of its session.
    pub(crate) slot: u32,
    pub(crate) maximum_qos: QoS,
    pub(crate) retain_as_published: bool,
    /// At least one of its subscriptions does not want its own messages.
    pub(crate) no_local: bool,
    pub(crate) identifiers: Identifiers,
}

impl Target {
    pub(crate) fn new(subscriber: &Subscriber) -> Self {
        let subscription = subscriber.subscription;
        let mut identifiers = Identifiers::default();
        identifiers.push(subscription.identifier);
        Self {
            slot: subscriber.key.0,
            maximum_qos: subscription.options.maximum_qos,
            retain_as_published: subscription.options.retain_as_published,
            no_local: subscription.options.no_local,
            identifiers,
        }
    }

    /// Overlapping subscriptions of one session count as one with the highest QoS. [MQTT-3.3.4-2]
    /// All their identifiers are sent along. [MQTT-3.3.4-3] [MQTT-3.3.4-4]
    fn merge(&mut self, subscriber: &Subscriber) {
        let subscription = subscriber.subscription;
        self.maximum_qos = self.maximum_qos.max(subscription.options.maximum_qos);
        self.retain_as_published |= subscription.options.retain_as_published;
        self.no_local |= subscription.options.no_local;
        self.identifiers.push(subscription.identifier);
    }
}

/// The members of a shared subscription, here and on other shards. At least one of both is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// In the index of subscriptions.
    pub(crate) here: Option<GroupId>,
    /// In the index of interests.
    pub(crate) there: Option<GroupId>,
}

/// What subscriptions there are in a tenant: those of this shard, and what the other shards want.
#[derive(Clone, Copy)]
pub(crate) struct Indexes<'a> {
    tenant: TenantId,
    subscriptions: &'a Subscriptions,
    interests: &'a Subscriptions,
}

impl<'a> Indexes<'a> {
    pub(crate) fn of(tenants: &'a Tenants, tenant: TenantId) -> Self {
        let of = &tenants[tenant];
        Self {
            tenant,
            subscriptions: &of.subscriptions,
            interests: &of.interests,
        }
    }

    /// Changes whenever one of them does: each only counts up.
    const fn generation(self) -> u64 {
        self.subscriptions.generation() + self.interests.generation()
    }
}

/// Whom the messages of one topic go to.
#[derive(Debug, Default)]
pub(crate) struct Recipients {
    pub(crate) targets: Vec<Target>,
    /// Other shards with subscribers.
    pub(crate) peers: Vec<PeerId>,
    pub(crate) groups: Vec<Group>,
    /// What finding them costs, in deliveries. Counted for each message, found anew or not: a
    /// replay that begins in between has to find them.
    pub(crate) cost: u32,
}

impl Recipients {
    pub(crate) const fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.peers.is_empty() && self.groups.is_empty()
    }
}

/// Who gets the messages of one topic.
#[derive(Debug, Default)]
pub(crate) struct Route {
    generation: u64,
    /// Tells this finding of a route from every other, of the same topic or another.
    pub(crate) serial: u64,
    tenant: TenantId,
    topic: String,
    /// `None` while they are walked, and as long as there is no route here.
    recipients: Option<Box<Recipients>>,
    /// Some target has a subscription with no local.
    no_local: bool,
}

impl Route {
    /// Whether this publisher does not want to hear some of it itself.
    pub(crate) fn hides_from(&self, publisher: u32) -> bool {
        let Some(recipients) = self.recipients.as_ref().filter(|_| self.no_local) else {
            return false;
        };
        let targets = &recipients.targets;
        // They are in the order of their slots.
        let place = targets.binary_search_by_key(&publisher, |target| target.slot);
        place.is_ok_and(|place| targets[place].no_local)
    }

    /// The sessions among the recipients.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.recipients
            .iter()
            .flat_map(|recipients| &recipients.targets)
    }
}

/// The routes used lately: as many as there are slots, chosen by a hash of tenant and topic.
pub(crate) struct Routes {
    slots: Vec<Route>,
    matches: Matches,
    seed: u64,
    /// Routes found so far.
    found: u64,
}

/// Where a route lies. It may belong to another topic by now; who remembers one asks
/// [`Routes::recall`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteSlot(NonZeroU16);

impl Default for RouteSlot {
    fn default() -> Self {
        Self::new(0)
    }
}

impl RouteSlot {
    /// One more than the index inside, so that perhaps none is two bytes as well: every message
    /// carries it along.
    const fn new(index: u16) -> Self {
        Self(NonZeroU16::MIN.saturating_add(index))
    }

    #[inline]
    const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl Routes {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            matches: Matches::default(),
            seed,
            found: 0,
        }
    }

    fn slot(&self, tenant: TenantId, topic: &str) -> RouteSlot {
        let mut hasher = SipHasher13::new_with_keys(self.seed, tenant.key(0x407e));
        hasher.write(topic.as_bytes());
        RouteSlot::new((hasher.finish() % SLOTS as u64) as u16)
    }

    /// The route of a topic if it is known and still holds. The topic has then been found valid
    /// before.
    pub(crate) fn known(&self, topic: &str, indexes: Indexes<'_>) -> Option<RouteSlot> {
        self.recall(self.slot(indexes.tenant, topic), topic, indexes)
    }

    /// The same without a search: whoever publishes to the same topic again remembers where it was.
    pub(crate) fn recall(
        &self,
        slot: RouteSlot,
        topic: &str,
        indexes: Indexes<'_>,
    ) -> Option<RouteSlot> {
        let route = self.slots.get(slot.index())?;
        let holds = route.generation == indexes.generation()
            && route.tenant == indexes.tenant
            && route.topic == topic;
        holds.then_some(slot)
    }

    /// Finds the route of a topic to those who may receive it, and keeps it.
    pub(crate) fn find(
        &mut self,
        topic: TopicName<'_>,
        indexes: Indexes<'_>,
        may_receive: impl Fn(u32) -> bool,
    ) -> RouteSlot {
        if self.slots.is_empty() {
            // An index that has no subscription yet must not look like a match of an empty slot.
            self.slots.resize_with(SLOTS, || Route {
                generation: u64::MAX,
                ..Route::default()
            });
        }
        let slot = self.slot(indexes.tenant, topic.as_str());
        let route = &mut self.slots[slot.index()];
        route.generation = indexes.generation();
        route.tenant = indexes.tenant;
        route.topic.clear();
        route.topic.push_str(topic.as_str());
        let recipients = route.recipients.get_or_insert_default();
        resolve(topic, indexes, None, &mut self.matches, recipients);
        recipients.cost = self.matches.take_visited() / NODES_PER_DELIVERY;
        let targets = &mut recipients.targets;
        targets.retain(|target| may_receive(target.slot));
        self.found += 1;
        route.serial = self.found;
        route.no_local = targets.iter().any(|target| target.no_local);
        slot
    }

    /// The recipients of a message from a session that does not want to hear some of it itself.
    pub(crate) fn without_local(
        &mut self,
        topic: TopicName<'_>,
        indexes: Indexes<'_>,
        publisher: u32,
        may_receive: impl Fn(u32) -> bool,
    ) -> Recipients {
        let mut recipients = Recipients::default();
        resolve(
            topic,
            indexes,
            Some(SubscriberKey(publisher)),
            &mut self.matches,
            &mut recipients,
        );
        recipients.cost = self.matches.take_visited() / NODES_PER_DELIVERY;
        recipients.targets.retain(|target| may_receive(target.slot));
        recipients
    }

    /// Takes the recipients out for the time they are walked; give them back with `put_back`.
    pub(crate) fn take(&mut self, slot: RouteSlot) -> Option<Box<Recipients>> {
        self.slots[slot.index()].recipients.take()
    }

    pub(crate) fn put_back(&mut self, slot: RouteSlot, recipients: Box<Recipients>) {
        let route = &mut self.slots[slot.index()];
        if recipients.targets.len() > TARGETS_KEPT {
            route.generation = u64::MAX;
            return;
        }
        route.recipients = Some(recipients);
    }

    pub(crate) fn peek(&self, slot: RouteSlot) -> &Route {
        &self.slots[slot.index()]
    }
}

/// One target a session, one entry a peer and a group. A message is not sent back to `publisher` by
/// a subscription that says no local.
fn resolve(
    topic: TopicName<'_>,
    indexes: Indexes<'_>,
    publisher: Option<SubscriberKey>,
    matches: &mut Matches,
    recipients: &mut Recipients,
) {
    let Recipients {
        targets,
        peers,
        groups,
        ..
    } = recipients;
    targets.clear();
    peers.clear();
    groups.clear();
    indexes.subscriptions.matches(topic, matches);
    groups.extend(matches.groups.iter().map(|group| Group {
        here: Some(*group),
        there: None,
    }));
    matches.subscribers.sort_by_key(|subscriber| subscriber.key);
    for subscriber in &matches.subscribers {
        let no_local = subscriber.subscription.options.no_local;
        // [MQTT-3.8.3-3]
        if no_local && publisher == Some(subscriber.key) {
            continue;
        }
        match targets.last_mut() {
            Some(last) if last.slot == subscriber.key.0 => last.merge(subscriber),
            _ => targets.push(Target::new(subscriber)),
        }
    }
    if indexes.interests.is_empty() {
        return;
    }
    indexes.interests.matches(topic, matches);
    peers.extend(matches.subscribers.iter().map(|one| peer_of(one.key)));
    peers.sort_unstable();
    peers.dedup();
    for there in &matches.groups {
        let here = same_group(indexes, *there);
        match groups
            .iter_mut()
            .find(|known| here.is_some() && known.here == here)
        {
            Some(known) => known.there = Some(*there),
            None => groups.push(Group {
                here: None,
                there: Some(*there),
            }),
        }
    }
}

/// The group of this shard that other shards have members of.
fn same_group(indexes: Indexes<'_>, there: GroupId) -> Option<GroupId> {
    let group = indexes.interests.group(there)?;
    let mut filter = String::new();
    indexes.interests.filter(group.filter(), &mut filter);
    let filter = TopicFilter::plain(&filter).ok()?;
    indexes.subscriptions.shared(filter, group.share())
}

/// How a peer stands in the index of interests.
pub(crate) const fn peer_key(peer: PeerId) -> SubscriberKey {
    SubscriberKey(peer.0 as u32)
}

/// The same backwards.
pub(crate) const fn peer_of(key: SubscriberKey) -> PeerId {
    PeerId(key.0 as u16)
}
