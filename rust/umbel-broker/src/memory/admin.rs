//! Counting, purging and dead letters of the in-process engine.

use std::sync::Arc;

use super::state::Dead;
use super::store::Store;
use crate::broker::{Admin, DeadLetter, Waiting};
use crate::error::Result;

pub(super) struct MemoryAdmin {
    store: Arc<Store>,
}

impl MemoryAdmin {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

fn letter(number: u64, dead: &Dead) -> DeadLetter {
    DeadLetter {
        id: number.to_string(),
        queue: dead.queue.to_string(),
        reason: dead.reason.clone(),
        at: dead.at,
        payload: dead.entry.payload.clone(),
    }
}

impl Admin for MemoryAdmin {
    fn length(&mut self, queue: &str) -> Result<u64> {
        Ok(self.store.lock().length(queue) as u64)
    }

    fn peek(&mut self, queue: &str, limit: usize) -> Result<Vec<Waiting>> {
        Ok(self.store.lock().peek(queue, limit))
    }

    fn purge(&mut self, queue: &str) -> Result<u64> {
        Ok(self.store.lock().purge(queue) as u64)
    }

    fn dead_letters(&mut self, offset: usize, limit: usize) -> Result<Vec<DeadLetter>> {
        let state = self.store.lock();
        Ok(state.dead.iter().skip(offset).take(limit).map(|(number, dead)| letter(*number, dead)).collect())
    }

    fn dead_letter(&mut self, id: &str) -> Result<Option<DeadLetter>> {
        let state = self.store.lock();
        let number: Option<u64> = id.parse().ok();
        Ok(number.and_then(|number| state.dead.get(&number).map(|dead| letter(number, dead))))
    }

    fn dead_replay(&mut self, ids: &[String]) -> Result<u64> {
        Ok(self.store.change(|state, _| {
            let numbers = ids.iter().filter_map(|id| id.parse().ok());
            numbers.filter(|number| state.replay(*number)).count() as u64
        }))
    }

    fn dead_purge(&mut self, ids: Option<&[String]>) -> Result<u64> {
        let mut state = self.store.lock();
        let before = state.dead.len();
        match ids {
            None => state.dead.clear(),
            Some(ids) => {
                for number in ids.iter().filter_map(|id| id.parse().ok()) {
                    state.dead.remove(&number);
                }
            }
        }
        Ok((before - state.dead.len()) as u64)
    }
}
