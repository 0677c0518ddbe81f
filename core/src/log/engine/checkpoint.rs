//! When to ask for a checkpoint, and when one is whole.
//!
//! ```text
//!          want                 first begin               last shard's end
//!  Idle ─────────► Requested ─────────────────► Running ─────────────────► Ending ──► Idle
//!   └────────────── first begin ──────────────────▲                       durable: remove
//! ```

use crate::log::LogConfig;
use crate::log::engine::{Chain, Marker};

/// Follows the markers of all shards.
#[derive(Debug)]
pub(super) struct Checkpoint {
    stage: Stage,
    /// Bytes of frames appended since the last checkpoint that counts began.
    since_begin_bytes: u64,
    /// Bytes of frames from begin to end of the last checkpoint.
    last_bytes: u64,
    /// What the broker says it keeps, if it does.
    live_bytes: Option<u64>,
    /// What could not be freed right after the last checkpoint: asking again below that is useless.
    floor_bytes: u64,
}

#[derive(Debug)]
enum Stage {
    Idle,
    Requested,
    Running {
        begin_lsn: u64,
        /// `since_begin_bytes` of the checkpoint before, when this one began.
        before_bytes: u64,
        shards_open: u16,
    },
    Ending {
        begin_lsn: u64,
        before_bytes: u64,
        /// Bytes of frames from begin to end.
        bytes: u64,
        /// The frame that says so; the checkpoint counts when this is durable.
        lsn: u64,
    },
}

/// Whether there is room for a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    Enough,
    /// Space is sought, but a checkpoint fits in what is ready.
    Short,
    /// It fits still, and will not if much else is written before it.
    Shortest,
    TooShort,
}

/// All shards have ended their part: write the frame that makes the checkpoint count.
pub(super) struct AllEnded {
    pub(super) begin_lsn: u64,
    pub(super) bytes: u64,
}

impl Checkpoint {
    pub(super) const fn new(since_begin_bytes: u64, last_bytes: u64) -> Self {
        Self {
            stage: Stage::Idle,
            since_begin_bytes,
            last_bytes,
            live_bytes: None,
            floor_bytes: 0,
        }
    }

    pub(super) const fn set_live_bytes(&mut self, bytes: u64) {
        self.live_bytes = Some(bytes);
    }

    /// The best guess at what a checkpoint would write.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes.unwrap_or(self.last_bytes)
    }

    /// What a checkpoint would take, with the ends of segments that stay empty and what comes
    /// between its steps.
    pub(super) fn size_bytes(&self) -> u64 {
        let live = self.live_bytes();
        live.saturating_add(live / 2)
    }

    /// A frame was appended.
    pub(super) fn appended(
        &mut self,
        lsn: u64,
        frame_bytes: u64,
        marker: Marker,
        shards: u16,
    ) -> Option<AllEnded> {
        // A checkpoint that fits in one batch is only marked as ended.
        if marker != Marker::None && matches!(self.stage, Stage::Idle | Stage::Requested) {
            self.stage = Stage::Running {
                begin_lsn: lsn,
                before_bytes: self.since_begin_bytes,
                shards_open: shards,
            };
        }
        self.since_begin_bytes += frame_bytes;
        let Stage::Running {
            begin_lsn,
            before_bytes,
            shards_open,
        } = &mut self.stage
        else {
            return None;
        };
        if marker != Marker::CheckpointEnd {
            return None;
        }
        *shards_open -= 1;
        if *shards_open > 0 {
            return None;
        }
        let (begin_lsn, before_bytes) = (*begin_lsn, *before_bytes);
        let bytes = self.since_begin_bytes - before_bytes;
        self.stage = Stage::Ending {
            begin_lsn,
            before_bytes,
            bytes,
            lsn: lsn + 1,
        };
        Some(AllEnded { begin_lsn, bytes })
    }

    /// Whether shards are writing what is live once more.
    pub(super) const fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running { .. })
    }

    /// The frame whose sync makes the checkpoint count, while that is awaited.
    pub(super) const fn awaited_lsn(&self) -> Option<u64> {
        match self.stage {
            Stage::Ending { lsn, .. } => Some(lsn),
            Stage::Idle | Stage::Requested | Stage::Running { .. } => None,
        }
    }

    /// Everything up to `synced_lsn` is durable. Gives the begin of a checkpoint that counts from
    /// now on.
    pub(super) const fn synced(&mut self, synced_lsn: u64) -> Option<u64> {
        let Stage::Ending {
            begin_lsn,
            before_bytes,
            bytes,
            lsn,
        } = self.stage
        else {
            return None;
        };
        if synced_lsn < lsn {
            return None;
        }
        self.stage = Stage::Idle;
        self.last_bytes = bytes;
        self.since_begin_bytes -= before_bytes;
        Some(begin_lsn)
    }

    /// The segments that a checkpoint made needless are gone; these bytes are left.
    pub(super) fn removed(&mut self, segment_bytes: u64) {
        self.floor_bytes = segment_bytes.saturating_sub(self.live_bytes());
    }

    /// Whether to ask for a checkpoint now. Says so once. When space is short, it is worth while to
    /// free a quarter of what it writes, and at last even one segment.
    pub(super) fn want(&mut self, config: &LogConfig, chain: &Chain, space: Space) -> bool {
        if !matches!(self.stage, Stage::Idle) || space == Space::TooShort {
            return false;
        }
        let live = self.live_bytes();
        let allowed = config
            .checkpoint_min_bytes
            .max(live.max(self.last_bytes).saturating_mul(2));
        let segments_allowed = allowed / config.segment_bytes * 2 + 16;
        let worthwhile = match space {
            Space::Enough | Space::TooShort => u64::MAX,
            Space::Short => config.segment_bytes.max(live / 4),
            Space::Shortest => config.segment_bytes,
        };
        let reclaimable = chain.segment_bytes().saturating_sub(live);
        let wanted = self.since_begin_bytes > allowed
            || chain.segment_count() as u64 > segments_allowed
            || reclaimable >= self.floor_bytes.saturating_add(worthwhile);
        // One segment cannot be compacted into fewer.
        let wanted = wanted && chain.segment_count() > 1;
        if wanted {
            self.stage = Stage::Requested;
        }
        wanted
    }
}
