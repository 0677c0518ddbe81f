//! MQTT 5.0 §4.1, §3.1.2.4, §3.1.2.11.2: sessions, how they are resumed, and when they end.

use whimbrel_core::action::Event;
use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{Connect, Disconnect, QoS, Version};
use whimbrel_core::codec::property::Property;
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::config::{Config, SessionConfig};
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, connect, lasting, properties};

const HOUR_MS: u64 = 3_600_000;

/// [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.2.2-3] [MQTT-3.1.2-23] [MQTT311-3.1.2-4]
#[test]
fn a_session_is_created_once_and_resumed_after() {
    for version in VERSIONS {
        let mut world = World::default();
        let (client, present) = world.enter(&lasting(version, "client"));
        assert!(!present);
        world.subscribe(client, "t", QoS::AtLeastOnce);
        world.cut(client);
        let (client, present) = world.enter(&lasting(version, "client"));
        // 3.1 has no such flag; its session is resumed all the same.
        assert_eq!(present, version != Version::V3);
        world.publish(client, "t", b"still subscribed", QoS::AtMostOnce);
        assert_eq!(world.payloads(client), ["still subscribed"]);
    }
}

/// [MQTT311-3.1.2-5]
#[test]
fn a_session_without_its_client_collects_messages() {
    for version in VERSIONS {
        let mut world = World::default();
        let subscriber = world.resume(version, "subscriber");
        let publisher = world.connect(version, "publisher");
        world.subscribe(subscriber, "t", QoS::ExactlyOnce);
        world.cut(subscriber);
        world.publish(publisher, "t", b"0", QoS::AtMostOnce);
        world.publish(publisher, "t", b"1", QoS::AtLeastOnce);
        world.drain(publisher);
        world.publish_exactly_once(publisher, "t", b"2");
        let subscriber = world.resume(version, "subscriber");
        assert_eq!(world.take_all(subscriber), ["1", "2"], "QoS 0 is not kept");
    }
}

#[test]
fn qos_0_is_kept_as_well_if_so_configured() {
    let mut world = World::new(Config {
        session: SessionConfig {
            queue_qos0: true,
            ..SessionConfig::default()
        },
        ..Config::default()
    });
    let subscriber = world.resume(Version::V5, "subscriber");
    world.subscribe(subscriber, "t", QoS::ExactlyOnce);
    world.cut(subscriber);
    let publisher = world.connect(Version::V5, "publisher");
    world.publish(publisher, "t", b"0", QoS::AtMostOnce);
    let subscriber = world.resume(Version::V5, "subscriber");
    assert_eq!(world.take_all(subscriber), ["0"]);
}

/// [MQTT-3.1.2-4] [MQTT-3.2.2-2] [MQTT311-3.1.2-6]
#[test]
fn a_clean_start_knows_nothing_of_before() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.resume(version, "client");
        world.subscribe(client, "t", QoS::AtLeastOnce);
        world.cut(client);
        let publisher = world.connect(version, "publisher");
        world.publish(publisher, "t", b"waiting", QoS::AtLeastOnce);
        let (client, present) = world.enter(&connect(version, "client"));
        assert!(!present);
        world.publish(publisher, "t", b"later", QoS::AtLeastOnce);
        world.hears_nothing(client);
        // The new session ends with its connection.
        world.cut(client);
        let (_, present) = world.enter(&lasting(version, "client"));
        assert!(!present);
        assert_eq!(world.statistics().queued_messages, 0);
    }
}

/// [MQTT-4.1.0-1] [MQTT-4.1.0-2]
#[test]
fn a_session_ends_when_it_was_left_alone_for_its_expiry_interval() {
    let mut world = World::default();
    let client = world.resume(Version::V5, "client");
    for _ in 0..2 {
        world.pass_ms(HOUR_MS);
        world.publish(client, "alive", b"", QoS::AtMostOnce);
    }
    assert_eq!(world.statistics().sessions, 1, "its connection is open");
    world.cut(client);
    world.pass_ms(HOUR_MS - 1);
    assert_eq!(world.statistics().sessions, 1);
    world.pass_ms(1);
    assert_eq!(world.statistics().sessions, 0);
    assert!(matches!(
        world.events.last(),
        Some(Event::SessionEnded { .. })
    ));
    let (_, present) = world.enter(&lasting(Version::V5, "client"));
    assert!(!present);
}

