//! What the engine wants from the broker, collected while the broker thread is busy.

use std::time::Instant;

use umbel_broker::sync::{Condvar, Mutex};
use umbel_broker::{Settlement, Tag};

/// Settlements per exchange at most: an exchange should not take much longer than a round trip.
const LARGEST: usize = 1024;

/// Work for the broker thread, merged until it takes it.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    settlements: Vec<Settlement>,
    /// An emptied buffer, to be filled next.
    spare: Vec<Settlement>,
    fetch: Option<usize>,
    /// The engine's answer to a lost connection.
    held: Option<Vec<Tag>>,
    stopping: bool,
}

/// Work for one exchange.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) settlements: Vec<Settlement>,
    pub(super) fetch: Option<usize>,
}

/// The worker ends: no more work will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stopping;

impl Outbox {
    /// Adds work and wakes the broker thread if it waits.
    pub(super) fn add(&self, settlements: &mut Vec<Settlement>, fetch: Option<usize>) {
        if settlements.is_empty() && fetch.is_none() {
            return;
        }
        let mut state = self.state.lock();
        state.settlements.append(settlements);
        state.fetch = fetch.or(state.fetch);
        self.changed.notify_one();
    }

    /// Forgets all work, which the engine will give out again, and answers with the tags it holds.
    pub(super) fn reset(&self, held: Vec<Tag>) {
        let mut state = self.state.lock();
        state.settlements.clear();
        state.fetch = None;
        state.held = Some(held);
        self.changed.notify_one();
    }

    /// No more work will come.
    pub(super) fn stop(&self) {
        self.state.lock().stopping = true;
        self.changed.notify_one();
    }

    /// Waits for work until `deadline`; work left when the worker ends is still handed out. `None` at the deadline.
    pub(super) fn take(&self, deadline: Instant) -> Result<Option<Work>, Stopping> {
        let mut state = self.state.lock();
        loop {
            if !state.settlements.is_empty() || state.fetch.is_some() {
                return Ok(Some(state.take()));
            }
            if state.stopping {
                return Err(Stopping);
            }
            let late;
            (state, late) = self.changed.wait_until(state, deadline);
            if late {
                return Ok(None);
            }
        }
    }

    /// Takes back the buffer of work that is done: large ones are dear to allocate anew for each exchange.
    pub(super) fn recycle(&self, mut settlements: Vec<Settlement>) {
        settlements.clear();
        self.state.lock().spare = settlements;
    }

    /// Waits until `deadline`, or until the worker ends.
    pub(super) fn rest(&self, deadline: Instant) -> Result<(), Stopping> {
        let mut state = self.state.lock();
        while !state.stopping {
            let rested;
            (state, rested) = self.changed.wait_until(state, deadline);
            if rested {
                return Ok(());
            }
        }
        Err(Stopping)
    }

    /// Waits for the engine's answer to a lost connection.
    pub(super) fn held(&self) -> Result<Vec<Tag>, Stopping> {
        let mut state = self.state.lock();
        loop {
            if let Some(held) = state.held.take() {
                return Ok(held);
            }
            if state.stopping {
                return Err(Stopping);
            }
            state = self.changed.wait(state);
        }
    }
}

impl State {
    fn take(&mut self) -> Work {
        let fetch = self.fetch.take();
        if self.settlements.len() <= LARGEST {
            let spare = std::mem::take(&mut self.spare);
            return Work { settlements: std::mem::replace(&mut self.settlements, spare), fetch };
        }
        let rest = self.settlements.split_off(LARGEST);
        Work { settlements: std::mem::replace(&mut self.settlements, rest), fetch }
    }
}
