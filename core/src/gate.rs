//! What may leave only after the log has it, and other shards have it.
//!
//! One queue for the whole shard, in the order of positions and letters: releasing is popping from
//! the front. Once something of a connection waits here, everything of it that must keep its order
//! waits behind it.

use crate::broker::Broker;
use crate::codec;
use crate::codec::packet::{Packet, PacketType};
use crate::codec::reason::ReasonCode;
use crate::connection::{Connection, Stalls};
use crate::id::{PacketId, Position};
use crate::journal::JournalMark;
use crate::narrowing::Narrowing;
use crate::slab::Key;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Which acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "the names of the standard")]
pub(crate) enum AckKind {
    PubAck,
    PubRec,
    PubRel,
    PubComp,
}

impl AckKind {
    /// Which one begins with this byte; `None` for any other packet.
    #[inline]
    pub(crate) const fn of(first_byte: u8) -> Option<Self> {
        match first_byte >> 4 {
            4 => Some(Self::PubAck),
            5 => Some(Self::PubRec),
            6 => Some(Self::PubRel),
            7 => Some(Self::PubComp),
            _ => None,
        }
    }

    pub(crate) const fn packet_type(self) -> PacketType {
        match self {
            Self::PubAck => PacketType::PubAck,
            Self::PubRec => PacketType::PubRec,
            Self::PubRel => PacketType::PubRel,
            Self::PubComp => PacketType::PubComp,
        }
    }
}

/// What an answer waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gate {
    /// The log has come so far.
    pub(crate) position: Position,
    /// Other shards have kept what they were told in letters up to this number.
    pub(crate) letter: u64,
    /// What so many sessions have left to others is settled.
    pub(crate) estate: u64,
    /// What other shards want less, as so many of their letters said, is durable there.
    pub(crate) narrowed: u64,
}

impl Gate {
    /// Whether what waits for this need not wait, when everything has come as far as `now`.
    pub(crate) const fn is_open(&self, now: Self) -> bool {
        self.position.0 <= now.position.0
            && self.letter <= now.letter
            && self.estate <= now.estate
            && self.narrowed <= now.narrowed
    }
}

impl From<Position> for Gate {
    fn from(position: Position) -> Self {
        Self {
            position,
            ..Self::default()
        }
    }
}

/// Something that waits for a gate.
#[derive(Debug)]
pub(crate) enum Gated {
    /// An acknowledgement of a message.
    Ack(AckKind, PacketId, ReasonCode),
    /// An encoded SUBACK or UNSUBACK.
    Bytes(Box<[u8]>),
    /// An encoded CONNACK. Nothing of the connection may overtake it.
    ConnAck(ConnAckBytes),
    /// The QoS 2 message with this packet identifier.
    Publish(PacketId),
}

/// An encoded CONNACK, which may have authentication data in it.
#[derive(Debug)]
pub(crate) struct ConnAckBytes(pub(crate) Box<[u8]>);

impl Gated {
    /// What it takes beside its place.
    const fn bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) | Self::ConnAck(ConnAckBytes(bytes)) => bytes.len(),
            Self::Ack(..) | Self::Publish(_) => 0,
        }
    }
}

/// Everything that waits.
#[derive(Default)]
pub(crate) struct Gates {
    waiting: VecDeque<(Gate, Key, Gated)>,
    /// How many of them are for connections that are gone.
    forsaken: usize,
    /// What they take beside their places.
    bytes: usize,
}

crate::state::state!(Gate {
    position,
    letter,
    estate,
    narrowed
});
crate::state::state!(Gates {
    waiting,
    forsaken,
    bytes
});

impl Gates {
    /// Holds something back until `gate` is open, and until all that waits already is released.
    pub(crate) fn push(&mut self, gate: Gate, key: Key, gated: Gated) {
        let last = self.waiting.back().map_or(gate, |(last, ..)| *last);
        let gate = Gate {
            position: last.position.max(gate.position),
            letter: last.letter.max(gate.letter),
            estate: last.estate.max(gate.estate),
            narrowed: last.narrowed.max(gate.narrowed),
        };
        self.bytes += gated.bytes();
        self.waiting.push_back((gate, key, gated));
    }

