//! MQTT 5.0 §3.3.1.3: retained messages.

use whimbrel_core::ConnectionId;
use whimbrel_core::codec::packet::{
    Publish, QoS, RetainHandling, Subscribe, SubscribeOptions, Unsubscribe, Version,
};
use whimbrel_core::codec::property::Property;
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::codec::{Packet, Properties, SubscribeBuffer, UnsubscribeBuffer};
use whimbrel_core::config::{Config, SessionConfig};
use whimbrel_core::id::PacketId;
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, properties, publish};

fn retain(world: &mut World, client: ConnectionId, topic: &str, payload: &[u8]) {
    let message = Publish {
        retain: true,
        ..publish(topic, payload, QoS::AtMostOnce, 1)
    };
    world.send(client, &Packet::Publish(message));
}

/// Payloads of the retained messages that a new subscriber to this filter gets.
fn found(world: &mut World, version: Version, filter: &str) -> Vec<String> {
    let client = world.connect(version, "finder");
    world.subscribe(client, filter, QoS::AtMostOnce);
    world.payloads(client)
}

/// [MQTT-3.3.1-5] [MQTT-3.3.1-8] [MQTT311-3.3.1-8]
#[test]
fn the_last_retained_message_is_kept_for_who_subscribes_later() {
    for version in VERSIONS {
        let mut world = World::default();
        let publisher = world.connect(version, "publisher");
        retain(&mut world, publisher, "t", b"first");
        retain(&mut world, publisher, "t", b"second");
        world.publish(publisher, "t", b"not retained", QoS::AtMostOnce);
        let client = world.connect(version, "client");
        world.subscribe(client, "t", QoS::AtMostOnce);
        let received = world.hear(client);
        assert_eq!(received.publish().payload, b"second");
        assert!(received.publish().retain);
        world.hears_nothing(client);
    }
}

/// [MQTT-3.3.1-6] [MQTT-3.3.1-7]
#[test]
fn an_empty_payload_clears_and_is_delivered_but_not_kept() {
    for version in VERSIONS {
        let mut world = World::default();
        let publisher = world.connect(version, "publisher");
        let watcher = world.connect(version, "watcher");
        retain(&mut world, publisher, "t", b"kept");
        world.subscribe(watcher, "t", QoS::AtMostOnce);
        world.payloads(watcher);
        retain(&mut world, publisher, "t", b"");
        let received = world.hear(watcher);
        assert_eq!(
            (received.publish().payload, received.publish().retain),
            (&b""[..], false)
        );
        assert!(found(&mut world, version, "t").is_empty());
        assert_eq!(world.statistics().retained_messages, 0);
        // Clearing what is not there is nothing special.
        retain(&mut world, publisher, "u", b"");
        assert_eq!(world.statistics().retained_messages, 0);
    }
}

/// [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]
#[test]
fn retain_handling_says_when_retained_messages_are_sent() {
    for (retain_handling, expected) in [
        (RetainHandling::Send, [1, 1]),
        (RetainHandling::SendIfNew, [1, 0]),
        (RetainHandling::DoNotSend, [0, 0]),
    ] {
        let mut world = World::default();
        let client = world.connect(Version::V5, "client");
        retain(&mut world, client, "t", b"x");
        let options = SubscribeOptions {
            retain_handling,
            ..SubscribeOptions::default()
        };
        for count in expected {
            world.subscribe_with(client, "t", options, Properties::EMPTY);
            assert_eq!(world.payloads(client).len(), count, "{retain_handling:?}");
        }
    }
    for version in [Version::V3, Version::V4] {
        let mut world = World::default();
        let client = world.connect(version, "client");
        retain(&mut world, client, "t", b"x");
        for _ in 0..3 {
            world.subscribe(client, "t", QoS::AtMostOnce);
            assert_eq!(world.payloads(client), ["x"]);
        }
    }
}

#[test]
fn filters_find_retained_messages_as_they_match_topics() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    for topic in ["a", "a/b", "a/b/c", "a/c", "b", "$private/a", "/a"] {
        retain(&mut world, publisher, topic, topic.as_bytes());
    }
    for (filter, expected) in [
        ("a", &["a"][..]),
        ("a/#", &["a", "a/b", "a/b/c", "a/c"]),
        ("a/+", &["a/b", "a/c"]),
        ("+", &["a", "b"]),
        ("+/+", &["/a", "a/b", "a/c"]),
        ("#", &["/a", "a", "a/b", "a/b/c", "a/c", "b"]),
        ("$private/#", &["$private/a"]),
        ("+/a", &["/a"]),
        ("x", &[]),
    ] {
        let mut came = found(&mut world, Version::V5, filter);
        came.sort();
        assert_eq!(came, expected, "{filter}");
    }
}

