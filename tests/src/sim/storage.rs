//! The log of the broker on a disk that takes its time and does not always do what it is told.

use super::chance::Chance;
use super::counts::Counts;
use super::defect::{Defect, Mischief};
use super::options::DiskFaults;
use crate::disk::{CrashStyle, Disk};
use whimbrel_core::Timestamp;
use whimbrel_core::action;
use whimbrel_core::id::MessageId;
use whimbrel_core::log::{
    AppendError, Batch, Completion, Engine, FileAction, IoFailure, IoFailureKind, Loaded,
    LogConfig, LogEvent, LogUuid, OperationId, Recovery,
};
use whimbrel_core::restore::Restorer;

/// What the log does at once for its segments, where operations take no time, is so many of them
/// for each segment that there is. What is live fits into what there is, and a checkpoint takes as
/// much and half of it again (`docs/log-format.md`). So of ten segments
///
/// - all ten are removed,
/// - fifteen are grown, written and sealed, and synced each time: six operations each,
/// - thirty are made, for those and to be ready: created, filled with zeros, synced, and named.
///
/// What follows from messages instead, such as other batches and what is read back, is not in this.
/// `tests/log`, `a_checkpoint_costs_so_many_operations_a_segment`, holds the log against it.
pub const UPKEEP_PER_SEGMENT: u64 = 1 + 6 * 3 / 2 + 4 * 3;

/// An operation that the disk is busy with.
struct Busy {
    id: OperationId,
    action: FileAction<'static>,
    /// What is written, for the one operation that has something to write.
    bytes: Vec<u8>,
    until: u64,
}

impl Busy {
    fn new(id: OperationId, action: &FileAction<'_>, until: u64) -> Self {
        let (action, bytes) = match *action {
            FileAction::WriteAt {
                file,
                offset,
                bytes,
            } => {
                let action = FileAction::WriteAt {
                    file,
                    offset,
                    bytes: &[],
                };
                (action, bytes.to_vec())
            }
            FileAction::List => (FileAction::List, Vec::new()),
            FileAction::Create { file } => (FileAction::Create { file }, Vec::new()),
            FileAction::ReadAt {
                file,
                offset,
                bytes,
            } => (
                FileAction::ReadAt {
                    file,
                    offset,
                    bytes,
                },
                Vec::new(),
            ),
            FileAction::ZeroAt {
                file,
                offset,
                bytes,
            } => (
                FileAction::ZeroAt {
                    file,
                    offset,
                    bytes,
                },
                Vec::new(),
            ),
            FileAction::Sync { file } => (FileAction::Sync { file }, Vec::new()),
            FileAction::SyncDirectory => (FileAction::SyncDirectory, Vec::new()),
            FileAction::SetLength { file, bytes } => {
                (FileAction::SetLength { file, bytes }, Vec::new())
            }
            FileAction::Rename { from, to } => (FileAction::Rename { from, to }, Vec::new()),
            FileAction::Link { from, to } => (FileAction::Link { from, to }, Vec::new()),
            FileAction::Remove { file } => (FileAction::Remove { file }, Vec::new()),
        };
        Self {
            id,
            action,
            bytes,
            until,
        }
    }

    fn action(&self) -> FileAction<'_> {
        match self.action {
            FileAction::WriteAt { file, offset, .. } => FileAction::WriteAt {
                file,
                offset,
                bytes: &self.bytes,
            },
            other => other,
        }
    }
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The process dies; the system keeps what it was given.
    Killed,
    /// The machine stops.
    PowerCut(CrashStyle),
}

/// An open log.
pub(super) struct Storage {
    engine: Engine,
    disk: Disk,
    busy: Option<Busy>,
    /// Reads that were made to fail.
    misread_count: u64,
    /// What each shard has to keep.
    live_bytes: Vec<u64>,
    segment_bytes: u64,
    /// An instant, and what the files of the log took when it began.
    begun: (u64, u64),
}

/// Why a log did not open.
#[derive(Debug)]
pub(super) enum Closed {
    /// The machine stopped once more, or the disk did not do what it was told: to be tried again.
    Again(Disk),
    /// Not explained by anything that was injected.
    Refused(String),
}

