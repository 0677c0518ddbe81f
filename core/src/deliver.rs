//! Deliveries: putting a message into the hands of one session.
//!
//! A connected client that keeps up gets it encoded into its output at once: packet identifier, alias and
//! remaining expiry are decided there, and QoS 0 then owns no memory beside those bytes. Everybody else's
//! waits in the queue of its session, and [`Broker::transmit`] starts it when there is room.

use crate::action::{CloseReason, DropReason, Event};
use crate::broker::Broker;
use crate::codec::PublishParts;
use crate::codec::packet::{Ack, Packet, QoS, Version};
use crate::codec::property::{Property, PropertyBuffer};
use crate::codec::reason::ReasonCode;
use crate::config::QueueOverflow;
use crate::connection::{Aliased, Connection, Stalls};
use crate::gate::Gated;
use crate::id::PacketId;
use crate::message::{Message, MessageView};
use crate::route::Target;
use crate::session::inflight::Stage;
use crate::session::queue::{Delivery, Identifiers};
use crate::slab::Key;
use crate::time::{Timestamp, UnixTime};
use crate::timer::TimerKey;
use crate::topic::filter::TopicFilter;
use alloc::vec::Vec;

/// Encoded bytes beyond which no further delivery is started for a connection in one turn: enough for one
/// large write, little enough to be fair.
pub(crate) const OUTBOX_FULL: usize = 64 << 10;

/// At most what a PUBLISH takes beside topic, payload and other properties: fixed header, lengths,
/// packet identifier and topic alias.
const ALIASED_BYTES: usize = 5 + 2 + 2 + 4 + 3;

/// A message that is being published, borrowed as long as nobody has to keep it.
pub(crate) struct Publication<'a> {
    pub(crate) view: MessageView<'a>,
    pub(crate) retain: bool,
    message: Option<Message>,
}

impl<'a> Publication<'a> {
    pub(crate) const fn new(view: MessageView<'a>, retain: bool) -> Self {
        Self {
            view,
            retain,
            message: None,
        }
    }

    /// One that somebody keeps already.
    pub(crate) fn shared(message: &'a Message, retain: bool) -> Self {
        Self {
            view: message.view(),
            retain,
            message: Some(message.clone()),
        }
    }

    /// The shared form: one allocation, made when the first one asks.
    pub(crate) fn message(&mut self, scratch: &mut Vec<u8>) -> Message {
        self.message
            .get_or_insert_with(|| self.view.to_message(scratch))
            .clone()
    }
}

/// How a PUBLISH to one client looks.
#[derive(Clone, Copy)]
pub(crate) struct Form<'a> {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) identifiers: &'a Identifiers,
}

/// Encodes PUBLISH packets; owns the working space for that.
#[derive(Default)]
pub(crate) struct Encoder {
    properties: PropertyBuffer,
    /// One encoded packet for each version class, QoS and RETAIN flag, while one message is fanned out.
    templates: [Template; 12],
}

#[derive(Default)]
struct Template {
    bytes: Vec<u8>,
    packet_id_at: usize,
    valid: bool,
}

impl Encoder {
    /// The next message differs from the one before.
    pub(crate) fn begin(&mut self) {
        for template in &mut self.templates {
            template.valid = false;
        }
    }

    /// Appends a PUBLISH to the output of a connection. `false` when it is larger than the client
    /// accepts; nothing was appended then. [MQTT-3.1.2-24]
    pub(crate) fn publish(
        &mut self,
        connection: &mut Connection,
        view: &MessageView<'_>,
        form: Form<'_>,
        wall: UnixTime,
    ) -> bool {
        let version = connection.profile.version();
        self.properties.clear();
        let mut topic = view.topic;
        if connection.profile.has_properties() {
            self.expiry(view.expires_at, wall);
            for identifier in form.identifiers.iter() {
                self.properties
                    .push(Property::SubscriptionIdentifier(identifier));
            }
            // Room for the alias as well, or the client would not hear which topic it stands for.
            let plain = [view.properties, self.properties.as_properties().as_bytes()];
            let has_room = connection.maximum_packet_size as usize
                >= (ALIASED_BYTES + topic.len() + view.payload.len())
                    .saturating_add(plain[0].len() + plain[1].len());
            if let Some(extra) = connection.extra.as_mut() {
                let aliased = match has_room {
                    true => extra.outbound.choose(topic),
                    false => extra.outbound.known(topic),
                };
                match aliased {
                    Aliased::Plain => {}
                    Aliased::Introduced(alias) => {
                        self.properties.push(Property::TopicAlias(alias));
                    }
                    Aliased::Known(alias) => {
                        topic = "";
                        self.properties.push(Property::TopicAlias(alias));
                    }
                }
            }
        }
        let parts = PublishParts {
            dup: form.dup,
            qos: form.qos,
            retain: form.retain,
            topic,
            packet_id: form.packet_id,
            properties: [view.properties, self.properties.as_properties().as_bytes()],
            payload: view.payload,
        };
        if !fits(parts.encoded_len(version), connection) {
            return false;
        }
        parts.encode(version, &mut connection.outbox);
        true
    }

