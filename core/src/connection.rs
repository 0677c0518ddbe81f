//! A connection: what lives and dies with the transport. Handshake stage, partial packet, unsent
//! bytes, what was negotiated, keep alive, topic aliases.

use crate::access::identity::{Grant, Identity, Place};
use crate::access::names::Names;
use crate::action::Peer;
use crate::backpressure::Publisher;
use crate::codec::packet::{QoS, Version};
use crate::config::Limits;
use crate::deliver::OUTBOX_FULL;
use crate::error::Violation;
use crate::gate::Gate;
use crate::id::ConnectionId;
use crate::profile::Profile;
use crate::quota::PublishMeters;
use crate::route::RouteSlot;
use crate::slab::Key;
use crate::state::Secret;
use crate::tenant::TenantId;
use crate::time::Timestamp;
use crate::will::Will;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

/// How far the handshake has come.
///
/// ```text
/// Waiting ──CONNECT──▶ Parked ──verdict──▶ Connected
///    │                   │ ▲                  │ ▲
///    ▼                   ▼ └── AUTH ──┘       └─┘ re-authentication
///  closed              closed
/// ```
#[derive(Debug)]
pub(crate) enum Stage {
    /// Nothing but CONNECT may come. [MQTT-3.1.0-1]
    Waiting,
    /// CONNECT came; a verdict is awaited, from the runtime or, by AUTH, from the client.
    Parked(Box<Handshake>),
    /// CONNACK is on its way, or was sent.
    Connected { session: Key },
}

/// A CONNECT that is being decided on.
#[derive(Debug)]
pub(crate) struct Handshake {
    /// Who comes later to this shard has the greater one.
    pub(crate) number: u64,
    pub(crate) clean_start: bool,
    pub(crate) client_id: Box<str>,
    pub(crate) assigned: bool,
    pub(crate) keep_alive_s: u16,
    pub(crate) will: Option<Box<Will>>,
    pub(crate) session_expiry_s: u32,
    pub(crate) wants_response_information: bool,
    pub(crate) username: Option<String>,
    /// AUTH was sent; only AUTH may come.
    pub(crate) awaits_auth: bool,
}

impl Handshake {
    /// What it takes, in bytes.
    pub(crate) fn footprint(&self) -> usize {
        const HANDSHAKE: usize = 160;
        HANDSHAKE
            + self.client_id.len()
            + self.will.as_ref().map_or(0, |will| will.cost_bytes())
            + self.username.as_ref().map_or(0, String::len)
    }
}

/// Why bytes of a connection are kept instead of handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stalls(u16);

crate::state::state!(Stalls(bits));

impl Stalls {
    /// A verdict on its credentials is awaited.
    pub(crate) const VERDICT: Self = Self(1);
    /// A subscriber that does not keep up holds it.
    pub(crate) const HELD: Self = Self(2);
    /// One of another shard does.
    pub(crate) const HELD_THERE: Self = Self(2_048);
    /// Too many of its acknowledgements wait for the log.
    pub(crate) const GATED: Self = Self(4);
    /// A large fan-out has to be finished first.
    pub(crate) const FANOUT: Self = Self(8);
    /// The disk is full, and its version knows no refusal.
    pub(crate) const STORAGE: Self = Self(16);

    /// It has published more than it may.
    pub(crate) const RATE: Self = Self(256);

    /// It does not take what it is sent.
    pub(crate) const OUTPUT: Self = Self(32);
    /// Too much is on its way to another shard.
    pub(crate) const PEER: Self = Self(64);
    /// It goes to another shard, and its bytes with it.
    pub(crate) const LEAVING: Self = Self(128);
    /// It is about to be closed: what came behind the reason for that has no part in it.
    pub(crate) const DOOMED: Self = Self(512);
    /// It has had its share of this turn.
    pub(crate) const TURN: Self = Self(1_024);

    /// Whether it waits for the broker, and not the broker for it.
    pub(crate) const fn are_ours(self) -> bool {
        self.0 & !Self::OUTPUT.0 != 0
    }

    pub(crate) const fn any(self) -> bool {
        self.0 != 0
    }

