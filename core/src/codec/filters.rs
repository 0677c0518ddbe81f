//! The payloads of SUBSCRIBE and UNSUBSCRIBE: topic filters one after another.
//!
//! Strings and option bytes are checked here; whether a string is a topic filter is up to `topic`.

use crate::codec::packet::{SubscribeOptions, Version};
use crate::codec::reader::Reader;
use crate::codec::writer::put_string;
use crate::codec::{v3, v5};
use crate::error::Violation;
use alloc::vec::Vec;
use core::fmt;

/// The filters of a SUBSCRIBE, each with its options.
#[derive(Clone, Copy)]
pub struct SubscribeFilters<'a> {
    bytes: &'a [u8],
    count: usize,
    /// What counts of an options byte: before 5.0 the QoS alone.
    options_mask: u8,
}

impl<'a> SubscribeFilters<'a> {
    /// Checks the payload of a SUBSCRIBE.
    ///
    /// # Errors
    ///
    /// The peer's fault: no filter, a bad string, bad options.
    pub fn decode(bytes: &'a [u8], version: Version) -> Result<Self, Violation> {
        let mut reader = Reader::new(bytes);
        let mut count = 0;
        while !reader.is_empty() {
            reader.string()?; // [MQTT-3.8.3-1] [MQTT311-3.8.3-1]
            match version {
                Version::V3 | Version::V4 => v3::subscribe_options(reader.u8()?)?,
                Version::V5 => v5::subscribe_options(reader.u8()?)?,
            };
            count += 1;
        }
        if count == 0 {
            return Err(Violation::NoTopicFilter); // [MQTT-3.8.3-2] [MQTT311-3.8.3-3]
        }
        Ok(Self::new(bytes, count, version))
    }

    const fn new(bytes: &'a [u8], count: usize, version: Version) -> Self {
        let options_mask = match version {
            Version::V3 | Version::V4 => 0b0000_0011,
            Version::V5 => 0b0011_1111,
        };
        Self {
            bytes,
            count,
            options_mask,
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.count
    }

    /// Whether there are none: never so in what was decoded.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.count == 0
    }

    /// All filters, in their order.
    #[must_use]
    pub const fn iter(self) -> SubscribeFiltersIter<'a> {
        SubscribeFiltersIter {
            reader: Reader::new(self.bytes),
            options_mask: self.options_mask,
        }
    }
}

/// The filters of a SUBSCRIBE; see [`SubscribeFilters::iter`].
#[derive(Clone, Debug)]
pub struct SubscribeFiltersIter<'a> {
    reader: Reader<'a>,
    options_mask: u8,
}

impl<'a> Iterator for SubscribeFiltersIter<'a> {
    type Item = (&'a str, SubscribeOptions);

    fn next(&mut self) -> Option<Self::Item> {
        let filter = self.reader.string().ok()?;
        let options = self.reader.u8().ok()? & self.options_mask;
        Some((filter, v5::subscribe_options(options).ok()?))
    }
}

impl<'a> IntoIterator for SubscribeFilters<'a> {
    type Item = (&'a str, SubscribeOptions);
    type IntoIter = SubscribeFiltersIter<'a>;

    fn into_iter(self) -> SubscribeFiltersIter<'a> {
        self.iter()
    }
}

/// Equal filters with equal options, whatever version they were written for.
impl PartialEq for SubscribeFilters<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SubscribeFilters<'_> {}

impl fmt::Debug for SubscribeFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The filters of an UNSUBSCRIBE.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UnsubscribeFilters<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> UnsubscribeFilters<'a> {
    /// Checks the payload of an UNSUBSCRIBE, which is the same in all versions.
    ///
    /// # Errors
    ///
    /// The peer's fault: no filter, a bad string.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Violation> {
        let mut reader = Reader::new(bytes);
        let mut count = 0;
        while !reader.is_empty() {
            reader.string()?; // [MQTT-3.10.3-1] [MQTT311-3.10.3-1]
            count += 1;
        }
        if count == 0 {
            return Err(Violation::NoTopicFilter); // [MQTT-3.10.3-2] [MQTT311-3.10.3-2]
        }
        Ok(Self { bytes, count })
    }

    /// How many there are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.count
    }

    /// Whether there are none: never so in what was decoded.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.count == 0
    }

    /// All filters, in their order.
    #[must_use]
    pub const fn iter(self) -> UnsubscribeFiltersIter<'a> {
        UnsubscribeFiltersIter {
            reader: Reader::new(self.bytes),
        }
    }

    pub(super) const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }
}

/// The filters of an UNSUBSCRIBE; see [`UnsubscribeFilters::iter`].
#[derive(Clone, Debug)]
pub struct UnsubscribeFiltersIter<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for UnsubscribeFiltersIter<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.reader.string().ok()
    }
}

impl<'a> IntoIterator for UnsubscribeFilters<'a> {
    type Item = &'a str;
    type IntoIter = UnsubscribeFiltersIter<'a>;

    fn into_iter(self) -> UnsubscribeFiltersIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for UnsubscribeFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Builds the filters of a SUBSCRIBE, for clients.
#[derive(Clone, Debug, Default)]
pub struct SubscribeBuffer {
    bytes: Vec<u8>,
    count: usize,
}

impl SubscribeBuffer {
    /// No filters, no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            count: 0,
        }
    }

    /// Appends a filter. One that cannot be written, because it is longer than 65,535 bytes or
    /// contains U+0000, is left out, which the answer `false` tells.
    pub fn push(&mut self, filter: &str, options: SubscribeOptions) -> bool {
        let written = put_string(&mut self.bytes, filter).is_ok();
        if written {
            self.bytes.push(v5::subscribe_options_byte(options));
            self.count += 1;
        }
        written
    }

    /// Forgets all filters, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    /// What has been appended, as this version says it: 3.x knows no option but the QoS.
    #[must_use]
    pub fn as_filters(&self, version: Version) -> SubscribeFilters<'_> {
        SubscribeFilters::new(&self.bytes, self.count, version)
    }
}

/// Builds the filters of an UNSUBSCRIBE, for clients.
#[derive(Clone, Debug, Default)]
pub struct UnsubscribeBuffer {
    bytes: Vec<u8>,
    count: usize,
}

impl UnsubscribeBuffer {
    /// No filters, no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            count: 0,
        }
    }

    /// Appends a filter. One that cannot be written, because it is longer than 65,535 bytes or
    /// contains U+0000, is left out, which the answer `false` tells.
    pub fn push(&mut self, filter: &str) -> bool {
        let written = put_string(&mut self.bytes, filter).is_ok();
        self.count += usize::from(written);
        written
    }

    /// Forgets all filters, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    /// What has been appended. All versions say it in the same way.
    #[must_use]
    pub fn as_filters(&self, _version: Version) -> UnsubscribeFilters<'_> {
        UnsubscribeFilters {
            bytes: &self.bytes,
            count: self.count,
        }
    }
}
