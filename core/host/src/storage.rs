//! Where sessions and messages are kept: opening it, and the thread that writes.
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
//!
//! One batch that nobody else's is there to join gains nothing from another thread but two
//! wake-ups, which take as long as half a sync of a quick disk: a shard that has nothing else to do
//! keeps it itself, with the same steps. Two never work at once. See [`LogSender::commit_here`].

mod log;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
#[cfg(test)]
mod tests;
pub(crate) mod thread;

pub use store::{Store, StoreEvent};
pub use thread::{Gone, LogRequest, LogSender, News, SharedStatistics, Teller};

use crate::Executor;
use crate::brokers::{fitted, new_uuid};
use std::io;
use std::path::Path;
use tracing::info;
use whimbrel_core::restore::Restorer;
use whimbrel_core::runtime::{ServerConfig, StorageConfig, StorageError};

/// The file of the database, and those that SQLite keeps beside it begin with its name.
const DATABASE: &str = "whimbrel.sqlite";

/// What is open, and has no thread yet; and what was in it.
pub struct Opened {
    /// Keeps what is to come.
    pub store: Box<dyn Store>,
    /// Has what was kept.
    pub restorer: Restorer,
}

/// Opens what the configuration names, reads all of it, and says so. `None` when nothing is kept.
///
/// # Errors
///
/// Why it cannot be used; nothing was changed then, but for a directory that may have been made.
pub fn open(config: &ServerConfig) -> Result<Option<Opened>, StorageError> {
    let restorer = Restorer::within(config.broker.limits.queued_payload_memory_bytes);
    let (directory, opened) = match &config.storage {
        StorageConfig::Memory => return Ok(None),
        StorageConfig::Log { directory, log } => {
            let (_, fitted) = fitted(config);
            let log = fitted.as_ref().unwrap_or(log);
            (directory, log::open(directory, log, new_uuid(), restorer)?)
        }
        #[cfg(feature = "sqlite")]
        StorageConfig::Sqlite {
            directory,
            database,
        } => (directory, sqlite::open(directory, database, restorer)?),
        #[cfg(not(feature = "sqlite"))]
        StorageConfig::Sqlite { .. } => return Err(StorageError::NoSqlite),
    };
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
    let directory = directory.display();
    let (sessions, retained) = opened.restorer.counts();
    let queued = opened.restorer.queued_count();
    info!(%directory, sessions, retained, queued, "what was kept is read");
    Ok(Some(opened))
}

/// Makes the directory, and locks it for this process.
fn lock(directory: &Path) -> Result<Executor, StorageError> {
    Executor::open(directory).map_err(|source| {
        let directory = directory.to_path_buf();
        if source.kind() == io::ErrorKind::WouldBlock {
            let process = Executor::owner(&directory);
            StorageError::InUse { directory, process }
        } else {
            StorageError::Directory { directory, source }
        }
    })
}
