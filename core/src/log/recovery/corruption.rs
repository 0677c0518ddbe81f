//! Tells corruption from a torn tail, names it, and says how a repair would go on without it.

use super::Recovery;
use super::blocks::BLOCK_BYTES;
use super::rewrite::Plan;
use super::scan::{Scan, ScanEnd};
use super::search::Search;
use super::survey::SegmentFile;
use super::verdict::{Damage, DamageKind};
use crate::id::Position;
use crate::log::frame::SegmentHeader;
use crate::log::operation::FileName;

impl Recovery {
    /// What is missing although something proves that it was durable, and how to go on without it.
    pub(super) fn corruption(
        &self,
        scan: &Scan,
        search: &Search,
    ) -> Option<(Damage, Option<Plan>)> {
        let expected_lsn = scan.found.expected_lsn;
        let proven = search.all.durable_lsn >= expected_lsn;
        let last_lsn = search.all.next_lsn.map(|next| next - 1);
        let mut damage = Damage {
            file: FileName::Segment(scan.reader.segment),
            offset: search.offset,
            kind: DamageKind::Frames,
            first_lsn: expected_lsn,
            last_lsn: last_lsn.or_else(|| proven.then_some(search.all.durable_lsn)),
            batch: None,
        };
        let link = scan.chain.get(scan.index)?;
        let is_newest = link.limit_lsn.is_none();
        if !proven && is_newest && link.file_bytes < link.header.file_bytes {
            // Its size was synced before anything else: what is gone was there.
            damage.kind = DamageKind::Shortened;
        }
        let mut plan = Plan {
            header: link.header,
            is_base_known: true,
            limit_lsn: link.limit_lsn,
            file_bytes: link.file_bytes,
            copy: self.copy_number(link.header.number),
            damage,
        };
        match search.end {
            ScanEnd::Missing { number, proven } if proven => {
                // Without a header, the file may still be there.
                let found = self.survey.find(number);
                damage.file = FileName::Segment(number);
                damage.offset = 0;
                damage.last_lsn = None;
                damage.kind = found.map_or(DamageKind::Missing, |_| DamageKind::Header);
                plan.damage = damage;
                match found.filter(|_| search.used.contains(&number)) {
                    Some(file) => Some((damage, Some(self.guess(file, expected_lsn, damage)))),
                    None => Some((damage, Some(plan))),
                }
            }
            _ if proven || damage.kind == DamageKind::Shortened => {
                let behind = search
                    .used
                    .first()
                    .and_then(|number| self.survey.find(*number));
                if let (0, Some(file), None) = (search.inside.bytes, behind, link.limit_lsn) {
                    damage.file = FileName::Segment(file.number);
                    damage.offset = 0;
                    damage.kind = DamageKind::Header;
                    return Some((damage, Some(self.guess(file, expected_lsn, damage))));
                }
                if let ScanEnd::Hole(Some(header)) = search.end
                    && header.lsn == expected_lsn
                {
                    damage.batch = Some((header.shard, Position(header.position)));
                }
                plan.damage = damage;
                Some((damage, Some(plan)))
            }
            ScanEnd::Whole | ScanEnd::Hole(_) | ScanEnd::Missing { .. } | ScanEnd::Refused(_) => {
                self.missing_start(scan)
            }
        }
    }

    /// What the disk does not read, where the log may have been: it is not known to be blank.
    pub(super) fn unreadable(
        &self,
        scan: &Scan,
        search: &Search,
    ) -> Option<(Damage, Option<Plan>)> {
        let link = scan.chain.get(scan.index)?;
        let here = link.header.number;
        let mut blocks = self.unreadable.iter().copied();
        let (number, offset) = blocks.find(|(number, at)| {
            *number > here || (*number == here && *at + BLOCK_BYTES > search.offset)
        })?;
        let first_lsn = scan.found.expected_lsn;
        let damage = Damage {
            file: FileName::Segment(number),
            offset,
            kind: DamageKind::Unreadable,
            first_lsn,
            last_lsn: None,
            batch: None,
        };
        let plan = if number == here {
            Plan {
                header: link.header,
                is_base_known: true,
                limit_lsn: link.limit_lsn,
                file_bytes: link.file_bytes,
                copy: self.copy_number(number),
                damage,
            }
        } else {
            self.guess(self.survey.find(number)?, first_lsn, damage)
        };
        Some((damage, Some(plan)))
    }

    /// Segments before the oldest one were removed by a checkpoint, or are missing.
    fn missing_start(&self, scan: &Scan) -> Option<(Damage, Option<Plan>)> {
        let broken = self.survey.broken?;
        let oldest = scan.chain.first()?;
        let base_lsn = oldest.header.base_lsn;
        if scan
            .found
            .checkpoint_lsn
            .is_some_and(|begin| begin >= base_lsn)
        {
            return None;
        }
        let found = self.survey.find(broken);
        let damage = Damage {
            file: FileName::Segment(broken),
            offset: 0,
            kind: found.map_or(DamageKind::Missing, |_| DamageKind::Header),
            first_lsn: 1,
            last_lsn: Some(base_lsn.saturating_sub(1)),
            batch: None,
        };
        let is_behind = |file: &SegmentFile| file.number < oldest.header.number;
        let oldest_file = self.survey.find(oldest.header.number)?;
        let plan = match found.filter(is_behind) {
            Some(file) => Plan {
                limit_lsn: Some(base_lsn),
                ..self.guess(file, base_lsn, damage)
            },
            None => Plan {
                limit_lsn: oldest.limit_lsn,
                ..self.guess(oldest_file, base_lsn, damage)
            },
        };
        Some((damage, Some(plan)))
    }

    /// How to go on with a segment that has lost its header, or what comes before it.
    pub(super) fn guess(&self, file: SegmentFile, base_lsn: u64, damage: Damage) -> Plan {
        let lost = SegmentHeader {
            uuid: self.survey.uuid().unwrap_or(self.fresh_uuid),
            number: file.number,
            previous: 0,
            base_lsn,
            durable_lsn: 0,
            file_bytes: 0,
            gap_before: true,
        };
        Plan {
            header: SegmentHeader {
                previous: self.survey.before(file.number),
                gap_before: true,
                ..file.header.unwrap_or(lost)
            },
            is_base_known: file.header.is_ok(),
            limit_lsn: None,
            file_bytes: file.file_bytes,
            copy: self.copy_number(file.number),
            damage,
        }
    }

    /// The first number that no earlier copy of this segment has.
    pub(super) fn copy_number(&self, segment: u64) -> u32 {
        let copies = self.survey.damaged.iter();
        let copies = copies.filter(|(number, _)| *number == segment);
        copies
            .map(|(_, copy)| *copy)
            .max()
            .unwrap_or(0)
            .saturating_add(1)
    }
}
