//! How much memory a piece of code asks for at most, for bounds that a law can state.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, which also counts what each thread holds. A binary that wants bounds checked makes it its
/// global allocator; elsewhere nothing is counted and every bound holds.
pub struct Counting;

fn note(change: isize) {
    // A thread that is ending has no counters any more, and nothing is checked there.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

fn size(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

// SAFETY: everything is done by the system's allocator; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(size(layout.size()));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(size(layout.size()));
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note(-size(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // While it moves there are two of it.
        note(size(new_size));
        note(-size(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, new_size) }
    }
}

/// Runs `work` and tells how many bytes this thread held at most beyond what it held before.
pub fn used_by<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let done = work();
    (done, usize::try_from(MOST.get() - before).unwrap_or(0))
}

/// Runs a parser of `length` bytes, which may hold so many times as many bytes at most, and 256 KiB for its buffers.
///
/// # Panics
/// If it held more.
#[track_caller]
pub(super) fn bounded<T>(length: usize, times: usize, work: impl FnOnce() -> T) -> T {
    let (done, used) = used_by(work);
    let allowed = length * times + (256 << 10);
    assert!(used <= allowed, "{length} bytes took {used} bytes of memory; {allowed} are allowed");
    done
}
