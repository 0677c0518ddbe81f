//! Limits that each can hold and together mean something else than was probably meant. The broker
//! runs with them, so they are notes.

use super::storage::Backend;
use super::value::Unit;
use super::{Places, Problem, Settings, place_of};

/// A number and the key it belongs to.
struct Limit {
    key: &'static str,
    value: u64,
    unit: Unit,
}

impl Limit {
    fn show(&self) -> String {
        format!("{} = {}", self.key, self.unit.show(self.value))
    }
}

/// All of them, with the place of the key that was written, of two the one that is too large.
pub(super) fn find(settings: &Settings, places: &Places) -> Vec<Problem> {
    let broker = &settings.server.broker;
    let (protocol, session, limits) = (&broker.protocol, &broker.session, &broker.limits);
    let bytes = |key, value| Limit {
        key,
        value,
        unit: Unit::Bytes,
    };
    let number = |key, value| Limit {
        key,
        value,
        unit: Unit::Count,
    };
    let budget = || bytes("limits.memory_budget_bytes", limits.memory_budget_bytes);
    let total = limits.queue_bytes_total_maximum;
    let total = || bytes("limits.queue_bytes_total_maximum", total);
    // With a log, what waits is held in memory up to a limit of its own.
    let in_memory = limits.queued_payload_memory_bytes;
    let (waiting, until) = match settings.storage.backend {
        Backend::Memory => (total(), "the queues are full"),
        Backend::Log | Backend::Sqlite => (
            bytes("limits.queued_payload_memory_bytes", in_memory),
            "what waits is left to the log alone",
        ),
    };
    // 0 allows any.
    let longest = match protocol.keep_alive_maximum_s {
        0 => u64::MAX,
        seconds => seconds.into(),
    };
    let asked = protocol.server_keep_alive_s.unwrap_or_default();
    let packet = || {
        bytes(
            "protocol.maximum_packet_size",
            protocol.maximum_packet_size.into(),
        )
    };
    let queue = || {
        bytes(
            "session.queue_bytes_maximum",
            session.queue_bytes_maximum.into(),
        )
    };
    let pairs = [
        (
            packet(),
            budget(),
            "the largest packets will be refused for want of memory",
        ),
        (
            waiting,
            budget(),
            &*format!("the budget is used up before {until}"),
        ),
        (
            packet(),
            queue(),
            "the largest messages can never wait for a client",
        ),
        (
            queue(),
            total(),
            "all queues together are full before one is",
        ),
        (
            number(
                "limits.connections_maximum",
                limits.connections_maximum.into(),
            ),
            number("limits.sessions_maximum", limits.sessions_maximum.into()),
            "each connected client has a session, so no more clients than that get in",
        ),
        (
            number("protocol.server_keep_alive_s", asked.into()),
            number("protocol.keep_alive_maximum_s", longest),
            "clients are held to the shorter of both",
        ),
    ];
    let wrong = pairs
        .into_iter()
        .filter(|(large, small, _)| large.value > small.value);
    let told = wrong.map(|(large, small, so)| Problem {
        place: match places.contains_key(large.key) {
            true => place_of(places, large.key),
            false => place_of(places, small.key),
        },
        message: format!("{} is above {}: {so}", large.show(), small.show()),
    });
    told.collect()
}
