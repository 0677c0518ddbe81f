//! PUBLISH, and every other way in which a message comes in: wills, and other shards.

use crate::action::{CloseReason, PublishRefusal};
use crate::backpressure::Publisher;
use crate::broker::Broker;
use crate::codec::packet::{Publish, QoS};
use crate::codec::property::Properties;
use crate::codec::reason::ReasonCode;
use crate::connection::Stalls;
use crate::deliver::{How, Publication};
use crate::error::Violation;
use crate::gate::{AckKind, Gate};
use crate::id::{MessageId, PacketId};
use crate::letter::{DeliveryId, ExchangeId};
use crate::message::{Message, MessageView};
use crate::peers::Receipt;
use crate::placement::Placement;
use crate::retained::Author;
use crate::route::{Group, Indexes, Recipients, RouteSlot, Target};
use crate::session::Session;
use crate::shared::Declined;
use crate::slab::Key;
use crate::tenant::TenantId;
use crate::time::{Timestamp, UnixTime};
use crate::timer::TimerKey;
use crate::topic::name::TopicName;
use crate::will::Will;
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// Retained messages that end with one turn of their timer.
const RETAINED_PER_TIMER: usize = 16;

/// Where a message goes.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    pub(super) tenant: TenantId,
    pub(super) topic: TopicName<'a>,
    /// Of this topic in this tenant, if one is known that holds.
    pub(super) route: Option<RouteSlot>,
}

/// Where a message comes from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Origin {
    /// Who can be asked to wait.
    pub(crate) publisher: Option<Publisher>,
    /// The slot of the session that published it.
    pub(crate) session: Option<u32>,
    /// It comes from another shard: it is not routed on.
    pub(crate) from_peer: bool,
    /// It is a will: the log had room for it before its time came.
    pub(crate) is_will: bool,
    /// The exchange by which it came in, when shards have to remember that they have it.
    pub(crate) exchange: Option<ExchangeId>,
    /// Sessions with these slots have it already.
    pub(crate) skip_slots: u64,
    /// What it was for a session that has ended.
    pub(crate) moved: Option<DeliveryId>,
}

/// A fan-out that was too large for one step, or a message published while one was.
pub(crate) struct Fanout {
    tenant: TenantId,
    message: Message,
    retain: bool,
    kept: bool,
    origin: Origin,
    /// What is left to deliver to; `None` when it was not routed yet.
    targets: Option<Vec<Target>>,
    done: usize,
    then: Then,
}

/// Who hears that a fan-out is done.
#[derive(Default)]
pub(crate) struct Then {
    /// Its publisher.
    ack: Option<(Key, AckKind, PacketId)>,
    /// Other shards whose letters were taken in meanwhile.
    receipts: Vec<Receipt>,
}

impl Origin {
    /// The connection of this shard that it came by.
    pub(crate) fn connection(self) -> Option<Key> {
        self.publisher.and_then(Publisher::connection)
    }

    /// Whether the session in this slot has published it.
    pub(crate) fn is_from(self, slot: u32) -> bool {
        self.session == Some(slot)
    }
}

impl Fanout {
    /// A session has ended: its slot may go to another one, which must not get what is left.
    pub(crate) fn forget(&mut self, slot: u32) {
        if let Some(targets) = self.targets.as_mut() {
            targets.drain(..core::mem::take(&mut self.done));
            targets.retain(|target| target.slot != slot);
        }
    }

    /// Whether the log was told nothing yet that means this was taken in: it can come again.
    fn is_unsaid(&self) -> bool {
        self.targets.is_none() && self.origin.from_peer && self.origin.exchange.is_none()
    }

    /// Another shard hears when it is done, and with it all before it.
    pub(crate) fn await_by(&mut self, receipt: Receipt) {
        self.then.receipts.push(receipt);
    }
}

