//! A pipe with layers on it, as tokio wants to see it.

use super::Pipe;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io::{self, ErrorKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use whimbrel_core::Peer;
use whimbrel_transport::{self as below, Fault, Layers};

/// A pipe and what is spoken on it below MQTT.
pub(crate) struct Layered {
    pipe: Pipe,
    layered: below::Layered,
}

/// A pipe that says `WouldBlock` where it is pending; `cx` is woken then.
struct Polled<'a, 'b> {
    pipe: &'a mut Pipe,
    cx: &'a mut Context<'b>,
}

impl io::Read for Polled<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        blocking(Pin::new(&mut *self.pipe).poll_read(self.cx, &mut buffer))?;
        Ok(buffer.filled().len())
    }
}

impl io::Write for Polled<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        blocking(Pin::new(&mut *self.pipe).poll_write(self.cx, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        blocking(Pin::new(&mut *self.pipe).poll_flush(self.cx))
    }
}

pub(super) fn blocking<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

impl Layered {
    /// `sealed` is what has to be sent first.
    pub(crate) const fn new(pipe: Pipe, layers: Layers, sealed: Vec<u8>) -> Self {
        let layered = below::Layered::new(layers, sealed);
        Self { pipe, layered }
    }

    /// The same, watched by the runtime of this thread. Layers do not know of runtimes.
    ///
    /// # Errors
    ///
    /// The system cannot watch it.
    pub(crate) fn moved(self) -> io::Result<Self> {
        let pipe = self.pipe.moved()?;
        Ok(Self { pipe, ..self })
    }

    /// Who it is, once that is known; told once.
    pub(crate) fn introduce(&mut self) -> Option<Peer> {
        self.layered.introduce()
    }

    /// What the peer did wrong below MQTT, if that was the end, and where it comes from.
    pub(crate) fn fault(&self) -> Option<(Option<SocketAddr>, &Fault)> {
        self.layered.fault()
    }

    /// Whether there is something that the pipe has not taken.
    pub(crate) const fn is_unflushed(&self) -> bool {
        self.layered.is_unflushed()
    }

    /// Whether the peer says nothing more, though bytes of it may be unread.
    pub(crate) fn has_left(&self) -> bool {
        self.pipe.has_left()
    }

    /// Waits until all handshakes are done: as a client, which speaks first.
    ///
    /// # Errors
    ///
    /// They failed.
    pub(crate) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |layered, pipe| layered.open(pipe))
    }

    /// Does something, which is pending where the pipe is.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        something: impl FnOnce(&mut below::Layered, &mut Polled<'_, '_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let pipe = &mut self.pipe;
        match something(&mut self.layered, &mut Polled { pipe, cx }) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            result => Poll::Ready(result),
        }
    }
}

impl AsyncRead for Layered {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.initialize_unfilled();
        let count = ready!(
            self.get_mut()
                .poll(cx, |layered, pipe| layered.read(pipe, room))
        )?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Layered {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .poll(cx, |layered, pipe| layered.write(pipe, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll(cx, |layered, pipe| layered.flush(pipe))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll(cx, |layered, pipe| layered.goodbye(pipe)))?;
        Pin::new(&mut this.pipe).poll_shutdown(cx)
    }
}
