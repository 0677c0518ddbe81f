//! What a part is made of, as bytes: a header, and frames with their lengths and sums. What is in
//! them belongs to `step` and `state`.

use super::digest::{BLOCK_BYTES, Digest};
use super::{FORMAT, MAGIC, ReplayError};
use alloc::vec;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::ops::Range;

/// What tells a part of a ring from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark([u8; 8]);

impl Mark {
    /// The mark of the part with this number, in the order in which they are written. No two have
    /// the same, and hardly any bytes look like one.
    #[must_use]
    pub const fn of_part(number: u64) -> Self {
        Self((number ^ !0).wrapping_mul(Digest::FACTOR).to_le_bytes())
    }

    /// What stands at the beginning of a part.
    #[must_use]
    pub fn part_header(self) -> [u8; PART_HEADER_BYTES] {
        let mut header = [0; PART_HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        header[12..].copy_from_slice(&self.0);
        header
    }

    /// What stands before the bytes of a frame.
    #[must_use]
    pub fn frame_header(self, bytes: &[u8]) -> [u8; FRAME_HEADER_BYTES] {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut digest = Digest::new();
        digest.bytes(bytes);
        self.header_of(length, digest)
    }

    /// Of a frame of this length that comes to this sum. Much faster than a CRC, and as good
    /// against chance.
    fn header_of(self, length: u32, digest: Digest) -> [u8; FRAME_HEADER_BYTES] {
        let mut header = [0; FRAME_HEADER_BYTES];
        header[..8].copy_from_slice(&self.0);
        header[8..12].copy_from_slice(&length.to_le_bytes());
        header[12..].copy_from_slice(&digest.sum().to_le_bytes());
        header
    }
}

/// How long what stands before the first frame is.
pub const PART_HEADER_BYTES: usize = 20;

/// How long what stands before the bytes of a frame is.
pub const FRAME_HEADER_BYTES: usize = 16;

/// So much of a part is looked at at a time: whole blocks of a sum.
const PIECE_BYTES: usize = 64 << 10;

const _: () = assert!(PIECE_BYTES.is_multiple_of(BLOCK_BYTES));

/// Which part of a ring this is, by its mark: see [`Mark::of_part`].
#[must_use]
pub fn part_number(part: &[u8]) -> Option<u64> {
    let (header, _) = part.split_first_chunk::<PART_HEADER_BYTES>()?;
    let (magic, rest) = header.split_first_chunk::<8>()?;
    let (_, mark) = rest.split_last_chunk::<8>()?;
    let number = u64::from_le_bytes(*mark).wrapping_mul(inverse(Digest::FACTOR)) ^ !0;
    (*magic == MAGIC).then_some(number)
}

/// What an odd number is to be multiplied with to get 1, by Newton's method: each round doubles how
/// many of the lowest bits are right, and the number itself has three.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut bits = 3;
    while bits < u64::BITS {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        bits *= 2;
    }
    inverse
}

