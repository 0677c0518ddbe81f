//! Clients against a broker, without anything in between: what one end of this crate says, the
//! other end understands.

use std::collections::BTreeMap;
use whimbrel_core::client::{
    Client, ClientEvent, Config, PublishRequest, SubscribeRequest, UnsubscribeRequest, Will,
};
use whimbrel_core::codec::packet::{QoS, SubscribeOptions, Version};
use whimbrel_core::codec::{Property, PropertyBuffer};
use whimbrel_core::{Action, Broker, ConnectionId, Now, Peer, Timestamp, UnixTime, Verdict};

const ALL: [Version; 3] = [Version::V3, Version::V4, Version::V5];
const EVERY_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// One client, its connection, and what it has been told.
struct Seat {
    client: Client,
    connection: Option<ConnectionId>,
    events: Vec<String>,
}

/// A broker with its clients, by name.
struct Room {
    broker: Broker,
    now: Now,
    seats: BTreeMap<&'static str, Seat>,
}

impl Room {
    fn new(config: whimbrel_core::Config) -> Self {
        let now = Now {
            monotonic: Timestamp(1),
            wall: UnixTime(1_700_000_000_000),
        };
        Self {
            broker: Broker::new(config, 1, now).expect("the configuration is good"),
            now,
            seats: BTreeMap::new(),
        }
    }

    fn enter(&mut self, name: &'static str, config: Config) {
        let config = Config {
            client_id: name.into(),
            ..config
        };
        let client = Client::new(config, self.now.monotonic).expect("the configuration is good");
        let seat = Seat {
            client,
            connection: None,
            events: Vec::new(),
        };
        self.seats.insert(name, seat);
        self.connect(name);
    }

    fn seat(&mut self, name: &str) -> &mut Seat {
        self.seats.get_mut(name).expect("it has entered")
    }

    fn connect(&mut self, name: &str) {
        let connection = self.broker.accept(self.now, Peer::default());
        let now = self.now.monotonic;
        let seat = self.seat(name);
        seat.connection = Some(connection);
        seat.client.connected(now);
        self.settle();
    }

    /// The connection breaks; what is under way is lost.
    fn lose(&mut self, name: &str) {
        let now = self.now.monotonic;
        let seat = self.seat(name);
        seat.client.transport_closed(now);
        let connection = seat.connection.take();
        if let Some(connection) = connection {
            self.broker.closed(self.now, connection);
        }
        self.settle();
    }

    /// Carries bytes to and fro until nobody has anything to say.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for seat in self.seats.values_mut() {
                seat.listen();
                let mut bytes = Vec::new();
                seat.client.transmit(&mut bytes);
                if let (Some(connection), false) = (seat.connection, bytes.is_empty()) {
                    self.broker.receive(self.now, connection, &bytes);
                    quiet = false;
                }
            }
            self.broker.advance(self.now);
            while let Some(action) = self.broker.poll_action() {
                quiet &= !self.carry_out(action);
            }
            if quiet {
                return;
            }
        }
    }

    /// Whether that may bring more.
    fn carry_out(&mut self, action: Action) -> bool {
        match action {
            Action::Send(connection) => {
                let mut bytes = Vec::new();
                self.broker.transmit(self.now, connection, &mut bytes);
                self.hand_over(connection, &bytes);
            }
            Action::Close {
                connection,
                last_bytes,
            } => {
                self.hand_over(connection, &last_bytes);
                let now = self.now.monotonic;
                for seat in self.seats.values_mut() {
                    if seat.connection == Some(connection) {
                        seat.connection = None;
                        seat.client.transport_closed(now);
                    }
                }
            }
            Action::Authenticate { connection, .. } => {
                let verdict = Verdict::accept();
                self.broker.authenticated(self.now, connection, verdict);
            }
            Action::Persist(batch) => self.broker.persisted(self.now, batch.position),
            Action::Pause(_)
            | Action::Resume(_)
            | Action::Load(_)
            | Action::Route { .. }
            | Action::HandOver { .. }
            | Action::Event(_) => return false,
        }
        true
    }

    fn hand_over(&mut self, connection: ConnectionId, bytes: &[u8]) {
        let now = self.now.monotonic;
        for seat in self.seats.values_mut() {
            if seat.connection == Some(connection) {
                seat.client.receive(now, bytes);
                seat.listen();
            }
        }
    }

    fn publish(&mut self, name: &str, request: &PublishRequest<'_>) {
        let now = self.now.monotonic;
        let published = self.seat(name).client.publish(now, request);
        published.expect("the broker takes it");
        self.settle();
    }

    fn subscribe(&mut self, name: &str, filter: &str, options: SubscribeOptions) {
        let now = self.now.monotonic;
        let request = SubscribeRequest {
            filters: &[(filter, options)],
            ..SubscribeRequest::default()
        };
        let subscribed = self.seat(name).client.subscribe(now, &request);
        subscribed.expect("the broker takes it");
        self.settle();
    }

    fn heard(&mut self, name: &str) -> Vec<String> {
        std::mem::take(&mut self.seat(name).events)
    }
}

