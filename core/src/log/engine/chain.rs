//! Which segments and spares there are, and what space they take.

use alloc::collections::VecDeque;

/// A segment that holds frames, or is next to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log) struct Segment {
    pub(in crate::log) number: u64,
    pub(in crate::log) base_lsn: u64,
    pub(in crate::log) file_bytes: u64,
    /// Nothing was written to it since its last sync.
    pub(in crate::log) synced: bool,
}

/// A file of zeros, durable under its name, that will be the next segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log) struct Spare {
    pub(in crate::log) number: u64,
    pub(in crate::log) file_bytes: u64,
}

/// The segments from the oldest that is needed to the one being written, and the spares behind it.
#[derive(Debug)]
pub(in crate::log) struct Chain {
    /// Never empty.
    segments: VecDeque<Segment>,
    spares: VecDeque<Spare>,
    next_number: u64,
    /// What all files take together, those under removal and preparation included.
    used_bytes: u64,
}

impl Chain {
    /// # Panics
    ///
    /// Without a segment.
    pub(in crate::log) fn new(segments: VecDeque<Segment>, spares: VecDeque<Spare>) -> Self {
        assert!(!segments.is_empty(), "a chain has a segment");
        let newest = segments.iter().map(|segment| segment.number);
        let newest = newest.chain(spares.iter().map(|spare| spare.number));
        let next_number = newest.max().unwrap_or(0).saturating_add(1);
        let used = segments.iter().map(|segment| segment.file_bytes);
        let used = used.chain(spares.iter().map(|spare| spare.file_bytes));
        let used_bytes = used.sum();
        Self {
            segments,
            spares,
            next_number,
            used_bytes,
        }
    }

    pub(super) fn current(&self) -> Segment {
        *self.segments.back().expect("a chain is never empty")
    }

    pub(super) fn set_current_synced(&mut self, synced: bool) {
        if let Some(current) = self.segments.back_mut() {
            current.synced = synced;
        }
    }

    pub(super) fn segment_count(&self) -> usize {
        self.segments.len()
    }

    pub(super) fn spare_count(&self) -> usize {
        self.spares.len()
    }

    pub(super) const fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// What the segments take, without the spares.
    pub(super) fn segment_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.file_bytes).sum()
    }

    pub(super) fn first_spare(&self) -> Option<Spare> {
        self.spares.front().copied()
    }

    pub(super) fn add_spare(&mut self, spare: Spare) {
        debug_assert_eq!(spare.number, self.next_number);
        self.next_number = spare.number + 1;
        self.spares.push_back(spare);
    }

    /// The first spare becomes the segment being written.
    pub(super) fn rotate(&mut self, base_lsn: u64) -> Option<Segment> {
        let spare = self.spares.pop_front()?;
        let segment = Segment {
            number: spare.number,
            base_lsn,
            file_bytes: spare.file_bytes,
            synced: false,
        };
        self.segments.push_back(segment);
        Some(segment)
    }

    /// Takes the last spare out, unless it is the only one. Its number goes to the next one that is
    /// made.
    pub(super) fn give_up_spare(&mut self) -> Option<Segment> {
        if self.spares.len() < 2 {
            return None;
        }
        let spare = self.spares.pop_back()?;
        self.next_number = spare.number;
        Some(Segment {
            number: spare.number,
            base_lsn: 0,
            file_bytes: spare.file_bytes,
            synced: true,
        })
    }

    /// The first spare is longer now.
    pub(super) fn grow_first_spare(&mut self, file_bytes: u64) {
        if let Some(spare) = self.spares.front_mut() {
            self.used_bytes += file_bytes.saturating_sub(spare.file_bytes);
            spare.file_bytes = file_bytes;
        }
    }

    pub(super) const fn next_number(&self) -> u64 {
        self.next_number
    }

    /// The oldest segment that was written to since its last sync. Those are the newest ones.
    pub(super) fn first_unsynced(&self) -> Option<u64> {
        let unsynced = self.segments.iter().rev();
        let first = unsynced.take_while(|segment| !segment.synced).last()?;
        Some(first.number)
    }

    pub(super) fn set_synced(&mut self, number: u64) {
        let mut newest_first = self.segments.iter_mut().rev();
        if let Some(segment) = newest_first.find(|segment| segment.number == number) {
            segment.synced = true;
        }
    }

    /// Takes the oldest segment out when all its frames come before `lsn`.
    pub(super) fn retire_before(&mut self, lsn: u64) -> Option<Segment> {
        let next = self.segments.get(1)?;
        if next.base_lsn > lsn {
            return None;
        }
        self.segments.pop_front()
    }

    /// Space is taken by a file that is neither segment nor spare yet.
    pub(super) const fn take_space(&mut self, bytes: u64) {
        self.used_bytes += bytes;
    }

    /// A file that was counted is gone.
    pub(super) const fn free_space(&mut self, bytes: u64) {
        self.used_bytes = self.used_bytes.saturating_sub(bytes);
    }
}
