//! Statements of the specification that the codec decides, each under its tag.
//!
//! Packets are written as `notation` says. Broader tables of the same are in
//! `tests/wire/packets.txt`.

use crate::notation::{bytes, hex};
use whimbrel_core::codec::packet::{
    Ack, ConnAck, Connect, PacketType, Publish, QoS, SubscribeOptions, Version, Will,
};
use whimbrel_core::codec::{
    EncodeError, Packet, Properties, Property, PropertyBuffer, PropertyContext, ReasonCode,
    SubscribeBuffer, decode, encode, frame,
};
use whimbrel_core::error::{Malformed, Violation};
use whimbrel_core::id::PacketId;

const VERSIONS: [Version; 3] = [Version::V3, Version::V4, Version::V5];

/// Why a packet is refused.
fn refusal(version: Version, packet: &str) -> Violation {
    let bytes = bytes(packet);
    let error = match frame::split(&bytes, u32::MAX) {
        Ok(split) => decode(version, split.expect("complete").0).err(),
        Err(violation) => Some(violation),
    };
    error.unwrap_or_else(|| panic!("{version:?} takes {packet}"))
}

fn malformed(version: Version, packet: &str) -> Malformed {
    let refusal = refusal(version, packet);
    let Violation::Malformed(malformed) = refusal else {
        panic!("{version:?} {packet}: {refusal:?}");
    };
    malformed
}

/// Has `look` see what a packet decodes to.
fn accepted<R>(version: Version, packet: &str, look: impl FnOnce(Packet<'_>) -> R) -> R {
    let bytes = bytes(packet);
    let split = frame::split(&bytes, u32::MAX).expect(packet);
    look(decode(version, split.expect(packet).0).expect(packet))
}

fn encoded(packet: &Packet<'_>, version: Version) -> String {
    let mut out = Vec::new();
    encode(packet, version, &mut out).expect("it can be said");
    hex(&out)
}

fn topic_of(packet: Packet<'_>) -> String {
    let Packet::Publish(publish) = packet else {
        panic!("not a PUBLISH");
    };
    publish.topic.to_owned()
}

const PUBLISH: Publish<'_> = Publish {
    dup: false,
    qos: QoS::AtMostOnce,
    retain: false,
    topic: "t",
    packet_id: None,
    properties: Properties::EMPTY,
    payload: b"",
};

const CONNECT: Connect<'_> = Connect {
    version: Version::V4,
    clean_start: false,
    keep_alive_s: 60,
    client_id: "zen",
    will: None,
    username: None,
    password: None,
    properties: Properties::EMPTY,
};

/// [MQTT-1.5.4-1] [MQTT311-1.5.3-1]
#[test]
fn strings_are_well_formed_utf8() {
    for bad in [
        "FF", "C0AF", "E28228", "F4908080", "EDA080", "EDBFBF", "E282",
    ] {
        let packet = format!("30 [ 00 {:02x} {bad} ]", bad.len() / 2);
        assert_eq!(malformed(Version::V4, &packet), Malformed::Utf8, "{bad}");
    }
    // What the specification only advises against: control characters, non-characters.
    for good in ["01", "1F", "7F", "C29F", "EFBFBF", "F48FBFBF"] {
        let packet = format!("30 [ 00 {:02x} {good} ]", good.len() / 2);
        let topic = accepted(Version::V4, &packet, topic_of);
        assert_eq!(hex(topic.as_bytes()), good.to_lowercase());
    }
}

/// [MQTT-1.5.4-2] [MQTT311-1.5.3-2]
#[test]
fn strings_have_no_null_character() {
    for version in VERSIONS {
        assert_eq!(malformed(version, "30 [ 0003 610062 00 ]"), Malformed::Utf8);
        let packet = Packet::Publish(Publish {
            topic: "a\0b",
            ..PUBLISH
        });
        let mut out = Vec::new();
        let result = encode(&packet, version, &mut out);
        assert_eq!(result, Err(EncodeError::NullCharacter));
        assert!(out.is_empty());
    }
}

/// [MQTT-1.5.4-3] [MQTT311-1.5.3-3]
#[test]
fn a_byte_order_mark_is_kept() {
    let topic = accepted(Version::V5, "30 [ 0004 EFBBBF61 [] ]", topic_of);
    assert_eq!(topic, "\u{FEFF}a");
}

