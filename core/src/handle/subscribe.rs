//! SUBSCRIBE, and the book-keeping of subscriptions that unsubscribing and ending sessions share.

use crate::access::Subscribing;
use crate::action::Event;
use crate::broker::Broker;
use crate::codec::packet::{Packet, QoS, RetainHandling, SubAck, Subscribe, SubscribeOptions};
use crate::codec::property::Properties;
use crate::codec::reason::ReasonCode;
use crate::error::Violation;
use crate::gate::Gate;
use crate::id::MessageId;
use crate::letter::Interest;
use crate::retained::Author;
use crate::session::cursors::Cursor;
use crate::session::{Session, SubscriptionRef};
use crate::slab::Key;
use crate::tenant::{Quota, TenantId};
use crate::topic::GroupId;
use crate::topic::filter::{ParsedFilter, TopicFilter};
use crate::topic::{SubscriberKey, Subscription};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

impl Broker {
    pub(crate) fn handle_subscribe(
        &mut self,
        key: Key,
        session: Key,
        subscribe: &Subscribe<'_>,
    ) -> Result<(), Violation> {
        self.check_user_properties(subscribe.properties)?;
        let identifier = subscribe.properties.subscription_identifier().unwrap_or(0);
        let mark = self.journal.mark();
        let mut reasons = Vec::with_capacity(subscribe.filters.len());
        // Several filters are as many subscriptions, with one answer. [MQTT-3.8.4-5]
        for (filter, options) in subscribe.filters.iter() {
            let reason = self.subscribe((key, session), filter, options, identifier)?;
            reasons.push(reason.0);
            if let Some(session) = self.sessions.get(session) {
                let client_id = session.client_id.clone();
                self.event(Event::Subscribed {
                    client_id,
                    tenant: self.tenants.name(session.tenant),
                    filter: filter.into(),
                    reason,
                });
            }
        }
        // From now on everything that is published anywhere is for it as well.
        let gate = Gate {
            position: self.journal.written_since(mark).unwrap_or_default(),
            letter: self.peers.latest_interest(),
            ..Gate::default()
        };
        // [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-6]
        let answer = SubAck {
            packet_id: subscribe.packet_id,
            properties: Properties::EMPTY,
            reasons: &reasons, // [MQTT-3.9.3-1]
        };
        self.respond(key, Some(gate), &Packet::SubAck(answer));
        self.wake(key);
        Ok(())
    }

    /// Makes or replaces one subscription. The reason code is for SUBACK.
    fn subscribe(
        &mut self,
        (key, session_key): (Key, Key),
        text: &str,
        options: SubscribeOptions,
        identifier: u32,
    ) -> Result<ReasonCode, Violation> {
        TopicFilter::parse(text).map_err(|_| Violation::TopicFilter)?;
        let text = &*self.meant_by(key, text);
        let parsed = TopicFilter::parse(text).map_err(|_| Violation::TopicFilter)?;
        // [MQTT-3.8.3-4]
        if parsed.share.is_some() && options.no_local {
            return Err(Violation::NoLocalOnShared);
        }
        if let Some(reason) = self.unavailable(&parsed, identifier) {
            return Ok(reason);
        }
        let Ok(subscribing) = self.may_subscribe(key, parsed.filter) else {
            return Ok(ReasonCode::NOT_AUTHORIZED);
        };
        // [MQTT-3.2.2-10]
        let granted = options.maximum_qos.min(self.config.protocol.maximum_qos);
        let options = SubscribeOptions {
            maximum_qos: granted,
            ..options
        };
        let subscription = Subscription {
            options,
            identifier,
        };
        let limit = self.config.limits.subscriptions_per_session_maximum as usize;
        let Some(session) = self.sessions.get(session_key) else {
            return Ok(ReasonCode::UNSPECIFIED);
        };
        let before = self.subscription_to(session_key, &parsed);
        let is_new = before.is_none();
        if is_new
            && (session.subscriptions.len() >= limit
                || (self.storage_is_full && session.is_persistent())
                || self.memory_bytes() >= self.config.limits.memory_budget_bytes)
        {
            return Ok(ReasonCode::QUOTA_EXCEEDED);
        }
        let tenant = session.tenant;
        if is_new && !self.has_room_in_tenant(tenant, Quota::Subscriptions) {
            return Ok(ReasonCode::QUOTA_EXCEEDED);
        }
        self.insert_subscription(session_key, &parsed, subscription);
        if subscribing == Subscribing::Filtered {
            self.filter_session(session_key);
        }
        let Some(session) = self.sessions.get_mut(session_key) else {
            return Ok(ReasonCode::UNSPECIFIED);
        };
        if self.journal.is_on() && session.is_persistent() {
            self.journal.subscribed(session.number, text, subscription);
            if before.is_some_and(|before| before != subscription) {
                self.journal.narrow();
            }
        }
        // Not for shared subscriptions. MQTT 5.0 §4.8.2
        let wants_retained = match options.retain_handling {
            RetainHandling::Send => true,        // [MQTT-3.3.1-9]
            RetainHandling::SendIfNew => is_new, // [MQTT-3.3.1-10]
            RetainHandling::DoNotSend => false,  // [MQTT-3.3.1-11]
        };
        if wants_retained && parsed.share.is_none() {
            self.owe_retained(session_key, parsed.filter, subscription);
        }
        Ok(ReasonCode(granted as u8)) // [MQTT-3.8.4-7]
    }

