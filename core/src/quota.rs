//! How much one client, one user or one address may have, of connections and of publishing.
//!
//! Rates are kept as the time at which everything taken so far would have been earned: one number a
//! client, no timer that fills anything. A second's worth may be taken at once.
//!
//! Of several shards one counts the connections from an address. Newcomers go there first, and
//! count there until they are closed, whichever shard has them by then: so as many are let in as on
//! one shard. Users are known only where their sessions are; shards tell each other how many
//! connections they have.

use crate::access::identity::Place;
use crate::action::CloseReason;
use crate::broker::Broker;
use crate::codec::packet::Publish;
use crate::codec::reason::ReasonCode;
use crate::config::{PublishExcess, QuotaConfig};
use crate::connection::{Connection, Stalls};
use crate::id::PeerId;
use crate::letter::{Parcel, UserCount};
use crate::slab::Key;
use crate::time::Timestamp;
use crate::timer::TimerKey;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;

/// What may be taken at once, in microseconds of earning.
const BURST_US: u64 = 1_000_000;

crate::state::state!(Meter { earned_us });
crate::state::state!(FromAddress { open, connecting });
crate::state::state!(OfUser {
    here,
    elsewhere,
    is_untold
});
crate::state::state!(Quotas {
    addresses,
    users,
    untold,
    listeners,
    swept
});
crate::state::state!(PublishMeters { messages, bytes });

/// Takings at a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meter {
    /// When all that was taken is earned, in microseconds of monotonic time.
    earned_us: u64,
}

impl Meter {
    /// Takes so much, whether or not it has been earned.
    pub(crate) fn take(&mut self, now: Timestamp, amount: u64, per_second: u32) {
        let cost = amount.saturating_mul(1_000_000) / u64::from(per_second.max(1));
        self.earned_us = self.earned_us.max(micros(now)).saturating_add(cost);
    }

    /// When something may be taken again.
    pub(crate) const fn ready(&self) -> Timestamp {
        // Rounded up: a deadline that comes early would only come again.
        Timestamp(self.earned_us.saturating_sub(BURST_US).div_ceil(1_000))
    }

    /// Whether it would be the same if nothing had ever been taken.
    const fn is_full(&self, now: Timestamp) -> bool {
        self.earned_us <= micros(now)
    }
}

const fn micros(at: Timestamp) -> u64 {
    at.0.saturating_mul(1_000)
}

/// What is known of one address: an IPv4 address, or the 64 bits that an IPv6 host is given.
#[derive(Clone, Copy, Debug, Default)]
struct FromAddress {
    open: u32,
    connecting: Meter,
}

/// How many connections one user has.
#[derive(Debug, Default)]
struct OfUser {
    here: u32,
    /// On other shards, as far as they have said.
    elsewhere: BTreeMap<PeerId, u32>,
    is_untold: bool,
}

/// Who has how much of what is counted over more than one connection. Kept only where a quota asks
/// for it, and for as long as it says anything.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    addresses: BTreeMap<IpAddr, FromAddress>,
    users: BTreeMap<Box<str>, OfUser>,
    /// Users of whom the others do not know how many connections they have here.
    untold: Vec<Box<str>>,
    /// Open connections of those listeners that have a limit, by number.
    listeners: Vec<u32>,
    /// The address after which stale ones are looked for next.
    swept: Option<IpAddr>,
}

/// Addresses that are looked at for being stale with each new connection.
const SWEEP: usize = 2;

/// What counts as one address. Whoever has one IPv6 address mostly has 2^64.
fn host(address: IpAddr) -> IpAddr {
    const NETWORK: u128 = !0 << 64;
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & NETWORK).into()),
        address @ IpAddr::V4(_) => address,
    }
}

impl Quotas {
    /// A connection from this address: why it may not be, if so. It counts in any case, until it is
    /// `left`.
    pub(crate) fn came(
        &mut self,
        address: IpAddr,
        now: Timestamp,
        config: &QuotaConfig,
    ) -> Option<ReasonCode> {
        self.sweep(now);
        let from = self.addresses.entry(host(address)).or_default();
        from.open += 1;
        let (maximum, rate) = (
            config.connections_per_address_maximum,
            config.connections_per_address_per_second_maximum,
        );
        if rate > 0 {
            let is_early = from.connecting.ready() > now;
            if is_early {
                return Some(ReasonCode::CONNECTION_RATE_EXCEEDED);
            }
            from.connecting.take(now, 1, rate);
        }
        (maximum > 0 && from.open > maximum).then_some(ReasonCode::QUOTA_EXCEEDED)
    }

    /// It is gone.
    pub(crate) fn left(&mut self, address: IpAddr) {
        if let Some(from) = self.addresses.get_mut(&host(address)) {
            from.open = from.open.saturating_sub(1);
        }
    }

