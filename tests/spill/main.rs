//! What waits in the log only: let go when memory is short, read back when it is due, whoever asks
//! and however long the disk takes.

use std::collections::BTreeMap;
use whimbrel_core::action::DropReason;
use whimbrel_core::codec::packet::{Connect, Publish, QoS, Version};
use whimbrel_core::codec::{Packet, Property, PropertyBuffer, ReasonCode};
use whimbrel_core::config::{Limits, SessionConfig};
use whimbrel_core::{Config, ConnectionId, Event};
use whimbrel_tests::World;
use whimbrel_tests::disk::Random;
use whimbrel_tests::world::{connect, lasting, publish};

const PAYLOAD: usize = 100;

fn config(memory_bytes: u64) -> Config {
    Config {
        durable: true,
        limits: Limits {
            queued_payload_memory_bytes: memory_bytes,
            ..Limits::default()
        },
        ..Config::default()
    }
}

/// A session with a subscription to everything, whose client is away.
fn away(world: &mut World, client_id: &str) {
    let client = world.resume(Version::V5, client_id);
    world.subscribe(client, "#", QoS::ExactlyOnce);
    world.cut(client);
}

fn payload(number: usize) -> String {
    format!("{number:0PAYLOAD$}")
}

/// What came is all of these, in order. Those of QoS 2 may come behind later ones of QoS 1: they
/// wait until the log has their packet identifiers.
#[track_caller]
fn assert_all(came: &[String], numbers: impl IntoIterator<Item = usize>) {
    let by_qos = |mut numbers: Vec<usize>| {
        numbers.sort_by_key(|number| number % 2);
        numbers
    };
    let came = came
        .iter()
        .map(|payload| payload.parse().expect("a number"));
    assert_eq!(
        by_qos(came.collect()),
        by_qos(numbers.into_iter().collect())
    );
}

fn publish_all(world: &mut World, publisher: ConnectionId, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce][number % 2];
        world.publish(publisher, "t", payload(number).as_bytes(), qos);
        world.answer(publisher, Packet::PubRel, 1, ReasonCode::SUCCESS);
        world.drain(publisher);
    }
}

/// Reads back one message at a time, and takes what comes of it.
fn drain_slowly(world: &mut World, client: ConnectionId) -> Vec<String> {
    let mut taken = world.take_all(client);
    while world.load() {
        taken.extend(world.take_all(client));
    }
    taken
}

#[test]
fn what_is_over_the_budget_is_let_go_and_comes_back_in_order() {
    for memory_bytes in [0, 1_000, 5_000] {
        let mut world = World::new(config(memory_bytes));
        away(&mut world, "client");
        let publisher = world.connect(Version::V5, "publisher");
        publish_all(&mut world, publisher, 0..100);
        let says = world.broker.statistics();
        assert!(says.held_bytes <= memory_bytes, "{says:?}");
        assert!(says.unloaded_messages > 50, "{says:?}");
        assert_eq!(says.queued_messages, 100);
        world.loads_at_once = false;
        let client = world.resume(Version::V5, "client");
        assert_all(&drain_slowly(&mut world, client), 0..100);
        let says = world.broker.statistics();
        let left = (says.held_bytes, says.unloaded_messages, says.unloaded_bytes);
        assert_eq!((left, says.loads_waiting), ((0, 0, 0), 0));
    }
}

/// What waits is bounded by its number alone: of the payloads there may be more than of memory.
#[test]
fn a_small_budget_holds_what_the_log_can() {
    let mut world = World::new(Config {
        durable: true,
        ..Config::for_memory_with_log(1 << 20)
    });
    away(&mut world, "client");
    let publisher = world.connect(Version::V5, "publisher");
    let payload = |number| format!("{number:010000}");
    for number in 0..300 {
        world.publish(publisher, "t", payload(number).as_bytes(), QoS::AtLeastOnce);
        let says = world.broker.statistics();
        assert!(says.memory_bytes <= 1 << 20, "{says:?}");
    }
    let says = world.broker.statistics();
    assert_eq!(says.dropped_because(DropReason::QueueFull), 300 - 256);
    let client = world.resume(Version::V5, "client");
    assert_all(&world.take_all(client), 0..256);
}

