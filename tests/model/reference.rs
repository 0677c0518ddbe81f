//! A naive broker that says what each client may observe: sets and orders, not bytes.
//!
//! It is told what clients do, and then what they hear. What it expects it keeps in plain lists,
//! one for each client; what is heard must be in them, and when everything has come to rest nothing
//! may be left in them that a client had to get. It chooses nobody: who of a shared group gets a
//! message is up to the broker, as long as it is one.

use crate::answer::{Answer, Heard};
use crate::filter::matches;
use crate::operation::SMALL_BYTES;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use whimbrel_core::codec::ReasonCode;
use whimbrel_core::codec::packet::{
    PacketType, Publish, QoS, RetainHandling, SubscribeOptions, Version,
};

/// Clients, by number.
pub(crate) type Client = usize;

/// A message on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Delivery {
    topic: String,
    payload: String,
    qos: QoS,
    retain: bool,
    /// The new subscription that it is for, when that is what it was retained for.
    kept_for: Option<String>,
    /// Subscription identifiers, for those who hear of them.
    identifiers: BTreeSet<u32>,
    /// It was heard before 5.0, where there are none.
    hides_identifiers: bool,
    expires_at: Option<u64>,
}

/// A message that was sent to a client and is not acknowledged for good.
#[derive(Clone, Debug)]
struct Open {
    delivery: Delivery,
    is_released: bool,
    /// Sent on this connection as a PUBLISH.
    counts: bool,
    /// To be sent again on this connection.
    is_due: bool,
    /// It came by a group, as this message.
    by_group: Option<Delivery>,
}

/// A will as CONNECT says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) number: u32,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) delay_s: u32,
    pub(crate) expiry_s: Option<u32>,
}

/// What CONNECT says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hello {
    pub(crate) version: Version,
    pub(crate) clean: bool,
    pub(crate) expiry_s: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) keep_alive_s: u16,
    pub(crate) is_small: bool,
    pub(crate) will: Option<Will>,
}

#[derive(Debug)]
struct Session {
    version: Version,
    is_connected: bool,
    window: usize,
    /// Large messages are not sent on this connection.
    is_small: bool,
    /// How long it may be silent; 0 is for ever.
    patience_ms: u64,
    heard_at: u64,
    expiry_s: u32,
    ends_at: Option<u64>,
    will: Option<Will>,
    will_at: Option<u64>,
    subscriptions: BTreeMap<String, (SubscribeOptions, u32)>,
    /// QoS 1 and 2, in the order in which they have to come.
    owed: Vec<Delivery>,
    /// QoS 0.
    hoped: Vec<Delivery>,
    /// What may come or not: QoS 0 that waited when the connection was lost, what was retained for
    /// another one by the time that there was room for it, and what is too large for a connection
    /// that has no room for it, because the next one may take it.
    perhaps: Vec<Delivery>,
    open: Vec<(u16, Open)>,
    /// Incoming QoS 2 identifiers that are not released.
    received: BTreeSet<u16>,
    /// What it has asked on this connection and was not answered.
    answers: Vec<Answer>,
    /// It has done what is not allowed: the broker closes the connection, and says why in 5.0.
    must_close: Option<ReasonCode>,
}

/// A message for one of a group.
#[derive(Debug)]
struct ForOne {
    message: Delivery,
    /// As it would come to each member; in as many forms as it has groups, when it is not known any
    /// more which of them this is.
    candidates: BTreeMap<Client, Vec<Delivery>>,
    taken_by: Option<Client>,
    /// Nobody could take it when it came; it may be with anybody, or gone.
    is_lost: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    now: u64,
    /// When it last came to rest: what is heard was sent since.
    rested_at: u64,
    sessions: BTreeMap<Client, Session>,
    retained: BTreeMap<String, (Delivery, Option<Client>)>,
    for_one: Vec<ForOne>,
}

impl Reference {
    // --- What clients do ---

