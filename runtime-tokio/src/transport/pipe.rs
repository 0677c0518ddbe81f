//! Raw byte streams of every kind, behind one face.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
#[cfg(unix)]
use whimbrel_host::presence::has_left;

/// A byte stream between this program and a peer.
pub(crate) enum Pipe {
    /// A TCP connection.
    Tcp(TcpStream),
    /// A connection to a Unix socket.
    #[cfg(unix)]
    Unix(UnixStream),
    /// A connection from inside this program. Boxed: most connections are not.
    Memory(Box<DuplexStream>),
}

impl Pipe {
    /// The same, watched by the runtime of this thread.
    ///
    /// # Errors
    ///
    /// The system cannot watch it.
    pub(crate) fn moved(self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(TcpStream::from_std(stream.into_std()?)?),
            #[cfg(unix)]
            Self::Unix(stream) => Self::Unix(UnixStream::from_std(stream.into_std()?)?),
            // Nobody has to watch it.
            Self::Memory(stream) => Self::Memory(stream),
        })
    }

    /// Whether the peer says nothing more, though bytes of it may be unread. Of peers inside this
    /// program that is not known.
    pub(crate) fn has_left(&self) -> bool {
        match self {
            #[cfg(unix)]
            Self::Tcp(stream) => has_left(stream),
            #[cfg(unix)]
            Self::Unix(stream) => has_left(stream),
            #[cfg(not(unix))]
            Self::Tcp(_) => false,
            Self::Memory(_) => false,
        }
    }
}

/// Does the same with whatever it is.
macro_rules! each {
    ($pipe:expr, $stream:ident => $what:expr) => {
        match $pipe {
            Self::Tcp($stream) => $what,
            #[cfg(unix)]
            Self::Unix($stream) => $what,
            Self::Memory($stream) => $what,
        }
    };
}

impl AsyncRead for Pipe {
    // Unlike `try_read`, this takes a short read of a socket as "drained" and so saves the one that
    // would say so.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
