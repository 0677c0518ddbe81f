//! The data types of the wire, read from a slice. A reader that reported an error is not used
//! again.

use crate::error::Malformed;
use crate::id::PacketId;

/// Reads fields from the front of a packet body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    #[inline]
    pub(super) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(super) const fn is_empty(self) -> bool {
        self.rest.is_empty()
    }

    /// The end of the packet, where nothing more may follow.
    #[inline]
    pub(super) const fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed::TrailingBytes)
        }
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        let (&byte, rest) = self.rest.split_first().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, Malformed> {
        PacketId::new(self.u16()?).ok_or(Malformed::PacketIdZero) // [MQTT311-2.3.1-1]
    }

    #[inline]
    pub(super) fn variable_byte_integer(&mut self) -> Result<u32, Malformed> {
        let (value, len) = variable_byte_integer(self.rest, Malformed::VariableByteInteger)?
            .ok_or(Malformed::Truncated)?;
        self.bytes(len)?;
        Ok(value)
    }

    #[inline]
    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u16()?;
        self.bytes(usize::from(len))
    }

    #[inline]
    pub(super) fn string(&mut self) -> Result<&'a str, Malformed> {
        string(self.binary()?)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

/// The one judgement on strings. Control characters and non-characters are allowed: the
/// specification only advises against them.
#[inline]
pub(super) fn string(bytes: &[u8]) -> Result<&str, Malformed> {
    // Encoded surrogates are not well-formed either. [MQTT-1.5.4-1] [MQTT311-1.5.3-1]
    let string = core::str::from_utf8(bytes).map_err(|_| Malformed::Utf8)?;
    if has_null(bytes) {
        return Err(Malformed::Utf8); // [MQTT-1.5.4-2] [MQTT311-1.5.3-2]
    }
    // As it stands: a leading U+FEFF is a character like any other. [MQTT-1.5.4-3] [MQTT311-1.5.3-3]
    Ok(string)
}

/// Topics are short, and every publish pays for this: so in blocks of one vector register, the last
/// of which overlaps the one before.
#[inline]
fn has_null(bytes: &[u8]) -> bool {
    const BLOCK: usize = 16;

    let any = |bytes: &[u8]| bytes.iter().fold(false, |seen, &byte| seen | (byte == 0));
    let Some(last) = bytes.last_chunk::<BLOCK>() else {
        return any(bytes);
    };
    let blocks = bytes.as_chunks::<BLOCK>().0;
    blocks
        .iter()
        .fold(any(last), |seen, block| seen | any(block))
}

/// A variable byte integer and the number of bytes it takes; `None` when its end is not there yet.
/// `too_long` is what an integer that does not end within four bytes is called.
#[inline]
pub(super) fn variable_byte_integer(
    bytes: &[u8],
    too_long: Malformed,
) -> Result<Option<(u32, usize)>, Malformed> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            if byte == 0 && index > 0 {
                return Err(Malformed::VariableByteInteger); // [MQTT-1.5.5-1]
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < 4 {
        Ok(None)
    } else {
        Err(too_long)
    }
}