    /// Forgets addresses about which there is nothing to remember, a few at a time.
    fn sweep(&mut self, now: Timestamp) {
        for _ in 0..SWEEP {
            let next = match self.swept {
                Some(last) => self
                    .addresses
                    .range((
                        core::ops::Bound::Excluded(last),
                        core::ops::Bound::Unbounded,
                    ))
                    .next(),
                None => self.addresses.first_key_value(),
            };
            let Some((address, from)) = next else {
                self.swept = None;
                return;
            };
            let (address, is_stale) = (*address, from.open == 0 && from.connecting.is_full(now));
            self.swept = Some(address);
            if is_stale {
                self.addresses.remove(&address);
            }
        }
    }

    /// A connection by this listener: whether it has room for it. It counts in any case.
    pub(crate) fn came_by(&mut self, listener: u16, config: &QuotaConfig) -> bool {
        let limits = &config.connections_per_listener_maximum;
        self.listeners.resize(limits.len(), 0);
        let number = usize::from(listener);
        match (self.listeners.get_mut(number), limits.get(number)) {
            (Some(open), Some(maximum)) => {
                *open += 1;
                *maximum == 0 || *open <= *maximum
            }
            _ => true,
        }
    }

    /// How many connections a user has, on all shards.
    fn of_user(&self, user: &str) -> u32 {
        let add = |sum: u32, count: &u32| sum.saturating_add(*count);
        let all = |of: &OfUser| of.elsewhere.values().fold(of.here, add);
        self.users.get(user).map_or(0, all)
    }

    /// A user has more connections here, or fewer.
    fn count_user(&mut self, user: &str, change: impl FnOnce(u32) -> u32) {
        let of = self.users.entry(user.into()).or_default();
        of.here = change(of.here);
        if !of.is_untold {
            of.is_untold = true;
            self.untold.push(user.into());
        }
    }

    /// The next user of whom the others do not know how many connections he has here.
    fn poll_untold(&mut self) -> Option<UserCount> {
        let user = self.untold.pop()?;
        let connections = self.users.get_mut(&user).map_or(0, |of| {
            of.is_untold = false;
            of.here
        });
        self.forget_user(&user);
        Some(UserCount { user, connections })
    }

    /// What another shard says.
    pub(crate) fn user_is_elsewhere(&mut self, peer: PeerId, count: UserCount) {
        let UserCount { user, connections } = count;
        let elsewhere = &mut self.users.entry(user.clone()).or_default().elsewhere;
        match connections {
            0 => elsewhere.remove(&peer),
            _ => elsewhere.insert(peer, connections),
        };
        self.forget_user(&user);
    }

    /// Forgets a user about whom there is nothing to remember.
    fn forget_user(&mut self, user: &str) {
        let is_stale = |of: &OfUser| of.here == 0 && of.elsewhere.is_empty() && !of.is_untold;
        if self.users.get(user).is_some_and(is_stale) {
            self.users.remove(user);
        }
    }
}

/// How fast one connection publishes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PublishMeters {
    messages: Meter,
    bytes: Meter,
}

impl Broker {
    /// Whether a user may have one more connection, or one in the place of another.
    pub(crate) fn has_room_for_user(&self, user: Option<&str>, replaced: Option<Key>) -> bool {
        let maximum = self.config.quotas.connections_per_user_maximum;
        let Some(user) = user.filter(|_| maximum > 0) else {
            return true;
        };
        let replaced = replaced.and_then(|key| self.connections.get(key));
        let is_own = replaced.is_some_and(|connection| connection.user() == Some(user));
        self.quotas.of_user(user) < maximum.saturating_add(u32::from(is_own))
    }

    /// A client of this user is in.
    pub(crate) fn count_user(&mut self, key: Key) {
        if self.config.quotas.connections_per_user_maximum > 0
            && let Some(connection) = self.connections.get(key)
            && let Some(user) = connection.user()
        {
            self.quotas.count_user(user, |count| count + 1);
        }
    }

    /// Tells the other shards of users what has changed since they were told: once a turn, however
    /// much that is.
    pub(crate) fn tell_users(&mut self) {
        while let Some(count) = self.quotas.poll_untold() {
            for peer in self.peers.all() {
                self.peers.tell(peer, Parcel::User(count.clone()));
            }
        }
    }

    /// The shard that counts connections from this place, if any does.
    fn counter_of(&self, place: Place) -> Option<u16> {
        let address = place.ip()?;
        let counts = self.config.quotas.counts_addresses();
        counts.then(|| self.placement.of_address(host(address)))
    }

    /// A connection whose address another shard counts goes there.
    pub(crate) fn seek_counter(&mut self, key: Key) {
        let place = self.connections.get(key).map(|connection| connection.place);
        match place.and_then(|place| self.counter_of(place)) {
            Some(counter) if counter != self.config.identity.shard => {
                self.leave(key, PeerId(counter));
            }
            _ => self.stay_here(key),
        }
    }

    /// A connection is gone: where it was counted by its address, it no longer is.
    pub(crate) fn uncount_address(&mut self, connection: &Connection) {
        self.uncount_place(connection.place, connection.stalls);
    }

