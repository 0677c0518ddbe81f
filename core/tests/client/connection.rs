//! From CONNECT to the end.

use crate::talk::{ALL, Talk, connack, connack_present};
use whimbrel_core::Timestamp;
use whimbrel_core::client::{
    Authentication, Client, Config, DisconnectRequest, Misuse, PublishRequest, Will,
};
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_core::codec::{Property, PropertyBuffer, ReasonCode};

fn version(version: Version) -> Config {
    Config {
        version,
        client_id: "c".into(),
        ..Config::default()
    }
}

/// A session that outlives its connection in every version.
pub(crate) fn lasting(version: Version) -> Config {
    Config {
        version,
        client_id: "c".into(),
        clean_start: false,
        session_expiry_s: 100,
        ..Config::default()
    }
}

#[test]
fn connect_names_its_version() {
    let mut talk = Talk::new(version(Version::V3));
    talk.client.connected(talk.now);
    assert_eq!(talk.sent(), b"\x10\x0F\0\x06MQIsdp\x03\x02\0\x3C\0\x01c");

    let mut talk = Talk::new(version(Version::V4));
    talk.client.connected(talk.now);
    assert_eq!(talk.sent(), b"\x10\x0D\0\x04MQTT\x04\x02\0\x3C\0\x01c");

    let mut talk = Talk::new(version(Version::V5));
    talk.client.connected(talk.now);
    // Maximum packet size 16 MiB, topic alias maximum 16.
    let properties = b"\x08\x27\x01\0\0\0\x22\0\x10";
    let expected = [
        b"\x10\x16\0\x04MQTT\x05\x02\0\x3C",
        &properties[..],
        b"\0\x01c",
    ]
    .concat();
    assert_eq!(talk.sent(), expected);
}

#[test]
fn connect_carries_will_credentials_and_all_properties() {
    let mut will_properties = PropertyBuffer::new();
    will_properties.push(Property::WillDelayInterval(5));
    let mut talk = Talk::new(Config {
        keep_alive_s: 0,
        session_expiry_s: 7,
        receive_maximum: 10,
        maximum_packet_size: u32::MAX,
        topic_alias_maximum: 0,
        request_problem_information: false,
        request_response_information: true,
        user_properties: vec![("k".into(), "v".into())],
        authentication: Some(Authentication {
            method: "M".into(),
            data: Some(b"D".to_vec()),
        }),
        username: Some("u".into()),
        password: Some(b"p".to_vec()),
        will: Some(Will {
            topic: "w".into(),
            payload: b"gone".to_vec(),
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: will_properties,
        }),
        ..version(Version::V5)
    });
    talk.client.connected(talk.now);
    let expected = [
        &b"\x10\x42\0\x04MQTT\x05\xEE\0\0"[..],
        b"\x1B\x11\0\0\0\x07\x21\0\x0A\x17\0\x19\x01",
        b"\x26\0\x01k\0\x01v\x15\0\x01M\x16\0\x01D",
        b"\0\x01c\x05\x18\0\0\0\x05\0\x01w\0\x04gone\0\x01u\0\x01p",
    ]
    .concat();
    let sent = talk.sent();
    assert_eq!(sent[2..], expected[2..]);
    assert_eq!(usize::from(sent[1]), sent.len() - 2);
}

/// [MQTT311-3.1.3-7]
#[test]
fn an_empty_client_identifier_needs_a_clean_start() {
    let refused = |version, clean_start| {
        let config = Config {
            version,
            clean_start,
            ..Config::default()
        };
        Client::new(config, Timestamp(0)).err()
    };
    assert_eq!(refused(Version::V3, true), Some(Misuse::ClientId));
    assert_eq!(refused(Version::V4, false), Some(Misuse::ClientId));
    assert_eq!(refused(Version::V4, true), None);
    assert_eq!(refused(Version::V5, false), None);
}

