//! Waiting for results: one listener for all waits of a process.
//!
//! The listener thread starts at the first wait. It subscribes the ids that somebody wants, reads each once after
//! that (so nothing is missed between a result and its subscription), and hands records on as they are heard. When
//! the connection breaks it connects anew, subscribes everything again and reads again.
//!
//! Three ways to wait share it: [`Waiter::wait`] blocks a thread for one id; [`ResultStream`] blocks one for many;
//! [`Waiter::watch`] and [`Waiter::drain`] serve an event loop through a descriptor. What nobody waits for any more is forgotten, its subscription dropped
//! with the next batch.

mod hub;
mod listening;
mod stream;

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use umbel_backend::Backend;
use umbel_broker::sync::Mutex;
use umbel_broker::{BrokerError, Result};

use crate::call::{Call, CallError};
use crate::retry_policy::RetryPolicy;
use hub::Hub;
pub use stream::ResultStream;

/// A stored record, shared by those who wait for it.
pub type Record = Arc<Vec<u8>>;

/// Waits for results on behalf of all threads of a process.
pub struct Waiter {
    shared: Arc<Shared>,
}

struct Shared {
    backend: Arc<dyn Backend>,
    policy: RetryPolicy,
    /// How long the store may be out of reach during a wait before it fails.
    patience: Duration,
    hub: Mutex<Hub>,
}

impl Waiter {
    /// Waits on `backend`; connects at the first wait. While the store cannot be reached a wait goes on for up to
    /// `patience`.
    pub fn new(backend: Arc<dyn Backend>, policy: RetryPolicy, patience: Duration) -> Self {
        let hub = Mutex::new(Hub::new(Arc::clone(&backend)));
        Self { shared: Arc::new(Shared { backend, policy, patience, hub }) }
    }

    /// Blocks until the record of `task_id` differs from `seen`; `None` when the call's time is up.
    ///
    /// # Errors
    /// The store's error if it cannot be reached, for longer than the patience or when time is up, or if it refuses.
    pub fn wait(
        &self,
        task_id: &str,
        seen: Option<&[u8]>,
        call: &mut Call<'_>,
    ) -> std::result::Result<Option<Record>, CallError> {
        let mut hub = self.shared.hub.lock();
        self.ensure_listening(&mut hub)?;
        let changed = hub.join(task_id);
        let outcome = loop {
            if let Some(record) = hub.news(task_id, seen) {
                break Ok(Some(record));
            }
            let late = call.is_late();
            let patience = if late { Duration::ZERO } else { self.shared.patience };
            if let Some(error) = hub.trouble(patience, Some(call.started())) {
                break Err(error.into());
            }
            if late {
                break Ok(None);
            }
            let (held, napped) = changed.wait_until(hub, call.nap());
            hub = held;
            if napped {
                drop(hub);
                let interrupted = call.pulse();
                hub = self.shared.hub.lock();
                if let Err(interrupted) = interrupted {
                    break Err(interrupted);
                }
            }
        };
        hub.leave(task_id);
        outcome
    }

    /// Begins to wait for records of many ids, the present ones included.
    ///
    /// # Errors
    /// The thread that listens cannot be started.
    pub fn stream(self: &Arc<Self>, task_ids: Vec<String>) -> Result<ResultStream> {
        let stream = ResultStream::open(Arc::clone(self));
        stream.add(task_ids)?;
        Ok(stream)
    }

    /// Asks that records of `task_id`, the present one included, be handed out by [`Waiter::drain`].
    pub fn watch(&self, task_id: &str) -> Result<()> {
        let mut hub = self.shared.hub.lock();
        hub.bell()?;
        self.ensure_listening(&mut hub)?;
        hub.watch(task_id);
        Ok(())
    }

    /// Ends [`Waiter::watch`].
    pub fn unwatch(&self, task_id: &str) {
        self.shared.hub.lock().unwatch(task_id);
    }

    /// The latest record of each watched id that has a new one since the last call.
    ///
    /// # Errors
    /// The store's error, after each failed attempt to reach it once it has been away for longer than the patience;
    /// once if it refuses. What is watched stays watched, and after a refusal is listened for again at the next
    /// [`Waiter::watch`] or [`Waiter::wait`].
    pub fn drain(&self) -> Result<Vec<(String, Record)>> {
        self.shared.hub.lock().drain(self.shared.patience)
    }

    /// Runs `use_it` with the descriptor that is readable while [`Waiter::drain`] has something.
    pub fn descriptor<T>(&self, use_it: impl FnOnce(BorrowedFd<'_>) -> T) -> Result<T> {
        Ok(use_it(self.shared.hub.lock().bell()?.as_fd()))
    }

    /// How many ids are waited for or watched.
    pub fn wanted(&self) -> usize {
        self.shared.hub.lock().wanted()
    }

    fn ensure_listening(&self, hub: &mut Hub) -> Result<()> {
        if hub.start() {
            let shared = Arc::clone(&self.shared);
            let started =
                std::thread::Builder::new().name("umbel-results".to_owned()).spawn(move || listening::run(&shared));
            if let Err(error) = started {
                hub.stopped(None);
                let url = self.shared.backend.display_url();
                return Err(BrokerError::Unavailable { url, detail: format!("cannot start a thread: {error}") });
            }
        }
        Ok(())
    }
}

impl Drop for Waiter {
    /// Ends the listener thread, which closes its connections by itself.
    fn drop(&mut self) {
        self.shared.hub.lock().close();
    }
}
