//! One transport connection, as a shard holds it: its bytes, never their meaning.
//!
//! Reading goes into a buffer that the shard lends. Writing is direct; only what the system does
//! not take stays here, in an allocation of exactly that size, and until it is gone nothing more is
//! pulled from the core. A connection that keeps up owns no buffer at all.

use core::net::SocketAddr;
use std::io::{self, ErrorKind};
use whimbrel_core::codec::packet::Version;
use whimbrel_core::{ConnectionId, Peer, Timestamp};
use whimbrel_transport::Fault;

/// A stream of MQTT between this program and a peer, which never waits: it says
/// [`WouldBlock`](ErrorKind::WouldBlock) where it would have to. Every kind of listener ends in one
/// of these.
pub trait Transport {
    /// Reads MQTT; 0 bytes are the end.
    ///
    /// # Errors
    ///
    /// What the system says. [`Interrupted`](ErrorKind::Interrupted) when others are to be served
    /// before this is called again.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Takes some of `bytes`: how much.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Passes on what was taken and is not with the system yet.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn flush(&mut self) -> io::Result<()>;

    /// Tells the peer that there is no more.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn finish(&mut self) -> io::Result<()>;

    /// Whether [`flush`](Self::flush) has something to do.
    fn is_unflushed(&self) -> bool;

    /// Whether reading says something at once, also when the system does not.
    fn has_more(&self) -> bool;

    /// Who it is, once more is known than when it was accepted; told once.
    fn introduce(&mut self) -> Option<Peer>;

    /// What the peer did wrong below MQTT, if that was the end, and where it comes from.
    fn fault(&self) -> Option<(Option<SocketAddr>, &Fault)>;

    /// Whether the peer says nothing more, though bytes of it may be unread. `false` where that
    /// cannot be known.
    fn has_left(&self) -> bool;

    /// Whether its end is to be said before it is closed.
    fn has_goodbye(&self) -> bool;
}

/// Whether trying again later may help.
#[must_use]
pub fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// What of a transport is wanted to be known: when it can be read, and when it can be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// It can be read, or has ended.
    pub read: bool,
    /// It takes bytes again.
    pub write: bool,
}

impl Interest {
    /// Nothing is wanted to be known.
    pub const NONE: Self = Self {
        read: false,
        write: false,
    };
}

/// What reading has come to.
pub(crate) enum Arrived {
    /// So many bytes.
    Bytes(usize),
    /// There is nothing now.
    Nothing,
    /// There may be more, once others have been served.
    Later,
    /// There will be nothing more.
    End,
}

/// One open connection.
pub(crate) struct Socket<T> {
    /// Its name in the core.
    pub(crate) id: ConnectionId,
    pub(crate) accepted: Timestamp,
    /// What it speaks, once it has said so.
    pub(crate) version: Option<Version>,
    pub(crate) transport: T,
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
    waits_for_log: bool,
    /// The core has more for it, to be pulled once `unsent` is gone.
    pub(crate) send_due: bool,
    /// The peer takes no more bytes: they are dropped. What it has sent before can still be read,
    /// and the end of that ends the connection.
    broken: bool,
    /// What the runtime was last asked for; `None` while it does not know the transport.
    pub(crate) watched: Option<Interest>,
}

