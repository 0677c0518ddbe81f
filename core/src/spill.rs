//! Payloads that need not be in memory: what waits and is durable may lie in the log alone, until
//! it is due.
//!
//! ```text
//!            more in memory than the budget allows
//!   whole ────────────────────────────────────────▶ stub
//!     ▲                                              │ its turn is near: Action::Load
//!     └──────────── Broker::loaded ◀─────────────────┘
//! ```
//!
//! The budget is for the messages that deliveries of sessions in the log hold whole; each counts
//! once, whatever the number of its receivers. When it is exceeded, a hand goes round the sessions,
//! a bounded number of deliveries in a call: first those that are away, then what lies deep in the
//! queues of those that are here. Only what is durable is let go, so the log can always give it
//! back.
//!
//! A session whose next delivery is a stub waits for it, and nobody else does. A bounded number is
//! asked for ahead, so that a queue drains at the speed of the disk; over the budget, one at a
//! time.
//!
//! What cannot be read back, or is not what was kept, is not delivered: the delivery ends, counted
//! and reported, as one that the disk has lost.

use crate::action::{Action, DropReason, Event};
use crate::broker::Broker;
use crate::id::{MessageId, PacketId};
use crate::message::Message;
use crate::session::inflight::Stage;
use crate::slab::Key;
use crate::time::Now;
use alloc::collections::{BTreeMap, BTreeSet};

/// Sessions and deliveries that the hand looks at in one call: some ten microseconds.
const STEPS: usize = 1_024;

/// Deliveries of one session that are asked for ahead of their turn, and their bytes.
const AHEAD: usize = 128;
const AHEAD_BYTES: usize = 256 << 10;

/// Deliveries at the front of the queue of a client that is here: they are due soon.
const NEAR: usize = 2 * AHEAD;

/// Who waits for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Waiter {
    /// The checkpoint, to write it once more.
    Checkpoint,
    /// A session, for the delivery with this sequence.
    Delivery(Key, u64),
}

crate::state::state!(enum Waiter { 0 Checkpoint, 1 Delivery(session, sequence) });

/// What is being let go, and what is being read back.
#[derive(Debug, Default)]
pub(crate) struct Spill {
    /// The hand: the slot it has come to, and how many deliveries are left there.
    slot: u32,
    end: Option<usize>,
    /// This round takes from who is here.
    is_second_round: bool,
    /// The hand has not come as far as it should.
    pub(crate) is_under_way: bool,
    /// The last round found too little: another one is of no use below this.
    futile_bytes: u64,
    waiting: BTreeMap<(MessageId, Waiter), usize>,
    waiting_bytes: u64,
    /// How many of those are the checkpoint.
    checkpoint_waits: usize,
    /// What could not be read back, while somebody may still ask for it.
    unreadable: BTreeSet<MessageId>,
}

crate::state::state!(Spill {
    slot,
    end,
    is_second_round,
    is_under_way,
    futile_bytes,
    waiting,
    waiting_bytes,
    checkpoint_waits,
    unreadable,
});

impl Spill {
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Whether the checkpoint waits for what it has to write.
    pub(crate) const fn holds_checkpoint(&self) -> bool {
        self.checkpoint_waits > 0
    }

    /// Whether a message was asked for, and cannot be read.
    pub(crate) fn is_unreadable(&self, message: MessageId) -> bool {
        self.unreadable.contains(&message)
    }

    /// A session is away now: there may be more to let go.
    pub(crate) const fn reconsider(&mut self) {
        self.futile_bytes = 0;
    }
}

impl Broker {
    /// Lets go what need not be in memory, if there is more than the budget allows.
    pub(crate) fn spill(&mut self) {
        let budget = self.config.limits.queued_payload_memory_bytes;
        let held = self.journal.held_bytes();
        if held <= budget {
            self.spill.is_under_way = false;
            self.spill.futile_bytes = 0;
            return;
        }
        if held <= self.spill.futile_bytes && !self.spill.is_under_way {
            return;
        }
        // Not message by message: a round has to find enough to be worth its way.
        let enough = budget - budget / 8;
        let mut steps = STEPS;
        if !self.spill.is_under_way {
            self.spill.is_under_way = true;
            (self.spill.slot, self.spill.end) = (0, None);
        }
        while steps > 0 && self.journal.held_bytes() > enough {
            let Some(key) = self.sessions.key_from(self.spill.slot) else {
                self.spill.slot = 0;
                if self.spill.is_second_round {
                    self.spill.futile_bytes = self.journal.held_bytes() + budget / 16;
                    self.spill.is_under_way = false;
                    self.spill.is_second_round = false;
                    return;
                }
                self.spill.is_second_round = true;
                continue;
            };
            if key.index != self.spill.slot {
                (self.spill.slot, self.spill.end) = (key.index, None);
            }
            if self.let_go(key, enough, &mut steps) {
                (self.spill.slot, self.spill.end) = (key.index + 1, None);
            }
            steps = steps.saturating_sub(1);
        }
        if self.journal.held_bytes() <= enough {
            self.spill.is_under_way = false;
            self.spill.is_second_round = false;
        }
    }

