//! Queue limits, overflow policies, slow consumers, and publishers that are too fast.

use whimbrel_core::ConnectionId;
use whimbrel_core::action::{DropReason, Event};
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::codec::{self, Packet};
use whimbrel_core::config::{Config, Limits, QueueOverflow, SessionConfig};
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, publish};

fn queue_of(queue_messages_maximum: u32, queue_overflow: QueueOverflow) -> Config {
    Config {
        session: SessionConfig {
            queue_messages_maximum,
            queue_overflow,
            inflight_maximum: 1,
            ..SessionConfig::default()
        },
        // Publishers do not wait for anybody.
        limits: Limits {
            slow_consumer_grace_ms: 0,
            ..Limits::default()
        },
        ..Config::default()
    }
}

fn publish_numbers(world: &mut World, publisher: ConnectionId, numbers: core::ops::Range<u32>) {
    for number in numbers {
        let payload = number.to_string();
        world.publish(publisher, "t", payload.as_bytes(), QoS::AtLeastOnce);
    }
    world.drain(publisher);
}

fn dropped(world: &World, why: DropReason) -> u64 {
    world.statistics().dropped[why as usize]
}

#[test]
fn a_full_queue_drops_as_its_policy_says() {
    for version in VERSIONS {
        for (policy, expected) in [
            (QueueOverflow::DropNewest, ["0", "1", "2"]),
            (QueueOverflow::DropOldest, ["5", "6", "7"]),
            (QueueOverflow::Disconnect, ["0", "1", "2"]),
        ] {
            let mut world = World::new(queue_of(3, policy));
            let away = world.resume(version, "away");
            world.subscribe(away, "t", QoS::AtLeastOnce);
            world.cut(away);
            let publisher = world.connect(version, "publisher");
            publish_numbers(&mut world, publisher, 0..8);
            assert_eq!(dropped(&world, DropReason::QueueFull), 5);
            let away = world.resume(version, "away");
            assert_eq!(world.take_all(away), expected, "{policy:?}");
        }
    }
}

#[test]
fn drops_are_reported_now_and_then_and_counted_always() {
    let mut world = World::new(queue_of(1, QueueOverflow::DropNewest));
    let away = world.resume(Version::V5, "away");
    world.subscribe(away, "t", QoS::AtLeastOnce);
    world.cut(away);
    let publisher = world.connect(Version::V5, "publisher");
    publish_numbers(&mut world, publisher, 0..101);
    let counts: Vec<u64> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Dropped { count, .. } => Some(*count),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [1, 2, 4, 8, 16, 32, 64]);
    assert_eq!(dropped(&world, DropReason::QueueFull), 100);
}

#[test]
fn a_client_whose_queue_overflows_is_disconnected_if_so_configured() {
    for version in VERSIONS {
        let mut world = World::new(queue_of(3, QueueOverflow::Disconnect));
        let client = world.resume(version, "client");
        world.subscribe(client, "t", QoS::AtLeastOnce);
        let publisher = world.connect(version, "publisher");
        // One is in flight, three wait, one is too many.
        publish_numbers(&mut world, publisher, 0..4);
        assert!(!world.is_closed(client));
        publish_numbers(&mut world, publisher, 4..5);
        // The publisher waits for its grace first.
        world.pass_ms(1_000);
        let told = (version == Version::V5).then_some(ReasonCode::QUOTA_EXCEEDED);
        assert_eq!(world.farewell(client), told);
        let client = world.resume(version, "client");
        assert_eq!(world.take_all(client), ["0", "1", "2", "3"]);
    }
}

#[test]
fn a_queue_is_limited_in_bytes_as_well() {
    let mut config = queue_of(1_000, QueueOverflow::DropNewest);
    config.session.queue_bytes_maximum = 10_000;
    let mut world = World::new(config);
    let away = world.resume(Version::V4, "away");
    world.subscribe(away, "t", QoS::AtLeastOnce);
    world.cut(away);
    let publisher = world.connect(Version::V4, "publisher");
    for _ in 0..100 {
        world.publish(publisher, "t", &[b'x'; 900], QoS::AtLeastOnce);
    }
    let away = world.resume(Version::V4, "away");
    let count = world.take_all(away).len();
    assert!((8..=11).contains(&count), "{count}");
}

#[test]
fn all_queues_together_are_limited() {
    let mut world = World::alone(Config {
        limits: Limits {
            queue_messages_total_maximum: 10,
            ..Limits::default()
        },
        ..Config::default()
    });
    for name in ["a", "b", "c"] {
        let away = world.resume(Version::V4, name);
        world.subscribe(away, "t", QoS::AtLeastOnce);
        world.cut(away);
    }
    let publisher = world.connect(Version::V4, "publisher");
    publish_numbers(&mut world, publisher, 0..5);
    assert_eq!(world.statistics().queued_messages, 10);
    assert_eq!(dropped(&world, DropReason::TotalQueueFull), 5);
}

