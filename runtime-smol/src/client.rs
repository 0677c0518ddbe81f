//! A client over TCP: core's [`Client`](whimbrel_core::client::Client) with one thread that carries
//! bytes and time to it.
//!
//! Not responsible for connecting again, and not for enhanced authentication.

mod task;

use async_channel::{Receiver, Sender, bounded};
use core::sync::atomic::{AtomicBool, Ordering};
use futures_lite::future::zip;
use polling::Poller;
use std::io;
use std::sync::Arc;
use std::thread;
use task::{Answer, Command, Request, Task};
pub use whimbrel_core::client::{Config, Fault, Misuse, Will};
pub use whimbrel_core::runtime::client::{
    Accepted, Ended, Event, Message, OpenError, RequestError,
};

use whimbrel_core::runtime::{Scheme, ServerUrl, TlsOptions};

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
    /// Connects to a URL or `host:port` and waits until the server has accepted.
    ///
    /// # Errors
    ///
    /// Whatever comes in between.
    pub async fn open(address: &str, config: Config) -> Result<(Self, Events), OpenError> {
        Self::open_with(&address.parse()?, &TlsOptions::default(), config).await
    }

    /// Connects over TCP, the only transport of this runtime's clients, and waits until the server
    /// has accepted. There is no TLS, so its options do nothing.
    ///
    /// # Errors
    ///
    /// Whatever comes in between.
    pub async fn open_with(
        server: &ServerUrl,
        _: &TlsOptions,
        config: Config,
    ) -> Result<(Self, Events), OpenError> {
        if server.scheme() != Scheme::Tcp {
            let why = "this build has TCP alone; build it with the feature `tokio`";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why).into());
        }
        let poller = Arc::new(Poller::new()?);
        let (command_sender, commands) = bounded(QUEUE);
        let (event_sender, events) = bounded(QUEUE);
        let (opened_sender, opened) = bounded(1);
        let is_awaited = Arc::new(AtomicBool::new(false));
        let address = server.authority();
        let thread = thread::Builder::new().name("whimbrel-client".into());
        let (bell, waits) = (Bell(Arc::clone(&poller)), Arc::clone(&is_awaited));
        thread.spawn(move || {
            match Task::open(&address, config, poller, commands, event_sender, waits) {
                Ok((task, stream)) => task.run(stream, opened_sender),
                Err(error) => drop(opened_sender.try_send(Err(error))),
            }
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

    async fn request(&self, request: Request) -> Result<Acknowledgement, RequestError> {
        let (answer, acknowledgement) = bounded(1);
        let sent = self.commands.send(Command { request, answer }).await;
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
