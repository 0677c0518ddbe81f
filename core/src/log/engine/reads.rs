//! Reading back, while the log is written: a few between two other steps, all when there are none.

use super::report::Shortage;
use super::{Engine, Step};
use crate::id::MessageId;
use crate::log::index::{Index, Place};
use crate::log::operation::{Completion, FileAction, FileName, IoFailure, IoFailureKind};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Reads that a commit or a piece of upkeep waits for at most: a millisecond or so, and enough for
/// readers to get on while the log is written without a pause.
const IN_A_ROW: u32 = 16;

/// Answers that are given out together while there is more to read: whoever gets them is woken
/// once.
const TOGETHER: usize = 64;

/// The answer to [`Engine::read_back`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Who asked.
    pub shard: u16,
    /// For what.
    pub message: MessageId,
    /// What lies there; `None` when there is nothing, or it cannot be read. Nobody has compared it
    /// with what was written.
    pub value: Option<Vec<u8>>,
}

/// What is to be read, and what was.
#[derive(Debug, Default)]
pub(super) struct Reads {
    asked: VecDeque<(u16, MessageId)>,
    answers: VecDeque<Loaded>,
    /// How many of them are being given out.
    giving: usize,
    /// In a row.
    count: u32,
    /// No file could be opened for one: they wait for another time.
    pub(super) blocked: bool,
}

/// One read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    shard: u16,
    message: MessageId,
    place: Place,
}

impl Read {
    pub(super) const fn action(self) -> FileAction<'static> {
        FileAction::ReadAt {
            file: FileName::Segment(self.place.segment),
            offset: self.place.offset as u64,
            bytes: self.place.bytes,
        }
    }
}

impl Reads {
    /// The next read, unless it is the turn of a commit or of upkeep.
    pub(super) fn next_in_turn(&mut self, index: &Index) -> Option<Read> {
        if self.count < IN_A_ROW
            && let Some(read) = self.next(index)
        {
            self.count += 1;
            return Some(read);
        }
        self.count = 0;
        None
    }

    /// The next read.
    pub(super) fn next(&mut self, index: &Index) -> Option<Read> {
        while !self.blocked
            && let Some((shard, message)) = self.asked.pop_front()
        {
            if let Some(place) = index.find(message) {
                return Some(Read {
                    shard,
                    message,
                    place,
                });
            }
            self.answers.push_back(Loaded {
                shard,
                message,
                value: None,
            });
        }
        None
    }
}

impl Engine {
    /// Asks for a message that is durable; [`poll_loaded`](Self::poll_loaded) gives the answer.
    /// There is none any more once the log is poisoned or closed.
    pub fn read_back(&mut self, shard: u16, message: MessageId) {
        self.reads.asked.push_back((shard, message));
    }

    /// The next answer, several together. To be drained where [`poll_event`](Self::poll_event) is.
    pub fn poll_loaded(&mut self) -> Option<Loaded> {
        let reads = &mut self.reads;
        if reads.giving == 0 && (reads.asked.is_empty() || reads.answers.len() >= TOGETHER) {
            reads.giving = reads.answers.len();
        }
        reads.giving = reads.giving.checked_sub(1)?;
        reads.answers.pop_front()
    }

    /// A read was carried out, or failed.
    pub(super) fn was_read(&mut self, read: Read, result: Result<Completion<'_>, IoFailure>) {
        let value = match result {
            Ok(Completion::Read(bytes)) => Some(bytes.to_vec()),
            Ok(Completion::Done | Completion::Listed(_)) => None,
            Err(failure) => {
                self.warn(Step::Read(read), failure);
                if failure.kind == IoFailureKind::NoDescriptor {
                    // What is on disk is not unreadable for that.
                    self.reads.asked.push_front((read.shard, read.message));
                    self.reads.blocked = true;
                    return self.upkeep.found_no_space(self.now, Shortage::Files);
                }
                None
            }
        };
        self.reads.answers.push_back(Loaded {
            shard: read.shard,
            message: read.message,
            value,
        });
    }
}