/// What is known of a QoS 1 or 2 message by its identifier.
struct Arrival {
    /// How it is acknowledged.
    kind: AckKind,
    /// It was taken in before.
    was_received: bool,
    /// Some of its client were refused, perhaps this one.
    has_refusals: bool,
    /// The exchange by which it comes in, when shards have to remember that they have it.
    exchange: Option<ExchangeId>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routed {
    /// It is with everybody who gets it.
    Done,
    /// Nobody wanted it.
    Unmatched,
    /// The rest follows in later steps; so must its acknowledgement.
    Later,
}

impl Broker {
    pub(crate) fn handle_publish(
        &mut self,
        key: Key,
        session: Key,
        publish: &Publish<'_>,
    ) -> Result<(), Violation> {
        self.statistics.publishes_received += 1;
        if !self.take_publish(key, publish) {
            self.doom(key, CloseReason::PublishRate);
            return Ok(());
        }
        let protocol = &self.config.protocol;
        if publish.qos > protocol.maximum_qos {
            return Err(Violation::QoSNotSupported); // [MQTT-3.2.2-11]
        }
        if publish.retain && !protocol.retain_available {
            return Err(Violation::RetainNotSupported); // [MQTT-3.2.2-14]
        }
        if publish.properties.is_empty() {
            return self.take_meant(key, session, publish);
        }
        let mut alias_text = core::mem::take(&mut self.alias_text);
        let result = match self.topic_of(key, publish, &mut alias_text) {
            Ok(topic) => self.take_meant(key, session, &Publish { topic, ..*publish }),
            Err(violation) => Err(violation),
        };
        self.alias_text = alias_text;
        result
    }

    /// Takes it in under the topic that its publisher means by the one that it says.
    fn take_meant(
        &mut self,
        key: Key,
        session: Key,
        publish: &Publish<'_>,
    ) -> Result<(), Violation> {
        match self.meant_by(key, publish.topic) {
            Cow::Borrowed(_) => self.take_in(key, session, publish),
            Cow::Owned(topic) => {
                let topic = &*topic;
                self.take_in(key, session, &Publish { topic, ..*publish })
            }
        }
    }

