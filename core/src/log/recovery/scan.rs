//! Goes through the frames of the segments that count, in order, until the log ends or something is
//! not as it should be.

use super::reader::{Look, Reader};
use super::survey::Link;
use super::verdict::RecoveryError;
use crate::log::frame::{FrameHeader, FrameKind, Seed, SegmentHeader};
use crate::log::operation::{FileAction, FileName};
use alloc::vec::Vec;
use core::ops::Range;

/// A pass over the log.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) chain: Vec<Link>,
    /// The segment being read.
    pub(super) index: usize,
    pub(super) reader: Reader,
    pub(super) found: Found,
    /// What a repair gave up: first and last number.
    gaps: Vec<(u64, u64)>,
}

/// What the pass has seen so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    /// The number the next frame must have.
    pub(super) expected_lsn: u64,
    /// What the frames seen prove to have been synced.
    pub(super) durable_lsn: u64,
    /// The last frame was a shutdown mark.
    pub(super) closed: bool,
    /// Where the last whole checkpoint began.
    pub(super) checkpoint_lsn: Option<u64>,
    /// The frame that says so.
    pub(super) checkpoint_said_lsn: u64,
    pub(super) checkpoint_bytes: u64,
    pub(super) since_checkpoint_bytes: u64,
    /// Bytes of the frames that nothing proves to be synced, or more.
    pub(super) unproven_bytes: u64,
    pub(super) batches: u64,
    pub(super) bytes: u64,
    pub(super) gaps: u64,
    pub(super) skipped: u64,
}

/// What came next.
#[derive(Debug)]
pub(super) enum Scanned {
    Batch(FrameHeader, Range<usize>),
    /// The reader must read on.
    Read,
    End(ScanEnd),
}

/// Why the pass ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum ScanEnd {
    /// Nothing more in the newest segment.
    Whole,
    /// Frames are missing at the cursor; the header of the first where it can be read.
    Hole(Option<FrameHeader>),
    /// The newest segment says that there is a newer one.
    Missing {
        number: u64,
        /// It also proves that the newer one held something durable.
        proven: bool,
    },
    Refused(RecoveryError),
}

impl Scan {
    /// `chain` is not empty.
    pub(super) fn new(chain: Vec<Link>) -> Option<Self> {
        let first = chain.first()?;
        Some(Self {
            reader: reader(first),
            found: Found {
                expected_lsn: first.header.base_lsn,
                durable_lsn: first.header.durable_lsn,
                ..Found::default()
            },
            index: 0,
            gaps: Vec::from_iter(lost_start(first)),
            chain,
        })
    }

    /// Gaps behind which not everything that is live was put once more.
    pub(super) fn doubts(&self) -> Vec<(u64, u64)> {
        let begin_lsn = self.found.checkpoint_lsn.unwrap_or(0);
        let gaps = self.gaps.iter().copied();
        gaps.filter(|(_, last)| *last >= begin_lsn).collect()
    }

    pub(super) fn next(&mut self) -> Scanned {
        while let Some(link) = self.chain.get(self.index).copied() {
            if link
                .limit_lsn
                .is_some_and(|limit| self.found.expected_lsn >= limit)
            {
                match self.reader.look() {
                    Look::More if self.reader.read().is_some() => return Scanned::Read,
                    // Written after the first commit to the next segment, which it proves.
                    Look::Frame(seal, _) if seal.kind == FrameKind::SEAL => {
                        let durable = &mut self.found.durable_lsn;
                        *durable = seal.durable_lsn.max(*durable);
                    }
                    Look::More | Look::Frame(..) | Look::Blank | Look::Damaged(_) => {}
                }
                self.enter_next();
                continue;
            }
            match self.reader.look() {
                Look::More if self.reader.read().is_some() => return Scanned::Read,
                Look::More => return Scanned::End(ScanEnd::Hole(None)),
                Look::Damaged(header) => return Scanned::End(ScanEnd::Hole(header)),
                Look::Blank if link.limit_lsn.is_none() => return Scanned::End(ScanEnd::Whole),
                Look::Blank if self.is_gap_next() => self.enter_next(),
                Look::Blank => return Scanned::End(ScanEnd::Hole(None)),
                Look::Frame(header, body) => {
                    if let Some(scanned) = self.frame(header, body) {
                        return scanned;
                    }
                }
            }
        }
        Scanned::End(ScanEnd::Whole)
    }

