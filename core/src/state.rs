//! The whole broker as bytes, and back: the exact state, not only what the log keeps. The beginning
//! of each part of a recording is one.
//!
//! Two brokers with the same bytes answer the same inputs with the same outputs. So whatever can
//! change an output is in here: slots and their generations, packet identifiers, cursors, timers.
//! What only makes things faster is left out, and made anew: routes, buffers, working space.
//!
//! Every type says with [`state!`] which fields it has. That takes the type apart without a rest,
//! so a field that is added and not named here does not compile.
//!
//! The bytes are for the version that wrote them; see [`FORMAT`].

use crate::broker::Broker;
use crate::buffers::Buffers;
use crate::checkpoint::{Place, Walk};
use crate::codec::packet::{QoS, RetainHandling, SubscribeOptions, Version};
use crate::codec::reason::ReasonCode;
use crate::config::{
    Config, Identity, Limits, Protocol, QueueOverflow, SessionConfig, SharedStrategy,
};
use crate::connection::{Connection, Extra, Handshake, Stage};
use crate::encoder::Encoder;
use crate::gate::{AckKind, Gated};
use crate::id::{ConnectionId, MessageId, PacketId, PeerId, Position};
use crate::message::Message;
use crate::route::{RouteSlot, Routes};
use crate::session::inflight::{self, Exchange};
use crate::session::{Session, SubscriptionRef, Traffic};
use crate::slab::Key;
use crate::statistics::Statistics;
use crate::time::{Now, Timestamp, UnixTime};
use crate::timer::TimerKey;
use crate::topic::{FilterId, GroupId, Subscriber, SubscriberKey, Subscription};
use crate::will::Will;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// Counts the changes of what a state consists of. Goes up with each of them.
pub(crate) const FORMAT: u32 = 1;

/// Where a state is written to.
pub(crate) struct Writer<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    /// Payloads are replaced by as many other bytes.
    pub(crate) without_payloads: bool,
    /// Messages that were written, by their places: each is written once, however many share it.
    messages: BTreeMap<MessageId, (u32, Message)>,
}

/// Where a state is read from.
pub(crate) struct Reader<'a> {
    pub(crate) bytes: &'a [u8],
    messages: Vec<Message>,
}

