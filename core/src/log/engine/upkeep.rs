//! What keeps the log able to go on: spares ahead of need, seals behind, old segments removed.
//!
//! Chores are small, so that a commit never waits long behind one, and come after commits, except
//! that the preparation of the *only* spare earns a turn with every byte committed: under any load
//! the next segment is ready when the current one is half full.

use super::Shortage;
use super::chain::{Segment, Spare};
use crate::log::frame::{FrameHeader, FrameKind, SEGMENT_HEADER_BYTES};
use crate::log::operation::{FileAction, FileName};
use crate::time::Timestamp;
use alloc::collections::VecDeque;

/// How many zeros are written and synced in one go: a few milliseconds on a slow disk.
const CHUNK_BYTES: u64 = 256 << 10;

/// First and longest pause before trying again to find space.
const RETRY_MS: core::ops::RangeInclusive<u64> = 1_000..=30_000;

/// One operation of upkeep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chore {
    WriteSeal(Seal),
    SyncSeal(Seal),
    Remove(Segment),
    SyncRemovals,
    Grow(Growth),
    SyncGrowth(Growth),
    CreateSpare(u64),
    ZeroSpare {
        number: u64,
        offset: u64,
        bytes: u64,
    },
    SyncSpare(u64),
    SyncSpareName(u64),
    /// There is no room for all of it: give back what it took.
    AbandonSpare {
        number: u64,
        bytes: u64,
    },
}

/// Says at the end of a segment that the next one exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) next: Segment,
}

impl Seal {
    pub(super) const fn frame(&self) -> FrameHeader {
        FrameHeader::control(FrameKind::SEAL, self.next.base_lsn, self.next.number)
    }
}

/// A spare must be longer for a batch that is larger than a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Growth {
    pub(super) spare: Spare,
    pub(super) file_bytes: u64,
}

/// A spare under preparation.
#[derive(Clone, Copy, Debug)]
struct Making {
    number: u64,
    written_bytes: u64,
    stage: MakingStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MakingStage {
    Create,
    Zero,
    Sync,
    SyncName,
    Abandon,
}

/// The chores that are open.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    seals: VecDeque<Seal>,
    sync_seal: Option<Seal>,
    removals: VecDeque<Segment>,
    sync_removals: bool,
    growth: Option<Growth>,
    growth_written: bool,
    making: Option<Making>,
    /// Bytes that preparation may write before the next commit.
    credit_bytes: u64,
    /// Space was sought and not found. Set until the spares are complete again.
    pub(super) short: Option<Shortage>,
    /// When to seek it again.
    pub(super) retry_at: Option<Timestamp>,
    retry_ms: u64,
}

/// How spares are to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct SparePlan {
    pub(super) next_number: u64,
    pub(super) file_bytes: u64,
    /// There are fewer spares than there should be, and space is allowed to be taken.
    pub(super) wanted: bool,
    /// Zeros need no sync: nobody was promised anything.
    pub(super) unsynced: bool,
}

impl Upkeep {
    pub(super) fn seal(&mut self, seal: Seal) {
        self.seals.push_back(seal);
    }

    pub(super) fn remove(&mut self, segment: Segment) {
        self.removals.push_back(segment);
    }

    pub(super) const fn grow(&mut self, growth: Growth) {
        if self.growth.is_none() {
            self.growth = Some(growth);
            self.growth_written = false;
        }
    }

    /// Bytes were committed while no spare was ready.
    pub(super) const fn earn(&mut self, bytes: u64) {
        self.credit_bytes = bytes.saturating_mul(2);
    }

    /// Whether preparation goes before the next commit.
    pub(super) const fn is_urgent(&self) -> bool {
        self.credit_bytes > 0
    }

    /// Space was sought in vain.
    pub(super) fn found_no_space(&mut self, now: Timestamp, why: Shortage) {
        self.short = Some(why);
        self.retry_ms = (self.retry_ms * 2).clamp(*RETRY_MS.start(), *RETRY_MS.end());
        self.retry_at = Some(now.after_ms(self.retry_ms));
        self.credit_bytes = 0;
    }

    /// Time has come, or space was freed.
    pub(super) const fn retry_now(&mut self) {
        self.retry_at = None;
    }

    /// Spares are complete again.
    pub(super) const fn found_space(&mut self) {
        self.short = None;
        self.retry_at = None;
        self.retry_ms = 0;
    }

    pub(super) fn next(&mut self, plan: SparePlan) -> Option<Chore> {
        if let Some(seal) = self.sync_seal {
            return Some(Chore::SyncSeal(seal));
        }
        if let Some(seal) = self.seals.front() {
            return Some(Chore::WriteSeal(*seal));
        }
        if let Some(segment) = self.removals.front() {
            return Some(Chore::Remove(*segment));
        }
        if self.sync_removals {
            return Some(Chore::SyncRemovals);
        }
        // A spare that makes room for it goes first.
        let is_making_room = self
            .making
            .is_some_and(|making| making.stage == MakingStage::Abandon);
        if self.retry_at.is_none()
            && !is_making_room
            && let Some(growth) = self.growth
        {
            return Some(if self.growth_written {
                Chore::SyncGrowth(growth)
            } else {
                Chore::Grow(growth)
            });
        }
        self.next_of_spare(plan)
    }

