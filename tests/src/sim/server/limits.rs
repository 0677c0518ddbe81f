//! What the broker may use at any time, and what may be left of it when everybody is content.

use super::{Server, Shard};
use crate::sim::scene::Scene;
use whimbrel_core::action::DropReason;

/// What a connection may take when memory is used up: a packet that comes, its answers, and what is
/// sent to it.
const MOVING_BYTES: u64 = 6_000;

/// What waits for the broker, or came in part, may take so much even when memory is used up: a
/// read, and what was kept before it.
const UNHANDLED_BYTES: u64 = (64 + 16) << 10;

/// More than the largest message counts.
const MESSAGE_BYTES_MAXIMUM: u64 = 6_000;

impl Server {
    /// Statistics that cannot be.
    pub(in crate::sim) fn check_limits(&self, scene: &mut Scene) {
        let Some(process) = &self.process else {
            return;
        };
        let statistics = process.statistics();
        let (limits, session) = (&self.promised.limits, &self.promised.session);
        // The last one may go beyond it.
        let inflight_bytes = u64::from(session.inflight_bytes_maximum) + MESSAGE_BYTES_MAXIMUM;
        let kept = statistics.queued_bytes + statistics.inflight_bytes - statistics.unloaded_bytes
            + statistics.retained_bytes
            + statistics.partial_bytes
            + statistics.unsent_bytes;
        let dropped = [
            DropReason::QueueFull,
            DropReason::TotalQueueFull,
            DropReason::TenantQueueFull,
        ];
        let dropped = dropped.map(|why| statistics.dropped_because(why));
        let connections = statistics.connections_open;
        let holds_memory = |shard| self.holds_memory(shard, connections);
        let holds = process.shards.iter().all(holds_memory)
            && (self.may_drop || kept <= limits.memory_budget_bytes)
            && (self.may_drop || dropped == [0; 3])
            && process.shards.iter().all(|shard| self.holds_queues(shard))
            && statistics.inflight_bytes <= statistics.sessions * inflight_bytes
            && statistics.sessions <= u64::from(limits.sessions_maximum)
            && statistics.connections_open >= statistics.clients_connected
            && statistics.connections_open == process.lines.len() as u64;
        if !holds {
            scene
                .oracle
                .fail(format!("statistics that cannot be: {statistics:?}"));
        }
    }

    /// Tells the oracle what was not retained for want of room.
    pub(in crate::sim) fn tell_refused(&self, scene: &mut Scene) {
        if let Some(process) = &self.process {
            let count = process.statistics().retained_refused;
            scene.oracle.unretained(count);
        }
    }

    /// Whether a shard has no more than its part of the memory, and what it had when it began,
    /// except for what comes and goes with each connection: those of other shards send it letters.
    fn holds_memory(&self, shard: &Shard, connections: u64) -> bool {
        let statistics = shard.broker.statistics();
        let budget = self.promised.limits.memory_budget_bytes;
        let part = budget / u64::from(self.config.identity.shards);
        let moving = (connections + 1) * MOVING_BYTES;
        let partial = statistics.partial_bytes;
        let partial = partial.min((statistics.connections_open + 1) * UNHANDLED_BYTES);
        statistics.memory_bytes - partial <= part.max(shard.memory_bytes) + moving
    }

    /// Whether no more waits for the sessions of a shard than may.
    fn holds_queues(&self, shard: &Shard) -> bool {
        let (statistics, session) = (shard.broker.statistics(), &self.promised.session);
        statistics.queued_messages
            <= statistics.sessions * u64::from(session.queue_messages_maximum)
            && statistics.queued_bytes
                <= statistics.sessions * u64::from(session.queue_bytes_maximum)
    }

    /// What is left when everybody has had everything: nothing. Only a session that a hostile
    /// client has made and does not come back to may have something waiting.
    pub(in crate::sim) fn check_leaks(&self, scene: &mut Scene, has_hostiles: bool) {
        let Some(process) = &self.process else {
            return;
        };
        let statistics = process.statistics();
        let waiting = statistics.queued_messages
            + statistics.queued_bytes
            + statistics.unloaded_messages
            + statistics.unloaded_bytes
            + statistics.held_bytes;
        let left = statistics.inflight_bytes
            + statistics.partial_bytes
            + statistics.unsent_bytes
            + statistics.loads_waiting
            + if has_hostiles { 0 } else { waiting };
        if left != 0 {
            scene
                .oracle
                .fail(format!("something is left behind: {statistics:?}"));
        }
    }

    /// What waits for somebody.
    pub(in crate::sim) fn waiting_messages(&self) -> u64 {
        self.process.as_ref().map_or(u64::MAX, |process| {
            let statistics = process.statistics();
            statistics.queued_messages + statistics.unloaded_messages
        })
    }

    /// Whether nothing is under way to anybody.
    pub(in crate::sim) fn is_quiet(&self) -> bool {
        self.process.as_ref().is_some_and(|process| {
            let statistics = process.statistics();
            statistics.unsent_bytes == 0
                && statistics.inflight_bytes == 0
                && statistics.partial_bytes == 0
                && process.storage.is_idle()
                && process.posts.is_empty()
        })
    }
}
