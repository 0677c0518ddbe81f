//! The turn: one broker, its connections and its clock, over whatever a runtime brings.
//!
//! Every turn does the same things in the same order, each in bounded measure, so that nobody can
//! keep the others waiting; what is left over makes the shard busy, and a busy shard looks at the
//! network once and goes on without sleeping. Actions are carried out once for everything that was
//! read before, so a connection is written at most once a turn however many packets are for it.
//!
//! ```text
//! begin   whether to go on at all; time; what other threads want
//! serve   each who is ready: write what is left, then read
//! finish  what follows; those who have left; newcomers; what follows from them
//! ```
//!
//! Between these the loop of the runtime brings what only it has, such as letters of other shards,
//! and afterwards it sleeps until [`Shard::next_deadline`] or until somebody is ready.
//!
//! Nothing here knows MQTT, and nothing waits.

mod inputs;
mod sockets;

pub use inputs::Inputs;

use crate::inbox::{Decided, Inbox, InboxEnd, Input, StopLevel};
use crate::listen::{Accept, Bound, Listener};
use crate::presence::Looks;
use crate::report::{EventSink, Facts, Reporter};
use crate::socket::{Arrived, Interest, Socket, Transport};
use crate::storage::{LogRequest, LogSender, News};
use crate::{Clock, Threads};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use sockets::{Lingerers, Sockets};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use tracing::error;
use whimbrel_core::action::Credentials;
use whimbrel_core::id::{PeerId, Position};
use whimbrel_core::letter::Letter;
use whimbrel_core::runtime::config::LINGER;
use whimbrel_core::runtime::policy::IN_PROCESS;
use whimbrel_core::runtime::{Crashed, Decision, Policy, ServerConfig};
use whimbrel_core::statistics::Statistics;
use whimbrel_core::{
    Action, Broker, CloseReason, ConnectionId, Event, Now, Peer, Timestamp, Verdict,
};

/// Bytes that are read before what follows from them is carried out. Large enough for one write to
/// carry many messages; small enough to stay in the cache.
const READ_BATCH_BYTES: usize = 256 << 10;

/// What is read at once, at first, in bytes: more than one packet of what small devices say.
const READ_BUFFER_MINIMUM: usize = 2 << 10;

/// Actions that are carried out before the network is looked at again; each moves at most about 64
/// KiB.
const ACTIONS_PER_DRAIN: usize = 4_096;

/// What may be left to be written to those that are closed, in bytes: room for a thousand goodbyes
/// of many messages each, and no way around the memory budget.
const LINGERING_BYTES_MAXIMUM: usize = 8 << 20;

/// Connections that a listener hands over in one turn.
const ACCEPTS_PER_TURN: usize = 64;

/// Things that are taken out of the inbox in one turn.
const INPUTS_PER_TURN: usize = 256;

/// Who is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// There may be somebody to accept.
    Listener(u16),
    /// The connection in this slot can be read or written. The slot may belong to another one by
    /// now, to which this is spurious.
    Connection(u32),
    /// A closed connection, of this number below 2³⁰.
    Lingering(u32),
}

/// What a runtime gives a shard: connections, and word of when they are ready.
///
/// A runtime whose system reports a source for as long as it is ready watches for exactly what it
/// is asked to watch for. One whose system reports only that something has become ready watches
/// always, and is read until there is nothing.
pub trait Driver: Sized {
    /// The broker.
    type Broker: Inputs + From<Broker>;
    /// What bytes travel over.
    type Transport: Transport + Send + 'static;
    /// A listening socket.
    type Acceptor: Accept<Transport = Self::Transport>;

    /// Whether the system reports a source for as long as it is ready, and not once.
    const IS_LEVEL: bool;

    /// A shared write buffer that grew beyond this, for a large packet, is given back.
    const WRITE_BUFFER_KEPT_BYTES: usize;

    /// Closed connections whose peers have not read their last bytes; beyond that, one is cut. They
    /// hold a file descriptor each, and peers that are refused by the thousand are better cut than
    /// served.
    const LINGERING_MAXIMUM: usize;

