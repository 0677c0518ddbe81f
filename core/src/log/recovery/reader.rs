//! Reads one segment file front to back in bounded pieces, and believes nothing unchecked.

use crate::log::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, SEGMENT_HEADER_BYTES, Seed};
use crate::log::operation::{FileAction, FileName};
use alloc::vec::Vec;
use core::ops::Range;

/// How much is read in one go.
pub(super) const READ_BYTES: u32 = 256 << 10;

const FRAME_HEADER: usize = FRAME_HEADER_BYTES as usize;
const STEP: usize = FRAME_ALIGN as usize;

/// A cursor in a segment.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) segment: u64,
    seed: Option<Seed>,
    file_bytes: u64,
    buffer: Vec<u8>,
    /// How much of `buffer` is behind the cursor.
    start: usize,
    /// Where the cursor is in the file.
    pub(super) offset: u64,
}

/// What is at the cursor.
#[derive(Debug)]
pub(super) enum Look {
    /// More must be read to tell.
    More,
    /// A good frame; its body is there in the buffer.
    Frame(FrameHeader, Range<usize>),
    /// Zeros where a frame could begin, or the end of the file.
    Blank,
    /// Something that is no good frame; with its header when that is readable.
    Damaged(Option<FrameHeader>),
}

/// What is left of the log behind a damage.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    /// Every frame up to here was once known to be synced.
    pub(super) durable_lsn: u64,
    /// The lowest number of a frame behind the one that was expected.
    pub(super) next_lsn: Option<u64>,
    /// The segment that this is in, for the first good frame header found.
    pub(super) first_in: Option<u64>,
    /// Bytes from the damage, or from the start of a later file, to the last byte that is not zero.
    pub(super) bytes: u64,
}

impl Reader {
    /// A cursor at the first frame. Without a seed no frame is believed.
    pub(super) const fn new(segment: u64, seed: Option<Seed>, file_bytes: u64) -> Self {
        Self {
            segment,
            seed,
            file_bytes,
            buffer: Vec::new(),
            start: 0,
            offset: SEGMENT_HEADER_BYTES,
        }
    }

    /// The next read, while the file goes on.
    pub(super) fn read(&self) -> Option<FileAction<'static>> {
        let offset = self.offset + self.buffered().len() as u64;
        let rest = self
            .file_bytes
            .checked_sub(offset)
            .filter(|rest| *rest > 0)?;
        Some(FileAction::ReadAt {
            file: FileName::Segment(self.segment),
            offset,
            bytes: u32::try_from(rest).map_or(READ_BYTES, |rest| rest.min(READ_BYTES)),
        })
    }

    /// The answer to [`read`](Self::read).
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        let at = self.offset + self.buffer.len() as u64;
        let asked = self.file_bytes.saturating_sub(at).min(READ_BYTES.into());
        if (bytes.len() as u64) < asked {
            self.file_bytes = at + bytes.len() as u64;
        }
        self.buffer.extend_from_slice(bytes);
    }

    fn buffered(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn rest_bytes(&self) -> u64 {
        self.file_bytes.saturating_sub(self.offset)
    }

    pub(super) fn look(&self) -> Look {
        let bytes = self.buffered();
        let rest = self.rest_bytes();
        if rest < FRAME_HEADER_BYTES {
            return Look::Blank;
        }
        let Some(header) = bytes.get(..FRAME_HEADER) else {
            return Look::More;
        };
        if header.iter().all(|byte| *byte == 0) {
            return Look::Blank;
        }
        let decode = |seed| FrameHeader::decode(header, seed, self.offset);
        let Some(header) = self.seed.and_then(decode) else {
            return Look::Damaged(None);
        };
        let frame_bytes = header.frame_bytes();
        if frame_bytes > rest {
            return Look::Damaged(Some(header));
        }
        let end = usize::try_from(frame_bytes).unwrap_or(usize::MAX);
        let Some(body) = bytes.get(FRAME_HEADER..end) else {
            return Look::More;
        };
        if !header.is_body(body) {
            return Look::Damaged(Some(header));
        }
        let from = self.start + FRAME_HEADER;
        Look::Frame(header, from..from + header.body_bytes as usize)
    }

    /// The bytes of a body that [`look`](Self::look) found.
    pub(super) fn body(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// Goes past a frame that [`look`](Self::look) found.
    pub(super) fn skip(&mut self, header: &FrameHeader) {
        self.advance(header.frame_bytes());
    }

    /// Goes to the next place where a frame could begin, over zeros in one step. `false` at the end
    /// of what is read.
    pub(super) fn skip_step(&mut self) -> bool {
        let bytes = self.buffered();
        let zeros = bytes.iter().position(|byte| *byte != 0);
        let zeros = zeros.unwrap_or(bytes.len()) / STEP * STEP;
        // A header may begin with zeros, in one of four milliards.
        let step = zeros.saturating_sub(STEP).max(STEP).min(bytes.len());
        self.advance(step as u64);
        step > 0
    }

    fn advance(&mut self, bytes: u64) {
        self.offset += bytes;
        self.start += usize::try_from(bytes).unwrap_or(usize::MAX);
    }

    /// Goes through what is read in search of frame headers that are good in their place, whatever
    /// their bodies: a frame that was written says what was durable then.
    pub(super) fn search(&mut self, from: u64, expected_lsn: u64, evidence: &mut Evidence) {
        let last = self.read().is_none();
        while !self.buffered().is_empty() {
            let bytes = self.buffered();
            if bytes.len() < FRAME_HEADER && !last {
                return;
            }
            let word = bytes.get(..STEP).unwrap_or(bytes);
            if word.iter().any(|byte| *byte != 0) {
                let end = self.offset + word.len() as u64;
                evidence.bytes = evidence.bytes.max(end - from);
            }
            let decode = |seed| FrameHeader::decode(bytes, seed, self.offset);
            if let Some(header) = self.seed.and_then(decode) {
                evidence.note(self.segment, &header, expected_lsn);
            }
            self.skip_step();
        }
    }
}

impl Evidence {
    fn note(&mut self, segment: u64, header: &FrameHeader, expected_lsn: u64) {
        self.durable_lsn = self.durable_lsn.max(header.durable_lsn);
        self.first_in = self.first_in.or(Some(segment));
        if header.lsn > expected_lsn {
            let next = self.next_lsn.unwrap_or(u64::MAX);
            self.next_lsn = Some(next.min(header.lsn));
        }
    }
}
