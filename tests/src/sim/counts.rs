//! What was done and what was injected, by kind: so that nobody believes in coverage that is not
//! there.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// Counts by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    operations: BTreeMap<&'static str, u64>,
    faults: BTreeMap<&'static str, u64>,
}

impl Counts {
    pub(super) fn operation(&mut self, kind: &'static str) {
        *self.operations.entry(kind).or_default() += 1;
    }

    pub(super) fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    pub(super) fn faults(&mut self, kind: &'static str, count: u64) {
        if count > 0 {
            *self.faults.entry(kind).or_default() += count;
        }
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (kind, count) in &other.operations {
            *self.operations.entry(kind).or_default() += count;
        }
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }

    /// How many operations clients have begun.
    #[must_use]
    pub fn operation_count(&self) -> u64 {
        self.operations.values().sum()
    }

    /// How many faults were injected.
    #[must_use]
    pub fn fault_count(&self) -> u64 {
        self.faults.values().sum()
    }
}

impl fmt::Display for Counts {
    /// Two tables side by side.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut operations = self.operations.iter();
        let mut faults = self.faults.iter();
        writeln!(
            f,
            "{:<28}{:>12}    {:<28}{:>12}",
            "operation", "count", "fault", "count"
        )?;
        loop {
            let (operation, fault) = (operations.next(), faults.next());
            if operation.is_none() && fault.is_none() {
                return Ok(());
            }
            let mut line = String::new();
            for cell in [operation, fault] {
                match cell {
                    Some((kind, count)) => write!(line, "{kind:<28}{count:>12}    ")?,
                    None => write!(line, "{:<44}", "")?,
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
    }
}
