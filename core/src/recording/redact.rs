//! What is nobody's business is blotted out: bytes of the same number stand where it was, so that
//! packets keep their lengths and a replay goes the same way.
//!
//! Passwords and the data of enhanced authentication always go: what they decided is in the
//! recording as a verdict. Payloads, also those of wills, go on request.
//!
//! Packets may have come in part, so this looks at beginnings of packets. Where a packet cannot be
//! understood the broker stops too, whatever follows; so what follows is blotted out as well.

use super::REDACTED;
use crate::codec::frame;
use crate::codec::packet::Version;
use alloc::vec::Vec;
use core::ops::Range;

/// What is to be blotted out of the packets of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Redaction {
    pub(crate) version: Version,
    pub(crate) payloads: bool,
}

const CONNECT: u8 = 1;
const AUTH: u8 = 15;

/// As much as a fixed header takes.
const HEADER_BYTES_MAX: usize = 5;

impl Redaction {
    /// Whether a packet that begins like this may have something in it that must go.
    const fn concerns(self, first_byte: u8) -> bool {
        let kind = first_byte >> 4;
        kind == CONNECT || kind == AUTH || (self.payloads && frame::is_publish(first_byte))
    }

    /// How many of the bytes that come next belong to a packet of which nothing has to go, when
    /// `partial` is all that was kept of it.
    pub(crate) fn harmless(self, partial: &[u8]) -> Option<usize> {
        let first_byte = partial.first()?;
        let whole = frame::needed(partial)?;
        (!self.concerns(*first_byte)).then(|| whole.saturating_sub(partial.len()))
    }

    /// Blots out what has to go from whole and partial packets. What stands before `from` was seen
    /// earlier, and is left as it is.
    pub(crate) fn blot(mut self, bytes: &mut [u8], from: usize) {
        let mut start = 0;
        while let Some(&first_byte) = bytes.get(start) {
            // Most packets are short, and nothing in them has to go.
            if let Some(&length) = bytes.get(start + 1)
                && length < 0x80
                && !self.concerns(first_byte)
            {
                start += 2 + usize::from(length);
                continue;
            }
            let packet = &bytes[start..];
            let Some(whole) = frame::needed(packet) else {
                // A partial header, or one that cannot be.
                return fill(bytes, from, start + HEADER_BYTES_MAX..usize::MAX);
            };
            if self.concerns(first_byte) {
                let header = 2 + packet[1..].iter().take_while(|byte| **byte >= 0x80).count();
                let body = &packet[header..whole.min(packet.len())];
                let length = whole - header;
                let found = match first_byte >> 4 {
                    CONNECT => self.in_connect(body, length),
                    AUTH => in_auth(body, length),
                    _ => self.in_publish(first_byte, body, length),
                };
                for range in found {
                    let at = start + header;
                    fill(bytes, from, at + range.start..at + range.end);
                }
            }
            start += whole;
        }
    }

    fn in_connect(&mut self, body: &[u8], length: usize) -> Found {
        let mut fields = Fields::new(body, length);
        // Nothing of which is secret is left to itself: what fails leaves the rest blotted out.
        let outcome = self.walk_connect(&mut fields);
        fields.finish(outcome)
    }

    fn walk_connect(&mut self, fields: &mut Fields<'_>) -> Walked {
        const WILL: u8 = 0b0000_0100;
        const PASSWORD: u8 = 0b0100_0000;
        const USERNAME: u8 = 0b1000_0000;
        fields.counted()?;
        self.version = match fields.byte()? {
            3 => Version::V3,
            4 => Version::V4,
            5 => Version::V5,
            _ => return Err(Stop::Malformed),
        };
        let flags = fields.byte()?;
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
            Err(Stop::Malformed)
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

    fn finish(mut self, outcome: Walked) -> Found {
        if outcome == Err(Stop::Malformed) {
            self.found.push(self.at..self.length);
        }
        self.found
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
        const AUTHENTICATION_DATA: u8 = 0x16;
        let length = self.variable()?;
        let end = self.at + length;
        if end > self.length {
            return Err(Stop::Malformed);
        }
        while self.at < end {
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
