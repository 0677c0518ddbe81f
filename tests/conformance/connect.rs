//! MQTT 5.0 §3.1, §3.2, 3.1.1 §3.1, §3.2: CONNECT and CONNACK.

use whimbrel_core::Verdict;
use whimbrel_core::action::Event;
use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{Connect, QoS, Version};
use whimbrel_core::codec::property::Property;
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::config::{Config, Limits, Protocol};
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, connect, lasting, properties, publish, will};

/// [MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.2.0-2] [MQTT-3.2.2-2]
#[test]
fn an_accepted_connect_is_answered_with_one_connack_before_anything_else() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.open_with(&connect(version, "client"));
        // All that follows in the same breath is answered after it.
        world.send(client, &Packet::PingReq);
        let received = world.hear(client);
        assert_eq!(received.conn_ack().reason, ReasonCode::SUCCESS);
        assert!(!received.conn_ack().session_present);
        assert_eq!(world.hear(client).packet(), Packet::PingResp);
        world.hears_nothing(client);
    }
}

/// [MQTT-3.1.0-1]
#[test]
fn nothing_but_connect_may_come_first() {
    for version in VERSIONS {
        for packet in [
            Packet::PingReq,
            Packet::Publish(publish("t", b"x", QoS::AtMostOnce, 1)),
        ] {
            let mut world = World::default();
            let client = world.open();
            world.set_version(client, version);
            assert_eq!(world.refused(client, &packet), None, "nothing is said");
        }
    }
}

/// [MQTT-3.1.0-2]
#[test]
fn a_second_connect_ends_the_connection() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.connect(version, "client");
        let again = Packet::Connect(connect(version, "client"));
        let reason = world.refused(client, &again);
        let expected = (version == Version::V5).then_some(ReasonCode::PROTOCOL_ERROR);
        assert_eq!(reason, expected);
    }
}

/// [MQTT-3.1.2-2] [MQTT311-3.1.2-2]
#[test]
fn a_version_that_is_not_served_is_told_so() {
    let mut world = World::default();
    let client = world.open();
    let mut level_9 = vec![0x10, 0x0d, 0, 4];
    level_9.extend(b"MQTT\x09\x02\0\0\0\x01c");
    world.send_bytes(client, &level_9);
    let reason = world.farewell(client);
    assert_eq!(reason, Some(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION));

    for version in VERSIONS {
        let mut world = World::new(Config {
            protocol: Protocol {
                versions: VERSIONS.into_iter().filter(|v| *v != version).collect(),
                ..Protocol::default()
            },
            ..Config::default()
        });
        let client = world.open_with(&connect(version, "client"));
        let reason = world.farewell(client);
        assert_eq!(reason, Some(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION));
    }
}

/// [MQTT-3.1.4-1] [MQTT311-3.1.4-1] [MQTT311-3.2.2-6]
#[test]
fn a_malformed_connect_is_answered_only_where_there_are_words_for_it() {
    for (version, expected) in [
        (Version::V4, None),
        (Version::V5, Some(ReasonCode::MALFORMED_PACKET)),
    ] {
        let mut world = World::default();
        let client = world.open();
        world.set_version(client, version);
        let level = if version == Version::V5 { 5 } else { 4 };
        // The reserved connect flag is set.
        let mut bytes = vec![0x10, 0x0e, 0, 4];
        bytes.extend(b"MQTT");
        bytes.extend([level, 0x03, 0, 0, 0, 0, 0, 1]);
        bytes.truncate(16);
        world.send_bytes(client, &bytes);
        assert_eq!(world.farewell(client), expected, "{version:?}");
    }
}

/// [MQTT-3.1.4-2] [MQTT-3.2.2-6] [MQTT-3.2.2-7]
#[test]
fn who_is_not_let_in_is_told_why_and_closed() {
    for version in VERSIONS {
        for reason in [
            ReasonCode::BAD_USER_NAME_OR_PASSWORD,
            ReasonCode::NOT_AUTHORIZED,
            ReasonCode::SERVER_UNAVAILABLE,
        ] {
            let mut world = World::default();
            world.judge(move |_| Some(Verdict::Refuse(reason)));
            let client = world.open_with(&lasting(version, "client"));
            let received = world.hear(client);
            assert!(!received.conn_ack().session_present);
            assert_eq!(received.conn_ack().reason, reason);
            assert!(world.is_closed(client));
        }
    }
}

