//! A client over any transport: the [`Client`](whimbrel_core::client::Client) of the core with one
//! task that carries bytes and time to it.
//!
//! Not responsible for connecting again, and not for enhanced authentication.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use whimbrel_tokio::client::{Config, Connection, Message};
//!
//! let (connection, mut events) = Connection::open("localhost:1883", Config::default()).await?;
//! let message = Message { topic: "t".into(), payload: b"42".to_vec(), ..Message::default() };
//! connection.publish(message).await?.wait().await?;
//! connection.disconnect(&mut events).await;
//! # Ok(())
//! # }
//! ```

mod server;
mod task;

use std::io;
use task::{Command, Task};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, timeout};
pub use whimbrel_core::client::{Config, Fault, Misuse, Will};
pub use whimbrel_core::runtime::client::{
    Accepted, Ended, Event, Message, OpenError, RequestError,
};
pub use whimbrel_core::runtime::{BadServerUrl, ServerUrl, TlsOptions};
use whimbrel_host::Clock;

use crate::transport::Transport;
use whimbrel_core::codec::packet::SubscribeOptions;
use whimbrel_core::codec::{PropertyBuffer, ReasonCode};
use whimbrel_core::id::PacketId;
use whimbrel_core::runtime::agent::{Agent, Answer, Request};

/// Events and commands that may wait; beyond that the other side waits.
const QUEUE: usize = 256;

/// The answer to a message that is on its way.
#[derive(Debug)]
pub struct Acknowledgement(oneshot::Receiver<Answer>);

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
        let answer = self.0.await.map_err(|_| RequestError::Ended)?;
        Ok(answer?)
    }
}

/// What is asked of a connection. Clones ask the same one.
///
/// When the last of them is dropped, or the [`Events`], the transport is closed without a
/// DISCONNECT, so that the server publishes the will.
#[derive(Clone, Debug)]
pub struct Connection {
    commands: mpsc::Sender<Command>,
}

/// What a connection brings. Events must be taken: while many wait, nothing more is read,
/// acknowledgements included.
#[derive(Debug)]
pub struct Events {
    events: mpsc::Receiver<Event>,
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
        self.events.recv().await
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
        let patience = Duration::from_millis(config.response_timeout_ms);
        let clock = Clock::start();
        let agent = Agent::new(config, clock.now().monotonic)?;
        let transport = timeout(patience, server::connect(server, tls))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Self::over(transport, agent, clock, &Handle::current()).await
    }

    /// Lets an agent speak over this transport, as a task of `runtime`, and waits until the server
    /// has accepted.
    pub(crate) async fn over(
        transport: Transport,
        agent: Agent<oneshot::Sender<Answer>>,
        clock: Clock,
        runtime: &Handle,
    ) -> Result<(Self, Events), OpenError> {
        let (command_sender, commands) = mpsc::channel(QUEUE);
        let (events, mut event_receiver) = mpsc::channel(QUEUE);
        let (accepted_sender, accepted) = oneshot::channel();
        let task = Task {
            agent,
            clock,
            commands,
            events,
            accepted: Some(accepted_sender),
        };
        runtime.spawn(task.run(transport));
        match accepted.await {
            Ok(accepted) => {
                let events = Events {
                    events: event_receiver,
                    accepted,
                };
                let commands = command_sender;
                Ok((Self { commands }, events))
            }
            Err(_) => match event_receiver.recv().await {
                Some(Event::Ended(ended)) => Err(ended.into()),
                Some(Event::Message { .. }) | None => Err(Ended::Local.into()),
            },
        }
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.commands.is_closed()
    }

    async fn request(&self, request: Request) -> Result<Acknowledgement, RequestError> {
        let (answer, acknowledgement) = oneshot::channel();
        let sent = self.commands.send((request, answer)).await;
        sent.map_err(|_| RequestError::Ended)?;
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
        let _ = tokio::join!(self.request(Request::Disconnect), drain);
    }
}
