//! `whimbrel check`: what is wrong with a configuration, or what it would run.

use crate::config::{Flags, Loaded, complain_about, example_file, load};
use crate::misuse;
use crate::output::{complain, print};
use crate::reload::prepare;
use crate::runtime::CertificateFinding;
use crate::summary;
use argh::{ArgsInfo, FromArgs};
use std::process::ExitCode;
use whimbrel_auth::Prepared;

/// Check a configuration: every mistake with its place, or what would run.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "check",
    help_triggers("-h", "--help", "help"),
    note = "Environment variables count as they do for serve.",
    error_code(0, "the configuration can run"),
    error_code(2, "it cannot; every mistake is named")
)]
pub(crate) struct Check {
    /// print a file with every setting and its default, and check nothing
    #[argh(switch)]
    print_defaults: bool,
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
        let Some(file) = self.file else {
            complain("name the file to check: whimbrel check FILE");
            return misuse();
        };
        let loaded = load(Some(&file), std::env::vars_os(), &Flags::default());
        let read = loaded.and_then(|loaded| prepare(&loaded).map(|prepared| (loaded, prepared)));
        match read {
            Ok((loaded, prepared)) => {
                let (errors, warnings): (Vec<_>, Vec<_>) = summary::certificates(&loaded.settings)
                    .into_iter()
                    .partition(|finding| matches!(finding, CertificateFinding::Error(_)));
                if errors.is_empty() {
                    print(&report(&file, &loaded, &prepared, &warnings));
                    return ExitCode::SUCCESS;
                }
                errors.iter().for_each(|error| complain(&error.to_string()));
                misuse()
            }
            Err(problems) => {
                complain_about(&problems);
                misuse()
            }
        }
    }
}

fn report(
    file: &str,
    loaded: &Loaded,
    prepared: &Prepared,
    certificates: &[CertificateFinding],
) -> String {
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
    let certificates = certificates.iter().map(ToString::to_string);
    for warning in summary::warnings(settings, prepared)
        .into_iter()
        .chain(certificates)
    {
        out.push_str(&format!("note: {warning}\n"));
    }
    if !loaded.variables.is_empty() {
        let variables = loaded.variables.join(", ");
        out.push_str(&format!("set by the environment: {variables}\n"));
    }
    out
}
