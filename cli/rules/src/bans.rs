//! The list of bans, in TOML.

pub(crate) mod edit;
pub(crate) mod time;

use crate::file::{Reader, unknown};
use crate::{Problem, line_of};
use core::ops::Range;
use time::unix_time;
use toml::de::{DeTable, DeValue};
use whimbrel_core::UnixTime;
use whimbrel_core::access::ban::Ban;

const KEYS: [&str; 4] = ["users", "clients", "addresses", "until"];

/// Reads bans.
///
/// # Errors
///
/// Every mistake found, in the order of the lines. An empty text is none, and bans nobody.
pub fn parse_bans(text: &str) -> Result<Vec<Ban>, Vec<Problem>> {
    let entries = read_bans(text)?.into_iter();
    Ok(entries.map(|entry| entry.ban).collect())
}

/// A ban, and where it is written.
pub(crate) struct Entry {
    pub(crate) line: usize,
    /// From its heading to its last value.
    span: Range<usize>,
    pub(crate) ban: Ban,
}

/// The same, each with its place.
pub(crate) fn read_bans(text: &str) -> Result<Vec<Entry>, Vec<Problem>> {
    let mut reader = Reader::new(text, &[]);
    let mut bans = Vec::new();
    if let Some(table) = reader.table() {
        for (key, value) in table.get_ref() {
            let entries = value.get_ref().as_array();
            let entries = entries.filter(|list| list.iter().all(|e| e.get_ref().is_table()));
            match (&**key.get_ref(), entries) {
                ("ban", Some(entries)) => {
                    for entry in entries {
                        if let DeValue::Table(table) = entry.get_ref() {
                            let begin = entry.span().start;
                            let line = line_of(text, begin);
                            let values = table.values().map(|value| value.span().end);
                            let span = begin..values.fold(entry.span().end, usize::max);
                            let ban = ban(&mut reader, table, line);
                            bans.extend(ban.map(|ban| Entry { line, span, ban }));
                        }
                    }
                }
                ("ban", None) => {
                    reader.problem(value.span().start, "bans are written under [[ban]]".into());
                }
                (given, _) => {
                    let message = unknown("key", given, &["ban"]);
                    reader.problem(key.span().start, message);
                }
            }
        }
    }
    if reader.problems.is_empty() {
        return Ok(bans);
    }
    reader.problems.sort();
    Err(reader.problems)
}

fn ban(reader: &mut Reader<'_>, table: &DeTable<'_>, line: usize) -> Option<Ban> {
    let mut ban = Ban {
        users: Vec::new(),
        clients: Vec::new(),
        addresses: Vec::new(),
        until: UnixTime::MAX,
    };
    for (key, value) in table {
        let name = &**key.get_ref();
        match name {
            "users" => ban.users = reader.names(name, value),
            "clients" => ban.clients = reader.names(name, value),
            "addresses" => ban.addresses = reader.networks(value),
            "until" => match value.get_ref().as_datetime().and_then(unix_time) {
                Some(until) => ban.until = until,
                None => reader.problem(
                    value.span().start,
                    "`until` is a date and time with its offset: 2027-01-31T12:00:00Z".into(),
                ),
            },
            given => {
                let message = unknown("key of a ban", given, &KEYS);
                reader.problem(key.span().start, message);
            }
        }
    }
    if ban.users.is_empty() && ban.clients.is_empty() && ban.addresses.is_empty() {
        let message = "this ban names nobody; write users, clients or addresses".to_owned();
        reader.problems.push(Problem { line, message });
        return None;
    }
    Some(ban)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_has_whom_it_names_and_when_it_ends() {
        let text = "[[ban]]\nclients = \"c-*\"\naddresses = [\"192.0.2.0/24\"]\n\
                    until = 2027-01-31T12:00:00Z\n[[ban]]\nusers = [\"u\", \"v\"]\n";
        let bans = parse_bans(text).unwrap();
        assert_eq!(bans[0].until, UnixTime(1_801_396_800_000));
        assert!(bans[0].clients[0].matches("c-1"));
        assert_eq!(bans[1].users.len(), 2);
        assert_eq!(bans[1].until, UnixTime::MAX);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, expected) in [
            ("[[ban]]\n", "line 1: this ban names nobody"),
            ("[[ban]]\nuser = \"u\"\n", "did you mean `users`?"),
            ("[[bans]]\nusers = \"u\"\n", "did you mean `ban`?"),
            (
                "[[ban]]\nusers = \"u\"\nuntil = \"soon\"\n",
                "line 3: `until` is a date",
            ),
            (
                "[[ban]]\naddresses = \"10.0.0.1/8\"\n",
                "bits behind its prefix",
            ),
            ("ban = 3\n", "written under [[ban]]"),
        ] {
            let problems = parse_bans(text).unwrap_err();
            assert!(
                problems.iter().any(|p| p.to_string().contains(expected)),
                "{problems:?}"
            );
        }
    }
}
