//! Listening sockets: opened with all their options before anything runs, then accepted from without
//! ever letting an error of one stop the others.

use crate::socket::{Transport, watch_new};
use core::net::SocketAddr;
use core::time::Duration;
use polling::{Event, Poller};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::TcpListener;
use thiserror::Error;
use tracing::{info, warn};
use whimbrel_core::Timestamp;
use whimbrel_core::runtime::ListenerConfig;

/// Why an address cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// Opens a listening socket. Linux lets accepted sockets inherit the options of connections, which
/// are set here, once for all.
///
/// # Errors
///
/// What the system says, with the address.
pub(crate) fn bind(config: &ListenerConfig) -> Result<TcpListener, ListenError> {
    let address = config.address;
    let open = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
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
        socket.listen(i32::try_from(config.backlog).unwrap_or(i32::MAX))?;
        Ok(socket.into())
    };
    open().map_err(|source| ListenError { address, source })
}

fn set_options(socket: &SockRef<'_>, config: &ListenerConfig) -> io::Result<()> {
    if config.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(seconds) = config.tcp_keepalive_s {
        let period = Duration::from_secs(seconds.max(1).into());
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(period).with_interval(period))?;
    }
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
    socket: TcpListener,
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
        socket: TcpListener,
        config: ListenerConfig,
        poller: &Poller,
        key: usize,
    ) -> io::Result<Self> {
        watch_new(poller, &socket, Event::readable(key))?;
        Ok(Self {
            socket,
            config,
            key,
            ready: false,
            resting_until: None,
        })
    }

    /// When it wants to be asked again, should it rest.
    pub(crate) const fn next_deadline(&self) -> Option<Timestamp> {
        self.resting_until
    }

    /// The next connection. `None` when there is none now; `ready` says whether to ask again.
    pub(crate) fn accept(
        &mut self,
        now: Timestamp,
        poller: &Poller,
    ) -> Option<(Transport, Option<SocketAddr>)> {
        if self.resting_until.is_some_and(|until| until <= now) {
            self.ready = watch_new(poller, &self.socket, Event::readable(self.key)).is_ok();
            self.resting_until = (!self.ready).then(|| now.after_ms(BACK_OFF_MS));
            info!(listener = %self.config.address, "accepting again");
        }
        while self.ready {
            match self.socket.accept() {
                Ok((stream, address)) => {
                    if !cfg!(target_os = "linux") {
                        // One that cannot have them has ended already, which its first read says.
                        let _ = set_options(&SockRef::from(&stream), &self.config);
                    }
                    // Cannot fail for a socket that is open.
                    if stream.set_nonblocking(true).is_ok() {
                        return Some((Transport::Tcp(stream), Some(address)));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready = false,
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    warn!(
                        listener = %self.config.address, %error,
                        "cannot accept connections; those that are open are served on"
                    );
                    self.ready = false;
                    self.resting_until = Some(now.after_ms(BACK_OFF_MS));
                    // Else it would be reported over and over.
                    let _ = poller.delete(&self.socket);
                }
            }
        }
        None
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
