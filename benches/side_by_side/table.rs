//! What came out, for people.

use crate::rows::Figure;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// What was measured of one broker in one row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    figures: Vec<f64>,
    /// Rounds in which something was lost, repeated or out of order, or that did not end.
    failed: usize,
}

impl Cell {
    pub(crate) fn add(&mut self, figure: Option<f64>, is_whole: bool) {
        self.figures.extend(figure);
        self.failed += usize::from(!is_whole);
    }

    /// What counts: not of who loses, repeats or reorders.
    fn whole(&self) -> Option<f64> {
        self.median().filter(|_| self.failed == 0)
    }

    fn median(&self) -> Option<f64> {
        let mut figures = self.figures.clone();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied()
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.median() {
            Some(figure) => f.write_str(&shown(figure))?,
            None => f.write_str("did not end")?,
        }
        match self.failed {
            0 => Ok(()),
            failed => write!(f, ", **not whole in {failed}**"),
        }
    }
}

fn shown(figure: f64) -> String {
    match figure {
        small if small < 10.0 => format!("{small:.2}"),
        middle if middle < 100.0 => format!("{middle:.1}"),
        large => format!("{large:.0}"),
    }
}

/// Rows and columns as they go into a document.
pub(crate) struct Table {
    titles: Vec<String>,
    rounds: usize,
    lines: Vec<String>,
}

const BEGIN: &str = "<!-- written by benches/side_by_side -->";
const END: &str = "<!-- end -->";

impl Table {
    pub(crate) fn new(titles: Vec<String>, rounds: usize) -> Self {
        Self {
            titles,
            rounds,
            lines: Vec::new(),
        }
    }

    /// One row, with a cell for each broker, and one for the bare forwarder if it takes part.
    pub(crate) fn add(&mut self, row: &Figure, brokers: &[Cell], bare: Option<&Cell>) {
        let mut line = format!("| {} | {} |", row.name, row.unit);
        let own = brokers.first().and_then(Cell::whole);
        for cell in brokers {
            line += &format!(" {cell} |");
        }
        line += &bare.map_or_else(|| " |".to_owned(), |bare| format!(" {bare} |"));
        for peer in brokers.iter().skip(1) {
            // What a broker reaches that loses messages does not count.
            let ratio = own
                .filter(|own| *own > 0.0)
                .zip(peer.whole())
                .map_or_else(|| "–".to_owned(), |(own, peer)| ratio(own, peer));
            line += &format!(" {ratio} |");
        }
        line += &match own
            .zip(bare.and_then(Cell::whole))
            .zip(row.bar.zip(row.bare))
        {
            Some(((own, bare), (bar, theirs))) => {
                format!(" {:.1} of {:.1} |", own / bare, bar / theirs)
            }
            None => " |".to_owned(),
        };
        line += &match (row.bar, own) {
            (Some(bar), Some(own)) if own > bar => format!(" {}, **missed** |", shown(bar)),
            (Some(bar), Some(_)) => format!(" {} |", shown(bar)),
            (Some(bar), None) => format!(" {}, **not measured** |", shown(bar)),
            (None, _) => " |".to_owned(),
        };
        self.lines.push(line);
    }

    /// Puts it where the one before stands.
    pub(crate) fn write(&self) -> io::Result<()> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
        let text = fs::read_to_string(&path)?;
        let place = text
            .split_once(BEGIN)
            .and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
        let Some((head, tail)) = place else {
            return Err(io::Error::other("docs/benchmarks.md has no place for it"));
        };
        fs::write(path, format!("{head}{BEGIN}\n{self}{END}{tail}"))
    }
}

/// How much less than the peer it takes, or how much more.
fn ratio(own: f64, peer: f64) -> String {
    let (times, word) = if own <= peer {
        (peer / own, "less")
    } else {
        (own / peer, "more")
    };
    match times {
        many if many >= 10.0 => format!("{many:.0}× {word}"),
        few => format!("{few:.1}× {word}"),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; medians of {}.\n", machine(), self.rounds)?;
        write!(f, "| row | unit |")?;
        for title in &self.titles {
            write!(f, " {title} |")?;
        }
        for title in &self.titles[1..self.titles.len() - 1] {
            write!(f, " to {title} |")?;
        }
        writeln!(f, " times the bare one | bar |")?;
        writeln!(f, "|{}", "---|".repeat(2 * self.titles.len() + 2))?;
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

/// When and on what.
fn machine() -> String {
    let first = |command: &str, arguments: &[&str]| -> Option<String> {
        let output = Command::new(command).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.lines().next()?.trim().to_owned())
    };
    let date = first("date", &["-u", "+%F"]).unwrap_or_default();
    let kernel = first("uname", &["-sr"]).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let cpu = cpu.unwrap_or_else(|| "an unnamed CPU".to_owned());
    format!("{date}, {cores} cores of {cpu}, {kernel}, load {load} at the end")
}
