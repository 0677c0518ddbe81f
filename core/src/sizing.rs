//! All limits from one number, for machines where memory is what there is least of.

use crate::config::Config;

/// What a connection with a session takes at least.
const CONNECTION_BYTES: u64 = 1_024;

/// A session alone.
const SESSION_BYTES: u64 = 512;

/// A message that waits or is retained.
const MESSAGE_BYTES: u64 = 128;

/// A message that waits, of which only the log has the payload.
const STUB_BYTES: u64 = 256;

impl Config {
    /// A configuration whose limits fit into so many bytes of memory: no limit is above its
    /// default, and a budget of 4 GiB or more gives the defaults. A quarter each is for connections
    /// with their sessions, for messages that wait for clients, for retained messages, and for what
    /// moves. Fit for 256 KiB and more; below that one client of everything is what remains.
    ///
    /// The table in `docs/small-devices.md` shows what comes out.
    #[must_use]
    pub fn for_memory(bytes: u64) -> Self {
        let mut config = Self::default();
        if bytes < config.limits.memory_budget_bytes {
            let quarter = bytes / 4;
            config.fit(bytes, MESSAGE_BYTES);
            let (l, s) = (&mut config.limits, &mut config.session);
            lower(&mut l.queue_bytes_total_maximum, quarter, 1);
            lower(&mut l.queued_payload_memory_bytes, quarter, 1);
            lower(&mut s.queue_bytes_maximum, quarter / 4, 1);
        }
        config
    }

    /// The same for a broker that keeps messages in a log. What waits lies there, so its number is
    /// bounded by what finding it again takes of the memory, whatever its size, and its bytes only
    /// as far as they are without a budget: how many of them the log may have is a setting of the
    /// log. An eighth of the budget is for those that are in memory whole.
    #[must_use]
    pub fn for_memory_with_log(bytes: u64) -> Self {
        let mut config = Self::default();
        if bytes < config.limits.memory_budget_bytes {
            config.fit(bytes, STUB_BYTES);
            lower(&mut config.limits.queued_payload_memory_bytes, bytes / 8, 1);
        }
        config
    }

    /// Lowers what does not depend on where messages wait, of which each takes `waiting_bytes`.
    fn fit(&mut self, bytes: u64, waiting_bytes: u64) {
        let quarter = bytes / 4;
        // No single client takes more than a quarter of a quarter of anything.
        let share = quarter / 4;
        let l = &mut self.limits;
        l.memory_budget_bytes = bytes;
        lower(&mut l.connections_maximum, quarter / CONNECTION_BYTES, 1);
        lower(&mut l.sessions_maximum, quarter / SESSION_BYTES, 1);
        let waiting = &mut l.queue_messages_total_maximum;
        lower(waiting, quarter / waiting_bytes, 1);
        lower(&mut l.retained_bytes_maximum, quarter, 1);
        lower(&mut l.retained_messages_maximum, quarter / MESSAGE_BYTES, 1);
        lower(&mut l.connect_packet_size_maximum, share / 4, 1 << 10);
        lower(&mut l.subscriptions_per_session_maximum, share >> 10, 8);
        lower(&mut l.unsent_bytes_maximum, share / 4, 4 << 10);
        lower(&mut l.unsent_bytes_pause, share / 16, 1 << 10);
        lower(&mut l.events_maximum, share >> 9, 16);
        let s = &mut self.session;
        lower(&mut s.queue_messages_maximum, share / waiting_bytes, 1);
        lower(&mut s.inflight_maximum, share >> 12, 4);
        let p = &mut self.protocol;
        lower(&mut p.receive_maximum, share >> 12, 4);
        lower(&mut p.maximum_packet_size, share, 4 << 10);
    }
}

/// Lowers a limit to `limit`, though not below `least`, and never raises it.
fn lower<T: Copy + Ord + TryFrom<u64>>(field: &mut T, limit: u64, least: u64) {
    if let Ok(limit) = T::try_from(limit.max(least)) {
        *field = (*field).min(limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [fn(u64) -> Config; 2] = [Config::for_memory, Config::for_memory_with_log];

    #[test]
    fn every_size_can_run_and_larger_ones_allow_no_less() {
        for for_memory in BOTH {
            let mut before = for_memory(0);
            for exponent in 0..40 {
                let config = for_memory(1 << exponent);
                assert_eq!(config.validate(), Ok(()), "2^{exponent} bytes");
                let (now, then) = (&config.limits, &before.limits);
                assert!(now.connections_maximum >= then.connections_maximum);
                assert!(now.unsent_bytes_maximum >= then.unsent_bytes_maximum);
                let (now, then) = (&config.session, &before.session);
                assert!(now.queue_bytes_maximum >= then.queue_bytes_maximum);
                assert!(now.queue_messages_maximum >= then.queue_messages_maximum);
                before = config;
            }
        }
    }

    #[test]
    fn a_large_budget_gives_the_defaults() {
        for for_memory in BOTH {
            assert_eq!(for_memory(u64::MAX), Config::default());
            assert_eq!(for_memory(4 << 30), Config::default());
        }
    }

    #[test]
    fn the_parts_fit_into_the_whole() {
        for exponent in 18..32 {
            let bytes = 1 << exponent;
            let Config {
                limits, session, ..
            } = Config::for_memory(bytes);
            assert!(limits.queue_bytes_total_maximum + limits.retained_bytes_maximum <= bytes);
            assert!(u64::from(session.queue_bytes_maximum) <= limits.queue_bytes_total_maximum);
            assert!(u64::from(limits.connections_maximum) * 1_024 <= bytes);
        }
    }

    #[test]
    fn beside_a_log_what_waits_is_bounded_by_its_number() {
        for exponent in 18..32 {
            let bytes = 1 << exponent;
            let Config {
                limits, session, ..
            } = Config::for_memory_with_log(bytes);
            let stubs = limits.queue_messages_total_maximum * STUB_BYTES;
            let rest = limits.queued_payload_memory_bytes + limits.retained_bytes_maximum;
            assert!(stubs + rest <= bytes);
            let no_budget = Config::default().session;
            assert_eq!(session.queue_bytes_maximum, no_budget.queue_bytes_maximum);
        }
    }
}
