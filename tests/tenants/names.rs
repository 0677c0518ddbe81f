//! Topics that begin with who a client is: the required prefix, and what a device calls its own.

use crate::{by_name, retained};
use whimbrel_core::action::{Credentials, Verdict};
use whimbrel_core::codec::packet::{Connect, Publish, QoS, SubscribeOptions, Unsubscribe, Version};
use whimbrel_core::codec::property::Property;
use whimbrel_core::codec::{Packet, Properties, ReasonCode, UnsubscribeBuffer};
use whimbrel_core::config::{TenantsConfig, TopicsConfig};
use whimbrel_core::id::PacketId;
use whimbrel_core::{Config, ConnectionId, Grant};
use whimbrel_tests::world::{VERSIONS, World, connect, lasting, properties, publish, will};

fn world(topics: TopicsConfig) -> World {
    let config = Config {
        durable: true,
        topics,
        tenants: TenantsConfig::default(),
        ..Config::default()
    };
    World::new(config)
}

fn confined(prefix: &str) -> World {
    world(TopicsConfig {
        required_prefix: Some(prefix.parse().expect("levels")),
        ..TopicsConfig::default()
    })
}

/// Devices call their own topics `v1/devices/me`.
fn with_session_topics() -> World {
    world(TopicsConfig {
        session_prefix: Some("v1/devices/me".parse().expect("levels")),
        session_prefix_means: Some("v1/devices/%c".parse().expect("levels")),
        ..TopicsConfig::default()
    })
}

/// What CONNACK says to this CONNECT.
fn answer(world: &mut World, connect: &Connect<'_>) -> ReasonCode {
    let connection = world.open_with(connect);
    world.hear(connection).conn_ack().reason
}

#[test]
fn a_client_publishes_below_its_prefix_and_nowhere_else() {
    let mut world = confined("d/%c");
    let client = world.connect(Version::V5, "c");
    let mut say = |topic| {
        world.publish(client, topic, b"x", QoS::AtLeastOnce);
        world.hear(client).ack().2
    };
    assert_eq!(say("d/c/x"), ReasonCode::NO_MATCHING_SUBSCRIBERS);
    for topic in ["d/c", "d/cc/x", "d/other/x", "x", "x/d/c/y", "$SYS/x"] {
        assert_eq!(say(topic), ReasonCode::NOT_AUTHORIZED, "{topic}");
    }
    assert_eq!(world.statistics().denied[0], 6);
}

#[test]
fn a_client_subscribes_below_its_prefix_and_nowhere_else() {
    for version in VERSIONS {
        let mut world = confined("d/%c");
        let client = world.connect(version, "c");
        for filter in ["d/c/#", "d/c/+", "$share/g/d/c/x"] {
            assert_eq!(
                world.subscribe(client, filter, QoS::AtMostOnce),
                0,
                "{filter}"
            );
        }
        let refused = match version {
            Version::V5 => 0x87,
            Version::V3 | Version::V4 => 0x80,
        };
        for filter in [
            "#",
            "d/#",
            "d/+/x",
            "+/c/x",
            "d/other/x",
            "$share/g/#",
            "$SYS/#",
        ] {
            let code = world.subscribe(client, filter, QoS::AtMostOnce);
            // 3.1 has no word for it.
            if version != Version::V3 {
                assert_eq!(code, refused, "{filter}");
            }
        }
        assert_eq!(world.statistics().subscriptions, 3);
    }
}

#[test]
fn a_will_outside_the_prefix_lets_nobody_in() {
    let mut world = confined("d/%c");
    let with_will = |topic| Connect {
        will: Some(will(topic, b"x")),
        ..connect(Version::V5, "c")
    };
    assert_eq!(answer(&mut world, &with_will("d/c/w")), ReasonCode::SUCCESS);
    let outside = answer(&mut world, &with_will("d/other/w"));
    assert_eq!(outside, ReasonCode::NOT_AUTHORIZED);
}

