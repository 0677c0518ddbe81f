//! A client that keeps to the rules: the real state machine, and somebody who uses it at random.

use super::identifiers::{Choice, Identifiers};
use super::network::{Owner, Piece};
use super::oracle::{Arrival, Ask, Flags, WillKind, payload};
use super::scene::Scene;
use std::collections::{BTreeMap, VecDeque};
use whimbrel_core::Timestamp;
use whimbrel_core::client::{
    Client, ClientEvent, Config, DisconnectRequest, End, Misuse, PublishRequest, SubscribeRequest,
    UnsubscribeRequest, Will,
};
use whimbrel_core::codec::packet::{QoS, RetainHandling, SubscribeOptions, Version};
use whimbrel_core::codec::{self, Packet, Property, PropertyBuffer, ReasonCode, frame};
use whimbrel_core::id::PacketId;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Filters that overlap.
const FILTERS: [&str; 7] = ["t/#", "t/+/0", "t/1/+", "t/0/0", "t/2/#", "r/#", "t/0/1"];

/// How many filters a request has: one of them is drawn.
const FILTER_COUNTS: &[usize] = &[1, 1, 1, 1, 2, 3];

/// Repeated often enough, this is a filter with more levels than one may have.
const TOO_DEEP: &str = "t/";

/// So many neighbours have most to do with each other, in a crowd.
const DISTRICT: usize = 8;

/// What a player is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Does anything.
    Any,
    /// Hears all wills, and never gives that up.
    Watcher,
    /// Looks at the end what is retained.
    Auditor,
}

/// What a packet identifier stands for.
#[derive(Clone, Debug)]
enum Request {
    Message(u64),
    /// The fact that it was sent; and filters, each with the fact that it was asked for.
    Subscribe(u64, Vec<(String, u64)>),
    /// The same without those.
    Unsubscribe(u64, Vec<String>),
}

/// An event, taken out of the client that it borrows from.
enum Fact {
    Connected(bool),
    Message(Arrival),
    Acknowledged(u16, bool),
    Subscribed(u16, Vec<u8>),
    Unsubscribed(u16, Vec<u8>),
    Abandoned(u16),
    Over,
    Fault(String),
    Nothing,
}

impl From<ClientEvent<'_>> for Fact {
    fn from(event: ClientEvent<'_>) -> Self {
        match event {
            ClientEvent::Connected(connack) => Self::Connected(connack.session_present),
            ClientEvent::Message(publish) => Self::Message(Arrival {
                topic: publish.topic.to_owned(),
                payload: publish.payload.to_vec(),
                qos: publish.qos,
                dup: publish.dup,
                retain: publish.retain,
                packet_id: publish.packet_id.map_or(0, PacketId::get),
            }),
            ClientEvent::Acknowledged(ack) => {
                // A PUBCOMP for what the broker has completed before says that it knows nothing of
                // it.
                let is_refused =
                    ack.reason.is_error() && ack.reason != ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
                Self::Acknowledged(ack.packet_id.get(), is_refused)
            }
            ClientEvent::Subscribed(answer) => {
                Self::Subscribed(answer.packet_id.get(), answer.reasons.to_vec())
            }
            ClientEvent::Unsubscribed(answer) => {
                Self::Unsubscribed(answer.packet_id.get(), answer.reasons.to_vec())
            }
            ClientEvent::Abandoned(id) => Self::Abandoned(id.get()),
            ClientEvent::Disconnected(End::Fault(fault)) => Self::Fault(fault.to_string()),
            ClientEvent::Refused(_) | ClientEvent::Disconnected(_) => Self::Over,
            ClientEvent::Authentication(_) => Self::Nothing,
        }
    }
}

