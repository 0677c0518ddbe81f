//! `whimbrel log verify`: reads all of a log, changes nothing.

use super::census::Census;
use super::rehearsal::Rehearsal;
use super::{Disk, Failure, drive, end, locked, read};
use crate::output::print;
use argh::{ArgsInfo, FromArgs};
use std::collections::BTreeSet;
use whimbrel_core::log::{Damage, LogEnd, Recovered, Recovery, Summary};
use whimbrel_host::{Executor, new_uuid};

/// Read a log to its end, and say what is in it or where it is damaged. Changes nothing.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "verify",
    help_triggers("-h", "--help", "help"),
    error_code(0, "it is whole"),
    error_code(
        1,
        "there is none, or it cannot be read: no such directory, in use by a broker, ..."
    ),
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
        match read(&self.directory, |batch| census.count(batch)) {
            Ok(summary) if summary.end == LogEnd::New => Err(Failure::no_log(self.directory)),
            Ok(summary) => {
                let mut out = report(&self.directory, &summary, &census);
                if summary.gaps > 0 {
                    out.push_str(&missing(&summary, &census));
                }
                print(&out);
                Ok(())
            }
            Err(failure) if failure.is_damage() => {
                // What else there is, and what is left, a repair would find out.
                let disk = Rehearsal::new(locked(&self.directory, Executor::read_only)?);
                let mut disk = Disk::Rehearsed(disk);
                let repair = Recovery::repair(new_uuid());
                if let Ok(repaired) = drive(&self.directory, &mut disk, repair, |_| {}) {
                    let mut census = Census::default();
                    let verify = Recovery::verify();
                    let count = |batch: &Recovered<'_>| census.count(batch);
                    let left = drive(&self.directory, &mut disk, verify, count)?;
                    print(&outcome("damaged", &repaired, &left, &census));
                    print(&format!("readable: {}\n", census.totals()));
                }
                Err(failure)
            }
            Err(failure) => Err(failure),
        }
    }
}

/// What a repair gave up or would give up, and what is missing then.
pub(super) fn outcome(verb: &str, repaired: &Summary, left: &Summary, census: &Census) -> String {
    let mut out = String::new();
    let mut places = BTreeSet::new();
    for damage in &repaired.lost {
        let place = damage.place().to_string();
        if places.insert(place.clone()) {
            out.push_str(&format!("{verb}: {place}\n"));
        }
    }
    for (first, last) in &left.doubts {
        let is_end = |damage: &Damage| damage.first_lsn == *first && damage.last_lsn.is_none();
        out.push_str(&match repaired.lost.iter().any(is_end) {
            true => format!("lost: records from {first} on; how many is not known\n"),
            false => format!("lost: records {first} to {last}\n"),
        });
    }
    if !left.doubts.is_empty() {
        out.push_str("lost: what these records retained or cleared, and what they alone told of\n");
    }
    out + &missing(left, census)
}

/// What is missing of what is known, and what ends for it.
fn missing(left: &Summary, census: &Census) -> String {
    let lines = census.missing(&left.doubts).into_iter();
    lines.map(|lost| format!("lost: {lost}\n")).collect()
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
        out.push_str(&format!("gaps left by repairs: {}\n", summary.gaps));
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
