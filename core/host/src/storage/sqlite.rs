//! Records in an SQLite database: a row for each key, a transaction for everything that waits.
//!
//! What SQLite does is asked for once, when it is opened: a write-ahead log (WAL) that is synced at
//! the end of every transaction. Nothing is appended to a WAL of an earlier process: it is copied
//! to the database and synced first, since what a failed sync left behind may read well and not be
//! stored.

use super::store::{Store, StoreEvent};
use super::{DATABASE, Opened, lock};
use crate::Executor;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, params};
use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use thiserror::Error;
use tracing::{info, warn};
use whimbrel_core::Timestamp;
use whimbrel_core::action::Batch;
use whimbrel_core::id::MessageId;
use whimbrel_core::log::{
    BatchRef, BatchWriter, Completion, FileAction, FileName, Loaded, Op, Pressure, Shortage,
    Statistics,
};
use whimbrel_core::restore::{Restorer, dependents};
use whimbrel_core::runtime::{SqliteConfig, StorageError};

/// Marks the file as ours, in SQLite's header.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"whmb");

/// What the table looks like.
const FORMAT: i32 = 1;

/// How much is handed to the restorer at once, in bytes.
const RESTORE_BYTES: usize = 256 << 10;

/// How many messages are read between commits.
const READS: usize = 64;

/// How long until a full disk is tried again, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// Why a database cannot be used.
#[derive(Debug, Error)]
enum DatabaseError {
    /// What SQLite says.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// It is not one of this program.
    #[error("another program wrote it")]
    Foreign,
    /// A later version wrote it.
    #[error("its format is {0}, which this version does not know; start the version that wrote it")]
    Format(i32),
}

struct SqliteStore {
    database: Connection,
    config: SqliteConfig,
    /// In order; kept until a transaction with all of them has succeeded.
    pending: Vec<(u16, Batch)>,
    /// What is to be read, and for whom.
    asked: VecDeque<(u16, MessageId)>,
    /// Until when they wait for company, or for room on the disk.
    waits_until: Option<Timestamp>,
    pressure: Pressure,
    ending: Ending,
    events: VecDeque<StoreEvent>,
    statistics: Statistics,
    now: Timestamp,
    /// Holds the lock on the directory.
    _lock: Executor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Open,
    Closing,
    /// Closed, or failed.
    Over,
}

/// Opens the database, and reads all of it.
pub(super) fn open(
    directory: &Path,
    config: &SqliteConfig,
    mut restorer: Restorer,
) -> Result<Opened, StorageError> {
    let mut lock = lock(directory)?;
    let refuse = |source| StorageError::Directory {
        directory: directory.to_path_buf(),
        source,
    };
    if has_log(&mut lock) {
        return Err(StorageError::OtherBackend {
            directory: directory.to_path_buf(),
            backend: "log",
        });
    }
    let path = directory.join(DATABASE);
    make(&path).map_err(refuse)?;
    let broken = |source: DatabaseError| StorageError::Database {
        directory: directory.to_path_buf(),
        source: source.into(),
    };
    let database = connect(&path).map_err(&broken)?;
    let mut read = Reader::default();
    read.all(&database, &mut restorer)
        .map_err(|error| match error {
            ReadError::Sqlite(error) => broken(error.into()),
            ReadError::Restore(source) => StorageError::Database {
                directory: directory.to_path_buf(),
                source: source.into(),
            },
        })?;
    let mut store = SqliteStore {
        database,
        config: config.clone(),
        pending: Vec::new(),
        asked: VecDeque::new(),
        waits_until: None,
        pressure: Pressure::None,
        ending: Ending::Open,
        events: VecDeque::new(),
        statistics: Statistics::default(),
        now: Timestamp::default(),
        _lock: lock,
    };
    for message in restorer.wanted() {
        let value = store
            .look_up(message)
            .map_err(|error| broken(error.into()))?;
        restorer.supply(message, &value.unwrap_or_default());
    }
    store.weigh().map_err(|error| broken(error.into()))?;
    Ok(Opened {
        store: Box::new(store),
        restorer,
    })
}