    /// The remaining lifetime, in whole seconds that have not passed. [MQTT-3.3.2-6]
    fn expiry(&mut self, expires_at: UnixTime, wall: UnixTime) {
        if expires_at != UnixTime::MAX {
            let seconds = expires_at.since(wall).div_ceil(1_000);
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            self.properties
                .push(Property::MessageExpiryInterval(seconds));
        }
    }

    /// The same for one of many recipients: encoded once for each kind, then copied and patched.
    pub(crate) fn publish_copy(
        &mut self,
        connection: &mut Connection,
        view: &MessageView<'_>,
        form: Form<'_>,
        wall: UnixTime,
    ) -> bool {
        let has_alias = connection
            .extra
            .as_ref()
            .is_some_and(|extra| !extra.outbound.is_off());
        if !form.identifiers.is_empty() || has_alias {
            return self.publish(connection, view, form, wall);
        }
        let version = connection.profile.version();
        let class = usize::from(connection.profile.has_properties());
        let place = class * 6 + form.qos as usize * 2 + usize::from(form.retain);
        if !self.templates[place].valid {
            self.fill(place, view, form, (version, wall));
        }
        let template = &self.templates[place];
        if !fits(Some(template.bytes.len()), connection) {
            return false;
        }
        let start = connection.outbox.len();
        connection.outbox.extend_from_slice(&template.bytes);
        if let Some(id) = form.packet_id {
            let at = start + template.packet_id_at;
            connection.outbox[at..at + 2].copy_from_slice(&id.get().to_be_bytes());
        }
        true
    }

    fn fill(
        &mut self,
        place: usize,
        view: &MessageView<'_>,
        form: Form<'_>,
        (version, wall): (Version, UnixTime),
    ) {
        self.properties.clear();
        if version == Version::V5 {
            self.expiry(view.expires_at, wall);
        }
        let parts = PublishParts {
            dup: false,
            qos: form.qos,
            retain: form.retain,
            topic: view.topic,
            packet_id: form.packet_id,
            properties: [view.properties, self.properties.as_properties().as_bytes()],
            payload: view.payload,
        };
        let template = &mut self.templates[place];
        template.bytes.clear();
        template.packet_id_at = parts.encode(version, &mut template.bytes);
        template.valid = true;
    }
}

fn fits(length: Option<usize>, connection: &Connection) -> bool {
    length.is_some_and(|length| length <= connection.maximum_packet_size as usize)
}

