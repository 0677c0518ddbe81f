//! Clients that publish, and remember what they were promised.

use crate::cast::{Actor, Stage};
use crate::line::{Heard, Introduction, Line};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_core::id::PacketId;
use whimbrel_tests::Random;

/// Topics that retained messages are published to.
const RETAINED_TOPICS: usize = 12;

/// What a publisher was promised.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    /// How many messages were acknowledged; they are numbered from 1, and acknowledged in order.
    pub(crate) acknowledged: u64,
    /// How many were sent.
    pub(crate) sent: u64,
    /// How many were refused.
    pub(crate) refused: Vec<u64>,
    /// What is retained, by topic, as far as it was acknowledged.
    pub(crate) retained: BTreeMap<String, Vec<u8>>,
    /// What must never happen.
    pub(crate) broken: Vec<String>,
}

/// A client that publishes numbered messages to a topic of its own.
pub(crate) struct Publisher {
    name: String,
    version: Version,
    qos: QoS,
    /// Messages it has in flight at most; 1 when they are retained.
    window: usize,
    retains: bool,
    random: Random,
    /// Sent and not yet done, oldest first.
    open: VecDeque<Open>,
    next_number: u64,
    /// It has heard something that the broker must not forget.
    relied: bool,
}

struct Open {
    number: u64,
    id: PacketId,
    /// PUBREC came.
    released: bool,
    topic: String,
    payload: Vec<u8>,
}

impl Publisher {
    pub(crate) fn new(name: &str, version: Version, qos: QoS, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            version,
            qos,
            window: 12,
            retains: false,
            random: Random::new(seed),
            open: VecDeque::new(),
            next_number: 1,
            relied: false,
        }
    }

    /// One that publishes and clears retained messages, one after the other.
    pub(crate) fn retaining(name: &str, version: Version, qos: QoS, seed: u64) -> Self {
        Self {
            window: 1,
            retains: true,
            ..Self::new(name, version, qos, seed)
        }
    }

    fn begin(&mut self, line: &mut Line, stage: &Stage<Promises>) {
        let number = self.next_number;
        self.next_number += 1;
        let (topic, payload) = if self.retains {
            let topic = format!("{}/{}", self.name, self.random.below(RETAINED_TOPICS));
            let clears = self.random.below(5) == 0;
            let payload = if clears {
                String::new()
            } else {
                number.to_string()
            };
            (topic, payload.into_bytes())
        } else {
            // Now and then one that does not fit a page.
            let padding = match self.random.below(40) {
                0 => 6_000,
                _ => self.random.below(200),
            };
            let payload = format!("{number} {}", ".".repeat(padding));
            (
                format!("{}/{}", self.name, number % 7),
                payload.into_bytes(),
            )
        };
        let id = self.free_id();
        let open = Open {
            number,
            id,
            released: false,
            topic,
            payload,
        };
        self.send(line, &open, false);
        self.open.push_back(open);
        stage.note(|promises| promises.sent = number);
    }

    /// The lowest that is not in use: identifiers are used again as soon as they may be.
    fn free_id(&self) -> PacketId {
        let mut id = PacketId::FIRST;
        while self.place(id).is_some() {
            id = id.next();
        }
        id
    }

    fn send(&self, line: &mut Line, open: &Open, dup: bool) {
        if open.released {
            return line.acknowledge(Packet::PubRel, open.id);
        }
        line.publish(
            (&open.topic, &open.payload),
            (self.qos, self.retains, dup),
            open.id,
        );
    }

    /// The broker has taken a message over.
    fn promised(&mut self, place: usize, refused: bool, stage: &Stage<Promises>) {
        self.relied = true;
        let Some(open) = self.open.get(place) else {
            return;
        };
        let (number, retains) = (open.number, self.retains);
        let (topic, payload) = (open.topic.clone(), open.payload.clone());
        stage.note(|promises| {
            if refused {
                promises.refused.push(number);
                return;
            }
            let due = promises.acknowledged + 1;
            if promises.refused.is_empty() && number != due {
                let what = format!("message {number} was acknowledged before {due}");
                promises.broken.push(what);
            }
            promises.acknowledged = promises.acknowledged.max(number);
            if retains && payload.is_empty() {
                promises.retained.remove(&topic);
            } else if retains {
                promises.retained.insert(topic, payload);
            }
        });
    }

    fn place(&self, id: PacketId) -> Option<usize> {
        self.open.iter().position(|open| open.id == id)
    }
}

impl Actor for Publisher {
    type Ledger = Promises;

    fn introduction(&mut self, _: &Stage<Promises>) -> Introduction {
        Introduction {
            name: self.name.clone(),
            version: self.version,
            persistent: true,
            starts_anew: false,
            will: None,
        }
    }

    fn connected(&mut self, line: &mut Line, stage: &Stage<Promises>) -> io::Result<()> {
        if self.relied && !line.session_present {
            stage.note(|promises| promises.broken.push("the session was forgotten".to_owned()));
        }
        for open in &self.open {
            self.send(line, open, true);
        }
        Ok(())
    }

    fn idle(&mut self, line: &mut Line, stage: &Stage<Promises>) -> io::Result<()> {
        while stage.is_publishing() && self.open.len() < self.window {
            self.begin(line, stage);
        }
        Ok(())
    }

    fn heard(&mut self, line: &mut Line, heard: Heard, stage: &Stage<Promises>) -> io::Result<()> {
        match heard {
            Heard::PubAck(id, reason) => {
                if let Some(place) = self.place(id) {
                    self.promised(place, reason.is_error(), stage);
                    self.open.remove(place);
                }
            }
            Heard::PubRec(id, reason) => {
                if let Some(place) = self.place(id) {
                    if !self.open[place].released {
                        self.promised(place, reason.is_error(), stage);
                    }
                    if reason.is_error() {
                        self.open.remove(place);
                    } else {
                        self.open[place].released = true;
                        line.acknowledge(Packet::PubRel, id);
                    }
                }
            }
            Heard::PubComp(id) => {
                if let Some(place) = self.place(id) {
                    self.open.remove(place);
                }
            }
            Heard::Message { .. } | Heard::PubRel(_) | Heard::Subscribed(_) | Heard::Other => {}
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.open.is_empty()
    }
}
