//! MQTT 5.0 §4.3, 3.1.1 §4.3: quality of service.

use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{Ack, QoS};
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_tests::World;
use whimbrel_tests::world::VERSIONS;

const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

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