impl Broker {
    /// Puts a message into the hands of one session. `many`: others get the same one.
    pub(crate) fn deliver(
        &mut self,
        publication: &mut Publication<'_>,
        slot: u32,
        target: &Target,
        how: How,
    ) {
        let qos = publication.view.qos.min(target.maximum_qos); // [MQTT-3.8.4-8]
        // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
        let retain = publication.retain && target.retain_as_published;
        let wall = self.clock.wall();
        let Some(session) = self.sessions.at_mut(slot) else {
            return;
        };
        let connection = session
            .connection
            .and_then(|key| self.connections.get_mut(key));
        let Some(connection) = connection.filter(|connection| !connection.connack_gated) else {
            // [MQTT311-3.1.2-5]
            if qos > QoS::AtMostOnce
                || session.connection.is_some()
                || self.config.session.queue_qos0
            {
                self.enqueue(publication, slot, (qos, retain), &target.identifiers, how);
            }
            return;
        };
        let mut form = Form {
            qos,
            retain,
            dup: false, // Whatever the publisher set. [MQTT-3.3.1-3] [MQTT-4.3.1-1]
            packet_id: None,
            identifiers: &target.identifiers,
        };
        if qos > QoS::AtMostOnce {
            let gate = self.journal.is_on() && session.is_persistent();
            let traffic = session.traffic.get_or_insert_default();
            let window = usize::from(connection.window);
            if gate
                || traffic.is_waiting()
                || traffic.outstanding >= window // [MQTT-4.9.0-2]
                || !traffic.inflight.has_identifier()
                || connection.outbox.len() >= OUTBOX_FULL
            {
                return self.enqueue(publication, slot, (qos, retain), &target.identifiers, how);
            }
            // [MQTT-4.3.2-2] [MQTT-4.3.3-2]
            form.packet_id = Some(traffic.inflight.next_identifier());
        } else if connection.outbox.len() + publication.view.payload.len()
            > self.config.limits.unsent_bytes_maximum as usize
            && !connection.outbox.is_empty()
        {
            return self.drop_message(slot, DropReason::SlowConsumer);
        }
        if connection.outbox.capacity() == 0 {
            connection.outbox = self.buffers.pop().unwrap_or_default();
        }
        let before = connection.outbox.len();
        let fits = if how.many {
            self.encoder
                .publish_copy(connection, &publication.view, form, wall)
        } else {
            self.encoder
                .publish(connection, &publication.view, form, wall)
        };
        if !fits {
            // As if it had been delivered. [MQTT-3.1.2-25]
            return self.drop_message(slot, DropReason::TooLarge);
        }
        self.unsent_bytes += connection.outbox.len() - before;
        self.statistics.publishes_sent += 1;
        if qos > QoS::AtMostOnce {
            let message = publication.message(&mut self.scratch);
            let mut delivery = Delivery::new(message, qos, retain, target.identifiers.clone());
            if how.shared {
                delivery.set_shared();
            }
            let traffic = session.traffic();
            traffic.inflight.begin(delivery, self.clock.now());
            traffic.outstanding += 1;
            if self.config.session.retransmit_interval_ms > 0 {
                self.arm_retransmit(slot);
            }
        }
        let Some(connection) = self.connection_of_slot(slot) else {
            return;
        };
        let (key, backlog) = (connection.key, connection.outbox.len());
        if !connection.ready {
            connection.ready = true;
            self.ready.push_back(key);
        }
        if backlog >= self.config.limits.unsent_bytes_pause as usize {
            self.hold(how.publisher, key);
        }
    }

    fn connection_of_slot(&mut self, slot: u32) -> Option<&mut Connection> {
        let key = self.sessions.at(slot)?.connection?;
        self.connections.get_mut(key)
    }

    /// Puts a message into the queue of a session, or does what the overflow policy says.
    fn enqueue(
        &mut self,
        publication: &mut Publication<'_>,
        slot: u32,
        (qos, retain): (QoS, bool),
        identifiers: &Identifiers,
        how: How,
    ) {
        let message = publication.message(&mut self.scratch);
        let mut delivery = Delivery::new(message, qos, retain, identifiers.clone());
        if how.shared {
            delivery.set_shared();
        }
        if !self.make_room(slot, delivery.cost_bytes()) {
            return;
        }
        let Some(session) = self.sessions.at_mut(slot) else {
            return;
        };
        if self.journal.is_on() && session.is_persistent() && qos > QoS::AtMostOnce {
            let traffic = session.traffic.get_or_insert_default();
            delivery.sequence = traffic.next_sequence;
            traffic.next_sequence += 1;
            delivery.set_recorded();
            self.journal.queued(session.number, &delivery);
        }
        self.push_delivery(slot, delivery);
        let Some(connection) = self.connection_of_slot(slot) else {
            return;
        };
        let key = connection.key;
        let Some(session) = self.sessions.at(slot) else {
            return;
        };
        let Some(traffic) = session.traffic.as_ref() else {
            return;
        };
        let backlog = traffic.queue.bytes() >= self.config.limits.unsent_bytes_pause as usize
            || traffic.queue.len() * 2 > self.config.session.queue_messages_maximum as usize;
        if backlog {
            self.hold(how.publisher, key);
        }
        self.wake(key);
    }

