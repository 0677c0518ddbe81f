//! `whimbrel serve`: runs the broker until a signal stops it.

use crate::config::{Flags, Format, Level, Loaded, complain_about, load, parse_url};
use crate::{logging, misuse};
use argh::{ArgsInfo, FromArgs};
use std::net::SocketAddr;
use std::process::ExitCode;

/// Run the broker. Flags win over the environment, that over the file, and that over the defaults.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "serve",
    help_triggers("-h", "--help", "help"),
    note = "SIGINT (Ctrl-C) or SIGTERM stops: clients are told, and get their last bytes within the grace period.\nA second one stops at once.",
    note = "Every setting: whimbrel check --print-defaults",
    example = "{command_name} -l tcp://0.0.0.0:1883",
    error_code(0, "stopped by a signal"),
    error_code(1, "cannot run: the port is in use, no permission, ..."),
    error_code(2, "what was typed, or the configuration, is wrong")
)]
pub(crate) struct Serve {
    /// the configuration file
    #[argh(option, short = 'c', arg_name = "file")]
    pub(crate) config: Option<String>,
    /// where to listen, instead of what the configuration says; may be there several times
    #[argh(option, short = 'l', arg_name = "tcp://address:port", from_str_fn(listen))]
    pub(crate) listen: Vec<SocketAddr>,
    /// error, warn, info, debug or trace
    #[argh(option, arg_name = "level")]
    pub(crate) log_level: Option<Level>,
    /// human or json
    #[argh(option, arg_name = "format")]
    pub(crate) log_format: Option<Format>,
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    parse_url(text).map_err(|error| error.to_string())
}

impl Serve {
    /// Does it.
    pub(crate) fn run(self) -> ExitCode {
        let flags = Flags {
            listen: self.listen,
            log_level: self.log_level,
            log_format: self.log_format,
        };
        match load(self.config.as_deref(), std::env::vars_os(), &flags) {
            Ok(loaded) => {
                logging::start(&loaded.settings.log);
                run(&loaded)
            }
            Err(problems) => {
                complain_about(&problems);
                misuse()
            }
        }
    }
}
fn run(_: &Loaded) -> ExitCode { todo!() }