/// One client and its user.
pub(super) struct Player {
    index: usize,
    role: Role,
    version: Version,
    /// Its sessions outlive their connections.
    is_persistent: bool,
    /// In this life.
    persists: bool,
    /// 3.x: a session with clean start is needed before the next one that is to persist.
    is_purged: bool,
    client: Client,
    identifiers: Identifiers,
    /// Its user acknowledges messages, some time after they came.
    is_manual: bool,
    line: Option<u64>,
    requests: BTreeMap<u16, Request>,
    /// Messages not acknowledged yet, and when they will be.
    held: VecDeque<(u64, PacketId, Arrival)>,
    act_at: u64,
    /// When it has something to do, unless something arrives before.
    pub(super) wake_at: u64,
    /// Its socket was full when it had its last turn.
    is_stuck: bool,
    /// What is retained, as far as it has heard.
    pub(super) retained: Vec<(String, String)>,
    /// The first subscription is granted.
    pub(super) is_ready: bool,
}

impl Player {
    pub(super) fn new(index: usize, role: Role, scene: &mut Scene) -> Self {
        let version = match role {
            Role::Any => scene.chance.pick(&crate::world::VERSIONS),
            Role::Watcher | Role::Auditor => Version::V5,
        };
        let is_persistent = match role {
            Role::Any => scene.chance.percent(70),
            Role::Watcher => true,
            Role::Auditor => false,
        };
        let choice = match role {
            Role::Any => scene.chance.pick(&Choice::ALL),
            Role::Watcher | Role::Auditor => Choice::InTurn,
        };
        let placeholder = Client::new(Config::default(), Timestamp(scene.now));
        let mut player = Self {
            index,
            role,
            version,
            is_persistent,
            persists: false,
            is_purged: true,
            client: placeholder.expect("the default is valid"),
            identifiers: Identifiers::new(choice),
            is_manual: false,
            line: None,
            requests: BTreeMap::new(),
            held: VecDeque::new(),
            act_at: scene.now + 1,
            wake_at: scene.now + 1,
            is_stuck: false,
            retained: Vec::new(),
            is_ready: false,
        };
        player.begin_life(scene);
        player
    }

    /// A new client, which knows nothing of the one before.
    fn begin_life(&mut self, scene: &mut Scene) {
        let persists = self.is_persistent && (self.version == Version::V5 || self.is_purged);
        self.persists = persists;
        self.is_purged = false;
        self.leave_group(scene);
        let no_local = self.no_local(scene);
        let kind = (persists, no_local);
        scene.oracle.born(self.index, self.version, kind);
        self.requests.clear();
        self.identifiers.clear();
        self.held.clear();
        let chance = &mut scene.chance;
        let is_plain = self.role != Role::Any;
        let mut config = Config {
            version: self.version,
            client_id: format!("player-{}", self.index),
            clean_start: self.version == Version::V5 || !persists,
            session_expiry_s: if persists { u32::MAX } else { 0 },
            keep_alive_s: chance.pick(&[0, 0, 5, 30]),
            receive_maximum: chance.pick(&[1, 2, 10, u16::MAX]),
            topic_aliases: chance.pick(&[0, 2]),
            topic_alias_maximum: chance.pick(&[0, 2]),
            inflight_max: chance.pick(&[1, 5, 1_000]),
            manual_acknowledgement: !is_plain && chance.one_in(4),
            ..Config::default()
        };
        if chance.percent(60) && !is_plain {
            config.will = Some(self.make_will(scene));
        }
        self.is_manual = config.manual_acknowledgement;
        let client = Client::new(config, Timestamp(scene.now));
        self.client = client.expect("a configuration that can be said");
    }

    fn make_will(&self, scene: &mut Scene) -> Will {
        let qos = scene.chance.pick(&QOS);
        let delays_s = match scene.long_absences {
            true => [0, 1, 2],
            false => [0, 0, 2],
        };
        let mut delay_s = scene.chance.pick(&delays_s);
        let mut properties = PropertyBuffer::new();
        if self.version == Version::V5 {
            properties.push(Property::WillDelayInterval(delay_s));
        }
        if self.version != Version::V5 || !self.persists {
            delay_s = 0; // its session does not wait, so it does not either
        }
        let retain = scene.chance.one_in(2);
        let kind = WillKind {
            qos,
            retain,
            delay_s,
        };
        Will {
            topic: format!("w/{}", self.index),
            payload: scene.oracle.has_will(self.index, kind).into_bytes(),
            qos,
            retain,
            properties,
        }
    }