    /// Appends to a queue and counts it. Limits were looked at before.
    pub(crate) fn push_delivery(&mut self, slot: u32, delivery: Delivery) {
        let Some(session) = self.sessions.at_mut(slot) else {
            return;
        };
        self.statistics.queued_messages += 1;
        self.statistics.queued_bytes += delivery.cost_bytes() as u64;
        session.traffic().queue.push(delivery);
    }

    /// Whether a message of this size may wait for this session; applies the overflow policy.
    fn make_room(&mut self, slot: u32, cost: usize) -> bool {
        let config = &self.config;
        let total = self.statistics.queued_messages + 1
            > config.limits.queue_messages_total_maximum
            || self.statistics.queued_bytes + cost as u64 > config.limits.queue_bytes_total_maximum
            || self.memory_bytes() + cost as u64 > config.limits.memory_budget_bytes;
        if total {
            self.drop_message(slot, DropReason::TotalQueueFull);
            return false;
        }
        let count_max = config.session.queue_messages_maximum as usize;
        let bytes_max = config.session.queue_bytes_maximum as usize;
        let overflow = config.session.queue_overflow;
        loop {
            let Some(session) = self.sessions.at_mut(slot) else {
                return false;
            };
            let queue = &mut session.traffic().queue;
            if queue.len() < count_max && queue.bytes() + cost <= bytes_max {
                return true;
            }
            match overflow {
                QueueOverflow::DropOldest if !queue.is_empty() => {
                    if let Some(delivery) = self.pop_delivery(slot) {
                        self.forget(slot, &delivery);
                    }
                    self.drop_message(slot, DropReason::QueueFull);
                }
                QueueOverflow::DropOldest | QueueOverflow::DropNewest => {
                    self.drop_message(slot, DropReason::QueueFull);
                    return false;
                }
                QueueOverflow::Disconnect => {
                    if let Some(key) = session.connection {
                        self.doomed.push((key, CloseReason::QueueOverflow));
                    }
                    self.drop_message(slot, DropReason::QueueFull);
                    return false;
                }
            }
        }
    }

    /// Takes the oldest waiting message of a session.
    pub(crate) fn pop_delivery(&mut self, slot: u32) -> Option<Delivery> {
        let delivery = self.sessions.at_mut(slot)?.traffic.as_mut()?.queue.pop()?;
        self.statistics.queued_messages -= 1;
        self.statistics.queued_bytes -= delivery.cost_bytes() as u64;
        Some(delivery)
    }

    /// Tells the log that a delivery is over, however it ended.
    pub(crate) fn forget(&mut self, slot: u32, delivery: &Delivery) {
        if delivery.is_recorded()
            && let Some(session) = self.sessions.at(slot)
        {
            self.journal.delivered(session.number, delivery);
        }
    }

    /// Counts a message that a session does not get.
    pub(crate) fn drop_message(&mut self, slot: u32, why: DropReason) {
        if let Some(count) = self.statistics.dropped.get_mut(why as usize) {
            *count += 1;
        }
        let Some(session) = self.sessions.at_mut(slot) else {
            return;
        };
        session.dropped += 1;
        let count = session.dropped;
        if count.is_power_of_two() {
            let client_id = session.client_id.clone();
            self.event(Event::Dropped {
                client_id,
                why,
                count,
            });
        }
    }

    /// Announces that a connection has something to send, if it has.
    pub(crate) fn wake(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !connection.ready {
            connection.ready = true;
            self.ready.push_back(key);
        }
    }

    /// Does not read a publisher any further until a subscriber has taken what it has to take. Not for
    /// ever: after `slow_consumer_grace_ms` the subscriber counts as slow.
    fn hold(&mut self, publisher: Option<Key>, subscriber: Key) {
        let grace = self.config.limits.slow_consumer_grace_ms;
        let Some(publisher) = publisher.filter(|key| *key != subscriber && grace > 0) else {
            return;
        };
        // Nobody who is waited for waits: there is no circle.
        let Some(waiting) = self.connections.get_mut(publisher) else {
            return;
        };
        let is_awaited = waiting
            .extra
            .as_ref()
            .is_some_and(|extra| !extra.waiters.is_empty());
        if waiting.waits || is_awaited {
            return;
        }
        let now = self.clock.now();
        let Some(target) = self.connections.get_mut(subscriber) else {
            return;
        };
        if target.slow || target.waits {
            return;
        }
        let extra = target.extra();
        extra.waiters.push(publisher);
        if extra.slow_armed.is_none() {
            let at = now.after_ms(u64::from(grace));
            extra.slow_armed = Some(at);
            let mut armed = Timestamp::MAX;
            self.timers.arm(TimerKey::Slow(subscriber), &mut armed, at);
        }
        if let Some(waiting) = self.connections.get_mut(publisher) {
            waiting.waits = true;
        }
        self.statistics.publishers_paused += 1;
        self.stall(publisher, Stalls::HELD);
    }

