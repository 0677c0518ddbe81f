//! One connection of a client: packets out, packets in.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use whimbrel_core::codec::packet::{
    Ack, ConnAck, Connect, Disconnect, Publish, QoS, SubAck, Subscribe, SubscribeOptions, Version,
    Will,
};
use whimbrel_core::codec::{
    self, Packet, Properties, Property, PropertyBuffer, ReasonCode, SubscribeBuffer, frame,
};
use whimbrel_core::id::PacketId;

/// How long a broker may take to answer a CONNECT.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a client introduces itself.
#[derive(Clone, Debug)]
pub(crate) struct Introduction {
    pub(crate) name: String,
    pub(crate) version: Version,
    /// Its session outlives its connections.
    pub(crate) persistent: bool,
    /// An earlier session ends.
    pub(crate) starts_anew: bool,
    /// Topic and payload of a QoS 2 will.
    pub(crate) will: Option<(String, String)>,
}

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Message {
        topic: String,
        payload: Vec<u8>,
        qos: QoS,
        retain: bool,
        id: Option<PacketId>,
    },
    PubAck(PacketId, ReasonCode),
    PubRec(PacketId, ReasonCode),
    PubRel(PacketId),
    PubComp(PacketId),
    Subscribed(Vec<u8>),
    Other,
}

/// A connection whose CONNECT was accepted.
pub(crate) struct Line {
    stream: TcpStream,
    version: Version,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// Whether the broker knew the session.
    pub(crate) session_present: bool,
}

fn broken(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

impl Line {
    /// Connects and waits for the answer.
    ///
    /// # Errors
    ///
    /// Nobody listens, the connection ends, or the broker says no.
    pub(crate) fn open(address: SocketAddr, introduction: &Introduction) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = Self {
            stream,
            version: introduction.version,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            session_present: false,
        };
        line.introduce(introduction);
        line.flush()?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            line.fill(Duration::from_millis(50))?;
            if let Some((answer, length)) = line.connack()? {
                line.incoming.drain(..length);
                line.session_present = answer;
                return Ok(line);
            }
        }
        Err(ErrorKind::TimedOut.into())
    }

    fn introduce(&mut self, introduction: &Introduction) {
        let mut properties = PropertyBuffer::new();
        if introduction.version == Version::V5 && introduction.persistent {
            properties.push(Property::SessionExpiryInterval(3_600));
        }
        let will = introduction.will.as_ref().map(|(topic, payload)| Will {
            topic,
            payload: payload.as_bytes(),
            qos: QoS::ExactlyOnce,
            retain: false,
            properties: Properties::EMPTY,
        });
        self.push(&Packet::Connect(Connect {
            version: introduction.version,
            clean_start: !introduction.persistent || introduction.starts_anew,
            keep_alive_s: 0,
            client_id: &introduction.name,
            will,
            username: None,
            password: None,
            properties: properties.as_properties(),
        }));
    }

    /// Whether the session was present, and how long CONNACK is.
    fn connack(&self) -> io::Result<Option<(bool, usize)>> {
        let split = frame::split(&self.incoming, u32::MAX);
        let Some((frame, length)) = split.map_err(|_| broken("no packet"))? else {
            return Ok(None);
        };
        match codec::decode(self.version, frame) {
            Ok(Packet::ConnAck(ConnAck {
                session_present,
                reason: ReasonCode::SUCCESS,
                ..
            })) => Ok(Some((session_present, length))),
            _ => Err(broken("no CONNACK that accepts")),
        }
    }

    /// Sends with the next [`flush`](Self::flush).
    pub(crate) fn push(&mut self, packet: &Packet<'_>) {
        let encoded = codec::encode(packet, self.version, &mut self.outgoing);
        encoded.expect("these packets exist in every version");
    }

    /// A message.
    pub(crate) fn publish(
        &mut self,
        (topic, payload): (&str, &[u8]),
        (qos, retain, dup): (QoS, bool, bool),
        packet_id: PacketId,
    ) {
        self.push(&Packet::Publish(Publish {
            dup,
            qos,
            retain,
            topic,
            packet_id: Some(packet_id),
            properties: Properties::EMPTY,
            payload,
        }));
    }

    /// An acknowledgement of any kind.
    pub(crate) fn acknowledge(&mut self, kind: fn(Ack<'static>) -> Packet<'static>, id: PacketId) {
        self.push(&kind(Ack::new(id, ReasonCode::SUCCESS)));
    }

    /// Subscriptions with QoS 2.
    pub(crate) fn subscribe(&mut self, filters: &[&str]) {
        let mut buffer = SubscribeBuffer::new();
        for filter in filters {
            let options = SubscribeOptions {
                maximum_qos: QoS::ExactlyOnce,
                ..SubscribeOptions::default()
            };
            assert!(buffer.push(filter, options), "filters are short");
        }
        let packet_id = PacketId::new(60_000).expect("not zero");
        let packet = Packet::Subscribe(Subscribe {
            packet_id,
            properties: Properties::EMPTY,
            filters: buffer.as_filters(self.version),
        });
        let encoded = codec::encode(&packet, self.version, &mut self.outgoing);
        encoded.expect("a SUBSCRIBE exists in every version");
    }

    /// The last packet of this connection.
    pub(crate) fn disconnect(&mut self) -> io::Result<()> {
        self.push(&Packet::Disconnect(Disconnect {
            reason: ReasonCode::SUCCESS,
            properties: Properties::EMPTY,
        }));
        self.flush()
    }

    /// Writes what was pushed.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.outgoing)?;
        self.outgoing.clear();
        Ok(())
    }

    /// Reads what comes within `wait`.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub(crate) fn fill(&mut self, wait: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(wait))?;
        let mut buffer = [0; 32 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.incoming.extend_from_slice(&buffer[..count]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The next packet that has come.
    ///
    /// # Errors
    ///
    /// It is none.
    pub(crate) fn next(&mut self) -> io::Result<Option<Heard>> {
        let split = frame::split(&self.incoming, u32::MAX);
        let Some((frame, length)) = split.map_err(|_| broken("no packet"))? else {
            return Ok(None);
        };
        let packet = codec::decode(self.version, frame).map_err(|_| broken("no packet"))?;
        let heard = heard(&packet);
        self.incoming.drain(..length);
        Ok(Some(heard))
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "nothing else matters to these clients"
)]
fn heard(packet: &Packet<'_>) -> Heard {
    match packet {
        Packet::Publish(publish) => Heard::Message {
            topic: publish.topic.to_owned(),
            payload: publish.payload.to_vec(),
            qos: publish.qos,
            retain: publish.retain,
            id: publish.packet_id,
        },
        Packet::PubAck(Ack {
            packet_id, reason, ..
        }) => Heard::PubAck(*packet_id, *reason),
        Packet::PubRec(Ack {
            packet_id, reason, ..
        }) => Heard::PubRec(*packet_id, *reason),
        Packet::PubRel(Ack { packet_id, .. }) => Heard::PubRel(*packet_id),
        Packet::PubComp(Ack { packet_id, .. }) => Heard::PubComp(*packet_id),
        Packet::SubAck(SubAck { reasons, .. }) => Heard::Subscribed(reasons.to_vec()),
        _ => Heard::Other,
    }
}
