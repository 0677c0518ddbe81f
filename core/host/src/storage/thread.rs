//! The thread between the shards and their store, and the way to it.

#[cfg(test)]
pub(crate) mod tests;

use super::store::{Store, StoreEvent};
use crate::clock::Clock;
use crate::threads::Threads;
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;
use tracing::{error, info, warn};
use whimbrel_core::Timestamp;
use whimbrel_core::action::Batch;
use whimbrel_core::id::{MessageId, Position};
use whimbrel_core::log::{Pressure, Shortage, Statistics};

/// A step that takes no longer may be taken by a shard: about what a wake-up of the thread and one
/// of the shard take together on a machine that sleeps in between, several times over.
const QUICK: Duration = Duration::from_millis(1);

/// So many steps in a row were quick before the next is believed to be.
const QUICK_STEPS: u32 = 64;

/// What a shard keeps itself is no larger, in bytes: a message of a device.
const LONE_BYTES: usize = 16 << 10;

/// Steps that a shard takes at most: a write, a sync, and one that is nothing to do, unless the
/// store has something else to see to.
const STEPS_OF_ONE_BATCH: u32 = 3;

/// What a shard wants of the log, or of what stands in its place.
pub enum LogRequest {
    /// To be kept.
    Append(Batch),
    /// To be read back.
    Load(MessageId),
}

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

/// Takes news to one shard; one that is gone needs none.
pub type Teller = Box<dyn Fn(News) + Send>;

/// What the thread has counted, for whoever asks.
#[derive(Clone, Debug, Default)]
pub struct SharedStatistics(Arc<Mutex<Statistics>>);

impl SharedStatistics {
    /// The counters, at the last moment when something became durable.
    #[must_use]
    pub fn get(&self) -> Statistics {
        *lock(&self.0)
    }
}

/// The way to the log, one for each shard. The log is closed when all are gone.
#[derive(Clone, Default)]
pub struct LogSender(Arc<Sender>);

impl LogSender {
    /// Puts down what shard `shard` wants; the thread sees it when it comes by, and no later than
    /// it is [woken](Self::wake).
    ///
    /// # Errors
    ///
    /// The thread has ended: by a panic, since there is somebody yet who can send.
    pub fn send(&self, shard: u16, request: LogRequest) -> Result<(), Gone> {
        let mut queue = self.0.0.queue();
        if queue.is_gone {
            return Err(Gone);
        }
        queue.requests.push_back((shard, request));
        Ok(())
    }

    /// Has the thread see to what was put down.
    pub fn wake(&self) {
        self.0.0.wake();
    }

    /// Keeps what was put down on the calling thread, if that is one small batch only, nothing else
    /// is being kept, and the disk has been quick of late: two wake-ups of threads less for who
    /// waits for it. The news come as they always do. Whether that was done; otherwise the thread
    /// is to be woken. A store that is to be called later wakes it all the same.
    #[must_use]
    pub fn commit_here(&self) -> bool {
        let shared = &self.0.0;
        let Ok(mut place) = shared.writer.try_lock() else {
            return false;
        };
        let Some(writer) = place.as_mut().filter(|writer| writer.is_quick()) else {
            return false;
        };
        let mut queue = shared.queue();
        let requests = &*queue.requests.make_contiguous();
        let is_lone = matches!(requests, [(_, LogRequest::Append(batch))]
            if batch.mark.is_none() && batch.operations.len() <= LONE_BYTES);
        if !is_lone {
            return false;
        }
        let alone = queue.requests.pop_front();
        // Unless it is seen through here.
        queue.is_owed = true;
        drop(queue);
        writer.take(alone);
        let is_idle = (0..STEPS_OF_ONE_BATCH).any(|_| writer.work() == Work::Nothing);
        if is_idle && writer.store.next_deadline().is_none() {
            shared.queue().is_owed = false;
        } else {
            // The rest has nobody waiting for it.
            shared.wake();
        }
        true
    }

    /// Starts the thread, with what it brings to the disk, and who hears of it: each shard in its
    /// place. It ends when every sender is gone and all is on disk.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub fn start(
        &self,
        store: Box<dyn Store>,
        clock: Clock,
        shards: Vec<Teller>,
        threads: &Threads,
    ) -> io::Result<SharedStatistics> {
        let statistics = SharedStatistics::default();
        *lock(&statistics.0) = store.statistics();
        let shared = Arc::clone(&self.0.0);
        *lock(&shared.writer) = Some(Writer {
            store,
            clock,
            shards: Shards(shards),
            statistics: statistics.clone(),
            quick_steps: 0,
        });
        threads.spawn("whimbrel-log", 0, move || Leaving(&shared).0.run())?;
        Ok(statistics)
    }

    /// What was put down first, instead of the thread.
    #[cfg(test)]
    pub(crate) fn pop(&self) -> Option<(u16, LogRequest)> {
        self.0.0.queue().requests.pop_front()
    }
}

/// The thread of the log has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// When it is dropped, nobody can send any longer.
#[derive(Default)]
struct Sender(Arc<Shared>);

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.queue().is_closed = true;
        self.0.wake();
    }
}

/// What the shards and the thread share.
#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is something to do, or nothing will be put down any longer.
    bell: Condvar,
    /// Whoever holds it works: the thread for as long as there is work, and never while it sleeps.
    writer: Mutex<Option<Writer>>,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<(u16, LogRequest)>,
    /// All senders are gone.
    is_closed: bool,
    /// The store has more to do than what was put down.
    is_owed: bool,
    /// The thread sleeps.
    is_asleep: bool,
    /// The thread is gone.
    is_gone: bool,
}

