//! What a client has received, taken apart.

use whimbrel_core::codec::packet::{ConnAck, PacketType, Publish, SubAck, Version};
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::codec::{self, Packet, frame};

/// A packet as it came, with the version it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The version of its connection.
    pub version: Version,
    /// The whole packet.
    pub bytes: Vec<u8>,
}

impl Received {
    /// Takes the packet apart.
    ///
    /// # Panics
    ///
    /// When the broker has sent something that is no packet.
    pub fn packet(&self) -> Packet<'_> {
        let split =
            frame::split(&self.bytes, u32::MAX).expect("the broker sends well-formed packets");
        let (frame, _) = split.expect("it is whole");
        codec::decode(self.version, frame).expect("the broker sends well-formed packets")
    }
}

impl Received {
    /// The packet as a PUBLISH.
    ///
    /// # Panics
    ///
    /// When it is something else.
    #[track_caller]
    pub fn publish(&self) -> Publish<'_> {
        match self.packet() {
            Packet::Publish(publish) => publish,
            other => panic!("{other:?}"),
        }
    }

    /// The packet as one of the four that acknowledge: which, of what, and how.
    ///
    /// # Panics
    ///
    /// When it is something else.
    #[track_caller]
    pub fn ack(&self) -> (PacketType, u16, ReasonCode) {
        let packet = self.packet();
        match packet {
            Packet::PubAck(ack)
            | Packet::PubRec(ack)
            | Packet::PubRel(ack)
            | Packet::PubComp(ack) => (packet.packet_type(), ack.packet_id.get(), ack.reason),
            other => panic!("{other:?}"),
        }
    }

    /// The packet as a CONNACK.
    ///
    /// # Panics
    ///
    /// When it is something else.
    #[track_caller]
    pub fn conn_ack(&self) -> ConnAck<'_> {
        match self.packet() {
            Packet::ConnAck(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// The packet as a SUBACK or UNSUBACK.
    ///
    /// # Panics
    ///
    /// When it is something else.
    #[track_caller]
    pub fn sub_ack(&self) -> SubAck<'_> {
        match self.packet() {
            Packet::SubAck(answer) | Packet::UnsubAck(answer) => answer,
            other => panic!("{other:?}"),
        }
    }
}
