//! Clients inside this program: what [`Handle::publish`](crate::Handle::publish) and
//! [`Handle::subscribe`](crate::Handle::subscribe) stand on.
//!
//! Each is the core's [`Client`] over an in-memory connection, driven by a task on the shard's
//! runtime. To the broker it is a client like any other, so it has MQTT's meaning to the letter,
//! quotas and slow consumers included, and the broker has no special case for it. Everything on the
//! way is bounded.

use crate::clock::Clock;
use std::collections::HashMap;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;
use whimbrel_core::client::{
    Client, ClientEvent, Config, DisconnectRequest, PublishRequest, SubscribeRequest,
};
use whimbrel_core::codec::packet::{QoS, SubscribeOptions};
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::id::PacketId;
use whimbrel_core::runtime::{LinkError, Message};
use whimbrel_core::{Timestamp, codec::packet};

/// Requests and messages that wait between a link and its user, at most.
const WAITING_MAXIMUM: usize = 64;

/// Bytes that wait to be written before no more requests are taken.
const UNSENT_BYTES_MAXIMUM: usize = 64 << 10;

/// Messages that match a filter, as they come. Dropping it ends the subscription.
///
/// A subscriber that does not take its messages is a slow consumer to the broker, with all that the
/// configuration says about those.
pub struct Subscription {
    messages: mpsc::Receiver<Message>,
    /// The link ends when this is dropped.
    _requests: mpsc::Sender<Request>,
}

impl Subscription {
    pub(crate) const fn new(
        requests: mpsc::Sender<Request>,
        messages: mpsc::Receiver<Message>,
    ) -> Self {
        Self {
            messages,
            _requests: requests,
        }
    }

    /// The next message; `None` when the broker has stopped or has ended the subscription. Nothing
    /// is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Message> {
        self.messages.recv().await
    }
}

/// How a request went.
pub(crate) type Answer = oneshot::Sender<Result<(), LinkError>>;

/// What a link is asked to do.
pub(crate) enum Request {
    Publish(Message, Answer),
    Subscribe(String, QoS, Answer),
}

/// Asks, and waits for the answer.
pub(crate) async fn ask(
    link: &mpsc::Sender<Request>,
    request: impl FnOnce(Answer) -> Request,
) -> Result<(), LinkError> {
    let (answer, answered) = oneshot::channel();
    let sent = link.send(request(answer)).await;
    sent.map_err(|_| LinkError::Stopped)?;
    answered.await.map_err(|_| LinkError::Stopped)?
}

/// A link that has not begun to run.
pub(crate) struct Link {
    client: Client,
    clock: Clock,
    reader: ReadHalf<DuplexStream>,
    writer: WriteHalf<DuplexStream>,
    out: Vec<u8>,
    written: usize,
    requests: mpsc::Receiver<Request>,
    messages: mpsc::Sender<Message>,
    /// Has arrived, and waits for its user to have room.
    arrived: Option<Message>,
    unanswered: HashMap<PacketId, Answer>,
    /// Nobody will ask for anything any more.
    is_leaving: bool,
    /// There is no connection any more, or the last bytes are on their way.
    has_ended: bool,
}

impl Link {
    /// A link over this stream, where to send requests to, and where its messages come out.
    pub(crate) fn new(
        stream: DuplexStream,
        clock: Clock,
    ) -> Result<(Self, mpsc::Sender<Request>, mpsc::Receiver<Message>), LinkError> {
        let (request_sender, requests) = mpsc::channel(WAITING_MAXIMUM);
        let (messages, message_receiver) = mpsc::channel(WAITING_MAXIMUM);
        let (reader, writer) = split(stream);
        // A connection in memory does not fail silently, so nobody needs to ask for a sign of life.
        let config = Config {
            keep_alive_s: 0,
            ..Config::default()
        };
        let now = clock.now().monotonic;
        let mut client = Client::new(config, now)?;
        client.connected(now);
        let link = Self {
            client,
            clock,
            reader,
            writer,
            out: Vec::new(),
            written: 0,
            requests,
            messages,
            arrived: None,
            unanswered: HashMap::new(),
            is_leaving: false,
            has_ended: false,
        };
        Ok((link, request_sender, message_receiver))
    }

