//! Every store, with the same stories.

use super::store::{Store, StoreEvent};
use super::{Opened, open};
use std::path::{Path, PathBuf};
use whimbrel_core::action::{Batch, BatchMark};
use whimbrel_core::codec::packet::{
    Connect, Disconnect, Publish, QoS, RetainHandling, Subscribe, SubscribeOptions, Version,
};
use whimbrel_core::codec::{self, Packet, Properties, ReasonCode, SubscribeBuffer};
use whimbrel_core::id::{MessageId, PacketId, Position};
use whimbrel_core::log::{BatchRef, BatchWriter, LogConfig, OnCorruption, Op, Pressure};
use whimbrel_core::restore::Restorer;
#[cfg(feature = "sqlite")]
use whimbrel_core::runtime::SqliteConfig;
use whimbrel_core::runtime::{ServerConfig, StorageConfig};
use whimbrel_core::{
    Action, Broker, Config, ConnectionId, Grant, Now, Peer, Timestamp, UnixTime, Verdict,
};

/// A directory that is gone after the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("whimbrel-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The same place, kept by each store there is.
fn every_backend(directory: &Path) -> Vec<(&'static str, StorageConfig)> {
    let log = LogConfig {
        segment_bytes: 64 << 10,
        ..LogConfig::default()
    };
    vec![
        (
            "log",
            StorageConfig::Log {
                directory: directory.join("log"),
                log,
            },
        ),
        #[cfg(feature = "sqlite")]
        (
            "sqlite",
            StorageConfig::Sqlite {
                directory: directory.join("sqlite"),
                database: SqliteConfig::default(),
            },
        ),
    ]
}

fn opened(storage: &StorageConfig) -> Opened {
    let config = ServerConfig {
        storage: storage.clone(),
        ..ServerConfig::default()
    };
    open(&config).unwrap().expect("it keeps things")
}

/// Carries out what there is to do. Up to where all is durable, and whether it has closed.
fn work(store: &mut dyn Store) -> (Position, bool) {
    let (mut durable, mut closed) = (Position(0), false);
    loop {
        let busy = store.step();
        while let Some(event) = store.poll_event() {
            match event {
                StoreEvent::Durable { position, .. } => durable = position,
                StoreEvent::Closed => closed = true,
                StoreEvent::Failed(why) => panic!("{why}"),
                StoreEvent::CheckpointWanted | StoreEvent::Loaded(_) | StoreEvent::Pressure(_) => {}
            }
        }
        if !busy {
            return (durable, closed);
        }
    }
}

const NOW: Now = Now {
    monotonic: Timestamp(0),
    wall: UnixTime(1_800_000_000_000),
};

/// A broker and what it said to the log.
struct Story {
    broker: Broker,
    batches: Vec<Batch>,
}

impl Story {
    fn new() -> Self {
        let config = Config {
            durable: true,
            ..Config::default()
        };
        Self {
            broker: Broker::new(config, 7, NOW).unwrap(),
            batches: Vec::new(),
        }
    }

    fn connect(&mut self, client_id: &str, clean_start: bool) -> ConnectionId {
        let connection = self.broker.accept(NOW, Peer::default());
        let packet = Packet::Connect(Connect {
            version: Version::V4,
            clean_start,
            keep_alive_s: 0,
            client_id,
            will: None,
            username: None,
            password: None,
            properties: Properties::EMPTY,
        });
        self.say(connection, &packet);
        connection
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "nothing else concerns what is kept"
    )]
    fn say(&mut self, connection: ConnectionId, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        codec::encode(packet, Version::V4, &mut bytes).unwrap();
        self.broker.receive(NOW, connection, &bytes);
        while let Some(action) = self.broker.poll_action() {
            match action {
                Action::Persist(batch) => {
                    let position = batch.position;
                    self.batches.push(batch);
                    self.broker.persisted(NOW, position);
                }
                Action::Send(connection) => {
                    self.broker.transmit(NOW, connection, &mut Vec::new());
                }
                Action::Authenticate { connection, .. } => {
                    let verdict = Verdict::Accept(Grant::default());
                    self.broker.authenticated(NOW, connection, verdict);
                }
                _ => {}
            }
        }
    }

    fn leave(&mut self, connection: ConnectionId) {
        let packet = Packet::Disconnect(Disconnect {
            reason: ReasonCode::SUCCESS,
            properties: Properties::EMPTY,
        });
        self.say(connection, &packet);
    }

    fn subscribe(&mut self, connection: ConnectionId, filter: &str) {
        let mut filters = SubscribeBuffer::new();
        let options = SubscribeOptions {
            maximum_qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        filters.push(filter, options);
        let packet = Packet::Subscribe(Subscribe {
            packet_id: id(1),
            properties: Properties::EMPTY,
            filters: filters.as_filters(Version::V4),
        });
        self.say(connection, &packet);
    }

    fn publish(&mut self, connection: ConnectionId, number: u16, qos: QoS, retain: bool) {
        let payload = number.to_string();
        let packet = Packet::Publish(Publish {
            dup: false,
            qos,
            retain,
            topic: "t",
            packet_id: Some(id(number)),
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        });
        self.say(connection, &packet);
    }
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("not zero")
}

