//! Makes log lines of the core's events: one line for a connection's life at `info`, what loses
//! messages by a limit at `warn`, what is denied or refused at `info`, the rest at `debug`. Never
//! payloads, topics' contents or secrets.

use core::mem::{Discriminant, discriminant};
use core::net::SocketAddr;
use std::sync::Arc;
use tracing::field::{DisplayValue, display};
use tracing::{debug, error, info, warn};
use whimbrel_core::codec::packet::Version;
use whimbrel_core::{CloseReason, Event, Timestamp};
use whimbrel_transport::Fault;

/// Gets every event of the broker, on the shard's thread; it must not block.
pub type EventSink = Arc<dyn Fn(&Event) + Send + Sync>;

/// What a shard knows about a connection that the event does not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// What it speaks, once it has said so.
    pub version: Option<Version>,
    /// How long it has been open, in milliseconds.
    pub open_ms: u64,
}

/// How long refusals are counted together, in milliseconds.
const SAMPLED_MS: u64 = 60_000;

/// Why strangers do not get in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// With all that the reason says: a wrong password and a bad packet have nothing in common.
    Mqtt(CloseReason),
    /// What peers can make different each time counts as one.
    Below(Discriminant<Fault>),
}

/// Writes log lines for one shard.
///
/// Anybody who reaches a port can be refused as often as it likes. So of refusals for one reason
/// the first of a minute is told, the second, the fourth, the eighth, … with their number; the rest
/// at `debug`. The statistics count all of them.
#[derive(Default)]
pub struct Reporter {
    /// When the counting began.
    since: Timestamp,
    refusals: Vec<(Refusal, u64)>,
}

impl Reporter {
    /// Writes the line for one event.
    pub fn event(&mut self, now: Timestamp, event: &Event, facts: Facts) {
        let Event::Refused {
            client_id,
            username,
            address,
            why,
            ..
        } = event
        else {
            return report(event, facts);
        };
        let (client_id, address) = (&**client_id, shown(*address));
        let of_itself = matches!(why, CloseReason::TransportClosed | CloseReason::Shutdown);
        // Somebody only looked at the port: nothing to tell.
        if client_id.is_empty() && of_itself {
            return debug!(address, "connection closed before CONNECT");
        }
        let username = username.as_deref();
        match self.count(now, Refusal::Mqtt(*why)) {
            (count, true) => {
                info!(client_id, username, address, reason = %why, count, "client refused");
            }
            (count, false) => {
                debug!(client_id, username, address, reason = %why, count, "client refused");
            }
        }
    }

    /// Writes the line for a connection that was cut off below MQTT.
    pub fn fault(&mut self, now: Timestamp, address: Option<SocketAddr>, fault: &Fault) {
        let address = shown(address);
        match self.count(now, Refusal::Below(discriminant(fault))) {
            (count, true) => info!(address, reason = %fault, count, "connection refused"),
            (count, false) => debug!(address, reason = %fault, count, "connection refused"),
        }
    }

    /// How many there were for this reason lately, and whether this one is to be told.
    fn count(&mut self, now: Timestamp, why: Refusal) -> (u64, bool) {
        if now.since(self.since) >= SAMPLED_MS {
            self.since = now;
            self.refusals.clear();
        }
        let known = self.refusals.iter().position(|(known, _)| *known == why);
        let index = known.unwrap_or(self.refusals.len());
        if known.is_none() {
            self.refusals.push((why, 0));
        }
        let count = &mut self.refusals[index].1;
        *count += 1;
        (*count, count.is_power_of_two())
    }
}

