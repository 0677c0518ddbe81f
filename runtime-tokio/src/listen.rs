//! Listening sockets, as tokio watches them.

use crate::transport::{Newcomer, Pipe, Transport, Watched};
use core::net::SocketAddr;
use core::task::{Context, Poll, Waker, ready};
use socket2::SockRef;
use std::io;
#[cfg(unix)]
use std::sync::Arc;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use whimbrel_core::Peer;
#[cfg(feature = "quic")]
use whimbrel_core::runtime::Scheme;
use whimbrel_core::runtime::{ListenError, ListenerConfig};
#[cfg(unix)]
use whimbrel_host::SocketFile;
use whimbrel_host::Threads;
use whimbrel_host::listen::{self as host, Accept, Bound, settle};
use whimbrel_transport::{Fault, Security};

#[cfg(feature = "quic")]
mod quic;

/// An open listening socket. Clones share it.
pub struct Listening(Open);

enum Open {
    Stream(host::Listening),
    #[cfg(feature = "quic")]
    Quic(quic::Bound),
}

impl Listening {
    /// The same socket.
    ///
    /// # Errors
    ///
    /// The system has no descriptor left.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(match &self.0 {
            Open::Stream(socket) => Open::Stream(socket.try_clone()?),
            #[cfg(feature = "quic")]
            Open::Quic(socket) => Open::Quic(socket.clone()),
        }))
    }
}

/// Opens a listening socket. A thread that it needs ends after the last who uses the socket.
///
/// # Errors
///
/// What the system says, with the place.
#[cfg_attr(
    not(feature = "quic"),
    expect(unused_variables, reason = "only QUIC needs them")
)]
pub(crate) fn bind(
    config: &ListenerConfig,
    threads: &Threads,
) -> Result<Bound<Listening>, ListenError> {
    host::bind(config, |security| {
        #[cfg(feature = "quic")]
        if let (Scheme::Quic, Some(address)) = (config.url.scheme(), config.url.address()) {
            let socket = quic::Bound::open(config, address, security, threads)?;
            let port = socket.port()?;
            return Ok((Listening(Open::Quic(socket)), port));
        }
        let (socket, port) = host::Listening::open(config)?;
        Ok((Listening(Open::Stream(socket)), port))
    })
}

/// A listening socket of a shard.
pub struct Acceptor {
    socket: Accepting,
    waker: Waker,
}

enum Accepting {
    Tcp(TcpListener),
    /// The file goes with it.
    #[cfg(unix)]
    Unix(
        UnixListener,
        #[expect(dead_code, reason = "to be dropped")] Arc<SocketFile>,
    ),
    #[cfg(feature = "quic")]
    Quic(quic::Acceptor),
}

impl Acceptor {
    /// Watched by the runtime of this thread, and whom to wake.
    ///
    /// # Errors
    ///
    /// The system cannot.
    pub(crate) fn new(socket: Listening, waker: Waker) -> io::Result<Self> {
        let socket = match socket.0 {
            #[cfg(feature = "quic")]
            Open::Quic(socket) => Accepting::Quic(socket.into_acceptor()),
            Open::Stream(socket) => match socket {
                host::Listening::Tcp(socket) => Accepting::Tcp(TcpListener::from_std(socket)?),
                #[cfg(unix)]
                host::Listening::Unix(socket, file) => {
                    Accepting::Unix(UnixListener::from_std(socket)?, file)
                }
            },
        };
        Ok(Self { socket, waker })
    }

    fn poll_accept(&mut self, config: &ListenerConfig) -> Poll<io::Result<Accepted>> {
        let mut cx = Context::from_waker(&self.waker);
        Poll::Ready(Ok(match &mut self.socket {
            Accepting::Tcp(socket) => {
                let (stream, address) = ready!(socket.poll_accept(&mut cx))?;
                settle(&SockRef::from(&stream), config);
                (Pipe::Tcp(stream).into(), Some(address))
            }
            #[cfg(unix)]
            Accepting::Unix(socket, _) => {
                let (stream, _) = ready!(socket.poll_accept(&mut cx))?;
                (Pipe::Unix(stream).into(), None)
            }
            #[cfg(feature = "quic")]
            Accepting::Quic(endpoint) => {
                let newcomer = ready!(endpoint.poll_accept(&mut cx))?;
                let address = newcomer.incoming.remote_address();
                (newcomer.into(), Some(address))
            }
        }))
    }
}

/// Who was accepted, and where it comes from if that has an address.
type Accepted = (Newcomer, Option<SocketAddr>);

impl Accept for Acceptor {
    type Newcomer = Newcomer;
    type Transport = Watched;

    fn accept(&mut self, config: &ListenerConfig) -> io::Result<Accepted> {
        match self.poll_accept(config) {
            Poll::Ready(accepted) => accepted,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// That somebody is there is reported once, so there is nothing to be told.
    fn watch(&mut self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn transport(newcomer: Newcomer, security: &Security, peer: &Peer) -> Result<Watched, Fault> {
        Transport::accepted(security, newcomer, peer).map(Watched::from)
    }
}
