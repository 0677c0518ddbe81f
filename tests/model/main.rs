//! The broker beside a naive one of a few hundred lines: random operations, and what each client
//! hears must be what it may hear: every message, one answer to each request, and no connection
//! closed for nothing. Failures shrink to a short list of operations.

mod answer;
mod filter;
mod found;
mod operation;
mod reference;

use answer::Heard;
use operation::{Enter, FILTERS, Join, Operation, SMALL_BYTES, Say, TOPICS, VERSIONS};
use quickcheck::{Gen, QuickCheck, TestResult};
use reference::{Client, Hello, Reference, Will};
use std::collections::{BTreeMap, BTreeSet};
use whimbrel_core::action::CloseReason;
use whimbrel_core::codec::packet::{
    Ack, Connect, Disconnect, PacketType, Publish, QoS, SubAck, Subscribe, SubscribeOptions,
    Unsubscribe, Version,
};
use whimbrel_core::codec::property::{Property, PropertyBuffer};
use whimbrel_core::codec::{Packet, Properties, ReasonCode, SubscribeBuffer, UnsubscribeBuffer};
use whimbrel_core::config::{Protocol, SessionConfig};
use whimbrel_core::id::PacketId;
use whimbrel_core::{Config, ConnectionId};
use whimbrel_tests::World;
use whimbrel_tests::world::{connect, publish};

/// An identifier that neither side uses.
const NOTHING: u16 = 60_000;

/// The packets by which clients acknowledge messages.
const ACKNOWLEDGEMENTS: [PacketType; 3] =
    [PacketType::PubAck, PacketType::PubRec, PacketType::PubComp];

/// Time passes in steps of so many milliseconds.
const STEP_MS: u64 = 1_000;

/// What is deliberately wrong between the broker and its clients, to see that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// A message does not arrive.
    Swallows,
    /// It arrives at another QoS.
    Downgrades,
    /// RETAIN is another one.
    FlipsRetain,
    /// DUP is never set.
    ClearsDup,
    /// Two messages change places.
    Swaps,
    /// A lost connection looks like a DISCONNECT.
    SwallowsWills,
    /// A session is denied.
    DeniesSessions,
    /// PUBACK, PUBREC, PUBCOMP, SUBACK and UNSUBACK never come.
    Unanswered,
    /// They come twice.
    AnswersTwice,
    /// They are for the request before.
    AnswersAnother,
    /// Of QoS 2, 1 is granted.
    GrantsLess,
    /// Whoever publishes is thrown out.
    ClosesPublishers,
    /// Whatever clients do, their connections stay open.
    NeverCloses,
}

const DEFECTS: [Defect; 13] = [
    Defect::Swallows,
    Defect::Downgrades,
    Defect::FlipsRetain,
    Defect::ClearsDup,
    Defect::Swaps,
    Defect::SwallowsWills,
    Defect::DeniesSessions,
    Defect::Unanswered,
    Defect::AnswersTwice,
    Defect::AnswersAnother,
    Defect::GrantsLess,
    Defect::ClosesPublishers,
    Defect::NeverCloses,
];

/// The end of a client that the world knows nothing of.
#[derive(Debug, Default)]
struct Caller {
    line: Option<ConnectionId>,
    last_id: u16,
    /// QoS 2 messages that were sent and not released: identifier, topic, payload.
    unreleased: Vec<(u16, usize, String)>,
    /// Its last acknowledgement, and whether that refused the message.
    last_ack: Option<(u16, PacketType, bool)>,
    version: Option<Version>,
    is_terse: bool,
    /// Topics that the broker knows by their aliases, which are their numbers.
    aliases_said: BTreeSet<usize>,
    /// Topics that the broker has given aliases to.
    aliases_heard: BTreeMap<u16, String>,
    alias_maximum: u16,
}

impl Caller {
    /// The topic that a PUBLISH says, or means by an alias.
    fn topic_of(&mut self, publish: &Publish<'_>) -> Result<String, String> {
        let Some(alias) = publish.properties.topic_alias() else {
            return Ok(publish.topic.to_owned());
        };
        if alias == 0 || alias > self.alias_maximum {
            return Err("the alias is above its maximum".into());
        }
        if !publish.topic.is_empty() {
            self.aliases_heard.insert(alias, publish.topic.to_owned());
        }
        let topic = self.aliases_heard.get(&alias);
        Ok(topic.ok_or("nobody knows this alias")?.clone())
    }
}

