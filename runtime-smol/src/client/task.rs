//! The thread behind a connection. The order is that of the loop in the core's contract: bytes and
//! requests in, outcomes out, then what is to be written, the timer last.

use crate::poll::{Bell, watch};
use crate::stream::{Pipe, Transport};
use core::time::Duration;
use futures_lite::future::block_on;
use polling::Events;
use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use whimbrel_core::Timestamp;
use whimbrel_core::runtime::agent::LINGER;
use whimbrel_core::runtime::client::Ended;
use whimbrel_core::runtime::{Scheme, ServerUrl, TlsOptions};
use whimbrel_host::Clock;
use whimbrel_host::client::Courier;
use whimbrel_host::socket::{Interest, Transport as _, is_for_later};
use whimbrel_transport::{Layered, client, without};

/// What one read takes.
const READ_BYTES: usize = 16 * 1_024;

#[derive(Debug)]
pub(super) struct Task {
    pub(super) courier: Courier,
    pub(super) clock: Clock,
}

impl Task {
    fn now(&self) -> Timestamp {
        self.clock.now().monotonic
    }

    /// Runs until the connection ends, or nobody wants it any more.
    pub(super) fn run(mut self, mut wire: Wire) {
        self.courier.agent.connected(self.now());
        let mut arrived = vec![0; READ_BYTES];
        let mut is_readable = false;
        loop {
            let now = self.now();
            let agent = &mut self.courier.agent;
            if is_readable && agent.reads() {
                match wire.transport.read(&mut arrived) {
                    Ok(len) => agent.receive(now, &arrived[..len]),
                    Err(error) if is_for_later(&error) => {}
                    Err(error) => agent.lose(now, error),
                }
            }
            self.courier.take_requests(now);
            if let Some(ended) = self.courier.report(now) {
                self.finish(&mut wire, &mut arrived, matches!(ended, Ended::Local));
                return block_on(self.courier.end(ended));
            }
            self.write(&mut wire);
            if self.courier.is_forsaken() {
                return;
            }
            let has_room = self.courier.has_room();
            let agent = &mut self.courier.agent;
            let reads = has_room && agent.reads();
            let wanted = Interest {
                read: reads,
                write: wire.is_blocked,
            };
            let now = self.clock.now().monotonic;
            // What is left over, and what can be reported, is not slept on.
            let is_busy = reads && wire.transport.has_more() || has_room && !agent.is_open();
            let patience = match agent.next_deadline() {
                _ if is_busy => Some(Duration::ZERO),
                deadline => deadline.map(|at| at.duration_from(now)),
            };
            match wire.wait(wanted, patience) {
                Ok(has_come) => is_readable = reads && (has_come || wire.transport.has_more()),
                Err(error) => agent.lose(self.clock.now().monotonic, error),
            }
            agent.advance(self.clock.now().monotonic);
        }
    }

    /// Writes as much as the transport takes.
    fn write(&mut self, wire: &mut Wire) {
        wire.is_blocked = false;
        while self.courier.agent.is_open() {
            self.courier.agent.transmit();
            let bytes = self.courier.agent.unwritten();
            match bytes {
                [] if !wire.transport.is_unflushed() => return,
                [] => match wire.transport.flush() {
                    Ok(()) => return,
                    Err(error) if is_for_later(&error) => return wire.is_blocked = true,
                    Err(error) => self.courier.agent.lose(self.now(), error),
                },
                bytes => match wire.transport.write(bytes) {
                    Ok(len) => self.courier.agent.wrote(len),
                    Err(error) if is_for_later(&error) => return wire.is_blocked = true,
                    Err(error) => self.courier.agent.lose(self.now(), error),
                },
            }
        }
    }

