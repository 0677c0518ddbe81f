//! What a story needs of a runtime, and the runtimes there are.

use crate::PATIENCE;
use core::net::SocketAddr;
use core::time::Duration;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;
use whimbrel_core::Config;
use whimbrel_core::statistics::Statistics;
use whimbrel_tokio::{Handle, ListenerConfig, ListenerUrl, Server, ServerConfig};

/// How often a condition is looked at that nothing announces.
const LOOK: Duration = Duration::from_millis(2);

/// A broker that runs on some runtime and listens on a free port of this machine.
pub(crate) trait Runtime: Sized {
    /// Starts a broker with this configuration.
    fn start(config: Config) -> Self;

    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// What the core has counted, all shards together.
    fn statistics(&self) -> Statistics;

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

/// The broker of `whimbrel-tokio`.
pub(crate) struct OnTokio {
    handle: Handle,
    /// Asks questions; the broker's own threads are elsewhere.
    asking: tokio::runtime::Runtime,
}

impl OnTokio {
    /// The broker with this one listener.
    pub(crate) fn with(broker: Config, listener: ListenerConfig) -> Self {
        let config = ServerConfig {
            broker,
            listeners: vec![listener],
            ..ServerConfig::default()
        };
        let handle = Server::new(config).start().expect("the broker starts");
        let asking = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime to ask questions with");
        Self { handle, asking }
    }

    /// Where it listens, and with what.
    pub(crate) fn listener(&self) -> ListenerUrl {
        self.handle.listeners()[0].clone()
    }
}

impl Runtime for OnTokio {
    fn start(broker: Config) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::with(broker, ListenerConfig::at(address))
    }

    fn address(&self) -> SocketAddr {
        self.handle.addresses()[0]
    }

    fn statistics(&self) -> Statistics {
        let shards = self.asking.block_on(self.handle.statistics());
        let mut shards = shards.expect("the broker runs").into_iter();
        let first = shards.next().expect("it has a shard");
        assert!(
            shards.next().is_none(),
            "sum them up once there are several"
        );
        first
    }

    fn stop(self) {
        let (done, stopped) = mpsc::channel();
        thread::spawn(move || done.send(self.asking.block_on(self.handle.shutdown())));
        let stopped = stopped.recv_timeout(PATIENCE);
        stopped
            .expect("the broker stops in time")
            .expect("no part of the broker has crashed");
    }
}
