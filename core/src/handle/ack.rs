//! PUBACK, PUBREC, PUBREL, PUBCOMP.

use crate::broker::Broker;
use crate::codec;
use crate::codec::packet::{Ack, QoS};
use crate::codec::reason::ReasonCode;
use crate::error::Violation;
use crate::gate::{AckKind, Gate};
use crate::id::PacketId;
use crate::letter::ExchangeId;
use crate::session::inflight::{NotAwaited, Stage};
use crate::slab::Key;

impl Broker {
    pub(crate) fn handle_ack(
        &mut self,
        key: Key,
        session: Key,
        (kind, ack): (AckKind, Ack<'_>),
    ) -> Result<(), Violation> {
        if self.question.is_some() && matches!(kind, AckKind::PubAck | AckKind::PubRec) {
            self.explain_ack(session, ack.packet_id, ack.reason);
        }
        match kind {
            AckKind::PubAck => self.handle_puback(key, session, &ack),
            AckKind::PubRec => self.handle_pubrec(key, session, &ack),
            AckKind::PubRel => self.handle_pubrel(key, session, &ack),
            AckKind::PubComp => self.handle_pubcomp(key, session, &ack),
        }
    }

    /// Appends one to the output of a connection, and announces it.
    pub(crate) fn send_ack(&mut self, key: Key, kind: AckKind, id: PacketId, reason: ReasonCode) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        // What ends an exchange gives the client its place in the window back. MQTT 5.0 §4.9
        let ends = match kind {
            AckKind::PubAck | AckKind::PubComp => true,
            AckKind::PubRec => reason.is_error(),
            AckKind::PubRel => false,
        };
        if ends {
            connection.unacknowledged = connection.unacknowledged.saturating_sub(1);
        }
        let before = connection.outbox.len();
        self.buffers.lend(&mut connection.outbox);
        let (version, outbox) = (connection.profile.version(), &mut connection.outbox);
        codec::encode_ack(kind.packet_type(), (id, reason), version, outbox);
        let added = outbox.len() - before;
        if added > connection.maximum_packet_size as usize {
            return outbox.truncate(before);
        }
        self.unsent_bytes += added;
        if !connection.ready {
            connection.ready = true;
            self.ready.push_back(key);
        }
    }

    /// A QoS 1 message has arrived. [MQTT-4.3.2-3]
    fn handle_puback(&mut self, key: Key, session: Key, ack: &Ack<'_>) -> Result<(), Violation> {
        self.finish(
            key,
            session,
            (ack.packet_id, QoS::AtLeastOnce, Stage::Published),
        )
    }

    /// A QoS 2 message has arrived: it must not be sent again. An error code ends the exchange
    /// instead. [MQTT-4.3.3-3]
    fn handle_pubrec(
        &mut self,
        key: Key,
        session_key: Key,
        ack: &Ack<'_>,
    ) -> Result<(), Violation> {
        let id = ack.packet_id;
        if ack.reason.is_error() {
            // Nor is it given to another member of a shared subscription. [MQTT-4.4.0-2] [MQTT-4.8.2-6]
            return self.finish(key, session_key, (id, QoS::ExactlyOnce, Stage::Published));
        }
        let Some(session) = self.sessions.get_mut(session_key) else {
            return Ok(());
        };
        let (number, persistent) = (session.number, session.is_persistent());
        let traffic = session.traffic();
        let bytes_maximum = self.config.session.inflight_bytes_maximum;
        let was_full = traffic.is_waiting() && !traffic.inflight.has_room(bytes_maximum);
        let reason = match traffic.inflight.get_mut(id) {
            Some(exchange) if exchange.delivery.qos() == QoS::ExactlyOnce => {
                if exchange.stage == Stage::Published {
                    if exchange.delivery.is_recorded() {
                        self.journal.released(number, &exchange.delivery, id);
                    }
                    let (message, freed) = exchange.release(self.nothing.clone());
                    self.pool.give_back(message);
                    self.statistics.inflight_bytes -= freed as u64;
                    traffic.inflight.freed(freed);
                }
                ReasonCode::SUCCESS
            }
            Some(_) => return Err(Violation::Acknowledgement),
            None => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
        };
        if was_full {
            self.wake(key);
        }
        let gate = self.latest_gate().filter(|_| persistent).map(Gate::from);
        // [MQTT-4.3.3-4]
        self.acknowledge(key, gate, (AckKind::PubRel, id, reason));
        Ok(())
    }

    /// The client will not send that QoS 2 message again: its identifier is free. [MQTT-4.3.3-12]
    fn handle_pubrel(&mut self, key: Key, session: Key, ack: &Ack<'_>) -> Result<(), Violation> {
        let Some(session) = self.sessions.get_mut(session) else {
            return Ok(());
        };
        let persistent = session.is_persistent();
        let known = session
            .traffic
            .as_mut()
            .is_some_and(|t| t.received.remove(ack.packet_id));
        if known && self.journal.is_on() && session.is_persistent() {
            self.journal.completed(session.number, ack.packet_id);
        }
        let exchange = ExchangeId {
            session: session.number,
            packet_id: ack.packet_id,
        };
        // Also one that is not known here any more: a crash may have come between the shards. And
        // who asks again may have asked before, and other shards not have heard of it yet.
        let gate = match self.complete_exchange(exchange) || !known {
            true => self.latest_gate_everywhere(),
            false => self.latest_gate().filter(|_| persistent).map(Gate::from),
        };
        let reason = match known {
            true => ReasonCode::SUCCESS,
            false => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
        };
        // [MQTT-4.3.3-11]
        self.acknowledge(key, gate, (AckKind::PubComp, ack.packet_id, reason));
        Ok(())
    }

    /// A QoS 2 exchange is complete. [MQTT-4.3.3-5]
    fn handle_pubcomp(&mut self, key: Key, session: Key, ack: &Ack<'_>) -> Result<(), Violation> {
        self.finish(
            key,
            session,
            (ack.packet_id, QoS::ExactlyOnce, Stage::Released),
        )
    }

    /// Ends an exchange. One that is not open is left alone: the client may have acknowledged
    /// twice. One of another kind, or at another stage, is the client's confusion, and nothing it
    /// says about that message can be believed. MQTT 5.0 §4.3
    fn finish(
        &mut self,
        key: Key,
        session_key: Key,
        (id, qos, stage): (PacketId, QoS, Stage),
    ) -> Result<(), Violation> {
        let Some(session) = self.sessions.get_mut(session_key) else {
            return Ok(());
        };
        let Some(traffic) = session.traffic.as_mut() else {
            return Ok(());
        };
        let exchange = match traffic.inflight.awaiting(id, qos, stage) {
            Ok(exchange) => exchange,
            Err(NotAwaited::Unknown) => return Ok(()),
            Err(NotAwaited::Otherwise) => return Err(Violation::Acknowledgement),
        };
        if exchange.counted {
            traffic.outstanding -= 1;
        }
        if !exchange.sent {
            traffic.unsent -= 1;
        }
        let waiting = traffic.is_waiting();
        if let Some(ended) = traffic.inflight.end(id) {
            let is_to_be_tightened = traffic.is_to_be_tightened();
            self.finish_delivery(session_key.index, ended);
            if is_to_be_tightened {
                self.tighten_later(session_key);
            }
        }
        if waiting {
            self.wake(key);
        }
        Ok(())
    }
}
