//! Waiting for work in this process.

use std::sync::Arc;
use std::time::Duration;

use super::store::Store;
use crate::broker::Doorbell;
use crate::error::Result;

pub(super) struct MemoryDoorbell {
    store: Arc<Store>,
    queues: Vec<String>,
    /// Count of delayed messages this bell has rung for: whoever waits must learn when the next one is due.
    delays: u64,
}

impl MemoryDoorbell {
    pub(super) fn new(store: Arc<Store>, queues: &[String]) -> Self {
        let delays = store.lock().delays;
        Self { store, queues: queues.to_vec(), delays }
    }
}

impl Doorbell for MemoryDoorbell {
    fn wait(&mut self, timeout: Duration) -> Result<bool> {
        let (queues, seen) = (&self.queues, &mut self.delays);
        let rang = self.store.wait_for(timeout, |state, now| {
            let new_delay = std::mem::replace(seen, state.delays) != state.delays;
            let due = state.next_due().is_some_and(|due| due <= now);
            (new_delay || due || queues.iter().any(|queue| state.length(queue) > 0)).then_some(())
        });
        Ok(rang.is_some())
    }
}
