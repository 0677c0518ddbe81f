//! The loop: one broker, its sockets and its clock, as one task on one thread.
//!
//! Every turn does the same things in the same order, each in bounded measure, so that nobody can
//! keep the others waiting; what is left over makes the shard busy, and a busy shard looks at the
//! network once and goes on without sleeping. Actions are carried out once for everything that was
//! read before, so a connection is written at most once a turn however many packets are for it.
//!
//! Shards share nothing but the log. What one has for another, letters and connections, goes into
//! the other's post: a queue that neither waits for.
//!
//! Nothing here knows MQTT.

use crate::listen::{Bound, Listener};
use crate::outbox::{OnItsWay, Outbox};
use crate::ready::{ReadyList, Source};
use crate::recording::Recorder;
use crate::socket::{Lingering, Socket, Written};
use crate::stop::{Farewell, Stop, StopLevel};
use crate::timer::Timer;
use crate::transport::{Pipe, Transport};
use core::net::SocketAddr;
use core::task::{Context, Poll, Waker};
use std::io;
use std::sync::Arc;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};
use whimbrel_core::action::{Batch, Credentials};
use whimbrel_core::config::AccessConfig;
use whimbrel_core::id::{PeerId, Position};
use whimbrel_core::inspect::TenantUsage;
use whimbrel_core::letter::Letter;
use whimbrel_core::recording::RecordedBroker;
use whimbrel_core::runtime::policy::IN_PROCESS;
use whimbrel_core::runtime::{Crashed, Decision, Policy, ServerConfig};
use whimbrel_core::statistics::Statistics;
use whimbrel_core::{Action, CloseReason, ConnectionId, Event, Now, Peer, Timestamp, Verdict};
use whimbrel_host::presence::Looks;
use whimbrel_host::report::{EventSink, Facts, Reporter};
use whimbrel_host::storage::{LogRequest, LogSender, News};
use whimbrel_host::{Clock, Threads};

/// Bytes that are read before what follows from them is carried out. Large enough for one write to
/// carry many messages; small enough to stay in the cache, and for a publisher that is to be paused
/// to be heard at most this much longer.
const READ_BATCH_BYTES: usize = 256 << 10;

/// Actions that are carried out before the network is looked at again; each moves at most about 64
/// KiB.
const ACTIONS_PER_DRAIN: usize = 4_096;

/// Connections that a listener hands over in one turn.
const ACCEPTS_PER_TURN: usize = 64;

/// Things that are taken out of the inbox in one turn.
const INPUTS_PER_TURN: usize = 256;

/// Letters and connections of other shards that are taken in one turn.
const LETTERS_PER_TURN: usize = 64;

/// How long a shard that has nothing left to do waits for the others, in milliseconds, beyond the
/// time that a stop may take: it is there for a shard that hangs.
const FAREWELL_MS: u64 = 1_000;

/// A shared write buffer that grew beyond this, for a large packet, is given back.
const WRITE_BUFFER_KEPT_BYTES: usize = 256 << 10;

/// What other threads tell a shard.
pub(crate) enum Input {
    /// A connection from inside this program.
    Attach(DuplexStream),
    /// The verdict that had to be waited for.
    Authenticated(ConnectionId, Verdict),
    /// What let clients in may hold no longer; asks how many had to go.
    Reconsider(oneshot::Sender<usize>),
    /// How is it going?
    Statistics(oneshot::Sender<Statistics>),
    /// What is there of each tenant?
    Tenants(oneshot::Sender<Vec<TenantUsage>>),
    /// Other rules and bans are in force.
    Access(AccessConfig),
    /// What has become of what is kept.
    Storage(News),
}

/// What shards send each other. The core bounds how much of it is on its way.
pub(crate) enum Post {
    /// What one tells the other.
    Letter(PeerId, Letter),
    /// A connection that asks for a session of the receiver.
    Connection(Box<Moving>),
}

/// A connection on its way from one shard to another.
pub(crate) struct Moving {
    transport: Transport,
    peer: Peer,
    /// Read, and not handled.
    bytes: Vec<u8>,
    accepted: Timestamp,
    _on_its_way: OnItsWay,
}

