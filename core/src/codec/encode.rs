//! From a packet to bytes. What only one version has is in `v3` and `v5`.

use crate::codec::decode::SESSION_PRESENT;
use crate::codec::frame::reserved_flags;
use crate::codec::packet::{
    Ack, ConnAck, Packet, PacketType, SubAck, Subscribe, Unsubscribe, Version,
};
use crate::codec::property::{Properties, PropertyContext};
use crate::codec::publish::put_publish;
use crate::codec::reason::ReasonCode;
use crate::codec::writer::{put_packet, put_string, put_u16};
use crate::codec::{connect, v3, v5};
use crate::error::EncodeError;
use alloc::vec::Vec;

/// Appends one packet, of either role, to `out`. A CONNECT is written in the version that it names,
/// whatever `version` says.
///
/// What a version leaves unsaid is left out: before 5.0 properties, and reason codes other than
/// those of CONNACK and SUBACK.
///
/// # Errors
///
/// The caller's fault, and `out` is as before: a packet that does not exist in this version, or
/// with content that no packet may have.
pub fn encode(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    let result = match packet {
        Packet::Publish(publish) => put_publish(out, publish, version),
        Packet::Connect(_)
        | Packet::ConnAck(_)
        | Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::Subscribe(_)
        | Packet::SubAck(_)
        | Packet::Unsubscribe(_)
        | Packet::UnsubAck(_)
        | Packet::PingReq
        | Packet::PingResp
        | Packet::Disconnect(_)
        | Packet::Auth(_) => {
            let packet_type = packet.packet_type();
            let flags = reserved_flags(packet_type).unwrap_or(0);
            let first_byte = (packet_type as u8) << 4 | flags;
            put_packet(out, first_byte, |out| put_body(out, packet, version))
        }
    };
    result.inspect_err(|_| out.truncate(start))
}

fn put_body(out: &mut Vec<u8>, packet: &Packet<'_>, version: Version) -> Result<(), EncodeError> {
    match packet {
        Packet::Connect(connect) => connect::encode(out, connect),
        Packet::ConnAck(connack) => put_connack(out, connack, version),
        Packet::Publish(publish) => put_publish(out, publish, version),
        Packet::PubAck(puback) => put_ack(out, puback, version, PropertyContext::PubAck),
        Packet::PubRec(pubrec) => put_ack(out, pubrec, version, PropertyContext::PubRec),
        Packet::PubRel(pubrel) => put_ack(out, pubrel, version, PropertyContext::PubRel),
        Packet::PubComp(pubcomp) => put_ack(out, pubcomp, version, PropertyContext::PubComp),
        Packet::Subscribe(subscribe) => put_subscribe(out, subscribe, version),
        Packet::SubAck(suback) => put_suback(out, suback, version),
        Packet::Unsubscribe(unsubscribe) => put_unsubscribe(out, unsubscribe, version),
        Packet::UnsubAck(unsuback) => put_unsuback(out, unsuback, version),
        Packet::PingReq | Packet::PingResp => Ok(()),
        Packet::Disconnect(disconnect) => match version {
            Version::V3 | Version::V4 if disconnect.reason == ReasonCode::SUCCESS => Ok(()),
            Version::V3 | Version::V4 => Err(EncodeError::NotInVersion),
            Version::V5 => v5::put_disconnect(out, disconnect),
        },
        Packet::Auth(auth) => match version {
            Version::V3 | Version::V4 => Err(EncodeError::NotInVersion),
            Version::V5 => v5::put_auth(out, auth),
        },
    }
}

/// The properties that stand here in 5.0.
pub(super) fn put_properties(
    out: &mut Vec<u8>,
    properties: Properties<'_>,
    version: Version,
    context: PropertyContext,
) -> Result<(), EncodeError> {
    match version {
        Version::V3 | Version::V4 => Ok(()),
        Version::V5 => v5::put_properties(out, properties, context),
    }
}

