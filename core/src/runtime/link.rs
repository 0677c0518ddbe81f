//! What clients inside the program get.

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
