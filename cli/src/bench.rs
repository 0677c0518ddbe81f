//! `whimbrel bench`: puts load on any broker, and says what it costs and what was lost.
//!
//! One thread, one poll, raw sockets: everything that is due for a connection is one write,
//! everything that came is one read. The tool has to cost less than what it measures; what it costs
//! is in its report.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each scenario heeds what concerns it, and ignores the rest"
)]

mod connections;
mod histogram;
mod messages;
mod network;
mod options;
mod process;
mod publisher;
mod report;
mod schedule;
mod stores;
mod tally;

use crate::arguments::with_hint;
use crate::client_failure::advice_on_transport;
use crate::client_options::{Login, Secret, parse_version, server_url};
use crate::misuse;
use crate::output::{complain, print};
use argh::{ArgsInfo, FromArgs};
use options::{Options, Scenario};
use process::Usage;
use report::Report;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use thiserror::Error;
use whimbrel_core::codec::ReasonCode;
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_core::runtime::Scheme;

/// Put load on a broker, and measure: what it costs, how fast it is, and what was lost.
#[derive(Debug, PartialEq, Eq, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "bench",
    help_triggers("--help", "help"),
    note = "Scenarios:\n  pairs          as many publishers as subscribers, each with its own topic\n  fan-in         many publishers, one subscriber\n  fan-out        one publisher, many subscribers\n  shared         many publishers, as many members of one shared subscription\n  latency        pairs at a fixed rate; how late messages are against when they were due\n  connects       connect and disconnect, over and over\n  idle           many connections that say nothing\n  subscriptions  many subscriptions, then pairs that have nothing to do with them\n  retained       set many retained messages, then deliver them to one subscriber\n  offline        queue messages for a client that is away, then deliver them",
    note = "Put the broker on one core and this on another: taskset -c 0 BROKER, and --pin 1.\nWith --pid the broker's CPU time and memory are read from /proc.",
    example = "{command_name} pairs --qos 1 --pid $(pidof mosquitto)\n{command_name} latency --rate 10000 --duration 10",
    error_code(0, "measured; nothing was lost that must not be"),
    error_code(
        1,
        "it could not measure, or messages were lost, repeated or out of order where they must not be"
    ),
    error_code(2, "what was typed is wrong")
)]
pub(crate) struct Bench {
    /// what to do; see below
    #[argh(positional)]
    scenario: Scenario,
    /// where the broker is (default: 127.0.0.1)
    #[argh(
        option,
        short = 'h',
        default = "String::from(\"127.0.0.1\")",
        arg_name = "name"
    )]
    host: String,
    /// its port (default: 1883)
    #[argh(option, short = 'p', arg_name = "port")]
    port: Option<u16>,
    /// version of MQTT: 3.1, 3.1.1 or 5 (default: 3.1.1)
    #[argh(
        option,
        short = 'V',
        arg_name = "version",
        from_str_fn(parse_version),
        default = "Version::V4"
    )]
    version: Version,
    /// user name, of all clients
    #[argh(option, short = 'u', arg_name = "text")]
    username: Option<String>,
    /// its password; better use the environment variable WHIMBREL_PASSWORD, or --password-file
    #[argh(option, short = 'P', arg_name = "text")]
    password: Option<Secret>,
    /// file whose first line is the password
    #[argh(option, arg_name = "file")]
    password_file: Option<PathBuf>,
    /// quality of service, 0 to 2 (default: 0; offline: 1)
    #[argh(option, short = 'q', arg_name = "qos")]
    qos: Option<u8>,
    /// bytes of a payload, at least 16 (default: 64)
    #[argh(option, default = "64", arg_name = "bytes")]
    size: usize,
    /// how many pairs, publishers, subscribers or connections (default: by scenario)
    #[argh(option, arg_name = "number")]
    clients: Option<usize>,
    /// how many messages, connects or subscriptions in all (default: by scenario)
    #[argh(option, arg_name = "number")]
    count: Option<u64>,
    /// stop publishing after so many seconds (default: 5, or none if --count is given)
    #[argh(option, arg_name = "seconds")]
    duration: Option<u32>,
    /// messages a publisher has under way; 0 never waits (default: 100)
    #[argh(option, default = "100", arg_name = "messages")]
    window: u32,
    /// messages per second in all, for latency (default: 10000)
    #[argh(option, default = "10_000", arg_name = "messages")]
    rate: u32,
    /// process of the broker, to read its CPU time and memory
    #[argh(option, arg_name = "pid")]
    pid: Option<u32>,
    /// run on this core only (Linux)
    #[argh(option, arg_name = "core")]
    pin: Option<usize>,
    /// print JSON instead of a table
    #[argh(switch)]
    json: bool,
}

