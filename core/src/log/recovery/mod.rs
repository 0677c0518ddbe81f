//! Finds out what a log holds, and makes it one that can be written to.
//!
//! ```text
//!  list ─► read headers ─► scan: batches in order ─► search behind the end ─► verdict
//!                             ▲                                                 │
//!                             └── rewrite one segment ◄── corrupt, to repair ◄──┤
//!                                                                               ▼
//!                                  Engine ◄── new segment, tail copied, synced ─┘ open
//! ```
//!
//! Damage is a *torn tail*, and cut, only when nothing written later proves that the place was
//! synced; otherwise it is *corruption*, and is reported. `docs/log-format.md` has the argument.
//!
//! Until the new segment's header is written nothing on the disk has changed that counts, and after
//! it the log is whole: recovery may be interrupted anywhere and repeated.

mod adopt;
mod blocks;
mod corruption;
mod lost;
mod reader;
mod reopen;
mod rewrite;
mod scan;
mod search;
mod survey;
mod verdict;

pub use verdict::{Damage, DamageKind, LogEnd, RecoveryError, Summary};

use super::batch::BatchRef;
use super::config::{LogConfig, OnCorruption};
use super::engine::{Batch, Engine, Reopened};
use super::frame::{FRAME_HEADER_BYTES, FrameHeader, LogUuid, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::index::Index;
use super::operation::{
    Completion, FileAction, FileName, IoFailure, IoFailureKind, Operation, OperationId,
};
use crate::id::Position;
use alloc::boxed::Box;
use alloc::vec::Vec;
use blocks::Blocks;
use core::ops::Range;
use lost::{Probe, SetAside};
use reopen::{Past, Reopen};
use rewrite::{Plan, Rewrite};
use scan::{Scan, ScanEnd, Scanned};
use search::Search;
use survey::{SegmentFile, Survey};

/// Reads a log, to open, check or repair it.
///
/// # Contract
///
/// Until [`poll_operation`](Self::poll_operation) gives `None`: drain
/// [`poll_batch`](Self::poll_batch), take one operation, carry it out, and give the answer to
/// [`completed`](Self::completed). Batches come in the order in which they were appended. They
/// count only when recovery then succeeds: see [`into_engine`](Self::into_engine) and
/// [`into_summary`](Self::into_summary).
///
/// ```text
/// loop {
///     while let Some(batch) = recovery.poll_batch() { state.apply(batch) }
///     let Some(operation) = recovery.poll_operation() else { break };
///     let id = operation.id;
///     let result = executor.run(&operation.action);
///     recovery.completed(id, result);
/// }
/// let (engine, summary) = recovery.into_engine()?;
/// ```
#[derive(Debug)]
pub struct Recovery {
    config: LogConfig,
    fresh_uuid: LogUuid,
    purpose: Purpose,
    /// This pass only looks for damage; the batches come with the next.
    repairing: bool,
    phase: Phase,
    survey: Survey,
    index: Index,
    summary: Summary,
    outstanding: Option<Outstanding>,
    /// A read that failed is repeated.
    blocks: Option<Blocks>,
    /// Blocks that cannot be read: segment and offset.
    unreadable: Vec<(u64, u64)>,
    operation_count: u64,
}

/// An operation that is being carried out.
#[derive(Clone, Copy, Debug)]
struct Outstanding {
    id: OperationId,
    verb: &'static str,
    file: Option<FileName>,
    /// Offset and length, if it is a read.
    read: Option<(u64, u32)>,
}

/// A batch that was read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered<'a> {
    /// The number of its frame: counts up by one through the whole log.
    pub lsn: u64,
    /// As it was appended, and checked to be a sequence of operations.
    pub batch: Batch<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Open,
    Verify,
    Repair,
}

#[derive(Debug)]
enum Phase {
    List,
    /// How many headers were read.
    Headers(usize),
    Scan(Box<Scan>),
    Search(Box<Search>),
    Probe(Box<Probe>),
    SetAside(Box<SetAside>),
    Rewrite(Box<Rewrite>),
    Reopen(Box<Reopen>),
    Opened(Reopened),
    /// The verdict was all that was asked for.
    Checked,
    Failed(RecoveryError),
}