    /// Gives whether the client has a session.
    pub(crate) fn connect(&mut self, client: Client, hello: &Hello) -> bool {
        let is_there = self.sessions.contains_key(&client);
        if self.sessions.get(&client).is_some_and(|s| s.is_connected) {
            self.lost(client);
        }
        if hello.clean {
            self.end_session(client);
        }
        let is_resumed = self.sessions.contains_key(&client);
        let session = self.sessions.entry(client).or_insert_with(|| Session {
            version: hello.version,
            is_connected: false,
            window: 0,
            is_small: false,
            patience_ms: 0,
            heard_at: 0,
            expiry_s: 0,
            ends_at: None,
            will: None,
            will_at: None,
            subscriptions: BTreeMap::new(),
            owed: Vec::new(),
            hoped: Vec::new(),
            perhaps: Vec::new(),
            open: Vec::new(),
            received: BTreeSet::new(),
            answers: Vec::new(),
            must_close: None,
        });
        session.version = hello.version;
        session.is_connected = true;
        session.is_small = hello.is_small && hello.version == Version::V5;
        session.patience_ms = u64::from(hello.keep_alive_s) * 1_500;
        session.heard_at = self.now;
        session.expiry_s = hello.expiry_s;
        session.ends_at = None;
        // A delayed will of the connection before is not published any more.
        session.will_at = None;
        session.will = hello.will;
        session.window = match hello.version {
            Version::V5 => usize::from(hello.receive_maximum),
            Version::V3 | Version::V4 => usize::MAX,
        };
        for (_, open) in &mut session.open {
            (open.counts, open.is_due) = (false, true);
        }
        debug_assert!(is_there || !is_resumed);
        is_resumed
    }

