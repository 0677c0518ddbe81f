//! One transport connection, as a shard holds it: its bytes, never their meaning.
//!
//! Reading goes into a buffer that the shard lends. Writing is direct; only what the system does
//! not take stays here, in an allocation of exactly that size, and until it is gone nothing more is
//! pulled from the core. A connection that keeps up owns no buffer at all.

use crate::ready::{ReadyList, Source};
use crate::transport::Transport;
use core::net::SocketAddr;
use core::pin::Pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker, ready};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use whimbrel_core::codec::packet::Version;
use whimbrel_core::runtime::config::LINGER;
use whimbrel_core::{ConnectionId, Peer, Timestamp};
use whimbrel_transport::Fault;

/// One open connection.
pub(crate) struct Socket {
    /// Its name in the core.
    pub(crate) id: ConnectionId,
    /// When it was accepted.
    pub(crate) accepted: Timestamp,
    /// Known once it is in; for the log.
    pub(crate) version: Option<Version>,
    /// Whether the core does not want to hear from it. Its end is noticed when it is read again, so
    /// that what it sent before is not lost; or else late.
    pub(crate) paused: bool,
    /// Not read since it was looked at.
    missed: bool,
    /// The core has more for it, to be pulled once `unsent` is gone.
    pub(crate) send_due: bool,
    transport: Transport,
    waker: Waker,
    unsent: Unsent,
}

/// What became of bytes that were to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The transport took everything.
    All,
    /// Some are left; the connection's waker fires when there is room.
    Blocked,
    /// The peer does not take bytes any more. Now and later they are dropped; what it has sent
    /// before it went away can still be read, and the end of that ends the connection.
    Broken,
}

/// The state of a transport's sending side.
enum Unsent {
    Nothing,
    Bytes { bytes: Box<[u8]>, written: usize },
    Broken,
}

impl Socket {
    pub(crate) fn new(
        id: ConnectionId,
        transport: Transport,
        waker: Waker,
        accepted: Timestamp,
    ) -> Self {
        Self {
            id,
            accepted,
            version: None,
            paused: false,
            missed: false,
            send_due: false,
            transport,
            waker,
            unsent: Unsent::Nothing,
        }
    }

    /// What its bytes travel over, for another shard. Nothing was written to it.
    pub(crate) fn into_transport(self) -> Transport {
        self.transport
    }

    /// Reads what fits into `buffer`; 0 bytes are the end. When pending, the connection's waker
    /// fires once there is something.
    pub(crate) fn poll_read(&mut self, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.missed = false;
        let mut cx = Context::from_waker(&self.waker);
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.transport).poll_read(&mut cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Who it is, when that has just become known.
    pub(crate) fn introduce(&mut self) -> Option<Peer> {
        self.transport.introduce()
    }

    /// What the peer did wrong below MQTT, if that was the end, and where it comes from.
    pub(crate) fn fault(&self) -> Option<(Option<SocketAddr>, &Fault)> {
        self.transport.fault()
    }

    /// It is looked at because it may be paused: whether it is, was not read since the last time,
    /// and has nobody at the other end.
    pub(crate) fn is_gone(&mut self) -> bool {
        self.paused && core::mem::replace(&mut self.missed, true) && self.transport.has_left()
    }

    /// Whether bytes of an earlier write are left.
    pub(crate) const fn is_blocked(&self) -> bool {
        matches!(self.unsent, Unsent::Bytes { .. })
    }

    /// Writes `bytes`. What the transport does not take is copied and kept, behind what is kept
    /// already.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Written {
        match &mut self.unsent {
            Unsent::Broken => return Written::Broken,
            Unsent::Bytes {
                bytes: kept,
                written,
            } => {
                *kept = [&kept[*written..], bytes].concat().into();
                *written = 0;
                return Written::Blocked;
            }
            Unsent::Nothing => {}
        }
        let mut written = 0;
        let state = write_some(&mut self.transport, &self.waker, bytes, &mut written);
        match state {
            Written::All => {}
            Written::Blocked => {
                self.unsent = Unsent::Bytes {
                    bytes: bytes[written..].into(),
                    written: 0,
                };
            }
            Written::Broken => self.unsent = Unsent::Broken,
        }
        state
    }

