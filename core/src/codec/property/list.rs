//! A property list as it stands on the wire.

use super::{IdSet, Kind, NOT_FORWARDED, Property, PropertyContext, Row, Value, allowed, id_bit};
use crate::codec::reader::Reader;
use crate::error::{EncodeError, Malformed, Violation};
use alloc::vec::Vec;
use core::fmt;

/// A property list: checked bytes, without their length prefix, and a set that knows what is in
/// them. A property that is not there costs one bit test, one that is there a walk to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Properties<'a> {
    bytes: &'a [u8],
    present: IdSet,
}

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Self = Self {
        bytes: &[],
        present: 0,
    };

    /// Checks a property list, given without its length prefix.
    ///
    /// # Errors
    ///
    /// The peer's fault: what is malformed, unknown, not allowed in this `context`, repeated, or
    /// has a forbidden value; authentication data without an authentication method.
    pub fn decode(bytes: &'a [u8], context: PropertyContext) -> Result<Self, Violation> {
        let mut reader = Reader::new(bytes);
        let mut present = 0;
        while !reader.is_empty() {
            let id = reader.u8()?;
            let row = Row::of(id).ok_or(Malformed::Property)?;
            if row.contexts & context.bit() == 0 {
                return Err(Malformed::Property.into());
            }
            if present & id_bit(id) != 0 && row.repeats & context.bit() == 0 {
                return Err(Violation::PropertyRepeated);
            }
            present |= id_bit(id);
            let value = row.kind.decode(&mut reader)?;
            // The topic alias is one of those that may not be zero. [MQTT-3.3.2-8]
            if let (Some(violation), true) = (row.zero, value.is_zero()) {
                return Err(violation);
            }
        }
        let properties = Self { bytes, present };
        if properties.has(AUTHENTICATION_DATA) && !properties.has(AUTHENTICATION_METHOD) {
            return Err(Violation::Auth);
        }
        Ok(properties)
    }

    /// Takes a list that [`super::PropertyBuffer`] made.
    pub(super) const fn from_parts(bytes: &'a [u8], present: IdSet) -> Self {
        Self { bytes, present }
    }

    /// Whether there are none.
    #[must_use]
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The list as it stands on the wire, without its length prefix.
    #[must_use]
    #[inline]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// All properties, in their order.
    #[must_use]
    pub const fn iter(self) -> PropertiesIter<'a> {
        PropertiesIter { rest: self.bytes }
    }

    /// The user properties, in their order.
    pub fn user_properties(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.all(USER_PROPERTY).filter_map(|value| {
            let Value::Pair(name, value) = value else {
                return None;
            };
            Some((name, value))
        })
    }

    /// How many user properties there are.
    #[must_use]
    pub fn user_property_count(self) -> usize {
        if !self.has(USER_PROPERTY) {
            return 0;
        }
        let ids = RawIter { rest: self.bytes };
        ids.filter(|raw| raw.id == USER_PROPERTY).count()
    }

    /// The subscription identifiers, in their order.
    pub fn subscription_identifiers(self) -> impl Iterator<Item = u32> {
        self.all(SUBSCRIPTION_IDENTIFIER).filter_map(|value| {
            let Value::Varint(identifier) = value else {
                return None;
            };
            Some(identifier)
        })
    }

    /// Whether [`Self::forwardable`] would copy these properties as they are, so that
    /// [`Self::as_bytes`] can be used in its place. Costs one bit test.
    #[must_use]
    #[inline]
    pub const fn is_forwardable(self) -> bool {
        self.present & NOT_FORWARDED == 0
    }

    /// Appends to `out` what a broker forwards of the properties of a PUBLISH or a will: all of
    /// them, unaltered and in their order, except message expiry interval, subscription
    /// identifiers, topic alias and will delay interval.
    pub fn forwardable(self, out: &mut Vec<u8>) {
        // Payload format indicator [MQTT-3.3.2-4], response topic [MQTT-3.3.2-15], correlation data
        // [MQTT-3.3.2-16], user properties [MQTT-3.3.2-17] in their order [MQTT-3.3.2-18], those of
        // a will too [MQTT-3.1.3-10], and content type [MQTT-3.3.2-20]
        if self.is_forwardable() {
            out.extend_from_slice(self.bytes);
            return;
        }
        let raw = RawIter { rest: self.bytes };
        for property in raw.filter(|raw| NOT_FORWARDED & id_bit(raw.id) == 0) {
            out.extend_from_slice(property.bytes);
        }
    }

    /// # Errors
    ///
    /// When a property is there that does not belong in `context`: the caller's mistake.
    pub(in crate::codec) fn check(self, context: PropertyContext) -> Result<(), EncodeError> {
        if self.is_empty() || self.present & !allowed(context) == 0 {
            Ok(())
        } else {
            Err(EncodeError::Property)
        }
    }

    #[inline]
    const fn has(self, id: u8) -> bool {
        self.present & id_bit(id) != 0
    }

    /// The value of the first property with this identifier.
    #[inline]
    pub(super) fn find(self, id: u8) -> Option<Value<'a>> {
        self.has(id).then(|| self.all(id).next()).flatten()
    }

    fn all(self, id: u8) -> impl Iterator<Item = Value<'a>> {
        let raw = RawIter { rest: self.bytes };
        raw.filter(move |raw| raw.id == id)
            .filter_map(|raw| raw.value())
    }
}

impl<'a> IntoIterator for Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = PropertiesIter<'a>;

    fn into_iter(self) -> PropertiesIter<'a> {
        self.iter()
    }
}

impl Default for Properties<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
const AUTHENTICATION_METHOD: u8 = 0x15;
const AUTHENTICATION_DATA: u8 = 0x16;
const USER_PROPERTY: u8 = 0x26;

/// The properties of a list; see [`Properties::iter`].
#[derive(Clone, Debug)]
pub struct PropertiesIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for PropertiesIter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        let raw = RawProperty::split_first(&mut self.rest)?;
        Property::from_parts(raw.id, raw.value()?)
    }
}

/// One property in a list whose strings are known to be good.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawProperty<'a> {
    pub(super) id: u8,
    kind: Kind,
    /// Identifier and value.
    pub(super) bytes: &'a [u8],
}

impl<'a> RawProperty<'a> {
    /// Takes the first property off `list`; `None` at its end, and for good when it is not a list.
    pub(super) fn split_first(list: &mut &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(list);
        let id = reader.u8().ok()?;
        let kind = Row::of(id)?.kind;
        kind.skip(&mut reader).ok()?;
        let (bytes, rest) = list.split_at_checked(list.len() - reader.rest().len())?;
        *list = rest;
        Some(Self { id, kind, bytes })
    }

    fn value(self) -> Option<Value<'a>> {
        let mut reader = Reader::new(self.bytes.get(1..)?);
        self.kind.decode(&mut reader).ok()
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct RawIter<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Iterator for RawIter<'a> {
    type Item = RawProperty<'a>;

    fn next(&mut self) -> Option<RawProperty<'a>> {
        RawProperty::split_first(&mut self.rest)
    }
}
