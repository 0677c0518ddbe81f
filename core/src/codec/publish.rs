//! PUBLISH, the packet that a broker spends its time on.

use crate::codec::REMAINING_LENGTH_MAX;
use crate::codec::frame::{Frame, PublishFlags};
use crate::codec::packet::{Publish, QoS, Version};
use crate::codec::property::{Properties, PropertyContext};
use crate::codec::reader::string;
use crate::codec::writer::{
    put_u16, put_variable_byte_integer, variable_byte_integer, variable_byte_integer_len,
};
use crate::error::{EncodeError, Malformed, Violation};
use crate::id::PacketId;
use alloc::string::String;
use alloc::vec::Vec;

/// Decodes a PUBLISH: what [`super::decode()`] does for one, without the choice between packets.
///
/// # Errors
///
/// The peer's fault; or the frame is not a PUBLISH.
#[inline]
pub fn decode_publish(version: Version, frame: Frame<'_>) -> Result<Publish<'_>, Violation> {
    parse(version, frame, string, |publish| Ok(*publish))
}

/// The same, with the topic of the last one at hand.
///
/// # Errors
///
/// Those of [`decode_publish`].
#[inline]
pub fn decode_publish_after<'a>(
    version: Version,
    frame: Frame<'a>,
    last: &'a mut LastTopic,
) -> Result<Publish<'a>, Violation> {
    with_publish_after(version, frame, last, |publish| Ok(*publish))
}

/// The same, and calls `then` with the packet where it was put together.
#[inline]
pub(crate) fn with_publish_after<'a, R>(
    version: Version,
    frame: Frame<'a>,
    last: &'a mut LastTopic,
    then: impl FnOnce(&Publish<'a>) -> Result<R, Violation>,
) -> Result<R, Violation> {
    parse(version, frame, |bytes| last.text(bytes), then)
}

/// The topic of the last PUBLISH. Who publishes in batches mostly publishes to one topic, and its
/// text is validated once.
#[derive(Debug, Default)]
pub struct LastTopic(String);

impl LastTopic {
    #[inline]
    fn text(&mut self, bytes: &[u8]) -> Result<&str, Malformed> {
        if bytes != self.0.as_bytes() {
            self.replace(bytes)?;
        }
        Ok(&self.0)
    }

    fn replace(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let text = string(bytes)?;
        self.0.clear();
        self.0.push_str(text);
        Ok(())
    }
}

