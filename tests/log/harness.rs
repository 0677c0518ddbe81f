//! A log, the disk below it and what was appended, for tests that read as stories.

use std::collections::BTreeMap;
use whimbrel_core::Timestamp;
use whimbrel_core::id::Position;
use whimbrel_core::log::{
    AppendError, Batch, BatchRef, BatchWriter, Engine, LogConfig, LogEvent, LogUuid, Marker, Op,
    Pressure, Recovery, RecoveryError, Summary,
};
use whimbrel_tests::{CrashStyle, Disk};

pub(crate) const UUID: LogUuid = LogUuid(*b"whimbrel-testlog");

pub(crate) type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// The smallest segments there are, and checkpoints after a few of them.
pub(crate) fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 16 << 10,
        checkpoint_min_bytes: 40 << 10,
        ..LogConfig::default()
    }
}

/// The disk stopped in the middle of an operation.
#[derive(Debug)]
pub(crate) struct Crashed(pub(crate) Box<Disk>);

/// What a log gives when it is opened.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// The batches, with their positions.
    pub(crate) batches: Vec<(u64, Vec<u8>)>,
    pub(crate) state: State,
}

impl Contents {
    pub(crate) fn last(&self) -> u64 {
        self.batches.last().map_or(0, |(position, _)| *position)
    }
}

/// When the machine is to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) step: u64,
    pub(crate) style: CrashStyle,
    pub(crate) seed: u64,
}

pub(crate) fn apply(state: &mut State, ops: &[u8]) {
    for op in BatchRef::new(ops) {
        match op.expect("batches are checked") {
            Op::Put { key, value } => state.insert(key.to_vec(), value.to_vec()),
            Op::Delete { key } => state.remove(key),
        };
    }
}

/// Drives a recovery to its end.
pub(crate) fn drive(
    recovery: &mut Recovery,
    disk: &mut Disk,
    stop: Option<Stop>,
) -> Result<Contents, Crashed> {
    let mut contents = Contents::default();
    loop {
        while let Some(recovered) = recovery.poll_batch() {
            let ops = recovered.batch.ops.to_vec();
            apply(&mut contents.state, &ops);
            contents.batches.push((recovered.batch.position.0, ops));
        }
        let Some(operation) = recovery.poll_operation() else {
            return Ok(contents);
        };
        if let Some(stop) = stop
            && disk.step_count == stop.step
        {
            let crashed = disk.crash(Some(&operation.action), stop.style, stop.seed);
            return Err(Crashed(Box::new(crashed)));
        }
        let id = operation.id;
        let result = disk.run(&operation.action);
        recovery.completed(id, result);
    }
}

/// Opens a log that must open.
pub(crate) fn open(config: &LogConfig, disk: Disk) -> (Log, Contents, Summary) {
    try_open(config, disk).unwrap_or_else(|error| panic!("the log does not open: {error}"))
}

pub(crate) fn try_open(
    config: &LogConfig,
    mut disk: Disk,
) -> Result<(Log, Contents, Summary), RecoveryError> {
    let mut recovery = Recovery::open(config.clone(), UUID);
    let contents = drive(&mut recovery, &mut disk, None).expect("nothing stops it");
    let (engine, summary) = recovery.into_engine()?;
    let log = Log {
        engine,
        disk,
        appended: vec![(0, contents.state.clone())],
        position: contents.last(),
        durable: contents.last(),
        events: Vec::new(),
        now: Timestamp(0),
        stop: None,
        poisoned: false,
        pressure: Pressure::None,
    };
    Ok((log, contents, summary))
}

pub(crate) fn verify(disk: &Disk) -> Result<Summary, RecoveryError> {
    let mut recovery = Recovery::verify();
    drive(&mut recovery, &mut disk.clone(), None).expect("nothing stops it");
    recovery.into_summary()
}

pub(crate) fn repair(disk: &mut Disk) -> Result<Summary, RecoveryError> {
    let mut recovery = Recovery::repair(UUID);
    drive(&mut recovery, disk, None).expect("nothing stops it");
    recovery.into_summary()
}

/// An open log.
pub(crate) struct Log {
    pub(crate) engine: Engine,
    pub(crate) disk: Disk,
    /// What there should be after each batch, by position; the first entry is what was recovered.
    pub(crate) appended: Vec<(u64, State)>,
    pub(crate) position: u64,
    pub(crate) durable: u64,
    pub(crate) events: Vec<LogEvent>,
    pub(crate) now: Timestamp,
    pub(crate) stop: Option<Stop>,
    pub(crate) poisoned: bool,
    pub(crate) pressure: Pressure,
}

impl Log {
    /// Appends operations: `None` deletes.
    pub(crate) fn append(&mut self, ops: &[(&[u8], Option<&[u8]>)]) -> Result<(), AppendError> {
        self.append_marked(Marker::None, ops)
    }

