//! The properties of MQTT 5.0: one table, and what follows from it.
//!
//! The table at the end of this file says for each property its identifier, type, the packets it
//! may stand in, those in which it may stand more than once, and whether it may be zero.
//! [`Property`], the checks of [`Properties::decode`] and the getters are all made from it. There
//! is no other list.

mod buffer;
mod list;

pub use buffer::PropertyBuffer;
pub use list::{Properties, PropertiesIter};

use crate::codec::REMAINING_LENGTH_MAX;
use crate::codec::packet::{PacketType, QoS};
use crate::codec::reader::Reader;
use crate::codec::writer::{put_binary, put_string, put_u16, put_u32, put_variable_byte_integer};
use crate::error::{EncodeError, Malformed, Violation};
use alloc::vec::Vec;

/// Where a property list stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names of packets; see `Packet`")]
pub enum PropertyContext {
    /// The will properties of a CONNECT.
    Will,
    Connect,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    Disconnect,
    Auth,
}

impl PropertyContext {
    /// The type of the packet that the list is part of.
    #[must_use]
    pub const fn packet_type(self) -> PacketType {
        match self {
            Self::Will | Self::Connect => PacketType::Connect,
            Self::ConnAck => PacketType::ConnAck,
            Self::Publish => PacketType::Publish,
            Self::PubAck => PacketType::PubAck,
            Self::PubRec => PacketType::PubRec,
            Self::PubRel => PacketType::PubRel,
            Self::PubComp => PacketType::PubComp,
            Self::Subscribe => PacketType::Subscribe,
            Self::SubAck => PacketType::SubAck,
            Self::Unsubscribe => PacketType::Unsubscribe,
            Self::UnsubAck => PacketType::UnsubAck,
            Self::Disconnect => PacketType::Disconnect,
            Self::Auth => PacketType::Auth,
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// How a value looks on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One byte, 0 or 1.
    Flag,
    /// One byte, 0 or 1: 2 is said by leaving the property out.
    QoS,
    U16,
    U32,
    Varint,
    String,
    /// A string that is a topic name.
    Topic,
    Binary,
    Pair,
}

/// A value with its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    Flag(bool),
    QoS(QoS),
    U16(u16),
    U32(u32),
    Varint(u32),
    String(&'a str),
    Topic(&'a str),
    Binary(&'a [u8]),
    Pair(&'a str, &'a str),
}

impl Kind {
    /// Reads and checks a value.
    fn decode<'a>(self, reader: &mut Reader<'a>) -> Result<Value<'a>, Violation> {
        Ok(match self {
            Self::Flag => match reader.u8()? {
                0 => Value::Flag(false),
                1 => Value::Flag(true),
                _ => return Err(Violation::PropertyValue),
            },
            Self::QoS => match reader.u8()? {
                0 => Value::QoS(QoS::AtMostOnce),
                1 => Value::QoS(QoS::AtLeastOnce),
                _ => return Err(Violation::PropertyValue),
            },
            Self::U16 => Value::U16(reader.u16()?),
            Self::U32 => Value::U32(reader.u32()?),
            Self::Varint => Value::Varint(reader.variable_byte_integer()?),
            // Content type among them. [MQTT-3.3.2-19]
            Self::String => Value::String(reader.string()?),
            Self::Topic => {
                let topic = reader.string()?; // [MQTT-3.3.2-13]
                // A topic name is at least one character long, and without wildcards. [MQTT-3.3.2-14]
                if topic.is_empty() || topic.bytes().any(|byte| matches!(byte, b'#' | b'+')) {
                    return Err(Violation::PropertyValue);
                }
                Value::Topic(topic)
            }
            Self::Binary => Value::Binary(reader.binary()?),
            Self::Pair => Value::Pair(reader.string()?, reader.string()?), // [MQTT-1.5.7-1]
        })
    }

    /// Steps over a value that was checked before.
    fn skip(self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        match self {
            Self::Flag | Self::QoS => reader.bytes(1).map(drop),
            Self::U16 => reader.bytes(2).map(drop),
            Self::U32 => reader.bytes(4).map(drop),
            Self::Varint => reader.variable_byte_integer().map(drop),
            Self::String | Self::Topic | Self::Binary => reader.binary().map(drop),
            Self::Pair => reader.binary().and_then(|_| reader.binary()).map(drop),
        }
    }
}

impl Value<'_> {
    const fn is_zero(self) -> bool {
        matches!(self, Self::U16(0) | Self::U32(0) | Self::Varint(0))
    }

    fn encode(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Flag(value) => out.push(u8::from(value)),
            Self::QoS(QoS::ExactlyOnce) => return Err(EncodeError::Property),
            Self::QoS(value) => out.push(value as u8),
            Self::U16(value) => put_u16(out, value),
            Self::U32(value) => put_u32(out, value),
            Self::Varint(value) if value > REMAINING_LENGTH_MAX => {
                return Err(EncodeError::FieldTooLong);
            }
            Self::Varint(value) => put_variable_byte_integer(out, value),
            Self::String(value) | Self::Topic(value) => put_string(out, value)?,
            Self::Binary(value) => put_binary(out, value)?,
            Self::Pair(name, value) => {
                put_string(out, name)?;
                put_string(out, value)?;
            }
        }
        Ok(())
    }
}

