//! What a batch says: keys that are set and keys that are gone.
//!
//! A batch is a byte string of operations, applied all or not at all and in order. Each operation
//! is
//!
//! ```text
//! put      varint(key length * 2)      key   varint(value length)  value
//! delete   varint(key length * 2 + 1)  key
//! ```
//!
//! Keys and values are opaque here, but for one bit: the first byte of a key is its *kind*, and a
//! kind with [`SKIPPABLE`] set may be ignored by a version that does not know it. Any other unknown
//! kind must be refused by name; that is the reader's duty, because only the reader knows the
//! kinds.
//!
//! Varints are little-endian base 128 of at most five bytes, in their shortest form.

use alloc::vec::Vec;
use thiserror::Error;

/// The bit in the first byte of a key that lets an older version skip what it does not know.
pub const SKIPPABLE: u8 = 0x80;

/// The longest key or value in bytes: lengths fit in 30 bits, so that they stay `usize` everywhere.
pub const LENGTH_MAX: usize = (1 << 30) - 1;

/// One operation of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op<'a> {
    /// From here on `key` has `value`, whatever it had before.
    Put {
        /// Opaque, but for its first byte: see [`SKIPPABLE`].
        key: &'a [u8],
        /// Opaque.
        value: &'a [u8],
    },
    /// From here on `key` has no value. Deleting an unknown key is no error.
    Delete {
        /// As in [`Op::Put`].
        key: &'a [u8],
    },
}

/// Bytes that are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum BatchError {
    /// A length, a key or a value runs past the end.
    #[error("an operation runs past the end of its batch")]
    Truncated,
    /// A length is not in its shortest form, or above [`LENGTH_MAX`].
    #[error("a length is not in its shortest form or too large")]
    Length,
}

/// Appends operations to a byte vector that the caller keeps and reuses.
///
/// ```
/// # use whimbrel_core::log::{BatchRef, BatchWriter, Op};
/// let mut bytes = Vec::new();
/// let mut batch = BatchWriter::new(&mut bytes);
/// batch.put(b"Rkitchen/light", b"on");
/// batch.delete(b"Rkitchen/door");
/// let ops: Vec<_> = BatchRef::new(&bytes).iter().collect();
/// assert_eq!(ops[0], Ok(Op::Put { key: b"Rkitchen/light", value: b"on" }));
/// assert_eq!(ops[1], Ok(Op::Delete { key: b"Rkitchen/door" }));
/// ```
#[derive(Debug)]
pub struct BatchWriter<'a> {
    bytes: &'a mut Vec<u8>,
}

impl<'a> BatchWriter<'a> {
    /// Writes behind what `bytes` holds already; clear it first to begin a new batch.
    pub const fn new(bytes: &'a mut Vec<u8>) -> Self {
        Self { bytes }
    }

    /// Sets `key` to `value`.
    ///
    /// # Panics
    ///
    /// Both lengths must be at most [`LENGTH_MAX`]: the caller's limits are far below.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.put_parts(key, &[value]);
    }

    /// Sets `key` to the concatenation of `parts`, so that a payload need not be copied together
    /// with its header first.
    ///
    /// # Panics
    ///
    /// As [`put`](Self::put).
    pub fn put_parts(&mut self, key: &[u8], parts: &[&[u8]]) {
        self.key(key, 0);
        let length = parts.iter().map(|part| part.len()).sum();
        self.length(length, 0, 0);
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
    }

    /// Takes the value of `key` away.
    ///
    /// # Panics
    ///
    /// As [`put`](Self::put).
    pub fn delete(&mut self, key: &[u8]) {
        self.key(key, 1);
    }

    fn key(&mut self, key: &[u8], tag: u32) {
        self.length(key.len(), 1, tag);
        self.bytes.extend_from_slice(key);
    }

    fn length(&mut self, length: usize, shift: u32, tag: u32) {
        assert!(length <= LENGTH_MAX, "keys and values fit in 30 bits");
        #[expect(clippy::cast_possible_truncation, reason = "checked above")]
        let mut rest = (length as u32) << shift | tag;
        while rest >= 0x80 {
            self.bytes.push(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest.to_le_bytes()[0]);
    }
}

