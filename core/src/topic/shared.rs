//! The members of a shared subscription.
//!
//! Responsible for who belongs to a group and in which order they joined. Not responsible for
//! choosing one of them: that is the broker's policy, which keeps its state in
//! [`SharedGroup::cursor`].

use crate::topic::filter::ShareName;
use crate::topic::subscribers::{Subscriber, SubscriberKey, Subscription};
use crate::topic::trie::FilterId;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Names a group while it has members. Numbers of groups that are gone are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// The subscribers that share one filter under one share name.
#[derive(Debug)]
pub struct SharedGroup {
    filter: FilterId,
    share: Box<str>,
    members: Vec<Subscriber>,
    /// For policies that go around: an index into the members, kept on the same member when one
    /// before it leaves, and below the number of members.
    pub cursor: u32,
    /// How many members can be reached at present, by the count of whoever connects them.
    pub present: u32,
    /// Others are still to hear of that.
    pub is_untold: bool,
    /// For choosing among places that have members: messages so far.
    pub turn: u32,
}

crate::state::state!(SharedGroup {
    filter,
    share,
    members,
    cursor,
    present,
    is_untold,
    turn
});

impl SharedGroup {
    pub(super) fn new(filter: FilterId, share: ShareName<'_>) -> Self {
        Self {
            filter,
            share: share.as_str().into(),
            members: Vec::new(),
            cursor: 0,
            present: 0,
            is_untold: false,
            turn: 0,
        }
    }

    /// What the group subscribes to.
    #[must_use]
    pub const fn filter(&self) -> FilterId {
        self.filter
    }

    /// Under which name.
    #[must_use]
    pub fn share(&self) -> ShareName<'_> {
        ShareName::stored(&self.share)
    }

    /// In the order in which they joined; never empty. A member that renews its subscription keeps
    /// its place.
    #[must_use]
    pub fn members(&self) -> &[Subscriber] {
        &self.members
    }

    /// What this member subscribed with.
    #[must_use]
    pub fn get(&self, key: SubscriberKey) -> Option<Subscription> {
        let member = self.members.iter().find(|member| member.key == key)?;
        Some(member.subscription)
    }

    /// Answers what the new subscription replaced.
    pub(super) fn insert(
        &mut self,
        key: SubscriberKey,
        subscription: Subscription,
    ) -> Option<Subscription> {
        if let Some(member) = self.members.iter_mut().find(|member| member.key == key) {
            return Some(core::mem::replace(&mut member.subscription, subscription));
        }
        if self.members.is_empty() {
            self.members.reserve_exact(1); // many groups never get a second member
        }
        self.members.push(Subscriber { key, subscription });
        None
    }

    pub(super) fn remove(&mut self, key: SubscriberKey) -> Option<Subscription> {
        let index = self.members.iter().position(|member| member.key == key)?;
        let removed = self.members.remove(index);
        if index < self.cursor as usize {
            self.cursor -= 1;
        }
        if self.cursor as usize >= self.members.len() {
            self.cursor = 0;
        }
        Some(removed.subscription)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_stays_on_its_member() {
        let mut group = SharedGroup::new(FilterId(0), ShareName::new("g").unwrap());
        for key in 0..4 {
            group.insert(SubscriberKey(key), Subscription::default());
        }
        group.cursor = 2;
        group.remove(SubscriberKey(0));
        assert_eq!((group.cursor, group.members()[1].key.0), (1, 2));
        group.remove(SubscriberKey(2));
        assert_eq!((group.cursor, group.members()[1].key.0), (1, 3));
        group.remove(SubscriberKey(3));
        assert_eq!(group.cursor, 0);
        assert_eq!(group.remove(SubscriberKey(3)), None);
    }
}
