//! The statistics as a line of the log, one for each shard, one for the storage and one for who was
//! let in. What the numbers mean is documented with [`Statistics`] and in `docs/operations.md`.

use tracing::info;
use whimbrel_core::action::DropReason;
use whimbrel_core::log;
use whimbrel_core::statistics::Statistics;

/// Writes who was let in, and who was not.
pub(crate) fn log_authentication(statistics: whimbrel_auth::Statistics) {
    let whimbrel_auth::Statistics {
        accepted,
        refused,
        busy,
        unavailable,
        hashed,
        remembered,
    } = statistics;
    info!(
        accepted,
        refused, busy, unavailable, hashed, remembered, "authentication statistics"
    );
}

/// Writes them, and what was written to keep things.
pub(crate) fn log(shards: &[Statistics], storage: Option<&log::Statistics>) {
    for (shard, statistics) in shards.iter().enumerate() {
        log_shard(shard, statistics);
    }
    if let Some(storage) = storage {
        log_storage(storage);
    }
}

fn log_storage(statistics: &log::Statistics) {
    // All fields by name: a new one has to be thought of here.
    let log::Statistics {
        batches,
        payload_bytes,
        writes,
        written_bytes,
        prepared_bytes,
        block_bytes,
        syncs,
        upkeep_syncs,
        segments,
        spares,
        used_bytes,
        queued_bytes: _,
        last_lsn: _,
        synced_lsn: _,
    } = *statistics;
    let write_amplification = format!("{:.1}", statistics.write_amplification());
    info!(
        batches,
        payload_bytes,
        writes,
        written_bytes,
        prepared_bytes,
        block_bytes,
        write_amplification,
        syncs,
        upkeep_syncs,
        segments,
        spares,
        used_bytes,
        "storage"
    );
}

fn log_shard(shard: usize, statistics: &Statistics) {
    // All fields by name: a new one has to be thought of here.
    let Statistics {
        connections_accepted,
        connections_open,
        clients_connected,
        sessions,
        subscriptions,
        retained_messages,
        retained_bytes,
        queued_messages,
        queued_bytes,
        inflight_bytes,
        unloaded_messages,
        unloaded_bytes,
        held_bytes,
        loads,
        loads_waiting,
        loads_failed,
        will_bytes,
        partial_bytes,
        received_bytes,
        sent_bytes,
        publishes_received,
        publishes_sent,
        publishes_unmatched,
        connects_refused,
        violations,
        dropped: _,
        publishers_paused,
        publishes_refused,
        denied: [denied_publish, denied_subscribe, denied_receive],
        shadow_denied:
            [
                shadow_denied_publish,
                shadow_denied_subscribe,
                shadow_denied_receive,
            ],
        subscriptions_revoked,
        publishers_throttled,
        flapping_clients,
        tenant_refusals,
        retained_refused,
        unsent_bytes,
        events_lost,
        recording_parts_given_up,
    } = statistics;
    let dropped = |why| statistics.dropped_because(why);
    info!(
        shard,
        connections_accepted,
        connections_open,
        clients_connected,
        sessions,
        subscriptions,
        retained_messages,
        retained_bytes,
        queued_messages,
        queued_bytes,
        inflight_bytes,
        unloaded_messages,
        unloaded_bytes,
        held_bytes,
        loads,
        loads_waiting,
        loads_failed,
        will_bytes,
        partial_bytes,
        unsent_bytes,
        received_bytes,
        sent_bytes,
        publishes_received,
        publishes_sent,
        publishes_unmatched,
        publishes_refused,
        denied_publish,
        denied_subscribe,
        denied_receive,
        shadow_denied_publish,
        shadow_denied_subscribe,
        shadow_denied_receive,
        subscriptions_revoked,
        publishers_throttled,
        flapping_clients,
        tenant_refusals,
        retained_refused,
        publishers_paused,
        connects_refused,
        violations,
        events_lost,
        recording_parts_given_up,
        dropped_queue_full = dropped(DropReason::QueueFull),
        dropped_total_queue_full = dropped(DropReason::TotalQueueFull),
        dropped_tenant_queue_full = dropped(DropReason::TenantQueueFull),
        dropped_slow_consumer = dropped(DropReason::SlowConsumer),
        dropped_too_large = dropped(DropReason::TooLarge),
        dropped_expired = dropped(DropReason::Expired),
        dropped_session_ended = dropped(DropReason::SessionEnded),
        dropped_not_allowed = dropped(DropReason::NotAllowed),
        dropped_unreadable = dropped(DropReason::Unreadable),
        "statistics"
    );
}
