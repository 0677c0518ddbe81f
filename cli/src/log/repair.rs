//! `whimbrel log repair`: gives up what cannot be read, so that the rest can be used.

use super::census::Census;
use super::verify::report;
use super::{Failure, drive, read};
use crate::output::print;
use argh::{ArgsInfo, FromArgs};
use whimbrel_core::log::Recovery;
use whimbrel_host::Executor;

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
        let repaired = drive(&directory, (Executor::open, Recovery::repair()), |_| {})?;
        let mut census = Census::default();
        let summary = read(&directory, |batch| census.count(batch))?;
        let mut out = String::new();
        for damage in &repaired.lost {
            out.push_str(&format!("given up: {damage}\n"));
        }
        if repaired.lost.is_empty() {
            out.push_str("nothing had to be given up\n");
        }
        for lost in census.missing() {
            out.push_str(&format!("lost: {lost}\n"));
        }
        out.push_str(&report(&directory, &summary, &census));
        print(&out);
        Ok(())
    }
}
