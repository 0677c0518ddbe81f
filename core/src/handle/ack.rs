//! PUBACK, PUBREC, PUBREL, PUBCOMP.

use crate::broker::Broker;
use crate::codec::packet::{Ack, QoS};
use crate::codec::reason::ReasonCode;
use crate::error::Violation;
use crate::gate::{AckKind, Gate};
use crate::id::PacketId;
use crate::session::inflight::{Acknowledged, Stage};
use crate::slab::Key;

impl Broker {
    /// A QoS 1 message has arrived. [MQTT-4.3.2-3]
    pub(crate) fn handle_puback(
        &mut self,
        key: Key,
        session: Key,
        ack: &Ack<'_>,
    ) -> Result<(), Violation> {
        self.finish(
            key,
            session,
            (ack.packet_id, QoS::AtLeastOnce, Stage::Published),
        )
    }

    /// A QoS 2 message has arrived: it must not be sent again. An error code ends the exchange
    /// instead. [MQTT-4.3.3-3]
    pub(crate) fn handle_pubrec(
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
                    exchange.stage = Stage::Released; // [MQTT-4.3.3-6]
                    if exchange.delivery.is_recorded() {
                        self.journal.released(number, &exchange.delivery, id);
                    }
                    let before = exchange.delivery.cost_bytes();
                    exchange.delivery.message = self.nothing.clone();
                    let freed = before - exchange.delivery.cost_bytes();
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
    pub(crate) fn handle_pubrel(
        &mut self,
        key: Key,
        session: Key,
        ack: &Ack<'_>,
    ) -> Result<(), Violation> {
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
        let gate = self.latest_gate().filter(|_| persistent).map(Gate::from);
        let reason = match known {
            true => ReasonCode::SUCCESS,
            false => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
        };
        // [MQTT-4.3.3-11]
        self.acknowledge(key, gate, (AckKind::PubComp, ack.packet_id, reason));
        Ok(())
    }

    /// A QoS 2 exchange is complete. [MQTT-4.3.3-5]
    pub(crate) fn handle_pubcomp(
        &mut self,
        key: Key,
        session: Key,
        ack: &Ack<'_>,
    ) -> Result<(), Violation> {
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
        match traffic.inflight.is_at(id, qos, stage) {
            Acknowledged::Done => {}
            Acknowledged::Unknown => return Ok(()),
            Acknowledged::Otherwise => return Err(Violation::Acknowledgement),
        }
        let Some(exchange) = traffic.inflight.end(id) else {
            return Ok(());
        };
        if exchange.counted {
            traffic.outstanding -= 1;
        }
        if !exchange.sent {
            traffic.unsent -= 1;
        }
        let waiting = traffic.is_waiting();
        self.finish_delivery(session_key.index, &exchange.delivery);
        if waiting {
            self.wake(key);
        }
        Ok(())
    }
}
