//! What a client hears from the broker that is no message: each request has one answer.

use whimbrel_core::codec::packet::{Ack, PacketType, QoS, Version};
use whimbrel_core::codec::{Packet, ReasonCode};

/// An answer that a client must get, once, before anything else happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    kind: PacketType,
    id: u16,
    /// It says one of these.
    reasons: Vec<ReasonCode>,
}

/// An answer that a client has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) kind: PacketType,
    pub(crate) id: u16,
    pub(crate) reason: ReasonCode,
}

impl Answer {
    /// To PUBLISH. Only when nobody wants the message may that be said, and need not; a message
    /// that comes again was judged before, and either may have been said then.
    pub(crate) fn to_publish(qos: QoS, id: u16, somebody_wants_it: bool) -> Option<Self> {
        let kind = match qos {
            QoS::AtMostOnce => return None,
            QoS::AtLeastOnce => PacketType::PubAck,
            QoS::ExactlyOnce => PacketType::PubRec,
        };
        let mut reasons = vec![ReasonCode::SUCCESS];
        if !somebody_wants_it {
            reasons.push(ReasonCode::NO_MATCHING_SUBSCRIBERS);
        }
        Some(Self { kind, id, reasons })
    }

    /// PUBREL, to PUBREC; or PUBCOMP, to PUBREL. It says when there is no such exchange.
    pub(crate) fn to_ack(kind: PacketType, id: u16, is_known: bool) -> Self {
        let reason = match is_known {
            true => ReasonCode::SUCCESS,
            false => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
        };
        let reasons = vec![reason];
        Self { kind, id, reasons }
    }

    /// PINGRESP.
    pub(crate) fn to_ping() -> Self {
        Self {
            kind: PacketType::PingResp,
            id: 0,
            reasons: vec![ReasonCode::SUCCESS],
        }
    }

    /// To SUBSCRIBE: the QoS that was asked for is granted.
    pub(crate) fn to_subscribe(id: u16, granted: QoS) -> Self {
        Self {
            kind: PacketType::SubAck,
            id,
            reasons: vec![ReasonCode(granted as u8)],
        }
    }

    /// To UNSUBSCRIBE.
    pub(crate) fn to_unsubscribe(id: u16, was_there: bool) -> Self {
        let reason = match was_there {
            true => ReasonCode::SUCCESS,
            false => ReasonCode::NO_SUBSCRIPTION_EXISTED,
        };
        Self {
            kind: PacketType::UnsubAck,
            id,
            reasons: vec![reason],
        }
    }

    /// Whether that is what was heard. Before 5.0 only SUBACK has reasons.
    pub(crate) fn is(&self, heard: &Heard, version: Version) -> bool {
        let says_why = version == Version::V5 || self.kind == PacketType::SubAck;
        let is_right = match says_why {
            true => self.reasons.contains(&heard.reason),
            false => heard.reason == ReasonCode::SUCCESS,
        };
        (self.kind, self.id) == (heard.kind, heard.id) && is_right
    }
}

impl Heard {
    /// `None` when the packet answers nothing.
    pub(crate) fn of(packet: &Packet<'_>) -> Option<Self> {
        let (id, reason) = match packet {
            Packet::PubAck(ack)
            | Packet::PubRec(ack)
            | Packet::PubRel(ack)
            | Packet::PubComp(ack) => Self::of_ack(ack),
            // One filter is asked for, and one is answered for.
            Packet::SubAck(ack) | Packet::UnsubAck(ack) => match *ack.reasons {
                [] => (ack.packet_id.get(), ReasonCode::SUCCESS),
                [reason] => (ack.packet_id.get(), ReasonCode(reason)),
                _ => return None,
            },
            Packet::PingResp => (0, ReasonCode::SUCCESS),
            _ => return None,
        };
        let kind = packet.packet_type();
        Some(Self { kind, id, reason })
    }

    fn of_ack(ack: &Ack<'_>) -> (u16, ReasonCode) {
        (ack.packet_id.get(), ack.reason)
    }
}
