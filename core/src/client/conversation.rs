//! All that a client knows but for the bytes that have arrived: those are apart, so that an event
//! can borrow from them while the state moves on.
//!
//! Here: the life of a connection, its deadlines, and what every packet that leaves goes through.
//! What the server sends is in `handle`, what the caller asks for in `request`.

use super::alias::{ClientAliases, ServerAliases};
use super::config::Config;
use super::error::{Fault, Misuse};
use super::event::{ClientEvent, End};
use super::inflight::{Inflight, Stage as Exchange};
use super::limits::ServerLimits;
use super::received::Received;
use crate::codec::packet::{Ack, Disconnect, PacketType, QoS};
use crate::codec::{Packet, Properties, PropertyBuffer, ReasonCode, encode};
use crate::id::PacketId;
use crate::profile::Profile;
use crate::time::Timestamp;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Bytes of answers that may wait for `transmit` before nothing more is read.
const REPLIES_BYTES_MAX: usize = 64 * 1_024;

/// Where a connection is in its life.
///
/// ```text
///  Idle ──connected──▶ Connecting ──CONNACK──▶ Connected
///   ▲                      │ refused               │ DISCONNECT of either side
///   │                      ▼ fault, time-out       ▼ fault, time-out
///   └─transport_closed── Ending ◀──────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No transport.
    Idle,
    /// CONNECT was sent.
    Connecting,
    /// CONNACK was received.
    Connected,
    /// It is over; what is unsent may still be written.
    Ending,
}

/// An event that borrows nothing.
#[derive(Clone, Copy, Debug)]
enum Pending {
    Abandoned(PacketId),
    Disconnected(End<'static>),
}

/// Bytes that wait for `transmit`.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    /// How many of them the server caused.
    reply_bytes: usize,
}

/// When something must be sent, or must have come.
#[derive(Debug, Default)]
struct Clock {
    now: Timestamp,
    /// Zero: no keep alive.
    keep_alive_ms: u64,
    last_sent: Timestamp,
    last_received: Timestamp,
    /// The oldest packet that the server has to answer before anything else: CONNECT, or PINGREQ.
    asked: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) config: Config,
    pub(super) profile: Profile,
    pub(super) stage: Stage,
    pub(super) limits: ServerLimits,
    pub(super) inflight: Inflight,
    pub(super) received: Received,
    pub(super) server_aliases: ServerAliases,
    pub(super) aliases: ClientAliases,
    /// Working space.
    pub(super) properties: PropertyBuffer,
    /// There is a session that outlives its connection, here and at the server.
    has_session: bool,
    /// CONNECT asked for a clean start.
    asked_clean_start: bool,
    /// The transport is gone; what it brought is still to be read.
    transport_gone: bool,
    clock: Clock,
    output: Output,
    pending: VecDeque<Pending>,
}

impl Conversation {
    pub(super) fn new(config: Config, now: Timestamp) -> Result<Self, Misuse> {
        config.validate()?;
        Ok(Self {
            profile: config.profile(),
            stage: Stage::Idle,
            limits: ServerLimits::default(),
            inflight: Inflight::default(),
            received: Received::default(),
            server_aliases: ServerAliases::default(),
            aliases: ClientAliases::default(),
            properties: PropertyBuffer::new(),
            has_session: !config.clean_start,
            asked_clean_start: config.clean_start,
            transport_gone: false,
            clock: Clock {
                now,
                ..Clock::default()
            },
            output: Output::default(),
            pending: VecDeque::new(),
            config,
        })
    }

    // --- The life of a connection ---

    pub(super) fn connected(&mut self, now: Timestamp) {
        self.pass(now);
        self.end(End::Transport);
        let now = self.clock.now;
        self.stage = Stage::Connecting;
        self.transport_gone = false;
        self.limits = ServerLimits::default();
        self.server_aliases = ServerAliases::new(self.config.topic_alias_maximum);
        self.aliases = ClientAliases::default();
        self.output = Output::default();
        self.clock = Clock {
            now,
            keep_alive_ms: u64::from(self.config.keep_alive_s) * 1_000,
            last_sent: now,
            last_received: now,
            asked: Some(now),
        };
        // A session that is there is gone on with.
        self.asked_clean_start = !self.has_session;
        let encoded = self
            .config
            .encode_connect(self.asked_clean_start, &mut self.output.bytes);
        debug_assert!(encoded.is_ok(), "a clean start makes no CONNECT invalid");
    }