pub(crate) struct Play {
    world: World,
    reference: Reference,
    callers: [Caller; 4],
    numbers: u32,
    defect: Defect,
}

impl Play {
    pub(crate) fn new(defect: Defect) -> Self {
        Self {
            world: World::new(Config {
                durable: true,
                session: SessionConfig {
                    expiry_maximum_s: u32::MAX,
                    expiry_3x_s: u32::MAX,
                    ..SessionConfig::default()
                },
                protocol: Protocol {
                    keep_alive_maximum_s: 0,
                    ..Protocol::default()
                },
                ..Config::default()
            }),
            reference: Reference::default(),
            callers: Default::default(),
            numbers: 0,
            defect,
        }
    }

    /// All of them; after each the broker comes to rest, and everybody says what was heard. Each
    /// takes a moment, so that no two clients are silent for too long at the same time.
    pub(crate) fn run(&mut self, operations: &[Operation]) -> Result<(), String> {
        for (place, operation) in operations.iter().enumerate() {
            let outcome = self
                .carry_out(operation)
                .and_then(|()| self.listen())
                .and_then(|()| self.reference.check())
                .and_then(|()| self.pass(1));
            outcome.map_err(|what| format!("after {}, {operation:?}: {what}", place + 1))?;
        }
        Ok(())
    }

    fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    /// An identifier that this client has not used before.
    fn next_id(&mut self, client: Client) -> PacketId {
        let caller = &mut self.callers[client];
        caller.last_id += 1;
        PacketId::new(caller.last_id).expect("not zero")
    }

    fn line(&self, client: Client) -> Option<ConnectionId> {
        self.callers[client].line
    }

    fn carry_out(&mut self, operation: &Operation) -> Result<(), String> {
        match *operation {
            Operation::Connect(enter) => self.connect(enter)?,
            Operation::Subscribe(join) => self.subscribe(join)?,
            Operation::Unsubscribe { client, filter } => {
                if self.line(client).is_some() {
                    let id = self.next_id(client);
                    self.reference
                        .unsubscribe(client, id.get(), FILTERS[filter]);
                    let mut filters = UnsubscribeBuffer::new();
                    filters.push(FILTERS[filter]);
                    let packet = Packet::Unsubscribe(Unsubscribe {
                        packet_id: id,
                        properties: Properties::EMPTY,
                        filters: filters.as_filters(self.version(client)),
                    });
                    self.send(client, &packet);
                }
            }
            Operation::Publish(say) => self.publish(say),
            Operation::Repeat { client } => {
                if self.line(client).is_some()
                    && let Some((id, topic, text)) = self.callers[client].unreleased.last().cloned()
                {
                    let again = Publish {
                        dup: true,
                        ..publish(TOPICS[topic], text.as_bytes(), QoS::ExactlyOnce, id)
                    };
                    self.reference.publish(client, &again, None);
                    self.send(client, &Packet::Publish(again));
                }
            }
            Operation::Release { client } => {
                if self.line(client).is_some() && !self.callers[client].unreleased.is_empty() {
                    let (id, ..) = self.callers[client].unreleased.remove(0);
                    self.release(client, id);
                }
            }
            Operation::Acknowledge { client, nth } => {
                if let Some(turn) = self.reference.nth_open(client, nth) {
                    self.acknowledge(client, turn, false);
                }
            }
            Operation::AcknowledgeAnyhow {
                client,
                nth,
                kind,
                is_refused,
            } => {
                if let Some((id, _)) = self.reference.nth_open(client, nth) {
                    self.acknowledge(client, (id, ACKNOWLEDGEMENTS[kind]), is_refused);
                }
            }
            Operation::AcknowledgeAgain { client } => {
                if let Some((id, kind, is_refused)) = self.callers[client].last_ack {
                    self.acknowledge(client, (id, kind), is_refused);
                }
            }
            Operation::AcknowledgeNothing { client, kind } => match ACKNOWLEDGEMENTS.get(kind) {
                Some(kind) => self.acknowledge(client, (NOTHING, *kind), false),
                None => self.release(client, NOTHING),
            },
            Operation::Drop { client } => {
                if let Some(line) = self.callers[client].line.take() {
                    self.reference.lost(client);
                    self.cut(line);
                }
            }
            Operation::Disconnect { client, keeps_will } => self.disconnect(client, keeps_will),
            Operation::Ping { client } => {
                if self.line(client).is_some() {
                    self.reference.ping(client);
                    self.send(client, &Packet::PingReq);
                }
            }
            Operation::ConnectNameless { version, clean } => {
                self.connect_nameless(version, clean)?;
            }
            Operation::Pass { ms } => self.pass(ms)?,
            Operation::Restart => {
                self.reference.restart();
                self.world.crash();
                for caller in &mut self.callers {
                    caller.line = None;
                }
                // Wills without delay are due at once.
                self.reference.pass(1);
                self.world.pass_ms(1);
            }
        }
        Ok(())
    }

