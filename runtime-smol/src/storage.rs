//! The log: opening it, and the one thread that carries out what its engine asks for. The thread
//! takes everything that waits, lets the engine write it at once and sync once, and reports how far
//! that got: batching comes by itself while a sync runs. It decides nothing.

use crate::clock::Clock;
use crate::inbox::{Inbox, Input};
use core::time::Duration;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use tracing::{debug, error, info, warn};
use whimbrel_core::action::Batch;
use whimbrel_core::id::MessageId;
use whimbrel_core::log::executor::Executor;
use whimbrel_core::log::{self, Engine, LogConfig, LogEvent, LogUuid, Pressure, Recovery};
use whimbrel_core::restore::Restorer;
use whimbrel_core::runtime::StorageError;

/// A log that is open, and has no thread yet.
pub(crate) struct OpenLog {
    engine: Engine,
    executor: Executor,
}

/// Opens the log, and says what is in it.
pub(crate) fn open(
    directory: &Path,
    config: LogConfig,
    uuid: LogUuid,
    memory_bytes: u64,
) -> Result<(OpenLog, Restorer), StorageError> {
    config.validate()?;
    let directory = directory.to_path_buf();
    let mut executor = match Executor::open(&directory) {
        Ok(executor) => executor,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(StorageError::InUse(directory));
        }
        Err(source) => return Err(StorageError::Directory { directory, source }),
    };
    let mut recovery = Recovery::open(config, uuid);
    let mut restorer = Restorer::within(memory_bytes);
    loop {
        while let Some(recovered) = recovery.poll_batch() {
            if let Err(source) = restorer.apply(recovered.batch.ops) {
                return Err(StorageError::Restore { directory, source });
            }
        }
        let Some(operation) = recovery.poll_operation() else {
            break;
        };
        let (id, result) = (operation.id, executor.run(&operation.action));
        recovery.completed(id, result);
    }
    let (mut engine, summary) = match recovery.into_engine() {
        Ok(opened) => opened,
        Err(source) => return Err(StorageError::Recovery { directory, source }),
    };
    if let log::LogEnd::Torn {
        file,
        offset,
        bytes,
    } = summary.end
    {
        warn!(
            %file, offset, bytes,
            "the last write had not been finished; nothing in it was acknowledged, and it is cut off"
        );
    }
    for damage in &summary.lost {
        error!("given up as the configuration says: {damage}");
    }
    supply(&mut engine, &mut executor, &mut restorer);
    let (sessions, retained) = restorer.counts();
    info!(directory = %directory.display(), sessions, retained, "the log is read");
    Ok((OpenLog { engine, executor }, restorer))
}

/// Reads what is retained and was too much to be kept in memory while reading.
fn supply(engine: &mut Engine, executor: &mut Executor, restorer: &mut Restorer) {
    let wanted = restorer.wanted();
    for message in &wanted {
        engine.read_back(0, *message);
    }
    let mut missing = wanted.len();
    while missing > 0 {
        while let Some(loaded) = engine.poll_loaded() {
            missing -= 1;
            let value = loaded.value.unwrap_or_default();
            if !restorer.supply(loaded.message, &value) {
                error!(message = ?loaded.message, "a retained message cannot be read back");
            }
        }
        let Some(operation) = engine.poll_operation() else {
            return;
        };
        let (id, result) = (operation.id, executor.run(&operation.action));
        engine.completed(id, result);
    }
}

/// What the shard wants of the log.
pub(crate) enum LogRequest {
    /// To be kept.
    Append(Batch),
    /// To be read back.
    Load(MessageId),
}

/// Starts the thread. It ends when the other end of `requests` is gone and all is on disk.
pub(crate) fn spawn(
    log: OpenLog,
    clock: Clock,
    requests: Receiver<LogRequest>,
    inbox: Arc<Inbox>,
) -> io::Result<(JoinHandle<()>, Arc<Mutex<log::Statistics>>)> {
    let OpenLog { engine, executor } = log;
    let statistics = Arc::<Mutex<log::Statistics>>::default();
    let thread = LogThread {
        engine,
        executor,
        clock,
        inbox,
        statistics: Arc::clone(&statistics),
    };
    let thread = thread::Builder::new()
        .name("whimbrel-log".into())
        .spawn(move || thread.run(&requests))?;
    Ok((thread, statistics))
}

