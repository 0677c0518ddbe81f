//! What may leave only after the log has it, and other shards have it.
//!
//! One queue for the whole shard, in the order of positions and letters: releasing is popping from
//! the front. Once something of a connection waits here, everything of it that must keep its order
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

/// What an answer waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gate {
    /// The log has come so far.
    pub(crate) position: Position,
    /// Other shards have kept what they were told in letters up to this number.
    pub(crate) letter: u64,
}

impl From<Position> for Gate {
    fn from(position: Position) -> Self {
        Self {
            position,
            letter: 0,
        }
    }
}

/// Something that waits for a gate.
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
    waiting: VecDeque<(Gate, Key, Gated)>,
}

impl Gates {
    /// Holds something back until `gate` is open, and until all that waits already is released.
    pub(crate) fn push(&mut self, gate: Gate, key: Key, gated: Gated) {
        let last = self.waiting.back().map_or(gate, |(last, ..)| *last);
        let gate = Gate {
            position: last.position.max(gate.position),
            letter: last.letter.max(gate.letter),
        };
        self.waiting.push_back((gate, key, gated));
    }

    /// The next thing that may go, when the log has come to `durable` and all letters up to `kept`
    /// are kept.
    pub(crate) fn pop(&mut self, durable: Position, kept: u64) -> Option<(Key, Gated)> {
        let (gate, ..) = self.waiting.front()?;
        if gate.position > durable || gate.letter > kept {
            return None;
        }
        self.waiting.pop_front().map(|(_, key, gated)| (key, gated))
    }
}
