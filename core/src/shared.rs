//! Shared subscriptions: who of the members gets the next message.

use crate::action::DropReason;
use crate::broker::Broker;
use crate::config::SharedStrategy;
use crate::connection::Connection;
use crate::deliver::{How, Publication};
use crate::handle::publish::Origin;
use crate::id::{ConnectionId, PeerId};
use crate::letter::{DeliveryId, Parcel, SharedMessage};
use crate::route::{Group, Target, peer_of};
use crate::session::queue::Delivery;
use crate::session::{Session, SubscriptionRef};
use crate::slab::Key;
use crate::tenant::TenantId;
use crate::topic::{GroupId, SharedGroup, Subscriber, TopicFilter, TopicName};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// With as many open messages a member has enough to do, however wide its window: others come
/// first, and a member that is stuck does not sit on more.
const WORK_AHEAD: u16 = 1_024;

/// How well a member can take the next message; less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    class: u8,
    open: usize,
}

/// So many members that are looked at cost as much as a delivery.
const MEMBERS_PER_DELIVERY: u32 = 8;

/// Where the next message of a group goes.
enum Place {
    Here(GroupId),
    There(PeerId),
}

/// The shards that have members of a group none of whom may have a message, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declined(u64);

crate::state::state!(Declined(bits));

impl Declined {
    const fn has(self, shard: u16) -> bool {
        self.0 & 1 << shard != 0
    }

    /// The same, and this shard.
    #[must_use]
    pub const fn with(self, shard: u16) -> Self {
        Self(self.0 | 1 << shard)
    }
}

impl Broker {
    /// Delivers to one member of a shared subscription, here or on another shard, but for those
    /// that have declined. [MQTT-4.8.2-4]
    pub(crate) fn deliver_to_group(
        &mut self,
        publication: &mut Publication<'_>,
        group: Group,
        origin: Origin,
        mut declined: Declined,
    ) {
        if let Some(exchange) = origin.exchange
            && self.has_taken(exchange, &self.group_text(publication.tenant, group))
        {
            return;
        }
        loop {
            match self.choose_place(publication.tenant, group, declined) {
                Some(Place::There(peer)) => {
                    if let Some(here) = group.here
                        && self.question.is_some()
                    {
                        self.explain_choice(publication, here, None);
                    }
                    return self.route_to_group(publication, (peer, group), origin, declined);
                }
                Some(Place::Here(here)) => {
                    if self.deliver_to_member(publication, here, origin) {
                        return;
                    }
                    declined = declined.with(self.config.identity.shard);
                }
                None => {
                    self.statistics.dropped[DropReason::NotAllowed as usize] += 1;
                    return;
                }
            }
        }
    }

    /// The same to a member here; `false` when there is none that may have it.
    pub(crate) fn deliver_to_member(
        &mut self,
        publication: &mut Publication<'_>,
        group: GroupId,
        origin: Origin,
    ) -> bool {
        let tenant = publication.tenant;
        let Some(chosen) = self.choose_member((tenant, group), publication.view.topic) else {
            return false;
        };
        if self.question.is_some() {
            self.explain_choice(publication, group, Some(chosen.key));
        }
        // Never above what that member was granted. [MQTT-4.8.2-3]
        let how = How {
            many: false,
            group: Some(group),
            publisher: origin.publisher,
        };
        let target = Target::new(&chosen);
        if publication.is_stub() {
            self.deliver_stub(publication, &target, how);
        } else {
            self.deliver(publication, &target, how);
        }
        let session = self.sessions.at(chosen.key.0);
        let lasts = session.is_some_and(Session::is_persistent);
        if let Some(moved) = origin.moved.filter(|_| lasts && self.journal.is_on()) {
            self.journal.moved(moved);
        }
        match origin.exchange {
            Some(exchange) if lasts => {
                let group = Group {
                    here: Some(group),
                    there: None,
                };
                let text = self.group_text(tenant, group);
                self.take_for_group(exchange, &text);
            }
            Some(exchange) => self.lend(exchange, publication.view.id),
            None => {}
        }
        true
    }

    /// Filter text of a group, with its `$share/` prefix.
    fn group_text(&self, tenant: TenantId, group: Group) -> String {
        let tenant = &self.tenants[tenant];
        let (index, id) = match group {
            Group { here: Some(id), .. } => (&tenant.subscriptions, id),
            Group {
                there: Some(id), ..
            } => (&tenant.interests, id),
            Group {
                here: None,
                there: None,
            } => return String::new(),
        };
        let mut text = String::from("$share/");
        if let Some(group) = index.group(id) {
            text.push_str(group.share().as_str());
            text.push('/');
            index.filter(group.filter(), &mut text);
        }
        text
    }

