//! The broker: one shard, as one value. Owns all stores and dispatches; the rules are elsewhere.

use crate::access::Access;
use crate::access::ban::Bans;
use crate::action::{Action, CloseReason, Event, Peer};
use crate::buffers::Buffers;
use crate::checkpoint::Walk;
use crate::clock::Clock;
use crate::codec::frame::{self, Frame};
use crate::codec::packet::Packet;
use crate::codec::{self, LastTopic, ReasonCode};
use crate::config::{Config, ConfigError};
use crate::connection::{Connection, Stage, Stalls};
use crate::deliver::OUTBOX_FULL;
use crate::encoder::Encoder;
use crate::error::Violation;
use crate::estate::Estates;
use crate::explain::Question;
use crate::flapping::Flapping;
use crate::gate::{AckKind, Gates};
use crate::handle::publish::Fanout;
use crate::id::{ConnectionId, MessageId, PeerId, Position};
use crate::journal::Journal;
use crate::letter::{ExchangeId, Letter};
use crate::message::Message;
use crate::message::pool::Pool;
use crate::narrowing::Narrowing;
use crate::peers::Peers;
use crate::placement::Placement;
use crate::pump::Searches;
use crate::quota::Quotas;
use crate::random::Random;
use crate::retained::{Retained, Usage};
use crate::route::Routes;
use crate::session::{SESSION_COUNT, Sessions};
use crate::slab::{Key, Slab};
use crate::spill::Spill;
use crate::statistics::Statistics;
use crate::taken::Taken;
use crate::tenant::Tenants;
use crate::time::{Now, Timestamp, UnixTime};
use crate::timer::{TimerKey, Timers};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// By how many milliseconds the machine's clock may stray from the monotonic one before it was set.
const CLOCK_JUMP_MS: u64 = 5_000;

/// Timers that one `advance` fires, unless what follows from fewer of them costs enough.
const TIMERS_PER_STEP: usize = 1_024;

