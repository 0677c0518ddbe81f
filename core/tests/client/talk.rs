//! A client and the bytes that it exchanges with a server that the test plays.

use whimbrel_core::Timestamp;
use whimbrel_core::client::{Client, ClientEvent, Config, End, PublishRequest};
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_core::id::PacketId;

pub(crate) const ALL: [Version; 3] = [Version::V3, Version::V4, Version::V5];

/// CONNACK of each version: accepted, no session.
pub(crate) fn connack(version: Version) -> &'static [u8] {
    match version {
        Version::V3 | Version::V4 => &[0x20, 2, 0, 0],
        Version::V5 => &[0x20, 3, 0, 0, 0],
    }
}

/// CONNACK of each version: accepted, the session is there. 3.1 cannot say that.
pub(crate) fn connack_present(version: Version) -> &'static [u8] {
    match version {
        Version::V3 => &[0x20, 2, 0, 0],
        Version::V4 => &[0x20, 2, 1, 0],
        Version::V5 => &[0x20, 3, 1, 0, 0],
    }
}

pub(crate) struct Talk {
    pub(crate) client: Client,
    pub(crate) now: Timestamp,
}

impl Talk {
    pub(crate) fn new(config: Config) -> Self {
        let now = Timestamp(1_000);
        Self {
            client: Client::new(config, now).unwrap(),
            now,
        }
    }

    /// A connection that a server has accepted which says no more than it must.
    pub(crate) fn connected(config: Config) -> Self {
        let version = config.version;
        let mut talk = Self::new(config);
        talk.reconnect(connack(version));
        talk
    }

    /// A connection whose server answers CONNECT with these bytes; events are dropped.
    pub(crate) fn reconnect(&mut self, connack: &[u8]) {
        self.client.connected(self.now);
        self.sent();
        self.hear(connack);
    }

    /// The connection is lost.
    pub(crate) fn lose(&mut self) -> Vec<String> {
        self.client.transport_closed(self.now);
        self.events()
    }

    /// The server says something.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Vec<String> {
        self.client.receive(self.now, bytes);
        self.events()
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now = self.now.after_ms(ms);
        self.client.advance(self.now);
    }

    pub(crate) fn publish(&mut self, qos: QoS, topic: &str) -> Option<PacketId> {
        let request = PublishRequest {
            topic,
            payload: b"x",
            qos,
            ..PublishRequest::default()
        };
        self.client.publish(self.now, &request).unwrap()
    }

    /// What the client has to say.
    pub(crate) fn sent(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.client.transmit(&mut out);
        out
    }

    /// What has happened, in words.
    pub(crate) fn events(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = self.client.poll_event() {
            events.push(words(&event));
        }
        events
    }
}

fn words(event: &ClientEvent<'_>) -> String {
    match event {
        ClientEvent::Connected(connack) if connack.session_present => "connected, session".into(),
        ClientEvent::Connected(_) => "connected".into(),
        ClientEvent::Refused(connack) => format!("refused {}", connack.reason),
        ClientEvent::Message(message) => {
            let payload = String::from_utf8_lossy(message.payload);
            let id = message.packet_id.map_or(0, PacketId::get);
            format!("{} {} {id} {payload}", message.topic, message.qos as u8)
        }
        ClientEvent::Acknowledged(ack) => {
            format!("acknowledged {} {}", ack.packet_id.get(), ack.reason)
        }
        ClientEvent::Subscribed(suback) => {
            format!("subscribed {} {:?}", suback.packet_id.get(), suback.reasons)
        }
        ClientEvent::Unsubscribed(unsuback) => {
            let id = unsuback.packet_id.get();
            format!("unsubscribed {id} {:?}", unsuback.reasons)
        }
        ClientEvent::Abandoned(id) => format!("abandoned {}", id.get()),
        ClientEvent::Authentication(auth) => {
            let data = auth.properties.authentication_data().unwrap_or_default();
            format!("auth {} {}", auth.reason, String::from_utf8_lossy(data))
        }
        ClientEvent::Disconnected(End::Server(disconnect)) => {
            format!("disconnected: {}", disconnect.reason)
        }
        ClientEvent::Disconnected(End::Local) => "ended".into(),
        ClientEvent::Disconnected(End::Transport) => "lost".into(),
        ClientEvent::Disconnected(End::Fault(fault)) => format!("fault: {fault}"),
        ClientEvent::Disconnected(End::Timeout) => "timed out".into(),
    }
}
