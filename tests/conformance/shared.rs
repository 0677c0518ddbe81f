//! MQTT 5.0 §4.8.2: shared subscriptions.

use whimbrel_core::ConnectionId;
use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::config::{Config, Protocol, SharedStrategy};
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, connect, lasting, publish};

const GROUP: &str = "$share/group/t/#";

/// Three members of a group whose sessions last, and somebody who publishes.
fn group(version: Version, strategy: SharedStrategy) -> (World, [ConnectionId; 3], ConnectionId) {
    group_in(World::new(with(strategy)), version)
}

/// The same where all are on one shard: who is next, and how busy he is, is known there only.
fn group_on_one(
    version: Version,
    strategy: SharedStrategy,
) -> (World, [ConnectionId; 3], ConnectionId) {
    group_in(World::alone(with(strategy)), version)
}

fn with(strategy: SharedStrategy) -> Config {
    Config {
        protocol: Protocol {
            shared_strategy: strategy,
            ..Protocol::default()
        },
        ..Config::default()
    }
}

fn group_in(mut world: World, version: Version) -> (World, [ConnectionId; 3], ConnectionId) {
    let members = ["a", "b", "c"].map(|name| {
        let member = world.resume(version, name);
        world.subscribe(member, GROUP, QoS::ExactlyOnce);
        member
    });
    let publisher = world.connect(version, "publisher");
    (world, members, publisher)
}

fn publish_many(world: &mut World, publisher: ConnectionId, count: usize, qos: QoS) {
    for number in 0..count {
        let payload = number.to_string();
        world.publish(publisher, "t/x", payload.as_bytes(), qos);
        if qos == QoS::ExactlyOnce {
            world.answer(publisher, Packet::PubRel, 1, ReasonCode::SUCCESS);
        }
    }
    world.take_bytes(publisher);
}

#[test]
fn each_message_goes_to_one_member() {
    for version in VERSIONS {
        for strategy in [
            SharedStrategy::RoundRobin,
            SharedStrategy::Sticky,
            SharedStrategy::Random,
            SharedStrategy::LeastInflight,
        ] {
            let (mut world, members, publisher) = group(version, strategy);
            publish_many(&mut world, publisher, 300, QoS::AtLeastOnce);
            let counts = members.map(|member| world.payloads(member).len());
            assert_eq!(counts.iter().sum::<usize>(), 300);
            match strategy {
                SharedStrategy::RoundRobin | SharedStrategy::LeastInflight => {
                    assert_eq!(counts, [100, 100, 100], "{strategy:?}");
                }
                SharedStrategy::Sticky => assert!(counts.contains(&300), "{counts:?}"),
                SharedStrategy::Random => {
                    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
                }
            }
        }
    }
}

#[test]
fn different_groups_and_plain_subscriptions_each_get_their_own() {
    for version in VERSIONS {
        let mut world = World::default();
        let filters = ["$share/one/t/#", "$share/one/t/#", "$share/two/t/#", "t/#"];
        let names = ["a", "b", "c", "d"];
        let clients: Vec<_> = names
            .iter()
            .zip(filters)
            .map(|(name, filter)| {
                let client = world.connect(version, name);
                world.subscribe(client, filter, QoS::AtMostOnce);
                client
            })
            .collect();
        let publisher = world.connect(version, "publisher");
        publish_many(&mut world, publisher, 10, QoS::AtMostOnce);
        let counts: Vec<usize> = clients
            .iter()
            .map(|client| world.payloads(*client).len())
            .collect();
        assert_eq!(counts, [5, 5, 10, 10]);
    }
}

#[test]
fn members_that_are_connected_come_first() {
    for version in VERSIONS {
        let (mut world, [a, b, c], publisher) = group(version, SharedStrategy::RoundRobin);
        world.cut(a);
        world.cut(c);
        publish_many(&mut world, publisher, 9, QoS::AtLeastOnce);
        assert_eq!(world.take_all(b).len(), 9);
        world.cut(b);
        publish_many(&mut world, publisher, 9, QoS::AtLeastOnce);
        let mut count = 0;
        for name in ["a", "b", "c"] {
            let member = world.resume(version, name);
            count += world.take_all(member).len();
        }
        assert_eq!(count, 9, "with nobody there they wait");
    }
}

