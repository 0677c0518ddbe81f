//! Starting what waits: when a connection has room, its session's messages go out.
//!
//! What an earlier connection left open comes first, in the order in which it began; then the
//! queue; then retained messages for new subscriptions. Window and output decide how far it gets; a
//! message that is in flight is never expired half-way.

use crate::action::{CloseReason, DropReason};
use crate::broker::Broker;
use crate::codec::packet::{Ack, Packet, QoS};
use crate::codec::reason::ReasonCode;
use crate::connection::Connection;
use crate::deliver::OUTBOX_FULL;
use crate::encoder::Form;
use crate::explain::Outcome;
use crate::gate::{AckKind, Gate, Gated};
use crate::id::PacketId;
use crate::message::Message;
use crate::retained::Author;
use crate::session::inflight::Stage;
use crate::session::queue::{Delivery, Identifiers};
use crate::slab::Key;
use crate::time::Timestamp;
use crate::timer::TimerKey;
use crate::topic::{Found, TopicFilter, TopicName};
use alloc::collections::VecDeque;

/// Retained messages that one turn of one connection looks at, whether they match or not.
const RETAINED_STEPS: usize = 4_096;

/// So many connections may do so in one turn, or more that look at as much together: some
/// milliseconds.
const SEARCHES_PER_TURN: usize = 4;

/// Who looks for retained messages, and how much is looked at.
#[derive(Debug)]
pub(crate) struct Searches {
    /// Those that go on in the next turn.
    resting: VecDeque<Key>,
    /// How many retained messages may still be looked at in this turn.
    steps_left: usize,
}

crate::state::state!(Searches {
    resting,
    steps_left
});

impl Default for Searches {
    fn default() -> Self {
        Self {
            resting: VecDeque::new(),
            steps_left: SEARCHES_PER_TURN * RETAINED_STEPS,
        }
    }
}

impl Searches {
    /// Whether the next turn is wanted now.
    pub(crate) fn are_resting(&self) -> bool {
        !self.resting.is_empty()
    }
}

