//! What was typed, as a [`Program`] to run. Each flag is one field of a subcommand, in the file of
//! that subcommand; help comes from there.
//!
//! argh parses. Added here: `whimbrel` alone is `whimbrel serve`, `whimbrel help pub` is
//! `whimbrel pub --help`, `--flag=value` is `--flag value`, `-q1` is `-q 1`, and whoever mistypes
//! is told what is near.

use crate::acl::Acl;
use crate::ban::Ban;
#[cfg(feature = "tools")]
use crate::bench::Bench;
use crate::check::Check;
use crate::log::Log;
use crate::nearest::nearest;
use crate::passwd::Passwd;
use crate::publish::Publish;
#[cfg(feature = "tools")]
use crate::replay::Replay;
use crate::serve::Serve;
use crate::subscribe::Subscribe;
use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, FromArgs};
use std::ffi::OsString;

/// Whimbrel, an MQTT broker. Without a command it serves, as `whimbrel serve` does.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help", "help"),
    example = "{command_name}\n{command_name} -l tcp://0.0.0.0:1883 --log-level debug\n{command_name} check whimbrel.toml",
    error_code(0, "it did what was asked, or was stopped by a signal"),
    error_code(1, "it could not: the port is in use, a file cannot be written, ..."),
    error_code(
        2,
        "what was typed, or the configuration, is wrong; the message says where"
    )
)]
pub(crate) struct Program {
    /// print the version
    #[argh(switch, short = 'V')]
    pub(crate) version: bool,
    /// what to do
    #[argh(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to do.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub(crate) enum Command {
    /// Run the broker.
    Serve(Serve),
    /// Publish messages.
    Publish(Publish),
    /// Subscribe, and write what arrives.
    Subscribe(Subscribe),
    /// Check a configuration file.
    Check(Check),
    /// Look at the directory of a log, or mend it.
    Log(Log),
    /// Set passwords.
    Passwd(Passwd),
    /// Do once more what was recorded.
    #[cfg(feature = "tools")]
    Replay(Replay),
    /// Ask access rules who may do what.
    Acl(Acl),
    /// Keep clients out.
    Ban(Ban),
    /// Put load on a broker, and measure.
    #[cfg(feature = "tools")]
    Bench(Bench),
}

/// Why there is no program to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoProgram {
    /// Help was asked for; here it is.
    Help(String),
    /// What was typed is wrong; this is what to say.
    Misuse(String),
}

/// Reads the command line, without the name of the program.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Program, NoProgram> {
    let arguments: Vec<String> = arguments
        .map(OsString::into_string)
        .collect::<Result<_, _>>()
        .map_err(|argument| misuse(&format!("{} is not UTF-8", argument.display()), ""))?;
    let program = Program::get_args_info();
    let arguments = with_command(&program, arguments)?;
    let command = program
        .commands
        .iter()
        .find(|command| arguments.first().is_some_and(|first| first == command.name));
    let (path, arguments) = match command {
        Some(command) => spell_out_nested(&command.command, &arguments)?,
        None => (String::new(), arguments),
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Program::from_args(&["whimbrel"], &arguments).map_err(|exit| match exit.status {
        Ok(()) => NoProgram::Help(exit.output),
        Err(()) => misuse(exit.output.trim_end(), &path),
    })
}

/// Puts `serve` in front when no command was named, and what asks for help behind it.
fn with_command(
    program: &CommandInfoWithArgs,
    mut arguments: Vec<String>,
) -> Result<Vec<String>, NoProgram> {
    const HELP: [&str; 3] = ["help", "--help", "-h"];
    const VERSION: [&str; 2] = ["--version", "-V"];
    // Of what stands behind it only the names of commands count: an option might take `--help` for
    // its value.
    if let [first, _, ..] = &arguments[..]
        && HELP.contains(&first.as_str())
    {
        let is_name = |argument: &String| !argument.starts_with('-');
        let names = arguments.drain(..).skip(1).take(2).take_while(is_name);
        arguments = names.collect();
        arguments.push("--help".to_owned());
    }
    let names: Vec<&str> = program
        .commands
        .iter()
        .map(|command| command.name)
        .collect();
    match arguments.first().map(String::as_str) {
        Some(first)
            if HELP.contains(&first) || VERSION.contains(&first) || names.contains(&first) => {}
        Some(first) if !first.starts_with('-') => {
            let hint = match nearest(first, names.iter().copied()) {
                _ if first.ends_with(".toml") => format!(
                    "to serve with a configuration file, type `whimbrel -c {first}`; to check it, \
                     `whimbrel check {first}`"
                ),
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("there are {}", names.join(", ")),
            };
            return Err(misuse(&format!("unknown command {first}; {hint}"), ""));
        }
        Some(_) | None => arguments.insert(0, "serve".to_owned()),
    }
    Ok(arguments)
}

