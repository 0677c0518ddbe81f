//! No segment has a header: was there never a log, can it be found again, or is all of it lost?

use super::reader::READ_BYTES;
use super::rewrite::{Plan, Rewrite};
use super::search::Search;
use super::survey::{Link, SegmentFile, Survey};
use super::verdict::{Damage, DamageKind};
use super::{Phase, Recovery};
use crate::log::frame::{LogUuid, SEGMENT_HEADER_BYTES};
use crate::log::operation::{FileAction, FileName};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// What proves that there was a log; `None` when there never was one.
///
/// Until the header of its first segment and the name of that are durable, the making of a log
/// leaves nothing but this segment: zeros, and the beginning of its header. Everything else is
/// what is left of a log.
pub(super) fn damage(survey: &Survey, search: &Search) -> Option<Damage> {
    let mut files = survey.files.iter();
    if search.all.bytes == 0 && files.all(|file| file.number == 1 && file.is_begun) {
        return None;
    }
    let first = survey.files.first()?.number;
    let (number, kind) = match search.used.first() {
        Some(used) => (*used, DamageKind::Header),
        // Spares only, and they come behind a segment.
        None if first > 1 => (first - 1, DamageKind::Missing),
        None => (first, DamageKind::Header),
    };
    Some(Damage {
        file: FileName::Segment(number),
        offset: 0,
        kind,
        first_lsn: 1,
        last_lsn: None,
        batch: None,
    })
}

/// Whether the log is no more than the first segment, without a record: its name and its header may
/// not be durable, so that it is made anew rather than followed by another one.
pub(super) fn is_only_begun(survey: &Survey, chain: &[Link], expected_lsn: u64) -> bool {
    expected_lsn == 1 && survey.files.len() == 1 && chain.iter().all(|link| link.header.number == 1)
}

/// Looks for frames by which the log can be told again.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) damage: Damage,
    used: Vec<u64>,
    todo: VecDeque<u64>,
    fresh: LogUuid,
    found: Option<(u64, LogUuid)>,
}

impl Probe {
    pub(super) fn new(damage: Damage, used: &[u64], fresh: LogUuid) -> Self {
        Self {
            damage,
            used: used.to_vec(),
            todo: used.iter().copied().collect(),
            fresh,
            found: None,
        }
    }

    /// The next read; `None` when they are found, or are not there.
    pub(super) fn read(&self) -> Option<FileAction<'static>> {
        let number = self.todo.front().filter(|_| self.found.is_none())?;
        Some(FileAction::ReadAt {
            file: FileName::Segment(*number),
            offset: 0,
            bytes: READ_BYTES,
        })
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if let Some(number) = self.todo.pop_front()
            && let Some((header, frames)) = bytes.split_at_checked(SEGMENT_HEADER_BYTES as usize)
        {
            let uuid = LogUuid::of_frames(header, frames, number, self.fresh);
            self.found = uuid.map(|uuid| (number, uuid));
        }
    }
}

/// Takes what nobody can read out of the way.
#[derive(Debug)]
pub(super) struct SetAside {
    /// Each file, and what it is called then; spares go.
    todo: VecDeque<(FileName, Option<FileName>)>,
    is_synced: bool,
    pub(super) lost: Vec<Damage>,
    pub(super) copies: Vec<FileName>,
}

impl SetAside {
    pub(super) fn action(&self) -> Option<FileAction<'static>> {
        match self.todo.front() {
            Some((from, Some(to))) => Some(FileAction::Rename {
                from: *from,
                to: *to,
            }),
            Some((file, None)) => Some(FileAction::Remove { file: *file }),
            None => (!self.is_synced).then_some(FileAction::SyncDirectory),
        }
    }

    pub(super) fn completed(&mut self) {
        self.is_synced = self.todo.pop_front().is_none();
    }
}

impl Recovery {
    /// Everything was looked at: the first segment that is found gets a header, and with it the
    /// others are found. If there is none, all is set aside.
    pub(super) fn probed(&self, probe: &Probe) -> Phase {
        let found = probe.found.and_then(|(number, uuid)| {
            let file = self.survey.find(number)?;
            Some((file, uuid))
        });
        let Some((file, uuid)) = found else {
            return Phase::SetAside(Box::new(self.set_aside(probe)));
        };
        let mut plan = Plan {
            is_base_known: file.number == 1,
            ..self.guess(file, 1, probe.damage)
        };
        plan.damage.file = FileName::Segment(file.number);
        plan.damage.kind = DamageKind::Header;
        plan.header.uuid = uuid;
        plan.header.gap_before = false;
        // Whether it is needed is for the next look to find out.
        plan.header.previous = file.number - 1;
        let is_blank = |file: &&SegmentFile| !probe.used.contains(&file.number);
        let blank: Vec<SegmentFile> = self.survey.files.iter().filter(is_blank).copied().collect();
        let spares = self.survey.spares(&blank, file.number);
        Phase::Rewrite(Box::new(Rewrite::new(plan, spares)))
    }

    fn set_aside(&self, probe: &Probe) -> SetAside {
        let files = self.survey.files.iter().map(|file| {
            let number = file.number;
            let copy = probe.used.contains(&number).then(|| FileName::Damaged {
                segment: number,
                copy: self.copy_number(number),
            });
            (FileName::Segment(number), copy)
        });
        let todo: VecDeque<_> = files.collect();
        SetAside {
            lost: Vec::from([Damage {
                kind: DamageKind::SetAside,
                ..probe.damage
            }]),
            copies: todo.iter().filter_map(|(_, copy)| *copy).collect(),
            todo,
            is_synced: false,
        }
    }
}