/// How many bytes of a file of `length` are of the part in it; the rest is what is left of an older
/// one. All of them where that is not certain. `read` fills a buffer with what stands in the file
/// from a place on; there is never asked for more than 64 KiB, nor for what is behind the end.
///
/// # Errors
///
/// What `read` says.
pub fn written_bytes<E>(
    length: u64,
    read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<u64, E> {
    let walk = Walk::new(length, read).all(|_| {})?;
    Ok(match walk {
        Ok(End {
            at,
            is_damaged: false,
        }) => at,
        _ => length,
    })
}

/// The bytes of all frames that can be read, and where the last one of them ends.
pub(super) fn contents(part: &[u8]) -> Result<(Vec<u8>, End), ReplayError> {
    let of = |range: Range<u64>| &part[range.start as usize..range.end as usize];
    let read = |at, piece: &mut [u8]| {
        piece.copy_from_slice(of(at..at + piece.len() as u64));
        Ok::<_, Infallible>(())
    };
    let mut steps = Vec::new();
    let Ok(end) = Walk::new(part.len() as u64, read).all(|range| {
        steps.extend_from_slice(of(range));
    });
    end.map(|end| (steps, end))
}

/// Where the frames of a part end.
#[derive(Clone, Copy)]
pub(super) struct End {
    /// Behind the last one that can be read.
    pub(super) at: u64,
    /// What comes there is damaged; otherwise it is not whole, or what is left of an older part.
    pub(super) is_damaged: bool,
}

/// Goes from frame to frame, with little in memory.
struct Walk<R> {
    length: u64,
    read: R,
    piece: Vec<u8>,
}

impl<E, R: FnMut(u64, &mut [u8]) -> Result<(), E>> Walk<R> {
    fn new(length: u64, read: R) -> Self {
        let piece = vec![0; PIECE_BYTES];
        Self {
            length,
            read,
            piece,
        }
    }

    /// Reads what stands there, at most so much and at most a piece.
    fn piece(&mut self, at: u64, most: u64) -> Result<&[u8], E> {
        let length = most.min(self.length.saturating_sub(at));
        let length = usize::try_from(length).map_or(PIECE_BYTES, |all| all.min(PIECE_BYTES));
        let piece = &mut self.piece[..length];
        (self.read)(at, piece)?;
        Ok(piece)
    }

    /// Tells where the bytes of each frame are that can be read.
    fn all(mut self, mut frame: impl FnMut(Range<u64>)) -> Result<Result<End, ReplayError>, E> {
        let mut at = PART_HEADER_BYTES as u64;
        let mark = match mark_of(self.piece(0, at)?) {
            Ok(mark) => mark,
            Err(error) => return Ok(Err(error)),
        };
        loop {
            let header = self.piece(at, FRAME_HEADER_BYTES as u64)?;
            let Ok(header) = <[u8; FRAME_HEADER_BYTES]>::try_from(header) else {
                let is_damaged = false;
                return Ok(Ok(End { at, is_damaged }));
            };
            let bytes = at + FRAME_HEADER_BYTES as u64;
            let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
            let end = bytes + u64::from(length);
            if end > self.length || self.header(mark, bytes, length)? != header {
                let is_damaged = self.is_damage(mark, &header, bytes)?;
                return Ok(Ok(End { at, is_damaged }));
            }
            frame(bytes..end);
            at = end;
        }
    }

    /// What should stand before these bytes.
    fn header(
        &mut self,
        mark: Mark,
        mut at: u64,
        length: u32,
    ) -> Result<[u8; FRAME_HEADER_BYTES], E> {
        let mut digest = Digest::new();
        digest.number(length.into());
        let end = at + u64::from(length);
        loop {
            let piece = self.piece(at, end - at)?;
            at += piece.len() as u64;
            let rest = digest.blocks(piece);
            if at == end {
                digest.end(rest);
                return Ok(mark.header_of(length, digest));
            }
        }
    }

    /// Whether something that is no frame was one: the part ends with it, or goes on behind it.
    /// Otherwise it was not written to its end, or belongs to what was in the file before.
    fn is_damage(
        &mut self,
        mark: Mark,
        header: &[u8; FRAME_HEADER_BYTES],
        mut at: u64,
    ) -> Result<bool, E> {
        let is_own = header.starts_with(&mark.0);
        let behind = self.length - at;
        if is_own && header[8..12] == (behind as u32).to_le_bytes() {
            return Ok(true);
        }
        // Each piece begins with the end of the one before, where a mark may begin.
        while self.length - at >= mark.0.len() as u64 {
            let piece = self.piece(at, u64::MAX)?;
            if piece.windows(mark.0.len()).any(|bytes| bytes == mark.0) {
                return Ok(true);
            }
            at += (piece.len() - mark.0.len() + 1) as u64;
        }
        Ok(false)
    }
}

/// The mark of a part that begins like this.
fn mark_of(header: &[u8]) -> Result<Mark, ReplayError> {
    if !header.starts_with(&MAGIC) && !MAGIC.starts_with(header) {
        return Err(ReplayError::NotARecording);
    }
    let Ok(header) = <[u8; PART_HEADER_BYTES]>::try_from(header) else {
        return Err(ReplayError::NoBeginning);
    };
    let [_, _, _, _, _, _, _, _, a, b, c, d, mark @ ..] = header;
    match u32::from_le_bytes([a, b, c, d]) {
        FORMAT => Ok(Mark(mark)),
        found => Err(ReplayError::Format { found }),
    }
}
