//! Retained messages: the last message of each topic that was published to be kept.

use crate::id::MessageId;
use crate::message::{Message, MessageView};
use crate::state::{Reader, State, Writer};
use crate::time::UnixTime;
use crate::topic::TopicFilter;
use crate::topic::{Found, TopicKey, TopicMap};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;

impl TopicKey for Message {
    fn topic(&self) -> &str {
        self.topic_str()
    }

    fn topic_bytes(&self) -> &[u8] {
        self.topic_bytes()
    }
}

/// The retained messages of a shard.
pub(crate) struct Retained {
    by_topic: TopicMap<Message, ()>,
    /// Those that expire, by when.
    expiring: BTreeMap<(UnixTime, MessageId), Message>,
    bytes: u64,
    /// Topics that were cleared, and by which message, while other shards may not know of it.
    cleared: BTreeMap<Box<str>, MessageId>,
    /// The same, by sequence.
    cleared_order: BTreeMap<(u64, u64), Box<str>>,
}

impl State for Retained {
    fn save(&self, to: &mut Writer<'_>) {
        self.len().save(to);
        let mut after = None;
        while let Some(message) = self.next(after) {
            message.save(to);
            after = Some(message.topic_str());
        }
        self.cleared.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let mut retained = Self::new();
        for _ in 0..usize::load(from)? {
            retained.set(State::load(from)?);
        }
        for (topic, id) in BTreeMap::<Box<str>, MessageId>::load(from)? {
            retained.bury(&topic, id);
        }
        Some(retained)
    }
}

/// What a retained message takes beside its own bytes: its place in the map.
const OVERHEAD: u64 = 64;

fn cost(message: &Message) -> u64 {
    message.as_bytes().len() as u64 + OVERHEAD
}

impl Retained {
    pub(crate) fn new() -> Self {
        Self {
            by_topic: TopicMap::new(),
            expiring: BTreeMap::new(),
            bytes: 0,
            cleared: BTreeMap::new(),
            cleared_order: BTreeMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_topic.len()
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there is room for this message in the place of what is there.
    pub(crate) fn has_room(&self, view: &MessageView<'_>, count_max: u64, bytes_max: u64) -> bool {
        let size = view.encoded_len() as u64 + OVERHEAD;
        let count = self.by_topic.len() as u64;
        // Mostly there is, whatever it replaces.
        if count < count_max && self.bytes + size <= bytes_max {
            return true;
        }
        let old = self
            .by_topic
            .get_key_value(view.topic)
            .map(|(message, ())| message);
        let grows = u64::from(old.is_none());
        let bytes = self.bytes + size - old.map_or(0, cost);
        count + grows <= count_max && bytes <= bytes_max
    }

    /// Keeps a message for its topic. Gives back the one it replaces.
    ///
    /// Only one message is retained for a topic. [MQTT-3.3.1-5]
    pub(crate) fn set(&mut self, message: Message) -> Option<Message> {
        let replaced = self.by_topic.insert(message.clone(), ());
        let old = replaced.map(|(old, ())| old);
        if let Some(old) = &old {
            self.forget(old);
        }
        self.bytes += cost(&message);
        let view = message.view();
        if view.expires_at != UnixTime::MAX {
            self.expiring
                .insert((view.expires_at, view.id), message.clone());
        }
        old
    }

    /// Forgets what is retained for a topic, and gives it back.
    pub(crate) fn clear(&mut self, topic: &str) -> Option<Message> {
        let (message, ()) = self.by_topic.remove(topic)?;
        self.forget(&message);
        Some(message)
    }

    /// Whether something later than this message is retained for its topic, or has cleared it.
    pub(crate) fn has_later(&self, topic: &str, id: MessageId) -> bool {
        let kept = self.by_topic.get_key_value(topic);
        kept.is_some_and(|(message, ())| message.view().id.is_later_than(id))
            || self
                .cleared
                .get(topic)
                .is_some_and(|cleared| cleared.is_later_than(id))
    }

    /// Remembers what cleared a topic: what another shard retained before may still come.
    pub(crate) fn bury(&mut self, topic: &str, id: MessageId) {
        self.cleared_order
            .insert((id.sequence, id.origin), topic.into());
        if let Some(earlier) = self.cleared.insert(topic.into(), id) {
            self.cleared_order
                .remove(&(earlier.sequence, earlier.origin));
        }
    }

    /// Whatever comes from other shards now has a sequence above this one.
    pub(crate) fn forget_cleared(&mut self, clock: u64) {
        while let Some(first) = self.cleared_order.first_entry()
            && first.key().0 <= clock
        {
            self.cleared.remove(&first.remove());
        }
    }

    /// Takes what is no longer in the map out of the account.
    fn forget(&mut self, message: &Message) {
        self.bytes -= cost(message);
        let view = message.view();
        if view.expires_at != UnixTime::MAX {
            self.expiring.remove(&(view.expires_at, view.id));
        }
    }

    /// The next retained message, in topic order, that a filter matches; looks at `steps` at most.
    pub(crate) fn search(
        &self,
        filter: TopicFilter<'_>,
        after: Option<&str>,
        steps: &mut usize,
    ) -> Found<'_, Message, ()> {
        self.by_topic.search(filter, after, steps)
    }

    /// The next message in topic order, whatever its topic.
    pub(crate) fn next(&self, after: Option<&str>) -> Option<&Message> {
        self.by_topic.next(after).map(|(message, ())| message)
    }

    /// When the next one expires, and which.
    pub(crate) fn next_expiry(&self) -> Option<(UnixTime, &Message)> {
        self.expiring
            .first_key_value()
            .map(|((at, _), message)| (*at, message))
    }
}