impl Broker {
    /// Starts deliveries for a connection while it has room: what an earlier connection left open
    /// first, in the order in which it began; then the queue; then retained messages.
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
        self.buffers.lend(&mut connection.outbox);
        self.resend(key, session);
        self.start_queued(key, session);
        self.start_retained(key, session);
        self.load_ahead(session);
        if let Some(connection) = self.connections.get_mut(key) {
            self.unsent_bytes += connection.outbox.len() - before;
        }
    }

    /// After a resumption everything unacknowledged is sent again, under its identifier, in the
    /// original order. [MQTT-4.4.0-1] [MQTT-4.6.0-1]
    fn resend(&mut self, key: Key, session_key: Key) {
        let wall = self.clock.wall();
        let now = self.clock.now();
        let mut place = 0;
        loop {
            self.cut();
            // What an earlier connection began may not be durable yet, nor what is given up here.
            let gate = self
                .latest_gate()
                .filter(|position| *position > self.durable)
                .map(Gate::from);
            let Some(connection) = self.connections.get_mut(key) else {
                return;
            };
            let Some(session) = self.sessions.get_mut(session_key) else {
                return;
            };
            let traffic = session.traffic.get_or_insert_default();
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
                let behind = connection.gate_behind(exchange.delivery.qos());
                let gate = gate.filter(|_| exchange.delivery.is_recorded());
                if let Some(gate) = gate.or(behind) {
                    let ack = Gated::Ack(AckKind::PubRel, id, ReasonCode::SUCCESS);
                    self.gates.push(gate, key, ack);
                    connection.gated += 1;
                } else {
                    let ack = Packet::PubRel(Ack::new(id, ReasonCode::SUCCESS));
                    crate::broker::encode(&ack, connection);
                }
                continue;
            }
            // [MQTT-3.3.4-9]
            if traffic.outstanding >= usize::from(connection.window) {
                return;
            }
            // What it may receive can have changed since.
            let topic = TopicName::known(exchange.delivery.message.topic_str());
            if !self.access.may_send(connection, &session.client_id, topic) {
                place = self.give_up(session_key, (at, id), DropReason::NotAllowed);
                continue;
            }
            if exchange.delivery.message.is_stub() {
                match self.is_exchange_whole(session_key, id) {
                    Some(true) => place = at,
                    Some(false) => return,
                    None => {
                        place = self.give_up(session_key, (at, id), DropReason::Unreadable);
                    }
                }
                continue;
            }
            // Its expiry is not looked at any more. [MQTT-4.3.3-7]
            exchange.sent = true;
            exchange.counted = true;
            exchange.sent_at = now;
            traffic.unsent -= 1;
            traffic.outstanding += 1;
            let behind = connection.gate_behind(exchange.delivery.qos());
            let gate = gate.filter(|_| exchange.delivery.must_be_durable());
            if let Some(gate) = gate.or(behind) {
                self.gates.push(gate, key, Gated::Publish(id));
                connection.gated += 1;
                continue;
            }
            let form = Form {
                flags: exchange.delivery.publish_flags(exchange.was_sent), // [MQTT-3.3.1-1]
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
            place = self.give_up(session_key, (at, id), DropReason::TooLarge);
        }
    }

    /// An exchange whose message cannot be sent, for this reason. At QoS 2 it is released when an
    /// earlier connection has sent it, whether or not it has arrived: a client that has it would
    /// take the next message with its identifier for the same one. Gives the place from which to
    /// go on with the others.
    fn give_up(&mut self, session_key: Key, (at, id): (usize, PacketId), why: DropReason) -> usize {
        let Some(session) = self.sessions.get_mut(session_key) else {
            return at;
        };
        let number = session.number;
        let traffic = session.traffic();
        let Some(exchange) = traffic.inflight.get_mut(id) else {
            return at;
        };
        if core::mem::take(&mut exchange.sent) {
            exchange.counted = false;
            traffic.outstanding -= 1;
            traffic.unsent += 1;
        }
        let mut place = at;
        let message = if exchange.was_sent && exchange.delivery.qos() == QoS::ExactlyOnce {
            if exchange.delivery.is_recorded() {
                self.journal.released(number, &exchange.delivery, id);
            }
            let (message, freed) = exchange.release(self.nothing.clone());
            self.statistics.inflight_bytes -= freed as u64;
            traffic.inflight.freed(freed);
            message
        } else {
            let message = exchange.delivery.message.clone();
            // Without it, places stay what they are, unless others become stragglers.
            let stragglers = traffic.inflight.straggler_count();
            let stragglers = stragglers - usize::from(at < stragglers);
            traffic.unsent -= 1;
            if let Some(ended) = traffic.inflight.end(id) {
                if traffic.inflight.straggler_count() != stragglers {
                    place = 0;
                }
                let is_to_be_tightened = traffic.is_to_be_tightened();
                self.finish_delivery(session_key.index, ended);
                if is_to_be_tightened {
                    self.tighten_later(session_key);
                }
            }
            message
        };
        self.drop_delivery(session_key.index, &message.view(), why);
        self.pool.give_back(message);
        place
    }

    fn start_queued(&mut self, key: Key, session_key: Key) {
        let slot = session_key.index;
        loop {
            self.cut();
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
            if needs_window && !traffic.may_begin(connection.window, &self.config.session) {
                return;
            }
            // What has expired need not be read.
            if front.message.is_stub() && !front.message.view().is_expired(self.clock.wall()) {
                match self.is_front_whole(session_key) {
                    Some(true) => {}
                    Some(false) => return,
                    None => continue,
                }
            }
            let is_unchecked = self.has_unchecked(session_key);
            let Some(delivery) = self.pop_delivery(slot) else {
                return;
            };
            if is_unchecked && !self.may_deliver(key, delivery.message.topic_str()) {
                self.forget(slot, &delivery);
                self.drop_delivery(slot, &delivery.message.view(), DropReason::NotAllowed);
                continue;
            }
            if delivery.message.view().is_expired(self.clock.wall()) {
                self.forget(slot, &delivery);
                self.drop_delivery(slot, &delivery.message.view(), DropReason::Expired);
                continue;
            }
            self.start(key, session_key, delivery);
        }
    }

    /// Sends a message now, and opens its exchange.
    fn start(&mut self, key: Key, session_key: Key, delivery: Delivery) {
        debug_assert!(!delivery.message.is_stub(), "it was asked for");
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
        let position = match delivery.must_be_durable() {
            true => Some(self.journal.open_position()),
            false => connection
                .must_queue_behind_log(qos)
                .then(|| self.journal.latest()),
        };
        let gated = position.is_some();
        let form = Form {
            flags: delivery.publish_flags(false),
            packet_id,
            identifiers: delivery.identifiers(),
        };
        let view = delivery.message.view();
        // A gated one is encoded when its record is durable; whether it fits is known by then.
        if !gated && !self.encoder.publish(connection, &view, form, wall) {
            self.forget(slot, &delivery);
            return self.drop_delivery(slot, &delivery.message.view(), DropReason::TooLarge);
        }
        let asked = self.question.is_some().then(|| delivery.message.clone());
        let Some(packet_id) = packet_id else {
            self.statistics.publishes_sent += 1;
            if let Some(message) = asked {
                self.explain_delivery(slot, &message.view(), Outcome::Sent { qos, packet_id });
            }
            return;
        };
        if delivery.is_recorded() {
            let number = session.number;
            self.journal.sent(number, &delivery, packet_id);
        }
        let cost = traffic.inflight.begin(packet_id, delivery, now);
        self.statistics.inflight_bytes += cost as u64;
        traffic.outstanding += 1;
        if let Some(position) = position {
            self.gates
                .push(position.into(), key, Gated::Publish(packet_id));
            connection.gated += 1;
        } else {
            self.statistics.publishes_sent += 1;
        }
        if self.config.session.retransmit_interval_ms > 0 {
            self.arm_retransmit(slot);
        }
        if let Some(message) = asked {
            let packet_id = Some(packet_id);
            self.explain_delivery(slot, &message.view(), Outcome::Sent { qos, packet_id });
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
        // Acknowledged before it was sent: the client has guessed.
        if exchange.stage != Stage::Published {
            return;
        }
        let form = Form {
            flags: exchange.delivery.publish_flags(exchange.was_sent),
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
        self.give_up(session_key, (0, packet_id), DropReason::TooLarge);
        // Its place in the window is for what waits.
        self.wake(key);
    }

    /// Retained messages for new subscriptions, paced by window and output: the queue limit does
    /// not apply, and none is left out. The walk over the retained messages is bounded as well: a
    /// filter may match few of many.
    fn start_retained(&mut self, key: Key, session_key: Key) {
        let share = RETAINED_STEPS.min(self.searches.steps_left);
        let mut steps = share;
        self.walk_retained_messages(key, session_key, &mut steps);
        self.searches.steps_left -= share - steps;
        self.record_cursor(session_key);
    }

    /// With what was started, in one batch: nothing is left out after a crash, and no QoS 2 message
    /// sent twice.
    fn record_cursor(&mut self, session_key: Key) {
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        let number = session.number;
        if let Some(cursor) = session.traffic().cursors.front_mut()
            && cursor.is_recorded
            && core::mem::take(&mut cursor.has_moved)
        {
            self.journal.cursor(number, cursor);
        }
    }

    fn walk_retained_messages(&mut self, key: Key, session_key: Key, steps: &mut usize) {
        while self.may_start_retained(key, session_key) {
            if *steps == 0 {
                return self.rest(key);
            }
            if self.is_batch_large() && !self.is_fanning_out() {
                self.record_cursor(session_key);
                self.cut();
            }
            let Some(session) = self.sessions.get_mut(session_key) else {
                return;
            };
            let (number, tenant) = (session.number, session.tenant);
            let Some(cursor) = session.traffic().cursors.front_mut() else {
                return;
            };
            let Ok(filter) = TopicFilter::plain(&cursor.filter) else {
                return;
            };
            let after = cursor.after.as_deref();
            let message = match self.retained.search(tenant, filter, after, steps) {
                Found::Match(message, author) => (message.clone(), *author),
                Found::Paused(message) => {
                    cursor.after = Some(message.topic_str().into());
                    cursor.has_moved = true;
                    continue;
                }
                Found::Done => {
                    *steps = steps.saturating_sub(1);
                    if let Some(cursor) = session.traffic().cursors.pop_front() {
                        self.journal.cursor_done(number, &cursor);
                    }
                    continue;
                }
            };
            if !self.start_one_retained(key, session_key, message) {
                return;
            }
        }
    }

    /// A connection looks no further before the next turn: others come first.
    fn rest(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.rests = true;
            self.searches.resting.push_back(key);
        }
    }

    /// A turn begins for those that rest.
    pub(crate) fn wake_resting(&mut self) {
        self.searches.steps_left = SEARCHES_PER_TURN * RETAINED_STEPS;
        let mut woken = 0;
        while woken < SEARCHES_PER_TURN
            && let Some(key) = self.searches.resting.pop_front()
        {
            // Of who has left nothing is left but the key.
            if let Some(connection) = self.connections.get_mut(key) {
                connection.rests = false;
                woken += 1;
                self.wake(key);
            }
        }
    }

    /// Whoever leaves rests no more.
    pub(crate) fn forget_resting(&mut self, connection: &Connection) {
        if connection.rests {
            self.searches.resting.retain(|key| *key != connection.key);
        }
    }

    /// Whether it is the turn of retained messages, and there are some.
    fn may_start_retained(&self, key: Key, session_key: Key) -> bool {
        let Some(connection) = self.connections.get(key) else {
            return false;
        };
        let session = self.sessions.get(session_key);
        let Some(traffic) = session.and_then(|session| session.traffic.as_ref()) else {
            return false;
        };
        // Not before a SUBACK that waits for other shards.
        !connection.rests
            && !traffic.cursors.is_empty()
            && (connection.answers_gated == 0 || self.peers.is_alone())
            && traffic.queue.is_empty()
            && traffic.unsent == 0
            && connection.outbox.len() < OUTBOX_FULL
    }

    /// Starts one, unless the window is full.
    fn start_one_retained(
        &mut self,
        key: Key,
        session_key: Key,
        (message, author): (Message, Option<Author>),
    ) -> bool {
        let Some(connection) = self.connections.get(key) else {
            return false;
        };
        let window = connection.window;
        let is_allowed = self.may_deliver(key, message.topic_str());
        let Some(session) = self.sessions.get_mut(session_key) else {
            return false;
        };
        let (number, records) = (
            session.number,
            session.is_persistent() && self.journal.is_on(),
        );
        let traffic = session.traffic();
        let has_room = traffic.may_begin(window, &self.config.session);
        let Some(cursor) = traffic.cursors.front_mut() else {
            return false;
        };
        let view = message.view();
        let qos = view.qos.min(cursor.maximum_qos);
        if qos > QoS::AtMostOnce && !has_room {
            return false;
        }
        cursor.after = Some(view.topic.into());
        cursor.has_moved = true;
        let is_local = author.is_some() && author == cursor.without;
        let outcome = match () {
            () if cursor.is_behind(view.id) => return true,
            () if is_local => Some(Outcome::NoLocal),
            () if !is_allowed => Some(Outcome::Denied),
            () if view.is_expired(self.clock.wall()) => Some(Outcome::Dropped(DropReason::Expired)),
            () => None,
        };
        if let Some(outcome) = outcome {
            if self.question.is_some() {
                self.explain_delivery(session_key.index, &view, outcome);
            }
            return true;
        }
        let mut identifiers = Identifiers::default();
        identifiers.push(cursor.identifier);
        // A retained message that is sent for a new subscription says so. [MQTT311-3.3.1-8]
        let mut delivery = Delivery::new(message, qos, true, identifiers);
        if qos > QoS::AtMostOnce && records {
            delivery.sequence = traffic.next_sequence;
            traffic.next_sequence += 1;
            delivery.set_recorded();
            self.journal.queued(number, &delivery);
        }
        self.start(key, session_key, delivery);
        true
    }

    pub(crate) fn arm_retransmit(&mut self, slot: u32) {
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
        // What the log does not have yet may not have been sent once.
        let is_behind = self.latest_gate() > Some(self.durable);
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
        let (mut place, mut next) = (
            0,
            if is_behind {
                now.after_ms(interval)
            } else {
                Timestamp::MAX
            },
        );
        while let Some((at, id, exchange)) = traffic.inflight.at_or_after(place) {
            place = at + 1;
            if !exchange.sent || (is_behind && exchange.delivery.is_recorded()) {
                continue;
            }
            if now.since(exchange.sent_at) >= interval {
                if exchange.resent >= self.config.session.retransmit_maximum {
                    self.doom(key, CloseReason::NotAcknowledging);
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
                            flags: exchange.delivery.publish_flags(true),
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
