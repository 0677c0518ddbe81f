//! How shards leave together.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::Waker;
use std::sync::Arc;

/// Lets shards leave together: each stays until all have nothing left to say.
pub(crate) struct Farewell {
    party: Arc<Party>,
    has_left: bool,
}

struct Party {
    present: AtomicUsize,
    shards: Vec<Waker>,
}

impl Farewell {
    /// One for each shard; the wakers tell them that the last one has nothing left to say.
    pub(crate) fn party(shards: Vec<Waker>) -> Vec<Self> {
        let count = shards.len();
        let party = Arc::new(Party {
            present: AtomicUsize::new(count),
            shards,
        });
        let one = || Self {
            party: Arc::clone(&party),
            has_left: false,
        };
        (0..count).map(|_| one()).collect()
    }

    /// This shard has nothing left to say. Whether nobody has: then everything that was sent has
    /// arrived.
    pub(crate) fn leave(&mut self) -> bool {
        if !core::mem::replace(&mut self.has_left, true)
            && self.party.present.fetch_sub(1, Ordering::AcqRel) == 1
        {
            for shard in &self.party.shards {
                shard.wake_by_ref();
            }
        }
        self.party.present.load(Ordering::Acquire) == 0
    }

    /// Whether this shard has said that it has nothing left to say.
    pub(crate) const fn has_left(&self) -> bool {
        self.has_left
    }
}

/// A shard that crashes is not waited for.
impl Drop for Farewell {
    fn drop(&mut self) {
        self.leave();
    }
}
