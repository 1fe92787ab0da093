//! `Worker`: the engine and its threads, for the supervisor in a worker's main process.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use umbel_protocol::Destination;
use umbel_worker::engine::{BatchOptions, ChildId, EngineConfig, ShutdownKind, TaskOptions};
use umbel_worker::runtime::{self, Pauses, Stats, WorkerError, WorkerOptions};

use crate::clock::ProcessClock;
use crate::errors::{ConfigError, broker_error};
use crate::options::Options;
use crate::runtime::OneProcess;
use crate::{control, descriptor, event, logs, store};

/// What holds for options that are not given.
const LEASE: Duration = Duration::from_secs(8);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(25);
const RESULT_EXPIRES: Duration = Duration::from_secs(24 * 60 * 60);
const DELAY_THRESHOLD: Duration = Duration::from_secs(3);
const MAX_DELIVERIES: u32 = 5;
const MAX_MESSAGE_BYTES: usize = 128 << 20;

/// For ever, in a form that can be added to a time.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The engine and its threads in a worker's main process.
#[pyclass(frozen, module = "umbel._native")]
pub(crate) struct Worker {
    worker: OneProcess<runtime::Worker>,
}

fn worker_options(options: &Options<'_>) -> PyResult<WorkerOptions> {
    let engine = EngineConfig {
        hostname: options.get("hostname")?.unwrap_or_else(|| "celery@localhost".to_owned()),
        accept_content: options.get("accept_content")?.unwrap_or_else(|| vec!["application/json".to_owned()]),
        // Celery's 0 is "without limit": the engine's own judgement, here.
        prefetch_multiplier: options.get::<usize>("prefetch_multiplier")?.filter(|multiplier| *multiplier > 0),
        max_deliveries: if options.is_none("max_deliveries")? {
            0
        } else {
            options.get("max_deliveries")?.unwrap_or(MAX_DELIVERIES)
        },
        delay_threshold: options.seconds("delay_threshold")?.flatten().unwrap_or(DELAY_THRESHOLD),
        shutdown_timeout: options.seconds("shutdown_timeout")?.unwrap_or(Some(SHUTDOWN_TIMEOUT)).unwrap_or(NEVER),
        result_expires: options.seconds("result_expires")?.unwrap_or(Some(RESULT_EXPIRES)),
        queue_limits: options.get("queue_limits")?.unwrap_or_default(),
        max_message_bytes: options.get("max_message_bytes")?.unwrap_or(MAX_MESSAGE_BYTES),
        own_queue_suffix: options.get("own_queue_suffix")?.unwrap_or_default(),
    };
    Ok(WorkerOptions {
        engine,
        queues: options.get("queues")?.unwrap_or_else(|| vec!["celery".to_owned()]),
        worker_id: uuid::Uuid::new_v4().to_string(),
        lease: options.seconds("lease")?.flatten().unwrap_or(LEASE),
        control_exchange: options.get("control_exchange")?,
        reconnect: Pauses::default(),
    })
}

fn task_options(task: &Bound<'_, PyAny>) -> PyResult<TaskOptions> {
    let given = Options::new(task)?;
    let flag = |name: &str, default: bool| given.get(name).map(|flag| flag.unwrap_or(default));
    let name: Option<String> = given.get("name")?;
    Ok(TaskOptions {
        name: name.ok_or_else(|| PyValueError::new_err("a task needs a name"))?,
        acks_late: flag("acks_late", true)?,
        acks_on_failure: flag("acks_on_failure", true)?,
        acks_on_timeout: flag("acks_on_timeout", true)?,
        reject_on_worker_lost: flag("reject_on_worker_lost", true)?,
        ignore_result: flag("ignore_result", false)?,
        store_errors_even_if_ignored: flag("store_errors_even_if_ignored", false)?,
        time_limit: given.seconds("time_limit")?.flatten(),
        soft_time_limit: given.seconds("soft_time_limit")?.flatten(),
        rate_limit: given.get("rate_limit")?,
        rate_limit_shared: flag("rate_limit_shared", false)?,
        concurrency_limit: given.get("concurrency_limit")?,
        concurrency_keyed: flag("concurrency_keyed", false)?,
        batch: batch_options(&given)?,
        fair: flag("fair", false)?,
        unique: flag("unique", false)?,
        tells_failures: flag("tells_failures", false)?,
    })
}

fn batch_options(task: &Options<'_>) -> PyResult<Option<BatchOptions>> {
    let Some(most) = task.get::<usize>("flush_every")? else { return Ok(None) };
    let patience = task.seconds("flush_interval")?.flatten().unwrap_or_default();
    Ok(Some(BatchOptions { most: most.max(1), patience }))
}

#[pymethods]
impl Worker {
    #[new]
    fn new(broker_url: &str, result_url: Option<&str>, options: &Bound<'_, PyAny>) -> PyResult<Self> {
        let options = Options::new(options)?;
        let stores = store::Stores {
            broker_url: broker_url.to_owned(),
            broker_options: options.transport("broker_transport_options")?,
            open_broker: options.get("open_broker")?,
            reply_options: options.get("reply_options")?,
            result_url: result_url.map(str::to_owned),
            result_options: options.transport("result_backend_transport_options")?,
            open_results: options.get::<Py<PyAny>>("open_results")?.map(Arc::new),
        };
        let (broker, backend) = stores.open().map_err(broker_error)?;
        let worker = runtime::Worker::new(broker, backend, worker_options(&options)?, Arc::new(ProcessClock));
        Ok(Self { worker: OneProcess::new("Worker", worker.map_err(worker_error)?) })
    }

