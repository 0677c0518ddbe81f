//! The brokers of a server, as they start.

use crate::clock::Clock;
use core::hash::{BuildHasher, Hasher};
use std::thread;
use whimbrel_core::config::ConfigError;
use whimbrel_core::log::{LogConfig, LogUuid};
use whimbrel_core::runtime::{ServerConfig, StorageConfig, fit};
use whimbrel_core::{Broker, Config, Restorer};

/// What the broker of one shard begins with.
pub struct Beginning {
    config: Config,
    seed: u64,
    clock: Clock,
    kept: Option<Restorer>,
}

impl Beginning {
    /// The broker, with what was kept of its shard. With much of it that takes seconds.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration.
    pub fn broker(self) -> Result<Broker, ConfigError> {
        let now = self.clock.now();
        match self.kept {
            Some(kept) => Broker::restore(self.config, self.seed, now, kept),
            None => Broker::new(self.config, self.seed, now),
        }
    }
}

/// What each shard begins with.
pub(crate) fn beginnings(
    config: &ServerConfig,
    clock: Clock,
    kept: Option<Restorer>,
) -> Vec<Beginning> {
    let (mut config, _) = fitted(config);
    if let Some(kept) = &kept {
        config.identity.boot_epoch = kept.next_boot_epoch();
    }
    let shards = config.identity.shards;
    let seed = unpredictable();
    let mut parts = kept.map(|kept| kept.split(shards).into_iter());
    (0..shards)
        .map(|shard| {
            let mut config = config.clone();
            config.identity.shard = shard;
            Beginning {
                config,
                seed,
                clock,
                kept: parts.as_mut().and_then(Iterator::next),
            }
        })
        .collect()
}

/// Looks whether brokers can be set like this, before anything is opened.
///
/// # Errors
///
/// What does not fit together.
pub(crate) fn validate(config: &ServerConfig) -> Result<(), ConfigError> {
    fitted(config).0.validate()
}

/// What all shards are set to, and the log if that is what they write to.
pub(crate) fn fitted(config: &ServerConfig) -> (Config, Option<LogConfig>) {
    let mut broker = config.broker();
    let shards = shards(config);
    broker.identity.shards = shards;
    let log = match &config.storage {
        StorageConfig::Log { log, .. } => Some(LogConfig {
            shards,
            ..fit(log, &mut broker)
        }),
        StorageConfig::Memory | StorageConfig::Sqlite { .. } => None,
    };
    (broker, log)
}

/// How many shards there will be.
pub(crate) fn shards(config: &ServerConfig) -> u16 {
    match config.threads {
        // Several leave it to checkpoints to find out what nobody needs any more.
        _ if matches!(config.storage, StorageConfig::Sqlite { .. }) => 1,
        // One for each core.
        0 => thread::available_parallelism().map_or(1, |cores| {
            u16::try_from(cores.get()).unwrap_or(u16::MAX).min(64)
        }),
        threads => threads,
    }
}

/// Names a new log. Only has to differ from the names of others.
#[must_use]
pub fn new_uuid() -> LogUuid {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&unpredictable().to_le_bytes());
    bytes[8..].copy_from_slice(&unpredictable().to_le_bytes());
    LogUuid(bytes)
}

/// A number that peers cannot guess. The standard library seeds each of these hashers at random.
fn unpredictable() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