    /// Whether there is any other reason than these.
    pub(crate) const fn any_but(self, other: Self) -> bool {
        self.0 & !other.0 != 0
    }

    /// Whether nothing but room on the disk is missing: all that needs none goes on.
    pub(crate) const fn is_storage_alone(self) -> bool {
        self.0 == Self::STORAGE.0
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) const fn clear(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

/// Rarely used parts, behind one pointer.
#[derive(Debug)]
pub(crate) struct Extra {
    /// Publishers that wait until this connection has taken its bytes.
    pub(crate) waiters: VecDeque<Publisher>,
    /// The armed deadline after which they go on without it.
    pub(crate) slow_armed: Option<Timestamp>,
    /// The shards that have somebody it waits for, one bit each.
    pub(crate) held_by: u64,
    /// How many bytes at the front of its inbox are messages that wait for room on the disk.
    pub(crate) awaiting_storage: usize,
    /// Topics the client has given aliases to.
    pub(crate) inbound: InboundAliases,
    /// Topics the broker has given aliases to.
    pub(crate) outbound: OutboundAliases,
    /// What it may call topics, if that is not everything as it is.
    pub(crate) names: Option<Names>,
    /// The method of enhanced authentication that CONNECT named.
    pub(crate) method: Option<Box<str>>,
    /// A re-authentication is under way.
    pub(crate) authenticating: bool,
    /// How fast it publishes.
    pub(crate) publish_meters: PublishMeters,
    /// When it is read again after having published too fast; `MAX` is now.
    pub(crate) throttle_armed: Timestamp,
    /// What it wanted to do and might not, so far; and what the shadow rules would not have
    /// allowed.
    pub(crate) denied: u64,
    pub(crate) shadow_denied: u64,
    /// How many of its messages were refused for other reasons.
    pub(crate) publishes_refused: u64,
    /// What the last `Verdict::Continue` left for the client's answer.
    pub(crate) authentication_state: Option<Secret>,
    /// When the authentication ends; `MAX` is never.
    pub(crate) authentication_armed: Timestamp,
}

impl Default for Extra {
    fn default() -> Self {
        Self {
            waiters: VecDeque::new(),
            slow_armed: None,
            held_by: 0,
            awaiting_storage: 0,
            inbound: InboundAliases::default(),
            outbound: OutboundAliases::default(),
            names: None,
            method: None,
            authenticating: false,
            publish_meters: PublishMeters::default(),
            throttle_armed: Timestamp::MAX,
            denied: 0,
            shadow_denied: 0,
            publishes_refused: 0,
            authentication_state: None,
            authentication_armed: Timestamp::MAX,
        }
    }
}

/// One open transport.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) key: Key,
    pub(crate) profile: Profile,
    pub(crate) stage: Stage,
    /// The one that its verdict put it in; nothing was asked of it before.
    pub(crate) tenant: TenantId,
    pub(crate) place: Place,
    /// Bytes that were not handled yet: a partial packet, or whatever came while stalled.
    pub(crate) inbox: Vec<u8>,
    /// What of the inbox is in the statistics.
    pub(crate) inbox_counted: u32,
    /// What of it is in the broker's footprints.
    pub(crate) footprint: u32,
    /// Encoded bytes that the runtime has not pulled yet.
    pub(crate) outbox: Vec<u8>,
    /// Bytes that it has pulled, and that the transport has not taken.
    pub(crate) blocked: u32,
    pub(crate) last_heard: Timestamp,
    /// One and a half times the keep alive; 0 is none.
    pub(crate) patience_ms: u32,
    pub(crate) armed: Timestamp,
    /// The largest packet the client accepts.
    pub(crate) maximum_packet_size: u32,
    /// How many QoS 1 and 2 messages may be in flight to it.
    pub(crate) window: u16,
    /// How many of the QoS 1 and 2 messages that it sent wait for what ends their exchange. An
    /// exchange that began on an earlier connection does not count, as it does not for the client.
    pub(crate) unacknowledged: u16,
    /// Where the route of the last message it published lies.
    pub(crate) route: RouteSlot,
    /// How many SUBACKs and UNSUBACKs wait behind the log or for other shards.
    pub(crate) answers_gated: u16,
    /// How many of its packets wait behind the log or for other shards.
    pub(crate) gated: u32,
    pub(crate) stalls: Stalls,
    /// The runtime was told not to read.
    pub(crate) paused: bool,
    /// A `Send` was announced and `transmit` not called since.
    pub(crate) ready: bool,
    /// It did not take its bytes in time, and publishers do not wait for it any more.
    pub(crate) slow: bool,
    /// CONNACK waits for the log: nothing may overtake it.
    pub(crate) connack_gated: bool,
    /// It looks for no more retained messages in this turn.
    pub(crate) rests: bool,
    /// Who it has shown to be, if it has shown anything.
    pub(crate) identity: Option<Box<Identity>>,
    pub(crate) extra: Option<Box<Extra>>,
}

/// Who a peer has shown to be before CONNECT, if it has shown anything.
fn shown_by(peer: Peer) -> Option<Box<Identity>> {
    let has_shown = peer.certificate.is_some() || peer.proxy.is_some();
    has_shown.then(|| {
        Box::new(Identity {
            grant: Grant::default(),
            certificate: peer.certificate,
            proxy: peer.proxy,
        })
    })
}

impl Connection {
    pub(crate) fn new(key: Key, peer: Peer, now: Timestamp) -> Self {
        let place = Place::of(&peer);
        let identity = shown_by(peer);
        Self {
            key,
            profile: Profile::new(Version::V4, false),
            stage: Stage::Waiting,
            tenant: TenantId::DEFAULT,
            place,
            inbox: Vec::new(),
            inbox_counted: 0,
            footprint: 0,
            outbox: Vec::new(),
            blocked: 0,
            last_heard: now,
            patience_ms: 0,
            armed: Timestamp::MAX,
            maximum_packet_size: u32::MAX,
            window: 0,
            unacknowledged: 0,
            route: RouteSlot::default(),
            answers_gated: 0,
            gated: 0,
            stalls: Stalls::default(),
            paused: false,
            ready: false,
            slow: false,
            connack_gated: false,
            rests: false,
            identity,
            extra: None,
        }
    }

