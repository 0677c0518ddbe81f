//! Everything is bounded in time, and says how far it has come.

use super::Failure;
use super::network::{Heard, NO_PROPERTIES, Network};
use crate::output::say;
use std::io::IsTerminal;
use std::ops::Range;
use std::time::{Duration, Instant};
use whimbrel_core::codec::packet::{QoS, Subscribe, SubscribeOptions};
use whimbrel_core::codec::{Packet, SubscribeBuffer};
use whimbrel_core::id::PacketId;

/// How long nothing may happen before the rest is given up.
pub(super) const QUIET: Duration = Duration::from_secs(3);

/// How long the broker may take to answer before it counts as not answering.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long one turn waits.
pub(super) const TURN: Duration = Duration::from_millis(50);

/// Clients that are let in at the same time; brokers have short backlogs.
const KNOCKING_MAX: usize = 100;

/// Notices when nothing happens any more.
#[derive(Debug)]
pub(super) struct Watch {
    seen: u64,
    pub(super) changed: Instant,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            seen: 0,
            changed: Instant::now(),
        }
    }

    /// Looks at a number that grows while something happens. For how long it has not.
    pub(super) fn look(&mut self, now: Instant, progress: u64) -> Duration {
        if progress != self.seen {
            self.seen = progress;
            self.changed = now;
        }
        now.duration_since(self.changed)
    }

    pub(super) fn must_go_on(&mut self, progress: u64, what: &str) -> Result<(), Failure> {
        if self.look(Instant::now(), progress) > PATIENCE {
            let seconds = PATIENCE.as_secs();
            return Err(Failure::TimeOut(format!(
                "{what}: nothing has happened for {seconds} seconds"
            )));
        }
        Ok(())
    }
}

/// Tells people on a terminal, once a second, how far it is.
#[derive(Debug)]
pub(super) struct Progress {
    next: Option<Instant>,
    last: u64,
}

impl Progress {
    pub(super) fn new(wanted: bool) -> Self {
        let shown = wanted && std::io::stderr().is_terminal();
        Self {
            next: shown.then(|| Instant::now() + Duration::from_secs(1)),
            last: 0,
        }
    }

    pub(super) fn show(&mut self, now: Instant, what: &str, count: u64) {
        if let Some(next) = self.next.filter(|next| now >= *next) {
            say(&format!(
                "  {count} {what}, {} in this second",
                count - self.last
            ));
            self.last = count;
            self.next = Some(next + Duration::from_secs(1));
        }
    }
}

/// Connects clients, and waits until all are let in.
pub(super) fn admit(
    network: &mut Network,
    names: impl ExactSizeIterator<Item = String>,
) -> Result<Range<usize>, Failure> {
    let total = names.len();
    let mut names = names;
    let (mut opened, mut accepted, mut closed) = (0, 0, false);
    let mut first = None;
    let mut watch = Watch::new();
    while accepted < total {
        while opened - accepted < KNOCKING_MAX {
            let Some(name) = names.next() else { break };
            let index = network.open(&name, true)?;
            first.get_or_insert(index);
            opened += 1;
        }
        network.turn(TURN, |_, heard| match heard {
            Heard::Accepted => accepted += 1,
            Heard::Closed => closed = true,
            _ => {}
        })?;
        if closed {
            return Err(Failure::Closed);
        }
        watch.must_go_on(accepted as u64, "connecting")?;
    }
    let first = first.unwrap_or(0);
    Ok(first..first + total)
}

/// Subscribes clients, one filter each, and waits until all are.
pub(super) fn subscribe(
    network: &mut Network,
    subscriptions: impl Iterator<Item = (usize, String)>,
    qos: QoS,
) -> Result<(), Failure> {
    let mut open = 0_usize;
    for (index, filter) in subscriptions {
        let mut filters = SubscribeBuffer::new();
        filters.push(&filter, options(qos));
        ask(network, index, &filters);
        open += 1;
    }
    let mut watch = Watch::new();
    while open > 0 {
        let mut wrong = None;
        network.turn(TURN, |_, heard| match heard {
            Heard::Subscribed { refused: 0 } => open -= 1,
            Heard::Subscribed { .. } => wrong = Some(Failure::Refused("a subscription".to_owned())),
            Heard::Closed => wrong = Some(Failure::Closed),
            _ => {}
        })?;
        wrong.map_or(Ok(()), Err)?;
        watch.must_go_on(open as u64, "subscribing")?;
    }
    Ok(())
}

/// What is subscribed with.
pub(super) fn options(qos: QoS) -> SubscribeOptions {
    SubscribeOptions {
        maximum_qos: qos,
        ..SubscribeOptions::default()
    }
}

/// Sends SUBSCRIBE.
pub(super) fn ask(network: &mut Network, index: usize, filters: &SubscribeBuffer) {
    let subscribe = Subscribe {
        packet_id: PacketId::FIRST,
        properties: NO_PROPERTIES,
        filters: filters.as_filters(network.version()),
    };
    network.say(index, &Packet::Subscribe(subscribe));
}
