//! AUTH: enhanced authentication, while connecting and again later.

use crate::access::identity::Grant;
use crate::action::{Action, CloseReason, Credentials, Verdict};
use crate::broker::Broker;
use crate::codec::packet::{Auth, Packet};
use crate::codec::property::{Property, PropertyBuffer};
use crate::codec::reason::ReasonCode;
use crate::codec::{self, frame::Frame};
use crate::connection::{Stage, Stalls};
use crate::error::Violation;
use crate::id::ConnectionId;
use crate::slab::Key;
use crate::state::Secret;
use crate::time::{Now, Timestamp};
use crate::timer::TimerKey;
use alloc::boxed::Box;
use alloc::string::String;

impl Broker {
    /// A packet while CONNECT is being decided on: AUTH if the broker asked for it, else nothing.
    /// [MQTT-3.1.2-30]
    pub(crate) fn handle_parked(&mut self, key: Key, frame: Frame<'_>) -> Result<(), Violation> {
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok(());
        };
        let version = connection.profile.version();
        let Stage::Parked(handshake) = &mut connection.stage else {
            return Ok(());
        };
        match codec::decode(version, frame)? {
            Packet::Auth(auth) if handshake.awaits_auth => {
                // [MQTT-4.12.0-3]
                if auth.reason != ReasonCode::CONTINUE_AUTHENTICATION {
                    return Err(Violation::Auth);
                }
                handshake.awaits_auth = false;
                self.ask(key, &auth)
            }
            Packet::Disconnect(_) => {
                self.close(key, CloseReason::ClientDisconnect(ReasonCode::SUCCESS));
                Ok(())
            }
            Packet::Auth(_)
            | Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::Publish(_)
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
            | Packet::Subscribe(_)
            | Packet::SubAck(_)
            | Packet::Unsubscribe(_)
            | Packet::UnsubAck(_)
            | Packet::PingReq
            | Packet::PingResp => Err(Violation::FirstPacket),
        }
    }

    /// AUTH on a living connection: the client re-authenticates, or goes on doing so.
    pub(crate) fn handle_auth(&mut self, key: Key, auth: &Auth<'_>) -> Result<(), Violation> {
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok(());
        };
        let extra = connection.extra();
        let fits = match auth.reason {
            ReasonCode::RE_AUTHENTICATE => !extra.authenticating,
            ReasonCode::CONTINUE_AUTHENTICATION => extra.authenticating,
            _ => false,
        };
        if !fits {
            return Err(Violation::Auth);
        }
        extra.authenticating = true;
        self.ask(key, auth)
    }

    fn ask(&mut self, key: Key, auth: &Auth<'_>) -> Result<(), Violation> {
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok(());
        };
        let state = connection.extra().authentication_state.take();
        let method = connection
            .extra
            .as_ref()
            .and_then(|extra| extra.method.as_deref());
        // The method is the one that CONNECT named. [MQTT-4.12.0-5] [MQTT-4.12.0-7] [MQTT-4.12.1-1]
        if method.is_none() || auth.properties.authentication_method() != method {
            return Err(Violation::Auth);
        }
        let (client_id, username) = match &connection.stage {
            Stage::Parked(handshake) => (&*handshake.client_id, handshake.username.clone()),
            Stage::Connected { session } => (
                self.sessions
                    .get(*session)
                    .map_or("", |session| &session.client_id),
                None,
            ),
            Stage::Waiting => ("", None),
        };
        let credentials = Box::new(Credentials {
            peer: connection.peer(),
            version: connection.profile.version(),
            client_id: String::from(client_id),
            username,
            password: None,
            method: method.map(String::from),
            data: auth.properties.authentication_data().map(<[u8]>::to_vec),
            continued: true,
            state: state.map(|state| state.0),
        });
        let connection = connection.id();
        self.stall(key, Stalls::VERDICT);
        self.action(Action::Authenticate {
            connection,
            credentials,
        });
        Ok(())
    }

    /// The answer to [`Action::Authenticate`].
    pub fn authenticated(&mut self, now: Now, connection: ConnectionId, verdict: Verdict) {
        self.tick(now);
        let key = connection.key();
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !connection.stalls.has(Stalls::VERDICT) {
            return;
        }
        let connecting = matches!(connection.stage, Stage::Parked(_));
        match verdict {
            // CONNACK or DISCONNECT says why. [MQTT-4.12.0-1] [MQTT-4.12.0-4] [MQTT-4.12.1-2]
            Verdict::Refuse(reason) => self.close(key, CloseReason::Refused(reason)),
            // The client cannot answer: whoever judged has taken it for another.
            Verdict::Continue { .. } if !connection.has_method() => {
                self.close(key, CloseReason::Refused(ReasonCode::NOT_AUTHORIZED));
            }
            Verdict::Continue { data, state } => {
                connection.extra().authentication_state = Some(Secret(state));
                if let Stage::Parked(handshake) = &mut connection.stage {
                    handshake.awaits_auth = true;
                }
                // [MQTT-4.12.0-2]
                self.send_auth(key, ReasonCode::CONTINUE_AUTHENTICATION, Some(&data));
            }
            Verdict::Accept(grant) if connecting => self.open_session(key, grant),
            Verdict::Accept(grant) => self.stay(key, grant),
        }
        self.unstall(key, Stalls::VERDICT);
        self.count_client(key);
        self.settle();
    }

    /// A client has shown once more who it is. It may not become somebody else: what its session
    /// has was for the one who opened it.
    fn stay(&mut self, key: Key, mut grant: Grant) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let was = connection.grant();
        let is_same = was.and_then(|was| was.user.as_deref()) == grant.user.as_deref()
            && was.and_then(|was| was.tenant.as_deref()) == grant.tenant.as_deref();
        if !is_same {
            return self.close(key, CloseReason::OtherUser);
        }
        connection.extra().authenticating = false;
        let data = grant.data.take();
        self.keep_grant(key, grant);
        self.recheck_grant(key);
        self.send_auth(key, ReasonCode::SUCCESS, data.as_deref());
    }

    /// Remembers who a client is, and when that ends.
    pub(crate) fn keep_grant(&mut self, key: Key, grant: Grant) {
        let (now, wall) = (self.clock.now(), self.machine_wall());
        self.access.note(&grant);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let at = match grant.ends_at {
            Some(at) => now.after_ms(at.since(wall)),
            None => Timestamp::MAX,
        };
        if at != Timestamp::MAX || connection.extra.is_some() {
            let armed = &mut connection.extra().authentication_armed;
            self.timers.arm(TimerKey::Authentication(key), armed, at);
        }
        if connection.identity.is_some() || grant != Grant::default() {
            connection.identity.get_or_insert_default().grant = grant;
        }
    }

    fn send_auth(&mut self, key: Key, reason: ReasonCode, data: Option<&[u8]>) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let Some(extra) = connection.extra.as_ref() else {
            return;
        };
        let Some(method) = extra.method.as_deref() else {
            return; // [MQTT-4.12.0-6]
        };
        let mut properties = PropertyBuffer::default();
        properties.push(Property::AuthenticationMethod(method));
        if let Some(data) = data {
            properties.push(Property::AuthenticationData(data));
        }
        let auth = Auth {
            reason,
            properties: properties.as_properties(),
        };
        self.send_packet(key, &Packet::Auth(auth));
    }
}
