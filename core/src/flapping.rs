//! Several clients with one identifier, each pushing the other off: noticed, and slowed down.

use crate::action::{CloseReason, Event};
use crate::broker::Broker;
use crate::config::DuplicateClient;
use crate::slab::Key;
use crate::tenant::TenantId;
use crate::time::Timestamp;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;

/// Client identifiers that are watched at most. One is, from its first takeover until a window has
/// passed without another.
const WATCHED: usize = 4_096;

/// The first and the longest time that newcomers are refused, in milliseconds; it doubles.
const BACK_OFF_MS: u64 = 1_000;
const BACK_OFF_MAXIMUM_MS: u64 = 64_000;

crate::state::state!(Fight {
    began,
    takeovers,
    until,
    back_off_ms
});
crate::state::state!(Flapping { fights });

/// One identifier that was taken over lately.
#[derive(Clone, Copy, Debug)]
struct Fight {
    began: Timestamp,
    takeovers: u32,
    /// Until when newcomers are refused.
    until: Timestamp,
    back_off_ms: u64,
}

/// The identifiers that were taken over lately.
#[derive(Debug, Default)]
pub(crate) struct Flapping {
    /// By tenant and identifier.
    fights: BTreeMap<(TenantId, Box<str>), Fight>,
}

impl Flapping {
    /// Somebody wants to take over. Whether he may; and for how long nobody may from now on, when
    /// this is what was one too often.
    fn takes_over(
        &mut self,
        client: (TenantId, Box<str>),
        now: Timestamp,
        (maximum, window_ms): (u32, u64),
    ) -> (bool, Option<(u32, u64)>) {
        let is_over = |fight: &Fight| now >= fight.began.max(fight.until).after_ms(window_ms);
        if self.fights.len() >= WATCHED && !self.fights.contains_key(&client) {
            self.fights.retain(|_, fight| !is_over(fight));
            if self.fights.len() >= WATCHED {
                return (true, None);
            }
        }
        let fresh = Fight {
            began: now,
            takeovers: 0,
            until: now,
            back_off_ms: BACK_OFF_MS,
        };
        let fight = self.fights.entry(client).or_insert(fresh);
        if is_over(fight) {
            *fight = fresh;
        }
        if now < fight.until {
            return (false, None);
        }
        fight.takeovers += 1;
        if fight.takeovers <= maximum {
            return (true, None);
        }
        let back_off_ms = fight.back_off_ms;
        let takeovers = core::mem::replace(&mut fight.takeovers, 0);
        fight.until = now.after_ms(back_off_ms);
        fight.back_off_ms = (back_off_ms * 2).min(BACK_OFF_MAXIMUM_MS);
        (false, Some((takeovers, back_off_ms)))
    }
}

impl Broker {
    /// Whether the client of this connection may take over a session from the one that has it; why
    /// not, if so.
    pub(crate) fn check_takeover(
        &mut self,
        newcomer: Key,
        holder: Key,
        client_id: &str,
    ) -> Result<(), CloseReason> {
        let session = &self.config.session;
        match session.duplicate_client {
            DuplicateClient::TakeOver => return Ok(()),
            DuplicateClient::Refuse => return Err(CloseReason::DuplicateClient),
            DuplicateClient::BackOff => {}
        }
        let limits = (
            session.duplicate_takeovers_maximum,
            u64::from(session.duplicate_window_s) * 1_000,
        );
        let tenant = self.tenant_of(holder);
        let (may, began) =
            self.flapping
                .takes_over((tenant, client_id.into()), self.clock.now(), limits);
        if let Some((takeovers, back_off_ms)) = began {
            let address = |key| self.connections.get(key).and_then(|c| c.place.address());
            let (address, newcomer) = (address(holder), address(newcomer));
            self.statistics.flapping_clients += 1;
            self.event(Event::Flapping {
                client_id: client_id.into(),
                tenant: self.tenants.name(tenant),
                address,
                newcomer,
                takeovers,
                back_off_ms,
            });
        }
        if may {
            Ok(())
        } else {
            Err(CloseReason::Flapping)
        }
    }
}