/// Writes the line for an event that strangers cannot cause at will.
fn report(event: &Event, facts: Facts) {
    match event {
        Event::Connected {
            client_id,
            tenant,
            user,
            version,
            address,
            session_present,
            keep_alive_s,
            ..
        } => debug!(
            client_id = &**client_id,
            tenant = tenant.as_deref(),
            user = user.as_deref(),
            address = shown(*address),
            %version,
            session_present,
            keep_alive_s,
            "client connected"
        ),
        Event::Disconnected {
            client_id,
            tenant,
            address,
            why,
            session_kept,
            ..
        } => info!(
            client_id = &**client_id,
            tenant = tenant.as_deref(),
            address = shown(*address),
            version = facts.version.map(display),
            seconds = facts.open_ms as f64 / 1e3,
            session_kept,
            reason = %why,
            "client disconnected"
        ),
        Event::SessionEnded { .. }
        | Event::Subscribed { .. }
        | Event::Unsubscribed { .. }
        | Event::Dropped { .. } => report_session(event),
        Event::Unreadable { message } => error!(
            message = %format_args!("{:x}.{}", message.origin, message.sequence),
            "the log does not give back what it was given, and the message is lost; \
             `whimbrel log verify` tells what else is damaged"
        ),
        Event::EventsLost { count } => warn!(count, "events were lost"),
        Event::Flapping {
            client_id,
            tenant,
            address,
            newcomer,
            takeovers,
            back_off_ms,
        } => warn!(
            client_id = &**client_id,
            tenant = tenant.as_deref(),
            address = shown(*address),
            newcomer = shown(*newcomer),
            takeovers,
            back_off_ms,
            "clients with one identifier push each other off; newcomers are refused for a while"
        ),
        Event::Denied { .. } | Event::WouldDeny { .. } | Event::SubscriptionRevoked { .. } => {
            report_access(event);
        }
        Event::PublishRefused {
            client_id,
            tenant,
            user,
            topic,
            why,
            was_delivered,
            count,
        } => info!(
            client_id = &**client_id,
            tenant = tenant.as_deref(),
            user = user.as_deref(),
            topic = &**topic,
            reason = %why,
            limits = why.limits(),
            count,
            "{}",
            match was_delivered {
                true => "message not retained",
                false => "message refused",
            }
        ),
        // The former is told by `Reporter::event`, and clippy says what else there is.
        Event::Refused { .. } | _ => {}
    }
}

/// Writes the line for what has become of a session and what is in it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "`report` hands over these four and no others"
)]
fn report_session(event: &Event) {
    match event {
        Event::SessionEnded { client_id, tenant } => debug!(
            client_id = &**client_id,
            tenant = tenant.as_deref(),
            "session ended"
        ),
        Event::Subscribed {
            client_id,
            tenant,
            filter,
            reason,
        } => debug!(
            client_id = &**client_id,
            tenant = tenant.as_deref(),
            filter = &**filter,
            %reason,
            "subscribed"
        ),
        Event::Unsubscribed {
            client_id,
            tenant,
            filter,
        } => debug!(
            client_id = &**client_id,
            tenant = tenant.as_deref(),
            filter = &**filter,
            "unsubscribed"
        ),
        Event::Dropped {
            client_id,
            tenant,
            why,
            count,
        } => {
            let (client_id, tenant) = (&**client_id, tenant.as_deref());
            match why.limits() {
                Some(limits) => {
                    warn!(client_id, tenant, reason = %why, limits, count, "messages dropped");
                }
                None => debug!(client_id, tenant, reason = %why, count, "messages dropped"),
            }
        }
        _ => {}
    }
}

/// Writes the line for what the access rules have decided.
fn report_access(event: &Event) {
    if let Event::SubscriptionRevoked {
        client_id,
        tenant,
        filter,
        line,
    } = event
    {
        let (client_id, filter) = (&**client_id, &**filter);
        info!(
            client_id,
            tenant = tenant.as_deref(),
            filter,
            rule_line = line,
            "subscription ended: no longer allowed"
        );
    }
    let (Event::Denied {
        client_id,
        tenant,
        user,
        operation,
        topic,
        line,
        count,
    }
    | Event::WouldDeny {
        client_id,
        tenant,
        user,
        operation,
        topic,
        line,
        count,
    }) = event
    else {
        return;
    };
    let what = match matches!(event, Event::Denied { .. }) {
        true => "denied",
        false => "the shadow rules would deny this",
    };
    info!(
        client_id = &**client_id,
        tenant = tenant.as_deref(),
        user = user.as_deref(),
        %operation,
        topic = &**topic,
        rule_line = line,
        count,
        "{what}"
    );
}

/// An address as it is told; nothing where there is none.
fn shown(address: Option<SocketAddr>) -> Option<DisplayValue<SocketAddr>> {
    address.map(display)
}

#[cfg(test)]
mod tests {
    use super::*;
    use whimbrel_core::codec::reason::ReasonCode;

    #[test]
    fn refusals_are_told_ever_more_rarely_and_anew_after_a_minute() {
        let mut reporter = Reporter::default();
        let refused = Refusal::Mqtt(CloseReason::Refused(ReasonCode::NOT_AUTHORIZED));
        let other = Refusal::Mqtt(CloseReason::Refused(ReasonCode::BAD_USER_NAME_OR_PASSWORD));
        let mut told = |now, why| -> Vec<u64> {
            let counted = (0..10_000).map(|_| reporter.count(Timestamp(now), why));
            counted
                .filter_map(|(count, told)| told.then_some(count))
                .collect()
        };
        let powers: Vec<u64> = (0..14).map(|power| 1 << power).collect();
        assert_eq!(told(1, refused), powers);
        assert_eq!(
            told(2, other),
            powers,
            "another reason is counted by itself"
        );
        assert_eq!(told(SAMPLED_MS - 1, refused), [16_384]);
        assert_eq!(told(SAMPLED_MS, refused), powers);
    }
}
