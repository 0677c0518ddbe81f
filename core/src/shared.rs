//! Shared subscriptions: who of the members gets the next message.

use crate::action::DropReason;
use crate::broker::Broker;
use crate::config::SharedStrategy;
use crate::connection::Connection;
use crate::deliver::{How, Publication};
use crate::handle::publish::Origin;
use crate::id::PeerId;
use crate::route::{Member, Target};
use crate::session::SubscriptionRef;
use crate::session::queue::Delivery;
use crate::topic::{GroupId, Subscriber, TopicFilter, TopicName};
use alloc::boxed::Box;
use alloc::string::String;

/// With as many open messages a member has enough to do, however wide its window: others come
/// first, and a member that is stuck does not sit on more.
const WORK_AHEAD: u16 = 1_024;

/// How well a member can take the next message; less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    class: u8,
    open: usize,
}

impl Broker {
    /// Delivers to one member of a shared subscription. [MQTT-4.8.2-4]
    pub(crate) fn deliver_to_group(
        &mut self,
        publication: &mut Publication<'_>,
        group: GroupId,
        origin: Origin,
    ) {
        let topic = publication.view.topic;
        let Some(chosen) = self.choose_member(group, topic, origin.from_peer) else {
            return;
        };
        match Member::of(chosen.key) {
            Member::Session(slot) => {
                // Never above what that member was granted. [MQTT-4.8.2-3]
                let how = How {
                    many: false,
                    group: Some(group),
                    publisher: origin.connection,
                };
                let target = Target::new(&chosen);
                if publication.is_stub() {
                    self.deliver_stub(publication, slot, &target, how);
                } else {
                    self.deliver(publication, slot, &target, how);
                }
            }
            Member::Peer(peer) => {
                let Some(shared) = self.subscriptions.group(group) else {
                    return;
                };
                let mut filter = String::new();
                self.text(
                    SubscriptionRef {
                        filter: shared.filter(),
                        group: Some(group),
                    },
                    &mut filter,
                );
                self.route_to(publication, [PeerId(peer)].into(), [filter.into()].into());
            }
        }
    }

    /// The member whose turn it is: connected ones with room in their window before connected ones,
    /// and those before members that are away.
    fn choose_member(
        &mut self,
        group: GroupId,
        topic: &str,
        here_only: bool,
    ) -> Option<Subscriber> {
        let strategy = self.config.protocol.shared_strategy;
        let count = self.subscriptions.group(group)?.members().len();
        let start = match strategy {
            SharedStrategy::RoundRobin | SharedStrategy::Sticky => {
                self.subscriptions.group(group)?.cursor as usize
            }
            SharedStrategy::Random => self.random.below(count),
            SharedStrategy::LeastInflight => 0,
        };
        let mut best: Option<(Rank, usize)> = None;
        for step in 0..count {
            let place = (start + step) % count;
            let member = self.subscriptions.group(group)?.members()[place];
            let rank = self.rank(&member);
            if here_only && matches!(Member::of(member.key), Member::Peer(_)) {
                continue;
            }
            let holders = (&self.sessions, &self.connections);
            let member_of = Member::of(member.key);
            if self.access.is_on()
                && !self
                    .access
                    .may_route(member_of, TopicName::known(topic), holders)
            {
                continue;
            }
            if best.as_ref().is_none_or(|(known, _)| rank < *known) {
                best = Some((rank, place));
            }
            if rank.class == 0 && strategy != SharedStrategy::LeastInflight {
                break;
            }
        }
        let (_, place) = best?;
        let group = self.subscriptions.group_mut(group)?;
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
        let Member::Session(slot) = Member::of(member.key) else {
            return Rank { class: 0, open: 0 };
        };
        let Some(session) = self.sessions.at(slot) else {
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

    /// Gives a message of a shared subscription whose member is gone to another one.
    pub(crate) fn redistribute(&mut self, delivery: &Delivery, shared: &[(GroupId, Box<str>)]) {
        // What lies in the log of this shard stays here.
        let mut origin = Origin::default();
        origin.from_peer = delivery.message.is_stub();
        if let Some(group) = delivery.group() {
            let was_member = shared.binary_search_by_key(&group, |(id, _)| *id).is_ok();
            if was_member && self.subscriptions.group(group).is_some() {
                let mut publication =
                    Publication::shared(&delivery.message, delivery.was_published_retained());
                self.encoder.begin();
                return self.deliver_to_group(&mut publication, group, origin);
            }
            self.statistics.dropped[DropReason::SessionEnded as usize] += 1;
            return;
        }
        // After a restart the group is found by what it matches.
        let topic = delivery.message.view().topic;
        let Ok(name) = TopicName::new(topic) else {
            return;
        };
        for (_, text) in shared {
            let Ok(parsed) = TopicFilter::parse(text) else {
                continue;
            };
            let Some(share) = parsed.share else { continue };
            if !parsed.filter.matches(name) {
                continue;
            }
            if let Some(group) = self.subscriptions.shared(parsed.filter, share) {
                let mut publication =
                    Publication::shared(&delivery.message, delivery.was_published_retained());
                self.encoder.begin();
                return self.deliver_to_group(&mut publication, group, origin);
            }
        }
        self.statistics.dropped[DropReason::SessionEnded as usize] += 1;
    }
}
