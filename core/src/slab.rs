//! A table whose slots are reused, and whose keys tell a reused slot from the one they were made
//! for.

use crate::state::{Reader, State, Writer};
use alloc::vec::Vec;

/// Where a value sits, and which tenant of that slot it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values in slots. The slot freed last is handed out first: the same calls always give the same
/// keys.
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T: State> State for Slot<T> {
    fn save(&self, to: &mut Writer<'_>) {
        let Self { generation, value } = self;
        generation.save(to);
        value.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            generation: State::load(from)?,
            value: State::load(from)?,
        })
    }
}

impl<T: State> State for Slab<T> {
    fn save(&self, to: &mut Writer<'_>) {
        let Self { slots, free } = self;
        slots.save(to);
        free.save(to);
    }

    fn load(from: &mut Reader<'_>) -> Option<Self> {
        let slab = Self {
            slots: State::load(from)?,
            free: State::load(from)?,
        };
        slab.is_whole().then_some(slab)
    }
}

impl<T> Slab<T> {
    /// Whether what is free is just what has no value, each slot once.
    fn is_whole(&self) -> bool {
        let mut is_free: Vec<bool> = self.slots.iter().map(|slot| slot.value.is_none()).collect();
        let take = |index: &u32| {
            let place = is_free.get_mut(*index as usize);
            place.is_some_and(core::mem::take)
        };
        self.free.iter().all(take) && !is_free.contains(&true)
    }

    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Puts a value, made from its key, into a free slot.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.generation = slot.generation.wrapping_add(1);
            let key = Key {
                index,
                generation: slot.generation,
            };
            slot.value = Some(make(key));
            return key;
        }
        let index = u32::try_from(self.slots.len()).expect("limits keep tables below 2^32 slots");
        let key = Key {
            index,
            generation: 0,
        };
        self.slots.push(Slot {
            generation: 0,
            value: Some(make(key)),
        });
        key
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.generation == key.generation {
            slot.value.as_ref()
        } else {
            None
        }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation {
            slot.value.as_mut()
        } else {
            None
        }
    }

    /// All of them, in slot order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    /// Whoever sits in this slot now.
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize)?.value.as_mut()
    }

    /// Whoever sits in this slot now.
    pub(crate) fn at(&self, index: u32) -> Option<&T> {
        self.slots.get(index as usize)?.value.as_ref()
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        self.free.push(key.index);
        Some(value)
    }

    /// The first key at or after `index`, in slot order.
    pub(crate) fn key_from(&self, index: u32) -> Option<Key> {
        let rest = self.slots.get(index as usize..)?;
        let offset = rest.iter().position(|slot| slot.value.is_some())?;
        let slot = &rest[offset];
        Some(Key {
            index: index + u32::try_from(offset).ok()?,
            generation: slot.generation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_reach_the_next_tenant_of_its_slot() {
        let mut slab = Slab::new();
        let first = slab.insert_with(|_| 'a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert_with(|_| 'b');
        assert_eq!(first.index, second.index);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&'b'));
        assert_eq!(slab.len(), 1);
        assert_eq!(slab.key_from(0), Some(second));
    }

    #[test]
    fn a_state_whose_free_slots_are_not_free_is_none() {
        let slot = |value| Slot {
            generation: 0,
            value,
        };
        let loads = |values: [Option<u8>; 3], free: &[u32]| {
            let slab = Slab {
                slots: values.map(slot).into(),
                free: free.to_vec(),
            };
            let mut bytes = Vec::new();
            slab.save(&mut Writer::new(&mut bytes, false));
            Slab::<u8>::load(&mut Reader::new(&bytes)).is_some()
        };
        assert!(loads([None, Some(1), None], &[2, 0]));
        assert!(loads([Some(0), Some(1), Some(2)], &[]));
        for free in [
            &[][..],
            &[0],
            &[0, 0],
            &[0, 1],
            &[0, 3],
            &[0, 2, 2],
            &[0, 2, u32::MAX],
        ] {
            assert!(!loads([None, Some(1), None], free), "{free:?}");
        }
    }
}