#[test]
fn only_what_is_durable_is_let_go() {
    let mut world = World::new(config(0));
    away(&mut world, "client");
    let publisher = world.connect(Version::V5, "publisher");
    world.persists_at_once = false;
    publish_all(&mut world, publisher, 0..10);
    assert_eq!(world.broker.statistics().unloaded_messages, 0);
    world.persist();
    assert_eq!(world.broker.statistics().unloaded_messages, 10);
}

#[test]
fn a_message_counts_once_whatever_its_fan_out() {
    let mut world = World::new(config(1 << 20));
    for client in ["a", "b", "c"] {
        away(&mut world, client);
    }
    let publisher = world.connect(Version::V5, "publisher");
    publish_all(&mut world, publisher, 0..10);
    let says = world.broker.statistics();
    assert!(says.held_bytes < 10 * (PAYLOAD as u64 + 50), "{says:?}");
    assert!(says.queued_bytes > 30 * PAYLOAD as u64);
}

#[test]
fn a_fan_out_to_many_comes_back_to_each() {
    let mut world = World::new(config(0));
    let clients: Vec<String> = (0..20).map(|number| format!("client-{number}")).collect();
    for client in &clients {
        away(&mut world, client);
    }
    let publisher = world.connect(Version::V5, "publisher");
    publish_all(&mut world, publisher, 0..10);
    assert_eq!(world.broker.statistics().held_bytes, 0);
    world.loads_at_once = false;
    let connections: Vec<_> = clients
        .iter()
        .map(|client| world.resume(Version::V5, client))
        .collect();
    let mut taken = BTreeMap::<_, Vec<String>>::new();
    loop {
        for connection in &connections {
            let came = world.take_all(*connection);
            taken.entry(*connection).or_default().extend(came);
        }
        if !world.load() {
            break;
        }
    }
    for came in taken.values() {
        assert_all(came, 0..10);
    }
    let says = world.broker.statistics();
    assert_eq!((says.held_bytes, says.unloaded_messages), (0, 0));
}

#[test]
fn nobody_else_waits_for_the_disk() {
    let mut world = World::new(config(0));
    away(&mut world, "client");
    let publisher = world.connect(Version::V5, "publisher");
    publish_all(&mut world, publisher, 0..10);
    world.loads_at_once = false;
    let client = world.resume(Version::V5, "client");
    let other = world.connect(Version::V5, "other");
    world.subscribe(other, "t", QoS::AtLeastOnce);
    publish_all(&mut world, publisher, 10..12);
    assert_all(&world.take_all(other), 10..12);
    world.hears_nothing(client);
    assert_all(&drain_slowly(&mut world, client), 0..12);
}

#[test]
fn a_client_that_comes_and_goes_while_the_disk_reads_gets_each_once() {
    let mut world = World::new(config(0));
    away(&mut world, "client");
    let publisher = world.connect(Version::V5, "publisher");
    publish_all(&mut world, publisher, 0..30);
    world.loads_at_once = false;
    let mut taken = Vec::new();
    let mut random = Random::new(1);
    while taken.len() < 30 {
        let client = world.resume(Version::V5, "client");
        for _ in 0..random.below(6) {
            world.load();
            taken.extend(world.take_all(client));
        }
        world.cut(client);
        for _ in 0..random.below(3) {
            world.load();
        }
    }
    assert_all(&taken, 0..30);
}

/// What was sent and not acknowledged waits as well, when its client is away.
#[test]
fn an_exchange_is_resent_from_the_log() {
    let mut world = World::new(config(0));
    let client = world.resume(Version::V5, "client");
    world.subscribe(client, "#", QoS::ExactlyOnce);
    let publisher = world.connect(Version::V5, "publisher");
    publish_all(&mut world, publisher, 0..4);
    let first = world.drain(client);
    assert_eq!(first.len(), 4, "sent, not acknowledged");
    world.cut(client);
    publish_all(&mut world, publisher, 4..6);
    assert_eq!(world.broker.statistics().unloaded_messages, 6);
    world.loads_at_once = false;
    let client = world.resume(Version::V5, "client");
    while world.load() {}
    let again = world.drain(client);
    assert_eq!(again.len(), 6);
    for (before, after) in first.iter().zip(&again) {
        let (before, after) = (before.publish(), after.publish());
        assert_eq!(before.packet_id, after.packet_id);
        assert_eq!(before.payload, after.payload);
        assert!(after.dup);
    }
}

