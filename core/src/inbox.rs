//! What comes in: bytes become packets, in whole or in part, now or when a stall is over.
//!
//! Whole packets are handled at once, from where they lie; the inbox of a connection has only what
//! is left: a partial packet, or what came while it stalls.
//!
//! A client whose version knows no refusal waits while the disk is full, but only its messages do.
//! They are put together at the front of its inbox, and everything else goes on: it is what frees
//! room.

use crate::action::{Action, CloseReason};
use crate::broker::Broker;
use crate::codec;
use crate::codec::ReasonCode;
use crate::codec::frame::{self, Frame};
use crate::codec::packet::{PacketType, QoS};
use crate::connection::{Connection, Stage, Stalls};
use crate::deliver::OUTBOX_FULL;
use crate::error::Violation;
use crate::id::ConnectionId;
use crate::slab::Key;
use crate::time::Now;

/// Bytes that are kept for a stalled connection before the runtime is asked not to read it.
const STASH_BYTES: usize = 16 << 10;

/// Packets of so many bytes are waited for, even above the memory budget: what clients need to go
/// on, such as acknowledgements, is smaller.
const WAITED_FOR_BYTES: usize = 4 << 10;

/// How many fan-out steps one input may cost: what it brings beyond that waits for the next turn.
const STEPS_PER_INPUT: u32 = 16;

impl Broker {
    /// Bytes arrived. Whole packets are handled at once, a partial tail is kept. Bytes given while
    /// the connection is paused are kept too, whatever they take, so ask
    /// [`is_paused`](Self::is_paused) before each read.
    pub fn receive(&mut self, now: Now, connection: ConnectionId, bytes: &[u8]) {
        self.tick(now);
        let key = connection.key();
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if bytes.is_empty() {
            return;
        }
        connection.last_heard = self.clock.now();
        self.statistics.received_bytes += bytes.len() as u64;
        if connection.stalls.is_storage_alone() {
            connection.keep(bytes);
            self.sift(key);
        } else if connection.stalls.any() {
            connection.keep(bytes);
            self.pause_if_full(key);
        } else if connection.inbox.is_empty() {
            self.consume(key, bytes);
        } else {
            self.complete(key, bytes);
        }
        self.count_inbox(key);
        self.settle();
    }

