//! Listening sockets: opened with all their options before anything runs, then accepted from
//! without ever letting an error of one stop the others.

use crate::stream::{Pipe, watch_new};
use core::net::SocketAddr;
use core::time::Duration;
use polling::{Event, Poller};
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use tracing::{info, warn};
use whimbrel_core::Timestamp;
use whimbrel_core::runtime::{ListenError, ListenerConfig, ListenerUrl, Scheme, SocketFile};
use whimbrel_transport::{Security, without};

/// An open listening socket.
pub(crate) struct Bound {
    /// Where it is, with the port that the system has chosen.
    pub(crate) url: ListenerUrl,
    /// What is laid on its connections.
    pub(crate) security: Arc<Security>,
    socket: BoundSocket,
}

enum BoundSocket {
    Tcp(TcpListener),
    /// The file goes with it.
    Unix(
        UnixListener,
        #[expect(dead_code, reason = "to be dropped")] SocketFile,
    ),
}

/// Opens a listening socket. Linux lets accepted sockets inherit the options of connections, which
/// are set here, once for all.
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
    let url = config.url.clone();
    let security = Arc::new(Security::new(config)?);
    let backlog = i32::try_from(config.backlog).unwrap_or(i32::MAX);
    match (url.scheme(), url.address(), url.file()) {
        (Scheme::Quic, ..) => Err(without("quic")),
        (_, Some(address), _) => {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            if address.is_ipv6() {
                socket.set_only_v6(config.ipv6_only)?;
            }
            // Lets the broker come back at once.
            socket.set_reuse_address(true)?;
            if config.reuse_port {
                socket.set_reuse_port(true)?;
            }
            set_options(&SockRef::from(&socket), config)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(backlog)?;
            let socket = TcpListener::from(socket);
            let url = url.at_port(socket.local_addr()?.port());
            Ok(Bound {
                url,
                security,
                socket: BoundSocket::Tcp(socket),
            })
        }
        (Scheme::Unix, _, Some(path)) => {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            set_buffers(&SockRef::from(&socket), config)?;
            socket.set_nonblocking(true)?;
            let file = SocketFile::make(path, config, || socket.bind(&SockAddr::unix(path)?))?;
            // Nobody can connect before it listens.
            socket.listen(backlog)?;
            Ok(Bound {
                url,
                security,
                socket: BoundSocket::Unix(socket.into(), file),
            })
        }
        // Only Unix sockets have no address, and they have a file.
        (_, None, _) => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn set_options(socket: &SockRef<'_>, config: &ListenerConfig) -> io::Result<()> {
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

/// How long a listener rests when the system is out of descriptors or memory.
const BACK_OFF_MS: u64 = 200;

/// One listening socket of the shard.
pub(crate) struct Listener {
    pub(crate) bound: Bound,
    config: ListenerConfig,
    /// What it is called in the poller.
    key: usize,
    /// It may have somebody.
    pub(crate) ready: bool,
    /// It rests until then, because of an error, and is not watched.
    resting_until: Option<Timestamp>,
}

impl Listener {
    /// # Errors
    ///
    /// The system cannot watch the socket.
    pub(crate) fn new(
        bound: Bound,
        config: ListenerConfig,
        poller: &Poller,
        key: usize,
    ) -> io::Result<Self> {
        let listener = Self {
            bound,
            config,
            key,
            ready: false,
            resting_until: None,
        };
        listener.watch(poller)?;
        Ok(listener)
    }

    fn watch(&self, poller: &Poller) -> io::Result<()> {
        match &self.bound.socket {
            BoundSocket::Tcp(socket) => watch_new(poller, socket, Event::readable(self.key)),
            BoundSocket::Unix(socket, _) => watch_new(poller, socket, Event::readable(self.key)),
        }
    }

    /// When it wants to be asked again, should it rest.
    pub(crate) const fn next_deadline(&self) -> Option<Timestamp> {
        self.resting_until
    }

    /// The next connection, and where it comes from if that has an address. `None` when there is
    /// none now.
    pub(crate) fn accept(
        &mut self,
        now: Timestamp,
        poller: &Poller,
    ) -> Option<(Pipe, Option<SocketAddr>)> {
        if self.resting_until.is_some_and(|until| until <= now) {
            self.ready = self.watch(poller).is_ok();
            self.resting_until = (!self.ready).then(|| now.after_ms(BACK_OFF_MS));
            info!(listener = %self.bound.url, "accepting again");
        }
        while self.ready {
            match self.try_accept() {
                Ok(accepted) => return Some(accepted),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready = false,
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    warn!(
                        listener = %self.bound.url, %error,
                        "cannot accept connections; those that are open are served on"
                    );
                    self.ready = false;
                    self.resting_until = Some(now.after_ms(BACK_OFF_MS));
                    // Else it would be reported over and over.
                    let _ = match &self.bound.socket {
                        BoundSocket::Tcp(socket) => poller.delete(socket),
                        BoundSocket::Unix(socket, _) => poller.delete(socket),
                    };
                }
            }
        }
        None
    }

    fn try_accept(&self) -> io::Result<(Pipe, Option<SocketAddr>)> {
        match &self.bound.socket {
            BoundSocket::Tcp(socket) => {
                let (stream, address) = socket.accept()?;
                if !cfg!(target_os = "linux") {
                    // One that cannot have them has ended already, which its first read says.
                    let _ = set_options(&SockRef::from(&stream), &self.config);
                }
                stream.set_nonblocking(true)?;
                Ok((Pipe::Tcp(stream), Some(address)))
            }
            BoundSocket::Unix(socket, _) => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Pipe::Unix(stream), None))
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