    // --- What happens to it ---

    /// Reads what has arrived, does what is due, and sends.
    pub(super) fn turn(&mut self, has_mail: bool, scene: &mut Scene) {
        if !(has_mail || self.is_stuck || self.wake_at <= scene.now) {
            return;
        }
        self.read(scene);
        self.work(scene);
        self.is_stuck = false;
        if let Some(id) = self.line {
            self.send(id, scene);
        }
        self.wake_at = self.next_at();
    }

    /// Reads what has arrived.
    fn read(&mut self, scene: &mut Scene) {
        while let Some(id) = self.line
            && !self.client.is_paused()
        {
            let line = scene.network.lines.get_mut(&id);
            let Some(piece) = line.and_then(|line| line.down.pop(scene.now)) else {
                return;
            };
            match piece {
                Piece::Open => {}
                Piece::Bytes(bytes) => match self.identifiers.down(bytes) {
                    Ok(bytes) => self.client.receive(Timestamp(scene.now), &bytes),
                    Err(what) => {
                        let index = self.index;
                        scene.oracle.fail(format!("player {index}: {what}"));
                    }
                },
                Piece::End => self.client.transport_closed(Timestamp(scene.now)),
            }
            self.hear(scene);
        }
    }

    fn hear(&mut self, scene: &mut Scene) {
        while let Some(fact) = self.client.poll_event().map(Fact::from) {
            match fact {
                Fact::Connected(is_present) => {
                    self.is_purged = !self.persists;
                    if let Some(line) = self.line {
                        scene.oracle.connected(self.index, line, is_present);
                    }
                }
                Fact::Message(arrival) => self.take(arrival, scene),
                Fact::Acknowledged(id, is_error) => {
                    if let Some(Request::Message(number)) = self.end(id) {
                        scene.oracle.acknowledged(number, is_error);
                    }
                }
                Fact::Subscribed(id, reasons) => {
                    if let Some(Request::Subscribe(asked, filters)) = self.end(id) {
                        self.is_ready |= reasons.iter().all(|reason| *reason < 0x80);
                        self.subscribed(&filters, &reasons, scene);
                        scene.oracle.answered(self.index, asked, reasons);
                    }
                }
                Fact::Unsubscribed(id, reasons) => {
                    if let Some(Request::Unsubscribe(asked, filters)) = self.end(id) {
                        if filters.iter().any(|filter| filter.starts_with('$')) {
                            scene.oracle.unsubscribed(self.index);
                        }
                        scene.oracle.answered(self.index, asked, reasons);
                    }
                }
                Fact::Abandoned(id) => {
                    if let Some(Request::Message(number)) = self.end(id) {
                        scene.oracle.abandoned(number);
                    }
                }
                Fact::Over => self.hang_up(scene),
                Fact::Fault(fault) => {
                    let index = self.index;
                    scene
                        .oracle
                        .fail(format!("player {index}: the broker is at fault: {fault}"));
                }
                Fact::Nothing => {}
            }
        }
    }

    fn subscribed(&self, filters: &[(String, u64)], reasons: &[u8], scene: &mut Scene) {
        for ((filter, asked), reason) in filters.iter().zip(reasons) {
            let is_granted = *reason < 0x80;
            if is_granted && filter.starts_with('$') {
                scene.sharers.push(Owner::Player(self.index));
            }
            let oracle = &mut scene.oracle;
            oracle.subscribed(self.index, (filter, *asked), is_granted);
        }
    }

