//! A 5.0 client of raw bytes, for what the broker answers.

use crate::harness::PATIENCE;
use std::io::{Read, Write};
use std::net::TcpStream;

pub(crate) const ACCEPTED: u8 = 0;
pub(crate) const BAD_USER_NAME_OR_PASSWORD: u8 = 0x86;
pub(crate) const NOT_AUTHORIZED: u8 = 0x87;
pub(crate) const BANNED: u8 = 0x8A;

/// A connection on which packets are awaited whole.
pub(crate) struct Raw(TcpStream);

impl Raw {
    pub(crate) fn dial(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Sends a packet with this first byte and body.
    pub(crate) fn send(&mut self, first: u8, body: &[u8]) {
        // Of a number of up to two bytes, the first says that there is a second.
        let (low, high) = ((body.len() % 128) as u8, (body.len() / 128) as u8);
        let length = match high {
            0 => vec![low],
            _ => vec![low | 0x80, high],
        };
        self.0
            .write_all(&[&[first][..], &length, body].concat())
            .unwrap();
    }

    /// The next packet: its first byte, and its body.
    pub(crate) fn next(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        let mut length = usize::from(head[1]);
        if length >= 128 {
            let mut high = [0];
            self.0.read_exact(&mut high).unwrap();
            length = length % 128 + 128 * usize::from(high[0]);
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (head[0], body)
    }

    /// Publishes with QoS 1: the reason code.
    pub(crate) fn publish(&mut self, topic: &str) -> u8 {
        self.send(0x32, &[&text(topic.as_bytes())[..], &[0, 1, 0]].concat());
        let (first, body) = self.next();
        assert_eq!((first, &body[..2]), (0x40, &[0, 1][..]));
        body.get(2).copied().unwrap_or_default()
    }

    /// Subscribes with QoS 0: the reason code.
    pub(crate) fn subscribe(&mut self, filter: &str) -> u8 {
        let body = [&[0, 1, 0][..], &text(filter.as_bytes()), &[0]].concat();
        self.send(0x82, &body);
        let (first, body) = self.next();
        assert_eq!(first, 0x90, "a SUBACK");
        *body.last().unwrap()
    }

    /// It was told DISCONNECT with this reason.
    pub(crate) fn is_sent_away(&mut self, reason: u8) {
        let (first, body) = self.next();
        assert_eq!((first, body[0]), (0xE0, reason));
        assert_eq!(self.0.read(&mut [0]).unwrap(), 0);
    }

    pub(crate) fn is_there(&mut self) {
        self.send(0xC0, &[]);
        assert_eq!(self.next(), (0xD0, vec![]));
    }
}

/// Text or binary data with its length before it.
pub(crate) fn text(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[..], bytes].concat()
}

/// A client that was answered, and the answer. An empty user shows nothing.
pub(crate) fn connect(address: &str, user: &str, password: &str) -> (Raw, u8) {
    connect_as(address, "", user, password)
}

/// The same with this client identifier.
pub(crate) fn connect_as(address: &str, client_id: &str, user: &str, password: &str) -> (Raw, u8) {
    let mut client = dial_as(address, client_id, user, password);
    let (first, answer) = client.next();
    assert_eq!(first, 0x20, "a CONNACK");
    (client, answer[1])
}

/// One that has yet to hear the answer.
pub(crate) fn dial_as(address: &str, client_id: &str, user: &str, password: &str) -> Raw {
    let mut body = b"\0\x04MQTT\x05".to_vec();
    body.push(if user.is_empty() { 0x02 } else { 0xC2 });
    body.extend(b"\0\x3c\0");
    body.extend(text(client_id.as_bytes()));
    if !user.is_empty() {
        body.extend(text(user.as_bytes()));
        body.extend(text(password.as_bytes()));
    }
    let mut client = Raw::dial(address);
    client.send(0x10, &body);
    client
}

pub(crate) fn answer(address: &str, user: &str, password: &str) -> u8 {
    connect(address, user, password).1
}
