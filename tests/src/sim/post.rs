//! What the shards of a process send each other. As between threads, nothing gets lost, and nothing
//! overtakes what the same shard has sent to the same one before; how long anything takes, and in
//! which order the letters of several arrive, is left to chance.

use super::chance::Chance;
use std::collections::{BTreeMap, VecDeque};
use whimbrel_core::Peer;
use whimbrel_core::letter::Letter;

/// From which shard to which.
pub(super) type Way = (usize, usize);

/// One thing on its way.
pub(super) enum Post {
    Letter(Letter),
    /// A connection, with what was read of it and not handled.
    Connection {
        line: u64,
        peer: Peer,
        bytes: Vec<u8>,
    },
}

/// Everything on its way, with when it arrives.
#[derive(Default)]
pub(super) struct Posts {
    ways: BTreeMap<Way, VecDeque<(u64, Post)>>,
    /// What nobody takes in before then, by receiver.
    stalled: BTreeMap<usize, u64>,
}

impl Posts {
    pub(super) fn send(&mut self, way: Way, at: u64, post: Post) {
        let waiting = self.ways.entry(way).or_default();
        let last = waiting.back().map_or(at, |(last, _)| *last);
        waiting.push_back((at.max(last), post));
    }

    /// The last two change places.
    pub(super) fn swap_last(&mut self, way: Way) {
        if let Some(waiting) = self.ways.get_mut(&way)
            && let Some(before) = waiting.len().checked_sub(2)
        {
            let at = waiting[before].0;
            waiting.swap(before, before + 1);
            waiting[before].0 = at;
        }
    }

    /// A shard takes nothing in before `until`.
    pub(super) fn stall(&mut self, shard: usize, until: u64) {
        let stalled = self.stalled.entry(shard).or_default();
        *stalled = until.max(*stalled);
    }

    /// Faults are over.
    pub(super) fn hurry(&mut self) {
        self.stalled.clear();
    }

    fn due(&self) -> impl Iterator<Item = (Way, u64)> {
        self.ways.iter().filter_map(|(way, waiting)| {
            let (at, _) = waiting.front()?;
            let stalled = self.stalled.get(&way.1).copied();
            Some((*way, stalled.map_or(*at, |until| until.max(*at))))
        })
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        self.due().map(|(_, at)| at).min()
    }

    /// Something that has arrived, from any of those that have sent something.
    pub(super) fn pop(&mut self, now: u64, chance: &mut Chance) -> Option<(Way, Post)> {
        let ways: Vec<Way> = self
            .due()
            .filter_map(|(way, at)| (at <= now).then_some(way))
            .collect();
        let way = match ways.as_slice() {
            [] => return None,
            [one] => *one,
            several => chance.pick(several),
        };
        let waiting = self.ways.get_mut(&way)?;
        let (_, post) = waiting.pop_front()?;
        if waiting.is_empty() {
            self.ways.remove(&way);
        }
        Some((way, post))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ways.is_empty()
    }

    /// The connections on their way.
    pub(super) fn lines(&self) -> impl Iterator<Item = u64> {
        let posts = self.ways.values().flatten();
        posts.filter_map(|(_, post)| match post {
            Post::Connection { line, .. } => Some(*line),
            Post::Letter(_) => None,
        })
    }
}