    fn route_to_group(
        &mut self,
        publication: &mut Publication<'_>,
        (peer, group): (PeerId, Group),
        origin: Origin,
        declined: Declined,
    ) {
        let text = self.group_text(publication.tenant, group);
        let shared = SharedMessage {
            message: publication.message(&mut self.pool),
            retain: publication.retain,
            publisher: origin.connection().map(ConnectionId::of),
            group: text.into(),
            exchange: origin.exchange,
            moved: origin.moved,
            declined,
        };
        self.tell(peer, Parcel::Shared(shared), origin.connection());
    }

    /// The shard whose turn it is. Each gets as many messages as it has members that can take
    /// them; when nobody can, one that has members gets it. How busy members are, and what they may
    /// receive, is only known where they are.
    fn choose_place(
        &mut self,
        tenant: TenantId,
        group: Group,
        declined: Declined,
    ) -> Option<Place> {
        let me = self.config.identity.shard;
        let here = group.here.filter(|_| !declined.has(me));
        let able = match group.there {
            Some(_) => here.map_or(0, |here| self.count_able(tenant, here)),
            None => 0,
        };
        let here = here.map(Place::Here);
        let interests = &mut self.tenants[tenant].interests;
        let Some(there) = group.there.and_then(|there| interests.group_mut(there)) else {
            return here;
        };
        let may_take = |member: &&Subscriber| !declined.has(peer_of(member.key).0);
        let others: u32 = there.members().iter().filter(may_take).map(present).sum();
        let total = able + others;
        if total == 0 {
            let first = there.members().iter().find(may_take);
            return here.or_else(|| first.map(|member| Place::There(peer_of(member.key))));
        }
        let mut turn = match self.config.protocol.shared_strategy {
            // The first shard that has somebody, as all shards see it.
            SharedStrategy::Sticky => {
                let peers = there.members().iter().filter(may_take);
                let peers = peers.filter(|member| present(member) > 0);
                let first = peers.map(|member| peer_of(member.key)).min();
                let first = first.filter(|peer| able == 0 || peer.0 < me);
                return first.map(Place::There).or(here);
            }
            SharedStrategy::Random => u32::try_from(self.random.below(total as usize)).unwrap_or(0),
            SharedStrategy::RoundRobin | SharedStrategy::LeastInflight => {
                there.turn = (there.turn + 1) % total;
                there.turn
            }
        };
        for member in there.members().iter().filter(may_take) {
            if turn < present(member) {
                return Some(Place::There(peer_of(member.key)));
            }
            turn -= present(member);
        }
        here
    }

    /// How many members here can take a message now.
    fn count_able(&mut self, tenant: TenantId, group: GroupId) -> u32 {
        let members = self.tenants[tenant].subscriptions.group(group);
        let members = members.map_or(&[][..], SharedGroup::members);
        let looked_at = members.len();
        let able = members.iter().filter(|member| self.rank(member).class == 0);
        let able = u32::try_from(able.count()).unwrap_or(u32::MAX);
        self.count_members(looked_at);
        able
    }

    /// So many members were looked at: that is work.
    fn count_members(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.work = self.work.saturating_add(1 + count / MEMBERS_PER_DELIVERY);
    }

    /// The member whose turn it is: connected ones with room in their window before connected ones,
    /// and those before members that are away.
    fn choose_member(
        &mut self,
        (tenant, group): (TenantId, GroupId),
        topic: &str,
    ) -> Option<Subscriber> {
        let strategy = self.config.protocol.shared_strategy;
        let subscriptions = &self.tenants[tenant].subscriptions;
        let count = subscriptions.group(group)?.members().len();
        let start = match strategy {
            SharedStrategy::RoundRobin | SharedStrategy::Sticky => {
                subscriptions.group(group)?.cursor as usize
            }
            SharedStrategy::Random => self.random.below(count),
            SharedStrategy::LeastInflight => 0,
        };
        let mut best: Option<(Rank, usize)> = None;
        let mut looked_at = 0;
        for step in 0..count {
            looked_at += 1;
            let place = (start + step) % count;
            let member = subscriptions.group(group)?.members()[place];
            let rank = self.rank(&member);
            if best.as_ref().is_some_and(|(known, _)| rank >= *known) {
                continue;
            }
            let holders = (&self.sessions, &self.connections, &self.tenants);
            let (slot, topic) = (member.key.0, TopicName::known(topic));
            if self.access.is_on() && !self.access.may_route(slot, topic, holders) {
                continue;
            }
            best = Some((rank, place));
            if rank.class == 0 && strategy != SharedStrategy::LeastInflight {
                break;
            }
        }
        self.count_members(looked_at);
        let (_, place) = best?;
        let group = self.tenants[tenant].subscriptions.group_mut(group)?;
        let member = *group.members().get(place)?;
        let next = match strategy {
            SharedStrategy::RoundRobin => (place + 1) % count,
            SharedStrategy::Sticky | SharedStrategy::Random | SharedStrategy::LeastInflight => {
                place
            }
        };
        group.cursor = u32::try_from(next).unwrap_or(0);
        Some(member)
    }

