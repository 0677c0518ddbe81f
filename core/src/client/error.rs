//! What a server does wrong ([`Fault`]), and what the caller does ([`Misuse`]).

use crate::codec::ReasonCode;
use crate::error::{EncodeError, Malformed, Violation};
use crate::topic::FilterError;
use crate::topic::name::NameError;
use thiserror::Error;

/// Why a client leaves its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Fault {
    /// What neither side may do.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// Another packet than CONNACK or AUTH comes first.
    #[error("a packet comes before CONNACK")]
    BeforeConnAck,
    /// A second CONNACK.
    #[error("a second CONNACK")]
    SecondConnAck,
    /// The server has a session for a client that has none.
    #[error("the server speaks of a session that this client does not have")]
    SessionPresent,
    /// An acknowledgement of another kind than the request, or with another number of reason codes.
    #[error("an acknowledgement does not fit what it acknowledges")]
    Acknowledgement,
    /// A message comes under the packet identifier of another one that is still open.
    #[error("a packet identifier is in use already")]
    PacketIdInUse,
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Violation(malformed.into())
    }
}

impl Fault {
    /// What a 5.0 server is told.
    #[must_use]
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::Violation(violation) => violation.reason_code(),
            Self::BeforeConnAck
            | Self::SecondConnAck
            | Self::SessionPresent
            | Self::Acknowledgement
            | Self::PacketIdInUse => ReasonCode::PROTOCOL_ERROR,
        }
    }
}

/// What a caller asks for that cannot be done. Nothing was sent, nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Misuse {
    /// There is no connection that the server has accepted.
    #[error("there is no connection")]
    NotConnected,
    /// As many messages or requests are open as the server and the configuration allow. Room comes
    /// with the next acknowledgement.
    #[error("too many messages are waiting for their acknowledgement")]
    WindowFull,
    /// Too many bytes wait for `transmit`. Room comes when they are written.
    #[error("too many bytes are waiting to be sent")]
    BufferFull,
    /// An empty client identifier where this version does not allow it.
    #[error("this version needs a client identifier, or a clean start")]
    ClientId,
    /// Not a topic name.
    #[error(transparent)]
    TopicName(#[from] NameError),
    /// Not a topic filter.
    #[error(transparent)]
    TopicFilter(#[from] FilterError),
    /// No local on a shared subscription.
    #[error("no local cannot be asked for on a shared subscription")]
    NoLocalOnShared,
    /// A property that the caller may not set here, or that cannot be written.
    #[error("a property cannot be set here, or not to that value")]
    Property,
    /// A QoS above the server's maximum.
    #[error("the server does not support this QoS")]
    QoSNotSupported,
    /// The server has no retained messages.
    #[error("the server does not support retained messages")]
    RetainNotSupported,
    /// The server takes no wildcards.
    #[error("the server does not support wildcards in topic filters")]
    WildcardNotSupported,
    /// The server has no shared subscriptions.
    #[error("the server does not support shared subscriptions")]
    SharedNotSupported,
    /// The server has no subscription identifiers.
    #[error("the server does not support subscription identifiers")]
    IdentifierNotSupported,
    /// A packet above the server's maximum packet size.
    #[error("the packet is larger than the server takes")]
    PacketTooLarge,
    /// Nothing to acknowledge under this packet identifier.
    #[error("no message waits for an acknowledgement under this packet identifier")]
    UnknownPacketId,
    /// No authentication method was named in CONNECT.
    #[error("no enhanced authentication is in use")]
    NoAuthentication,
    /// No packet can say this.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}
