//! Who may do what, as attackers try it: each class of ways around access control that ever worked
//! on some broker is a test here by name.

mod class_06_identity;
mod class_07_revocation;
mod class_08_closed;
mod class_09_dollar;
mod class_10_takeover;
mod duplicates;
mod quotas;
mod rules;
mod session;

use std::sync::Arc;
use whimbrel_core::Config;
use whimbrel_core::access::rules::Rules;
use whimbrel_core::action::Credentials;
use whimbrel_core::codec::packet::{Connect, Version};
use whimbrel_core::config::AccessConfig;
use whimbrel_core::{ConnectionId, Grant, Verdict};
use whimbrel_rules::Format;
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

/// A broker with the rules of this file, which believes every user name.
#[track_caller]
fn with_rules(text: &str) -> World {
    with_config(text, Config::default())
}

/// The same with more that is set.
#[track_caller]
fn with_config(text: &str, config: Config) -> World {
    let access = AccessConfig {
        rules: Some(rules(text)),
        ..AccessConfig::default()
    };
    let mut world = World::new(Config { access, ..config });
    world.judge(by_name);
    world
}

/// The rules of this file, in mosquitto's format when it is no TOML.
#[track_caller]
fn rules(text: &str) -> Arc<Rules> {
    let format = match text.contains("[[rule]]") || text.is_empty() {
        true => Format::Toml,
        false => Format::Mosquitto,
    };
    let listeners = ["inside".to_owned(), "outside".to_owned()];
    let set = whimbrel_rules::parse(text, format, &listeners).expect("the test's rules are valid");
    Arc::new(Rules::new(set))
}
