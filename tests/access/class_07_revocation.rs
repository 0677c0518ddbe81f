//! Class 7: rights that are lost. What was granted under them ends: subscriptions, wills, what
//! waits, what is under way, and what is retained.

use crate::{connect_as, enter_as, lasting_as, rules, with_config, with_rules};
use whimbrel_core::codec::packet::{Connect, PacketType, Publish, QoS, Version};
use whimbrel_core::codec::property::Property;
use whimbrel_core::codec::{Packet, ReasonCode};
use whimbrel_core::config::{RevokedSubscription, SessionConfig};
use whimbrel_core::{Config, Event, Grant, Verdict};
use whimbrel_tests::world::{VERSIONS, World, connect, lasting, properties, publish, will};

const ALL: &str = "[[rule]]\nallow = \"all\"\ntopics = \"#\"\n";

/// Everything but what is below `lost`, which only the user `p` keeps.
const LOST: &str = "
[[rule]]
allow = \"all\"
topics = \"#\"
users = \"p\"
[[rule]]
deny = \"all\"
topics = \"lost/#\"
[[rule]]
allow = \"all\"
topics = \"#\"
";

const DENIED: u8 = ReasonCode::NOT_AUTHORIZED.0;

fn lose(world: &mut World) {
    world.broker.set_rules(world.now, Some(rules(LOST)));
    world.run();
}

fn durable(text: &str) -> World {
    let config = Config {
        durable: true,
        ..Config::default()
    };
    with_config(text, config)
}

#[test]
fn a_publisher_is_stopped_at_once_whatever_was_remembered() {
    let mut world = with_rules(ALL);
    let client = enter_as(&mut world, Version::V5, "c", "u");
    for expected in [false, false, false, true, true] {
        if expected {
            lose(&mut world);
        }
        world.publish(client, "lost/a", b"x", QoS::AtLeastOnce);
        assert_eq!(world.hear(client).ack().2.0 == DENIED, expected);
    }
}

#[test]
fn a_subscription_ends_and_its_client_is_told() {
    for version in VERSIONS {
        let mut world = durable(ALL);
        let publisher = enter_as(&mut world, Version::V5, "p", "p");
        let (client, _) = world.enter(&lasting_as(version, "c", "u"));
        let (other, _) = world.enter(&lasting_as(version, "d", "v"));
        for filter in ["lost/#", "kept", "$share/g/lost/x"] {
            world.subscribe(client, filter, QoS::AtLeastOnce);
        }
        world.subscribe(other, "kept", QoS::AtLeastOnce);
        lose(&mut world);
        let expected = (version == Version::V5).then_some(ReasonCode::NOT_AUTHORIZED);
        assert_eq!(world.farewell(client), expected);
        assert!(!world.is_closed(other), "who loses nothing notices nothing");
        assert!(!world.is_closed(publisher));
        assert_eq!(world.broker.statistics().subscriptions_revoked, 2);
        let revoked = |event: &&Event| matches!(event, Event::SubscriptionRevoked { line: 6, .. });
        assert_eq!(world.events.iter().filter(revoked).count(), 2);
        // Nor is it there after a restart.
        world.crash();
        assert_eq!(world.broker.statistics().subscriptions, 2);
    }
}

/// Where the operator would rather keep clients than tell them.
#[test]
fn a_client_may_stay_without_what_it_has_lost() {
    let config = Config {
        session: SessionConfig {
            revoked_subscription: RevokedSubscription::Stay,
            ..SessionConfig::default()
        },
        ..Config::default()
    };
    for version in VERSIONS {
        let mut world = with_config(ALL, config.clone());
        let publisher = enter_as(&mut world, Version::V5, "p", "p");
        let client = enter_as(&mut world, version, "c", "u");
        for filter in ["lost/#", "kept"] {
            world.subscribe(client, filter, QoS::AtMostOnce);
        }
        lose(&mut world);
        assert!(!world.is_closed(client));
        assert_eq!(world.broker.statistics().subscriptions_revoked, 1);
        for topic in ["lost/a", "kept"] {
            world.publish(publisher, topic, b"x", QoS::AtMostOnce);
        }
        assert_eq!(world.hear(client).publish().topic, "kept");
        world.hears_nothing(client);
    }
}

