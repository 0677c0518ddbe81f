//! A broker with clients that are nothing but names: who drives it reads and writes their bytes.

use whimbrel_core::action::{Action, Peer, Verdict};
use whimbrel_core::codec::packet::{Connect, Publish, QoS, Subscribe, SubscribeOptions, Version};
use whimbrel_core::codec::{self, Packet, Properties, SubscribeBuffer};
use whimbrel_core::id::PacketId;
use whimbrel_core::{Broker, Config, ConnectionId, Now, Timestamp, UnixTime};

/// A broker, and a clock that somebody moves by hand.
pub struct Stage {
    /// The broker itself.
    pub broker: Broker,
    /// What time it is.
    pub now: Now,
    out: Vec<u8>,
}

impl Stage {
    /// A broker with this configuration.
    ///
    /// # Panics
    ///
    /// When the configuration cannot run.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let now = Now {
            monotonic: Timestamp(0),
            wall: UnixTime(1_767_225_600_000),
        };
        Self {
            broker: Broker::new(config, 7, now).expect("the configuration is valid"),
            now,
            out: Vec::with_capacity(256 << 10),
        }
    }

    /// Connects a client. The answer is thrown away: that it was accepted shows in the statistics.
    pub fn connect(&mut self, connect: &Connect<'_>) -> ConnectionId {
        let id = self.broker.accept(self.now, Peer::default());
        self.send(id, connect.version, &Packet::Connect(*connect));
        id
    }

    /// Subscribes a client to a filter. The answer is thrown away.
    pub fn subscribe(
        &mut self,
        (id, version): (ConnectionId, Version),
        filter: &str,
        qos: QoS,
        properties: Properties<'_>,
    ) {
        let mut filters = SubscribeBuffer::new();
        let options = SubscribeOptions {
            maximum_qos: qos,
            ..SubscribeOptions::default()
        };
        filters.push(filter, options);
        let subscribe = Subscribe {
            packet_id: PacketId::FIRST,
            properties,
            filters: filters.as_filters(version),
        };
        self.send(id, version, &Packet::Subscribe(subscribe));
    }

    /// Sends one packet from a client, and throws away what follows from it.
    ///
    /// # Panics
    ///
    /// When the version has no such packet.
    pub fn send(&mut self, id: ConnectionId, version: Version, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        codec::encode(packet, version, &mut bytes).expect("the packet exists");
        self.broker.receive(self.now, id, &bytes);
        self.run(|_, _| {});
    }

    /// The transport of a client breaks.
    pub fn cut(&mut self, id: ConnectionId) {
        self.broker.closed(self.now, id);
        self.run(|_, _| {});
    }

    /// Carries out what the broker wants, and gives the bytes for each client to `sent`.
    ///
    /// # Panics
    ///
    /// When the broker closes a connection, or wants what no measurement has.
    #[inline]
    pub fn run(&mut self, mut sent: impl FnMut(ConnectionId, &[u8])) {
        while let Some(action) = self.broker.poll_action() {
            match action {
                Action::Send(id) => {
                    self.out.clear();
                    self.broker.transmit(self.now, id, &mut self.out);
                    sent(id, &self.out);
                }
                Action::Authenticate { connection, .. } => {
                    let verdict = Verdict::accept();
                    self.broker.authenticated(self.now, connection, verdict);
                }
                // Whoever is paused here says no more before it is resumed.
                Action::Event(_) | Action::Pause(_) | Action::Resume(_) => {}
                Action::Close { last_bytes, .. } => {
                    assert!(last_bytes.is_empty(), "told to go: {last_bytes:?}");
                }
                Action::Persist(batch) => self.broker.persisted(self.now, batch.position),
                other @ (Action::Load(_) | Action::Route { .. } | Action::HandOver { .. }) => {
                    panic!("nothing here asks for {other:?}")
                }
            }
        }
    }
}

/// A CONNECT with nothing special: clean start, no keep alive.
#[must_use]
pub const fn connect(version: Version, client_id: &str) -> Connect<'_> {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 0,
        client_id,
        will: None,
        username: None,
        password: None,
        properties: Properties::EMPTY,
    }
}

/// A PUBLISH with nothing special. The packet identifier is left out at QoS 0.
#[must_use]
pub fn publish<'a>(topic: &'a str, payload: &'a [u8], qos: QoS, id: u16) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id: PacketId::new(id).filter(|_| qos > QoS::AtMostOnce),
        properties: Properties::EMPTY,
        payload,
    }
}
