//! What is nobody's business is blotted out: bytes of the same number stand where it was, so that
//! packets keep their lengths and a replay goes the same way.
//!
//! Passwords and the data of enhanced authentication always go: what they decided is in the
//! recording as a verdict. Payloads, also those of wills, go on request.
//!
//! Packets may have come in part, so this looks at beginnings of packets. Where a packet cannot be
//! understood the broker stops too, whatever follows; so what follows is blotted out as well. What
//! shows that it cannot be understood stays: a replay has to end a connection for the same reason.

use super::REDACTED;
use crate::codec;
use crate::codec::frame::{self, Frame};
use crate::codec::packet::Version;
use alloc::vec::Vec;
use core::ops::Range;

/// What is to be blotted out of the packets of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Redaction {
    pub(crate) version: Version,
    pub(crate) payloads: bool,
    pub(crate) sender: Sender,
}

/// Whose packets they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// A client whose first packet comes next: CONNECT, or nothing that can be understood.
    Newcomer,
    /// A client that is not in yet.
    Parked,
    /// A client that is in.
    Client,
    /// The broker.
    Broker,
}

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const DISCONNECT: u8 = 14;
const AUTH: u8 = 15;

/// As much as a fixed header takes.
const HEADER_BYTES_MAX: usize = 5;

impl Redaction {
    /// For bytes of the broker's own in which only authentication data has to go: the version need
    /// not be known for that.
    pub(crate) const fn of_what_is_sent() -> Self {
        Self {
            version: Version::V5,
            payloads: false,
            sender: Sender::Broker,
        }
    }

    /// The same for what the broker sends.
    pub(crate) const fn of_the_broker(self) -> Self {
        Self {
            sender: Sender::Broker,
            ..self
        }
    }

    /// Whether a packet that begins like this may have something in it that must go.
    const fn concerns(self, first_byte: u8) -> bool {
        match first_byte >> 4 {
            CONNECT | AUTH => true,
            CONNACK => matches!(self.sender, Sender::Broker),
            PUBLISH => self.payloads,
            _ => false,
        }
    }

    /// Whether it has to be known of each packet that the broker understands it: then something may
    /// follow it that is read as a packet and is none.
    const fn is_strict(self) -> bool {
        match self.sender {
            Sender::Newcomer | Sender::Parked => true,
            Sender::Client => self.payloads,
            Sender::Broker => false,
        }
    }

    /// Whether nothing has to go, neither of a packet that begins like this nor of what follows it.
    fn is_harmless(self, first_byte: u8) -> bool {
        !self.concerns(first_byte)
            && !self.is_strict()
            && (self.sender == Sender::Broker || frame::packet_type(first_byte).is_ok())
    }

    /// How many of the bytes that come next belong to a packet of which nothing has to go, when
    /// `partial` is all that was kept of it.
    pub(crate) fn harmless(self, partial: &[u8]) -> Option<usize> {
        let first_byte = partial.first()?;
        let whole = frame::needed(partial)?;
        self.is_harmless(*first_byte)
            .then(|| whole.saturating_sub(partial.len()))
    }

    /// Blots out what has to go from whole and partial packets. What stands before `from` was seen
    /// earlier, and is left as it is.
    pub(crate) fn blot(mut self, bytes: &mut [u8], from: usize) {
        let mut start = 0;
        while let Some(&first_byte) = bytes.get(start) {
            let is_harmless = self.is_harmless(first_byte);
            // Most packets are short, and nothing in them has to go.
            if let Some(&length) = bytes.get(start + 1)
                && length < 0x80
                && is_harmless
            {
                start += 2 + usize::from(length);
                continue;
            }
            if frame::packet_type(first_byte).is_err() {
                return fill(bytes, from, start + 1..usize::MAX);
            }
            let packet = &bytes[start..];
            let Some(whole) = frame::needed(packet) else {
                // A partial header, or one that cannot be.
                return fill(bytes, from, start + HEADER_BYTES_MAX..usize::MAX);
            };
            if !is_harmless {
                let header = 2 + packet[1..].iter().take_while(|byte| **byte >= 0x80).count();
                let body = &packet[header..whole.min(packet.len())];
                let is_last =
                    body.len() == whole - header && self.is_last(Frame { first_byte, body });
                let found = self.secrets(first_byte, body, whole - header);
                for range in found {
                    let at = start + header;
                    fill(bytes, from, at + range.start..at + range.end);
                }
                if is_last {
                    return fill(bytes, from, start + whole..usize::MAX);
                }
            }
            start += whole;
        }
    }

