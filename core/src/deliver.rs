//! Deliveries: putting a message into the hands of one session.
//!
//! A connected client that keeps up gets it encoded into its output at once: packet identifier,
//! alias and remaining expiry are decided there, and QoS 0 then owns no memory beside those bytes.
//! Everybody else's waits in the queue of its session, and [`Broker::transmit`] starts it when
//! there is room.

use crate::action::{CloseReason, DropReason, Event};
use crate::backpressure::Publisher;
use crate::broker::Broker;
use crate::codec::PublishFlags;
use crate::codec::packet::QoS;
use crate::config::QueueOverflow;
use crate::connection::Connection;
use crate::encoder::Form;
use crate::explain::Outcome;
use crate::message::pool::Pool;
use crate::message::{Message, MessageView};
use crate::route::{RouteSlot, Target};
use crate::session::inflight::Ended;
use crate::session::queue::{Delivery, Identifiers};
use crate::slab::Key;
use crate::tenant::TenantId;
use crate::topic::GroupId;

/// Encoded bytes beyond which no delivery that waited is started for a connection in one turn, nor
/// one that comes to who has not taken what was sent before: enough for one large write, little
/// enough to be fair.
pub(crate) const OUTBOX_FULL: usize = 64 << 10;

/// A message that is being published, borrowed as long as nobody has to keep it.
pub(crate) struct Publication<'a> {
    /// The one that the message names.
    pub(crate) tenant: TenantId,
    pub(crate) view: MessageView<'a>,
    pub(crate) retain: bool,
    /// It is retained, or has cleared what was.
    pub(crate) kept: bool,
    /// Its route, if it was looked for already.
    pub(crate) route: Option<RouteSlot>,
    /// Nobody asks for the shared form after the next who does.
    pub(crate) is_for_one: bool,
    /// The shared form, when it was there before; or is since somebody has asked.
    shared: Option<&'a Message>,
    message: Option<Message>,
}

impl<'a> Publication<'a> {
    pub(crate) const fn new(tenant: TenantId, view: MessageView<'a>, retain: bool) -> Self {
        Self {
            tenant,
            view,
            retain,
            kept: false,
            route: None,
            is_for_one: false,
            shared: None,
            message: None,
        }
    }

    /// One that somebody keeps already.
    pub(crate) fn shared(
        tenant: TenantId,
        (message, view): (&'a Message, MessageView<'a>),
        retain: bool,
    ) -> Self {
        Self {
            shared: Some(message),
            ..Self::new(tenant, view, retain)
        }
    }

    /// Whether it lies in the log only: then it can but wait.
    pub(crate) fn is_stub(&self) -> bool {
        self.shared.is_some_and(Message::is_stub)
    }

    /// The shared form: one allocation, made when the first one asks.
    pub(crate) fn message(&mut self, pool: &mut Pool) -> Message {
        if let Some(message) = self.shared {
            return message.clone();
        }
        let message = self.message.take();
        let message = message.unwrap_or_else(|| pool.make(&self.view));
        if !self.is_for_one {
            self.message = Some(message.clone());
        }
        message
    }
}

