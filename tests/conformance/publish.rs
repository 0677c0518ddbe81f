//! MQTT 5.0 §3.3, §4.5: PUBLISH, and who gets it.

use whimbrel_core::action::{CloseReason, Event, PublishRefusal};
use whimbrel_core::codec::packet::{PacketType, Publish, QoS, SubscribeOptions, Version};
use whimbrel_core::codec::property::Property;
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::codec::{Packet, Properties};
use whimbrel_core::config::{Config, Limits};
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, properties, publish};

/// [MQTT-3.3.4-1] [MQTT-4.3.2-4] [MQTT-4.3.3-8]
#[test]
fn a_publish_is_answered_as_its_qos_asks() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.connect(version, "client");
        for (qos, expected) in [
            (QoS::AtMostOnce, None),
            (QoS::AtLeastOnce, Some(PacketType::PubAck)),
            (QoS::ExactlyOnce, Some(PacketType::PubRec)),
        ] {
            world.send(client, &Packet::Publish(publish("t", b"x", qos, 77)));
            let answer = world.next(client);
            let answer = answer.as_ref().map(|received| received.ack());
            assert_eq!(answer.map(|(kind, ..)| kind), expected);
            assert_eq!(answer.map_or(77, |(_, id, _)| id), 77);
        }
    }
}

#[test]
fn a_v5_publisher_hears_that_nobody_has_subscribed() {
    let mut world = World::default();
    let client = world.connect(Version::V5, "client");
    world.publish(client, "t", b"x", QoS::AtLeastOnce);
    let reason = world.hear(client).ack().2;
    assert_eq!(reason, ReasonCode::NO_MATCHING_SUBSCRIBERS);
    world.subscribe(client, "t", QoS::AtMostOnce);
    world.publish(client, "t", b"x", QoS::AtLeastOnce);
    let answers = world.drain(client);
    assert_eq!(answers.last().expect("PUBACK").ack().2, ReasonCode::SUCCESS);
}

/// [MQTT-4.5.0-1]
#[test]
fn a_message_goes_to_every_session_with_a_matching_subscription() {
    for version in VERSIONS {
        let mut world = World::default();
        let publisher = world.connect(version, "publisher");
        let matching = ["a/b", "a/+", "+/b", "a/#", "#", "+/+"];
        let others = ["a", "b", "a/b/c", "+", "a/c", "/a/b"];
        let clients: Vec<_> = matching
            .into_iter()
            .chain(others)
            .map(|filter| {
                let client = world.connect(version, filter);
                world.subscribe(client, filter, QoS::AtMostOnce);
                (filter, client)
            })
            .collect();
        let away = world.resume(version, "away");
        world.subscribe(away, "a/b", QoS::AtLeastOnce);
        world.cut(away);
        world.publish(publisher, "a/b", b"x", QoS::AtLeastOnce);
        for (filter, client) in clients {
            let expected = usize::from(matching.contains(&filter));
            assert_eq!(world.payloads(client).len(), expected, "{filter}");
        }
        let away = world.resume(version, "away");
        assert_eq!(world.take_all(away), ["x"]);
    }
}

/// [MQTT-3.3.1-3]
#[test]
fn dup_of_the_publisher_is_its_own_affair() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = world.connect(version, "client");
        world.subscribe(client, "t", QoS::ExactlyOnce);
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let again = Publish {
                dup: true,
                ..publish("t", b"x", qos, 9)
            };
            world.send(client, &Packet::Publish(again));
            let heard = world.drain(client);
            let delivered = heard.iter().find_map(|received| match received.packet() {
                Packet::Publish(publish) => Some(publish.dup),
                _ => None,
            });
            assert_eq!(delivered, Some(false));
        }
    }
}

/// [MQTT-3.3.1-12] [MQTT-3.3.1-13]
#[test]
fn retain_is_cleared_unless_it_was_asked_for() {
    let mut world = World::default();
    let publisher = world.connect(Version::V4, "publisher");
    for retain_as_published in [false, true] {
        for retain in [false, true] {
            let client = world.connect(Version::V5, "client");
            let options = SubscribeOptions {
                retain_as_published,
                ..SubscribeOptions::default()
            };
            world.subscribe_with(client, "t", options, Properties::EMPTY);
            world.drain(client);
            let message = Publish {
                retain,
                ..publish("t", b"x", QoS::AtMostOnce, 1)
            };
            world.send(publisher, &Packet::Publish(message));
            let received = world.hear(client);
            assert_eq!(received.publish().retain, retain && retain_as_published);
        }
    }
    for version in [Version::V3, Version::V4] {
        let client = world.connect(version, "old");
        world.subscribe(client, "u", QoS::AtMostOnce);
        let message = Publish {
            retain: true,
            ..publish("u", b"x", QoS::AtMostOnce, 1)
        };
        world.send(publisher, &Packet::Publish(message));
        assert!(!world.hear(client).publish().retain);
        world.send(
            publisher,
            &Packet::Publish(Publish {
                payload: b"",
                ..message
            }),
        );
    }
}

