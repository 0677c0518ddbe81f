//! The configuration: what a file, the environment and flags say, put together and checked.
//!
//! Flags win over the environment, that over the file, and that over the defaults. Every mistake in
//! file and environment is reported at once, each with its place. What a setting means is for the
//! types it ends up in; which keys there are is told by the table in `keys`.

mod access;
mod access_keys;
mod authentication_keys;
mod contradictions;
mod document;
mod environment;
mod field;
mod file;
mod key;
mod keys;
mod live;
mod log;
mod problem;
mod storage;
mod together;
mod value;

pub(crate) use access::{Access, listener_names, read_rules};
pub(crate) use document::example_file;
pub(crate) use live::{changed, take_over};
pub(crate) use log::{Format, Level, Log};
pub(crate) use problem::{Place, Problem};
pub(crate) use storage::{Backend, Storage};

use crate::output::say;
use core::str::FromStr;
use key::Key;
use std::collections::BTreeMap;
use std::ffi::OsString;
use value::Written;
use whimbrel_core::Config;
use whimbrel_core::config::Limits;
use whimbrel_core::runtime::{BadUrl, ListenerConfig, ListenerUrl, ServerConfig};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The broker and its sockets. No listeners until it is known that nobody named any.
    /// Its storage is told by `storage`; see [`server_config`](Self::server_config).
    pub(crate) server: ServerConfig,
    /// Where sessions and messages are kept.
    pub(crate) storage: Storage,
    /// The files that say who may do what. What they say is in `server`.
    pub(crate) access: Access,
    /// Who is asked about credentials.
    pub(crate) authentication: whimbrel_auth::Config,
    /// What is written to standard error.
    pub(crate) log: Log,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server: ServerConfig {
                listeners: Vec::new(),
                ..ServerConfig::default()
            },
            storage: Storage::default(),
            access: Access::default(),
            authentication: whimbrel_auth::Config::default(),
            log: Log::default(),
        }
    }
}

impl Settings {
    /// What the runtime is started with.
    pub(crate) fn server_config(&self) -> ServerConfig {
        ServerConfig {
            storage: self.storage.to_config(),
            ..self.server.clone()
        }
    }

    /// The listener whose keys are being set: the one begun last.
    fn listener(&mut self) -> &mut ListenerConfig {
        let listeners = &mut self.server.listeners;
        if listeners.is_empty() {
            listeners.push(ListenerConfig::default());
        }
        listeners
            .last_mut()
            .expect("one was pushed if there was none")
    }
}

/// A listener as it is named on the command line: `URL?KEY=VALUE&KEY=VALUE`, with keys of
/// `[[listener]]` and values as in environment variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    url: ListenerUrl,
    /// Names and values.
    options: Vec<(&'static str, String)>,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (url, options) = text.split_once('?').unwrap_or((text, ""));
        let options = options.split('&').filter(|option| !option.is_empty());
        let options = options.map(|option| {
            let (name, value) = option.split_once('=').ok_or_else(|| {
                format!(
                    "\"{option}\": what stands behind the `?` is KEY=VALUE, with `&` between two"
                )
            })?;
            let key = listener_key(name)?;
            // Whether it is a value is known before anything starts.
            key.kind().read(Written::Text(value))?;
            Ok((key.name, value.to_owned()))
        });
        Ok(Self {
            url: url.parse().map_err(|why: BadUrl| why.to_string())?,
            options: options.collect::<Result<_, String>>()?,
        })
    }
}

/// A key of `[[listener]]` other than its URL.
fn listener_key(name: &str) -> Result<&'static Key, String> {
    let section = keys::listener();
    let key = section.key(name).filter(|key| key.name != "url");
    key.ok_or_else(|| file::unknown_key(section, name))
}

/// What was set on the command line. It is checked there.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    /// Instead of all other listeners.
    pub(crate) listen: Vec<Listen>,
    /// Instead of `storage.directory`.
    pub(crate) data_dir: Option<String>,
    /// `storage.backend` is memory.
    pub(crate) memory: bool,
    /// `server.threads`.
    pub(crate) threads: Option<u16>,
    /// `log.level`.
    pub(crate) log_level: Option<Level>,
    /// `log.format`.
    pub(crate) log_format: Option<Format>,
}

