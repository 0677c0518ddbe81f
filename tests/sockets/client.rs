//! An independent client: rumqttc in both its versions, behind one face, so that a story is told
//! once.
//!
//! The client library runs on a small runtime of its own; what it hears comes through a channel and
//! is waited for. It never reconnects: when its connection ends, the story hears of it.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else the library says is not what was waited for"
)]

use crate::PATIENCE;
use crate::runtime::Runtime;
use core::cell::RefCell;
use rumqttc::v5::mqttbytes::v5::{self, PublishProperties, SubscribeProperties};
use rumqttc::{QoS as QoS4, v5 as rumqttc5};
use std::collections::VecDeque;
use std::sync::mpsc;
use tokio::runtime::{self, Runtime as Tokio};
use whimbrel_core::codec::packet::{QoS, Version};

/// Both versions that rumqttc speaks.
pub(crate) const VERSIONS: [Version; 2] = [Version::V4, Version::V5];

/// All three, from lowest to highest.
pub(crate) const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Packets of any size in these tests.
const PACKET_BYTES: u32 = 4 << 20;

/// Requests that wait for the library's thread.
const REQUESTS: usize = 16;

const RUNS: &str = "the library runs";

/// How a client connects.
#[derive(Clone, Copy, Default)]
pub(crate) struct Dial {
    /// Keep the session: clean start 0, and in 5.0 an expiry of an hour.
    pub(crate) persistent: bool,
    /// Acknowledge nothing that arrives.
    pub(crate) never_acknowledges: bool,
    /// Topic, payload, QoS and RETAIN of the will.
    pub(crate) will: Option<(&'static str, &'static str, QoS, bool)>,
    /// Topic aliases it accepts (5.0).
    pub(crate) topic_aliases: Option<u16>,
}

/// A connected client. Dropping it closes its connection without DISCONNECT.
pub(crate) struct Client {
    requests: Requests,
    /// Where the library runs.
    tokio: Tokio,
    heard: mpsc::Receiver<Heard>,
    /// Messages that came while something else was waited for.
    early: RefCell<VecDeque<Message>>,
    /// Whether the broker knew its session.
    pub(crate) session_present: bool,
}

enum Requests {
    V4(rumqttc::AsyncClient),
    V5(rumqttc5::AsyncClient),
}

/// What a client hears.
#[derive(Debug)]
pub(crate) enum Heard {
    /// CONNACK.
    In { session_present: bool },
    /// PUBLISH.
    Message(Message),
    /// SUBACK: what was granted; `None` for a refusal.
    Subscribed(Vec<Option<QoS>>),
    /// UNSUBACK.
    Unsubscribed,
    /// PUBACK or PUBCOMP: the message is safe.
    Published,
    /// The connection has ended, for this reason.
    Closed(String),
}

/// A message as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    /// Empty in 3.1.1.
    pub(crate) properties: PublishProperties,
}

impl Message {
    pub(crate) fn text(&self) -> &str {
        core::str::from_utf8(&self.payload).expect("these tests send text")
    }
}

impl Client {
    /// Connects with a clean session.
    pub(crate) fn connect(broker: &impl Runtime, version: Version, id: &str) -> Self {
        Self::dial(broker, version, id, &Dial::default())
    }

    /// Connects.
    pub(crate) fn dial(broker: &impl Runtime, version: Version, id: &str, dial: &Dial) -> Self {
        let (tell, heard) = mpsc::channel();
        let tokio = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime for the library");
        let requests = match version {
            Version::V3 => panic!("rumqttc does not speak MQTT 3.1"),
            Version::V4 => dial_v4(broker, &tokio, id, (dial, tell)),
            Version::V5 => dial_v5(broker, &tokio, id, (dial, tell)),
        };
        let mut client = Self {
            requests,
            tokio,
            heard,
            early: RefCell::default(),
            session_present: false,
        };
        match client.hear() {
            Heard::In { session_present } => client.session_present = session_present,
            other => panic!("{id} is not let in: {other:?}"),
        }
        client
    }

