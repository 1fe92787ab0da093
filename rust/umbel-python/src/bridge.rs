//! A result store that is a Python object: stores without an engine in Rust run through here.
//!
//! The object has `write(batch)` with tuples of task id, state, record and life in seconds, `read(task_ids)`,
//! `forget(task_ids)`, `remove_expired()` and `close()`, as `umbel.backends.base.Store` says. It serves one call at a time.

use std::sync::Arc;

use pyo3::exceptions::{PyException, PyImportError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use umbel_backend::{Backend, PollingListener, ResultListener, ResultStore};
use umbel_broker::redis::is_success;
use umbel_broker::url::hide_password;
use umbel_broker::{BrokerError, Result};
use umbel_protocol::{Limits, ResultWrite};

/// A store that a Python function opens.
pub(crate) struct PythonBackend {
    url: String,
    open: Arc<Py<PyAny>>,
}

impl PythonBackend {
    /// `open` takes nothing and returns the store at `url`.
    pub(crate) fn new(url: &str, open: Arc<Py<PyAny>>) -> Self {
        Self { url: hide_password(url), open }
    }
}

impl Backend for PythonBackend {
    fn display_url(&self) -> String {
        self.url.clone()
    }

    fn identity(&self) -> String {
        format!("python {}", self.url)
    }

    fn store(&self) -> Result<Box<dyn ResultStore>> {
        let store = attached(&self.url, |py| self.open.call0(py))?;
        Ok(Box::new(PythonStore { url: self.url.clone(), store }))
    }

    fn listener(&self) -> Result<Box<dyn ResultListener>> {
        Ok(Box::new(PollingListener::new(self.store()?)))
    }
}

struct PythonStore {
    url: String,
    store: Py<PyAny>,
}

impl ResultStore for PythonStore {
    fn write(&mut self, batch: &[ResultWrite]) -> Result<()> {
        attached(&self.url, |py| {
            let rows = batch.iter().map(|write| {
                let life = write.expires.map(|life| life.as_secs_f64());
                (write.task_id.as_str(), write.state.as_str(), PyBytes::new(py, &write.record), life)
            });
            self.store.call_method1(py, "write", (PyList::new(py, rows)?,)).map(drop)
        })
    }

    fn read(&mut self, task_ids: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        attached(&self.url, |py| self.store.call_method1(py, "read", (task_ids.to_vec(),))?.extract(py))
    }

    fn forget(&mut self, task_ids: &[String]) -> Result<u64> {
        attached(&self.url, |py| self.store.call_method1(py, "forget", (task_ids.to_vec(),))?.extract(py))
    }

    fn remove_expired(&mut self) -> Result<u64> {
        attached(&self.url, |py| self.store.call_method0(py, "remove_expired")?.extract(py))
    }
}

impl Drop for PythonStore {
    /// Closes what it has open, unless the interpreter is ending and closes it anyway.
    fn drop(&mut self) {
        Python::try_attach(|py| {
            if let Err(error) = self.store.call_method0(py, "close") {
                log::warn!("{}: cannot be closed: {error}", self.url);
            }
        });
    }
}

/// Whether a record says SUCCESS, in any of Celery's serializers, compressed or not.
#[pyfunction]
#[pyo3(signature = (record, /))]
fn record_is_success(record: &[u8]) -> bool {
    is_success(record, &Limits::default())
}

/// Puts the function into the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(record_is_success, module)?)
}

/// Runs `work` with the interpreter, if it still runs.
fn attached<T>(url: &str, work: impl FnOnce(Python<'_>) -> PyResult<T>) -> Result<T> {
    let outcome = Python::try_attach(|py| work(py).map_err(|error| broker_error(py, url, &error)));
    outcome.unwrap_or_else(|| {
        Err(BrokerError::Unavailable { url: url.to_owned(), detail: "the interpreter is ending".to_owned() })
    })
}

/// What an exception of a store means: `OperationalError` may pass, a setting or module that is wrong will not, and
/// anything else is the fault of what was asked.
fn broker_error(py: Python<'_>, url: &str, error: &PyErr) -> BrokerError {
    let (url, text) = (url.to_owned(), hide_password(&error.value(py).to_string()));
    if !error.is_instance_of::<PyException>(py) {
        // Ctrl-C: whoever waits looks for signals before it tries again.
        let interrupted = py.import("_thread").and_then(|thread| thread.call_method0("interrupt_main"));
        drop(interrupted);
        return BrokerError::Unavailable { url, detail: error.to_string() };
    }
    let is = |name: &str| {
        let class = py.import("umbel.exceptions").and_then(|module| module.getattr(name));
        class.is_ok_and(|class| error.is_instance(py, &class))
    };
    if is("OperationalError") {
        BrokerError::Connection { url, detail: text }
    } else if is("ImproperlyConfigured") || error.is_instance_of::<PyImportError>(py) {
        BrokerError::Config { setting: "result_backend".to_owned(), detail: text }
    } else {
        BrokerError::Protocol { detail: format!("{url}: {error}") }
    }
}
