//! What is written to standard error.

use super::field::Named;
use crate::nearest::nearest;
use std::str::FromStr;

/// What is written to standard error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// The least important lines that are written.
    pub(crate) level: Level,
    /// For whom.
    pub(crate) format: Format,
}

/// How important a line is, the most important first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Level {
    /// The broker cannot continue.
    Error,
    /// An operator should look.
    Warn,
    /// Lifecycle: of the broker, of each connection.
    #[default]
    Info,
    /// A client's odd behaviour, and what it subscribes to.
    Debug,
    /// For developers.
    Trace,
}

/// For whom lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line, for machines.
    Json,
}

impl Level {
    /// Whether lines of lifecycle are written.
    pub(crate) fn shows_info(self) -> bool {
        matches!(self, Self::Info | Self::Debug | Self::Trace)
    }
}

impl Named for Level {
    const NAMES: &'static [&'static str] = &["error", "warn", "info", "debug", "trace"];
    const VALUES: &'static [Self] = &[
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];
}

impl Named for Format {
    const NAMES: &'static [&'static str] = &["human", "json"];
    const VALUES: &'static [Self] = &[Self::Human, Self::Json];
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        from_flag(text)
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        from_flag(text)
    }
}

fn from_flag<T: Named>(text: &str) -> Result<T, String> {
    T::from_name(text).ok_or_else(|| {
        let hint = nearest(text, T::NAMES.iter().copied())
            .map(|name| format!("; did you mean {name}?"))
            .unwrap_or_default();
        format!("expected one of {}{hint}", T::NAMES.join(", "))
    })
}
