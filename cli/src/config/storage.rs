//! Where sessions and messages are kept, as an operator says it.
//!
//! The program keeps what it acknowledges unless told otherwise; a program that embeds the broker
//! has to ask for it.

use super::field::Named;
use whimbrel_core::log::{LogConfig, OnCorruption, SyncPolicy};
use whimbrel_core::runtime::{SqliteConfig, StorageConfig};

/// The section `[storage]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Storage {
    /// On disk or in memory.
    pub(crate) backend: Backend,
    /// Of the log.
    pub(crate) directory: String,
    /// When an acknowledgement may be sent.
    pub(crate) sync: Sync,
    /// For [`Sync::Interval`].
    pub(crate) sync_interval_ms: u64,
    /// Everything else about the log. Its `sync` is what the fields here say.
    pub(crate) log: LogConfig,
}

/// What keeps sessions and messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// A log on disk.
    Log,
    /// An SQLite database.
    Sqlite,
    /// Nothing but memory.
    Memory,
}

/// When an acknowledgement may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// When what it stands for is on stable storage.
    Always,
    /// When it is written; stable storage follows within the interval.
    Interval,
    /// When it is written; the system decides about the rest.
    Never,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            backend: Backend::Log,
            directory: "whimbrel-data".to_owned(),
            sync: Sync::Always,
            sync_interval_ms: 100,
            log: LogConfig::default(),
        }
    }
}

impl Storage {
    /// The log's settings.
    pub(crate) fn log(&self) -> LogConfig {
        let sync = match self.sync {
            Sync::Always => SyncPolicy::Always,
            Sync::Interval => SyncPolicy::Interval {
                ms: self.sync_interval_ms,
            },
            Sync::Never => SyncPolicy::Never,
        };
        LogConfig {
            sync,
            ..self.log.clone()
        }
    }

    /// As the runtime wants it.
    pub(crate) fn to_config(&self) -> StorageConfig {
        match self.backend {
            Backend::Memory => StorageConfig::Memory,
            Backend::Log => StorageConfig::Log {
                directory: (&self.directory).into(),
                log: self.log(),
            },
            Backend::Sqlite => StorageConfig::Sqlite {
                directory: (&self.directory).into(),
                database: SqliteConfig {
                    quota_bytes: self.log.quota_bytes,
                    sync_window_ms: self.log.sync_window_ms,
                },
            },
        }
    }

    /// What is set and has no effect.
    pub(crate) fn warning(&self) -> Option<&'static str> {
        (self.backend == Backend::Sqlite && self.sync != Sync::Always).then_some(
            "storage.sync is for the backend \"log\": \"sqlite\" syncs before every acknowledgement \
             whatever it says; take it away",
        )
    }

    /// What an acknowledgement is worth.
    pub(crate) fn guarantee(&self) -> String {
        let Self { directory, .. } = self;
        match (self.backend, self.sync) {
            (Backend::Memory, _) => {
                "kept in memory: what is acknowledged is lost when the broker stops".to_owned()
            }
            (Backend::Sqlite, _) => format!(
                "acknowledged means on disk: kept in a database in {directory}, synced before every \
                 acknowledgement"
            ),
            (Backend::Log, Sync::Always) => format!(
                "acknowledged means on disk: kept in {directory}, synced before every \
                 acknowledgement"
            ),
            (Backend::Log, Sync::Interval) => format!(
                "kept in {directory}: what is acknowledged survives the end of the broker; a power \
                 cut may take the last {} ms",
                self.sync_interval_ms
            ),
            (Backend::Log, Sync::Never) => format!(
                "kept in {directory}: what is acknowledged survives the end of the broker; a power \
                 cut may take anything the system had not written back yet"
            ),
        }
    }
}

impl Named for Backend {
    const NAMES: &'static [&'static str] = &["log", "sqlite", "memory"];
    const VALUES: &'static [Self] = &[Self::Log, Self::Sqlite, Self::Memory];
}

impl Named for Sync {
    const NAMES: &'static [&'static str] = &["always", "interval", "never"];
    const VALUES: &'static [Self] = &[Self::Always, Self::Interval, Self::Never];
}

impl Named for OnCorruption {
    const NAMES: &'static [&'static str] = &["refuse", "quarantine"];
    const VALUES: &'static [Self] = &[Self::Refuse, Self::Quarantine];
}
