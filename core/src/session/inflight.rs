//! Outgoing QoS 1 and 2 messages that wait for their acknowledgement: packet identifier → stage.
//!
//! ```text
//!              QoS 1:  Published ──PUBACK──▶ gone
//!              QoS 2:  Published ──PUBREC──▶ Released ──PUBCOMP──▶ gone
//!                          └─ PUBREC with an error code ─▶ gone
//! ```
//!
//! Identifiers are given out in order, so that the exchanges lie in a ring in the order in which
//! they began, which is the order in which they are resent; an identifier's place in the ring is a
//! subtraction. Identifiers that completed out of order leave a gap until everything before them
//! has completed.

use crate::codec::packet::QoS;
use crate::id::PacketId;
use crate::session::queue::Delivery;
use crate::time::Timestamp;
use alloc::collections::VecDeque;

/// How far an exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// PUBLISH was sent; PUBACK or PUBREC is awaited.
    Published,
    /// PUBREL was sent; PUBCOMP is awaited. The message itself is no longer needed.
    Released,
}

/// One exchange.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) stage: Stage,
    /// The delivery; its message stays until `Released`.
    pub(crate) delivery: Delivery,
    /// When it was last sent, for the optional retransmission to 3.x clients.
    pub(crate) sent_at: Timestamp,
    /// How often it was resent on this connection.
    pub(crate) resent: u8,
    /// It was sent on an earlier connection: to be marked as a possible duplicate.
    pub(crate) was_sent: bool,
    /// It was sent on this connection, and counts in the window when it was a PUBLISH.
    pub(crate) sent: bool,
    /// It counts in the window of this connection.
    pub(crate) counted: bool,
}

/// Why an acknowledgement ends no exchange.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotEnded {
    /// No such exchange.
    Unknown,
    /// The exchange under that identifier is of another kind, or at another stage.
    Otherwise,
}

/// All exchanges of a session.
#[derive(Debug, Default)]
pub(crate) struct Inflight {
    ring: VecDeque<Option<Exchange>>,
    /// The identifier of the first place in the ring.
    first: Option<PacketId>,
    /// The last identifier given out.
    last: Option<PacketId>,
    /// Open exchanges.
    len: usize,
    /// What their deliveries cost together.
    bytes: usize,
}

crate::state::state!(Inflight {
    ring,
    first,
    last,
    len,
    bytes
});

impl Inflight {
    /// Whether there is an identifier left. There are 65,535.
    pub(crate) fn has_identifier(&self) -> bool {
        self.ring.len() < usize::from(u16::MAX)
    }

    /// Whether one more may begin: the client counts messages, the broker bytes as well, so that a
    /// window that is wide enough for small messages does not hold thousands of large ones. One
    /// message is always possible.
    pub(crate) fn has_room(&self, bytes_maximum: u32) -> bool {
        self.has_identifier() && (self.len == 0 || self.bytes < bytes_maximum as usize)
    }

