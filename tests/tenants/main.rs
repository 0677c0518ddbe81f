//! Tenants do not see each other: whatever one does, with the same client identifiers and the same
//! topics, leaves no trace with another, on one shard and on several, and after a restart.

mod names;
mod quotas;

use whimbrel_core::action::{Credentials, Verdict};
use whimbrel_core::codec::packet::{Connect, PacketType, Publish, QoS, Version};
use whimbrel_core::codec::{Packet, ReasonCode};
use whimbrel_core::config::TenantsConfig;
use whimbrel_core::explain::Outcome;
use whimbrel_core::log::{BatchRef, Op};
use whimbrel_core::{Config, ConnectionId, Event, Grant};
use whimbrel_tests::world::{World, connect, lasting, publish, will};

/// The default one has no name.
const TENANTS: [Option<&str>; 3] = [None, Some("blue"), Some("green")];

/// The user name says which tenant a client is in.
#[expect(clippy::unnecessary_wraps, reason = "the form of `World::judge`")]
fn by_name(credentials: &Credentials) -> Option<Verdict> {
    Some(Verdict::Accept(Grant {
        tenant: credentials.username.clone(),
        ..Grant::default()
    }))
}

fn durable() -> Config {
    Config {
        durable: true,
        ..Config::default()
    }
}

/// Brokers of one shard and of several, with a log.
fn worlds() -> impl Iterator<Item = World> {
    [1, 3].into_iter().map(|shards| {
        let mut world = World::with_shards(durable(), shards);
        world.judge(by_name);
        world
    })
}

/// A client of each tenant, all with the same identifier.
#[track_caller]
fn enter<'a>(
    world: &mut World,
    client_id: &'a str,
    make: impl Fn(Version, &'a str) -> Connect<'a>,
) -> [ConnectionId; 3] {
    TENANTS.map(|tenant| {
        let connect = Connect {
            username: tenant,
            ..make(Version::V5, client_id)
        };
        world.enter(&connect).0
    })
}

/// What stands for a tenant in payloads.
fn label(tenant: Option<&str>) -> &str {
    tenant.unwrap_or("nobody")
}

/// Each publishes its own name.
fn all_publish(world: &mut World, clients: [ConnectionId; 3], topic: &str, qos: QoS) {
    for (client, tenant) in clients.into_iter().zip(TENANTS) {
        match qos {
            QoS::ExactlyOnce => world.publish_exactly_once(client, topic, label(tenant).as_bytes()),
            _ => world.publish(client, topic, label(tenant).as_bytes(), qos),
        }
        world.drain(client);
    }
}

/// Each has heard its own name so often, and nothing else.
#[track_caller]
fn hear_their_own(world: &mut World, clients: [ConnectionId; 3], times: usize) {
    for (client, tenant) in clients.into_iter().zip(TENANTS) {
        let heard = world.take_all(client);
        assert_eq!(heard, vec![label(tenant); times], "{tenant:?}");
    }
}

fn retained<'a>(topic: &'a str, payload: &'a [u8]) -> Packet<'a> {
    Packet::Publish(Publish {
        retain: true,
        ..publish(topic, payload, QoS::AtLeastOnce, 1)
    })
}

#[test]
fn a_message_stays_in_its_tenant() {
    for mut world in worlds() {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let subscribers = enter(&mut world, "subscriber", connect);
            let publishers = enter(&mut world, "publisher", connect);
            for subscriber in subscribers {
                world.subscribe(subscriber, "a/#", qos);
                world.subscribe(subscriber, "a/b", qos);
            }
            // A route that was found for one is not taken for another.
            for _ in 0..2 {
                all_publish(&mut world, publishers, "a/b", qos);
            }
            hear_their_own(&mut world, subscribers, 2);
        }
        assert_eq!(world.statistics().sessions, 6);
        assert_eq!(world.statistics().subscriptions, 6);
    }
}

#[test]
fn who_subscribes_to_nothing_of_another_tenant_is_told_that_nobody_matches() {
    for mut world in worlds() {
        let [nobody, blue, _] = enter(&mut world, "client", connect);
        world.subscribe(nobody, "#", QoS::AtLeastOnce);
        world.publish(blue, "t", b"x", QoS::AtLeastOnce);
        let (_, _, reason) = world.hear(blue).ack();
        assert_eq!(reason, ReasonCode::NO_MATCHING_SUBSCRIBERS);
    }
}

