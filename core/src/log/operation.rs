//! What the log asks of the disk, and what it hears back.
//!
//! [`Engine`](super::Engine) and [`Recovery`](super::Recovery) hand out one [`Operation`] at a
//! time. The executor carries it out on the log's directory, to its end, and answers with
//! `completed`; only then is there another. It takes no decision: it never retries, except a write
//! or read that the system interrupted or did in part.

use alloc::string::String;
use core::fmt;
use thiserror::Error;

/// Names one operation in its answer. Counts up from 1 in each engine and each recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// One thing to do on the disk, now and completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    /// To be given back with the answer.
    pub id: OperationId,
    /// What to do.
    pub action: FileAction<'a>,
}

/// The kinds of operations. All files are in one directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAction<'a> {
    /// Name and size of every file. Answer: [`Completion::Listed`].
    List,
    /// Make an empty file, also where one of that name exists.
    Create {
        /// The file.
        file: FileName,
    },
    /// Read `bytes` bytes, fewer only where the file ends. Answer: [`Completion::Read`].
    ReadAt {
        /// The file.
        file: FileName,
        /// Where, in bytes from its start.
        offset: u64,
        /// How many.
        bytes: u32,
    },
    /// Write all of `bytes`.
    WriteAt {
        /// The file.
        file: FileName,
        /// Where, in bytes from its start.
        offset: u64,
        /// What.
        bytes: &'a [u8],
    },
    /// Write `bytes` zeros: real ones, not a hole.
    ZeroAt {
        /// The file.
        file: FileName,
        /// Where, in bytes from its start.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// Make content and size of the file durable (`fdatasync`).
    Sync {
        /// The file.
        file: FileName,
    },
    /// Make names created, renamed and removed durable.
    SyncDirectory,
    /// Cut the file.
    SetLength {
        /// The file.
        file: FileName,
        /// Its new size.
        bytes: u64,
    },
    /// Give a file another name, replacing what has it.
    Rename {
        /// The old name.
        from: FileName,
        /// The new name.
        to: FileName,
    },
    /// Give a file a second name, which no file has. Where that cannot be done, it fails, and
    /// nothing has happened.
    Link {
        /// The name it has.
        from: FileName,
        /// The second name.
        to: FileName,
    },
    /// Remove a file.
    Remove {
        /// The file.
        file: FileName,
    },
}

impl FileAction<'_> {
    /// What kind of operation this is, for messages.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Create { .. } => "create",
            Self::ReadAt { .. } => "read",
            Self::WriteAt { .. } | Self::ZeroAt { .. } => "write",
            Self::Sync { .. } => "sync",
            Self::SyncDirectory => "sync of the directory",
            Self::SetLength { .. } => "truncate",
            Self::Rename { .. } => "rename",
            Self::Link { .. } => "link",
            Self::Remove { .. } => "remove",
        }
    }

    /// The file that this is about; `None` for the directory.
    #[must_use]
    pub const fn file(&self) -> Option<FileName> {
        match *self {
            Self::List | Self::SyncDirectory => None,
            Self::Create { file }
            | Self::ReadAt { file, .. }
            | Self::WriteAt { file, .. }
            | Self::ZeroAt { file, .. }
            | Self::Sync { file }
            | Self::SetLength { file, .. }
            | Self::Rename { from: file, .. }
            | Self::Link { from: file, .. }
            | Self::Remove { file } => Some(file),
        }
    }
}

/// The good answer to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion<'a> {
    /// To everything that has no other.
    Done,
    /// To [`FileAction::List`], in any order.
    Listed(&'a [DirectoryEntry]),
    /// To [`FileAction::ReadAt`].
    Read(&'a [u8]),
}

/// One file of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Its name; what is not UTF-8 may be replaced.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// The bad answer to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("{kind}{}", OsCode(*.code))]
pub struct IoFailure {
    /// What the log distinguishes.
    pub kind: IoFailureKind,
    /// The number the system gave, for messages.
    pub code: Option<i32>,
}

struct OsCode(Option<i32>);

impl fmt::Display for OsCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(code) => write!(f, " (os error {code})"),
            None => Ok(()),
        }
    }
}

/// The failures that the log treats differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum IoFailureKind {
    /// The disk or the user's share of it is full. Survived, except from a sync.
    #[error("no space is left")]
    NoSpace,
    /// There is no such file.
    #[error("it is not there, or its directory is not")]
    NotFound,
    /// The system does not allow it.
    #[error("permission denied")]
    Denied,
    /// There is something else with the name of a file.
    #[error("it is no file; move it away")]
    NoFile,
    /// No more files can be opened, so that nothing was tried. Survived: it is tried again.
    #[error("no more files can be opened, here (LimitNOFILE, ulimit -n) or in the whole system")]
    NoDescriptor,
    /// Everything else: the disk is not to be trusted.
    #[error("input/output error")]
    Other,
}

/// The files the log works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// `seg-` and sixteen hexadecimal digits: a segment, or a spare that will become one.
    Segment(u64),
    /// `rewrite.tmp`: a segment being rewritten by a repair. Of no value after a crash.
    Rewrite,
    /// `seg-….damaged-N`: a copy of a segment as it was before a repair. Never read, never removed.
    Damaged {
        /// Which segment.
        segment: u64,
        /// The first free number, from 1.
        copy: u32,
    },
}

impl FileName {
    /// The file that is meant by a name in the directory; `None` for names the log does not make.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == "rewrite.tmp" {
            return Some(Self::Rewrite);
        }
        let rest = name.strip_prefix("seg-")?;
        let (digits, suffix) = rest.split_at_checked(16)?;
        let lowercase = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        if !digits.bytes().all(lowercase) {
            return None;
        }
        let segment = u64::from_str_radix(digits, 16).ok()?;
        if suffix.is_empty() {
            return Some(Self::Segment(segment));
        }
        let copy = suffix.strip_prefix(".damaged-")?;
        let canonical = !copy.starts_with(['0', '+']);
        let copy = copy.parse().ok()?;
        canonical.then_some(Self::Damaged { segment, copy })
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(number) => write!(f, "seg-{number:016x}"),
            Self::Rewrite => f.write_str("rewrite.tmp"),
            Self::Damaged { segment, copy } => write!(f, "seg-{segment:016x}.damaged-{copy}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FileName;
    use alloc::string::ToString;

    #[test]
    fn names_are_read_as_they_are_written() {
        for file in [
            FileName::Segment(1),
            FileName::Segment(u64::MAX),
            FileName::Rewrite,
            FileName::Damaged {
                segment: 0xBEEF,
                copy: 12,
            },
        ] {
            assert_eq!(FileName::parse(&file.to_string()), Some(file));
        }
        for foreign in [
            "LOCK",
            "seg-1",
            "seg-000000000000000G",
            "seg-00000000000000AA",
            "seg-0000000000000001.bak",
            "seg-0000000000000001.damaged-01",
            "seg-00000000000000é",
        ] {
            assert_eq!(FileName::parse(foreign), None);
        }
    }
}