    /// Waits for what comes next.
    pub(crate) fn hear(&self) -> Heard {
        self.heard.recv_timeout(PATIENCE).expect("something comes")
    }

    /// Waits for something other than a message; those are kept for later.
    fn answer(&self, what: &str) -> Heard {
        loop {
            match self.hear() {
                Heard::Message(message) => self.early.borrow_mut().push_back(message),
                Heard::Closed(why) => panic!("{what} was to come, but the connection ended: {why}"),
                answer => return answer,
            }
        }
    }

    /// Waits for a message; acknowledgements of what was sent are passed over.
    pub(crate) fn message(&self) -> Message {
        if let Some(message) = self.early.borrow_mut().pop_front() {
            return message;
        }
        loop {
            match self.hear() {
                Heard::Message(message) => return message,
                Heard::Published => {}
                other => panic!("a message was to come, not {other:?}"),
            }
        }
    }

    /// Everything that was on its way to this client: what comes before a message that it sends to
    /// itself.
    pub(crate) fn messages_so_far(&self, own_topic: &str) -> Vec<Message> {
        self.subscribe(own_topic, QoS::AtMostOnce);
        self.send(own_topic, QoS::AtMostOnce, false, "that is all");
        let mut messages = Vec::new();
        loop {
            let message = self.message();
            if message.topic == own_topic {
                return messages;
            }
            messages.push(message);
        }
    }

    /// Subscribes and waits for the answer.
    pub(crate) fn subscribe(&self, filter: &str, qos: QoS) {
        let filter = v5::Filter::new(filter, to_v5(qos));
        assert_eq!(self.subscribe_with(filter, None), [Some(qos)]);
    }

    /// Subscribes with all that 5.0 can say, and waits for the answer.
    pub(crate) fn subscribe_with(
        &self,
        filter: v5::Filter,
        properties: Option<SubscribeProperties>,
    ) -> Vec<Option<QoS>> {
        self.tokio.block_on(async {
            match (&self.requests, properties) {
                (Requests::V4(client), _) => {
                    let qos = to_v4(of_v5(filter.qos));
                    client.subscribe(filter.path, qos).await.expect(RUNS);
                }
                (Requests::V5(client), None) => {
                    client.subscribe_many([filter]).await.expect(RUNS);
                }
                (Requests::V5(client), Some(properties)) => client
                    .subscribe_many_with_properties([filter], properties)
                    .await
                    .expect(RUNS),
            }
        });
        loop {
            match self.answer("SUBACK") {
                Heard::Subscribed(granted) => return granted,
                Heard::Published => {}
                other => panic!("SUBACK was to come, not {other:?}"),
            }
        }
    }

    /// Unsubscribes and waits for the answer.
    pub(crate) fn unsubscribe(&self, filter: &str) {
        self.tokio.block_on(async {
            match &self.requests {
                Requests::V4(client) => client.unsubscribe(filter).await.expect(RUNS),
                Requests::V5(client) => client.unsubscribe(filter).await.expect(RUNS),
            }
        });
        loop {
            match self.answer("UNSUBACK") {
                Heard::Unsubscribed => return,
                Heard::Published => {}
                other => panic!("UNSUBACK was to come, not {other:?}"),
            }
        }
    }

    /// Publishes without waiting.
    pub(crate) fn send(&self, topic: &str, qos: QoS, retain: bool, payload: impl Into<Vec<u8>>) {
        let payload = payload.into();
        self.tokio.block_on(async {
            match &self.requests {
                Requests::V4(client) => {
                    let sent = client.publish(topic, to_v4(qos), retain, payload);
                    sent.await.expect(RUNS);
                }
                Requests::V5(client) => {
                    let sent = client.publish(topic, to_v5(qos), retain, payload);
                    sent.await.expect(RUNS);
                }
            }
        });
    }