    /// Writes what is left, if there is still anything to write to, and where `lingers` reads until
    /// the server closes: closed with anything unread the connection is reset, and the server might
    /// not read what was just written. Whoever does not take it in time does not get it.
    fn finish(&mut self, wire: &mut Wire, buffer: &mut [u8], lingers: bool) {
        self.courier.agent.transmit_last();
        let until = self.now().after_ms(LINGER.as_millis() as u64);
        let mut has_finished = false;
        loop {
            if !has_finished {
                self.write(wire);
                if !wire.is_blocked {
                    match wire.transport.finish() {
                        Err(error) if is_for_later(&error) => wire.is_blocked = true,
                        Ok(()) if lingers => has_finished = true,
                        Ok(()) | Err(_) => return,
                    }
                }
            }
            let now = self.now();
            if !self.courier.agent.is_open() || now >= until {
                return;
            }
            if lingers {
                match wire.transport.read(buffer) {
                    Ok(1..) => continue,
                    Err(error) if is_for_later(&error) => {}
                    Ok(0) | Err(_) => return,
                }
            }
            let wanted = Interest {
                read: lingers,
                write: wire.is_blocked,
            };
            let patience = match lingers && wire.transport.has_more() {
                true => Duration::ZERO,
                false => until.duration_from(now),
            };
            if wire.wait(wanted, Some(patience)).is_err() {
                return;
            }
        }
    }
}

/// A transport, and the poller that says when it is ready.
pub(super) struct Wire {
    transport: Transport,
    bell: Arc<Bell>,
    watched: Option<Interest>,
    ready: Events,
    is_blocked: bool,
}

impl Wire {
    pub(super) fn new(transport: Transport, bell: Arc<Bell>) -> Self {
        Self {
            transport,
            bell,
            watched: None,
            ready: Events::new(),
            is_blocked: false,
        }
    }

    /// Sleeps until there is something to do: whether there is something to be read.
    fn wait(&mut self, wanted: Interest, patience: Option<Duration>) -> io::Result<bool> {
        if self.watched != Some(wanted) {
            let before = self.watched.replace(wanted);
            watch(&self.bell.0, &self.transport.pipe, 0, before, wanted)?;
        }
        self.ready.clear();
        match self.bell.0.wait(&mut self.ready, patience) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            Ok(_) | Err(_) => Ok(self.ready.iter().any(|event| event.readable)),
        }
    }
}

/// The kernel reports a source until it is closed, and a poller may be used on.
impl Drop for Wire {
    fn drop(&mut self) {
        let pipe = &self.transport.pipe;
        let _ = watch(&self.bell.0, pipe, 0, self.watched, Interest::NONE);
    }
}

/// Connects, and waits until all handshakes are done.
///
/// # Errors
///
/// There is no way there, or not in time.
pub(super) fn connect(
    server: &ServerUrl,
    tls: &TlsOptions,
    patience: Duration,
    bell: Arc<Bell>,
) -> io::Result<Wire> {
    let clock = Clock::start();
    let layers = client::layers(server, tls)?;
    let pipe = match server.scheme() {
        Scheme::Unix => {
            let stream = UnixStream::connect(server.host())?;
            stream.set_nonblocking(true)?;
            Pipe::Unix(stream)
        }
        Scheme::Quic => return Err(without("quic")),
        Scheme::Tcp | Scheme::Tls | Scheme::Ws | Scheme::Wss => {
            let stream = connect_tcp(&server.authority(), patience)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            Pipe::Tcp(stream)
        }
    };
    let layers = layers.map(|(layers, first)| Layered::new(layers, first));
    let mut wire = Wire::new(Transport::new(pipe, layers), bell);
    loop {
        match wire.transport.open() {
            Err(error) if is_for_later(&error) => {}
            result => {
                result?;
                break;
            }
        }
        let left = patience.checked_sub(Duration::from_millis(clock.now().monotonic.0));
        let left = left.ok_or_else(|| io::Error::from(ErrorKind::TimedOut))?;
        let wanted = Interest {
            read: true,
            write: wire.transport.is_unflushed(),
        };
        wire.wait(wanted, Some(left))?;
    }
    Ok(wire)
}

/// Tries every address that the name stands for.
fn connect_tcp(address: &str, patience: Duration) -> io::Result<TcpStream> {
    let mut problem = io::Error::new(ErrorKind::NotFound, "the name stands for no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => return Ok(stream),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}
