//! What the core asks of the runtime, and the facts it reports.

use crate::access::identity::{Certificate, Grant};
use crate::access::rule::Operation;
use crate::codec::packet::Version;
use crate::codec::reason::ReasonCode;
use crate::error::Violation;
use crate::id::{ConnectionId, MessageId, PeerId, Position};
use crate::letter::Letter;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

/// Something the runtime must do. Taken from `Broker::poll_action`.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Pull bytes with `Broker::transmit` and write them. One per ready connection, never one a
    /// packet.
    Send(ConnectionId),
    /// Stop reading this connection until `Resume`. Bytes already read may still be given; so that
    /// they are few, ask `Broker::is_paused` before each read.
    Pause(ConnectionId),
    /// Go on reading.
    Resume(ConnectionId),
    /// Write what `transmit` still has, then close the transport. The connection is already gone
    /// from the core: call neither `closed` nor `receive` for it afterwards (both would be
    /// ignored).
    Close {
        /// Which.
        connection: ConnectionId,
        /// The last bytes to write, such as a DISCONNECT. May be empty.
        last_bytes: Vec<u8>,
    },
    /// Decide whether this client may connect, and answer with `Broker::authenticated`.
    Authenticate {
        /// Who asks. It is not read until the verdict is in.
        connection: ConnectionId,
        /// What it says about itself.
        credentials: Box<Credentials>,
    },
    /// Append to the log, and answer with `Broker::persisted` once it is durable. Comes before the
    /// `Send`s of what was announced together with it, so that the disk works while they are
    /// written.
    Persist(Batch),
    /// Read what lies in the log under this message's key, which is durable, and answer with
    /// `Broker::loaded`. Answers may come in any order; messages wait for theirs.
    Load(MessageId),
    /// Give a letter to another shard, which gets it by `Broker::routed`. Letters to one shard keep
    /// their order.
    Route {
        /// Which shard.
        to: PeerId,
        /// What it is told.
        letter: Letter,
    },
    /// Another shard has the session that this connection asks for, or counts the connections from
    /// its address: give the transport to it, with these bytes, for `Broker::adopt`. This shard has
    /// forgotten the connection; what it reads of it meanwhile belongs behind the bytes.
    HandOver {
        /// Which connection.
        connection: ConnectionId,
        /// Which shard.
        to: PeerId,
        /// What is known about the other end.
        peer: Peer,
        /// Everything unhandled.
        bytes: Vec<u8>,
    },
    /// A fact for logs, metrics and hooks.
    Event(Event),
}

/// An atomic batch of records.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// Positions grow with every batch.
    pub position: Position,
    /// Encoded operations; see [`log::batch`](crate::log::batch).
    pub operations: Vec<u8>,
    /// Whether a checkpoint begins or ends with this batch.
    pub mark: Option<BatchMark>,
    /// What is live in all, in bytes: roughly what a checkpoint would write now. The log keeps room
    /// for it.
    pub live_bytes: u64,
}

/// Where a batch stands in a checkpoint: everything live, written once more so that the log before
/// it can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchMark {
    /// The checkpoint begins with this batch.
    CheckpointBegin,
    /// The checkpoint is complete with this batch.
    CheckpointEnd,
}

/// What is known about the other end when a transport is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its address, if the transport has one; behind a trusted proxy, the one that the proxy says.
    pub address: Option<SocketAddr>,
    /// Which listener accepted it, counted from 0 in the order of the configuration; or
    /// [`IN_PROCESS`](Self::IN_PROCESS).
    pub listener: u16,
    /// What its certificate says, if it has shown one and that was verified.
    pub certificate: Option<Box<Certificate>>,
    /// The proxy that said its address, if one did.
    pub proxy: Option<SocketAddr>,
}

impl Peer {
    /// The listener that links of the program itself are counted to. They may name any topic.
    pub const IN_PROCESS: u16 = u16::MAX;
}

