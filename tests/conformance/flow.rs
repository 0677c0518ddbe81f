//! MQTT 5.0 §4.9, §3.1.2.11.3, §3.1.2.11.4: receive maximum and maximum packet size, both ways.

use whimbrel_core::ConnectionId;
use whimbrel_core::action::DropReason;
use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{Connect, PacketType, QoS, Version};
use whimbrel_core::codec::property::Property;
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::config::{Config, Protocol, SessionConfig};
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, connect, lasting, properties, publish};

fn subscriber_with(world: &mut World, list: &[Property<'_>]) -> ConnectionId {
    let list = properties(list);
    let packet = Connect {
        properties: list.as_properties(),
        ..connect(Version::V5, "subscriber")
    };
    let (client, _) = world.enter(&packet);
    world.subscribe(client, "t", QoS::ExactlyOnce);
    client
}

fn announced(protocol: Protocol) -> World {
    World::new(Config {
        protocol,
        ..Config::default()
    })
}

/// [MQTT-3.3.4-9] [MQTT-4.9.0-1] [MQTT-4.9.0-2]
#[test]
fn no_more_messages_are_in_flight_than_the_client_takes() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for maximum in [1, 3, 10] {
            let mut world = World::default();
            let client = subscriber_with(&mut world, &[Property::ReceiveMaximum(maximum)]);
            let publisher = world.connect(Version::V5, "publisher");
            for id in 1..=20 {
                let message = publish("t", b"x", qos, id);
                world.send(publisher, &Packet::Publish(message));
            }
            let mut total = 0;
            while total < 20 {
                let came = world.drain(client);
                assert!(came.len() <= usize::from(maximum));
                assert!(!came.is_empty());
                total += came.len();
                for received in came {
                    let id = received.publish().packet_id.expect("above QoS 0").get();
                    if qos == QoS::AtLeastOnce {
                        world.answer(client, Packet::PubAck, id, ReasonCode::SUCCESS);
                        continue;
                    }
                    // PUBREC alone does not make room.
                    world.answer(client, Packet::PubRec, id, ReasonCode::SUCCESS);
                }
                if qos == QoS::ExactlyOnce {
                    let releases = world.drain(client);
                    for release in releases {
                        let id = release.ack().1;
                        world.answer(client, Packet::PubComp, id, ReasonCode::SUCCESS);
                    }
                }
            }
            assert_eq!(total, 20);
        }
    }
}

#[test]
fn a_refused_message_makes_room_in_the_window() {
    let mut world = World::default();
    let client = subscriber_with(&mut world, &[Property::ReceiveMaximum(1)]);
    let publisher = world.connect(Version::V5, "publisher");
    for payload in [b"1", b"2"] {
        world.publish(publisher, "t", payload, QoS::ExactlyOnce);
        world.answer(publisher, Packet::PubRel, 1, ReasonCode::SUCCESS);
    }
    let received = world.hear(client);
    let id = received.publish().packet_id.expect("above QoS 0").get();
    world.hears_nothing(client);
    world.answer(client, Packet::PubRec, id, ReasonCode::UNSPECIFIED);
    assert_eq!(world.take_all(client), ["2"]);
}

#[test]
fn qos_0_does_not_wait_for_the_window() {
    for version in VERSIONS {
        let mut world = World::new(Config {
            session: SessionConfig {
                inflight_maximum: 1,
                ..SessionConfig::default()
            },
            ..Config::default()
        });
        let client = world.connect(version, "client");
        let publisher = world.connect(version, "publisher");
        world.subscribe(client, "t", QoS::AtLeastOnce);
        world.publish(publisher, "t", b"1", QoS::AtLeastOnce);
        world.publish(publisher, "t", b"2", QoS::AtLeastOnce);
        world.publish(publisher, "t", b"0", QoS::AtMostOnce);
        assert_eq!(world.payloads(client), ["1", "0"]);
    }
}

