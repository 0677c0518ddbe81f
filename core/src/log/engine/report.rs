//! The words in which the engine and the broker talk.

use crate::action::BatchMark;
use crate::id::Position;
use crate::log::operation::{FileName, IoFailure};
use core::fmt;
use thiserror::Error;

/// Operations that are kept together or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Who appends; below [`LogConfig::shards`](super::super::LogConfig::shards).
    pub shard: u16,
    /// The shard's own counter, strictly increasing while the process lives.
    pub position: Position,
    /// Whether a checkpoint begins or ends with this batch.
    pub marker: Marker,
    /// Written by a [`BatchWriter`](super::super::BatchWriter). May be empty.
    pub ops: &'a [u8],
}

/// The brackets around what a shard appends for a checkpoint.
///
/// Between them it puts every key that is live, in steps of its own choice and mixed with ordinary
/// batches. What is live at the begin and not deleted since must have been put once more by the
/// end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Marker {
    /// An ordinary batch, or one in the middle of a checkpoint.
    #[default]
    None,
    /// The first batch of this shard's part of a checkpoint.
    CheckpointBegin,
    /// Its last. Without a begin before, it is the whole part.
    CheckpointEnd,
}

impl From<Option<BatchMark>> for Marker {
    fn from(mark: Option<BatchMark>) -> Self {
        match mark {
            None => Self::None,
            Some(BatchMark::CheckpointBegin) => Self::CheckpointBegin,
            Some(BatchMark::CheckpointEnd) => Self::CheckpointEnd,
        }
    }
}

impl Marker {
    pub(in crate::log) const fn bits(self) -> u8 {
        match self {
            Self::None => 0,
            Self::CheckpointBegin => 1,
            Self::CheckpointEnd => 2,
        }
    }

    pub(in crate::log) const fn from_bits(bits: u8) -> Self {
        match bits {
            1 => Self::CheckpointBegin,
            2 => Self::CheckpointEnd,
            _ => Self::None,
        }
    }
}

/// Why a batch was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum AppendError {
    /// The operations are longer than `batch_bytes_max`.
    #[error("the batch is larger than the configured maximum")]
    TooLarge,
    /// There is no such shard.
    #[error("there is no such shard")]
    Shard,
    /// The position is not behind the shard's last one.
    #[error("positions must increase")]
    Position,
    /// The log is being closed.
    #[error("the log is closed")]
    Closed,
    /// The disk has failed.
    #[error("the log has failed and takes no more")]
    Poisoned,
}

/// What the engine tells the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogEvent {
    /// All batches of this shard up to this position are as durable as the policy promises.
    Durable {
        /// Whose.
        shard: u16,
        /// Up to where.
        position: Position,
    },
    /// The log is much larger than what is live: every shard should begin a checkpoint.
    CheckpointWanted,
    /// A checkpoint is whole and durable; what came before it is being removed.
    Checkpointed {
        /// How many segments that frees.
        segments_removed: u32,
    },
    /// Space is short, or no longer.
    Pressure(Pressure),
    /// The disk failed. Nothing more will be durable: close, exit, and recover.
    Poisoned(Poison),
    /// Something failed that the log can do without.
    Warning(Warning),
    /// All is synced and the log is marked as closed in order.
    Closed,
}

/// How short space is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pressure {
    /// Spares are complete, or being made.
    #[default]
    None,
    /// The next spare cannot be made. Take no new messages; what frees space still fits.
    High(Shortage),
    /// Nothing can be written at present. What was appended waits.
    Full(Shortage),
}

/// Why space is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shortage {
    /// The log takes [`quota_bytes`](crate::log::LogConfig::quota_bytes).
    Quota,
    /// The disk, or the user's share of it, is full.
    Disk,
    /// Files cannot be made, for what a [`Warning`] has said.
    Files,
}

/// Why the log is poisoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poison {
    /// What was tried; see [`FileAction::verb`](super::super::FileAction::verb).
    pub verb: &'static str,
    /// On which file; `None` for the directory.
    pub file: Option<FileName>,
    /// What came of it.
    pub failure: IoFailure,
}

/// A failure that the log can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What was tried; see [`FileAction::verb`](super::super::FileAction::verb).
    pub verb: &'static str,
    /// On which file; `None` for the directory.
    pub file: Option<FileName>,
    /// What came of it.
    pub failure: IoFailure,
}

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, self.verb, self.file, self.failure)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, self.verb, self.file, self.failure)
    }
}

fn describe(
    f: &mut fmt::Formatter<'_>,
    verb: &str,
    file: Option<FileName>,
    failure: IoFailure,
) -> fmt::Result {
    match file {
        Some(file) => write!(f, "{verb} of {file} failed: {failure}"),
        None => write!(f, "{verb} failed: {failure}"),
    }
}

/// Counters since the log was opened, and its present size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Batches appended.
    pub batches: u64,
    /// Commits: one write each.
    pub writes: u64,
    /// Syncs of segments that a batch may have waited for.
    pub syncs: u64,
    /// Syncs for files made ahead, seals, and files removed.
    pub upkeep_syncs: u64,
    /// Bytes of operations in the batches appended.
    pub payload_bytes: u64,
    /// Bytes handed to the disk, those of `prepared_bytes` included.
    pub written_bytes: u64,
    /// Zeros written to files ahead of need, so that a commit writes to space that is there.
    pub prepared_bytes: u64,
    /// What the disk had to write for that, counted in blocks of 4 KiB of which each write touches
    /// at least one: what a memory card wears by, apart from what the file system adds.
    pub block_bytes: u64,
    /// Segments that hold frames.
    pub segments: usize,
    /// Spares that are ready.
    pub spares: usize,
    /// What all files take.
    pub used_bytes: u64,
    /// Bytes of frames that wait for their write.
    pub queued_bytes: usize,
    /// The number of the last frame appended.
    pub last_lsn: u64,
    /// The last frame known to be on stable storage.
    pub synced_lsn: u64,
    /// How much of what was acknowledged a power cut may take, in milliseconds before it: 0 with
    /// `always`, `u64::MAX` when nothing bounds it.
    pub loss_window_ms: u64,
}

/// The unit in which file systems write, in bytes.
const BLOCK_BYTES: u64 = 4096;

impl Statistics {
    /// How many bytes are written for each byte appended; 0 before there is any.
    #[must_use]
    pub fn write_amplification(&self) -> f64 {
        if self.payload_bytes == 0 {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let ratio = self.block_bytes as f64 / self.payload_bytes as f64;
        ratio
    }

    pub(super) const fn wrote(&mut self, offset: u64, bytes: u64) {
        self.written_bytes += bytes;
        let end = (offset + bytes).next_multiple_of(BLOCK_BYTES);
        self.block_bytes += end - offset / BLOCK_BYTES * BLOCK_BYTES;
    }

    pub(super) const fn prepared(&mut self, offset: u64, bytes: u64) {
        self.prepared_bytes += bytes;
        self.wrote(offset, bytes);
    }
}