/// What a client says about itself in CONNECT, or in AUTH.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Where it comes from.
    pub peer: Peer,
    /// The version it speaks.
    pub version: Version,
    /// The client identifier; assigned by the broker when the client left it empty.
    pub client_id: String,
    /// Absent and empty differ.
    pub username: Option<String>,
    /// Absent and empty differ.
    pub password: Option<Vec<u8>>,
    /// The method of enhanced authentication, 5.0.
    pub method: Option<String>,
    /// Its data.
    pub data: Option<Vec<u8>>,
    /// This is not the first message of the exchange, or it is a re-authentication.
    pub continued: bool,
    /// What [`Verdict::Continue`] left for this message; absent in the first one of an exchange.
    pub state: Option<Vec<u8>>,
}

/// Never shows the password or the authentication data.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("peer", &self.peer)
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("method", &self.method)
            .field("data", &self.data.as_ref().map(|_| "…"))
            .field("continued", &self.continued)
            .field("state", &self.state.as_ref().map(|_| "…"))
            .finish()
    }
}

/// The answer to [`Action::Authenticate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it in, or let it stay, as who the grant says.
    Accept(Grant),
    /// Send AUTH with this data and wait for the client's answer.
    Continue {
        /// Authentication data for the client.
        data: Vec<u8>,
        /// What whoever judges has to remember until the answer comes; it is kept with the
        /// connection, and comes with the answer. The client never sees it, and no recording has
        /// it.
        state: Vec<u8>,
    },
    /// Refuse it. Any error code a CONNACK may carry.
    Refuse(ReasonCode),
}

impl Verdict {
    /// Lets it in without a name: an anonymous client.
    #[must_use]
    pub fn accept() -> Self {
        Self::Accept(Grant::default())
    }
}