/// [MQTT-3.3.2-2]
#[test]
fn a_topic_name_with_wildcards_ends_the_connection() {
    for version in VERSIONS {
        for topic in ["a/+", "#", "a/#", ""] {
            let mut world = World::default();
            let client = world.connect(version, "client");
            let message = Packet::Publish(publish(topic, b"x", QoS::AtMostOnce, 1));
            let reason = world.refused(client, &message);
            let expected = (version == Version::V5).then_some(ReasonCode::TOPIC_NAME_INVALID);
            assert_eq!(reason, expected, "{topic}");
        }
    }
}

#[test]
fn a_topic_name_that_is_too_long_or_too_deep_ends_the_connection() {
    let limits = Limits {
        topic_bytes_maximum: 10,
        topic_levels_maximum: 3,
        ..Limits::default()
    };
    for (topic, fits) in [
        ("0123456789", true),
        ("0123456789a", false),
        ("a/b/c", true),
        ("a/b/c/d", false),
    ] {
        let mut world = World::new(Config {
            limits: limits.clone(),
            ..Config::default()
        });
        let client = world.connect(Version::V5, "client");
        world.publish(client, topic, b"x", QoS::AtMostOnce);
        assert_eq!(world.is_closed(client), !fits, "{topic}");
        let client = world.connect(Version::V5, "client");
        let reason = world.subscribe(client, topic, QoS::AtMostOnce);
        let refused = ReasonCode::TOPIC_FILTER_INVALID.0;
        assert_eq!(reason, if fits { 0 } else { refused }, "{topic}");
    }
}

/// [MQTT-3.3.4-6]
#[test]
fn a_client_does_not_send_subscription_identifiers() {
    let mut world = World::default();
    let client = world.connect(Version::V5, "client");
    let list = properties(&[Property::SubscriptionIdentifier(3)]);
    let message = Publish {
        properties: list.as_properties(),
        ..publish("t", b"x", QoS::AtMostOnce, 1)
    };
    let reason = world.refused(client, &Packet::Publish(message));
    assert_eq!(reason, Some(ReasonCode::PROTOCOL_ERROR));
}

#[test]
fn more_user_properties_than_the_limit_end_the_connection() {
    let mut world = World::new(Config {
        limits: Limits {
            user_properties_maximum: 2,
            ..Limits::default()
        },
        ..Config::default()
    });
    let client = world.connect(Version::V5, "client");
    let two = [Property::UserProperty("k", "v"); 2];
    let list = properties(&two);
    let message = Publish {
        properties: list.as_properties(),
        ..publish("t", b"x", QoS::AtMostOnce, 1)
    };
    world.send(client, &Packet::Publish(message));
    assert!(!world.is_closed(client));
    let three = [Property::UserProperty("k", "v"); 3];
    let list = properties(&three);
    let message = Publish {
        properties: list.as_properties(),
        ..publish("t", b"x", QoS::AtMostOnce, 1)
    };
    let reason = world.refused(client, &Packet::Publish(message));
    assert_eq!(reason, Some(ReasonCode::QUOTA_EXCEEDED));
}

/// [MQTT311-3.3.5-2] [MQTT-4.3.3-9]
#[test]
fn the_brokers_own_topics_are_not_for_clients() {
    for version in VERSIONS {
        let mut world = World::default();
        let watcher = world.connect(version, "watcher");
        world.subscribe(watcher, "$SYS/#", QoS::ExactlyOnce);
        let client = world.connect(version, "client");
        let expected = match version {
            // There are no words for it: acknowledged as if it had been taken in.
            Version::V3 | Version::V4 => ReasonCode::SUCCESS,
            Version::V5 => ReasonCode::NOT_AUTHORIZED,
        };
        world.publish(client, "$SYS/forged", b"x", QoS::AtMostOnce);
        world.hears_nothing(client);
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            world.publish(client, "$SYS/forged", b"x", qos);
            assert_eq!(world.hear(client).ack().2, expected);
        }
        // The identifier is free: the next message with it is a new one.
        world.subscribe(watcher, "t", QoS::AtMostOnce);
        world.publish(client, "t", b"new", QoS::ExactlyOnce);
        assert_eq!(world.hear(client).ack().2, ReasonCode::SUCCESS);
        assert_eq!(world.payloads(watcher), ["new"]);
    }
}

/// What its properties take counts, too: it is not acknowledged and then not retained.
#[test]
fn what_is_retained_is_measured_with_its_properties() {
    let mut config = Config::default();
    config.limits.retained_bytes_maximum = 500;
    let mut world = World::new(config);
    let client = world.connect(Version::V5, "client");
    let reason = |world: &mut World, topic, text: &str| {
        let buffer = properties(&[Property::UserProperty("why", text)]);
        let message = Publish {
            retain: true,
            properties: buffer.as_properties(),
            ..publish(topic, b"x", QoS::AtLeastOnce, 1)
        };
        world.send(client, &Packet::Publish(message));
        world.hear(client).ack().2
    };
    let long = "x".repeat(600);
    assert_eq!(reason(&mut world, "a", &long), ReasonCode::QUOTA_EXCEEDED);
    assert!(!reason(&mut world, "b", "short").is_error());
    let statistics = world.statistics();
    assert_eq!(statistics.retained_messages, 1);
    assert_eq!(statistics.publishes_refused, 1);
    assert_eq!(statistics.retained_refused, 0);
}

