//! Traffic: who publishes what to whom, recorded once with clients that answer, then played again.
//!
//! The broker is deterministic, so a recording made on one is answered by another of the same
//! making exactly as it was; playing it costs nothing but the broker.

use crate::stage::{Stage, connect, publish};
use std::ops::Range;
use whimbrel_core::codec::packet::{Ack, QoS, Version};
use whimbrel_core::codec::property::{Property, PropertyBuffer};
use whimbrel_core::codec::{self, Packet, Properties, ReasonCode, frame};
use whimbrel_core::id::PacketId;
use whimbrel_core::{Config, ConnectionId};

/// Who publishes to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As many publishers as subscribers, each with its own topic.
    Pairs(usize),
    /// Many publishers, one subscriber by a wildcard.
    FanIn(usize),
    /// One publisher, many subscribers.
    FanOut(usize),
}

/// What 5.0 adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extra {
    /// Nothing.
    #[default]
    None,
    /// Publishers name their topic by an alias.
    InboundAlias,
    /// Subscribers allow aliases.
    OutboundAlias,
    /// Subscriptions have an identifier.
    SubscriptionIdentifier,
}

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Who publishes to whom.
    pub shape: Shape,
    /// Published and subscribed with.
    pub qos: QoS,
    /// Spoken by everybody.
    pub version: Version,
    /// Bytes of a payload.
    pub payload_bytes: usize,
    /// Messages that a publisher sends in one go.
    pub batch: usize,
    /// What 5.0 adds.
    pub extra: Extra,
}

/// What comes in at one moment: everything is received before anything is sent.
#[derive(Debug, Default)]
struct Turn {
    inputs: Vec<(ConnectionId, Range<usize>)>,
}

/// Traffic as it came in.
#[derive(Debug, Default)]
pub struct Recording {
    turns: Vec<Turn>,
    bytes: Vec<u8>,
}

/// One client of a recording.
struct Client {
    id: ConnectionId,
    version: Version,
    /// Where it publishes to, if it does.
    topic: Option<String>,
    /// The alias of its topic is known.
    introduced: bool,
    packet_id: PacketId,
    /// What it answers in the next turn.
    replies: Vec<u8>,
}

impl Client {
    fn answer(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let split = frame::split(rest, u32::MAX).expect("the broker sends packets");
            let (frame, length) = split.expect("whole ones");
            let packet = codec::decode(self.version, frame).expect("well-formed");
            let ack = |id| Ack::new(id, ReasonCode::SUCCESS);
            let answer = if let Packet::Publish(publish) = &packet {
                publish.packet_id.map(|id| match publish.qos {
                    QoS::ExactlyOnce => Packet::PubRec(ack(id)),
                    QoS::AtLeastOnce | QoS::AtMostOnce => Packet::PubAck(ack(id)),
                })
            } else if let Packet::PubRec(received) = &packet {
                Some(Packet::PubRel(ack(received.packet_id)))
            } else if let Packet::PubRel(released) = &packet {
                Some(Packet::PubComp(ack(released.packet_id)))
            } else {
                None
            };
            if let Some(answer) = answer {
                codec::encode(&answer, self.version, &mut self.replies).expect("it exists");
            }
            rest = &rest[length..];
        }
    }

    fn publish(&mut self, traffic: &Traffic, payload: &[u8], out: &mut Vec<u8>) {
        let Some(topic) = &self.topic else { return };
        let mut properties = PropertyBuffer::new();
        let mut said = topic.as_str();
        if traffic.extra == Extra::InboundAlias {
            properties.push(Property::TopicAlias(1));
            said = if self.introduced { "" } else { said };
            self.introduced = true;
        }
        let mut publish = publish(said, payload, traffic.qos, self.packet_id.get());
        publish.properties = properties.as_properties();
        codec::encode(&Packet::Publish(publish), self.version, out).expect("it exists");
        self.packet_id = self.packet_id.next();
    }
}

