//! Counters and gauges, in plain integers. Exporting them is for others.

use crate::access::rule::Operation;
use crate::action::DropReason;

/// Declares the counters, once: the fields, what they are called, how those of two shards are
/// added, and that a recording has them.
macro_rules! counters {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)+
        }

        impl $name {
            /// What the fields are called, in their order.
            pub const NAMES: &[&str] = &[$(stringify!($field)),+];

            /// Adds what another shard of the same broker has counted.
            pub fn add(&mut self, other: &Self) {
                $(self.$field.add(&other.$field);)+
            }
        }

        crate::state::state!($name { $($field),+ });
    };
}

/// One count, or one for each kind of a thing.
trait Count {
    fn add(&mut self, other: &Self);
}

impl Count for u64 {
    fn add(&mut self, other: &Self) {
        *self += other;
    }
}

impl<const N: usize> Count for [u64; N] {
    fn add(&mut self, other: &Self) {
        for (sum, more) in self.iter_mut().zip(other) {
            *sum += more;
        }
    }
}

counters! {
    /// What the broker has counted since it started, and what it holds now.
    Statistics {
        /// What everything that clients can make the broker keep takes, by its own count: what is
        /// held against `limits.memory_budget_bytes`.
        memory_bytes: u64,
        /// Connections accepted.
        connections_accepted: u64,
        /// Open connections, whether or not their CONNECT came.
        connections_open: u64,
        /// Connections whose CONNECT was accepted and that are still there.
        clients_connected: u64,
        /// Sessions, connected or not.
        sessions: u64,
        /// Subscriptions of all sessions.
        subscriptions: u64,
        /// Retained messages.
        retained_messages: u64,
        /// Bytes of retained messages.
        retained_bytes: u64,
        /// Messages waiting in queues.
        queued_messages: u64,
        /// Bytes of messages waiting in queues.
        queued_bytes: u64,
        /// Deliveries, waiting or in flight, whose messages are in the log and not in memory.
        unloaded_messages: u64,
        /// Bytes of these messages: of those in `queued_bytes` and `inflight_bytes`, what memory
        /// has not.
        unloaded_bytes: u64,
        /// Bytes of messages that the log has and that deliveries hold in memory; each counts once.
        held_bytes: u64,
        /// Messages that were asked for from the log.
        loads: u64,
        /// Deliveries that wait for them now.
        loads_waiting: u64,
        /// Messages that could not be read back, or were not what was kept.
        loads_failed: u64,
        /// Bytes of wills.
        will_bytes: u64,
        /// Bytes of messages in flight: sent, and not acknowledged.
        inflight_bytes: u64,
        /// Bytes of packets that have come in part, or wait to be handled.
        partial_bytes: u64,
        /// Bytes received.
        received_bytes: u64,
        /// Bytes handed to the runtime for sending.
        sent_bytes: u64,
        /// PUBLISH packets received.
        publishes_received: u64,
        /// PUBLISH packets sent, retransmissions included.
        publishes_sent: u64,
        /// Messages that matched nobody.
        publishes_unmatched: u64,
        /// CONNECTs that were refused.
        connects_refused: u64,
        /// Connections that ended below MQTT by a fault of the peer: handshakes of TLS, WebSocket
        /// and QUIC that failed, PROXY headers that were wrong or came from strangers, broken
        /// records and frames. Counted by the runtime.
        transport_faults: u64,
        /// Connections closed because the client broke the protocol.
        violations: u64,
        /// Messages dropped, by reason, in the order of [`DropReason::ALL`].
        dropped: [u64; DropReason::COUNT],
        /// Times a publisher was paused because a subscriber did not keep up.
        publishers_paused: u64,
        /// Messages that were not taken in: not allowed, or over a quota.
        publishes_refused: u64,
        /// What clients wanted to do and the rules did not allow, in the order of
        /// [`Operation::ALL`].
        denied: [u64; Operation::ALL.len()],
        /// What the rules allowed and the shadow rules would not have.
        shadow_denied: [u64; Operation::ALL.len()],
        /// Times a client was not read because it published more than it may.
        publishers_throttled: u64,
        /// Times newcomers were refused because clients pushed each other off.
        flapping_clients: u64,
        /// Clients and subscriptions refused because of what tenants may have.
        tenant_refusals: u64,
        /// Subscriptions that ended because the rules no longer allow them.
        subscriptions_revoked: u64,
        /// QoS 0 messages that were delivered but not retained, for want of room.
        retained_refused: u64,
        /// Encoded bytes that the runtime has not pulled yet.
        unsent_bytes: u64,
        /// Events that nobody read in time.
        events_lost: u64,
        /// Shards that are being recorded; fewer than there are when it was asked for, and cannot
        /// be done.
        recording: u64,
        /// Parts of a recording that could not be completed or begun: whoever writes it was too
        /// slow or could not, or the state was too large.
        recording_parts_given_up: u64,
    }
}

impl Statistics {
    /// Messages dropped for one reason.
    #[must_use]
    pub fn dropped_because(&self, why: DropReason) -> u64 {
        self.dropped.get(why as usize).copied().unwrap_or(0)
    }
}
