//! What the broker says that it has lost: that is the only excuse where queues and memory are
//! small, and where a disk does not give back what it was given. Nothing is lost in silence.

use std::collections::{BTreeMap, BTreeSet};
use whimbrel_core::id::MessageId;
use whimbrel_core::log::{BatchRef, Op};

/// The first byte of the key of a message.
const MESSAGE: u8 = b'M';

#[derive(Debug, Default)]
pub(super) struct LossBook {
    /// The texts of messages in the log, where reads fail.
    kept: BTreeMap<MessageId, String>,
    /// Reads that were made to fail, and the messages of which the broker said so.
    misreads: u64,
    unreadable: BTreeSet<MessageId>,
    /// The texts of these messages.
    excused: BTreeSet<String>,
    /// How many messages were dropped for each player at most.
    dropped: BTreeMap<usize, u64>,
    /// How many messages were not retained for want of room: in this life of the broker, and
    /// before.
    unretained: (u64, u64),
}

impl LossBook {
    /// What goes to the log.
    pub(super) fn kept(&mut self, operations: &[u8]) {
        for op in BatchRef::new(operations).into_iter().flatten() {
            if let Op::Put { key, value } = op
                && let Some(message) = message_of(key)
                && let Some(text) = text_of(value)
            {
                self.kept.insert(message, text);
            }
        }
    }

    /// So many further reads were made to fail.
    pub(super) const fn misread(&mut self, count: u64) {
        self.misreads += count;
    }

    /// A message that cannot be read back is lost to whoever waits for it. What is retained is
    /// missed by each shard, and each time that the broker begins anew.
    pub(super) fn unreadable(&mut self, message: MessageId) -> Result<(), String> {
        self.unreadable.insert(message);
        if self.unreadable.len() as u64 > self.misreads {
            return Err(format!("{message:?} is lost, and the disk has it"));
        }
        self.excused.extend(self.kept.get(&message).cloned());
        Ok(())
    }

    /// Reported at the 1st, 2nd, 4th, 8th, … of a session in one life of the broker: until the next
    /// report there may be as many again, less one.
    pub(super) fn dropped(&mut self, player: usize, count: u64) {
        *self.dropped.entry(player).or_default() += count;
    }

    /// So many were not retained in this life of the broker.
    pub(super) const fn unretained(&mut self, count: u64) {
        self.unretained.0 = count;
    }

    /// The broker has ended: it counts from the beginning.
    pub(super) const fn rebooted(&mut self) {
        self.unretained = (0, self.unretained.0 + self.unretained.1);
    }

    /// Whether so many may not have been retained.
    pub(super) const fn excuses_unretained(&self, count: u64) -> bool {
        count <= self.unretained.0 + self.unretained.1
    }

    /// Whether a message with this text could not be read back.
    pub(super) fn excuses(&self, text: &str) -> bool {
        self.excused.contains(text)
    }

    /// Whether so many messages may have been dropped for these players.
    pub(super) fn excuse(&self, players: &[usize], count: u64) -> bool {
        let dropped = players.iter().filter_map(|player| self.dropped.get(player));
        count <= dropped.sum()
    }
}

fn message_of(key: &[u8]) -> Option<MessageId> {
    let id = key.strip_prefix(&[MESSAGE])?;
    let (origin, sequence) = id.split_at_checked(8)?;
    Some(MessageId {
        origin: u64::from_le_bytes(origin.try_into().ok()?),
        sequence: u64::from_le_bytes(sequence.try_into().ok()?),
    })
}

/// The text of a message, which comes last in it, without what fills it up.
fn text_of(value: &[u8]) -> Option<String> {
    let value = String::from_utf8_lossy(value);
    let value = value.trim_end_matches('.');
    let place = value.rfind(['m', 'w'])?;
    Some(value[place..].to_owned())
}
