//! MQTT 5.0 §3.8, §3.9, §3.3.4: subscriptions.

use whimbrel_core::ConnectionId;
use whimbrel_core::codec::packet::{
    PacketType, Publish, QoS, Subscribe, SubscribeOptions, Version,
};
use whimbrel_core::codec::property::Property;
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::codec::{Packet, Properties, SubscribeBuffer};
use whimbrel_core::config::{Config, Limits};
use whimbrel_core::id::PacketId;
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, properties, publish};

/// Sends a SUBSCRIBE with several filters under this identifier.
fn subscribe_all(
    world: &mut World,
    client: ConnectionId,
    version: Version,
    filters: &[(&str, SubscribeOptions)],
) {
    let mut buffer = SubscribeBuffer::new();
    for (filter, options) in filters {
        buffer.push(filter, *options);
    }
    let subscribe = Subscribe {
        packet_id: PacketId::new(99).expect("not zero"),
        properties: Properties::EMPTY,
        filters: buffer.as_filters(version),
    };
    world.send(client, &Packet::Subscribe(subscribe));
}

fn at(maximum_qos: QoS) -> SubscribeOptions {
    SubscribeOptions {
        maximum_qos,
        ..SubscribeOptions::default()
    }
}

/// [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1]
#[test]
fn a_subscribe_of_several_filters_is_answered_filter_by_filter() {
    for version in VERSIONS {
        let mut world = World::new(Config {
            limits: Limits {
                topic_levels_maximum: 3,
                ..Limits::default()
            },
            ..Config::default()
        });
        let client = world.connect(version, "client");
        let filters = [
            ("a", at(QoS::ExactlyOnce)),
            ("b/#", at(QoS::AtMostOnce)),
            ("too/deep/for/this", at(QoS::AtMostOnce)),
            ("c/+", at(QoS::AtLeastOnce)),
        ];
        subscribe_all(&mut world, client, version, &filters);
        let received = world.hear(client);
        let answer = received.sub_ack();
        assert_eq!(received.packet().packet_type(), PacketType::SubAck);
        assert_eq!(answer.packet_id.get(), 99);
        let failure = match version {
            Version::V3 | Version::V4 => 0x80,
            Version::V5 => ReasonCode::TOPIC_FILTER_INVALID.0,
        };
        assert_eq!(answer.reasons, [2, 0, failure, 1]);
        for topic in ["a", "b/x", "c/x", "too/deep"] {
            world.publish(client, topic, topic.as_bytes(), QoS::AtMostOnce);
        }
        assert_eq!(world.payloads(client), ["a", "b/x", "c/x"]);
    }
}

/// [MQTT-3.8.4-3]
#[test]
fn subscribing_again_replaces_the_subscription() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.connect(version, "client");
        for qos in [QoS::AtMostOnce, QoS::ExactlyOnce, QoS::AtLeastOnce] {
            world.subscribe(client, "t", qos);
            world.publish(client, "t", b"x", QoS::ExactlyOnce);
            let came = world.drain(client);
            let deliveries: Vec<QoS> = came
                .iter()
                .filter_map(|received| match received.packet() {
                    Packet::Publish(publish) => Some(publish.qos),
                    _ => None,
                })
                .collect();
            assert_eq!(deliveries, [qos], "once, at the new QoS");
            world.answer(client, Packet::PubRel, 1, ReasonCode::SUCCESS);
            world.drain(client);
        }
        assert_eq!(world.statistics().subscriptions, 1);
    }
}

/// [MQTT-3.8.4-4]
#[test]
fn replacing_a_subscription_loses_nothing_and_sends_retained_messages_again() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.resume(version, "client");
        let publisher = world.connect(version, "publisher");
        let mut message = publish("t/kept", b"retained", QoS::AtMostOnce, 1);
        message.retain = true;
        world.send(publisher, &Packet::Publish(message));
        world.subscribe(client, "t/#", QoS::AtLeastOnce);
        assert_eq!(world.take_all(client), ["retained"]);
        world.block(client, true);
        world.publish(publisher, "t/1", b"before", QoS::AtLeastOnce);
        subscribe_all(
            &mut world,
            client,
            version,
            &[("t/#", at(QoS::ExactlyOnce))],
        );
        world.publish(publisher, "t/1", b"after", QoS::AtLeastOnce);
        world.block(client, false);
        let came = world.drain(client);
        let mut payloads: Vec<&[u8]> = came
            .iter()
            .filter_map(|received| match received.packet() {
                Packet::Publish(publish) => Some(publish.payload),
                _ => None,
            })
            .collect();
        payloads.sort_unstable();
        assert_eq!(payloads, [&b"after"[..], b"before", b"retained"]);
    }
}

