//! Backpressure: who is not read, for how long, and why.
//!
//! A stalled connection keeps its bytes: what was read already waits in its inbox, the rest in the kernel.
//! A publisher is held while a subscriber does not take what it has to take; not for ever, and never in a
//! circle.

use crate::action::Action;
use crate::broker::Broker;
use crate::connection::Stalls;
use crate::slab::Key;
use crate::time::Timestamp;
use crate::timer::TimerKey;

impl Broker {
    /// Keeps the bytes of a connection instead of handling them, until `unstall`.
    pub(crate) fn stall(&mut self, key: Key, why: Stalls) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.stalls.add(why);
        if !why.has(Stalls::VERDICT) && !connection.paused {
            connection.paused = true;
            let pause = Action::Pause(connection.id());
            self.action(pause);
        }
    }

    pub(crate) fn unstall(&mut self, key: Key, why: Stalls) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !connection.stalls.has(why) {
            return;
        }
        connection.stalls.clear(why);
        if !connection.stalls.any() {
            self.resumable.push_back(key);
        }
    }

    /// Does not read a publisher any further until a subscriber has taken what it has to take. Not for
    /// ever: after `slow_consumer_grace_ms` the subscriber counts as slow.
    pub(crate) fn hold(&mut self, publisher: Option<Key>, subscriber: Key) {
        let grace = self.config.limits.slow_consumer_grace_ms;
        let Some(publisher) = publisher.filter(|key| *key != subscriber && grace > 0) else {
            return;
        };
        // Nobody who is waited for waits: there is no circle.
        let Some(waiting) = self.connections.get_mut(publisher) else {
            return;
        };
        let is_awaited = waiting
            .extra
            .as_ref()
            .is_some_and(|extra| !extra.waiters.is_empty());
        if waiting.waits || is_awaited {
            return;
        }
        let now = self.clock.now();
        let Some(target) = self.connections.get_mut(subscriber) else {
            return;
        };
        if target.slow || target.waits {
            return;
        }
        let extra = target.extra();
        extra.waiters.push(publisher);
        if extra.slow_armed.is_none() {
            let at = now.after_ms(u64::from(grace));
            extra.slow_armed = Some(at);
            let mut armed = Timestamp::MAX;
            self.timers.arm(TimerKey::Slow(subscriber), &mut armed, at);
        }
        if let Some(waiting) = self.connections.get_mut(publisher) {
            waiting.waits = true;
        }
        self.statistics.publishers_paused += 1;
        self.stall(publisher, Stalls::HELD);
    }

    /// The publishers that waited for this connection go on.
    pub(crate) fn release_waiters(&mut self, key: Key) {
        let Some(extra) = self.connections.get_mut(key).and_then(|c| c.extra.as_mut()) else {
            return;
        };
        let waiters = core::mem::take(&mut extra.waiters);
        if let Some(mut armed) = extra.slow_armed.take() {
            self.timers
                .arm(TimerKey::Slow(key), &mut armed, Timestamp::MAX);
        }
        for waiter in waiters {
            if let Some(connection) = self.connections.get_mut(waiter) {
                connection.waits = false;
            }
            self.unstall(waiter, Stalls::HELD);
        }
    }

    /// The grace of a subscriber has passed.
    pub(crate) fn slow_timeout(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.slow = true;
        if let Some(extra) = connection.extra.as_mut() {
            extra.slow_armed = None;
        }
        self.release_waiters(key);
    }
}