/// A configuration that can run, and where it came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What holds.
    pub(crate) settings: Settings,
    /// The file that was read.
    pub(crate) file: Option<String>,
    /// The environment variables that were heeded.
    pub(crate) variables: Vec<String>,
    /// What is odd about the files that it names.
    pub(crate) notes: Vec<Problem>,
    places: Places,
}

impl Loaded {
    /// The same from the same places, but with these settings.
    pub(crate) fn with(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Where a setting was written, by its full name.
    pub(crate) fn place_or_default(&self, full_name: &str) -> Place {
        place_of(&self.places, full_name)
    }

    /// Where a key of a listener was written, or else its URL.
    pub(crate) fn listener_place(&self, key: &str, index: usize) -> Place {
        listener_place(&self.places, key, index)
    }
}

/// Where each setting was written, by its full name. Listeners are counted: `listener.url#0`. What
/// is set for all of them has no number.
type Places = BTreeMap<String, Place>;

/// What stands in the [`Places`] instead of the URL of a listener that has none which can be read.
const BAD_URL: &str = "listener.bad-url";

fn place_of(places: &Places, full_name: &str) -> Place {
    places.get(full_name).cloned().unwrap_or(Place::Default)
}

fn listener_place(places: &Places, key: &str, index: usize) -> Place {
    let names = [
        format!("listener.{key}#{index}"),
        format!("listener.{key}"),
        format!("listener.url#{index}"),
    ];
    let place = names.iter().find_map(|name| places.get(name));
    place.cloned().unwrap_or(Place::Default)
}

/// All listeners are replaced: what was said of those before counts no more.
fn forget_listeners(places: &mut Places) {
    places.retain(|name, _| !name.starts_with("listener."));
}

/// Puts file, environment and flags together. `file` is what a flag says; without it the variable
/// `WHIMBREL_CONFIG` may name one.
///
/// # Errors
///
/// Every mistake found, in the order of their places. All are the operator's.
pub(crate) fn load(
    file: Option<&str>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &Flags,
) -> Result<Loaded, Vec<Problem>> {
    let (loaded, problems) = gather(file, environment, flags, None);
    match problems.is_empty() {
        true => Ok(loaded),
        false => Err(in_order(problems)),
    }
}

/// The same for who looks at what the configuration names as well: what of it is good, and every
/// mistake found. Of a broker that is `running` with these settings, the listeners are those that
/// rules are about, whatever listeners there will be after a restart.
pub(crate) fn gather(
    file: Option<&str>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &Flags,
    running: Option<&Settings>,
) -> (Loaded, Vec<Problem>) {
    let mut problems = Vec::new();
    let environment = environment::Environment::take(environment, &mut problems);
    let file = file.map(str::to_owned).or_else(|| environment.file());
    let mut places = Places::new();
    let mut fill = |settings: &mut Settings| {
        if let Some(path) = &file {
            file::read(path, settings, &mut places, &mut problems);
        }
        environment.replace_listeners(settings, &mut places, &mut problems);
        replace_listeners(flags, settings, &mut places);
        environment.apply(settings, &mut places, &mut problems);
        apply_listener_options(flags, settings, &mut places, &mut problems);
        apply_storage(flags, settings, &mut places);
        settings.server.threads = flags.threads.unwrap_or(settings.server.threads);
        settings.log.level = flags.log_level.unwrap_or(settings.log.level);
        settings.log.format = flags.log_format.unwrap_or(settings.log.format);
    };
    let mut settings = Settings::default();
    fill(&mut settings);
    // What memory there is decides about the defaults of all other limits.
    let bytes = settings.server.broker.limits.memory_budget_bytes;
    if bytes < Limits::default().memory_budget_bytes {
        let sized = match settings.storage.backend {
            Backend::Memory => Config::for_memory(bytes),
            Backend::Log | Backend::Sqlite => Config::for_memory_with_log(bytes),
        };
        settings = Settings::default();
        settings.server.broker = sized;
        fill(&mut settings);
    }

    let listeners = listener_names(running.unwrap_or(&settings));
    let before = problems.len();
    let mut notes = Vec::new();
    let said = (&mut problems, &mut notes);
    access::read_files(&mut settings, &listeners, &places, said);
    if problems.len() > before && listener_names(&settings) != listeners {
        problems.push(Problem {
            place: place_of(&places, "access.file"),
            message: format!(
                "rules are about the listeners that run, {}; others need a restart",
                listeners.join(", ")
            ),
        });
    }
    access::read_bans(&mut settings, &places, (&mut problems, &mut notes));
    together::check(&settings, &places, &mut problems);
    if flags.data_dir.is_some() && settings.storage.backend == Backend::Memory {
        notes.push(Problem {
            place: Place::Flag("--data-dir"),
            message: "nothing is kept there, since storage.backend is \"memory\"; take that away, \
                      or choose \"log\""
                .to_owned(),
        });
    }
    notes.extend(contradictions::find(&settings, &places));
    let loaded = Loaded {
        settings,
        file,
        variables: environment.names(),
        notes,
        places,
    };
    (loaded, problems)
}

/// In the order of their places, each once.
pub(crate) fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort();
    problems.dedup();
    problems
}

