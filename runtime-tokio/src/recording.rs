//! Writing what a shard records: a ring of files, on a thread of its own, which the shard never
//! waits for.
//!
//! Each part of a recording is a file, named after the recording, the shard and a number that
//! counts up: `incident.0.000007`. When there is no room for another one, the oldest gets its name
//! and is written over: that the disk has a place for it, and the system memory, is most of what
//! writing costs.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use tracing::{error, info, warn};
use whimbrel_core::recording::{
    Chunk, MAGIC, Mark, PART_HEADER_BYTES, RecordOptions, RecordedBroker, parse_part_name,
    part_name, written_bytes,
};
use whimbrel_core::runtime::RecordingConfig;
use whimbrel_host::Threads;

/// Chunks of about a mebibyte, beginnings and ends of parts that wait for the disk; some more wait
/// in the core before a part is given up.
const CHUNKS_MAX: usize = 8;

/// For how long what is no full chunk stays in memory, in milliseconds.
const FLUSH_MS: u64 = 200;

/// How long nothing is recorded when it cannot be written.
const RETRY_MS: u64 = 10_000;

/// The same when the state has no room: to see whether it has, all of it is looked at.
const RETRY_LARGE_MS: u64 = 600_000;

/// So many parts of the usual size the ring has, so that there are always some complete ones.
const PARTS_IN_A_RING: u64 = 8;

/// So many of the largest size there may be, however large the state is: beside one of them another
/// one has room.
const LARGEST_PARTS_IN_A_RING: u64 = 2;

/// How often the state that a part begins with has to fit into it.
const STATES_IN_A_PART: u64 = RecordOptions::STATES_IN_A_PART;

/// The smallest ring of a shard: some seconds at full load, and an empty broker has room.
const RING_BYTES_MIN: u64 = 1 << 20;

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
    shards: Shards,
    has_warned: bool,
}

/// Which shard it is, of how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shards {
    pub(crate) this: u16,
    pub(crate) count: u64,
}

