//! Starting a broker, and what its owner holds of it.

use crate::client::{self, Connection, Events, OpenError};
use crate::listen::{Bound, bind};
use crate::outbox::Outbox;
use crate::ready::{ReadyList, Source};
use crate::recording::Recorder;
use crate::shard::{Input, Parts, Post, Shard};
use crate::stop::{Farewell, Stop, StopLevel};
use crate::transport::{Pipe, Transport};
use core::net::SocketAddr;
use std::io;
use std::sync::{Arc, mpsc as std_mpsc};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};
use tracing::info;
use whimbrel_core::codec::packet::QoS;
use whimbrel_core::config::AccessConfig;
use whimbrel_core::id::PeerId;
use whimbrel_core::inspect::TenantUsage;
use whimbrel_core::log::Statistics as StorageStatistics;
use whimbrel_core::recording::RecordedBroker;
use whimbrel_core::runtime::{
    Authenticator, Crashed, LinkError, ListenerUrl, Policy, ServerConfig, StartError, Stopped, link,
};
use whimbrel_core::statistics::Statistics;
use whimbrel_core::{Action, Broker, Event};
use whimbrel_host::link::{Publisher, Subscription};
use whimbrel_host::report::EventSink;
use whimbrel_host::storage::{self, LogRequest, LogSender, News, Opened, SharedStatistics};
use whimbrel_host::{Clock, Threads, brokers, validate};
use whimbrel_transport::{CertificateError, Certificates, Security, still_taken_by};

/// Messages from other threads that wait for a shard, at most; senders wait beyond that.
const INBOX_MAXIMUM: usize = 1_024;