/// Spells out the arguments of a command, or of a command inside it. With the words that name it.
fn spell_out_nested(
    command: &CommandInfoWithArgs,
    arguments: &[String],
) -> Result<(String, Vec<String>), NoProgram> {
    let name = command.name;
    let alone = || Ok((name.to_owned(), spell_out(command, name, arguments)?));
    let [_, second, ..] = arguments else {
        return alone();
    };
    if command.commands.is_empty() || second.starts_with('-') || second == "help" {
        return alone();
    }
    let mut names = command.commands.iter().map(|command| command.name);
    let Some(inner) = command.commands.iter().find(|inner| inner.name == second) else {
        let hint = match nearest(second, names.clone()) {
            Some(meant) => format!("did you mean {meant}?"),
            None => format!(
                "there are {}",
                names.by_ref().collect::<Vec<_>>().join(", ")
            ),
        };
        return Err(misuse(
            &format!("unknown command {name} {second}; {hint}"),
            name,
        ));
    };
    let path = format!("{name} {second}");
    let mut spelled = vec![name.to_owned()];
    spelled.extend(spell_out(&inner.command, &path, &arguments[1..])?);
    Ok((path, spelled))
}

/// Splits `--flag=value` and `-q1`, and stops at a flag that the command does not have. The command
/// is named by its whole `path`.
fn spell_out(
    command: &CommandInfoWithArgs,
    path: &str,
    arguments: &[String],
) -> Result<Vec<String>, NoProgram> {
    let mut spelled = Vec::with_capacity(arguments.len());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            spelled.push(argument.clone());
            break;
        }
        if !argument.starts_with('-') || argument == "-" {
            spelled.push(argument.clone());
            continue;
        }
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value)),
            Some(_) | None => match glued(command, argument) {
                // What begins with a letter could as well be a long flag with a dash too few.
                Some((name, value)) if value.starts_with(|first: char| first.is_ascii_digit()) => {
                    (name, Some(value))
                }
                Some(_) | None => (argument.as_str(), None),
            },
        };
        let takes_value = match command.flags.iter().find(|flag| is_called(flag, name)) {
            Some(flag) => matches!(flag.kind, FlagInfoKind::Option { .. }),
            None if ["--help", "-h"].contains(&name) => false,
            None => return Err(unknown_flag(command, path, name)),
        };
        spelled.push(name.to_owned());
        match value {
            Some(value) if takes_value => spelled.push(value.to_owned()),
            Some(_) => {
                return Err(misuse(&format!("{name} takes no value"), path));
            }
            // A value is not looked at, even if it looks like a flag.
            None if takes_value => spelled.extend(rest.next().cloned()),
            None => {}
        }
    }
    spelled.extend(rest.cloned());
    Ok(spelled)
}

/// A short flag that takes a value, and what stands directly behind it.
fn glued<'a>(command: &CommandInfoWithArgs, argument: &'a str) -> Option<(&'a str, &'a str)> {
    let (end, _) = argument.char_indices().nth(2)?;
    let (name, value) = argument.split_at(end);
    let mut flags = command.flags.iter();
    let flag = flags.find(|flag| is_called(flag, name))?;
    matches!(flag.kind, FlagInfoKind::Option { .. }).then_some((name, value))
}

fn is_called(flag: &FlagInfo<'_>, name: &str) -> bool {
    let mut letters = name.chars().skip(1);
    flag.long == name
        || flag.short.is_some() && flag.short == letters.next() && letters.next().is_none()
}

fn unknown_flag(command: &CommandInfoWithArgs, path: &str, name: &str) -> NoProgram {
    let is_client = matches!(path, "pub" | "sub");
    let meant = match name {
        // As mosquitto's clients call it, and what is near would be something else.
        "--cafile" if is_client => Some("--ca"),
        "--capath" if is_client => Some("--ca FILE"),
        "--unix" if is_client => Some("-h unix://PATH"),
        _ => nearest(name, command.flags.iter().map(|flag| flag.long)),
    };
    let hint = match meant {
        Some(meant) => format!("; did you mean {meant}?"),
        None => glued(command, name)
            .map(|(flag, value)| format!("; write {flag} {}", value.trim_start_matches('=')))
            .unwrap_or_default(),
    };
    misuse(&format!("unknown flag {name}{hint}"), path)
}

fn misuse(what: &str, path: &str) -> NoProgram {
    NoProgram::Misuse(with_hint(what, path))
}

/// A number that is not negative. Where it is none, or too large, its range is said.
pub(crate) fn number<N: TryFrom<u64>>(text: &str) -> Result<N, String> {
    let number: Option<u64> = text.parse().ok();
    number
        .and_then(|number| number.try_into().ok())
        .ok_or_else(|| {
            let most = u64::MAX >> (64 - 8 * size_of::<N>());
            format!("expected a number from 0 to {most}")
        })
}

