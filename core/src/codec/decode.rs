//! From a frame to a packet. What only one version has is in `v3` and `v5`.

use crate::codec::filters::{SubscribeFilters, UnsubscribeFilters};
use crate::codec::frame::{self, Frame};
use crate::codec::packet::{
    Ack, ConnAck, Packet, PacketType, SubAck, Subscribe, Unsubscribe, Version,
};
use crate::codec::property::{Properties, PropertyContext};
use crate::codec::publish::decode_publish;
use crate::codec::reader::Reader;
use crate::codec::reason::ReasonCode;
use crate::codec::{connect, v3, v5};
use crate::error::{Malformed, Violation};

/// Decodes one packet, of either role. A CONNECT is decoded in the version that it names, whatever
/// `version` says.
///
/// # Errors
///
/// The peer's fault, and final: see [`Malformed`] and [`Violation`].
pub fn decode<'a>(version: Version, frame: Frame<'a>) -> Result<Packet<'a>, Violation> {
    let packet_type = frame::packet_type_in(version, frame.first_byte)?;
    let reader = frame.reader();
    Ok(match packet_type {
        PacketType::Connect => Packet::Connect(connect::decode(reader)?),
        PacketType::ConnAck => Packet::ConnAck(connack(reader, version)?),
        PacketType::Publish => Packet::Publish(decode_publish(version, frame)?),
        PacketType::PubAck => Packet::PubAck(ack(reader, version, PropertyContext::PubAck)?),
        PacketType::PubRec => Packet::PubRec(ack(reader, version, PropertyContext::PubRec)?),
        PacketType::PubRel => Packet::PubRel(ack(reader, version, PropertyContext::PubRel)?),
        PacketType::PubComp => Packet::PubComp(ack(reader, version, PropertyContext::PubComp)?),
        PacketType::Subscribe => Packet::Subscribe(subscribe(reader, version)?),
        PacketType::SubAck => Packet::SubAck(suback(reader, version)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(unsubscribe(reader, version)?),
        PacketType::UnsubAck => Packet::UnsubAck(unsuback(reader, version)?),
        PacketType::PingReq => {
            reader.finish()?;
            Packet::PingReq
        }
        PacketType::PingResp => {
            reader.finish()?;
            Packet::PingResp
        }
        PacketType::Disconnect => Packet::Disconnect(match version {
            Version::V3 | Version::V4 => v3::disconnect(reader)?,
            Version::V5 => v5::disconnect(reader)?,
        }),
        PacketType::Auth => Packet::Auth(match version {
            Version::V3 | Version::V4 => return Err(Malformed::PacketType.into()),
            Version::V5 => v5::auth(reader)?,
        }),
    })
}

/// The version that a CONNECT names, even if the rest of it does not decode: the one to answer it
/// in. `None` for other packets, and when there is no such version.
#[must_use]
pub fn connect_version(frame: Frame<'_>) -> Option<Version> {
    match frame::packet_type(frame.first_byte) {
        Ok(PacketType::Connect) => connect::protocol_version(&mut frame.reader()).ok(),
        Ok(_) | Err(_) => None,
    }
}

/// The properties that stand here in 5.0.
#[inline]
pub(super) fn properties<'a>(
    reader: &mut Reader<'a>,
    version: Version,
    context: PropertyContext,
) -> Result<Properties<'a>, Violation> {
    match version {
        Version::V3 | Version::V4 => Ok(Properties::EMPTY),
        Version::V5 => v5::properties(reader, context),
    }
}

/// The one flag of CONNACK.
pub(super) const SESSION_PRESENT: u8 = 1;

fn connack<'a>(mut reader: Reader<'a>, version: Version) -> Result<ConnAck<'a>, Violation> {
    let flags = reader.u8()?;
    let session_present = match version {
        Version::V3 => false, // There the byte is not used.
        Version::V4 | Version::V5 => flags & SESSION_PRESENT != 0,
    };
    if version != Version::V3 && flags & !SESSION_PRESENT != 0 {
        return Err(Malformed::ConnAckFlags.into()); // [MQTT-3.2.2-1]
    }
    let reason = match version {
        Version::V3 | Version::V4 => {
            ReasonCode::from_return_code(reader.u8()?).ok_or(Malformed::ReasonCode)?
        }
        Version::V5 => v5::reason(&mut reader, PacketType::ConnAck)?,
    };
    let properties = properties(&mut reader, version, PropertyContext::ConnAck)?;
    reader.finish()?;
    Ok(ConnAck {
        // A refusal has no session, whatever the flag says.
        session_present: session_present && !reason.is_error(),
        reason,
        properties,
    })
}

#[inline]
pub(super) fn ack<'a>(
    reader: Reader<'a>,
    version: Version,
    context: PropertyContext,
) -> Result<Ack<'a>, Violation> {
    match version {
        Version::V3 | Version::V4 => Ok(v3::ack(reader)?),
        Version::V5 => v5::ack(reader, context),
    }
}

fn subscribe<'a>(mut reader: Reader<'a>, version: Version) -> Result<Subscribe<'a>, Violation> {
    Ok(Subscribe {
        packet_id: reader.packet_id()?,
        properties: properties(&mut reader, version, PropertyContext::Subscribe)?,
        filters: SubscribeFilters::decode(reader.rest(), version)?,
    })
}

fn unsubscribe<'a>(mut reader: Reader<'a>, version: Version) -> Result<Unsubscribe<'a>, Violation> {
    Ok(Unsubscribe {
        packet_id: reader.packet_id()?,
        properties: properties(&mut reader, version, PropertyContext::Unsubscribe)?,
        filters: UnsubscribeFilters::decode(reader.rest())?,
    })
}

fn suback<'a>(mut reader: Reader<'a>, version: Version) -> Result<SubAck<'a>, Violation> {
    let packet_id = reader.packet_id()?;
    let properties = properties(&mut reader, version, PropertyContext::SubAck)?;
    let reasons = reasons(reader, |code| match version {
        Version::V3 | Version::V4 => v3::is_suback_code(code),
        Version::V5 => ReasonCode(code).belongs_in(PacketType::SubAck),
    })?;
    Ok(SubAck {
        packet_id,
        properties,
        reasons,
    })
}

fn unsuback<'a>(mut reader: Reader<'a>, version: Version) -> Result<SubAck<'a>, Violation> {
    let packet_id = reader.packet_id()?;
    let properties = properties(&mut reader, version, PropertyContext::UnsubAck)?;
    let reasons = match version {
        Version::V3 | Version::V4 => {
            reader.finish()?;
            &[]
        }
        Version::V5 => reasons(reader, |code| {
            ReasonCode(code).belongs_in(PacketType::UnsubAck)
        })?,
    };
    Ok(SubAck {
        packet_id,
        properties,
        reasons,
    })
}

/// The rest of a packet as reason codes: one per filter of the request, so at least one.
fn reasons<'a>(
    reader: Reader<'a>,
    belongs_here: impl Fn(u8) -> bool,
) -> Result<&'a [u8], Malformed> {
    let reasons = reader.rest();
    if reasons.is_empty() {
        return Err(Malformed::Truncated);
    }
    if !reasons.iter().all(|&code| belongs_here(code)) {
        return Err(Malformed::ReasonCode);
    }
    Ok(reasons)
}
