//! What is read back after a crash: records and logs, from bytes that may be anything.

use super::script::Script;
use crate::disk::Disk;
use crate::world::START;
use whimbrel_core::action::Peer;
use whimbrel_core::id::Position;
use whimbrel_core::log::{
    Batch, BatchWriter, Engine, LogConfig, LogUuid, Marker, OnCorruption, Recovery, RecoveryError,
    SyncPolicy,
};
use whimbrel_core::restore::Restorer;
use whimbrel_core::{Broker, Config, Now, Timestamp};

/// Operations of the disk in which any recovery of these small logs must have come to its end.
const STEPS: usize = 20_000;

/// Records as a log may hold them: written by another version, or by nobody.
pub fn restore(data: &[u8]) {
    let mut script = Script::new(data);
    let mut restorer = match script.flag() {
        true => Restorer::within(u64::from(script.u8())),
        false => Restorer::new(),
    };
    if script.flag() {
        // Bytes as they are.
        let _ = restorer.apply(script.take(usize::MAX));
    } else {
        // Well-formed operations with any keys and values.
        while !script.is_over() {
            let mut operations = Vec::new();
            let mut writer = BatchWriter::new(&mut operations);
            for _ in 0..=script.below(4) {
                let key = [&[script.choose(b"BCSUMQIRx\xD0")], script.counted()].concat();
                if script.below(5) == 0 {
                    writer.delete(&key);
                } else {
                    writer.put(&key, script.counted());
                }
            }
            let _ = restorer.apply(&operations);
        }
    }
    let now = Now {
        monotonic: Timestamp(0),
        wall: START,
    };
    let config = Config {
        durable: true,
        ..Config::default()
    };
    let mut broker = Broker::restore(config, 1, now, restorer).expect("the default can run");
    // It runs: somebody comes, and a day passes.
    let id = broker.accept(now, Peer::default());
    broker.receive(
        now,
        id,
        b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a\x82\x06\0\x01\0\x01#\x02",
    );
    for hour in 0..25 {
        let now = Now {
            monotonic: Timestamp(hour * 3_600_000),
            wall: START.after_s(hour * 3_600),
        };
        broker.advance(now);
        let mut bytes = Vec::new();
        broker.transmit(now, id, &mut bytes);
        while broker.poll_action().is_some() {}
    }
}

/// A log is written, its files are damaged, and it is read back.
pub fn recover(data: &[u8]) {
    let mut script = Script::new(data);
    let mut disk = Disk::default();
    let mut written = Vec::new();
    let mut config = LogConfig {
        segment_bytes: 16 << 10,
        sync: script.choose(&[SyncPolicy::Always, SyncPolicy::Never]),
        ..LogConfig::default()
    };
    let (mut engine, found) = open(&config, &mut disk).expect("an empty directory is a log");
    assert!(found.is_empty());
    for position in 1..=script.below(24) as u64 {
        let seed = script.u8();
        // Of very different lengths; all together fill some segments.
        let length = usize::from(seed) << (seed % 4);
        let mut ops = Vec::new();
        BatchWriter::new(&mut ops).put(&[seed], &vec![seed; length]);
        let batch = Batch {
            shard: 0,
            position: Position(position),
            marker: Marker::None,
            ops: &ops,
        };
        engine
            .append(batch)
            .expect("it is open, and the batch small");
        work(&mut engine, &mut disk);
        written.push(ops);
    }
    if script.flag() {
        engine.close();
        work(&mut engine, &mut disk);
    }
    drop(engine);
    let damaged = damage(&mut script, &mut disk);
    if script.flag() {
        config.on_corruption = OnCorruption::Quarantine;
    }
    check_recovery(&config, &mut disk, &written, damaged);
}

fn check_recovery(config: &LogConfig, disk: &mut Disk, written: &[Vec<u8>], damaged: bool) {
    let (_, verified) = read(Recovery::verify(), disk);
    for batch in &verified {
        assert!(
            written.contains(batch),
            "nothing is read that was not written"
        );
    }
    let outcome = open(config, disk);
    if !damaged {
        assert!(outcome.is_ok(), "{:?}", outcome.err());
    }
    let Ok((mut engine, found)) = outcome else {
        return;
    };
    for batch in &found {
        assert!(
            written.contains(batch),
            "nothing is read that was not written"
        );
    }
    if !damaged {
        assert_eq!(found, written, "what was written is read");
    }
    // The log goes on: what is appended now is there the next time, behind what was found.
    let mut ops = Vec::new();
    BatchWriter::new(&mut ops).put(b"new", b"value");
    let batch = Batch {
        shard: 0,
        position: Position(1_000),
        marker: Marker::None,
        ops: &ops,
    };
    engine.append(batch).expect("it was opened");
    work(&mut engine, disk);
    drop(engine);
    let (_, again) = open(config, disk).expect("the log was in order a moment ago");
    assert_eq!(again, [found, vec![ops]].concat());
}

/// Changes files; whether anything is different then.
fn damage(script: &mut Script<'_>, disk: &mut Disk) -> bool {
    let before = disk.clone();
    while !script.is_over() {
        let names: Vec<String> = disk.file_names().map(str::to_owned).collect();
        if names.is_empty() {
            return true;
        }
        let name = &names[script.below(names.len())];
        let length = disk.file(name).map_or(0, <[u8]>::len);
        let at = usize::from(script.u16()) % (length + 1);
        match script.below(8) {
            0 => disk.lose(name),
            1 => disk.tamper(name, |bytes| bytes.truncate(at)),
            2 => {
                let bytes = disk.file(name).unwrap_or_default().to_vec();
                let copy = format!("seg-{:016x}", script.u8());
                disk.tamper(&copy, |other| *other = bytes);
            }
            3 => {
                let inserted = script.counted().to_vec();
                disk.tamper(name, |bytes| drop(bytes.splice(at..at, inserted)));
            }
            4 => {
                let zeros = at + script.below(256);
                disk.tamper(name, |bytes| {
                    let end = zeros.min(bytes.len());
                    bytes[at.min(end)..end].fill(0);
                });
            }
            _ => {
                let mask = script.u8();
                disk.tamper(name, |bytes| {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= mask;
                    }
                });
            }
        }
    }
    !disk.file_names().eq(before.file_names())
        || disk
            .file_names()
            .any(|name| disk.file(name) != before.file(name))
}

/// Opens the log; what it held.
fn open(config: &LogConfig, disk: &mut Disk) -> Result<(Engine, Vec<Vec<u8>>), RecoveryError> {
    let recovery = Recovery::open(config.clone(), LogUuid([7; 16]));
    let (recovery, found) = read(recovery, disk);
    let (engine, _) = recovery.into_engine()?;
    Ok((engine, found))
}

fn read(mut recovery: Recovery, disk: &mut Disk) -> (Recovery, Vec<Vec<u8>>) {
    let mut found = Vec::new();
    for _ in 0..STEPS {
        while let Some(recovered) = recovery.poll_batch() {
            found.push(recovered.batch.ops.to_vec());
        }
        let Some(operation) = recovery.poll_operation() else {
            return (recovery, found);
        };
        let id = operation.id;
        let result = disk.run(&operation.action);
        recovery.completed(id, result);
    }
    panic!("recovery does not end");
}

/// Lets the log do all it wants.
fn work(engine: &mut Engine, disk: &mut Disk) {
    for _ in 0..STEPS {
        while engine.poll_event().is_some() {}
        let Some(operation) = engine.poll_operation() else {
            return;
        };
        let id = operation.id;
        let result = disk.run(&operation.action);
        engine.completed(id, result);
    }
    panic!("the log does not come to rest");
}
