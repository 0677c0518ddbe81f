//! Random packets. [`AnyPacket`] owns what a packet of each type borrows.

use quickcheck::{Arbitrary, Gen};
use whimbrel_core::codec::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, PacketType, Publish, QoS, RetainHandling, SubAck,
    Subscribe, SubscribeOptions, Unsubscribe, Version, Will,
};
use whimbrel_core::codec::{
    Packet, Properties, Property, PropertyBuffer, PropertyContext, ReasonCode, SubscribeBuffer,
    UnsubscribeBuffer,
};
use whimbrel_core::id::PacketId;

/// A packet that `version` can say.
#[derive(Clone, Debug)]
pub(crate) struct AnyPacket {
    pub(crate) version: Version,
    packet_type: PacketType,
    flags: [bool; 4],
    number: u16,
    packet_id: PacketId,
    qos: QoS,
    texts: [String; 3],
    binaries: [Vec<u8>; 2],
    reason: ReasonCode,
    reasons: Vec<u8>,
    properties: PropertyBuffer,
    will_properties: PropertyBuffer,
    filters: SubscribeBuffer,
    names: UnsubscribeBuffer,
}

impl AnyPacket {
    pub(crate) fn as_packet(&self) -> Packet<'_> {
        match self.packet_type {
            PacketType::Connect => Packet::Connect(self.connect()),
            PacketType::ConnAck => Packet::ConnAck(ConnAck {
                session_present: self.flags[0]
                    && self.reason == ReasonCode::SUCCESS
                    && self.version != Version::V3,
                reason: self.reason,
                properties: self.properties(),
            }),
            PacketType::Publish => Packet::Publish(self.publish()),
            PacketType::PubAck => Packet::PubAck(self.ack()),
            PacketType::PubRec => Packet::PubRec(self.ack()),
            PacketType::PubRel => Packet::PubRel(self.ack()),
            PacketType::PubComp => Packet::PubComp(self.ack()),
            PacketType::Subscribe => Packet::Subscribe(Subscribe {
                packet_id: self.packet_id,
                properties: self.properties(),
                filters: self.filters.as_filters(self.version),
            }),
            PacketType::SubAck => Packet::SubAck(self.suback()),
            PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe {
                packet_id: self.packet_id,
                properties: self.properties(),
                filters: self.names.as_filters(self.version),
            }),
            PacketType::UnsubAck => Packet::UnsubAck(self.suback()),
            PacketType::PingReq => Packet::PingReq,
            PacketType::PingResp => Packet::PingResp,
            PacketType::Disconnect => Packet::Disconnect(Disconnect {
                reason: self.reason,
                properties: self.properties(),
            }),
            PacketType::Auth => Packet::Auth(Auth {
                reason: self.reason,
                properties: self.properties(),
            }),
        }
    }

    fn properties(&self) -> Properties<'_> {
        self.properties.as_properties()
    }

    fn connect(&self) -> Connect<'_> {
        let [client_id, topic, username] = &self.texts;
        let username = self.flags[1].then_some(username.as_str());
        let with_password = self.flags[2] && (username.is_some() || self.version == Version::V5);
        Connect {
            version: self.version,
            clean_start: self.flags[0],
            keep_alive_s: self.number,
            client_id,
            will: self.flags[3].then_some(Will {
                topic,
                payload: &self.binaries[0],
                qos: self.qos,
                retain: self.number < 0x8000,
                properties: self.will_properties.as_properties(),
            }),
            username,
            password: with_password.then_some(&self.binaries[1]),
            properties: self.properties(),
        }
    }

    fn publish(&self) -> Publish<'_> {
        let at_most_once = self.qos == QoS::AtMostOnce;
        Publish {
            dup: self.flags[0] && !at_most_once,
            qos: self.qos,
            retain: self.flags[1],
            topic: &self.texts[0],
            packet_id: (!at_most_once).then_some(self.packet_id),
            properties: self.properties(),
            payload: &self.binaries[0],
        }
    }

    fn ack(&self) -> Ack<'_> {
        Ack {
            packet_id: self.packet_id,
            reason: self.reason,
            properties: self.properties(),
        }
    }

    fn suback(&self) -> SubAck<'_> {
        SubAck {
            packet_id: self.packet_id,
            properties: self.properties(),
            reasons: &self.reasons,
        }
    }
}

impl Arbitrary for AnyPacket {
    fn arbitrary(g: &mut Gen) -> Self {
        let version = *g
            .choose(&[Version::V3, Version::V4, Version::V5])
            .expect("not empty");
        let last_type = if version == Version::V5 { 15 } else { 14 };
        let packet_type =
            PacketType::from_bits(u8::arbitrary(g) % last_type + 1).expect("between 1 and 15");
        let context = context_of(packet_type);
        let mut filters = SubscribeBuffer::new();
        let mut names = UnsubscribeBuffer::new();
        for _ in 0..=u8::arbitrary(g) % 4 {
            let filter = text(g);
            filters.push(&filter, options(g));
            names.push(&filter);
        }
        Self {
            version,
            packet_type,
            flags: [(); 4].map(|()| bool::arbitrary(g)),
            number: u16::arbitrary(g),
            packet_id: PacketId::new(u16::arbitrary(g)).unwrap_or(PacketId::FIRST),
            qos: qos(g),
            texts: [(); 3].map(|()| text(g)),
            binaries: [(); 2].map(|()| Vec::arbitrary(g)),
            reason: reason(g, packet_type, version),
            reasons: reasons(g, packet_type, version),
            properties: properties(g, context, version),
            will_properties: properties(g, Some(PropertyContext::Will), version),
            filters,
            names,
        }
    }
}

