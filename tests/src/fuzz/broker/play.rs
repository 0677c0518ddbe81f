//! The script's machinery: carries out its inputs and the broker's actions, and checks what the
//! broker says about itself whenever it has come to rest.

use super::line::{Line, Owed};
use super::packets;
use crate::fuzz::script::Script;
use crate::recorded::Parts;
use crate::world::START;
use core::hash::{Hash, Hasher};
use std::collections::VecDeque;
use std::hash::DefaultHasher;
use whimbrel_core::action::{Action, Batch, CloseReason, Peer, Verdict};
use whimbrel_core::bundle::{Bundle, Bundled};
use whimbrel_core::codec::ReasonCode;
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_core::id::{MessageId, PeerId, Position};
use whimbrel_core::letter::{
    Author, Confirmation, Declined, DeliveryId, Interest, Letter, Narrowed, Parcel, RoutedMessage,
    SharedMessage,
};
use whimbrel_core::log::{BatchRef, Op};
use whimbrel_core::message::MessageView;
use whimbrel_core::recording::{RecordOptions, RecordedBroker};
use whimbrel_core::statistics::Statistics;
use whimbrel_core::{Broker, Config, ConnectionId, Grant, Now, Timestamp};

/// Transports that a script has at a time.
const LINES: usize = 12;
/// Actions and turns in which a broker must come to rest. Far above what these scripts can ask for.
const TURNS: usize = 50_000;
/// The tenant of those that have one.
const TENANT: &str = "t";

/// A script being played.
pub(super) struct Play<'a> {
    script: Script<'a>,
    broker: RecordedBroker,
    /// What was recorded, if anything is.
    parts: Parts,
    config: Config,
    now: Now,
    lines: Vec<Line>,
    /// Connections that wait for their verdict.
    unjudged: VecDeque<ConnectionId>,
    batches: Vec<Batch>,
    /// Messages that the broker wants to be read back.
    unloaded: VecDeque<MessageId>,
    /// How many of them are durable.
    durable: usize,
    transcript: DefaultHasher,
    /// The machine's clock was set, or its disk has failed.
    is_disturbed: bool,
    routed: u64,
    /// Letters that the other shard has written.
    letters: u64,
    /// How far it has come with those of this one: it takes them in at once.
    confirmation: Confirmation,
    /// Since when it is durable there that less is wanted.
    narrowed: Narrowed,
}

impl<'a> Play<'a> {
    /// Plays a script to its end, and the broker to its shutdown.
    pub(super) fn perform(config: &Config, script: Script<'a>) -> Self {
        Self::to_the_end(config, script, None)
    }

    /// The same, and what is recorded of it.
    pub(super) fn record(config: &Config, script: Script<'a>, options: RecordOptions) -> Parts {
        let mut play = Self::to_the_end(config, script, Some(options));
        play.broker.end_recording();
        play.parts.take(&mut play.broker, true);
        play.parts
    }

    fn to_the_end(config: &Config, script: Script<'a>, recorded: Option<RecordOptions>) -> Self {
        let now = Now {
            monotonic: Timestamp(1_000),
            wall: START,
        };
        let broker = Broker::new(config.clone(), 7, now).expect("the configuration is valid");
        let mut play = Self {
            script,
            broker: broker.into(),
            parts: Parts::default(),
            config: config.clone(),
            now,
            lines: Vec::new(),
            unjudged: VecDeque::new(),
            batches: Vec::new(),
            unloaded: VecDeque::new(),
            durable: 0,
            transcript: DefaultHasher::new(),
            is_disturbed: false,
            routed: 0,
            letters: 0,
            confirmation: Confirmation {
                taken_bytes: u64::MAX,
                kept: 0,
            },
            narrowed: Narrowed::default(),
        };
        if let Some(options) = recorded {
            play.broker.record(options);
        }
        while !play.script.is_over() {
            play.step();
        }
        play.finish();
        play
    }