/// [MQTT-1.5.5-1]
#[test]
fn variable_byte_integers_are_in_their_shortest_form() {
    for (bad, expected) in [
        ("C0 8000", Malformed::VariableByteInteger),
        ("C0 808000", Malformed::VariableByteInteger),
        ("30 8180808001", Malformed::RemainingLength),
        ("30 [ \"t\" 8000 ]", Malformed::VariableByteInteger),
        ("30 [ \"t\" [ 0B 8100 ] ]", Malformed::VariableByteInteger),
    ] {
        assert_eq!(malformed(Version::V5, bad), expected, "{bad}");
    }
    for (value, expected) in [
        (127, "0b7f"),
        (128, "0b8001"),
        (16_383, "0bff7f"),
        (16_384, "0b808001"),
        (2_097_151, "0bffff7f"),
        (2_097_152, "0b80808001"),
        (268_435_455, "0bffffff7f"),
    ] {
        let mut buffer = PropertyBuffer::new();
        assert!(buffer.push(Property::SubscriptionIdentifier(value)));
        assert_eq!(hex(buffer.as_properties().as_bytes()), expected);
    }
    let mut buffer = PropertyBuffer::new();
    assert!(!buffer.push(Property::SubscriptionIdentifier(268_435_456)));
    assert!(buffer.is_empty());
}

/// [MQTT-1.5.7-1]
#[test]
fn both_halves_of_a_string_pair_are_strings() {
    for bad in ["26 0001 FF \"v\"", "26 \"k\" 0001 FF", "26 0001 00 \"v\""] {
        let packet = format!("30 [ \"t\" [ {bad} ] ]");
        assert_eq!(malformed(Version::V5, &packet), Malformed::Utf8, "{bad}");
    }
}

/// [MQTT-2.1.3-1] [MQTT311-2.2.2-1] [MQTT311-2.2.2-2] [MQTT-3.6.1-1] [MQTT311-3.6.1-1] [MQTT-3.8.1-1] [MQTT311-3.8.1-1] [MQTT-3.10.1-1] [MQTT311-3.10.1-1] [MQTT-3.14.1-1] [MQTT311-3.14.1-1] [MQTT-3.15.1-1]
#[test]
fn reserved_flags_have_the_listed_value() {
    for packet_type in (1..=15).filter_map(PacketType::from_bits) {
        if packet_type == PacketType::Publish {
            continue;
        }
        let listed = match matches!(
            packet_type,
            PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe
        ) {
            true => 2,
            false => 0,
        };
        for flags in 0..16 {
            let first_byte = [(packet_type as u8) << 4 | flags];
            // 3.1 has DUP there: the version decides, as packets.txt says.
            let may_be_one_again = listed == 2 && flags == 0b1010;
            let expected = if flags == listed || may_be_one_again {
                Ok(None)
            } else {
                Err(Malformed::FixedHeaderFlags.into())
            };
            assert_eq!(frame::split(&first_byte, u32::MAX), expected);
        }
    }
}

/// [MQTT-2.2.1-2] [MQTT311-2.3.1-5]
#[test]
fn qos_0_has_no_packet_identifier() {
    let payload = accepted(Version::V4, "30 [ \"t\" 0001 ]", |packet| {
        let Packet::Publish(publish) = packet else {
            panic!("not a PUBLISH");
        };
        (publish.packet_id, publish.payload.to_vec())
    });
    assert_eq!(payload, (None, vec![0, 1]));
    let packet = Packet::Publish(Publish {
        packet_id: PacketId::new(1),
        ..PUBLISH
    });
    let result = encode(&packet, Version::V4, &mut Vec::new());
    assert_eq!(result, Err(EncodeError::PublishFlags));
}

/// [MQTT311-2.3.1-1]
#[test]
fn packet_identifiers_are_not_zero() {
    for version in VERSIONS {
        for packet in ["32 [ \"t\" 0000 00 ]", "82 [ 0000 00 ]", "A2 [ 0000 00 ]"] {
            assert_eq!(malformed(version, packet), Malformed::PacketIdZero);
        }
        for packet in ["40 [ 0000 ]", "50 [ 0000 ]", "62 [ 0000 ]", "70 [ 0000 ]"] {
            assert_eq!(malformed(version, packet), Malformed::PacketIdZero);
        }
    }
}

