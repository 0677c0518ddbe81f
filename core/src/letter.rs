//! What shards tell each other.
//!
//! Everything that one shard has for another after one turn goes as one [`Letter`]. Letters from
//! one shard to another arrive in the order in which they were written, and none is lost; letters
//! between other pairs may overtake each other. A runtime only carries them.

use crate::bundle::Bundle;
use crate::codec::packet::QoS;
use crate::id::{ConnectionId, PacketId};
use crate::message::{self, Message};
pub use crate::retained::Author;
pub use crate::shared::Declined;
use crate::tenant::Counts;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

/// What one shard has to say to another, and how far it has come with what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Counts up with every letter that this shard writes, to whomever.
    pub number: u64,
    /// Every message that the writer takes in after this letter has a greater sequence.
    pub clock: u64,
    /// How far the writer has come with the letters of the receiver.
    pub confirms: Confirmation,
    /// What the writer wants less than before, and since when that is durable.
    pub narrowed: Narrowed,
    /// To be taken in in this order, before the confirmation.
    pub parcels: Vec<Parcel>,
}

/// How far a shard has come with the letters of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confirmation {
    /// Bytes of messages taken in, in all.
    pub taken_bytes: u64,
    /// What the letters up to this number made it record is on stable storage.
    pub kept: u64,
}

/// Whether what a shard does not want any more could be wanted again after a crash: messages that
/// it is not sent for that are not acknowledged before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Narrowed {
    /// As this letter has it, it could.
    pub less: bool,
    /// As letters up to this number had it, it could not any more.
    pub until: u64,
}

/// One thing in a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parcel {
    /// What the writer wants to be sent has changed.
    Interest(Interest),
    /// A message for everybody there who subscribes to it in its tenant, and for the retained ones.
    Message(RoutedMessage),
    /// Small ones that are not retained and have no exchange: most.
    Bundle(Bundle),
    /// A message for one member of a shared subscription there.
    Shared(SharedMessage),
    /// The same, back: nobody is left there who may take it.
    Returned(SharedMessage),
    /// An exchange is complete: nobody has to remember the message.
    Completed(ExchangeId),
    /// How much a tenant has there.
    Counts(TenantCounts),
    /// How many connections a user has there.
    User(UserCount),
    /// A connection from this address is gone, which the receiver counts.
    Gone(IpAddr),
    /// A subscriber there does not take what this connection of the receiver publishes as fast as
    /// it comes: it should not be read for now.
    Hold(ConnectionId),
    /// It need not wait for the writer any longer.
    Release(ConnectionId),
}

/// How much of what tenants may have only so much of is at one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantCounts {
    /// Whose.
    pub tenant: Arc<str>,
    /// Connected clients, sessions, and subscriptions.
    pub counts: Counts,
}

/// How many connections of a user are at one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCount {
    /// Whose.
    pub user: Box<str>,
    /// Connected clients.
    pub connections: u32,
}

/// The exchange by which a QoS 2 message comes in, of a session that outlives its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExchangeId {
    /// The number of the publisher's session.
    pub session: u64,
    /// The packet identifier there.
    pub packet_id: PacketId,
}

/// What one shard wants to be sent of one filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// In which tenant; `None` is the default one.
    pub tenant: Option<Arc<str>>,
    /// Filter text, with its `$share/` prefix when it is a group.
    pub filter: Box<str>,
    /// Subscribers there; 0 when the last one is gone. Plain filters say 0 or 1.
    pub members: u32,
    /// Members of a group that are connected.
    pub present: u32,
}

/// A message that another shard took in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutedMessage {
    /// The message, with its identifier, publish QoS and absolute expiry.
    pub message: Message,
    /// The publisher set RETAIN.
    pub retain: bool,
    /// It is retained, or clears what was; so it is where it was taken in.
    pub kept: bool,
    /// Who published it, if it is retained.
    pub author: Option<Author>,
    /// The connection of the writer that it came by, if one can be asked to wait.
    pub publisher: Option<ConnectionId>,
    /// To be taken in once.
    pub exchange: Option<ExchangeId>,
}

/// A message of a shared subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedMessage {
    /// The message.
    pub message: Message,
    /// The publisher set RETAIN.
    pub retain: bool,
    /// The connection that it came by, of the shard where it came in, if one can be asked to wait.
    pub publisher: Option<ConnectionId>,
    /// Filter text, with its `$share/` prefix, in the tenant of the message.
    pub group: Box<str>,
    /// To be taken in once.
    pub exchange: Option<ExchangeId>,
    /// What it was for a session that has ended.
    pub moved: Option<DeliveryId>,
    /// Where it has been already, and nobody may have it.
    pub declined: Declined,
}

/// A delivery to a session that lasts, as the log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryId {
    /// The number of the session.
    pub session: u64,
    /// Which of its deliveries.
    pub sequence: u64,
}

crate::state::state!(Letter {
    number,
    clock,
    confirms,
    narrowed,
    parcels
});
crate::state::state!(Narrowed { less, until });
crate::state::state!(enum Parcel {
    0 Interest(interest),
    1 Message(routed),
    2 Shared(shared),
    3 Returned(shared),
    4 Completed(exchange),
    5 Counts(counts),
    6 User(count),
    7 Gone(address),
    8 Hold(publisher),
    9 Release(publisher),
    10 Bundle(bundle),
});
crate::state::state!(TenantCounts { tenant, counts });
crate::state::state!(UserCount { user, connections });
crate::state::state!(ExchangeId { session, packet_id });
crate::state::state!(Interest {
    tenant,
    filter,
    members,
    present
});
crate::state::state!(RoutedMessage {
    message,
    retain,
    kept,
    author,
    publisher,
    exchange
});
crate::state::state!(SharedMessage {
    message,
    retain,
    publisher,
    group,
    exchange,
    moved,
    declined
});
crate::state::state!(DeliveryId { session, sequence });

/// What a routed message counts beside its own bytes.
pub(crate) const PARCEL_BYTES: usize = 64;

/// What the smallest message counts.
pub(crate) const COST_BYTES_MINIMUM: u64 = (PARCEL_BYTES + message::HEADER) as u64;

impl Parcel {
    /// Whether somebody waits until the receiver has kept it.
    pub(crate) fn must_be_kept(&self) -> bool {
        match self {
            Self::Interest(_) | Self::Completed(_) => true,
            Self::Message(routed) => routed.kept || routed.message.qos() > QoS::AtMostOnce,
            Self::Shared(shared) => shared.message.qos() > QoS::AtMostOnce,
            Self::Bundle(bundle) => bundle.must_be_kept(),
            Self::Returned(_)
            | Self::Counts(_)
            | Self::User(_)
            | Self::Gone(_)
            | Self::Hold(_)
            | Self::Release(_) => false,
        }
    }

    /// What it takes of the room between two shards. Only what publishers send does: they can be
    /// made to wait.
    pub(crate) fn cost_bytes(&self) -> u64 {
        match self {
            Self::Message(RoutedMessage { message, .. })
            | Self::Shared(SharedMessage { message, .. }) => {
                (message.as_bytes().len() + PARCEL_BYTES) as u64
            }
            Self::Bundle(bundle) => bundle.cost_bytes(),
            Self::Interest(_)
            | Self::Returned(_)
            | Self::Completed(_)
            | Self::Counts(_)
            | Self::User(_)
            | Self::Gone(_)
            | Self::Hold(_)
            | Self::Release(_) => 0,
        }
    }
}