    /// Adds to a partial packet just what it lacks, and handles the rest from where it lies.
    fn complete(&mut self, key: Key, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some(connection) = self.connections.get_mut(key) else {
                return;
            };
            if connection.stalls.any() {
                connection.keep(bytes);
                return self.sift(key);
            }
            if connection.inbox.is_empty() {
                return self.consume(key, bytes);
            }
            // One byte at a time until the length is known, then all of it.
            let lacks = frame::needed(&connection.inbox).map_or(1, |needed| {
                needed.saturating_sub(connection.inbox.len()).max(1)
            });
            let (now, later) = bytes.split_at(lacks.min(bytes.len()));
            connection.inbox.extend_from_slice(now);
            bytes = later;
            if now.len() == lacks {
                let inbox = core::mem::take(&mut connection.inbox);
                self.consume(key, &inbox);
            }
        }
    }

    /// Counts what is kept of unhandled bytes, and what else a client takes. Above the memory
    /// budget large packets are not waited for, nor when their parts take a quarter of it: who
    /// sends half of a packet and goes silent must not keep everybody else out. Large are, on small
    /// devices, those above what one connection may have unsent, so that many clients together do
    /// not exceed it by much. What waits for the broker is no fault of its client, which is not
    /// read meanwhile: it is no more than a packet and a read. Who has yet to be let in is not
    /// trusted with so much: there may be many of them.
    pub(crate) fn count_inbox(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let bytes = u32::try_from(connection.inbox.capacity()).unwrap_or(u32::MAX);
        let counted = core::mem::replace(&mut connection.inbox_counted, bytes);
        self.statistics.partial_bytes += u64::from(bytes);
        self.statistics.partial_bytes -= u64::from(counted);
        let limits = &self.config.limits;
        let budget = limits.memory_budget_bytes;
        let parts = self.statistics.partial_bytes;
        let stalls = connection.stalls;
        let most = if connection.session().is_none() && !stalls.has(Stalls::LEAVING) {
            WAITED_FOR_BYTES
        } else if stalls.are_ours() {
            usize::MAX
        } else {
            (limits.unsent_bytes_pause as usize).clamp(WAITED_FOR_BYTES, OUTBOX_FULL)
        };
        let is_large = bytes as usize > most;
        if is_large && (parts > budget / 4 || self.memory_bytes() > budget) {
            let limit = "limits.memory_budget_bytes";
            return self.close(key, CloseReason::Limit(ReasonCode::QUOTA_EXCEEDED, limit));
        }
        self.count_client(key);
    }

    /// Handles whole packets, and keeps what is left.
    pub(crate) fn consume(&mut self, key: Key, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(limit) = self.may_handle_more(key, Stalls::default()) else {
                break;
            };
            let (frame, length) = match frame::split(rest, limit) {
                Ok(Some(whole)) => whole,
                Ok(None) => break,
                Err(violation) => {
                    let connection = self.connections.get(key);
                    let is_waiting = connection.is_some_and(|c| matches!(c.stage, Stage::Waiting));
                    // Nobody who speaks MQTT begins with anything else.
                    let begins = frame::packet_type(rest[0]);
                    let violation = match is_waiting && begins != Ok(PacketType::Connect) {
                        true => Violation::FirstPacket,
                        false => violation,
                    };
                    return self.close(key, CloseReason::Violation(violation));
                }
            };
            if self.put_off_packet(key, &frame) {
                break;
            }
            rest = rest.get(length..).unwrap_or_default();
            if let Err(violation) = self.dispatch(key, &frame) {
                return self.close(key, CloseReason::Violation(violation));
            }
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if rest.is_empty() {
            return;
        }
        if connection.inbox.is_empty() {
            // Exactly what the packet needs, or what was read: idle connections own no more. What
            // can be no packet has no length: a recording does not have it either.
            let is_packet = frame::packet_type(rest[0]).is_ok();
            let needed = frame::needed(rest).filter(|_| is_packet);
            let size = needed.unwrap_or(rest.len()).min(OUTBOX_FULL);
            connection.inbox.reserve_exact(size.max(rest.len()));
        }
        connection.inbox.extend_from_slice(rest);
        self.sift(key);
    }

    /// Puts a packet off that is not to be handled now, or not here, and with it all that is behind
    /// it. Says whether.
    #[inline]
    fn put_off_packet(&mut self, key: Key, frame: &Frame<'_>) -> bool {
        if self.must_wait_for_storage(key, frame, false) {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.stalls.add(Stalls::STORAGE);
            }
            return true;
        }
        // An earlier message is not yet with everybody it is for: this one would only join a queue,
        // and what the log is told of both be one batch.
        if self.is_fanning_out() && frame::is_publish(frame.first_byte) {
            self.await_fanouts(key);
            return true;
        }
        self.must_go_elsewhere(key, frame)
    }

    /// Whether the next packet of a connection may be handled, unless for these reasons, and how
    /// large it may be.
    fn may_handle_more(&mut self, key: Key, unless: Stalls) -> Option<u32> {
        let connection = self.connections.get_mut(key)?;
        if connection.stalls.any_but(unless) {
            return None;
        }
        // Who does not take its answers is not read: they would pile up here.
        if connection.outbox.len() >= self.config.limits.unsent_bytes_pause.max(1) as usize {
            self.stall(key, Stalls::OUTPUT);
            return None;
        }
        let limit = match connection.stage {
            Stage::Waiting | Stage::Parked(_) => self.config.limits.connect_packet_size_maximum,
            Stage::Connected { .. } => u32::MAX,
        };
        if self.has_worked_enough() {
            // Its turn comes again with the next `advance`, which is due now.
            self.stall(key, Stalls::TURN);
            self.resumable.push_back(key);
            return None;
        }
        // [MQTT-3.2.2-15]
        Some(limit.min(self.config.protocol.maximum_packet_size))
    }

    /// Whether this input has cost as much as one may.
    pub(crate) const fn has_worked_enough(&self) -> bool {
        self.work / STEPS_PER_INPUT >= self.config.limits.fanout_step
    }

    /// Where nothing but room on the disk is missing, handles what needs none, and leaves the
    /// messages that do at the front of the inbox, in their order.
    fn sift(&mut self, key: Key) {
        let waits = |connection: &&mut Connection| connection.stalls.is_storage_alone();
        let Some(connection) = self.connections.get_mut(key).filter(waits) else {
            return;
        };
        let mut inbox = core::mem::take(&mut connection.inbox);
        let mut awaiting = connection.extra().awaiting_storage;
        let mut at = awaiting;
        while let Some(limit) = self.may_handle_more(key, Stalls::STORAGE) {
            let (frame, length) = match frame::split(&inbox[at..], limit) {
                Ok(Some(whole)) => whole,
                Ok(None) => break,
                Err(violation) => return self.close(key, CloseReason::Violation(violation)),
            };
            if self.must_wait_for_storage(key, &frame, awaiting > 0) {
                inbox.copy_within(at..at + length, awaiting);
                awaiting += length;
            } else if let Err(violation) = self.dispatch(key, &frame) {
                return self.close(key, CloseReason::Violation(violation));
            }
            at += length;
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        inbox.drain(awaiting..at);
        connection.inbox = inbox;
        connection.extra().awaiting_storage = awaiting;
        self.pause_if_full(key);
    }

    /// Whether this packet needs room on a disk that has none, and its client cannot be told: then
    /// it waits until there is room, and so does what is behind another message that waits. Not
    /// before CONNECT: nothing may come before that one, and nothing is done of what does.
    #[inline]
    fn must_wait_for_storage(&self, key: Key, frame: &Frame<'_>, is_behind: bool) -> bool {
        self.storage_is_full
            && frame::is_publish(frame.first_byte)
            && self.must_wait_for_room(key, frame, is_behind)
    }

    /// The same of a message, while there is no room.
    #[cold]
    fn must_wait_for_room(&self, key: Key, frame: &Frame<'_>, is_behind: bool) -> bool {
        let knows_no_refusal = |connection: &&Connection| !connection.profile.hears_refusals();
        let Some(connection) = self.connections.get(key).filter(knows_no_refusal) else {
            return false;
        };
        let Some(session) = connection.session() else {
            return false;
        };
        let Ok(publish) = codec::decode_publish(connection.profile.version(), *frame) else {
            return false;
        };
        if publish.qos == QoS::AtMostOnce {
            return false;
        }
        let clears = publish.retain && publish.payload.is_empty();
        let session = self.sessions.get(session);
        let traffic = session.and_then(|session| session.traffic.as_ref());
        let is_known = publish.qos == QoS::ExactlyOnce
            && traffic
                .zip(publish.packet_id)
                .is_some_and(|(traffic, id)| traffic.received.contains(id));
        !is_known && (is_behind || !clears)
    }

    /// Whether this connection is not to be read, although [`Action::Pause`] may still be among the
    /// actions that wait to be taken. Ask before every read, also the second and third of a turn.
    #[must_use]
    pub fn is_paused(&self, connection: ConnectionId) -> bool {
        let connection = self.connections.get(connection.key());
        connection.is_some_and(|connection| connection.paused)
    }

    fn pause_if_full(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key)
            && connection.inbox.len() > STASH_BYTES
            && !connection.paused
        {
            connection.paused = true;
            let pause = Action::Pause(connection.id());
            self.action(pause);
        }
    }

    /// Does what had to wait until the current input was handled: closes who is doomed, handles the
    /// bytes of who no longer stalls. Each of the latter once; who stalls again has to wait for the
    /// next turn, and so have all once the turn has cost enough.
    pub(crate) fn settle(&mut self) {
        self.measure_log();
        let mut turns = self.resumable.len();
        loop {
            while let Some((key, why)) = self.doomed.pop() {
                self.close(key, why);
            }
            if turns == 0 || self.has_worked_enough() {
                return;
            }
            turns -= 1;
            let Some(key) = self.resumable.pop_front() else {
                return;
            };
            self.resume(key);
        }
    }

    /// Goes on with the bytes of a connection, if nothing speaks against it any more.
    fn resume(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.stalls.clear(Stalls::TURN);
        if connection.stalls.is_storage_alone() {
            self.sift(key);
            self.resume_reading(key, STASH_BYTES);
        } else if !connection.stalls.any() {
            let inbox = core::mem::take(&mut connection.inbox);
            if let Some(extra) = connection.extra.as_mut() {
                extra.awaiting_storage = 0;
            }
            self.resume_reading(key, usize::MAX);
            self.consume(key, &inbox);
        }
        self.count_inbox(key);
    }

    /// Does what a DISCONNECT wants that waits for its turn: its will is not for publishing. What
    /// waits before it is for nobody any more, as when the transport breaks.
    pub(crate) fn hear_goodbye(&mut self, key: Key) {
        let takes_part = |connection: &&mut Connection| {
            connection.session().is_some() && !connection.stalls.has(Stalls::DOOMED)
        };
        let Some(connection) = self.connections.get_mut(key).filter(takes_part) else {
            return;
        };
        let version = connection.profile.version();
        let inbox = core::mem::take(&mut connection.inbox);
        let mut rest = &*inbox;
        let limit = self.config.protocol.maximum_packet_size;
        while let Ok(Some((frame, length))) = frame::split(rest, limit) {
            match frame::packet_type(frame.first_byte) {
                Ok(PacketType::Disconnect) => {
                    if let Err(violation) = self.dispatch(key, &frame) {
                        self.close(key, CloseReason::Violation(violation));
                    }
                    return;
                }
                // For that it would have been thrown out before.
                Ok(
                    PacketType::Connect
                    | PacketType::ConnAck
                    | PacketType::SubAck
                    | PacketType::UnsubAck
                    | PacketType::PingResp,
                )
                | Err(_) => return,
                Ok(_) if codec::decode(version, frame).is_err() => return,
                Ok(_) => {}
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }

    /// Asks the runtime to read a connection again that has no more than this in its inbox.
    fn resume_reading(&mut self, key: Key, inbox_maximum: usize) {
        if let Some(connection) = self.connections.get_mut(key)
            && connection.paused
            && connection.inbox.len() <= inbox_maximum
        {
            connection.paused = false;
            let resume = Action::Resume(connection.id());
            self.action(resume);
        }
    }
}
