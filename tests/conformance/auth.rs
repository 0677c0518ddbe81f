//! MQTT 5.0 §4.12: enhanced authentication.

use whimbrel_core::action::Credentials;
use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{Auth, Connect, QoS, Version};
use whimbrel_core::codec::property::{Property, PropertyBuffer};
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::{ConnectionId, Grant, Verdict};
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, connect, properties, publish};

/// A method of two rounds: "hello" is answered with a challenge, the challenge with its answer,
/// which has to come with what was left for it.
fn judge(credentials: &Credentials) -> Option<Verdict> {
    Some(
        match (credentials.method.as_deref(), credentials.data.as_deref()) {
            (None, _) => Verdict::accept(),
            (Some("KNOCK"), Some(b"hello")) if credentials.state.is_none() => Verdict::Continue {
                data: b"who?".to_vec(),
                state: b"asked".to_vec(),
            },
            (Some("KNOCK"), Some(b"me")) if credentials.state.as_deref() == Some(b"asked") => {
                Verdict::Accept(Grant {
                    data: Some(b"welcome".to_vec()),
                    ..Grant::default()
                })
            }
            (Some("KNOCK"), _) => Verdict::Refuse(ReasonCode::NOT_AUTHORIZED),
            (Some(_), _) => Verdict::Refuse(ReasonCode::BAD_AUTHENTICATION_METHOD),
        },
    )
}

fn proof(method: &str, data: &[u8]) -> PropertyBuffer {
    properties(&[
        Property::AuthenticationMethod(method),
        Property::AuthenticationData(data),
    ])
}

fn knock(world: &mut World, method: &str) -> ConnectionId {
    let list = proof(method, b"hello");
    world.open_with(&Connect {
        properties: list.as_properties(),
        ..connect(Version::V5, "client")
    })
}

fn say(world: &mut World, client: ConnectionId, reason: ReasonCode, method: &str, data: &[u8]) {
    let list = proof(method, data);
    let auth = Auth {
        reason,
        properties: list.as_properties(),
    };
    world.send(client, &Packet::Auth(auth));
}

/// The next packet as an AUTH: its reason, method, data.
#[track_caller]
fn hear_auth(world: &mut World, client: ConnectionId) -> (ReasonCode, String, Vec<u8>) {
    let received = world.hear(client);
    let Packet::Auth(auth) = received.packet() else {
        panic!("{:?}", received.packet())
    };
    let method = auth.properties.authentication_method().unwrap_or_default();
    let data = auth.properties.authentication_data().unwrap_or_default();
    (auth.reason, method.to_owned(), data.to_vec())
}

/// A client that has come in by knocking.
fn inside() -> (World, ConnectionId) {
    let mut world = World::default();
    world.judge(judge);
    let client = knock(&mut world, "KNOCK");
    hear_auth(&mut world, client);
    let reason = ReasonCode::CONTINUE_AUTHENTICATION;
    say(&mut world, client, reason, "KNOCK", b"me");
    let received = world.hear(client);
    assert_eq!(received.conn_ack().reason, ReasonCode::SUCCESS);
    (world, client)
}

/// [MQTT-4.12.0-2] [MQTT-4.12.0-5]
#[test]
fn an_exchange_goes_on_until_the_client_is_let_in() {
    let mut world = World::default();
    world.judge(judge);
    let client = knock(&mut world, "KNOCK");
    let challenge = hear_auth(&mut world, client);
    let expected = ReasonCode::CONTINUE_AUTHENTICATION;
    assert_eq!(challenge, (expected, "KNOCK".to_owned(), b"who?".to_vec()));
    world.hears_nothing(client);
    say(&mut world, client, expected, "KNOCK", b"me");
    let received = world.hear(client);
    let answer = received.conn_ack();
    assert_eq!(answer.reason, ReasonCode::SUCCESS);
    assert_eq!(answer.properties.authentication_method(), Some("KNOCK"));
    assert_eq!(
        answer.properties.authentication_data(),
        Some(&b"welcome"[..])
    );
}

/// [MQTT-4.12.0-1]
#[test]
fn a_method_that_nobody_knows_is_refused() {
    let mut world = World::default();
    world.judge(judge);
    let client = knock(&mut world, "WHISTLE");
    let reason = world.farewell(client);
    assert_eq!(reason, Some(ReasonCode::BAD_AUTHENTICATION_METHOD));
}

/// [MQTT-4.12.0-4]
#[test]
fn an_exchange_that_is_refused_ends_the_connection() {
    let mut world = World::default();
    world.judge(judge);
    let client = knock(&mut world, "KNOCK");
    hear_auth(&mut world, client);
    let reason = ReasonCode::CONTINUE_AUTHENTICATION;
    say(&mut world, client, reason, "KNOCK", b"a burglar");
    let received = world.hear(client);
    assert_eq!(received.conn_ack().reason, ReasonCode::NOT_AUTHORIZED);
    assert!(world.is_closed(client));
}

/// [MQTT-4.12.0-3]
#[test]
fn a_client_continues_with_continue() {
    for reason in [ReasonCode::SUCCESS, ReasonCode::RE_AUTHENTICATE] {
        let mut world = World::default();
        world.judge(judge);
        let client = knock(&mut world, "KNOCK");
        hear_auth(&mut world, client);
        say(&mut world, client, reason, "KNOCK", b"me");
        assert_eq!(world.farewell(client), Some(ReasonCode::PROTOCOL_ERROR));
    }
}

