//! `whimbrel ban`: who is kept out. What stands in the file is known to `whimbrel-rules`; here it
//! is asked for, and the file is replaced.

use crate::output::{ended, print, say};
use crate::summary::now;
use crate::{edit, misuse};
use argh::{ArgsInfo, FromArgs};
use std::process::ExitCode;
use thiserror::Error;
use whimbrel_core::UnixTime;
use whimbrel_core::access::rule::Name;
use whimbrel_core::runtime::Network;
use whimbrel_rules::{
    Banned, Problem, banned, notes_on_bans, parse_time, show_time, with_ban, without_bans,
};

/// The command that makes a file of bans.
const MAKER: &str = "ban add";

/// Keep clients out, let them in again, and say who is kept out. A broker takes a changed file over
/// at SIGHUP.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "ban",
    help_triggers("-h", "--help", "help"),
    note = "The file is the one that access.ban_file names in the configuration.",
    example = "{command_name} add bans.toml --user mallory --for 2h\n{command_name} add bans.toml --address 198.51.100.0/24 && kill -HUP \"$(pidof whimbrel)\"",
    error_code(0, "it is done"),
    error_code(
        1,
        "it is not: the file cannot be used, nobody of that name is in it, ..."
    ),
    error_code(2, "what was typed is wrong")
)]
pub(crate) struct Ban {
    /// what to do
    #[argh(subcommand)]
    command: Command,
}

/// What to do with a file of bans.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Command {
    /// Keep out.
    Add(Add),
    /// Let in again.
    Remove(Remove),
    /// List.
    List(List),
}

/// Keep users, client identifiers and addresses out, each by itself, for ever or until some time.
/// Who is kept out already is so until then instead. The file is made if need be.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "add",
    help_triggers("-h", "--help", "help"),
    note = "A name that ends in * stands for all that begin so.",
    error_code(0, "they are in the file"),
    error_code(1, "the file cannot be read or written, or has a mistake"),
    error_code(2, "what was typed is wrong")
)]
struct Add {
    /// the file of bans
    #[argh(positional)]
    file: String,
    /// a verified user; may be there several times, as may the next two
    #[argh(option, short = 'u', arg_name = "name", from_str_fn(name))]
    user: Vec<Name>,
    /// a client identifier
    #[argh(option, arg_name = "id", from_str_fn(name))]
    client: Vec<Name>,
    /// an address, or a network such as 198.51.100.0/24
    #[argh(option, arg_name = "network", from_str_fn(network))]
    address: Vec<Network>,
    /// for how long from now: 90s, 15m, 2h or 30d
    #[argh(option, arg_name = "time", from_str_fn(duration_ms))]
    r#for: Option<u64>,
    /// until when, such as 2027-01-31T12:00:00Z
    #[argh(option, arg_name = "time", from_str_fn(time))]
    until: Option<UnixTime>,
}

/// Let users, client identifiers and addresses in again, named as they were when they were kept
/// out.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "remove",
    help_triggers("-h", "--help", "help"),
    error_code(0, "they are no longer in the file"),
    error_code(1, "one of them was not there, or the file cannot be written"),
    error_code(2, "what was typed is wrong")
)]
struct Remove {
    /// the file of bans
    #[argh(positional)]
    file: String,
    /// a verified user; may be there several times, as may the next two
    #[argh(option, short = 'u', arg_name = "name", from_str_fn(name))]
    user: Vec<Name>,
    /// a client identifier
    #[argh(option, arg_name = "id", from_str_fn(name))]
    client: Vec<Name>,
    /// an address, or a network such as 198.51.100.0/24
    #[argh(option, arg_name = "network", from_str_fn(network))]
    address: Vec<Network>,
    /// everybody whose time has come
    #[argh(switch)]
    ended: bool,
}

/// Say who is in a file and until when, or what is wrong with the file.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "list",
    help_triggers("-h", "--help", "help"),
    error_code(0, "the file can be used"),
    error_code(1, "it cannot; every line that is wrong is named")
)]
struct List {
    /// the file of bans
    #[argh(positional)]
    file: String,
}

fn name(text: &str) -> Result<Name, String> {
    match text {
        "" => Err("a name is not empty".to_owned()),
        _ => Ok(Name::new(text)),
    }
}

fn network(text: &str) -> Result<Network, String> {
    text.parse()
        .map_err(|why: <Network as core::str::FromStr>::Err| why.to_string())
}

/// At most a thousand years, so that the end is a date that can be written.
fn duration_ms(text: &str) -> Result<u64, String> {
    const MAXIMUM_MS: u64 = 1_000 * 365 * 86_400_000;
    let units = [
        ('s', 1_000),
        ('m', 60_000),
        ('h', 3_600_000),
        ('d', 86_400_000),
    ];
    let parsed = units.into_iter().find_map(|(unit, unit_ms)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        let ms = number.checked_mul(unit_ms)?;
        (1..=MAXIMUM_MS).contains(&ms).then_some(ms)
    });
    let what =
        "expected a number with its unit, such as 90s, 15m, 2h or 30d, up to a thousand years";
    parsed.ok_or_else(|| what.to_owned())
}

