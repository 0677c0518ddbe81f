//! One number for everything that came out, so that a replay can tell whether the same comes out
//! again, and for what stands in a frame. Against chance, not against somebody who tries.
//!
//! All that a broker reads and writes goes through here while it is recorded. So there are many
//! sums side by side, and what is done for each is what processors do for several at once.

use core::fmt;

const LANES: usize = 16;
pub(super) const BLOCK_BYTES: usize = LANES * 8;

/// Sums side by side, so that a processor can go on with others while it multiplies for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    lanes: [u64; LANES],
}

impl Digest {
    /// Odd, so that multiplying by it loses nothing.
    pub(super) const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

    pub(super) const fn new() -> Self {
        let mut lanes = [0; LANES];
        let mut lane = 0;
        while lane < LANES {
            lanes[lane] = Self::FACTOR.rotate_left(lane as u32);
            lane += 1;
        }
        Self { lanes }
    }

    const fn mix(sum: u64, word: u64) -> u64 {
        (sum.rotate_left(23) ^ word).wrapping_mul(Self::FACTOR)
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
        let (blocks, rest) = bytes.as_chunks();
        self.lanes = blocks.iter().fold(self.lanes, with_block);
        rest
    }

    /// Less than a block: a word for each lane, and what is no whole word for the next one.
    pub(super) fn end(&mut self, rest: &[u8]) {
        let (words, tail) = rest.as_chunks();
        for (lane, word) in self.lanes.iter_mut().zip(words) {
            *lane = Self::mix(*lane, u64::from_le_bytes(*word));
        }
        let with = |word, byte: &u8| word << 8 | u64::from(*byte);
        let lane = &mut self.lanes[words.len() % LANES];
        *lane = Self::mix(*lane, tail.iter().fold(0, with));
    }

    /// What it comes to so far. Each bit of each lane counts.
    pub(super) fn sum(&self) -> u32 {
        let sum = self.lanes.into_iter().fold(0, Self::mix);
        (sum >> 32) as u32
    }
}

/// Each lane takes the product of both halves of what differs between it and its word, to which no
/// other difference comes but by chance, and the word of its neighbour, as one half may be 0.
#[inline]
fn with_block(mut lanes: [u64; LANES], block: &[u8; BLOCK_BYTES]) -> [u64; LANES] {
    let mut words = [0; LANES];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    for (number, lane) in lanes.iter_mut().enumerate() {
        let state = *lane ^ words[number];
        let product = (state & 0xFFFF_FFFF).wrapping_mul(state >> 32);
        *lane = lane.wrapping_add(words[number ^ 1]).wrapping_add(product);
    }
    lanes
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

    /// Some blocks and a rest. 6,000 sums of 32 bits have two that are equal by chance in one of
    /// some 250 sets, and this set has none.
    #[test]
    fn every_bit_its_place_and_its_absence_count() {
        let mut bytes: Vec<u8> = (0..3 * BLOCK_BYTES as u32 + 77)
            .map(|at| (at * at / 7 + 1) as u8)
            .collect();
        let mut sums = BTreeSet::from([sum_of(&bytes)]);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(sums.insert(sum_of(&bytes)), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for length in 0..bytes.len() {
            assert!(sums.insert(sum_of(&bytes[..length])), "{length} bytes");
            assert!(sums.insert(sum_of(&vec![0; 1 + length])), "{length} zeros");
        }
        for at in 8..bytes.len() {
            if bytes[at] != bytes[at - 8] {
                bytes.swap(at, at - 8);
                assert!(sums.insert(sum_of(&bytes)), "{at} and the word before");
                bytes.swap(at, at - 8);
            }
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