/// Bytes that wait in each direction of an in-process connection, at most.
const IN_PROCESS_BYTES: usize = 64 << 10;

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
    ///
    /// `whimbrel-auth` has the one of the program: password files, tokens, SCRAM. A program may
    /// bring its own, and ask whom it likes:
    ///
    /// ```
    /// use whimbrel_core::Grant;
    /// use whimbrel_core::action::{Credentials, Verdict};
    /// use whimbrel_core::codec::ReasonCode;
    /// use whimbrel_tokio::{Authenticator, Decision, Server, ServerConfig};
    ///
    /// /// Asks a database, with a driver of the program's own runtime.
    /// struct Customers {
    ///     runtime: tokio::runtime::Handle,
    /// }
    ///
    /// async fn is_customer(name: String, password: Vec<u8>) -> Result<bool, std::io::Error> {
    ///     // …
    /// #   Ok(name == "ada" && password == b"1815")
    /// }
    ///
    /// impl Authenticator for Customers {
    ///     fn authenticate(&self, credentials: Credentials) -> Decision {
    ///         let Credentials { username, password, .. } = credentials;
    ///         let (Some(name), Some(password)) = (username, password) else {
    ///             return Decision::Now(Verdict::Refuse(ReasonCode::NOT_AUTHORIZED));
    ///         };
    ///         let answer = self.runtime.spawn(is_customer(name.clone(), password));
    ///         Decision::later(async move {
    ///             match answer.await {
    ///                 Ok(Ok(true)) => Verdict::Accept(Grant {
    ///                     groups: vec!["customers".to_owned()],
    ///                     ..Grant::to(name)
    ///                 }),
    ///                 Ok(Ok(false)) => Verdict::Refuse(ReasonCode::BAD_USER_NAME_OR_PASSWORD),
    ///                 // A database that does not answer lets nobody in.
    ///                 Ok(Err(_)) | Err(_) => Verdict::Refuse(ReasonCode::SERVER_UNAVAILABLE),
    ///             }
    ///         })
    ///     }
    /// }
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// let runtime = runtime.handle().clone();
    /// let server = Server::new(ServerConfig::default()).authenticator(Customers { runtime });
    /// ```
    #[must_use]
    pub fn authenticator(mut self, authenticator: impl Authenticator) -> Self {
        self.authenticator = Some(Arc::new(authenticator));
        self
    }

    /// Gives every event to `sink`, on the thread of the shard where it happened. It must not
    /// block.
    #[must_use]
    pub fn events(mut self, sink: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.events = Some(Arc::new(sink));
        self
    }

    /// Opens all listeners, then starts to serve them on threads of its own. Needs no runtime, and
    /// blocks until what was kept is read and the listeners are open: from asynchronous code, call
    /// it where that may block.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration, or what the system refuses. Nothing is left running
    /// then.
    pub fn start(self) -> Result<Handle, StartError> {
        validate(&self.config)?;
        let storage = storage::open(&self.config)?;
        self.start_on(storage)
    }

    /// Goes on from what was kept. It is there again before anybody can connect.
    pub(crate) fn start_on(self, storage: Option<Opened>) -> Result<Handle, StartError> {
        let threads = Threads::default();
        let mut stops = Vec::new();
        let started = self.start_threads(storage, &threads, &mut stops);
        if started.is_err() {
            // What had been started ends, now that nobody else holds anything of it.
            request(&stops, StopLevel::Promptly);
            let _ = threads.wait();
        }
        started
    }

    fn start_threads(
        self,
        storage: Option<Opened>,
        threads: &Threads,
        stops: &mut Vec<Arc<Stop>>,
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
        let mut brokers = brokers(&config, clock, kept)?;
        let sockets = config
            .listeners
            .iter()
            .map(|config| bind(config, threads))
            .collect::<Result<Vec<_>, _>>()?;
        let listeners: Vec<ListenerUrl> = sockets.iter().map(|bound| bound.url.clone()).collect();
        let (log_sender, batches) = std_mpsc::channel();
        introduce(&mut brokers, clock, &log_sender);
        let seats = seats(brokers);
        stops.extend(seats.iter().map(|seat| Arc::clone(&seat.stop)));
        let (mut log, mut storage_statistics) = (None, None);
        if let Some(store) = store {
            let told = seats.iter().map(|seat| teller(seat.inbox_sender.clone()));
            let statistics = storage::spawn(store, clock, batches, told.collect(), threads)?;
            (log, storage_statistics) = (Some(log_sender), Some(statistics));
        }
        let config = Arc::new(config);
        let security: Vec<_> = sockets
            .iter()
            .map(|bound| Arc::clone(&bound.security))
            .collect();
        let policy = Policy::new(&config.listeners, authenticator)
            .certificates(still_taken_by(security.clone()));
        let mut shards = Vec::new();
        for (mut seat, shard) in seats.into_iter().zip(0..) {
            let recorder = match &config.recording {
                None => None,
                Some(recording) => {
                    let recorder = Recorder::start(recording, shard, &mut seat.broker, threads);
                    Some(recorder.map_err(|source| StartError::Recording {
                        file: recording.file.clone(),
                        source,
                    })?)
                }
            };
            let inbox = seat.inbox_sender.clone();
            let parts = Parts {
                broker: seat.broker,
                recorder,
                shard,
                clock,
                listeners: sockets
                    .iter()
                    .map(Bound::try_clone)
                    .collect::<io::Result<_>>()?,
                policy: policy.clone(),
                events: events.clone(),
                config: Arc::clone(&config),
                ready: seat.ready,
                stop: seat.stop,
                inbox: seat.inbox,
                inbox_sender: seat.inbox_sender,
                post: seat.post,
                others: seat.others,
                farewell: seat.farewell,
                log: log.clone(),
                threads: threads.clone(),
            };
            let runtime = spawn(shard, parts, threads, StopsOthers(stops.clone()))?;
            shards.push(ShardHandle { inbox, runtime });
        }
        for (url, config) in listeners.iter().zip(&config.listeners) {
            info!(%url, name = config.name, "listening");
        }
        Ok(Handle {
            security,
            addresses: listeners.iter().filter_map(ListenerUrl::address).collect(),
            listeners,
            shards,
            stops: stops.clone(),
            threads: threads.clone(),
            publisher: Publisher::default(),
            storage_statistics,
        })
    }
}

/// Asks all shards to stop.
fn request(stops: &[Arc<Stop>], level: StopLevel) {
    for stop in stops {
        stop.request(level);
    }
}

/// Takes news of the store to a shard; one that is gone needs none.
fn teller(inbox: mpsc::Sender<Input>) -> impl Fn(News) {
    move |news| drop(inbox.blocking_send(Input::Storage(news)))
}

