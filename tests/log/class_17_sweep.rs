//! Every bit flipped, every length cut, blocks zeroed, doubled and swapped: what comes of it is
//! compared with an oracle that knows the layout of the file and nothing of the code that reads it.

use crate::harness::{Contents, Log, drive, open, small, try_open, verify};
use whimbrel_core::log::{LogEnd, Recovery, RecoveryError, Summary};
use whimbrel_tests::{CrashStyle, Disk, Random};

const HEADER: usize = 4096;

/// One frame, as `docs/log-format.md` describes it.
#[derive(Clone, Debug)]
struct Frame {
    file: String,
    start: usize,
    end: usize,
    kind: u8,
    lsn: u64,
    durable: u64,
}

/// What must come of a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// Nothing that counts was hit.
    Same,
    /// These batches remain, the rest was never promised.
    Cut(usize),
    Corrupt,
}

/// A log of several lives: each leaves a segment that ends where its frames end.
struct Sample {
    disk: Disk,
    batches: Vec<(u64, Vec<u8>)>,
    frames: Vec<Frame>,
    /// Segments, with the number of their first frame.
    segments: Vec<(String, u64)>,
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

impl Sample {
    fn new(disk: Disk) -> Self {
        let (_, contents, _) = try_open(&small(), disk.clone()).unwrap();
        let mut frames = Vec::new();
        let mut segments = Vec::new();
        for name in disk.file_names() {
            let bytes = disk.file(name).unwrap();
            if bytes[..8] == [0; 8] {
                continue;
            }
            segments.push((name.to_owned(), number(bytes, 48)));
            let mut at = HEADER;
            while at + 40 <= bytes.len() && bytes[at + 12] != 0 {
                let body = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap());
                let end = at + 40 + (body as usize).next_multiple_of(8);
                frames.push(Frame {
                    file: name.to_owned(),
                    start: at,
                    end,
                    kind: bytes[at + 12],
                    lsn: number(bytes, at + 16),
                    durable: number(bytes, at + 24),
                });
                at = end;
            }
        }
        Self {
            disk,
            batches: contents.batches,
            frames,
            segments,
        }
    }

    /// Frames from here on do not count in this file.
    fn limit(&self, file: &str) -> u64 {
        let later = self
            .segments
            .iter()
            .filter(|(name, _)| name.as_str() > file);
        later.map(|(_, base)| *base).min().unwrap_or(u64::MAX)
    }

    /// How many batches come before this frame.
    fn batches_before(&self, lsn: u64) -> usize {
        let counts = |frame: &&Frame| frame.lsn < lsn && frame.lsn < self.limit(&frame.file);
        let batches = self
            .frames
            .iter()
            .filter(counts)
            .filter(|frame| frame.kind == 1);
        batches.count()
    }

    /// What comes of damage to some bytes of a file, when every frame it touches is lost.
    fn expect(&self, file: &str, from: usize, to: usize, is_header_kept: bool) -> Expect {
        let newest = &self.segments.last().unwrap().0;
        if from < 76 && self.segments.iter().any(|(name, _)| name == file) {
            return self.expect_of_header(file);
        }
        let touched = |frame: &&Frame| frame.file == file && frame.start < to && from < frame.end;
        let touched: Vec<&Frame> = self.frames.iter().filter(touched).collect();
        let limit = self.limit(file);
        let Some(first) = touched.iter().find(|frame| frame.lsn < limit) else {
            return Expect::Same;
        };
        let speaks = |frame: &&Frame| {
            is_header_kept
                || !touched
                    .iter()
                    .any(|t| t.start == frame.start && t.file == frame.file)
        };
        let witnesses = self.frames.iter().filter(speaks).map(|frame| frame.durable);
        let headers = self.segments.iter().map(|(_, base)| base - 1);
        let proven = witnesses.chain(headers).max().unwrap_or(0);
        if first.kind == 2 && file == newest {
            return Expect::Same;
        }
        if proven >= first.lsn {
            Expect::Corrupt
        } else {
            Expect::Cut(self.batches_before(first.lsn))
        }
    }

