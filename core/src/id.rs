//! Names for the things the core hands out: connections, packets, messages, positions, peers.

use crate::slab::Key;
use core::fmt;
use core::hash::BuildHasher;
use core::num::NonZeroU16;
use siphasher::sip::SipHasher13;

/// One open transport, as handed out by `Broker::accept`. The generation makes a stale id harmless:
/// calls with an id whose connection is gone are ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl ConnectionId {
    pub(crate) const fn key(self) -> Key {
        Key {
            index: self.index,
            generation: self.generation,
        }
    }

    /// The slot of this connection. Slots are reused, and are dense: a runtime may use them to
    /// index a table of its sockets.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// A number that differs between all connections of one broker's life.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}.{}", self.index, self.generation)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A packet identifier: 1 to 65,535, unique among the exchanges one side of a session has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The first identifier a session uses.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// `None` for zero, which no packet may carry.
    #[must_use]
    pub const fn new(value: u16) -> Option<Self> {
        match NonZeroU16::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// The identifier after this one; 65,535 is followed by 1.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(value) => Self(value),
            None => Self::FIRST,
        }
    }
}

/// A shard of this node, by its number: somebody that messages can be routed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u16);

/// Hashes message identifiers: they are ours, nobody can choose them to collide.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ById;

impl BuildHasher for ById {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(0, 0)
    }
}

/// Names a message for as long as anybody keeps it: who took it in, in which life of that node, and
/// its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The node (upper 16 bits), its shard (next 16) and the node's boot epoch (lower 32).
    pub origin: u64,
    /// Counts up with every message that this shard takes in during this boot, and beyond whatever
    /// it has seen of other shards.
    pub sequence: u64,
}

impl MessageId {
    /// In which life of its node it was taken in.
    pub(crate) const fn boot_epoch(self) -> u32 {
        self.origin as u32
    }

    /// The shard that took it in.
    pub(crate) const fn shard(self) -> u16 {
        (self.origin >> 32) as u16
    }

    /// Whether it was taken in after `other`; the same answer on all shards. A shard counts on from
    /// the greatest sequence that it has seen, so what knows of the other is later.
    pub(crate) fn is_later_than(self, other: Self) -> bool {
        let order = |id: Self| (id.boot_epoch(), id.sequence, id.origin);
        order(self) > order(other)
    }

    /// The key under which the message is stored: see [`crate::log::batch`].
    #[must_use]
    pub fn key(self) -> [u8; 17] {
        crate::record::message_key(self)
    }
}

/// A place in the log. Opaque: the core only compares.
///
/// Records get positions in the order in which they are emitted; one durable position says that all
/// records up to it are on stable storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);
