//! One packet in a few words.

use whimbrel_core::codec::packet::{Ack, QoS, Version};
use whimbrel_core::codec::{self, Packet, ReasonCode, frame};

/// So much of a payload is shown.
const PAYLOAD_BYTES: usize = 48;

/// Says what these bytes are. Without a version, only CONNECT can be read for sure.
pub(super) fn describe(bytes: &[u8], version: Option<Version>) -> String {
    let split = frame::split(bytes, u32::MAX).ok().flatten();
    let packet =
        split.and_then(|(frame, _)| codec::decode(version.unwrap_or(Version::V4), frame).ok());
    match packet {
        Some(packet) => words(&packet),
        None => format!("{} bytes that are no packet", bytes.len()),
    }
}

/// Who connects with these bytes, if they are a CONNECT with a name.
pub(super) fn newcomer(bytes: &[u8]) -> Option<(String, Version)> {
    let (frame, _) = frame::split(bytes, u32::MAX).ok()??;
    let packet = codec::decode(Version::V4, frame).ok()?;
    let Packet::Connect(connect) = packet else {
        return None;
    };
    let client = connect.client_id.to_owned();
    (!client.is_empty()).then_some((client, connect.version))
}

fn words(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Connect(connect) => {
            let version = match connect.version {
                Version::V3 => "3.1",
                Version::V4 => "3.1.1",
                Version::V5 => "5.0",
            };
            let mut text = format!("CONNECT {version} as {:?}", connect.client_id);
            if connect.clean_start {
                text.push_str(", clean start");
            }
            if let Some(will) = &connect.will {
                text.push_str(&format!(", will to {}", will.topic));
            }
            text
        }
        Packet::ConnAck(answer) => {
            let present = if answer.session_present {
                ", session present"
            } else {
                ""
            };
            format!("CONNACK {}{present}", answer.reason)
        }
        Packet::Publish(publish) => {
            let id = publish.packet_id.map(|id| format!(" id {}", id.get()));
            let retain = if publish.retain { " retain" } else { "" };
            let dup = if publish.dup { " dup" } else { "" };
            let shown = &publish.payload[..publish.payload.len().min(PAYLOAD_BYTES)];
            format!(
                "PUBLISH {} QoS {}{}{retain}{dup}: {} bytes \"{}\"",
                topic(publish.topic),
                qos(publish.qos),
                id.unwrap_or_default(),
                publish.payload.len(),
                shown.escape_ascii()
            )
        }
        Packet::PubAck(ack) => answer("PUBACK", ack),
        Packet::PubRec(ack) => answer("PUBREC", ack),
        Packet::PubRel(ack) => answer("PUBREL", ack),
        Packet::PubComp(ack) => answer("PUBCOMP", ack),
        Packet::Subscribe(subscribe) => {
            let filters: Vec<String> = subscribe
                .filters
                .iter()
                .map(|(filter, options)| format!("{filter} QoS {}", qos(options.maximum_qos)))
                .collect();
            format!(
                "SUBSCRIBE id {}: {}",
                subscribe.packet_id.get(),
                filters.join(", ")
            )
        }
        Packet::SubAck(answer) => reasons("SUBACK", answer.packet_id.get(), answer.reasons),
        Packet::Unsubscribe(unsubscribe) => {
            let filters: Vec<&str> = unsubscribe.filters.iter().collect();
            format!(
                "UNSUBSCRIBE id {}: {}",
                unsubscribe.packet_id.get(),
                filters.join(", ")
            )
        }
        Packet::UnsubAck(answer) => reasons("UNSUBACK", answer.packet_id.get(), answer.reasons),
        Packet::PingReq => "PINGREQ".to_owned(),
        Packet::PingResp => "PINGRESP".to_owned(),
        Packet::Disconnect(disconnect) => format!("DISCONNECT {}", disconnect.reason),
        Packet::Auth(auth) => format!("AUTH {}", auth.reason),
    }
}

fn topic(topic: &str) -> &str {
    match topic {
        "" => "(alias)",
        topic => topic,
    }
}

const fn qos(qos: QoS) -> u8 {
    qos as u8
}

fn answer(name: &str, ack: &Ack<'_>) -> String {
    match ack.reason {
        ReasonCode::SUCCESS => format!("{name} id {}", ack.packet_id.get()),
        reason => format!("{name} id {}: {reason}", ack.packet_id.get()),
    }
}

fn reasons(name: &str, id: u16, reasons: &[u8]) -> String {
    let codes: Vec<String> = reasons.iter().map(|code| format!("{code:#04x}")).collect();
    format!("{name} id {id}: {}", codes.join(" "))
}