#[test]
fn a_restart_keeps_to_the_budget() {
    let mut world = World::new(config(2_000));
    away(&mut world, "client");
    let publisher = world.connect(Version::V5, "publisher");
    let retained = Publish {
        retain: true,
        ..publish("retained", b"kept", QoS::AtLeastOnce, 1)
    };
    publish_all(&mut world, publisher, 0..100);
    world.send(publisher, &Packet::Publish(retained));
    world.crash();
    let says = world.broker.statistics();
    assert!(says.held_bytes <= 2_000, "{says:?}");
    assert_eq!((says.queued_messages, says.retained_messages), (101, 1));
    world.loads_at_once = false;
    let client = world.resume(Version::V5, "client");
    let mut taken = drain_slowly(&mut world, client);
    let kept = taken.iter().position(|payload| payload == "kept");
    taken.remove(kept.expect("it comes"));
    assert_all(&taken, 0..100);
    let other = world.connect(Version::V4, "other");
    world.subscribe(other, "retained", QoS::AtMostOnce);
    assert_eq!(world.broker.statistics().held_bytes, 0);
}

/// The log before a checkpoint may go: what is in it alone comes from it, whatever lies on disk.
#[test]
fn a_checkpoint_writes_what_memory_has_not() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = World::new(config(0));
        away(&mut world, "client");
        let publisher = world.connect(Version::V5, "publisher");
        for number in 0..500 {
            world.publish(publisher, "t", payload(number).as_bytes(), qos);
            world.answer(publisher, Packet::PubRel, 1, ReasonCode::SUCCESS);
        }
        assert_eq!(world.broker.statistics().unloaded_messages, 500);
        world.loads_at_once = false;
        let begin = world.log.len();
        world.broker.checkpoint(world.now);
        world.run();
        // Somebody publishes while the disk reads.
        let mut number = 500;
        while world.load() {
            if number < 510 {
                world.publish(publisher, "t", payload(number).as_bytes(), qos);
                world.answer(publisher, Packet::PubRel, 1, ReasonCode::SUCCESS);
                number += 1;
            }
        }
        assert_eq!(number, 510);
        world.log.drain(..begin);
        world.crash();
        world.loads_at_once = true;
        let client = world.resume(Version::V5, "client");
        assert_all(&world.take_all(client), 0..510);
    }
}

/// A message of a shared subscription goes to another member, unread, also during a checkpoint that
/// has passed that member already.
#[test]
fn another_member_gets_what_lies_in_the_log() {
    let mut world = World::new(config(0));
    let ends = |client_id| Connect {
        clean_start: true,
        ..connect(Version::V5, client_id)
    };
    away_in_group(&mut world, "second");
    away_in_group(&mut world, "first");
    let publisher = world.connect(Version::V5, "publisher");
    for number in 0..6 {
        let payload = payload(number);
        world.publish(publisher, "t", payload.as_bytes(), QoS::AtLeastOnce);
    }
    assert_eq!(world.broker.statistics().unloaded_messages, 6);
    world.loads_at_once = false;
    let begin = world.log.len();
    world.broker.checkpoint(world.now);
    world.run();
    for _ in 0..3 {
        world.load();
    }
    // A clean start ends the session; the other member has the rest from now on.
    let first = world.open_with(&ends("first"));
    world.run();
    world.cut(first);
    while world.load() {}
    world.log.drain(..begin);
    world.crash();
    world.loads_at_once = true;
    let second = world.resume(Version::V5, "second");
    let mut taken = world.take_all(second);
    taken.sort();
    assert_all(&taken, 0..6);
}

fn away_in_group(world: &mut World, client_id: &str) {
    let client = world.resume(Version::V5, client_id);
    world.subscribe(client, "$share/g/#", QoS::AtLeastOnce);
    world.cut(client);
}

