//! A worker's main process, without Python.

use std::any::Any;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;
use umbel_backend::Backend;
use umbel_broker::sync::Mutex;
use umbel_broker::{Broker, Clock, ConsumerOptions, Revocation, Revoked};
use umbel_protocol::{Destination, Message};

use super::bell::Listener;
use super::children::NewChild;
use super::control::{Ear, Mouth, Word};
use super::driver::Helm;
use super::event::WorkerEvent;
use super::options::WorkerOptions;
use super::results::Results;
use super::settler::Settler;
use super::shared::{Shared, ToEngine};
use super::stats::Stats;
use crate::engine::{ChildId, Engine, Input, ShutdownKind, TaskOptions};
use crate::link::thread;

/// How long to wait for the engine's answer to a question.
const ANSWER: Duration = Duration::from_secs(5);

/// Why a worker did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The operating system refused (descriptors, threads).
    #[error("worker: {0}")]
    Io(#[from] std::io::Error),
    /// A worker can be started once.
    #[error("this worker was started before; make a new one")]
    AlreadyStarted,
    /// The worker is not running.
    #[error("this worker is not running")]
    NotRunning,
    /// A setting cannot be used.
    #[error("{setting}: {detail}")]
    Config {
        /// Its name.
        setting: &'static str,
        /// What is wrong and what to write instead.
        detail: String,
    },
}

/// The engine and its threads. Thread-safe; dropping it ends the worker at once (see [`Worker::stop`] for better ways).
pub struct Worker {
    shared: Arc<Shared>,
    mouth: Arc<Mouth>,
    parts: Mutex<Parts>,
}

enum Parts {
    /// Everything the threads will own.
    Fresh(Box<Fresh>),
    Running(JoinHandle<()>),
    Ended,
}

struct Fresh {
    helm: Arc<Helm>,
    settler: Settler,
    listener: Listener,
    ear: Option<Ear>,
}

impl Worker {
    /// A worker that takes tasks from `broker` and stores results in `backend`, in one step where the two are the same
    /// store. Starts no thread and opens no connection.
    pub fn new(
        broker: Arc<dyn Broker>,
        backend: Option<Arc<dyn Backend>>,
        options: WorkerOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, WorkerError> {
        check(&options)?;
        let shared = Arc::new(Shared::new()?);
        let results = Results::of(&*broker, backend.clone());
        let stores_results = matches!(results, Results::Settled);
        let replies = backend.as_ref().is_some_and(|backend| backend.expects_replies());
        let WorkerOptions { engine, queues, worker_id, lease, control_exchange, reconnect: pauses } = options;
        let listener =
            Listener { broker: Arc::clone(&broker), queues: queues.clone(), pauses, shared: Arc::clone(&shared) };
        let mouth = Arc::new(Mouth {
            broker: Arc::clone(&broker),
            backend,
            clock: Arc::clone(&clock),
            result_expires: engine.result_expires,
            pauses,
            shared: Arc::clone(&shared),
            words: Mutex::default(),
        });
        let mut engine = Engine::new(engine);
        if replies {
            engine.address_records();
        }
        let helm = Arc::new(Helm::new(engine, clock, Arc::clone(&shared), Arc::clone(&mouth))?);
        let ear = control_exchange.map(|exchange| {
            let (broker, shared) = (Arc::clone(&broker), Arc::clone(&shared));
            Ear { broker, exchange, pauses, shared }
        });
        let options = ConsumerOptions { worker_id, queues, lease, stores_results };
        let settler =
            Settler { broker, options, results, pauses, shared: Arc::clone(&shared), helm: Arc::clone(&helm) };
        let parts = Parts::Fresh(Box::new(Fresh { helm, settler, listener, ear }));
        Ok(Self { shared, mouth, parts: Mutex::new(parts) })
    }

    /// Starts the threads. Messages are fetched once tasks are known and a child is ready.
    pub fn start(&self) -> Result<(), WorkerError> {
        let mut parts = self.parts.lock();
        if !matches!(*parts, Parts::Fresh(_)) {
            return Err(WorkerError::AlreadyStarted);
        }
        let Parts::Fresh(fresh) = std::mem::replace(&mut *parts, Parts::Ended) else {
            return Err(WorkerError::AlreadyStarted);
        };
        let shared = Arc::clone(&self.shared);
        *parts = Parts::Running(thread::spawn("umbel-engine", move || fresh.run(&shared))?);
        Ok(())
    }

    /// Takes over `socket`, one end of a socket pair whose other end a [`crate::link::ChildLink`] serves. At most
    /// `slots` jobs run there at a time. `pid` `None`: a pool in this process, which cannot be killed.
    pub fn add_child(&self, child: ChildId, socket: OwnedFd, pid: Option<i32>, slots: usize) {
        self.shared.to_engine.push(ToEngine::Child(NewChild { child, socket, pid, slots }));
    }

    /// Tells which tasks there are; replaces the former table.
    pub fn set_tasks(&self, tasks: Vec<TaskOptions>) {
        self.shared.input(Input::Tasks(tasks));
    }

    /// How many children there should be; missing ones are asked for with [`WorkerEvent::Spawn`].
    pub fn set_pool_size(&self, size: usize) {
        self.shared.input(Input::PoolSize(size));
    }

    /// Tasks are not to run. What runs is sent `signal`, if one is given. The broker is told too, for other workers and
    /// for later ones.
    pub fn revoke(&self, revocations: Vec<Revocation>, signal: Option<i32>) {
        self.shared.revoke(revocations.clone(), signal);
        let ids = revocations.iter().filter_map(|revocation| match &revocation.what {
            Revoked::Task(id) => Some(id.clone()),
            Revoked::Stamp { .. } => None,
        });
        let mut absent: Vec<String> = ids.collect();
        // A worker that has ended has none.
        let here = self.present(absent.clone()).unwrap_or_default();
        absent.retain(|id| !here.iter().any(|(present, _)| present == id));
        self.mouth.say(Word::Revoke { revocations, absent });
    }

    /// Ids of tasks that are revoked, sorted.
    pub fn revoked(&self) -> Result<Vec<String>, WorkerError> {
        self.ask(ToEngine::Revoked)
    }

    /// Those of `ids` whose tasks are here and have not ended, with whether they run.
    pub fn present(&self, ids: Vec<String>) -> Result<Vec<(String, bool)>, WorkerError> {
        self.ask(|asker| ToEngine::Present(ids, asker))
    }

    fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> ToEngine) -> Result<T, WorkerError> {
        if !matches!(*self.parts.lock(), Parts::Running(_)) {
            return Err(WorkerError::NotRunning);
        }
        let (asker, answer) = crossbeam_channel::bounded(1);
        self.shared.to_engine.push(question(asker));
        answer.recv_timeout(ANSWER).map_err(|_| WorkerError::NotRunning)
    }

