//! Reads both clocks. The only place where a broker's time comes from.

use std::time::{Instant, SystemTime};
use whimbrel_core::{Now, Timestamp, UnixTime};

/// Counts milliseconds from its making; all shards of a server share one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// One that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// What both say.
    #[must_use]
    pub fn now(self) -> Now {
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            monotonic: Timestamp(milliseconds(self.start.elapsed())),
            wall: UnixTime(milliseconds(wall)),
        }
    }

    /// When `timestamp` will be, for a timer. Deadlines too far away to be represented become a
    /// day, after which they are looked at again.
    #[must_use]
    pub fn instant(self, timestamp: Timestamp) -> Instant {
        const DAY: core::time::Duration = core::time::Duration::from_secs(24 * 3_600);
        let after = core::time::Duration::from_millis(timestamp.0);
        let limit = self.start.elapsed() + DAY;
        self.start + after.min(limit)
    }
}

fn milliseconds(duration: core::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
