//! A broker in a bottle: virtual time, connections that are two byte buffers, everything in one
//! thread.
//!
//! A test reads as a story: who connects, who sends what, who hears what. Nothing here knows a rule
//! of the protocol; packets are built and read with the core's own codec.

use crate::received::Received;
use crate::recorded::Parts;
use std::collections::{BTreeSet, HashMap, VecDeque};
use whimbrel_core::action::{Action, Credentials, Event, Peer, RoutedMessage, Verdict};
use whimbrel_core::codec::packet::{
    Ack, Connect, Disconnect, PacketType, QoS, Subscribe, SubscribeOptions, Version,
};
use whimbrel_core::codec::{self, Packet, Properties, ReasonCode, SubscribeBuffer, frame};
use whimbrel_core::id::{MessageId, PacketId, PeerId, Position};
use whimbrel_core::log::{BatchRef, Op};
use whimbrel_core::recording::{RecordOptions, RecordedBroker};
use whimbrel_core::restore::Restorer;
use whimbrel_core::{Broker, Config, ConnectionId, Now, Timestamp, UnixTime};

pub use crate::compose::{connect, lasting, properties, publish, will};

/// All versions, for tests with one body for all of them.
pub const VERSIONS: [Version; 3] = [Version::V3, Version::V4, Version::V5];

/// The wall clock when a test begins: 2026-01-01.
pub const START: UnixTime = UnixTime(1_767_225_600_000);

/// How verdicts are given.
type Judge = Box<dyn FnMut(&Credentials) -> Option<Verdict>>;

/// One broker and everything around it.
pub struct World {
    /// The broker itself, for tests that drive it by hand.
    pub broker: RecordedBroker,
    /// What was recorded so far, if [`record`](Self::record) was called.
    pub parts: Parts,
    /// What time it is.
    pub now: Now,
    /// Everything that was reported.
    pub events: Vec<Event>,
    /// Batches that were to be persisted and are not yet reported durable.
    pub unpersisted: Vec<(Position, Vec<u8>)>,
    /// The operations of all batches that are durable, in order: the log.
    pub log: Vec<Vec<u8>>,
    /// Batches are reported durable as soon as they come. Default: yes.
    pub persists_at_once: bool,
    /// Messages that were to be read back from the log, and were not yet.
    pub unloaded: VecDeque<MessageId>,
    /// They are read back as soon as they are asked for. Default: yes.
    pub loads_at_once: bool,
    /// What the disk cannot read any more.
    pub damaged: BTreeSet<MessageId>,
    /// Messages that were to be routed to peers.
    pub routed: Vec<(Vec<PeerId>, RoutedMessage)>,
    /// What the broker wants to be sent by its peers, as it told.
    pub interest: Vec<(String, u32)>,
    config: Config,
    judge: Judge,
    lines: HashMap<ConnectionId, Line>,
}

/// One transport: what the client has received, and whether it is open.
#[derive(Default)]
struct Line {
    version: Option<Version>,
    inbox: Vec<u8>,
    is_closed: bool,
    is_paused: bool,
    /// The client's socket takes no bytes.
    is_blocked: bool,
    wants_to_send: bool,
}

impl Default for World {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl World {
    /// A broker with this configuration, at the beginning of 2026.
    ///
    /// # Panics
    ///
    /// When the configuration cannot run.
    pub fn new(config: Config) -> Self {
        let kept = config.clone();
        let now = Now {
            monotonic: Timestamp(0),
            wall: START,
        };
        Self {
            broker: Broker::new(config, 7, now)
                .expect("the test's configuration is valid")
                .into(),
            parts: Parts::default(),
            now,
            events: Vec::new(),
            unpersisted: Vec::new(),
            log: Vec::new(),
            config: kept,
            persists_at_once: true,
            unloaded: VecDeque::new(),
            loads_at_once: true,
            damaged: BTreeSet::new(),
            routed: Vec::new(),
            interest: Vec::new(),
            judge: Box::new(|_| Some(Verdict::accept())),
            lines: HashMap::new(),
        }
    }

    /// Records from now on.
    pub fn record(&mut self, options: RecordOptions) {
        self.broker.record(options);
        self.run();
    }

