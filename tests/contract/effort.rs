//! Bounded, the fourth line of the contract: what is little to ask and much to do is done in many
//! turns, and others have theirs between them.

use whimbrel_core::codec::packet::{Publish, QoS, Subscribe, SubscribeOptions, Version};
use whimbrel_core::codec::{self, Packet, Properties, SubscribeBuffer};
use whimbrel_core::id::PacketId;
use whimbrel_core::{Action, Config, ConnectionId, Verdict};
use whimbrel_tests::World;
use whimbrel_tests::world::{connect, publish};

fn subscribe(filters: impl Iterator<Item = String>) -> Vec<u8> {
    let mut buffer = SubscribeBuffer::new();
    for filter in filters {
        assert!(buffer.push(&filter, SubscribeOptions::default()));
    }
    let packet = Subscribe {
        packet_id: PacketId::FIRST,
        properties: Properties::EMPTY,
        filters: buffer.as_filters(Version::V4),
    };
    let mut bytes = Vec::new();
    codec::encode(&Packet::Subscribe(packet), Version::V4, &mut bytes).expect("it can be said");
    bytes
}

/// Filters of many levels, all of which match the beginning of a topic: each is looked at up to its
/// end.
#[test]
fn class_18_messages_that_are_hard_to_match_are_many_turns() {
    const FILTERS: usize = 1_500;
    const MESSAGES: u64 = 10;
    let mut world = World::default();
    let hostile = world.connect(Version::V4, "hostile");
    let mut dice = 1_u64;
    let filters = (0..FILTERS).map(|_| {
        let level = |_| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if dice >> 63 == 0 { "a/" } else { "+/" }
        };
        (0..120).map(level).collect::<String>() + "zz"
    });
    world.send_bytes(hostile, &subscribe(filters));
    world.drain(hostile);
    let publisher = world.connect(Version::V4, "publisher");
    let mut bytes = Vec::new();
    for number in 0..MESSAGES {
        let topic = "a/".repeat(120) + &format!("{number}");
        let message = Packet::Publish(publish(&topic, b"", QoS::AtMostOnce, 1));
        codec::encode(&message, Version::V4, &mut bytes).expect("it can be said");
    }
    let before = world.statistics().publishes_received;
    let handled = |world: &World| world.statistics().publishes_received - before;
    world.broker.receive(world.now, publisher, &bytes);
    assert_eq!(handled(&world), 1);
    world.broker.advance(world.now);
    assert_eq!(handled(&world), 2);
    world.run();
    assert_eq!(handled(&world), MESSAGES);
}

/// So many messages are retained, each for a topic of its own.
fn retain(world: &mut World, count: usize) {
    let publisher = world.connect(Version::V4, "publisher");
    for number in 0..count {
        let topic = format!("{number}/t");
        let message = Publish {
            retain: true,
            ..publish(&topic, b"x", QoS::AtMostOnce, 0)
        };
        world.send(publisher, &Packet::Publish(message));
    }
}

/// How often a client has its turn until the broker has nothing to do but what waits for time.
fn turns_of(world: &mut World, client: ConnectionId) -> usize {
    let mut turns = 0;
    while let Some(action) = world.broker.poll_action() {
        if action == Action::Send(client) {
            turns += 1;
            let mut out = Vec::new();
            world.broker.transmit(world.now, client, &mut out);
        }
    }
    turns
}

/// Filters that match nothing of all that is retained: for each of them all of it is looked at.
#[test]
fn class_18_a_search_of_what_is_retained_is_many_turns() {
    let mut world = World::new(Config::default());
    retain(&mut world, 6_000);
    let hostile = world.connect(Version::V4, "hostile");
    let filters = (0..20).map(|number| format!("+/+/{number}"));
    let packet = subscribe(filters);
    world.broker.receive(world.now, hostile, &packet);
    let mut rounds = 0;
    loop {
        let turns = turns_of(&mut world, hostile);
        assert!(turns <= 1, "others come first: {turns}");
        if world.broker.next_deadline() != Some(world.now.monotonic) {
            break;
        }
        world.broker.advance(world.now);
        rounds += 1;
    }
    assert!((6..60).contains(&rounds), "{rounds}");
}

/// Who leaves meanwhile leaves nothing behind, and keeps nobody waiting.
#[test]
fn who_leaves_while_it_rests_is_forgotten() {
    let mut world = World::new(Config::default());
    retain(&mut world, 5_000);
    let packet = subscribe((0..20).map(|number| format!("+/+/{number}")));
    for number in 0..50 {
        let hostile = world.connect(Version::V4, &format!("hostile-{number}"));
        world.broker.receive(world.now, hostile, &packet);
        turns_of(&mut world, hostile);
        world.broker.closed(world.now, hostile);
    }
    while world.broker.poll_action().is_some() {}
    world.broker.advance(world.now);
    assert_ne!(
        world.broker.next_deadline(),
        Some(world.now.monotonic),
        "nobody is left to go on"
    );
}

