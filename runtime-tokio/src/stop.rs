//! How a shard is asked to stop: a level that only rises, so that requests cannot overtake each
//! other, and that is never stuck behind other messages.

use core::sync::atomic::{AtomicU8, Ordering};
use core::task::Waker;

/// How urgently to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StopLevel {
    /// Not at all.
    Run,
    /// Tell everybody, and give them time.
    Gracefully,
    /// Tell everybody, and go.
    Promptly,
}

pub(crate) struct Stop {
    level: AtomicU8,
    shard: Waker,
}

impl Stop {
    pub(crate) const fn new(shard: Waker) -> Self {
        Self {
            level: AtomicU8::new(StopLevel::Run as u8),
            shard,
        }
    }

    /// Asks for at least this.
    pub(crate) fn request(&self, level: StopLevel) {
        if self.level.fetch_max(level as u8, Ordering::AcqRel) < level as u8 {
            self.shard.wake_by_ref();
        }
    }

    pub(crate) fn level(&self) -> StopLevel {
        match self.level.load(Ordering::Acquire) {
            0 => StopLevel::Run,
            1 => StopLevel::Gracefully,
            _ => StopLevel::Promptly,
        }
    }
}
