//! QUIC: one stream as the connection, an address that may change, and nothing for an address that
//! has not answered.

use crate::PATIENCE;
use crate::broker::{Broker, PING, exchange, is_let_in, last_words};
use crate::tls::{Dial, listener};
use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, NamedGroup};
use std::io::{self, Read, Write};
use std::net::UdpSocket;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use whimbrel_core::Config;
use whimbrel_tests::authority::Authority;
use whimbrel_tokio::{ListenerConfig, Server, ServerConfig, TlsVersion};

const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

/// A client with one stream, to be used like a socket.
struct Client {
    runtime: Runtime,
    endpoint: Endpoint,
    connection: Connection,
    sender: SendStream,
    receiver: RecvStream,
}

/// The protocol that every client here names, unless it says otherwise.
fn offering_mqtt(authority: &Authority) -> Dial {
    Dial::of(authority).offering(&[b"mqtt"])
}

impl Client {
    fn open(dial: &Dial, address: SocketAddr) -> io::Result<Self> {
        Self::with(dial.config(), address)
    }

    fn with(tls: Arc<ClientConfig>, address: SocketAddr) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (endpoint, connection, (sender, receiver)) = runtime.block_on(async {
            let endpoint = Endpoint::client(SocketAddr::from(LOOPBACK))?;
            let crypto = QuicClientConfig::try_from(tls).map_err(io::Error::other)?;
            let config = quinn::ClientConfig::new(Arc::new(crypto));
            let connecting = endpoint.connect_with(config, address, "localhost");
            let connection = connecting.map_err(io::Error::other)?.await?;
            let ends = connection.open_bi().await?;
            io::Result::Ok((endpoint, connection, ends))
        })?;
        Ok(Self {
            runtime,
            endpoint,
            connection,
            sender,
            receiver,
        })
    }

    /// Waits, for as long as anything may take.
    fn wait<T>(
        &mut self,
        step: impl AsyncFnOnce(&mut SendStream, &mut RecvStream) -> T,
    ) -> io::Result<T> {
        let (sender, receiver) = (&mut self.sender, &mut self.receiver);
        let step = async { timeout(PATIENCE, step(sender, receiver)).await };
        self.runtime.block_on(step).map_err(io::Error::from)
    }
}

impl Read for Client {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.wait(async |_, receiver| receiver.read(buffer).await)?;
        Ok(read?.unwrap_or(0))
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.wait(async |sender, _| sender.write(bytes).await)??)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn one_stream_is_the_connection() {
    let authority = Authority::new("quic");
    let broker = Broker::start(vec![listener(&authority, "quic")]);
    let mut client = Client::open(&offering_mqtt(&authority), broker.address()).unwrap();
    is_let_in(&mut client);
    let local = client.endpoint.local_addr().unwrap();
    assert_eq!(broker.guest().address, Some(local));

    // There is no second one, in either direction, and no datagram.
    let connection = client.connection.clone();
    let more = async {
        timeout(Duration::from_millis(200), async {
            tokio::select! {
                _ = connection.open_bi() => {}
                _ = connection.open_uni() => {}
            }
        })
        .await
    };
    assert!(client.runtime.block_on(more).is_err());
    assert_eq!(client.connection.max_datagram_size(), None);
    exchange(&mut client, PING.0, PING.1);
}

#[test]
fn the_protocol_has_to_be_named() {
    let authority = Authority::new("quic-protocol");
    let broker = Broker::start(vec![listener(&authority, "quic")]);
    for other in [&[][..], &[&b"h3"[..]]] {
        let dial = Dial::of(&authority).offering(other);
        assert!(Client::open(&dial, broker.address()).is_err());
    }
    broker.had_no_guest();
}

#[test]
fn only_tls_1_3_will_do() {
    let authority = Authority::new("quic-version");
    let config = ListenerConfig {
        tls_versions: vec![TlsVersion::Tls12],
        ..listener(&authority, "quic")
    };
    let error = Server::new(ServerConfig {
        listeners: vec![config],
        ..ServerConfig::default()
    })
    .start()
    .err()
    .expect("it cannot listen");
    assert!(error.to_string().contains("TLS 1.3 alone"), "{error}");
}