#[test]
fn a_retained_message_stays_in_its_tenant_and_is_cleared_there_alone() {
    for mut world in worlds() {
        let publishers = enter(&mut world, "publisher", connect);
        for (publisher, tenant) in publishers.into_iter().zip(TENANTS) {
            world.send(publisher, &retained("r", label(tenant).as_bytes()));
            world.drain(publisher);
        }
        for round in 0..2 {
            let late = enter(&mut world, "late", connect);
            for subscriber in late {
                world.subscribe(subscriber, "#", QoS::AtLeastOnce);
            }
            hear_their_own(&mut world, late, 1);
            assert_eq!(world.statistics().retained_messages, 3);
            if round == 0 {
                world.crash();
            }
        }
        let [_, blue, _] = enter(&mut world, "publisher", connect);
        world.send(blue, &retained("r", b""));
        let again = enter(&mut world, "again", connect);
        let heard = again.map(|subscriber| {
            world.subscribe(subscriber, "r", QoS::AtLeastOnce);
            world.take_all(subscriber)
        });
        assert_eq!(heard, [vec!["nobody"], vec![], vec!["green"]]);
        assert_eq!(world.statistics().retained_messages, 2);
    }
}

#[test]
fn a_retained_message_expires_in_its_tenant() {
    let mut world = World::new(durable());
    world.judge(by_name);
    let [nobody, blue, _] = enter(&mut world, "publisher", connect);
    world.send(nobody, &retained("r", b"stays"));
    let list = whimbrel_tests::world::properties(&[
        whimbrel_core::codec::property::Property::MessageExpiryInterval(10),
    ]);
    let expires = Publish {
        retain: true,
        properties: list.as_properties(),
        ..publish("r", b"goes", QoS::AtLeastOnce, 1)
    };
    world.send(blue, &Packet::Publish(expires));
    world.pass_ms(11_000);
    assert_eq!(world.statistics().retained_messages, 1);
    let [nobody, blue, _] = enter(&mut world, "subscriber", connect);
    world.subscribe(nobody, "r", QoS::AtMostOnce);
    world.subscribe(blue, "r", QoS::AtMostOnce);
    assert_eq!(world.payloads(nobody), ["stays"]);
    world.hears_nothing(blue);
}

#[test]
fn groups_of_one_name_are_several() {
    for mut world in worlds() {
        let members = ["m1", "m2", "m3"].map(|name| {
            let members = enter(&mut world, name, connect);
            for member in members {
                world.subscribe(member, "$share/g/t", QoS::AtLeastOnce);
            }
            members
        });
        let publishers = enter(&mut world, "publisher", connect);
        for _ in 0..6 {
            all_publish(&mut world, publishers, "t", QoS::AtLeastOnce);
        }
        for (place, tenant) in TENANTS.into_iter().enumerate() {
            let mut heard = 0;
            for clients in members {
                let payloads = world.take_all(clients[place]);
                heard += payloads.len();
                assert!(payloads.iter().all(|text| text == label(tenant)));
            }
            assert_eq!(heard, 6, "{tenant:?}");
        }
    }
}

/// What a member of a shared subscription leaves behind goes to another of its tenant.
#[test]
fn a_message_of_a_group_is_given_on_within_its_tenant() {
    for mut world in worlds() {
        let leaving = enter(&mut world, "leaves", connect);
        for client in leaving {
            world.subscribe(client, "$share/g/t", QoS::AtLeastOnce);
        }
        let publishers = enter(&mut world, "publisher", connect);
        all_publish(&mut world, publishers, "t", QoS::AtLeastOnce);
        let staying = enter(&mut world, "stays", connect);
        for client in staying {
            world.subscribe(client, "$share/g/t", QoS::AtLeastOnce);
        }
        for client in leaving {
            world.cut(client);
        }
        hear_their_own(&mut world, staying, 1);
    }
}

#[test]
fn a_will_is_published_in_its_tenant_also_when_it_comes_late() {
    for mut world in worlds() {
        let watchers = enter(&mut world, "watcher", lasting);
        for watcher in watchers {
            world.subscribe(watcher, "#", QoS::AtLeastOnce);
        }
        let mortals = TENANTS.map(|tenant| {
            let connect = Connect {
                username: tenant,
                will: Some(will("w", label(tenant).as_bytes())),
                ..connect(Version::V5, "mortal")
            };
            world.enter(&connect).0
        });
        for mortal in mortals {
            world.cut(mortal);
        }
        hear_their_own(&mut world, watchers, 1);

        // The broker stops before it is due.
        let list = whimbrel_tests::world::properties(&[
            whimbrel_core::codec::property::Property::WillDelayInterval(60),
        ]);
        for tenant in TENANTS {
            let connect = Connect {
                username: tenant,
                will: Some(whimbrel_core::codec::packet::Will {
                    properties: list.as_properties(),
                    qos: QoS::AtLeastOnce,
                    ..will("w", label(tenant).as_bytes())
                }),
                ..lasting(Version::V5, "mortal")
            };
            world.enter(&connect);
        }
        world.crash();
        let watchers = enter(&mut world, "watcher", lasting);
        world.pass_ms(61_000);
        hear_their_own(&mut world, watchers, 1);
    }
}

