//! DISCONNECT, and every other way in which a connection or a session ends.

use crate::access::Absentee;
use crate::action::{Action, CloseReason, DropReason, Event};
use crate::broker::{Broker, encode};
use crate::codec::packet::{ConnAck, Disconnect, Packet, PacketType, QoS};
use crate::codec::property::{Properties, Property, PropertyBuffer};
use crate::codec::reason::ReasonCode;
use crate::connection::{Connection, Stage};
use crate::error::Violation;
use crate::handle::publish::Routed;
use crate::session::inflight;
use crate::session::{Session, Traffic};
use crate::slab::Key;
use crate::time::{Timestamp, UnixTime};
use crate::timer::TimerKey;
use crate::topic::GroupId;
use crate::will;
use alloc::boxed::Box;
use alloc::string::String;

impl Broker {
    pub(crate) fn handle_disconnect(
        &mut self,
        key: Key,
        disconnect: &Disconnect<'_>,
    ) -> Result<(), Violation> {
        if let Some(expiry) = disconnect.properties.session_expiry_interval() {
            let expiry = expiry.min(self.config.session.expiry_maximum_s);
            let session = self.connections.get(key).and_then(Connection::session);
            if let Some(session) = session.and_then(|session| self.sessions.get_mut(session)) {
                // A session that was to end with its connection cannot be kept after all.
                // [MQTT-3.14.2-2]
                if session.expiry_s == 0 && expiry > 0 {
                    return Err(Violation::SessionExpiry);
                }
                session.expiry_s = expiry;
            }
        }
        self.close(key, CloseReason::ClientDisconnect(disconnect.reason));
        Ok(())
    }

    /// Ends a connection: last words, will, session. The one place where a connection ends.
    ///
    /// Whatever was to be said is in the last bytes; after that there is no connection to say more
    /// on. [MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-3.2.2-7] [MQTT-4.13.2-1]
    ///
    /// A DISCONNECT that has come counts first, though it waits for its turn, unless the connection
    /// was to be closed before.
    pub(crate) fn close(&mut self, key: Key, why: CloseReason) {
        if !matches!(
            why,
            CloseReason::Violation(_) | CloseReason::ClientDisconnect(_)
        ) {
            self.hear_goodbye(key);
        }
        let Some(mut connection) = self.connections.remove(key) else {
            return;
        };
        self.timers.arm(
            TimerKey::Connection(key),
            &mut connection.armed,
            Timestamp::MAX,
        );
        self.statistics.connections_open -= 1;
        self.uncount(&connection);
        self.uncount_address(&connection);
        self.forsake_gated(&connection);
        self.forget_resting(&connection);
        self.unsent_bytes -= connection.unsent_bytes();
        self.statistics.partial_bytes -= u64::from(connection.inbox_counted);
        self.footprints -= u64::from(connection.footprint);
        if let Some(mut extra) = connection.extra.take() {
            let armed = &mut extra.throttle_armed;
            self.timers
                .arm(TimerKey::Throttle(key), armed, Timestamp::MAX);
            let armed = &mut extra.authentication_armed;
            self.timers
                .arm(TimerKey::Authentication(key), armed, Timestamp::MAX);
            if let Some(armed) = extra.slow_armed {
                self.arm_slow(key, armed, Timestamp::MAX);
            }
            self.free_waiters(extra.waiters);
        }
        if matches!(why, CloseReason::Violation(_)) {
            self.statistics.violations += 1;
        }
        let id = connection.id();
        if !matches!(why, CloseReason::TransportClosed) {
            self.say_why(&mut connection, why);
            let last_bytes = core::mem::take(&mut connection.outbox);
            self.statistics.sent_bytes += last_bytes.len() as u64;
            self.action(Action::Close {
                connection: id,
                last_bytes,
            });
        }
        self.buffers.keep(core::mem::take(&mut connection.outbox));
        let address = connection.place.address();
        match connection.stage {
            Stage::Waiting => {
                self.event(Event::Refused {
                    connection: id,
                    client_id: "".into(),
                    username: None,
                    address,
                    why,
                });
            }
            Stage::Parked(handshake) => {
                self.statistics.connects_refused += 1;
                self.event(Event::Refused {
                    connection: id,
                    client_id: handshake.client_id,
                    username: handshake.username.map(String::into_boxed_str),
                    address,
                    why,
                });
            }
            Stage::Connected { session } => {
                self.statistics.clients_connected -= 1;
                self.count(connection.tenant, |counts| counts.connections -= 1);
                let kept = self
                    .sessions
                    .get(session)
                    .is_some_and(Session::is_persistent);
                let client_id = match self.sessions.get(session) {
                    Some(session) => session.client_id.clone(),
                    None => "".into(),
                };
                self.event(Event::Disconnected {
                    connection: id,
                    client_id,
                    tenant: self.tenants.name(connection.tenant),
                    address,
                    why,
                    session_kept: kept,
                });
                let (identity, place) = (connection.identity, connection.place);
                self.remember_absentee(session, Absentee { identity, place });
                self.detach(session, why);
            }
        }
    }

