//! Outgoing QoS 1 and 2 messages that wait for their acknowledgement: packet identifier → stage.
//!
//! ```text
//!              QoS 1:  Published ──PUBACK──▶ gone
//!              QoS 2:  Published ──PUBREC──▶ Released ──PUBCOMP──▶ gone
//!                          └─ PUBREC with an error code ─▶ gone
//! ```
//!
//! Identifiers are given out in order, so that the exchanges lie in a ring in the order in which
//! they began, which is the order in which they are resent; an identifier's place in the ring is a
//! subtraction. Identifiers that completed out of order leave a gap until everything before them
//! has completed. When the ring is mostly gaps, the exchanges before them become stragglers and
//! leave it: a message that is never acknowledged costs no more than itself, and its identifier is
//! passed over when it would be its turn again.

use crate::codec::packet::QoS;
use crate::id::PacketId;
use crate::message::Message;
use crate::session::queue::Delivery;
use crate::time::Timestamp;
use alloc::collections::VecDeque;

/// How far an exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// PUBLISH was sent; PUBACK or PUBREC is awaited.
    Published,
    /// PUBREL was sent; PUBCOMP is awaited. The message itself is no longer needed.
    Released,
}

/// One exchange.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) stage: Stage,
    /// The delivery; its message stays until `Released`.
    pub(crate) delivery: Delivery,
    /// When it was last sent, for the optional retransmission to 3.x clients.
    pub(crate) sent_at: Timestamp,
    /// How often it was resent on this connection.
    pub(crate) resent: u8,
    /// It was sent on an earlier connection: to be marked as a possible duplicate.
    pub(crate) was_sent: bool,
    /// It was sent on this connection, and counts in the window when it was a PUBLISH.
    pub(crate) sent: bool,
    /// It counts in the window of this connection.
    pub(crate) counted: bool,
}

impl Exchange {
    /// The message is not needed any more, the packet identifier is until PUBCOMP. Gives the
    /// message, and how many bytes less this costs. [MQTT-4.3.3-6]
    pub(crate) fn release(&mut self, nothing: Message) -> (Message, usize) {
        self.stage = Stage::Released;
        let before = self.delivery.cost_bytes();
        let message = core::mem::replace(&mut self.delivery.message, nothing);
        (message, before - self.delivery.cost_bytes())
    }
}

/// What is left of an exchange that is over.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) delivery: Delivery,
    /// What it has cost, in bytes.
    pub(crate) cost: usize,
}

/// Why nobody waits for an acknowledgement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotAwaited {
    /// No such exchange.
    Unknown,
    /// The exchange under that identifier is of another kind, or at another stage.
    Otherwise,
}

/// Gaps that a ring may have at least, before it gives its oldest exchanges away.
const GAPS_MINIMUM: usize = 64;

/// All exchanges of a session.
#[derive(Debug, Default)]
pub(crate) struct Inflight {
    /// Those that began before the ring does, in the order in which they began.
    stragglers: VecDeque<(PacketId, Exchange)>,
    ring: VecDeque<Option<Exchange>>,
    /// The identifier of the first place in the ring.
    first: Option<PacketId>,
    /// The last identifier given out.
    last: Option<PacketId>,
    /// Open exchanges.
    len: usize,
    /// What their deliveries cost together.
    bytes: usize,
    /// How long the ring was at most since it was last tightened.
    peak: usize,
}

crate::state::state!(Inflight {
    stragglers,
    ring,
    first,
    last,
    len,
    bytes,
    peak
});

impl Inflight {
    /// Whether there is an identifier left. There are 65,535.
    pub(crate) fn has_identifier(&self) -> bool {
        self.stragglers.len() + self.ring.len() < usize::from(u16::MAX)
    }

    /// How many are open.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Whether one more may begin: the client counts messages, the broker bytes as well, so that a
    /// window that is wide enough for small messages does not hold thousands of large ones. One
    /// message is always possible.
    pub(crate) fn has_room(&self, bytes_maximum: u32) -> bool {
        self.has_identifier() && (self.len == 0 || self.bytes < bytes_maximum as usize)
    }

