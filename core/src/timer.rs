//! Deadlines, in order. One entry for each thing that waits; whoever arms a timer remembers when
//! for.

use crate::slab::Key;
use crate::time::Timestamp;
use alloc::collections::BTreeSet;

/// What a deadline is for. At one instant they fire in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKey {
    /// CONNECT time-out before, keep alive after.
    Connection(Key),
    /// The authentication of a client ends.
    Authentication(Key),
    /// A client that published too fast is read again.
    Throttle(Key),
    /// A connection holds up publishers and has not drained.
    Slow(Key),
    /// Will delay, or session expiry, whichever is next.
    Session(Key),
    /// Unacknowledged messages of a 3.x client.
    Retransmit(Key),
    /// A session gives back the room of exchanges that are over.
    Tighten(Key),
    /// The earliest expiry of a retained message.
    Retained,
}

/// The ordered set of deadlines.
pub(crate) struct Timers {
    entries: BTreeSet<(Timestamp, TimerKey)>,
}

crate::state::state!(Timers { entries });

impl Timers {
    pub(crate) const fn new() -> Self {
        Self {
            entries: BTreeSet::new(),
        }
    }

    /// Moves the deadline of `key` from `armed` to `at`. `MAX` stands for "none" on both sides.
    pub(crate) fn arm(&mut self, key: TimerKey, armed: &mut Timestamp, at: Timestamp) {
        if *armed == at {
            return;
        }
        if *armed != Timestamp::MAX {
            self.entries.remove(&(*armed, key));
        }
        if at != Timestamp::MAX {
            self.entries.insert((at, key));
        }
        *armed = at;
    }

    /// The next deadline.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.entries.first().map(|(at, _)| *at)
    }

    /// Takes the next deadline that has passed. Its owner is no longer armed.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<TimerKey> {
        let (at, _) = *self.entries.first()?;
        if at > now {
            return None;
        }
        self.entries.pop_first().map(|(_, key)| key)
    }
}