impl Broker {
    /// Puts a message into the hands of one session. `many`: others get the same one.
    pub(crate) fn deliver(&mut self, publication: &mut Publication<'_>, target: &Target, how: How) {
        self.work += 1;
        let slot = target.slot;
        let qos = publication.view.qos.min(target.maximum_qos); // [MQTT-3.8.4-8]
        // [MQTT-3.3.1-12] [MQTT-3.3.1-13] [MQTT311-3.3.1-9]
        let retain = publication.retain && target.retain_as_published && self.has_options_of(slot);
        let (wall, is_tight) = (self.clock.wall(), self.is_tight());
        // While a letter was on its way, or a large fan-out under way.
        if publication.view.is_late(wall) {
            return self.drop_delivery(slot, &publication.view, DropReason::Expired);
        }
        let Some(session) = self.sessions.at_mut(slot) else {
            return;
        };
        let connection = session
            .connection
            .and_then(|key| self.connections.get_mut(key));
        let Some(connection) = connection.filter(|connection| !connection.connack_gated) else {
            let is_getting_in = session.connection.is_some();
            // [MQTT311-3.1.2-5]
            if qos > QoS::AtMostOnce || is_getting_in || self.config.session.queue_qos0 {
                self.enqueue(publication, slot, (qos, retain), &target.identifiers, how);
            } else if self.question.is_some() {
                self.explain_delivery(slot, &publication.view, Outcome::AwayAtQoS0);
            }
            return;
        };
        let mut form = Form {
            // No DUP, whatever the publisher set. [MQTT-3.3.1-3] [MQTT-4.3.1-1]
            flags: PublishFlags::of(qos).with_retain(retain),
            packet_id: None,
            identifiers: target.identifiers.view(),
        };
        if qos > QoS::AtMostOnce {
            let gate = self.journal.is_on() && session.is_persistent();
            let traffic = session.traffic.get_or_insert_default();
            if gate
                || connection.must_queue_behind_log(qos)
                || traffic.is_waiting()
                || !traffic.may_begin(connection.window, &self.config.session)
                || !connection.takes_at_once(is_tight, &self.config.limits)
            {
                return self.enqueue(publication, slot, (qos, retain), &target.identifiers, how);
            }
            // [MQTT-4.3.2-2] [MQTT-4.3.3-2]
            form.packet_id = Some(traffic.inflight.next_identifier());
        } else if session.traffic.as_ref().is_some_and(|t| t.queue.has_qos0()) {
            // Behind those that wait.
            return self.enqueue(publication, slot, (qos, retain), &target.identifiers, how);
        } else if !connection.outbox.is_empty()
            && (is_tight
                || connection.outbox.len() + publication.view.payload.len()
                    > self.config.limits.unsent_bytes_maximum as usize)
        {
            return self.drop_delivery(slot, &publication.view, DropReason::SlowConsumer);
        }
        self.buffers.lend(&mut connection.outbox);
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
            return self.drop_delivery(slot, &publication.view, DropReason::TooLarge);
        }
        let packet_id = form.packet_id;
        let (receiver, backlog) = (connection.key, connection.outbox.len());
        self.unsent_bytes += backlog - before;
        self.statistics.publishes_sent += 1;
        if !connection.ready {
            connection.ready = true;
            self.ready.push_back(receiver);
        }
        if let Some(id) = packet_id {
            // It waits for its acknowledgement.
            let traffic = session.traffic.get_or_insert_default();
            let message = publication.message(&mut self.pool);
            let mut delivery = Delivery::new(message, qos, retain, target.identifiers.clone());
            if let Some(group) = how.group {
                delivery.set_shared(group, publication.retain);
            }
            let cost = traffic.inflight.begin(id, delivery, self.clock.now());
            traffic.outstanding += 1;
            self.statistics.inflight_bytes += cost as u64;
            if self.config.session.retransmit_interval_ms > 0 {
                self.arm_retransmit(slot);
            }
        }
        if self.question.is_some() {
            self.explain_delivery(slot, &publication.view, Outcome::Sent { qos, packet_id });
        }
        if backlog >= self.config.limits.unsent_bytes_pause as usize {
            self.hold(how.publisher, receiver);
        }
    }

    /// The same for a message that lies in the log only: it waits, whoever is there.
    pub(crate) fn deliver_stub(
        &mut self,
        publication: &mut Publication<'_>,
        target: &Target,
        how: How,
    ) {
        let slot = target.slot;
        let qos = publication.view.qos.min(target.maximum_qos);
        if qos == QoS::AtMostOnce {
            return self.drop_message(slot, DropReason::SessionEnded);
        }
        if publication.view.is_late(self.clock.wall()) {
            return self.drop_delivery(slot, &publication.view, DropReason::Expired);
        }
        let retain = publication.retain && target.retain_as_published && self.has_options_of(slot);
        self.enqueue(publication, slot, (qos, retain), &target.identifiers, how);
    }

    /// Whether the options count that the subscriptions of this session have.
    pub(crate) fn has_options_of(&self, slot: u32) -> bool {
        self.sessions
            .at(slot)
            .and_then(|session| self.connections.get(session.connection?))
            .is_none_or(|connection| connection.profile.has_subscription_options())
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
        let message = publication.message(&mut self.pool);
        let mut delivery = Delivery::new(message, qos, retain, identifiers.clone());
        if let Some(group) = how.group {
            delivery.set_shared(group, publication.retain);
        }
        if let Err(why) = self.make_room(slot, delivery.cost_bytes()) {
            return self.drop_delivery(slot, &publication.view, why);
        }
        let Some(session) = self.sessions.at_mut(slot) else {
            return;
        };
        // A stub needs its record, whoever waits for it.
        let is_kept = session.is_persistent() || delivery.message.is_stub();
        let traffic = session.traffic.get_or_insert_default();
        delivery.sequence = traffic.next_sequence;
        if self.journal.is_on() && is_kept && qos > QoS::AtMostOnce {
            traffic.next_sequence += 1;
            delivery.set_recorded();
            self.journal.queued(session.number, &delivery);
        }
        self.push_delivery(slot, delivery);
        if self.question.is_some() {
            let is_connected = self.connection_of_slot(slot).is_some();
            self.explain_delivery(slot, &publication.view, Outcome::Queued { is_connected });
        }
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
        if self.is_backlog(&traffic.queue) {
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
        self.tenants[session.tenant].queued_bytes += delivery.cost_bytes() as u64;
        let traffic = session.traffic();
        let is_first = traffic.queue.is_empty();
        traffic.queue.push(delivery);
        if is_first {
            self.count_session_at(slot);
        }
    }

    /// Makes room for a message of this size in the queue of a session, as the overflow policy
    /// says; or says why there is none.
    fn make_room(&mut self, slot: u32, cost: usize) -> Result<(), DropReason> {
        let config = &self.config;
        let total = self.statistics.queued_messages + 1
            > config.limits.queue_messages_total_maximum
            || self.statistics.queued_bytes + cost as u64 > config.limits.queue_bytes_total_maximum
            || self.memory_bytes() + cost as u64 > config.limits.memory_budget_bytes;
        if total {
            return Err(DropReason::TotalQueueFull);
        }
        if config.tenants.queued_bytes_maximum > 0
            && let Some(session) = self.sessions.at(slot)
            && !self.may_queue_in_tenant(session.tenant, cost)
        {
            return Err(DropReason::TenantQueueFull);
        }
        let count_max = config.session.queue_messages_maximum as usize;
        let bytes_max = config.session.queue_bytes_maximum as usize;
        let overflow = config.session.queue_overflow;
        loop {
            let Some(session) = self.sessions.at_mut(slot) else {
                return Err(DropReason::SessionEnded);
            };
            let queue = &mut session.traffic().queue;
            if queue.len() < count_max && queue.bytes() + cost <= bytes_max {
                return Ok(());
            }
            match overflow {
                // Nothing has to go for one that would not fit alone.
                QueueOverflow::DropOldest if !queue.is_empty() && cost <= bytes_max => {
                    let Some(delivery) = self.pop_delivery(slot) else {
                        return Err(DropReason::QueueFull);
                    };
                    self.forget(slot, &delivery);
                    self.drop_delivery(slot, &delivery.message.view(), DropReason::QueueFull);
                }
                QueueOverflow::DropOldest | QueueOverflow::DropNewest => {
                    return Err(DropReason::QueueFull);
                }
                QueueOverflow::Disconnect => {
                    if let Some(key) = session.connection {
                        self.doom(key, CloseReason::QueueOverflow);
                    }
                    return Err(DropReason::QueueFull);
                }
            }
        }
    }

    /// Takes the oldest waiting message of a session.
    pub(crate) fn pop_delivery(&mut self, slot: u32) -> Option<Delivery> {
        let session = self.sessions.at_mut(slot)?;
        let traffic = session.traffic.as_mut()?;
        let delivery = traffic.queue.pop()?;
        traffic.unchecked = traffic.unchecked.saturating_sub(1);
        self.statistics.queued_messages -= 1;
        self.statistics.queued_bytes -= delivery.cost_bytes() as u64;
        self.tenants[session.tenant].queued_bytes -= delivery.cost_bytes() as u64;
        Some(delivery)
    }

    /// An exchange is over, and its delivery with it.
    #[inline]
    pub(crate) fn finish_delivery(&mut self, slot: u32, ended: Ended) {
        self.statistics.inflight_bytes -= ended.cost as u64;
        if ended.delivery.is_recorded() {
            self.forget(slot, &ended.delivery);
        }
        self.pool.give_back(ended.delivery.message);
    }

    /// Tells the log that a delivery is over, however it ended.
    pub(crate) fn forget(&mut self, slot: u32, delivery: &Delivery) {
        if delivery.is_recorded()
            && let Some(session) = self.sessions.at(slot)
        {
            self.journal.delivered(session.number, delivery);
        }
    }

    /// Counts a message that a session does not get, and says so to whoever asks.
    pub(crate) fn drop_delivery(&mut self, slot: u32, view: &MessageView<'_>, why: DropReason) {
        if self.question.is_some() {
            self.explain_delivery(slot, view, Outcome::Dropped(why));
        }
        self.drop_message(slot, why);
    }

    /// Counts a message that a session does not get.
    pub(crate) fn drop_message(&mut self, slot: u32, why: DropReason) {
        if let Some(count) = self.statistics.dropped.get_mut(why as usize) {
            *count += 1;
        }
        let Some(session) = self.sessions.at_mut(slot) else {
            return;
        };
        let traffic = session.traffic();
        traffic.dropped += 1;
        let count = traffic.dropped;
        if count.is_power_of_two() {
            let client_id = session.client_id.clone();
            let tenant = self.tenants.name(session.tenant);
            self.event(Event::Dropped {
                client_id,
                tenant,
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
}

/// Circumstances of a delivery.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How {
    /// Others get the same message.
    pub(crate) many: bool,
    /// It comes by a shared subscription.
    pub(crate) group: Option<GroupId>,
    /// Who can be asked to wait.
    pub(crate) publisher: Option<Publisher>,
}