impl Storage {
    /// Reads what a disk has. Faults may strike while it is being read.
    pub(super) fn open(
        config: &LogConfig,
        mut disk: Disk,
        (faults, budget_bytes): (DiskFaults, u64),
        chance: &mut Chance,
        counts: &mut Counts,
        mischief: &mut Mischief,
    ) -> Result<(Self, Restorer), Closed> {
        let mut recovery = Recovery::open(config.clone(), LogUuid(*b"whimbrel-sim-log"));
        let mut batches: Vec<Vec<u8>> = Vec::new();
        let strikes = faults.in_recovery_one_in > 0 && chance.one_in(faults.in_recovery_one_in);
        let strike_at = disk.step_count + chance.below(40);
        let is_crash = chance.one_in(2);
        if strikes && !is_crash {
            disk.fail(strike_at, IoFailureKind::Other);
        }
        loop {
            while let Some(recovered) = recovery.poll_batch() {
                batches.push(recovered.batch.ops.to_vec());
            }
            let Some(operation) = recovery.poll_operation() else {
                break;
            };
            if strikes && is_crash && disk.step_count == strike_at {
                counts.fault("crash in recovery");
                let seed = chance.number();
                return Err(Closed::Again(disk.crash(
                    Some(&operation.action),
                    CrashStyle::Mixed,
                    seed,
                )));
            }
            let id = operation.id;
            let result = disk.run(&operation.action);
            recovery.completed(id, result);
        }
        let has_failed = strikes && !is_crash && disk.step_count > strike_at;
        disk.heal();
        let mut engine = match recovery.into_engine() {
            Ok((engine, _)) => engine,
            Err(_) if has_failed || disk.capacity_bytes.is_some() => {
                counts.fault("disk error in recovery");
                return Err(Closed::Again(disk));
            }
            Err(error) => return Err(Closed::Refused(error.to_string())),
        };
        mischief.recovered(&mut batches);
        let mut restorer = Restorer::within(budget_bytes);
        for operations in &batches {
            if let Err(error) = restorer.apply(operations) {
                return Err(Closed::Refused(error.to_string()));
            }
        }
        let wanted = restorer.wanted();
        for id in &wanted {
            engine.read_back(0, *id);
        }
        for _ in wanted {
            let loaded = loop {
                if let Some(loaded) = engine.poll_loaded() {
                    break loaded;
                }
                let Some(operation) = engine.poll_operation() else {
                    return Err(Closed::Refused("the log does not answer".into()));
                };
                let (id, result) = (operation.id, disk.run(&operation.action));
                engine.completed(id, result);
            };
            let value = loaded.value.unwrap_or_default();
            if !restorer.supply(loaded.message, &value) {
                return Err(Closed::Refused("what is retained is not readable".into()));
            }
        }
        let storage = Self {
            engine,
            disk,
            busy: None,
            misread_count: 0,
            live_bytes: vec![0; usize::from(config.shards)],
            segment_bytes: config.segment_bytes,
            begun: (u64::MAX, 0),
        };
        Ok((storage, restorer))
    }

    /// Takes a batch of a shard.
    pub(super) fn append(&mut self, shard: usize, batch: &action::Batch) {
        self.live_bytes[shard] = batch.live_bytes;
        self.engine.set_live_bytes(self.live_bytes.iter().sum());
        let taken = self.engine.append(Batch {
            shard: u16::try_from(shard).expect("few shards"),
            position: batch.position,
            marker: batch.mark.into(),
            ops: &batch.operations,
        });
        // A poisoned log takes none; it has said so.
        assert!(matches!(taken, Ok(()) | Err(AppendError::Poisoned)));
    }

    /// Ends the operation whose time has come, and begins the next.
    pub(super) fn work(&mut self, now: u64, started_at: u64, desk: &mut Desk<'_>) {
        if self.begun.0 != now {
            self.begun = (now, self.engine.statistics().used_bytes);
        }
        self.engine.advance(Timestamp(now - started_at));
        if self.busy.as_ref().is_some_and(|busy| busy.until <= now)
            && let Some(busy) = self.busy.take()
        {
            let is_read = matches!(busy.action, FileAction::ReadAt { .. });
            if is_read && self.misreads(&busy, desk) {
                return;
            }
            if desk.faults.error_one_in > 0
                && !is_read
                && desk.chance.one_in(desk.faults.error_one_in)
            {
                let step = self.disk.step_count;
                self.disk.fail(step, IoFailureKind::Other);
                desk.counts.fault("disk error");
            }
            let result = self.carry_out(&busy, desk);
            if result == Err(NO_SPACE) {
                desk.counts.fault("disk full");
            }
        }
        if self.busy.is_none()
            && let Some(operation) = self.engine.poll_operation()
        {
            let lags = desk.faults.lag_one_in > 0 && desk.chance.one_in(desk.faults.lag_one_in);
            let ms = if lags {
                desk.counts.fault("disk lags");
                desk.chance.between(100, 3_000)
            } else {
                desk.chance.between(0, desk.faults.operation_ms)
            };
            self.busy = Some(Busy::new(operation.id, &operation.action, now + ms));
        }
    }

