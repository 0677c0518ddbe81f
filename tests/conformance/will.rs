//! MQTT 5.0 §3.1.2.5, §3.1.3.2.2: the will, and every way in which a connection ends.

use whimbrel_core::ConnectionId;
use whimbrel_core::action::CloseReason;
use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{Connect, QoS, Version, Will};
use whimbrel_core::codec::property::Property;
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, connect, lasting, properties, will};

/// A way in which a connection ends.
type Ending = (&'static str, fn(&mut World, ConnectionId), bool);

/// Every ending, and whether the will is published.
const ENDINGS: [Ending; 10] = [
    (
        "the transport breaks",
        |world, client| world.cut(client),
        true,
    ),
    (
        "a normal DISCONNECT",
        |world, client| world.disconnect(client, ReasonCode::SUCCESS),
        false,
    ),
    ("nothing is heard", |world, _| world.pass_ms(15_000), true),
    (
        "a protocol error",
        |world, client| world.send(client, &Packet::PingResp),
        true,
    ),
    (
        "malformed bytes",
        |world, client| world.send_bytes(client, &[0xff, 0xff, 0xff, 0xff, 0xff]),
        true,
    ),
    (
        "a takeover",
        |world, client| {
            let _ = client;
            world.open_with(&connect(Version::V5, "client"));
        },
        true,
    ),
    (
        "the broker stops",
        |world, _| {
            world.shut_down();
        },
        // Nobody is left to hear it; see `the_will_is_retained_when_the_broker_stops`.
        false,
    ),
    (
        "an operator",
        |world, client| world.expel(client, CloseReason::Administrative),
        true,
    ),
    (
        "a packet that is too large",
        |world, client| world.send_bytes(client, &[0x30, 0xff, 0xff, 0xff, 0x7f]),
        true,
    ),
    (
        "half a packet, then nothing",
        |world, client| {
            world.send_bytes(client, &[0x30, 0x10]);
            world.cut(client);
        },
        true,
    ),
];

fn with_will<'a>(version: Version, will: Will<'a>) -> Connect<'a> {
    Connect {
        keep_alive_s: 10,
        will: Some(will),
        ..connect(version, "client")
    }
}

/// [MQTT-3.1.2-7] [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.1.2-14] [MQTT-3.14.4-3]
#[test]
fn a_will_is_published_by_every_ending_but_a_normal_disconnect() {
    for version in VERSIONS {
        for (ending, end, published) in ENDINGS {
            let mut world = World::default();
            let watcher = world.connect(version, "watcher");
            world.subscribe(watcher, "will/+", QoS::ExactlyOnce);
            let (client, _) = world.enter(&with_will(version, will("will/client", b"gone")));
            world.hears_nothing(watcher);
            end(&mut world, client);
            let came: Vec<String> = world
                .drain(watcher)
                .iter()
                .filter_map(|received| match received.packet() {
                    Packet::Publish(publish) => Some(publish.topic.to_owned()),
                    _ => None,
                })
                .collect();
            let expected: &[&str] = if published { &["will/client"] } else { &[] };
            assert_eq!(came, expected, "{version:?}: {ending}");
        }
    }
}

/// MQTT 5.0 §3.14.2.1: a client may leave and have its will published all the same.
#[test]
fn disconnect_with_will_publishes_it() {
    for reason in [
        ReasonCode::DISCONNECT_WITH_WILL,
        ReasonCode::UNSPECIFIED,
        ReasonCode::ADMINISTRATIVE_ACTION,
    ] {
        let mut world = World::default();
        let watcher = world.connect(Version::V5, "watcher");
        world.subscribe(watcher, "w", QoS::AtMostOnce);
        let (client, _) = world.enter(&with_will(Version::V5, will("w", b"gone")));
        world.disconnect(client, reason);
        assert_eq!(world.payloads(watcher), ["gone"]);
    }
}

/// [MQTT-3.1.2-15]
#[test]
fn a_retained_will_stays() {
    for version in VERSIONS {
        let mut world = World::default();
        let mut last = will("w", b"gone");
        last.retain = true;
        let (client, _) = world.enter(&with_will(version, last));
        world.cut(client);
        let late = world.connect(version, "late");
        world.subscribe(late, "w", QoS::AtMostOnce);
        let received = world.hear(late);
        assert_eq!(received.publish().payload, b"gone");
        assert!(received.publish().retain);
    }
}

#[test]
fn the_will_is_published_when_the_broker_stops() {
    let mut world = World::default();
    let mut last = will("w", b"gone");
    last.retain = true;
    let (_, _) = world.enter(&with_will(Version::V5, last));
    let now = world.now;
    world.broker.shut_down(now);
    world.run();
    assert_eq!(world.statistics().retained_messages, 1);
}

