//! Who may do what, as attackers try it: each class of ways around access control that ever worked
//! on some broker is a test here by name.

mod class_10_takeover;
mod session;

use whimbrel_core::action::Credentials;
use whimbrel_core::codec::packet::{Connect, Version};
use whimbrel_core::{ConnectionId, Grant, Verdict};
use whimbrel_tests::world::{World, connect, lasting};

/// Believes every user name: who has none is anonymous.
#[expect(clippy::unnecessary_wraps, reason = "the form of `World::judge`")]
fn by_name(credentials: &Credentials) -> Option<Verdict> {
    let user = credentials.username.clone();
    Some(Verdict::Accept(Grant {
        user,
        ..Grant::default()
    }))
}

/// A CONNECT of this user, who has a password where the version wants one.
fn connect_as<'a>(version: Version, client_id: &'a str, user: &'a str) -> Connect<'a> {
    Connect {
        username: Some(user),
        ..connect(version, client_id)
    }
}

/// The same with a session that lasts, and is resumed if it is there.
fn lasting_as<'a>(version: Version, client_id: &'a str, user: &'a str) -> Connect<'a> {
    Connect {
        username: Some(user),
        ..lasting(version, client_id)
    }
}

/// A client of this user, its CONNACK read.
#[track_caller]
fn enter_as(world: &mut World, version: Version, client_id: &str, user: &str) -> ConnectionId {
    world.enter(&connect_as(version, client_id, user)).0
}
