//! Reads a TOML file into the settings.

use super::key::Section;
use super::keys::{SECTIONS, section};
use super::problem::{Place, Problem};
use super::value::Written;
use super::{BAD_URL, Places, Settings};
use crate::nearest::nearest;
use std::io::ErrorKind;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};
use whimbrel_core::runtime::ListenerConfig;

/// Reads the file at `path`. What is good in it is set, what is not is reported.
pub(super) fn read(
    path: &str,
    settings: &mut Settings,
    places: &mut Places,
    problems: &mut Vec<Problem>,
) {
    match std::fs::read_to_string(path) {
        Ok(text) => Reader {
            path,
            text: &text,
            settings,
            places,
            problems,
        }
        .read(),
        Err(error) => {
            let mut message = format!("cannot be read: {error}");
            if error.kind() == ErrorKind::NotFound {
                message.push_str("; to begin with one: whimbrel check --print-defaults > ");
                message.push_str(path);
            }
            let place = Place::File(path.to_owned());
            problems.push(Problem { place, message });
        }
    }
}

/// Where a text that is no TOML looks like the configuration of mosquitto: a word and its value a
/// line, without a `=`.
fn mosquittos(text: &str) -> Option<usize> {
    const WORDS: [&str; 12] = [
        "acl_file",
        "allow_anonymous",
        "bind_address",
        "cafile",
        "certfile",
        "include_dir",
        "listener",
        "log_dest",
        "password_file",
        "per_listener_settings",
        "persistence",
        "port",
    ];
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let mut words = line.split_whitespace();
        let is_known = words.next().is_some_and(|word| WORDS.contains(&word));
        if is_known && words.next().is_some_and(|value| !value.starts_with('=')) {
            return Some(offset);
        }
        offset += line.len();
    }
    None
}

/// The key of the line with this byte, where nothing but a comment stands behind its `=`.
fn without_value(text: &str, offset: usize) -> Option<&str> {
    let (before, behind) = text.split_at_checked(offset)?;
    let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
    let end = behind
        .find('\n')
        .map_or(text.len(), |newline| offset + newline);
    let (key, value) = text[begin..end].split_once('=')?;
    let value = value.trim_start();
    (value.is_empty() || value.starts_with('#')).then(|| key.trim())
}

