//! Carries out what the log asks for, on real files, on the calling thread. It decides nothing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process;
use whimbrel_core::log::{
    Completion, DirectoryEntry, FileAction, FileName, IoFailure, IoFailureKind,
};

/// How many zeros go into one system call.
const ZEROS_BYTES: u64 = 64 << 10;

/// Room for what is read that is kept for the next time: a scan reads more at once, but is rare.
const READ_KEPT_BYTES: usize = 32 << 10;

/// Open files are kept, up to this many: a scan goes through all segments. A directory that is
/// written to has as many descriptors from the start, so that connections cannot take the last.
const OPEN_FILES_MAX: usize = 16;

/// The file that is locked while somebody has the directory, and says who.
const LOCK: &str = "LOCK";

/// The directory of a log, locked for this process.
#[derive(Debug)]
pub struct Executor {
    directory: PathBuf,
    /// Open where names are made durable: that takes no descriptor, and cannot fail for want of
    /// one.
    opened: Option<File>,
    /// Those that are open, the one that was wanted last at the end.
    files: Vec<(FileName, File)>,
    /// Descriptors for files to come.
    reserve: Vec<File>,
    buffer: Vec<u8>,
    entries: Vec<DirectoryEntry>,
    writes: bool,
    /// Held, and with it the lock, as long as this lives. None where nobody has ever written.
    _lock: Option<File>,
}

/// Where the answer to an operation is.
enum Answer {
    Done,
    Listed,
    Read,
}

impl Executor {
    /// Makes the directory if need be (only its owner may enter) and locks it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldBlock`] when another process has the lock; else what the system says.
    pub fn open(directory: &Path) -> io::Result<Self> {
        make_directory(directory)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = private(&mut options).open(directory.join(LOCK))?;
        locked(lock.try_lock())?;
        // For who finds it locked. A disk may be too full even for that.
        let _ = lock.set_len(0);
        let _ = writeln!(lock, "{}", process::id());
        let mut executor = Self {
            opened: open_directory(directory)?,
            ..Self::new(directory, true, Some(lock))
        };
        executor.hold_reserve();
        Ok(executor)
    }

    /// The number of the process that opened this directory last, if it has said so.
    #[must_use]
    pub fn owner(directory: &Path) -> Option<u32> {
        let said = fs::read_to_string(directory.join(LOCK)).ok()?;
        said.trim_end().parse().ok()
    }

