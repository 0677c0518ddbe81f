//! Clients inside the program, which publish and subscribe as clients do; the broker has no special
//! case for them. Everything on the way is bounded.

use crate::client::{Connection, Events};
use std::sync::{Mutex, MutexGuard, PoisonError};
use whimbrel_core::codec::packet::{QoS, SubscribeOptions};
use whimbrel_core::codec::{PropertyBuffer, ReasonCode};
use whimbrel_core::runtime::client::Event;
use whimbrel_core::runtime::link::outcome;
use whimbrel_core::runtime::{LinkError, Message, client};

/// Messages that match a filter, as they come. Dropping it ends the subscription.
///
/// A subscriber that does not take its messages is a slow consumer to the broker, with all that the
/// configuration says about those.
#[derive(Debug)]
pub struct Subscription {
    events: Events,
    /// The link ends when this is dropped.
    _connection: Connection,
}

impl Subscription {
    /// Subscribes by a link that is nobody else's. Ready when the broker has granted it.
    ///
    /// # Errors
    ///
    /// What MQTT or the configuration does not allow, the broker's refusal, or that it has stopped.
    pub async fn open(
        (connection, events): (Connection, Events),
        filter: &str,
        qos: QoS,
    ) -> Result<Self, LinkError> {
        let options = SubscribeOptions {
            maximum_qos: qos,
            ..SubscribeOptions::default()
        };
        let filters = vec![(filter.to_owned(), options)];
        let granted = connection.subscribe(filters, PropertyBuffer::new()).await;
        let unspecified = ReasonCode::UNSPECIFIED;
        outcome(granted.map(|reasons| reasons.first().copied().unwrap_or(unspecified)))?;
        Ok(Self {
            events,
            _connection: connection,
        })
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

/// The link by which a program publishes, once there is one.
#[derive(Debug, Default)]
pub struct Publisher(Mutex<Option<(Connection, Events)>>);

impl Publisher {
    /// Publishes, by a link that `open` opens should there be none. Ready when the broker has taken
    /// the message over.
    ///
    /// # Errors
    ///
    /// What MQTT or the configuration does not allow, the broker's refusal, or that it has stopped.
    pub async fn publish(
        &self,
        message: client::Message,
        open: impl Future<Output = Result<(Connection, Events), LinkError>>,
    ) -> Result<(), LinkError> {
        let there = there(&self.lock());
        let connection = match there {
            Some(connection) => connection,
            None => {
                let opened = open.await?;
                let mut publisher = self.lock();
                // Somebody else may have opened one meanwhile.
                self::there(&publisher).unwrap_or_else(|| publisher.insert(opened).0.clone())
            }
        };
        outcome(match connection.publish(message).await {
            Ok(acknowledgement) => acknowledgement.wait().await,
            Err(error) => Err(error),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Connection, Events)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn there(publisher: &Option<(Connection, Events)>) -> Option<Connection> {
    let (connection, _) = publisher.as_ref()?;
    (!connection.has_ended()).then(|| connection.clone())
}