#[test]
fn retained_messages_come_with_the_lower_qos_and_the_subscription_identifier() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let message = Publish {
        retain: true,
        ..publish("t", b"x", QoS::ExactlyOnce, 1)
    };
    world.send(publisher, &Packet::Publish(message));
    let list = properties(&[Property::SubscriptionIdentifier(42)]);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let client = world.connect(Version::V5, "client");
        let options = SubscribeOptions {
            maximum_qos: qos,
            ..SubscribeOptions::default()
        };
        world.subscribe_with(client, "t", options, list.as_properties());
        let received = world.hear(client);
        assert_eq!(received.publish().qos, qos);
        let identifiers = received.publish().properties.subscription_identifiers();
        assert_eq!(identifiers.collect::<Vec<_>>(), [42]);
    }
}

#[test]
fn a_retained_message_expires() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let list = properties(&[Property::MessageExpiryInterval(10)]);
    let message = Publish {
        retain: true,
        properties: list.as_properties(),
        ..publish("t", b"x", QoS::AtMostOnce, 1)
    };
    world.send(publisher, &Packet::Publish(message));
    world.pass_ms(9_000);
    let client = world.connect(Version::V5, "client");
    world.subscribe(client, "t", QoS::AtMostOnce);
    let received = world.hear(client);
    let remaining = received.publish().properties.message_expiry_interval();
    assert_eq!(remaining, Some(1));
    world.pass_ms(1_000);
    assert!(found(&mut world, Version::V4, "t").is_empty());
    assert_eq!(world.statistics().retained_messages, 0);
}

#[test]
fn ten_thousand_retained_messages_reach_a_client_whose_queue_holds_ten() {
    let mut world = World::new(Config {
        session: SessionConfig {
            queue_messages_maximum: 10,
            inflight_maximum: 20,
            ..SessionConfig::default()
        },
        ..Config::default()
    });
    let publisher = world.connect(Version::V4, "publisher");
    for number in 0..10_000 {
        let topic = format!("t/{number}");
        let mut message = publish(&topic, b"x", QoS::ExactlyOnce, 1);
        message.retain = true;
        world.send(publisher, &Packet::Publish(message));
        world.answer(publisher, Packet::PubRel, 1, ReasonCode::SUCCESS);
    }
    for (version, qos) in [
        (Version::V3, QoS::AtMostOnce),
        (Version::V4, QoS::AtLeastOnce),
        (Version::V5, QoS::ExactlyOnce),
    ] {
        let client = world.connect(version, "client");
        world.subscribe(client, "#", qos);
        assert_eq!(world.take_all(client).len(), 10_000);
    }
    assert_eq!(world.statistics().dropped.iter().sum::<u64>(), 0);
}

/// A new subscriber that has not got so far in the retained messages gets a later one live, and so
/// not from there as well.
#[test]
fn what_came_live_is_not_sent_as_retained_again() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    retain(&mut world, publisher, "t/1", b"before");
    let client = world.connect(Version::V5, "client");
    world.block(client, true);
    let mut filters = SubscribeBuffer::new();
    filters.push("t/#", SubscribeOptions::default());
    let subscribe = Subscribe {
        packet_id: PacketId::FIRST,
        properties: Properties::EMPTY,
        filters: filters.as_filters(Version::V5),
    };
    world.send(client, &Packet::Subscribe(subscribe));
    retain(&mut world, publisher, "t/2", b"after");
    world.block(client, false);
    world.hear(client).sub_ack();
    let mut came = world.payloads(client);
    came.sort();
    assert_eq!(came, ["after", "before"]);
}

#[test]
fn unsubscribing_stops_retained_messages_that_were_not_begun() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    for number in 0..3_000 {
        retain(&mut world, publisher, &format!("t/{number}"), &[b'x'; 100]);
    }
    let client = world.connect(Version::V5, "client");
    world.block(client, true);
    let mut filters = SubscribeBuffer::new();
    filters.push("#", SubscribeOptions::default());
    let subscribe = Subscribe {
        packet_id: PacketId::FIRST,
        properties: Properties::EMPTY,
        filters: filters.as_filters(Version::V5),
    };
    world.send(client, &Packet::Subscribe(subscribe));
    let mut filters = UnsubscribeBuffer::new();
    filters.push("#");
    let unsubscribe = Unsubscribe {
        packet_id: PacketId::FIRST,
        properties: Properties::EMPTY,
        filters: filters.as_filters(Version::V5),
    };
    world.send(client, &Packet::Unsubscribe(unsubscribe));
    world.block(client, false);
    let came = world.drain(client).len();
    assert!(came < 3_000, "{came}");
}