    /// Has this transport reported under this name for what is wanted. `before` is what was wanted
    /// before under it, and `None` the first time.
    ///
    /// # Errors
    ///
    /// The system cannot watch it; it is closed then.
    fn watch(
        &mut self,
        transport: &mut Self::Transport,
        source: Source,
        before: Option<Interest>,
        wanted: Interest,
    ) -> io::Result<()>;

    /// Takes a letter to another shard.
    fn send(&mut self, to: PeerId, letter: Letter);

    /// Takes a connection to the shard that has its session.
    fn hand_over(&mut self, to: PeerId, moving: Moving<Self::Transport>);
}

/// A connection on its way from one shard to another. Nothing was written to it.
pub struct Moving<T> {
    /// What its bytes travel over.
    pub transport: T,
    /// Whose it is.
    pub peer: Peer,
    /// Read, and not handled.
    pub bytes: Vec<u8>,
    /// When it was.
    pub accepted: Timestamp,
}

/// What a server has for a shard, whatever its runtime.
pub struct Seat<D: Driver> {
    /// Of the server.
    pub config: Arc<ServerConfig>,
    /// The state machine.
    pub broker: Broker,
    /// Which of the server's shards it is.
    pub shard: u16,
    /// All threads of the server.
    pub threads: Threads,
    /// Counts from its start.
    pub clock: Clock,
    pub(crate) policy: Policy,
    pub(crate) events: Option<EventSink>,
    /// Of all shards.
    pub(crate) inboxes: Arc<[Arc<Inbox<D::Transport>>]>,
    pub(crate) log: Option<LogSender>,
}

/// One broker and everything it touches.
pub struct Shard<D: Driver> {
    /// The runtime.
    pub driver: D,
    /// The state machine.
    pub broker: D::Broker,
    shard: u16,
    clock: Clock,
    /// Read once a batch: within one, everything happens at the same time.
    now: Now,
    inbox: InboxEnd<D::Transport>,
    sockets: Sockets<D::Transport>,
    listeners: Vec<Listener<D::Acceptor>>,
    policy: Policy,
    /// Verdicts that have to be waited for.
    undecided: BTreeMap<ConnectionId, Pin<Box<dyn Future<Output = Verdict> + Send>>>,
    events: Option<EventSink>,
    reporter: Reporter,
    /// Who was closed last, for the report that follows.
    departed: Option<(ConnectionId, Facts)>,
    looks: Looks,
    /// To be served in the next turn, whatever the system reports.
    again: Vec<ConnectionId>,
    /// Read to their end; closed once what follows from their last bytes is carried out.
    ended: Vec<ConnectionId>,
    lingering: Lingerers<D::Transport>,
    /// Grows as far as it may, when somebody fills it.
    read_buffer: Box<[u8]>,
    read_buffer_maximum: usize,
    write_buffer: Vec<u8>,
    /// Bytes read since the last drain.
    undrained_bytes: usize,
    /// Connections that ended by a fault below MQTT.
    transport_faults: u64,
    /// Something was left over.
    busy: bool,
    grace_ms: u64,
    /// Set once it is stopping: when it stops in any case.
    stopping_until: Option<Timestamp>,
    threads: Threads,
    log: Option<LogSender>,
    /// What was asked of the log in this turn.
    log_requests: u32,
    /// Sources that were served in this turn.
    served: u32,
    /// Connections that are not read until the log has caught up.
    waiting_for_log: Vec<ConnectionId>,
}

impl<D: Driver> Shard<D> {
    /// Puts it together. `listeners` are in the order of the configuration.
    ///
    /// # Errors
    ///
    /// The system cannot watch a listener.
    pub fn new(
        seat: Seat<D>,
        driver: D,
        listeners: impl IntoIterator<Item = Bound<D::Acceptor>>,
    ) -> io::Result<Self> {
        let config = &*seat.config;
        let listeners = listeners.into_iter().zip(&config.listeners).zip(0..);
        let listeners = listeners
            .map(|((bound, config), number)| Listener::new(bound, config.clone(), number))
            .collect::<io::Result<_>>()?;
        let read_buffer_maximum = config.read_buffer_bytes.max(1_024);
        Ok(Self {
            driver,
            broker: seat.broker.into(),
            shard: seat.shard,
            clock: seat.clock,
            now: seat.clock.now(),
            inbox: InboxEnd {
                inbox: Arc::clone(&seat.inboxes[usize::from(seat.shard)]),
                all: seat.inboxes,
            },
            sockets: Sockets::default(),
            listeners,
            policy: seat.policy,
            undecided: BTreeMap::new(),
            events: seat.events,
            reporter: Reporter::default(),
            departed: None,
            looks: Looks::default(),
            again: Vec::new(),
            ended: Vec::new(),
            lingering: Lingerers::default(),
            read_buffer: vec![0; READ_BUFFER_MINIMUM.min(read_buffer_maximum)].into(),
            read_buffer_maximum,
            write_buffer: Vec::new(),
            undrained_bytes: 0,
            transport_faults: 0,
            busy: false,
            grace_ms: config.shutdown_grace_ms.into(),
            stopping_until: None,
            threads: seat.threads,
            log: seat.log,
            log_requests: 0,
            served: 0,
            waiting_for_log: Vec::new(),
        })
    }