/// A value that is part of a state.
pub(crate) trait State: Sized {
    /// Appends the value.
    fn save(&self, to: &mut Writer<'_>);

    /// Takes the value out; `None` when the bytes are none.
    fn load(from: &mut Reader<'_>) -> Option<Self>;
}

impl<'a> Writer<'a> {
    pub(crate) const fn new(out: &'a mut Vec<u8>, without_payloads: bool) -> Self {
        Self {
            out,
            without_payloads,
            messages: BTreeMap::new(),
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        bytes.len().save(self);
        self.out.extend_from_slice(bytes);
    }

    /// Bytes of which somebody may have said that they are nobody's business.
    fn payload(&mut self, bytes: &[u8]) {
        bytes.len().save(self);
        if self.without_payloads {
            let end = self.out.len() + bytes.len();
            self.out.resize(end, crate::recording::REDACTED);
        } else {
            self.out.extend_from_slice(bytes);
        }
    }
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            messages: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(head)
    }

    pub(crate) fn counted(&mut self) -> Option<&'a [u8]> {
        let length = usize::load(self)?;
        self.take(length)
    }
}

/// Says which fields a structure has, or which variants an enumeration and by which numbers they
/// are known.
macro_rules! state {
    (enum $type:ident {
        $($tag:literal $variant:ident $(($($place:ident),+))? $({$($field:ident),+})?),+ $(,)?
    }) => {
        impl $crate::state::State for $type {
            fn save(&self, to: &mut $crate::state::Writer<'_>) {
                match self {
                    $(Self::$variant $(($($place),+))? $({$($field),+})? => {
                        to.out.push($tag);
                        $($($crate::state::State::save($place, to);)+)?
                        $($($crate::state::State::save($field, to);)+)?
                    })+
                }
            }

            fn load(from: &mut $crate::state::Reader<'_>) -> Option<Self> {
                match u8::load(from)? {
                    $($tag => {
                        $($(let $place = $crate::state::State::load(from)?;)+)?
                        $($(let $field = $crate::state::State::load(from)?;)+)?
                        Some(Self::$variant $(($($place),+))? $({$($field),+})?)
                    })+
                    _ => None,
                }
            }
        }
    };
    ($type:ident { $($field:ident),+ $(,)? }) => {
        impl $crate::state::State for $type {
            fn save(&self, to: &mut $crate::state::Writer<'_>) {
                let Self { $($field),+ } = self;
                $($crate::state::State::save($field, to);)+
            }

            fn load(from: &mut $crate::state::Reader<'_>) -> Option<Self> {
                $(let $field = $crate::state::State::load(from)?;)+
                Some(Self { $($field),+ })
            }
        }
    };
    ($type:ident($field:ident)) => {
        impl $crate::state::State for $type {
            fn save(&self, to: &mut $crate::state::Writer<'_>) {
                let Self($field) = self;
                $crate::state::State::save($field, to);
            }

            fn load(from: &mut $crate::state::Reader<'_>) -> Option<Self> {
                $crate::state::State::load(from).map(Self)
            }
        }
    };
}
pub(crate) use state;

// --- What everything consists of ---

macro_rules! number {
    ($($type:ty),+) => {$(
        impl State for $type {
            fn save(&self, to: &mut Writer<'_>) {
                to.out.extend_from_slice(&self.to_le_bytes());
            }

            fn load(from: &mut Reader<'_>) -> Option<Self> {
                let (bytes, rest) = from.bytes.split_first_chunk()?;
                from.bytes = rest;
                Some(Self::from_le_bytes(*bytes))
            }
        }
    )+};
}
number!(u8, u16, u32, u64, i64);

impl State for usize {
    fn save(&self, to: &mut Writer<'_>) {
        (*self as u64).save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Self::try_from(u64::load(from)?).ok()
    }
}

impl State for bool {
    fn save(&self, to: &mut Writer<'_>) {
        to.out.push(u8::from(*self));
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(u8::load(from)? != 0)
    }
}

impl<T: State> State for Option<T> {
    fn save(&self, to: &mut Writer<'_>) {
        self.is_some().save(to);
        if let Some(value) = self {
            value.save(to);
        }
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(match bool::load(from)? {
            true => Some(T::load(from)?),
            false => None,
        })
    }
}

impl<T: State> State for Box<T> {
    fn save(&self, to: &mut Writer<'_>) {
        T::save(self, to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        T::load(from).map(Self::new)
    }
}

/// With its room: what a partial packet may take is counted by that.
impl<T: State> State for Vec<T> {
    fn save(&self, to: &mut Writer<'_>) {
        self.len().save(to);
        self.capacity().save(to);
        self.iter().for_each(|value| value.save(to));
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        /// More room than any buffer has beyond what is in it.
        const SPARE: usize = 128 << 10;
        let (length, room) = (usize::load(from)?, usize::load(from)?);
        if room < length || room > from.bytes.len().saturating_mul(2).saturating_add(SPARE) {
            return None;
        }
        let mut values = Self::with_capacity(room);
        for _ in 0..length {
            values.push(T::load(from)?);
        }
        Some(values)
    }
}

impl<T: State> State for VecDeque<T> {
    fn save(&self, to: &mut Writer<'_>) {
        self.len().save(to);
        self.iter().for_each(|value| value.save(to));
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        (0..usize::load(from)?).map(|_| T::load(from)).collect()
    }
}

impl<T: State + Ord> State for BTreeSet<T> {
    fn save(&self, to: &mut Writer<'_>) {
        self.len().save(to);
        self.iter().for_each(|value| value.save(to));
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        (0..usize::load(from)?).map(|_| T::load(from)).collect()
    }
}

impl<K: State + Ord, V: State> State for BTreeMap<K, V> {
    fn save(&self, to: &mut Writer<'_>) {
        self.len().save(to);
        for (key, value) in self {
            key.save(to);
            value.save(to);
        }
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        (0..usize::load(from)?)
            .map(|_| Some((K::load(from)?, V::load(from)?)))
            .collect()
    }
}

impl<A: State, B: State> State for (A, B) {
    fn save(&self, to: &mut Writer<'_>) {
        self.0.save(to);
        self.1.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some((A::load(from)?, B::load(from)?))
    }
}

impl<A: State, B: State, C: State> State for (A, B, C) {
    fn save(&self, to: &mut Writer<'_>) {
        self.0.save(to);
        self.1.save(to);
        self.2.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some((A::load(from)?, B::load(from)?, C::load(from)?))
    }
}

impl<const N: usize> State for [u64; N] {
    fn save(&self, to: &mut Writer<'_>) {
        self.iter().for_each(|value| value.save(to));
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let mut values = [0; N];
        for value in &mut values {
            *value = u64::load(from)?;
        }
        Some(values)
    }
}

impl State for Box<str> {
    fn save(&self, to: &mut Writer<'_>) {
        to.bytes(self.as_bytes());
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(core::str::from_utf8(from.counted()?).ok()?.into())
    }
}

impl State for String {
    fn save(&self, to: &mut Writer<'_>) {
        to.bytes(self.as_bytes());
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(core::str::from_utf8(from.counted()?).ok()?.into())
    }
}

impl State for Box<[u8]> {
    fn save(&self, to: &mut Writer<'_>) {
        to.bytes(self);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        from.counted().map(Self::from)
    }
}

impl State for SocketAddr {
    fn save(&self, to: &mut Writer<'_>) {
        match self.ip() {
            IpAddr::V4(ip) => to.bytes(&ip.octets()),
            IpAddr::V6(ip) => to.bytes(&ip.octets()),
        }
        self.port().save(to);
        let (flow, scope) = match self {
            Self::V4(_) => (0, 0),
            Self::V6(address) => (address.flowinfo(), address.scope_id()),
        };
        (flow, scope).save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let octets = from.counted()?;
        let port = u16::load(from)?;
        let (flow, scope) = <(u32, u32)>::load(from)?;
        if let Ok(octets) = <[u8; 4]>::try_from(octets) {
            return Some(Self::from((octets, port)));
        }
        let octets = <[u8; 16]>::try_from(octets).ok()?;
        let address = core::net::SocketAddrV6::new(octets.into(), port, flow, scope);
        Some(Self::V6(address))
    }
}

impl State for Message {
    fn save(&self, to: &mut Writer<'_>) {
        let id = self.view().id;
        let next = u32::try_from(to.messages.len()).unwrap_or(u32::MAX);
        let known = to.messages.get(&id);
        let known = known.map(|(place, known)| (*place, known == self));
        match known {
            Some((place, true)) => return place.save(to),
            // Two that differ have one name: peers may have sent it twice.
            Some((_, false)) => u32::MAX.save(to),
            None => {
                to.messages.insert(id, (next, self.clone()));
                next.save(to);
            }
        }
        let bytes = self.as_bytes();
        let head = bytes.len() - self.view().payload.len();
        to.bytes(&bytes[..head]);
        to.payload(&bytes[head..]);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let place = u32::load(from)?;
        if let Some(known) = from.messages.get(place as usize) {
            return Some(known.clone());
        }
        let mut bytes = from.counted()?.to_vec();
        bytes.extend_from_slice(from.counted()?);
        let message = Self::from_bytes(&bytes)?;
        if place != u32::MAX {
            from.messages.push(message.clone());
        }
        Some(message)
    }
}

impl State for PacketId {
    fn save(&self, to: &mut Writer<'_>) {
        self.get().save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Self::new(u16::load(from)?)
    }
}

state!(Timestamp(ms));
state!(UnixTime(ms));
state!(Now { monotonic, wall });
state!(Position(number));
state!(PeerId(number));
state!(ReasonCode(code));
state!(FilterId(number));
state!(GroupId(number));
state!(SubscriberKey(number));
state!(MessageId { origin, sequence });
state!(ConnectionId { index, generation });
state!(Key { index, generation });
state!(enum QoS { 0 AtMostOnce, 1 AtLeastOnce, 2 ExactlyOnce });
state!(enum Version { 3 V3, 4 V4, 5 V5 });
state!(enum RetainHandling { 0 Send, 1 SendIfNew, 2 DoNotSend });
state!(SubscribeOptions {
    maximum_qos,
    no_local,
    retain_as_published,
    retain_handling
});
state!(Subscription {
    options,
    identifier
});
state!(Subscriber { key, subscription });

// --- What is configured ---

state!(Config {
    protocol,
    session,
    limits,
    identity,
    durable
});
state!(Identity {
    node,
    shard,
    boot_epoch,
    has_peers
});
state!(Protocol {
    versions,
    maximum_qos,
    retain_available,
    wildcard_subscription_available,
    shared_subscription_available,
    subscription_identifiers_available,
    receive_maximum,
    maximum_packet_size,
    topic_alias_maximum,
    topic_alias_outbound_maximum,
    server_keep_alive_s,
    keep_alive_maximum_s,
    response_information,
    server_reference,
    check_payload_format,
    shared_strategy,
});
state!(enum SharedStrategy { 0 RoundRobin, 1 Sticky, 2 Random, 3 LeastInflight });
state!(SessionConfig {
    expiry_maximum_s,
    expiry_3x_s,
    queue_messages_maximum,
    queue_bytes_maximum,
    queue_overflow,
    queue_qos0,
    inflight_maximum,
    retransmit_interval_ms,
    retransmit_maximum,
});
state!(enum QueueOverflow { 0 DropNewest, 1 DropOldest, 2 Disconnect });
state!(Limits {
    connections_maximum,
    sessions_maximum,
    connect_timeout_ms,
    connect_packet_size_maximum,
    client_id_bytes_maximum,
    topic_bytes_maximum,
    topic_levels_maximum,
    subscriptions_per_session_maximum,
    user_properties_maximum,
    queue_messages_total_maximum,
    queue_bytes_total_maximum,
    retained_messages_maximum,
    retained_bytes_maximum,
    unsent_bytes_maximum,
    unsent_bytes_pause,
    slow_consumer_grace_ms,
    memory_budget_bytes,
    fanout_step,
    events_maximum,
});

// --- Connections ---

state!(enum Stage { 0 Waiting, 1 Parked(handshake), 2 Connected { session } });
state!(Handshake {
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
    inbound_aliases,
    outbound,
    method,
    authenticating,
});

impl State for crate::action::Peer {
    fn save(&self, to: &mut Writer<'_>) {
        let Self { address, listener } = self;
        address.save(to);
        listener.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            address: State::load(from)?,
            listener: State::load(from)?,
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
            key,
            profile,
            stage,
            peer,
            inbox_counted,
            last_heard,
            patience_ms,
            armed,
            maximum_packet_size,
            window,
            unacknowledged,
            route,
            gated,
            stalls,
            paused,
            ready,
            slow,
            connack_gated,
            waits,
            extra,
        } = self;
        let redaction = self.redaction(to.without_payloads);
        let mut packets = inbox.clone();
        packets.reserve_exact(inbox.capacity() - inbox.len());
        redaction.blot(&mut packets, 0);
        packets.save(to);
        let mut packets = outbox.clone();
        redaction.blot(&mut packets, 0);
        packets.save(to);
        key.save(to);
        profile.save(to);
        stage.save(to);
        peer.save(to);
        inbox_counted.save(to);
        last_heard.save(to);
        patience_ms.save(to);
        armed.save(to);
        maximum_packet_size.save(to);
        window.save(to);
        unacknowledged.save(to);
        route.save(to);
        gated.save(to);
        stalls.save(to);
        paused.save(to);
        ready.save(to);
        slow.save(to);
        connack_gated.save(to);
        waits.save(to);
        extra.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            inbox: State::load(from)?,
            outbox: State::load(from)?,
            key: State::load(from)?,
            profile: State::load(from)?,
            stage: State::load(from)?,
            peer: State::load(from)?,
            inbox_counted: State::load(from)?,
            last_heard: State::load(from)?,
            patience_ms: State::load(from)?,
            armed: State::load(from)?,
            maximum_packet_size: State::load(from)?,
            window: State::load(from)?,
            unacknowledged: State::load(from)?,
            route: State::load(from)?,
            gated: State::load(from)?,
            stalls: State::load(from)?,
            paused: State::load(from)?,
            ready: State::load(from)?,
            slow: State::load(from)?,
            connack_gated: State::load(from)?,
            waits: State::load(from)?,
            extra: State::load(from)?,
        })
    }
}