    /// The read that the scan waits for. `None` while there are frames to be taken first.
    pub(super) fn pending_read(&self) -> Option<FileAction<'static>> {
        match self.reader.look() {
            Look::More => self.reader.read(),
            Look::Frame(..) | Look::Blank | Look::Damaged(_) => None,
        }
    }

    fn frame(&mut self, header: FrameHeader, body: Range<usize>) -> Option<Scanned> {
        if header.lsn != self.found.expected_lsn {
            return Some(Scanned::End(ScanEnd::Hole(None)));
        }
        if header.kind == FrameKind::SEAL {
            // What the seal is for: the segment it names is not in the chain.
            return Some(Scanned::End(ScanEnd::Missing {
                number: header.position,
                proven: header.durable_lsn >= header.lsn,
            }));
        }
        let offset = self.reader.offset;
        let found = &mut self.found;
        found.durable_lsn = found.durable_lsn.max(header.durable_lsn);
        if header.durable_lsn.saturating_add(1) == header.lsn {
            found.unproven_bytes = 0;
        }
        found.unproven_bytes += header.frame_bytes();
        found.closed = header.kind == FrameKind::SHUTDOWN;
        found.bytes += header.frame_bytes();
        found.since_checkpoint_bytes += header.frame_bytes();
        found.expected_lsn = header.lsn + 1;
        match header.kind {
            FrameKind::BATCH => {
                found.batches += 1;
                self.reader.skip(&header);
                return Some(Scanned::Batch(header, body));
            }
            FrameKind::SHUTDOWN => {}
            FrameKind::CHECKPOINT => {
                let mut bytes = [0; 8];
                let body = self.reader.body(body);
                bytes
                    .iter_mut()
                    .zip(body)
                    .for_each(|(to, from)| *to = *from);
                found.checkpoint_lsn = Some(header.position);
                found.checkpoint_said_lsn = header.lsn;
                found.checkpoint_bytes = u64::from_le_bytes(bytes);
                found.since_checkpoint_bytes = found.checkpoint_bytes;
            }
            FrameKind::GAP => {
                found.gaps += 1;
                let last_lsn = header.position.max(header.lsn);
                self.gaps.push((header.lsn, last_lsn));
                found.expected_lsn = last_lsn.saturating_add(1);
                // The repair synced all there was.
                found.durable_lsn = found.durable_lsn.max(last_lsn);
            }
            kind if kind.is_skippable() => found.skipped += 1,
            FrameKind(kind) => {
                let file = FileName::Segment(self.reader.segment);
                let refused = RecoveryError::UnknownRecord { file, offset, kind };
                return Some(Scanned::End(ScanEnd::Refused(refused)));
            }
        }
        self.reader.skip(&header);
        None
    }

    fn is_gap_next(&self) -> bool {
        let next = self.chain.get(self.index + 1);
        next.is_some_and(|next| next.header.gap_before)
    }

    fn enter_next(&mut self) {
        self.index += 1;
        if let Some(link) = self.chain.get(self.index) {
            self.reader = reader(link);
            let found = &mut self.found;
            if link.header.base_lsn > found.expected_lsn {
                found.gaps += 1;
                let gap = (found.expected_lsn, link.header.base_lsn - 1);
                self.gaps.push(gap);
            }
            found.expected_lsn = found.expected_lsn.max(link.header.base_lsn);
            found.durable_lsn = found.durable_lsn.max(link.header.durable_lsn);
        }
    }
}

/// What a repair gave up before the oldest segment.
fn lost_start(oldest: &Link) -> Option<(u64, u64)> {
    let SegmentHeader {
        base_lsn,
        previous,
        gap_before,
        ..
    } = oldest.header;
    (gap_before && previous == 0 && base_lsn > 1).then(|| (1, base_lsn - 1))
}

fn reader(link: &Link) -> Reader {
    let header = &link.header;
    let seed = Seed::new(header.uuid, header.number);
    Reader::new(header.number, Some(seed), link.file_bytes)
}