    /// Tells the client why, in the words its version has: CONNACK before it was in, DISCONNECT
    /// after.
    fn say_why(&self, connection: &mut Connection, why: CloseReason) {
        let Some(reason) = why.reason_code() else {
            return;
        };
        // A code that its packet cannot carry is said as the nearest one that it can.
        let reason = match connection.stage {
            Stage::Waiting => return, // Nothing is said to who did not say CONNECT. [MQTT-4.13.1-1]
            Stage::Parked(_) if !reason.belongs_in(PacketType::ConnAck) => {
                ReasonCode::SERVER_UNAVAILABLE
            }
            Stage::Connected { .. } if !reason.belongs_in(PacketType::Disconnect) => {
                ReasonCode::NOT_AUTHORIZED
            }
            Stage::Parked(_) | Stage::Connected { .. } => reason,
        };
        let mut properties = PropertyBuffer::default();
        let redirects = matches!(
            reason,
            ReasonCode::USE_ANOTHER_SERVER
                | ReasonCode::SERVER_MOVED
                | ReasonCode::SERVER_SHUTTING_DOWN
        );
        if redirects && let Some(reference) = self.config.protocol.server_reference.as_deref() {
            properties.push(Property::ServerReference(reference));
        }
        let text = alloc::format!("{why}");
        if connection.profile.hears_reason_strings() {
            properties.push(Property::ReasonString(&text));
        }
        match connection.stage {
            Stage::Waiting => {}
            Stage::Parked(_) => refuse(connection, reason, properties.as_properties()),
            // Only after a CONNACK with success. [MQTT-3.14.0-1]
            Stage::Connected { .. }
                if connection.profile.hears_disconnect() && !connection.connack_gated =>
            {
                let before = connection.outbox.len();
                let disconnect = Disconnect {
                    reason,
                    properties: properties.as_properties(),
                };
                encode(&Packet::Disconnect(disconnect), connection);
                if connection.outbox.len() == before {
                    // Without the text it may fit. [MQTT-3.14.2-3]
                    let properties = Properties::EMPTY;
                    encode(
                        &Packet::Disconnect(Disconnect { reason, properties }),
                        connection,
                    );
                }
            }
            Stage::Connected { .. } => {}
        }
    }

    /// Keeps who somebody was for what is still decided in his name: whether his will may be
    /// published, and what his session may receive.
    fn remember_absentee(&mut self, key: Key, absentee: Absentee) {
        let Some(session) = self.sessions.get_mut(key).filter(|_| self.access.is_on()) else {
            return;
        };
        if session.will.is_some() || session.is_filtered {
            session.owner.get_or_insert_default().absentee = Some(absentee);
        }
    }

    /// A session loses its connection: its will, and whether it lives on.
    fn detach(&mut self, key: Key, why: CloseReason) {
        let wall = self.clock.wall();
        self.count_present(key, false);
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        session.connection = None;
        self.spill.reconsider();
        if let Some(traffic) = session.traffic.as_mut() {
            traffic.restart();
            let at = Timestamp::MAX;
            self.timers
                .arm(TimerKey::Retransmit(key), &mut traffic.retransmit_armed, at);
        }
        if !will::survives(why) {
            session.will = None; // [MQTT-3.1.2-10]
        }
        if session.expiry_s == 0 {
            return self.end_session(key, true);
        }
        session.ends_at = session.end_from(wall); // [MQTT-3.1.2-23]
        session.will_at = match session.will.as_ref() {
            Some(will) => wall.after_s(u64::from(will.delay_s)),
            None => UnixTime::MAX,
        };
        self.record_session(key);
        self.session_timeout(key);
    }

    /// Publishes a will that is due, ends a session whose time has come, and sets the next
    /// deadline.
    pub(crate) fn session_timeout(&mut self, key: Key) {
        let wall = self.clock.wall();
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let at = Timestamp::MAX;
        self.timers
            .arm(TimerKey::Session(key), &mut session.armed, at);
        if session.connection.is_some() {
            return; // [MQTT-4.1.0-1]
        }
        if session.ends_at <= wall {
            return self.end_session(key, false); // [MQTT-4.1.0-2]
        }
        if session.will_at <= wall {
            session.will_at = UnixTime::MAX;
            self.publish_will(key);
        }
        self.arm_session(key);
    }

    /// Sets the next deadline of a session without a connection.
    pub(crate) fn arm_session(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let at = self.clock.monotonic(session.ends_at.min(session.will_at));
        self.timers
            .arm(TimerKey::Session(key), &mut session.armed, at);
    }

    /// Counts the will of a session as it is now.
    pub(crate) fn count_will(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let bytes = session.will.as_ref().map_or(0, |will| will.cost_bytes());
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let counted = core::mem::replace(&mut session.will_counted, bytes);
        self.statistics.will_bytes += u64::from(bytes);
        self.statistics.will_bytes -= u64::from(counted);
    }

