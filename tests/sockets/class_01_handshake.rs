//! Class 1: anything before CONNECT; a second CONNECT; packets that only a server sends; a CONNECT
//! that is never completed.

use crate::peer::{
    Neighbours, Peer, VERSIONS, alone, connect, is_cut_off, is_refused, memory_stays_flat,
    open_files_maximum, packet, publish, subscribe,
};
use crate::runtime::Runtime;
use core::time::Duration;
use whimbrel_core::Config;
use whimbrel_core::codec::packet::Version;

pub(crate) fn nothing_comes_before_connect<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    for (what, bytes) in [
        ("packet type 0", packet(0x00, &[])),
        ("CONNACK", packet(0x20, &[0, 0])),
        (
            "PUBLISH",
            publish(Version::V4, b"neighbours/talk", b"injected"),
        ),
        ("PUBACK", packet(0x40, &[0, 1])),
        ("PUBREC", packet(0x50, &[0, 1])),
        ("PUBREL", packet(0x62, &[0, 1])),
        ("PUBCOMP", packet(0x70, &[0, 1])),
        ("SUBSCRIBE", subscribe(Version::V4, b"#")),
        ("SUBACK", packet(0x90, &[0, 1, 0])),
        ("UNSUBSCRIBE", packet(0xA2, &[0, 1, 0, 1, b'a'])),
        ("UNSUBACK", packet(0xB0, &[0, 1])),
        ("PINGREQ", packet(0xC0, &[])),
        ("PINGRESP", packet(0xD0, &[])),
        ("DISCONNECT", packet(0xE0, &[])),
        ("AUTH", packet(0xF0, &[])),
        (
            "an HTTP request",
            b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n".to_vec(),
        ),
        (
            "a TLS handshake",
            vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3],
        ),
        (
            "a PROXY header",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
        ),
    ] {
        is_refused(&broker, what, &bytes);
        // What follows in the same breath is not looked at either.
        is_refused(
            &broker,
            what,
            &[bytes, connect(Version::V4, "sneaky")].concat(),
        );
    }
    neighbours.notice_nothing();
    broker.stop();
}

pub(crate) fn a_second_connect_is_the_last<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    for version in VERSIONS {
        is_cut_off(
            &broker,
            version,
            "the same again",
            &connect(version, "hostile"),
        );
        let other = connect(version, "good reader");
        is_cut_off(&broker, version, "in the name of another", &other);
    }
    neighbours.notice_nothing();
    broker.stop();
}

pub(crate) fn only_a_server_sends_these<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    for version in VERSIONS {
        for (what, bytes) in [
            ("CONNACK", packet(0x20, &[0, 0])),
            ("CONNACK of 5.0", packet(0x20, &[0, 0, 0])),
            ("SUBACK", packet(0x90, &[0, 1, 0])),
            ("SUBACK of 5.0", packet(0x90, &[0, 1, 0, 0])),
            ("UNSUBACK", packet(0xB0, &[0, 1])),
            ("UNSUBACK of 5.0", packet(0xB0, &[0, 1, 0, 0])),
            ("PINGRESP", packet(0xD0, &[])),
        ] {
            is_cut_off(&broker, version, what, &bytes);
        }
    }
    neighbours.notice_nothing();
    broker.stop();
}

pub(crate) fn connect_may_come_byte_by_byte<R: Runtime>() {
    let broker = R::start(Config::default());
    for version in VERSIONS {
        let mut peer = Peer::open(&broker);
        for byte in connect(version, "patient") {
            assert!(peer.send(&[byte]));
        }
        let answer = peer.next_packet().expect("CONNACK comes");
        assert_eq!((answer[0], answer[3]), (0x20, 0));
        // The rest of its life may come so, too.
        for byte in subscribe(version, b"a") {
            assert!(peer.send(&[byte]));
        }
        assert_eq!(peer.next_packet().expect("SUBACK comes")[0], 0x90);
        peer.is_served();
    }
    broker.stop();
}

pub(crate) fn connect_must_come_in_time<R: Runtime>() {
    const TIMEOUT_MS: u32 = 300;
    let mut config = Config::default();
    config.limits.connect_timeout_ms = TIMEOUT_MS;
    let broker = R::start(config);
    let neighbours = Neighbours::of(&broker);
    let mut silent = Peer::open(&broker);
    let mut dripping = Peer::open(&broker);
    let connect = connect(Version::V5, &"slow".repeat(60));
    let pause = Duration::from_millis(u64::from(TIMEOUT_MS) / 10);
    // Slow enough to be far from done when the time is over. The pause is part of the attack.
    let sent = connect
        .iter()
        .position(|byte| !dripping.send(&[*byte]) || dripping.is_closed_within(pause));
    let sent = sent.expect("a CONNECT that is too slow is cut off");
    assert!(sent < connect.len() - 1, "it was cut off, not refused");
    assert!(silent.last_words().is_empty());
    broker.until("both are gone", |s| {
        s.connections_open == Neighbours::CLIENTS
    });
    neighbours.notice_nothing();
    broker.stop();
}

pub(crate) fn a_thousand_silent_connections_cost_little<R: Runtime>() {
    alone(|| {
        let broker = R::start(Config::default());
        let neighbours = Neighbours::of(&broker);
        // Both ends are in this process.
        let count = 1_000.min(open_files_maximum().saturating_sub(400) / 2);
        memory_stays_flat(96 << 20, || {
            let mut silent: Vec<Peer> = (0..count).map(|_| Peer::open(&broker)).collect();
            let open = count as u64 + Neighbours::CLIENTS;
            broker.until("all are there", |s| s.connections_open == open);
            neighbours.notice_nothing();
            // A part of a CONNECT each does not make it worse.
            for peer in &mut silent {
                assert!(peer.send(&[0x10, 0x80, 0x80, 0x01, 0, 4, b'M']));
            }
            neighbours.notice_nothing();
        });
        broker.until("they are gone", |s| {
            s.connections_open == Neighbours::CLIENTS
        });
        neighbours.notice_nothing();
        broker.stop();
    });
}