/// [MQTT-3.1.2-30]
#[test]
fn until_connack_only_auth_and_disconnect_may_come() {
    for packet in [
        Packet::PingReq,
        Packet::Publish(publish("t", b"x", QoS::AtMostOnce, 1)),
    ] {
        let mut world = World::default();
        world.judge(judge);
        let client = knock(&mut world, "KNOCK");
        hear_auth(&mut world, client);
        let reason = world.refused(client, &packet);
        assert_eq!(reason, Some(ReasonCode::PROTOCOL_ERROR));
    }
    let mut world = World::default();
    world.judge(judge);
    let client = knock(&mut world, "KNOCK");
    hear_auth(&mut world, client);
    world.disconnect(client, ReasonCode::SUCCESS);
    assert_eq!(world.farewell(client), None);
}

#[test]
fn the_method_does_not_change_within_an_exchange() {
    let mut world = World::default();
    world.judge(judge);
    let client = knock(&mut world, "KNOCK");
    hear_auth(&mut world, client);
    let reason = ReasonCode::CONTINUE_AUTHENTICATION;
    say(&mut world, client, reason, "WHISTLE", b"me");
    assert_eq!(world.farewell(client), Some(ReasonCode::PROTOCOL_ERROR));
}

/// [MQTT-4.12.0-6]
#[test]
fn without_a_method_there_is_no_auth() {
    let mut world = World::default();
    world.judge(|_| {
        Some(Verdict::Accept(Grant {
            data: Some(b"x".to_vec()),
            ..Grant::default()
        }))
    });
    let client = world.open_with(&connect(Version::V5, "client"));
    let received = world.hear(client);
    assert_eq!(received.conn_ack().reason, ReasonCode::SUCCESS);
    assert_eq!(received.conn_ack().properties.authentication_method(), None);
    assert_eq!(received.conn_ack().properties.authentication_data(), None);
    // A policy that would ask on cannot: the client could not answer.
    world.judge(|_| {
        Some(Verdict::Continue {
            data: b"x".to_vec(),
            state: Vec::new(),
        })
    });
    for version in VERSIONS {
        let client = world.open_with(&connect(version, "client"));
        assert_eq!(world.farewell(client), Some(ReasonCode::NOT_AUTHORIZED));
    }
}

/// [MQTT-4.12.0-7]
#[test]
fn auth_of_a_client_that_named_no_method_ends_the_connection() {
    for reason in [
        ReasonCode::RE_AUTHENTICATE,
        ReasonCode::CONTINUE_AUTHENTICATION,
    ] {
        let mut world = World::default();
        let client = world.connect(Version::V5, "client");
        say(&mut world, client, reason, "KNOCK", b"me");
        assert_eq!(world.farewell(client), Some(ReasonCode::PROTOCOL_ERROR));
    }
}

#[test]
fn a_client_may_authenticate_again_while_messages_flow() {
    let (mut world, client) = inside();
    world.subscribe(client, "t", QoS::AtMostOnce);
    say(
        &mut world,
        client,
        ReasonCode::RE_AUTHENTICATE,
        "KNOCK",
        b"hello",
    );
    let expected = ReasonCode::CONTINUE_AUTHENTICATION;
    assert_eq!(hear_auth(&mut world, client).0, expected);
    world.publish(client, "t", b"meanwhile", QoS::AtMostOnce);
    assert_eq!(world.payloads(client), ["meanwhile"]);
    say(&mut world, client, expected, "KNOCK", b"me");
    let done = hear_auth(&mut world, client);
    assert_eq!(done.0, ReasonCode::SUCCESS);
    assert_eq!(done.2, b"welcome");
    assert!(!world.is_closed(client));
}

/// [MQTT-4.12.1-1]
#[test]
fn authenticating_again_by_another_method_ends_the_connection() {
    let (mut world, client) = inside();
    say(
        &mut world,
        client,
        ReasonCode::RE_AUTHENTICATE,
        "WHISTLE",
        b"hello",
    );
    assert_eq!(world.farewell(client), Some(ReasonCode::PROTOCOL_ERROR));
}

/// [MQTT-4.12.1-2]
#[test]
fn who_fails_to_authenticate_again_is_told_and_closed() {
    let (mut world, client) = inside();
    say(
        &mut world,
        client,
        ReasonCode::RE_AUTHENTICATE,
        "KNOCK",
        b"what?",
    );
    assert_eq!(world.farewell(client), Some(ReasonCode::NOT_AUTHORIZED));
    // A reason that DISCONNECT cannot carry is said as one that it can.
    let (mut world, client) = inside();
    world.judge(|_| Some(Verdict::Refuse(ReasonCode::BAD_USER_NAME_OR_PASSWORD)));
    say(
        &mut world,
        client,
        ReasonCode::RE_AUTHENTICATE,
        "KNOCK",
        b"hello",
    );
    assert_eq!(world.farewell(client), Some(ReasonCode::NOT_AUTHORIZED));
}
