//! Waiting for many results in one thread.

use std::sync::Arc;
use std::time::Duration;

use umbel_broker::Result;
use umbel_broker::sync::Condvar;

use super::{Record, Waiter};
use crate::call::{Call, CallError};

/// Records handed over at once.
const BATCH: usize = 1024;

/// The records of many ids, as they come. Thread-safe: ids may be added while another thread waits.
///
/// Ten thousand ids cost as many subscriptions in a few batches, and no round trip each. A stream belongs to the
/// process that opened it.
pub struct ResultStream {
    waiter: Arc<Waiter>,
    key: u64,
    changed: Arc<Condvar>,
}

impl ResultStream {
    pub(super) fn open(waiter: Arc<Waiter>) -> Self {
        let (key, changed) = waiter.shared.hub.lock().open_stream();
        Self { waiter, key, changed }
    }

    /// Waits for these ids as well. Those it waits for already, and all after [`ResultStream::close`], are passed over.
    ///
    /// # Errors
    /// The thread that listens cannot be started.
    pub fn add(&self, task_ids: Vec<String>) -> Result<()> {
        let mut hub = self.waiter.shared.hub.lock();
        self.waiter.ensure_listening(&mut hub)?;
        hub.extend_stream(self.key, task_ids);
        Ok(())
    }

    /// Waits for these ids no longer. What has come of them already may still be returned.
    pub fn remove(&self, task_ids: &[String]) {
        self.waiter.shared.hub.lock().shrink_stream(self.key, task_ids);
    }

    /// Blocks until there are records that were not returned yet: some of them, in the order in which they came, of
    /// every state. None when the call's time is up, and at once when the stream is closed.
    ///
    /// # Errors
    /// The store's error if it cannot be reached, for longer than the patience or when time is up, or if it refuses.
    pub fn next(&self, call: &mut Call<'_>) -> std::result::Result<Vec<(String, Record)>, CallError> {
        let shared = &self.waiter.shared;
        let mut hub = shared.hub.lock();
        self.waiter.ensure_listening(&mut hub)?;
        loop {
            let news = hub.take_news(self.key, BATCH);
            if !news.is_empty() || !hub.has_stream(self.key) {
                return Ok(news);
            }
            let late = call.is_late();
            let patience = if late { Duration::ZERO } else { shared.patience };
            if let Some(error) = hub.trouble(patience, Some(call.started())) {
                return Err(error.into());
            }
            if late {
                return Ok(news);
            }
            let (held, napped) = self.changed.wait_until(hub, call.nap());
            hub = held;
            if napped {
                drop(hub);
                call.pulse()?;
                hub = shared.hub.lock();
            }
        }
    }

    /// Ends all waiting; [`ResultStream::next`] returns at once from now on.
    pub fn close(&self) {
        self.waiter.shared.hub.lock().close_stream(self.key);
    }
}

impl Drop for ResultStream {
    fn drop(&mut self) {
        self.close();
    }
}
