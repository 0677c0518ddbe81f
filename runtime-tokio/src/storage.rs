//! The log of a server: opening it, and the one thread that carries out what its engine asks for.
//!
//! ```text
//! shard ──batches──▶ log thread: engine ⇄ files
//!   ▲                     │
//!   └──── durable up to ──┘
//! ```
//!
//! The thread takes everything that waits, lets the engine write it at once and sync once, and
//! reports how far that got: batching comes by itself while a sync runs. It decides nothing.

use crate::clock::Clock;
use crate::shard::{Input, LogRequest};
use core::time::Duration;
use std::io;
use std::path::Path;
use std::sync::mpsc as std_mpsc;
use std::thread::{self, JoinHandle};
use tokio::sync::mpsc;
use tracing::{error, info, warn};
use whimbrel_core::action::Batch;
use whimbrel_core::log::executor::Executor;
use whimbrel_core::log::{
    self, Engine, LogConfig, LogEnd, LogEvent, LogUuid, Pressure, Recovery, Summary,
};
use whimbrel_core::restore::Restorer;
use whimbrel_core::runtime::StorageError;

/// A log that is open, and has no thread yet.
pub(crate) struct OpenLog {
    engine: Engine,
    executor: Executor,
}

/// What a batch may hold beside one packet of the largest size: the core closes batches long
/// before.
const BATCH_MARGIN_BYTES: u32 = 8 << 20;

/// The log's settings, with room for whatever the broker lets in.
pub(crate) fn fitted(log: &LogConfig, broker: &whimbrel_core::Config) -> LogConfig {
    let packet_bytes = broker.protocol.maximum_packet_size;
    let needed = packet_bytes.saturating_add(BATCH_MARGIN_BYTES);
    LogConfig {
        batch_bytes_max: log.batch_bytes_max.max(needed),
        shards: broker.identity.shards,
        ..log.clone()
    }
}