    /// The time of this turn.
    #[must_use]
    pub const fn now(&self) -> Now {
        self.now
    }

    /// Whether something was left over, so that the next turn is to come at once.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.busy || !self.again.is_empty()
    }

    /// The runtime has left something over: the next turn is to come at once.
    pub const fn come_back(&mut self) {
        self.busy = true;
    }

    /// Until when it has time to stop, if it is stopping.
    #[must_use]
    pub const fn stopping_until(&self) -> Option<Timestamp> {
        self.stopping_until
    }

    /// Whether it has stopped: everybody has left, or had the time to.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.stopping_until.is_some_and(|until| {
            let everybody_left = self.sockets.is_empty() && self.lingering.is_empty();
            // Such as the rest of the deliveries of a will.
            let is_due = |at| at <= self.now.monotonic;
            let is_idle = !self.is_busy() && !self.broker.next_deadline().is_some_and(is_due);
            (everybody_left && is_idle) || until <= self.now.monotonic
        })
    }

    /// When the next turn is due, should nobody be ready before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.listeners
            .iter()
            .filter_map(Listener::next_deadline)
            .chain(self.lingering.next_deadline())
            .chain(self.broker.next_deadline())
            .chain(self.looks.next_deadline())
            .chain(
                self.stopping_until
                    .filter(|until| *until > self.now.monotonic),
            )
            .min()
    }

    /// Begins a turn.
    pub fn begin(&mut self) {
        self.busy = false;
        self.served = 0;
        self.now = self.clock.now();
        self.heed_stop();
        let deadline = self.broker.next_deadline();
        if deadline.is_some_and(|deadline| deadline <= self.now.monotonic) {
            self.broker.advance(self.now);
        }
        self.take_inbox();
        if !self.again.is_empty() {
            let mut again = core::mem::take(&mut self.again);
            for id in again.drain(..) {
                self.serve(source_of(id), true, true);
            }
            // Keeps the allocation, and what asked to be served again meanwhile.
            again.append(&mut self.again);
            self.again = again;
        }
    }

    /// Serves who is ready: to be read, to be written, or perhaps both.
    pub fn serve(&mut self, source: Source, readable: bool, writable: bool) {
        self.served += 1;
        match source {
            Source::Listener(number) => {
                if let Some(listener) = self.listeners.get_mut(usize::from(number)) {
                    listener.ready = true;
                }
            }
            Source::Connection(slot) => self.serve_slot(slot, readable, writable),
            Source::Lingering(number) => self.linger_on(number),
        }
        if self.undrained_bytes >= READ_BATCH_BYTES {
            self.drain();
            self.now = self.clock.now();
        }
    }

    /// Ends a turn.
    pub fn finish(&mut self) {
        self.drain();
        // What they sent last has been answered.
        self.see_off();
        self.accept();
        self.drain();
        // A newcomer may have left already.
        self.busy |= !self.ended.is_empty();
        self.settle_log();
    }

    /// Carries out what the core wants, as much as is good for one turn.
    fn drain(&mut self) {
        self.carry_out(ACTIONS_PER_DRAIN);
    }

    /// Carries out all that the core wants, before it ends.
    pub fn drain_all(&mut self) {
        self.carry_out(usize::MAX);
        self.settle_log();
    }

    /// Lets newcomers wait for a moment.
    pub fn rest_listeners(&mut self, for_ms: u64) {
        for listener in &mut self.listeners {
            listener.rest(self.now.monotonic, for_ms);
        }
    }

    /// Takes a connection that another shard has accepted.
    pub fn adopt(&mut self, moving: Moving<D::Transport>) {
        let id = self.broker.adopt(self.now, moving.peer, &moving.bytes);
        self.insert(Socket::new(id, moving.transport, moving.accepted));
    }

    /// Takes one that cannot be watched here, and is closed by being dropped: it was counted.
    pub fn adopt_lost(&mut self, peer: Peer) {
        let id = self.broker.adopt(self.now, peer, &[]);
        self.broker.closed(self.now, id);
    }

    fn heed_stop(&mut self) {
        let level = self.inbox.inbox.stop_level();
        if level == StopLevel::Run {
            return;
        }
        if self.stopping_until.is_none() {
            self.listeners.clear();
            self.broker.shut_down(self.now);
            self.stopping_until = Some(self.now.monotonic.after_ms(self.grace_ms));
        }
        if level == StopLevel::Promptly {
            // Everybody is told once, without waiting for who does not listen.
            self.drain_all();
            let now = self.now.monotonic;
            self.stopping_until = self.stopping_until.map(|until| until.min(now));
        }
    }

    fn take_inbox(&mut self) {
        for _ in 0..INPUTS_PER_TURN {
            let Some(input) = self.inbox.inbox.pop() else {
                return;
            };
            self.take_input(input);
        }
        self.busy = true;
    }

    fn take_input(&mut self, input: Input<D::Transport>) {
        match input {
            Input::Attach(transport) => {
                let peer = Peer {
                    listener: IN_PROCESS,
                    ..Peer::default()
                };
                self.open(transport, peer);
            }
            Input::Decided(connection) => self.ask_again(connection),
            Input::Access(access) => {
                self.broker.set_rules(self.now, access.rules);
                self.broker.set_shadow_rules(self.now, access.shadow_rules);
                self.broker.set_bans(self.now, access.bans);
            }
            Input::Reconsider(answer) => {
                let has_lost = |peer: &Peer, grant: &_| !self.policy.still_holds(peer, grant);
                let gone = self.broker.connections_of(has_lost);
                for connection in &gone {
                    let why = CloseReason::Revoked;
                    self.broker.disconnect(self.now, *connection, why);
                }
                // Whoever asked may have gone.
                let _ = answer.try_send(gone.len());
            }
            // Whoever asked may have gone.
            Input::Statistics(answer) => {
                let statistics = Statistics {
                    transport_faults: self.transport_faults,
                    ..self.broker.all_statistics()
                };
                drop(answer.try_send(statistics));
            }
            Input::Tenants(answer) => drop(answer.try_send(self.broker.tenants())),
            Input::Storage(News::Persisted(position)) => self.persisted(position),
            Input::Storage(News::Loaded(message, value)) => {
                self.broker.loaded(self.now, message, value.as_deref());
            }
            Input::Storage(News::Checkpoint) => self.broker.checkpoint(self.now),
            Input::Storage(News::Pressure(is_full)) => {
                self.broker.storage_pressure(self.now, is_full);
            }
            Input::Storage(News::Failed) => self.storage_has_failed(),
        }
    }

    fn serve_slot(&mut self, slot: u32, readable: bool, writable: bool) {
        let Some(socket) = self.sockets.in_slot(slot) else {
            return;
        };
        let id = socket.id;
        if writable && socket.is_blocked() && socket.flush() {
            match core::mem::take(&mut socket.send_due) {
                true => self.send(id),
                false => self.broker.blocked(self.now, id, 0),
            }
        }
        if readable {
            self.read(id);
        }
        self.watch(id);
    }

    /// Reads a connection until it is dry, has had its share of this turn, or is to be paused.
    /// Where the system reports it again for what is left, it is read once: only what a layer holds
    /// is not reported. Who was paused is read again once it is resumed.
    fn read(&mut self, id: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        if socket.paused {
            return;
        }
        if self.broker.log_is_behind() {
            if !socket.is_unread() {
                socket.set_waits_for_log(true);
                self.looks.ask(self.now.monotonic);
                self.waiting_for_log.push(id);
            }
            return;
        }
        let mut share = self.read_buffer_maximum;
        while !self.broker.is_paused(id) {
            match socket.read(&mut self.read_buffer) {
                Arrived::Nothing => return,
                // What is left is reported again, unless a layer holds it.
                Arrived::Later if D::IS_LEVEL && !socket.transport.has_more() => return,
                Arrived::Later => return self.again.push(id),
                Arrived::End => {
                    if let Some((address, fault)) = socket.transport.fault() {
                        self.transport_faults += 1;
                        self.reporter.fault(self.now.monotonic, address, fault);
                    }
                    return self.ended.push(id);
                }
                Arrived::Bytes(count) => {
                    if let Some(peer) = socket.transport.introduce() {
                        self.broker.introduce(self.now, id, peer);
                    }
                    let bytes = &self.read_buffer[..count];
                    self.broker.receive(self.now, id, bytes);
                    self.undrained_bytes += count;
                    if count == self.read_buffer.len() && count < self.read_buffer_maximum {
                        self.read_buffer = vec![0; self.read_buffer_maximum.min(2 * count)].into();
                    }
                    if D::IS_LEVEL {
                        if !socket.transport.has_more() {
                            return;
                        }
                    } else if count >= share {
                        return self.again.push(id);
                    }
                    share = share.saturating_sub(count);
                }
            }
        }
    }

    /// Carries out what the core wants, up to `budget` actions.
    fn carry_out(&mut self, budget: usize) {
        self.undrained_bytes = 0;
        for _ in 0..budget {
            let Some(action) = self.broker.poll_action() else {
                return;
            };
            match action {
                Action::Send(connection) => self.send(connection),
                Action::Pause(connection) => self.pause(connection, true),
                Action::Resume(connection) => self.pause(connection, false),
                Action::Close {
                    connection,
                    last_bytes,
                } => self.close(connection, &last_bytes),
                Action::Authenticate {
                    connection,
                    credentials,
                } => self.authenticate(connection, *credentials),
                // The answer is `News::Persisted`.
                Action::Persist(batch) => self.ask_log(LogRequest::Append(batch)),
                Action::Load(message) => self.ask_log(LogRequest::Load(message)),
                Action::Route { to, letter } => self.driver.send(to, letter),
                Action::HandOver {
                    connection,
                    to,
                    peer,
                    bytes,
                } => {
                    if let Some(socket) = self.sockets.remove(connection) {
                        let moving = Moving {
                            accepted: socket.accepted,
                            transport: socket.transport,
                            peer,
                            bytes,
                        };
                        self.driver.hand_over(to, moving);
                    }
                }
                Action::Event(event) => self.report(&event),
            }
        }
        self.busy = true;
    }

    fn pause(&mut self, id: ConnectionId, paused: bool) {
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.set_paused(paused);
            if paused {
                self.looks.ask(self.now.monotonic);
            }
            self.watch(id);
        }
    }

    /// Pulls what a connection may have, and writes it.
    fn send(&mut self, id: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        if socket.is_blocked() {
            socket.send_due = true;
            return;
        }
        self.write_buffer.clear();
        self.broker.transmit(self.now, id, &mut self.write_buffer);
        if !self.write_buffer.is_empty() {
            socket.write(&self.write_buffer);
            if self.write_buffer.capacity() > D::WRITE_BUFFER_KEPT_BYTES {
                self.write_buffer = Vec::new();
            }
            if socket.is_blocked() {
                self.broker.blocked(self.now, id, socket.unsent_bytes());
                self.watch(id);
            }
        }
    }

    fn close(&mut self, id: ConnectionId, last_bytes: &[u8]) {
        self.departed = Some((id, self.facts(id)));
        let Some(mut socket) = self.sockets.remove(id) else {
            return;
        };
        self.undecided.remove(&id);
        self.unwatch(&mut socket, source_of(id));
        if let Some(lingering) = socket.close(last_bytes)
            && self.lingering.len() < D::LINGERING_MAXIMUM
            && self.lingering.bytes() + lingering.left_bytes <= LINGERING_BYTES_MAXIMUM
        {
            let until = self.now.monotonic.after_ms(LINGER.as_millis() as u64);
            // Who stops has its own patience.
            let until = self.stopping_until.map_or(until, |end| until.max(end));
            let number = self.lingering.add(until, lingering);
            self.linger_on(number);
        }
    }

    /// Goes on with one that is closed.
    fn linger_on(&mut self, number: u32) {
        let Some(lingering) = self.lingering.get_mut(number) else {
            return;
        };
        let source = Source::Lingering(number);
        // What is reported once, when it has become so, is reported under the name it had then.
        let goes_on = (D::IS_LEVEL
            || watch(&mut self.driver, &mut lingering.socket, source).is_ok())
            && lingering.go_on(&mut self.read_buffer)
            && watch(&mut self.driver, &mut lingering.socket, source).is_ok();
        if !goes_on && let Some(mut lingering) = self.lingering.remove(number) {
            self.unwatch(&mut lingering.socket, source);
        }
    }

    fn authenticate(&mut self, connection: ConnectionId, credentials: Credentials) {
        match self.policy.decide(credentials) {
            Decision::Now(verdict) => self.broker.authenticated(self.now, connection, verdict),
            Decision::Later(verdict) => {
                self.undecided.insert(connection, verdict);
                self.ask_again(connection);
            }
        }
    }

    /// Looks whether a verdict is there; if not, it is told when to look again.
    fn ask_again(&mut self, connection: ConnectionId) {
        let Some(verdict) = self.undecided.get_mut(&connection) else {
            return;
        };
        let waker = Waker::from(Arc::new(Decided {
            connection,
            inbox: Arc::clone(&self.inbox.inbox),
        }));
        if let Poll::Ready(verdict) = verdict.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.undecided.remove(&connection);
            let verdict = self.policy.confirm(self.broker.peer(connection), verdict);
            self.broker.authenticated(self.now, connection, verdict);
        }
    }

    fn ask_log(&mut self, request: LogRequest) {
        self.log_requests += 1;
        let log = self.log.as_ref();
        let Some(log) = log.filter(|log| log.send(self.shard, request).is_ok()) else {
            // Its thread has ended before us, so by a panic.
            error!("the log has crashed, and this broker must stop");
            return self.storage_has_failed();
        };
        // The disk begins while answers go out; but see `settle_log`.
        if self.served != 1 || self.log_requests > 1 {
            log.wake();
        }
    }

    /// One thing to keep, of the one connection that was read, and nothing else to do: it is kept
    /// here, if the disk lets nobody wait for long. Otherwise the thread of the log sees to it.
    fn settle_log(&mut self) {
        let requests = core::mem::take(&mut self.log_requests);
        let is_lone = requests == 1 && self.served == 1 && !self.is_busy();
        if let Some(log) = self.log.as_ref().filter(|_| requests == 1)
            && !(is_lone && log.commit_here())
        {
            log.wake();
        }
    }

    /// Nothing can be kept any longer, so nothing may be acknowledged any longer.
    fn storage_has_failed(&mut self) {
        self.broker.persist_failed(self.now);
        self.threads.fail(Crashed::of_the_log(self.shard));
        self.inbox.inbox.stop(StopLevel::Promptly);
    }

    fn persisted(&mut self, position: Position) {
        self.broker.persisted(self.now, position);
        if !self.waiting_for_log.is_empty() && !self.broker.log_is_behind() {
            for id in core::mem::take(&mut self.waiting_for_log) {
                if let Some(socket) = self.sockets.get_mut(id) {
                    socket.set_waits_for_log(false);
                    self.watch(id);
                }
            }
        }
    }

    fn report(&mut self, event: &Event) {
        if let Some(sink) = &self.events {
            sink(event);
        }
        let mut facts = Facts::default();
        if let Event::Connected {
            connection,
            version,
            ..
        } = *event
        {
            if let Some(socket) = self.sockets.get_mut(connection) {
                socket.version = Some(version);
            }
        } else if let Event::Disconnected { connection, .. } = *event {
            // Usually its end was the action before this one.
            facts = match self.departed {
                Some((id, facts)) if id == connection => facts,
                _ => self.facts(connection),
            };
        }
        self.reporter.event(self.now.monotonic, event, facts);
    }

    fn facts(&mut self, connection: ConnectionId) -> Facts {
        let now = self.now.monotonic;
        self.sockets
            .get_mut(connection)
            .map(|socket| Facts {
                version: socket.version,
                open_ms: now.since(socket.accepted),
            })
            .unwrap_or_default()
    }

    /// Tells the core who has left. A paused connection is kept: the core still holds bytes of it,
    /// and its end is found again when it is resumed, unless that takes long.
    fn see_off(&mut self) {
        if self.looks.is_due(self.now.monotonic) {
            self.look_at_the_unread();
        }
        let mut ended = core::mem::take(&mut self.ended);
        for id in ended.drain(..) {
            if self.sockets.get_mut(id).is_none_or(|socket| socket.paused) {
                continue;
            }
            self.broker.closed(self.now, id);
            // Its events are told before the facts for them are gone.
            self.drain();
            // It may have shut down only its sending side, and wait for what is left.
            self.close(id, &[]);
        }
        // Keeps the allocation, and who ended meanwhile.
        ended.append(&mut self.ended);
        self.ended = ended;
        while let Some((number, mut late)) = self.lingering.pop_late(self.now.monotonic) {
            self.unwatch(&mut late.socket, Source::Lingering(number));
        }
    }

    fn look_at_the_unread(&mut self) {
        for socket in self.sockets.iter_mut() {
            if socket.is_gone() {
                socket.paused = false;
                self.ended.push(socket.id);
            }
            if socket.is_unread() {
                self.looks.ask(self.now.monotonic);
            }
        }
    }

    fn accept(&mut self) {
        for index in 0..self.listeners.len() {
            for _ in 0..ACCEPTS_PER_TURN {
                match self.listeners[index].accept(self.now.monotonic) {
                    None => break,
                    Some(Ok((transport, peer))) => self.open(transport, peer),
                    Some(Err((address, fault))) => {
                        self.transport_faults += 1;
                        self.reporter.fault(self.now.monotonic, address, &fault);
                    }
                }
            }
            let listener = &self.listeners[index];
            self.busy |= listener.ready && listener.next_deadline().is_none();
        }
    }

    /// A transport connection exists.
    fn open(&mut self, transport: D::Transport, peer: Peer) {
        let id = self.broker.accept(self.now, peer);
        self.insert(Socket::new(id, transport, self.now.monotonic));
    }

    fn insert(&mut self, socket: Socket<D::Transport>) {
        let id = socket.id;
        self.sockets.insert(socket);
        self.watch(id);
    }

    /// Has the system report what matters of a connection now.
    fn watch(&mut self, id: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let reads = |interest: Interest| interest.read;
        let is_new = socket.watched.is_none();
        let was_read = socket.watched.is_some_and(reads);
        if watch(&mut self.driver, socket, source_of(id)).is_err() {
            return self.ended.push(id);
        }
        if was_read || !socket.watched.is_some_and(reads) {
            return;
        }
        match is_new {
            // What a layer holds is not reported, such as the end of who was paused.
            _ if D::IS_LEVEL => {
                if socket.transport.has_more() {
                    self.again.push(id);
                }
            }
            // Usually finds nothing, and makes the system report what comes. Who must not be read
            // now was not asked, and will be.
            true => {
                self.read(id);
                if let Some(socket) = self.sockets.get_mut(id) {
                    let _ = watch(&mut self.driver, socket, source_of(id));
                }
            }
            // What has become ready meanwhile was reported, and is not again.
            false => self.again.push(id),
        }
    }

    /// Lets go of one.
    fn unwatch(&mut self, socket: &mut Socket<D::Transport>, source: Source) {
        if let Some(before) = socket.watched.take() {
            // The system forgets it in any case when it is closed.
            let nothing = Interest::NONE;
            let _ = (self.driver).watch(&mut socket.transport, source, Some(before), nothing);
        }
    }
}

/// Has the system report what matters of a connection now, if that has changed.
fn watch<D: Driver>(
    driver: &mut D,
    socket: &mut Socket<D::Transport>,
    source: Source,
) -> io::Result<()> {
    let wanted = socket.interest();
    if socket.watched == Some(wanted) {
        return Ok(());
    }
    let before = socket.watched.replace(wanted);
    driver.watch(&mut socket.transport, source, before, wanted)
}

fn source_of(id: ConnectionId) -> Source {
    // An index is made from a `u32`.
    Source::Connection(u32::try_from(id.index()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