/// One shard: a set of connections, sessions, subscriptions and retained messages that one thread
/// owns.
///
/// # The contract
///
/// Inputs take the time as a value, return nothing (only [`accept`](Self::accept) hands out an id),
/// and cannot fail because of a peer. Outputs are [`poll_action`](Self::poll_action) until `None`,
/// [`transmit`](Self::transmit) for the connections that [`Action::Send`] names, and one
/// [`next_deadline`](Self::next_deadline).
///
/// 1. *Time.* `now.monotonic` never goes backwards; should it, the latest is used. `now.wall` may
///    jump.
/// 2. *Lax draining.* Any number of inputs may come before a drain. Spurious calls, and calls for
///    connections that are gone, are harmless.
/// 3. *Progress.* After `advance` at `next_deadline()`, an action is queued or the deadline has
///    moved forward. There are no busy loops.
/// 4. *Bounded.* One message costs at most `limits.fanout_step` deliveries at once, and one input,
///    however many messages it brings, not much more than 16 times that; what is left over makes
///    the deadline now.
/// 5. *Deterministic.* The same configuration, seed and inputs give the same outputs, byte for
///    byte, on every platform.
/// 6. *Total.* No byte sequence, order of calls or clock jump panics, and memory stays inside the
///    limits.
///
/// # The loop
///
/// ```text
/// for each readable transport:   receive(now, connection, bytes)
/// timer fired:                   advance(now)
/// then:                          while let Some(action) = poll_action() { carry it out }
///                                Send(c): transmit(now, c, &mut buffer), write; when the
///                                transport does not take it all, keep the rest and call
///                                transmit again only when it was written
/// last:                          re-arm the timer with next_deadline()
/// ```
pub struct Broker {
    pub(crate) config: Config,
    pub(crate) access: Access,
    pub(crate) bans: Arc<Bans>,
    pub(crate) quotas: Quotas,
    pub(crate) flapping: Flapping,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) connections: Slab<Connection>,
    pub(crate) sessions: Sessions,
    pub(crate) tenants: Tenants,
    pub(crate) peers: Peers,
    pub(crate) placement: Placement,
    /// Incoming QoS 2 messages that shards have to remember.
    pub(crate) taken: BTreeMap<ExchangeId, Taken>,
    /// By which of them messages came in that may be passed on before that is recorded.
    pub(crate) lent: BTreeMap<MessageId, ExchangeId>,
    pub(crate) estates: Estates,
    pub(crate) narrowing: Narrowing,
    pub(crate) routes: Routes,
    pub(crate) retained: Retained,
    pub(crate) retained_armed: Timestamp,
    pub(crate) timers: Timers,
    pub(crate) journal: Journal,
    pub(crate) gates: Gates,
    pub(crate) durable: Position,
    /// How far a checkpoint has come.
    pub(crate) walk: Option<Walk>,
    /// What the machine's wall clock said last.
    pub(crate) machine_wall: UnixTime,
    pub(crate) encoder: Encoder,
    pub(crate) statistics: Statistics,
    pub(crate) unsent_bytes: usize,
    /// What connections, sessions and filters take; see `memory`.
    pub(crate) footprints: u64,
    /// Unsent bytes from which on the memory budget is used up; see `memory`.
    pub(crate) unsent_limit: usize,
    /// Messages taken in so far.
    pub(crate) sequence: u64,
    /// The number of the session that was opened last.
    pub(crate) session_numbers: u64,
    pub(crate) shutting_down: bool,
    /// The disk is nearly full: what needs more of it is refused.
    pub(crate) storage_is_full: bool,
    /// When the log was last known to be behind.
    pub(crate) unread_until: Timestamp,
    /// Connections with something to send.
    pub(crate) ready: VecDeque<Key>,
    /// Who looks for retained messages.
    pub(crate) searches: Searches,
    /// How many of the ready ones are announced before the log is told what they have led to.
    pub(crate) sends_left: usize,
    /// Connections that no longer stall, and have bytes to be handled.
    pub(crate) resumable: VecDeque<Key>,
    /// Connections that go to other shards.
    pub(crate) leaving: VecDeque<(Key, PeerId)>,
    /// Connections to close once what is being done is done.
    pub(crate) doomed: Vec<(Key, CloseReason)>,
    /// What the current input has cost so far, in deliveries.
    pub(crate) work: u32,
    /// Fan-outs too large for one step, and what was published behind them.
    pub(crate) fanouts: VecDeque<Fanout>,
    /// Who is not read until all of them are done.
    pub(crate) fanout_publishers: Vec<Key>,
    pub(crate) pool: Pool,
    /// Properties of the message that is being taken in, as they are forwarded.
    pub(crate) forwarded: Vec<u8>,
    /// The topic that an alias stood for.
    pub(crate) alias_text: String,
    pub(crate) last_topic: LastTopic,
    /// Who takes messages in: the first half of every message identifier.
    pub(crate) origin: u64,
    /// Stands in for a message that is no longer needed.
    pub(crate) nothing: Message,
    pub(crate) buffers: Buffers,
    /// Why somebody gets messages, or does not.
    pub(crate) question: Option<Box<Question>>,
    pub(crate) spill: Spill,
    pub(crate) actions: VecDeque<Action>,
    pub(crate) events_waiting: u32,
    /// How many of those that were lost the runtime has been told of.
    pub(crate) events_lost_told: u64,
}