    /// The server has accepted the connection: the session goes on, or begins.
    pub(super) fn accepted(
        &mut self,
        limits: ServerLimits,
        session_present: bool,
    ) -> Result<(), Fault> {
        if session_present && self.asked_clean_start {
            return Err(Fault::SessionPresent); // [MQTT-3.2.2-4]
        }
        self.stage = Stage::Connected;
        self.limits = limits;
        self.clock.asked = None;
        let keep_alive_s = limits.keep_alive_s.unwrap_or(self.config.keep_alive_s); // [MQTT-3.2.2-21]
        self.clock.keep_alive_ms = u64::from(keep_alive_s) * 1_000;
        self.aliases =
            ClientAliases::new(limits.topic_alias_maximum.min(self.config.topic_aliases));
        let resumed = if self.profile.hears_session_present() {
            session_present
        } else {
            !self.asked_clean_start
        };
        self.has_session = self.session_outlives_connection();
        if resumed {
            self.inflight.resume();
            self.resend();
        } else {
            self.discard_session(); // [MQTT-3.2.2-5]
        }
        Ok(())
    }

    fn session_outlives_connection(&self) -> bool {
        if !self.profile.has_session_expiry() {
            return !self.config.clean_start;
        }
        let expiry_s = self.limits.session_expiry_s;
        expiry_s.unwrap_or(self.config.session_expiry_s) != 0
    }

    fn discard_session(&mut self) {
        let pending = &mut self.pending;
        self.inflight
            .clear(|id| pending.push_back(Pending::Abandoned(id)));
        self.received.clear();
    }

    /// Whether there is a connection that has not ended.
    pub(super) const fn is_active(&self) -> bool {
        matches!(self.stage, Stage::Connecting | Stage::Connected)
    }

    /// Ends the connection as far as this client is concerned, and reports why. Later ends are
    /// ignored.
    pub(super) fn end(&mut self, why: End<'static>) {
        if self.retire() {
            self.pending.push_back(Pending::Disconnected(why));
        }
    }

    /// Ends the connection without a report; `false` when there was none to end.
    pub(super) fn retire(&mut self) -> bool {
        if !self.is_active() {
            return false;
        }
        self.stage = Stage::Ending;
        self.clock.asked = None;
        let pending = &mut self.pending;
        self.inflight
            .disconnected(|id| pending.push_back(Pending::Abandoned(id)));
        self.received.disconnected();
        if !self.has_session {
            self.discard_session();
        }
        true
    }

    /// The server broke a rule: it is told so where it can be, and left.
    pub(super) fn fail(&mut self, fault: Fault) {
        if !self.is_active() {
            return;
        }
        let reason = fault.reason_code();
        let reason = if reason.belongs_in(PacketType::Disconnect) {
            reason
        } else {
            ReasonCode::PROTOCOL_ERROR
        };
        self.say_goodbye(reason);
        self.end(End::Fault(fault));
    }

    fn say_goodbye(&mut self, reason: ReasonCode) {
        if self.profile.hears_disconnect() {
            self.reply(&Packet::Disconnect(Disconnect {
                reason,
                properties: Properties::EMPTY,
            }));
        }
    }

    /// A 5.0 DISCONNECT may change how long the session lives.
    pub(super) fn session_expires_after(&mut self, seconds: u32) {
        self.has_session = seconds != 0;
    }

    pub(super) fn transport_closed(&mut self, now: Timestamp) {
        self.pass(now);
        self.transport_gone = true;
    }

    /// Whether what is answered now can no longer arrive.
    pub(super) const fn is_transport_gone(&self) -> bool {
        self.transport_gone
    }

    /// All bytes that came have been read. Gives whether that changes anything.
    pub(super) fn input_exhausted(&mut self) -> bool {
        if !self.transport_gone || self.stage == Stage::Idle {
            return false;
        }
        self.end(End::Transport);
        self.stage = Stage::Idle;
        self.output = Output::default();
        true
    }

