//! Who has received what: each payload says who sent it, as its how-manieth, and when. So what is
//! lost, repeated or out of order is counted, not guessed.

use std::collections::HashSet;

/// Bytes at the beginning of a payload: sender, sequence, nanoseconds since the start.
pub(super) const STAMP_BYTES: usize = 16;

/// The beginning of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) sender: u32,
    pub(super) sequence: u32,
    pub(super) sent_ns: u64,
}

impl Stamp {
    pub(super) fn write(self, payload: &mut [u8]) {
        payload[..4].copy_from_slice(&self.sender.to_le_bytes());
        payload[4..8].copy_from_slice(&self.sequence.to_le_bytes());
        payload[8..16].copy_from_slice(&self.sent_ns.to_le_bytes());
    }

    /// `None` when somebody else has published it.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let (head, _) = payload.split_first_chunk::<STAMP_BYTES>()?;
        let [a, b, c, d, e, f, g, h, time @ ..] = *head;
        Some(Self {
            sender: u32::from_le_bytes([a, b, c, d]),
            sequence: u32::from_le_bytes([e, f, g, h]),
            sent_ns: u64::from_le_bytes(time),
        })
    }
}

/// What one subscriber has received from one sender.
#[derive(Clone, Debug, Default)]
pub(super) struct Received {
    /// The first sequence number that was not due yet.
    next: u32,
    missing: HashSet<u32>,
    pub(super) count: u64,
    pub(super) repeated: u64,
    pub(super) reordered: u64,
}

impl Received {
    /// Takes note of one. Whether it is the first of its kind.
    pub(super) fn take(&mut self, sequence: u32) -> bool {
        if sequence == self.next {
            self.next += 1;
        } else if sequence > self.next {
            self.missing.extend(self.next..sequence);
            self.next = sequence + 1;
        } else if self.missing.remove(&sequence) {
            self.reordered += 1;
        } else {
            self.repeated += 1;
            return false;
        }
        self.count += 1;
        true
    }

    /// How many of `sent` did not come.
    pub(super) const fn lost(&self, sent: u32) -> u64 {
        sent as u64 - self.count
    }
}

/// All subscribers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) delivered: u64,
    pub(super) lost: u64,
    pub(super) repeated: u64,
    pub(super) reordered: u64,
}

impl Totals {
    pub(super) const fn add(&mut self, received: &Received, sent: u32) {
        self.delivered += received.count;
        self.lost += received.lost(sent);
        self.repeated += received.repeated;
        self.reordered += received.reordered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back() {
        let stamp = Stamp {
            sender: 7,
            sequence: u32::MAX,
            sent_ns: 1 << 40,
        };
        let mut payload = [0; 20];
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(Stamp::read(&payload[..15]), None);
    }

    #[test]
    fn loss_repetition_and_order_are_told_apart() {
        let mut received = Received::default();
        for sequence in [0, 1, 3, 2, 3, 6] {
            received.take(sequence);
        }
        let mut totals = Totals::default();
        totals.add(&received, 8);
        let expected = Totals {
            delivered: 5,
            lost: 3,
            repeated: 1,
            reordered: 1,
        };
        assert_eq!(totals, expected);
    }
}