#[test]
fn what_cannot_be_read_is_counted_reported_and_not_delivered() {
    let mut world = World::new(config(0));
    away(&mut world, "client");
    let publisher = world.connect(Version::V5, "publisher");
    publish_all(&mut world, publisher, 0..10);
    world.loads_at_once = false;
    let client = world.resume(Version::V5, "client");
    let (_, lost) = world.unloaded[0];
    world.damaged.insert(lost);
    assert_all(&drain_slowly(&mut world, client), 1..10);
    let says = world.broker.statistics();
    assert_eq!(says.loads_failed, 1);
    assert_eq!(says.dropped_because(DropReason::Unreadable), 1);
    assert_eq!((says.unloaded_messages, says.queued_messages), (0, 0));
    let reported = |event: &Event| *event == Event::Unreadable { message: lost };
    assert!(world.events.iter().any(reported));
}

/// Its identifier went to another message, which a client that still knew of the first took for
/// the same one. (Seed 1035 of the simulator.)
#[test]
fn what_was_sent_at_qos_2_and_cannot_be_read_is_released() {
    let mut world = World::new(config(0));
    away(&mut world, "client");
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.resume(Version::V5, "client");
    world.publish(publisher, "t", payload(1).as_bytes(), QoS::ExactlyOnce);
    let first = world.hear(client).publish().packet_id;
    world.cut(client);
    assert_eq!(world.broker.statistics().unloaded_messages, 1);
    world.loads_at_once = false;
    let client = world.resume(Version::V5, "client");
    let (_, lost) = world.unloaded[0];
    world.damaged.insert(lost);
    while world.load() {}
    let released = world.hear(client);
    match released.packet() {
        Packet::PubRel(ack) => assert_eq!(Some(ack.packet_id), first),
        other => panic!("{other:?}"),
    }
    let says = world.broker.statistics();
    assert_eq!(says.dropped_because(DropReason::Unreadable), 1);
    assert_eq!((says.unloaded_messages, says.unloaded_bytes), (0, 0));
}

/// The same when a checkpoint could not read it, and the broker was started again: of the message
/// there is nothing left then.
#[test]
fn what_a_checkpoint_could_not_read_is_released_after_a_restart() {
    let mut world = World::new(config(0));
    away(&mut world, "client");
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.resume(Version::V5, "client");
    world.publish(publisher, "t", payload(1).as_bytes(), QoS::ExactlyOnce);
    let first = world.hear(client).publish().packet_id;
    world.cut(client);
    publish_all(&mut world, publisher, 2..4);
    let begin = world.log.len();
    world.loads_at_once = false;
    world.broker.checkpoint(world.now);
    world.run();
    let lost: Vec<_> = world.unloaded.iter().map(|(_, id)| *id).collect();
    assert_eq!(lost.len(), 3);
    world.damaged.extend(lost);
    while world.load() {}
    world.log.drain(..begin);
    world.crash();
    world.loads_at_once = true;
    let says = world.broker.statistics();
    assert_eq!(says.dropped_because(DropReason::Unreadable), 3);
    assert_eq!(says.queued_messages, 0);
    let client = world.resume(Version::V5, "client");
    match world.hear(client).packet() {
        Packet::PubRel(ack) => assert_eq!(Some(ack.packet_id), first),
        other => panic!("{other:?}"),
    }
    world.answer(client, Packet::PubComp, 1, ReasonCode::SUCCESS);
    world.crash();
    let says = world.broker.statistics();
    assert_eq!(says.dropped_because(DropReason::Unreadable), 2);
    let client = world.resume(Version::V5, "client");
    world.hears_nothing(client);
}

/// Every byte of it counts.
#[test]
fn what_is_not_what_was_kept_is_not_delivered() {
    for place in 0..PAYLOAD {
        let mut world = World::new(config(0));
        away(&mut world, "client");
        let publisher = world.connect(Version::V5, "publisher");
        let sent = payload(7);
        world.publish(publisher, "t", sent.as_bytes(), QoS::AtLeastOnce);
        for batch in &mut world.log {
            let at = batch.windows(PAYLOAD).position(|w| w == sent.as_bytes());
            if let Some(at) = at {
                batch[at + place] ^= 1;
            }
        }
        let client = world.resume(Version::V5, "client");
        world.hears_nothing(client);
        assert_eq!(world.broker.statistics().loads_failed, 1);
    }
}

