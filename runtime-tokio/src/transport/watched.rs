//! A transport as a shard sees it: one that says `WouldBlock` where it is pending.

use super::Transport;
use super::layered::blocking;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Waker};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use whimbrel_core::Peer;
use whimbrel_host::socket;
use whimbrel_transport::Fault;

/// A transport, and who is woken when it is ready again.
pub struct Watched {
    transport: Transport,
    waker: Waker,
}

impl From<Transport> for Watched {
    /// Nobody is woken yet.
    fn from(transport: Transport) -> Self {
        let waker = Waker::noop().clone();
        Self { transport, waker }
    }
}

impl Watched {
    /// Whom to wake from now on.
    pub(crate) fn wake(&mut self, waker: Waker) {
        self.waker = waker;
    }

    /// The same, watched by the runtime of this thread.
    ///
    /// # Errors
    ///
    /// The system cannot watch it.
    pub(crate) fn moved(self) -> io::Result<Self> {
        self.transport.moved().map(Self::from)
    }

    fn parts(&mut self) -> (Pin<&mut Transport>, Context<'_>) {
        let cx = Context::from_waker(&self.waker);
        (Pin::new(&mut self.transport), cx)
    }
}

impl socket::Transport for Watched {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (transport, mut cx) = self.parts();
        let mut buffer = ReadBuf::new(buffer);
        blocking(transport.poll_read(&mut cx, &mut buffer))?;
        Ok(buffer.filled().len())
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (transport, mut cx) = self.parts();
        blocking(transport.poll_write(&mut cx, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        let (transport, mut cx) = self.parts();
        blocking(transport.poll_flush(&mut cx))
    }

    fn finish(&mut self) -> io::Result<()> {
        let (transport, mut cx) = self.parts();
        blocking(transport.poll_shutdown(&mut cx))
    }

    fn is_unflushed(&self) -> bool {
        self.transport.is_unflushed()
    }

    fn has_more(&self) -> bool {
        // Unknown, and it is read until there is nothing.
        true
    }

    fn introduce(&mut self) -> Option<Peer> {
        self.transport.introduce()
    }

    fn fault(&self) -> Option<(Option<SocketAddr>, &Fault)> {
        self.transport.fault()
    }

    fn has_left(&self) -> bool {
        self.transport.has_left()
    }

    fn has_goodbye(&self) -> bool {
        self.transport.has_goodbye()
    }
}