    /// What is retained by now is for a subscription that was made or replaced.
    fn owe_retained(&mut self, key: Key, filter: TopicFilter<'_>, subscription: Subscription) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if self.retained.usage_of(session.tenant).messages == 0 {
            return;
        }
        let Subscription {
            options,
            identifier,
        } = subscription;
        let filter: Arc<str> = filter.as_str().into();
        let (number, is_persistent) = (session.number, session.is_persistent());
        let without = match options.no_local {
            true => Author::of(&session.client_id),
            false => None,
        };
        let traffic = session.traffic();
        // Subscribing again starts again. [MQTT-3.8.4-4]
        traffic.drop_cursor(number, &filter, &mut self.journal);
        // What comes at QoS 0 may be lost with the broker.
        let may_be_lost = options.maximum_qos == QoS::AtMostOnce;
        let cursor = Cursor {
            filter,
            after: None,
            maximum_qos: options.maximum_qos,
            identifier,
            without,
            last: MessageId {
                origin: self.origin,
                sequence: self.sequence,
            },
            elsewhere: self.peers.last_sequences().collect(),
            is_recorded: self.journal.is_on() && is_persistent && !may_be_lost,
            has_moved: false,
        };
        if cursor.is_recorded {
            self.journal.cursor(number, &cursor);
        }
        traffic.cursors.push(cursor);
    }

    /// What the configuration or the limits do not allow.
    fn unavailable(&self, parsed: &ParsedFilter<'_>, identifier: u32) -> Option<ReasonCode> {
        let (protocol, limits) = (&self.config.protocol, &self.config.limits);
        if parsed.share.is_some() && !protocol.shared_subscription_available {
            return Some(ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED);
        }
        if parsed.filter.has_wildcards() && !protocol.wildcard_subscription_available {
            return Some(ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED); // [MQTT311-3.8.3-2]
        }
        if identifier != 0 && !protocol.subscription_identifiers_available {
            return Some(ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED);
        }
        let fits = parsed.filter.as_str().len() <= usize::from(limits.topic_bytes_maximum)
            && parsed.filter.level_count() <= usize::from(limits.topic_levels_maximum);
        (!fits).then_some(ReasonCode::TOPIC_FILTER_INVALID)
    }

    /// What a session asks for by this very filter.
    fn subscription_to(&self, session: Key, parsed: &ParsedFilter<'_>) -> Option<Subscription> {
        let key = SubscriberKey(session.index);
        let session = self.sessions.get(session)?;
        let subscriptions = &self.tenants[session.tenant].subscriptions;
        match parsed.share {
            None => Some(subscriptions.get(parsed.filter, key)?.1),
            Some(share) => Some(subscriptions.get_shared(parsed.filter, share, key)?.1),
        }
    }

    /// Enters a subscription into the index and the session. An identical filter is replaced, so
    /// that nothing is lost in between. [MQTT-3.8.4-3]
    pub(crate) fn insert_subscription(
        &mut self,
        session_key: Key,
        parsed: &ParsedFilter<'_>,
        subscription: Subscription,
    ) {
        let key = SubscriberKey(session_key.index);
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        let tenant = session.tenant;
        let subscriptions = &mut self.tenants[tenant].subscriptions;
        let (reference, is_new, members) = match parsed.share {
            None => {
                let inserted = subscriptions.insert(parsed.filter, key, subscription);
                let reference = SubscriptionRef {
                    filter: inserted.filter,
                    group: None,
                };
                (
                    reference,
                    inserted.replaced.is_none(),
                    u32::from(inserted.first),
                )
            }
            Some(share) => {
                let inserted = subscriptions.insert_shared(parsed.filter, share, key, subscription);
                let group = Some(inserted.group);
                let reference = SubscriptionRef {
                    filter: inserted.filter,
                    group,
                };
                (
                    reference,
                    inserted.replaced.is_none(),
                    u32::try_from(inserted.member_count).unwrap_or(u32::MAX),
                )
            }
        };
        if is_new {
            session.subscriptions.push(reference);
            let is_present = session.connection.is_some();
            if let Some(group) = reference.group.and_then(|id| subscriptions.group_mut(id)) {
                group.present += u32::from(is_present);
            }
            self.statistics.subscriptions += 1;
            self.count_filters(tenant);
            self.count(tenant, |counts| counts.subscriptions += 1);
            if members > 0 && !self.peers.is_alone() {
                let mut filter = String::new();
                self.text(tenant, reference, &mut filter);
                self.announce_members(tenant, filter, (members, reference.group));
            }
        }
    }

    /// What a subscription of this session asks for.
    pub(crate) fn subscription_of(
        &self,
        session: Key,
        reference: SubscriptionRef,
    ) -> Option<Subscription> {
        let key = SubscriberKey(session.index);
        let subscriptions = &self.tenants[self.sessions.get(session)?.tenant].subscriptions;
        match reference.group {
            None => subscriptions.get_id(reference.filter, key),
            Some(group) => subscriptions.group(group)?.get(key),
        }
    }

    /// The whole filter of a subscription in this tenant, with its share name.
    pub(crate) fn text(&self, tenant: TenantId, reference: SubscriptionRef, out: &mut String) {
        let subscriptions = &self.tenants[tenant].subscriptions;
        match reference.group {
            None => subscriptions.filter(reference.filter, out),
            Some(group) => {
                let Some(group) = subscriptions.group(group) else {
                    return;
                };
                out.push_str("$share/");
                out.push_str(group.share().as_str());
                out.push('/');
                subscriptions.filter(group.filter(), out);
            }
        }
    }

    /// Tells the other shards how many subscribers a filter has here now.
    pub(crate) fn announce_members(
        &mut self,
        tenant: TenantId,
        filter: String,
        (members, group): (u32, Option<GroupId>),
    ) {
        let group = group.and_then(|id| self.tenants[tenant].subscriptions.group(id));
        let present = group.map_or(0, |group| group.present);
        self.announce(&Interest {
            tenant: self.tenants.name(tenant),
            filter: filter.into(),
            members,
            present,
        });
    }

    /// Ends one subscription; whether there was one. A character by character comparison decides.
    pub(crate) fn unsubscribe(&mut self, session_key: Key, parsed: &ParsedFilter<'_>) -> bool {
        let key = SubscriberKey(session_key.index);
        let Some(session) = self.sessions.get_mut(session_key) else {
            return false;
        };
        let mut text = String::new();
        let tenant = session.tenant;
        let subscriptions = &mut self.tenants[tenant].subscriptions;
        let (reference, members) = match parsed.share {
            None => {
                let Some(removed) = subscriptions.remove(parsed.filter, key) else {
                    return false;
                };
                let reference = SubscriptionRef {
                    filter: removed.filter,
                    group: None,
                };
                (reference, removed.last.then_some(0))
            }
            Some(share) => {
                let Some(removed) = subscriptions.remove_shared(parsed.filter, share, key) else {
                    return false;
                };
                text.push_str("$share/");
                text.push_str(share.as_str());
                text.push('/');
                let group = Some(removed.group);
                (
                    SubscriptionRef {
                        filter: removed.filter,
                        group,
                    },
                    Some(u32::try_from(removed.member_count).unwrap_or(u32::MAX)),
                )
            }
        };
        text.push_str(parsed.filter.as_str());
        if let Some(place) = session
            .subscriptions
            .iter()
            .position(|known| *known == reference)
        {
            session.subscriptions.swap_remove(place);
        }
        // No retained message is started for it any more; what was begun is completed.
        if parsed.share.is_none()
            && let Some(traffic) = session.traffic.as_mut()
        {
            let filter = parsed.filter.as_str();
            traffic.drop_cursor(session.number, filter, &mut self.journal);
        }
        let is_present = session.connection.is_some();
        if let Some(group) = reference.group.and_then(|id| subscriptions.group_mut(id)) {
            group.present -= u32::from(is_present && group.present > 0);
        }
        self.statistics.subscriptions -= 1;
        self.count_filters(tenant);
        self.count(tenant, |counts| counts.subscriptions -= 1);
        if let Some(members) = members {
            self.announce_members(tenant, text, (members, reference.group));
        }
        true
    }

    /// Ends all subscriptions of a session that ends. Gives back the shared ones.
    pub(crate) fn unsubscribe_all(
        &mut self,
        slot: u32,
        session: &Session,
    ) -> Vec<(GroupId, Box<str>)> {
        let key = SubscriberKey(slot);
        let mut shared = Vec::new();
        let tenant = session.tenant;
        for reference in &session.subscriptions {
            let mut text = String::new();
            if reference.group.is_some() || !self.peers.is_alone() {
                self.text(tenant, *reference, &mut text);
            }
            self.statistics.subscriptions -= 1;
            self.count(tenant, |counts| counts.subscriptions -= 1);
            let subscriptions = &mut self.tenants[tenant].subscriptions;
            let members = match reference.group {
                None => {
                    let removed = subscriptions.remove_id(reference.filter, key);
                    removed.and_then(|removed| removed.last.then_some(0))
                }
                Some(group) => {
                    shared.push((group, text.clone().into()));
                    subscriptions
                        .remove_member(group, key)
                        .map(|removed| u32::try_from(removed.member_count).unwrap_or(u32::MAX))
                }
            };
            if let Some(members) = members {
                self.announce_members(tenant, text, (members, reference.group));
            }
        }
        self.count_filters(tenant);
        shared.sort_unstable_by_key(|(group, _)| *group);
        shared
    }
}
