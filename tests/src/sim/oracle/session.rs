//! One client: what it has subscribed to, what it was promised, what it has got.

use super::answers::AnswerBook;
use super::{Arrival, Message, matches};
use std::collections::{BTreeMap, BTreeSet};
use whimbrel_core::codec::packet::{QoS, Version};

/// Whether the broker has a session for a client, as far as the client can know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Existence {
    #[default]
    No,
    Maybe,
    Yes,
}

#[derive(Clone, Copy, Debug)]
struct Subscription {
    /// What is sure.
    qos: QoS,
    /// The facts of the first and of the latest request, and what the latter asks for.
    asked_first: u64,
    asked_last: u64,
    qos_last: QoS,
    /// The fact that it was granted; `None` while that is not sure.
    since: Option<u64>,
    /// The same of the latest request, whatever it asks for.
    settled: Option<u64>,
}

/// A message that has arrived.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// At QoS 2.
    exactly: bool,
    connection: u64,
    /// The life of the broker that the connection began in.
    boot: u64,
    packet_id: u16,
}

/// Messages that are to keep their order: publisher and its life, topic, QoS sent, QoS received.
type Stream = ((usize, u64), String, QoS, QoS);

#[derive(Debug, Default)]
pub(super) struct SessionBook {
    /// Counts up when the client forgets everything.
    pub(super) life: u64,
    pub(super) is_persistent: bool,
    /// It does not want to hear what it says itself.
    pub(super) no_local: bool,
    /// Connections so far.
    pub(super) connections: u64,
    /// The life of the broker that the last one began in.
    boot: u64,
    pub(super) owed: BTreeSet<u64>,
    /// The broker said that it has no session, and may.
    pub(super) lost_its_session: bool,
    /// What it has asked for, and whether the answers are right.
    pub(super) answers: AnswerBook,
    hears_session_present: bool,
    existence: Existence,
    subscriptions: BTreeMap<String, Subscription>,
    /// All filters ever asked for in this session.
    asked: BTreeSet<String>,
    /// The last fact that may have changed what a filter is granted.
    changed: BTreeMap<String, u64>,
    seen: BTreeMap<u64, Seen>,
    latest: BTreeMap<Stream, u64>,
    /// The same of QoS 0: publisher and its life, its connection, topic.
    latest_at_most_once: BTreeMap<((usize, u64), u64, String), u64>,
}

impl SessionBook {
    pub(super) fn begin_life(&mut self, version: Version, is_persistent: bool) {
        self.life += 1;
        self.is_persistent = is_persistent;
        self.hears_session_present = version != Version::V3;
        self.answers.begin_life(version);
        // What the life before left at the broker is there until the first clean start.
        self.subscriptions.clear();
        self.owed.clear();
        self.existence = Existence::Maybe;
    }

    /// What was promised to the session ends with it.
    pub(super) fn end_session(&mut self) {
        self.subscriptions.clear();
        self.owed.clear();
        self.seen.clear();
        self.latest.clear();
        self.latest_at_most_once.clear();
        self.asked.clear();
        self.answers.end_session();
    }

    pub(super) fn connecting(&mut self, clean_start: bool, boot: u64) {
        self.connections += 1;
        self.boot = boot;
        if clean_start || self.existence == Existence::No {
            self.existence = if self.is_persistent {
                Existence::Maybe
            } else {
                Existence::No
            };
        }
    }

    pub(super) fn connected(&mut self, session_present: bool) -> Result<(), String> {
        self.lost_its_session = false;
        if self.hears_session_present {
            if !session_present && self.existence == Existence::Yes {
                return Err("its session is gone".into());
            }
            if session_present && self.existence == Existence::No {
                return Err("it has a session that it never had".into());
            }
            self.lost_its_session = !session_present;
            if !session_present {
                self.existence = Existence::No;
            }
        }
        if self.is_persistent && self.existence != Existence::Yes {
            // A session is kept by the first promise in it, not by CONNACK alone.
            self.existence = Existence::Maybe;
        }
        Ok(())
    }

    pub(super) fn disconnected(&mut self) -> Result<(), String> {
        let judged = self.answers.disconnected();
        if !self.is_persistent {
            self.end_session();
        }
        judged
    }

    pub(super) fn has_asked_for(&self, topic: &str) -> bool {
        self.asked.iter().any(|filter| matches(filter, topic))
    }

