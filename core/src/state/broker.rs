//! The state of a broker: connections, sessions, and what they have in common.

use super::{Reader, State, Writer, state};
use crate::broker::Broker;
use crate::buffers::Buffers;
use crate::checkpoint::{Place, Walk};
use crate::codec::LastTopic;
use crate::config::Config;
use crate::connection::{Connection, Extra, Handshake, Stage};
use crate::encoder::Encoder;
use crate::gate::{AckKind, ConnAckBytes, Gated};
use crate::message::Message;
use crate::message::pool::Pool;
use crate::placement::SLOTS;
use crate::recording::Redaction;
use crate::route::{RouteSlot, Routes};
use crate::session::inflight::{self, Exchange};
use crate::session::{Session, SubscriptionRef, Traffic};
use crate::tenant::TenantId;
use crate::timer::TimerKey;
use crate::will::Will;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

// --- Connections ---

state!(enum Stage { 0 Waiting, 1 Parked(handshake), 2 Connected { session } });
state!(Handshake {
    number,
    clean_start,
    client_id,
    assigned,
    keep_alive_s,
    will,
    session_expiry_s,
    wants_response_information,
    username,
    awaits_auth,
});
state!(Extra {
    waiters,
    slow_armed,
    held_by,
    awaiting_storage,
    inbound,
    outbound,
    names,
    method,
    authenticating,
    authentication_state,
    authentication_armed,
    publish_meters,
    throttle_armed,
    denied,
    shadow_denied,
    publishes_refused,
});

impl State for crate::action::Peer {
    fn save(&self, to: &mut Writer<'_>) {
        let Self {
            address,
            listener,
            certificate,
            proxy,
        } = self;
        address.save(to);
        listener.save(to);
        certificate.save(to);
        proxy.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            address: State::load(from)?,
            listener: State::load(from)?,
            certificate: State::load(from)?,
            proxy: State::load(from)?,
        })
    }
}

/// Where the last route lay is forgotten with the routes.
impl State for RouteSlot {
    fn save(&self, _: &mut Writer<'_>) {}

    fn load(_: &mut Reader<'_>) -> Option<Self> {
        Some(Self::default())
    }
}

impl State for Will {
    fn save(&self, to: &mut Writer<'_>) {
        let Self {
            topic,
            payload,
            properties,
            qos,
            retain,
            delay_s,
            message_expiry_s,
        } = self;
        topic.save(to);
        to.payload(payload);
        properties.save(to);
        qos.save(to);
        retain.save(to);
        delay_s.save(to);
        message_expiry_s.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            topic: State::load(from)?,
            payload: State::load(from)?,
            properties: State::load(from)?,
            qos: State::load(from)?,
            retain: State::load(from)?,
            delay_s: State::load(from)?,
            message_expiry_s: State::load(from)?,
        })
    }
}

/// What it holds of packets may have to be blotted out, and that depends on the rest of it.
impl State for Connection {
    fn save(&self, to: &mut Writer<'_>) {
        let Self {
            inbox,
            outbox,
            blocked,
            key,
            profile,
            stage,
            tenant,
            place,
            identity,
            inbox_counted,
            footprint,
            last_heard,
            patience_ms,
            armed,
            maximum_packet_size,
            window,
            unacknowledged,
            route,
            answers_gated,
            gated,
            stalls,
            paused,
            ready,
            slow,
            connack_gated,
            rests,
            extra,
        } = self;
        let redaction = self.redaction(to.without_payloads);
        let mut packets = inbox.clone();
        packets.reserve_exact(inbox.capacity() - inbox.len());
        redaction.blot(&mut packets, 0);
        packets.save(to);
        let mut packets = outbox.clone();
        redaction.of_the_broker().blot(&mut packets, 0);
        packets.save(to);
        key.save(to);
        profile.save(to);
        stage.save(to);
        tenant.save(to);
        place.save(to);
        identity.save(to);
        blocked.save(to);
        inbox_counted.save(to);
        footprint.save(to);
        last_heard.save(to);
        patience_ms.save(to);
        armed.save(to);
        maximum_packet_size.save(to);
        window.save(to);
        unacknowledged.save(to);
        route.save(to);
        answers_gated.save(to);
        gated.save(to);
        stalls.save(to);
        paused.save(to);
        ready.save(to);
        slow.save(to);
        connack_gated.save(to);
        rests.save(to);
        extra.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            inbox: State::load(from)?,
            outbox: State::load(from)?,
            key: State::load(from)?,
            profile: State::load(from)?,
            stage: State::load(from)?,
            tenant: State::load(from)?,
            place: State::load(from)?,
            identity: State::load(from)?,
            blocked: State::load(from)?,
            inbox_counted: State::load(from)?,
            footprint: State::load(from)?,
            last_heard: State::load(from)?,
            patience_ms: State::load(from)?,
            armed: State::load(from)?,
            maximum_packet_size: State::load(from)?,
            window: State::load(from)?,
            unacknowledged: State::load(from)?,
            route: State::load(from)?,
            answers_gated: State::load(from)?,
            gated: State::load(from)?,
            stalls: State::load(from)?,
            paused: State::load(from)?,
            ready: State::load(from)?,
            slow: State::load(from)?,
            connack_gated: State::load(from)?,
            rests: State::load(from)?,
            extra: State::load(from)?,
        })
    }
}

