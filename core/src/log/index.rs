//! Where the log has what is read back while the broker runs: the values of keys of one kind.
//!
//! Follows the batches as they are written, and as recovery reads them. A key that is put again is
//! in the newer place from then on, and one that is deleted in none; so what it names is in
//! segments that are still there: before a checkpoint lets old ones go, everything live was put
//! once more.

use super::batch::{BatchRef, Op};
use super::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, SEGMENT_HEADER_BYTES, Seed};
use crate::id::{ById, FEW, MessageId};
use crate::record::{Fields, MESSAGE};
use alloc::vec::Vec;
use hashbrown::HashMap;

/// A value in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    /// From the start of the file; segments are below 4 GiB.
    pub(super) offset: u32,
    pub(super) bytes: u32,
}

/// The places of all messages that are live, by the shard that wrote them.
#[derive(Debug, Default)]
pub(super) struct Index {
    shards: Vec<HashMap<MessageId, Place, ById<FEW>>>,
}

impl Index {
    /// A batch lies at `offset`, without the header of its frame.
    pub(super) fn apply(&mut self, shard: u16, ops: &[u8], segment: u64, offset: u64) {
        let shard = usize::from(shard);
        let mut operations = BatchRef::new(ops).iter();
        while let Some(Ok(op)) = operations.next() {
            let (Op::Put { key, .. } | Op::Delete { key }) = op;
            let Some(id) = message_of(key) else { continue };
            if self.shards.len() <= shard {
                self.shards.resize_with(shard + 1, HashMap::default);
            }
            let places = &mut self.shards[shard];
            let Op::Put { value, .. } = op else {
                places.remove(&id);
                continue;
            };
            let end = offset + (ops.len() - operations.rest_bytes()) as u64;
            let start = u32::try_from(end - value.len() as u64);
            let bytes = u32::try_from(value.len());
            if let (Ok(offset), Ok(bytes)) = (start, bytes) {
                let place = Place {
                    segment,
                    offset,
                    bytes,
                };
                places.insert(id, place);
            }
        }
    }

    /// The same for all frames of one write to a segment.
    pub(super) fn apply_write(&mut self, seed: Seed, segment: u64, mut offset: u64, bytes: &[u8]) {
        let mut rest = bytes;
        if offset == 0 {
            offset = SEGMENT_HEADER_BYTES;
            rest = rest.get(offset as usize..).unwrap_or_default();
        }
        while let Some(header) = FrameHeader::decode(rest, seed, offset) {
            let body_at = FRAME_HEADER_BYTES as usize;
            let body = rest.get(body_at..body_at + header.body_bytes as usize);
            if header.kind == FrameKind::BATCH
                && let Some(body) = body
            {
                self.apply(header.shard, body, segment, offset + FRAME_HEADER_BYTES);
            }
            offset += header.frame_bytes();
            let next = usize::try_from(header.frame_bytes()).unwrap_or(usize::MAX);
            rest = rest.get(next..).unwrap_or_default();
        }
    }

    /// Where a message lies. Every shard that has it has the same, and the newest place is the one
    /// that stays: who no longer needs the message has not written it again in the last checkpoint,
    /// and the segment with what it wrote before may be on its way out.
    pub(super) fn find(&self, id: MessageId) -> Option<Place> {
        let places = self.shards.iter().filter_map(|places| places.get(&id));
        places
            .max_by_key(|place| (place.segment, place.offset))
            .copied()
    }
}

fn message_of(key: &[u8]) -> Option<MessageId> {
    let (kind, name) = key.split_first()?;
    (*kind == MESSAGE).then(|| Fields(name).message_id())?
}
