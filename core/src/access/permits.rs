//! What was allowed lately: so that a steady publisher is looked up, and not decided about.

use crate::slab::Key;
use alloc::vec::Vec;

/// How many are remembered: a few for each route that is. About 100 KiB, once there are rules.
const ENTRIES: usize = 4_096;

/// Who may publish where, by connection and route. A route has another number whenever it is found
/// anew, and a connection another key, so what is remembered is never about somebody or something
/// else.
#[derive(Debug, Default)]
pub(crate) struct Permits {
    entries: Vec<Option<(Key, u64)>>,
}

impl Permits {
    /// The one place where a permit may lie.
    const fn place(connection: Key, route: u64) -> usize {
        let mixed = (connection.index as u64 ^ route << 32 ^ route >> 7)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 52) as usize % ENTRIES
    }

    pub(crate) fn has(&self, connection: Key, route: u64) -> bool {
        let entry = self.entries.get(Self::place(connection, route));
        entry.is_some_and(|permit| *permit == Some((connection, route)))
    }

    /// Remembers it in the place of another.
    pub(crate) fn put(&mut self, connection: Key, route: u64) {
        if self.entries.is_empty() {
            self.entries.resize(ENTRIES, None);
        }
        self.entries[Self::place(connection, route)] = Some((connection, route));
    }

    /// Forgets all: rules have changed, or what is known about somebody.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}
