//! Reason codes (5.0) and return codes (3.x): one table with prose.

use crate::codec::packet::PacketType;
use core::fmt;

/// A reason code as it stands on the wire: below 0x80 success, from 0x80 on failure.
///
/// Open on purpose: any byte can be held and shown. Which codes a packet may carry is asked with
/// [`Self::belongs_in`], and decoding asks it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReasonCode(pub u8);

/// Name, value and plain meaning of each code, and the packets that may carry it, in the order of
/// the specification (MQTT 5.0 §2.4, completed from the tables of the packets).
macro_rules! reason_codes {
    ($($name:ident = $value:literal, $prose:literal, [$($packet:ident)+];)*) => {
        impl ReasonCode {
            $(#[doc = $prose] pub const $name: Self = Self($value);)*

            /// The code in words, for people; `None` for codes the specification does not define.
            #[must_use]
            pub const fn prose(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($prose),)*
                    _ => None,
                }
            }

            /// The packet types that may carry this code, one bit each.
            const fn packets(self) -> u16 {
                match self.0 {
                    $($value => $(1 << PacketType::$packet as u16)|+,)*
                    _ => 0,
                }
            }
        }
    };
}

reason_codes! {
    SUCCESS = 0x00, "success",
        [ConnAck PubAck PubRec PubRel PubComp SubAck UnsubAck Disconnect Auth];
    GRANTED_QOS_1 = 0x01, "granted QoS 1",
        [SubAck];
    GRANTED_QOS_2 = 0x02, "granted QoS 2",
        [SubAck];
    DISCONNECT_WITH_WILL = 0x04, "disconnect with will message",
        [Disconnect];
    NO_MATCHING_SUBSCRIBERS = 0x10, "no matching subscribers",
        [PubAck PubRec];
    NO_SUBSCRIPTION_EXISTED = 0x11, "no subscription existed",
        [UnsubAck];
    CONTINUE_AUTHENTICATION = 0x18, "continue authentication",
        [Auth];
    RE_AUTHENTICATE = 0x19, "re-authenticate",
        [Auth];
    UNSPECIFIED = 0x80, "unspecified error",
        [ConnAck PubAck PubRec SubAck UnsubAck Disconnect];
    MALFORMED_PACKET = 0x81, "malformed packet",
        [ConnAck Disconnect];
    PROTOCOL_ERROR = 0x82, "protocol error",
        [ConnAck Disconnect];
    IMPLEMENTATION_SPECIFIC = 0x83, "implementation specific error",
        [ConnAck PubAck PubRec SubAck UnsubAck Disconnect];
    UNSUPPORTED_PROTOCOL_VERSION = 0x84, "unsupported protocol version",
        [ConnAck];
    CLIENT_IDENTIFIER_NOT_VALID = 0x85, "client identifier not valid",
        [ConnAck];
    BAD_USER_NAME_OR_PASSWORD = 0x86, "bad user name or password",
        [ConnAck];
    NOT_AUTHORIZED = 0x87, "not authorized",
        [ConnAck PubAck PubRec SubAck UnsubAck Disconnect];
    SERVER_UNAVAILABLE = 0x88, "server unavailable",
        [ConnAck];
    SERVER_BUSY = 0x89, "server busy",
        [ConnAck Disconnect];
    BANNED = 0x8A, "banned",
        [ConnAck];
    SERVER_SHUTTING_DOWN = 0x8B, "server shutting down",
        [Disconnect];
    BAD_AUTHENTICATION_METHOD = 0x8C, "bad authentication method",
        [ConnAck Disconnect];
    KEEP_ALIVE_TIMEOUT = 0x8D, "keep alive timeout",
        [Disconnect];
    SESSION_TAKEN_OVER = 0x8E, "session taken over",
        [Disconnect];
    TOPIC_FILTER_INVALID = 0x8F, "topic filter invalid",
        [SubAck UnsubAck Disconnect];
    TOPIC_NAME_INVALID = 0x90, "topic name invalid",
        [ConnAck PubAck PubRec Disconnect];
    PACKET_IDENTIFIER_IN_USE = 0x91, "packet identifier in use",
        [PubAck PubRec SubAck UnsubAck];
    PACKET_IDENTIFIER_NOT_FOUND = 0x92, "packet identifier not found",
        [PubRel PubComp];
    RECEIVE_MAXIMUM_EXCEEDED = 0x93, "receive maximum exceeded",
        [Disconnect];
    TOPIC_ALIAS_INVALID = 0x94, "topic alias invalid",
        [Disconnect];
    PACKET_TOO_LARGE = 0x95, "packet too large",
        [ConnAck Disconnect];
    MESSAGE_RATE_TOO_HIGH = 0x96, "message rate too high",
        [Disconnect];
    QUOTA_EXCEEDED = 0x97, "quota exceeded",
        [ConnAck PubAck PubRec SubAck Disconnect];
    ADMINISTRATIVE_ACTION = 0x98, "administrative action",
        [Disconnect];
    PAYLOAD_FORMAT_INVALID = 0x99, "payload format invalid",
        [ConnAck PubAck PubRec Disconnect];
    RETAIN_NOT_SUPPORTED = 0x9A, "retain not supported",
        [ConnAck Disconnect];
    QOS_NOT_SUPPORTED = 0x9B, "QoS not supported",
        [ConnAck Disconnect];
    USE_ANOTHER_SERVER = 0x9C, "use another server",
        [ConnAck Disconnect];
    SERVER_MOVED = 0x9D, "server moved",
        [ConnAck Disconnect];
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E, "shared subscriptions not supported",
        [SubAck Disconnect];
    CONNECTION_RATE_EXCEEDED = 0x9F, "connection rate exceeded",
        [ConnAck Disconnect];
    MAXIMUM_CONNECT_TIME = 0xA0, "maximum connect time",
        [Disconnect];
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1, "subscription identifiers not supported",
        [SubAck Disconnect];
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2, "wildcard subscriptions not supported",
        [SubAck Disconnect];
}

