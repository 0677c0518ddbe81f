//! Publishers wait for a subscriber that does not keep up, on whichever shard it is.

use crate::client_on;
use whimbrel_core::codec::packet::QoS;
use whimbrel_core::config::Limits;
use whimbrel_core::{Config, ConnectionId};
use whimbrel_tests::world::World;

const PAYLOAD: [u8; 4_000] = [b'x'; 4_000];

/// What a runtime has read of a publisher when it hears that it has to wait.
const READ: usize = 15;

/// Two shards. Little may be unsent: a publisher has to wait after 25 messages, and after 75 some
/// would be lost at QoS 0.
fn small() -> World {
    let limits = Limits {
        unsent_bytes_pause: 100_000,
        unsent_bytes_maximum: 300_000,
        slow_consumer_grace_ms: 1_000,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    World::with_shards(config, 2)
}

fn client(world: &mut World, shard: usize, name: &str) -> ConnectionId {
    client_on(world, shard, name).0
}

/// A subscriber on shard 1 that takes nothing from now on.
fn stuck(world: &mut World, filter: &str, qos: QoS) -> ConnectionId {
    let subscriber = client(world, 1, "subscriber");
    world.subscribe(subscriber, filter, qos);
    world.block(subscriber, true);
    subscriber
}

/// Publishes until it is not read any more; how many that took.
fn flood(world: &mut World, publisher: ConnectionId, topic: &str, qos: QoS) -> usize {
    for count in 0..100 {
        if world.is_paused(publisher) {
            return count;
        }
        world.publish(publisher, topic, &PAYLOAD, qos);
    }
    panic!("it is never paused");
}

fn takes(world: &mut World, subscriber: ConnectionId) -> usize {
    let mut count = 0;
    loop {
        match world.take_all(subscriber).len() {
            0 => return count,
            more => count += more,
        }
    }
}

fn lost(world: &World) -> u64 {
    world.statistics().dropped.iter().sum()
}

#[test]
fn who_publishes_elsewhere_waits_and_nothing_is_lost() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let mut world = small();
        let subscriber = stuck(&mut world, "t", qos);
        let publisher = client(&mut world, 0, "publisher");
        let mut sent = flood(&mut world, publisher, "t", qos);
        // What was read already is kept.
        for _ in 0..READ {
            world.publish(publisher, "t", &PAYLOAD, qos);
            sent += 1;
        }
        world.pass_ms(500);
        assert!(world.is_paused(publisher));
        assert_eq!(world.statistics().publishers_paused, 1);
        world.block(subscriber, false);
        assert_eq!(takes(&mut world, subscriber), sent);
        assert!(!world.is_paused(publisher));
        assert_eq!(lost(&world), 0);
    }
}

#[test]
fn others_on_its_shard_do_not_wait() {
    let mut world = small();
    stuck(&mut world, "t", QoS::AtMostOnce);
    let quick = client(&mut world, 1, "quick");
    world.subscribe(quick, "u", QoS::AtMostOnce);
    let publisher = client(&mut world, 0, "publisher");
    flood(&mut world, publisher, "t", QoS::AtMostOnce);
    let other = client(&mut world, 0, "other");
    for _ in 0..100 {
        world.publish(other, "u", &PAYLOAD, QoS::AtMostOnce);
        assert!(!world.is_paused(other));
    }
    assert_eq!(takes(&mut world, quick), 100);
}

#[test]
fn it_is_not_waited_for_for_ever() {
    let mut world = small();
    stuck(&mut world, "t", QoS::AtMostOnce);
    let publisher = client(&mut world, 0, "publisher");
    flood(&mut world, publisher, "t", QoS::AtMostOnce);
    world.pass_ms(999);
    assert!(world.is_paused(publisher));
    world.pass_ms(1);
    assert!(!world.is_paused(publisher));
    for _ in 0..150 {
        world.publish(publisher, "t", &PAYLOAD, QoS::AtMostOnce);
        assert!(!world.is_paused(publisher));
    }
    assert!(lost(&world) > 50);
}

