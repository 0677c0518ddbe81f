//! A client that acts for others: takes what they ask for, remembers who asked, and says what
//! became of it. The part of a runtime's client that needs no socket and no queue.

use super::client::{Accepted, Ended, Event, Message};
use crate::Timestamp;
use crate::client::{
    Client, ClientEvent, Config, DisconnectRequest, End, Misuse, PublishRequest, SubscribeRequest,
    UnsubscribeRequest,
};
use crate::codec::packet::{Publish, SubscribeOptions};
use crate::codec::{Properties, Property, PropertyBuffer, ReasonCode};
use crate::id::PacketId;
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use std::io;

/// Requests that are taken before what they make is written.
pub const REQUESTS_AT_ONCE: usize = 64;

/// How long the server may take for the last bytes.
pub const LINGER: Duration = Duration::from_secs(5);

/// The reasons the server gives, one for a message and one a filter; empty when it is not asked for
/// any.
pub type Answer = Result<Vec<ReasonCode>, Misuse>;

/// What an agent is asked for.
#[derive(Clone, Debug)]
pub enum Request {
    /// To publish.
    Publish(Message),
    /// To subscribe to these filters.
    Subscribe(Vec<(String, SubscribeOptions)>, PropertyBuffer),
    /// To give these filters up.
    Unsubscribe(Vec<String>),
    /// To take a message over, when acknowledgements are manual.
    Acknowledge(PacketId),
    /// To say goodbye.
    Disconnect,
}

/// What has happened.
#[derive(Debug)]
pub enum Outcome<A> {
    /// The server has accepted the connection; before anything else.
    Accepted(Accepted),
    /// A request has its answer.
    Answered(A, Answer),
    /// Something for everybody; [`Event::Ended`] is the last, after which what is left is to be
    /// written and the transport closed.
    Event(Event),
}

/// A client, over one connection, and those who ask it: `A` is whatever an answer is given to. One
/// that is dropped will get no answer any more.
///
/// In the order of the core's contract: bytes and requests in, outcomes out, then what is to be
/// written, the timer last.
#[derive(Debug)]
pub struct Agent<A> {
    client: Client,
    /// There was no room for it; those after it wait.
    parked: Option<(Request, A)>,
    unanswered: BTreeMap<PacketId, A>,
    unwritten: Vec<u8>,
    written: usize,
    /// What broke the transport, until that is told.
    broken: Option<io::Error>,
    is_open: bool,
}

impl<A> Agent<A> {
    /// An agent that has no transport yet.
    ///
    /// # Errors
    ///
    /// A configuration that no CONNECT can say.
    pub fn new(config: Config, now: Timestamp) -> Result<Self, Misuse> {
        Ok(Self {
            client: Client::new(config, now)?,
            parked: None,
            unanswered: BTreeMap::new(),
            unwritten: Vec::new(),
            written: 0,
            broken: None,
            is_open: false,
        })
    }

    /// The transport is open.
    pub fn connected(&mut self, now: Timestamp) {
        self.is_open = true;
        self.client.connected(now);
    }

    /// The transport has brought bytes; none are its end.
    pub fn receive(&mut self, now: Timestamp, bytes: &[u8]) {
        match bytes {
            [] => self.lose(now, io::ErrorKind::UnexpectedEof.into()),
            bytes => self.client.receive(now, bytes),
        }
    }

    /// The transport is gone.
    pub fn lose(&mut self, now: Timestamp, error: io::Error) {
        self.broken = Some(error);
        self.is_open = false;
        self.client.transport_closed(now);
    }

    /// Time passed.
    pub fn advance(&mut self, now: Timestamp) {
        self.client.advance(now);
    }

