//! Small messages travel together, large ones alone; nobody can tell.

use crate::client_on;
use whimbrel_core::bundle::{Bundle, Bundled};
use whimbrel_core::codec::packet::{Publish, QoS, SubscribeOptions, Version};
use whimbrel_core::codec::{self, Packet, Properties, Property, PropertyBuffer};
use whimbrel_core::config::Limits;
use whimbrel_core::id::MessageId;
use whimbrel_core::message::MessageView;
use whimbrel_core::recording::RecordOptions;
use whimbrel_core::time::UnixTime;
use whimbrel_core::{Config, ConnectionId};
use whimbrel_tests::world::{World, publish};

const SECRET: &str = "nobody's business";

/// More small ones in a row than one bundle holds, with large ones in between.
fn payloads() -> Vec<String> {
    let length = |number: usize| match number % 500 {
        250 => 5_000,
        251 | 498 => 20_000,
        499 => 4_000,
        other => other % 70,
    };
    let padded = |number| format!("{number} {SECRET} {}", "x".repeat(length(number)));
    (0..1_000).map(padded).collect()
}

/// Publishes all in one go, so that they go to the other shard in few letters.
fn send(world: &mut World, publisher: ConnectionId, payloads: &[String], qos: QoS) {
    // By ones and by threes.
    send_to(
        world,
        publisher,
        payloads,
        (["t/other", "t", "t", "t"], qos),
    );
}

/// The same to these topics in turn.
fn send_to(
    world: &mut World,
    publisher: ConnectionId,
    payloads: &[String],
    (topics, qos): ([&str; 4], QoS),
) {
    let mut properties = PropertyBuffer::new();
    properties.push(Property::ContentType("text"));
    let mut bytes = Vec::new();
    for (payload, id) in payloads.iter().zip(1..) {
        let topic = topics[usize::from(id % 4)];
        let message = Publish {
            properties: properties.as_properties(),
            ..publish(topic, payload.as_bytes(), qos, id)
        };
        codec::encode(&Packet::Publish(message), Version::V5, &mut bytes).expect("it can be said");
    }
    world.letters_wait = true;
    world.send_bytes(publisher, &bytes);
    assert!(world.letter_count() < 20, "{}", world.letter_count());
    world.letters_wait = false;
    world.run();
}

#[test]
fn all_sizes_come_whole_in_order_and_with_their_properties() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = World::with_shards(Config::default(), 2);
        let (publisher, _) = client_on(&mut world, 0, "publisher");
        let (subscriber, _) = client_on(&mut world, 1, "subscriber");
        world.subscribe(subscriber, "t/#", qos);
        let payloads = payloads();
        send(&mut world, publisher, &payloads, qos);
        if qos > QoS::AtMostOnce {
            assert_eq!(world.take_all(subscriber), payloads, "{qos:?}");
            continue;
        }
        let mut properties = PropertyBuffer::new();
        properties.push(Property::ContentType("text"));
        let came = world.drain(subscriber);
        assert_eq!(came.len(), payloads.len());
        for (received, payload) in came.iter().zip(&payloads) {
            let message = received.publish();
            assert_eq!(message.payload, payload.as_bytes());
            assert_eq!(message.properties, properties.as_properties());
        }
    }
}

/// What costs more than a turn is left for the next ones, in the middle of a run as well; and who
/// asks why gets the same.
#[test]
fn a_turn_ends_in_the_middle_of_a_run() {
    for asks in [false, true] {
        let limits = Limits {
            fanout_step: 5,
            ..Limits::default()
        };
        let config = Config {
            limits,
            ..Config::default()
        };
        let mut world = World::with_shards(config, 2);
        world.record(RecordOptions::default());
        let (publisher, _) = client_on(&mut world, 1, "publisher");
        let subscribers = ["first", "second", "third"].map(|name| {
            let (subscriber, client_id) = client_on(&mut world, 0, name);
            if asks {
                world.shard(0).explain("", &client_id, "t");
            }
            world.subscribe(subscriber, "t", QoS::AtLeastOnce);
            subscriber
        });
        let numbers: Vec<String> = (0..500).map(|number| number.to_string()).collect();
        send_to(
            &mut world,
            publisher,
            &numbers,
            (["t"; 4], QoS::AtLeastOnce),
        );
        for subscriber in subscribers {
            assert_eq!(world.take_all(subscriber), numbers);
        }
        assert!(world.replay() > 0);
    }
}

#[test]
fn their_payloads_are_left_out_of_a_recording_on_request() {
    for (here, there) in [(0, 1), (1, 0)] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            for redact_payloads in [false, true] {
                let mut world = World::with_shards(Config::default(), 2);
                world.record(RecordOptions {
                    redact_payloads,
                    ..RecordOptions::default()
                });
                let (publisher, _) = client_on(&mut world, here, "publisher");
                let (subscriber, _) = client_on(&mut world, there, "subscriber");
                world.subscribe(subscriber, "t/#", qos);
                send(&mut world, publisher, &payloads(), qos);
                assert_eq!(world.take_all(subscriber).len(), payloads().len());
                assert!(world.replay() > 0);
                let all = world.parts.files().concat();
                let secret = SECRET.as_bytes();
                let is_there = all.windows(secret.len()).any(|bytes| bytes == secret);
                assert_eq!(is_there, !redact_payloads);
            }
        }
    }
}

