//! `whimbrel check`: what is wrong with a configuration, or what it would run.

use crate::config::{Backend, Flags, Loaded, Settings, complain_about, example_file, load};
use crate::misuse;
use crate::output::{complain, print};
use crate::reload::prepare;
use crate::runtime::CertificateFinding;
use crate::summary;
use argh::{ArgsInfo, FromArgs};
use std::path::Path;
use std::process::ExitCode;
use whimbrel_auth::Prepared;
#[cfg(unix)]
use whimbrel_host::SocketFile;

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
                let (mut errors, mut notes) = surroundings(&loaded.settings);
                for finding in summary::certificates(&loaded.settings) {
                    match finding {
                        CertificateFinding::Error(error) => errors.push(error.to_string()),
                        CertificateFinding::Warning(error) => notes.push(error.to_string()),
                    }
                }
                if errors.is_empty() {
                    print(&report(&file, &loaded, &prepared, &notes));
                    return ExitCode::SUCCESS;
                }
                errors.iter().for_each(|error| complain(error));
                misuse()
            }
            Err(problems) => {
                complain_about(&problems);
                misuse()
            }
        }
    }
}

/// What the system has to have for it, as far as the user who asks may see: errors, and what only
/// may be one, since the broker may run as somebody else.
fn surroundings(settings: &Settings) -> (Vec<String>, Vec<String>) {
    let (mut errors, mut notes) = (Vec::new(), Vec::new());
    #[cfg(unix)]
    for listener in &settings.server.listeners {
        if let Some(path) = listener.url.file()
            && let Err(why) = SocketFile::check(path, listener)
        {
            errors.push(format!("{}: {why}", listener.url));
        }
    }
    if settings.storage.backend != Backend::Memory {
        // It is made where it is not there, with all that leads to it.
        let directory = Path::new(&settings.storage.directory);
        let there = directory.ancestors().find(|path| path.exists());
        let there = there.filter(|path| *path != Path::new(""));
        let there = there.unwrap_or_else(|| Path::new("."));
        let shown = there.display();
        if !there.is_dir() {
            errors.push(format!(
                "storage.directory: {shown} is no directory; name another, such as \
                 /var/lib/whimbrel"
            ));
        } else if !may_write(there) {
            notes.push(format!(
                "storage.directory: who runs this check may not write to {shown}; the broker has to run \
                 as somebody who may, or name another"
            ));
        }
    }
    (errors, notes)
}

#[cfg(unix)]
fn may_write(directory: &Path) -> bool {
    use rustix::fs::{Access, access};
    access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

#[cfg(not(unix))]
fn may_write(_: &Path) -> bool {
    true
}

fn report(file: &str, loaded: &Loaded, prepared: &Prepared, more: &[String]) -> String {
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
    let odd = loaded.notes.iter().map(ToString::to_string);
    let warnings = summary::warnings(settings, prepared).into_iter().chain(odd);
    for warning in warnings.chain(more.iter().cloned()) {
        out.push_str(&format!("note: {warning}\n"));
    }
    if !loaded.variables.is_empty() {
        let variables = loaded.variables.join(", ");
        out.push_str(&format!("set by the environment: {variables}\n"));
    }
    out
}
