//! What other threads tell a shard, and what they wake it with.

use crate::storage::News;
use async_channel::Sender;
use core::sync::atomic::{AtomicU8, Ordering};
use core::task::Waker;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;
use whimbrel_core::ConnectionId;
use whimbrel_core::config::AccessConfig;
use whimbrel_core::inspect::TenantUsage;
use whimbrel_core::statistics::Statistics;

/// Something to do for a shard. Each is asked for by somebody who waits for the answer, or is told
/// once by who keeps records, so that not more wait than there are callers.
pub enum Input<T> {
    /// A connection from inside this program.
    Attach(T),
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
pub enum StopLevel {
    /// Not at all.
    Run,
    /// Tell everybody, and give them time.
    Gracefully,
    /// Tell everybody, and go.
    Promptly,
}

/// The inbox of one shard.
pub struct Inbox<T> {
    /// `None` when nobody takes them any more.
    inputs: Mutex<Option<VecDeque<Input<T>>>>,
    /// Only rises, so that requests cannot overtake each other, and is never stuck behind inputs.
    stop: AtomicU8,
    bell: Waker,
}

impl<T> Inbox<T> {
    /// An empty one, whose shard is woken by `bell`.
    #[must_use]
    pub const fn new(bell: Waker) -> Self {
        Self {
            inputs: Mutex::new(Some(VecDeque::new())),
            stop: AtomicU8::new(StopLevel::Run as u8),
            bell,
        }
    }

    /// Hands something over. When the shard has stopped it is dropped, and with it the way to
    /// answer.
    pub fn push(&self, input: Input<T>) {
        if let Some(inputs) = &mut *self.lock() {
            inputs.push_back(input);
        }
        self.bell.wake_by_ref();
    }

    /// Whether nobody takes anything any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_none()
    }

    pub(crate) fn pop(&self) -> Option<Input<T>> {
        self.lock().as_mut()?.pop_front()
    }

    fn close(&self) {
        let inputs = self.lock().take();
        // Not under the lock: what is dropped may wake somebody.
        drop(inputs);
    }

    /// Asks for at least this.
    pub fn stop(&self, level: StopLevel) {
        if self.stop.fetch_max(level as u8, Ordering::AcqRel) < level as u8 {
            self.bell.wake_by_ref();
        }
    }

    /// How urgently the shard is to stop.
    pub fn stop_level(&self) -> StopLevel {
        match self.stop.load(Ordering::Acquire) {
            0 => StopLevel::Run,
            1 => StopLevel::Gracefully,
            _ => StopLevel::Promptly,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<VecDeque<Input<T>>>> {
        // A queue of plain values is whole whatever happened to the thread that held the lock.
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shard's end of its inbox. When it is dropped, also by a panic, nobody takes anything out of
/// it any more, and the other shards end as well: a broker with a part missing would lose messages.
pub(crate) struct InboxEnd<T> {
    pub(crate) inbox: Arc<Inbox<T>>,
    pub(crate) all: Arc<[Arc<Inbox<T>>]>,
}

impl<T> Drop for InboxEnd<T> {
    fn drop(&mut self) {
        self.inbox.close();
        for inbox in &*self.all {
            inbox.stop(StopLevel::Gracefully);
        }
    }
}

/// Tells a shard that a verdict may be there.
pub(crate) struct Decided<T> {
    pub(crate) connection: ConnectionId,
    pub(crate) inbox: Arc<Inbox<T>>,
}

impl<T: Send> Wake for Decided<T> {
    fn wake(self: Arc<Self>) {
        self.inbox.push(Input::Decided(self.connection));
    }
}