    /// An exchange is over, and its packet identifier free.
    fn end(&mut self, id: u16) -> Option<Request> {
        self.identifiers.free(id);
        self.requests.remove(&id)
    }

    fn take(&mut self, arrival: Arrival, scene: &mut Scene) {
        if arrival.retain && self.role == Role::Auditor {
            let text = String::from_utf8_lossy(&arrival.payload);
            let text = text.trim_end_matches('.').to_owned();
            self.retained.push((arrival.topic.clone(), text));
        }
        // Counted when it is taken over: until then the broker may send it again.
        match PacketId::new(arrival.packet_id) {
            Some(id) if self.is_manual => {
                let patience_ms = if scene.is_calm { 0 } else { 500 };
                let at = scene.now + scene.chance.between(0, patience_ms);
                let at = self.held.back().map_or(at, |(last, ..)| at.max(*last));
                let is_known = self.held.iter().any(|(_, known, _)| *known == id);
                if !is_known {
                    self.held.push_back((at, id, arrival));
                }
            }
            _ => scene.oracle.arrived(self.index, &arrival, scene.now),
        }
    }

    fn acknowledge_held(&mut self, scene: &mut Scene) {
        while self.held.front().is_some_and(|(at, ..)| *at <= scene.now)
            && let Some((_, id, arrival)) = self.held.pop_front()
        {
            let now = Timestamp(scene.now);
            if self
                .client
                .acknowledge(now, id, ReasonCode::SUCCESS)
                .is_ok()
            {
                scene.oracle.arrived(self.index, &arrival, scene.now);
            }
        }
    }

    /// The connection is over: writes what there is, and closes.
    fn hang_up(&mut self, scene: &mut Scene) {
        self.held.clear();
        let Some(id) = self.line.take() else { return };
        scene.oracle.disconnected(self.index, id);
        if let Some(line) = scene.network.lines.get_mut(&id) {
            line.is_client_there = false;
        }
        self.send(id, scene);
        if let Some(line) = scene.network.lines.get_mut(&id) {
            line.up.end(scene.now + 1);
        }
        self.client.transport_closed(Timestamp(scene.now));
        self.act_at = scene.now + scene.chance.between(1, scene.pause_ms * 4);
        self.stay_away(scene);
    }

    /// Does not come back for longer than its will waits, now and then.
    fn stay_away(&mut self, scene: &mut Scene) {
        let may = scene.long_absences && !scene.is_calm && self.role == Role::Any;
        if may && scene.chance.one_in(2) {
            self.act_at = scene.now + scene.chance.between(3_500, 12_000);
        }
    }

    /// Lets the line go without a word; the broker hears of it later.
    fn abandon_line(&mut self, scene: &mut Scene) {
        self.held.clear();
        let Some(id) = self.line.take() else { return };
        scene.oracle.disconnected(self.index, id);
        let notices_at = scene.now + scene.chance.between(1, 10_000);
        if let Some(line) = scene.network.lines.get_mut(&id) {
            line.is_client_there = false;
            line.cut(scene.now, notices_at);
        }
    }

    // --- What it does ---

    /// Whether it has all that it waits for.
    pub(super) fn is_content(&self) -> bool {
        self.line.is_some()
            && self.client.is_connected()
            && self.client.unacknowledged_count() == 0
            && self.requests.is_empty()
            && self.held.is_empty()
    }

    fn next_at(&self) -> u64 {
        let held = self.held.front().map(|(at, ..)| *at);
        let deadline = self.client.next_deadline().map(|at| at.0);
        let others = held.into_iter().chain(deadline);
        others.fold(self.act_at, u64::min)
    }

    /// Whatever is due.
    fn work(&mut self, scene: &mut Scene) {
        let now = Timestamp(scene.now);
        if self.client.next_deadline().is_some_and(|at| at <= now) {
            self.client.advance(now);
        }
        self.acknowledge_held(scene);
        self.hear(scene);
        if self.act_at > scene.now {
            return;
        }
        self.act_at = scene.now + scene.chance.between(1, scene.pause_ms);
        if self.line.is_none() {
            self.connect(scene);
        } else if self.client.is_connected() {
            self.act(scene);
        }
        self.hear(scene);
    }

