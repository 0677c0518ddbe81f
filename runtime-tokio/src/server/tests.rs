//! A broker whose store fails.

use crate::Server;
use whimbrel_core::action::Batch;
use whimbrel_core::codec::packet::QoS;
use whimbrel_core::id::{MessageId, Position};
use whimbrel_core::log::{LogConfig, Statistics};
use whimbrel_core::runtime::{
    ListenerConfig, RecordingConfig, ServerConfig, StartError, StorageConfig,
};
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
        let broker = Server::new(config).start_with(opened).unwrap();
        let kept = broker.publish("t", b"x", QoS::AtLeastOnce, true).await;
        assert!(kept.is_err(), "{kept:?}");
        // Whoever asks, and however often, hears the same.
        assert!(broker.stopped().await.is_err());
        assert!(broker.shutdown().await.is_err());
    }
}

#[tokio::test]
async fn what_cannot_start_leaves_nothing_running() {
    let name = format!("whimbrel-{}-cannot-start", std::process::id());
    let directory = std::env::temp_dir().join(name);
    let config = ServerConfig {
        threads: 2,
        listeners: vec![ListenerConfig::at("127.0.0.1:0".parse().unwrap())],
        storage: StorageConfig::Log {
            directory: directory.clone(),
            log: LogConfig::default(),
        },
        ..ServerConfig::default()
    };
    let recorded = ServerConfig {
        recording: Some(RecordingConfig::new(
            directory.join("nowhere").join("recording"),
        )),
        ..config.clone()
    };
    let error = Server::new(recorded).start().err().unwrap();
    assert!(matches!(error, StartError::Recording { .. }), "{error}");
    // The directory is locked as long as the thread of the log runs.
    let broker = Server::new(config).start().unwrap();
    broker.shutdown().await.unwrap();
    std::fs::remove_dir_all(directory).unwrap();
}