/// A flood, all in one read, of a broker in which an input may cost little.
fn flood(config: Config) -> (World, ConnectionId, usize) {
    const MESSAGES: usize = 600;
    let mut config = config;
    config.limits.fanout_step = 1;
    let mut world = World::new(config);
    let subscriber = world.connect(Version::V4, "subscriber");
    world.subscribe(subscriber, "t", QoS::AtMostOnce);
    let publisher = world.connect(Version::V4, "publisher");
    let message = Packet::Publish(publish("t", &[b'x'; 90], QoS::AtMostOnce, 1));
    let mut bytes = Vec::new();
    for _ in 0..MESSAGES {
        codec::encode(&message, Version::V4, &mut bytes).expect("it can be said");
    }
    world.broker.receive(world.now, publisher, &bytes);
    (world, subscriber, MESSAGES)
}

/// What it causes for others to be sent is no further share of the turn.
#[test]
fn who_has_had_its_share_waits_until_the_turn_is_over() {
    let (mut world, subscriber, count) = flood(Config::default());
    let handled = world.statistics().publishes_received;
    assert!(handled > 0 && handled < 100, "{handled}");
    let mut out = Vec::new();
    for _ in 0..100 {
        world.broker.transmit(world.now, subscriber, &mut out);
        world.broker.blocked(world.now, subscriber, 0);
    }
    assert_eq!(world.statistics().publishes_received, handled);
    world.broker.advance(world.now);
    assert!(world.statistics().publishes_received > handled);
    world.run();
    assert_eq!(world.statistics().publishes_received, count as u64);
}

/// Above the memory budget, too: what it has sent waits for the broker, and is no fault of its.
#[test]
fn who_waits_for_its_turn_is_not_closed_for_what_waits() {
    let mut config = Config::default();
    config.limits.memory_budget_bytes = 50_000;
    let (mut world, _, count) = flood(config);
    assert!(world.statistics().memory_bytes > 50_000);
    world.run();
    assert_eq!(world.statistics().publishes_received, count as u64);
    assert_eq!(world.statistics().clients_connected, 2);
}

/// Nor for what had been read when it was told to pause; and what it sends after that is its host's
/// to leave where it is, which may ask.
#[test]
fn who_waits_for_its_turn_is_not_to_be_read() {
    const READ: usize = 64 << 10;
    let mut config = Config::default();
    config.limits.memory_budget_bytes = 50_000;
    let (mut world, subscriber, mut count) = flood(config);
    let publisher = world.connect(Version::V4, "another");
    let message = Packet::Publish(publish("t", &[b'x'; 990], QoS::AtMostOnce, 1));
    let mut bytes = Vec::new();
    while bytes.len() < 3 * READ {
        codec::encode(&message, Version::V4, &mut bytes).expect("it can be said");
        count += 1;
    }
    assert!(!world.broker.is_paused(publisher) && !world.broker.is_paused(subscriber));
    for read in bytes.chunks(READ) {
        world.broker.receive(world.now, publisher, read);
        assert!(world.broker.is_paused(publisher), "before anything is done");
    }
    let kept = world.statistics().partial_bytes as usize;
    assert!(kept <= bytes.len() + READ, "{kept}");
    world.run();
    assert!(!world.broker.is_paused(publisher));
    assert_eq!(world.statistics().publishes_received, count as u64);
    assert_eq!(world.statistics().clients_connected, 3);
    world.broker.closed(world.now, publisher);
    assert!(!world.broker.is_paused(publisher), "there is nobody");
}

/// Halves of packets are one part of what there is: whoever comes later is let in.
#[test]
fn class_12_halves_of_packets_keep_nobody_out() {
    const BUDGET: u64 = 16 << 20;
    let mut config = Config::default();
    config.limits.memory_budget_bytes = BUDGET;
    let mut world = World::new(config);
    let message = Packet::Publish(publish("t", &[b'x'; 1 << 20], QoS::AtMostOnce, 1));
    let mut bytes = Vec::new();
    codec::encode(&message, Version::V4, &mut bytes).expect("it can be said");
    for number in 0..40 {
        let hostile = world.connect(Version::V4, &format!("hostile-{number}"));
        for part in bytes[..bytes.len() / 2].chunks(64 << 10) {
            world.send_bytes(hostile, part);
        }
    }
    assert!(world.statistics().partial_bytes < BUDGET / 2);
    let client = world.connect(Version::V4, "client");
    world.send_bytes(client, &[0xC0, 0]);
    assert_eq!(world.drain(client).len(), 1, "PINGRESP");
}

/// Nor does what is sent before it is known by whom, of which there may be many.
#[test]
fn class_12_strangers_have_no_share_of_memory() {
    const BUDGET: u64 = 16 << 20;
    const PINGS: usize = 30 << 10;
    let mut config = Config::default();
    config.limits.memory_budget_bytes = BUDGET;
    let mut world = World::new(config);
    let client = world.connect(Version::V4, "client");
    world.judge(|_| None);
    let names = (0..300).map(|number| format!("hostile-{number}"));
    let strangers: Vec<_> = names
        .map(|name| world.open_with(&connect(Version::V4, &name)))
        .collect();
    for stranger in strangers {
        world.send_bytes(stranger, &[0xC0, 0].repeat(PINGS));
    }
    let kept = world.statistics().partial_bytes;
    assert!((BUDGET / 5..BUDGET / 2).contains(&kept), "{kept}");
    world.send_bytes(client, &[0xC0, 0]);
    assert_eq!(world.drain(client).len(), 1, "PINGRESP");
    world.judge(|_| Some(Verdict::accept()));
    world.connect(Version::V4, "newcomer");
}
