//! The fixed header: where a packet ends, whether it may be that big, and whether its first byte
//! can be one at all.
//!
//! Nothing here looks into the body, and nothing is kept between calls: the caller holds the bytes.

use crate::codec::packet::{PacketType, QoS, Version};
use crate::codec::reader::{Reader, variable_byte_integer};
use crate::error::{Malformed, Violation};
use core::fmt;

/// One whole packet: its first byte, and what follows the remaining length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Packet type and flags.
    pub first_byte: u8,
    /// Variable header and payload.
    pub body: &'a [u8],
}

/// Cuts the first packet off `bytes`: the packet and the number of bytes it takes, or `None` when
/// more bytes are needed.
///
/// # Errors
///
/// The peer's fault, and final: packet type 0, flags that the type must not have, a remaining
/// length that is not in its shortest form or longer than four bytes, a packet of more than
/// `maximum_packet_size` bytes. Each is reported from the first byte that shows it.
#[inline]
pub fn split(
    bytes: &[u8],
    maximum_packet_size: u32,
) -> Result<Option<(Frame<'_>, usize)>, Violation> {
    let Some((&first_byte, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    packet_type(first_byte)?;
    let Some((remaining_length, length_bytes)) =
        variable_byte_integer(rest, Malformed::RemainingLength)?
    else {
        return Ok(None);
    };
    let header = 1 + length_bytes;
    let whole = header + remaining_length as usize;
    if whole > maximum_packet_size as usize {
        return Err(Violation::PacketTooLarge);
    }
    let Some(body) = bytes.get(header..whole) else {
        return Ok(None);
    };
    Ok(Some((Frame { first_byte, body }, whole)))
}

/// Whether a packet is a PUBLISH, by its first byte.
#[must_use]
#[inline]
pub const fn is_publish(first_byte: u8) -> bool {
    first_byte >> 4 == 3
}

/// Whether a packet is a CONNECT, by its first byte.
#[must_use]
#[inline]
pub const fn is_connect(first_byte: u8) -> bool {
    first_byte >> 4 == 1
}

/// The size of the whole packet that `bytes` starts with, as soon as its remaining length is
/// complete: what to reserve for reassembling it. `None` when that is not known yet, or never will
/// be.
#[must_use]
pub fn needed(bytes: &[u8]) -> Option<usize> {
    let (_, rest) = bytes.split_first()?;
    let (remaining_length, length_bytes) =
        variable_byte_integer(rest, Malformed::RemainingLength).ok()??;
    Some(1 + length_bytes + remaining_length as usize)
}

impl<'a> Frame<'a> {
    pub(super) const fn reader(self) -> Reader<'a> {
        Reader::new(self.body)
    }
}

/// DUP, QoS and RETAIN of a PUBLISH, as its first byte has them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublishFlags(u8);

const PUBLISH: u8 = 0x30;
const DUP: u8 = 0b1000;
const QOS: u8 = 0b0110;
const RETAIN: u8 = 0b0001;

impl PublishFlags {
    /// This QoS, and neither DUP nor RETAIN.
    #[must_use]
    #[inline]
    pub const fn of(qos: QoS) -> Self {
        Self((qos as u8) << 1)
    }

    /// With this DUP. Not checked: a message of QoS 0 must not have it.
    #[must_use]
    #[inline]
    pub const fn with_dup(self, dup: bool) -> Self {
        Self(self.0 & !DUP | (dup as u8) << 3)
    }

    /// With this RETAIN.
    #[must_use]
    #[inline]
    pub const fn with_retain(self, retain: bool) -> Self {
        Self(self.0 & !RETAIN | retain as u8)
    }

    /// DUP: it may have been delivered before.
    #[must_use]
    #[inline]
    pub const fn dup(self) -> bool {
        self.0 & DUP != 0
    }

    /// The QoS that it is sent with.
    #[must_use]
    #[inline]
    pub const fn qos(self) -> QoS {
        match self.0 & QOS {
            0 => QoS::AtMostOnce,
            0b0010 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    /// RETAIN: it was retained, or is to be.
    #[must_use]
    #[inline]
    pub const fn retain(self) -> bool {
        self.0 & RETAIN != 0
    }

    /// As a number below 16.
    #[inline]
    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    #[inline]
    pub(super) const fn from_first_byte(first_byte: u8) -> Result<Self, Malformed> {
        if first_byte & 0xF0 != PUBLISH {
            return Err(Malformed::PacketType);
        }
        let flags = Self(first_byte & 0x0F);
        let qos = flags.0 & QOS;
        if qos == QOS {
            return Err(Malformed::QoS); // [MQTT-3.3.1-4] [MQTT311-3.3.1-4]
        }
        if flags.dup() && qos == 0 {
            return Err(Malformed::DupAtMostOnce); // [MQTT-3.3.1-2] [MQTT311-3.3.1-2]
        }
        Ok(flags)
    }

    #[inline]
    pub(super) const fn first_byte(self) -> u8 {
        PUBLISH | self.0
    }
}

impl fmt::Debug for PublishFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishFlags")
            .field("dup", &self.dup())
            .field("qos", &self.qos())
            .field("retain", &self.retain())
            .finish()
    }
}

/// The packet type, once the flags beside it are known to be right in some version; see
/// [`packet_type_in`].
#[inline]
pub(crate) fn packet_type(first_byte: u8) -> Result<PacketType, Malformed> {
    match KINDS[usize::from(first_byte)] {
        Some(packet_type) => Ok(packet_type),
        None => judge(first_byte),
    }
}

/// The same in one version. MQTT 3.1 has DUP on PUBREL, SUBSCRIBE and UNSUBSCRIBE, for what a
/// client sends again; in later versions that is malformed.
#[inline]
pub(super) fn packet_type_in(version: Version, first_byte: u8) -> Result<PacketType, Malformed> {
    let packet_type = packet_type(first_byte)?;
    if matches!(first_byte, 0x6A | 0x8A | 0xAA) && version != Version::V3 {
        return Err(Malformed::FixedHeaderFlags);
    }
    Ok(packet_type)
}

/// What can begin with each byte: every packet is looked up here, some twice.
static KINDS: [Option<PacketType>; 256] = {
    let mut kinds = [None; 256];
    let mut first_byte = 0;
    while first_byte < kinds.len() {
        if let Ok(packet_type) = judge(first_byte as u8) {
            kinds[first_byte] = Some(packet_type);
        }
        first_byte += 1;
    }
    kinds
};

/// What the table is made from, and why a byte is not in it.
#[cold]
const fn judge(first_byte: u8) -> Result<PacketType, Malformed> {
    let Some(packet_type) = PacketType::from_bits(first_byte >> 4) else {
        return Err(Malformed::PacketType);
    };
    let Some(flags) = reserved_flags(packet_type) else {
        return match PublishFlags::from_first_byte(first_byte) {
            Ok(_) => Ok(packet_type),
            Err(error) => Err(error),
        };
    };
    let given = first_byte & 0x0F;
    // [MQTT-2.1.3-1] [MQTT311-2.2.2-1] [MQTT311-2.2.2-2]
    if given == flags || flags != 0 && given == flags | DUP {
        Ok(packet_type)
    } else {
        Err(Malformed::FixedHeaderFlags)
    }
}

/// The flags that this packet type must have; `None` for PUBLISH, where they carry meaning.
pub(super) const fn reserved_flags(packet_type: PacketType) -> Option<u8> {
    match packet_type {
        PacketType::Publish => None,
        PacketType::PubRel => Some(0b0010), // [MQTT-3.6.1-1] [MQTT311-3.6.1-1]
        PacketType::Subscribe => Some(0b0010), // [MQTT-3.8.1-1] [MQTT311-3.8.1-1]
        PacketType::Unsubscribe => Some(0b0010), // [MQTT-3.10.1-1] [MQTT311-3.10.1-1]
        PacketType::Disconnect => Some(0),  // [MQTT-3.14.1-1] [MQTT311-3.14.1-1]
        PacketType::Auth => Some(0),        // [MQTT-3.15.1-1]
        PacketType::Connect
        | PacketType::ConnAck
        | PacketType::PubAck
        | PacketType::PubRec
        | PacketType::PubComp
        | PacketType::SubAck
        | PacketType::UnsubAck
        | PacketType::PingReq
        | PacketType::PingResp => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn flags_stand_as_they_are_in_the_first_byte() {
        for first_byte in 0x30..=0x3F_u8 {
            let given = PublishFlags::from_first_byte(first_byte);
            // QoS 3, and DUP at QoS 0.
            let is_wrong = matches!(first_byte & 0x0F, 0x6 | 0x7 | 0x8 | 0x9 | 0xE | 0xF);
            assert_eq!(given.is_err(), is_wrong, "{first_byte:#x}");
            let Ok(flags) = given else { continue };
            assert_eq!(flags.first_byte(), first_byte);
            let built = PublishFlags::of(flags.qos())
                .with_dup(flags.dup())
                .with_retain(flags.retain());
            assert_eq!(built, flags);
            assert_eq!(flags.with_dup(true).with_dup(false), flags.with_dup(false));
        }
        let said = format!("{:?}", PublishFlags::of(QoS::ExactlyOnce).with_dup(true));
        assert_eq!(
            said,
            "PublishFlags { dup: true, qos: ExactlyOnce, retain: false }"
        );
    }
}
