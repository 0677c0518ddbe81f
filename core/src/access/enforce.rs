//! Where the rules are asked: at PUBLISH, SUBSCRIBE and for wills; at delivery, where that can
//! differ from what was granted; and again for everything that stands, when the rules change or a
//! client comes back.

use crate::access::ban::Bans;
use crate::access::identity::{Grant, Identity, Place};
use crate::access::names::Names;
use crate::access::rule::Operation;
use crate::access::rules::{Origin, Rules, Subject};
use crate::access::{Access, Answer, is_reserved};
use crate::action::{CloseReason, Event, Peer};
use crate::broker::Broker;
use crate::config::RevokedSubscription;
use crate::connection::{Connection, Stage};
use crate::route::RouteSlot;
use crate::session::{Session, Sessions};
use crate::slab::{Key, Slab};
use crate::tenant::Tenants;
use crate::time::Now;
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Sessions that are looked at again in one step, after the rules have changed.
const RECHECKS: usize = 256;

/// A refusal by the rules: what was to be done, and the line of the rule; 0 when no rule allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) operation: Operation,
    pub(crate) line: u32,
}

/// What a subscription is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscribing {
    /// Everything that it matches.
    All,
    /// What of it may be received: each message is looked at.
    Filtered,
}

/// Who a client is.
fn subject<'a>(identity: Option<&'a Identity>, place: Place, client_id: &'a str) -> Subject<'a> {
    let from = Origin {
        address: place.ip(),
        listener: place.listener,
        certificate: identity.and_then(|identity| identity.certificate.as_deref()),
    };
    let grant = identity.map(|identity| &identity.grant);
    Subject {
        user: grant.and_then(|grant| grant.user.as_deref()),
        client_id,
        tenant: grant.and_then(|grant| grant.tenant.as_deref()),
        groups: grant.map_or(&[], |grant| &grant.groups),
        rules: grant.map_or(&[], |grant| &grant.rules),
        from: Some(from),
    }
}

/// Who a connected client is.
pub(crate) fn subject_here<'a>(connection: &'a Connection, client_id: &'a str) -> Subject<'a> {
    subject(connection.identity.as_deref(), connection.place, client_id)
}

/// Who a session belongs to, as far as that is known: all while it has a connection; later what was
/// kept for what it still does, or its user.
fn subject_of<'a>(
    session: &'a Session,
    connections: &'a Slab<Connection>,
    tenants: &'a Tenants,
) -> Subject<'a> {
    let client_id = &*session.client_id;
    if let Some(connection) = session.connection.and_then(|key| connections.get(key)) {
        return subject_here(connection, client_id);
    }
    let absentee = session
        .owner
        .as_ref()
        .and_then(|owner| owner.absentee.as_ref());
    match absentee {
        Some(absentee) => subject(absentee.identity.as_deref(), absentee.place, client_id),
        None => Subject {
            user: session.user(),
            tenant: tenants.text(session.tenant),
            from: None,
            ..subject(None, Place::default(), client_id)
        },
    }
}

crate::state::state!(Absentee { identity, place });

/// Who somebody was whose connection is gone: kept while something is done in its name.
#[derive(Debug)]
pub(crate) struct Absentee {
    pub(crate) identity: Option<Box<Identity>>,
    pub(crate) place: Place,
}

impl Access {
    /// Whether a message that waited, or was begun, may be sent to a connected client now.
    pub(crate) fn may_send(
        &self,
        connection: &Connection,
        client_id: &str,
        topic: TopicName<'_>,
    ) -> bool {
        let may_name = |names: &Names| names.allow(topic.into());
        connection.names().is_none_or(may_name)
            && (!self.is_on() || self.may_receive(&subject_here(connection, client_id), topic))
    }

    /// Takes note of rules that somebody brings.
    pub(crate) const fn note(&mut self, grant: &Grant) {
        self.has_own_rules |= !grant.rules.is_empty();
    }

