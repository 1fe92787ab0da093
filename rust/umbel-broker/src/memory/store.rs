//! What all handles of one in-process broker share.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, MutexGuard};
use std::time::{Duration, Instant};

use umbel_protocol::{Malformed, Timestamp};

use super::state::{Entry, State};
use crate::broker::Payload;
use crate::clock::Clock;
use crate::sync::{Condvar, Mutex};

/// Stores by name, kept for the life of the process: a program may close every handle between two uses.
static NAMED: LazyLock<Mutex<HashMap<String, Arc<Store>>>> = LazyLock::new(Mutex::default);

/// How long a wait may sleep on a due time: the clock may be one that only tests move.
const LONGEST_NAP: Duration = Duration::from_millis(50);

/// One in-process store: queues, held messages, dead letters and results behind one lock.
pub struct Store {
    name: String,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Store {
    pub(super) fn private(clock: Arc<dyn Clock>) -> Arc<Self> {
        let name = uuid::Uuid::new_v4().to_string();
        Arc::new(Self { name, clock, state: Mutex::default(), changed: Condvar::new() })
    }

    pub(super) fn named(name: &str, clock: Arc<dyn Clock>) -> Arc<Self> {
        let mut named = NAMED.lock();
        let store = named.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Self { name: name.to_owned(), clock, state: Mutex::default(), changed: Condvar::new() })
        });
        Arc::clone(store)
    }

    /// The URL that names this store.
    pub fn display_url(&self) -> String {
        format!("memory://{}", self.name)
    }

    /// Equal for two handles exactly when they share this store.
    pub fn identity(&self) -> String {
        format!("memory:{}", self.name)
    }

    /// Puts bytes that form no message into `queue`: how tools and tests meet what a server may hold.
    pub fn push_malformed(&self, queue: &str, raw: Vec<u8>, error: Malformed) {
        let mut state = self.lock();
        state.push_back(queue, Entry::new(Payload::Malformed { raw, error }));
        drop(state);
        self.changed.notify_all();
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Runs `change` under the lock, then wakes everybody who waits.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        let now = self.now();
        let outcome = change(&mut self.state.lock(), now);
        self.changed.notify_all();
        outcome
    }

    /// Blocks until `look` finds something or `timeout` has passed (measured on the machine's clock).
    pub(super) fn wait_for<T>(
        &self,
        timeout: Duration,
        mut look: impl FnMut(&mut State, Timestamp) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.state.lock();
        loop {
            if let Some(found) = look(&mut state, self.clock.now()) {
                return Some(found);
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return None;
            }
            let nap = if state.waits_for_clock() { LONGEST_NAP } else { Duration::from_secs(3600) };
            let until = deadline.map_or(now + nap, |deadline| deadline.min(now + nap));
            (state, _) = self.changed.wait_until(state, until);
        }
    }

    /// Wakes everybody who waits, without a change.
    pub(super) fn nudge(&self) {
        // Taken and released so that a waiter between its look and its sleep is not missed.
        drop(self.state.lock());
        self.changed.notify_all();
    }
}
