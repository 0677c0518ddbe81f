//! What the core counts as its memory: everything that a peer can make it keep.
//! [`Limits::memory_budget_bytes`](crate::config::Limits::memory_budget_bytes) is held against it.
//!
//! Messages and packets are counted where they come and go, byte by byte. Everything else counts
//! with its *footprint*: what a connection, a session or the filters of a tenant take, looked up
//! whenever that may have changed and remembered there, so that in the end exactly what was put on
//! is taken off.
//!
//! Sizes are numbers of ours, not the compiler's, and tables count by what is in them: what is
//! refused for want of memory must be the same wherever a recording is replayed.
//! `benches/allocations/budget.rs` holds the count against an allocator that counts, for everything
//! there is.

use crate::broker::Broker;
use crate::connection::{Connection, Stage};
use crate::session::inflight::Exchange;
use crate::session::{Session, Traffic};
use crate::slab::Key;
use crate::tenant::{Tenant, TenantId};
use crate::time::Timestamp;
use crate::timer::TimerKey;

/// A connection, with its timer and its share of tables that are not full.
const CONNECTION: usize = 320;

/// What only some connections have: aliases, meters, who waits for them.
const EXTRA: usize = 320;

/// A session, with its timer and its place among the client identifiers.
const SESSION: usize = 304;

/// What a session has once messages are under way in either direction.
const TRAFFIC: usize = 640;

/// Retained messages that are owed to one subscription.
const CURSOR: usize = 192;

/// Who owns a session, when that is known.
const OWNER: usize = 96;

/// The place of a delivery in a queue that is not full, and what an allocator adds to its message.
const DELIVERY: u64 = 32;

/// A message that the log has, in the table of those.
const STORED: u64 = 80;

/// What is left in memory of a message that only the log has.
const STUB: u64 = 112;

/// The place of an exchange in a ring that has more of them than it needs.
const EXCHANGE: usize = 56;

const _: () = assert!(size_of::<Option<Exchange>>() <= EXCHANGE);

/// How long the room of exchanges that are over is kept for the next ones. What comes in bursts
/// comes again within milliseconds; to give memory back to the system and to take it again in each
/// costs more than the exchanges.
const ROOM_KEPT_MS: u64 = 1_000;

impl Broker {
    /// What it counts now. Shards share the retained messages.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let statistics = &self.statistics;
        let stored = self.journal.stored();
        // Counted for every delivery, though many may share it, and some have but the stub.
        let messages = statistics.queued_bytes + statistics.inflight_bytes;
        let elsewhere = stored.stub_bytes + stored.repeated_bytes;
        messages.saturating_sub(elsewhere)
            + statistics.queued_messages * DELIVERY
            + stored.messages * STORED
            + stored.stubs.min(stored.messages) * STUB
            + statistics.will_bytes
            + statistics.partial_bytes
            + self.retained.usage().bytes / u64::from(self.placement.shards)
            + self.unsent_bytes as u64
            + self.journal.untold_bytes() as u64
            + self.gates.footprint()
            + self.footprints
    }

    /// Looks how far the budget goes. What grows from one delivery to the next is output, so that
    /// is what [`is_tight`](Self::is_tight) compares; whatever else grows is measured with every
    /// input, every message of QoS 1 or 2, and room that is kept.
    pub(crate) fn measure_memory(&mut self) {
        let left = (self.config.limits.memory_budget_bytes).saturating_sub(self.memory_bytes());
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        self.unsent_limit = self.unsent_bytes.saturating_add(left);
    }

    /// Whether the memory budget is used up.
    pub(crate) const fn is_tight(&self) -> bool {
        self.unsent_bytes >= self.unsent_limit
    }

    /// Counts what a connection and its session take now.
    pub(crate) fn count_client(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let session = connection.session();
        let footprint = footprint_of(connection);
        recount(&mut self.footprints, &mut connection.footprint, footprint);
        if let Some(session) = session {
            self.count_session(session);
        }
    }

    /// Counts what a session takes now, beside the messages under way.
    pub(crate) fn count_session(&mut self, key: Key) {
        if let Some(session) = self.sessions.get_mut(key) {
            recount_session(&mut self.footprints, session);
        }
    }

    /// The same by its slot.
    pub(crate) fn count_session_at(&mut self, slot: u32) {
        if let Some(session) = self.sessions.at_mut(slot) {
            recount_session(&mut self.footprints, session);
        }
    }

    /// Exchanges of this session are over. What room they have needed is given back a while later,
    /// and counted until then; at once when there is no memory left for it.
    #[cold]
    pub(crate) fn tighten_later(&mut self, key: Key) {
        let at = self.clock.now().after_ms(ROOM_KEPT_MS);
        self.arm_tighten(key, at);
        self.count_session(key);
        self.measure_memory();
        if self.is_tight() {
            self.tighten(key);
            self.measure_memory();
        }
    }

    /// Gives back what a session has needed for a burst.
    pub(crate) fn tighten(&mut self, key: Key) {
        self.arm_tighten(key, Timestamp::MAX);
        let traffic = self.sessions.get_mut(key).and_then(|s| s.traffic.as_mut());
        if let Some(traffic) = traffic {
            traffic.inflight.tighten();
            self.count_session(key);
        }
    }

    fn arm_tighten(&mut self, key: Key, at: Timestamp) {
        let traffic = self.sessions.get_mut(key).and_then(|s| s.traffic.as_mut());
        if let Some(traffic) = traffic {
            let armed = &mut traffic.tighten_armed;
            self.timers.arm(TimerKey::Tighten(key), armed, at);
        }
    }

    /// Counts what the filters of a tenant take now: those of its sessions, and those that other
    /// shards have told of.
    pub(crate) fn count_filters(&mut self, tenant: TenantId) {
        let Tenant {
            subscriptions,
            interests,
            footprint,
            ..
        } = &mut self.tenants[tenant];
        let now = subscriptions.footprint() + interests.footprint();
        self.footprints += now;
        self.footprints -= core::mem::replace(footprint, now);
    }
}

fn recount(sum: &mut u64, counted: &mut u32, now: usize) {
    let now = u32::try_from(now).unwrap_or(u32::MAX);
    *sum += u64::from(now);
    *sum -= u64::from(core::mem::replace(counted, now));
}

fn recount_session(sum: &mut u64, session: &mut Session) {
    let footprint = footprint_of_session(session);
    recount(sum, &mut session.footprint, footprint);
}

fn footprint_of(connection: &Connection) -> usize {
    let identity = connection.identity.as_ref();
    let extra = connection.extra.as_ref();
    let parked = match &connection.stage {
        Stage::Parked(handshake) => handshake.footprint(),
        Stage::Waiting | Stage::Connected { .. } => 0,
    };
    CONNECTION
        + parked
        + identity.map_or(0, |identity| identity.footprint())
        + extra.map_or(0, |extra| EXTRA + extra.footprint())
}

fn footprint_of_session(session: &Session) -> usize {
    SESSION
        + session.client_id.len()
        + session.subscriptions.len() * 18
        + session.owner.as_ref().map_or(0, |_| OWNER)
        + session.traffic.as_ref().map_or(0, |traffic| {
            let Traffic {
                inflight,
                received,
                refusals,
                cursors,
                tighten_armed,
                ..
            } = &**traffic;
            let room = match *tighten_armed {
                Timestamp::MAX => 0,
                _ => inflight.room(),
            };
            TRAFFIC
                + room * EXCHANGE
                + received.len() * 3
                + refusals.as_ref().map_or(0, |refusals| refusals.footprint())
                + cursors.len() * CURSOR
                + cursors.filter_bytes()
        })
}