    pub(super) fn subscribing(&mut self, filter: &str, qos: QoS, fact: u64) {
        self.asked.insert(filter.to_owned());
        self.changed.insert(filter.to_owned(), fact);
        let fresh = Subscription {
            qos,
            asked_first: fact,
            asked_last: fact,
            qos_last: qos,
            since: None,
            settled: None,
        };
        let subscription = self.subscriptions.entry(filter.to_owned()).or_insert(fresh);
        // An identical filter is replaced without a gap; only the lower QoS is sure until the
        // answer.
        subscription.qos = subscription.qos.min(qos);
        (subscription.asked_last, subscription.qos_last) = (fact, qos);
        subscription.settled = None;
        if qos == QoS::AtMostOnce {
            subscription.since = None;
        }
    }

    /// Whether this is the answer to a request that still counts.
    pub(super) fn subscribed(
        &mut self,
        (filter, asked): (&str, u64),
        is_granted: bool,
        fact: u64,
    ) -> bool {
        if !is_granted {
            return false;
        }
        if self.is_persistent {
            self.existence = Existence::Yes;
        }
        let subscription = self.subscriptions.get_mut(filter);
        let Some(subscription) = subscription.filter(|known| known.asked_first <= asked) else {
            return false;
        };
        if subscription.asked_last == asked {
            subscription.qos = subscription.qos_last;
            subscription.settled = Some(fact);
        }
        if subscription.qos > QoS::AtMostOnce {
            subscription.since.get_or_insert(fact);
        }
        true
    }

