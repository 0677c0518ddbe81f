//! Starting a broker, and what its owner holds of it.

use crate::client::{self, Connection, Events, OpenError};
use crate::inbox::{Inbox, Input, StopLevel};
use crate::listen::bind;
use crate::shard::{Parts, Shard};
use async_channel::bounded;
use core::net::SocketAddr;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use tracing::info;
use whimbrel_core::Event;
use whimbrel_core::codec::packet::QoS;
use whimbrel_core::config::AccessConfig;
use whimbrel_core::inspect::TenantUsage;
use whimbrel_core::log;
use whimbrel_core::runtime::{
    Authenticator, Crashed, LinkError, ListenerConfig, ListenerUrl, Policy, RecordingConfig,
    ServerConfig, StartError, Stopped, link,
};
use whimbrel_core::statistics::Statistics;
use whimbrel_host::link::{Publisher, Subscription};
use whimbrel_host::report::EventSink;
use whimbrel_host::storage::{self, Opened, SharedStatistics};
use whimbrel_host::{Clock, Threads, brokers, validate};
use whimbrel_transport::{CertificateError, Certificates, Security, still_taken_by};

/// A broker that has not been started.
pub struct Server {
    config: ServerConfig,
    authenticator: Option<Arc<dyn Authenticator>>,
    events: Option<EventSink>,
}

impl Server {
    /// A server with this configuration. Several may run in one process.
    #[must_use]
    pub const fn new(config: ServerConfig) -> Self {
        Self {
            config,
            authenticator: None,
            events: None,
        }
    }

    /// Asks `authenticator` who may connect. Without one everybody may whom the listener's rule on
    /// anonymous clients lets in.
    #[must_use]
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.authenticator = Some(Arc::new(authenticator));
        self
    }

    /// Gives every event to `sink`, on the broker's thread. It must not block.
    #[must_use]
    pub fn events(mut self, sink: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.events = Some(Arc::new(sink));
        self
    }

    /// Opens all listeners, then starts to serve them on a thread of its own. Needs no runtime, and
    /// blocks until what was kept is read and the listeners are open: from asynchronous code, call
    /// it where that may block.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration, or what the system refuses. Nothing is left running
    /// then.
    pub fn start(self) -> Result<Handle, StartError> {
        let Self {
            config,
            authenticator,
            events,
        } = self;
        if config.threads != 1 {
            return Err(StartError::Threads(config.threads));
        }
        validate(&config)?;
        if let Some(RecordingConfig { file, .. }) = config.recording {
            let source = io::ErrorKind::Unsupported.into();
            return Err(StartError::Recording { file, source });
        }
        let storage = storage::open(&config)?;
        let inbox = Arc::new(Inbox::new()?);
        let threads = Threads::default();
        let server = Self {
            config,
            authenticator,
            events,
        };
        let started = server.start_threads(storage, &inbox, &threads);
        if started.is_err() {
            // What had been started ends, now that nobody else holds anything of it.
            let _ = threads.wait();
        }
        started
    }

    /// Goes on from what was kept. It is there again before anybody can connect.
    fn start_threads(
        self,
        storage: Option<Opened>,
        inbox: &Arc<Inbox>,
        threads: &Threads,
    ) -> Result<Handle, StartError> {
        let Self {
            config,
            authenticator,
            events,
        } = self;
        let clock = Clock::start();
        let (store, kept) = match storage {
            Some(Opened { store, restorer }) => (Some(store), Some(restorer)),
            None => (None, None),
        };
        let broker = brokers(&config, clock, kept)?.pop();
        let broker = Box::new(broker.expect("one shard was asked for"));
        let listeners: Vec<_> = config
            .listeners
            .iter()
            .map(bind)
            .collect::<Result<_, _>>()?;
        let urls: Vec<_> = listeners.iter().map(|bound| bound.url.clone()).collect();
        let (mut log, mut storage_statistics) = (None, None);
        if let Some(store) = store {
            let (sender, requests) = mpsc::channel();
            let inbox = Arc::clone(inbox);
            let tell = move |news| inbox.push(Input::Storage(news));
            let statistics = storage::spawn(store, clock, requests, vec![tell], threads)?;
            (log, storage_statistics) = (Some(sender), Some(statistics));
        }
        let security: Vec<_> = listeners
            .iter()
            .map(|bound| Arc::clone(&bound.security))
            .collect();
        let policy = Policy::new(&config.listeners, authenticator)
            .certificates(still_taken_by(security.clone()));
        let handle = Handle {
            addresses: urls.iter().filter_map(ListenerUrl::address).collect(),
            listeners: urls,
            inbox: Arc::clone(inbox),
            threads: threads.clone(),
            storage_statistics,
            publisher: Publisher::default(),
            security,
        };
        let shard = Shard::new(Parts {
            policy,
            broker,
            clock,
            listeners,
            events,
            inbox: Arc::clone(inbox),
            threads: threads.clone(),
            log,
            config,
        })?;
        let closes = Closes(Arc::clone(inbox));
        threads.spawn("whimbrel", 0, move || {
            let _closes = closes;
            shard.run();
        })?;
        for url in &handle.listeners {
            info!(%url, "listening");
        }
        Ok(handle)
    }
}

