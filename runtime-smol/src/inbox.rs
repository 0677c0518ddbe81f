//! What other threads tell the shard, and the poller they wake it with.

use async_channel::Sender;
use core::sync::atomic::{AtomicU8, Ordering};
use polling::Poller;
use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use whimbrel_core::ConnectionId;
use whimbrel_core::config::AccessConfig;
use whimbrel_core::inspect::TenantUsage;
use whimbrel_core::statistics::Statistics;
use whimbrel_host::storage::News;

/// Something to do for the shard. Each is asked for by somebody who waits for the answer, or is
/// told once by the log, so that not more wait here than there are callers.
pub(crate) enum Input {
    /// A connection from inside this program.
    Attach(UnixStream),
    /// The verdict on this client may be there.
    Decided(ConnectionId),
    /// Other rules and bans are in force.
    Access(AccessConfig),
    /// What let clients in may hold no longer; asks how many had to go.
    Reconsider(Sender<usize>),
    /// How is it going?
    Statistics(Sender<Statistics>),
    /// What is there of each tenant?
    Tenants(Sender<Vec<TenantUsage>>),
    /// What has become of what is kept.
    Storage(News),
}

/// How urgently to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StopLevel {
    /// Not at all.
    Run,
    /// Tell everybody, and give them time.
    Gracefully,
    /// Tell everybody, and go.
    Promptly,
}

/// The inbox of the one shard.
pub(crate) struct Inbox {
    pub(crate) poller: Poller,
    /// `None` when nobody takes them any more.
    inputs: Mutex<Option<VecDeque<Input>>>,
    /// Only rises, so that requests cannot overtake each other.
    stop: AtomicU8,
}

impl Inbox {
    /// # Errors
    ///
    /// The system has no event queue left.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            poller: Poller::new()?,
            inputs: Mutex::new(Some(VecDeque::new())),
            stop: AtomicU8::new(StopLevel::Run as u8),
        })
    }

    /// Hands something over. When the shard has stopped it is dropped, and with it the way to
    /// answer.
    pub(crate) fn push(&self, input: Input) {
        if let Some(inputs) = &mut *self.lock() {
            inputs.push_back(input);
        }
        self.wake();
    }

    pub(crate) fn pop(&self) -> Option<Input> {
        self.lock().as_mut()?.pop_front()
    }

    pub(crate) fn close(&self) {
        let inputs = self.lock().take();
        // Not under the lock: what is dropped may wake somebody.
        drop(inputs);
    }

    /// Asks for at least this.
    pub(crate) fn stop(&self, level: StopLevel) {
        if self.stop.fetch_max(level as u8, Ordering::AcqRel) < level as u8 {
            self.wake();
        }
    }

    pub(crate) fn stop_level(&self) -> StopLevel {
        match self.stop.load(Ordering::Acquire) {
            0 => StopLevel::Run,
            1 => StopLevel::Gracefully,
            _ => StopLevel::Promptly,
        }
    }

    fn wake(&self) {
        self.poller
            .notify()
            .expect("an event queue can be woken as long as it is there");
    }

    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<Input>>> {
        // A queue of plain values is whole whatever happened to the thread that held the lock.
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
