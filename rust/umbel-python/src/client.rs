//! `Client`: publishes and waits for results.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use umbel_broker::url::hide_password;
use umbel_broker::{BrokerError, ExchangeKind, Lock, Taken};
use umbel_client::{Call, CallError, ClientOptions, PerProcess};
use umbel_protocol::{Destination, ResultWrite};

use crate::control;
use crate::errors::broker_error;
use crate::gil;
use crate::message;
use crate::options::Options;
use crate::store::Stores;
use crate::stream::ResultStream;

/// How long calls go on trying when nothing else was said.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// Publishes and waits for results. Thread-safe; usable after fork (it connects anew in the child).
#[pyclass(frozen, module = "umbel._native")]
pub(crate) struct Client {
    state: PerProcess<umbel_client::Client, BrokerError>,
    broker_url: String,
    result_url: Option<String>,
    timeout: Option<Duration>,
}

impl Client {
    fn state(&self) -> PyResult<&umbel_client::Client> {
        self.state.get().map_err(broker_error)
    }

    /// Runs `work` with the usual time limit.
    fn call<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&umbel_client::Client, &mut Call<'_>) -> Result<T, CallError> + Send,
    ) -> PyResult<T> {
        let state = self.state()?;
        gil::call(py, self.timeout, |call| work(state, call))
    }
}

#[pymethods]
impl Client {
    /// Connects at first use. Options: `publish_timeout`, `broker_transport_options`,
    /// `result_backend_transport_options`, `open_results`.
    #[new]
    fn new(broker_url: String, result_url: Option<String>, options: &Bound<'_, PyAny>) -> PyResult<Self> {
        let options = Options::new(options)?;
        let timeout = options.seconds("publish_timeout")?.unwrap_or(Some(PUBLISH_TIMEOUT));
        let shown = (hide_password(&broker_url), result_url.as_deref().map(hide_password));
        let stores = Stores {
            broker_url,
            broker_options: options.transport("broker_transport_options")?,
            open_broker: options.get("open_broker")?,
            reply_options: options.get("reply_options")?,
            result_url,
            result_options: options.transport("result_backend_transport_options")?,
            open_results: options.get::<Py<PyAny>>("open_results")?.map(Arc::new),
        };
        let make = move || {
            let (broker, backend) = stores.open()?;
            Ok(umbel_client::Client::new(broker, backend, ClientOptions::default()))
        };
        let client = Self { state: PerProcess::new(make), broker_url: shown.0, result_url: shown.1, timeout };
        client.state()?;
        Ok(client)
    }

    /// Without password.
    #[getter]
    fn broker_url(&self) -> &str {
        &self.broker_url
    }

    /// Without password.
    #[getter]
    fn result_url(&self) -> Option<&str> {
        self.result_url.as_deref()
    }

    /// Sends all, in order, and returns when confirmed.
    #[pyo3(signature = (messages, timeout = None, patience = None))]
    fn publish(&self, messages: &Bound<'_, PyAny>, timeout: Option<f64>, patience: Option<f64>) -> PyResult<()> {
        let batch = message::outgoing(messages)?;
        let (timeout, patience) = (gil::seconds(timeout)?.or(self.timeout), gil::seconds(patience)?);
        let state = self.state()?;
        gil::patient_call(messages.py(), timeout, patience, |call| {
            state.expect_results(call)?;
            state.publisher().publish(batch, call)
        })
    }