impl Recorder {
    /// Begins to record, on a thread of its own.
    pub(crate) fn start(
        config: &RecordingConfig,
        shards: Shards,
        broker: &mut RecordedBroker,
        threads: &Threads,
    ) -> io::Result<Self> {
        let ring_bytes = config.ring_bytes / shards.count;
        if ring_bytes < RING_BYTES_MIN {
            let needed = (shards.count * RING_BYTES_MIN) >> 20;
            let why = format!("{} threads need --record-size {needed}", shards.count);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let config = RecordingConfig {
            ring_bytes,
            ..config.clone()
        };
        let mut ring = Ring::open(&config, shards)?;
        // Whoever starts hears at once that it cannot be done.
        ring.begin()?;
        let has_failed = Arc::new(AtomicBool::new(false));
        let failed = Arc::clone(&has_failed);
        let (sender, chunks) = sync_channel(CHUNKS_MAX);
        let (spares, written) = sync_channel(CHUNKS_MAX);
        let name = format!("recording-{}", shards.this);
        threads.spawn(&name, shards.this, move || {
            ring.run(&chunks, &spares, &failed);
        })?;
        broker.record(RecordOptions {
            part_bytes: ring_bytes / PARTS_IN_A_RING,
            part_bytes_maximum: ring_bytes / LARGEST_PARTS_IN_A_RING,
            redact_payloads: config.redact_payloads,
        });
        Ok(Self {
            chunks: Some(sender),
            written,
            held: None,
            flush_at: 0,
            has_failed,
            resume_at: None,
            shards,
            has_warned: false,
        })
    }

    /// Hands over what is recorded, without waiting. Called once a turn, when the broker is at
    /// rest; gives when to call it again even if nothing else happens.
    pub(crate) fn hand_over(&mut self, broker: &mut RecordedBroker, now_ms: u64) -> Option<u64> {
        self.hand_over_chunks(broker, now_ms);
        let has_more = self.held.is_some() || broker.has_unwritten();
        let flush_at = has_more.then_some(self.flush_at);
        flush_at.into_iter().chain(self.resume_at).min()
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
                self.warn_of_state(bytes);
                continue;
            }
            match chunks.try_send(chunk) {
                Ok(()) => {}
                Err(TrySendError::Full(chunk)) => {
                    self.held = Some(chunk);
                    return;
                }
                // Its thread has ended by a panic, which was told.
                Err(TrySendError::Disconnected(_)) => {
                    broker.end_recording();
                    self.chunks = None;
                }
            }
        }
    }

    /// Once, and for each shard: they have states of their own.
    fn warn_of_state(&mut self, bytes: u64) {
        if !core::mem::replace(&mut self.has_warned, true) {
            let each = bytes.saturating_mul(STATES_IN_A_PART * LARGEST_PARTS_IN_A_RING);
            warn!(
                shard = self.shards.this,
                state_bytes = bytes,
                "this shard is not recorded: what it keeps in memory takes more than a quarter of \
                 its share of the files; give them --record-size {}",
                (each.saturating_mul(self.shards.count) >> 20) + 1
            );
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
    /// Goes on behind what earlier processes have recorded under that name.
    fn open(config: &RecordingConfig, shards: Shards) -> io::Result<Self> {
        let mut own = Vec::new();
        let mut left = Vec::new();
        for entry in fs::read_dir(directory_of(&config.file))? {
            let path = entry?.path();
            let Some((shard, number)) = name_of(&path, &config.file) else {
                continue;
            };
            if shard == shards.this {
                own.push((number, path));
            } else if shards.this == 0 && u64::from(shard) >= shards.count {
                // Of a process with more shards: they are the first to go.
                left.push((number, path));
            }
        }
        own.sort_unstable();
        left.sort_unstable();
        let mut ring = Self {
            config: config.clone(),
            shard: shards.this,
            number: own.last().map_or(0, |(number, _)| *number),
            parts: VecDeque::new(),
            open: None,
        };
        if let Some((_, last)) = own.last() {
            cut_what_is_left(last)?;
        }
        for (_, path) in left.into_iter().chain(own) {
            let size = fs::metadata(&path)?.len();
            ring.parts.push_back((path, size));
        }
        Ok(ring)
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
        name.push(".");
        name.push(part_name(self.shard, self.number));
        let path = PathBuf::from(name);
        // Of a process that had more room: they would be too large to be written over.
        let largest = self.config.ring_bytes / LARGEST_PARTS_IN_A_RING;
        let is_too_large = |(_, size): &(_, u64)| *size > largest;
        while self.parts.front().is_some_and(is_too_large) && self.remove_oldest()? {}
        let (file, size) = loop {
            match self.open_file(&path) {
                Err(error) if is_full(&error) && self.remove_oldest()? => {}
                opened => break opened?,
            }
        };
        let mark = Mark::of_part(self.number);
        self.open = Some(Part {
            file,
            mark,
            written: 0,
        });
        info!(part = %path.display(), "recording");
        self.parts.push_back((path, size));
        self.append(&mark.part_header())
    }

    /// A file for the next part, and its size: the oldest one, if there is no room for another.
    fn open_file(&mut self, path: &Path) -> io::Result<(File, u64)> {
        let mut options = OpenOptions::new();
        options.write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        // Parts are a little larger than they should be, and one more has to have room.
        let part_bytes = self.config.ring_bytes / PARTS_IN_A_RING;
        let has_room = self.bytes() + part_bytes + part_bytes / 8 <= self.config.ring_bytes;
        while !has_room
            && self.parts.len() > 1
            && let Some((oldest, size)) = self.parts.front()
        {
            let size = *size;
            match options.open(oldest) {
                Ok(file) => {
                    // Somebody may have been let read what is going to be written over.
                    #[cfg(unix)]
                    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
                    lock(&file)?;
                    fs::rename(oldest, path)?;
                    self.parts.pop_front();
                    return Ok((file, size));
                }
                // Somebody has put it away.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.parts.pop_front();
                }
                Err(error) => return Err(error),
            }
        }
        let file = options.create_new(true).open(path)?;
        lock(&file)?;
        Ok((file, 0))
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
                Err(error) if is_full(&error) => {
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

/// Which part of a recording a file is: the shard and the number. What only looks like one by its
/// name is none.
fn name_of(path: &Path, file: &Path) -> Option<(u16, u64)> {
    let name = path.file_name()?.to_str()?;
    let rest = name.strip_prefix(file.file_name()?.to_str()?)?;
    let name = parse_part_name(rest.strip_prefix('.')?)?;
    let mut magic = [0; MAGIC.len()];
    let mut part = File::open(path).ok()?;
    // Of a process that was killed at once nothing may be in it.
    let is_part = part.metadata().is_ok_and(|data| data.len() == 0)
        || part.read_exact(&mut magic).is_ok() && magic == MAGIC;
    is_part.then_some(name)
}

/// Cuts off what is left of an older part in the last one of a process that was killed, so that the
/// ring has its room again; unless another process is still writing to it.
fn cut_what_is_left(part: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(part)?;
    lock(&file)?;
    let written = written_bytes(file.metadata()?.len(), |at, piece| {
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(piece)
    })?;
    file.set_len(written)
}

/// A part is locked by the process that writes it.
fn lock(part: &File) -> io::Result<()> {
    match part.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another broker is recording there",
        )),
        // Not every file system has locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// There is no room, or not for this user.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
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
            Ring::open(&config, Shards { this: 0, count: 1 }).unwrap()
        }

        /// The numbers of the parts there are, and what they take.
        fn parts(&self) -> (Vec<u64>, u64) {
            let entries = fs::read_dir(&self.0).unwrap().map(Result::unwrap);
            let mut parts: Vec<_> = entries
                .map(|entry| {
                    let name = name_of(&entry.path(), Path::new("incident"));
                    (name.unwrap().1, entry.metadata().unwrap().len())
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

    /// What has a name like a part and is none stays where it is, and so does what has another
    /// name.
    #[test]
    fn what_is_no_part_is_left_alone() {
        let place = Place::new();
        let strangers = [
            ("incident.0.000001", "a letter"),
            ("incident.0.7", "WHIMREC\n"),
            ("incident.0.18446744073709551615", "WHIMREC\n"),
        ];
        for (name, text) in strangers {
            fs::write(place.0.join(name), text).unwrap();
        }
        let mut ring = place.ring(4_000);
        // Its number is taken, which is told; with the next one it goes on.
        assert!(ring.begin().is_err());
        for _ in 0..30 {
            ring.write(&Chunk::Begin).unwrap();
            ring.write(&frame(700)).unwrap();
            ring.write(&Chunk::End).unwrap();
        }
        for (name, text) in strangers {
            assert_eq!(fs::read_to_string(place.0.join(name)).unwrap(), text);
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_written_over_is_for_its_owner_again() {
        use std::os::unix::fs::PermissionsExt as _;
        let place = Place::new();
        let mut ring = place.ring(4_000);
        for _ in 0..30 {
            ring.write(&Chunk::Begin).unwrap();
            ring.write(&frame(700)).unwrap();
            ring.write(&Chunk::End).unwrap();
            for entry in fs::read_dir(&place.0).unwrap() {
                let path = entry.unwrap().path();
                fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
            }
            ring.write(&Chunk::Begin).unwrap();
            let (newest, _) = ring.parts.back().unwrap();
            let mode = fs::metadata(newest).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            ring.write(&frame(700)).unwrap();
        }
    }

    #[test]
    fn two_brokers_do_not_record_to_the_same_ring() {
        let place = Place::new();
        let mut first = place.ring(4_000);
        first.begin().unwrap();
        let config = RecordingConfig::new(place.0.join("incident"));
        let Err(error) = Ring::open(&config, Shards { this: 0, count: 1 }) else {
            panic!("the first one has not ended");
        };
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        place.ring(4_000).begin().unwrap();
    }

    /// Whoever is killed and started again all the time does not lose what was before.
    #[test]
    fn short_lives_take_little_room() {
        let place = Place::new();
        let mut ring = place.ring(80_000);
        for _ in 0..20 {
            ring.write(&Chunk::Begin).unwrap();
            ring.write(&frame(9_000)).unwrap();
            ring.write(&Chunk::End).unwrap();
        }
        drop(ring);
        let (before, _) = place.parts();
        for _ in 0..10 {
            let mut ring = place.ring(80_000);
            ring.write(&Chunk::Begin).unwrap();
            ring.write(&frame(100)).unwrap();
        }
        let (after, bytes) = place.parts();
        let kept = before.iter().filter(|number| after.contains(number));
        assert!(kept.count() + 2 >= before.len(), "{before:?}, {after:?}");
        assert!(bytes <= 80_000, "{bytes}");
    }

    /// What more shards have left goes before anything else does.
    #[test]
    fn parts_of_shards_that_are_no_more_are_the_first_to_go() {
        let place = Place::new();
        let config = RecordingConfig {
            ring_bytes: 4_000,
            ..RecordingConfig::new(place.0.join("incident"))
        };
        for this in 0..3 {
            let mut ring = Ring::open(&config, Shards { this, count: 3 }).unwrap();
            for _ in 0..6 {
                ring.write(&Chunk::Begin).unwrap();
                ring.write(&frame(400)).unwrap();
                ring.write(&Chunk::End).unwrap();
            }
        }
        let mut ring = place.ring(4_000);
        ring.write(&Chunk::Begin).unwrap();
        let entries = fs::read_dir(&place.0).unwrap().map(Result::unwrap);
        let sizes = entries.map(|entry| entry.metadata().unwrap().len());
        assert!(sizes.sum::<u64>() <= 4_000);
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
