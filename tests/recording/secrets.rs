//! What a recording must not have in it, in exchanges that last and in packets that are no good.

use crate::{PASSWORD, PAYLOAD, durable, encoded, is_in};
use whimbrel_core::action::Credentials;
use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{Auth, Connect, QoS, Version};
use whimbrel_core::codec::property::{Property, PropertyBuffer};
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::recording::RecordOptions;
use whimbrel_core::{Config, Grant, Verdict};
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, connect, lasting, properties, publish, will};

const METHOD: &str = "SCRAM-SHA-256";

/// What both sides of SCRAM say, and what the broker remembers between.
const CLIENT_FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const CLIENT_FINAL: &[u8] = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa,p=dHzbZapWIk4jUhN+Ute9yt";
const SERVER_FIRST: &[u8] = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const SERVER_FINAL: &[u8] = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn scram(credentials: &Credentials) -> Option<Verdict> {
    Some(match credentials.data.as_deref() {
        Some(CLIENT_FIRST) => Verdict::Continue {
            data: SERVER_FIRST.to_vec(),
            state: [CLIENT_FIRST, SERVER_FIRST].concat(),
        },
        Some(CLIENT_FINAL) if credentials.state.is_some() => Verdict::Accept(Grant {
            data: Some(SERVER_FINAL.to_vec()),
            ..Grant::to("user")
        }),
        _ => Verdict::Refuse(ReasonCode::NOT_AUTHORIZED),
    })
}

fn proof(data: &[u8]) -> PropertyBuffer {
    properties(&[
        Property::AuthenticationMethod(METHOD),
        Property::AuthenticationData(data),
    ])
}

/// From a salt, a count and a proof passwords can be guessed. None of them is written, wherever in
/// an exchange a part begins, and whether its answers have left or not.
#[test]
fn an_exchange_leaves_nothing_to_guess_from() {
    for (redact_payloads, begin) in [false, true]
        .into_iter()
        .flat_map(|redacts| (0..7).map(move |begin| (redacts, begin)))
    {
        let mut world = durable();
        world.judge(scram);
        let mut moment = 0;
        let mut pass = |world: &mut World| {
            if moment == begin {
                world.record(RecordOptions {
                    redact_payloads,
                    ..RecordOptions::default()
                });
            }
            moment += 1;
        };
        pass(&mut world);
        let list = proof(CLIENT_FIRST);
        let client = world.open();
        world.set_version(client, Version::V5);
        world.block(client, begin % 2 == 0);
        let first = Connect {
            properties: list.as_properties(),
            ..lasting(Version::V5, "client")
        };
        world.send(client, &Packet::Connect(first));
        pass(&mut world);
        world.block(client, false);
        let say = |world: &mut World, reason, data| {
            let list = proof(data);
            let auth = Auth {
                reason,
                properties: list.as_properties(),
            };
            world.send(client, &Packet::Auth(auth));
        };
        world.persists_at_once = false;
        say(
            &mut world,
            ReasonCode::CONTINUE_AUTHENTICATION,
            CLIENT_FINAL,
        );
        pass(&mut world);
        world.block(client, begin % 2 == 1);
        world.persist();
        world.persists_at_once = true;
        pass(&mut world);
        world.block(client, false);
        say(&mut world, ReasonCode::RE_AUTHENTICATE, CLIENT_FIRST);
        pass(&mut world);
        say(
            &mut world,
            ReasonCode::CONTINUE_AUTHENTICATION,
            CLIENT_FINAL,
        );
        pass(&mut world);
        world.block(client, true);
        say(&mut world, ReasonCode::RE_AUTHENTICATE, CLIENT_FIRST);
        say(&mut world, ReasonCode::CONTINUE_AUTHENTICATION, b"wrong");
        pass(&mut world);
        assert!(world.is_closed(client));
        world.replay();
        let all = world.parts.files().concat();
        for needle in [
            b"s=W22".as_slice(),
            b"v=6rr",
            b"n=user",
            b"r=rOpr",
            b"p=dHz",
        ] {
            assert!(!is_in(needle, &all), "begun at {begin}");
        }
    }
}

