//! Connections to the broker: bytes in, packets out, and the answers that every client owes.

use super::Failure;
use super::options::Options;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};
use whimbrel_core::codec::packet::{Ack, Connect, QoS, Version};
use whimbrel_core::codec::property::{Property, PropertyBuffer};
use whimbrel_core::codec::{self, Packet, Properties, ReasonCode, frame};

/// One read; and what a connection may have unsent before nothing is added.
pub(super) const BUFFER_BYTES: usize = 256 << 10;

/// Connections from one address of this machine: well below the number of its ports.
const CONNECTIONS_PER_SOURCE: usize = 10_000;

/// What came over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    /// CONNACK: the client is let in.
    Accepted,
    /// SUBACK, and how many of its filters were refused.
    Subscribed { refused: usize },
    /// A message, and when it was read, in nanoseconds since the start.
    Message { payload: &'a [u8], at_ns: u64 },
    /// A message of this client is with the broker for good: PUBACK or PUBCOMP.
    Acknowledged,
    /// PINGRESP.
    Pong,
    /// The broker has closed it.
    Closed,
}

/// One connection.
struct Link {
    stream: TcpStream,
    out: Vec<u8>,
    written: usize,
    /// The beginning of a packet.
    partial: Vec<u8>,
    dirty: bool,
    closed: bool,
    /// Why it never came about.
    failure: Option<io::Error>,
}

/// All connections, and the one poll that watches them.
pub(super) struct Network {
    poll: Poll,
    events: Events,
    links: Vec<Link>,
    /// Links with something to write.
    dirty: Vec<usize>,
    buffer: Vec<u8>,
    address: SocketAddr,
    version: Version,
    username: Option<String>,
    password: Option<Vec<u8>>,
    opened: usize,
    start: Instant,
}

/// Finds the broker.
pub(super) fn resolve(host: &str, port: u16) -> Result<SocketAddr, Failure> {
    let mut addresses = (host, port)
        .to_socket_addrs()
        .map_err(Failure::system(format!("cannot find {host}")))?;
    let none = || Failure::Misuse(format!("{host} has no address"));
    addresses.next().ok_or_else(none)
}

impl Network {
    pub(super) fn new(options: &Options) -> Result<Self, Failure> {
        Ok(Self {
            poll: Poll::new().map_err(Failure::system("cannot watch sockets"))?,
            events: Events::with_capacity(1_024),
            links: Vec::new(),
            dirty: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
            address: options.address,
            version: options.version,
            username: options.username.clone(),
            password: options.password.clone(),
            opened: 0,
            start: Instant::now(),
        })
    }

    pub(super) const fn version(&self) -> Version {
        self.version
    }

    /// Nanoseconds since the start.
    pub(super) fn now_ns(&self) -> u64 {
        nanoseconds(self.start)
    }

    /// Opens a connection and sends CONNECT.
    pub(super) fn open(&mut self, name: &str, clean_start: bool) -> Result<usize, Failure> {
        let index = self.links.len();
        let link = self.link(index, name, clean_start)?;
        self.links.push(link);
        self.dirty.push(index);
        Ok(index)
    }

    /// The same in the place of a connection that is closed.
    pub(super) fn reopen(
        &mut self,
        index: usize,
        name: &str,
        clean_start: bool,
    ) -> Result<(), Failure> {
        self.links[index] = self.link(index, name, clean_start)?;
        self.dirty.push(index);
        Ok(())
    }

