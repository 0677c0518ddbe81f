//! The server over real sockets, spoken to in bytes that are written out by hand: nothing of the
//! broker's own codec could hide a mistake here. Waits are bounded, and for something that must
//! happen; nothing sleeps in the hope that it did.
#![expect(
    clippy::unwrap_used,
    reason = "in a test, and in what plays the clients, it is an assertion"
)]

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;
use whimbrel_core::action::{Credentials, Verdict};
use whimbrel_core::statistics::Statistics;
use whimbrel_core::{CloseReason, Event};
use whimbrel_tokio::{
    Anonymous, Authenticator, Decision, Handle, ListenerConfig, Server, ServerConfig, StartError,
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PINGREQ: [u8; 2] = [0xc0, 0];
const PINGRESP: [u8; 2] = [0xd0, 0];
const DISCONNECT: [u8; 2] = [0xe0, 0];

#[test]
fn a_message_travels_from_one_client_to_another() {
    let broker = start();
    let mut subscriber = Client::connected(&broker, "subscriber");
    subscriber.subscribe("a/b", 0);
    let mut publisher = Client::connected(&broker, "publisher");
    publisher.send(&publish("a/b", b"hello"));
    subscriber.expect(&publish("a/b", b"hello"));
}

#[test]
fn several_brokers_in_one_process_know_nothing_of_each_other() {
    let brokers = [start(), start()];
    let addresses = brokers.each_ref().map(|broker| broker.addresses()[0]);
    assert_ne!(addresses[0], addresses[1]);
    let mut subscribers = brokers.each_ref().map(|broker| {
        let mut subscriber = Client::connected(broker, "the same identifier");
        subscriber.subscribe("t", 0);
        subscriber
    });
    for (broker, text) in brokers.iter().zip(["one", "two"]) {
        Client::connected(broker, "publisher").send(&publish("t", text.as_bytes()));
    }
    subscribers[0].expect(&publish("t", b"one"));
    subscribers[1].expect(&publish("t", b"two"));
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let first = start();
    let address = first.addresses()[0];
    let Err(error) = Server::new(listening(address)).start() else {
        panic!("two brokers on one port");
    };
    assert!(matches!(error, StartError::Listen(_)), "{error:?}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn all_listeners_serve_one_broker() {
    let config = ServerConfig {
        listeners: vec![ListenerConfig::at(ANY_PORT), ListenerConfig::at(ANY_PORT)],
        ..ServerConfig::default()
    };
    let broker = Server::new(config).start().unwrap();
    let mut subscriber = Client::connected_at(broker.addresses()[0], "subscriber");
    subscriber.subscribe("t", 0);
    Client::connected_at(broker.addresses()[1], "publisher").send(&publish("t", b"x"));
    subscriber.expect(&publish("t", b"x"));
}

#[test]
fn a_graceful_stop_tells_clients_and_gives_the_port_back() {
    let broker = start();
    let mut client = Client::at(broker.addresses()[0]);
    client.send(&connect(5, "v5", None));
    let connack = client.packet();
    assert_eq!((connack[0], connack[3]), (0x20, 0));
    let mut silent = Client::at(broker.addresses()[0]);

    // The client closes as it is told, so nothing has to be waited for.
    let told = thread::spawn(move || {
        let packet = client.packet();
        assert_eq!((packet[0], packet[2]), (0xe0, 0x8b));
        client.expect_end();
    });
    let began = Instant::now();
    wait(broker.shutdown()).unwrap();
    told.join().unwrap();
    silent.expect_end();
    assert!(began.elapsed() < PATIENCE);
    assert!(TcpStream::connect(broker.addresses()[0]).is_err());
    assert!(wait(broker.statistics()).is_err());
    // Asking again is harmless.
    wait(broker.shutdown()).unwrap();
}

#[test]
fn a_graceful_stop_does_not_wait_for_ever() {
    let broker = Server::new(ServerConfig {
        shutdown_grace_ms: 50,
        ..listening(ANY_PORT)
    })
    .start()
    .unwrap();
    let mut client = Client::at(broker.addresses()[0]);
    client.send(&connect(5, "never closes", None));
    client.packet();
    wait(broker.shutdown()).unwrap();
    assert_eq!(client.packet()[2], 0x8b);
}

#[test]
fn a_second_request_hurries_the_first() {
    let broker = Server::new(ServerConfig {
        shutdown_grace_ms: u32::MAX,
        ..listening(ANY_PORT)
    })
    .start()
    .unwrap();
    let mut client = Client::at(broker.addresses()[0]);
    client.send(&connect(5, "never closes", None));
    client.packet();
    thread::scope(|scope| {
        let graceful = scope.spawn(|| wait(broker.shutdown()));
        // Told means that it has begun.
        assert_eq!(client.packet()[2], 0x8b);
        broker.stop_now();
        graceful.join().unwrap().unwrap();
    });
}

#[test]
fn dropping_the_handle_stops_the_broker() {
    let broker = start();
    let mut client = Client::connected(&broker, "client");
    drop(broker);
    client.expect_end();
}

#[test]
fn silent_connections_do_not_disturb_anybody() {
    let broker = start();
    let silent: Vec<_> = (0..1_000)
        .map(|_| TcpStream::connect(broker.addresses()[0]).unwrap())
        .collect();
    let mut client = Client::connected(&broker, "client");
    client.subscribe("t", 0);
    for _ in 0..100 {
        client.send(&publish("t", b"x"));
        client.expect(&publish("t", b"x"));
    }
    let open = |statistics: &Statistics| statistics.connections_open;
    until(&broker, |statistics| open(statistics) == 1_001);
    drop(silent);
    until(&broker, |statistics| open(statistics) == 1);
    client.send(&PINGREQ);
    client.expect(&PINGRESP);
}

#[test]
fn a_client_that_does_not_read_is_left_behind() {
    let mut config = listening(ANY_PORT);
    config.broker.limits.slow_consumer_grace_ms = 1;
    let broker = Server::new(config.clone()).start().unwrap();
    let mut stuck = Client::connected(&broker, "stuck");
    stuck.subscribe("t", 0);
    let mut reader = Client::connected(&broker, "reader");
    reader.subscribe("t", 0);
    let mut publisher = Client::connected(&broker, "publisher");

    // More than the system's buffers for the stuck one can take.
    let message = publish("t", &[7; 60_000]);
    for _ in 0..400 {
        publisher.send(&message);
        reader.expect(&message);
    }
    let statistics = statistics(&broker);
    assert!(statistics.dropped.iter().sum::<u64>() > 0, "{statistics:?}");
    let limit = u64::from(config.broker.limits.unsent_bytes_maximum) + 200_000;
    assert!(statistics.unsent_bytes + statistics.queued_bytes < limit);

    // What was not dropped arrives whole once it reads.
    for _ in 0..10 {
        stuck.expect(&message);
    }
}

#[test]
fn who_stops_sending_still_gets_its_answers() {
    let broker = start();
    let mut client = Client::connected(&broker, "client");
    let mut message = publish("t", b"\0\x01x");
    message[0] = 0x32; // QoS 1; the payload begins with the packet identifier
    client.send(&message);
    client.0.shutdown(Shutdown::Write).unwrap();
    client.expect(&[0x40, 2, 0, 1]);
    client.expect_end();
}

#[test]
fn a_burst_in_one_write_arrives_whole_and_in_order() {
    const COUNT: u32 = 50_000;
    let broker = start();
    let mut subscriber = Client::connected(&broker, "subscriber");
    subscriber.subscribe("burst", 0);
    let mut publisher = Client::connected(&broker, "publisher");
    let burst: Vec<u8> = (0..COUNT)
        .flat_map(|number| publish("burst", &number.to_be_bytes()))
        .collect();
    let sender = thread::spawn({
        let burst = burst.clone();
        move || {
            publisher.send(&burst);
            publisher
        }
    });
    subscriber.expect(&burst);
    sender.join().unwrap();
}

#[test]
fn a_packet_may_come_byte_by_byte() {
    let broker = start();
    let mut client = Client::at(broker.addresses()[0]);
    for byte in connect(4, "drip", None) {
        client.send(&[byte]);
    }
    client.expect(&CONNACK);
    client.send(&DISCONNECT);
    client.expect_end();
}

#[test]
fn large_payloads_pass_whole() {
    let broker = start();
    let mut subscriber = Client::connected(&broker, "subscriber");
    subscriber.subscribe("t", 0);
    let mut publisher = Client::connected(&broker, "publisher");
    let message = publish("t", &(0..1 << 20).map(|n: u32| n as u8).collect::<Vec<_>>());
    let sender = thread::spawn({
        let message = message.clone();
        move || (0..5).for_each(|_| publisher.send(&message))
    });
    for _ in 0..5 {
        subscriber.expect(&message);
    }
    sender.join().unwrap();
}

#[test]
fn a_violation_is_answered_before_the_connection_ends() {
    let (events, seen) = mpsc::channel();
    let broker = Server::new(listening(ANY_PORT))
        .events(move |event| drop(events.send(event.clone())))
        .start()
        .unwrap();
    let mut client = Client::at(broker.addresses()[0]);
    client.send(&connect(5, "v5", None));
    client.packet();
    // A second CONNECT, and much behind it that nobody will read.
    client.send(&[connect(5, "v5", None), vec![0; 30_000]].concat());
    assert_eq!(client.packet()[2], 0x82);
    client.expect_end();
    loop {
        if let Event::Disconnected { client_id, why, .. } = seen.recv_timeout(PATIENCE).unwrap() {
            assert_eq!(&*client_id, "v5");
            assert!(matches!(why, CloseReason::Violation(_)));
            break;
        }
    }
}

#[test]
fn anonymous_clients_are_let_in_as_the_listener_says() {
    let broker = Server::new(ServerConfig {
        listeners: vec![ListenerConfig {
            allow_anonymous: Anonymous::Never,
            ..ListenerConfig::at(ANY_PORT)
        }],
        ..ServerConfig::default()
    })
    .start()
    .unwrap();
    // A name that nobody can verify is worth no more than none.
    for name in [None, Some("name")] {
        let mut nobody = Client::at(broker.addresses()[0]);
        nobody.send(&connect(4, "nobody", name));
        nobody.expect(&[0x20, 2, 0, 5]);
        nobody.expect_end();
    }
}

/// Takes its time, and lets in who is called "friend".
struct Friends;

impl Authenticator for Friends {
    fn authenticate(&self, credentials: Credentials) -> Decision {
        Decision::Later(Box::pin(async move {
            tokio::task::yield_now().await;
            match credentials.username.as_deref() {
                Some("friend") => Verdict::accept(),
                _ => Verdict::Refuse(whimbrel_core::codec::ReasonCode::NOT_AUTHORIZED),
            }
        }))
    }
}

#[test]
fn an_authenticator_may_take_its_time() {
    let broker = Server::new(listening(ANY_PORT))
        .authenticator(Friends)
        .start()
        .unwrap();
    for (name, answer) in [("friend", CONNACK), ("stranger", [0x20, 2, 0, 5])] {
        let mut client = Client::at(broker.addresses()[0]);
        // The packet behind CONNECT waits for the verdict too.
        client.send(&[connect(4, name, Some(name)), PINGREQ.into()].concat());
        client.expect(&answer);
        if answer == CONNACK {
            client.expect(&PINGRESP);
        } else {
            client.expect_end();
        }
    }
}

struct Broken;

impl Authenticator for Broken {
    fn authenticate(&self, _: Credentials) -> Decision {
        panic!("out of order");
    }
}

#[test]
fn a_crash_is_reported_and_not_survived() {
    let broker = Server::new(listening(ANY_PORT))
        .authenticator(Broken)
        .start()
        .unwrap();
    let mut client = Client::at(broker.addresses()[0]);
    client.send(&connect(4, "client", None));
    client.expect_end();
    let crashed = wait(broker.stopped()).unwrap_err();
    assert_eq!(crashed.to_string(), "shard 0 crashed: out of order");
}

#[test]
fn an_in_process_connection_is_one_like_any_other() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut config = listening(ANY_PORT);
    config.listeners[0].allow_anonymous = Anonymous::Never;
    let broker = Server::new(config).start().unwrap();
    wait(async {
        let mut link = broker.open().await.unwrap();
        link.write_all(&connect(4, "inside", None)).await.unwrap();
        let mut answer = [0; 4];
        link.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, CONNACK);
        link.write_all(&DISCONNECT).await.unwrap();
        assert_eq!(link.read(&mut answer).await.unwrap(), 0);
    });
}

