//! How much a tenant may have: all its clients together, on all shards together, and nobody else's.

use crate::{answer, by_name, retained};
use whimbrel_core::action::{DropReason, Event, PublishRefusal};
use whimbrel_core::codec::packet::{Connect, QoS, Version};
use whimbrel_core::codec::{Packet, ReasonCode};
use whimbrel_core::config::TenantsConfig;
use whimbrel_core::{Config, ConnectionId};
use whimbrel_tests::world::{World, connect, lasting};

fn world(shards: u16, tenants: TenantsConfig) -> World {
    let config = Config {
        durable: true,
        tenants,
        ..Config::default()
    };
    let mut world = World::with_shards(config, shards);
    world.judge(by_name);
    world
}

/// A CONNECT of this tenant.
fn of<'a>(tenant: &'a str, connect: Connect<'a>) -> Connect<'a> {
    Connect {
        username: Some(tenant),
        ..connect
    }
}

/// A client of blue whose session lasts.
#[track_caller]
fn blue(world: &mut World, client_id: &str) -> ConnectionId {
    world.enter(&of("blue", lasting(Version::V5, client_id))).0
}

/// What CONNACK says to this CONNECT.
fn refusal(world: &mut World, connect: &Connect<'_>) -> ReasonCode {
    let connection = world.open_with(connect);
    world.hear(connection).conn_ack().reason
}

#[test]
fn a_tenant_has_so_many_connections_on_all_shards() {
    for shards in [1, 3] {
        let mut world = world(
            shards,
            TenantsConfig {
                connections_maximum: 5,
                ..TenantsConfig::default()
            },
        );
        let clients: Vec<_> = (0..5)
            .map(|n| blue(&mut world, &format!("client-{n}")))
            .collect();
        let sixth = of("blue", connect(Version::V5, "client-5"));
        assert_eq!(refusal(&mut world, &sixth), ReasonCode::QUOTA_EXCEEDED);
        assert_eq!(world.statistics().tenant_refusals, 1);
        // In the place of another, for another tenant, and for nobody's there is room.
        blue(&mut world, "client-4");
        assert_eq!(answer(&mut world, "green"), ReasonCode::SUCCESS);
        for n in 0..9 {
            world.connect(Version::V5, &format!("nobody-{n}"));
        }
        world.cut(clients[0]);
        world.enter(&sixth);
    }
}

#[test]
fn a_tenant_has_so_many_sessions_also_after_a_restart() {
    for shards in [1, 3] {
        let mut world = world(
            shards,
            TenantsConfig {
                sessions_maximum: 4,
                ..TenantsConfig::default()
            },
        );
        for n in 0..4 {
            let client = blue(&mut world, &format!("client-{n}"));
            world.cut(client);
        }
        let fifth = of("blue", lasting(Version::V5, "client-4"));
        assert_eq!(refusal(&mut world, &fifth), ReasonCode::QUOTA_EXCEEDED);
        world.crash();
        assert_eq!(refusal(&mut world, &fifth), ReasonCode::QUOTA_EXCEEDED);
        blue(&mut world, "client-2");
        // One ends, and another may begin.
        let ends = of("blue", connect(Version::V5, "client-3"));
        let (ends, _) = world.enter(&ends);
        world.cut(ends);
        world.enter(&fifth);
    }
}

#[test]
fn a_tenant_has_so_many_subscriptions() {
    for shards in [1, 3] {
        let mut world = world(
            shards,
            TenantsConfig {
                subscriptions_maximum: 3,
                ..TenantsConfig::default()
            },
        );
        let clients = ["a", "b", "c", "d"].map(|name| blue(&mut world, name));
        for client in &clients[..3] {
            assert_eq!(world.subscribe(*client, "t", QoS::AtLeastOnce), 1);
        }
        assert_eq!(world.subscribe(clients[3], "t", QoS::AtLeastOnce), 0x97);
        assert_eq!(
            world.subscribe(clients[3], "$share/g/t", QoS::AtLeastOnce),
            0x97
        );
        // Replacing one is not a further one.
        assert_eq!(world.subscribe(clients[0], "t", QoS::AtMostOnce), 0);
        let again = of("blue", connect(Version::V5, "a"));
        world.enter(&again);
        assert_eq!(world.subscribe(clients[3], "t", QoS::AtLeastOnce), 1);
        let nobody = world.connect(Version::V5, "nobody");
        for filter in ["a", "b", "c", "d"] {
            assert_eq!(world.subscribe(nobody, filter, QoS::AtMostOnce), 0);
        }
    }
}

