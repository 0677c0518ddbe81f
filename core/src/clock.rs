//! The broker's own wall clock: what expiries and will deadlines are reckoned in.
//!
//! The machine's wall clock may jump: a device without a battery starts in 1970 and learns the time
//! minutes later. So wall time is looked at once, at the start; from then on the broker's wall
//! clock runs with the monotonic one. Nothing expires early, or lives for ever, because somebody
//! set the time.

use crate::time::{Now, Timestamp, UnixTime};

/// Monotonic time, and the wall time that follows from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Now,
    now: Timestamp,
}

crate::state::state!(Clock { started, now });

impl Clock {
    pub(crate) const fn new(now: Now) -> Self {
        Self {
            started: now,
            now: now.monotonic,
        }
    }

    /// The wall clock goes on from another broker's, instead of the machine's.
    pub(crate) const fn set_wall(&mut self, wall: UnixTime) {
        self.started.wall = wall;
        self.started.monotonic = self.now;
    }

    /// Takes note of the time an input brought. Time that goes backwards stands still instead.
    pub(crate) fn tick(&mut self, now: Now) {
        self.now = self.now.max(now.monotonic);
    }

    pub(crate) const fn now(&self) -> Timestamp {
        self.now
    }

    /// The wall time of now.
    pub(crate) const fn wall(&self) -> UnixTime {
        UnixTime(
            self.started
                .wall
                .0
                .saturating_add(self.now.since(self.started.monotonic)),
        )
    }

    /// When it will be `at` on the wall, in monotonic time; now, if that has passed.
    pub(crate) const fn monotonic(&self, at: UnixTime) -> Timestamp {
        if at.0 == u64::MAX {
            return Timestamp::MAX;
        }
        self.now.after_ms(at.since(self.wall()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_jumps_moves_no_deadline() {
        let at = |ms, wall| Now {
            monotonic: Timestamp(ms),
            wall: UnixTime(wall),
        };
        let mut clock = Clock::new(at(10, 1_000));
        let deadline = clock.wall().after_s(60);
        clock.tick(at(20, 1_700_000_000_000));
        assert_eq!(clock.wall(), UnixTime(1_010));
        assert_eq!(clock.monotonic(deadline), Timestamp(60_010));
        clock.tick(at(5, 0));
        assert_eq!(clock.now(), Timestamp(20), "time does not go backwards");
    }
}
