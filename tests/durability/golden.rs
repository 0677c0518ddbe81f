//! What a broker writes: the records of `core/src/record.rs` as they were in every released
//! version.

use crate::{durable, id_of, persistent};
use std::path::{Path, PathBuf};
use whimbrel_core::codec::packet::{
    Ack, Connect, Publish, QoS, Subscribe, SubscribeOptions, Version, Will,
};
use whimbrel_core::codec::{Packet, Property, PropertyBuffer, ReasonCode, SubscribeBuffer};

use whimbrel_core::id::PacketId;
use whimbrel_core::log::FORMAT_VERSION;
use whimbrel_tests::World;
use whimbrel_tests::world::{connect, publish};

fn path(version: u32) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("durability/golden");
    directory.join(format!("records-v{version}"))
}

fn session(expiry_s: u32) -> PropertyBuffer {
    let mut properties = PropertyBuffer::new();
    properties.push(Property::SessionExpiryInterval(expiry_s));
    properties
}

/// A session of each kind, with something in each state that a record can tell of.
fn story() -> World {
    let mut world = durable();
    let publisher = world.connect(Version::V5, "publisher");
    let mut properties = PropertyBuffer::new();
    properties.push(Property::ContentType("text/plain"));
    properties.push(Property::UserProperty("colour", "blue"));
    properties.push(Property::MessageExpiryInterval(86_400));
    for topic in ["kept/a", "kept/b", "kept/c"] {
        let packet = Publish {
            retain: true,
            properties: properties.as_properties(),
            ..publish(topic, b"retained", QoS::AtLeastOnce, 1)
        };
        world.send(publisher, &Packet::Publish(packet));
    }
    let clear = Publish {
        retain: true,
        ..publish("kept/b", b"", QoS::AtLeastOnce, 1)
    };
    world.send(publisher, &Packet::Publish(clear));

    world.drain(publisher);

    let (old, _) = persistent(&mut world, Version::V4, "old");
    world.subscribe(old, "t/+", QoS::ExactlyOnce);
    for payload in [b"in flight", b"released!"] {
        world.publish_exactly_once(publisher, "t/1", payload);
    }
    let first = world.hear(old);
    let second = world.hear(old);
    assert_ne!(id_of(&first), id_of(&second));
    let received = Ack::new(id_of(&second), ReasonCode::SUCCESS);
    world.send(old, &Packet::PubRec(received));
    world.send(
        old,
        &Packet::Publish(publish("nobody", b"", QoS::ExactlyOnce, 77)),
    );
    world.cut(old);
    world.publish(publisher, "t/2", b"queued", QoS::AtLeastOnce);

    let mut expiry = session(7_200);
    expiry.push(Property::ReceiveMaximum(1));
    let mut delay = PropertyBuffer::new();
    delay.push(Property::WillDelayInterval(3_600));
    let (new, _) = world.enter(&Connect {
        properties: expiry.as_properties(),
        will: Some(Will {
            topic: "t/will",
            payload: b"the last",
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: delay.as_properties(),
        }),
        ..connect(Version::V5, "new")
    });
    let mut identifier = PropertyBuffer::new();
    identifier.push(Property::SubscriptionIdentifier(268_435_455));
    let mut filters = SubscribeBuffer::new();
    let options = SubscribeOptions {
        maximum_qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        ..SubscribeOptions::default()
    };
    filters.push("kept/#", options);
    let packet = Subscribe {
        packet_id: PacketId::FIRST,
        properties: identifier.as_properties(),
        filters: filters.as_filters(Version::V5),
    };
    world.send(new, &Packet::Subscribe(packet));
    assert_eq!(world.drain(new).len(), 2, "SUBACK and the first of two");
    world.subscribe(new, "$share/group/s", QoS::ExactlyOnce);
    world.cut(new);
    world.publish(publisher, "s", b"for one of a group", QoS::AtLeastOnce);
    world
}

/// The batches, each behind its length.
fn written_now() -> Vec<u8> {
    let mut bytes = Vec::new();
    for batch in &story().log {
        let length = u32::try_from(batch.len()).expect("a small batch");
        bytes.extend(length.to_le_bytes());
        bytes.extend(batch);
    }
    bytes
}

fn batches(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut batches = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (batch, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        batches.push(batch.to_vec());
        bytes = rest;
    }
    batches
}

#[test]
fn golden_this_version_records_what_it_always_recorded() {
    let path = path(FORMAT_VERSION);
    if std::env::var_os("WHIMBREL_BLESS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().expect("it is in a directory")).unwrap();
        std::fs::write(&path, written_now()).unwrap();
    }
    let golden = std::fs::read(path).expect("the golden file is in the repository");
    assert!(
        golden == written_now(),
        "records have changed; what older programs cannot read needs a new version"
    );
}

#[test]
fn golden_the_records_of_every_version_are_read() {
    for version in 1..=FORMAT_VERSION {
        let bytes = std::fs::read(path(version)).expect("in the repository");
        let mut world = story();
        world.log = batches(&bytes);
        world.crash();

        let (old, present) = persistent(&mut world, Version::V4, "old");
        assert!(present);
        let first = world.hear(old);
        assert_eq!(first.publish().payload, b"in flight");
        assert!(first.publish().dup);
        let release = world.hear(old);
        assert!(matches!(release.packet(), Packet::PubRel(_)), "{release:?}");
        assert_eq!(world.next_publish(old).1, b"queued");
        // It was taken in before.
        let mut again = publish("t/0", b"", QoS::ExactlyOnce, 77);
        again.dup = true;
        world.send(old, &Packet::Publish(again));
        assert!(matches!(world.hear(old).packet(), Packet::PubRec(_)));
        assert_eq!(world.next(old), None);

        let expiry = session(7_200);
        let (new, present) = world.enter(&Connect {
            clean_start: false,
            properties: expiry.as_properties(),
            ..connect(Version::V5, "new")
        });
        assert!(present);
        let mut payloads = world.payloads(new);
        payloads.sort_unstable();
        assert_eq!(
            payloads,
            ["for one of a group", "retained", "retained"],
            "what was begun comes again"
        );
        let reader = world.connect(Version::V5, "reader");
        world.subscribe(reader, "kept/+", QoS::AtLeastOnce);
        let kept = world.hear(reader);
        let properties = kept.publish().properties;
        assert_eq!(properties.content_type(), Some("text/plain"));
        let mut colours = properties.user_properties();
        assert_eq!(colours.next(), Some(("colour", "blue")));
        assert_eq!(world.next_publish(reader).0, "kept/c");
        assert_eq!(world.next(reader), None, "one was cleared");

        // The same again, and the client with the will does not come back.
        world.log = batches(&bytes);
        world.crash();
        world.pass_ms(3_601_000);
        let mourner = world.connect(Version::V4, "mourner");
        world.subscribe(mourner, "t/will", QoS::AtLeastOnce);
        assert_eq!(world.next_publish(mourner).1, b"the last");
    }
}
