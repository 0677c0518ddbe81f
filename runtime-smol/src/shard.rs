//! The loop: one broker, its sockets and its clock, on one thread with one poller.
//!
//! Every turn does the same things in the same order as in `whimbrel-tokio`, each in bounded
//! measure, so that nobody can keep the others waiting; what is left over makes the shard busy, and
//! a busy shard looks at the network once and goes on without sleeping. Actions are carried out
//! once for everything that was read before, so a connection is written at most once a turn however
//! many packets are for it.
//!
//! There is no executor: the system reports who is ready, and the thread sleeps in that one call.
//!
//! Nothing here knows MQTT.

use crate::inbox::{Inbox, Input, StopLevel};
use crate::listen::{Bound, Listener};
use crate::socket::{Lingering, Socket};
use crate::stream::{Pipe, Transport};
use core::net::SocketAddr;
use core::num::NonZeroUsize;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use polling::Events;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::task::Wake;
use tracing::error;
use whimbrel_core::action::{Batch, Credentials};
use whimbrel_core::id::Position;
use whimbrel_core::runtime::config::LINGER;
use whimbrel_core::runtime::policy::IN_PROCESS;
use whimbrel_core::runtime::{Crashed, Decision, Policy, ServerConfig};
use whimbrel_core::statistics::Statistics;
use whimbrel_core::{
    Action, Broker, CloseReason, ConnectionId, Event, Now, Peer, Timestamp, Verdict,
};
use whimbrel_host::presence::Looks;
use whimbrel_host::report::{EventSink, Facts, Reporter};
use whimbrel_host::storage::{LogRequest, LogSender, News};
use whimbrel_host::{Clock, Threads};

/// Bytes that are read before what follows from them is carried out.
const READ_BATCH_BYTES: usize = 256 << 10;

/// What is read at once, at first, in bytes: more than one packet of what small devices say.
const READ_BUFFER_MINIMUM: usize = 2 << 10;

/// Actions that are carried out before the network is looked at again; each moves at most about 64
/// KiB.
const ACTIONS_PER_DRAIN: usize = 4_096;

/// Connections that a listener hands over in one turn.
const ACCEPTS_PER_TURN: usize = 64;

/// Things that are taken out of the inbox in one turn.
const INPUTS_PER_TURN: usize = 256;

/// Reports that the system gives at once.
const EVENTS_PER_TURN: NonZeroUsize = NonZeroUsize::new(256).expect("it is not zero");

/// A shared write buffer that grew beyond this, for a large packet, is given back.
const WRITE_BUFFER_KEPT_BYTES: usize = 64 << 10;

/// Closed connections whose peers have not read their last bytes; beyond that, one is cut. They
/// hold a file descriptor each.
const LINGERING_MAXIMUM: usize = 1_024;

/// Who is ready, as a key of the poller: two bits say what it is, the rest which.
enum Source {
    Listener(usize),
    Connection(usize),
    Lingering(usize),
}

impl Source {
    const fn key(self) -> usize {
        match self {
            Self::Listener(number) => number << 2,
            Self::Connection(slot) => slot << 2 | 1,
            Self::Lingering(number) => number << 2 | 2,
        }
    }

    const fn of(key: usize) -> Self {
        match key & 3 {
            0 => Self::Listener(key >> 2),
            1 => Self::Connection(key >> 2),
            _ => Self::Lingering(key >> 2),
        }
    }
}

/// What a shard is made of.
pub(crate) struct Parts {
    pub(crate) config: ServerConfig,
    pub(crate) broker: Box<Broker>,
    pub(crate) clock: Clock,
    pub(crate) listeners: Vec<Bound>,
    pub(crate) policy: Policy,
    pub(crate) events: Option<EventSink>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) threads: Threads,
    pub(crate) log: Option<LogSender>,
}