    /// When to call [`advance`](Self::advance).
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.client.next_deadline()
    }

    /// Whether the transport is there.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether the transport is to be read, if there is room for what it brings.
    #[must_use]
    pub const fn reads(&self) -> bool {
        self.is_open && !self.client.is_paused()
    }

    /// Whether requests may come.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.parked.is_none()
    }

    /// Takes a request, which must only come while there [is room](Self::has_room). Gives the
    /// answer of one that needs none of the server.
    #[must_use]
    pub fn ask(&mut self, now: Timestamp, request: Request, asker: A) -> Option<(A, Answer)> {
        debug_assert!(self.parked.is_none(), "requests keep their order");
        match self.try_ask(now, &request) {
            // Room will come: with an acknowledgement, or when bytes were written.
            Err(Misuse::WindowFull | Misuse::BufferFull) => {
                self.parked = Some((request, asker));
                None
            }
            Err(misuse) => Some((asker, Err(misuse))),
            Ok(Some(packet_id)) => {
                self.unanswered.insert(packet_id, asker);
                None
            }
            Ok(None) => Some((asker, Ok(Vec::new()))),
        }
    }

    fn try_ask(&mut self, now: Timestamp, request: &Request) -> Result<Option<PacketId>, Misuse> {
        match request {
            Request::Publish(message) => {
                let request = PublishRequest {
                    topic: &message.topic,
                    payload: &message.payload,
                    qos: message.qos,
                    retain: message.retain,
                    properties: message.properties.as_properties(),
                };
                self.client.publish(now, &request)
            }
            Request::Subscribe(filters, properties) => {
                let filters: Vec<_> = filters
                    .iter()
                    .map(|(filter, options)| (filter.as_str(), *options))
                    .collect();
                let request = SubscribeRequest {
                    filters: &filters,
                    properties: properties.as_properties(),
                };
                self.client.subscribe(now, &request).map(Some)
            }
            Request::Unsubscribe(filters) => {
                let filters: Vec<_> = filters.iter().map(String::as_str).collect();
                let request = UnsubscribeRequest {
                    filters: &filters,
                    ..UnsubscribeRequest::default()
                };
                self.client.unsubscribe(now, &request).map(Some)
            }
            Request::Acknowledge(packet_id) => {
                let taken = self
                    .client
                    .acknowledge(now, *packet_id, ReasonCode::SUCCESS);
                taken.map(|()| None)
            }
            Request::Disconnect => {
                let request = DisconnectRequest::default();
                self.client.disconnect(now, &request).map(|()| None)
            }
        }
    }

    /// The next thing that has happened. To be called only while there is room for an event.
    pub fn poll_outcome(&mut self, now: Timestamp) -> Option<Outcome<A>> {
        if let Some((request, asker)) = self.parked.take()
            && let Some((asker, answer)) = self.ask(now, request, asker)
        {
            return Some(Outcome::Answered(asker, answer));
        }
        loop {
            let (packet_id, reasons) = match self.client.poll_event()? {
                ClientEvent::Authentication(_) => continue,
                ClientEvent::Abandoned(packet_id) => {
                    self.unanswered.remove(&packet_id);
                    continue;
                }
                ClientEvent::Acknowledged(ack) => (ack.packet_id, vec![ack.reason]),
                ClientEvent::Subscribed(ack) | ClientEvent::Unsubscribed(ack) => {
                    let reasons = ack.reasons.iter().copied().map(ReasonCode);
                    (ack.packet_id, reasons.collect())
                }
                ClientEvent::Message(message) => return Some(Outcome::Event(owned(&message))),
                ClientEvent::Connected(connack) => {
                    let mut properties = PropertyBuffer::new();
                    properties.extend(connack.properties);
                    return Some(Outcome::Accepted(Accepted {
                        session_present: connack.session_present,
                        properties,
                    }));
                }
                ClientEvent::Refused(connack) => {
                    let why = Ended::Refused(connack.reason, text(connack.properties));
                    return Some(Outcome::Event(Event::Ended(why)));
                }
                ClientEvent::Disconnected(end) => {
                    let why = match end {
                        End::Server(goodbye) => {
                            Ended::Server(goodbye.reason, text(goodbye.properties))
                        }
                        End::Local => Ended::Local,
                        End::Fault(fault) => Ended::Fault(fault),
                        End::Timeout => Ended::Timeout,
                        End::Transport => {
                            let broken = self.broken.take();
                            let eof = || io::ErrorKind::UnexpectedEof.into();
                            Ended::Transport(broken.unwrap_or_else(eof))
                        }
                    };
                    return Some(Outcome::Event(Event::Ended(why)));
                }
            };
            if let Some(asker) = self.unanswered.remove(&packet_id) {
                return Some(Outcome::Answered(asker, Ok(reasons)));
            }
        }
    }

    /// Has ready what is to be written now, if there is anything; to be called after all outcomes
    /// are polled.
    pub fn transmit(&mut self) {
        if self.written == self.unwritten.len() {
            self.written = 0;
            self.unwritten.clear();
            self.client.transmit(&mut self.unwritten);
        }
    }

    /// Has ready all that is to be written: after the end.
    pub fn transmit_last(&mut self) {
        self.client.transmit(&mut self.unwritten);
    }

    /// What is to be written. Nothing is when the transport is gone.
    #[must_use]
    pub fn unwritten(&self) -> &[u8] {
        match self.is_open {
            true => &self.unwritten[self.written..],
            false => &[],
        }
    }

    /// So much of it was.
    pub const fn wrote(&mut self, count: usize) {
        self.written += count;
    }
}

