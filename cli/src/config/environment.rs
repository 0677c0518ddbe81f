//! Reads environment variables into the settings: `WHIMBREL_`, the section, `_`, the key, in
//! capitals.

use super::key::{Key, PREFIX, Section};
use super::keys::{SECTIONS, section};
use super::problem::{Place, Problem};
use super::value::Written;
use super::{BAD_URL, Places, Settings, forget_listeners};
use crate::client_options::PASSWORD_VARIABLE;
use crate::nearest::nearest;
use std::ffi::OsString;
use whimbrel_core::runtime::ListenerConfig;

/// Names the configuration file.
const FILE: &str = "WHIMBREL_CONFIG";

/// The variables that concern this program.
#[derive(Debug, Default)]
pub(super) struct Environment {
    file: Option<String>,
    keys: Vec<Variable>,
}

#[derive(Debug)]
struct Variable {
    name: String,
    text: String,
    section: &'static Section,
    key: &'static Key,
}

impl Environment {
    /// Picks the variables that concern this program, and reports those that seem to and do not.
    pub(super) fn take(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut environment = Self::default();
        for (name, text) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            let known = key_of(name);
            let message = match (text.into_string(), known) {
                (Ok(text), Some((section, key))) => {
                    environment.keys.push(Variable {
                        name: name.to_owned(),
                        text,
                        section,
                        key,
                    });
                    continue;
                }
                (Ok(text), None) if name == FILE => {
                    environment.file = Some(text);
                    continue;
                }
                (_, None) if name == PASSWORD_VARIABLE => continue, // of `pub` and `sub`
                (Ok(text), None) if is_of_kubernetes(name, &text) => continue,
                (Ok(_), None) => unknown(name),
                (Err(_), _) => "is not UTF-8".to_owned(),
            };
            problems.push(Problem {
                place: Place::Variable(name.to_owned()),
                message,
            });
        }
        environment.keys.sort_by(|a, b| a.name.cmp(&b.name));
        environment
    }

    /// The configuration file, if a variable names one.
    pub(super) fn file(&self) -> Option<String> {
        self.file.clone()
    }

    /// The names of all variables that were taken.
    pub(super) fn names(&self) -> Vec<String> {
        self.keys
            .iter()
            .map(|variable| variable.name.clone())
            .collect()
    }

    /// `WHIMBREL_LISTENER_URL` is a list, and replaces the listeners there are.
    pub(super) fn replace_listeners(
        &self,
        settings: &mut Settings,
        places: &mut Places,
        problems: &mut Vec<Problem>,
    ) {
        for variable in self.keys.iter().filter(|variable| variable.is_url()) {
            settings.server.listeners.clear();
            forget_listeners(places);
            for (index, url) in variable.text.split(',').enumerate() {
                settings.server.listeners.push(ListenerConfig::default());
                let name = match variable.set(url.trim(), settings, problems) {
                    true => "listener.url",
                    false => BAD_URL,
                };
                places.insert(format!("{name}#{index}"), variable.place());
            }
        }
    }

    /// Everything else. Keys of listeners apply to each of them.
    pub(super) fn apply(
        &self,
        settings: &mut Settings,
        places: &mut Places,
        problems: &mut Vec<Problem>,
    ) {
        for variable in self.keys.iter().filter(|variable| !variable.is_url()) {
            if variable.section.repeated {
                for _ in 0..settings.server.listeners.len() {
                    // Keys set the last listener: each is it once, then the order is as before.
                    settings.server.listeners.rotate_left(1);
                    variable.set(&variable.text, settings, problems);
                }
            } else {
                variable.set(&variable.text, settings, problems);
            }
            let full_name = format!("{}.{}", variable.section.name, variable.key.name);
            places.insert(full_name, variable.place());
        }
    }
}

impl Variable {
    fn is_url(&self) -> bool {
        self.section.repeated && self.key.name == "url"
    }

    fn place(&self) -> Place {
        Place::Variable(self.name.clone())
    }

    /// Whether that worked.
    fn set(&self, text: &str, settings: &mut Settings, problems: &mut Vec<Problem>) -> bool {
        let read = self.key.kind().read(Written::Text(text));
        let set = read.and_then(|value| self.key.set(settings, value));
        let is_good = set.is_ok();
        if let Err(message) = set {
            problems.push(Problem {
                place: self.place(),
                message,
            });
        }
        is_good
    }
}

fn key_of(variable: &str) -> Option<(&'static Section, &'static Key)> {
    let rest = variable.strip_prefix(PREFIX)?.to_ascii_lowercase();
    let (section_name, key_name) = rest.split_once('_')?;
    let section = section(section_name)?;
    let key = section.key(key_name)?;
    // Names are matched as they are written: in capitals.
    (section.variable(key) == variable).then_some((section, key))
}

/// Kubernetes tells every pod about every service in variables, which begin as ours when the
/// service is called whimbrel: `WHIMBREL_SERVICE_HOST`, `WHIMBREL_PORT_1883_TCP_ADDR`, ...
fn is_of_kubernetes(variable: &str, text: &str) -> bool {
    let names_port = variable
        .split_once("_PORT_")
        .is_some_and(|(_, port)| port.starts_with(|first: char| first.is_ascii_digit()));
    let is_url = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| text.starts_with(scheme));
    variable.ends_with("_SERVICE_HOST")
        || variable.contains("_SERVICE_PORT")
        || names_port
        || variable.ends_with("_PORT") && is_url
}

fn unknown(variable: &str) -> String {
    let names: Vec<String> = SECTIONS
        .iter()
        .flat_map(|section| section.keys.iter().map(|key| section.variable(key)))
        .chain([FILE.to_owned()])
        .collect();
    // The prefix is right already; with it, everything would look near.
    let known = names.iter().filter_map(|name| name.strip_prefix(PREFIX));
    let given = variable.strip_prefix(PREFIX).unwrap_or(variable);
    match nearest(given, known) {
        Some(meant) => format!("there is no such setting; did you mean {PREFIX}{meant}?"),
        None => "there is no such setting; unset it, or see docs/configuration.md".to_owned(),
    }
}