/// The return codes 0 to 5 of a 3.x CONNACK: what each is read as, then what else it is written
/// for.
const RETURN_CODES: [&[ReasonCode]; 6] = [
    &[ReasonCode::SUCCESS],
    &[ReasonCode::UNSUPPORTED_PROTOCOL_VERSION],
    &[ReasonCode::CLIENT_IDENTIFIER_NOT_VALID], // [MQTT311-3.1.3-9]
    &[
        ReasonCode::SERVER_UNAVAILABLE,
        ReasonCode::UNSPECIFIED,
        ReasonCode::IMPLEMENTATION_SPECIFIC,
        ReasonCode::SERVER_BUSY,
        ReasonCode::SERVER_SHUTTING_DOWN,
        ReasonCode::QUOTA_EXCEEDED,
        ReasonCode::USE_ANOTHER_SERVER,
        ReasonCode::SERVER_MOVED,
        ReasonCode::CONNECTION_RATE_EXCEEDED,
    ],
    &[
        ReasonCode::BAD_USER_NAME_OR_PASSWORD,
        ReasonCode::BAD_AUTHENTICATION_METHOD,
    ],
    &[ReasonCode::NOT_AUTHORIZED],
];

/// Not authorized: what all other refusals amount to for a 3.x client.
const RETURN_CODE_OTHERWISE: u8 = 5;

impl ReasonCode {
    /// Whether this code reports a failure.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// Whether a 5.0 packet of this type may carry this code.
    #[must_use]
    pub const fn belongs_in(self, packet_type: PacketType) -> bool {
        // CONNACK [MQTT-3.2.2-8], PUBACK [MQTT-3.4.2-1], PUBREC [MQTT-3.5.2-1], PUBREL
        // [MQTT-3.6.2-1], PUBCOMP [MQTT-3.7.2-1], SUBACK [MQTT-3.9.3-2], UNSUBACK [MQTT-3.11.3-2],
        // DISCONNECT [MQTT-3.14.2-1], AUTH [MQTT-3.15.2-1]
        self.packets() & 1 << packet_type as u16 != 0
    }

    /// What a 3.x CONNACK says instead: the return code 0 to 5.
    #[must_use]
    pub fn to_return_code(self) -> u8 {
        RETURN_CODES
            .iter()
            .position(|reasons| reasons.contains(&self))
            .map_or(RETURN_CODE_OTHERWISE, |code| code as u8)
    }

    /// What a 3.x return code means. `None` above 5.
    #[must_use]
    pub fn from_return_code(code: u8) -> Option<Self> {
        RETURN_CODES.get(usize::from(code))?.first().copied()
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prose() {
            Some(prose) => f.write_str(prose),
            None => write!(f, "reason code {:#04x}", self.0),
        }
    }
}

impl fmt::Debug for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x} {self}", self.0)
    }
}
