//! MQTT 5.0 §3.4 to §3.7, §4.3: acknowledgements that do not fit.

use whimbrel_core::ConnectionId;
use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{Ack, PacketType, QoS, Version};
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_tests::World;
use whimbrel_tests::world::VERSIONS;

type Kind = fn(Ack<'static>) -> Packet<'static>;

/// A subscriber to which a message of this QoS is in flight, under identifier 1.
fn in_flight(version: Version, qos: QoS) -> (World, ConnectionId) {
    let mut world = World::default();
    let subscriber = world.connect(version, "subscriber");
    let publisher = world.connect(version, "publisher");
    world.subscribe(subscriber, "t", qos);
    world.publish(publisher, "t", b"x", qos);
    let id = world.hear(subscriber).publish().packet_id;
    assert_eq!(id.map(|id| id.get()), Some(1));
    (world, subscriber)
}

/// MQTT 5.0 §4.13: a packet that is out of order.
#[test]
fn an_acknowledgement_of_another_kind_ends_the_connection() {
    let wrong: [(QoS, Kind); 4] = [
        (QoS::AtLeastOnce, Packet::PubRec),
        (QoS::AtLeastOnce, Packet::PubComp),
        (QoS::ExactlyOnce, Packet::PubAck),
        (QoS::ExactlyOnce, Packet::PubComp),
    ];
    for version in VERSIONS {
        for (qos, kind) in wrong {
            let (mut world, subscriber) = in_flight(version, qos);
            world.answer(subscriber, kind, 1, ReasonCode::SUCCESS);
            let told = (version == Version::V5).then_some(ReasonCode::PROTOCOL_ERROR);
            assert_eq!(world.farewell(subscriber), told);
        }
    }
}

#[test]
fn acknowledgements_of_nothing_are_harmless() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.connect(version, "client");
        world.answer(client, Packet::PubAck, 7, ReasonCode::SUCCESS);
        world.answer(client, Packet::PubComp, 7, ReasonCode::SUCCESS);
        world.hears_nothing(client);
        let expected = match version {
            Version::V3 | Version::V4 => ReasonCode::SUCCESS,
            Version::V5 => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
        };
        world.answer(client, Packet::PubRec, 7, ReasonCode::SUCCESS);
        assert_eq!(world.hear(client).ack(), (PacketType::PubRel, 7, expected));
        world.answer(client, Packet::PubRel, 7, ReasonCode::SUCCESS);
        assert_eq!(world.hear(client).ack(), (PacketType::PubComp, 7, expected));
    }
}

#[test]
fn an_acknowledgement_that_comes_twice_counts_once() {
    for version in VERSIONS {
        let (mut world, subscriber) = in_flight(version, QoS::AtLeastOnce);
        world.answer(subscriber, Packet::PubAck, 1, ReasonCode::SUCCESS);
        world.answer(subscriber, Packet::PubAck, 1, ReasonCode::SUCCESS);
        world.hears_nothing(subscriber);
        let (mut world, subscriber) = in_flight(version, QoS::ExactlyOnce);
        for _ in 0..2 {
            world.answer(subscriber, Packet::PubRec, 1, ReasonCode::SUCCESS);
            assert_eq!(world.hear(subscriber).ack().0, PacketType::PubRel);
        }
        world.answer(subscriber, Packet::PubComp, 1, ReasonCode::SUCCESS);
        world.answer(subscriber, Packet::PubComp, 1, ReasonCode::SUCCESS);
        world.hears_nothing(subscriber);
        assert!(!world.is_closed(subscriber));
    }
}

/// MQTT 3.1 has DUP on what a client sends again, not only on PUBLISH.
#[test]
fn in_3_1_pubrel_subscribe_and_unsubscribe_may_be_repetitions() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.resume(version, "client");
        world.publish(client, "t", b"x", QoS::ExactlyOnce);
        assert_eq!(world.hear(client).ack().0, PacketType::PubRec);
        world.send_bytes(client, &[0x6A, 2, 0, 1]);
        if version != Version::V3 {
            assert!(world.is_closed(client), "{version:?}");
            continue;
        }
        assert_eq!(world.hear(client).ack().0, PacketType::PubComp);
        world.send_bytes(client, b"\x8A\x06\0\x02\0\x01t\0");
        assert!(matches!(world.hear(client).packet(), Packet::SubAck(_)));
        world.send_bytes(client, b"\xAA\x05\0\x03\0\x01t");
        assert!(matches!(world.hear(client).packet(), Packet::UnsubAck(_)));
    }
}