/// Nobody gets wildcards or levels by what he calls himself, and nobody without a name gets in.
#[test]
fn who_cannot_stand_in_a_topic_is_refused() {
    let mut world = confined("%t/%u/%c");
    world.judge(|credentials: &Credentials| {
        Some(Verdict::Accept(Grant {
            tenant: Some("acme".to_owned()),
            user: credentials.username.clone(),
            ..Grant::default()
        }))
    });
    let of = |user: Option<&'static str>, client_id| Connect {
        username: user,
        ..connect(Version::V5, client_id)
    };
    assert_eq!(answer(&mut world, &of(Some("u"), "c")), ReasonCode::SUCCESS);
    for (user, client_id) in [
        (None, "c"),
        (Some(""), "c"),
        (Some("u/x"), "c"),
        (Some("#"), "c"),
        (Some("u"), "+"),
        (Some("u"), "a/b"),
    ] {
        let said = answer(&mut world, &of(user, client_id));
        assert_eq!(said, ReasonCode::NOT_AUTHORIZED, "{user:?} {client_id:?}");
    }
    // No tenant, where one stands in the prefix.
    world.judge(by_name);
    let nobody = connect(Version::V5, "c");
    assert_eq!(answer(&mut world, &nobody), ReasonCode::NOT_AUTHORIZED);
}

/// What was subscribed to and waits from before the prefix was required.
#[test]
fn what_lies_outside_ends_when_its_session_is_resumed() {
    let mut world = World::new(Config {
        durable: true,
        ..Config::default()
    });
    let client = world.resume(Version::V5, "c");
    world.subscribe(client, "#", QoS::AtLeastOnce);
    world.subscribe(client, "d/c/x", QoS::AtLeastOnce);
    world.cut(client);
    let publisher = world.connect(Version::V5, "p");
    for topic in ["d/c/x", "d/other/x"] {
        world.publish(publisher, topic, topic.as_bytes(), QoS::AtLeastOnce);
    }
    let (log, now) = (core::mem::take(&mut world.log), world.now);
    let mut world = confined("d/%c");
    (world.log, world.now) = (log, now);
    world.crash();
    let client = world.resume(Version::V5, "c");
    assert_eq!(world.take_all(client), ["d/c/x"]);
    assert_eq!(world.statistics().subscriptions, 1);
}

/// A subscriber at QoS 1 of this filter.
fn subscriber(world: &mut World, version: Version, client_id: &str, filter: &str) -> ConnectionId {
    let client = world.connect(version, client_id);
    assert_eq!(world.subscribe(client, filter, QoS::AtLeastOnce), 1);
    client
}

#[test]
fn what_a_device_calls_its_own_has_its_name_for_everybody_else() {
    for version in VERSIONS {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let mut world = with_session_topics();
            let service = subscriber(&mut world, version, "service", "v1/devices/+/telemetry");
            let pump = subscriber(&mut world, version, "pump", "v1/devices/me/rpc/#");
            let lamp = subscriber(&mut world, version, "lamp", "v1/devices/me/rpc/#");
            world.publish(pump, "v1/devices/me/telemetry", b"42", qos);
            let (topic, ..) = world.next_publish(service);
            assert_eq!(topic, "v1/devices/pump/telemetry");
            world.drain(pump);

            world.publish(service, "v1/devices/pump/rpc/request/1", b"on", qos);
            let (topic, ..) = world.next_publish(pump);
            assert_eq!(topic, "v1/devices/me/rpc/request/1");
            world.hears_nothing(lamp);
        }
    }
}

/// A fan-out to many is encoded once for those who hear the same, and for them alone.
#[test]
fn each_of_many_hears_its_own_word() {
    let mut world = with_session_topics();
    let others: Vec<_> = ["a", "b", "c"]
        .map(|name| subscriber(&mut world, Version::V5, name, "v1/devices/pump/x"))
        .into();
    let pump = subscriber(&mut world, Version::V5, "pump", "v1/devices/me/x");
    world.publish(others[0], "v1/devices/pump/x", b"1", QoS::AtMostOnce);
    for other in others {
        assert_eq!(world.next_publish(other).0, "v1/devices/pump/x");
    }
    assert_eq!(world.next_publish(pump).0, "v1/devices/me/x");
}

