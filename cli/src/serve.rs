//! `whimbrel serve`: runs the broker until a signal stops it.

use crate::arguments::number;
use crate::config::{Flags, Format, Level, Listen, Loaded, Problem, complain_about, gather};
use crate::notify::{feed_watchdog, notify};
use crate::output::{complain, say};
use crate::reload::{Reloader, judge};
use crate::runtime::{self, Handle, RECORDS, Server, THREADS, or};
use crate::signals::{Signal, Signals};
use crate::surroundings::Surroundings;
use crate::{logging, misuse, statistics, summary};
use argh::{ArgsInfo, FromArgs};
use std::io::{IsTerminal, stderr};
use std::net::Ipv4Addr;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use thiserror::Error;
use tracing::{error, info, warn};
use whimbrel_auth::{Authority, Prepared};
use whimbrel_core::log::RecoveryError;
use whimbrel_core::runtime::{
    Crashed, ListenerUrl, RecordingConfig, Scheme, StartError, StorageError,
};

/// Run the broker. Flags win over the environment, that over the file, and that over the defaults.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "serve",
    help_triggers("-h", "--help", "help"),
    note = "SIGINT (Ctrl-C) or SIGTERM stops: clients are told, and get their last bytes within the grace period.\nA second one stops at once. SIGHUP takes over what has changed in the configuration, or says why not.\nSIGUSR1 writes the statistics to the log.",
    note = "Every setting: whimbrel check --print-defaults",
    example = "{command_name} -l tcp://0.0.0.0:1883",
    error_code(0, "stopped by a signal"),
    error_code(
        1,
        "cannot run: the port or the directory is in use, the log is damaged, ..."
    ),
    error_code(2, "what was typed, or the configuration, is wrong")
)]
pub(crate) struct Serve {
    /// the configuration file
    #[argh(option, short = 'c', arg_name = "file")]
    pub(crate) config: Option<String>,
    /// where to listen, such as tcp://0.0.0.0:1883 or unix:///run/whimbrel.sock, instead of what
    /// the configuration says; keys of a listener may follow, as in
    /// tls://0.0.0.0:8883?certificate=a.crt&key=a.key; may be there several times
    #[argh(option, short = 'l', arg_name = "url", from_str_fn(listen))]
    pub(crate) listen: Vec<Listen>,
    /// the directory where sessions and messages are kept; default: whimbrel-data
    #[argh(option, short = 'd', arg_name = "directory")]
    pub(crate) data_dir: Option<String>,
    /// keep sessions and messages in memory only: what is acknowledged is lost at the end
    #[argh(switch)]
    pub(crate) memory: bool,
    /// threads that serve clients, 1 to 64; 0 is one for each core
    #[argh(option, short = 't', arg_name = "number", from_str_fn(threads))]
    pub(crate) threads: Option<u16>,
    /// write down everything that goes into the broker, for `whimbrel replay`: files named after
    /// this one, of which the oldest are removed. Passwords are not in them, payloads are
    #[argh(option, arg_name = "file")]
    pub(crate) record: Option<PathBuf>,
    /// what these files may take in all, in MiB, shared evenly by the threads; default: 256. What
    /// the broker keeps in memory has to fit into a quarter of a thread's share
    #[argh(option, arg_name = "mebibytes", from_str_fn(number))]
    pub(crate) record_size: Option<u64>,
    /// leave payloads out of them
    #[argh(switch)]
    pub(crate) record_redact_payloads: bool,
    /// error, warn, info, debug or trace
    #[argh(option, arg_name = "level")]
    pub(crate) log_level: Option<Level>,
    /// human or json
    #[argh(option, arg_name = "format")]
    pub(crate) log_format: Option<Format>,
}

fn listen(text: &str) -> Result<Listen, String> {
    text.parse()
}

fn threads(text: &str) -> Result<u16, String> {
    let number = text.parse().ok();
    let number = number.filter(|number| THREADS.contains(number));
    number.ok_or_else(|| {
        let (least, most) = (THREADS.start(), THREADS.end());
        format!("expected a number from {least} to {most}")
    })
}

/// Why files cannot be named after this one.
fn cannot_name_files(file: &Path) -> Option<String> {
    let text = file.as_os_str().to_string_lossy();
    if file.file_name().is_none() || text.ends_with(std::path::is_separator) || file.is_dir() {
        return Some("expected the name of a file, which is no directory".to_owned());
    }
    None
}

/// Where there is no directory for them, which may be there at the next start.
fn missing_directory(file: &Path) -> Option<String> {
    let directory = file.parent().filter(|parent| *parent != Path::new(""))?;
    let shown = directory.display();
    if directory.is_dir() {
        None
    } else if directory.exists() {
        Some(format!("--record: {shown} is no directory"))
    } else {
        Some(format!(
            "--record: there is no directory {shown}; make it first: mkdir -p {shown}"
        ))
    }
}