    /// Runs until either side ends it.
    pub(crate) async fn run(mut self) {
        let mut buffer = vec![0; 16 << 10];
        loop {
            self.take_events();
            if self.written == self.out.len() {
                self.out.clear();
                self.written = 0;
                self.client.transmit(&mut self.out);
            }
            if self.has_ended && self.out.is_empty() && self.arrived.is_none() {
                return;
            }
            let deadline = self.client.next_deadline();
            let wake_at = self.clock.instant(deadline.unwrap_or(Timestamp::MAX));
            let unwritten = &self.out[self.written..];
            let (may_read, may_ask) = (self.may_read(), self.may_ask());
            tokio::select! {
                count = self.writer.write(unwritten), if !unwritten.is_empty() => match count {
                    Ok(count) => self.written += count,
                    // The broker is gone, and with it who these bytes were for.
                    Err(_) => return,
                },
                () = has_room(&self.messages), if self.arrived.is_some() => self.hand_over(),
                count = self.reader.read(&mut buffer), if may_read => {
                    self.received(count, &buffer);
                }
                request = self.requests.recv(), if may_ask => self.handle(request),
                () = sleep_until(wake_at.into()), if deadline.is_some() => {
                    self.client.advance(self.clock.now().monotonic);
                }
                else => return,
            }
        }
    }

    /// Whether there is room for what a request would bring.
    fn may_ask(&self) -> bool {
        self.client.is_connected()
            && !self.is_leaving
            && !self.has_ended
            && self.client.window() > 0
            && self.client.unsent_bytes() < UNSENT_BYTES_MAXIMUM
    }

    const fn may_read(&self) -> bool {
        self.arrived.is_none() && !self.has_ended && !self.client.is_paused()
    }

    fn received(&mut self, count: io::Result<usize>, buffer: &[u8]) {
        let now = self.clock.now().monotonic;
        match count {
            Ok(0) | Err(_) => self.client.transport_closed(now),
            Ok(count) => self.client.receive(now, &buffer[..count]),
        }
    }

    /// Gives a message that has arrived to its user, if there is room.
    fn hand_over(&mut self) {
        if let Some(message) = self.arrived.take()
            && let Err(TrySendError::Full(message)) = self.messages.try_send(message)
        {
            self.arrived = Some(message);
        }
    }

    fn handle(&mut self, request: Option<Request>) {
        let now = self.clock.now().monotonic;
        let (taken, answer) = match request {
            Some(Request::Publish(message, answer)) => {
                let request = PublishRequest {
                    topic: &message.topic,
                    payload: &message.payload,
                    qos: message.qos,
                    retain: message.retain,
                    ..PublishRequest::default()
                };
                (self.client.publish(now, &request), answer)
            }
            Some(Request::Subscribe(filter, qos, answer)) => {
                let options = SubscribeOptions {
                    maximum_qos: qos,
                    ..SubscribeOptions::default()
                };
                let request = SubscribeRequest {
                    filters: &[(&filter, options)],
                    ..SubscribeRequest::default()
                };
                (self.client.subscribe(now, &request).map(Some), answer)
            }
            None => {
                self.is_leaving = true;
                // Without a connection there is nobody to part from.
                let _ = self.client.disconnect(now, &DisconnectRequest::default());
                return;
            }
        };
        match taken {
            Ok(Some(id)) => drop(self.unanswered.insert(id, answer)),
            Ok(None) => drop(answer.send(Ok(()))),
            Err(misuse) => drop(answer.send(Err(misuse.into()))),
        }
    }

    /// Hands out what has happened, until a message has to wait.
    fn take_events(&mut self) {
        while self.arrived.is_none() {
            let Some(event) = self.client.poll_event() else {
                break;
            };
            let (id, reason) = match event {
                ClientEvent::Connected(_)
                | ClientEvent::Unsubscribed(_)
                | ClientEvent::Authentication(_) => continue,
                ClientEvent::Refused(_) | ClientEvent::Disconnected(_) => {
                    self.has_ended = true;
                    continue;
                }
                ClientEvent::Message(publish) => {
                    self.arrived = Some(owned(&publish));
                    self.hand_over();
                    continue;
                }
                ClientEvent::Acknowledged(ack) => (ack.packet_id, ack.reason),
                ClientEvent::Subscribed(suback) => {
                    let reason = suback.reasons.first().copied().map(ReasonCode);
                    (suback.packet_id, reason.unwrap_or(ReasonCode::UNSPECIFIED))
                }
                ClientEvent::Abandoned(id) => (id, ReasonCode::UNSPECIFIED),
            };
            if let Some(answer) = self.unanswered.remove(&id) {
                let result = if reason.is_error() {
                    Err(LinkError::Refused(reason))
                } else {
                    Ok(())
                };
                // Whoever asked may have gone.
                let _ = answer.send(result);
            }
        }
    }
}

/// Waits until a message can be handed over, or nobody wants one any more.
async fn has_room(messages: &mpsc::Sender<Message>) {
    drop(messages.reserve().await);
}

fn owned(publish: &packet::Publish<'_>) -> Message {
    Message {
        topic: publish.topic.to_owned(),
        payload: publish.payload.to_owned(),
        qos: publish.qos,
        retain: publish.retain,
    }
}