    /// Without its header the newest segment is known by its frames only.
    fn expect_of_header(&self, file: &str) -> Expect {
        let base = self
            .segments
            .iter()
            .find(|(name, _)| name == file)
            .unwrap()
            .1;
        if self.limit(file) != u64::MAX {
            return Expect::Corrupt;
        }
        // The segment before was shortened when this one was complete.
        let before = self.segments.iter().rev().nth(1);
        let is_cut = before.is_some_and(|(name, _)| {
            let bytes = self.disk.file(name).unwrap();
            (bytes.len() as u64) < number(bytes, 64)
        });
        let proven = self
            .frames
            .iter()
            .map(|frame| frame.durable)
            .max()
            .unwrap_or(0);
        if is_cut || proven >= base {
            Expect::Corrupt
        } else {
            Expect::Cut(self.batches_before(base))
        }
    }

    fn check(&self, damaged: Disk, expect: Expect, what: &str) {
        let (contents, verdict) = read(damaged.clone());
        match expect {
            Expect::Corrupt => {
                let Err(RecoveryError::Corrupt(damage)) = verdict else {
                    panic!("{what}: {verdict:?} instead of corruption");
                };
                assert!(!damage.to_string().is_empty());
            }
            Expect::Same | Expect::Cut(_) => {
                let kept = match expect {
                    Expect::Cut(kept) => kept,
                    Expect::Same | Expect::Corrupt => self.batches.len(),
                };
                let summary = verdict.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(contents.batches, self.batches[..kept], "{what}");
                if kept < self.batches.len() {
                    assert!(matches!(summary.end, LogEnd::Torn { .. }), "{what}");
                }
                let (_, opened, _) = try_open(&small(), damaged).unwrap();
                assert_eq!(opened.batches, contents.batches, "{what}");
            }
        }
    }

    fn tampered(&self, file: &str, change: impl FnOnce(&mut Vec<u8>)) -> Disk {
        let mut disk = self.disk.clone();
        disk.tamper(file, change);
        disk
    }
}

fn read(mut disk: Disk) -> (Contents, Result<Summary, RecoveryError>) {
    let mut recovery = Recovery::verify();
    let contents = drive(&mut recovery, &mut disk, None).unwrap();
    (contents, recovery.into_summary())
}

/// Four lives: one closed in order, one that ends in the middle, one empty, one whose last commit
/// nobody has witnessed.
fn lives() -> Disk {
    let (mut log, ..) = open(&small(), Disk::default());
    log.put("a", b"first");
    log.put("b", &[7; 90]);
    log.engine.close();
    log.run();
    let (mut log, ..) = open(&small(), log.disk);
    log.put("c", b"second life");
    log.append(&[(b"d", Some(b"1")), (b"a", None)]).unwrap();
    log.append(&[(b"e", Some(b"2"))]).unwrap();
    log.run();
    let disk = log.disk.crash(None, CrashStyle::KeepsAll, 0);
    let (log, ..) = open(&small(), disk);
    let (mut log, ..) = open(&small(), log.disk);
    log.put("f", b"third");
    log.append(&[(b"g", Some(b"unwitnessed"))]).unwrap();
    log.append(&[(b"h", Some(b"also"))]).unwrap();
    log.run();
    log.disk.crash(None, CrashStyle::KeepsAll, 0)
}

/// One life over a few segments.
fn rotations() -> Disk {
    let (mut log, ..) = open(&small(), Disk::default());
    for round in 0..9 {
        log.put("k", &vec![round; 4_500]);
        log.append(&[(b"small", Some(&[round]))]).unwrap();
    }
    log.run();
    log.disk.crash(None, CrashStyle::KeepsAll, 0)
}

