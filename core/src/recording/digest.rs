//! One number for everything that came out, so that a replay can tell whether the same comes out
//! again. Against chance, not against somebody who tries.

use core::fmt;

const LANES: usize = 4;
pub(super) const BLOCK_BYTES: usize = LANES * 8;

/// Four sums side by side, so that a processor can go on with one while it multiplies for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    lanes: [u64; LANES],
}

impl Digest {
    /// Odd, so that multiplying by it loses nothing.
    pub(super) const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

    pub(super) const fn new() -> Self {
        Self {
            lanes: [1, 2, 3, 4],
        }
    }

    const fn mix(lane: u64, word: u64) -> u64 {
        (lane.rotate_left(23) ^ word).wrapping_mul(Self::FACTOR)
    }

    pub(super) fn number(&mut self, number: u64) {
        self.lanes[0] = Self::mix(self.lanes[0], number);
    }

    /// Any bytes, and how many.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        let rest = self.blocks(bytes);
        self.end(rest);
    }

    /// Any bytes in pieces: after their number, all but what is no whole block, which comes at the
    /// [end](Self::end). Gives the rest.
    pub(super) fn blocks<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            for (lane, word) in self.lanes.iter_mut().zip(words) {
                *lane = Self::mix(*lane, u64::from_le_bytes(*word));
            }
        }
        rest
    }

    /// Less than a block.
    pub(super) fn end(&mut self, rest: &[u8]) {
        let (words, rest) = rest.as_chunks::<8>();
        for word in words {
            self.number(u64::from_le_bytes(*word));
        }
        let tail = rest
            .iter()
            .fold(0, |tail, byte| tail << 8 | u64::from(*byte));
        self.number(tail);
    }

    /// What it comes to so far.
    pub(super) fn sum(&self) -> u32 {
        let mut sum = 0;
        for lane in self.lanes {
            sum = Self::mix(sum, lane);
        }
        (sum >> 32) as u32
    }
}

/// Takes what is rare as its text.
impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}
