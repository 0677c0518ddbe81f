//! The `whimbrel` program as a function, and the reading of its configuration.
//!
//! Whoever embeds a broker wants `whimbrel-tokio` or `whimbrel-smol`.

mod acl;
mod arguments;
mod ban;
#[cfg(feature = "tools")]
mod bench;
mod check;
mod client_failure;
mod client_options;
mod client_property;
mod config;
mod edit;
mod input;
mod log;
mod logging;
mod message_format;
mod notify;
mod output;
mod passwd;
mod publish;
mod reload;
#[cfg(feature = "tools")]
mod replay;
mod runtime;
mod serve;
mod signals;
mod statistics;
mod subscribe;
mod summary;
mod surroundings;

pub use config::problems_in;

use arguments::{Command, NoProgram, Program};
use output::{complain, print};
use std::process::ExitCode;
use whimbrel_rules::nearest;

/// What was typed, or the configuration, is wrong. Failures of the system are `ExitCode::FAILURE`.
fn misuse() -> ExitCode {
    ExitCode::from(2)
}

/// Runs a command in a frame of its own, so that none takes the stack that another would.
#[inline(never)]
fn apart(run: impl FnOnce() -> ExitCode) -> ExitCode {
    run()
}

/// Does what the arguments of this process say, and tells what the process ends with.
pub fn main() -> ExitCode {
    match arguments::parse(std::env::args_os().skip(1)) {
        Ok(Program { version: true, .. }) => {
            print(concat!("whimbrel ", env!("CARGO_PKG_VERSION"), "\n"));
            ExitCode::SUCCESS
        }
        Ok(Program { command, .. }) => match command {
            Some(Command::Serve(serve)) => apart(|| serve.run()),
            Some(Command::Publish(publish)) => apart(|| publish.run()),
            Some(Command::Subscribe(subscribe)) => apart(|| subscribe.run()),
            Some(Command::Check(check)) => apart(|| check.run()),
            Some(Command::Log(log)) => apart(|| log.run()),
            Some(Command::Acl(acl)) => apart(|| acl.run()),
            Some(Command::Ban(ban)) => apart(|| ban.run()),
            Some(Command::Passwd(passwd)) => apart(|| passwd.run()),
            #[cfg(feature = "tools")]
            Some(Command::Replay(replay)) => apart(|| replay.run()),
            #[cfg(feature = "tools")]
            Some(Command::Bench(bench)) => apart(|| bench.run()),
            None => unreachable!("`arguments` puts `serve` where no command is"),
        },
        Err(NoProgram::Help(text)) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(NoProgram::Misuse(why)) => {
            complain(&why);
            misuse()
        }
    }
}