#[test]
fn acceptance_and_refusal_are_told() {
    for version in ALL {
        let mut talk = Talk::new(self::version(version));
        talk.client.connected(talk.now);
        assert!(!talk.client.is_connected());
        assert_eq!(talk.hear(connack(version)), ["connected"]);
        assert!(talk.client.is_connected());

        let refusal: &[u8] = match version {
            Version::V3 | Version::V4 => &[0x20, 2, 0, 5],
            Version::V5 => &[0x20, 3, 0, 0x87, 0],
        };
        let mut talk = Talk::new(self::version(version));
        talk.client.connected(talk.now);
        talk.sent();
        assert_eq!(talk.hear(refusal), ["refused not authorized"]);
        assert!(!talk.client.is_connected());
        assert_eq!(talk.sent(), b"");
        assert_eq!(talk.lose(), [""; 0]);
    }
}

#[test]
fn nothing_is_published_without_a_connection() {
    let mut talk = Talk::new(version(Version::V5));
    let request = PublishRequest {
        topic: "t",
        ..PublishRequest::default()
    };
    let now = talk.now;
    assert_eq!(
        talk.client.publish(now, &request),
        Err(Misuse::NotConnected)
    );
    talk.client.connected(now);
    assert_eq!(
        talk.client.publish(now, &request),
        Err(Misuse::NotConnected)
    );
    talk.hear(connack(Version::V5));
    assert_eq!(talk.client.publish(now, &request), Ok(None));
}

/// [MQTT-3.2.2-4]
#[test]
fn a_session_out_of_nowhere_ends_the_connection() {
    for version in [Version::V4, Version::V5] {
        let mut talk = Talk::new(self::version(version));
        talk.client.connected(talk.now);
        talk.sent();
        assert_eq!(
            talk.hear(connack_present(version)),
            ["fault: the server speaks of a session that this client does not have"]
        );
    }
}

/// [MQTT-3.2.2-5]
#[test]
fn what_a_lost_session_held_is_abandoned() {
    for version in ALL {
        let mut talk = Talk::connected(lasting(version));
        talk.publish(QoS::AtLeastOnce, "t");
        talk.publish(QoS::ExactlyOnce, "t");
        assert_eq!(talk.lose(), ["lost"]);
        talk.client.connected(talk.now);
        talk.sent();
        let events = talk.hear(connack(version));
        if version == Version::V3 {
            // 3.1 has no way to say so: everything is resent.
            assert_eq!(events, ["connected"]);
            continue;
        }
        assert_eq!(events, ["connected", "abandoned 1", "abandoned 2"]);
        assert_eq!(talk.sent(), b"");
        assert_eq!(talk.client.unacknowledged_count(), 0);
    }
}

#[test]
fn a_session_that_ends_with_its_connection_is_abandoned_there() {
    for version in ALL {
        let mut talk = Talk::connected(self::version(version));
        talk.publish(QoS::AtLeastOnce, "t");
        assert_eq!(talk.lose(), ["abandoned 1", "lost"]);
    }
}

#[test]
fn a_clean_start_is_asked_for_once() {
    let mut talk = Talk::connected(Config {
        clean_start: true,
        ..lasting(Version::V5)
    });
    talk.lose();
    talk.client.connected(talk.now);
    let connect_flags = talk.sent()[9];
    assert_eq!(connect_flags, 0);
    assert_eq!(
        talk.hear(connack_present(Version::V5)),
        ["connected, session"]
    );
}

/// [MQTT-3.1.2-20] [MQTT311-3.1.2-23]
#[test]
fn a_silent_client_pings_within_its_keep_alive() {
    for version in ALL {
        let mut talk = Talk::connected(self::version(version));
        talk.pass(59_000);
        talk.publish(QoS::AtMostOnce, "t");
        talk.sent();
        assert_eq!(talk.client.next_deadline(), Some(talk.now.after_ms(60_000)));
        talk.pass(59_999);
        assert_eq!(talk.sent(), b"");
        talk.pass(1);
        assert_eq!(talk.sent(), b"\xC0\0");
        assert_eq!(talk.hear(b"\xD0\0"), [""; 0]);
        talk.pass(60_000);
        assert_eq!(talk.sent(), b"\xC0\0");
        talk.pass(9_999);
        assert_eq!(talk.events(), [""; 0]);
        talk.pass(1);
        assert_eq!(talk.events(), ["timed out"]);
        assert_eq!(talk.client.next_deadline(), None);
    }
}

