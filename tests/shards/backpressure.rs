//! Publishers wait for a subscriber that does not keep up, on whichever shard it is.

use crate::client_on;
use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_core::config::Limits;
use whimbrel_core::recording::RecordOptions;
use whimbrel_core::{Config, ConnectionId};
use whimbrel_tests::world::{World, lasting};

const PAYLOAD: [u8; 4_000] = [b'x'; 4_000];

/// What a runtime has read of a publisher when it hears that it has to wait.
const READ: usize = 15;

/// Little may be unsent: a publisher has to wait after 25 messages, and after 75 some would be lost
/// at QoS 0.
fn config() -> Config {
    let limits = Limits {
        unsent_bytes_pause: 100_000,
        unsent_bytes_maximum: 300_000,
        slow_consumer_grace_ms: 1_000,
        ..Limits::default()
    };
    Config {
        limits,
        ..Config::default()
    }
}

fn small() -> World {
    World::with_shards(config(), 2)
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
    for (filter, qos) in [
        ("t", QoS::AtMostOnce),
        ("t", QoS::AtLeastOnce),
        ("$share/group/t", QoS::AtMostOnce),
    ] {
        let mut world = small();
        let subscriber = stuck(&mut world, filter, qos);
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
fn many_that_wait_go_on_and_nothing_is_lost() {
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
    world.block(subscriber, false);
    assert_eq!(takes(&mut world, subscriber) as u64, before);
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
    // In the place of one that was told to wait.
    let next = client(&mut world, 0, "next");
    assert!(!world.is_paused(next));
    world.cut(subscriber);
    for publisher in &publishers[1..] {
        assert!(!world.is_paused(*publisher));
    }
    // Who waited once waits again.
    let taken_over = stuck(&mut world, "t", QoS::AtMostOnce);
    flood(&mut world, publishers[1], "t", QoS::AtMostOnce);
    let (_, present) = world.enter(&lasting(Version::V5, "subscriber0"));
    assert!(present && world.is_closed(taken_over));
    assert!(!world.is_paused(publishers[1]));
}

/// Two of its subscribers stand still, each on a shard of its own, and another one on its own.
#[test]
fn a_publisher_waits_for_all_shards() {
    let mut world = World::with_shards(config(), 3);
    let subscribers = [0, 1, 2].map(|shard| {
        let subscriber = client(&mut world, shard, &format!("subscriber-{shard}-"));
        world.subscribe(subscriber, "t", QoS::AtMostOnce);
        world.block(subscriber, true);
        subscriber
    });
    let publisher = client(&mut world, 0, "publisher");
    // Everywhere before the first shard can say anything.
    world.letters_wait = true;
    let sent = flood(&mut world, publisher, "t", QoS::AtMostOnce);
    world.letters_wait = false;
    world.run();
    for subscriber in subscribers {
        assert!(world.is_paused(publisher));
        world.block(subscriber, false);
    }
    assert!(!world.is_paused(publisher));
    for subscriber in subscribers {
        assert_eq!(takes(&mut world, subscriber), sent);
    }
    assert_eq!(lost(&world), 0);
}

/// However many stand still: their grace is one, not one after the other.
#[test]
fn many_that_stand_still_are_waited_for_once() {
    let mut world = small();
    for number in 0..20 {
        let subscriber = client(&mut world, number % 2, &format!("subscriber-{number}-"));
        world.subscribe(subscriber, "t", QoS::AtMostOnce);
        world.block(subscriber, true);
    }
    let publisher = client(&mut world, 0, "publisher");
    flood(&mut world, publisher, "t", QoS::AtMostOnce);
    for _ in 0..READ {
        world.publish(publisher, "t", &PAYLOAD, QoS::AtMostOnce);
    }
    world.pass_ms(1_001);
    assert!(!world.is_paused(publisher));
    world.publish(publisher, "t", &PAYLOAD, QoS::AtMostOnce);
    assert!(!world.is_paused(publisher));
}

/// A subscriber that does not acknowledge is not waited for again and again because it takes
/// something else.
#[test]
fn taking_answers_is_not_catching_up() {
    let mut config = config();
    config.session.queue_messages_maximum = 40;
    let mut world = World::with_shards(config, 2);
    let subscriber = client(&mut world, 1, "subscriber");
    world.subscribe(subscriber, "t", QoS::AtLeastOnce);
    let publisher = client(&mut world, 0, "publisher");
    let mut held_ms = 0;
    for _ in 0..50 {
        while !world.is_paused(publisher) && held_ms == 0 {
            world.publish(publisher, "t", b"x", QoS::AtLeastOnce);
        }
        world.pass_ms(100);
        held_ms += u32::from(world.is_paused(publisher)) * 100;
        world.send(subscriber, &Packet::PingReq);
    }
    assert!((900..=1_000).contains(&held_ms), "{held_ms}");
}

#[test]
fn where_nothing_may_be_unsent_publishers_wait_for_each_message() {
    let mut config = config();
    config.limits.unsent_bytes_pause = 0;
    let mut world = World::with_shards(config, 2);
    let subscriber = stuck(&mut world, "t", QoS::AtLeastOnce);
    let publisher = client(&mut world, 0, "publisher");
    assert_eq!(flood(&mut world, publisher, "t", QoS::AtLeastOnce), 1);
    world.block(subscriber, false);
    assert_eq!(takes(&mut world, subscriber), 1);
    assert!(!world.is_paused(publisher));
}

/// Each of two clients sends the other more than that one takes. Were both not read until the
/// other has taken it, neither would get on.
#[test]
fn two_do_not_wait_for_each_other() {
    for at_once in [true, false] {
        let mut world = small();
        let clients = [(0, "a"), (1, "b")].map(|(shard, name)| client(&mut world, shard, name));
        for (client, filter) in clients.iter().zip(["0", "1"]) {
            world.subscribe(*client, filter, QoS::AtMostOnce);
            world.block(*client, true);
        }
        world.letters_wait = at_once;
        for _ in 0..30 {
            world.publish(clients[0], "1", &PAYLOAD, QoS::AtMostOnce);
            world.publish(clients[1], "0", &PAYLOAD, QoS::AtMostOnce);
        }
        world.letters_wait = false;
        world.run();
        // Who was asked to wait while he was waited for does so afterwards.
        let expected = u64::from(!at_once);
        assert_eq!(world.statistics().publishers_paused, expected);
        world.block(clients[0], false);
        assert_eq!(world.statistics().publishers_paused, 1);
        world.block(clients[1], false);
        for client in clients {
            assert_eq!(takes(&mut world, client), 30);
        }
        assert_eq!(lost(&world), 0);
        for client in clients {
            assert!(!world.is_paused(client));
        }
    }
}

/// However small they are: what is on its way counts messages as queues do.
#[test]
fn many_small_ones_on_their_way_fit_into_the_queue() {
    for queue_messages_maximum in [400, 1_000] {
        let mut config = Config::default();
        config.session.queue_messages_maximum = queue_messages_maximum;
        // So that they wait in the queue.
        config.session.inflight_maximum = 1;
        let mut world = World::with_shards(config, 2);
        let subscriber = stuck(&mut world, "t", QoS::AtLeastOnce);
        let local = client(&mut world, 1, "local");
        let mut sent = 0;
        for _ in 0..=queue_messages_maximum / 2 {
            world.publish(local, "t", b"", QoS::AtLeastOnce);
            sent += 1;
        }
        assert!(!world.is_paused(local), "not yet");
        world.letters_wait = true;
        // The second hears that it is full with its first message.
        for number in 0..2 {
            let publisher = client(&mut world, 0, &format!("publisher {number}-"));
            while !world.is_paused(publisher) && sent < 30_000 {
                world.publish(publisher, "t", b"", QoS::AtLeastOnce);
                sent += 1;
            }
        }
        assert!(sent < 30_000, "they are paused");
        world.letters_wait = false;
        world.run();
        assert_eq!(lost(&world), 0, "{queue_messages_maximum}");
        world.block(subscriber, false);
        assert_eq!(takes(&mut world, subscriber), sent);
    }
}

/// What the shard that is played back is asked, and asks others.
#[test]
fn recorded_and_replayed_it_is_the_same() {
    for (there, here) in [(0, 1), (1, 0)] {
        let mut world = small();
        world.record(RecordOptions {
            // So small that states are written while somebody waits.
            part_bytes: 500,
            ..RecordOptions::default()
        });
        let subscriber = client(&mut world, there, "subscriber");
        world.subscribe(subscriber, "t", QoS::AtMostOnce);
        world.block(subscriber, true);
        let publisher = client(&mut world, here, "publisher");
        flood(&mut world, publisher, "t", QoS::AtMostOnce);
        for _ in 0..3 {
            world.publish(publisher, "t", &PAYLOAD, QoS::AtMostOnce);
        }
        world.block(subscriber, false);
        assert!(takes(&mut world, subscriber) >= 28);
        assert!(world.replay() > 0);
    }
}
