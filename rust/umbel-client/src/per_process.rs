//! State that belongs to the process that made it.
//!
//! After `fork` the child has a copy of its parent's memory but none of its threads, and shares its sockets: locks
//! may be held by nobody, and closing a connection would say goodbye in the parent's name. So the child abandons
//! the copy, unread and undropped, and makes its own. The few kilobytes that leak are freed with the process.

use std::sync::atomic::{AtomicPtr, Ordering};

struct Slot<T> {
    process: u32,
    value: T,
}

/// A `T` made at first use, and once more in every forked child that uses it.
pub struct PerProcess<T, E> {
    slot: AtomicPtr<Slot<T>>,
    make: Box<dyn Fn() -> Result<T, E> + Send + Sync>,
    _owns: std::marker::PhantomData<Slot<T>>,
}

impl<T: Send + Sync, E> PerProcess<T, E> {
    /// Nothing is made yet; `make` runs at first use in each process.
    pub fn new(make: impl Fn() -> Result<T, E> + Send + Sync + 'static) -> Self {
        let slot = AtomicPtr::new(std::ptr::null_mut());
        Self { slot, make: Box::new(make), _owns: std::marker::PhantomData }
    }

    /// This process's value. No lock: one held at the time of a fork would never be released.
    ///
    /// # Errors
    /// Whatever `make` says.
    pub fn get(&self) -> Result<&T, E> {
        let seen = self.slot.load(Ordering::Acquire);
        // SAFETY: a slot that was published is freed only with `self`.
        match unsafe { seen.as_ref() } {
            Some(slot) if slot.process == std::process::id() => Ok(&slot.value),
            _ => self.replace(seen),
        }
    }

    /// This process's value if it was made.
    pub fn made(&self) -> Option<&T> {
        // SAFETY: as in `get`.
        let slot = unsafe { self.slot.load(Ordering::Acquire).as_ref() }?;
        (slot.process == std::process::id()).then_some(&slot.value)
    }

    #[cold]
    fn replace(&self, seen: *mut Slot<T>) -> Result<&T, E> {
        let made = Box::into_raw(Box::new(Slot { process: std::process::id(), value: (self.make)()? }));
        match self.slot.compare_exchange(seen, made, Ordering::AcqRel, Ordering::Acquire) {
            // `seen`, if any, was the parent's: abandoned.
            // SAFETY: just made; freed only with `self`.
            Ok(_) => Ok(unsafe { &(*made).value }),
            Err(other) => {
                // SAFETY: `made` was published nowhere; `other` was by a thread of this process, which is the only
                // one that can have replaced `seen`.
                unsafe {
                    drop(Box::from_raw(made));
                    Ok(&(*other).value)
                }
            }
        }
    }
}

impl<T, E> Drop for PerProcess<T, E> {
    fn drop(&mut self) {
        let slot = *self.slot.get_mut();
        // SAFETY: made by `Box::into_raw`, and nobody can hold a reference now.
        let own = unsafe { slot.as_ref() }.is_some_and(|slot| slot.process == std::process::id());
        if own {
            // SAFETY: as above; taken back once.
            drop(unsafe { Box::from_raw(slot) });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Debug)]
    struct Loud(Arc<AtomicUsize>);

    impl Drop for Loud {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn makes_one_value_and_drops_it_once() {
        let drops = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&drops);
        let state = PerProcess::new(move || Ok::<_, ()>(Loud(Arc::clone(&counter))));
        assert!(state.made().is_none());
        let first: *const Loud = state.get().unwrap();
        assert_eq!(first, std::ptr::from_ref(state.get().unwrap()));
        drop(state);
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_failure_to_make_is_reported_and_tried_again() {
        let tries = AtomicUsize::new(0);
        let state = PerProcess::new(move || if tries.fetch_add(1, Ordering::SeqCst) == 0 { Err("no") } else { Ok(7) });
        assert_eq!(state.get(), Err("no"));
        assert_eq!(state.get(), Ok(&7));
    }

    #[test]
    fn the_value_of_another_process_is_abandoned() {
        let drops = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&drops);
        let state = PerProcess::new(move || Ok::<_, ()>(Loud(Arc::clone(&counter))));
        let parents = Box::into_raw(Box::new(Slot { process: 0, value: Loud(Arc::clone(&drops)) }));
        state.slot.store(parents, Ordering::SeqCst);
        assert!(state.made().is_none());
        state.get().unwrap();
        drop(state);
        assert_eq!(drops.load(Ordering::SeqCst), 1, "only this process's value was dropped");
        // SAFETY: abandoned above, so that the test is its only owner.
        drop(unsafe { Box::from_raw(parents) });
    }
}