    /// Whether a message may be routed to somebody whose subscription matches it.
    pub(crate) fn may_route(
        &self,
        slot: u32,
        topic: TopicName<'_>,
        (sessions, connections, tenants): (&Sessions, &Slab<Connection>, &Tenants),
    ) -> bool {
        let Some(session) = sessions.at(slot).filter(|_| self.is_on()) else {
            return true;
        };
        if !session.is_filtered && !self.is_rechecking() {
            return true;
        }
        let subject = subject_of(session, connections, tenants);
        // Rules that somebody has brought are forgotten: they may have allowed it.
        let may_have_had_it = subject.from.is_none() && session.had_own_rules();
        may_have_had_it || self.may_receive(&subject, topic)
    }
}

impl Broker {
    /// Puts other rules in force; `None` allows everything. What is done from now on is decided by
    /// them at once. Subscriptions that they no longer allow end, in steps: their clients are
    /// disconnected (5.0: 0x87 with a reason string); of clients that are away they end when these
    /// come back, before anything is delivered.
    pub fn set_rules(&mut self, now: Now, rules: Option<Arc<Rules>>) {
        self.tick(now);
        self.access.rules = rules;
        self.access.permits.clear();
        // No route found so far holds: who may receive what is asked anew.
        self.tenants.touch_all();
        self.access.recheck_from = Some(0);
        self.settle();
    }

    /// Rules that decide nothing: what they would deny is counted and reported, so that they can be
    /// tried before they are put in force. While there are some, nothing is remembered of
    /// publishers, and every message is decided about.
    pub fn set_shadow_rules(&mut self, now: Now, rules: Option<Arc<Rules>>) {
        self.tick(now);
        self.access.shadow = rules;
        self.access.permits.clear();
    }

    /// A client that stays may do more now, or less.
    pub(crate) fn recheck_grant(&mut self, key: Key) {
        self.access.permits.clear();
        let session = self.connections.get(key).and_then(Connection::session);
        if let Some(session) = session.filter(|_| self.access.is_on())
            && self.recheck(key, session) > 0
        {
            self.has_lost_a_subscription(key);
        }
    }

    /// A connected client has a subscription less than it believes.
    fn has_lost_a_subscription(&mut self, key: Key) {
        match self.config.session.revoked_subscription {
            RevokedSubscription::Disconnect => {
                self.doom(key, CloseReason::SubscriptionRevoked);
            }
            RevokedSubscription::Stay => {}
        }
    }

    /// Finds out what a client that wants to come in may call topics, and what its will means by
    /// that. Whether there is any topic that it could name.
    pub(crate) fn learn_names(&mut self, key: Key) -> bool {
        let Some(connection) = self
            .connections
            .get_mut(key)
            .filter(|_| self.config.topics.is_on())
        else {
            return true;
        };
        if connection.place.listener == Peer::IN_PROCESS {
            return true;
        }
        let Stage::Parked(handshake) = &connection.stage else {
            return true;
        };
        let subject = subject_here(connection, &handshake.client_id);
        let Some(names) = self.config.topics.of(&subject) else {
            return false;
        };
        if let Stage::Parked(handshake) = &mut connection.stage
            && let Some(will) = handshake.will.as_mut()
        {
            will.topic = names.meant(&will.topic).into();
        }
        connection.extra().names = Some(names);
        true
    }

