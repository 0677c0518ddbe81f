//! Reads both clocks. The only place in this crate where time comes from.

use core::time::Duration;
use std::time::{Instant, SystemTime};
use whimbrel_core::{Now, Timestamp, UnixTime};

/// Counts milliseconds from its making.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Now {
            monotonic: Timestamp(milliseconds(self.0.elapsed())),
            wall: UnixTime(milliseconds(wall.unwrap_or_default())),
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
