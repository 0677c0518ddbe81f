//! The process under test: the broker, its log, and what a runtime does between them. It can be
//! killed.

mod limits;

use super::defect::Defect;
use super::hostile;
use super::network::{Network, Owner, Piece, Place};
use super::options::{Options, Shards};
use super::post::{Post, Posts};
use super::scene::Scene;
use super::storage::{Closed, Desk, Ending, Storage};
use super::trace::{Trace, readable};
use crate::disk::Disk;
use crate::recorded::Parts;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use whimbrel_core::action::{Action, CloseReason, DropReason, Event, Peer, Verdict};
use whimbrel_core::codec::frame;
use whimbrel_core::codec::packet::Version;
use whimbrel_core::id::PeerId;
use whimbrel_core::letter::Parcel;
use whimbrel_core::log::{LogConfig, LogEvent, Pressure};
use whimbrel_core::recording::{RecordOptions, RecordedBroker};
use whimbrel_core::restore::Restorer;
use whimbrel_core::statistics::Statistics;
use whimbrel_core::{Broker, Config, Grant, Now, Timestamp, UnixTime};

/// The wall clock when a run begins.
const START: u64 = 1_767_225_600_000;

/// More calls than this in one virtual millisecond is going round in circles.
const CALLS_PER_INSTANT: u64 = 100_000;

/// So many more for each client of a crowd.
const CALLS_PER_CLIENT: u64 = 2_000;

/// One thread of a process.
struct Shard {
    broker: RecordedBroker,
    /// What is recorded, if anything is.
    parts: Parts,
    /// What it took when it began.
    memory_bytes: u64,
}

/// A process that runs.
struct Process {
    shards: Vec<Shard>,
    /// What they send each other.
    posts: Posts,
    storage: Storage,
    started_at: u64,
    lines: BTreeMap<Place, u64>,
    /// Who waits for a verdict, and until when.
    verdicts: VecDeque<(u64, Place)>,
    /// The log has failed: it ends by itself.
    has_failed: bool,
}

impl Process {
    fn broker(&mut self, shard: usize) -> &mut RecordedBroker {
        &mut self.shards[shard].broker
    }

    /// DISCONNECT from all other lines of a client.
    fn say_goodbye(&mut self, now: Now, network: &Network, (id, owner): (u64, Owner)) {
        let is_other =
            |line: u64| line != id && network.lines.get(&line).is_some_and(|it| it.owner == owner);
        let mut others = self.lines.clone();
        others.retain(|_, line| is_other(*line));
        for Place { shard, connection } in others.into_keys() {
            self.broker(shard).receive(now, connection, &[0xE0, 0]);
        }
    }

    /// What all shards count together.
    fn statistics(&self) -> Statistics {
        let mut sum = Statistics::default();
        for shard in &self.shards {
            sum.add(&shard.broker.statistics());
        }
        sum
    }
}

/// The machine with the broker on it.
pub(super) struct Server {
    config: Config,
    /// What it is to keep to, whatever is wrong with it.
    promised: Config,
    /// Whether messages may be dropped for want of room.
    may_drop: bool,
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
    calls_per_instant: u64,
    /// How the process records, if it does.
    recording: Option<RecordOptions>,
    shards: Shards,
}

