//! Wills: what they are, and when one is published or dropped.

use crate::action::CloseReason;
use crate::codec::packet::QoS;
use crate::codec::reason::ReasonCode;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// What is published when a connection ends without a DISCONNECT that says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) topic: Box<str>,
    pub(crate) payload: Box<[u8]>,
    /// 5.0 properties that are forwarded unaltered.
    pub(crate) properties: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Seconds to wait, in case the client comes back.
    pub(crate) delay_s: u32,
    pub(crate) message_expiry_s: Option<u32>,
}

impl Will {
    /// What it counts against the memory budget.
    pub(crate) fn cost_bytes(&self) -> usize {
        const WILL: usize = 80;
        WILL + self.topic.len() + self.payload.len() + self.properties.len()
    }
}

/// Whether the end of a connection for this reason leaves its will to be published.
///
/// Only a DISCONNECT with reason 0x00, or the plain one of 3.x, drops it. [MQTT-3.14.4-3]
/// Everything else publishes it. [MQTT-3.1.2-8]
pub(crate) const fn survives(why: CloseReason) -> bool {
    !matches!(why, CloseReason::ClientDisconnect(ReasonCode::SUCCESS))
}
