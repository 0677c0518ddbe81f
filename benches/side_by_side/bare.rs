//! The limit: takes what is published and hands it on to who subscribed to it, with one write a
//! connection and turn, and does nothing else. No sessions, no checks, no order of
//! acknowledgements, no bounds.
//!
//! It tells what part of a broker's cost is the machine's: sockets, wake-ups, copies.

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use whimbrel_benches::sockets::accepted;
use whimbrel_core::codec::frame;
use whimbrel_core::topic::{TopicFilter, TopicName};

const LISTENER: Token = Token(usize::MAX);
const READ_BYTES: usize = 64 << 10;

/// Serves until it is killed.
pub(crate) fn serve(port: u16) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1_024);
    let mut buffer = vec![0; READ_BYTES];
    let mut bare = Bare::default();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            match event.token() {
                LISTENER => bare.accept(&listener, &poll)?,
                Token(index) => {
                    // Whoever does not take everything at once is written to when it can be.
                    bare.touch(index);
                    if event.is_readable() {
                        bare.read(index, &mut buffer);
                    }
                }
            }
        }
        bare.write();
    }
}

/// A connection.
struct Client {
    stream: TcpStream,
    /// Half a packet that came.
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// Is among the dirty.
    is_dirty: bool,
    last_id: u16,
    /// The topic that it published to last, and who gets that.
    route: (Vec<u8>, Rc<[usize]>),
}

#[derive(Default)]
struct Bare {
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    subscriptions: Vec<(String, usize)>,
    /// With something to be written, perhaps.
    dirty: Vec<usize>,
    /// The same while they are written to.
    writing: Vec<usize>,
}

impl Bare {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> io::Result<()> {
        while let Some(mut stream) = accepted(listener)? {
            let index = self.free.pop().unwrap_or(self.clients.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(&mut stream, Token(index), interest)?;
            self.clients
                .resize_with(self.clients.len().max(index + 1), || None);
            self.clients[index] = Some(Client {
                stream,
                inbox: Vec::new(),
                outbox: Vec::new(),
                is_dirty: false,
                last_id: 0,
                route: (Vec::new(), Rc::new([])),
            });
        }
        Ok(())
    }

    /// It is to be written to in this turn.
    fn touch(&mut self, index: usize) {
        if let Some(client) = self.clients.get_mut(index).and_then(Option::as_mut)
            && !core::mem::replace(&mut client.is_dirty, true)
        {
            self.dirty.push(index);
        }
    }

    /// Everybody has to look anew who gets what.
    fn forget_routes(&mut self) {
        for client in self.clients.iter_mut().flatten() {
            client.route.0.clear();
        }
    }

    fn read(&mut self, index: usize, buffer: &mut [u8]) {
        while let Some(client) = self.clients.get_mut(index).and_then(Option::as_mut) {
            let count = match client.stream.read(buffer) {
                Ok(count) if count > 0 => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => return self.close(index),
            };
            let mut inbox = core::mem::take(&mut client.inbox);
            let used = if inbox.is_empty() {
                let used = self.take(index, &buffer[..count]);
                inbox.extend_from_slice(&buffer[used..count]);
                0
            } else {
                inbox.extend_from_slice(&buffer[..count]);
                self.take(index, &inbox)
            };
            inbox.drain(..used);
            if let Some(client) = &mut self.clients[index] {
                client.inbox = inbox;
            }
            if count < buffer.len() {
                return;
            }
        }
    }

    fn close(&mut self, index: usize) {
        if self.clients[index].take().is_some() {
            self.free.push(index);
            let before = self.subscriptions.len();
            self.subscriptions.retain(|(_, client)| *client != index);
            if self.subscriptions.len() < before {
                self.forget_routes();
            }
        }
    }

