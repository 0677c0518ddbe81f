//! The figures, as they are committed and compared.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// How much worse a row may become, in percent.
const WORSE_PERCENT_MAX: f64 = 3.0;

/// Instructions per delivery, by row.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<(String, f64)>,
}

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "instructions.txt"]
        .iter()
        .collect()
}

/// What the figures depend on beside the sources.
fn compiler() -> String {
    let says = Command::new("rustc").arg("-vV").output();
    let says = says.map_or_else(|_| Vec::new(), |output| output.stdout);
    let says = String::from_utf8_lossy(&says).into_owned();
    let of = |name| says.lines().find_map(|line| line.strip_prefix(name));
    let (release, host) = (of("release: "), of("host: "));
    format!(
        "rustc {} for {}",
        release.unwrap_or("?"),
        host.unwrap_or("?")
    )
}

/// Whether the committed figures are of the compiler that is here.
pub(crate) fn is_comparable() -> bool {
    std::fs::read_to_string(path())
        .is_ok_and(|text| text.contains(&format!("with {}.", compiler())))
}

impl Table {
    pub(crate) fn push(&mut self, name: &str, figure: f64) {
        self.rows.push((name.to_owned(), figure));
    }

    pub(crate) fn read() -> Result<Self, String> {
        let text = std::fs::read_to_string(path()).map_err(|error| error.to_string())?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let mut table = Self::default();
        for line in lines {
            let mut words = line.split_whitespace();
            let (Some(name), Some(figure)) = (words.next(), words.next()) else {
                return Err(format!("not a row: {line}"));
            };
            let figure = figure
                .parse()
                .map_err(|_| format!("not a number: {line}"))?;
            table.push(name, figure);
        }
        Ok(table)
    }

    pub(crate) fn write(&self) -> Result<(), String> {
        std::fs::write(path(), self.to_string()).map_err(|error| error.to_string())
    }

    /// Prints the rows of `now` beside those of this table; fails when one is worse.
    pub(crate) fn compare(&self, now: &Self) -> Result<ExitCode, String> {
        let mut worse = false;
        for (name, figure) in &now.rows {
            let known = self.rows.iter().find(|(known, _)| known == name);
            let Some((_, before)) = known else {
                return Err(format!("{name} is new; write it down with --bless"));
            };
            let percent = (figure / before - 1.0) * 100.0;
            let too_much = percent > WORSE_PERCENT_MAX;
            worse |= too_much;
            let remark = match percent {
                _ if too_much => "worse",
                better if better < -WORSE_PERCENT_MAX => "better; write it down with --bless",
                _ => "",
            };
            println!("{name:<20} {before:>8.0} {figure:>8.0} {percent:>+6.1} % {remark}");
        }
        Ok(if worse {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Instructions per delivery in the core alone: shape, QoS, payload bytes.\n\
             # All that belongs to it is in it: the PUBLISH that came in, all acknowledgements.\n\
             # Written by `benches/instructions/run --bless`, with {}.",
            compiler()
        )?;
        for (name, figure) in &self.rows {
            writeln!(f, "{name:<20} {figure:>8.0}")?;
        }
        Ok(())
    }
}