    /// In steps, because what is heard is judged by when it was sent.
    fn pass(&mut self, ms: u64) -> Result<(), String> {
        let mut left_ms = ms;
        while left_ms > 0 {
            let step_ms = self.reference.step_ms(left_ms.min(STEP_MS));
            left_ms -= step_ms;
            self.reference.pass(step_ms);
            self.world.pass_ms(step_ms);
            self.listen()?;
            self.reference.check()?;
        }
        Ok(())
    }

    /// Sends a packet, if the client has a connection.
    fn send(&mut self, client: Client, packet: &Packet<'_>) {
        if let Some(line) = self.line(client) {
            self.reference.spoke(client);
            self.world.send(line, packet);
        }
    }

    fn version(&self, client: Client) -> Version {
        self.callers[client].version.unwrap_or(VERSIONS[client])
    }

    /// 3.1 wants a name, and 3.1.1 wants one for a session that lasts; 5.0 gives one.
    fn connect_nameless(&mut self, version: Version, clean: bool) -> Result<(), String> {
        let packet = Connect {
            clean_start: clean,
            ..connect(version, "")
        };
        let line = self.world.open_with(&packet);
        let answer = self.world.next(line).ok_or("no CONNACK")?;
        let Packet::ConnAck(answer) = answer.packet() else {
            return Err(format!("{answer:?} instead of CONNACK"));
        };
        let may_enter = version == Version::V5 || (version == Version::V4 && clean);
        let name = answer.properties.assigned_client_identifier();
        let has_name = name.is_some_and(|name| !name.is_empty());
        let is_right = match may_enter {
            true => answer.reason == ReasonCode::SUCCESS && has_name == (version == Version::V5),
            false => answer.reason == ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
        };
        if !is_right || answer.session_present || self.world.is_closed(line) == may_enter {
            return Err(format!("{answer:?} to who has no name"));
        }
        if may_enter {
            self.world.cut(line);
        }
        Ok(())
    }

    fn cut(&mut self, line: ConnectionId) {
        if self.defect == Defect::SwallowsWills {
            self.world.disconnect(line, ReasonCode::SUCCESS);
        }
        self.world.cut(line);
    }