/// What a shard is made of.
pub(crate) struct Parts {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) broker: RecordedBroker,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) shard: u16,
    pub(crate) clock: Clock,
    pub(crate) listeners: Vec<Bound>,
    pub(crate) policy: Policy,
    pub(crate) events: Option<EventSink>,
    pub(crate) ready: Arc<ReadyList>,
    pub(crate) stop: Arc<Stop>,
    pub(crate) inbox: mpsc::Receiver<Input>,
    pub(crate) inbox_sender: mpsc::Sender<Input>,
    /// What other shards send.
    pub(crate) post: mpsc::UnboundedReceiver<Post>,
    /// Where to send what is for them, by their numbers.
    pub(crate) others: Vec<Outbox>,
    pub(crate) farewell: Farewell,
    pub(crate) log: Option<LogSender>,
    pub(crate) threads: Threads,
}

/// One broker and everything it touches.
pub(crate) struct Shard {
    broker: RecordedBroker,
    recorder: Option<Recorder>,
    /// Which of the server's shards this is.
    shard: u16,
    clock: Clock,
    /// Read once a batch: within one, everything happens at the same time.
    now: Now,
    sockets: Sockets,
    listeners: Vec<Listener>,
    policy: Policy,
    events: Option<EventSink>,
    reporter: Reporter,
    ready: Arc<ReadyList>,
    /// To be served in the next turn.
    sources: Vec<Source>,
    /// Read to their end; closed once what follows from their last bytes is carried out.
    ended: Vec<ConnectionId>,
    /// Who was closed last, for the report that follows.
    departed: Option<(ConnectionId, Facts)>,
    looks: Looks,
    read_buffer: Box<[u8]>,
    write_buffer: Vec<u8>,
    /// Bytes read since the last drain.
    undrained_bytes: usize,
    /// Something was left over.
    busy: bool,
    inbox: mpsc::Receiver<Input>,
    inbox_waker: Waker,
    inbox_sender: mpsc::Sender<Input>,
    post: mpsc::UnboundedReceiver<Post>,
    post_waker: Waker,
    others: Vec<Outbox>,
    timer: Timer,
    lingering: Lingering,
    stop: Arc<Stop>,
    farewell: Farewell,
    grace_ms: u64,
    /// Set once it is stopping: when it stops in any case.
    stopping_until: Option<Timestamp>,
    log: Option<LogSender>,
    threads: Threads,
    /// Connections that ended by a fault below MQTT.
    transport_faults: u64,
    /// Connections that are not read until the log has caught up.
    waiting_for_log: Vec<Source>,
}

impl Shard {
    /// Must be called inside the runtime that will run it.
    ///
    /// # Errors
    ///
    /// The system cannot watch a listener.
    pub(crate) fn new(parts: Parts) -> io::Result<Self> {
        let Parts { config, ready, .. } = parts;
        let listeners = parts
            .listeners
            .into_iter()
            .zip(&config.listeners)
            .zip(0..)
            .map(|((socket, config), number)| {
                let waker = ready.waker(Source::Listener(number));
                Listener::new(socket, number, config.clone(), waker)
            })
            .collect::<io::Result<_>>()?;
        Ok(Self {
            broker: parts.broker,
            recorder: parts.recorder,
            shard: parts.shard,
            now: parts.clock.now(),
            sockets: Sockets::default(),
            listeners,
            policy: parts.policy,
            events: parts.events,
            reporter: Reporter::default(),
            // The first turn makes every source know its waker.
            sources: vec![Source::Inbox, Source::Post],
            ended: Vec::new(),
            departed: None,
            looks: Looks::default(),
            read_buffer: vec![0; config.read_buffer_bytes.max(1_024)].into(),
            write_buffer: Vec::new(),
            undrained_bytes: 0,
            busy: false,
            inbox: parts.inbox,
            inbox_waker: ready.waker(Source::Inbox),
            post: parts.post,
            post_waker: ready.waker(Source::Post),
            others: parts.others,
            farewell: parts.farewell,
            inbox_sender: parts.inbox_sender,
            timer: Timer::new(parts.clock, ready.waker(Source::Timer)),
            clock: parts.clock,
            lingering: Lingering::new(&ready),
            stop: parts.stop,
            grace_ms: config.shutdown_grace_ms.into(),
            stopping_until: None,
            log: parts.log,
            threads: parts.threads,
            transport_faults: 0,
            waiting_for_log: Vec::new(),
            ready,
        })
    }

