//! Rules at work: what is asked, when, and how a refusal is told.

use crate::{by_name, connect_as, enter_as, lasting_as, rules, with_config, with_rules};
use whimbrel_core::access::identity::{Certificate, Grant};
use whimbrel_core::access::rule::{Effect, Operation, Operations, Pattern, Rule};
use whimbrel_core::action::DropReason;
use whimbrel_core::codec::packet::{Connect, QoS, SubscribeOptions, Version};
use whimbrel_core::codec::{Packet, Properties, ReasonCode};
use whimbrel_core::config::AccessConfig;
use whimbrel_core::{Config, Event, Peer, Verdict};
use whimbrel_tests::world::{VERSIONS, World, connect, lasting, publish, will};

/// Meters report and hear about themselves; the office hears all.
const METERS: &str = "
[groups]
office = [\"olga\"]

[[rule]]
allow = \"publish\"
topics = \"meters/%c/report\"

[[rule]]
allow = [\"subscribe\", \"receive\"]
topics = \"meters/%c/#\"

[[rule]]
allow = \"all\"
topics = [\"meters/#\", \"news\"]
groups = \"office\"
";

const DENIED: u8 = ReasonCode::NOT_AUTHORIZED.0;

/// How a version says in SUBACK that a subscription is refused.
fn refusal(version: Version) -> u8 {
    match version {
        Version::V5 => DENIED,
        Version::V3 | Version::V4 => 0x80,
    }
}

#[test]
fn what_no_rule_allows_is_denied() {
    for version in VERSIONS {
        let mut world = with_rules(METERS);
        let olga = enter_as(&mut world, version, "desk", "olga");
        assert_eq!(world.subscribe(olga, "meters/#", QoS::AtLeastOnce), 1);
        let meter = enter_as(&mut world, version, "m1", "meter");
        for (topic, qos) in [
            ("meters/m1/report", QoS::AtMostOnce),
            ("meters/m2/report", QoS::AtMostOnce),
            ("meters/m1/other", QoS::AtLeastOnce),
            ("news", QoS::AtLeastOnce),
            ("meters/m1/report", QoS::AtLeastOnce),
            ("meters/m1", QoS::ExactlyOnce),
        ] {
            world.publish(meter, topic, b"x", qos);
        }
        assert_eq!(world.take_all(olga), ["x", "x"]);
        assert_eq!(world.broker.statistics().denied, [4, 0, 0]);
        assert!(!world.is_closed(meter));
        let answers = world.drain(meter);
        let reasons: Vec<u8> = answers.iter().map(|answer| answer.ack().2.0).collect();
        let expected = match version {
            Version::V5 => [DENIED, DENIED, 0, DENIED],
            Version::V3 | Version::V4 => [0; 4],
        };
        assert_eq!(reasons, expected);
    }
}

#[test]
fn a_refused_message_of_3x_at_qos_2_goes_through_its_exchange_and_nowhere_else() {
    let mut world = with_rules(METERS);
    let olga = enter_as(&mut world, Version::V5, "desk", "olga");
    world.subscribe(olga, "meters/#", QoS::ExactlyOnce);
    let meter = enter_as(&mut world, Version::V4, "m1", "meter");
    world.publish_exactly_once(meter, "meters/m2/report", b"x");
    world.hears_nothing(olga);
}

#[test]
fn a_subscription_is_compared_as_a_filter() {
    for version in VERSIONS {
        let mut world = with_rules(METERS);
        let meter = enter_as(&mut world, version, "m1", "meter");
        for (filter, allowed) in [
            ("meters/m1/#", true),
            ("meters/m1", true),
            ("meters/m1/+", true),
            ("$share/g/meters/m1/a", true),
            ("#", false),
            ("+/m1/#", false),
            ("meters/+/report", false),
            ("meters/#", false),
            ("meters/m2", false),
            ("$share/g/meters/#", false),
            ("$share/meters/m1/#", false),
        ] {
            let expected = if allowed { 0 } else { refusal(version) };
            let said = world.subscribe(meter, filter, QoS::AtMostOnce);
            assert_eq!(said, expected, "{filter}");
        }
        assert_eq!(world.broker.statistics().subscriptions, 4);
        assert_eq!(world.broker.statistics().denied, [0, 7, 0]);
    }
}

/// A topic for each thing that a rule can ask for.
const TEXT: &str = "
[[rule]]
allow = \"publish\"
topics = \"user\"
users = [\"u\", \"bot-*\"]
[[rule]]
allow = \"publish\"
topics = \"client\"
clients = \"c\"
[[rule]]
allow = \"publish\"
topics = \"group\"
groups = \"g\"
[[rule]]
allow = \"publish\"
topics = \"listener\"
listeners = \"outside\"
[[rule]]
allow = \"publish\"
topics = \"address\"
addresses = \"192.0.2.0/24\"
[[rule]]
allow = \"publish\"
topics = \"certificate\"
certificates = \"device.example\"
[[rule]]
allow = \"publish\"
topics = \"organization\"
organizations = \"Example\"
[[rule]]
allow = \"publish\"
topics = \"named\"
authenticated = true
[[rule]]
allow = \"publish\"
topics = \"anonymous\"
authenticated = false
";

#[test]
fn who_may_do_what_depends_on_each_thing_that_is_known() {
    let certificate = Certificate::new(
        Some("other".into()),
        Some("Example".into()),
        vec!["device.example".into()],
    );
    let certificate = certificate.unwrap();
    let known = Peer {
        address: Some("192.0.2.7:1".parse().unwrap()),
        listener: 1,
        certificate: Some(Box::new(certificate)),
        ..Peer::default()
    };
    let all = [
        "user",
        "client",
        "group",
        "listener",
        "address",
        "certificate",
        "organization",
        "named",
        "anonymous",
    ];
    for (peer, client_id, user, groups, expected) in [
        (Peer::default(), "x", None, &[][..], &["anonymous"][..]),
        (
            Peer::default(),
            "x",
            Some("u"),
            &["g"],
            &["user", "group", "named"],
        ),
        (
            Peer::default(),
            "c",
            Some("bot-1"),
            &[],
            &["user", "client", "named"],
        ),
        (
            known,
            "x",
            Some("v"),
            &["h"],
            &[
                "listener",
                "address",
                "certificate",
                "organization",
                "named",
            ],
        ),
    ] {
        let mut world = with_rules(TEXT);
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        world.judge(move |credentials| {
            Some(Verdict::Accept(Grant {
                user: credentials.username.clone(),
                groups: groups.clone(),
                ..Grant::default()
            }))
        });
        let client = world.open_from(peer);
        world.set_version(client, Version::V5);
        let packet = Connect {
            username: user,
            ..connect(Version::V5, client_id)
        };
        world.send(client, &Packet::Connect(packet));
        world.hear(client);
        let mut may = Vec::new();
        for topic in all {
            world.publish(client, topic, b"x", QoS::AtLeastOnce);
            if world.hear(client).ack().2.0 != DENIED {
                may.push(topic);
            }
        }
        assert_eq!(may, expected, "{client_id} {user:?}");
    }
}

#[test]
fn rules_of_a_token_come_before_those_of_the_broker() {
    let mut world = with_rules(METERS);
    world.judge(|_| {
        let rule = |effect, topic| {
            let topic = Pattern::new(topic).unwrap();
            Rule::new(effect, Operations::ALL, vec![topic])
        };
        Some(Verdict::Accept(Grant {
            rules: vec![
                rule(Effect::Deny, "meters/%c/report"),
                rule(Effect::Allow, "own/#"),
            ],
            ..Grant::to("olga")
        }))
    });
    let (client, _) = world.enter(&connect(Version::V5, "m1"));
    for (topic, denied) in [
        ("meters/m1/report", true),
        ("own/a", false),
        ("meters/m2/report", false),
        ("else", true),
    ] {
        world.publish(client, topic, b"x", QoS::AtLeastOnce);
        assert_eq!(world.hear(client).ack().2.0 == DENIED, denied, "{topic}");
    }
}

#[test]
fn a_token_without_rules_of_the_broker_binds_all_the_same() {
    let mut world = World::default();
    world.judge(|_| {
        let topics = vec![Pattern::new("own/#").unwrap()];
        Some(Verdict::Accept(Grant {
            rules: vec![Rule::new(Effect::Allow, Operations::ALL, topics)],
            ..Grant::to("u")
        }))
    });
    let (client, _) = world.enter(&connect(Version::V5, "c"));
    assert_eq!(world.subscribe(client, "own/#", QoS::AtMostOnce), 0);
    assert_eq!(world.subscribe(client, "#", QoS::AtMostOnce), DENIED);
}

const WIDE: &str = "
wide_subscriptions = \"filter\"

[[rule]]
deny = \"receive\"
topics = \"a/secret\"
[[rule]]
allow = \"all\"
topics = \"a/#\"
users = \"u\"
[[rule]]
allow = \"publish\"
topics = \"#\"
users = \"p\"
[[rule]]
allow = \"all\"
topics = \"#\"
users = \"root\"
";

#[test]
fn a_wide_subscription_brings_what_may_be_received_where_that_is_set() {
    for version in VERSIONS {
        let mut world = with_rules(WIDE);
        let publisher = enter_as(&mut world, Version::V5, "p", "p");
        let retained = |topic| {
            Packet::Publish(whimbrel_core::codec::packet::Publish {
                retain: true,
                ..publish(topic, b"kept", QoS::AtMostOnce, 0)
            })
        };
        for topic in ["a/1", "a/secret", "b"] {
            world.send(publisher, &retained(topic));
        }
        let client = enter_as(&mut world, version, "c", "u");
        assert_eq!(world.subscribe(client, "#", QoS::AtLeastOnce), 1);
        assert_eq!(
            world.next_publish(client).0,
            "a/1",
            "of what is retained as well"
        );
        world.hears_nothing(client);
        // More than once, so that what was remembered is used.
        for _ in 0..3 {
            for topic in ["a/1", "a/secret", "b", "a"] {
                world.publish(publisher, topic, topic.as_bytes(), QoS::AtMostOnce);
            }
            assert_eq!(world.payloads(client), ["a/1", "a"]);
        }
        assert_eq!(
            world.subscribe(client, "c/#", QoS::AtMostOnce),
            refusal(version)
        );
    }
}

#[test]
fn somebody_else_of_the_group_gets_what_a_member_may_not_receive() {
    let mut world = with_rules(WIDE);
    let narrow = enter_as(&mut world, Version::V5, "c", "u");
    let wide = enter_as(&mut world, Version::V5, "d", "root");
    for member in [narrow, wide] {
        world.subscribe(member, "$share/g/#", QoS::AtLeastOnce);
    }
    let publisher = enter_as(&mut world, Version::V5, "p", "p");
    for _ in 0..4 {
        world.publish(publisher, "b", b"b", QoS::AtMostOnce);
    }
    assert_eq!(world.payloads(narrow), Vec::<String>::new());
    assert_eq!(world.payloads(wide), ["b"; 4]);
}

/// Wherever that one is: a shard whose members may not have it hands it on.
#[test]
fn somebody_else_of_the_group_on_another_shard_gets_it() {
    for wide_count in [3, 0] {
        let access = AccessConfig {
            rules: Some(rules(WIDE)),
            ..AccessConfig::default()
        };
        let config = Config {
            access,
            ..Config::default()
        };
        let mut world = World::with_shards(config, 4);
        world.judge(by_name);
        let members: Vec<_> = (0..12)
            .map(|number| {
                let user = if number < wide_count { "root" } else { "u" };
                let member = enter_as(&mut world, Version::V5, &format!("m{number}"), user);
                world.subscribe(member, "$share/g/#", QoS::AtLeastOnce);
                member
            })
            .collect();
        for number in 0..8 {
            let publisher = enter_as(&mut world, Version::V5, &format!("p{number}"), "p");
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
                for _ in 0..10 {
                    world.publish(publisher, "b", b"b", qos);
                }
            }
            assert_eq!(world.drain(publisher).len(), 10, "each is acknowledged");
        }
        let heard = members.iter().map(|member| world.take_all(*member).len());
        let heard: Vec<_> = heard.collect();
        let expected = if wide_count == 0 { 0 } else { 160 };
        assert_eq!(heard.iter().sum::<usize>(), expected, "{heard:?}");
        assert!(heard[wide_count..].iter().all(|count| *count == 0));
    }
}

/// All members are away, and the broker knows nobody's connection any more. One of a group that may
/// not have it was chosen all the same, and when it came back the message was nobody's.
#[test]
fn after_a_restart_nobody_is_chosen_who_may_not_have_it() {
    for shards in [1, 4] {
        let access = AccessConfig {
            rules: Some(rules(WIDE)),
            ..AccessConfig::default()
        };
        let config = Config {
            access,
            durable: true,
            ..Config::default()
        };
        let mut world = World::with_shards(config, shards);
        world.judge(by_name);
        let names: Vec<_> = (0..8).map(|number| format!("m{number}")).collect();
        let user = |number| if number == 5 { "root" } else { "u" };
        for (number, name) in names.iter().enumerate() {
            let (member, _) = world.enter(&lasting_as(Version::V5, name, user(number)));
            world.subscribe(member, "$share/g/#", QoS::AtLeastOnce);
            world.cut(member);
        }
        world.crash();
        let publisher = enter_as(&mut world, Version::V5, "p", "p");
        for _ in 0..20 {
            world.publish(publisher, "b", b"b", QoS::AtLeastOnce);
        }
        for (number, name) in names.iter().enumerate() {
            let (member, _) = world.enter(&lasting_as(Version::V5, name, user(number)));
            let expected = if user(number) == "root" { 20 } else { 0 };
            assert_eq!(world.take_all(member).len(), expected, "{name}, {shards}");
        }
        assert_eq!(
            world.statistics().dropped_because(DropReason::NotAllowed),
            0
        );
    }
}

/// Neither since a restart, nor since the rules became others.
#[test]
fn what_somebody_who_is_away_may_not_have_does_not_wait_for_him() {
    for is_restart in [true, false] {
        let config = Config {
            durable: true,
            ..Config::default()
        };
        let everything = "[[rule]]\nallow = \"all\"\ntopics = \"#\"\n";
        let mut world = with_config(if is_restart { WIDE } else { everything }, config);
        let (member, _) = world.enter(&lasting_as(Version::V5, "c", "u"));
        world.subscribe(member, "#", QoS::AtLeastOnce);
        world.cut(member);
        if is_restart {
            world.crash();
        } else {
            world.broker.set_rules(world.now, Some(rules(WIDE)));
            world.run();
        }
        let publisher = enter_as(&mut world, Version::V5, "p", "p");
        for topic in ["b", "a/secret", "a/1"] {
            world.publish(publisher, topic, topic.as_bytes(), QoS::AtLeastOnce);
        }
        let says = world.broker.statistics();
        assert_eq!(says.queued_messages, 1, "{is_restart}");
        let (member, _) = world.enter(&lasting_as(Version::V5, "c", "u"));
        assert_eq!(world.take_all(member), ["a/1"]);
    }
}

/// What it may is said by its token or by whoever verifies it, and not known until it comes back.
#[test]
fn what_may_be_for_a_member_that_is_away_is_kept() {
    const STAFF: &str = "
        [[rule]]
        allow = \"all\"
        topics = \"#\"
        groups = \"staff\"
        [[rule]]
        allow = \"publish\"
        topics = \"#\"
        users = \"p\"
    ";
    let access = AccessConfig {
        rules: Some(rules(STAFF)),
        ..AccessConfig::default()
    };
    let mut world = World::new(Config {
        access,
        durable: true,
        ..Config::default()
    });
    world.judge(|credentials| {
        let topics = vec![Pattern::new("#").unwrap()];
        let own = Rule::new(Effect::Allow, Operations::ALL, topics);
        let user = credentials.username.clone();
        let grant = match user.as_deref() {
            Some("olga") => Grant {
                groups: vec!["staff".into()],
                ..Grant::to("olga")
            },
            Some("token") => Grant {
                rules: vec![own],
                ..Grant::to("token")
            },
            _ => Grant {
                user,
                ..Grant::default()
            },
        };
        Some(Verdict::Accept(grant))
    });
    for user in ["olga", "token"] {
        let (member, _) = world.enter(&lasting_as(Version::V5, user, user));
        let filter = format!("$share/g/{user}");
        assert_eq!(world.subscribe(member, &filter, QoS::AtLeastOnce), 1);
        world.cut(member);
    }
    world.crash();
    let publisher = enter_as(&mut world, Version::V5, "p", "p");
    for user in ["olga", "token"] {
        world.publish(publisher, user, b"x", QoS::AtLeastOnce);
        let (member, _) = world.enter(&lasting_as(Version::V5, user, user));
        assert_eq!(world.take_all(member), ["x"], "{user}");
    }
}

#[test]
fn what_is_remembered_of_one_publisher_is_not_true_of_another() {
    let mut world = with_rules(METERS);
    let olga = enter_as(&mut world, Version::V5, "desk", "olga");
    world.subscribe(olga, "meters/#", QoS::AtMostOnce);
    let first = enter_as(&mut world, Version::V5, "m1", "meter");
    let second = enter_as(&mut world, Version::V5, "m2", "meter");
    for _ in 0..4 {
        world.publish(first, "meters/m1/report", b"true", QoS::AtMostOnce);
        world.publish(second, "meters/m1/report", b"forged", QoS::AtMostOnce);
    }
    assert_eq!(world.payloads(olga), ["true"; 4]);
    assert_eq!(world.broker.statistics().denied, [4, 0, 0]);
}

#[test]
fn a_will_is_looked_at_when_it_is_brought() {
    for version in VERSIONS {
        let mut world = with_rules(METERS);
        let bring = |topic| Connect {
            will: Some(will(topic, b"gone")),
            ..connect_as(version, "m1", "meter")
        };
        let refused = world.open_with(&bring("meters/m2/report"));
        assert_eq!(world.farewell(refused), Some(ReasonCode::NOT_AUTHORIZED));
        let olga = enter_as(&mut world, version, "desk", "olga");
        world.subscribe(olga, "meters/#", QoS::AtMostOnce);
        let (client, _) = world.enter(&bring("meters/m1/report"));
        world.cut(client);
        assert_eq!(world.payloads(olga), ["gone"]);
    }
}

#[test]
fn a_refusal_is_told_with_its_rule_and_does_not_flood() {
    let mut world = with_rules(
        "
[[rule]]
deny = \"publish\"
topics = \"x/#\"
",
    );
    let client = enter_as(&mut world, Version::V5, "c", "u");
    for _ in 0..100 {
        world.publish(client, "x/y", b"x", QoS::AtMostOnce);
    }
    let told: Vec<u64> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Denied {
                client_id,
                user,
                operation: Operation::Publish,
                topic,
                line: 2,
                count,
                ..
            } => {
                assert_eq!(
                    (&**client_id, user.as_deref(), &**topic),
                    ("c", Some("u"), "x/y")
                );
                Some(*count)
            }
            _ => None,
        })
        .collect();
    assert_eq!(told, [1, 2, 4, 8, 16, 32, 64]);
    assert_eq!(world.broker.statistics().denied, [100, 0, 0]);
}

#[test]
fn shadow_rules_decide_nothing_and_say_what_they_would() {
    let mut world = with_rules(METERS);
    world.broker.set_shadow_rules(
        world.now,
        Some(rules("[[rule]]\nallow = \"all\"\ntopics = \"news\"\n")),
    );
    let olga = enter_as(&mut world, Version::V5, "desk", "olga");
    assert_eq!(world.subscribe(olga, "meters/#", QoS::AtMostOnce), 0);
    assert_eq!(world.subscribe(olga, "news", QoS::AtMostOnce), 0);
    world.publish(olga, "meters/m1/report", b"x", QoS::AtLeastOnce);
    world.publish(olga, "news", b"x", QoS::AtLeastOnce);
    world.publish(olga, "else", b"x", QoS::AtLeastOnce);
    let statistics = world.broker.statistics();
    assert_eq!(
        statistics.denied,
        [1, 0, 0],
        "what is denied anyway is not told twice"
    );
    assert_eq!(statistics.shadow_denied, [1, 1, 1]);
    let would = |event: &&Event| matches!(event, Event::WouldDeny { .. });
    assert_eq!(world.events.iter().filter(would).count(), 2);
}

#[test]
fn a_mosquitto_file_works_unchanged() {
    let mut world = with_rules(
        "\
topic read news/#

user roger
topic readwrite roger/#
topic deny roger/secret

pattern write %c/out
",
    );
    let roger = enter_as(&mut world, Version::V4, "r", "roger");
    let (nobody, _) = world.enter(&connect(Version::V4, "n"));
    assert_eq!(
        world.subscribe(roger, "#", QoS::AtMostOnce),
        0,
        "filtered, as there"
    );
    assert_eq!(world.subscribe(nobody, "news/+", QoS::AtMostOnce), 0);
    for topic in ["roger/a", "roger/secret", "news/1", "r/out"] {
        world.publish(roger, topic, topic.as_bytes(), QoS::AtMostOnce);
    }
    assert_eq!(world.payloads(roger), ["roger/a"]);
    world.hears_nothing(nobody);
    assert_eq!(world.broker.statistics().denied, [2, 0, 0]);
}

#[test]
fn no_local_and_rules_go_together() {
    let mut world = with_rules(WIDE);
    let root = enter_as(&mut world, Version::V5, "d", "root");
    let client = enter_as(&mut world, Version::V5, "c", "u");
    let options = SubscribeOptions {
        no_local: true,
        ..SubscribeOptions::default()
    };
    for each in [root, client] {
        world.subscribe_with(each, "#", options, Properties::EMPTY);
    }
    for topic in ["a/1", "b"] {
        world.publish(root, topic, topic.as_bytes(), QoS::AtMostOnce);
    }
    world.hears_nothing(root);
    assert_eq!(world.payloads(client), ["a/1"]);
}

#[test]
fn a_durable_broker_decides_the_same() {
    let config = Config {
        durable: true,
        ..Config::default()
    };
    let mut world = with_config(WIDE, config);
    let (client, _) = world.enter(&Connect {
        username: Some("u"),
        ..lasting(Version::V5, "c")
    });
    world.subscribe(client, "#", QoS::ExactlyOnce);
    let publisher = enter_as(&mut world, Version::V5, "p", "p");
    for topic in ["a/1", "b", "a/secret"] {
        world.publish_exactly_once(publisher, topic, topic.as_bytes());
    }
    assert_eq!(world.take_all(client), ["a/1"]);
}
