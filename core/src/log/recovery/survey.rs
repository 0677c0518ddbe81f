//! Which files are there, and which of them make up the log.

use super::verdict::RecoveryError;
use crate::log::frame::{HeaderError, LogUuid, SegmentHeader};
use crate::log::operation::{DirectoryEntry, FileName};
use alloc::string::String;
use alloc::vec::Vec;

/// The directory, once all headers are read.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// All segment files by number, ascending.
    pub(super) files: Vec<SegmentFile>,
    /// A repair was interrupted.
    pub(super) has_rewrite: bool,
    pub(super) damaged: Vec<(u64, u32)>,
    pub(super) foreign: Vec<String>,
    /// The segments that count, oldest first.
    pub(super) chain: Vec<Link>,
    /// The oldest of them names this one as its predecessor, and it is not there or has no header.
    pub(super) broken: Option<u64>,
}

/// A segment file, or a spare.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentFile {
    pub(super) number: u64,
    pub(super) file_bytes: u64,
    pub(super) header: Result<SegmentHeader, HeaderError>,
    /// A first start that was interrupted may have left it so: see
    /// [`SegmentHeader::is_first_begun`].
    pub(super) is_begun: bool,
}

/// A segment that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) header: SegmentHeader,
    pub(super) file_bytes: u64,
    /// Frames from this number on do not count here: the next segment begins with it.
    pub(super) limit_lsn: Option<u64>,
}

impl Link {
    /// It was begun while frames before it were not synced.
    const fn is_ahead_of_sync(&self) -> bool {
        self.header.durable_lsn.saturating_add(1) < self.header.base_lsn
    }
}

impl Survey {
    pub(super) fn list(entries: &[DirectoryEntry]) -> Self {
        let mut survey = Self::default();
        for entry in entries {
            match FileName::parse(&entry.name) {
                Some(FileName::Segment(number)) => survey.files.push(SegmentFile {
                    number,
                    file_bytes: entry.bytes,
                    header: Err(HeaderError::Blank),
                    is_begun: false,
                }),
                Some(FileName::Rewrite) => survey.has_rewrite = true,
                Some(FileName::Damaged { segment, copy }) => survey.damaged.push((segment, copy)),
                None => survey.foreign.push(entry.name.clone()),
            }
        }
        survey.files.sort_unstable_by_key(|file| file.number);
        survey.foreign.sort_unstable();
        survey
    }

    /// All headers are read: finds the segments that count.
    ///
    /// The newest segment with a header is the end; each header names the segment before. Whatever
    /// is not reached this way was given up by an earlier recovery or removed by a checkpoint.
    pub(super) fn link(&mut self) -> Result<(), RecoveryError> {
        self.check_versions()?;
        let newest = self.before(u64::MAX);
        if let Some((_, header)) = self.good(newest) {
            self.check_uuid(header.uuid)?;
        }
        self.link_from(newest);
        // Without syncs, a segment may have lost its header while a later one kept it. Then the log
        // ends before the loss, unless something behind it proves otherwise.
        while let Some(broken) = self.broken
            && self.find(broken).is_some()
            && self.chain.first().is_some_and(Link::is_ahead_of_sync)
            && self.before(broken) > 0
        {
            self.link_from(self.before(broken));
        }
        Ok(())
    }

    fn link_from(&mut self, newest: u64) {
        self.chain.clear();
        self.broken = None;
        let mut limit_lsn: Option<u64> = None;
        let mut next = newest;
        while next != 0 {
            let number = next;
            let Some((file, header)) = self.good(number) else {
                self.broken = Some(number);
                break;
            };
            self.chain.push(Link {
                header,
                file_bytes: file.file_bytes,
                limit_lsn,
            });
            let limit = limit_lsn.unwrap_or(u64::MAX);
            limit_lsn = Some(limit.min(header.base_lsn));
            next = header.previous;
            if next >= number {
                self.broken = Some(next);
                break;
            }
        }
        self.chain.reverse();
    }

    fn good(&self, number: u64) -> Option<(SegmentFile, SegmentHeader)> {
        let file = self.find(number)?;
        file.header.ok().map(|header| (file, header))
    }

    fn check_versions(&self) -> Result<(), RecoveryError> {
        for found in &self.files {
            if let Err(HeaderError::Version(version)) = found.header {
                let file = FileName::Segment(found.number);
                return Err(RecoveryError::UnsupportedVersion { file, version });
            }
        }
        Ok(())
    }

    /// Refuses segments of another log, and such as were renamed.
    fn check_uuid(&self, uuid: LogUuid) -> Result<(), RecoveryError> {
        let foreign = self.files.iter().find(|file| {
            let header = file.header.ok();
            header.is_some_and(|header| header.uuid != uuid || header.number != file.number)
        });
        foreign.map_or(Ok(()), |file| {
            let file = FileName::Segment(file.number);
            Err(RecoveryError::Foreign { file })
        })
    }

    /// The nearest segment with a header before `number`; 0 when there is none.
    pub(super) fn before(&self, number: u64) -> u64 {
        let mut newest_first = self.files.iter().rev();
        let found = newest_first.find(|file| file.number < number && file.header.is_ok());
        found.map_or(0, |file| file.number)
    }

    pub(super) fn find(&self, number: u64) -> Option<SegmentFile> {
        let at = self.files.binary_search_by_key(&number, |file| file.number);
        at.ok().and_then(|at| self.files.get(at)).copied()
    }

    /// Those of the `blank` files that come behind this number and everything that was used.
    pub(super) fn spares(&self, blank: &[SegmentFile], behind: u64) -> Vec<u64> {
        let is_blank = |number: &u64| blank.iter().any(|file| file.number == *number);
        let numbers = self.files.iter().map(|file| file.number);
        let used = numbers.clone().filter(|number| !is_blank(number)).max();
        let last = used.map_or(behind, |used| used.max(behind));
        let behind_all = |number: &u64| *number > last;
        numbers.filter(is_blank).filter(behind_all).collect()
    }

    pub(super) fn uuid(&self) -> Option<LogUuid> {
        self.chain.first().map(|link| link.header.uuid)
    }

    /// The newest segment with a header; 0 when there is none.
    pub(super) fn newest(&self) -> u64 {
        self.chain.last().map_or(0, |link| link.header.number)
    }

    /// Files behind the newest segment: spares, or a segment whose first write was not finished.
    pub(super) fn behind(&self) -> impl Iterator<Item = SegmentFile> {
        let newest = self.newest();
        let files = self.files.iter().copied();
        files.filter(move |file| file.number > newest)
    }
}
