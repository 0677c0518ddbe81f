//! Writing what a shard records: a ring of files, on a thread of its own, which the shard never
//! waits for.
//!
//! Each part of a recording is a file, named after the recording, the shard and a number that
//! counts up: `incident.0.000007`. When there is no room for another one, the oldest gets its name
//! and is written over: that the disk has a place for it, and the system memory, is most of what
//! writing costs.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use tracing::{error, info, warn};
use whimbrel_core::recording::{Chunk, Mark, PART_HEADER_BYTES, RecordOptions, RecordedBroker};
use whimbrel_core::runtime::RecordingConfig;
use whimbrel_host::Threads;

/// Chunks of about a mebibyte, beginnings and ends of parts that wait for the disk; as many again
/// wait in the core before a part is given up.
const CHUNKS_MAX: usize = 8;

/// For how long what is no full chunk stays in memory, in milliseconds, while the shard has work.
const FLUSH_MS: u64 = 200;

/// How long nothing is recorded when it cannot be written.
const RETRY_MS: u64 = 10_000;

/// The same when the state has no room: to see whether it has, all of it is copied, which is a
/// pause of a millisecond for each MiB.
const RETRY_LARGE_MS: u64 = 60_000;

/// How much of the ring a part may be, so that there are always some complete ones.
const PARTS: u64 = 8;

/// How much of the ring a part may be at most, however large the state is: beside one of that size
/// another one has room.
const SHARE: u64 = 2;

/// How often the state that a part begins with has to fit into it.
const STATES: u64 = RecordOptions::STATES_IN_A_PART;

/// The shard's end.
pub(crate) struct Recorder {
    chunks: Option<SyncSender<Chunk>>,
    /// Buffers that were written.
    written: Receiver<Vec<u8>>,
    /// What the writer has no room for.
    held: Option<Chunk>,
    flush_at: u64,
    /// The writer could not write.
    has_failed: Arc<AtomicBool>,
    /// When to try again.
    resume_at: Option<u64>,
    part_bytes_maximum: u64,
    shards: u64,
    has_warned: bool,
}

impl Recorder {
    /// Begins to record, on a thread of its own.
    pub(crate) fn start(
        config: &RecordingConfig,
        (shard, shards): (u16, usize),
        broker: &mut RecordedBroker,
        threads: &Threads,
    ) -> io::Result<Self> {
        let shards = shards.max(1) as u64;
        let config = RecordingConfig {
            ring_bytes: config.ring_bytes / shards,
            ..config.clone()
        };
        let mut ring = Ring::open(&config, shard)?;
        // Whoever starts hears at once that it cannot be done.
        ring.begin()?;
        let has_failed = Arc::new(AtomicBool::new(false));
        let failed = Arc::clone(&has_failed);
        let part_bytes_maximum = config.ring_bytes / SHARE;
        let (sender, chunks) = sync_channel(CHUNKS_MAX);
        let (spares, written) = sync_channel(CHUNKS_MAX);
        threads.spawn(&format!("recording-{shard}"), shard, move || {
            ring.run(&chunks, &spares, &failed);
        })?;
        broker.record(RecordOptions {
            part_bytes: config.ring_bytes / PARTS,
            part_bytes_maximum,
            redact_payloads: config.redact_payloads,
        });
        Ok(Self {
            chunks: Some(sender),
            written,
            held: None,
            flush_at: 0,
            has_failed,
            resume_at: None,
            part_bytes_maximum,
            shards,
            has_warned: false,
        })
    }

    /// Hands over what is recorded, without waiting. Called once a turn; gives when to call it
    /// again even if nothing else happens.
    pub(crate) fn hand_over(&mut self, broker: &mut RecordedBroker, now_ms: u64) -> Option<u64> {
        self.hand_over_chunks(broker, now_ms);
        (self.held.is_some() || broker.has_unwritten()).then_some(self.flush_at)
    }

