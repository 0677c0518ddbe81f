//! Whether a packet that came is the one that was expected, as far as the standard leaves no
//! choice.

use whimbrel_core::codec::packet::{Packet, PacketType, Version};
use whimbrel_core::codec::property::{Properties, Property};
use whimbrel_core::codec::{self, ReasonCode, frame};

/// Takes the first whole packet off the front.
pub(crate) fn take_packet(inbox: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (_, length) = frame::split(inbox, u32::MAX).ok()??;
    Some(inbox.drain(..length).collect())
}

/// The packet in these bytes, which must be all of them.
pub(crate) fn parse(version: Version, bytes: &[u8]) -> Option<Packet<'_>> {
    let (frame, length) = frame::split(bytes, u32::MAX).ok()??;
    let packet = codec::decode(version, frame).ok()?;
    (length == bytes.len()).then_some(packet)
}

/// Whether this is how a broker says no before it closes.
pub(crate) fn is_refusal(version: Version, bytes: &[u8]) -> bool {
    match parse_any(version, bytes) {
        Some(Packet::ConnAck(answer)) => answer.reason.is_error(),
        Some(Packet::Disconnect(disconnect)) => disconnect.reason.is_error(),
        _ => false,
    }
}

/// A client of an unknown version may be answered in the words of 5.0.
fn parse_any(version: Version, bytes: &[u8]) -> Option<Packet<'_>> {
    parse(version, bytes).or_else(|| parse(Version::V5, bytes))
}

/// Which type of packet a byte begins.
pub(crate) fn packet_type(bytes: &[u8]) -> Option<PacketType> {
    PacketType::from_bits(bytes.first()? >> 4)
}

/// Whether `came` says what `expected` says.
pub(crate) fn agree(version: Version, expected: &[u8], came: &[u8]) -> bool {
    if expected == came {
        return true;
    }
    let (Some(expected), Some(came)) = (parse_any(version, expected), parse_any(version, came))
    else {
        return false;
    };
    match (expected, came) {
        // What a broker announces is its own affair.
        (Packet::ConnAck(expected), Packet::ConnAck(came)) => {
            expected.session_present == came.session_present
                && same_reason(expected.reason, came.reason)
        }
        (Packet::Publish(expected), Packet::Publish(came)) => {
            let bare = |mut publish: codec::packet::Publish<'_>| {
                publish.properties = Properties::EMPTY;
                format!("{publish:?}")
            };
            bare(expected) == bare(came) && sorted(expected.properties) == sorted(came.properties)
        }
        (Packet::PubAck(expected), Packet::PubAck(came))
        | (Packet::PubRec(expected), Packet::PubRec(came))
        | (Packet::PubRel(expected), Packet::PubRel(came))
        | (Packet::PubComp(expected), Packet::PubComp(came)) => {
            let same = [expected.reason, came.reason]
                .iter()
                .all(|reason| CHOICES.contains(reason));
            expected.packet_id == came.packet_id && (same || expected.reason == came.reason)
        }
        (Packet::SubAck(expected), Packet::SubAck(came))
        | (Packet::UnsubAck(expected), Packet::UnsubAck(came)) => {
            expected.packet_id == came.packet_id && expected.reasons == came.reasons
        }
        (Packet::Disconnect(expected), Packet::Disconnect(came)) => {
            same_reason(expected.reason, came.reason)
        }
        (Packet::Auth(expected), Packet::Auth(came)) => expected.reason == came.reason,
        (expected, came) => expected == came,
    }
}

/// What an acknowledgement may say in place of success: that nobody has subscribed (MQTT 5.0
/// §3.4.2.1), or that the identifier is not known (§3.6.2.1). A broker need not know either.
const CHOICES: [ReasonCode; 3] = [
    ReasonCode::SUCCESS,
    ReasonCode::NO_MATCHING_SUBSCRIBERS,
    ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
];

/// Malformed packet and protocol error say the same to a peer that is at fault, and a more specific
/// code may always take the place of a general one (MQTT 5.0 §4.13.1).
fn same_reason(expected: ReasonCode, came: ReasonCode) -> bool {
    const GENERAL: [ReasonCode; 2] = [ReasonCode::MALFORMED_PACKET, ReasonCode::PROTOCOL_ERROR];
    const SPECIFIC: [ReasonCode; 4] = [
        ReasonCode::TOPIC_NAME_INVALID,
        ReasonCode::TOPIC_FILTER_INVALID,
        ReasonCode::TOPIC_ALIAS_INVALID,
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
    ];
    expected == came
        || GENERAL.contains(&expected) && (GENERAL.contains(&came) || SPECIFIC.contains(&came))
}

/// The order of properties does not matter, but for user properties among themselves.
fn sorted(properties: Properties<'_>) -> Vec<String> {
    let mut texts: Vec<(bool, String)> = properties
        .iter()
        .map(|property| {
            let is_user = matches!(property, Property::UserProperty(..));
            (is_user, format!("{property:?}"))
        })
        .collect();
    texts.sort_by(|(a_user, a), (b_user, b)| {
        a_user.cmp(b_user).then_with(|| {
            if *a_user {
                core::cmp::Ordering::Equal
            } else {
                a.cmp(b)
            }
        })
    });
    texts.into_iter().map(|(_, text)| text).collect()
}