/// A fact. What it says is for people and hooks; the core does not depend on its being read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A client is in.
    Connected {
        /// Its connection.
        connection: ConnectionId,
        /// Its identifier.
        client_id: Box<str>,
        /// In which tenant; `None` is the default one.
        tenant: Option<Arc<str>>,
        /// Who it has shown to be; `None` when it is anonymous.
        user: Option<Box<str>>,
        /// Its version.
        version: Version,
        /// Where from.
        address: Option<SocketAddr>,
        /// Whether its session was there already.
        session_present: bool,
        /// In effect, in seconds; 0 is none.
        keep_alive_s: u16,
    },
    /// A connection ended before it was in.
    Refused {
        /// The connection.
        connection: ConnectionId,
        /// Empty when CONNECT never came.
        client_id: Box<str>,
        /// The user name that it gave, if it gave one: who it says to be, and maybe is not.
        username: Option<Box<str>>,
        /// Where from.
        address: Option<SocketAddr>,
        /// Why.
        why: CloseReason,
    },
    /// A connection that was in has ended.
    Disconnected {
        /// The connection.
        connection: ConnectionId,
        /// Its identifier.
        client_id: Box<str>,
        /// In which tenant; `None` is the default one.
        tenant: Option<Arc<str>>,
        /// Where from.
        address: Option<SocketAddr>,
        /// Why.
        why: CloseReason,
        /// Whether its session lives on.
        session_kept: bool,
    },
    /// A session has ended: its expiry passed, or a clean start replaced it.
    SessionEnded {
        /// Whose.
        client_id: Box<str>,
        /// In which tenant; `None` is the default one.
        tenant: Option<Arc<str>>,
    },
    /// A subscription was made or replaced.
    Subscribed {
        /// Whose.
        client_id: Box<str>,
        /// In which tenant; `None` is the default one.
        tenant: Option<Arc<str>>,
        /// The whole filter.
        filter: Box<str>,
        /// The granted QoS, or the refusal.
        reason: ReasonCode,
    },
    /// A subscription ended.
    Unsubscribed {
        /// Whose.
        client_id: Box<str>,
        /// In which tenant; `None` is the default one.
        tenant: Option<Arc<str>>,
        /// The whole filter.
        filter: Box<str>,
    },
    /// Messages for a client are being dropped. Reported at the 1st, 2nd, 4th, 8th, … of its
    /// session.
    Dropped {
        /// Whose messages.
        client_id: Box<str>,
        /// In which tenant; `None` is the default one.
        tenant: Option<Arc<str>>,
        /// Why the latest.
        why: DropReason,
        /// How many so far in the life of the session.
        count: u64,
    },
    /// A client wanted to do what it may not. Reported at the 1st, 2nd, 4th, 8th, … of a
    /// connection.
    Denied {
        /// Who.
        client_id: Box<str>,
        /// In which tenant; `None` is the default one.
        tenant: Option<Arc<str>>,
        /// Who it has shown to be; `None` when it is anonymous.
        user: Option<Box<str>>,
        /// What.
        operation: Operation,
        /// The topic or filter.
        topic: Box<str>,
        /// The line of the rule; 0 when no rule allows it, or the rule comes from no file.
        line: u32,
        /// How many so far on this connection.
        count: u64,
    },
    /// A message of a client was not taken in, or not retained, for another reason than the rules.
    /// Reported at the 1st, 2nd, 4th, 8th, … of a connection.
    PublishRefused {
        /// Whose.
        client_id: Box<str>,
        /// In which tenant; `None` is the default one.
        tenant: Option<Arc<str>>,
        /// Who it has shown to be; `None` when it is anonymous.
        user: Option<Box<str>>,
        /// Where to.
        topic: Box<str>,
        /// Why.
        why: PublishRefusal,
        /// Whether it was delivered all the same, and only not retained: then its publisher does
        /// not hear of that.
        was_delivered: bool,
        /// How many so far on this connection.
        count: u64,
    },
    /// A client did what the shadow rules would deny. Reported as `Denied` is.
    WouldDeny {
        /// Who.
        client_id: Box<str>,
        /// In which tenant; `None` is the default one.
        tenant: Option<Arc<str>>,
        /// Who it has shown to be; `None` when it is anonymous.
        user: Option<Box<str>>,
        /// What.
        operation: Operation,
        /// The topic or filter.
        topic: Box<str>,
        /// The line of the shadow rule; 0 when none allows it.
        line: u32,
        /// How many so far on this connection.
        count: u64,
    },
    /// Clients with one identifier push each other off; newcomers are refused for a while.
    Flapping {
        /// The identifier.
        client_id: Box<str>,
        /// In which tenant; `None` is the default one.
        tenant: Option<Arc<str>>,
        /// Where the one comes from that stays.
        address: Option<SocketAddr>,
        /// Where the one comes from that was refused.
        newcomer: Option<SocketAddr>,
        /// How often the session was taken over before.
        takeovers: u32,
        /// For how long newcomers are refused, in milliseconds.
        back_off_ms: u64,
    },
    /// A subscription has ended because the rules no longer allow it.
    SubscriptionRevoked {
        /// Whose.
        client_id: Box<str>,
        /// In which tenant; `None` is the default one.
        tenant: Option<Arc<str>>,
        /// The whole filter.
        filter: Box<str>,
        /// The line of the rule; 0 when no rule allows it.
        line: u32,
    },
    /// A message that waits in the log only, or several deliveries of it, cannot be read back: the
    /// disk failed to read it, or gave something else than was kept. It is not delivered.
    Unreadable {
        /// Which.
        message: MessageId,
    },
    /// Events were lost because nobody read them.
    EventsLost {
        /// How many.
        count: u64,
    },
}

/// Why a connection ended. The same word in log, metric, event and DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client sent DISCONNECT, with this reason.
    ClientDisconnect(ReasonCode),
    /// The transport went away without a DISCONNECT.
    TransportClosed,
    /// The client broke the protocol.
    Violation(Violation),
    /// Nothing was heard for one and a half times the keep alive.
    KeepAlive,
    /// No complete CONNECT in time.
    ConnectTimeout,
    /// Another connection took the session over.
    TakenOver,
    /// Its client identifier names a session of another user.
    OtherUser,
    /// Its client identifier is connected already, and that one stays.
    DuplicateClient,
    /// Its client identifier was taken over too often.
    Flapping,
    /// It is banned.
    Banned,
    /// It publishes faster than it may.
    PublishRate,
    /// The time has passed for which its credentials are good.
    AuthenticationEnded,
    /// The rules have changed, and no longer allow one of its subscriptions.
    SubscriptionRevoked,
    /// What let it in does not hold any more: its user was removed, or got another password.
    Revoked,
    /// The verdict on its credentials.
    Refused(ReasonCode),
    /// The broker is at a limit: what the client is told, and the settings that say how much there
    /// may be; none where there are several that it may be.
    Limit(ReasonCode, &'static str),
    /// Its queue overflowed and the policy says disconnect.
    QueueOverflow,
    /// A 3.x client did not acknowledge in spite of retransmissions.
    NotAcknowledging,
    /// The broker stops.
    Shutdown,
    /// The log has failed: nothing can be acknowledged any more.
    StorageFailed,
    /// An operator or a hook asked for it.
    Administrative,
}

