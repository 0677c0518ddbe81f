//! What clients in a script say: packets that are mostly right, from a small world of names.

use crate::fuzz::script::Script;
use whimbrel_core::codec::packet::{
    Ack, Auth, Connect, Disconnect, Packet, Publish, QoS, RetainHandling, Subscribe,
    SubscribeOptions, Unsubscribe, Version, Will,
};
use whimbrel_core::codec::property::{Property, PropertyBuffer};
use whimbrel_core::codec::{self, Properties, ReasonCode, SubscribeBuffer, UnsubscribeBuffer};
use whimbrel_core::id::PacketId;

pub(super) const TOPICS: [&str; 8] = ["a", "a/b", "a/c", "b", "$x/a", "a/b/c/d", "é", ""];
pub(super) const FILTERS: [&str; 16] = [
    "a",
    "#",
    "+",
    "a/+",
    "a/#",
    "a/b",
    "b",
    "+/b",
    "$x/#",
    "$share/g/a",
    "$share/g/#",
    "$share/h/a/+",
    "$share/g/a/b",
    "a/+/+/d",
    "$share/bad",
    "a#",
];
const CLIENTS: [&str; 6] = ["one", "two", "three", "four", "five", ""];
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const TEXT: &str = "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz";

/// A CONNECT, and what it promises to keep to.
pub(super) struct Introduction {
    pub(super) version: Version,
    pub(super) receive_maximum: u16,
    pub(super) packet_maximum: Option<u32>,
}

fn bytes_of(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What cannot be said in this version is not said.
    let _ = codec::encode(packet, version, &mut bytes);
    bytes
}

fn packet_id(script: &mut Script<'_>) -> PacketId {
    PacketId::new(u16::from(script.u8() & 7) + 1).expect("at least 1")
}

/// CONNECT.
pub(super) fn connect(script: &mut Script<'_>) -> (Vec<u8>, Introduction) {
    let version = script.choose(&[Version::V5, Version::V4, Version::V3]);
    let client_id = script.choose(&CLIENTS);
    let flags = script.u8();
    let mut introduction = Introduction {
        version,
        receive_maximum: u16::MAX,
        packet_maximum: None,
    };
    let (mut properties, mut will_properties) = (PropertyBuffer::new(), PropertyBuffer::new());
    if version == Version::V5 {
        properties.push(Property::SessionExpiryInterval(script.choose(&[
            0,
            5,
            100,
            u32::MAX,
        ])));
        if flags & 1 != 0 {
            introduction.receive_maximum = script.choose(&[1, 2, 10]);
            properties.push(Property::ReceiveMaximum(introduction.receive_maximum));
        }
        if flags & 2 != 0 {
            introduction.packet_maximum = Some(script.choose(&[40, 200]));
            let maximum = introduction.packet_maximum.unwrap_or_default();
            properties.push(Property::MaximumPacketSize(maximum));
        }
        if flags & 4 != 0 {
            properties.push(Property::TopicAliasMaximum(script.choose(&[1, 5])));
        }
        if flags & 8 != 0 {
            properties.push(Property::AuthenticationMethod("M"));
        }
        will_properties.push(Property::WillDelayInterval(script.choose(&[0, 1, 100])));
    }
    let payload = &TEXT[..script.below(TEXT.len())];
    let will = (flags & 16 != 0).then(|| Will {
        topic: script.choose(&TOPICS),
        payload: payload.as_bytes(),
        qos: script.choose(&QOS),
        retain: flags & 32 != 0,
        properties: will_properties.as_properties(),
    });
    let connect = Connect {
        version,
        clean_start: flags & 64 != 0,
        keep_alive_s: script.choose(&[0, 1, 30]),
        client_id,
        will,
        username: (flags & 128 != 0).then_some("user"),
        password: None,
        properties: properties.as_properties(),
    };
    (bytes_of(&Packet::Connect(connect), version), introduction)
}

