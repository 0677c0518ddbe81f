//! Peers that need not keep to any rule: raw bytes over TCP, packets built by hand.

use crate::PATIENCE;
use crate::client::Client;
use crate::runtime::Runtime;
use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::{fs, thread};
use whimbrel_core::codec::packet::{QoS, Version};
pub(crate) use whimbrel_tests::memory::{alone, memory_stays_flat};

/// All versions a hostile peer may speak.
pub(crate) const VERSIONS: [Version; 3] = [Version::V3, Version::V4, Version::V5];

/// A transport without manners.
pub(crate) struct Peer {
    stream: TcpStream,
}

impl Peer {
    /// Opens a transport and says nothing.
    pub(crate) fn open(broker: &impl Runtime) -> Self {
        Self::at(broker.address())
    }

    /// The same, from any thread.
    pub(crate) fn at(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the broker accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a time-out");
        stream.set_nodelay(true).expect("no delay");
        Self { stream }
    }

    /// Opens a transport, says CONNECT and is let in.
    pub(crate) fn connected(broker: &impl Runtime, version: Version, id: &str) -> Self {
        let mut peer = Self::open(broker);
        peer.send(&connect(version, id));
        let answer = peer.next_packet().expect("CONNACK comes");
        assert_eq!((answer[0], answer[3]), (0x20, 0), "{id} is let in");
        peer
    }

    /// Sends; whether the broker may have taken it.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Says that no more will come.
    pub(crate) fn finish(&self) {
        // The broker may have closed already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next packet; `None` when the broker has closed.
    pub(crate) fn next_packet(&mut self) -> Option<Vec<u8>> {
        let mut packet = vec![self.next_byte()?];
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.next_byte().expect("packets come whole");
            packet.push(byte);
            length |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let head = packet.len();
        packet.resize(head + length, 0);
        let body = &mut packet[head..];
        self.stream.read_exact(body).expect("packets come whole");
        Some(packet)
    }

    /// With a time-out, reading does not go on by itself after a signal: a process that was stopped
    /// for a while has had one.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    fn next_byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.read(&mut byte) {
            Ok(0) => None,
            Ok(_) => Some(byte[0]),
            Err(error) if is_gone(&error) => None,
            Err(error) => panic!("the broker neither answers nor closes: {error}"),
        }
    }

    /// Waits until the broker closes; what it said until then.
    pub(crate) fn last_words(&mut self) -> Vec<u8> {
        let mut words = Vec::new();
        let mut buffer = [0; 4_096];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return words,
                Ok(count) => words.extend_from_slice(&buffer[..count]),
                Err(error) if is_gone(&error) => return words,
                Err(error) => panic!("the broker does not close: {error}; it said {words:02x?}"),
            }
        }
    }

    /// Whether the broker closes within this time, without having said anything.
    pub(crate) fn is_closed_within(&mut self, time: Duration) -> bool {
        self.stream
            .set_read_timeout(Some(time))
            .expect("a time-out");
        match self.read(&mut [0]) {
            Ok(0) => true,
            Ok(_) => panic!("the broker has something to say"),
            Err(error) => is_gone(&error),
        }
    }

    /// A PINGREQ is answered: the broker has handled everything before it, and keeps this
    /// connection.
    pub(crate) fn is_served(&mut self) {
        assert!(self.send(&[0xC0, 0]), "the connection is open");
        loop {
            let packet = self.next_packet().expect("the broker answers");
            if packet == [0xD0, 0] {
                return;
            }
        }
    }
}

/// Closing a socket that was not read to its end resets the connection.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset
    )
}

/// Sends `bytes` as the first thing; the broker must close, with nothing said but a refusal.
pub(crate) fn is_refused(broker: &impl Runtime, what: &str, bytes: &[u8]) {
    let mut peer = Peer::open(broker);
    peer.send(bytes);
    let words = peer.last_words();
    let refusal = words.first() == Some(&0x20) && words.get(3).is_some_and(|&code| code != 0);
    assert!(words.is_empty() || refusal, "{what}: {words:02x?}");
}

