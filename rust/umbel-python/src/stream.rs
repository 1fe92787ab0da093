//! `ResultStream`: waiting for many results in one thread.

use std::mem::ManuallyDrop;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::errors::{ForkedError, broker_error};
use crate::gil;

/// Records of many ids as they come. Thread-safe.
#[pyclass(frozen, module = "umbel._native")]
pub(crate) struct ResultStream {
    stream: ManuallyDrop<umbel_client::ResultStream>,
    process: u32,
}

impl ResultStream {
    pub(crate) fn new(stream: umbel_client::ResultStream) -> Self {
        Self { stream: ManuallyDrop::new(stream), process: std::process::id() }
    }

    fn stream(&self) -> PyResult<&umbel_client::ResultStream> {
        if self.is_ours() { Ok(&self.stream) } else { Err(ForkedError::new_err("the stream was opened before a fork")) }
    }

    fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }
}

#[pymethods]
impl ResultStream {
    #[pyo3(signature = (task_ids, /))]
    fn add(&self, py: Python<'_>, task_ids: Vec<String>) -> PyResult<()> {
        let stream = self.stream()?;
        py.detach(|| stream.add(task_ids)).map_err(broker_error)
    }

    #[pyo3(signature = (task_ids, /))]
    fn remove(&self, py: Python<'_>, task_ids: Vec<String>) -> PyResult<()> {
        let stream = self.stream()?;
        py.detach(|| stream.remove(&task_ids));
        Ok(())
    }

    /// Blocks for records that were not returned yet; empty on timeout and once it is closed.
    #[pyo3(signature = (timeout, /))]
    fn next<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyList>> {
        let stream = self.stream()?;
        let news = gil::call(py, gil::seconds(timeout)?, |call| stream.next(call))?;
        PyList::new(py, news.iter().map(|(task_id, record)| (task_id.as_str(), PyBytes::new(py, record))))
    }

    /// Ends all waiting.
    fn close(&self, py: Python<'_>) {
        if let Ok(stream) = self.stream() {
            py.detach(|| stream.close());
        }
    }
}

impl Drop for ResultStream {
    fn drop(&mut self) {
        // After a fork its lock may be held by nobody: what the parent opened is abandoned.
        if self.is_ours() {
            // SAFETY: dropped here and nowhere else; `self` is not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.stream) };
        }
    }
}
