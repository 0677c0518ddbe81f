//! How much one client, user or address may have, and who is kept out.

use crate::{by_name, connect_as, enter_as};
use std::collections::BTreeSet;
use std::sync::Arc;
use whimbrel_core::access::ban::{Ban, Bans};
use whimbrel_core::access::rule::Name;
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_core::codec::{Packet, ReasonCode};
use whimbrel_core::config::{PublishExcess, QuotaConfig};
use whimbrel_core::{Config, ConnectionId, Peer, UnixTime};
use whimbrel_tests::world::{START, VERSIONS, World, connect, publish};

fn world(quotas: QuotaConfig) -> World {
    let mut world = World::new(Config {
        quotas,
        ..Config::default()
    });
    world.judge(by_name);
    world
}

fn open_at(world: &mut World, address: &str) -> ConnectionId {
    world.open_from(Peer {
        address: Some(address.parse().unwrap()),
        ..Peer::default()
    })
}

/// The same with so many shards.
fn on_shards(shards: u16, quotas: QuotaConfig) -> World {
    let config = Config {
        quotas,
        ..Config::default()
    };
    let mut world = World::with_shards(config, shards);
    world.judge(by_name);
    world
}

#[test]
fn an_address_has_so_many_connections() {
    for shards in 1..=4 {
        an_address_has_two_connections(on_shards(
            shards,
            QuotaConfig {
                connections_per_address_maximum: 2,
                ..QuotaConfig::default()
            },
        ));
    }
}

fn an_address_has_two_connections(mut world: World) {
    let first = open_at(&mut world, "192.0.2.1:1");
    let second = open_at(&mut world, "192.0.2.1:2");
    let third = open_at(&mut world, "192.0.2.1:3");
    let other = open_at(&mut world, "192.0.2.2:1");
    assert!(!world.is_closed(first) && !world.is_closed(second) && !world.is_closed(other));
    assert!(world.is_closed(third));
    // Who was turned away has not taken a place.
    world.cut(first);
    let fourth = open_at(&mut world, "192.0.2.1:4");
    assert!(!world.is_closed(fourth));
    let five = ["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1"];
    let closed: Vec<bool> = five
        .into_iter()
        .map(|address| {
            let connection = open_at(&mut world, address);
            world.is_closed(connection)
        })
        .collect();
    assert_eq!(
        closed,
        [false, false, true],
        "a host has many IPv6 addresses"
    );
}

/// A connection counts where its address is counted, wherever its session is: for as long as it is
/// there, and no longer.
#[test]
fn connections_of_an_address_are_counted_once_on_whichever_shards_they_are() {
    for (shards, version) in (1..=4).flat_map(|shards| VERSIONS.map(|version| (shards, version))) {
        let mut world = on_shards(
            shards,
            QuotaConfig {
                connections_per_address_maximum: 10,
                ..QuotaConfig::default()
            },
        );
        for round in 0..3 {
            let mut clients = Vec::new();
            for n in 0..10 {
                let client = open_at(&mut world, "192.0.2.1:1");
                let name = format!("client-{n}");
                world.set_version(client, version);
                world.send(client, &Packet::Connect(connect(version, &name)));
                assert!(
                    !world.is_closed(client),
                    "{shards} shards, round {round}, {n}"
                );
                clients.push(client);
            }
            let places: BTreeSet<usize> = clients.iter().map(|c| world.shard_of(*c)).collect();
            assert_eq!(places.len(), usize::from(shards), "they are everywhere");
            let one_more = open_at(&mut world, "192.0.2.1:1");
            assert!(world.is_closed(one_more));
            // One that takes over is no more than before, once the other is gone.
            world.cut(clients[3]);
            let again = open_at(&mut world, "192.0.2.1:1");
            assert!(!world.is_closed(again));
            world.cut(again);
            for client in clients {
                world.cut(client);
            }
        }
    }
}