/// [MQTT-3.3.4-2]
#[test]
fn overlapping_subscriptions_deliver_once_at_the_highest_qos() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.connect(version, "client");
        let publisher = world.connect(version, "publisher");
        world.subscribe(client, "a/#", QoS::AtMostOnce);
        world.subscribe(client, "a/+", QoS::ExactlyOnce);
        world.subscribe(client, "a/b", QoS::AtLeastOnce);
        for (published, expected) in [
            (QoS::AtMostOnce, QoS::AtMostOnce),
            (QoS::AtLeastOnce, QoS::AtLeastOnce),
            (QoS::ExactlyOnce, QoS::ExactlyOnce),
        ] {
            world.publish(publisher, "a/b", b"x", published);
            let received = world.hear(client);
            assert_eq!(received.publish().qos, expected);
            world.hears_nothing(client);
        }
    }
}

/// [MQTT-3.3.4-3] [MQTT-3.3.4-4]
#[test]
fn a_copy_names_the_identifiers_of_the_subscriptions_that_caused_it() {
    let mut world = World::default();
    let client = world.connect(Version::V5, "client");
    for (filter, identifier) in [("a/#", 1), ("a/+", 268_435_455), ("a/b", 0), ("x", 7)] {
        let list: Vec<Property<'_>> = (identifier > 0)
            .then_some(Property::SubscriptionIdentifier(identifier))
            .into_iter()
            .collect();
        let list = properties(&list);
        world.subscribe_with(client, filter, at(QoS::AtMostOnce), list.as_properties());
    }
    for (topic, expected) in [("a/b", &[1, 268_435_455][..]), ("a/b/c", &[1]), ("x", &[7])] {
        world.publish(client, topic, b"x", QoS::AtMostOnce);
        let received = world.hear(client);
        let identifiers = received.publish().properties.subscription_identifiers();
        let mut identifiers: Vec<u32> = identifiers.collect();
        identifiers.sort_unstable();
        assert_eq!(identifiers, expected);
        world.hears_nothing(client);
    }
    // Subscribing again without an identifier takes it away.
    world.subscribe(client, "x", QoS::AtMostOnce);
    world.publish(client, "x", b"x", QoS::AtMostOnce);
    let received = world.hear(client);
    let identifiers = received.publish().properties.subscription_identifiers();
    assert_eq!(identifiers.count(), 0);
}

/// [MQTT-3.8.3-3]
#[test]
fn with_no_local_a_client_does_not_hear_itself() {
    let mut world = World::default();
    let client = world.connect(Version::V5, "client");
    let other = world.connect(Version::V4, "other");
    let no_local = SubscribeOptions {
        no_local: true,
        ..at(QoS::AtLeastOnce)
    };
    world.subscribe_with(client, "t/#", no_local, Properties::EMPTY);
    world.publish(client, "t/1", b"mine", QoS::AtMostOnce);
    world.hears_nothing(client);
    world.publish(other, "t/1", b"theirs", QoS::AtMostOnce);
    assert_eq!(world.payloads(client), ["theirs"]);
    // An overlapping subscription without it is not concerned.
    world.subscribe(client, "t/2", QoS::AtMostOnce);
    world.publish(client, "t/2", b"mine", QoS::AtMostOnce);
    assert_eq!(world.payloads(client), ["mine"]);
}

/// [MQTT-3.8.3-3] Also of what was retained before it subscribes, by whichever subscription.
#[test]
fn with_no_local_a_client_is_not_brought_what_it_retained() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.connect(version, "client");
        let other = world.connect(version, "other");
        for (publisher, topic) in [(client, "t/1"), (other, "t/2"), (client, "t/3")] {
            let packet = Publish {
                retain: true,
                ..publish(topic, topic.as_bytes(), QoS::AtMostOnce, 0)
            };
            world.send(publisher, &Packet::Publish(packet));
        }
        let client = world.connect(Version::V5, "client");
        let no_local = SubscribeOptions {
            no_local: true,
            ..at(QoS::AtLeastOnce)
        };
        world.subscribe_with(client, "t/#", no_local, Properties::EMPTY);
        assert_eq!(world.payloads(client), ["t/2"]);
        world.subscribe(client, "t/+", QoS::AtMostOnce);
        assert_eq!(world.payloads(client), ["t/1", "t/2", "t/3"]);
    }
}