    /// It has sent something, no matter what.
    pub(crate) fn spoke(&mut self, client: Client) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.heard_at = self.now;
        }
    }

    /// PINGREQ.
    pub(crate) fn ping(&mut self, client: Client) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.answers.push(Answer::to_ping());
        }
    }

    /// The connection is gone without a word.
    pub(crate) fn lost(&mut self, client: Client) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        if !std::mem::take(&mut session.is_connected) {
            return;
        }
        session.perhaps.append(&mut session.hoped);
        session.answers.clear();
        session.must_close = None;
        session.ends_at = (session.expiry_s < u32::MAX).then(|| now + after(session.expiry_s));
        if let Some(will) = session.will {
            session.will_at = Some(now + after(will.delay_s.min(session.expiry_s)));
        }
        self.pass(0);
    }

    pub(crate) fn disconnect(&mut self, client: Client, keeps_will: bool) {
        if let Some(session) = self.sessions.get_mut(&client)
            && !keeps_will
        {
            session.will = None;
        }
        self.lost(client);
    }

    pub(crate) fn subscribe(
        &mut self,
        client: Client,
        (id, filter): (u16, &str),
        (options, identifier): (SubscribeOptions, u32),
    ) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        let answer = Answer::to_subscribe(id, options.maximum_qos);
        session.answers.push(answer);
        let replaced = session
            .subscriptions
            .insert(filter.to_owned(), (options, identifier));
        let wants_retained = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => replaced.is_none(),
            RetainHandling::DoNotSend => false,
        };
        if !wants_retained || filter.starts_with("$share/") {
            return;
        }
        session.excuse(|known, _| known == filter);
        let found = self.retained.values().filter(|(message, from)| {
            let is_local = options.no_local && *from == Some(client);
            matches(filter, &message.topic)
                && !is_local
                && message.expires_at.is_none_or(|at| at > now)
        });
        for (message, _) in found {
            let delivery = Delivery {
                qos: message.qos.min(options.maximum_qos),
                identifiers: named(identifier),
                kept_for: Some(filter.to_owned()),
                ..message.clone()
            };
            session.expect(delivery);
        }
    }

    pub(crate) fn unsubscribe(&mut self, client: Client, id: u16, filter: &str) {
        if let Some(session) = self.sessions.get_mut(&client) {
            let was_there = session.subscriptions.remove(filter).is_some();
            session.answers.push(Answer::to_unsubscribe(id, was_there));
            // What was not begun need not be sent; see [MQTT-3.10.4-3].
            session.excuse(|known, _| known == filter);
        }
    }

    pub(crate) fn publish(&mut self, client: Client, publish: &Publish<'_>, expiry_s: Option<u32>) {
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        let id = publish.packet_id.map_or(0, |id| id.get());
        if publish.qos == QoS::ExactlyOnce && !session.received.insert(id) {
            session
                .answers
                .extend(Answer::to_publish(publish.qos, id, false));
            return;
        }
        let message = Delivery {
            topic: publish.topic.to_owned(),
            payload: String::from_utf8_lossy(publish.payload).into_owned(),
            qos: publish.qos,
            retain: publish.retain,
            kept_for: None,
            identifiers: BTreeSet::new(),
            hides_identifiers: false,
            expires_at: expiry_s.map(|seconds| self.now + after(seconds)),
        };
        let is_wanted = self.route(Some(client), &message);
        if let Some(session) = self.sessions.get_mut(&client) {
            session
                .answers
                .extend(Answer::to_publish(publish.qos, id, is_wanted));
        }
    }

    pub(crate) fn release(&mut self, client: Client, id: u16) {
        if let Some(session) = self.sessions.get_mut(&client) {
            let is_known = session.received.remove(&id);
            let answer = Answer::to_ack(PacketType::PubComp, id, is_known);
            session.answers.push(answer);
        }
    }

    /// Gives whether there is anybody who gets it.
    fn route(&mut self, publisher: Option<Client>, message: &Delivery) -> bool {
        if message.retain {
            for session in self.sessions.values_mut() {
                session.excuse(|_, topic| topic == message.topic);
            }
            if message.payload.is_empty() {
                self.retained.remove(&message.topic);
            } else {
                let kept = (message.clone(), publisher);
                self.retained.insert(message.topic.clone(), kept);
            }
        }
        let mut is_wanted = false;
        // A group is a share name and a filter.
        let mut groups: BTreeMap<String, BTreeMap<Client, Vec<Delivery>>> = BTreeMap::new();
        for (client, session) in &mut self.sessions {
            let mut merged: Option<Delivery> = None;
            for (filter, (options, identifier)) in &session.subscriptions {
                if !matches(filter, &message.topic) {
                    continue;
                }
                let one = session.wanted(message, *options, *identifier);
                if filter.starts_with("$share/") {
                    let group = groups.entry(filter.clone()).or_default();
                    group.insert(*client, vec![one]);
                } else if !(options.no_local && session.has_options() && publisher == Some(*client))
                {
                    match &mut merged {
                        None => merged = Some(one),
                        Some(all) => {
                            all.qos = all.qos.max(one.qos);
                            all.retain |= one.retain;
                            all.identifiers.extend(one.identifiers);
                        }
                    }
                }
            }
            if let Some(delivery) = merged {
                is_wanted = true;
                session.expect(delivery);
            }
        }
        is_wanted |= !groups.is_empty();
        let mut group_counts: BTreeMap<Client, usize> = BTreeMap::new();
        for client in groups.values().flat_map(BTreeMap::keys) {
            *group_counts.entry(*client).or_default() += 1;
        }
        for candidates in groups.into_values() {
            let members = candidates
                .keys()
                .map(|client| (client, &self.sessions[client]));
            // The broker may choose who does not take it, as if that one had got it; and who has no
            // more room once it has got it by another group.
            let is_lost = !members.clone().any(|(_, session)| session.can_take())
                || members.clone().any(|(client, session)| {
                    session.is_too_large(message)
                        || (session.can_take() && session.room() < group_counts[client])
                });
            self.for_one.push(ForOne {
                message: message.clone(),
                candidates,
                taken_by: None,
                is_lost,
            });
        }
        is_wanted
    }

    /// The next step of time: not beyond the next moment in which somebody was silent for too long.
    pub(crate) fn step_ms(&self, most_ms: u64) -> u64 {
        let connected = self.sessions.values().filter(|s| s.is_connected);
        let ends = connected.filter_map(Session::patience_ends_at);
        ends.map(|at| at - self.now).fold(most_ms, u64::min)
    }

    /// Time passes; what becomes due does so in order.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        self.rested_at = self.now;
        loop {
            let wills = self.sessions.iter().filter_map(|(client, session)| {
                Some((session.will_at.filter(|at| *at <= end)?, 0, *client))
            });
            let ends = self.sessions.iter().filter_map(|(client, session)| {
                Some((session.ends_at.filter(|at| *at <= end)?, 1, *client))
            });
            let Some((at, kind, client)) = wills.chain(ends).min() else {
                break;
            };
            self.now = self.now.max(at);
            if kind == 0 {
                self.publish_will(client);
            } else {
                self.end_session(client);
            }
        }
        self.now = end;
        for session in self.sessions.values_mut().filter(|s| s.is_connected) {
            if session.patience_ends_at().is_some_and(|at| at <= end) {
                session.must_close = Some(ReasonCode::KEEP_ALIVE_TIMEOUT);
            }
        }
    }

    fn publish_will(&mut self, client: Client) {
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        session.will_at = None;
        if let Some(will) = session.will.take() {
            let message = Delivery {
                topic: format!("w/{client}"),
                payload: will.number.to_string(),
                qos: will.qos,
                retain: will.retain,
                kept_for: None,
                identifiers: BTreeSet::new(),
                hides_identifiers: false,
                expires_at: will.expiry_s.map(|seconds| self.now + after(seconds)),
            };
            self.route(None, &message);
        }
    }

    fn end_session(&mut self, client: Client) {
        if self
            .sessions
            .get(&client)
            .is_some_and(|s| s.will_at.is_some())
        {
            self.publish_will(client);
        }
        let Some(session) = self.sessions.remove(&client) else {
            return;
        };
        // What it had of a group may go to another member, but a QoS 2 message that was sent.
        for (_, open) in session.open {
            if let Some(message) = open.by_group
                && open.delivery.qos == QoS::AtLeastOnce
            {
                self.for_one.push(ForOne {
                    message,
                    candidates: BTreeMap::new(),
                    taken_by: None,
                    is_lost: true,
                });
            }
        }
        for one in self.for_one.iter_mut().filter(|one| one.taken_by.is_none()) {
            one.is_lost = true;
            for (member, session) in &self.sessions {
                let groups = session.subscriptions.iter().filter(|(filter, _)| {
                    filter.starts_with("$share/") && matches(filter, &one.message.topic)
                });
                for (_, (options, identifier)) in groups {
                    let delivery = session.wanted(&one.message, *options, *identifier);
                    let forms = one.candidates.entry(*member).or_default();
                    if !forms.iter().any(|form| form.is(&delivery)) {
                        forms.push(delivery);
                    }
                }
            }
        }
    }

    /// The process ends, and another one goes on from the log.
    pub(crate) fn restart(&mut self) {
        let clients: Vec<Client> = self.sessions.keys().copied().collect();
        for client in clients {
            self.lost(client);
        }
        for one in &mut self.for_one {
            one.is_lost = true;
        }
    }

    // --- What they hear ---

    pub(crate) fn hears(&mut self, client: Client, publish: &Publish<'_>) -> Result<(), String> {
        let now = self.now;
        let session = self.sessions.get_mut(&client).ok_or("it has no session")?;
        let heard = Delivery {
            topic: publish.topic.to_owned(),
            payload: String::from_utf8_lossy(publish.payload).into_owned(),
            qos: publish.qos,
            retain: publish.retain,
            kept_for: None,
            identifiers: publish.properties.subscription_identifiers().collect(),
            hides_identifiers: session.version < Version::V5,
            expires_at: None,
        };
        if session.is_too_large(&heard) {
            return Err("it is larger than it takes".into());
        }
        let Some(id) = publish.packet_id.map(|id| id.get()) else {
            for list in [&mut session.hoped, &mut session.perhaps] {
                if let Some(place) = list.iter().position(|one| one.is(&heard)) {
                    list.remove(place);
                    return Ok(());
                }
            }
            return self.take_for_one(client, &heard).map(|_| ());
        };
        session.pass_over(session.place_of(id));
        if let Some((_, open)) = session.open.iter_mut().find(|(known, _)| *known == id) {
            if !open.is_due || open.is_released || !open.delivery.is(&heard) {
                return Err(format!("identifier {id} is in use by {open:?}"));
            }
            if !publish.dup {
                return Err("it comes again and does not say so".into());
            }
            (open.is_due, open.counts) = (false, true);
            return Ok(());
        }
        if publish.dup {
            return Err("it says that it comes again, and does not".into());
        }
        let same = |owed: &Delivery| owed.topic == heard.topic && owed.qos == heard.qos;
        let mut due = session.open.iter().filter(|(_, open)| open.is_due);
        if due.any(|(_, open)| same(&open.delivery) && !open.is_released) {
            return Err("something new comes before what comes again".into());
        }
        // Payloads that are empty are all alike: rather one that may come.
        let rested_at = self.rested_at;
        let has_expired = |one: &Delivery| one.expires_at.is_some_and(|at| at <= rested_at);
        let alike = |owed: &Delivery| owed.is(&heard);
        let mut owed = session.owed.iter();
        let place = owed.position(|owed| alike(owed) && !has_expired(owed));
        let place = place.or_else(|| session.owed.iter().position(alike));
        let mut by_group = None;
        let mut delivery = match place {
            Some(place) => {
                // Those before it have expired, or are retained ones, which come in any order.
                let before = session.owed[..place].iter();
                let mut before =
                    before.filter(|owed| same(owed) && !owed.retain && !session.is_too_large(owed));
                if before.any(|owed| owed.expires_at.is_none_or(|at| at > now)) {
                    return Err("it overtakes another one".into());
                }
                session.owed.remove(place)
            }
            None if session.perhaps.iter().any(|one| one.is(&heard)) => {
                let place = session.perhaps.iter().position(|one| one.is(&heard));
                session.perhaps.remove(place.unwrap_or_default())
            }
            None => {
                let (delivery, group) = self.take_for_one(client, &heard)?;
                by_group = Some(group);
                delivery
            }
        };
        // Which of its subscriptions and groups it came by may show when it comes again.
        delivery.hides_identifiers = heard.hides_identifiers;
        let session = self.sessions.get_mut(&client).ok_or("it has no session")?;
        if has_expired(&delivery) {
            return Err("it has expired".into());
        }
        let open = Open {
            delivery,
            is_released: false,
            counts: true,
            is_due: false,
            by_group,
        };
        // In the order in which they began: a QoS 2 message may have waited for the log.
        let place = session.open.partition_point(|(known, _)| *known < id);
        session.open.insert(place, (id, open));
        let count = session.open.iter().filter(|(_, open)| open.counts).count();
        if count > session.window {
            return Err(format!("{count} are open, above its receive maximum"));
        }
        Ok(())
    }

    /// Gives the message as it was wanted, and as it was published.
    fn take_for_one(
        &mut self,
        client: Client,
        heard: &Delivery,
    ) -> Result<(Delivery, Delivery), String> {
        let is_for = |one: &ForOne, client: Client| {
            let forms = one.candidates.get(&client);
            forms.is_some_and(|forms| forms.iter().any(|form| form.payload == heard.payload))
        };
        let free = |one: &ForOne| one.taken_by.is_none();
        let form = |one: &ForOne| {
            let forms = one.candidates.get(&client)?;
            forms.iter().find(|form| form.is(heard)).cloned()
        };
        let fits = |one: &ForOne| form(one).is_some();
        let rested_at = self.rested_at;
        // Payloads that are empty are all alike: rather what may come than what has expired, and
        // rather what has to come than what may.
        let doubt = |one: &ForOne| {
            let has_expired = one.message.expires_at.is_some_and(|at| at <= rested_at);
            (has_expired, one.is_lost)
        };
        let is_sure = |one: &ForOne| doubt(one) == (false, false);
        let all = &mut self.for_one;
        let places = (0..all.len()).filter(|place| free(&all[*place]) && fits(&all[*place]));
        // And what others could have got: what is for this one alone may wait until it has room.
        let mut place =
            places.min_by_key(|place| (doubt(&all[*place]), Reverse(all[*place].candidates.len())));
        if place.is_none_or(|place| !is_sure(&all[place])) {
            // Who is in two groups may have got it by the other one.
            let taken = (0..all.len()).filter(|place| !free(&all[*place]) && fits(&all[*place]));
            let swaps = taken.flat_map(|taken| {
                let other = all[taken].taken_by.unwrap_or_default();
                let others = (0..all.len()).map(move |place| (taken, place, other));
                others
                    .filter(|(_, place, other)| free(&all[*place]) && is_for(&all[*place], *other))
            });
            let swap = swaps.min_by_key(|(_, instead, _)| doubt(&all[*instead]));
            if let Some((taken, instead, other)) = swap
                && (place.is_none() || is_sure(&all[instead]))
            {
                all[instead].taken_by = Some(other);
                place = Some(taken);
            }
        }
        let place = place.ok_or("it is not for it, or comes twice")?;
        let one = &mut all[place];
        one.taken_by = Some(client);
        let form = form(one).ok_or("it is not for it")?;
        Ok((form, one.message.clone()))
    }

    /// Something that is no message.
    pub(crate) fn hears_answer(&mut self, client: Client, heard: &Heard) -> Result<(), String> {
        let session = self.sessions.get_mut(&client).ok_or("it has no session")?;
        let version = session.version;
        let mut answers = session.answers.iter();
        if let Some(place) = answers.position(|answer| answer.is(heard, version)) {
            session.answers.remove(place);
            return Ok(());
        }
        // On a new connection the broker comes back to what it had released, once.
        let behind = session.open.len().min(session.place_of(heard.id) + 1);
        session.pass_over(behind);
        let known = session.open.iter_mut().find(|(id, _)| *id == heard.id);
        match known {
            Some((_, open))
                if heard.kind == PacketType::PubRel
                    && heard.reason == ReasonCode::SUCCESS
                    && open.is_released
                    && open.is_due =>
            {
                open.is_due = false;
                Ok(())
            }
            _ => Err(format!("it is owed {:?}", session.answers)),
        }
    }

    /// The broker has closed the connection, and given a reason or none.
    pub(crate) fn closed(
        &mut self,
        client: Client,
        said: Option<ReasonCode>,
    ) -> Result<(), String> {
        let session = self.sessions.get(&client).ok_or("it has no session")?;
        let Some(reason) = session.must_close else {
            return Err(format!("it is closed for nothing, with {said:?}"));
        };
        if said != (session.version == Version::V5).then_some(reason) {
            return Err(format!("it is closed with {said:?} and not {reason:?}"));
        }
        self.lost(client);
        Ok(())
    }

    /// The `nth` of the messages that this client has got and not acknowledged for good: its
    /// identifier, and the packet that is its turn to acknowledge it.
    pub(crate) fn nth_open(&self, client: Client, nth: usize) -> Option<(u16, PacketType)> {
        let session = self.sessions.get(&client)?;
        let ready: Vec<_> = session.open.iter().filter(|(_, o)| !o.is_due).collect();
        let (id, open) = ready.get(nth % ready.len().max(1))?;
        let kind = match (open.delivery.qos, open.is_released) {
            (QoS::ExactlyOnce, false) => PacketType::PubRec,
            (QoS::ExactlyOnce, true) => PacketType::PubComp,
            _ => PacketType::PubAck,
        };
        Some((*id, kind))
    }

    /// The client sends PUBACK, PUBREC or PUBCOMP, be it right or wrong.
    pub(crate) fn acknowledge(
        &mut self,
        client: Client,
        (kind, id): (PacketType, u16),
        is_refused: bool,
    ) {
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        let place = session.open.iter().position(|(known, _)| *known == id);
        let Some(place) = place else {
            // Of nothing: it may have acknowledged twice. PUBREC has an answer in any case.
            if kind == PacketType::PubRec && !is_refused {
                let answer = Answer::to_ack(PacketType::PubRel, id, false);
                session.answers.push(answer);
            }
            return;
        };
        let open = &mut session.open[place].1;
        match (kind, open.delivery.qos, open.is_released) {
            // The client does not want it, or has it: nobody gets it in its place.
            (PacketType::PubAck, QoS::AtLeastOnce, _)
            | (PacketType::PubComp, QoS::ExactlyOnce, true) => {
                session.open.remove(place);
            }
            (PacketType::PubRec, QoS::ExactlyOnce, false) if is_refused => {
                session.open.remove(place);
            }
            // The first time, or once more.
            (PacketType::PubRec, QoS::ExactlyOnce, _) if !is_refused => {
                open.is_released = true;
                let answer = Answer::to_ack(PacketType::PubRel, id, true);
                session.answers.push(answer);
            }
            // The wrong kind, before its time, or refused after it was taken.
            _ => session.must_close = Some(ReasonCode::PROTOCOL_ERROR),
        }
    }

    /// Everything has come to rest: nobody who could take it waits for anything.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        for (client, session) in self.sessions.iter_mut().filter(|(_, s)| s.is_connected) {
            session.drop_large();
            if let Some(reason) = session.must_close {
                return Err(format!("client {client} is not closed with {reason:?}"));
            }
            if let Some(answer) = session.answers.first() {
                return Err(format!("client {client} does not get {answer:?}"));
            }
            if !session.has_room() {
                continue;
            }
            let owed = session.owed.iter().chain(&session.hoped);
            let mut owed = owed.filter(|one| one.expires_at.is_none_or(|at| at > self.now));
            if let Some(one) = owed.next() {
                return Err(format!("client {client} does not get {one:?}"));
            }
            if let Some((id, open)) = session.open.iter().find(|(_, open)| open.is_due) {
                return Err(format!("client {client} does not get {id} again: {open:?}"));
            }
        }
        for one in &mut self.for_one {
            let takes = |client: &Client| self.sessions.get(client).is_some_and(Session::can_take);
            if one.taken_by.is_none() && !one.is_lost && one.candidates.keys().any(takes) {
                return Err(format!("nobody of the group gets {one:?}"));
            }
            one.is_lost = true;
        }
        self.rested_at = self.now;
        Ok(())
    }
}

