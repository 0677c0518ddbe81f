//! Recordings that were damaged, cut, or written by nobody.
//!
//! A script of the `broker` target is recorded. What a file has then is changed, or only what is in
//! its frames, with sums that are right again.

use super::broker::recorded;
use super::script::Script;
use crate::recorded::written;
use whimbrel_core::recording::{
    FRAME_HEADER_BYTES, Mark, PART_HEADER_BYTES, Replay, ReplayError, Step, Stop, part_number,
};

/// More than any of these small parts has.
const STEPS: usize = 200_000;

/// The mark of parts that are made here, and that of what is left of an older one.
const MARK: Mark = Mark::of_part(1 << 40);
const OLDER: Mark = Mark::of_part(1 << 41);

/// What can go wrong with a part of a recording.
pub fn recording(data: &[u8]) {
    let mut script = Script::new(data);
    let how = script.below(4);
    if how == 0 {
        // Written by nobody.
        let length = script.below(8);
        let part = framed(MARK, script.take(usize::MAX), 1 << length);
        check_any(&part, &mut script);
        return;
    }
    let parts = recorded(&mut script);
    let parts = parts.files();
    let which = script.below(parts.len());
    let played: Vec<Played> = parts.iter().map(|part| play(part)).collect();
    for (place, played) in played.iter().enumerate() {
        let is_last = place + 1 == parts.len();
        let expected = if is_last { Stop::Ended } else { Stop::Complete };
        assert_eq!(played.end, Ok(expected), "part {place} of {}", parts.len());
    }
    let Some((part, played)) = parts.get(which).zip(played.get(which)) else {
        return;
    };
    match how {
        1 => check_overwritten(part, played, &mut script),
        2 => check_damaged(part, played, &mut script),
        _ => {
            let state = state_bytes(part);
            let mut steps = steps_of(part);
            edit(&mut script, &mut steps, state);
            let length = 64 << script.below(8);
            check_any(&framed(MARK, &steps, length), &mut script);
        }
    }
}

/// What came of a part.
struct Played {
    steps: Vec<Step>,
    end: Result<Stop, ReplayError>,
    /// What was played, once more.
    again: Vec<u8>,
}

fn play(part: &[u8]) -> Played {
    play_some(part, STEPS).unwrap_or_else(|error| Played {
        steps: Vec::new(),
        end: Err(error),
        again: Vec::new(),
    })
}

/// Plays so many steps at most; an error when none can be.
fn play_some(part: &[u8], count: usize) -> Result<Played, ReplayError> {
    assert!(written(part) <= part.len());
    let _ = part_number(part);
    let mut replay = Replay::new(part)?;
    let mut steps = Vec::new();
    let mut end = Ok(Stop::CutOff);
    while steps.len() < count {
        match replay.step() {
            Ok(Some(step)) => steps.push(step),
            Ok(None) => {
                end = Ok(replay.stop().expect("it has ended"));
                break;
            }
            Err(error) => {
                end = Err(error);
                break;
            }
        }
    }
    assert!(steps.len() < STEPS, "it does not end");
    let _ = replay.broker().statistics();
    Ok(Played {
        steps,
        end,
        again: replay.until_here(),
    })
}

/// Whatever it is, it ends, and what was played of it can be played once more.
fn check_any(part: &[u8], script: &mut Script<'_>) {
    let count = usize::from(script.u8());
    let played = play(part);
    if played.again.is_empty() {
        return;
    }
    let again = play(&played.again);
    assert_eq!(again.steps, played.steps, "the same steps");
    let expected = match played.end {
        Err(ReplayError::Damaged { .. } | ReplayError::BadStep { .. }) => Ok(Stop::CutOff),
        end => end,
    };
    assert_eq!(again.end, expected, "the same end");
    let some = play_some(part, count).expect("all of it was played");
    let again = play(&some.again);
    // Calls in a row are one step of the recording.
    assert!(again.steps.starts_with(&some.steps), "at least these");
    assert!(played.steps.starts_with(&again.steps), "no others");
}

