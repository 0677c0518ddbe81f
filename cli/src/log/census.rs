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
    heeded: BTreeSet<(u64, u64)>,
}

/// What is known of one session.
#[derive(Debug, Default)]
struct Known {
    /// `None` when the record that says so is lost.
    client_id: Option<Box<str>>,
    subscriptions: BTreeSet<String>,
    deliveries: BTreeMap<u64, Option<MessageId>>,
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
                self.known(view.session).client_id = Some(view.client_id);
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
                self.heeded.insert(gap);
            }
            // Says nothing about what waits or is retained.
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
            messages.intersection(&self.messages).count()
        )
    }

    /// What something refers to and is not there, and what the next start ends for these gaps, a
    /// line each.
    pub(super) fn missing(&self, doubts: &[(u64, u64)]) -> Vec<String> {
        let mut lines = Vec::new();
        let is_in_doubt = doubts.iter().any(|gap| !self.heeded.contains(gap));
        for (session, known) in &self.sessions {
            let lost = known.deliveries.values().flatten();
            let lost = lost.filter(|id| !self.messages.contains(id)).count();
            if known.client_id.is_none() {
                let (subscriptions, deliveries) =
                    (known.subscriptions.len(), known.deliveries.len());
                if subscriptions + deliveries > 0 {
                    lines.push(format!(
                        "a session whose client cannot be read (#{session}), with {subscriptions} \
                         subscriptions and {deliveries} messages that waited for it"
                    ));
                }
            } else if is_in_doubt {
                let name = self.name(*session);
                let (subscriptions, deliveries) =
                    (known.subscriptions.len(), known.deliveries.len());
                lines.push(format!(
                    "the session of client {name}, of which subscriptions may be missing: the next start \
                     ends it, with {subscriptions} subscriptions and {deliveries} messages that waited"
                ));
            } else if lost > 0 {
                let name = self.name(*session);
                lines.push(format!("{lost} messages that waited for client {name}"));
            }
        }
        for ((_, topic), message) in &self.retained {
            if !self.messages.contains(message) {
                lines.push(format!("the retained message of topic {topic:?}"));
            }
        }
        lines
    }
}
