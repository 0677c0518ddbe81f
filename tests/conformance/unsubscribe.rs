//! MQTT 5.0 §3.10, §3.11: unsubscribing.

use whimbrel_core::ConnectionId;
use whimbrel_core::codec::packet::{PacketType, QoS, Unsubscribe, Version};
use whimbrel_core::codec::{Packet, Properties, UnsubscribeBuffer};
use whimbrel_core::id::PacketId;
use whimbrel_tests::World;
use whimbrel_tests::world::VERSIONS;

/// Unsubscribes; gives the reason codes.
#[track_caller]
fn unsubscribe(
    world: &mut World,
    client: ConnectionId,
    version: Version,
    filters: &[&str],
) -> Vec<u8> {
    let mut buffer = UnsubscribeBuffer::new();
    for filter in filters {
        buffer.push(filter);
    }
    let packet_id = PacketId::new(4_321).expect("not zero");
    let unsubscribe = Unsubscribe {
        packet_id,
        properties: Properties::EMPTY,
        filters: buffer.as_filters(version),
    };
    world.send(client, &Packet::Unsubscribe(unsubscribe));
    let received = world.hear(client);
    assert_eq!(received.packet().packet_type(), PacketType::UnsubAck);
    assert_eq!(received.sub_ack().packet_id, packet_id);
    received.sub_ack().reasons.to_vec()
}

/// [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1]
#[test]
fn an_unsubscribe_of_several_filters_is_answered_filter_by_filter() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.connect(version, "client");
        world.subscribe(client, "a", QoS::AtMostOnce);
        world.subscribe(client, "$share/g/b", QoS::AtMostOnce);
        let filters = ["a", "never/subscribed", "$share/g/b", "a"];
        let reasons = unsubscribe(&mut world, client, version, &filters);
        let expected: &[u8] = match version {
            Version::V3 | Version::V4 => &[],
            Version::V5 => &[0, 0x11, 0, 0x11],
        };
        assert_eq!(reasons, expected);
        world.publish(client, "a", b"x", QoS::AtMostOnce);
        world.publish(client, "b", b"x", QoS::AtMostOnce);
        world.hears_nothing(client);
        assert_eq!(world.statistics().subscriptions, 0);
    }
}

/// [MQTT-3.10.4-1] [MQTT-3.10.4-2]
#[test]
fn exactly_that_filter_is_ended_and_nothing_is_added_for_it() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.resume(version, "client");
        let publisher = world.connect(version, "publisher");
        for filter in ["a/b", "a/+", "A/b", "$share/g/a/b"] {
            world.subscribe(client, filter, QoS::AtLeastOnce);
        }
        unsubscribe(&mut world, client, version, &["a/b"]);
        assert_eq!(world.statistics().subscriptions, 3);
        world.publish(publisher, "a/b", b"x", QoS::AtMostOnce);
        assert_eq!(world.payloads(client).len(), 2, "a/+ and the shared one");
        unsubscribe(&mut world, client, version, &["a/+"]);
        unsubscribe(&mut world, client, version, &["$share/g/a/b"]);
        world.publish(publisher, "a/b", b"x", QoS::AtLeastOnce);
        world.hears_nothing(client);
        world.cut(client);
        world.publish(publisher, "a/b", b"x", QoS::AtLeastOnce);
        let client = world.resume(version, "client");
        world.hears_nothing(client);
    }
}

/// MQTT 5.0 §3.10.4: what was begun is completed, what was queued may still come.
#[test]
fn what_was_under_way_is_completed() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.resume(version, "client");
        let publisher = world.connect(version, "publisher");
        world.subscribe(client, "t", QoS::ExactlyOnce);
        world.publish(publisher, "t", b"begun", QoS::ExactlyOnce);
        world.hear(client);
        unsubscribe(&mut world, client, version, &["t"]);
        world.cut(client);
        let client = world.resume(version, "client");
        assert_eq!(world.take_all(client), ["begun"]);
    }
}
