//! `whimbrel passwd`: who is in a password file. What stands in it is known to `whimbrel-auth`;
//! here it is asked for, and the file is replaced.

mod prompt;

use crate::edit;
use crate::misuse;
use crate::output::{ended, print, say};
use argh::{ArgsInfo, FromArgs};
use std::io;
use std::process::ExitCode;
use thiserror::Error;
use whimbrel_auth::hash::{PasswordHash, SCRAM_ITERATIONS};
use whimbrel_auth::users::{BadLine, BadUser, User, Users, check_names, with_user, without_user};

/// The command that makes a password file.
const MAKER: &str = "passwd set";

/// Set passwords, and say who has one. A broker takes a changed file over at SIGHUP.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "passwd",
    help_triggers("-h", "--help", "help"),
    note = "Passwords are asked for on the terminal, or read as one line from standard input.",
    example = "{command_name} set users.txt alice\necho \"$SECRET\" | {command_name} set users.txt sensor-7 --groups sensors",
    error_code(0, "it is done; for verify: the password is right"),
    error_code(
        1,
        "it is not: the file cannot be used, no such user, the password is wrong, ..."
    ),
    error_code(2, "what was typed is wrong")
)]
pub(crate) struct Passwd {
    /// what to do
    #[argh(subcommand)]
    command: Command,
}

/// What to do with a password file.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
enum Command {
    /// Add or change.
    Set(Set),
    /// Remove.
    Remove(Remove),
    /// List.
    List(List),
    /// Verify.
    Verify(Verify),
}

/// Set the password of a user, who is added if need be. So is the file.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "set",
    help_triggers("-h", "--help", "help"),
    note = "The password is asked for twice on the terminal, or read as one line from standard input.",
    error_code(0, "it is set"),
    error_code(1, "the file cannot be read or written"),
    error_code(2, "what was typed is wrong")
)]
struct Set {
    /// the password file
    #[argh(positional)]
    file: String,
    /// the user
    #[argh(positional)]
    user: String,
    /// the groups of the user, with commas between them; without this, a user keeps the groups it
    /// has
    #[argh(option, arg_name = "names")]
    groups: Option<String>,
    /// keep keys for SCRAM-SHA-256, so that the password need never be sent; it can still be
    #[argh(switch)]
    scram: bool,
    /// the password itself. Every user of this machine can see it in the list of processes, and
    /// your shell may remember it: for passwords that are no secret
    #[argh(option, arg_name = "password")]
    visible_password: Option<String>,
}

/// Remove a user.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "remove",
    help_triggers("-h", "--help", "help"),
    error_code(0, "the user is no longer there"),
    error_code(1, "it was not there, or the file cannot be written")
)]
struct Remove {
    /// the password file
    #[argh(positional)]
    file: String,
    /// the user
    #[argh(positional)]
    user: String,
}

/// Say who is in a file, how the passwords are kept, and which groups there are; or what is wrong
/// with the file.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "list",
    help_triggers("-h", "--help", "help"),
    error_code(0, "the file can be used"),
    error_code(1, "it cannot; every line that is wrong is named")
)]
struct List {
    /// the password file
    #[argh(positional)]
    file: String,
}

/// Say whether a password is that of a user.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "verify",
    help_triggers("-h", "--help", "help"),
    error_code(0, "the password is right"),
    error_code(1, "it is wrong, or there is no such user, or the file cannot be used")
)]
struct Verify {
    /// the password file
    #[argh(positional)]
    file: String,
    /// the user
    #[argh(positional)]
    user: String,
    /// the password itself; others can see it, as they can with set
    #[argh(option, arg_name = "password")]
    visible_password: Option<String>,
}

