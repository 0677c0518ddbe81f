//! Letters: what other shards say, and what is said to them.

use crate::action::{Action, DropReason};
use crate::backpressure::Publisher;
use crate::broker::Broker;
use crate::bundle::{self, Bundled, Run};
use crate::codec::packet::{QoS, SubscribeOptions};
use crate::connection::Stalls;
use crate::deliver::Publication;
use crate::gate::Gate;
use crate::handle::publish::Origin;
use crate::id::{ConnectionId, PeerId};
use crate::letter::{Interest, Letter, Parcel, RoutedMessage, SharedMessage};
use crate::peers::Receipt;
use crate::route::{Group, Indexes, peer_key};
use crate::slab::Key;
use crate::tenant::TenantId;
use crate::topic::Subscription;
use crate::topic::filter::{ParsedFilter, TopicFilter};

impl Broker {
    /// Takes a letter in, and takes note of how far its writer has come.
    pub(crate) fn handle_letter(&mut self, from: PeerId, letter: Letter) {
        let Letter {
            number,
            clock,
            confirms,
            narrowed,
            parcels,
        } = letter;
        let mark = self.journal.mark();
        let mut receipt = Receipt {
            from,
            number,
            bytes: 0,
            is_awaited: false,
        };
        // Whatever is taken in here from now on is later.
        self.sequence = self.sequence.max(clock);
        for parcel in parcels {
            receipt.bytes += parcel.cost_bytes();
            receipt.is_awaited |= parcel.must_be_kept();
            match parcel {
                Parcel::Interest(interest) => self.set_interest(from, &interest),
                Parcel::Message(routed) => self.publish_routed(from, &routed),
                Parcel::Bundle(bundle) => {
                    for run in bundle.runs() {
                        self.publish_run(from, run);
                    }
                }
                Parcel::Shared(shared) => self.publish_shared(from, shared),
                Parcel::Returned(shared) => self.publish_returned(from, &shared),
                Parcel::Completed(exchange) => {
                    self.forget_taken(exchange);
                }
                Parcel::Counts(counts) => {
                    let tenant = self.tenant_named(&counts.tenant);
                    self.tenants[tenant].elsewhere.insert(from, counts.counts);
                }
                Parcel::User(count) => self.quotas.user_is_elsewhere(from, count),
                Parcel::Gone(address) => self.quotas.left(address),
                Parcel::Hold(publisher) => self.wait_for_shard(from, publisher.key()),
                Parcel::Release(publisher) => self.go_on_for_shard(from, publisher.key()),
            }
            self.cut();
        }
        self.peers.set_clock(from, clock);
        self.retained.forget_cleared(self.peers.clock());
        match self.fanouts.back_mut() {
            Some(fanout) => fanout.await_by(receipt),
            None => {
                let position = self.position_since(mark);
                self.peers.taken(receipt, Some(position), self.durable);
            }
        }
        let kept = self.peers.kept();
        self.narrowing.hear(from, number, narrowed, kept);
        self.peers.confirmed(from, confirms);
        self.release_gated();
        for publisher in self.peers.relieved(from) {
            self.unstall(publisher, Stalls::PEER);
        }
    }

    /// The next letter, if there is one to send.
    pub(crate) fn poll_letter(&mut self) -> Option<Action> {
        let (to, number, wants_less) = self.peers.next_letter()?;
        let gate = wants_less.then(|| self.narrowing_gate()).flatten();
        let narrowed = self.narrowing.say(to, number, gate);
        let letter = self.peers.write_letter(to, self.sequence, narrowed)?;
        Some(Action::Route { to, letter })
    }

    /// What another shard took in is for the subscribers of this one, and retained here as there.
    fn publish_routed(&mut self, from: PeerId, routed: &RoutedMessage) {
        let view = routed.message.view();
        self.peers.saw(from, view.id);
        let skip_slots = self.taken_slots(routed.exchange);
        let ours = self.placement.slots_of(self.config.identity.shard);
        if skip_slots & ours == ours {
            return;
        }
        let tenant = self.tenant_named(view.tenant);
        let mut publication = Publication::shared(tenant, (&routed.message, view), routed.retain);
        self.recall_route(from, &mut publication);
        if routed.kept {
            self.keep_routed(&mut publication, routed.author);
        }
        let origin = Origin {
            publisher: Publisher::there(from, routed.publisher),
            from_peer: true,
            exchange: routed.exchange,
            skip_slots,
            ..Origin::default()
        };
        self.publish(&mut publication, origin);
        if let Some(exchange) = routed.exchange {
            self.take(exchange);
        }
    }