/// One file being read.
pub(super) struct Reader<'a> {
    /// What to call it.
    pub(super) path: &'a str,
    /// What is in it.
    pub(super) text: &'a str,
    /// Where its values go.
    pub(super) settings: &'a mut Settings,
    /// Where each was written.
    pub(super) places: &'a mut Places,
    /// What is wrong with it.
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    /// Reads all of it.
    pub(super) fn read(mut self) {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        if errors.is_empty() {
            for (name, value) in table.get_ref() {
                self.section(name, value);
            }
            return;
        }
        if let Some(offset) = mosquittos(self.text) {
            let message = "this is a mosquitto.conf, and not TOML: begin with what `whimbrel check \
                           --print-defaults` writes. The files that it names as password_file and \
                           acl_file can stay as they are: name them as authentication.password_file \
                           and access.file";
            return self.problem(offset, message.to_owned());
        }
        // What the parser made of the rest of a broken file would only mislead.
        for error in errors {
            let offset = error.span().map_or(0, |span| span.start);
            let message = match without_value(self.text, offset) {
                Some(key) => {
                    format!("there is no value behind `{key} =`; write one, or take it away")
                }
                None => format!("this is not TOML: {}", error.message().replace('\n', ", ")),
            };
            self.problem(offset, message);
        }
    }

    fn section(&mut self, name: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) {
        let Some(section) = section(name.get_ref()) else {
            self.unknown_section(name, value);
            return;
        };
        match (value.get_ref(), section.repeated) {
            (DeValue::Table(table), false) => self.keys(section, table, None),
            (DeValue::Array(entries), true) if entries.iter().all(|e| e.get_ref().is_table()) => {
                for (index, entry) in entries.iter().enumerate() {
                    self.settings
                        .server
                        .listeners
                        .push(ListenerConfig::default());
                    if let DeValue::Table(table) = entry.get_ref() {
                        self.keys(section, table, Some(index));
                    }
                }
            }
            _ => self.problem(
                name.span().start,
                format!(
                    "`{}` is a section; write {}",
                    section.name,
                    section.heading()
                ),
            ),
        }
    }

    fn keys(&mut self, section: &'static Section, table: &DeTable<'_>, entry: Option<usize>) {
        for (name, value) in table {
            let Some(key) = section.key(name.get_ref()) else {
                self.problem(name.span().start, unknown_key(section, name.get_ref()));
                continue;
            };
            let full_name = format!("{}.{}", section.name, key.name);
            let read = key.kind().read(Written::Toml(value.get_ref()));
            let place = Place::in_text(self.path, self.text, value.span().start);
            let entry = entry.map(|index| format!("#{index}")).unwrap_or_default();
            match read.and_then(|value| key.set(self.settings, value)) {
                Ok(()) => drop(self.places.insert(full_name + &entry, place)),
                Err(why) => {
                    self.problem(value.span().start, format!("`{full_name}`: {why}"));
                    if full_name == "listener.url" {
                        self.places.insert(BAD_URL.to_owned() + &entry, place);
                    }
                }
            }
        }
    }

    fn unknown_section(&mut self, name: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) {
        let given = name.get_ref();
        let is_section = value.get_ref().is_table() || value.get_ref().is_array();
        let hint = if let Some(home) = home_of(given) {
            format!("; it belongs under {}", home.heading())
        } else if let Some(meant) = nearest(given, SECTIONS.iter().map(|section| section.name)) {
            format!("; did you mean `{meant}`?")
        } else if let Some((home, meant)) = nearest_anywhere(given).filter(|_| !is_section) {
            format!("; did you mean `{meant}` under {}?", home.heading())
        } else {
            let headings: Vec<String> = SECTIONS.iter().map(Section::heading).collect();
            format!("; there are {}", headings.join(", "))
        };
        let what = if is_section { "section" } else { "key" };
        self.problem(name.span().start, format!("unknown {what} `{given}`{hint}"));
    }

    fn problem(&mut self, offset: usize, message: String) {
        self.problems.push(Problem {
            place: Place::in_text(self.path, self.text, offset),
            message,
        });
    }
}

/// What to say of a key that its section does not have.
pub(super) fn unknown_key(section: &Section, given: &str) -> String {
    let heading = section.heading();
    let hint = if let Some(meant) = nearest(given, section.key_names()) {
        format!("did you mean `{meant}`?")
    } else if let Some(home) = home_of(given) {
        format!("it belongs under {}", home.heading())
    } else if let Some(meant) = (section.key_names())
        .filter(|name| begins(name, given))
        .min_by_key(|name| name.len())
    {
        format!("did you mean `{meant}`?")
    } else if let Some((home, meant)) = nearest_anywhere(given) {
        format!("did you mean `{meant}` under {}?", home.heading())
    } else {
        let names: Vec<String> = section
            .key_names()
            .map(|name| format!("`{name}`"))
            .collect();
        format!("{heading} has {}", names.join(", "))
    };
    format!("unknown key `{given}` in {heading}; {hint}")
}

/// Whether a word of a key begins in this way: `cert` and `certfile` mean `certificate`.
fn begins(name: &str, given: &str) -> bool {
    let given = given.strip_suffix("file").unwrap_or(given);
    let given = given.trim_end_matches(['_', '-']).to_ascii_lowercase();
    given.len() >= 2 && name.split('_').any(|word| word.starts_with(&given))
}

/// The section that has a key of exactly this name.
fn home_of(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.key(name).is_some())
}

/// The nearest key of all sections.
fn nearest_anywhere(name: &str) -> Option<(&'static Section, &'static str)> {
    let meant = nearest(name, SECTIONS.iter().flat_map(Section::key_names))?;
    home_of(meant).map(|home| (home, meant))
}