/// [MQTT-3.1.4-6]
#[test]
fn what_follows_a_refused_connect_is_not_looked_at() {
    for version in VERSIONS {
        let mut world = World::default();
        let subscriber = world.connect(version, "subscriber");
        world.subscribe(subscriber, "t", QoS::AtMostOnce);
        world.judge(|credentials| (credentials.client_id == "good").then_some(Verdict::accept()));
        let client = world.open_with(&connect(version, "client"));
        world.publish(client, "t", b"too early", QoS::AtMostOnce);
        world.hears_nothing(subscriber);
        let now = world.now;
        let verdict = Verdict::Refuse(ReasonCode::NOT_AUTHORIZED);
        world.broker.authenticated(now, client, verdict);
        world.run();
        assert!(world.is_closed(client));
        world.hears_nothing(subscriber);
    }
}

/// [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]
#[test]
fn an_empty_client_identifier_gets_one_of_its_own() {
    let mut world = World::default();
    let mut assigned = Vec::new();
    for _ in 0..10 {
        let client = world.open_with(&connect(Version::V5, ""));
        let received = world.hear(client);
        let id = received.conn_ack().properties.assigned_client_identifier();
        assigned.push(id.expect("it is told").to_owned());
    }
    let mut different = assigned.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), assigned.len());
    // It names a session like any other: who uses it takes that session over.
    let other = world.connect(Version::V5, &assigned[0]);
    assert!(!world.is_closed(other));
    assert_eq!(world.statistics().sessions, 10);
    // 3.1.1 has no way to tell, and works all the same.
    let client = world.connect(Version::V4, "");
    assert!(!world.is_closed(client));
}

