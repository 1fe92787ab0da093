//! A broker and a result store that fail on command, over the ones in memory.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use umbel_backend::{Backend, ListenerWaker, MemoryBackend, ResultListener, ResultStore};
use umbel_broker::sync::{Condvar, Mutex};
use umbel_broker::{
    Admin, Broker, BrokerError, Consumer, ConsumerOptions, Control, Doorbell, ExchangeKind, Listener, Lock,
    MemoryBroker, Outgoing, Publisher, Result, SystemClock, Taken,
};
use umbel_protocol::{Destination, Message, ResultWrite};

/// A message for `queue` whose headers are `name`.
pub(crate) fn outgoing(queue: &str, name: &str) -> Outgoing {
    let message = Message { headers: format!("{{\"id\": \"{name}\"}}"), ..Message::default() };
    Outgoing { destination: Destination::queue(queue), message, eta: None, line: None, chord: None }
}

/// The connection broke.
pub(crate) fn broken() -> BrokerError {
    BrokerError::Connection { url: "faulty://".into(), detail: "broken on command".into() }
}

/// The server is busy.
pub(crate) fn busy() -> BrokerError {
    BrokerError::Unavailable { url: "faulty://".into(), detail: "busy on command".into() }
}

/// The server refuses.
pub(crate) fn refused() -> BrokerError {
    BrokerError::Access { url: "faulty://".into(), detail: "refused on command".into() }
}

/// Waits for `condition`; fails after ten seconds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// What goes wrong, and what was seen.
#[derive(Default)]
pub(crate) struct Faults {
    /// Errors of the next opens.
    pub(crate) opens: Mutex<VecDeque<BrokerError>>,
    /// Errors of the next calls.
    pub(crate) calls: Mutex<VecDeque<BrokerError>>,
    /// While true every open and call fails as broken.
    pub(crate) down: AtomicBool,
    /// Publishing waits while it is closed.
    gate: Mutex<bool>,
    gate_changed: Condvar,
    /// Calls waiting at the gate.
    pub(crate) at_gate: AtomicUsize,
    /// Connections opened.
    pub(crate) opened: AtomicUsize,
    /// Sizes of published batches.
    pub(crate) batches: Mutex<Vec<usize>>,
    /// Ids in subscriptions and unsubscriptions, in all.
    pub(crate) subscribed: AtomicUsize,
    pub(crate) unsubscribed: AtomicUsize,
    /// Records read.
    pub(crate) reads: AtomicUsize,
}

impl Faults {
    pub(crate) fn close_gate(&self) {
        *self.gate.lock() = true;
    }

    pub(crate) fn open_gate(&self) {
        *self.gate.lock() = false;
        self.gate_changed.notify_all();
    }

    fn pass_gate(&self) {
        let mut closed = self.gate.lock();
        self.at_gate.fetch_add(1, Ordering::SeqCst);
        while *closed {
            closed = self.gate_changed.wait(closed);
        }
        self.at_gate.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    fn open(&self) -> Result<()> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        self.fail(&self.opens)
    }

    fn call(&self) -> Result<()> {
        self.fail(&self.calls)
    }

    fn fail(&self, planned: &Mutex<VecDeque<BrokerError>>) -> Result<()> {
        if self.down.load(Ordering::SeqCst) {
            return Err(broken());
        }
        planned.lock().pop_front().map_or(Ok(()), Err)
    }
}

/// A broker with faults.
pub(crate) struct FaultyBroker {
    pub(crate) inner: MemoryBroker,
    pub(crate) faults: Arc<Faults>,
}

impl FaultyBroker {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { inner: MemoryBroker::new(Arc::new(SystemClock)), faults: Arc::default() })
    }

    /// Messages in `queue`.
    pub(crate) fn length(&self, queue: &str) -> u64 {
        self.inner.admin().and_then(|mut admin| admin.length(queue)).unwrap()
    }
}

impl Broker for FaultyBroker {
    fn display_url(&self) -> String {
        "faulty://".into()
    }

    fn identity(&self) -> String {
        self.inner.identity()
    }

    fn publisher(&self) -> Result<Box<dyn Publisher>> {
        self.faults.open()?;
        Ok(Box::new(FaultyPublisher { inner: self.inner.publisher()?, faults: Arc::clone(&self.faults) }))
    }

    fn consumer(&self, options: ConsumerOptions) -> Result<Box<dyn Consumer>> {
        self.inner.consumer(options)
    }