/// A phone that leaves the house: another address, the same connection.
#[test]
fn a_connection_may_change_its_address() {
    let authority = Authority::new("quic-migration");
    let broker = Broker::start(vec![listener(&authority, "quic")]);
    let mut client = Client::open(&offering_mqtt(&authority), broker.address()).unwrap();
    is_let_in(&mut client);
    let before = client.endpoint.local_addr().unwrap();
    for _ in 0..3 {
        let elsewhere = UdpSocket::bind(SocketAddr::from(LOOPBACK)).unwrap();
        let _inside = client.runtime.enter();
        client.endpoint.rebind(elsewhere).unwrap();
        exchange(&mut client, PING.0, PING.1);
    }
    assert_ne!(client.endpoint.local_addr().unwrap(), before);
    broker.guest();
    broker.had_no_guest();
}

#[test]
fn nothing_is_said_before_the_handshake_is_done() {
    let authority = Authority::new("quic-early");
    let broker = Broker::start(vec![listener(&authority, "quic")]);
    let tickets = Arc::new(Tickets::default());
    let mut config = (*offering_mqtt(&authority).config()).clone();
    config.resumption = Resumption::store(tickets.clone());
    let mut client = Client::with(Arc::new(config.clone()), broker.address()).unwrap();
    is_let_in(&mut client);
    exchange(&mut client, PING.0, PING.1);
    // It has a ticket by now, and may not use it to send something at once.
    let came = tickets.came.load(Ordering::Relaxed);
    assert!(came > 0);
    let address = broker.address();
    let early = client.runtime.block_on(async {
        let mut tls = config;
        tls.enable_early_data = true;
        let crypto = QuicClientConfig::try_from(Arc::new(tls)).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        let connecting = client.endpoint.connect_with(config, address, "localhost");
        connecting.unwrap().into_0rtt().is_ok()
    });
    assert!(!early);
    let used = tickets.used.load(Ordering::Relaxed);
    assert!(used > 0, "it was asked for a ticket, and had one");
}

/// Tickets that came, and how many of them were used.
#[derive(Debug)]
struct Tickets {
    kept: ClientSessionMemoryCache,
    came: AtomicUsize,
    used: AtomicUsize,
}

impl Default for Tickets {
    fn default() -> Self {
        Self {
            kept: ClientSessionMemoryCache::new(8),
            came: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
        }
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.kept.set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept.kx_hint(server)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, server: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.came.fetch_add(1, Ordering::Relaxed);
        self.kept.insert_tls13_ticket(server, ticket);
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let ticket = self.kept.take_tls13_ticket(server);
        let is_there = usize::from(ticket.is_some());
        self.used.fetch_add(is_there, Ordering::Relaxed);
        ticket
    }
}

#[test]
fn client_certificates_are_asked_for_and_known() {
    let authority = Authority::new("quic-client");
    let stranger = Authority::new("quic-stranger");
    let config = ListenerConfig {
        client_ca: vec![authority.file()],
        ..listener(&authority, "quic")
    };
    let broker = Broker::start(vec![config]);
    let strange = stranger.client("other", "other", "other");
    let forged = authority.client("forger", "admin\nuser: root", "Meadow");
    for dial in [
        offering_mqtt(&authority),
        offering_mqtt(&authority).showing(&strange),
        offering_mqtt(&authority).showing(&forged),
    ] {
        // A client of TLS 1.3 is done before the server has looked at it.
        if let Ok(mut client) = Client::open(&dial, broker.address()) {
            let _ = client.write_all(crate::broker::CONNECT);
            assert_eq!(last_words(&mut client), b"");
        }
        broker.had_no_guest();
    }
    let pair = authority.client("device", "device 7", "Meadow");
    let dial = offering_mqtt(&authority).showing(&pair);
    is_let_in(&mut Client::open(&dial, broker.address()).unwrap());
    let certificate = broker.guest().certificate.expect("it has shown one");
    assert_eq!(certificate.common_name(), Some("device 7"));
    assert_eq!(certificate.organization(), Some("Meadow"));
}

#[test]
fn revoked_certificates_are_refused() {
    let authority = Authority::new("quic-revoked");
    let [good, bad] = ["good", "bad"].map(|name| authority.client(name, name, "Meadow"));
    let broker = Broker::start(vec![ListenerConfig {
        client_ca: vec![authority.file()],
        crl: vec![authority.revoke(&[&bad])],
        ..listener(&authority, "quic")
    }]);
    // A client of TLS 1.3 is done before the server has looked at it.
    if let Ok(mut client) = Client::open(&offering_mqtt(&authority).showing(&bad), broker.address())
    {
        let _ = client.write_all(crate::broker::CONNECT);
        assert_eq!(last_words(&mut client), b"");
    }
    broker.had_no_guest();
    let dial = offering_mqtt(&authority).showing(&good);
    is_let_in(&mut Client::open(&dial, broker.address()).unwrap());
}

