//! The other shards of this node: what is to be told to each, and how far each has come.
//!
//! Interest, messages and answers travel in letters; see [`letter`](crate::letter). An
//! acknowledgement that depends on other shards waits for the number of the letter that tells them,
//! as it waits for a position of the log: both only grow. A shard never waits for another one to
//! take a letter in before it does its own work, so there is no circle: only publishers wait, and
//! confirmations depend on nobody.

use crate::bundle::{Bundle, Bundled};
use crate::codec::packet::QoS;
use crate::config::Config;
use crate::gate::Gate;
use crate::id::{ConnectionId, MessageId, PeerId, Position};
use crate::letter::{COST_BYTES_MINIMUM, Confirmation, Letter, Narrowed, Parcel};
use crate::route::RouteSlot;
use crate::session::SubscriptionRef;
use crate::slab::Key;
use crate::state::{Reader, State, Writer};
use crate::tenant::TenantId;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

/// Bytes of messages on their way to one shard, at most, before publishers to it wait: some
/// milliseconds of traffic.
const WINDOW_BYTES_MAXIMUM: u64 = 512 << 10;

/// However many shards there are, and however little may wait for a client, one gets so much before
/// publishers wait: a read.
const WINDOW_BYTES_MINIMUM: u64 = 16 << 10;

/// So many groups are told of together. That is advice; who is not told sends to a member that is
/// away, or to fewer than it could.
const REGROUPED_MAXIMUM: usize = 1 << 16;

/// What stands between this shard and one other.
#[derive(Default)]
struct Link {
    /// The letter that is being written.
    parcels: Vec<Parcel>,
    /// It says that something is not wanted any more.
    wants_less: bool,
    /// It has something to confirm that its writer waits for.
    confirms: bool,
    /// The number of the last letter to it with something that it has to keep.
    awaited: u64,
    /// What it has confirmed.
    confirmed: Confirmation,
    /// Bytes of messages that were routed to it, in all.
    sent_bytes: u64,
    /// Publishers that wait for it to take in what is on its way.
    waiting: Vec<Key>,
    /// Publishers of it that were asked to wait for a subscriber here.
    held: BTreeSet<ConnectionId>,
    /// How far this shard has come with its letters, and what of that it was told.
    here: Confirmation,
    told: Confirmation,
    /// The last position that one of its letters waits for.
    keeping: Position,
    /// Its clock, as it said last.
    clock: u64,
    /// The sequence of the last message that it took in and routed here.
    last_sequence: u64,
    /// Where the route of that one was.
    route: RouteSlot,
}

crate::state::state!(Confirmation { taken_bytes, kept });
crate::state::state!(Peers {
    links,
    me,
    writing,
    interest,
    entrusted,
    kept,
    returned,
    keeping,
    regrouped,
    regrouped_letter,
    is_due,
    window_bytes,
});

/// At rest there is nothing to be told.
impl State for Link {
    fn save(&self, to: &mut Writer<'_>) {
        let Self {
            parcels: _,
            wants_less: _,
            confirms: _,
            awaited,
            confirmed,
            sent_bytes,
            waiting,
            held,
            here,
            told,
            keeping,
            clock,
            last_sequence,
            route: _,
        } = self;
        awaited.save(to);
        confirmed.save(to);
        sent_bytes.save(to);
        waiting.save(to);
        held.save(to);
        here.save(to);
        told.save(to);
        keeping.save(to);
        clock.save(to);
        last_sequence.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            parcels: Vec::new(),
            wants_less: false,
            confirms: false,
            awaited: State::load(from)?,
            confirmed: State::load(from)?,
            sent_bytes: State::load(from)?,
            waiting: State::load(from)?,
            held: State::load(from)?,
            here: State::load(from)?,
            told: State::load(from)?,
            keeping: State::load(from)?,
            clock: State::load(from)?,
            last_sequence: State::load(from)?,
            route: RouteSlot::default(),
        })
    }
}

impl Link {
    fn is_due(&self) -> bool {
        !self.parcels.is_empty() || self.confirms
    }

    const fn on_its_way_bytes(&self) -> u64 {
        self.sent_bytes - self.confirmed.taken_bytes
    }
}

/// All other shards.
pub(crate) struct Peers {
    /// By number; the place of this shard itself stays empty. None at all when it is alone.
    links: Vec<Link>,
    me: usize,
    /// The number that the next letter will have.
    writing: u64,
    /// The number of the last letter with a change of interest.
    interest: u64,
    /// Parcels, and messages in bundles, so far that others have to keep.
    entrusted: u64,
    /// All letters up to this number are kept by whom they were for.
    kept: u64,
    /// What was written from that letter on came back and was sent elsewhere: it is kept when this
    /// gate is open.
    returned: Option<(u64, Gate)>,
    /// Letters of others that are kept when the log has come so far.
    keeping: VecDeque<(Position, PeerId, u64)>,
    /// Groups of which others are to hear how many members can take messages; and the letter that
    /// told them so last.
    regrouped: Vec<(TenantId, SubscriptionRef)>,
    regrouped_letter: u64,
    /// There may be a letter to send.
    is_due: bool,
    window_bytes: u64,
}