/// Before anybody can connect, every shard hears what the others want, and the log what they have
/// to say at the start.
fn introduce(brokers: &mut [Broker], clock: Clock, log: &LogSender) {
    loop {
        let mut letters = Vec::new();
        for (broker, shard) in brokers.iter_mut().zip(0..) {
            while let Some(action) = broker.poll_action() {
                match action {
                    Action::Route { to, letter } => letters.push((PeerId(shard), to, letter)),
                    // Its thread is not there yet, but its channel is.
                    Action::Persist(batch) => {
                        drop(log.send((shard, LogRequest::Append(batch))));
                    }
                    Action::Load(message) => {
                        drop(log.send((shard, LogRequest::Load(message))));
                    }
                    // There is no connection yet, and nobody who listens to events.
                    Action::Send(_)
                    | Action::Pause(_)
                    | Action::Resume(_)
                    | Action::Close { .. }
                    | Action::Authenticate { .. }
                    | Action::HandOver { .. }
                    | Action::Event(_) => {}
                }
            }
        }
        if letters.is_empty() {
            return;
        }
        for (from, to, letter) in letters {
            if let Some(broker) = brokers.get_mut(usize::from(to.0)) {
                broker.routed(clock.now(), from, letter);
            }
        }
    }
}

/// What a shard has that belongs with what the others have, and the ends that others hold of it.
struct Seat {
    broker: RecordedBroker,
    ready: Arc<ReadyList>,
    stop: Arc<Stop>,
    inbox: mpsc::Receiver<Input>,
    inbox_sender: mpsc::Sender<Input>,
    post: mpsc::UnboundedReceiver<Post>,
    others: Vec<Outbox>,
    farewell: Farewell,
}

/// Lets shards reach each other.
fn seats(brokers: Vec<Broker>) -> Vec<Seat> {
    let ready: Vec<Arc<ReadyList>> = brokers.iter().map(|_| Arc::default()).collect();
    let wakers = ready.iter().map(|ready| ready.waker(Source::Stop));
    let farewells = Farewell::party(wakers.collect());
    let (others, posts): (Vec<_>, Vec<_>) =
        brokers.iter().map(|_| mpsc::unbounded_channel()).unzip();
    let others: Vec<Outbox> = others.into_iter().map(Outbox::new).collect();
    let all = brokers.into_iter().zip(ready).zip(posts).zip(farewells);
    all.map(|(((broker, ready), post), farewell)| {
        let (inbox_sender, inbox) = mpsc::channel(INBOX_MAXIMUM);
        Seat {
            broker: broker.into(),
            stop: Arc::new(Stop::new(ready.waker(Source::Stop))),
            ready,
            inbox,
            inbox_sender,
            post,
            others: others.clone(),
            farewell,
        }
    })
    .collect()
}

/// Starts the thread of one shard, and waits until it serves.
fn spawn(
    shard: u16,
    parts: Parts,
    threads: &Threads,
    end: StopsOthers,
) -> io::Result<tokio::runtime::Handle> {
    let (started, result) = std_mpsc::sync_channel(1);
    threads.spawn(&format!("whimbrel-{shard}"), shard, move || {
        let _end = end;
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error))),
        };
        // The shard bounds its turns by itself; tokio's budget would make it see sockets as not
        // ready that are.
        let handle = runtime.handle().clone();
        runtime.block_on(tokio::task::unconstrained(async move {
            match Shard::new(parts) {
                Ok(shard) => {
                    drop(started.send(Ok(handle)));
                    shard.run().await;
                }
                Err(error) => drop(started.send(Err(error))),
            }
        }));
    })?;
    let ended = |_| Err(io::Error::other("the thread of a shard ended at once"));
    result.recv().unwrap_or_else(ended)
}

/// A shard that ends, also by a panic, takes the others with it: a broker with a part missing would
/// lose messages.
struct StopsOthers(Vec<Arc<Stop>>);

impl Drop for StopsOthers {
    fn drop(&mut self) {
        request(&self.0, StopLevel::Gracefully);
    }
}

/// A running broker. Dropping it stops the broker promptly, without waiting for it.
pub struct Handle {
    listeners: Vec<ListenerUrl>,
    security: Vec<Arc<Security>>,
    addresses: Vec<SocketAddr>,
    shards: Vec<ShardHandle>,
    stops: Vec<Arc<Stop>>,
    threads: Threads,
    /// The link that publishes, once there is one.
    publisher: Publisher,
    storage_statistics: Option<SharedStatistics>,
}

struct ShardHandle {
    inbox: mpsc::Sender<Input>,
    runtime: tokio::runtime::Handle,
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