impl Seat {
    fn listen(&mut self) {
        while let Some(event) = self.client.poll_event() {
            self.events.push(match event {
                ClientEvent::Connected(connack) => {
                    format!("connected {}", u8::from(connack.session_present))
                }
                ClientEvent::Message(message) => format!(
                    "{} {} {}{}",
                    message.topic,
                    message.qos as u8,
                    String::from_utf8_lossy(message.payload),
                    if message.retain { " retained" } else { "" },
                ),
                ClientEvent::Acknowledged(ack) => format!("acknowledged, {}", ack.reason),
                ClientEvent::Subscribed(suback) => format!("subscribed {:?}", suback.reasons),
                ClientEvent::Unsubscribed(_) => "unsubscribed".into(),
                ClientEvent::Refused(_)
                | ClientEvent::Abandoned(_)
                | ClientEvent::Authentication(_)
                | ClientEvent::Disconnected(_) => format!("{event:?}"),
            });
        }
    }
}

fn plain(version: Version) -> Config {
    Config {
        version,
        ..Config::default()
    }
}

fn lasting(version: Version) -> Config {
    Config {
        clean_start: false,
        session_expiry_s: 1_000,
        ..plain(version)
    }
}

fn at(qos: QoS) -> SubscribeOptions {
    SubscribeOptions {
        maximum_qos: qos,
        ..SubscribeOptions::default()
    }
}

fn message(topic: &'static str, payload: &'static [u8], qos: QoS) -> PublishRequest<'static> {
    PublishRequest {
        topic,
        payload,
        qos,
        ..PublishRequest::default()
    }
}

#[test]
fn every_version_talks_to_every_other_at_every_qos() {
    for from in ALL {
        for to in ALL {
            for qos in EVERY_QOS {
                let mut room = Room::new(whimbrel_core::Config::default());
                room.enter("from", plain(from));
                room.enter("to", plain(to));
                room.subscribe("to", "a/+", at(QoS::ExactlyOnce));
                room.publish("from", &message("a/b", b"x", qos));
                let expected = format!("a/b {} x", qos as u8);
                assert_eq!(
                    room.heard("to"),
                    ["connected 0", "subscribed [2]", &expected]
                );
                let acknowledged = room.heard("from").into_iter().skip(1).count();
                assert_eq!(acknowledged, usize::from(qos != QoS::AtMostOnce));
            }
        }
    }
}

#[test]
fn a_session_goes_on_where_it_was_interrupted() {
    for version in ALL {
        let mut room = Room::new(whimbrel_core::Config::default());
        room.enter("from", plain(version));
        room.enter("to", lasting(version));
        room.subscribe("to", "t", at(QoS::ExactlyOnce));
        room.lose("to");
        room.heard("to");
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            room.publish("from", &message("t", b"x", qos));
        }
        room.connect("to");
        let present = if version == Version::V3 { 0 } else { 1 };
        let connected = format!("connected {present}");
        assert_eq!(room.heard("to"), [&connected, "t 1 x", "t 2 x"]);
    }
}