/// Opens the log, and says what is in it.
pub(crate) fn open(
    directory: &Path,
    config: &LogConfig,
    uuid: LogUuid,
    memory_bytes: u64,
) -> Result<(OpenLog, Restorer), StorageError> {
    config.validate()?;
    let mut executor = Executor::open(directory).map_err(|source| {
        let directory = directory.to_path_buf();
        if source.kind() == io::ErrorKind::WouldBlock {
            StorageError::InUse(directory)
        } else {
            StorageError::Directory { directory, source }
        }
    })?;
    let mut recovery = Recovery::open(config.clone(), uuid);
    let mut restorer = Restorer::within(memory_bytes);
    loop {
        while let Some(recovered) = recovery.poll_batch() {
            restorer
                .apply(recovered.batch.ops)
                .map_err(|source| StorageError::Restore {
                    directory: directory.to_path_buf(),
                    source,
                })?;
        }
        let Some(operation) = recovery.poll_operation() else {
            break;
        };
        let (id, result) = (operation.id, executor.run(&operation.action));
        recovery.completed(id, result);
    }
    let (mut engine, summary) =
        recovery
            .into_engine()
            .map_err(|source| StorageError::Recovery {
                directory: directory.to_path_buf(),
                source,
            })?;
    report(directory, &summary, &restorer);
    supply(&mut engine, &mut executor, &mut restorer);
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

fn report(directory: &Path, summary: &Summary, restorer: &Restorer) {
    let directory = directory.display();
    match summary.end {
        LogEnd::New => info!(%directory, "a new log"),
        LogEnd::Clean | LogEnd::Unclean => {}
        LogEnd::Torn {
            file,
            offset,
            bytes,
        } => warn!(
            %directory, %file, offset, bytes,
            "the last write had not been finished; nothing in it was acknowledged, and it is cut off"
        ),
    }
    for damage in &summary.lost {
        error!(%directory, "given up as the configuration says: {damage}");
    }
    let (sessions, retained) = restorer.counts();
    info!(%directory, sessions, retained, batches = summary.batches, "the log is read");
}

/// Starts the thread. It ends when the other end of `batches` is gone and all is on disk.
pub(crate) fn spawn(
    log: OpenLog,
    clock: Clock,
    requests: std_mpsc::Receiver<(u16, LogRequest)>,
    shards: Vec<mpsc::Sender<Input>>,
) -> io::Result<JoinHandle<()>> {
    let OpenLog { engine, executor } = log;
    let thread = LogThread {
        engine,
        executor,
        clock,
        live_bytes: vec![0; shards.len()],
        shards,
    };
    thread::Builder::new()
        .name("whimbrel-log".into())
        .spawn(move || thread.run(&requests))
}

struct LogThread {
    engine: Engine,
    executor: Executor,
    clock: Clock,
    shards: Vec<mpsc::Sender<Input>>,
    /// What is live in each shard.
    live_bytes: Vec<u64>,
}

impl LogThread {
    fn run(mut self, requests: &std_mpsc::Receiver<(u16, LogRequest)>) {
        let mut open = true;
        loop {
            while open {
                match requests.try_recv() {
                    Ok((shard, request)) => self.take(shard, request),
                    Err(std_mpsc::TryRecvError::Empty) => break,
                    Err(std_mpsc::TryRecvError::Disconnected) => {
                        open = false;
                        self.engine.close();
                    }
                }
            }
            self.engine.advance(self.clock.now().monotonic);
            let busy = self.operate();
            if !self.tell() || (!open && !busy) {
                return;
            }
            if !busy && open && !self.wait(requests) {
                open = false;
                self.engine.close();
            }
        }
    }

    /// One operation, so that what came meanwhile joins the next write. Whether there was one.
    fn operate(&mut self) -> bool {
        let Some(operation) = self.engine.poll_operation() else {
            return false;
        };
        let (id, result) = (operation.id, self.executor.run(&operation.action));
        self.engine.completed(id, result);
        true
    }

    /// Sleeps until there is a batch, or the engine wants to be called. `false` when all shards are
    /// gone.
    fn wait(&mut self, requests: &std_mpsc::Receiver<(u16, LogRequest)>) -> bool {
        let now = self.clock.now().monotonic;
        let received = match self.engine.next_deadline() {
            None => requests
                .recv()
                .map_err(|_| std_mpsc::RecvTimeoutError::Disconnected),
            Some(at) => {
                let patience = at.duration_from(now).max(Duration::from_millis(1));
                requests.recv_timeout(patience)
            }
        };
        match received {
            Ok((shard, request)) => self.take(shard, request),
            Err(std_mpsc::RecvTimeoutError::Timeout) => {}
            Err(std_mpsc::RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    fn take(&mut self, shard: u16, request: LogRequest) {
        match request {
            LogRequest::Append(batch) => self.append(shard, &batch),
            LogRequest::Load(message) => self.engine.read_back(shard, message),
        }
    }

    fn append(&mut self, shard: u16, batch: &Batch) {
        if let Some(live_bytes) = self.live_bytes.get_mut(usize::from(shard)) {
            *live_bytes = batch.live_bytes;
        }
        self.engine.set_live_bytes(self.live_bytes.iter().sum());
        let appended = self.engine.append(log::Batch {
            shard,
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
            self.tell_all(|| Input::StorageFailed);
        }
    }

    /// Passes on what the engine reports. `false` when it was the last.
    fn tell(&mut self) -> bool {
        while let Some(loaded) = self.engine.poll_loaded() {
            if let Some(shard) = self.shards.get(usize::from(loaded.shard)) {
                let _ = shard.blocking_send(Input::Loaded(loaded.message, loaded.value));
            }
        }
        while let Some(event) = self.engine.poll_event() {
            match event {
                LogEvent::Durable { shard, position } => {
                    if let Some(shard) = self.shards.get(usize::from(shard)) {
                        // A shard that is gone needs no answer.
                        let _ = shard.blocking_send(Input::Persisted(position));
                    }
                }
                LogEvent::CheckpointWanted => self.tell_all(|| Input::Checkpoint),
                LogEvent::Checkpointed { segments_removed } => {
                    info!(segments_removed, "a checkpoint is complete");
                }
                LogEvent::Pressure(pressure) => {
                    let is_full = pressure != Pressure::None;
                    match pressure {
                        Pressure::None => info!("the disk has room again"),
                        Pressure::High => {
                            warn!("the disk is nearly full: new messages are refused")
                        }
                        Pressure::Full => {
                            error!("the disk is full: nothing can be kept at present")
                        }
                    }
                    self.tell_all(|| Input::StoragePressure(is_full));
                }
                LogEvent::Poisoned(poison) => {
                    error!("the log has failed, and this broker must stop: {poison}");
                    self.tell_all(|| Input::StorageFailed);
                }
                LogEvent::Warning(warning) => warn!("log: {warning}"),
                LogEvent::Closed => return false,
                _ => {}
            }
        }
        true
    }

    fn tell_all(&self, input: impl Fn() -> Input) {
        for shard in &self.shards {
            let _ = shard.blocking_send(input());
        }
    }
}
