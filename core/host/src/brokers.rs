//! The brokers of a server, as they start.

use crate::clock::Clock;
use core::hash::{BuildHasher, Hasher};
use std::thread;
use whimbrel_core::config::ConfigError;
use whimbrel_core::log::{LogConfig, LogUuid};
use whimbrel_core::runtime::{ServerConfig, StorageConfig, fit};
use whimbrel_core::{Broker, Config, Restorer};

/// One broker for each shard, with what was kept.
///
/// # Errors
///
/// What is wrong with the configuration.
pub(crate) fn brokers(
    config: &ServerConfig,
    clock: Clock,
    kept: Option<Restorer>,
) -> Result<Vec<Broker>, ConfigError> {
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
            match parts.as_mut().and_then(Iterator::next) {
                Some(part) => Broker::restore(config, seed, clock.now(), part),
                None => Broker::new(config, seed, clock.now()),
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
