//! Makes a readable log one that can be written to.
//!
//! Nothing is appended to a segment of an earlier process. A new one begins with a copy of all
//! frames that no later frame proves to be synced: the system may hold them in memory, marked
//! clean, after a sync that failed. Its header comes last, when what it promises is synced; from
//! then on those frames, and whatever was torn behind them, do not count in their old place. Only
//! then is anything removed.

use super::reader::{Look, READ_BYTES, Reader};
use super::survey::{Link, SegmentFile, Survey};
use crate::log::config::LogConfig;
use crate::log::engine::{Chain, Reopened, Segment, Spare};
use crate::log::frame::{
    FRAME_HEADER_BYTES, FrameHeader, FrameKind, LogUuid, SEGMENT_HEADER_BYTES, Seed, SegmentHeader,
    stamp,
};
use crate::log::operation::{FileAction, FileName};
use crate::log::recovery::scan::Found;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// How many zeros are written in one go.
const CHUNK_BYTES: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    Zero,
    /// There is no room for the new segment: what it took is given back, and what does not count.
    GiveBack,
    FreeFile,
    WriteCut,
    SyncCut,
    ApplyCut,
    ReadTail,
    WriteTail,
    Sync,
    SyncOlder,
    WriteHeader,
    SyncHeader,
    SyncName,
    Remove,
    Cut,
    SyncRemovals,
    Done,
}

/// What was learned about the log.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) uuid: LogUuid,
    /// The segments that count, oldest first.
    pub(super) chain: Vec<Link>,
    /// Where the log ends: segment and offset.
    pub(super) end: (u64, u64),
    pub(super) found: Found,
    /// Files of zeros behind everything that was used.
    pub(super) blank: Vec<SegmentFile>,
}

/// The opening under way.
#[derive(Debug)]
pub(super) struct Reopen {
    step: Step,
    segment_bytes: u64,
    header: SegmentHeader,
    seed: Seed,
    /// Bytes of the new file that are known to be zero, or written.
    zeroed_bytes: u64,
    file_bytes: u64,
    tail: u64,
    source: Option<Reader>,
    end_lsn: u64,
    out: Vec<u8>,
    /// Older segments with frames that nothing proves to be synced.
    older: VecDeque<u64>,
    kept: Vec<Segment>,
    spares: VecDeque<Spare>,
    removals: VecDeque<FileName>,
    /// Those of them that may go before the new segment is there.
    early_removals: VecDeque<FileName>,
    /// The last segment that is kept, and where it ends.
    cut: Option<(u64, u64)>,
    /// The last old segment and where it ends, if there is room to be gained.
    early_cut: Option<(u64, u64)>,
    /// Room was made; what is missing now can only be saved on the new segment.
    is_relieved: bool,
    needed_bytes: u64,
    found: Found,
}

impl Reopen {
    pub(super) fn new(config: &LogConfig, survey: &Survey, past: Past) -> Self {
        let end_lsn = past.found.expected_lsn;
        let chain = past.chain;
        let mut kept = chain.clone();
        kept.retain(|link| link.header.base_lsn < end_lsn);
        let last = kept.last().copied();
        let unproven = past.found.durable_lsn.saturating_add(1).min(end_lsn);
        let base_lsn = last.map_or(end_lsn, |last| unproven.max(last.header.base_lsn));
        // A segment of which everything is copied is not needed any more.
        let copied_whole = kept.pop_if(|link| link.header.base_lsn >= base_lsn);
        let header = SegmentHeader {
            uuid: past.uuid,
            number: 0,
            previous: match (copied_whole, last) {
                (Some(whole), _) => whole.header.previous,
                (None, Some(last)) => last.header.number,
                (None, None) => 0,
            },
            base_lsn,
            durable_lsn: base_lsn.saturating_sub(1),
            file_bytes: 0,
            gap_before: copied_whole.is_some_and(|whole| whole.header.gap_before),
        };
        let source = last.filter(|_| base_lsn < end_lsn);
        let mut reopen = Self {
            step: Step::Create,
            segment_bytes: config.segment_bytes,
            header,
            seed: Seed::new(past.uuid, 0),
            zeroed_bytes: 0,
            file_bytes: config.segment_bytes,
            tail: SEGMENT_HEADER_BYTES,
            source: source.map(|link| {
                let seed = Seed::new(past.uuid, link.header.number);
                Reader::new(link.header.number, Some(seed), link.file_bytes)
            }),
            end_lsn,
            out: Vec::new(),
            older: VecDeque::new(),
            kept: kept.iter().map(segment).collect(),
            spares: VecDeque::new(),
            removals: VecDeque::new(),
            early_removals: VecDeque::new(),
            cut: None,
            early_cut: None,
            is_relieved: false,
            needed_bytes: SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES,
            found: past.found,
        };
        if source.is_some() {
            reopen.needed_bytes += past.found.unproven_bytes;
        }
        let needed = reopen.needed_bytes.next_multiple_of(4096);
        reopen.file_bytes = reopen.file_bytes.max(needed);
        reopen.choose_file(survey, &past.blank);
        reopen.plan_older(past.found.durable_lsn);
        let chain: Vec<u64> = chain.iter().map(|link| link.header.number).collect();
        reopen.plan_removals(survey, &chain);
        reopen.plan_cut(survey, past.end);
        reopen
    }

