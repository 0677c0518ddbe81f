//! What the broker owes, by the plain book-keeping of somebody who sees only what clients see.
//!
//! Facts come in as they happen at the clients; a promise that is not kept, or something that must
//! not be, is a violation. What excuses the broker is what a client did or may have done itself: it
//! gave a subscription up, asked for a clean start, lost its session with its connection, set an
//! expiry.
//!
//! Retained messages (topics `r/…`, one publisher each) and wills (topics `w/…`) are kept apart
//! from ordinary ones, because what they owe is different; shared subscriptions have `s/…`.

mod answers;
mod losses;
mod retained;
mod session;
mod shared;
mod will;

pub(super) use answers::Ask;

use crate::sim::scene::{SECRET, is_secret_to};
use crate::sim::trace::Story;
use answers::Answer;
use losses::LossBook;
use retained::RetainedBook;
use session::SessionBook;
use shared::SharedBook;
use std::fmt::Write;
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_core::id::MessageId;
use will::WillBook;
pub(super) use will::WillKind;

/// A message as it arrives at a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: QoS,
    pub(super) dup: bool,
    pub(super) retain: bool,
    pub(super) packet_id: u16,
}

/// What has become of a message, as its publisher knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Accepted,
    Refused,
    Abandoned,
}

/// A message that a client has published.
#[derive(Clone, Debug)]
struct Message {
    /// Which client, in which of its lives.
    publisher: (usize, u64),
    topic: String,
    qos: QoS,
    /// As many dots come behind its number.
    padding: usize,
    /// It may be dropped after a time.
    expires: bool,
    /// Its payload is empty: what is retained is to be forgotten.
    clears: bool,
    /// The fact that it was sent, by number.
    sent: u64,
    /// The publisher's connections until then.
    connection: u64,
    fate: Fate,
    /// The fact that it was acknowledged.
    settled: u64,
}

/// What is kept from the oracle: nothing that clients could not know.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// Queues are so small that messages are dropped.
    pub(super) queues_overflow: bool,
    /// Memory is so small that subscriptions are refused.
    pub(super) memory_is_small: bool,
    /// Some may not have all that they subscribe to.
    pub(super) has_secrets: bool,
}

/// Judges.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    story: Story,
    rules: Rules,
    /// Facts so far: what came first has the smaller number.
    facts: u64,
    /// How often the broker has been started.
    boots: u64,
    /// The fact of the last start.
    booted: u64,
    /// The last fact that explains why something comes again: somebody's connection, subscription
    /// or life has ended or begun, or the broker's.
    disturbed: u64,
    messages: Vec<Message>,
    sessions: Vec<SessionBook>,
    retained: RetainedBook,
    shared: SharedBook,
    wills: WillBook,
    losses: LossBook,
    /// The broker was told that the disk is nearly full, and the fact since which it is not.
    disk_is_full: bool,
    disk_has_room_since: u64,
    violation: Option<String>,
}

impl Oracle {
    pub(super) fn new(rules: Rules, story: Story) -> Self {
        Self {
            rules,
            story,
            ..Self::default()
        }
    }