    /// The message of an exchange is not needed any more, and has given so much.
    pub(crate) const fn freed(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    /// The identifier that `begin` will use. [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1]
    pub(crate) fn next_identifier(&self) -> PacketId {
        let mut next = self.following();
        if self.stragglers.is_empty() {
            return next;
        }
        while self.straggler(next).is_some() {
            next = next.next();
        }
        next
    }

    /// The identifier after the last one, free or not.
    fn following(&self) -> PacketId {
        self.last.map_or(PacketId::FIRST, PacketId::next)
    }

    /// How many exchanges the ring has given away.
    pub(crate) fn straggler_count(&self) -> usize {
        self.stragglers.len()
    }

    /// Where among the stragglers an exchange is.
    fn straggler(&self, id: PacketId) -> Option<usize> {
        self.stragglers.iter().position(|(known, _)| *known == id)
    }

    /// Begins an exchange under the [next identifier](Self::next_identifier), and says what it
    /// costs, in bytes. The caller has asked `has_identifier`.
    #[inline(always)] // So that it is put together in its place; to be moved there costs more.
    pub(crate) fn begin(&mut self, id: PacketId, delivery: Delivery, now: Timestamp) -> usize {
        debug_assert!(self.has_identifier() && id == self.next_identifier());
        let exchange = Exchange {
            stage: Stage::Published,
            delivery,
            sent_at: now,
            resent: 0,
            was_sent: false,
            sent: true,
            counted: true,
        };
        self.append(id, exchange)
    }

    /// Appends an exchange, behind gaps for the identifiers that were passed over.
    #[inline(always)] // As `begin`.
    fn append(&mut self, id: PacketId, exchange: Exchange) -> usize {
        if self.ring.is_empty() {
            self.first = Some(id);
        } else if self.following() != id {
            self.pass_over(id);
        }
        let cost = exchange.delivery.cost_bytes();
        self.bytes += cost;
        self.last = Some(id);
        self.len += 1;
        // The place first: pushed as it is, the exchange would be built elsewhere and copied.
        self.ring.push_back(None);
        *self.ring.back_mut().expect("it was put there") = Some(exchange);
        cost
    }

    #[cold]
    fn pass_over(&mut self, id: PacketId) {
        while self.following() != id {
            self.ring.push_back(None);
            self.last = Some(self.following());
        }
    }

    /// Puts back an exchange that was open when the broker stopped, in the order in which they
    /// began.
    pub(crate) fn restore(&mut self, id: PacketId, stage: Stage, delivery: Delivery) {
        if !self.has_identifier() {
            return;
        }
        // Identifiers in between completed before the stop.
        let gaps = self.last.map_or(0, |last| distance(last, id));
        if gaps > GAPS_MINIMUM {
            self.leave_behind(0);
        }
        let exchange = Exchange {
            stage,
            delivery,
            sent_at: Timestamp(0),
            resent: 0,
            was_sent: true,
            sent: false,
            counted: false,
        };
        self.append(id, exchange);
        self.limit_gaps();
    }

    /// Makes stragglers of the oldest until the ring is no longer than this.
    fn leave_behind(&mut self, ring_maximum: usize) {
        self.peak = self.peak.max(self.ring.len());
        while self.ring.len() > ring_maximum
            && let Some(oldest) = self.ring.pop_front()
        {
            if let Some((id, exchange)) = self.first.zip(oldest) {
                self.stragglers.push_back((id, exchange));
            }
            self.first = self.first.map(PacketId::next);
        }
        if self.ring.is_empty() {
            self.first = None;
        }
    }

    fn place(&self, id: PacketId) -> Option<usize> {
        let place = distance(self.first?, id);
        (place < self.ring.len()).then_some(place)
    }

    fn get(&self, id: PacketId) -> Option<&Exchange> {
        if let Some(place) = self.place(id)
            && let Some(exchange) = &self.ring[place]
        {
            return Some(exchange);
        }
        let place = self.straggler(id)?;
        Some(&self.stragglers[place].1)
    }

    pub(crate) fn get_mut(&mut self, id: PacketId) -> Option<&mut Exchange> {
        if let Some(place) = self.place(id)
            && self.ring[place].is_some()
        {
            return self.ring[place].as_mut();
        }
        let place = self.straggler(id)?;
        Some(&mut self.stragglers[place].1)
    }

    /// The exchange that an acknowledgement is for: it has to be of this QoS, and at this stage.
    #[inline]
    pub(crate) fn awaiting(
        &self,
        id: PacketId,
        qos: QoS,
        stage: Stage,
    ) -> Result<&Exchange, NotAwaited> {
        match self.get(id) {
            Some(it) if it.stage == stage && it.delivery.qos() == qos => Ok(it),
            Some(_) => Err(NotAwaited::Otherwise),
            None => Err(NotAwaited::Unknown),
        }
    }

    /// Ends the exchange, and takes its delivery out.
    #[inline(always)] // So that it is taken apart where it lies.
    pub(crate) fn end(&mut self, id: PacketId) -> Option<Ended> {
        let place = self.place(id).map(|place| &mut self.ring[place]);
        let Some(Exchange { delivery, .. }) = place.and_then(Option::take) else {
            return self.end_straggler(id);
        };
        let cost = delivery.cost_bytes();
        self.close(cost);
        Some(Ended { delivery, cost })
    }

    #[cold]
    fn end_straggler(&mut self, id: PacketId) -> Option<Ended> {
        let place = self.straggler(id)?;
        let (_, Exchange { delivery, .. }) = self.stragglers.remove(place)?;
        // They are rare: their room is not kept for the next ones.
        let needed = 2 * self.stragglers.len();
        if needed == 0 || self.stragglers.capacity() > 2 * needed + GAPS_MINIMUM {
            let mut fewer = VecDeque::with_capacity(needed);
            fewer.append(&mut self.stragglers);
            self.stragglers = fewer;
        }
        let cost = delivery.cost_bytes();
        self.close(cost);
        Some(Ended { delivery, cost })
    }

    /// An exchange is over that has cost so much: the ring needs no place for it, nor for the gaps
    /// that are in front now.
    fn close(&mut self, cost: usize) {
        self.len -= 1;
        self.bytes -= cost;
        self.peak = self.peak.max(self.ring.len());
        while let Some(None) = self.ring.front() {
            let gap = self.ring.pop_front();
            debug_assert!(matches!(gap, Some(None)), "it was looked at");
            core::mem::forget(gap); // Else it would be moved, to see whether it is to be dropped.
            self.first = self.first.map(PacketId::next);
        }
        if self.ring.is_empty() {
            self.first = None;
        }
        self.limit_gaps();
    }

    /// When the ring is mostly gaps, its oldest leave it.
    fn limit_gaps(&mut self) {
        let in_ring = self.len - self.stragglers.len();
        if self.ring.len() > 4 * in_ring + GAPS_MINIMUM {
            self.leave_behind(2 * in_ring + GAPS_MINIMUM / 2);
        }
    }

    /// Whether the ring may have much more room than it needs. A client that acknowledges in bursts
    /// needs it again at once, so it is [tightened](Self::tighten) a while later.
    #[inline]
    pub(crate) fn is_roomy(&self) -> bool {
        self.peak > 4 * self.ring.len() + 4 * GAPS_MINIMUM
    }

    /// For how many exchanges the ring has room, at most: it grows by doubling.
    pub(crate) const fn room(&self) -> usize {
        let longest = u16::MAX as usize;
        (if self.peak < longest {
            self.peak
        } else {
            longest
        })
        .next_power_of_two()
    }

    /// Gives back what room the ring has too much.
    pub(crate) fn tighten(&mut self) {
        if self.is_roomy() {
            let kept = match self.ring.len() {
                0 => 0,
                // What it would come to if it had grown.
                length => (2 * length).next_power_of_two(),
            };
            self.ring.shrink_to(kept);
            self.peak = kept;
        }
    }

    /// The open exchanges, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PacketId, &Exchange)> {
        let mut next = self.first;
        let ring = self.ring.iter().filter_map(move |place| {
            let id = next?;
            next = Some(id.next());
            place.as_ref().map(|exchange| (id, exchange))
        });
        let stragglers = self.stragglers.iter().map(|(id, exchange)| (*id, exchange));
        stragglers.chain(ring)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Exchange> {
        let stragglers = self.stragglers.iter_mut().map(|(_, exchange)| exchange);
        stragglers.chain(self.ring.iter_mut().flatten())
    }

    /// A new connection: nothing was sent on it yet. Gives how many exchanges are open.
    pub(crate) fn restart(&mut self) -> usize {
        for exchange in self.iter_mut() {
            exchange.was_sent = true;
            exchange.sent = false;
            exchange.counted = false;
            exchange.resent = 0;
        }
        self.len
    }

    /// The first open exchange at or after place `from`, and its place.
    pub(crate) fn at_or_after(&mut self, from: usize) -> Option<(usize, PacketId, &mut Exchange)> {
        let stragglers = self.stragglers.len();
        if let Some((id, exchange)) = self.stragglers.get_mut(from) {
            return Some((from, *id, exchange));
        }
        let from = from - stragglers;
        let first = self.first?;
        let place = (from..self.ring.len()).find(|place| self.ring[*place].is_some())?;
        let steps = u32::try_from(place).ok()?;
        let id = (u32::from(first.get()) - 1 + steps) % u32::from(u16::MAX) + 1;
        let id = PacketId::new(u16::try_from(id).ok()?)?;
        self.ring[place]
            .as_mut()
            .map(|exchange| (stragglers + place, id, exchange))
    }

    /// Takes everything out, oldest first.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Exchange> {
        let all = core::mem::take(self);
        let stragglers = all.stragglers.into_iter().map(|(_, exchange)| exchange);
        stragglers.chain(all.ring.into_iter().flatten())
    }
}

