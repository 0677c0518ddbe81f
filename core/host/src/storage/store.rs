//! The seam between the broker and what keeps its records.

use whimbrel_core::Timestamp;
use whimbrel_core::action::Batch;
use whimbrel_core::id::{MessageId, Position};
use whimbrel_core::log::{Loaded, Pressure, Statistics};

/// Keeps batches of records, in order and each whole or not at all, and says how far it got.
///
/// Opening one gives what was kept. Then: inputs ([`append`](Self::append),
/// [`read`](Self::read), [`advance`](Self::advance), [`close`](Self::close)) at any time;
/// [`step`](Self::step) until it has nothing to do, with [`poll_event`](Self::poll_event) drained
/// after each; asleep until the next input or [`next_deadline`](Self::next_deadline). What was
/// appended between two steps is kept with one sync. After [`StoreEvent::Failed`] nothing is ever
/// reported durable again.
pub trait Store: Send {
    /// Takes a batch.
    fn append(&mut self, shard: u16, batch: Batch);

    /// Asks for a message that is durable; [`StoreEvent::Loaded`] answers, unless it fails or is
    /// closed before.
    fn read(&mut self, shard: u16, message: MessageId);

    /// Time passed. `now` never goes backwards.
    fn advance(&mut self, now: Timestamp);

    /// When to call [`advance`](Self::advance) and [`step`](Self::step) at the latest.
    fn next_deadline(&self) -> Option<Timestamp>;

    /// No more batches; may be said again. [`StoreEvent::Closed`] follows when all is kept.
    fn close(&mut self);

    /// Does one thing with the disk, if there is one to do: whether there was.
    fn step(&mut self) -> bool;

    /// The next fact.
    fn poll_event(&mut self) -> Option<StoreEvent>;

    /// Counters since it was opened, and its present size.
    fn statistics(&self) -> Statistics;
}

/// What a store tells.
#[derive(Debug)]
pub enum StoreEvent {
    /// All batches of this shard up to this position are as durable as was promised.
    Durable {
        /// Whose.
        shard: u16,
        /// Up to where.
        position: Position,
    },
    /// What was to be read.
    Loaded(Loaded),
    /// Every shard should begin a checkpoint.
    CheckpointWanted,
    /// Space is short, or no longer.
    Pressure(Pressure),
    /// Nothing more will be durable: end the process and open it again.
    Failed(String),
    /// All is kept, and the files are in order.
    Closed,
}
