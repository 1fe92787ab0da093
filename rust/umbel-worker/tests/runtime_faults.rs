//! Brokers and result stores that fail: everything still finishes, and nothing runs twice without a reason.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod runtime_bench;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use runtime_bench::{Bench, add, registry};
use umbel_backend::{Backend, MemoryBackend, ResultListener, ResultStore};
use umbel_broker::sync::Mutex;
use umbel_broker::{
    Admin, Broker, BrokerError, Consumer, ConsumerOptions, Control, Doorbell, Exchanged, Listener, MemoryBroker,
    Publisher, Result, Settlement, SystemClock, Tag,
};
use umbel_protocol::ResultWrite;
use umbel_protocol::json::Value;
use umbel_worker::engine::ShutdownKind;
use umbel_worker::native::Registry;
use umbel_worker::runtime::WorkerEvent;

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// The call is not carried out, and the connection is gone.
    Unsent,
    /// The call is carried out, but its reply is lost with the connection.
    ReplyLost,
    /// "Not now".
    Busy,
    /// The password was rotated.
    Refused,
    /// A bug.
    Panic,
}

impl Fault {
    fn error(self) -> BrokerError {
        let (url, detail) = ("memory://faulty".to_owned(), format!("{self:?}"));
        match self {
            Self::Busy => BrokerError::Unavailable { url, detail },
            Self::Refused => BrokerError::Access { url, detail },
            Self::Panic => panic!("on purpose"),
            _ => BrokerError::Connection { url, detail },
        }
    }

    fn around<T>(self, call: impl FnOnce() -> Result<T>) -> Result<T> {
        match self {
            Self::None => call(),
            Self::ReplyLost => call().and(Err(self.error())),
            _ => Err(self.error()),
        }
    }
}

/// Decides, call by call; the first calls may have faults of their own.
struct Plan {
    scripted: Mutex<std::collections::VecDeque<Fault>>,
    random: Mutex<Option<fastrand::Rng>>,
    calls: AtomicUsize,
}

impl Plan {
    fn scripted(faults: impl IntoIterator<Item = Fault>) -> Arc<Self> {
        Arc::new(Self {
            scripted: Mutex::new(faults.into_iter().collect()),
            random: Mutex::new(None),
            calls: AtomicUsize::new(0),
        })
    }

    /// Three calls of ten fail, one way or another.
    fn random(seed: u64) -> Arc<Self> {
        let plan = Self::scripted([]);
        *plan.random.lock() = Some(fastrand::Rng::with_seed(seed));
        plan
    }

    fn next(&self) -> Fault {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(fault) = self.scripted.lock().pop_front() {
            return fault;
        }
        let mut random = self.random.lock();
        match random.as_mut().map(|rng| rng.u8(0..20)) {
            Some(0 | 1) => Fault::Unsent,
            Some(2 | 3) => Fault::ReplyLost,
            Some(4) => Fault::Busy,
            Some(5) => Fault::Refused,
            _ => Fault::None,
        }
    }

    /// No more faults.
    fn heal(&self) {
        self.scripted.lock().clear();
        *self.random.lock() = None;
    }
}

struct FaultyBroker {
    inner: Arc<MemoryBroker>,
    plan: Arc<Plan>,
}

impl Broker for FaultyBroker {
    fn display_url(&self) -> String {
        "memory://faulty".into()
    }

    fn identity(&self) -> String {
        self.inner.identity()
    }

    fn publisher(&self) -> Result<Box<dyn Publisher>> {
        self.inner.publisher()
    }

    fn consumer(&self, options: ConsumerOptions) -> Result<Box<dyn Consumer>> {
        let consumer = self.plan.next().around(|| self.inner.consumer(options))?;
        Ok(Box::new(FaultyConsumer { inner: consumer, plan: self.plan.clone() }))
    }

    fn doorbell(&self, queues: &[String]) -> Result<Box<dyn Doorbell>> {
        let doorbell = self.plan.next().around(|| self.inner.doorbell(queues))?;
        Ok(Box::new(FaultyDoorbell { inner: doorbell, plan: self.plan.clone() }))
    }

    fn admin(&self) -> Result<Box<dyn Admin>> {
        self.inner.admin()
    }

    fn control(&self) -> Result<Box<dyn Control>> {
        self.inner.control()
    }