    fn rank(&self, member: &Subscriber) -> Rank {
        let Some(session) = self.sessions.at(member.key.0) else {
            return Rank { class: 3, open: 0 };
        };
        let traffic = session.traffic.as_ref();
        let open = traffic.map_or(0, |traffic| traffic.outstanding + traffic.queue.len());
        let connection = session.connection.and_then(|key| self.connections.get(key));
        let has_room =
            |connection: &Connection| open < usize::from(connection.window.min(WORK_AHEAD));
        let class = match connection {
            Some(connection) if has_room(connection) && !connection.slow => 0,
            Some(_) => 1,
            None => 2,
        };
        Rank { class, open }
    }

    /// Gives a message of a shared subscription whose member is gone to another one, of the same
    /// tenant.
    pub(crate) fn redistribute(
        &mut self,
        (session, tenant): (u64, TenantId),
        delivery: &Delivery,
        shared: &[(GroupId, Box<str>)],
    ) {
        let text = match delivery.group() {
            Some(group) => shared
                .binary_search_by_key(&group, |(id, _)| *id)
                .ok()
                .map(|place| &*shared[place].1),
            // After a restart the group is found by what it matches.
            None => matching(delivery.message.view().topic, shared)
                .find(|text| self.group_named(tenant, text).is_some()),
        };
        let group = text.and_then(|text| self.group_named(tenant, text));
        // What lies in the log of this shard stays here.
        let group = group.map(|group| Group {
            there: group.there.filter(|_| !delivery.message.is_stub()),
            ..group
        });
        let Some(group) = group else {
            self.statistics.dropped[DropReason::SessionEnded as usize] += 1;
            return;
        };
        let retain = delivery.was_published_retained();
        let message = (&delivery.message, delivery.message.view());
        let mut publication = Publication::shared(tenant, message, retain);
        let origin = Origin {
            exchange: self.lent.get(&publication.view.id).copied(),
            // On one shard it ends there in the batch in which it begins elsewhere.
            moved: (delivery.is_recorded() && !self.peers.is_alone()).then_some(DeliveryId {
                session,
                sequence: delivery.sequence,
            }),
            ..Origin::default()
        };
        self.encoder.begin();
        self.deliver_to_group(&mut publication, group, origin, Declined::default());
    }

    /// A session that may be a member of shared subscriptions has got a connection, or has lost it:
    /// the other shards are to hear how many can take messages here.
    pub(crate) fn count_present(&mut self, session: Key, comes: bool) {
        if self.peers.is_alone() {
            return;
        }
        let Some(session) = self.sessions.get(session) else {
            return;
        };
        let tenant = session.tenant;
        let groups: Vec<SubscriptionRef> = session
            .subscriptions
            .iter()
            .filter(|reference| reference.group.is_some())
            .copied()
            .collect();
        for reference in groups {
            let subscriptions = &mut self.tenants[tenant].subscriptions;
            let group = reference.group.and_then(|id| subscriptions.group_mut(id));
            let Some(group) = group else { continue };
            group.present = match comes {
                true => group.present + 1,
                false => group.present.saturating_sub(1),
            };
            if !group.is_untold {
                group.is_untold = self.peers.regroup(tenant, reference);
            }
        }
    }

    /// Tells of all groups that so many can take messages now, once in a while: each shard has
    /// heard what it was told the last time. Whoever comes and goes fills no letters.
    pub(crate) fn tell_present(&mut self) {
        while let Some((tenant, reference)) = self.peers.next_regrouped() {
            let subscriptions = &mut self.tenants[tenant].subscriptions;
            let group = reference.group.and_then(|id| subscriptions.group_mut(id));
            let Some(group) = group else { continue };
            group.is_untold = false;
            let members = u32::try_from(group.members().len()).unwrap_or(u32::MAX);
            let mut filter = String::new();
            self.text(tenant, reference, &mut filter);
            self.announce_members(tenant, filter, (members, reference.group));
        }
    }
}

/// How many members of a group can take messages on another shard.
const fn present(member: &Subscriber) -> u32 {
    member.subscription.identifier
}

/// The groups whose filter matches a topic.
fn matching<'a>(
    topic: &'a str,
    shared: &'a [(GroupId, Box<str>)],
) -> impl Iterator<Item = &'a str> {
    let name = TopicName::new(topic).ok();
    shared.iter().map(|(_, text)| &**text).filter(move |text| {
        let parsed = TopicFilter::parse(text).ok();
        name.zip(parsed)
            .is_some_and(|(name, parsed)| parsed.filter.matches(name))
    })
}
