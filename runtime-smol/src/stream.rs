//! What bytes travel over: a socket, perhaps with layers between it and MQTT.

use core::net::SocketAddr;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use whimbrel_core::Peer;
use whimbrel_host::presence::has_left;
use whimbrel_host::socket;
use whimbrel_transport::{Fault, Layered};

/// A socket, which never waits.
pub enum Pipe {
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

/// A stream of MQTT between this program and a peer.
pub struct Transport {
    pub(crate) pipe: Pipe,
    layers: Option<Box<Layered>>,
}

impl Transport {
    /// The pipe carries MQTT as it is, or with these layers.
    pub(crate) fn new(pipe: Pipe, layers: Option<Layered>) -> Self {
        let layers = layers.map(Box::new);
        Self { pipe, layers }
    }

    /// Goes on until all handshakes are done: as a client.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        match &mut self.layers {
            None => Ok(()),
            Some(layers) => layers.open(&mut self.pipe),
        }
    }
}

impl socket::Transport for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.layers {
            None => self.pipe.read(buffer),
            Some(layers) => layers.read(&mut self.pipe, buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.layers {
            None => self.pipe.write(bytes),
            Some(layers) => layers.write(&mut self.pipe, bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.layers {
            None => Ok(()),
            Some(layers) => layers.flush(&mut self.pipe),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Some(layers) = &mut self.layers {
            layers.goodbye(&mut self.pipe)?;
        }
        each!(&self.pipe, stream => stream.shutdown(Shutdown::Write))
    }

    fn is_unflushed(&self) -> bool {
        self.layers
            .as_ref()
            .is_some_and(|layers| layers.is_unflushed())
    }

    fn has_more(&self) -> bool {
        self.layers.as_ref().is_some_and(|layers| layers.is_ready())
    }

    fn introduce(&mut self) -> Option<Peer> {
        self.layers.as_mut()?.introduce()
    }

    fn fault(&self) -> Option<(Option<SocketAddr>, &Fault)> {
        self.layers.as_ref()?.fault()
    }

    fn has_left(&self) -> bool {
        has_left(&self.pipe)
    }

    fn has_goodbye(&self) -> bool {
        self.layers.is_some()
    }
}
