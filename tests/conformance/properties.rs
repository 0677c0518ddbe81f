//! MQTT 5.0 §3.3.2.3: what travels with a message.

use whimbrel_core::ConnectionId;
use whimbrel_core::action::DropReason;
use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{Publish, QoS, Version};
use whimbrel_core::codec::property::Property;
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::config::{Config, Protocol};
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, properties, publish};

fn send_with(world: &mut World, client: ConnectionId, list: &[Property<'_>], qos: QoS) {
    let list = properties(list);
    let message = Publish {
        properties: list.as_properties(),
        ..publish("t", b"x", qos, 1)
    };
    world.send(client, &Packet::Publish(message));
}

/// [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
#[test]
fn what_belongs_to_the_message_is_passed_on_unaltered() {
    let sent = [
        Property::UserProperty("b", "1"),
        Property::CorrelationData(&[0, 1, 255]),
        Property::PayloadFormatIndicator(true),
        Property::UserProperty("a", "2"),
        Property::ResponseTopic("response/topic"),
        Property::UserProperty("b", "3"),
        Property::ContentType("text/plain"),
    ];
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let away = world.resume(Version::V5, "away");
    world.subscribe(away, "t", QoS::AtLeastOnce);
    world.cut(away);
    let here = world.connect(Version::V5, "here");
    world.subscribe(here, "t", QoS::AtLeastOnce);
    send_with(&mut world, publisher, &sent, QoS::AtLeastOnce);
    let away = world.resume(Version::V5, "away");
    for client in [here, away] {
        let received = world.hear(client);
        let came: Vec<Property<'_>> = received.publish().properties.iter().collect();
        assert_eq!(came, sent);
    }
}

#[test]
fn old_clients_get_messages_without_properties() {
    for version in [Version::V3, Version::V4] {
        let mut world = World::default();
        let client = world.connect(version, "client");
        world.subscribe(client, "t", QoS::AtMostOnce);
        let publisher = world.connect(Version::V5, "publisher");
        let sent = [Property::UserProperty("k", "v")];
        send_with(&mut world, publisher, &sent, QoS::AtMostOnce);
        assert_eq!(world.payloads(client), ["x"]);
    }
}

/// [MQTT-3.3.2-5]
#[test]
fn a_message_that_expired_while_it_waited_is_dropped() {
    for version in VERSIONS {
        let mut world = World::default();
        let away = world.resume(version, "away");
        world.subscribe(away, "t", QoS::AtLeastOnce);
        world.cut(away);
        let publisher = world.connect(Version::V5, "publisher");
        for seconds in [10, 11] {
            let expiry = [Property::MessageExpiryInterval(seconds)];
            send_with(&mut world, publisher, &expiry, QoS::AtLeastOnce);
        }
        send_with(&mut world, publisher, &[], QoS::AtLeastOnce);
        world.pass_ms(10_000);
        let away = world.resume(version, "away");
        assert_eq!(world.take_all(away).len(), 2);
        let dropped = world.statistics().dropped;
        assert_eq!(dropped[DropReason::Expired as usize], 1);
    }
}

/// [MQTT-3.3.2-6]
#[test]
fn the_remaining_expiry_is_sent() {
    let mut world = World::default();
    let away = world.resume(Version::V5, "away");
    world.subscribe(away, "t", QoS::AtLeastOnce);
    world.cut(away);
    let publisher = world.connect(Version::V5, "publisher");
    let expiry = [Property::MessageExpiryInterval(100)];
    send_with(&mut world, publisher, &expiry, QoS::AtLeastOnce);
    world.pass_ms(40_000);
    let away = world.resume(Version::V5, "away");
    let received = world.hear(away);
    let remaining = received.publish().properties.message_expiry_interval();
    assert_eq!(remaining, Some(60));
    let expiry = [Property::MessageExpiryInterval(7)];
    send_with(&mut world, publisher, &expiry, QoS::AtLeastOnce);
    let received = world.hear(away);
    let remaining = received.publish().properties.message_expiry_interval();
    assert_eq!(remaining, Some(7), "at once");
}

#[test]
fn a_payload_that_is_not_what_it_says_is_refused_if_so_configured() {
    for check_payload_format in [false, true] {
        let mut world = World::new(Config {
            protocol: Protocol {
                check_payload_format,
                ..Protocol::default()
            },
            ..Config::default()
        });
        let client = world.connect(Version::V5, "client");
        let list = properties(&[Property::PayloadFormatIndicator(true)]);
        for (payload, is_text) in [(&b"text"[..], true), (b"\xff\xfe", false)] {
            let message = Publish {
                properties: list.as_properties(),
                ..publish("t", payload, QoS::AtLeastOnce, 1)
            };
            world.send(client, &Packet::Publish(message));
            let expected = match is_text || !check_payload_format {
                true => ReasonCode::NO_MATCHING_SUBSCRIBERS,
                false => ReasonCode::PAYLOAD_FORMAT_INVALID,
            };
            assert_eq!(world.hear(client).ack().2, expected);
        }
    }
}
