//! Allocations of messages that are over, for those to come.
//!
//! A message of QoS 1 or 2 lives until it is acknowledged; in steady traffic another one of the
//! same length comes for each that goes. It takes the place of that one, and the allocator is not
//! asked: its lists are short, and a window of messages is long.

use super::{Message, MessageView};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Lengths share a place modulo this. One length at a time has it.
const PLACES: usize = 64;

/// What is kept in all at most: thousands of small messages. Clients acknowledge many at once, so
/// as many go one after the other as the windows of all publishers hold, and then as many come.
const KEPT_BYTES_MAXIMUM: u64 = 1 << 20;

/// How much of the memory that a broker may take, where that is little.
const SHARE_OF_BUDGET: u64 = 32;

/// Longer ones are not kept; to copy them costs more than to ask for room.
const MESSAGE_BYTES_MAXIMUM: usize = 2 << 10;

/// Messages that nobody has any more.
pub(crate) struct Pool {
    places: Vec<Vec<Arc<[u8]>>>,
    bytes: usize,
    bytes_maximum: usize,
    scratch: Vec<u8>,
}

impl Pool {
    /// An empty one, for a broker that may take so much memory.
    pub(crate) fn within(memory_budget_bytes: u64) -> Self {
        let bytes = KEPT_BYTES_MAXIMUM.min(memory_budget_bytes / SHARE_OF_BUDGET);
        Self {
            places: Vec::new(),
            bytes: 0,
            bytes_maximum: bytes as usize,
            scratch: Vec::new(),
        }
    }

    /// Makes a message.
    pub(crate) fn make(&mut self, view: &MessageView<'_>) -> Message {
        let length = view.encoded_len();
        let kept = self.places.get_mut(length % PLACES).and_then(Vec::pop);
        if let Some(mut bytes) = kept {
            self.bytes -= bytes.len();
            if bytes.len() == length
                && let Some(place) = Arc::get_mut(&mut bytes)
            {
                view.fill(place);
                return Message(bytes);
            }
        }
        view.to_message(&mut self.scratch)
    }

    /// Takes a message back that somebody no longer needs. It is kept if nobody else has it.
    #[inline]
    pub(crate) fn give_back(&mut self, message: Message) {
        let Message(bytes) = message;
        if Arc::strong_count(&bytes) == 1 && bytes.len() <= MESSAGE_BYTES_MAXIMUM {
            self.keep(bytes);
        }
    }

    fn keep(&mut self, bytes: Arc<[u8]>) {
        let length = bytes.len();
        if self.places.is_empty() {
            self.places.resize_with(PLACES, Vec::new);
        }
        let place = &mut self.places[length % PLACES];
        if let Some(kept) = place.last().map(|kept| kept.len())
            && kept != length
        {
            self.bytes -= kept * place.len();
            place.clear();
        }
        if self.bytes + length <= self.bytes_maximum {
            self.bytes += length;
            place.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::packet::QoS;
    use crate::id::MessageId;
    use crate::time::UnixTime;

    fn view(sequence: u64, payload: &[u8]) -> MessageView<'_> {
        MessageView {
            id: MessageId {
                origin: 1,
                sequence,
            },
            qos: QoS::AtLeastOnce,
            expires_at: UnixTime::MAX,
            tenant: "",
            topic: "t",
            properties: &[],
            payload,
        }
    }

    #[test]
    fn a_message_takes_the_place_of_one_of_its_length_that_nobody_has() {
        let mut pool = Pool::within(1 << 20);
        let first = pool.make(&view(1, b"first"));
        let place = first.as_bytes().as_ptr();
        pool.give_back(first);
        let other = pool.make(&view(2, b"2nd"));
        assert_ne!(other.as_bytes().as_ptr(), place);
        let third = pool.make(&view(3, b"third"));
        assert_eq!(third.as_bytes().as_ptr(), place);
        assert_eq!(third.view(), view(3, b"third"));
        pool.give_back(third.clone());
        let fourth = pool.make(&view(4, b"other"));
        assert_eq!(third.view(), view(3, b"third"), "somebody has it");
        assert_eq!(fourth.view(), view(4, b"other"));
    }

    #[test]
    fn what_is_kept_is_bounded_and_one_length_gives_way_to_another() {
        let maximum = 128 << 10;
        let mut pool = Pool::within(4 << 20);
        let long = [b'x'; 1_500];
        for _ in 0..2 {
            // The second is as far as all places from the first.
            for payload in [&long[..], &long[PLACES..]] {
                let many: Vec<Message> =
                    (0..1_000).map(|at| pool.make(&view(at, payload))).collect();
                assert_eq!(pool.bytes, 0);
                many.into_iter().for_each(|message| pool.give_back(message));
                let kept: usize = pool.places.iter().flatten().map(|it| it.len()).sum();
                assert_eq!(pool.bytes, kept);
                assert!(pool.bytes > maximum - 2_000 && pool.bytes <= maximum);
                drop(pool.make(&view(1, &[0; 4])));
            }
        }
        let huge = pool.make(&view(1, &[0; MESSAGE_BYTES_MAXIMUM]));
        let before = pool.bytes;
        pool.give_back(huge);
        assert_eq!(pool.bytes, before);
    }
}
