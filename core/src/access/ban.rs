//! Who is kept out whatever he can show: clients, users and addresses, each until some time.

use crate::access::network::Network;
use crate::access::rule::Name;
use crate::time::UnixTime;
use alloc::vec::Vec;
use core::net::IpAddr;

/// Keeps out everybody whom it names, by any of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Verified users.
    pub users: Vec<Name>,
    /// Client identifiers.
    pub clients: Vec<Name>,
    /// Addresses, which are looked at before anything else of a connection is.
    pub addresses: Vec<Network>,
    /// When it ends, by the machine's wall clock; `MAX` is never.
    pub until: UnixTime,
}

crate::state::state!(Ban {
    users,
    clients,
    addresses,
    until
});
crate::state::state!(Bans(list));

/// All bans. Each is looked at for each connection: meant for hundreds, not for millions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bans(Vec<Ban>);

impl Bans {
    /// Those in a list.
    #[must_use]
    pub const fn new(bans: Vec<Ban>) -> Self {
        Self(bans)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn any(&self, now: UnixTime, names: impl Fn(&Ban) -> bool) -> bool {
        self.0.iter().any(|ban| now < ban.until && names(ban))
    }

    /// Whether nobody may connect from this address.
    #[must_use]
    pub fn has_address(&self, now: UnixTime, address: IpAddr) -> bool {
        self.any(now, |ban| {
            ban.addresses
                .iter()
                .any(|network| network.contains(address))
        })
    }

    /// Whether a client of this identifier and user is kept out.
    #[must_use]
    pub fn has_client(&self, now: UnixTime, client_id: &str, user: Option<&str>) -> bool {
        self.any(now, |ban| {
            let has = |names: &[Name], text| names.iter().any(|name| name.matches(text));
            has(&ban.clients, client_id) || user.is_some_and(|user| has(&ban.users, user))
        })
    }
}
