//! What a recording writes, kept in memory; and playing it back.

use std::convert::Infallible;
use whimbrel_core::recording::{
    Chunk, Mark, RecordedBroker, Replay, ReplayError, Stop, written_bytes,
};

/// The parts of a recording, as files would hold them.
#[derive(Clone, Debug, Default)]
pub struct Parts(Vec<Vec<u8>>);

impl Parts {
    /// Takes what there is to write; with `all`, what is no full chunk as well.
    pub fn take(&mut self, broker: &mut RecordedBroker, all: bool) {
        while let Some(chunk) = broker.poll_chunk(all) {
            let number = self.0.len() as u64;
            match (chunk, self.0.last_mut()) {
                (Chunk::Begin, _) => {
                    let header = Mark::of_part(number + 1).part_header();
                    self.0.push(header.to_vec());
                }
                (Chunk::Frame(bytes), Some(part)) => {
                    part.extend_from_slice(&Mark::of_part(number).frame_header(&bytes));
                    part.extend_from_slice(&bytes);
                }
                _ => {}
            }
        }
    }

    /// As files.
    #[must_use]
    pub fn files(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// Plays all of them, each from its own beginning; gives how many steps that were.
    ///
    /// # Errors
    ///
    /// What is wrong with which part.
    pub fn replay(&self) -> Result<u64, String> {
        let mut steps = 0;
        for (number, part) in self.0.iter().enumerate() {
            let (_, count) = play(part).map_err(|error| format!("part {number}: {error}"))?;
            steps += count;
        }
        Ok(steps)
    }
}

/// Plays one part to its end; gives how it ends, and how many steps there were.
///
/// # Errors
///
/// It cannot be played, or something else comes out.
pub fn play(part: &[u8]) -> Result<(Option<Stop>, u64), ReplayError> {
    let mut replay = Replay::new(part)?;
    while replay.step()?.is_some() {}
    Ok((replay.stop(), replay.step_count()))
}

/// How many bytes of a file are of the part in it. It is read in pieces, however large it is.
#[must_use]
pub fn written(file: &[u8]) -> usize {
    let Ok(written) = written_bytes(file.len() as u64, |at, piece| {
        assert!(piece.len() <= 64 << 10, "{} bytes at once", piece.len());
        piece.copy_from_slice(&file[at as usize..][..piece.len()]);
        Ok::<_, Infallible>(())
    });
    written as usize
}
