//! What a log holds when all of it is read: how much of each, and what is missing.

use std::collections::{BTreeMap, BTreeSet};
use whimbrel_core::id::MessageId;
use whimbrel_core::inspect::Record;
use whimbrel_core::log::{BatchRef, Recovered};

/// What is live, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Census {
    sessions: BTreeMap<u64, Known>,
    messages: BTreeSet<MessageId>,
    /// By tenant and topic.
    retained: BTreeMap<(String, String), MessageId>,
    /// Gaps whose sessions have ended.
    heeded: Vec<(u64, u64)>,
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
}

impl Known {
    /// Messages that its client does not have yet, or has not acknowledged.
    fn waiting(&self) -> impl Iterator<Item = MessageId> {
        self.deliveries.values().flatten().copied()
    }

    fn is_empty(&self) -> bool {
        self.subscriptions.is_empty() && self.deliveries.is_empty()
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
                self.messages.insert(view.id);
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
                self.heeded.push(gap);
            }
            // Nobody misses it: it is made anew, or means nothing without the session.
            Record::Boot { .. }
            | Record::Clock { .. }
            | Record::Tenant { .. }
            | Record::Received { .. }
            | Record::Completed { .. }
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
        let mut messages = BTreeSet::new();
        messages.extend(self.retained.values());
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
                .filter(|id| self.messages.contains(id))
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
            let ends = match known.client_id.is_none() {
                true if known.is_empty() => continue,
                true => "has no readable record",
                false if is_in_doubt => "may lack subscriptions, so the next start ends it",
                false => {
                    let is_lost = |id: &MessageId| !self.messages.contains(id);
                    let lost = known.waiting().filter(is_lost).count();
                    if lost > 0 {
                        lines.push(format!("{lost} messages that waited for client {name}"));
                    }
                    continue;
                }
            };
            lines.push(format!(
                "the session of client {name}, which {ends}, with {} subscriptions and {} messages that \
                 waited",
                known.subscriptions.len(),
                known.waiting().count()
            ));
            if let Some(topic) = &known.will_topic {
                lines.push(format!(
                    "the will of client {name} to topic {topic:?}: it is not published"
                ));
            }
        }
        for ((tenant, topic), message) in &self.retained {
            if !self.messages.contains(message) {
                let tenant = in_tenant(Some(tenant.as_str()).filter(|tenant| !tenant.is_empty()));
                lines.push(format!("the retained message of topic {topic:?}{tenant}"));
            }
        }
        lines
    }
}

/// A tenant behind a name, unless it is the default one.
fn in_tenant(tenant: Option<&str>) -> String {
    tenant.map_or_else(String::new, |tenant| format!(" of tenant {tenant:?}"))
}
