//! Small messages travel together, large ones alone; nobody can tell.

use crate::client_on;
use whimbrel_core::Config;
use whimbrel_core::bundle::{Bundle, Bundled};
use whimbrel_core::codec::packet::{Publish, QoS};
use whimbrel_core::codec::{Packet, Property, PropertyBuffer};
use whimbrel_core::id::MessageId;
use whimbrel_core::message::MessageView;
use whimbrel_core::recording::RecordOptions;
use whimbrel_core::time::UnixTime;
use whimbrel_tests::world::{World, publish};

const SECRET: &str = "nobody's business";

/// More than one bundle holds, with some in between that are in none.
fn payloads() -> Vec<String> {
    let lengths = [0, 1, 60, 4_000, 5_000, 70, 100_000];
    let padded = |(number, length): (usize, &usize)| {
        let text = format!("{number} {SECRET} ");
        text + &"x".repeat(*length)
    };
    lengths.repeat(20).iter().enumerate().map(padded).collect()
}

#[test]
fn all_sizes_come_whole_in_order_and_with_their_properties() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = World::with_shards(Config::default(), 2);
        let (publisher, _) = client_on(&mut world, 0, "publisher");
        let (subscriber, _) = client_on(&mut world, 1, "subscriber");
        assert!(world.subscribe(subscriber, "t", qos) <= 2);
        let payloads = payloads();
        let mut properties = PropertyBuffer::new();
        properties.push(Property::ContentType("text"));
        world.letters_wait = true;
        for (payload, id) in payloads.iter().zip(1..) {
            let message = Publish {
                properties: properties.as_properties(),
                ..publish("t", payload.as_bytes(), qos, id)
            };
            world.send(publisher, &Packet::Publish(message));
        }
        world.letters_wait = false;
        world.run();
        if qos > QoS::AtMostOnce {
            assert_eq!(world.take_all(subscriber), payloads, "{qos:?}");
            continue;
        }
        let came = world.drain(subscriber);
        assert_eq!(came.len(), payloads.len());
        for (received, payload) in came.iter().zip(&payloads) {
            let message = received.publish();
            assert_eq!(message.payload, payload.as_bytes());
            assert_eq!(message.properties, properties.as_properties());
        }
    }
}

#[test]
fn their_payloads_are_left_out_of_a_recording_on_request() {
    for (here, there) in [(0, 1), (1, 0)] {
        for redact_payloads in [false, true] {
            let mut world = World::with_shards(Config::default(), 2);
            world.record(RecordOptions {
                redact_payloads,
                ..RecordOptions::default()
            });
            let (publisher, _) = client_on(&mut world, here, "publisher");
            let (subscriber, _) = client_on(&mut world, there, "subscriber");
            world.subscribe(subscriber, "t", QoS::AtMostOnce);
            world.letters_wait = true;
            for payload in payloads() {
                world.publish(publisher, "t", payload.as_bytes(), QoS::AtMostOnce);
            }
            world.letters_wait = false;
            world.run();
            assert_eq!(world.take_all(subscriber).len(), payloads().len());
            assert!(world.replay() > 0);
            let all = world.parts.files().concat();
            let secret = SECRET.as_bytes();
            let is_there = all.windows(secret.len()).any(|bytes| bytes == secret);
            assert_eq!(is_there, !redact_payloads);
        }
    }
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
        payload: b"payload",
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
    bundled.iter().for_each(|one| bundle.push(*one));
    assert_eq!(bundle.iter().collect::<Vec<_>>(), bundled);
}
