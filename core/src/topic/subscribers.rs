//! The subscribers of one filter: none or one in place, more in an ordered map.

use crate::codec::packet::SubscribeOptions;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Who subscribes. The index only compares it; what the number means is the broker's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberKey(pub u32);

/// What one subscriber wants from one filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Subscription {
    /// What was asked for and granted.
    pub options: SubscribeOptions,
    /// The subscription identifier; 0 means none.
    pub identifier: u32,
}

/// One subscription as it comes out of a match: 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subscriber {
    /// Who.
    pub key: SubscriberKey,
    /// What.
    pub subscription: Subscription,
}

/// Most filters have one subscriber, a few have very many. Always in ascending order of the keys,
/// so that the order of deliveries depends on nothing else.
#[derive(Debug, Default)]
pub(super) enum SubscriberList {
    #[default]
    Empty,
    One(Subscriber),
    /// At least two.
    #[expect(
        clippy::box_collection,
        reason = "eight bytes in every filter that has one subscriber"
    )]
    Many(Box<BTreeMap<SubscriberKey, Subscription>>),
}

impl SubscriberList {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(_) => 1,
            Self::Many(map) => map.len(),
        }
    }

    pub(super) fn get(&self, key: SubscriberKey) -> Option<Subscription> {
        match self {
            Self::One(only) if only.key == key => Some(only.subscription),
            Self::Empty | Self::One(_) => None,
            Self::Many(map) => map.get(&key).copied(),
        }
    }

    /// Answers what the new subscription replaced.
    pub(super) fn insert(
        &mut self,
        key: SubscriberKey,
        subscription: Subscription,
    ) -> Option<Subscription> {
        match self {
            Self::Empty => {
                *self = Self::One(Subscriber { key, subscription });
                None
            }
            Self::One(only) if only.key == key => {
                Some(core::mem::replace(&mut only.subscription, subscription))
            }
            Self::One(only) => {
                let both = [(only.key, only.subscription), (key, subscription)];
                *self = Self::Many(Box::new(BTreeMap::from(both)));
                None
            }
            Self::Many(map) => map.insert(key, subscription),
        }
    }

    pub(super) fn remove(&mut self, key: SubscriberKey) -> Option<Subscription> {
        match self {
            Self::One(only) if only.key == key => {
                let removed = only.subscription;
                *self = Self::Empty;
                Some(removed)
            }
            Self::Empty | Self::One(_) => None,
            Self::Many(map) => {
                let removed = map.remove(&key)?;
                if map.len() == 1
                    && let Some((key, subscription)) = map.pop_first()
                {
                    *self = Self::One(Subscriber { key, subscription });
                }
                Some(removed)
            }
        }
    }

    pub(super) fn append_to(&self, out: &mut Vec<Subscriber>) {
        match self {
            Self::Empty => {}
            Self::One(only) => out.push(*only),
            Self::Many(map) => out.extend(
                map.iter()
                    .map(|(&key, &subscription)| Subscriber { key, subscription }),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribers_are_small_and_ordered() {
        assert_eq!(size_of::<Subscriber>(), 12);
        assert_eq!(size_of::<SubscriberList>(), 16);

        let mut list = SubscriberList::default();
        let wants = |identifier| Subscription {
            identifier,
            ..Subscription::default()
        };
        for key in [3, 1, 2] {
            assert_eq!(list.insert(SubscriberKey(key), wants(key)), None);
        }
        assert_eq!(list.insert(SubscriberKey(1), wants(9)), Some(wants(1)));
        let mut out = Vec::new();
        list.append_to(&mut out);
        assert!(out.iter().map(|one| one.key.0).eq([1, 2, 3]));
        for (key, left) in [(1, 2), (3, 1), (2, 0)] {
            assert!(list.remove(SubscriberKey(key)).is_some());
            assert_eq!(list.remove(SubscriberKey(key)), None);
            assert_eq!(list.len(), left);
        }
        assert!(matches!(list, SubscriberList::Empty));
    }
}
