//! Single packets, each sent by a client: taken, or the connection is closed.

use crate::Played;
use crate::compare::packet_type;
use crate::line::Venue;
use crate::sequences::{bytes_of, is_taken, version_of};
use serde_json::Value;
use whimbrel_core::codec::packet::PacketType;

/// Plays those lines that are about what a server does with a packet of a client.
pub(crate) fn play_all(venue: &mut dyn Venue, lines: &[Value]) -> Vec<Played> {
    lines.iter().filter_map(|line| play(venue, line)).collect()
}

fn play(venue: &mut dyn Venue, case: &Value) -> Option<Played> {
    let valid = match case["verdict"].as_str().or_else(|| case["kind"].as_str())? {
        "valid" | "valid-decode" => true,
        "invalid" => false,
        _ => return None,
    };
    // Cases for encoders or for rules about content are not about the bytes.
    if !matches!(case["use"].as_str(), None | Some("both" | "decode")) {
        return None;
    }
    let bytes = bytes_of(&case["hex"]);
    let is_for_servers = match packet_type(&bytes)? {
        PacketType::ConnAck | PacketType::SubAck | PacketType::UnsubAck | PacketType::PingResp => {
            false
        }
        // A DISCONNECT that is refused looks like one that is taken.
        PacketType::Disconnect => valid,
        _ => true,
    };
    if !is_for_servers {
        return None;
    }
    let outcome = match is_taken(venue, version_of(case), &bytes) {
        Ok(taken) if taken == valid => Ok(()),
        Ok(true) => Err("taken".to_owned()),
        Ok(false) => Err("refused".to_owned()),
        Err(what) => Err(what),
    };
    // The first 16 bytes tell cases of one description apart.
    let hex = case["hex"].as_str()?;
    let name = format!("{} {}", case["version"], hex.get(..32).unwrap_or(hex));
    let group = case["desc"].as_str()?.to_owned();
    Some((group, name, outcome))
}
