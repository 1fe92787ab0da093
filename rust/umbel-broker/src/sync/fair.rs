//! A lock that is handed on in the order in which it was asked for, with a deadline for those who wait.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::{Condvar, Mutex};

/// A wait without a deadline looks up this often.
const LONG: Duration = Duration::from_secs(3600);

/// Guards a value that its holder keeps for as long as a round trip or a commit takes: nobody can push in.
#[derive(Debug)]
pub struct FairMutex<T> {
    line: Mutex<Line<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Line<T> {
    /// Away while somebody holds it.
    value: Option<T>,
    /// Numbers of those who wait, the next one first.
    waiting: VecDeque<u64>,
    next_number: u64,
}

/// The value of a [`FairMutex`]; goes back when dropped.
#[derive(Debug)]
pub struct FairMutexGuard<'a, T> {
    lock: &'a FairMutex<T>,
    /// Present until dropped.
    value: Held<T>,
}

/// `Option` without the question: empty only while its guard is dropped.
type Held<T> = std::mem::ManuallyDrop<T>;

impl<T> FairMutex<T> {
    /// An open lock around `value`.
    pub const fn new(value: T) -> Self {
        let line = Line { value: Some(value), waiting: VecDeque::new(), next_number: 0 };
        Self { line: Mutex::new(line), changed: Condvar::new() }
    }

    /// The value, after everybody who asked before.
    pub fn lock(&self) -> FairMutexGuard<'_, T> {
        loop {
            if let Some(guard) = self.lock_until(Instant::now() + LONG) {
                return guard;
            }
        }
    }

    /// As [`FairMutex::lock`]; `None` when that takes until after `deadline`.
    pub fn lock_until(&self, deadline: Instant) -> Option<FairMutexGuard<'_, T>> {
        let mut line = self.line.lock();
        if line.waiting.is_empty()
            && let Some(value) = line.value.take()
        {
            return Some(self.guard(value));
        }
        let number = line.next_number;
        line.next_number += 1;
        line.waiting.push_back(number);
        loop {
            if line.waiting.front() == Some(&number)
                && let Some(value) = line.value.take()
            {
                line.waiting.pop_front();
                return Some(self.guard(value));
            }
            let (next, late) = self.changed.wait_until(line, deadline);
            line = next;
            if late && (line.value.is_none() || line.waiting.front() != Some(&number)) {
                line.waiting.retain(|waiting| *waiting != number);
                // The next in line may have slept through the moment in which this one stood before it.
                self.changed.notify_all();
                return None;
            }
        }
    }

    fn guard(&self, value: T) -> FairMutexGuard<'_, T> {
        FairMutexGuard { lock: self, value: Held::new(value) }
    }
}

impl<T> Deref for FairMutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for FairMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for FairMutexGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: taken once, here, where the guard ends.
        let value = unsafe { Held::take(&mut self.value) };
        let mut line = self.lock.line.lock();
        line.value = Some(value);
        if !line.waiting.is_empty() {
            self.lock.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until<T>(lock: &FairMutex<T>, waiting: usize) {
        while lock.line.lock().waiting.len() != waiting {
            std::thread::yield_now();
        }
    }

    #[test]
    fn goes_round_in_the_order_of_asking() {
        let lock = FairMutex::new(Vec::new());
        std::thread::scope(|scope| {
            let held = lock.lock_until(Instant::now()).expect("open");
            for number in 0..4 {
                let lock = &lock;
                scope.spawn(move || lock.lock_until(Instant::now() + LONG).expect("in time").push(number));
                until(lock, number + 1);
            }
            drop(held);
        });
        assert_eq!(*lock.lock(), [0, 1, 2, 3]);
    }

    #[test]
    fn who_waits_too_long_leaves_the_line() {
        let lock = FairMutex::new(());
        let held = lock.lock_until(Instant::now()).expect("open");
        assert!(lock.lock_until(Instant::now() + Duration::from_millis(5)).is_none());
        assert!(lock.line.lock().waiting.is_empty());
        drop(held);
        assert!(lock.lock_until(Instant::now()).is_some());
    }

    #[test]
    fn one_at_a_time_however_many_ask() {
        let lock = FairMutex::new(0_u32);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let patience = if is_patient(&lock) { LONG } else { Duration::from_micros(50) };
                        while lock.lock_until(Instant::now() + patience).map(|mut count| *count += 1).is_none() {}
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), 4000);
        assert!(lock.line.lock().waiting.is_empty());
    }

    /// Differs from call to call.
    fn is_patient(lock: &FairMutex<u32>) -> bool {
        !lock.line.lock().next_number.is_multiple_of(3)
    }
}