#[test]
fn what_cannot_run_is_refused() {
    let refuse = |change: fn(&mut ServerConfig)| {
        let mut config = listening(ANY_PORT);
        change(&mut config);
        Server::new(config).start().err().unwrap().to_string()
    };
    assert!(refuse(|config| config.broker.limits.fanout_step = 0).contains("limits.fanout_step"));
}

// ---- who plays the clients
// --------------------------------------------------------------------------

const ANY_PORT: SocketAddr =
    SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 0);

fn listening(address: SocketAddr) -> ServerConfig {
    ServerConfig {
        listeners: vec![ListenerConfig::at(address)],
        ..ServerConfig::default()
    }
}

fn start() -> Handle {
    let server = Server::new(listening(ANY_PORT));
    server.start().expect("a free port")
}

/// Runs a future of the handle, which needs no particular runtime.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(async { tokio::time::timeout(PATIENCE, future).await })
        .expect("it takes too long")
}

fn statistics(broker: &Handle) -> Statistics {
    wait(broker.statistics()).unwrap().remove(0)
}

/// Asks until the answer fits.
fn until(broker: &Handle, fits: impl Fn(&Statistics) -> bool) {
    let began = Instant::now();
    while !fits(&statistics(broker)) {
        assert!(began.elapsed() < PATIENCE, "{:?}", statistics(broker));
        thread::yield_now();
    }
}

