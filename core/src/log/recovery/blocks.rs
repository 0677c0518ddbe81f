//! A read that failed, once more, block by block: what cannot be read at all is damage like any
//! other, and no reason to give up the rest.

use crate::log::operation::{FileAction, FileName};
use alloc::vec::Vec;

/// What a disk can or cannot read, in bytes.
pub(super) const BLOCK_BYTES: u64 = 4096;

/// What stands for a byte that cannot be read: neither the zeros behind the end of a log, nor
/// anything that is good in any place.
const UNREADABLE: u8 = 0xFF;

/// The repetition under way.
#[derive(Debug)]
pub(super) struct Blocks {
    file: FileName,
    at: u64,
    end: u64,
    pub(super) bytes: Vec<u8>,
    /// Where a block begins that cannot be read.
    pub(super) unreadable: Vec<u64>,
}

impl Blocks {
    pub(super) fn new(file: FileName, offset: u64, bytes: u32) -> Self {
        Self {
            file,
            at: offset,
            end: offset + u64::from(bytes),
            bytes: Vec::new(),
            unreadable: Vec::new(),
        }
    }

    fn block_bytes(&self) -> u64 {
        let block_end = (self.at + 1).next_multiple_of(BLOCK_BYTES);
        block_end.min(self.end) - self.at
    }

    /// The next block; `None` when all were tried.
    pub(super) fn read(&self) -> Option<FileAction<'static>> {
        (self.at < self.end).then(|| FileAction::ReadAt {
            file: self.file,
            offset: self.at,
            bytes: u32::try_from(self.block_bytes()).unwrap_or(u32::MAX),
        })
    }

    /// The block was read, or could not be; less than was asked for is the end of the file.
    pub(super) fn feed(&mut self, read: Option<&[u8]>) {
        let asked = self.block_bytes();
        match read {
            Some(bytes) => {
                self.bytes.extend_from_slice(bytes);
                if (bytes.len() as u64) < asked {
                    self.end = self.at;
                }
            }
            None => {
                self.unreadable.push(self.at);
                let length = usize::try_from(asked).unwrap_or(0);
                self.bytes.resize(self.bytes.len() + length, UNREADABLE);
            }
        }
        self.at += asked;
    }
}
