//! Sequences: what is sent and what is to come back on one connection.

use crate::Played;
use crate::compare::{agree, is_refusal, packet_type, parse, take_packet};
use crate::line::{Line, Venue};
use serde_json::Value;
use whimbrel_core::codec::packet::{Ack, Packet, PacketType, Publish, QoS, Version};
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::codec::{self, frame};
use whimbrel_tests::world::{connect, publish};

const PINGREQ: [u8; 2] = [0xc0, 0];
const PINGRESP: [u8; 2] = [0xd0, 0];

/// One connection that is being played.
struct Player<'a> {
    venue: &'a mut dyn Venue,
    version: Version,
    line: Line,
    inbox: Vec<u8>,
    /// Whole packets that came and were not expected so far.
    pending: Vec<Vec<u8>>,
}

/// Plays one line of the data.
pub(crate) fn play(venue: &mut dyn Venue, case: &Value) -> Played {
    let text = |name: &str| case[name].as_str().unwrap_or_default().to_owned();
    (text("group"), text("name"), play_case(venue, case))
}

pub(crate) fn version_of(case: &Value) -> Version {
    match case["version"].as_u64() {
        Some(3) => Version::V3,
        Some(5) => Version::V5,
        _ => Version::V4,
    }
}

pub(crate) fn bytes_of(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap_or_default();
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok();
    pairs
        .map(|pair| byte(pair).expect("hexadecimal digits"))
        .collect()
}

fn play_case(venue: &mut dyn Venue, case: &Value) -> Result<(), String> {
    let line = venue.open();
    let mut player = Player {
        venue,
        version: version_of(case),
        line,
        inbox: Vec::new(),
        pending: Vec::new(),
    };
    if case["connect_first"] == true {
        player.connect()?;
    }
    let closes = case["expect_close"] == true;
    let empty = Vec::new();
    for step in case["steps"].as_array().unwrap_or(&empty) {
        if !step["send"].is_null() {
            player.send(&bytes_of(&step["send"]));
        } else if !step["recv"].is_null() {
            player.expect(&bytes_of(&step["recv"]), closes)?;
        } else {
            player.publish_from_outside(&step["external_publish"])?;
        }
    }
    let result = player.finish(closes);
    let line = player.line;
    player.venue.cut(line);
    result
}

impl Player<'_> {
    fn send(&mut self, bytes: &[u8]) {
        self.venue.send(self.line, bytes);
    }

    fn connect(&mut self) -> Result<(), String> {
        let mut bytes = Vec::new();
        let packet = Packet::Connect(connect(self.version, "whimbrel-wire"));
        codec::encode(&packet, self.version, &mut bytes).expect("it can be said");
        self.send(&bytes);
        match self.next() {
            Some(answer) if packet_type(&answer) == Some(PacketType::ConnAck) => Ok(()),
            other => Err(format!("no CONNACK: {other:02x?}")),
        }
    }

    /// The next packet, if one comes.
    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(packet) = take_packet(&mut self.inbox) {
                return Some(packet);
            }
            let bytes = self.venue.receive(self.line);
            if bytes.is_empty() {
                return None;
            }
            self.inbox.extend(bytes);
        }
    }

    /// Waits for a packet that says what `expected` says. Acknowledgements and messages may come in
    /// another order than with the broker that the data comes from.
    fn expect(&mut self, expected: &[u8], closes: bool) -> Result<(), String> {
        let mut place = 0;
        loop {
            while place == self.pending.len() {
                match self.next() {
                    Some(packet) => self.pending.push(packet),
                    // To close without a DISCONNECT is allowed.
                    None if closes && is_refusal(self.version, expected) => return Ok(()),
                    None => {
                        let (expected, came) = (show(self.version, expected), self.show_pending());
                        return Err(format!("expected {expected}, came {came}"));
                    }
                }
            }
            if agree(self.version, expected, &self.pending[place]) {
                self.pending.remove(place);
                return Ok(());
            }
            place += 1;
        }
    }

    fn show_pending(&self) -> String {
        let pending = self.pending.iter();
        let texts: Vec<String> = pending.map(|bytes| show(self.version, bytes)).collect();
        format!("[{}]", texts.join(", "))
    }

    /// Nothing else came, and the connection is open or closed as it should.
    fn finish(&mut self, closes: bool) -> Result<(), String> {
        if closes {
            if !self.venue.is_closed(self.line) {
                return Err(format!("still open; came {}", self.show_pending()));
            }
            while let Some(packet) = self.next() {
                self.pending.push(packet);
            }
            let version = self.version;
            self.pending.retain(|bytes| !is_refusal(version, bytes));
        } else {
            self.send(&PINGREQ);
            self.expect(&PINGRESP, false)
                .map_err(|error| format!("closed, or silent: {error}"))?;
        }
        if self.pending.is_empty() {
            Ok(())
        } else {
            Err(format!("came too: {}", self.show_pending()))
        }
    }

    /// Another client publishes.
    fn publish_from_outside(&mut self, what: &Value) -> Result<(), String> {
        let qos = QoS::from_bits(u8::try_from(what["qos"].as_u64().unwrap_or(0)).unwrap_or(0));
        let topic = what["topic"].as_str().unwrap_or_default();
        let payload = what["payload"].as_str().unwrap_or_default();
        let line = self.venue.open();
        let (version, qos) = (Version::V4, qos.unwrap_or_default());
        let mut other = Player {
            venue: self.venue,
            version,
            line,
            inbox: Vec::new(),
            pending: Vec::new(),
        };
        let mut bytes = Vec::new();
        let packets = [
            Packet::Connect(connect(version, "whimbrel-wire-publisher")),
            Packet::Publish(publish(topic, payload.as_bytes(), qos, 1)),
        ];
        for packet in &packets {
            codec::encode(packet, version, &mut bytes).expect("it can be said");
        }
        if qos == QoS::ExactlyOnce {
            let id = whimbrel_core::id::PacketId::FIRST;
            let release = Packet::PubRel(Ack::new(id, ReasonCode::SUCCESS));
            codec::encode(&release, version, &mut bytes).expect("it can be said");
        }
        bytes.extend(PINGREQ);
        other.send(&bytes);
        loop {
            match other.next() {
                Some(packet) if packet == PINGRESP => break,
                Some(_) => {}
                None => return Err("the publisher is not answered".to_owned()),
            }
        }
        self.venue.cut(line);
        Ok(())
    }
}