impl Peers {
    pub(crate) fn new(config: &Config) -> Self {
        let (identity, limits) = (&config.identity, &config.limits);
        let mut links = Vec::new();
        if identity.shards > 1 {
            links.resize_with(usize::from(identity.shards), Link::default);
        }
        // What may still come for a slow subscriber once its publishers are held: at QoS 0, and in
        // messages that wait. Each further publisher brings one message more.
        let unsent_bytes = limits.unsent_bytes_maximum - limits.unsent_bytes_pause;
        let queue = config.session.queue_messages_maximum;
        let queued_bytes = u64::from(queue - queue / 2 - 1) * COST_BYTES_MINIMUM;
        let others = u64::from(identity.shards.max(2) - 1);
        let window_bytes = u64::from(unsent_bytes).min(queued_bytes) / others;
        Self {
            links,
            me: usize::from(identity.shard),
            writing: 1,
            interest: 0,
            entrusted: 0,
            kept: u64::MAX,
            returned: None,
            keeping: VecDeque::new(),
            regrouped: Vec::new(),
            regrouped_letter: 0,
            is_due: false,
            window_bytes: window_bytes.clamp(WINDOW_BYTES_MINIMUM, WINDOW_BYTES_MAXIMUM),
        }
    }

    /// Whether there are no other shards.
    pub(crate) const fn is_alone(&self) -> bool {
        self.links.is_empty()
    }

    /// Whether everything has been told that is to be told now.
    pub(crate) fn is_told(&self) -> bool {
        !self.links.iter().any(Link::is_due)
    }

    /// The others.
    pub(crate) fn all(&self) -> impl Iterator<Item = PeerId> + use<> {
        let me = self.me;
        (0..self.links.len())
            .filter(move |place| *place != me)
            .map(|place| PeerId(u16::try_from(place).unwrap_or(u16::MAX)))
    }

    fn link(&mut self, peer: PeerId) -> Option<&mut Link> {
        let place = usize::from(peer.0);
        self.links.get_mut(place).filter(|_| place != self.me)
    }

    /// Another number of members of a group can take messages here.
    /// Whether that will be told; not when too much is to be told already.
    pub(crate) fn regroup(&mut self, tenant: TenantId, group: SubscriptionRef) -> bool {
        let has_room = self.regrouped.len() < REGROUPED_MAXIMUM;
        if has_room {
            self.regrouped.push((tenant, group));
        }
        has_room
    }

    /// The next group of which the others are to hear that, once they have heard it of the others.
    pub(crate) fn next_regrouped(&mut self) -> Option<(TenantId, SubscriptionRef)> {
        // More of them may stand in the letter that is being written.
        let told = self.regrouped_letter;
        let may_tell = told == self.writing || told <= self.kept;
        let group = self.regrouped.pop_if(|_| may_tell)?;
        self.regrouped_letter = self.writing;
        Some(group)
    }

    /// Adds something to the next letter. `false` when so much is on its way that whoever sends it
    /// should wait.
    pub(crate) fn tell(&mut self, peer: PeerId, parcel: Parcel) -> bool {
        let (cost_bytes, must_be_kept) = (parcel.cost_bytes(), parcel.must_be_kept());
        let is_interest = matches!(parcel, Parcel::Interest(_));
        let writing = self.writing;
        let Some(link) = self.link(peer) else {
            return true;
        };
        link.wants_less |= matches!(&parcel, Parcel::Interest(interest) if interest.members == 0);
        link.parcels.push(parcel);
        let has_room = self.told(peer, cost_bytes, must_be_kept);
        if is_interest {
            self.interest = writing;
        }
        has_room
    }

    /// The same for a message that goes with others like it.
    pub(crate) fn bundle(&mut self, peer: PeerId, bundled: &Bundled<'_>) -> bool {
        let Some(link) = self.link(peer) else {
            return true;
        };
        if !matches!(link.parcels.last(), Some(Parcel::Bundle(last)) if !last.is_full()) {
            link.parcels.push(Parcel::Bundle(Bundle::default()));
        }
        let Some(Parcel::Bundle(bundle)) = link.parcels.last_mut() else {
            unreachable!("it was there, or was put there");
        };
        let before = bundle.cost_bytes();
        bundle.push(bundled);
        let cost_bytes = bundle.cost_bytes() - before;
        self.told(peer, cost_bytes, bundled.view.qos > QoS::AtMostOnce)
    }

