//! A client and a server that may do anything: what the client says is well-formed, comes from a
//! client, and keeps to what the server allows.

use super::script::Script;
use crate::world::VERSIONS;
use whimbrel_core::Timestamp;
use whimbrel_core::client::{
    Authentication, Client, ClientEvent, Config, DisconnectRequest, PublishRequest,
    SubscribeRequest, UnsubscribeRequest,
};
use whimbrel_core::codec::packet::{
    Ack, Auth, ConnAck, Disconnect, Packet, Publish, QoS, SubAck, SubscribeOptions, Version,
};
use whimbrel_core::codec::{self, Properties, Property, PropertyBuffer, ReasonCode, frame};
use whimbrel_core::id::PacketId;

/// Calls after which a client must have come to rest.
const TURNS: usize = 10_000;
const INFLIGHT_MAXIMUM: u16 = 8;
const UNSENT_BYTES_MAXIMUM: usize = 2_000;
const TOPICS: [&str; 4] = ["a", "a/b", "é", ""];

struct Play<'a> {
    script: Script<'a>,
    client: Client,
    version: Version,
    now: Timestamp,
    is_open: bool,
    /// What was said on this connection that is not a whole packet yet.
    heard: Vec<u8>,
    has_introduced_itself: bool,
}

/// A story of connections, answers and requests.
pub fn client(data: &[u8]) {
    let mut script = Script::new(data);
    let version = script.choose(&VERSIONS);
    let flags = script.u8();
    let config = Config {
        version,
        client_id: "client".to_owned(),
        clean_start: flags & 1 != 0,
        session_expiry_s: 100,
        keep_alive_s: script.choose(&[0, 1, 60]),
        receive_maximum: script.choose(&[u16::MAX, 1, 3]),
        maximum_packet_size: script.choose(&[1 << 20, 100]),
        topic_alias_maximum: script.choose(&[0, 2]),
        topic_aliases: script.choose(&[0, 2]),
        inflight_max: INFLIGHT_MAXIMUM,
        unsent_bytes_max: UNSENT_BYTES_MAXIMUM,
        manual_acknowledgement: flags & 2 != 0,
        authentication: (flags & 4 != 0 && version == Version::V5).then(|| Authentication {
            method: "M".to_owned(),
            data: None,
        }),
        ..Config::default()
    };
    let now = Timestamp(0);
    let client = Client::new(config, now).expect("each choice is valid");
    let mut play = Play {
        script,
        client,
        version,
        now,
        is_open: false,
        heard: Vec::new(),
        has_introduced_itself: false,
    };
    while !play.script.is_over() {
        play.step();
    }
    play.rest();
}