    /// Takes the first spare that is there, so that a full disk does not prevent a start.
    fn choose_file(&mut self, survey: &Survey, blank: &[SegmentFile]) {
        let last_used = survey.files.iter().rev();
        let mut last_used = last_used.filter(|file| !blank.iter().any(|b| b.number == file.number));
        let last_used = last_used.next().map_or(0, |file| file.number);
        let mut spares = blank
            .iter()
            .filter(|spare| spare.number > last_used && spare.file_bytes == self.segment_bytes);
        if let Some(spare) = spares.next() {
            self.header.number = spare.number;
            self.zeroed_bytes = spare.file_bytes;
            self.step = Step::Zero;
            let spares = spares.map(|spare| Spare {
                number: spare.number,
                file_bytes: spare.file_bytes,
            });
            self.spares = spares.collect();
        } else {
            let newest = survey.files.last().map_or(0, |file| file.number);
            self.header.number = newest.saturating_add(1);
        }
        self.seed = Seed::new(self.header.uuid, self.header.number);
    }

    fn plan_older(&mut self, durable_lsn: u64) {
        let next = self.kept.iter().skip(1).map(|segment| segment.base_lsn);
        let next = next.chain([self.header.base_lsn]);
        let older = self.kept.iter().zip(next);
        let older = older.filter(|(_, next_base)| *next_base > durable_lsn.saturating_add(1));
        self.older = older.map(|(segment, _)| segment.number).collect();
    }

    /// What the checkpoint made needless, and what does not count.
    fn plan_removals(&mut self, survey: &Survey, chain: &[u64]) {
        let mut needless = 0;
        if let Some(begin_lsn) = self.found.checkpoint_lsn {
            let next = self.kept.iter().skip(1).map(|segment| segment.base_lsn);
            let next = next.chain([self.header.base_lsn]);
            needless = next.take_while(|base_lsn| *base_lsn <= begin_lsn).count();
            // Where everything is copied no old segment is kept, and none is left over.
            needless = needless.min(self.kept.len());
        }
        let needless: Vec<u64> = self.kept.drain(..needless).map(|old| old.number).collect();
        let keep = |number: u64| {
            number == self.header.number
                || self.kept.iter().any(|segment| segment.number == number)
                || self.spares.iter().any(|spare| spare.number == number)
        };
        for file in survey.files.iter().filter(|file| !keep(file.number)) {
            let name = FileName::Segment(file.number);
            self.removals.push_back(name);
            if needless.contains(&file.number) || !chain.contains(&file.number) {
                self.early_removals.push_back(name);
            }
        }
        if survey.has_rewrite {
            self.removals.push_back(FileName::Rewrite);
            self.early_removals.push_back(FileName::Rewrite);
        }
    }

    /// The room behind the end of the log is not used any more.
    fn plan_cut(&mut self, survey: &Survey, (number, offset): (u64, u64)) {
        let has_room = |bytes: u64| bytes > offset + FRAME_HEADER_BYTES;
        if survey
            .find(number)
            .is_some_and(|file| has_room(file.file_bytes))
        {
            self.early_cut = Some((number, offset));
        }
        let last = self.kept.last_mut();
        let last = last.filter(|last| last.number == number && last.file_bytes > offset);
        if let Some(last) = last {
            last.file_bytes = offset;
            self.cut = Some((number, offset));
        }
    }