#[test]
fn a_subscription_of_somebody_who_is_away_ends_before_anything_is_delivered() {
    for version in VERSIONS {
        for is_restarted in [false, true] {
            let mut world = durable(ALL);
            let (client, _) = world.enter(&lasting_as(version, "c", "u"));
            world.subscribe(client, "lost/#", QoS::ExactlyOnce);
            world.subscribe(client, "kept", QoS::ExactlyOnce);
            world.cut(client);
            let publisher = enter_as(&mut world, Version::V5, "p", "p");
            for topic in ["lost/a", "kept"] {
                world.publish_exactly_once(publisher, topic, topic.as_bytes());
            }
            if is_restarted {
                world.crash();
            }
            lose(&mut world);
            let client = world.open_with(&lasting_as(version, "c", "u"));
            let answer = world.hear(client);
            let answer = answer.conn_ack();
            if version == Version::V5 {
                let reason = answer.properties.reason_string();
                assert_eq!(reason, Some("1 subscriptions no longer allowed"));
            }
            assert_eq!(world.take_all(client), ["kept"]);
            let publisher = enter_as(&mut world, Version::V5, "p", "p");
            world.publish_exactly_once(publisher, "lost/b", b"lost/b");
            assert_eq!(world.take_all(client), Vec::<String>::new());
            assert_eq!(world.broker.statistics().subscriptions, 1);
        }
    }
}

#[test]
fn what_was_in_flight_is_not_sent_again_to_who_may_no_longer_receive_it() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = durable(ALL);
        let (client, _) = world.enter(&lasting_as(Version::V5, "c", "u"));
        world.subscribe(client, "#", qos);
        let publisher = enter_as(&mut world, Version::V5, "p", "p");
        for (topic, id) in [("lost/a", 1), ("kept", 2)] {
            let packet = publish(topic, topic.as_bytes(), qos, id);
            world.send(publisher, &Packet::Publish(packet));
        }
        assert_eq!(
            world.payloads(client),
            ["lost/a", "kept"],
            "sent, not acknowledged"
        );
        world.cut(client);
        lose(&mut world);
        let (client, _) = world.enter(&lasting_as(Version::V5, "c", "u"));
        if qos == QoS::ExactlyOnce {
            // It may have arrived: its identifier is not free before the client says so.
            let released = (PacketType::PubRel, 1, ReasonCode::SUCCESS);
            assert_eq!(world.hear(client).ack(), released);
            world.answer(client, Packet::PubComp, 1, ReasonCode::SUCCESS);
        }
        assert_eq!(world.take_all(client), ["kept"]);
        let dropped = whimbrel_core::action::DropReason::NotAllowed;
        assert_eq!(world.broker.statistics().dropped_because(dropped), 1);
        assert_eq!(world.broker.statistics().inflight_bytes, 0);
    }
}

/// mosquitto 2.0.12: a QoS 2 message that was taken in is not routed a second time when its
/// publisher resumes, whoever he is by then.
/// A retained message belongs to its topic, not to who has published it: it stays, but nobody gets
/// it who may not receive it, by whatever subscription.
#[test]
fn what_is_retained_reaches_nobody_who_may_no_longer_receive_it() {
    const FILTER: &str = "wide_subscriptions = \"filter\"\n";
    for version in VERSIONS {
        let mut world = with_rules(&format!("{FILTER}{ALL}"));
        let publisher = enter_as(&mut world, Version::V5, "p", "p");
        for topic in ["lost/a", "kept"] {
            let message = Packet::Publish(Publish {
                retain: true,
                ..publish(topic, b"x", QoS::AtMostOnce, 0)
            });
            world.send(publisher, &message);
        }
        let client = enter_as(&mut world, version, "c", "u");
        world
            .broker
            .set_rules(world.now, Some(rules(&format!("{FILTER}{LOST}"))));
        world.run();
        assert_eq!(
            world.subscribe(client, "lost/a", QoS::AtMostOnce),
            match version {
                Version::V5 => DENIED,
                Version::V3 | Version::V4 => 0x80,
            }
        );
        world.subscribe(client, "#", QoS::AtMostOnce);
        assert_eq!(world.hear(client).publish().topic, "kept");
        world.hears_nothing(client);
        // Who may still receive it does.
        world.subscribe(publisher, "#", QoS::AtMostOnce);
        let mut heard: Vec<String> = (0..2)
            .map(|_| world.hear(publisher).publish().topic.to_owned())
            .collect();
        heard.sort();
        assert_eq!(heard, ["kept", "lost/a"]);
    }
}

