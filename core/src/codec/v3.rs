//! What only 3.1 and 3.1.1 write in their own way: no properties, and bytes that say less.
//!
//! Field layout only. What all versions share is in `decode` and `encode`.

use crate::codec::packet::{Ack, Disconnect, QoS, RetainHandling, SubscribeOptions};
use crate::codec::property::Properties;
use crate::codec::reader::Reader;
use crate::codec::reason::ReasonCode;
use crate::error::Malformed;

/// The body of PUBACK, PUBREC, PUBREL, PUBCOMP.
#[inline]
pub(super) fn ack<'a>(mut reader: Reader<'a>) -> Result<Ack<'a>, Malformed> {
    let packet_id = reader.packet_id()?;
    reader.finish()?;
    Ok(Ack::new(packet_id, ReasonCode::SUCCESS))
}

/// The body of DISCONNECT.
pub(super) fn disconnect<'a>(reader: Reader<'a>) -> Result<Disconnect<'a>, Malformed> {
    reader.finish()?;
    Ok(Disconnect {
        reason: ReasonCode::SUCCESS,
        properties: Properties::EMPTY,
    })
}

/// The byte beside a topic filter.
pub(super) fn subscribe_options(byte: u8) -> Result<SubscribeOptions, Malformed> {
    let maximum_qos = QoS::from_bits(byte).ok_or(Malformed::SubscriptionOptions)?; // [MQTT311-3.8.3-4]
    Ok(SubscribeOptions {
        maximum_qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    })
}

/// Whether SUBACK may carry this return code.
pub(super) const fn is_suback_code(byte: u8) -> bool {
    matches!(byte, 0 | 1 | 2 | SUBACK_FAILURE) // [MQTT311-3.9.3-2]
}

/// The one return code of SUBACK for what went wrong.
pub(super) const SUBACK_FAILURE: u8 = 0x80;