/// A packet for people.
fn show(version: Version, bytes: &[u8]) -> String {
    match parse(version, bytes) {
        Some(packet) => format!("{packet:?}"),
        None => format!("{bytes:02x?}"),
    }
}

/// Clears what others have left to be retained: all that comes until nothing comes any more.
pub(crate) fn clear_retained(venue: &mut dyn Venue) -> Result<(), String> {
    let line = venue.open();
    let mut player = Player {
        venue,
        version: Version::V4,
        line,
        inbox: Vec::new(),
        pending: Vec::new(),
    };
    player.connect()?;
    player.send(b"\x82\x06\0\x01\0\x01#\0");
    while let Some(packet) = player.next() {
        if let Some(Packet::Publish(message)) = parse(Version::V4, &packet)
            && message.retain
        {
            let payload = b"";
            let clear = Packet::Publish(Publish { payload, ..message });
            let mut bytes = Vec::new();
            codec::encode(&clear, Version::V4, &mut bytes).expect("it came");
            player.send(&bytes);
        }
    }
    venue.cut(line);
    Ok(())
}

/// Sends one packet on a connection that is open, or as the first one; gives whether it is taken.
pub(crate) fn is_taken(
    venue: &mut dyn Venue,
    version: Version,
    bytes: &[u8],
) -> Result<bool, String> {
    let line = venue.open();
    // A CONNECT says itself which version it is of.
    let version = match frame::split(bytes, u32::MAX) {
        Ok(Some((frame, _))) => codec::connect_version(frame).unwrap_or(version),
        _ => version,
    };
    let mut player = Player {
        venue,
        version,
        line,
        inbox: Vec::new(),
        pending: Vec::new(),
    };
    let kind = packet_type(bytes);
    if kind != Some(PacketType::Connect) {
        player.connect()?;
    }
    player.send(bytes);
    if kind != Some(PacketType::Disconnect) {
        player.send(&PINGREQ);
    }
    let mut is_taken = kind == Some(PacketType::Disconnect);
    while let Some(packet) = player.next() {
        is_taken |= packet == PINGRESP;
        // A method of authentication that the broker does not know was understood all the same.
        let is_about_method = match parse(version, &packet) {
            Some(Packet::ConnAck(answer)) => answer.reason == ReasonCode::BAD_AUTHENTICATION_METHOD,
            _ => false,
        };
        is_taken |= is_about_method;
        is_taken &= is_about_method || !is_refusal(version, &packet);
        if packet == PINGRESP {
            break;
        }
    }
    let line = player.line;
    player.venue.cut(line);
    Ok(is_taken)
}