#[test]
fn an_incoming_message_of_qos_2_is_decided_when_it_comes() {
    let mut world = durable(ALL);
    let listener = enter_as(&mut world, Version::V5, "p", "p");
    world.subscribe(listener, "#", QoS::AtMostOnce);
    let (client, _) = world.enter(&lasting_as(Version::V5, "c", "u"));
    world.publish(client, "lost/a", b"once", QoS::ExactlyOnce);
    world.cut(client);
    lose(&mut world);
    let (client, _) = world.enter(&lasting_as(Version::V5, "c", "u"));
    world.send(
        client,
        &Packet::Publish(Publish {
            dup: true,
            ..publish("lost/a", b"once", QoS::ExactlyOnce, 1)
        }),
    );
    assert_eq!(world.hear(client).ack().0, PacketType::PubRec);
    world.answer(client, Packet::PubRel, 1, ReasonCode::SUCCESS);
    assert_eq!(world.payloads(listener), ["once"]);
    world.publish(client, "lost/a", b"twice", QoS::ExactlyOnce);
    world.hears_nothing(listener);
}

#[test]
fn a_will_is_not_published_when_its_right_is_lost() {
    for version in VERSIONS {
        let mut world = durable(ALL);
        let listener = enter_as(&mut world, Version::V5, "p", "p");
        world.subscribe(listener, "lost/#", QoS::AtMostOnce);
        let (client, _) = world.enter(&Connect {
            will: Some(will("lost/c", b"gone")),
            ..connect_as(version, "c", "u")
        });
        lose(&mut world);
        world.cut(client);
        world.hears_nothing(listener);
        assert_eq!(world.broker.statistics().denied[0], 1);
    }
}

#[test]
fn a_delayed_will_is_looked_at_when_it_is_due_and_after_a_restart() {
    for (is_restarted, is_lost) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut world = durable(ALL);
        let delay = properties(&[Property::WillDelayInterval(60)]);
        let (client, _) = world.enter(&Connect {
            will: Some(whimbrel_core::codec::packet::Will {
                properties: delay.as_properties(),
                ..will("lost/c", b"gone")
            }),
            ..lasting_as(Version::V5, "c", "u")
        });
        world.cut(client);
        if is_restarted {
            world.crash();
        }
        if is_lost {
            lose(&mut world);
        }
        let listener = enter_as(&mut world, Version::V5, "p", "p");
        world.subscribe(listener, "lost/#", QoS::AtMostOnce);
        world.pass_ms(61_000);
        let expected: &[&str] = if is_lost { &[] } else { &["gone"] };
        assert_eq!(
            world.payloads(listener),
            expected,
            "{is_restarted} {is_lost}"
        );
    }
}

#[test]
fn who_comes_back_in_fewer_groups_has_what_these_allow() {
    const BY_GROUP: &str = "
[[rule]]
allow = \"all\"
topics = \"#\"
groups = \"staff\"
[[rule]]
allow = \"all\"
topics = \"kept\"
";
    let mut world = durable(BY_GROUP);
    let mut visits = 0;
    world.judge(move |credentials| {
        visits += u32::from(credentials.client_id == "c");
        Some(Verdict::Accept(Grant {
            groups: match visits < 2 {
                true => vec!["staff".to_owned()],
                false => Vec::new(),
            },
            ..Grant::to("u")
        }))
    });
    let (client, _) = world.enter(&lasting(Version::V5, "c"));
    world.subscribe(client, "lost", QoS::AtLeastOnce);
    world.subscribe(client, "kept", QoS::AtLeastOnce);
    let (publisher, _) = world.enter(&connect(Version::V5, "p"));
    world.cut(client);
    for topic in ["lost", "kept"] {
        world.publish(publisher, topic, topic.as_bytes(), QoS::AtLeastOnce);
    }
    let (client, is_present) = world.enter(&lasting(Version::V5, "c"));
    assert!(is_present);
    assert_eq!(world.take_all(client), ["kept"]);
}

#[test]
fn many_sessions_are_looked_at_in_steps_and_none_receives_meanwhile() {
    let mut world = with_rules(ALL);
    let clients: Vec<_> = (0..1_000)
        .map(|n| {
            let id = format!("c{n}");
            let client = enter_as(&mut world, Version::V5, &id, "u");
            world.subscribe(client, "lost/x", QoS::AtMostOnce);
            client
        })
        .collect();
    let publisher = enter_as(&mut world, Version::V5, "p", "p");
    world.publish(publisher, "lost/x", b"1", QoS::AtMostOnce);
    world.broker.set_rules(world.now, Some(rules(LOST)));
    // Nothing is drained in between.
    let mut bytes = Vec::new();
    let packet = Packet::Publish(publish("lost/x", b"2", QoS::AtMostOnce, 0));
    whimbrel_core::codec::encode(&packet, Version::V5, &mut bytes).unwrap();
    world.broker.receive(world.now, publisher, &bytes);
    world.run();
    for client in clients {
        assert_eq!(world.next_publish(client).1, b"1");
        assert_eq!(world.farewell(client), Some(ReasonCode::NOT_AUTHORIZED));
    }
    assert!(!world.is_closed(publisher));
}
