//! The log of `core`, on real files.

use super::store::{Store, StoreEvent};
use super::{DATABASE, Opened, lock};
use crate::Executor;
use std::collections::VecDeque;
use std::path::Path;
use tracing::{error, info, warn};
use whimbrel_core::Timestamp;
use whimbrel_core::action::Batch;
use whimbrel_core::id::{MessageId, Position};
use whimbrel_core::log::{
    self, AppendError, Engine, LogConfig, LogEnd, LogEvent, LogUuid, Recovery, Statistics, Summary,
};
use whimbrel_core::restore::{EndedInDoubt, Restorer, RetainedLost};
use whimbrel_core::runtime::StorageError;

struct LogStore {
    engine: Engine,
    executor: Executor,
    /// What is live in each shard.
    live_bytes: Vec<u64>,
    /// A batch was not taken: a bug. Positions acknowledge everything before them, so nothing may
    /// become durable after it.
    refused: Refused,
    /// What came of what was kept before the brokers started.
    early: VecDeque<LogEvent>,
}

/// What has become of a batch that was not taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refused {
    Never,
    ToTell(AppendError),
    Told,
}

/// Opens the log, and says what it went through.
pub(super) fn open(
    directory: &Path,
    config: &LogConfig,
    uuid: LogUuid,
    mut restorer: Restorer,
) -> Result<Opened, StorageError> {
    config.validate()?;
    let mut executor = lock(directory)?;
    if directory.join(DATABASE).exists() {
        return Err(StorageError::OtherBackend {
            directory: directory.to_path_buf(),
            backend: "sqlite",
        });
    }
    let mut recovery = Recovery::open(config.clone(), uuid);
    loop {
        while let Some(recovered) = recovery.poll_batch() {
            restorer
                .apply(recovered.batch.ops)
                .map_err(|source| StorageError::Restore {
                    directory: directory.to_path_buf(),
                    frame: recovered.lsn,
                    source,
                })?;
        }
        let Some(operation) = recovery.poll_operation() else {
            break;
        };
        let (id, result) = (operation.id, executor.run(&operation.action));
        recovery.completed(id, result);
    }
    let opened = recovery.into_engine();
    let (engine, summary) = opened.map_err(|source| StorageError::Recovery {
        directory: directory.to_path_buf(),
        source,
    })?;
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_path_buf());
    report(&directory, &summary);
    let mut store = LogStore {
        engine,
        executor,
        live_bytes: vec![0; config.shards.into()],
        refused: Refused::Never,
        early: VecDeque::new(),
    };
    if let Some(ended) = restorer.end_in_doubt(&summary.doubts) {
        tell(&directory, &ended);
        store.keep_first(&ended.operations);
    }
    store.supply(&mut restorer);
    Ok(Opened {
        store: Box::new(store),
        restorer,
    })
}

fn report(directory: &Path, summary: &Summary) {
    let directory = directory.display();
    match summary.end {
        LogEnd::New => info!(%directory, "a new log"),
        LogEnd::Clean => info!(%directory, "the last run ended in order"),
        LogEnd::Unclean => info!(
            %directory,
            "the last run did not end in order: the broker was killed, or the power failed"
        ),
        LogEnd::Torn {
            file,
            offset,
            bytes,
        } => warn!(
            %directory, %file, offset, bytes,
            "the last write was not finished, or was damaged since; it is cut off"
        ),
    }
    for damage in &summary.lost {
        error!(%directory, "given up as the configuration says: {damage}");
    }
    for copy in &summary.copies {
        error!(%directory, "what the file was before is kept as {copy}");
    }
}

/// More than these of a kind are not named one by one.
const NAMED: usize = 100;

