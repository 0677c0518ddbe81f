//! What a story needs of a runtime, and the runtimes there are.

use crate::PATIENCE;
use core::net::SocketAddr;
use core::time::Duration;
use futures_lite::future::block_on;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;
use whimbrel_core::Config;
use whimbrel_core::codec::packet::QoS;
use whimbrel_core::runtime::{LinkError, ListenerConfig, ListenerUrl, Message, ServerConfig};
use whimbrel_core::statistics::Statistics;
// Of both runtimes.
use whimbrel_tokio::client::{self, Connection, Events, OpenError};

/// How often a condition is looked at that nothing announces.
const LOOK: Duration = Duration::from_millis(2);

/// A broker that runs on some runtime and listens on a free port of this machine.
pub(crate) trait Runtime: Sized + Sync {
    /// Starts a broker with this configuration.
    fn start(config: Config) -> Self;

    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// What the core has counted, all shards together.
    fn statistics(&self) -> Statistics;

    /// Publishes from inside this program.
    fn publish(&self, topic: &str, payload: &[u8], qos: QoS) -> Result<(), LinkError>;

    /// Connects a client from inside this program.
    fn connect(&self, config: client::Config) -> Result<(Connection, Events), OpenError>;

    /// Subscribes from inside this program: gives what waits for the next message.
    fn subscribe(
        &self,
        filter: &str,
        qos: QoS,
    ) -> Result<impl FnMut() -> Option<Message> + 'static, LinkError>;

    /// Stops gracefully; panics when that takes too long, or a part of the broker has crashed.
    fn stop(self);

    /// Waits until the statistics are as they should be, and gives them.
    fn until(&self, what: &str, holds: impl Fn(&Statistics) -> bool) -> Statistics {
        let started = Instant::now();
        loop {
            let statistics = self.statistics();
            if holds(&statistics) {
                return statistics;
            }
            let patient = started.elapsed() < PATIENCE;
            assert!(patient, "waited in vain until {what}: {statistics:?}");
            thread::park_timeout(LOOK);
        }
    }
}

/// One that can be given another listener.
pub(crate) trait Listens: Runtime {
    /// The broker with this one listener.
    fn with(broker: Config, listener: ListenerConfig) -> Self;

    /// Where it listens, and with what.
    fn listener(&self) -> ListenerUrl;
}

/// Ends within [`PATIENCE`], or panics.
pub(crate) fn in_time<T: Send + 'static>(ending: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || done.send(ending()));
    ended
        .recv_timeout(PATIENCE)
        .expect("the broker stops in time")
}

fn config(broker: Config, threads: u16) -> ServerConfig {
    let listener = ListenerConfig::at(SocketAddr::from(([127, 0, 0, 1], 0)));
    ServerConfig {
        broker,
        listeners: vec![listener],
        threads,
        ..ServerConfig::default()
    }
}

/// All shards together.
fn sum_of(shards: Vec<Statistics>) -> Statistics {
    let mut sum = Statistics::default();
    for shard in &shards {
        sum.add(shard);
    }
    sum
}

/// The broker of `whimbrel-tokio`.
pub(crate) struct OnTokio {
    handle: whimbrel_tokio::Handle,
    /// Asks questions; the broker's own threads are elsewhere.
    asking: tokio::runtime::Runtime,
}

/// The same with two threads.
pub(crate) struct OnTokioThreads(OnTokio);

impl Runtime for OnTokioThreads {
    fn start(broker: Config) -> Self {
        Self(OnTokio::with_threads(broker, 2))
    }

    fn address(&self) -> SocketAddr {
        self.0.address()
    }

    fn statistics(&self) -> Statistics {
        self.0.statistics()
    }

    fn publish(&self, topic: &str, payload: &[u8], qos: QoS) -> Result<(), LinkError> {
        self.0.publish(topic, payload, qos)
    }

