//! PUBACK, PUBREC, PUBREL and PUBCOMP, which come with every message above QoS 0.

use crate::codec::decode::ack;
use crate::codec::frame::{Frame, packet_type_in, reserved_flags};
use crate::codec::packet::{Ack, PacketType, Version};
use crate::codec::property::PropertyContext;
use crate::codec::reason::ReasonCode;
use crate::error::{Malformed, Violation};
use crate::id::PacketId;
use alloc::vec::Vec;

/// Decodes one of the four: what [`super::decode()`] does for them, without the choice between
/// packets.
///
/// # Errors
///
/// The peer's fault; or the frame is none of the four.
#[inline]
pub fn decode_ack(version: Version, frame: Frame<'_>) -> Result<Ack<'_>, Violation> {
    let context = match frame.first_byte {
        0x40 => PropertyContext::PubAck,
        0x50 => PropertyContext::PubRec,
        0x62 => PropertyContext::PubRel,
        0x70 => PropertyContext::PubComp,
        again if packet_type_in(version, again)? == PacketType::PubRel => PropertyContext::PubRel,
        _ => return Err(Malformed::PacketType.into()),
    };
    ack(frame.reader(), version, context)
}

/// Appends one of the four, without properties, in its shortest form: what [`super::encode()`] does
/// for such a one. The caller answers for the reason code being one of this packet.
#[inline]
pub fn encode_ack(
    packet_type: PacketType,
    (packet_id, reason): (PacketId, ReasonCode),
    version: Version,
    out: &mut Vec<u8>,
) {
    let first_byte = (packet_type as u8) << 4 | reserved_flags(packet_type).unwrap_or(0);
    let [high, low] = packet_id.get().to_be_bytes();
    if version == Version::V5 && reason != ReasonCode::SUCCESS {
        out.extend_from_slice(&[first_byte, 3, high, low, reason.0]);
    } else {
        out.extend_from_slice(&[first_byte, 2, high, low]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::packet::Packet;
    use crate::codec::{encode, frame};

    #[test]
    fn it_is_what_the_long_way_does() {
        let id = PacketId::new(0x1234).expect("not zero");
        for version in [Version::V3, Version::V4, Version::V5] {
            for reason in [ReasonCode::SUCCESS, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND] {
                let ack = Ack::new(id, reason);
                for packet in [
                    Packet::PubAck(ack),
                    Packet::PubRec(ack),
                    Packet::PubRel(ack),
                    Packet::PubComp(ack),
                ] {
                    let (mut long, mut short) = (Vec::new(), Vec::new());
                    if encode(&packet, version, &mut long).is_err() {
                        continue; // Not a reason of this packet.
                    }
                    // Before 5.0 there are no reasons here.
                    let spoken = match version {
                        Version::V3 | Version::V4 => ReasonCode::SUCCESS,
                        Version::V5 => reason,
                    };
                    encode_ack(packet.packet_type(), (id, reason), version, &mut short);
                    assert_eq!(long, short);
                    let (frame, _) = frame::split(&short, u32::MAX)
                        .expect("well-formed")
                        .expect("whole");
                    assert_eq!(decode_ack(version, frame), Ok(Ack::new(id, spoken)));
                }
            }
        }
    }
}
