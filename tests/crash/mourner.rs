//! Clients with a will, a new one with every connection.

use crate::cast::{Actor, Stage};
use crate::line::{Heard, Introduction, Line};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use whimbrel_core::codec::packet::Version;
use whimbrel_tests::Random;

/// Which wills are owed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wills {
    /// Of connections that were accepted, and ended without DISCONNECT.
    pub(crate) owed: BTreeSet<u64>,
    /// Of connections that may have been accepted, or said DISCONNECT just before the end.
    pub(crate) possible: BTreeSet<u64>,
}

/// A client that dies often.
pub(crate) struct Mourner {
    name: String,
    persistent: bool,
    random: Random,
    number: u64,
}

impl Mourner {
    pub(crate) fn new(name: &str, persistent: bool, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            persistent,
            random: Random::new(seed),
            number: 0,
        }
    }
}

impl Actor for Mourner {
    type Ledger = Wills;

    fn introduction(&mut self, stage: &Stage<Wills>) -> Introduction {
        self.number += 1;
        let number = self.number;
        stage.note(|wills| wills.possible.insert(number));
        Introduction {
            name: self.name.clone(),
            version: Version::V5,
            persistent: self.persistent,
            starts_anew: false,
            will: Some((format!("{}/will", self.name), number.to_string())),
        }
    }

    fn connected(&mut self, _: &mut Line, stage: &Stage<Wills>) -> io::Result<()> {
        let number = self.number;
        stage.note(|wills| {
            wills.possible.remove(&number);
            wills.owed.insert(number);
        });
        Ok(())
    }

    fn idle(&mut self, line: &mut Line, stage: &Stage<Wills>) -> io::Result<()> {
        let number = self.number;
        match self.random.below(30) {
            0 if stage.is_publishing() => Err(ErrorKind::ConnectionAborted.into()),
            1 if stage.is_publishing() => {
                // From here on nobody knows whether the broker got it before its end.
                stage.note(|wills| {
                    wills.owed.remove(&number);
                    wills.possible.insert(number);
                });
                line.disconnect()?;
                Err(ErrorKind::ConnectionAborted.into())
            }
            _ => Ok(()),
        }
    }

    fn heard(&mut self, _: &mut Line, _: Heard, _: &Stage<Wills>) -> io::Result<()> {
        Ok(())
    }

    fn is_done(&self) -> bool {
        true
    }
}
