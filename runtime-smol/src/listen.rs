//! Listening sockets: opened with all their options before anything runs, then accepted from
//! without ever letting an error of one stop the others.

use crate::stream::{Pipe, watch_new};
use core::net::SocketAddr;
use polling::{Event, Poller};
use socket2::SockRef;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use whimbrel_core::Timestamp;
use whimbrel_core::runtime::{ListenError, ListenerConfig, ListenerUrl, Scheme, SocketFile};
use whimbrel_host::listen::{BACK_OFF_MS, Rest, open_tcp, open_unix, settle};
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

/// Opens a listening socket.
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
    let (url, socket) = match (url.scheme(), url.address()) {
        (Scheme::Quic, _) => return Err(without("quic")),
        (_, Some(address)) => {
            let socket = open_tcp(config, address)?;
            let port = socket.local_addr()?.port();
            (url.at_port(port), BoundSocket::Tcp(socket))
        }
        // Only Unix sockets have none.
        (_, None) => {
            let (socket, file) = open_unix(config)?;
            (url, BoundSocket::Unix(socket, file))
        }
    };
    Ok(Bound {
        url,
        security,
        socket,
    })
}

/// One listening socket of the shard.
pub(crate) struct Listener {
    pub(crate) bound: Bound,
    config: ListenerConfig,
    /// What it is called in the poller.
    key: usize,
    /// It may have somebody.
    pub(crate) ready: bool,
    /// While it rests, it is not watched: else it would be reported over and over.
    rest: Rest,
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
            rest: Rest::default(),
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
        self.rest.until()
    }

    /// The next connection, and where it comes from if that has an address. `None` when there is
    /// none now.
    pub(crate) fn accept(
        &mut self,
        now: Timestamp,
        poller: &Poller,
    ) -> Option<(Pipe, Option<SocketAddr>)> {
        if self.rest.until().is_some() && !self.rest.goes_on(now) {
            self.ready = self.watch(poller).is_ok();
            if !self.ready {
                self.rest.begin(now, BACK_OFF_MS);
            }
        }
        while self.ready {
            match self.try_accept() {
                Ok(accepted) => return Some(accepted),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready = false;
                    self.rest.all_are_in(&self.bound.url);
                }
                Err(error) => {
                    if self.rest.begin_for(&error, &self.bound.url, now) {
                        self.ready = false;
                        let _ = match &self.bound.socket {
                            BoundSocket::Tcp(socket) => poller.delete(socket),
                            BoundSocket::Unix(socket, _) => poller.delete(socket),
                        };
                    }
                }
            }
        }
        None
    }

    fn try_accept(&self) -> io::Result<(Pipe, Option<SocketAddr>)> {
        match &self.bound.socket {
            BoundSocket::Tcp(socket) => {
                let (stream, address) = socket.accept()?;
                settle(&SockRef::from(&stream), &self.config);
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
