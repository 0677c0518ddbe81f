//! Repairs one segment: keeps a copy of it as it was, then replaces it in one rename by a segment
//! that holds every good frame and says where others are missing.
//!
//! The log is a log again after each such step, so a crash between two of them costs nothing.

use super::reader::{Look, READ_BYTES, Reader};
use super::verdict::{Damage, DamageKind, RecoveryError};
use crate::id::Position;
use crate::log::frame::{FrameHeader, FrameKind, SEGMENT_HEADER_BYTES, Seed, SegmentHeader, stamp};
use crate::log::operation::{FileAction, FileName};
use alloc::vec::Vec;

/// What is to be rewritten, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// As it will be. The base is corrected to the first frame that is found, where it is not
    /// known.
    pub(super) header: SegmentHeader,
    pub(super) is_base_known: bool,
    /// Where the next segment begins.
    pub(super) limit_lsn: Option<u64>,
    pub(super) file_bytes: u64,
    /// The copy of the segment as it was.
    pub(super) copy: u32,
    /// What led to this.
    pub(super) damage: Damage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    Read,
    Write,
    Sync,
    WriteHeader,
    SyncHeader,
    /// The file as it was gets a second name, which it keeps when it loses the first.
    Link,
    /// Where there are no second names, it is copied.
    CreateCopy,
    ReadCopy,
    WriteCopy,
    SyncCopy,
    SyncCopyName,
    Rename,
    SyncName,
    /// It cannot be done: nothing half made is left behind.
    RemoveCopy,
    RemoveRewrite,
    /// For want of room, a spare goes, and it begins anew.
    RemoveSpare(u64),
    Failed,
    Done,
}

/// A repair under way.
#[derive(Debug)]
pub(super) struct Rewrite {
    plan: Plan,
    /// Spares that nothing but room is lost with; the last goes first.
    spares: Vec<u64>,
    step: Step,
    seed: Seed,
    reader: Reader,
    /// The reader has come to the end of the file.
    is_read: bool,
    out: Vec<u8>,
    /// Zeros that were read and not written: none are at the end of a copy.
    skipped_bytes: u64,
    copied_bytes: u64,
    failure: Option<RecoveryError>,
    tail: u64,
    /// The number the next frame should have, once it is known.
    expected_lsn: Option<u64>,
    pub(super) lost: Vec<Damage>,
}

impl Rewrite {
    pub(super) fn new(mut plan: Plan, spares: Vec<u64>) -> Self {
        plan.header.file_bytes = 0;
        let header = plan.header;
        let seed = Seed::new(header.uuid, header.number);
        Self {
            step: Step::Create,
            seed,
            reader: Reader::new(header.number, Some(seed), plan.file_bytes),
            is_read: false,
            out: Vec::new(),
            skipped_bytes: 0,
            copied_bytes: 0,
            failure: None,
            tail: SEGMENT_HEADER_BYTES,
            expected_lsn: plan.is_base_known.then_some(header.base_lsn),
            lost: Vec::from([plan.damage]),
            plan,
            spares,
        }
    }