    /// Ends the recording, and plays it back; gives how many steps that were.
    ///
    /// # Panics
    ///
    /// When something else comes out.
    pub fn replay(&mut self) -> u64 {
        self.broker.end_recording();
        self.parts.take(&mut self.broker, true);
        self.parts.replay().expect("the same comes out again")
    }

    /// Decides from now on who may connect; `None` leaves the question open, for
    /// `Broker::authenticated` to answer later.
    pub fn judge(&mut self, judge: impl FnMut(&Credentials) -> Option<Verdict> + 'static) {
        self.judge = Box::new(judge);
    }

    /// Opens a transport, without a word.
    pub fn open(&mut self) -> ConnectionId {
        self.open_from(Peer::default())
    }

    /// Opens a transport from somewhere, without a word.
    pub fn open_from(&mut self, peer: Peer) -> ConnectionId {
        let connection = self.broker.accept(self.now, peer);
        self.lines.insert(connection, Line::default());
        self.run();
        connection
    }

    /// Opens a transport and sends this CONNECT. The answer waits to be `next`.
    pub fn open_with(&mut self, connect: &Connect<'_>) -> ConnectionId {
        let connection = self.open();
        self.set_version(connection, connect.version);
        self.send(connection, &Packet::Connect(*connect));
        connection
    }

    /// A client that is connected, its CONNACK read.
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub fn connect(&mut self, version: Version, client_id: &str) -> ConnectionId {
        let connection = self.open_with(&connect(version, client_id));
        let answer = self.next(connection).expect("CONNACK comes");
        let Packet::ConnAck(answer) = answer.packet() else {
            panic!("{answer:?}")
        };
        assert!(
            !answer.reason.is_error(),
            "{client_id} is refused: {:?}",
            answer.reason
        );
        connection
    }

    /// A client with this CONNECT, its CONNACK read; gives whether its session was there.
    ///
    /// # Panics
    ///
    /// When it is refused.
    #[track_caller]
    pub fn enter(&mut self, connect: &Connect<'_>) -> (ConnectionId, bool) {
        let connection = self.open_with(connect);
        let received = self.next(connection).expect("CONNACK comes");
        let answer = received.conn_ack();
        assert_eq!(answer.reason, ReasonCode::SUCCESS);
        (connection, answer.session_present)
    }

    /// A client whose session lasts, and is resumed if it is there.
    #[track_caller]
    pub fn resume(&mut self, version: Version, client_id: &str) -> ConnectionId {
        self.enter(&lasting(version, client_id)).0
    }

    /// Says in which version this connection is read.
    pub fn set_version(&mut self, connection: ConnectionId, version: Version) {
        self.line(connection).version = Some(version);
    }

    fn line(&mut self, connection: ConnectionId) -> &mut Line {
        self.lines
            .get_mut(&connection)
            .expect("a connection of this world")
    }

    fn version(&mut self, connection: ConnectionId) -> Version {
        self.line(connection).version.unwrap_or(Version::V4)
    }

    /// Sends a packet.
    ///
    /// # Panics
    ///
    /// When the version has no such packet.
    pub fn send(&mut self, connection: ConnectionId, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        codec::encode(packet, self.version(connection), &mut bytes).expect("it can be said");
        self.send_bytes(connection, &bytes);
    }

    /// Sends any bytes.
    pub fn send_bytes(&mut self, connection: ConnectionId, bytes: &[u8]) {
        self.broker.receive(self.now, connection, bytes);
        self.run();
    }

    /// Subscribes to one filter and reads the SUBACK; gives its reason code byte.
    ///
    /// # Panics
    ///
    /// When the next packet is not the SUBACK.
    pub fn subscribe(&mut self, connection: ConnectionId, filter: &str, qos: QoS) -> u8 {
        let options = SubscribeOptions {
            maximum_qos: qos,
            ..SubscribeOptions::default()
        };
        self.subscribe_with(connection, filter, options, Properties::EMPTY)
    }

