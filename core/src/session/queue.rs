//! Messages that wait: for room in the in-flight window, or for their client to come back.

use crate::codec::PublishFlags;
use crate::codec::packet::QoS;
use crate::message::Message;
use crate::topic::GroupId;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

const QOS: u8 = 0b0000_0011;
const RETAIN: u8 = 0b0000_0100;
const SHARED: u8 = 0b0000_1000;
const RECORDED: u8 = 0b0001_0000;
const PUBLISHED_RETAINED: u8 = 0b0010_0000;

/// A message on its way to one session: the shared message, and what differs by subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) message: Message,
    /// Names this delivery within its session, for the log. Counts up.
    pub(crate) sequence: u64,
    // As in `Identifiers`, taken apart: every queued message pays for what lies between.
    #[expect(clippy::box_collection, reason = "as there")]
    more_identifiers: Option<Box<Vec<u32>>>,
    identifier: u32,
    /// The shared group it came by, and one more, little-endian; 0 is none, or not known: after a
    /// restart, or one of more than sixteen million.
    group: [u8; 3],
    flags: u8,
}

/// What the place of a delivery takes in bytes, at most: there are many of them.
const PLACE: usize = 40;

const _: () = assert!(size_of::<Delivery>() <= PLACE);

crate::state::state!(Delivery {
    message,
    sequence,
    more_identifiers,
    identifier,
    group,
    flags
});

/// Subscription identifiers of the subscriptions that matched. Nearly always none or one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identifiers {
    first: u32,
    // A thin pointer: every queued message pays for this field, few use it.
    #[expect(
        clippy::box_collection,
        reason = "one word in every delivery instead of three"
    )]
    more: Option<Box<Vec<u32>>>,
}

crate::state::state!(Identifiers { first, more });

/// The same, wherever they are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdentifiersRef<'a> {
    first: u32,
    more: &'a [u32],
}

impl<'a> IdentifiersRef<'a> {
    pub(crate) const fn is_empty(self) -> bool {
        self.first == 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u32> + 'a {
        let first = (self.first != 0).then_some(self.first);
        first.into_iter().chain(self.more.iter().copied())
    }
}

impl Identifiers {
    /// Adds one; zero, which stands for none, is left out.
    pub(crate) fn push(&mut self, identifier: u32) {
        if identifier == 0 || self.view().iter().any(|known| known == identifier) {
            return;
        }
        if self.first == 0 {
            self.first = identifier;
        } else {
            self.more.get_or_insert_default().push(identifier);
        }
    }

    #[inline]
    pub(crate) fn view(&self) -> IdentifiersRef<'_> {
        IdentifiersRef {
            first: self.first,
            more: self.more.as_deref().map_or(&[], Vec::as_slice),
        }
    }
}

impl Delivery {
    #[inline]
    pub(crate) fn new(message: Message, qos: QoS, retain: bool, identifiers: Identifiers) -> Self {
        let flags = qos as u8 | if retain { RETAIN } else { 0 };
        Self {
            message,
            sequence: 0,
            more_identifiers: identifiers.more,
            identifier: identifiers.first,
            group: [0; 3],
            flags,
        }
    }

    /// What it is delivered with: never more than it was published with or subscribed for.
    pub(crate) fn qos(&self) -> QoS {
        QoS::from_bits(self.flags & QOS).unwrap_or_default()
    }

    pub(crate) const fn retain(&self) -> bool {
        self.flags & RETAIN != 0
    }

    /// What its PUBLISH says, with this DUP.
    pub(crate) fn publish_flags(&self, dup: bool) -> PublishFlags {
        PublishFlags::of(self.qos())
            .with_retain(self.retain())
            .with_dup(dup)
    }

    /// It came by a shared subscription: should its session end first, another member gets it.
    pub(crate) const fn is_shared(&self) -> bool {
        self.flags & SHARED != 0
    }

    /// Should its session end first, whoever gets it instead may want to know how it was published.
    #[inline]
    pub(crate) const fn set_shared(&mut self, group: GroupId, published_retained: bool) {
        self.flags |= SHARED;
        if published_retained {
            self.flags |= PUBLISHED_RETAINED;
        }
        if let [low, middle, high, 0] = (group.0 + 1).to_le_bytes() {
            self.group = [low, middle, high];
        }
    }

    /// Its publisher has set RETAIN. Only known of what came by a group.
    pub(crate) const fn was_published_retained(&self) -> bool {
        self.flags & PUBLISHED_RETAINED != 0
    }

    /// The group it came by. Only meaningful while its session is a member there.
    pub(crate) fn group(&self) -> Option<GroupId> {
        let [low, middle, high] = self.group;
        let number = u32::from_le_bytes([low, middle, high, 0]);
        number.checked_sub(1).map(GroupId)
    }

    /// The log knows of it.
    pub(crate) const fn is_recorded(&self) -> bool {
        self.flags & RECORDED != 0
    }

