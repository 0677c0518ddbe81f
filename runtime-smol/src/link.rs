//! Clients inside this program: what [`Handle::publish`](crate::Handle::publish) and
//! [`Handle::subscribe`](crate::Handle::subscribe) stand on.
//!
//! Each is the core's [`Client`], and to the broker a client like any other: it has MQTT's meaning
//! to the letter, quotas and slow consumers included, and the broker has no special case for it.
//! The shard carries bytes from one to the other.

use crate::inbox::{Inbox, Input};
use async_channel::{Receiver, Sender, TrySendError};
use core::sync::atomic::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use whimbrel_core::Timestamp;
use whimbrel_core::client::{
    Client, ClientEvent, Config, DisconnectRequest, PublishRequest, SubscribeRequest,
};
use whimbrel_core::codec::packet::{Publish, QoS, SubscribeOptions};
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::id::PacketId;
use whimbrel_core::runtime::{LinkError, Message};

/// Messages that wait for the user of a subscription, at most.
pub(crate) const WAITING_MAXIMUM: usize = 64;

/// Bytes that wait to be taken by the broker before no more requests are handled.
const UNSENT_BYTES_MAXIMUM: usize = 64 << 10;

/// Messages that match a filter, as they come. Dropping it ends the subscription.
///
/// A subscriber that does not take its messages is a slow consumer to the broker, with all that the
/// configuration says about those.
pub struct Subscription {
    pub(crate) messages: Receiver<Message>,
    pub(crate) inbox: Arc<Inbox>,
}

impl Subscription {
    /// The next message; `None` when the broker has stopped or has ended the subscription. Nothing
    /// is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Message> {
        let message = self.messages.recv().await.ok();
        if self.inbox.link_waits.swap(false, Ordering::AcqRel) {
            self.inbox.push(Input::LinksMoved);
        }
        message
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.messages.close();
        self.inbox.push(Input::LinksMoved);
    }
}

/// How a request went; dropped when there is no answer any more.
pub(crate) type Answer = Sender<Result<(), LinkError>>;

/// What a link is asked to do.
pub(crate) enum Request {
    Publish(Message, Answer),
    Subscribe(String, QoS, Answer),
}

/// One client inside this program.
pub(crate) struct Link {
    client: Client,
    /// Where messages go; closed by who wants no more. A link that publishes gets none.
    messages: Option<Sender<Message>>,
    /// Has arrived, and waits for its user to have room.
    arrived: Option<Message>,
    /// Waits until the client has room.
    requests: VecDeque<Request>,
    unanswered: BTreeMap<PacketId, Answer>,
    inbox: Arc<Inbox>,
    /// There is no connection any more.
    pub(crate) has_ended: bool,
}

impl Link {
    pub(crate) fn new(
        inbox: Arc<Inbox>,
        messages: Option<Sender<Message>>,
        now: Timestamp,
    ) -> Self {
        // A connection in memory does not fail silently, so nobody needs to ask for a sign of life.
        let config = Config {
            keep_alive_s: 0,
            ..Config::default()
        };
        let mut client = Client::new(config, now).expect("the default configuration can be said");
        client.connected(now);
        Self {
            client,
            messages,
            arrived: None,
            requests: VecDeque::new(),
            unanswered: BTreeMap::new(),
            inbox,
            has_ended: false,
        }
    }

    pub(crate) fn ask(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.client.next_deadline()
    }

    /// Takes what the broker says, unless its user has to take messages first.
    pub(crate) fn write(&mut self, now: Timestamp, bytes: &[u8]) -> io::Result<usize> {
        self.take_events();
        if self.arrived.is_some() || self.client.is_paused() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.client.receive(now, bytes);
        self.take_events();
        Ok(bytes.len())
    }

    /// Appends what it has to say to the broker.
    pub(crate) fn speak(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        self.client.advance(now);
        self.take_events();
        let is_unwanted = self.messages.as_ref().is_some_and(Sender::is_closed);
        if is_unwanted && self.client.is_connected() {
            let _ = self.client.disconnect(now, &DisconnectRequest::default());
        }
        while self.client.is_connected()
            && self.client.window() > 0
            && self.client.unsent_bytes() < UNSENT_BYTES_MAXIMUM
            && let Some(request) = self.requests.pop_front()
        {
            self.handle(now, request);
        }
        self.client.transmit(out);
    }

    fn handle(&mut self, now: Timestamp, request: Request) {
        let (taken, answer) = match request {
            Request::Publish(message, answer) => {
                let request = PublishRequest {
                    topic: &message.topic,
                    payload: &message.payload,
                    qos: message.qos,
                    retain: message.retain,
                    ..PublishRequest::default()
                };
                (self.client.publish(now, &request), answer)
            }
            Request::Subscribe(filter, qos, answer) => {
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
        };
        // Whoever asked may have gone.
        match taken {
            Ok(Some(id)) => drop(self.unanswered.insert(id, answer)),
            Ok(None) => drop(answer.try_send(Ok(()))),
            Err(misuse) => drop(answer.try_send(Err(misuse.into()))),
        }
    }

    /// Hands out what has happened, until a message has to wait.
    fn take_events(&mut self) {
        loop {
            if let Some(message) = self.arrived.take() {
                self.hand_over(message);
            }
            if self.arrived.is_some() {
                return;
            }
            let Some(event) = self.client.poll_event() else {
                return;
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
                let refused = Err(LinkError::Refused(reason));
                let _ = answer.try_send(if reason.is_error() { refused } else { Ok(()) });
            }
        }
    }

    /// Gives a message to its user. Where there is no room it stays, and the user will say when it
    /// has taken something.
    fn hand_over(&mut self, message: Message) {
        let Some(messages) = &self.messages else {
            return;
        };
        if let Err(TrySendError::Full(message)) = messages.try_send(message) {
            self.inbox.link_waits.store(true, Ordering::Release);
            // Some may have been taken just before that could be seen.
            if let Err(TrySendError::Full(message)) = messages.try_send(message) {
                self.arrived = Some(message);
            }
        }
    }
}

fn owned(publish: &Publish<'_>) -> Message {
    Message {
        topic: publish.topic.to_owned(),
        payload: publish.payload.to_owned(),
        qos: publish.qos,
        retain: publish.retain,
    }
}