impl Session {
    fn is_too_large(&self, delivery: &Delivery) -> bool {
        self.is_small && delivery.payload.len() >= SMALL_BYTES as usize
    }

    /// Messages that are too large count as delivered when it is their turn.
    fn drop_large(&mut self) {
        let mut owed = std::mem::take(&mut self.owed);
        let large: Vec<_> = owed.extract_if(.., |one| self.is_too_large(one)).collect();
        self.owed = owed;
        if self.has_room() {
            self.pass_over(self.open.len());
        } else {
            self.perhaps.extend(large);
        }
    }

    /// Where an exchange is among the open ones, or behind them all.
    fn place_of(&self, id: u16) -> usize {
        let place = self.open.iter().position(|(known, _)| *known == id);
        place.unwrap_or(self.open.len())
    }

    /// What comes again does so in order: what is too large, and was to come before this one, was
    /// passed over. What may have arrived at QoS 2 is released instead.
    fn pass_over(&mut self, before: usize) {
        let mut open = std::mem::take(&mut self.open);
        open.extract_if(..before, |(_, open)| {
            let is_passed = open.is_due && !open.is_released && self.is_too_large(&open.delivery);
            open.is_released |= is_passed && open.delivery.qos == QoS::ExactlyOnce;
            is_passed && !open.is_released
        })
        .for_each(drop);
        self.open = open;
    }