/// Why nothing could be measured.
#[derive(Debug, Error)]
enum Failure {
    #[error("{0}")]
    Misuse(String),
    #[error("{what}: {cause}")]
    System { what: String, cause: std::io::Error },
    #[error("the broker refuses a client: {0}")]
    Refused(String),
    #[error("cannot connect to {address}: {cause}; {}", advice_on_transport(.cause, Scheme::Tcp))]
    Unreachable {
        address: SocketAddr,
        cause: std::io::Error,
    },
    #[error("the broker has closed a connection; its log may say why")]
    Closed,
    #[error("the broker has ended a connection: {0}")]
    Ended(ReasonCode),
    #[error("{0}")]
    TimeOut(String),
    #[error("what comes is no packet: {0}; is that a port for MQTT over plain TCP?")]
    Gibberish(String),
}

impl Failure {
    fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |cause| Self::System { what, cause }
    }
}

impl Bench {
    /// Does it.
    pub(crate) fn run(self) -> ExitCode {
        let json = self.json;
        match self.measure() {
            Ok(report) => {
                print(&if json {
                    report.to_json()
                } else {
                    report.to_table()
                });
                for wrong in report.wrong() {
                    complain(wrong);
                }
                if report.wrong().is_empty() {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                }
            }
            Err(Failure::Misuse(why)) => {
                complain(&with_hint(&why, "bench"));
                misuse()
            }
            Err(failure) => {
                complain(&failure.to_string());
                ExitCode::FAILURE
            }
        }
    }

    fn measure(self) -> Result<Report, Failure> {
        if let Some(core) = self.pin {
            process::pin(core).map_err(Failure::system(format!("cannot run on core {core}")))?;
        }
        let scenario = self.scenario;
        let options = self.options()?;
        match scenario {
            Scenario::Pairs
            | Scenario::FanIn
            | Scenario::FanOut
            | Scenario::Shared
            | Scenario::Latency => messages::run(&options),
            Scenario::Connects => connections::connects(&options),
            Scenario::Idle => connections::idle(&options),
            Scenario::Subscriptions => stores::subscriptions(&options),
            Scenario::Retained => stores::retained(&options),
            Scenario::Offline => stores::offline(&options),
        }
    }

    /// What was typed, with the defaults of the scenario, once it makes sense.
    fn options(self) -> Result<Options, Failure> {
        let defaults = self.scenario.defaults();
        let qos = match self.qos {
            None => defaults.qos,
            Some(bits) => QoS::from_bits(bits)
                .ok_or_else(|| Failure::Misuse(format!("--qos {bits}: there are 0, 1 and 2")))?,
        };
        if self.size < tally::STAMP_BYTES {
            let least = tally::STAMP_BYTES;
            return Err(Failure::Misuse(format!(
                "--size {}: at least {least}, for sender, sequence and time",
                self.size
            )));
        }
        let at_least_1 = [
            ("--clients", self.clients.map(|clients| clients as u64)),
            ("--count", self.count),
            ("--duration", self.duration.map(u64::from)),
            ("--rate", Some(u64::from(self.rate))),
        ];
        for (flag, given) in at_least_1 {
            if given == Some(0) {
                return Err(Failure::Misuse(format!("{flag} 0: at least 1")));
            }
        }
        if let Some(pid) = self.pid
            && Usage::of(pid).is_none()
        {
            return Err(Failure::Misuse(format!(
                "--pid {pid}: no such process, or a system that does not tell what it uses"
            )));
        }
        let address = self.address()?;
        let login = Login {
            username: self.username,
            password: self.password,
            password_file: self.password_file,
        };
        Ok(Options {
            scenario: self.scenario,
            address,
            password: login.password(self.version).map_err(Failure::Misuse)?,
            username: login.username,
            version: self.version,
            qos,
            size: self.size,
            clients: self.clients.unwrap_or(defaults.clients),
            count: self.count.or(defaults.count),
            duration_s: match (self.duration, self.count) {
                (Some(seconds), _) => Some(seconds),
                (None, None) if defaults.count.is_none() => Some(5),
                (None, _) => None,
            },
            window: self.window,
            rate: self.rate,
            pid: self.pid,
            shows_progress: !self.json,
        })
    }

    /// Where the broker is, written as for `pub` and `sub`.
    fn address(&self) -> Result<SocketAddr, Failure> {
        let url = server_url(&self.host, self.port).map_err(Failure::Misuse)?;
        if url.scheme() != Scheme::Tcp {
            let why = format!("-h {url}: only MQTT over plain TCP is measured");
            return Err(Failure::Misuse(why));
        }
        network::resolve(url.host(), url.port())
    }
}
