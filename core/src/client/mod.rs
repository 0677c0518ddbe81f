//! The other end: an MQTT client as a pure state machine, for all three versions.
//!
//! Responsible for what the specification asks of a client: the handshake, keep alive, packet
//! identifiers and windows, QoS 1 and 2 both ways across connections, topic aliases, and the limits
//! of the server. Not responsible for the transport, for when to connect again, or for keeping
//! messages until there is a connection.
//!
//! ```
//! use whimbrel_core::Timestamp;
//! use whimbrel_core::client::{Client, ClientEvent, Config, PublishRequest};
//!
//! let now = Timestamp(0);
//! let mut client = Client::new(Config { client_id: "a".into(), ..Config::default() }, now)?;
//! client.connected(now);
//! let mut to_server = Vec::new();
//! client.transmit(&mut to_server);
//! assert_eq!(to_server[0], 0x10, "a CONNECT");
//!
//! client.receive(now, &[0x20, 3, 0, 0, 0]); // CONNACK
//! assert!(matches!(client.poll_event(), Some(ClientEvent::Connected(_))));
//! client.publish(now, &PublishRequest { topic: "t", payload: b"42", ..Default::default() })?;
//! # Ok::<(), whimbrel_core::client::Misuse>(())
//! ```

mod alias;
mod config;
mod conversation;
mod error;
mod event;
mod handle;
mod inflight;
mod limits;
mod received;
mod request;

pub use config::{Authentication, Config, Will};
pub use error::{Fault, Misuse};
pub use event::{
    ClientEvent, DisconnectRequest, End, PublishRequest, SubscribeRequest, UnsubscribeRequest,
};
pub use limits::ServerLimits;

use crate::codec::packet::Publish;
use crate::codec::{ReasonCode, frame};
use crate::id::PacketId;
use crate::time::Timestamp;
use alloc::vec::Vec;
use conversation::{Conversation, Stage};

/// One client: a session with a server, over one connection after the other.
///
/// # The contract
///
/// Inputs take the time as a value. What the server does wrong becomes an event, what the caller
/// does wrong a [`Misuse`] that changes nothing. Outputs are [`poll_event`](Self::poll_event) until
/// `None`, [`transmit`](Self::transmit), and one [`next_deadline`](Self::next_deadline).
///
/// 1. *Time.* `now` never goes backwards; should it, the latest is used.
/// 2. *Lax draining.* Any number of inputs may come before a drain; spurious calls are harmless.
///    Bytes are looked at when events are polled, and until then kept.
/// 3. *Progress.* After `advance` at `next_deadline()`, there is something to transmit or an event,
///    and the deadline has moved forward.
/// 4. *Bounded.* A runtime that polls all events before it reads on, and does not read while
///    [`is_paused`](Self::is_paused), needs memory for: one packet, the topic aliases, and the open
///    messages, each with its limit in [`Config`]; the server cannot make it more.
/// 5. *Deterministic.* The same inputs give the same outputs.
/// 6. *Total.* No byte sequence, order of calls or clock jump panics.
///
/// # The loop
///
/// ```text
/// transport open:       connected(now)
/// transport readable:   receive(now, bytes)              unless is_paused()
/// transport closed:     transport_closed(now)
/// timer fired:          advance(now)
/// then:                 while let Some(event) = poll_event() { … }
///                       transmit(&mut buffer), write; again only when it was written
/// after Refused or Disconnected: write what there is, then close the transport
/// last:                 re-arm the timer with next_deadline()
/// ```
#[derive(Debug)]
pub struct Client {
    input: Input,
    conversation: Conversation,
}

/// Bytes that have arrived and are not read.
#[derive(Debug, Default)]
struct Input {
    bytes: Vec<u8>,
    /// Where the unread ones start.
    start: usize,
}

/// A buffer that grew for a large packet is given back when it is empty.
const INPUT_BYTES_KEPT: usize = 64 * 1_024;