#[test]
fn a_member_whose_window_is_full_is_passed_over() {
    for version in VERSIONS {
        let (mut world, [a, b, c], publisher) =
            group_on_one(version, SharedStrategy::LeastInflight);
        // c acknowledges, a and b do not.
        publish_many(&mut world, publisher, 300, QoS::AtLeastOnce);
        world.take_all(c);
        publish_many(&mut world, publisher, 99, QoS::AtLeastOnce);
        let counts = [a, b, c].map(|member| world.payloads(member).len());
        assert_eq!(counts, [100, 100, 99]);
    }
}

/// [MQTT-4.8.2-3]
#[test]
fn each_member_gets_what_it_was_granted() {
    for version in VERSIONS {
        let mut world = World::default();
        let members: Vec<_> = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
            .into_iter()
            .map(|qos| {
                let member = world.connect(version, &format!("{qos:?}"));
                world.subscribe(member, GROUP, qos);
                (member, qos)
            })
            .collect();
        let publisher = world.connect(version, "publisher");
        publish_many(&mut world, publisher, 3, QoS::ExactlyOnce);
        for (member, qos) in members {
            assert_eq!(world.hear(member).publish().qos, qos);
        }
    }
}

/// [MQTT-4.8.2-4]
#[test]
fn qos_2_that_was_begun_is_completed_with_the_member_that_has_it() {
    for version in VERSIONS {
        let (mut world, members, publisher) = group_on_one(version, SharedStrategy::RoundRobin);
        publish_many(&mut world, publisher, 1, QoS::ExactlyOnce);
        let [a, b, c] = members;
        let received = world.hear(a);
        let id = received.publish().packet_id;
        world.cut(a);
        world.hears_nothing(b);
        world.hears_nothing(c);
        let a = world.resume(version, "a");
        let received = world.hear(a);
        assert_eq!(received.publish().packet_id, id);
        assert!(received.publish().dup);
    }
}

/// [MQTT-4.8.2-5]
#[test]
fn qos_2_that_was_begun_goes_to_nobody_else_when_its_session_ends() {
    for version in VERSIONS {
        let (mut world, [a, b, c], publisher) = group_on_one(version, SharedStrategy::RoundRobin);
        publish_many(&mut world, publisher, 1, QoS::ExactlyOnce);
        world.hear(a);
        world.enter(&connect(version, "a"));
        world.hears_nothing(b);
        world.hears_nothing(c);
    }
}

#[test]
fn what_a_member_leaves_behind_otherwise_goes_to_another() {
    for version in VERSIONS {
        let (mut world, [a, b, c], publisher) = group(version, SharedStrategy::RoundRobin);
        publish_many(&mut world, publisher, 3, QoS::AtLeastOnce);
        let mut heard = world.take_all(b);
        heard.extend(world.take_all(c));
        // QoS 1 was begun with a, more of both kinds waits for it.
        world.cut(a);
        world.cut(b);
        world.cut(c);
        publish_many(&mut world, publisher, 6, QoS::ExactlyOnce);
        world.enter(&connect(version, "a"));
        for name in ["b", "c"] {
            let (member, _) = world.enter(&lasting(version, name));
            heard.extend(world.take_all(member));
        }
        assert_eq!(heard.len(), 9, "{heard:?}");
    }
}

/// [MQTT-4.8.2-6]
#[test]
fn a_message_that_a_member_refuses_goes_to_nobody_else() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (mut world, [a, b, c], publisher) =
            group_on_one(Version::V5, SharedStrategy::RoundRobin);
        publish_many(&mut world, publisher, 1, qos);
        let received = world.hear(a);
        let id = received.publish().packet_id.expect("above QoS 0").get();
        let kind = match qos {
            QoS::ExactlyOnce => Packet::PubRec,
            QoS::AtLeastOnce | QoS::AtMostOnce => Packet::PubAck,
        };
        world.answer(a, kind, id, ReasonCode::NOT_AUTHORIZED);
        for member in [a, b, c] {
            world.hears_nothing(member);
        }
        world.enter(&connect(Version::V5, "a"));
        world.hears_nothing(b);
        world.hears_nothing(c);
    }
}

#[test]
fn retained_messages_are_not_sent_to_shared_subscriptions() {
    let mut world = World::default();
    let client = world.connect(Version::V5, "client");
    let mut message = publish("t/x", b"x", QoS::AtMostOnce, 1);
    message.retain = true;
    world.send(client, &Packet::Publish(message));
    world.subscribe(client, GROUP, QoS::AtMostOnce);
    world.hears_nothing(client);
}