impl Traffic {
    /// Deliveries that follow from one message.
    #[must_use]
    pub const fn fan_out(&self) -> usize {
        match self.shape {
            Shape::Pairs(_) | Shape::FanIn(_) => 1,
            Shape::FanOut(subscribers) => subscribers,
        }
    }

    /// A broker with the clients of this traffic, connected and subscribed.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.prepare().0
    }

    fn prepare(&self) -> (Stage, Vec<Client>) {
        let mut stage = Stage::new(Config::default());
        let mut clients = Vec::new();
        let (publishers, subscribers) = match self.shape {
            Shape::Pairs(count) => (count, count),
            Shape::FanIn(publishers) => (publishers, 1),
            Shape::FanOut(subscribers) => (1, subscribers),
        };
        for number in 0..publishers {
            let topic = Some(format!("site/building/{number}/temperature"));
            let id = stage.connect(&connect(self.version, &format!("publisher-{number}")));
            clients.push(self.client(id, topic));
        }
        for number in 0..subscribers {
            let filter = match self.shape {
                Shape::Pairs(_) => format!("site/building/{number}/temperature"),
                Shape::FanIn(_) => "site/building/+/temperature".to_owned(),
                Shape::FanOut(_) => "site/building/0/temperature".to_owned(),
            };
            let (mut allows, mut identifier) = (PropertyBuffer::new(), PropertyBuffer::new());
            match self.extra {
                Extra::None | Extra::InboundAlias => {}
                Extra::OutboundAlias => {
                    allows.push(Property::TopicAliasMaximum(8));
                }
                Extra::SubscriptionIdentifier => {
                    identifier.push(Property::SubscriptionIdentifier(300));
                }
            }
            let name = format!("subscriber-{number}");
            let mut hello = connect(self.version, &name);
            hello.properties = allows.as_properties();
            let id = stage.connect(&hello);
            let identifier: Properties<'_> = identifier.as_properties();
            stage.subscribe((id, self.version), &filter, self.qos, identifier);
            clients.push(self.client(id, None));
        }
        let connected = stage.broker.statistics().clients_connected;
        assert_eq!(connected as usize, clients.len(), "all are let in");
        (stage, clients)
    }

    const fn client(&self, id: ConnectionId, topic: Option<String>) -> Client {
        Client {
            id,
            version: self.version,
            topic,
            introduced: false,
            packet_id: PacketId::FIRST,
            replies: Vec::new(),
        }
    }

    /// Records as many turns. In each, every publisher sends its batch, and everybody answers what
    /// came in the turn before.
    #[must_use]
    pub fn record(&self, turns: usize) -> Recording {
        let (mut stage, mut clients) = self.prepare();
        let payload = vec![b'x'; self.payload_bytes];
        let mut recording = Recording::default();
        for _ in 0..turns {
            let mut turn = Turn::default();
            for client in &mut clients {
                let start = recording.bytes.len();
                recording.bytes.append(&mut client.replies);
                for _ in 0..self.batch {
                    client.publish(self, &payload, &mut recording.bytes);
                }
                let bytes = start..recording.bytes.len();
                if !bytes.is_empty() {
                    let read = &recording.bytes[bytes.clone()];
                    stage.broker.receive(stage.now, client.id, read);
                    turn.inputs.push((client.id, bytes));
                }
            }
            stage.run(|id, bytes| {
                let client = clients.iter_mut().find(|client| client.id == id);
                client.expect("it is one of ours").answer(bytes);
            });
            recording.turns.push(turn);
        }
        recording
    }
}

impl Recording {
    /// Plays these turns on a stage of the same traffic. Answers how many bytes went out.
    #[inline(never)]
    pub fn play(&self, stage: &mut Stage, turns: Range<usize>) -> usize {
        let mut sent = 0;
        for turn in &self.turns[turns] {
            for (id, bytes) in &turn.inputs {
                stage
                    .broker
                    .receive(stage.now, *id, &self.bytes[bytes.clone()]);
            }
            stage.run(|_, bytes| sent += bytes.len());
        }
        sent
    }
}
