//! The task behind a connection. The order is that of the loop in the core's contract: bytes and
//! requests in, events out, then what is to be written, the timer last.

use super::{Accepted, Ended, Event, Message};
use crate::clock::Clock;
use crate::transport::Transport;
use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, sleep_until, timeout};
use whimbrel_core::Timestamp;
use whimbrel_core::client::{
    Client, ClientEvent, DisconnectRequest, End, Misuse, PublishRequest, SubscribeRequest,
    UnsubscribeRequest,
};
use whimbrel_core::codec::packet::{Publish, SubscribeOptions};
use whimbrel_core::codec::{Properties, Property, PropertyBuffer, ReasonCode};
use whimbrel_core::id::PacketId;

/// What one read takes.
const READ_BYTES: usize = 64 * 1_024;
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
    pub(super) answer: oneshot::Sender<Answer>,
}

#[derive(Debug)]
pub(super) struct Task {
    client: Client,
    clock: Clock,
    commands: mpsc::Receiver<Command>,
    /// There was no room for it; those after it wait.
    parked: Option<Command>,
    events: mpsc::Sender<Event>,
    /// Until the server has accepted.
    accepted: Option<oneshot::Sender<Accepted>>,
    answers: BTreeMap<PacketId, oneshot::Sender<Answer>>,
    /// What broke the transport.
    broken: Option<io::Error>,
}

impl Task {
    pub(super) fn new(
        client: Client,
        clock: Clock,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
        accepted: oneshot::Sender<Accepted>,
    ) -> Self {
        Self {
            client,
            clock,
            commands,
            parked: None,
            events,
            accepted: Some(accepted),
            answers: BTreeMap::new(),
            broken: None,
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now().monotonic
    }

    pub(super) async fn run(
        mut self,
        mut reader: ReadHalf<Transport>,
        mut writer: WriteHalf<Transport>,
    ) {
        let mut arrived = vec![0; READ_BYTES];
        let mut unwritten = Vec::new();
        let mut written = 0;
        // The transport has taken everything, and may not have passed it on.
        let mut unflushed = false;
        loop {
            if let Some(ended) = self.report() {
                let last = self.finish(&mut unwritten, written, &mut writer);
                let _ = timeout(LINGER, last).await;
                let _ = self.events.send(Event::Ended(ended)).await;
                return;
            }
            self.take_parked();
            if written == unwritten.len() {
                written = 0;
                unwritten.clear();
                self.client.transmit(&mut unwritten);
            }
            let reads = self.broken.is_none() && !self.client.is_paused() && self.has_room();
            let deadline = self.client.next_deadline();
            let deadline = deadline.map(|at| self.clock.instant(at));
            tokio::select! {
                read = reader.read(&mut arrived), if reads => match read {
                    Ok(0) => self.lose(io::ErrorKind::UnexpectedEof.into()),
                    Ok(len) => self.client.receive(self.now(), &arrived[..len]),
                    Err(error) => self.lose(error),
                },
                wrote = push(&mut writer, &unwritten[written..]),
                    if (written < unwritten.len() || unflushed) && self.broken.is_none() => {
                    match wrote {
                        Ok(len) => {
                            written += len;
                            unflushed = len > 0;
                        }
                        Err(error) => self.lose(error),
                    }
                }
                command = self.commands.recv(), if self.parked.is_none() => match command {
                    Some(command) => self.take_all(command),
                    None => return,
                },
                () = room_in(&self.events), if !self.has_room() => {}
                () = self.events.closed() => return,
                () = sleep(deadline) => self.client.advance(self.now()),
            }
        }
    }

    /// Whether an event can be handed out.
    fn has_room(&self) -> bool {
        self.events.capacity() > 0
    }

    fn lose(&mut self, error: io::Error) {
        self.broken = Some(error);
        self.client.transport_closed(self.now());
    }

    /// Writes what is left, if there is still anything to write to.
    async fn finish(
        &mut self,
        unwritten: &mut Vec<u8>,
        written: usize,
        writer: &mut WriteHalf<Transport>,
    ) {
        if self.broken.is_none() {
            self.client.transmit(unwritten);
            let _ = writer.write_all(&unwritten[written..]).await;
            let _ = writer.shutdown().await;
        }
    }

    /// Hands out what has happened, as far as there is room. Gives the end when it comes.
    fn report(&mut self) -> Option<Ended> {
        while self.events.capacity() > 0 {
            match self.client.poll_event()? {
                ClientEvent::Message(message) => {
                    // There is room; should nobody listen, the task ends soon.
                    let _ = self.events.try_send(owned(&message));
                }
                ClientEvent::Acknowledged(ack) => {
                    if let Some(answer) = self.answers.remove(&ack.packet_id) {
                        let _ = answer.send(Ok(vec![ack.reason]));
                    }
                }
                ClientEvent::Subscribed(ack) | ClientEvent::Unsubscribed(ack) => {
                    if let Some(answer) = self.answers.remove(&ack.packet_id) {
                        let reasons = ack.reasons.iter().copied().map(ReasonCode);
                        let _ = answer.send(Ok(reasons.collect()));
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
                    self.accepted.take().map(|sender| sender.send(accepted));
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
                    let error = broken.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                    self.broken = Some(error.kind().into());
                    return Some(Ended::Transport(error));
                }
                ClientEvent::Authentication(_) => {}
            }
        }
        None
    }

    fn take_parked(&mut self) {
        if let Some(command) = self.parked.take() {
            self.take_all(command);
        }
    }

    /// Takes a command and some of those behind it.
    fn take_all(&mut self, first: Command) {
        self.take(first);
        for _ in 1..REQUESTS_AT_ONCE {
            if self.parked.is_some() {
                return;
            }
            let Ok(command) = self.commands.try_recv() else {
                return;
            };
            self.take(command);
        }
    }

    fn take(&mut self, command: Command) {
        match self.ask(&command.request) {
            // Room will come: with an acknowledgement, or when bytes were written.
            Err(Misuse::WindowFull | Misuse::BufferFull) => self.parked = Some(command),
            Err(misuse) => drop(command.answer.send(Err(misuse))),
            Ok(Some(packet_id)) => drop(self.answers.insert(packet_id, command.answer)),
            Ok(None) => drop(command.answer.send(Ok(Vec::new()))),
        }
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

/// Writes some of it, or passes on what was written when there is no more; how much.
async fn push(writer: &mut WriteHalf<Transport>, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        writer.flush().await?;
        return Ok(0);
    }
    writer.write(bytes).await
}

/// Waits until there is room for an event.
async fn room_in(events: &mpsc::Sender<Event>) {
    if events.reserve().await.is_err() {
        pending().await // Nobody listens, which is noticed elsewhere.
    }
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until.into()).await,
        None => pending().await,
    }
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