    pub(super) fn poll_pending(&mut self) -> Option<ClientEvent<'static>> {
        Some(match self.pending.pop_front()? {
            Pending::Abandoned(id) => ClientEvent::Abandoned(id),
            Pending::Disconnected(why) => ClientEvent::Disconnected(why),
        })
    }

    // --- Time ---

    /// Takes note of the time, which never goes backwards.
    pub(super) fn pass(&mut self, now: Timestamp) {
        self.clock.now = self.clock.now.max(now);
    }

    /// Something was heard of the server.
    pub(super) fn heard(&mut self) {
        self.clock.last_received = self.clock.now;
    }

    /// The server has answered what it had to.
    pub(super) fn answered(&mut self) {
        if self.stage == Stage::Connected {
            self.clock.asked = None;
        } else {
            self.clock.asked = self.clock.asked.map(|_| self.clock.now);
        }
    }

    pub(super) fn advance(&mut self, now: Timestamp) {
        self.pass(now);
        let is_due = |deadline: Option<Timestamp>| deadline.is_some_and(|at| at <= self.clock.now);
        if is_due(self.response_deadline()) {
            self.say_goodbye(ReasonCode::UNSPECIFIED);
            self.end(End::Timeout);
        } else if is_due(self.ping_deadline()) {
            self.reply(&Packet::PingReq); // [MQTT-3.1.2-20] [MQTT311-3.1.2-23]
            self.clock.asked.get_or_insert(self.clock.now);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let deadlines = [self.response_deadline(), self.ping_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Until when the server must have answered. Bytes of anything count as a sign of life.
    fn response_deadline(&self) -> Option<Timestamp> {
        let since = self.clock.asked?.max(self.clock.last_received);
        Some(since.after_ms(self.config.response_timeout_ms))
    }

    fn ping_deadline(&self) -> Option<Timestamp> {
        let pings = self.stage == Stage::Connected && self.clock.keep_alive_ms != 0;
        pings.then(|| self.clock.last_sent.after_ms(self.clock.keep_alive_ms))
    }

    // --- Output ---

    /// Whether so much of what the server asked for is unsent that nothing more is read.
    pub(super) const fn is_paused(&self) -> bool {
        self.output.reply_bytes >= REPLIES_BYTES_MAX
    }

    pub(super) const fn unsent_bytes(&self) -> usize {
        self.output.bytes.len()
    }

    pub(super) fn transmit(&mut self, out: &mut Vec<u8>) {
        if out.is_empty() {
            core::mem::swap(out, &mut self.output.bytes);
        } else {
            out.append(&mut self.output.bytes);
        }
        self.output.reply_bytes = 0;
    }

    /// Writes a packet that the caller asked for. Nothing is written when it cannot be.
    pub(super) fn send(&mut self, packet: &Packet<'_>) -> Result<usize, Misuse> {
        let out = &mut self.output.bytes;
        let start = out.len();
        encode(packet, self.profile.version(), out)?;
        let admitted = self.limits.admit_size(out.len() - start);
        if let Err(refusal) = admitted {
            out.truncate(start);
            return Err(refusal);
        }
        self.clock.last_sent = self.clock.now;
        Ok(start)
    }

    /// The packet that `send` wrote from `start` on.
    pub(super) fn sent_since(&self, start: usize) -> &[u8] {
        &self.output.bytes[start..]
    }

    /// Writes a packet of a few bytes that needs no permission.
    pub(super) fn reply(&mut self, packet: &Packet<'_>) {
        let out = &mut self.output.bytes;
        let start = out.len();
        let encoded = encode(packet, self.profile.version(), out);
        debug_assert!(encoded.is_ok(), "only packets that this version has");
        self.output.reply_bytes += self.output.bytes.len() - start;
        self.clock.last_sent = self.clock.now;
    }

    /// Acknowledges, in the order of the messages, all that has been decided.
    pub(super) fn send_decided(&mut self) {
        while let Some((packet_id, qos, reason)) = self.received.pop_decided() {
            self.send_ack(packet_id, qos, reason);
        }
    }

    pub(super) fn send_ack(&mut self, packet_id: PacketId, qos: QoS, reason: ReasonCode) {
        let ack = Ack::new(packet_id, reason);
        self.reply(&match qos {
            QoS::AtMostOnce | QoS::AtLeastOnce => Packet::PubAck(ack),
            QoS::ExactlyOnce => Packet::PubRec(ack),
        });
    }

    /// How many more QoS 1 and 2 messages may be begun now.
    pub(super) fn window(&self) -> usize {
        if self.stage != Stage::Connected || self.inflight.is_resending() {
            return 0;
        }
        self.room()
    }

    fn room(&self) -> usize {
        let maximum = self.limits.receive_maximum.min(self.config.inflight_max);
        usize::from(maximum).saturating_sub(self.inflight.window_used())
    }

    /// Resends messages of an earlier connection, in their order, as far as the window permits.
    pub(super) fn resend(&mut self) {
        while self.inflight.is_resending() && self.room() > 0 {
            let Some((id, exchange)) = self.inflight.pop_unsent() else {
                return;
            };
            let Exchange::Published(qos, packet) = exchange else {
                self.reply(&Packet::PubRel(Ack::new(id, ReasonCode::SUCCESS)));
                continue;
            };
            // The server may take less than it did when the message was begun.
            let retain = packet.first().is_some_and(|byte| byte & RETAIN != 0);
            let admitted = self
                .limits
                .admit_message(*qos, retain)
                .and_then(|()| self.limits.admit_size(packet.len()));
            if admitted.is_err() {
                self.inflight.end(id);
                self.pending.push_back(Pending::Abandoned(id));
                continue;
            }
            if let Some(byte) = packet.first_mut() {
                *byte |= DUP;
            }
            self.output.bytes.extend_from_slice(packet);
            self.clock.last_sent = self.clock.now;
        }
    }
}

/// The flags of an encoded PUBLISH.
const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;
