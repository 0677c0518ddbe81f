//! The thread behind a connection. The order is that of the loop in the core's contract: bytes and
//! requests in, events out, then what is to be written, the timer last.

use super::{Accepted, Ended, Event, Message, OpenError};
use crate::clock::Clock;
use crate::socket::watch_new;
use async_channel::{Receiver, Sender};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use polling::{Events, PollMode, Poller};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use whimbrel_core::Timestamp;
use whimbrel_core::client::{
    Client, ClientEvent, Config, DisconnectRequest, End, Misuse, PublishRequest, SubscribeRequest,
    UnsubscribeRequest,
};
use whimbrel_core::codec::packet::{Publish, SubscribeOptions};
use whimbrel_core::codec::{Properties, Property, PropertyBuffer, ReasonCode};
use whimbrel_core::id::PacketId;

/// What one read takes.
const READ_BYTES: usize = 16 * 1_024;
/// Requests that are taken before what they make is written.
const REQUESTS_AT_ONCE: usize = 64;
/// How long the server may take for the last bytes.
const LINGER: Duration = Duration::from_secs(5);

/// The reasons the server gives, one for a message and one a filter; empty when it is not asked for
/// any.
pub(super) type Answer = Result<Vec<ReasonCode>, Misuse>;

#[derive(Debug)]
pub(super) enum Request {
    Publish(Message),
    Subscribe(Vec<(String, SubscribeOptions)>, PropertyBuffer),
    Unsubscribe(Vec<String>),
    Acknowledge(PacketId),
    Disconnect,
}

/// A request, and whom to tell the answer.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) request: Request,
    pub(super) answer: Sender<Answer>,
}

/// Whom to tell whether the server has accepted.
pub(super) type Opened = Sender<Result<Accepted, OpenError>>;

#[derive(Debug)]
pub(super) struct Task {
    client: Client,
    clock: Clock,
    poller: Arc<Poller>,
    commands: Receiver<Command>,
    /// There was no room for it; those after it wait.
    parked: Option<Command>,
    events: Sender<Event>,
    /// Says that room for events is waited for.
    waits: Arc<AtomicBool>,
    answers: BTreeMap<PacketId, Sender<Answer>>,
    /// What broke the transport.
    broken: Option<io::Error>,
    unwritten: Vec<u8>,
    written: usize,
}