    /// Lets go what this session need not have in memory. Whether all was looked at.
    fn let_go(&mut self, key: Key, enough: u64, steps: &mut usize) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return true;
        };
        let is_here = session.connection.is_some();
        let Some(traffic) = session.traffic.as_mut() else {
            return true;
        };
        if is_here != self.spill.is_second_round {
            return true;
        }
        let (journal, durable) = (&mut self.journal, self.durable);
        if !is_here && self.spill.end.is_none() {
            let begun = traffic.inflight.iter_mut();
            for exchange in begun.filter(|exchange| exchange.stage == Stage::Published) {
                *steps = steps.saturating_sub(1);
                if let Some(stub) = journal.let_go(&exchange.delivery, durable) {
                    exchange.delivery.message = stub;
                }
            }
        }
        let (end, keep) = (
            self.spill.end.unwrap_or(usize::MAX),
            if is_here { NEAR } else { 0 },
        );
        let end = traffic.queue.let_go(end, keep, steps, |delivery| {
            if journal.held_bytes() <= enough {
                return None;
            }
            journal.let_go(delivery, durable)
        });
        self.spill.end = Some(end);
        end <= keep
    }

    /// Whether the next delivery of a session is whole; asks for it if it is not. `None` when there
    /// is none, or it was dropped.
    pub(crate) fn is_front_whole(&mut self, session_key: Key) -> Option<bool> {
        let session = self.sessions.get_mut(session_key)?;
        let queue = &mut session.traffic.as_mut()?.queue;
        let front = queue.front()?;
        if !front.message.is_stub() {
            return Some(true);
        }
        let (id, sequence) = (front.message.id(), front.sequence);
        if self.spill.unreadable.contains(&id) {
            if let Some(delivery) = self.pop_delivery(session_key.index) {
                self.forget(session_key.index, &delivery);
            }
            self.drop_message(session_key.index, DropReason::Unreadable);
            return None;
        }
        let known = self.journal.in_memory(id).filter(|m| !m.is_stub());
        if let Some(whole) = known
            && queue.take_back(1, sequence, &whole)
        {
            self.journal.take_back(&whole);
            return Some(true);
        }
        Some(false)
    }

    /// Puts the message whole where an exchange has its stub, if it is in memory. `None` when it
    /// cannot be read any more.
    pub(crate) fn is_exchange_whole(&mut self, session: Key, id: PacketId) -> Option<bool> {
        let traffic = self.sessions.get_mut(session)?.traffic.as_mut()?;
        let message = &mut traffic.inflight.get_mut(id)?.delivery.message;
        if !message.is_stub() {
            return Some(true);
        }
        if self.spill.is_unreadable(message.id()) {
            return None;
        }
        let known = self.journal.in_memory(message.id());
        let Some(whole) = known.filter(|m| !m.is_stub()) else {
            return Some(false);
        };
        self.journal.take_back(&whole);
        *message = whole;
        Some(true)
    }

    /// Asks for the next deliveries of a session that are not whole.
    pub(crate) fn load_ahead(&mut self, session_key: Key) {
        let Some(session) = self.sessions.get(session_key) else {
            return;
        };
        let Some(traffic) = session.traffic.as_ref() else {
            return;
        };
        if traffic.queue.stubs() == 0 && traffic.unsent == 0 {
            return;
        }
        let unsent = || {
            let begun = traffic.inflight.iter().map(|(_, exchange)| exchange);
            let begun = begun.filter(|e| e.stage == Stage::Published && !e.sent);
            begun.map(|exchange| &exchange.delivery)
        };
        let next = unsent().next().or_else(|| traffic.queue.front());
        let is_next_whole = next.is_none_or(|delivery| !delivery.message.is_stub());
        // Half of it at a time.
        let further = traffic.queue.get(AHEAD / 2);
        if is_next_whole && further.is_some_and(|delivery| !delivery.message.is_stub()) {
            return;
        }
        let begun = unsent().filter(|delivery| delivery.message.is_stub());
        let due = begun.chain(traffic.queue.stubs_in_front(AHEAD));
        let budget = self.config.limits.queued_payload_memory_bytes;
        let mut bytes = 0;
        for delivery in due.take(AHEAD) {
            let length = delivery.message.stored_len();
            let is_tight = self.journal.held_bytes() + self.spill.waiting_bytes >= budget;
            let is_ahead = bytes > 0 || is_next_whole;
            if is_ahead && (is_tight || bytes + length > AHEAD_BYTES) {
                return;
            }
            bytes += length;
            if self.spill.unreadable.contains(&delivery.message.id()) {
                continue;
            }
            let waiter = Waiter::Delivery(session_key, delivery.sequence);
            if ask(&mut self.spill, &delivery.message, waiter) {
                self.statistics.loads += 1;
                self.actions.push_back(Action::Load(delivery.message.id()));
            }
        }
    }

    /// The answer to [`Action::Load`]: what lies under that key, or `None` when it could not be
    /// read. Ends the waiting of whoever needs it. Whether it is what was kept is seen here.
    pub fn loaded(&mut self, now: Now, message: MessageId, value: Option<&[u8]>) {
        let whole = self.verified(message, value);
        self.read_back(now, message, whole);
    }

    /// The message that was read, if it is what was kept.
    pub(crate) fn verified(&mut self, id: MessageId, value: Option<&[u8]>) -> Option<Message> {
        let known = self.journal.in_memory(id)?;
        match known.is_stub() {
            true => known.whole(value?),
            false => Some(known),
        }
    }

    /// The same as [`loaded`](Self::loaded) for what was looked at already.
    pub(crate) fn read_back(&mut self, now: Now, message: MessageId, whole: Option<Message>) {
        self.tick(now);
        let first = (message, Waiter::Checkpoint);
        let of_it = self.spill.waiting.range(first..);
        let waiters = of_it.map(|(key, _)| *key);
        let waiters = waiters.take_while(|(id, _)| *id == message);
        let waiters: alloc::vec::Vec<_> = waiters.collect();
        let is_needed = self.journal.in_memory(message).is_some();
        if is_needed && whole.is_none() && !waiters.is_empty() {
            self.statistics.loads_failed += 1;
            self.spill.unreadable.insert(message);
            self.event(Event::Unreadable { message });
        }
        let held_checkpoint = self.spill.holds_checkpoint();
        for waiter in waiters {
            let bytes = self.spill.waiting.remove(&waiter).unwrap_or(0);
            self.spill.waiting_bytes -= bytes as u64;
            match (waiter.1, &whole) {
                (Waiter::Checkpoint, whole) => {
                    self.spill.checkpoint_waits -= 1;
                    if let Some(whole) = whole {
                        self.journal.write_again(whole);
                    }
                }
                (Waiter::Delivery(session, sequence), Some(whole)) => {
                    self.give_back(session, sequence, whole);
                }
                (Waiter::Delivery(session, _), None) => self.wake_session(session),
            }
        }
        if held_checkpoint && !self.spill.holds_checkpoint() {
            self.continue_checkpoint();
        }
        self.settle();
    }

    /// A delivery gets its message back, if it is still there and its client is.
    fn give_back(&mut self, session_key: Key, sequence: u64, whole: &Message) {
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        if session.connection.is_none() {
            return;
        }
        let Some(traffic) = session.traffic.as_mut() else {
            return;
        };
        if traffic.queue.take_back(AHEAD, sequence, whole) {
            self.journal.take_back(whole);
        } else {
            let mut begun = traffic.inflight.iter_mut();
            let stub = begun.find(|exchange| {
                let delivery = &exchange.delivery;
                delivery.sequence == sequence && delivery.message.is_stub()
            });
            if let Some(exchange) = stub {
                exchange.delivery.message = whole.clone();
                self.journal.take_back(whole);
            }
        }
        self.wake_session(session_key);
    }

    fn wake_session(&mut self, session: Key) {
        if let Some(connection) = self.sessions.get(session).and_then(|s| s.connection) {
            self.wake(connection);
        }
    }

    /// The checkpoint comes to a message that it has to write, and that it has only the stub of.
    pub(crate) fn load_for_checkpoint(&mut self, id: MessageId) {
        let Some(message) = self.journal.in_memory(id) else {
            return;
        };
        if !message.is_stub() {
            self.journal.write_again(&message);
            return;
        }
        let before = self.spill.waiting.len();
        if ask(&mut self.spill, &message, Waiter::Checkpoint) {
            self.statistics.loads += 1;
            self.actions.push_back(Action::Load(id));
        }
        self.spill.checkpoint_waits += self.spill.waiting.len() - before;
    }
}

/// Notes who waits. Whether the runtime has to be asked: nobody has waited for this message before.
fn ask(spill: &mut Spill, message: &Message, waiter: Waiter) -> bool {
    let (id, bytes) = (message.id(), message.stored_len());
    let first = (id, Waiter::Checkpoint);
    let mut of_it = spill.waiting.range(first..);
    let is_new = of_it.next().is_none_or(|((other, _), _)| *other != id);
    if spill.waiting.insert((id, waiter), bytes).is_none() {
        spill.waiting_bytes += bytes as u64;
    }
    is_new
}