/// Sends `bytes` once connected; the broker must close, and tell a 5.0 client why.
pub(crate) fn is_cut_off(broker: &impl Runtime, version: Version, what: &str, bytes: &[u8]) {
    let mut peer = Peer::connected(broker, version, "hostile");
    peer.send(bytes);
    let words = peer.last_words();
    match version {
        Version::V3 | Version::V4 => assert!(words.is_empty(), "{what}: {words:02x?}"),
        // A reset may take the words away.
        Version::V5 => assert!(
            words.is_empty() || (words[0] == 0xE0 && words[2] >= 0x80),
            "{what}: {words:02x?}"
        ),
    }
}

/// Two clients that keep to the rules, beside those that do not.
pub(crate) struct Neighbours {
    reader: Client,
    writer: Client,
}

impl Neighbours {
    /// They move in.
    pub(crate) fn of(broker: &impl Runtime) -> Self {
        let reader = Client::connect(broker, Version::V4, "good reader");
        reader.subscribe("neighbours/#", QoS::AtLeastOnce);
        let writer = Client::connect(broker, Version::V5, "good writer");
        Self { reader, writer }
    }

    /// Messages go from one to the other, in order, and no others come.
    pub(crate) fn notice_nothing(&self) {
        for number in 0..3 {
            let text = number.to_string();
            self.writer
                .publish("neighbours/talk", QoS::AtLeastOnce, false, &text);
        }
        for number in 0..3 {
            assert_eq!(self.reader.message().text(), number.to_string());
        }
    }

    /// How many sessions, subscriptions and connections they have.
    pub(crate) const CLIENTS: u64 = 2;
}

/// A packet from its first byte and what follows the length.
pub(crate) fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first_byte];
    let mut length = body.len();
    loop {
        let low = (length & 0x7F) as u8;
        length >>= 7;
        if length == 0 {
            bytes.push(low);
            break;
        }
        bytes.push(low | 0x80);
    }
    bytes.extend_from_slice(body);
    bytes
}

/// A field with its length in front.
pub(crate) fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u16::try_from(bytes.len()).expect("it fits a field");
    [&length.to_be_bytes(), bytes].concat()
}

/// Nothing, or an empty property list.
pub(crate) const fn no_properties(version: Version) -> &'static [u8] {
    match version {
        Version::V3 | Version::V4 => &[],
        Version::V5 => &[0],
    }
}

/// Protocol name and level.
pub(crate) fn protocol(version: Version) -> Vec<u8> {
    match version {
        Version::V3 => [&*field("MQIsdp"), &[3]].concat(),
        Version::V4 => [&*field("MQTT"), &[4]].concat(),
        Version::V5 => [&*field("MQTT"), &[5]].concat(),
    }
}

/// CONNECT with a clean start and no keep alive.
pub(crate) fn connect(version: Version, id: &str) -> Vec<u8> {
    let body = [
        &*protocol(version),
        &[2, 0, 0],
        no_properties(version),
        &field(id),
    ]
    .concat();
    packet(0x10, &body)
}

/// SUBSCRIBE to one filter at QoS 0.
pub(crate) fn subscribe(version: Version, filter: &[u8]) -> Vec<u8> {
    let body = [&[0, 1], no_properties(version), &field(filter), &[0]].concat();
    packet(0x82, &body)
}

/// PUBLISH at QoS 0 with a payload.
pub(crate) fn publish(version: Version, topic: &[u8], payload: &[u8]) -> Vec<u8> {
    let body = [&field(topic), no_properties(version), payload].concat();
    packet(0x30, &body)
}

/// How many files this process may have open; a large number where the system does not say.
pub(crate) fn open_files_maximum() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    soft.unwrap_or(4_096)
}

/// Runs as many of these at once as there are arguments, and waits for all.
pub(crate) fn at_once<T: Send>(arguments: impl IntoIterator<Item = T>, story: impl Fn(T) + Sync) {
    thread::scope(|scope| {
        for argument in arguments {
            let story = &story;
            scope.spawn(move || story(argument));
        }
    });
}