/// PUBLISH.
pub(super) fn publish(script: &mut Script<'_>, version: Version) -> Vec<u8> {
    let topic = script.choose(&TOPICS);
    let flags = script.u8();
    let qos = QOS[usize::from(flags & 3) % 3];
    let mut properties = PropertyBuffer::new();
    if version == Version::V5 {
        if flags & 16 != 0 {
            properties.push(Property::MessageExpiryInterval(script.choose(&[
                1,
                10,
                0,
                u32::MAX,
            ])));
        }
        if flags & 32 != 0 {
            properties.push(Property::TopicAlias(script.choose(&[1, 2, 64])));
        }
        if flags & 64 != 0 {
            for _ in 0..script.below(6) {
                properties.push(Property::UserProperty("name", "value"));
            }
        }
    }
    let length = script.below(TEXT.len());
    let payload = TEXT.as_bytes()[..length].repeat(if flags & 128 != 0 { 8 } else { 1 });
    let publish = Publish {
        dup: flags & 8 != 0 && qos != QoS::AtMostOnce,
        qos,
        retain: flags & 4 != 0,
        topic,
        packet_id: (qos != QoS::AtMostOnce).then(|| packet_id(script)),
        properties: properties.as_properties(),
        payload: &payload,
    };
    bytes_of(&Packet::Publish(publish), version)
}

/// SUBSCRIBE.
pub(super) fn subscribe(script: &mut Script<'_>, version: Version) -> Vec<u8> {
    let mut filters = SubscribeBuffer::new();
    for _ in 0..=script.below(3) {
        let flags = script.u8();
        let options = SubscribeOptions {
            maximum_qos: QOS[usize::from(flags & 3) % 3],
            no_local: version == Version::V5 && flags & 0b1100 == 0b1100,
            retain_as_published: version == Version::V5 && flags & 16 != 0,
            retain_handling: match (version, flags >> 6) {
                (Version::V5, 1) => RetainHandling::SendIfNew,
                (Version::V5, 2) => RetainHandling::DoNotSend,
                _ => RetainHandling::Send,
            },
        };
        filters.push(script.choose(&FILTERS), options);
    }
    let mut properties = PropertyBuffer::new();
    if version == Version::V5 && script.flag() {
        properties.push(Property::SubscriptionIdentifier(u32::from(script.u8()) + 1));
    }
    let subscribe = Subscribe {
        packet_id: packet_id(script),
        properties: properties.as_properties(),
        filters: filters.as_filters(version),
    };
    bytes_of(&Packet::Subscribe(subscribe), version)
}

/// UNSUBSCRIBE.
pub(super) fn unsubscribe(script: &mut Script<'_>, version: Version) -> Vec<u8> {
    let mut filters = UnsubscribeBuffer::new();
    for _ in 0..=script.below(2) {
        filters.push(script.choose(&FILTERS));
    }
    let unsubscribe = Unsubscribe {
        packet_id: packet_id(script),
        properties: Properties::EMPTY,
        filters: filters.as_filters(version),
    };
    bytes_of(&Packet::Unsubscribe(unsubscribe), version)
}

/// An acknowledgement of something; the kind is 0 for PUBACK to 3 for PUBCOMP.
pub(super) fn ack(kind: usize, id: PacketId, reason: ReasonCode, version: Version) -> Vec<u8> {
    let ack = Ack::new(id, reason);
    let packets = [
        Packet::PubAck(ack),
        Packet::PubRec(ack),
        Packet::PubRel(ack),
        Packet::PubComp(ack),
    ];
    bytes_of(&packets[kind], version)
}

/// Any acknowledgement, of anything.
pub(super) fn stray_ack(script: &mut Script<'_>, version: Version) -> Vec<u8> {
    let kind = script.below(4);
    ack(kind, packet_id(script), ReasonCode::SUCCESS, version)
}

/// PUBREL for what was probably sent before.
pub(super) fn pubrel(script: &mut Script<'_>, version: Version) -> Vec<u8> {
    ack(2, packet_id(script), ReasonCode::SUCCESS, version)
}

/// The small packets.
pub(super) fn other(script: &mut Script<'_>, version: Version) -> Vec<u8> {
    let mut properties = PropertyBuffer::new();
    let packet = match script.below(5) {
        0 | 1 => Packet::PingReq,
        2 => {
            if version == Version::V5 && script.flag() {
                properties.push(Property::SessionExpiryInterval(script.choose(&[0, 9])));
            }
            Packet::Disconnect(Disconnect {
                reason: script.choose(&[ReasonCode::SUCCESS, ReasonCode::DISCONNECT_WITH_WILL]),
                properties: properties.as_properties(),
            })
        }
        3 => {
            properties.push(Property::AuthenticationMethod("M"));
            Packet::Auth(Auth {
                reason: script.choose(&[
                    ReasonCode::CONTINUE_AUTHENTICATION,
                    ReasonCode::RE_AUTHENTICATE,
                ]),
                properties: properties.as_properties(),
            })
        }
        _ => Packet::PingResp,
    };
    bytes_of(&packet, version)
}
