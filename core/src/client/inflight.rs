//! What this client has asked of the server and not heard the end of: one map from packet
//! identifier to stage, for messages and requests alike.
//!
//! ```text
//!   QoS 1:    Published ──PUBACK──▶ gone
//!   QoS 2:    Published ──PUBREC──▶ Released ──PUBCOMP──▶ gone
//!                 └─ PUBREC with an error code ─▶ gone
//!   requests: Subscribing ──SUBACK──▶ gone      Unsubscribing ──UNSUBACK──▶ gone
//! ```
//!
//! Messages outlive the connection and are resent in the order in which they were first sent, as
//! the window of the new connection permits. Requests end with their connection.

use crate::codec::packet::QoS;
use crate::id::PacketId;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// How far an exchange has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// PUBLISH was sent: the packet, as it is to be resent.
    Published(QoS, Box<[u8]>),
    /// PUBREL was sent.
    Released,
    /// SUBSCRIBE was sent, with so many filters.
    Subscribing(usize),
    /// UNSUBSCRIBE was sent, with so many filters.
    Unsubscribing(usize),
}

impl Stage {
    const fn is_message(&self) -> bool {
        matches!(self, Self::Published(..) | Self::Released)
    }
}

#[derive(Debug)]
struct Exchange {
    stage: Stage,
    /// Exchanges count up in the order in which they began.
    sequence: u64,
    /// It counts in the window: sent on this connection.
    sent: bool,
}

#[derive(Debug, Default)]
pub(super) struct Inflight {
    exchanges: BTreeMap<PacketId, Exchange>,
    last: Option<PacketId>,
    sequence: u64,
    /// Messages that were sent on this connection.
    window_used: usize,
    request_count: usize,
    /// Messages of an earlier connection that are still to be resent, oldest first.
    unsent: VecDeque<PacketId>,
}

impl Inflight {
    /// Messages that count in the window of this connection.
    pub(super) const fn window_used(&self) -> usize {
        self.window_used
    }

    /// Requests without an answer.
    pub(super) const fn request_count(&self) -> usize {
        self.request_count
    }

    /// All messages without an end, resent or not.
    pub(super) fn message_count(&self) -> usize {
        self.exchanges.len() - self.request_count
    }

    /// An identifier that is not in use; `None` when all 65,535 are.
    pub(super) fn unused_id(&self) -> Option<PacketId> {
        if self.exchanges.len() >= usize::from(u16::MAX) {
            return None;
        }
        let mut id = self.last.map_or(PacketId::FIRST, PacketId::next);
        while self.exchanges.contains_key(&id) {
            id = id.next(); // [MQTT-2.2.1-3] [MQTT311-2.3.1-2]
        }
        Some(id)
    }

    /// Begins an exchange whose first packet has been sent, under an identifier that was not in
    /// use.
    pub(super) fn begin(&mut self, id: PacketId, stage: Stage) {
        if stage.is_message() {
            self.window_used += 1;
        } else {
            self.request_count += 1;
        }
        let exchange = Exchange {
            stage,
            sequence: self.sequence,
            sent: true,
        };
        self.sequence += 1;
        self.last = Some(id);
        let replaced = self.exchanges.insert(id, exchange);
        debug_assert!(replaced.is_none(), "the identifier was not in use");
    }

    pub(super) fn stage(&self, id: PacketId) -> Option<&Stage> {
        self.exchanges.get(&id).map(|exchange| &exchange.stage)
    }

    /// PUBREC has come: the message is no longer needed, its identifier is.
    pub(super) fn released(&mut self, id: PacketId) {
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.stage = Stage::Released;
        }
    }

    /// Ends an exchange.
    pub(super) fn end(&mut self, id: PacketId) {
        let Some(exchange) = self.exchanges.remove(&id) else {
            return;
        };
        if !exchange.stage.is_message() {
            self.request_count -= 1;
        } else if exchange.sent {
            self.window_used -= 1;
        }
    }

    /// The connection is gone: nothing of what is open has been sent on the next one.
    pub(super) fn disconnected(&mut self, mut abandon: impl FnMut(PacketId)) {
        self.exchanges.retain(|id, exchange| {
            if !exchange.stage.is_message() {
                abandon(*id);
            }
            exchange.sent = false;
            exchange.stage.is_message()
        });
        self.window_used = 0;
        self.request_count = 0;
        self.unsent.clear();
    }

    /// The server still has the session: all messages are to be resent.
    pub(super) fn resume(&mut self) {
        let mut unsent: Vec<_> = self.exchanges.iter().collect();
        unsent.sort_unstable_by_key(|(_, exchange)| exchange.sequence);
        self.unsent = unsent.into_iter().map(|(id, _)| *id).collect();
    }

    /// The session is gone.
    pub(super) fn clear(&mut self, mut abandon: impl FnMut(PacketId)) {
        let mut open: Vec<_> = self.exchanges.iter().collect();
        open.sort_unstable_by_key(|(_, exchange)| exchange.sequence);
        open.into_iter().for_each(|(id, _)| abandon(*id));
        self.exchanges.clear();
        self.window_used = 0;
        self.request_count = 0;
        self.unsent.clear();
    }

    /// Whether older messages wait for room in the window: new ones must not overtake them.
    pub(super) fn is_resending(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// The next message to be resent, which counts in the window from here on. The packet
    /// identifier stays what it was. [MQTT311-2.3.1-3]
    pub(super) fn pop_unsent(&mut self) -> Option<(PacketId, &mut Stage)> {
        while let Some(id) = self.unsent.pop_front() {
            // It may have been acknowledged before its turn came.
            if self
                .exchanges
                .get(&id)
                .is_some_and(|exchange| !exchange.sent)
            {
                let exchange = self.exchanges.get_mut(&id)?;
                exchange.sent = true;
                self.window_used += 1;
                return Some((id, &mut exchange.stage));
            }
        }
        None
    }
}