/// Class 7, as with TLS.
#[test]
fn class_07_a_certificate_that_is_taken_back_loses_its_connection() {
    let authority = Authority::new("quic-revoked-live");
    let [good, bad] = ["good", "bad"].map(|name| authority.client(name, name, "Meadow"));
    let before = ListenerConfig {
        client_ca: vec![authority.file()],
        ..listener(&authority, "quic")
    };
    let broker = Broker::start(vec![before.clone()]);
    let [mut stays, mut goes] = [&good, &bad].map(|pair| {
        let dial = offering_mqtt(&authority).showing(pair);
        let mut client = Client::open(&dial, broker.address()).unwrap();
        is_let_in(&mut client);
        client
    });
    let after = ListenerConfig {
        crl: vec![authority.revoke(&[&bad])],
        ..before
    };
    assert_eq!(broker.reload(&after), 1);
    assert_eq!(last_words(&mut goes), b"");
    exchange(&mut stays, PING.0, PING.1);
}

#[test]
fn certificates_are_replaced_while_clients_stay() {
    let authority = Authority::new("quic-reload");
    let config = listener(&authority, "quic");
    let broker = Broker::start(vec![config.clone()]);
    let dial = offering_mqtt(&authority);
    let mut early = Client::open(&dial, broker.address()).unwrap();
    is_let_in(&mut early);
    let pair = authority.server("server", &["localhost", "renewed.example.org"]);
    let config = std::slice::from_ref(&config);
    broker.handle.read_certificates(config).unwrap().apply();
    let mut late = Client::open(&dial, broker.address()).unwrap();
    is_let_in(&mut late);
    let shown = late.connection.peer_identity().unwrap();
    let shown = shown.downcast::<Vec<CertificateDer<'_>>>().unwrap();
    assert_eq!(
        shown[0],
        CertificateDer::from_pem_file(&pair.certificate).unwrap()
    );
    exchange(&mut early, PING.0, PING.1);
}

/// Class 12: a connection without a stream is one without CONNECT.
#[test]
fn class_12_who_opens_no_stream_is_cut_in_time() {
    let authority = Authority::new("quic-stalled");
    let mut config = Config::default();
    config.limits.connect_timeout_ms = 3_000; // a slow machine opens one in that
    let broker = Broker::with(config, vec![listener(&authority, "quic")]);
    let stalled: Vec<Client> = (0..20)
        .map(|_| Client::open(&offering_mqtt(&authority), broker.address()).unwrap())
        .collect();
    is_let_in(&mut Client::open(&offering_mqtt(&authority), broker.address()).unwrap());
    for client in stalled {
        let closed = async { timeout(PATIENCE, client.connection.closed()).await };
        client.runtime.block_on(closed).expect("it is cut");
    }
}

/// What a client sends first to this socket.
fn first_flight(authority: &Authority, to: &UdpSocket) -> Vec<u8> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let endpoint = Endpoint::client(SocketAddr::from(LOOPBACK)).unwrap();
    let crypto = QuicClientConfig::try_from(offering_mqtt(authority).config()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let address = to.local_addr().unwrap();
    let _connecting = endpoint.connect_with(config, address, "localhost").unwrap();
    let mut datagram = vec![0; 2_000];
    let count = to.recv(&mut datagram).unwrap();
    datagram.truncate(count);
    datagram
}

/// Addresses are forged easily. What comes from one that has not answered costs a question, which
/// is smaller than what it answers, and leaves nothing behind.
#[test]
fn class_12_nothing_is_done_for_an_address_that_has_not_answered() {
    let authority = Authority::new("quic-retry");
    let broker = Broker::start(vec![listener(&authority, "quic")]);
    let socket = || {
        let socket = UdpSocket::bind(SocketAddr::from(LOOPBACK)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    // More than are asked in one turn.
    let flights: Vec<_> = (0..70)
        .map(|_| first_flight(&authority, &socket()))
        .collect();
    let socket = socket();
    let is_asked = || {
        let mut answer = [0; 2_000];
        let count = socket.recv(&mut answer).unwrap();
        let is_retry = answer[0] & 0xF0 == 0xF0;
        assert!(is_retry && count < 200, "{count}: {:#x}", answer[0]);
    };
    for _ in 0..100 {
        socket.send_to(&flights[0], broker.address()).unwrap();
        is_asked();
    }
    for flight in &flights {
        socket.send_to(flight, broker.address()).unwrap();
    }
    flights.iter().for_each(|_| is_asked());
    assert_eq!(broker.statistics().connections_accepted, 0);
}
