//! The thread between the shards and their store.

use super::store::{Store, StoreEvent};
use crate::clock::Clock;
use crate::threads::Threads;
use core::time::Duration;
use std::io;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tracing::{error, info, warn};
use whimbrel_core::action::Batch;
use whimbrel_core::id::{MessageId, Position};
use whimbrel_core::log::{Pressure, Statistics};

/// What a shard wants of the log, or of what stands in its place.
pub enum LogRequest {
    /// To be kept.
    Append(Batch),
    /// To be read back.
    Load(MessageId),
}

/// Where that goes, with the number of the shard.
pub type LogSender = mpsc::Sender<(u16, LogRequest)>;

/// What a shard hears of it.
pub enum News {
    /// Everything up to there is on stable storage.
    Persisted(Position),
    /// What is kept of a message, if it can be read.
    Loaded(MessageId, Option<Vec<u8>>),
    /// The log is much larger than what is live.
    Checkpoint,
    /// Whether the disk is nearly full.
    Pressure(bool),
    /// It has failed for good.
    Failed,
}

/// What the thread has counted, for whoever asks.
#[derive(Clone, Debug, Default)]
pub struct SharedStatistics(Arc<Mutex<Statistics>>);

impl SharedStatistics {
    /// The counters, at the last moment when something became durable.
    #[must_use]
    pub fn get(&self) -> Statistics {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, statistics: Statistics) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = statistics;
    }
}

/// Starts the thread. It ends when the other end of `requests` is gone and all is on disk. Each of
/// `shards` takes news to the shard of its place; one that is gone needs none.
///
/// # Errors
///
/// The system gives no thread.
pub fn spawn(
    store: Box<dyn Store>,
    clock: Clock,
    requests: mpsc::Receiver<(u16, LogRequest)>,
    shards: Vec<impl Fn(News) + Send + 'static>,
    threads: &Threads,
) -> io::Result<SharedStatistics> {
    let statistics = SharedStatistics::default();
    statistics.set(store.statistics());
    let thread = StoreThread {
        store,
        clock,
        shards: Shards(shards),
        statistics: statistics.clone(),
    };
    threads.spawn("whimbrel-log", 0, move || thread.run(&requests))?;
    Ok(statistics)
}

struct StoreThread<F: Fn(News)> {
    store: Box<dyn Store>,
    clock: Clock,
    shards: Shards<F>,
    statistics: SharedStatistics,
}

impl<F: Fn(News)> StoreThread<F> {
    fn run(mut self, requests: &mpsc::Receiver<(u16, LogRequest)>) {
        let mut open = true;
        loop {
            self.store.advance(self.clock.now().monotonic);
            while open {
                match requests.try_recv() {
                    Ok((shard, request)) => self.take(shard, request),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => {
                        open = false;
                        self.store.close();
                    }
                }
            }
            // One thing, so that what came meanwhile joins the next write.
            let busy = self.store.step();
            if !self.tell() || (!open && !busy) {
                return;
            }
            if !busy && open && !self.wait(requests) {
                open = false;
                self.store.close();
            }
        }
    }

    /// Sleeps until there is a batch, or the store wants to be called. `false` when all shards are
    /// gone.
    fn wait(&mut self, requests: &mpsc::Receiver<(u16, LogRequest)>) -> bool {
        let now = self.clock.now().monotonic;
        let received = match self.store.next_deadline() {
            None => requests
                .recv()
                .map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            Some(at) => {
                let patience = at.duration_from(now).max(Duration::from_millis(1));
                requests.recv_timeout(patience)
            }
        };
        match received {
            Ok((shard, request)) => {
                self.store.advance(self.clock.now().monotonic);
                self.take(shard, request);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    fn take(&mut self, shard: u16, request: LogRequest) {
        match request {
            LogRequest::Append(batch) => self.store.append(shard, batch),
            LogRequest::Load(message) => self.store.read(shard, message),
        }
    }

    /// Passes on what the store reports. `false` when it was the last.
    fn tell(&mut self) -> bool {
        let mut told = false;
        while let Some(event) = self.store.poll_event() {
            told = true;
            match event {
                StoreEvent::Durable { shard, position } => {
                    if let Some(tell) = self.shards.0.get(usize::from(shard)) {
                        tell(News::Persisted(position));
                    }
                }
                StoreEvent::Loaded(loaded) => {
                    if let Some(tell) = self.shards.0.get(usize::from(loaded.shard)) {
                        tell(News::Loaded(loaded.message, loaded.value));
                    }
                }
                StoreEvent::CheckpointWanted => self.shards.tell(|| News::Checkpoint),
                StoreEvent::Pressure(pressure) => {
                    match pressure {
                        Pressure::None => info!("the disk has room again"),
                        Pressure::High => {
                            warn!("the disk is nearly full: new messages are refused")
                        }
                        Pressure::Full => {
                            error!("the disk is full: nothing can be kept at present")
                        }
                    }
                    let is_full = pressure != Pressure::None;
                    self.shards.tell(|| News::Pressure(is_full));
                }
                StoreEvent::Failed(why) => {
                    error!("the disk has failed, and this broker must stop: {why}");
                    self.shards.tell(|| News::Failed);
                }
                StoreEvent::Closed => return false,
            }
        }
        if told {
            self.statistics.set(self.store.statistics());
        }
        true
    }
}

/// Who is told. A thread that ends by a panic has failed them.
struct Shards<F: Fn(News)>(Vec<F>);

impl<F: Fn(News)> Shards<F> {
    fn tell(&self, news: impl Fn() -> News) {
        for tell in &self.0 {
            tell(news());
        }
    }
}

impl<F: Fn(News)> Drop for Shards<F> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.tell(|| News::Failed);
        }
    }
}