/// The body of a CONNECT of 3.1.1 with these flags, and these bytes behind the client identifier.
fn connect_with(flags: u8, rest: &[&[u8]]) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x04".to_vec();
    body.extend_from_slice(&[flags, 0, 60, 0, 1, b'c']);
    body.extend_from_slice(&rest.concat());
    let mut packet = vec![0x10, u8::try_from(body.len()).expect("it is short")];
    packet.extend_from_slice(&body);
    packet
}

fn field(bytes: &[u8]) -> Vec<u8> {
    let mut field = u16::try_from(bytes.len())
        .expect("short")
        .to_be_bytes()
        .to_vec();
    field.extend_from_slice(bytes);
    field
}

/// Packets that are no good and have a password in them, or before them, or behind them.
fn spoilt() -> Vec<(&'static str, Vec<u8>)> {
    let (user, password) = (field(b"somebody"), field(PASSWORD));
    let good = connect_with(0xC2, &[&user, &password]);
    let mut auth_beyond = b"\0\x04MQTT\x05\x02\0\x3C".to_vec();
    auth_beyond.push(4);
    auth_beyond.push(0x16);
    auth_beyond.extend_from_slice(&field(PASSWORD));
    auth_beyond.extend_from_slice(b"\0\0");
    let auth_beyond = [&[0x10, auth_beyond.len() as u8], &*auth_beyond].concat();
    let of_another_name = |name: &[u8]| {
        let body = [
            &field(name),
            b"\x04\xC2\0\0\0\0".as_slice(),
            &user,
            &password,
        ]
        .concat();
        [&[0x10, body.len() as u8], &*body].concat()
    };
    let auth = [&[0xF0, 32, 0x18, 0], PASSWORD, b"  "].concat();
    vec![
        ("no flag", connect_with(0x02, &[&user, &password])),
        (
            "the flag of the user",
            connect_with(0x82, &[&user, &password]),
        ),
        ("the flag of the password", connect_with(0x42, &[&password])),
        ("a reserved flag", connect_with(0x03, &[&user, &password])),
        ("too short", connect_with(0xC2, &[&user, &[0, 3], PASSWORD])),
        ("too long", connect_with(0xC2, &[&user, &[1, 0], PASSWORD])),
        (
            "bytes behind it",
            connect_with(0xC2, &[&user, &[0, 0], PASSWORD]),
        ),
        ("no such version", {
            let mut packet = connect_with(0xC2, &[&user, &password]);
            packet[8] = 9;
            packet
        }),
        ("no such protocol", of_another_name(PASSWORD)),
        ("no such protocol of four", of_another_name(b"MQTX")),
        ("a property that goes on behind the last", auth_beyond),
        (
            "HTTP",
            [b"GET / HTTP/1.1\r\nAuthorization: ".as_slice(), PASSWORD].concat(),
        ),
        ("another packet first", [&[0xC0, 28], PASSWORD].concat()),
        (
            "a long one first",
            [&[0x40, 0x9C, 0x01], PASSWORD, &[b' '; 128]].concat(),
        ),
        ("a subscription first", [&[0x82, 28], PASSWORD].concat()),
        (
            "no packet behind it",
            [&good, [0x0F, 1].as_slice(), PASSWORD].concat(),
        ),
        (
            "a spoilt packet behind it",
            [&good, [0xC0, 1, 0].as_slice(), &[0x40, 28], PASSWORD].concat(),
        ),
        (
            "a second one",
            [&good, &*good, b"\x40\x1C", PASSWORD].concat(),
        ),
        (
            "something behind the end",
            [&good, b"\xE0\0\x40\x1C".as_slice(), PASSWORD].concat(),
        ),
        (
            "AUTH where there is none",
            [&good, &*auth, b"\x40\x1C", PASSWORD].concat(),
        ),
    ]
}

/// Also where they come in pieces; and a replay ends the connections for the same reasons.
#[test]
fn a_packet_that_is_no_good_keeps_its_password_to_itself() {
    for (what, bytes) in spoilt() {
        for at_once in [1, 2, 7, bytes.len()] {
            let mut world = World::new(Config::default());
            world.record(RecordOptions::default());
            let client = world.open();
            for piece in bytes.chunks(at_once) {
                world.send_bytes(client, piece);
            }
            world.pass_ms(1);
            world.record(RecordOptions::default());
            world.replay();
            let all = world.parts.files().concat();
            // Some of it may stand for a length that is needed.
            assert!(!is_in(&PASSWORD[6..12], &all), "{what}, {at_once} at once");
        }
    }
}