    /// More is known of it than when it was accepted.
    pub(crate) fn get_to_know(&mut self, peer: Peer) {
        self.place = Place::of(&peer);
        self.identity = shown_by(peer);
    }

    pub(crate) const fn id(&self) -> ConnectionId {
        ConnectionId::of(self.key)
    }

    /// What its verdict granted, if anything.
    pub(crate) fn grant(&self) -> Option<&Grant> {
        self.identity.as_ref().map(|identity| &identity.grant)
    }

    /// What it may call topics, if that is not everything as it is.
    pub(crate) fn names(&self) -> Option<&Names> {
        self.extra.as_ref()?.names.as_ref()
    }

    /// The user it has shown to be.
    pub(crate) fn user(&self) -> Option<&str> {
        self.grant()?.user.as_deref()
    }

    /// What was said of it when it was accepted.
    pub(crate) fn peer(&self) -> Peer {
        let identity = self.identity.as_deref();
        Peer {
            address: self.place.address(),
            listener: self.place.listener,
            certificate: identity.and_then(|identity| identity.certificate.clone()),
            proxy: identity.and_then(|identity| identity.proxy),
        }
    }

    pub(crate) const fn session(&self) -> Option<Key> {
        match self.stage {
            Stage::Connected { session } => Some(session),
            Stage::Waiting | Stage::Parked(_) => None,
        }
    }

    /// Keeps bytes that are not handled now, in no more room than they need: it is counted. Each
    /// piece may be moved with what is there, and is a read of its own.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        self.inbox.reserve_exact(bytes.len());
        self.inbox.extend_from_slice(bytes);
    }

    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Whether a message of this QoS has to wait for the log although nothing of itself does: a QoS
    /// 2 message that is sent again may wait there, and must not be overtaken.
    pub(crate) fn must_queue_behind_log(&self, qos: QoS) -> bool {
        qos == QoS::ExactlyOnce && self.gated > 0
    }

