//! Listening sockets: opened with all their options before anything runs, and what becomes of one
//! that cannot accept.

#[cfg(unix)]
use crate::SocketFile;
use core::net::SocketAddr;
use core::time::Duration;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use tracing::{info, warn};
use whimbrel_core::runtime::{ListenError, ListenerConfig, ListenerUrl};
use whimbrel_core::{Peer, Timestamp};
use whimbrel_transport::{Fault, Security};

/// How long a listener rests when the system is out of descriptors or memory, in milliseconds.
pub const BACK_OFF_MS: u64 = 200;

/// An open listening socket.
pub struct Bound<S> {
    /// Where it is, with the port that the system has chosen.
    pub url: ListenerUrl,
    /// What is laid on its connections.
    pub security: Arc<Security>,
    /// The socket.
    pub socket: S,
}

impl<S> Bound<S> {
    /// The same with another face of the socket.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub fn with<A>(&self, make: impl FnOnce(&S) -> io::Result<A>) -> io::Result<Bound<A>> {
        Ok(Bound {
            url: self.url.clone(),
            security: Arc::clone(&self.security),
            socket: make(&self.socket)?,
        })
    }

    /// The same with another face of the socket, instead of this one.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub fn try_into<A>(self, make: impl FnOnce(S) -> io::Result<A>) -> io::Result<Bound<A>> {
        Ok(Bound {
            url: self.url,
            security: self.security,
            socket: make(self.socket)?,
        })
    }
}

/// A listening socket of streams, which never waits. Clones share it.
pub enum Listening {
    /// For TCP.
    Tcp(TcpListener),
    /// One with a file, which goes when the last is dropped.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener, Arc<SocketFile>),
}

impl Listening {
    /// Opens it; gives its port as well, 0 for one that has none.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn open(config: &ListenerConfig) -> io::Result<(Self, u16)> {
        match config.url.address() {
            Some(address) => {
                let socket = open_tcp(config, address)?;
                let port = socket.local_addr()?.port();
                Ok((Self::Tcp(socket), port))
            }
            #[cfg(unix)]
            None => {
                let (socket, file) = open_unix(config)?;
                Ok((Self::Unix(socket, Arc::new(file)), 0))
            }
            #[cfg(not(unix))]
            None => {
                let why = "this system has no Unix sockets";
                Err(io::Error::new(io::ErrorKind::Unsupported, why))
            }
        }
    }

    /// The same socket.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            #[cfg(unix)]
            Self::Unix(socket, file) => Self::Unix(socket.try_clone()?, Arc::clone(file)),
        })
    }
}

/// Opens a listening socket; `open` gives it, and its port if it has one.
///
/// # Errors
///
/// What the system says, with the place.
pub fn bind<S>(
    config: &ListenerConfig,
    open: impl FnOnce(&Security) -> io::Result<(S, u16)>,
) -> Result<Bound<S>, ListenError> {
    let try_bind = || {
        let security = Arc::new(Security::new(config)?);
        let (socket, port) = open(&security)?;
        Ok(Bound {
            url: config.url.clone().at_port(port),
            security,
            socket,
        })
    };
    try_bind().map_err(|source| ListenError {
        url: config.url.clone(),
        source,
    })
}

/// A listening socket that never waits.
pub trait Accept {
    /// Who was accepted.
    type Newcomer;
    /// What its bytes travel over.
    type Transport;

    /// The next connection, and where it comes from if that has an address.
    ///
    /// # Errors
    ///
    /// What the system says: [`WouldBlock`](io::ErrorKind::WouldBlock) when there is none, and when
    /// there is, it is reported.
    fn accept(
        &mut self,
        config: &ListenerConfig,
    ) -> io::Result<(Self::Newcomer, Option<SocketAddr>)>;

    /// Whether it is to be reported that somebody is there.
    ///
    /// # Errors
    ///
    /// The system cannot watch it.
    fn watch(&mut self, is_watched: bool) -> io::Result<()>;

    /// What a newcomer speaks, by what the listener lays on its connections.
    ///
    /// # Errors
    ///
    /// The peer may not connect there.
    fn transport(
        newcomer: Self::Newcomer,
        security: &Security,
        peer: &Peer,
    ) -> Result<Self::Transport, Fault>;
}

/// A connection and whose it is, or why it is none and where it came from.
type Accepted<T> = Result<(T, Peer), (Option<SocketAddr>, Fault)>;

/// One listening socket of a shard.
pub struct Listener<A> {
    socket: A,
    security: Arc<Security>,
    /// Its place in the configuration.
    number: u16,
    config: ListenerConfig,
    /// It may have somebody.
    pub(crate) ready: bool,
    rest: Rest,
}

impl<A: Accept> Listener<A> {
    /// The one that has this place in the configuration.
    ///
    /// # Errors
    ///
    /// The system cannot watch the socket.
    pub(crate) fn new(
        mut bound: Bound<A>,
        config: ListenerConfig,
        number: u16,
    ) -> io::Result<Self> {
        bound.socket.watch(true)?;
        Ok(Self {
            socket: bound.socket,
            security: bound.security,
            number,
            config,
            ready: true,
            rest: Rest::default(),
        })
    }