    pub(crate) fn append_marked(
        &mut self,
        marker: Marker,
        ops: &[(&[u8], Option<&[u8]>)],
    ) -> Result<(), AppendError> {
        let mut bytes = Vec::new();
        let mut batch = BatchWriter::new(&mut bytes);
        for (key, value) in ops {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        self.engine.append(Batch {
            shard: 0,
            position: Position(self.position + 1),
            marker,
            ops: &bytes,
        })?;
        self.position += 1;
        let mut state = self.state().clone();
        apply(&mut state, &bytes);
        self.appended.push((self.position, state));
        Ok(())
    }

    /// Sets one key and carries out what follows.
    pub(crate) fn put(&mut self, key: &str, value: &[u8]) {
        self.append(&[(key.as_bytes(), Some(value))]).unwrap();
        self.run();
    }

    /// Tells the log what is live, and says it.
    pub(crate) fn tell_live_bytes(&mut self) -> u64 {
        let values = self.state().values();
        let live = values.map(|value| value.len() as u64 + 60).sum();
        self.engine.set_live_bytes(live);
        live
    }

    /// What there should be now.
    pub(crate) fn state(&self) -> &State {
        &self.appended.last().expect("there is a first state").1
    }

    /// What there should be after the batch at `position`.
    pub(crate) fn state_at(&self, position: u64) -> &State {
        let found = self.appended.iter().rev().find(|(at, _)| *at <= position);
        &found.unwrap_or(&self.appended[0]).1
    }

    /// Carries out operations until there are none.
    pub(crate) fn run(&mut self) {
        self.try_run().expect("nothing stops it");
    }

    pub(crate) fn try_run(&mut self) -> Result<(), Crashed> {
        while self.step()? {}
        Ok(())
    }

    /// Carries out one operation, if there is one.
    pub(crate) fn step(&mut self) -> Result<bool, Crashed> {
        self.take_events();
        let Some(operation) = self.engine.poll_operation() else {
            self.take_events();
            return Ok(false);
        };
        if let Some(stop) = self.stop
            && self.disk.step_count == stop.step
        {
            let crashed = self
                .disk
                .crash(Some(&operation.action), stop.style, stop.seed);
            return Err(Crashed(Box::new(crashed)));
        }
        let id = operation.id;
        let result = self.disk.run(&operation.action);
        self.engine.completed(id, result);
        self.take_events();
        Ok(true)
    }

    /// Lets time pass up to the next deadline, or a second.
    pub(crate) fn wait(&mut self) {
        let later = self.now.after_ms(1_000);
        self.now = self.engine.next_deadline().unwrap_or(later).max(self.now);
        self.engine.advance(self.now);
    }

    fn take_events(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            match event {
                LogEvent::Durable { position, .. } => {
                    assert!(!self.poisoned, "nothing is durable after a failure");
                    assert!(position.0 > self.durable, "durable positions increase");
                    self.durable = position.0;
                }
                LogEvent::Poisoned(_) => self.poisoned = true,
                LogEvent::Pressure(pressure) => self.pressure = pressure,
                _ => {}
            }
            self.events.push(event);
        }
    }

    /// Whether this has been said; forgets it.
    pub(crate) fn heard(&mut self, event: LogEvent) -> bool {
        let before = self.events.len();
        self.events.retain(|heard| *heard != event);
        self.events.len() < before
    }

    /// Writes all that is live once more, a few keys a batch, running the log in between.
    pub(crate) fn checkpoint(&mut self) -> Result<(), Crashed> {
        self.append_marked(Marker::CheckpointBegin, &[]).unwrap();
        let keys: Vec<Vec<u8>> = self.state().keys().cloned().collect();
        for keys in keys.chunks(4) {
            let state = self.state().clone();
            let live: Vec<(&[u8], Option<&[u8]>)> = keys
                .iter()
                .filter_map(|key| Some((key.as_slice(), Some(state.get(key)?.as_slice()))))
                .collect();
            self.append(&live).unwrap();
            self.try_run()?;
        }
        self.append_marked(Marker::CheckpointEnd, &[]).unwrap();
        self.try_run()
    }
}

/// Reopens a disk and compares: a prefix that reaches at least to what was durable, and nothing
/// else.
pub(crate) fn check_prefix(config: &LogConfig, log: &Log, disk: Disk, what: &str) -> Disk {
    let (reopened, contents, summary) = match try_open(config, disk) {
        Ok(opened) => opened,
        Err(error) => panic!("{what}: {error}"),
    };
    check_contents(log, &contents, what);
    assert_eq!(summary.gaps, 0, "{what}");
    check_kept(config, &reopened.disk, &contents, what);
    reopened.disk
}

/// What was recovered is durable, whatever the system had only in memory before.
pub(crate) fn check_kept(config: &LogConfig, disk: &Disk, contents: &Contents, what: &str) {
    let after_power_cut = disk.crash(None, CrashStyle::LosesAll, 0);
    match try_open(config, after_power_cut) {
        Ok((_, kept, _)) => assert!(
            kept.state == contents.state,
            "{what}: recovered, then lost with the power"
        ),
        Err(error) => panic!("{what}: recovered, then with the power cut: {error}"),
    }
}

pub(crate) fn check_contents(log: &Log, contents: &Contents, what: &str) {
    let last = contents.last();
    assert!(
        last >= log.durable,
        "{what}: durable up to {}, recovered up to {last}",
        log.durable
    );
    assert!(last <= log.position, "{what}: {last} was never appended");
    let first = contents.batches.first().map_or(1, |(first, _)| *first);
    let expected: Vec<u64> = (first..=last).collect();
    let positions: Vec<u64> = contents.batches.iter().map(|batch| batch.0).collect();
    assert_eq!(positions, expected[..positions.len()], "{what}");
    assert!(
        contents.state == *log.state_at(last),
        "{what}: the state differs"
    );
}
