//! Retained messages: of each tenant, the last message of each topic that was published to be kept.

use crate::id::MessageId;
use crate::message::{Message, MessageView};
use crate::state::{Reader, State, Writer};
use crate::tenant::TenantId;
use crate::time::UnixTime;
use crate::topic::TopicFilter;
use crate::topic::{Found, TopicKey, TopicMap};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::hash::Hasher;
use core::num::NonZeroU64;
use siphasher::sip::SipHasher13;

impl TopicKey for Message {
    fn topic(&self) -> &str {
        self.topic_str()
    }

    fn topic_bytes(&self) -> &[u8] {
        self.topic_bytes()
    }
}

/// Who published what is retained: a client that wants no local is not sent its own by a new
/// subscription either; see `route`. A hash of the client identifier, the same for
/// ever. Not known of a will, nor of what an earlier version kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author(NonZeroU64);

impl Author {
    /// Of a client's identifier; `None` where the hash happens to be 0.
    #[must_use]
    pub fn of(client_id: &str) -> Option<Self> {
        const AUTHOR: u64 = 0xa074;
        let mut hasher = SipHasher13::new_with_keys(0, AUTHOR);
        hasher.write(client_id.as_bytes());
        Self::new(hasher.finish())
    }

    pub(crate) fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    pub(crate) const fn get(self) -> u64 {
        self.0.get()
    }
}

impl State for Author {
    fn save(&self, to: &mut Writer<'_>) {
        self.get().save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Self::new(State::load(from)?)
    }
}

/// The last message of a topic: what is retained, or has cleared it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) id: MessageId,
    pub(crate) author: Option<Author>,
}

crate::state::state!(Last { id, author });

/// The retained messages of a shard.
#[derive(Default)]
pub(crate) struct Retained {
    /// By the number of the tenant.
    by_tenant: Vec<OfTenant>,
    /// Those that expire, by when.
    expiring: BTreeMap<(UnixTime, MessageId), (TenantId, Message)>,
    /// Of all tenants.
    usage: Usage,
    /// Topics that were cleared, by the sequence of what did it.
    cleared_order: BTreeMap<(u64, u64), (TenantId, Box<str>)>,
}

/// What is retained for one tenant.
#[derive(Default)]
struct OfTenant {
    by_topic: TopicMap<Message, Option<Author>>,
    usage: Usage,
    /// Topics that were cleared, and by which message, while other shards may not know of it.
    cleared: BTreeMap<Box<str>, Last>,
}

/// How many messages there are, and what they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl State for Retained {
    fn save(&self, to: &mut Writer<'_>) {
        self.by_tenant.len().save(to);
        for of in &self.by_tenant {
            of.by_topic.len().save(to);
            for (message, author) in of.by_topic.iter() {
                message.save(to);
                author.save(to);
            }
            of.cleared.save(to);
        }
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let mut retained = Self::default();
        for number in 0..u32::try_from(usize::load(from)?).ok()? {
            let tenant = TenantId::numbered(number);
            for _ in 0..usize::load(from)? {
                let message = State::load(from)?;
                retained.set(tenant, message, State::load(from)?);
            }
            for (topic, last) in BTreeMap::<Box<str>, Last>::load(from)? {
                retained.bury(tenant, &topic, last.id);
            }
        }
        Some(retained)
    }
}

/// What a retained message takes beside its own bytes: its place in the map.
const OVERHEAD: u64 = 88;

fn cost(message: &Message) -> u64 {
    message.as_bytes().len() as u64 + OVERHEAD
}

impl Usage {
    /// As much as there is.
    pub(crate) const ANY: Self = Self {
        messages: u64::MAX,
        bytes: u64::MAX,
    };

    /// What of it there may be at most: whether this is no more.
    const fn is_within(self, maximum: Self) -> bool {
        self.messages <= maximum.messages && self.bytes <= maximum.bytes
    }
}

impl Retained {
    /// How many tenants have or had something here.
    pub(crate) const fn tenant_count(&self) -> usize {
        self.by_tenant.len()
    }

    /// What there is of all tenants together.
    pub(crate) const fn usage(&self) -> Usage {
        self.usage
    }

    /// What there is of one.
    pub(crate) fn usage_of(&self, tenant: TenantId) -> Usage {
        self.of(tenant).map_or_else(Usage::default, |of| of.usage)
    }

    fn of(&self, tenant: TenantId) -> Option<&OfTenant> {
        self.by_tenant.get(tenant.index())
    }

    fn of_mut(&mut self, tenant: TenantId) -> &mut OfTenant {
        let index = tenant.index();
        if self.by_tenant.len() <= index {
            self.by_tenant.resize_with(index + 1, OfTenant::default);
        }
        &mut self.by_tenant[index]
    }