#[test]
fn session_topics_hold_for_all_that_names_a_topic() {
    let mut world = with_session_topics();
    let service = subscriber(&mut world, Version::V5, "service", "v1/devices/pump/#");
    let connection = Connect {
        will: Some(will("v1/devices/me/gone", b"w")),
        ..lasting(Version::V5, "pump")
    };
    let (pump, _) = world.enter(&connection);
    // Retained, by an alias.
    let list = properties(&[Property::TopicAlias(1)]);
    for topic in ["v1/devices/me/state", ""] {
        let packet = Publish {
            retain: true,
            properties: list.as_properties(),
            ..publish(topic, b"s", QoS::AtMostOnce, 1)
        };
        world.send(pump, &Packet::Publish(packet));
        assert_eq!(world.next_publish(service).0, "v1/devices/pump/state");
    }
    world.send(service, &retained("v1/devices/pump/set", b"r"));
    world.drain(service);
    // Shared, and ended in the same words.
    let share = "$share/g/v1/devices/me/rpc";
    assert_eq!(world.subscribe(pump, share, QoS::AtLeastOnce), 1);
    let options = SubscribeOptions {
        maximum_qos: QoS::AtLeastOnce,
        ..SubscribeOptions::default()
    };
    world.subscribe_with(pump, "v1/devices/me/set", options, Properties::EMPTY);
    assert_eq!(world.next_publish(pump).0, "v1/devices/me/set");
    world.publish(service, "v1/devices/pump/rpc", b"1", QoS::AtLeastOnce);
    assert_eq!(world.next_publish(pump).0, "v1/devices/me/rpc");
    let mut filters = UnsubscribeBuffer::new();
    filters.push(share);
    let packet = Unsubscribe {
        packet_id: PacketId::new(7).expect("not zero"),
        properties: Properties::EMPTY,
        filters: filters.as_filters(Version::V5),
    };
    world.drain(pump);
    world.send(pump, &Packet::Unsubscribe(packet));
    let answer = world.hear(pump);
    let Packet::UnsubAck(answer) = answer.packet() else {
        panic!("{answer:?}")
    };
    assert_eq!(answer.reasons, [0]);
    world.drain(service);
    // What waits is called the same after a restart; the will is published under the full name.
    world.cut(pump);
    assert_eq!(world.next_publish(service).0, "v1/devices/pump/gone");
    world.publish(service, "v1/devices/pump/set", b"later", QoS::AtLeastOnce);
    world.crash();
    let pump = world.resume(Version::V5, "pump");
    let mut topics = Vec::new();
    while world.has_more(pump) {
        topics.push(world.next_publish(pump).0);
    }
    assert!(
        topics
            .iter()
            .all(|topic| topic.starts_with("v1/devices/me/")),
        "{topics:?}"
    );
    assert!(topics.contains(&"v1/devices/me/set".to_owned()));
}

#[test]
fn a_prefix_is_looked_at_in_the_full_name() {
    let mut world = world(TopicsConfig {
        required_prefix: Some("v1/devices/%c".parse().expect("levels")),
        session_prefix: Some("me".parse().expect("levels")),
        session_prefix_means: Some("v1/devices/%c".parse().expect("levels")),
    });
    let pump = world.connect(Version::V5, "pump");
    assert_eq!(world.subscribe(pump, "me/#", QoS::AtMostOnce), 0);
    assert_eq!(
        world.subscribe(pump, "v1/devices/pump/#", QoS::AtMostOnce),
        0
    );
    assert_eq!(
        world.subscribe(pump, "v1/devices/lamp/#", QoS::AtMostOnce),
        0x87
    );
    assert_eq!(world.subscribe(pump, "me", QoS::AtMostOnce), 0x87);
    world.publish(pump, "me/x", b"1", QoS::AtMostOnce);
    assert_eq!(world.next_publish(pump).0, "me/x");
}