fn context_of(packet_type: PacketType) -> Option<PropertyContext> {
    Some(match packet_type {
        PacketType::Connect => PropertyContext::Connect,
        PacketType::ConnAck => PropertyContext::ConnAck,
        PacketType::Publish => PropertyContext::Publish,
        PacketType::PubAck => PropertyContext::PubAck,
        PacketType::PubRec => PropertyContext::PubRec,
        PacketType::PubRel => PropertyContext::PubRel,
        PacketType::PubComp => PropertyContext::PubComp,
        PacketType::Subscribe => PropertyContext::Subscribe,
        PacketType::SubAck => PropertyContext::SubAck,
        PacketType::Unsubscribe => PropertyContext::Unsubscribe,
        PacketType::UnsubAck => PropertyContext::UnsubAck,
        PacketType::Disconnect => PropertyContext::Disconnect,
        PacketType::Auth => PropertyContext::Auth,
        PacketType::PingReq | PacketType::PingResp => return None,
    })
}

pub(crate) fn text(g: &mut Gen) -> String {
    String::arbitrary(g).replace('\0', "")
}

fn qos(g: &mut Gen) -> QoS {
    QoS::from_bits(u8::arbitrary(g) % 3).expect("between 0 and 2")
}

fn options(g: &mut Gen) -> SubscribeOptions {
    SubscribeOptions {
        maximum_qos: qos(g),
        no_local: bool::arbitrary(g),
        retain_as_published: bool::arbitrary(g),
        retain_handling: RetainHandling::from_bits(u8::arbitrary(g) % 3).expect("between 0 and 2"),
    }
}

fn reason(g: &mut Gen, packet_type: PacketType, version: Version) -> ReasonCode {
    if version != Version::V5 {
        let return_code = (packet_type == PacketType::ConnAck).then(|| u8::arbitrary(g) % 6);
        let reason = return_code.and_then(ReasonCode::from_return_code);
        return reason.unwrap_or(ReasonCode::SUCCESS);
    }
    let possible: Vec<_> = (0..=u8::MAX)
        .map(ReasonCode)
        .filter(|reason| reason.belongs_in(packet_type))
        .collect();
    *g.choose(&possible).unwrap_or(&ReasonCode::SUCCESS)
}

fn reasons(g: &mut Gen, packet_type: PacketType, version: Version) -> Vec<u8> {
    let len = 1 + usize::arbitrary(g) % 4;
    match (version, packet_type) {
        (Version::V5, _) => (0..len)
            .map(|_| reason(g, packet_type, version).0)
            .collect(),
        (_, PacketType::UnsubAck) => Vec::new(),
        _ => {
            let codes = [0x00, 0x01, 0x02, 0x80];
            (0..len)
                .map(|_| *g.choose(&codes).expect("not empty"))
                .collect()
        }
    }
}

/// Tries random properties, and keeps those that are welcome where they are to stand.
pub(crate) fn properties(
    g: &mut Gen,
    context: Option<PropertyContext>,
    version: Version,
) -> PropertyBuffer {
    let mut kept = PropertyBuffer::new();
    let (Some(context), Version::V5) = (context, version) else {
        return kept;
    };
    for _ in 0..u8::arbitrary(g) % 32 {
        let texts = [text(g), text(g)];
        let data = Vec::arbitrary(g);
        let mut longer = kept.clone();
        longer.push(property(g, &texts, &data));
        if Properties::decode(longer.as_properties().as_bytes(), context).is_ok() {
            kept = longer;
        }
    }
    kept
}

fn property<'a>(g: &mut Gen, texts: &'a [String; 2], data: &'a [u8]) -> Property<'a> {
    let flag = bool::arbitrary(g);
    let [first, second] = texts;
    match u8::arbitrary(g) % 27 {
        0 => Property::PayloadFormatIndicator(flag),
        1 => Property::MessageExpiryInterval(u32::arbitrary(g)),
        2 => Property::ContentType(first),
        3 => Property::ResponseTopic(first),
        4 => Property::CorrelationData(data),
        5 => Property::SubscriptionIdentifier(u32::arbitrary(g) >> (u8::arbitrary(g) % 32)),
        6 => Property::SessionExpiryInterval(u32::arbitrary(g)),
        7 => Property::AssignedClientIdentifier(first),
        8 => Property::ServerKeepAlive(u16::arbitrary(g)),
        9 => Property::AuthenticationMethod(first),
        10 => Property::AuthenticationData(data),
        11 => Property::RequestProblemInformation(flag),
        12 => Property::WillDelayInterval(u32::arbitrary(g)),
        13 => Property::RequestResponseInformation(flag),
        14 => Property::ResponseInformation(first),
        15 => Property::ServerReference(first),
        16 => Property::ReasonString(first),
        17 => Property::ReceiveMaximum(u16::arbitrary(g)),
        18 => Property::TopicAliasMaximum(u16::arbitrary(g)),
        19 => Property::TopicAlias(u16::arbitrary(g)),
        20 => Property::MaximumQoS(qos(g)),
        21 => Property::RetainAvailable(flag),
        22 => Property::UserProperty(first, second),
        23 => Property::MaximumPacketSize(u32::arbitrary(g)),
        24 => Property::WildcardSubscriptionAvailable(flag),
        25 => Property::SubscriptionIdentifierAvailable(flag),
        _ => Property::SharedSubscriptionAvailable(flag),
    }
}