impl Broker {
    /// A broker without connections. `seed` must be unpredictable to peers where hash flooding
    /// matters, and decides everything that is drawn at random.
    ///
    /// # Errors
    ///
    /// A configuration that cannot run; see [`Config::validate`].
    pub fn new(mut config: Config, seed: u64, now: Now) -> Result<Self, ConfigError> {
        config.validate()?;
        config.limits.share_of(&config.identity);
        config.tenants.share_of(&config.identity);
        // What is in force can be changed, and is not kept twice.
        let access = core::mem::take(&mut config.access);
        Ok(Self {
            access: Access::new(access.rules, access.shadow_rules),
            bans: access.bans,
            quotas: Quotas::default(),
            flapping: Flapping::default(),
            journal: Journal::new(config.durable, config.identity.shards == 1),
            clock: Clock::new(now),
            random: Random::new(seed ^ u64::from(config.identity.shard)),
            connections: Slab::new(),
            sessions: Sessions::new(seed),
            tenants: Tenants::new(seed),
            peers: Peers::new(&config),
            placement: Placement {
                shards: config.identity.shards,
            },
            taken: BTreeMap::new(),
            lent: BTreeMap::new(),
            estates: Estates::default(),
            narrowing: Narrowing::default(),
            routes: Routes::new(seed),
            retained: Retained::default(),
            retained_armed: Timestamp::MAX,
            timers: Timers::new(),
            gates: Gates::default(),
            durable: Position::default(),
            walk: None,
            machine_wall: now.wall,
            encoder: Encoder::default(),
            statistics: Statistics::default(),
            unsent_bytes: 0,
            footprints: 0,
            unsent_limit: usize::MAX,
            sequence: 0,
            session_numbers: u64::from(config.identity.shard) << SESSION_COUNT.count_ones(),
            shutting_down: false,
            storage_is_full: false,
            unread_until: Timestamp::default(),
            ready: VecDeque::new(),
            searches: Searches::default(),
            sends_left: 0,
            resumable: VecDeque::new(),
            leaving: VecDeque::new(),
            doomed: Vec::new(),
            work: 0,
            fanouts: VecDeque::new(),
            fanout_publishers: Vec::new(),
            pool: Pool::within(config.limits.memory_budget_bytes),
            forwarded: Vec::new(),
            alias_text: String::new(),
            last_topic: LastTopic::default(),
            origin: config.identity.origin(),
            nothing: Message::nothing(),
            buffers: Buffers::default(),
            question: None,
            spill: Spill::default(),
            actions: VecDeque::new(),
            events_waiting: 0,
            events_lost_told: 0,
            config,
        })
    }

    /// A transport connection exists. Should the broker be full, an [`Action::Close`] follows at
    /// once.
    pub fn accept(&mut self, now: Now, peer: Peer) -> ConnectionId {
        self.tick(now);
        self.statistics.connections_accepted += 1;
        self.open(peer, Self::seek_counter)
    }

    /// A connection that another shard accepted is for this one: what [`Action::HandOver`] says. It
    /// is new here; its bytes are handled at once.
    pub fn adopt(&mut self, now: Now, peer: Peer, bytes: &[u8]) -> ConnectionId {
        self.tick(now);
        // It was counted, or is here to be counted.
        let id = self.open(peer, |_, _| ());
        self.consume(id.key(), bytes);
        self.count_inbox(id.key());
        self.settle();
        id
    }

    /// `first` is what comes before anything is counted.
    fn open(&mut self, peer: Peer, first: impl FnOnce(&mut Self, Key)) -> ConnectionId {
        let (time, listener) = (self.clock.now(), peer.listener);
        let key = self
            .connections
            .insert_with(|key| Connection::new(key, peer, time));
        self.statistics.connections_open += 1;
        self.count_client(key);
        first(self, key);
        let turned_away = self.turn_away(key);
        let has_room = self.quotas.came_by(listener, &self.config.quotas);
        if self.shutting_down {
            self.close(key, CloseReason::Shutdown);
        } else if self.connections.len() > self.config.limits.connections_maximum as usize {
            let limit = "limits.connections_maximum";
            self.close(key, CloseReason::Limit(ReasonCode::SERVER_BUSY, limit));
        } else if let Some(why) = turned_away {
            self.close(key, why);
        } else if !has_room {
            let limit = "listener.connections_maximum";
            self.close(key, CloseReason::Limit(ReasonCode::QUOTA_EXCEEDED, limit));
        } else if let Some(connection) = self.connections.get_mut(key) {
            let at = time.after_ms(u64::from(self.config.limits.connect_timeout_ms));
            self.timers
                .arm(TimerKey::Connection(key), &mut connection.armed, at);
        }
        ConnectionId {
            index: key.index,
            generation: key.generation,
        }
    }

