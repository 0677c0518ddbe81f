//! An allocator that counts, for each thread on its own, so that tests beside each other do not
//! disturb.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What one thread has asked of the allocator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that may have fetched memory: new allocations, and those that were made larger or
    /// smaller.
    pub allocations: u64,
    /// Bytes held, with what a common allocator adds to each allocation.
    pub live_bytes: i64,
}

thread_local! {
    static COUNTS: Cell<Counts> = const {
        Cell::new(Counts { allocations: 0, live_bytes: 0 })
    };
}

/// The counts of this thread so far.
#[must_use]
pub fn counts() -> Counts {
    COUNTS.get()
}

/// The system's allocator, with a tally. To be declared as `#[global_allocator]`.
#[derive(Debug)]
pub struct Counting;

/// What an allocation takes: a header of eight bytes, rounded up to 16 and to 32 at least, as glibc
/// and many others do it.
const fn taken(size: usize) -> i64 {
    let rounded = (size + 8).next_multiple_of(16);
    (if rounded < 32 { 32 } else { rounded }) as i64
}

fn tally(allocations: u64, bytes: i64) {
    // A thread that is ending has no counts any more, and nobody who would ask for them.
    let _ = COUNTS.try_with(|counts| {
        let mut now = counts.get();
        now.allocations += allocations;
        now.live_bytes += bytes;
        counts.set(now);
    });
}

// SAFETY: every call is passed on unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        tally(1, taken(layout.size()));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        tally(1, taken(layout.size()));
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        tally(0, -taken(layout.size()));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        tally(1, taken(size) - taken(layout.size()));
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