/// [MQTT-3.1.3-8] [MQTT311-3.1.3-8] [MQTT311-3.1.3-9]
#[test]
fn a_client_identifier_that_cannot_be_accepted_is_refused() {
    let not_valid = Some(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
    let mut world = World::default();
    let client = world.open_with(&lasting(Version::V4, ""));
    assert_eq!(world.farewell(client), not_valid);
    let client = world.open_with(&connect(Version::V3, ""));
    assert_eq!(world.farewell(client), not_valid);
    for version in VERSIONS {
        let long = "x".repeat(257);
        let client = world.open_with(&connect(version, &long));
        assert_eq!(world.farewell(client), not_valid, "{version:?}");
    }
}

/// [MQTT-3.1.3-5]
#[test]
fn client_identifiers_of_23_letters_and_digits_are_always_allowed() {
    for version in VERSIONS {
        let mut world = World::new(Config {
            limits: Limits {
                client_id_bytes_maximum: 1,
                ..Limits::default()
            },
            ..Config::default()
        });
        world.connect(version, "0123456789abcdefghiJKLM");
    }
}

/// [MQTT-3.1.3-2]
#[test]
fn the_client_identifier_alone_selects_the_session() {
    let mut world = World::default();
    let mut first = lasting(Version::V5, "client");
    first.username = Some("one");
    let (client, _) = world.enter(&first);
    world.cut(client);
    let mut second = lasting(Version::V5, "client");
    second.username = Some("two");
    let (_, present) = world.enter(&second);
    assert!(present);
    let (_, present) = world.enter(&lasting(Version::V5, "Client"));
    assert!(!present);
}

/// [MQTT-3.1.2-28]
#[test]
fn response_information_is_for_who_asks() {
    let mut world = World::new(Config {
        protocol: Protocol {
            response_information: Some("responses/%c/".to_owned()),
            ..Protocol::default()
        },
        ..Config::default()
    });
    for (wish, expected) in [
        (None, None),
        (Some(false), None),
        (Some(true), Some("responses/client/")),
    ] {
        let list: Vec<Property<'_>> = wish
            .map(Property::RequestResponseInformation)
            .into_iter()
            .collect();
        let list = properties(&list);
        let client = world.open_with(&Connect {
            properties: list.as_properties(),
            ..connect(Version::V5, "client")
        });
        let received = world.hear(client);
        assert_eq!(
            received.conn_ack().properties.response_information(),
            expected
        );
    }
}

/// [MQTT-3.1.2-29]
#[test]
fn reason_strings_are_for_who_wants_them() {
    for wanted in [true, false] {
        let mut world = World::default();
        let list = properties(&[Property::RequestProblemInformation(wanted)]);
        let (client, _) = world.enter(&Connect {
            properties: list.as_properties(),
            ..connect(Version::V5, "client")
        });
        world.send(client, &Packet::PingResp);
        let received = world.hear(client);
        let Packet::Disconnect(disconnect) = received.packet() else {
            panic!("{received:?}")
        };
        assert_eq!(disconnect.reason, ReasonCode::PROTOCOL_ERROR);
        assert_eq!(disconnect.properties.reason_string().is_some(), wanted);
    }
}

/// [MQTT-3.2.2-19]
#[test]
fn a_reason_string_is_left_out_where_it_does_not_fit() {
    let mut world = World::default();
    world.judge(|_| Some(Verdict::Refuse(ReasonCode::BANNED)));
    for (maximum, has_text) in [(1_000, true), (10, false)] {
        let list = properties(&[Property::MaximumPacketSize(maximum)]);
        let client = world.open_with(&Connect {
            properties: list.as_properties(),
            ..connect(Version::V5, "client")
        });
        let received = world.hear(client);
        assert_eq!(received.conn_ack().reason, ReasonCode::BANNED);
        let text = received.conn_ack().properties.reason_string();
        assert_eq!(text.is_some(), has_text);
    }
}

/// A CONNACK that a client would not accept is not sent; it would wait for it for ever.
#[test]
fn a_client_that_accepts_no_connack_is_closed_without_a_word() {
    let mut world = World::default();
    let list = properties(&[Property::MaximumPacketSize(4)]);
    let client = world.open_with(&Connect {
        properties: list.as_properties(),
        ..connect(Version::V5, "client")
    });
    assert_eq!(world.farewell(client), None);
}

/// [MQTT-3.2.2-22]
#[test]
fn a_server_keep_alive_is_told_and_otherwise_the_clients_own_is_used() {
    for (server, expected_s) in [(None, 10), (Some(20), 20)] {
        let mut world = World::new(Config {
            protocol: Protocol {
                server_keep_alive_s: server,
                ..Protocol::default()
            },
            ..Config::default()
        });
        let client = world.open_with(&Connect {
            keep_alive_s: 10,
            ..connect(Version::V5, "client")
        });
        let received = world.hear(client);
        assert_eq!(received.conn_ack().properties.server_keep_alive(), server);
        world.pass_ms(expected_s * 1_500 - 1);
        assert!(!world.is_closed(client));
        world.pass_ms(1);
        assert_eq!(world.farewell(client), Some(ReasonCode::KEEP_ALIVE_TIMEOUT));
    }
}

#[test]
fn a_silent_connection_does_not_live_long() {
    let mut world = World::default();
    let silent = world.open();
    let dripping = world.open();
    for byte in [0x10, 0x0d, 0, 4, b'M', b'Q'] {
        world.send_bytes(dripping, &[byte]);
        world.pass_ms(1_000);
    }
    world.pass_ms(10_000);
    assert_eq!(world.farewell(silent), None);
    assert_eq!(world.farewell(dripping), None);
}

#[test]
fn a_broker_that_is_full_takes_no_more() {
    let mut world = World::alone(Config {
        limits: Limits {
            connections_maximum: 2,
            sessions_maximum: 1,
            ..Limits::default()
        },
        ..Config::default()
    });
    let first = world.connect(Version::V5, "first");
    let second = world.open_with(&connect(Version::V5, "second"));
    assert_eq!(world.farewell(second), Some(ReasonCode::QUOTA_EXCEEDED));
    let second = world.open();
    let third = world.open();
    assert!(world.is_closed(third));
    assert!(!world.is_closed(second));
    assert!(!world.is_closed(first));
}

#[test]
fn a_server_reference_goes_with_use_another_server() {
    let mut world = World::new(Config {
        protocol: Protocol {
            server_reference: Some("other:1883".to_owned()),
            ..Protocol::default()
        },
        ..Config::default()
    });
    let staying = world.connect(Version::V5, "staying");
    world.judge(|_| Some(Verdict::Refuse(ReasonCode::USE_ANOTHER_SERVER)));
    let client = world.open_with(&connect(Version::V5, "client"));
    let received = world.hear(client);
    let reference = received.conn_ack().properties.server_reference();
    assert_eq!(reference, Some("other:1883"));

    let now = world.now;
    world.broker.shut_down(now);
    world.run();
    let received = world.hear(staying);
    let Packet::Disconnect(disconnect) = received.packet() else {
        panic!("{received:?}")
    };
    assert_eq!(disconnect.reason, ReasonCode::SERVER_SHUTTING_DOWN);
    assert_eq!(disconnect.properties.server_reference(), Some("other:1883"));
}

#[test]
fn events_tell_who_came_and_who_was_refused() {
    let mut world = World::default();
    world.connect(Version::V4, "good");
    world.judge(|_| Some(Verdict::Refuse(ReasonCode::NOT_AUTHORIZED)));
    world.open_with(&connect(Version::V4, "bad"));
    let connected = |event: &&Event| matches!(event, Event::Connected { client_id, .. } if **client_id == *"good");
    let refused =
        |event: &&Event| matches!(event, Event::Refused { client_id, .. } if **client_id == *"bad");
    assert_eq!(world.events.iter().filter(connected).count(), 1);
    assert_eq!(world.events.iter().filter(refused).count(), 1);
}

#[test]
fn a_will_with_a_topic_that_has_wildcards_is_refused() {
    let mut world = World::default();
    let client = world.open_with(&Connect {
        will: Some(will("a/#", b"gone")),
        ..connect(Version::V5, "client")
    });
    assert_eq!(world.farewell(client), Some(ReasonCode::TOPIC_NAME_INVALID));
}