/// Behind an undamaged part something may be left of the older one that it was written over.
fn check_overwritten(part: &[u8], played: &Played, script: &mut Script<'_>) {
    let mut older = framed(OLDER, &steps_of(part), 1 << script.below(12));
    edit(script, &mut older, PART_HEADER_BYTES);
    let shift = usize::from(script.u8());
    let left = older.get(part.len().saturating_sub(shift)..).unwrap_or(&[]);
    let mark = &part[PART_HEADER_BYTES - 8..PART_HEADER_BYTES];
    if left.windows(mark.len()).any(|bytes| bytes == mark) {
        // Not by chance.
        return;
    }
    let file = [part, left].concat();
    assert_eq!(written(&file), part.len(), "the rest is older");
    let again = play(&file);
    assert_eq!(again.end, played.end);
    assert_eq!(again.steps, played.steps);
    check_any(part, script);
}

/// Damage to a file is told, or what is left is one that was cut off.
fn check_damaged(part: &[u8], played: &Played, script: &mut Script<'_>) {
    let mut damaged = part.to_vec();
    while !script.is_over() {
        let at = usize::from(script.u16()) % (damaged.len() + 1);
        match script.below(4) {
            0 => damaged.truncate(at),
            1 => drop(damaged.splice(at..at, script.counted().to_vec())),
            2 => {
                let end = damaged.len().min(at + script.below(256));
                damaged[at..end].fill(0);
            }
            _ => {
                let mask = script.u8();
                if let Some(byte) = damaged.get_mut(at) {
                    *byte ^= mask;
                }
            }
        }
    }
    let found = play(&damaged);
    assert!(
        played.steps.starts_with(&found.steps),
        "nothing is told that did not happen"
    );
    match found.end {
        Ok(Stop::CutOff) => {}
        Ok(end) => assert_eq!(
            (Ok(end), found.steps.len()),
            (played.end, played.steps.len())
        ),
        Err(ReplayError::Damaged { at }) => assert!(at < damaged.len(), "a place in it"),
        Err(ReplayError::Differs { .. } | ReplayError::BadStep { .. }) => {
            panic!("the sums are wrong, and it is played: {:?}", found.end)
        }
        Err(_) => assert!(found.steps.is_empty()),
    }
}

/// Changes what is behind the first so many bytes.
fn edit(script: &mut Script<'_>, bytes: &mut Vec<u8>, kept: usize) {
    for _ in 0..script.below(16) {
        let room = bytes.len().saturating_sub(kept);
        let at = kept.min(bytes.len()) + usize::from(script.u16()) % (room + 1);
        match script.below(8) {
            0 => bytes.truncate(at),
            1 | 2 => drop(bytes.splice(at..at, script.counted().to_vec())),
            3 => {
                let end = bytes.len().min(at + script.below(256));
                drop(bytes.drain(at..end));
            }
            // Something that stands elsewhere.
            4 => {
                let from = kept.min(bytes.len()) + usize::from(script.u16()) % (room + 1);
                let end = bytes.len().min(from + script.below(256));
                let copy = bytes[from..end].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            5 => {
                let fill = script.choose(&[0xFF, 0, 0x7F]);
                let end = bytes.len().min(at + script.below(12));
                bytes[at..end].fill(fill);
            }
            _ => {
                let mask = script.u8();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= mask;
                }
            }
        }
    }
}

/// A part of frames of so many bytes.
fn framed(mark: Mark, steps: &[u8], length: usize) -> Vec<u8> {
    let mut part = mark.part_header().to_vec();
    for bytes in steps.chunks(length) {
        part.extend_from_slice(&mark.frame_header(bytes));
        part.extend_from_slice(bytes);
    }
    part
}

/// What is in the frames of a part that is whole.
fn steps_of(part: &[u8]) -> Vec<u8> {
    let mut steps = Vec::new();
    let mut rest = &part[PART_HEADER_BYTES..];
    while let Some((header, behind)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        let (bytes, later) = behind.split_at(length as usize);
        steps.extend_from_slice(bytes);
        rest = later;
    }
    steps
}

/// How long the state is that the steps begin with.
fn state_bytes(part: &[u8]) -> usize {
    let replay = Replay::new(part).expect("it is whole");
    replay.until_here().len() - PART_HEADER_BYTES - FRAME_HEADER_BYTES
}