/// What the table says about one property.
#[derive(Clone, Copy, Debug)]
struct Row {
    kind: Kind,
    /// Where it may stand, one bit per [`PropertyContext`].
    contexts: u16,
    /// Where it may stand more than once.
    repeats: u16,
    /// What a zero is, where it is not a value like any other.
    zero: Option<Violation>,
}

impl Row {
    #[inline]
    fn of(id: u8) -> Option<&'static Self> {
        TABLE.get(usize::from(id))?.as_ref()
    }
}

/// A set of property identifiers, one bit each: they are all below 64.
type IdSet = u64;

const fn id_bit(id: u8) -> IdSet {
    1 << (id & 63)
}

/// One more than the largest identifier.
const ID_END: usize = 0x2B;

/// Properties of a message that mean something between two neighbours only, or that are set anew
/// for each recipient: message expiry interval, subscription identifier, will delay interval, topic
/// alias. All others of a PUBLISH and a will are forwarded as they came.
const NOT_FORWARDED: IdSet = id_bit(0x02) | id_bit(0x0B) | id_bit(0x18) | id_bit(0x23);

/// The properties that may stand in each context.
const fn allowed(context: PropertyContext) -> IdSet {
    let mut set = 0;
    let mut id = 0;
    while id < ID_END {
        if let Some(row) = &TABLE[id]
            && row.contexts & context.bit() != 0
        {
            set |= id_bit(id as u8);
        }
        id += 1;
    }
    set
}

/// The value of a column that may be left out: what comes before the default.
const fn first<const N: usize>(values: [Option<Violation>; N]) -> Option<Violation> {
    values[0]
}

/// Columns: identifier, name, getter, the fields with their types, [`Kind`], contexts; then, where
/// it applies, the contexts in which the property may repeat, and what violation a zero is. The
/// prose becomes the documentation of variant and getter.
macro_rules! properties {
    ($(
        $id:literal $name:ident $getter:ident($($field:ident: $ty:ty),+) $kind:ident
        in [$($context:ident)+]
        $(repeats in [$($repeat:ident)+])?
        $(zero is $zero:ident)?,
        $prose:literal;
    )*) => {
        const TABLE: [Option<Row>; ID_END] = {
            let mut table = [None; ID_END];
            $(
                table[$id] = Some(Row {
                    kind: Kind::$kind,
                    contexts: $(PropertyContext::$context.bit())|+,
                    repeats: 0 $($(| PropertyContext::$repeat.bit())+)?,
                    zero: first([$(Some(Violation::$zero),)? None]),
                });
            )*
            table
        };

        /// One property with its value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Property<'a> {
            $(#[doc = $prose] $name($($ty),+),)*
        }

        impl<'a> Property<'a> {
            const fn from_parts(id: u8, value: Value<'a>) -> Option<Self> {
                match (id, value) {
                    $(($id, Value::$kind($($field),+)) => Some(Self::$name($($field),+)),)*
                    _ => None,
                }
            }

            const fn to_parts(self) -> (u8, Value<'a>) {
                match self {
                    $(Self::$name($($field),+) => ($id, Value::$kind($($field),+)),)*
                }
            }
        }

        #[expect(unused_parens, reason = "a pair needs them, a single value does not")]
        impl<'a> Properties<'a> {
            $(
                #[doc = $prose]
                #[doc = ""]
                #[doc = "The first one, if there are several."]
                #[must_use]
                pub fn $getter(self) -> Option<($($ty),+)> {
                    let Value::$kind($($field),+) = self.find($id)? else {
                        return None;
                    };
                    Some(($($field),+))
                }
            )*
        }
    };
}

