//! The broker: one shard, as one value.

use crate::action::CloseReason;
use crate::action::{Action, InterestDelta, Peer, RoutedMessage, Verdict};
use crate::config::{Config, ConfigError};
use crate::id::{ConnectionId, PeerId, Position};
use crate::statistics::Statistics;
use crate::time::{Now, Timestamp};
use alloc::vec::Vec;

/// One shard: a set of connections, sessions, subscriptions and retained messages that one thread owns.
///
/// # The contract
///
/// Inputs take the time as a value, return nothing (only [`accept`](Self::accept) hands out an id), and
/// cannot fail because of a peer. Outputs are [`poll_action`](Self::poll_action) until `None`,
/// [`transmit`](Self::transmit) for the connections that [`Action::Send`] names, and one
/// [`next_deadline`](Self::next_deadline).
///
/// 1. *Time.* `now.monotonic` never goes backwards; should it, the latest is used. `now.wall` may jump.
/// 2. *Lax draining.* Any number of inputs may come before a drain. Spurious calls, and calls for
///    connections that are gone, are harmless.
/// 3. *Progress.* After `advance` at `next_deadline()`, an action is queued or the deadline has moved
///    forward. There are no busy loops.
/// 4. *Bounded.* One input costs its own bytes plus at most `limits.fanout_step` deliveries; what is
///    left over makes the deadline now.
/// 5. *Deterministic.* The same configuration, seed and inputs give the same outputs, byte for byte, on
///    every platform.
/// 6. *Total.* No byte sequence, order of calls or clock jump panics, and memory stays inside the
///    limits.
///
/// # The loop
///
/// ```text
/// for each readable transport:   receive(now, connection, bytes)
/// timer fired:                   advance(now)
/// then:                          while let Some(action) = poll_action() { carry it out }
///                                  Send(c): transmit(now, c, &mut buffer), write; when the transport
///                                  does not take it all, keep the rest and call transmit again
///                                  only when it was written
/// last:                          re-arm the timer with next_deadline()
/// ```
pub struct Broker {
    statistics: Statistics,
}

impl Broker {
    /// A broker without connections. `seed` must be unpredictable to peers where hash flooding matters,
    /// and decides everything that is drawn at random.
    ///
    /// # Errors
    ///
    /// A configuration that cannot run; see [`Config::validate`].
    pub fn new(config: Config, seed: u64, now: Now) -> Result<Self, ConfigError> {
        config.validate()?;
        let _ = (seed, now);
        Ok(Self {
            statistics: Statistics::default(),
        })
    }

    /// A transport connection exists. Should the broker be full, an [`Action::Close`] follows at once.
    pub fn accept(&mut self, now: Now, peer: Peer) -> ConnectionId {
        let _ = (now, peer);
        ConnectionId {
            index: 0,
            generation: 0,
        }
    }

    /// Bytes arrived. Whole packets are handled at once, a partial tail is kept. More bytes may be
    /// given while the connection is paused; they are kept up to one packet and what was read with it.
    pub fn receive(&mut self, now: Now, connection: ConnectionId, bytes: &[u8]) {
        let _ = (now, connection, bytes);
    }

    /// The transport is gone, or its peer will send no more. This is what fires wills.
    pub fn closed(&mut self, now: Now, connection: ConnectionId) {
        let _ = (now, connection);
    }

    /// Time passed.
    pub fn advance(&mut self, now: Now) {
        let _ = now;
    }

    /// The answer to [`Action::Authenticate`].
    pub fn authenticated(&mut self, now: Now, connection: ConnectionId, verdict: Verdict) {
        let _ = (now, connection, verdict);
    }

    /// All records up to and including `position` are on stable storage.
    pub fn persisted(&mut self, now: Now, position: Position) {
        let _ = (now, position);
    }

    /// A message from another shard or node. It is never routed on.
    pub fn routed(&mut self, now: Now, peer: PeerId, message: RoutedMessage) {
        let _ = (now, peer, message);
    }

    /// What another shard or node wants to be sent has changed.
    pub fn interest(&mut self, now: Now, peer: PeerId, delta: InterestDelta) {
        let _ = (now, peer, delta);
    }

    /// Ends one connection, as an operator would: 5.0 clients are told why, wills fire as the standard
    /// says for that reason.
    pub fn disconnect(&mut self, now: Now, connection: ConnectionId, why: CloseReason) {
        let _ = (now, connection, why);
    }

    /// Stops taking new connections and closes all there are with 0x8B; wills are published.
    /// Sessions that may outlive the broker are kept.
    pub fn shut_down(&mut self, now: Now) {
        let _ = now;
    }

    /// What the runtime has to do next; `None` when it is up to date.
    pub fn poll_action(&mut self) -> Option<Action> {
        None
    }

    /// Appends to `out` what this connection may send now: at most about 64 KiB, in whole packets.
    /// When more is waiting, another [`Action::Send`] follows. Call it only when everything that an
    /// earlier call gave was taken by the transport: that is how the broker knows what is unsent.
    pub fn transmit(&mut self, now: Now, connection: ConnectionId, out: &mut Vec<u8>) {
        let _ = (now, connection, out);
    }

    /// When [`advance`](Self::advance) wants to be called next; `None` when nothing is due, ever.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        None
    }

    /// Counters since the start, and gauges of now.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }
}