    /// The publishers that waited for this connection go on.
    pub(crate) fn release_waiters(&mut self, key: Key) {
        let Some(extra) = self.connections.get_mut(key).and_then(|c| c.extra.as_mut()) else {
            return;
        };
        let waiters = core::mem::take(&mut extra.waiters);
        if let Some(mut armed) = extra.slow_armed.take() {
            self.timers
                .arm(TimerKey::Slow(key), &mut armed, Timestamp::MAX);
        }
        for waiter in waiters {
            if let Some(connection) = self.connections.get_mut(waiter) {
                connection.waits = false;
            }
            self.unstall(waiter, Stalls::HELD);
        }
    }

    /// The grace of a subscriber has passed.
    pub(crate) fn slow_timeout(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.slow = true;
        if let Some(extra) = connection.extra.as_mut() {
            extra.slow_armed = None;
        }
        self.release_waiters(key);
    }

    /// Starts deliveries for a connection while it has room: what an earlier connection left open first,
    /// in the order in which it began; then the queue; then retained messages.
    pub(crate) fn pump(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(session) = connection.session() else {
            return;
        };
        if connection.connack_gated {
            return;
        }
        if self
            .sessions
            .get(session)
            .is_none_or(|s| s.traffic.is_none())
        {
            return;
        }
        let before = connection.outbox.len();
        if before == 0 && connection.outbox.capacity() == 0 {
            connection.outbox = self.buffers.pop().unwrap_or_default();
        }
        self.resend(key, session);
        self.start_queued(key, session);
        self.start_retained(key, session);
        if let Some(connection) = self.connections.get_mut(key) {
            self.unsent_bytes += connection.outbox.len() - before;
        }
    }

    /// After a resumption everything unacknowledged is sent again, under its identifier, in the original
    /// order. [MQTT-4.4.0-1] [MQTT-4.6.0-1]
    fn resend(&mut self, key: Key, session_key: Key) {
        let wall = self.clock.wall();
        let now = self.clock.now();
        let mut place = 0;
        loop {
            let Some(connection) = self.connections.get_mut(key) else {
                return;
            };
            let Some(session) = self.sessions.get_mut(session_key) else {
                return;
            };
            let traffic = session.traffic();
            if traffic.unsent == 0 || connection.outbox.len() >= OUTBOX_FULL {
                return;
            }
            let Some((at, id, exchange)) = traffic.inflight.at_or_after(place) else {
                return;
            };
            place = at + 1;
            if exchange.sent {
                continue;
            }
            if exchange.stage == Stage::Released {
                exchange.sent = true;
                traffic.unsent -= 1;
                let ack = Packet::PubRel(Ack::new(id, ReasonCode::SUCCESS));
                crate::broker::encode(&ack, connection);
                continue;
            }
            // [MQTT-3.3.4-9]
            if traffic.outstanding >= usize::from(connection.window) {
                return;
            }
            // Its expiry is not looked at any more. [MQTT-4.3.3-7]
            exchange.sent = true;
            exchange.counted = true;
            exchange.sent_at = now;
            traffic.unsent -= 1;
            traffic.outstanding += 1;
            let form = Form {
                qos: exchange.delivery.qos(),
                retain: exchange.delivery.retain(),
                dup: exchange.was_sent, // [MQTT-3.3.1-1]
                packet_id: Some(id),
                identifiers: exchange.delivery.identifiers(),
            };
            let fits =
                self.encoder
                    .publish(connection, &exchange.delivery.message.view(), form, wall);
            if fits {
                self.statistics.publishes_sent += 1;
                continue;
            }
            traffic.outstanding -= 1;
            if let Some(exchange) = traffic.inflight.end(id) {
                self.forget(session_key.index, &exchange.delivery);
            }
            place = 0;
            self.drop_message(session_key.index, DropReason::TooLarge);
        }
    }

