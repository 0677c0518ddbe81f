//! The log while the broker runs: batches in, file operations and durable positions out.
//!
//! ```text
//!  append ─► Queue ─► Flight ─► write ─► sync ─► Durable     one at a time; the queue fills
//!                        │
//!                        └ no room: the first spare becomes the segment, in the same write
//!  Upkeep: spares made ahead, seals written behind, old segments removed, between commits
//! ```
//!
//! Invariants: a frame's `durable_lsn` was synced before the frame was written; a segment is only
//! written to when all before it is synced (policy `always` and `interval`); nothing is reported
//! durable after a sync or write failed.

mod chain;
mod checkpoint;
mod outcome;
mod queue;
mod reads;
mod report;
mod upkeep;

pub(super) use chain::{Chain, Segment, Spare};
pub use reads::Loaded;
pub use report::{
    AppendError, Batch, LogEvent, Marker, Poison, Pressure, Shortage, Statistics, Warning,
};

use super::config::{LogConfig, SyncPolicy};
use super::frame::{
    FRAME_HEADER_BYTES, FrameHeader, FrameKind, LogUuid, SEGMENT_HEADER_BYTES, Seed, SegmentHeader,
    frame_bytes, stamp,
};
use super::index::Index;
use super::operation::{Completion, FileAction, FileName, IoFailure, Operation, OperationId};
use crate::time::Timestamp;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use checkpoint::{Checkpoint, Space};
use queue::{Positions, Queue};
use reads::{Read, Reads};
use upkeep::{Chore, Growth, Seal, SparePlan, Upkeep, file_bytes_for};

/// From so many bytes on a batch has company enough, whatever the window says.
const COMPANY_BYTES: usize = 1 << 20;

/// Room that is left at the end of a segment for its seal or the shutdown mark.
const RESERVE_BYTES: u64 = FRAME_HEADER_BYTES;

/// An open log. Comes from [`Recovery::into_engine`](super::Recovery::into_engine), also for a new
/// one.
///
/// # Contract
///
/// 1. Any number of inputs ([`append`](Self::append), [`advance`](Self::advance),
///    [`set_live_bytes`](Self::set_live_bytes)) may come at any time.
/// 2. [`poll_operation`](Self::poll_operation) gives at most one operation; carry it out, then call
///    [`completed`](Self::completed) with its id. `None` means: nothing to do until the next input
///    or [`next_deadline`](Self::next_deadline).
/// 3. Drain [`poll_event`](Self::poll_event) before each operation is carried out, so that
///    acknowledgements leave before upkeep begins, and when there is none to carry out.
/// 4. What was appended between two operations is committed together: batching needs no timer.
/// 5. After [`LogEvent::Poisoned`] there is never another operation or durable position. End the
///    process and recover.
#[derive(Debug)]
pub struct Engine {
    config: LogConfig,
    uuid: LogUuid,
    chain: Chain,
    /// Where the next frame goes in the current segment.
    tail: u64,
    queue: Queue,
    flight: Flight,
    /// The number of the next frame.
    next_lsn: u64,
    synced_lsn: u64,
    /// Everything written is being synced; no write until that is done.
    syncing: bool,
    /// When the interval ends that began with the first unsynced write.
    sync_at: Option<Timestamp>,
    /// Until when what is queued waits for company.
    window_ends: Option<Timestamp>,
    /// A write found no space, or neither it nor its sync a descriptor. It is repeated, unchanged
    /// and in its place, once there is some.
    write_blocked: bool,
    /// The queue cannot go anywhere until there is a spare that is long enough.
    queue_blocked: bool,
    upkeep: Upkeep,
    seal: Vec<u8>,
    checkpoint: Checkpoint,
    index: Index,
    reads: Reads,
    positions: Positions,
    /// Written and not yet reported.
    unreported: Positions,
    ending: Ending,
    outstanding: Option<(OperationId, Step)>,
    operation_count: u64,
    events: VecDeque<LogEvent>,
    pressure: Pressure,
    statistics: Statistics,
    now: Timestamp,
}

/// A group of frames on its way to the disk.
#[derive(Debug, Default)]
struct Flight {
    loaded: bool,
    bytes: Vec<u8>,
    segment: u64,
    offset: u64,
    /// The last frame that ever boarded.
    last_lsn: u64,
    /// This write begins a segment: the one before gets its seal.
    seal: Option<Seal>,
}

