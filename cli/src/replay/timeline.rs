//! One time for all parts: of several shards, and of several processes one after the other.

use std::collections::BTreeMap;
use whimbrel_core::time::Now;

/// Reckons with the wall time at which each process began to be recorded, and from then on with its
/// monotonic time, which does not jump.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// What is to be added to the monotonic time of a process, wrapping.
    offsets: BTreeMap<u64, u64>,
    /// The earliest time so far.
    began: Option<u64>,
    /// The latest time so far.
    latest: u64,
}

impl Timeline {
    /// What is to be added to the times of a process, of which something begins now. Later
    /// processes begin later, even if somebody has set the clock back.
    pub(super) fn offset(&mut self, process: u64, now: Now) -> u64 {
        let monotonic = now.monotonic.0;
        let latest = &mut self.latest;
        let offset = *self.offsets.entry(process).or_insert_with(|| {
            *latest = now.wall.0.max(*latest);
            latest.wrapping_sub(monotonic)
        });
        let at = offset.wrapping_add(monotonic);
        self.began = Some(self.began.map_or(at, |began| began.min(at)));
        offset
    }

    /// It is that late.
    pub(super) fn reached(&mut self, at: u64) {
        self.latest = self.latest.max(at);
    }

    /// When the recording begins.
    pub(super) const fn began(&self) -> u64 {
        match self.began {
            Some(began) => began,
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whimbrel_core::time::{Timestamp, UnixTime};

    #[test]
    fn time_goes_on_after_a_restart_even_if_the_clock_was_set_back() {
        let now = |monotonic, wall| Now {
            monotonic: Timestamp(monotonic),
            wall: UnixTime(wall),
        };
        let mut timeline = Timeline::default();
        let at = |timeline: &mut Timeline, process, now: Now| {
            timeline.offset(process, now).wrapping_add(now.monotonic.0)
        };
        assert_eq!(at(&mut timeline, 1, now(7, 1_000)), 1_000);
        // Of the same process, whatever the wall clock says meanwhile.
        assert_eq!(at(&mut timeline, 1, now(57, 9_000)), 1_050);
        assert_eq!(at(&mut timeline, 2, now(1, 5_000)), 5_000);
        timeline.reached(7_000);
        assert_eq!(at(&mut timeline, 3, now(1, 2_000)), 7_000);
        assert_eq!(timeline.began(), 1_000);
    }
}