    /// The same of a place where a connection was, with why it was not read there.
    pub(crate) fn uncount_place(&mut self, place: Place, stalls: Stalls) {
        let (Some(address), Some(counter)) = (place.ip(), self.counter_of(place)) else {
            return;
        };
        if counter == self.config.identity.shard {
            self.quotas.left(address);
        } else if !stalls.has(Stalls::LEAVING) {
            // It has come from there. Who is on his way there was not counted yet.
            self.peers.tell(PeerId(counter), Parcel::Gone(address));
        }
    }

    /// A connection is gone from here: what it counted for here no longer does.
    pub(crate) fn uncount(&mut self, connection: &Connection) {
        let listener = usize::from(connection.place.listener);
        if let Some(open) = self.quotas.listeners.get_mut(listener) {
            *open = open.saturating_sub(1);
        }
        if connection.session().is_some()
            && self.config.quotas.connections_per_user_maximum > 0
            && let Some(user) = connection.user()
        {
            self.quotas.count_user(user, |count| count - 1);
        }
    }

    /// Takes a message from what its client may publish. `false` when the client is to go for it;
    /// one that is throttled is not read until it has earned what it has taken.
    pub(crate) fn take_publish(&mut self, key: Key, publish: &Publish<'_>) -> bool {
        let quotas = &self.config.quotas;
        let (messages, bytes) = (
            quotas.publish_messages_per_second_maximum,
            quotas.publish_bytes_per_second_maximum,
        );
        if messages == 0 && bytes == 0 {
            return true;
        }
        let (now, excess) = (self.clock.now(), quotas.publish_excess);
        let Some(connection) = self.connections.get_mut(key) else {
            return true;
        };
        let extra = connection.extra();
        let meters = &mut extra.publish_meters;
        if messages > 0 {
            meters.messages.take(now, 1, messages);
        }
        if bytes > 0 {
            let size = publish.topic.len() + publish.payload.len();
            meters.bytes.take(now, size as u64, bytes);
        }
        let at = meters.messages.ready().max(meters.bytes.ready());
        if at <= now {
            return true;
        }
        if excess == PublishExcess::Disconnect {
            return false;
        }
        let armed = &mut extra.throttle_armed;
        self.timers.arm(TimerKey::Throttle(key), armed, at);
        self.statistics.publishers_throttled += 1;
        self.stall(key, Stalls::RATE);
        true
    }

    /// A client has earned what it had taken.
    pub(crate) fn throttle_timeout(&mut self, key: Key) {
        if let Some(extra) = self.connections.get_mut(key).and_then(|c| c.extra.as_mut()) {
            extra.throttle_armed = Timestamp::MAX;
        }
        self.unstall(key, Stalls::RATE);
    }

    /// Keeps out who is banned, and who comes too often or has too much; before a byte was read.
    pub(crate) fn turn_away(&mut self, key: Key) -> Option<CloseReason> {
        let place = self.connections.get(key)?.place;
        let (address, counter) = (place.ip()?, self.counter_of(place));
        let now = self.clock.now();
        let excess = match counter == Some(self.config.identity.shard) {
            true => self.quotas.came(address, now, &self.config.quotas),
            false => None,
        };
        if self.bans.has_address(self.machine_wall(), address) {
            return Some(CloseReason::Banned);
        }
        excess.map(|reason| {
            let limit = match reason {
                ReasonCode::CONNECTION_RATE_EXCEEDED => {
                    "quotas.connections_per_address_per_second_maximum"
                }
                _ => "quotas.connections_per_address_maximum",
            };
            CloseReason::Limit(reason, limit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_gives_a_second_at_once_and_then_its_rate() {
        let mut meter = Meter::default();
        let start = Timestamp(5_000);
        for _ in 0..10 {
            assert!(meter.ready() <= start);
            meter.take(start, 1, 10);
        }
        // The eleventh has to wait a tenth of a second, and so on.
        meter.take(start, 1, 10);
        assert_eq!(meter.ready(), Timestamp(5_100));
        meter.take(Timestamp(5_100), 1, 10);
        assert_eq!(meter.ready(), Timestamp(5_200));
        // Who was silent has a second again, and no more.
        let later = Timestamp(60_000);
        assert!(meter.is_full(later));
        meter.take(later, 11, 10);
        assert_eq!(meter.ready(), Timestamp(60_100));
    }

    #[test]
    fn addresses_that_say_nothing_are_forgotten() {
        let config = QuotaConfig {
            connections_per_address_per_second_maximum: 1,
            ..QuotaConfig::default()
        };
        let mut quotas = Quotas::default();
        for n in 0..10_000_u32 {
            let address = IpAddr::V4(n.into());
            quotas.came(address, Timestamp(u64::from(n) * 10_000), &config);
            quotas.left(address);
        }
        assert!(quotas.addresses.len() <= 4, "{}", quotas.addresses.len());
    }

    #[test]
    fn an_ipv6_host_is_what_it_is_given() {
        let same = |a: &str, b: &str| host(a.parse().unwrap()) == host(b.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:0:0:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }
}