/// Where the outstanding operation belongs.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write,
    Sync(u64),
    Read(Read),
    Chore(Chore),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Open,
    /// No more batches; commit what is queued.
    Closing,
    /// The shutdown mark is on its way.
    Marking,
    Closed,
    Poisoned,
}

/// Where a recovered log goes on.
#[derive(Debug)]
pub(super) struct Reopened {
    pub(super) uuid: LogUuid,
    pub(super) chain: Chain,
    pub(super) tail: u64,
    pub(super) last_lsn: u64,
    /// Bytes of frames since the last whole checkpoint began.
    pub(super) since_checkpoint_bytes: u64,
    /// Bytes of frames that checkpoint wrote.
    pub(super) checkpoint_bytes: u64,
    /// Where what is read back lies.
    pub(super) index: Index,
}

impl Engine {
    pub(super) fn reopen(config: LogConfig, log: Reopened) -> Self {
        let shards = usize::from(config.shards);
        Self {
            checkpoint: Checkpoint::new(log.since_checkpoint_bytes, log.checkpoint_bytes),
            config,
            uuid: log.uuid,
            chain: log.chain,
            tail: log.tail,
            queue: Queue::default(),
            flight: Flight {
                last_lsn: log.last_lsn,
                ..Flight::default()
            },
            next_lsn: log.last_lsn + 1,
            synced_lsn: log.last_lsn,
            syncing: false,
            sync_at: None,
            window_ends: None,
            write_blocked: false,
            queue_blocked: false,
            upkeep: Upkeep::default(),
            seal: Vec::new(),
            index: log.index,
            reads: Reads::default(),
            positions: vec![None; shards],
            unreported: vec![None; shards],
            ending: Ending::Open,
            outstanding: None,
            operation_count: 0,
            events: VecDeque::new(),
            pressure: Pressure::None,
            statistics: Statistics::default(),
            now: Timestamp::default(),
        }
    }

    /// Takes a batch. It is written with the next commit; [`LogEvent::Durable`] tells when it is
    /// kept.
    ///
    /// # Errors
    ///
    /// All are the caller's fault, but for [`AppendError::Poisoned`]. The batch was not taken.
    pub fn append(&mut self, batch: Batch<'_>) -> Result<(), AppendError> {
        match self.ending {
            Ending::Open => {}
            Ending::Poisoned => return Err(AppendError::Poisoned),
            Ending::Closing | Ending::Marking | Ending::Closed => return Err(AppendError::Closed),
        }
        let body_bytes = u32::try_from(batch.ops.len()).map_err(|_| AppendError::TooLarge)?;
        if body_bytes > self.config.batch_bytes_max {
            return Err(AppendError::TooLarge);
        }
        let last = self
            .positions
            .get_mut(usize::from(batch.shard))
            .ok_or(AppendError::Shard)?;
        if last.is_some_and(|last| batch.position <= last) {
            return Err(AppendError::Position);
        }
        *last = Some(batch.position);
        let lsn = self.next_lsn;
        let header = FrameHeader {
            body_bytes,
            marker: batch.marker,
            shard: batch.shard,
            ..FrameHeader::control(FrameKind::BATCH, lsn, batch.position.0)
        };
        self.push(&header, batch.ops);
        self.statistics.batches += 1;
        self.statistics.payload_bytes += u64::from(body_bytes);
        if self.config.sync_window_ms > 0 && self.window_ends.is_none() {
            self.window_ends = Some(self.now.after_ms(self.config.sync_window_ms));
        }
        let ended = self.checkpoint.appended(
            lsn,
            frame_bytes(body_bytes),
            batch.marker,
            self.config.shards,
        );
        if let Some(ended) = ended {
            let header = FrameHeader {
                body_bytes: 8,
                ..FrameHeader::control(FrameKind::CHECKPOINT, self.next_lsn, ended.begin_lsn)
            };
            self.push(&header, &ended.bytes.to_le_bytes());
        }
        self.consider_checkpoint();
        Ok(())
    }

    /// Tells how many bytes of batches a checkpoint would write now, roughly. Without it the log
    /// only knows what the last one wrote. Sizes the reserve and the pace of checkpoints.
    pub fn set_live_bytes(&mut self, bytes: u64) {
        self.checkpoint.set_live_bytes(bytes);
        self.settle();
    }

