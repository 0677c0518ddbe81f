//! What a client tells its caller, and what the caller asks of it.

use super::error::Fault;
use crate::codec::packet::{
    Ack, Auth, ConnAck, Disconnect, Publish, QoS, SubAck, SubscribeOptions,
};
use crate::codec::{Properties, ReasonCode};
use crate::id::PacketId;

/// What has happened. Borrows from the client, which goes on when the event is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientEvent<'a> {
    /// The server has accepted the connection.
    Connected(ConnAck<'a>),
    /// The server has refused the connection. The transport is to be closed.
    Refused(ConnAck<'a>),
    /// A message has arrived. Its topic is there even where the packet had an alias for it. When
    /// acknowledgements are manual, its packet identifier is what to acknowledge.
    Message(Publish<'a>),
    /// A QoS 1 or 2 message has arrived at the server, or was refused by it: the reason says.
    Acknowledged(Ack<'a>),
    /// The server has answered a SUBSCRIBE with one reason per filter.
    Subscribed(SubAck<'a>),
    /// The server has answered an UNSUBSCRIBE; since 5.0 with one reason per filter.
    Unsubscribed(SubAck<'a>),
    /// A message or request will never be acknowledged: the session ended, or the connection did
    /// before a request was answered, or a server that came back no longer takes the message.
    Abandoned(PacketId),
    /// The server wants to hear more, or has heard enough after `reauthenticate`: the reason says.
    Authentication(Auth<'a>),
    /// The connection has ended. What `transmit` still gives is to be written, and the transport
    /// closed.
    Disconnected(End<'a>),
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End<'a> {
    /// The server said so.
    Server(Disconnect<'a>),
    /// The caller did.
    Local,
    /// The transport did, without a word.
    Transport,
    /// The server broke a rule.
    Fault(Fault),
    /// The server did not answer in time.
    Timeout,
}

/// A message to be published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishRequest<'a> {
    /// Where to.
    pub topic: &'a str,
    /// What.
    pub payload: &'a [u8],
    /// How.
    pub qos: QoS,
    /// Whether the server keeps it for later subscribers.
    pub retain: bool,
    /// PUBLISH properties, without topic alias and subscription identifier. 5.0.
    pub properties: Properties<'a>,
}

/// Subscriptions to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscribeRequest<'a> {
    /// Filters, each with what is asked for. At least one.
    pub filters: &'a [(&'a str, SubscribeOptions)],
    /// Subscription identifier and user properties. 5.0.
    pub properties: Properties<'a>,
}

/// Subscriptions to be given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnsubscribeRequest<'a> {
    /// Filters, at least one.
    pub filters: &'a [&'a str],
    /// User properties. 5.0.
    pub properties: Properties<'a>,
}

/// How to part from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DisconnectRequest<'a> {
    /// Why; before 5.0 success alone can be said. With any other reason a 5.0 server publishes the
    /// will.
    pub reason: ReasonCode,
    /// Session expiry interval, reason string, user properties. 5.0.
    pub properties: Properties<'a>,
}

impl Default for DisconnectRequest<'_> {
    fn default() -> Self {
        Self {
            reason: ReasonCode::SUCCESS,
            properties: Properties::EMPTY,
        }
    }
}
