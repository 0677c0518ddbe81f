//! Bytes as packets: decoding never panics, says the same of a part as of the whole, and is undone
//! by encoding.

use super::script::Script;
use crate::world::VERSIONS;
use core::hint::black_box;
use whimbrel_core::codec::packet::Version;
use whimbrel_core::codec::{self, Frame, Packet, frame};

/// What follows the first byte, as a stream of packets in the version that it chooses.
pub fn decode(data: &[u8]) {
    let mut script = Script::new(data);
    let version = script.choose(&VERSIONS);
    let limit = if script.flag() { 1 << 20 } else { 64 };
    let mut rest = script.take(usize::MAX);
    loop {
        check_prefixes(rest, limit);
        let Ok(Some((frame, length))) = frame::split(rest, limit) else {
            return;
        };
        assert!(length <= rest.len() && length <= limit as usize);
        assert!(frame.body.len() < length);
        let _ = black_box(codec::connect_version(frame));
        if let Ok(packet) = codec::decode(version, frame) {
            read_all(&packet);
        }
        rest = &rest[length..];
    }
}

/// A packet is announced neither before it is whole nor later, and an error that a beginning shows
/// stays.
fn check_prefixes(bytes: &[u8], limit: u32) {
    let whole = frame::split(bytes, limit);
    for end in 0..bytes.len().min(8) {
        let part = frame::split(&bytes[..end], limit);
        match (&part, &whole) {
            (Ok(None), _) => {}
            (Ok(Some((_, length))), Ok(Some((_, expected)))) => assert_eq!(length, expected),
            (Err(error), Err(expected)) => assert_eq!(error, expected),
            _ => panic!("{part:?} becomes {whole:?}"),
        }
        if let Ok(Some((_, length))) = whole
            && let Some(needed) = frame::needed(&bytes[..end])
        {
            assert_eq!(needed, length);
        }
    }
}

/// Reads everything that is decoded only when it is asked for.
fn read_all(packet: &Packet<'_>) {
    let properties = match packet {
        Packet::Connect(connect) => {
            if let Some(will) = connect.will {
                black_box(will.properties.iter().count());
            }
            connect.properties
        }
        Packet::ConnAck(connack) => connack.properties,
        Packet::Publish(publish) => publish.properties,
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            ack.properties
        }
        Packet::Subscribe(subscribe) => {
            assert_eq!(subscribe.filters.iter().count(), subscribe.filters.len());
            subscribe.properties
        }
        Packet::SubAck(suback) | Packet::UnsubAck(suback) => suback.properties,
        Packet::Unsubscribe(unsubscribe) => {
            assert_eq!(
                unsubscribe.filters.iter().count(),
                unsubscribe.filters.len()
            );
            unsubscribe.properties
        }
        Packet::Disconnect(disconnect) => disconnect.properties,
        Packet::Auth(auth) => auth.properties,
        Packet::PingReq | Packet::PingResp => return,
    };
    let users = properties.user_properties().count();
    assert_eq!(users, properties.user_property_count());
    assert!(properties.iter().count() >= users);
    black_box(properties.subscription_identifiers().count());
    let mut forwarded = Vec::new();
    properties.forwardable(&mut forwarded);
    assert!(forwarded.len() <= properties.as_bytes().len());
}

/// A body behind a first byte: what decodes also encodes, and that decodes to the same.
pub fn roundtrip(data: &[u8]) {
    let mut script = Script::new(data);
    let version = script.choose(&VERSIONS);
    let first_byte = script.u8();
    let body = script.take(usize::MAX);
    let Ok(packet) = codec::decode(version, Frame { first_byte, body }) else {
        return;
    };
    // A CONNECT brings its own version.
    let version = if let Packet::Connect(connect) = packet {
        connect.version
    } else {
        version
    };
    let bytes = encode(&packet, version);
    let (frame, length) = frame::split(&bytes, u32::MAX)
        .expect("what is encoded is well-formed")
        .expect("what is encoded is whole");
    assert_eq!(length, bytes.len(), "one packet, and nothing behind it");
    let again = codec::decode(version, frame).expect("what is encoded decodes");
    assert_eq!(again, packet);
    assert_eq!(
        encode(&again, version),
        bytes,
        "encoding is always the same"
    );
}

fn encode(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(packet, version, &mut bytes).expect("what was decoded can be said again");
    bytes
}