    /// More is known of a peer than when it was accepted: what its transport has proven since, such
    /// as a certificate, or the address that a proxy tells. Only what comes before CONNECT counts.
    pub fn introduce(&mut self, now: Now, connection: ConnectionId, peer: Peer) {
        self.tick(now);
        let key = connection.key();
        let known = self.connections.get_mut(key);
        let Some(connection) = known.filter(|known| matches!(known.stage, Stage::Waiting)) else {
            return;
        };
        let before = connection.place;
        connection.get_to_know(peer);
        if before.ip() == connection.place.ip() {
            return;
        }
        // It counts for its own address, not for that of its proxy.
        let stalls = connection.stalls;
        self.uncount_place(before, stalls);
        self.seek_counter(key);
        if let Some(why) = self.turn_away(key) {
            self.close(key, why);
        }
        self.settle();
    }

    /// Takes note of the time an input brought, which may cost anew.
    pub(crate) fn tick(&mut self, now: Now) {
        self.work = 0;
        self.note(now);
    }

    /// The same of an input that follows from another one, and has a part in what that may cost: a
    /// turn with many outputs is no longer for who has had its share of it.
    fn note(&mut self, now: Now) {
        let before = self.clock.now();
        self.clock.tick(now);
        self.measure_memory();
        let expected = self
            .machine_wall
            .0
            .saturating_add(self.clock.now().since(before));
        self.machine_wall = now.wall;
        // Somebody set the time: a restart must not take the difference for time that passed.
        if self.journal.is_on() && expected.abs_diff(now.wall.0) > CLOCK_JUMP_MS {
            self.journal.clock_now(self.clock.wall(), now.wall);
        }
    }

    /// Whether messages have been taken in that are not yet with everybody they are for.
    pub(crate) fn is_fanning_out(&self) -> bool {
        !self.fanouts.is_empty()
    }

    pub(crate) fn dispatch(&mut self, key: Key, frame: &Frame<'_>) -> Result<(), Violation> {
        self.cut();
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok(());
        };
        let version = connection.profile.version();
        let session = match &connection.stage {
            Stage::Waiting => return self.handle_first(key, *frame),
            Stage::Parked(_) => return self.handle_parked(key, *frame),
            Stage::Connected { session } => *session,
        };
        if frame::is_publish(frame.first_byte) {
            let mut last = core::mem::take(&mut self.last_topic);
            let result = codec::with_publish_after(version, *frame, &mut last, |publish| {
                self.handle_publish(key, session, publish)
            });
            self.last_topic = last;
            return result;
        }
        if let Some(kind) = AckKind::of(frame.first_byte) {
            return self.handle_ack(key, session, (kind, codec::decode_ack(version, *frame)?));
        }
        match codec::decode(version, *frame)? {
            Packet::Subscribe(subscribe) => self.handle_subscribe(key, session, &subscribe),
            Packet::Unsubscribe(unsubscribe) => self.handle_unsubscribe(key, session, &unsubscribe),
            Packet::PingReq => {
                // [MQTT-3.12.4-1]
                self.send_packet(key, &Packet::PingResp);
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.handle_disconnect(key, &disconnect),
            Packet::Auth(auth) => self.handle_auth(key, &auth),
            // [MQTT-3.1.0-2]
            Packet::Connect(_) => Err(Violation::SecondConnect),
            // Those of messages were handled above.
            Packet::Publish(_)
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => Err(Violation::WrongDirection),
        }
    }

    /// The transport is gone, or its peer will send no more. This is what fires wills.
    pub fn closed(&mut self, now: Now, connection: ConnectionId) {
        self.tick(now);
        self.close(connection.key(), CloseReason::TransportClosed);
        self.settle();
    }

