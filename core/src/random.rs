//! Numbers drawn from the seed: for client identifiers and the choice among members. Not for
//! secrets.

use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// A counter under a keyed hash.
pub(crate) struct Random {
    seed: u64,
    drawn: u64,
}

crate::state::state!(Random { seed, drawn });

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    /// What everything is drawn from.
    pub(crate) const fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.drawn += 1;
        let mut hasher = SipHasher13::new_with_keys(self.seed, 0x4a4d);
        hasher.write_u64(self.drawn);
        hasher.finish()
    }

    /// A number below `bound`; 0 when there is none.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        if bound == 0 {
            0
        } else {
            (self.next_u64() % bound as u64) as usize
        }
    }
}
