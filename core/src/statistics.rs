//! Counters and gauges, in plain integers. Exporting them is for others.

use crate::access::rule::Operation;
use crate::action::DropReason;

/// What the broker has counted since it started, and what it holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Connections accepted.
    pub connections_accepted: u64,
    /// Open connections, whether or not their CONNECT came.
    pub connections_open: u64,
    /// Connections whose CONNECT was accepted and that are still there.
    pub clients_connected: u64,
    /// Sessions, connected or not.
    pub sessions: u64,
    /// Subscriptions of all sessions.
    pub subscriptions: u64,
    /// Retained messages.
    pub retained_messages: u64,
    /// Bytes of retained messages.
    pub retained_bytes: u64,
    /// Messages waiting in queues.
    pub queued_messages: u64,
    /// Bytes of messages waiting in queues.
    pub queued_bytes: u64,
    /// Deliveries, waiting or in flight, whose messages are in the log and not in memory.
    pub unloaded_messages: u64,
    /// Bytes of these messages: of those in `queued_bytes` and `inflight_bytes`, what memory has
    /// not.
    pub unloaded_bytes: u64,
    /// Bytes of messages that the log has and that deliveries hold in memory; each counts once.
    pub held_bytes: u64,
    /// Messages that were asked for from the log.
    pub loads: u64,
    /// Deliveries that wait for them now.
    pub loads_waiting: u64,
    /// Messages that could not be read back, or were not what was kept.
    pub loads_failed: u64,
    /// Bytes of wills.
    pub will_bytes: u64,
    /// Bytes of messages in flight: sent, and not acknowledged.
    pub inflight_bytes: u64,
    /// Bytes of packets that have come in part, or wait to be handled.
    pub partial_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes handed to the runtime for sending.
    pub sent_bytes: u64,
    /// PUBLISH packets received.
    pub publishes_received: u64,
    /// PUBLISH packets sent, retransmissions included.
    pub publishes_sent: u64,
    /// Messages that matched nobody.
    pub publishes_unmatched: u64,
    /// CONNECTs that were refused.
    pub connects_refused: u64,
    /// Connections closed because the client broke the protocol.
    pub violations: u64,
    /// Messages dropped, by reason, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::COUNT],
    /// Times a publisher was paused because a subscriber did not keep up.
    pub publishers_paused: u64,
    /// Messages that were not taken in: not allowed, or over a quota.
    pub publishes_refused: u64,
    /// What clients wanted to do and the rules did not allow, in the order of [`Operation::ALL`].
    pub denied: [u64; Operation::ALL.len()],
    /// What the rules allowed and the shadow rules would not have.
    pub shadow_denied: [u64; Operation::ALL.len()],
    /// Times a client was not read because it published more than it may.
    pub publishers_throttled: u64,
    /// Times newcomers were refused because clients pushed each other off.
    pub flapping_clients: u64,
    /// Clients and subscriptions refused because of what tenants may have.
    pub tenant_refusals: u64,
    /// Subscriptions that ended because the rules no longer allow them.
    pub subscriptions_revoked: u64,
    /// QoS 0 messages that were delivered but not retained, for want of room.
    pub retained_refused: u64,
    /// Encoded bytes that the runtime has not pulled yet.
    pub unsent_bytes: u64,
    /// Events that nobody read in time.
    pub events_lost: u64,
    /// Parts of a recording that could not be completed, because whoever writes it was too slow.
    pub recording_parts_given_up: u64,
}

impl Statistics {
    /// Adds what another shard of the same broker has counted.
    pub fn add(&mut self, other: &Self) {
        let Self {
            connections_accepted,
            connections_open,
            clients_connected,
            sessions,
            subscriptions,
            retained_messages,
            retained_bytes,
            queued_messages,
            queued_bytes,
            will_bytes,
            inflight_bytes,
            partial_bytes,
            received_bytes,
            sent_bytes,
            publishes_received,
            publishes_sent,
            publishes_unmatched,
            connects_refused,
            violations,
            dropped,
            publishers_paused,
            publishes_refused,
            denied,
            shadow_denied,
            subscriptions_revoked,
            publishers_throttled,
            flapping_clients,
            tenant_refusals,
            retained_refused,
            unsent_bytes,
            events_lost,
            recording_parts_given_up,
            unloaded_messages,
            unloaded_bytes,
            held_bytes,
            loads,
            loads_waiting,
            loads_failed,
        } = other;
        self.connections_accepted += connections_accepted;
        self.connections_open += connections_open;
        self.clients_connected += clients_connected;
        self.sessions += sessions;
        self.subscriptions += subscriptions;
        self.retained_messages += retained_messages;
        self.retained_bytes += retained_bytes;
        self.queued_messages += queued_messages;
        self.queued_bytes += queued_bytes;
        self.will_bytes += will_bytes;
        self.inflight_bytes += inflight_bytes;
        self.partial_bytes += partial_bytes;
        self.received_bytes += received_bytes;
        self.sent_bytes += sent_bytes;
        self.publishes_received += publishes_received;
        self.publishes_sent += publishes_sent;
        self.publishes_unmatched += publishes_unmatched;
        self.connects_refused += connects_refused;
        self.violations += violations;
        self.publishers_paused += publishers_paused;
        self.publishes_refused += publishes_refused;
        for (sum, more) in self.denied.iter_mut().zip(denied) {
            *sum += more;
        }
        for (sum, more) in self.shadow_denied.iter_mut().zip(shadow_denied) {
            *sum += more;
        }
        self.subscriptions_revoked += subscriptions_revoked;
        self.publishers_throttled += publishers_throttled;
        self.flapping_clients += flapping_clients;
        self.tenant_refusals += tenant_refusals;
        self.retained_refused += retained_refused;
        self.unsent_bytes += unsent_bytes;
        self.events_lost += events_lost;
        self.recording_parts_given_up += recording_parts_given_up;
        self.unloaded_messages += unloaded_messages;
        self.unloaded_bytes += unloaded_bytes;
        self.held_bytes += held_bytes;
        self.loads += loads;
        self.loads_waiting += loads_waiting;
        self.loads_failed += loads_failed;
        for (sum, count) in self.dropped.iter_mut().zip(dropped) {
            *sum += count;
        }
    }

    /// Messages dropped for one reason.
    #[must_use]
    pub fn dropped_because(&self, why: DropReason) -> u64 {
        self.dropped.get(why as usize).copied().unwrap_or(0)
    }
}