    /// A promise is broken. The first one counts.
    pub(super) fn fail(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub(super) const fn violation(&self) -> Option<&String> {
        self.violation.as_ref()
    }

    /// A fact that explains why something comes again.
    fn disturbance(&mut self, what: impl FnOnce() -> String) -> u64 {
        self.disturbed = self.fact(what);
        self.disturbed
    }

    fn fact(&mut self, what: impl FnOnce() -> String) -> u64 {
        self.facts += 1;
        self.story.tell(self.facts, || format!("fact: {}", what()));
        self.facts
    }

    /// The broker has ended and was started again.
    pub(super) fn rebooted(&mut self, now: u64) {
        self.boots += 1;
        self.booted = self.disturbance(|| "the broker has ended".into());
        self.disk_is_full(false);
        self.losses.rebooted();
        self.wills.crashed(now);
    }

    /// The next process begins.
    pub(super) fn booted(&mut self, now: u64) {
        self.wills.booted(now);
    }

    /// Somebody has set the wall clock.
    pub(super) const fn clock_jumped(&mut self) {
        self.wills.clock_jumped();
    }

    // --- Sessions ---

    /// A client exists, or has forgotten everything and begins again.
    pub(super) fn born(
        &mut self,
        player: usize,
        version: Version,
        (is_persistent, no_local): (bool, bool),
    ) {
        let fact =
            self.disturbance(|| format!("player {player} begins life, persistent {is_persistent}"));
        if self.sessions.len() <= player {
            self.sessions.resize_with(player + 1, SessionBook::default);
        }
        self.shared.left(player, fact);
        let book = &mut self.sessions[player];
        book.begin_life(version, is_persistent);
        book.no_local = no_local;
    }

    /// CONNECT is sent.
    pub(super) fn connecting(&mut self, player: usize, line: u64, clean_start: bool) {
        let fact = self.disturbance(|| {
            format!("player {player} connects by line {line}, clean {clean_start}")
        });
        let boots = self.boots;
        let book = &mut self.sessions[player];
        if clean_start || !book.is_persistent {
            book.end_session();
            self.shared.left(player, fact);
        }
        book.connecting(clean_start, boots);
        let life = book.life;
        self.wills.connecting((player, life), line, clean_start);
    }

    /// CONNACK with success has come.
    pub(super) fn connected(&mut self, player: usize, line: u64, session_present: bool) {
        let fact = self
            .fact(|| format!("player {player} is in by line {line}, present {session_present}"));
        let book = &mut self.sessions[player];
        if let Err(what) = book.connected(session_present) {
            self.fail(format!("player {player}: {what}"));
        }
        if self.sessions[player].lost_its_session {
            self.sessions[player].end_session();
            self.shared.left(player, fact);
            self.shared.gone(player, fact);
        }
    }

    /// Something of a connection has reached the broker.
    pub(super) fn known(&mut self, line: u64, now: u64) {
        self.wills.known(line, now);
    }

    /// The broker has a connection no longer, as far as it knows itself.
    pub(super) fn gone(&mut self, line: u64, now: u64) {
        self.wills.gone(line, now);
    }

    /// The broker has sent a CONNACK that accepts.
    pub(super) fn accepted(&mut self, line: u64) {
        self.wills.accepted(line);
    }

    /// The client said DISCONNECT.
    pub(super) fn parting(&mut self, player: usize, line: u64) {
        let client = (player, self.sessions[player].life);
        let is_unanswered = |message: &Message| {
            let is_open = message.qos > QoS::AtMostOnce && message.fate == Fate::Open;
            is_open && message.publisher == client
        };
        let is_unanswered = self.messages.iter().any(is_unanswered);
        self.wills.parting(line, is_unanswered);
    }

    /// Whether a client of 3.x may be closed over a message in front of its DISCONNECT: for want of
    /// room, which it cannot be told in other words.
    pub(super) fn may_refuse_before_parting(&self, line: u64) -> bool {
        self.rules.memory_is_small && self.wills.parted_unanswered(line)
    }

    /// Everything that the client sent has arrived, the DISCONNECT last.
    pub(super) fn parted(&mut self, line: u64, now: u64) {
        self.wills.parted(line, now);
    }

    /// The client looks at this connection no longer.
    pub(super) fn disconnected(&mut self, player: usize, line: u64) {
        self.disturbance(|| format!("player {player} leaves line {line}"));
        self.wills.disconnected(line);
        if let Err(what) = self.sessions[player].disconnected() {
            self.fail(format!("player {player}: {what}"));
        }
    }

    /// The will that a client has in this life.
    pub(super) fn has_will(&mut self, player: usize, kind: WillKind) -> String {
        let life = self.sessions[player].life;
        self.wills.made(player, life, kind)
    }

    // --- Subscriptions ---

    /// A request is sent. Gives the number of the fact, to be handed in with the answer.
    pub(super) fn asking(&mut self, player: usize, asks: Vec<(String, Ask)>) -> u64 {
        let asked = self.fact(|| format!("player {player} asks for {asks:?}"));
        self.sessions[player].answers.asked(asked, asks);
        asked
    }

    /// SUBACK or UNSUBACK has come.
    pub(super) fn answered(&mut self, player: usize, asked: u64, reasons: Vec<u8>) {
        self.fact(|| format!("player {player} is answered {reasons:?}"));
        let was_full = self.disk_is_full || self.disk_has_room_since > asked;
        let book = &mut self.sessions[player];
        let answer = Answer {
            reasons,
            may_lack_room: self.rules.memory_is_small || was_full && book.is_persistent,
        };
        if let Err(what) = book.answers.answered(asked, answer) {
            self.fail(format!("player {player}: {what}"));
        }
    }

    /// The broker is told that the disk is nearly full, or is no longer.
    pub(super) fn disk_is_full(&mut self, is_full: bool) {
        if self.disk_is_full != is_full {
            let fact = self.fact(|| format!("the disk is nearly full: {is_full}"));
            self.disk_is_full = is_full;
            self.disk_has_room_since = fact;
        }
    }

    /// The log is told that nothing can be written, or that it can again.
    pub(super) const fn log_is_stuck(&mut self, is_stuck: bool, now: u64) {
        self.wills.log_is_stuck(is_stuck, now);
    }

    /// Gives the number of the fact, to be handed in with the answer.
    pub(super) fn subscribing(&mut self, player: usize, filter: &str, qos: QoS) -> u64 {
        let fact = self.disturbance(|| format!("player {player} subscribes to {filter} {qos:?}"));
        self.sessions[player].subscribing(filter, qos, fact);
        if filter.starts_with("$share/") {
            let is_persistent = self.sessions[player].is_persistent;
            self.shared.joining(filter, player, is_persistent, fact);
        }
        fact
    }

    pub(super) fn subscribed(
        &mut self,
        player: usize,
        (filter, asked): (&str, u64),
        is_granted: bool,
    ) {
        let fact =
            self.fact(|| format!("player {player} has subscribed to {filter}: {is_granted}"));
        let is_valid = self.sessions[player].subscribed((filter, asked), is_granted, fact);
        if filter.starts_with("$share/") && is_valid {
            self.shared.joined(filter, player, fact);
        }
    }

    pub(super) fn unsubscribing(&mut self, player: usize, filter: &str) {
        let fact = self.disturbance(|| format!("player {player} unsubscribes from {filter}"));
        let messages = &self.messages;
        let topic = |number| &messages[number as usize].topic;
        self.sessions[player].unsubscribing((filter, fact), topic);
        if filter.starts_with("$share/") {
            self.shared.left(player, fact);
        }
    }

    pub(super) fn unsubscribed(&mut self, player: usize) {
        let fact = self.fact(|| format!("player {player} has unsubscribed"));
        self.shared.gone(player, fact);
    }

    // --- Messages ---

    /// The number of the next message, which its payload says.
    pub(super) const fn next_number(&self) -> u64 {
        self.messages.len() as u64
    }

    /// A message is sent.
    pub(super) fn publishing(&mut self, player: usize, topic: &str, qos: QoS, flags: Flags) {
        let number = self.next_number();
        let sent = self.fact(|| format!("player {player} publishes m{number} {topic} {qos:?}"));
        if topic.starts_with("r/") {
            self.retained.attempt(topic, number);
        }
        let book = &self.sessions[player];
        self.messages.push(Message {
            publisher: (player, book.life),
            topic: topic.to_owned(),
            qos,
            padding: flags.padding,
            expires: flags.expires,
            clears: flags.clears,
            sent,
            connection: book.connections,
            fate: Fate::Open,
            settled: u64::MAX,
        });
    }

    /// The broker has acknowledged a message, or refused it.
    pub(super) fn acknowledged(&mut self, number: u64, is_error: bool) {
        let fact = self.fact(|| format!("m{number} acknowledged, refused {is_error}"));
        let message = &mut self.messages[number as usize];
        message.settled = fact;
        if is_error {
            message.fate = Fate::Refused;
            return;
        }
        message.fate = Fate::Accepted;
        let message = message.clone();
        if message.topic.starts_with("r/") {
            self.retained.accepted(&message.topic, number);
        }
        if message.expires || message.clears {
            return;
        }
        let is_secret = self.is_secret(&message.topic);
        let may = |player| !is_secret || !is_secret_to(player);
        self.shared
            .accepted(number, (&message.topic, message.sent), may);
        for (player, book) in self.sessions.iter_mut().enumerate() {
            if book.no_local && message.publisher.0 == player {
                continue;
            }
            book.accepted(number, &message.topic, message.sent);
        }
    }

    /// Whether a topic is kept from some.
    fn is_secret(&self, topic: &str) -> bool {
        self.rules.has_secrets && matches(SECRET, topic)
    }

    pub(super) fn abandoned(&mut self, number: u64) {
        self.messages[number as usize].fate = Fate::Abandoned;
    }

    /// A client has a message.
    pub(super) fn arrived(&mut self, player: usize, arrival: &Arrival, now: u64) {
        let whole = String::from_utf8_lossy(&arrival.payload).into_owned();
        let text = whole.trim_end_matches('.');
        self.fact(|| {
            let (topic, qos, dup, id) =
                (&arrival.topic, arrival.qos, arrival.dup, arrival.packet_id);
            format!("player {player} gets {text} {topic} {qos:?} dup {dup} id {id}")
        });
        let clears = whole.is_empty() && arrival.topic.starts_with("r/");
        if clears || text.starts_with('x') {
            return; // a retained message is cleared, or a hostile client speaks
        }
        if !self.sessions[player].has_asked_for(&arrival.topic) {
            let topic = &arrival.topic;
            return self.fail(format!("player {player} never asked for {topic}: {text}"));
        }
        if text.starts_with('w') {
            if let Err(what) = self.wills.arrived(player, &whole, (arrival, now)) {
                self.fail(format!("player {player}: {what}"));
            }
            return;
        }
        let number = text.strip_prefix('m').and_then(|text| text.parse().ok());
        let Some((number, message)) =
            number.and_then(|number: u64| Some((number, self.messages.get(number as usize)?)))
        else {
            return self.fail(format!("player {player}: nobody has published {text}"));
        };
        let is_whole = whole == payload(number, message.padding) && !message.clears;
        if !is_whole || message.topic != arrival.topic || message.qos < arrival.qos {
            return self.fail(format!("player {player}: {text} is altered: {arrival:?}"));
        }
        let message = message.clone();
        if let Err(what) = self.judge(player, number, &message, arrival) {
            self.fail(format!(
                "player {player}, message {number} {message:?}: {what}"
            ));
        }
    }

    fn judge(
        &mut self,
        player: usize,
        number: u64,
        message: &Message,
        arrival: &Arrival,
    ) -> Result<(), String> {
        if self.is_secret(&message.topic) && is_secret_to(player) {
            return Err("it may not have it".into());
        }
        let is_own = message.publisher.0 == player && !message.topic.starts_with("s/");
        if is_own && self.sessions[player].no_local {
            return Err("it did not want to hear itself".into());
        }
        if arrival.retain {
            return Ok(()); // once more for who subscribes
        }
        let (publisher, life) = message.publisher;
        let publisher = &self.sessions[publisher];
        // Sent once for all that its publisher knows.
        let is_first_attempt =
            publisher.life == life && publisher.connections == message.connection;
        let (boots, booted) = (self.boots, self.booted);
        let is_undisturbed = self.disturbed < message.sent;
        let keeps_order = !self.rules.queues_overflow
            && !message.expires // dropped at first, and still fresh when it is sent again
            && !self.losses.excuses(&format!("m{number}")) // the same, by the disk
            && !message.topic.starts_with("s/");
        let book = &mut self.sessions[player];
        if !message.topic.starts_with("s/") {
            book.check_granted(message, arrival)?;
        }
        if is_first_attempt {
            book.check_dup(number, arrival, boots)?;
        }
        if keeps_order {
            book.check_order(number, message, arrival, booted)?;
        }
        if message.qos == QoS::AtMostOnce {
            book.check_at_most_once(number, message)?;
        }
        book.take(number, arrival, is_undisturbed)?;
        if message.topic.starts_with("s/") {
            let is_persistent = book.is_persistent;
            let is_exact = arrival.qos == QoS::ExactlyOnce && is_persistent;
            let is_once = message.qos == QoS::AtMostOnce || is_undisturbed;
            self.shared.arrived(player, number, (is_exact, is_once))?;
        }
        Ok(())
    }

    // --- What the broker tells of losses ---

    /// What goes to the log.
    pub(super) fn kept(&mut self, operations: &[u8]) {
        self.losses.kept(operations);
    }

    /// So many further reads were made to fail.
    pub(super) const fn misread(&mut self, count: u64) {
        self.losses.misread(count);
    }

    /// The broker says that something cannot be read back.
    pub(super) fn unreadable(&mut self, message: MessageId) {
        self.fact(|| format!("{message:?} is unreadable"));
        if let Err(what) = self.losses.unreadable(message) {
            self.fail(what);
        }
    }

    /// So many messages were not retained in this life of the broker, for want of room.
    pub(super) const fn unretained(&mut self, count: u64) {
        self.losses.unretained(count);
    }

    /// The broker says that it drops messages for a client: so many in this life of its session.
    pub(super) fn dropped(&mut self, player: usize, count: u64) {
        self.fact(|| format!("{count} dropped for player {player}"));
        // Elsewhere it is what cannot be read, and that is told of by message.
        if self.rules.queues_overflow {
            self.losses.dropped(player, count);
        }
    }

    // --- The end ---

    /// All that is owed has had its time.
    pub(super) fn finish(&mut self, retained: &[(String, String)], now: u64) {
        let mut owed = String::new();
        // What could not be read back is told of by message.
        let is_lost = |number: &&u64| !self.losses.excuses(&format!("m{number}"));
        for (player, book) in self.sessions.iter().enumerate() {
            let lost: Vec<u64> = book.owed.iter().filter(is_lost).copied().collect();
            if self.losses.excuse(&[player], lost.len() as u64) {
                continue;
            }
            for number in lost {
                let message = &self.messages[number as usize];
                let _ = write!(owed, "\n  player {player} never got {number}: {message:?}");
            }
        }
        for (group, members, lost) in self.shared.owed() {
            let lost: Vec<u64> = lost.iter().filter(is_lost).copied().collect();
            if self.losses.excuse(&members, lost.len() as u64) {
                continue;
            }
            for number in lost {
                let message = &self.messages[number as usize];
                let _ = write!(owed, "\n  {group} never got {number}: {message:?}");
            }
        }
        for (number, message) in self.messages.iter().enumerate() {
            let (publisher, life) = message.publisher;
            let lives = self.sessions[publisher].life == life;
            if lives && message.fate == Fate::Open && message.qos > QoS::AtMostOnce {
                let _ = write!(owed, "\n  {number} was never acknowledged: {message:?}");
            }
        }
        self.wills.finish(now, &self.losses, &mut owed);
        let wills = &self.wills;
        wills.finish_retained(retained, &self.losses, &mut owed);
        let book = &self.retained;
        book.finish(&self.messages, retained, &mut owed);
        if !owed.is_empty() {
            self.fail(format!("owed at the end:{owed}"));
        }
    }
}

/// What a message says beside its topic and QoS.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    pub(super) expires: bool,
    pub(super) clears: bool,
    pub(super) padding: usize,
}

/// What a message says: its number, and some bytes that must not get lost.
pub(super) fn payload(number: u64, padding: usize) -> String {
    format!("m{number}{}", ".".repeat(padding))
}

/// Whether a filter matches a topic, as plainly as can be.
fn matches(filter: &str, topic: &str) -> bool {
    let filter = match filter.strip_prefix("$share/") {
        Some(rest) => rest.split_once('/').map_or("", |(_, filter)| filter),
        None => filter,
    };
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
