//! Acknowledged means kept: which answer waits for the log, and what a broker made from the log
//! knows.
//!
//! The log here is the list of batches that were reported durable; files and disks are tested
//! elsewhere.

mod gates;
mod golden;
mod repair;

use whimbrel_core::codec::packet::{
    Ack, Connect, Publish, QoS, Subscribe, SubscribeOptions, Version, Will,
};
use whimbrel_core::codec::{
    self, Packet, Properties, Property, PropertyBuffer, ReasonCode, SubscribeBuffer,
};
use whimbrel_core::config::SessionConfig;
use whimbrel_core::log::{BatchRef, Op};
use whimbrel_core::{Action, Config, ConnectionId};
use whimbrel_tests::world::{VERSIONS, connect, publish};
use whimbrel_tests::{Received, World};

fn durable() -> World {
    World::new(Config {
        durable: true,
        ..Config::default()
    })
}

/// Connects with a session that outlives its connection.
fn persistent(world: &mut World, version: Version, client_id: &str) -> (ConnectionId, bool) {
    let mut properties = PropertyBuffer::new();
    if version == Version::V5 {
        properties.push(Property::SessionExpiryInterval(3_600));
    }
    let packet = Connect {
        clean_start: false,
        properties: properties.as_properties(),
        ..connect(version, client_id)
    };
    let connection = world.open_with(&packet);
    let answer = world.next(connection).expect("CONNACK comes");
    let Packet::ConnAck(answer) = answer.packet() else {
        panic!("{answer:?}")
    };
    assert_eq!(answer.reason, ReasonCode::SUCCESS);
    (connection, answer.session_present)
}

fn id_of(received: &Received) -> whimbrel_core::id::PacketId {
    match received.packet() {
        Packet::Publish(publish) => publish.packet_id.expect("QoS above 0"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_publisher_is_acknowledged_when_the_log_has_its_message() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = durable();
        let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
        let publisher = world.connect(Version::V5, "publisher");
        world.subscribe(subscriber, "t", QoS::ExactlyOnce);
        world.persists_at_once = false;
        world.publish(publisher, "t", b"x", qos);
        assert_eq!(world.next(publisher), None, "not before it is durable");
        world.persist();
        assert!(world.next(publisher).is_some());
    }
}

#[test]
fn the_disk_begins_before_anything_is_written_to_a_connection() {
    let mut world = durable();
    let (subscriber, _) = persistent(&mut world, Version::V4, "subscriber");
    let publisher = world.connect(Version::V4, "publisher");
    world.subscribe(subscriber, "t", QoS::AtLeastOnce);
    let mut bytes = Vec::new();
    let packet = Packet::Publish(publish("t", b"x", QoS::AtLeastOnce, 1));
    codec::encode(&packet, Version::V4, &mut bytes).unwrap();
    world.broker.receive(world.now, publisher, &bytes);
    let first = world.broker.poll_action();
    assert!(matches!(first, Some(Action::Persist(_))), "{first:?}");
    let second = world.broker.poll_action();
    assert_eq!(second, Some(Action::Send(subscriber)));
}

#[test]
fn qos_0_and_sessions_that_end_never_touch_the_log() {
    let mut world = durable();
    let subscriber = world.connect(Version::V5, "subscriber");
    let publisher = world.connect(Version::V5, "publisher");
    world.subscribe(subscriber, "t", QoS::ExactlyOnce);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        world.publish(publisher, "t", b"x", qos);
    }
    assert!(world.log.is_empty());
    assert_eq!(world.drain(subscriber).len(), 3);
}

