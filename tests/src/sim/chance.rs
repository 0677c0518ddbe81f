//! Everything that is left to chance comes from here, and all of it from one seed.

use crate::disk::Random;

/// Draws.
#[derive(Clone, Debug)]
pub(super) struct Chance(Random);

impl Chance {
    /// Equal seeds give equal draws. `stream` tells independent sources of one seed apart.
    pub(super) const fn new(seed: u64, stream: u64) -> Self {
        Self(Random::new(
            seed ^ stream.wrapping_mul(0xA076_1D64_78BD_642F),
        ))
    }

    pub(super) const fn number(&mut self) -> u64 {
        self.0.next()
    }

    /// From 0 to below `bound`, which is not 0.
    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        self.0.next() % bound
    }

    /// From `low` to `high`, both included.
    pub(super) const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub(super) const fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(super) const fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}