    fn hand_over_chunks(&mut self, broker: &mut RecordedBroker, now_ms: u64) {
        if self.has_failed.swap(false, Ordering::Relaxed) {
            broker.suspend_recording();
            self.resume_at = Some(now_ms + RETRY_MS);
        }
        if self.resume_at.is_some_and(|at| at <= now_ms) {
            self.resume_at = None;
            broker.resume_recording();
        }
        while let Ok(buffer) = self.written.try_recv() {
            broker.reuse(buffer);
        }
        let all = now_ms >= self.flush_at;
        if all {
            self.flush_at = now_ms + FLUSH_MS;
        }
        while let Some(chunks) = &self.chunks
            && let Some(chunk) = self.held.take().or_else(|| broker.poll_chunk(all))
        {
            if let Chunk::StateTooLarge(bytes) = chunk {
                self.resume_at = Some(now_ms + RETRY_LARGE_MS);
                if !core::mem::replace(&mut self.has_warned, true) {
                    warn!(
                        state_bytes = bytes,
                        state_bytes_maximum = self.part_bytes_maximum / STATES,
                        "nothing is recorded: what the broker keeps in memory takes more than its \
                         share of the files; give it --record-size {}",
                        (bytes.saturating_mul(self.shards * SHARE * STATES) >> 20) + 1
                    );
                }
                continue;
            }
            match chunks.try_send(chunk) {
                Ok(()) => {}
                Err(TrySendError::Full(chunk)) => {
                    self.held = Some(chunk);
                    return;
                }
                // It has said why.
                Err(TrySendError::Disconnected(_)) => {
                    broker.end_recording();
                    self.chunks = None;
                }
            }
        }
    }

    /// Hands over everything. The shard is ending, so it may wait.
    pub(crate) fn finish(&mut self, broker: &mut RecordedBroker) {
        let Some(chunks) = self.chunks.take() else {
            return;
        };
        while let Some(chunk) = self.held.take().or_else(|| broker.poll_chunk(true)) {
            if chunks.send(chunk).is_err() {
                return;
            }
        }
    }
}

/// The files of one shard, and what they take.
struct Ring {
    config: RecordingConfig,
    shard: u16,
    /// Oldest first, with their sizes.
    parts: VecDeque<(PathBuf, u64)>,
    number: u64,
    open: Option<Part>,
}

/// The part that is being written.
struct Part {
    file: File,
    mark: Mark,
    written: u64,
}

impl Ring {
    /// Goes on behind what an earlier process has recorded under that name.
    fn open(config: &RecordingConfig, shard: u16) -> io::Result<Self> {
        let mut parts = Vec::new();
        for entry in fs::read_dir(directory_of(&config.file))? {
            let entry = entry?;
            if let Some(number) = number_of(&entry.path(), &config.file, shard) {
                parts.push((number, entry.path(), entry.metadata()?.len()));
            }
        }
        parts.sort_unstable();
        Ok(Self {
            config: config.clone(),
            shard,
            number: parts.last().map_or(0, |(number, ..)| *number),
            parts: parts
                .into_iter()
                .map(|(_, path, size)| (path, size))
                .collect(),
            open: None,
        })
    }

    fn run(
        mut self,
        chunks: &Receiver<Chunk>,
        written: &SyncSender<Vec<u8>>,
        has_failed: &AtomicBool,
    ) {
        let mut is_told = false;
        while let Ok(chunk) = chunks.recv() {
            if let Err(error) = self.write(&chunk) {
                let file = self.config.file.display();
                // What comes until the next part begins belongs to none.
                self.open = None;
                has_failed.store(true, Ordering::Relaxed);
                if !core::mem::replace(&mut is_told, true) {
                    error!(%error, "{file} cannot be written; a new part is tried every 10 s");
                }
            } else if matches!(chunk, Chunk::Frame(_))
                && self.open.is_some()
                && core::mem::take(&mut is_told)
            {
                info!("recorded again");
            }
            if let Chunk::Frame(bytes) = chunk {
                // When the shard has enough of them, it goes.
                drop(written.try_send(bytes));
            }
        }
    }

