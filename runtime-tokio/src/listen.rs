//! Listening sockets: opened with all their options before anything runs, then accepted from
//! without ever letting an error of one stop the others.

use crate::transport::{Newcomer, Pipe};
use core::net::SocketAddr;
use core::task::{Context, Poll, Waker};
use socket2::SockRef;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;
use whimbrel_core::Timestamp;
use whimbrel_core::runtime::{ListenError, ListenerConfig, ListenerUrl, Scheme};
use whimbrel_host::Threads;
use whimbrel_host::listen::{Rest, open_tcp, settle};
use whimbrel_transport::Security;

#[cfg(feature = "quic")]
mod quic;
#[cfg(unix)]
mod unix;

/// An open listening socket; clones share it.
pub(crate) struct Bound {
    /// Where it is, with the port that the system has chosen.
    pub(crate) url: ListenerUrl,
    /// What is laid on its connections.
    pub(crate) security: Arc<Security>,
    socket: BoundSocket,
}

enum BoundSocket {
    Tcp(std::net::TcpListener),
    #[cfg(unix)]
    Unix(unix::Bound),
    #[cfg(feature = "quic")]
    Quic(quic::Bound),
}

impl Bound {
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let socket = match &self.socket {
            BoundSocket::Tcp(socket) => BoundSocket::Tcp(socket.try_clone()?),
            #[cfg(unix)]
            BoundSocket::Unix(socket) => BoundSocket::Unix(socket.try_clone()?),
            #[cfg(feature = "quic")]
            BoundSocket::Quic(socket) => BoundSocket::Quic(socket.clone()),
        };
        Ok(Self {
            url: self.url.clone(),
            security: Arc::clone(&self.security),
            socket,
        })
    }
}

/// Opens a listening socket. A thread that it needs ends after the last who uses the socket.
///
/// Where the system lets accepted sockets inherit them, the options of connections are set here,
/// once for all.
///
/// # Errors
///
/// What the system says, with the place.
pub(crate) fn bind(config: &ListenerConfig, threads: &Threads) -> Result<Bound, ListenError> {
    open(config, threads).map_err(|source| ListenError {
        url: config.url.clone(),
        source,
    })
}

#[cfg_attr(
    not(feature = "quic"),
    expect(unused_variables, reason = "only QUIC needs one")
)]
fn open(config: &ListenerConfig, threads: &Threads) -> io::Result<Bound> {
    let security = Arc::new(Security::new(config)?);
    let (socket, port) = match (config.url.scheme(), config.url.address()) {
        (Scheme::Unix, _) => (open_unix(config)?, 0),
        #[cfg(feature = "quic")]
        (Scheme::Quic, Some(address)) => {
            let socket = quic::Bound::open(config, address, &security, threads)?;
            let port = socket.port()?;
            (BoundSocket::Quic(socket), port)
        }
        (_, Some(address)) => {
            let socket = open_tcp(config, address)?;
            let port = socket.local_addr()?.port();
            (BoundSocket::Tcp(socket), port)
        }
        // Only Unix sockets have none.
        (_, None) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    Ok(Bound {
        url: config.url.clone().at_port(port),
        security,
        socket,
    })
}

#[cfg(unix)]
fn open_unix(config: &ListenerConfig) -> io::Result<BoundSocket> {
    unix::Bound::open(config).map(BoundSocket::Unix)
}

#[cfg(not(unix))]
fn open_unix(_: &ListenerConfig) -> io::Result<BoundSocket> {
    let why = "this system has no Unix sockets";
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}

/// How long it rests when there are more newcomers than shards take in; a shard takes in thousands
/// meanwhile.
const CROWDED_MS: u64 = 5;

enum Acceptor {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(unix::Acceptor),
    #[cfg(feature = "quic")]
    Quic(quic::Acceptor),
}

/// Who was accepted, and where it comes from if that has an address.
type Accepted = (Newcomer, Option<SocketAddr>);

impl Acceptor {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match self {
            Self::Tcp(socket) => socket
                .poll_accept(cx)
                .map_ok(|(stream, address)| (Newcomer::Pipe(Pipe::Tcp(stream)), Some(address))),
            #[cfg(unix)]
            Self::Unix(socket) => socket
                .poll_accept(cx)
                .map_ok(|stream| (Newcomer::Pipe(Pipe::Unix(stream)), None)),
            #[cfg(feature = "quic")]
            Self::Quic(endpoint) => endpoint.poll_accept(cx).map_ok(|newcomer| {
                let address = newcomer.incoming.remote_address();
                (Newcomer::Quic(Box::new(newcomer)), Some(address))
            }),
        }
    }
}

