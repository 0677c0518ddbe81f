//! Time as a value. The core has no clock: every input says what time it is.

use core::fmt;
use core::time::Duration;

/// Monotonic milliseconds since a start that the runtime chooses. Never goes backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The latest instant: "never".
    pub const MAX: Self = Self(u64::MAX);

    /// This instant plus `ms` milliseconds, saturating.
    #[must_use]
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this instant; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// How long to sleep from `now` until this instant.
    #[must_use]
    pub const fn duration_from(self, now: Self) -> Duration {
        Duration::from_millis(self.since(now))
    }
}

/// Wall-clock milliseconds since 1970-01-01 UTC. Used for what must outlive the process (expiries,
/// will deadlines) and may jump; see `clock` for how jumps are kept from harm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// The latest instant: "never".
    pub const MAX: Self = Self(u64::MAX);

    /// This instant plus `seconds`, saturating.
    #[must_use]
    pub const fn after_s(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000)))
    }

    /// Milliseconds from `earlier` to this instant; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What time it is, in both senses. Every input of the core takes one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Now {
    /// Never goes backwards; drives keep alive, time-outs and retries.
    pub monotonic: Timestamp,
    /// May jump; drives what is stored.
    pub wall: UnixTime,
}

impl fmt::Display for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.monotonic.0)
    }
}
