//! What is encoded decodes to the same, whatever it is.

use crate::any::AnyPacket;
use crate::notation::hex;
use quickcheck::{QuickCheck, TestResult};
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_core::codec::{
    LastTopic, Packet, Properties, PropertyBuffer, PropertyContext, PublishFlags, PublishParts,
    decode, decode_publish, decode_publish_after, encode, frame,
};
use whimbrel_core::id::PacketId;

const VERSIONS: [Version; 3] = [Version::V3, Version::V4, Version::V5];

#[test]
fn every_packet_survives_encoding_and_decoding() {
    fn property(any: AnyPacket) {
        let packet = any.as_packet();
        let mut out = Vec::new();
        encode(&packet, any.version, &mut out).expect("the packet can be said");
        let (frame, len) = frame::split(&out, u32::MAX)
            .expect("a packet")
            .expect("complete");
        assert_eq!(len, out.len());
        assert_eq!(frame::needed(&out), Some(len));
        assert_eq!(decode(any.version, frame), Ok(packet), "{}", hex(&out));
    }
    QuickCheck::new()
        .tests(2_000)
        .quickcheck(property as fn(AnyPacket));
}

#[test]
fn the_fast_paths_of_publish_agree_with_the_general_ones() {
    fn property(any: AnyPacket) -> TestResult {
        let packet = any.as_packet();
        let Packet::Publish(publish) = packet else {
            return TestResult::discard();
        };
        let raw = publish.properties.as_bytes();
        let parts = PublishParts {
            flags: publish.flags(),
            topic: publish.topic,
            packet_id: None,
            properties: raw.split_at(raw.len() / 2).into(),
            payload: publish.payload,
        };
        let mut out = Vec::new();
        encode(&packet, any.version, &mut out).expect("the packet can be said");
        let mut patched = b"before".to_vec();
        let packet_id_at = parts.encode(any.version, u32::MAX, &mut patched);
        let packet_id_at = packet_id_at.expect("the packet can be said");
        if let Some(packet_id) = publish.packet_id {
            patched[packet_id_at..packet_id_at + 2].copy_from_slice(&packet_id.get().to_be_bytes());
        }
        assert_eq!(hex(&patched[6..]), hex(&out));
        assert_eq!(parts.encoded_len(any.version), Some(out.len()));
        let split = frame::split(&out, u32::MAX).expect("a packet");
        let (frame, _) = split.expect("complete");
        assert_eq!(decode_publish(any.version, frame), Ok(publish));
        let mut last = LastTopic::default();
        for _ in 0..2 {
            let decoded = decode_publish_after(any.version, frame, &mut last);
            assert_eq!(decoded, Ok(publish));
        }
        TestResult::passed()
    }
    QuickCheck::new()
        .tests(150)
        .max_tests(50_000)
        .quickcheck(property as fn(AnyPacket) -> TestResult);
}

#[test]
fn random_bytes_never_panic_and_what_decodes_can_be_encoded() {
    fn property(first_byte: u8, body: Vec<u8>) {
        for version in VERSIONS {
            let frame = frame::Frame {
                first_byte,
                body: &body,
            };
            if let Ok(packet) = decode(version, frame) {
                let mut out = Vec::new();
                assert_eq!(encode(&packet, version, &mut out), Ok(()), "{packet:?}");
            }
            let _ = decode_publish(version, frame);
        }
        let _ = frame::split(&body, u32::MAX);
        let _ = Properties::decode(&body, PropertyContext::Publish);
        PropertyBuffer::new().extend_raw(&body);
    }
    QuickCheck::new()
        .tests(5_000)
        .quickcheck(property as fn(u8, Vec<u8>));
}