    /// Whether the broker handles nothing that follows this packet.
    fn is_last(&mut self, frame: Frame<'_>) -> bool {
        let kind = frame.first_byte >> 4;
        match self.sender {
            Sender::Broker => false,
            Sender::Newcomer if kind != CONNECT => true,
            Sender::Newcomer => {
                self.sender = Sender::Parked;
                codec::decode(self.version, frame).is_err()
            }
            Sender::Parked | Sender::Client => {
                kind == CONNECT || kind == DISCONNECT || codec::decode(self.version, frame).is_err()
            }
        }
    }

    /// What of a packet has to go, of which only the beginning may be there.
    fn secrets(&mut self, first_byte: u8, body: &[u8], length: usize) -> Found {
        match first_byte >> 4 {
            CONNECT => self.in_connect(body, length),
            // A first packet that is none has nothing in it that counts.
            _ if self.sender == Sender::Newcomer => core::iter::once(0..length).collect(),
            AUTH => in_auth(body, length),
            CONNACK if self.sender == Sender::Broker => in_connack(body, length),
            PUBLISH if self.payloads => self.in_publish(first_byte, body, length),
            _ => Found::new(),
        }
    }

    fn in_connect(&mut self, body: &[u8], length: usize) -> Found {
        let mut fields = Fields::new(body, length);
        let outcome = self.walk_connect(&mut fields);
        fields.finish(outcome)
    }

    fn walk_connect(&mut self, fields: &mut Fields<'_>) -> Walked {
        const WILL: u8 = 0b0000_0100;
        const PASSWORD: u8 = 0b0100_0000;
        const USERNAME: u8 = 0b1000_0000;
        let versions = fields.protocol_name()?;
        let level = fields.byte()?;
        let known = versions.iter().find(|(known, _)| *known == level);
        let (_, version) = known.ok_or(Stop::Malformed)?;
        self.version = *version;
        let flags = fields.byte()?;
        if !codec::has_valid_flags(flags, self.version) {
            return Err(Stop::Malformed);
        }
        fields.skip(2)?;
        if self.version == Version::V5 {
            fields.properties()?;
        }
        fields.counted()?;
        if flags & WILL != 0 {
            if self.version == Version::V5 {
                let length = fields.variable()?;
                fields.skip(length)?;
            }
            fields.counted()?;
            let payload = fields.counted()?;
            if self.payloads {
                fields.found.push(payload);
            }
        }
        if flags & USERNAME != 0 {
            fields.counted()?;
        }
        if flags & PASSWORD != 0 {
            let password = fields.counted()?;
            fields.found.push(password);
        }
        Ok(())
    }

    fn in_publish(self, first_byte: u8, body: &[u8], length: usize) -> Found {
        const QOS: u8 = 0b0110;
        let mut fields = Fields::new(body, length);
        let mut walk = || {
            fields.counted()?;
            if first_byte & QOS != 0 {
                fields.skip(2)?;
            }
            if self.version == Version::V5 {
                let properties = fields.variable()?;
                fields.skip(properties)?;
            }
            // All the rest is payload.
            Ok(())
        };
        let outcome = walk();
        fields.finish(outcome)
    }

    /// Where the payload of a whole PUBLISH begins; the end of any other packet.
    pub(crate) fn payload_at(self, packet: &[u8]) -> usize {
        let Some(&first_byte) = packet.first() else {
            return 0;
        };
        if !frame::is_publish(first_byte) {
            return packet.len();
        }
        let header = 2 + packet[1..].iter().take_while(|byte| **byte >= 0x80).count();
        let Some(body) = packet.get(header..) else {
            return packet.len();
        };
        match self.in_publish(first_byte, body, body.len()).first() {
            Some(payload) => header + payload.start,
            None => packet.len(),
        }
    }
}