    /// Handles whole packets, and says how many bytes they were.
    fn take(&mut self, index: usize, bytes: &[u8]) -> usize {
        let mut used = 0;
        while let Ok(Some((packet, length))) = frame::split(&bytes[used..], u32::MAX) {
            let whole = &bytes[used..used + length];
            let (body, id) = (packet.body, packet.body.get(..2).unwrap_or_default());
            match packet.first_byte >> 4 {
                1 => self.answer(index, 0x20, &[0, 0]),
                3 => self.forward(index, whole, body),
                // PUBREC, PUBREL.
                5 => self.answer(index, 0x62, id),
                6 => self.answer(index, 0x70, id),
                8 => self.subscribe(index, body),
                12 => self.answer(index, 0xD0, &[]),
                14 => {
                    self.close(index);
                    return bytes.len();
                }
                _ => {}
            }
            used += length;
        }
        used
    }

    /// Puts down a packet that is short.
    fn answer(&mut self, index: usize, first_byte: u8, body: &[u8]) {
        if let Some(client) = &mut self.clients[index] {
            client.outbox.extend([first_byte, body.len() as u8]);
            client.outbox.extend_from_slice(body);
        }
    }

    fn subscribe(&mut self, index: usize, body: &[u8]) {
        let (id, mut rest) = body.split_at(2);
        let mut answer = id.to_vec();
        while let [high, low, more @ ..] = rest {
            let (filter, more) = more.split_at(usize::from(u16::from_be_bytes([*high, *low])));
            answer.push(more[0]);
            let filter = String::from_utf8_lossy(filter).into_owned();
            self.subscriptions.push((filter, index));
            rest = &more[1..];
        }
        self.forget_routes();
        self.answer(index, 0x90, &answer);
    }

    fn forward(&mut self, index: usize, whole: &[u8], body: &[u8]) {
        let qos = whole[0] >> 1 & 3;
        let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = &body[2..topic_end];
        let id_at = whole.len() - body.len() + topic_end;
        if qos > 0 {
            let first_byte = if qos == 1 { 0x40 } else { 0x50 };
            self.answer(index, first_byte, &whole[id_at..id_at + 2]);
        }
        for target in &*self.route(index, topic) {
            self.touch(*target);
            let Some(client) = &mut self.clients[*target] else {
                continue;
            };
            let start = client.outbox.len();
            client.outbox.extend_from_slice(whole);
            if qos > 0 {
                client.last_id = client.last_id.checked_add(1).unwrap_or(1);
                let id = client.last_id.to_be_bytes();
                client.outbox[start + id_at..start + id_at + 2].copy_from_slice(&id);
            }
        }
    }

    fn route(&mut self, index: usize, topic: &[u8]) -> Rc<[usize]> {
        if let Some(client) = &self.clients[index]
            && client.route.0 == topic
        {
            return Rc::clone(&client.route.1);
        }
        let name = core::str::from_utf8(topic).ok();
        let name = name.and_then(|name| TopicName::new(name).ok());
        let wanted = |filter: &str| {
            let filter = TopicFilter::plain(filter);
            filter.is_ok_and(|filter| name.is_some_and(|name| filter.matches(name)))
        };
        let found = self.subscriptions.iter();
        let found = found.filter(|(filter, _)| wanted(filter));
        let targets: Rc<[usize]> = found.map(|(_, client)| *client).collect();
        if let Some(client) = &mut self.clients[index] {
            client.route = (topic.to_vec(), Rc::clone(&targets));
        }
        targets
    }

    /// Writes what there is, once for each.
    fn write(&mut self) {
        core::mem::swap(&mut self.dirty, &mut self.writing);
        for place in 0..self.writing.len() {
            let index = self.writing[place];
            let Some(client) = &mut self.clients[index] else {
                continue;
            };
            client.is_dirty = false;
            if client.outbox.is_empty() {
                continue;
            }
            match client.stream.write(&client.outbox) {
                Ok(count) => drop(client.outbox.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.close(index),
            }
        }
        self.writing.clear();
    }
}