/// A small broker: little may be unsent, and nobody waits for long.
fn small(slow_consumer_grace_ms: u32) -> Config {
    Config {
        limits: Limits {
            unsent_bytes_pause: 10_000,
            unsent_bytes_maximum: 20_000,
            slow_consumer_grace_ms,
            ..Limits::default()
        },
        ..Config::default()
    }
}

#[test]
fn a_slow_consumer_misses_qos_0_and_keeps_the_rest() {
    for version in VERSIONS {
        let mut world = World::new(small(0));
        let slow = world.connect(version, "slow");
        let quick = world.connect(version, "quick");
        for client in [slow, quick] {
            world.subscribe(client, "t", QoS::AtLeastOnce);
        }
        let publisher = world.connect(version, "publisher");
        world.block(slow, true);
        for _ in 0..100 {
            world.publish(publisher, "t", &[b'0'; 1_000], QoS::AtMostOnce);
            world.publish(publisher, "t", &[b'1'; 1_000], QoS::AtLeastOnce);
        }
        assert_eq!(world.take_all(quick).len(), 200, "nobody else notices");
        assert!(world.statistics().unsent_bytes < 200_000);
        world.block(slow, false);
        let came = world.take_all(slow);
        let ones = came.iter().filter(|payload| payload.starts_with('1'));
        assert_eq!(ones.count(), 100);
        let zeros = came.iter().filter(|payload| payload.starts_with('0'));
        let missed = dropped(&world, DropReason::SlowConsumer);
        assert_eq!(zeros.count() as u64 + missed, 100);
        assert!(missed > 50, "{missed}");
    }
}

#[test]
fn a_publisher_is_not_read_while_its_subscriber_catches_up() {
    for version in VERSIONS {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let mut world = World::new(small(1_000));
            let subscriber = world.connect(version, "subscriber");
            world.subscribe(subscriber, "t", qos);
            let publisher = world.connect(version, "publisher");
            world.block(subscriber, true);
            let mut sent = 0;
            while !world.is_paused(publisher) {
                let payload = [b'x'; 1_000];
                world.send(publisher, &Packet::Publish(publish("t", &payload, qos, 1)));
                sent += 1;
                assert!(sent < 100, "it is never paused");
            }
            // What was read already is kept.
            for _ in 0..3 {
                let payload = [b'x'; 1_000];
                world.send(publisher, &Packet::Publish(publish("t", &payload, qos, 1)));
                sent += 1;
            }
            world.pass_ms(500);
            assert!(world.is_paused(publisher));
            world.block(subscriber, false);
            assert!(!world.is_paused(publisher));
            let mut heard = world.take_all(subscriber).len();
            for _ in 0..10 {
                heard += world.take_all(subscriber).len();
            }
            assert_eq!(heard, sent, "nothing is lost");
            assert_eq!(world.statistics().dropped.iter().sum::<u64>(), 0);
        }
    }
}

#[test]
fn publishers_do_not_wait_for_a_slow_consumer_for_ever() {
    let mut world = World::new(small(1_000));
    let subscriber = world.connect(Version::V4, "subscriber");
    world.subscribe(subscriber, "t", QoS::AtMostOnce);
    let publisher = world.connect(Version::V4, "publisher");
    world.block(subscriber, true);
    while !world.is_paused(publisher) {
        world.publish(publisher, "t", &[b'x'; 1_000], QoS::AtMostOnce);
    }
    world.pass_ms(999);
    assert!(world.is_paused(publisher));
    world.pass_ms(1);
    assert!(!world.is_paused(publisher));
    for _ in 0..100 {
        world.publish(publisher, "t", &[b'x'; 1_000], QoS::AtMostOnce);
        assert!(!world.is_paused(publisher));
    }
    assert!(dropped(&world, DropReason::SlowConsumer) > 0);
}

/// A client that floods itself is not made to wait for itself.
#[test]
fn a_client_that_publishes_to_itself_goes_on() {
    let mut world = World::new(small(1_000));
    let client = world.connect(Version::V4, "client");
    world.subscribe(client, "t", QoS::AtLeastOnce);
    for _ in 0..100 {
        world.publish(client, "t", &[b'x'; 1_000], QoS::AtLeastOnce);
    }
    let came = world.drain(client);
    let messages = came
        .iter()
        .filter(|received| matches!(received.packet(), Packet::Publish(_)));
    assert_eq!(messages.count(), 100);
    assert!(!world.is_paused(client));
}

#[test]
fn above_the_memory_budget_new_things_are_refused_and_old_ones_go_on() {
    let mut world = World::alone(Config {
        limits: Limits {
            memory_budget_bytes: 100_000,
            ..Limits::default()
        },
        ..Config::default()
    });
    let away = world.resume(Version::V5, "away");
    world.subscribe(away, "t", QoS::AtLeastOnce);
    world.cut(away);
    let publisher = world.connect(Version::V5, "publisher");
    let mut refused = 0;
    for _ in 0..200 {
        world.publish(publisher, "t", &[b'x'; 1_000], QoS::AtLeastOnce);
        refused += u32::from(world.hear(publisher).ack().2.is_error());
    }
    assert!(refused > 0 || dropped(&world, DropReason::TotalQueueFull) > 0);
    assert!(world.statistics().queued_bytes <= 100_000);
    let away = world.resume(Version::V5, "away");
    assert!(world.take_all(away).len() > 50);
    world.publish(publisher, "t", b"again", QoS::AtLeastOnce);
    assert_eq!(world.take_all(away), ["again"]);
}