struct LogThread {
    engine: Engine,
    executor: Executor,
    clock: Clock,
    inbox: Arc<Inbox>,
    /// What was counted, for whoever asks.
    statistics: Arc<Mutex<log::Statistics>>,
}

/// A thread that ends by a panic has failed the shard.
impl Drop for LogThread {
    fn drop(&mut self) {
        if thread::panicking() {
            self.inbox.push(Input::StorageFailed);
        }
    }
}

impl LogThread {
    fn run(mut self, requests: &Receiver<LogRequest>) {
        let mut is_open = true;
        loop {
            while is_open {
                match requests.try_recv() {
                    Ok(request) => self.take(request),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        is_open = false;
                        self.engine.close();
                    }
                }
            }
            let now = self.clock.now().monotonic;
            self.engine.advance(now);
            // One operation, so that what came meanwhile joins the next write.
            let operation = self.engine.poll_operation();
            let is_busy = operation.is_some();
            if let Some(operation) = operation {
                let (id, result) = (operation.id, self.executor.run(&operation.action));
                self.engine.completed(id, result);
            }
            if !self.tell() || !(is_open || is_busy) {
                return;
            }
            if is_busy || !is_open {
                continue;
            }
            let received = match self.engine.next_deadline() {
                None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => {
                    requests.recv_timeout(at.duration_from(now).max(Duration::from_millis(1)))
                }
            };
            if let Ok(request) = received {
                self.take(request);
            }
        }
    }

    fn take(&mut self, request: LogRequest) {
        match request {
            LogRequest::Append(batch) => self.append(&batch),
            LogRequest::Load(message) => self.engine.read_back(0, message),
        }
    }

    fn append(&mut self, batch: &Batch) {
        // How long it may wait for company counts from now.
        self.engine.advance(self.clock.now().monotonic);
        self.engine.set_live_bytes(batch.live_bytes);
        let appended = self.engine.append(log::Batch {
            shard: 0,
            position: batch.position,
            marker: batch.mark.into(),
            ops: &batch.operations,
        });
        // A log that has failed says so once, by its event; anything else is a bug, and must not
        // pass for an acknowledgement.
        if let Err(problem) = appended
            && problem != log::AppendError::Poisoned
        {
            error!(
                position = batch.position.0,
                "the log does not take a batch: {problem}"
            );
            self.inbox.push(Input::StorageFailed);
        }
    }

    /// Passes on what the engine reports. `false` when it was the last.
    fn tell(&mut self) -> bool {
        while let Some(loaded) = self.engine.poll_loaded() {
            self.inbox.push(Input::Loaded(loaded.message, loaded.value));
        }
        while let Some(event) = self.engine.poll_event() {
            match event {
                LogEvent::Durable { position, .. } => {
                    let mut shared = self
                        .statistics
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    *shared = self.engine.statistics();
                    self.inbox.push(Input::Persisted(position));
                }
                LogEvent::CheckpointWanted => self.inbox.push(Input::Checkpoint),
                LogEvent::Pressure(pressure) => {
                    match pressure {
                        Pressure::None => info!("the disk has room again"),
                        Pressure::High => {
                            warn!("the disk is nearly full: new messages are refused")
                        }
                        Pressure::Full => {
                            error!("the disk is full: nothing can be kept at present")
                        }
                    }
                    self.inbox
                        .push(Input::StoragePressure(pressure != Pressure::None));
                }
                LogEvent::Poisoned(poison) => {
                    error!("the disk has failed, and this broker must stop: {poison}");
                    self.inbox.push(Input::StorageFailed);
                }
                LogEvent::Warning(warning) => warn!("log: {warning}"),
                LogEvent::Closed => return false,
                LogEvent::Checkpointed { .. } => debug!("a checkpoint is complete"),
                _ => {}
            }
        }
        true
    }
}
