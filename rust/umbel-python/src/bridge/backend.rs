//! A result store that is a Python object: stores without an engine in Rust run through here.
//!
//! The object has `write(batch)` with tuples of task id, state, record and life in seconds, `read(task_ids)`,
//! `forget(task_ids)`, `remove_expired()` and `close()`, as `umbel.backends.base.Store` says. It serves one call at a time.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use umbel_backend::{Backend, PollingListener, ResultListener, ResultStore};
use umbel_broker::Result;
use umbel_broker::redis::is_success;
use umbel_broker::url::hide_password;
use umbel_protocol::{Limits, ResultWrite};

use super::Place;

/// A store that a Python function opens.
pub(crate) struct PythonBackend {
    place: Place,
    open: Arc<Py<PyAny>>,
}

impl PythonBackend {
    /// `open` takes nothing and returns the store at `url`.
    pub(crate) fn new(url: &str, open: Arc<Py<PyAny>>) -> Self {
        Self { place: Place { url: hide_password(url), setting: "result_backend" }, open }
    }
}

impl Backend for PythonBackend {
    fn display_url(&self) -> String {
        self.place.url.clone()
    }

    fn identity(&self) -> String {
        format!("python {}", self.place.url)
    }

    fn store(&self) -> Result<Box<dyn ResultStore>> {
        let store = self.place.attached(|py| {
            super::watch_the_end(py)?;
            self.open.call0(py)
        })?;
        Ok(Box::new(PythonStore { place: self.place.clone(), store }))
    }

    fn listener(&self) -> Result<Box<dyn ResultListener>> {
        Ok(Box::new(PollingListener::new(self.store()?)))
    }
}

struct PythonStore {
    place: Place,
    store: Py<PyAny>,
}

impl ResultStore for PythonStore {
    fn write(&mut self, batch: &[ResultWrite]) -> Result<()> {
        self.place.attached(|py| {
            let rows = batch.iter().map(|write| {
                let life = write.expires.map(|life| life.as_secs_f64());
                (write.task_id.as_str(), write.state.as_str(), PyBytes::new(py, &write.record), life)
            });
            self.store.call_method1(py, "write", (PyList::new(py, rows)?,)).map(drop)
        })
    }

    fn read(&mut self, task_ids: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        self.place.attached(|py| self.store.call_method1(py, "read", (task_ids.to_vec(),))?.extract(py))
    }

    fn forget(&mut self, task_ids: &[String]) -> Result<u64> {
        self.place.attached(|py| self.store.call_method1(py, "forget", (task_ids.to_vec(),))?.extract(py))
    }

    fn remove_expired(&mut self) -> Result<u64> {
        self.place.attached(|py| self.store.call_method0(py, "remove_expired")?.extract(py))
    }
}

impl Drop for PythonStore {
    /// Closes what it has open, unless the interpreter is ending and closes it anyway.
    fn drop(&mut self) {
        self.place.end(&self.store, "close");
    }
}

/// Whether a record says SUCCESS, in any of Celery's serializers, compressed or not.
#[pyfunction]
#[pyo3(signature = (record, /))]
pub(super) fn record_is_success(record: &[u8]) -> bool {
    is_success(record, &Limits::default())
}
