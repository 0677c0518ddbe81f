//! The data types of the wire, appended to a vector. The inverse of `reader`.

use crate::codec::REMAINING_LENGTH_MAX;
use crate::error::EncodeError;
use alloc::vec::Vec;

#[inline]
pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[inline]
pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), EncodeError> {
    let len = u16::try_from(bytes.len()).map_err(|_| EncodeError::FieldTooLong)?;
    put_u16(out, len);
    out.extend_from_slice(bytes);
    Ok(())
}

pub(super) fn put_string(out: &mut Vec<u8>, string: &str) -> Result<(), EncodeError> {
    if string.as_bytes().contains(&0) {
        return Err(EncodeError::NullCharacter);
    }
    put_binary(out, string.as_bytes())
}

/// How many bytes `value` takes as a variable byte integer. It has to be one.
#[inline]
pub(super) const fn variable_byte_integer_len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// `value`, which is at most [`REMAINING_LENGTH_MAX`], in its shortest form, packed into a number:
/// its first byte lowest, zeros above the last. And how many bytes that is.
#[inline]
pub(super) fn variable_byte_integer(value: u32) -> (u32, usize) {
    debug_assert!(value <= REMAINING_LENGTH_MAX, "checked by the caller");
    let len = variable_byte_integer_len(value);
    // The low seven bits of each byte, all but the last marked.
    let spread = value & 0x7F
        | (value & 0x3F80) << 1
        | (value & 0x1F_C000) << 2
        | (value & 0x0FE0_0000) << 3;
    let marks = 0x0080_8080 & !(u32::MAX << (8 * (len - 1)));
    (spread | marks, len)
}

/// Appends `value`, which is at most [`REMAINING_LENGTH_MAX`], in its shortest form.
#[inline]
pub(super) fn put_variable_byte_integer(out: &mut Vec<u8>, value: u32) {
    match variable_byte_integer(value) {
        (byte, 1) => out.push(byte as u8),
        (bytes, len) => out.extend_from_slice(&bytes.to_le_bytes()[..len]),
    }
}

/// Appends a whole packet: `first_byte`, the remaining length, and what `body` writes.
pub(super) fn put_packet(
    out: &mut Vec<u8>,
    first_byte: u8,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend_from_slice(&[first_byte, 0]);
    put_with_length(out, start + 1, body)
}

/// Has `body` write behind the one byte at `length_at`, and makes that byte the length of what
/// came. Nearly all lengths fit it; others move the body up to make room.
pub(super) fn put_with_length(
    out: &mut Vec<u8>,
    length_at: usize,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let body_at = length_at + 1;
    debug_assert_eq!(out.len(), body_at, "the length byte is the last one");
    body(out)?;
    let len = u32::try_from(out.len() - body_at).map_err(|_| EncodeError::TooLarge)?;
    if len > REMAINING_LENGTH_MAX {
        return Err(EncodeError::TooLarge);
    }
    let extra = variable_byte_integer_len(len) - 1;
    if extra > 0 {
        let end = out.len();
        out.resize(end + extra, 0);
        out.copy_within(body_at..end, body_at + extra);
    }
    let mut rest = len;
    for byte in &mut out[length_at..=length_at + extra] {
        *byte = (rest & 0x7F) as u8 | 0x80;
        rest >>= 7;
    }
    out[length_at + extra] &= 0x7F;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::reader;
    use crate::error::Malformed;

    #[test]
    fn a_length_is_packed_as_it_is_written_byte_by_byte() {
        let bits = (0..28).map(|bit| 1 << bit);
        let around = bits.flat_map(|value: u32| [value - 1, value, value + 1]);
        for value in around.chain([REMAINING_LENGTH_MAX - 1, REMAINING_LENGTH_MAX]) {
            let mut plain = Vec::new();
            let mut rest = value;
            while rest > 0x7F {
                plain.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            plain.push(rest as u8);
            let (packed, len) = variable_byte_integer(value);
            let bytes = packed.to_le_bytes();
            assert_eq!((&bytes[..len], len), (&plain[..], plain.len()), "{value}");
            assert!(bytes[len..].iter().all(|byte| *byte == 0), "{value}");
            let mut out = Vec::new();
            put_variable_byte_integer(&mut out, value);
            assert_eq!(out, plain);
            let read = reader::variable_byte_integer(&out, Malformed::RemainingLength);
            assert_eq!(read, Ok(Some((value, len))));
        }
    }
}
