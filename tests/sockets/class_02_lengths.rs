//! Class 2: lengths that lie. Five bytes of them, more than there may be, more than there is, less
//! than there is, none; and packets that end at every byte.

use crate::peer::{
    Neighbours, Peer, VERSIONS, connect, field, is_cut_off, is_refused, no_properties, packet,
    protocol, publish, subscribe,
};
use crate::runtime::Runtime;
use whimbrel_core::Config;
use whimbrel_core::codec::packet::Version;

/// A CONNECT with everything: will, user name, password, and in 5.0 properties.
fn full_connect(version: Version) -> Vec<u8> {
    let (properties, will_properties): (&[u8], &[u8]) = match version {
        Version::V3 | Version::V4 => (&[], &[]),
        // Session expiry, receive maximum, a user property; will delay.
        Version::V5 => (
            b"\x0f\x11\0\0\0\x05\x21\0\x0a\x26\0\x01a\0\x01b",
            b"\x05\x18\0\0\0\x01",
        ),
    };
    let body = [
        &*protocol(version),
        &[0b1100_1110, 0, 60],
        properties,
        &field("truncated"),
        will_properties,
        &field("neighbours/will"),
        &field("injected"),
        &field("user"),
        &field("password"),
    ];
    packet(0x10, &body.concat())
}

/// A QoS 2 PUBLISH to the neighbours.
fn full_publish(version: Version) -> Vec<u8> {
    let body = [
        &*field("neighbours/talk"),
        &[0, 7],
        no_properties(version),
        b"injected",
    ];
    packet(0x34, &body.concat())
}

pub(crate) fn five_bytes_of_length_are_too_many<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    let first_bytes = [0x10, 0x30, 0x40, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xC0, 0xE0];
    for first_byte in first_bytes {
        let endless = [first_byte, 0x80, 0x80, 0x80, 0x80, 0x01];
        let huge = [first_byte, 0xFF, 0xFF, 0xFF, 0xFF];
        is_refused(&broker, "before CONNECT", &endless);
        is_refused(&broker, "before CONNECT", &huge);
        for version in VERSIONS {
            is_cut_off(&broker, version, "endless length", &endless);
            is_cut_off(&broker, version, "huge length", &huge);
        }
    }
    neighbours.notice_nothing();
    broker.stop();
}

pub(crate) fn too_large_is_seen_from_five_bytes<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    // The largest length there is, of which nothing follows; and just over what is allowed.
    is_refused(
        &broker,
        "a CONNECT of 256 MiB",
        &[0x10, 0xFF, 0xFF, 0xFF, 0x7F],
    );
    is_refused(&broker, "a CONNECT of 64 KiB", &[0x10, 0x81, 0x80, 0x04]);
    for version in VERSIONS {
        for first_byte in [0x30, 0x3D, 0x82, 0xA2, 0x62] {
            let huge = [first_byte, 0xFF, 0xFF, 0xFF, 0x7F];
            is_cut_off(&broker, version, "a packet of 256 MiB", &huge);
        }
    }
    neighbours.notice_nothing();
    broker.stop();
}

pub(crate) fn packets_may_end_at_every_byte<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    for version in VERSIONS {
        let whole = full_connect(version);
        for end in 0..whole.len() {
            let mut peer = Peer::open(&broker);
            peer.send(&whole[..end]);
            peer.finish();
            assert!(
                peer.last_words().is_empty(),
                "half a CONNECT is not answered"
            );
        }
        for whole in [subscribe(version, b"neighbours/#"), full_publish(version)] {
            for end in 0..whole.len() {
                let mut peer = Peer::connected(&broker, version, "truncated");
                peer.send(&whole[..end]);
                peer.finish();
                assert!(
                    peer.last_words().is_empty(),
                    "half a packet is not answered"
                );
            }
        }
    }
    // No will, no message and no subscription came of it.
    neighbours.notice_nothing();
    let left = broker.until("they are gone", |s| {
        s.connections_open == Neighbours::CLIENTS
    });
    assert_eq!(
        (left.sessions, left.subscriptions),
        (Neighbours::CLIENTS, 1)
    );
    broker.stop();
}

pub(crate) fn contents_end_with_their_packet<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    // The length is right, but what is in it goes on behind it.
    let cuts = |whole: Vec<u8>| (2..whole.len()).map(move |end| packet(whole[0], &whole[2..end]));
    for version in VERSIONS {
        // In 3.1 the length goes before the flags: user name and password may be missing.
        let credentials = match version {
            Version::V3 => field("user").len() + field("password").len(),
            Version::V4 | Version::V5 => 0,
        };
        let whole = full_connect(version);
        let refused = whole.len() - 2 - credentials;
        for cut in cuts(whole).take(refused) {
            is_refused(&broker, "a CONNECT cut short", &cut);
        }
        for cut in cuts(subscribe(version, b"neighbours/#")) {
            is_cut_off(&broker, version, "a SUBSCRIBE cut short", &cut);
        }
        // The payload of a PUBLISH may have any length.
        let before_payload = full_publish(version).len() - b"injected".len();
        for cut in cuts(full_publish(version)).take(before_payload - 2) {
            is_cut_off(&broker, version, "a PUBLISH cut short", &cut);
        }
        for whole in [connect(version, "long"), full_connect(version)] {
            let longer = [&whole[2..], b"x"].concat();
            is_refused(
                &broker,
                "a CONNECT with more behind it",
                &packet(0x10, &longer),
            );
        }
    }
    neighbours.notice_nothing();
    broker.stop();
}

pub(crate) fn empty_is_not_a_length_for_everything<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    for version in VERSIONS {
        let no_filter = [&[0, 1], no_properties(version)].concat();
        for (what, bytes) in [
            ("PUBLISH without a topic", publish(version, b"", b"x")),
            ("SUBSCRIBE to nothing", subscribe(version, b"")),
            ("SUBSCRIBE without a filter", packet(0x82, &no_filter)),
            ("UNSUBSCRIBE without a filter", packet(0xA2, &no_filter)),
            ("an empty PUBLISH", packet(0x30, &[])),
            ("an empty PUBACK", packet(0x40, &[])),
            ("an empty SUBSCRIBE", packet(0x82, &[])),
            ("a PINGREQ with something in it", packet(0xC0, &[0])),
        ] {
            is_cut_off(&broker, version, what, &bytes);
        }
    }
    is_refused(&broker, "an empty CONNECT", &packet(0x10, &[]));
    neighbours.notice_nothing();
    broker.stop();
}

pub(crate) fn properties_end_with_their_packet<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    for length in [
        &[1_u8][..],
        &[200, 1],
        &[0xFF, 0xFF, 0xFF, 0x7F],
        &[0x80, 0x80, 0x80, 0x80, 1],
    ] {
        let publish = [&field("a"), length].concat();
        is_cut_off(&broker, Version::V5, "PUBLISH", &packet(0x30, &publish));
        let subscribe = [&[0, 1], length].concat();
        is_cut_off(&broker, Version::V5, "SUBSCRIBE", &packet(0x82, &subscribe));
        let ack = [&[0, 1, 0], length].concat();
        is_cut_off(&broker, Version::V5, "PUBACK", &packet(0x40, &ack));
        let disconnect = [&[0], length].concat();
        is_cut_off(
            &broker,
            Version::V5,
            "DISCONNECT",
            &packet(0xE0, &disconnect),
        );
        let connect = [&*protocol(Version::V5), &[2, 0, 0], length].concat();
        is_refused(&broker, "CONNECT", &packet(0x10, &connect));
    }
    neighbours.notice_nothing();
    broker.stop();
}
