//! What a log holds when all of it is read: how much of each, and what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use whimbrel_core::id::MessageId;
use whimbrel_core::inspect::Record;
use whimbrel_core::log::{BatchRef, Recovered};

/// What is live, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Census {
    sessions: BTreeMap<u64, Known>,
    /// With their topics.
    messages: BTreeMap<MessageId, Rc<str>>,
    topics: BTreeSet<Rc<str>>,
    /// By tenant and topic.
    retained: BTreeMap<(String, String), MessageId>,
    /// Gaps whose sessions have ended.
    heeded: BTreeSet<(u64, u64)>,
}

/// What is known of one session.
#[derive(Debug, Default)]
struct Known {
    /// `None` when the record that says so is lost.
    client_id: Option<Box<str>>,
    /// `None` is the default one.
    tenant: Option<Box<str>>,
    will_topic: Option<Box<str>>,
    subscriptions: BTreeSet<String>,
    deliveries: BTreeMap<u64, Option<MessageId>>,
    /// Packet identifiers of QoS 2 messages that its client is sending.
    receiving: BTreeSet<u16>,
}

impl Known {
    /// Messages that its client does not have yet, or has not acknowledged.
    fn waiting(&self) -> impl Iterator<Item = MessageId> {
        self.deliveries.values().flatten().copied()
    }

    fn is_empty(&self) -> bool {
        self.subscriptions.is_empty() && self.deliveries.is_empty() && self.receiving.is_empty()
    }
}

impl Census {
    /// Counts what a batch says.
    pub(super) fn count(&mut self, recovered: &Recovered<'_>) {
        for op in BatchRef::new(recovered.batch.ops) {
            if let Some(record) = op.ok().and_then(Record::parse) {
                self.count_record(record);
            }
        }
    }

    fn count_record(&mut self, record: Record<'_>) {
        match record {
            Record::Session(view) => {
                let known = self.known(view.session);
                known.client_id = Some(view.client_id);
                known.tenant = view.tenant;
                known.will_topic = view.will_topic;
            }
            Record::SessionEnded { session } => {
                self.sessions.remove(&session);
            }
            Record::Subscribed {
                session, filter, ..
            } => {
                let filters = &mut self.known(session).subscriptions;
                filters.insert(filter.to_owned());
            }
            Record::Unsubscribed { session, filter } => {
                self.known(session).subscriptions.remove(filter);
            }
            Record::Message(view) => {
                let topic = self.topic(view.topic);
                self.messages.insert(view.id, topic);
            }
            Record::MessageGone { id } => {
                self.messages.remove(&id);
            }
            Record::Delivery {
                session,
                sequence,
                message,
                ..
            } => {
                self.known(session).deliveries.insert(sequence, message);
            }
            Record::Delivered { session, sequence } | Record::Moved { session, sequence } => {
                self.known(session).deliveries.remove(&sequence);
            }
            Record::Retained {
                tenant,
                topic,
                message,
            } => {
                let place = (tenant.to_owned(), topic.to_owned());
                self.retained.insert(place, message);
            }
            Record::RetainedCleared { tenant, topic } => {
                self.retained.remove(&(tenant.to_owned(), topic.to_owned()));
            }
            Record::Heeded { gap } => {
                self.heeded.insert(gap);
            }
            Record::Received { session, packet } => {
                self.known(session).receiving.insert(packet);
            }
            Record::Completed { session, packet } => {
                self.known(session).receiving.remove(&packet);
            }
            // Nobody misses it: it is made anew, or means nothing without the session.
            Record::Boot { .. }
            | Record::Clock { .. }
            | Record::Tenant { .. }
            | Record::Taken { .. }
            | Record::TakenForgotten { .. }
            | Record::Owed { .. }
            | Record::Settled { .. }
            | Record::Refused { .. }
            | Record::Unknown { .. } => {}
        }
    }

    fn known(&mut self, session: u64) -> &mut Known {
        self.sessions.entry(session).or_default()
    }

    /// Topics are many times fewer than messages.
    fn topic(&mut self, topic: &str) -> Rc<str> {
        if let Some(topic) = self.topics.get(topic) {
            return Rc::clone(topic);
        }
        let topic: Rc<str> = topic.into();
        self.topics.insert(Rc::clone(&topic));
        topic
    }