/// What the broker decides does not change by what is blotted out: any byte of a packet may be any
/// other one.
#[test]
fn a_packet_that_was_changed_anywhere_ends_the_same_way() {
    for version in VERSIONS {
        let list = properties(&[
            Property::AuthenticationMethod(METHOD),
            Property::AuthenticationData(PASSWORD),
        ]);
        let properties = match version {
            Version::V5 => list.as_properties(),
            _ => connect(version, "").properties,
        };
        let whole = encoded(
            version,
            &Packet::Connect(Connect {
                username: Some("somebody"),
                password: Some(PASSWORD),
                will: Some(will("wills", PAYLOAD)),
                properties,
                ..lasting(version, "client")
            }),
        );
        let message = publish("t", PAYLOAD, QoS::AtLeastOnce, 1);
        let message = encoded(version, &Packet::Publish(message));
        for redact_payloads in [false, true] {
            let mut world = World::new(Config::default());
            world.record(RecordOptions {
                redact_payloads,
                ..RecordOptions::default()
            });
            for place in 0..whole.len() + message.len() {
                for flip in [0x01, 0x10, 0x40, 0x80, 0xFF] {
                    let mut bytes = [&*whole, &message, &whole].concat();
                    bytes[place] ^= flip;
                    let client = world.open();
                    world.send_bytes(client, &bytes[..place]);
                    world.send_bytes(client, &bytes[place..]);
                    world.take_bytes(client);
                    if !world.is_closed(client) {
                        world.cut(client);
                    }
                    world.pass_ms(1);
                }
            }
            world.replay();
        }
    }
}

/// Where a message is no good, what follows it may belong to it.
#[test]
fn what_follows_a_message_that_is_no_good_is_blotted_out_with_payloads() {
    let no_topic = [0x30, 3, 0, 9, b't'];
    let too_short = [0x32, 5, 0, 1, b't', 0, 0];
    for spoilt in [&no_topic[..], &too_short] {
        let mut world = World::new(Config::default());
        world.record(RecordOptions {
            redact_payloads: true,
            ..RecordOptions::default()
        });
        let client = world.connect(Version::V4, "client");
        let rest = [&[0x82, PAYLOAD.len() as u8], PAYLOAD].concat();
        world.send_bytes(client, &[spoilt, &rest].concat());
        assert!(world.is_closed(client));
        world.replay();
        assert!(!is_in(PAYLOAD, &world.parts.files().concat()), "{spoilt:?}");
    }
}

/// A letter has more than a topic and a payload; what else it has is summed up as well.
#[test]
fn whatever_a_letter_has_is_missed_where_it_differs() {
    const EXPIRY_S: u32 = 0x0102_0304;
    for redact_payloads in [false, true] {
        let mut world = World::with_shards(Config::default(), 2);
        world.record(RecordOptions {
            redact_payloads,
            ..RecordOptions::default()
        });
        let names = (0..9).map(|number| world.connect(Version::V5, &format!("client-{number}")));
        let clients: Vec<_> = names.collect();
        let at = |world: &mut World, shard| {
            let mut there = clients.iter().copied();
            there.find(|client| world.shard_of(*client) == shard)
        };
        let publisher = at(&mut world, 0).expect("one of nine is there");
        let subscriber = at(&mut world, 1).expect("one of nine is there");
        world.subscribe(subscriber, "t", QoS::AtMostOnce);
        let list = properties(&[Property::MessageExpiryInterval(EXPIRY_S)]);
        let message = whimbrel_core::codec::packet::Publish {
            properties: list.as_properties(),
            ..publish("t", PAYLOAD, QoS::AtMostOnce, 1)
        };
        world.send(publisher, &Packet::Publish(message));
        world.replay();
        let mut part = world.parts.files()[0].clone();
        let place = part
            .windows(4)
            .position(|four| four == EXPIRY_S.to_be_bytes());
        part[place.expect("it was sent") + 3] ^= 1;
        let part = crate::with_mark(&part, 1);
        assert!(whimbrel_tests::play(&part).is_err());
    }
}