/// Sessions that stay and one that ends, queues, open exchanges, a retained message.
fn story() -> Vec<Batch> {
    let mut story = Story::new();
    for client_id in ["stays", "ends"] {
        let connection = story.connect(client_id, false);
        story.subscribe(connection, "t");
        story.subscribe(connection, "u/+");
        story.leave(connection);
    }
    let publisher = story.connect("publisher", false);
    for number in 1..20 {
        let qos = if number % 2 == 0 {
            QoS::ExactlyOnce
        } else {
            QoS::AtLeastOnce
        };
        story.publish(publisher, number, qos, number % 7 == 0);
    }
    story.connect("ends", true);
    story.connect("stays", false);
    story.publish(publisher, 20, QoS::AtLeastOnce, false);
    story.batches
}

/// What is restored, but for the numbers of sessions that are gone.
fn restored(restorer: &Restorer) -> String {
    let text = format!("{restorer:?}");
    text.split("last_session")
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn every_store_gives_back_what_the_broker_said() {
    let directory = Directory::new("gives-back");
    for (name, storage) in every_backend(&directory.0) {
        let memory_bytes = Config::default().limits.queued_payload_memory_bytes;
        let mut expected = Restorer::within(memory_bytes);
        let Opened {
            mut store,
            restorer,
        } = opened(&storage);
        assert_eq!(restorer.counts(), (0, 0), "{name}");
        for batch in story() {
            expected.apply(&batch.operations).unwrap();
            let position = batch.position;
            store.append(0, batch);
            assert_eq!(work(&mut *store).0, position, "{name}");
        }
        // As if the process had been killed; then, as if it had been stopped.
        drop(store);
        for is_closed in [false, true] {
            let Opened {
                mut store,
                restorer,
            } = opened(&storage);
            assert_eq!(
                restored(&restorer),
                restored(&expected),
                "{name} {is_closed}"
            );
            store.close();
            assert!(work(&mut *store).1, "{name}");
        }
    }
}

/// Whoever starts an earlier version by mistake is told so, where it stands, and what to start.
#[test]
fn what_this_version_does_not_know_is_named_with_its_place() {
    let directory = Directory::new("later");
    for (name, storage) in every_backend(&directory.0) {
        let Opened { mut store, .. } = opened(&storage);
        let mut operations = Vec::new();
        BatchWriter::new(&mut operations).put(b"zebra", b"");
        store.append(0, of(1, operations, 0));
        work(&mut *store);
        drop(store);
        let config = ServerConfig {
            storage,
            ..ServerConfig::default()
        };
        let refused = open(&config).err().expect("it is refused").to_string();
        let place = directory.0.join(name).display().to_string();
        let kind = "records of kind 0x7a, which this version does not know; start the version";
        for expected in [&*place, kind] {
            assert!(refused.contains(expected), "{expected}: {refused}");
        }
        assert_eq!(refused.contains("frame "), name == "log", "{refused}");
    }
}

#[test]
fn what_waits_in_every_store_becomes_durable_together() {
    let directory = Directory::new("together");
    for (name, storage) in every_backend(&directory.0) {
        let Opened { mut store, .. } = opened(&storage);
        work(&mut *store);
        let before = store.statistics();
        let batches = story();
        let last = batches.last().unwrap().position;
        for batch in batches {
            store.append(0, batch);
        }
        assert_eq!(work(&mut *store).0, last, "{name}");
        let after = store.statistics();
        assert_eq!(after.syncs - before.syncs, 1, "{name}");
        assert!(after.payload_bytes > before.payload_bytes, "{name}");
    }
}

#[test]
fn every_store_waits_for_company_as_long_as_it_may() {
    let directory = Directory::new("company");
    for (name, mut storage) in every_backend(&directory.0) {
        match &mut storage {
            StorageConfig::Memory => {}
            StorageConfig::Log { log, .. } => log.sync_window_ms = 50,
            StorageConfig::Sqlite { database, .. } => database.sync_window_ms = 50,
        }
        let Opened { mut store, .. } = opened(&storage);
        work(&mut *store);
        let mut batches = story().into_iter();
        let mut next = || batches.next().expect("the story is long enough");
        store.advance(Timestamp(1_000));
        let first = next();
        store.append(0, first);
        assert_eq!(work(&mut *store).0, Position(0), "{name}");
        store.advance(Timestamp(1_049));
        let second = next();
        let position = second.position;
        store.append(0, second);
        assert_eq!(work(&mut *store).0, Position(0), "{name}");
        assert_eq!(store.next_deadline(), Some(Timestamp(1_050)), "{name}");
        store.advance(Timestamp(1_050));
        assert_eq!(work(&mut *store).0, position, "{name}");
        // At the end nobody waits.
        store.append(0, next());
        store.close();
        assert!(work(&mut *store).1, "{name}");
    }
}

#[test]
fn every_store_reads_a_message_back() {
    let directory = Directory::new("reads");
    for (name, storage) in every_backend(&directory.0) {
        let Opened { mut store, .. } = opened(&storage);
        let mut kept = Vec::new();
        for batch in story() {
            for op in BatchRef::new(&batch.operations) {
                match op.unwrap() {
                    Op::Put { key, value } if key.len() == 17 && key[0] == b'M' => {
                        kept.push((key.to_vec(), value.to_vec()));
                    }
                    Op::Delete { key } => kept.retain(|(kept, _)| kept != key),
                    Op::Put { .. } => {}
                }
            }
            store.append(0, batch);
        }
        work(&mut *store);
        assert!(!kept.is_empty());
        let unknown = MessageId {
            origin: 9,
            sequence: 9,
        };
        for (key, _) in &kept {
            store.read(3, message_of(key));
        }
        store.read(3, unknown);
        let mut answers = Vec::new();
        while answers.len() <= kept.len() {
            store.step();
            while let Some(event) = store.poll_event() {
                if let StoreEvent::Loaded(loaded) = event {
                    assert_eq!(loaded.shard, 3, "{name}");
                    answers.push((loaded.message, loaded.value));
                }
            }
        }
        for (key, value) in kept {
            assert!(answers.contains(&(message_of(&key), Some(value))), "{name}");
        }
        assert!(answers.contains(&(unknown, None)), "{name}");
    }
}

/// Positions acknowledge everything before them, so one batch that is not taken is the end.
#[test]
fn what_follows_a_batch_that_was_refused_is_never_durable() {
    let directory = Directory::new("refused");
    let storage = StorageConfig::Log {
        directory: directory.0.clone(),
        log: LogConfig {
            segment_bytes: 64 << 10,
            ..LogConfig::default()
        },
    };
    let Opened { mut store, .. } = opened(&storage);
    let [first, mut second, third] = story()
        .into_iter()
        .take(3)
        .collect::<Vec<_>>()
        .try_into()
        .expect("the story is long enough");
    let durable = first.position;
    store.append(0, first);
    assert_eq!(work(&mut *store).0, durable);
    // Any batch that the log does not take.
    second.position = durable;
    store.append(0, second);
    store.append(0, third);
    store.close();
    let mut events = Vec::new();
    while store.step() || events.is_empty() {
        events.extend(core::iter::from_fn(|| store.poll_event()));
    }
    assert!(matches!(&events[..], [StoreEvent::Failed(_)]), "{events:?}");
}

/// What a repair has made doubtful ends before anything else is kept, also when there is no room
/// for more; and what that frees is had again.
#[test]
fn sessions_in_doubt_end_on_a_full_disk_too() {
    let directory = Directory::new("doubt-full");
    let storage = |on_corruption| StorageConfig::Log {
        directory: directory.0.clone(),
        log: LogConfig {
            segment_bytes: 64 << 10,
            quota_bytes: Some(6 * (64 << 10)),
            checkpoint_min_bytes: 64 << 10,
            on_corruption,
            ..LogConfig::default()
        },
    };
    let Opened { mut store, .. } = opened(&storage(OnCorruption::Refuse));
    let mut told = Told::default();
    for number in 1..10_000_u64 {
        told.work(&mut *store);
        if told.pressure != Pressure::None {
            break;
        }
        // A subscription of each of many sessions, and something that takes room.
        let mut operations = Vec::new();
        let mut batch = BatchWriter::new(&mut operations);
        let key = [&b"U"[..], &number.to_le_bytes(), &[b'f'; 400]].concat();
        batch.put(&key, &[0; 5]);
        store.append(0, of(number, operations, 1 << 30));
    }
    assert!(matches!(told.pressure, Pressure::High(_)), "it is full");
    drop(store);
    let first = directory.0.join("seg-0000000000000001");
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[4_200] ^= 1;
    std::fs::write(&first, bytes).unwrap();

    let quarantine = storage(OnCorruption::Quarantine);
    let Opened {
        mut store,
        restorer,
    } = opened(&quarantine);
    assert_eq!(restorer.counts(), (0, 0));
    let mut told = Told::default();
    // The broker comes: its positions begin with 1, and little is live.
    let mut position = 0;
    let mut next = |mark| {
        position += 1;
        let batch = of(position, Vec::new(), 0);
        Batch { mark, ..batch }
    };
    store.append(0, next(None));
    told.work(&mut *store);
    assert!(told.durable.contains(&Position(1)), "{:?}", told.durable);
    if told.checkpoint_wanted {
        store.append(0, next(Some(BatchMark::CheckpointBegin)));
        store.append(0, next(Some(BatchMark::CheckpointEnd)));
        told.work(&mut *store);
    }
    assert_eq!(told.pressure, Pressure::None, "what ended gave its room");
    drop(store);
    let Opened { restorer, .. } = opened(&storage(OnCorruption::Refuse));
    let text = format!("{restorer:?}");
    assert!(
        text.contains("sessions: {}"),
        "they have ended for good: {text:.300}"
    );
}

fn of(position: u64, operations: Vec<u8>, live_bytes: u64) -> Batch {
    Batch {
        position: Position(position),
        mark: None,
        live_bytes,
        operations,
    }
}

/// What a store has said.
struct Told {
    durable: Vec<Position>,
    pressure: Pressure,
    checkpoint_wanted: bool,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            durable: Vec::new(),
            pressure: Pressure::None,
            checkpoint_wanted: false,
        }
    }
}