    /// Sends what the client has to send.
    fn send(&mut self, id: u64, scene: &mut Scene) {
        let Some(line) = scene.network.lines.get_mut(&id) else {
            return;
        };
        if line.is_client_there && !line.up.has_room(scene.weather) {
            self.is_stuck = true;
            return;
        }
        let mut bytes = Vec::new();
        self.client.transmit(&mut bytes);
        self.identifiers.up(&mut bytes, &mut scene.chance);
        let who = (Owner::Player(self.index), self.version);
        let answers = scene.mischief.up(who, &mut bytes);
        line.down
            .write(scene.now, &answers, scene.weather, &mut scene.chance);
        line.up
            .write(scene.now, &bytes, scene.weather, &mut scene.chance);
    }

    fn connect(&mut self, scene: &mut Scene) {
        scene.counts.operation("connect");
        // What an earlier connection still had under way does not arrive any more.
        let owner = Owner::Player(self.index);
        for line in scene.network.lines.values_mut() {
            if line.owner == owner && line.up.next_at().is_some() {
                let notices_at = scene.now + scene.chance.between(1, 5_000);
                line.cut(scene.now, notices_at);
            }
        }
        let at = scene.now + scene.chance.between(1, scene.weather.latency_ms);
        let id = scene.network.open(owner, self.version, at);
        self.line = Some(id);
        self.client.connected(Timestamp(scene.now));
        self.identifiers.reconnected();
        let mut bytes = Vec::new();
        self.client.transmit(&mut bytes);
        let clean_start = match frame::split(&bytes, u32::MAX) {
            Ok(Some((frame, _))) => match codec::decode(self.version, frame) {
                Ok(Packet::Connect(connect)) => connect.clean_start,
                _ => unreachable!("the first packet is CONNECT"),
            },
            _ => unreachable!("it is whole"),
        };
        scene.oracle.connecting(self.index, id, clean_start);
        scene.mischief.connect(self.version, &mut bytes);
        if clean_start && let Some(bytes) = scene.mischief.kept_session() {
            let owner = Owner::Hostile(usize::MAX);
            let kept = scene.network.open(owner, Version::V5, at);
            if let Some(line) = scene.network.lines.get_mut(&kept) {
                line.up
                    .write(scene.now, &bytes, scene.weather, &mut scene.chance);
                line.is_client_there = false;
            }
        }
        if let Some(line) = scene.network.lines.get_mut(&id) {
            line.up
                .write(scene.now, &bytes, scene.weather, &mut scene.chance);
        }
    }

    fn act(&mut self, scene: &mut Scene) {
        if self.role != Role::Any && !self.is_ready {
            let filters: &[&str] = match self.role {
                Role::Watcher => &["w/#"],
                _ => &["r/#", "w/#"],
            };
            if self.requests.is_empty() {
                let asks = filters.iter();
                let asks = asks.map(|filter| ((*filter).to_owned(), QoS::ExactlyOnce));
                self.subscribe(asks.collect(), scene);
            }
            return;
        }
        if scene.is_calm {
            return;
        }
        let is_watcher = self.role == Role::Watcher;
        match scene.chance.below(100) {
            0..=64 => self.publish_some(scene),
            65..=79 => self.subscribe_something(scene),
            80..=83 => self.unsubscribe_something(scene),
            84..=86 => self.part(scene),
            87..=89 => {
                scene.counts.operation("take over");
                self.abandon_line(scene);
                self.connect(scene);
            }
            90..=91 => {
                scene.counts.operation("leave silently");
                self.abandon_line(scene);
                self.stay_away(scene);
            }
            92 if !is_watcher => {
                scene.counts.operation("begin anew");
                self.abandon_line(scene);
                self.begin_life(scene);
            }
            _ => {}
        }
    }