/// Large messages fill the window by their bytes; one is always possible.
#[test]
fn the_window_has_bytes_as_well() {
    for version in VERSIONS {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut world = World::new(Config {
                session: SessionConfig {
                    inflight_bytes_maximum: 2_000,
                    ..SessionConfig::default()
                },
                ..Config::default()
            });
            let client = world.connect(version, "client");
            let publisher = world.connect(version, "publisher");
            world.subscribe(client, "t", qos);
            for (payload, id) in [([b'a'; 1_500], 1), ([b'b'; 1_500], 2), ([b'c'; 1_500], 3)] {
                world.send(publisher, &Packet::Publish(publish("t", &payload, qos, id)));
            }
            let received = world.hear(client);
            let first = received.publish().packet_id.expect("above QoS 0").get();
            let received = world.hear(client);
            assert_eq!(
                received.publish().payload[0],
                b'b',
                "what had begun below it"
            );
            world.hears_nothing(client);
            let (answer, reason) = match qos {
                QoS::ExactlyOnce => (Packet::PubRec as fn(_) -> _, ReasonCode::SUCCESS),
                _ => (Packet::PubAck as fn(_) -> _, ReasonCode::SUCCESS),
            };
            world.answer(client, answer, first, reason);
            if qos == QoS::ExactlyOnce {
                // The message is not needed any more, though its identifier is.
                world.hear(client);
            }
            let received = world.hear(client);
            assert_eq!(received.publish().payload[0], b'c');
        }
    }
}

/// [MQTT-3.3.4-7]
#[test]
fn a_client_that_sends_more_than_the_receive_maximum_is_closed() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = World::new(Config {
            protocol: Protocol {
                receive_maximum: 3,
                ..Protocol::default()
            },
            durable: true,
            ..Config::default()
        });
        let subscriber = world.resume(Version::V5, "subscriber");
        world.subscribe(subscriber, "t", QoS::ExactlyOnce);
        let client = world.connect(Version::V5, "client");
        // Acknowledgements wait for the log.
        world.persists_at_once = false;
        for id in 1..=3 {
            world.send(client, &Packet::Publish(publish("t", b"x", qos, id)));
        }
        assert!(!world.is_closed(client));
        let fourth = Packet::Publish(publish("t", b"x", qos, 4));
        let reason = world.refused(client, &fourth);
        assert_eq!(reason, Some(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED));
    }
}

#[test]
fn exchanges_that_are_complete_make_room_again() {
    let mut world = announced(Protocol {
        receive_maximum: 2,
        ..Protocol::default()
    });
    let client = world.open_with(&connect(Version::V5, "client"));
    let received = world.hear(client);
    assert_eq!(received.conn_ack().properties.receive_maximum(), Some(2));
    for id in 1..=50 {
        world.publish(client, "t", b"x", QoS::AtLeastOnce);
        world.send(
            client,
            &Packet::Publish(publish("t", b"x", QoS::ExactlyOnce, id)),
        );
        world.answer(client, Packet::PubRel, id, ReasonCode::SUCCESS);
        assert_eq!(world.drain(client).len(), 3);
    }
}

/// The window of a client is as wide as ever on a new connection, whatever was begun on the last
/// one.
#[test]
fn exchanges_of_an_earlier_connection_do_not_count() {
    let mut world = announced(Protocol {
        receive_maximum: 2,
        ..Protocol::default()
    });
    let client = world.resume(Version::V5, "client");
    for id in [1, 2] {
        world.send(
            client,
            &Packet::Publish(publish("t", b"x", QoS::ExactlyOnce, id)),
        );
    }
    let client = world.resume(Version::V5, "client");
    for id in [3, 4] {
        world.send(
            client,
            &Packet::Publish(publish("t", b"x", QoS::ExactlyOnce, id)),
        );
    }
    for id in [1, 2, 3, 4] {
        world.answer(client, Packet::PubRel, id, ReasonCode::SUCCESS);
    }
    assert!(!world.is_closed(client));
    assert_eq!(world.drain(client).len(), 6);
}

#[test]
fn old_clients_were_not_told_and_are_not_held_to_it() {
    for version in [Version::V3, Version::V4] {
        let mut world = announced(Protocol {
            receive_maximum: 2,
            ..Protocol::default()
        });
        let client = world.connect(version, "client");
        for id in 1..=10 {
            world.send(
                client,
                &Packet::Publish(publish("t", b"x", QoS::ExactlyOnce, id)),
            );
        }
        assert_eq!(world.drain(client).len(), 10);
    }
}