#[test]
fn what_was_published_into_a_broken_connection_arrives_once() {
    for version in ALL {
        let mut room = Room::new(whimbrel_core::Config::default());
        room.enter("to", plain(version));
        room.subscribe("to", "t", at(QoS::ExactlyOnce));
        room.enter("from", lasting(version));
        room.heard("to");
        // Taken by the client, never seen by the broker.
        let now = room.now.monotonic;
        for payload in [b"1", b"2"] {
            let request = message("t", payload, QoS::ExactlyOnce);
            room.seat("from").client.publish(now, &request).unwrap();
        }
        room.seat("from").client.transmit(&mut Vec::new());
        room.lose("from");
        room.connect("from");
        assert_eq!(room.heard("to"), ["t 2 1", "t 2 2"]);
        assert_eq!(room.seat("from").client.unacknowledged_count(), 0);
    }
}

#[test]
fn a_thousand_messages_keep_to_the_window_and_arrive_in_order() {
    let mut room = Room::new(whimbrel_core::Config::default());
    room.enter(
        "from",
        Config {
            topic_aliases: 4,
            ..plain(Version::V5)
        },
    );
    room.enter("to", plain(Version::V5));
    room.subscribe("to", "#", at(QoS::ExactlyOnce));
    room.heard("to");
    let now = room.now.monotonic;
    let mut sent = 0;
    while sent < 1_000 {
        let client = &mut room.seat("from").client;
        while sent < 1_000 && client.window() > 0 {
            let payload = format!("{sent}");
            let request = PublishRequest {
                topic: "t",
                payload: payload.as_bytes(),
                qos: QoS::ExactlyOnce,
                ..PublishRequest::default()
            };
            client.publish(now, &request).unwrap();
            sent += 1;
        }
        room.settle();
    }
    let expected: Vec<_> = (0..1_000).map(|n| format!("t 2 {n}")).collect();
    assert_eq!(room.heard("to"), expected);
}

#[test]
fn retained_messages_wills_and_unsubscribing() {
    for version in ALL {
        let mut room = Room::new(whimbrel_core::Config::default());
        room.enter(
            "from",
            Config {
                will: Some(Will {
                    topic: "will".into(),
                    payload: b"gone".to_vec(),
                    qos: QoS::AtLeastOnce,
                    ..Will::default()
                }),
                ..plain(version)
            },
        );
        let retained = PublishRequest {
            retain: true,
            ..message("r", b"kept", QoS::AtLeastOnce)
        };
        room.publish("from", &retained);
        room.enter("to", plain(version));
        room.subscribe("to", "#", at(QoS::AtLeastOnce));
        room.lose("from");
        assert_eq!(
            room.heard("to")[1..],
            ["subscribed [1]", "r 1 kept retained", "will 1 gone"]
        );
        let request = UnsubscribeRequest {
            filters: &["#"],
            ..UnsubscribeRequest::default()
        };
        let now = room.now.monotonic;
        room.seat("to").client.unsubscribe(now, &request).unwrap();
        room.settle();
        room.connect("from");
        room.publish("from", &message("t", b"x", QoS::AtMostOnce));
        assert_eq!(room.heard("to"), ["unsubscribed"]);
    }
}

#[test]
fn properties_pass_through() {
    let mut room = Room::new(whimbrel_core::Config::default());
    room.enter("from", plain(Version::V5));
    room.enter("to", plain(Version::V5));
    room.subscribe("to", "t", at(QoS::AtMostOnce));
    let mut properties = PropertyBuffer::new();
    properties.push(Property::ContentType("text/plain"));
    properties.push(Property::UserProperty("k", "v"));
    let now = room.now.monotonic;
    let request = PublishRequest {
        properties: properties.as_properties(),
        ..message("t", b"x", QoS::AtMostOnce)
    };
    room.seat("from").client.publish(now, &request).unwrap();
    let mut bytes = Vec::new();
    let from = room.seat("from");
    let connection = from.connection.unwrap();
    from.client.transmit(&mut bytes);
    room.broker.receive(room.now, connection, &bytes);
    let mut arrived = Vec::new();
    while let Some(action) = room.broker.poll_action() {
        if let Action::Send(connection) = action {
            room.broker.transmit(room.now, connection, &mut arrived);
        }
    }
    let to = &mut room.seat("to").client;
    to.receive(now, &arrived);
    let Some(ClientEvent::Message(message)) = to.poll_event() else {
        panic!("no message");
    };
    assert_eq!(message.properties.content_type(), Some("text/plain"));
    let user: Vec<_> = message.properties.user_properties().collect();
    assert_eq!(user, [("k", "v")]);
}
