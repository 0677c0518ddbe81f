//! A message: what was published, immutable and shared by everybody who has still to get it.
//!
//! One allocation holds all of it: a fixed header, topic name, properties and payload. The same
//! bytes are what the log stores and what travels between shards.
//!
//! ```text
//! 0        8          16        24      25              26             28                32
//! | origin | sequence | expires | flags | tenant length | topic length | property length |
//! |        |          |         |       | u8            | u16          | u32             |
//! tenant topic properties payload
//! ```
//! The tenant is that of the publisher; without one the length is 0. All numbers little-endian. The
//! properties are those a broker forwards unaltered, as on the wire.
//!
//! While a message only waits, and the log has it, memory may keep its *stub*: header, tenant and
//! topic, and in place of properties and payload the length and the checksum of the whole. What is
//! read back is compared with them, wherever it was kept.

pub(crate) mod pool;

use crate::codec::packet::QoS;
use crate::id::MessageId;
use crate::log::crc32c::Crc32c;
use crate::time::UnixTime;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// What a message takes beside tenant, topic, properties and payload.
pub(crate) const HEADER: usize = 32;
const FLAG_QOS: u8 = 0b0000_0011;
/// Only in memory: see [`Message::stub`].
const FLAG_STUB: u8 = 0b1000_0000;
const FLAGS_AT: usize = 24;
const TENANT_LENGTH_AT: usize = 25;

/// A published message. Cloning shares it.
#[derive(Clone, PartialEq, Eq)]
pub struct Message(Arc<[u8]>);

/// The fields of a message, borrowed: what [`Message`] is built from and taken apart to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageView<'a> {
    /// Its name.
    pub id: MessageId,
    /// The QoS it was published with.
    pub qos: QoS,
    /// When it is no longer wanted; `MAX` when it never expires.
    pub expires_at: UnixTime,
    /// In the namespace of which tenant; empty for the one that all others share. At most 255
    /// bytes.
    pub tenant: &'a str,
    /// Where to.
    pub topic: &'a str,
    /// Raw 5.0 properties that are forwarded unaltered.
    pub properties: &'a [u8],
    /// Anything.
    pub payload: &'a [u8],
}

impl<'a> MessageView<'a> {
    /// Whether it has waited too long in a queue. [MQTT-3.3.2-5]
    pub(crate) fn is_expired(&self, wall: UnixTime) -> bool {
        self.expires_at <= wall
    }

    /// The same for one that comes from its publisher, by whatever way, and has been in no queue:
    /// with an interval of 0 it is for who is here now.
    pub(crate) fn is_late(&self, wall: UnixTime) -> bool {
        self.expires_at < wall
    }

    /// Copies the message into one shared allocation. `scratch` is working space.
    #[must_use]
    pub fn to_message(&self, scratch: &mut Vec<u8>) -> Message {
        scratch.clear();
        scratch.reserve(self.encoded_len());
        self.write(scratch);
        Message(Arc::from(scratch.as_slice()))
    }

    /// Appends the stored form.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        let header = out[start..].first_chunk_mut();
        self.write_header(header.expect("it was appended"));
        for piece in self.pieces() {
            if !piece.is_empty() {
                out.extend_from_slice(piece);
            }
        }
    }

    /// The stored form, into as many bytes as it has.
    fn fill(&self, out: &mut [u8]) {
        let split = out.split_first_chunk_mut();
        let (header, mut rest) = split.expect("it has room for the header");
        self.write_header(header);
        for piece in self.pieces() {
            let (place, behind) = rest.split_at_mut(piece.len());
            place.copy_from_slice(piece);
            rest = behind;
        }
        debug_assert!(rest.is_empty(), "it is as long as the message");
    }

    /// Field by field, into its place.
    #[inline]
    fn write_header(&self, header: &mut [u8; HEADER]) {
        let tenant_len = u8::try_from(self.tenant.len()).unwrap_or(u8::MAX);
        let topic_len = u16::try_from(self.topic.len()).unwrap_or(u16::MAX);
        let properties_len = u32::try_from(self.properties.len()).unwrap_or(u32::MAX);
        debug_assert_eq!(usize::from(tenant_len), self.tenant.len(), "it fits");
        debug_assert_eq!(usize::from(topic_len), self.topic.len(), "it fits");
        header[..8].copy_from_slice(&self.id.origin.to_le_bytes());
        header[8..16].copy_from_slice(&self.id.sequence.to_le_bytes());
        header[16..FLAGS_AT].copy_from_slice(&self.expires_at.0.to_le_bytes());
        header[FLAGS_AT] = self.qos as u8;
        header[TENANT_LENGTH_AT] = tenant_len;
        header[26..28].copy_from_slice(&topic_len.to_le_bytes());
        header[28..].copy_from_slice(&properties_len.to_le_bytes());
    }

    /// What follows the header.
    const fn pieces(&self) -> [&[u8]; 4] {
        [
            self.tenant.as_bytes(),
            self.topic.as_bytes(),
            self.properties,
            self.payload,
        ]
    }

    /// Bytes that the message takes, without the allocator's overhead.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        HEADER + self.tenant.len() + self.topic.len() + self.properties.len() + self.payload.len()
    }

    /// Takes stored bytes apart; `None` when they are no message.
    #[must_use]
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        let u64_at = |at: usize| {
            header[at..]
                .first_chunk::<8>()
                .map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let topic_len = usize::from(u16::from_le_bytes([header[26], header[27]]));
        let properties_len =
            u32::from_le_bytes([header[28], header[29], header[30], header[31]]) as usize;
        let (tenant, rest) = rest.split_at_checked(usize::from(header[TENANT_LENGTH_AT]))?;
        let (topic, rest) = rest.split_at_checked(topic_len)?;
        let (properties, payload) = rest.split_at_checked(properties_len)?;
        Some(Self {
            id: MessageId {
                origin: u64_at(0),
                sequence: u64_at(8),
            },
            qos: QoS::from_bits(header[24] & FLAG_QOS)?,
            expires_at: UnixTime(u64_at(16)),
            tenant: match tenant {
                [] => "",
                tenant => core::str::from_utf8(tenant).ok()?,
            },
            topic: core::str::from_utf8(topic).ok()?,
            properties,
            payload,
        })
    }
}

