//! What may leave only after the log has it.
//!
//! One queue for the whole shard, in the order of the positions: releasing is popping from the
//! front. Once something of a connection waits here, everything of it that must keep its order
//! waits behind it.

use crate::codec::reason::ReasonCode;
use crate::id::{PacketId, Position};
use crate::slab::Key;
use alloc::boxed::Box;
use alloc::collections::VecDeque;

/// Which acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "the names of the standard")]
pub(crate) enum AckKind {
    PubAck,
    PubRec,
    PubRel,
    PubComp,
}

/// Something that waits for a position.
#[derive(Debug)]
pub(crate) enum Gated {
    /// An acknowledgement of a message.
    Ack(AckKind, PacketId, ReasonCode),
    /// An encoded SUBACK or UNSUBACK.
    Bytes(Box<[u8]>),
    /// An encoded CONNACK. Nothing of the connection may overtake it.
    ConnAck(Box<[u8]>),
    /// The QoS 2 message with this packet identifier.
    Publish(PacketId),
}

/// Everything that waits.
#[derive(Default)]
pub(crate) struct Gates {
    waiting: VecDeque<(Position, Key, Gated)>,
}

crate::state::state!(Gates { waiting });

impl Gates {
    /// Holds something back until `position` is durable, and until all that waits already is
    /// released.
    pub(crate) fn push(&mut self, position: Position, key: Key, gated: Gated) {
        let last = self.waiting.back().map_or(position, |(last, ..)| *last);
        self.waiting.push_back((position.max(last), key, gated));
    }

    /// The next thing that may go.
    pub(crate) fn pop(&mut self, durable: Position) -> Option<(Key, Gated)> {
        let (position, ..) = self.waiting.front()?;
        if *position > durable {
            return None;
        }
        self.waiting.pop_front().map(|(_, key, gated)| (key, gated))
    }
}