    fn listener(&self, exchange: &str) -> Result<Box<dyn Listener>> {
        self.inner.listener(exchange)
    }
}

struct FaultyConsumer {
    inner: Box<dyn Consumer>,
    plan: Arc<Plan>,
}

impl Consumer for FaultyConsumer {
    fn exchange(&mut self, settlements: &[Settlement], want: usize) -> Result<Exchanged> {
        self.plan.next().around(|| self.inner.exchange(settlements, want))
    }

    fn heartbeat(&mut self) -> Result<usize> {
        self.plan.next().around(|| self.inner.heartbeat())
    }

    fn recover(&mut self, known: &[Tag]) -> Result<Vec<Tag>> {
        self.plan.next().around(|| self.inner.recover(known))
    }

    fn close(&mut self) -> Result<()> {
        self.inner.close()
    }
}

struct FaultyDoorbell {
    inner: Box<dyn Doorbell>,
    plan: Arc<Plan>,
}

impl Doorbell for FaultyDoorbell {
    fn wait(&mut self, timeout: Duration) -> Result<bool> {
        self.plan.next().around(|| self.inner.wait(timeout))
    }
}

/// A result store apart from the broker.
struct FaultyBackend {
    inner: MemoryBackend,
    plan: Arc<Plan>,
}

impl Backend for FaultyBackend {
    fn display_url(&self) -> String {
        "memory://results".into()
    }

    fn identity(&self) -> String {
        "results of their own".into()
    }

    fn store(&self) -> Result<Box<dyn ResultStore>> {
        let store = self.plan.next().around(|| self.inner.store())?;
        Ok(Box::new(FaultyResults { inner: store, plan: self.plan.clone() }))
    }

    fn listener(&self) -> Result<Box<dyn ResultListener>> {
        self.inner.listener()
    }
}

struct FaultyResults {
    inner: Box<dyn ResultStore>,
    plan: Arc<Plan>,
}

impl ResultStore for FaultyResults {
    fn write(&mut self, batch: &[ResultWrite]) -> Result<()> {
        if batch.iter().any(|result| result.record.len() > 10_000) {
            return Err(BrokerError::Protocol { detail: "a record is too large".into() });
        }
        self.plan.next().around(|| self.inner.write(batch))
    }

    fn read(&mut self, task_ids: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        self.inner.read(task_ids)
    }

    fn forget(&mut self, task_ids: &[String]) -> Result<u64> {
        self.inner.forget(task_ids)
    }

    fn remove_expired(&mut self) -> Result<u64> {
        self.inner.remove_expired()
    }
}

fn faulty_broker(plan: &Arc<Plan>) -> Bench {
    let bench = Bench::new();
    let broker = FaultyBroker { inner: bench.store.clone(), plan: plan.clone() };
    Bench { broker: Arc::new(broker), ..bench }
}

fn apart(plan: &Arc<Plan>) -> Bench {
    let bench = Bench::new();
    let elsewhere = MemoryBroker::new(Arc::new(SystemClock));
    let backend = Arc::new(FaultyBackend { inner: MemoryBackend::beside(&elsewhere), plan: plan.clone() });
    let results: Arc<dyn Backend> = Arc::new(MemoryBackend::beside(&elsewhere));
    Bench { backend: Some(backend), results, ..bench }
}

/// How often each task ran.
type Runs = Arc<Mutex<HashMap<String, usize>>>;

fn counting() -> (Registry, Runs) {
    let runs = Runs::default();
    let (counted, mut registry) = (runs.clone(), registry());
    registry.register("add", move |call| {
        *counted.lock().entry(call.headers.id.clone()).or_default() += 1;
        Ok(Value::from(1.0))
    });
    (registry, runs)
}

/// Runs `count` tasks and checks that each ran once, is stored, and is settled.
fn everything_finishes_once(bench: &Bench, plan: &Plan, count: u64) -> Vec<WorkerEvent> {
    bench.publish((0..count).map(|n| add(n, n, n)));
    let (registry, runs) = counting();
    let mut worker = bench.worker_with(2, registry, |_| {});
    worker.wait_for_pool();
    bench.wait_for_results(0..count);
    bench.wait_until(|| {
        let engine = worker.stats().engine;
        engine.unconfirmed == 0 && engine.held == 0
    });
    let runs = runs.lock().clone();
    assert_eq!(runs.len() as u64, count);
    let repeated: Vec<_> = runs.iter().filter(|(_, runs)| **runs != 1).collect();
    assert!(repeated.is_empty(), "ran more than once: {repeated:?}");
    plan.heal();
    worker.stop(ShutdownKind::Warm);
    let events = worker.wait_stopped();
    assert_eq!(bench.left(), (0, 0));
    events
}

