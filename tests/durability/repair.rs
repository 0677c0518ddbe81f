//! What a broker is, and what is told, when a repair has given up some batches of its log.

use crate::{durable, persistent, with_will};
use whimbrel_core::codec::packet::{Publish, QoS, Version};
use whimbrel_core::codec::{Packet, ReasonCode};
use whimbrel_core::log::{BatchRef, BatchWriter, Op};
use whimbrel_core::restore::{Restorer, RetainedLost, SessionInDoubt};
use whimbrel_tests::World;
use whimbrel_tests::world::publish;

/// The batches that put a record of this kind are given up. How many there were.
fn give_up(world: &mut World, kind: u8, is_meant: impl Fn(usize) -> bool) -> usize {
    let mut count = 0;
    world.log.retain(|batch| {
        let mut ops = BatchRef::new(batch).iter();
        let puts =
            ops.any(|op| matches!(op, Ok(Op::Put { key, .. }) if key.first() == Some(&kind)));
        count += usize::from(puts);
        !(puts && is_meant(count))
    });
    count
}

fn retain(world: &mut World, topic: &str, payload: &[u8]) {
    let publisher = world.connect(Version::V5, "publisher");
    let packet = publish(topic, payload, QoS::AtLeastOnce, 1);
    let packet = Publish {
        retain: true,
        ..packet
    };
    world.send(publisher, &Packet::Publish(packet));
    world.next(publisher).expect("PUBACK comes");
}

#[test]
fn no_message_gets_the_name_of_another_one_when_the_record_of_a_start_is_lost() {
    let mut world = durable();
    world.crash();
    retain(&mut world, "kept", b"kept");
    let starts = give_up(&mut world, b'B', |_| false);
    assert!(starts > 0);
    give_up(&mut world, b'B', |count| count == starts);
    world.crash();
    let (subscriber, _) = persistent(&mut world, Version::V4, "subscriber");
    world.subscribe(subscriber, "new", QoS::AtLeastOnce);
    world.disconnect(subscriber, ReasonCode::SUCCESS);
    let publisher = world.connect(Version::V4, "publisher");
    world.publish(publisher, "new", b"new", QoS::AtLeastOnce);
    world.next(publisher).expect("PUBACK comes");
    world.crash();
    let (subscriber, is_present) = persistent(&mut world, Version::V4, "subscriber");
    assert!(is_present);
    let (topic, payload, _) = world.next_publish(subscriber);
    assert_eq!((&*topic, &*payload), ("new", &b"new"[..]));
}

#[test]
fn all_that_ends_with_a_session_in_doubt_is_told_once() {
    let mut world = durable();
    with_will(&mut world, "mourned", true);
    let (subscriber, _) = persistent(&mut world, Version::V5, "subscriber");
    world.subscribe(subscriber, "t", QoS::AtLeastOnce);
    world.subscribe(subscriber, "u", QoS::AtLeastOnce);
    let publisher = world.connect(Version::V5, "publisher");
    world.publish(publisher, "t", b"x", QoS::AtLeastOnce);
    world.publish(subscriber, "elsewhere", b"x", QoS::ExactlyOnce);
    let mut restorer = Restorer::new();
    for batch in &world.log {
        restorer.apply(batch).unwrap();
    }
    // Of these, only what refers to them is left.
    let mut torn = Vec::new();
    let mut batch = BatchWriter::new(&mut torn);
    batch.put(b"Racme\0kept", &[9; 16]);
    batch.put(b"U\x40\0\0\0\0\0\0\0filter", &[0; 5]);
    restorer.apply(&torn).unwrap();

    let gap = (7, 8);
    let ended = restorer.end_in_doubt(&[gap]).expect("it was not heeded");
    let of = |client_id: &str| SessionInDoubt {
        client_id: Some(client_id.into()),
        ..SessionInDoubt::default()
    };
    let expected = [
        SessionInDoubt {
            will_topic: Some("will".into()),
            ..of("mourned")
        },
        SessionInDoubt {
            subscriptions: 2,
            deliveries: 1,
            receiving: 1,
            ..of("subscriber")
        },
        SessionInDoubt {
            subscriptions: 1,
            ..SessionInDoubt::default()
        },
    ];
    assert_eq!(ended.sessions, expected);
    let expected = [RetainedLost {
        tenant: "acme".into(),
        topic: "kept".into(),
    }];
    assert_eq!(ended.retained_lost, expected);
    assert_eq!(restorer.end_in_doubt(&[gap]), None, "it is done");
    assert_eq!(restorer.counts().0, 0);
}
