//! MQTT 5.0 §4.3, 3.1.1 §4.3: quality of service.

use std::collections::VecDeque;
use whimbrel_core::ConnectionId;
use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{Ack, PacketType, Publish, QoS, Version};
use whimbrel_core::codec::property::Property;
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, properties, publish};

const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// [MQTT-3.8.4-8]
///
/// A message reaches a subscriber with the lower of both QoS, whatever versions the two speak.
#[test]
fn a_message_arrives_with_the_lower_qos() {
    for version in VERSIONS {
        for subscribed in ALL {
            for published in ALL {
                let mut world = World::default();
                let subscriber = world.connect(version, "subscriber");
                let publisher = world.connect(version, "publisher");
                assert_eq!(
                    world.subscribe(subscriber, "a/+", subscribed),
                    subscribed as u8
                );
                world.publish(publisher, "a/b", b"x", published);
                let expected = ("a/b".to_owned(), b"x".to_vec(), subscribed.min(published));
                assert_eq!(world.next_publish(subscriber), expected);
                assert_eq!(world.next(subscriber), None);
                let answer = world.next(publisher);
                let answer = answer.as_ref().map(whimbrel_tests::Received::packet);
                match published {
                    QoS::AtMostOnce => assert_eq!(answer, None),
                    QoS::AtLeastOnce => assert!(matches!(answer, Some(Packet::PubAck(_)))),
                    QoS::ExactlyOnce => assert!(matches!(answer, Some(Packet::PubRec(_)))),
                }
            }
        }
    }
}

/// [MQTT-4.3.3-4] [MQTT-4.3.3-11]
///
/// A QoS 2 exchange takes four packets in each direction, and ends.
#[test]
fn qos_2_goes_through_all_four_packets() {
    for version in VERSIONS {
        let mut world = World::default();
        let subscriber = world.connect(version, "subscriber");
        let publisher = world.connect(version, "publisher");
        world.subscribe(subscriber, "t", QoS::ExactlyOnce);
        world.publish(publisher, "t", b"x", QoS::ExactlyOnce);
        let received = world.next(publisher).expect("PUBREC");
        let Packet::PubRec(ack) = received.packet() else {
            panic!("{received:?}")
        };
        let id = ack.packet_id;
        world.send(
            publisher,
            &Packet::PubRel(Ack::new(id, ReasonCode::SUCCESS)),
        );
        let received = world.next(publisher).expect("PUBCOMP");
        assert_eq!(
            received.packet(),
            Packet::PubComp(Ack::new(id, ReasonCode::SUCCESS))
        );

        let received = world.next(subscriber).expect("PUBLISH");
        let Packet::Publish(publish) = received.packet() else {
            panic!("{received:?}")
        };
        let id = publish.packet_id.expect("it has one");
        world.send(
            subscriber,
            &Packet::PubRec(Ack::new(id, ReasonCode::SUCCESS)),
        );
        let received = world.next(subscriber).expect("PUBREL");
        assert_eq!(
            received.packet(),
            Packet::PubRel(Ack::new(id, ReasonCode::SUCCESS))
        );
        world.send(
            subscriber,
            &Packet::PubComp(Ack::new(id, ReasonCode::SUCCESS)),
        );
        assert_eq!(world.next(subscriber), None);
    }
}

/// A subscriber whose session lasts, and somebody who publishes to it.
fn pair(version: Version) -> (World, ConnectionId, ConnectionId) {
    let mut world = World::default();
    let subscriber = world.resume(version, "subscriber");
    let publisher = world.connect(version, "publisher");
    world.subscribe(subscriber, "t", QoS::ExactlyOnce);
    (world, subscriber, publisher)
}

/// [MQTT-4.3.1-1]
#[test]
fn qos_0_is_sent_once() {
    for version in VERSIONS {
        let (mut world, subscriber, publisher) = pair(version);
        world.publish(publisher, "t", b"x", QoS::AtMostOnce);
        let received = world.hear(subscriber);
        let message = received.publish();
        assert_eq!((message.qos, message.dup), (QoS::AtMostOnce, false));
        world.cut(subscriber);
        let subscriber = world.resume(version, "subscriber");
        world.hears_nothing(subscriber);
    }
}

/// [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.3-1] [MQTT-4.3.3-2]
///
/// Goes round all identifiers, with some messages always under way.
#[test]
fn each_new_message_has_an_identifier_that_is_not_in_use_and_no_dup() {
    let (mut world, subscriber, publisher) = pair(Version::V4);
    let mut open = VecDeque::new();
    for round in 0..66_000 {
        let qos = match round % 1_000 {
            0 => QoS::ExactlyOnce,
            _ => QoS::AtLeastOnce,
        };
        world.send(publisher, &Packet::Publish(publish("t", b"x", qos, 1)));
        if qos == QoS::ExactlyOnce {
            world.answer(publisher, Packet::PubRel, 1, ReasonCode::SUCCESS);
        }
        world.take_bytes(publisher);
        let received = world.hear(subscriber);
        let message = received.publish();
        assert_eq!((message.qos, message.dup), (qos, false));
        let id = message.packet_id.expect("above QoS 0").get();
        assert!(open.iter().all(|(other, _)| *other != id), "{id} is in use");
        open.push_back((id, qos));
        if open.len() < 5 {
            continue;
        }
        match open.pop_front() {
            Some((id, QoS::ExactlyOnce)) => {
                world.answer(subscriber, Packet::PubRec, id, ReasonCode::SUCCESS);
                world.take_bytes(subscriber);
                world.answer(subscriber, Packet::PubComp, id, ReasonCode::SUCCESS);
            }
            Some((id, _)) => world.answer(subscriber, Packet::PubAck, id, ReasonCode::SUCCESS),
            None => {}
        }
    }
}