    /// Sends one unless another owner has the lock; the word for what happened, and the other owner.
    #[pyo3(signature = (message, name, owner, life, replace, timeout = None, patience = None))]
    #[allow(clippy::too_many_arguments)] // They are Python's.
    fn publish_once(
        &self,
        message: &Bound<'_, PyDict>,
        name: String,
        owner: String,
        life: f64,
        replace: bool,
        timeout: Option<f64>,
        patience: Option<f64>,
    ) -> PyResult<(&'static str, Option<String>)> {
        let py = message.py();
        let life = gil::seconds(Some(life))?.unwrap_or_default();
        let lock = Lock { name, owner, life, replace };
        let outgoing = message::one(message)?;
        let (timeout, patience) = (gil::seconds(timeout)?.or(self.timeout), gil::seconds(patience)?);
        let state = self.state()?;
        let taken = gil::patient_call(py, timeout, patience, |call| {
            state.expect_results(call)?;
            state.once().with(call, |publisher| publisher.publish_once(&outgoing, &lock))
        })?;
        Ok(match taken {
            Taken::Published { replaced } => ("published", replaced),
            Taken::Refused { owner } => ("refused", Some(owner)),
        })
    }

    #[pyo3(signature = (queue, exchange, routing_key, kind, timeout = None, patience = None))]
    #[allow(clippy::too_many_arguments)] // They are Python's.
    fn bind(
        &self,
        py: Python<'_>,
        queue: &str,
        exchange: &str,
        routing_key: &str,
        kind: &str,
        timeout: Option<f64>,
        patience: Option<f64>,
    ) -> PyResult<()> {
        let kind = exchange_kind(kind)?;
        let destination = Destination { exchange: exchange.to_owned(), routing_key: routing_key.to_owned() };
        let (timeout, patience) = (gil::seconds(timeout)?.or(self.timeout), gil::seconds(patience)?);
        let state = self.state()?;
        gil::patient_call(py, timeout, patience, |call| state.publisher().bind(queue, &destination, kind, call))
    }

    fn store_result(
        &self,
        py: Python<'_>,
        task_id: String,
        state: String,
        record: &[u8],
        expires: Option<f64>,
    ) -> PyResult<()> {
        let write =
            [ResultWrite { task_id, state, record: record.to_vec(), expires: gil::seconds(expires)?, reply_to: None }];
        self.call(py, |state, call| state.store()?.with(call, |store| store.write(&write)))
    }