// --- Sessions ---

state!(SubscriptionRef { filter, group });
state!(Traffic {
    inflight,
    received,
    queue,
    cursors,
    unsent,
    outstanding,
    next_sequence,
    retransmit_armed,
});
state!(Session {
    client_id,
    number,
    connection,
    expiry_s,
    ends_at,
    will_at,
    will,
    armed,
    subscriptions,
    traffic,
    dropped,
    is_recorded,
    will_counted,
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
});
state!(enum Walk { 0 Session { slot, place }, 1 Retained { after } });
state!(enum Place { 0 Head, 1 Subscriptions(left), 2 Deliveries(from), 3 Cursors(left) });
state!(enum AckKind { 0 PubAck, 1 PubRec, 2 PubRel, 3 PubComp });
state!(enum Gated { 0 Ack(kind, id, reason), 1 Bytes(bytes), 2 ConnAck(bytes), 3 Publish(id) });
state!(Statistics {
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
    retained_refused,
    unsent_bytes,
    events_lost,
    recording_parts_given_up,
});

impl Broker {
    /// Whether nothing waits to be drained: what is left is the state that lasts.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.actions.is_empty()
            && self.ready.is_empty()
            && self.resumable.is_empty()
            && self.doomed.is_empty()
            && self.fanouts.is_empty()
            && self.journal.is_told()
    }

    /// Appends all of it, which must be [at rest](Self::is_at_rest).
    pub(crate) fn save(&self, to: &mut Writer<'_>) {
        let Self {
            config,
            clock,
            random,
            connections,
            sessions,
            subscriptions,
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
            sequence,
            session_numbers,
            shutting_down,
            storage_is_full,
            ready: _,
            resumable: _,
            doomed: _,
            fanouts: _,
            fanout_publishers,
            scratch: _,
            forwarded: _,
            alias_text: _,
            origin,
            nothing: _,
            buffers: _,
            actions: _,
            events_waiting,
        } = self;
        debug_assert!(self.is_at_rest());
        config.save(to);
        clock.save(to);
        random.save(to);
        connections.save(to);
        sessions.save(to);
        subscriptions.save(to);
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
        sequence.save(to);
        session_numbers.save(to);
        shutting_down.save(to);
        storage_is_full.save(to);
        fanout_publishers.save(to);
        origin.save(to);
        events_waiting.save(to);
    }

    /// Takes out what [`save`](Self::save) has appended.
    pub(crate) fn load(from: &mut Reader<'_>) -> Option<Self> {
        let config = State::load(from)?;
        let clock = State::load(from)?;
        let random: crate::random::Random = State::load(from)?;
        let seed = random.seed();
        Some(Self {
            config,
            clock,
            random,
            connections: State::load(from)?,
            sessions: crate::session::Sessions::load(from, seed)?,
            subscriptions: crate::topic::Subscriptions::load(from, seed)?,
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
            sequence: State::load(from)?,
            session_numbers: State::load(from)?,
            shutting_down: State::load(from)?,
            storage_is_full: State::load(from)?,
            ready: VecDeque::new(),
            resumable: VecDeque::new(),
            doomed: Vec::new(),
            fanouts: VecDeque::new(),
            fanout_publishers: State::load(from)?,
            scratch: Vec::new(),
            forwarded: Vec::new(),
            alias_text: String::new(),
            origin: State::load(from)?,
            nothing: Message::nothing(),
            buffers: Buffers::default(),
            actions: VecDeque::new(),
            events_waiting: State::load(from)?,
        })
    }
}