fn time(text: &str) -> Result<UnixTime, String> {
    let what = "expected a date and time with its offset, such as 2027-01-31T12:00:00Z";
    parse_time(text).ok_or_else(|| what.to_owned())
}

/// Why it was not done.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    File(#[from] edit::Failure),
    #[error("{0}")]
    Mistakes(String),
    #[error("{0}: {1} is not in it")]
    Nobody(String, Banned),
    #[error("name somebody: --user, --client or --address")]
    NobodyTyped,
    #[error("{0}")]
    Typed(&'static str),
}

impl Failure {
    fn code(&self) -> ExitCode {
        if matches!(self, Self::NobodyTyped | Self::Typed(_)) {
            misuse()
        } else {
            ExitCode::FAILURE
        }
    }
}

impl Ban {
    /// Does it.
    pub(crate) fn run(self) -> ExitCode {
        let result = match self.command {
            Command::Add(add) => add.run(),
            Command::Remove(remove) => remove.run(),
            Command::List(list) => list.run(),
        };
        ended(result, Failure::code)
    }
}

impl Add {
    fn run(self) -> Result<(), Failure> {
        let now = now();
        let until = match (self.r#for, self.until) {
            (Some(_), Some(_)) => return Err(Failure::Typed("take one of --for and --until")),
            (Some(ms), None) => UnixTime(now.0.saturating_add(ms)),
            (None, Some(until)) if until <= now => {
                return Err(Failure::Typed("--until is in the past"));
            }
            (None, Some(until)) => until,
            (None, None) => UnixTime::MAX,
        };
        let all = all(self.user, self.client, self.address);
        if all.is_empty() {
            return Err(Failure::NobodyTyped);
        }
        let is_new = matches!(
            edit::read(&self.file, MAKER),
            Err(edit::Failure::NoFile(..))
        );
        let mut notes = Vec::new();
        edit::replace(&self.file, |text| {
            let text = with_ban(text, &all, until).map_err(|bad| mistakes(&self.file, &bad))?;
            notes = notes_on_bans(&text, now);
            Ok::<_, Failure>(Some(text))
        })?;
        for one in &all {
            print(&format!("{one}: kept out {}\n", end(until)));
        }
        if is_new {
            let file = &self.file;
            say(&format!(
                "note: {file} is new; a broker heeds it when access.ban_file names it"
            ));
        }
        for note in notes {
            say(&format!(
                "note: {}:{}: {}",
                self.file, note.line, note.message
            ));
        }
        Ok(())
    }
}

impl Remove {
    fn run(self) -> Result<(), Failure> {
        let now = now();
        let all = all(self.user, self.client, self.address);
        if all.is_empty() && !self.ended {
            return Err(Failure::NobodyTyped);
        }
        edit::read(&self.file, MAKER)?;
        let mut removed = Vec::new();
        edit::replace(&self.file, |text| {
            let bad = |bad: Vec<Problem>| mistakes(&self.file, &bad);
            let there = banned(text).map_err(bad)?;
            let goes = |one: &Banned, until| all.contains(one) || (self.ended && until <= now);
            let missing = all
                .iter()
                .find(|one| there.iter().all(|(known, _)| known != *one));
            if let Some(one) = missing {
                return Err(Failure::Nobody(self.file.clone(), one.clone()));
            }
            removed.extend(there.into_iter().filter(|(one, until)| goes(one, *until)));
            without_bans(text, goes).map_err(bad)
        })?;
        for (one, _) in removed {
            print(&format!("{one}: no longer in {}\n", self.file));
        }
        Ok(())
    }
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let now = now();
        let text = edit::read(&self.file, MAKER)?;
        let all = banned(&text).map_err(|bad| mistakes(&self.file, &bad))?;
        let line = |(one, until): (Banned, UnixTime)| {
            let is_over = if until <= now { ", which is over" } else { "" };
            format!("{one}\t{}{is_over}\n", end(until))
        };
        print(&all.into_iter().map(line).collect::<String>());
        Ok(())
    }
}

fn all(users: Vec<Name>, clients: Vec<Name>, addresses: Vec<Network>) -> Vec<Banned> {
    let users = users.into_iter().map(Banned::User);
    let clients = clients.into_iter().map(Banned::Client);
    let addresses = addresses.into_iter().map(Banned::Address);
    users.chain(clients).chain(addresses).collect()
}

fn end(until: UnixTime) -> String {
    match until {
        UnixTime::MAX => "for ever".to_owned(),
        until => format!("until {}", show_time(until)),
    }
}

fn mistakes(file: &str, bad: &[Problem]) -> Failure {
    let lines = bad
        .iter()
        .map(|problem| format!("{file}:{}: {}", problem.line, problem.message));
    Failure::Mistakes(lines.collect::<Vec<_>>().join("\n"))
}
