//! A broker in a bottle: virtual time, connections that are two byte buffers, everything in one
//! thread.
//!
//! It has one shard, or as many as `WHIMBREL_SHARDS` says: then connections are accepted by the
//! first, and letters between shards are delivered in an order that differs from run to run of the
//! world's own dice, but never between two shards.
//!
//! A test reads as a story: who connects, who sends what, who hears what. Nothing here knows a rule
//! of the protocol; packets are built and read with the core's own codec.

use crate::received::Received;
use crate::recorded::Parts;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use whimbrel_core::action::{Action, CloseReason, Credentials, Event, Peer, Verdict};
use whimbrel_core::codec::packet::{
    Ack, Connect, Disconnect, PacketType, QoS, Subscribe, SubscribeOptions, Version,
};
use whimbrel_core::codec::{self, Packet, Properties, ReasonCode, SubscribeBuffer, frame};
use whimbrel_core::id::{MessageId, PacketId, PeerId, Position};
use whimbrel_core::letter::Letter;
use whimbrel_core::log::{BatchRef, Op};
use whimbrel_core::recording::{RecordOptions, RecordedBroker};
use whimbrel_core::restore::Restorer;
use whimbrel_core::statistics::Statistics;
use whimbrel_core::{Broker, Config, ConnectionId, Now, Timestamp, UnixTime};

pub use crate::compose::{connect, lasting, properties, publish, will};

/// All versions, for tests with one body for all of them.
pub const VERSIONS: [Version; 3] = [Version::V3, Version::V4, Version::V5];

/// The wall clock when a test begins: 2026-01-01.
pub const START: UnixTime = UnixTime(1_767_225_600_000);

/// How verdicts are given.
type Judge = Box<dyn FnMut(&Credentials) -> Option<Verdict>>;

/// A batch that is not durable yet.
pub struct Unpersisted {
    /// The shard it is of.
    pub shard: usize,
    /// Its position there.
    pub position: Position,
    /// What it does.
    pub operations: Vec<u8>,
}

/// One broker and everything around it.
pub struct World {
    /// The broker itself, for tests that drive it by hand; the first shard when there are several.
    pub broker: RecordedBroker,
    /// The other shards.
    others: Vec<RecordedBroker>,
    /// What was recorded of the first shard so far, if [`record`](Self::record) was called.
    pub parts: Parts,
    /// What time it is.
    pub now: Now,
    /// Everything that was reported.
    pub events: Vec<Event>,
    /// Batches that were to be persisted and are not yet reported durable.
    pub unpersisted: Vec<Unpersisted>,
    /// The operations of all batches that are durable, in order: the log.
    pub log: Vec<Vec<u8>>,
    /// Batches are reported durable as soon as they come. Default: yes.
    pub persists_at_once: bool,
    /// Messages that were to be read back from the log, by whom, and were not yet.
    pub unloaded: VecDeque<(usize, MessageId)>,
    /// They are read back as soon as they are asked for. Default: yes.
    pub loads_at_once: bool,
    /// What the disk cannot read any more.
    pub damaged: BTreeSet<MessageId>,
    /// Letters between shards stay on their way. Default: no.
    pub letters_wait: bool,
    /// On their way, by writer and receiver.
    letters: BTreeMap<(usize, usize), VecDeque<Letter>>,
    dice: u64,
    config: Config,
    judge: Judge,
    lines: HashMap<ConnectionId, Line>,
    /// Which line a connection of a shard is.
    by_shard: HashMap<(usize, ConnectionId), ConnectionId>,
}