    /// The same with options and properties.
    ///
    /// # Panics
    ///
    /// When the next packet is not the SUBACK.
    pub fn subscribe_with(
        &mut self,
        connection: ConnectionId,
        filter: &str,
        options: SubscribeOptions,
        properties: Properties<'_>,
    ) -> u8 {
        let mut filters = SubscribeBuffer::new();
        filters.push(filter, options);
        let version = self.version(connection);
        let packet_id = PacketId::new(0x5b5b).expect("not zero");
        let filters = filters.as_filters(version);
        self.send(
            connection,
            &Packet::Subscribe(Subscribe {
                packet_id,
                properties,
                filters,
            }),
        );
        let answer = self.next(connection).expect("SUBACK comes");
        let Packet::SubAck(answer) = answer.packet() else {
            panic!("{answer:?}")
        };
        assert_eq!(answer.packet_id, packet_id);
        answer.reasons[0]
    }

    /// Publishes; acknowledgements wait to be `next`.
    pub fn publish(&mut self, connection: ConnectionId, topic: &str, payload: &[u8], qos: QoS) {
        self.send(
            connection,
            &Packet::Publish(publish(topic, payload, qos, 1)),
        );
    }

    /// The next packet that this client has received.
    pub fn next(&mut self, connection: ConnectionId) -> Option<Received> {
        let version = self.version(connection);
        let line = self.line(connection);
        let split = frame::split(&line.inbox, u32::MAX).expect("the broker sends whole packets");
        let (_, length) = split?;
        let bytes = line.inbox.drain(..length).collect();
        Some(Received { version, bytes })
    }

    /// Whether there is something that this client has not read.
    pub fn has_more(&self, connection: ConnectionId) -> bool {
        let line = self.lines.get(&connection);
        line.is_some_and(|line| !line.inbox.is_empty())
    }

    /// The next packet, which must be there.
    ///
    /// # Panics
    ///
    /// When nothing came.
    #[track_caller]
    pub fn hear(&mut self, connection: ConnectionId) -> Received {
        self.next(connection).expect("a packet comes")
    }

    /// Nothing came.
    ///
    /// # Panics
    ///
    /// When something did.
    #[track_caller]
    pub fn hears_nothing(&mut self, connection: ConnectionId) {
        let came = self.drain(connection);
        let came: Vec<Packet<'_>> = came.iter().map(Received::packet).collect();
        assert!(came.is_empty(), "{came:?}");
    }

    /// The payloads of all messages that came, and nothing but messages did. Acknowledges none.
    ///
    /// # Panics
    ///
    /// When something else came.
    #[track_caller]
    pub fn payloads(&mut self, connection: ConnectionId) -> Vec<String> {
        let came = self.drain(connection);
        came.iter()
            .map(|received| String::from_utf8_lossy(received.publish().payload).into_owned())
            .collect()
    }

    /// Takes all messages there are, with all that belongs to their QoS; gives their payloads.
    ///
    /// # Panics
    ///
    /// When something else than messages and PUBREL came.
    #[track_caller]
    pub fn take_all(&mut self, connection: ConnectionId) -> Vec<String> {
        let mut payloads = Vec::new();
        while let Some(received) = self.next(connection) {
            let packet = received.packet();
            if let Packet::PubRel(ack) = packet {
                let done = Ack::new(ack.packet_id, ReasonCode::SUCCESS);
                self.send(connection, &Packet::PubComp(done));
                continue;
            }
            let publish = received.publish();
            payloads.push(String::from_utf8_lossy(publish.payload).into_owned());
            if let Some(id) = publish.packet_id {
                let ack = Ack::new(id, ReasonCode::SUCCESS);
                let answer = match publish.qos {
                    QoS::ExactlyOnce => Packet::PubRec(ack),
                    QoS::AtLeastOnce | QoS::AtMostOnce => Packet::PubAck(ack),
                };
                self.send(connection, &answer);
            }
        }
        payloads
    }

