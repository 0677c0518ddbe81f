//! The statistics as lines of the log, one for all shards together where there are several, one for
//! each shard, one for the storage, one for who was let
//! in, and one for each tenant. What the numbers mean is documented with [`Statistics`] and in
//! `docs/operations.md`.

use tracing::info;
use whimbrel_core::access::rule::Operation;
use whimbrel_core::action::DropReason;
use whimbrel_core::config::TenantsConfig;
use whimbrel_core::inspect::TenantUsage;
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

/// Writes what each tenant has, and how much it may have where that has a limit. What has no tenant
/// has no limits, and is in the sums of the shards.
pub(crate) fn log_tenants(tenants: &[TenantUsage], limits: &TenantsConfig) {
    let limit = |maximum: u64| (maximum > 0).then_some(maximum);
    for TenantUsage {
        name,
        counts,
        retained_messages,
        retained_bytes,
        queued_bytes,
    } in tenants
    {
        if let Some(name) = name {
            info!(
                tenant = &**name,
                connections = counts.connections,
                connections_maximum = limit(limits.connections_maximum.into()),
                sessions = counts.sessions,
                sessions_maximum = limit(limits.sessions_maximum.into()),
                subscriptions = counts.subscriptions,
                subscriptions_maximum = limit(limits.subscriptions_maximum.into()),
                retained_messages,
                retained_messages_maximum = limit(limits.retained_messages_maximum),
                retained_bytes,
                retained_bytes_maximum = limit(limits.retained_bytes_maximum),
                queued_bytes,
                queued_bytes_maximum = limit(limits.queued_bytes_maximum),
                "tenant"
            );
        }
    }
}

/// Writes them, and what was written to keep things.
pub(crate) fn log(shards: &[Statistics], storage: Option<&log::Statistics>) {
    if let [first, others @ ..] = shards
        && !others.is_empty()
    {
        log_counters("total statistics", None, &total(first, others));
    }
    for (shard, statistics) in shards.iter().enumerate() {
        log_counters("statistics", Some(shard), statistics);
    }
    if let Some(storage) = storage {
        log_storage(storage);
    }
}

/// The sums. Each shard has all retained messages, so these are no sum.
fn total(first: &Statistics, others: &[Statistics]) -> Statistics {
    let mut total = first.clone();
    for other in others {
        total.add(other);
    }
    let all = || others.iter().chain([first]);
    let most = |count: fn(&Statistics) -> u64| all().map(count).max().unwrap_or_default();
    total.retained_messages = most(|shard| shard.retained_messages);
    total.retained_bytes = most(|shard| shard.retained_bytes);
    total
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
        loss_window_ms,
    } = *statistics;
    // A number, or nothing where nothing bounds it.
    let loss_window_ms = (loss_window_ms < u64::MAX).then_some(loss_window_ms);
    let write_amplification = (statistics.write_amplification() * 10.0).round() / 10.0;
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
        loss_window_ms,
        "storage"
    );
}

fn log_counters(what: &'static str, shard: Option<usize>, statistics: &Statistics) {
    let dropped = |why| statistics.dropped_because(why);
    let denied = |what| statistics.denied[what as usize];
    let shadow_denied = |what| statistics.shadow_denied[what as usize];
    info!(
        shard,
        memory_bytes = statistics.memory_bytes,
        connections_accepted = statistics.connections_accepted,
        connections_open = statistics.connections_open,
        clients_connected = statistics.clients_connected,
        sessions = statistics.sessions,
        subscriptions = statistics.subscriptions,
        retained_messages = statistics.retained_messages,
        retained_bytes = statistics.retained_bytes,
        queued_messages = statistics.queued_messages,
        queued_bytes = statistics.queued_bytes,
        inflight_bytes = statistics.inflight_bytes,
        unloaded_messages = statistics.unloaded_messages,
        unloaded_bytes = statistics.unloaded_bytes,
        held_bytes = statistics.held_bytes,
        loads = statistics.loads,
        loads_waiting = statistics.loads_waiting,
        loads_failed = statistics.loads_failed,
        will_bytes = statistics.will_bytes,
        partial_bytes = statistics.partial_bytes,
        unsent_bytes = statistics.unsent_bytes,
        received_bytes = statistics.received_bytes,
        sent_bytes = statistics.sent_bytes,
        publishes_received = statistics.publishes_received,
        publishes_sent = statistics.publishes_sent,
        publishes_unmatched = statistics.publishes_unmatched,
        publishes_refused = statistics.publishes_refused,
        denied_publish = denied(Operation::Publish),
        denied_subscribe = denied(Operation::Subscribe),
        denied_receive = denied(Operation::Receive),
        shadow_denied_publish = shadow_denied(Operation::Publish),
        shadow_denied_subscribe = shadow_denied(Operation::Subscribe),
        shadow_denied_receive = shadow_denied(Operation::Receive),
        subscriptions_revoked = statistics.subscriptions_revoked,
        publishers_throttled = statistics.publishers_throttled,
        flapping_clients = statistics.flapping_clients,
        tenant_refusals = statistics.tenant_refusals,
        retained_refused = statistics.retained_refused,
        publishers_paused = statistics.publishers_paused,
        connects_refused = statistics.connects_refused,
        transport_faults = statistics.transport_faults,
        violations = statistics.violations,
        events_lost = statistics.events_lost,
        recording = statistics.recording,
        recording_parts_given_up = statistics.recording_parts_given_up,
        dropped_queue_full = dropped(DropReason::QueueFull),
        dropped_total_queue_full = dropped(DropReason::TotalQueueFull),
        dropped_tenant_queue_full = dropped(DropReason::TenantQueueFull),
        dropped_slow_consumer = dropped(DropReason::SlowConsumer),
        dropped_too_large = dropped(DropReason::TooLarge),
        dropped_expired = dropped(DropReason::Expired),
        dropped_session_ended = dropped(DropReason::SessionEnded),
        dropped_not_allowed = dropped(DropReason::NotAllowed),
        dropped_unreadable = dropped(DropReason::Unreadable),
        "{what}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::tests::written;

    #[test]
    fn shards_are_added_but_for_what_they_share() {
        let shard = Statistics {
            sessions: 2,
            retained_messages: 3,
            ..Statistics::default()
        };
        let total = total(&shard, std::slice::from_ref(&shard));
        assert_eq!((total.sessions, total.retained_messages), (4, 3));
    }

    /// A counter that core has and the line has not is missed.
    #[test]
    fn every_counter_is_in_the_line() {
        let line = written(|| log_counters("statistics", Some(0), &Statistics::default()));
        for name in Statistics::NAMES {
            let is_there =
                line.contains(&format!(" {name}=")) || line.contains(&format!(" {name}_"));
            assert!(is_there, "{name} is not in {line}");
        }
    }
}