    fn doorbell(&self, queues: &[String]) -> Result<Box<dyn Doorbell>> {
        self.inner.doorbell(queues)
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

struct FaultyPublisher {
    inner: Box<dyn Publisher>,
    faults: Arc<Faults>,
}

impl Publisher for FaultyPublisher {
    fn publish(&mut self, batch: &[Outgoing]) -> Result<()> {
        self.faults.pass_gate();
        self.faults.call()?;
        if let Some(lost) = batch.iter().find(|message| message.destination.routing_key == "nowhere") {
            let Destination { exchange, routing_key } = lost.destination.clone();
            return Err(BrokerError::Unroutable { exchange, routing_key });
        }
        self.faults.batches.lock().push(batch.len());
        self.inner.publish(batch)
    }

    fn publish_once(&mut self, outgoing: &Outgoing, lock: &Lock) -> Result<Taken> {
        self.inner.publish_once(outgoing, lock)
    }

    fn bind(&mut self, queue: &str, destination: &Destination, kind: ExchangeKind) -> Result<()> {
        self.faults.call()?;
        self.inner.bind(queue, destination, kind)
    }
}

/// A result store whose listeners break.
pub(crate) struct FaultyBackend {
    pub(crate) inner: MemoryBackend,
    pub(crate) faults: Arc<Faults>,
}

impl FaultyBackend {
    pub(crate) fn new() -> Arc<Self> {
        let broker = MemoryBroker::new(Arc::new(SystemClock));
        Arc::new(Self { inner: MemoryBackend::beside(&broker), faults: Arc::default() })
    }

    pub(crate) fn write(&self, task_id: &str, state: &str, record: &str) {
        let write = ResultWrite {
            task_id: task_id.into(),
            state: state.into(),
            record: record.into(),
            expires: None,
            reply_to: None,
        };
        self.inner.store().and_then(|mut store| store.write(&[write])).unwrap();
    }

    /// Breaks the open listener: its thread finds out at its next look, which this causes.
    pub(crate) fn break_listener(&self) {
        self.faults.set_down(true);
    }
}

impl Backend for FaultyBackend {
    fn display_url(&self) -> String {
        "faulty://".into()
    }

    fn identity(&self) -> String {
        self.inner.identity()
    }

    fn store(&self) -> Result<Box<dyn ResultStore>> {
        Ok(Box::new(FaultyStore { inner: self.inner.store()?, faults: Arc::clone(&self.faults) }))
    }

    fn listener(&self) -> Result<Box<dyn ResultListener>> {
        self.faults.open()?;
        Ok(Box::new(FaultyListener { inner: self.inner.listener()?, faults: Arc::clone(&self.faults) }))
    }
}

struct FaultyStore {
    inner: Box<dyn ResultStore>,
    faults: Arc<Faults>,
}

impl ResultStore for FaultyStore {
    fn write(&mut self, batch: &[ResultWrite]) -> Result<()> {
        self.inner.write(batch)
    }

    fn read(&mut self, task_ids: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        self.faults.reads.fetch_add(task_ids.len(), Ordering::SeqCst);
        self.faults.call()?;
        self.inner.read(task_ids)
    }

    fn forget(&mut self, task_ids: &[String]) -> Result<u64> {
        self.inner.forget(task_ids)
    }

    fn remove_expired(&mut self) -> Result<u64> {
        self.inner.remove_expired()
    }
}

struct FaultyListener {
    inner: Box<dyn ResultListener>,
    faults: Arc<Faults>,
}

impl ResultListener for FaultyListener {
    fn subscribe(&mut self, task_ids: &[String]) -> Result<()> {
        self.faults.call()?;
        self.faults.subscribed.fetch_add(task_ids.len(), Ordering::SeqCst);
        self.inner.subscribe(task_ids)
    }

    fn unsubscribe(&mut self, task_ids: &[String]) -> Result<()> {
        self.faults.unsubscribed.fetch_add(task_ids.len(), Ordering::SeqCst);
        self.inner.unsubscribe(task_ids)
    }

    /// Looks for faults every few milliseconds, so that a break is noticed while it listens.
    fn next(&mut self, timeout: Duration) -> Result<Vec<(String, Vec<u8>)>> {
        let _ = timeout;
        self.faults.call()?;
        self.inner.next(Duration::from_millis(2))
    }

    fn waker(&self) -> Box<dyn ListenerWaker> {
        self.inner.waker()
    }
}