    /// Goes on with what is left.
    pub(crate) fn flush(&mut self) -> Written {
        let Unsent::Bytes { bytes, written } = &mut self.unsent else {
            return Written::All;
        };
        let state = write_some(&mut self.transport, &self.waker, bytes, written);
        match state {
            Written::All => self.unsent = Unsent::Nothing,
            Written::Blocked => {}
            Written::Broken => self.unsent = Unsent::Broken,
        }
        state
    }

    /// Writes `last_bytes` and closes, without keeping the shard: what takes time is done aside.
    /// The peer gets to read everything, unless it takes longer than [`LINGER`].
    pub(crate) fn close(mut self, last_bytes: &[u8], lingering: &Lingering) {
        if !last_bytes.is_empty() {
            self.write(last_bytes);
        } else if !self.is_blocked() && !self.transport.has_goodbye() {
            return;
        }
        let (unsent, written) = match self.unsent {
            Unsent::Broken => return,
            Unsent::Nothing => (Box::default(), 0),
            Unsent::Bytes { bytes, written } => (bytes, written),
        };
        let Some(guard) = lingering.enter() else {
            return;
        };
        let transport = self.transport;
        tokio::spawn(async move {
            // When the time is over, or the peer has gone, there is nobody left to tell.
            let _ = tokio::time::timeout(LINGER, linger(transport, &unsent[written..])).await;
            drop(guard);
        });
    }
}

/// Writes until everything is taken, or no more is.
fn write_some(
    transport: &mut Transport,
    waker: &Waker,
    bytes: &[u8],
    written: &mut usize,
) -> Written {
    let mut cx = Context::from_waker(waker);
    while *written < bytes.len() {
        match Pin::new(&mut *transport).poll_write(&mut cx, &bytes[*written..]) {
            Poll::Pending => return Written::Blocked,
            Poll::Ready(Ok(0)) => return Written::Broken,
            Poll::Ready(Ok(count)) => *written += count,
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Poll::Ready(Err(_)) => return Written::Broken,
        }
    }
    // Layers may have taken what the pipe has not.
    match Pin::new(transport).poll_flush(&mut cx) {
        Poll::Ready(Ok(())) => Written::All,
        Poll::Ready(Err(_)) => Written::Broken,
        Poll::Pending => Written::Blocked,
    }
}

/// Writes the last bytes, says that there are no more, and waits for the peer to close. Closing
/// while bytes of the peer are unread would make the system reset the connection, and the peer
/// might never see the last packet.
async fn linger(mut stream: Transport, unsent: &[u8]) -> io::Result<()> {
    stream.write_all(unsent).await?;
    stream.shutdown().await?;
    let mut unread = [0; 1_024];
    for _ in 0..UNREAD_MAXIMUM_BYTES / unread.len() {
        if stream.read(&mut unread).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// What a peer may still send after it was told goodbye; enough for all that was on its way, and an
/// end for one that goes on and on.
const UNREAD_MAXIMUM_BYTES: usize = 4 << 20;

/// Counts the connections that are closed but have not taken their last bytes.
pub(crate) struct Lingering {
    count: Arc<AtomicUsize>,
    waker: Waker,
}

/// As many may linger; beyond that, a closed connection is cut. They hold a file descriptor each,
/// and peers that are refused by the thousand are better cut than served.
const LINGERING_MAXIMUM: usize = 16_384;

impl Lingering {
    pub(crate) fn new(ready: &Arc<ReadyList>) -> Self {
        Self {
            count: Arc::default(),
            waker: ready.waker(Source::Lingering),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn enter(&self) -> Option<LingerGuard> {
        if self.count.fetch_add(1, Ordering::AcqRel) >= LINGERING_MAXIMUM {
            self.count.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(LingerGuard {
            count: Arc::clone(&self.count),
            waker: self.waker.clone(),
        })
    }
}

struct LingerGuard {
    count: Arc<AtomicUsize>,
    waker: Waker,
}

impl Drop for LingerGuard {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
        self.waker.wake_by_ref();
    }
}
