//! What the user of a client holds, and the queues between that and whoever carries its bytes.
//!
//! ```text
//! Connection ──requests──▶ Courier ⇄ bytes, timer     a task, or a thread
//! Events     ◀──events────    │
//!      └────────bell──────────┘
//! ```
//!
//! Both queues are bounded: who asks too much waits, and while events are not taken nothing more is
//! read. The bell is how the courier is woken, whatever it sleeps on.

use async_channel::{Receiver, Sender, bounded};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;
use futures_lite::future::zip;
use std::io;
use std::sync::Arc;
use whimbrel_core::Timestamp;
use whimbrel_core::client::{Config, Misuse};
use whimbrel_core::codec::packet::SubscribeOptions;
use whimbrel_core::codec::{PropertyBuffer, ReasonCode};
use whimbrel_core::id::PacketId;
use whimbrel_core::runtime::agent::{Agent, Answer, Outcome, REQUESTS_AT_ONCE, Request};
use whimbrel_core::runtime::client::{Accepted, Ended, Event, Message, OpenError, RequestError};

/// Events and requests that may wait; beyond that the other side waits.
const QUEUE: usize = 256;

/// Wakes the courier, also when it is dropped: then who holds it has dropped its queue before.
#[derive(Clone, Debug)]
struct Bell(Waker);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.wake_by_ref();
    }
}

/// The answer to a message that is on its way.
#[derive(Debug)]
pub struct Acknowledgement(Receiver<Answer>);

impl Acknowledgement {
    /// What the server says; at QoS 0 success as soon as the message was taken for sending.
    ///
    /// # Errors
    ///
    /// The server or this version does not take the message; the connection ended first.
    pub async fn wait(self) -> Result<ReasonCode, RequestError> {
        let reasons = self.reasons().await?;
        Ok(reasons.first().copied().unwrap_or(ReasonCode::SUCCESS))
    }

    async fn reasons(self) -> Result<Vec<ReasonCode>, RequestError> {
        let answer = self.0.recv().await.map_err(|_| RequestError::Ended)?;
        Ok(answer?)
    }
}

/// What is asked of a connection. Clones ask the same one.
///
/// When the last of them is dropped, or the [`Events`], the transport is closed without a
/// DISCONNECT, so that the server publishes the will.
#[derive(Clone, Debug)]
pub struct Connection {
    requests: Sender<(Request, Sender<Answer>)>,
    bell: Bell,
}

/// What a connection brings. Events must be taken: while many wait, nothing more is read,
/// acknowledgements included.
#[derive(Debug)]
pub struct Events {
    events: Receiver<Event>,
    /// The courier waits until there is room for events.
    is_awaited: Arc<AtomicBool>,
    bell: Bell,
    accepted: Accepted,
}

impl Events {
    /// What the server said when it accepted the connection.
    #[must_use]
    pub const fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// What happens next. `None` after the end. Nothing is lost when this is not awaited to its
    /// end.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().await.ok();
        if self.is_awaited.swap(false, Ordering::AcqRel) {
            self.bell.0.wake_by_ref();
        }
        event
    }
}

impl Connection {
    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.requests.is_closed()
    }

    async fn request(&self, request: Request) -> Result<Acknowledgement, RequestError> {
        let (answer, acknowledgement) = bounded(1);
        let sent = self.requests.send((request, answer)).await;
        sent.map_err(|_| RequestError::Ended)?;
        self.bell.0.wake_by_ref();
        Ok(Acknowledgement(acknowledgement))
    }

    /// Publishes. Waits while many messages wait to be sent, not until this one has arrived.
    ///
    /// # Errors
    ///
    /// The connection ended.
    pub async fn publish(&self, message: Message) -> Result<Acknowledgement, RequestError> {
        self.request(Request::Publish(message)).await
    }

    /// Subscribes, and waits for one reason a filter.
    ///
    /// # Errors
    ///
    /// The server or this version does not take it; the connection ended.
    pub async fn subscribe(
        &self,
        filters: Vec<(String, SubscribeOptions)>,
        properties: PropertyBuffer,
    ) -> Result<Vec<ReasonCode>, RequestError> {
        let request = Request::Subscribe(filters, properties);
        self.request(request).await?.reasons().await
    }

    /// Gives subscriptions up, and waits for one reason a filter (none before 5.0).
    ///
    /// # Errors
    ///
    /// A filter is none; the connection ended.
    pub async fn unsubscribe(&self, filters: Vec<String>) -> Result<Vec<ReasonCode>, RequestError> {
        let request = Request::Unsubscribe(filters);
        self.request(request).await?.reasons().await
    }

    /// Takes a message over, when acknowledgements are manual.
    ///
    /// # Errors
    ///
    /// The connection ended. What is to be acknowledged no longer is not.
    pub async fn acknowledge(&self, packet_id: PacketId) -> Result<(), RequestError> {
        let acknowledged = self.request(Request::Acknowledge(packet_id));
        acknowledged.await.map(drop)
    }

    /// Sends what was taken, then DISCONNECT, and waits until the transport is closed. Messages
    /// that still arrive are dropped.
    pub async fn disconnect(&self, events: &mut Events) {
        let drain = async { while events.next().await.is_some() {} };
        let _ = zip(self.request(Request::Disconnect), drain).await;
    }
}

