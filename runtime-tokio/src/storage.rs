//! Where sessions and messages are kept: opening it, and the one thread that writes.
//!
//! ```text
//! shard ──batches──▶ thread: Store ⇄ files
//!   ▲                   │
//!   └── durable up to ──┘
//! ```
//!
//! The thread takes everything that waits, lets the store write it at once and sync once, and
//! reports how far that got: batching comes by itself while a sync runs. It decides nothing. A
//! [`Store`] is the log of `core`, or an SQLite database.

mod log;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
#[cfg(test)]
mod tests;
mod thread;

pub(crate) use store::Store;
pub(crate) use thread::{SharedStatistics, spawn};

use crate::config::ServerConfig;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;
use tracing::info;
use whimbrel_core::log::executor::Executor;
use whimbrel_core::log::{ConfigError, LogConfig, LogUuid, RecoveryError};
use whimbrel_core::restore::{RestoreError, Restorer};

/// Where sessions and messages are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StorageConfig {
    /// In memory: what is acknowledged is lost when the process ends. Default for embedding, which
    /// asks for no directory.
    #[default]
    Memory,
    /// In a log on disk: what is acknowledged is on stable storage.
    Log {
        /// The directory, made if need be. Only one process may use it at a time.
        directory: PathBuf,
        /// The log's own settings.
        log: LogConfig,
    },
    /// In an SQLite database: what is acknowledged is on stable storage. Needs the feature
    /// `sqlite`.
    Sqlite {
        /// The directory, made if need be. Only one process may use it at a time.
        directory: PathBuf,
        /// The database's own settings.
        database: SqliteConfig,
    },
}

/// Settings of [`StorageConfig::Sqlite`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SqliteConfig {
    /// From how many bytes of records on new messages are refused. Default: none.
    pub quota_bytes: Option<u64>,
    /// See [`LogConfig::sync_window_ms`].
    pub sync_window_ms: u64,
}

impl StorageConfig {
    /// Whether acknowledgements wait for the disk.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        !matches!(self, Self::Memory)
    }
}

/// Why what is kept cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Another process has the directory.
    #[error("{} is in use by another process; stop it, or give this broker another directory", .0.display())]
    InUse(PathBuf),
    /// The directory cannot be made or opened.
    #[error("cannot use {}: {source}", directory.display())]
    Directory {
        /// Which.
        directory: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is something of the other backend, which would be forgotten.
    #[error(
        "{} holds what the backend \"{backend}\" keeps; choose that, or give this broker another \
         directory", directory.display()
    )]
    OtherBackend {
        /// Where.
        directory: PathBuf,
        /// Whose.
        backend: &'static str,
    },
    /// The settings do not fit together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log cannot be read.
    #[error("the log in {} cannot be opened: {source}", directory.display())]
    Recovery {
        /// Where.
        directory: PathBuf,
        /// Why.
        source: RecoveryError,
    },
    /// What is kept can be read, but not understood.
    #[error("what is kept in {} cannot be used: {source}", directory.display())]
    Restore {
        /// Where.
        directory: PathBuf,
        /// Why.
        source: RestoreError,
    },
    /// This program was built without SQLite.
    #[error(
        "this program was built without SQLite; build it with the feature `sqlite`, or keep things in a log"
    )]
    NoSqlite,
    /// The database cannot be read, or is not one of this program.
    #[cfg(feature = "sqlite")]
    #[error("the database in {} cannot be used: {source}", directory.display())]
    Database {
        /// Where.
        directory: PathBuf,
        /// Why.
        source: DatabaseError,
    },
}

#[cfg(feature = "sqlite")]
pub use sqlite::DatabaseError;

/// The file of the database, and those that SQLite keeps beside it begin with its name.
const DATABASE: &str = "whimbrel.sqlite";

/// What is open, and has no thread yet; and what was in it.
pub(crate) struct Opened {
    pub(crate) store: Box<dyn Store>,
    pub(crate) restorer: Restorer,
}

/// What a batch may hold beside one packet of the largest size: the core closes batches long
/// before.
const BATCH_MARGIN_BYTES: u32 = 8 << 20;

/// The log's settings, with room for whatever the broker lets in.
fn fitted(log: &LogConfig, broker: &whimbrel_core::Config) -> LogConfig {
    let packet_bytes = broker.protocol.maximum_packet_size;
    let needed = packet_bytes.saturating_add(BATCH_MARGIN_BYTES);
    LogConfig {
        batch_bytes_max: log.batch_bytes_max.max(needed),
        ..log.clone()
    }
}

/// Opens what the configuration names, reads all of it, and says so. `None` when nothing is kept.
///
/// # Errors
///
/// Why it cannot be used; nothing was changed then, but for a directory that may have been made.
pub(crate) fn open(config: &ServerConfig, uuid: LogUuid) -> Result<Option<Opened>, StorageError> {
    let restorer = Restorer::within(config.broker.limits.queued_payload_memory_bytes);
    let (directory, opened) = match &config.storage {
        StorageConfig::Memory => return Ok(None),
        StorageConfig::Log { directory, log } => {
            let settings = fitted(log, &config.broker);
            (directory, log::open(directory, &settings, uuid, restorer)?)
        }
        #[cfg(feature = "sqlite")]
        StorageConfig::Sqlite {
            directory,
            database,
        } => (directory, sqlite::open(directory, database, restorer)?),
        #[cfg(not(feature = "sqlite"))]
        StorageConfig::Sqlite { .. } => return Err(StorageError::NoSqlite),
    };
    let directory = directory.display();
    let (sessions, retained) = opened.restorer.counts();
    info!(%directory, sessions, retained, "what was kept is read");
    Ok(Some(opened))
}

/// Makes the directory, and locks it for this process.
fn lock(directory: &Path) -> Result<Executor, StorageError> {
    Executor::open(directory).map_err(|source| {
        let directory = directory.to_path_buf();
        if source.kind() == io::ErrorKind::WouldBlock {
            StorageError::InUse(directory)
        } else {
            StorageError::Directory { directory, source }
        }
    })
}