    /// The topic name, be it said or meant by an alias.
    fn topic_of<'a>(
        &mut self,
        key: Key,
        publish: &Publish<'a>,
        alias_text: &'a mut String,
    ) -> Result<&'a str, Violation> {
        self.check_user_properties(publish.properties)?;
        // A subscription identifier is for the server to send. [MQTT-3.3.4-6]
        if publish.properties.subscription_identifier().is_some() {
            return Err(Violation::PropertyValue);
        }
        let Some(alias) = publish.properties.topic_alias() else {
            return Ok(publish.topic);
        };
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok(publish.topic);
        };
        let maximum = self.config.protocol.topic_alias_maximum;
        let aliases = &mut connection.extra().inbound;
        let topic = aliases.resolve(publish.topic, alias, maximum)?;
        alias_text.clear();
        alias_text.push_str(topic);
        Ok(alias_text)
    }

    pub(crate) fn check_user_properties(
        &self,
        properties: Properties<'_>,
    ) -> Result<(), Violation> {
        let maximum = usize::from(self.config.limits.user_properties_maximum);
        if properties.user_property_count() > maximum {
            return Err(Violation::UserProperties);
        }
        Ok(())
    }

    /// A topic name inside the limits. Names that have a route were checked when it was found.
    pub(super) fn checked_topic<'a>(&self, topic: &'a str) -> Result<TopicName<'a>, Violation> {
        let name = TopicName::new(topic).map_err(|_| Violation::TopicName)?; // [MQTT-3.3.2-2]
        let limits = &self.config.limits;
        let fits = topic.len() <= usize::from(limits.topic_bytes_maximum)
            && name.level_count() <= usize::from(limits.topic_levels_maximum);
        if fits {
            Ok(name)
        } else {
            Err(Violation::TopicSize)
        }
    }

    /// The same in the tenant of a connection, and its route if there is one that holds: then the
    /// name was checked when that was found.
    fn destination<'a>(&self, key: Key, topic: &'a str) -> Result<Destination<'a>, Violation> {
        let routes = &self.routes;
        let (tenant, last) = self
            .connections
            .get(key)
            .map_or_else(Default::default, |c| (c.tenant, c.route));
        let index = Indexes::of(&self.tenants, tenant);
        let route = routes
            .recall(last, topic, index)
            .or_else(|| routes.known(topic, index));
        let topic = match route {
            Some(_) => TopicName::known(topic),
            None => self.checked_topic(topic)?,
        };
        Ok(Destination {
            tenant,
            topic,
            route,
        })
    }

    fn take_in(&mut self, key: Key, session: Key, publish: &Publish<'_>) -> Result<(), Violation> {
        let to = self.destination(key, publish.topic)?;
        // QoS 0 is not answered, QoS 1 with PUBACK, QoS 2 with PUBREC. [MQTT-3.3.4-1]
        let Some(packet_id) = publish.packet_id else {
            return self.take_in_unacknowledged(key, session, (&to, publish));
        };
        let Some(arrival) = self.count_in(key, session, (publish.qos, packet_id))? else {
            return Ok(());
        };
        let Arrival { kind, exchange, .. } = arrival;
        if arrival.was_received && !exchange.is_some_and(|exchange| self.was_interrupted(exchange))
        {
            // Acknowledged again, delivered once. [MQTT-4.3.3-10]
            let gate = self.message_gate_everywhere();
            self.acknowledge(key, gate, (kind, packet_id, ReasonCode::SUCCESS));
            return Ok(());
        }
        // Its identifier is not kept: the next message with it is a new one. [MQTT-4.3.3-9]
        // Who cannot hear of a refusal is disconnected, and what comes behind is not looked at: it
        // sends both again, in order, and what has room by then is taken in.
        let hears = self
            .connections
            .get(key)
            .is_some_and(|c| c.profile.hears_refusals());
        let refused_before = match arrival.has_refusals && hears {
            true => self.was_refused(session, (packet_id, to.topic), publish),
            false => None,
        };
        let refusal = refused_before.or_else(|| self.refusal(key, &to, publish));
        let lacks_room = refusal.is_some_and(PublishRefusal::is_want_of_room);
        // Some have it: were it refused for now, they would not know it when it comes again.
        let has_part = exchange.is_some_and(|exchange| self.was_interrupted(exchange));
        if let Some(why) = refusal.filter(|_| !(has_part && lacks_room)) {
            if refused_before.is_none() && lacks_room && hears {
                self.note_refusal(session, (packet_id, to.topic), publish);
            }
            if self.question.is_some() {
                self.explain_refusal(key, to.topic.as_str(), why.reason_code());
            }
            let gate = exchange.and_then(|exchange| self.forget_received(session, exchange));
            self.refuse_publish(key, gate, (kind, packet_id, to.topic), why);
            return Ok(());
        }
        let mark = self.mark();
        if arrival.has_refusals {
            self.seal_refusals(session);
        }
        if kind == AckKind::PubRec
            && let Some(session) = self.sessions.get_mut(session)
        {
            session.traffic().received.insert(packet_id);
            if self.journal.is_on() && session.is_persistent() {
                self.journal.received(session.number, packet_id);
            }
        }
        let origin = Origin {
            publisher: Some(Publisher::Here(key)),
            session: Some(session.index),
            exchange,
            skip_slots: self.taken_slots(exchange),
            ..Origin::default()
        };
        let routed = self.publish_packet(&to, publish, origin);
        if let Some(exchange) = exchange
            && (routed == Routed::Later || self.has_told(mark) || self.was_interrupted(exchange))
        {
            self.take(exchange);
        }
        if routed == Routed::Later {
            if let Some(fanout) = self.fanouts.back_mut() {
                fanout.then.ack = Some((key, kind, packet_id));
            }
            return Ok(());
        }
        let reason = match routed {
            Routed::Unmatched if hears => ReasonCode::NO_MATCHING_SUBSCRIBERS,
            Routed::Done | Routed::Unmatched | Routed::Later => ReasonCode::SUCCESS,
        };
        // What is retained may be so by an earlier message that the log has not written yet.
        let gate = match publish.retain {
            true => self.message_gate_everywhere(),
            false => self.gate_since(mark),
        };
        // [MQTT-4.3.2-4] [MQTT-4.3.3-8]
        self.acknowledge(key, gate, (kind, packet_id, reason));
        Ok(())
    }

    /// A message that was taken in only partly, by an earlier life of the broker, is refused now:
    /// what remembers it would take the next one under its identifier for it. Its client must not
    /// hear before all have forgotten.
    fn forget_received(&mut self, session: Key, exchange: ExchangeId) -> Option<Gate> {
        let traffic = self.sessions.get_mut(session).map(Session::traffic);
        let was_received = traffic.is_some_and(|t| t.received.remove(exchange.packet_id));
        if was_received && self.journal.is_on() {
            self.journal.completed(exchange.session, exchange.packet_id);
        }
        let was_taken = self.complete_exchange(exchange);
        let gate = self.latest_gate_everywhere();
        gate.filter(|_| was_received || was_taken)
    }

    /// Whether an earlier life of the broker may have left a message with some shards only.
    pub(crate) fn was_interrupted(&self, exchange: ExchangeId) -> bool {
        self.taken
            .get(&exchange)
            .is_some_and(|taken| taken.is_restored)
    }

    fn take_in_unacknowledged(
        &mut self,
        key: Key,
        session: Key,
        (to, publish): (&Destination<'_>, &Publish<'_>),
    ) -> Result<(), Violation> {
        let refusal = self.refusal(key, to, publish);
        if let Some(why) = refusal
            && self.question.is_some()
        {
            self.explain_refusal(key, to.topic.as_str(), why.reason_code());
        }
        match refusal {
            Some(PublishRefusal::PayloadFormat) => Err(Violation::PayloadFormat),
            Some(_) => {
                self.statistics.publishes_refused += 1;
                Ok(())
            }
            None => {
                let origin = Origin {
                    publisher: Some(Publisher::Here(key)),
                    session: Some(session.index),
                    ..Origin::default()
                };
                self.publish_packet(to, publish, origin);
                Ok(())
            }
        }
    }

    /// Counts a QoS 1 or 2 message against the receive maximum, and says what is known of it.
    fn count_in(
        &mut self,
        key: Key,
        session: Key,
        (qos, packet_id): (QoS, PacketId),
    ) -> Result<Option<Arrival>, Violation> {
        let counts_taken = self.counts_taken();
        let maximum = self.config.protocol.receive_maximum;
        let connection = self.connections.get_mut(key);
        let (Some(connection), Some(session)) = (connection, self.sessions.get(session)) else {
            return Ok(None);
        };
        let traffic = session.traffic.as_ref();
        let is_qos2 = qos == QoS::ExactlyOnce;
        let arrival = Arrival {
            kind: if is_qos2 {
                AckKind::PubRec
            } else {
                AckKind::PubAck
            },
            was_received: is_qos2 && traffic.is_some_and(|t| t.received.contains(packet_id)),
            has_refusals: traffic.is_some_and(|t| t.refusals.is_some()),
            exchange: (is_qos2 && counts_taken && session.is_persistent()).then_some(ExchangeId {
                session: session.number,
                packet_id,
            }),
        };
        if !arrival.was_received {
            // [MQTT-3.3.4-7]
            if connection.unacknowledged >= maximum && connection.profile.has_receive_maximum() {
                return Err(Violation::ReceiveMaximum);
            }
            connection.unacknowledged = connection.unacknowledged.saturating_add(1);
        }
        Ok(Some(arrival))
    }

    #[inline]
    pub(super) fn view<'a>(
        &self,
        tenant: Option<&'a str>,
        topic: TopicName<'a>,
        (publish, properties): (&Publish<'a>, &'a [u8]),
    ) -> MessageView<'a> {
        let expires_at = match publish.properties.message_expiry_interval() {
            Some(seconds) => self.clock.wall().after_s(u64::from(seconds)),
            None => UnixTime::MAX,
        };
        MessageView {
            id: MessageId {
                origin: self.origin,
                sequence: self.sequence,
            },
            qos: publish.qos,
            expires_at,
            tenant: tenant.unwrap_or_default(),
            topic: topic.as_str(),
            properties,
            payload: publish.payload,
        }
    }

    fn publish_packet(
        &mut self,
        to: &Destination<'_>,
        publish: &Publish<'_>,
        origin: Origin,
    ) -> Routed {
        self.sequence += 1;
        let mut forwarded = Vec::new();
        if !publish.properties.is_empty() {
            forwarded = core::mem::take(&mut self.forwarded);
            forwarded.clear();
            // Unaltered and in order: see `Properties::forwardable`.
            publish.properties.forwardable(&mut forwarded);
        }
        let name = self.tenants.name(to.tenant);
        let view = self.view(name.as_deref(), to.topic, (publish, &forwarded));
        let mut publication = Publication::new(to.tenant, view, publish.retain);
        publication.route = to.route;
        let routed = self.publish(&mut publication, origin);
        if !publish.properties.is_empty() {
            self.forwarded = forwarded;
        }
        routed
    }

    /// Publishes the will of a session.
    pub(crate) fn publish_own(
        &mut self,
        session: Key,
        will: &Will,
        exchange: Option<ExchangeId>,
    ) -> Routed {
        let Ok(topic) = self.checked_topic(&will.topic) else {
            return Routed::Unmatched;
        };
        if !self.may_publish_will(session, topic) {
            self.statistics.publishes_refused += 1;
            return Routed::Unmatched;
        }
        let tenant = self
            .sessions
            .get(session)
            .map_or(TenantId::DEFAULT, |session| session.tenant);
        let name = self.tenants.name(tenant);
        self.sequence += 1;
        let expires_at = match will.message_expiry_s {
            Some(seconds) => self.clock.wall().after_s(u64::from(seconds)),
            None => UnixTime::MAX,
        };
        let view = MessageView {
            id: MessageId {
                origin: self.origin,
                sequence: self.sequence,
            },
            qos: will.qos,
            expires_at,
            tenant: name.as_deref().unwrap_or_default(),
            topic: &will.topic,
            properties: &will.properties,
            payload: &will.payload,
        };
        // Retained or not as the will says. [MQTT-3.1.2-14] [MQTT-3.1.2-15]
        let mut publication = Publication::new(tenant, view, will.retain);
        let origin = Origin {
            is_will: true,
            exchange,
            skip_slots: self.taken_slots(exchange),
            ..Origin::default()
        };
        self.publish(&mut publication, origin)
    }

    /// Keeps it if it is to be retained, and brings it to everybody it is for.
    pub(crate) fn publish(&mut self, publication: &mut Publication<'_>, origin: Origin) -> Routed {
        // [MQTT-3.3.1-8]
        let is_kept_already = origin.skip_slots != 0
            && origin.skip_slots & Placement::topic_bit(publication.view.topic) != 0;
        if publication.retain && !origin.from_peer && !is_kept_already {
            publication.kept = self.retain(publication, origin);
        }
        if self.must_wait(origin) {
            self.put_off(publication, origin, None);
            return Routed::Later;
        }
        self.fan_out(publication, origin)
    }

    /// Whether a message has to wait, for those before it or for the next turn.
    pub(super) fn must_wait(&self, origin: Origin) -> bool {
        // What other shards send is not left in an inbox when the turn has cost enough.
        !self.fanouts.is_empty() || origin.from_peer && self.has_worked_enough()
    }

    /// Whether it is retained now, or has cleared what was.
    fn retain(&mut self, publication: &mut Publication<'_>, origin: Origin) -> bool {
        let clears = publication.view.payload.is_empty();
        // What some shards have is not refused: it is acknowledged, and so that it is retained.
        let is_owed = origin
            .exchange
            .is_some_and(|exchange| self.was_interrupted(exchange));
        let lacks = if clears || is_owed {
            None
        } else if !origin.is_will && self.must_spare_storage() {
            Some(PublishRefusal::Storage)
        } else {
            self.retained_shortage(publication.tenant, &publication.view)
        };
        let Some(why) = lacks else {
            self.keep(publication, self.author(origin));
            return true;
        };
        self.statistics.retained_refused += 1;
        if let Some(key) = origin.connection() {
            self.tell_refused(key, publication.view.topic, why, true);
        }
        false
    }

    /// Retains it, or clears what was retained before. One shard tells the log of a topic.
    fn keep(&mut self, publication: &mut Publication<'_>, author: Option<Author>) {
        let (tenant, topic) = (publication.tenant, publication.view.topic);
        let records = self.journal.is_on() && self.records_retained(topic);
        if publication.view.payload.is_empty() {
            // An empty payload clears, and is not kept itself. [MQTT-3.3.1-6] [MQTT-3.3.1-7]
            let old = self.retained.clear(tenant, topic);
            if let Some(old) = old.filter(|_| records) {
                self.journal.retained_cleared(&old);
            }
            self.bury(tenant, topic, publication.view.id);
        } else {
            let message = publication.message(&mut self.pool);
            let old = self.retained.set(tenant, message.clone(), author);
            if records {
                self.journal.retained((&message, author), old.as_ref());
            }
        }
        self.arm_retained();
    }

    /// Whose message it is, if a client of this shard publishes it.
    pub(crate) fn author(&self, origin: Origin) -> Option<Author> {
        let session = self.sessions.at(origin.session?)?;
        Author::of(&session.client_id)
    }

    /// What another shard retains or clears; unless something later was retained or cleared there.
    pub(crate) fn keep_routed(
        &mut self,
        publication: &mut Publication<'_>,
        author: Option<Author>,
    ) {
        let (topic, id) = (publication.view.topic, publication.view.id);
        if !self.retained.has_later(publication.tenant, topic, id) {
            self.keep(publication, author);
        }
    }

    /// Whether this shard tells the log what is retained for a topic.
    pub(crate) fn records_retained(&self, topic: &str) -> bool {
        self.placement.of_topic(topic) == self.config.identity.shard
    }

    /// Nothing is retained for a topic any more, since this message. What others retained before
    /// may still be on its way.
    fn bury(&mut self, tenant: TenantId, topic: &str, id: MessageId) {
        if !self.peers.is_alone() {
            self.retained.bury(tenant, topic, id);
            self.peers.tell_clock();
        }
    }

    /// The disk is nearly full, and sessions and what is retained are kept there.
    pub(crate) const fn must_spare_storage(&self) -> bool {
        self.storage_is_full && self.journal.is_on()
    }

    fn arm_retained(&mut self) {
        let at = self
            .retained
            .next_expiry()
            .map_or(UnixTime::MAX, |(at, ..)| at);
        let at = self.clock.monotonic(at);
        self.timers
            .arm(TimerKey::Retained, &mut self.retained_armed, at);
    }

    /// Forgets retained messages whose time has passed.
    pub(crate) fn expire_retained(&mut self) {
        self.retained_armed = Timestamp::MAX;
        let wall = self.clock.wall();
        // A few at a time: the timer comes again as long as there are more.
        for _ in 0..RETAINED_PER_TIMER {
            let Some((at, tenant, message)) = self.retained.next_expiry() else {
                break;
            };
            if at > wall {
                break;
            }
            let message = message.clone();
            self.retained.clear(tenant, message.topic_str());
            if self.journal.is_on() && self.records_retained(message.topic_str()) {
                self.journal.retained_cleared(&message);
                self.cut();
            }
            if message.view().id.boot_epoch() == self.config.identity.boot_epoch {
                self.bury(tenant, message.topic_str(), message.view().id);
            }
        }
        self.arm_retained();
    }

    /// Brings a message to every session with a matching subscription. [MQTT-4.5.0-1]
    fn fan_out(&mut self, publication: &mut Publication<'_>, origin: Origin) -> Routed {
        if self.question.is_none() {
            return self.bring(publication, origin);
        }
        self.explain_begin(&publication.view);
        let routed = self.bring(publication, origin);
        self.explain_end((publication.tenant, publication.view.topic), origin);
        routed
    }

    fn bring(&mut self, publication: &mut Publication<'_>, origin: Origin) -> Routed {
        let topic = publication.view.topic;
        let indexes = Indexes::of(&self.tenants, publication.tenant);
        let known = publication
            .route
            .or_else(|| self.routes.known(topic, indexes));
        let slot = match known {
            Some(slot) => slot,
            None => {
                let Ok(name) = TopicName::new(topic) else {
                    return Routed::Unmatched;
                };
                let access = &self.access;
                let holders = (&self.sessions, &self.connections, &self.tenants);
                let may_receive = |slot| access.may_route(slot, name, holders);
                self.routes.find(name, indexes, may_receive)
            }
        };
        publication.route = Some(slot);
        let connection = origin.connection();
        if let Some(connection) = connection.and_then(|key| self.connections.get_mut(key)) {
            connection.route = slot;
        }
        if let Some(publisher) = origin.session
            && self.routes.peek(slot).hides_from(publisher)
            && self.has_options_of(publisher)
            && let Ok(name) = TopicName::new(topic)
        {
            let access = &self.access;
            let holders = (&self.sessions, &self.connections, &self.tenants);
            let may_receive = |slot| access.may_route(slot, name, holders);
            let routes = &mut self.routes;
            let recipients = routes.without_local(name, indexes, publisher, may_receive);
            return self.walk(publication, &recipients, origin);
        }
        let Some(recipients) = self.routes.take(slot) else {
            return Routed::Unmatched; // It was found just now.
        };
        let routed = self.walk(publication, &recipients, origin);
        self.routes.put_back(slot, recipients);
        routed
    }

    /// Delivers to all recipients: shards and groups at once, sessions in steps.
    pub(super) fn walk(
        &mut self,
        publication: &mut Publication<'_>,
        recipients: &Recipients,
        origin: Origin,
    ) -> Routed {
        let Recipients {
            targets,
            peers,
            groups,
            cost,
        } = recipients;
        self.encoder.begin();
        self.work = self.work.saturating_add(*cost);
        if !origin.from_peer {
            if recipients.is_empty() {
                self.statistics.publishes_unmatched += 1;
            }
            // What is retained is so everywhere.
            if publication.kept {
                self.route_everywhere(publication, origin);
            } else if !peers.is_empty() {
                self.route(publication, peers, origin);
            }
        }
        publication.is_for_one = targets.len() == 1 && groups.is_empty();
        let step = self.config.limits.fanout_step as usize;
        let (now, later) = targets.split_at(step.min(targets.len()));
        self.deliver_all(publication, now, origin, targets.len() > 1);
        // Groups of a routed message were served where it came in.
        if !origin.from_peer {
            self.serve_groups(publication, groups, origin);
        }
        if !later.is_empty() {
            self.put_off(publication, origin, Some(later.to_vec()));
            return Routed::Later;
        }
        if recipients.is_empty() {
            Routed::Unmatched
        } else {
            Routed::Done
        }
    }

    fn deliver_all(
        &mut self,
        publication: &mut Publication<'_>,
        targets: &[Target],
        origin: Origin,
        many: bool,
    ) {
        let how = How {
            many,
            group: None,
            publisher: origin.publisher,
        };
        for target in targets {
            if origin.skip_slots == 0 || !self.has_slot_in(target.slot, origin.skip_slots) {
                self.deliver(publication, target, how);
            }
        }
    }

    /// Whether the slot of a session is among these.
    fn has_slot_in(&self, session: u32, slots: u64) -> bool {
        let session = self.sessions.at(session);
        session.is_some_and(|session| Placement::client_bit(&session.client_id) & slots != 0)
    }

    /// Keeps the rest of a fan-out for later steps, and does not read its publisher until then.
    fn put_off(
        &mut self,
        publication: &mut Publication<'_>,
        origin: Origin,
        targets: Option<Vec<Target>>,
    ) {
        let message = publication.message(&mut self.pool);
        self.fanouts.push_back(Fanout {
            tenant: publication.tenant,
            message,
            retain: publication.retain,
            kept: publication.kept,
            origin,
            targets,
            done: 0,
            then: Then::default(),
        });
        if let Some(key) = origin.connection() {
            self.await_fanouts(key);
        }
    }

    /// Does not read a publisher until all fan-outs are done.
    pub(crate) fn await_fanouts(&mut self, key: Key) {
        self.fanout_publishers.push(key);
        self.stall(key, Stalls::FANOUT);
    }

    /// One more step of the fan-outs that are under way.
    pub(crate) fn continue_fanouts(&mut self) {
        let step = self.config.limits.fanout_step as usize;
        let mut budget = step;
        while budget > 0 {
            let Some(mut fanout) = self.fanouts.pop_front() else {
                break;
            };
            let message = fanout.message.clone();
            let shared = (&message, message.view());
            let mut publication = Publication::shared(fanout.tenant, shared, fanout.retain);
            publication.kept = fanout.kept;
            if let Some(targets) = fanout.targets.as_mut() {
                self.encoder.begin();
                let end = targets.len().min(fanout.done + budget);
                let now = targets.get(fanout.done..end).unwrap_or_default();
                self.deliver_all(&mut publication, now, fanout.origin, true);
                budget -= now.len().min(budget);
                fanout.done = end;
                if fanout.done < targets.len() {
                    self.fanouts.push_front(fanout);
                    return;
                }
            } else {
                budget -= 1;
                let waiting = self.fanouts.len();
                if self.fan_out(&mut publication, fanout.origin) == Routed::Later
                    && self.fanouts.len() > waiting
                    && let Some(mut rest) = self.fanouts.pop_back()
                {
                    rest.then = fanout.then;
                    self.fanouts.push_front(rest);
                    return;
                }
            }
            if let Some((key, kind, id)) = fanout.then.ack {
                let gate = self.message_gate_everywhere();
                self.acknowledge(key, gate, (kind, id, ReasonCode::SUCCESS));
            }
            for receipt in fanout.then.receipts {
                let position = self.latest_gate();
                self.peers.taken(receipt, position, self.durable);
            }
            // Who has left a will says in the same batch that it is no longer owed.
            self.settle_estates();
            if self.is_batch_large() && self.fanouts.iter().all(Fanout::is_unsaid) {
                self.journal.close();
            }
        }
        // The batch leaves, and all go on: first who waited, then who was served.
        if self.fanouts.is_empty() && !self.fanout_publishers.is_empty() {
            self.journal.close();
            let mut publishers = core::mem::take(&mut self.fanout_publishers);
            publishers.rotate_left(1);
            for key in publishers {
                self.unstall(key, Stalls::FANOUT);
            }
        }
        if self.fanouts.is_empty() {
            self.release_gated();
        }
    }

    fn serve_groups(
        &mut self,
        publication: &mut Publication<'_>,
        groups: &[Group],
        origin: Origin,
    ) {
        for group in groups {
            self.deliver_to_group(publication, *group, origin, Declined::default());
        }
    }
}
