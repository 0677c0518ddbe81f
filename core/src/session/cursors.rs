//! Retained messages that a client is owed: where it stands in those of each subscription.

use crate::id::MessageId;
use crate::retained::Author;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;

/// Where a client stands in the retained messages that a subscription entitles it to.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    /// The filter, without share name.
    pub(crate) filter: Arc<str>,
    /// The topic last delivered.
    pub(crate) after: Option<Box<str>>,
    pub(crate) maximum_qos: crate::codec::packet::QoS,
    pub(crate) identifier: u32,
    /// Whose messages it does not bring: those of the client itself, with no local.
    pub(crate) without: Option<Author>,
    /// The last message that was taken in before the subscription. Later ones came live.
    pub(crate) last: MessageId,
    /// The sequences of the last messages that came from other shards before it.
    pub(crate) elsewhere: Box<[u64]>,
    /// The log knows of it: what is left survives the broker.
    pub(crate) is_recorded: bool,
    /// The log does not know how far it has come.
    pub(crate) has_moved: bool,
}

crate::state::state!(Cursor {
    filter,
    after,
    maximum_qos,
    identifier,
    without,
    last,
    elsewhere,
    is_recorded,
    has_moved
});

impl Cursor {
    /// Whether a retained message was taken in after the subscription, in this life of the broker
    /// or a later one: then it came live.
    pub(crate) fn is_behind(&self, message: MessageId) -> bool {
        let (epoch, last) = (message.boot_epoch(), self.last.boot_epoch());
        if epoch != last {
            return epoch > last;
        }
        if message.origin == self.last.origin {
            return message.sequence > self.last.sequence;
        }
        self.elsewhere
            .get(usize::from(message.shard()))
            .is_some_and(|last| message.sequence > *last)
    }
}

/// Those of one session, in the order of its subscriptions; one a filter.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    by_order: BTreeMap<u64, Cursor>,
    by_filter: BTreeMap<Arc<str>, u64>,
    next: u64,
    filter_bytes: usize,
}

crate::state::state!(Cursors {
    by_order,
    by_filter,
    next,
    filter_bytes
});

impl Cursors {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_order.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_order.len()
    }

    /// What the filters take.
    pub(crate) const fn filter_bytes(&self) -> usize {
        self.filter_bytes
    }

    /// The last one. There is none of its filter: the caller has [forgotten](Self::forget) it.
    pub(crate) fn push(&mut self, cursor: Cursor) {
        self.filter_bytes += cursor.filter.len();
        self.by_filter.insert(cursor.filter.clone(), self.next);
        self.by_order.insert(self.next, cursor);
        self.next += 1;
    }

    /// The one whose turn it is.
    pub(crate) fn front_mut(&mut self) -> Option<&mut Cursor> {
        Some(self.by_order.first_entry()?.into_mut())
    }

    pub(crate) fn pop_front(&mut self) -> Option<Cursor> {
        let (_, cursor) = self.by_order.pop_first()?;
        self.filter_bytes -= cursor.filter.len();
        self.by_filter.remove(&cursor.filter);
        Some(cursor)
    }

    /// Takes out the one of a filter.
    pub(crate) fn forget(&mut self, filter: &str) -> Option<Cursor> {
        let order = self.by_filter.remove(filter)?;
        let cursor = self.by_order.remove(&order)?;
        self.filter_bytes -= cursor.filter.len();
        Some(cursor)
    }

    /// The order that the next one will have: all are [before](Self::last_before) it.
    pub(crate) const fn end(&self) -> u64 {
        self.next
    }

    /// The last one before this order, and its own.
    pub(crate) fn last_before(&self, order: u64) -> Option<(u64, &Cursor)> {
        let (order, cursor) = self.by_order.range(..order).next_back()?;
        Some((*order, cursor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::packet::QoS;
    use alloc::vec::Vec;

    fn cursor(filter: &str) -> Cursor {
        Cursor {
            filter: filter.into(),
            after: None,
            maximum_qos: QoS::AtLeastOnce,
            identifier: 0,
            without: None,
            last: MessageId {
                origin: 0,
                sequence: 0,
            },
            elsewhere: Box::default(),
            is_recorded: false,
            has_moved: false,
        }
    }

    #[test]
    fn they_keep_their_order_and_are_found_by_their_filter() {
        let mut cursors = Cursors::default();
        for filter in ["b", "a", "c/+"] {
            cursors.push(cursor(filter));
        }
        assert_eq!((cursors.len(), cursors.filter_bytes()), (3, 5));
        assert!(cursors.forget("c/#").is_none());
        assert_eq!(cursors.forget("a").map(|c| c.filter), Some("a".into()));
        cursors.push(cursor("a"));
        let mut order = cursors.end();
        let mut backwards = Vec::new();
        while let Some((place, cursor)) = cursors.last_before(order) {
            order = place;
            backwards.push(cursor.filter.clone());
        }
        assert_eq!(backwards, ["a".into(), "c/+".into(), Arc::from("b")]);
        assert_eq!(cursors.front_mut().map(|c| &*c.filter), Some("b"));
        assert_eq!(cursors.pop_front().map(|c| c.filter), Some("b".into()));
        assert_eq!((cursors.len(), cursors.filter_bytes()), (2, 4));
        assert!(cursors.forget("b").is_none());
    }
}