    /// Publishes with properties (5.0), without waiting.
    pub(crate) fn send_with(
        &self,
        topic: &str,
        qos: QoS,
        payload: &str,
        properties: PublishProperties,
    ) {
        let Requests::V5(client) = &self.requests else {
            panic!("3.1.1 has no properties");
        };
        let payload = payload.to_owned();
        let sent = client.publish_with_properties(topic, to_v5(qos), false, payload, properties);
        self.tokio.block_on(sent).expect(RUNS);
    }

    /// Publishes, and waits until the broker has taken the message in for good.
    pub(crate) fn publish(&self, topic: &str, qos: QoS, retain: bool, payload: &str) {
        self.send(topic, qos, retain, payload);
        if qos == QoS::AtMostOnce {
            return;
        }
        match self.answer("the acknowledgement") {
            Heard::Published => {}
            other => panic!("the acknowledgement was to come, not {other:?}"),
        }
    }

    /// Says DISCONNECT and waits for the end.
    pub(crate) fn disconnect(self) {
        self.tokio.block_on(async {
            match &self.requests {
                Requests::V4(client) => client.disconnect().await.expect(RUNS),
                Requests::V5(client) => client.disconnect().await.expect(RUNS),
            }
        });
        self.end();
    }

    /// Waits until the connection has ended, and gives the reason.
    pub(crate) fn end(self) -> String {
        loop {
            if let Heard::Closed(why) = self.hear() {
                return why;
            }
        }
    }

    /// Closes the connection without DISCONNECT.
    pub(crate) fn vanish(self) {
        drop(self);
    }
}

fn dial_v4(
    broker: &impl Runtime,
    tokio: &Tokio,
    id: &str,
    (dial, tell): (&Dial, mpsc::Sender<Heard>),
) -> Requests {
    let address = broker.address();
    let mut options = rumqttc::MqttOptions::new(id, address.ip().to_string(), address.port());
    options
        .set_clean_session(!dial.persistent)
        .set_manual_acks(dial.never_acknowledges)
        .set_max_packet_size(PACKET_BYTES as usize, PACKET_BYTES as usize);
    if let Some((topic, payload, qos, retain)) = dial.will {
        options.set_last_will(rumqttc::LastWill::new(topic, payload, to_v4(qos), retain));
    }
    let (client, mut connection) = rumqttc::AsyncClient::new(options, REQUESTS);
    tokio.spawn(async move {
        loop {
            let heard = match connection.poll().await {
                Ok(rumqttc::Event::Incoming(packet)) => heard_v4(packet),
                Ok(rumqttc::Event::Outgoing(_)) => None,
                Err(why) => {
                    return drop(tell.send(Heard::Closed(format!("{why:?}"))));
                }
            };
            // The story may be over.
            heard.into_iter().for_each(|heard| drop(tell.send(heard)));
        }
    });
    Requests::V4(client)
}

fn dial_v5(
    broker: &impl Runtime,
    tokio: &Tokio,
    id: &str,
    (dial, tell): (&Dial, mpsc::Sender<Heard>),
) -> Requests {
    let address = broker.address();
    let mut options = rumqttc5::MqttOptions::new(id, address.ip().to_string(), address.port());
    options
        .set_clean_start(!dial.persistent)
        .set_manual_acks(dial.never_acknowledges)
        .set_max_packet_size(Some(PACKET_BYTES))
        .set_topic_alias_max(dial.topic_aliases)
        .set_session_expiry_interval(dial.persistent.then_some(3_600));
    if let Some((topic, payload, qos, retain)) = dial.will {
        options.set_last_will(v5::LastWill::new(topic, payload, to_v5(qos), retain, None));
    }
    let (client, mut connection) = rumqttc5::AsyncClient::new(options, REQUESTS);
    tokio.spawn(async move {
        loop {
            let heard = match connection.poll().await {
                Ok(rumqttc5::Event::Incoming(packet)) => heard_v5(packet),
                Ok(rumqttc5::Event::Outgoing(_)) => None,
                Err(why) => {
                    return drop(tell.send(Heard::Closed(format!("{why:?}"))));
                }
            };
            // The story may be over.
            heard.into_iter().for_each(|heard| drop(tell.send(heard)));
        }
    });
    Requests::V5(client)
}