    /// Those of a bundle are for the subscribers only: they are neither retained nor part of an
    /// exchange.
    fn publish_run(&mut self, from: PeerId, run: Run<'_>) {
        let Bundled {
            view,
            retain,
            publisher,
        } = run.common;
        let tenant = self.tenant_named(view.tenant);
        let origin = Origin {
            publisher: Publisher::there(from, publisher),
            from_peer: true,
            ..Origin::default()
        };
        let mut views = run.views();
        while let Some(view) = views.next() {
            self.peers.saw(from, view.id);
            let mut publication = Publication::new(tenant, view, retain);
            self.recall_route(from, &mut publication);
            self.publish(&mut publication, origin);
            self.cut();
            // A question is answered message by message.
            if self.question.is_some() {
                continue;
            }
            // Mostly all others go by the same route at once: nothing changes subscriptions before
            // the letter is taken in, and who has to go meanwhile goes later.
            let Some(slot) = publication.route else {
                continue;
            };
            let serial = self.routes.peek(slot).serial;
            let Some(recipients) = self.routes.take(slot) else {
                continue;
            };
            while !self.must_wait(origin)
                && let Some(view) = views.next()
            {
                self.peers.saw(from, view.id);
                let mut publication = Publication::new(tenant, view, retain);
                self.walk(&mut publication, &recipients, origin);
                self.cut();
            }
            debug_assert_eq!(
                self.routes.peek(slot).serial,
                serial,
                "it is still that route"
            );
            self.routes.put_back(slot, recipients);
        }
    }

    /// Many messages of a peer in a row go to one topic.
    fn recall_route(&mut self, from: PeerId, publication: &mut Publication<'_>) {
        let topic = publication.view.topic;
        let indexes = Indexes::of(&self.tenants, publication.tenant);
        publication.route = self
            .routes
            .recall(self.peers.route(from), topic, indexes)
            .or_else(|| self.routes.known(topic, indexes));
        if let Some(route) = publication.route {
            self.peers.went_by(from, route);
        }
    }

    /// One member of a shared subscription gets it. When none is left here that may, it goes back:
    /// who sent it knows who else there is.
    fn publish_shared(&mut self, from: PeerId, shared: SharedMessage) {
        if shared
            .exchange
            .is_some_and(|exchange| self.has_taken(exchange, &shared.group))
        {
            return;
        }
        let view = shared.message.view();
        let tenant = self.tenant_named(view.tenant);
        let group = self.group_named(tenant, &shared.group);
        let Some(here) = group.and_then(|group| group.here) else {
            self.tell(from, Parcel::Returned(shared), None);
            return;
        };
        let mut publication = Publication::shared(tenant, (&shared.message, view), shared.retain);
        self.encoder.begin();
        let origin = Origin {
            publisher: Publisher::there(from, shared.publisher),
            exchange: shared.exchange,
            moved: shared.moved,
            ..Origin::default()
        };
        if !self.deliver_to_member(&mut publication, here, origin) {
            let declined = shared.declined.with(self.config.identity.shard);
            let shared = SharedMessage { declined, ..shared };
            self.tell(from, Parcel::Returned(shared), None);
        }
    }

    /// Another shard had nobody left for it: somebody else gets it. Who waits for that shard waits
    /// for that as well.
    fn publish_returned(&mut self, from: PeerId, shared: &SharedMessage) {
        let view = shared.message.view();
        let tenant = self.tenant_named(view.tenant);
        let Some(group) = self.group_named(tenant, &shared.group) else {
            self.statistics.dropped[DropReason::SessionEnded as usize] += 1;
            return;
        };
        let mut publication = Publication::shared(tenant, (&shared.message, view), shared.retain);
        self.encoder.begin();
        let origin = Origin {
            publisher: shared.publisher.map(|id| Publisher::Here(id.key())),
            exchange: shared.exchange,
            moved: shared.moved,
            ..Origin::default()
        };
        self.deliver_to_group(&mut publication, group, origin, shared.declined);
        let until = Gate {
            position: self.journal.latest(),
            letter: self.peers.latest(),
            ..Gate::default()
        };
        self.peers.hold_for_returned(from, until);
    }

