//! What a session leaves to other shards: its will, and messages of shared subscriptions that other
//! members get.
//!
//! On one shard what is given away and what becomes of it are one batch. Several shards write as
//! many batches, and a crash may leave some of them. So the record of the session stays as it was
//! until the others have kept their part; a crash before that finds the session as if nothing had
//! happened to it, and the same is done again. That it is done once, and not twice, is for a will
//! what it is for a QoS 2 message: who has taken it in is remembered, under an exchange of its own,
//! until the record says that it is gone; see [`taken`](crate::taken). A message that moved is
//! marked so in the batch of whoever has it now.
//!
//! ```text
//!  Told ─────────► Recorded ─────────► Completing ─────────► over
//!   others have     the log has         others have
//!   kept it         the record          forgotten it
//! ```

use crate::broker::Broker;
use crate::id::{PacketId, Position};
use crate::letter::ExchangeId;
use crate::slab::Key;
use alloc::collections::VecDeque;

/// Set in the session number of an exchange: that of a will. The numbers of shards end far below.
const WILL: u64 = 1 << 63;

/// What one session has left to others.
#[derive(Debug)]
struct Estate {
    /// The session, if it is still there.
    key: Key,
    number: u64,
    /// Under which its will was taken in.
    exchange: Option<ExchangeId>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Part of it is not told yet.
    Telling,
    /// It is in letters up to this number.
    Told(u64),
    /// The record says so, and is at this position.
    Recorded(Position),
    /// The others were told to forget who has taken it in, in letters up to this number; here that
    /// is at this position. A will that comes next is taken in under the same exchange.
    Completing(u64, Position),
    Over,
}

/// All that is not settled.
#[derive(Default)]
pub(crate) struct Estates {
    open: VecDeque<Estate>,
    /// How many there were, those that are open included.
    opened: u64,
}

crate::state::state!(Estate {
    key,
    number,
    exchange,
    stage
});
crate::state::state!(enum Stage {
    0 Telling,
    1 Told(letter),
    2 Recorded(position),
    3 Completing(letter, position),
    4 Over,
});
crate::state::state!(Estates { open, opened });

impl Estates {
    /// How many there were so far: to be compared with those that are settled.
    pub(crate) const fn opened(&self) -> u64 {
        self.opened
    }

    /// How many are settled, one after the other.
    pub(crate) fn settled(&self) -> u64 {
        self.opened - self.open.len() as u64
    }

    /// Whether all are.
    pub(crate) fn are_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether the log holds records that are to be changed, and must be left until then.
    pub(crate) fn owes_records(&self) -> bool {
        let owes = |estate: &Estate| matches!(estate.stage, Stage::Telling | Stage::Told(_));
        self.open.iter().any(owes)
    }

    fn add(&mut self, estate: Estate) {
        self.opened += 1;
        self.open.push_back(estate);
    }
}

/// The session of an exchange, and whether it is that of its will.
pub(crate) const fn session_of(exchange: ExchangeId) -> (u64, bool) {
    (exchange.session & !WILL, exchange.session & WILL != 0)
}

impl Broker {
    /// The exchange of the will of a session, when shards have to remember that they have it. None
    /// while an earlier one is open: nobody was promised this one yet.
    pub(crate) fn exchange_of_will(&self, session: u64) -> Option<ExchangeId> {
        let exchange = ExchangeId {
            session: session | WILL,
            packet_id: PacketId::FIRST,
        };
        let is_free = !self.taken.contains_key(&exchange) || self.was_interrupted(exchange);
        (self.counts_taken() && is_free).then_some(exchange)
    }

    /// Others were told what a session has left them: its record waits until they have kept it. It
    /// may be waiting already.
    pub(crate) fn bequeath(
        &mut self,
        (key, number, waits): (Key, u64, bool),
        exchange: Option<ExchangeId>,
    ) {
        let stage = match self.is_fanning_out() {
            true => Stage::Telling,
            false => Stage::Told(self.peers.latest()),
        };
        let mut open = self.estates.open.iter_mut().rev();
        let earlier = waits.then(|| open.find(|estate| estate.number == number));
        if let Some(estate) = earlier.flatten() {
            estate.stage = stage;
            estate.exchange = estate.exchange.or(exchange);
        } else {
            self.estates.add(Estate {
                key,
                number,
                exchange,
                stage,
            });
        }
        self.settle_estates();
    }

    /// Goes on with what can be settled.
    pub(crate) fn settle_estates(&mut self) {
        for place in 0..self.estates.open.len() {
            while self.settle_estate(place) {}
            // What was told later is kept later.
            let stage = self.estates.open.get(place).map(|estate| estate.stage);
            if matches!(stage, Some(Stage::Telling | Stage::Told(_))) {
                break;
            }
        }
        while let Some(Estate {
            stage: Stage::Over, ..
        }) = self.estates.open.front()
        {
            self.estates.open.pop_front();
        }
    }

    /// Whether it came further.
    fn settle_estate(&mut self, place: usize) -> bool {
        let Some(estate) = self.estates.open.get(place) else {
            return false;
        };
        let (key, number, exchange) = (estate.key, estate.number, estate.exchange);
        let next = match estate.stage {
            Stage::Telling if !self.is_fanning_out() => Stage::Told(self.peers.latest()),
            Stage::Told(letter) if letter <= self.peers.kept() => {
                match self.sessions.get_mut(key) {
                    Some(session) => {
                        session.record_waits = false;
                        self.record_session(key);
                    }
                    None => {
                        self.record_end(number);
                        self.journal.narrow();
                    }
                }
                Stage::Recorded(self.journal.latest())
            }
            Stage::Recorded(position) if position <= self.durable => match exchange {
                Some(exchange) if self.complete_exchange(exchange) => {
                    Stage::Completing(self.peers.latest(), self.journal.latest())
                }
                Some(_) | None => Stage::Over,
            },
            Stage::Completing(letter, position)
                if letter <= self.peers.kept() && position <= self.durable =>
            {
                Stage::Over
            }
            Stage::Telling
            | Stage::Told(_)
            | Stage::Recorded(_)
            | Stage::Completing(..)
            | Stage::Over => return false,
        };
        if let Some(estate) = self.estates.open.get_mut(place) {
            estate.stage = next;
        }
        true
    }

    /// The log hears that a session is gone.
    pub(crate) fn record_end(&mut self, number: u64) {
        self.journal.session_ended(number);
        self.complete_all(number);
    }
}