#[test]
fn every_bit_flipped() {
    let sample = Sample::new(lives());
    assert!(sample.batches.len() > 6 && sample.segments.len() > 2);
    for (file, _) in sample.segments.clone() {
        let length = sample.disk.file(&file).unwrap().len();
        let used = sample.frames.iter().filter(|frame| frame.file == file);
        let used = used.map(|frame| frame.end).max().unwrap_or(HEADER);
        let spots = (0..80).chain(HEADER - 8..(used + 120).min(length));
        for spot in spots {
            for bit in 0..8 {
                let damaged = sample.tampered(&file, |bytes| bytes[spot] ^= 1 << bit);
                let expect = expect_of_flip(&sample, &file, spot);
                sample.check(damaged, expect, &format!("{file} byte {spot} bit {bit}"));
            }
        }
    }
}

/// A flip in a body leaves the header of its frame readable, and with it what it witnesses.
fn expect_of_flip(sample: &Sample, file: &str, spot: usize) -> Expect {
    let frame = sample
        .frames
        .iter()
        .find(|frame| frame.file == file && (frame.start..frame.end).contains(&spot));
    let in_body = frame.is_some_and(|frame| spot >= frame.start + 40);
    sample.expect(file, spot, spot + 1, in_body)
}

#[test]
fn bits_flipped_across_rotations() {
    let sample = Sample::new(rotations());
    assert!(sample.segments.len() > 3);
    let mut random = Random::new(1);
    for (file, _) in sample.segments.clone() {
        let length = sample.disk.file(&file).unwrap().len();
        for _ in 0..250 {
            let spot = random.below(length);
            let bit = random.below(8);
            let damaged = sample.tampered(&file, |bytes| bytes[spot] ^= 1 << bit);
            let expect = expect_of_flip(&sample, &file, spot);
            sample.check(damaged, expect, &format!("{file} byte {spot} bit {bit}"));
        }
    }
}

/// Every single one with `WHIMBREL_SWEEP=1`, which takes minutes; else some.
#[test]
fn every_length() {
    let is_whole = std::env::var_os("WHIMBREL_SWEEP").is_some_and(|value| value == "1");
    let step = if is_whole { 1 } else { 41 };
    for disk in [lives(), rotations()] {
        let sample = Sample::new(disk);
        let newest = sample.segments.last().unwrap().0.clone();
        for (file, _) in sample.segments.clone() {
            let length = sample.disk.file(&file).unwrap().len();
            for cut in (0..length).filter(|cut| cut % step == 0 || *cut < 90) {
                let damaged = sample.tampered(&file, |bytes| bytes.truncate(cut));
                let hit = sample.expect(&file, cut, length, false);
                let expect = if file == newest && cut >= 76 {
                    // Its size was known to be durable.
                    Expect::Corrupt
                } else if cut < 76 {
                    sample.expect_without(&file)
                } else {
                    hit
                };
                sample.check(damaged, expect, &format!("{file} cut to {cut}"));
            }
        }
    }
}

impl Sample {
    /// A file without header and frames is as good as lost.
    fn expect_without(&self, file: &str) -> Expect {
        if self.limit(file) != u64::MAX {
            return Expect::Corrupt;
        }
        let sealed = self
            .frames
            .iter()
            .any(|frame| frame.kind == 2 && frame.lsn == self.segments.last().unwrap().1);
        if sealed {
            return Expect::Corrupt;
        }
        self.expect_of_header(file)
    }
}

#[test]
fn every_file_lost() {
    for disk in [lives(), rotations()] {
        let sample = Sample::new(disk);
        for (file, _) in &sample.segments {
            let mut damaged = sample.disk.clone();
            damaged.lose(file);
            let expect = sample.expect_without(file);
            assert_eq!(expect, Expect::Corrupt, "{file}");
            sample.check(damaged, expect, file);
        }
    }
}

#[test]
fn blocks_zeroed_doubled_and_swapped() {
    for disk in [lives(), rotations()] {
        let sample = Sample::new(disk);
        for (file, _) in sample.segments.clone() {
            let bytes = sample.disk.file(&file).unwrap().to_vec();
            let blocks = bytes.len() / 512;
            for block in 0..blocks {
                let (from, to) = (block * 512, block * 512 + 512);
                let mut changed = bytes.clone();
                changed[from..to].fill(0);
                check_blocks(&sample, &file, &bytes, changed, "zeroed");
                if block + 1 < blocks {
                    let mut changed = bytes.clone();
                    changed.copy_within(from..to, to);
                    check_blocks(&sample, &file, &bytes, changed, "doubled");
                    let mut changed = bytes.clone();
                    let (left, right) = changed.split_at_mut(to);
                    left[from..].swap_with_slice(&mut right[..512]);
                    check_blocks(&sample, &file, &bytes, changed, "swapped");
                }
            }
        }
    }
}

