//! Starting a broker on some runtime.

use crate::brokers::Beginning;
use crate::client::{Connection, Events};
use crate::handle::{Handle, Running};
use crate::inbox::{Inbox, Input, StopLevel};
use crate::listen::Bound;
use crate::report::EventSink;
use crate::shard::{Driver, Seat};
use crate::storage::{self, LogSender, Opened, Teller};
use crate::{Clock, Threads, brokers};
use core::marker::PhantomData;
use core::task::Waker;
use std::io;
use std::sync::Arc;
use tracing::info;
use whimbrel_core::client::Config;
use whimbrel_core::runtime::client::OpenError;
use whimbrel_core::runtime::{
    Authenticator, ListenError, ListenerConfig, Policy, ServerConfig, StartError,
};
use whimbrel_core::{Broker, Event};
use whimbrel_transport::still_taken_by;

/// What a runtime gives a server, beyond what it gives each [shard](Driver).
pub trait Runtime: Sized + Send + Sync + 'static {
    /// What it gives a shard.
    type Driver: Driver;
    /// An open listening socket, for as many shards as there are.
    type Listening;
    /// Our end of a connection from inside the program.
    type Stream: Send;

    /// Makes ready for so many shards.
    ///
    /// # Errors
    ///
    /// It cannot do what the configuration asks for, or the system gives nothing.
    fn new(config: &ServerConfig, shards: u16) -> Result<Self, StartError>;

    /// Makes the brokers. A runtime with many shards lets them hear of each other as well, before
    /// anybody can connect; what they want to be kept then goes to the log.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration, or the system gives nothing.
    fn begin(
        beginnings: Vec<Beginning>,
        _: Clock,
        _: &LogSender,
    ) -> Result<Vec<Broker>, StartError> {
        let brokers = beginnings.into_iter().map(Beginning::broker);
        Ok(brokers.collect::<Result<_, _>>()?)
    }

    /// What wakes a shard.
    fn bell(&self, shard: u16) -> Waker;

    /// Opens a listening socket. A thread that it needs ends after the last who uses the socket.
    ///
    /// # Errors
    ///
    /// What the system says, with the place.
    fn bind(
        &self,
        config: &ListenerConfig,
        threads: &Threads,
    ) -> Result<Bound<Self::Listening>, ListenError>;

    /// Starts the thread of one shard. They are started in order.
    ///
    /// # Errors
    ///
    /// What the system refuses. The shard is dropped then.
    fn spawn(
        &mut self,
        seat: Seat<Self::Driver>,
        listeners: &[Bound<Self::Listening>],
    ) -> Result<(), StartError>;

    /// Both ends of a connection from inside the program: of its user, and of the first shard.
    ///
    /// # Errors
    ///
    /// The system gives none.
    fn pair(&self) -> io::Result<(Self::Stream, <Self::Driver as Driver>::Transport)>;

    /// Connects a client over such a stream.
    fn connect(
        &self,
        stream: Self::Stream,
        config: Config,
    ) -> impl Future<Output = Result<(Connection, Events), OpenError>> + Send;
}

/// A broker that has not been started, and the runtime it will run on.
pub struct Server<R> {
    config: ServerConfig,
    authenticator: Option<Arc<dyn Authenticator>>,
    events: Option<EventSink>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> Server<R> {
    /// A server with this configuration. Several may run in one process.
    #[must_use]
    pub const fn new(config: ServerConfig) -> Self {
        Self {
            config,
            authenticator: None,
            events: None,
            runtime: PhantomData,
        }
    }

    /// Asks `authenticator` who may connect. Without one everybody may whom the listener's rule on
    /// anonymous clients lets in.
    ///
    /// `whimbrel-auth` has the one of the program: password files, tokens, SCRAM. A program may
    /// bring its own; `whimbrel-tokio` shows how.
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
    pub fn start(self) -> Result<Handle<R>, StartError> {
        brokers::validate(&self.config)?;
        let runtime = R::new(&self.config, brokers::shards(&self.config))?;
        let storage = storage::open(&self.config)?;
        self.run(runtime, storage)
    }

    /// The same with a store of the caller's, instead of what the configuration names.
    ///
    /// # Errors
    ///
    /// As of [`start`](Self::start).
    pub fn start_with(self, store: Opened) -> Result<Handle<R>, StartError> {
        brokers::validate(&self.config)?;
        let runtime = R::new(&self.config, brokers::shards(&self.config))?;
        self.run(runtime, Some(store))
    }

    fn run(self, runtime: R, storage: Option<Opened>) -> Result<Handle<R>, StartError> {
        let threads = Threads::default();
        let shards = 0..brokers::shards(&self.config);
        let inboxes: Inboxes<R> = shards
            .map(|shard| Arc::new(Inbox::new(runtime.bell(shard))))
            .collect();
        let started = self.start_threads(runtime, storage, &threads, &inboxes);
        if started.is_err() {
            // What had been started ends, now that nobody else holds anything of it.
            for inbox in &*inboxes {
                inbox.stop(StopLevel::Promptly);
            }
            let _ = threads.wait();
        }
        started
    }

    /// Goes on from what was kept. It is there again before anybody can connect.
    fn start_threads(
        self,
        mut runtime: R,
        storage: Option<Opened>,
        threads: &Threads,
        inboxes: &Inboxes<R>,
    ) -> Result<Handle<R>, StartError> {
        let clock = Clock::start();
        let (store, kept) = match storage {
            Some(Opened { store, restorer }) => (Some(store), Some(restorer)),
            None => (None, None),
        };
        let log_sender = LogSender::default();
        let beginnings = brokers::beginnings(&self.config, clock, kept);
        let brokers = R::begin(beginnings, clock, &log_sender)?;
        let listeners = (self.config.listeners.iter())
            .map(|config| runtime.bind(config, threads))
            .collect::<Result<Vec<_>, _>>()?;
        let (mut log, mut storage_statistics) = (None, None);
        if let Some(store) = store {
            let tellers = inboxes.iter().map(|inbox| -> Teller {
                let inbox = Arc::clone(inbox);
                Box::new(move |news| inbox.push(Input::Storage(news)))
            });
            let statistics = log_sender.start(store, clock, tellers.collect(), threads)?;
            (log, storage_statistics) = (Some(log_sender), Some(statistics));
        }
        let config = Arc::new(self.config);
        let security: Vec<_> = listeners
            .iter()
            .map(|bound| Arc::clone(&bound.security))
            .collect();
        let policy = Policy::new(&config.listeners, self.authenticator)
            .certificates(still_taken_by(security.clone()));
        for (broker, shard) in brokers.into_iter().zip(0..) {
            let seat = Seat {
                config: Arc::clone(&config),
                broker,
                shard,
                clock,
                policy: policy.clone(),
                events: self.events.clone(),
                inboxes: inboxes.clone(),
                threads: threads.clone(),
                log: log.clone(),
            };
            runtime.spawn(seat, &listeners)?;
        }
        for (bound, config) in listeners.iter().zip(&config.listeners) {
            info!(url = %bound.url, name = config.name, "listening");
        }
        let urls = listeners.into_iter().map(|bound| bound.url);
        Ok(Handle::new(Running {
            runtime,
            listeners: urls.collect(),
            security,
            inboxes: inboxes.clone(),
            threads: threads.clone(),
            storage_statistics,
        }))
    }
}

/// The inboxes of all shards of a server, by their numbers.
pub(crate) type Inboxes<R> = Arc<[Arc<Inbox<<<R as Runtime>::Driver as Driver>::Transport>>]>;
