//! Which shard has what: sessions by client identifier, records of retained messages by topic.
//!
//! Each has one of 64 slots, by a hash that is the same for ever, and each shard has some of the
//! slots. So the number of shards may differ after a restart, and records can say for which slots
//! they hold. Somebody who chooses client identifiers that all fall on one shard gets what a broker
//! of one shard would give.

use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// How many slots there are, and so the greatest number of shards.
pub(crate) const SLOTS: u16 = 64;

/// Where things are, among the shards of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    /// 1 to 64.
    pub(crate) shards: u16,
}

crate::state::state!(Placement { shards });

impl Placement {
    /// The shard that has the session of this client.
    pub(crate) fn of_client(self, client_id: &str) -> u16 {
        self.of(0x5a4d, client_id)
    }

    /// The shard that records what is retained for this topic.
    pub(crate) fn of_topic(self, topic: &str) -> u16 {
        self.of(0x70fc, topic)
    }

    fn of(self, purpose: u64, text: &str) -> u16 {
        match self.shards {
            0 | 1 => 0,
            shards => slot(purpose, text) % shards,
        }
    }
}

fn slot(purpose: u64, text: &str) -> u16 {
    let mut hasher = SipHasher13::new_with_keys(0, purpose);
    hasher.write(text.as_bytes());
    (hasher.finish() % u64::from(SLOTS)) as u16
}