    fn start_queued(&mut self, key: Key, session_key: Key) {
        let slot = session_key.index;
        loop {
            let Some(connection) = self.connections.get_mut(key) else {
                return;
            };
            let Some(session) = self.sessions.get_mut(session_key) else {
                return;
            };
            let traffic = session.traffic();
            let Some(front) = traffic.queue.front() else {
                return;
            };
            if connection.outbox.len() >= OUTBOX_FULL || traffic.unsent > 0 {
                return;
            }
            let needs_window = front.qos() > QoS::AtMostOnce;
            let window = usize::from(connection.window);
            if needs_window && (traffic.outstanding >= window || !traffic.inflight.has_identifier())
            {
                return;
            }
            let Some(delivery) = self.pop_delivery(slot) else {
                return;
            };
            // [MQTT-3.3.2-5]
            if delivery.message.view().expires_at <= self.clock.wall() {
                self.forget(slot, &delivery);
                self.drop_message(slot, DropReason::Expired);
                continue;
            }
            self.start(key, session_key, delivery);
        }
    }

    /// Sends a message now, and opens its exchange.
    fn start(&mut self, key: Key, session_key: Key, delivery: Delivery) {
        let (slot, wall, now) = (session_key.index, self.clock.wall(), self.clock.now());
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        let traffic = session.traffic.get_or_insert_default();
        let qos = delivery.qos();
        let packet_id = (qos > QoS::AtMostOnce).then(|| traffic.inflight.next_identifier());
        let gated = delivery.is_recorded() && qos == QoS::ExactlyOnce;
        let form = Form {
            qos,
            retain: delivery.retain(),
            dup: false,
            packet_id,
            identifiers: delivery.identifiers(),
        };
        let view = delivery.message.view();
        // A gated one is encoded when its record is durable; whether it fits is known by then.
        if !gated && !self.encoder.publish(connection, &view, form, wall) {
            self.forget(slot, &delivery);
            return self.drop_message(slot, DropReason::TooLarge);
        }
        let Some(packet_id) = packet_id else {
            self.statistics.publishes_sent += 1;
            return;
        };
        if delivery.is_recorded() {
            let number = session.number;
            self.journal.sent(number, &delivery, packet_id);
        }
        traffic.inflight.begin(delivery, now);
        traffic.outstanding += 1;
        if gated {
            self.gates
                .push(self.journal.open_position(), key, Gated::Publish(packet_id));
            connection.gated += 1;
        } else {
            self.statistics.publishes_sent += 1;
        }
        if self.config.session.retransmit_interval_ms > 0 {
            self.arm_retransmit(slot);
        }
    }

    /// A message whose packet identifier is durable now goes out.
    pub(crate) fn send_gated(&mut self, key: Key, packet_id: PacketId) {
        let wall = self.clock.wall();
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(session_key) = connection.session() else {
            return;
        };
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        let traffic = session.traffic.get_or_insert_default();
        let Some(exchange) = traffic.inflight.get_mut(packet_id) else {
            return;
        };
        let form = Form {
            qos: exchange.delivery.qos(),
            retain: exchange.delivery.retain(),
            dup: exchange.was_sent,
            packet_id: Some(packet_id),
            identifiers: exchange.delivery.identifiers(),
        };
        let before = connection.outbox.len();
        if self
            .encoder
            .publish(connection, &exchange.delivery.message.view(), form, wall)
        {
            self.unsent_bytes += connection.outbox.len() - before;
            self.statistics.publishes_sent += 1;
            return self.wake(key);
        }
        traffic.outstanding -= 1;
        if let Some(exchange) = traffic.inflight.end(packet_id) {
            self.forget(session_key.index, &exchange.delivery);
        }
        self.drop_message(session_key.index, DropReason::TooLarge);
    }

