//! CONNECT, and opening the session it asks for.

use crate::access::identity::Grant;
use crate::action::{Action, CloseReason, Credentials, Event};
use crate::broker::Broker;
use crate::codec;
use crate::codec::frame::Frame;
use crate::codec::packet::{ConnAck, Connect, Packet, QoS, Version, Will as WillPacket};
use crate::codec::property::{Properties, Property, PropertyBuffer};
use crate::codec::reason::ReasonCode;
use crate::config::OtherUser;
use crate::connection::{Handshake, Stage, Stalls};
use crate::error::Violation;
use crate::gate::Gate;
use crate::handle::disconnect::refuse;
use crate::profile::Profile;
use crate::session::Session;
use crate::slab::Key;
use crate::tenant::{Quota, TenantId};
use crate::time::{Timestamp, UnixTime};
use crate::timer::TimerKey;
use crate::will::Will;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

impl Broker {
    /// The first packet, which must be CONNECT.
    pub(crate) fn handle_first(&mut self, key: Key, frame: Frame<'_>) -> Result<(), Violation> {
        let Some(version) = codec::connect_version(frame) else {
            // Not CONNECT, or a level nobody speaks: the latter is told so in the words of 3.1.1.
            // [MQTT311-3.1.2-2]
            let unknown = codec::decode(Version::V4, frame) == Err(Violation::Version);
            if unknown {
                self.refuse_connect(key, Violation::Version.reason_code());
                return Ok(());
            }
            return Err(Violation::FirstPacket);
        };
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok(());
        };
        connection.profile = Profile::new(version, true);
        let checked = match codec::decode(version, frame) {
            Ok(Packet::Connect(connect)) => self.check_connect(&connect).map(|()| connect),
            Ok(_) => Err(Violation::FirstPacket),
            Err(violation) => Err(violation),
        };
        match checked {
            Ok(connect) => self.park(key, &connect),
            // 5.0 clients are told what was wrong; 3.x has a few return codes, and else nothing.
            Err(violation) => {
                self.statistics.violations += 1;
                self.refuse_connect(key, violation.reason_code());
                Ok(())
            }
        }
    }

    /// Answers a CONNECT that cannot be accepted, and closes. [MQTT-3.1.4-2]
    fn refuse_connect(&mut self, key: Key, reason: ReasonCode) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        // [MQTT311-3.2.2-6]
        let has_words = connection.profile.hears_refusals() || reason.to_return_code() != 5;
        if has_words {
            let before = connection.outbox.len();
            refuse(connection, reason, Properties::EMPTY);
            self.unsent_bytes += connection.outbox.len() - before;
        }
        self.statistics.connects_refused += 1;
        self.close(key, CloseReason::Refused(reason)); // [MQTT-3.1.4-6]
    }

    /// What can be said about a CONNECT before anybody is asked.
    fn check_connect(&self, connect: &Connect<'_>) -> Result<(), Violation> {
        let (protocol, limits) = (&self.config.protocol, &self.config.limits);
        let profile = Profile::new(connect.version, true);
        if !protocol.versions.contains(&connect.version) {
            return Err(Violation::Version); // [MQTT-3.1.2-2]
        }
        self.check_user_properties(connect.properties)?;
        // Up to 23 bytes are always allowed. [MQTT-3.1.3-5]
        if connect.client_id.len() > usize::from(limits.client_id_bytes_maximum.max(23)) {
            return Err(Violation::ClientId);
        }
        // [MQTT-3.1.3-6] [MQTT311-3.1.3-8]
        if connect.client_id.is_empty()
            && (!profile.allows_empty_client_id()
                || (profile.empty_client_id_needs_clean_start() && !connect.clean_start))
        {
            return Err(Violation::ClientId); // [MQTT-3.1.3-8]
        }
        let properties = connect.properties;
        if properties.authentication_data().is_some()
            && properties.authentication_method().is_none()
        {
            return Err(Violation::Auth);
        }
        connect
            .will
            .as_ref()
            .map_or(Ok(()), |will| self.check_will(will))
    }

    fn check_will(&self, will: &WillPacket<'_>) -> Result<(), Violation> {
        let protocol = &self.config.protocol;
        self.check_user_properties(will.properties)?;
        if will.qos > protocol.maximum_qos {
            return Err(Violation::QoSNotSupported); // [MQTT-3.2.2-12]
        }
        if will.retain && !protocol.retain_available {
            return Err(Violation::RetainNotSupported); // [MQTT-3.2.2-13]
        }
        self.checked_topic(will.topic)?;
        if protocol.check_payload_format
            && will.properties.payload_format_indicator() == Some(true)
            && core::str::from_utf8(will.payload).is_err()
        {
            return Err(Violation::PayloadFormat);
        }
        Ok(())
    }

    /// Keeps what CONNECT said, and asks for a verdict.
    fn park(&mut self, key: Key, connect: &Connect<'_>) -> Result<(), Violation> {
        let assigned = connect.client_id.is_empty();
        let client_id: Box<str> = if assigned {
            self.assign_client_id()
        } else {
            connect.client_id.into()
        };
        let protocol = &self.config.protocol;
        let properties = connect.properties;
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok(());
        };
        // The absence of Request Problem Information means 1.
        let problem_information = properties.request_problem_information() != Some(false);
        connection.profile = Profile::new(connect.version, problem_information);
        let receive_maximum = properties.receive_maximum().unwrap_or(u16::MAX);
        // [MQTT-4.9.0-1]
        connection.window = receive_maximum.min(self.config.session.inflight_maximum);
        connection.maximum_packet_size = properties.maximum_packet_size().unwrap_or(u32::MAX);
        let aliases = properties.topic_alias_maximum().unwrap_or(0);
        let aliases = aliases.min(protocol.topic_alias_outbound_maximum);
        if aliases > 0 {
            connection.extra().outbound.set_maximum(aliases);
        }
        let method = properties.authentication_method();
        if let Some(method) = method {
            connection.extra().method = Some(method.into());
        }
        let expiry = match (connection.profile.has_session_expiry(), connect.clean_start) {
            (true, _) => properties.session_expiry_interval().unwrap_or(0),
            // [MQTT311-3.1.2-6] A clean session lasts as long as its connection.
            (false, true) => 0,
            (false, false) => self.config.session.expiry_3x_s, // [MQTT311-3.1.2-4]
        };
        let username = connect.username.map(String::from);
        connection.stage = Stage::Parked(Box::new(Handshake {
            number: self.sessions.next_connect(),
            clean_start: connect.clean_start,
            client_id: client_id.clone(),
            assigned,
            keep_alive_s: connect.keep_alive_s,
            will: connect.will.as_ref().map(keep_will),
            session_expiry_s: expiry,
            wants_response_information: properties.request_response_information() == Some(true),
            username: username.clone(),
            awaits_auth: false,
        }));
        let credentials = Box::new(Credentials {
            peer: connection.peer(),
            version: connect.version,
            client_id: client_id.into(),
            username,
            password: connect.password.map(<[u8]>::to_vec),
            method: method.map(String::from),
            data: properties.authentication_data().map(<[u8]>::to_vec),
            continued: false,
            state: None,
        });
        let connection = connection.id();
        self.stall(key, Stalls::VERDICT);
        self.action(Action::Authenticate {
            connection,
            credentials,
        });
        Ok(())
    }

    /// A client identifier that no session has, and that belongs here. [MQTT-3.1.3-7]
    fn assign_client_id(&mut self) -> Box<str> {
        loop {
            let id = alloc::format!("whimbrel-{:016x}", self.random.next_u64());
            let is_ours = self.placement.of_client(&id) == self.config.identity.shard;
            let is_new = |tenant| self.sessions.find(tenant, &id).is_none();
            if is_ours && self.tenants.ids().all(is_new) {
                return id.into();
            }
        }
    }

    /// The client may come in: takes the session over, resumes it or opens a new one, and says so.
    pub(crate) fn open_session(&mut self, key: Key, mut grant: Grant) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let Stage::Parked(handshake) = &connection.stage else {
            return;
        };
        let (mut clean_start, client_id) = (handshake.clean_start, handshake.client_id.clone());
        let has_will = handshake.will.is_some();
        let expiry_s = handshake.session_expiry_s;
        let auth_data = grant.data.take();
        let tenant = match self.tenant_granted(&grant) {
            Ok(tenant) => tenant,
            Err(why) => return self.close(key, why),
        };
        let mut existing = self.session_of(tenant, &client_id);
        let (user, has_rules) = (grant.user.clone(), !grant.rules.is_empty());
        let taken = existing.and_then(|session| self.sessions.get(session)?.connection);
        match self.admit(key, (&client_id, user.as_deref()), existing, taken) {
            Ok(Claim::Own) => {}
            Ok(Claim::Replace) => clean_start = true,
            Err(why) => return self.close(key, why),
        }
        self.keep_grant(key, grant);
        if !self.learn_names(key) || !self.may_bring_will(key) {
            return self.close(key, CloseReason::Refused(ReasonCode::NOT_AUTHORIZED));
        }
        let changes = self.changes_promise(existing, expiry_s);
        if let Some(other) = taken {
            self.take_over(other, existing, clean_start);
            existing = self.sessions.find(tenant, &client_id);
        }
        if clean_start && let Some(session) = existing.take() {
            self.end_session(session, false); // [MQTT-3.1.2-4]
        }
        let session_present = existing.is_some(); // [MQTT-3.1.2-5] [MQTT-3.1.2-6]
        let session_key = match self.session_to_join(existing, tenant, client_id) {
            Ok(session) => session,
            Err(why) => return self.close(key, why),
        };
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.tenant = tenant;
        // No way leads back from there to a second CONNACK. [MQTT-3.2.0-2]
        let stage = core::mem::replace(
            &mut connection.stage,
            Stage::Connected {
                session: session_key,
            },
        );
        let Stage::Parked(mut handshake) = stage else {
            return;
        };
        self.statistics.clients_connected += 1;
        self.count(tenant, |counts| counts.connections += 1);
        self.count_user(key);
        if let Some(session) = self.sessions.get_mut(session_key) {
            session.belongs_to(user.as_deref(), has_rules);
        }
        self.attach(key, session_key, &mut handshake);
        let revoked = match session_present {
            true => self.recheck_resumed(key, session_key),
            false => 0,
        };
        let keep_alive_s = self.start_keep_alive(key, &handshake);
        // The end of an earlier session, and a will, are promises, and so are the end of an earlier
        // will and a longer life; a new or resumed session alone is kept by what is promised for it
        // later.
        let gate = self.session_gate(!session_present || has_will || changes);
        let answer = Answer {
            handshake: &handshake,
            session_present,
            keep_alive_s,
            revoked,
            auth_data: auth_data.as_deref(),
        };
        let said = self.send_connack(key, gate, &answer);
        if let Some(connection) = self.connections.get(key) {
            let event = Event::Connected {
                connection: connection.id(),
                client_id: handshake.client_id,
                tenant: self.tenants.name(tenant),
                user: user.map(String::into_boxed_str),
                version: connection.profile.version(),
                address: connection.place.address(),
                session_present,
                keep_alive_s,
            };
            self.event(event);
        }
        if !said {
            // It would wait for its CONNACK for ever. No DISCONNECT may come in its place.
            if let Some(connection) = self.connections.get_mut(key) {
                connection.connack_gated = true;
            }
            return self.close(key, CloseReason::Limit(ReasonCode::PACKET_TOO_LARGE, ""));
        }
        self.wake(key);
    }

    /// The session that the identifier names. [MQTT-3.1.3-2] What fell due while it had no
    /// connection is done first: who comes back in that very moment, as after a restart, does not
    /// undo it.
    fn session_of(&mut self, tenant: TenantId, client_id: &str) -> Option<Key> {
        let session = self.sessions.find(tenant, client_id)?;
        self.session_timeout(session);
        self.sessions.find(tenant, client_id)
    }

    /// The session that is there, or a new one; or the limit that leaves no room.
    fn session_to_join(
        &mut self,
        existing: Option<Key>,
        tenant: TenantId,
        client_id: Box<str>,
    ) -> Result<Key, CloseReason> {
        let beyond = |limit| CloseReason::Limit(ReasonCode::QUOTA_EXCEEDED, limit);
        if existing.is_none() {
            self.session_room().map_err(beyond)?;
            if !self.has_room_in_tenant(tenant, Quota::Sessions) {
                return Err(beyond("tenants.sessions_maximum"));
            }
        }
        if !self.has_room_in_tenant(tenant, Quota::Connections) {
            return Err(beyond("tenants.connections_maximum"));
        }
        Ok(existing.unwrap_or_else(|| {
            self.session_numbers += 1;
            let number = self.session_numbers;
            self.count(tenant, |counts| counts.sessions += 1);
            self.sessions
                .insert(Session::new(tenant, client_id, number))
        }))
    }

    /// Whether a client whose credentials are good may come in, and what it may do with the session
    /// that its identifier names.
    fn admit(
        &mut self,
        key: Key,
        (client_id, user): (&str, Option<&str>),
        existing: Option<Key>,
        taken: Option<Key>,
    ) -> Result<Claim, CloseReason> {
        let claim = self.claim(existing, user)?;
        if self.bans.has_client(self.machine_wall(), client_id, user) {
            return Err(CloseReason::Banned);
        }
        if !self.has_room_for_user(user, taken) {
            let limit = "quotas.connections_per_user_maximum";
            return Err(CloseReason::Limit(ReasonCode::QUOTA_EXCEEDED, limit));
        }
        // Who has a session that is kept comes in, and makes room.
        let session = existing.and_then(|session| self.sessions.get(session));
        let is_known = session.is_some_and(|session| session.is_recorded);
        if !is_known && self.must_spare_storage() && self.brings_something_to_keep(key) {
            let limit = "storage.quota_bytes";
            return Err(CloseReason::Limit(ReasonCode::QUOTA_EXCEEDED, limit));
        }
        // A verdict may take its time: the session is for whoever came last, not for who was let in
        // last.
        if session.is_some_and(|session| self.came_before(key, session.connect)) {
            return Err(CloseReason::TakenOver);
        }
        if let Some(holder) = taken {
            self.check_takeover(key, holder, client_id)?;
        }
        Ok(claim)
    }

    /// Whether a CONNECT that is decided on came before this one.
    fn came_before(&self, key: Key, connect: u64) -> bool {
        let stage = self.connections.get(key).map(|it| &it.stage);
        matches!(stage, Some(Stage::Parked(handshake)) if handshake.number < connect)
    }

    /// Whether the log would have to keep a will or a session of this client.
    fn brings_something_to_keep(&self, key: Key) -> bool {
        let Some(Stage::Parked(handshake)) = self.connections.get(key).map(|it| &it.stage) else {
            return false;
        };
        let maximum = self.config.session.expiry_maximum_s;
        handshake.will.is_some() || handshake.session_expiry_s.min(maximum) > 0
    }

    /// What a client may do with the session that its identifier names. A session belongs to the
    /// user who opened it, and what waits in it is for nobody else; nor may anybody else end it, as
    /// a clean start or a takeover would. One that was opened without a name belongs to nobody: who
    /// has shown who he is gets the identifier, and nothing of what is in it.
    fn claim(&self, existing: Option<Key>, user: Option<&str>) -> Result<Claim, CloseReason> {
        let Some(session) = existing.and_then(|key| self.sessions.get(key)) else {
            return Ok(Claim::Own);
        };
        match (session.user(), user, self.config.session.other_user) {
            (owner, user, _) if owner == user => Ok(Claim::Own),
            (None, ..) | (Some(_), _, OtherUser::Replace) => Ok(Claim::Replace),
            (Some(_), _, OtherUser::Refuse) => Err(CloseReason::OtherUser),
        }
    }

    /// The connection that had the session is closed; its client is told why. [MQTT-3.1.4-3]
    fn take_over(&mut self, other: Key, session: Option<Key>, clean_start: bool) {
        // With it the session may end.
        self.hear_goodbye(other);
        let goes_on = !clean_start
            && session
                .and_then(|session| self.sessions.get(session))
                .is_some_and(Session::is_persistent);
        if self.question.is_some()
            && let Some(session) = session
        {
            self.explain_takeover(session, goes_on);
        }
        // A delayed will is not published when the session goes on. [MQTT-3.1.3-9]
        if let Some(session) = session.and_then(|session| self.sessions.get_mut(session))
            && goes_on
            && session.will.as_ref().is_some_and(|will| will.delay_s > 0)
        {
            session.will = None;
        }
        self.close(other, CloseReason::TakenOver);
    }

    /// Whether there may be one more session, or the limit that forbids it.
    fn session_room(&self) -> Result<(), &'static str> {
        let limits = &self.config.limits;
        if self.sessions.len() >= limits.sessions_maximum as usize {
            return Err("limits.sessions_maximum");
        }
        if self.memory_bytes() >= limits.memory_budget_bytes {
            return Err("limits.memory_budget_bytes");
        }
        Ok(())
    }

    /// Whether the log knows other things of a session than a client that asks for this expiry will
    /// be told: a will that is not to come any more, or an earlier end.
    fn changes_promise(&self, session: Option<Key>, expiry_s: u32) -> bool {
        let expiry_s = expiry_s.min(self.config.session.expiry_maximum_s);
        let session = session.and_then(|key| self.sessions.get(key));
        session.is_some_and(|session| {
            session.is_recorded && (session.will.is_some() || session.expiry_s < expiry_s)
        })
    }

    /// Joins connection and session. What an earlier will still owed is not owed any more.
    fn attach(&mut self, key: Key, session_key: Key, handshake: &mut Handshake) {
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        self.timers.arm(
            TimerKey::Session(session_key),
            &mut session.armed,
            Timestamp::MAX,
        );
        session.connection = Some(key);
        session.connect = handshake.number;
        session.ends_at = UnixTime::MAX;
        session.will_at = UnixTime::MAX;
        session.expiry_s = handshake
            .session_expiry_s
            .min(self.config.session.expiry_maximum_s);
        session.will = handshake.will.take(); // [MQTT-3.1.2-7]
        if let Some(traffic) = session.traffic.as_mut() {
            traffic.restart();
        }
        if self.question.is_some() {
            self.explain_return(session_key);
        }
        self.record_session(session_key);
        self.count_present(session_key, true);
    }

    /// The keep alive in effect, in seconds. [MQTT-3.1.2-21] [MQTT-3.2.2-22]
    fn start_keep_alive(&mut self, key: Key, handshake: &Handshake) -> u16 {
        let protocol = &self.config.protocol;
        let keep_alive_s = match (handshake.keep_alive_s, protocol.keep_alive_maximum_s) {
            (asked_s, 0) => asked_s,
            (0, maximum_s) => maximum_s,
            (asked_s, maximum_s) => asked_s.min(maximum_s),
        };
        let now = self.clock.now();
        let Some(connection) = self.connections.get_mut(key) else {
            return keep_alive_s;
        };
        let keep_alive_s = match protocol.server_keep_alive_s {
            Some(instead_s) if connection.profile.has_properties() => instead_s,
            // Who cannot be told would not know how often to speak.
            Some(_) | None => keep_alive_s,
        };
        connection.patience_ms = u32::from(keep_alive_s) * 1_500;
        let at = match connection.patience_ms {
            0 => Timestamp::MAX,
            patience_ms => now.after_ms(u64::from(patience_ms)),
        };
        self.timers
            .arm(TimerKey::Connection(key), &mut connection.armed, at);
        keep_alive_s
    }

    /// `false` when CONNACK is larger than the client accepts; nothing was sent then.
    fn send_connack(&mut self, key: Key, gate: Option<Gate>, answer: &Answer<'_>) -> bool {
        let Some(connection) = self.connections.get(key) else {
            return true;
        };
        let profile = connection.profile;
        let mut properties = PropertyBuffer::default();
        let (response, revoked);
        if profile.has_properties() {
            self.announce_capabilities(&mut properties, answer);
            let handshake = answer.handshake;
            let wanted = handshake.wants_response_information; // [MQTT-3.1.2-28]
            if let Some(template) = self
                .config
                .protocol
                .response_information
                .as_ref()
                .filter(|_| wanted)
            {
                response = template.replace("%c", &handshake.client_id);
                properties.push(Property::ResponseInformation(&response));
            }
            if answer.revoked > 0 {
                revoked = alloc::format!("{} subscriptions no longer allowed", answer.revoked);
                properties.push(Property::ReasonString(&revoked));
            }
            let method = connection
                .extra
                .as_ref()
                .and_then(|extra| extra.method.as_deref());
            if let Some(method) = method {
                properties.push(Property::AuthenticationMethod(method));
                if let Some(data) = answer.auth_data {
                    properties.push(Property::AuthenticationData(data));
                }
            }
        }
        let packet = ConnAck {
            // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
            session_present: answer.session_present && profile.hears_session_present(),
            reason: ReasonCode::SUCCESS,
            properties: properties.as_properties(),
        };
        let mut bytes = Vec::new();
        let encoded = codec::encode(&Packet::ConnAck(packet), profile.version(), &mut bytes);
        if encoded.is_err() || bytes.len() > connection.maximum_packet_size as usize {
            return false;
        }
        // [MQTT-3.1.4-5] [MQTT-3.2.0-1]
        self.respond(key, gate, &Packet::ConnAck(packet));
        true
    }

    /// Says what differs from what the standard takes for granted.
    fn announce_capabilities(&self, properties: &mut PropertyBuffer, answer: &Answer<'_>) {
        let protocol = &self.config.protocol;
        let handshake = answer.handshake;
        let expiry = handshake
            .session_expiry_s
            .min(self.config.session.expiry_maximum_s);
        if expiry != handshake.session_expiry_s {
            properties.push(Property::SessionExpiryInterval(expiry));
        }
        if protocol.receive_maximum != u16::MAX {
            properties.push(Property::ReceiveMaximum(protocol.receive_maximum));
        }
        if protocol.maximum_qos != QoS::ExactlyOnce {
            properties.push(Property::MaximumQoS(protocol.maximum_qos)); // [MQTT-3.2.2-9]
        }
        if !protocol.retain_available {
            properties.push(Property::RetainAvailable(false));
        }
        properties.push(Property::MaximumPacketSize(protocol.maximum_packet_size));
        if handshake.assigned {
            properties.push(Property::AssignedClientIdentifier(&handshake.client_id)); // [MQTT-3.2.2-16]
        }
        if protocol.topic_alias_maximum > 0 {
            properties.push(Property::TopicAliasMaximum(protocol.topic_alias_maximum));
        }
        if !protocol.wildcard_subscription_available {
            properties.push(Property::WildcardSubscriptionAvailable(false));
        }
        if !protocol.subscription_identifiers_available {
            properties.push(Property::SubscriptionIdentifierAvailable(false));
        }
        if !protocol.shared_subscription_available {
            properties.push(Property::SharedSubscriptionAvailable(false));
        }
        if answer.keep_alive_s != handshake.keep_alive_s {
            properties.push(Property::ServerKeepAlive(answer.keep_alive_s));
        }
    }
}

/// What a client may do with a session that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// It is its own.
    Own,
    /// It may end it and begin another.
    Replace,
}

/// What CONNACK is made from.
struct Answer<'a> {
    handshake: &'a Handshake,
    session_present: bool,
    keep_alive_s: u16,
    /// Subscriptions of the session that have ended because they are no longer allowed.
    revoked: usize,
    auth_data: Option<&'a [u8]>,
}

fn keep_will(will: &WillPacket<'_>) -> Box<Will> {
    let mut properties = Vec::new();
    will.properties.forwardable(&mut properties);
    Box::new(Will {
        topic: will.topic.into(),
        payload: will.payload.into(),
        properties,
        qos: will.qos,
        retain: will.retain,
        delay_s: will.properties.will_delay_interval().unwrap_or(0),
        message_expiry_s: will.properties.message_expiry_interval(),
    })
}
