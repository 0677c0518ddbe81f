//! The process under test: the broker, its log, and what a runtime does between them. It can be
//! killed.

use super::defect::Defect;
use super::hostile;
use super::network::{Owner, Piece};
use super::options::Options;
use super::scene::Scene;
use super::storage::{Closed, Desk, Ending, Storage};
use super::trace::{Trace, readable};
use crate::disk::Disk;
use crate::recorded::Parts;
use std::collections::{BTreeMap, VecDeque};
use whimbrel_core::action::{Action, Peer, Verdict};
use whimbrel_core::codec::frame;
use whimbrel_core::log::{LogConfig, LogEvent, Pressure};
use whimbrel_core::recording::{RecordOptions, RecordedBroker};
use whimbrel_core::{Broker, Config, ConnectionId, Grant, Now, Timestamp, UnixTime};

/// The wall clock when a run begins.
const START: u64 = 1_767_225_600_000;

/// More calls than this in one virtual millisecond is going round in circles.
const CALLS_PER_INSTANT: u64 = 100_000;

/// A process that runs.
struct Process {
    broker: RecordedBroker,
    /// What is recorded, if anything is.
    parts: Parts,
    storage: Storage,
    started_at: u64,
    lines: BTreeMap<ConnectionId, u64>,
    /// Who waits for a verdict, and until when.
    verdicts: VecDeque<(u64, ConnectionId)>,
    /// The log has failed: it ends by itself.
    has_failed: bool,
}

/// The machine with the broker on it.
pub(super) struct Server {
    config: Config,
    log_config: LogConfig,
    seed: u64,
    process: Option<Process>,
    /// While no process runs.
    disk: Disk,
    pub(super) restart_at: u64,
    /// What somebody has done to the machine's clock.
    pub(super) wall_offset: i64,
    pub(super) trace: Trace,
    /// An instant, and the calls in it so far.
    calls: (u64, u64),
    /// How the process records, if it does.
    recording: Option<RecordOptions>,
}