fn owned(message: &Publish<'_>) -> Event {
    let mut properties = PropertyBuffer::new();
    // An alias has been resolved, and means nothing beyond its connection.
    let lasting = |property: &Property<'_>| !matches!(property, Property::TopicAlias(_));
    for property in message.properties.iter().filter(lasting) {
        properties.push(property);
    }
    Event::Message {
        message: Message {
            topic: message.topic.to_owned(),
            payload: message.payload.to_vec(),
            qos: message.qos,
            retain: message.retain,
            properties,
        },
        packet_id: message.packet_id,
    }
}

fn text(properties: Properties<'_>) -> Option<String> {
    properties.reason_string().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::packet::QoS;

    const NOW: Timestamp = Timestamp(0);
    /// 5.0: success, one message at a time.
    const CONNACK: &[u8] = &[0x20, 6, 0, 0, 3, 0x21, 0, 1];

    fn agent() -> Agent<u8> {
        let mut agent = Agent::new(Config::default(), NOW).unwrap();
        agent.connected(NOW);
        agent.transmit();
        assert_eq!(agent.unwritten()[0], 0x10, "a CONNECT");
        agent.wrote(agent.unwritten().len());
        agent.receive(NOW, CONNACK);
        let accepted = agent.poll_outcome(NOW);
        assert!(matches!(accepted, Some(Outcome::Accepted(_))));
        agent
    }

    fn publish(qos: QoS) -> Request {
        Request::Publish(Message {
            topic: "t".into(),
            qos,
            ..Message::default()
        })
    }

    #[test]
    fn everybody_gets_an_answer_in_order() {
        let mut agent = agent();
        let at_once = agent.ask(NOW, publish(QoS::AtMostOnce), 1);
        assert_eq!(at_once, Some((1, Ok(vec![]))));
        assert_eq!(agent.ask(NOW, publish(QoS::AtLeastOnce), 2), None);
        assert!(agent.has_room());
        // The server takes one at a time.
        assert_eq!(agent.ask(NOW, publish(QoS::AtLeastOnce), 3), None);
        assert!(!agent.has_room());
        assert!(agent.poll_outcome(NOW).is_none());
        for asker in [2, 3] {
            agent.transmit();
            let id = agent.unwritten().len() - 3;
            let (high, low) = (agent.unwritten()[id], agent.unwritten()[id + 1]);
            agent.wrote(agent.unwritten().len());
            agent.receive(NOW, &[0x40, 2, high, low]);
            let outcome = agent.poll_outcome(NOW);
            let reasons = vec![ReasonCode::SUCCESS];
            assert!(
                matches!(&outcome, Some(Outcome::Answered(who, Ok(said)))
                    if *who == asker && *said == reasons),
                "{outcome:?}"
            );
            assert!(agent.poll_outcome(NOW).is_none());
            assert!(agent.has_room());
        }
    }

    #[test]
    fn what_cannot_be_said_is_refused_at_once() {
        let mut agent = agent();
        let request = Request::Unsubscribe(vec!["a/#/b".into()]);
        assert!(matches!(agent.ask(NOW, request, 1), Some((1, Err(_)))));
    }

    #[test]
    fn the_last_event_says_what_broke() {
        let mut agent = agent();
        agent.lose(NOW, io::ErrorKind::ConnectionReset.into());
        assert!(!agent.reads() && agent.unwritten().is_empty());
        let Some(Outcome::Event(Event::Ended(Ended::Transport(error)))) = agent.poll_outcome(NOW)
        else {
            panic!("the end");
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(agent.poll_outcome(NOW).is_none());
    }

    #[test]
    fn a_goodbye_is_the_last_thing_to_be_written() {
        let mut agent = agent();
        assert_eq!(
            agent.ask(NOW, Request::Disconnect, 1),
            Some((1, Ok(vec![])))
        );
        let end = agent.poll_outcome(NOW);
        assert!(matches!(
            end,
            Some(Outcome::Event(Event::Ended(Ended::Local)))
        ));
        agent.transmit_last();
        assert_eq!(agent.unwritten()[0], 0xe0, "a DISCONNECT");
        // Whatever comes now is too late.
        agent.receive(NOW, &[]);
        assert!(agent.poll_outcome(NOW).is_none());
    }
}