impl Play<'_> {
    fn step(&mut self) {
        match self.script.below(16) {
            0 => self.open(),
            1..=5 => self.answer(),
            6 => {
                let bytes = self.script.counted();
                self.client.receive(self.now, bytes);
            }
            7..=9 => self.publish(),
            10 => self.ask(),
            11 => self.acknowledge(),
            12 => self.pass_time(),
            13 => self.part(),
            _ => self.rest(),
        }
        assert!(self.client.unacknowledged_count() <= usize::from(INFLIGHT_MAXIMUM));
    }

    fn open(&mut self) {
        if self.is_open {
            self.client.transport_closed(self.now);
        }
        self.rest();
        self.heard.clear();
        self.has_introduced_itself = false;
        self.client.connected(self.now);
        self.is_open = true;
        self.rest();
    }

    /// The server says something that is mostly right.
    fn answer(&mut self) {
        let id = PacketId::new(u16::from(self.script.u8() % 12) + 1).expect("at least 1");
        let reason = match self.script.below(8) {
            7 => ReasonCode::QUOTA_EXCEEDED,
            _ => ReasonCode::SUCCESS,
        };
        let mut properties = PropertyBuffer::new();
        let is_v5 = self.version == Version::V5;
        let codes = [0, 1, 2, 0x80];
        let which = self.script.below(12);
        if is_v5 && which == 0 {
            properties.push(Property::ReceiveMaximum(self.script.choose(&[100, 1])));
            properties.push(Property::TopicAliasMaximum(self.script.choose(&[0, 1, 10])));
            properties.push(Property::MaximumPacketSize(
                self.script.choose(&[1 << 20, 40]),
            ));
        }
        if is_v5 && (1..=3).contains(&which) && self.script.flag() {
            properties.push(Property::TopicAlias(self.script.choose(&[1, 2, 9])));
        }
        let ack = Ack::new(id, reason);
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][which % 3];
        let packet = match which {
            0 => Packet::ConnAck(ConnAck {
                session_present: self.script.flag(),
                reason,
                properties: properties.as_properties(),
            }),
            1..=3 => Packet::Publish(Publish {
                dup: self.script.flag() && qos != QoS::AtMostOnce,
                qos,
                retain: false,
                topic: self.script.choose(&TOPICS),
                packet_id: (qos != QoS::AtMostOnce).then_some(id),
                properties: properties.as_properties(),
                payload: self.script.counted(),
            }),
            4 => Packet::PubAck(ack),
            5 => Packet::PubRec(ack),
            6 => Packet::PubRel(Ack::new(id, ReasonCode::SUCCESS)),
            7 => Packet::PubComp(Ack::new(id, ReasonCode::SUCCESS)),
            8 | 9 => {
                let answer = SubAck {
                    packet_id: id,
                    properties: Properties::EMPTY,
                    reasons: &codes[..self.script.below(3)],
                };
                match which {
                    8 => Packet::SubAck(answer),
                    _ => Packet::UnsubAck(answer),
                }
            }
            10 => Packet::PingResp,
            _ if self.script.flag() => Packet::Disconnect(Disconnect {
                reason: ReasonCode::SERVER_SHUTTING_DOWN,
                properties: Properties::EMPTY,
            }),
            _ => {
                properties.push(Property::AuthenticationMethod("M"));
                Packet::Auth(Auth {
                    reason: ReasonCode::CONTINUE_AUTHENTICATION,
                    properties: properties.as_properties(),
                })
            }
        };
        let mut bytes = Vec::new();
        // What this version cannot say is not said.
        let _ = codec::encode(&packet, self.version, &mut bytes);
        let middle = self.script.below(bytes.len() + 1);
        self.client.receive(self.now, &bytes[..middle]);
        if self.script.flag() {
            self.rest();
        }
        self.client.receive(self.now, &bytes[middle..]);
    }

    fn publish(&mut self) {
        let request = PublishRequest {
            topic: self.script.choose(&TOPICS),
            payload: self.script.counted(),
            qos: self
                .script
                .choose(&[QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtMostOnce]),
            retain: self.script.flag(),
            ..PublishRequest::default()
        };
        // It may be told that it is a misuse; nothing has changed then.
        let _ = self.client.publish(self.now, &request);
    }

    fn ask(&mut self) {
        let filters: &[&str] =
            self.script
                .choose(&[&["a"] as &[&str], &["a/#", "+"], &["#/"], &[]]);
        if self.script.flag() {
            let request = UnsubscribeRequest {
                filters,
                ..UnsubscribeRequest::default()
            };
            let _ = self.client.unsubscribe(self.now, &request);
        } else {
            let filters: Vec<_> = filters
                .iter()
                .map(|f| (*f, SubscribeOptions::default()))
                .collect();
            let request = SubscribeRequest {
                filters: &filters,
                ..SubscribeRequest::default()
            };
            let _ = self.client.subscribe(self.now, &request);
        }
    }

    fn acknowledge(&mut self) {
        let id = PacketId::new(u16::from(self.script.u8() % 12) + 1).expect("at least 1");
        let _ = self.client.acknowledge(self.now, id, ReasonCode::SUCCESS);
    }

    fn pass_time(&mut self) {
        let ms = match self.script.below(4) {
            0 => 10,
            1 => 20_000,
            _ => {
                let deadline = self.client.next_deadline().unwrap_or_default();
                deadline.since(self.now)
            }
        };
        self.now = self.now.after_ms(ms);
        self.client.advance(self.now);
    }

    fn part(&mut self) {
        match self.script.below(4) {
            0 => drop(
                self.client
                    .disconnect(self.now, &DisconnectRequest::default()),
            ),
            1 => drop(self.client.reauthenticate(self.now, b"again")),
            2 => drop(self.client.authenticate(self.now, b"more")),
            _ => {
                self.client.transport_closed(self.now);
                self.is_open = false;
            }
        }
    }

    /// Takes all events, and everything that is to be sent, until nothing is left.
    fn rest(&mut self) {
        for _ in 0..TURNS {
            let mut quiet = true;
            while let Some(event) = self.client.poll_event() {
                quiet = false;
                if let ClientEvent::Message(message) = event {
                    assert!(!message.topic.is_empty(), "the topic is there");
                }
            }
            let unsent = self.client.unsent_bytes();
            let mut bytes = Vec::new();
            self.client.transmit(&mut bytes);
            assert_eq!(unsent, bytes.len(), "what waits is what comes");
            quiet &= bytes.is_empty();
            self.hear(&bytes);
            if self.client.next_deadline().is_some_and(|at| at <= self.now) {
                self.client.advance(self.now);
                quiet = false;
            }
            if quiet {
                return;
            }
        }
        panic!("the client does not come to rest");
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.heard.extend_from_slice(bytes);
        let heard = core::mem::take(&mut self.heard);
        let mut rest = heard.as_slice();
        while let Some((frame, length)) = frame::split(rest, u32::MAX).expect("well-formed packets")
        {
            let packet = codec::decode(self.version, frame).expect("well-formed packets");
            self.understand(&packet);
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "packets come whole");
    }

    fn understand(&mut self, packet: &Packet<'_>) {
        let introduces = matches!(packet, Packet::Connect(_));
        assert_ne!(
            introduces, self.has_introduced_itself,
            "CONNECT comes once and first"
        );
        self.has_introduced_itself = true;
        match packet {
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                panic!("a client does not send {packet:?}")
            }
            Packet::Publish(publish) => {
                let aliased = publish.properties.topic_alias().is_some();
                assert!(!publish.topic.is_empty() || aliased);
            }
            Packet::Connect(_)
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Disconnect(_)
            | Packet::Auth(_) => {}
        }
    }
}
