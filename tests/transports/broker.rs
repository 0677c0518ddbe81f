//! A broker with some listeners, and who came to it.

use crate::PATIENCE;
use core::net::SocketAddr;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use whimbrel_core::action::{Credentials, Verdict};
use whimbrel_core::statistics::Statistics;
use whimbrel_core::{Config, Peer};
use whimbrel_tokio::{Authenticator, Decision, Handle, ListenerConfig, Server, ServerConfig};

/// CONNECT of an anonymous 3.1.1 client that lets the broker choose its identifier.
pub(crate) const CONNECT: &[u8] = b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0";

/// What the broker says to it.
pub(crate) const CONNACK: &[u8] = b"\x20\x02\0\0";

/// PINGREQ, and its answer.
pub(crate) const PING: (&[u8], &[u8]) = (b"\xC0\0", b"\xD0\0");

/// A running broker.
pub(crate) struct Broker {
    pub(crate) handle: Handle,
    peers: mpsc::Receiver<Peer>,
}

struct Doorman(mpsc::Sender<Peer>);

impl Authenticator for Doorman {
    fn authenticate(&self, credentials: Credentials) -> Decision {
        let _ = self.0.send(credentials.peer);
        Decision::Now(Verdict::accept())
    }
}

/// A listener at a free port of this machine.
pub(crate) fn at(url: &str) -> ListenerConfig {
    ListenerConfig::new(url.parse().expect("a URL"))
}

impl Broker {
    pub(crate) fn start(listeners: Vec<ListenerConfig>) -> Self {
        Self::with(Config::default(), listeners)
    }

    pub(crate) fn with(broker: Config, listeners: Vec<ListenerConfig>) -> Self {
        let (tell, peers) = mpsc::channel();
        let config = ServerConfig {
            broker,
            listeners,
            ..ServerConfig::default()
        };
        let server = Server::new(config).authenticator(Doorman(tell));
        let handle = server.start().expect("the broker starts");
        Self { handle, peers }
    }

    /// What all its shards have counted.
    pub(crate) fn statistics(&self) -> Statistics {
        let asking = tokio::runtime::Builder::new_current_thread().build();
        let asking = asking.expect("a runtime to ask questions with");
        let shards = asking.block_on(self.handle.statistics());
        let mut sum = Statistics::default();
        for shard in shards.expect("the broker runs") {
            sum.add(&shard);
        }
        sum
    }

    /// Where its first listener is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.handle.addresses()[0]
    }

    /// A raw connection there.
    pub(crate) fn dial(&self) -> TcpStream {
        dial(self.address())
    }

    /// Who asked to be let in next.
    pub(crate) fn guest(&self) -> Peer {
        self.peers.recv_timeout(PATIENCE).expect("somebody comes")
    }

    /// That so many did.
    pub(crate) fn had_guests(&self, count: usize) {
        for _ in 0..count {
            self.guest();
        }
        self.had_no_guest();
    }

    /// Has its one listener read its files anew, named so; how many clients had to go.
    pub(crate) fn reload(&self, listener: &ListenerConfig) -> usize {
        let listeners = core::slice::from_ref(listener);
        self.handle.read_certificates(listeners).unwrap().apply();
        let asking = tokio::runtime::Builder::new_current_thread().build();
        let asking = asking.expect("a runtime to ask questions with");
        asking.block_on(self.handle.reconsider()).unwrap()
    }

    /// That nobody did so far.
    pub(crate) fn had_no_guest(&self) {
        assert!(self.peers.try_recv().is_err(), "nobody was let in");
    }
}

pub(crate) fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the broker accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream
        .set_write_timeout(Some(PATIENCE))
        .expect("a time-out");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// Sends, and reads exactly this.
pub(crate) fn exchange(stream: &mut (impl Read + Write), sent: &[u8], expected: &[u8]) {
    stream.write_all(sent).expect("the broker reads");
    let mut heard = vec![0; expected.len()];
    stream.read_exact(&mut heard).expect("the broker answers");
    assert_eq!(heard, expected);
}

/// Says CONNECT and is let in.
pub(crate) fn is_let_in(stream: &mut (impl Read + Write)) {
    exchange(stream, CONNECT, CONNACK);
}

/// Reads until the broker has closed; what it said.
pub(crate) fn last_words(stream: &mut impl Read) -> Vec<u8> {
    let mut words = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return words,
            Ok(count) => words.extend_from_slice(&buffer[..count]),
            Err(error) => {
                let waited_in_vain = matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                );
                assert!(
                    !waited_in_vain,
                    "the broker does not close; it said {words:02x?}"
                );
                return words;
            }
        }
    }
}