/// How many identifiers on from one another is. There are 65,535, without zero.
const fn distance(from: PacketId, to: PacketId) -> usize {
    let (from, to) = (from.get(), to.get());
    let steps = if to >= from {
        to - from
    } else {
        u16::MAX - from + to
    };
    steps as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::session::queue::Delivery;
    use alloc::vec;
    use alloc::vec::Vec;

    fn delivery() -> Delivery {
        Delivery::restored(Message::nothing(), 0, 0, Default::default())
    }

    fn begin(inflight: &mut Inflight) -> PacketId {
        let id = inflight.next_identifier();
        inflight.begin(id, delivery(), Timestamp(0));
        id
    }

    fn ids(inflight: &Inflight) -> Vec<u16> {
        inflight.iter().map(|(id, _)| id.get()).collect()
    }

    #[test]
    fn one_that_is_never_acknowledged_holds_nobody_up() {
        let mut inflight = Inflight::default();
        let first = begin(&mut inflight);
        for _ in 0..3 * u32::from(u16::MAX) {
            assert!(inflight.has_identifier());
            let id = begin(&mut inflight);
            assert_ne!(id, first, "it is in use");
            assert!(inflight.end(id).is_some());
            assert!(inflight.ring.capacity() < 8 * GAPS_MINIMUM + GAPS_MINIMUM);
            assert!(!inflight.is_roomy());
        }
        assert_eq!(ids(&inflight), [1]);
        assert!(inflight.end(first).is_some());
        assert_eq!(inflight.len(), 0);
        assert_eq!(inflight.bytes, 0);
        assert_eq!(inflight.stragglers.capacity(), 0);
    }

    #[test]
    fn what_was_restored_with_gaps_takes_no_room_for_them() {
        let mut inflight = Inflight::default();
        let all: Vec<u16> = (0..1_000).map(|place| 61 * place + 1).collect();
        for id in &all {
            let id = PacketId::new(*id).expect("it is not 0");
            inflight.restore(id, Stage::Published, delivery());
        }
        assert_eq!(ids(&inflight), all);
        inflight.tighten();
        assert!(
            inflight.ring.capacity() < 4 * GAPS_MINIMUM,
            "{}",
            inflight.ring.capacity()
        );
        // One is left of many.
        for id in &all[1..] {
            let id = PacketId::new(*id).expect("it is not 0");
            assert!(inflight.end(id).is_some());
        }
        assert_eq!(ids(&inflight), [1]);
        let room = inflight.ring.capacity() + inflight.stragglers.capacity();
        assert!(room < 8 * GAPS_MINIMUM, "{room}");
    }

    #[test]
    fn what_a_burst_needs_is_kept_until_it_is_tightened() {
        let mut inflight = Inflight::default();
        let mut room = 0;
        for _ in 0..3 {
            let ids: Vec<PacketId> = (0..5_000).map(|_| begin(&mut inflight)).collect();
            assert!(!inflight.is_roomy());
            assert!(room == 0 || room == inflight.ring.capacity());
            room = inflight.ring.capacity();
            // Nothing that is needed goes.
            inflight.tighten();
            assert_eq!(inflight.ring.capacity(), room);
            for id in ids {
                assert!(inflight.end(id).is_some());
            }
            assert!(inflight.is_roomy());
            assert_eq!(inflight.ring.capacity(), room);
        }
        inflight.tighten();
        assert!(!inflight.is_roomy());
        assert_eq!(inflight.ring.capacity(), 0);
        // What is still open keeps its room, and that is known.
        let ids: Vec<PacketId> = (0..5_000).map(|_| begin(&mut inflight)).collect();
        for id in &ids[..4_000] {
            assert!(inflight.end(*id).is_some());
        }
        inflight.tighten();
        assert!(!inflight.is_roomy());
        assert_eq!(inflight.ring.capacity(), 2_048);
        assert_eq!(inflight.room(), 2_048);
    }

    #[test]
    fn a_ring_that_gave_its_exchanges_away_is_roomy() {
        let mut inflight = Inflight::default();
        let id = |number| PacketId::new(number).expect("it is not 0");
        for number in 1..=5_000 {
            inflight.restore(id(number), Stage::Published, delivery());
        }
        inflight.restore(id(6_000), Stage::Published, delivery());
        assert_eq!(inflight.straggler_count(), 5_000);
        assert!(inflight.is_roomy());
        inflight.tighten();
        assert!(inflight.ring.capacity() < 8);
    }

    #[test]
    fn stragglers_come_first_and_can_be_found() {
        let mut inflight = Inflight::default();
        let all: Vec<_> = (0..400).map(|_| begin(&mut inflight)).collect();
        for id in &all[3..390] {
            assert!(inflight.end(*id).is_some());
        }
        assert_eq!(inflight.stragglers.len(), 3);
        let expected: Vec<u16> = (1..=3).chain(391..=400).collect();
        assert_eq!(ids(&inflight), expected);
        let mut place = 0;
        let mut found = Vec::new();
        while let Some((at, id, _)) = inflight.at_or_after(place) {
            place = at + 1;
            found.push(id.get());
        }
        assert_eq!(found, expected);
        assert!(inflight.get_mut(all[1]).is_some());
        assert!(inflight.get_mut(all[10]).is_none());
        assert_eq!(inflight.end(all[10]).map(drop), None);
        assert_eq!(inflight.drain().count(), 13);
    }

    #[test]
    fn what_is_restored_may_be_far_apart() {
        let mut inflight = Inflight::default();
        let far = [60_000, 60_001, 5, 900, 59_999];
        for id in far {
            let id = PacketId::new(id).expect("it is not zero");
            inflight.restore(id, Stage::Published, delivery());
        }
        assert_eq!(ids(&inflight), far);
        assert_eq!(
            inflight.next_identifier().get(),
            60_002,
            "60,000 and 60,001 are in use"
        );
    }

    #[test]
    fn gaps_in_the_ring_are_nobodys() {
        let id = |id| PacketId::new(id).expect("it is not zero");
        let mut inflight = Inflight::default();
        // Across the end of the range: 65,531, 65,532, 65,534 to 1 are gaps.
        for open in [65_530, 65_533, 2] {
            inflight.restore(id(open), Stage::Published, delivery());
        }
        assert_eq!(
            (ids(&inflight), inflight.ring.len()),
            (vec![65_530, 65_533, 2], 8)
        );
        let qos = delivery().qos();
        for gap in [65_531, 65_535, 1, 3, 65_529] {
            assert!(inflight.get_mut(id(gap)).is_none());
            let answer = inflight.awaiting(id(gap), qos, Stage::Published);
            assert_eq!(answer.map(drop), Err(NotAwaited::Unknown));
            assert!(inflight.end(id(gap)).is_none());
        }
        assert!(inflight.end(id(65_533)).is_some());
        assert_eq!(inflight.ring.len(), 8, "the oldest is open");
        assert!(inflight.end(id(65_530)).is_some());
        assert_eq!((inflight.first, inflight.ring.len()), (Some(id(2)), 1));
        assert_eq!(begin(&mut inflight), id(3));
        assert_eq!(ids(&inflight), [2, 3]);
        assert_eq!(inflight.bytes, 2 * delivery().cost_bytes());
    }

    #[test]
    fn an_identifier_in_use_is_passed_over_and_answers_have_to_fit() {
        let mut inflight = Inflight::default();
        let first = begin(&mut inflight);
        let all: Vec<_> = (0..400).map(|_| begin(&mut inflight)).collect();
        for id in &all[..390] {
            assert!(inflight.end(*id).is_some());
        }
        assert_eq!(inflight.stragglers.len(), 1);
        // Round to where its turn would be.
        let ring = inflight.ring.len();
        assert!(ring > 1);
        while inflight.following() != first {
            let id = begin(&mut inflight);
            assert!(inflight.end(id).is_some());
        }
        let next = begin(&mut inflight);
        assert_eq!(next.get(), 2, "the first one is in use");
        assert!(inflight.get_mut(next).is_some());
        let qos = delivery().qos();
        for id in [first, next] {
            let wrong = inflight.awaiting(id, qos, Stage::Released);
            assert_eq!(wrong.map(drop), Err(NotAwaited::Otherwise));
            let wrong = inflight.awaiting(id, QoS::ExactlyOnce, Stage::Published);
            assert_eq!(wrong.map(drop), Err(NotAwaited::Otherwise));
            assert!(inflight.awaiting(id, qos, Stage::Published).is_ok());
            assert!(inflight.end(id).is_some());
            let gone = inflight.awaiting(id, qos, Stage::Published);
            assert_eq!(gone.map(drop), Err(NotAwaited::Unknown));
        }
    }
}
