//! A broker that is a Python object.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;

use umbel_broker::{
    Admin, Broker, BrokerError, Capabilities, Capability, Clock, Consumer, ConsumerOptions, Control, DeadLetter,
    Doorbell, ExchangeKind, Listener, Lock, Outgoing, Publisher, Result, Revocation, Revoked, Taken, Turn, Waiting,
};
use umbel_protocol::{Destination, Message};

use super::Place;
use super::consumer::PythonConsumer;
use super::messages::{self, PyMessage, PyOutgoing};
use super::substitutes::{Memory, Silence};
use crate::clock::ProcessClock;

/// One `umbel.brokers.base.Broker`. What it says it cannot do is not asked of it.
pub(crate) struct PythonBroker {
    place: Place,
    broker: Py<PyAny>,
    identity: String,
    capabilities: Capabilities,
    memory: Arc<Memory>,
}

impl PythonBroker {
    /// The broker that `open` returns.
    pub(crate) fn open(open: &Py<PyAny>) -> Result<Self> {
        let nameless = Place { url: String::new(), setting: "broker_url" };
        let (broker, names, url, identity) = nameless.attached(|py| {
            super::watch_the_end(py)?;
            let broker = open.bind(py).call0()?;
            let names = messages::each(&broker.getattr("capabilities")?, |name| name.str()?.extract::<String>())?;
            let url = broker.call_method0("display_url")?.extract()?;
            let identity: String = broker.call_method0("identity")?.extract()?;
            Ok((broker.unbind(), names, url, format!("python {identity}")))
        })?;
        let place = Place { url, ..nameless };
        let known = names.iter().map(|name| {
            Capability::named(name).filter(|known| !IN_THE_CORE.contains(known)).ok_or_else(|| unknown(&place, name))
        });
        let capabilities = known.collect::<Result<Capabilities>>()?;
        Ok(Self { place, broker, identity, capabilities, memory: Arc::default() })
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn object(&self) -> &Py<PyAny> {
        &self.broker
    }

    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    pub(super) fn can(&self, capability: Capability) -> bool {
        self.capabilities.has(capability)
    }

    /// A handle that the method `method` opens.
    fn handle(&self, method: &str) -> Result<Handle> {
        let object = self.place.attached(|py| self.broker.call_method0(py, method))?;
        Ok(self.handle_of(object))
    }

    fn handle_of(&self, object: Py<PyAny>) -> Handle {
        let (memory, capabilities) = (Arc::clone(&self.memory), self.capabilities);
        Handle { place: self.place.clone(), object, memory, capabilities }
    }
}

/// What only brokers in the core have.
const IN_THE_CORE: [Capability; 2] = [Capability::Slots, Capability::Lines];

fn unknown(place: &Place, name: &str) -> BrokerError {
    let offered = Capability::ALL.into_iter().filter(|capability| !IN_THE_CORE.contains(capability));
    let there_are = offered.map(Capability::name).collect::<Vec<_>>().join(", ");
    let detail = format!("{} says that it has the capability {name:?}; there are {there_are}", place.url);
    BrokerError::Config { setting: place.setting.to_owned(), detail }
}

impl Broker for PythonBroker {
    fn display_url(&self) -> String {
        self.place.url.clone()
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn publisher(&self) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(self.handle("publisher")?))
    }

    fn consumer(&self, options: ConsumerOptions) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(PythonConsumer::open(self, &options)?))
    }

    fn doorbell(&self, queues: &[String]) -> Result<Box<dyn Doorbell>> {
        let object = self.place.attached(|py| self.broker.call_method1(py, "doorbell", (queues.to_vec(),)))?;
        Ok(Box::new(self.handle_of(object)))
    }

    fn admin(&self) -> Result<Box<dyn Admin>> {
        Ok(Box::new(self.handle("admin")?))
    }

    fn control(&self) -> Result<Box<dyn Control>> {
        let asked = [Capability::Control, Capability::Revocations, Capability::Turns];
        if asked.into_iter().any(|capability| self.can(capability)) {
            return Ok(Box::new(self.handle("control")?));
        }
        let nobody = Python::try_attach(|py| py.None());
        let nobody = nobody.ok_or_else(|| BrokerError::Unavailable {
            url: self.place.url.clone(),
            detail: "the interpreter is ending".to_owned(),
        })?;
        Ok(Box::new(self.handle_of(nobody)))
    }

    fn listener(&self, exchange: &str) -> Result<Box<dyn Listener>> {
        if !self.can(Capability::Control) {
            return Ok(Box::new(Silence));
        }
        let object = self.place.attached(|py| self.broker.call_method1(py, "listener", (exchange,)))?;
        Ok(Box::new(self.handle_of(object)))
    }
}