/// One transport: what the client has received, and whether it is open.
struct Line {
    /// The shard that has it, and its name there.
    place: (usize, ConnectionId),
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
        let shards = std::env::var("WHIMBREL_SHARDS");
        let shards = shards.map_or(1, |shards| shards.parse().expect("a number of shards"));
        Self::with_shards(config, shards)
    }

    /// The same with one shard, whatever `WHIMBREL_SHARDS` says: for what is promised of one only.
    ///
    /// # Panics
    ///
    /// When the configuration cannot run.
    pub fn alone(config: Config) -> Self {
        Self::with_shards(config, 1)
    }

    /// The same with so many shards.
    ///
    /// # Panics
    ///
    /// When the configuration cannot run.
    pub fn with_shards(config: Config, shards: u16) -> Self {
        let now = Now {
            monotonic: Timestamp(0),
            wall: START,
        };
        let mut config = config;
        config.identity.shards = shards;
        let mut brokers = (0..shards).map(|shard| {
            let mut config = config.clone();
            config.identity.shard = shard;
            let broker = Broker::new(config, 7, now);
            RecordedBroker::from(broker.expect("the test's configuration is valid"))
        });
        Self {
            broker: brokers.next().expect("at least one shard"),
            others: brokers.collect(),
            parts: Parts::default(),
            now,
            events: Vec::new(),
            unpersisted: Vec::new(),
            log: Vec::new(),
            persists_at_once: true,
            unloaded: VecDeque::new(),
            loads_at_once: true,
            damaged: BTreeSet::new(),
            letters_wait: false,
            letters: BTreeMap::new(),
            dice: u64::from(shards),
            config,
            judge: Box::new(|_| Some(Verdict::accept())),
            lines: HashMap::new(),
            by_shard: HashMap::new(),
        }
    }

    /// One of the shards, counted from 0.
    pub fn shard(&mut self, shard: usize) -> &mut RecordedBroker {
        match shard.checked_sub(1) {
            None => &mut self.broker,
            Some(place) => &mut self.others[place],
        }
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        1 + self.others.len()
    }

    /// Which shard has this connection.
    pub fn shard_of(&mut self, connection: ConnectionId) -> usize {
        self.line(connection).place.0
    }

    /// What all shards have counted together.
    pub fn statistics(&self) -> Statistics {
        let mut sum = self.broker.statistics();
        for other in &self.others {
            sum.add(&other.statistics());
        }
        sum
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
        let line = Line {
            place: (0, connection),
            version: None,
            inbox: Vec::new(),
            is_closed: false,
            is_paused: false,
            is_blocked: false,
            wants_to_send: false,
        };
        self.lines.insert(connection, line);
        self.by_shard.insert((0, connection), connection);
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
        let now = self.now;
        let (shard, id) = self.line(connection).place;
        self.shard(shard).receive(now, id, bytes);
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

    /// An operator ends a connection.
    pub fn expel(&mut self, connection: ConnectionId, why: CloseReason) {
        let now = self.now;
        let (shard, id) = self.line(connection).place;
        self.shard(shard).disconnect(now, id, why);
        self.run();
    }

    /// The broker stops.
    pub fn shut_down(&mut self) {
        let now = self.now;
        for shard in 0..self.shard_count() {
            self.shard(shard).shut_down(now);
        }
        self.run();
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
        let now = self.now;
        let line = self.line(connection);
        line.is_closed = true;
        let (shard, id) = line.place;
        self.shard(shard).closed(now, id);
        self.run();
    }

    /// From now on the client's socket takes nothing, or takes everything again.
    pub fn block(&mut self, connection: ConnectionId, is_blocked: bool) {
        let line = self.line(connection);
        line.is_blocked = is_blocked;
        if !is_blocked && line.wants_to_send {
            let (shard, id) = line.place;
            self.transmit(shard, id);
        }
        self.run();
    }

    /// Lets time pass, firing every deadline on the way.
    pub fn pass_ms(&mut self, ms: u64) {
        let end = self.now.monotonic.after_ms(ms);
        while let Some((deadline, shard)) = self.next_deadline() {
            if deadline > end {
                break;
            }
            self.set_time(deadline.max(self.now.monotonic));
            let now = self.now;
            self.shard(shard).advance(now);
            self.run();
        }
        self.set_time(end);
    }

    /// The next deadline of all shards, and whose it is.
    fn next_deadline(&self) -> Option<(Timestamp, usize)> {
        let brokers = core::iter::once(&self.broker).chain(&self.others);
        let deadlines = brokers.map(|broker| broker.next_deadline()).zip(0..);
        deadlines
            .filter_map(|(deadline, shard)| Some((deadline?, shard)))
            .min()
    }

    fn set_time(&mut self, monotonic: Timestamp) {
        let passed = monotonic.since(self.now.monotonic);
        self.now.monotonic = monotonic;
        self.now.wall.0 += passed;
    }

    /// Everything emitted so far becomes durable.
    pub fn persist(&mut self) {
        while !self.unpersisted.is_empty() {
            let mut last = BTreeMap::new();
            for batch in self.unpersisted.drain(..) {
                self.log.push(batch.operations);
                last.insert(batch.shard, batch.position);
            }
            let now = self.now;
            for (shard, position) in last {
                self.shard(shard).persisted(now, position);
            }
            self.run();
        }
    }

    /// The next batch of one shard becomes durable, of the first that has one or of the last.
    /// Whether there was one.
    pub fn persist_one(&mut self, of_the_last: bool) -> bool {
        let shards = self.unpersisted.iter().map(|batch| batch.shard);
        let shard = if of_the_last {
            shards.max()
        } else {
            shards.min()
        };
        let place = self.unpersisted.iter().position(|b| Some(b.shard) == shard);
        let Some(batch) = place.map(|place| self.unpersisted.remove(place)) else {
            return false;
        };
        self.log.push(batch.operations);
        let now = self.now;
        self.shard(batch.shard).persisted(now, batch.position);
        self.run();
        true
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
        let Some((shard, message)) = self.unloaded.pop_front() else {
            return false;
        };
        let readable = !self.damaged.contains(&message);
        let value = self.stored(message).filter(|_| readable);
        let now = self.now;
        self.shard(shard).loaded(now, message, value.as_deref());
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
        self.crash_into(self.config.identity.shards);
    }

    /// The same, and the other one has so many shards.
    ///
    /// # Panics
    ///
    /// When the log cannot be read back.
    pub fn crash_into(&mut self, shards: u16) {
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
        self.config.identity.shards = shards;
        self.now.monotonic = Timestamp(0);
        let mut brokers = restorer
            .split(shards)
            .into_iter()
            .zip(0..)
            .map(|(part, shard)| {
                let mut config = self.config.clone();
                config.identity.shard = shard;
                let broker = Broker::restore(config, 7, self.now, part);
                RecordedBroker::from(broker.expect("the configuration is valid"))
            });
        self.broker = brokers.next().expect("at least one shard");
        self.others = brokers.collect();
        self.unpersisted.clear();
        self.letters.clear();
        self.unloaded.clear();
        self.lines.clear();
        self.by_shard.clear();
        self.boot();
        self.run();
    }

    /// Before anything happens, all shards hear what the others want.
    fn boot(&mut self) {
        let waits = core::mem::replace(&mut self.letters_wait, false);
        while self.act() || self.deliver() {}
        self.letters_wait = waits;
    }

    /// Carries out actions until there are none, as a runtime does.
    ///
    /// # Panics
    ///
    /// When the broker does not come to rest.
    pub fn run(&mut self) {
        for _ in 0..1_000_000 {
            if self.act() || self.deliver() {
                continue;
            }
            self.parts.take(&mut self.broker, false);
            match self.next_deadline() {
                Some((at, shard)) if at <= self.now.monotonic => {
                    let now = self.now;
                    self.shard(shard).advance(now);
                }
                _ => return,
            }
        }
        panic!("the broker does not come to rest");
    }

    /// Carries out one action of some shard. Whether there was one.
    fn act(&mut self) -> bool {
        for shard in 0..=self.others.len() {
            if let Some(action) = self.shard(shard).poll_action() {
                self.carry_out(shard, action);
                return true;
            }
        }
        false
    }

    /// Delivers the next letter of some pair of shards. Whether there was one.
    fn deliver(&mut self) -> bool {
        let count = self.letters.len();
        if count == 0 || self.letters_wait {
            return false;
        }
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let place = (self.dice >> 33) as usize % count;
        let pair = *self.letters.keys().nth(place).expect("below the count");
        self.deliver_one(pair.0, pair.1);
        true
    }

    /// Delivers one letter between two shards, also while letters wait. Whether there was one.
    pub fn deliver_one(&mut self, from: usize, to: usize) -> bool {
        let Some(waiting) = self.letters.get_mut(&(from, to)) else {
            return false;
        };
        let letter = waiting.pop_front();
        if waiting.is_empty() {
            self.letters.remove(&(from, to));
        }
        let Some(letter) = letter else { return false };
        let (now, from) = (self.now, u16::try_from(from).expect("few shards"));
        self.shard(to).routed(now, PeerId(from), letter);
        true
    }

    /// How many letters are on their way.
    pub fn letter_count(&self) -> usize {
        self.letters.values().map(VecDeque::len).sum()
    }

    /// How much is in them.
    pub fn parcel_count(&self) -> usize {
        let letters = self.letters.values().flatten();
        letters.map(|letter| letter.parcels.len()).sum()
    }

    /// The line that a connection of a shard is.
    fn line_at(&mut self, shard: usize, id: ConnectionId) -> &mut Line {
        let connection = self.by_shard[&(shard, id)];
        self.line(connection)
    }

    fn carry_out(&mut self, shard: usize, action: Action) {
        let now = self.now;
        match action {
            Action::Send(connection) => self.transmit(shard, connection),
            Action::Pause(connection) => self.line_at(shard, connection).is_paused = true,
            Action::Resume(connection) => self.line_at(shard, connection).is_paused = false,
            Action::Close {
                connection,
                last_bytes,
            } => {
                let line = self.line_at(shard, connection);
                line.inbox.extend_from_slice(&last_bytes);
                line.is_closed = true;
            }
            Action::Authenticate {
                connection,
                credentials,
            } => {
                if let Some(verdict) = (self.judge)(&credentials) {
                    self.shard(shard).authenticated(now, connection, verdict);
                }
            }
            Action::Persist(batch) => {
                if self.persists_at_once {
                    self.log.push(batch.operations);
                    self.shard(shard).persisted(now, batch.position);
                } else {
                    self.unpersisted.push(Unpersisted {
                        shard,
                        position: batch.position,
                        operations: batch.operations,
                    });
                }
            }
            Action::Load(message) if self.loads_at_once => {
                let readable = !self.damaged.contains(&message);
                let value = self.stored(message).filter(|_| readable);
                self.shard(shard).loaded(now, message, value.as_deref());
            }
            Action::Load(message) => self.unloaded.push_back((shard, message)),
            Action::Route { to, letter } => {
                let pair = (shard, usize::from(to.0));
                self.letters.entry(pair).or_default().push_back(letter);
            }
            Action::HandOver {
                connection,
                to,
                peer,
                bytes,
            } => {
                let to = usize::from(to.0);
                let id = self.shard(to).adopt(now, peer, &bytes);
                let line = self.by_shard.remove(&(shard, connection));
                let line = line.expect("it was there");
                self.by_shard.insert((to, id), line);
                self.line(line).place = (to, id);
            }
            Action::Event(event) => self.events.push(event),
        }
    }

    fn transmit(&mut self, shard: usize, connection: ConnectionId) {
        let line = self.line_at(shard, connection);
        line.wants_to_send = line.is_blocked;
        if line.is_blocked {
            return;
        }
        let (now, mut bytes) = (self.now, Vec::new());
        self.shard(shard).transmit(now, connection, &mut bytes);
        let line = self.line_at(shard, connection);
        line.inbox.extend_from_slice(&bytes);
    }
}