#[test]
fn many_that_wait_go_on_as_it_has_room() {
    let mut world = small();
    let subscriber = stuck(&mut world, "t", QoS::AtMostOnce);
    let publishers: Vec<ConnectionId> = (0..6)
        .map(|number| client(&mut world, number % 2, &format!("publisher-{number}-")))
        .collect();
    flood(&mut world, publishers[0], "t", QoS::AtMostOnce);
    for publisher in &publishers[1..] {
        world.publish(*publisher, "t", &PAYLOAD, QoS::AtMostOnce);
        assert!(world.is_paused(*publisher));
    }
    let before = world.statistics().publishes_received;
    for _ in 0..READ {
        for publisher in &publishers {
            world.publish(*publisher, "t", &PAYLOAD, QoS::AtMostOnce);
        }
    }
    world.block(subscriber, false);
    let count = takes(&mut world, subscriber);
    assert_eq!(count as u64, before + 6 * READ as u64);
    assert_eq!(lost(&world), 0);
    for publisher in publishers {
        assert!(!world.is_paused(publisher));
    }
}

#[test]
fn either_may_be_gone() {
    let mut world = small();
    let subscriber = stuck(&mut world, "t", QoS::AtMostOnce);
    let publishers = ["a", "b", "c"].map(|name| client(&mut world, 0, name));
    flood(&mut world, publishers[0], "t", QoS::AtMostOnce);
    for publisher in &publishers[1..] {
        world.publish(*publisher, "t", &PAYLOAD, QoS::AtMostOnce);
        assert!(world.is_paused(*publisher));
    }
    world.cut(publishers[0]);
    world.cut(subscriber);
    for publisher in &publishers[1..] {
        assert!(!world.is_paused(*publisher));
    }
    // Who waited once waits again.
    let _next = stuck(&mut world, "t", QoS::AtMostOnce);
    flood(&mut world, publishers[1], "t", QoS::AtMostOnce);
}

/// Each of two clients sends the other more than that one takes. Were both not read until the
/// other has taken it, neither would get on.
#[test]
fn two_do_not_wait_for_each_other() {
    let mut world = small();
    let clients = [(0, "a"), (1, "b")].map(|(shard, name)| client(&mut world, shard, name));
    for (client, filter) in clients.iter().zip(["0", "1"]) {
        world.subscribe(*client, filter, QoS::AtMostOnce);
        world.block(*client, true);
    }
    for at_once in [true, false] {
        world.letters_wait = at_once;
        for _ in 0..30 {
            world.publish(clients[0], "1", &PAYLOAD, QoS::AtMostOnce);
            world.publish(clients[1], "0", &PAYLOAD, QoS::AtMostOnce);
        }
        world.letters_wait = false;
        world.run();
    }
    assert!(
        world.statistics().publishers_paused < 2,
        "at most one waits"
    );
    for client in clients {
        world.block(client, false);
        assert!(takes(&mut world, client) >= 30);
        assert!(!world.is_paused(client));
    }
}

/// Of a shared subscription one member is chosen, and is waited for.
#[test]
fn a_member_elsewhere_is_waited_for() {
    let mut world = small();
    let subscriber = stuck(&mut world, "$share/group/t", QoS::AtMostOnce);
    let publisher = client(&mut world, 0, "publisher");
    let mut sent = flood(&mut world, publisher, "t", QoS::AtMostOnce);
    for _ in 0..READ {
        world.publish(publisher, "t", &PAYLOAD, QoS::AtMostOnce);
        sent += 1;
    }
    world.block(subscriber, false);
    assert_eq!(takes(&mut world, subscriber), sent);
    assert_eq!(lost(&world), 0);
}

#[test]
fn recorded_and_replayed_it_is_the_same() {
    let mut world = small();
    world.record(Default::default());
    let subscriber = stuck(&mut world, "t", QoS::AtMostOnce);
    let publisher = client(&mut world, 0, "publisher");
    flood(&mut world, publisher, "t", QoS::AtMostOnce);
    world.block(subscriber, false);
    assert!(takes(&mut world, subscriber) >= 25);
    assert!(world.replay() > 0);
}