    /// What the engine must know of the registered tasks; replaces the former table.
    fn set_tasks(&self, tasks: &Bound<'_, PyAny>) -> PyResult<()> {
        let table = tasks.try_iter()?.map(|task| task_options(&task?)).collect::<PyResult<Vec<TaskOptions>>>()?;
        let worker = self.worker.get()?;
        tasks.py().detach(|| worker.set_tasks(table));
        Ok(())
    }

    /// Starts the threads. Messages are fetched once a child is ready.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        let worker = self.worker.get()?;
        py.detach(|| worker.start()).map_err(worker_error)
    }

    /// Takes over `fd`, one end of a socket pair whose other end a `ChildLink` serves.
    fn add_child(&self, py: Python<'_>, child_id: u32, fd: i32, pid: Option<i32>, slots: usize) -> PyResult<()> {
        let worker = self.worker.get()?;
        let socket = descriptor::take_over(fd)?;
        py.detach(|| worker.add_child(ChildId(child_id), socket, pid, slots));
        Ok(())
    }

    /// Ends, warm or cold; may be called again to turn warm into cold.
    fn stop(&self, py: Python<'_>, kind: &str) -> PyResult<()> {
        let kind = match kind {
            "warm" => ShutdownKind::Warm,
            "cold" => ShutdownKind::Cold,
            other => return Err(PyValueError::new_err(format!("a stop is warm or cold, not {other:?}"))),
        };
        let worker = self.worker.get()?;
        py.detach(|| worker.stop(kind));
        Ok(())
    }

    /// Tasks are not to run; what runs is sent the signal, if one is given. `until` is in seconds since the epoch.
    #[pyo3(signature = (ids, stamps, until, signal = None))]
    fn revoke(
        &self,
        py: Python<'_>,
        ids: Vec<String>,
        stamps: Vec<(String, String)>,
        until: f64,
        signal: Option<i32>,
    ) -> PyResult<()> {
        let worker = self.worker.get()?;
        let revocations = control::revocations(ids, stamps, until);
        py.detach(|| worker.revoke(revocations, signal));
        Ok(())
    }

    /// Those of `ids` whose tasks are here and have not ended, with whether they run.
    fn present(&self, py: Python<'_>, ids: Vec<String>) -> PyResult<Vec<(String, bool)>> {
        let worker = self.worker.get()?;
        py.detach(|| worker.present(ids)).map_err(worker_error)
    }

    /// Ids of tasks that are revoked, sorted.
    fn revoked(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let worker = self.worker.get()?;
        py.detach(|| worker.revoked()).map_err(worker_error)
    }

    /// Sends the answer to a request into the box of who asked.
    fn answer(&self, exchange: &str, routing_key: &str, headers: &str, content: control::Content<'_>) -> PyResult<()> {
        let to = Destination { exchange: exchange.to_owned(), routing_key: routing_key.to_owned() };
        self.worker.get()?.answer(to, control::message(headers, content, Some(1)));
        Ok(())
    }

    /// Makes the engine look at the clock, which was moved.
    fn tick(&self, py: Python<'_>) -> PyResult<()> {
        let worker = self.worker.get()?;
        py.detach(|| worker.tick());
        Ok(())
    }

    /// Readable while `drain` has something.
    fn fileno(&self) -> PyResult<i32> {
        Ok(self.worker.get()?.notifications().as_raw_fd())
    }

    /// What happened since the last call.
    fn drain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let worker = self.worker.get()?;
        let events = py.detach(|| worker.drain());
        logs::flush(py);
        let list = PyList::empty(py);
        for event in events {
            list.append(event::tuple(py, event)?)?;
        }
        Ok(list)
    }

    /// Whether every received task is worth an event.
    fn want_notices(&self, received: bool) -> PyResult<()> {
        self.worker.get()?.want_received(received);
        Ok(())
    }

    /// The present numbers.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let worker = self.worker.get()?;
        let stats = py.detach(|| worker.stats()).map_err(worker_error)?;
        stats_dict(py, &stats)
    }

    /// How many children there should be; missing ones are asked for with "spawn".
    fn set_pool_size(&self, py: Python<'_>, size: usize) -> PyResult<()> {
        let worker = self.worker.get()?;
        py.detach(|| worker.set_pool_size(size));
        Ok(())
    }
}

fn stats_dict<'py>(py: Python<'py>, stats: &Stats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let engine = &stats.engine;
    for (name, value) in [
        ("held", engine.held),
        ("waiting", engine.waiting),
        ("timed", engine.timed),
        ("queued", engine.queued),
        ("running", engine.running),
        ("unconfirmed", engine.unconfirmed),
        ("window", engine.window),
        ("children", engine.children),
        ("slots", engine.slots),
    ] {
        dict.set_item(name, value)?;
    }
    dict.set_item("more", engine.more)?;
    let totals = &engine.totals;
    for (name, value) in [
        ("received", totals.received),
        ("succeeded", totals.succeeded),
        ("failed", totals.failed),
        ("retried", totals.retried),
        ("ignored", totals.ignored),
        ("rejected", totals.rejected),
        ("requeued", totals.requeued),
        ("delayed", totals.delayed),
        ("dead", totals.dead),
        ("expired", totals.expired),
        ("revoked", totals.revoked),
        ("lost", totals.lost),
        ("fetched", stats.fetched),
        ("settled", stats.settled),
        ("exchanges", stats.exchanges),
        ("stored", stats.stored),
        ("disconnects", stats.disconnects),
        ("dispatched", stats.dispatched),
    ] {
        dict.set_item(name, value)?;
    }
    Ok(dict)
}

fn worker_error(error: WorkerError) -> PyErr {
    let text = error.to_string();
    match error {
        WorkerError::Io(error) => error.into(),
        WorkerError::AlreadyStarted | WorkerError::NotRunning => PyRuntimeError::new_err(text),
        WorkerError::Config { .. } => ConfigError::new_err(text),
    }
}