impl Told {
    fn work(&mut self, store: &mut dyn Store) {
        loop {
            let busy = store.step();
            while let Some(event) = store.poll_event() {
                match event {
                    StoreEvent::Durable { position, .. } => self.durable.push(position),
                    StoreEvent::Pressure(pressure) => self.pressure = pressure,
                    StoreEvent::CheckpointWanted => self.checkpoint_wanted = true,
                    StoreEvent::Failed(why) => panic!("{why}"),
                    StoreEvent::Closed | StoreEvent::Loaded(_) => {}
                }
            }
            if !busy {
                return;
            }
        }
    }
}

fn message_of(key: &[u8]) -> MessageId {
    let number = |at: usize| u64::from_le_bytes(key[at..at + 8].try_into().unwrap());
    MessageId {
        origin: number(1),
        sequence: number(9),
    }
}

#[cfg(all(unix, feature = "sqlite"))]
#[test]
fn a_database_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new("modes");
    let storage = StorageConfig::Sqlite {
        directory: directory.0.clone(),
        database: SqliteConfig::default(),
    };
    let Opened { mut store, .. } = opened(&storage);
    story().into_iter().for_each(|batch| store.append(0, batch));
    work(&mut *store);
    for entry in std::fs::read_dir(&directory.0).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.file_name());
    }
}
