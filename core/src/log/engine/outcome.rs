//! What follows from an operation that was carried out, or was not.

use super::chain::Spare;
use super::upkeep::Chore;
use super::{Ending, Engine, LogEvent, Poison, RESERVE_BYTES, Shortage, Step, Warning};
use crate::log::config::SyncPolicy;
use crate::log::frame::Seed;
use crate::log::operation::{IoFailure, IoFailureKind};

impl Engine {
    pub(super) fn succeeded(&mut self, step: Step) {
        match step {
            Step::Write => self.written(),
            Step::Sync(number) => {
                self.statistics.syncs += 1;
                self.chain.set_synced(number);
                if self.chain.first_unsynced().is_none() {
                    self.synced();
                }
            }
            Step::Chore(chore) => self.chore_done(chore),
            Step::Read(_) => {}
        }
    }

    fn written(&mut self) {
        let bytes = self.flight.bytes.len() as u64;
        self.statistics.writes += 1;
        self.statistics.wrote(self.flight.offset, bytes);
        let (segment, offset) = (self.flight.segment, self.flight.offset);
        let seed = Seed::new(self.uuid, segment);
        self.index
            .apply_write(seed, segment, offset, &self.flight.bytes);
        self.flight.bytes.clear();
        self.flight.loaded = false;
        self.chain.set_current_synced(false);
        if let Some(seal) = self.flight.seal.take() {
            self.upkeep.seal(seal);
        }
        if self.chain.spare_count() == 0 {
            self.upkeep.earn(bytes);
        }
        match self.config.sync {
            SyncPolicy::Always => self.syncing = true,
            SyncPolicy::Interval { ms } => {
                let interval_end = self.now.after_ms(ms);
                self.sync_at = self.sync_at.or(Some(interval_end));
                self.report_durable();
            }
            SyncPolicy::Never => self.report_durable(),
        }
        self.syncing |= self.ending == Ending::Marking;
    }

    /// Everything written is on stable storage.
    fn synced(&mut self) {
        self.syncing = false;
        self.sync_at = None;
        self.synced_lsn = self.flight.last_lsn;
        self.report_durable();
        if let Some(begin_lsn) = self.checkpoint.synced(self.synced_lsn) {
            let mut retired = 0;
            while let Some(segment) = self.chain.retire_before(begin_lsn) {
                self.upkeep.remove(segment);
                retired += 1;
            }
            self.checkpoint.removed(self.chain.segment_bytes());
            self.events.push_back(LogEvent::Checkpointed {
                segments_removed: retired,
            });
        }
        if self.ending == Ending::Marking && self.queue.is_empty() {
            self.ending = Ending::Closed;
            self.events.push_back(LogEvent::Closed);
        }
    }

    fn report_durable(&mut self) {
        for (shard, position) in (0..).zip(&mut self.unreported) {
            if let Some(position) = position.take() {
                self.events.push_back(LogEvent::Durable { shard, position });
            }
        }
    }

    fn chore_done(&mut self, chore: Chore) {
        match chore {
            Chore::WriteSeal(seal) => self.statistics.wrote(seal.offset, RESERVE_BYTES),
            Chore::Remove(segment) => {
                self.chain.free_space(segment.file_bytes);
                self.retry_now();
            }
            Chore::Grow(growth) => {
                let grown = growth.file_bytes - growth.spare.file_bytes;
                self.statistics.prepared(growth.spare.file_bytes, grown);
            }
            Chore::SyncGrowth(growth) => {
                self.statistics.upkeep_syncs += 1;
                self.chain.grow_first_spare(growth.file_bytes);
            }
            Chore::ZeroSpare { offset, bytes, .. } => {
                self.statistics.prepared(offset, bytes);
                self.chain.take_space(bytes);
            }
            Chore::SyncSpareName(number) => {
                self.statistics.upkeep_syncs += 1;
                self.chain.add_spare(Spare {
                    number,
                    file_bytes: self.config.segment_bytes,
                });
            }
            Chore::AbandonSpare { bytes, .. } => self.chain.free_space(bytes),
            Chore::SyncSeal(_) | Chore::SyncRemovals | Chore::SyncSpare(_) => {
                self.statistics.upkeep_syncs += 1;
            }
            Chore::CreateSpare(_) => {}
        }
        let plan = self.spare_plan();
        self.upkeep.completed(chore, plan);
    }

