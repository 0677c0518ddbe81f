//! What several shards want less than before, until that is durable.
//!
//! A message for nobody is acknowledged when it is durable that nobody is there: a subscription
//! that comes back after a crash must not have missed it. On one shard the acknowledgement waits
//! for [the last record by which less is to be kept](crate::journal::Journal::narrowed). Another
//! shard is not even sent a message once it has said that nobody there wants it. So the letter that
//! says so says, too, that it is not durable yet, a later one says when it is, and until then every
//! acknowledgement of a message waits for that. So does one that waits already for what others are
//! to confirm: they may have got the message when it was for nobody any more. What a shard says
//! here waits for its own log and sessions, and they for no acknowledgement, so there is no circle.

use crate::gate::Gate;
use crate::id::PeerId;
use crate::letter::Narrowed;
use alloc::vec::Vec;

/// So many letters to one peer say that less is wanted and are not durable. What more is not wanted
/// is durable with the last of them.
const SAID_MAXIMUM: usize = 8;

/// A letter from this shard by which less is wanted, and when that is durable.
#[derive(Clone, Copy, Debug)]
struct Said {
    peer: PeerId,
    letter: u64,
    gate: Gate,
}

/// A letter to it.
#[derive(Clone, Copy, Debug)]
struct Heard {
    peer: PeerId,
    letter: u64,
    is_durable: bool,
}

/// What this shard has said to others that is not durable here, and the other way round: little,
/// for each peer [so much](SAID_MAXIMUM) at most.
#[derive(Debug, Default)]
pub(crate) struct Narrowing {
    here: Vec<Said>,
    elsewhere: Vec<Heard>,
    /// How many letters from elsewhere said so, those that are not durable included.
    heard: u64,
    /// What waits for a later letter than the first of two to be confirmed waits for so many.
    raised: Vec<(u64, u64)>,
}

crate::state::state!(Said { peer, letter, gate });
crate::state::state!(Heard {
    peer,
    letter,
    is_durable
});
crate::state::state!(Narrowing {
    here,
    elsewhere,
    heard,
    raised
});

impl Narrowing {
    // --- Here ---

    /// What the next letter to a peer says. `gate` is when it is durable that less is wanted here
    /// than the peer has heard; `None` when it is so by now, or the letter does not say so.
    pub(crate) fn say(&mut self, peer: PeerId, letter: u64, gate: Option<Gate>) -> Narrowed {
        let count = self.here.iter().filter(|said| said.peer == peer).count();
        let mut less = false;
        if let Some(gate) = gate {
            let last = self.here.iter_mut().rev().find(|said| said.peer == peer);
            match last.filter(|last| count >= SAID_MAXIMUM || last.gate == gate) {
                Some(last) => last.gate = gate,
                None => {
                    self.here.push(Said { peer, letter, gate });
                    less = true;
                }
            }
        }
        let first = self.here.iter().find(|said| said.peer == peer);
        let until = first.map_or(letter, |first| first.letter - 1);
        Narrowed { less, until }
    }

    /// Everything here has come as far as `now`: the next peer that has to hear of that.
    pub(crate) fn settled(&mut self, now: Gate) -> Option<PeerId> {
        let is_settled = self.here.first()?.gate.is_open(now);
        is_settled.then(|| self.here.remove(0).peer)
    }

    // --- Elsewhere ---

    /// What a letter of a peer says; its confirmations come next. All have confirmed the letters up
    /// to `kept` by now.
    pub(crate) fn hear(&mut self, peer: PeerId, letter: u64, narrowed: Narrowed, kept: u64) {
        if narrowed.less {
            self.heard += 1;
            self.elsewhere.push(Heard {
                peer,
                letter,
                is_durable: false,
            });
            self.raised.push((kept, self.heard));
        }
        for heard in &mut self.elsewhere {
            heard.is_durable |= heard.peer == peer && heard.letter <= narrowed.until;
        }
        // What is durable before its time waits for the others.
        while self.elsewhere.first().is_some_and(|heard| heard.is_durable) {
            self.elsewhere.remove(0);
        }
        let durable = self.durable();
        self.raised.retain(|(_, heard)| *heard > durable);
    }

    /// How many letters were heard so far: to be compared with those that are durable.
    pub(crate) const fn heard(&self) -> u64 {
        self.heard
    }

    /// How many of them are durable, one after the other.
    pub(crate) fn durable(&self) -> u64 {
        self.heard - self.elsewhere.len() as u64
    }

    /// Whether all are.
    pub(crate) fn are_durable(&self) -> bool {
        self.elsewhere.is_empty()
    }

    /// Whether what waits until others have confirmed this letter waits for more than it knew.
    pub(crate) fn holds(&self, letter: u64) -> bool {
        let raised = self.raised.first();
        raised.is_some_and(|(kept, _)| *kept < letter)
    }
}
