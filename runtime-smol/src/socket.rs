//! One transport connection, as the shard holds it: its bytes, never their meaning.
//!
//! Reading goes into a buffer that the shard lends. Writing is direct; only what the system does
//! not take stays here, in an allocation of exactly that size. A connection that keeps up owns no
//! buffer at all.

use crate::link::Link;
use polling::{Event, PollMode, Poller};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use whimbrel_core::{ConnectionId, Timestamp};

/// What bytes travel over. Every kind of listener ends in one of these.
pub(crate) enum Transport {
    /// A TCP connection.
    Tcp(TcpStream),
    /// A connection to a Unix socket.
    Unix(UnixStream),
    /// A client inside this program.
    Link(Box<Link>),
}

impl Transport {
    fn write(&mut self, now: Timestamp, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Link(link) => link.write(now, bytes),
        }
    }

    /// Has its readiness reported as events with this key; as none when it is not to be watched.
    fn watch(&self, poller: &Poller, before: Watch, after: Watch, key: usize) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => watch(poller, stream, before, after, key),
            Self::Unix(stream) => watch(poller, stream, before, after, key),
            // Heard in every turn.
            Self::Link(_) => Ok(()),
        }
    }

    /// Tells the peer that there is no more.
    fn finish(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Link(_) => Ok(()),
        }
    }
}

fn watch(
    poller: &Poller,
    source: &(impl AsRawFd + AsFd),
    before: Watch,
    after: Watch,
    key: usize,
) -> io::Result<()> {
    let interest = Event::new(key, after.read, after.write);
    match (before.is_nothing(), after.is_nothing()) {
        (true, true) => Ok(()),
        (true, false) => watch_new(poller, source, interest),
        (false, true) => poller.delete(source),
        (false, false) => poller.modify_with_mode(source, interest, PollMode::Level),
    }
}

/// Has a source reported for as long as it is ready.
///
/// The poller wants a source to be removed before it is closed, so as not to report another one
/// that gets its number. All that are watched belong to the shard, which removes them when it lets
/// go of them; a report that comes all the same is one of a connection that is not ready, and
/// harmless.
#[expect(
    unsafe_code,
    reason = "there is no safe way to name a source to the poller"
)]
pub(crate) fn watch_new(poller: &Poller, source: &impl AsRawFd, interest: Event) -> io::Result<()> {
    // SAFETY: see above. No memory depends on it: the kernel forgets a file when it is closed.
    unsafe { poller.add_with_mode(source, interest, PollMode::Level) }
}

/// What the system is asked to report.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Watch {
    read: bool,
    write: bool,
}

impl Watch {
    const fn is_nothing(self) -> bool {
        !self.read && !self.write
    }
}

/// One open connection.
pub(crate) struct Socket {
    /// Its name in the core.
    pub(crate) id: ConnectionId,
    pub(crate) transport: Transport,
    /// Bytes of an earlier write that are left.
    unsent: Box<[u8]>,
    written: usize,
    /// The core does not want to hear from it. It may be gone meanwhile: that is noticed when it is
    /// read again, so that what it sent before is not lost.
    pub(crate) paused: bool,
    /// It is not read until the log has caught up.
    pub(crate) waits_for_log: bool,
    /// The core has more for it, to be pulled once `unsent` is gone.
    pub(crate) send_due: bool,
    /// The peer takes no more bytes: they are dropped. What it has sent before can still be read,
    /// and the end of that ends the connection.
    broken: bool,
    watched: Watch,
}

impl Socket {
    pub(crate) fn new(id: ConnectionId, transport: Transport) -> Self {
        Self {
            id,
            transport,
            unsent: Box::default(),
            written: 0,
            paused: false,
            waits_for_log: false,
            send_due: false,
            broken: false,
            watched: Watch::default(),
        }
    }