// --- Sessions ---

state!(SubscriptionRef { filter, group });
state!(Traffic {
    inflight,
    received,
    refusals,
    queue,
    cursors,
    unsent,
    outstanding,
    next_sequence,
    retransmit_armed,
    tighten_armed,
    unchecked,
    dropped,
});
state!(Session {
    tenant,
    client_id,
    owner,
    number,
    connection,
    connect,
    expiry_s,
    ends_at,
    will_at,
    will,
    armed,
    subscriptions,
    traffic,
    is_recorded,
    has_kept,
    record_waits,
    is_filtered,
    will_counted,
    footprint,
});
state!(Exchange {
    stage,
    delivery,
    sent_at,
    resent,
    was_sent,
    sent,
    counted
});

impl State for inflight::Stage {
    fn save(&self, to: &mut Writer<'_>) {
        (*self == Self::Released).save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(match bool::load(from)? {
            true => Self::Released,
            false => Self::Published,
        })
    }
}

// --- The rest ---

state!(enum TimerKey {
    0 Connection(key),
    1 Slow(key),
    2 Session(key),
    3 Retransmit(key),
    4 Retained,
    5 Authentication(key),
    6 Throttle(key),
    7 Tighten(key),
});
state!(enum Walk {
    0 Session { slot, place },
    1 Retained { tenant, after },
    2 Owed,
    3 Taken { after },
});
state!(enum Place { 0 Head, 1 Subscriptions(left), 2 Deliveries(from), 3 Cursors(left) });
state!(enum AckKind { 0 PubAck, 1 PubRec, 2 PubRel, 3 PubComp });
state!(enum Gated { 0 Ack(kind, id, reason), 1 Bytes(bytes), 2 ConnAck(bytes), 3 Publish(id) });

/// Authentication data goes, as it does wherever else a packet has it.
impl State for ConnAckBytes {
    fn save(&self, to: &mut Writer<'_>) {
        let mut bytes = self.0.clone();
        Redaction::of_what_is_sent().blot(&mut bytes, 0);
        bytes.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        State::load(from).map(Self)
    }
}

