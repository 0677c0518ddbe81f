//! Which packet identifiers a player uses. The real client gives them out in turn; others take the
//! lowest one that is free, so that one is used again as soon as it can be, come around the end of
//! the range, or draw them. So those of the client are exchanged for others on the way to the line,
//! and back in what is answered.

use super::chance::Chance;
use std::collections::BTreeMap;
use whimbrel_core::codec::frame;

/// How identifiers are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// As the client does.
    InTurn,
    /// In turn, and soon 1 comes after 65,535.
    AroundTheEnd,
    LowestFree,
    Drawn,
}

impl Choice {
    pub(super) const ALL: [Self; 4] = [
        Self::InTurn,
        Self::AroundTheEnd,
        Self::LowestFree,
        Self::Drawn,
    ];
}

/// The identifiers of one player.
#[derive(Debug)]
pub(super) struct Identifiers {
    choice: Choice,
    /// What the client calls an exchange, and what the broker is told.
    told: BTreeMap<u16, u16>,
    /// The last one that was chosen.
    last: u16,
    /// What came of a packet that is not whole.
    partial: Vec<u8>,
}

/// A packet that has an identifier of the client's, and where.
enum Place {
    /// It may be the first of an exchange.
    Asks(usize),
    /// It goes on with one.
    GoesOn(usize),
    Answers(usize),
}

impl Identifiers {
    pub(super) const fn new(choice: Choice) -> Self {
        Self {
            choice,
            told: BTreeMap::new(),
            last: u16::MAX - 5,
            partial: Vec::new(),
        }
    }

    /// All exchanges are forgotten.
    pub(super) fn clear(&mut self) {
        self.told.clear();
    }

    /// The connection is another one.
    pub(super) fn reconnected(&mut self) {
        self.partial.clear();
    }

    /// The client has heard the end of an exchange.
    pub(super) fn free(&mut self, id: u16) {
        self.told.remove(&id);
    }

    /// Whole packets, on their way to the broker.
    pub(super) fn up(&mut self, bytes: &mut [u8], chance: &mut Chance) {
        if self.choice == Choice::InTurn {
            return;
        }
        let mut rest = bytes;
        while let Some((length, place)) = packet(rest) {
            let (packet, later) = rest.split_at_mut(length);
            if let Some(Place::Asks(at) | Place::GoesOn(at)) = place {
                let id = number(packet, at);
                let told = self.told.get(&id).copied();
                let told = told.unwrap_or_else(|| self.choose(chance));
                self.told.insert(id, told);
                packet[at..at + 2].copy_from_slice(&told.to_be_bytes());
            }
            rest = later;
        }
    }

    /// Any bytes, on their way to the client. Gives whole packets.
    ///
    /// # Errors
    ///
    /// The broker answers what it was not asked.
    pub(super) fn down(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
        if self.choice == Choice::InTurn {
            return Ok(bytes);
        }
        self.partial.extend(bytes);
        let mut whole = 0;
        while let Some((length, place)) = packet(&self.partial[whole..]) {
            if let Some(Place::Answers(at)) = place {
                let at = whole + at;
                let told = number(&self.partial, at);
                let known = self.told.iter().find(|(_, known)| **known == told);
                let Some((id, _)) = known else {
                    return Err(format!("packet identifier {told} is not in use"));
                };
                self.partial[at..at + 2].copy_from_slice(&id.to_be_bytes());
            }
            whole += length;
        }
        Ok(self.partial.drain(..whole).collect())
    }

    fn choose(&mut self, chance: &mut Chance) -> u16 {
        let mut is_free = |id: &u16| *id != 0 && !self.told.values().any(|told| told == id);
        let last = self.last;
        let chosen = match self.choice {
            Choice::LowestFree => (1..=u16::MAX).find(&mut is_free),
            Choice::InTurn | Choice::AroundTheEnd => (1..=u16::MAX)
                .map(|step| last.wrapping_add(step))
                .find(&mut is_free),
            Choice::Drawn => {
                // From few, so that the same ones come again.
                let few = self.told.len() as u64 + 4;
                std::iter::repeat_with(|| chance.between(1, few) as u16).find(&mut is_free)
            }
        };
        self.last = chosen.expect("a client has few exchanges open");
        self.last
    }
}

/// How long the first packet is, and where the client's identifier is in it.
fn packet(bytes: &[u8]) -> Option<(usize, Option<Place>)> {
    const PUBLISH: u8 = 3;
    const QOS: u8 = 0b0110;
    let (frame, length) = frame::split(bytes, u32::MAX).ok()??;
    let header = length - frame.body.len();
    let place = match frame.first_byte >> 4 {
        PUBLISH if frame.first_byte & QOS != 0 => {
            Some(Place::Asks(header + 2 + usize::from(number(frame.body, 0))))
        }
        // SUBSCRIBE, UNSUBSCRIBE.
        8 | 10 => Some(Place::Asks(header)),
        // PUBREL.
        6 => Some(Place::GoesOn(header)),
        // PUBACK, PUBREC, PUBCOMP, SUBACK, UNSUBACK.
        4 | 5 | 7 | 9 | 11 => Some(Place::Answers(header)),
        _ => None,
    };
    Some((length, place))
}

fn number(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
