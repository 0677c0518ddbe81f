//! Publishers with one message in flight each: what a device does that waits for its
//! acknowledgement.

use crate::PAYLOAD_BYTES;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What they got.
pub(crate) struct Round {
    pub(crate) messages_per_second: f64,
    /// The times from PUBLISH to PUBACK in microseconds, the shortest first.
    times_us: Vec<f64>,
}

impl Round {
    /// How long so many of a thousand acknowledgements took at most, in microseconds.
    pub(crate) fn acknowledged_us(&self, of_thousand: usize) -> f64 {
        let last = self.times_us.len().saturating_sub(1);
        let place = self.times_us.len() * of_thousand / 1_000;
        self.times_us[place.min(last)]
    }
}

/// A 3.1.1 packet.
fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first_byte];
    let mut length = body.len();
    loop {
        let low = (length & 0x7F) as u8;
        length >>= 7;
        packet.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&(text.len() as u16).to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

/// A connected client. Its session stays when `persistent`.
pub(crate) fn connect(
    address: SocketAddr,
    name: &str,
    persistent: bool,
) -> io::Result<std::net::TcpStream> {
    let mut body = b"\0\x04MQTT\x04".to_vec();
    body.push(if persistent { 0 } else { 2 });
    body.extend_from_slice(&[0, 0]);
    text(&mut body, name);
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.write_all(&packet(0x10, &body))?;
    stream.read_exact(&mut [0; 4])?;
    Ok(stream)
}

/// Subscribes with QoS 1.
pub(crate) fn subscribe(stream: &mut std::net::TcpStream, filter: &str) -> io::Result<()> {
    let mut body = vec![0, 1];
    text(&mut body, filter);
    body.push(1);
    stream.write_all(&packet(0x82, &body))?;
    stream.read_exact(&mut [0; 5])
}

/// A QoS 1 PUBLISH.
pub(crate) fn publish_packet(topic: &str, id: u16, retain: bool, payload: usize) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, topic);
    body.extend_from_slice(&id.to_be_bytes());
    body.resize(body.len() + payload, b'.');
    packet(0x32 | u8::from(retain), &body)
}

/// Publishes for a while to a client that is away, so that every message must be kept. One thread
/// plays all publishers: they cost less of the machine than the broker does.
pub(crate) fn publish(address: SocketAddr, publishers: usize, time: Duration) -> io::Result<Round> {
    subscribe(&mut connect(address, "away", true)?, "t")?;
    let packet = publish_packet("t", 1, false, PAYLOAD_BYTES);
    repeat(address, publishers, time, &packet)
}

/// Each sends the same again as soon as it is acknowledged.
pub(crate) fn repeat(
    address: SocketAddr,
    publishers: usize,
    time: Duration,
    packet: &[u8],
) -> io::Result<Round> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1_024);
    let mut clients = Vec::new();
    for number in 0..publishers {
        let stream = connect(address, &format!("publisher-{number}"), false)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, Token(number), Interest::READABLE)?;
        clients.push((stream, Instant::now()));
    }
    let began = Instant::now();
    for (stream, sent) in &mut clients {
        *sent = Instant::now();
        stream.write_all(packet)?;
    }
    let mut times = Vec::new();
    while began.elapsed() < time {
        poll.poll(&mut events, Some(Duration::from_secs(5)))?;
        for event in &events {
            let (stream, sent) = &mut clients[event.token().0];
            stream.read_exact(&mut [0; 4])?;
            times.push(sent.elapsed().as_secs_f64() * 1e6);
            *sent = Instant::now();
            stream.write_all(packet)?;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    Ok(Round {
        messages_per_second: times.len() as f64 / seconds,
        times_us: times,
    })
}
