//! What was decided, counted from the start of the broker.

use core::sync::atomic::{AtomicU64, Ordering};

/// Decisions so far, of all shards together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Clients that were let in.
    pub accepted: u64,
    /// Clients that were refused for what they showed, or did not show.
    pub refused: u64,
    /// Clients that were refused because too many were waiting.
    pub busy: u64,
    /// Clients that were refused because whoever had to be asked did not answer as it should.
    pub unavailable: u64,
    /// Passwords that were hashed.
    pub hashed: u64,
    /// Passwords that were known from a short while ago.
    pub remembered: u64,
}

/// The same, while they count.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: Counter,
    pub(crate) refused: Counter,
    pub(crate) busy: Counter,
    pub(crate) unavailable: Counter,
    pub(crate) hashed: Counter,
    pub(crate) remembered: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn statistics(&self) -> Statistics {
        Statistics {
            accepted: self.accepted.get(),
            refused: self.refused.get(),
            busy: self.busy.get(),
            unavailable: self.unavailable.get(),
            hashed: self.hashed.get(),
            remembered: self.remembered.get(),
        }
    }
}