    /// The group of a tenant with this filter text.
    pub(crate) fn group_named(&self, tenant: TenantId, text: &str) -> Option<Group> {
        let parsed = TopicFilter::parse(text).ok()?;
        let share = parsed.share?;
        let tenant = &self.tenants[tenant];
        let group = Group {
            here: tenant.subscriptions.shared(parsed.filter, share),
            there: tenant.interests.shared(parsed.filter, share),
        };
        (group.here.is_some() || group.there.is_some()).then_some(group)
    }

    /// Takes note of what another shard wants.
    fn set_interest(&mut self, peer: PeerId, interest: &Interest) {
        let Ok(ParsedFilter { filter, share }) = TopicFilter::parse(&interest.filter) else {
            return;
        };
        let key = peer_key(peer);
        // Whatever QoS a message has, the peer decides what its subscribers get.
        let subscription = Subscription {
            options: SubscribeOptions {
                maximum_qos: QoS::ExactlyOnce,
                retain_as_published: true,
                ..SubscribeOptions::default()
            },
            // Of a group: how many of its members there can take messages now.
            identifier: interest.present,
        };
        let tenant = self.tenant_named(interest.tenant.as_deref().unwrap_or_default());
        let interests = &mut self.tenants[tenant].interests;
        match (share, interest.members) {
            (None, 0) => {
                interests.remove(filter, key);
            }
            (None, _) => {
                interests.insert(filter, key, subscription);
            }
            (Some(share), 0) => {
                interests.remove_shared(filter, share, key);
            }
            (Some(share), _) => {
                interests.insert_shared(filter, share, key, subscription);
            }
        }
        self.count_filters(tenant);
    }

    /// Tells all other shards what this one wants.
    pub(crate) fn announce(&mut self, interest: &Interest) {
        for peer in self.peers.all() {
            self.peers.tell(peer, Parcel::Interest(interest.clone()));
        }
    }

    /// Routes a message to other shards.
    pub(crate) fn route(
        &mut self,
        publication: &mut Publication<'_>,
        peers: &[PeerId],
        origin: Origin,
    ) {
        for peer in peers {
            self.route_to(*peer, publication, origin);
        }
    }

    /// The same to all of them.
    pub(crate) fn route_everywhere(&mut self, publication: &mut Publication<'_>, origin: Origin) {
        for peer in self.peers.all() {
            self.route_to(peer, publication, origin);
        }
    }

    fn route_to(&mut self, peer: PeerId, publication: &mut Publication<'_>, origin: Origin) {
        let connection = origin.connection();
        let (view, retain) = (publication.view, publication.retain);
        let publisher = connection.map(ConnectionId::of);
        let is_plain = !publication.kept && origin.exchange.is_none();
        let has_room = if is_plain && bundle::is_small(&view) {
            let bundled = Bundled {
                view,
                retain,
                publisher,
            };
            self.peers.bundle(peer, &bundled)
        } else {
            let routed = RoutedMessage {
                message: publication.message(&mut self.pool),
                retain,
                kept: publication.kept,
                author: publication.kept.then(|| self.author(origin)).flatten(),
                publisher,
                exchange: origin.exchange,
            };
            self.peers.tell(peer, Parcel::Message(routed))
        };
        if !has_room {
            self.wait_for_room(peer, connection);
        }
    }

    /// Adds something to the next letter to a peer. Does not read its publisher any further while
    /// too much is on its way there.
    pub(crate) fn tell(&mut self, peer: PeerId, parcel: Parcel, publisher: Option<Key>) {
        if !self.peers.tell(peer, parcel) {
            self.wait_for_room(peer, publisher);
        }
    }

    fn wait_for_room(&mut self, peer: PeerId, publisher: Option<Key>) {
        let Some(publisher) = publisher else {
            return;
        };
        let waits = |stalls: Stalls| stalls.has(Stalls::PEER);
        if self
            .connections
            .get(publisher)
            .is_some_and(|c| !waits(c.stalls))
        {
            self.peers.wait_for(peer, publisher);
            self.stall(publisher, Stalls::PEER);
        }
    }
}