impl CloseReason {
    /// What a 5.0 client is told in DISCONNECT; `None` when it gets none.
    #[must_use]
    pub const fn reason_code(self) -> Option<ReasonCode> {
        match self {
            Self::ClientDisconnect(_) | Self::TransportClosed | Self::ConnectTimeout => None,
            Self::Violation(violation) => Some(violation.reason_code()),
            Self::KeepAlive => Some(ReasonCode::KEEP_ALIVE_TIMEOUT),
            Self::TakenOver => Some(ReasonCode::SESSION_TAKEN_OVER),
            Self::OtherUser | Self::Revoked | Self::SubscriptionRevoked => {
                Some(ReasonCode::NOT_AUTHORIZED)
            }
            Self::DuplicateClient => Some(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID),
            Self::Flapping => Some(ReasonCode::SERVER_BUSY),
            Self::Banned => Some(ReasonCode::BANNED),
            Self::PublishRate => Some(ReasonCode::MESSAGE_RATE_TOO_HIGH),
            Self::AuthenticationEnded => Some(ReasonCode::MAXIMUM_CONNECT_TIME),
            Self::Refused(reason) | Self::Limit(reason, _) => Some(reason),
            Self::QueueOverflow => Some(ReasonCode::QUOTA_EXCEEDED),
            Self::NotAcknowledging => Some(ReasonCode::UNSPECIFIED),
            Self::Shutdown => Some(ReasonCode::SERVER_SHUTTING_DOWN),
            Self::StorageFailed => Some(ReasonCode::IMPLEMENTATION_SPECIFIC),
            Self::Administrative => Some(ReasonCode::ADMINISTRATIVE_ACTION),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientDisconnect(ReasonCode::SUCCESS) => f.write_str("client disconnected"),
            Self::ClientDisconnect(reason) => write!(f, "client disconnected: {reason}"),
            Self::TransportClosed => f.write_str("connection closed without DISCONNECT"),
            Self::Violation(violation) => write!(f, "protocol violation: {violation}"),
            Self::KeepAlive => f.write_str("keep alive timeout"),
            Self::ConnectTimeout => f.write_str("no CONNECT in time"),
            Self::TakenOver => f.write_str("session taken over"),
            Self::OtherUser => f.write_str("the session belongs to another user"),
            Self::DuplicateClient => f.write_str("the client identifier is connected already"),
            Self::Flapping => f.write_str("the client identifier was taken over too often"),
            Self::Banned => f.write_str("banned"),
            Self::PublishRate => f.write_str("published too fast"),
            Self::SubscriptionRevoked => f.write_str("a subscription is no longer allowed"),
            Self::AuthenticationEnded => f.write_str("the authentication has ended"),
            Self::Revoked => f.write_str("the credentials were revoked"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::Limit(reason, "") => write!(f, "broker limit: {reason}"),
            Self::Limit(reason, limit) => write!(f, "broker limit: {reason} ({limit})"),
            Self::QueueOverflow => f.write_str("queue overflow"),
            Self::NotAcknowledging => f.write_str("client does not acknowledge"),
            Self::Shutdown => f.write_str("server shutting down"),
            Self::StorageFailed => f.write_str("storage failed"),
            Self::Administrative => f.write_str("administrative action"),
        }
    }
}

/// The settings that say how much may be retained.
pub(crate) const RETAINED_LIMITS: &str =
    "limits.retained_messages_maximum, limits.retained_bytes_maximum";

/// Those that say how much of it may be one tenant's.
pub(crate) const TENANT_RETAINED_LIMITS: &str =
    "tenants.retained_messages_maximum, tenants.retained_bytes_maximum";

/// Why a well-formed message was not taken in, or not retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublishRefusal {
    /// Its publisher may not.
    NotAllowed,
    /// Its payload is not the UTF-8 that it is declared to be.
    PayloadFormat,
    /// There is no memory for it.
    Memory,
    /// The disk, or what the log may take of it, is nearly full.
    Storage,
    /// There is no room for it among what is retained.
    Retained,
    /// There is none for its tenant.
    TenantRetained,
    /// It was refused before, and its publisher has gone on since.
    Repeated,
}