#[test]
fn an_identifier_is_taken_over_within_a_tenant_alone() {
    for mut world in worlds() {
        let [nobody, blue, green] = enter(&mut world, "c", lasting);
        let again = Connect {
            username: Some("blue"),
            ..lasting(Version::V5, "c")
        };
        let (_, present) = world.enter(&again);
        assert!(present);
        assert!(!world.is_closed(nobody) && !world.is_closed(green));
        assert_eq!(world.farewell(blue), Some(ReasonCode::SESSION_TAKEN_OVER));
        assert_eq!(world.statistics().sessions, 3);

        // A clean start ends the session of its own tenant.
        let clean = Connect {
            username: Some("green"),
            ..connect(Version::V5, "c")
        };
        let (_, present) = world.enter(&clean);
        assert!(!present);
        assert!(!world.is_closed(nobody));
        let ended: Vec<_> = world
            .events
            .iter()
            .filter_map(|event| match event {
                Event::SessionEnded { tenant, .. } => Some(tenant.as_deref()),
                _ => None,
            })
            .collect();
        assert_eq!(ended, [Some("green")]);
    }
}

#[test]
fn what_waits_is_for_its_tenant_after_a_restart_with_other_shards() {
    for shards in [1, 3] {
        for after in [1, 2, 3] {
            let mut world = World::with_shards(durable(), shards);
            world.judge(by_name);
            let subscribers = enter(&mut world, "c", lasting);
            for subscriber in subscribers {
                world.subscribe(subscriber, "t", QoS::ExactlyOnce);
            }
            let publishers = enter(&mut world, "p", lasting);
            all_publish(&mut world, publishers, "t", QoS::ExactlyOnce);
            // The first is begun, others wait, and one of them is in the log of a checkpoint.
            for subscriber in subscribers {
                assert_eq!(
                    world.hear(subscriber).packet().packet_type(),
                    PacketType::Publish
                );
                world.cut(subscriber);
            }
            all_publish(&mut world, publishers, "t", QoS::AtLeastOnce);
            let now = world.now;
            for shard in 0..usize::from(shards) {
                world.shard(shard).checkpoint(now);
            }
            world.run();
            all_publish(&mut world, publishers, "t", QoS::ExactlyOnce);
            // One is taken in, and not completed.
            for (publisher, tenant) in publishers.into_iter().zip(TENANTS) {
                let packet = publish("t", label(tenant).as_bytes(), QoS::ExactlyOnce, 9);
                world.send(publisher, &Packet::Publish(packet));
            }
            world.crash_into(after);

            let publishers = enter(&mut world, "p", lasting);
            for (publisher, tenant) in publishers.into_iter().zip(TENANTS) {
                let packet = Publish {
                    dup: true,
                    ..publish("t", label(tenant).as_bytes(), QoS::ExactlyOnce, 9)
                };
                world.send(publisher, &Packet::Publish(packet));
                assert_eq!(world.hear(publisher).ack().0, PacketType::PubRec);
            }
            let subscribers = enter(&mut world, "c", lasting);
            hear_their_own(&mut world, subscribers, 4);
            assert_eq!(world.statistics().sessions, 6);
        }
    }
}

#[test]
fn ending_a_subscription_or_a_session_is_nobody_elses_business() {
    for mut world in worlds() {
        let clients = enter(&mut world, "c", connect);
        for client in clients {
            world.subscribe(client, "t", QoS::AtMostOnce);
            world.subscribe(client, "$share/g/s", QoS::AtMostOnce);
        }
        world.cut(clients[1]);
        let publishers = enter(&mut world, "p", connect);
        for topic in ["t", "s"] {
            all_publish(&mut world, publishers, topic, QoS::AtMostOnce);
            assert_eq!(world.payloads(clients[0]), ["nobody"]);
            assert_eq!(world.payloads(clients[2]), ["green"]);
        }
        assert_eq!(world.statistics().subscriptions, 4);
    }
}

