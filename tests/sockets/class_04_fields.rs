//! Class 4: bits and numbers that may not be. Reserved flags, QoS 3, packet identifier 0, flags of
//! a will without a will, a password without a user name, malformed `$share`, bad aliases.

use crate::peer::{
    Neighbours, Peer, VERSIONS, field, is_cut_off, is_refused, no_properties, packet, protocol,
    publish, subscribe,
};
use crate::runtime::Runtime;
use whimbrel_core::Config;
use whimbrel_core::codec::packet::Version;

pub(crate) fn reserved_bits_are_checked<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    let fixed = [
        (0x40, 0),
        (0x50, 0),
        (0x60, 2),
        (0x70, 0),
        (0x80, 2),
        (0xA0, 2),
        (0xC0, 0),
        (0xE0, 0),
    ];
    for version in VERSIONS {
        for (kind, right) in fixed {
            // In 3.1 clients say with DUP that they send one again.
            let may_be_one_again = version == Version::V3 && right == 2;
            let is_right = |flags| flags == right || may_be_one_again && flags == 0b1010;
            for flags in (0..16).filter(|flags| !is_right(*flags)) {
                let bytes = packet(kind | flags, &[0, 1]);
                is_cut_off(&broker, version, "flags of the fixed header", &bytes);
            }
        }
    }
    for flags in 1..16 {
        is_refused(&broker, "flags of CONNECT", &packet(0x10 | flags, &[0; 12]));
    }
    // SUBSCRIBE: QoS 3 in all versions; the upper bits; in 5.0 retain handling 3.
    for version in VERSIONS {
        for options in [3, 0x40, 0x80, 0xFF] {
            let mut bytes = subscribe(version, b"a");
            *bytes.last_mut().expect("options are last") = options;
            is_cut_off(&broker, version, "options of SUBSCRIBE", &bytes);
        }
    }
    let retain_handling = [&[0, 1, 0], &*field("a"), &[0x30]].concat();
    let bytes = packet(0x82, &retain_handling);
    is_cut_off(&broker, Version::V5, "retain handling 3", &bytes);
    neighbours.notice_nothing();
    broker.stop();
}

pub(crate) fn there_is_no_qos_3<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    for version in VERSIONS {
        let body = [
            &*field("neighbours/talk"),
            &[0, 1],
            no_properties(version),
            b"x",
        ]
        .concat();
        for flags in [0x36, 0x37, 0x3E, 0x3F] {
            is_cut_off(&broker, version, "QoS 3", &packet(flags, &body));
        }
        let at_qos_0 = publish(version, b"neighbours/talk", b"x");
        let dup = packet(0x38, &at_qos_0[2..]);
        is_cut_off(&broker, version, "DUP at QoS 0", &dup);
        let refused = |flags: u8| {
            let will = [
                &*protocol(version),
                &[flags, 0, 0],
                no_properties(version),
                &field("id"),
                no_properties(version),
                &field("neighbours/will"),
                &field("x"),
            ];
            is_refused(&broker, "the will", &packet(0x10, &will.concat()));
        };
        refused(0b0001_1110); // QoS 3
        refused(0b0000_0111); // the reserved bit
        refused(0b0000_1010); // a QoS, but no will
        refused(0b0010_0010); // RETAIN, but no will
    }
    neighbours.notice_nothing();
    broker.stop();
}

pub(crate) fn packet_identifiers_are_not_zero<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    for version in VERSIONS {
        let none = no_properties(version);
        let publish = [&*field("neighbours/talk"), &[0, 0], none, b"x"].concat();
        let subscribe = [&[0, 0], none, &field("a"), &[0]].concat();
        let unsubscribe = [&[0, 0], none, &field("a")].concat();
        for (what, bytes) in [
            ("PUBLISH at QoS 1", packet(0x32, &publish)),
            ("PUBLISH at QoS 2", packet(0x34, &publish)),
            ("PUBACK", packet(0x40, &[0, 0])),
            ("PUBREC", packet(0x50, &[0, 0])),
            ("PUBREL", packet(0x62, &[0, 0])),
            ("PUBCOMP", packet(0x70, &[0, 0])),
            ("SUBSCRIBE", packet(0x82, &subscribe)),
            ("UNSUBSCRIBE", packet(0xA2, &unsubscribe)),
        ] {
            is_cut_off(&broker, version, what, &bytes);
        }
    }
    neighbours.notice_nothing();
    broker.stop();
}

pub(crate) fn a_password_needs_a_user_before_5_0<R: Runtime>() {
    let broker = R::start(Config::default());
    let connect = |version| {
        let body = [
            &*protocol(version),
            &[0b0100_0010, 0, 0],
            no_properties(version),
            &field("id"),
            &field("secret"),
        ];
        packet(0x10, &body.concat())
    };
    is_refused(&broker, "3.1", &connect(Version::V3));
    is_refused(&broker, "3.1.1", &connect(Version::V4));
    let mut peer = Peer::open(&broker);
    peer.send(&connect(Version::V5));
    assert_eq!(
        peer.next_packet().expect("CONNACK comes")[..4][3],
        0,
        "5.0 allows it"
    );
    drop(peer);
    broker.stop();
}

pub(crate) fn malformed_shares_are_refused<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    for filter in [
        "$share/ab",
        "$share/ab/",
        "$share//a",
        "$share/",
        "$share/a+/b",
        "$share/#/b",
        "$share/+/b",
        "$share/a/b#",
        "$share/a/+b",
    ] {
        let bytes = subscribe(Version::V5, filter.as_bytes());
        is_cut_off(&broker, Version::V5, filter, &bytes);
    }
    // No local on a shared subscription.
    let body = [&[0, 1, 0], &*field("$share/a/b"), &[4]].concat();
    is_cut_off(&broker, Version::V5, "no local", &packet(0x82, &body));
    neighbours.notice_nothing();
    broker.stop();
}

pub(crate) fn aliases_are_set_before_they_are_used<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    let aliased = |topic: &str, alias: u16| {
        let [high, low] = alias.to_be_bytes();
        packet(
            0x30,
            &[&*field(topic), &[3, 0x23, high, low], b"x"].concat(),
        )
    };
    for (what, bytes) in [
        ("alias 0", aliased("a", 0)),
        ("an alias over the maximum", aliased("a", 65)),
        ("the largest alias", aliased("a", u16::MAX)),
        ("an alias before it is set", aliased("", 1)),
    ] {
        is_cut_off(&broker, Version::V5, what, &bytes);
    }
    // Set and used, and gone with its connection.
    let mut peer = Peer::connected(&broker, Version::V5, "aliased");
    peer.send(&[aliased("a", 1), aliased("", 1)].concat());
    peer.is_served();
    drop(peer);
    is_cut_off(
        &broker,
        Version::V5,
        "the alias of another",
        &aliased("", 1),
    );
    neighbours.notice_nothing();
    broker.stop();
}