    fn part(&mut self, scene: &mut Scene) {
        scene.counts.operation("disconnect");
        let now = Timestamp(scene.now);
        if let Some(line) = self.line {
            scene.oracle.parting(self.index, line);
        }
        let parted = self.client.disconnect(now, &DisconnectRequest::default());
        debug_assert!(parted.is_ok(), "it is connected");
    }

    fn publish_some(&mut self, scene: &mut Scene) {
        for _ in 0..scene.chance.between(1, 6) {
            if self.publish(scene).is_err() {
                return;
            }
        }
    }

    fn publish(&mut self, scene: &mut Scene) -> Result<(), Misuse> {
        let chance = &mut scene.chance;
        let mut qos = chance.pick(&QOS);
        let (topic, retain) = match chance.below(10) {
            0 | 1 => {
                // Repeated at QoS 1 a message may overwrite a later one of QoS 2; so one of them a
                // topic.
                if qos > QoS::AtMostOnce {
                    qos = QOS[1 + self.index % 2];
                }
                let place = format!("r/{}", self.index);
                (self.in_district(&place, scene), true)
            }
            2 | 3 => {
                let place = format!("s/{}/{}", chance.below(2), chance.below(2));
                (self.in_district(&place, scene), false)
            }
            _ => {
                let place = format!("t/{}/{}", chance.below(3), chance.below(3));
                (self.in_district(&place, scene), false)
            }
        };
        let chance = &mut scene.chance;
        let mut flags = Flags {
            expires: self.version == Version::V5 && !retain && chance.one_in(10),
            clears: retain && chance.one_in(4),
            padding: 0,
        };
        let mut properties = PropertyBuffer::new();
        if flags.expires {
            let seconds = chance.between(0, 20);
            properties.push(Property::MessageExpiryInterval(seconds as u32));
        }
        flags.padding = chance.pick(&[0, 20, 300, 3_000, 5_000]);
        let number = scene.oracle.next_number();
        let payload = match flags.clears {
            true => String::new(),
            false => payload(number, flags.padding),
        };
        let request = PublishRequest {
            topic: &topic,
            payload: payload.as_bytes(),
            qos,
            retain,
            properties: properties.as_properties(),
        };
        let id = self.client.publish(Timestamp(scene.now), &request)?;
        scene.counts.operation(match (retain, qos) {
            (true, _) => "publish retained",
            (false, QoS::AtMostOnce) => "publish QoS 0",
            (false, QoS::AtLeastOnce) => "publish QoS 1",
            (false, QoS::ExactlyOnce) => "publish QoS 2",
        });
        scene.oracle.publishing(self.index, &topic, qos, flags);
        if let Some(id) = id {
            self.requests.insert(id.get(), Request::Message(number));
        }
        Ok(())
    }

    /// Whether it does not want to hear what it says itself.
    fn no_local(&self, scene: &Scene) -> bool {
        let can = self.version == Version::V5 && self.role == Role::Any;
        scene.no_local && can && self.index.is_multiple_of(2)
    }

