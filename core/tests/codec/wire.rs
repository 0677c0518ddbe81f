//! The packets of `tests/wire/packets.txt`.

use crate::notation::{bytes, hex};
use whimbrel_core::codec::packet::Version;
use whimbrel_core::codec::{Frame, Packet, connect_version, decode, encode, frame};
use whimbrel_core::error::Violation;

const PACKETS: &str = include_str!("../../../tests/wire/packets.txt");

struct Vector {
    /// As the file has it.
    line: &'static str,
    version: Version,
    verdict: &'static str,
    bytes: Vec<u8>,
}

fn vectors() -> impl Iterator<Item = Vector> {
    let lines = PACKETS.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.flat_map(|line| {
        let columns: Vec<_> = line.split('|').map(str::trim).collect();
        let &[versions, verdict, packet] = columns.as_slice() else {
            panic!("not three columns: {line}");
        };
        versions.chars().map(move |version| Vector {
            line,
            version: match version {
                '3' => Version::V3,
                '4' => Version::V4,
                '5' => Version::V5,
                _ => panic!("no such version: {line}"),
            },
            verdict,
            bytes: bytes(packet),
        })
    })
}

fn valid_vectors() -> impl Iterator<Item = Vector> {
    vectors().filter(|vector| vector.verdict.starts_with("ok"))
}

fn split_and_decode(version: Version, bytes: &[u8]) -> Result<Packet<'_>, Violation> {
    let (frame, len) = frame::split(bytes, u32::MAX)?.expect("the vector is complete");
    assert_eq!(len, bytes.len(), "the vector is one packet");
    decode(version, frame)
}

#[test]
fn every_vector_gets_its_verdict() {
    for vector in vectors() {
        let verdict = match split_and_decode(vector.version, &vector.bytes) {
            Ok(_) => "ok".to_owned(),
            Err(violation) => format!("{violation:?}"),
        };
        let expected = vector.verdict.split(',').next().expect("at least one part");
        assert_eq!(verdict, expected, "{:?} {}", vector.version, vector.line);
    }
}

#[test]
fn canonical_bytes_come_back_from_encoding_and_others_get_shorter_or_equal() {
    for vector in valid_vectors() {
        let packet = split_and_decode(vector.version, &vector.bytes).expect(vector.line);
        let mut out = b"kept".to_vec();
        encode(&packet, vector.version, &mut out).expect(vector.line);
        assert_eq!(&out[..4], b"kept");
        let canonical = vector.verdict == "ok";
        assert_eq!(
            hex(&out[4..]) == hex(&vector.bytes),
            canonical,
            "{}",
            vector.line
        );
        assert!(out.len() - 4 <= vector.bytes.len(), "{}", vector.line);
        let again = split_and_decode(vector.version, &out[4..]);
        assert_eq!(again, Ok(packet), "{}", vector.line);
    }
}

#[test]
fn a_part_of_a_packet_is_incomplete_at_every_byte() {
    for vector in valid_vectors() {
        for cut in 0..vector.bytes.len() {
            let part = &vector.bytes[..cut];
            assert_eq!(frame::split(part, u32::MAX), Ok(None), "{}", vector.line);
            let needed = (cut >= 2).then_some(vector.bytes.len());
            assert_eq!(frame::needed(part), needed, "{}", vector.line);
        }
    }
}

#[test]
fn a_body_cut_short_is_refused_unless_it_is_complete_as_well() {
    for vector in valid_vectors() {
        let (whole, _) = frame::split(&vector.bytes, u32::MAX)
            .expect(vector.line)
            .expect(vector.line);
        for cut in 0..whole.body.len() {
            let frame = Frame {
                first_byte: whole.first_byte,
                body: &whole.body[..cut],
            };
            let Ok(packet) = decode(vector.version, frame) else {
                continue;
            };
            assert!(
                ends_where_it_likes(&packet, vector.version),
                "{} cut at {cut}: {packet:?}",
                vector.line
            );
            let mut out = Vec::new();
            assert_eq!(encode(&packet, vector.version, &mut out), Ok(()));
            assert_eq!(split_and_decode(vector.version, &out), Ok(packet));
        }
    }
}