    /// Tells the log how a session stands, if it is worth keeping, or was.
    pub(crate) fn record_session(&mut self, key: Key) {
        self.count_will(key);
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let worthwhile = session.is_worth_recording();
        let may_write = self.journal.is_on() && !session.record_waits;
        if may_write && (worthwhile || session.is_recorded) {
            session.is_recorded = worthwhile;
            self.journal.session(session, &self.tenants);
            if session.has_kept && !session.is_persistent() {
                self.journal.narrow();
            }
            session.has_kept |= session.is_persistent();
        }
    }

    fn publish_will(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let Some(will) = session.will.take() else {
            return;
        };
        let (number, is_recorded) = (session.number, session.is_recorded);
        let mark = self.mark();
        let must_be_kept = is_recorded && will.qos > QoS::AtMostOnce;
        let exchange = self.exchange_of_will(number).filter(|_| must_be_kept);
        let is_left = self.publish_own(key, &will, exchange) == Routed::Later
            || self.has_told(mark)
            || exchange.is_some_and(|exchange| self.taken.contains_key(&exchange));
        if is_left && is_recorded {
            if let Some(exchange) = exchange {
                self.take(exchange);
            }
            let session = self.sessions.get_mut(key);
            let waits = session.map(|session| core::mem::replace(&mut session.record_waits, true));
            self.bequeath((key, number, waits.unwrap_or(false)), exchange);
        }
        // The will is gone from the record as well.
        self.record_session(key);
    }

    /// Ends a session: its will if that is still owed, its subscriptions, what was under way.
    ///
    /// A will is never delayed beyond the end of its session.
    pub(crate) fn end_session(&mut self, key: Key, quiet: bool) {
        self.publish_will(key);
        self.count_will(key);
        if self.question.is_some() {
            self.explain_session_end(key);
        }
        let Some(mut session) = self.sessions.remove(key) else {
            return;
        };
        self.footprints -= u64::from(session.footprint);
        self.timers
            .arm(TimerKey::Session(key), &mut session.armed, Timestamp::MAX);
        for fanout in &mut self.fanouts {
            fanout.forget(key.index);
        }
        self.count(session.tenant, |counts| counts.sessions -= 1);
        let shared = self.unsubscribe_all(key.index, &session);
        let mark = self.mark();
        if let Some(traffic) = session.traffic.take() {
            self.abandon(key, &session, *traffic, &shared);
        }
        if session.is_recorded && self.has_told(mark) {
            self.bequeath((key, session.number, session.record_waits), None);
        } else if session.is_recorded && !session.record_waits {
            self.record_end(session.number);
            if session.has_kept {
                self.journal.narrow();
            }
        }
        if !quiet {
            self.event(Event::SessionEnded {
                client_id: session.client_id,
                tenant: self.tenants.name(session.tenant),
            });
        }
    }

    /// Messages under way to a session that ends. What came by a shared subscription and was not
    /// begun, or may be repeated, goes to another member.
    fn abandon(
        &mut self,
        key: Key,
        session: &Session,
        mut traffic: Traffic,
        shared: &[(GroupId, Box<str>)],
    ) {
        let tenant = session.tenant;
        let from = (session.number, tenant);
        let (retransmit, tighten) = (&mut traffic.retransmit_armed, &mut traffic.tighten_armed);
        self.timers
            .arm(TimerKey::Retransmit(key), retransmit, Timestamp::MAX);
        self.timers
            .arm(TimerKey::Tighten(key), tighten, Timestamp::MAX);
        let why = DropReason::SessionEnded as usize;
        let under_way = traffic.inflight.len() + traffic.queue.len();
        self.work = self.work.saturating_add(under_way as u32);
        for exchange in traffic.inflight.drain() {
            self.statistics.inflight_bytes -= exchange.delivery.cost_bytes() as u64;
            // QoS 2 that was begun is not sent to anybody else. [MQTT-4.8.2-5]
            let begun = exchange.stage == inflight::Stage::Released
                || exchange.delivery.qos() == QoS::ExactlyOnce;
            if exchange.delivery.is_shared() && !begun {
                self.redistribute(from, &exchange.delivery, shared);
            } else if exchange.stage == inflight::Stage::Published {
                self.statistics.dropped[why] += 1;
            }
            self.journal.unreferenced(&exchange.delivery);
        }
        for delivery in traffic.queue.drain() {
            self.statistics.queued_messages -= 1;
            self.statistics.queued_bytes -= delivery.cost_bytes() as u64;
            self.tenants[tenant].queued_bytes -= delivery.cost_bytes() as u64;
            if delivery.is_shared() {
                self.redistribute(from, &delivery, shared);
            } else {
                self.statistics.dropped[why] += 1;
            }
            self.journal.unreferenced(&delivery);
        }
    }
}

/// Encodes a CONNACK that refuses.
pub(crate) fn refuse(connection: &mut Connection, reason: ReasonCode, properties: Properties<'_>) {
    let before = connection.outbox.len();
    let mut packet = ConnAck {
        session_present: false,
        reason,
        properties,
    };
    encode(&Packet::ConnAck(packet), connection);
    if connection.outbox.len() == before {
        packet.properties = Properties::EMPTY; // Without the text it may fit. [MQTT-3.2.2-19]
        encode(&Packet::ConnAck(packet), connection);
    }
}