    /// Retained messages for new subscriptions, paced by window and output: the queue limit does not
    /// apply, and none is left out.
    fn start_retained(&mut self, key: Key, session_key: Key) {
        loop {
            let Some(connection) = self.connections.get_mut(key) else {
                return;
            };
            let Some(session) = self.sessions.get_mut(session_key) else {
                return;
            };
            let persistent = session.is_persistent();
            let traffic = session.traffic();
            let Some(cursor) = traffic.cursors.front_mut() else {
                return;
            };
            if !traffic.queue.is_empty()
                || traffic.unsent > 0
                || connection.outbox.len() >= OUTBOX_FULL
            {
                return;
            }
            let Ok(filter) = TopicFilter::plain(&cursor.filter) else {
                return;
            };
            let found = self.retained.next_match(filter, cursor.after.as_deref());
            let Some(message) = found.cloned() else {
                traffic.cursors.pop_front();
                continue;
            };
            let view = message.view();
            let qos = view.qos.min(cursor.maximum_qos);
            let window = usize::from(connection.window);
            if qos > QoS::AtMostOnce
                && (traffic.outstanding >= window || !traffic.inflight.has_identifier())
            {
                return;
            }
            // Reuses the text's room where it can: a walk over many topics allocates little.
            cursor.after = Some(view.topic.into());
            if view.expires_at <= self.clock.wall() {
                continue;
            }
            let mut identifiers = Identifiers::default();
            identifiers.push(cursor.identifier);
            // A retained message that is sent for a new subscription says so. [MQTT311-3.3.1-8]
            let mut delivery = Delivery::new(message, qos, true, identifiers);
            if qos > QoS::AtMostOnce && persistent && self.journal.is_on() {
                delivery.sequence = traffic.next_sequence;
                traffic.next_sequence += 1;
                delivery.set_recorded();
                let number = session.number;
                self.journal.queued(number, &delivery);
            }
            self.start(key, session_key, delivery);
        }
    }

    fn arm_retransmit(&mut self, slot: u32) {
        let at = self
            .clock
            .now()
            .after_ms(u64::from(self.config.session.retransmit_interval_ms));
        let Some(session) = self.sessions.at_mut(slot) else {
            return;
        };
        let Some(connection) = session.connection.and_then(|key| self.connections.get(key)) else {
            return;
        };
        if !connection.profile.may_retransmit() {
            return;
        }
        let Some(key) = self.sessions.key_from(slot) else {
            return;
        };
        if let Some(traffic) = self.sessions.get_mut(key).and_then(|s| s.traffic.as_mut())
            && traffic.retransmit_armed == Timestamp::MAX
        {
            self.timers
                .arm(TimerKey::Retransmit(key), &mut traffic.retransmit_armed, at);
        }
    }

    /// Resends to a 3.x client what it has not acknowledged for too long.
    pub(crate) fn retransmit(&mut self, session_key: Key) {
        let interval = u64::from(self.config.session.retransmit_interval_ms);
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        let Some(traffic) = session.traffic.as_mut() else {
            return;
        };
        traffic.retransmit_armed = Timestamp::MAX;
        let Some(key) = session.connection else {
            return;
        };
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let (mut place, mut next) = (0, Timestamp::MAX);
        while let Some((at, id, exchange)) = traffic.inflight.at_or_after(place) {
            place = at + 1;
            if !exchange.sent {
                continue;
            }
            if now.since(exchange.sent_at) >= interval {
                if exchange.resent >= self.config.session.retransmit_maximum {
                    self.doomed.push((key, CloseReason::NotAcknowledging));
                    return;
                }
                if connection.outbox.len() < OUTBOX_FULL {
                    exchange.resent += 1;
                    exchange.sent_at = now;
                    let before = connection.outbox.len();
                    if exchange.stage == Stage::Released {
                        let ack = Packet::PubRel(Ack::new(id, ReasonCode::SUCCESS));
                        crate::broker::encode(&ack, connection);
                    } else {
                        let form = Form {
                            qos: exchange.delivery.qos(),
                            retain: exchange.delivery.retain(),
                            dup: true,
                            packet_id: Some(id),
                            identifiers: exchange.delivery.identifiers(),
                        };
                        let view = exchange.delivery.message.view();
                        self.encoder.publish(connection, &view, form, wall);
                        self.statistics.publishes_sent += 1;
                    }
                    self.unsent_bytes += connection.outbox.len() - before;
                } else {
                    exchange.sent_at = now;
                }
            }
            next = next.min(exchange.sent_at.after_ms(interval));
        }
        self.timers.arm(
            TimerKey::Retransmit(session_key),
            &mut traffic.retransmit_armed,
            next,
        );
        self.wake(key);
    }
}

/// Circumstances of a delivery.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How {
    /// Others get the same message.
    pub(crate) many: bool,
    /// It comes by a shared subscription.
    pub(crate) shared: bool,
    /// The connection it came by, which can be asked to wait.
    pub(crate) publisher: Option<Key>,
}
