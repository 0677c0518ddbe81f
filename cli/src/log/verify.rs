//! `whimbrel log verify`: reads all of a log, changes nothing.

use super::census::Census;
use super::{Failure, end, read};
use crate::output::print;
use argh::{ArgsInfo, FromArgs};
use whimbrel_core::log::Summary;

/// Read a log to its end, and say what is in it or where it is damaged. Changes nothing.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "verify",
    help_triggers("-h", "--help", "help"),
    error_code(0, "it is whole"),
    error_code(1, "it cannot be read: no such directory, in use by a broker, ..."),
    error_code(3, "it is damaged; the message says where")
)]
pub(crate) struct Verify {
    /// the directory
    #[argh(positional)]
    directory: String,
}

impl Verify {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut census = Census::default();
        let summary = read(&self.directory, |batch| {
            census.count(batch);
        })?;
        print(&report(&self.directory, &summary, &census));
        Ok(())
    }
}

/// What was found, for people.
pub(super) fn report(directory: &str, summary: &Summary, census: &Census) -> String {
    let Summary {
        segments,
        batches,
        bytes,
        ..
    } = summary;
    let mut out = format!(
        "{directory}: whole\n{segments} segments, {batches} batches, {bytes} bytes; {}\nholds {}\n",
        end(summary),
        census.totals()
    );
    if summary.gaps > 0 {
        out.push_str(&format!("gaps left by earlier repairs: {}\n", summary.gaps));
    }
    if summary.skipped > 0 {
        let skipped = summary.skipped;
        out.push_str(&format!("records of a later version, skipped: {skipped}\n"));
    }
    for file in &summary.foreign_files {
        out.push_str(&format!("left alone: {file}\n"));
    }
    out
}
