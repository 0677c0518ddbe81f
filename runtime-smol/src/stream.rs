//! What bytes travel over: a socket, perhaps with layers between it and MQTT.

use polling::{Event, PollMode, Poller};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use whimbrel_core::Peer;
use whimbrel_host::presence::has_left;
use whimbrel_transport::{Fault, Layered, Security};

/// A socket, which never waits.
pub(crate) enum Pipe {
    /// A TCP connection.
    Tcp(TcpStream),
    /// A connection to a Unix socket, or from inside this program.
    Unix(UnixStream),
}

/// Does the same with whatever it is.
macro_rules! each {
    ($pipe:expr, $stream:ident => $what:expr) => {
        match $pipe {
            Pipe::Tcp($stream) => $what,
            Pipe::Unix($stream) => $what,
        }
    };
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        each!(self, stream => stream.read(buffer))
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        each!(self, stream => stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        each!(self, stream => stream.as_fd())
    }
}

impl AsRawFd for Pipe {
    fn as_raw_fd(&self) -> RawFd {
        each!(self, stream => stream.as_raw_fd())
    }
}

/// A stream of MQTT between this program and a peer. Every kind of listener ends in one of these.
pub(crate) struct Transport {
    pipe: Pipe,
    layers: Option<Box<Layered>>,
}

impl Transport {
    /// The pipe carries MQTT as it is, or with these layers.
    pub(crate) fn new(pipe: Pipe, layers: Option<Layered>) -> Self {
        let layers = layers.map(Box::new);
        Self { pipe, layers }
    }

    /// Of a connection that a listener has accepted from `peer`.
    ///
    /// # Errors
    ///
    /// The peer may not connect there.
    pub(crate) fn accepted(security: &Security, pipe: Pipe, peer: &Peer) -> Result<Self, Fault> {
        let layers = security.layers(peer)?;
        let layers = layers.map(|layers| Layered::new(layers, Vec::new()));
        Ok(Self::new(pipe, layers))
    }

    /// Goes on until all handshakes are done: as a client.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        match &mut self.layers {
            None => Ok(()),
            Some(layers) => layers.open(&mut self.pipe),
        }
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.layers {
            None => self.pipe.read(buffer),
            Some(layers) => layers.read(&mut self.pipe, buffer),
        }
    }

    /// Whether reading says something at once, also when the socket does not.
    pub(crate) fn has_more(&self) -> bool {
        self.layers.as_ref().is_some_and(|layers| layers.is_ready())
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.layers {
            None => self.pipe.write(bytes),
            Some(layers) => layers.write(&mut self.pipe, bytes),
        }
    }

    /// Passes on what layers have taken and the socket has not.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match &mut self.layers {
            None => Ok(()),
            Some(layers) => layers.flush(&mut self.pipe),
        }
    }

    /// Whether there is something to pass on.
    pub(crate) fn is_unflushed(&self) -> bool {
        self.layers
            .as_ref()
            .is_some_and(|layers| layers.is_unflushed())
    }

    /// Whether the peer says nothing more, though bytes of it may be unread.
    pub(crate) fn has_left(&self) -> bool {
        has_left(&self.pipe)
    }

    /// Whether its end is to be said before it is closed.
    pub(crate) const fn has_goodbye(&self) -> bool {
        self.layers.is_some()
    }

    /// Tells the peer that there is no more.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if let Some(layers) = &mut self.layers {
            layers.goodbye(&mut self.pipe)?;
        }
        each!(&self.pipe, stream => stream.shutdown(Shutdown::Write))
    }

    /// Who it is, once the layers know more than what was known when it was accepted; told once.
    pub(crate) fn introduce(&mut self) -> Option<Peer> {
        self.layers.as_mut()?.introduce()
    }

    /// What the peer did wrong below MQTT, if that was the end, and where it comes from.
    pub(crate) fn fault(&self) -> Option<(Option<core::net::SocketAddr>, &Fault)> {
        self.layers.as_ref()?.fault()
    }

    /// Has its readiness reported as events with this key; as none when it is not to be watched.
    pub(crate) fn watch(
        &self,
        poller: &Poller,
        before: Watch,
        after: Watch,
        key: usize,
    ) -> io::Result<()> {
        let interest = Event::new(key, after.read, after.write);
        match (before.is_nothing(), after.is_nothing()) {
            (true, true) => Ok(()),
            (true, false) => watch_new(poller, &self.pipe, interest),
            (false, true) => poller.delete(&self.pipe),
            (false, false) => poller.modify_with_mode(&self.pipe, interest, PollMode::Level),
        }
    }
}

/// What the system is asked to report.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Watch {
    pub(crate) const fn is_nothing(self) -> bool {
        !self.read && !self.write
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

/// Whether trying again later may help.
pub(crate) fn is_for_later(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted)
}