impl Serve {
    /// Does it.
    pub(crate) fn run(self) -> ExitCode {
        if self.memory && self.data_dir.is_some() {
            complain(
                "--memory keeps nothing in a directory; leave out one of --memory and --data-dir",
            );
            return misuse();
        }
        if let Some(why) = self.cannot_record() {
            complain(&why);
            return misuse();
        }
        if let Some(why) = self.record.as_deref().and_then(missing_directory) {
            complain(&why);
            return ExitCode::FAILURE;
        }
        let recording = self.record.map(|file| RecordingConfig {
            ring_bytes: self.record_size.unwrap_or(256).saturating_mul(1 << 20),
            redact_payloads: self.record_redact_payloads,
            ..RecordingConfig::new(file)
        });
        let flags = Flags {
            listen: self.listen,
            data_dir: self.data_dir,
            memory: self.memory,
            threads: self.threads,
            log_level: self.log_level,
            log_format: self.log_format,
        };
        match read(self.config.as_deref(), &flags) {
            Ok((mut loaded, prepared, notes)) => {
                loaded.settings.server.recording = recording;
                loaded.notes.extend(notes);
                logging::start(&loaded.settings.log);
                run(&loaded, prepared, flags)
            }
            Err(problems) => {
                complain_about(&problems);
                misuse()
            }
        }
    }
}

impl Serve {
    /// What is wrong with what was typed about a recording.
    fn cannot_record(&self) -> Option<String> {
        let has_more = self.record_redact_payloads || self.record_size.is_some();
        let why = match &self.record {
            None if !has_more => return None,
            _ if !RECORDS => {
                "--record: this program cannot record; take the one with the tokio runtime"
            }
            None => {
                "--record-size and --record-redact-payloads are about the files of a recording; \
                 name them with --record, or leave these out"
            }
            Some(_) if self.record_size == Some(0) => {
                "--record-size: a recording takes at least 1 MiB"
            }
            Some(file) => return cannot_name_files(file).map(|why| format!("--record: {why}")),
        };
        Some(why.to_owned())
    }
}

/// Everything that the operator can be wrong about, before anything is opened or made: it ends with
/// another code than what may be better at the next start. Gives notes on listeners as well.
fn read(
    file: Option<&str>,
    flags: &Flags,
) -> Result<(Loaded, Prepared, Vec<Problem>), Vec<Problem>> {
    let (loaded, mut problems) = gather(file, std::env::vars_os(), flags, None);
    let found = Surroundings::of_listeners(&loaded);
    problems.extend(found.unusable);
    let prepared = judge(&loaded, problems)?;
    // A certificate that has expired keeps out those who look at it, and no others.
    let notes = found.errors.into_iter().chain(found.notes).collect();
    Ok((loaded, prepared, notes))
}

