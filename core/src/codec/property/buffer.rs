//! Property lists to be sent.

use super::list::RawIter;
use super::{IdSet, Properties, Property, id_bit};
use alloc::vec::Vec;

/// Builds a property list. Meant to be kept and reused: clearing it keeps its memory.
///
/// Whether the properties belong in the packet is checked when that is encoded; that none repeats
/// is up to the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertyBuffer {
    bytes: Vec<u8>,
    present: IdSet,
}

impl PropertyBuffer {
    /// No properties, no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            present: 0,
        }
    }

    /// Appends a property. One that cannot be written is left out, which the answer `false` tells:
    /// a string or binary field of more than 65,535 bytes, a string with U+0000, a subscription
    /// identifier over 268,435,455, a maximum QoS of 2.
    pub fn push(&mut self, property: Property<'_>) -> bool {
        let written = property.encode(&mut self.bytes).is_ok();
        if written {
            self.present |= id_bit(property.to_parts().0);
        }
        written
    }

    /// Appends all of `properties`.
    pub fn extend(&mut self, properties: Properties<'_>) {
        self.extend_raw(properties.as_bytes());
    }

    /// Appends properties in the form of [`Properties::as_bytes`] or [`Properties::forwardable`].
    /// From the first byte on that is no property, nothing is taken.
    pub fn extend_raw(&mut self, properties: &[u8]) {
        for property in (RawIter { rest: properties }) {
            self.present |= id_bit(property.id);
            self.bytes.extend_from_slice(property.bytes);
        }
    }

    /// Forgets all properties, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.present = 0;
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) const fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// What has been appended.
    #[must_use]
    pub fn as_properties(&self) -> Properties<'_> {
        Properties::from_parts(&self.bytes, self.present)
    }
}
