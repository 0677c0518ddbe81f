//! A broker whose store fails.

use crate::Server;
use whimbrel_core::action::Batch;
use whimbrel_core::codec::packet::QoS;
use whimbrel_core::id::{MessageId, Position};
use whimbrel_core::log::{LogConfig, Statistics};
use whimbrel_core::runtime::{ServerConfig, StorageConfig};
use whimbrel_core::{Restorer, Timestamp};
use whimbrel_host::storage::{Opened, Store, StoreEvent};

/// Keeps what a broker says when it starts, and fails at the next batch.
struct Faulty {
    panics: bool,
    event: Option<StoreEvent>,
}

impl Store for Faulty {
    fn append(&mut self, shard: u16, batch: Batch) {
        let position = batch.position;
        self.event = Some(match position {
            Position(1) => StoreEvent::Durable { shard, position },
            _ => StoreEvent::Failed("on purpose".to_owned()),
        });
    }

    fn read(&mut self, _shard: u16, _message: MessageId) {}

    fn advance(&mut self, _now: Timestamp) {}

    fn next_deadline(&self) -> Option<Timestamp> {
        None
    }

    fn close(&mut self) {}

    fn step(&mut self) -> bool {
        let fails = matches!(self.event, Some(StoreEvent::Failed(_)));
        assert!(!(fails && self.panics), "on purpose");
        false
    }

    fn poll_event(&mut self) -> Option<StoreEvent> {
        self.event.take()
    }

    fn statistics(&self) -> Statistics {
        Statistics::default()
    }
}

#[tokio::test]
async fn a_store_that_fails_or_panics_acknowledges_nothing_and_ends_the_broker() {
    for panics in [false, true] {
        let config = ServerConfig {
            listeners: Vec::new(),
            storage: StorageConfig::Log {
                directory: "unused".into(),
                log: LogConfig::default(),
            },
            ..ServerConfig::default()
        };
        let store = Faulty {
            panics,
            event: None,
        };
        let opened = Opened {
            store: Box::new(store),
            restorer: Restorer::new(),
        };
        let broker = Server::new(config).start_on(Some(opened)).unwrap();
        let kept = broker.publish("t", b"x", QoS::AtLeastOnce, true).await;
        assert!(kept.is_err(), "{kept:?}");
        assert!(broker.stopped().await.is_err());
    }
}