impl Recovery {
    /// Opens the log, or begins one that is named `fresh_uuid`: sixteen random bytes that no other
    /// log was named with. The configuration must be valid.
    #[must_use]
    pub fn open(config: LogConfig, fresh_uuid: LogUuid) -> Self {
        let repairing = config.on_corruption == OnCorruption::Quarantine;
        Self::new(config, fresh_uuid, Purpose::Open, repairing)
    }

    /// Only reads. The batches may be looked at as they come.
    #[must_use]
    pub fn verify() -> Self {
        let config = LogConfig::default();
        Self::new(config, LogUuid([0; 16]), Purpose::Verify, false)
    }

    /// Gives up what cannot be read, so that the log can be opened. Copies of the damaged segments
    /// are kept. [`Summary::lost`] tells what was given up. A log whose name is lost is named after
    /// `fresh_uuid`.
    #[must_use]
    pub fn repair(fresh_uuid: LogUuid) -> Self {
        let config = LogConfig::default();
        Self::new(config, fresh_uuid, Purpose::Repair, true)
    }

    fn new(config: LogConfig, fresh_uuid: LogUuid, purpose: Purpose, repairing: bool) -> Self {
        Self {
            config,
            fresh_uuid,
            purpose,
            repairing,
            phase: Phase::List,
            survey: Survey::default(),
            index: Index::default(),
            summary: Summary::default(),
            outstanding: None,
            blocks: None,
            unreadable: Vec::new(),
            operation_count: 0,
        }
    }