    /// Reads what fits into `buffer`; 0 bytes are the end, `None` that there is nothing now.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let read = match &mut self.transport {
            Transport::Tcp(stream) => stream.read(buffer),
            Transport::Unix(stream) => stream.read(buffer),
            Transport::Link(_) => return None,
        };
        match read {
            Ok(count) => Some(count),
            Err(error) if is_for_later(&error) => None,
            Err(_) => Some(0),
        }
    }

    /// Whether bytes of an earlier write are left.
    pub(crate) const fn is_blocked(&self) -> bool {
        self.written < self.unsent.len()
    }

    /// Writes `bytes`. What the transport does not take is copied and kept, behind what is kept
    /// already.
    pub(crate) fn write(&mut self, now: Timestamp, bytes: &[u8]) {
        let mut written = 0;
        if self.is_blocked() {
            self.unsent = [&self.unsent[self.written..], bytes].concat().into();
            self.written = 0;
        } else if !self.write_some(now, bytes, &mut written) {
            self.unsent = bytes[written..].into();
            self.written = 0;
        }
    }

    /// Goes on with what is left. Whether nothing is.
    pub(crate) fn flush(&mut self, now: Timestamp) -> bool {
        let unsent = core::mem::take(&mut self.unsent);
        let mut written = self.written;
        let done = self.write_some(now, &unsent, &mut written);
        if !done {
            self.unsent = unsent;
            self.written = written;
        }
        done
    }

    /// Writes until everything is taken, or no more is. Whether nothing is left to be written.
    fn write_some(&mut self, now: Timestamp, bytes: &[u8], written: &mut usize) -> bool {
        while !self.broken && *written < bytes.len() {
            match self.transport.write(now, &bytes[*written..]) {
                Ok(0) => self.broken = true,
                Ok(count) => *written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.broken = true,
            }
        }
        true
    }

    /// Has the system report what matters now. It reports as long as something is so: what is not
    /// to be read, or has nothing to be written, is not watched.
    ///
    /// # Errors
    ///
    /// The system cannot watch it; it cannot be served then.
    pub(crate) fn watch(&mut self, poller: &Poller, key: usize) -> io::Result<()> {
        let wanted = Watch {
            read: !self.paused && !self.waits_for_log,
            write: self.is_blocked(),
        };
        let before = core::mem::replace(&mut self.watched, wanted);
        if before == wanted {
            return Ok(());
        }
        self.transport.watch(poller, before, wanted, key)
    }

    /// Lets go of it in the poller.
    fn unwatch(&mut self, poller: &Poller) {
        let before = core::mem::take(&mut self.watched);
        if !before.is_nothing() {
            // The kernel forgets it in any case when it is closed.
            let _ = self.transport.watch(poller, before, Watch::default(), 0);
        }
    }

    /// Writes `last_bytes` and closes. Gives what takes time, if there is something: the peer is to
    /// read everything.
    pub(crate) fn close(
        mut self,
        now: Timestamp,
        last_bytes: &[u8],
        poller: &Poller,
    ) -> Option<Lingering> {
        let had_bytes = !last_bytes.is_empty() || self.is_blocked();
        // Whatever it still says is read, and dropped.
        (self.paused, self.waits_for_log) = (false, false);
        self.write(now, last_bytes);
        self.unwatch(poller);
        if !had_bytes || self.broken || matches!(self.transport, Transport::Link(_)) {
            return None;
        }
        Some(Lingering {
            socket: self,
            has_finished: false,
            unread: UNREAD_MAXIMUM_BYTES,
        })
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// What a peer may still send after it was told goodbye; enough for all that was on its way, and an
/// end for one that goes on and on.
const UNREAD_MAXIMUM_BYTES: usize = 4 << 20;

/// A closed connection whose peer has not read its last bytes. They are written, it is told that
/// there are no more, and it is waited for until it closes: closing while bytes of the peer are
/// unread would make the system reset the connection, and the peer might never see the last packet.
pub(crate) struct Lingering {
    socket: Socket,
    has_finished: bool,
    unread: usize,
}

impl Lingering {
    /// Goes on. `false` when it is done.
    pub(crate) fn go_on(
        &mut self,
        now: Timestamp,
        buffer: &mut [u8],
        poller: &Poller,
        key: usize,
    ) -> bool {
        let socket = &mut self.socket;
        if !self.has_finished && socket.flush(now) {
            self.has_finished = socket.transport.finish().is_ok();
            if socket.broken || !self.has_finished {
                return self.end(poller);
            }
        }
        if let Some(count) = socket.read(buffer) {
            if count == 0 || count > self.unread {
                return self.end(poller);
            }
            self.unread -= count;
        }
        let watched = self.socket.watch(poller, key);
        watched.is_ok() || self.end(poller)
    }

    /// Cuts it.
    pub(crate) fn end(&mut self, poller: &Poller) -> bool {
        self.socket.unwatch(poller);
        false
    }
}
