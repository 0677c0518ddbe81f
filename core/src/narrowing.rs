//! What several shards want less than before, until that is durable.
//!
//! A message for nobody is acknowledged when it is durable that nobody is there: a subscription
//! that comes back after a crash must not have missed it. On one shard the acknowledgement waits
//! for [the last record by which less is to be kept](crate::journal::Journal::narrowed). Another
//! shard is not even sent a message once it has said that nobody there wants it. So with whatever
//! is said to be wanted no more goes that it is not durable yet, a later letter says when it is,
//! and until then every acknowledgement of a message waits for that. Nothing else does, and what
//! they wait for waits for no acknowledgement, so there is no circle.

use crate::gate::Gate;
use crate::id::PeerId;
use crate::letter::Narrowed;
use alloc::collections::VecDeque;

/// A letter from this shard or to it, by which less is wanted.
#[derive(Clone, Copy, Debug)]
struct Said {
    peer: PeerId,
    letter: u64,
    /// Of those from here: when it is durable.
    gate: Gate,
}

/// What this shard has said to others that is not durable here, and the other way round.
#[derive(Debug, Default)]
pub(crate) struct Narrowing {
    here: VecDeque<Said>,
    elsewhere: VecDeque<Said>,
    /// How many letters from elsewhere said so, those that are not durable included.
    heard: u64,
}

crate::state::state!(Said { peer, letter, gate });
crate::state::state!(Narrowing {
    here,
    elsewhere,
    heard
});

impl Narrowing {
    // --- Here ---

    /// What the next letter to a peer says, when what is wanted no more here is durable with
    /// `gate`; `None` when it is so by now.
    pub(crate) fn say(&mut self, peer: PeerId, letter: u64, gate: Option<Gate>) -> Narrowed {
        let mut said = self.here.iter().filter(|said| said.peer == peer);
        let first = said.next().map(|said| said.letter);
        let mut latest = self.here.iter().rev().filter(|said| said.peer == peer);
        let known = latest.next().map(|said| said.gate);
        let gate = gate.filter(|gate| known != Some(*gate));
        if let Some(gate) = gate {
            self.here.push_back(Said { peer, letter, gate });
        }
        let first = first.or_else(|| gate.map(|_| letter));
        Narrowed {
            less: gate.is_some(),
            until: first.map_or(letter, |first| first - 1),
        }
    }

    /// Everything here has come as far as `now`: the next peer that has to hear of that.
    pub(crate) fn settled(&mut self, now: Gate) -> Option<PeerId> {
        let said = self.here.front()?;
        if !said.gate.is_open(now) {
            return None;
        }
        self.here.pop_front().map(|said| said.peer)
    }

    // --- Elsewhere ---

    /// What a letter of a peer says.
    pub(crate) fn hear(&mut self, peer: PeerId, letter: u64, narrowed: Narrowed) {
        if narrowed.less {
            self.heard += 1;
            let gate = Gate::default();
            self.elsewhere.push_back(Said { peer, letter, gate });
        }
        // What is durable before its time waits for the others.
        let is_over = |said: &Said| said.peer == peer && said.letter <= narrowed.until;
        self.elsewhere.iter_mut().for_each(|said| {
            if is_over(said) {
                said.letter = 0;
            }
        });
        while self.elsewhere.front().is_some_and(|said| said.letter == 0) {
            self.elsewhere.pop_front();
        }
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
}