    /// A connection is gone for which so many wait. Those of the dead are thrown out when they are
    /// as many as those of the living: who comes back again and again while the disk does not move
    /// must not fill the memory.
    fn forsake(&mut self, count: u32, is_alive: impl Fn(Key) -> bool) {
        const FORSAKEN_MINIMUM: usize = 64;
        self.forsaken += count as usize;
        if self.forsaken > FORSAKEN_MINIMUM.max(self.waiting.len() / 2) {
            self.waiting.retain(|(_, key, _)| is_alive(*key));
            self.forsaken = 0;
            self.bytes = self.waiting.iter().map(|(.., gated)| gated.bytes()).sum();
        }
    }

    /// What they take, in bytes.
    pub(crate) fn footprint(&self) -> u64 {
        const PLACE: usize = 80;
        (self.waiting.len() * PLACE + self.bytes) as u64
    }

    /// The next thing that may go, when everything has come as far as `now`.
    pub(crate) fn pop(&mut self, now: Gate, narrowing: &Narrowing) -> Option<(Key, Gated)> {
        let (gate, ..) = self.waiting.front()?;
        if !gate.is_open(now) || narrowing.holds(gate.letter) {
            return None;
        }
        let (_, key, gated) = self.waiting.pop_front()?;
        self.bytes -= gated.bytes();
        Some((key, gated))
    }
}

/// How much was written and told at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    journal: JournalMark,
    entrusted: u64,
}

impl Broker {
    /// What an answer has to wait for that says how things stand, without having changed them: the
    /// change may have been made for an earlier connection, and not be durable yet.
    pub(crate) fn latest_gate(&self) -> Option<Position> {
        self.journal.is_on().then(|| self.journal.latest())
    }

    /// The same when other shards may have had to do with it.
    pub(crate) fn latest_gate_everywhere(&self) -> Option<Gate> {
        Some(Gate {
            position: self.latest_gate().unwrap_or_default(),
            letter: self.peers.latest(),
            ..Gate::default()
        })
    }

    /// The same, and no subscription can come back that has missed what this broker has: what the
    /// acknowledgement of a message waits for that everybody has to have.
    pub(crate) fn message_gate_everywhere(&self) -> Option<Gate> {
        self.latest_gate_everywhere().map(|gate| Gate {
            estate: self.estates.opened(),
            narrowed: self.narrowing.heard(),
            ..gate
        })
    }

    /// How much was written and told so far, to ask `gate_since` about.
    pub(crate) const fn mark(&self) -> Mark {
        Mark {
            journal: self.journal.mark(),
            entrusted: self.peers.entrusted(),
        }
    }

    /// Whether other shards have been told something that they have to keep since `mark`.
    pub(crate) const fn has_told(&self, mark: Mark) -> bool {
        self.peers.entrusted() != mark.entrusted
    }

    /// What the acknowledgement of a message waits for that was taken in since `mark`.
    pub(crate) fn gate_since(&self, mark: Mark) -> Option<Gate> {
        let told = self.has_told(mark);
        let position = self.position_since(mark.journal);
        // Mostly there is nothing, and that is found out sooner here.
        let is_settled = self.estates.are_settled() && self.narrowing.are_durable();
        let waits = told || position > self.durable || !is_settled;
        waits.then(|| Gate {
            position,
            letter: if told { self.peers.latest() } else { 0 },
            estate: self.estates.opened(),
            narrowed: self.narrowing.heard(),
        })
    }

    /// The same in the log of this shard.
    pub(crate) fn position_since(&self, mark: JournalMark) -> Position {
        let written = self.journal.written_since(mark);
        written.unwrap_or_else(|| self.journal.narrowed())
    }

    /// What an answer has to wait for that says who has which session: what an earlier one has
    /// left to others, too. If it `changes` nothing, it may still be about a session begun anew, of
    /// which an earlier connection was not told yet.
    pub(crate) fn session_gate(&self, changes: bool) -> Option<Gate> {
        let position = match changes {
            true => self.journal.latest(),
            false => self.journal.narrowed(),
        };
        self.journal.is_on().then(|| Gate {
            position,
            estate: self.estates.opened(),
            ..Gate::default()
        })
    }

    /// When it is durable what is wanted no more here; `None` when it is.
    pub(crate) fn narrowing_gate(&self) -> Option<Gate> {
        self.session_gate(false)
            .filter(|gate| !gate.is_open(self.gate_now()))
    }

    /// How far everything has come.
    fn gate_now(&self) -> Gate {
        Gate {
            position: self.durable,
            letter: self.peers.kept(),
            estate: self.estates.settled(),
            narrowed: self.narrowing.durable(),
        }
    }

