//! From client to server.

use crate::connection::lasting;
use crate::talk::{ALL, Talk, connack_present};
use whimbrel_core::client::{Config, Misuse, PublishRequest, SubscribeRequest, UnsubscribeRequest};
use whimbrel_core::codec::packet::{QoS, SubscribeOptions, Version};
use whimbrel_core::id::PacketId;

fn publish(version: Version, first_byte: u8, id: u8) -> Vec<u8> {
    match version {
        Version::V3 | Version::V4 => vec![first_byte, 6, 0, 1, b't', 0, id, b'x'],
        Version::V5 => vec![first_byte, 7, 0, 1, b't', 0, id, 0, b'x'],
    }
}

#[test]
fn qos_0_is_sent_and_forgotten() {
    let mut talk = Talk::connected(lasting(Version::V4));
    assert_eq!(talk.publish(QoS::AtMostOnce, "t"), None);
    assert_eq!(talk.sent(), b"\x30\x04\0\x01tx");
    assert_eq!(talk.client.unacknowledged_count(), 0);
}

#[test]
fn qos_1_ends_with_puback() {
    for version in ALL {
        let mut talk = Talk::connected(lasting(version));
        assert_eq!(talk.publish(QoS::AtLeastOnce, "t"), PacketId::new(1));
        assert_eq!(talk.sent(), publish(version, 0x32, 1));
        assert_eq!(talk.hear(b"\x40\x02\0\x01"), ["acknowledged 1 success"]);
        assert_eq!(talk.hear(b"\x40\x02\0\x01"), [""; 0]);
        assert_eq!(talk.client.unacknowledged_count(), 0);
    }
}

#[test]
fn qos_2_ends_with_pubcomp() {
    for version in ALL {
        let mut talk = Talk::connected(lasting(version));
        talk.publish(QoS::ExactlyOnce, "t");
        assert_eq!(talk.sent(), publish(version, 0x34, 1));
        assert_eq!(talk.hear(b"\x50\x02\0\x01"), [""; 0]);
        assert_eq!(talk.sent(), b"\x62\x02\0\x01");
        assert_eq!(talk.hear(b"\x70\x02\0\x01"), ["acknowledged 1 success"]);
    }
}

#[test]
fn a_refusal_ends_the_exchange() {
    let mut talk = Talk::connected(lasting(Version::V5));
    talk.publish(QoS::AtLeastOnce, "t");
    talk.publish(QoS::ExactlyOnce, "t");
    talk.sent();
    assert_eq!(
        talk.hear(b"\x40\x03\0\x01\x97"),
        ["acknowledged 1 quota exceeded"]
    );
    assert_eq!(
        talk.hear(b"\x50\x03\0\x02\x87"),
        ["acknowledged 2 not authorized"]
    );
    assert_eq!(talk.sent(), b"");
}

#[test]
fn a_pubrec_for_nothing_is_answered() {
    let mut talk = Talk::connected(lasting(Version::V5));
    talk.hear(b"\x50\x02\0\x09");
    assert_eq!(talk.sent(), b"\x62\x03\0\x09\x92");
    let mut talk = Talk::connected(lasting(Version::V4));
    talk.hear(b"\x50\x02\0\x09");
    assert_eq!(talk.sent(), b"\x62\x02\0\x09");
}

/// [MQTT-2.2.1-3] [MQTT311-2.3.1-2]
#[test]
fn packet_identifiers_are_unused_and_not_zero() {
    let mut talk = Talk::connected(lasting(Version::V4));
    assert_eq!(talk.publish(QoS::AtLeastOnce, "t"), PacketId::new(1));
    let mut id = 2_u16;
    loop {
        assert_eq!(talk.publish(QoS::AtLeastOnce, "t"), PacketId::new(id));
        let [high, low] = id.to_be_bytes();
        talk.hear(&[0x40, 2, high, low]);
        if id == 2 && talk.client.window() == 0 {
            break;
        }
        id = id.checked_add(1).unwrap_or(2);
        if id == 2 {
            break;
        }
    }
    // 1 is still open, and 0 never is.
    assert_eq!(talk.publish(QoS::AtLeastOnce, "t"), PacketId::new(2));
}

#[test]
fn the_window_is_the_servers_or_our_own() {
    let mut talk = Talk::new(lasting(Version::V5));
    talk.reconnect(b"\x20\x06\0\0\x03\x21\0\x02");
    assert_eq!(talk.client.window(), 2);
    talk.publish(QoS::AtLeastOnce, "t");
    talk.publish(QoS::ExactlyOnce, "t");
    let request = PublishRequest {
        topic: "t",
        qos: QoS::AtLeastOnce,
        ..PublishRequest::default()
    };
    assert_eq!(
        talk.client.publish(talk.now, &request),
        Err(Misuse::WindowFull)
    );
    talk.publish(QoS::AtMostOnce, "t");
    talk.hear(b"\x50\x02\0\x02");
    assert_eq!(talk.client.window(), 0, "until PUBCOMP");
    talk.hear(b"\x70\x02\0\x02");
    assert_eq!(talk.client.window(), 1);

    let talk = Talk::connected(Config {
        inflight_max: 1,
        ..lasting(Version::V4)
    });
    assert_eq!(talk.client.window(), 1);
}