#[test]
fn what_expires_meanwhile_is_not_read() {
    let mut world = World::new(config(0));
    away(&mut world, "client");
    let publisher = world.connect(Version::V5, "publisher");
    let mut properties = PropertyBuffer::new();
    properties.push(Property::MessageExpiryInterval(10));
    let packet = Publish {
        properties: properties.as_properties(),
        ..publish("t", b"short-lived", QoS::AtLeastOnce, 1)
    };
    world.send(publisher, &Packet::Publish(packet));
    publish_all(&mut world, publisher, 0..1);
    world.pass_ms(11_000);
    let client = world.resume(Version::V5, "client");
    assert_all(&world.take_all(client), 0..1);
    let says = world.broker.statistics();
    assert_eq!(
        (says.loads, says.dropped_because(DropReason::Expired)),
        (1, 1)
    );
}

/// A returning client is read for ahead, in bounds.
#[test]
fn some_are_asked_for_ahead() {
    let mut world = World::new(config(40_000));
    away(&mut world, "client");
    let publisher = world.connect(Version::V5, "publisher");
    publish_all(&mut world, publisher, 0..1_000);
    world.crash();
    world.loads_at_once = false;
    let client = world.resume(Version::V5, "client");
    let taken = world.take_all(client);
    assert!(taken.len() > 100, "{} were in memory", taken.len());
    assert!(
        (10..=128).contains(&world.unloaded.len()),
        "{}",
        world.unloaded.len()
    );
    let mut all = taken;
    all.extend(drain_slowly(&mut world, client));
    assert_all(&all, 0..1_000);
}

/// What a slow client lets pile up is let go as well, but for what is due next.
#[test]
fn the_end_of_a_long_queue_of_a_slow_client_is_let_go() {
    let mut world = World::new(Config {
        session: SessionConfig {
            inflight_maximum: 10,
            ..SessionConfig::default()
        },
        ..config(50_000)
    });
    let client = world.resume(Version::V5, "client");
    world.subscribe(client, "#", QoS::ExactlyOnce);
    let publisher = world.connect(Version::V5, "publisher");
    publish_all(&mut world, publisher, 0..1_000);
    let says = world.broker.statistics();
    assert!(
        says.held_bytes <= 50_000 && says.unloaded_messages > 500,
        "{says:?}"
    );
    world.loads_at_once = false;
    assert_all(&drain_slowly(&mut world, client), 0..1_000);
}

#[test]
fn without_a_log_nothing_is_let_go() {
    let mut world = World::new(Config {
        durable: false,
        ..config(0)
    });
    let (client, _) = world.enter(&lasting(Version::V5, "client"));
    world.subscribe(client, "#", QoS::AtLeastOnce);
    world.cut(client);
    let publisher = world.connect(Version::V5, "publisher");
    publish_all(&mut world, publisher, 0..10);
    let says = world.broker.statistics();
    assert_eq!((says.unloaded_messages, says.loads), (0, 0));
    let client = world.resume(Version::V5, "client");
    assert_all(&world.take_all(client), 0..10);
}

/// On its way to another member a message is counted as it is: it takes no memory.
#[test]
fn one_large_message_changes_hands() {
    let mut world = World::new(config(0));
    away_in_group(&mut world, "first");
    let publisher = world.connect(Version::V5, "publisher");
    let large = vec![b'x'; 100_000];
    world.publish(publisher, "t", &large, QoS::AtLeastOnce);
    away_in_group(&mut world, "second");
    assert_eq!(world.broker.statistics().unloaded_messages, 1);
    let first = world.connect(Version::V5, "first");
    world.hears_nothing(first);
    let second = world.resume(Version::V5, "second");
    assert_eq!(world.take_all(second).len(), 1);
    assert_eq!(world.broker.statistics().unloaded_bytes, 0);
}
