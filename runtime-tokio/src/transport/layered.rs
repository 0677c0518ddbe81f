//! A pipe with layers on it: moves what [`Layers`] makes of bytes.

use super::layers::{Fault, Layers};
use super::pipe::Pipe;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use whimbrel_core::Peer;

/// What is encrypted and framed at once, at most, and so what a connection that takes no bytes
/// holds of it.
const SEALED_BYTES: usize = 16 << 10;

/// Reads without a byte of MQTT before the others are served: a peer may send nothing but pings.
const READS_MAXIMUM: usize = 8;

/// A pipe and what is spoken on it below MQTT.
pub(crate) struct Layered {
    pipe: Pipe,
    layers: Layers,
    /// Of MQTT, not yet taken; mostly empty.
    arrived: Vec<u8>,
    taken: usize,
    /// For the wire, not yet written; mostly empty.
    sealed: Vec<u8>,
    written: usize,
    has_said_goodbye: bool,
    /// The peer sends no more, or should not have sent what it did.
    ended: Option<Result<(), Fault>>,
}

impl Layered {
    /// `sealed` is what has to be sent first.
    pub(crate) const fn new(pipe: Pipe, layers: Layers, sealed: Vec<u8>) -> Self {
        Self {
            pipe,
            layers,
            arrived: Vec::new(),
            taken: 0,
            sealed,
            written: 0,
            has_said_goodbye: false,
            ended: None,
        }
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
        self.layers.introduce()
    }

    /// What the peer did wrong below MQTT, if that was the end, and where it comes from.
    pub(crate) fn fault(&self) -> Option<(Option<SocketAddr>, &Fault)> {
        let fault = self.ended.as_ref()?.as_ref().err()?;
        Some((self.layers.address(), fault))
    }

    /// Waits until all handshakes are done: as a client, which speaks first.
    ///
    /// # Errors
    ///
    /// They failed.
    pub(crate) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffer = [0; 4_096];
        while !self.layers.is_open() {
            if let Some(ended) = &self.ended {
                let error = ended.clone().err().map(io::Error::other);
                return Poll::Ready(Err(
                    error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())
                ));
            }
            ready!(self.poll_wire(cx, &mut ReadBuf::new(&mut buffer)))?;
        }
        self.poll_sealed(cx)
    }

    /// Writes what is left for the wire.
    fn poll_sealed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.sealed.len() {
            let left = &self.sealed[self.written..];
            match ready!(Pin::new(&mut self.pipe).poll_write(cx, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.sealed = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads once, into a buffer that is only lent for it.
    fn poll_wire(&mut self, cx: &mut Context<'_>, lent: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // What is owed first; that the peer does not take it shows when there is more to write.
        let _ = self.poll_sealed(cx)?;
        ready!(Pin::new(&mut self.pipe).poll_read(cx, lent))?;
        let wire = lent.filled_mut();
        if wire.is_empty() {
            self.ended = Some(Ok(()));
            return Poll::Ready(Ok(()));
        }
        let received = self
            .layers
            .receive(wire, &mut self.arrived, &mut self.sealed);
        if received.is_err() || self.layers.has_ended() {
            self.ended = Some(received);
        }
        if let Poll::Ready(Ok(())) = self.poll_sealed(cx) {
            self.layers.answer_ping(&mut self.sealed);
            let _ = self.poll_sealed(cx)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Hands out what has arrived.
    fn deliver(&mut self, buffer: &mut ReadBuf<'_>) {
        let left = &self.arrived[self.taken..];
        let count = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..count]);
        self.taken += count;
        if self.taken == self.arrived.len() {
            self.arrived = Vec::new();
            self.taken = 0;
        }
    }
}

impl AsyncRead for Layered {
    /// Of MQTT. What a peer does wrong below is the end, as if it had closed; see
    /// [`fault`](Layered::fault).
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.has_said_goodbye {
            // Nothing is understood any more; only that the peer is still there.
            return Pin::new(&mut this.pipe).poll_read(cx, buffer);
        }
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..READS_MAXIMUM {
            if this.taken < this.arrived.len() {
                this.deliver(buffer);
                return Poll::Ready(Ok(()));
            }
            if this.ended.is_some() {
                return Poll::Ready(Ok(()));
            }
            // The room for MQTT is lent for the wire before, which never says less.
            let mut lent = ReadBuf::new(buffer.initialize_unfilled());
            ready!(this.poll_wire(cx, &mut lent))?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for Layered {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_sealed(cx))?;
        let count = bytes.len().min(SEALED_BYTES);
        this.layers
            .send(&bytes[..count], &mut this.sealed)
            .map_err(io::Error::other)?;
        // As much as goes at once; the rest is for `poll_flush`.
        let _ = this.poll_sealed(cx)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_sealed(cx))?;
        Pin::new(&mut this.pipe).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !core::mem::replace(&mut this.has_said_goodbye, true) {
            this.layers.goodbye(&mut this.sealed);
        }
        ready!(this.poll_sealed(cx))?;
        Pin::new(&mut this.pipe).poll_shutdown(cx)
    }
}