/// A route is found while no rule has spoken; what is asked is asked of the client's own tenant.
#[test]
fn a_question_is_about_one_tenant() {
    let mut world = World::with_shards(durable(), 1);
    world.judge(by_name);
    let clients = enter(&mut world, "c", connect);
    world.subscribe(clients[1], "t", QoS::AtLeastOnce);
    let publishers = enter(&mut world, "p", connect);
    world.broker.explain("blue", "c", "t");
    all_publish(&mut world, publishers, "t", QoS::AtLeastOnce);
    let said: Vec<_> = core::iter::from_fn(|| world.broker.poll_explanation()).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(matches!(said[0].outcome, Outcome::Sent { .. }));
    world.broker.explain("green", "c", "t");
    all_publish(&mut world, publishers, "t", QoS::AtLeastOnce);
    let said: Vec<_> = core::iter::from_fn(|| world.broker.poll_explanation()).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].outcome, Outcome::NoSubscription);
}

/// The CONNACK that a client of this tenant gets.
fn answer(world: &mut World, tenant: &str) -> ReasonCode {
    let connection = world.open_with(&Connect {
        username: Some(tenant),
        ..connect(Version::V5, "c")
    });
    world.hear(connection).conn_ack().reason
}

#[test]
fn a_name_that_cannot_be_one_lets_nobody_in() {
    let mut world = World::default();
    world.judge(by_name);
    let long = "x".repeat(256);
    for name in ["", "a\u{1}b", "\u{9f}", &*long] {
        assert_eq!(answer(&mut world, name), ReasonCode::NOT_AUTHORIZED);
    }
    assert_eq!(answer(&mut world, &long[1..]), ReasonCode::SUCCESS);
    assert_eq!(world.statistics().sessions, 1);
}

#[test]
fn there_are_only_so_many_tenants() {
    let mut world = World::with_shards(
        Config {
            tenants: TenantsConfig {
                maximum: 2,
                ..TenantsConfig::default()
            },
            ..Config::default()
        },
        1,
    );
    world.judge(by_name);
    assert_eq!(answer(&mut world, "blue"), ReasonCode::SUCCESS);
    assert_eq!(answer(&mut world, "green"), ReasonCode::SUCCESS);
    assert_eq!(answer(&mut world, "red"), ReasonCode::QUOTA_EXCEEDED);
    assert_eq!(answer(&mut world, "blue"), ReasonCode::SUCCESS);
}

/// The first bytes of the keys that a log has, in order.
fn kinds(world: &World) -> Vec<u8> {
    let mut kinds = Vec::new();
    for batch in &world.log {
        for op in BatchRef::new(batch).iter() {
            let (Op::Put { key, .. } | Op::Delete { key }) = op.expect("it is whole");
            kinds.push(key[0]);
        }
    }
    kinds
}

/// A version that knows no tenants must not read what belongs to one, and can read all else.
#[test]
fn the_log_says_that_there_are_tenants_before_anything_of_them() {
    let mut world = World::with_shards(durable(), 1);
    world.judge(by_name);
    let (nobody, _) = world.enter(&lasting(Version::V5, "c"));
    world.send(nobody, &retained("r", b"x"));
    world.drain(nobody);
    assert!(!kinds(&world).contains(&b'T'));
    let before = world.log.len();
    let blue = Connect {
        username: Some("blue"),
        ..lasting(Version::V5, "c")
    };
    let (blue, _) = world.enter(&blue);
    world.send(blue, &retained("r", b"x"));
    world.log.drain(..before);
    assert_eq!(kinds(&world)[0], b'T');

    // So does a checkpoint, and what a restart writes.
    world.log.clear();
    world.broker.checkpoint(world.now);
    world.run();
    let written = kinds(&world);
    let place = |kind| written.iter().position(|known| *known == kind);
    assert!(place(b'T') < place(b'S') && place(b'T') < place(b'R'));
    world.crash();
    let late = Connect {
        username: Some("blue"),
        ..connect(Version::V5, "late")
    };
    let (late, _) = world.enter(&late);
    world.subscribe(late, "#", QoS::AtMostOnce);
    assert_eq!(world.payloads(late), ["x"]);
}

#[test]
fn a_recording_knows_who_was_in_which_tenant() {
    for mut world in worlds() {
        let subscribers = enter(&mut world, "c", lasting);
        for subscriber in subscribers {
            world.subscribe(subscriber, "t", QoS::ExactlyOnce);
        }
        // The state that it begins with has tenants, and so has what comes.
        world.record(whimbrel_core::recording::RecordOptions::default());
        let publishers = enter(&mut world, "p", connect);
        all_publish(&mut world, publishers, "t", QoS::ExactlyOnce);
        hear_their_own(&mut world, subscribers, 1);
        assert!(world.replay() > 0);
    }
}
