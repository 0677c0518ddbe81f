//! Which shard has what: sessions by client identifier, records of retained messages by topic.
//!
//! Each has one of 64 slots, by a hash that is the same for ever, and each shard has some of the
//! slots. So the number of shards may differ after a restart, and records can say for which slots
//! they hold. Somebody who chooses client identifiers that all fall on one shard gets what a broker
//! of one shard would give.

use core::hash::Hasher;
use core::net::IpAddr;
use siphasher::sip::SipHasher13;

/// How many slots there are, and so the greatest number of shards.
pub(crate) const SLOTS: u16 = 64;

/// What a slot is of: the same text need not have the same slot.
const CLIENT: u64 = 0x5a4d;
const TOPIC: u64 = 0x70fc;
const ADDRESS: u64 = 0xadd7;

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
        self.of(CLIENT, client_id.as_bytes())
    }

    /// The shard that records what is retained for this topic.
    pub(crate) fn of_topic(self, topic: &str) -> u16 {
        self.of(TOPIC, topic.as_bytes())
    }

    /// The shard that counts the connections from this address.
    pub(crate) fn of_address(self, address: IpAddr) -> u16 {
        match address {
            IpAddr::V4(address) => self.of(ADDRESS, &address.octets()),
            IpAddr::V6(address) => self.of(ADDRESS, &address.octets()),
        }
    }

    /// The slot of a client, as one bit.
    pub(crate) fn client_bit(client_id: &str) -> u64 {
        1 << slot(CLIENT, client_id.as_bytes())
    }

    /// The slot of a topic, as one bit.
    pub(crate) fn topic_bit(topic: &str) -> u64 {
        1 << slot(TOPIC, topic.as_bytes())
    }

    /// The slots that a shard has, one bit each.
    pub(crate) fn slots_of(self, shard: u16) -> u64 {
        let ours = (0..SLOTS).filter(|slot| slot % self.shards == shard);
        ours.fold(0, |bits, slot| bits | 1 << slot)
    }

    fn of(self, purpose: u64, bytes: &[u8]) -> u16 {
        match self.shards {
            0 | 1 => 0,
            shards => slot(purpose, bytes) % shards,
        }
    }
}

fn slot(purpose: u64, bytes: &[u8]) -> u16 {
    let mut hasher = SipHasher13::new_with_keys(0, purpose);
    hasher.write(bytes);
    (hasher.finish() % u64::from(SLOTS)) as u16
}
