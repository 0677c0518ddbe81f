//! MQTT 5.0 §4.6: message ordering.

use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{PacketType, QoS};
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::config::{Config, Limits};
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, lasting, publish};

/// [MQTT-4.6.0-1]
#[test]
fn what_is_resent_comes_in_the_order_in_which_it_was_sent() {
    for version in VERSIONS {
        let mut world = World::default();
        let subscriber = world.resume(version, "subscriber");
        let publisher = world.connect(version, "publisher");
        world.subscribe(subscriber, "t/#", QoS::ExactlyOnce);
        for (number, qos) in [1, 2, 1, 2, 1].into_iter().enumerate() {
            let payload = number.to_string();
            let qos = QoS::from_bits(qos).expect("1 or 2");
            let id = u16::try_from(number + 1).expect("small");
            let message = publish("t/x", payload.as_bytes(), qos, id);
            world.send(publisher, &Packet::Publish(message));
        }
        let ids: Vec<u16> = world
            .drain(subscriber)
            .iter()
            .filter_map(|received| received.publish().packet_id)
            .map(|id| id.get())
            .collect();
        // The third is acknowledged, the fourth has come as far as PUBREL.
        world.answer(subscriber, Packet::PubAck, ids[2], ReasonCode::SUCCESS);
        world.answer(subscriber, Packet::PubRec, ids[3], ReasonCode::SUCCESS);
        world.cut(subscriber);
        world.publish(publisher, "t/x", b"new", QoS::AtLeastOnce);
        let subscriber = world.resume(version, "subscriber");
        let came: Vec<String> = world
            .drain(subscriber)
            .iter()
            .map(|received| match received.packet() {
                Packet::Publish(publish) => String::from_utf8_lossy(publish.payload).into_owned(),
                other => format!("{:?}", other.packet_type()),
            })
            .collect();
        assert_eq!(came, ["0", "1", "PubRel", "4", "new"]);
    }
}

/// [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-4]
#[test]
fn acknowledgements_come_in_the_order_of_what_they_acknowledge() {
    for version in VERSIONS {
        for durable in [false, true] {
            let mut world = World::new(Config {
                durable,
                ..Config::default()
            });
            world.persists_at_once = false;
            let subscriber = world.open_with(&lasting(version, "away"));
            world.persist();
            world.drain(subscriber);
            let client = world.connect(version, "client");
            let ids = [5, 3, 9, 1, 7];
            for (kind, qos) in [
                (PacketType::PubAck, QoS::AtLeastOnce),
                (PacketType::PubRec, QoS::ExactlyOnce),
            ] {
                for id in ids {
                    // Some are to be kept and wait for the log, some for nothing.
                    let topic = if id % 4 == 1 { "kept" } else { "t" };
                    let mut message = publish(topic, b"x", qos, id);
                    message.retain = topic == "kept";
                    world.send(client, &Packet::Publish(message));
                }
                world.persist();
                let expected = ids.map(|id| (kind, id));
                let came: Vec<_> = world
                    .drain(client)
                    .iter()
                    .map(|received| (received.ack().0, received.ack().1))
                    .collect();
                assert_eq!(came, expected);
            }
        }
        let mut world = World::default();
        let subscriber = world.connect(version, "subscriber");
        let publisher = world.connect(version, "publisher");
        world.subscribe(subscriber, "t", QoS::ExactlyOnce);
        for id in 1..=5 {
            let message = publish("t", b"x", QoS::ExactlyOnce, id);
            world.send(publisher, &Packet::Publish(message));
        }
        world.drain(subscriber);
        for id in [4, 2, 5, 1, 3] {
            world.answer(subscriber, Packet::PubRec, id, ReasonCode::SUCCESS);
        }
        let came: Vec<_> = world.drain(subscriber).iter().map(|r| r.ack().1).collect();
        assert_eq!(came, [4, 2, 5, 1, 3]);
    }
}

/// [MQTT-4.6.0-5]
#[test]
fn messages_of_one_publisher_arrive_in_order() {
    for version in VERSIONS {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut world = World::default();
            let subscriber = world.resume(version, "subscriber");
            let publisher = world.connect(version, "publisher");
            world.subscribe(subscriber, "t/+", qos);
            let numbers: Vec<String> = (0..500).map(|number| number.to_string()).collect();
            let mut heard = Vec::new();
            let mut subscriber = subscriber;
            for (place, number) in numbers.iter().enumerate() {
                let id = u16::try_from(place % 500 + 1).expect("small");
                let message = publish("t/x", number.as_bytes(), qos, id);
                world.send(publisher, &Packet::Publish(message));
                // It reads now and then; above QoS 0 it is away in between.
                if place % 50 == 49 {
                    heard.extend(world.take_all(subscriber));
                }
                if place % 100 == 75 && qos > QoS::AtMostOnce {
                    heard.extend(world.take_all(subscriber));
                    world.cut(subscriber);
                }
                if place % 100 == 90 && qos > QoS::AtMostOnce {
                    subscriber = world.resume(version, "subscriber");
                }
            }
            heard.extend(world.take_all(subscriber));
            assert_eq!(heard, numbers);
        }
    }
}

/// A fan-out that takes several steps is in the same order for everybody.
#[test]
fn a_large_fan_out_keeps_the_order() {
    for version in VERSIONS {
        let mut world = World::new(Config {
            limits: Limits {
                fanout_step: 7,
                ..Limits::default()
            },
            ..Config::default()
        });
        let names: Vec<String> = (0..50).map(|number| format!("client-{number}")).collect();
        let subscribers: Vec<_> = names
            .iter()
            .map(|name| {
                let client = world.connect(version, name);
                world.subscribe(client, "t", QoS::AtLeastOnce);
                client
            })
            .collect();
        let publisher = world.connect(version, "publisher");
        let mut bytes = Vec::new();
        let numbers: Vec<String> = (1..=9).map(|number| number.to_string()).collect();
        for (place, number) in numbers.iter().enumerate() {
            let id = u16::try_from(place + 1).expect("small");
            let message = publish("t", number.as_bytes(), QoS::AtLeastOnce, id);
            let packet = Packet::Publish(message);
            whimbrel_core::codec::encode(&packet, version, &mut bytes).expect("it can be said");
        }
        // All in one read.
        world.send_bytes(publisher, &bytes);
        for subscriber in subscribers {
            assert_eq!(world.take_all(subscriber), numbers);
        }
        let ids: Vec<u16> = world.drain(publisher).iter().map(|r| r.ack().1).collect();
        assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert!(!world.is_paused(publisher));
    }
}