    /// Reads certificates, keys, authorities and lists anew, and checks them; nothing of it is in
    /// use before [`Certificates::apply`]. `listeners` is the configuration, as it was at the start
    /// but for the files.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with any of them.
    pub fn read_certificates(
        &self,
        listeners: &[whimbrel_core::runtime::ListenerConfig],
    ) -> Result<Certificates, Vec<CertificateError>> {
        Certificates::read(&self.security, listeners)
    }

    /// Puts other rules and bans in force on all shards: those of a configuration that was read
    /// anew. See [`Broker::set_rules`](whimbrel_core::Broker::set_rules).
    ///
    /// # Errors
    ///
    /// The broker has stopped.
    pub async fn set_access(&self, access: AccessConfig) -> Result<(), Stopped> {
        for shard in &self.shards {
            let input = Input::Access(access.clone());
            shard.inbox.send(input).await.map_err(|_| Stopped)?;
        }
        Ok(())
    }

    /// Stops gracefully: no new connections, clients are told and get their last bytes, for at most
    /// the configured time. Ready when all is done. Calling it again waits for the same;
    /// [`stop_now`](Self::stop_now) hurries it.
    ///
    /// # Errors
    ///
    /// A shard had crashed.
    pub async fn shutdown(&self) -> Result<(), Crashed> {
        request(&self.stops, StopLevel::Gracefully);
        self.stopped().await
    }

    /// Stops promptly: clients are told as far as they listen at this moment. Does not wait; see
    /// [`stopped`](Self::stopped).
    pub fn stop_now(&self) {
        request(&self.stops, StopLevel::Promptly);
    }

    /// Waits until the broker has stopped, for whatever reason: its threads have ended, and what is
    /// owed to the disk is there. As many may wait as like, and all get the same answer.
    ///
    /// # Errors
    ///
    /// A shard has crashed, which stops the others, or the log has failed.
    pub async fn stopped(&self) -> Result<(), Crashed> {
        self.threads.ended().await
    }

    /// Counters and gauges, one set a shard.
    ///
    /// # Errors
    ///
    /// The broker has stopped.
    pub async fn statistics(&self) -> Result<Vec<Statistics>, Stopped> {
        let mut all = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            let (answer, statistics) = oneshot::channel();
            let question = Input::Statistics(answer);
            shard.inbox.send(question).await.map_err(|_| Stopped)?;
            all.push(statistics.await.map_err(|_| Stopped)?);
        }
        Ok(all)
    }

    /// What there is of each tenant, on all shards together: by name, the default one first.
    ///
    /// # Errors
    ///
    /// The broker has stopped.
    pub async fn tenants(&self) -> Result<Vec<TenantUsage>, Stopped> {
        let mut all = Vec::with_capacity(self.shards.len());
        for shard in &self.shards {
            let (answer, tenants) = oneshot::channel();
            let question = Input::Tenants(answer);
            shard.inbox.send(question).await.map_err(|_| Stopped)?;
            all.push(tenants.await.map_err(|_| Stopped)?);
        }
        Ok(TenantUsage::of_all(all))
    }

    /// What was written to keep things, at the last moment when something became durable. `None`
    /// when nothing is kept.
    #[must_use]
    pub fn storage_statistics(&self) -> Option<StorageStatistics> {
        self.storage_statistics.as_ref().map(SharedStatistics::get)
    }

    /// Opens a connection from inside this program: a byte stream that speaks MQTT with the broker
    /// like any other, but has no address, needs no credentials and passes no socket.
    ///
    /// # Errors
    ///
    /// The broker has stopped.
    pub async fn open(&self) -> Result<DuplexStream, Stopped> {
        let (ours, theirs) = tokio::io::duplex(IN_PROCESS_BYTES);
        let shard = self.shards.first().ok_or(Stopped)?;
        let input = Input::Attach(theirs);
        shard.inbox.send(input).await.map_err(|_| Stopped)?;
        Ok(ours)
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
        let mut gone = 0;
        for shard in &self.shards {
            let (answer, count) = oneshot::channel();
            let input = Input::Reconsider(answer);
            shard.inbox.send(input).await.map_err(|_| Stopped)?;
            gone += count.await.map_err(|_| Stopped)?;
        }
        Ok(gone)
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
        let shard = self
            .shards
            .first()
            .ok_or_else(|| io::Error::other(Stopped))?;
        let transport = Transport::Plain(Pipe::Memory(Box::new(stream)));
        client::over(transport, config, &shard.runtime).await
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

#[cfg(test)]
mod tests;