    /// The next operation; `None` when the log is open.
    pub(super) fn action(&mut self) -> Option<FileAction<'_>> {
        self.skip_needless();
        let file = FileName::Segment(self.header.number);
        if self.step == Step::ReadTail {
            match self.copy_tail() {
                Some(read) => return Some(read),
                None => self.step = Step::WriteTail,
            }
        }
        Some(match self.step {
            Step::Create => FileAction::Create { file },
            Step::Zero => FileAction::ZeroAt {
                file,
                offset: self.zeroed_bytes,
                bytes: CHUNK_BYTES.min(self.file_bytes - self.zeroed_bytes),
            },
            Step::GiveBack => FileAction::Remove { file },
            Step::FreeFile => FileAction::Remove {
                file: *self.early_removals.front()?,
            },
            Step::WriteCut => {
                let (number, offset) = self.early_cut?;
                let file = FileName::Segment(number);
                let seed = Seed::new(self.header.uuid, number);
                self.out.clear();
                // The number of a shutdown mark is used again, but not in this file.
                let lsn = self.end_lsn + u64::from(self.found.closed);
                let cut = FrameHeader::control(FrameKind::SEAL, lsn, 0);
                cut.encode(&[], &mut self.out);
                stamp(&mut self.out, seed, offset, self.found.durable_lsn);
                let bytes = &self.out;
                FileAction::WriteAt {
                    file,
                    offset,
                    bytes,
                }
            }
            Step::SyncCut => FileAction::Sync {
                file: FileName::Segment(self.early_cut?.0),
            },
            Step::ReadTail | Step::WriteTail => FileAction::WriteAt {
                file,
                offset: self.tail,
                bytes: &self.out,
            },
            Step::Sync | Step::SyncHeader => FileAction::Sync { file },
            Step::SyncOlder => FileAction::Sync {
                file: FileName::Segment(self.older.front().copied().unwrap_or(0)),
            },
            Step::WriteHeader => {
                self.out.clear();
                self.header.file_bytes = self.file_bytes;
                self.header.encode(&mut self.out);
                FileAction::WriteAt {
                    file,
                    offset: 0,
                    bytes: &self.out,
                }
            }
            Step::SyncName | Step::SyncRemovals => FileAction::SyncDirectory,
            Step::Remove => FileAction::Remove {
                file: *self.removals.front()?,
            },
            Step::Cut | Step::ApplyCut => {
                let (number, bytes) = if self.step == Step::Cut {
                    self.cut?
                } else {
                    self.early_cut?
                };
                FileAction::SetLength {
                    file: FileName::Segment(number),
                    bytes,
                }
            }
            Step::Done => return None,
        })
    }

    fn skip_needless(&mut self) {
        if self.step == Step::Zero && self.zeroed_bytes >= self.file_bytes {
            self.step = if self.source.is_some() {
                Step::ReadTail
            } else {
                Step::Sync
            };
        }
        if self.step == Step::FreeFile && self.early_removals.is_empty() {
            self.step = if self.early_cut.is_some() {
                Step::WriteCut
            } else {
                Step::Create
            };
        }
        if self.step == Step::SyncOlder && self.older.is_empty() {
            self.step = Step::WriteHeader;
        }
        if self.step == Step::Remove && self.removals.is_empty() {
            self.step = Step::Cut;
        }
        if self.step == Step::Cut && self.cut.is_none() {
            self.step = Step::SyncRemovals;
        }
    }

    /// The operation was carried out, or it failed and is one the log can do without; `bytes` is
    /// what was read.
    pub(super) fn completed(&mut self, bytes: &[u8]) {
        self.step = match self.step {
            Step::Create => Step::Zero,
            Step::Zero => {
                let rest = self.file_bytes - self.zeroed_bytes;
                self.zeroed_bytes += CHUNK_BYTES.min(rest);
                Step::Zero
            }
            Step::GiveBack if self.is_relieved => Step::Create,
            Step::GiveBack => {
                self.is_relieved = true;
                Step::FreeFile
            }
            Step::FreeFile => {
                let removed = self.early_removals.pop_front();
                self.removals.retain(|file| Some(*file) != removed);
                Step::FreeFile
            }
            Step::WriteCut => {
                self.out.clear();
                if let Some((number, offset)) = &mut self.early_cut {
                    *offset += FRAME_HEADER_BYTES;
                    let last = self.kept.last_mut();
                    if let Some(last) = last.filter(|last| last.number == *number) {
                        last.file_bytes = *offset;
                    }
                }
                self.cut = None;
                Step::SyncCut
            }
            Step::SyncCut => Step::ApplyCut,
            Step::ApplyCut => {
                self.early_cut = None;
                Step::Create
            }
            Step::ReadTail => {
                if let Some(source) = &mut self.source {
                    source.feed(bytes);
                }
                Step::ReadTail
            }
            Step::WriteTail => {
                self.tail += self.out.len() as u64;
                self.out.clear();
                if self.source.is_some() {
                    Step::ReadTail
                } else {
                    Step::Sync
                }
            }
            Step::Sync => Step::SyncOlder,
            Step::SyncOlder => {
                self.older.pop_front();
                Step::SyncOlder
            }
            Step::WriteHeader => Step::SyncHeader,
            Step::SyncHeader => Step::SyncName,
            Step::SyncName => Step::Remove,
            Step::Remove => {
                self.removals.pop_front();
                Step::Remove
            }
            Step::Cut => {
                self.cut = None;
                Step::SyncRemovals
            }
            Step::SyncRemovals | Step::Done => Step::Done,
        };
    }

    /// Whether the log can do without the operation: everything after the new segment is durable,
    /// but for the last sync, whose failure means that the disk is failing.
    pub(super) const fn may_fail(&self) -> bool {
        matches!(
            self.step,
            Step::Remove | Step::Cut | Step::GiveBack | Step::FreeFile
        )
    }

    /// There is no room for what the current operation writes. Gives `false` when nothing can be
    /// done about it.
    ///
    /// First whatever does not count goes, and the unused end of the last segment, which says so
    /// itself: a segment that is shorter than it was is damage otherwise. Then a smaller segment
    /// must do.
    pub(super) fn make_room(&mut self) -> bool {
        if !matches!(self.step, Step::Create | Step::Zero) {
            return false;
        }
        if self.is_relieved {
            let half = (self.file_bytes / 2).next_multiple_of(4096);
            if half < self.needed_bytes || half == self.file_bytes {
                return false;
            }
            self.file_bytes = half;
        }
        self.zeroed_bytes = 0;
        self.step = Step::GiveBack;
        true
    }

    /// Encodes what is read anew. `None` when there is something to write, or the end.
    fn copy_tail(&mut self) -> Option<FileAction<'static>> {
        let source = self.source.as_mut()?;
        while self.out.len() < READ_BYTES as usize {
            match source.look() {
                Look::More => {
                    if let Some(read) = source.read() {
                        return Some(read);
                    }
                    break;
                }
                Look::Frame(header, body) if header.lsn < self.end_lsn => {
                    let is_copied = header.lsn >= self.header.base_lsn
                        && header.kind != FrameKind::SEAL
                        && header.kind != FrameKind::SHUTDOWN;
                    if is_copied {
                        let start = self.out.len();
                        let offset = self.tail + start as u64;
                        header.encode(source.body(body), &mut self.out);
                        let durable_lsn = self.header.durable_lsn;
                        stamp(&mut self.out[start..], self.seed, offset, durable_lsn);
                    }
                    source.skip(&header);
                    if self.out.len() >= READ_BYTES as usize {
                        return None;
                    }
                }
                Look::Frame(..) | Look::Blank | Look::Damaged(_) => break,
            }
        }
        self.source = None;
        None
    }

    /// The log, once there is no operation left.
    pub(super) fn finish(&self) -> Option<Reopened> {
        if self.step != Step::Done {
            return None;
        }
        let mut segments: VecDeque<Segment> = self.kept.iter().copied().collect();
        segments.push_back(Segment {
            number: self.header.number,
            base_lsn: self.header.base_lsn,
            file_bytes: self.file_bytes,
            synced: true,
        });
        Some(Reopened {
            uuid: self.header.uuid,
            chain: Chain::new(segments, self.spares.clone()),
            tail: self.tail,
            last_lsn: self.end_lsn - 1,
            since_checkpoint_bytes: self.found.since_checkpoint_bytes,
            checkpoint_bytes: self.found.checkpoint_bytes,
        })
    }
}

fn segment(link: &Link) -> Segment {
    Segment {
        number: link.header.number,
        base_lsn: link.header.base_lsn,
        file_bytes: link.file_bytes,
        synced: true,
    }
}