    /// Gives an error in place of what is read, or other bytes, if it is time for that.
    fn misreads(&mut self, busy: &Busy, desk: &mut Desk<'_>) -> bool {
        let one_in = desk.faults.reads_one_in;
        if one_in == 0 || !desk.chance.one_in(one_in) {
            return false;
        }
        desk.counts.fault("read error");
        self.misread_count += 1;
        let mut bytes = match self.disk.run(&busy.action()) {
            Ok(Completion::Read(bytes)) => bytes.to_vec(),
            _ => Vec::new(),
        };
        let is_other = desk.chance.one_in(2) && !bytes.is_empty();
        let result = if is_other {
            let place = desk.chance.below(bytes.len() as u64) as usize;
            bytes[place] ^= 1 << desk.chance.below(8);
            Ok(Completion::Read(&bytes))
        } else {
            Err(IoFailure {
                kind: IoFailureKind::Other,
                code: None,
            })
        };
        self.engine.completed(busy.id, result);
        true
    }

    /// Reads that were made to fail, since this was asked last.
    pub(super) const fn take_misreads(&mut self) -> u64 {
        core::mem::replace(&mut self.misread_count, 0)
    }

    fn carry_out(&mut self, busy: &Busy, desk: &mut Desk<'_>) -> Result<(), IoFailure> {
        let is_sync = matches!(busy.action, FileAction::Sync { .. });
        if is_sync && desk.mischief.strikes(Defect::SyncIsALie) {
            self.engine.completed(busy.id, Ok(Completion::Done));
            return Ok(());
        }
        let result = self.disk.run(&busy.action());
        let outcome = result.map(|_| ());
        self.engine.completed(busy.id, result);
        outcome
    }

    /// Asks for a message.
    pub(super) fn load(&mut self, shard: usize, message: MessageId) {
        let shard = u16::try_from(shard).expect("few shards");
        self.engine.read_back(shard, message);
    }

    pub(super) fn poll_loaded(&mut self) -> Option<Loaded> {
        self.engine.poll_loaded()
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.busy.is_none()
    }

    pub(super) fn poll_event(&mut self) -> Option<LogEvent> {
        self.engine.poll_event()
    }

    pub(super) fn next_at(&self, started_at: u64) -> Option<u64> {
        let busy = self.busy.as_ref().map(|busy| busy.until);
        let deadline = self.engine.next_deadline().map(|at| at.0 + started_at);
        busy.into_iter().chain(deadline).min()
    }

    /// How many operations may be for the segments alone since this instant began. It depends on
    /// what there was then: nothing that goes round in circles can earn itself more.
    pub(super) const fn upkeep_maximum(&self) -> u64 {
        self.begun.1.div_ceil(self.segment_bytes) * UPKEEP_PER_SEGMENT
    }

    /// From now on all files together may take so much; `None`: as much as they like.
    pub(super) fn set_capacity(&mut self, spare_bytes: Option<usize>) {
        let used = self.disk.used_bytes();
        self.disk.capacity_bytes = spare_bytes.map(|spare| used + spare);
    }

    /// The process ends. Gives the disk as it is found afterwards.
    pub(super) fn end(mut self, ending: Ending, chance: &mut Chance) -> Disk {
        self.disk.heal();
        match ending {
            Ending::Killed => {
                // The system may have been given the operation under way, or not.
                if let Some(busy) = self.busy.take().filter(|_| chance.one_in(2)) {
                    let _ = self.disk.run(&busy.action());
                }
                self.disk
            }
            Ending::PowerCut(style) => {
                let action = self.busy.as_ref().map(Busy::action);
                self.disk.crash(action.as_ref(), style, chance.number())
            }
        }
    }
}

const NO_SPACE: IoFailure = IoFailure {
    kind: IoFailureKind::NoSpace,
    code: None,
};

/// What working on a disk involves beside the disk.
pub(super) struct Desk<'a> {
    pub(super) faults: DiskFaults,
    pub(super) chance: &'a mut Chance,
    pub(super) counts: &'a mut Counts,
    pub(super) mischief: &'a mut Mischief,
}