/// Calls `then` with the packet where it was put together. To return it would copy it with wide
/// loads right after narrow stores; see "What the processor waits for" in `docs/architecture.md`.
#[inline]
fn parse<'a, R>(
    version: Version,
    frame: Frame<'a>,
    text: impl FnOnce(&'a [u8]) -> Result<&'a str, Malformed>,
    then: impl FnOnce(&Publish<'a>) -> Result<R, Violation>,
) -> Result<R, Violation> {
    let flags = PublishFlags::from_first_byte(frame.first_byte)?;
    let mut reader = frame.reader();
    let mut publish = Publish {
        dup: flags.dup(),
        qos: flags.qos(),
        retain: flags.retain(),
        topic: text(reader.binary()?)?, // [MQTT-3.3.2-1] [MQTT311-3.3.2-1]
        packet_id: None,
        properties: Properties::EMPTY,
        payload: &[],
    };
    // [MQTT-2.2.1-2] [MQTT311-2.3.1-5]
    if publish.qos > QoS::AtMostOnce {
        publish.packet_id = Some(reader.packet_id()?);
    }
    // As in `v5::properties`, without a result to be copied.
    if version == Version::V5 {
        let length = reader.variable_byte_integer()?;
        if length > 0 {
            let bytes = reader.bytes(length as usize)?;
            publish.properties = Properties::decode(bytes, PropertyContext::Publish)?;
        }
    }
    publish.payload = reader.rest();
    then(&publish)
}

/// What a PUBLISH to be sent is put together from. Nothing is checked that a message which came in
/// through [`decode_publish`] has proven already.
///
/// ```
/// use whimbrel_core::codec::{PublishFlags, PublishParts, packet::{QoS, Version}};
///
/// let template = PublishParts {
///     flags: PublishFlags::of(QoS::AtLeastOnce),
///     topic: "a/b",
///     packet_id: None, // differs between recipients
///     properties: [&[], &[]],
///     payload: b"42",
/// };
/// let mut out = Vec::new();
/// let packet_id_at = template.encode(Version::V5, 1_000, &mut out).expect("it is small");
/// assert_eq!(template.encoded_len(Version::V5), Some(out.len()));
/// out[packet_id_at..packet_id_at + 2].copy_from_slice(&7_u16.to_be_bytes());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishParts<'a> {
    /// DUP, QoS and RETAIN.
    pub flags: PublishFlags,
    /// At most 65,535 bytes.
    pub topic: &'a str,
    /// Written above QoS 0 only, and as zero when absent, to be patched.
    pub packet_id: Option<PacketId>,
    /// Raw properties, written one after the other. Ignored before 5.0.
    pub properties: [&'a [u8]; 2],
    /// Anything.
    pub payload: &'a [u8],
}

/// The lengths that a PUBLISH states.
struct Lengths {
    properties: u32,
    remaining: u32,
}

impl PublishParts<'_> {
    /// The size of the whole packet in bytes; `None` when the protocol cannot say it.
    #[must_use]
    #[inline]
    pub fn encoded_len(&self, version: Version) -> Option<usize> {
        self.lengths(version).map(|lengths| lengths.whole())
    }

    /// Appends the packet to `out`, if it takes no more than `maximum` bytes. Answers where in
    /// `out` its packet identifier stands, or at QoS 0 would stand, so that a copy can be patched
    /// for another recipient; `None` when it is larger, or the protocol cannot say it. Nothing is
    /// written then.
    #[inline]
    pub fn encode(&self, version: Version, maximum: u32, out: &mut Vec<u8>) -> Option<usize> {
        let lengths = self.lengths(version)?;
        if lengths.whole() > maximum as usize {
            return None;
        }
        // First byte, remaining length and the length of the topic as one number.
        let (remaining, len) = variable_byte_integer(lengths.remaining);
        let topic_len = (self.topic.len() as u16).swap_bytes(); // its high byte comes first
        let head = u64::from(self.flags.first_byte())
            | u64::from(remaining) << 8
            | u64::from(topic_len) << (8 + 8 * len);
        let topic_at = out.len() + 3 + len;
        // All of it is written before what is too much is cut off.
        out.reserve(lengths.whole().max(size_of_val(&head)));
        out.extend_from_slice(&head.to_le_bytes());
        out.truncate(topic_at);
        out.extend_from_slice(self.topic.as_bytes());
        let packet_id_at = out.len();
        if self.flags.qos() != QoS::AtMostOnce {
            put_u16(out, self.packet_id.map_or(0, PacketId::get));
        }
        if version == Version::V5 {
            put_variable_byte_integer(out, lengths.properties);
            for properties in self.properties.iter().filter(|some| !some.is_empty()) {
                out.extend_from_slice(properties);
            }
        }
        out.extend_from_slice(self.payload);
        Some(packet_id_at)
    }

    #[inline]
    fn lengths(&self, version: Version) -> Option<Lengths> {
        if self.topic.len() > usize::from(u16::MAX) {
            return None;
        }
        let [first, second] = self.properties;
        let properties = up_to_max(first.len() as u64 + second.len() as u64)?;
        let mut remaining = 2 + self.topic.len() as u64 + self.payload.len() as u64;
        if self.flags.qos() != QoS::AtMostOnce {
            remaining += 2;
        }
        if version == Version::V5 {
            remaining += variable_byte_integer_len(properties) as u64 + u64::from(properties);
        }
        Some(Lengths {
            properties,
            remaining: up_to_max(remaining)?,
        })
    }
}

impl Lengths {
    const fn whole(&self) -> usize {
        1 + variable_byte_integer_len(self.remaining) + self.remaining as usize
    }
}

fn up_to_max(len: u64) -> Option<u32> {
    u32::try_from(len)
        .ok()
        .filter(|&len| len <= REMAINING_LENGTH_MAX)
}

/// Encodes a PUBLISH after checking what [`PublishParts`] takes for granted.
pub(super) fn put_publish(
    out: &mut Vec<u8>,
    publish: &Publish<'_>,
    version: Version,
) -> Result<(), EncodeError> {
    let at_most_once = publish.qos == QoS::AtMostOnce;
    if at_most_once == publish.packet_id.is_some() || at_most_once && publish.dup {
        return Err(EncodeError::PublishFlags);
    }
    if publish.topic.len() > usize::from(u16::MAX) {
        return Err(EncodeError::FieldTooLong);
    }
    if publish.topic.as_bytes().contains(&0) {
        return Err(EncodeError::NullCharacter);
    }
    publish.properties.check(PropertyContext::Publish)?;
    let parts = PublishParts {
        flags: publish.flags(),
        topic: publish.topic,
        packet_id: publish.packet_id,
        properties: [publish.properties.as_bytes(), &[]],
        payload: publish.payload,
    };
    match parts.encode(version, u32::MAX, out) {
        Some(_) => Ok(()),
        None => Err(EncodeError::TooLarge),
    }
}
