//! Where the log goes: standard error, for people or as JSON.

use crate::config::{Format, Level, Log};
use std::io::{IsTerminal, stderr};
use tracing::level_filters::LevelFilter;

/// Starts to log. Call it once.
pub(crate) fn start(log: &Log) {
    let level = match log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt()
        .with_writer(stderr)
        .with_max_level(level);
    match log.format {
        Format::Human => {
            let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            lines.with_target(false).with_ansi(colours).init();
        }
        Format::Json => lines.json().flatten_event(true).init(),
    }
}