#[test]
fn a_will_arrives_with_its_qos_and_properties() {
    let mut world = World::default();
    let watcher = world.connect(Version::V5, "watcher");
    world.subscribe(watcher, "w", QoS::ExactlyOnce);
    let list = properties(&[
        Property::PayloadFormatIndicator(true),
        Property::MessageExpiryInterval(60),
        Property::ContentType("text/plain"),
        Property::ResponseTopic("r"),
        Property::CorrelationData(b"c"),
        Property::UserProperty("k", "1"),
        Property::UserProperty("k", "2"),
    ]);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let last = Will {
            qos,
            properties: list.as_properties(),
            ..will("w", b"gone")
        };
        let (client, _) = world.enter(&with_will(Version::V5, last));
        world.cut(client);
        let received = world.hear(watcher);
        let publish = received.publish();
        assert_eq!(publish.qos, qos);
        assert_eq!(publish.properties.payload_format_indicator(), Some(true));
        assert_eq!(publish.properties.message_expiry_interval(), Some(60));
        assert_eq!(publish.properties.content_type(), Some("text/plain"));
        assert_eq!(publish.properties.response_topic(), Some("r"));
        assert_eq!(publish.properties.correlation_data(), Some(&b"c"[..]));
        let user: Vec<_> = publish.properties.user_properties().collect();
        assert_eq!(user, [("k", "1"), ("k", "2")]);
    }
}

/// A client whose will waits for ten seconds, and whose session lasts an hour.
fn patient(world: &mut World, session_s: u32) -> ConnectionId {
    let delay = properties(&[Property::WillDelayInterval(10)]);
    let list = properties(&[Property::SessionExpiryInterval(session_s)]);
    let packet = Connect {
        clean_start: false,
        will: Some(Will {
            properties: delay.as_properties(),
            ..will("w", b"gone")
        }),
        properties: list.as_properties(),
        ..connect(Version::V5, "client")
    };
    world.enter(&packet).0
}

fn watched() -> (World, ConnectionId) {
    let mut world = World::default();
    let watcher = world.connect(Version::V5, "watcher");
    world.subscribe(watcher, "w", QoS::AtMostOnce);
    (world, watcher)
}

#[test]
fn a_delayed_will_waits() {
    let (mut world, watcher) = watched();
    let client = patient(&mut world, 3_600);
    world.cut(client);
    world.pass_ms(9_999);
    world.hears_nothing(watcher);
    world.pass_ms(1);
    assert_eq!(world.payloads(watcher), ["gone"]);
    world.pass_ms(3_600_000);
    world.hears_nothing(watcher);
}

/// [MQTT-3.1.3-9]
#[test]
fn a_client_that_comes_back_in_time_cancels_its_will() {
    let (mut world, watcher) = watched();
    let client = patient(&mut world, 3_600);
    world.cut(client);
    world.pass_ms(9_999);
    let client = world.resume(Version::V5, "client");
    world.pass_ms(60_000);
    world.hears_nothing(watcher);
    world.cut(client);
    world.pass_ms(60_000);
    world.hears_nothing(watcher);
}

#[test]
fn a_takeover_that_resumes_the_session_cancels_a_delayed_will() {
    let (mut world, watcher) = watched();
    patient(&mut world, 3_600);
    world.enter(&lasting(Version::V5, "client"));
    world.pass_ms(60_000);
    world.hears_nothing(watcher);
}

#[test]
fn a_will_is_not_delayed_beyond_the_end_of_its_session() {
    let (mut world, watcher) = watched();
    let client = patient(&mut world, 5);
    world.cut(client);
    world.pass_ms(4_999);
    world.hears_nothing(watcher);
    world.pass_ms(1);
    assert_eq!(world.payloads(watcher), ["gone"], "the session expired");

    let client = patient(&mut world, 0);
    world.cut(client);
    assert_eq!(world.payloads(watcher), ["gone"], "it ended at once");

    let client = patient(&mut world, 3_600);
    world.cut(client);
    world.enter(&connect(Version::V5, "client"));
    assert_eq!(world.payloads(watcher), ["gone"], "a clean start ended it");
}

#[test]
fn a_takeover_with_a_clean_start_publishes_a_delayed_will() {
    let (mut world, watcher) = watched();
    patient(&mut world, 3_600);
    world.enter(&connect(Version::V5, "client"));
    assert_eq!(world.payloads(watcher), ["gone"]);
}

#[test]
fn a_new_connection_brings_its_own_will() {
    let (mut world, watcher) = watched();
    let (client, _) = world.enter(&with_will(Version::V5, will("w", b"first")));
    world.disconnect(client, ReasonCode::SUCCESS);
    let (client, _) = world.enter(&with_will(Version::V5, will("w", b"second")));
    world.cut(client);
    assert_eq!(world.payloads(watcher), ["second"]);
}