    fn told(&mut self, peer: PeerId, cost_bytes: u64, must_be_kept: bool) -> bool {
        let (writing, window_bytes) = (self.writing, self.window_bytes);
        let Some(link) = self.link(peer) else {
            return true;
        };
        link.sent_bytes += cost_bytes;
        let has_room = link.on_its_way_bytes() < window_bytes;
        if must_be_kept {
            let before = core::mem::replace(&mut link.awaited, writing);
            self.entrusted += 1;
            // Else it is known: whoever changes what it depends on beside `awaited` finds it anew.
            if before != writing {
                self.find_kept();
            }
        }
        self.is_due = true;
        has_room
    }

    /// A publisher goes on when this peer has taken in half of what is on its way.
    pub(crate) fn wait_for(&mut self, peer: PeerId, publisher: Key) {
        if let Some(link) = self.link(peer) {
            link.waiting.push(publisher);
        }
    }

    /// Who need not wait any longer for this peer.
    pub(crate) fn relieved(&mut self, peer: PeerId) -> Vec<Key> {
        let window_bytes = self.window_bytes;
        match self.link(peer) {
            Some(link) if link.on_its_way_bytes() <= window_bytes / 2 => {
                core::mem::take(&mut link.waiting)
            }
            _ => Vec::new(),
        }
    }

    // --- Publishers elsewhere that wait for a subscriber here ---

    /// Whether this one was asked to wait.
    pub(crate) fn is_asked_to_wait(&self, peer: PeerId, publisher: ConnectionId) -> bool {
        let link = self.links.get(usize::from(peer.0));
        link.is_some_and(|link| link.held.contains(&publisher))
    }

    /// Asks a publisher to wait.
    pub(crate) fn ask_to_wait(&mut self, peer: PeerId, publisher: ConnectionId) {
        if let Some(link) = self.link(peer)
            && link.held.insert(publisher)
        {
            self.tell(peer, Parcel::Hold(publisher));
        }
    }

    /// It need not any longer.
    pub(crate) fn let_go(&mut self, peer: PeerId, publisher: ConnectionId) {
        if let Some(link) = self.link(peer)
            && link.held.remove(&publisher)
        {
            self.tell(peer, Parcel::Release(publisher));
        }
    }

    /// A letter goes to this peer even if there is no parcel for it.
    pub(crate) fn owe_letter(&mut self, peer: PeerId) {
        if let Some(link) = self.link(peer) {
            link.confirms = true;
            self.is_due = true;
        }
    }

    /// To whom the next letter goes, its number, and whether it says that something is not wanted
    /// any more; if there is one to send.
    pub(crate) fn next_letter(&mut self) -> Option<(PeerId, u64, bool)> {
        if !self.is_due {
            return None;
        }
        let Some(place) = self.links.iter().position(Link::is_due) else {
            self.is_due = false;
            return None;
        };
        let wants_less = self.links[place].wants_less;
        Some((PeerId(u16::try_from(place).ok()?), self.writing, wants_less))
    }

    /// That letter.
    pub(crate) fn write_letter(
        &mut self,
        peer: PeerId,
        clock: u64,
        narrowed: Narrowed,
    ) -> Option<Letter> {
        let number = self.writing;
        let link = self.link(peer)?;
        link.confirms = false;
        link.wants_less = false;
        link.told = link.here;
        let letter = Letter {
            number,
            clock,
            confirms: link.here,
            narrowed,
            parcels: core::mem::take(&mut link.parcels),
        };
        self.writing += 1;
        Some(letter)
    }

    // --- What this shard waits for ---

    /// What others have to keep so far, in number: to be compared later.
    pub(crate) const fn entrusted(&self) -> u64 {
        self.entrusted
    }

    /// The letter that tells everything so far.
    pub(crate) const fn latest(&self) -> u64 {
        if self.links.is_empty() {
            0
        } else {
            self.writing
        }
    }

    /// The letter that tells the last change of interest.
    pub(crate) const fn latest_interest(&self) -> u64 {
        self.interest
    }

    /// All letters up to this number are kept by whom they were for.
    pub(crate) const fn kept(&self) -> u64 {
        self.kept
    }

    fn find_kept(&mut self) {
        let behind = self
            .links
            .iter()
            .filter(|link| link.confirmed.kept < link.awaited)
            .map(|link| link.confirmed.kept);
        let kept = behind.min().unwrap_or(u64::MAX);
        self.kept = match self.returned {
            Some((first, _)) => kept.min(first - 1),
            None => kept,
        };
    }

