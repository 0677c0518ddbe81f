//! Frames that wait for their write.
//!
//! Everything that is appended while a write and its sync are under way gathers here and forms the
//! next write: natural group commit, without a timer.

use crate::id::Position;
use crate::log::frame::{FrameHeader, FrameKind};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Frames in order, encoded but for what depends on their place in a file.
#[derive(Debug, Default)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    frames: VecDeque<Queued>,
}

#[derive(Debug)]
struct Queued {
    bytes: u64,
    lsn: u64,
    /// Who hears about it when it is durable; nobody does of a control frame.
    ack: Option<(u16, Position)>,
}

/// The last position of each shard among some frames, by shard.
pub(super) type Positions = Vec<Option<Position>>;

impl Queue {
    pub(super) fn push(&mut self, header: &FrameHeader, body: &[u8]) {
        header.encode(body, &mut self.bytes);
        let ack =
            (header.kind == FrameKind::BATCH).then_some((header.shard, Position(header.position)));
        self.frames.push_back(Queued {
            bytes: header.frame_bytes(),
            lsn: header.lsn,
            ack,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// What the first frame takes; 0 when there is none.
    pub(super) fn first_bytes(&self) -> u64 {
        self.frames.front().map_or(0, |frame| frame.bytes)
    }

    /// Moves as many frames as fit in `room` bytes to the end of `out`. Gives the number of the
    /// last one, and notes the positions that become durable with it.
    pub(super) fn take(
        &mut self,
        room: u64,
        out: &mut Vec<u8>,
        positions: &mut Positions,
    ) -> Option<u64> {
        let mut taken = 0;
        let mut last = None;
        while let Some(frame) = self.frames.front()
            && taken + frame.bytes <= room
        {
            taken += frame.bytes;
            last = Some(frame.lsn);
            if let Some((shard, position)) = frame.ack
                && let Some(slot) = positions.get_mut(usize::from(shard))
            {
                *slot = Some(position);
            }
            self.frames.pop_front();
        }
        if self.frames.is_empty() && out.is_empty() {
            core::mem::swap(&mut self.bytes, out);
        } else {
            let taken = usize::try_from(taken).unwrap_or(self.bytes.len());
            out.extend(self.bytes.drain(..taken));
        }
        last
    }
}