fn check_blocks(sample: &Sample, file: &str, old: &[u8], new: Vec<u8>, what: &str) {
    let differs = |at: &usize| old[*at] != new[*at];
    let Some(from) = (0..old.len()).find(differs) else {
        return;
    };
    let to = (0..old.len()).rev().find(differs).unwrap() + 1;
    let what = format!("{file}: {what} {from}..{to}");
    let damaged = sample.tampered(file, |bytes| *bytes = new);
    let expect = sample.expect(file, from, to, false);
    // Frames that are touched may still speak with their headers: both verdicts are right then.
    let strict = sample.expect(file, from, to, true);
    if expect == strict {
        return sample.check(damaged, expect, &what);
    }
    let (contents, verdict) = read(damaged);
    match verdict {
        Ok(_) => {
            let Expect::Cut(kept) = expect else {
                panic!("{what}: not reported");
            };
            assert_eq!(contents.batches.len(), kept, "{what}");
        }
        Err(error) => assert!(matches!(error, RecoveryError::Corrupt(_)), "{what}"),
    }
}

#[test]
fn foreign_segments_are_refused() {
    let sample = Sample::new(rotations());
    let other = {
        let mut recovery =
            Recovery::open(small(), whimbrel_core::log::LogUuid(*b"a different log."));
        let mut disk = Disk::default();
        drive(&mut recovery, &mut disk, None).unwrap();
        disk
    };
    for (file, _) in &sample.segments {
        let foreign = other.file("seg-0000000000000001").unwrap().to_vec();
        let damaged = sample.tampered(file, |bytes| *bytes = foreign);
        assert!(matches!(
            verify(&damaged),
            Err(RecoveryError::Foreign { .. })
        ));
    }
    // An older segment under a newer name.
    let old = sample.disk.file(&sample.segments[0].0).unwrap().to_vec();
    let damaged = sample.tampered("seg-00000000000000ff", |bytes| *bytes = old);
    assert!(matches!(
        verify(&damaged),
        Err(RecoveryError::Foreign { .. })
    ));
}

#[test]
fn frames_of_another_place_are_not_believed() {
    let sample = Sample::new(rotations());
    let (first, second) = (&sample.segments[0].0, &sample.segments[1].0);
    let spliced = sample.disk.file(first).unwrap()[HEADER..].to_vec();
    let length = sample.disk.file(second).unwrap().len();
    let damaged = sample.tampered(second, |bytes| {
        bytes[HEADER..].copy_from_slice(&spliced[..length - HEADER]);
    });
    sample.check(damaged, Expect::Corrupt, "spliced");
}

#[test]
fn any_bytes_are_read_without_panic() {
    let mut random = Random::new(3);
    let sample = Sample::new(rotations());
    let names: Vec<String> = sample
        .segments
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    for _ in 0..200 {
        let mut disk = sample.disk.clone();
        for _ in 0..=random.below(6) {
            let file = &names[random.below(names.len())];
            disk.tamper(file, |bytes| {
                let at = random.below(bytes.len());
                let end = (at + random.below(600)).min(bytes.len());
                for byte in &mut bytes[at..end] {
                    *byte = random.next() as u8;
                }
            });
        }
        if let Ok((mut log, contents, _)) = try_open(&small(), disk.clone()) {
            assert_eq!(contents.batches, sample.batches[..contents.batches.len()]);
            log.put("goes", b"on");
        }
        let mut repaired = disk;
        if crate::harness::repair(&mut repaired).is_ok() {
            let (mut log, ..): (Log, _, _) = open(&small(), repaired);
            log.put("goes", b"on");
        }
    }
}