    pub(super) fn failed(&mut self, step: Step, failure: IoFailure) {
        let no_space = failure.kind == IoFailureKind::NoSpace;
        match step {
            // Nothing of it was promised: the same bytes go to the same place later.
            Step::Write if no_space => {
                self.write_blocked = true;
                self.upkeep.found_no_space(self.now, Shortage::Disk);
            }
            _ if failure.kind == IoFailureKind::NoDescriptor => self.not_tried(step, failure),
            Step::Chore(chore) => self.chore_failed(chore, step, failure),
            Step::Write | Step::Sync(_) | Step::Read(_) => self.poison(step, failure),
        }
    }

    fn chore_failed(&mut self, chore: Chore, step: Step, failure: IoFailure) {
        let no_space = failure.kind == IoFailureKind::NoSpace;
        match chore {
            // The directory is gone, and with it the names of the files that are written to.
            Chore::CreateSpare(_) if failure.kind == IoFailureKind::NotFound => {
                self.poison(step, failure);
            }
            Chore::CreateSpare(_) | Chore::ZeroSpare { .. } if !no_space => {
                self.warn(step, failure);
                self.upkeep.abandon_spare();
                self.upkeep.found_no_space(self.now, Shortage::Files);
            }
            Chore::CreateSpare(_) | Chore::ZeroSpare { .. } => {
                self.upkeep.abandon_spare();
                self.upkeep.found_no_space(self.now, Shortage::Disk);
            }
            Chore::SyncSpare(_) if no_space => {
                self.upkeep.abandon_spare();
                self.upkeep.found_no_space(self.now, Shortage::Disk);
            }
            Chore::Grow(_) if no_space => self.give_up_spare(Shortage::Disk),
            // A segment without its seal only gives less evidence.
            Chore::WriteSeal(_) if no_space => {
                self.upkeep.completed(chore, self.spare_plan());
            }
            Chore::Remove(segment) => {
                if failure.kind == IoFailureKind::NotFound {
                    self.chain.free_space(segment.file_bytes);
                } else {
                    self.warn(step, failure);
                }
                self.upkeep.completed(chore, self.spare_plan());
            }
            // The name stays in use by nobody; creating it again empties the file.
            Chore::AbandonSpare { bytes, .. } => {
                self.chain.free_space(bytes);
                self.upkeep.completed(chore, self.spare_plan());
            }
            Chore::WriteSeal(_)
            | Chore::SyncSeal(_)
            | Chore::SyncRemovals
            | Chore::Grow(_)
            | Chore::SyncGrowth(_)
            | Chore::SyncSpare(_)
            | Chore::SyncSpareName(_) => self.poison(step, failure),
        }
    }

    /// There was no descriptor for the file: nothing has happened, so all of it can wait, also a
    /// sync.
    fn not_tried(&mut self, step: Step, failure: IoFailure) {
        self.warn(step, failure);
        match step {
            Step::Write | Step::Sync(_) => self.write_blocked = true,
            Step::Chore(chore @ (Chore::WriteSeal(_) | Chore::SyncSeal(_))) => {
                return self.upkeep.completed(chore, self.spare_plan());
            }
            Step::Chore(Chore::CreateSpare(_) | Chore::ZeroSpare { .. } | Chore::SyncSpare(_)) => {
                self.upkeep.abandon_spare();
            }
            Step::Chore(Chore::Grow(_) | Chore::SyncGrowth(_)) => {}
            // A read has its own answer, and the others open no file.
            Step::Read(_)
            | Step::Chore(
                Chore::Remove(_)
                | Chore::SyncRemovals
                | Chore::SyncSpareName(_)
                | Chore::AbandonSpare { .. },
            ) => return self.poison(step, failure),
        }
        self.upkeep.found_no_space(self.now, Shortage::Files);
    }

    /// A failed sync is never repeated: the system may have forgotten what it could not write, and
    /// would report success the next time.
    fn poison(&mut self, step: Step, failure: IoFailure) {
        let action = self.action(step);
        let poison = Poison {
            verb: action.verb(),
            file: action.file(),
            failure,
        };
        self.ending = Ending::Poisoned;
        self.events.push_back(LogEvent::Poisoned(poison));
    }

    pub(super) fn warn(&mut self, step: Step, failure: IoFailure) {
        let action = self.action(step);
        let warning = Warning {
            verb: action.verb(),
            file: action.file(),
            failure,
        };
        self.events.push_back(LogEvent::Warning(warning));
    }
}