/// [MQTT-2.2.2-1]
#[test]
fn no_properties_is_a_length_of_zero() {
    assert_eq!(
        encoded(&Packet::Publish(PUBLISH), Version::V5),
        "300400017400"
    );
    let connack = Packet::ConnAck(ConnAck {
        session_present: false,
        reason: ReasonCode::SUCCESS,
        properties: Properties::EMPTY,
    });
    assert_eq!(encoded(&connack, Version::V5), "2003000000");
    assert_eq!(encoded(&connack, Version::V4), "20020000");
}

/// [MQTT-3.1.2-1] [MQTT311-3.1.2-1]
#[test]
fn the_protocol_name_is_exactly_mqtt() {
    for name in ["", "mqtt", "MQTt", "MQTTT", "MQT", "MQISDP"] {
        let packet = format!("10 [ \"{name}\" 04 02 003C \"zen\" ]");
        assert_eq!(malformed(Version::V4, &packet), Malformed::ProtocolName);
    }
}

/// [MQTT-3.1.2-3] [MQTT311-3.1.2-3]
#[test]
fn the_reserved_connect_flag_is_zero() {
    for (start, rest) in [
        ("\"MQIsdp\" 03", ""),
        ("\"MQTT\" 04", ""),
        ("\"MQTT\" 05", "[]"),
    ] {
        let packet = format!("10 [ {start} 03 003C {rest} \"zen\" ]");
        assert_eq!(malformed(Version::V4, &packet), Malformed::ConnectFlags);
    }
}

/// [MQTT-3.1.2-11] [MQTT311-3.1.2-13] [MQTT-3.1.2-13] [MQTT311-3.1.2-15] [MQTT311-3.1.2-11]
#[test]
fn without_a_will_its_qos_and_retain_are_zero() {
    for flags in ["08", "10", "18", "20", "28"] {
        let packet = format!("10 [ \"MQTT\" 04 {flags} 003C \"zen\" ]");
        assert_eq!(malformed(Version::V4, &packet), Malformed::ConnectFlags);
        let packet = format!("10 [ \"MQTT\" 05 {flags} 003C [] \"zen\" ]");
        assert_eq!(malformed(Version::V5, &packet), Malformed::ConnectFlags);
    }
}

/// [MQTT-3.1.2-12] [MQTT311-3.1.2-14]
#[test]
fn the_will_qos_is_not_three() {
    let packet = "10 [ \"MQTT\" 04 1C 003C \"zen\" \"w\" \"\" ]";
    assert_eq!(malformed(Version::V4, packet), Malformed::QoS);
    let packet = "10 [ \"MQTT\" 05 1C 003C [] \"zen\" [] \"w\" \"\" ]";
    assert_eq!(malformed(Version::V5, packet), Malformed::QoS);
}

/// [MQTT-3.1.2-9] [MQTT311-3.1.2-9]
#[test]
fn the_will_flag_announces_all_fields_of_a_will() {
    for packet in [
        "10 [ \"MQTT\" 04 04 003C \"zen\" ]",
        "10 [ \"MQTT\" 04 04 003C \"zen\" \"w\" ]",
        "10 [ \"MQTT\" 05 04 003C [] \"zen\" ]",
        "10 [ \"MQTT\" 05 04 003C [] \"zen\" [] ]",
        "10 [ \"MQTT\" 05 04 003C [] \"zen\" [] \"w\" ]",
    ] {
        assert_eq!(malformed(Version::V4, packet), Malformed::Truncated);
    }
}

/// [MQTT-3.1.2-16] [MQTT311-3.1.2-18] [MQTT-3.1.2-17] [MQTT311-3.1.2-19] [MQTT-3.1.2-18] [MQTT311-3.1.2-20] [MQTT-3.1.2-19] [MQTT311-3.1.2-21]
#[test]
fn user_name_and_password_are_there_exactly_when_announced() {
    let packet = |flags, rest| format!("10 [ \"MQTT\" 04 {flags} 003C \"zen\" {rest} ]");
    for (flags, rest, expected) in [
        ("00", "\"user\"", Malformed::TrailingBytes),
        ("80", "", Malformed::Truncated),
        ("80", "\"user\" \"secret\"", Malformed::TrailingBytes),
        ("C0", "\"user\"", Malformed::Truncated),
    ] {
        assert_eq!(malformed(Version::V4, &packet(flags, rest)), expected);
    }
    let presence = |packet: Packet<'_>| {
        let Packet::Connect(connect) = packet else {
            panic!("not a CONNECT");
        };
        (connect.username.is_some(), connect.password.is_some())
    };
    for (flags, rest, expected) in [
        ("00", "", (false, false)),
        ("80", "\"\"", (true, false)),
        ("C0", "\"\" \"\"", (true, true)),
    ] {
        let packet = packet(flags, rest);
        assert_eq!(accepted(Version::V4, &packet, presence), expected);
    }
}