/// Whether there are segments of a log.
fn has_log(executor: &mut Executor) -> bool {
    let Ok(Completion::Listed(entries)) = executor.run(&FileAction::List) else {
        return false;
    };
    let names = entries.iter().map(|entry| FileName::parse(&entry.name));
    names.flatten().count() > 0
}

/// Makes the file; what SQLite puts beside it gets the same mode.
fn make(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn connect(path: &Path) -> Result<Connection, DatabaseError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags)?;
    // What was not confirmed must not be synced again by closing.
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let number = |pragma| database.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let (application, format) = (number("application_id")?, number("user_version")?);
    let is_new = number("schema_version")? == 0;
    match (application, format) {
        (APPLICATION_ID, FORMAT) => {}
        (APPLICATION_ID, other) if other != 0 => return Err(DatabaseError::Format(other)),
        _ if is_new => {}
        _ => return Err(DatabaseError::Foreign),
    }
    database.execute_batch(&format!(
        "PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA wal_checkpoint(TRUNCATE);
         BEGIN IMMEDIATE;
         CREATE TABLE IF NOT EXISTS records (
             key BLOB NOT NULL PRIMARY KEY,
             value BLOB NOT NULL
         ) STRICT, WITHOUT ROWID;
         PRAGMA application_id = {APPLICATION_ID};
         PRAGMA user_version = {FORMAT};
         COMMIT;"
    ))?;
    if is_new {
        info!(database = %path.display(), "a new database");
    }
    Ok(database)
}

enum ReadError {
    Sqlite(rusqlite::Error),
    Restore(whimbrel_core::restore::RestoreError),
}

/// Gives the restorer the rows as batches of puts.
#[derive(Default)]
struct Reader {
    batch: Vec<u8>,
}

impl Reader {
    fn all(&mut self, database: &Connection, restorer: &mut Restorer) -> Result<(), ReadError> {
        let sqlite = ReadError::Sqlite;
        let mut query = database
            .prepare("SELECT key, value FROM records")
            .map_err(sqlite)?;
        let mut rows = query.query([]).map_err(sqlite)?;
        while let Some(row) = rows.next().map_err(sqlite)? {
            let blob = |index| row.get_ref(index)?.as_blob().map_err(rusqlite::Error::from);
            let (key, value) = (blob(0).map_err(sqlite)?, blob(1).map_err(sqlite)?);
            BatchWriter::new(&mut self.batch).put(key, value);
            if self.batch.len() >= RESTORE_BYTES {
                self.hand_over(restorer)?;
            }
        }
        self.hand_over(restorer)
    }

    fn hand_over(&mut self, restorer: &mut Restorer) -> Result<(), ReadError> {
        let applied = restorer.apply(&self.batch);
        self.batch.clear();
        applied.map_err(ReadError::Restore)
    }
}

impl Store for SqliteStore {
    fn append(&mut self, shard: u16, batch: Batch) {
        if self.ending != Ending::Open {
            return;
        }
        self.statistics.batches += 1;
        self.statistics.payload_bytes += batch.operations.len() as u64;
        if self.pending.is_empty() && self.config.sync_window_ms > 0 {
            self.waits_until = Some(self.now.after_ms(self.config.sync_window_ms));
        }
        self.pending.push((shard, batch));
    }

    fn read(&mut self, shard: u16, message: MessageId) {
        self.asked.push_back((shard, message));
    }

    fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.waits_until.filter(|_| !self.pending.is_empty())
    }

    fn close(&mut self) {
        if self.ending == Ending::Open {
            self.ending = Ending::Closing;
        }
    }

    fn step(&mut self) -> bool {
        if self.ending == Ending::Over {
            return false;
        }
        if self.pending.is_empty() && self.ending == Ending::Closing {
            self.finish();
            return false;
        }
        let waits = self.waits_until.is_some_and(|until| until > self.now);
        if self.pending.is_empty() || (waits && self.ending == Ending::Open) {
            return self.answer();
        }
        self.waits_until = None;
        match self.write() {
            Ok(()) => {
                self.written();
                self.answer();
            }
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                self.waits_until = Some(self.now.after_ms(RETRY_MS));
                self.press(Pressure::Full(Shortage::Disk));
                // There is no waiting for room at the end.
                return self.ending == Ending::Open;
            }
            Err(error) => self.fail(&error),
        }
        true
    }

    fn poll_event(&mut self) -> Option<StoreEvent> {
        self.events.pop_front()
    }

    fn statistics(&self) -> Statistics {
        self.statistics
    }
}

