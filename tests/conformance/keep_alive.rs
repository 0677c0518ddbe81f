//! MQTT 5.0 §3.1.2.10: keep alive.

use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{Connect, QoS, Version};
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::config::{Config, Protocol};
use whimbrel_core::{ConnectionId, Timestamp, UnixTime};
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, connect};

fn alive_for(world: &mut World, version: Version, keep_alive_s: u16) -> ConnectionId {
    let packet = Connect {
        keep_alive_s,
        ..connect(version, "client")
    };
    world.enter(&packet).0
}

/// [MQTT-3.1.2-22]
#[test]
fn silence_of_one_and_a_half_times_the_keep_alive_ends_the_connection() {
    for version in VERSIONS {
        for keep_alive_s in [1, 10, 3_600] {
            let mut world = World::default();
            let client = alive_for(&mut world, version, keep_alive_s);
            world.pass_ms(u64::from(keep_alive_s) * 1_500 - 1);
            assert!(!world.is_closed(client));
            world.pass_ms(1);
            let told = (version == Version::V5).then_some(ReasonCode::KEEP_ALIVE_TIMEOUT);
            assert_eq!(world.farewell(client), told);
        }
    }
}

#[test]
fn any_sign_of_life_keeps_it_open() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = alive_for(&mut world, version, 10);
        for round in 0..10 {
            world.pass_ms(14_999);
            match round % 2 {
                0 => world.send(client, &Packet::PingReq),
                _ => world.publish(client, "t", b"x", QoS::AtMostOnce),
            }
        }
        assert!(!world.is_closed(client));
    }
}

#[test]
fn what_the_broker_sends_is_no_sign_of_life() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = alive_for(&mut world, version, 10);
        let publisher = world.connect(version, "publisher");
        world.pass_ms(1);
        world.subscribe(client, "t", QoS::AtMostOnce);
        for _ in 0..15 {
            world.pass_ms(1_000);
            world.publish(publisher, "t", b"x", QoS::AtMostOnce);
        }
        assert!(world.is_closed(client));
    }
}

/// A broker where the keep alive is this long at most; 0 is any.
fn with_maximum(keep_alive_maximum_s: u16) -> World {
    World::new(Config {
        protocol: Protocol {
            keep_alive_maximum_s,
            ..Protocol::default()
        },
        ..Config::default()
    })
}

#[test]
fn a_keep_alive_of_zero_is_none_where_any_is_allowed() {
    for version in VERSIONS {
        let mut world = with_maximum(0);
        let client = alive_for(&mut world, version, 0);
        world.pass_ms(365 * 24 * 3_600_000);
        assert!(!world.is_closed(client));
    }
}

#[test]
fn a_longer_keep_alive_than_allowed_is_cut_and_told_to_who_can_be_told() {
    for version in VERSIONS {
        for (wish, told) in [(0, true), (11, true), (u16::MAX, true), (10, false)] {
            let mut world = with_maximum(10);
            let client = world.open_with(&Connect {
                keep_alive_s: wish,
                ..connect(version, "client")
            });
            let received = world.hear(client);
            let said = received.conn_ack().properties.server_keep_alive();
            let expected = told && version == Version::V5;
            assert_eq!(said, expected.then_some(10));
            world.pass_ms(14_999);
            assert!(!world.is_closed(client));
            world.pass_ms(1);
            assert!(world.is_closed(client));
        }
    }
}

/// Whoever is gone without a word is missed, though nobody has configured anything.
#[test]
fn nobody_is_silent_for_ever_by_default() {
    for version in VERSIONS {
        let mut world = World::default();
        let client = alive_for(&mut world, version, 0);
        world.pass_ms(5_400_000);
        assert!(world.is_closed(client));
    }
}

/// The keep alive is measured by the clock that does not jump.
#[test]
fn a_wall_clock_that_jumps_ends_nothing() {
    let mut world = World::default();
    let client = alive_for(&mut world, Version::V5, 10);
    for wall in [0, u64::MAX / 2, 1_000] {
        world.now.wall = UnixTime(wall);
        world.now.monotonic = Timestamp(world.now.monotonic.0 + 1);
        let now = world.now;
        world.broker.advance(now);
        world.run();
        assert!(!world.is_closed(client));
    }
}