#[test]
fn answers_keep_their_order_behind_one_that_waits() {
    let mut world = durable();
    let (subscriber, _) = persistent(&mut world, Version::V4, "subscriber");
    let publisher = world.connect(Version::V4, "publisher");
    world.subscribe(subscriber, "kept", QoS::AtLeastOnce);
    world.persists_at_once = false;
    for (packet_id, topic) in [(1, "kept"), (2, "nobody"), (3, "kept")] {
        let packet = publish(topic, b"", QoS::AtLeastOnce, packet_id);
        world.send(publisher, &Packet::Publish(packet));
    }
    assert_eq!(world.next(publisher), None);
    world.persist();
    let ids: Vec<u16> = world
        .drain(publisher)
        .iter()
        .map(|received| match received.packet() {
            Packet::PubAck(ack) => ack.packet_id.get(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn a_subscription_that_was_acknowledged_survives() {
    for version in VERSIONS {
        let mut world = durable();
        let (subscriber, _) = persistent(&mut world, version, "subscriber");
        world.subscribe(subscriber, "a/+", QoS::AtLeastOnce);
        world.crash();
        let publisher = world.connect(Version::V4, "publisher");
        world.publish(publisher, "a/b", b"after", QoS::AtLeastOnce);
        let (subscriber, present) = persistent(&mut world, version, "subscriber");
        assert_eq!(present, version != Version::V3);
        assert_eq!(world.next_publish(subscriber).1, b"after");
    }
}

#[test]
fn what_was_queued_survives_in_order_and_is_stored_once() {
    let mut world = durable();
    for client_id in ["one", "two"] {
        let (subscriber, _) = persistent(&mut world, Version::V5, client_id);
        world.subscribe(subscriber, "t", QoS::AtLeastOnce);
        world.cut(subscriber);
    }
    let publisher = world.connect(Version::V5, "publisher");
    for payload in [b"1", b"2", b"3"] {
        world.publish(publisher, "t", payload, QoS::AtLeastOnce);
    }
    let operations = world.log.iter().flat_map(|batch| BatchRef::new(batch));
    let stored = operations.filter(|operation| match operation {
        Ok(Op::Put { key, .. }) => key.first() == Some(&b'M'),
        other => other.is_err(),
    });
    assert_eq!(stored.count(), 3, "each message once, whoever waits for it");
    world.crash();
    for client_id in ["one", "two"] {
        let (subscriber, _) = persistent(&mut world, Version::V5, client_id);
        for payload in [b"1", b"2", b"3"] {
            assert_eq!(world.next_publish(subscriber).1, payload);
        }
        assert_eq!(world.next(subscriber), None);
    }
}

#[test]
fn a_qos_2_message_goes_out_when_its_identifier_is_durable_and_keeps_it() {
    let mut world = durable();
    let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
    let publisher = world.connect(Version::V5, "publisher");
    world.subscribe(subscriber, "t", QoS::ExactlyOnce);
    world.persists_at_once = false;
    world.publish(publisher, "t", b"x", QoS::ExactlyOnce);
    assert_eq!(world.next(subscriber), None);
    world.persist();
    let first = world.next(subscriber).expect("PUBLISH");
    let id = id_of(&first);
    world.crash();
    world.persists_at_once = true;
    let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
    let again = world.next(subscriber).expect("PUBLISH again");
    assert_eq!(id_of(&again), id, "under the same identifier");
    let Packet::Publish(packet) = again.packet() else {
        unreachable!()
    };
    assert!(packet.dup);

    world.persists_at_once = false;
    world.send(
        subscriber,
        &Packet::PubRec(Ack::new(id, ReasonCode::SUCCESS)),
    );
    assert_eq!(
        world.next(subscriber),
        None,
        "PUBREL waits for the record of PUBREC"
    );
    world.persist();
    assert!(matches!(
        world.next(subscriber).as_ref().map(Received::packet),
        Some(Packet::PubRel(_))
    ));
    world.crash();
    world.persists_at_once = true;
    let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
    let received = world.next(subscriber).expect("PUBREL again");
    assert_eq!(
        received.packet(),
        Packet::PubRel(Ack::new(id, ReasonCode::SUCCESS))
    );
    world.send(
        subscriber,
        &Packet::PubComp(Ack::new(id, ReasonCode::SUCCESS)),
    );
    world.crash();
    let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
    assert_eq!(world.next(subscriber), None, "nothing is left of it");
}

#[test]
fn an_incoming_qos_2_message_is_taken_in_once_across_a_crash() {
    let mut world = durable();
    let (subscriber, _) = persistent(&mut world, Version::V4, "subscriber");
    world.subscribe(subscriber, "t", QoS::AtLeastOnce);
    world.cut(subscriber);
    let (publisher, _) = persistent(&mut world, Version::V4, "publisher");
    let packet = publish("t", b"once", QoS::ExactlyOnce, 9);
    world.send(publisher, &Packet::Publish(packet));
    assert!(world.next(publisher).is_some(), "PUBREC");
    world.crash();
    let (publisher, _) = persistent(&mut world, Version::V4, "publisher");
    world.send(
        publisher,
        &Packet::Publish(Publish {
            dup: true,
            ..packet
        }),
    );
    assert!(world.next(publisher).is_some(), "PUBREC again");
    let id = packet.packet_id.expect("QoS 2");
    world.persists_at_once = false;
    world.send(
        publisher,
        &Packet::PubRel(Ack::new(id, ReasonCode::SUCCESS)),
    );
    assert_eq!(
        world.next(publisher),
        None,
        "PUBCOMP waits until the identifier is free for good"
    );
    world.persist();
    world.persists_at_once = true;
    assert!(world.next(publisher).is_some(), "PUBCOMP");
    world.crash();
    let (publisher, _) = persistent(&mut world, Version::V4, "publisher");
    world.send(
        publisher,
        &Packet::Publish(publish("t", b"another", QoS::ExactlyOnce, 9)),
    );
    let (subscriber, _) = persistent(&mut world, Version::V4, "subscriber");
    assert_eq!(world.next_publish(subscriber).1, b"once");
    assert_eq!(world.next_publish(subscriber).1, b"another");
    assert_eq!(world.next(subscriber), None);
}

/// Subscribes, and reads the SUBACK that comes before the retained messages here.
fn subscribe_first(world: &mut World, subscriber: ConnectionId, filter: &str, qos: QoS) {
    let mut filters = SubscribeBuffer::new();
    let options = SubscribeOptions {
        maximum_qos: qos,
        ..SubscribeOptions::default()
    };
    filters.push(filter, options);
    world.block(subscriber, true);
    let packet = Subscribe {
        packet_id: whimbrel_core::id::PacketId::FIRST,
        properties: Properties::EMPTY,
        filters: filters.as_filters(Version::V5),
    };
    world.send(subscriber, &Packet::Subscribe(packet));
    world.block(subscriber, false);
    let answer = world.hear(subscriber);
    assert!(matches!(answer.packet(), Packet::SubAck(_)), "{answer:?}");
}

/// Twenty retained messages go out four at a time; the broker is killed after each batch once.
#[test]
fn what_is_left_of_a_fan_out_of_retained_messages_survives() {
    let topics: Vec<String> = (0..20).map(|number| format!("r/{number:02}")).collect();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for kills_after in 0..20 {
            let mut world = World::new(Config {
                durable: true,
                session: SessionConfig {
                    inflight_maximum: 4,
                    ..Default::default()
                },
                ..Config::default()
            });
            let publisher = world.connect(Version::V5, "publisher");
            for topic in &topics {
                let packet = Publish {
                    retain: true,
                    ..publish(topic, topic.as_bytes(), qos, 1)
                };
                world.send(publisher, &Packet::Publish(packet));
                world.answer(publisher, Packet::PubRel, 1, ReasonCode::SUCCESS);
            }
            let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
            subscribe_first(&mut world, subscriber, "r/+", qos);
            let mut payloads = Vec::new();
            for _ in 0..kills_after {
                // One at a time: what was sent and not acknowledged comes again.
                let Some(received) = world.next(subscriber) else {
                    break;
                };
                if let Packet::PubRel(ack) = received.packet() {
                    world.send(subscriber, &Packet::PubComp(ack));
                    continue;
                }
                payloads.push(String::from_utf8_lossy(received.publish().payload).into_owned());
                let ack = Ack::new(id_of(&received), ReasonCode::SUCCESS);
                world.send(
                    subscriber,
                    &match qos {
                        QoS::ExactlyOnce => Packet::PubRec(ack),
                        _ => Packet::PubAck(ack),
                    },
                );
            }
            world.crash();
            let (subscriber, present) = persistent(&mut world, Version::V5, "subscriber");
            assert!(present);
            payloads.extend(world.take_all(subscriber));
            assert_eq!(payloads, topics, "{qos:?}, killed after {kills_after}");
        }
    }
}

#[test]
fn a_fan_out_of_retained_messages_leaves_nothing_in_the_log() {
    let mut world = durable();
    let publisher = world.connect(Version::V5, "publisher");
    for topic in ["r/1", "r/2"] {
        let packet = Publish {
            retain: true,
            ..publish(topic, b"x", QoS::AtLeastOnce, 1)
        };
        world.send(publisher, &Packet::Publish(packet));
    }
    let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
    subscribe_first(&mut world, subscriber, "r/+", QoS::AtLeastOnce);
    assert_eq!(world.take_all(subscriber).len(), 2);
    world.crash();
    let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
    world.hears_nothing(subscriber);
}

/// What is published to a topic that the fan-out has not reached comes as it is published, once.
#[test]
fn what_is_retained_after_a_crash_comes_once() {
    let mut world = World::new(Config {
        durable: true,
        session: SessionConfig {
            inflight_maximum: 1,
            ..Default::default()
        },
        ..Config::default()
    });
    let publisher = world.connect(Version::V5, "publisher");
    let retain = |world: &mut World, publisher, topic: &str, payload: &[u8]| {
        let packet = Publish {
            retain: true,
            ..publish(topic, payload, QoS::AtLeastOnce, 1)
        };
        world.send(publisher, &Packet::Publish(packet));
    };
    for topic in ["r/1", "r/2", "r/3"] {
        retain(&mut world, publisher, topic, b"old");
    }
    let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
    subscribe_first(&mut world, subscriber, "r/+", QoS::AtLeastOnce);
    world.crash();
    let publisher = world.connect(Version::V5, "publisher");
    retain(&mut world, publisher, "r/3", b"new");
    let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
    let mut payloads = world.take_all(subscriber);
    payloads.sort();
    assert_eq!(payloads, ["new", "old", "old"]);
}

#[test]
fn retained_messages_survive_and_so_does_clearing_them() {
    let mut world = durable();
    let publisher = world.connect(Version::V5, "publisher");
    for (topic, payload) in [("a", "1"), ("b", "1"), ("a", "2"), ("b", "")] {
        let packet = publish(topic, payload.as_bytes(), QoS::AtLeastOnce, 1);
        world.send(
            publisher,
            &Packet::Publish(Publish {
                retain: true,
                ..packet
            }),
        );
    }
    world.crash();
    let subscriber = world.connect(Version::V5, "subscriber");
    world.subscribe(subscriber, "#", QoS::AtMostOnce);
    assert_eq!(world.next_publish(subscriber).1, b"2");
    assert_eq!(world.next(subscriber), None);
}

#[test]
fn a_will_survives_the_broker_and_is_published_once() {
    let mut world = durable();
    let (listener, _) = persistent(&mut world, Version::V5, "listener");
    world.subscribe(listener, "will", QoS::AtLeastOnce);
    let mut properties = PropertyBuffer::new();
    properties.push(Property::SessionExpiryInterval(3_600));
    let mut delay = PropertyBuffer::new();
    delay.push(Property::WillDelayInterval(60));
    let will = Will {
        topic: "will",
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: delay.as_properties(),
    };
    let packet = Connect {
        will: Some(will),
        properties: properties.as_properties(),
        ..connect(Version::V5, "mortal")
    };
    world.persists_at_once = false;
    let mortal = world.open_with(&packet);
    assert_eq!(
        world.next(mortal),
        None,
        "CONNACK waits for the record of the will"
    );
    world.persist();
    world.persists_at_once = true;
    assert!(world.next(mortal).is_some());
    world.crash();
    let (listener, _) = persistent(&mut world, Version::V5, "listener");
    assert_eq!(world.next(listener), None, "it is delayed");
    world.pass_ms(30_000);
    world.crash();
    let (listener, _) = persistent(&mut world, Version::V5, "listener");
    world.pass_ms(31_000);
    assert_eq!(world.next_publish(listener).1, b"gone");
    world.crash();
    world.pass_ms(120_000);
    let (listener, _) = persistent(&mut world, Version::V5, "listener");
    let again: Vec<_> = world.drain(listener);
    assert!(
        again.len() <= 1,
        "only the unacknowledged delivery may come again: {again:?}"
    );
}

#[test]
fn a_clean_start_discards_the_session_for_good() {
    let mut world = durable();
    let (subscriber, _) = persistent(&mut world, Version::V4, "subscriber");
    world.subscribe(subscriber, "t", QoS::AtLeastOnce);
    world.cut(subscriber);
    world.persists_at_once = false;
    let subscriber = world.open_with(&connect(Version::V4, "subscriber"));
    assert_eq!(
        world.next(subscriber),
        None,
        "CONNACK waits for the record of the end"
    );
    world.persist();
    world.persists_at_once = true;
    assert!(world.next(subscriber).is_some());
    world.crash();
    let (_, present) = persistent(&mut world, Version::V4, "subscriber");
    assert!(!present);
}

#[test]
fn a_session_that_expired_while_the_broker_was_down_is_gone() {
    let mut world = durable();
    let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
    world.cut(subscriber);
    world.now.wall.0 += 3_601_000;
    world.crash();
    let (_, present) = persistent(&mut world, Version::V5, "subscriber");
    assert!(!present);
}

#[test]
fn a_machine_without_a_clock_ends_nothing_early() {
    let mut world = durable();
    let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
    world.cut(subscriber);
    let real = world.now.wall;
    world.now.wall.0 = 0;
    world.crash();
    world.pass_ms(120_000);
    // The time server answers; then the broker restarts once more.
    world.now.wall.0 = real.0 + 86_400_000;
    let publisher = world.connect(Version::V4, "publisher");
    let packet = publish("r", b"x", QoS::AtLeastOnce, 1);
    world.send(
        publisher,
        &Packet::Publish(Publish {
            retain: true,
            ..packet
        }),
    );
    world.crash();
    let (_, present) = persistent(&mut world, Version::V5, "subscriber");
    assert!(
        present,
        "it has been away for two minutes of the broker's time"
    );
}

#[test]
fn a_checkpoint_alone_says_all_that_the_log_before_it_said() {
    let mut world = durable();
    let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
    world.subscribe(subscriber, "t/#", QoS::ExactlyOnce);
    world.subscribe(subscriber, "$share/g/s", QoS::AtLeastOnce);
    let (publisher, _) = persistent(&mut world, Version::V5, "publisher");
    for number in 0..2_000_u32 {
        let topic = format!("t/{number}");
        let packet = publish(
            &topic,
            &[7; 100],
            QoS::ExactlyOnce,
            1 + (number % 1_000) as u16,
        );
        let packet = Publish {
            retain: number % 2 == 0,
            ..packet
        };
        world.send(publisher, &Packet::Publish(packet));
        world.send(
            publisher,
            &Packet::PubRel(Ack::new(packet.packet_id.expect("2"), ReasonCode::SUCCESS)),
        );
    }
    world.drain(publisher);
    let sent = world.drain(subscriber);
    for received in &sent[..10] {
        world.send(
            subscriber,
            &Packet::PubRec(Ack::new(id_of(received), ReasonCode::SUCCESS)),
        );
    }
    world.cut(subscriber);
    let before = world.log.len();
    world.broker.checkpoint(world.now);
    world.run();
    let rest = world.log.split_off(before);
    assert!(rest.len() > 3, "it is written in steps: {}", rest.len());

    let mut whole = durable();
    whole.now = world.now;
    whole.log.clone_from(&world.log);
    world.log = rest;
    whole.crash();
    world.crash();
    let stories: Vec<_> = [&mut whole, &mut world]
        .map(|world| {
            let (subscriber, present) = persistent(world, Version::V5, "subscriber");
            let watcher = world.connect(Version::V4, "watcher");
            world.subscribe(watcher, "#", QoS::AtMostOnce);
            (present, world.drain(subscriber), world.drain(watcher))
        })
        .into();
    assert_eq!(stories[0].1.len(), stories[1].1.len());
    assert!(
        stories[0] == stories[1],
        "the same packets come out of both"
    );
    assert_eq!(stories[0].2.len(), 1_000);
}

#[test]
fn an_answer_that_repeats_an_earlier_one_waits_for_the_same_record() {
    let mut world = durable();
    let (subscriber, _) = persistent(&mut world, Version::V4, "subscriber");
    world.subscribe(subscriber, "t", QoS::AtLeastOnce);
    world.cut(subscriber);
    let (publisher, _) = persistent(&mut world, Version::V4, "publisher");
    world.persists_at_once = false;
    let packet = publish("t", b"once", QoS::ExactlyOnce, 9);
    world.send(publisher, &Packet::Publish(packet));
    world.cut(publisher);
    // The connection broke before PUBREC; the disk is still busy when the client comes back.
    let connect = Connect {
        clean_start: false,
        ..connect(Version::V4, "publisher")
    };
    let publisher = world.open_with(&connect);
    assert!(matches!(
        world.next(publisher).as_ref().map(Received::packet),
        Some(Packet::ConnAck(_))
    ));
    world.send(
        publisher,
        &Packet::Publish(Publish {
            dup: true,
            ..packet
        }),
    );
    assert_eq!(
        world.next(publisher),
        None,
        "the identifier is not durable yet"
    );
    world.persist();
    assert!(matches!(
        world.next(publisher).as_ref().map(Received::packet),
        Some(Packet::PubRec(_))
    ));
}

#[test]
fn a_large_fan_out_to_sessions_that_end_needs_no_log() {
    let mut config = Config {
        durable: true,
        ..Config::default()
    };
    config.limits.fanout_step = 2;
    let mut world = World::new(config);
    let subscribers: Vec<_> = (0..5)
        .map(|number| {
            let subscriber = world.connect(Version::V4, &format!("subscriber {number}"));
            world.subscribe(subscriber, "t", QoS::AtLeastOnce);
            subscriber
        })
        .collect();
    let publisher = world.connect(Version::V4, "publisher");
    world.publish(publisher, "t", b"x", QoS::AtLeastOnce);
    assert!(matches!(
        world.next(publisher).as_ref().map(Received::packet),
        Some(Packet::PubAck(_))
    ));
    for subscriber in subscribers {
        assert_eq!(world.next_publish(subscriber).1, b"x");
    }
    assert!(world.log.is_empty());
}

#[test]
fn the_will_of_a_session_that_ends_survives_the_broker_and_reaches_everybody() {
    let mut world = durable();
    let will = Will {
        topic: "will",
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: Properties::EMPTY,
    };
    let mortal = world.open_with(&Connect {
        will: Some(will),
        ..connect(Version::V4, "a mortal")
    });
    assert!(world.next(mortal).is_some());
    // This session has a higher number than the mortal's.
    let (listener, _) = persistent(&mut world, Version::V4, "listener");
    world.subscribe(listener, "will", QoS::AtLeastOnce);
    world.crash();
    let (listener, _) = persistent(&mut world, Version::V4, "listener");
    assert_eq!(world.next_publish(listener).1, b"gone");
    let mortal = world.open_with(&connect(Version::V4, "a mortal"));
    assert!(world.next(mortal).is_some());
}

/// Connects with a will to topic "will".
fn with_will(world: &mut World, client_id: &str, persistent: bool) {
    let mut properties = PropertyBuffer::new();
    if persistent {
        properties.push(Property::SessionExpiryInterval(3_600));
    }
    let packet = Connect {
        clean_start: !persistent,
        properties: properties.as_properties(),
        will: Some(Will {
            topic: "will",
            payload: client_id.as_bytes(),
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: Properties::EMPTY,
        }),
        ..connect(Version::V5, client_id)
    };
    let connection = world.open_with(&packet);
    world.next(connection).expect("CONNACK comes");
}

#[test]
fn a_will_reaches_everybody_after_a_crash_whoever_came_first() {
    for will_persists in [true, false] {
        let mut world = durable();
        with_will(&mut world, "mourned", will_persists);
        // Its session is the younger one.
        let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
        world.subscribe(subscriber, "will", QoS::AtLeastOnce);
        world.crash();
        world.run();
        let (subscriber, present) = persistent(&mut world, Version::V5, "subscriber");
        assert!(present);
        assert_eq!(world.next_publish(subscriber).1, b"mourned");
        assert_eq!(world.next(subscriber), None, "once");
    }
}

#[test]
fn a_message_shared_with_a_session_that_ended_meanwhile_survives_the_next_crash() {
    let mut world = durable();
    let mut properties = PropertyBuffer::new();
    properties.push(Property::SessionExpiryInterval(1));
    let short = world.open_with(&Connect {
        clean_start: false,
        properties: properties.as_properties(),
        ..connect(Version::V5, "short")
    });
    world.next(short).expect("CONNACK comes");
    world.subscribe(short, "t", QoS::AtLeastOnce);
    let (long, _) = persistent(&mut world, Version::V5, "long");
    world.subscribe(long, "t", QoS::AtLeastOnce);
    world.cut(short);
    world.cut(long);
    let publisher = world.connect(Version::V5, "publisher");
    world.publish(publisher, "t", b"shared", QoS::AtLeastOnce);
    // It ends while the broker is away.
    world.now.wall = world.now.wall.after_s(5);
    world.crash();
    world.crash();
    let (long, _) = persistent(&mut world, Version::V5, "long");
    assert_eq!(world.next_publish(long).1, b"shared");
}

#[test]
fn no_batch_grows_with_the_number_of_clients() {
    let mut world = World::new(Config {
        durable: true,
        ..Config::default()
    });
    let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
    world.subscribe(subscriber, "t", QoS::AtLeastOnce);
    world.cut(subscriber);
    let publisher = world.connect(Version::V5, "publisher");
    let payload = vec![0; 300_000];
    let mut bytes = Vec::new();
    for packet_id in 1..=20 {
        let packet = Packet::Publish(publish("t", &payload, QoS::AtLeastOnce, packet_id));
        codec::encode(&packet, Version::V5, &mut bytes).expect("it can be sent");
    }
    world.send_bytes(publisher, &bytes);
    let longest = world.log.iter().map(Vec::len).max().expect("batches");
    assert!(longest < 2 << 20, "{longest}");
    assert_eq!(world.drain(publisher).len(), 20);
}

/// A log of small segments: a batch is to fit in a quarter of one.
fn in_small_segments() -> Config {
    let mut config = Config {
        durable: true,
        ..Config::default()
    };
    config.limits.unpersisted_bytes_maximum = 32 << 10;
    config
}

#[test]
fn no_batch_grows_with_what_a_client_comes_back_to() {
    let mut world = World::new(in_small_segments());
    let publisher = world.connect(Version::V5, "publisher");
    let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
    world.subscribe(subscriber, "queued", QoS::AtLeastOnce);
    world.cut(subscriber);
    for number in 0..3_000_u16 {
        let payload = number.to_be_bytes();
        world.publish(publisher, "queued", &payload, QoS::AtLeastOnce);
        let topic = format!("r/{number}");
        let packet = Packet::Publish(Publish {
            retain: true,
            ..publish(&topic, &payload, QoS::AtLeastOnce, 1)
        });
        world.send(publisher, &packet);
    }
    world.drain(publisher);
    world.log.clear();
    let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
    assert_eq!(world.drain(subscriber).len(), 3_000);
    assert!(world.log.len() > 5, "{} batches", world.log.len());
    let longest = world.log.iter().map(Vec::len).max().expect("batches");
    assert!(longest < 17_000, "{longest} for what was queued");

    world.log.clear();
    let (subscriber, _) = persistent(&mut world, Version::V5, "other");
    world.subscribe(subscriber, "r/#", QoS::AtLeastOnce);
    assert_eq!(world.drain(subscriber).len(), 3_000);
    let longest = world.log.iter().map(Vec::len).max().expect("batches");
    assert!(longest < 17_000, "{longest} for what was retained");
}

#[test]
fn fan_outs_of_many_publishers_do_not_share_a_batch() {
    const PUBLISHERS: usize = 20;
    const SUBSCRIBERS: usize = 40;
    let mut config = in_small_segments();
    config.limits.fanout_step = 8;
    let mut world = World::alone(config);
    for number in 0..SUBSCRIBERS {
        let (subscriber, _) = persistent(&mut world, Version::V5, &format!("s{number}"));
        world.subscribe(subscriber, "t", QoS::AtLeastOnce);
        world.cut(subscriber);
    }
    let names = (0..PUBLISHERS).map(|number| format!("p{number}"));
    let publishers: Vec<_> = names
        .map(|name| world.connect(Version::V5, &name))
        .collect();
    world.log.clear();
    for publisher in &publishers {
        let mut bytes = Vec::new();
        for packet_id in 1..=3 {
            let packet = Packet::Publish(publish("t", b"x", QoS::AtLeastOnce, packet_id));
            codec::encode(&packet, Version::V5, &mut bytes).expect("it can be sent");
        }
        world.broker.receive(world.now, *publisher, &bytes);
    }
    world.run();
    let mut answers: Vec<usize> = Vec::new();
    for _ in 0..10_000 {
        answers = publishers
            .iter()
            .map(|publisher| world.drain(*publisher).len())
            .zip(answers.into_iter().chain(std::iter::repeat(0)))
            .map(|(new, before)| new + before)
            .collect();
        // Nobody is served twice before everybody is once.
        let (least, most) = (answers.iter().min(), answers.iter().max());
        assert!(most <= least.map(|least| least + 1).as_ref(), "{answers:?}");
        if answers.iter().all(|answered| *answered == 3) {
            break;
        }
        world.broker.advance(world.now);
        world.run();
    }
    assert_eq!(answers, [3; PUBLISHERS]);
    let longest = world.log.iter().map(Vec::len).max().expect("batches");
    assert!(longest < SUBSCRIBERS * 60, "{longest}");
}

#[test]
fn nobody_is_missed_who_was_not_read_while_the_log_was_behind() {
    let mut config = Config {
        durable: true,
        ..Config::default()
    };
    config.limits.unpersisted_bytes_maximum = 1_000;
    let mut world = World::new(config);
    let (subscriber, _) = persistent(&mut world, Version::V4, "subscriber");
    world.subscribe(subscriber, "t", QoS::AtLeastOnce);
    let (publisher, _) = world.enter(&Connect {
        keep_alive_s: 10,
        ..connect(Version::V4, "publisher")
    });
    world.persists_at_once = false;
    assert!(!world.broker.log_is_behind());
    world.publish(publisher, "t", &[b'x'; 1_000], QoS::AtLeastOnce);
    assert!(world.broker.log_is_behind(), "the runtime reads nobody");
    let newcomer = world.open();
    world.pass_ms(100_000);
    assert!(!world.is_closed(publisher) && !world.is_closed(newcomer));

    world.persist();
    assert!(!world.broker.log_is_behind());
    // From now on they can be heard.
    world.pass_ms(9_999);
    assert!(!world.is_closed(newcomer));
    world.pass_ms(5_000);
    assert!(!world.is_closed(publisher) && world.is_closed(newcomer));
    world.pass_ms(1);
    assert!(world.is_closed(publisher));
}