    /// Runs until it is told to stop.
    pub(crate) async fn run(mut self) {
        let mut turns_unseen = 0;
        loop {
            self.turn();
            if self.is_finished() {
                return self.broker.end_recording();
            }
            self.ready
                .wait(&mut self.sources, self.busy, &mut turns_unseen)
                .await;
        }
    }

    fn turn(&mut self) {
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
        let mut sources = core::mem::take(&mut self.sources);
        for source in sources.drain(..) {
            match source {
                // Looked at in every turn; the wake-up was all.
                Source::Stop | Source::Lingering => {}
                Source::Timer => self.timer.fired(),
                Source::Inbox => self.take_inbox(),
                Source::Post => self.take_post(),
                Source::Listener(number) => {
                    if let Some(listener) = self.listeners.get_mut(usize::from(number)) {
                        listener.ready = true;
                    }
                }
                Source::Connection(slot) => self.serve(slot),
            }
            if self.undrained_bytes >= READ_BATCH_BYTES {
                self.drain(ACTIONS_PER_DRAIN);
                self.now = self.clock.now();
            }
        }
        // Keeps the allocation, and what asked to be served again meanwhile.
        sources.append(&mut self.sources);
        self.sources = sources;
        self.drain(ACTIONS_PER_DRAIN);

        // 4. Those who have left; what they sent last has been answered.
        self.see_off();

        // 5. Newcomers.
        self.accept();
        self.drain(ACTIONS_PER_DRAIN);
        // A newcomer may have left already.
        self.busy |= !self.ended.is_empty();

        // 6. Last, what was recorded, and when to come back.
        if let Some(recorder) = &mut self.recorder {
            recorder.hand_over(&mut self.broker, self.now.monotonic.0);
        }
        self.arm_timer();
    }