    /// Lets newcomers wait for a moment.
    pub(crate) fn rest(&mut self, now: Timestamp, for_ms: u64) {
        self.rest.begin(now, for_ms);
        // Else it would be reported over and over. That it cannot be told so costs only that.
        let _ = self.socket.watch(false);
        self.ready = true;
    }

    /// When it wants to be asked again, should it rest.
    pub(crate) const fn next_deadline(&self) -> Option<Timestamp> {
        if self.ready { self.rest.until() } else { None }
    }

    /// The next connection, or why it is none. `None` when there is none now; `ready` says whether
    /// to ask again.
    pub(crate) fn accept(&mut self, now: Timestamp) -> Option<Accepted<A::Transport>> {
        if !self.ready {
            return None;
        }
        if self.rest.until().is_some() {
            if self.rest.goes_on(now) {
                return None;
            }
            if self.socket.watch(true).is_err() {
                self.rest.begin(now, BACK_OFF_MS);
                return None;
            }
        }
        loop {
            match self.socket.accept(&self.config) {
                Ok((newcomer, address)) => {
                    let peer = Peer {
                        // One form of an IPv4 address, whatever the socket that accepted it.
                        address: address
                            .map(|from| SocketAddr::new(from.ip().to_canonical(), from.port())),
                        listener: self.number,
                        ..Peer::default()
                    };
                    return Some(match A::transport(newcomer, &self.security, &peer) {
                        Ok(transport) => Ok((transport, self.security.as_far_as_known(peer))),
                        Err(fault) => Err((peer.address, fault)),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready = false;
                    self.rest.all_are_in(&self.config.url);
                    return None;
                }
                Err(error) => {
                    if self.rest.begin_for(&error, &self.config.url, now) {
                        let _ = self.socket.watch(false);
                        return None;
                    }
                }
            }
        }
    }
}

/// Opens one for TCP, which never waits. Where the system lets accepted sockets inherit them, the
/// options of connections are set here, once for all.
///
/// # Errors
///
/// What the system says.
fn open_tcp(config: &ListenerConfig, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket_for(config, address, (Type::STREAM, Protocol::TCP))?;
    // Lets the broker come back at once; on Windows it would mean something else.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    set_tcp_options(&SockRef::from(&socket), config)?;
    socket.bind(&address.into())?;
    socket.listen(backlog(config))?;
    Ok(socket.into())
}

/// Opens one with a file, which goes when the second of what it gives is dropped.
///
/// # Errors
///
/// Something else is there, or what the system says.
#[cfg(unix)]
fn open_unix(
    config: &ListenerConfig,
) -> io::Result<(std::os::unix::net::UnixListener, SocketFile)> {
    use socket2::SockAddr;
    let path = config.url.file().ok_or(io::ErrorKind::InvalidInput)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    set_buffers(&SockRef::from(&socket), config)?;
    socket.set_nonblocking(true)?;
    let file = SocketFile::make(path, config, || socket.bind(&SockAddr::unix(path)?))?;
    // Nobody can connect before it listens, so there is no moment with other permissions.
    socket.listen(backlog(config))?;
    Ok((socket.into(), file))
}

/// A socket that can be bound there, and never waits.
///
/// # Errors
///
/// What the system says.
pub fn socket_for(
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

/// Gives a connection that was accepted the options that it has not inherited. Linux lets it
/// inherit all; elsewhere that is not certain. One that cannot have them has ended already, which
/// its first read says.
pub fn settle(stream: &SockRef<'_>, config: &ListenerConfig) {
    if !cfg!(target_os = "linux") {
        let _ = set_tcp_options(stream, config);
    }
}

fn set_tcp_options(socket: &SockRef<'_>, config: &ListenerConfig) -> io::Result<()> {
    if config.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(seconds) = config.tcp_keepalive_s {
        let period = Duration::from_secs(seconds.max(1).into());
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(period).with_interval(period))?;
    }
    set_buffers(socket, config)
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

/// When a listener accepts nobody for a while.
#[derive(Debug, Default)]
pub struct Rest {
    until: Option<Timestamp>,
    /// There was an error, it was reported, and somebody may be waiting still.
    in_trouble: bool,
}

impl Rest {
    /// Accepts nobody for so long.
    pub const fn begin(&mut self, now: Timestamp, for_ms: u64) {
        self.until = Some(now.after_ms(for_ms));
    }

    /// When it ends.
    #[must_use]
    pub const fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Whether it goes on; once it does not, there is none.
    pub fn goes_on(&mut self, now: Timestamp) -> bool {
        self.until = self.until.filter(|until| now < *until);
        self.until.is_some()
    }

    /// Accepting has failed: `false` when that is about the one connection that has gone away
    /// since. Else it rests, and the log says so once.
    pub fn begin_for(&mut self, error: &io::Error, url: &ListenerUrl, now: Timestamp) -> bool {
        if is_about_one_connection(error) {
            return false;
        }
        if !core::mem::replace(&mut self.in_trouble, true) {
            warn!(
                listener = %url, %error,
                "cannot accept connections; those that are open are served on"
            );
        }
        self.begin(now, BACK_OFF_MS);
        true
    }

    /// Nobody is waiting any more.
    pub fn all_are_in(&mut self, url: &ListenerUrl) {
        if core::mem::take(&mut self.in_trouble) {
            info!(listener = %url, "everybody is accepted again");
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
mod tests;