#[test]
fn sessions_of_3x_clients_end_as_configured() {
    for version in [Version::V3, Version::V4] {
        let mut world = World::new(Config {
            session: SessionConfig {
                expiry_3x_s: 60,
                ..SessionConfig::default()
            },
            ..Config::default()
        });
        let client = world.resume(version, "client");
        world.cut(client);
        world.pass_ms(59_999);
        assert_eq!(world.statistics().sessions, 1);
        world.pass_ms(1);
        assert_eq!(world.statistics().sessions, 0);
    }
}

#[test]
fn a_longer_expiry_than_allowed_is_cut_and_the_client_told() {
    let mut world = World::new(Config {
        session: SessionConfig {
            expiry_maximum_s: 100,
            ..SessionConfig::default()
        },
        ..Config::default()
    });
    for (wish, told) in [
        (50, None),
        (100, None),
        (101, Some(100)),
        (u32::MAX, Some(100)),
    ] {
        let list = properties(&[Property::SessionExpiryInterval(wish)]);
        let client = world.open_with(&Connect {
            properties: list.as_properties(),
            ..connect(Version::V5, "client")
        });
        let received = world.hear(client);
        assert_eq!(
            received.conn_ack().properties.session_expiry_interval(),
            told
        );
    }
}

#[test]
fn a_session_that_never_expires_is_there_after_a_year() {
    let mut world = World::new(Config {
        session: SessionConfig {
            expiry_maximum_s: u32::MAX,
            ..SessionConfig::default()
        },
        ..Config::default()
    });
    let list = properties(&[Property::SessionExpiryInterval(u32::MAX)]);
    let wish = Connect {
        clean_start: false,
        properties: list.as_properties(),
        ..connect(Version::V5, "client")
    };
    let (client, _) = world.enter(&wish);
    world.cut(client);
    world.pass_ms(24 * 365 * HOUR_MS);
    let (_, present) = world.enter(&wish);
    assert!(present);
}

#[test]
fn disconnect_may_change_the_expiry_but_not_from_zero() {
    let mut world = World::default();
    let goodbye = |world: &mut World, client, seconds| {
        let list = properties(&[Property::SessionExpiryInterval(seconds)]);
        let disconnect = Disconnect {
            reason: ReasonCode::SUCCESS,
            properties: list.as_properties(),
        };
        world.refused(client, &Packet::Disconnect(disconnect))
    };
    let client = world.resume(Version::V5, "client");
    assert_eq!(goodbye(&mut world, client, 10), None);
    world.pass_ms(10_000);
    assert_eq!(world.statistics().sessions, 0);

    let client = world.connect(Version::V5, "client");
    assert_eq!(
        goodbye(&mut world, client, 10),
        Some(ReasonCode::PROTOCOL_ERROR)
    );
}

/// [MQTT-3.1.4-3]
#[test]
fn a_second_connection_takes_the_session_over() {
    for version in VERSIONS {
        for other in VERSIONS {
            let mut world = World::default();
            let first = world.resume(version, "client");
            world.subscribe(first, "t", QoS::AtLeastOnce);
            let (second, present) = world.enter(&lasting(other, "client"));
            assert_eq!(present, other != Version::V3);
            let told = (version == Version::V5).then_some(ReasonCode::SESSION_TAKEN_OVER);
            assert_eq!(world.farewell(first), told);
            world.publish(second, "t", b"mine now", QoS::AtMostOnce);
            assert_eq!(world.payloads(second), ["mine now"]);
        }
    }
}

#[test]
fn what_the_first_connection_left_unacknowledged_goes_to_the_second() {
    for version in VERSIONS {
        let mut world = World::default();
        let first = world.resume(version, "client");
        let publisher = world.connect(version, "publisher");
        world.subscribe(first, "t", QoS::AtLeastOnce);
        world.publish(publisher, "t", b"x", QoS::AtLeastOnce);
        let id = world.hear(first).publish().packet_id;
        let second = world.resume(version, "client");
        let received = world.hear(second);
        assert!(received.publish().dup);
        assert_eq!(received.publish().packet_id, id);
    }
}
