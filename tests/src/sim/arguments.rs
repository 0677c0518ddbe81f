//! What the command for long runs is asked for.

use super::options::{Options, PLAYERS_MAXIMUM};
use std::time::Duration;

/// How to say it.
pub const USAGE: &str = "usage: sim [--seconds N] [--seed N] [--runs N] [--players N] [--tell]
  --seconds  begins no further run after so many; default 60
  --seed     the first seed, further runs have those that follow; default one of the clock
  --runs     so many runs at most; default as many as there is time for
  --players  so many clients that keep to the rules in each run, up to 5000; default what the
             seed says: a few, and hundreds in one of some two hundred runs
  --tell     what happens in each run, on standard error";

/// Runs one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LongRun {
    /// No run begins later.
    pub patience: Duration,
    /// The seed of the first run; `None` is one that nobody has tried.
    pub first_seed: Option<u64>,
    /// How many at most.
    pub run_count_max: u64,
    /// So many clients, whatever the seed says.
    pub players: Option<usize>,
    /// Each run tells what happens.
    pub is_told: bool,
}

impl Default for LongRun {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(60),
            first_seed: None,
            run_count_max: u64::MAX,
            players: None,
            is_told: false,
        }
    }
}

impl LongRun {
    /// Reads the arguments of the command, without its name. `None`: how to say it is what was
    /// asked for.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let mut run = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(flag) = arguments.next() {
            let mut number = || {
                let said = arguments.next().unwrap_or_default();
                let number: Result<u64, _> = said.parse();
                number.map_err(|_| format!("{flag} needs a number, not {said:?}"))
            };
            match &*flag {
                "--help" | "-h" => return Ok(None),
                "--seconds" => run.patience = Duration::from_secs(number()?),
                "--seed" => run.first_seed = Some(number()?),
                "--runs" => run.run_count_max = number()?,
                "--players" => {
                    let players = usize::try_from(number()?).ok();
                    let players = players.filter(|n| (2..=PLAYERS_MAXIMUM).contains(n));
                    let what = || format!("--players is 2 to {PLAYERS_MAXIMUM}");
                    run.players = Some(players.ok_or_else(what)?);
                }
                "--tell" => run.is_told = true,
                _ => return Err(format!("{flag:?} is not known")),
            }
        }
        Ok(Some(run))
    }

    /// The options of the run with this seed.
    #[must_use]
    pub fn options(&self, seed: u64) -> Options {
        let mut options = Options::from_seed(seed);
        if let Some(players) = self.players {
            options = options.with_players(players);
        }
        options.is_told = self.is_told;
        options
    }
}
