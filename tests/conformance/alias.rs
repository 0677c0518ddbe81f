//! MQTT 5.0 §3.3.2.3.4: topic aliases, in both directions.

use whimbrel_core::ConnectionId;
use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{Connect, Publish, QoS, Version};
use whimbrel_core::codec::property::Property;
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::config::{Config, Protocol};
use whimbrel_tests::World;
use whimbrel_tests::world::{connect, properties, publish};

fn with_maximum(topic_alias_maximum: u16) -> World {
    World::new(Config {
        protocol: Protocol {
            topic_alias_maximum,
            ..Protocol::default()
        },
        ..Config::default()
    })
}

fn send_as(world: &mut World, client: ConnectionId, topic: &str, alias: u16) {
    let list = properties(&[Property::TopicAlias(alias)]);
    let message = Publish {
        properties: list.as_properties(),
        ..publish(topic, topic.as_bytes(), QoS::AtMostOnce, 1)
    };
    world.send(client, &Packet::Publish(message));
}

/// The topics of all messages that came.
fn topics(world: &mut World, client: ConnectionId) -> Vec<String> {
    let came = world.drain(client);
    came.iter()
        .map(|received| received.publish().topic.to_owned())
        .collect()
}

/// [MQTT-3.3.2-12]
#[test]
fn every_alias_up_to_the_maximum_may_be_set_and_set_anew() {
    let mut world = with_maximum(5);
    let watcher = world.connect(Version::V4, "watcher");
    world.subscribe(watcher, "#", QoS::AtMostOnce);
    let client = world.open_with(&connect(Version::V5, "client"));
    let received = world.hear(client);
    assert_eq!(
        received.conn_ack().properties.topic_alias_maximum(),
        Some(5)
    );
    for alias in 1..=5 {
        send_as(&mut world, client, &format!("t/{alias}"), alias);
        send_as(&mut world, client, "", alias);
    }
    send_as(&mut world, client, "new", 3);
    send_as(&mut world, client, "", 3);
    send_as(&mut world, client, "", 4);
    let expected = [
        "t/1", "t/1", "t/2", "t/2", "t/3", "t/3", "t/4", "t/4", "t/5", "t/5", "new", "new", "t/4",
    ];
    assert_eq!(topics(&mut world, watcher), expected);
}

/// [MQTT-3.2.2-17] [MQTT-3.2.2-18] [MQTT-3.3.2-8]
#[test]
fn an_alias_that_may_not_be_ends_the_connection() {
    for (maximum, topic, alias) in [
        (5, "t", 0),
        (5, "t", 6),
        (5, "t", 65_535),
        (5, "", 1),
        (0, "t", 1),
        (0, "", 1),
    ] {
        let mut world = with_maximum(maximum);
        let client = world.connect(Version::V5, "client");
        // By hand: the codec does not write an alias of zero.
        let mut bytes = vec![0x30, 0, 0];
        bytes.push(u8::try_from(topic.len()).expect("short"));
        bytes.extend(topic.as_bytes());
        bytes.extend([3, 0x23]);
        bytes.extend(u16::to_be_bytes(alias));
        bytes[1] = u8::try_from(bytes.len() - 2).expect("short");
        world.send_bytes(client, &bytes);
        assert_eq!(
            world.farewell(client),
            Some(ReasonCode::TOPIC_ALIAS_INVALID)
        );
    }
}

/// [MQTT-3.3.2-7]
#[test]
fn aliases_do_not_outlive_their_connection() {
    let mut world = World::default();
    let client = world.resume(Version::V5, "client");
    send_as(&mut world, client, "t", 1);
    let client = world.resume(Version::V5, "client");
    send_as(&mut world, client, "", 1);
    assert_eq!(
        world.farewell(client),
        Some(ReasonCode::TOPIC_ALIAS_INVALID)
    );
}

fn accepting(world: &mut World, client_id: &str, list: &[Property<'_>]) -> ConnectionId {
    let list = properties(list);
    let packet = Connect {
        properties: list.as_properties(),
        ..connect(Version::V5, client_id)
    };
    let (client, _) = world.enter(&packet);
    world.subscribe(client, "#", QoS::AtMostOnce);
    client
}

/// [MQTT-3.1.2-26] [MQTT-3.1.2-27]
#[test]
fn hot_topics_get_aliases_towards_clients_that_accept_them() {
    let mut world = World::default();
    let three = accepting(&mut world, "three", &[Property::TopicAliasMaximum(3)]);
    let zero = accepting(&mut world, "zero", &[Property::TopicAliasMaximum(0)]);
    let silent = accepting(&mut world, "silent", &[]);
    let publisher = world.connect(Version::V4, "publisher");
    for round in 0..100 {
        // Six topics contend for three aliases; some are hotter than others.
        for topic in 0..=round % 6 {
            let topic = format!("t/{topic}");
            world.publish(publisher, &topic, topic.as_bytes(), QoS::AtMostOnce);
        }
    }
    let mut known: Vec<Option<String>> = vec![None; 4];
    let mut used = 0;
    for received in world.drain(three) {
        let publish = received.publish();
        let topic = match publish.properties.topic_alias() {
            Some(alias) if publish.topic.is_empty() => {
                used += 1;
                known[usize::from(alias)].clone().expect("it was set")
            }
            Some(alias) => {
                known[usize::from(alias)] = Some(publish.topic.to_owned());
                publish.topic.to_owned()
            }
            None => publish.topic.to_owned(),
        };
        assert_eq!(topic.as_bytes(), publish.payload);
    }
    assert!(used > 50, "{used}");
    for client in [zero, silent] {
        for received in world.drain(client) {
            assert_eq!(received.publish().properties.topic_alias(), None);
        }
    }
}

/// An alias must not be thought known that came with a message that was left out for its size.
#[test]
fn an_alias_is_not_introduced_by_a_message_that_is_too_large() {
    let mut world = World::default();
    let wishes = [
        Property::TopicAliasMaximum(3),
        Property::MaximumPacketSize(64),
    ];
    let client = accepting(&mut world, "client", &wishes);
    let publisher = world.connect(Version::V4, "publisher");
    for payload in [&b"1"[..], &[b'x'; 100], b"2", b"3", &[b'y'; 100], b"4"] {
        world.publish(publisher, "hot/topic", payload, QoS::AtMostOnce);
    }
    let mut known = None;
    let mut payloads = Vec::new();
    for received in world.drain(client) {
        let publish = received.publish();
        match (publish.topic, publish.properties.topic_alias()) {
            ("", alias) => assert_eq!(alias, known, "it was told"),
            (_, None) => {}
            (_, alias) => known = alias,
        }
        payloads.push(publish.payload.to_vec());
    }
    assert_eq!(payloads.concat(), b"1234");
}