/// What clients have lost by a repair.
fn tell(directory: &Path, ended: &EndedInDoubt) {
    let directory = directory.display();
    let EndedInDoubt {
        sessions,
        retained_lost,
        ..
    } = ended;
    error!(
        %directory, sessions = sessions.len(), retained = retained_lost.len(),
        "after the repair of the log, sessions end, since subscriptions may be lost, and wills are not \
         published; lost, too: what the records given up had retained or cleared"
    );
    for session in sessions.iter().take(NAMED) {
        error!(
            // None where the record that says so is lost.
            client_id = session.client_id.as_deref(),
            tenant = session.tenant.as_deref(),
            subscriptions = session.subscriptions,
            deliveries = session.deliveries,
            receiving = session.receiving,
            will_topic = session.will_topic.as_deref(),
            "lost: a session"
        );
    }
    for RetainedLost { tenant, topic } in retained_lost.iter().take(NAMED) {
        let tenant = Some(&**tenant).filter(|tenant| !tenant.is_empty());
        error!(tenant, topic = &**topic, "lost: a retained message");
    }
}

impl LogStore {
    /// Before any broker appends, whose positions begin with 1.
    fn keep_first(&mut self, ops: &[u8]) {
        let position = Position(0);
        let batch = log::Batch {
            shard: 0,
            position,
            marker: log::Marker::None,
            ops,
        };
        if let Err(why) = self.engine.append(batch) {
            self.refused = Refused::ToTell(why);
        }
        let durable = LogEvent::Durable { shard: 0, position };
        // What comes is behind it in any case, should there be no room for it now.
        while self.step() {
            while let Some(event) = self.engine.poll_event() {
                if event == durable {
                    return;
                }
                self.early.push_back(event);
            }
        }
    }

    /// Reads what is retained and was too much to be kept in memory while reading.
    fn supply(&mut self, restorer: &mut Restorer) {
        let wanted = restorer.wanted();
        for message in &wanted {
            self.engine.read_back(0, *message);
        }
        let mut missing = wanted.len();
        while missing > 0 {
            while let Some(loaded) = self.engine.poll_loaded() {
                missing -= 1;
                let value = loaded.value.unwrap_or_default();
                if !restorer.supply(loaded.message, &value) {
                    error!(message = ?loaded.message, "a retained message cannot be read back");
                }
            }
            if !self.step() {
                return;
            }
        }
    }
}

impl Store for LogStore {
    fn append(&mut self, shard: u16, batch: Batch) {
        if self.refused != Refused::Never {
            return;
        }
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
        match appended {
            // A log that has failed has said so by its event.
            Ok(()) | Err(AppendError::Poisoned) => {}
            Err(why) => self.refused = Refused::ToTell(why),
        }
    }

    fn read(&mut self, shard: u16, message: MessageId) {
        self.engine.read_back(shard, message);
    }

    fn advance(&mut self, now: Timestamp) {
        self.engine.advance(now);
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        match self.refused {
            Refused::Never => self.engine.next_deadline(),
            Refused::ToTell(_) | Refused::Told => None,
        }
    }

    fn close(&mut self) {
        self.engine.close();
    }

    fn step(&mut self) -> bool {
        if self.refused != Refused::Never {
            return false;
        }
        let Some(operation) = self.engine.poll_operation() else {
            return false;
        };
        let (id, result) = (operation.id, self.executor.run(&operation.action));
        self.engine.completed(id, result);
        true
    }

    fn poll_event(&mut self) -> Option<StoreEvent> {
        match self.refused {
            Refused::Never => {}
            Refused::ToTell(why) => {
                self.refused = Refused::Told;
                return Some(StoreEvent::Failed(why.to_string()));
            }
            Refused::Told => return None,
        }
        if let Some(loaded) = self.engine.poll_loaded() {
            return Some(StoreEvent::Loaded(loaded));
        }
        loop {
            let early = self.early.pop_front();
            return Some(match early.or_else(|| self.engine.poll_event())? {
                LogEvent::Durable { shard, position } => StoreEvent::Durable { shard, position },
                LogEvent::CheckpointWanted => StoreEvent::CheckpointWanted,
                LogEvent::Pressure(pressure) => StoreEvent::Pressure(pressure),
                LogEvent::Poisoned(poison) => StoreEvent::Failed(poison.to_string()),
                LogEvent::Closed => StoreEvent::Closed,
                LogEvent::Checkpointed { segments_removed } => {
                    info!(segments_removed, "a checkpoint is complete");
                    continue;
                }
                LogEvent::Warning(warning) => {
                    warn!("log: {warning}");
                    continue;
                }
                _ => continue,
            });
        }
    }

    fn statistics(&self) -> Statistics {
        self.engine.statistics()
    }
}