    fn link(&mut self, index: usize, name: &str, clean_start: bool) -> Result<Link, Failure> {
        let address = self.address;
        let source = self.opened / CONNECTIONS_PER_SOURCE;
        let mut stream =
            connect(address, source).map_err(|cause| Failure::Unreachable { address, cause })?;
        self.opened += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry
            .register(&mut stream, Token(index), interest)
            .map_err(Failure::system("cannot watch a socket"))?;
        let mut properties = PropertyBuffer::new();
        if !clean_start && self.version == Version::V5 {
            properties.push(Property::SessionExpiryInterval(3_600));
        }
        let mut out = Vec::new();
        say(
            &mut out,
            self.version,
            &Packet::Connect(Connect {
                version: self.version,
                clean_start,
                // Longer than anything here takes; 0, which would be for ever, is refused by some.
                keep_alive_s: u16::MAX,
                client_id: name,
                will: None,
                username: self.username.as_deref(),
                password: self.password.as_deref(),
                properties: properties.as_properties(),
            }),
        );
        Ok(Link {
            stream,
            out,
            written: 0,
            partial: Vec::new(),
            dirty: true,
            closed: false,
            failure: None,
        })
    }

    /// Where to put bytes for the broker; they are written in the next turn.
    pub(super) fn out(&mut self, index: usize) -> &mut Vec<u8> {
        let link = &mut self.links[index];
        if !link.dirty {
            link.dirty = true;
            self.dirty.push(index);
        }
        &mut link.out
    }

    /// Bytes of a connection that the system has not taken.
    pub(super) fn unsent(&self, index: usize) -> usize {
        self.links[index].out.len() - self.links[index].written
    }

    /// Says something in the next turn.
    pub(super) fn say(&mut self, index: usize, packet: &Packet<'_>) {
        let version = self.version;
        say(self.out(index), version, packet);
    }

    /// Writes what there is to write, as far as the system takes it.
    pub(super) fn flush(&mut self) {
        for index in self.dirty.drain(..) {
            let link = &mut self.links[index];
            link.dirty = false;
            link.flush();
        }
    }

    /// Writes everything, waits for something, reads everything.
    pub(super) fn turn(
        &mut self,
        wait: Duration,
        mut heard: impl FnMut(usize, Heard<'_>),
    ) -> Result<(), Failure> {
        self.flush();
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other.map_err(Failure::system("cannot watch sockets"))?,
        }
        for event in &self.events {
            let index = event.token().0;
            let link = &mut self.links[index];
            if link.closed {
                continue;
            }
            if event.is_writable() {
                link.flush();
            }
            if event.is_readable() {
                let version = self.version;
                let hear = |heard_now: Heard<'_>| heard(index, heard_now);
                let ends = event.is_read_closed();
                link.read(version, &mut self.buffer, (self.start, ends), hear)?;
            }
            if let Some(cause) = link.failure.take() {
                let address = self.address;
                return Err(Failure::Unreachable { address, cause });
            }
            // Acknowledgements go out with whatever else there is to say.
            if link.written < link.out.len() && !link.dirty {
                link.dirty = true;
                self.dirty.push(index);
            }
        }
        Ok(())
    }
}

impl Link {
    /// Writes what the system takes; the rest follows when there is room.
    fn flush(&mut self) {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => break,
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_not_yet(&error) => return,
                // Reading tells that it is closed.
                Err(error) => {
                    self.note(error);
                    break;
                }
            }
        }
        self.out.clear();
        self.written = 0;
    }

    /// Keeps an error that only the attempt to connect can have. The system tells it once.
    fn note(&mut self, error: io::Error) {
        if matches!(
            error.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::TimedOut
        ) {
            self.failure = Some(error);
        }
    }

    /// Reads what is there; to the end, if the poll has said that the stream `ends`.
    fn read(
        &mut self,
        version: Version,
        buffer: &mut Vec<u8>,
        (start, ends): (Instant, bool),
        mut heard: impl FnMut(Heard<'_>),
    ) -> Result<(), Failure> {
        loop {
            let kept = self.partial.len();
            if buffer.len() < kept + BUFFER_BYTES / 2 {
                buffer.resize(kept + BUFFER_BYTES, 0);
            }
            buffer[..kept].copy_from_slice(&self.partial);
            let room = buffer.len() - kept;
            let count = match self.stream.read(&mut buffer[kept..]) {
                Ok(count) if count > 0 => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if is_not_yet(&error) => return Ok(()),
                end => {
                    self.closed = true;
                    end.map_or_else(|error| self.note(error), |_| ());
                    heard(Heard::Closed);
                    return Ok(());
                }
            };
            let bytes = &buffer[..kept + count];
            let at_ns = nanoseconds(start);
            let handled = handle(version, bytes, at_ns, &mut self.out, &mut heard)?;
            self.partial.clear();
            self.partial.extend_from_slice(&bytes[handled..]);
            // A short read has taken everything; more makes the poll return again. An end that came
            // together with the bytes does not.
            if count < room && !ends {
                return Ok(());
            }
        }
    }
}

