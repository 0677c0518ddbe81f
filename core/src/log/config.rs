//! What an operator can choose about the log, and the limits that follow.

use thiserror::Error;

/// Settings of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The size of a segment file in bytes, 16 KiB to 1 GiB, a multiple of 4,096. Default 16 MiB:
    /// preparing one costs well under a second on the slowest cards, and a restart rereads at most
    /// one twice. Small devices choose 1 MiB.
    pub segment_bytes: u64,
    /// The most that all files of the log together may take, spares included. `None` (the default):
    /// what the disk has. At least four segments.
    pub quota_bytes: Option<u64>,
    /// When a batch counts as durable.
    pub sync: SyncPolicy,
    /// How long a batch may wait for company before it is written and synced, in milliseconds.
    /// Fewer syncs spare a memory card; every acknowledgement takes so much longer. Default 0: what
    /// comes while a sync runs is company enough.
    pub sync_window_ms: u64,
    /// No checkpoint is asked for before this many bytes were appended since the last one began.
    /// Default 64 MiB.
    pub checkpoint_min_bytes: u64,
    /// The largest batch that is accepted, in bytes of operations. Default 256 MiB. A batch larger
    /// than a segment makes its segment longer.
    pub batch_bytes_max: u32,
    /// How much may still be appended when space has become short, before who appends heeds it, and
    /// what a checkpoint takes to write that once more, in bytes. Kept ready beside the room for a
    /// checkpoint of what is live. Default 0.
    pub burst_bytes: u64,
    /// How many shards append, and so must end their part of a checkpoint before it counts. Default
    /// 1.
    pub shards: u16,
    /// What to do when damage is found where data was known to be durable.
    pub on_corruption: OnCorruption,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            quota_bytes: None,
            sync: SyncPolicy::Always,
            sync_window_ms: 0,
            checkpoint_min_bytes: 64 << 20,
            batch_bytes_max: 256 << 20,
            burst_bytes: 0,
            shards: 1,
            on_corruption: OnCorruption::Refuse,
        }
    }
}

impl LogConfig {
    /// Whether these settings can work.
    ///
    /// # Errors
    ///
    /// The first setting that cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let segment = self.segment_bytes;
        if !(16 << 10..=1 << 30).contains(&segment) || !segment.is_multiple_of(4096) {
            return Err(ConfigError::SegmentBytes);
        }
        if self
            .quota_bytes
            .is_some_and(|quota| quota < segment.saturating_mul(4))
        {
            return Err(ConfigError::QuotaBytes);
        }
        if !(1..=super::frame::BODY_BYTES_MAX).contains(&self.batch_bytes_max) {
            return Err(ConfigError::BatchBytes);
        }
        if self.shards == 0 {
            return Err(ConfigError::Shards);
        }
        if self.sync == (SyncPolicy::Interval { ms: 0 }) {
            return Err(ConfigError::Interval);
        }
        Ok(())
    }
}

/// When a batch counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// After its sync. What was reported survives a power cut.
    Always,
    /// After its write; a sync follows within `ms` milliseconds. What was reported survives the end
    /// of the process; a power cut may take the last `ms` milliseconds, never less than a prefix
    /// stays.
    Interval {
        /// At least 1.
        ms: u64,
    },
    /// After its write; the system writes back when it likes. What was reported survives the end of
    /// the process; a power cut may take anything since the last start or checkpoint, a prefix
    /// stays.
    Never,
}

impl SyncPolicy {
    /// How much of what was reported a power cut may take, in milliseconds before it, beside the
    /// time that one sync takes; `u64::MAX` when nothing bounds it.
    pub(super) const fn loss_window_ms(self) -> u64 {
        match self {
            Self::Always => 0,
            Self::Interval { ms } => ms,
            Self::Never => u64::MAX,
        }
    }
}

/// What to do when damage is found where data was known to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCorruption {
    /// Do not start; say what is damaged.
    Refuse,
    /// Keep a copy of the damaged segment, go on without what cannot be read, and list it. For
    /// devices that must come up unattended.
    Quarantine,
}

/// A setting that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum ConfigError {
    /// See [`LogConfig::segment_bytes`].
    #[error("the segment size must be a multiple of 4,096 from 16 KiB to 1 GiB")]
    SegmentBytes,
    /// See [`LogConfig::quota_bytes`].
    #[error("the quota must leave room for four segments")]
    QuotaBytes,
    /// See [`LogConfig::batch_bytes_max`].
    #[error("the largest batch must be from 1 byte to 512 MiB")]
    BatchBytes,
    /// See [`LogConfig::shards`].
    #[error("there must be a shard")]
    Shards,
    /// See [`SyncPolicy::Interval`].
    #[error("the sync interval must be at least 1 ms")]
    Interval,
}