    fn write(&mut self, chunk: &Chunk) -> io::Result<()> {
        match chunk {
            Chunk::Begin => self.begin(),
            Chunk::Frame(bytes) => {
                let Some(part) = &self.open else {
                    return Ok(());
                };
                let header = part.mark.frame_header(bytes);
                self.append(&header)?;
                self.append(bytes)
            }
            Chunk::End => self.end(),
            // Said by whoever hands over.
            Chunk::StateTooLarge(_) => Ok(()),
            Chunk::GivenUp => {
                // It was not for want of writing, and it was told why.
                if self.open.is_some() {
                    warn!("the recording does not keep up: a part of it ends early");
                }
                self.end()
            }
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        let is_fresh = |part: &Part| part.written == PART_HEADER_BYTES as u64;
        if self.open.as_ref().is_some_and(is_fresh) {
            // The first one was begun when the broker started.
            return Ok(());
        }
        self.end()?;
        self.number += 1;
        let mut name = self.config.file.clone().into_os_string();
        name.push(format!(".{}.{:06}", self.shard, self.number));
        let path = PathBuf::from(name);
        let mut options = OpenOptions::new();
        options.write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        // Of a process that had more room: they would be too large to be written over.
        let part_bytes_maximum = self.config.ring_bytes / SHARE;
        let is_too_large = |(_, size): &(_, u64)| *size > part_bytes_maximum;
        while self.parts.front().is_some_and(is_too_large) && self.remove_oldest()? {}
        // Parts are a little larger than a share, and one more has to have room.
        let share = self.config.ring_bytes / PARTS;
        let is_full = self.bytes() + share + share / 8 > self.config.ring_bytes;
        let mut size = 0;
        if is_full
            && self.parts.len() > 1
            && let Some((oldest, oldest_size)) = self.parts.pop_front()
        {
            // Somebody may have put it away.
            match fs::rename(oldest, &path) {
                Ok(()) => size = oldest_size,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    options.create_new(true);
                }
                Err(error) => return Err(error),
            }
        } else {
            options.create_new(true);
        }
        let mark = Mark::of_part(self.number);
        self.open = Some(Part {
            file: options.open(&path)?,
            mark,
            written: 0,
        });
        info!(part = %path.display(), "recording");
        self.parts.push_back((path, size));
        self.append(&mark.part_header())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (Some(part), Some((_, size))) = (&mut self.open, self.parts.back_mut()) else {
            return Ok(());
        };
        let end = part.written + bytes.len() as u64;
        *size = end.max(*size);
        while self.bytes() > self.config.ring_bytes && self.remove_oldest()? {}
        while let Some(part) = &mut self.open {
            let outcome = part.file.write_all(bytes);
            match outcome {
                Ok(()) => {
                    part.written = end;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    // Some of it may be there.
                    part.file.seek(SeekFrom::Start(part.written))?;
                    if !self.remove_oldest()? {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes the oldest part, unless it is the one that is being written; tells whether there was
    /// one. Somebody may have put it away before.
    fn remove_oldest(&mut self) -> io::Result<bool> {
        if self.parts.len() < 2 {
            return Ok(false);
        }
        let Some((oldest, _)) = self.parts.pop_front() else {
            return Ok(false);
        };
        match fs::remove_file(oldest) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(true),
        }
    }

    /// Cuts off what is left of an older part.
    fn end(&mut self) -> io::Result<()> {
        if let (Some(part), Some((_, size))) = (self.open.take(), self.parts.back_mut()) {
            part.file.set_len(part.written)?;
            *size = part.written;
        }
        Ok(())
    }

    /// What all parts take.
    fn bytes(&self) -> u64 {
        self.parts.iter().map(|(_, size)| size).sum()
    }
}

fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Which part of a shard's recording a file is.
fn number_of(path: &Path, file: &Path, shard: u16) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let rest = name.strip_prefix(file.file_name()?.to_str()?)?;
    let rest = rest.strip_prefix(&format!(".{shard}."))?;
    rest.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use whimbrel_core::recording::FRAME_HEADER_BYTES;

    /// A directory of this test, which goes with it.
    struct Place(PathBuf);

    impl Place {
        fn new() -> Self {
            static COUNT: AtomicU64 = AtomicU64::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("whimbrel-ring-{}-{number}", std::process::id());
            let place = std::env::temp_dir().join(name);
            fs::create_dir(&place).unwrap();
            Self(place)
        }

        fn ring(&self, ring_bytes: u64) -> Ring {
            let config = RecordingConfig {
                ring_bytes,
                ..RecordingConfig::new(self.0.join("incident"))
            };
            Ring::open(&config, 0).unwrap()
        }

        /// The numbers of the parts there are, and what they take.
        fn parts(&self) -> (Vec<u64>, u64) {
            let entries = fs::read_dir(&self.0).unwrap().map(Result::unwrap);
            let mut parts: Vec<_> = entries
                .map(|entry| {
                    let number = number_of(&entry.path(), Path::new("incident"), 0).unwrap();
                    (number, entry.metadata().unwrap().len())
                })
                .collect();
            parts.sort_unstable();
            let (numbers, sizes): (_, Vec<u64>) = parts.into_iter().unzip();
            (numbers, sizes.iter().sum())
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn frame(bytes: usize) -> Chunk {
        Chunk::Frame(vec![7; bytes])
    }

    #[test]
    fn the_ring_takes_no_more_than_it_may_at_any_time() {
        let place = Place::new();
        let mut ring = place.ring(10_000);
        for part in 0..50 {
            ring.write(&Chunk::Begin).unwrap();
            for bytes in [100, 40 * part, 900] {
                ring.write(&frame(bytes)).unwrap();
                let (_, bytes) = place.parts();
                assert!(bytes <= 10_000, "{bytes} in part {part}");
            }
            ring.write(&Chunk::End).unwrap();
        }
        let (numbers, _) = place.parts();
        assert_eq!(numbers.last(), Some(&50));
        assert!(numbers.len() > 2, "{numbers:?}");
        // The next process goes on, and heeds a smaller size.
        drop(ring);
        let mut ring = place.ring(2_000);
        ring.write(&Chunk::Begin).unwrap();
        ring.write(&frame(100)).unwrap();
        let (numbers, bytes) = place.parts();
        assert_eq!(numbers.last(), Some(&51));
        assert!(bytes <= 2_000, "{bytes}");
    }

    #[test]
    fn parts_that_somebody_has_put_away_are_not_missed() {
        let place = Place::new();
        let mut ring = place.ring(4_000);
        for part in 1..=30 {
            ring.write(&Chunk::Begin).unwrap();
            ring.write(&frame(700)).unwrap();
            ring.write(&Chunk::End).unwrap();
            for number in place.parts().0 {
                if number < part && part % 3 == 0 {
                    fs::remove_file(place.0.join(format!("incident.0.{number:06}"))).unwrap();
                }
            }
        }
        assert_eq!(place.parts().0.last(), Some(&30));
    }

    /// What cannot be written is no part; the next one is tried.
    #[test]
    fn what_fails_is_told_once_and_tried_again() {
        let place = Place::new();
        let away = place.0.with_extension("away");
        let mut ring = place.ring(1_000_000);
        ring.begin().unwrap();
        fs::rename(&place.0, &away).unwrap();
        let has_failed = Arc::new(AtomicBool::new(false));
        let failed = Arc::clone(&has_failed);
        let (spares, written) = sync_channel(CHUNKS_MAX);
        let (sender, chunks) = sync_channel(CHUNKS_MAX);
        let writer = std::thread::spawn(move || ring.run(&chunks, &spares, &failed));
        let say = |chunks: &mut dyn Iterator<Item = Chunk>| {
            chunks.for_each(|chunk| sender.send(chunk).unwrap());
        };
        // The first part was begun when the broker started, and its file can still be written.
        say(&mut [Chunk::Begin, frame(10), Chunk::End].into_iter());
        say(&mut [Chunk::Begin, frame(20)].into_iter());
        // Buffers come back whether they were written or not.
        assert_eq!(written.recv().unwrap().len(), 10);
        assert_eq!(written.recv().unwrap().len(), 20);
        assert!(has_failed.swap(false, Ordering::Relaxed));
        fs::rename(&away, &place.0).unwrap();
        say(&mut [Chunk::GivenUp, Chunk::Begin, frame(30)].into_iter());
        assert_eq!(written.recv().unwrap().len(), 30);
        assert!(!has_failed.load(Ordering::Relaxed));
        drop(sender);
        writer.join().unwrap();
        let (numbers, bytes) = place.parts();
        assert_eq!(numbers, [1, 3]);
        let headers = 2 * (PART_HEADER_BYTES + FRAME_HEADER_BYTES) as u64;
        assert_eq!(bytes, headers + 40);
    }
}