/// However the thread ends, others know.
struct Leaving<'a>(&'a Shared);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.queue().is_gone = true;
        // Here, so that what it holds is let go of, and so that a panic is told.
        drop(lock(&self.0.writer).take());
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    fn wake(&self) {
        if self.queue().is_asleep {
            self.bell.notify_one();
        }
    }

    fn run(&self) {
        let mut taken = VecDeque::new();
        loop {
            let Ok(mut place) = self.writer.lock() else {
                // A shard has panicked while it kept something: nobody knows how far it came.
                return lock(&self.writer).iter().for_each(Writer::fail);
            };
            let writer = place.as_mut().expect("it stays until this thread ends");
            loop {
                let is_closed = {
                    let mut queue = self.queue();
                    core::mem::swap(&mut queue.requests, &mut taken);
                    queue.is_closed
                };
                writer.take(taken.drain(..));
                if is_closed {
                    writer.store.close();
                }
                // One thing, so that what came meanwhile joins the next write.
                match writer.work() {
                    Work::Done => {}
                    Work::Nothing if !is_closed => break,
                    Work::Nothing | Work::Closed => return,
                }
            }
            let patience = writer.patience();
            drop(place);
            self.sleep(patience);
        }
    }

    /// Sleeps until there is something to take, or `patience` has passed.
    fn sleep(&self, patience: Option<Duration>) {
        let mut queue = self.queue();
        queue.is_asleep = true;
        let is_empty = |queue: &mut Queue| {
            queue.requests.is_empty() && !queue.is_closed && !core::mem::take(&mut queue.is_owed)
        };
        let woken = match patience {
            None => self.bell.wait_while(queue, is_empty),
            Some(patience) => (self.bell.wait_timeout_while(queue, patience, is_empty))
                .map(|(queue, _)| queue)
                .map_err(|poison| PoisonError::new(poison.into_inner().0)),
        };
        woken.unwrap_or_else(PoisonError::into_inner).is_asleep = false;
    }
}

/// What has become of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Done,
    Nothing,
    Closed,
}

/// Brings to the disk what it is given, and tells how far that got.
struct Writer {
    store: Box<dyn Store>,
    clock: Clock,
    shards: Shards,
    statistics: SharedStatistics,
    /// Steps since the last that was not.
    quick_steps: u32,
}

impl Writer {
    fn is_quick(&self) -> bool {
        self.quick_steps >= QUICK_STEPS
    }

    fn take(&mut self, requests: impl IntoIterator<Item = (u16, LogRequest)>) {
        self.store.advance(self.now());
        for (shard, request) in requests {
            match request {
                LogRequest::Append(batch) => self.store.append(shard, batch),
                LogRequest::Load(message) => self.store.read(shard, message),
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now().monotonic
    }

    /// How long nothing needs to be done if nothing comes.
    fn patience(&self) -> Option<Duration> {
        let at = self.store.next_deadline()?;
        Some(at.duration_from(self.now()).max(Duration::from_millis(1)))
    }

    /// Does one thing with the disk, and passes on what follows from it.
    fn work(&mut self) -> Work {
        let began = Instant::now();
        let busy = self.store.step();
        if busy && began.elapsed() < QUICK {
            self.quick_steps = self.quick_steps.saturating_add(1);
        } else if busy {
            self.quick_steps = 0;
        }
        match (self.tell(busy), busy) {
            (false, _) => Work::Closed,
            (true, true) => Work::Done,
            (true, false) => Work::Nothing,
        }
    }

    fn fail(&self) {
        self.shards.tell(|| News::Failed);
    }

    /// Passes on what the store reports, and its figures when something was reported or there is
    /// nothing more to do. `false` when it was the last.
    fn tell(&mut self, busy: bool) -> bool {
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
                        Pressure::None => info!("there is room for new messages again"),
                        Pressure::High(why) => {
                            let short = short_of(why, "nearly ");
                            warn!(
                                "{short}: new messages are refused until clients have taken some \
                                 of what waits for them, or there is more room"
                            );
                        }
                        Pressure::Full(Shortage::Files) => error!(
                            "the log cannot open or make files, as was said before: nothing can \
                             be kept before it can"
                        ),
                        Pressure::Full(why) => {
                            let short = short_of(why, "");
                            error!(
                                "{short}: nothing can be kept before there is more room; make \
                                 some on the disk, or raise storage.quota_bytes"
                            );
                        }
                    }
                    let is_full = pressure != Pressure::None;
                    self.shards.tell(|| News::Pressure(is_full));
                }
                StoreEvent::Failed(why) => {
                    error!("the disk has failed, and this broker must stop: {why}");
                    self.fail();
                }
                StoreEvent::Closed => return false,
            }
        }
        if told || !busy {
            *lock(&self.statistics.0) = self.store.statistics();
        }
        true
    }
}

/// What there is too little of.
fn short_of(why: Shortage, nearly: &str) -> String {
    match why {
        Shortage::Quota => format!("storage.quota_bytes is {nearly}used up"),
        Shortage::Disk => format!("the disk is {nearly}full"),
        Shortage::Files => "the log cannot open or make files, as was said before".to_owned(),
    }
}

/// Who is told. A thread that ends by a panic has failed them.
struct Shards(Vec<Teller>);

impl Shards {
    fn tell(&self, news: impl Fn() -> News) {
        for tell in &self.0 {
            tell(news());
        }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        if thread::panicking() {
            self.tell(|| News::Failed);
        }
    }
}

/// What is locked here is whole whatever happened to the thread that held it, but for a writer,
/// whose end is all that happens to it then.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