/// Of each connection the 1st, 2nd, 4th, … is told, also what was delivered and no more.
#[test]
fn what_is_not_retained_is_told_ever_more_rarely() {
    let mut config = Config::default();
    config.limits.retained_messages_maximum = 0;
    let mut world = World::new(config);
    let client = world.connect(Version::V5, "client");
    for _ in 0..9 {
        let message = Publish {
            retain: true,
            ..publish("a", b"x", QoS::AtMostOnce, 0)
        };
        world.send(client, &Packet::Publish(message));
    }
    let told = world.events.iter().filter_map(|event| match event {
        Event::PublishRefused {
            why: PublishRefusal::Retained,
            was_delivered: true,
            count,
            ..
        } => Some(*count),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [1, 2, 4, 8]);
    assert_eq!(world.statistics().retained_refused, 9);
}

/// [MQTT311-4.8.0-2]
#[test]
fn what_cannot_be_kept_now_is_refused_or_ends_the_connection() {
    for version in VERSIONS {
        let mut world = World::new(Config {
            limits: Limits {
                retained_messages_maximum: 1,
                ..Limits::default()
            },
            ..Config::default()
        });
        let client = world.connect(version, "client");
        let first = Publish {
            retain: true,
            ..publish("a", b"x", QoS::AtLeastOnce, 1)
        };
        world.send(client, &Packet::Publish(first));
        assert!(!world.hear(client).ack().2.is_error());
        let second = Publish {
            topic: "b",
            ..first
        };
        world.send(client, &Packet::Publish(second));
        if version == Version::V5 {
            assert_eq!(world.hear(client).ack().2, ReasonCode::QUOTA_EXCEEDED);
            assert!(!world.is_closed(client));
        } else {
            assert!(world.is_closed(client));
        }
        assert_eq!(world.statistics().retained_messages, 1);
        let of_retained = "limits.retained_messages_maximum, limits.retained_bytes_maximum";
        let says_why = |event: &Event| match event {
            Event::PublishRefused { topic, why, .. } => {
                &**topic == "b" && why.limits() == Some(of_retained)
            }
            Event::Disconnected { why, .. } => {
                *why == CloseReason::Limit(ReasonCode::QUOTA_EXCEEDED, of_retained)
            }
            _ => false,
        };
        assert_eq!(
            world.events.iter().filter(|event| says_why(event)).count(),
            1
        );
    }
}

/// Who gets the same message as others gets a copy of it: of its version, its QoS and its RETAIN.
/// [MQTT-3.3.1-12] [MQTT-3.3.1-13]
#[test]
fn everybody_gets_a_copy_of_its_own_kind() {
    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    let mut kinds = Vec::new();
    for version in VERSIONS {
        for maximum_qos in qos {
            // Two of each: the second is a copy.
            kinds.extend([(version, maximum_qos, false); 2]);
            kinds.extend([(version, maximum_qos, true); 2]);
        }
    }
    for is_reversed in [false, true] {
        // Who is served first is of another kind then.
        kinds.reverse();
        let mut world = World::new(Config::default());
        let subscribers = kinds.iter().enumerate().map(|(number, kind)| {
            let (version, maximum_qos, retain_as_published) = *kind;
            let id = world.connect(version, &format!("subscriber {number}"));
            let options = SubscribeOptions {
                maximum_qos,
                retain_as_published,
                ..SubscribeOptions::default()
            };
            world.subscribe_with(id, "t", options, Properties::EMPTY);
            (
                id,
                maximum_qos,
                retain_as_published && version == Version::V5,
            )
        });
        let subscribers: Vec<_> = subscribers.collect();
        let publisher = world.connect(Version::V5, "publisher");
        for (number, published) in (1..).zip(qos) {
            let message = Publish {
                retain: number % 2 == u16::from(is_reversed),
                ..publish("t", b"payload", published, number)
            };
            world.send(publisher, &Packet::Publish(message));
            for (id, granted, keeps_retain) in &subscribers {
                let came = world.hear(*id);
                let Packet::Publish(came) = came.packet() else {
                    panic!("{came:?}")
                };
                assert_eq!((came.topic, came.payload), ("t", &b"payload"[..]));
                assert_eq!(came.qos, published.min(*granted));
                let expected = (message.retain && *keeps_retain, false);
                assert_eq!((came.retain, came.dup), expected);
                assert_eq!(came.packet_id.is_some(), came.qos > QoS::AtMostOnce);
                world.hears_nothing(*id);
            }
        }
    }
}
