//! Checkpoints: everything live is written to the log once more, in bounded steps between ordinary
//! batches, so that the log before it can go.
//!
//! What changes behind the walk is in the batches anyway; what changes before it is written as it is when
//! the walk comes by. Records are set and deleted by key, so writing one twice does no harm.

use crate::broker::Broker;
use crate::slab::Key;
use crate::time::Now;
use alloc::boxed::Box;
use alloc::string::String;

/// About how many bytes one step writes. Several fit in the smallest segment that is sensible, 64 KiB:
/// a step that does not fit needs a longer file, for which a full disk has no room.
const STEP_BYTES: usize = 16 << 10;

/// Where the walk has come.
#[derive(Debug)]
pub(crate) enum Walk {
    /// Sessions, slot by slot; in one, deliveries from this sequence on.
    Session { slot: u32, from: Option<u64> },
    /// Retained messages, topic by topic.
    Retained { after: Option<Box<str>> },
}

impl Broker {
    /// Begins a checkpoint; one step is written now, another with each [`persisted`](Self::persisted).
    /// Does nothing while one is under way, or when nothing is recorded at all.
    pub fn checkpoint(&mut self, now: Now) {
        self.tick(now);
        if self.walk.is_some() || !self.journal.is_on() {
            return;
        }
        self.journal.begin_checkpoint();
        self.journal.boot(self.config.identity.boot_epoch);
        self.journal.clock_now(self.clock.wall(), now.wall);
        self.walk = Some(Walk::Session {
            slot: 0,
            from: None,
        });
    }

    /// One more step.
    pub(crate) fn continue_checkpoint(&mut self) {
        let full = self.journal.batch_bytes() + STEP_BYTES;
        while self.journal.batch_bytes() < full {
            self.walk = match self.walk.take() {
                None => return,
                Some(Walk::Session { slot, from }) => Some(self.walk_session(slot, from, full)),
                Some(Walk::Retained { after }) => self.walk_retained(after),
            };
            if self.walk.is_none() {
                return self.journal.end_checkpoint();
            }
        }
    }

    fn walk_session(&mut self, slot: u32, from: Option<u64>, full: usize) -> Walk {
        let Some(key) = self.sessions.key_from(slot) else {
            return Walk::Retained { after: None };
        };
        let next = Walk::Session {
            slot: key.index + 1,
            from: None,
        };
        if !self
            .sessions
            .get(key)
            .is_some_and(|session| session.is_recorded)
        {
            return next;
        }
        // The slot may have a new tenant since the last step: then it begins from its beginning.
        let from = from.filter(|_| key.index == slot);
        if from.is_none() {
            self.walk_session_head(key);
        }
        let from = from.unwrap_or(0);
        let Some(session) = self.sessions.get(key) else {
            return next;
        };
        let Some(traffic) = session.traffic.as_ref() else {
            return next;
        };
        let begun = traffic
            .inflight
            .iter()
            .map(|(id, exchange)| (&exchange.delivery, Some((exchange.stage, id))));
        let waiting = traffic.queue.iter().map(|delivery| (delivery, None));
        for (delivery, exchange) in begun.chain(waiting) {
            if !delivery.is_recorded() || delivery.sequence < from {
                continue;
            }
            if self.journal.batch_bytes() >= full {
                return Walk::Session {
                    slot: key.index,
                    from: Some(delivery.sequence),
                };
            }
            self.journal
                .delivery_again(session.number, delivery, exchange);
        }
        next
    }

    /// A session without its deliveries.
    fn walk_session_head(&mut self, key: Key) {
        let Some(session) = self.sessions.get(key) else {
            return;
        };
        self.journal.session(session);
        let mut filter = String::new();
        for reference in &session.subscriptions {
            filter.clear();
            self.text(*reference, &mut filter);
            if let Some(subscription) = self.subscription_of(key, *reference) {
                self.journal
                    .subscribed(session.number, &filter, subscription);
            }
        }
        for id in session
            .traffic
            .iter()
            .flat_map(|traffic| traffic.received.iter())
        {
            self.journal.received(session.number, id);
        }
    }

    fn walk_retained(&mut self, mut after: Option<Box<str>>) -> Option<Walk> {
        for _ in 0..64 {
            let message = self.retained.next(after.as_deref())?.clone();
            self.journal.retained_again(&message);
            after = Some(message.topic_str().into());
        }
        Some(Walk::Retained { after })
    }
}
