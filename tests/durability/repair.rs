//! What a broker is, and what is told, when a repair has given up some batches of its log.

use crate::{durable, persistent};
use whimbrel_core::codec::packet::{Publish, QoS, Version};
use whimbrel_core::codec::{Packet, ReasonCode};
use whimbrel_core::log::{BatchRef, Op};
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