    fn connect(&mut self, enter: Enter) -> Result<(), String> {
        let Enter {
            client,
            clean,
            expiry_s,
            receive_maximum,
            will,
            extras,
        } = enter;
        let version = extras.version.unwrap_or(VERSIONS[client]);
        let is_v5 = version == Version::V5;
        let expiry_s = match (version, clean) {
            (Version::V5, _) => expiry_s,
            (_, true) => 0,
            (_, false) => u32::MAX,
        };
        let will = will.map(|(qos, retain, delay_s)| Will {
            number: self.number(),
            qos,
            retain,
            delay_s: if is_v5 { delay_s } else { 0 },
            expiry_s: extras.will_expiry_s.filter(|_| is_v5),
        });
        let hello = Hello {
            version,
            clean,
            expiry_s,
            receive_maximum,
            keep_alive_s: extras.keep_alive_s,
            is_small: extras.is_small,
            will,
        };
        let mut properties = PropertyBuffer::new();
        let mut will_properties = PropertyBuffer::new();
        if is_v5 {
            properties.push(Property::SessionExpiryInterval(expiry_s));
            properties.push(Property::ReceiveMaximum(receive_maximum));
            if extras.is_small {
                properties.push(Property::MaximumPacketSize(SMALL_BYTES));
            }
            properties.push(Property::TopicAliasMaximum(extras.topic_alias_maximum));
            properties.push(Property::RequestProblemInformation(!extras.is_terse));
            if let Some(seconds) = will.and_then(|will| will.expiry_s) {
                will_properties.push(Property::MessageExpiryInterval(seconds));
            }
            let delay_s = will.map_or(0, |will| will.delay_s);
            will_properties.push(Property::WillDelayInterval(delay_s));
        }
        let (name, topic) = (format!("c{client}"), format!("w/{client}"));
        let text = will.map_or_else(String::new, |will| will.number.to_string());
        let is_present = self.reference.connect(client, &hello);
        let packet = Connect {
            clean_start: clean,
            keep_alive_s: extras.keep_alive_s,
            properties: properties.as_properties(),
            will: will.map(|will| whimbrel_core::codec::packet::Will {
                topic: &topic,
                payload: text.as_bytes(),
                qos: will.qos,
                retain: will.retain,
                properties: will_properties.as_properties(),
            }),
            ..connect(version, &name)
        };
        let line = self.world.open_with(&packet);
        if let Some(old) = self.callers[client].line.take() {
            self.taken_over(self.version(client), old)?;
        }
        let answer = self.world.next(line).ok_or("no CONNACK")?;
        let Packet::ConnAck(answer) = answer.packet() else {
            return Err(format!("{answer:?} instead of CONNACK"));
        };
        let said = answer.session_present && self.defect != Defect::DeniesSessions;
        if answer.reason.is_error() || said != (is_present && version != Version::V3) {
            return Err(format!("{answer:?}, a session is there: {is_present}"));
        }
        let caller = &mut self.callers[client];
        caller.line = Some(line);
        caller.version = Some(version);
        caller.is_terse = extras.is_terse;
        caller.aliases_said.clear();
        caller.aliases_heard.clear();
        caller.alias_maximum = extras.topic_alias_maximum;
        if !is_present {
            caller.unreleased.clear();
        }
        Ok(())
    }

    /// The connection before is closed, and nothing comes on it but why.
    fn taken_over(&mut self, version: Version, old: ConnectionId) -> Result<(), String> {
        if !self.world.is_closed(old) {
            return Err("the connection before stays open".into());
        }
        let came = self.world.drain(old);
        let said: Vec<_> = came.iter().map(|received| received.packet()).collect();
        match said[..] {
            [] if version < Version::V5 => Ok(()),
            [Packet::Disconnect(Disconnect { reason, .. })]
                if version == Version::V5 && reason == ReasonCode::SESSION_TAKEN_OVER =>
            {
                Ok(())
            }
            _ => Err(format!("{said:?} on the connection before")),
        }
    }

    fn subscribe(&mut self, join: Join) -> Result<(), String> {
        let Join {
            client,
            filter,
            qos,
            no_local,
            retain_as_published,
            retain_handling,
            identifier,
        } = join;
        if self.line(client).is_none() {
            return Ok(());
        }
        let is_v5 = self.version(client) == Version::V5;
        let filter = FILTERS[filter];
        let mut options = SubscribeOptions {
            maximum_qos: qos,
            ..SubscribeOptions::default()
        };
        let mut properties = PropertyBuffer::new();
        if is_v5 {
            options.no_local = no_local && !filter.starts_with("$share");
            options.retain_as_published = retain_as_published;
            options.retain_handling = retain_handling;
            if identifier > 0 {
                properties.push(Property::SubscriptionIdentifier(identifier));
            }
        }
        let identifier = if is_v5 { identifier } else { 0 };
        let id = self.next_id(client);
        self.reference
            .subscribe(client, (id.get(), filter), (options, identifier));
        let mut filters = SubscribeBuffer::new();
        filters.push(filter, options);
        let packet = Packet::Subscribe(Subscribe {
            packet_id: id,
            properties: properties.as_properties(),
            filters: filters.as_filters(self.version(client)),
        });
        self.send(client, &packet);
        Ok(())
    }