    fn connect(&self, config: client::Config) -> Result<(Connection, Events), OpenError> {
        self.0.connect(config)
    }

    fn subscribe(
        &self,
        filter: &str,
        qos: QoS,
    ) -> Result<impl FnMut() -> Option<Message> + 'static, LinkError> {
        self.0.subscribe(filter, qos)
    }

    fn stop(self) {
        self.0.stop();
    }
}

impl OnTokio {
    fn with_threads(broker: Config, threads: u16) -> Self {
        Self::of(config(broker, threads))
    }

    fn of(config: ServerConfig) -> Self {
        let server = whimbrel_tokio::Server::new(config);
        let handle = server.start().expect("the broker starts");
        let asking = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime to ask questions with");
        Self { handle, asking }
    }
}

impl Listens for OnTokio {
    fn with(broker: Config, listener: ListenerConfig) -> Self {
        Self::of(ServerConfig {
            listeners: vec![listener],
            ..config(broker, 1)
        })
    }

    fn listener(&self) -> ListenerUrl {
        self.handle.listeners()[0].clone()
    }
}

impl Runtime for OnTokio {
    fn start(broker: Config) -> Self {
        Self::with_threads(broker, 1)
    }

    fn address(&self) -> SocketAddr {
        self.handle.addresses()[0]
    }

    fn statistics(&self) -> Statistics {
        let shards = self.asking.block_on(self.handle.statistics());
        sum_of(shards.expect("the broker runs"))
    }

    fn publish(&self, topic: &str, payload: &[u8], qos: QoS) -> Result<(), LinkError> {
        block_on(self.handle.publish(topic, payload, qos, false))
    }

    fn connect(&self, config: client::Config) -> Result<(Connection, Events), OpenError> {
        block_on(self.handle.connect(config))
    }

    fn subscribe(
        &self,
        filter: &str,
        qos: QoS,
    ) -> Result<impl FnMut() -> Option<Message> + 'static, LinkError> {
        let mut subscription = block_on(self.handle.subscribe(filter, qos))?;
        Ok(move || block_on(subscription.next()))
    }

    fn stop(self) {
        in_time(move || self.asking.block_on(self.handle.shutdown()))
            .expect("no part of the broker has crashed");
    }
}

/// The broker of `whimbrel-smol`.
pub(crate) struct OnSmol(whimbrel_smol::Handle);

impl OnSmol {
    fn of(config: ServerConfig) -> Self {
        let server = whimbrel_smol::Server::new(config);
        Self(server.start().expect("the broker starts"))
    }
}

impl Listens for OnSmol {
    fn with(broker: Config, listener: ListenerConfig) -> Self {
        Self::of(ServerConfig {
            listeners: vec![listener],
            ..config(broker, 1)
        })
    }

    fn listener(&self) -> ListenerUrl {
        self.0.listeners()[0].clone()
    }
}

impl Runtime for OnSmol {
    fn start(broker: Config) -> Self {
        Self::of(config(broker, 1))
    }

    fn address(&self) -> SocketAddr {
        self.0.addresses()[0]
    }

    fn statistics(&self) -> Statistics {
        sum_of(block_on(self.0.statistics()).expect("the broker runs"))
    }

    fn publish(&self, topic: &str, payload: &[u8], qos: QoS) -> Result<(), LinkError> {
        block_on(self.0.publish(topic, payload, qos, false))
    }

    fn connect(&self, config: client::Config) -> Result<(Connection, Events), OpenError> {
        block_on(self.0.connect(config))
    }

    fn subscribe(
        &self,
        filter: &str,
        qos: QoS,
    ) -> Result<impl FnMut() -> Option<Message> + 'static, LinkError> {
        let mut subscription = block_on(self.0.subscribe(filter, qos))?;
        Ok(move || block_on(subscription.next()))
    }

    fn stop(self) {
        in_time(move || block_on(self.0.shutdown())).expect("no part of the broker has crashed");
    }
}