impl SqliteStore {
    /// Everything that is pending, in one transaction.
    fn write(&mut self) -> rusqlite::Result<()> {
        let transaction = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut put = transaction.prepare_cached(
                "INSERT INTO records (key, value) VALUES (?1, ?2)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            )?;
            let mut delete = transaction.prepare_cached("DELETE FROM records WHERE key = ?1")?;
            let mut delete_all =
                transaction.prepare_cached("DELETE FROM records WHERE key >= ?1 AND key < ?2")?;
            for (_, batch) in &self.pending {
                for op in BatchRef::new(&batch.operations) {
                    match op.expect("the broker hands over whole operations") {
                        Op::Put { key, value } => put.execute(params![key, value])?,
                        Op::Delete { key } => {
                            for prefix in dependents(key) {
                                delete_all.execute(params![prefix, behind(&prefix)])?;
                            }
                            delete.execute([key])?
                        }
                    };
                }
            }
        }
        transaction.commit()
    }

    /// Reads some of what was asked for: whether there was anything.
    fn answer(&mut self) -> bool {
        let some = self.asked.len().min(READS);
        for (shard, message) in self.asked.drain(..some).collect::<Vec<_>>() {
            match self.look_up(message) {
                Ok(value) => self.events.push_back(StoreEvent::Loaded(Loaded {
                    shard,
                    message,
                    value,
                })),
                Err(error) => self.fail(&error),
            }
        }
        some > 0
    }

    fn look_up(&self, message: MessageId) -> rusqlite::Result<Option<Vec<u8>>> {
        let mut query = self
            .database
            .prepare_cached("SELECT value FROM records WHERE key = ?1")?;
        let value = query.query_row([message.key()], |row| row.get(0));
        value.optional()
    }

    fn written(&mut self) {
        self.statistics.writes += 1;
        self.statistics.syncs += 1;
        let mut durable = std::collections::BTreeMap::new();
        for (shard, batch) in self.pending.drain(..) {
            durable.insert(shard, batch.position);
        }
        for (shard, position) in durable {
            self.events
                .push_back(StoreEvent::Durable { shard, position });
        }
        if let Err(error) = self.weigh() {
            self.fail(&error);
        }
    }

    /// Compares what the records take with the quota.
    fn weigh(&mut self) -> rusqlite::Result<()> {
        let number = |pragma| {
            let read = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
            let number = self.database.pragma_query_value(None, pragma, read)?;
            Ok::<_, rusqlite::Error>(u64::try_from(number).unwrap_or_default())
        };
        let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
        let used_bytes = pages * number("page_size")?;
        self.statistics.used_bytes = used_bytes;
        let is_full = self
            .config
            .quota_bytes
            .is_some_and(|quota| used_bytes >= quota);
        self.press(if is_full {
            Pressure::High(Shortage::Quota)
        } else {
            Pressure::None
        });
        Ok(())
    }

    fn press(&mut self, pressure: Pressure) {
        if pressure != self.pressure {
            self.pressure = pressure;
            self.events.push_back(StoreEvent::Pressure(pressure));
        }
    }

    fn fail(&mut self, error: &rusqlite::Error) {
        self.ending = Ending::Over;
        self.events.push_back(StoreEvent::Failed(error.to_string()));
    }

    /// Leaves one file behind.
    fn finish(&mut self) {
        self.ending = Ending::Over;
        let tidied = self
            .database
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        if let Err(error) = tidied {
            warn!("the database is whole, but could not be tidied: {error}");
        }
        self.events.push_back(StoreEvent::Closed);
    }
}

/// The first key behind all that begin with `prefix`, which is not all 0xFF.
fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    while key.pop_if(|last| *last == u8::MAX).is_some() {}
    if let Some(last) = key.last_mut() {
        *last += 1;
    }
    key
}
