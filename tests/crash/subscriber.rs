//! Clients that subscribe, and write down what they get.

use crate::cast::{Actor, Stage};
use crate::line::{Heard, Introduction, Line};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::time::Duration;
use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::Version;
use whimbrel_core::id::PacketId;
use whimbrel_tests::Random;

/// What a subscriber got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    /// The numbers of messages, by publisher, as they came.
    pub(crate) numbers: BTreeMap<String, Vec<u64>>,
    /// SUBACK came.
    pub(crate) subscribed: bool,
    /// What must never happen.
    pub(crate) broken: Vec<String>,
}

/// A client with a session that outlives its connections.
pub(crate) struct Subscriber {
    name: String,
    version: Version,
    filters: &'static [&'static str],
    /// It goes away for a while now and then.
    sleepy: bool,
    /// It ends its session now and then, with all that waits in it, and begins another.
    fickle: bool,
    starts_anew: bool,
    random: Random,
    subscribed: bool,
    /// QoS 2 messages that were taken in and whose PUBREL has not come.
    incoming: BTreeSet<PacketId>,
}

impl Subscriber {
    pub(crate) fn new(
        name: &str,
        version: Version,
        filters: &'static [&'static str],
        seed: u64,
    ) -> Self {
        Self {
            name: name.to_owned(),
            version,
            filters,
            sleepy: false,
            fickle: false,
            starts_anew: false,
            random: Random::new(seed),
            subscribed: false,
            incoming: BTreeSet::new(),
        }
    }

    /// One that is not always there.
    pub(crate) fn sleepy(self) -> Self {
        Self {
            sleepy: true,
            ..self
        }
    }

    /// One that is not there for long.
    pub(crate) fn fickle(self) -> Self {
        Self {
            fickle: true,
            ..self
        }
    }

    fn take(&self, topic: &str, payload: &[u8], stage: &Stage<Received>) {
        let publisher = topic.split('/').next().unwrap_or_default();
        let text = String::from_utf8_lossy(payload);
        let number = text.split(' ').next().and_then(|text| text.parse().ok());
        stage.note(|received| match number {
            Some(number) => {
                let numbers = received.numbers.entry(publisher.to_owned()).or_default();
                numbers.push(number);
            }
            None => received
                .broken
                .push(format!("{topic} has the payload {text:?}")),
        });
    }
}

impl Actor for Subscriber {
    type Ledger = Received;

    fn introduction(&mut self, _: &Stage<Received>) -> Introduction {
        Introduction {
            name: self.name.clone(),
            version: self.version,
            persistent: true,
            starts_anew: self.starts_anew,
            will: None,
        }
    }

    fn connected(&mut self, line: &mut Line, stage: &Stage<Received>) -> io::Result<()> {
        if core::mem::take(&mut self.starts_anew) {
            self.subscribed = false;
            self.incoming.clear();
        }
        if self.subscribed && !line.session_present {
            stage.note(|received| received.broken.push("the session was forgotten".to_owned()));
        }
        if !self.subscribed {
            line.subscribe(self.filters);
        }
        Ok(())
    }

    fn idle(&mut self, line: &mut Line, stage: &Stage<Received>) -> io::Result<()> {
        if self.fickle && stage.is_publishing() && self.subscribed && self.random.below(20) == 0 {
            self.starts_anew = true;
            return Err(ErrorKind::ConnectionAborted.into());
        }
        if self.sleepy && stage.is_publishing() && self.subscribed && self.random.below(60) == 0 {
            if self.random.below(2) == 0 {
                line.disconnect()?;
            }
            let millis = 1 + self.random.below(150) as u64;
            std::thread::sleep(Duration::from_millis(millis));
            return Err(ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    fn heard(&mut self, line: &mut Line, heard: Heard, stage: &Stage<Received>) -> io::Result<()> {
        match heard {
            Heard::Message {
                topic,
                payload,
                qos,
                id,
                ..
            } => {
                let is_new = id.is_none_or(|id| qos as u8 != 2 || self.incoming.insert(id));
                if is_new {
                    self.take(&topic, &payload, stage);
                }
                if let Some(id) = id {
                    let kind = if qos as u8 == 2 {
                        Packet::PubRec
                    } else {
                        Packet::PubAck
                    };
                    line.acknowledge(kind, id);
                }
                // A connection that breaks in the middle of it all.
                if stage.is_publishing() && self.random.below(4_000) == 0 {
                    return Err(ErrorKind::ConnectionAborted.into());
                }
            }
            Heard::PubRel(id) => {
                self.incoming.remove(&id);
                line.acknowledge(Packet::PubComp, id);
            }
            Heard::Subscribed(reasons) => {
                assert!(reasons.iter().all(|reason| *reason == 2), "{reasons:?}");
                self.subscribed = true;
                stage.note(|received| received.subscribed = true);
            }
            Heard::PubAck(..) | Heard::PubRec(..) | Heard::PubComp(_) | Heard::Other => {}
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        true
    }
}