/// [MQTT-3.2.2-21]
#[test]
fn the_keep_alive_of_the_server_holds() {
    let mut talk = Talk::new(version(Version::V5));
    talk.reconnect(b"\x20\x06\0\0\x03\x13\0\x05");
    talk.pass(5_000);
    assert_eq!(talk.sent(), b"\xC0\0");

    let mut talk = Talk::new(version(Version::V5));
    talk.reconnect(b"\x20\x06\0\0\x03\x13\0\0");
    assert_eq!(talk.client.next_deadline(), None);
}

#[test]
fn a_server_that_does_not_answer_connect_is_left() {
    let mut talk = Talk::new(version(Version::V4));
    talk.client.connected(talk.now);
    talk.pass(9_999);
    assert_eq!(talk.events(), [""; 0]);
    talk.pass(1);
    assert_eq!(talk.events(), ["timed out"]);
}

/// [MQTT311-3.14.4-1] [MQTT311-3.14.4-2]
#[test]
fn disconnect_is_the_last_word() {
    for version in ALL {
        let mut talk = Talk::connected(self::version(version));
        talk.publish(QoS::AtMostOnce, "t");
        let request = DisconnectRequest::default();
        talk.client.disconnect(talk.now, &request).unwrap();
        talk.hear(b"\x36\x05\0\x01t\0\x01");
        talk.pass(100_000);
        let sent = talk.sent();
        assert_eq!(sent[sent.len() - 2..], *b"\xE0\0");
        let again = talk.client.disconnect(talk.now, &request);
        assert_eq!(again, Err(Misuse::NotConnected));
        assert_eq!(talk.sent(), b"");
        assert_eq!(talk.lose(), [""; 0]);
    }
    let mut talk = Talk::connected(version(Version::V4));
    let with_will = DisconnectRequest {
        reason: ReasonCode::DISCONNECT_WITH_WILL,
        ..DisconnectRequest::default()
    };
    assert!(talk.client.disconnect(talk.now, &with_will).is_err());
    assert!(talk.client.is_connected());
}

#[test]
fn the_server_says_why_it_goes() {
    let mut talk = Talk::connected(version(Version::V5));
    assert_eq!(
        talk.hear(b"\xE0\x02\x8E\0"),
        ["disconnected: session taken over"]
    );
    assert_eq!(talk.sent(), b"");
}

#[test]
fn authentication_goes_back_and_forth() {
    let mut talk = Talk::new(Config {
        authentication: Some(Authentication {
            method: "M".into(),
            data: None,
        }),
        ..version(Version::V5)
    });
    talk.client.connected(talk.now);
    talk.sent();
    let challenge = b"\xF0\x0A\x18\x08\x15\0\x01M\x16\0\x01?";
    assert_eq!(talk.hear(challenge), ["auth continue authentication ?"]);
    talk.client.authenticate(talk.now, b"!").unwrap();
    assert_eq!(talk.sent(), b"\xF0\x0A\x18\x08\x15\0\x01M\x16\0\x01!");
    assert_eq!(talk.hear(b"\x20\x07\0\0\x04\x15\0\x01M"), ["connected"]);

    talk.client.reauthenticate(talk.now, b"2").unwrap();
    assert_eq!(talk.sent(), b"\xF0\x0A\x19\x08\x15\0\x01M\x16\0\x012");
    assert_eq!(talk.hear(b"\xF0\x06\0\x04\x15\0\x01M"), ["auth success "]);
    assert_eq!(
        talk.hear(b"\xF0\x06\0\x04\x15\0\x01X"),
        ["fault: AUTH does not fit the authentication in progress"]
    );
    assert_eq!(talk.sent(), b"\xE0\x01\x82");
}