struct Client(TcpStream);

impl Client {
    fn at(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn connected(broker: &Handle, client_id: &str) -> Self {
        Self::connected_at(broker.addresses()[0], client_id)
    }

    fn connected_at(address: SocketAddr, client_id: &str) -> Self {
        let mut client = Self::at(address);
        client.send(&connect(4, client_id, None));
        client.expect(&CONNACK);
        client
    }

    fn subscribe(&mut self, filter: &str, qos: u8) {
        let mut body = vec![0, 1];
        push_text(&mut body, filter);
        body.push(qos);
        self.send(&packet(0x82, &body));
        self.expect(&[0x90, 3, 0, 1, qos]);
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn expect(&mut self, bytes: &[u8]) {
        let mut read = vec![0; bytes.len()];
        self.0.read_exact(&mut read).unwrap();
        // Not `assert_eq`: nobody wants to read a megabyte twice.
        assert!(
            read == bytes,
            "{:?}… is not {:?}…",
            head(&read),
            head(bytes)
        );
    }

    /// One short packet.
    fn packet(&mut self) -> Vec<u8> {
        let mut read = vec![0; 2];
        self.0.read_exact(&mut read).unwrap();
        assert!(read[1] < 0x80, "a short packet");
        read.resize(2 + usize::from(read[1]), 0);
        self.0.read_exact(&mut read[2..]).unwrap();
        read
    }

    /// Nothing more comes, and the connection is closed.
    fn expect_end(&mut self) {
        match self.0.read(&mut [0; 64]) {
            Ok(0) => {}
            Ok(count) => panic!("{count} more bytes"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

fn head(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(16)]
}

fn connect(level: u8, client_id: &str, username: Option<&str>) -> Vec<u8> {
    let flags = 0x02 | if username.is_some() { 0x80 } else { 0 };
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, flags, 0, 60];
    if level == 5 {
        body.push(0);
    }
    push_text(&mut body, client_id);
    if let Some(username) = username {
        push_text(&mut body, username);
    }
    packet(0x10, &body)
}

fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    push_text(&mut body, topic);
    body.extend_from_slice(payload);
    packet(0x30, &body)
}

fn push_text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first_byte];
    let mut length = body.len();
    loop {
        let more = if length > 0x7f { 0x80 } else { 0 };
        packet.push(u8::try_from(length & 0x7f).unwrap() | more);
        length >>= 7;
        if more == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}