/// [MQTT-4.3.2-3] [MQTT-4.4.0-1] [MQTT-3.3.1-1]
#[test]
fn qos_1_is_sent_again_to_a_resumed_session_until_it_is_acknowledged() {
    for version in VERSIONS {
        let (mut world, subscriber, publisher) = pair(version);
        world.publish(publisher, "t", b"x", QoS::AtLeastOnce);
        let id = world.hear(subscriber).publish().packet_id;
        world.pass_ms(1_000_000);
        world.hears_nothing(subscriber);
        let mut subscriber = subscriber;
        for _ in 0..3 {
            world.cut(subscriber);
            subscriber = world.resume(version, "subscriber");
            let received = world.hear(subscriber);
            let message = received.publish();
            assert_eq!((message.packet_id, message.dup), (id, true));
            world.hears_nothing(subscriber);
        }
        let id = id.expect("above QoS 0").get();
        world.answer(subscriber, Packet::PubAck, id, ReasonCode::SUCCESS);
        world.cut(subscriber);
        let subscriber = world.resume(version, "subscriber");
        world.hears_nothing(subscriber);
    }
}

/// [MQTT-4.3.3-3] [MQTT-4.3.3-5] [MQTT-4.3.3-6]
#[test]
fn qos_2_is_sent_again_from_where_it_was() {
    for version in VERSIONS {
        let (mut world, subscriber, publisher) = pair(version);
        world.publish(publisher, "t", b"x", QoS::ExactlyOnce);
        let id = world.hear(subscriber).publish().packet_id;
        world.cut(subscriber);
        let subscriber = world.resume(version, "subscriber");
        let received = world.hear(subscriber);
        assert_eq!(received.publish().packet_id, id);
        assert!(received.publish().dup);
        let id = id.expect("above QoS 0").get();
        world.answer(subscriber, Packet::PubRec, id, ReasonCode::SUCCESS);
        let release = world.hear(subscriber).ack();
        assert_eq!(release, (PacketType::PubRel, id, ReasonCode::SUCCESS));

        world.cut(subscriber);
        let subscriber = world.resume(version, "subscriber");
        let release = world.hear(subscriber).ack();
        assert_eq!(release, (PacketType::PubRel, id, ReasonCode::SUCCESS));
        world.hears_nothing(subscriber);
        world.answer(subscriber, Packet::PubComp, id, ReasonCode::SUCCESS);

        world.cut(subscriber);
        let subscriber = world.resume(version, "subscriber");
        world.hears_nothing(subscriber);
    }
}

/// [MQTT-4.3.3-10] [MQTT-4.3.3-12]
#[test]
fn a_qos_2_message_that_comes_again_is_delivered_once() {
    for version in VERSIONS {
        let (mut world, subscriber, _) = pair(version);
        let mut publisher = world.resume(version, "twice");
        let again = |dup| {
            Packet::Publish(Publish {
                dup,
                ..publish("t", b"x", QoS::ExactlyOnce, 5)
            })
        };
        world.send(publisher, &again(false));
        for _ in 0..3 {
            assert_eq!(world.hear(publisher).ack().0, PacketType::PubRec);
            world.cut(publisher);
            publisher = world.resume(version, "twice");
            world.send(publisher, &again(true));
        }
        assert_eq!(world.hear(publisher).ack().0, PacketType::PubRec);
        assert_eq!(world.take_all(subscriber), ["x"]);
        world.answer(publisher, Packet::PubRel, 5, ReasonCode::SUCCESS);
        let done = world.hear(publisher).ack();
        assert_eq!(done, (PacketType::PubComp, 5, ReasonCode::SUCCESS));
        // The identifier is free: what comes now is a new message.
        world.send(publisher, &again(false));
        assert_eq!(world.take_all(subscriber), ["x"]);
    }
}

/// [MQTT-4.4.0-2]
#[test]
fn a_message_that_is_refused_is_not_sent_again() {
    let (mut world, subscriber, publisher) = pair(Version::V5);
    for (qos, answer) in [
        (
            QoS::AtLeastOnce,
            Packet::PubAck as fn(Ack<'static>) -> Packet<'static>,
        ),
        (QoS::ExactlyOnce, Packet::PubRec),
    ] {
        world.publish(publisher, "t", b"x", qos);
        world.drain(publisher);
        let received = world.hear(subscriber);
        let id = received.publish().packet_id.expect("above QoS 0").get();
        world.answer(subscriber, answer, id, ReasonCode::QUOTA_EXCEEDED);
        world.hears_nothing(subscriber);
        world.answer(publisher, Packet::PubRel, 1, ReasonCode::SUCCESS);
        world.drain(publisher);
    }
    world.cut(subscriber);
    let subscriber = world.resume(Version::V5, "subscriber");
    world.hears_nothing(subscriber);
}

/// [MQTT-4.3.3-7]
#[test]
fn a_message_in_flight_does_not_expire() {
    let (mut world, subscriber, publisher) = pair(Version::V5);
    let list = properties(&[Property::MessageExpiryInterval(1)]);
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let message = Publish {
            properties: list.as_properties(),
            ..publish("t", b"x", qos, 1)
        };
        world.send(publisher, &Packet::Publish(message));
    }
    assert_eq!(world.payloads(subscriber).len(), 2);
    world.cut(subscriber);
    world.pass_ms(60_000);
    let subscriber = world.resume(Version::V5, "subscriber");
    assert_eq!(world.payloads(subscriber).len(), 2);
}
