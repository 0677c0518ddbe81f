//! Messages that nobody will send again: a will, or what waited for a member of a shared
//! subscription whose session has ended.
//!
//! When such a message is for another shard, what that one records is in another batch than what is
//! recorded here, and after a crash between the two nobody would have it. So it is in the log as a
//! *bequest*, in the batch that says that its session no longer has it, until the others have kept
//! it. After a restart it is brought to whoever has not had it, and who has is known as it is of an
//! incoming QoS 2 message: see [`taken`](crate::taken). What a shard says to others leaves after
//! the batch in which it was decided, so in the one log of a node a bequest comes before what
//! others record of it.

use crate::broker::Broker;
use crate::deliver::Publication;
use crate::gate::Mark;
use crate::handle::publish::{Origin, Routed};
use crate::id::{MessageId, PacketId};
use crate::letter::ExchangeId;
use crate::message::Message;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// Told apart by this from the exchanges of sessions, whose numbers are below.
const BEQUEST: u64 = 1 << 63;

/// What is brought to others in one turn after a restart.
const RESTORED_PER_STEP: usize = 64;

/// A message that nobody will send again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bequest {
    pub(crate) message: Message,
    /// It is published with RETAIN.
    pub(crate) retain: bool,
    /// It is for a member of this shared subscription, by its filter with its `$share/` prefix;
    /// otherwise for everybody who subscribes to its topic.
    pub(crate) group: Option<Box<str>>,
}

/// Those that are not yet with everybody they are for, by what stands for their exchange.
#[derive(Default)]
pub(crate) struct Bequests {
    open: BTreeMap<u64, Bequest>,
    /// Which of them other shards have been told, and by which letter.
    told: VecDeque<(u64, u64)>,
    /// Of an earlier life of the broker, to be brought to whoever has not had them.
    restored: BTreeMap<u64, Bequest>,
}

crate::state::state!(Bequest {
    message,
    retain,
    group
});
crate::state::state!(Bequests {
    open,
    told,
    restored
});

impl Bequests {
    /// Of an earlier life of the broker.
    pub(crate) fn restore(&mut self, restored: BTreeMap<u64, Bequest>) {
        self.restored = restored;
    }

    /// Whether some wait for the next turn.
    pub(crate) fn are_due(&self) -> bool {
        !self.restored.is_empty()
    }

    /// All there are, for a checkpoint.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Bequest)> {
        let all = self.open.iter().chain(&self.restored);
        all.map(|(number, bequest)| (*number, bequest))
    }
}

/// What stands for the exchange of a bequest.
const fn exchange(number: u64) -> ExchangeId {
    ExchangeId {
        session: number,
        packet_id: PacketId::FIRST,
    }
}

impl Broker {
    /// By what shards know a message that a session leaves, if they have to.
    pub(crate) fn bequest_of(&self, session: u64, message: MessageId) -> Option<ExchangeId> {
        if self.peers.is_alone() || !self.journal.is_on() {
            return None;
        }
        // The same message may be left by one session after the other.
        let mut hasher = SipHasher13::new_with_keys(0, 0xbe9e);
        hasher.write_u64(session);
        hasher.write_u64(message.origin);
        hasher.write_u64(message.sequence);
        Some(exchange(hasher.finish() | BEQUEST))
    }

    /// A message of a session was published, or given to a group. Keeps it if other shards were told
    /// of it since `mark`, or will be.
    pub(crate) fn bequeath(
        &mut self,
        exchange: Option<ExchangeId>,
        (publication, group): (&mut Publication<'_>, Option<&str>),
        (mark, routed): (Mark, Routed),
    ) {
        let Some(exchange) = exchange else {
            return;
        };
        let number = exchange.session;
        let is_later = routed == Routed::Later;
        if !is_later && !self.has_told(mark) {
            self.forget_taken(exchange);
            return;
        }
        let bequest = Bequest {
            message: publication.message(&mut self.scratch),
            retain: publication.retain,
            group: group.map(Into::into),
        };
        self.take(exchange);
        self.journal.bequest(number, &bequest);
        self.bequests.open.insert(number, bequest);
        match self.fanouts.back_mut().filter(|_| is_later) {
            Some(fanout) => fanout.bequeath(number),
            None => self.await_bequest(number),
        }
    }

    /// All shards that a bequest is for have been told.
    pub(crate) fn await_bequest(&mut self, number: u64) {
        self.bequests.told.push_back((self.peers.latest(), number));
    }

    /// Forgets those that are kept by whom they are for.
    pub(crate) fn settle_bequests(&mut self) {
        while let Some((letter, number)) = self.bequests.told.front().copied()
            && letter <= self.peers.kept()
        {
            self.bequests.told.pop_front();
            self.bequests.open.remove(&number);
            self.forget_bequest(number);
        }
    }

    fn forget_bequest(&mut self, number: u64) {
        self.journal.forget_bequest(number);
        self.complete_exchange(exchange(number));
    }

    /// Brings those of an earlier life to whoever has not had them.
    pub(crate) fn continue_bequests(&mut self) {
        for _ in 0..RESTORED_PER_STEP {
            let Some((number, bequest)) = self.bequests.restored.pop_first() else {
                return;
            };
            let id = exchange(number);
            let origin = Origin {
                exchange: Some(id),
                skip_slots: self.taken_slots(Some(id)),
                ..Origin::default()
            };
            let mark = self.mark();
            let tenant = self.tenant_named(bequest.message.view().tenant);
            let mut publication = Publication::shared(tenant, &bequest.message, bequest.retain);
            let routed = match bequest.group.as_deref() {
                None => self.publish(&mut publication, origin),
                Some(group) => {
                    if let Some(group) = self.group_named(tenant, group) {
                        self.encoder.begin();
                        self.deliver_to_group(&mut publication, group, origin);
                    }
                    Routed::Done
                }
            };
            if routed == Routed::Later || self.has_told(mark) {
                let what = (&mut publication, bequest.group.as_deref());
                self.bequeath(Some(id), what, (mark, routed));
            } else {
                self.forget_bequest(number);
            }
        }
    }
}