    fn publish(&mut self, say: Say) {
        let Say {
            client,
            topic,
            qos,
            retain,
            is_empty,
            expiry_s,
            has_alias,
            is_large,
        } = say;
        let Some(line) = self.line(client) else {
            return;
        };
        let text = match is_empty {
            true => String::new(),
            false if is_large => format!("{:.<1$}", self.number(), SMALL_BYTES as usize),
            false => self.number().to_string(),
        };
        let id = self.next_id(client).get();
        if qos == QoS::ExactlyOnce {
            let caller = &mut self.callers[client];
            caller.unreleased.push((id, topic, text.clone()));
        }
        let expiry_s = expiry_s.filter(|_| self.version(client) == Version::V5);
        let mut properties = PropertyBuffer::new();
        if let Some(seconds) = expiry_s {
            properties.push(Property::MessageExpiryInterval(seconds));
        }
        let has_alias = has_alias && self.version(client) == Version::V5;
        if has_alias {
            properties.push(Property::TopicAlias(topic as u16 + 1));
        }
        let message = Publish {
            retain,
            properties: properties.as_properties(),
            ..publish(TOPICS[topic], text.as_bytes(), qos, id)
        };
        self.reference.publish(client, &message, expiry_s);
        let aliases = &mut self.callers[client].aliases_said;
        let is_known = has_alias && !aliases.insert(topic);
        let topic = if is_known { "" } else { message.topic };
        let said = Publish { topic, ..message };
        self.send(client, &Packet::Publish(said));
        if self.defect == Defect::ClosesPublishers {
            let why = CloseReason::Administrative;
            self.world.expel(line, why);
        }
    }