properties! {
    0x01 PayloadFormatIndicator payload_format_indicator(utf8: bool) Flag
        in [Publish Will], "Whether the payload is declared to be UTF-8.";
    0x02 MessageExpiryInterval message_expiry_interval(seconds: u32) U32
        in [Publish Will], "Seconds for which the message is of use.";
    0x03 ContentType content_type(content_type: &'a str) String
        in [Publish Will], "What the payload is, as the applications agree on it.";
    0x08 ResponseTopic response_topic(topic: &'a str) Topic
        in [Publish Will], "The topic name for the response.";
    0x09 CorrelationData correlation_data(data: &'a [u8]) Binary
        in [Publish Will], "What tells the requester which request a response is for.";
    0x0B SubscriptionIdentifier subscription_identifier(identifier: u32) Varint
        in [Publish Subscribe] repeats in [Publish] zero is PropertyValue,
        "The number that a client gave to a subscription, 1 to 268,435,455.";
    0x11 SessionExpiryInterval session_expiry_interval(seconds: u32) U32
        in [Connect ConnAck Disconnect],
        "Seconds that the session outlives its connection; 4,294,967,295 is for ever.";
    0x12 AssignedClientIdentifier assigned_client_identifier(client_id: &'a str) String
        in [ConnAck], "The client identifier that the server chose.";
    0x13 ServerKeepAlive server_keep_alive(seconds: u16) U16
        in [ConnAck], "The keep alive in seconds that holds instead of the client's.";
    0x15 AuthenticationMethod authentication_method(method: &'a str) String
        in [Connect ConnAck Auth], "The name of the enhanced authentication method.";
    0x16 AuthenticationData authentication_data(data: &'a [u8]) Binary
        in [Connect ConnAck Auth], "What the authentication method exchanges.";
    0x17 RequestProblemInformation request_problem_information(wanted: bool) Flag
        in [Connect], "Whether reason strings and user properties are welcome everywhere.";
    0x18 WillDelayInterval will_delay_interval(seconds: u32) U32
        in [Will], "Seconds from the end of the connection to the publication of the will.";
    0x19 RequestResponseInformation request_response_information(wanted: bool) Flag
        in [Connect], "Whether response information is asked for.";
    0x1A ResponseInformation response_information(information: &'a str) String
        in [ConnAck], "What the client can make response topics from.";
    0x1C ServerReference server_reference(servers: &'a str) String
        in [ConnAck Disconnect], "Another server to use.";
    0x1F ReasonString reason_string(reason: &'a str) String
        in [ConnAck PubAck PubRec PubRel PubComp SubAck UnsubAck Disconnect Auth],
        "The reason in words, for people.";
    0x21 ReceiveMaximum receive_maximum(messages: u16) U16
        in [Connect ConnAck] zero is PropertyValue,
        "How many QoS 1 and 2 messages the sender of this takes unacknowledged, from 1.";
    0x22 TopicAliasMaximum topic_alias_maximum(aliases: u16) U16
        in [Connect ConnAck], "The largest topic alias that the sender of this accepts.";
    0x23 TopicAlias topic_alias(alias: u16) U16
        in [Publish] zero is TopicAlias, "A number that stands for the topic name, from 1.";
    0x24 MaximumQoS maximum_qos(qos: QoS) QoS
        in [ConnAck], "The highest QoS that the server supports, when it is not 2.";
    0x25 RetainAvailable retain_available(available: bool) Flag
        in [ConnAck], "Whether the server supports retained messages.";
    0x26 UserProperty user_property(name: &'a str, value: &'a str) Pair
        in [Connect ConnAck Publish Will PubAck PubRec PubRel PubComp Subscribe SubAck Unsubscribe
            UnsubAck Disconnect Auth]
        repeats in [Connect ConnAck Publish Will PubAck PubRec PubRel PubComp Subscribe SubAck
            Unsubscribe UnsubAck Disconnect Auth],
        "A name and a value, as the applications agree on them.";
    0x27 MaximumPacketSize maximum_packet_size(bytes: u32) U32
        in [Connect ConnAck] zero is PropertyValue,
        "The size in bytes of the largest packet that the sender of this accepts, from 1.";
    0x28 WildcardSubscriptionAvailable wildcard_subscription_available(available: bool) Flag
        in [ConnAck], "Whether the server supports wildcards in topic filters.";
    0x29 SubscriptionIdentifierAvailable subscription_identifier_available(available: bool) Flag
        in [ConnAck], "Whether the server supports subscription identifiers.";
    0x2A SharedSubscriptionAvailable shared_subscription_available(available: bool) Flag
        in [ConnAck], "Whether the server supports shared subscriptions.";
}

impl Property<'_> {
    /// Appends identifier and value, or nothing at all.
    fn encode(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let (id, value) = self.to_parts();
        let start = out.len();
        out.push(id);
        value.encode(out).inspect_err(|_| out.truncate(start))
    }
}