    /// It may go out only under a packet identifier that the log has.
    pub(crate) fn must_be_durable(&self) -> bool {
        self.is_recorded() && self.qos() == QoS::ExactlyOnce
    }

    pub(crate) const fn set_recorded(&mut self) {
        self.flags |= RECORDED;
    }

    pub(crate) const fn flags(&self) -> u8 {
        self.flags
    }

    /// From stored flags.
    pub(crate) fn restored(message: Message, sequence: u64, flags: u8, ids: Identifiers) -> Self {
        Self {
            message,
            sequence,
            more_identifiers: ids.more,
            identifier: ids.first,
            group: [0; 3],
            flags: flags | RECORDED,
        }
    }

    pub(crate) fn identifiers(&self) -> IdentifiersRef<'_> {
        IdentifiersRef {
            first: self.identifier,
            more: self.more_identifiers.as_deref().map_or(&[], Vec::as_slice),
        }
    }

    /// What it counts against the limits: the message, as if nobody shared it, and its place here;
    /// the same on machines of every width, so that all drop the same.
    #[inline]
    pub(crate) fn cost_bytes(&self) -> usize {
        self.message.stored_len() + PLACE
    }
}

/// The waiting messages of one session, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
    /// How many of them are QoS 0.
    qos0: usize,
    /// Of how many the log has what memory has not.
    stubs: usize,
}

crate::state::state!(Queue {
    deliveries,
    bytes,
    qos0,
    stubs
});

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.deliveries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// Whether a QoS 0 message waits, which later ones must not overtake.
    pub(crate) const fn has_qos0(&self) -> bool {
        self.qos0 > 0
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Of how many the log has what memory has not.
    pub(crate) const fn stubs(&self) -> usize {
        self.stubs
    }

    /// Gives the deliveries in the first `end` places, the last of them first, to `let_go`, which
    /// says what is kept of a message if it need not be whole. Looks at `steps` at most; gives the
    /// place of the last one looked at.
    pub(crate) fn let_go(
        &mut self,
        end: usize,
        keep: usize,
        steps: &mut usize,
        mut let_go: impl FnMut(&Delivery) -> Option<Message>,
    ) -> usize {
        let mut place = end.min(self.deliveries.len());
        while place > keep && *steps > 0 && self.stubs < self.deliveries.len() {
            place -= 1;
            *steps -= 1;
            let delivery = &mut self.deliveries[place];
            if let Some(stub) = let_go(delivery) {
                delivery.message = stub;
                self.stubs += 1;
            }
        }
        if self.stubs == self.deliveries.len() {
            return keep;
        }
        place
    }

    /// The first `count` that are stubs, if it is one.
    pub(crate) fn stubs_in_front(&self, count: usize) -> impl Iterator<Item = &Delivery> {
        let count = if self.stubs == 0 { 0 } else { count };
        let front = self.deliveries.iter().take(count);
        front.filter(|delivery| delivery.message.is_stub())
    }

    /// The delivery behind so many others.
    pub(crate) fn get(&self, place: usize) -> Option<&Delivery> {
        self.deliveries.get(place)
    }

    /// Puts the whole message where its stub was, if that still waits among the first `count`.
    /// Whether it does.
    pub(crate) fn take_back(&mut self, count: usize, sequence: u64, whole: &Message) -> bool {
        let mut front = self.deliveries.iter_mut().take(count);
        let stub = front.find(|d| d.sequence == sequence && d.message.is_stub());
        let Some(delivery) = stub else { return false };
        delivery.message = whole.clone();
        self.stubs -= 1;
        true
    }

    pub(crate) fn push(&mut self, delivery: Delivery) {
        self.stubs += usize::from(delivery.message.is_stub());
        self.bytes += delivery.cost_bytes();
        self.qos0 += usize::from(delivery.qos() == QoS::AtMostOnce);
        self.deliveries.push_back(delivery); // [MQTT-4.6.0-5]
    }

    pub(crate) fn front(&self) -> Option<&Delivery> {
        self.deliveries.front()
    }

    pub(crate) fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.deliveries.pop_front()?;
        self.stubs -= usize::from(delivery.message.is_stub());
        self.bytes -= delivery.cost_bytes();
        self.qos0 -= usize::from(delivery.qos() == QoS::AtMostOnce);
        // A queue that was long once does not keep its room for ever.
        if self.deliveries.is_empty() && self.deliveries.capacity() > 64 {
            self.deliveries = VecDeque::new();
        }
        Some(delivery)
    }

    /// Those from this sequence on. Who joins the queue has no lower one than who is there.
    pub(crate) fn since(&self, sequence: u64) -> impl Iterator<Item = &Delivery> {
        let is_before = |delivery: &Delivery| delivery.sequence < sequence;
        let start = self.deliveries.partition_point(is_before);
        self.deliveries.range(start..)
    }

    /// Takes everything out, oldest first.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Delivery> {
        self.bytes = 0;
        self.qos0 = 0;
        self.stubs = 0;
        core::mem::take(&mut self.deliveries).into_iter()
    }
}