    /// From now on the broker may do without what this filter alone asks for.
    pub(super) fn unsubscribing<'a>(
        &mut self,
        (filter, fact): (&str, u64),
        topic: impl Fn(u64) -> &'a String,
    ) {
        self.subscriptions.remove(filter);
        self.changed.insert(filter.to_owned(), fact);
        self.owed.retain(|number| !matches(filter, topic(*number)));
    }

    /// Whether a message sent after the fact `sent` is for this session, for sure and all the time.
    fn is_sure_of(&self, topic: &str, sent: u64) -> bool {
        self.subscriptions.iter().any(|(filter, subscription)| {
            subscription.qos > QoS::AtMostOnce
                && subscription.since.is_some_and(|since| since < sent)
                && !filter.starts_with('$')
                && matches(filter, topic)
        })
    }

    /// The broker has taken a message over.
    pub(super) fn accepted(&mut self, number: u64, topic: &str, sent: u64) {
        if self.is_persistent && self.is_sure_of(topic, sent) && !self.seen.contains_key(&number) {
            self.owed.insert(number);
        }
    }

    /// A message has the QoS that it was published with, or the highest that is granted, whichever
    /// is lower: as far as the filters that it matches were settled before it was sent.
    pub(super) fn check_granted(&self, message: &Message, arrival: &Arrival) -> Result<(), String> {
        let asked = self
            .asked
            .iter()
            .filter(|filter| !filter.starts_with('$') && matches(filter, &message.topic));
        let granted = asked.map(|filter| {
            let subscription = self.subscriptions.get(filter)?;
            let is_settled = subscription.settled? < message.sent;
            is_settled.then_some(subscription.qos)
        });
        let granted: Vec<Option<QoS>> = granted.collect();
        let sure = granted.iter().flatten().max().copied();
        if let Some(sure) = sure
            && arrival.qos < sure.min(message.qos)
        {
            return Err(format!("granted {sure:?}, it comes at {:?}", arrival.qos));
        }
        if let Some(highest) = sure.filter(|_| granted.iter().all(Option::is_some))
            && arrival.qos > highest
        {
            return Err(format!(
                "granted {highest:?}, it comes at {:?}",
                arrival.qos
            ));
        }
        Ok(())
    }

    /// What comes again on a later connection says so.
    pub(super) fn check_dup(
        &self,
        number: u64,
        arrival: &Arrival,
        boot: u64,
    ) -> Result<(), String> {
        let Some(seen) = self.seen.get(&number) else {
            return Ok(());
        };
        let is_resent = seen.boot == boot
            && seen.packet_id == arrival.packet_id
            && seen.connection < self.connections
            && arrival.qos == QoS::AtLeastOnce
            && self.is_persistent;
        if is_resent && !arrival.dup {
            return Err("it comes again and does not say so".into());
        }
        Ok(())
    }

    /// Messages of one stream arrive for the first time in the order in which they were sent.
    pub(super) fn check_order(
        &mut self,
        number: u64,
        message: &Message,
        arrival: &Arrival,
        booted: u64,
    ) -> Result<(), String> {
        if arrival.qos == QoS::AtMostOnce || self.seen.contains_key(&number) {
            return Ok(());
        }
        // At another QoS it is of another stream. A broker that has ended since may have lost what
        // was not acknowledged, and what is sent again is routed by what is asked for now.
        let mut changes = self.changed.iter();
        let is_steady = booted < message.sent
            || changes
                .all(|(filter, fact)| *fact < message.sent || !matches(filter, &message.topic));
        let is_sure = is_steady && self.is_sure_of(&message.topic, message.sent);
        let stream = (
            message.publisher,
            message.topic.clone(),
            message.qos,
            arrival.qos,
        );
        let latest = self.latest.entry(stream).or_insert(number);
        if number < *latest && is_sure {
            return Err(format!("it comes after {latest}"));
        }
        *latest = number.max(*latest);
        Ok(())
    }

    /// What was sent once arrives once at most, and behind what the same connection sent before.
    pub(super) fn check_at_most_once(
        &mut self,
        number: u64,
        message: &Message,
    ) -> Result<(), String> {
        if self.seen.contains_key(&number) {
            return Err("a QoS 0 message comes twice".into());
        }
        if message.topic.starts_with("s/") {
            return Ok(()); // a member leaves what it has not got to others
        }
        let stream = (message.publisher, message.connection, message.topic.clone());
        let latest = self.latest_at_most_once.entry(stream).or_insert(number);
        if number < *latest {
            return Err(format!("a QoS 0 message comes after {latest}"));
        }
        *latest = number;
        Ok(())
    }

    /// `is_undisturbed`: since it was sent, nothing has happened for which it might come again.
    pub(super) fn take(
        &mut self,
        number: u64,
        arrival: &Arrival,
        is_undisturbed: bool,
    ) -> Result<(), String> {
        self.owed.remove(&number);
        let exactly = arrival.qos == QoS::ExactlyOnce;
        let seen = Seen {
            exactly,
            connection: self.connections,
            boot: self.boot,
            packet_id: arrival.packet_id,
        };
        let before = self.seen.insert(number, seen);
        if exactly && before.is_some_and(|before| before.exactly) {
            return Err("a QoS 2 message comes twice".into());
        }
        if before.is_some() && is_undisturbed {
            return Err("it comes twice for no reason".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Fate;
    use super::*;

    /// Messages of QoS 2 under one topic, in the order of their numbers.
    fn message(sent: u64) -> Message {
        Message {
            publisher: (1, 1),
            topic: "t/0".to_owned(),
            qos: QoS::ExactlyOnce,
            padding: 0,
            expires: false,
            clears: false,
            sent,
            connection: 1,
            fate: Fate::Open,
            settled: u64::MAX,
        }
    }

    /// Two messages were sent and routed, and the broker ended before it had either for good. The
    /// later one had arrived at QoS 1; this is what is said when the earlier one does, after it was
    /// sent again. `changes` happens in between the two of them.
    fn judge_late(changes: impl FnOnce(&mut SessionBook)) -> Result<(), String> {
        let mut book = SessionBook::default();
        book.begin_life(Version::V5, true);
        for (filter, qos, fact) in [("t/+", QoS::AtLeastOnce, 1), ("t/#", QoS::ExactlyOnce, 2)] {
            book.subscribing(filter, qos, fact);
            assert!(book.subscribed((filter, fact), true, 3));
        }
        changes(&mut book);
        let arrival = Arrival {
            topic: "t/0".to_owned(),
            payload: Vec::new(),
            qos: QoS::AtLeastOnce,
            dup: false,
            retain: false,
            packet_id: 1,
        };
        let ended = 7;
        book.check_order(1, &message(6), &arrival, ended)?;
        book.check_order(0, &message(4), &arrival, ended)
    }

    /// At QoS 2 it was of another stream, which waited for the log; without that subscription it
    /// comes at QoS 1 when it is sent again.
    #[test]
    fn what_is_sent_again_is_routed_by_what_is_left_of_the_subscriptions() {
        let nobody = String::new();
        assert!(judge_late(|book| book.unsubscribing(("t/#", 5), |_| &nobody)).is_ok());
        assert!(judge_late(|_| ()).is_err(), "nothing has changed");
        let other = judge_late(|book| book.unsubscribing(("r/#", 5), |_| &nobody));
        assert!(other.is_err(), "of what has changed nothing matches");
    }
}