    /// Only reads, and leaves nothing behind: works where nothing can be written. Others may read
    /// at the same time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldBlock`] when another process may write there; else what the system says.
    pub fn read_only(directory: &Path) -> io::Result<Self> {
        let lock = match File::open(directory.join(LOCK)) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            lock => Some(lock?),
        };
        if let Some(lock) = &lock {
            locked(lock.try_lock_shared())?;
        }
        Ok(Self::new(directory, false, lock))
    }

    fn new(directory: &Path, writes: bool, lock: Option<File>) -> Self {
        Self {
            directory: directory.to_path_buf(),
            opened: None,
            files: Vec::new(),
            reserve: Vec::new(),
            buffer: Vec::new(),
            entries: Vec::new(),
            writes,
            _lock: lock,
        }
    }

    /// Carries out one operation, to its end.
    ///
    /// # Errors
    ///
    /// What the system says, in the log's terms. To be handed to the log like every answer.
    pub fn run(&mut self, action: &FileAction<'_>) -> Result<Completion<'_>, IoFailure> {
        match self.try_run(action) {
            Ok(Answer::Done) => Ok(Completion::Done),
            Ok(Answer::Listed) => Ok(Completion::Listed(&self.entries)),
            Ok(Answer::Read) => Ok(Completion::Read(&self.buffer)),
            Err(Failed::Open(error)) if is_for_want_of_descriptors(&error) => Err(IoFailure {
                kind: IoFailureKind::NoDescriptor,
                code: error.raw_os_error(),
            }),
            Err(Failed::Open(error) | Failed::Io(error)) => Err(failure(&error)),
        }
    }

    fn try_run(&mut self, action: &FileAction<'_>) -> Result<Answer, Failed> {
        let reads = matches!(action, FileAction::ReadAt { .. });
        if !reads && self.buffer.capacity() > READ_KEPT_BYTES {
            self.buffer = Vec::new();
        }
        match *action {
            FileAction::List => return Ok(self.list()?),
            FileAction::Create { file } => self.create(file)?,
            FileAction::ReadAt {
                file,
                offset,
                bytes,
            } => return self.read(file, offset, bytes),
            FileAction::WriteAt {
                file,
                offset,
                bytes,
            } => write_all_at(self.file(file)?, bytes, offset)?,
            FileAction::ZeroAt {
                file,
                offset,
                bytes,
            } => zero(self.file(file)?, offset, bytes)?,
            FileAction::Sync { file } => self.file(file)?.sync_data()?,
            FileAction::SyncDirectory => {
                if let Some(directory) = &self.opened {
                    directory.sync_all()?;
                }
                self.hold_reserve();
            }
            FileAction::SetLength { file, bytes } => self.file(file)?.set_len(bytes)?,
            FileAction::Rename { from, to } => {
                self.let_go(from);
                self.let_go(to);
                fs::rename(self.path(from), self.path(to))?;
            }
            FileAction::Link { from, to } => fs::hard_link(self.path(from), self.path(to))?,
            FileAction::Remove { file } => {
                self.let_go(file);
                fs::remove_file(self.path(file))?;
            }
        }
        Ok(Answer::Done)
    }

    fn list(&mut self) -> io::Result<Answer> {
        self.entries.clear();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name: String = entry.file_name().to_string_lossy().into_owned();
            if name != "LOCK" {
                let bytes = entry.metadata()?.len();
                self.entries.push(DirectoryEntry { name, bytes });
            }
        }
        Ok(Answer::Listed)
    }

    fn create(&mut self, file: FileName) -> Result<(), Failed> {
        self.take(file);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let opened = self.open_file(private(&mut options), &self.path(file))?;
        self.files.push((file, opened));
        Ok(())
    }

    fn read(&mut self, file: FileName, offset: u64, bytes: u32) -> Result<Answer, Failed> {
        let mut buffer = core::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.resize(bytes as usize, 0);
        let mut read = 0;
        let opened = self.file(file)?;
        while read < buffer.len() {
            match read_at(opened, &mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        buffer.truncate(read);
        self.buffer = buffer;
        Ok(Answer::Read)
    }

    fn file(&mut self, name: FileName) -> Result<&File, Failed> {
        let opened = match self.take(name) {
            Some(opened) => opened,
            None => {
                let path = self.path(name);
                // Some of what is none would make whoever opens it wait.
                if !fs::metadata(&path)?.is_file() {
                    return Err(io::Error::from(ErrorKind::IsADirectory).into());
                }
                let mut options = OpenOptions::new();
                self.open_file(options.read(true).write(self.writes), &path)?
            }
        };
        self.files.push((name, opened));
        Ok(&self.files[self.files.len() - 1].1)
    }

    /// Takes out a file that is open.
    fn take(&mut self, file: FileName) -> Option<File> {
        let place = self.files.iter().position(|(name, _)| *name == file)?;
        Some(self.files.remove(place).1)
    }

    /// Opens a file, in the place of another if need be.
    fn open_file(&mut self, options: &OpenOptions, path: &Path) -> Result<File, Failed> {
        if self.files.len() + self.reserve.len() >= OPEN_FILES_MAX {
            self.make_room();
        }
        loop {
            match options.open(path) {
                // Somebody else was quicker.
                Err(error) if is_for_want_of_descriptors(&error) && self.make_room() => {}
                opened => return opened.map_err(Failed::Open),
            }
        }
    }

    /// Gives up a descriptor: whether there was one.
    fn make_room(&mut self) -> bool {
        let spare = self.reserve.pop();
        spare.is_some() || self.files.drain(..1.min(self.files.len())).count() > 0
    }

    /// Closes a file, and keeps its descriptor.
    fn let_go(&mut self, file: FileName) {
        if self.take(file).is_some() {
            self.hold_reserve();
        }
    }

    /// Takes what descriptors there are up to its share.
    fn hold_reserve(&mut self) {
        let taken = self.files.len() + self.reserve.len();
        if let Some(directory) = &self.opened {
            let more = (taken..OPEN_FILES_MAX).map_while(|_| directory.try_clone().ok());
            self.reserve.extend(more);
        }
    }

    fn path(&self, file: FileName) -> PathBuf {
        self.directory.join(file.to_string())
    }
}

/// Why an operation was not carried out.
enum Failed {
    /// Its file could not be opened.
    Open(io::Error),
    Io(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Whether a file was not opened because there are too many, here or in the whole system.
#[cfg(unix)]
fn is_for_want_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let why = Errno::from_io_error(error);
    why.is_some_and(|why| [Errno::MFILE, Errno::NFILE, Errno::NOMEM].contains(&why))
}

#[cfg(not(unix))]
fn is_for_want_of_descriptors(_: &io::Error) -> bool {
    false
}

/// What the system says, in the log's terms.
fn failure(error: &io::Error) -> IoFailure {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the kinds are open-ended")]
    let kind = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => IoFailureKind::NoSpace,
        ErrorKind::NotFound => IoFailureKind::NotFound,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => IoFailureKind::Denied,
        ErrorKind::IsADirectory => IoFailureKind::NoFile,
        _ => IoFailureKind::Other,
    };
    IoFailure {
        kind,
        code: error.raw_os_error(),
    }
}

fn locked(result: Result<(), TryLockError>) -> io::Result<()> {
    result.map_err(|error| match error {
        TryLockError::WouldBlock => ErrorKind::WouldBlock.into(),
        TryLockError::Error(error) => error,
    })
}

fn zero(file: &File, mut offset: u64, mut bytes: u64) -> io::Result<()> {
    // Not in the program, where they would take as much of every small device.
    let zeros = vec![0; bytes.min(ZEROS_BYTES) as usize];
    while bytes > 0 {
        let count = bytes.min(ZEROS_BYTES);
        write_all_at(file, &zeros[..count as usize], offset)?;
        offset += count;
        bytes -= count;
    }
    Ok(())
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn write_all_at(mut file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
    io::Write::write_all(&mut file, bytes)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
    io::Read::read(&mut file, bytes)
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

fn make_directory(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let new = directory.ancestors().take_while(|path| !path.exists());
    // At least its own name may be new, to the disk.
    let new = new.count().max(1);
    builder.recursive(true).create(directory)?;
    // A new name is its parent's to keep.
    for path in directory.ancestors().take(new) {
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent)?,
            Some(_) => sync_directory(Path::new("."))?,
            None => {}
        }
    }
    Ok(())
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    open_directory(directory)?.map_or(Ok(()), |directory| directory.sync_all())
}

#[cfg(unix)]
fn open_directory(directory: &Path) -> io::Result<Option<File>> {
    File::open(directory).map(Some)
}

/// Elsewhere a directory cannot be opened as a file; names are kept by the system's journal.
#[cfg(not(unix))]
fn open_directory(_directory: &Path) -> io::Result<Option<File>> {
    Ok(None)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// How many descriptors of this process are for that directory or what is in it.
    fn descriptors(directory: &Path) -> usize {
        let all = fs::read_dir("/proc/self/fd")
            .into_iter()
            .flatten()
            .flatten();
        all.filter_map(|entry| fs::read_link(entry.path()).ok())
            .filter(|path| path.starts_with(directory))
            .count()
    }

    /// From the start as many as ever, so that whoever takes the rest leaves these.
    #[test]
    fn it_has_as_many_descriptors_as_ever_from_the_start() {
        let name = format!("whimbrel-{}-descriptors", process::id());
        let directory = std::env::temp_dir().join(name);
        let mut executor = Executor::open(&directory).unwrap();
        // Its lock and the directory are open besides.
        let most = OPEN_FILES_MAX + 2;
        executor.run(&FileAction::SyncDirectory).unwrap();
        assert_eq!(descriptors(&directory), most);
        for number in 0..100 {
            let file = FileName::Segment(number);
            executor.run(&FileAction::Create { file }).unwrap();
            executor.run(&FileAction::SyncDirectory).unwrap();
            assert_eq!(descriptors(&directory), most, "after {number}");
        }
        for number in 0..99 {
            let file = FileName::Segment(number);
            executor.run(&FileAction::Sync { file }).unwrap();
            executor.run(&FileAction::Remove { file }).unwrap();
            assert_eq!(descriptors(&directory), most, "without {number}");
        }
        drop(executor);
        fs::remove_dir_all(&directory).unwrap();
    }
}
