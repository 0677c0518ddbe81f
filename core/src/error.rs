//! What can go wrong because of a peer, and the one map from that to reason codes.
//!
//! [`Malformed`]: bytes that are no packet. [`Violation`]: a packet that may not come here, now, or
//! with this content. Both end the connection with a reason code and are counted. What the caller
//! of this crate does wrong is a `Misuse` where it can be answered, and an assertion where it
//! cannot.

use crate::codec::ReasonCode;
use thiserror::Error;

/// Bytes that cannot be a packet of the version in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The remaining length does not end within four bytes.
    #[error("the remaining length is longer than four bytes")]
    RemainingLength,
    /// A field or a property list runs past the end of what contains it.
    #[error("a field runs past the end of the packet")]
    Truncated,
    /// Bytes are left after the last field.
    #[error("bytes are left over after the last field")]
    TrailingBytes,
    /// A variable byte integer uses more bytes than its value needs, or more than four.
    #[error("a variable byte integer is not in its shortest form")]
    VariableByteInteger,
    /// Packet type 0, or AUTH before 5.0.
    #[error("there is no such packet type")]
    PacketType,
    /// The flags of the fixed header are not the ones this packet type must have.
    #[error("the fixed header has flags that are reserved")]
    FixedHeaderFlags,
    /// QoS 3.
    #[error("QoS 3 does not exist")]
    QoS,
    /// DUP on a QoS 0 PUBLISH.
    #[error("DUP is set on a QoS 0 message")]
    DupAtMostOnce,
    /// A string is not UTF-8, or contains U+0000.
    #[error("a string is not well-formed UTF-8, or contains U+0000")]
    Utf8,
    /// A packet identifier is zero.
    #[error("the packet identifier is zero")]
    PacketIdZero,
    /// The reserved bit of the connect flags is set, or the flags contradict each other.
    #[error("the connect flags contradict each other or use the reserved bit")]
    ConnectFlags,
    /// The connect acknowledge flags use a reserved bit.
    #[error("the connect acknowledge flags use a reserved bit")]
    ConnAckFlags,
    /// A subscription options byte uses a reserved bit or value.
    #[error("the subscription options use a reserved bit or value")]
    SubscriptionOptions,
    /// A reason or return code that this packet may not carry.
    #[error("this packet cannot carry that reason code")]
    ReasonCode,
    /// A property identifier that does not exist or does not belong here.
    #[error("a property is unknown or does not belong in this packet")]
    Property,
    /// The protocol name is neither `MQTT` nor `MQIsdp`.
    #[error("the protocol name is not MQTT")]
    ProtocolName,
}