    /// Whose session it is, for people.
    pub(super) fn name(&self, session: u64) -> String {
        match self.sessions.get(&session) {
            Some(Known {
                client_id: Some(client_id),
                ..
            }) => format!("{client_id:?}"),
            _ => format!("#{session}"),
        }
    }

    /// How much there is.
    pub(super) fn totals(&self) -> String {
        let sessions = self.sessions.values();
        let whole = sessions.filter(|known| known.client_id.is_some());
        let (mut count, mut subscriptions, mut deliveries) = (0, 0, 0);
        // No record says that a message is gone: that is when nothing refers to it.
        let mut messages: BTreeSet<_> = self.retained.values().copied().collect();
        for known in whole {
            count += 1;
            subscriptions += known.subscriptions.len();
            deliveries += known.deliveries.len();
            messages.extend(known.deliveries.values().flatten());
        }
        format!(
            "{count} sessions, {subscriptions} subscriptions, {deliveries} deliveries, {} retained, {} messages",
            self.retained.len(),
            messages
                .iter()
                .filter(|id| self.messages.contains_key(id))
                .count()
        )
    }

    /// What something refers to and is not there, and what the next start ends for these gaps, a
    /// line each.
    pub(super) fn missing(&self, doubts: &[(u64, u64)]) -> Vec<String> {
        let mut lines = Vec::new();
        let is_in_doubt = doubts.iter().any(|gap| !self.heeded.contains(gap));
        for (session, known) in &self.sessions {
            let name = self.name(*session) + &in_tenant(known.tenant.as_deref());
            if known.client_id.is_none() {
                if !known.is_empty() {
                    lines.push(format!("a session whose client cannot be read ({name})"));
                    self.end(&name, known, &mut lines);
                }
            } else if is_in_doubt {
                lines.push(format!(
                    "the session of client {name}, of which subscriptions may be missing: the next start \
                     ends it, with {} and {} that waited",
                    counted(known.subscriptions.len(), "subscription"),
                    counted(known.waiting().count(), "message")
                ));
                self.end(&name, known, &mut lines);
            } else {
                let is_lost = |id: &MessageId| !self.messages.contains_key(id);
                let lost = known.waiting().filter(is_lost).count();
                if lost > 0 {
                    let messages = counted(lost, "message");
                    lines.push(format!("{messages} that waited for client {name}"));
                }
            }
        }
        for ((tenant, topic), message) in &self.retained {
            if !self.messages.contains_key(message) {
                let tenant = in_tenant(Some(tenant.as_str()).filter(|tenant| !tenant.is_empty()));
                lines.push(format!("the retained message of topic {topic:?}{tenant}"));
            }
        }
        lines
    }

    /// What goes with a session.
    fn end(&self, name: &str, known: &Known, lines: &mut Vec<String>) {
        if let Some(topic) = &known.will_topic {
            lines.push(format!(
                "the will of client {name} to topic {topic:?}: it is not published"
            ));
        }
        for filter in &known.subscriptions {
            lines.push(format!("the subscription of client {name} to {filter:?}"));
        }
        let mut waiting: BTreeMap<Option<&Rc<str>>, usize> = BTreeMap::new();
        for message in known.waiting() {
            *waiting.entry(self.messages.get(&message)).or_default() += 1;
        }
        for (topic, count) in waiting {
            let what = topic.map_or_else(
                || "that cannot be read,".to_owned(),
                |topic| format!("of topic {topic:?}"),
            );
            let messages = counted(count, "message");
            lines.push(format!("{messages} {what} that waited for client {name}"));
        }
        if !known.receiving.is_empty() {
            lines.push(format!(
                "that {} of client {name} had been taken in: one that comes again is delivered again",
                counted(known.receiving.len(), "QoS 2 message")
            ));
        }
    }
}

/// So many of it.
fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// A tenant behind a name, unless it is the default one.
fn in_tenant(tenant: Option<&str>) -> String {
    tenant.map_or_else(String::new, |tenant| format!(" of tenant {tenant:?}"))
}
