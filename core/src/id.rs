//! Names for the things the core hands out: connections, packets, messages, positions, peers.

use crate::slab::Key;
use core::fmt;
use core::hash::{BuildHasher, Hasher};
use core::num::NonZeroU16;

/// One open transport, as handed out by `Broker::accept`. The generation makes a stale id harmless:
/// calls with an id whose connection is gone are ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl ConnectionId {
    pub(crate) const fn of(key: Key) -> Self {
        Self {
            index: key.index,
            generation: key.generation,
        }
    }

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

/// Hashes message identifiers. They are numbers that we give, so a secret is not needed; but which
/// of them are kept is up to clients (one of QoS 1 after a thousand of QoS 0), so they are mixed.
///
/// Messages that follow each other are neighbours in a table, so many at a time, since they are
/// used one after the other: [`MANY`] where they only come, [`FEW`] where they also go. Many fill
/// whole groups of places, and a table does not reuse at once what is taken out of a full group.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ById<const NEIGHBORS: u64>;

/// See [`ById`].
pub(crate) const FEW: u64 = 2;
pub(crate) const MANY: u64 = 16;

impl<const NEIGHBORS: u64> BuildHasher for ById<NEIGHBORS> {
    type Hasher = IdHasher<NEIGHBORS>;

    fn build_hasher(&self) -> IdHasher<NEIGHBORS> {
        IdHasher(0)
    }
}

/// See [`ById`]. What is written last are the neighbours.
pub(crate) struct IdHasher<const NEIGHBORS: u64>(u64);

impl<const NEIGHBORS: u64> IdHasher<NEIGHBORS> {
    /// Odd, with its bits well spread: the golden ratio.
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    const BITS: u32 = NEIGHBORS.trailing_zeros();
}

impl<const NEIGHBORS: u64> Hasher for IdHasher<NEIGHBORS> {
    fn write_u64(&mut self, number: u64) {
        let near = number % NEIGHBORS;
        let far = (self.0 ^ number >> Self::BITS).wrapping_add(Self::FACTOR);
        let product = u128::from(far) * u128::from(Self::FACTOR);
        let mixed = (product >> 64) as u64 ^ product as u64;
        // A table tells what it finds by the highest bits, of 64 or of 32.
        self.0 =
            (mixed << Self::BITS | near) ^ near << (64 - Self::BITS) ^ near << (32 - Self::BITS);
    }

    /// Message identifiers have none of these.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn finish(&self) -> u64 {
        self.0
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

#[cfg(test)]
mod tests {
    use super::{ById, FEW, MANY, MessageId};
    use alloc::collections::BTreeSet;
    use core::cell::Cell;
    use core::hash::BuildHasher;
    use hashbrown::HashTable;

    fn id(sequence: u64) -> MessageId {
        MessageId {
            origin: 1 << 48 | 7,
            sequence,
        }
    }

    fn groups<const NEIGHBORS: u64>(stride: u64, groups: u64) -> usize {
        let by_id = ById::<NEIGHBORS>;
        let hashes = (0..groups * 8).map(|number| by_id.hash_one(id(number * stride)));
        let taken: BTreeSet<_> = hashes.map(|hash| hash / 16 % groups).collect();
        taken.len()
    }

    /// A table looks at sixteen places at once. Of 4,096 such groups, 16,384 pairs take 4,021 by
    /// chance, and 2,048 full sixteens 1,612; what is kept here and there takes more.
    #[test]
    fn no_pattern_of_what_is_kept_fills_few_places_only() {
        for stride in [1, 2, 3, 15, 16, 17, 1_000, 1_024, 4_096, 1 << 20, 1 << 32] {
            let (few, many) = (groups::<FEW>(stride, 4_096), groups::<MANY>(stride, 4_096));
            assert!(few > 3_900, "{stride}: {few}");
            assert!(many > 1_500, "{stride}: {many}");
        }
    }

    /// Messages come and go in order. A table that was larger once finds places for the new ones
    /// where the old ones were, instead of being gone through as a whole again and again.
    #[test]
    fn places_are_used_again() {
        const LIVE: u64 = 256;
        let mut table = HashTable::with_capacity(3_500);
        let mut passes = 0;
        for number in 0..40_000 {
            let is_pass = Cell::new(false);
            let rehash = |id: &MessageId| {
                is_pass.set(true);
                ById::<FEW>.hash_one(id)
            };
            table.insert_unique(ById::<FEW>.hash_one(id(number)), id(number), rehash);
            passes += u64::from(is_pass.get());
            if let Some(old) = number.checked_sub(LIVE) {
                let old = id(old);
                let entry = table.find_entry(ById::<FEW>.hash_one(old), |kept| *kept == old);
                entry.expect("it is there").remove();
            }
        }
        // Places are looked at four at a time on some processors, and then a pass comes sooner.
        assert!(passes <= 2, "{passes}");
    }
}
