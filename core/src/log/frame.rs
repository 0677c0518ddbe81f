//! The bytes of a segment: its header and its frames. `docs/log-format.md` has the picture.
//!
//! Only layout and checksums are decided here. What a damaged frame *means* is for `recovery`.

use super::crc32c::Crc32c;
use super::engine::Marker;
use alloc::vec::Vec;
use core::fmt;

/// The version of the format that this code writes, and the only one it reads.
pub const FORMAT_VERSION: u32 = 1;

/// What the segment header takes. Frames begin behind it, on a page of their own.
pub const SEGMENT_HEADER_BYTES: u64 = 4096;

/// What the header of a frame takes.
pub const FRAME_HEADER_BYTES: u64 = 40;

/// Frames begin at multiples of this.
pub(super) const FRAME_ALIGN: u64 = 8;

/// The longest body of a frame. Also what a damaged but plausible length could make a reader
/// buffer.
pub(super) const BODY_BYTES_MAX: u32 = 512 << 20;

const MAGIC: [u8; 8] = *b"whimblog";
const HEADER_USED: usize = 76;
const FRAME_HEADER: usize = 40;

/// Names a log: random, the same in all its segments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogUuid(pub [u8; 16]);

impl fmt::Debug for LogUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for LogUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl LogUuid {
    /// A name with which the frames of a segment are good, for a log that has lost its own: found
    /// in what is left of the header, or else made of `fresh` and what the checksum of the first
    /// frame tells. All segments of a log take such a name for its own.
    ///
    /// `header` is what stands where the header was, `frames` what stands behind it.
    pub(super) fn of_frames(
        header: &[u8],
        frames: &[u8],
        number: u64,
        fresh: Self,
    ) -> Option<Self> {
        let at = SEGMENT_HEADER_BYTES;
        let is_good = |uuid: &Self| {
            let found = FrameHeader::decode(frames, Seed::new(*uuid, number), at);
            found.is_some_and(|found| {
                let end = usize::try_from(found.frame_bytes()).unwrap_or(usize::MAX);
                let body = frames.get(FRAME_HEADER..end);
                body.is_some_and(|body| !body.is_empty() && found.is_body(body))
            })
        };
        let written = SegmentHeader::unchecked(header).map(|header| header.uuid);
        // Its own name fits any frame, be the first one damaged or not.
        let is_named = |uuid: &Self| {
            let seed = Seed::new(*uuid, number);
            let offsets = (0..frames.len()).step_by(FRAME_ALIGN as usize);
            let mut found = offsets.filter(|offset| {
                FrameHeader::decode(&frames[*offset..], seed, at + *offset as u64).is_some()
            });
            found.next().is_some()
        };
        if let Some(written) = written.filter(is_named) {
            return Some(written);
        }
        let seed = Seed::implied(frames, at)?;
        let mut uuid = written.filter(|uuid| uuid.0 != [0; 16]).unwrap_or(fresh).0;
        let (free, made) = uuid.split_at_mut(12);
        let named = seed.0.before(&number.to_le_bytes());
        made.copy_from_slice(&Crc32c::new().update(free).bytes_to(named));
        Some(Self(uuid)).filter(is_good)
    }
}

/// The start of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) uuid: LogUuid,
    pub(super) number: u64,
    /// The segment before this one; 0 when none ever was.
    pub(super) previous: u64,
    /// The number of the first frame. Frames from this number on in earlier segments do not count.
    pub(super) base_lsn: u64,
    /// What was known to be synced when this header was written.
    pub(super) durable_lsn: u64,
    /// The size of the file, synced before this header was written; 0 when it was not.
    pub(super) file_bytes: u64,
    /// A repair accepted that frames are missing before this segment.
    pub(super) gap_before: bool,
}

/// Why there is no segment header to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Only zeros: a spare, or a file that never got a header.
    Blank,
    /// Not what was written.
    Damaged,
    /// A good header of another format.
    Version(u32),
}