    /// A peer says how far it has come.
    pub(crate) fn confirmed(&mut self, peer: PeerId, confirmation: Confirmation) {
        let Some(link) = self.link(peer) else {
            return;
        };
        link.confirmed.kept = link.confirmed.kept.max(confirmation.kept);
        let taken = confirmation.taken_bytes.min(link.sent_bytes);
        link.confirmed.taken_bytes = link.confirmed.taken_bytes.max(taken);
        self.find_kept();
    }

    /// Something came back from a peer and was given to others, or kept here. What it was told is
    /// kept only when `until` is open.
    pub(crate) fn hold_for_returned(&mut self, peer: PeerId, until: Gate) {
        let Some(link) = self.link(peer) else {
            return;
        };
        let first = link.confirmed.kept + 1;
        self.returned = Some(match self.returned {
            Some((earlier, _)) => (earlier.min(first), until),
            None => (first, until),
        });
        self.find_kept();
    }

    /// The log has come so far, or a peer has: what came back may be kept by now.
    pub(crate) fn check_returned(&mut self, durable: Position) {
        let Some((_, until)) = self.returned else {
            return;
        };
        let held = self.returned.take();
        self.find_kept();
        if until.position > durable || until.letter > self.kept {
            self.returned = held;
            self.find_kept();
        }
    }

    // --- What others wait for ---

    /// A letter was taken in. It is kept when the log has come to `position`, or already.
    pub(crate) fn taken(
        &mut self,
        receipt: Receipt,
        position: Option<Position>,
        durable: Position,
    ) {
        let quarter = self.window_bytes / 4;
        let Some(link) = self.link(receipt.from) else {
            return;
        };
        link.here.taken_bytes += receipt.bytes;
        let behind = Some(link.keeping).filter(|position| *position > durable);
        match position.filter(|position| *position > durable).max(behind) {
            Some(position) => {
                link.keeping = position;
                let last = self.keeping.back().map_or(position, |(last, ..)| *last);
                let position = position.max(last);
                self.keeping
                    .push_back((position, receipt.from, receipt.number));
            }
            None => {
                link.here.kept = receipt.number;
                link.confirms |= receipt.is_awaited;
            }
        }
        let Some(link) = self.link(receipt.from) else {
            return;
        };
        link.confirms |= link.here.taken_bytes - link.told.taken_bytes >= quarter;
        self.is_due = true;
    }

    /// The log has come so far.
    pub(crate) fn persisted(&mut self, durable: Position) {
        while let Some((position, peer, number)) = self.keeping.front().copied()
            && position <= durable
        {
            self.keeping.pop_front();
            if let Some(link) = self.link(peer) {
                link.here.kept = number;
                link.confirms = true;
                self.is_due = true;
            }
        }
    }

    // --- Clocks ---

    /// A peer has taken in messages up to this one.
    pub(crate) fn saw(&mut self, peer: PeerId, id: MessageId) {
        if let Some(link) = self.link(peer) {
            link.last_sequence = link.last_sequence.max(id.sequence);
        }
    }

    /// The route of the last message of a peer.
    pub(crate) fn route(&self, peer: PeerId) -> RouteSlot {
        let link = self.links.get(usize::from(peer.0));
        link.map_or_else(RouteSlot::default, |link| link.route)
    }

    /// The last message of a peer went by this route.
    pub(crate) fn went_by(&mut self, peer: PeerId, route: RouteSlot) {
        if let Some(link) = self.link(peer) {
            link.route = route;
        }
    }

    /// The sequences of the last messages that came from each shard.
    pub(crate) fn last_sequences(&self) -> impl Iterator<Item = u64> {
        self.links.iter().map(|link| link.last_sequence)
    }

    /// Everything that a peer takes in from now on has a greater sequence than this.
    pub(crate) fn set_clock(&mut self, peer: PeerId, clock: u64) {
        if let Some(link) = self.link(peer) {
            link.clock = link.clock.max(clock);
        }
    }

    /// The least of the clocks: whatever comes now is later.
    pub(crate) fn clock(&self) -> u64 {
        let me = self.me;
        let others = self.links.iter().zip(0..).filter(|(_, place)| *place != me);
        others.map(|(link, _)| link.clock).min().unwrap_or(u64::MAX)
    }

    /// Everybody should hear the clock of this shard.
    pub(crate) fn tell_clock(&mut self) {
        let me = self.me;
        for (link, place) in self.links.iter_mut().zip(0..) {
            link.confirms |= place != me;
        }
        self.is_due = true;
    }
}

/// A letter that was taken in, as far as its writer has to hear of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    pub(crate) from: PeerId,
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    /// Its writer waits until it is kept.
    pub(crate) is_awaited: bool,
}