fn put_connack(
    out: &mut Vec<u8>,
    connack: &ConnAck<'_>,
    version: Version,
) -> Result<(), EncodeError> {
    let refused = connack.reason != ReasonCode::SUCCESS;
    let flags = match version {
        Version::V3 => 0, // There the byte is not used.
        Version::V4 | Version::V5 if connack.session_present && !refused => SESSION_PRESENT,
        Version::V4 | Version::V5 => 0, // [MQTT-3.2.2-6] [MQTT311-3.2.2-4]
    };
    out.push(flags);
    match version {
        Version::V3 | Version::V4 => out.push(connack.reason.to_return_code()),
        Version::V5 => v5::put_reason(out, connack.reason, PacketType::ConnAck)?,
    }
    put_properties(out, connack.properties, version, PropertyContext::ConnAck)
}

fn put_ack(
    out: &mut Vec<u8>,
    ack: &Ack<'_>,
    version: Version,
    context: PropertyContext,
) -> Result<(), EncodeError> {
    match version {
        Version::V3 | Version::V4 => {
            put_u16(out, ack.packet_id.get());
            Ok(())
        }
        Version::V5 => v5::put_ack(out, ack, context),
    }
}

fn put_subscribe(
    out: &mut Vec<u8>,
    subscribe: &Subscribe<'_>,
    version: Version,
) -> Result<(), EncodeError> {
    put_u16(out, subscribe.packet_id.get());
    put_properties(
        out,
        subscribe.properties,
        version,
        PropertyContext::Subscribe,
    )?;
    if subscribe.filters.is_empty() {
        return Err(EncodeError::NoEntries);
    }
    for (filter, options) in subscribe.filters {
        put_string(out, filter)?;
        let byte = v5::subscribe_options_byte(options);
        if version != Version::V5 && v3::subscribe_options(byte).is_err() {
            return Err(EncodeError::NotInVersion);
        }
        out.push(byte);
    }
    Ok(())
}

fn put_unsubscribe(
    out: &mut Vec<u8>,
    unsubscribe: &Unsubscribe<'_>,
    version: Version,
) -> Result<(), EncodeError> {
    put_u16(out, unsubscribe.packet_id.get());
    put_properties(
        out,
        unsubscribe.properties,
        version,
        PropertyContext::Unsubscribe,
    )?;
    if unsubscribe.filters.is_empty() {
        return Err(EncodeError::NoEntries);
    }
    out.extend_from_slice(unsubscribe.filters.as_bytes());
    Ok(())
}

fn put_suback(out: &mut Vec<u8>, suback: &SubAck<'_>, version: Version) -> Result<(), EncodeError> {
    put_u16(out, suback.packet_id.get());
    put_properties(out, suback.properties, version, PropertyContext::SubAck)?;
    if suback.reasons.is_empty() {
        return Err(EncodeError::NoEntries);
    }
    for &reason in suback.reasons {
        let reason = ReasonCode(reason);
        match version {
            Version::V3 | Version::V4 if reason.is_error() => out.push(v3::SUBACK_FAILURE),
            Version::V3 | Version::V4 if !v3::is_suback_code(reason.0) => {
                return Err(EncodeError::ReasonCode);
            }
            Version::V3 | Version::V4 => out.push(reason.0),
            Version::V5 => v5::put_reason(out, reason, PacketType::SubAck)?,
        }
    }
    Ok(())
}

fn put_unsuback(
    out: &mut Vec<u8>,
    unsuback: &SubAck<'_>,
    version: Version,
) -> Result<(), EncodeError> {
    put_u16(out, unsuback.packet_id.get());
    put_properties(out, unsuback.properties, version, PropertyContext::UnsubAck)?;
    match version {
        Version::V3 | Version::V4 => return Ok(()),
        Version::V5 if unsuback.reasons.is_empty() => return Err(EncodeError::NoEntries),
        Version::V5 => {}
    }
    for &reason in unsuback.reasons {
        v5::put_reason(out, ReasonCode(reason), PacketType::UnsubAck)?;
    }
    Ok(())
}
