//! A broker, a result store and workers for the runtime's tests. Nothing here sleeps: what is awaited announces
//! itself on a descriptor or a listener, with a deadline.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::collections::{HashMap, HashSet};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use umbel_backend::{Backend, MemoryBackend};
use umbel_broker::sync::{Condvar, Mutex};
use umbel_broker::{Broker, MemoryBroker, Outgoing, SystemClock};
use umbel_protocol::body::{BodyText, Embed};
use umbel_protocol::json::{self, Value};
use umbel_protocol::{Destination, Limits, Message, Properties};
use umbel_worker::engine::{ChildId, EngineConfig, ShutdownKind};
use umbel_worker::link::ChildLink;
use umbel_worker::native::{NativePool, Registry, Runner};
use umbel_worker::runtime::{Pauses, Stats, Worker, WorkerEvent, WorkerOptions};

pub const DEADLINE: Duration = Duration::from_secs(30);
pub const QUEUE: &str = "celery";

/// One in-process broker with its result store.
pub struct Bench {
    pub broker: Arc<dyn Broker>,
    pub backend: Option<Arc<dyn Backend>>,
    /// The store without whatever faults `broker` has.
    pub store: Arc<MemoryBroker>,
    pub results: Arc<dyn Backend>,
}

impl Bench {
    pub fn new() -> Self {
        let store = Arc::new(MemoryBroker::new(Arc::new(SystemClock)));
        let results: Arc<dyn Backend> = Arc::new(MemoryBackend::beside(&store));
        Self { broker: store.clone(), backend: Some(results.clone()), store, results }
    }

    pub fn publish(&self, messages: impl IntoIterator<Item = Outgoing>) {
        let batch: Vec<Outgoing> = messages.into_iter().collect();
        self.store.publisher().unwrap().publish(&batch).unwrap();
    }

    /// A started worker with one pool of `threads` native threads at a time.
    pub fn worker(&self, threads: usize) -> Running {
        let mut running = self.worker_with(threads, registry(), |_| {});
        running.wait_for_pool();
        running
    }

    /// A started worker whose children the test brings itself.
    pub fn worker_without_pool(&self) -> Running {
        self.worker_with(0, registry(), |_| {})
    }

    /// Waits until `holds`, for what announces itself nowhere.
    pub fn wait_until(&self, mut holds: impl FnMut() -> bool) {
        let until = Instant::now() + DEADLINE;
        while !holds() {
            assert!(Instant::now() < until, "it never came true");
            std::thread::yield_now();
        }
    }

    pub fn worker_with(&self, threads: usize, registry: Registry, adjust: impl FnOnce(&mut WorkerOptions)) -> Running {
        let mut options = options();
        adjust(&mut options);
        let worker = Worker::new(self.broker.clone(), self.backend.clone(), options, Arc::new(SystemClock)).unwrap();
        worker.set_tasks(registry.task_options());
        worker.set_pool_size(1);
        worker.start().unwrap();
        let runner = Runner { registry, result_expires: None, clock: Arc::new(SystemClock) };
        Running { worker, runner: Arc::new(runner), threads, next_child: 0, pools: Vec::new(), seen: Vec::new() }
    }

    pub fn wait_for_results(&self, ids: impl IntoIterator<Item = u64>) {
        let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
        let mut listener = self.results.listener().unwrap();
        listener.subscribe(&ids).unwrap();
        let mut missing: HashSet<String> = ids.into_iter().filter(|id| self.record(id).is_none()).collect();
        let until = Instant::now() + DEADLINE;
        while !missing.is_empty() {
            let rest = until.checked_duration_since(Instant::now());
            let rest = rest
                .unwrap_or_else(|| panic!("{} results never came, e.g. {:?}", missing.len(), missing.iter().next()));
            for (id, _) in listener.next(rest).unwrap() {
                missing.remove(&id);
            }
        }
    }

    pub fn record(&self, id: &str) -> Option<Vec<u8>> {
        self.results.store().unwrap().read(&[id.to_owned()]).unwrap().remove(0)
    }

    pub fn result(&self, id: u64) -> Value {
        let record = self.record(&id.to_string()).unwrap_or_else(|| panic!("no result for {id}"));
        json::parse(&record, &Limits::default()).unwrap()
    }

    /// Messages ready, and dead letters.
    pub fn left(&self) -> (u64, usize) {
        let mut admin = self.store.admin().unwrap();
        (admin.length(QUEUE).unwrap(), admin.dead_letters(0, 100).unwrap().len())
    }
}

pub fn options() -> WorkerOptions {
    WorkerOptions {
        engine: EngineConfig {
            hostname: "celery@test".into(),
            accept_content: vec!["application/json".into()],
            prefetch_multiplier: None,
            max_deliveries: 5,
            delay_threshold: Duration::from_secs(2),
            shutdown_timeout: Duration::from_secs(20),
            result_expires: None,
            queue_limits: HashMap::new(),
            max_message_bytes: 1 << 20,
            own_queue_suffix: String::new(),
        },
        queues: vec![QUEUE.into()],
        worker_id: format!("w{}", fresh_number()),
        lease: Duration::from_secs(5),
        control_exchange: Some("celery.pidbox".to_owned()),
        reconnect: Pauses { first: Duration::from_millis(1), longest: Duration::from_millis(4) },
    }
}

