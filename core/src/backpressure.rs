//! Backpressure: who is not read, for how long, and why.
//!
//! A stalled connection keeps its bytes: what was read already waits in its inbox, the rest in the
//! kernel. A publisher is held while a subscriber does not take what it has to take; not for ever,
//! and never in a circle.

use crate::action::Action;
use crate::broker::Broker;
use crate::connection::Stalls;
use crate::id::{ConnectionId, PeerId};
use crate::session::queue::Queue;
use crate::slab::Key;
use crate::time::Timestamp;
use crate::timer::TimerKey;
use alloc::collections::VecDeque;

/// What a publisher on another shard may bring before it hears that it has to wait: one read.
const BROUGHT_BYTES: usize = 64 << 10;

/// Who published something, and can be asked to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Publisher {
    /// A connection of this shard.
    Here(Key),
    /// One of another shard.
    There(PeerId, ConnectionId),
}

crate::state::state!(enum Publisher { 0 Here(key), 1 There(peer, connection) });

impl Publisher {
    /// Of what came from this shard.
    pub(crate) fn there(peer: PeerId, connection: Option<ConnectionId>) -> Option<Self> {
        connection.map(|connection| Self::There(peer, connection))
    }

    /// The connection of this shard.
    pub(crate) const fn connection(self) -> Option<Key> {
        match self {
            Self::Here(key) => Some(key),
            Self::There(..) => None,
        }
    }
}

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
    pub(crate) fn hold(&mut self, publisher: Option<Publisher>, subscriber: Key) {
        let grace = self.config.limits.slow_consumer_grace_ms;
        let may_wait = |publisher: &Publisher| grace > 0 && self.may_wait(*publisher, subscriber);
        let Some(publisher) = publisher.filter(may_wait) else {
            return;
        };
        let now = self.clock.now();
        let Some(target) = self.connections.get_mut(subscriber) else {
            return;
        };
        if target.slow || target.waits() {
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
        match publisher {
            Publisher::Here(key) => {
                self.statistics.publishers_paused += 1;
                self.stall(key, Stalls::HELD);
            }
            Publisher::There(peer, id) => self.peers.hold(peer, id),
        }
    }

    /// Nobody who is waited for waits: there is no circle. Of one on another shard that shard knows
    /// whether somebody waits for it.
    fn may_wait(&self, publisher: Publisher, subscriber: Key) -> bool {
        match publisher {
            Publisher::Here(key) => {
                let connection = self.connections.get(key);
                key != subscriber && connection.is_some_and(|c| !c.waits() && !c.is_awaited())
            }
            Publisher::There(peer, id) => !self.peers.holds(peer, id),
        }
    }

    /// The same for a subscriber of another shard, which says when it has caught up.
    pub(crate) fn hold_for(&mut self, peer: PeerId, publisher: Key) {
        let connection = self.connections.get_mut(publisher);
        let Some(connection) = connection.filter(|connection| !connection.is_awaited()) else {
            return;
        };
        connection.extra().held_by |= 1 << peer.0;
        self.statistics.publishers_paused += 1;
        self.stall(publisher, Stalls::HELD_THERE);
    }

    /// It has, or is not waited for any longer. It gets an answer in any case, and what this
    /// publisher has to say comes before that.
    pub(crate) fn release_for(&mut self, peer: PeerId, publisher: Key) {
        self.peers.answer(peer);
        let connection = self.connections.get_mut(publisher);
        let Some(extra) = connection.and_then(|connection| connection.extra.as_mut()) else {
            return;
        };
        extra.held_by &= !(1 << peer.0);
        if extra.held_by == 0 {
            self.unstall(publisher, Stalls::HELD_THERE);
            self.settle();
        }
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
        let mut expected = 0;
        while self.has_room(subscriber, expected)
            && let Some(waiter) = self.next_waiter(subscriber)
        {
            match waiter {
                Publisher::Here(key) => {
                    self.unstall(key, Stalls::HELD);
                    self.settle();
                }
                Publisher::There(peer, id) => {
                    self.peers.release(peer, id, Some(subscriber));
                    expected += BROUGHT_BYTES;
                }
            }
        }
    }

    /// Whether publishers need not wait for this connection when so much is on its way to it.
    fn has_room(&self, key: Key, expected: usize) -> bool {
        let Some(connection) = self.connections.get(key) else {
            return true;
        };
        let session = connection.session().and_then(|key| self.sessions.get(key));
        let traffic = session.and_then(|session| session.traffic.as_ref());
        let is_backlogged = traffic.is_some_and(|traffic| self.is_backlog(&traffic.queue));
        let pause = self.config.limits.unsent_bytes_pause as usize;
        connection.outbox.len() + expected < pause.max(1) && !is_backlogged
    }

    /// Whether so much waits for a client that publishers should wait for it.
    pub(crate) fn is_backlog(&self, queue: &Queue) -> bool {
        queue.bytes() >= self.config.limits.unsent_bytes_pause as usize
            || queue.len() * 2 > self.config.session.queue_messages_maximum as usize
    }

    /// Takes the one who has waited longest for this connection.
    fn next_waiter(&mut self, key: Key) -> Option<Publisher> {
        let extra = self.connections.get_mut(key)?.extra.as_mut()?;
        let waiter = extra.waiters.pop_front()?;
        if extra.waiters.is_empty() {
            let armed = extra.slow_armed.take();
            self.disarm_slow(key, armed);
        }
        Some(waiter)
    }

    /// All publishers that waited for this connection go on.
    pub(crate) fn release_waiters(&mut self, key: Key) {
        let connection = self.connections.get_mut(key);
        if let Some(extra) = connection.and_then(|c| c.extra.as_mut()) {
            let waiters = core::mem::take(&mut extra.waiters);
            let armed = extra.slow_armed.take();
            self.free_waiters(key, waiters, armed);
        }
    }

    /// The same where the connection is gone.
    pub(crate) fn free_waiters(
        &mut self,
        key: Key,
        waiters: VecDeque<Publisher>,
        armed: Option<Timestamp>,
    ) {
        self.disarm_slow(key, armed);
        for waiter in waiters {
            match waiter {
                Publisher::Here(key) => self.unstall(key, Stalls::HELD),
                Publisher::There(peer, id) => self.peers.release(peer, id, None),
            }
        }
    }

    fn disarm_slow(&mut self, key: Key, armed: Option<Timestamp>) {
        if let Some(mut armed) = armed {
            let timer = TimerKey::Slow(key);
            self.timers.arm(timer, &mut armed, Timestamp::MAX);
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
