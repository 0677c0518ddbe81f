//! Listening sockets: opened with all their options before anything runs, and what becomes of one
//! that cannot accept.

use core::net::SocketAddr;
use core::time::Duration;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::TcpListener;
use tracing::{info, warn};
use whimbrel_core::Timestamp;
use whimbrel_core::runtime::{ListenerConfig, ListenerUrl};

/// How long a listener rests when the system is out of descriptors or memory, in milliseconds.
pub const BACK_OFF_MS: u64 = 200;

/// Opens one for TCP, which never waits. Where the system lets accepted sockets inherit them, the
/// options of connections are set here, once for all.
///
/// # Errors
///
/// What the system says.
pub fn open_tcp(config: &ListenerConfig, address: SocketAddr) -> io::Result<TcpListener> {
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
pub fn open_unix(
    config: &ListenerConfig,
) -> io::Result<(
    std::os::unix::net::UnixListener,
    whimbrel_core::runtime::SocketFile,
)> {
    use socket2::SockAddr;
    use whimbrel_core::runtime::SocketFile;
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