impl Server {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            config: options.broker(),
            log_config: options.log(),
            seed: options.seed,
            process: None,
            disk: Disk::default(),
            restart_at: 0,
            wall_offset: 0,
            trace: Trace::default(),
            calls: (0, 0),
            recording: options.recording.clone(),
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        self.process.is_some()
    }

    fn now(&self, now: u64) -> Now {
        let started_at = self
            .process
            .as_ref()
            .map_or(now, |process| process.started_at);
        Now {
            monotonic: Timestamp(now - started_at),
            wall: UnixTime((START + now).saturating_add_signed(self.wall_offset)),
        }
    }

    // --- Life and death ---

    /// Starts the process: the log is read, and a broker made of it.
    pub(super) fn start(&mut self, scene: &mut Scene) {
        let disk = std::mem::take(&mut self.disk);
        let opened = Storage::open(
            &self.log_config,
            disk,
            (scene.disk, self.config.limits.queued_payload_memory_bytes),
            &mut scene.chance,
            &mut scene.counts,
            &mut scene.mischief,
        );
        let (storage, restorer) = match opened {
            Ok(opened) => opened,
            Err(Closed::Again(disk)) => {
                self.disk = disk;
                self.restart_at = scene.now + 500;
                return;
            }
            Err(Closed::Refused(why)) => {
                return scene.oracle.fail(format!("the log does not open: {why}"));
            }
        };
        self.config.identity.boot_epoch = restorer.next_boot_epoch();
        let now = self.now(scene.now);
        let broker = Broker::restore(self.config.clone(), self.seed, now, restorer)
            .expect("the options make a valid configuration");
        let mut broker = RecordedBroker::from(broker);
        if let Some(options) = self.recording.clone() {
            broker.record(options);
        }
        scene.tell(|| {
            format!(
                "the broker starts, boot {}",
                self.config.identity.boot_epoch
            )
        });
        self.process = Some(Process {
            broker,
            parts: Parts::default(),
            storage,
            started_at: scene.now,
            lines: BTreeMap::new(),
            verdicts: VecDeque::new(),
            has_failed: false,
        });
        self.trace.number(scene.now);
    }

    /// Ends the process. What its sockets still hold may arrive.
    pub(super) fn end(&mut self, ending: Ending, scene: &mut Scene) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        scene.tell(|| format!("the broker ends: {ending:?}"));
        process.parts.take(&mut process.broker, true);
        if let Err(what) = process.parts.replay() {
            scene.oracle.fail(format!("played back, {what}"));
        }
        self.disk = process.storage.end(ending, &mut scene.chance);
        self.restart_at = scene.now + scene.chance.between(1, 3_000);
        scene.oracle.rebooted(scene.now);
        for id in process.lines.into_values() {
            let Some(line) = scene.network.lines.get_mut(&id) else {
                continue;
            };
            line.connection = None;
            let notices_at = scene.now + scene.chance.between(1, 2_000);
            if ending == Ending::Killed && scene.chance.one_in(2) {
                line.down.end(notices_at);
            } else {
                line.down.cut(notices_at);
            }
        }
    }

    // --- Inputs ---

    /// Whatever has arrived from clients.
    pub(super) fn read(&mut self, scene: &mut Scene) {
        let ids: Vec<u64> = scene.network.lines.keys().copied().collect();
        for id in ids {
            while let Some(line) = scene.network.lines.get_mut(&id)
                && !(line.is_paused && line.connection.is_some())
                && let Some(piece) = line.up.pop(scene.now)
            {
                self.take(id, piece, scene);
                self.drain(scene);
            }
        }
    }

    fn take(&mut self, id: u64, piece: Piece, scene: &mut Scene) {
        let now = self.now(scene.now);
        let Some(line) = scene.network.lines.get_mut(&id) else {
            return;
        };
        let Some(process) = self.process.as_mut() else {
            // Nobody listens.
            return line.down.end(scene.now + 1);
        };
        match piece {
            Piece::Open => {
                let connection = process.broker.accept(now, Peer::default());
                process.lines.insert(connection, id);
                line.connection = Some(connection);
            }
            Piece::Bytes(bytes) => {
                line.was_heard = line.connection.is_some();
                if line.was_heard {
                    scene.oracle.known(id);
                }
                let connection = line.connection;
                scene.story.tell(scene.now, || {
                    format!("line {id} up {connection:?}: {}", readable(&bytes))
                });
                if let Some(connection) = connection {
                    process.broker.receive(now, connection, &bytes);
                }
            }
            Piece::End => {
                if line.was_heard && !line.is_cut {
                    scene.oracle.parted(id, scene.now);
                }
                if let Some(connection) = line.connection.take() {
                    process.lines.remove(&connection);
                    if scene.mischief.strikes(Defect::SwallowsAWill) {
                        process.broker.receive(now, connection, &[0xE0, 0]);
                    }
                    process.broker.closed(now, connection);
                }
                line.down.end(scene.now + 1);
            }
        }
    }

    /// Lets the disk work, the deadlines pass, the sockets drain.
    pub(super) fn work(&mut self, scene: &mut Scene) {
        let now = self.now(scene.now);
        self.run_storage(scene);
        let Some(process) = self.process.as_mut() else {
            return;
        };
        if process
            .broker
            .next_deadline()
            .is_some_and(|at| at <= now.monotonic)
        {
            process.broker.advance(now);
        }
        while process
            .verdicts
            .front()
            .is_some_and(|(at, _)| *at <= scene.now)
            && let Some((_, connection)) = process.verdicts.pop_front()
        {
            let verdict = Verdict::accept();
            process.broker.authenticated(now, connection, verdict);
        }
        let lines = &scene.network.lines;
        let ready: Vec<ConnectionId> = process
            .lines
            .iter()
            .filter(|(_, id)| {
                lines
                    .get(id)
                    .is_some_and(|line| line.wants_to_send && line.down.has_room(scene.weather))
            })
            .map(|(connection, _)| *connection)
            .collect();
        for connection in ready {
            self.send(connection, scene);
        }
        self.drain(scene);
        if self
            .process
            .as_ref()
            .is_some_and(|process| process.has_failed)
        {
            scene.counts.fault("process ended by its disk");
            self.end(Ending::Killed, scene);
        }
    }

    /// Gives the disk something to do, if it has nothing.
    fn run_storage(&mut self, scene: &mut Scene) {
        let Some(process) = self.process.as_mut() else {
            return;
        };
        let mut desk = Desk {
            faults: scene.disk,
            chance: &mut scene.chance,
            counts: &mut scene.counts,
            mischief: &mut scene.mischief,
        };
        process
            .storage
            .work(scene.now, process.started_at, &mut desk);
    }

    /// What the log reports.
    fn hear_storage(&mut self, scene: &mut Scene) -> bool {
        let now = self.now(scene.now);
        let Some(process) = self.process.as_mut() else {
            return false;
        };
        if let Some(loaded) = process.storage.poll_loaded() {
            scene.counts.operation("load");
            process
                .broker
                .loaded(now, loaded.message, loaded.value.as_deref());
            return true;
        }
        let Some(event) = process.storage.poll_event() else {
            return false;
        };
        scene.tell(|| format!("log: {event:?}"));
        match event {
            LogEvent::Durable { position, .. } => process.broker.persisted(now, position),
            LogEvent::CheckpointWanted => {
                scene.counts.operation("checkpoint");
                process.broker.checkpoint(now);
            }
            LogEvent::Pressure(pressure) => process
                .broker
                .storage_pressure(now, pressure != Pressure::None),
            LogEvent::Poisoned(_) => {
                process.broker.persist_failed(now);
                process.has_failed = true;
            }
            _ => {}
        }
        true
    }

    // --- Outputs ---

    /// Carries out what the broker asks for, until it is at rest.
    pub(super) fn drain(&mut self, scene: &mut Scene) {
        loop {
            if !self.count_call(scene) {
                return;
            }
            let Some(process) = self.process.as_mut() else {
                return;
            };
            match process.broker.poll_action() {
                Some(action) => self.carry_out(action, scene),
                None if self.hear_storage(scene) => {}
                None => return self.take_recorded(scene),
            }
        }
    }

    /// Takes what the process has recorded.
    fn take_recorded(&mut self, scene: &mut Scene) {
        if let Some(process) = self.process.as_mut() {
            let before = process.parts.files().len();
            process.parts.take(&mut process.broker, false);
            for _ in before..process.parts.files().len() {
                scene.counts.operation("part of a recording");
            }
        }
    }

    fn count_call(&mut self, scene: &mut Scene) -> bool {
        if self.calls.0 != scene.now {
            self.calls = (scene.now, 0);
        }
        self.calls.1 += 1;
        if self.calls.1 > CALLS_PER_INSTANT {
            scene.oracle.fail("the broker does not come to rest".into());
        }
        scene.oracle.violation().is_none()
    }

    fn carry_out(&mut self, action: Action, scene: &mut Scene) {
        let now = self.now(scene.now);
        let Some(process) = self.process.as_mut() else {
            return;
        };
        match action {
            Action::Send(connection) => self.send(connection, scene),
            Action::Pause(connection) => self.set_paused(connection, true, scene),
            Action::Resume(connection) => self.set_paused(connection, false, scene),
            Action::Close {
                connection,
                last_bytes,
            } => {
                let id = process.lines.remove(&connection);
                if let Some(id) = id {
                    self.write(id, last_bytes, scene);
                    let line = scene.network.lines.get_mut(&id);
                    if let Some(line) = line {
                        line.connection = None;
                        line.is_paused = false;
                        line.down.end(scene.now + 1);
                    }
                }
            }
            Action::Authenticate {
                connection,
                credentials,
            } if credentials.username.as_deref() == Some(hostile::TWIN) => {
                let verdict = Verdict::Accept(Grant {
                    tenant: credentials.username,
                    ..Grant::default()
                });
                process.broker.authenticated(now, connection, verdict);
            }
            Action::Authenticate { connection, .. } => {
                if scene.chance.one_in(10) {
                    let at = scene.now + scene.chance.between(1, 200);
                    process.verdicts.push_back((at, connection));
                } else {
                    let verdict = Verdict::accept();
                    process.broker.authenticated(now, connection, verdict);
                }
            }
            Action::Persist(mut batch) => {
                scene.tell(|| {
                    let (position, mark) = (batch.position.0, batch.mark);
                    format!("batch {position} {mark:?}: {}", readable(&batch.operations))
                });
                self.trace.bytes(&batch.operations);
                scene.mischief.batch(&mut batch.operations);
                process.storage.append(&batch);
                if scene.mischief.is(Defect::AcknowledgesBeforePersisting) {
                    process.broker.persisted(now, batch.position);
                }
                self.run_storage(scene);
            }
            Action::Load(message) => {
                process.storage.load(message);
                self.run_storage(scene);
            }
            Action::Route { .. } | Action::HandOver { .. } | Action::Event(_) => {}
        }
    }

    fn set_paused(&mut self, connection: ConnectionId, is_paused: bool, scene: &mut Scene) {
        let process = self.process.as_ref();
        let id = process.and_then(|process| process.lines.get(&connection));
        if let Some(line) = id.and_then(|id| scene.network.lines.get_mut(id)) {
            line.is_paused = is_paused;
        }
    }

    /// Pulls what a connection may send, if its socket takes more.
    fn send(&mut self, connection: ConnectionId, scene: &mut Scene) {
        let now = self.now(scene.now);
        let Some(process) = self.process.as_mut() else {
            return;
        };
        let Some(id) = process.lines.get(&connection).copied() else {
            return;
        };
        let Some(line) = scene.network.lines.get_mut(&id) else {
            return;
        };
        line.wants_to_send = !line.down.has_room(scene.weather);
        if line.wants_to_send {
            return;
        }
        let mut bytes = Vec::new();
        process.broker.transmit(now, connection, &mut bytes);
        self.write(id, bytes, scene);
    }

    fn write(&mut self, id: u64, bytes: Vec<u8>, scene: &mut Scene) {
        scene.tell(|| format!("line {id} down: {}", readable(&bytes)));
        self.trace.number(scene.now);
        self.trace.number(id);
        self.trace.bytes(&bytes);
        let Some(line) = scene.network.lines.get_mut(&id) else {
            return;
        };
        if accepts(&bytes) {
            scene.oracle.accepted(id);
        }
        let bytes = match line.owner {
            Owner::Player(_) => scene.mischief.down(line.version, bytes),
            Owner::Hostile(_) => bytes,
        };
        let version = line.version;
        line.down
            .write(scene.now, &bytes, scene.weather, &mut scene.chance);
        if scene.mischief.is(Defect::IsNotDeterministic) {
            let address = Box::new(0_u8);
            self.trace.number(std::ptr::from_ref(&*address) as u64);
        }
        let Some(stray) = scene.mischief.stray.take() else {
            return;
        };
        let other = scene.network.lines.iter_mut().find(|(other, line)| {
            **other != id
                && line.version == version
                && line.connection.is_some()
                && matches!(line.owner, Owner::Player(_))
                && scene.sharers.contains(&line.owner)
        });
        if let Some((_, other)) = other {
            other
                .down
                .write(scene.now, &stray, scene.weather, &mut scene.chance);
        }
    }

    // --- Time ---

    pub(super) fn next_at(&self, scene: &Scene) -> Option<u64> {
        let Some(process) = &self.process else {
            return Some(self.restart_at);
        };
        if scene.mischief.is(Defect::NeverRests) {
            return Some(scene.now);
        }
        let deadline = process.broker.next_deadline();
        let deadline = deadline
            .filter(|at| *at != Timestamp::MAX)
            .map(|at| at.0 + process.started_at);
        let verdict = process.verdicts.front().map(|(at, _)| *at);
        let storage = process.storage.next_at(process.started_at);
        deadline.into_iter().chain(verdict).chain(storage).min()
    }

    // --- Looking in from outside ---

    /// What an operator does to the disk.
    pub(super) fn set_capacity(&mut self, spare_bytes: Option<usize>) {
        match &mut self.process {
            Some(process) => process.storage.set_capacity(spare_bytes),
            None => self.disk.capacity_bytes = None,
        }
    }

    /// Statistics that cannot be.
    pub(super) fn check_limits(&self, scene: &mut Scene) {
        let Some(process) = &self.process else {
            return;
        };
        let statistics = process.broker.statistics();
        let limits = &self.config.limits;
        let kept = statistics.queued_bytes + statistics.inflight_bytes - statistics.unloaded_bytes
            + statistics.retained_bytes
            + statistics.partial_bytes
            + statistics.unsent_bytes;
        let holds = kept <= limits.memory_budget_bytes
            && statistics.queued_messages <= limits.queue_messages_total_maximum
            && statistics.sessions <= u64::from(limits.sessions_maximum)
            && statistics.connections_open >= statistics.clients_connected
            && statistics.connections_open == process.lines.len() as u64;
        if !holds {
            scene
                .oracle
                .fail(format!("statistics that cannot be: {statistics:?}"));
        }
    }

    /// What is left when everybody has had everything: nothing.
    pub(super) fn check_leaks(&self, scene: &mut Scene) {
        let Some(process) = &self.process else {
            return;
        };
        let statistics = process.broker.statistics();
        let left = statistics.queued_messages
            + statistics.queued_bytes
            + statistics.inflight_bytes
            + statistics.partial_bytes
            + statistics.unsent_bytes
            + statistics.held_bytes
            + statistics.unloaded_messages
            + statistics.unloaded_bytes
            + statistics.loads_waiting;
        if left != 0 {
            scene
                .oracle
                .fail(format!("something is left behind: {statistics:?}"));
        }
    }

    /// Whether nothing is under way to anybody.
    pub(super) fn is_quiet(&self) -> bool {
        self.process.as_ref().is_some_and(|process| {
            let statistics = process.broker.statistics();
            statistics.unsent_bytes == 0
                && statistics.inflight_bytes == 0
                && statistics.partial_bytes == 0
                && process.storage.is_idle()
        })
    }
}

/// Whether this begins with a CONNACK that lets the client in.
fn accepts(bytes: &[u8]) -> bool {
    const CONNACK: u8 = 0x20;
    match frame::split(bytes, u32::MAX) {
        Ok(Some((frame, _))) => frame.first_byte == CONNACK && frame.body.get(1) == Some(&0),
        _ => false,
    }
}
