//! Listening sockets: opened with all their options before anything runs, then accepted from
//! without ever letting an error of one stop the others.

use crate::transport::{Newcomer, Pipe};
use core::net::SocketAddr;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tracing::{info, warn};
use whimbrel_core::Timestamp;
use whimbrel_core::runtime::{ListenError, ListenerConfig, ListenerUrl, Scheme};
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
    /// The thread that it has started, which ends after the last who uses the socket.
    pub(crate) thread: Option<JoinHandle<()>>,
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
            thread: None,
            socket,
        })
    }
}

/// Opens a listening socket.
///
/// Where the system lets accepted sockets inherit them, the options of connections are set here,
/// once for all.
///
/// # Errors
///
/// What the system says, with the place.
pub(crate) fn bind(config: &ListenerConfig) -> Result<Bound, ListenError> {
    open(config).map_err(|source| ListenError {
        url: config.url.clone(),
        source,
    })
}

fn open(config: &ListenerConfig) -> io::Result<Bound> {
    let security = Arc::new(Security::new(config)?);
    let (socket, port, thread) = match (config.url.scheme(), config.url.address()) {
        (Scheme::Unix, _) => (open_unix(config)?, 0, None),
        #[cfg(feature = "quic")]
        (Scheme::Quic, Some(address)) => {
            let (socket, thread) = quic::Bound::open(config, address, &security)?;
            let port = socket.port()?;
            (BoundSocket::Quic(socket), port, Some(thread))
        }
        (_, Some(address)) => {
            let socket = open_tcp(config, address)?;
            let port = socket.local_addr()?.port();
            (BoundSocket::Tcp(socket), port, None)
        }
        // Only Unix sockets have none.
        (_, None) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    Ok(Bound {
        url: config.url.clone().at_port(port),
        security,
        thread,
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

fn open_tcp(config: &ListenerConfig, address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket_for(config, address, (Type::STREAM, Protocol::TCP))?;
    // Lets the broker come back at once; on Windows it would mean something else.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    set_tcp_options(&SockRef::from(&socket), config)?;
    set_buffers(&SockRef::from(&socket), config)?;
    socket.bind(&address.into())?;
    socket.listen(backlog(config))?;
    Ok(socket.into())
}

/// A socket that can be bound there.
fn socket_for(
    config: &ListenerConfig,
    address: SocketAddr,
    (kind, protocol): (Type, Protocol),
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(config.ipv6_only)?;
    }
    #[cfg(unix)]
    if config.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn backlog(config: &ListenerConfig) -> i32 {
    i32::try_from(config.backlog).unwrap_or(i32::MAX)
}

fn set_tcp_options(socket: &SockRef<'_>, config: &ListenerConfig) -> io::Result<()> {
    if config.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(seconds) = config.tcp_keepalive_s {
        let period = Duration::from_secs(seconds.max(1).into());
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(period).with_interval(period))?;
    }
    Ok(())
}

fn set_buffers(socket: &SockRef<'_>, config: &ListenerConfig) -> io::Result<()> {
    if let Some(bytes) = config.send_buffer_bytes {
        socket.set_send_buffer_size(bytes as usize)?;
    }
    if let Some(bytes) = config.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes as usize)?;
    }
    Ok(())
}

/// How long a listener rests when the system is out of descriptors or memory.
const BACK_OFF_MS: u64 = 200;

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
    /// It rests until then, because of an error.
    resting_until: Option<Timestamp>,
    /// There was such an error, it was reported, and somebody may be waiting still.
    in_trouble: bool,
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
            resting_until: None,
            in_trouble: false,
        })
    }

    /// Lets newcomers wait for a moment.
    pub(crate) fn rest(&mut self, now: Timestamp) {
        self.resting_until = Some(now.after_ms(CROWDED_MS));
    }

    /// When it wants to be asked again, should it rest.
    pub(crate) const fn next_deadline(&self) -> Option<Timestamp> {
        if self.ready { self.resting_until } else { None }
    }

    /// The next connection. `None` when there is none now; `ready` says whether to ask again.
    pub(crate) fn accept(&mut self, now: Timestamp) -> Option<Accepted> {
        if self.resting_until.is_some_and(|until| now < until) {
            return None;
        }
        self.resting_until = None;
        let mut cx = Context::from_waker(&self.waker);
        loop {
            match self.socket.poll_accept(&mut cx) {
                Poll::Pending => {
                    self.ready = false;
                    if core::mem::take(&mut self.in_trouble) {
                        info!(listener = %self.config.url, "everybody is accepted again");
                    }
                    return None;
                }
                Poll::Ready(Ok(accepted)) => {
                    // Linux lets connections inherit all options; elsewhere that is not certain. A
                    // connection that cannot have them has ended already, which its first read
                    // says.
                    if !cfg!(target_os = "linux")
                        && let Newcomer::Pipe(Pipe::Tcp(stream)) = &accepted.0
                    {
                        let _ = set_tcp_options(&SockRef::from(stream), &self.config);
                        let _ = set_buffers(&SockRef::from(stream), &self.config);
                    }
                    return Some(accepted);
                }
                Poll::Ready(Err(error)) if is_about_one_connection(&error) => {}
                Poll::Ready(Err(error)) => {
                    if !core::mem::replace(&mut self.in_trouble, true) {
                        warn!(
                            listener = %self.config.url, %error,
                            "cannot accept connections; those that are open are served on"
                        );
                    }
                    self.resting_until = Some(now.after_ms(BACK_OFF_MS));
                    return None;
                }
            }
        }
    }
}

/// The peer went away between connecting and being accepted.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> ListenerConfig {
        ListenerConfig::at("127.0.0.1:0".parse().unwrap())
    }

    #[test]
    fn an_address_in_use_is_named() {
        let first = bind(&any_port()).unwrap();
        let again = ListenerConfig::new(first.url.clone());
        let error = bind(&again).err().unwrap();
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
        let listener = bind(&ListenerConfig {
            tcp_keepalive_s: Some(77),
            ..any_port()
        })
        .unwrap();
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
        let first = bind(&shared).unwrap();
        let again = ListenerConfig {
            url: first.url,
            ..shared
        };
        bind(&again).unwrap();

        let Ok(dual) = bind(&ListenerConfig::at("[::]:0".parse().unwrap())) else {
            return; // a machine without IPv6
        };
        let port = dual.url.address().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
}