impl SegmentHeader {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&u32::from(self.gap_before).to_le_bytes());
        out.extend_from_slice(&self.uuid.0);
        for number in [
            self.number,
            self.previous,
            self.base_lsn,
            self.durable_lsn,
            self.file_bytes,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let crc = Crc32c::new().update(&out[start..]).finish();
        out.extend_from_slice(&crc.to_le_bytes());
        debug_assert_eq!(out.len() - start, HEADER_USED);
        out.resize(start + SEGMENT_HEADER_BYTES as usize, 0);
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(HeaderError::Blank);
        }
        let used = bytes.get(..HEADER_USED).ok_or(HeaderError::Damaged)?;
        let (covered, crc) = used.split_at(HEADER_USED - 4);
        let sum = Crc32c::new().update(covered).finish();
        if crc != sum.to_le_bytes() || covered[..8] != MAGIC {
            return Err(HeaderError::Damaged);
        }
        // These stay where they are in every version to come: another version is not damage.
        let version = u32_at(used, 8);
        if version != FORMAT_VERSION {
            return Err(HeaderError::Version(version));
        }
        Self::unchecked(bytes).ok_or(HeaderError::Damaged)
    }

    /// What stands there, whether or not it was ever written.
    fn unchecked(bytes: &[u8]) -> Option<Self> {
        let used = bytes.get(..HEADER_USED)?;
        Some(Self {
            uuid: LogUuid(*used[16..].first_chunk()?),
            number: u64_at(used, 32),
            previous: u64_at(used, 40),
            base_lsn: u64_at(used, 48),
            durable_lsn: u64_at(used, 56),
            file_bytes: u64_at(used, 64),
            gap_before: u32_at(used, 12) & 1 == 1,
        })
    }

    /// Whether a first start that was interrupted may have left this: nothing, or the beginning of
    /// the first header of a log.
    pub(super) fn is_first_begun(bytes: &[u8]) -> bool {
        let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else {
            return true;
        };
        let Some(found) = Self::unchecked(bytes) else {
            return false;
        };
        let first = Self {
            number: 1,
            previous: 0,
            base_lsn: 1,
            durable_lsn: 0,
            gap_before: false,
            ..found
        };
        let mut whole = Vec::new();
        first.encode(&mut whole);
        bytes.len() == whole.len() && bytes[..=last] == whole[..=last]
    }
}

/// Makes the checksums of one segment differ from those of any other, so that a frame is only good
/// in the place it was written to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(Crc32c);

impl Seed {
    pub(super) fn new(uuid: LogUuid, segment: u64) -> Self {
        Self(Crc32c::new().update(&uuid.0).update(&segment.to_le_bytes()))
    }

    /// What the checksums of a segment must begin with for `header` to be good at `offset`.
    fn implied(header: &[u8], offset: u64) -> Option<Self> {
        let covered = header.get(4..FRAME_HEADER)?;
        let after = Crc32c::finished(u32_at(header, 0));
        Some(Self(after.before(covered).before(&offset.to_le_bytes())))
    }