#[test]
fn random_faults_of_the_broker_lose_and_repeat_nothing() {
    for seed in 0..12 {
        let plan = Plan::random(seed);
        everything_finishes_once(&faulty_broker(&plan), &plan, 400);
    }
}

#[test]
fn random_faults_of_a_separate_result_store_lose_and_repeat_nothing() {
    for seed in 0..12 {
        let plan = Plan::random(seed);
        everything_finishes_once(&apart(&plan), &plan, 400);
    }
}

#[test]
fn a_broker_that_is_away_at_the_start_is_waited_for() {
    let plan = Plan::scripted([Fault::Unsent, Fault::Refused, Fault::Busy, Fault::Unsent]);
    let events = everything_finishes_once(&faulty_broker(&plan), &plan, 10);
    let away = events.iter().filter(|event| matches!(event, WorkerEvent::Disconnected { .. })).count();
    let back = events.iter().filter(|event| matches!(event, WorkerEvent::Connected { .. })).count();
    // Doorbell and consumer share the plan, and a doorbell's faults are not reported.
    assert!(away >= 1 && back >= 1, "{events:?}");
}

#[test]
fn every_single_lost_reply_is_survived() {
    for lost in 0..30 {
        for fault in [Fault::Unsent, Fault::ReplyLost, Fault::Busy] {
            let plan = Plan::scripted((0..lost).map(|_| Fault::None).chain([fault]));
            everything_finishes_once(&faulty_broker(&plan), &plan, 20);
        }
    }
}

#[test]
fn a_stop_without_a_broker_ends() {
    let plan = Plan::scripted([]);
    let bench = faulty_broker(&plan);
    bench.publish([add(0, 1, 1)]);
    let mut worker = bench.worker(1);
    bench.wait_for_results([0]);
    plan.scripted.lock().extend(std::iter::repeat_n(Fault::Unsent, 100_000));
    bench.publish([add(1, 1, 1)]);
    worker.wait_for(|event| matches!(event, WorkerEvent::Disconnected { .. }));
    worker.stop(ShutdownKind::Warm);
    worker.wait_stopped();
}

#[test]
fn a_record_the_store_refuses_costs_its_own_task_only() {
    let plan = Plan::scripted([]);
    let bench = apart(&plan);
    let (mut registry, _) = counting();
    registry.register("large", |_| Ok(Value::from("x".repeat(20_000))));
    bench.publish((0..10).map(|n| if n == 4 { runtime_bench::task("large", n, "[]") } else { add(n, 1, 1) }));
    let mut worker = bench.worker_with(1, registry, |_| {});
    worker.wait_for_pool();
    let refused = worker.wait_for(|event| matches!(event, WorkerEvent::Refused { .. }));
    let WorkerEvent::Refused { id, dead, .. } = refused else { unreachable!() };
    assert_eq!((id.as_str(), dead), ("4", true));
    bench.wait_for_results((0..10).filter(|n| *n != 4));
    bench.wait_until(|| worker.stats().engine.unconfirmed == 0);
    let dead = bench.store.admin().unwrap().dead_letters(0, 10).unwrap();
    assert_eq!(dead.iter().map(|letter| letter.reason.kind.as_str()).collect::<Vec<_>>(), ["refused"]);
    worker.stop(ShutdownKind::Warm);
    worker.wait_stopped();
}

#[test]
fn a_panic_in_the_broker_thread_ends_the_worker_loudly() {
    let plan = Plan::scripted([]);
    let bench = faulty_broker(&plan);
    let mut worker = bench.worker(1);
    plan.scripted.lock().extend([Fault::Panic, Fault::Panic]);
    bench.publish([add(0, 1, 1)]);
    let failed = worker.wait_for(|event| matches!(event, WorkerEvent::Failed { .. }));
    let WorkerEvent::Failed { error } = failed else { unreachable!() };
    assert!(error.contains("panicked: on purpose"), "{error}");
    worker.wait_stopped();
}
