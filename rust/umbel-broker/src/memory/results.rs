//! Result records of the in-process engine, and the calls the result store makes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use umbel_protocol::{ResultWrite, Timestamp};

use super::store::Store;

struct Stored {
    state: String,
    record: Vec<u8>,
    expires: Option<Timestamp>,
    number: u64,
}

impl Stored {
    fn lives(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }
}

/// Records by task, and in the order in which they were written.
#[derive(Default)]
pub(super) struct Results {
    by_task: HashMap<String, Stored>,
    order: BTreeMap<u64, String>,
    written: u64,
}

impl Results {
    pub(super) fn write(&mut self, batch: &[ResultWrite], now: Timestamp) {
        for write in batch {
            if self.by_task.get(&write.task_id).is_some_and(|stored| stored.state == "SUCCESS" && stored.lives(now)) {
                continue;
            }
            self.remove(&write.task_id);
            self.written += 1;
            self.order.insert(self.written, write.task_id.clone());
            let stored = Stored {
                state: write.state.clone(),
                record: write.record.clone(),
                expires: write.expires.map(|life| now.after(life)),
                number: self.written,
            };
            self.by_task.insert(write.task_id.clone(), stored);
        }
    }

    fn remove(&mut self, task_id: &str) -> Option<Stored> {
        let stored = self.by_task.remove(task_id)?;
        self.order.remove(&stored.number);
        Some(stored)
    }

    fn read(&self, task_id: &str, now: Timestamp) -> Option<Vec<u8>> {
        self.by_task.get(task_id).filter(|stored| stored.lives(now)).map(|stored| stored.record.clone())
    }

    pub(super) fn remove_expired(&mut self, now: Timestamp) -> u64 {
        let expired: Vec<String> =
            self.by_task.iter().filter(|(_, stored)| !stored.lives(now)).map(|(task_id, _)| task_id.clone()).collect();
        for task_id in &expired {
            self.remove(task_id);
        }
        expired.len() as u64
    }

    fn heard_since(&self, last: u64, wanted: &HashSet<String>) -> Vec<(String, Vec<u8>)> {
        self.order
            .range(last + 1..)
            .filter(|(_, task_id)| wanted.contains(*task_id))
            .filter_map(|(_, task_id)| self.by_task.get(task_id).map(|stored| (task_id.clone(), stored.record.clone())))
            .collect()
    }
}

impl Store {
    /// Writes records in order; a stored `SUCCESS` is final.
    pub fn write_results(&self, batch: &[ResultWrite]) {
        self.change(|state, now| state.results.write(batch, now));
    }

    /// Records of `task_ids`, in that order.
    pub fn read_results(&self, task_ids: &[String]) -> Vec<Option<Vec<u8>>> {
        let now = self.now();
        let state = self.lock();
        task_ids.iter().map(|task_id| state.results.read(task_id, now)).collect()
    }

    /// Removes records; says how many there were.
    pub fn forget_results(&self, task_ids: &[String]) -> u64 {
        let now = self.now();
        let mut state = self.lock();
        let removed = task_ids.iter().filter_map(|task_id| state.results.remove(task_id));
        removed.filter(|stored| stored.lives(now)).count() as u64
    }

    /// Removes expired records; says how many.
    pub fn remove_expired_results(&self) -> u64 {
        let now = self.now();
        self.lock().results.remove_expired(now)
    }
}

/// Hears of records written into a [`Store`].
pub struct ResultEar {
    store: Arc<Store>,
    wanted: HashSet<String>,
    last: u64,
    woken: Arc<AtomicBool>,
}

impl ResultEar {
    /// An ear that has heard everything up to now.
    pub fn new(store: Arc<Store>) -> Self {
        let last = store.lock().results.written;
        Self { store, wanted: HashSet::new(), last, woken: Arc::default() }
    }

    /// Hears of `task_ids` from now on.
    pub fn subscribe(&mut self, task_ids: &[String]) {
        self.wanted.extend(task_ids.iter().cloned());
    }

    /// Hears of `task_ids` no longer.
    pub fn unsubscribe(&mut self, task_ids: &[String]) {
        for task_id in task_ids {
            self.wanted.remove(task_id);
        }
    }

    /// Blocks until records arrive, a nudge, or `timeout`.
    pub fn next(&mut self, timeout: Duration) -> Vec<(String, Vec<u8>)> {
        let (wanted, last, woken) = (&self.wanted, &mut self.last, &self.woken);
        let heard = self.store.wait_for(timeout, |state, _| {
            let heard = state.results.heard_since(*last, wanted);
            *last = state.results.written;
            (woken.swap(false, Ordering::SeqCst) || !heard.is_empty()).then_some(heard)
        });
        heard.unwrap_or_default()
    }

    /// Something other threads can interrupt [`ResultEar::next`] with.
    pub fn nudge(&self) -> Nudge {
        Nudge { store: Arc::clone(&self.store), woken: Arc::clone(&self.woken) }
    }
}

/// Interrupts one [`ResultEar`].
pub struct Nudge {
    store: Arc<Store>,
    woken: Arc<AtomicBool>,
}

impl Nudge {
    /// Makes the ear's present or next wait return.
    pub fn nudge(&self) {
        self.woken.store(true, Ordering::SeqCst);
        self.store.nudge();
    }
}
