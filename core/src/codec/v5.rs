//! What only 5.0 writes in its own way: properties, reason codes, and short forms without them.
//!
//! Field layout only. What all versions share is in `decode` and `encode`.

use crate::codec::packet::{
    Ack, Auth, Disconnect, PacketType, QoS, RetainHandling, SubscribeOptions,
};
use crate::codec::property::{Properties, PropertyContext};
use crate::codec::reader::Reader;
use crate::codec::reason::ReasonCode;
use crate::codec::writer::{put_u16, put_with_length};
use crate::error::{EncodeError, Malformed, Violation};
use alloc::vec::Vec;

/// A property list with its length.
#[inline]
pub(super) fn properties<'a>(
    reader: &mut Reader<'a>,
    context: PropertyContext,
) -> Result<Properties<'a>, Violation> {
    let len = reader.variable_byte_integer()?;
    if len == 0 {
        return Ok(Properties::EMPTY);
    }
    Properties::decode(reader.bytes(len as usize)?, context)
}

/// Inverse of [`properties`].
pub(super) fn put_properties(
    out: &mut Vec<u8>,
    properties: Properties<'_>,
    context: PropertyContext,
) -> Result<(), EncodeError> {
    properties.check(context)?;
    let length_at = out.len();
    out.push(0); // [MQTT-2.2.2-1]
    put_with_length(out, length_at, |out| {
        out.extend_from_slice(properties.as_bytes());
        Ok(())
    })
}

/// A reason code that packets of this type may carry.
pub(super) fn reason(
    reader: &mut Reader<'_>,
    packet_type: PacketType,
) -> Result<ReasonCode, Malformed> {
    let reason = ReasonCode(reader.u8()?);
    if reason.belongs_in(packet_type) {
        Ok(reason)
    } else {
        Err(Malformed::ReasonCode)
    }
}

/// Inverse of [`reason`].
pub(super) fn put_reason(
    out: &mut Vec<u8>,
    reason: ReasonCode,
    packet_type: PacketType,
) -> Result<(), EncodeError> {
    if !reason.belongs_in(packet_type) {
        return Err(EncodeError::ReasonCode);
    }
    out.push(reason.0);
    Ok(())
}

/// The body of PUBACK, PUBREC, PUBREL, PUBCOMP: what is left out means success and no properties.
pub(super) fn ack<'a>(
    mut reader: Reader<'a>,
    context: PropertyContext,
) -> Result<Ack<'a>, Violation> {
    let mut ack = Ack::new(reader.packet_id()?, ReasonCode::SUCCESS);
    if !reader.is_empty() {
        ack.reason = reason(&mut reader, context.packet_type())?;
    }
    if !reader.is_empty() {
        ack.properties = properties(&mut reader, context)?;
    }
    reader.finish()?;
    Ok(ack)
}

/// Inverse of [`ack`], in the shortest form.
pub(super) fn put_ack(
    out: &mut Vec<u8>,
    ack: &Ack<'_>,
    context: PropertyContext,
) -> Result<(), EncodeError> {
    put_u16(out, ack.packet_id.get());
    if ack.reason != ReasonCode::SUCCESS || !ack.properties.is_empty() {
        put_reason(out, ack.reason, context.packet_type())?;
    }
    if !ack.properties.is_empty() {
        put_properties(out, ack.properties, context)?;
    }
    Ok(())
}

/// The body of DISCONNECT: what is left out means success and no properties.
pub(super) fn disconnect<'a>(mut reader: Reader<'a>) -> Result<Disconnect<'a>, Violation> {
    let mut disconnect = Disconnect {
        reason: ReasonCode::SUCCESS,
        properties: Properties::EMPTY,
    };
    if !reader.is_empty() {
        disconnect.reason = reason(&mut reader, PacketType::Disconnect)?;
    }
    if !reader.is_empty() {
        disconnect.properties = properties(&mut reader, PropertyContext::Disconnect)?;
    }
    reader.finish()?;
    Ok(disconnect)
}

/// Inverse of [`disconnect`], in the shortest form.
pub(super) fn put_disconnect(
    out: &mut Vec<u8>,
    disconnect: &Disconnect<'_>,
) -> Result<(), EncodeError> {
    if disconnect.reason != ReasonCode::SUCCESS || !disconnect.properties.is_empty() {
        put_reason(out, disconnect.reason, PacketType::Disconnect)?;
    }
    if !disconnect.properties.is_empty() {
        put_properties(out, disconnect.properties, PropertyContext::Disconnect)?;
    }
    Ok(())
}

/// The body of AUTH: all of it may be left out, which means success; the properties alone may not.
pub(super) fn auth<'a>(mut reader: Reader<'a>) -> Result<Auth<'a>, Violation> {
    if reader.is_empty() {
        return Ok(Auth {
            reason: ReasonCode::SUCCESS,
            properties: Properties::EMPTY,
        });
    }
    let reason = reason(&mut reader, PacketType::Auth)?;
    let properties = properties(&mut reader, PropertyContext::Auth)?;
    reader.finish()?;
    Ok(Auth { reason, properties })
}

/// Inverse of [`auth`], in the shortest form.
pub(super) fn put_auth(out: &mut Vec<u8>, auth: &Auth<'_>) -> Result<(), EncodeError> {
    if auth.reason == ReasonCode::SUCCESS && auth.properties.is_empty() {
        return Ok(());
    }
    put_reason(out, auth.reason, PacketType::Auth)?;
    put_properties(out, auth.properties, PropertyContext::Auth)
}

const MAXIMUM_QOS: u8 = 0b0000_0011;
const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RETAIN_HANDLING: u8 = 0b0011_0000;
const RESERVED: u8 = 0b1100_0000;

/// The byte beside a topic filter.
pub(super) fn subscribe_options(byte: u8) -> Result<SubscribeOptions, Malformed> {
    if byte & RESERVED != 0 {
        return Err(Malformed::SubscriptionOptions); // [MQTT-3.8.3-5]
    }
    let maximum_qos = QoS::from_bits(byte & MAXIMUM_QOS).ok_or(Malformed::SubscriptionOptions)?;
    let retain_handling = RetainHandling::from_bits((byte & RETAIN_HANDLING) >> 4)
        .ok_or(Malformed::SubscriptionOptions)?;
    Ok(SubscribeOptions {
        maximum_qos,
        no_local: byte & NO_LOCAL != 0,
        retain_as_published: byte & RETAIN_AS_PUBLISHED != 0,
        retain_handling,
    })
}

/// Inverse of [`subscribe_options`]. What only has a QoS looks like 3.x.
pub(super) const fn subscribe_options_byte(options: SubscribeOptions) -> u8 {
    let mut byte = options.maximum_qos as u8 | (options.retain_handling as u8) << 4;
    if options.no_local {
        byte |= NO_LOCAL;
    }
    if options.retain_as_published {
        byte |= RETAIN_AS_PUBLISHED;
    }
    byte
}
