//! Clients inside this program: what [`Handle::publish`](crate::Handle::publish) and
//! [`Handle::subscribe`](crate::Handle::subscribe) stand on. Each is a
//! [`Connection`] through memory, whose task is on the shard's runtime; the broker has no special
//! case for it. Everything on the way is bounded.

use crate::client::{Connection, Event, Events};
use whimbrel_core::runtime::Message;

/// Messages that match a filter, as they come. Dropping it ends the subscription.
///
/// A subscriber that does not take its messages is a slow consumer to the broker, with all that the
/// configuration says about those.
pub struct Subscription {
    events: Events,
    /// The link ends when this is dropped.
    _connection: Connection,
}

impl Subscription {
    pub(crate) const fn new(connection: Connection, events: Events) -> Self {
        Self {
            events,
            _connection: connection,
        }
    }

    /// The next message; `None` when the broker has stopped or has ended the subscription. Nothing
    /// is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Message> {
        match self.events.next().await? {
            Event::Message { message, .. } => Some(message.into()),
            Event::Ended(_) => None,
        }
    }
}