fn in_auth(body: &[u8], length: usize) -> Found {
    let mut fields = Fields::new(body, length);
    let mut walk = || {
        fields.skip(1)?;
        fields.properties()
    };
    let outcome = walk();
    fields.finish(outcome)
}

/// The CONNACK of 5.0; in that of the others there is nothing behind the two bytes.
fn in_connack(body: &[u8], length: usize) -> Found {
    let mut fields = Fields::new(body, length);
    let mut walk = || {
        fields.skip(2)?;
        fields.properties()
    };
    let outcome = walk();
    fields.finish(outcome)
}

fn fill(bytes: &mut [u8], from: usize, range: Range<usize>) {
    let end = range.end.min(bytes.len());
    let start = range.start.max(from);
    if start < end {
        bytes[start..end].fill(REDACTED);
    }
}

/// Parts of a body that have to go.
type Found = Vec<Range<usize>>;

/// Why a walk through a body ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The rest has not come yet.
    Partial,
    /// The rest is of no use.
    Malformed,
}

type Walked = Result<(), Stop>;

/// The fields of a body of which only a beginning may be there.
struct Fields<'a> {
    body: &'a [u8],
    /// How long the whole body is.
    length: usize,
    at: usize,
    found: Found,
}

impl<'a> Fields<'a> {
    fn new(body: &'a [u8], length: usize) -> Self {
        Self {
            body,
            length,
            at: 0,
            found: Found::new(),
        }
    }

    /// Nothing that may be secret is left to itself: all goes that is behind the last field.
    fn finish(mut self, outcome: Walked) -> Found {
        if outcome != Err(Stop::Partial) {
            self.found.push(self.at..self.length);
        }
        self.found
    }

    /// The levels that the name at the beginning of a CONNECT can go with.
    fn protocol_name(&mut self) -> Result<&'static [(u8, Version)], Stop> {
        let length = usize::from(self.byte()?) << 8 | usize::from(self.byte()?);
        let (name, versions): (&[u8], &[_]) = match length {
            4 => (b"MQTT", &[(4, Version::V4), (5, Version::V5)]),
            6 => (b"MQIsdp", &[(3, Version::V3)]),
            _ => return Err(Stop::Malformed),
        };
        let come = self.body.get(self.at..).unwrap_or_default();
        if !name.starts_with(&come[..come.len().min(length)]) {
            return Err(Stop::Malformed);
        }
        self.skip(length)?;
        Ok(versions)
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        if self.at >= self.length {
            return Err(Stop::Malformed);
        }
        let byte = *self.body.get(self.at).ok_or(Stop::Partial)?;
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, count: usize) -> Walked {
        if count > self.length - self.at {
            return Err(Stop::Malformed);
        }
        self.at += count;
        Ok(())
    }

    /// A length of two bytes and as many bytes: where they are.
    fn counted(&mut self) -> Result<Range<usize>, Stop> {
        let length = usize::from(self.byte()?) << 8 | usize::from(self.byte()?);
        let start = self.at;
        self.skip(length)?;
        Ok(start..self.at)
    }

    fn variable(&mut self) -> Result<usize, Stop> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Stop::Malformed)
    }

    /// Properties that may have authentication data among them.
    fn properties(&mut self) -> Walked {
        let length = self.variable()?;
        let end = self.at + length;
        if end > self.length {
            return Err(Stop::Malformed);
        }
        // None of them goes on behind the end of all.
        let whole = core::mem::replace(&mut self.length, end);
        let outcome = self.each_property();
        self.length = whole;
        outcome
    }

    fn each_property(&mut self) -> Walked {
        const AUTHENTICATION_DATA: u8 = 0x16;
        while self.at < self.length {
            match self.byte()? {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => self.skip(1)?,
                0x13 | 0x21 | 0x22 | 0x23 => self.skip(2)?,
                0x02 | 0x11 | 0x18 | 0x27 => self.skip(4)?,
                AUTHENTICATION_DATA => {
                    let data = self.counted()?;
                    self.found.push(data);
                }
                0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => {
                    self.counted()?;
                }
                0x26 => {
                    self.counted()?;
                    self.counted()?;
                }
                _ => return Err(Stop::Malformed),
            }
        }
        Ok(())
    }
}
