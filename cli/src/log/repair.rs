//! `whimbrel log repair`: gives up what cannot be read, so that the rest can be used.

use super::census::Census;
use super::verify::{outcome, report};
use super::{Disk, Failure, drive, locked};
use crate::output::print;
use argh::{ArgsInfo, FromArgs};
use whimbrel_core::log::{LogEnd, Recovery};
use whimbrel_host::{Executor, new_uuid};

/// Give up what cannot be read, so that the broker can start with the rest. Keeps a copy of every
/// damaged file beside it, and lists what is lost.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "repair",
    help_triggers("-h", "--help", "help"),
    note = "Copies are called seg-….damaged-N. They are never read and never removed by the broker.",
    error_code(0, "the log is whole now; what was given up is listed"),
    error_code(1, "it cannot be read or written: no such directory, in use, ..."),
    error_code(3, "it is damaged in a way that cannot be mended")
)]
pub(crate) struct Repair {
    /// the directory
    #[argh(positional)]
    directory: String,
}

impl Repair {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { directory } = self;
        let mut disk = Disk::Real(locked(&directory, Executor::open)?);
        let repaired = drive(&directory, &mut disk, Recovery::repair(new_uuid()), |_| {})?;
        let mut census = Census::default();
        let verify = Recovery::verify();
        let left = drive(&directory, &mut disk, verify, |batch| census.count(batch))?;
        let mut out = outcome("given up", &repaired, &left, &census);
        if repaired.lost.is_empty() {
            out.push_str("nothing had to be given up\n");
        } else if left.doubts.is_empty() && left.end != LogEnd::New {
            out.push_str("no record is lost by that\n");
        }
        for copy in &repaired.copies {
            out.push_str(&format!("kept as it was: {copy}\n"));
        }
        if left.end != LogEnd::New {
            out.push_str(&report(&directory, &left, &census));
        } else if repaired.lost.is_empty() {
            return Err(Failure::no_log(directory));
        } else {
            out.push_str(&format!(
                "{directory}: empty; the next start begins a new log\n"
            ));
        }
        print(&out);
        Ok(())
    }
}
