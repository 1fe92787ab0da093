//! Locks that a forked child can live with.
//!
//! They are the standard library's, which keep nothing outside the lock itself. `parking_lot` keeps sleeping threads in
//! a table of the process, guarded by locks of its own: a child forked while another thread was about to sleep inherits
//! that table locked for ever, and hangs at its first contended lock, even one that it made itself.
//!
//! A thread that panicked with a lock held leaves the value as it was between two statements; values kept here are
//! valid at each, so poison is ignored.

mod fair;

use std::sync::{MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

pub use fair::{FairMutex, FairMutexGuard};

/// [`std::sync::Mutex`] without poison.
#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// An open lock around `value`.
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Blocks until the lock is this thread's.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, unless somebody has it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// [`std::sync::Condvar`] without poison, for deadlines. Like it, may wake without cause.
#[derive(Debug, Default)]
pub struct Condvar(std::sync::Condvar);

impl Condvar {
    /// A condition nobody waits for.
    pub const fn new() -> Self {
        Self(std::sync::Condvar::new())
    }

    /// Releases `guard`, sleeps until notified, and takes the lock again.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Condvar::wait`], but until `deadline` at most; the flag says whether that has passed.
    pub fn wait_until<'a, T>(&self, guard: MutexGuard<'a, T>, deadline: Instant) -> (MutexGuard<'a, T>, bool) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return (guard, true);
        }
        let (guard, _) = self.0.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner);
        (guard, Instant::now() >= deadline)
    }

    /// Wakes one who waits.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all who wait.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_panic_does_not_poison() {
        let lock = Arc::new(Mutex::new(1));
        let theirs = Arc::clone(&lock);
        let ended = std::thread::spawn(move || {
            let _held = theirs.lock();
            panic!("on purpose");
        })
        .join();
        assert!(ended.is_err());
        assert_eq!(*lock.lock(), 1);
        assert_eq!(lock.try_lock().as_deref(), Some(&1));
    }

    #[test]
    fn a_wait_ends_at_its_deadline_or_with_news() {
        let (lock, changed) = (Mutex::new(0), Condvar::new());
        assert!(changed.wait_until(lock.lock(), Instant::now()).1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                *lock.lock() += 1;
                changed.notify_all();
            });
            let mut value = lock.lock();
            while *value == 0 {
                let (next, late) = changed.wait_until(value, Instant::now() + Duration::from_secs(30));
                assert!(!late);
                value = next;
            }
        });
    }
}
