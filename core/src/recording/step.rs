//! One step of a recording: the time, an input, or something that was asked for.

use super::REDACTED;
use crate::access::ban::Bans;
use crate::access::rules::Rules;
use crate::action::{Action, CloseReason, Peer, RETAINED_LIMITS, TENANT_RETAINED_LIMITS, Verdict};
use crate::codec::reason::ReasonCode;
use crate::id::{ConnectionId, MessageId, PeerId, Position};
use crate::letter::Letter;
use crate::message::Message;
use crate::state::{Reader, State, Writer};
use crate::time::Now;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What was given to a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// `Broker::accept`.
    Accept(Peer),
    /// `Broker::introduce`.
    Introduce(ConnectionId, Peer),
    /// `Broker::receive`.
    Receive(ConnectionId, Vec<u8>),
    /// `Broker::blocked`.
    Blocked(ConnectionId, u64),
    /// `Broker::closed`.
    Closed(ConnectionId),
    /// `Broker::advance`.
    Advance,
    /// `Broker::authenticated`.
    Authenticated(ConnectionId, Verdict),
    /// `Broker::persisted`.
    Persisted(Position),
    /// `Broker::loaded`, with what was read if it was what had been kept.
    Loaded(MessageId, Option<Message>),
    /// `Broker::storage_pressure`.
    StoragePressure(bool),
    /// `Broker::persist_failed`.
    PersistFailed,
    /// `Broker::checkpoint`.
    Checkpoint,
    /// `Broker::routed`.
    Routed(PeerId, Letter),
    /// `Broker::adopt`.
    Adopt(Peer, Vec<u8>),
    /// `Broker::disconnect`.
    Disconnect(ConnectionId, CloseReason),
    /// `Broker::shut_down`.
    ShutDown,
    /// `Broker::set_rules`.
    SetRules(Option<Arc<Rules>>),
    /// `Broker::set_shadow_rules`.
    SetShadowRules(Option<Arc<Rules>>),
    /// `Broker::set_bans`.
    SetBans(Arc<Bans>),
}

/// What happened next, as a [`Replay`](super::Replay) tells it.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It is another time now.
    Time(Now),
    /// An input was given; for `Accept` and `Adopt`, the connection that came of it.
    Input(Input, Option<ConnectionId>),
    /// The broker asked for something.
    Action(Action),
    /// It gave bytes for a connection.
    Sent(ConnectionId, Vec<u8>),
}

/// The first byte of each step.
pub(super) mod code {
    pub(in crate::recording) const END: u8 = 0;
    pub(in crate::recording) const TIME: u8 = 1;
    pub(in crate::recording) const ACCEPT: u8 = 2;
    pub(in crate::recording) const RECEIVE: u8 = 3;
    pub(in crate::recording) const CLOSED: u8 = 4;
    pub(in crate::recording) const ADVANCE: u8 = 5;
    pub(in crate::recording) const AUTHENTICATED: u8 = 6;
    pub(in crate::recording) const PERSISTED: u8 = 7;
    pub(in crate::recording) const PRESSURE: u8 = 8;
    pub(in crate::recording) const PERSIST_FAILED: u8 = 9;
    pub(in crate::recording) const CHECKPOINT: u8 = 10;
    pub(in crate::recording) const ROUTED: u8 = 11;
    pub(in crate::recording) const ADOPT: u8 = 12;
    pub(in crate::recording) const DISCONNECT: u8 = 13;
    pub(in crate::recording) const SHUT_DOWN: u8 = 14;
    /// So many calls of `poll_action`.
    pub(in crate::recording) const POLLED: u8 = 15;
    /// So many of them, each with a `transmit` for the connection that it named.
    pub(in crate::recording) const SENT: u8 = 16;
    /// A `transmit` for another one.
    pub(in crate::recording) const TRANSMIT: u8 = 17;
    pub(in crate::recording) const SET_RULES: u8 = 19;
    pub(in crate::recording) const SET_SHADOW_RULES: u8 = 20;
    pub(in crate::recording) const SET_BANS: u8 = 21;
    pub(in crate::recording) const LOADED: u8 = 18;
    pub(in crate::recording) const INTRODUCE: u8 = 22;
    pub(in crate::recording) const BLOCKED: u8 = 23;
}