/// Why it was not done.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    File(#[from] edit::Failure),
    #[error("the password cannot be read: {0}")]
    Terminal(#[source] io::Error),
    #[error("{0}")]
    Mistakes(String),
    #[error("{file}: there is no user \"{user}\"")]
    NoUser { file: String, user: String },
    #[error("{0}: the password is wrong")]
    WrongPassword(String),
    #[error("the system gives no random bytes: {0}")]
    NoRandom(String),
    #[error(transparent)]
    User(#[from] BadUser),
    #[error("{0}")]
    Password(&'static str),
}

impl Failure {
    fn code(&self) -> ExitCode {
        if matches!(self, Self::User(_) | Self::Password(_)) {
            misuse()
        } else {
            ExitCode::FAILURE
        }
    }
}

impl Passwd {
    /// Does it.
    pub(crate) fn run(self) -> ExitCode {
        let result = match self.command {
            Command::Set(set) => set.run(),
            Command::Remove(remove) => remove.run(),
            Command::List(list) => list.run(),
            Command::Verify(verify) => verify.run(),
        };
        ended(result, Failure::code)
    }
}

impl Set {
    fn run(self) -> Result<(), Failure> {
        let text = match edit::read(&self.file, MAKER) {
            Err(edit::Failure::NoFile(..)) => None,
            text => Some(text?),
        };
        let was = text.as_deref().map(Users::parse);
        if let Some(Err(mistakes)) = &was
            && text.as_deref().is_some_and(|text| !text.trim().is_empty())
        {
            say(&format!(
                "note: a broker would not take this file over as it was:\n{}",
                shown(&self.file, mistakes)
            ));
        }
        let was = was.and_then(Result::ok);
        let kept = was.as_ref().and_then(|users| users.get(&self.user));
        let groups: Vec<&str> = match (&self.groups, kept) {
            (Some(groups), _) if groups.is_empty() => Vec::new(),
            (Some(groups), _) => groups.split(',').map(str::trim).collect(),
            (None, Some(user)) => user.groups.iter().map(|group| &**group).collect(),
            (None, None) => Vec::new(),
        };
        // The name is wrong before anybody has typed a password.
        check_names(&self.user, &groups)?;
        let password = password(self.visible_password.as_deref(), prompt::Times::Twice)?;
        let hash = if self.scram {
            // Clients prepare other characters in different ways before they hash them.
            if !password.iter().all(|byte| (b' '..=b'~').contains(byte)) {
                return Err(Failure::Password(
                    "passwords for SCRAM have only the characters of ASCII, since clients differ about \
                     all others; choose another one, or leave out --scram",
                ));
            }
            PasswordHash::new_scram(&password, SCRAM_ITERATIONS)
        } else {
            PasswordHash::new(&password)
        }
        .map_err(|error| Failure::NoRandom(error.to_string()))?;
        let user = User::new(&self.user, hash, &groups)?;
        let is_new = kept.is_none();
        edit::replace(&self.file, |text| {
            Ok::<_, Failure>(Some(with_user(text, &user)))
        })?;
        let what = if is_new { "added" } else { "changed" };
        print(&format!("{}: {what} in {}\n", self.user, self.file));
        Ok(())
    }
}

impl Remove {
    fn run(self) -> Result<(), Failure> {
        edit::read(&self.file, MAKER)?;
        let without = |text: &str| Ok::<_, Failure>(without_user(text, &self.user));
        let removed = edit::replace(&self.file, without)?;
        if !removed {
            return Err(Failure::NoUser {
                file: self.file,
                user: self.user,
            });
        }
        print(&format!("{}: removed from {}\n", self.user, self.file));
        Ok(())
    }
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let users = users(&self.file)?;
        let lines: String = users
            .iter()
            .map(|user| {
                let weak = if user.hash.is_weak() { ", weak" } else { "" };
                let groups = user.groups.join(",");
                format!("{}\t{}{weak}\t{groups}\n", user.name, user.hash.kind())
            })
            .collect();
        print(&lines);
        Ok(())
    }
}

impl Verify {
    fn run(self) -> Result<(), Failure> {
        let users = users(&self.file)?;
        let Some(user) = users.get(&self.user) else {
            return Err(Failure::NoUser {
                file: self.file,
                user: self.user,
            });
        };
        let password = password(self.visible_password.as_deref(), prompt::Times::Once)?;
        if !user.hash.verify(&password) {
            return Err(Failure::WrongPassword(self.user));
        }
        print(&format!("{}: the password is right\n", self.user));
        Ok(())
    }
}

fn users(file: &str) -> Result<Users, Failure> {
    Users::parse(&edit::read(file, MAKER)?)
        .map_err(|mistakes| Failure::Mistakes(shown(file, &mistakes)))
}

fn shown(file: &str, mistakes: &[BadLine]) -> String {
    let lines = mistakes.iter().map(|mistake| match mistake.line {
        0 => format!("{file}: {}", mistake.why),
        line => format!("{file}:{line}: {}", mistake.why),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The password: from the argument, or asked for.
fn password(visible: Option<&str>, times: prompt::Times) -> Result<Vec<u8>, Failure> {
    let password = match visible {
        Some(password) => {
            say(
                "note: other users of this machine could see this password in the list of processes, and \
                 your shell may have written it down",
            );
            password.as_bytes().to_vec()
        }
        None => prompt::read(times)?,
    };
    match password.len() {
        0 => Err(Failure::Password("the password is empty")),
        1..=65_535 => Ok(password),
        _ => Err(Failure::Password(
            "the password is longer than MQTT can carry: 65,535 bytes",
        )),
    }
}
