//! What was typed, as a [`Program`] to run. Each flag is one field of a subcommand, in the file of
//! that subcommand; help comes from there.
//!
//! argh parses. Added here: `whimbrel` alone is `whimbrel serve`, `--flag=value` is
//! `--flag value`, and whoever mistypes is told what is near.

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
    let arguments = match command {
        Some(command) => spell_out_nested(&command.command, &arguments)?,
        None => arguments,
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Program::from_args(&["whimbrel"], &arguments).map_err(|exit| match exit.status {
        Ok(()) => NoProgram::Help(exit.output),
        Err(()) => misuse(
            exit.output.trim_end(),
            command.map_or("", |command| command.name),
        ),
    })
}

/// Puts `serve` in front when no command was named.
fn with_command(
    program: &CommandInfoWithArgs,
    mut arguments: Vec<String>,
) -> Result<Vec<String>, NoProgram> {
    const OWN: [&str; 5] = ["help", "--help", "-h", "--version", "-V"];
    let names: Vec<&str> = program
        .commands
        .iter()
        .map(|command| command.name)
        .collect();
    match arguments.first().map(String::as_str) {
        Some(first) if OWN.contains(&first) || names.contains(&first) => {}
        Some(first) if !first.starts_with('-') => {
            let hint = match nearest(first, names.iter().copied()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("there are {}", names.join(", ")),
            };
            return Err(misuse(&format!("unknown command {first}; {hint}"), ""));
        }
        Some(_) | None => arguments.insert(0, "serve".to_owned()),
    }
    Ok(arguments)
}

/// The same for a command that has commands of its own.
fn spell_out_nested(
    command: &CommandInfoWithArgs,
    arguments: &[String],
) -> Result<Vec<String>, NoProgram> {
    let [name, second, ..] = arguments else {
        return spell_out(command, arguments);
    };
    if command.commands.is_empty() || second.starts_with('-') || second == "help" {
        return spell_out(command, arguments);
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
    let mut spelled = vec![name.clone()];
    spelled.extend(spell_out(&inner.command, &arguments[1..])?);
    Ok(spelled)
}

/// Splits `--flag=value`, and stops at a flag that the command does not have.
fn spell_out(
    command: &CommandInfoWithArgs,
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
            Some(_) | None => (argument.as_str(), None),
        };
        let takes_value = match command.flags.iter().find(|flag| is_called(flag, name)) {
            Some(flag) => matches!(flag.kind, FlagInfoKind::Option { .. }),
            None if ["--help", "-h"].contains(&name) => false,
            None => return Err(unknown_flag(command, name)),
        };
        spelled.push(name.to_owned());
        match value {
            Some(value) if takes_value => spelled.push(value.to_owned()),
            Some(_) => {
                return Err(misuse(&format!("{name} takes no value"), command.name));
            }
            // A value is not looked at, even if it looks like a flag.
            None if takes_value => spelled.extend(rest.next().cloned()),
            None => {}
        }
    }
    spelled.extend(rest.cloned());
    Ok(spelled)
}

fn is_called(flag: &FlagInfo<'_>, name: &str) -> bool {
    let mut letters = name.chars().skip(1);
    flag.long == name
        || flag.short.is_some() && flag.short == letters.next() && letters.next().is_none()
}

fn unknown_flag(command: &CommandInfoWithArgs, name: &str) -> NoProgram {
    let hint = nearest(name, command.flags.iter().map(|flag| flag.long))
        .map(|meant| format!("; did you mean {meant}?"))
        .unwrap_or_default();
    misuse(&format!("unknown flag {name}{hint}"), command.name)
}

fn misuse(what: &str, command: &str) -> NoProgram {
    let space = if command.is_empty() { "" } else { " " };
    NoProgram::Misuse(format!(
        "{what}\nRun `whimbrel {command}{space}--help` to see what can be typed."
    ))
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
            (
                "log dump --payloads d",
                "unknown flag --payloads; did you mean --payload?",
            ),
            ("log verify", "Required positional arguments not provided"),
            ("-x", "unknown flag -x"),
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