/// One publisher, doorbell, admin, control or listener in Python.
struct Handle {
    place: Place,
    object: Py<PyAny>,
    memory: Arc<Memory>,
    capabilities: Capabilities,
}

impl Handle {
    /// Calls a method that returns nothing of interest.
    fn tell<'a, A>(&self, method: &str, arguments: impl FnOnce(Python<'_>) -> PyResult<A>) -> Result<()>
    where
        A: for<'py> pyo3::call::PyCallArgs<'py> + 'a,
    {
        self.place.attached(|py| self.object.call_method1(py, method, arguments(py)?).map(drop))
    }

    /// Refuses what the broker cannot do.
    fn check(&self, capability: Capability, what: &str) -> Result<()> {
        if self.capabilities.has(capability) {
            return Ok(());
        }
        let detail =
            format!("{} cannot {what} (it lacks {capability:?})", self.place.url, capability = capability.name());
        Err(BrokerError::Config { setting: "broker_url".to_owned(), detail })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let is_there = Python::try_attach(|py| !self.object.is_none(py));
        if is_there == Some(true) {
            self.place.end(&self.object, "close");
        }
    }
}

impl Publisher for Handle {
    fn publish(&mut self, batch: &[Outgoing]) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        self.place.attached(|py| {
            let batch = messages::outgoing_list(py, batch)?;
            self.object.bind(py).call_method1("publish", (batch,)).map(drop)
        })
    }

    fn publish_once(&mut self, outgoing: &Outgoing, lock: &Lock) -> Result<Taken> {
        self.check(Capability::Locks, "keep a lock for a unique or debounced task")?;
        let (published, other): (bool, Option<String>) = self.place.attached(|py| {
            let life = lock.life.as_secs_f64();
            let arguments =
                (PyOutgoing::of(py, outgoing)?, lock.name.as_str(), lock.owner.as_str(), life, lock.replace);
            self.object.bind(py).call_method1("publish_once", arguments)?.extract()
        })?;
        Ok(match (published, other) {
            (true, replaced) => Taken::Published { replaced },
            (false, owner) => Taken::Refused { owner: owner.unwrap_or_default() },
        })
    }

    fn bind(&mut self, queue: &str, destination: &Destination, kind: ExchangeKind) -> Result<()> {
        self.check(Capability::Exchanges, "bind queues to exchanges")?;
        let kind = match kind {
            ExchangeKind::Direct => "direct",
            ExchangeKind::Topic => "topic",
            ExchangeKind::Fanout => "fanout",
        };
        let arguments = (queue, destination.exchange.as_str(), destination.routing_key.as_str(), kind);
        self.place.attached(|py| self.object.bind(py).call_method1("bind", arguments).map(drop))
    }
}

impl Doorbell for Handle {
    fn wait(&mut self, timeout: Duration) -> Result<bool> {
        self.place.attached(|py| self.object.call_method1(py, "wait", (timeout.as_secs_f64(),))?.extract(py))
    }
}

impl Admin for Handle {
    fn length(&mut self, queue: &str) -> Result<u64> {
        self.place.attached(|py| self.object.call_method1(py, "length", (queue,))?.extract(py))
    }

    fn peek(&mut self, queue: &str, limit: usize) -> Result<Vec<Waiting>> {
        self.check(Capability::Peeking, "show messages that wait")?;
        self.place.attached(|py| {
            messages::each(&self.object.bind(py).call_method1("peek", (queue, limit))?, messages::waiting)
        })
    }

    fn purge(&mut self, queue: &str) -> Result<u64> {
        self.place.attached(|py| self.object.call_method1(py, "purge", (queue,))?.extract(py))
    }

    fn dead_letters(&mut self, offset: usize, limit: usize) -> Result<Vec<DeadLetter>> {
        self.place.attached(|py| {
            let found = self.object.bind(py).call_method1("dead_letters", (offset, limit))?;
            messages::each(&found, messages::dead_letter)
        })
    }

    fn dead_letter(&mut self, id: &str) -> Result<Option<DeadLetter>> {
        self.place.attached(|py| {
            let found = self.object.bind(py).call_method1("dead_letter", (id,))?;
            if found.is_none() { Ok(None) } else { messages::dead_letter(&found).map(Some) }
        })
    }

