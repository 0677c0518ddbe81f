//! Reads access rules from the text of a file, into the plain values that the core decides by.
//!
//! Two formats: `toml`, the one to write, and `mosquitto`, the ACL files of that
//! broker. Nothing here opens a file, and nothing is guessed: a text that is not understood whole
//! is no rules at all, and every mistake in it is named with its line.

mod bans;
mod file;
mod mosquitto;
pub mod nearest;
mod notes;

pub use bans::edit::{Banned, banned, with_ban, without_bans};
pub use bans::parse_bans;
pub use bans::time::{parse_time, show_time};
pub use notes::{notes, notes_on_bans};

use thiserror::Error;
use whimbrel_core::access::rules::RuleSet;

/// How rules are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As `docs/access.md` tells.
    Toml,
    /// As mosquitto's `acl_file`.
    Mosquitto,
}

impl Format {
    /// The format of a file, by its name: TOML when that ends in `.toml`.
    #[must_use]
    pub fn of(path: &str) -> Self {
        if path.to_ascii_lowercase().ends_with(".toml") {
            Self::Toml
        } else {
            Self::Mosquitto
        }
    }
}

/// One mistake, in words for the person who made it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
#[error("line {line}: {message}")]
pub struct Problem {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong and what to do, without a full stop.
    pub message: String,
}

/// Reads rules. `listeners` are the names of the listeners in their order, which rules may ask for.
///
/// # Errors
///
/// Every mistake found, in the order of the lines. An empty text is none, and allows nothing.
pub fn parse(text: &str, format: Format, listeners: &[String]) -> Result<RuleSet, Vec<Problem>> {
    let (rules, mut problems) = match format {
        Format::Toml => file::parse(text, listeners),
        Format::Mosquitto => mosquitto::parse(text),
    };
    if problems.is_empty() {
        return Ok(rules);
    }
    problems.sort();
    Err(problems)
}

/// The line of a byte of a text.
fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|byte| **byte == b'\n').count()
}