pub(super) fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn take_number(from: &mut Reader<'_>) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = u8::load(from)?;
        number |= u64::from(byte & 0x7F).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// A difference that may go either way.
pub(super) fn put_difference(to: u64, from: u64, out: &mut Vec<u8>) {
    let difference = to.wrapping_sub(from) as i64;
    put_number((difference << 1 ^ difference >> 63) as u64, out);
}

pub(super) fn take_difference(from: u64, reader: &mut Reader<'_>) -> Option<u64> {
    let number = take_number(reader)?;
    let difference = (number >> 1) as i64 ^ -((number & 1) as i64);
    Some(from.wrapping_add(difference as u64))
}

pub(super) fn put_connection(connection: ConnectionId, out: &mut Vec<u8>) {
    put_number(connection.index.into(), out);
    put_number(connection.generation.into(), out);
}

pub(super) fn take_connection(from: &mut Reader<'_>) -> Option<ConnectionId> {
    let index = u32::try_from(take_number(from)?).ok()?;
    let generation = u32::try_from(take_number(from)?).ok()?;
    Some(ConnectionId { index, generation })
}

/// What may be given to `Broker::disconnect`, by number. Not what only the broker itself finds.
const CLOSE_REASONS: [CloseReason; 17] = [
    CloseReason::TransportClosed,
    CloseReason::KeepAlive,
    CloseReason::ConnectTimeout,
    CloseReason::TakenOver,
    CloseReason::QueueOverflow,
    CloseReason::NotAcknowledging,
    CloseReason::Shutdown,
    CloseReason::StorageFailed,
    CloseReason::Administrative,
    CloseReason::OtherUser,
    CloseReason::AuthenticationEnded,
    CloseReason::Revoked,
    CloseReason::SubscriptionRevoked,
    CloseReason::DuplicateClient,
    CloseReason::Flapping,
    CloseReason::Banned,
    CloseReason::PublishRate,
];

/// The settings that a limit may name, by number: recordings have that, so what is new comes last.
const LIMITS: [&str; 14] = [
    "",
    "limits.connections_maximum",
    "limits.sessions_maximum",
    "limits.memory_budget_bytes",
    "listener.connections_maximum",
    "quotas.connections_per_address_maximum",
    "quotas.connections_per_address_per_second_maximum",
    "quotas.connections_per_user_maximum",
    "tenants.maximum",
    "tenants.connections_maximum",
    "tenants.sessions_maximum",
    "storage.quota_bytes",
    RETAINED_LIMITS,
    TENANT_RETAINED_LIMITS,
];

/// The first of them.
const LIMIT: u8 = 0x82;

/// `None` for a violation: that is for the broker itself to find. And for a limit that is none of
/// its settings: what cannot be told again would come out as something else.
pub(super) fn put_close_reason(why: CloseReason, out: &mut Vec<u8>) -> Option<()> {
    let (kind, code) = if let CloseReason::ClientDisconnect(code) = why {
        (0x80, code)
    } else if let CloseReason::Refused(code) = why {
        (0x81, code)
    } else if let CloseReason::Limit(code, limit) = why {
        let place = LIMITS.iter().position(|known| *known == limit)?;
        (LIMIT + u8::try_from(place).ok()?, code)
    } else {
        let place = CLOSE_REASONS.iter().position(|known| *known == why)?;
        (u8::try_from(place).ok()?, ReasonCode::SUCCESS)
    };
    out.extend_from_slice(&[kind, code.0]);
    Some(())
}

fn take_close_reason(from: &mut Reader<'_>) -> Option<CloseReason> {
    let (kind, code) = (u8::load(from)?, ReasonCode(u8::load(from)?));
    Some(match kind {
        0x80 => CloseReason::ClientDisconnect(code),
        0x81 => CloseReason::Refused(code),
        LIMIT.. => CloseReason::Limit(code, LIMITS.get(usize::from(kind - LIMIT))?),
        place => *CLOSE_REASONS.get(usize::from(place))?,
    })
}

pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_number(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put_secret(bytes: &[u8], out: &mut Vec<u8>) {
    put_number(bytes.len() as u64, out);
    out.resize(out.len() + bytes.len(), REDACTED);
}

fn take_bytes(from: &mut Reader<'_>) -> Option<Vec<u8>> {
    let length = usize::try_from(take_number(from)?).ok()?;
    from.take(length).map(<[u8]>::to_vec)
}

/// What a verdict says to the client, and what is kept for its answer, has only its length here: a
/// password could be guessed from it. What is digested of what goes out has it not either.
pub(super) fn put_verdict(verdict: &Verdict, to: &mut Writer<'_>) {
    match verdict {
        Verdict::Accept(grant) => {
            to.out.push(0);
            grant.save(to);
        }
        Verdict::Continue { data, state } => {
            to.out.push(1);
            put_secret(data, to.out);
            put_secret(state, to.out);
        }
        Verdict::Refuse(code) => to.out.extend_from_slice(&[2, code.0]),
    }
}

fn take_verdict(from: &mut Reader<'_>) -> Option<Verdict> {
    Some(match u8::load(from)? {
        0 => Verdict::Accept(State::load(from)?),
        1 => Verdict::Continue {
            data: take_bytes(from)?,
            state: take_bytes(from)?,
        },
        2 => Verdict::Refuse(ReasonCode(u8::load(from)?)),
        _ => return None,
    })
}

fn take_letter(from: &mut Reader<'_>) -> Option<Letter> {
    // A letter of its own: no message that came before is referred to.
    let mut own = Reader::new(from.bytes);
    let letter = Letter::load(&mut own)?;
    from.bytes = own.bytes;
    Some(letter)
}

/// Takes out what belongs to an input with this code; `None` when that is no input's, or there is
/// too little. `durable` is what was durable before.
pub(super) fn take_input(code: u8, from: &mut Reader<'_>, durable: u64) -> Option<Input> {
    Some(match code {
        code::ACCEPT => Input::Accept(State::load(from)?),
        code::INTRODUCE => {
            let connection = take_connection(from)?;
            Input::Introduce(connection, State::load(from)?)
        }
        code::RECEIVE => Input::Receive(take_connection(from)?, take_bytes(from)?),
        code::BLOCKED => Input::Blocked(take_connection(from)?, take_number(from)?),
        code::CLOSED => Input::Closed(take_connection(from)?),
        code::ADVANCE => Input::Advance,
        code::AUTHENTICATED => Input::Authenticated(take_connection(from)?, take_verdict(from)?),
        code::PERSISTED => Input::Persisted(Position(take_difference(durable, from)?)),
        code::LOADED => {
            // As with routed messages.
            let mut own = Reader::new(from.bytes);
            let loaded = Input::Loaded(State::load(&mut own)?, State::load(&mut own)?);
            from.bytes = own.bytes;
            loaded
        }
        code::PRESSURE => Input::StoragePressure(bool::load(from)?),
        code::PERSIST_FAILED => Input::PersistFailed,
        code::CHECKPOINT => Input::Checkpoint,
        code::ROUTED => Input::Routed(State::load(from)?, take_letter(from)?),
        code::ADOPT => Input::Adopt(State::load(from)?, take_bytes(from)?),
        code::DISCONNECT => Input::Disconnect(take_connection(from)?, take_close_reason(from)?),
        code::SHUT_DOWN => Input::ShutDown,
        code::SET_RULES => Input::SetRules(State::load(from)?),
        code::SET_SHADOW_RULES => Input::SetShadowRules(State::load(from)?),
        code::SET_BANS => Input::SetBans(State::load(from)?),
        _ => return None,
    })
}