    /// The message of an exchange is not needed any more, and has given so much.
    pub(crate) const fn freed(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    /// The identifier that `begin` will use. [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1]
    pub(crate) fn next_identifier(&self) -> PacketId {
        self.last.map_or(PacketId::FIRST, PacketId::next)
    }

    /// Begins an exchange under the next identifier. The caller has asked `has_identifier`.
    pub(crate) fn begin(&mut self, delivery: Delivery, now: Timestamp) -> PacketId {
        debug_assert!(self.has_identifier());
        let id = self.next_identifier();
        self.push(
            id,
            Exchange {
                stage: Stage::Published,
                delivery,
                sent_at: now,
                resent: 0,
                was_sent: false,
                sent: true,
                counted: true,
            },
        );
        id
    }

    fn push(&mut self, id: PacketId, exchange: Exchange) {
        if self.ring.is_empty() {
            self.first = Some(id);
        }
        self.bytes += exchange.delivery.cost_bytes();
        self.ring.push_back(Some(exchange));
        self.last = Some(id);
        self.len += 1;
    }

    /// Puts back an exchange that was open when the broker stopped, in the order in which they
    /// began.
    pub(crate) fn restore(&mut self, id: PacketId, stage: Stage, delivery: Delivery) {
        let exchange = Exchange {
            stage,
            delivery,
            sent_at: Timestamp(0),
            resent: 0,
            was_sent: true,
            sent: false,
            counted: false,
        };
        if self.ring.is_empty() {
            return self.push(id, exchange);
        }
        // Identifiers in between completed before the stop: gaps.
        while self.has_identifier() && self.last.map(PacketId::next) != Some(id) {
            self.ring.push_back(None);
            self.last = self.last.map(PacketId::next);
        }
        if self.has_identifier() {
            self.push(id, exchange);
        }
    }

    fn place(&self, id: PacketId) -> Option<usize> {
        let first = self.first?.get();
        // 65,535 identifiers, without zero.
        let distance = if id.get() >= first {
            id.get() - first
        } else {
            u16::MAX - first + id.get()
        };
        let place = usize::from(distance);
        (place < self.ring.len()).then_some(place)
    }

    pub(crate) fn get_mut(&mut self, id: PacketId) -> Option<&mut Exchange> {
        let place = self.place(id)?;
        self.ring.get_mut(place)?.as_mut()
    }

    /// Ends the exchange, and takes its delivery out.
    pub(crate) fn end(&mut self, id: PacketId) -> Option<Exchange> {
        self.end_if(id, |_| true).ok()
    }

    /// The same if it is of this QoS, and at this stage.
    pub(crate) fn end_at(
        &mut self,
        id: PacketId,
        qos: QoS,
        stage: Stage,
    ) -> Result<Exchange, NotEnded> {
        self.end_if(id, |exchange| {
            exchange.stage == stage && exchange.delivery.qos() == qos
        })
    }

    fn end_if(
        &mut self,
        id: PacketId,
        is_right: impl FnOnce(&Exchange) -> bool,
    ) -> Result<Exchange, NotEnded> {
        let place = self.place(id).ok_or(NotEnded::Unknown)?;
        let exchange = self.ring.get_mut(place).ok_or(NotEnded::Unknown)?;
        if exchange
            .as_ref()
            .is_some_and(|exchange| !is_right(exchange))
        {
            return Err(NotEnded::Otherwise);
        }
        let exchange = exchange.take().ok_or(NotEnded::Unknown)?;
        self.len -= 1;
        self.bytes -= exchange.delivery.cost_bytes();
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.first = self.first.map(PacketId::next);
        }
        if self.ring.is_empty() {
            self.first = None;
        }
        Ok(exchange)
    }

    /// The open exchanges, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PacketId, &Exchange)> {
        let mut next = self.first;
        self.ring.iter().filter_map(move |place| {
            let id = next?;
            next = Some(id.next());
            place.as_ref().map(|exchange| (id, exchange))
        })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Exchange> {
        self.ring.iter_mut().flatten()
    }

    /// A new connection: nothing was sent on it yet. Gives how many exchanges are open.
    pub(crate) fn restart(&mut self) -> usize {
        for exchange in self.ring.iter_mut().flatten() {
            exchange.was_sent = true;
            exchange.sent = false;
            exchange.counted = false;
            exchange.resent = 0;
        }
        self.len
    }

    /// The first open exchange at or after place `from`, and its place.
    pub(crate) fn at_or_after(&mut self, from: usize) -> Option<(usize, PacketId, &mut Exchange)> {
        let first = self.first?;
        let place = (from..self.ring.len()).find(|place| self.ring[*place].is_some())?;
        let steps = u32::try_from(place).ok()?;
        let id = (u32::from(first.get()) - 1 + steps) % u32::from(u16::MAX) + 1;
        let id = PacketId::new(u16::try_from(id).ok()?)?;
        self.ring[place]
            .as_mut()
            .map(|exchange| (place, id, exchange))
    }

    /// Takes everything out, oldest first.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Exchange> {
        self.first = None;
        self.len = 0;
        self.bytes = 0;
        core::mem::take(&mut self.ring).into_iter().flatten()
    }
}