fn fresh_number() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// `add(a, b)` and `fail()`.
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.register("add", |call| match (call.arg(0)?.as_f64(), call.arg(1)?.as_f64()) {
        (Some(a), Some(b)) => Ok(Value::from(a + b)),
        _ => Err("add takes two numbers".into()),
    });
    registry.register("fail", |_| Err("as asked".into()));
    registry
}

pub fn add(id: u64, a: u64, b: u64) -> Outgoing {
    task("add", id, &format!("[{a}, {b}]"))
}

pub fn task(name: &str, id: u64, args: &str) -> Outgoing {
    let headers = format!(r#"{{"lang": "py", "task": "{name}", "id": "{id}", "root_id": "{id}", "retries": 0}}"#);
    let message = Message {
        headers,
        body: BodyText { args, kwargs: "{}", embed: Embed::default() }.write(),
        content_type: "application/json".into(),
        content_encoding: "utf-8".into(),
        properties: Properties { correlation_id: Some(id.to_string()), ..Properties::default() },
    };
    Outgoing { destination: Destination::queue(QUEUE), message, eta: None, line: None, chord: None }
}

/// What a successful task returned.
pub fn value_of(record: &Value) -> f64 {
    assert_eq!(record.get("status").and_then(Value::as_str), Some("SUCCESS"), "{record:?}");
    record.get("result").and_then(Value::as_f64).unwrap()
}

/// A worker with its supervisor.
pub struct Running {
    pub worker: Worker,
    runner: Arc<Runner>,
    threads: usize,
    next_child: u32,
    pools: Vec<NativePool>,
    seen: Vec<WorkerEvent>,
}

impl Running {
    pub fn stop(&self, kind: ShutdownKind) {
        self.worker.stop(kind);
    }

    /// Serves events until one fits; returns it.
    pub fn wait_for(&mut self, mut fits: impl FnMut(&WorkerEvent) -> bool) -> WorkerEvent {
        loop {
            if let Some(index) = self.seen.iter().position(&mut fits) {
                return self.seen.drain(..=index).next_back().unwrap();
            }
            self.serve();
        }
    }

    /// Waits until the pool was asked for, and started.
    pub fn wait_for_pool(&mut self) {
        self.wait_for(|event| matches!(event, WorkerEvent::Spawn { .. }));
    }

    pub fn stats(&self) -> Stats {
        self.worker.stats().unwrap()
    }

    pub fn wait_stopped(&mut self) -> Vec<WorkerEvent> {
        while self.seen.last() != Some(&WorkerEvent::Stopped) {
            self.serve();
        }
        self.worker.join();
        self.pools.drain(..).for_each(NativePool::join);
        std::mem::take(&mut self.seen)
    }

    /// Handles the next events, pools being started as asked for.
    pub fn serve(&mut self) {
        wait_readable(self.worker.notifications());
        for event in self.worker.drain() {
            if let WorkerEvent::Spawn { count } = event {
                (0..count).for_each(|_| self.spawn());
            }
            self.seen.push(event);
        }
    }

    fn spawn(&mut self) {
        if self.threads == 0 {
            return;
        }
        let (socket, pool) = NativePool::start(&self.runner, self.threads).unwrap();
        self.pools.push(pool);
        self.add_child(socket, None, self.threads);
    }

    pub fn add_child(&mut self, socket: OwnedFd, pid: Option<i32>, slots: usize) -> ChildId {
        let child = ChildId(self.next_child);
        self.next_child += 1;
        self.worker.add_child(child, socket, pid, slots);
        child
    }
}

pub fn wait_readable(fd: BorrowedFd<'_>) {
    let timeout = Timespec::try_from(DEADLINE).unwrap();
    let ready = rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap();
    assert!(ready > 0, "nothing happened for {DEADLINE:?}");
}

/// A child in the test's own hands.
pub fn hand_child(worker: &mut Running, slots: usize) -> ChildLink {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let link = ChildLink::new(theirs, slots).unwrap();
    worker.add_child(ours, None, slots);
    link
}

/// Tasks named `gated` wait here until it is opened.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Gate {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn registry(&self) -> Registry {
        let (gate, mut registry) = (self.clone(), registry());
        registry.register("gated", move |_| {
            gate.pass();
            Ok(Value::Null)
        });
        registry
    }

    fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock();
        state.0 += 1;
        changed.notify_all();
        while !state.1 {
            state = changed.wait(state);
        }
    }

    pub fn entered(&self) -> usize {
        self.0.0.lock().0
    }

    pub fn wait_entered(&self, count: usize) {
        let (state, changed) = &*self.0;
        let (mut state, deadline) = (state.lock(), Instant::now() + DEADLINE);
        while state.0 < count {
            let late;
            (state, late) = changed.wait_until(state, deadline);
            assert!(!late, "{} of {count} came", state.0);
        }
    }

    pub fn open(&self) {
        self.0.0.lock().1 = true;
        self.0.1.notify_all();
    }
}