/// Reads the operations of a batch back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRef<'a> {
    bytes: &'a [u8],
}

impl<'a> BatchRef<'a> {
    /// Any bytes will do: what is wrong with them is said by the iterator.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The operations in order; ends after the first error.
    #[must_use]
    pub const fn iter(self) -> Ops<'a> {
        Ops { rest: self.bytes }
    }

    /// How many operations there are.
    ///
    /// # Errors
    ///
    /// When the bytes are no batch.
    pub fn check(self) -> Result<usize, BatchError> {
        self.iter()
            .try_fold(0, |count, op| op.map(|_operation| count + 1))
    }
}

impl<'a> IntoIterator for BatchRef<'a> {
    type Item = Result<Op<'a>, BatchError>;
    type IntoIter = Ops<'a>;

    fn into_iter(self) -> Ops<'a> {
        self.iter()
    }
}

/// The operations of a [`BatchRef`].
#[derive(Clone, Debug)]
pub struct Ops<'a> {
    rest: &'a [u8],
}

impl<'a> Ops<'a> {
    /// Bytes that are still to be read.
    pub(super) const fn rest_bytes(&self) -> usize {
        self.rest.len()
    }

    fn op(&mut self) -> Result<Op<'a>, BatchError> {
        let tagged = self.varint()?;
        let key = self.bytes(tagged >> 1)?;
        if tagged & 1 == 1 {
            return Ok(Op::Delete { key });
        }
        let length = self.varint()?;
        let value = self.bytes(length)?;
        Ok(Op::Put { key, value })
    }

    fn bytes(&mut self, length: u32) -> Result<&'a [u8], BatchError> {
        let length = usize::try_from(length).map_err(|_| BatchError::Length)?;
        if length > LENGTH_MAX {
            return Err(BatchError::Length);
        }
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(BatchError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u32, BatchError> {
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let (&byte, rest) = self.rest.split_first().ok_or(BatchError::Truncated)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(BatchError::Length);
                }
                return u32::try_from(value).map_err(|_| BatchError::Length);
            }
        }
        Err(BatchError::Length)
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Result<Op<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let op = self.op();
        if op.is_err() {
            self.rest = &[];
        }
        Some(op)
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchError, BatchRef, BatchWriter, Op};
    use alloc::vec;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    fn write(ops: &[(Vec<u8>, Option<Vec<u8>>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut batch = BatchWriter::new(&mut bytes);
        for (key, value) in ops {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        bytes
    }

    quickcheck! {
        fn what_is_written_is_read(ops: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> bool {
            let bytes = write(&ops);
            let read: Vec<_> = BatchRef::new(&bytes)
                .iter()
                .map(|op| match op.unwrap() {
                    Op::Put { key, value } => (key.to_vec(), Some(value.to_vec())),
                    Op::Delete { key } => (key.to_vec(), None),
                })
                .collect();
            read == ops
        }

        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) -> bool {
            BatchRef::new(&bytes).iter().count() <= bytes.len()
        }
    }

    #[test]
    fn parts_are_joined() {
        let mut bytes = Vec::new();
        BatchWriter::new(&mut bytes).put_parts(b"k", &[b"a", b"", b"bc"]);
        assert_eq!(bytes, [2, b'k', 3, b'a', b'b', b'c']);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = write(&[(vec![7; 200], Some(vec![8; 300]))]);
        for length in 1..bytes.len() {
            let read = BatchRef::new(&bytes[..length]).check();
            assert_eq!(read, Err(BatchError::Truncated));
        }
        assert_eq!(BatchRef::new(&bytes).check(), Ok(1));
    }

    #[test]
    fn lengths_have_one_form() {
        for bytes in [
            &[0x82, 0x00, 0][..],
            &[0xFF; 6],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0x1F],
        ] {
            assert_eq!(BatchRef::new(bytes).check(), Err(BatchError::Length));
        }
    }
}