#[test]
fn a_tenant_retains_so_much() {
    for shards in [1, 3] {
        let mut world = world(
            shards,
            TenantsConfig {
                retained_messages_maximum: 2,
                retained_bytes_maximum: 1_000,
                ..TenantsConfig::default()
            },
        );
        let client = blue(&mut world, "c");
        let mut retain = |topic, payload: &[u8]| {
            world.send(client, &retained(topic, payload));
            world.hear(client).ack().2
        };
        let done = ReasonCode::NO_MATCHING_SUBSCRIBERS;
        assert_eq!(retain("a", b"1"), done);
        assert_eq!(retain("b", &[1; 700]), done);
        assert_eq!(retain("c", b"1"), ReasonCode::QUOTA_EXCEEDED);
        assert_eq!(retain("a", &[1; 700]), ReasonCode::QUOTA_EXCEEDED);
        assert_eq!(retain("a", b"2"), done, "in the place of another");
        assert_eq!(retain("b", b""), done);
        assert_eq!(retain("c", &[1; 700]), done);
        assert_eq!(world.statistics().retained_messages, 2);
        let is_tenants = |event: &Event| match event {
            Event::PublishRefused { why, .. } => *why == PublishRefusal::TenantRetained,
            _ => false,
        };
        assert_eq!(
            world
                .events
                .iter()
                .filter(|event| is_tenants(event))
                .count(),
            2
        );
        let nobody = world.connect(Version::V5, "nobody");
        for topic in ["a", "b", "c"] {
            world.send(nobody, &retained(topic, b"x"));
            assert_eq!(world.hear(nobody).ack().2, done);
        }
    }
}

#[test]
fn so_much_waits_for_a_tenant() {
    let mut world = world(
        1,
        TenantsConfig {
            queued_bytes_maximum: 2_000,
            ..TenantsConfig::default()
        },
    );
    for name in ["a", "b"] {
        let away = blue(&mut world, name);
        world.subscribe(away, "t", QoS::AtLeastOnce);
        world.cut(away);
        let (nobody, _) = world.enter(&lasting(Version::V5, name));
        world.subscribe(nobody, "t", QoS::AtLeastOnce);
        world.cut(nobody);
    }
    let publisher = blue(&mut world, "p");
    let nobody = world.connect(Version::V5, "p");
    for _ in 0..10 {
        world.publish(publisher, "t", &[b'x'; 400], QoS::AtLeastOnce);
        world.publish(nobody, "t", &[b'x'; 400], QoS::AtLeastOnce);
    }
    let dropped = |world: &World| world.statistics().dropped[DropReason::TenantQueueFull as usize];
    let lost = dropped(&world);
    assert!((10..20).contains(&lost), "{lost}");
    let heard: usize = ["a", "b"]
        .map(|name| {
            let back = blue(&mut world, name);
            world.take_all(back).len()
        })
        .iter()
        .sum();
    assert_eq!(heard as u64 + lost, 20);
    let (back, _) = world.enter(&lasting(Version::V5, "a"));
    assert_eq!(world.take_all(back).len(), 10, "nobody's is not counted");
    // What has gone makes room.
    let back = blue(&mut world, "a");
    world.cut(back);
    world.publish(publisher, "t", b"x", QoS::AtLeastOnce);
    assert_eq!(dropped(&world), lost);
    let packet = whimbrel_tests::world::publish("t", &[0; 3_000], QoS::AtLeastOnce, 1);
    world.send(publisher, &Packet::Publish(packet));
    assert_eq!(dropped(&world), lost + 2, "for both");
}
