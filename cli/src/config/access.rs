//! The files that say who may do what. They are read with the configuration, so that whatever is
//! wrong with them is found before anything starts, and nothing runs without what they say.

use super::problem::{Place, Problem};
use super::{Places, Settings};
use crate::summary::now;
use std::sync::Arc;
use whimbrel_core::access::ban::Bans;
use whimbrel_core::access::rules::Rules;
use whimbrel_core::runtime::ListenerConfig;
use whimbrel_rules::Format;

/// The section `[access]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    /// The rules in force.
    pub(crate) file: Option<String>,
    /// Rules that are tried.
    pub(crate) shadow_file: Option<String>,
    /// Who is kept out.
    pub(crate) ban_file: Option<String>,
}

/// Reads the files that are named, and puts their rules into the broker's configuration. Listeners
/// are what these names say, in the order of their numbers.
pub(super) fn read_files(
    settings: &mut Settings,
    listeners: &[String],
    places: &Places,
    (problems, notes): (&mut Vec<Problem>, &mut Vec<Problem>),
) {
    let mut read = |key: &str, path: Option<&String>| {
        let path = path?;
        match read_rules(path, listeners) {
            Ok((rules, odd)) => {
                notes.extend(odd);
                Some(Arc::new(rules))
            }
            Err(mut found) => {
                for problem in &mut found {
                    // Where the file cannot even be read, its name is what is wrong.
                    if let (Place::File(_), Some(place)) = (&problem.place, places.get(key)) {
                        problem.message = format!("`{key}`: {path} {}", problem.message);
                        problem.place = place.clone();
                    }
                }
                problems.append(&mut found);
                None
            }
        }
    };
    let rules = read("access.file", settings.access.file.as_ref());
    let shadow_rules = read("access.shadow_file", settings.access.shadow_file.as_ref());
    let access = &mut settings.server.broker.access;
    (access.rules, access.shadow_rules) = (rules, shadow_rules);
}

/// Reads the bans, if a file is named.
pub(super) fn read_bans(
    settings: &mut Settings,
    places: &Places,
    (problems, notes): (&mut Vec<Problem>, &mut Vec<Problem>),
) {
    let Some(path) = &settings.access.ban_file else {
        return;
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let place = places.get("access.ban_file").cloned();
            problems.push(Problem {
                place: place.unwrap_or_else(|| Place::File(path.clone())),
                message: format!("`access.ban_file`: {path} cannot be read: {error}"),
            });
            return;
        }
    };
    notes.extend(in_file(path, whimbrel_rules::notes_on_bans(&text, now())));
    match whimbrel_rules::parse_bans(&text) {
        Ok(bans) => settings.server.broker.access.bans = Arc::new(Bans::new(bans)),
        Err(found) => problems.extend(in_file(path, found)),
    }
}

/// Mistakes in a file, with their places.
fn in_file(path: &str, problems: Vec<whimbrel_rules::Problem>) -> Vec<Problem> {
    let with_place = |problem: whimbrel_rules::Problem| Problem {
        place: Place::Line(path.to_owned(), problem.line),
        message: problem.message,
    };
    problems.into_iter().map(with_place).collect()
}

/// What rules call the listeners.
pub(crate) fn listener_names(settings: &Settings) -> Vec<String> {
    let listeners = settings.server.listeners.iter();
    listeners.map(ListenerConfig::name).collect()
}

/// Reads one file: the rules, and what is odd about them.
///
/// # Errors
///
/// Every mistake in it, or that it cannot be read.
pub(crate) fn read_rules(
    path: &str,
    listeners: &[String],
) -> Result<(Rules, Vec<Problem>), Vec<Problem>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        vec![Problem {
            place: Place::File(path.to_owned()),
            message: format!("cannot be read: {error}"),
        }]
    })?;
    let parsed = whimbrel_rules::parse(&text, Format::of(path), listeners);
    let set = parsed.map_err(|problems| in_file(path, problems))?;
    let notes = in_file(path, whimbrel_rules::notes(&set));
    Ok((Rules::new(set), notes))
}
