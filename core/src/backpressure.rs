//! Backpressure: who is not read, for how long, and why.
//!
//! A stalled connection keeps its bytes: what was read already waits in its inbox, the rest in the
//! kernel. A publisher is held while a subscriber does not take what it has to take; not for ever,
//! and never in a circle.

use crate::action::Action;
use crate::broker::Broker;
use crate::connection::{Connection, Stalls};
use crate::id::{ConnectionId, PeerId};
use crate::session::queue::Queue;
use crate::slab::Key;
use crate::time::Timestamp;
use crate::timer::TimerKey;
use alloc::collections::VecDeque;

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
    /// A connection of this shard, if it told which.
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

/// Of a shard, among all that there may be.
fn bit(peer: PeerId) -> u64 {
    1_u64.checked_shl(u32::from(peer.0)).unwrap_or(0)
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

    /// So much waits for a subscriber that its publisher is not read any further until it has
    /// caught up. Not for ever: its grace begins, whether anybody can wait for it or not, so that
    /// many who stand still together are waited for once.
    pub(crate) fn hold(&mut self, publisher: Option<Publisher>, subscriber: Key) {
        let target = self.connections.get(subscriber);
        if target.is_none_or(|target| target.slow || target.waits())
            || !self.begin_grace(subscriber)
        {
            return;
        }
        let Some(publisher) = publisher.filter(|it| self.can_wait(*it, subscriber)) else {
            return;
        };
        if let Some(target) = self.connections.get_mut(subscriber) {
            target.extra().waiters.push_back(publisher);
        }
        match publisher {
            Publisher::Here(key) => {
                self.statistics.publishers_paused += 1;
                self.stall(key, Stalls::HELD);
            }
            Publisher::There(peer, id) => self.peers.ask_to_wait(peer, id),
        }
    }

    /// Nobody who is waited for waits: there is no circle. Of one on another shard that shard knows
    /// whether somebody waits for it.
    fn can_wait(&self, publisher: Publisher, subscriber: Key) -> bool {
        match publisher {
            Publisher::Here(key) => {
                let connection = self.connections.get(key);
                key != subscriber && connection.is_some_and(|c| !c.waits() && !c.is_awaited())
            }
            Publisher::There(peer, id) => !self.peers.is_asked_to_wait(peer, id),
        }
    }

    /// Another shard asks a publisher of this one to wait for a subscriber there.
    pub(crate) fn wait_for_shard(&mut self, peer: PeerId, publisher: Key) {
        if let Some(connection) = self.connections.get_mut(publisher) {
            connection.extra().held_by |= bit(peer);
            self.wait_for_shards(publisher);
        }
    }

    /// It does, unless somebody waits for it; and then as soon as nobody does.
    fn wait_for_shards(&mut self, publisher: Key) {
        let Some(connection) = self.connections.get(publisher) else {
            return;
        };
        let is_held = connection.extra.as_ref().is_some_and(|x| x.held_by != 0);
        if is_held && !connection.is_awaited() && !connection.stalls.has(Stalls::HELD_THERE) {
            self.statistics.publishers_paused += 1;
            self.stall(publisher, Stalls::HELD_THERE);
        }
    }

    /// Another shard has nobody any longer for whom this publisher should wait.
    pub(crate) fn go_on_for_shard(&mut self, peer: PeerId, publisher: Key) {
        let connection = self.connections.get_mut(publisher);
        let Some(extra) = connection.and_then(|connection| connection.extra.as_mut()) else {
            return;
        };
        extra.held_by &= !bit(peer);
        if extra.held_by == 0 {
            self.unstall(publisher, Stalls::HELD_THERE);
        }
    }

    /// A subscriber has caught up: those who wait for it go on, one after the other, as long as it
    /// has room; its grace begins anew for the others. All at once would each get one message in
    /// before they are held again, and each be answered in a write of its own. Those of other
    /// shards are let go together: what they publish comes in a later turn.
    pub(crate) fn relieve(&mut self, subscriber: Key) {
        self.end_grace(subscriber);
        while self.has_room(subscriber)
            && let Some(waiter) = self.next_waiter(subscriber)
        {
            self.free(waiter);
            self.settle();
        }
        let connection = self.connections.get(subscriber);
        if connection.is_some_and(Connection::is_awaited) {
            self.begin_grace(subscriber);
        }
        self.wait_for_shards(subscriber);
    }

    fn free(&mut self, waiter: Publisher) {
        match waiter {
            Publisher::Here(key) => self.unstall(key, Stalls::HELD),
            Publisher::There(peer, id) => self.peers.let_go(peer, id),
        }
    }

    /// Whether publishers need not wait for this connection.
    fn has_room(&self, key: Key) -> bool {
        let Some(connection) = self.connections.get(key) else {
            return true;
        };
        let is_backlogged = |queue| self.is_backlog(queue);
        connection.outbox.len() < self.pause_bytes()
            && !self.queue_of(connection).is_some_and(is_backlogged)
    }

    /// Whether so much waits for a client that publishers should wait for it.
    pub(crate) fn is_backlog(&self, queue: &Queue) -> bool {
        queue.bytes() >= self.pause_bytes()
            || queue.len() * 2 > self.config.session.queue_messages_maximum as usize
    }

    /// Whether it is half of that at most, so that publishers can go on for a while.
    pub(crate) fn has_caught_up(&self, connection: &Connection) -> bool {
        self.queue_of(connection).is_none_or(|queue| {
            queue.bytes() * 2 <= self.pause_bytes()
                && queue.len() * 4 <= self.config.session.queue_messages_maximum as usize
        })
    }

    fn pause_bytes(&self) -> usize {
        self.config.limits.unsent_bytes_pause.max(1) as usize
    }

    fn queue_of(&self, connection: &Connection) -> Option<&Queue> {
        let session = self.sessions.get(connection.session()?)?;
        session.traffic.as_ref().map(|traffic| &traffic.queue)
    }

    /// Takes the one who has waited longest for this connection.
    fn next_waiter(&mut self, key: Key) -> Option<Publisher> {
        let extra = self.connections.get_mut(key)?.extra.as_mut()?;
        extra.waiters.pop_front()
    }

    /// All publishers that waited for this connection go on.
    fn release_waiters(&mut self, key: Key) {
        let connection = self.connections.get_mut(key);
        if let Some(extra) = connection.and_then(|connection| connection.extra.as_mut()) {
            let waiters = core::mem::take(&mut extra.waiters);
            self.free_waiters(waiters);
            self.wait_for_shards(key);
        }
    }

    /// The same where the connection is gone.
    pub(crate) fn free_waiters(&mut self, waiters: VecDeque<Publisher>) {
        for waiter in waiters {
            self.free(waiter);
        }
    }

    /// The grace of a subscriber begins, if it has not. `false` when none is given.
    fn begin_grace(&mut self, key: Key) -> bool {
        let grace = u64::from(self.config.limits.slow_consumer_grace_ms);
        if grace == 0 {
            return false;
        }
        if let Some(extra) = self.connections.get_mut(key).map(Connection::extra)
            && extra.slow_armed.is_none()
        {
            let at = self.clock.now().after_ms(grace);
            extra.slow_armed = Some(at);
            self.arm_slow(key, Timestamp::MAX, at);
        }
        true
    }

    fn end_grace(&mut self, key: Key) {
        let connection = self.connections.get_mut(key);
        let extra = connection.and_then(|connection| connection.extra.as_mut());
        if let Some(armed) = extra.and_then(|extra| extra.slow_armed.take()) {
            self.arm_slow(key, armed, Timestamp::MAX);
        }
    }

    pub(crate) fn arm_slow(&mut self, key: Key, mut armed: Timestamp, at: Timestamp) {
        self.timers.arm(TimerKey::Slow(key), &mut armed, at);
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
