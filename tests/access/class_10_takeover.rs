//! Class 10: the session of another user. Whoever knows a client identifier must not get what
//! waits there, must not end it, and must not push its owner off.

use crate::{by_name, connect_as, enter_as, lasting_as};
use whimbrel_core::Config;
use whimbrel_core::codec::ReasonCode;
use whimbrel_core::codec::packet::{Connect, QoS, Version};
use whimbrel_core::config::OtherUser;
use whimbrel_tests::world::{VERSIONS, World, connect, lasting};

fn durable(other_user: OtherUser) -> World {
    let mut config = Config {
        durable: true,
        ..Config::default()
    };
    config.session.other_user = other_user;
    let mut world = World::new(config);
    world.judge(by_name);
    world
}

/// Alice was here, and a message waits for her; she is away.
fn waiting_for_alice(version: Version, other_user: OtherUser) -> World {
    let mut world = durable(other_user);
    let (alice, _) = world.enter(&lasting_as(version, "meter", "alice"));
    world.subscribe(alice, "bills/#", QoS::AtLeastOnce);
    world.cut(alice);
    let publisher = enter_as(&mut world, Version::V5, "p", "p");
    world.publish(publisher, "bills/1", b"secret", QoS::AtLeastOnce);
    world
}

#[track_caller]
fn is_refused(world: &mut World, connect: &Connect<'_>) {
    let mallory = world.open_with(connect);
    assert_eq!(world.farewell(mallory), Some(ReasonCode::NOT_AUTHORIZED));
}

#[test]
fn a_session_is_not_handed_to_another_user_nor_ended_by_one() {
    for version in VERSIONS {
        for is_restarted in [false, true] {
            let mut world = waiting_for_alice(version, OtherUser::Refuse);
            if is_restarted {
                world.crash();
            }
            is_refused(&mut world, &lasting_as(version, "meter", "mallory"));
            is_refused(&mut world, &connect_as(version, "meter", "mallory"));
            is_refused(&mut world, &lasting(version, "meter"));
            is_refused(&mut world, &connect(version, "meter"));
            let (alice, _) = world.enter(&lasting_as(version, "meter", "alice"));
            assert_eq!(world.take_all(alice), ["secret"]);
        }
    }
}

#[test]
fn an_owner_is_not_pushed_off_by_another_user() {
    let mut world = durable(OtherUser::Refuse);
    let alice = enter_as(&mut world, Version::V5, "meter", "alice");
    is_refused(&mut world, &connect_as(Version::V5, "meter", "mallory"));
    is_refused(&mut world, &connect(Version::V5, "meter"));
    assert!(!world.is_closed(alice));
    // Her own second connection does.
    let again = enter_as(&mut world, Version::V5, "meter", "alice");
    assert_eq!(world.farewell(alice), Some(ReasonCode::SESSION_TAKEN_OVER));
    assert!(!world.is_closed(again));
}

#[test]
fn where_users_change_another_user_begins_anew() {
    for version in VERSIONS {
        let mut world = waiting_for_alice(version, OtherUser::Replace);
        let (bob, is_present) = world.enter(&lasting_as(version, "meter", "bob"));
        assert!(!is_present);
        let publisher = enter_as(&mut world, Version::V5, "q", "q");
        world.publish(publisher, "bills/2", b"secret", QoS::AtLeastOnce);
        assert_eq!(world.take_all(bob), Vec::<String>::new());
    }
}

#[test]
fn a_session_that_was_opened_without_a_name_is_no_trap_for_a_user() {
    for version in VERSIONS {
        let mut world = durable(OtherUser::Refuse);
        let (nobody, _) = world.enter(&lasting(version, "meter"));
        world.subscribe(nobody, "lure/#", QoS::AtLeastOnce);
        world.cut(nobody);
        let publisher = enter_as(&mut world, Version::V5, "p", "p");
        world.publish(publisher, "lure/1", b"poison", QoS::AtLeastOnce);
        let (alice, is_present) = world.enter(&lasting_as(version, "meter", "alice"));
        assert!(!is_present);
        assert_eq!(world.take_all(alice), Vec::<String>::new());
    }
}