impl Input {
    fn append(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        if self.bytes.is_empty() {
            self.bytes.shrink_to(INPUT_BYTES_KEPT);
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn clear(&mut self) {
        self.start = self.bytes.len();
    }
}

impl Client {
    /// A client without a connection.
    ///
    /// # Errors
    ///
    /// A configuration that no CONNECT can say.
    pub fn new(config: Config, now: Timestamp) -> Result<Self, Misuse> {
        Ok(Self {
            input: Input::default(),
            conversation: Conversation::new(config, now)?,
        })
    }

    /// A transport to the server has opened: CONNECT is to be transmitted. What an earlier
    /// connection left unread is dropped.
    pub fn connected(&mut self, now: Timestamp) {
        self.input.clear();
        self.conversation.connected(now);
    }

    /// Bytes arrived.
    pub fn receive(&mut self, now: Timestamp, bytes: &[u8]) {
        self.conversation.pass(now);
        if self.conversation.is_active() {
            self.conversation.heard();
            self.input.append(bytes);
        }
    }

    /// The transport is gone. What it brought before is still handled.
    pub fn transport_closed(&mut self, now: Timestamp) {
        self.conversation.transport_closed(now);
    }

    /// Time passed.
    pub fn advance(&mut self, now: Timestamp) {
        self.conversation.advance(now);
    }

    /// Publishes. Gives the packet identifier under which a QoS 1 or 2 message will be
    /// [`Acknowledged`](ClientEvent::Acknowledged) or [`Abandoned`](ClientEvent::Abandoned); `None`
    /// at QoS 0.
    ///
    /// A message that was taken is resent after a lost connection, if the server still has the
    /// session.
    ///
    /// # Errors
    ///
    /// What the server or the configuration does not allow, or not now: [`Misuse::WindowFull`],
    /// [`Misuse::BufferFull`].
    pub fn publish(
        &mut self,
        now: Timestamp,
        request: &PublishRequest<'_>,
    ) -> Result<Option<PacketId>, Misuse> {
        self.conversation.pass(now);
        self.conversation.publish(request)
    }

    /// Subscribes. Gives the packet identifier of the answer.
    ///
    /// # Errors
    ///
    /// What the server or this version does not know; too many requests without an answer.
    pub fn subscribe(
        &mut self,
        now: Timestamp,
        request: &SubscribeRequest<'_>,
    ) -> Result<PacketId, Misuse> {
        self.conversation.pass(now);
        self.conversation.subscribe(request)
    }

    /// Gives subscriptions up. Gives the packet identifier of the answer.
    ///
    /// # Errors
    ///
    /// Bad filters; too many requests without an answer.
    pub fn unsubscribe(
        &mut self,
        now: Timestamp,
        request: &UnsubscribeRequest<'_>,
    ) -> Result<PacketId, Misuse> {
        self.conversation.pass(now);
        self.conversation.unsubscribe(request)
    }

    /// Takes a message over, or since 5.0 refuses it, when acknowledgements are manual. May be
    /// called in any order; acknowledgements leave in the order of the messages.
    ///
    /// # Errors
    ///
    /// Nothing is to be acknowledged there: of an earlier connection, or acknowledged already.
    pub fn acknowledge(
        &mut self,
        now: Timestamp,
        packet_id: PacketId,
        reason: ReasonCode,
    ) -> Result<(), Misuse> {
        self.conversation.pass(now);
        self.conversation.acknowledge(packet_id, reason)
    }

    /// Goes on with the enhanced authentication that the server asked for.
    ///
    /// # Errors
    ///
    /// There is none, or no connection.
    pub fn authenticate(&mut self, now: Timestamp, data: &[u8]) -> Result<(), Misuse> {
        self.conversation.pass(now);
        let reason = ReasonCode::CONTINUE_AUTHENTICATION;
        self.conversation.authenticate(reason, data)
    }

    /// Starts the enhanced authentication anew on a living connection.
    ///
    /// # Errors
    ///
    /// None was configured, or there is no accepted connection.
    pub fn reauthenticate(&mut self, now: Timestamp, data: &[u8]) -> Result<(), Misuse> {
        self.conversation.pass(now);
        if !self.is_connected() {
            return Err(Misuse::NotConnected);
        }
        let reason = ReasonCode::RE_AUTHENTICATE;
        self.conversation.authenticate(reason, data)
    }

    /// Parts from the server. What was taken for sending is still to be transmitted, DISCONNECT
    /// last.
    ///
    /// # Errors
    ///
    /// There is no connection, or this cannot be said.
    pub fn disconnect(
        &mut self,
        now: Timestamp,
        request: &DisconnectRequest<'_>,
    ) -> Result<(), Misuse> {
        self.conversation.pass(now);
        self.conversation.disconnect(request)
    }

    /// What has happened next; `None` when all bytes are read, or nothing more is read for now.
    pub fn poll_event(&mut self) -> Option<ClientEvent<'_>> {
        let Self {
            input,
            conversation,
        } = self;
        loop {
            if let Some(event) = conversation.poll_pending() {
                return Some(event);
            }
            if !conversation.is_active() {
                input.start = input.bytes.len();
            } else if conversation.is_paused() && !conversation.is_transport_gone() {
                return None;
            }
            let unread = &input.bytes[input.start..];
            let handled = match frame::split(unread, conversation.config.maximum_packet_size) {
                Ok(Some((frame, len))) => {
                    input.start += len;
                    conversation.handle(frame)
                }
                Ok(None) if conversation.input_exhausted() => Ok(None),
                Ok(None) => return None,
                Err(violation) => Err(violation.into()),
            };
            match handled {
                Ok(None) => {}
                Ok(Some(ClientEvent::Message(message))) => {
                    let topic = match message.properties.topic_alias() {
                        Some(alias) if message.topic.is_empty() => {
                            conversation.server_aliases.get(alias).unwrap_or_default()
                        }
                        Some(_) | None => message.topic,
                    };
                    return Some(ClientEvent::Message(Publish { topic, ..message }));
                }
                Ok(Some(event)) => return Some(event),
                Err(fault) => conversation.fail(fault),
            }
        }
    }

    /// Appends to `out` everything that is to be sent. Call it only when the transport took what an
    /// earlier call gave.
    pub fn transmit(&mut self, out: &mut Vec<u8>) {
        self.conversation.transmit(out);
    }

    /// When [`advance`](Self::advance) wants to be called next; `None` when nothing is due, ever.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.conversation.next_deadline()
    }

    /// Whether the server has accepted the connection, and it has not ended.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.conversation.stage == Stage::Connected
    }

    /// Whether the transport is not to be read: the server does not take the answers it asks for.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.conversation.is_paused()
    }

    /// How many more QoS 1 and 2 messages can be published before the next acknowledgement.
    #[must_use]
    pub fn window(&self) -> usize {
        self.conversation.window()
    }

    /// How many QoS 1 and 2 messages are not acknowledged.
    #[must_use]
    pub fn unacknowledged_count(&self) -> usize {
        self.conversation.inflight.message_count()
    }

    /// Bytes that wait for [`transmit`](Self::transmit).
    #[must_use]
    pub const fn unsent_bytes(&self) -> usize {
        self.conversation.unsent_bytes()
    }

    /// What the server of this connection takes.
    #[must_use]
    pub const fn server_limits(&self) -> &ServerLimits {
        &self.conversation.limits
    }
}
