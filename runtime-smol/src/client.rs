//! A client over any transport: core's [`Client`](whimbrel_core::client::Client) with one thread
//! that carries bytes and time to it.
//!
//! Not responsible for connecting again, and not for enhanced authentication.

mod task;

use crate::stream::{Pipe, Transport};
use async_channel::{Receiver, Sender, bounded};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use futures_lite::future::zip;
use polling::Poller;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use task::{Command, Task, Wire, connect};
pub use whimbrel_core::client::{Config, Fault, Misuse, Will};
pub use whimbrel_core::runtime::client::{
    Accepted, Ended, Event, Message, OpenError, RequestError,
};
use whimbrel_host::Clock;

use whimbrel_core::runtime::agent::{Agent, Answer, Request};
use whimbrel_core::runtime::{ServerUrl, TlsOptions};

use whimbrel_core::codec::packet::SubscribeOptions;
use whimbrel_core::codec::{PropertyBuffer, ReasonCode};
use whimbrel_core::id::PacketId;

/// Events and commands that may wait; beyond that the other side waits.
const QUEUE: usize = 256;

/// Wakes the thread, also when it is dropped: then who holds it has dropped its queue before.
#[derive(Debug)]
struct Bell(Arc<Poller>);

impl Bell {
    fn ring(&self) {
        self.0
            .notify()
            .expect("an event queue can be woken as long as it is there");
    }
}

impl Clone for Bell {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.ring();
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
    commands: Sender<Command>,
    bell: Bell,
}

/// What a connection brings. Events must be taken: while many wait, nothing more is read,
/// acknowledgements included.
#[derive(Debug)]
pub struct Events {
    events: Receiver<Event>,
    /// The thread waits until there is room for events.
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
            self.bell.ring();
        }
        event
    }
}

impl Connection {
    /// Connects to a URL or `host:port` and waits until the server has accepted. Of TLS servers it
    /// believes those that the system believes; see [`open_with`](Self::open_with).
    ///
    /// # Errors
    ///
    /// Whatever comes in between.
    pub async fn open(address: &str, config: Config) -> Result<(Self, Events), OpenError> {
        Self::open_with(&address.parse()?, &TlsOptions::default(), config).await
    }

    /// Connects and waits until the server has accepted.
    ///
    /// # Errors
    ///
    /// Whatever comes in between.
    pub async fn open_with(
        server: &ServerUrl,
        tls: &TlsOptions,
        config: Config,
    ) -> Result<(Self, Events), OpenError> {
        let patience = Duration::from_millis(config.response_timeout_ms.max(1));
        let (server, tls) = (server.clone(), tls.clone());
        Self::start(config, move |poller| {
            connect(&server, &tls, patience, poller)
        })
        .await
    }

    /// Speaks over this stream, and waits until the server has accepted.
    pub(crate) async fn over(
        stream: UnixStream,
        config: Config,
    ) -> Result<(Self, Events), OpenError> {
        let transport = Transport::new(Pipe::Unix(stream), None);
        Self::start(config, move |poller| Ok(Wire::new(transport, poller))).await
    }

    async fn start(
        config: Config,
        connect: impl FnOnce(Arc<Poller>) -> io::Result<Wire> + Send + 'static,
    ) -> Result<(Self, Events), OpenError> {
        let clock = Clock::start();
        let poller = Arc::new(Poller::new()?);
        let (command_sender, commands) = bounded(QUEUE);
        let (event_sender, events) = bounded(QUEUE);
        let (opened_sender, opened) = bounded(1);
        let is_awaited = Arc::new(AtomicBool::new(false));
        let task = Task {
            agent: Agent::new(config, clock.now().monotonic)?,
            clock,
            commands,
            events: event_sender,
            waits: Arc::clone(&is_awaited),
        };
        let bell = Bell(Arc::clone(&poller));
        let thread = thread::Builder::new().name("whimbrel-client".into());
        thread.spawn(move || match connect(poller) {
            Ok(wire) => task.run(wire, opened_sender),
            Err(error) => drop(opened_sender.try_send(Err(error.into()))),
        })?;
        let gone = |_| Err(io::Error::other("the thread of the connection has crashed").into());
        let accepted = opened.recv().await.unwrap_or_else(gone)?;
        let events = Events {
            events,
            is_awaited,
            bell: bell.clone(),
            accepted,
        };
        let commands = command_sender;
        Ok((Self { commands, bell }, events))
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.commands.is_closed()
    }

    async fn request(&self, request: Request) -> Result<Acknowledgement, RequestError> {
        let (answer, acknowledgement) = bounded(1);
        let sent = self.commands.send((request, answer)).await;
        sent.map_err(|_| RequestError::Ended)?;
        self.bell.ring();
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
