//! What the server said about itself in CONNACK.

use super::error::Misuse;
use crate::codec::packet::{ConnAck, QoS};

/// What this server takes on this connection. What it did not say is as the specification says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// QoS 1 and 2 messages that may be open towards the server.
    pub receive_maximum: u16,
    /// The highest QoS for publishing.
    pub maximum_qos: QoS,
    /// Whether RETAIN may be set.
    pub retain_available: bool,
    /// Bytes of the largest packet.
    pub maximum_packet_size: u32,
    /// The largest topic alias.
    pub topic_alias_maximum: u16,
    /// Whether filters may have wildcards.
    pub wildcards_available: bool,
    /// Whether subscriptions may have identifiers.
    pub subscription_identifiers_available: bool,
    /// Whether subscriptions may be shared.
    pub shared_subscriptions_available: bool,
    /// The keep alive that holds instead of the client's.
    pub keep_alive_s: Option<u16>,
    /// The session expiry interval that holds instead of the client's.
    pub session_expiry_s: Option<u32>,
}

impl Default for ServerLimits {
    /// A server that said nothing.
    fn default() -> Self {
        Self {
            receive_maximum: u16::MAX,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: u32::MAX,
            topic_alias_maximum: 0,
            wildcards_available: true,
            subscription_identifiers_available: true,
            shared_subscriptions_available: true,
            keep_alive_s: None,
            session_expiry_s: None,
        }
    }
}

impl ServerLimits {
    pub(super) fn of(connack: &ConnAck<'_>) -> Self {
        let said = connack.properties;
        let silent = Self::default();
        let available = |flag: Option<bool>| flag.unwrap_or(true);
        Self {
            receive_maximum: said.receive_maximum().unwrap_or(silent.receive_maximum),
            maximum_qos: said.maximum_qos().unwrap_or(silent.maximum_qos),
            retain_available: available(said.retain_available()),
            maximum_packet_size: said
                .maximum_packet_size()
                .unwrap_or(silent.maximum_packet_size),
            topic_alias_maximum: said.topic_alias_maximum().unwrap_or(0),
            wildcards_available: available(said.wildcard_subscription_available()),
            subscription_identifiers_available: available(said.subscription_identifier_available()),
            shared_subscriptions_available: available(said.shared_subscription_available()),
            keep_alive_s: said.server_keep_alive(),
            session_expiry_s: said.session_expiry_interval(),
        }
    }

    /// Whether a message may be sent at all, whatever its size.
    pub(super) fn admit_message(&self, qos: QoS, retain: bool) -> Result<(), Misuse> {
        if qos > self.maximum_qos {
            return Err(Misuse::QoSNotSupported);
        }
        if retain && !self.retain_available {
            return Err(Misuse::RetainNotSupported);
        }
        Ok(())
    }

    /// Whether a packet of this size may be sent.
    pub(super) const fn admit_size(&self, packet_bytes: usize) -> Result<(), Misuse> {
        if packet_bytes > self.maximum_packet_size as usize {
            return Err(Misuse::PacketTooLarge);
        }
        Ok(())
    }
}
