//! Messages that are not taken in: why, what their clients hear, and that it stays so.

use crate::action::{CloseReason, Event, PublishRefusal};
use crate::broker::Broker;
use crate::codec::ReasonCode;
use crate::codec::packet::{Publish, QoS};
use crate::gate::{AckKind, Gate};
use crate::handle::publish::Destination;
use crate::id::PacketId;
use crate::message::MessageView;
use crate::retained::Usage;
use crate::session::refusals::Refusal;
use crate::slab::Key;
use crate::tenant::TenantId;
use crate::topic::TopicName;
use alloc::boxed::Box;

impl Broker {
    /// Why a well-formed message is not taken in, if so.
    pub(super) fn refusal(
        &mut self,
        key: Key,
        to: &Destination<'_>,
        publish: &Publish<'_>,
    ) -> Option<PublishRefusal> {
        if !self.may_publish(key, to.topic, to.route) {
            return Some(PublishRefusal::NotAllowed);
        }
        if self.config.protocol.check_payload_format
            && publish.properties.payload_format_indicator() == Some(true)
            && core::str::from_utf8(publish.payload).is_err()
        {
            return Some(PublishRefusal::PayloadFormat);
        }
        let clears = publish.retain && publish.payload.is_empty();
        if publish.qos > QoS::AtMostOnce {
            self.measure_memory();
            if self.is_tight() {
                return Some(PublishRefusal::Memory);
            }
            if self.storage_is_full && !clears {
                return Some(PublishRefusal::Storage);
            }
        }
        if publish.retain && !publish.payload.is_empty() && publish.qos > QoS::AtMostOnce {
            let mut forwarded = core::mem::take(&mut self.forwarded);
            forwarded.clear();
            publish.properties.forwardable(&mut forwarded);
            let name = self.tenants.name(to.tenant);
            let view = self.view(name.as_deref(), to.topic, (publish, &forwarded));
            let lacks = self.retained_shortage(to.tenant, &view);
            self.forwarded = forwarded;
            return lacks;
        }
        None
    }

    /// What keeps a message from being retained, if anything does.
    pub(super) fn retained_shortage(
        &self,
        tenant: TenantId,
        view: &MessageView<'_>,
    ) -> Option<PublishRefusal> {
        let limits = &self.config.limits;
        let maximum = Usage {
            messages: limits.retained_messages_maximum,
            bytes: limits.retained_bytes_maximum,
        };
        let of_tenant = self.retained_maximum(tenant);
        if !self.retained.has_room(tenant, view, (maximum, of_tenant)) {
            let is_tenants_alone = self.retained.has_room(tenant, view, (maximum, Usage::ANY));
            return Some(match is_tenants_alone {
                true => PublishRefusal::TenantRetained,
                false => PublishRefusal::Retained,
            });
        }
        let bytes = self.memory_bytes() + view.encoded_len() as u64;
        (bytes > limits.memory_budget_bytes).then_some(PublishRefusal::Memory)
    }

    /// Refuses a message in an acknowledgement; where the version has no words for it, acknowledges
    /// what is forbidden for good, and closes over what may pass later.
    pub(super) fn refuse_publish(
        &mut self,
        key: Key,
        gate: Option<Gate>,
        (kind, id, topic): (AckKind, PacketId, TopicName<'_>),
        why: PublishRefusal,
    ) {
        let reason = why.reason_code();
        self.statistics.publishes_refused += 1;
        let hears = self
            .connections
            .get(key)
            .is_some_and(|c| c.profile.hears_refusals());
        if hears {
            self.tell_refused(key, topic.as_str(), why, false);
            self.acknowledge(key, gate, (kind, id, reason));
        } else if reason == ReasonCode::NOT_AUTHORIZED {
            // [MQTT311-3.3.5-2] A QoS 2 exchange goes on as if it had been taken in; PUBREL finds
            // nothing to release.
            self.acknowledge(key, gate, (kind, id, ReasonCode::SUCCESS));
        } else {
            self.doom(
                key,
                CloseReason::Limit(reason, why.limits().unwrap_or_default()),
            ); // [MQTT311-4.8.0-2]
        }
    }

    /// Counts a refusal, and tells of the 1st, 2nd, 4th, 8th, … of a connection. What is told
    /// otherwise is not: what rules do not allow, and what was refused before.
    #[cold]
    pub(super) fn tell_refused(
        &mut self,
        key: Key,
        topic: &str,
        why: PublishRefusal,
        was_delivered: bool,
    ) {
        let is_told = matches!(why, PublishRefusal::NotAllowed | PublishRefusal::Repeated);
        let Some(connection) = self.connections.get_mut(key).filter(|_| !is_told) else {
            return;
        };
        let count = &mut connection.extra().publishes_refused;
        *count += 1;
        let count = *count;
        let session = connection.session();
        if let Some(session) = session.and_then(|session| self.sessions.get(session))
            && count.is_power_of_two()
        {
            let client_id = session.client_id.clone();
            let user = connection.user().map(Box::from);
            let tenant = self.tenants.name(session.tenant);
            self.event(Event::PublishRefused {
                client_id,
                tenant,
                user,
                topic: topic.into(),
                why,
                was_delivered,
                count,
            });
        }
    }

    /// Whether this is a message that was refused, and then others were taken in: its answer
    /// stands. Under the identifier of such a message another one may come, when its client has
    /// heard.
    pub(super) fn was_refused(
        &mut self,
        session: Key,
        (id, topic): (PacketId, TopicName<'_>),
        publish: &Publish<'_>,
    ) -> Option<PublishRefusal> {
        let session = self.sessions.get_mut(session)?;
        let refusals = session.traffic.as_mut()?.refusals.as_mut()?;
        let refusal = Refusal::of(id, publish, topic.as_str());
        if publish.dup && refusals.has(refusal) {
            return Some(PublishRefusal::Repeated);
        }
        if refusals.forget(id) && self.journal.is_on() {
            self.journal.refusal_forgotten(session.number, id);
        }
        None
    }

    /// There was no room for it. Who may not hear of that, and come back, is remembered.
    pub(super) fn note_refusal(
        &mut self,
        session: Key,
        (id, topic): (PacketId, TopicName<'_>),
        publish: &Publish<'_>,
    ) {
        let maximum = self.config.protocol.receive_maximum;
        let session = self.sessions.get_mut(session);
        let Some(session) = session.filter(|session| session.is_persistent()) else {
            return;
        };
        let number = session.number;
        let refusals = session.traffic().refusals.get_or_insert_default();
        let refusal = Refusal::of(id, publish, topic.as_str());
        if let Some(old) = refusals.add(refusal, maximum)
            && self.journal.is_on()
        {
            self.journal.refusal_forgotten(number, old.id);
        }
    }

    /// A message is taken in: those that were refused before it stay refused, from the same batch
    /// on.
    pub(super) fn seal_refusals(&mut self, session: Key) {
        let Some(session) = self.sessions.get_mut(session) else {
            return;
        };
        let traffic = session.traffic.as_mut();
        let Some(refusals) = traffic.and_then(|traffic| traffic.refusals.as_mut()) else {
            return;
        };
        for refusal in refusals.seal() {
            if self.journal.is_on() {
                self.journal.refused(session.number, refusal);
            }
        }
    }
}