/// [MQTT311-3.1.2-22]
#[test]
fn before_5_0_a_password_needs_a_user_name() {
    let packet = "10 [ \"MQTT\" 04 40 003C \"zen\" \"secret\" ]";
    assert_eq!(malformed(Version::V4, packet), Malformed::ConnectFlags);
    accepted(
        Version::V5,
        "10 [ \"MQTT\" 05 40 003C [] \"zen\" \"secret\" ]",
        |packet| assert!(matches!(packet, Packet::Connect(_))),
    );
    let packet = Packet::Connect(Connect {
        password: Some(b"secret"),
        ..CONNECT
    });
    let result = encode(&packet, Version::V4, &mut Vec::new());
    assert_eq!(result, Err(EncodeError::NotInVersion));
}

/// [MQTT-3.1.3-1] [MQTT311-3.1.3-1] [MQTT-3.1.3-3] [MQTT311-3.1.3-3] [MQTT-3.1.4-1] [MQTT311-3.1.4-1]
#[test]
fn the_fields_of_a_connect_stand_in_their_order() {
    let will = Will {
        topic: "w",
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: Properties::EMPTY,
    };
    let connect = Connect {
        version: Version::V5,
        will: Some(will),
        username: Some("user"),
        password: Some(b"secret"),
        ..CONNECT
    };
    let packet = "10 [ \"MQTT\" 05 EC 003C [] \"zen\" [] \"w\" \"gone\" \"user\" \"secret\" ]";
    accepted(Version::V5, packet, |decoded| {
        assert_eq!(decoded, Packet::Connect(connect));
    });
    assert_eq!(
        encoded(&Packet::Connect(connect), Version::V5),
        hex(&bytes(packet))
    );
    let packet = "10 [ \"MQTT\" 04 02 003C ]";
    assert_eq!(malformed(Version::V4, packet), Malformed::Truncated);
}

/// [MQTT-3.1.3-4] [MQTT311-3.1.3-4] [MQTT-3.1.3-11] [MQTT311-3.1.3-10] [MQTT-3.1.3-12] [MQTT311-3.1.3-11]
#[test]
fn client_identifier_will_topic_and_user_name_are_strings() {
    for packet in [
        "10 [ \"MQTT\" 04 02 003C 0001FF ]",
        "10 [ \"MQTT\" 04 04 003C \"zen\" 0001FF \"\" ]",
        "10 [ \"MQTT\" 04 80 003C \"zen\" 0001FF ]",
        "10 [ \"MQTT\" 05 02 003C [] 0001FF ]",
        "10 [ \"MQTT\" 05 04 003C [] \"zen\" [] 0001FF \"\" ]",
        "10 [ \"MQTT\" 05 80 003C [] \"zen\" 0001FF ]",
    ] {
        assert_eq!(malformed(Version::V4, packet), Malformed::Utf8);
    }
}

/// [MQTT-3.2.2-1]
#[test]
fn connack_has_one_flag() {
    for flags in 1..8 {
        let byte = 1 << flags;
        let packet = format!("20 [ {byte:02x} 00 ]");
        assert_eq!(malformed(Version::V4, &packet), Malformed::ConnAckFlags);
        let packet = format!("20 [ {byte:02x} 00 [] ]");
        assert_eq!(malformed(Version::V5, &packet), Malformed::ConnAckFlags);
    }
}