    fn next_of_spare(&mut self, plan: SparePlan) -> Option<Chore> {
        if self.making.is_none() && plan.wanted && self.retry_at.is_none() {
            self.making = Some(Making {
                number: plan.next_number,
                written_bytes: 0,
                stage: MakingStage::Create,
            });
        }
        let Some(making) = &mut self.making else {
            self.credit_bytes = 0;
            return None;
        };
        if making.stage == MakingStage::Zero && making.written_bytes == plan.file_bytes {
            making.stage = MakingStage::SyncName;
        }
        let number = making.number;
        Some(match making.stage {
            MakingStage::Create => Chore::CreateSpare(number),
            MakingStage::Zero => Chore::ZeroSpare {
                number,
                offset: making.written_bytes,
                bytes: CHUNK_BYTES.min(plan.file_bytes - making.written_bytes),
            },
            MakingStage::Sync => Chore::SyncSpare(number),
            MakingStage::SyncName => Chore::SyncSpareName(number),
            MakingStage::Abandon => Chore::AbandonSpare {
                number,
                bytes: making.written_bytes,
            },
        })
    }

    /// What the spare under preparation takes so far.
    pub(super) fn making_bytes(&self) -> u64 {
        self.making.map_or(0, |making| making.written_bytes)
    }

    /// The chore was carried out.
    pub(super) fn completed(&mut self, chore: Chore, plan: SparePlan) {
        let stage = match chore {
            Chore::WriteSeal(seal) => {
                self.seals.pop_front();
                self.sync_seal = (!plan.unsynced).then_some(seal);
                return;
            }
            Chore::SyncSeal(_) => {
                self.sync_seal = None;
                return;
            }
            Chore::Remove(_) => {
                self.removals.pop_front();
                self.sync_removals |= self.removals.is_empty();
                return;
            }
            Chore::SyncRemovals => {
                self.sync_removals = false;
                return;
            }
            Chore::Grow(_) => {
                self.growth_written = true;
                return;
            }
            Chore::SyncGrowth(_) => {
                self.growth = None;
                return;
            }
            Chore::ZeroSpare { bytes, .. } => {
                self.credit_bytes = self.credit_bytes.saturating_sub(bytes);
                if let Some(making) = &mut self.making {
                    making.written_bytes += bytes;
                }
                if plan.unsynced {
                    MakingStage::Zero
                } else {
                    MakingStage::Sync
                }
            }
            Chore::CreateSpare(_) | Chore::SyncSpare(_) => MakingStage::Zero,
            Chore::SyncSpareName(_) | Chore::AbandonSpare { .. } => {
                self.making = None;
                return;
            }
        };
        if let Some(making) = &mut self.making {
            making.stage = stage;
        }
    }

    pub(super) const fn is_making_spare(&self) -> bool {
        self.making.is_some()
    }

    /// The spare under preparation cannot be had.
    pub(super) const fn abandon_spare(&mut self) {
        if let Some(making) = &mut self.making {
            making.stage = MakingStage::Abandon;
        }
    }
}

impl Chore {
    /// What this is on the disk. `seal` holds the bytes of the seal.
    pub(super) fn action(self, seal: &[u8]) -> FileAction<'_> {
        let segment = FileName::Segment;
        match self {
            Self::WriteSeal(task) => FileAction::WriteAt {
                file: segment(task.segment),
                offset: task.offset,
                bytes: seal,
            },
            Self::SyncSeal(task) => FileAction::Sync {
                file: segment(task.segment),
            },
            Self::Remove(old) => FileAction::Remove {
                file: segment(old.number),
            },
            Self::SyncRemovals | Self::SyncSpareName(_) => FileAction::SyncDirectory,
            Self::Grow(growth) => FileAction::ZeroAt {
                file: segment(growth.spare.number),
                offset: growth.spare.file_bytes,
                bytes: growth.file_bytes - growth.spare.file_bytes,
            },
            Self::SyncGrowth(growth) => FileAction::Sync {
                file: segment(growth.spare.number),
            },
            Self::CreateSpare(number) => FileAction::Create {
                file: segment(number),
            },
            Self::ZeroSpare {
                number,
                offset,
                bytes,
            } => FileAction::ZeroAt {
                file: segment(number),
                offset,
                bytes,
            },
            Self::SyncSpare(number) => FileAction::Sync {
                file: segment(number),
            },
            Self::AbandonSpare { number, .. } => FileAction::Remove {
                file: segment(number),
            },
        }
    }
}

/// The size a segment must have for a frame that is larger than an ordinary one can hold.
pub(super) const fn file_bytes_for(frame_bytes: u64, reserve_bytes: u64) -> u64 {
    let bytes = SEGMENT_HEADER_BYTES + frame_bytes + reserve_bytes;
    bytes.next_multiple_of(4096)
}