    fn header_crc(self, offset: u64, covered: &[u8]) -> u32 {
        self.0
            .update(&offset.to_le_bytes())
            .update(covered)
            .finish()
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameKind(pub(super) u8);

impl FrameKind {
    /// A batch of operations.
    pub(super) const BATCH: Self = Self(1);
    /// Last in a segment: the next one (`position`) exists and begins with this frame's number,
    /// which the seal does not use up. With 0 for the next one: the file was shortened to end here.
    pub(super) const SEAL: Self = Self(2);
    /// Last in a log that was closed in order.
    pub(super) const SHUTDOWN: Self = Self(3);
    /// The checkpoint that began with frame `position` is whole.
    pub(super) const CHECKPOINT: Self = Self(4);
    /// A repair gave up the frames from this one's number to `position`.
    pub(super) const GAP: Self = Self(5);

    const SKIPPABLE: u8 = 0x80;

    /// Whether a version that does not know this kind may ignore it.
    pub(super) const fn is_skippable(self) -> bool {
        self.0 & Self::SKIPPABLE != 0
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) body_crc: u32,
    pub(super) body_bytes: u32,
    pub(super) kind: FrameKind,
    pub(super) marker: Marker,
    pub(super) shard: u16,
    pub(super) lsn: u64,
    pub(super) durable_lsn: u64,
    pub(super) position: u64,
}

impl FrameHeader {
    /// A frame without a body.
    pub(super) const fn control(kind: FrameKind, lsn: u64, position: u64) -> Self {
        Self {
            body_crc: 0,
            body_bytes: 0,
            kind,
            marker: Marker::None,
            shard: 0,
            lsn,
            durable_lsn: 0,
            position,
        }
    }

    /// Bytes of the whole frame, padding included.
    pub(super) const fn frame_bytes(&self) -> u64 {
        frame_bytes(self.body_bytes)
    }

    /// Reads the header of a frame and believes it only when its checksum is right for this place.
    pub(super) fn decode(bytes: &[u8], seed: Seed, offset: u64) -> Option<Self> {
        let header = bytes.get(..FRAME_HEADER)?;
        // Cheap tests first: a search tries this at every multiple of eight.
        if header[12] == 0 || u32_at(header, 8) > BODY_BYTES_MAX {
            return None;
        }
        if u32_at(header, 0) != seed.header_crc(offset, &header[4..]) {
            return None;
        }
        Some(Self {
            body_crc: u32_at(header, 4),
            body_bytes: u32_at(header, 8),
            kind: FrameKind(header[12]),
            marker: Marker::from_bits(header[13]),
            shard: u16::from_le_bytes([header[14], header[15]]),
            lsn: u64_at(header, 16),
            durable_lsn: u64_at(header, 24),
            position: u64_at(header, 32),
        })
    }

    /// Whether `body`, padding included, is what was written.
    pub(super) fn is_body(&self, body: &[u8]) -> bool {
        Crc32c::new().update(body).finish() == self.body_crc
    }

    /// Appends this frame with `body`, all but the checksum of the header: see [`stamp`].
    pub(super) fn encode(&self, body: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.body_bytes.to_le_bytes());
        out.extend_from_slice(&[self.kind.0, self.marker.bits()]);
        out.extend_from_slice(&self.shard.to_le_bytes());
        for number in [self.lsn, self.durable_lsn, self.position] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(body);
        out.resize(out.len().next_multiple_of(FRAME_ALIGN as usize), 0);
        let crc = Crc32c::new().update(&out[start + FRAME_HEADER..]).finish();
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Bytes of a frame with a body of that many bytes, padding included.
pub(super) const fn frame_bytes(body_bytes: u32) -> u64 {
    FRAME_HEADER_BYTES + (body_bytes as u64).next_multiple_of(FRAME_ALIGN)
}

/// Makes encoded frames good for the place they are about to be written to: sets what is known to
/// be durable and the checksum of each header.
pub(super) fn stamp(frames: &mut [u8], seed: Seed, mut offset: u64, durable_lsn: u64) {
    let mut rest = frames;
    while let Some((header, behind)) = rest.split_at_mut_checked(FRAME_HEADER) {
        header[24..32].copy_from_slice(&durable_lsn.to_le_bytes());
        let crc = seed.header_crc(offset, &header[4..]);
        header[..4].copy_from_slice(&crc.to_le_bytes());
        let bytes = frame_bytes(u32_at(header, 8));
        offset += bytes;
        let body = (bytes - FRAME_HEADER_BYTES) as usize;
        rest = behind.get_mut(body..).unwrap_or_default();
    }
}

/// Reads a number whose place is within `bytes` by the layout above.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