fn heard_v4(packet: rumqttc::Packet) -> Option<Heard> {
    use rumqttc::{Packet, SubscribeReasonCode};
    Some(match packet {
        Packet::ConnAck(ack) => Heard::In {
            session_present: ack.session_present,
        },
        Packet::Publish(publish) => Heard::Message(Message {
            topic: publish.topic,
            payload: publish.payload.to_vec(),
            qos: of_v4(publish.qos),
            retain: publish.retain,
            dup: publish.dup,
            properties: PublishProperties::default(),
        }),
        Packet::SubAck(ack) => {
            let granted = ack.return_codes.into_iter().map(|code| match code {
                SubscribeReasonCode::Success(qos) => Some(of_v4(qos)),
                SubscribeReasonCode::Failure => None,
            });
            Heard::Subscribed(granted.collect())
        }
        Packet::UnsubAck(_) => Heard::Unsubscribed,
        Packet::PubAck(_) | Packet::PubComp(_) => Heard::Published,
        _ => return None,
    })
}

fn heard_v5(packet: v5::Packet) -> Option<Heard> {
    use v5::{Packet, SubscribeReasonCode};
    Some(match packet {
        Packet::ConnAck(ack) => Heard::In {
            session_present: ack.session_present,
        },
        Packet::Publish(publish) => Heard::Message(Message {
            topic: String::from_utf8(publish.topic.to_vec()).expect("topics are text"),
            payload: publish.payload.to_vec(),
            qos: of_v5(publish.qos),
            retain: publish.retain,
            dup: publish.dup,
            properties: publish.properties.unwrap_or_default(),
        }),
        Packet::SubAck(ack) => {
            let granted = ack.return_codes.into_iter().map(|code| match code {
                SubscribeReasonCode::Success(qos) => Some(of_v5(qos)),
                _ => None,
            });
            Heard::Subscribed(granted.collect())
        }
        Packet::UnsubAck(_) => Heard::Unsubscribed,
        Packet::PubAck(_) | Packet::PubComp(_) => Heard::Published,
        _ => return None,
    })
}

const fn to_v4(qos: QoS) -> QoS4 {
    match qos {
        QoS::AtMostOnce => QoS4::AtMostOnce,
        QoS::AtLeastOnce => QoS4::AtLeastOnce,
        QoS::ExactlyOnce => QoS4::ExactlyOnce,
    }
}

const fn of_v4(qos: QoS4) -> QoS {
    match qos {
        QoS4::AtMostOnce => QoS::AtMostOnce,
        QoS4::AtLeastOnce => QoS::AtLeastOnce,
        QoS4::ExactlyOnce => QoS::ExactlyOnce,
    }
}

pub(crate) const fn to_v5(qos: QoS) -> rumqttc5::mqttbytes::QoS {
    match qos {
        QoS::AtMostOnce => rumqttc5::mqttbytes::QoS::AtMostOnce,
        QoS::AtLeastOnce => rumqttc5::mqttbytes::QoS::AtLeastOnce,
        QoS::ExactlyOnce => rumqttc5::mqttbytes::QoS::ExactlyOnce,
    }
}

const fn of_v5(qos: rumqttc5::mqttbytes::QoS) -> QoS {
    match qos {
        rumqttc5::mqttbytes::QoS::AtMostOnce => QoS::AtMostOnce,
        rumqttc5::mqttbytes::QoS::AtLeastOnce => QoS::AtLeastOnce,
        rumqttc5::mqttbytes::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}