/// What is wrong with the arguments of a command, and where to read what they are. The command is
/// named by its whole `path`, such as `ban add`.
pub(crate) fn with_hint(what: &str, path: &str) -> String {
    let space = if path.is_empty() { "" } else { " " };
    format!("{what}\nRun `whimbrel {path}{space}--help` to see what can be typed.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Program, NoProgram> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn served(line: &str) -> Serve {
        match parsed(line).map(|program| program.command) {
            Ok(Some(Command::Serve(serve))) => serve,
            other => panic!("{other:?}"),
        }
    }

    fn complaint(line: &str) -> String {
        match parsed(line) {
            Err(NoProgram::Misuse(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_command_it_serves() {
        assert_eq!(served(""), served("serve"));
        assert_eq!(served("-c f"), served("serve --config f"));
        assert_eq!(served("--config=f"), served("serve --config f"));
        assert_eq!(
            served("-l tcp://127.0.0.1:1 -l tcp://[::1]:2").listen.len(),
            2
        );
    }

    #[test]
    fn what_is_mistyped_is_answered_with_what_is_near() {
        for (line, expected) in [
            ("serv", "unknown command serv; did you mean serve?"),
            (
                "frobnicate",
                "unknown command frobnicate; there are serve, pub, sub, check, log, passwd, replay, acl, ban, bench",
            ),
            (
                "--listne tcp://127.0.0.1:1",
                "unknown flag --listne; did you mean --listen?",
            ),
            (
                "serve --confg=f",
                "unknown flag --confg; did you mean --config?",
            ),
            (
                "log verfy d",
                "unknown command log verfy; did you mean verify?",
            ),
            ("log mend d", "there are verify, dump, repair"),
            ("my.toml", "type `whimbrel -c my.toml`; to check it,"),
            ("-l tls://[::1]:1?cert=x", "did you mean `certificate`?"),
            ("-l tls://[::1]:1?cafile=x", "did you mean `client_ca`?"),
            ("-l unix:///x?mode=660", "did you mean `unix_mode`?"),
            (
                "log dump --payloads d",
                "unknown flag --payloads; did you mean --payload?",
            ),
            ("log verify", "Required positional arguments not provided"),
            ("-x", "unknown flag -x"),
            ("sub -tlamp", "unknown flag -tlamp; write -t lamp"),
            ("sub -t=lamp", "unknown flag -t=lamp; write -t lamp"),
            ("sub -topic", "unknown flag -topic; did you mean --topic?"),
            ("sub -v1", "unknown flag -v1"),
            (
                "pub --cafile f",
                "unknown flag --cafile; did you mean --ca?",
            ),
            ("sub --capath d", "--capath; did you mean --ca FILE?"),
            ("sub --unix /s", "--unix; did you mean -h unix://PATH?"),
            ("serve --cafile f", "unknown flag --cafile\n"),
            ("help pbu", "unknown command pbu; did you mean pub?"),
            (
                "check --print-defaults=1",
                "--print-defaults takes no value",
            ),
            ("-c", "No value provided for option '-c'."),
            (
                "--log-level lots",
                "expected one of error, warn, info, debug, trace",
            ),
            ("--log-level inof", "did you mean info?"),
            ("-l 127.0.0.1:1883", "should begin with \"tcp://\""),
        ] {
            let message = complaint(line);
            assert!(message.contains(expected), "{line}: {message}");
            assert!(message.contains("--help`"), "{line}: {message}");
        }
    }

    #[test]
    fn the_hint_names_the_whole_command() {
        for (line, expected) in [
            ("-x", "`whimbrel serve --help`"),
            ("sub -x", "`whimbrel sub --help`"),
            ("acl test foo bar", "`whimbrel acl test --help`"),
            ("ban add f --usr u", "`whimbrel ban add --help`"),
            ("log verify", "`whimbrel log verify --help`"),
            ("log", "`whimbrel log --help`"),
            ("log verfy d", "`whimbrel log --help`"),
            ("serv", "`whimbrel --help`"),
        ] {
            let message = complaint(line);
            assert!(message.contains(expected), "{line}: {message}");
        }
    }

    #[test]
    fn a_number_may_stand_directly_behind_a_short_flag() {
        let typed = |line: &str| parsed(line).map(|program| format!("{program:?}"));
        let apart = typed("pub -q 1 -p 1884 -h 127.0.0.1 -t a -m x");
        assert_eq!(typed("pub -q1 -p1884 -h127.0.0.1 -t a -m x"), apart);
        assert!(apart.is_ok());
    }

    #[test]
    fn help_of_a_command_is_the_same_however_it_is_asked_for() {
        let asked = |line: &str| match parsed(line) {
            Err(NoProgram::Help(text)) => text,
            other => panic!("{line}: {other:?}"),
        };
        for command in ["serve", "pub", "sub", "check", "log", "log dump", "ban add"] {
            let expected = asked(&format!("{command} --help"));
            assert!(expected.starts_with(&format!("Usage: whimbrel {command}")));
            for line in ["help", "--help", "-h"] {
                assert_eq!(asked(&format!("{line} {command}")), expected);
            }
        }
        assert_eq!(asked("help"), asked("--help"));
        // An option does not take it for its value.
        assert_eq!(asked("help pub -n -t"), asked("pub --help"));
        assert_eq!(asked("-h -p 1883"), asked("--help"));
    }

    #[test]
    fn help_is_not_an_error() {
        for line in [
            "--help",
            "help",
            "-h",
            "serve --help",
            "--help serve",
            "check --help",
            "log --help",
            "log repair --help",
        ] {
            assert!(matches!(parsed(line), Err(NoProgram::Help(_))), "{line}");
        }
    }
}