/// One broker and everything it touches.
pub(crate) struct Shard {
    /// In a place of its own, as a stack that it passes through stays resident.
    broker: Box<Broker>,
    clock: Clock,
    /// Read once a batch: within one, everything happens at the same time.
    now: Now,
    inbox: Arc<Inbox>,
    /// By slot.
    sockets: Vec<Option<Socket>>,
    socket_count: usize,
    listeners: Vec<Listener>,
    policy: Policy,
    /// Verdicts that have to be waited for.
    undecided: BTreeMap<ConnectionId, Pin<Box<dyn Future<Output = Verdict> + Send>>>,
    events: Option<EventSink>,
    reporter: Reporter,
    /// Who was closed last, for the report that follows.
    departed: Option<(ConnectionId, Facts)>,
    looks: Looks,
    /// Read to their end; closed once what follows from their last bytes is carried out.
    ended: Vec<ConnectionId>,
    /// Closed, by number; all may take equally long, so the first is due first.
    lingering: VecDeque<Option<(Timestamp, Lingering)>>,
    /// The number of the first of them.
    lingering_first: usize,
    /// Grows as far as it may, when somebody fills it.
    read_buffer: Box<[u8]>,
    read_buffer_maximum: usize,
    write_buffer: Vec<u8>,
    /// Bytes read since the last drain.
    undrained_bytes: usize,
    /// Everything that the core wanted is carried out: no connection awaits its `Close`.
    is_drained: bool,
    /// Connections that were cut off below MQTT.
    transport_faults: u64,
    /// Something was left over.
    busy: bool,
    grace_ms: u64,
    /// Set once it is stopping: when it stops in any case.
    stopping_until: Option<Timestamp>,
    threads: Threads,
    log: Option<LogSender>,
    /// Connections that are not read until the log has caught up.
    waiting_for_log: Vec<ConnectionId>,
}

