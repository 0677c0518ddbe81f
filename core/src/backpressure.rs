//! Backpressure: who is not read, for how long, and why.
//!
//! A stalled connection keeps its bytes: what was read already waits in its inbox, the rest in the
//! kernel. A publisher is held while a subscriber does not take what it has to take; not for ever,
//! and never in a circle.

use crate::action::Action;
use crate::broker::Broker;
use crate::connection::Stalls;
use crate::session::queue::Queue;
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
        if !connection.stalls.any() || connection.stalls.is_storage_alone() {
            self.resumable.push_back(key);
        }
    }

    /// Does not read a publisher any further until a subscriber has taken what it has to take. Not
    /// for ever: after `slow_consumer_grace_ms` the subscriber counts as slow.
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
        extra.waiters.push_back(publisher);
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

    /// A subscriber takes its bytes again: those who wait for it go on, one after the other, as
    /// long as it has room; its grace begins anew for the others. All at once would each get one
    /// message in before they are held again, and each be answered in a write of its own.
    pub(crate) fn relieve(&mut self, subscriber: Key) {
        let grace = u64::from(self.config.limits.slow_consumer_grace_ms);
        let at = self.clock.now().after_ms(grace);
        let connection = self.connections.get_mut(subscriber);
        if let Some(extra) = connection.and_then(|c| c.extra.as_mut())
            && let Some(armed) = extra.slow_armed.as_mut()
        {
            self.timers.arm(TimerKey::Slow(subscriber), armed, at);
        }
        while self.has_room(subscriber)
            && let Some(waiter) = self.next_waiter(subscriber)
        {
            self.unstall(waiter, Stalls::HELD);
            self.settle();
        }
    }

    /// Whether publishers need not wait for this connection.
    fn has_room(&self, key: Key) -> bool {
        let Some(connection) = self.connections.get(key) else {
            return true;
        };
        let session = connection.session().and_then(|key| self.sessions.get(key));
        let traffic = session.and_then(|session| session.traffic.as_ref());
        let is_backlogged = traffic.is_some_and(|traffic| self.is_backlog(&traffic.queue));
        let pause = self.config.limits.unsent_bytes_pause as usize;
        connection.outbox.len() < pause && !is_backlogged
    }

    /// Whether so much waits for a client that publishers should wait for it.
    pub(crate) fn is_backlog(&self, queue: &Queue) -> bool {
        queue.bytes() >= self.config.limits.unsent_bytes_pause as usize
            || queue.len() * 2 > self.config.session.queue_messages_maximum as usize
    }

    /// Takes the one who has waited longest for this connection.
    fn next_waiter(&mut self, key: Key) -> Option<Key> {
        let extra = self.connections.get_mut(key)?.extra.as_mut()?;
        let waiter = extra.waiters.pop_front()?;
        if extra.waiters.is_empty()
            && let Some(mut armed) = extra.slow_armed.take()
        {
            self.timers
                .arm(TimerKey::Slow(key), &mut armed, Timestamp::MAX);
        }
        if let Some(connection) = self.connections.get_mut(waiter) {
            connection.waits = false;
        }
        Some(waiter)
    }

    /// All publishers that waited for this connection go on.
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