    #[pyo3(signature = (task_ids, /))]
    fn read_results<'py>(&self, py: Python<'py>, task_ids: Vec<String>) -> PyResult<Bound<'py, PyList>> {
        let records = self.call(py, |state, call| state.store()?.with(call, |store| store.read(&task_ids)))?;
        PyList::new(py, records.iter().map(|record| record.as_deref().map(|record| PyBytes::new(py, record))))
    }

    #[pyo3(signature = (task_ids, /))]
    fn forget_results(&self, py: Python<'_>, task_ids: Vec<String>) -> PyResult<u64> {
        self.call(py, |state, call| state.store()?.with(call, |store| store.forget(&task_ids)))
    }

    fn remove_expired_results(&self, py: Python<'_>) -> PyResult<u64> {
        self.call(py, |state, call| state.store()?.with(call, |store| store.remove_expired()))
    }

    fn start_chord(&self, py: Python<'_>, group: &str, size: u64, expires: Option<f64>) -> PyResult<()> {
        let life = gil::seconds(expires)?;
        self.call(py, |state, call| state.store()?.with(call, |store| store.start_chord(group, size, life)))
    }

    #[pyo3(signature = (group, /))]
    fn extend_chord(&self, py: Python<'_>, group: &str) -> PyResult<()> {
        self.call(py, |state, call| state.store()?.with(call, |store| store.extend_chord(group)))
    }

    #[pyo3(signature = (group, /))]
    fn chord_parts<'py>(&self, py: Python<'py>, group: &str) -> PyResult<Bound<'py, PyList>> {
        let parts = self.call(py, |state, call| state.store()?.with(call, |store| store.chord_parts(group)))?;
        PyList::new(py, parts.iter().map(|part| PyBytes::new(py, part)))
    }

    #[pyo3(signature = (group, /))]
    fn end_chord(&self, py: Python<'_>, group: &str) -> PyResult<()> {
        self.call(py, |state, call| state.store()?.with(call, |store| store.end_chord(group)))
    }

    /// Blocks until the stored record differs from `seen`; None on timeout. One listener serves all waits.
    #[pyo3(signature = (task_id, seen, timeout, /))]
    fn wait_result<'py>(
        &self,
        py: Python<'py>,
        task_id: &str,
        seen: Option<&[u8]>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let state = self.state()?;
        let record = gil::call(py, gil::seconds(timeout)?, |call| state.waiter()?.wait(task_id, seen, call))?;
        Ok(record.map(|record| PyBytes::new(py, &record)))
    }

    /// Begins to wait for records of many ids.
    #[pyo3(signature = (task_ids, /))]
    fn stream(&self, py: Python<'_>, task_ids: Vec<String>) -> PyResult<ResultStream> {
        self.call(py, |state, _| Ok(state.waiter()?.stream(task_ids)?)).map(ResultStream::new)
    }

    /// Asks that records of this id (the present one included) be handed out by `drain`.
    #[pyo3(signature = (task_id, /))]
    fn watch(&self, py: Python<'_>, task_id: &str) -> PyResult<()> {
        self.call(py, |state, _| Ok(state.waiter()?.watch(task_id)?))
    }

    #[pyo3(signature = (task_id, /))]
    fn unwatch(&self, py: Python<'_>, task_id: &str) -> PyResult<()> {
        self.call(py, |state, _| {
            state.waiter()?.unwatch(task_id);
            Ok(())
        })
    }

    /// Readable while `drain` has something (for `loop.add_reader`).
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        self.call(py, |state, _| Ok(state.waiter()?.descriptor(|descriptor| descriptor.as_raw_fd())?))
    }

    /// Records for watched ids since the last call.
    fn drain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let drained = self.call(py, |state, _| Ok(state.waiter()?.drain()?))?;
        PyList::new(py, drained.iter().map(|(task_id, record)| (task_id.as_str(), PyBytes::new(py, record))))
    }

    #[pyo3(signature = (queue, /))]
    fn queue_length(&self, py: Python<'_>, queue: &str) -> PyResult<u64> {
        self.call(py, |state, call| state.admin().with(call, |admin| admin.length(queue)))
    }

    /// Up to `limit` messages that wait in a queue, as dicts; nothing is taken.
    #[pyo3(signature = (queue, limit = 100))]
    fn peek<'py>(&self, py: Python<'py>, queue: &str, limit: usize) -> PyResult<Bound<'py, PyList>> {
        let found = self.call(py, |state, call| state.admin().with(call, |admin| admin.peek(queue, limit)))?;
        let list = PyList::empty(py);
        for waiting in &found {
            list.append(message::waiting_dict(py, waiting)?)?;
        }
        Ok(list)
    }

    #[pyo3(signature = (queue, /))]
    fn purge(&self, py: Python<'_>, queue: &str) -> PyResult<u64> {
        self.call(py, |state, call| state.admin().with(call, |admin| admin.purge(queue)))
    }

    #[pyo3(signature = (offset = 0, limit = 100))]
    fn dead_letters<'py>(&self, py: Python<'py>, offset: usize, limit: usize) -> PyResult<Bound<'py, PyList>> {
        let letters =
            self.call(py, |state, call| state.admin().with(call, |admin| admin.dead_letters(offset, limit)))?;
        let list = PyList::empty(py);
        for letter in &letters {
            list.append(message::dead_letter_dict(py, letter)?)?;
        }
        Ok(list)
    }

    #[pyo3(signature = (id, /))]
    fn dead_letter<'py>(&self, py: Python<'py>, id: &str) -> PyResult<Option<Bound<'py, PyDict>>> {
        let letter = self.call(py, |state, call| state.admin().with(call, |admin| admin.dead_letter(id)))?;
        letter.map(|letter| message::dead_letter_dict(py, &letter)).transpose()
    }

    #[pyo3(signature = (ids, /))]
    fn dead_replay(&self, py: Python<'_>, ids: Vec<String>) -> PyResult<u64> {
        self.call(py, |state, call| state.admin().with(call, |admin| admin.dead_replay(&ids)))
    }

    #[pyo3(signature = (ids, /))]
    fn dead_purge(&self, py: Python<'_>, ids: Option<Vec<String>>) -> PyResult<u64> {
        self.call(py, |state, call| state.admin().with(call, |admin| admin.dead_purge(ids.as_deref())))
    }

    /// Tasks are not to run until `until` (seconds since the epoch): kept in the broker, for workers of now and later.
    fn revoke(&self, py: Python<'_>, ids: Vec<String>, stamps: Vec<(String, String)>, until: f64) -> PyResult<()> {
        let revocations = control::revocations(ids, stamps, until);
        self.call(py, |state, call| state.control().with(call, |control| control.revoke(&revocations)))
    }

    /// Ids of tasks that the broker knows to be revoked, sorted.
    fn revoked(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let all = self.call(py, |state, call| state.control().with(call, |control| control.revoked()))?;
        Ok(control::task_ids(all))
    }

    /// Says something to everybody who listens on `exchange`.
    fn broadcast(&self, py: Python<'_>, exchange: &str, headers: &str, content: control::Content<'_>) -> PyResult<()> {
        let message = control::message(headers, content, Some(2));
        self.call(py, |state, call| state.control().with(call, |control| control.broadcast(exchange, &message)))
    }

    /// Opens a box for answers.
    fn open_box(&self, py: Python<'_>, exchange: &str, routing_key: &str) -> PyResult<()> {
        let address = Destination { exchange: exchange.to_owned(), routing_key: routing_key.to_owned() };
        self.call(py, |state, call| state.control().with(call, |control| control.open_box(&address)))
    }

    /// Takes the answers out of a box, waiting for one up to `timeout` seconds: (headers, body) of each.
    fn collect<'py>(
        &self,
        py: Python<'py>,
        exchange: &str,
        routing_key: &str,
        timeout: f64,
    ) -> PyResult<Bound<'py, PyList>> {
        let address = Destination { exchange: exchange.to_owned(), routing_key: routing_key.to_owned() };
        let timeout = gil::seconds(Some(timeout))?.unwrap_or_default();
        let answers =
            self.call(py, |state, call| state.control().with(call, |control| control.collect(&address, timeout)))?;
        let list = PyList::empty(py);
        for answer in &answers {
            list.append(control::received(py, answer)?)?;
        }
        Ok(list)
    }

    /// Closes a box.
    fn close_box(&self, py: Python<'_>, exchange: &str, routing_key: &str) -> PyResult<()> {
        let address = Destination { exchange: exchange.to_owned(), routing_key: routing_key.to_owned() };
        self.call(py, |state, call| state.control().with(call, |control| control.close_box(&address)))
    }

    /// What is wrong with the way the broker's server is set up; empty as a rule.
    fn advice(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.call(py, |state, call| state.admin().with(call, |admin| admin.advice()))
    }

    /// Raises what `publish` would raise if the broker cannot be reached.
    fn ping(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, |state, call| state.admin().with(call, |admin| admin.length("celery").map(|_| ())))
    }

    /// Closes connections and ends the listener thread; a later call connects anew.
    fn close(&self, py: Python<'_>) {
        if let Some(state) = self.state.made() {
            py.detach(|| state.close());
        }
    }

    fn __repr__(&self) -> String {
        let results = self.result_url.as_deref().unwrap_or("disabled");
        format!("<Client broker={} results={results}>", self.broker_url)
    }
}

fn exchange_kind(kind: &str) -> PyResult<ExchangeKind> {
    match kind {
        "direct" => Ok(ExchangeKind::Direct),
        "topic" => Ok(ExchangeKind::Topic),
        "fanout" => Ok(ExchangeKind::Fanout),
        other => Err(PyValueError::new_err(format!("exchange type {other:?}: expected direct, topic or fanout"))),
    }
}