    /// Answers at once, or when `gate` is open; never before what was answered earlier. [MQTT-4.6.0-2]
    /// [MQTT-4.6.0-3] [MQTT-4.6.0-4]
    pub(crate) fn acknowledge(
        &mut self,
        key: Key,
        gate: Option<Gate>,
        (kind, id, reason): (AckKind, PacketId, ReasonCode),
    ) {
        let gate = gate.filter(|gate| !gate.is_open(self.gate_now()));
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if gate.is_none() && connection.gated == 0 {
            return self.send_ack(key, kind, id, reason);
        }
        connection.gated += 1;
        self.gates
            .push(gate.unwrap_or_default(), key, Gated::Ack(kind, id, reason));
        self.stall_if_gated(key);
    }

    /// The same for a packet that is encoded already.
    pub(crate) fn respond(&mut self, key: Key, gate: Option<Gate>, packet: &Packet<'_>) {
        let gate = gate.filter(|gate| !gate.is_open(self.gate_now()));
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if gate.is_none() && connection.gated == 0 && !connection.connack_gated {
            return self.send_packet(key, packet);
        }
        let mut bytes = Vec::new();
        let encoded = codec::encode(packet, connection.profile.version(), &mut bytes);
        if encoded.is_err() || bytes.len() > connection.maximum_packet_size as usize {
            return;
        }
        connection.gated += 1;
        let bytes: Box<[u8]> = bytes.into();
        let gated = if matches!(packet, Packet::ConnAck(_)) {
            connection.connack_gated = true;
            Gated::ConnAck(ConnAckBytes(bytes))
        } else {
            connection.answers_gated = connection.answers_gated.saturating_add(1);
            Gated::Bytes(bytes)
        };
        self.gates.push(gate.unwrap_or_default(), key, gated);
        self.stall_if_gated(key);
    }

    /// Does not read a connection any further that has many answers waiting for the log, or its
    /// CONNACK.
    fn stall_if_gated(&mut self, key: Key) {
        let maximum = u32::from(self.config.protocol.receive_maximum).max(64);
        let is_full = |c: &Connection| c.gated >= maximum || c.connack_gated;
        if self.connections.get(key).is_some_and(is_full) {
            self.stall(key, Stalls::GATED);
        }
    }

    /// What waits for a connection that is gone goes with it.
    pub(crate) fn forsake_gated(&mut self, connection: &Connection) {
        if connection.gated > 0 {
            let connections = &self.connections;
            let is_alive = |key| connections.get(key).is_some();
            self.gates.forsake(connection.gated, is_alive);
        }
    }

    /// Lets go whatever need not wait any longer.
    pub(crate) fn release_gated(&mut self) {
        self.peers.check_returned(self.durable);
        self.settle_estates();
        let now = self.gate_now();
        while let Some(peer) = self.narrowing.settled(now) {
            self.peers.owe_letter(peer);
        }
        while let Some((key, gated)) = self.gates.pop(now, &self.narrowing) {
            let Some(connection) = self.connections.get_mut(key) else {
                self.gates.forsaken -= 1;
                continue;
            };
            connection.gated -= 1;
            let relieved = connection.gated <= u32::from(self.config.protocol.receive_maximum) / 2;
            match gated {
                Gated::Ack(kind, id, reason) => self.send_ack(key, kind, id, reason),
                Gated::Bytes(bytes) => {
                    connection.answers_gated = connection.answers_gated.saturating_sub(1);
                    self.send_bytes(key, &bytes);
                }
                Gated::ConnAck(ConnAckBytes(bytes)) => {
                    connection.connack_gated = false;
                    self.send_bytes(key, &bytes);
                }
                Gated::Publish(id) => self.send_gated(key, id),
            }
            if relieved {
                self.unstall(key, Stalls::GATED);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_the_dead_does_not_gather() {
        let mut gates = Gates::default();
        let key = |index| Key {
            index,
            generation: 0,
        };
        let living = key(u32::MAX);
        let gate = Gate::from(Position(7));
        for round in 0..1_000 {
            if round % 100 == 0 {
                gates.push(gate, living, Gated::Bytes([0; 5].into()));
            }
            for _ in 0..10 {
                gates.push(
                    gate,
                    key(round),
                    Gated::ConnAck(ConnAckBytes([0; 4].into())),
                );
            }
            gates.forsake(10, |key| key == living);
            assert!(gates.waiting.len() < 100);
        }
        let mut answered = 0;
        while let Some((key, _)) = gates.pop(gate, &Narrowing::default()) {
            answered += usize::from(key == living);
        }
        assert_eq!(answered, 10, "nobody who is there was passed over");
        assert_eq!(gates.footprint(), 0);
    }
}