    /// Whether there is room for this message in the place of what is there.
    pub(crate) fn has_room(
        &self,
        tenant: TenantId,
        view: &MessageView<'_>,
        (maximum, of_tenant_maximum): (Usage, Usage),
    ) -> bool {
        let size = view.encoded_len() as u64 + OVERHEAD;
        let and = |usage: Usage, messages, bytes| Usage {
            messages: usage.messages + messages,
            bytes: usage.bytes + bytes,
        };
        let of_tenant = self.usage_of(tenant);
        // Mostly there is, whatever it replaces.
        if and(self.usage, 1, size).is_within(maximum)
            && and(of_tenant, 1, size).is_within(of_tenant_maximum)
        {
            return true;
        }
        let old = self
            .of(tenant)
            .and_then(|of| of.by_topic.get_key_value(view.topic))
            .map(|(message, _)| message);
        let grows = u64::from(old.is_none());
        let without_old = |usage: Usage| Usage {
            bytes: usage.bytes - old.map_or(0, cost),
            ..usage
        };
        and(without_old(self.usage), grows, size).is_within(maximum)
            && and(without_old(of_tenant), grows, size).is_within(of_tenant_maximum)
    }

    /// Keeps a message for its topic. Gives back the one it replaces.
    ///
    /// Only one message is retained for a topic. [MQTT-3.3.1-5]
    pub(crate) fn set(
        &mut self,
        tenant: TenantId,
        message: Message,
        author: Option<Author>,
    ) -> Option<Message> {
        let of = self.of_mut(tenant);
        let replaced = of.by_topic.insert(message.clone(), author);
        let old = replaced.map(|(old, _)| old);
        if let Some(old) = &old {
            self.forget(tenant, old);
        }
        self.count(tenant, |usage| {
            usage.messages += 1;
            usage.bytes += cost(&message);
        });
        let view = message.view();
        if view.expires_at != UnixTime::MAX {
            self.expiring
                .insert((view.expires_at, view.id), (tenant, message.clone()));
        }
        old
    }

    /// Forgets what is retained for a topic, and gives it back.
    pub(crate) fn clear(&mut self, tenant: TenantId, topic: &str) -> Option<Message> {
        let (message, _) = self.of_mut(tenant).by_topic.remove(topic)?;
        self.forget(tenant, &message);
        Some(message)
    }

    /// Whether something later than this message is retained for its topic, or has cleared it.
    pub(crate) fn has_later(&self, tenant: TenantId, topic: &str, id: MessageId) -> bool {
        let Some(of) = self.of(tenant) else {
            return false;
        };
        let kept = of.by_topic.get_key_value(topic);
        kept.is_some_and(|(message, _)| message.view().id.is_later_than(id))
            || of
                .cleared
                .get(topic)
                .is_some_and(|cleared| cleared.id.is_later_than(id))
    }

    /// Remembers what cleared a topic: what another shard retained before may still come.
    pub(crate) fn bury(&mut self, tenant: TenantId, topic: &str, id: MessageId) {
        self.cleared_order
            .insert((id.sequence, id.origin), (tenant, topic.into()));
        let last = Last { id, author: None };
        if let Some(earlier) = self.of_mut(tenant).cleared.insert(topic.into(), last) {
            self.cleared_order
                .remove(&(earlier.id.sequence, earlier.id.origin));
        }
    }

    /// Whatever comes from other shards now has a sequence above this one.
    pub(crate) fn forget_cleared(&mut self, clock: u64) {
        while let Some(first) = self.cleared_order.first_entry()
            && first.key().0 <= clock
        {
            let (tenant, topic) = first.remove();
            self.of_mut(tenant).cleared.remove(&topic);
        }
    }

    /// Takes what is no longer in the map out of the account.
    fn forget(&mut self, tenant: TenantId, message: &Message) {
        self.count(tenant, |usage| {
            usage.messages -= 1;
            usage.bytes -= cost(message);
        });
        let view = message.view();
        if view.expires_at != UnixTime::MAX {
            self.expiring.remove(&(view.expires_at, view.id));
        }
    }

    fn count(&mut self, tenant: TenantId, change: impl Fn(&mut Usage)) {
        change(&mut self.usage);
        change(&mut self.of_mut(tenant).usage);
    }

    /// The next retained message of a tenant, in topic order, that a filter matches; looks at
    /// `steps` at most.
    pub(crate) fn search(
        &self,
        tenant: TenantId,
        filter: TopicFilter<'_>,
        after: Option<&str>,
        steps: &mut usize,
    ) -> Found<'_, Message, Option<Author>> {
        match self.of(tenant) {
            Some(of) => of.by_topic.search(filter, after, steps),
            None => Found::Done,
        }
    }

    /// The next message of a tenant in topic order, whatever its topic.
    pub(crate) fn next(
        &self,
        tenant: TenantId,
        after: Option<&str>,
    ) -> Option<(&Message, Option<Author>)> {
        let (message, author) = self.of(tenant)?.by_topic.next(after)?;
        Some((message, *author))
    }

    /// When the next one expires, and which.
    pub(crate) fn next_expiry(&self) -> Option<(UnixTime, TenantId, &Message)> {
        self.expiring
            .first_key_value()
            .map(|((at, _), (tenant, message))| (*at, *tenant, message))
    }
}