    fn patience_ends_at(&self) -> Option<u64> {
        (self.patience_ms > 0).then_some(self.heard_at + self.patience_ms)
    }

    /// How many more QoS 1 and 2 messages may be under way to it.
    fn room(&self) -> usize {
        let count = self.open.iter().filter(|(_, open)| open.counts).count();
        self.window.saturating_sub(count)
    }

    fn has_room(&self) -> bool {
        self.room() > 0
    }

    fn can_take(&self) -> bool {
        self.is_connected && self.owed.is_empty() && self.has_room()
    }

    /// Who is here with an earlier version has asked for no options, whatever the session was.
    fn has_options(&self) -> bool {
        !self.is_connected || self.version == Version::V5
    }

    /// A message as a subscription of this session wants it.
    fn wanted(&self, message: &Delivery, options: SubscribeOptions, identifier: u32) -> Delivery {
        Delivery {
            qos: message.qos.min(options.maximum_qos),
            retain: message.retain && options.retain_as_published && self.has_options(),
            identifiers: named(identifier),
            ..message.clone()
        }
    }

    fn expect(&mut self, delivery: Delivery) {
        if delivery.qos > QoS::AtMostOnce {
            if self.is_connected || self.expiry_s > 0 {
                self.owed.push(delivery);
            }
        } else if self.is_connected && self.is_too_large(&delivery) {
            self.perhaps.push(delivery);
        } else if self.is_connected {
            self.hoped.push(delivery);
        }
    }

    /// What was retained when a subscription was made need not be sent any more: another message is
    /// retained for that topic by now, or none, or the subscription was made anew.
    fn excuse(&mut self, is_over: impl Fn(&str, &str) -> bool) {
        for list in [&mut self.owed, &mut self.hoped] {
            let excused = list.extract_if(.., |one| {
                let filter = one.kept_for.as_deref();
                filter.is_some_and(|filter| is_over(filter, &one.topic))
            });
            self.perhaps.extend(excused);
        }
    }
}

impl Delivery {
    /// Whether that is what was heard.
    fn is(&self, heard: &Self) -> bool {
        self.topic == heard.topic
            && self.payload == heard.payload
            && self.qos == heard.qos
            && self.retain == heard.retain
            && (self.hides_identifiers
                || heard.hides_identifiers
                || self.identifiers == heard.identifiers)
    }
}

/// The identifiers of one subscription: none when it has none.
fn named(identifier: u32) -> BTreeSet<u32> {
    BTreeSet::from_iter((identifier > 0).then_some(identifier))
}

fn after(seconds: u32) -> u64 {
    u64::from(seconds) * 1_000
}
