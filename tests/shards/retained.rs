//! What is retained is so on all shards.

use crate::{client_on, durable, send_subscribe};
use whimbrel_core::codec::packet::{PacketType, Publish, QoS, SubscribeOptions, Version};
use whimbrel_core::codec::{Packet, Properties, ReasonCode};
use whimbrel_core::{Config, ConnectionId};
use whimbrel_tests::world::{World, publish};

pub(crate) fn publish_retained(world: &mut World, connection: ConnectionId, payload: &[u8]) {
    let packet = Publish {
        retain: true,
        ..publish("r", payload, QoS::AtLeastOnce, 1)
    };
    world.send(connection, &Packet::Publish(packet));
}

/// Retained messages that are published on several shards at a time end as the same one on all,
/// whoever hears of them in which order; clearing counts as well.
#[test]
fn retained_messages_are_the_same_on_all_shards_and_in_the_log() {
    for seed in 0..40_u32 {
        let mut world = World::with_shards(durable(), 3);
        let publishers: Vec<ConnectionId> = (0..3)
            .map(|shard| client_on(&mut world, shard, "publisher").0)
            .collect();
        world.letters_wait = true;
        let mut dice = seed.wrapping_mul(0x9e37_79b9) | 1;
        for step in 0..30 {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let publisher = publishers[(dice >> 16) as usize % 3];
            let payload = match (dice >> 20) % 3 {
                0 => String::new(),
                _ => format!("{step}"),
            };
            publish_retained(&mut world, publisher, payload.as_bytes());
            let (from, to) = ((dice >> 8) as usize % 3, (dice >> 12) as usize % 3);
            world.deliver_one(from, to);
            world.run();
        }
        world.letters_wait = false;
        world.run();
        let mut heard = Vec::new();
        for round in 0..2 {
            for shard in 0..3 {
                let prefix = format!("subscriber{round}-");
                let (subscriber, _) = client_on(&mut world, shard, &prefix);
                world.subscribe(subscriber, "r", QoS::AtMostOnce);
                heard.push(world.payloads(subscriber));
                world.disconnect(subscriber, ReasonCode::SUCCESS);
            }
            world.crash();
        }
        assert!(
            heard.iter().all(|one| *one == heard[0]),
            "{seed}: {heard:?}"
        );
    }
}

/// [MQTT-3.8.3-3] Who published it is known, whichever shard has it in the log, and after a crash.
#[test]
fn with_no_local_a_client_is_not_brought_what_it_retained() {
    for shard in 0..3 {
        let mut world = World::with_shards(durable(), 3);
        let (publisher, name) = client_on(&mut world, shard, "publisher");
        publish_retained(&mut world, publisher, b"mine");
        for shards in [3, 2, 1] {
            for (client_id, expected) in [(&*name, &[][..]), ("another", &["mine"])] {
                let client = world.connect(Version::V5, client_id);
                let options = SubscribeOptions {
                    no_local: true,
                    ..SubscribeOptions::default()
                };
                world.subscribe_with(client, "r", options, Properties::EMPTY);
                assert_eq!(world.payloads(client), expected, "{shards} shards");
                world.disconnect(client, ReasonCode::SUCCESS);
            }
            world.crash_into(shards);
        }
    }
}

/// [MQTT-3.3.1-9] What was acknowledged as retained is there for whoever subscribes then, anywhere.
#[test]
fn a_retained_message_is_acknowledged_when_all_shards_have_it() {
    let mut world = World::with_shards(Config::default(), 3);
    let (publisher, _) = client_on(&mut world, 0, "publisher");
    world.letters_wait = true;
    publish_retained(&mut world, publisher, b"kept");
    for (from, to) in [(0, 1), (1, 0), (0, 2)] {
        world.deliver_one(from, to);
        world.run();
        world.hears_nothing(publisher);
    }
    world.deliver_one(2, 0);
    world.run();
    assert_eq!(world.hear(publisher).ack().0, PacketType::PubAck);
}

/// A subscriber gets a message live or as a retained one, whatever the order of things.
#[test]
fn a_retained_message_comes_once() {
    for early in [false, true] {
        let mut world = World::with_shards(Config::default(), 2);
        let (publisher, _) = client_on(&mut world, 0, "publisher");
        let (subscriber, _) = client_on(&mut world, 1, "subscriber");
        publish_retained(&mut world, publisher, b"old");
        world.letters_wait = true;
        publish_retained(&mut world, publisher, b"new");
        if early {
            world.deliver_one(0, 1);
            world.run();
        }
        send_subscribe(&mut world, subscriber, "r");
        world.letters_wait = false;
        world.run();
        let came = world.drain(subscriber);
        let payloads: Vec<_> = came
            .iter()
            .filter_map(|one| match one.packet() {
                Packet::Publish(publish) => Some(publish.payload.to_vec()),
                _ => None,
            })
            .collect();
        assert_eq!(
            payloads.iter().filter(|one| **one == b"new").count(),
            1,
            "{came:?}"
        );
    }
}
