//! Where we differ from the data, and why: the standard decides.

/// A case that goes otherwise here.
pub(crate) struct Disagreement {
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    /// What the standard says.
    pub(crate) reason: &'static str,
}

/// Cases of mosquitto.
pub(crate) const MOSQUITTO: &[Disagreement] = &[];

/// Cases of mochi-mqtt, by description, version and bytes.
pub(crate) const MOCHI: &[Disagreement] = &[];

/// Cases of mqtt-packet, by description, version and bytes.
pub(crate) const MQTT_PACKET: &[Disagreement] = &[];
