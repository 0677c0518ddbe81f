//! `whimbrel log`: looks at the directory of a log, and mends it. Drives what `core` knows about
//! logs; nothing is decided here.

mod census;
mod dump;
mod rehearsal;
mod repair;
mod verify;

use crate::output::ended;
use argh::{ArgsInfo, FromArgs};
use dump::Dump;
use rehearsal::Rehearsal;
use repair::Repair;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use thiserror::Error;
use verify::Verify;
use whimbrel_core::log::{
    Completion, FileAction, IoFailure, LogEnd, Recovered, Recovery, RecoveryError, Summary,
};
use whimbrel_host::Executor;

/// Look at the directory where a broker keeps its sessions and messages, or mend it. The broker
/// must not be running.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "log",
    help_triggers("-h", "--help", "help"),
    error_code(0, "the log is whole, or was mended"),
    error_code(1, "it cannot be read: no such directory, in use by a broker, ..."),
    error_code(2, "what was typed is wrong"),
    error_code(3, "it is damaged; the message says where")
)]
pub(crate) struct Log {
    /// what to do
    #[argh(subcommand)]
    command: Command,
}

/// What to do with a log.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Command {
    /// Check it.
    Verify(Verify),
    /// Print it.
    Dump(Dump),
    /// Mend it.
    Repair(Repair),
}

impl Log {
    /// Does it.
    pub(crate) fn run(self) -> ExitCode {
        let result = match self.command {
            Command::Verify(verify) => verify.run(),
            Command::Dump(dump) => dump.run(),
            Command::Repair(repair) => repair.run(),
        };
        ended(result, Failure::code)
    }
}

/// Why a log was not read to its end.
#[derive(Debug, Error)]
enum Failure {
    #[error("{0} is not a directory")]
    NoDirectory(String),
    #[error("there is no log in {0}{1}")]
    NoLog(String, &'static str),
    #[error("{0} is in use{1}; stop the broker first")]
    InUse(String, String),
    #[error("cannot use {0}: {1}")]
    Directory(String, #[source] io::Error),
    #[error("{directory}: {source}{remedy}")]
    Recovery {
        directory: String,
        source: Box<RecoveryError>,
        remedy: String,
    },
}

impl Failure {
    fn code(&self) -> ExitCode {
        ExitCode::from(if self.is_damage() { 3 } else { 1 })
    }

    fn is_damage(&self) -> bool {
        let Self::Recovery { source, .. } = self else {
            return false;
        };
        matches!(**source, RecoveryError::Corrupt(_))
    }

    fn no_log(directory: String) -> Self {
        let is_database = Path::new(&directory).join("whimbrel.sqlite").exists();
        let instead = if is_database {
            ", but a database: SQLite has its own tools"
        } else {
            ""
        };
        Self::NoLog(directory, instead)
    }

    fn of(directory: &str, source: RecoveryError) -> Self {
        let mut remedy = String::new();
        if matches!(source, RecoveryError::Corrupt(_)) {
            remedy = format!(
                "\nNothing was changed. `whimbrel log repair {directory}` gives up what cannot be read, keeps \
                 a copy, and lists what is lost."
            );
        } else if source.is_no_space() {
            remedy.push_str("\nMake room on its file system, and do it again.");
        } else if source.is_denied() {
            remedy.push_str("\nDo it as the user whom the broker runs as.");
        }
        Self::Recovery {
            directory: directory.to_owned(),
            source: Box::new(source),
            remedy,
        }
    }
}

/// What a recovery works on.
enum Disk {
    Real(Executor),
    Rehearsed(Rehearsal),
}

impl Disk {
    fn run(&mut self, action: &FileAction<'_>) -> Result<Completion<'_>, IoFailure> {
        match self {
            Self::Real(executor) => executor.run(action),
            Self::Rehearsed(rehearsal) => rehearsal.run(action),
        }
    }
}

/// Opens a directory that is there.
fn locked(directory: &str, open: fn(&Path) -> io::Result<Executor>) -> Result<Executor, Failure> {
    let path = Path::new(directory);
    if !path.is_dir() {
        return Err(Failure::NoDirectory(directory.to_owned()));
    }
    open(path).map_err(|error| {
        if error.kind() == io::ErrorKind::WouldBlock {
            let process = Executor::owner(path);
            let process =
                process.map_or_else(String::new, |number| format!(" by process {number}"));
            return Failure::InUse(directory.to_owned(), process);
        }
        Failure::Directory(directory.to_owned(), error)
    })
}

/// Reads what is in `directory`, changing nothing, and shows every batch to `look`.
fn read(directory: &str, look: impl FnMut(&Recovered<'_>)) -> Result<Summary, Failure> {
    let mut disk = Disk::Real(locked(directory, Executor::read_only)?);
    drive(directory, &mut disk, Recovery::verify(), look)
}

/// Drives a recovery of what is in `directory` to its end, and shows every batch to `look`.
fn drive(
    directory: &str,
    disk: &mut Disk,
    mut recovery: Recovery,
    mut look: impl FnMut(&Recovered<'_>),
) -> Result<Summary, Failure> {
    loop {
        while let Some(recovered) = recovery.poll_batch() {
            look(&recovered);
        }
        let Some(operation) = recovery.poll_operation() else {
            break;
        };
        let (id, result) = (operation.id, disk.run(&operation.action));
        recovery.completed(id, result);
    }
    recovery
        .into_summary()
        .map_err(|source| Failure::of(directory, source))
}

/// How a log ends, in words.
fn end(summary: &Summary) -> String {
    match summary.end {
        LogEnd::New => "there is no log here".to_owned(),
        LogEnd::Clean => "closed in order".to_owned(),
        LogEnd::Unclean => "not closed: the broker was killed, or the power failed".to_owned(),
        LogEnd::Torn {
            file,
            offset,
            bytes,
        } => format!(
            "the last write was not finished, or was damaged since: {bytes} bytes of {file} from byte \
             {offset} on do not count"
        ),
    }
}