/// Queues for a client with this configuration: the end of its user, who may have it once the
/// server has accepted, and that of whoever carries its bytes and is woken by `bell`.
///
/// # Errors
///
/// What the configuration asks for cannot be said.
pub fn open(config: Config, now: Timestamp, bell: Waker) -> Result<(Opening, Courier), Misuse> {
    let agent = Agent::new(config, now)?;
    let (request_sender, requests) = bounded(QUEUE);
    let (event_sender, events) = bounded(QUEUE);
    let (opened_sender, opened) = bounded(1);
    let is_awaited = Arc::new(AtomicBool::new(false));
    let courier = Courier {
        agent,
        requests,
        events: event_sender,
        awaits_room: Arc::clone(&is_awaited),
        opened: Some(opened_sender),
        bell: bell.clone(),
    };
    let bell = Bell(bell);
    let opening = Opening {
        opened,
        events,
        is_awaited,
        connection: Connection {
            requests: request_sender,
            bell,
        },
    };
    Ok((opening, courier))
}

/// A client whose server has not accepted it yet.
#[derive(Debug)]
pub struct Opening {
    opened: Receiver<Result<Accepted, OpenError>>,
    events: Receiver<Event>,
    is_awaited: Arc<AtomicBool>,
    connection: Connection,
}

impl Opening {
    /// Waits until the server has accepted.
    ///
    /// # Errors
    ///
    /// It has not, or whatever came in between.
    pub async fn wait(self) -> Result<(Connection, Events), OpenError> {
        let gone = |_| Err(io::Error::other("who carries the connection has crashed").into());
        let accepted = self.opened.recv().await.unwrap_or_else(gone)?;
        let events = Events {
            events: self.events,
            is_awaited: self.is_awaited,
            bell: self.connection.bell.clone(),
            accepted,
        };
        Ok((self.connection, events))
    }
}

/// The other end: what a client says, and hears. Whoever has it carries bytes between
/// [`agent`](Self::agent) and a server, and after each of them, and whenever the bell has rung,
/// calls [`report`](Self::report) and then [`take_requests`](Self::take_requests).
#[derive(Debug)]
pub struct Courier {
    /// What the client is.
    pub agent: Agent<Sender<Answer>>,
    requests: Receiver<(Request, Sender<Answer>)>,
    events: Sender<Event>,
    /// Says that room for events is waited for.
    awaits_room: Arc<AtomicBool>,
    /// Until the server has accepted.
    opened: Option<Sender<Result<Accepted, OpenError>>>,
    bell: Waker,
}

impl Courier {
    /// Whether an event can be handed out; if not, the bell rings when there is room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        if self.events.is_full() {
            self.awaits_room.store(true, Ordering::Release);
        }
        !self.events.is_full()
    }

    /// Whether nobody wants it any more.
    #[must_use]
    pub fn is_forsaken(&self) -> bool {
        self.requests.is_closed() || self.events.is_closed()
    }

    /// Hands out what has happened, as far as there is room. Gives the end when it comes.
    pub fn report(&mut self, now: Timestamp) -> Option<Ended> {
        while self.has_room() {
            // Whoever asked may have gone; should nobody listen, this ends soon.
            match self.agent.poll_outcome(now)? {
                Outcome::Accepted(accepted) => {
                    if let Some(opened) = self.opened.take() {
                        drop(opened.try_send(Ok(accepted)));
                    }
                }
                Outcome::Answered(asker, answer) => drop(asker.try_send(answer)),
                Outcome::Event(Event::Ended(ended)) => return Some(ended),
                Outcome::Event(event) => drop(self.events.try_send(event)),
            }
        }
        None
    }

    /// Takes some of what is asked; the bell rings when there may be more.
    pub fn take_requests(&mut self, now: Timestamp) {
        for _ in 0..REQUESTS_AT_ONCE {
            if !self.agent.has_room() {
                return;
            }
            let Ok((request, asker)) = self.requests.try_recv() else {
                return;
            };
            if let Some((asker, answer)) = self.agent.ask(now, request, asker) {
                drop(asker.try_send(answer));
            }
        }
        self.bell.wake_by_ref();
    }

    /// Tells the end, once there is room for it.
    pub async fn end(self, ended: Ended) {
        match self.opened {
            Some(opened) => drop(opened.try_send(Err(ended.into()))),
            None => drop(self.events.send(Event::Ended(ended)).await),
        }
    }

    /// There is no transport.
    pub fn fail(self, why: OpenError) {
        if let Some(opened) = self.opened {
            drop(opened.try_send(Err(why)));
        }
    }
}
