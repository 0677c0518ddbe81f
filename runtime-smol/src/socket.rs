//! One transport connection, as the shard holds it: its bytes, never their meaning.
//!
//! Reading goes into a buffer that the shard lends. Writing is direct; only what the system does
//! not take stays here, in an allocation of exactly that size. A connection that keeps up owns no
//! buffer at all.

use crate::stream::{Transport, Watch, is_for_later};
use polling::Poller;
use std::io::{self, ErrorKind};
use whimbrel_core::codec::packet::Version;
use whimbrel_core::{ConnectionId, Timestamp};

/// One open connection.
pub(crate) struct Socket {
    /// Its name in the core.
    pub(crate) id: ConnectionId,
    pub(crate) accepted: Timestamp,
    /// What it speaks, once it has said so.
    pub(crate) version: Option<Version>,
    pub(crate) transport: Transport,
    /// Bytes of an earlier write that are left.
    unsent: Box<[u8]>,
    written: usize,
    /// The transport does not take more now.
    is_blocked: bool,
    /// Whether the core does not want to hear from it. Its end is noticed when it is read again, so
    /// that what it sent before is not lost; or else late.
    pub(crate) paused: bool,
    /// Not read since it was looked at.
    missed: bool,
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
    pub(crate) fn new(id: ConnectionId, transport: Transport, accepted: Timestamp) -> Self {
        Self {
            id,
            accepted,
            version: None,
            transport,
            unsent: Box::default(),
            written: 0,
            is_blocked: false,
            paused: false,
            missed: false,
            waits_for_log: false,
            send_due: false,
            broken: false,
            watched: Watch::default(),
        }
    }

    /// Reads what fits into `buffer`; 0 bytes are the end, `None` that there is nothing now.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        self.missed = false;
        let read = self.transport.read(buffer);
        // A layer may have answered, and the peer not have taken it.
        self.is_blocked |= self.transport.is_unflushed();
        match read {
            Ok(count) => Some(count),
            Err(error) if is_for_later(&error) => None,
            Err(_) => Some(0),
        }
    }

    /// It is looked at because it may be paused: whether it is, was not read since the last time,
    /// and has nobody at the other end.
    pub(crate) fn is_gone(&mut self) -> bool {
        self.paused && core::mem::replace(&mut self.missed, true) && self.transport.has_left()
    }

    /// Whether bytes of an earlier write are left.
    pub(crate) const fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Writes `bytes`. What the transport does not take is copied and kept, behind what is kept
    /// already.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let mut written = 0;
        if self.is_blocked {
            self.unsent = [&self.unsent[self.written..], bytes].concat().into();
            self.written = 0;
        } else if !self.write_some(bytes, &mut written) {
            self.unsent = bytes[written..].into();
            self.written = 0;
        }
    }

    /// Goes on with what is left. Whether nothing is.
    pub(crate) fn flush(&mut self) -> bool {
        let unsent = core::mem::take(&mut self.unsent);
        let mut written = self.written;
        let done = self.write_some(&unsent, &mut written);
        if !done {
            self.unsent = unsent;
            self.written = written;
        }
        done
    }

    /// Writes until everything is taken, or no more is. Whether nothing is left to be written.
    fn write_some(&mut self, bytes: &[u8], written: &mut usize) -> bool {
        self.is_blocked = false;
        while !self.broken {
            let left = &bytes[*written..];
            let wrote = match left {
                // Layers may have taken what the socket has not.
                [] => self.transport.flush(),
                left => self.transport.write(left).and_then(|count| {
                    *written += count;
                    if count == 0 {
                        Err(ErrorKind::WriteZero.into())
                    } else {
                        Ok(())
                    }
                }),
            };
            match wrote {
                Ok(()) if left.is_empty() => return true,
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    return false;
                }
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
            write: self.is_blocked,
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
    pub(crate) fn close(mut self, last_bytes: &[u8], poller: &Poller) -> Option<Lingering> {
        let has_last = !last_bytes.is_empty() || self.is_blocked || self.transport.has_goodbye();
        // Whatever it still says is read, and dropped.
        (self.paused, self.waits_for_log) = (false, false);
        self.write(last_bytes);
        self.unwatch(poller);
        (has_last && !self.broken).then(|| Lingering {
            socket: self,
            has_finished: false,
            unread: UNREAD_MAXIMUM_BYTES,
        })
    }
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
    pub(crate) fn go_on(&mut self, buffer: &mut [u8], poller: &Poller, key: usize) -> bool {
        let socket = &mut self.socket;
        if !self.has_finished && socket.flush() {
            match socket.transport.finish() {
                Ok(()) => self.has_finished = true,
                // The goodbye of a layer is not taken yet.
                Err(error) if is_for_later(&error) => socket.is_blocked = true,
                Err(_) => socket.broken = true,
            }
            if socket.broken {
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