    /// The next operation; `None` when the segment is repaired.
    pub(super) fn action(&mut self) -> Option<FileAction<'_>> {
        let copy = self.copy();
        let original = FileName::Segment(self.plan.header.number);
        let file = FileName::Rewrite;
        if self.step == Step::Read {
            match self.salvage() {
                Some(read) => return Some(read),
                None => self.step = Step::Write,
            }
        }
        Some(match self.step {
            Step::Link => FileAction::Link {
                from: original,
                to: copy,
            },
            Step::CreateCopy => FileAction::Create { file: copy },
            Step::ReadCopy => FileAction::ReadAt {
                file: original,
                offset: self.copied_bytes + self.skipped_bytes,
                bytes: READ_BYTES,
            },
            Step::WriteCopy => FileAction::WriteAt {
                file: copy,
                offset: self.copied_bytes,
                bytes: &self.out,
            },
            Step::SyncCopy => FileAction::Sync { file: copy },
            Step::Create => FileAction::Create { file },
            Step::Read | Step::Write => FileAction::WriteAt {
                file,
                offset: self.tail,
                bytes: &self.out,
            },
            Step::Sync | Step::SyncHeader => FileAction::Sync { file },
            Step::WriteHeader => {
                self.out.clear();
                self.plan.header.encode(&mut self.out);
                FileAction::WriteAt {
                    file,
                    offset: 0,
                    bytes: &self.out,
                }
            }
            Step::Rename => FileAction::Rename {
                from: file,
                to: original,
            },
            Step::SyncName | Step::SyncCopyName => FileAction::SyncDirectory,
            Step::RemoveCopy => FileAction::Remove { file: copy },
            Step::RemoveRewrite => FileAction::Remove { file },
            Step::RemoveSpare(number) => FileAction::Remove {
                file: FileName::Segment(number),
            },
            Step::Failed | Step::Done => return None,
        })
    }

    /// What the segment as it was is called afterwards.
    pub(super) const fn copy(&self) -> FileName {
        FileName::Damaged {
            segment: self.plan.header.number,
            copy: self.plan.copy,
        }
    }

    /// Why it was not repaired, if so.
    pub(super) const fn failure(&self) -> Option<RecoveryError> {
        self.failure
    }

    /// The operation failed.
    pub(super) fn failed(&mut self, error: RecoveryError) {
        let step = self.step;
        if step == Step::Link {
            self.step = Step::CreateCopy;
            return;
        }
        self.failure.get_or_insert(error);
        if step == Step::RemoveRewrite {
            self.step = self.make_room();
            return;
        }
        let is_copying = [
            Step::CreateCopy,
            Step::ReadCopy,
            Step::WriteCopy,
            Step::SyncCopy,
        ];
        // Once the segment may be replaced, the copy is needed.
        let is_over = [Step::SyncCopyName, Step::Rename, Step::SyncName];
        self.step = if is_copying.contains(&step) {
            Step::RemoveCopy
        } else if is_over.contains(&step) || matches!(step, Step::RemoveSpare(_)) {
            Step::Failed
        } else {
            Step::RemoveRewrite
        };
    }

    /// What was half made is gone. A device that nobody reaches has to come up, and spares take
    /// most of a full disk.
    fn make_room(&mut self) -> Step {
        let is_full = self.failure.is_some_and(|error| error.is_no_space());
        let spare = is_full.then(|| self.spares.pop()).flatten();
        spare.map_or(Step::Failed, Step::RemoveSpare)
    }

    /// The operation was carried out; `bytes` is what was read.
    pub(super) fn completed(&mut self, bytes: &[u8]) {
        if let Step::RemoveSpare(_) = self.step {
            *self = Self::new(self.plan, core::mem::take(&mut self.spares));
            return;
        }
        self.step = match self.step {
            Step::Create => Step::Read,
            Step::Read => {
                self.reader.feed(bytes);
                Step::Read
            }
            Step::Write => {
                self.tail += self.out.len() as u64;
                self.out.clear();
                if self.is_read { Step::Sync } else { Step::Read }
            }
            Step::Sync => Step::WriteHeader,
            Step::WriteHeader => Step::SyncHeader,
            Step::SyncHeader => {
                self.out.clear();
                Step::Link
            }
            Step::Link | Step::SyncCopy => Step::SyncCopyName,
            Step::CreateCopy => Step::ReadCopy,
            Step::ReadCopy if bytes.is_empty() => Step::SyncCopy,
            Step::ReadCopy => self.copy_on(bytes),
            Step::WriteCopy => {
                self.copied_bytes += self.out.len() as u64;
                self.out.clear();
                Step::ReadCopy
            }
            Step::SyncCopyName => Step::Rename,
            Step::Rename => Step::SyncName,
            Step::RemoveCopy => Step::RemoveRewrite,
            Step::RemoveRewrite => self.make_room(),
            Step::RemoveSpare(_) | Step::Failed => Step::Failed,
            Step::SyncName | Step::Done => Step::Done,
        };
    }

    /// Copies up to the last byte that is not zero.
    fn copy_on(&mut self, bytes: &[u8]) -> Step {
        let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else {
            self.skipped_bytes += bytes.len() as u64;
            return Step::ReadCopy;
        };
        self.copied_bytes += self.skipped_bytes;
        self.out.clear();
        self.out.extend_from_slice(&bytes[..=last]);
        self.skipped_bytes = 0;
        Step::WriteCopy
    }

    /// Takes good frames out of what is read. `None` when there is something to write, or the end.
    fn salvage(&mut self) -> Option<FileAction<'static>> {
        while self.out.len() < READ_BYTES as usize {
            match self.reader.look() {
                Look::More => {
                    if let Some(read) = self.reader.read() {
                        return Some(read);
                    }
                    self.reader.skip_step();
                }
                Look::Frame(header, body) if self.is_wanted(&header) => {
                    self.fill_gap(header.lsn);
                    let mut encoded = Vec::new();
                    header.encode(self.reader.body(body), &mut encoded);
                    self.emit(&encoded, header.durable_lsn);
                    let last = if header.kind == FrameKind::GAP {
                        header.position.max(header.lsn)
                    } else {
                        header.lsn
                    };
                    self.expected_lsn = Some(last.saturating_add(1));
                    self.reader.skip(&header);
                }
                Look::Frame(..) | Look::Blank | Look::Damaged(_) => {
                    if self.reader.skip_step() {
                        continue;
                    }
                    if let Some(read) = self.reader.read() {
                        return Some(read);
                    }
                    self.is_read = true;
                    self.finish();
                    return None;
                }
            }
        }
        None
    }

    fn is_wanted(&self, header: &FrameHeader) -> bool {
        header.kind != FrameKind::SEAL
            && self
                .expected_lsn
                .is_none_or(|expected| header.lsn >= expected)
            && self.plan.limit_lsn.is_none_or(|limit| header.lsn < limit)
    }

    /// Everything is read: what is missing up to the next segment is a gap, too, and so is what
    /// was proven to be there at the end of the log.
    fn finish(&mut self) {
        let damage = self.plan.damage;
        if let Some(limit) = self.plan.limit_lsn {
            self.fill_gap(limit);
        } else if damage.kind != DamageKind::Header && self.expected_lsn == Some(damage.first_lsn) {
            let last = damage.last_lsn.unwrap_or(damage.first_lsn);
            self.fill_gap(last.max(damage.first_lsn).saturating_add(1));
            if let Some(lost) = self.lost.first_mut() {
                // The gap has to end somewhere, but nothing tells where.
                lost.last_lsn = damage.last_lsn;
            }
        }
    }

    fn fill_gap(&mut self, next_lsn: u64) {
        let Some(expected) = self.expected_lsn else {
            self.plan.header.base_lsn = next_lsn;
            return;
        };
        let last = next_lsn.saturating_sub(1);
        if expected > last {
            return;
        }
        let mut gap = Vec::new();
        FrameHeader::control(FrameKind::GAP, expected, last).encode(&[], &mut gap);
        self.emit(&gap, expected.saturating_sub(1));
        match self.lost.first_mut() {
            Some(damage) if damage.first_lsn == expected => damage.last_lsn = Some(last),
            _ => self.lost.push(Damage {
                file: FileName::Segment(self.plan.header.number),
                offset: self.reader.offset,
                kind: DamageKind::Frames,
                first_lsn: expected,
                last_lsn: Some(last),
                batch: None::<(u16, Position)>,
            }),
        }
        self.expected_lsn = Some(next_lsn);
    }

    fn emit(&mut self, frame: &[u8], durable_lsn: u64) {
        let start = self.out.len();
        let offset = self.tail + start as u64;
        self.out.extend_from_slice(frame);
        stamp(&mut self.out[start..], self.seed, offset, durable_lsn);
    }
}
