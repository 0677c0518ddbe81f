//! `whimbrel check`: what is wrong with a configuration, or what it would run.

use crate::config::{Flags, Loaded, Problem, complain_about, example_file, gather};
use crate::misuse;
use crate::output::{complain, print};
use crate::reload::judge;
use crate::summary;
use crate::surroundings::Surroundings;
use argh::{ArgsInfo, FromArgs};
use std::process::ExitCode;
use whimbrel_auth::Prepared;

/// Check a configuration: every mistake with its place, or what would run.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "check",
    help_triggers("-h", "--help", "help"),
    note = "Environment variables count as they do for serve; WHIMBREL_CONFIG may name the file, and without a file\nthey are checked alone.",
    error_code(0, "the configuration can run"),
    error_code(2, "it cannot; every mistake is named")
)]
pub(crate) struct Check {
    /// print a file with every setting and its default, and check nothing
    #[argh(switch)]
    print_defaults: bool,
    /// the configuration file, as serve has it
    #[argh(option, short = 'c', arg_name = "file")]
    config: Option<String>,
    /// the configuration file
    #[argh(positional)]
    file: Option<String>,
}

impl Check {
    /// Does it.
    pub(crate) fn run(self) -> ExitCode {
        if self.print_defaults {
            print(&example_file());
            return ExitCode::SUCCESS;
        }
        if self.config.is_some() && self.file.is_some() {
            complain("there are two files to check; name one");
            return misuse();
        }
        let file = self.config.or(self.file);
        match read(file.as_deref()) {
            Ok(None) => {
                complain("name the file to check: whimbrel check FILE");
                misuse()
            }
            Ok(Some(report)) => {
                print(&report);
                ExitCode::SUCCESS
            }
            Err(problems) => {
                complain_about(&problems);
                misuse()
            }
        }
    }
}

/// What would run; `None` when there is nothing to check.
fn read(file: Option<&str>) -> Result<Option<String>, Vec<Problem>> {
    let (loaded, mut problems) = gather(file, std::env::vars_os(), &Flags::default(), None);
    if loaded.file.is_none() && loaded.variables.is_empty() && problems.is_empty() {
        return Ok(None);
    }
    let found = Surroundings::of(&loaded);
    problems.extend(found.unusable.into_iter().chain(found.errors));
    let prepared = judge(&loaded, problems)?;
    Ok(Some(report(&loaded, &prepared, &found.notes)))
}

fn report(loaded: &Loaded, prepared: &Prepared, more: &[Problem]) -> String {
    let file = loaded.file.as_deref().unwrap_or("the environment");
    let mut out = format!("{file}: ok\n");
    let settings = &loaded.settings;
    for listener in &settings.server.listeners {
        out.push_str(&format!(
            "listens at {}\n",
            summary::listener(listener, prepared)
        ));
    }
    for line in prepared.summary() {
        out.push_str(&format!("asks {line}\n"));
    }
    out.push_str(&settings.storage.guarantee());
    out.push('\n');
    let odd = loaded.notes.iter().chain(more).map(ToString::to_string);
    for warning in summary::warnings(settings, prepared).into_iter().chain(odd) {
        out.push_str(&format!("note: {warning}\n"));
    }
    if !loaded.variables.is_empty() {
        let variables = loaded.variables.join(", ");
        out.push_str(&format!("set by the environment: {variables}\n"));
    }
    out
}