impl Shard {
    /// # Errors
    ///
    /// The system cannot watch a listener.
    pub(crate) fn new(parts: Parts) -> io::Result<Self> {
        let Parts { config, inbox, .. } = parts;
        let listeners = parts
            .listeners
            .into_iter()
            .zip(config.listeners)
            .enumerate();
        let listeners = listeners.map(|(number, (socket, config))| {
            Listener::new(
                socket,
                config,
                &inbox.poller,
                Source::Listener(number).key(),
            )
        });
        Ok(Self {
            listeners: listeners.collect::<io::Result<_>>()?,
            broker: parts.broker,
            clock: parts.clock,
            now: parts.clock.now(),
            inbox,
            sockets: Vec::new(),
            socket_count: 0,
            policy: parts.policy,
            undecided: BTreeMap::new(),
            events: parts.events,
            reporter: Reporter::default(),
            departed: None,
            looks: Looks::default(),
            ended: Vec::new(),
            lingering: VecDeque::new(),
            lingering_first: 0,
            read_buffer: vec![0; READ_BUFFER_MINIMUM].into(),
            read_buffer_maximum: config.read_buffer_bytes,
            write_buffer: Vec::new(),
            undrained_bytes: 0,
            is_drained: true,
            transport_faults: 0,
            busy: false,
            grace_ms: config.shutdown_grace_ms.into(),
            stopping_until: None,
            threads: parts.threads,
            log: parts.log,
            waiting_for_log: Vec::new(),
        })
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        loop {
            self.turn(&events);
            if self.is_finished() {
                return;
            }
            let patience = if self.busy {
                Some(core::time::Duration::ZERO)
            } else {
                self.next_deadline()
                    .map(|at| at.duration_from(self.now.monotonic))
            };
            events.clear();
            match self.inbox.poller.wait(&mut events, patience) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => panic!("the system's event queue has failed: {error}"),
            }
        }
    }

    fn turn(&mut self, events: &Events) {
        self.busy = false;
        self.now = self.clock.now();

        // 1. Whether to go on at all.
        self.heed_stop();

        // 2. Time.
        let deadline = self.broker.next_deadline();
        if deadline.is_some_and(|deadline| deadline <= self.now.monotonic) {
            self.broker.advance(self.now);
        }

        // 3. Those who are here: write what is left, then read.
        self.take_inbox();
        for event in events.iter() {
            match Source::of(event.key) {
                Source::Listener(number) => {
                    if let Some(listener) = self.listeners.get_mut(number) {
                        listener.ready = true;
                    }
                }
                Source::Connection(slot) => self.serve(slot, event.readable, event.writable),
                Source::Lingering(number) => self.linger_on(number),
            }
            if self.undrained_bytes >= READ_BATCH_BYTES {
                self.drain(ACTIONS_PER_DRAIN);
                self.now = self.clock.now();
            }
        }
        self.drain(ACTIONS_PER_DRAIN);

        // 4. Those who have left; what they sent last has been answered.
        self.see_off();

        // 5. Newcomers.
        self.accept();
        self.drain(ACTIONS_PER_DRAIN);
        self.busy |= !self.ended.is_empty();

        // 6. Last, when to come back: see `next_deadline`.
    }

    fn heed_stop(&mut self) {
        let level = self.inbox.stop_level();
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
            self.drain(usize::MAX);
            self.stopping_until = Some(self.now.monotonic);
        }
    }

    fn is_finished(&self) -> bool {
        self.stopping_until.is_some_and(|until| {
            let everybody_left =
                self.socket_count == 0 && self.lingering.iter().all(Option::is_none);
            (everybody_left && !self.busy) || until <= self.now.monotonic
        })
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let lingering = self.lingering.iter().flatten().map(|(until, _)| *until);
        self.listeners
            .iter()
            .filter_map(Listener::next_deadline)
            .chain(lingering.take(1))
            .chain(self.broker.next_deadline())
            .chain(self.looks.next_deadline())
            .chain(self.stopping_until)
            .min()
    }

    fn take_inbox(&mut self) {
        for _ in 0..INPUTS_PER_TURN {
            // A slot may be given away only when nobody awaits its `Close` there.
            if !self.is_drained {
                break;
            }
            let Some(input) = self.inbox.pop() else {
                return;
            };
            match input {
                Input::Attach(stream) => {
                    let peer = Peer {
                        listener: IN_PROCESS,
                        ..Peer::default()
                    };
                    self.open(Transport::new(Pipe::Unix(stream), None), peer);
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
                        ..self.broker.statistics()
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
        self.busy = true;
    }

    fn serve(&mut self, slot: usize, readable: bool, writable: bool) {
        let Some(socket) = self.sockets.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        let id = socket.id;
        if writable
            && socket.is_blocked()
            && socket.flush()
            && core::mem::take(&mut socket.send_due)
        {
            self.send(id);
        }
        if readable {
            self.read(id);
        }
        self.watch(id);
    }

    /// Reads a connection once: if that was not all, the system reports it again. Only what a layer
    /// holds is not reported.
    fn read(&mut self, id: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(id.index()).and_then(Option::as_mut) else {
            return;
        };
        if socket.paused {
            return;
        }
        if self.broker.log_is_behind() {
            socket.waits_for_log = true;
            self.waiting_for_log.push(id);
            return;
        }
        loop {
            match socket.read(&mut self.read_buffer) {
                None => return,
                Some(0) => {
                    if let Some((address, fault)) = socket.transport.fault() {
                        self.transport_faults += 1;
                        self.reporter.fault(self.now.monotonic, address, fault);
                    }
                    return self.ended.push(id);
                }
                Some(count) => {
                    if let Some(peer) = socket.transport.introduce() {
                        self.broker.introduce(self.now, id, peer);
                    }
                    let bytes = &self.read_buffer[..count];
                    self.broker.receive(self.now, id, bytes);
                    self.undrained_bytes += count;
                    if count == self.read_buffer.len() && count < self.read_buffer_maximum {
                        self.read_buffer = vec![0; self.read_buffer_maximum.min(2 * count)].into();
                    }
                }
            }
            if !socket.transport.has_more() {
                return;
            }
        }
    }

    /// Carries out what the core wants, up to `budget` actions.
    fn drain(&mut self, budget: usize) {
        self.undrained_bytes = 0;
        self.is_drained = false;
        for _ in 0..budget {
            let Some(action) = self.broker.poll_action() else {
                self.is_drained = true;
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
                } => {
                    self.authenticate(connection, *credentials);
                }
                Action::Persist(batch) => self.persist(batch),
                Action::Load(message) => self.ask_log(LogRequest::Load(message)),
                Action::Route { .. } | Action::HandOver { .. } => {
                    unreachable!("a broker that has no peers has nothing for them")
                }
                Action::Event(event) => self.report(&event),
            }
        }
        self.busy = true;
    }

    fn pause(&mut self, id: ConnectionId, paused: bool) {
        if paused {
            self.looks.ask(self.now.monotonic);
        }
        if let Some(socket) = self.socket(id) {
            socket.paused = paused;
            self.watch(id);
        }
    }

    /// Pulls what a connection may have, and writes it.
    fn send(&mut self, id: ConnectionId) {
        let now = self.now;
        let Some(socket) = self.sockets.get_mut(id.index()).and_then(Option::as_mut) else {
            return;
        };
        if socket.id != id {
            return;
        }
        if socket.is_blocked() {
            socket.send_due = true;
            return;
        }
        self.write_buffer.clear();
        self.broker.transmit(now, id, &mut self.write_buffer);
        if !self.write_buffer.is_empty() {
            socket.write(&self.write_buffer);
            if self.write_buffer.capacity() > WRITE_BUFFER_KEPT_BYTES {
                self.write_buffer = Vec::new();
            }
            if socket.is_blocked() {
                self.watch(id);
            }
        }
    }

    fn close(&mut self, id: ConnectionId, last_bytes: &[u8]) {
        self.departed = Some((id, self.facts(id)));
        let Some(socket) = self.remove(id) else {
            return;
        };
        let lingering = socket.close(last_bytes, &self.inbox.poller);
        if let Some(lingering) = lingering
            && self.lingering.len() < LINGERING_MAXIMUM
        {
            let until = self.now.monotonic.after_ms(LINGER.as_millis() as u64);
            let number = self.lingering_first.wrapping_add(self.lingering.len());
            self.lingering.push_back(Some((until, lingering)));
            self.linger_on(number & LINGERING_NUMBERS);
        }
    }

    /// Goes on with one that is closed.
    fn linger_on(&mut self, number: usize) {
        let index = number.wrapping_sub(self.lingering_first) & LINGERING_NUMBERS;
        let key = Source::Lingering(number).key();
        if let Some(place) = self.lingering.get_mut(index)
            && let Some((_, lingering)) = place
            && !lingering.go_on(&mut self.read_buffer, &self.inbox.poller, key)
        {
            *place = None;
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
            inbox: Arc::clone(&self.inbox),
        }));
        if let Poll::Ready(verdict) = verdict.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.undecided.remove(&connection);
            let verdict = self.policy.confirm(self.broker.peer(connection), verdict);
            self.broker.authenticated(self.now, connection, verdict);
        }
    }

    /// Hands a batch to the log. Its thread answers with [`News::Persisted`].
    fn persist(&mut self, batch: Batch) {
        self.ask_log(LogRequest::Append(batch));
    }

    fn ask_log(&mut self, request: LogRequest) {
        let log = self.log.as_ref();
        if log.is_none_or(|log| log.send((0, request)).is_err()) {
            // Its thread has ended before us, so by a panic.
            error!("the log has crashed, and this broker must stop");
            self.storage_has_failed();
        }
    }

    /// Nothing can be kept any longer, so nothing may be acknowledged any longer.
    fn storage_has_failed(&mut self) {
        self.broker.persist_failed(self.now);
        self.threads.fail(Crashed::of_the_log(0));
        self.inbox.stop(StopLevel::Promptly);
    }

    fn persisted(&mut self, position: Position) {
        self.broker.persisted(self.now, position);
        if !self.broker.log_is_behind() {
            for id in core::mem::take(&mut self.waiting_for_log) {
                if let Some(socket) = self.socket(id) {
                    socket.waits_for_log = false;
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
            if let Some(socket) = self.socket(connection) {
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
        self.socket(connection)
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
            self.look_at_the_paused();
        }
        let mut ended = core::mem::take(&mut self.ended);
        for id in ended.drain(..) {
            if self.socket(id).is_none_or(|socket| socket.paused) {
                continue;
            }
            self.broker.closed(self.now, id);
            self.drain(ACTIONS_PER_DRAIN);
            // It may have shut down only its sending side, and wait for what is left.
            self.close(id, &[]);
        }
        self.ended = ended;
        // Those who had all the time there is.
        let now = self.now.monotonic;
        while let Some(first) = self.lingering.front_mut() {
            match first {
                Some((until, _)) if *until > now => break,
                Some((_, lingering)) => drop(lingering.end(&self.inbox.poller)),
                None => {}
            }
            self.lingering.pop_front();
            self.lingering_first = self.lingering_first.wrapping_add(1);
        }
    }

    fn look_at_the_paused(&mut self) {
        for socket in self.sockets.iter_mut().flatten() {
            if socket.is_gone() {
                socket.paused = false;
                self.ended.push(socket.id);
            }
            if socket.paused {
                self.looks.ask(self.now.monotonic);
            }
        }
    }

    fn accept(&mut self) {
        for number in 0..self.listeners.len() {
            for _ in 0..ACCEPTS_PER_TURN {
                // A slot may be given away only when nobody awaits its `Close` there.
                if !self.is_drained {
                    break;
                }
                let listener = &mut self.listeners[number];
                let newcomer = listener.accept(self.now.monotonic, &self.inbox.poller);
                let Some((pipe, address)) = newcomer else {
                    break;
                };
                let peer = Peer {
                    // One form of an IPv4 address, whatever the socket that accepted it.
                    address: address
                        .map(|from| SocketAddr::new(from.ip().to_canonical(), from.port())),
                    listener: u16::try_from(number).unwrap_or(IN_PROCESS - 1),
                    ..Peer::default()
                };
                match Transport::accepted(&listener.bound.security, pipe, &peer) {
                    Ok(transport) => {
                        let peer = listener.bound.security.as_far_as_known(peer);
                        self.open(transport, peer);
                    }
                    Err(fault) => {
                        self.transport_faults += 1;
                        self.reporter
                            .fault(self.now.monotonic, peer.address, &fault);
                    }
                }
            }
        }
    }

    /// A transport connection exists.
    fn open(&mut self, transport: Transport, peer: Peer) {
        let id = self.broker.accept(self.now, peer);
        if id.index() >= self.sockets.len() {
            self.sockets.resize_with(id.index() + 1, || None);
        }
        self.sockets[id.index()] = Some(Socket::new(id, transport, self.now.monotonic));
        self.socket_count += 1;
        self.watch(id);
    }

    /// Has the system report what matters of a connection now.
    fn watch(&mut self, id: ConnectionId) {
        let inbox = Arc::clone(&self.inbox);
        if let Some(socket) = self.socket(id)
            && socket
                .watch(&inbox.poller, Source::Connection(id.index()).key())
                .is_err()
        {
            self.ended.push(id);
        }
    }

    fn socket(&mut self, id: ConnectionId) -> Option<&mut Socket> {
        let socket = self.sockets.get_mut(id.index())?.as_mut()?;
        (socket.id == id).then_some(socket)
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Socket> {
        self.socket(id)?;
        self.socket_count -= 1;
        self.undecided.remove(&id);
        self.sockets[id.index()].take()
    }
}

/// Numbers of lingering connections are this wide, so that they fit a key.
const LINGERING_NUMBERS: usize = usize::MAX >> 2;

/// Wakes the shard when a verdict may be there.
struct Decided {
    connection: ConnectionId,
    inbox: Arc<Inbox>,
}

impl Wake for Decided {
    fn wake(self: Arc<Self>) {
        self.inbox.push(Input::Decided(self.connection));
    }
}
