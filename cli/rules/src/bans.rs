//! The list of bans, in TOML.

use crate::file::{Reader, unknown};
use crate::{Problem, line_of};
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
    let bans = read_bans(text)?.into_iter();
    Ok(bans.map(|(_, ban)| ban).collect())
}

/// The same, each with its line.
pub(crate) fn read_bans(text: &str) -> Result<Vec<(usize, Ban)>, Vec<Problem>> {
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
                            let line = line_of(text, entry.span().start);
                            let ban = ban(&mut reader, table, line);
                            bans.extend(ban.map(|ban| (line, ban)));
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

/// Milliseconds since 1970; `None` without date, time or offset, or before 1970.
fn unix_time(at: &toml::value::Datetime) -> Option<UnixTime> {
    let (date, time) = (at.date?, at.time?);
    let offset_minutes = match at.offset? {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let days = days_from_civil(date.year.into(), date.month.into(), date.day.into());
    let minutes = days * 1_440 + i64::from(time.hour) * 60 + i64::from(time.minute);
    let seconds = (minutes - offset_minutes) * 60 + i64::from(time.second.unwrap_or(0));
    u64::try_from(seconds.checked_mul(1_000)?)
        .ok()
        .map(UnixTime)
}

/// Days since 1970-01-01 of a day in the Gregorian calendar. Years begin in March here, so that the
/// day that not every year has is the last one.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
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
    fn days_are_those_of_the_calendar() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2026, 11, 21), 20_778),
            ((2100, 3, 1), 47_541),
        ] {
            assert_eq!(days_from_civil(date.0, date.1, date.2), days, "{date:?}");
        }
        let parse = |text: &str| unix_time(&text.parse().unwrap());
        assert_eq!(
            parse("2026-01-01T01:00:00+01:00"),
            Some(UnixTime(1_767_225_600_000))
        );
        assert_eq!(parse("2026-01-01T01:00:00"), None);
        assert_eq!(parse("1969-01-01T01:00:00Z"), None);
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