    fn dead_replay(&mut self, ids: &[String]) -> Result<u64> {
        self.place.attached(|py| self.object.call_method1(py, "dead_replay", (ids.to_vec(),))?.extract(py))
    }

    fn dead_purge(&mut self, ids: Option<&[String]>) -> Result<u64> {
        let ids = ids.map(<[String]>::to_vec);
        self.place.attached(|py| self.object.call_method1(py, "dead_purge", (ids,))?.extract(py))
    }

    fn advice(&mut self) -> Result<Vec<String>> {
        self.place.attached(|py| self.object.call_method0(py, "advice")?.extract(py))
    }
}

impl Control for Handle {
    fn revoke(&mut self, revocations: &[Revocation]) -> Result<()> {
        if !self.capabilities.has(Capability::Revocations) {
            self.memory.revoke(revocations, ProcessClock.now());
            return Ok(());
        }
        let all: Vec<(String, f64)> =
            revocations.iter().map(|kept| (kept.what.to_text(), kept.until.as_seconds())).collect();
        self.place.attached(|py| self.object.call_method1(py, "revoke", (all,)).map(drop))
    }

    fn revoked(&mut self) -> Result<Vec<Revocation>> {
        if !self.capabilities.has(Capability::Revocations) {
            return Ok(self.memory.revoked(ProcessClock.now()));
        }
        let found: Vec<(String, f64)> =
            self.place.attached(|py| self.object.call_method0(py, "revoked")?.extract(py))?;
        let known = found.into_iter().filter_map(|(text, until)| {
            Some(Revocation { what: Revoked::from_text(&text)?, until: messages::moment(until) })
        });
        Ok(known.collect())
    }

    fn turn(&mut self, limit: &str, pause: Duration, patience: Duration) -> Result<Turn> {
        if !self.capabilities.has(Capability::Turns) {
            return Ok(self.memory.turn(limit, pause, patience, ProcessClock.now()));
        }
        let arguments = (limit, pause.as_secs_f64(), patience.as_secs_f64());
        let (wait, granted): (f64, bool) =
            self.place.attached(|py| self.object.call_method1(py, "turn", arguments)?.extract(py))?;
        Ok(Turn { wait: Duration::try_from_secs_f64(wait).unwrap_or_default(), granted })
    }

    fn broadcast(&mut self, exchange: &str, message: &Message) -> Result<()> {
        self.check(Capability::Control, "speak to workers")?;
        self.tell("broadcast", |py| Ok((exchange.to_owned(), Py::new(py, PyMessage::of(message))?)))
    }

    fn open_box(&mut self, address: &Destination) -> Result<()> {
        self.check(Capability::Control, "carry answers")?;
        self.tell("open_box", |_| Ok((address.exchange.clone(), address.routing_key.clone())))
    }

    fn collect(&mut self, address: &Destination, timeout: Duration) -> Result<Vec<Message>> {
        self.check(Capability::Control, "carry answers")?;
        let arguments = (address.exchange.as_str(), address.routing_key.as_str(), timeout.as_secs_f64());
        self.place.attached(|py| {
            let found = self.object.bind(py).call_method1("collect", arguments)?;
            messages::each(&found, |message| Ok(message.cast::<PyMessage>()?.get().get().clone()))
        })
    }

    fn close_box(&mut self, address: &Destination) -> Result<()> {
        self.check(Capability::Control, "carry answers")?;
        self.tell("close_box", |_| Ok((address.exchange.clone(), address.routing_key.clone())))
    }

    fn answer(&mut self, address: &Destination, message: &Message) -> Result<()> {
        self.check(Capability::Control, "carry answers")?;
        self.tell("answer", |py| {
            Ok((address.exchange.clone(), address.routing_key.clone(), Py::new(py, PyMessage::of(message))?))
        })
    }
}

impl Listener for Handle {
    fn next(&mut self, timeout: Duration) -> Result<Vec<Message>> {
        self.place.attached(|py| {
            let heard = self.object.bind(py).call_method1("next", (timeout.as_secs_f64(),))?;
            messages::each(&heard, |message| Ok(message.cast::<PyMessage>()?.get().get().clone()))
        })
    }
}

/// Schemes of brokers that are in the core.
#[pyfunction]
pub(super) fn broker_schemes() -> Vec<&'static str> {
    umbel_broker::url::schemes().collect()
}