    /// The topic or filter that a client means by what it says.
    pub(crate) fn meant_by<'a>(&self, key: Key, said: &'a str) -> Cow<'a, str> {
        if self.config.topics.session_prefix.is_none() {
            return said.into();
        }
        match self.connections.get(key).and_then(Connection::names) {
            Some(names) => names.meant(said),
            None => said.into(),
        }
    }

    /// Whether a client may name this topic, or all that this filter matches, whatever the rules
    /// say.
    fn may_name(&self, key: Key, filter: TopicFilter<'_>) -> bool {
        if self.config.topics.required_prefix.is_none() {
            return true;
        }
        let Some(connection) = self.connections.get(key) else {
            return true;
        };
        match connection.names() {
            Some(names) => names.allow(filter),
            None => connection.place.listener == Peer::IN_PROCESS,
        }
    }

    /// The same, reported as what the rules deny is.
    fn check_name(
        &mut self,
        key: Key,
        operation: Operation,
        filter: TopicFilter<'_>,
    ) -> Result<(), Denial> {
        if self.may_name(key, filter) {
            return Ok(());
        }
        let denial = Denial { operation, line: 0 };
        self.report(key, denial, filter.as_str(), false);
        Err(denial)
    }

    /// Whether a client that wants to come in may publish the will that it brings.
    pub(crate) fn may_bring_will(&mut self, key: Key) -> bool {
        let is_asked = self.access.is_on() || self.config.topics.required_prefix.is_some();
        let connection = self.connections.get(key).filter(|_| is_asked);
        let Some(Stage::Parked(handshake)) = connection.map(|connection| &connection.stage) else {
            return true;
        };
        let Some(will) = handshake.will.as_ref() else {
            return true;
        };
        let topic = will.topic.clone();
        self.may_publish(key, TopicName::known(&topic), None)
    }

    /// Keeps others out from now on. Who is banned by it and connected is disconnected, in steps.
    pub fn set_bans(&mut self, now: Now, bans: Arc<Bans>) {
        self.tick(now);
        self.bans = bans;
        self.access.recheck_from = Some(0);
        self.settle();
    }

    /// Whether a connected client is kept out by now.
    fn is_banned(&self, key: Key, session: &Session) -> bool {
        if self.bans.is_empty() {
            return false;
        }
        let (wall, connection) = (self.machine_wall(), self.connections.get(key));
        let address = connection.and_then(|connection| connection.place.ip());
        self.bans
            .has_client(wall, &session.client_id, session.user())
            || address.is_some_and(|address| self.bans.has_address(wall, address))
    }

    /// Asks about one topic or filter, in the name of a connection.
    fn decide(
        &mut self,
        key: Key,
        operation: Operation,
        filter: TopicFilter<'_>,
    ) -> Result<Subscribing, Denial> {
        let Some(connection) = self.connections.get(key) else {
            return Ok(Subscribing::All);
        };
        let client_id = match &connection.stage {
            Stage::Waiting => return Ok(Subscribing::All),
            Stage::Parked(handshake) => &*handshake.client_id,
            Stage::Connected { session } => self
                .sessions
                .get(*session)
                .map_or("", |session| &session.client_id),
        };
        let subject = subject_here(connection, client_id);
        let answer = self.access.ask(&subject, operation, filter);
        let shadow = self.access.shadow(&subject, operation, filter);
        let result = match answer {
            Answer::Allowed => Ok(Subscribing::All),
            Answer::Partly(_) if self.access.grants_wide() => Ok(Subscribing::Filtered),
            Answer::Partly(line) | Answer::Denied(line) => Err(Denial { operation, line }),
        };
        if let Some(line) = shadow.filter(|_| result.is_ok()) {
            self.report(key, Denial { operation, line }, filter.as_str(), true);
        }
        if let Err(denial) = result {
            self.report(key, denial, filter.as_str(), false);
        }
        result
    }

    /// Whether a client may publish to this topic. Whoever goes on publishing where it may is
    /// looked up, and not decided about.
    pub(crate) fn may_publish(
        &mut self,
        key: Key,
        topic: TopicName<'_>,
        route: Option<RouteSlot>,
    ) -> bool {
        if self
            .check_name(key, Operation::Publish, topic.into())
            .is_err()
        {
            return false;
        }
        if !self.access.is_on() {
            return !is_reserved(topic);
        }
        let route = route
            .filter(|_| self.access.may_remember())
            .map(|slot| self.routes.peek(slot).serial);
        if route.is_some_and(|route| self.access.permits.has(key, route)) {
            return true;
        }
        let may = !is_reserved(topic) && self.decide(key, Operation::Publish, topic.into()).is_ok();
        if may && let Some(route) = route {
            self.access.permits.put(key, route);
        }
        may
    }

    /// Whether a session may publish its will now.
    pub(crate) fn may_publish_will(&mut self, session_key: Key, topic: TopicName<'_>) -> bool {
        if is_reserved(topic) {
            return false;
        }
        let Some(session) = self
            .sessions
            .get(session_key)
            .filter(|_| self.access.is_on())
        else {
            return true;
        };
        let subject = subject_of(session, &self.connections, &self.tenants);
        let Answer::Denied(line) = self.access.ask(&subject, Operation::Publish, topic.into())
        else {
            return true;
        };
        // After a restart its own rules, if it had any, are forgotten.
        if line == 0 && subject.from.is_none() && session.had_own_rules() {
            return true;
        }
        let (client_id, user) = (session.client_id.clone(), session.user().map(Box::from));
        let tenant = self.tenants.name(session.tenant);
        self.statistics.denied[Operation::Publish as usize] += 1;
        self.event(Event::Denied {
            client_id,
            tenant,
            user,
            operation: Operation::Publish,
            topic: topic.as_str().into(),
            line,
            count: 1,
        });
        false
    }

    /// Whether a subscription may be made, and what comes by it. Both are asked: whether it may be
    /// made, and whether what it matches may be received.
    pub(crate) fn may_subscribe(
        &mut self,
        key: Key,
        filter: TopicFilter<'_>,
    ) -> Result<Subscribing, Denial> {
        self.check_name(key, Operation::Subscribe, filter)?;
        if !self.access.is_on() {
            return Ok(Subscribing::All);
        }
        let made = self.decide(key, Operation::Subscribe, filter)?;
        let received = self.decide(key, Operation::Receive, filter)?;
        Ok(match (made, received) {
            (Subscribing::All, Subscribing::All) => Subscribing::All,
            (Subscribing::Filtered, _) | (_, Subscribing::Filtered) => Subscribing::Filtered,
        })
    }

    /// From now on each message to this session is looked at.
    pub(crate) fn filter_session(&mut self, session_key: Key) {
        if let Some(session) = self.sessions.get_mut(session_key)
            && !session.is_filtered
        {
            session.is_filtered = true;
            self.tenants.touch(session.tenant);
        }
    }

    /// Whether a message that waited may be delivered now to the session of this connection.
    pub(crate) fn may_deliver(&self, key: Key, topic: &str) -> bool {
        let Some(connection) = self.connections.get(key) else {
            return true;
        };
        let session = connection
            .session()
            .and_then(|session| self.sessions.get(session));
        let Some(session) = session else {
            return true;
        };
        let topic = TopicName::known(topic);
        self.access.may_send(connection, &session.client_id, topic)
    }

    /// A client is there again, or the rules are others: what its session has is looked at anew.
    /// Gives the subscriptions that have ended. Messages that wait are looked at when their turn
    /// comes.
    pub(crate) fn recheck(&mut self, key: Key, session_key: Key) -> usize {
        let Some(session) = self.sessions.get_mut(session_key) else {
            return 0;
        };
        if let Some(traffic) = session.traffic.as_mut() {
            traffic.unchecked = traffic.queue.len();
        }
        let was_filtered = core::mem::take(&mut session.is_filtered);
        let (tenant, references) = (session.tenant, session.subscriptions.clone());
        let mut texts: Vec<String> = Vec::with_capacity(references.len());
        for reference in references {
            let mut text = String::new();
            self.text(tenant, reference, &mut text);
            texts.push(text);
        }
        let (mut ended, mut is_filtered) = (0, false);
        for text in texts {
            let Ok(parsed) = TopicFilter::parse(&text) else {
                continue;
            };
            match self.may_subscribe(key, parsed.filter) {
                Ok(subscribing) => is_filtered |= subscribing == Subscribing::Filtered,
                Err(denial) => {
                    ended += 1;
                    self.revoke(session_key, &text, denial);
                }
            }
        }
        let Some(session) = self.sessions.get_mut(session_key) else {
            return ended;
        };
        session.is_filtered = is_filtered;
        // Routes may have been found for somebody who was less, or more.
        if is_filtered || was_filtered {
            self.tenants.touch(session.tenant);
        }
        ended
    }

    /// The same for a session that is resumed, maybe by somebody who may do less.
    pub(crate) fn recheck_resumed(&mut self, key: Key, session_key: Key) -> usize {
        let was_filtered = self
            .sessions
            .get(session_key)
            .is_some_and(|s| s.is_filtered);
        if self.access.is_on() || was_filtered || self.config.topics.required_prefix.is_some() {
            self.recheck(key, session_key)
        } else {
            0
        }
    }

    /// Ends a subscription that is no longer allowed.
    fn revoke(&mut self, session_key: Key, text: &str, denial: Denial) {
        let Ok(parsed) = TopicFilter::parse(text) else {
            return;
        };
        self.unsubscribe(session_key, &parsed);
        let Some(session) = self.sessions.get(session_key) else {
            return;
        };
        if self.journal.is_on() && session.is_persistent() {
            self.journal.unsubscribed(session.number, text);
        }
        self.statistics.subscriptions_revoked += 1;
        let client_id = session.client_id.clone();
        let tenant = self.tenants.name(session.tenant);
        self.event(Event::SubscriptionRevoked {
            client_id,
            tenant,
            filter: text.into(),
            line: denial.line,
        });
    }

    /// Looks at some more sessions, after the rules have changed.
    pub(crate) fn continue_recheck(&mut self) {
        for _ in 0..RECHECKS {
            let Some(slot) = self.access.recheck_from else {
                return;
            };
            let Some(key) = self.sessions.key_from(slot) else {
                self.access.recheck_from = None;
                // Routes are found as before: only who is filtered is asked for each.
                return self.tenants.touch_all();
            };
            self.access.recheck_from = Some(key.index + 1);
            let session = self.sessions.get(key);
            let connection = session.and_then(|session| session.connection);
            if let (Some(session), Some(connection)) = (session, connection)
                && self.is_banned(connection, session)
            {
                self.doom(connection, CloseReason::Banned);
            } else if let Some(connection) = connection
                && self.recheck(connection, key) > 0
            {
                self.has_lost_a_subscription(connection);
            } else if connection.is_none() {
                self.filter_session(key);
            }
        }
    }

    /// Whether what waits first for a session was put there under other rules, or for another
    /// connection.
    pub(crate) fn has_unchecked(&self, session: Key) -> bool {
        let traffic = self
            .sessions
            .get(session)
            .and_then(|session| session.traffic.as_ref());
        traffic.is_some_and(|traffic| traffic.unchecked > 0)
    }

    /// Counts a denial, and tells of the 1st, 2nd, 4th, 8th, … of a connection.
    fn report(&mut self, key: Key, denial: Denial, topic: &str, is_shadow: bool) {
        let Denial { operation, line } = denial;
        let counters = match is_shadow {
            true => &mut self.statistics.shadow_denied,
            false => &mut self.statistics.denied,
        };
        counters[operation as usize] += 1;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let extra = connection.extra();
        let count = match is_shadow {
            true => &mut extra.shadow_denied,
            false => &mut extra.denied,
        };
        *count += 1;
        let count = *count;
        if !count.is_power_of_two() {
            return;
        }
        let client_id: Box<str> = match &connection.stage {
            Stage::Waiting => "".into(),
            Stage::Parked(handshake) => handshake.client_id.clone(),
            Stage::Connected { session } => match self.sessions.get(*session) {
                Some(session) => session.client_id.clone(),
                None => "".into(),
            },
        };
        let tenant = self.tenants.name(connection.tenant);
        let user = connection.user().map(Box::from);
        let topic = topic.into();
        self.event(match is_shadow {
            false => Event::Denied {
                client_id,
                tenant,
                user,
                operation,
                topic,
                line,
                count,
            },
            true => Event::WouldDeny {
                client_id,
                tenant,
                user,
                operation,
                topic,
                line,
                count,
            },
        });
    }
}
