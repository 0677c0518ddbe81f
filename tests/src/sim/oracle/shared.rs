//! Shared subscriptions: each message to one member of the group.

use super::matches;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
struct Group {
    /// Members and the fact that they were let in; `None` while that is not sure.
    members: BTreeMap<usize, Option<u64>>,
    /// Who was a member at some time.
    known: BTreeSet<usize>,
    /// Who has left, as far as it knows itself; the broker may still count on it.
    leaving: BTreeSet<usize>,
    /// The last fact that may have taken messages from the group: who leaves takes what was begun.
    disturbed: u64,
    /// Some member's session ends with its connection.
    is_volatile: bool,
    owed: BTreeSet<u64>,
    /// Messages that have arrived, and whether with a member for whom that is exactly once.
    seen: BTreeMap<u64, bool>,
}

/// All groups, by filter.
#[derive(Debug, Default)]
pub(super) struct SharedBook {
    groups: BTreeMap<String, Group>,
}

impl SharedBook {
    pub(super) fn joining(&mut self, filter: &str, player: usize, is_persistent: bool, fact: u64) {
        let group = self.groups.entry(filter.to_owned()).or_default();
        group.members.entry(player).or_insert(None);
        group.known.insert(player);
        group.is_volatile |= !is_persistent;
        if !is_persistent {
            group.disturbed = fact;
            group.owed.clear();
        }
    }

    pub(super) fn joined(&mut self, filter: &str, player: usize, fact: u64) {
        let group = self.groups.entry(filter.to_owned()).or_default();
        if let Some(since) = group.members.get_mut(&player) {
            since.get_or_insert(fact);
        }
    }

    /// A member leaves all its groups, or its session has ended.
    pub(super) fn left(&mut self, player: usize, fact: u64) {
        for group in self.groups.values_mut() {
            if group.members.remove(&player).is_some() {
                group.leaving.insert(player);
                group.disturbed = fact;
                group.owed.clear();
            }
        }
    }

    /// The broker knows that who left has left.
    pub(super) fn gone(&mut self, player: usize, fact: u64) {
        for group in self.groups.values_mut() {
            if group.leaving.remove(&player) {
                group.disturbed = fact;
                group.owed.clear();
            }
        }
    }

    /// `may` is who may have it.
    pub(super) fn accepted(
        &mut self,
        number: u64,
        (topic, sent): (&str, u64),
        may: impl Fn(usize) -> bool,
    ) {
        for (filter, group) in &mut self.groups {
            let is_there = group
                .members
                .iter()
                .any(|(member, since)| may(*member) && since.is_some_and(|since| since < sent));
            if is_there
                && matches(filter, topic)
                && group.disturbed < sent
                && !group.is_volatile
                && group.leaving.is_empty()
                && !group.seen.contains_key(&number)
            {
                group.owed.insert(number);
            }
        }
    }

    /// `is_exact`: it counts against others for whom it is exactly once. `is_once`: nobody else may
    /// have got it, nor this one before.
    pub(super) fn arrived(
        &mut self,
        player: usize,
        number: u64,
        (is_exact, is_once): (bool, bool),
    ) -> Result<(), String> {
        // A client is in one group all its life.
        let groups = self.groups.iter_mut();
        for (filter, group) in groups.filter(|(_, group)| group.known.contains(&player)) {
            group.owed.remove(&number);
            let before = group.seen.get(&number).copied();
            let was_exact = before == Some(true);
            group.seen.insert(number, is_exact || was_exact);
            if is_exact && was_exact || is_once && before.is_some() {
                return Err(format!("two members of {filter} get it"));
            }
        }
        Ok(())
    }

    /// Each group, who was ever in it, and what it has not got.
    pub(super) fn owed(&self) -> impl Iterator<Item = (&str, Vec<usize>, &BTreeSet<u64>)> {
        self.groups.iter().map(|(filter, group)| {
            let members = group.known.iter().copied().collect();
            (filter.as_str(), members, &group.owed)
        })
    }
}
