//! From a topic name to who gets the message, and how: the policy of fan-out.
//!
//! The index ([`Subscriptions`]) says which subscriptions match. Here those of one session become
//! one target: delivered once, with the highest QoS and all subscription identifiers. What came out
//! is kept for the next message to that topic, until any subscription changes; a steady publisher
//! pays no matching.

use crate::codec::packet::QoS;
use crate::session::queue::Identifiers;
use crate::topic::name::TopicName;
use crate::topic::{GroupId, Matches, Subscriber, SubscriberKey, Subscriptions};
use alloc::string::String;
use alloc::vec::Vec;
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// How many topics are remembered. At about 100 bytes each.
const SLOTS: usize = 1_024;

/// Routes with more targets are not kept: matching is a small part of such a fan-out.
const TARGETS_KEPT: usize = 4_096;

/// The bit of a [`SubscriberKey`] that says: a peer, not a session.
const PEER: u32 = 1 << 31;

/// Who a subscription of the index belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// The slot of a session of this shard.
    Session(u32),
    /// Another shard or node.
    Peer(u16),
}

impl Member {
    pub(crate) const fn key(self) -> SubscriberKey {
        match self {
            Self::Session(slot) => SubscriberKey(slot),
            Self::Peer(peer) => SubscriberKey(PEER | peer as u32),
        }
    }

    pub(crate) const fn of(key: SubscriberKey) -> Self {
        if key.0 & PEER == 0 {
            Self::Session(key.0)
        } else {
            Self::Peer((key.0 & 0xffff) as u16)
        }
    }
}

/// One recipient of a message, with what its subscriptions ask for together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) member: Member,
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
            member: Member::of(subscriber.key),
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

/// Who gets the messages of one topic.
#[derive(Debug, Default)]
pub(crate) struct Route {
    generation: u64,
    /// Tells this finding of a route from every other, of the same topic or another.
    pub(crate) serial: u64,
    topic: String,
    pub(crate) targets: Vec<Target>,
    pub(crate) groups: Vec<GroupId>,
    /// Some target has a subscription with no local.
    pub(crate) no_local: bool,
}

/// The routes used lately: as many as there are slots, chosen by a hash of the topic.
pub(crate) struct Routes {
    slots: Vec<Route>,
    matches: Matches,
    seed: u64,
    /// Routes found so far.
    found: u64,
}

/// Where a route lies. It may belong to another topic by now; who remembers one asks
/// [`Routes::recall`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RouteSlot(u16);

impl Routes {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            matches: Matches::default(),
            seed,
            found: 0,
        }
    }

    fn slot(&self, topic: &str) -> RouteSlot {
        let mut hasher = SipHasher13::new_with_keys(self.seed, 0x407e);
        hasher.write(topic.as_bytes());
        RouteSlot((hasher.finish() % SLOTS as u64) as u16)
    }

    /// The route of a topic if it is known and still holds. The topic has then been found valid
    /// before.
    pub(crate) fn known(&self, topic: &str, index: &Subscriptions) -> Option<RouteSlot> {
        self.recall(self.slot(topic), topic, index)
    }

    /// The same without a search: whoever publishes to the same topic again remembers where it was.
    pub(crate) fn recall(
        &self,
        slot: RouteSlot,
        topic: &str,
        index: &Subscriptions,
    ) -> Option<RouteSlot> {
        let route = self.slots.get(usize::from(slot.0))?;
        (route.generation == index.generation() && route.topic == topic).then_some(slot)
    }

    /// Finds the route of a topic to those who may receive it, and keeps it.
    pub(crate) fn find(
        &mut self,
        topic: TopicName<'_>,
        index: &Subscriptions,
        may_receive: impl Fn(Member) -> bool,
    ) -> RouteSlot {
        if self.slots.is_empty() {
            // An index that has no subscription yet must not look like a match of an empty slot.
            self.slots.resize_with(SLOTS, || Route {
                generation: u64::MAX,
                ..Route::default()
            });
        }
        let slot = self.slot(topic.as_str());
        index.matches(topic, &mut self.matches);
        let route = &mut self.slots[usize::from(slot.0)];
        route.generation = index.generation();
        route.topic.clear();
        route.topic.push_str(topic.as_str());
        resolve(&mut self.matches, None, route);
        route.targets.retain(|target| may_receive(target.member));
        self.found += 1;
        route.serial = self.found;
        slot
    }

    /// The targets for a message from a session that does not want to hear some of it itself.
    pub(crate) fn without_local(
        &mut self,
        topic: TopicName<'_>,
        index: &Subscriptions,
        publisher: u32,
        may_receive: impl Fn(Member) -> bool,
    ) -> Route {
        let mut route = Route::default();
        index.matches(topic, &mut self.matches);
        resolve(
            &mut self.matches,
            Some(Member::Session(publisher).key()),
            &mut route,
        );
        route.targets.retain(|target| may_receive(target.member));
        route
    }

    /// Takes targets and groups out for the time they are walked; give them back with `put_back`.
    pub(crate) fn take(&mut self, slot: RouteSlot) -> (Vec<Target>, Vec<GroupId>) {
        let route = &mut self.slots[usize::from(slot.0)];
        let targets = core::mem::take(&mut route.targets);
        (targets, core::mem::take(&mut route.groups))
    }

    pub(crate) fn put_back(&mut self, slot: RouteSlot, targets: Vec<Target>, groups: Vec<GroupId>) {
        let route = &mut self.slots[usize::from(slot.0)];
        if targets.len() > TARGETS_KEPT {
            route.generation = u64::MAX;
            return;
        }
        route.targets = targets;
        route.groups = groups;
    }

    pub(crate) fn peek(&self, slot: RouteSlot) -> &Route {
        &self.slots[usize::from(slot.0)]
    }
}

/// One target a session. A message is not sent back to `publisher` by a subscription that says no
/// local.
fn resolve(matches: &mut Matches, publisher: Option<SubscriberKey>, route: &mut Route) {
    route.targets.clear();
    route.groups.clear();
    route.groups.extend_from_slice(&matches.groups);
    matches.subscribers.sort_by_key(|subscriber| subscriber.key);
    for subscriber in &matches.subscribers {
        let no_local = subscriber.subscription.options.no_local;
        // [MQTT-3.8.3-3]
        if no_local && publisher == Some(subscriber.key) {
            continue;
        }
        match route.targets.last_mut() {
            Some(last) if last.member.key() == subscriber.key => last.merge(subscriber),
            _ => route.targets.push(Target::new(subscriber)),
        }
    }
    route.no_local = route.targets.iter().any(|target| target.no_local);
}
