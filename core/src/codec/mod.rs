//! Bytes to packets and back, for both roles and all three versions.
//!
//! Responsible for byte layout, flags, size limits, and which property and reason code may stand
//! where. Not responsible for anything that needs to know what happened before, or which side is
//! speaking: that is `connection` and `handle`. Nor for what makes a topic name or filter: that is
//! `topic`.
//!
//! Decoding is zero-copy: a [`Packet`] borrows from the bytes it was read from. Incomplete input is
//! not an error ([`frame::split`] answers `None`); a packet whose declared size is over the limit
//! is refused from its first five bytes, before anything is buffered.
//!
//! ```
//! use whimbrel_core::codec::{self, Packet, frame, packet::Version};
//!
//! let bytes = [0xC0, 0x00, 0x30]; // a PINGREQ and the first byte of a PUBLISH
//! let (frame, len) = frame::split(&bytes, 1_024)?.expect("the PINGREQ is complete");
//! assert_eq!(codec::decode(Version::V5, frame)?, Packet::PingReq);
//! assert_eq!(frame::split(&bytes[len..], 1_024)?, None);
//! # Ok::<(), whimbrel_core::error::Violation>(())
//! ```

mod ack;
mod connect;
mod decode;
mod encode;
mod filters;
pub mod frame;
pub mod packet;
pub mod property;
mod publish;
mod reader;
pub mod reason;
mod v3;
mod v5;
mod writer;

pub use crate::error::EncodeError;
pub use ack::{decode_ack, encode_ack};
pub(crate) use connect::has_valid_flags;
pub use decode::{connect_version, decode};
pub use encode::encode;
pub use filters::{
    SubscribeBuffer, SubscribeFilters, SubscribeFiltersIter, UnsubscribeBuffer, UnsubscribeFilters,
    UnsubscribeFiltersIter,
};
pub use frame::{Frame, PublishFlags};
pub use packet::Packet;
pub use property::{Properties, Property, PropertyBuffer, PropertyContext};
pub(crate) use publish::with_publish_after;
pub use publish::{LastTopic, PublishParts, decode_publish, decode_publish_after};
pub use reason::ReasonCode;

/// The largest remaining length, and the largest variable byte integer.
pub const REMAINING_LENGTH_MAX: u32 = 268_435_455;