    /// Answers a [`WorkerEvent::Request`]: `to` is the box of who asked.
    pub fn answer(&self, to: Destination, message: Message) {
        self.mouth.say(Word::Answer { to, message: Box::new(message) });
    }

    /// Whether every received task is worth an event.
    pub fn want_received(&self, wanted: bool) {
        self.shared.wants_received.store(wanted, Ordering::Relaxed);
    }

    /// Ends. Warm: running tasks finish within the shutdown timeout, the rest goes back. Cold: children are killed
    /// and everything unfinished goes back. A second call may turn warm into cold. Returns at once;
    /// [`WorkerEvent::Stopped`] tells when all is done.
    pub fn stop(&self, kind: ShutdownKind) {
        self.shared.input(Input::Shutdown(kind));
    }

    /// Makes the engine look at the clock; for clocks that are moved by hand.
    pub fn tick(&self) {
        self.shared.input(Input::Tick);
    }

    /// Readable while [`Worker::drain`] has something.
    pub fn notifications(&self) -> BorrowedFd<'_> {
        self.shared.events.as_fd()
    }

    /// What happened since the last call.
    pub fn drain(&self) -> Vec<WorkerEvent> {
        self.shared.events.take()
    }

    /// The present numbers.
    pub fn stats(&self) -> Result<Stats, WorkerError> {
        self.ask(ToEngine::Stats)
    }

    /// Waits until the worker has ended. The doorbell's connection may take a second longer.
    pub fn join(&self) {
        let parts = std::mem::replace(&mut *self.parts.lock(), Parts::Ended);
        if let Parts::Running(thread) = parts {
            // Panics are caught and reported inside.
            let _ = thread.join();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

fn check(options: &WorkerOptions) -> Result<(), WorkerError> {
    if options.queues.is_empty() {
        return Err(WorkerError::Config { setting: "queues", detail: "name at least one queue".into() });
    }
    if options.lease < Duration::from_millis(3) {
        let detail = format!("{:?} is too short to be renewed in time; use seconds", options.lease);
        return Err(WorkerError::Config { setting: "lease", detail });
    }
    Ok(())
}

impl Fresh {
    /// The engine thread: starts the others, and ends last.
    fn run(self, shared: &Arc<Shared>) {
        let Self { helm, settler, listener, ear } = self;
        let started = start_part("umbel-broker", shared, move || settler.run())
            .and_then(|settler| start_part("umbel-doorbell", shared, move || listener.run()).map(|_| settler))
            .and_then(|settler| match ear {
                Some(ear) => start_part("umbel-ear", shared, move || ear.run()).map(|_| settler),
                None => Ok(settler),
            });
        match started {
            Ok(settler) => {
                guard("umbel-engine", shared, || {
                    if let Err(error) = helm.run() {
                        fail(shared, format!("umbel-engine: {error}"));
                    }
                });
                helm.end();
                shared.to_engine.close();
                shared.outbox.stop();
                shared.bell.stop();
                // Panics are caught and reported inside.
                let _ = settler.join();
            }
            Err(error) => fail(shared, format!("cannot start a thread: {error}")),
        }
        shared.event(WorkerEvent::Stopped);
    }
}

fn start_part(
    name: &'static str,
    shared: &Arc<Shared>,
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    thread::spawn(name, move || guard(name, &shared, body))
}

/// Runs a thread's body; a panic ends the worker and is told.
fn guard(name: &str, shared: &Shared, body: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
        fail(shared, format!("{name} panicked: {}", last_words(&*panic)));
    }
}

fn fail(shared: &Shared, error: String) {
    log::error!("the worker ends, for one of its threads failed: {error}");
    shared.event(WorkerEvent::Failed { error });
    shared.abandon();
}

fn last_words(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => words,
        (None, Some(words)) => words,
        (None, None) => "for no stated reason",
    }
}
