//! Messages that live for so long, on their way between shards.

use crate::client_on;
use whimbrel_core::action::DropReason;
use whimbrel_core::codec::packet::{Publish, QoS, Version};
use whimbrel_core::codec::{Packet, Property, PropertyBuffer};
use whimbrel_core::config::{Limits, QueueOverflow, SessionConfig};
use whimbrel_core::{Config, ConnectionId};
use whimbrel_tests::world::{World, publish};

/// Publishes something that lives for so many seconds.
fn send(world: &mut World, publisher: ConnectionId, expiry_s: u32, payload: &[u8], qos: QoS) {
    let mut properties = PropertyBuffer::new();
    properties.push(Property::MessageExpiryInterval(expiry_s));
    let message = Publish {
        properties: properties.as_properties(),
        ..publish("a", payload, qos, 1)
    };
    world.send(publisher, &Packet::Publish(message));
}

#[test]
fn a_message_that_expires_between_the_shards_is_not_sent() {
    let mut world = World::with_shards(Config::default(), 2);
    let (publisher, _) = client_on(&mut world, 0, "publisher-");
    let (subscriber, _) = client_on(&mut world, 1, "subscriber-");
    assert_eq!(world.subscribe(subscriber, "a", QoS::AtLeastOnce), 1);
    world.letters_wait = true;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        send(&mut world, publisher, 1, b"late", qos);
    }
    world.pass_ms(1_500);
    world.letters_wait = false;
    world.run();
    world.hears_nothing(subscriber);
    let expired = world.statistics().dropped_because(DropReason::Expired);
    assert_eq!(expired, 2, "that is counted");
}

/// Nobody has to make room for it, whether payloads stay in memory or are fetched from the log.
#[test]
fn what_expires_between_the_shards_takes_no_place_in_a_full_queue() {
    for queued_payload_memory_bytes in [1 << 20, 0] {
        let mut world = World::with_shards(
            Config {
                durable: true,
                session: SessionConfig {
                    queue_messages_maximum: 3,
                    queue_overflow: QueueOverflow::DropOldest,
                    ..SessionConfig::default()
                },
                limits: Limits {
                    queued_payload_memory_bytes,
                    ..Limits::default()
                },
                ..Config::default()
            },
            2,
        );
        let (publisher, _) = client_on(&mut world, 0, "publisher-");
        let (away, name) = client_on(&mut world, 1, "away-");
        world.subscribe(away, "a", QoS::AtLeastOnce);
        world.cut(away);
        for payload in [b"0", b"1", b"2"] {
            world.publish(publisher, "a", payload, QoS::AtLeastOnce);
        }
        world.letters_wait = true;
        send(&mut world, publisher, 1, b"late", QoS::AtLeastOnce);
        world.pass_ms(1_500);
        world.letters_wait = false;
        world.run();
        let says = world.statistics();
        assert_eq!(says.dropped_because(DropReason::QueueFull), 0);
        assert_eq!(says.dropped_because(DropReason::Expired), 1);
        let away = world.resume(Version::V5, &name);
        assert_eq!(world.take_all(away), ["0", "1", "2"]);
    }
}

/// Shards read their clocks once a turn, so one may be a little behind the other.
#[test]
fn a_message_does_not_live_longer_where_the_clock_is_behind() {
    let mut world = World::with_shards(Config::default(), 2);
    let (publisher, _) = client_on(&mut world, 0, "publisher-");
    let (subscriber, _) = client_on(&mut world, 1, "subscriber-");
    world.subscribe(subscriber, "a", QoS::AtMostOnce);
    let behind = world.now;
    world.pass_ms(5);
    world.letters_wait = true;
    send(&mut world, publisher, 10, b"brief", QoS::AtMostOnce);
    world.now = behind;
    world.letters_wait = false;
    world.run();
    let heard = world.hear(subscriber);
    let left = heard.publish().properties.message_expiry_interval();
    assert_eq!(left, Some(10));
}
