//! What its owner holds of a running broker.

use crate::Threads;
use crate::client::{Connection, Events};
use crate::inbox::{Inbox, Input, StopLevel};
use crate::link::{Publisher, Subscription};
use crate::server::{Inboxes, Runtime};
use crate::shard::Driver;
use crate::storage::SharedStatistics;
use async_channel::{Sender, bounded};
use core::net::SocketAddr;
use std::io;
use std::sync::Arc;
use whimbrel_core::client::Config;
use whimbrel_core::codec::packet::QoS;
use whimbrel_core::config::AccessConfig;
use whimbrel_core::inspect::TenantUsage;
use whimbrel_core::log;
use whimbrel_core::runtime::client::{Message, OpenError};
use whimbrel_core::runtime::{Crashed, LinkError, ListenerConfig, ListenerUrl, Stopped, link};
use whimbrel_core::statistics::Statistics;
use whimbrel_transport::{CertificateError, Certificates, Security};

/// A running broker. Dropping it stops the broker promptly, without waiting for it.
pub struct Handle<R: Runtime> {
    running: Running<R>,
    addresses: Vec<SocketAddr>,
    /// The link that publishes, once there is one.
    publisher: Publisher,
}

/// What is left of a server once it runs.
pub(crate) struct Running<R: Runtime> {
    pub(crate) runtime: R,
    pub(crate) listeners: Vec<ListenerUrl>,
    pub(crate) security: Vec<Arc<Security>>,
    pub(crate) inboxes: Inboxes<R>,
    pub(crate) threads: Threads,
    pub(crate) storage_statistics: Option<SharedStatistics>,
}

impl<R: Runtime> Handle<R> {
    pub(crate) fn new(running: Running<R>) -> Self {
        let listeners = running.listeners.iter();
        Self {
            addresses: listeners.filter_map(ListenerUrl::address).collect(),
            running,
            publisher: Publisher::default(),
        }
    }

    /// Asks all shards to stop.
    fn stop(&self, level: StopLevel) {
        for inbox in &*self.running.inboxes {
            inbox.stop(level);
        }
    }

    /// Asks all shards the same, and waits for the answers.
    async fn ask_all<T>(
        &self,
        question: impl Fn(Sender<T>) -> Input<<R::Driver as Driver>::Transport>,
    ) -> Result<Vec<T>, Stopped> {
        let ask = |inbox: &Arc<Inbox<_>>| {
            let (answer, answered) = bounded(1);
            inbox.push(question(answer));
            answered
        };
        let questions: Vec<_> = self.running.inboxes.iter().map(ask).collect();
        let mut answers = Vec::with_capacity(questions.len());
        for answered in questions {
            answers.push(answered.recv().await.map_err(|_| Stopped)?);
        }
        Ok(answers)
    }

    /// Where it listens, in the order of the configuration, with the ports that the system chose.
    #[must_use]
    pub fn listeners(&self) -> &[ListenerUrl] {
        &self.running.listeners
    }

    /// The addresses of those listeners that have one, in the same order.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops gracefully: no new connections, clients are told and get their last bytes, for at most
    /// the configured time. Ready when all is done. Calling it again waits for the same;
    /// [`stop_now`](Self::stop_now) hurries it.
    ///
    /// # Errors
    ///
    /// The broker had crashed.
    pub async fn shutdown(&self) -> Result<(), Crashed> {
        self.stop(StopLevel::Gracefully);
        self.stopped().await
    }

    /// Stops promptly: clients are told as far as they listen at this moment. Does not wait; see
    /// [`stopped`](Self::stopped).
    pub fn stop_now(&self) {
        self.stop(StopLevel::Promptly);
    }

    /// Waits until the broker has stopped, for whatever reason: its threads have ended, and what is
    /// owed to the disk is there. As many may wait as like, and all get the same answer.
    ///
    /// # Errors
    ///
    /// It has crashed, or the log has failed.
    pub async fn stopped(&self) -> Result<(), Crashed> {
        self.running.threads.ended().await
    }

    /// Counters and gauges, one set a shard.
    ///
    /// # Errors
    ///
    /// The broker has stopped.
    pub async fn statistics(&self) -> Result<Vec<Statistics>, Stopped> {
        self.ask_all(Input::Statistics).await
    }

    /// What there is of each tenant, on all shards together: by name, the default one first.
    ///
    /// # Errors
    ///
    /// The broker has stopped.
    pub async fn tenants(&self) -> Result<Vec<TenantUsage>, Stopped> {
        let all = self.ask_all(Input::Tenants).await?;
        Ok(TenantUsage::of_all(all))
    }

