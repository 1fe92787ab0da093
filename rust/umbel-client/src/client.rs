//! Everything a program needs that sends tasks and awaits results, in one value.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use umbel_backend::{Backend, ResultStore};
use umbel_broker::sync::Mutex;
use umbel_broker::{Admin, Broker, BrokerError, Control, Publisher, Result};

use crate::call::{Call, CallError};
use crate::kept::Kept;
use crate::publisher::CombiningPublisher;
use crate::retry_policy::RetryPolicy;
use crate::waiter::Waiter;

/// How a client behaves when things go wrong.
#[derive(Debug, Clone, Copy)]
pub struct ClientOptions {
    /// Pauses between tries.
    pub retry: RetryPolicy,
    /// How long the result store may be out of reach during a wait for a result before that fails.
    pub patience: Duration,
}

impl Default for ClientOptions {
    /// The default pauses; 30 s.
    fn default() -> Self {
        Self { retry: RetryPolicy::default(), patience: Duration::from_secs(30) }
    }
}

/// Connections to a broker and, if there is one, a result store; each opened at first use. All threads of a process
/// share it; a forked child needs its own (see [`crate::PerProcess`]).
pub struct Client {
    publisher: CombiningPublisher,
    admin: Kept<Box<dyn Admin>>,
    control: Kept<Box<dyn Control>>,
    /// For messages that take a lock: they are published one by one.
    once: Kept<Box<dyn Publisher>>,
    results: Option<Results>,
}

/// The result store of a client.
struct Results {
    store: Kept<Box<dyn ResultStore>>,
    backend: Arc<dyn Backend>,
    options: ClientOptions,
    waiter: Mutex<Option<Arc<Waiter>>>,
    /// Something is to be done before the first task is sent.
    unprepared: AtomicBool,
}

impl Client {
    /// A client of `broker` that keeps results in `backend`, if given. Connects at first use.
    pub fn new(broker: Arc<dyn Broker>, backend: Option<Arc<dyn Backend>>, options: ClientOptions) -> Self {
        let for_admin = Arc::clone(&broker);
        let admin = Kept::new(broker.display_url(), options.retry, move || for_admin.admin());
        let for_control = Arc::clone(&broker);
        let control = Kept::new(broker.display_url(), options.retry, move || for_control.control());
        let for_once = Arc::clone(&broker);
        let once = Kept::new(broker.display_url(), options.retry, move || for_once.publisher());
        let publisher = CombiningPublisher::new(broker, options.retry);
        Self { publisher, admin, control, once, results: backend.map(|backend| Results::new(backend, options)) }
    }

    /// Sends messages.
    pub fn publisher(&self) -> &CombiningPublisher {
        &self.publisher
    }

    /// Counts, purges, and handles dead letters.
    pub fn admin(&self) -> &Kept<Box<dyn Admin>> {
        &self.admin
    }

    /// Publishes messages that take a lock.
    pub fn once(&self) -> &Kept<Box<dyn Publisher>> {
        &self.once
    }

    /// Speaks to all workers.
    pub fn control(&self) -> &Kept<Box<dyn Control>> {
        &self.control
    }

    /// Reads and writes results.
    ///
    /// # Errors
    /// [`BrokerError::Config`] without a result store.
    pub fn store(&self) -> Result<&Kept<Box<dyn ResultStore>>> {
        self.results().map(|results| &results.store)
    }

    /// Waits for results.
    ///
    /// # Errors
    /// [`BrokerError::Config`] without a result store.
    pub fn waiter(&self) -> Result<Arc<Waiter>> {
        self.results().map(Results::waiter)
    }

    /// Sees to it, once, that results of what is sent from now on are not lost.
    ///
    /// # Errors
    /// What the result store says, where it needs to be prepared.
    pub fn expect_results(&self, call: &mut Call<'_>) -> std::result::Result<(), CallError> {
        let Some(results) = self.results.as_ref().filter(|results| results.unprepared.load(Ordering::Relaxed)) else {
            return Ok(());
        };
        results.store.with(call, |store| store.prepare())?;
        results.unprepared.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Closes every connection and ends the listener thread. Whatever is called later connects anew.
    pub fn close(&self) {
        self.publisher.close();
        self.admin.close();
        self.control.close();
        self.once.close();
        if let Some(results) = &self.results {
            results.store.close();
            let former = results.waiter.lock().take();
            drop(former);
            results.unprepared.store(results.backend.expects_replies(), Ordering::Relaxed);
            results.backend.close();
        }
    }

    fn results(&self) -> Result<&Results> {
        self.results.as_ref().ok_or_else(|| BrokerError::Config {
            setting: "result_backend".to_owned(),
            detail: "results are not stored: set it to the URL of a result store, or call tasks with ignore_result"
                .to_owned(),
        })
    }
}

impl Results {
    fn new(backend: Arc<dyn Backend>, options: ClientOptions) -> Self {
        let for_store = Arc::clone(&backend);
        let store = Kept::new(backend.display_url(), options.retry, move || for_store.store());
        let unprepared = AtomicBool::new(backend.expects_replies());
        Self { store, backend, options, waiter: Mutex::new(None), unprepared }
    }

    fn waiter(&self) -> Arc<Waiter> {
        let mut waiter = self.waiter.lock();
        let made = waiter.get_or_insert_with(|| {
            Arc::new(Waiter::new(Arc::clone(&self.backend), self.options.retry, self.options.patience))
        });
        Arc::clone(made)
    }
}