impl Task {
    /// Connects; the server has not been asked yet.
    pub(super) fn open(
        address: &str,
        config: Config,
        poller: Arc<Poller>,
        commands: Receiver<Command>,
        events: Sender<Event>,
        waits: Arc<AtomicBool>,
    ) -> Result<(Self, TcpStream), OpenError> {
        let patience = Duration::from_millis(config.response_timeout_ms.max(1));
        let clock = Clock::start();
        let mut client = Client::new(config, clock.now().monotonic)?;
        let stream = connect(address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        watch_new(&poller, &stream, polling::Event::none(0))?;
        client.connected(clock.now().monotonic);
        let task = Self {
            client,
            clock,
            poller,
            commands,
            parked: None,
            events,
            waits,
            answers: BTreeMap::new(),
            broken: None,
            unwritten: Vec::new(),
            written: 0,
        };
        Ok((task, stream))
    }

    fn now(&self) -> Timestamp {
        self.clock.now().monotonic
    }

    /// Runs until the connection ends, or nobody wants it any more.
    pub(super) fn run(mut self, mut stream: TcpStream, opened: Opened) {
        let mut arrived = vec![0; READ_BYTES];
        let mut ready = Events::new();
        let mut opened = Some(opened);
        loop {
            if let Some(ended) = self.report(&mut opened) {
                self.finish(stream);
                match opened.take() {
                    Some(opened) => drop(opened.try_send(Err(ended.into()))),
                    None => drop(self.events.send_blocking(Event::Ended(ended))),
                }
                return;
            }
            self.take_commands();
            self.write(&mut stream);
            if self.commands.is_closed() || self.events.is_closed() {
                return;
            }
            let has_room = self.has_room();
            let is_open = self.broken.is_none();
            let interest = polling::Event::new(
                0,
                is_open && has_room && !self.client.is_paused(),
                is_open && self.written < self.unwritten.len(),
            );
            let watched = self
                .poller
                .modify_with_mode(&stream, interest, PollMode::Level);
            ready.clear();
            let now = self.now();
            // What is left over, and what can be reported, is not slept on.
            let patience = match (is_open, self.client.next_deadline()) {
                (false, _) if has_room => Some(Duration::ZERO),
                (_, deadline) => deadline.map(|at| at.duration_from(now)),
            };
            let waited = watched.and_then(|()| self.poller.wait(&mut ready, patience));
            match waited {
                Err(error) if error.kind() != ErrorKind::Interrupted => self.lose(error),
                Ok(_) | Err(_) => {}
            }
            self.client.advance(self.now());
            if ready.iter().any(|event| event.readable) {
                match stream.read(&mut arrived) {
                    Ok(0) => self.lose(ErrorKind::UnexpectedEof.into()),
                    Ok(len) => self.client.receive(self.now(), &arrived[..len]),
                    Err(error) if is_for_later(&error) => {}
                    Err(error) => self.lose(error),
                }
            }
        }
    }

    /// Writes as much as the transport takes.
    fn write(&mut self, stream: &mut TcpStream) {
        while self.broken.is_none() {
            if self.written == self.unwritten.len() {
                self.written = 0;
                self.unwritten.clear();
                self.client.transmit(&mut self.unwritten);
            }
            if self.unwritten.is_empty() {
                return;
            }
            match stream.write(&self.unwritten[self.written..]) {
                Ok(len) => self.written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.lose(error),
            }
        }
    }

    /// Whether an event can be handed out; if not, it is said when there is room.
    fn has_room(&self) -> bool {
        if self.events.is_full() {
            self.waits.store(true, Ordering::Release);
        }
        !self.events.is_full()
    }

    fn lose(&mut self, error: io::Error) {
        self.broken = Some(error);
        self.client.transport_closed(self.now());
    }

    /// Writes what is left, if there is still anything to write to.
    fn finish(&mut self, mut stream: TcpStream) {
        let _ = self.poller.delete(&stream);
        if self.broken.is_none() {
            self.client.transmit(&mut self.unwritten);
            // Whoever does not take it in time does not get it.
            let _ = stream.set_nonblocking(false);
            let _ = stream.set_write_timeout(Some(LINGER));
            let _ = stream.write_all(&self.unwritten[self.written..]);
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    /// Hands out what has happened, as far as there is room. Gives the end when it comes.
    fn report(&mut self, opened: &mut Option<Opened>) -> Option<Ended> {
        while self.has_room() {
            match self.client.poll_event()? {
                ClientEvent::Message(message) => {
                    // There is room; should nobody listen, the task ends soon.
                    let _ = self.events.try_send(owned(&message));
                }
                ClientEvent::Acknowledged(ack) => {
                    if let Some(answer) = self.answers.remove(&ack.packet_id) {
                        let _ = answer.try_send(Ok(vec![ack.reason]));
                    }
                }
                ClientEvent::Subscribed(ack) | ClientEvent::Unsubscribed(ack) => {
                    if let Some(answer) = self.answers.remove(&ack.packet_id) {
                        let reasons = ack.reasons.iter().copied().map(ReasonCode);
                        let _ = answer.try_send(Ok(reasons.collect()));
                    }
                }
                ClientEvent::Abandoned(packet_id) => drop(self.answers.remove(&packet_id)),
                ClientEvent::Connected(connack) => {
                    let mut properties = PropertyBuffer::new();
                    properties.extend(connack.properties);
                    let accepted = Accepted {
                        session_present: connack.session_present,
                        properties,
                    };
                    if let Some(opened) = opened.take() {
                        drop(opened.try_send(Ok(accepted)));
                    }
                }
                ClientEvent::Refused(connack) => {
                    return Some(Ended::Refused(connack.reason, text(connack.properties)));
                }
                ClientEvent::Disconnected(End::Server(goodbye)) => {
                    return Some(Ended::Server(goodbye.reason, text(goodbye.properties)));
                }
                ClientEvent::Disconnected(End::Local) => return Some(Ended::Local),
                ClientEvent::Disconnected(End::Fault(fault)) => return Some(Ended::Fault(fault)),
                ClientEvent::Disconnected(End::Timeout) => return Some(Ended::Timeout),
                ClientEvent::Disconnected(End::Transport) => {
                    let broken = self.broken.take();
                    let error = broken.unwrap_or_else(|| ErrorKind::UnexpectedEof.into());
                    self.broken = Some(error.kind().into());
                    return Some(Ended::Transport(error));
                }
                ClientEvent::Authentication(_) => {}
            }
        }
        None
    }

    /// Takes what was parked, and some of those behind it.
    fn take_commands(&mut self) {
        for _ in 0..REQUESTS_AT_ONCE {
            let Some(command) = self.parked.take().or_else(|| self.commands.try_recv().ok()) else {
                return;
            };
            match self.ask(&command.request) {
                // Room will come: with an acknowledgement, or when bytes were written.
                Err(Misuse::WindowFull | Misuse::BufferFull) => {
                    self.parked = Some(command);
                    return;
                }
                Err(misuse) => drop(command.answer.try_send(Err(misuse))),
                Ok(Some(packet_id)) => drop(self.answers.insert(packet_id, command.answer)),
                Ok(None) => drop(command.answer.try_send(Ok(Vec::new()))),
            }
        }
        // There may be more.
        let _ = self.poller.notify();
    }

    fn ask(&mut self, request: &Request) -> Result<Option<PacketId>, Misuse> {
        let now = self.now();
        match request {
            Request::Publish(message) => {
                let request = PublishRequest {
                    topic: &message.topic,
                    payload: &message.payload,
                    qos: message.qos,
                    retain: message.retain,
                    properties: message.properties.as_properties(),
                };
                self.client.publish(now, &request)
            }
            Request::Subscribe(filters, properties) => {
                let filters: Vec<_> = filters
                    .iter()
                    .map(|(filter, options)| (filter.as_str(), *options))
                    .collect();
                let request = SubscribeRequest {
                    filters: &filters,
                    properties: properties.as_properties(),
                };
                self.client.subscribe(now, &request).map(Some)
            }
            Request::Unsubscribe(filters) => {
                let filters: Vec<_> = filters.iter().map(String::as_str).collect();
                let request = UnsubscribeRequest {
                    filters: &filters,
                    ..UnsubscribeRequest::default()
                };
                self.client.unsubscribe(now, &request).map(Some)
            }
            Request::Acknowledge(packet_id) => {
                let taken = self
                    .client
                    .acknowledge(now, *packet_id, ReasonCode::SUCCESS);
                taken.map(|()| None)
            }
            Request::Disconnect => {
                let request = DisconnectRequest::default();
                self.client.disconnect(now, &request).map(|()| None)
            }
        }
    }
}

/// Tries every address that the name stands for.
fn connect(address: &str, patience: Duration) -> io::Result<TcpStream> {
    let mut problem = io::Error::new(ErrorKind::NotFound, "the name stands for no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => return Ok(stream),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn owned(message: &Publish<'_>) -> Event {
    let mut properties = PropertyBuffer::new();
    // An alias has been resolved, and means nothing beyond its connection.
    let lasting = |property: &Property<'_>| !matches!(property, Property::TopicAlias(_));
    for property in message.properties.iter().filter(lasting) {
        properties.push(property);
    }
    Event::Message {
        message: Message {
            topic: message.topic.to_owned(),
            payload: message.payload.to_vec(),
            qos: message.qos,
            retain: message.retain,
            properties,
        },
        packet_id: message.packet_id,
    }
}

fn text(properties: Properties<'_>) -> Option<String> {
    properties.reason_string().map(str::to_owned)
}