#[test]
fn what_is_forwarded_is_all_but_four_kinds_of_property_in_order() {
    fn property(any: AnyPacket) -> TestResult {
        let packet = any.as_packet();
        let Packet::Publish(publish) = packet else {
            return TestResult::discard();
        };
        let properties = publish.properties;
        let mut expected = PropertyBuffer::new();
        for property in properties {
            if !is_for_neighbours_only(property) {
                assert!(expected.push(property));
            }
        }
        let mut out = Vec::new();
        properties.forwardable(&mut out);
        assert_eq!(hex(&out), hex(expected.as_properties().as_bytes()));
        assert_eq!(properties.is_forwardable(), out == properties.as_bytes());
        TestResult::passed()
    }
    QuickCheck::new()
        .tests(150)
        .max_tests(50_000)
        .quickcheck(property as fn(AnyPacket) -> TestResult);
}

fn is_for_neighbours_only(property: whimbrel_core::codec::Property<'_>) -> bool {
    use whimbrel_core::codec::Property as P;
    matches!(
        property,
        P::MessageExpiryInterval(_)
            | P::TopicAlias(_)
            | P::SubscriptionIdentifier(_)
            | P::WillDelayInterval(_)
    )
}

#[test]
fn lengths_at_every_boundary_are_stated_and_read_right() {
    // Around what one, two and three bytes of remaining length can say.
    for remaining in [126, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
        for version in VERSIONS {
            let overhead = if version == Version::V5 { 4 } else { 3 };
            let payload = vec![0x2A; remaining - overhead];
            let parts = PublishParts {
                flags: PublishFlags::of(QoS::AtMostOnce),
                topic: "t",
                packet_id: PacketId::new(1),
                properties: [&[], &[]],
                payload: &payload,
            };
            let mut out = Vec::new();
            let small = parts.encode(version, remaining as u32, &mut out);
            assert_eq!((small, out.len()), (None, 0), "it is larger");
            parts.encode(version, u32::MAX, &mut out);
            let split = frame::split(&out, u32::MAX).expect("a packet");
            let (frame, len) = split.expect("complete");
            assert_eq!((frame.body.len(), len), (remaining, out.len()));
            let publish = decode_publish(version, frame).expect("a PUBLISH");
            assert_eq!(publish.payload, payload);
        }
    }
}

#[test]
fn a_head_of_every_length_stands_before_its_topic() {
    // One to four bytes of length, for topics of one and two bytes of it.
    for remaining in [0, 127, 128, 16_383, 16_384, 70_000, 2_097_151, 2_097_152] {
        for topic_len in [0, 1, 255, 256, 65_535] {
            let topic = "t".repeat(topic_len);
            for (qos, version) in [QoS::AtMostOnce, QoS::ExactlyOnce]
                .into_iter()
                .flat_map(|qos| VERSIONS.map(|version| (qos, version)))
            {
                let around = 2
                    + topic_len
                    + if qos > QoS::AtMostOnce { 2 } else { 0 }
                    + usize::from(version == Version::V5);
                let payload = vec![0x2A; remaining.max(around) - around];
                let parts = PublishParts {
                    flags: PublishFlags::of(qos),
                    topic: &topic,
                    packet_id: PacketId::new(0x0102),
                    properties: [&[], &[]],
                    payload: &payload,
                };
                let mut out = b"before".to_vec();
                let at = parts.encode(version, u32::MAX, &mut out);
                assert_eq!(&out[..6], b"before");
                assert_eq!(parts.encoded_len(version), Some(out.len() - 6));
                let split = frame::split(&out[6..], u32::MAX).expect("a packet");
                let (frame, len) = split.expect("complete");
                assert_eq!(len, out.len() - 6);
                let mut plain = (topic_len as u16).to_be_bytes().to_vec();
                plain.extend(topic.as_bytes());
                assert_eq!(at, Some(out.len() - frame.body.len() + plain.len()));
                if qos > QoS::AtMostOnce {
                    plain.extend([1, 2]);
                }
                if version == Version::V5 {
                    plain.push(0);
                }
                plain.extend(&payload);
                assert!(
                    frame.body == plain,
                    "{remaining} {topic_len} {qos:?} {version:?}"
                );
            }
        }
    }
}
