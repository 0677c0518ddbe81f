//! Behind the place where a pass ended: is there anything that was written later, and what does it
//! prove? Only when nothing proves otherwise is a damage a torn tail.

use super::reader::{Evidence, READ_BYTES, Reader};
use super::scan::{Scan, ScanEnd};
use super::survey::{SegmentFile, Survey};
use crate::log::frame::{HeaderError, SEGMENT_HEADER_BYTES, Seed};
use crate::log::operation::FileAction;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// The search, file by file.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) scan: Option<Scan>,
    pub(super) end: ScanEnd,
    /// Where the pass ended, in its segment.
    pub(super) offset: u64,
    reader: Reader,
    from: u64,
    here: Evidence,
    /// Evidence in the segment where the pass ended.
    pub(super) inside: Evidence,
    /// Evidence in all files.
    pub(super) all: Evidence,
    todo: VecDeque<SegmentFile>,
    /// The first file searched that is not a segment that counts.
    behind_from: u64,
    current: Option<SegmentFile>,
    finished: bool,
    /// Files behind the newest segment that hold only zeros.
    pub(super) blank: Vec<SegmentFile>,
    /// Such as hold something.
    pub(super) used: Vec<u64>,
}

impl Search {
    /// Begins at the cursor of `scan`.
    pub(super) fn after(scan: Scan, end: ScanEnd, survey: &Survey) -> Self {
        let reader = scan.chain.get(scan.index).map(|link| {
            let seed = Seed::new(link.header.uuid, link.header.number);
            let mut reader = Reader::new(link.header.number, Some(seed), link.file_bytes);
            reader.offset = scan.reader.offset;
            reader
        });
        let later = scan.chain.iter().skip(scan.index + 1);
        let later = later.filter_map(|link| survey.find(link.header.number));
        let mut all = Evidence {
            durable_lsn: scan.found.durable_lsn,
            ..Evidence::default()
        };
        let headers = scan.chain.iter().skip(scan.index + 1);
        let headers = headers.map(|link| link.header);
        let headers = headers.chain(survey.behind().filter_map(|file| file.header.ok()));
        for header in headers {
            all.durable_lsn = all.durable_lsn.max(header.durable_lsn);
        }
        let todo = later.chain(survey.behind()).collect();
        let offset = scan.reader.offset;
        let reader = reader.unwrap_or_else(|| Reader::new(0, None, 0));
        Self {
            from: offset,
            offset,
            reader,
            end,
            here: Evidence::default(),
            inside: Evidence::default(),
            all,
            todo,
            behind_from: survey.newest() + 1,
            current: None,
            finished: false,
            blank: Vec::new(),
            used: Vec::new(),
            scan: Some(scan),
        }
    }

    /// There is no segment with a header: is there anything at all?
    pub(super) fn without_log(survey: &Survey) -> Self {
        Self {
            scan: None,
            end: ScanEnd::Whole,
            offset: SEGMENT_HEADER_BYTES,
            reader: Reader::new(0, None, 0),
            from: 0,
            here: Evidence::default(),
            inside: Evidence::default(),
            all: Evidence::default(),
            todo: survey.behind().collect(),
            behind_from: 0,
            current: None,
            finished: false,
            blank: Vec::new(),
            used: Vec::new(),
        }
    }

    fn expected_lsn(&self) -> u64 {
        self.scan.as_ref().map_or(0, |scan| scan.found.expected_lsn)
    }

    /// The next read; `None` when everything was searched.
    pub(super) fn read(&mut self) -> Option<FileAction<'static>> {
        while !self.finished {
            if let Some(read) = self.reader.read() {
                return Some(read);
            }
            let expected = self.expected_lsn();
            self.reader.search(self.from, expected, &mut self.here);
            self.file_done();
            let Some(file) = self.todo.pop_front() else {
                self.finished = true;
                break;
            };
            let uuid = self.scan.as_ref().and_then(|scan| scan.chain.first());
            let seed = uuid.map(|link| Seed::new(link.header.uuid, file.number));
            // The first blank file proves that those behind it were never used, unless everything
            // is in doubt.
            let file_bytes = if self.blank.is_empty() || self.scan.is_none() {
                file.file_bytes
            } else {
                let sample = SEGMENT_HEADER_BYTES + u64::from(READ_BYTES);
                file.file_bytes.min(sample)
            };
            self.reader = Reader::new(file.number, seed, file_bytes);
            self.from = SEGMENT_HEADER_BYTES;
            self.current = Some(file);
        }
        None
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.reader.feed(bytes);
        let expected = self.expected_lsn();
        self.reader.search(self.from, expected, &mut self.here);
    }

    fn file_done(&mut self) {
        let here = core::mem::take(&mut self.here);
        match self.current.take() {
            None => self.inside = here,
            Some(file) if file.number < self.behind_from => {}
            Some(file) if here.bytes == 0 && file.header == Err(HeaderError::Blank) => {
                self.blank.push(file);
            }
            Some(file) => self.used.push(file.number),
        }
        let all = &mut self.all;
        all.durable_lsn = all.durable_lsn.max(here.durable_lsn);
        all.first_in = all.first_in.or(here.first_in);
        all.bytes += here.bytes;
        all.next_lsn = match (all.next_lsn, here.next_lsn) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}
