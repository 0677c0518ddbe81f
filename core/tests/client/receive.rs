//! From server to client.

use crate::connection::lasting;
use crate::talk::{ALL, Talk, connack_present};
use whimbrel_core::client::{Config, Misuse};
use whimbrel_core::codec::ReasonCode;
use whimbrel_core::codec::packet::Version;
use whimbrel_core::id::PacketId;

/// A PUBLISH to `t` with one byte of payload.
fn message(version: Version, first_byte: u8, id: u8, payload: u8) -> Vec<u8> {
    match version {
        Version::V3 | Version::V4 => vec![first_byte, 6, 0, 1, b't', 0, id, payload],
        Version::V5 => vec![first_byte, 7, 0, 1, b't', 0, id, 0, payload],
    }
}

fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

/// [MQTT-4.5.0-2]
#[test]
fn every_message_is_acknowledged_by_its_qos() {
    for version in ALL {
        let mut talk = Talk::connected(lasting(version));
        assert_eq!(talk.hear(&message(version, 0x32, 7, b'a')), ["t 1 7 a"]);
        assert_eq!(talk.sent(), b"\x40\x02\0\x07");
        assert_eq!(talk.hear(&message(version, 0x34, 8, b'b')), ["t 2 8 b"]);
        assert_eq!(talk.sent(), b"\x50\x02\0\x08");
        assert_eq!(talk.hear(b"\x62\x02\0\x08"), [""; 0]);
        assert_eq!(talk.sent(), b"\x70\x02\0\x08");
    }
}

#[test]
fn a_qos_2_message_is_handed_out_once() {
    for version in ALL {
        let mut talk = Talk::connected(lasting(version));
        talk.hear(&message(version, 0x34, 8, b'b'));
        assert_eq!(talk.hear(&message(version, 0x3C, 8, b'b')), [""; 0]);
        assert_eq!(talk.sent(), b"\x50\x02\0\x08\x50\x02\0\x08");
        talk.lose();
        talk.reconnect(connack_present(version));
        assert_eq!(talk.hear(&message(version, 0x3C, 8, b'b')), [""; 0]);
        assert_eq!(talk.sent(), b"\x50\x02\0\x08");
        talk.hear(b"\x62\x02\0\x08");
        assert_eq!(talk.hear(&message(version, 0x34, 8, b'c')), ["t 2 8 c"]);
    }
}

#[test]
fn a_pubrel_for_nothing_is_answered() {
    let mut talk = Talk::connected(lasting(Version::V5));
    talk.hear(b"\x62\x02\0\x08");
    assert_eq!(talk.sent(), b"\x70\x03\0\x08\x92");
    let mut talk = Talk::connected(lasting(Version::V3));
    talk.hear(b"\x62\x02\0\x08");
    assert_eq!(talk.sent(), b"\x70\x02\0\x08");
}

fn manual(version: Version) -> Config {
    Config {
        manual_acknowledgement: true,
        ..lasting(version)
    }
}

#[test]
fn manual_acknowledgements_leave_in_the_order_of_the_messages() {
    for version in ALL {
        let mut talk = Talk::connected(manual(version));
        talk.hear(&message(version, 0x32, 1, b'a'));
        talk.hear(&message(version, 0x34, 2, b'b'));
        talk.hear(&message(version, 0x32, 3, b'c'));
        assert_eq!(talk.sent(), b"");
        let now = talk.now;
        let mut acknowledge = |n| talk.client.acknowledge(now, id(n), ReasonCode::SUCCESS);
        acknowledge(3).unwrap();
        acknowledge(2).unwrap();
        assert_eq!(acknowledge(2), Err(Misuse::UnknownPacketId));
        assert_eq!(talk.sent(), b"");
        talk.client
            .acknowledge(now, id(1), ReasonCode::SUCCESS)
            .unwrap();
        assert_eq!(talk.sent(), b"\x40\x02\0\x01\x50\x02\0\x02\x40\x02\0\x03");
    }
}

#[test]
fn a_message_can_be_refused() {
    let mut talk = Talk::connected(manual(Version::V5));
    talk.hear(&message(Version::V5, 0x34, 2, b'b'));
    let refusal = ReasonCode::QUOTA_EXCEEDED;
    talk.client.acknowledge(talk.now, id(2), refusal).unwrap();
    assert_eq!(talk.sent(), b"\x50\x03\0\x02\x97");
    assert_eq!(talk.hear(&message(Version::V5, 0x34, 2, b'c')), ["t 2 2 c"]);
}

#[test]
fn what_was_not_acknowledged_comes_again_and_what_was_taken_does_not() {
    let mut talk = Talk::connected(manual(Version::V5));
    talk.hear(&message(Version::V5, 0x34, 1, b'a'));
    talk.hear(&message(Version::V5, 0x34, 2, b'b'));
    talk.client
        .acknowledge(talk.now, id(2), ReasonCode::SUCCESS)
        .unwrap();
    talk.lose();
    assert_eq!(
        talk.client
            .acknowledge(talk.now, id(1), ReasonCode::SUCCESS),
        Err(Misuse::UnknownPacketId)
    );
    talk.reconnect(connack_present(Version::V5));
    assert_eq!(talk.hear(&message(Version::V5, 0x3C, 1, b'a')), ["t 2 1 a"]);
    assert_eq!(talk.hear(&message(Version::V5, 0x3C, 2, b'b')), [""; 0]);
    assert_eq!(talk.sent(), b"\x50\x02\0\x02");
}

/// [MQTT-3.3.2-10]
#[test]
fn aliases_stand_for_their_topics() {
    let mut talk = Talk::connected(lasting(Version::V5));
    assert_eq!(talk.hear(b"\x30\x07\0\x01t\x03\x23\0\x10"), ["t 0 0 "]);
    assert_eq!(talk.hear(b"\x30\x07\0\0\x03\x23\0\x10x"), ["t 0 0 x"]);
    talk.hear(b"\x30\x07\0\x01u\x03\x23\0\x10");
    assert_eq!(talk.hear(b"\x30\x06\0\0\x03\x23\0\x10"), ["u 0 0 "]);
    talk.lose();
    talk.reconnect(connack_present(Version::V5));
    assert_eq!(
        talk.hear(b"\x30\x06\0\0\x03\x23\0\x10"),
        ["fault: the topic alias is not valid"]
    );
    assert_eq!(talk.sent(), b"\xE0\x01\x94");
}

#[test]
fn packets_may_come_in_any_pieces() {
    let bytes = [
        &message(Version::V5, 0x34, 2, b'b')[..],
        b"\x62\x02\0\x02",
        b"\x30\x07\0\x01t\x03\x23\0\x01\x30\x07\0\0\x03\x23\0\x01x\xD0\0",
        b"\xE0\x02\x8E\0",
    ]
    .concat();
    let mut whole = Talk::connected(lasting(Version::V5));
    let events = whole.hear(&bytes);
    assert_eq!(events.len(), 4);
    let sent = whole.sent();
    for size in 1..bytes.len() {
        let mut talk = Talk::connected(lasting(Version::V5));
        let heard: Vec<_> = bytes
            .chunks(size)
            .flat_map(|piece| talk.hear(piece))
            .collect();
        assert_eq!(heard, events);
        assert_eq!(talk.sent(), sent);
    }
}