    /// The next batch of what is read; `None` when more must be read first, or there is none.
    pub fn poll_batch(&mut self) -> Option<Recovered<'_>> {
        // The batches of a pass that looks for damage are not given out: they come with the next.
        if self.outstanding.is_some() || self.repairing {
            return None;
        }
        let (header, body) = self.scan_on()?;
        let Phase::Scan(scan) = &self.phase else {
            return None;
        };
        Some(Recovered {
            lsn: header.lsn,
            batch: Batch {
                shard: header.shard,
                position: Position(header.position),
                marker: header.marker,
                ops: scan.reader.body(body),
            },
        })
    }

    /// The next operation; `None` when recovery is done, has failed, or batches wait to be taken.
    pub fn poll_operation(&mut self) -> Option<Operation<'_>> {
        if self.outstanding.is_some() {
            return None;
        }
        while self.repairing && self.scan_on().is_some() {}
        self.conclude();
        self.operation_count += 1;
        let id = OperationId(self.operation_count);
        if let Some(action) = self.blocks.as_ref().and_then(Blocks::read) {
            self.outstanding = Some(Outstanding::new(id, &action));
            return Some(Operation { id, action });
        }
        let action = match &mut self.phase {
            Phase::List => FileAction::List,
            Phase::Headers(index) => FileAction::ReadAt {
                file: FileName::Segment(self.survey.files.get(*index)?.number),
                offset: 0,
                bytes: SEGMENT_HEADER_BYTES as u32,
            },
            Phase::Scan(scan) => scan.pending_read()?,
            Phase::Search(search) => search.read()?,
            Phase::Probe(probe) => probe.read()?,
            Phase::SetAside(aside) => aside.action()?,
            Phase::Rewrite(rewrite) => rewrite.action()?,
            Phase::Reopen(reopen) => reopen.action()?,
            Phase::Opened(_) | Phase::Checked | Phase::Failed(_) => return None,
        };
        self.outstanding = Some(Outstanding::new(id, &action));
        Some(Operation { id, action })
    }

    /// The operation `id` was carried out, or failed. An id that is not the outstanding one is
    /// ignored.
    pub fn completed(&mut self, id: OperationId, result: Result<Completion<'_>, IoFailure>) {
        let expected = |outstanding: &mut Outstanding| outstanding.id == id;
        let Some(tried) = self.outstanding.take_if(expected) else {
            return;
        };
        if let Some(mut blocks) = self.blocks.take() {
            match result {
                Ok(Completion::Read(bytes)) => blocks.feed(Some(bytes)),
                Ok(_) | Err(_) => blocks.feed(None),
            }
            if blocks.read().is_some() {
                self.blocks = Some(blocks);
                return;
            }
            if let Some(FileName::Segment(number)) = tried.file {
                let unreadable = blocks.unreadable.iter();
                self.unreadable.extend(unreadable.map(|at| (number, *at)));
            }
            return self.done(&blocks.bytes);
        }
        match result {
            Ok(Completion::Listed(entries)) => {
                self.survey = Survey::list(entries);
                self.unreadable.clear();
                self.phase = Phase::Headers(0);
            }
            Ok(Completion::Read(bytes)) => self.done(bytes),
            Ok(Completion::Done) => self.done(&[]),
            Err(failure) => self.failed(tried, failure),
        }
    }

    /// The operation was carried out; `bytes` is what was read.
    fn done(&mut self, bytes: &[u8]) {
        match &mut self.phase {
            Phase::Headers(index) => {
                if let Some(file) = self.survey.files.get_mut(*index) {
                    file.header = SegmentHeader::decode(bytes);
                    file.is_begun = SegmentHeader::is_first_begun(bytes);
                }
                *index += 1;
            }
            Phase::Scan(scan) => scan.reader.feed(bytes),
            Phase::Search(search) => search.feed(bytes),
            Phase::Probe(probe) => probe.feed(bytes),
            Phase::SetAside(aside) => aside.completed(),
            Phase::Rewrite(rewrite) => rewrite.completed(bytes),
            Phase::Reopen(reopen) => reopen.completed(bytes),
            Phase::List | Phase::Opened(_) | Phase::Checked | Phase::Failed(_) => {}
        }
    }

    fn failed(&mut self, tried: Outstanding, failure: IoFailure) {
        let Outstanding { verb, file, .. } = tried;
        let error = RecoveryError::Io {
            verb,
            file,
            failure,
        };
        if let Phase::Reopen(reopen) = &mut self.phase {
            if reopen.may_fail() {
                return reopen.completed(&[]);
            }
            if failure.kind == IoFailureKind::NoSpace && reopen.make_room(error) {
                return;
            }
        } else if let (Some((offset, bytes)), Some(file)) = (tried.read, file)
            && failure.kind == IoFailureKind::Other
        {
            self.blocks = Some(Blocks::new(file, offset, bytes));
            return;
        } else if let Phase::Rewrite(rewrite) = &mut self.phase {
            return rewrite.failed(error);
        }
        self.phase = Phase::Failed(error);
    }

    /// The log, ready to be appended to, and what was found.
    ///
    /// # Errors
    ///
    /// Why it cannot be opened. Batches that were given out must be forgotten.
    pub fn into_engine(self) -> Result<(Engine, Summary), RecoveryError> {
        match self.phase {
            Phase::Opened(log) => Ok((Engine::reopen(self.config, log), self.summary)),
            Phase::Failed(error) => Err(error),
            Phase::List
            | Phase::Headers(_)
            | Phase::Scan(_)
            | Phase::Search(_)
            | Phase::Probe(_)
            | Phase::SetAside(_)
            | Phase::Rewrite(_)
            | Phase::Reopen(_)
            | Phase::Checked => Err(RecoveryError::Unfinished),
        }
    }

    /// What was found; for all purposes.
    ///
    /// # Errors
    ///
    /// Why the log cannot be read to its end.
    pub fn into_summary(self) -> Result<Summary, RecoveryError> {
        match self.phase {
            Phase::Opened(_) | Phase::Checked => Ok(self.summary),
            Phase::Failed(error) => Err(error),
            Phase::List
            | Phase::Headers(_)
            | Phase::Scan(_)
            | Phase::Search(_)
            | Phase::Probe(_)
            | Phase::SetAside(_)
            | Phase::Rewrite(_)
            | Phase::Reopen(_) => Err(RecoveryError::Unfinished),
        }
    }

    /// Goes on with the scan up to the next batch.
    fn scan_on(&mut self) -> Option<(FrameHeader, Range<usize>)> {
        self.begin_scan();
        let Phase::Scan(scan) = &mut self.phase else {
            return None;
        };
        match scan.next() {
            Scanned::Read => None,
            Scanned::Batch(header, body) => {
                let bytes = scan.reader.body(body.clone());
                let ops = BatchRef::new(bytes);
                let Err(error) = ops.check() else {
                    if self.purpose == Purpose::Open && !self.repairing {
                        let (segment, end) = (scan.reader.segment, scan.reader.offset);
                        let offset = end - header.frame_bytes() + FRAME_HEADER_BYTES;
                        self.index.apply(header.shard, bytes, segment, offset);
                    }
                    return Some((header, body));
                };
                self.phase = Phase::Failed(RecoveryError::Batch {
                    file: FileName::Segment(scan.reader.segment),
                    offset: scan.reader.offset - header.frame_bytes(),
                    error,
                });
                None
            }
            Scanned::End(ScanEnd::Refused(error)) => {
                self.phase = Phase::Failed(error);
                None
            }
            Scanned::End(end) => {
                if let Phase::Scan(scan) = core::mem::replace(&mut self.phase, Phase::List) {
                    self.phase = Phase::Search(Box::new(Search::after(*scan, end, &self.survey)));
                }
                None
            }
        }
    }

    /// All headers are read.
    fn begin_scan(&mut self) {
        if !matches!(self.phase, Phase::Headers(index) if index >= self.survey.files.len()) {
            return;
        }
        self.phase = match self.survey.link() {
            Err(error) => Phase::Failed(error),
            Ok(()) => match Scan::new(self.survey.chain.clone()) {
                Some(scan) => Phase::Scan(Box::new(scan)),
                None => Phase::Search(Box::new(Search::without_log(&self.survey))),
            },
        };
    }

    /// Goes from a phase that is done to the next.
    fn conclude(&mut self) {
        self.begin_scan();
        while self.repairing && self.scan_on().is_some() {}
        let phase = core::mem::replace(&mut self.phase, Phase::List);
        self.phase = match phase {
            Phase::Search(mut search) => {
                if search.read().is_some() {
                    Phase::Search(search)
                } else {
                    self.judge(*search)
                }
            }
            Phase::Probe(probe) => {
                if probe.read().is_some() {
                    Phase::Probe(probe)
                } else {
                    self.probed(&probe)
                }
            }
            Phase::SetAside(mut aside) => {
                if aside.action().is_some() {
                    Phase::SetAside(aside)
                } else {
                    self.summary.lost.append(&mut aside.lost);
                    self.summary.copies.append(&mut aside.copies);
                    Phase::List
                }
            }
            Phase::Rewrite(mut rewrite) => {
                if rewrite.action().is_some() {
                    Phase::Rewrite(rewrite)
                } else if let Some(error) = rewrite.failure() {
                    Phase::Failed(error)
                } else {
                    self.summary.lost.append(&mut rewrite.lost);
                    self.summary.copies.push(rewrite.copy());
                    Phase::List
                }
            }
            Phase::Reopen(mut reopen) => {
                if reopen.action().is_some() {
                    Phase::Reopen(reopen)
                } else {
                    let why = reopen.gave_up().unwrap_or(RecoveryError::Unfinished);
                    reopen.finish().map_or(Phase::Failed(why), Phase::Opened)
                }
            }
            Phase::List
            | Phase::Headers(_)
            | Phase::Scan(_)
            | Phase::Opened(_)
            | Phase::Checked
            | Phase::Failed(_) => phase,
        };
    }

    /// Everything was read: is the log whole, torn or corrupt?
    fn judge(&mut self, mut search: Search) -> Phase {
        let Some(scan) = search.scan.take() else {
            return self.judge_empty(&search);
        };
        let damage = self.corruption(&scan, &search);
        if let Some((damage, plan)) = damage.or_else(|| self.unreadable(&scan, &search)) {
            return self.corrupt(damage, plan, &search.blank);
        }
        let found = scan.found;
        let file = FileName::Segment(scan.reader.segment);
        let is_torn = search.all.bytes > 0 || matches!(search.end, ScanEnd::Hole(_));
        self.summary = Summary {
            uuid: self.survey.uuid(),
            segments: (scan.index + 1).min(scan.chain.len()),
            batches: found.batches,
            bytes: found.bytes,
            last_lsn: found.expected_lsn.saturating_sub(1),
            durable_lsn: found.durable_lsn,
            end: if is_torn {
                LogEnd::Torn {
                    file,
                    offset: search.offset,
                    bytes: search.all.bytes,
                }
            } else if found.closed {
                LogEnd::Clean
            } else {
                LogEnd::Unclean
            },
            gaps: found.gaps,
            lost: core::mem::take(&mut self.summary.lost),
            copies: core::mem::take(&mut self.summary.copies),
            doubts: scan.doubts(),
            skipped: found.skipped,
            foreign_files: self.survey.foreign.clone(),
        };
        let mut past = Past {
            uuid: self.survey.uuid().unwrap_or(self.fresh_uuid),
            chain: scan.chain,
            end: (scan.reader.segment, search.offset),
            found,
            blank: search.blank,
            index: core::mem::take(&mut self.index),
        };
        past.chain.truncate(scan.index + 1);
        if lost::is_only_begun(&self.survey, &past.chain, past.found.expected_lsn) {
            past.chain.clear();
        }
        self.accept(past)
    }

    /// No segment has a header. A log that was never finished being made holds no frames.
    fn judge_empty(&mut self, search: &Search) -> Phase {
        if let Some(damage) = lost::damage(&self.survey, search) {
            if !self.repairing {
                return Phase::Failed(RecoveryError::Corrupt(damage));
            }
            let probe = Probe::new(damage, &search.used, self.fresh_uuid);
            if probe.read().is_none() {
                return self.probed(&probe);
            }
            return Phase::Probe(Box::new(probe));
        }
        self.summary.foreign_files.clone_from(&self.survey.foreign);
        self.accept(Past {
            uuid: self.fresh_uuid,
            chain: Vec::new(),
            end: (0, SEGMENT_HEADER_BYTES),
            found: scan::Found {
                expected_lsn: 1,
                ..scan::Found::default()
            },
            blank: search.blank.clone(),
            index: Index::default(),
        })
    }

    /// The log is whole, but for what was never promised.
    fn accept(&mut self, mut past: Past) -> Phase {
        if self.purpose != Purpose::Open {
            return Phase::Checked;
        }
        if self.repairing {
            self.repairing = false;
            return Phase::List;
        }
        if past.found.closed {
            // The mark has done its duty; its number is used again.
            past.found.expected_lsn -= 1;
        }
        Phase::Reopen(Box::new(Reopen::new(&self.config, &self.survey, past)))
    }

    fn corrupt(&self, damage: Damage, plan: Option<Plan>, blank: &[SegmentFile]) -> Phase {
        // Each repair mends at least one place for good; this bound is never met by a log.
        let tries_max = self.survey.files.len() * 4 + 16;
        match plan {
            Some(plan) if self.repairing && self.summary.lost.len() < tries_max => {
                let spares = self.survey.spares(blank, plan.header.number);
                Phase::Rewrite(Box::new(Rewrite::new(plan, spares)))
            }
            _ => Phase::Failed(RecoveryError::Corrupt(damage)),
        }
    }
}

impl Outstanding {
    const fn new(id: OperationId, action: &FileAction<'_>) -> Self {
        let read = if let FileAction::ReadAt { offset, bytes, .. } = *action {
            Some((offset, bytes))
        } else {
            None
        };
        Self {
            id,
            verb: action.verb(),
            file: action.file(),
            read,
        }
    }
}

impl RecoveryError {
    /// Whether the log could be opened if there were more space.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Io { failure, .. } if failure.kind == IoFailureKind::NoSpace)
    }

    /// Whether the log could be opened by a user who is allowed to.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Io { failure, .. } if failure.kind == IoFailureKind::Denied)
    }
}
