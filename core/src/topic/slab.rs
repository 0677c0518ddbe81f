//! A table whose rows are named by a number that stays the same while the row exists.
//!
//! Rows move only when the table grows. Numbers of removed rows are used again, the latest first,
//! so equal histories give equal numbers.

use crate::state::{Reader, State, Writer};
use alloc::vec::Vec;

/// No row. Also the end of the list of free rows.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Slab<T> {
    rows: Vec<Row<T>>,
    free: u32,
    len: usize,
}

#[derive(Debug)]
enum Row<T> {
    Full(T),
    /// The next free row, or [`NONE`].
    Free(u32),
}

impl<T: State> State for Row<T> {
    fn save(&self, to: &mut Writer<'_>) {
        match self {
            Self::Full(value) => {
                true.save(to);
                value.save(to);
            }
            Self::Free(next) => {
                false.save(to);
                next.save(to);
            }
        }
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(match bool::load(from)? {
            true => Self::Full(State::load(from)?),
            false => Self::Free(State::load(from)?),
        })
    }
}

impl<T: State> State for Slab<T> {
    fn save(&self, to: &mut Writer<'_>) {
        let Self { rows, free, len } = self;
        rows.save(to);
        free.save(to);
        len.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let slab = Self {
            rows: State::load(from)?,
            free: State::load(from)?,
            len: State::load(from)?,
        };
        slab.is_whole().then_some(slab)
    }
}

impl<T> Slab<T> {
    /// Whether the list of free rows has all of them, and an end.
    fn is_whole(&self) -> bool {
        let mut free = self.free;
        // One that goes in circles never comes to its end.
        for _ in self.len..self.rows.len() {
            let Some(Row::Free(next)) = self.rows.get(free as usize) else {
                return false;
            };
            free = *next;
        }
        free == NONE && self.iter().count() == self.len
    }

    pub(super) const fn new() -> Self {
        Self {
            rows: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if let Some(row) = self.rows.get_mut(self.free as usize) {
            let id = self.free;
            if let Row::Free(next) = *row {
                self.free = next;
            }
            *row = Row::Full(value);
            return id;
        }
        let id = u32::try_from(self.rows.len()).unwrap_or(NONE);
        assert!(id != NONE, "four billion rows do not fit into memory");
        if self.rows.len() == self.rows.capacity() {
            // By a quarter, not by half of the result: most of a big index would be unused room.
            self.rows.reserve_exact((self.rows.len() / 4).max(16));
        }
        self.rows.push(Row::Full(value));
        id
    }

    pub(super) fn get(&self, id: u32) -> Option<&T> {
        match self.rows.get(id as usize)? {
            Row::Full(value) => Some(value),
            Row::Free(_) => None,
        }
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        match self.rows.get_mut(id as usize)? {
            Row::Full(value) => Some(value),
            Row::Free(_) => None,
        }
    }

    /// The row of an id that came from inside the index.
    pub(super) fn at(&self, id: u32) -> &T {
        self.get(id).expect("a linked row is not removed")
    }

    /// The row of an id that came from inside the index.
    pub(super) fn at_mut(&mut self, id: u32) -> &mut T {
        self.get_mut(id).expect("a linked row is not removed")
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<T> {
        let row = self.rows.get_mut(id as usize)?;
        if matches!(row, Row::Free(_)) {
            return None;
        }
        let removed = core::mem::replace(row, Row::Free(self.free));
        self.free = id;
        self.len -= 1;
        if self.len == 0 {
            self.rows.clear();
            self.rows.shrink_to(64); // a little room, so that one row coming and going is free
            self.free = NONE;
        }
        match removed {
            Row::Full(value) => Some(value),
            Row::Free(_) => None,
        }
    }

    /// In the order of the numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.rows).filter_map(|(id, row)| match row {
            Row::Full(value) => Some((id, value)),
            Row::Free(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_and_stale_ones_answer_nothing() {
        let mut slab = Slab::new();
        assert_eq!(
            [slab.insert('a'), slab.insert('b'), slab.insert('c')],
            [0, 1, 2]
        );
        assert_eq!(slab.remove(1), Some('b'));
        assert_eq!(slab.remove(1), None);
        assert_eq!(slab.remove(0), Some('a'));
        assert_eq!((slab.get(0), slab.get(7), slab.len()), (None, None, 1));
        assert_eq!(slab.get_mut(0), None);
        assert_eq!(
            [slab.insert('d'), slab.insert('e'), slab.insert('f')],
            [0, 1, 3]
        );
        assert!(slab.iter().eq([(0, &'d'), (1, &'e'), (2, &'c'), (3, &'f')]));
        for id in 0..4 {
            slab.remove(id);
        }
        assert_eq!((slab.len(), slab.insert('z')), (0, 0));
    }

    #[test]
    fn a_state_whose_free_rows_are_not_free_or_go_in_circles_is_none() {
        let loads = |next: [u32; 2], free, len| {
            let [first, last] = next.map(Row::Free);
            let slab = Slab {
                rows: [first, Row::Full(7_u8), last].into(),
                free,
                len,
            };
            let mut bytes = Vec::new();
            slab.save(&mut Writer::new(&mut bytes, false));
            Slab::<u8>::load(&mut Reader::new(&bytes)).is_some()
        };
        assert!(loads([NONE, 0], 2, 1));
        assert!(loads([2, NONE], 0, 1));
        for (next, free, len) in [
            ([0, 2], 0, 1),
            ([2, 0], 0, 1),
            ([1, NONE], 0, 1),
            ([3, NONE], 0, 1),
            ([NONE, NONE], 0, 1),
            ([2, NONE], NONE, 1),
            ([2, NONE], 0, 0),
            ([2, NONE], 0, 2),
            ([2, NONE], 0, usize::MAX),
        ] {
            assert!(!loads(next, free, len), "{next:?} {free} {len}");
        }
    }
}
