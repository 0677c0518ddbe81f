//! Messages of a client that were refused because there was no room, and stay refused.
//!
//! A client that did not hear of a refusal, because its connection ended first, sends the message
//! again. If later ones were taken in meanwhile, it must not be: it would come behind messages that
//! it was sent before. So a message that was refused is open until the next one is taken in, and
//! from then on it is final: its client gets the same answer again.
//!
//! A 3.x client can only be disconnected. It has sent nothing behind the message that would have
//! been taken in, and sends it again until there is room.

use crate::codec::packet::Publish;
use crate::id::PacketId;
use alloc::collections::VecDeque;
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// A message that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) id: PacketId,
    /// Of its topic, its length, and how it was published.
    pub(crate) fingerprint: u64,
}

impl Refusal {
    /// Not of what the payload says, which a recording may leave out: of how long it is.
    pub(crate) fn of(id: PacketId, publish: &Publish<'_>, topic: &str) -> Self {
        // Only its client could make two that are the same, against itself.
        let mut hasher = SipHasher13::new_with_keys(0, 0x0ff);
        hasher.write(topic.as_bytes());
        hasher.write_u8(0xff); // In no topic.
        hasher.write_u64(publish.payload.len() as u64);
        hasher.write_u8(publish.qos as u8 | u8::from(publish.retain) << 2);
        Self {
            id,
            fingerprint: hasher.finish(),
        }
    }
}

/// Those of one session. No more than its client may have under way: older ones it has heard of.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// In the order in which they were refused: those that are final come first.
    all: VecDeque<Refusal>,
    /// How many are final.
    finals: usize,
}

crate::state::state!(Refusal { id, fingerprint });
crate::state::state!(Refusals { all, finals });

impl Refusals {
    /// What they take, in bytes.
    pub(crate) fn footprint(&self) -> usize {
        64 + self.all.len() * 24
    }

    /// Whether this message was refused for good.
    pub(crate) fn has(&self, refusal: Refusal) -> bool {
        self.iter().any(|known| known == refusal)
    }

    /// The identifier means another message now. Whether it meant one that was refused for good.
    pub(crate) fn forget(&mut self, id: PacketId) -> bool {
        let Some(at) = self.all.iter().position(|known| known.id == id) else {
            return false;
        };
        self.all.remove(at);
        let was_final = at < self.finals;
        self.finals -= usize::from(was_final);
        was_final
    }

    /// One more was refused, and may yet be taken in. What had to go for it, if that was final.
    pub(crate) fn add(&mut self, refusal: Refusal, maximum: u16) -> Option<Refusal> {
        self.all.push_back(refusal);
        if self.all.len() <= usize::from(maximum) {
            return None;
        }
        let oldest = self.all.pop_front();
        let was_final = self.finals > 0;
        self.finals -= usize::from(was_final);
        oldest.filter(|_| was_final)
    }

    /// A later message is taken in: all are final now. Gives those that were not.
    pub(crate) fn seal(&mut self) -> impl Iterator<Item = Refusal> {
        let from = core::mem::replace(&mut self.finals, self.all.len());
        self.all.range(from..).copied()
    }

    /// One that was final when the broker stopped.
    pub(crate) fn restore(&mut self, refusal: Refusal) {
        self.all.push_back(refusal);
        self.finals += 1;
    }

    /// Those that are final.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Refusal> {
        self.all.iter().take(self.finals).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn refusal(id: u16) -> Refusal {
        Refusal {
            id: PacketId::new(id).expect("it is not zero"),
            fingerprint: u64::from(id),
        }
    }

    #[test]
    fn what_was_refused_is_final_once_another_is_taken_in() {
        let mut refusals = Refusals::default();
        assert_eq!(refusals.add(refusal(1), 3), None);
        assert!(!refusals.has(refusal(1)));
        assert_eq!(refusals.seal().count(), 1);
        assert_eq!(refusals.seal().count(), 0);
        assert!(refusals.has(refusal(1)));
        let other = Refusal {
            fingerprint: 0,
            ..refusal(1)
        };
        assert!(!refusals.has(other), "the same identifier, another message");
        assert_eq!(refusals.add(refusal(2), 3), None);
        assert_eq!(refusals.add(refusal(3), 3), None);
        assert_eq!(refusals.add(refusal(4), 3), Some(refusal(1)));
        assert!(!refusals.has(refusal(2)));
        assert!(!refusals.forget(refusal(2).id));
        assert_eq!(refusals.seal().count(), 2);
        assert!(refusals.forget(refusal(3).id));
        assert_eq!(refusals.iter().collect::<Vec<_>>(), [refusal(4)]);
    }
}
