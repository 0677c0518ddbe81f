//! Bytes to packets and back, for both roles and all three versions.
//!
//! Responsible for byte layout, flags, size limits, and which property may stand where. Not responsible
//! for anything that needs to know what happened before: that is `connection` and `handle`.
//!
//! Decoding is zero-copy: a [`Packet`] borrows from the bytes it was read from. Incomplete input is not
//! an error (`frame::split` answers `None`); a packet whose declared size is over the limit is refused
//! from its first five bytes, before anything is buffered.

pub mod packet;
pub mod property;
pub mod reason;

pub use packet::Packet;
pub use reason::ReasonCode;