    fn heed_stop(&mut self) {
        let level = self.stop.level();
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

    /// Whether this was the last turn. What a shard says last, such as wills, others have to hear:
    /// they leave together.
    fn is_finished(&mut self) -> bool {
        let Some(until) = self.stopping_until else {
            return false;
        };
        let everybody_left = self.sockets.is_empty() && self.lingering.is_empty();
        let is_late = until <= self.now.monotonic;
        if !is_late && (!everybody_left || self.busy) {
            return false;
        }
        if self.farewell.leave() {
            while let Ok(post) = self.post.try_recv() {
                self.take(post);
            }
            self.drain(usize::MAX);
            return true;
        }
        until.after_ms(FAREWELL_MS) <= self.now.monotonic
    }

    fn take_post(&mut self) {
        for _ in 0..LETTERS_PER_TURN {
            let mut cx = Context::from_waker(&self.post_waker);
            let Poll::Ready(Some(post)) = self.post.poll_recv(&mut cx) else {
                return;
            };
            self.take(post);
        }
        self.sources.push(Source::Post);
        self.busy = true;
    }

    fn take(&mut self, post: Post) {
        match post {
            Post::Letter(from, letter) => self.broker.routed(self.now, from, letter),
            Post::Connection(moving) => self.adopt(*moving),
        }
    }

    /// Takes a connection that another shard has accepted.
    fn adopt(&mut self, moving: Moving) {
        match moving.transport.moved() {
            Ok(transport) => {
                let id = self.broker.adopt(self.now, moving.peer, &moving.bytes);
                self.insert(id, transport, moving.accepted);
            }
            // A connection that cannot be watched here is closed by being dropped. It was counted.
            Err(error) => {
                warn!(%error, "a connection could not change its thread");
                let id = self.broker.adopt(self.now, moving.peer, &[]);
                self.broker.closed(self.now, id);
            }
        }
    }

    /// Gives a connection to the shard that has its session.
    fn hand_over(&mut self, id: ConnectionId, to: PeerId, (peer, bytes): (Peer, Vec<u8>)) {
        let (Some(socket), Some(other)) =
            (self.sockets.remove(id), self.others.get(usize::from(to.0)))
        else {
            return;
        };
        other.send(Post::Connection(Box::new(Moving {
            accepted: socket.accepted,
            transport: socket.into_transport(),
            peer,
            bytes,
            _on_its_way: other.set_out(),
        })));
    }

    fn send_to(&self, shard: PeerId, post: Post) {
        if let Some(other) = self.others.get(usize::from(shard.0)) {
            other.send(post);
        }
    }

    fn take_inbox(&mut self) {
        for _ in 0..INPUTS_PER_TURN {
            let mut cx = Context::from_waker(&self.inbox_waker);
            let Poll::Ready(Some(input)) = self.inbox.poll_recv(&mut cx) else {
                return;
            };
            match input {
                Input::Attach(stream) => {
                    let peer = Peer {
                        listener: IN_PROCESS,
                        ..Peer::default()
                    };
                    let pipe = Pipe::Memory(Box::new(stream));
                    self.open(Transport::Plain(pipe), peer);
                }
                Input::Authenticated(connection, verdict) => {
                    let verdict = self.policy.confirm(self.broker.peer(connection), verdict);
                    self.broker.authenticated(self.now, connection, verdict);
                }
                Input::Reconsider(answer) => {
                    let has_lost = |peer: &Peer, grant: &_| !self.policy.still_holds(peer, grant);
                    let gone = self.broker.connections_of(has_lost);
                    for connection in &gone {
                        let why = CloseReason::Revoked;
                        self.broker.disconnect(self.now, *connection, why);
                    }
                    // Whoever asked may have gone.
                    let _ = answer.send(gone.len());
                }
                // Whoever asked may have gone.
                Input::Statistics(answer) => {
                    let statistics = Statistics {
                        transport_faults: self.transport_faults,
                        ..self.broker.statistics()
                    };
                    drop(answer.send(statistics));
                }
                Input::Tenants(answer) => drop(answer.send(self.broker.tenants())),
                Input::Access(access) => {
                    self.broker.set_rules(self.now, access.rules);
                    self.broker.set_shadow_rules(self.now, access.shadow_rules);
                    self.broker.set_bans(self.now, access.bans);
                }
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
        self.sources.push(Source::Inbox);
        self.busy = true;
    }

    fn serve(&mut self, slot: u32) {
        let Some(socket) = self.sockets.in_slot(slot) else {
            return;
        };
        let id = socket.id;
        if socket.is_blocked() && socket.flush() != Written::Blocked && socket.send_due {
            socket.send_due = false;
            self.send(id);
        }
        self.read(id);
    }

    /// Reads a connection until it is dry, or has had its share of this turn.
    fn read(&mut self, id: ConnectionId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        if socket.paused {
            return;
        }
        if self.broker.log_is_behind() {
            self.waiting_for_log.push(source_of(id));
            return;
        }
        let mut share = self.read_buffer.len();
        loop {
            match socket.poll_read(&mut self.read_buffer) {
                Poll::Pending => return,
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Ok(0) | Err(_)) => {
                    if let Some((address, fault)) = socket.fault() {
                        self.transport_faults += 1;
                        self.reporter.fault(self.now.monotonic, address, fault);
                    }
                    self.ended.push(id);
                    return;
                }
                Poll::Ready(Ok(count)) => {
                    if let Some(peer) = socket.introduce() {
                        self.broker.introduce(self.now, id, peer);
                    }
                    self.broker
                        .receive(self.now, id, &self.read_buffer[..count]);
                    self.undrained_bytes += count;
                    if count >= share {
                        self.sources.push(source_of(id));
                        self.busy = true;
                        return;
                    }
                    share -= count;
                }
            }
        }
    }

    /// Carries out what the core wants, up to `budget` actions.
    fn drain(&mut self, budget: usize) {
        self.undrained_bytes = 0;
        for _ in 0..budget {
            let Some(action) = self.broker.poll_action() else {
                return;
            };
            match action {
                Action::Send(connection) => self.send(connection),
                Action::Pause(connection) => {
                    if let Some(socket) = self.sockets.get_mut(connection) {
                        socket.paused = true;
                        self.looks.ask(self.now.monotonic);
                    }
                }
                Action::Resume(connection) => {
                    if let Some(socket) = self.sockets.get_mut(connection) {
                        socket.paused = false;
                        self.sources.push(source_of(connection));
                        self.busy = true;
                    }
                }
                Action::Close {
                    connection,
                    last_bytes,
                } => self.close(connection, &last_bytes),
                Action::Authenticate {
                    connection,
                    credentials,
                } => self.authenticate(connection, *credentials),
                Action::Persist(batch) => self.persist(batch),
                Action::Load(message) => self.ask_log(LogRequest::Load(message)),
                Action::Route { to, letter } => {
                    let from = PeerId(self.shard);
                    self.send_to(to, Post::Letter(from, letter));
                }
                Action::HandOver {
                    connection,
                    to,
                    peer,
                    bytes,
                } => self.hand_over(connection, to, (peer, bytes)),
                Action::Event(event) => self.report(&event),
            }
        }
        self.busy = true;
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
            if self.write_buffer.capacity() > WRITE_BUFFER_KEPT_BYTES {
                self.write_buffer = Vec::new();
            }
        }
    }

    fn close(&mut self, id: ConnectionId, last_bytes: &[u8]) {
        self.departed = Some((id, self.facts(id)));
        if let Some(socket) = self.sockets.remove(id) {
            socket.close(last_bytes, &self.lingering);
        }
    }

    fn authenticate(&mut self, connection: ConnectionId, credentials: Credentials) {
        match self.policy.decide(credentials) {
            Decision::Now(verdict) => self.broker.authenticated(self.now, connection, verdict),
            Decision::Later(verdict) => {
                let inbox = self.inbox_sender.clone();
                tokio::spawn(async move {
                    let verdict = verdict.await;
                    // The shard has stopped when nobody takes it.
                    let _ = inbox.send(Input::Authenticated(connection, verdict)).await;
                });
            }
        }
    }

    /// Hands a batch to the log. Its thread answers with [`News::Persisted`].
    fn persist(&mut self, batch: Batch) {
        self.ask_log(LogRequest::Append(batch));
    }

    fn ask_log(&mut self, request: LogRequest) {
        let log = self.log.as_ref();
        if log.is_none_or(|log| log.send((self.shard, request)).is_err()) {
            // Its thread has ended before us, so by a panic.
            error!("the log has crashed, and this broker must stop");
            self.storage_has_failed();
        }
    }

    /// Nothing can be kept any longer, so nothing may be acknowledged any longer.
    fn storage_has_failed(&mut self) {
        self.broker.persist_failed(self.now);
        self.threads.fail(Crashed::of_the_log(self.shard));
        self.stop.request(StopLevel::Promptly);
    }

    fn persisted(&mut self, position: Position) {
        self.broker.persisted(self.now, position);
        if !self.waiting_for_log.is_empty() && !self.broker.log_is_behind() {
            self.sources.append(&mut self.waiting_for_log);
            self.busy = true;
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
            self.look_at_the_paused();
        }
        let mut ended = core::mem::take(&mut self.ended);
        for id in ended.drain(..) {
            if self.sockets.get_mut(id).is_none_or(|socket| socket.paused) {
                continue;
            }
            self.broker.closed(self.now, id);
            // Its events are told before the facts for them are gone.
            self.drain(ACTIONS_PER_DRAIN);
            if let Some(socket) = self.sockets.remove(id) {
                // It may have shut down only its sending side, and wait for what is left.
                socket.close(&[], &self.lingering);
            }
        }
        self.ended = ended;
    }

    fn look_at_the_paused(&mut self) {
        for socket in self.sockets.slots.iter_mut().flatten() {
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
        if self.others.iter().any(Outbox::is_crowded) {
            for listener in &mut self.listeners {
                listener.rest(self.now.monotonic);
            }
        }
        for index in 0..self.listeners.len() {
            for _ in 0..ACCEPTS_PER_TURN {
                let listener = &mut self.listeners[index];
                if !listener.ready {
                    break;
                }
                let Some((newcomer, address)) = listener.accept(self.now.monotonic) else {
                    break;
                };
                let peer = Peer {
                    // One form of an IPv4 address, whatever the socket that accepted it.
                    address: address.map(|address| {
                        SocketAddr::new(address.ip().to_canonical(), address.port())
                    }),
                    listener: listener.number,
                    ..Peer::default()
                };
                match Transport::accepted(&listener.security, newcomer, &peer) {
                    Ok(transport) => {
                        let peer = listener.security.as_far_as_known(peer);
                        self.open(transport, peer);
                    }
                    Err(fault) => {
                        self.transport_faults += 1;
                        self.reporter
                            .fault(self.now.monotonic, peer.address, &fault);
                    }
                }
            }
            let listener = &self.listeners[index];
            self.busy |= listener.ready && listener.next_deadline().is_none();
        }
    }

    /// A transport connection exists.
    fn open(&mut self, transport: Transport, peer: Peer) {
        let id = self.broker.accept(self.now, peer);
        self.insert(id, transport, self.now.monotonic);
    }

    fn insert(&mut self, id: ConnectionId, transport: Transport, accepted: Timestamp) {
        let waker = self.ready.waker(source_of(id));
        self.sockets
            .insert(Socket::new(id, transport, waker, accepted));
        // Usually finds nothing, and makes the socket know its waker.
        self.read(id);
    }

    fn arm_timer(&mut self) {
        let stop = match self.farewell.has_left() {
            false => self.stopping_until,
            true => self.stopping_until.map(|until| until.after_ms(FAREWELL_MS)),
        };
        let next = self
            .listeners
            .iter()
            .filter_map(Listener::next_deadline)
            .chain(self.broker.next_deadline())
            .chain(self.looks.next_deadline())
            .chain(stop)
            .min();
        match next {
            None => {}
            Some(deadline) if deadline <= self.now.monotonic => self.busy = true,
            Some(deadline) => self.timer.arm(deadline),
        }
    }
}

/// What was recorded is kept also when it ends by a panic: that is when it is wanted.
impl Drop for Shard {
    fn drop(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.finish(&mut self.broker);
        }
    }
}

fn source_of(id: ConnectionId) -> Source {
    // An index is made from a `u32`.
    Source::Connection(u32::try_from(id.index()).unwrap_or(u32::MAX))
}

/// The open connections, by slot.
#[derive(Default)]
struct Sockets {
    slots: Vec<Option<Socket>>,
    /// Connections that the core has let go of and whose slot it has given away, before their
    /// `Close` came to be carried out.
    displaced: Vec<Socket>,
    count: usize,
}

impl Sockets {
    const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn in_slot(&mut self, slot: u32) -> Option<&mut Socket> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Socket> {
        let socket = self.slots.get_mut(id.index())?.as_mut()?;
        (socket.id == id).then_some(socket)
    }

    fn insert(&mut self, socket: Socket) {
        let index = socket.id.index();
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        self.count += 1;
        self.displaced.extend(self.slots[index].replace(socket));
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Socket> {
        let slot = self.slots.get_mut(id.index())?;
        let socket = if slot.as_ref().is_some_and(|socket| socket.id == id) {
            slot.take()?
        } else {
            let at = self.displaced.iter().position(|socket| socket.id == id)?;
            self.displaced.swap_remove(at)
        };
        self.count -= 1;
        Some(socket)
    }
}
