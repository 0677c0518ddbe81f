//! The thread between the shards and their store.

use super::store::{Store, StoreEvent};
use crate::clock::Clock;
use crate::shard::{Input, LogRequest};
use core::time::Duration;
use std::io;
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use tokio::sync::mpsc;
use tracing::{error, info, warn};
use whimbrel_core::log::{Pressure, Statistics};

/// What the thread has counted, for whoever asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedStatistics(Arc<Mutex<Statistics>>);

impl SharedStatistics {
    pub(crate) fn get(&self) -> Statistics {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, statistics: Statistics) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = statistics;
    }
}

/// Starts the thread. It ends when the other end of `requests` is gone and all is on disk.
pub(crate) fn spawn(
    store: Box<dyn Store>,
    clock: Clock,
    requests: std_mpsc::Receiver<(u16, LogRequest)>,
    shards: Vec<mpsc::Sender<Input>>,
) -> io::Result<(JoinHandle<()>, SharedStatistics)> {
    let statistics = SharedStatistics::default();
    statistics.set(store.statistics());
    let thread = StoreThread {
        store,
        clock,
        shards: Shards(shards),
        statistics: statistics.clone(),
    };
    let thread = thread::Builder::new()
        .name("whimbrel-log".into())
        .spawn(move || thread.run(&requests))?;
    Ok((thread, statistics))
}

struct StoreThread {
    store: Box<dyn Store>,
    clock: Clock,
    shards: Shards,
    statistics: SharedStatistics,
}

impl StoreThread {
    fn run(mut self, requests: &std_mpsc::Receiver<(u16, LogRequest)>) {
        let mut open = true;
        loop {
            self.store.advance(self.clock.now().monotonic);
            while open {
                match requests.try_recv() {
                    Ok((shard, request)) => self.take(shard, request),
                    Err(std_mpsc::TryRecvError::Empty) => break,
                    Err(std_mpsc::TryRecvError::Disconnected) => {
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
    fn wait(&mut self, requests: &std_mpsc::Receiver<(u16, LogRequest)>) -> bool {
        let now = self.clock.now().monotonic;
        let received = match self.store.next_deadline() {
            None => requests
                .recv()
                .map_err(|_| std_mpsc::RecvTimeoutError::Disconnected),
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
            Err(std_mpsc::RecvTimeoutError::Timeout) => {}
            Err(std_mpsc::RecvTimeoutError::Disconnected) => return false,
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
                    if let Some(shard) = self.shards.0.get(usize::from(shard)) {
                        // A shard that is gone needs no answer.
                        let _ = shard.blocking_send(Input::Persisted(position));
                    }
                }
                StoreEvent::Loaded(loaded) => {
                    if let Some(shard) = self.shards.0.get(usize::from(loaded.shard)) {
                        let _ = shard.blocking_send(Input::Loaded(loaded.message, loaded.value));
                    }
                }
                StoreEvent::CheckpointWanted => self.shards.tell(|| Input::Checkpoint),
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
                    self.shards.tell(|| Input::StoragePressure(is_full));
                }
                StoreEvent::Failed(why) => {
                    error!("the disk has failed, and this broker must stop: {why}");
                    self.shards.tell(|| Input::StorageFailed);
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
struct Shards(Vec<mpsc::Sender<Input>>);

impl Shards {
    fn tell(&self, input: impl Fn() -> Input) {
        for shard in &self.0 {
            let _ = shard.blocking_send(input());
        }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        if thread::panicking() {
            self.tell(|| Input::StorageFailed);
        }
    }
}