    /// Time passed. `now` never goes backwards.
    pub fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        if self.upkeep.retry_at.is_some_and(|at| at <= self.now) {
            self.retry_now();
        }
    }

    /// When to call [`advance`](Self::advance) at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if matches!(self.ending, Ending::Closed | Ending::Poisoned) {
            return None;
        }
        let window_ends = self.window_ends.filter(|at| *at > self.now);
        let due = self.sync_at.into_iter().chain(self.upkeep.retry_at);
        due.chain(window_ends).min()
    }

    /// No more batches: commits what is queued, then marks the log as closed in order.
    /// [`LogEvent::Closed`] follows, unless the log is poisoned or the disk stays full.
    pub fn close(&mut self) {
        if self.ending == Ending::Open {
            self.ending = Ending::Closing;
        }
    }

    /// The next fact for the broker.
    pub fn poll_event(&mut self) -> Option<LogEvent> {
        self.events.pop_front()
    }

    /// The next operation; `None` while one is being carried out, or when there is nothing to do.
    pub fn poll_operation(&mut self) -> Option<Operation<'_>> {
        if self.outstanding.is_some() {
            return None;
        }
        let Some(step) = self.next_step() else {
            self.settle();
            return None;
        };
        self.operation_count += 1;
        let id = OperationId(self.operation_count);
        self.outstanding = Some((id, step));
        Some(Operation {
            id,
            action: self.action(step),
        })
    }

    /// The operation `id` was carried out, or failed. An id that is not the outstanding one is
    /// ignored.
    pub fn completed(&mut self, id: OperationId, result: Result<Completion<'_>, IoFailure>) {
        let expected = |(outstanding, _): &mut (OperationId, Step)| *outstanding == id;
        let Some((_, step)) = self.outstanding.take_if(expected) else {
            return;
        };
        match (step, result) {
            (Step::Read(read), result) => self.was_read(read, result),
            (_, Ok(_)) => self.succeeded(step),
            (_, Err(failure)) => self.failed(step, failure),
        }
        self.settle();
    }

    /// Counters, and what the log amounts to now.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            segments: self.chain.segment_count(),
            spares: self.chain.spare_count(),
            used_bytes: self.chain.used_bytes(),
            queued_bytes: self.queue.bytes(),
            last_lsn: self.next_lsn - 1,
            synced_lsn: self.synced_lsn,
            loss_window_ms: self.config.sync.loss_window_ms(),
            ..self.statistics
        }
    }

    /// Names this log in all its segments.
    #[must_use]
    pub const fn uuid(&self) -> LogUuid {
        self.uuid
    }

    fn push(&mut self, header: &FrameHeader, body: &[u8]) {
        self.queue.push(header, body);
        self.next_lsn += 1;
    }

    // What to do next.

    fn next_step(&mut self) -> Option<Step> {
        if matches!(self.ending, Ending::Closed | Ending::Poisoned) {
            return None;
        }
        if !self.flight.loaded && !self.syncing {
            self.syncing = self.is_sync_due();
        }
        if self.syncing
            && let Some(number) = self.chain.first_unsynced()
        {
            // One that could not be tried is waited for, and everything behind it.
            return (!self.write_blocked).then_some(Step::Sync(number));
        }
        if self.flight.loaded && !self.write_blocked {
            return Some(Step::Write);
        }
        if let Some(read) = self.reads.next_in_turn(&self.index) {
            return Some(Step::Read(read));
        }
        if !self.flight.loaded
            && let Some(step) = self.next_commit()
        {
            return Some(step);
        }
        let plan = self.spare_plan();
        let idle = matches!(self.ending, Ending::Open) || self.write_blocked || self.queue_blocked;
        let chore = if idle { self.upkeep.next(plan) } else { None };
        let Some(chore) = chore else {
            return self.reads.next(&self.index).map(Step::Read);
        };
        if let Chore::WriteSeal(seal) = chore {
            self.encode_seal(seal);
        }
        Some(Step::Chore(chore))
    }

    /// What the policy does not sync after each write.
    fn is_sync_due(&self) -> bool {
        if self.chain.first_unsynced().is_none() {
            return false;
        }
        let closing = self.ending == Ending::Closing && self.queue.is_empty();
        let awaited = self.config.sync == SyncPolicy::Never
            && self
                .checkpoint
                .awaited_lsn()
                .is_some_and(|lsn| lsn <= self.flight.last_lsn);
        closing || awaited || self.sync_at.is_some_and(|at| at <= self.now)
    }

    fn next_commit(&mut self) -> Option<Step> {
        if self.queue.is_empty() && self.ending == Ending::Closing {
            let mark = FrameHeader::control(FrameKind::SHUTDOWN, self.next_lsn, 0);
            self.push(&mark, &[]);
            self.ending = Ending::Marking;
        }
        self.queue_blocked = false;
        if self.queue.is_empty() || self.waits_for_company() {
            return None;
        }
        let plan = self.spare_plan();
        if self.upkeep.is_urgent()
            && self.ending == Ending::Open
            && let Some(chore) = self.upkeep.next(plan)
        {
            if let Chore::WriteSeal(seal) = chore {
                self.encode_seal(seal);
            }
            return Some(Step::Chore(chore));
        }
        self.board()
    }

    /// Whether what is queued is held back. Not what a checkpoint writes, which takes its next step
    /// when this one is durable.
    fn waits_for_company(&self) -> bool {
        self.ending == Ending::Open
            && self.window_ends.is_some_and(|at| at > self.now)
            && self.queue.bytes() < COMPANY_BYTES
            && !self.checkpoint.is_running()
    }

    /// Loads the flight with what fits where it goes.
    fn board(&mut self) -> Option<Step> {
        let current = self.chain.current();
        let reserve = if self.ending == Ending::Marking {
            0
        } else {
            RESERVE_BYTES
        };
        let room = current.file_bytes.saturating_sub(self.tail + reserve);
        if self.queue.first_bytes() <= room {
            self.load(current.number, self.tail, room);
            return Some(Step::Write);
        }
        let Some(spare) = self.chain.first_spare() else {
            self.queue_blocked = true;
            return None;
        };
        let needed = file_bytes_for(self.queue.first_bytes(), RESERVE_BYTES);
        if needed > spare.file_bytes {
            self.queue_blocked = true;
            self.grow(spare, needed);
            return None;
        }
        if self.config.sync != SyncPolicy::Never && !current.synced {
            self.syncing = true;
            return Some(Step::Sync(current.number));
        }
        self.rotate(current)
    }

    fn rotate(&mut self, current: Segment) -> Option<Step> {
        let base_lsn = self.flight.last_lsn + 1;
        let next = self.chain.rotate(base_lsn)?;
        let header = SegmentHeader {
            uuid: self.uuid,
            number: next.number,
            previous: current.number,
            base_lsn,
            durable_lsn: self.synced_lsn,
            file_bytes: match self.config.sync {
                SyncPolicy::Always | SyncPolicy::Interval { .. } => next.file_bytes,
                SyncPolicy::Never => 0,
            },
            gap_before: false,
        };
        header.encode(&mut self.flight.bytes);
        self.flight.seal = Some(Seal {
            segment: current.number,
            offset: self.tail,
            next,
        });
        let room = next.file_bytes - SEGMENT_HEADER_BYTES - RESERVE_BYTES;
        self.load(next.number, 0, room);
        Some(Step::Write)
    }

    fn load(&mut self, segment: u64, offset: u64, room: u64) {
        let flight = &mut self.flight;
        let header = flight.bytes.len();
        let last = self
            .queue
            .take(room, &mut flight.bytes, &mut self.unreported);
        flight.last_lsn = last.unwrap_or(flight.last_lsn);
        if self.queue.is_empty() {
            self.window_ends = None;
        }
        flight.loaded = true;
        flight.segment = segment;
        flight.offset = offset;
        self.tail = offset + flight.bytes.len() as u64;
        let seed = Seed::new(self.uuid, segment);
        let frames_at = offset + header as u64;
        stamp(
            &mut flight.bytes[header..],
            seed,
            frames_at,
            self.synced_lsn,
        );
    }

    fn grow(&mut self, spare: Spare, file_bytes: u64) {
        if self.upkeep.retry_at.is_some() {
            return;
        }
        if self.is_within_quota(file_bytes - spare.file_bytes) {
            self.upkeep.grow(Growth { spare, file_bytes });
        } else {
            self.give_up_spare(Shortage::Quota);
        }
    }

    /// There is no room for the first spare to grow: another one makes some.
    fn give_up_spare(&mut self, why: Shortage) {
        if self.upkeep.is_making_spare() {
            self.upkeep.abandon_spare();
        } else if let Some(spare) = self.chain.give_up_spare() {
            self.upkeep.remove(spare);
        } else {
            self.upkeep.found_no_space(self.now, why);
        }
    }

    fn encode_seal(&mut self, seal: Seal) {
        self.seal.clear();
        seal.frame().encode(&[], &mut self.seal);
        let seed = Seed::new(self.uuid, seal.segment);
        stamp(&mut self.seal, seed, seal.offset, self.synced_lsn);
    }

    fn action(&self, step: Step) -> FileAction<'_> {
        match step {
            Step::Write => FileAction::WriteAt {
                file: FileName::Segment(self.flight.segment),
                offset: self.flight.offset,
                bytes: &self.flight.bytes,
            },
            Step::Sync(number) => FileAction::Sync {
                file: FileName::Segment(number),
            },
            Step::Read(read) => read.action(),
            Step::Chore(chore) => chore.action(&self.seal),
        }
    }

    // Space.

    const fn retry_now(&mut self) {
        self.upkeep.retry_now();
        self.write_blocked = false;
        self.reads.blocked = false;
    }

    fn is_within_quota(&self, more_bytes: u64) -> bool {
        let used = self.chain.used_bytes().saturating_add(more_bytes);
        self.config.quota_bytes.is_none_or(|quota| used <= quota)
    }

    /// One spare for the log to go on, and as many as a checkpoint would fill and what may come
    /// before nothing comes any more.
    fn spares_wanted(&self) -> usize {
        let checkpoint = self.checkpoint.size_bytes();
        let reserve = checkpoint.saturating_add(self.config.burst_bytes);
        let segments = reserve.div_ceil(self.segment_capacity());
        usize::try_from(segments).map_or(usize::MAX, |segments| segments.saturating_add(1))
    }

    /// Bytes of frames that a segment holds.
    const fn segment_capacity(&self) -> u64 {
        self.config.segment_bytes - SEGMENT_HEADER_BYTES - RESERVE_BYTES
    }

    /// Bytes of frames that could be appended now and find a place that is ready.
    fn room_bytes(&self) -> u64 {
        let spares = self.chain.spare_count() as u64;
        let current = self.chain.current().file_bytes;
        let room = spares.saturating_mul(self.segment_capacity());
        let room = room.saturating_add(current.saturating_sub(self.tail + RESERVE_BYTES));
        room.saturating_sub(self.queue.bytes() as u64)
    }

    /// What the spares would take that are not there, or not yet whole.
    fn missing_bytes(&self) -> u64 {
        let missing = self
            .spares_wanted()
            .saturating_sub(self.chain.spare_count());
        let bytes = (missing as u64).saturating_mul(self.config.segment_bytes);
        bytes.saturating_sub(self.upkeep.making_bytes())
    }

    fn spare_plan(&self) -> SparePlan {
        let missing = self.chain.spare_count() < self.spares_wanted();
        SparePlan {
            next_number: self.chain.next_number(),
            file_bytes: self.config.segment_bytes,
            wanted: missing && self.is_within_quota(self.config.segment_bytes),
            unsynced: self.config.sync == SyncPolicy::Never,
        }
    }

    /// Draws the conclusions that depend on the whole.
    fn settle(&mut self) {
        if matches!(self.ending, Ending::Closed | Ending::Poisoned) {
            return;
        }
        let complete = self.chain.spare_count() >= self.spares_wanted();
        let stuck = self.write_blocked || self.queue_blocked;
        if complete && !stuck && !self.reads.blocked {
            self.upkeep.found_space();
        } else if !complete && !self.is_within_quota(self.missing_bytes()) {
            // What was found to be short first is the reason, until there is enough.
            self.upkeep.short.get_or_insert(Shortage::Quota);
        }
        let pressure = match (self.upkeep.short, stuck) {
            (None, _) => Pressure::None,
            (Some(why), false) => Pressure::High(why),
            (Some(why), true) => Pressure::Full(why),
        };
        if pressure != self.pressure {
            self.pressure = pressure;
            self.events.push_back(LogEvent::Pressure(pressure));
        }
        self.consider_checkpoint();
    }

    fn consider_checkpoint(&mut self) {
        let needed = self.checkpoint.size_bytes();
        let space = match self.room_bytes().checked_sub(needed) {
            _ if self.upkeep.short.is_none() => Space::Enough,
            // A checkpoint that does not fit would only take the last of the space.
            None => Space::TooShort,
            Some(left) if left < self.segment_capacity() => Space::Shortest,
            Some(_) => Space::Short,
        };
        if self.checkpoint.want(&self.config, &self.chain, space) {
            self.events.push_back(LogEvent::CheckpointWanted);
        }
    }
}
