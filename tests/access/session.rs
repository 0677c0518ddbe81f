//! What a verdict says about a client holds as long as it says, and for whom.

use crate::enter_as;
use whimbrel_core::access::identity::Grant;
use whimbrel_core::action::Credentials;
use whimbrel_core::codec::packet::{Auth, Connect, PacketType, Version};
use whimbrel_core::codec::property::Property;
use whimbrel_core::codec::{Packet, ReasonCode};
use whimbrel_core::{Event, UnixTime, Verdict};
use whimbrel_tests::world::{START, VERSIONS, World, connect, properties};

/// Accepts everybody for ten minutes, as the user that the data of the exchange names.
fn for_ten_minutes(credentials: &Credentials) -> Option<Verdict> {
    let said = credentials.data.clone().unwrap_or_default();
    let mut grant = Grant::to(String::from_utf8(said).ok()?);
    // Asked anew, it is ten minutes from the latest on; the tests renew after five.
    let minutes = if credentials.continued { 15 } else { 10 };
    grant.ends_at = Some(UnixTime(START.0 + minutes * 60_000));
    Some(Verdict::Accept(grant))
}

#[test]
fn an_authentication_that_ends_ends_the_connection() {
    for version in VERSIONS {
        let mut world = World::default();
        world.judge(for_ten_minutes);
        let client = enter_as(&mut world, version, "c", "");
        world.pass_ms(10 * 60_000 - 1);
        assert!(!world.is_closed(client));
        world.pass_ms(1);
        assert!(world.is_closed(client));
        let expected = (version == Version::V5).then_some(ReasonCode::MAXIMUM_CONNECT_TIME);
        assert_eq!(world.farewell(client), expected);
    }
}

#[test]
fn a_clock_that_jumps_does_not_prolong_an_authentication() {
    let mut world = World::default();
    world.judge(for_ten_minutes);
    // The machine learns the time: the broker's own clock stays behind, the token's does not.
    world.now.wall = UnixTime(START.0 + 9 * 60_000);
    let client = enter_as(&mut world, Version::V5, "c", "");
    world.pass_ms(60_000);
    assert!(world.is_closed(client));
}

fn with_method(user: &str) -> World {
    let mut world = World::default();
    world.judge(for_ten_minutes);
    let list = properties(&[
        Property::AuthenticationMethod("TOKEN"),
        Property::AuthenticationData(user.as_bytes()),
    ]);
    let (client, _) = world.enter(&Connect {
        properties: list.as_properties(),
        ..connect(Version::V5, "c")
    });
    world.pass_ms(5 * 60_000);
    let list = properties(&[
        Property::AuthenticationMethod("TOKEN"),
        Property::AuthenticationData(b"alice"),
    ]);
    let auth = Auth {
        reason: ReasonCode::RE_AUTHENTICATE,
        properties: list.as_properties(),
    };
    world.send(client, &Packet::Auth(auth));
    let answer = world.hear(client);
    if user == "alice" {
        assert_eq!(answer.packet().packet_type(), PacketType::Auth);
        world.pass_ms(10 * 60_000 - 1);
        assert!(!world.is_closed(client), "renewed");
        world.pass_ms(1);
    }
    assert!(world.is_closed(client));
    world
}

#[test]
fn who_authenticates_again_stays_longer() {
    with_method("alice");
}

#[test]
fn who_authenticates_again_cannot_become_another_user() {
    let world = with_method("mallory");
    let why = world.events.iter().find_map(|event| match event {
        Event::Disconnected { why, .. } => Some(*why),
        _ => None,
    });
    assert_eq!(why, Some(whimbrel_core::CloseReason::OtherUser));
}
