//! The thread behind a connection. The order is that of the loop in the core's contract: bytes and
//! requests in, outcomes out, then what is to be written, the timer last.

use super::{Accepted, Ended, Event, OpenError};
use crate::stream::{Pipe, Transport, Watch, is_for_later};
use async_channel::{Receiver, Sender};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use polling::{Events, Poller};
use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use whimbrel_core::Timestamp;
use whimbrel_core::runtime::agent::{Agent, Answer, LINGER, Outcome, REQUESTS_AT_ONCE, Request};
use whimbrel_core::runtime::{Scheme, ServerUrl, TlsOptions};
use whimbrel_host::Clock;
use whimbrel_transport::{Layered, client, without};

/// What one read takes.
const READ_BYTES: usize = 16 * 1_024;

/// A request, and whom to tell the answer.
pub(super) type Command = (Request, Sender<Answer>);

/// Whom to tell whether the server has accepted.
pub(super) type Opened = Sender<Result<Accepted, OpenError>>;

#[derive(Debug)]
pub(super) struct Task {
    pub(super) agent: Agent<Sender<Answer>>,
    pub(super) clock: Clock,
    pub(super) commands: Receiver<Command>,
    pub(super) events: Sender<Event>,
    /// Says that room for events is waited for.
    pub(super) waits: Arc<AtomicBool>,
}

impl Task {
    fn now(&self) -> Timestamp {
        self.clock.now().monotonic
    }

    /// Runs until the connection ends, or nobody wants it any more.
    pub(super) fn run(mut self, mut wire: Wire, opened: Opened) {
        self.agent.connected(self.now());
        let mut opened = Some(opened);
        let mut arrived = vec![0; READ_BYTES];
        let mut is_readable = false;
        loop {
            if is_readable && self.agent.reads() && self.has_room() {
                match wire.transport.read(&mut arrived) {
                    Ok(len) => self.agent.receive(self.now(), &arrived[..len]),
                    Err(error) if is_for_later(&error) => {}
                    Err(error) => self.agent.lose(self.now(), error),
                }
            }
            if let Some(ended) = self.report(&mut opened) {
                self.finish(&mut wire);
                match opened {
                    Some(opened) => drop(opened.try_send(Err(ended.into()))),
                    None => drop(self.events.send_blocking(Event::Ended(ended))),
                }
                return;
            }
            self.take_commands(&wire.poller);
            self.write(&mut wire);
            if self.commands.is_closed() || self.events.is_closed() {
                return;
            }
            let has_room = self.has_room();
            let reads = has_room && self.agent.reads();
            let wanted = Watch {
                read: reads,
                write: wire.is_blocked,
            };
            let now = self.now();
            // What is left over, and what can be reported, is not slept on.
            let is_busy = reads && wire.transport.has_more() || has_room && !self.agent.is_open();
            let patience = match self.agent.next_deadline() {
                _ if is_busy => Some(Duration::ZERO),
                deadline => deadline.map(|at| at.duration_from(now)),
            };
            match wire.wait(wanted, patience) {
                Ok(has_come) => is_readable = has_come || wire.transport.has_more(),
                Err(error) => self.agent.lose(self.now(), error),
            }
            self.agent.advance(self.now());
        }
    }

    /// Writes as much as the transport takes.
    fn write(&mut self, wire: &mut Wire) {
        wire.is_blocked = false;
        while self.agent.is_open() {
            self.agent.transmit();
            let bytes = self.agent.unwritten();
            match bytes {
                [] if !wire.transport.is_unflushed() => return,
                [] => match wire.transport.flush() {
                    Ok(()) => return,
                    Err(error) if is_for_later(&error) => return wire.is_blocked = true,
                    Err(error) => self.agent.lose(self.now(), error),
                },
                bytes => match wire.transport.write(bytes) {
                    Ok(len) => self.agent.wrote(len),
                    Err(error) if is_for_later(&error) => return wire.is_blocked = true,
                    Err(error) => self.agent.lose(self.now(), error),
                },
            }
        }
    }

    /// Whether an event can be handed out; if not, it is said when there is room.
    fn has_room(&self) -> bool {
        if self.events.is_full() {
            self.waits.store(true, Ordering::Release);
        }
        !self.events.is_full()
    }

    /// Writes what is left, if there is still anything to write to. Whoever does not take it in
    /// time does not get it.
    fn finish(&mut self, wire: &mut Wire) {
        self.agent.transmit_last();
        let until = self.now().after_ms(LINGER.as_millis() as u64);
        loop {
            self.write(wire);
            let now = self.now();
            if !self.agent.is_open() || now >= until {
                return;
            }
            if !wire.is_blocked {
                match wire.transport.finish() {
                    Err(error) if is_for_later(&error) => {}
                    Ok(()) | Err(_) => return,
                }
            }
            let wanted = Watch {
                read: false,
                write: true,
            };
            if wire.wait(wanted, Some(until.duration_from(now))).is_err() {
                return;
            }
        }
    }

    /// Hands out what has happened, as far as there is room. Gives the end when it comes.
    fn report(&mut self, opened: &mut Option<Opened>) -> Option<Ended> {
        while self.has_room() {
            // Whoever asked may have gone; should nobody listen, the task ends soon.
            match self.agent.poll_outcome(self.now())? {
                Outcome::Accepted(accepted) => {
                    if let Some(opened) = opened.take() {
                        drop(opened.try_send(Ok(accepted)));
                    }
                }
                Outcome::Answered(asker, answer) => drop(asker.try_send(answer)),
                Outcome::Event(Event::Ended(ended)) => return Some(ended),
                Outcome::Event(event) => drop(self.events.try_send(event)),
            }
        }
        None
    }

    /// Takes some commands.
    fn take_commands(&mut self, poller: &Poller) {
        for _ in 0..REQUESTS_AT_ONCE {
            if !self.agent.has_room() {
                return;
            }
            let Ok((request, asker)) = self.commands.try_recv() else {
                return;
            };
            if let Some((asker, answer)) = self.agent.ask(self.now(), request, asker) {
                drop(asker.try_send(answer));
            }
        }
        // There may be more.
        let _ = poller.notify();
    }
}

/// A transport, and the poller that says when it is ready.
pub(super) struct Wire {
    transport: Transport,
    poller: Arc<Poller>,
    watched: Watch,
    ready: Events,
    is_blocked: bool,
}

impl Wire {
    pub(super) fn new(transport: Transport, poller: Arc<Poller>) -> Self {
        Self {
            transport,
            poller,
            watched: Watch::default(),
            ready: Events::new(),
            is_blocked: false,
        }
    }

    /// Sleeps until there is something to do: whether there is something to be read.
    fn wait(&mut self, wanted: Watch, patience: Option<Duration>) -> io::Result<bool> {
        let before = core::mem::replace(&mut self.watched, wanted);
        if before != wanted {
            self.transport.watch(&self.poller, before, wanted, 0)?;
        }
        self.ready.clear();
        match self.poller.wait(&mut self.ready, patience) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            Ok(_) | Err(_) => Ok(self.ready.iter().any(|event| event.readable)),
        }
    }
}

/// The kernel reports a source until it is closed, and a poller may be used on.
impl Drop for Wire {
    fn drop(&mut self) {
        let nothing = Watch::default();
        let _ = self.transport.watch(&self.poller, self.watched, nothing, 0);
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
    poller: Arc<Poller>,
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
    let mut wire = Wire::new(Transport::new(pipe, layers), poller);
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
        let wanted = Watch {
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
