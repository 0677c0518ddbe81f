//! MQTT 5.0 §3.14, §4.13: DISCONNECT, and connections that the broker ends.

use whimbrel_core::action::{CloseReason, Event};
use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{Connect, PacketType, QoS, Version};
use whimbrel_core::codec::property::Property;
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::config::Config;
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, connect, lasting, properties, publish, will};

/// [MQTT-4.13.1-1] [MQTT-4.13.2-1] [MQTT-3.14.4-1] [MQTT-3.14.4-2]
#[test]
fn a_protocol_error_is_told_to_v5_clients_and_closes_any() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.connect(version, "client");
        world.subscribe(client, "t", QoS::AtMostOnce);
        // A message before it and a message after it: only the first is handled.
        let mut bytes = Vec::new();
        for packet in [
            Packet::Publish(publish("t", b"before", QoS::AtMostOnce, 1)),
            Packet::PingResp,
            Packet::Publish(publish("t", b"after", QoS::AtMostOnce, 1)),
        ] {
            whimbrel_core::codec::encode(&packet, version, &mut bytes).expect("it can be said");
        }
        world.send_bytes(client, &bytes);
        assert!(world.is_closed(client));
        let came = world.drain(client);
        let kinds: Vec<PacketType> = came.iter().map(|r| r.packet().packet_type()).collect();
        match version {
            Version::V3 | Version::V4 => assert_eq!(kinds, [PacketType::Publish]),
            Version::V5 => {
                assert_eq!(kinds, [PacketType::Publish, PacketType::Disconnect]);
                let reason = came[1].packet();
                let Packet::Disconnect(disconnect) = reason else {
                    panic!("{reason:?}")
                };
                assert_eq!(disconnect.reason, ReasonCode::PROTOCOL_ERROR);
            }
        }
        let other = world.connect(version, "other");
        world.publish(other, "t", b"later", QoS::AtMostOnce);
        world.hears_nothing(client);
    }
}

/// [MQTT-3.14.0-1]
#[test]
fn disconnect_is_not_sent_before_a_connack_that_accepts() {
    let mut world = World::new(Config {
        durable: true,
        ..Config::default()
    });
    // CONNACK promises to keep the will, so it waits for the log; a protocol error comes first.
    world.persists_at_once = false;
    let client = world.open_with(&Connect {
        will: Some(will("w", b"gone")),
        ..lasting(Version::V5, "client")
    });
    world.hears_nothing(client);
    world.send(client, &Packet::PingResp);
    world.hears_nothing(client);
    world.persist();
    assert!(matches!(world.hear(client).packet(), Packet::ConnAck(_)));
    assert_eq!(world.farewell(client), Some(ReasonCode::PROTOCOL_ERROR));
    world.persists_at_once = true;
    // The same while the verdict is awaited.
    world.judge(|_| None);
    let client = world.open_with(&connect(Version::V5, "other"));
    let now = world.now;
    world.broker.shut_down(now);
    world.run();
    let received = world.next(client);
    let kind = received.map(|received| received.packet().packet_type());
    assert_eq!(kind, Some(PacketType::ConnAck));
}

/// MQTT 5.0 §3.14.2.2.3: the reason string is left out where it does not fit.
#[test]
fn a_disconnect_that_does_not_fit_goes_without_its_text() {
    for (maximum, has_text) in [(200, true), (20, false)] {
        let mut world = World::default();
        let list = properties(&[Property::MaximumPacketSize(maximum)]);
        let (client, _) = world.enter(&Connect {
            properties: list.as_properties(),
            ..connect(Version::V5, "client")
        });
        world.send(client, &Packet::PingResp);
        let received = world.hear(client);
        let Packet::Disconnect(disconnect) = received.packet() else {
            panic!("{received:?}")
        };
        assert_eq!(disconnect.properties.reason_string().is_some(), has_text);
    }
}

#[test]
fn a_client_that_leaves_is_told_nothing() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.connect(version, "client");
        world.disconnect(client, ReasonCode::SUCCESS);
        assert_eq!(world.farewell(client), None);
        let left = |event: &Event| {
            matches!(
                event,
                Event::Disconnected {
                    why: CloseReason::ClientDisconnect(ReasonCode::SUCCESS),
                    ..
                }
            )
        };
        assert!(world.events.iter().any(left));
    }
}

#[test]
fn an_operator_ends_a_connection_with_a_word() {
    let mut world = World::default();
    let client = world.connect(Version::V5, "client");
    let now = world.now;
    let why = CloseReason::Administrative;
    world.broker.disconnect(now, client, why);
    world.run();
    assert_eq!(
        world.farewell(client),
        Some(ReasonCode::ADMINISTRATIVE_ACTION)
    );
}

#[test]
fn a_broker_that_stops_says_so_and_takes_nobody_any_more() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.connect(version, "client");
        let now = world.now;
        world.broker.shut_down(now);
        world.run();
        let told = (version == Version::V5).then_some(ReasonCode::SERVER_SHUTTING_DOWN);
        assert_eq!(world.farewell(client), told);
        let late = world.open();
        assert!(world.is_closed(late));
    }
}

/// [MQTT-3.12.4-1]
#[test]
fn a_ping_is_answered() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.connect(version, "client");
        for _ in 0..3 {
            world.send(client, &Packet::PingReq);
            assert_eq!(world.hear(client).packet(), Packet::PingResp);
        }
    }
}
