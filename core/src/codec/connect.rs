//! CONNECT, the packet that names its own version.

use crate::codec::decode::properties;
use crate::codec::encode::put_properties;
use crate::codec::packet::{Connect, QoS, Version, Will};
use crate::codec::property::PropertyContext;
use crate::codec::reader::Reader;
use crate::codec::writer::{put_binary, put_string, put_u16};
use crate::error::{EncodeError, Malformed, Violation};
use alloc::vec::Vec;

/// Protocol name and level.
pub(super) fn protocol_version(reader: &mut Reader<'_>) -> Result<Version, Violation> {
    let versions: &[(u8, Version)] = match reader.binary()? {
        b"MQTT" => &[(4, Version::V4), (5, Version::V5)],
        b"MQIsdp" => &[(3, Version::V3)],
        _ => return Err(Malformed::ProtocolName.into()), // [MQTT-3.1.2-1] [MQTT311-3.1.2-1]
    };
    let level = reader.u8()?;
    versions
        .iter()
        .find(|(known, _)| *known == level)
        .map(|(_, version)| *version)
        .ok_or(Violation::Version)
}

/// What the connect flags say about the rest of the packet.
struct ConnectFlags {
    clean_start: bool,
    /// QoS and RETAIN of the will that is there.
    will: Option<(QoS, bool)>,
    username: bool,
    password: bool,
}

impl ConnectFlags {
    const RESERVED: u8 = 1 << 0;
    const CLEAN_START: u8 = 1 << 1;
    const WILL: u8 = 1 << 2;
    const WILL_QOS: u8 = 0b11 << 3;
    const WILL_RETAIN: u8 = 1 << 5;
    const PASSWORD: u8 = 1 << 6;
    const USERNAME: u8 = 1 << 7;

    fn of(connect: &Connect<'_>) -> Self {
        Self {
            clean_start: connect.clean_start,
            will: connect.will.map(|will| (will.qos, will.retain)),
            username: connect.username.is_some(),
            password: connect.password.is_some(),
        }
    }

    const fn to_byte(&self) -> u8 {
        let mut byte = 0;
        if self.clean_start {
            byte |= Self::CLEAN_START;
        }
        if let Some((qos, retain)) = self.will {
            byte |= Self::WILL | (qos as u8) << 3;
            if retain {
                byte |= Self::WILL_RETAIN;
            }
        }
        if self.username {
            byte |= Self::USERNAME;
        }
        if self.password {
            byte |= Self::PASSWORD;
        }
        byte
    }

    fn from_byte(byte: u8, version: Version) -> Result<Self, Malformed> {
        let has = |flag| byte & flag != 0;
        if has(Self::RESERVED) {
            return Err(Malformed::ConnectFlags); // [MQTT-3.1.2-3] [MQTT311-3.1.2-3]
        }
        let will = if has(Self::WILL) {
            let qos = QoS::from_bits((byte & Self::WILL_QOS) >> 3);
            let qos = qos.ok_or(Malformed::QoS)?; // [MQTT-3.1.2-12] [MQTT311-3.1.2-14]
            Some((qos, has(Self::WILL_RETAIN)))
        } else if version == Version::V3 {
            None // There these bits do not count without a will.
        } else {
            // [MQTT311-3.1.2-11]
            if has(Self::WILL_QOS) {
                return Err(Malformed::ConnectFlags); // [MQTT-3.1.2-11] [MQTT311-3.1.2-13]
            }
            if has(Self::WILL_RETAIN) {
                return Err(Malformed::ConnectFlags); // [MQTT-3.1.2-13] [MQTT311-3.1.2-15]
            }
            None
        };
        let (username, password) = (has(Self::USERNAME), has(Self::PASSWORD));
        if password && !username && version != Version::V5 {
            return Err(Malformed::ConnectFlags); // [MQTT311-3.1.2-22]
        }
        Ok(Self {
            clean_start: has(Self::CLEAN_START),
            will,
            username,
            password,
        })
    }
}

/// Whether flags can stand in a CONNECT of this version.
pub(crate) fn has_valid_flags(flags: u8, version: Version) -> bool {
    ConnectFlags::from_byte(flags, version).is_ok()
}

/// The body of a CONNECT. [MQTT-3.1.4-1] [MQTT311-3.1.4-1]
pub(super) fn decode<'a>(mut reader: Reader<'a>) -> Result<Connect<'a>, Violation> {
    let version = protocol_version(&mut reader)?;
    let flags = ConnectFlags::from_byte(reader.u8()?, version)?;
    let keep_alive_s = reader.u16()?;
    let connect_properties = properties(&mut reader, version, PropertyContext::Connect)?;
    // From here on in this order. [MQTT-3.1.3-1] [MQTT311-3.1.3-1]
    // The client identifier may be empty but not absent. [MQTT-3.1.3-3] [MQTT311-3.1.3-3]
    let client_id = reader.string()?; // [MQTT-3.1.3-4] [MQTT311-3.1.3-4]
    let will = match flags.will {
        Some((qos, retain)) => Some(Will {
            properties: properties(&mut reader, version, PropertyContext::Will)?, // [MQTT-3.1.2-9]
            topic: reader.string()?,   // [MQTT-3.1.3-11] [MQTT311-3.1.3-10]
            payload: reader.binary()?, // [MQTT311-3.1.2-9]
            qos,
            retain,
        }),
        None => None,
    };
    // In 3.1 the end of the packet overrules these two flags.
    let may_end = version == Version::V3;
    let mut username = None;
    if flags.username && !(may_end && reader.is_empty()) {
        // The flag is what brings the field. [MQTT-3.1.2-17] [MQTT311-3.1.2-19]
        username = Some(reader.string()?); // [MQTT-3.1.3-12] [MQTT311-3.1.3-11]
    }
    let mut password = None;
    if flags.password && !(may_end && reader.is_empty()) {
        password = Some(reader.binary()?); // [MQTT-3.1.2-19] [MQTT311-3.1.2-21]
    }
    // A user name without its flag would be left over [MQTT-3.1.2-16] [MQTT311-3.1.2-18], and so
    // would a password. [MQTT-3.1.2-18] [MQTT311-3.1.2-20]
    reader.finish()?;
    Ok(Connect {
        version,
        clean_start: flags.clean_start,
        keep_alive_s,
        client_id,
        will,
        username,
        password,
        properties: connect_properties,
    })
}

/// Inverse of [`decode`].
pub(super) fn encode(out: &mut Vec<u8>, connect: &Connect<'_>) -> Result<(), EncodeError> {
    let version = connect.version;
    if connect.password.is_some() && connect.username.is_none() && version != Version::V5 {
        return Err(EncodeError::NotInVersion);
    }
    let (name, level) = match version {
        Version::V3 => ("MQIsdp", 3),
        Version::V4 => ("MQTT", 4),
        Version::V5 => ("MQTT", 5),
    };
    put_string(out, name)?;
    out.extend_from_slice(&[level, ConnectFlags::of(connect).to_byte()]);
    put_u16(out, connect.keep_alive_s);
    put_properties(out, connect.properties, version, PropertyContext::Connect)?;
    put_string(out, connect.client_id)?;
    if let Some(will) = &connect.will {
        put_properties(out, will.properties, version, PropertyContext::Will)?;
        put_string(out, will.topic)?;
        put_binary(out, will.payload)?;
    }
    if let Some(username) = connect.username {
        put_string(out, username)?;
    }
    if let Some(password) = connect.password {
        put_binary(out, password)?;
    }
    Ok(())
}
