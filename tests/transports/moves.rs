//! Connections change their shard: a session belongs to one, whoever accepted the connection. What
//! is laid on it, and what of it is half done, goes along.

use crate::PATIENCE;
use crate::broker::{at, dial};
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use whimbrel_core::codec::PropertyBuffer;
use whimbrel_core::codec::packet::{QoS, SubscribeOptions};
use whimbrel_tests::authority::Authority;
use whimbrel_tokio::client::{self, Config, Event, Message, ServerUrl, TlsOptions};
use whimbrel_tokio::{Handle, ListenerConfig, Server, ServerConfig};

/// Clients; so many that some of them are accepted by one shard and belong to the other, whoever
/// gets there first.
const CLIENTS: usize = 16;

/// Larger than a TLS record, a frame that a library makes, and what QUIC has on its way at first.
const PAYLOAD_BYTES: usize = 100_000;

fn start(listeners: Vec<ListenerConfig>) -> Handle {
    let config = ServerConfig {
        listeners,
        threads: 2,
        ..ServerConfig::default()
    };
    Server::new(config).start().expect("the broker starts")
}

/// Each client hears its neighbour over whatever is laid on both. Clients take the listeners of
/// these schemes in turn.
fn moves_over(schemes: &[&str]) {
    let authority = Authority::new(&format!("moves-{}", schemes.join("-")));
    let pair = authority.server("server", &["localhost"]);
    let listener = |scheme: &&str| {
        let place = match *scheme {
            "unix" => authority.path("socket"),
            _ => "127.0.0.1:0".to_owned(),
        };
        ListenerConfig {
            certificate: vec![pair.certificate.clone()],
            key: vec![pair.key.clone()],
            ..at(&format!("{scheme}://{place}"))
        }
    };
    let broker = start(schemes.iter().map(listener).collect());
    let urls = broker.listeners().iter().map(ToString::to_string);
    let servers: Vec<ServerUrl> = urls
        .map(|url| url.replace("127.0.0.1", "localhost").parse().unwrap())
        .collect();
    let tls = TlsOptions {
        ca: vec![authority.file()],
        ..TlsOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let everything = async {
            let mut clients = Vec::new();
            for number in 0..CLIENTS {
                let config = Config {
                    client_id: format!("client-{number}"),
                    ..Config::default()
                };
                let server = &servers[number % servers.len()];
                let (connection, events) = client::open_with(server, &tls, config).await.unwrap();
                let filters = vec![(
                    format!("to/{number}"),
                    SubscribeOptions {
                        maximum_qos: QoS::AtLeastOnce,
                        ..SubscribeOptions::default()
                    },
                )];
                let granted = connection.subscribe(filters, PropertyBuffer::new()).await;
                assert_eq!(granted.unwrap().len(), 1);
                clients.push((connection, events));
            }
            for (number, (connection, _)) in clients.iter().enumerate() {
                let message = Message {
                    topic: format!("to/{}", (number + 1) % CLIENTS),
                    payload: vec![number as u8; PAYLOAD_BYTES],
                    qos: QoS::AtLeastOnce,
                    ..Message::default()
                };
                let sent = connection.publish(message).await.unwrap();
                assert!(!sent.wait().await.unwrap().is_error());
            }
            for (number, (_, events)) in clients.iter_mut().enumerate() {
                let before = (number + CLIENTS - 1) % CLIENTS;
                let Some(Event::Message { message, .. }) = events.next().await else {
                    panic!("client {number} hears client {before}");
                };
                assert!(message.payload == vec![before as u8; PAYLOAD_BYTES]);
            }
            let shards = broker.statistics().await.unwrap();
            let sessions: Vec<u64> = shards.iter().map(|shard| shard.sessions).collect();
            assert_eq!(sessions.iter().sum::<u64>(), CLIENTS as u64);
            assert!(
                sessions.iter().all(|sessions| *sessions > 0),
                "{sessions:?}"
            );
            for (connection, mut events) in clients {
                connection.disconnect(&mut events).await;
            }
            broker.shutdown().await.unwrap();
        };
        timeout(PATIENCE + Duration::from_secs(1), everything)
            .await
            .expect("in time");
    });
}

/// However many threads accept at the same moment, as many are let in as the quota says.
#[test]
fn an_address_has_as_many_connections_as_its_quota_says_on_all_threads() {
    const QUOTA: usize = 10;
    let mut config = ServerConfig {
        listeners: vec![at("tcp://127.0.0.1:0")],
        threads: 4,
        ..ServerConfig::default()
    };
    config.broker.quotas.connections_per_address_maximum = QUOTA as u32;
    let broker = Server::new(config).start().unwrap();
    let address = broker.addresses()[0];
    let come = |name: String| {
        let mut stream = dial(address);
        let length = name.len() as u8;
        let head = [
            b"\x10",
            &[12 + length][..],
            b"\0\x04MQTT\x04\x02\0\0\0",
            &[length],
        ];
        // Who is turned away may be so before it has said this.
        let _ = stream.write_all(&[&head.concat(), name.as_bytes()].concat());
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).ok().map(|()| stream)
    };
    let storm = |round: usize| -> Vec<_> {
        std::thread::scope(|scope| {
            let come = &come;
            let threads = (0..4).map(|thread| {
                scope.spawn(move || {
                    let names = (0..QUOTA).map(|n| format!("{round}-{thread}-{n}"));
                    names.filter_map(come).collect::<Vec<_>>()
                })
            });
            let threads: Vec<_> = threads.collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        })
    };
    let clients = storm(0);
    assert_eq!(clients.len(), QUOTA);
    drop(clients);
    // When all that are gone have been noticed, there is room for as many again, and for no more.
    let deadline = Instant::now() + PATIENCE;
    let mut clients = Vec::new();
    while clients.len() < QUOTA && Instant::now() < deadline {
        clients.extend(come(format!("again-{}", clients.len())));
    }
    assert_eq!(clients.len(), QUOTA);
    assert!(storm(1).is_empty());
}

macro_rules! moves_over {
    ($($name:ident [$($scheme:literal),*];)*) => {$(
        #[test]
        fn $name() {
            moves_over(&[$($scheme),*]);
        }
    )*};
}

moves_over!(
    over_tcp ["tcp"];
    over_unix ["unix"];
    over_tls ["tls"];
    over_ws ["ws"];
    over_wss ["wss"];
    over_quic ["quic"];
    over_all_at_once ["tcp", "unix", "tls", "ws", "wss", "quic"];
);