impl Message {
    /// A message without topic and payload, to stand in for one that is no longer needed.
    pub(crate) fn nothing() -> Self {
        let view = MessageView {
            id: MessageId {
                origin: 0,
                sequence: 0,
            },
            qos: QoS::AtMostOnce,
            expires_at: UnixTime::MAX,
            tenant: "",
            topic: "",
            properties: &[],
            payload: &[],
        };
        view.to_message(&mut Vec::new())
    }

    /// Takes stored bytes as a message; `None` when they are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        MessageView::parse(bytes)?;
        (bytes.get(FLAGS_AT)? & FLAG_STUB == 0).then(|| Self(Arc::from(bytes)))
    }

    /// The same for what was in memory: it may be a [stub](Self::stub).
    pub(crate) fn from_state(bytes: &[u8]) -> Option<Self> {
        let payload = MessageView::parse(bytes)?.payload;
        let is_stub = bytes[FLAGS_AT] & FLAG_STUB != 0;
        (!is_stub || payload.len() == 8).then(|| Self(Arc::from(bytes)))
    }

    /// What is kept of it in memory while its properties and its payload are not.
    pub(crate) fn stub(&self) -> Self {
        let (_, topic_end) = self.topic_range();
        let mut bytes = Vec::with_capacity(topic_end + 8);
        bytes.extend_from_slice(&self.0[..topic_end]);
        bytes[FLAGS_AT] |= FLAG_STUB;
        bytes[28..HEADER].fill(0);
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_le_bytes());
        let checksum = Crc32c::new().update(&self.0).finish();
        bytes.extend_from_slice(&checksum.to_le_bytes());
        Self(Arc::from(bytes))
    }

    pub(crate) fn is_stub(&self) -> bool {
        self.0[FLAGS_AT] & FLAG_STUB != 0
    }

    /// The whole message of which this is the stub, from what was read back; `None` when that is
    /// not what was kept.
    pub(crate) fn whole(&self, bytes: &[u8]) -> Option<Self> {
        let [.., a, b, c, d] = *self.0 else {
            return None;
        };
        let is_it = bytes.len() == self.stored_len()
            && Crc32c::new().update(bytes).finish() == u32::from_le_bytes([a, b, c, d]);
        Self::from_bytes(bytes).filter(|_| is_it)
    }

    /// Bytes of the stored form, also of a stub.
    pub(crate) fn stored_len(&self) -> usize {
        match self.0.split_last_chunk::<8>() {
            Some((_, [a, b, c, d, ..])) if self.is_stub() => {
                u32::from_le_bytes([*a, *b, *c, *d]) as usize
            }
            _ => self.0.len(),
        }
    }

    /// Its name.
    pub(crate) fn id(&self) -> MessageId {
        let number = |at: usize| {
            let bytes = self.0[at..].first_chunk::<8>();
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        MessageId {
            origin: number(0),
            sequence: number(8),
        }
    }

    /// The QoS it was published with.
    pub(crate) fn qos(&self) -> QoS {
        QoS::from_bits(self.0[FLAGS_AT] & FLAG_QOS).unwrap_or(QoS::AtMostOnce)
    }

    /// The stored form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Where it was published to.
    #[must_use]
    pub fn topic_str(&self) -> &str {
        self.view().topic
    }

    /// The bytes of that text.
    pub(crate) fn topic_bytes(&self) -> &[u8] {
        let (start, end) = self.topic_range();
        &self.0[start..end]
    }

    fn topic_range(&self) -> (usize, usize) {
        let start = HEADER + usize::from(self.0[TENANT_LENGTH_AT]);
        let length = usize::from(u16::from_le_bytes([self.0[26], self.0[27]]));
        (start, start + length)
    }

    /// Its fields.
    #[must_use]
    pub fn view(&self) -> MessageView<'_> {
        MessageView::parse(&self.0).expect("checked when it was made")
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.view();
        write!(
            f,
            "Message({:?} {} {} bytes)",
            view.id,
            view.topic,
            view.payload.len()
        )
    }
}
