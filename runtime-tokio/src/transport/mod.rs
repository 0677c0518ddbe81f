//! What bytes travel over: a raw pipe, which moves bytes and knows nothing of what they mean, and
//! perhaps the layers of `whimbrel-transport` on it.

mod layered;
mod pipe;
#[cfg(feature = "quic")]
pub(crate) mod quic;
mod watched;

pub(crate) use layered::Layered;
pub(crate) use pipe::Pipe;
pub use watched::Watched;

use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use whimbrel_core::Peer;
use whimbrel_transport::{Fault, Security};

/// A stream of MQTT between this program and a peer. Every kind of listener ends in one of these.
pub(crate) enum Transport {
    /// The pipe carries MQTT as it is.
    Plain(Pipe),
    /// Something else is spoken first, or all the time. Boxed: plain connections do not pay for it.
    Layered(Box<Layered>),
    /// The layers are in the connection.
    #[cfg(feature = "quic")]
    Quic(Box<quic::Quic>),
}

/// What a listener has accepted.
pub struct Newcomer(Accepted);

enum Accepted {
    Pipe(Pipe),
    #[cfg(feature = "quic")]
    Quic(Box<quic::Newcomer>),
}

impl From<Pipe> for Newcomer {
    fn from(pipe: Pipe) -> Self {
        Self(Accepted::Pipe(pipe))
    }
}

#[cfg(feature = "quic")]
impl From<quic::Newcomer> for Newcomer {
    fn from(newcomer: quic::Newcomer) -> Self {
        Self(Accepted::Quic(Box::new(newcomer)))
    }
}

impl Transport {
    /// Of a connection that a listener has accepted from `peer`.
    ///
    /// # Errors
    ///
    /// The peer may not connect there.
    pub(crate) fn accepted(
        security: &Security,
        newcomer: Newcomer,
        peer: &Peer,
    ) -> Result<Self, Fault> {
        match newcomer.0 {
            Accepted::Pipe(pipe) => Ok(match security.layers(peer)? {
                None => Self::Plain(pipe),
                Some(layers) => Self::Layered(Box::new(Layered::new(pipe, layers, Vec::new()))),
            }),
            #[cfg(feature = "quic")]
            Accepted::Quic(newcomer) => {
                let config = security.quic().ok_or(Fault::NotOpen)?;
                let quic = quic::Quic::server(*newcomer, config, peer.clone());
                Ok(Self::Quic(Box::new(quic)))
            }
        }
    }

    /// The same, watched by the runtime of this thread.
    ///
    /// # Errors
    ///
    /// The system cannot watch it.
    pub(crate) fn moved(self) -> io::Result<Self> {
        Ok(match self {
            Self::Plain(pipe) => Self::Plain(pipe.moved()?),
            Self::Layered(layered) => Self::Layered(Box::new(layered.moved()?)),
            // Watched where its endpoint is.
            #[cfg(feature = "quic")]
            Self::Quic(quic) => Self::Quic(quic),
        })
    }

    /// Who it is, once the layers know more than what was known when it was accepted; told once.
    pub(crate) fn introduce(&mut self) -> Option<Peer> {
        match self {
            Self::Plain(_) => None,
            Self::Layered(layered) => layered.introduce(),
            #[cfg(feature = "quic")]
            Self::Quic(quic) => quic.introduce(),
        }
    }

    /// What the peer did wrong below MQTT, if that was the end, and where it comes from.
    pub(crate) fn fault(&self) -> Option<(Option<SocketAddr>, &Fault)> {
        match self {
            Self::Plain(_) => None,
            Self::Layered(layered) => layered.fault(),
            #[cfg(feature = "quic")]
            Self::Quic(quic) => quic.fault(),
        }
    }

    /// Whether there is something to flush.
    pub(crate) const fn is_unflushed(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Layered(layered) => layered.is_unflushed(),
            #[cfg(feature = "quic")]
            Self::Quic(_) => false,
        }
    }

    /// Whether the peer says nothing more, though bytes of it may be unread.
    pub(crate) fn has_left(&self) -> bool {
        match self {
            Self::Plain(pipe) => pipe.has_left(),
            Self::Layered(layered) => layered.has_left(),
            #[cfg(feature = "quic")]
            Self::Quic(quic) => quic.has_left(),
        }
    }

    /// Whether its end is to be said before it is closed.
    pub(crate) const fn has_goodbye(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Layered(_) => true,
            #[cfg(feature = "quic")]
            Self::Quic(quic) => quic.is_open(),
        }
    }
}

/// Does the same with whatever it is.
macro_rules! each {
    ($transport:expr, $stream:ident => $what:expr) => {
        match $transport.get_mut() {
            Transport::Plain($stream) => $what,
            Transport::Layered(layered) => {
                let $stream = &mut **layered;
                $what
            }
            #[cfg(feature = "quic")]
            Transport::Quic(quic) => {
                let $stream = &mut **quic;
                $what
            }
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
