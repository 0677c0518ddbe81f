//! What can go wrong in a server and with what its owner holds of it, in words for an operator.

use super::ListenerUrl;
use crate::client::Misuse;
use crate::codec::reason::ReasonCode;
use crate::config::ConfigError;
use crate::log::{self, RecoveryError};
use crate::restore::RestoreError;
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use core::any::Any;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a place cannot be listened at.
#[derive(Debug, Error)]
#[error("cannot listen on {url}: {}", explain(source))]
pub struct ListenError {
    /// Where.
    pub url: ListenerUrl,
    /// What the system said.
    pub source: io::Error,
}

fn by(process: Option<u32>) -> String {
    process.map_or_else(
        || "another process".to_owned(),
        |number| format!("process {number}"),
    )
}

fn explain(error: &io::Error) -> String {
    let words = [
        (
            io::ErrorKind::AddrInUse,
            "the address is in use; stop what listens there (another broker?), or choose another port",
        ),
        (
            io::ErrorKind::PermissionDenied,
            "no permission; ports below 1024 usually need privileges",
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            "this machine does not have that address",
        ),
    ];
    in_words(&words, error)
}

fn explain_directory(error: &io::Error) -> String {
    const IS_FILE: &str = "it, or what leads to it, is a file and no directory; name another";
    let words = [
        (io::ErrorKind::AlreadyExists, IS_FILE),
        (io::ErrorKind::NotADirectory, IS_FILE),
        (
            io::ErrorKind::PermissionDenied,
            "the user that runs this broker may not write there; give the directory to that user, \
             or name another",
        ),
        (
            io::ErrorKind::ReadOnlyFilesystem,
            "its file system cannot be written; name another",
        ),
    ];
    in_words(&words, error)
}

fn in_words(words: &[(io::ErrorKind, &str)], error: &io::Error) -> String {
    words
        .iter()
        .find(|(kind, _)| *kind == error.kind())
        .map_or_else(|| error.to_string(), |(_, words)| (*words).into())
}

/// Why the log cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Another process has the directory.
    #[error(
        "{} is in use by {}; stop it, or give this broker another directory",
        directory.display(),
        by(*process)
    )]
    InUse {
        /// Which.
        directory: PathBuf,
        /// The number of the process, if it has said so.
        process: Option<u32>,
    },
    /// The directory cannot be made or opened.
    #[error("cannot use {}: {}", directory.display(), explain_directory(source))]
    Directory {
        /// Which.
        directory: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is something of the other backend, which would be forgotten.
    #[error(
        "{} holds what the backend \"{backend}\" keeps; choose that, or give this broker another \
         directory", directory.display()
    )]
    OtherBackend {
        /// Where.
        directory: PathBuf,
        /// Whose.
        backend: &'static str,
    },
    /// The settings do not fit together.
    #[error(transparent)]
    Config(#[from] log::ConfigError),
    /// The log cannot be read.
    #[error("the log in {} cannot be opened: {source}", directory.display())]
    Recovery {
        /// Where.
        directory: PathBuf,
        /// Why.
        source: RecoveryError,
    },
    /// What is kept can be read, but not understood.
    #[error(
        "frame {frame} of the log in {at} cannot be used (`whimbrel log dump {at}` shows it): {source}",
        at = directory.display()
    )]
    Restore {
        /// Where.
        directory: PathBuf,
        /// In which frame of the log.
        frame: u64,
        /// Why.
        source: RestoreError,
    },
    /// This program was built without SQLite.
    #[error("this program was built without SQLite; build it with the feature `sqlite`")]
    NoSqlite,
    /// The database cannot be read, or is not one of this program.
    #[error("the database whimbrel.sqlite in {} cannot be used: {source}", directory.display())]
    Database {
        /// Where.
        directory: PathBuf,
        /// Why.
        source: Box<dyn core::error::Error + Send + Sync>,
    },
}

/// Why something could not be published or subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// It cannot be said in MQTT, or this broker is not configured for it.
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// The broker said no.
    #[error("the broker refused: {0}")]
    Refused(ReasonCode),
    /// The broker has stopped, or has ended the connection.
    #[error("the broker has stopped")]
    Stopped,
}

/// Why a broker did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The broker's configuration does not fit together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A number of threads that cannot be had.
    #[error("threads: {0} is not possible with this runtime, set it to 1")]
    Threads(u16),
    /// The log cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What is to be recorded cannot be written there.
    #[error("cannot record to {}: {source}", file.display())]
    Recording {
        /// What the files of the recording are named after.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system gives no thread, no descriptor or no event queue.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// The broker has stopped, so it cannot answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the broker has stopped")]
pub struct Stopped;

/// A shard ended by a panic: a bug in the broker.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("shard {shard} crashed: {message}")]
pub struct Crashed {
    /// Which.
    pub shard: u16,
    /// What the panic said.
    pub message: String,
}

impl Crashed {
    /// The log could not go on, as this shard was told.
    #[must_use]
    pub fn of_the_log(shard: u16) -> Self {
        Self {
            shard,
            message: "the log has failed".to_owned(),
        }
    }

    /// What ended the thread of a shard.
    #[must_use]
    pub fn by(shard: u16, panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self {
            shard,
            message: text.unwrap_or("no message").to_owned(),
        }
    }
}