/// Serves until a signal comes.
fn run(loaded: &Loaded, prepared: Prepared, flags: Flags) -> ExitCode {
    match serve(loaded, prepared, flags) {
        Ok(()) => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            error!("{failure}");
            if let Some(remedy) = failure.remedy() {
                error!("{remedy}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Why the broker does not run, or ran no longer.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    #[error(transparent)]
    Crashed(#[from] Crashed),
}

impl Failure {
    /// What to do about it, where that is more than the failure says itself.
    fn remedy(&self) -> Option<String> {
        let Self::Start(StartError::Storage(error)) = self else {
            return None;
        };
        if let StorageError::Database { .. } = error {
            return Some(
                "if it is damaged, bring back an older copy of the directory, or move whimbrel.sqlite away and \
                 begin anew: sessions and retained messages are lost then"
                    .to_owned(),
            );
        }
        let StorageError::Recovery { directory, source } = error else {
            return None;
        };
        let directory = directory.display();
        if source.is_no_space() {
            return Some(
                "make room on its file system, or choose a smaller storage.segment_bytes, such as \"1 MiB\""
                    .to_owned(),
            );
        }
        if source.is_denied() {
            return Some(
                "let the user whom the broker runs as read and write the files there".to_owned(),
            );
        }
        let is_damage = matches!(source, RecoveryError::Corrupt(_));
        is_damage.then(|| {
            format!(
                "nothing was changed. `whimbrel log verify {directory}` tells what is readable, `whimbrel \
                 log repair {directory}` gives up what is not, keeps a copy and lists what is lost; \
                 storage.on_corruption = \"quarantine\" does so at every start"
            )
        })
    }
}

fn serve(loaded: &Loaded, prepared: Prepared, flags: Flags) -> Result<(), Failure> {
    runtime::block_on(async {
        // Before anyone can know that the broker is there to be stopped.
        let signals = Signals::take()?;
        let mut warnings = summary::warnings(&loaded.settings, &prepared);
        warnings.extend(loaded.notes.iter().map(ToString::to_string));
        let authority = Authority::new(prepared);
        let broker = start(loaded, authority.clone())?;
        welcome(loaded, &warnings, broker.listeners());
        let reloader = Reloader {
            file: loaded.file.clone(),
            flags,
            settings: loaded.settings.clone(),
            authority,
        };
        notify("READY=1");
        let watched = async {
            feed_watchdog(&broker).await;
            Ok(())
        };
        Ok(or(until_stopped(&broker, signals, reloader), watched).await?)
    })?
}

/// Starts the broker, on a stack that is given back then: it goes deep once, and a stack stays
/// resident as deep as it ever was.
fn start(loaded: &Loaded, authority: Authority) -> Result<Handle, Failure> {
    thread::scope(|scope| {
        let start = || {
            let server = Server::new(loaded.settings.server_config());
            server.authenticator(authority).start()
        };
        match thread::Builder::new().spawn_scoped(scope, start)?.join() {
            Ok(started) => Ok(started?),
            Err(panic) => resume_unwind(panic),
        }
    })
}

/// Says what runs, what to look at, and what to type next.
fn welcome(loaded: &Loaded, warnings: &[String], listeners: &[ListenerUrl]) {
    let Loaded { settings, file, .. } = loaded;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        file,
        "serving; {}",
        settings.storage.guarantee()
    );
    for warning in warnings {
        warn!("{warning}");
    }
    let for_people = settings.log.format == Format::Human && settings.log.level.shows_info();
    if for_people && stderr().is_terminal() {
        let mut open = listeners.iter().zip(&settings.server.listeners);
        let text = open.find_map(|(url, config)| {
            let typed = what_to_type(url);
            typed.filter(|_| summary::is_open(config))
        });
        text.iter().for_each(|text| say(text));
    }
}

/// What happened first to a broker that runs.
enum Turn {
    Ended(Result<(), Crashed>),
    Came(Signal),
}

/// The first signal to stop is obeyed gracefully, the next promptly.
async fn until_stopped(
    broker: &Handle,
    mut signals: Signals,
    mut reloader: Reloader,
) -> Result<(), Crashed> {
    let signal = loop {
        let ended = async { Turn::Ended(broker.stopped().await) };
        match or(ended, async { Turn::Came(signals.next().await) }).await {
            Turn::Ended(result) => return result,
            Turn::Came(Signal::Stop(name)) => break name,
            #[cfg(unix)]
            Turn::Came(Signal::Report) => {
                if let Ok(shards) = broker.statistics().await {
                    let storage = broker.storage_statistics();
                    statistics::log(&shards, storage.as_ref());
                    statistics::log_authentication(reloader.authority.statistics());
                }
                if let Ok(tenants) = broker.tenants().await {
                    let limits = &reloader.settings.server.broker.tenants;
                    statistics::log_tenants(&tenants, limits);
                }
            }
            // A broker that has stopped is noticed in the next turn.
            #[cfg(unix)]
            Turn::Came(Signal::Reload) => drop(reloader.reload(broker).await),
        }
    };
    info!(signal, "stopping; the next signal stops at once");
    notify("STOPPING=1");
    let hurry = async {
        loop {
            if let Signal::Stop(signal) = signals.next().await {
                info!(signal, "stopping at once");
                broker.stop_now();
            }
        }
    };
    or(broker.shutdown(), hurry).await
}

/// How to see the broker at work, where that needs no more than a few words.
fn what_to_type(url: &ListenerUrl) -> Option<String> {
    let address = url.address().filter(|_| url.scheme() == Scheme::Tcp)?;
    // As it was typed, so that it can be typed again.
    let program = std::env::args().next();
    let program = program.as_deref().unwrap_or("whimbrel");
    let mut at = String::new();
    let everywhere = address.ip().is_unspecified() || address.ip() == Ipv4Addr::LOCALHOST;
    if !everywhere {
        at.push_str(&format!(" -h {}", address.ip()));
    }
    if address.port() != url.scheme().port() {
        at.push_str(&format!(" -p {}", address.port()));
    }
    Some(format!(
        "\nClients connect to {url}. To see it work, type in two other terminals:\n\n    \
         {program} sub{at} -t 'hello/#' -v\n    {program} pub{at} -t hello/world -m hi\n\n\
         Ctrl-C stops the broker.\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_host_and_port_when_they_are_needed() {
        for (address, expected) in [
            ("127.0.0.1:1883", " sub -t"),
            ("0.0.0.0:1883", " sub -t"),
            ("[::]:18830", " sub -p 18830 -t"),
            ("[::1]:1883", " sub -h ::1 -t"),
            ("192.0.2.1:1", " sub -h 192.0.2.1 -p 1 -t"),
        ] {
            let url = ListenerUrl::tcp(address.parse().unwrap());
            let text = what_to_type(&url).unwrap();
            assert!(text.contains(expected), "{text}");
        }
    }
}