/// Says that nobody takes anything out of the inbox any more, also when the shard has ended by a
/// panic.
struct Closes(Arc<Inbox>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A running broker. Dropping it stops the broker promptly, without waiting for it.
pub struct Handle {
    listeners: Vec<ListenerUrl>,
    addresses: Vec<SocketAddr>,
    inbox: Arc<Inbox>,
    threads: Threads,
    storage_statistics: Option<SharedStatistics>,
    /// The link that publishes, once there is one.
    publisher: Publisher,
    security: Vec<Arc<Security>>,
}

impl Handle {
    /// Where it listens, in the order of the configuration, with the ports that the system chose.
    #[must_use]
    pub fn listeners(&self) -> &[ListenerUrl] {
        &self.listeners
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
        self.inbox.stop(StopLevel::Gracefully);
        self.stopped().await
    }

    /// Stops promptly: clients are told as far as they listen at this moment. Does not wait; see
    /// [`stopped`](Self::stopped).
    pub fn stop_now(&self) {
        self.inbox.stop(StopLevel::Promptly);
    }

    /// Waits until the broker has stopped, for whatever reason: its threads have ended, and what is
    /// owed to the disk is there. As many may wait as like, and all get the same answer.
    ///
    /// # Errors
    ///
    /// It has crashed, or the log has failed.
    pub async fn stopped(&self) -> Result<(), Crashed> {
        self.threads.ended().await
    }

    /// Counters and gauges, one set a shard; there is one.
    ///
    /// # Errors
    ///
    /// The broker has stopped.
    pub async fn statistics(&self) -> Result<Vec<Statistics>, Stopped> {
        let (answer, statistics) = bounded(1);
        self.inbox.push(Input::Statistics(answer));
        let statistics = statistics.recv().await.map_err(|_| Stopped)?;
        Ok(vec![statistics])
    }

    /// What there is of each tenant: by name, the default one first.
    ///
    /// # Errors
    ///
    /// The broker has stopped.
    pub async fn tenants(&self) -> Result<Vec<TenantUsage>, Stopped> {
        let (answer, tenants) = bounded(1);
        self.inbox.push(Input::Tenants(answer));
        let tenants = tenants.recv().await.map_err(|_| Stopped)?;
        Ok(TenantUsage::of_all([tenants]))
    }

    /// Puts other rules and bans in force: those of a configuration that was read anew. See
    /// [`Broker::set_rules`](whimbrel_core::Broker::set_rules).
    ///
    /// # Errors
    ///
    /// The broker has stopped.
    pub async fn set_access(&self, access: AccessConfig) -> Result<(), Stopped> {
        self.inbox.push(Input::Access(access));
        // Statistics come from behind it.
        self.statistics().await.map(drop)
    }

    /// Asks [`Authenticator::still_holds`] about everybody who is connected, and their listener
    /// whether it would still take their certificate; disconnects those of whom one of them says no
    /// (5.0: 0x87, not authorized); how many these were. They may try again. To be called when what
    /// decides about clients has changed.
    ///
    /// # Errors
    ///
    /// The broker has stopped.
    pub async fn reconsider(&self) -> Result<usize, Stopped> {
        let (answer, count) = bounded(1);
        self.inbox.push(Input::Reconsider(answer));
        count.recv().await.map_err(|_| Stopped)
    }

    /// What was written to keep things, at the last moment when something became durable. `None`
    /// when nothing is kept.
    #[must_use]
    pub fn storage_statistics(&self) -> Option<log::Statistics> {
        self.storage_statistics.as_ref().map(SharedStatistics::get)
    }

    /// Opens a connection from inside this program: a byte stream that speaks MQTT with the broker
    /// like any other, but has no address, needs no credentials and passes no network. It does not
    /// block.
    ///
    /// # Errors
    ///
    /// The broker has stopped, or the system has no descriptor left.
    pub async fn open(&self) -> Result<UnixStream, Stopped> {
        let (ours, theirs) = UnixStream::pair().map_err(|_| Stopped)?;
        for stream in [&ours, &theirs] {
            stream.set_nonblocking(true).map_err(|_| Stopped)?;
        }
        self.inbox.push(Input::Attach(theirs));
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
        Certificates::read(&self.security, listeners)
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
        self.publish_message(client::Message {
            topic: topic.to_owned(),
            payload: payload.to_owned(),
            qos,
            retain,
            ..client::Message::default()
        })
        .await
    }

    /// The same, with properties: an expiry, a content type, a response topic, …
    ///
    /// # Errors
    ///
    /// What MQTT or the configuration does not allow, the broker's refusal, or that it has stopped.
    pub async fn publish_message(&self, message: client::Message) -> Result<(), LinkError> {
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
    pub async fn connect(&self, config: client::Config) -> Result<(Connection, Events), OpenError> {
        let stream = self.open().await.map_err(io::Error::other)?;
        client::over(stream, config).await
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

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop_now();
    }
}