/// What a proxy or a certificate tells of a newcomer comes after it was accepted.
#[test]
fn an_address_that_is_learned_later_counts_from_then_on() {
    for shards in 1..=4 {
        let mut world = on_shards(
            shards,
            QuotaConfig {
                connections_per_address_maximum: 1,
                ..QuotaConfig::default()
            },
        );
        let told = |world: &mut World, address: &str| {
            let connection = world.open();
            let peer = Peer {
                address: Some(address.parse().unwrap()),
                proxy: Some("198.51.100.1:1".parse().unwrap()),
                ..Peer::default()
            };
            let now = world.now;
            world.shard(0).introduce(now, connection, peer);
            world.run();
            connection
        };
        let first = told(&mut world, "192.0.2.1:1");
        let other = told(&mut world, "192.0.2.2:1");
        let second = told(&mut world, "192.0.2.1:2");
        assert!(!world.is_closed(first) && !world.is_closed(other) && world.is_closed(second));
        world.cut(first);
        let third = told(&mut world, "192.0.2.1:3");
        assert!(!world.is_closed(third));
    }
}

#[test]
fn an_address_connects_so_often() {
    for shards in 1..=4 {
        an_address_connects_five_times_a_second(on_shards(
            shards,
            QuotaConfig {
                connections_per_address_per_second_maximum: 5,
                ..QuotaConfig::default()
            },
        ));
    }
}

fn an_address_connects_five_times_a_second(mut world: World) {
    let storm = |world: &mut World, n: usize| {
        let came = (0..n).map(|_| open_at(world, "192.0.2.1:1"));
        let came: Vec<ConnectionId> = came.collect();
        came.into_iter().filter(|c| !world.is_closed(*c)).count()
    };
    assert_eq!(storm(&mut world, 20), 6);
    world.pass_ms(200);
    assert_eq!(storm(&mut world, 20), 1);
    world.pass_ms(10_000);
    assert_eq!(storm(&mut world, 20), 6);
}

#[test]
fn a_listener_has_so_many_connections() {
    let mut world = world(QuotaConfig {
        connections_per_listener_maximum: vec![2, 0],
        ..QuotaConfig::default()
    });
    let open_by = |world: &mut World, listener| {
        world.open_from(Peer {
            listener,
            ..Peer::default()
        })
    };
    let by_first: Vec<_> = (0..3).map(|_| open_by(&mut world, 0)).collect();
    let closed: Vec<bool> = by_first.iter().map(|c| world.is_closed(*c)).collect();
    assert_eq!(closed, [false, false, true]);
    // The second has no limit, and of a third nothing is said.
    for listener in [1, 1, 1, 2, 2, 2] {
        let connection = open_by(&mut world, listener);
        assert!(!world.is_closed(connection));
    }
    // Who was turned away has not taken a place, and who left has given it back.
    world.cut(by_first[0]);
    let next = open_by(&mut world, 0);
    let one_more = open_by(&mut world, 0);
    assert!(!world.is_closed(next) && world.is_closed(one_more));
}

#[test]
fn a_user_has_so_many_connections() {
    for (shards, version) in (1..=4).flat_map(|shards| VERSIONS.map(|version| (shards, version))) {
        let mut world = on_shards(
            shards,
            QuotaConfig {
                connections_per_user_maximum: 2,
                ..QuotaConfig::default()
            },
        );
        let first = enter_as(&mut world, version, "a", "u");
        enter_as(&mut world, version, "b", "u");
        enter_as(&mut world, version, "c", "v");
        let third = world.open_with(&connect_as(version, "d", "u"));
        let expected = match version {
            Version::V5 => ReasonCode::QUOTA_EXCEEDED,
            Version::V3 | Version::V4 => ReasonCode::SERVER_UNAVAILABLE,
        };
        assert_eq!(world.farewell(third), Some(expected));
        // One in the place of another is no more than before.
        let again = enter_as(&mut world, version, "a", "u");
        assert!(world.is_closed(first) && !world.is_closed(again));
        world.cut(again);
        enter_as(&mut world, version, "d", "u");
        let third = world.open_with(&connect_as(version, "e", "u"));
        assert_eq!(world.farewell(third), Some(expected));
    }
}

