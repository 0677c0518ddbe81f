//! Whimbrel and its peers in turns: the same load, the same minute, the same cores.
//!
//! ```sh
//! cargo build --release
//! cargo run --release -p whimbrel-benches --bin side_by_side -- target/release/whimbrel --write
//! ```
//!
//! Each measurement starts a broker of its own on core 0 and `whimbrel bench` on core 1, on
//! loopback, and reads what the broker used from the kernel. Brokers take turns, A B C A B C, so
//! that a machine that changes its mood changes it for all; medians count. `mosquitto` and
//! `rumqttd` take part where they are installed, others with `--peer 'NAME=COMMAND'`, in which
//! `{port}` is replaced. In the rows about messages and connections the bare forwarder of `bare.rs`
//! takes part too: what of it all is the machine's. `--write` puts the table into
//! `docs/benchmarks.md`.

mod bare;
mod broker;
mod rows;
mod table;

use broker::{Broker, Contestant};
use rows::{LOADS, Load};
use std::path::PathBuf;
use std::process::ExitCode;
use table::{Cell, Table};

const USAGE: &str =
    "usage: side_by_side WHIMBREL [--rounds N] [--only TEXT] [--peer NAME=COMMAND]... [--write]
  WHIMBREL  the program under measurement, which also makes the load
  --rounds  measurements of each broker in each row; default 3
  --only    rows whose name contains TEXT
  --peer    another broker; {port} in its command is replaced
  --write   put the table into docs/benchmarks.md";

/// What was asked for.
struct Options {
    whimbrel: PathBuf,
    rounds: usize,
    only: Option<String>,
    peers: Vec<Contestant>,
    writes: bool,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self {
            whimbrel: arguments.next()?.into(),
            rounds: 3,
            only: None,
            peers: Vec::new(),
            writes: false,
        };
        while let Some(argument) = arguments.next() {
            match &*argument {
                "--rounds" => options.rounds = arguments.next()?.parse().ok().filter(|n| *n > 0)?,
                "--only" => options.only = Some(arguments.next()?),
                "--peer" => {
                    let peer = arguments.next()?;
                    let (name, command) = peer.split_once('=')?;
                    options.peers.push(Contestant::given(name, command)?);
                }
                "--write" => options.writes = true,
                _ => return None,
            }
        }
        Some(options)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [bare, port] = &*arguments
        && bare == broker::BARE
    {
        let port = port.parse().map_err(std::io::Error::other);
        return ended(port.and_then(bare::serve));
    }
    let Some(options) = Options::parse(arguments.into_iter()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    ended(compare(options))
}

fn ended(result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: Options) -> std::io::Result<()> {
    let mut contestants = vec![Contestant::whimbrel(&options.whimbrel)];
    contestants.extend(Contestant::installed());
    contestants.extend(options.peers);
    // The last, in the table as well.
    contestants.push(Contestant::bare()?);
    let names = contestants.iter().map(Contestant::title);
    let mut table = Table::new(names.collect(), options.rounds);
    let wanted = |load: &&Load| {
        let only = options.only.as_deref();
        let mut names = load.figures.iter().map(|figure| figure.name);
        only.is_none_or(|only| names.any(|name| name.contains(only)))
    };
    for load in LOADS.iter().filter(wanted) {
        // Of each figure one cell for each broker.
        let mut rows = vec![vec![Cell::default(); contestants.len()]; load.figures.len()];
        for round in 1..=options.rounds {
            for (place, contestant) in contestants.iter().enumerate() {
                if contestant.is_bare && !load.is_bare() {
                    continue;
                }
                let name = load.figures[0].name;
                eprintln!("{name}, round {round}: {}", contestant.name);
                let outcome = measure(&options.whimbrel, contestant, load)?;
                for (row, figure) in rows.iter_mut().zip(outcome.figures) {
                    row[place].add(figure, outcome.is_whole);
                }
            }
        }
        for (figure, mut cells) in load.figures.iter().zip(rows) {
            let bare = cells.pop().filter(|_| load.is_bare());
            table.add(figure, &cells, bare.as_ref());
        }
    }
    print!("{table}");
    match options.writes {
        true => table.write(),
        false => Ok(()),
    }
}

/// One broker under one load.
fn measure(
    whimbrel: &std::path::Path,
    contestant: &Contestant,
    load: &Load,
) -> std::io::Result<rows::Outcome> {
    let broker = Broker::start(contestant, 0)?;
    load.run(whimbrel, &broker, 1)
}