/// A well-formed packet that breaks a rule, or that this broker is configured to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Violation {
    /// See [`Malformed`].
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The first packet is not CONNECT.
    #[error("what comes first is no CONNECT (is it TLS, or HTTP?)")]
    FirstPacket,
    /// A second CONNECT.
    #[error("a second CONNECT")]
    SecondConnect,
    /// A packet that only the other side may send.
    #[error("a packet that only the other side may send")]
    WrongDirection,
    /// A property stands twice that may stand once.
    #[error("a property stands twice")]
    PropertyRepeated,
    /// A property value that the specification forbids, such as a zero receive maximum.
    #[error("a property has a value that is not allowed")]
    PropertyValue,
    /// SUBSCRIBE or UNSUBSCRIBE without a filter.
    #[error("no topic filter")]
    NoTopicFilter,
    /// A protocol level that is not served here.
    #[error("the protocol version is not served here")]
    Version,
    /// A client identifier that cannot be accepted.
    #[error("the client identifier cannot be accepted")]
    ClientId,
    /// A topic name that is empty or has wildcards.
    #[error("the topic name is not valid here")]
    TopicName,
    /// A topic name that is too long or too deep for this broker.
    #[error("the topic name is above limits.topic_bytes_maximum or topic_levels_maximum")]
    TopicSize,
    /// A topic filter that is empty, too long, too deep, or has misplaced wildcards.
    #[error("the topic filter is not valid here")]
    TopicFilter,
    /// No local on a shared subscription.
    #[error("no local on a shared subscription")]
    NoLocalOnShared,
    /// A topic alias that is zero, above the maximum, or not set yet.
    #[error("the topic alias is not valid")]
    TopicAlias,
    /// A packet over the announced maximum, or over the limit before CONNECT.
    #[error("the packet is too large")]
    PacketTooLarge,
    /// More unacknowledged QoS 1 and 2 messages than the announced receive maximum.
    #[error("more messages in flight than the receive maximum")]
    ReceiveMaximum,
    /// Retained messages are switched off.
    #[error("retained messages are not available")]
    RetainNotSupported,
    /// A QoS above the announced maximum.
    #[error("the QoS is above the maximum")]
    QoSNotSupported,
    /// A payload that is declared as UTF-8 and is not.
    #[error("the payload is not the UTF-8 it is declared to be")]
    PayloadFormat,
    /// More user properties than the limit.
    #[error("too many user properties")]
    UserProperties,
    /// DISCONNECT sets a session expiry where CONNECT had set none.
    #[error("DISCONNECT sets a session expiry where CONNECT had none")]
    SessionExpiry,
    /// An acknowledgement of another kind than the message asks for, or out of turn.
    #[error("an acknowledgement does not fit the message it is for")]
    Acknowledgement,
    /// AUTH without an authentication method, or with another one than CONNECT named.
    #[error("AUTH does not fit the authentication in progress")]
    Auth,
}

impl Violation {
    /// What a 5.0 peer is told. The one place where this is decided.
    #[must_use]
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::Malformed(Malformed::ProtocolName) => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            Self::Malformed(_) => ReasonCode::MALFORMED_PACKET,
            Self::FirstPacket
            | Self::SecondConnect
            | Self::WrongDirection
            | Self::PropertyRepeated
            | Self::PropertyValue
            | Self::NoTopicFilter
            | Self::NoLocalOnShared
            | Self::SessionExpiry
            | Self::Acknowledgement
            | Self::Auth => ReasonCode::PROTOCOL_ERROR,
            Self::Version => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            Self::ClientId => ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
            Self::TopicName | Self::TopicSize => ReasonCode::TOPIC_NAME_INVALID,
            Self::TopicFilter => ReasonCode::TOPIC_FILTER_INVALID,
            Self::TopicAlias => ReasonCode::TOPIC_ALIAS_INVALID,
            Self::PacketTooLarge => ReasonCode::PACKET_TOO_LARGE,
            Self::ReceiveMaximum => ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
            Self::RetainNotSupported => ReasonCode::RETAIN_NOT_SUPPORTED,
            Self::QoSNotSupported => ReasonCode::QOS_NOT_SUPPORTED,
            Self::PayloadFormat => ReasonCode::PAYLOAD_FORMAT_INVALID,
            Self::UserProperties => ReasonCode::QUOTA_EXCEEDED,
        }
    }
}

/// A packet that cannot be written: the caller's mistake, and nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The packet, or one of its property lists, is longer than a variable byte integer can say.
    #[error("the packet is larger than the protocol allows")]
    TooLarge,
    /// A string or binary field of more than 65,535 bytes.
    #[error("a field is longer than 65,535 bytes")]
    FieldTooLong,
    /// A string contains U+0000.
    #[error("a string contains U+0000")]
    NullCharacter,
    /// This version has no such packet, or no way to say this.
    #[error("this version of the protocol cannot say that")]
    NotInVersion,
    /// A PUBLISH above QoS 0 without a packet identifier, or at QoS 0 with one, or with DUP.
    #[error("packet identifier or DUP do not go with the QoS")]
    PublishFlags,
    /// No topic filter in a request, or no reason code in the answer.
    #[error("a request or its answer has no entries")]
    NoEntries,
    /// A property that this packet may not carry.
    #[error("this packet cannot carry that property")]
    Property,
    /// A reason code that this packet may not carry.
    #[error("this packet cannot carry that reason code")]
    ReasonCode,
}