    /// Sends an acknowledgement, with an error only where that can be said.
    fn acknowledge(&mut self, client: Client, (id, kind): (u16, PacketType), is_refused: bool) {
        let Some(line) = self.line(client) else {
            return;
        };
        let packet: fn(Ack<'static>) -> Packet<'static> = match kind {
            PacketType::PubRec => Packet::PubRec,
            PacketType::PubComp => Packet::PubComp,
            _ => Packet::PubAck,
        };
        let may_refuse = self.version(client) == Version::V5 && kind != PacketType::PubComp;
        let is_refused = is_refused && may_refuse;
        let reason = match is_refused {
            true => ReasonCode::UNSPECIFIED,
            false => ReasonCode::SUCCESS,
        };
        self.callers[client].last_ack = Some((id, kind, is_refused));
        self.reference.acknowledge(client, (kind, id), is_refused);
        self.reference.spoke(client);
        self.world.answer(line, packet, id, reason);
    }

    fn release(&mut self, client: Client, id: u16) {
        if let Some(line) = self.line(client) {
            self.reference.release(client, id);
            self.reference.spoke(client);
            self.world
                .answer(line, Packet::PubRel, id, ReasonCode::SUCCESS);
        }
    }

    fn disconnect(&mut self, client: Client, keeps_will: bool) {
        let Some(line) = self.callers[client].line.take() else {
            return;
        };
        let keeps_will = keeps_will && self.version(client) == Version::V5;
        self.reference.disconnect(client, keeps_will);
        let reason = match keeps_will {
            true => ReasonCode::DISCONNECT_WITH_WILL,
            false => ReasonCode::SUCCESS,
        };
        let goodbye = Disconnect {
            reason,
            properties: Properties::EMPTY,
        };
        self.world.send(line, &Packet::Disconnect(goodbye));
    }

    /// Tells the reference what everybody has heard: first who was closed, because others hear
    /// what follows from that.
    fn listen(&mut self) -> Result<(), String> {
        let mut open = Vec::new();
        for client in 0..VERSIONS.len() {
            let Some(line) = self.line(client) else {
                continue;
            };
            if !self.world.is_closed(line) || self.defect == Defect::NeverCloses {
                open.push((client, line));
                continue;
            }
            let farewell = self.listen_to(client, line)?;
            self.callers[client].line = None;
            self.reference
                .closed(client, farewell)
                .map_err(|what| format!("client {client}: {what}"))?;
        }
        for (client, line) in open {
            if let Some(reason) = self.listen_to(client, line)?
                && self.defect != Defect::NeverCloses
            {
                return Err(format!(
                    "client {client} hears {reason:?} and is not closed"
                ));
            }
        }
        Ok(())
    }

    /// Gives the reason of a DISCONNECT.
    fn listen_to(
        &mut self,
        client: Client,
        line: ConnectionId,
    ) -> Result<Option<ReasonCode>, String> {
        let mut came = self.world.drain(line);
        if self.defect == Defect::Swaps {
            came.reverse();
        }
        let mut farewell = None;
        for received in &came {
            let packet = received.packet();
            match packet {
                Packet::Disconnect(disconnect) => farewell = Some(disconnect.reason),
                _ => self
                    .hear(client, &packet)
                    .map_err(|what| format!("client {client} hears {packet:?}: {what}"))?,
            }
        }
        Ok(farewell)
    }

    fn hear(&mut self, client: Client, packet: &Packet<'_>) -> Result<(), String> {
        match packet {
            Packet::Publish(publish) => {
                let caller = &mut self.callers[client];
                let topic = caller.topic_of(publish)?;
                let mut publish = Publish {
                    topic: &topic,
                    ..*publish
                };
                match self.defect {
                    Defect::Swallows => return Ok(()),
                    Defect::Downgrades if publish.qos == QoS::ExactlyOnce => {
                        publish.qos = QoS::AtLeastOnce;
                    }
                    Defect::FlipsRetain => publish.retain = !publish.retain,
                    Defect::ClearsDup => publish.dup = false,
                    _ => {}
                }
                self.reference.hears(client, &publish)
            }
            Packet::PubAck(Ack { properties, .. })
            | Packet::PubRec(Ack { properties, .. })
            | Packet::PubRel(Ack { properties, .. })
            | Packet::PubComp(Ack { properties, .. })
            | Packet::SubAck(SubAck { properties, .. })
            | Packet::UnsubAck(SubAck { properties, .. })
                if self.callers[client].is_terse && !properties.is_empty() =>
            {
                Err("it has not asked for as much".into())
            }
            _ => {
                let mut heard = Heard::of(packet).ok_or("nobody asked for it")?;
                match self.defect {
                    Defect::Unanswered if heard.kind != PacketType::PubRel => return Ok(()),
                    Defect::AnswersTwice => self.reference.hears_answer(client, &heard)?,
                    Defect::AnswersAnother => heard.id = heard.id.wrapping_sub(1),
                    Defect::GrantsLess if heard.reason == ReasonCode(2) => {
                        heard.reason = ReasonCode(1);
                    }
                    _ => {}
                }
                self.reference.hears_answer(client, &heard)
            }
        }
    }
}

fn hold(operations: Vec<Operation>) -> TestResult {
    match Play::new(Defect::None).run(&operations) {
        Ok(()) => TestResult::passed(),
        Err(what) => TestResult::error(what),
    }
}

/// `MODEL_RUNS` says how many sequences are tried.
#[test]
fn clients_hear_what_they_may_hear() {
    let runs = std::env::var("MODEL_RUNS").ok();
    let runs = runs.map_or(1_000, |runs| runs.parse().expect("MODEL_RUNS is a number"));
    QuickCheck::new()
        .rng(Gen::new(60))
        .tests(runs)
        .max_tests(runs) // Else 10,000, whatever is said above.
        .quickcheck(hold as fn(Vec<Operation>) -> TestResult);
}

/// The reference bites: each of these is noticed, and soon.
#[test]
fn every_deliberate_defect_is_noticed() {
    let mut g = Gen::new(60);
    for defect in DEFECTS {
        let found = (1..=3_000).find(|_| {
            let operations: Vec<Operation> = quickcheck::Arbitrary::arbitrary(&mut g);
            Play::new(defect).run(&operations).is_err()
        });
        println!("{:<16} {found:?} runs", format!("{defect:?}"));
        assert!(found.is_some(), "{defect:?} is not noticed");
    }
}
