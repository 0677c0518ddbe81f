//! What clients inside the program get. To the broker they are clients like any other, so they have
//! MQTT's meaning to the letter, quotas and slow consumers included.

use super::LinkError;
use super::client::{self, RequestError};
use crate::client::Config;
use crate::codec::ReasonCode;
use crate::codec::packet::QoS;
use alloc::string::String;
use alloc::vec::Vec;

/// A message that a subscription from inside this program got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it was published to.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// The QoS it was delivered with.
    pub qos: QoS,
    /// It was retained before the subscription was made.
    pub retain: bool,
}

impl From<client::Message> for Message {
    fn from(message: client::Message) -> Self {
        Self {
            topic: message.topic,
            payload: message.payload,
            qos: message.qos,
            retain: message.retain,
        }
    }
}

/// What such a client connects with. A connection in memory does not fail silently, so nobody needs
/// to ask for a sign of life.
#[must_use]
pub fn config() -> Config {
    Config {
        keep_alive_s: 0,
        ..Config::default()
    }
}

/// How a request went, by the broker's answer to it.
///
/// # Errors
///
/// There is none, or it says no.
pub fn outcome(answer: Result<ReasonCode, RequestError>) -> Result<(), LinkError> {
    match answer {
        Err(RequestError::Misuse(misuse)) => Err(misuse.into()),
        Err(RequestError::Ended) => Err(LinkError::Stopped),
        Ok(reason) if reason.is_error() => Err(LinkError::Refused(reason)),
        Ok(_) => Ok(()),
    }
}
