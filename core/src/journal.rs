//! Records: what the log is told, so that nothing acknowledged is lost.
//!
//! Placeholder until the log lands.
#![expect(clippy::unused_self, reason = "until the log lands")]

use crate::action::Batch;
use crate::id::{PacketId, Position};
use crate::message::Message;
use crate::session::Session;
use crate::session::queue::Delivery;
use crate::topic::Subscription;

/// The open batch.
pub(crate) struct Journal {
    on: bool,
}

impl Journal {
    pub(crate) const fn new(on: bool) -> Self {
        Self { on }
    }
    pub(crate) const fn is_on(&self) -> bool {
        self.on
    }
    /// Where the open batch will stand.
    pub(crate) const fn open_position(&self) -> Position {
        Position(0)
    }
    /// A mark to ask `written_since` about.
    pub(crate) const fn mark(&self) -> usize {
        0
    }
    /// The position to wait for, if anything was written since `mark`.
    pub(crate) const fn written_since(&self, _mark: usize) -> Option<Position> {
        None
    }
    pub(crate) const fn take_batch(&mut self) -> Option<Batch> {
        None
    }
    pub(crate) fn message(&mut self, _message: &Message) {}
    pub(crate) fn queued(&mut self, _session: u64, _delivery: &Delivery) {}
    pub(crate) fn sent(&mut self, _session: u64, _delivery: &Delivery, _id: PacketId) {}
    pub(crate) fn released(&mut self, _session: u64, _delivery: &Delivery, _id: PacketId) {}
    pub(crate) fn delivered(&mut self, _session: u64, _delivery: &Delivery) {}
    pub(crate) fn unreferenced(&mut self, _delivery: &Delivery) {}
    pub(crate) fn received(&mut self, _session: u64, _id: PacketId) {}
    pub(crate) fn completed(&mut self, _session: u64, _id: PacketId) {}
    pub(crate) fn session(&mut self, _session: &Session) {}
    pub(crate) fn session_ended(&mut self, _session: &Session) {}
    pub(crate) fn subscribed(&mut self, _session: u64, _filter: &str, _subscription: Subscription) {
    }
    pub(crate) fn unsubscribed(&mut self, _session: u64, _filter: &str) {}
    pub(crate) fn retained(&mut self, _message: &Message) {}
    pub(crate) fn retained_cleared(&mut self, _topic: &str) {}
}
