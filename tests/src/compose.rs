//! Packets with nothing special, for tests to change what they are about.

use whimbrel_core::codec::Properties;
use whimbrel_core::codec::packet::{Connect, Publish, QoS, Version, Will};
use whimbrel_core::codec::property::{Property, PropertyBuffer, PropertyContext};
use whimbrel_core::id::PacketId;

/// A CONNECT with nothing special: clean start, no keep alive.
pub const fn connect(version: Version, client_id: &str) -> Connect<'_> {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 0,
        client_id,
        will: None,
        username: None,
        password: None,
        properties: Properties::EMPTY,
    }
}

/// A PUBLISH with nothing special. The packet identifier is left out at QoS 0.
pub fn publish<'a>(topic: &'a str, payload: &'a [u8], qos: QoS, packet_id: u16) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id: if qos == QoS::AtMostOnce {
            None
        } else {
            PacketId::new(packet_id)
        },
        properties: Properties::EMPTY,
        payload,
    }
}

/// A CONNECT whose session lasts an hour after its connection (3.x: as long as the broker says),
/// and is resumed when it is there.
///
/// # Panics
///
/// Never.
pub fn lasting(version: Version, client_id: &str) -> Connect<'_> {
    const HOUR: &[u8] = &[0x11, 0, 0, 0x0e, 0x10];
    let properties = match version {
        Version::V5 => Properties::decode(HOUR, PropertyContext::Connect).expect("well-formed"),
        Version::V3 | Version::V4 => Properties::EMPTY,
    };
    Connect {
        clean_start: false,
        properties,
        ..connect(version, client_id)
    }
}

/// A will of QoS 0, not retained.
pub const fn will<'a>(topic: &'a str, payload: &'a [u8]) -> Will<'a> {
    Will {
        topic,
        payload,
        qos: QoS::AtMostOnce,
        retain: false,
        properties: Properties::EMPTY,
    }
}

/// A list of properties.
///
/// # Panics
///
/// When one is too long.
pub fn properties(list: &[Property<'_>]) -> PropertyBuffer {
    let mut buffer = PropertyBuffer::new();
    for property in list {
        assert!(buffer.push(*property), "{property:?}");
    }
    buffer
}