impl Server {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            config: options.broker(),
            promised: options.promised(),
            may_drop: options.may_drop(),
            log_config: options.log(),
            seed: options.seed,
            process: None,
            disk: Disk::default(),
            restart_at: 0,
            wall_offset: 0,
            trace: Trace::default(),
            calls: (0, 0),
            calls_per_instant: match options.is_crowd() {
                true => CALLS_PER_INSTANT + CALLS_PER_CLIENT * options.players as u64,
                false => CALLS_PER_INSTANT,
            },
            recording: options.recording.clone(),
            shards: options.shards,
        }
    }

    /// From the next process on, these are the limits.
    pub(super) fn limit(&mut self, options: &Options) {
        self.config = options.broker();
        self.promised = options.promised();
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
        let shards = self.shards.draw(&mut scene.chance);
        self.config.identity.shards = shards;
        self.log_config.shards = shards;
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
        let shards = self.shards_from(restorer, self.now(scene.now));
        scene.tell(|| {
            let identity = &self.config.identity;
            let (boot, shards) = (identity.boot_epoch, identity.shards);
            format!("the broker starts, boot {boot}, shards {shards}")
        });
        self.process = Some(Process {
            shards,
            posts: Posts::default(),
            storage,
            started_at: scene.now,
            lines: BTreeMap::new(),
            verdicts: VecDeque::new(),
            has_failed: false,
        });
        scene.oracle.booted(scene.now);
        self.trace.number(scene.now);
        self.introduce(scene);
    }

    fn shards_from(&self, restorer: Restorer, now: Now) -> Vec<Shard> {
        let parts = restorer.split(self.config.identity.shards).into_iter();
        let shards = parts.zip(0..).map(|(part, shard)| {
            let mut config = self.config.clone();
            config.identity.shard = shard;
            let broker = Broker::restore(config, self.seed, now, part);
            let broker = broker.expect("the options make a valid configuration");
            let mut broker = RecordedBroker::from(broker);
            if let Some(options) = self.recording.clone() {
                broker.record(options);
            }
            Shard {
                memory_bytes: broker.statistics().memory_bytes,
                broker,
                parts: Parts::default(),
            }
        });
        shards.collect()
    }

    /// Before anybody can connect, all shards hear what the others want.
    fn introduce(&mut self, scene: &mut Scene) {
        loop {
            self.drain(scene);
            let Some(process) = self.process.as_mut() else {
                return;
            };
            let Some((way, post)) = process.posts.pop(u64::MAX, &mut scene.chance) else {
                return;
            };
            self.take_post(way, post, scene);
        }
    }

    /// Ends the process. What its sockets still hold may arrive.
    pub(super) fn end(&mut self, ending: Ending, scene: &mut Scene) {
        self.tell_refused(scene);
        let Some(mut process) = self.process.take() else {
            return;
        };
        scene.tell(|| format!("the broker ends: {ending:?}"));
        for shard in &mut process.shards {
            shard.parts.take(&mut shard.broker, true);
            if let Err(what) = shard.parts.replay() {
                scene.oracle.fail(format!("played back, {what}"));
            }
        }
        self.disk = process.storage.end(ending, &mut scene.chance);
        self.restart_at = scene.now + scene.chance.between(1, 3_000);
        scene.oracle.rebooted(scene.now);
        for id in process.lines.into_values().chain(process.posts.lines()) {
            let Some(line) = scene.network.lines.get_mut(&id) else {
                continue;
            };
            line.place = None;
            line.is_moving = false;
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
        let lines = scene.network.lines.iter();
        let due = lines.filter(|(_, line)| line.up.is_due(scene.now));
        let due: Vec<u64> = due.map(|(id, _)| *id).collect();
        for id in due {
            while let Some(line) = scene.network.lines.get_mut(&id)
                && line.is_read()
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
                let shard = scene.chance.below(process.shards.len() as u64) as usize;
                let connection = process.broker(shard).accept(now, Peer::default());
                let place = Place { shard, connection };
                process.lines.insert(place, id);
                line.place = Some(place);
            }
            Piece::Bytes(bytes) => {
                let (place, owner) = (line.place, line.owner);
                let is_first = place.is_some() && !line.was_heard;
                line.was_heard = place.is_some();
                if line.was_heard {
                    scene.oracle.known(id, scene.now);
                }
                if is_first && scene.mischief.strikes(Defect::DropsAWillOnTakeover) {
                    process.say_goodbye(now, &scene.network, (id, owner));
                }
                scene.story.tell(scene.now, || {
                    format!("line {id} up {place:?}: {}", readable(&bytes))
                });
                if let Some(Place { shard, connection }) = place {
                    process.broker(shard).receive(now, connection, &bytes);
                }
            }
            Piece::End => {
                if line.was_heard && !line.is_cut {
                    scene.oracle.parted(id, scene.now);
                }
                if let Some(place) = line.place.take() {
                    process.lines.remove(&place);
                    scene.oracle.gone(id, scene.now);
                    let Place { shard, connection } = place;
                    if scene.mischief.strikes(Defect::SwallowsAWill) {
                        process.broker(shard).receive(now, connection, &[0xE0, 0]);
                    }
                    process.broker(shard).closed(now, connection);
                }
                line.down.end(scene.now + 1);
            }
        }
    }

    /// A shard takes in what another one has sent.
    fn take_post(&mut self, (from, to): (usize, usize), post: Post, scene: &mut Scene) {
        let now = self.now(scene.now);
        let Some(process) = self.process.as_mut() else {
            return;
        };
        match post {
            Post::Letter(letter) => {
                scene.tell(|| format!("letter from {from} to {to}: {letter:?}"));
                let from = PeerId(u16::try_from(from).expect("few shards"));
                process.broker(to).routed(now, from, letter);
            }
            Post::Connection { line, peer, bytes } => {
                scene.tell(|| format!("line {line} moves from {from} to {to}"));
                let connection = process.broker(to).adopt(now, peer, &bytes);
                let place = Place {
                    shard: to,
                    connection,
                };
                process.lines.insert(place, line);
                if let Some(line) = scene.network.lines.get_mut(&line) {
                    line.place = Some(place);
                    line.is_moving = false;
                }
            }
        }
        self.trace.number((from * 64 + to) as u64);
    }

    /// A thread does not come to take in what the others send it, for a while.
    pub(super) fn stall(&mut self, shard: u64, until: u64) -> bool {
        let Some(process) = self.process.as_mut() else {
            return false;
        };
        let count = process.shards.len();
        process.posts.stall(shard as usize % count, until);
        count > 1
    }

    /// All shards take in what they are sent again.
    pub(super) fn hurry(&mut self) {
        if let Some(process) = &mut self.process {
            process.posts.hurry();
        }
    }

    /// Lets the disk work, the deadlines pass, the sockets drain.
    pub(super) fn work(&mut self, scene: &mut Scene) {
        let now = self.now(scene.now);
        self.run_storage(scene);
        let Some(process) = self.process.as_mut() else {
            return;
        };
        for Shard { broker, .. } in &mut process.shards {
            if broker.next_deadline().is_some_and(|at| at <= now.monotonic) {
                broker.advance(now);
            }
        }
        while process
            .verdicts
            .front()
            .is_some_and(|(at, _)| *at <= scene.now)
            && let Some((_, Place { shard, connection })) = process.verdicts.pop_front()
        {
            let verdict = Verdict::accept();
            process
                .broker(shard)
                .authenticated(now, connection, verdict);
        }
        while let Some(process) = self.process.as_mut()
            && let Some((way, post)) = process.posts.pop(scene.now, &mut scene.chance)
        {
            self.take_post(way, post, scene);
            if scene.chance.one_in(2) {
                self.drain(scene);
            }
        }
        if self.process.is_none() {
            return;
        }
        let lines = scene.network.lines.values();
        let ready = lines.filter(|it| it.wants_to_send && it.down.has_room(scene.weather));
        let ready: BTreeSet<Place> = ready.filter_map(|line| line.place).collect();
        for place in ready {
            self.send(place, scene);
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
        scene.oracle.misread(process.storage.take_misreads());
        if let Some(mut loaded) = process.storage.poll_loaded() {
            scene.counts.operation("load");
            if scene.mischief.strikes(Defect::LosesWhatItReads) {
                loaded.value = None;
            }
            let broker = process.broker(usize::from(loaded.shard));
            broker.loaded(now, loaded.message, loaded.value.as_deref());
            return true;
        }
        let Some(event) = process.storage.poll_event() else {
            return false;
        };
        scene.tell(|| format!("log: {event:?}"));
        match event {
            LogEvent::Durable { shard, position } => {
                process.broker(usize::from(shard)).persisted(now, position);
            }
            LogEvent::CheckpointWanted => {
                scene.counts.operation("checkpoint");
                for shard in &mut process.shards {
                    shard.broker.checkpoint(now);
                }
            }
            LogEvent::Pressure(pressure) => {
                let is_full = pressure != Pressure::None;
                scene.oracle.disk_is_full(is_full);
                let is_stuck = matches!(pressure, Pressure::Full(_));
                scene.oracle.log_is_stuck(is_stuck, scene.now);
                for shard in &mut process.shards {
                    shard.broker.storage_pressure(now, is_full);
                }
            }
            LogEvent::Poisoned(_) => {
                for shard in &mut process.shards {
                    shard.broker.persist_failed(now);
                }
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
            let mut shards = process.shards.iter_mut().zip(0..);
            let action = shards.find_map(|(shard, number)| {
                let action = shard.broker.poll_action()?;
                Some((number, action))
            });
            match action {
                Some((shard, action)) => self.carry_out(shard, action, scene),
                None if self.hear_storage(scene) => {}
                None => return self.take_recorded(scene),
            }
        }
    }

    /// Takes what the process has recorded.
    fn take_recorded(&mut self, scene: &mut Scene) {
        let shards = self
            .process
            .iter_mut()
            .flat_map(|process| &mut process.shards);
        for Shard { broker, parts, .. } in shards {
            let before = parts.files().len();
            parts.take(broker, false);
            for _ in before..parts.files().len() {
                scene.counts.operation("part of a recording");
            }
        }
    }

    fn count_call(&mut self, scene: &mut Scene) -> bool {
        if self.calls.0 != scene.now {
            self.calls = (scene.now, 0);
        }
        self.calls.1 += 1;
        if self.calls.1 > self.calls_per_instant {
            scene.oracle.fail("the broker does not come to rest".into());
        }
        scene.oracle.violation().is_none()
    }

    fn carry_out(&mut self, shard: usize, action: Action, scene: &mut Scene) {
        let now = self.now(scene.now);
        let Some(process) = self.process.as_mut() else {
            return;
        };
        let place = |connection| Place { shard, connection };
        match action {
            Action::Send(connection) => self.send(place(connection), scene),
            Action::Pause(connection) => self.set_paused(place(connection), true, scene),
            Action::Resume(connection) => self.set_paused(place(connection), false, scene),
            Action::Close {
                connection,
                last_bytes,
            } => {
                let id = process.lines.remove(&place(connection));
                if let Some(id) = id {
                    self.write(id, last_bytes, scene);
                    scene.oracle.gone(id, scene.now);
                    let line = scene.network.lines.get_mut(&id);
                    if let Some(line) = line {
                        line.closed_at = line.place.take();
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
                process
                    .broker(shard)
                    .authenticated(now, connection, verdict);
            }
            Action::Authenticate { connection, .. } => {
                if scene.chance.one_in(10) {
                    let at = scene.now + scene.chance.between(1, 200);
                    process.verdicts.push_back((at, place(connection)));
                } else {
                    let verdict = Verdict::accept();
                    process
                        .broker(shard)
                        .authenticated(now, connection, verdict);
                }
            }
            Action::Persist(mut batch) => {
                scene.tell(|| {
                    let (position, mark) = (batch.position.0, batch.mark);
                    let operations = readable(&batch.operations);
                    format!("batch {position} of {shard} {mark:?}: {operations}")
                });
                self.trace.bytes(&batch.operations);
                scene.oracle.kept(&batch.operations);
                scene.mischief.batch(&mut batch.operations);
                process.storage.append(shard, &batch);
                if scene.mischief.is(Defect::AcknowledgesBeforePersisting) {
                    process.broker(shard).persisted(now, batch.position);
                }
                self.run_storage(scene);
            }
            Action::Load(message) => {
                process.storage.load(shard, message);
                self.run_storage(scene);
            }
            Action::Route { to, mut letter } => {
                scene.counts.operation("letter");
                let is_returned = |parcel: &Parcel| matches!(parcel, Parcel::Returned(_));
                for _ in letter.parcels.iter().filter(|parcel| is_returned(parcel)) {
                    scene.counts.operation("returned by a group");
                }
                scene.mischief.letter(&mut letter);
                self.post((shard, to.0.into()), Post::Letter(letter), scene);
            }
            Action::HandOver {
                connection,
                to,
                peer,
                mut bytes,
            } => {
                scene.counts.operation("hand over");
                let line = process.lines.remove(&place(connection));
                let line = line.expect("it is there");
                if let Some(line) = scene.network.lines.get_mut(&line) {
                    line.place = None;
                    line.is_moving = true;
                    line.is_paused = false;
                    line.wants_to_send = false;
                    scene.mischief.hand_over(line.version, &mut bytes);
                }
                let post = Post::Connection { line, peer, bytes };
                self.post((shard, to.0.into()), post, scene);
            }
            Action::Event(event) => hear(shard, event, scene),
        }
    }

    /// Sends something to another shard. Most of it is there at once.
    fn post(&mut self, way: (usize, usize), post: Post, scene: &mut Scene) {
        let patience_ms = match scene.is_calm {
            true => 1,
            false => self.shards.letter_ms,
        };
        let delay_ms = match scene.chance.one_in(3) {
            true => scene.chance.between(0, patience_ms),
            false => 0,
        };
        if let Some(process) = self.process.as_mut() {
            process.posts.send(way, scene.now + delay_ms, post);
            if scene.mischief.strikes(Defect::LettersOvertake) {
                process.posts.swap_last(way);
            }
        }
    }

    fn set_paused(&mut self, place: Place, is_paused: bool, scene: &mut Scene) {
        let process = self.process.as_ref();
        let id = process.and_then(|process| process.lines.get(&place));
        if let Some(line) = id.and_then(|id| scene.network.lines.get_mut(id)) {
            line.is_paused = is_paused;
        }
    }

    /// Pulls what a connection may send, if its socket takes more.
    fn send(&mut self, place: Place, scene: &mut Scene) {
        let now = self.now(scene.now);
        let Some(process) = self.process.as_mut() else {
            return;
        };
        let Some(id) = process.lines.get(&place).copied() else {
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
        let Place { shard, connection } = place;
        process.broker(shard).transmit(now, connection, &mut bytes);
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
            Owner::Player(_) => scene.mischief.down((line.owner, line.version), bytes),
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
                && line.place.is_some()
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

    /// When the process has something to do next, but for its disk.
    pub(super) fn next_at(&self, scene: &Scene) -> Option<u64> {
        let Some(process) = &self.process else {
            return Some(self.restart_at);
        };
        if scene.mischief.is(Defect::NeverRests) {
            return Some(scene.now);
        }
        let shards = process.shards.iter();
        let deadlines = shards.filter_map(|shard| shard.broker.next_deadline());
        let verdict = process.verdicts.front().map(|(at, _)| *at);
        deadlines
            .filter(|at| *at != Timestamp::MAX)
            .map(|at| at.0 + process.started_at)
            .chain(verdict)
            .chain(process.posts.next_at())
            .min()
    }

    /// When its disk has.
    pub(super) fn disk_next_at(&self, scene: &Scene) -> Option<u64> {
        let process = self.process.as_ref()?;
        if scene.mischief.is(Defect::TheLogNeverRests) {
            return Some(scene.now);
        }
        process.storage.next_at(process.started_at)
    }

    /// How many turns of one instant its disk may need for the segments of the log alone.
    pub(super) fn upkeep_maximum(&self) -> u64 {
        let process = self.process.as_ref();
        process.map_or(0, |process| process.storage.upkeep_maximum())
    }

    // --- Looking in from outside ---

    /// What an operator does to the disk.
    pub(super) fn set_capacity(&mut self, spare_bytes: Option<usize>) {
        match &mut self.process {
            Some(process) => process.storage.set_capacity(spare_bytes),
            None => self.disk.capacity_bytes = None,
        }
    }
}

/// What an operator is told.
fn hear(shard: usize, event: Event, scene: &mut Scene) {
    match event {
        // The rules stay as they are.
        Event::Dropped {
            client_id,
            why: DropReason::NotAllowed,
            ..
        } => {
            let what = format!("something waited for {client_id} that it may not have");
            scene.oracle.fail(what);
        }
        Event::Dropped {
            client_id,
            tenant: None,
            count,
            ..
        } if !scene.mischief.is(Defect::DropsInSilence) => {
            let player = client_id.strip_prefix("player-");
            if let Some(player) = player.and_then(|index| index.parse().ok()) {
                scene.oracle.dropped(player, count);
            }
        }
        Event::Unreadable { message } if !scene.mischief.is(Defect::HidesAnError) => {
            scene.oracle.unreadable(message);
        }
        // A DISCONNECT may have come that was not heard.
        Event::Disconnected {
            connection, why, ..
        } => {
            let place = Some(Place { shard, connection });
            let mut lines = scene.network.lines.iter_mut();
            if let Some((id, line)) = lines.find(|(_, line)| line.closed_at == place) {
                line.is_cut |= match why {
                    // It was not read as long as the client took nothing.
                    CloseReason::KeepAlive => true,
                    // What stands behind a message that was refused so is not looked at.
                    CloseReason::Limit(..) if line.version != Version::V5 => {
                        scene.oracle.may_refuse_before_parting(*id)
                    }
                    _ => false,
                };
            }
        }
        _ => {}
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