/// However many clients begin a packet and do not end it.
#[test]
fn what_came_in_part_stays_near_a_small_memory_budget() {
    const BUDGET: u64 = 1 << 20;
    const CLIENTS: u64 = 200;
    let mut world = World::alone(Config::for_memory(BUDGET));
    for number in 0..CLIENTS {
        let client = world.connect(Version::V4, &format!("client-{number}"));
        // PUBLISH with 60,000 bytes to come.
        let mut half = vec![0x30, 0xE0, 0xD4, 0x03];
        half.resize(20_000, b'x');
        world.send_bytes(client, &half);
    }
    let says = world.statistics();
    let waited_for = CLIENTS * (4 << 10);
    assert!(says.memory_bytes <= BUDGET + waited_for, "{says:?}");
    assert!(says.connections_open < CLIENTS, "{says:?}");
}

/// Who is not read because the disk is full does nothing wrong.
#[test]
fn what_waits_for_the_broker_is_kept_above_a_small_memory_budget() {
    let mut world = World::new(Config {
        durable: true,
        limits: Limits {
            memory_budget_bytes: 9_000,
            unsent_bytes_pause: 4_096,
            ..Limits::default()
        },
        ..Config::default()
    });
    let client = world.connect(Version::V4, "client");
    world.broker.storage_pressure(world.now, true);
    for id in 1..=10 {
        let message = publish("t", &[b'x'; 1_000], QoS::AtLeastOnce, id);
        world.send(client, &Packet::Publish(message));
    }
    let says = world.statistics();
    assert!(says.memory_bytes > 9_000, "{says:?}");
    assert!(!world.is_closed(client));
}

/// However many messages come in one read: the budget is not looked at between reads only.
#[test]
fn what_comes_in_one_read_stays_inside_the_memory_budget() {
    const BUDGET: u64 = 200_000;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let mut world = World::alone(Config {
            limits: Limits {
                memory_budget_bytes: BUDGET,
                ..Limits::default()
            },
            ..Config::default()
        });
        let slow: Vec<_> = (0..20)
            .map(|number| world.connect(Version::V5, &format!("slow-{number}")))
            .collect();
        for connection in slow {
            world.subscribe(connection, "t", qos);
            world.block(connection, true);
        }
        let publisher = world.connect(Version::V5, "publisher");
        let mut bytes = Vec::new();
        for id in 1..=200 {
            let message = publish("t", &[b'x'; 1_000], qos, id);
            codec::encode(&Packet::Publish(message), Version::V5, &mut bytes).expect("it exists");
        }
        world.send_bytes(publisher, &bytes);
        let says = world.statistics();
        // One message for each of them may be on its way beyond it.
        assert!(says.memory_bytes < BUDGET + 20 * 1_200, "{qos:?}: {says:?}");
        let lost = says.publishes_refused + says.dropped_because(DropReason::SlowConsumer);
        assert!(lost > 0, "{qos:?}: {says:?}");
    }
}

/// Optional, and for 3.x only: 5.0 forbids it.
#[test]
fn what_is_not_acknowledged_is_resent_in_time_if_so_configured() {
    for version in VERSIONS {
        let mut world = World::new(Config {
            session: SessionConfig {
                retransmit_interval_ms: 1_000,
                retransmit_maximum: 2,
                ..SessionConfig::default()
            },
            ..Config::default()
        });
        let client = world.connect(version, "client");
        world.subscribe(client, "t", QoS::AtLeastOnce);
        let publisher = world.connect(version, "publisher");
        world.publish(publisher, "t", b"x", QoS::AtLeastOnce);
        assert!(!world.hear(client).publish().dup);
        world.pass_ms(60_000);
        if version == Version::V5 {
            world.hears_nothing(client);
            assert!(!world.is_closed(client));
            continue;
        }
        for _ in 0..2 {
            assert!(world.hear(client).publish().dup);
        }
        assert_eq!(
            world.farewell(client),
            None,
            "it does not acknowledge at all"
        );
    }
}

/// Who does not read events is told how many it has missed.
#[test]
fn events_that_were_lost_are_told_of_when_there_is_room_again() {
    let mut config = Config::default();
    config.limits.events_maximum = 2;
    let mut world = World::alone(config);
    let clients: Vec<_> = (0..5)
        .map(|number| world.connect(Version::V4, &number.to_string()))
        .collect();
    world.events.clear();
    for client in clients {
        world.broker.closed(world.now, client);
    }
    world.run();
    assert_eq!(world.events.len(), 2);
    world.connect(Version::V4, "another");
    assert_eq!(world.events[2], Event::EventsLost { count: 3 });
    assert_eq!(world.events.len(), 4);
    world.connect(Version::V4, "one more");
    assert_eq!(world.events.len(), 5, "once");
}
