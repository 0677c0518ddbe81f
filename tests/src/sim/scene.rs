//! What everybody in a run shares.

use super::chance::Chance;
use super::counts::Counts;
use super::defect::Mischief;
use super::network::{Network, Owner, Weather};
use super::options::DiskFaults;
use super::oracle::Oracle;
use super::trace::Story;
use std::collections::BTreeSet;

/// Topics that some may not receive, where there are rules.
pub(super) const SECRET: &str = "s/+/1";

/// Whether these are kept from a player: of every group there are others from whom they are not.
pub(super) const fn is_secret_to(player: usize) -> bool {
    player / 3 % 2 == 1
}

/// The world between clients and broker.
pub(super) struct Scene {
    /// Virtual milliseconds since the run began.
    pub(super) now: u64,
    pub(super) weather: Weather,
    pub(super) disk: DiskFaults,
    /// Faults are over: clients do no more than get what they are owed.
    pub(super) is_calm: bool,
    /// There are so many clients that each has most to do with those of its district.
    pub(super) is_crowd: bool,
    /// Clients stay away for longer than their wills wait, now and then.
    pub(super) long_absences: bool,
    /// Some clients of 5.0 do not want to hear what they say themselves.
    pub(super) no_local: bool,
    pub(super) pause_ms: u64,
    pub(super) chance: Chance,
    pub(super) network: Network,
    pub(super) oracle: Oracle,
    pub(super) story: Story,
    pub(super) counts: Counts,
    /// What is deliberately wrong, between the broker and the rest.
    pub(super) mischief: Mischief,
    /// Who is a member of a shared subscription.
    pub(super) sharers: Vec<Owner>,
    /// What twins have published that does not look as if they had.
    pub(super) twins_said: BTreeSet<Vec<u8>>,
}

impl Scene {
    /// For the story, if it is told.
    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        self.story.tell(self.now, what);
    }
}
