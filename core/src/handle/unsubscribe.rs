//! UNSUBSCRIBE.

use crate::action::Event;
use crate::broker::Broker;
use crate::codec::packet::{Packet, SubAck, Unsubscribe};
use crate::codec::property::Properties;
use crate::codec::reason::ReasonCode;
use crate::error::Violation;
use crate::gate::Gate;
use crate::slab::Key;
use crate::topic::filter::TopicFilter;
use alloc::vec::Vec;

impl Broker {
    pub(crate) fn handle_unsubscribe(
        &mut self,
        key: Key,
        session: Key,
        unsubscribe: &Unsubscribe<'_>,
    ) -> Result<(), Violation> {
        self.check_user_properties(unsubscribe.properties)?;
        let mut reasons = Vec::with_capacity(unsubscribe.filters.len());
        // [MQTT-3.10.4-6]
        for filter in unsubscribe.filters.iter() {
            TopicFilter::parse(filter).map_err(|_| Violation::TopicFilter)?;
            let filter = &*self.meant_by(key, filter);
            let parsed = TopicFilter::parse(filter).map_err(|_| Violation::TopicFilter)?;
            // [MQTT-3.10.4-1] [MQTT-3.10.4-2]
            let existed = self.unsubscribe(session, &parsed);
            if existed && let Some(session) = self.sessions.get(session) {
                if self.journal.is_on() && session.is_persistent() {
                    self.journal.unsubscribed(session.number, filter);
                }
                let client_id = session.client_id.clone();
                self.event(Event::Unsubscribed {
                    client_id,
                    tenant: self.tenants.name(session.tenant),
                    filter: filter.into(),
                });
            }
            let reason = match existed {
                true => ReasonCode::SUCCESS,
                false => ReasonCode::NO_SUBSCRIPTION_EXISTED,
            };
            reasons.push(reason.0);
        }
        let gate = self.latest_gate().map(Gate::from);
        // Even when nothing was there to end. [MQTT-3.10.4-4] [MQTT-3.10.4-5]
        let answer = SubAck {
            packet_id: unsubscribe.packet_id,
            properties: Properties::EMPTY,
            reasons: &reasons, // [MQTT-3.11.3-1]
        };
        self.respond(key, gate, &Packet::UnsubAck(answer));
        Ok(())
    }
}