/// There is no room to retain it, so it is for those who are there, who hear what its publisher
/// has said.
#[test]
fn what_is_not_retained_says_retain_all_the_same() {
    let config = Config {
        limits: Limits {
            retained_messages_maximum: 0,
            ..Limits::default()
        },
        ..Config::default()
    };
    let mut world = World::with_shards(config, 2);
    let (publisher, _) = client_on(&mut world, 0, "publisher");
    let (subscriber, _) = client_on(&mut world, 1, "subscriber");
    let options = SubscribeOptions {
        retain_as_published: true,
        ..SubscribeOptions::default()
    };
    world.subscribe_with(subscriber, "t", options, Properties::EMPTY);
    let message = Publish {
        retain: true,
        ..publish("t", b"news", QoS::AtMostOnce, 1)
    };
    world.send(publisher, &Packet::Publish(message));
    assert!(world.hear(subscriber).publish().retain);
    assert_eq!(world.statistics().retained_refused, 1);
}

#[test]
fn what_goes_into_a_bundle_comes_out() {
    let view = |sequence, qos, tenant| MessageView {
        id: MessageId {
            origin: 7,
            sequence,
        },
        qos,
        expires_at: UnixTime(sequence),
        tenant,
        topic: "a/b",
        properties: &[1, 1],
        payload: SECRET.as_bytes(),
    };
    let mut world = World::new(Config::default());
    let connection = world.open();
    let bundled = [
        (view(1, QoS::AtMostOnce, ""), false, None),
        (view(2, QoS::ExactlyOnce, "tenant"), true, Some(connection)),
        (view(3, QoS::AtLeastOnce, "t"), true, None),
    ]
    .map(|(view, retain, publisher)| Bundled {
        view,
        retain,
        publisher,
    });
    let mut bundle = Bundle::default();
    bundled.iter().for_each(|one| bundle.push(one));
    assert_eq!(bundle.iter().collect::<Vec<_>>(), bundled);
    let said = format!("{bundle:?}");
    assert!(said.contains("a/b") && !said.contains(SECRET), "{said}");
}

/// Each differs from the one before in one thing, or in none but its sequence and payload.
#[test]
fn what_they_have_in_common_is_said_once_and_not_confused() {
    let first = MessageView {
        id: MessageId {
            origin: 7,
            sequence: 1,
        },
        qos: QoS::AtMostOnce,
        expires_at: UnixTime::MAX,
        tenant: "",
        topic: "a/b",
        properties: &[],
        payload: b"",
    };
    let (one, other) = {
        let mut world = World::new(Config::default());
        (world.open(), world.open())
    };
    let plain = Bundled {
        view: first,
        retain: false,
        publisher: Some(one),
    };
    let with = |view| Bundled { view, ..plain };
    let properties = [3, 0, 1, b'b'];
    let differing = [
        plain,
        with(MessageView {
            id: MessageId {
                origin: 8,
                ..first.id
            },
            ..first
        }),
        with(MessageView {
            qos: QoS::AtLeastOnce,
            ..first
        }),
        with(MessageView {
            expires_at: UnixTime(7),
            ..first
        }),
        with(MessageView {
            tenant: "a",
            ..first
        }),
        // The same letters in other places.
        with(MessageView {
            topic: "a/c",
            ..first
        }),
        with(MessageView {
            tenant: "a",
            topic: "/c",
            ..first
        }),
        with(MessageView {
            properties: &properties,
            ..first
        }),
        Bundled {
            retain: true,
            ..plain
        },
        Bundled {
            publisher: Some(other),
            ..plain
        },
        Bundled {
            publisher: None,
            ..plain
        },
    ];
    let mut pushed = Vec::new();
    for (bundled, number) in differing.into_iter().zip(1_u64..) {
        for (payload, turn) in ["", "some", "a/b"].into_iter().zip(0..) {
            let mut bundled = bundled;
            bundled.view.payload = payload.as_bytes();
            bundled.view.id.sequence = number << 32 | turn;
            pushed.push(bundled);
        }
    }
    let mut bundle = Bundle::default();
    pushed.iter().for_each(|one| bundle.push(one));
    assert_eq!(bundle.iter().collect::<Vec<_>>(), pushed);
    let mut backwards = Bundle::default();
    pushed.iter().rev().for_each(|one| backwards.push(one));
    pushed.reverse();
    assert_eq!(backwards.iter().collect::<Vec<_>>(), pushed);
}