    /// Time passed. What is due is done in bounded steps: as long as `next_deadline` lies in the
    /// past, there is more, and others may have their turn before it.
    pub fn advance(&mut self, now: Now) {
        self.tick(now);
        for _ in 0..TIMERS_PER_STEP {
            if self.has_worked_enough() {
                break;
            }
            let Some(timer) = self.timers.pop(self.clock.now()) else {
                break;
            };
            self.cut();
            match timer {
                TimerKey::Connection(key) => self.connection_timeout(key),
                TimerKey::Throttle(key) => self.throttle_timeout(key),
                TimerKey::Authentication(key) => self.authentication_timeout(key),
                TimerKey::Slow(key) => self.slow_timeout(key),
                TimerKey::Session(key) => self.session_timeout(key),
                TimerKey::Retransmit(key) => self.retransmit(key),
                TimerKey::Tighten(key) => self.tighten(key),
                TimerKey::Retained => self.expire_retained(),
            }
        }
        self.continue_fanouts();
        self.wake_resting();
        self.continue_recheck();
        self.spill();
        self.settle();
    }

    /// CONNECT or the next sign of life did not come in time, or the deadline has moved since.
    fn connection_timeout(&mut self, key: Key) {
        let now = self.clock.now();
        self.note_unread();
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.armed = Timestamp::MAX;
        // Who is not read cannot be heard.
        connection.last_heard = connection.last_heard.max(self.unread_until);
        if connection.session().is_none() {
            let patience = self.config.limits.connect_timeout_ms;
            let due = self.unread_until.after_ms(u64::from(patience));
            if due > now {
                return self
                    .timers
                    .arm(TimerKey::Connection(key), &mut connection.armed, due);
            }
            return self.close(key, CloseReason::ConnectTimeout);
        }
        // Bytes that wait here because the broker would not handle them are signs of life.
        if connection.stalls.are_ours() {
            connection.last_heard = now;
        }
        let due = connection
            .last_heard
            .after_ms(u64::from(connection.patience_ms));
        if due > now {
            self.timers
                .arm(TimerKey::Connection(key), &mut connection.armed, due);
        } else {
            // [MQTT-3.1.2-22]
            self.close(key, CloseReason::KeepAlive);
        }
    }

    /// The credentials of a client are no longer good.
    fn authentication_timeout(&mut self, key: Key) {
        if let Some(extra) = self.connections.get_mut(key).and_then(|c| c.extra.as_mut()) {
            extra.authentication_armed = Timestamp::MAX;
        }
        self.close(key, CloseReason::AuthenticationEnded);
    }

    /// What the machine's wall clock says.
    pub(crate) const fn machine_wall(&self) -> UnixTime {
        self.machine_wall
    }

    /// All records up to and including `position` are on stable storage.
    pub fn persisted(&mut self, now: Now, position: Position) {
        self.tick(now);
        self.note_unread();
        self.journal.persisted(position);
        self.measure_log();
        self.durable = self.durable.max(position);
        self.continue_checkpoint();
        self.peers.persisted(self.durable);
        self.release_gated();
        self.spill();
        self.settle();
    }

    /// The log can take no more, or again can: met one segment early, so that what frees room can
    /// still be written. While it lasts, 5.0 publishers of QoS above 0 are told quota exceeded, and
    /// 3.x ones are not read.
    pub fn storage_pressure(&mut self, now: Now, is_full: bool) {
        self.tick(now);
        if self.storage_is_full && !is_full {
            let mut slot = 0;
            while let Some(key) = self.connections.key_from(slot) {
                self.unstall(key, Stalls::STORAGE);
                slot = key.index + 1;
            }
        }
        self.storage_is_full = is_full;
        self.settle();
    }

    /// The log has failed for good. Nothing that waits for it will ever be acknowledged: all
    /// connections are closed, and the process should end, so that recovery finds out what is
    /// durable.
    pub fn persist_failed(&mut self, now: Now) {
        self.tick(now);
        self.shutting_down = true;
        self.close_all(CloseReason::StorageFailed);
        self.settle();
    }