    /// Sends one of the packets that acknowledge, made by its constructor: `Packet::PubAck`.
    ///
    /// # Panics
    ///
    /// When the identifier is zero.
    pub fn answer(
        &mut self,
        connection: ConnectionId,
        packet: impl FnOnce(Ack<'static>) -> Packet<'static>,
        id: u16,
        reason: ReasonCode,
    ) {
        let id = PacketId::new(id).expect("not zero");
        self.send(connection, &packet(Ack::new(id, reason)));
    }

    /// Publishes at QoS 2 and goes through with it.
    ///
    /// # Panics
    ///
    /// When the broker does not.
    #[track_caller]
    pub fn publish_exactly_once(&mut self, connection: ConnectionId, topic: &str, payload: &[u8]) {
        self.publish(connection, topic, payload, QoS::ExactlyOnce);
        assert_eq!(self.hear(connection).ack().0, PacketType::PubRec);
        self.answer(connection, Packet::PubRel, 1, ReasonCode::SUCCESS);
        assert_eq!(self.hear(connection).ack().0, PacketType::PubComp);
    }

    /// The connection is closed; the reason that was given last, if one was.
    ///
    /// # Panics
    ///
    /// When it is open.
    #[track_caller]
    pub fn farewell(&mut self, connection: ConnectionId) -> Option<ReasonCode> {
        assert!(self.is_closed(connection), "still open");
        let last = self.drain(connection).pop()?;
        match last.packet() {
            Packet::Disconnect(disconnect) => Some(disconnect.reason),
            Packet::ConnAck(answer) => Some(answer.reason),
            _ => None,
        }
    }

    /// Sends a packet that ends the connection; gives the reason the broker names.
    #[track_caller]
    pub fn refused(&mut self, connection: ConnectionId, packet: &Packet<'_>) -> Option<ReasonCode> {
        self.send(connection, packet);
        self.farewell(connection)
    }

    /// Leaves with a DISCONNECT.
    pub fn disconnect(&mut self, connection: ConnectionId, reason: ReasonCode) {
        let properties = Properties::EMPTY;
        let goodbye = Disconnect { reason, properties };
        self.send(connection, &Packet::Disconnect(goodbye));
    }

    /// The bytes that this client has received and not read yet, as they came.
    pub fn take_bytes(&mut self, connection: ConnectionId) -> Vec<u8> {
        core::mem::take(&mut self.line(connection).inbox)
    }

    /// Everything that this client has received and not read yet.
    pub fn drain(&mut self, connection: ConnectionId) -> Vec<Received> {
        core::iter::from_fn(|| self.next(connection)).collect()
    }

    /// The next packet as a PUBLISH: topic, payload, QoS.
    ///
    /// # Panics
    ///
    /// When nothing or something else came.
    pub fn next_publish(&mut self, connection: ConnectionId) -> (String, Vec<u8>, QoS) {
        let received = self.next(connection).expect("a PUBLISH comes");
        let Packet::Publish(publish) = received.packet() else {
            panic!("{:?}", received.packet())
        };
        (
            publish.topic.to_owned(),
            publish.payload.to_vec(),
            publish.qos,
        )
    }

    /// Whether the broker has closed this connection.
    pub fn is_closed(&mut self, connection: ConnectionId) -> bool {
        self.line(connection).is_closed
    }

    /// Whether the broker has asked not to read this connection.
    pub fn is_paused(&mut self, connection: ConnectionId) -> bool {
        self.line(connection).is_paused
    }

    /// The transport breaks.
    pub fn cut(&mut self, connection: ConnectionId) {
        self.line(connection).is_closed = true;
        self.broker.closed(self.now, connection);
        self.run();
    }

    /// From now on the client's socket takes nothing, or takes everything again.
    pub fn block(&mut self, connection: ConnectionId, is_blocked: bool) {
        let line = self.line(connection);
        line.is_blocked = is_blocked;
        if !is_blocked && line.wants_to_send {
            self.transmit(connection);
        }
        self.run();
    }

    /// Lets time pass, firing every deadline on the way.
    pub fn pass_ms(&mut self, ms: u64) {
        let end = self.now.monotonic.after_ms(ms);
        while let Some(deadline) = self.broker.next_deadline() {
            if deadline > end {
                break;
            }
            self.set_time(deadline.max(self.now.monotonic));
            self.broker.advance(self.now);
            self.run();
        }
        self.set_time(end);
    }

    fn set_time(&mut self, monotonic: Timestamp) {
        let passed = monotonic.since(self.now.monotonic);
        self.now.monotonic = monotonic;
        self.now.wall.0 += passed;
    }

    /// Everything emitted so far becomes durable.
    pub fn persist(&mut self) {
        while !self.unpersisted.is_empty() {
            let mut last = Position(0);
            for (position, operations) in self.unpersisted.drain(..) {
                self.log.push(operations);
                last = position;
            }
            self.broker.persisted(self.now, last);
            self.run();
        }
    }

    /// What the log has under the key of a message.
    fn stored(&self, message: MessageId) -> Option<Vec<u8>> {
        let mut value = None;
        for op in self.log.iter().flat_map(|batch| BatchRef::new(batch)) {
            match op.expect("the broker writes batches") {
                Op::Put { key, value: put } if key == message.key() => value = Some(put),
                Op::Delete { key } if key == message.key() => value = None,
                Op::Put { .. } | Op::Delete { .. } => {}
            }
        }
        value.map(<[u8]>::to_vec)
    }

    /// Reads back the first of the messages that were asked for. Whether there was one.
    pub fn load(&mut self) -> bool {
        let Some(message) = self.unloaded.pop_front() else {
            return false;
        };
        let readable = !self.damaged.contains(&message);
        let value = self.stored(message).filter(|_| readable);
        self.broker.loaded(self.now, message, value.as_deref());
        self.run();
        true
    }

    /// The process is killed, and another one starts from what was durable. All connections are
    /// gone.
    ///
    /// # Panics
    ///
    /// When the log cannot be read back.
    pub fn crash(&mut self) {
        let mut restorer = Restorer::within(self.config.limits.queued_payload_memory_bytes);
        for operations in &self.log {
            restorer
                .apply(operations)
                .expect("the broker reads its own records");
        }
        for id in restorer.wanted() {
            let value = self.stored(id).expect("what is retained is there");
            assert!(restorer.supply(id, &value));
        }
        self.config.identity.boot_epoch = restorer.next_boot_epoch();
        self.now.monotonic = Timestamp(0);
        self.broker = Broker::restore(self.config.clone(), 7, self.now, restorer)
            .expect("the test's configuration is valid")
            .into();
        self.unpersisted.clear();
        self.unloaded.clear();
        self.lines.clear();
        self.run();
    }

    /// Carries out actions until there are none, as a runtime does.
    ///
    /// # Panics
    ///
    /// When the broker does not come to rest.
    pub fn run(&mut self) {
        for _ in 0..1_000_000 {
            let Some(action) = self.broker.poll_action() else {
                self.parts.take(&mut self.broker, false);
                if self
                    .broker
                    .next_deadline()
                    .is_some_and(|at| at <= self.now.monotonic)
                {
                    self.broker.advance(self.now);
                    continue;
                }
                return;
            };
            self.carry_out(action);
        }
        panic!("the broker does not come to rest");
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Send(connection) => self.transmit(connection),
            Action::Pause(connection) => self.line(connection).is_paused = true,
            Action::Resume(connection) => self.line(connection).is_paused = false,
            Action::Close {
                connection,
                last_bytes,
            } => {
                let line = self.line(connection);
                line.inbox.extend_from_slice(&last_bytes);
                line.is_closed = true;
            }
            Action::Authenticate {
                connection,
                credentials,
            } => {
                if let Some(verdict) = (self.judge)(&credentials) {
                    self.broker.authenticated(self.now, connection, verdict);
                }
            }
            Action::Persist(batch) => {
                if self.persists_at_once {
                    self.log.push(batch.operations);
                    self.broker.persisted(self.now, batch.position);
                } else {
                    self.unpersisted.push((batch.position, batch.operations));
                }
            }
            Action::Load(message) if self.loads_at_once => {
                let readable = !self.damaged.contains(&message);
                let value = self.stored(message).filter(|_| readable);
                self.broker.loaded(self.now, message, value.as_deref());
            }
            Action::Load(message) => self.unloaded.push_back(message),
            Action::Route { peers, message } => self.routed.push((peers, message)),
            Action::Interest(delta) => {
                self.interest
                    .push((delta.filter.into_string(), delta.members));
            }
            Action::Event(event) => self.events.push(event),
        }
    }

    fn transmit(&mut self, connection: ConnectionId) {
        let line = self.line(connection);
        line.wants_to_send = line.is_blocked;
        if line.is_blocked {
            return;
        }
        let mut bytes = Vec::new();
        self.broker.transmit(self.now, connection, &mut bytes);
        self.line(connection).inbox.extend_from_slice(&bytes);
    }
}