    /// The same as a gate. What waits already may wait for another shard, when the log has all.
    pub(crate) fn gate_behind(&self, qos: QoS) -> Option<Gate> {
        self.must_queue_behind_log(qos).then(Gate::default)
    }

    /// Whether a QoS 1 or 2 message may go straight into its output, instead of into the queue of
    /// its session. While there is memory, who has taken all that was sent before gets what comes
    /// in one turn up to where publishers are slowed down.
    pub(crate) fn takes_at_once(&self, is_tight: bool, limits: &Limits) -> bool {
        let keeps_up = || self.blocked == 0 && !self.slow && !is_tight;
        let unsent = self.outbox.len();
        unsent < OUTBOX_FULL || keeps_up() && unsent < limits.unsent_bytes_pause as usize
    }

    /// Whether it is not read for the sake of some subscriber.
    pub(crate) fn waits(&self) -> bool {
        self.stalls.has(Stalls::HELD) || self.stalls.has(Stalls::HELD_THERE)
    }

    /// Whether publishers wait for it.
    pub(crate) fn is_awaited(&self) -> bool {
        let extra = self.extra.as_ref();
        extra.is_some_and(|extra| !extra.waiters.is_empty())
    }

    /// What was to be sent to it, and its transport has not taken.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.outbox.len() + self.blocked as usize
    }

    /// Whether it has what it says that its inbox has.
    pub(crate) fn is_whole(&self) -> bool {
        let extra = self.extra.as_ref();
        extra.is_none_or(|extra| extra.awaiting_storage <= self.inbox.len())
    }

    /// Whether CONNECT named a method of enhanced authentication.
    pub(crate) fn has_method(&self) -> bool {
        self.extra
            .as_ref()
            .is_some_and(|extra| extra.method.is_some())
    }
}

/// Somebody who waits: here, and among those of his shard.
const WAITER_BYTES: usize = 32;

impl Extra {
    /// What it takes beside itself, in bytes.
    pub(crate) fn footprint(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let state = self.authentication_state.as_ref();
        self.waiters.len() * WAITER_BYTES
            + self.inbound.footprint()
            + self.outbound.footprint()
            + self.names.as_ref().map_or(0, Names::footprint)
            + text(&self.method)
            + state.map_or(0, |state| state.0.len())
    }
}

/// What an allocator adds to a text, in bytes.
const TEXT: usize = 16;

/// The topics that a client has given aliases to.
#[derive(Debug, Default)]
pub(crate) struct InboundAliases {
    topics: Vec<Option<Box<str>>>,
    text_bytes: usize,
}

crate::state::state!(InboundAliases { topics, text_bytes });

impl InboundAliases {
    /// Remembers or resolves the topic alias of an incoming PUBLISH.
    pub(crate) fn resolve<'a>(
        &'a mut self,
        topic: &'a str,
        alias: u16,
        maximum: u16,
    ) -> Result<&'a str, Violation> {
        // [MQTT-3.2.2-17] [MQTT-3.2.2-18] [MQTT-3.3.2-9]
        if alias == 0 || alias > maximum {
            return Err(Violation::TopicAlias);
        }
        let place = usize::from(alias) - 1;
        if topic.is_empty() {
            return self
                .topics
                .get(place)
                .and_then(Option::as_deref)
                .ok_or(Violation::TopicAlias);
        }
        if self.topics.len() <= place {
            self.topics.resize(place + 1, None);
        }
        // [MQTT-3.3.2-12]
        let known = &mut self.topics[place];
        if known.as_deref() != Some(topic) {
            self.text_bytes += topic.len() + TEXT;
            let before = known.replace(topic.into());
            self.text_bytes -= before.map_or(0, |before| before.len() + TEXT);
        }
        Ok(topic)
    }

    /// What they take, in bytes.
    fn footprint(&self) -> usize {
        self.topics.len() * 24 + self.text_bytes
    }
}

/// What an outgoing PUBLISH says about its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aliased {
    /// The topic, no alias.
    Plain,
    /// The topic, and the alias it has from now on.
    Introduced(u16),
    /// The alias alone.
    Known(u16),
}