    /// A letter from another shard, as [`Action::Route`] gave it there.
    pub fn routed(&mut self, now: Now, from: PeerId, letter: Letter) {
        self.tick(now);
        self.handle_letter(from, letter);
        self.settle();
    }

    /// Ends one connection, as an operator would: 5.0 clients are told why, wills fire as the
    /// standard says for that reason.
    pub fn disconnect(&mut self, now: Now, connection: ConnectionId, why: CloseReason) {
        self.tick(now);
        self.close(connection.key(), why);
        self.settle();
    }

    /// Stops taking new connections and closes all there are with 0x8B; wills are published.
    /// Sessions that may outlive the broker are kept.
    pub fn shut_down(&mut self, now: Now) {
        self.tick(now);
        self.shutting_down = true;
        self.close_all(CloseReason::Shutdown);
        self.settle();
    }

    fn close_all(&mut self, why: CloseReason) {
        let mut slot = 0;
        while let Some(key) = self.connections.key_from(slot) {
            self.close(key, why);
            slot = key.index + 1;
        }
    }

    /// What the runtime has to do next; `None` when it is up to date.
    pub fn poll_action(&mut self) -> Option<Action> {
        if !self.leaving.is_empty()
            && let Some(action) = self.poll_leaving()
        {
            return Some(action);
        }
        if let Some(action) = self.actions.pop_front() {
            if matches!(action, Action::Event(_)) {
                self.events_waiting -= 1;
            }
            return Some(action);
        }
        self.tell_counts();
        self.tell_users();
        self.tell_present();
        // Others can begin while this shard writes.
        if let Some(action) = self.poll_letter() {
            return Some(action);
        }
        loop {
            // The disk begins with what was said while answers to what it has finished go out.
            if self.sends_left == 0 || self.journal.has_closed() {
                if let Some(batch) = self.take_batch() {
                    return Some(Action::Persist(batch));
                }
                self.sends_left = self.ready.len();
            }
            self.sends_left = self.sends_left.checked_sub(1)?;
            let key = self.ready.pop_front()?;
            if let Some(connection) = self.connections.get(key) {
                return Some(Action::Send(connection.id()));
            }
        }
    }

    /// Appends to `out` what this connection may send now: about 64 KiB at most unless more was
    /// encoded already, in whole packets. When more is waiting, another [`Action::Send`] follows.
    /// Call it only when everything that an earlier call gave was taken by the transport: that is
    /// how the broker knows what is unsent.
    pub fn transmit(&mut self, now: Now, connection: ConnectionId, out: &mut Vec<u8>) {
        self.note(now);
        let key = connection.key();
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.ready = false;
        self.pump(key);
        let Some(connection) = self.connections.get_mut(key) else {
            return self.settle();
        };
        let length = connection.outbox.len();
        self.unsent_bytes -= length + core::mem::take(&mut connection.blocked) as usize;
        self.statistics.sent_bytes += length as u64;
        // The buffers change hands instead of being copied.
        let mut buffer = core::mem::take(&mut connection.outbox);
        if out.is_empty() {
            core::mem::swap(out, &mut buffer);
        } else {
            out.extend_from_slice(&buffer);
        }
        self.buffers.keep(buffer);
        self.after_transmit(key, length >= OUTBOX_FULL);
        self.settle();
    }

    /// So many of the bytes that [`transmit`](Self::transmit) gave are with the runtime still: the
    /// transport takes no more for now. To be told whenever a write was left incomplete, so that
    /// they count as memory; until the next `transmit`, which says that they are gone.
    pub fn blocked(&mut self, now: Now, connection: ConnectionId, bytes: usize) {
        self.note(now);
        if let Some(connection) = self.connections.get_mut(connection.key()) {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.unsent_bytes += bytes as usize;
            self.unsent_bytes -= core::mem::replace(&mut connection.blocked, bytes) as usize;
        }
    }