    /// Puts other rules and bans in force on all shards: those of a configuration that was read
    /// anew. See [`Broker::set_rules`](whimbrel_core::Broker::set_rules).
    ///
    /// # Errors
    ///
    /// The broker has stopped.
    pub async fn set_access(&self, access: AccessConfig) -> Result<(), Stopped> {
        for inbox in &*self.running.inboxes {
            inbox.push(Input::Access(access.clone()));
        }
        // Statistics come from behind it.
        self.statistics().await.map(drop)
    }

    /// Asks [`Authenticator::still_holds`](whimbrel_core::runtime::Authenticator::still_holds)
    /// about everybody who is connected, and their listener whether it would still take their
    /// certificate; disconnects those of whom one of them says no (5.0: 0x87, not authorized); how
    /// many these were. They may try again. To be called when what decides about clients has
    /// changed.
    ///
    /// # Errors
    ///
    /// The broker has stopped.
    pub async fn reconsider(&self) -> Result<usize, Stopped> {
        let gone = self.ask_all(Input::Reconsider).await?;
        Ok(gone.iter().sum())
    }

    /// What was written to keep things, at the last moment when something became durable. `None`
    /// when nothing is kept.
    #[must_use]
    pub fn storage_statistics(&self) -> Option<log::Statistics> {
        self.running
            .storage_statistics
            .as_ref()
            .map(SharedStatistics::get)
    }

    /// Opens a connection from inside this program: a byte stream that speaks MQTT with the broker
    /// like any other, but has no address, needs no credentials and passes no network. It does not
    /// block.
    ///
    /// # Errors
    ///
    /// The broker has stopped, or the system has no descriptor left.
    pub async fn open(&self) -> Result<R::Stream, Stopped> {
        let shard = self
            .running
            .inboxes
            .first()
            .filter(|inbox| !inbox.is_closed());
        let shard = shard.ok_or(Stopped)?;
        let (ours, theirs) = self.running.runtime.pair().map_err(|_| Stopped)?;
        shard.push(Input::Attach(theirs));
        Ok(ours)
    }

    /// Reads certificates, keys, authorities and lists anew, and checks them; nothing of it is in
    /// use before [`Certificates::apply`]. `listeners` is the configuration, as it was at the start
    /// but for the files.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with any of them.
    pub fn read_certificates(
        &self,
        listeners: &[ListenerConfig],
    ) -> Result<Certificates, Vec<CertificateError>> {
        Certificates::read(&self.running.security, listeners)
    }

    /// Publishes from inside this program, as a client would. Ready when the broker has taken the
    /// message over; at QoS 0, when it is on its way there.
    ///
    /// # Errors
    ///
    /// What MQTT or the configuration does not allow, the broker's refusal, or that it has stopped.
    pub async fn publish(
        &self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
    ) -> Result<(), LinkError> {
        self.publish_message(Message {
            topic: topic.to_owned(),
            payload: payload.to_owned(),
            qos,
            retain,
            ..Message::default()
        })
        .await
    }

    /// The same, with properties: an expiry, a content type, a response topic, …
    ///
    /// # Errors
    ///
    /// What MQTT or the configuration does not allow, the broker's refusal, or that it has stopped.
    pub async fn publish_message(&self, message: Message) -> Result<(), LinkError> {
        self.publisher.publish(message, self.link()).await
    }

    /// Subscribes from inside this program, as a client would. Ready when the broker has granted
    /// it; messages come from [`Subscription::next`].
    ///
    /// # Errors
    ///
    /// What MQTT or the configuration does not allow, the broker's refusal, or that it has stopped.
    pub async fn subscribe(&self, filter: &str, qos: QoS) -> Result<Subscription, LinkError> {
        Subscription::open(self.link().await?, filter, qos).await
    }

    /// Connects a client from inside this program, with a will, a session and whatever else a
    /// client may have; see [`open`](Self::open).
    ///
    /// # Errors
    ///
    /// What the configuration asks for cannot be said, the broker's refusal, or that it has
    /// stopped.
    pub async fn connect(&self, config: Config) -> Result<(Connection, Events), OpenError> {
        let stream = self.open().await.map_err(io::Error::other)?;
        self.running.runtime.connect(stream, config).await
    }

    /// Starts a client inside this program that nobody else sees.
    async fn link(&self) -> Result<(Connection, Events), LinkError> {
        self.connect(link::config())
            .await
            .map_err(|error| match error {
                OpenError::Misuse(misuse) => misuse.into(),
                OpenError::Url(_) | OpenError::Connect(_) | OpenError::Ended(_) => {
                    LinkError::Stopped
                }
            })
    }
}

impl<R: Runtime> Drop for Handle<R> {
    fn drop(&mut self) {
        self.stop_now();
    }
}
