//! Recording what goes into a broker, and playing it back.
//!
//! A broker is pure: the same configuration, seed and inputs give the same outputs. So writing the
//! inputs down is enough to see later, anywhere, what it did and why. [`RecordedBroker`] is a
//! broker that can do so; [`Replay`] makes one do it again.
//!
//! # The format
//!
//! A recording is a row of *parts*, each complete in itself: it begins with the whole state of the
//! broker (`core/src/state.rs`), so that the parts before it can go. That is what lets a
//! recording stay on: a ring of parts.
//!
//! ```text
//! part    "WHIMREC\n"  format u32  mark u64  frame*
//! frame   mark u64     length u32  sum u32   bytes
//! ```
//!
//! The mark is another one for each part of a ring: a part may be written over an older one,
//! because files that are there cost far less than new ones, and what is left of that one behind
//! its end has another mark.
//!
//! The bytes of all frames together are a header, and then steps of one byte and what belongs to
//! it: times, inputs, and how often the broker was asked for actions and for bytes, because that
//! is part of what it does when. Numbers are little-endian in the header and of variable length, as
//! MQTT's but up to ten bytes, in steps. Each change of the time says what the sum of all outputs
//! until then is, so a replay notices a difference in the turn in which it happens.
//!
//! A part whose last frame is not whole, or is none of its own, ends before it: the process was
//! killed. One that is complete says whether the process ended with it; otherwise the next one goes
//! on, and says how many were given up before it.

mod digest;
mod frame;
mod name;
mod read;
mod redact;
mod step;
mod write;

pub use frame::{FRAME_HEADER_BYTES, Mark, PART_HEADER_BYTES, part_number, written_bytes};
pub use name::{PART_NUMBER_MAX, parse_part_name, part_name};
pub use read::{Replay, ReplayError, Stop};
pub(crate) use redact::{Redaction, Sender};
pub use step::{Input, Step};
pub use write::{Chunk, RecordOptions, RecordedBroker};

/// What stands where something was blotted out.
pub(crate) const REDACTED: u8 = b'*';

/// What a part begins with.
pub const MAGIC: [u8; 8] = *b"WHIMREC\n";

/// The version of the format that this version writes, and the only one that it reads. Goes up with
/// any change of what a broker's state consists of, or of how the sums are made.
pub const FORMAT: u32 = 5 << 16 | crate::state::FORMAT;