    /// The group that it is in, if it is in one.
    const fn group(index: usize) -> Option<&'static str> {
        match index % 3 {
            1 => Some("$share/g/s/#"),
            2 => Some("$share/h/s/1/+"),
            _ => None,
        }
    }

    fn leave_group(&self, scene: &mut Scene) {
        let own = Owner::Player(self.index);
        scene.sharers.retain(|sharer| *sharer != own);
    }

    fn some_filter(&self, scene: &mut Scene) -> String {
        let filter = match Self::group(self.index) {
            Some(group) if self.version == Version::V5 && scene.chance.one_in(4) => group,
            _ => scene.chance.pick(&FILTERS),
        };
        let is_far = scene.is_crowd && !filter.starts_with('$') && scene.chance.one_in(100);
        match is_far {
            true => filter.to_owned(),
            false => self.in_district(filter, scene),
        }
    }

    /// In a crowd, the same topic or filter among a few: else everybody would hear everybody.
    fn in_district(&self, name: &str, scene: &Scene) -> String {
        if !scene.is_crowd {
            return name.to_owned();
        }
        let district = self.index / DISTRICT;
        let (share, name) = match name.strip_prefix("$share/") {
            Some(rest) => name.split_at(name.len() - rest.len() + 2),
            None => ("", name),
        };
        let (kind, place) = name.split_once('/').unwrap_or((name, "#"));
        format!("{share}{kind}/{district}/{place}")
    }

    /// Mostly one filter, or some in one request; among those is one that the broker refuses, now
    /// and then.
    fn subscribe_something(&mut self, scene: &mut Scene) {
        let count = scene.chance.pick(FILTER_COUNTS);
        let mut asks = Vec::new();
        for _ in 0..count {
            let filter = match count > 1 && scene.chance.one_in(8) {
                true => TOO_DEEP.repeat(200),
                false => self.some_filter(scene),
            };
            let qos = if filter.starts_with('$') {
                QOS[1 + scene.chance.below(2) as usize]
            } else {
                QOS[scene.chance.pick(&[0, 1, 1, 2, 2, 2])]
            };
            asks.push((filter, qos));
        }
        self.subscribe(asks, scene);
    }

    fn subscribe(&mut self, asks: Vec<(String, QoS)>, scene: &mut Scene) {
        let mut filters = Vec::new();
        for (filter, qos) in &asks {
            let mut options = SubscribeOptions {
                maximum_qos: *qos,
                ..SubscribeOptions::default()
            };
            options.no_local = self.no_local(scene) && !filter.starts_with('$');
            if self.version == Version::V5 && self.role == Role::Any {
                options.retain_handling = scene.chance.pick(&[
                    RetainHandling::Send,
                    RetainHandling::SendIfNew,
                    RetainHandling::DoNotSend,
                ]);
            }
            filters.push((filter.as_str(), options));
        }
        let request = SubscribeRequest {
            filters: &filters,
            ..SubscribeRequest::default()
        };
        if let Ok(id) = self.client.subscribe(Timestamp(scene.now), &request) {
            scene.counts.operation("subscribe");
            let (index, oracle) = (self.index, &mut scene.oracle);
            let said = asks.iter();
            let said = said.map(|(filter, qos)| (filter.clone(), Ask::Subscribe(*qos)));
            let asked = oracle.asking(index, said.collect());
            let asks = asks.into_iter().map(|(filter, qos)| {
                let fact = oracle.subscribing(index, &filter, qos);
                (filter, fact)
            });
            let request = Request::Subscribe(asked, asks.collect());
            self.requests.insert(id.get(), request);
        }
    }

    fn unsubscribe_something(&mut self, scene: &mut Scene) {
        let count = scene.chance.pick(FILTER_COUNTS);
        let filters: Vec<String> = (0..count).map(|_| self.some_filter(scene)).collect();
        let texts: Vec<&str> = filters.iter().map(String::as_str).collect();
        let request = UnsubscribeRequest {
            filters: &texts,
            ..UnsubscribeRequest::default()
        };
        if let Ok(id) = self.client.unsubscribe(Timestamp(scene.now), &request) {
            scene.counts.operation("unsubscribe");
            let said = filters.iter();
            let said = said.map(|filter| (filter.clone(), Ask::Unsubscribe));
            let asked = scene.oracle.asking(self.index, said.collect());
            for filter in &filters {
                if filter.starts_with('$') {
                    self.leave_group(scene);
                }
                scene.oracle.unsubscribing(self.index, filter);
            }
            let request = Request::Unsubscribe(asked, filters);
            self.requests.insert(id.get(), request);
        }
    }
}