    /// Announces the rest, and lets publishers go on when this connection has caught up.
    fn after_transmit(&mut self, key: Key, was_full: bool) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let traffic = connection
            .session()
            .and_then(|key| self.sessions.get(key)?.traffic.as_ref());
        let waiting = traffic.is_some_and(|traffic| traffic.is_waiting());
        let extra = connection.extra.as_ref();
        let was_behind = connection.slow || extra.is_some_and(|extra| extra.slow_armed.is_some());
        let has_caught_up = was_behind && self.has_caught_up(connection);
        if waiting && was_full {
            self.wake(key);
        }
        self.unstall(key, Stalls::OUTPUT);
        if has_caught_up {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.slow &= was_full;
            }
            self.relieve(key);
        }
    }

    /// When [`advance`](Self::advance) wants to be called next; `None` when nothing is due, ever.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let is_busy = !self.resumable.is_empty()
            || self.searches.are_resting()
            || !self.fanouts.is_empty()
            || !self.doomed.is_empty()
            || self.spill.is_under_way
            || self.access.is_rechecking();
        if is_busy {
            return Some(self.clock.now());
        }
        self.timers.next()
    }

    /// Counters since the start, and gauges of now.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        // All shards have the same, and one counts it.
        let retained = match self.config.identity.shard {
            0 => self.retained.usage(),
            _ => Usage::default(),
        };
        let stored = self.journal.stored();
        Statistics {
            unloaded_messages: stored.stubs,
            unloaded_bytes: stored.stub_bytes,
            held_bytes: self.journal.held_bytes(),
            loads_waiting: self.spill.waiting(),
            sessions: self.sessions.len() as u64,
            retained_messages: retained.messages,
            retained_bytes: retained.bytes,
            unsent_bytes: self.unsent_bytes as u64,
            memory_bytes: self.memory_bytes(),
            ..self.statistics.clone()
        }
    }

    /// Closes a connection once the current input is handled. Nothing more of it is: the client
    /// will send what came behind again, and in its order.
    pub(crate) fn doom(&mut self, key: Key, why: CloseReason) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.stalls.add(Stalls::DOOMED);
        }
        self.doomed.push((key, why));
    }

    pub(crate) fn action(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// Reports a fact; counts it as lost when nobody reads.
    pub(crate) fn event(&mut self, event: Event) {
        if self.events_waiting < self.config.limits.events_maximum {
            self.events_waiting += 1;
            let lost = self.statistics.events_lost;
            if lost > self.events_lost_told {
                let count = lost - core::mem::replace(&mut self.events_lost_told, lost);
                self.events_waiting += 1;
                self.actions
                    .push_back(Action::Event(Event::EventsLost { count }));
            }
            self.actions.push_back(Action::Event(event));
        } else {
            self.statistics.events_lost += 1;
        }
    }

    /// Encodes a packet for one connection, and announces it.
    pub(crate) fn send_packet(&mut self, key: Key, packet: &Packet<'_>) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.connack_gated {
            return self.respond(key, None, packet);
        }
        let before = connection.outbox.len();
        self.buffers.lend(&mut connection.outbox);
        encode(packet, connection);
        self.unsent_bytes += connection.outbox.len() - before;
        self.wake(key);
    }

    pub(crate) fn send_bytes(&mut self, key: Key, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.outbox.extend_from_slice(bytes);
        self.unsent_bytes += bytes.len();
        self.wake(key);
    }
}

/// Appends a packet to the output of a connection, unless the client does not accept so large a
/// one.
pub(crate) fn encode(packet: &Packet<'_>, connection: &mut Connection) {
    let before = connection.outbox.len();
    let version = connection.profile.version();
    let fits = codec::encode(packet, version, &mut connection.outbox).is_ok()
        && connection.outbox.len() - before <= connection.maximum_packet_size as usize;
    if !fits {
        connection.outbox.truncate(before);
    }
}
