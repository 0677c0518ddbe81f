//! Members of shared subscriptions on several shards.

use crate::client_on;
use whimbrel_core::Config;
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_tests::World;

/// How many of them can take messages is told when the others have heard how many could before:
/// little to say makes no more than that for other shards to hear.
#[test]
fn who_comes_and_goes_fills_no_letters() {
    const GROUPS: usize = 50;
    let mut world = World::with_shards(Config::default(), 3);
    let (mut member, name) = client_on(&mut world, 1, "member");
    for number in 0..GROUPS {
        let filter = format!("$share/g/{number}");
        assert_eq!(world.subscribe(member, &filter, QoS::AtLeastOnce), 1);
    }
    world.letters_wait = true;
    for _ in 0..40 {
        world.cut(member);
        member = world.resume(Version::V5, &name);
    }
    world.cut(member);
    let told = world.parcel_count();
    assert!((GROUPS..=2 * GROUPS).contains(&told), "{told}");
    world.letters_wait = false;
    world.run();
    // In the end they know: who is there comes first, and there is nobody.
    let (other, _) = client_on(&mut world, 2, "other");
    world.subscribe(other, "$share/g/7", QoS::AtLeastOnce);
    let (publisher, _) = client_on(&mut world, 0, "publisher");
    for _ in 0..6 {
        world.publish(publisher, "7", b"x", QoS::AtLeastOnce);
    }
    assert_eq!(world.take_all(other).len(), 6);
    let member = world.resume(Version::V5, &name);
    for _ in 0..6 {
        world.publish(publisher, "7", b"x", QoS::AtLeastOnce);
    }
    assert_eq!(world.take_all(member).len(), 3);
}