/// Takes packets off the front of `bytes`, and answers as a client has to. How many bytes that
/// were.
fn handle(
    version: Version,
    bytes: &[u8],
    at_ns: u64,
    out: &mut Vec<u8>,
    heard: &mut impl FnMut(Heard<'_>),
) -> Result<usize, Failure> {
    let gibberish = |error| Failure::Gibberish(format!("{error}"));
    let mut handled = 0;
    while let Some((frame, length)) =
        frame::split(&bytes[handled..], u32::MAX).map_err(gibberish)?
    {
        handled += length;
        if frame::is_publish(frame.first_byte) {
            let publish = codec::decode_publish(version, frame).map_err(gibberish)?;
            let payload = publish.payload;
            heard(Heard::Message { payload, at_ns });
            if let Some(id) = publish.packet_id {
                let ack = Ack::new(id, ReasonCode::SUCCESS);
                let answer = match publish.qos {
                    QoS::ExactlyOnce => Packet::PubRec(ack),
                    QoS::AtMostOnce | QoS::AtLeastOnce => Packet::PubAck(ack),
                };
                say(out, version, &answer);
            }
            continue;
        }
        let ack = |id| Ack::new(id, ReasonCode::SUCCESS);
        match codec::decode(version, frame).map_err(gibberish)? {
            Packet::ConnAck(answer) if answer.reason.is_error() => {
                return Err(Failure::Refused(answer.reason.to_string()));
            }
            Packet::ConnAck(_) => heard(Heard::Accepted),
            Packet::SubAck(answer) => {
                let refused = |reason: &&u8| ReasonCode(**reason).is_error();
                let refused = answer.reasons.iter().filter(refused).count();
                heard(Heard::Subscribed { refused });
            }
            Packet::PubRec(answer) if answer.reason.is_error() => heard(Heard::Acknowledged),
            Packet::PubRec(answer) => say(out, version, &Packet::PubRel(ack(answer.packet_id))),
            Packet::PubRel(answer) => say(out, version, &Packet::PubComp(ack(answer.packet_id))),
            Packet::PubAck(_) | Packet::PubComp(_) => heard(Heard::Acknowledged),
            Packet::PingResp => heard(Heard::Pong),
            Packet::Disconnect(goodbye) => return Err(Failure::Ended(goodbye.reason)),
            other => return Err(Failure::Gibberish(format!("{other:?}"))),
        }
    }
    Ok(handled)
}

fn say(out: &mut Vec<u8>, version: Version, packet: &Packet<'_>) {
    codec::encode(packet, version, out).expect("the tool builds packets that exist");
}

/// The properties of a packet that needs none.
pub(super) const NO_PROPERTIES: Properties<'static> = Properties::EMPTY;

fn is_not_yet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::NotConnected
    )
}

fn nanoseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Begins to connect. On loopback, connections come from several addresses, so that ports suffice.
fn connect(address: SocketAddr, source: usize) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) && source > 0 {
        let place = (source % 250) as u8;
        let from = SocketAddr::from((Ipv4Addr::new(127, 0, place, 2), 0));
        socket.bind(&SockAddr::from(from))?;
    }
    match socket.connect(&SockAddr::from(address)) {
        Ok(()) => {}
        Err(error) if is_under_way(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

fn is_under_way(error: &io::Error) -> bool {
    const EINPROGRESS: i32 = if cfg!(target_os = "linux") { 115 } else { 36 };
    error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(EINPROGRESS)
}
