//! The log: acknowledged means kept.
//!
//! An append-only log of keyed, atomic batches, as a pure state machine: batches and answers of the
//! disk go in, file operations one at a time and the durable positions come out. When to write,
//! sync, rotate, compact, cut or refuse is decided here; an executor on real files
//! (`whimbrel-host`) or a simulated disk only does what it is told. The bytes, the crash argument
//! and the limits are in `docs/log-format.md`.
//!
//! ```text
//!            directory ──► Recovery ──► batches, in order
//!                             │ into_engine
//!                             ▼
//!   append(batch) ──►      Engine      ──► poll_event: Durable, CheckpointWanted, Pressure …
//!   completed(id, …) ──►               ──► poll_operation: write, sync, …
//!   advance(now) ──►                   ──► next_deadline
//! ```
//!
//! What is live is known by the broker, not here. So that the log does not grow for ever, the
//! engine asks for a *checkpoint* now and then: the broker appends all that is live once more,
//! between a batch marked [`Marker::CheckpointBegin`] and one marked [`Marker::CheckpointEnd`];
//! when the end is durable, the segments before the begin are removed.

pub mod batch;
mod config;
pub(crate) mod crc32c;
mod engine;
mod frame;
mod index;
mod operation;
mod recovery;

pub use batch::{BatchError, BatchRef, BatchWriter, Op};
pub use config::{ConfigError, LogConfig, OnCorruption, SyncPolicy};
pub use engine::{
    AppendError, Batch, Engine, Loaded, LogEvent, Marker, Poison, Pressure, Shortage, Statistics,
    Warning,
};
pub use frame::{FORMAT_VERSION, FRAME_HEADER_BYTES, LogUuid, SEGMENT_HEADER_BYTES};
pub use operation::{
    Completion, DirectoryEntry, FileAction, FileName, IoFailure, IoFailureKind, Operation,
    OperationId,
};
pub use recovery::{Damage, DamageKind, LogEnd, Recovered, Recovery, RecoveryError, Summary};