impl PublishRefusal {
    /// What a client of 5.0 is told.
    #[must_use]
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::NotAllowed => ReasonCode::NOT_AUTHORIZED,
            Self::PayloadFormat => ReasonCode::PAYLOAD_FORMAT_INVALID,
            Self::Memory
            | Self::Storage
            | Self::Retained
            | Self::TenantRetained
            | Self::Repeated => ReasonCode::QUOTA_EXCEEDED,
        }
    }

    /// The settings that say how much there may be, where it is they that do.
    #[must_use]
    pub const fn limits(self) -> Option<&'static str> {
        match self {
            Self::Memory => Some("limits.memory_budget_bytes"),
            Self::Retained => Some(RETAINED_LIMITS),
            Self::TenantRetained => Some(TENANT_RETAINED_LIMITS),
            Self::NotAllowed | Self::PayloadFormat | Self::Storage | Self::Repeated => None,
        }
    }

    /// Whether it may pass later.
    pub(crate) fn is_want_of_room(self) -> bool {
        self.reason_code() == ReasonCode::QUOTA_EXCEEDED
    }
}

impl fmt::Display for PublishRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAllowed => "not allowed",
            Self::PayloadFormat => "the payload is not UTF-8, as it says",
            Self::Memory => "no memory",
            Self::Storage => "the disk or its quota is nearly full",
            Self::Retained => "no room among what is retained",
            Self::TenantRetained => "no room among what is retained for the tenant",
            Self::Repeated => "refused before",
        })
    }
}

/// Why a message was not delivered to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// The queue of the session is full.
    QueueFull,
    /// The queues of all sessions together are full.
    TotalQueueFull,
    /// The queues of all sessions of its tenant together are full.
    TenantQueueFull,
    /// A QoS 0 message for a connection that does not take its bytes.
    SlowConsumer,
    /// Larger than the client accepts.
    TooLarge,
    /// Its message expiry interval has passed.
    Expired,
    /// The session ended with messages waiting.
    SessionEnded,
    /// The client may no longer receive it.
    NotAllowed,
    /// It lay in the log only, and cannot be read back from there.
    Unreadable,
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = 9;

    /// All of them, in order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::QueueFull,
        Self::TotalQueueFull,
        Self::TenantQueueFull,
        Self::SlowConsumer,
        Self::TooLarge,
        Self::Expired,
        Self::SessionEnded,
        Self::NotAllowed,
        Self::Unreadable,
    ];
}

impl DropReason {
    /// The settings that limit what is dropped for this reason, where a message of QoS 1 or 2 is
    /// lost that way and an operator can choose another limit.
    #[must_use]
    pub const fn limits(self) -> Option<&'static str> {
        match self {
            Self::QueueFull => Some("session.queue_messages_maximum, session.queue_bytes_maximum"),
            Self::TotalQueueFull => Some(
                "limits.queue_messages_total_maximum, limits.queue_bytes_total_maximum, \
                 limits.memory_budget_bytes",
            ),
            Self::TenantQueueFull => Some("tenants.queued_bytes_maximum"),
            Self::SlowConsumer
            | Self::TooLarge
            | Self::Expired
            | Self::SessionEnded
            | Self::NotAllowed
            | Self::Unreadable => None,
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QueueFull => "queue full",
            Self::TotalQueueFull => "all queues together full",
            Self::TenantQueueFull => "all queues of the tenant together full",
            Self::SlowConsumer => "slow consumer",
            Self::TooLarge => "larger than the client accepts",
            Self::Expired => "message expired",
            Self::SessionEnded => "session ended",
            Self::NotAllowed => "no longer allowed",
            Self::Unreadable => "unreadable on disk",
        })
    }
}
