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

mod broker;

use crate::codec::packet::{QoS, RetainHandling, SubscribeOptions, Version};
use crate::codec::reason::ReasonCode;
use crate::config::{
    AccessConfig, Config, DuplicateClient, Identity, Limits, OtherUser, Protocol, PublishExcess,
    QueueOverflow, QuotaConfig, RevokedSubscription, SessionConfig, SharedStrategy, TenantsConfig,
};
use crate::id::{ConnectionId, MessageId, PacketId, PeerId, Position};
use crate::message::Message;
use crate::slab::Key;
use crate::time::{Now, Timestamp, UnixTime};
use crate::topic::{FilterId, GroupId, Subscriber, SubscriberKey, Subscription};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr, SocketAddrV6};

/// Counts the changes of what a state consists of. Goes up with each of them.
pub(crate) const FORMAT: u32 = 16;

/// Where a state is written to.
pub(crate) struct Writer<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    /// Payloads are replaced by as many other bytes.
    pub(crate) without_payloads: bool,
    /// Where this is reached, texts and payloads are left out, and only counted: what comes of it
    /// is of no use, but for how large it would be.
    pub(crate) bytes_maximum: usize,
    left_out: u64,
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
            bytes_maximum: usize::MAX,
            left_out: 0,
            messages: BTreeMap::new(),
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        bytes.len().save(self);
        if self.has_room(bytes.len()) {
            self.out.extend_from_slice(bytes);
        }
    }

    /// How many bytes were left out.
    pub(crate) const fn left_out(&self) -> u64 {
        self.left_out
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        let has_room = self.out.len().saturating_add(bytes) <= self.bytes_maximum;
        if !has_room {
            self.left_out += bytes as u64;
        }
        has_room
    }

    /// Bytes of which somebody may have said that they are nobody's business.
    fn payload(&mut self, bytes: &[u8]) {
        if self.without_payloads {
            self.secret(bytes);
        } else {
            self.bytes(bytes);
        }
    }

    /// Bytes that are nobody's business, whatever anybody says: others of the same number.
    fn secret(&mut self, bytes: &[u8]) {
        bytes.len().save(self);
        if self.has_room(bytes.len()) {
            let end = self.out.len() + bytes.len();
            self.out.resize(end, crate::recording::REDACTED);
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

impl State for Arc<str> {
    fn save(&self, to: &mut Writer<'_>) {
        to.bytes(self.as_bytes());
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(Box::<str>::load(from)?.into())
    }
}

impl<T: State> State for Arc<T> {
    fn save(&self, to: &mut Writer<'_>) {
        T::save(self, to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        T::load(from).map(Self::new)
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
        // Of what is larger than its bytes here, room is made when it comes: nobody counts that.
        let mut values = match size_of::<T>() {
            1 => Self::with_capacity(room),
            _ => Self::new(),
        };
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

impl<const N: usize> State for [u8; N] {
    fn save(&self, to: &mut Writer<'_>) {
        to.out.extend_from_slice(self);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        from.take(N)?.try_into().ok()
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

impl State for Box<[u64]> {
    fn save(&self, to: &mut Writer<'_>) {
        self.len().save(to);
        self.iter().for_each(|value| value.save(to));
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        (0..usize::load(from)?).map(|_| u64::load(from)).collect()
    }
}

/// Data of enhanced authentication, from which a password could be guessed. Of its state only the
/// length is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) Vec<u8>);

impl State for Secret {
    fn save(&self, to: &mut Writer<'_>) {
        to.secret(&self.0);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        from.counted().map(|bytes| Self(bytes.to_vec()))
    }
}

impl State for IpAddr {
    fn save(&self, to: &mut Writer<'_>) {
        match self {
            Self::V4(ip) => to.bytes(&ip.octets()),
            Self::V6(ip) => to.bytes(&ip.octets()),
        }
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let octets = from.counted()?;
        if let Ok(octets) = <[u8; 4]>::try_from(octets) {
            return Some(Self::from(octets));
        }
        <[u8; 16]>::try_from(octets).ok().map(Self::from)
    }
}

impl State for SocketAddr {
    fn save(&self, to: &mut Writer<'_>) {
        self.ip().save(to);
        self.port().save(to);
        let (flow, scope) = match self {
            Self::V4(_) => (0, 0),
            Self::V6(address) => (address.flowinfo(), address.scope_id()),
        };
        (flow, scope).save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let (ip, port) = <(IpAddr, u16)>::load(from)?;
        let (flow, scope) = <(u32, u32)>::load(from)?;
        Some(match ip {
            IpAddr::V4(_) => Self::new(ip, port),
            IpAddr::V6(ip) => Self::V6(SocketAddrV6::new(ip, port, flow, scope)),
        })
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
        let head = match self.is_stub() {
            true => bytes.len(),
            false => bytes.len() - self.view().payload.len(),
        };
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
        let message = Self::from_state(&bytes)?;
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
    access,
    quotas,
    tenants,
    topics,
    durable
});
state!(TenantsConfig {
    maximum,
    connections_maximum,
    sessions_maximum,
    subscriptions_maximum,
    retained_messages_maximum,
    retained_bytes_maximum,
    queued_bytes_maximum
});
state!(AccessConfig {
    rules,
    shadow_rules,
    bans
});
state!(QuotaConfig {
    connections_per_address_maximum,
    connections_per_address_per_second_maximum,
    connections_per_user_maximum,
    connections_per_listener_maximum,
    publish_messages_per_second_maximum,
    publish_bytes_per_second_maximum,
    publish_excess,
});
state!(enum PublishExcess { 0 Throttle, 1 Disconnect });
state!(enum DuplicateClient { 0 TakeOver, 1 Refuse, 2 BackOff });
state!(Identity {
    node,
    shard,
    boot_epoch,
    shards
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
    other_user,
    duplicate_client,
    duplicate_takeovers_maximum,
    duplicate_window_s,
    inflight_bytes_maximum,
    revoked_subscription,
});
state!(enum OtherUser { 0 Refuse, 1 Replace });
state!(enum RevokedSubscription { 0 Disconnect, 1 Stay });
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
    unpersisted_bytes_maximum,
    memory_budget_bytes,
    queued_payload_memory_bytes,
    fanout_step,
    events_maximum,
});
