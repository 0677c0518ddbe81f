//! The version-neutral packet model: the only one that the rest of the core sees.
//!
//! Everything is borrowed from the bytes it was decoded from. What a version lacks is empty or at
//! its default: a 3.1.1 packet has no properties, its acknowledgements say [`ReasonCode::SUCCESS`].

use crate::codec::PublishFlags;
use crate::codec::property::Properties;
use crate::codec::reason::ReasonCode;
use crate::id::PacketId;

pub use crate::codec::filters::{SubscribeFilters, UnsubscribeFilters};

/// The version of the protocol a connection speaks. CONNECT names it; it never changes afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// MQTT 3.1: protocol name `MQIsdp`, level 3.
    V3,
    /// MQTT 3.1.1: protocol name `MQTT`, level 4.
    V4,
    /// MQTT 5.0: protocol name `MQTT`, level 5.
    V5,
}

impl core::fmt::Display for Version {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::V3 => "3.1",
            Self::V4 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

/// Quality of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QoS {
    /// 0: sent once, never acknowledged.
    #[default]
    AtMostOnce = 0,
    /// 1: sent until acknowledged; may arrive more than once.
    AtLeastOnce = 1,
    /// 2: arrives exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// `None` for 3 and above.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// One control packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Client to server: the first packet of a connection.
    Connect(Connect<'a>),
    /// Server to client: the answer to CONNECT.
    ConnAck(ConnAck<'a>),
    /// A message.
    Publish(Publish<'a>),
    /// Answers a QoS 1 PUBLISH.
    PubAck(Ack<'a>),
    /// Answers a QoS 2 PUBLISH.
    PubRec(Ack<'a>),
    /// Answers PUBREC.
    PubRel(Ack<'a>),
    /// Answers PUBREL.
    PubComp(Ack<'a>),
    /// Client to server: subscribe.
    Subscribe(Subscribe<'a>),
    /// Server to client: one reason code per filter of the SUBSCRIBE.
    SubAck(SubAck<'a>),
    /// Client to server: unsubscribe.
    Unsubscribe(Unsubscribe<'a>),
    /// Server to client: one reason code per filter of the UNSUBSCRIBE (5.0).
    UnsubAck(SubAck<'a>),
    /// Client to server: are you there?
    PingReq,
    /// Server to client: yes.
    PingResp,
    /// The last packet of a connection; from the server in 5.0 only.
    Disconnect(Disconnect<'a>),
    /// Enhanced authentication (5.0).
    Auth(Auth<'a>),
}

/// The type of a control packet, as the upper half of its first byte says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    missing_docs,
    reason = "the names are the specification's; see `Packet`"
)]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// `None` for 0, and for what does not fit four bits.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }
}

impl Packet<'_> {
    /// Which type of packet this is.
    #[must_use]
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }
}

/// CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// From protocol name and level.
    pub version: Version,
    /// 3.x: clean session.
    pub clean_start: bool,
    /// Seconds; 0 means none.
    pub keep_alive_s: u16,
    /// May be empty; what that means differs by version.
    pub client_id: &'a str,
    /// What to publish when the connection ends without a DISCONNECT.
    pub will: Option<Will<'a>>,
    /// Absent and empty differ.
    pub username: Option<&'a str>,
    /// Absent and empty differ.
    pub password: Option<&'a [u8]>,
    /// CONNECT properties.
    pub properties: Properties<'a>,
}

/// The will of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Where to.
    pub topic: &'a str,
    /// What.
    pub payload: &'a [u8],
    /// How.
    pub qos: QoS,
    /// Whether to retain it.
    pub retain: bool,
    /// Will properties.
    pub properties: Properties<'a>,
}

/// CONNACK. In 3.x the reason is mapped to and from the return codes 0 to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// The server has state for this client identifier.
    pub session_present: bool,
    /// Success or the refusal.
    pub reason: ReasonCode,
    /// CONNACK properties.
    pub properties: Properties<'a>,
}

/// PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// This may be a re-delivery. Never set at QoS 0.
    pub dup: bool,
    /// How it is delivered.
    pub qos: QoS,
    /// Keep it for later subscribers; or, from the server, it was kept.
    pub retain: bool,
    /// UTF-8 checked, not yet checked as a topic name. Empty when a topic alias stands for it
    /// (5.0).
    pub topic: &'a str,
    /// Present exactly when QoS is above 0.
    pub packet_id: Option<PacketId>,
    /// PUBLISH properties.
    pub properties: Properties<'a>,
    /// Anything.
    pub payload: &'a [u8],
}

impl Publish<'_> {
    /// DUP, QoS and RETAIN together.
    #[must_use]
    #[inline]
    pub const fn flags(&self) -> PublishFlags {
        PublishFlags::of(self.qos)
            .with_dup(self.dup)
            .with_retain(self.retain)
    }
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Of the PUBLISH that it belongs to.
    pub packet_id: PacketId,
    /// Always success in 3.x.
    pub reason: ReasonCode,
    /// Reason string and user properties.
    pub properties: Properties<'a>,
}

impl Ack<'_> {
    /// An acknowledgement that says no more than it must.
    #[must_use]
    pub const fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self {
            packet_id,
            reason,
            properties: Properties::EMPTY,
        }
    }
}

/// SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// To be repeated in SUBACK.
    pub packet_id: PacketId,
    /// Subscription identifier and user properties.
    pub properties: Properties<'a>,
    /// At least one.
    pub filters: SubscribeFilters<'a>,
}

/// SUBACK and UNSUBACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// Of the request.
    pub packet_id: PacketId,
    /// Reason string and user properties.
    pub properties: Properties<'a>,
    /// One reason code byte per filter, in the order of the request. Empty in a 3.x UNSUBACK.
    pub reasons: &'a [u8],
}

/// UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// To be repeated in UNSUBACK.
    pub packet_id: PacketId,
    /// User properties.
    pub properties: Properties<'a>,
    /// At least one.
    pub filters: UnsubscribeFilters<'a>,
}

/// DISCONNECT. In 3.x it carries nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why.
    pub reason: ReasonCode,
    /// DISCONNECT properties.
    pub properties: Properties<'a>,
}

/// AUTH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success, continue or re-authenticate.
    pub reason: ReasonCode,
    /// Authentication method and data.
    pub properties: Properties<'a>,
}

/// What a client asks for with a subscription. The 3.x byte carries the QoS alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscribeOptions {
    /// Deliver at most at this QoS.
    pub maximum_qos: QoS,
    /// Do not deliver what this client itself published.
    pub no_local: bool,
    /// Keep the publisher's RETAIN flag when forwarding.
    pub retain_as_published: bool,
    /// Whether retained messages are sent on subscribing.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent on subscribing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RetainHandling {
    /// 0: always.
    #[default]
    Send = 0,
    /// 1: only when the subscription did not exist.
    SendIfNew = 1,
    /// 2: never.
    DoNotSend = 2,
}

impl RetainHandling {
    /// `None` for 3 and above.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Send),
            1 => Some(Self::SendIfNew),
            2 => Some(Self::DoNotSend),
            _ => None,
        }
    }
}
