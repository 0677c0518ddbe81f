//! Class 3: properties that repeat, stand in the wrong packet, have values they may not have, or
//! are very many.

use crate::peer::{
    Neighbours, Peer, alone, field, is_cut_off, is_refused, memory_stays_flat, packet, protocol,
};
use crate::runtime::Runtime;
use whimbrel_core::Config;
use whimbrel_core::codec::packet::Version;

/// A property list of less than 128 bytes with its length in front.
fn list(properties: &[u8]) -> Vec<u8> {
    let length = u8::try_from(properties.len()).expect("a short list");
    assert!(length < 0x80, "a short list");
    [&[length], properties].concat()
}

fn connect(properties: &[u8]) -> Vec<u8> {
    let body = [
        &*protocol(Version::V5),
        &[2, 0, 0],
        &list(properties),
        &field("properties"),
    ];
    packet(0x10, &body.concat())
}

fn publish(properties: &[u8]) -> Vec<u8> {
    packet(0x30, &[&*field("a"), &list(properties)].concat())
}

fn subscribe(properties: &[u8]) -> Vec<u8> {
    packet(
        0x82,
        &[&[0, 1], &*list(properties), &field("a"), &[0]].concat(),
    )
}

pub(crate) fn what_may_not_stand_in_connect<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    for (what, properties) in [
        ("session expiry twice", &b"\x11\0\0\0\x01\x11\0\0\0\x01"[..]),
        ("receive maximum twice", b"\x21\0\x01\x21\0\x01"),
        ("receive maximum 0", b"\x21\0\0"),
        ("maximum packet size 0", b"\x27\0\0\0\0"),
        ("request problem information 2", b"\x17\x02"),
        ("request response information 2", b"\x19\x02"),
        ("authentication data alone", b"\x16\0\x01x"),
        ("a topic alias", b"\x23\0\x01"),
        ("a subscription identifier", b"\x0b\x01"),
        ("an assigned client identifier", b"\x12\0\x01x"),
        ("a property that nobody knows", b"\x7f\0"),
        ("a property identifier of two bytes", b"\x80\x01\0"),
        ("half a property", b"\x11\0\0"),
    ] {
        is_refused(&broker, what, &connect(properties));
    }
    neighbours.notice_nothing();
    broker.stop();
}

pub(crate) fn what_may_not_stand_elsewhere<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    for (what, bytes) in [
        ("payload format 2", publish(b"\x01\x02")),
        ("payload format twice", publish(b"\x01\x01\x01\x01")),
        ("an expiry twice", publish(b"\x02\0\0\0\x01\x02\0\0\0\x01")),
        ("a response topic with a wildcard", publish(b"\x08\0\x01#")),
        (
            "a subscription identifier from a client",
            publish(b"\x0b\x01"),
        ),
        ("a session expiry in PUBLISH", publish(b"\x11\0\0\0\x01")),
        ("a reason string in PUBLISH", publish(b"\x1f\0\x01x")),
        ("subscription identifier 0", subscribe(b"\x0b\0")),
        (
            "subscription identifiers in SUBSCRIBE",
            subscribe(b"\x0b\x01\x0b\x02"),
        ),
        ("a content type in SUBSCRIBE", subscribe(b"\x03\0\x01x")),
        ("half a user property", subscribe(b"\x26\0\x01a")),
        // CONNECT had said that the session ends with the connection.
        (
            "a session expiry in DISCONNECT",
            packet(0xE0, b"\0\x05\x11\0\0\0\x01"),
        ),
        (
            "a server reference in DISCONNECT",
            packet(0xE0, b"\0\x04\x1c\0\x01x"),
        ),
        (
            "AUTH that nobody asked for",
            packet(0xF0, b"\x18\x04\x15\0\x01M"),
        ),
    ] {
        is_cut_off(&broker, Version::V5, what, &bytes);
    }
    neighbours.notice_nothing();
    broker.stop();
}

pub(crate) fn many_user_properties_cost_no_more_than_their_bytes<R: Runtime>() {
    alone(|| {
        /// An empty name and an empty value: as many as there can be.
        const SMALLEST: [u8; 5] = [0x26, 0, 0, 0, 0];
        let broker = R::start(Config::default());
        let neighbours = Neighbours::of(&broker);
        let with = |count: usize| {
            let properties = SMALLEST.repeat(count);
            let length = packet(0, &properties)[1..].to_vec();
            packet(0x30, &[field("many"), length].concat())
        };
        let mut modest = Peer::connected(&broker, Version::V5, "modest");
        modest.send(&with(64));
        modest.is_served();
        memory_stays_flat(64 << 20, || {
            for count in [65, 1_000, 65_535, 200_000] {
                is_cut_off(&broker, Version::V5, "too many", &with(count));
                neighbours.notice_nothing();
            }
        });
        modest.is_served();
        drop(modest);
        broker.stop();
    });
}