/// Reads the text of a configuration file that is called `path`, and tells what is wrong with it,
/// each mistake with its place, in the order of their places. Files that it names are not read.
#[must_use]
pub fn problems_in(path: &str, text: &str) -> Vec<String> {
    let (mut settings, mut places, mut problems) = Default::default();
    file::Reader {
        path,
        text,
        settings: &mut settings,
        places: &mut places,
        problems: &mut problems,
    }
    .read();
    settings.listener();
    together::check(&settings, &places, &mut problems);
    problems.sort();
    problems.iter().map(Problem::to_string).collect()
}

/// Listeners named by flags replace all others.
fn replace_listeners(flags: &Flags, settings: &mut Settings, places: &mut Places) {
    let listeners = &mut settings.server.listeners;
    if !flags.listen.is_empty() {
        listeners.clear();
        forget_listeners(places);
    }
    for listen in &flags.listen {
        let full_name = format!("listener.url#{}", listeners.len());
        places.insert(full_name, Place::Flag("--listen"));
        listeners.push(ListenerConfig::new(listen.url.clone()));
    }
    // Nobody named any: the default one.
    settings.listener();
}

/// What is said with a listener holds for that one, whatever the environment says about all.
fn apply_listener_options(
    flags: &Flags,
    settings: &mut Settings,
    places: &mut Places,
    problems: &mut Vec<Problem>,
) {
    for (index, listen) in flags.listen.iter().enumerate() {
        // Keys set the last listener: each is it once, then the order is as before.
        settings.server.listeners.rotate_left(1);
        for (name, text) in &listen.options {
            let place = Place::Flag("--listen");
            places.insert(format!("listener.{name}#{index}"), place.clone());
            let set = listener_key(name).and_then(|key| {
                let value = key.kind().read(Written::Text(text))?;
                key.set(settings, value)
            });
            if let Err(message) = set {
                problems.push(Problem { place, message });
            }
        }
    }
}

/// Where a flag says that sessions and messages are kept.
fn apply_storage(flags: &Flags, settings: &mut Settings, places: &mut Places) {
    if let Some(directory) = &flags.data_dir {
        settings.storage.directory.clone_from(directory);
        places.insert("storage.directory".to_owned(), Place::Flag("--data-dir"));
    }
    if flags.memory {
        settings.storage.backend = Backend::Memory;
    }
}

/// Writes every problem to standard error, a line each.
pub(crate) fn complain_about(problems: &[Problem]) {
    for problem in problems {
        say(&problem.to_string());
    }
}

#[cfg(test)]
mod tests;