/// Automatic topic aliases towards a client: a topic gets one when it comes the second time in a
/// while.
#[derive(Debug, Default)]
pub(crate) struct OutboundAliases {
    topics: Vec<(Box<str>, u32)>,
    text_bytes: usize,
    /// Hashes of topics seen lately without an alias.
    recent: Vec<u32>,
    maximum: u16,
    uses: u32,
}

crate::state::state!(OutboundAliases {
    topics,
    text_bytes,
    recent,
    maximum,
    uses
});

impl OutboundAliases {
    /// Topics seen lately that are remembered for each alias there may be.
    const RECENT_PER_ALIAS: usize = 4;

    pub(crate) const fn set_maximum(&mut self, maximum: u16) {
        self.maximum = maximum;
    }

    pub(crate) const fn is_off(&self) -> bool {
        self.maximum == 0
    }

    /// What they take, in bytes.
    fn footprint(&self) -> usize {
        self.topics.len() * 36 + self.recent.len() * 6 + self.text_bytes
    }

    /// Says this topic by the alias that it has, if it has one.
    pub(crate) fn known(&mut self, topic: &str) -> Aliased {
        self.uses = self.uses.wrapping_add(1);
        let uses = self.uses;
        match self.topics.iter().position(|(known, _)| **known == *topic) {
            Some(place) => {
                self.topics[place].1 = uses;
                Aliased::Known(alias_at(place))
            }
            None => Aliased::Plain,
        }
    }

    /// Decides how this topic is said, taking note that it was.
    pub(crate) fn choose(&mut self, topic: &str) -> Aliased {
        if self.is_off() {
            return Aliased::Plain; // [MQTT-3.1.2-27]
        }
        if let Aliased::Known(alias) = self.known(topic) {
            return Aliased::Known(alias);
        }
        let uses = self.uses;
        let hash = fnv1a(topic);
        if !self.recent.contains(&hash) {
            let size = usize::from(self.maximum) * Self::RECENT_PER_ALIAS;
            if self.recent.len() < size {
                self.recent.push(hash);
            } else {
                self.recent[uses as usize % size] = hash;
            }
            return Aliased::Plain;
        }
        // [MQTT-3.1.2-26]
        if self.topics.len() < usize::from(self.maximum) {
            self.topics.push((topic.into(), uses));
            self.text_bytes += topic.len() + TEXT;
            return Aliased::Introduced(alias_at(self.topics.len() - 1));
        }
        let age = |(_, used): &(Box<str>, u32)| uses.wrapping_sub(*used);
        let oldest = (0..self.topics.len()).max_by_key(|place| age(&self.topics[*place]));
        let Some(place) = oldest else {
            return Aliased::Plain;
        };
        // One that was used in the last round stays: two sets of topics must not push each other
        // out.
        if age(&self.topics[place]) as usize <= self.topics.len() {
            return Aliased::Plain;
        }
        self.text_bytes += topic.len();
        self.text_bytes -= self.topics[place].0.len();
        self.topics[place] = (topic.into(), uses);
        Aliased::Introduced(alias_at(place))
    }
}

/// Aliases count from 1, and there are at most 65,535.
fn alias_at(place: usize) -> u16 {
    u16::try_from(place + 1).expect("no more aliases than the client's maximum, a u16")
}

/// A hash that only has to tell topics apart; a wrong guess costs an alias, nothing else.
fn fnv1a(topic: &str) -> u32 {
    topic.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_gets_an_alias_the_second_time() {
        let mut aliases = OutboundAliases::default();
        assert_eq!(aliases.choose("a"), Aliased::Plain, "off by default");
        aliases.set_maximum(2);
        assert_eq!(aliases.choose("a"), Aliased::Plain);
        assert_eq!(aliases.choose("a"), Aliased::Introduced(1));
        assert_eq!(aliases.choose("a"), Aliased::Known(1));
        aliases.choose("b");
        assert_eq!(aliases.choose("b"), Aliased::Introduced(2));
        for _ in 0..4 {
            assert_eq!(aliases.choose("b"), Aliased::Known(2));
        }
        aliases.choose("c");
        assert_eq!(
            aliases.choose("c"),
            Aliased::Introduced(1),
            "the one not used for longest goes"
        );
    }
}