    pub(super) fn transcript(&self) -> u64 {
        self.transcript.finish()
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = &[u8]> {
        self.batches.iter().map(|batch| batch.operations.as_slice())
    }

    pub(super) const fn config(&self) -> &Config {
        &self.config
    }

    pub(super) const fn now(&self) -> Now {
        self.now
    }

    pub(super) fn statistics(&self) -> Statistics {
        self.broker.statistics()
    }

    /// Whether a broker made from the batches has to be the same.
    pub(super) const fn is_restorable(&self) -> bool {
        !self.is_disturbed
    }

    fn step(&mut self) {
        match self.script.below(32) {
            0 | 1 => self.accept(),
            2..=4 => self.introduce(),
            5..=9 => self.say(packets::publish),
            10..=12 => self.say(packets::subscribe),
            13 => self.say(packets::unsubscribe),
            14 => self.say(packets::other),
            15 => self.say(packets::pubrel),
            16..=19 => self.acknowledge(),
            20 => self.say_wildly(),
            21 => self.cut(),
            22 => self.block(),
            23 | 24 => self.pass_time(),
            25 => self.judge(),
            26 => self.persist(),
            27 => self.drain_some(),
            28 => self.call_needlessly(),
            29 => self.hear_from_peers(),
            30 => self.disturb(),
            _ => self.rest(),
        }
    }

    fn line(&mut self) -> Option<usize> {
        (!self.lines.is_empty()).then(|| self.script.below(self.lines.len()))
    }

    fn index_of(&self, id: ConnectionId) -> usize {
        let found = self.lines.iter().position(|line| line.id == id);
        found.expect("an action names a connection there has been")
    }

    fn accept(&mut self) {
        if self.lines.iter().filter(|line| line.is_open).count() >= LINES {
            return;
        }
        let id = self.broker.accept(self.now, Peer::default());
        assert!(
            self.lines.iter().all(|line| line.id != id),
            "identifiers are not given twice"
        );
        self.lines.push(Line::new(id));
    }

    /// Somebody says CONNECT; usually who has not spoken yet.
    fn introduce(&mut self) {
        let silent = |line: &Line| line.is_open && !line.has_spoken;
        let index = match self.lines.iter().position(silent) {
            Some(index) => index,
            None => {
                self.accept();
                match self.line() {
                    Some(index) => index,
                    None => return,
                }
            }
        };
        let (bytes, introduction) = packets::connect(&mut self.script);
        let line = &mut self.lines[index];
        if !line.has_spoken {
            line.version = Some(introduction.version);
            line.receive_maximum = usize::from(introduction.receive_maximum);
            line.packet_maximum = introduction.packet_maximum.unwrap_or(u32::MAX) as usize;
        }
        self.send(index, &bytes);
    }

    fn say(&mut self, packet: fn(&mut Script<'_>, Version) -> Vec<u8>) {
        if let Some(index) = self.line() {
            let version = self.lines[index].version.unwrap_or(Version::V4);
            let bytes = packet(&mut self.script, version);
            self.send(index, &bytes);
        }
    }

    /// Acknowledges what is owed, and now and then something else.
    fn acknowledge(&mut self) {
        let Some(index) = self.line() else {
            return;
        };
        let how = self.script.u8();
        let line = &mut self.lines[index];
        let version = line.version.unwrap_or(Version::V4);
        if how > 250 {
            line.is_wild = true;
            let bytes = packets::stray_ack(&mut self.script, version);
            return self.send(index, &bytes);
        }
        let Some(owed) = line.owed.pop_front() else {
            return;
        };
        let refuses = version == Version::V5 && how & 7 == 7;
        let (kind, id) = match owed {
            Owed::Receipt(id) => (0, id),
            Owed::Record(id) => (1, id),
            Owed::Completion(id) => (3, id),
        };
        if kind != 1 || refuses {
            line.settle(id);
        }
        let reason = match refuses && kind < 2 {
            true => ReasonCode::UNSPECIFIED,
            false => ReasonCode::SUCCESS,
        };
        let bytes = packets::ack(kind, id, reason, version);
        self.send(index, &bytes);
    }

    fn say_wildly(&mut self) {
        if let Some(index) = self.line() {
            let bytes = self.script.counted();
            let line = &mut self.lines[index];
            if !line.has_spoken {
                line.version = None;
            }
            line.is_wild = true;
            self.send(index, bytes);
        }
    }

    /// Bytes go to the broker, in one piece or in two.
    fn send(&mut self, index: usize, bytes: &[u8]) {
        let line = &mut self.lines[index];
        line.has_spoken |= !bytes.is_empty();
        let id = line.id;
        let how = self.script.u8();
        let (first, second) = match how & 3 {
            3 => bytes.split_at(usize::from(how >> 2).min(bytes.len())),
            _ => (bytes, [].as_slice()),
        };
        self.broker.receive(self.now, id, first);
        if !second.is_empty() {
            if how & 4 != 0 {
                self.drain();
            }
            self.broker.receive(self.now, id, second);
        }
    }

    fn cut(&mut self) {
        if let Some(index) = self.line() {
            let line = &mut self.lines[index];
            // What it had asked for before may still come; it does not hear it.
            line.is_open = false;
            let id = line.id;
            self.broker.closed(self.now, id);
        }
    }

    fn block(&mut self) {
        if let Some(index) = self.line() {
            let line = &mut self.lines[index];
            line.is_blocked = !line.is_blocked;
            if !line.is_blocked {
                self.transmit(index);
            }
        }
    }

    fn pass_time(&mut self) {
        let ms = match self.script.below(8) {
            0 => 0,
            1 => 10,
            2 => 1_000,
            3 => 60_000,
            4 => u64::from(self.script.u32()),
            // Exactly when it wants to be called.
            _ => {
                let deadline = self.broker.next_deadline().unwrap_or_default();
                deadline.since(self.now.monotonic)
            }
        };
        self.now.monotonic = self.now.monotonic.after_ms(ms);
        self.now.wall.0 += ms;
        self.broker.advance(self.now);
    }

    fn judge(&mut self) {
        let how = self.script.below(8);
        let Some(id) = self.unjudged.pop_front() else {
            return;
        };
        let verdict = match how {
            0 => Verdict::Refuse(ReasonCode::NOT_AUTHORIZED),
            1 | 2 => Verdict::Continue {
                data: self.script.counted().to_vec(),
                state: vec![how.to_le_bytes()[0]],
            },
            3 => Verdict::Accept(Grant {
                data: Some(b"done".to_vec()),
                ..Grant::default()
            }),
            4 => Verdict::Accept(Grant {
                tenant: Some(TENANT.to_owned()),
                ..Grant::default()
            }),
            _ => Verdict::accept(),
        };
        self.broker.authenticated(self.now, id, verdict);
    }

    /// Some batches, or none, have become durable.
    fn persist(&mut self) {
        let count = self.script.below(self.batches.len() - self.durable + 1);
        self.durable += count;
        self.report_durable();
        for _ in 0..self.script.below(self.unloaded.len() + 1) {
            if self.script.u8() == 0 {
                // The disk has lost it.
                self.is_disturbed = true;
                if let Some(message) = self.unloaded.pop_front() {
                    self.broker.loaded(self.now, message, None);
                }
            } else {
                self.load();
            }
        }
    }

    fn newest(batches: &[Batch], message: MessageId) -> Option<&[u8]> {
        let mut value = None;
        for batch in batches {
            for op in BatchRef::new(&batch.operations) {
                match op.expect("the broker writes batches") {
                    Op::Put { key, value: put } if key == message.key() => value = Some(put),
                    Op::Delete { key } if key == message.key() => value = None,
                    Op::Put { .. } | Op::Delete { .. } => {}
                }
            }
        }
        value
    }

    /// What all batches together say of a message.
    pub(super) fn stored(&self, message: MessageId) -> Option<&[u8]> {
        Self::newest(&self.batches, message)
    }

    /// Reads back the first of the messages that the broker waits for.
    fn load(&mut self) {
        let Some(message) = self.unloaded.pop_front() else {
            return;
        };
        let value = Self::newest(&self.batches[..self.durable], message);
        self.broker.loaded(self.now, message, value);
    }

    fn report_durable(&mut self) {
        if let Some(last) = self.durable.checked_sub(1) {
            let position = self.batches[last].position;
            self.broker.persisted(self.now, position);
        }
    }

    /// The runtime gets to do only so much.
    fn drain_some(&mut self) {
        for _ in 0..self.script.below(8) {
            match self.broker.poll_action() {
                Some(action) => self.carry_out(action),
                None => return,
            }
        }
    }

    /// Calls that mean nothing, or come too late.
    fn call_needlessly(&mut self) {
        let Some(index) = self.line() else {
            return;
        };
        let id = self.lines[index].id;
        match self.script.below(6) {
            0 if !self.lines[index].is_blocked => self.transmit(index),
            1 => self.broker.receive(self.now, id, &[]),
            2 => {
                let past = Now {
                    monotonic: Timestamp(self.now.monotonic.0 / 2),
                    wall: self.now.wall,
                };
                self.broker.advance(past);
            }
            3 => self.broker.persisted(self.now, Position(0)),
            4 if !self.lines[index].is_open => self.broker.closed(self.now, id),
            // The verdict of a connection that nobody asked about.
            _ if !self.lines[index].is_open => {
                let verdict = Verdict::accept();
                self.broker.authenticated(self.now, id, verdict);
            }
            _ => self.broker.advance(self.now),
        }
    }

    fn hear_from_peers(&mut self) {
        if self.config.identity.shards == 1 {
            return;
        }
        let parcel = self.parcel();
        self.write_letter(vec![parcel]);
    }

    /// A letter by which less may be wanted than before; an empty one says that this is durable.
    fn write_letter(&mut self, parcels: Vec<Parcel>) {
        self.letters += 1;
        if parcels.is_empty() {
            self.narrowed.until = self.letters;
        }
        let narrowed = Narrowed {
            less: !parcels.is_empty() && self.letters.is_multiple_of(3),
            ..self.narrowed
        };
        let letter = Letter {
            number: self.letters,
            clock: self.routed,
            confirms: self.confirmation,
            narrowed,
            parcels,
        };
        self.broker.routed(self.now, PeerId(1), letter);
    }

    fn parcel(&mut self) -> Parcel {
        let groups = ["$share/g/a", "$share/x/y"];
        if self.script.flag() {
            let byte = self.script.u8();
            let members = u32::from(byte & 3);
            let interest = Interest {
                tenant: self.script.flag().then(|| TENANT.into()),
                filter: self.script.choose(&packets::FILTERS[..14]).into(),
                members,
                present: members & 1,
            };
            let publisher = self.lines.get(usize::from(byte >> 2 & 7));
            return match (byte >> 5, publisher) {
                (6, Some(publisher)) => Parcel::Hold(publisher.id),
                (7, Some(publisher)) => Parcel::Release(publisher.id),
                _ => Parcel::Interest(interest),
            };
        }
        self.routed += 1;
        let view = MessageView {
            id: MessageId {
                origin: 1 << 32 | 1,
                sequence: self.routed,
            },
            qos: self
                .script
                .choose(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]),
            expires_at: self.now.wall.after_s(u64::from(self.script.u8())),
            tenant: if self.script.flag() { TENANT } else { "" },
            topic: self.script.choose(&packets::TOPICS[..7]),
            properties: &[],
            payload: self.script.counted(),
        };
        let message = view.to_message(&mut Vec::new());
        let shared = SharedMessage {
            message: message.clone(),
            retain: false,
            publisher: self.lines.last().map(|line| line.id),
            group: self.script.choose(&groups).into(),
            exchange: None,
            moved: self.script.flag().then(|| DeliveryId {
                session: u64::from(self.script.u8()),
                sequence: u64::from(self.script.u8()),
            }),
            // Sometimes it has been here already, or nobody there may have it.
            declined: match self.routed % 8 {
                shard @ (0 | 1) => Declined::default().with(shard as u16),
                _ => Declined::default(),
            },
        };
        // Its identifiers look like ours.
        let publisher = self.lines.first().map(|line| line.id);
        match self.script.u8() & 3 {
            0 => Parcel::Shared(shared),
            1 => Parcel::Returned(shared),
            2 => {
                let mut bundle = Bundle::default();
                for _ in 0..=self.script.u8() & 3 {
                    let retain = self.script.flag();
                    let topic = self.script.choose(&packets::TOPICS[..7]);
                    bundle.push(&Bundled {
                        view: MessageView { topic, ..view },
                        retain,
                        publisher,
                    });
                }
                Parcel::Bundle(bundle)
            }
            _ => {
                let kept = self.script.flag();
                Parcel::Message(RoutedMessage {
                    message,
                    retain: kept || self.script.flag(),
                    kept,
                    author: Author::of("one").filter(|_| kept),
                    publisher,
                    exchange: None,
                })
            }
        }
    }

    /// Operators and machines.
    fn disturb(&mut self) {
        match self.script.below(16) {
            0..=4 => {
                let is_full = self.script.flag();
                self.broker.storage_pressure(self.now, is_full);
            }
            5..=8 => self.broker.checkpoint(self.now),
            9 | 10 => {
                self.now.wall.0 = u64::from(self.script.u32()) * 1_000;
                self.is_disturbed = true;
            }
            11..=13 => {
                if let Some(index) = self.line() {
                    let id = self.lines[index].id;
                    self.broker
                        .disconnect(self.now, id, CloseReason::Administrative);
                }
            }
            14 => self.broker.shut_down(self.now),
            _ => {
                self.is_disturbed = true;
                self.broker.persist_failed(self.now);
            }
        }
    }

    fn drain(&mut self) {
        for _ in 0..TURNS {
            match self.broker.poll_action() {
                Some(action) => self.carry_out(action),
                None => return self.parts.take(&mut self.broker, false),
            }
        }
        panic!("there is always one more action");
    }

    /// Lets the broker do everything that is due, and looks at what it says then.
    fn rest(&mut self) {
        for _ in 0..TURNS {
            self.drain();
            match self.broker.next_deadline() {
                Some(deadline) if deadline <= self.now.monotonic => {
                    self.broker.advance(self.now);
                }
                _ => return self.check(),
            }
        }
        panic!("there is always something due at once");
    }

    fn carry_out(&mut self, action: Action) {
        if !matches!(action, Action::Persist(_)) {
            format!("{action:?}").hash(&mut self.transcript);
        }
        match action {
            Action::Send(id) => {
                let index = self.index_of(id);
                // A runtime remembers; here, unblocking always transmits.
                if !self.lines[index].is_blocked {
                    self.transmit(index);
                }
            }
            Action::Close {
                connection,
                last_bytes,
            } => {
                let index = self.index_of(connection);
                let line = &mut self.lines[index];
                if line.is_open {
                    line.close(&last_bytes);
                }
            }
            Action::Authenticate { connection, .. } => self.unjudged.push_back(connection),
            Action::Persist(batch) => {
                assert!(self.config.durable, "nothing is kept here");
                let last = self.batches.last().map(|batch| batch.position);
                assert!(last < Some(batch.position), "positions grow");
                batch.operations.hash(&mut self.transcript);
                self.batches.push(batch);
            }
            Action::Load(message) => {
                assert!(self.config.durable, "nothing is kept here");
                self.unloaded.push_back(message);
            }
            Action::Route { to, letter } => {
                assert_eq!(
                    (self.config.identity.shards, to),
                    (2, PeerId(1)),
                    "the other"
                );
                assert!(letter.number > self.confirmation.kept, "numbers grow");
                self.confirmation.kept = letter.number;
                self.write_letter(Vec::new());
            }
            Action::HandOver { connection, .. } => {
                let index = self.index_of(connection);
                self.lines[index].close(&[]);
            }
            Action::Pause(id) | Action::Resume(id) => {
                self.index_of(id);
            }
            Action::Event(_) => {}
        }
    }

    fn transmit(&mut self, index: usize) {
        let mut bytes = Vec::new();
        let line = &mut self.lines[index];
        self.broker.transmit(self.now, line.id, &mut bytes);
        bytes.hash(&mut self.transcript);
        if line.is_open {
            line.hear(&bytes);
        } else {
            assert!(bytes.is_empty(), "nothing is sent to who has gone");
        }
    }

    /// Nothing is left to do: the broker's account of itself must be right.
    fn check(&mut self) {
        let says = self.broker.statistics();
        let open = self.lines.iter().filter(|line| line.is_open).count() as u64;
        assert_eq!(says.connections_open, open, "connections are counted right");
        assert!(says.clients_connected <= says.connections_open);
        assert!(says.clients_connected <= says.sessions);
        let limits = &self.config.limits;
        assert!(open <= u64::from(limits.connections_maximum));
        assert!(says.sessions <= u64::from(limits.sessions_maximum));
        assert!(
            says.queued_messages <= limits.queue_messages_total_maximum,
            "{says:?}"
        );
        assert!(
            says.queued_bytes <= limits.queue_bytes_total_maximum,
            "{says:?}"
        );
        // What another shard has retained is retained, and that one looks at no limit.
        if self.config.identity.shards == 1 {
            assert!(says.retained_messages <= limits.retained_messages_maximum);
            assert!(says.retained_bytes <= limits.retained_bytes_maximum);
        }
        if self
            .lines
            .iter()
            .all(|line| !line.is_blocked || !line.is_open)
        {
            assert_eq!(says.unsent_bytes, 0, "everybody has taken everything");
        }
        // Those who have gone are needed only for calls that come too late: one is enough.
        while self.lines.len() > 2 * LINES {
            let gone = self.lines.iter().position(|line| !line.is_open);
            self.lines.remove(gone.expect("at most so many are open"));
        }
        self.unjudged
            .retain(|id| self.lines.iter().any(|line| line.id == *id));
    }

    /// Everybody listens, everything is decided and durable; then the broker stops.
    fn finish(&mut self) {
        for index in 0..self.lines.len() {
            self.lines[index].is_blocked = false;
            self.transmit(index);
        }
        self.broker.storage_pressure(self.now, false);
        if self.config.identity.shards == 2 {
            self.write_letter(Vec::new());
        }
        for _ in 0..TURNS {
            self.rest();
            let decided = self.unjudged.is_empty();
            for id in core::mem::take(&mut self.unjudged) {
                let verdict = Verdict::accept();
                self.broker.authenticated(self.now, id, verdict);
            }
            let kept = self.durable == self.batches.len() && self.unloaded.is_empty();
            self.durable = self.batches.len();
            self.report_durable();
            for _ in 0..self.unloaded.len() {
                self.load();
            }
            if decided && kept {
                break;
            }
        }
        self.broker.shut_down(self.now);
        self.rest();
        let says = self.broker.statistics();
        assert_eq!((says.connections_open, says.clients_connected), (0, 0));
        assert!(
            self.lines.iter().all(|line| !line.is_open),
            "all were closed"
        );
    }
}