/// One listening socket of a shard.
pub(crate) struct Listener {
    socket: Acceptor,
    /// What is laid on its connections.
    pub(crate) security: Arc<Security>,
    /// Its place in the configuration.
    pub(crate) number: u16,
    config: ListenerConfig,
    waker: Waker,
    /// It may have somebody.
    pub(crate) ready: bool,
    rest: Rest,
}

impl Listener {
    /// # Errors
    ///
    /// The system cannot watch the socket.
    pub(crate) fn new(
        bound: Bound,
        number: u16,
        config: ListenerConfig,
        waker: Waker,
    ) -> io::Result<Self> {
        let socket = match bound.socket {
            BoundSocket::Tcp(socket) => Acceptor::Tcp(TcpListener::from_std(socket)?),
            #[cfg(unix)]
            BoundSocket::Unix(socket) => Acceptor::Unix(socket.into_acceptor()?),
            #[cfg(feature = "quic")]
            BoundSocket::Quic(socket) => Acceptor::Quic(socket.into_acceptor()),
        };
        Ok(Self {
            socket,
            security: bound.security,
            number,
            config,
            waker,
            ready: true,
            rest: Rest::default(),
        })
    }

    /// Lets newcomers wait for a moment.
    pub(crate) fn rest(&mut self, now: Timestamp) {
        self.rest.begin(now, CROWDED_MS);
    }

    /// When it wants to be asked again, should it rest.
    pub(crate) const fn next_deadline(&self) -> Option<Timestamp> {
        if self.ready { self.rest.until() } else { None }
    }

    /// The next connection. `None` when there is none now; `ready` says whether to ask again.
    pub(crate) fn accept(&mut self, now: Timestamp) -> Option<Accepted> {
        if self.rest.goes_on(now) {
            return None;
        }
        let mut cx = Context::from_waker(&self.waker);
        loop {
            match self.socket.poll_accept(&mut cx) {
                Poll::Pending => {
                    self.ready = false;
                    self.rest.all_are_in(&self.config.url);
                    return None;
                }
                Poll::Ready(Ok(accepted)) => {
                    if let Newcomer::Pipe(Pipe::Tcp(stream)) = &accepted.0 {
                        settle(&SockRef::from(stream), &self.config);
                    }
                    return Some(accepted);
                }
                Poll::Ready(Err(error)) => {
                    if self.rest.begin_for(&error, &self.config.url, now) {
                        return None;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> ListenerConfig {
        ListenerConfig::at("127.0.0.1:0".parse().unwrap())
    }

    #[test]
    fn an_address_in_use_is_named() {
        let first = bind(&any_port(), &Threads::default()).unwrap();
        let again = ListenerConfig::new(first.url.clone());
        let error = bind(&again, &Threads::default()).err().unwrap();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        let text = error.to_string();
        assert!(
            text.contains(&first.url.to_string()) && text.contains("in use"),
            "{text}"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn connections_inherit_the_options() {
        let config = ListenerConfig {
            tcp_keepalive_s: Some(77),
            ..any_port()
        };
        let listener = bind(&config, &Threads::default()).unwrap();
        let _client = std::net::TcpStream::connect(listener.url.address().unwrap()).unwrap();
        let BoundSocket::Tcp(listener) = listener.socket else {
            panic!("a TCP socket");
        };
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap());
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap().as_secs(), 77);
    }

    #[test]
    fn shared_ports_and_dual_stack_are_options() {
        let shared = ListenerConfig {
            reuse_port: true,
            ..any_port()
        };
        let first = bind(&shared, &Threads::default()).unwrap();
        let again = ListenerConfig {
            url: first.url,
            ..shared
        };
        bind(&again, &Threads::default()).unwrap();

        let Ok(dual) = bind(
            &ListenerConfig::at("[::]:0".parse().unwrap()),
            &Threads::default(),
        ) else {
            return; // a machine without IPv6
        };
        let port = dual.url.address().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
}