/// [MQTT311-2.3.1-3]
#[test]
fn open_messages_are_resent_in_order_under_their_identifiers() {
    for version in ALL {
        let mut talk = Talk::connected(lasting(version));
        talk.publish(QoS::AtLeastOnce, "t");
        talk.publish(QoS::ExactlyOnce, "t");
        talk.publish(QoS::ExactlyOnce, "t");
        talk.publish(QoS::AtLeastOnce, "t");
        talk.hear(b"\x50\x02\0\x02");
        talk.hear(b"\x40\x02\0\x01");
        talk.lose();
        talk.reconnect(connack_present(version));
        let expected = [
            b"\x62\x02\0\x02".to_vec(),
            publish(version, 0x3C, 3),
            publish(version, 0x3A, 4),
        ];
        assert_eq!(talk.sent(), expected.concat());
        assert_eq!(talk.publish(QoS::AtLeastOnce, "t"), PacketId::new(5));
        assert_eq!(talk.hear(b"\x70\x02\0\x02"), ["acknowledged 2 success"]);
    }
}

#[test]
fn resending_keeps_to_the_window_and_is_not_overtaken() {
    let mut talk = Talk::connected(lasting(Version::V5));
    for _ in 0..3 {
        talk.publish(QoS::AtLeastOnce, "t");
    }
    talk.lose();
    talk.reconnect(b"\x20\x06\x01\0\x03\x21\0\x01");
    assert_eq!(talk.sent(), publish(Version::V5, 0x3A, 1));
    assert_eq!(talk.client.window(), 0);
    talk.hear(b"\x40\x02\0\x01");
    assert_eq!(talk.sent(), publish(Version::V5, 0x3A, 2));
    talk.hear(b"\x40\x02\0\x02");
    assert_eq!(talk.sent(), publish(Version::V5, 0x3A, 3));
    talk.hear(b"\x40\x02\0\x03");
    assert_eq!(talk.client.window(), 1);
}

#[test]
fn a_message_the_server_no_longer_takes_is_abandoned() {
    let mut talk = Talk::connected(lasting(Version::V5));
    talk.publish(QoS::ExactlyOnce, "t");
    talk.publish(QoS::AtLeastOnce, "t");
    talk.lose();
    talk.client.connected(talk.now);
    talk.sent();
    // Maximum QoS 1.
    assert_eq!(
        talk.hear(b"\x20\x05\x01\0\x02\x24\x01"),
        ["connected, session", "abandoned 1"]
    );
    assert_eq!(talk.sent(), publish(Version::V5, 0x3A, 2));
}

#[test]
fn acknowledgements_that_came_with_the_end_still_count() {
    let mut talk = Talk::connected(lasting(Version::V4));
    talk.publish(QoS::AtLeastOnce, "t");
    talk.client.receive(talk.now, b"\x40\x02\0\x01\x40");
    talk.client.transport_closed(talk.now);
    assert_eq!(talk.events(), ["acknowledged 1 success", "lost"]);
}

#[test]
fn subscribing_and_unsubscribing_are_answered() {
    let options = SubscribeOptions {
        maximum_qos: QoS::AtLeastOnce,
        ..SubscribeOptions::default()
    };
    let filters = [("a/#", options), ("b", SubscribeOptions::default())];
    let subscribe = SubscribeRequest {
        filters: &filters,
        ..SubscribeRequest::default()
    };
    let unsubscribe = UnsubscribeRequest {
        filters: &["b"],
        ..UnsubscribeRequest::default()
    };
    let mut talk = Talk::connected(lasting(Version::V4));
    talk.client.subscribe(talk.now, &subscribe).unwrap();
    assert_eq!(talk.sent(), b"\x82\x0C\0\x01\0\x03a/#\x01\0\x01b\0");
    assert_eq!(
        talk.hear(b"\x90\x04\0\x01\x01\x80"),
        ["subscribed 1 [1, 128]"]
    );
    talk.client.unsubscribe(talk.now, &unsubscribe).unwrap();
    assert_eq!(talk.sent(), b"\xA2\x05\0\x02\0\x01b");
    assert_eq!(talk.hear(b"\xB0\x02\0\x02"), ["unsubscribed 2 []"]);

    let mut talk = Talk::connected(lasting(Version::V5));
    talk.client.subscribe(talk.now, &subscribe).unwrap();
    assert_eq!(talk.sent(), b"\x82\x0D\0\x01\0\0\x03a/#\x01\0\x01b\0");
    assert_eq!(
        talk.hear(b"\x90\x05\0\x01\0\x01\x87"),
        ["subscribed 1 [1, 135]"]
    );
    talk.client.unsubscribe(talk.now, &unsubscribe).unwrap();
    assert_eq!(talk.hear(b"\xB0\x04\0\x02\0\x11"), ["unsubscribed 2 [17]"]);
}

#[test]
fn a_request_ends_with_its_connection() {
    let mut talk = Talk::connected(lasting(Version::V5));
    let filters = [("a", SubscribeOptions::default())];
    let subscribe = SubscribeRequest {
        filters: &filters,
        ..SubscribeRequest::default()
    };
    talk.client.subscribe(talk.now, &subscribe).unwrap();
    assert_eq!(talk.lose(), ["abandoned 1", "lost"]);
    talk.reconnect(connack_present(Version::V5));
    assert_eq!(talk.sent(), b"");
}
