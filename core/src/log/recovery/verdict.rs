//! What recovery finds out about a log.

use crate::id::Position;
use crate::log::batch::BatchError;
use crate::log::frame::{FORMAT_VERSION, LogUuid};
use crate::log::operation::{FileName, IoFailure};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use thiserror::Error;

/// A log that could be read to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Names the log; `None` for a new one.
    pub uuid: Option<LogUuid>,
    /// Segments that count.
    pub segments: usize,
    /// Batches that were read.
    pub batches: u64,
    /// Bytes of frames that were read.
    pub bytes: u64,
    /// The last frame that counts.
    pub last_lsn: u64,
    /// What later frames prove to have been synced. The rest was read, and is written anew when the
    /// log is opened.
    pub durable_lsn: u64,
    /// How the log ends.
    pub end: LogEnd,
    /// What is missing: lost before and accepted by a repair, now or earlier.
    pub gaps: u64,
    /// What a repair gave up in this run.
    pub lost: Vec<Damage>,
    /// What the files are called now that were repaired in this run, or set aside.
    pub copies: Vec<FileName>,
    /// Gaps, by their first and last number, behind which not everything that is live was put once
    /// more: no session before them can be shown to be whole.
    pub doubts: Vec<(u64, u64)>,
    /// Records of a newer version that may be skipped, and were.
    pub skipped: u64,
    /// Files in the directory that the log does not know. They are left alone.
    pub foreign_files: Vec<String>,
}

/// How a log ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogEnd {
    /// There was no log.
    #[default]
    New,
    /// It was closed in order.
    Clean,
    /// The process ended without closing it. Nothing was cut.
    Unclean,
    /// The last write was not finished: nothing in it was promised, and it does not count.
    Torn {
        /// Where.
        file: FileName,
        /// From which byte on.
        offset: u64,
        /// How many bytes, up to the last that is not zero.
        bytes: u64,
    },
}

/// Damage where data was known to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub struct Damage {
    /// What is damaged.
    pub file: FileName,
    /// From which byte on.
    pub offset: u64,
    /// What it is.
    pub kind: DamageKind,
    /// The first frame that is lost.
    pub first_lsn: u64,
    /// The last frame that is lost, where later ones tell.
    pub last_lsn: Option<u64>,
    /// Who wrote the damaged batch, and its position, where that can still be read.
    pub batch: Option<(u16, Position)>,
}

/// What kind of damage it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DamageKind {
    /// The header of a segment cannot be read.
    Header,
    /// Frames cannot be read.
    Frames,
    /// A whole segment is missing.
    Missing,
    /// A segment is shorter than it was.
    Shortened,
    /// The disk does not read it.
    Unreadable,
    /// There is no header, and nothing by which the log could be told: all of it is set aside.
    SetAside,
}

impl Damage {
    /// What is damaged and where, without what is lost by it.
    #[must_use]
    pub const fn place(&self) -> impl fmt::Display {
        Place(*self)
    }
}

struct Place(Damage);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { file, offset, .. } = self.0;
        match self.0.kind {
            DamageKind::Header => write!(f, "{file}: the header is damaged"),
            DamageKind::SetAside => write!(
                f,
                "{file}: there is no header, and no record by which to find the others; everything \
                 is lost"
            ),
            DamageKind::Unreadable => {
                write!(f, "{file}: the disk does not read it from byte {offset} on")
            }
            DamageKind::Frames => write!(f, "{file}: damaged from byte {offset} on"),
            DamageKind::Shortened => {
                write!(f, "{file} was cut off, somewhere from byte {offset} on")
            }
            DamageKind::Missing => write!(f, "{file} is missing"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place().fmt(f)?;
        match (self.kind, self.last_lsn) {
            (DamageKind::SetAside, _) => return Ok(()),
            (DamageKind::Header, _) => {
                return write!(f, ", with records from {} on", self.first_lsn);
            }
            (_, Some(last)) if last == self.first_lsn => write!(f, ", record {last} is lost")?,
            // How far the segments before go is not known yet.
            (DamageKind::Missing, Some(last)) if self.first_lsn == 1 => {
                write!(f, ", records up to {last} are lost")?;
            }
            (_, Some(last)) => write!(f, ", records {} to {last} are lost", self.first_lsn)?,
            (_, None) => write!(f, ", records from {} on are lost", self.first_lsn)?,
        }
        match self.batch {
            Some((shard, position)) => {
                write!(f, " (first: shard {shard}, position {})", position.0)
            }
            None => Ok(()),
        }
    }
}

/// Why a log cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// What was known to be durable cannot be read. A repair gives it up.
    #[error("the log is damaged: {0}")]
    Corrupt(Damage),
    /// A segment of another log, or one that was renamed.
    #[error("{file} does not belong to this log; move it away, or bring back what was there")]
    Foreign {
        /// Which.
        file: FileName,
    },
    /// Written by another version of Whimbrel.
    #[error(
        "{file} has format version {version}, and this program reads version {FORMAT_VERSION}; start the \
         one that wrote it, or a later one"
    )]
    UnsupportedVersion {
        /// Which.
        file: FileName,
        /// Its version.
        version: u32,
    },
    /// A record that a newer version wrote, and that may not be skipped.
    #[error(
        "{file} has a record of unknown kind {kind} at byte {offset}, which must not be skipped; start \
         the version that wrote it, or a later one"
    )]
    UnknownRecord {
        /// Where.
        file: FileName,
        /// At which byte.
        offset: u64,
        /// What kind.
        kind: u8,
    },
    /// A batch is whole, and not what a batch is: a defect of the program that wrote it.
    #[error(
        "{file} has a batch at byte {offset} that is whole and makes no sense: {error}; the program that \
         wrote it has a defect, and no repair helps: bring back an older copy of the directory, and \
         report it"
    )]
    Batch {
        /// Where.
        file: FileName,
        /// At which byte.
        offset: u64,
        /// What is wrong.
        error: BatchError,
    },
    /// The disk failed, or is too full to begin.
    #[error("{verb}{} failed: {failure}", OfFile(*.file))]
    Io {
        /// What was tried; see [`FileAction::verb`](super::super::FileAction::verb).
        verb: &'static str,
        /// On which file; `None` for the directory.
        file: Option<FileName>,
        /// What came of it.
        failure: IoFailure,
    },
    /// The caller stopped before recovery did.
    #[error("recovery was not driven to its end")]
    Unfinished,
}

struct OfFile(Option<FileName>);

impl fmt::Display for OfFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(file) => write!(f, " of {file}"),
            None => Ok(()),
        }
    }
}
