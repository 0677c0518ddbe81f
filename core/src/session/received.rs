//! Incoming QoS 2 identifiers whose PUBREL has not come yet: what keeps a re-sent PUBLISH from
//! being taken for a new message.

use crate::id::PacketId;
use alloc::vec::Vec;

/// The identifiers, sorted. There are 65,535 at most, and on one connection no
/// more than the receive maximum that the broker announces.
#[derive(Debug, Default)]
pub(crate) struct Received {
    identifiers: Vec<PacketId>,
}

crate::state::state!(Received { identifiers });

impl Received {
    pub(crate) const fn len(&self) -> usize {
        self.identifiers.len()
    }

    pub(crate) fn contains(&self, id: PacketId) -> bool {
        self.identifiers.binary_search(&id).is_ok()
    }

    /// Whether it was new.
    pub(crate) fn insert(&mut self, id: PacketId) -> bool {
        match self.identifiers.binary_search(&id) {
            Ok(_) => false,
            Err(at) => {
                self.identifiers.insert(at, id);
                true
            }
        }
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, id: PacketId) -> bool {
        match self.identifiers.binary_search(&id) {
            Ok(at) => {
                self.identifiers.remove(at);
                true
            }
            Err(_) => false,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = PacketId> {
        self.identifiers.iter().copied()
    }
}