/// Whether the end of such a packet says what is in it, so that a shorter one may be complete.
fn ends_where_it_likes(packet: &Packet<'_>, version: Version) -> bool {
    match packet {
        Packet::Publish(_)
        | Packet::Subscribe(_)
        | Packet::SubAck(_)
        | Packet::Unsubscribe(_)
        | Packet::UnsubAck(_) => true,
        Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::Disconnect(_)
        | Packet::Auth(_) => version == Version::V5,
        Packet::Connect(connect) => connect.version == Version::V3,
        Packet::ConnAck(_) | Packet::PingReq | Packet::PingResp => false,
    }
}

#[test]
fn every_damaged_byte_gives_a_packet_or_an_error() {
    for vector in vectors() {
        for at in 0..vector.bytes.len() {
            for flip in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF] {
                let mut damaged = vector.bytes.clone();
                damaged[at] ^= flip;
                let Ok(Some((frame, _))) = frame::split(&damaged, u32::MAX) else {
                    continue;
                };
                let Ok(packet) = decode(vector.version, frame) else {
                    continue;
                };
                // What was decoded can be looked at and sent on.
                let _ = format!("{packet:?}");
                let mut out = Vec::new();
                assert_eq!(
                    encode(&packet, vector.version, &mut out),
                    Ok(()),
                    "{packet:?}"
                );
            }
        }
    }
}

#[test]
fn a_connect_says_its_version_even_when_the_rest_is_bad() {
    let version = |packet: &str| {
        let bytes = bytes(packet);
        let (first_byte, body) = (bytes[0], &bytes[2..]);
        connect_version(Frame { first_byte, body })
    };
    assert_eq!(version(r#"10 [ "MQTT" 05 01 ]"#), Some(Version::V5));
    assert_eq!(version(r#"10 [ "MQTT" 04 ]"#), Some(Version::V4));
    assert_eq!(version(r#"10 [ "MQIsdp" 03 FF ]"#), Some(Version::V3));
    assert_eq!(version(r#"10 [ "MQTT" 06 ]"#), None);
    assert_eq!(version(r#"10 [ "MQTT" ]"#), None);
    assert_eq!(version(r#"10 [ "HTTP" 05 ]"#), None);
    assert_eq!(version(r#"30 [ "MQTT" 05 ]"#), None);
}

#[test]
fn a_packet_over_the_limit_is_refused_as_soon_as_its_length_is_known() {
    let huge = bytes("30 FFFFFF7F");
    assert_eq!(frame::split(&huge[..4], 1_000), Ok(None));
    assert_eq!(frame::split(&huge, 1_000), Err(Violation::PacketTooLarge));
    assert_eq!(
        frame::split(&huge, 268_435_459),
        Err(Violation::PacketTooLarge)
    );
    assert_eq!(frame::split(&huge, 268_435_460), Ok(None));
    assert_eq!(frame::needed(&huge), Some(268_435_460));

    let small = bytes("E0 []");
    assert!(matches!(frame::split(&small, 2), Ok(Some((_, 2)))));
    assert_eq!(frame::split(&small, 1), Err(Violation::PacketTooLarge));
}

#[test]
fn what_can_be_no_packet_is_refused_from_its_first_byte() {
    for first_byte in 0..=u8::MAX {
        let bytes = [first_byte];
        let alone = frame::split(&bytes, u32::MAX);
        let possible = matches!(
            first_byte,
            0x10 | 0x20
                | 0x40
                | 0x50
                | 0x62
                | 0x6A
                | 0x70
                | 0x82
                | 0x8A
                | 0x90
                | 0xA2
                | 0xAA
                | 0xB0
                | 0xC0
                | 0xD0
                | 0xE0
                | 0xF0
        ) || matches!(first_byte, 0x30..=0x35 | 0x3A..=0x3D);
        assert_eq!(alone.is_ok(), possible, "{first_byte:#04x}: {alone:?}");
    }
}