#[test]
fn no_local_looks_at_the_client_identifier_and_not_at_the_connection() {
    let mut world = World::default();
    let client = world.resume(Version::V5, "client");
    let no_local = SubscribeOptions {
        no_local: true,
        ..at(QoS::AtLeastOnce)
    };
    world.subscribe_with(client, "t", no_local, Properties::EMPTY);
    let client = world.resume(Version::V5, "client");
    world.publish(client, "t", b"mine", QoS::AtMostOnce);
    world.hears_nothing(client);
}

/// [MQTT311-3.3.1-9]
#[test]
fn what_a_session_of_5_0_has_asked_for_does_not_count_in_an_earlier_version() {
    for version in [Version::V3, Version::V4] {
        let mut world = World::default();
        let client = world.resume(Version::V5, "client");
        let options = SubscribeOptions {
            no_local: true,
            retain_as_published: true,
            ..at(QoS::AtMostOnce)
        };
        world.subscribe_with(client, "t", options, Properties::EMPTY);
        let client = world.resume(version, "client");
        let retained = Publish {
            retain: true,
            ..publish("t", b"mine", QoS::AtMostOnce, 0)
        };
        world.send(client, &Packet::Publish(retained));
        assert!(!world.hear(client).publish().retain, "{version:?}");
        let client = world.resume(Version::V5, "client");
        world.send(client, &Packet::Publish(retained));
        world.hears_nothing(client);
    }
}

/// [MQTT-3.8.3-4]
#[test]
fn no_local_on_a_shared_subscription_ends_the_connection() {
    let mut world = World::default();
    let client = world.connect(Version::V5, "client");
    let no_local = SubscribeOptions {
        no_local: true,
        ..at(QoS::AtMostOnce)
    };
    let filters = [("$share/group/t", no_local)];
    subscribe_all(&mut world, client, Version::V5, &filters);
    assert_eq!(world.farewell(client), Some(ReasonCode::PROTOCOL_ERROR));
}

#[test]
fn a_filter_with_misplaced_wildcards_ends_the_connection() {
    for version in VERSIONS {
        for filter in [
            "a#",
            "#/a",
            "a/b+",
            "",
            "$share/g",
            "$share//t",
            "$share/g+/t",
        ] {
            let mut world = World::default();
            let client = world.connect(version, "client");
            subscribe_all(
                &mut world,
                client,
                version,
                &[(filter, at(QoS::AtMostOnce))],
            );
            let told = (version == Version::V5).then_some(ReasonCode::TOPIC_FILTER_INVALID);
            assert_eq!(world.farewell(client), told, "{filter}");
        }
    }
}

#[test]
fn topics_that_begin_with_a_dollar_are_hidden_from_wildcards() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.connect(version, "client");
        for filter in ["#", "+/x", "+/#"] {
            world.subscribe(client, filter, QoS::AtMostOnce);
        }
        world.publish(client, "$own/x", b"hidden", QoS::AtMostOnce);
        world.hears_nothing(client);
        world.subscribe(client, "$own/#", QoS::AtMostOnce);
        world.publish(client, "$own/x", b"asked for", QoS::AtMostOnce);
        assert_eq!(world.payloads(client), ["asked for"]);
    }
}

#[test]
fn subscriptions_beyond_the_limit_are_refused() {
    for version in VERSIONS {
        let mut world = World::new(Config {
            limits: Limits {
                subscriptions_per_session_maximum: 2,
                ..Limits::default()
            },
            ..Config::default()
        });
        let client = world.connect(version, "client");
        assert_eq!(world.subscribe(client, "a", QoS::AtMostOnce), 0);
        assert_eq!(world.subscribe(client, "b", QoS::AtMostOnce), 0);
        let refused = match version {
            Version::V3 | Version::V4 => 0x80,
            Version::V5 => ReasonCode::QUOTA_EXCEEDED.0,
        };
        assert_eq!(world.subscribe(client, "c", QoS::AtMostOnce), refused);
        assert_eq!(
            world.subscribe(client, "b", QoS::AtLeastOnce),
            1,
            "not a new one"
        );
    }
}
