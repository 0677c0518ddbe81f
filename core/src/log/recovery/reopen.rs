//! Makes a readable log one that can be written to.
//!
//! Nothing is appended to a segment of an earlier process. A new one begins with a copy of all
//! frames that no later frame proves to be synced: the system may hold them in memory, marked
//! clean, after a sync that failed. Its header comes last, when what it promises is synced; from
//! then on those frames, and whatever was torn behind them, do not count in their old place. Only
//! then is anything removed.

use super::adopt::Adopt;
use super::reader::{Look, READ_BYTES, Reader};
use super::survey::{Link, SegmentFile, Survey};
use super::verdict::RecoveryError;
use crate::log::config::LogConfig;
use crate::log::engine::{Chain, Reopened, Segment, Spare};
use crate::log::frame::{
    FRAME_HEADER_BYTES, FrameKind, LogUuid, SEGMENT_HEADER_BYTES, Seed, SegmentHeader, stamp,
};
use crate::log::index::Index;
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
    /// There still is none: the last segment is gone on with.
    Adopt,
    ReadTail,
    WriteTail,
    Sync,
    SyncUnsynced,
    WriteHeader,
    SyncHeader,
    SyncName,
    Remove,
    Cut,
    SyncRemovals,
    GaveUp,
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
    /// Where what is read back lies.
    pub(super) index: Index,
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
    /// Files that nothing proves to be synced, and that are relied upon: older segments with such
    /// frames, and spares, whose zeros may only just have been written.
    unsynced: VecDeque<u64>,
    kept: Vec<Segment>,
    spares: VecDeque<Spare>,
    removals: VecDeque<FileName>,
    /// Those of them that may go before the new segment is there.
    early_removals: VecDeque<FileName>,
    /// The last segment that is kept, and where it ends.
    cut: Option<(u64, u64)>,
    /// Room was made; if there still is none, no new segment can be had.
    is_relieved: bool,
    gave_up: Option<RecoveryError>,
    /// The last old segment, in case that it must do, and what is kept then.
    adopt: Option<Adopt>,
    kept_by_adoption: Vec<Segment>,
    is_adopting: bool,
    found: Found,
    index: Index,
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
            unsynced: VecDeque::new(),
            kept: kept.iter().map(segment).collect(),
            spares: VecDeque::new(),
            removals: VecDeque::new(),
            early_removals: VecDeque::new(),
            cut: None,
            is_relieved: false,
            gave_up: None,
            adopt: None,
            kept_by_adoption: chain.iter().map(segment).collect(),
            is_adopting: false,
            found: past.found,
            index: past.index,
        };
        if let Some(source) = source {
            let copied = past.found.unproven_bytes.min(source.file_bytes);
            let needed = SEGMENT_HEADER_BYTES + copied + FRAME_HEADER_BYTES;
            reopen.file_bytes = reopen.file_bytes.max(needed.next_multiple_of(4096));
        }
        reopen.plan_adoption(past.end);
        reopen.header.file_bytes = reopen.file_bytes;
        reopen.choose_file(survey, &past.blank);
        reopen.plan_syncs(past.found.durable_lsn);
        let chain: Vec<u64> = chain.iter().map(|link| link.header.number).collect();
        reopen.plan_removals(survey, &chain);
        reopen.plan_cut(past.end);
        if let Some(quota_bytes) = config.quota_bytes {
            reopen.heed_quota(quota_bytes, survey);
        }
        reopen
    }

    /// Takes the first spare that is there, so that a full disk does not prevent a start.
    ///
    /// The first segment of a log has the number 1, however often its making was interrupted: files
    /// of other numbers prove that there was a log.
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
        } else if self.kept_by_adoption.is_empty() {
            self.header.number = 1;
            if survey.find(1).is_some() {
                // In place, a crash might leave the old header in a file of the new size.
                self.early_removals.push_back(FileName::Segment(1));
                self.step = Step::FreeFile;
            }
        } else {
            let newest = survey.files.last().map_or(0, |file| file.number);
            self.header.number = newest.saturating_add(1);
        }
        self.seed = Seed::new(self.header.uuid, self.header.number);
    }

    fn plan_adoption(&mut self, (number, end): (u64, u64)) {
        let last = self.kept_by_adoption.last();
        self.adopt = last.filter(|last| last.number == number).map(|last| {
            // The number of a shutdown mark is used again, and so is its place.
            let mark = if self.found.closed {
                FRAME_HEADER_BYTES
            } else {
                0
            };
            Adopt::new(number, end - mark, last.file_bytes)
        });
    }

    fn plan_syncs(&mut self, durable_lsn: u64) {
        let next = self.kept.iter().skip(1).map(|segment| segment.base_lsn);
        let next = next.chain([self.header.base_lsn]);
        let older = self.kept.iter().zip(next);
        let older = older.filter(|(_, next_base)| *next_base > durable_lsn.saturating_add(1));
        let older = older.map(|(segment, _)| segment.number);
        let spares = self.spares.iter().map(|spare| spare.number);
        self.unsynced = older.chain(spares).collect();
    }

    /// What the checkpoint made needless, and what does not count.
    fn plan_removals(&mut self, survey: &Survey, chain: &[u64]) {
        let begin_lsn = self.found.checkpoint_lsn.unwrap_or(0);
        let next = self.kept.iter().skip(1).map(|segment| segment.base_lsn);
        let next: Vec<u64> = next.chain([self.header.base_lsn]).collect();
        let old = self.kept.iter().zip(next);
        let needless = old.take_while(|(_, next_base)| *next_base <= begin_lsn);
        let needless: Vec<u64> = needless.map(|(segment, _)| segment.number).collect();
        // Before that is synced once more, a loss of power could take the checkpoint with it.
        let is_proven = self.found.checkpoint_said_lsn <= self.found.durable_lsn;
        self.kept
            .retain(|segment| !needless.contains(&segment.number));
        let last = chain.last().copied();
        self.kept_by_adoption
            .retain(|segment| Some(segment.number) == last || !needless.contains(&segment.number));
        let keep = |number: u64| {
            number == self.header.number
                || self.kept.iter().any(|segment| segment.number == number)
                || self.spares.iter().any(|spare| spare.number == number)
        };
        for file in survey.files.iter().filter(|file| !keep(file.number)) {
            let name = FileName::Segment(file.number);
            self.removals.push_back(name);
            // What is still to be copied, or to be gone on with, is the last one's.
            let is_superseded =
                is_proven && needless.contains(&file.number) && Some(file.number) != last;
            if is_superseded || !chain.contains(&file.number) {
                self.early_removals.push_back(name);
            }
        }
        if survey.has_rewrite {
            self.removals.push_back(FileName::Rewrite);
            self.early_removals.push_back(FileName::Rewrite);
        }
    }

    /// As on a full disk: what does not count makes room, or else the last segment must do.
    fn heed_quota(&mut self, quota_bytes: u64, survey: &Survey) {
        let is_early = |file: &SegmentFile| {
            let name = FileName::Segment(file.number);
            self.early_removals.contains(&name)
        };
        let bytes = |is_counted: &dyn Fn(&SegmentFile) -> bool| {
            let files = survey.files.iter().filter(|file| is_counted(file));
            let used = files.map(|file| file.file_bytes).sum::<u64>();
            used.saturating_add(self.file_bytes - self.zeroed_bytes)
        };
        if bytes(&|_| true) <= quota_bytes {
            return;
        }
        let has_room = bytes(&|file| !is_early(file)) <= quota_bytes;
        self.is_relieved = true;
        // Where there is nothing to go on in, to start matters more.
        if has_room || !self.adopt() {
            self.step = Step::FreeFile;
            self.zeroed_bytes = 0;
        } else if self.step == Step::Zero {
            self.step = Step::GiveBack;
        } else {
            self.step = Step::FreeFile;
        }
    }

    /// The room behind the end of the log is not used any more.
    fn plan_cut(&mut self, (number, offset): (u64, u64)) {
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
        if self.step == Step::Adopt {
            return self.adopt.as_mut()?.action();
        }
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
            Step::Adopt => return None,
            Step::GiveBack => FileAction::Remove { file },
            Step::FreeFile => FileAction::Remove {
                file: *self.early_removals.front()?,
            },
            Step::ReadTail | Step::WriteTail => FileAction::WriteAt {
                file,
                offset: self.tail,
                bytes: &self.out,
            },
            Step::Sync | Step::SyncHeader => FileAction::Sync { file },
            Step::SyncUnsynced => FileAction::Sync {
                file: FileName::Segment(self.unsynced.front().copied().unwrap_or(0)),
            },
            Step::WriteHeader => {
                self.out.clear();
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
            Step::Cut => {
                let (number, bytes) = self.cut?;
                FileAction::SetLength {
                    file: FileName::Segment(number),
                    bytes,
                }
            }
            Step::GaveUp | Step::Done => return None,
        })
    }

    /// There was no room, and nothing to go on in.
    pub(super) const fn gave_up(&self) -> Option<RecoveryError> {
        self.gave_up
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
            self.step = if self.is_adopting {
                Step::Adopt
            } else {
                Step::Create
            };
        }
        if self.step == Step::Adopt
            && self
                .adopt
                .as_mut()
                .is_none_or(|adopt| adopt.action().is_none())
        {
            self.step = Step::SyncUnsynced;
        }
        if self.step == Step::SyncUnsynced && self.unsynced.is_empty() {
            self.step = if self.is_adopting {
                Step::Remove
            } else {
                Step::WriteHeader
            };
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
            Step::GiveBack if self.gave_up.is_some() => Step::GaveUp,
            Step::GiveBack if self.is_adopting => Step::Adopt,
            Step::GiveBack => Step::FreeFile,
            Step::FreeFile => {
                let removed = self.early_removals.pop_front();
                self.removals.retain(|file| Some(*file) != removed);
                Step::FreeFile
            }
            Step::Adopt => {
                if let Some(adopt) = &mut self.adopt {
                    adopt.completed(bytes);
                }
                Step::Adopt
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
            Step::Sync => Step::SyncUnsynced,
            Step::SyncUnsynced => {
                self.unsynced.pop_front();
                Step::SyncUnsynced
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
            Step::GaveUp => Step::GaveUp,
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

    /// There is no room for a new segment, as `error` says. Gives `false` when that is not what has
    /// failed.
    ///
    /// First whatever does not count goes; then the last segment must do. Where there is none, what
    /// was begun is given back: see [`gave_up`](Self::gave_up).
    pub(super) fn make_room(&mut self, error: RecoveryError) -> bool {
        if !matches!(self.step, Step::Create | Step::Zero) {
            return false;
        }
        if self.is_relieved && !self.adopt() {
            self.gave_up = Some(error);
        }
        self.is_relieved = true;
        self.zeroed_bytes = 0;
        self.step = Step::GiveBack;
        true
    }

    fn adopt(&mut self) -> bool {
        let Some(adopt) = &self.adopt else {
            return false;
        };
        self.kept = core::mem::take(&mut self.kept_by_adoption);
        self.unsynced.retain(|number| *number != adopt.segment);
        self.removals.retain(|file| {
            let mut kept = self.kept.iter();
            !kept.any(|segment| FileName::Segment(segment.number) == *file)
        });
        self.cut = None;
        self.is_adopting = true;
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
                        let body = source.body(body);
                        if header.kind == FrameKind::BATCH {
                            let (segment, at) = (self.header.number, offset + FRAME_HEADER_BYTES);
                            self.index.apply(header.shard, body, segment, at);
                        }
                        header.encode(body, &mut self.out);
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
    pub(super) fn finish(&mut self) -> Option<Reopened> {
        if self.step != Step::Done {
            return None;
        }
        let mut segments: VecDeque<Segment> = self.kept.iter().copied().collect();
        let mut tail = self.tail;
        match &self.adopt {
            Some(adopt) if self.is_adopting => tail = adopt.end,
            Some(_) | None => segments.push_back(Segment {
                number: self.header.number,
                base_lsn: self.header.base_lsn,
                file_bytes: self.file_bytes,
                synced: true,
            }),
        }
        Some(Reopened {
            uuid: self.header.uuid,
            chain: Chain::new(segments, self.spares.clone()),
            tail,
            last_lsn: self.end_lsn - 1,
            since_checkpoint_bytes: self.found.since_checkpoint_bytes,
            checkpoint_bytes: self.found.checkpoint_bytes,
            index: core::mem::take(&mut self.index),
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
