//! The connections of a shard: those that are open, and those that are closed and not done.

use crate::socket::{Lingering, Socket};
use std::collections::VecDeque;
use whimbrel_core::{ConnectionId, Timestamp};

/// The open connections, by slot.
pub(super) struct Sockets<T> {
    slots: Vec<Option<Socket<T>>>,
    /// Connections that the core has let go of and whose slot it has given away, before their
    /// `Close` came to be carried out.
    displaced: Vec<Socket<T>>,
    count: usize,
}

impl<T> Default for Sockets<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            displaced: Vec::new(),
            count: 0,
        }
    }
}

impl<T> Sockets<T> {
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Socket<T>> {
        self.slots.iter_mut().flatten()
    }

    pub(super) fn in_slot(&mut self, slot: u32) -> Option<&mut Socket<T>> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Socket<T>> {
        let socket = self.slots.get_mut(id.index())?.as_mut()?;
        (socket.id == id).then_some(socket)
    }

    pub(super) fn insert(&mut self, socket: Socket<T>) {
        let index = socket.id.index();
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        self.count += 1;
        self.displaced.extend(self.slots[index].replace(socket));
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Socket<T>> {
        let slot = self.slots.get_mut(id.index())?;
        let socket = if slot.as_ref().is_some_and(|socket| socket.id == id) {
            slot.take()?
        } else {
            let at = self.displaced.iter().position(|socket| socket.id == id)?;
            self.displaced.swap_remove(at)
        };
        self.count -= 1;
        Some(socket)
    }
}

/// Those that are closed, by number. All may take equally long, so the first is due first.
pub(super) struct Lingerers<T> {
    places: VecDeque<Option<(Timestamp, Lingering<T>)>>,
    /// The number of the first of them.
    first: u32,
    count: usize,
    /// What was left to be written to them when they were closed.
    bytes: usize,
}

impl<T> Default for Lingerers<T> {
    fn default() -> Self {
        Self {
            places: VecDeque::new(),
            first: 0,
            count: 0,
            bytes: 0,
        }
    }
}

impl<T> Lingerers<T> {
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// What was left to be written to them when they were closed.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// When the first is cut, or its place is given up.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.places.iter().flatten().map(|(until, _)| *until).next()
    }

    /// Gives one a number.
    pub(super) fn add(&mut self, until: Timestamp, lingering: Lingering<T>) -> u32 {
        let behind = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.count += 1;
        self.bytes += lingering.left_bytes;
        self.places.push_back(Some((until, lingering)));
        self.first.wrapping_add(behind) & NUMBERS
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Lingering<T>> {
        let index = number.wrapping_sub(self.first) & NUMBERS;
        let place = self.places.get_mut(index as usize)?.as_mut();
        place.map(|(_, lingering)| lingering)
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<Lingering<T>> {
        let index = number.wrapping_sub(self.first) & NUMBERS;
        let place = self.places.get_mut(index as usize)?.take();
        self.uncount(place.as_ref());
        while let Some(None) = self.places.front() {
            self.pop();
        }
        place.map(|(_, lingering)| lingering)
    }

    /// The next that had all the time there is.
    pub(super) fn pop_late(&mut self, now: Timestamp) -> Option<(u32, Lingering<T>)> {
        let is_late =
            |place: &Option<(Timestamp, _)>| place.as_ref().is_none_or(|(until, _)| *until <= now);
        while self.places.front().is_some_and(is_late) {
            let number = self.first;
            if let Some((_, lingering)) = self.pop() {
                return Some((number, lingering));
            }
        }
        None
    }

    fn pop(&mut self) -> Option<(Timestamp, Lingering<T>)> {
        self.first = self.first.wrapping_add(1) & NUMBERS;
        let place = self.places.pop_front().flatten();
        self.uncount(place.as_ref());
        place
    }

    fn uncount(&mut self, place: Option<&(Timestamp, Lingering<T>)>) {
        if let Some((_, lingering)) = place {
            self.count -= 1;
            self.bytes -= lingering.left_bytes;
        }
    }
}

/// Numbers are this wide, so that a runtime may put them into a key with two bits to spare.
const NUMBERS: u32 = u32::MAX >> 2;
