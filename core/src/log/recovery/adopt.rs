//! Goes on in the last segment of an earlier process, for want of space for a new one.
//!
//! Every byte up to the end of the log is written once more where it is, so that the system must
//! store it now even if it had given up on it; what was torn behind is zeroed, so that it can never
//! be taken for a continuation of what comes. The same bytes in the same place: a crash does no
//! harm.

use super::reader::READ_BYTES;
use crate::log::operation::{FileAction, FileName};
use alloc::vec::Vec;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Read,
    Write,
    Zero,
    Sync,
    Done,
}

/// The segment that is gone on with.
#[derive(Debug)]
pub(super) struct Adopt {
    step: Step,
    pub(super) segment: u64,
    pub(super) file_bytes: u64,
    /// Where the log ends.
    pub(super) end: u64,
    at: u64,
    bytes: Vec<u8>,
}

impl Adopt {
    pub(super) const fn new(segment: u64, end: u64, file_bytes: u64) -> Self {
        Self {
            step: Step::Read,
            segment,
            file_bytes,
            end,
            at: 0,
            bytes: Vec::new(),
        }
    }

    /// The next operation; `None` when the segment can be written to.
    pub(super) fn action(&mut self) -> Option<FileAction<'_>> {
        let file = FileName::Segment(self.segment);
        if self.step == Step::Read && self.at >= self.end {
            self.step = Step::Zero;
        }
        if self.step == Step::Zero && self.file_bytes <= self.end {
            self.step = Step::Sync;
        }
        Some(match self.step {
            Step::Read => FileAction::ReadAt {
                file,
                offset: self.at,
                bytes: u32::try_from(self.end - self.at)
                    .map_or(READ_BYTES, |rest| rest.min(READ_BYTES)),
            },
            Step::Write => FileAction::WriteAt {
                file,
                offset: self.at,
                bytes: &self.bytes,
            },
            Step::Zero => FileAction::ZeroAt {
                file,
                offset: self.end,
                bytes: self.file_bytes - self.end,
            },
            Step::Sync => FileAction::Sync { file },
            Step::Done => return None,
        })
    }

    /// The operation was carried out; `bytes` is what was read.
    pub(super) fn completed(&mut self, bytes: &[u8]) {
        self.step = match self.step {
            Step::Read if bytes.is_empty() => Step::Zero,
            Step::Read => {
                self.bytes.clear();
                self.bytes.extend_from_slice(bytes);
                Step::Write
            }
            Step::Write => {
                self.at += self.bytes.len() as u64;
                Step::Read
            }
            Step::Zero => Step::Sync,
            Step::Sync | Step::Done => Step::Done,
        };
    }
}
