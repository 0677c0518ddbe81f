//! One number for everything that came out, so that a replay can tell whether the same comes out
//! again. Against chance, not against somebody who tries.

use core::fmt;

const LANES: usize = 8;
pub(super) const BLOCK_BYTES: usize = LANES * 8;

/// Eight sums side by side: a processor begins a multiplication in each cycle, and has to wait five
/// for the sum that it goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    lanes: [u64; LANES],
}

impl Digest {
    /// Odd, so that multiplying by it loses nothing.
    pub(super) const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

    pub(super) const fn new() -> Self {
        Self {
            lanes: [1, 2, 3, 4, 5, 6, 7, 8],
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
            self.words(block.as_chunks().0);
        }
        rest
    }

    /// One for each sum, at most.
    fn words(&mut self, words: &[[u8; 8]]) {
        for (lane, word) in self.lanes.iter_mut().zip(words) {
            *lane = Self::mix(*lane, u64::from_le_bytes(*word));
        }
    }

    /// Less than a block.
    pub(super) fn end(&mut self, rest: &[u8]) {
        let (words, rest) = rest.as_chunks();
        self.words(words);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::vec;
    use std::vec::Vec;

    fn sum_of(bytes: &[u8]) -> u32 {
        let mut digest = Digest::new();
        digest.bytes(bytes);
        digest.sum()
    }

    #[test]
    fn every_bit_its_place_and_its_absence_count() {
        let mut bytes: Vec<u8> = (0..7 * BLOCK_BYTES as u32 + 27)
            .map(|at| (at * at / 7 + 1) as u8)
            .collect();
        let sum = sum_of(&bytes);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(sum_of(&bytes), sum, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for at in 8..bytes.len() {
            if bytes[at] != bytes[at - 8] {
                bytes.swap(at, at - 8);
                assert_ne!(sum_of(&bytes), sum, "{at} and the word before");
                bytes.swap(at, at - 8);
            }
        }
        let zeros = vec![0; bytes.len()];
        let mut sums = BTreeSet::from([sum_of(&[])]);
        for length in 1..bytes.len() {
            assert!(sums.insert(sum_of(&bytes[..length])), "{length} bytes");
            assert!(sums.insert(sum_of(&zeros[..length])), "{length} zeros");
        }
    }

    /// Each step is one that can be undone. A sum that is not made of such steps may lose what was
    /// before on the way through a firmware image, which is padded with ones.
    #[test]
    fn what_came_before_counts_whatever_follows() {
        let fills = (0..=255).map(|byte| [byte; 8]);
        let numbers = [-2_i64, -16, -1_000, 1, 1 << 32].map(i64::to_le_bytes);
        for fill in fills.chain(numbers) {
            let (mut one, mut other) = (Digest::new(), Digest::new());
            one.bytes(&[1; BLOCK_BYTES]);
            other.bytes(&[2; BLOCK_BYTES]);
            let long = fill.repeat(64 << 7);
            one.bytes(&long);
            other.bytes(&long);
            let lanes = one.lanes.iter().zip(other.lanes);
            assert!(lanes.into_iter().all(|(a, b)| *a != b), "{fill:?}");
            assert_ne!(one.sum(), other.sum(), "{fill:?}");
        }
    }

    #[test]
    fn pieces_come_to_the_same_as_the_whole() {
        let bytes = [7; 5 * BLOCK_BYTES + 9];
        let mut pieces = Digest::new();
        pieces.number(bytes.len() as u64);
        let (first, second) = bytes.split_at(2 * BLOCK_BYTES);
        assert_eq!(pieces.blocks(first), []);
        let rest = pieces.blocks(second);
        pieces.end(rest);
        assert_eq!(pieces.sum(), sum_of(&bytes));
    }
}
