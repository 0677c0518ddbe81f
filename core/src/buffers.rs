//! Output buffers that are kept, so that who has something to say need not ask the allocator.
//!
//! A connection owns one only between the first byte for it and `transmit`. How many are needed at
//! once is the number of connections that are spoken to in one turn; so their memory is bounded,
//! not their number.

use alloc::vec::Vec;

/// A buffer that grew beyond this is given back to the allocator.
const BUFFER_BYTES_MAX: usize = 256 << 10;

/// What all kept buffers may take together: 64 bytes each for 65,536 connections, or 64 KiB for 64.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// What a new buffer has room for: some acknowledgements, or a small message.
const FIRST_BYTES: usize = 128;

/// Empty buffers with room.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    kept: Vec<Vec<u8>>,
    bytes: usize,
}

impl Buffers {
    /// Gives room to an output that has none.
    #[inline]
    pub(crate) fn lend(&mut self, out: &mut Vec<u8>) {
        if out.capacity() == 0 {
            *out = self.take();
        }
    }

    fn take(&mut self) -> Vec<u8> {
        let Some(buffer) = self.kept.pop() else {
            return Vec::with_capacity(FIRST_BYTES);
        };
        self.bytes -= buffer.capacity();
        buffer
    }

    /// Takes a buffer back.
    pub(crate) fn keep(&mut self, mut buffer: Vec<u8>) {
        let size = buffer.capacity();
        if size > 0 && size <= BUFFER_BYTES_MAX && self.bytes + size <= KEPT_BYTES_MAX {
            buffer.clear();
            self.bytes += size;
            self.kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_by_bytes() {
        let mut buffers = Buffers::default();
        for _ in 0..100 {
            buffers.keep(Vec::with_capacity(64 << 10));
        }
        assert_eq!(buffers.bytes, KEPT_BYTES_MAX);
        buffers.keep(Vec::with_capacity(BUFFER_BYTES_MAX + 1));
        buffers.keep(Vec::new());
        assert_eq!(buffers.kept.len(), 64);
        let mut out = Vec::new();
        buffers.lend(&mut out);
        assert_eq!(out.capacity(), 64 << 10);
        assert_eq!(buffers.bytes, KEPT_BYTES_MAX - (64 << 10));
    }
}