impl Broker {
    /// Whether nothing waits to be drained: what is left is the state that lasts.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.actions.is_empty()
            && self.ready.is_empty()
            && self.resumable.is_empty()
            && self.doomed.is_empty()
            && self.fanouts.is_empty()
            && self.leaving.is_empty()
            && self.peers.is_told()
            && self.journal.is_told()
    }

    /// Appends all of it, which must be [at rest](Self::is_at_rest).
    pub(crate) fn save(&self, to: &mut Writer<'_>) {
        let Self {
            config,
            access,
            bans,
            quotas,
            flapping,
            clock,
            random,
            connections,
            sessions,
            tenants,
            peers,
            placement,
            taken,
            lent,
            estates,
            narrowing,
            routes: _,
            retained,
            retained_armed,
            timers,
            journal,
            gates,
            durable,
            walk,
            machine_wall,
            encoder: _,
            statistics,
            unsent_bytes,
            footprints,
            unsent_limit: _,
            sequence,
            session_numbers,
            shutting_down,
            storage_is_full,
            unread_until,
            ready: _,
            searches,
            sends_left: _,
            resumable: _,
            leaving: _,
            doomed: _,
            work,
            fanouts: _,
            fanout_publishers,
            pool: _,
            forwarded: _,
            alias_text: _,
            last_topic: _,
            origin,
            nothing: _,
            buffers: _,
            question: _,
            spill,
            actions: _,
            events_waiting,
            events_lost_told,
        } = self;
        debug_assert!(self.is_at_rest());
        config.save(to);
        access.save(to);
        bans.save(to);
        quotas.save(to);
        flapping.save(to);
        clock.save(to);
        random.save(to);
        connections.save(to);
        sessions.save(to);
        tenants.save(to);
        peers.save(to);
        placement.save(to);
        taken.save(to);
        lent.save(to);
        estates.save(to);
        narrowing.save(to);
        searches.save(to);
        retained.save(to);
        retained_armed.save(to);
        timers.save(to);
        journal.save(to);
        gates.save(to);
        durable.save(to);
        walk.save(to);
        machine_wall.save(to);
        statistics.save(to);
        unsent_bytes.save(to);
        footprints.save(to);
        sequence.save(to);
        session_numbers.save(to);
        shutting_down.save(to);
        storage_is_full.save(to);
        unread_until.save(to);
        fanout_publishers.save(to);
        origin.save(to);
        spill.save(to);
        events_waiting.save(to);
        events_lost_told.save(to);
        work.save(to);
    }

    /// Takes out what [`save`](Self::save) has appended.
    pub(crate) fn load(from: &mut Reader<'_>) -> Option<Self> {
        let config: Config = State::load(from)?;
        let pool = Pool::within(config.limits.memory_budget_bytes);
        let (access, bans) = (State::load(from)?, State::load(from)?);
        let (quotas, flapping) = (State::load(from)?, State::load(from)?);
        let clock = State::load(from)?;
        let random: crate::random::Random = State::load(from)?;
        let seed = random.seed();
        let broker = Self {
            config,
            access,
            bans,
            quotas,
            flapping,
            clock,
            random,
            connections: State::load(from)?,
            sessions: crate::session::Sessions::load(from, seed)?,
            tenants: crate::tenant::Tenants::load(from, seed)?,
            peers: State::load(from)?,
            placement: State::load(from)?,
            taken: State::load(from)?,
            lent: State::load(from)?,
            estates: State::load(from)?,
            narrowing: State::load(from)?,
            searches: State::load(from)?,
            routes: Routes::new(seed),
            retained: State::load(from)?,
            retained_armed: State::load(from)?,
            timers: State::load(from)?,
            journal: State::load(from)?,
            gates: State::load(from)?,
            durable: State::load(from)?,
            walk: State::load(from)?,
            machine_wall: State::load(from)?,
            encoder: Encoder::default(),
            statistics: State::load(from)?,
            unsent_bytes: State::load(from)?,
            footprints: State::load(from)?,
            unsent_limit: usize::MAX,
            sequence: State::load(from)?,
            session_numbers: State::load(from)?,
            shutting_down: State::load(from)?,
            storage_is_full: State::load(from)?,
            unread_until: State::load(from)?,
            ready: VecDeque::new(),
            sends_left: 0,
            resumable: VecDeque::new(),
            leaving: VecDeque::new(),
            doomed: Vec::new(),
            fanouts: VecDeque::new(),
            fanout_publishers: State::load(from)?,
            pool,
            forwarded: Vec::new(),
            alias_text: String::new(),
            last_topic: LastTopic::default(),
            origin: State::load(from)?,
            nothing: Message::nothing(),
            buffers: Buffers::default(),
            question: None,
            spill: State::load(from)?,
            actions: VecDeque::new(),
            events_waiting: State::load(from)?,
            events_lost_told: State::load(from)?,
            work: State::load(from)?,
        };
        broker.is_whole().then_some(broker)
    }

    /// Whether everything that is named by a number is there.
    fn is_whole(&self) -> bool {
        let has = |tenant: TenantId| tenant.index() < self.tenants.len();
        let walks = match &self.walk {
            Some(Walk::Retained { tenant, .. }) => has(*tenant),
            _ => true,
        };
        let identity = &self.config.identity;
        (1..=SLOTS).contains(&identity.shards)
            && identity.shard < identity.shards
            && self.placement.shards == identity.shards
            && walks
            && self.retained.tenant_count() <= self.tenants.len()
            && self
                .connections
                .values()
                .all(|c| has(c.tenant) && c.is_whole())
            && self.sessions.values().all(|session| has(session.tenant))
    }
}