/// [MQTT-3.2.2-6] [MQTT311-3.2.2-4]
#[test]
fn a_refusal_never_says_session_present() {
    let connack = |reason| {
        Packet::ConnAck(ConnAck {
            session_present: true,
            reason,
            properties: Properties::EMPTY,
        })
    };
    let (yes, no) = (ReasonCode::SUCCESS, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(encoded(&connack(yes), Version::V5), "2003010000");
    assert_eq!(encoded(&connack(no), Version::V5), "2003008700");
    assert_eq!(encoded(&connack(yes), Version::V4), "20020100");
    assert_eq!(encoded(&connack(no), Version::V4), "20020005");
    assert_eq!(encoded(&connack(yes), Version::V3), "20020000");
}

/// [MQTT-3.2.2-8] [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-3.9.3-2] [MQTT-3.11.3-2] [MQTT-3.14.2-1] [MQTT-3.15.2-1]
#[test]
fn each_packet_carries_the_reason_codes_of_its_own_table() {
    let connack = "00 80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F";
    let puback = "00 10 80 83 87 90 91 97 99";
    // 8C is in the overview of 2.4 only.
    let disconnect = "00 04 80 81 82 83 87 89 8B 8C 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F \
                      A0 A1 A2";
    for (packet_type, codes, start, end) in [
        (PacketType::ConnAck, connack, "20 [ 00", "[] ]"),
        (PacketType::PubAck, puback, "40 [ 0001", "]"),
        (PacketType::PubRec, puback, "50 [ 0001", "]"),
        (PacketType::PubRel, "00 92", "62 [ 0001", "]"),
        (PacketType::PubComp, "00 92", "70 [ 0001", "]"),
        (
            PacketType::SubAck,
            "00 01 02 80 83 87 8F 91 97 9E A1 A2",
            "90 [ 0001 []",
            "]",
        ),
        (
            PacketType::UnsubAck,
            "00 11 80 83 87 8F 91",
            "B0 [ 0001 []",
            "]",
        ),
        (PacketType::Disconnect, disconnect, "E0 [", "]"),
        (PacketType::Auth, "00 18 19", "F0 [", "[] ]"),
    ] {
        let codes = bytes(codes);
        for code in 0..=u8::MAX {
            let expected = codes.contains(&code);
            assert_eq!(ReasonCode(code).belongs_in(packet_type), expected);
            let packet = format!("{start} {code:02x} {end}");
            match expected {
                true => accepted(Version::V5, &packet, |packet| {
                    assert_eq!(packet.packet_type(), packet_type);
                }),
                false => assert_eq!(malformed(Version::V5, &packet), Malformed::ReasonCode),
            }
        }
    }
    let ack = Ack::new(PacketId::FIRST, ReasonCode::SERVER_BUSY);
    let result = encode(&Packet::PubAck(ack), Version::V5, &mut Vec::new());
    assert_eq!(result, Err(EncodeError::ReasonCode));
}

#[test]
fn every_reason_has_a_return_code_and_every_return_code_a_reason() {
    for (reason, code) in [
        (0x00, 0),
        (0x84, 1),
        (0x85, 2),
        (0x88, 3),
        (0x86, 4),
        (0x87, 5),
    ] {
        assert_eq!(ReasonCode(reason).to_return_code(), code);
        assert_eq!(ReasonCode::from_return_code(code), Some(ReasonCode(reason)));
    }
    for (reason, code) in [
        (0x89, 3),
        (0x97, 3),
        (0x9F, 3),
        (0x8A, 5),
        (0x82, 5),
        (0x8C, 4),
    ] {
        assert_eq!(ReasonCode(reason).to_return_code(), code);
    }
    assert_eq!(ReasonCode::from_return_code(6), None);
}

/// [MQTT-3.3.1-2] [MQTT311-3.3.1-2]
#[test]
fn dup_is_not_set_at_qos_0() {
    for version in VERSIONS {
        assert_eq!(
            malformed(version, "38 [ \"t\" 00 ]"),
            Malformed::DupAtMostOnce
        );
        assert_eq!(
            malformed(version, "39 [ \"t\" 00 ]"),
            Malformed::DupAtMostOnce
        );
        let packet = Packet::Publish(Publish {
            dup: true,
            ..PUBLISH
        });
        let result = encode(&packet, version, &mut Vec::new());
        assert_eq!(result, Err(EncodeError::PublishFlags));
    }
}

/// [MQTT-3.3.1-4] [MQTT311-3.3.1-4]
#[test]
fn qos_3_does_not_exist() {
    for first_byte in [0x36, 0x37, 0x3E, 0x3F] {
        let split = frame::split(&[first_byte], u32::MAX).map(drop);
        assert_eq!(split, Err(Malformed::QoS.into()));
    }
}

/// [MQTT-3.3.2-1] [MQTT311-3.3.2-1]
#[test]
fn a_publish_starts_with_its_topic_name() {
    for version in VERSIONS {
        assert_eq!(malformed(version, "30 [ ]"), Malformed::Truncated);
        assert_eq!(malformed(version, "30 [ 0002 'a' ]"), Malformed::Truncated);
        assert_eq!(malformed(version, "30 [ 0001 FF 00 ]"), Malformed::Utf8);
    }
}

/// [MQTT-3.3.2-8]
#[test]
fn a_topic_alias_is_not_zero() {
    let packet = "30 [ \"t\" [ 23 0000 ] ]";
    assert_eq!(refusal(Version::V5, packet), Violation::TopicAlias);
}

/// [MQTT-3.3.2-13] [MQTT-3.3.2-14] [MQTT-3.3.2-19]
#[test]
fn response_topic_and_content_type_are_strings_and_the_topic_has_no_wildcards() {
    for packet in ["30 [ \"t\" [ 08 0001FF ] ]", "30 [ \"t\" [ 03 0001FF ] ]"] {
        assert_eq!(malformed(Version::V5, packet), Malformed::Utf8);
    }
    for topic in ["#", "a/#", "+", "a+b", ""] {
        let packet = format!("30 [ \"t\" [ 08 \"{topic}\" ] ]");
        assert_eq!(refusal(Version::V5, &packet), Violation::PropertyValue);
    }
}

/// [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20] [MQTT-3.1.3-10]
#[test]
fn what_belongs_to_the_message_is_forwarded_unaltered_and_in_order() {
    let kept = "26 \"z\" \"1\" 01 01 26 \"a\" \"2\" 08 \"re\" 09 \"id\" 03 \"text\" 26 \"z\" \"1\"";
    let list = format!("02 0000003C {kept} 23 0001 0B 05 26 \"end\" \"\" 0B 8001");
    let list = bytes(&list);
    let properties = Properties::decode(&list, PropertyContext::Publish).expect("good");
    let mut out = Vec::new();
    properties.forwardable(&mut out);
    assert_eq!(hex(&out), hex(&bytes(&format!("{kept} 26 \"end\" \"\""))));
    assert!(!properties.is_forwardable());

    let list = bytes(&format!("{kept} 18 00000005"));
    let properties = Properties::decode(&list, PropertyContext::Will).expect("good");
    let mut out = Vec::new();
    properties.forwardable(&mut out);
    assert_eq!(hex(&out), hex(&bytes(kept)));

    let kept = bytes(kept);
    let properties = Properties::decode(&kept, PropertyContext::Publish).expect("good");
    assert!(properties.is_forwardable());
}

/// [MQTT-3.8.3-1] [MQTT311-3.8.3-1] [MQTT-3.10.3-1] [MQTT311-3.10.3-1]
#[test]
fn topic_filters_are_strings() {
    for packet in ["82 [ 0001 \"a\" 00 0001FF 00 ]", "A2 [ 0001 \"a\" 0001FF ]"] {
        assert_eq!(malformed(Version::V4, packet), Malformed::Utf8);
    }
    for packet in [
        "82 [ 0001 [] \"a\" 00 0001FF 00 ]",
        "A2 [ 0001 [] \"a\" 0001FF ]",
    ] {
        assert_eq!(malformed(Version::V5, packet), Malformed::Utf8);
    }
}

/// [MQTT-3.8.3-2] [MQTT311-3.8.3-3] [MQTT-3.10.3-2] [MQTT311-3.10.3-2]
#[test]
fn requests_have_at_least_one_filter() {
    for (version, packet) in [
        (Version::V3, "82 [ 0001 ]"),
        (Version::V4, "82 [ 0001 ]"),
        (Version::V5, "82 [ 0001 [] ]"),
        (Version::V3, "A2 [ 0001 ]"),
        (Version::V4, "A2 [ 0001 ]"),
        (Version::V5, "A2 [ 0001 [] ]"),
    ] {
        assert_eq!(refusal(version, packet), Violation::NoTopicFilter);
    }
}

/// [MQTT-3.8.3-5] [MQTT311-3.8.3-4]
#[test]
fn subscription_options_use_no_reserved_bit_or_value() {
    for byte in 0..=u8::MAX {
        let before_5 = format!("82 [ 0001 \"a\" {byte:02x} ]");
        let in_5 = format!("82 [ 0001 [] \"a\" {byte:02x} ]");
        let valid_in_5 = byte & 0xC0 == 0 && byte & 0x03 != 3 && byte & 0x30 != 0x30;
        for (version, packet, valid) in [
            (Version::V3, &before_5, byte <= 2),
            (Version::V4, &before_5, byte <= 2),
            (Version::V5, &in_5, valid_in_5),
        ] {
            match valid {
                true => accepted(version, packet, |packet| {
                    assert_eq!(packet.packet_type(), PacketType::Subscribe);
                }),
                false => assert_eq!(malformed(version, packet), Malformed::SubscriptionOptions),
            }
        }
    }
}

#[test]
fn before_5_0_a_subscription_says_its_qos_alone() {
    let mut buffer = SubscribeBuffer::new();
    let options = SubscribeOptions {
        maximum_qos: QoS::AtLeastOnce,
        no_local: true,
        ..SubscribeOptions::default()
    };
    assert!(buffer.push("a", options));
    let only = |version| buffer.as_filters(version).iter().next().expect("one");
    assert_eq!(only(Version::V5), ("a", options));
    assert!(!only(Version::V4).1.no_local);
    assert_eq!(buffer.as_filters(Version::V4).len(), 1);
}

/// [MQTT311-3.9.3-2]
#[test]
fn before_5_0_suback_knows_four_return_codes() {
    for code in 0..=u8::MAX {
        let packet = format!("90 [ 0001 {code:02x} ]");
        match code {
            0 | 1 | 2 | 0x80 => accepted(Version::V4, &packet, |decoded| {
                assert_eq!(encoded(&decoded, Version::V4), hex(&bytes(&packet)));
            }),
            _ => assert_eq!(malformed(Version::V4, &packet), Malformed::ReasonCode),
        }
    }
}

#[test]
fn what_cannot_be_said_is_an_encode_error_and_leaves_the_output_alone() {
    let long = "x".repeat(65_536);
    let mut wrong = PropertyBuffer::new();
    assert!(wrong.push(Property::TopicAlias(1)));
    let mut too_many = PropertyBuffer::new();
    assert!(!too_many.push(Property::ReasonString(&long)));
    let auth = whimbrel_core::codec::packet::Auth {
        reason: ReasonCode::SUCCESS,
        properties: Properties::EMPTY,
    };
    let disconnect = whimbrel_core::codec::packet::Disconnect {
        reason: ReasonCode::SERVER_BUSY,
        properties: Properties::EMPTY,
    };
    let huge = vec![0; 268_435_455];
    for (packet, version, expected) in [
        (Packet::Auth(auth), Version::V4, EncodeError::NotInVersion),
        (
            Packet::Disconnect(disconnect),
            Version::V4,
            EncodeError::NotInVersion,
        ),
        (
            Packet::Publish(Publish {
                payload: &huge,
                ..PUBLISH
            }),
            Version::V4,
            EncodeError::TooLarge,
        ),
        (
            Packet::Publish(Publish {
                topic: &long,
                ..PUBLISH
            }),
            Version::V4,
            EncodeError::FieldTooLong,
        ),
        (
            Packet::Publish(Publish {
                qos: QoS::AtLeastOnce,
                ..PUBLISH
            }),
            Version::V4,
            EncodeError::PublishFlags,
        ),
        (
            Packet::Connect(Connect {
                client_id: &long,
                ..CONNECT
            }),
            Version::V4,
            EncodeError::FieldTooLong,
        ),
        (
            Packet::PubAck(Ack {
                properties: wrong.as_properties(),
                ..Ack::new(PacketId::FIRST, ReasonCode::SUCCESS)
            }),
            Version::V5,
            EncodeError::Property,
        ),
    ] {
        let mut out = b"kept".to_vec();
        assert_eq!(encode(&packet, version, &mut out), Err(expected));
        assert_eq!(out, b"kept");
    }
}