/// [MQTT-3.1.2-24] [MQTT-3.1.2-25]
#[test]
fn a_message_that_is_too_large_for_a_client_is_left_out_for_it() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = World::default();
        let client = subscriber_with(&mut world, &[Property::MaximumPacketSize(40)]);
        let other = world.connect(Version::V5, "other");
        world.subscribe(other, "t", QoS::ExactlyOnce);
        let publisher = world.connect(Version::V5, "publisher");
        let payloads = ["small".to_owned(), "x".repeat(60), "small too".to_owned()];
        for payload in &payloads {
            world.publish(publisher, "t", payload.as_bytes(), qos);
            world.answer(publisher, Packet::PubRel, 1, ReasonCode::SUCCESS);
        }
        assert_eq!(world.take_all(client), ["small", "small too"]);
        assert_eq!(world.take_all(other), payloads);
        let dropped = world.statistics().dropped;
        assert_eq!(dropped[DropReason::TooLarge as usize], 1);
    }
}

/// At QoS 2 it may have arrived: the client would take the next message with its identifier for the
/// same one. [MQTT-2.2.1-4]
#[test]
fn a_message_that_is_too_large_to_be_sent_again_is_released() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = World::default();
        let away = world.resume(Version::V5, "client");
        world.subscribe(away, "t", qos);
        let publisher = world.connect(Version::V5, "publisher");
        world.publish(publisher, "t", "x".repeat(60).as_bytes(), qos);
        world.answer(publisher, Packet::PubRel, 1, ReasonCode::SUCCESS);
        let id = world.hear(away).publish().packet_id.expect("above QoS 0");
        world.cut(away);
        let list = properties(&[
            Property::SessionExpiryInterval(60),
            Property::MaximumPacketSize(40),
        ]);
        let (client, _) = world.enter(&Connect {
            properties: list.as_properties(),
            ..lasting(Version::V5, "client")
        });
        if qos == QoS::ExactlyOnce {
            let released = (PacketType::PubRel, id.get(), ReasonCode::SUCCESS);
            assert_eq!(world.hear(client).ack(), released);
            world.answer(client, Packet::PubComp, id.get(), ReasonCode::SUCCESS);
        }
        world.publish(publisher, "t", b"small", qos);
        world.answer(publisher, Packet::PubRel, 1, ReasonCode::SUCCESS);
        assert_eq!(world.take_all(client), ["small"]);
        assert_eq!(world.statistics().dropped_because(DropReason::TooLarge), 1);
        assert_eq!(world.statistics().inflight_bytes, 0);
    }
}

#[test]
fn a_message_that_is_too_large_is_left_out_of_the_queue_as_well() {
    let mut world = World::default();
    let list = [Property::MaximumPacketSize(40), Property::ReceiveMaximum(1)];
    let client = subscriber_with(&mut world, &list);
    let publisher = world.connect(Version::V4, "publisher");
    for payload in ["1", &"x".repeat(60), "2", &"y".repeat(60), "3"] {
        world.publish(publisher, "t", payload.as_bytes(), QoS::AtLeastOnce);
    }
    assert_eq!(world.take_all(client), ["1", "2", "3"]);
}

/// [MQTT-3.2.2-15]
#[test]
fn a_packet_above_the_announced_maximum_is_refused_from_its_first_bytes() {
    let mut world = announced(Protocol {
        maximum_packet_size: 200,
        ..Protocol::default()
    });
    let client = world.open_with(&connect(Version::V5, "client"));
    let received = world.hear(client);
    assert_eq!(
        received.conn_ack().properties.maximum_packet_size(),
        Some(200)
    );
    // 197 bytes follow the fixed header of 3.
    world.send_bytes(client, &[0x30, 0xc5, 0x01]);
    assert!(!world.is_closed(client));
    let client = world.connect(Version::V5, "client");
    world.send_bytes(client, &[0x30, 0xc6, 0x01]);
    assert_eq!(world.farewell(client), Some(ReasonCode::PACKET_TOO_LARGE));
}
