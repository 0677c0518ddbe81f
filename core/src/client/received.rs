//! Messages from the server that are not done with: those whose acknowledgement the caller owes,
//! and QoS 2 messages until their PUBREL.
//!
//! ```text
//!   QoS 1:  Held ──▶ Decided ──PUBACK──▶ gone
//!   QoS 2:  Held ──▶ Decided ──PUBREC──▶ Owned ──PUBREL──▶ gone
//!                       └─ PUBREC with an error code ─▶ gone
//! ```
//!
//! Acknowledgements leave in the order in which the messages came, whatever the order of the
//! decisions. `Owned` outlives the connection: it is what keeps a QoS 2 message from being taken in
//! twice.

use crate::codec::ReasonCode;
use crate::codec::packet::QoS;
use crate::id::PacketId;
use alloc::collections::{BTreeMap, VecDeque};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The caller has it and has not decided.
    Held(QoS),
    /// The caller has decided; messages before it are still held.
    Decided(QoS, ReasonCode),
    /// PUBREC was sent, PUBREL is awaited.
    Owned {
        /// Whether PUBREC was sent on this connection, so that the message counts in its window.
        here: bool,
    },
}

/// What is known of a message by its packet identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Nothing: to be handed out.
    New,
    /// A QoS 1 message that is not acknowledged yet: to be handed out again.
    Again,
    /// A QoS 2 message the caller has and not decided about: nothing is to be done.
    Held,
    /// A QoS 2 message that was taken in: PUBREC is to be repeated.
    Owned,
    /// Another message is open under this identifier.
    InUse,
}

#[derive(Debug, Default)]
pub(super) struct Received {
    stages: BTreeMap<PacketId, Stage>,
    /// Held and decided messages in the order in which they came.
    order: VecDeque<PacketId>,
    /// `Owned { here: false }` among the stages.
    inherited: usize,
}

impl Received {
    /// How many messages count in the window of this connection.
    pub(super) fn open_count(&self) -> usize {
        self.stages.len() - self.inherited
    }

    pub(super) fn arrival(&self, packet_id: PacketId, qos: QoS) -> Arrival {
        match (self.stages.get(&packet_id), qos) {
            (None, _) => Arrival::New,
            (
                Some(Stage::Held(QoS::AtLeastOnce) | Stage::Decided(QoS::AtLeastOnce, _)),
                QoS::AtLeastOnce,
            ) => Arrival::Again,
            (
                Some(Stage::Held(QoS::ExactlyOnce) | Stage::Decided(QoS::ExactlyOnce, _)),
                QoS::ExactlyOnce,
            ) => Arrival::Held,
            (Some(Stage::Owned { .. }), QoS::ExactlyOnce) => Arrival::Owned,
            (Some(_), _) => Arrival::InUse,
        }
    }

    /// A message that arrived as new is the caller's.
    pub(super) fn hold(&mut self, packet_id: PacketId, qos: QoS) {
        self.stages.insert(packet_id, Stage::Held(qos));
        self.order.push_back(packet_id);
    }

    /// A message that arrived as new is taken in and acknowledged at once.
    pub(super) fn own(&mut self, packet_id: PacketId, qos: QoS) {
        if qos == QoS::ExactlyOnce {
            self.stages.insert(packet_id, Stage::Owned { here: true });
        }
    }

    /// The caller has decided; `false` when there was nothing to decide.
    pub(super) fn decide(&mut self, packet_id: PacketId, reason: ReasonCode) -> bool {
        let Some(stage) = self.stages.get_mut(&packet_id) else {
            return false;
        };
        let Stage::Held(qos) = *stage else {
            return false;
        };
        *stage = Stage::Decided(qos, reason);
        true
    }

    /// The next acknowledgement whose turn has come.
    pub(super) fn pop_decided(&mut self) -> Option<(PacketId, QoS, ReasonCode)> {
        let packet_id = *self.order.front()?;
        let Some(Stage::Decided(qos, reason)) = self.stages.get(&packet_id).copied() else {
            return None;
        };
        self.order.pop_front();
        self.stages.remove(&packet_id);
        if !reason.is_error() {
            self.own(packet_id, qos);
        }
        Some((packet_id, qos, reason))
    }

    /// PUBREL has come; `false` when no message was taken in under this identifier.
    pub(super) fn release(&mut self, packet_id: PacketId) -> bool {
        let Some(Stage::Owned { here }) = self.stages.get(&packet_id).copied() else {
            return false;
        };
        self.stages.remove(&packet_id);
        self.inherited -= usize::from(!here);
        true
    }

    /// The connection is gone, the session stays. Messages the caller has not decided about come
    /// again; those it has taken must not.
    pub(super) fn disconnected(&mut self) {
        self.order.clear();
        self.stages.retain(|_, stage| match *stage {
            Stage::Owned { .. } => true,
            Stage::Decided(QoS::ExactlyOnce, reason) => !reason.is_error(),
            Stage::Decided(..) | Stage::Held(_) => false,
        });
        for stage in self.stages.values_mut() {
            *stage = Stage::Owned { here: false };
        }
        self.inherited = self.stages.len();
    }

    /// The session is gone.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