impl<T: Transport> Socket<T> {
    pub(crate) fn new(id: ConnectionId, transport: T, accepted: Timestamp) -> Self {
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
            watched: None,
        }
    }

    /// Reads what fits into `buffer`.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Arrived {
        self.missed = false;
        let read = self.transport.read(buffer);
        // A layer may have answered, and the peer not have taken it.
        self.is_blocked |= self.transport.is_unflushed();
        match read {
            Ok(0) => Arrived::End,
            Ok(count) => Arrived::Bytes(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Arrived::Nothing,
            Err(error) if error.kind() == ErrorKind::Interrupted => Arrived::Later,
            Err(_) => Arrived::End,
        }
    }

    /// It is not to be read, or read again: the core goes on with what it has.
    pub(crate) const fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
        self.missed &= paused;
    }

    /// It is not to be read until the log has caught up, or it has.
    pub(crate) const fn set_waits_for_log(&mut self, waits: bool) {
        self.waits_for_log = waits;
        self.missed &= waits;
    }

    /// Whether it is not to be read now.
    pub(crate) const fn is_unread(&self) -> bool {
        self.paused || self.waits_for_log
    }

    /// It is looked at because it may be unread: whether it is, was so since the last time, and has
    /// nobody at the other end.
    pub(crate) fn is_gone(&mut self) -> bool {
        self.is_unread() && core::mem::replace(&mut self.missed, true) && self.transport.has_left()
    }

    /// Whether bytes of an earlier write are left.
    pub(crate) const fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// How much of what was to be written is left here.
    pub(crate) const fn unsent_bytes(&self) -> usize {
        self.unsent.len() - self.written
    }

    /// What has to be known of it now: what is not to be read is not watched.
    pub(crate) const fn interest(&self) -> Interest {
        Interest {
            read: !self.is_unread(),
            write: self.is_blocked,
        }
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
        let mut written = core::mem::take(&mut self.written);
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
                // Layers may have taken what the system has not.
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

    /// Writes `last_bytes`. Gives what takes time, if there is something: the peer is to read
    /// everything.
    pub(crate) fn close(mut self, last_bytes: &[u8]) -> Option<Lingering<T>> {
        let has_last = !last_bytes.is_empty() || self.is_blocked || self.transport.has_goodbye();
        // Whatever it still says is read, and dropped.
        (self.paused, self.waits_for_log) = (false, false);
        if !last_bytes.is_empty() {
            self.write(last_bytes);
        }
        (has_last && !self.broken).then(|| Lingering {
            left_bytes: self.unsent_bytes(),
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
pub(crate) struct Lingering<T> {
    pub(crate) socket: Socket<T>,
    /// What was left to be written when it was closed.
    pub(crate) left_bytes: usize,
    has_finished: bool,
    unread: usize,
}

impl<T: Transport> Lingering<T> {
    /// Goes on. `false` when it is done.
    pub(crate) fn go_on(&mut self, buffer: &mut [u8]) -> bool {
        let socket = &mut self.socket;
        if !self.has_finished && socket.flush() {
            match socket.transport.finish() {
                Ok(()) => self.has_finished = true,
                // The goodbye of a layer is not taken yet.
                Err(error) if is_for_later(&error) => socket.is_blocked = true,
                Err(_) => socket.broken = true,
            }
        }
        while !socket.broken {
            match socket.read(buffer) {
                Arrived::Nothing | Arrived::Later => return true,
                Arrived::Bytes(count) if count <= self.unread => self.unread -= count,
                // It says no more, and is still to hear what is left for it.
                Arrived::End if !self.has_finished => {
                    socket.paused = true;
                    return true;
                }
                Arrived::Bytes(_) | Arrived::End => return false,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whimbrel_core::{Broker, Config, Now, UnixTime};

    /// Takes as many bytes as there is room for, and has nothing to be read.
    #[derive(Default)]
    struct Narrow {
        room: usize,
        taken: Vec<u8>,
        has_finished: bool,
        has_left: bool,
    }

    impl Transport for Narrow {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(ErrorKind::WouldBlock.into())
        }

        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn finish(&mut self) -> io::Result<()> {
            self.has_finished = true;
            Ok(())
        }

        fn is_unflushed(&self) -> bool {
            false
        }

        fn has_more(&self) -> bool {
            false
        }

        fn introduce(&mut self) -> Option<Peer> {
            None
        }

        fn fault(&self) -> Option<(Option<SocketAddr>, &Fault)> {
            None
        }

        fn has_left(&self) -> bool {
            self.has_left
        }

        fn has_goodbye(&self) -> bool {
            false
        }
    }

    fn socket(room: usize) -> Socket<Narrow> {
        let transport = Narrow {
            room,
            ..Narrow::default()
        };
        let now = Now {
            monotonic: Timestamp(0),
            wall: UnixTime(0),
        };
        let mut broker = Broker::new(Config::default(), 1, now).unwrap();
        Socket::new(
            broker.accept(now, Peer::default()),
            transport,
            now.monotonic,
        )
    }

    #[test]
    fn what_is_left_goes_before_what_comes_and_nothing_goes_twice() {
        let mut socket = socket(3);
        socket.write(b"hello");
        assert!(socket.is_blocked());
        socket.write(b" there");
        socket.transport.room = 4;
        assert!(!socket.flush());
        socket.transport.room = 100;
        assert!(socket.flush() && !socket.is_blocked());
        // There is nothing left, however often it is asked for.
        assert!(socket.flush());
        socket.write(b"!");
        assert_eq!(socket.transport.taken, b"hello there!");
    }

    #[test]
    fn who_was_slow_and_is_closed_gets_the_last_bytes() {
        let mut socket = socket(1);
        socket.write(b"slow");
        socket.transport.room = 100;
        assert!(socket.flush());
        let mut lingering = socket.close(b"bye").unwrap();
        assert!(lingering.go_on(&mut [0; 8]));
        let transport = lingering.socket.transport;
        assert_eq!(transport.taken, b"slowbye");
        assert!(transport.has_finished);
    }

    /// A burst to many takes longer than a look.
    #[test]
    fn who_has_left_is_gone_when_nothing_goes_on() {
        let mut socket = socket(0);
        socket.transport.has_left = true;
        socket.set_paused(true);
        assert!(!socket.is_gone(), "it was only just paused");
        socket.set_paused(false);
        socket.set_paused(true);
        assert!(!socket.is_gone(), "it goes on");
        assert!(socket.is_gone());

        socket.set_paused(false);
        socket.set_waits_for_log(true);
        assert!(!socket.is_gone(), "it only just waits");
        assert!(socket.is_gone());
    }

    #[test]
    fn who_has_everything_is_not_waited_for() {
        assert!(socket(0).close(&[]).is_none());
    }
}