#[test]
fn who_publishes_too_fast_is_not_read_and_nothing_is_lost() {
    for version in VERSIONS {
        for (messages, bytes) in [(10, 0), (0, 100)] {
            let mut world = world(QuotaConfig {
                publish_messages_per_second_maximum: messages,
                publish_bytes_per_second_maximum: bytes,
                ..QuotaConfig::default()
            });
            let hearer = enter_as(&mut world, version, "h", "h");
            world.subscribe(hearer, "t", QoS::AtMostOnce);
            let client = enter_as(&mut world, version, "c", "u");
            // Topic and payload are ten bytes.
            for n in 0..30 {
                world.publish(client, "t", format!("{n:09}").as_bytes(), QoS::AtMostOnce);
            }
            assert!(world.is_paused(client));
            assert_eq!(world.payloads(hearer).len(), 11);
            world.pass_ms(1_000);
            assert_eq!(world.payloads(hearer).len(), 10);
            world.pass_ms(2_000);
            assert_eq!(world.payloads(hearer).len(), 9);
            assert!(!world.is_paused(client));
            assert!(!world.is_closed(client));
        }
    }
}

#[test]
fn a_throttled_client_is_not_taken_for_dead_and_may_leave() {
    let mut world = world(QuotaConfig {
        publish_bytes_per_second_maximum: 10,
        ..QuotaConfig::default()
    });
    let (client, _) = world.enter(&whimbrel_core::codec::packet::Connect {
        keep_alive_s: 1,
        ..connect(Version::V5, "c")
    });
    let long = [0; 100];
    world.publish(client, "t", &long, QoS::AtMostOnce);
    for _ in 0..8 {
        world.pass_ms(1_000);
        world.send(client, &Packet::PingReq);
    }
    assert!(!world.is_closed(client));
    world.cut(client);
    world.pass_ms(60_000);
}

#[test]
fn who_publishes_too_fast_is_disconnected_where_that_is_set() {
    for version in VERSIONS {
        let mut world = world(QuotaConfig {
            publish_messages_per_second_maximum: 5,
            publish_excess: PublishExcess::Disconnect,
            ..QuotaConfig::default()
        });
        let hearer = enter_as(&mut world, version, "h", "h");
        world.subscribe(hearer, "t", QoS::AtMostOnce);
        let client = enter_as(&mut world, version, "c", "u");
        for n in 0..6 {
            world.send(
                client,
                &Packet::Publish(publish("t", &[n], QoS::AtMostOnce, 0)),
            );
        }
        let expected = (version == Version::V5).then_some(ReasonCode::MESSAGE_RATE_TOO_HIGH);
        assert_eq!(world.farewell(client), expected);
        assert_eq!(world.payloads(hearer).len(), 5);
    }
}

fn ban(until: UnixTime) -> Ban {
    Ban {
        users: vec![Name::new("mallory")],
        clients: vec![Name::new("evil-*")],
        addresses: vec!["198.51.100.0/24".parse().unwrap()],
        until,
    }
}

#[test]
fn who_is_banned_does_not_come_in_until_the_ban_ends() {
    for version in VERSIONS {
        let mut world = world(QuotaConfig::default());
        let until = UnixTime(START.0 + 60_000);
        world
            .broker
            .set_bans(world.now, Arc::new(Bans::new(vec![ban(until)])));
        world.run();
        let refused = match version {
            Version::V5 => ReasonCode::BANNED,
            Version::V3 | Version::V4 => ReasonCode::NOT_AUTHORIZED,
        };
        for (client_id, user, is_banned) in [
            ("c", "mallory", true),
            ("evil-1", "u", true),
            ("c", "u", false),
            ("evil", "u", false),
        ] {
            let client = world.open_with(&connect_as(version, client_id, user));
            assert_eq!(world.is_closed(client), is_banned, "{client_id} {user}");
            if is_banned {
                assert_eq!(world.farewell(client), Some(refused));
            }
        }
        let nobody = open_at(&mut world, "198.51.100.9:1");
        assert!(world.is_closed(nobody));
        world.pass_ms(60_000);
        enter_as(&mut world, version, "evil-1", "mallory");
        let somebody = open_at(&mut world, "198.51.100.9:1");
        assert!(!world.is_closed(somebody));
    }
}

#[test]
fn a_ban_ends_connections_that_are_there() {
    let mut world = world(QuotaConfig::default());
    let mallory = enter_as(&mut world, Version::V5, "c", "mallory");
    let alice = enter_as(&mut world, Version::V5, "d", "alice");
    world
        .broker
        .set_bans(world.now, Arc::new(Bans::new(vec![ban(UnixTime::MAX)])));
    world.run();
    assert!(world.is_closed(mallory) && !world.is_closed(alice));
}
