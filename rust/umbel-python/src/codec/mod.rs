//! JSON between bytes and Python objects, as kombu writes and reads it.

mod extended;
mod hooks;
mod items;
mod keys;
mod read;
mod write;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

pub(crate) use read::loads;
pub(crate) use write::{Success, dumps};

/// The deepest nesting written and read: about what Python's own recursion limit lets `json` handle, so that whatever
/// is written here can be read everywhere.
pub(crate) const MAX_DEPTH: usize = 950;

/// Celery's JSON with kombu's extended types, written from Python objects directly.
///
/// Subclasses, `__json__` and types known to the hook of `set_json_fallback` go through Python. Raises TypeError for
/// what JSON cannot hold, ValueError for circular or too deep values.
#[pyfunction]
#[pyo3(signature = (value, /))]
fn json_dumps<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    dumps(value).map(|json| PyBytes::new(value.py(), &json))
}

/// The JSON result record of a task that succeeded; raises what `json_dumps` raises.
#[pyfunction]
#[pyo3(signature = (task_id, result, children, date_done, group = None, parent_id = None, /))]
fn json_success<'py>(
    task_id: &str,
    result: &Bound<'py, PyAny>,
    children: &Bound<'py, PyAny>,
    date_done: &str,
    group: Option<&str>,
    parent_id: Option<&str>,
) -> PyResult<Bound<'py, PyBytes>> {
    let record = Success { task_id, result, children, date_done, group, parent_id };
    record.dumps().map(|json| PyBytes::new(result.py(), &json))
}

/// The reverse, extended types included. Raises `MalformedError`.
#[pyfunction]
#[pyo3(signature = (data, /))]
fn json_loads<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = data.py();
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return loads(py, bytes.as_bytes());
    }
    if let Ok(text) = data.cast::<PyString>() {
        let text = text.to_str().map_err(|error| read::wrapped(py, "JSON", error))?;
        return loads(py, text.as_bytes());
    }
    let copy: Bound<'py, PyAny> = py.get_type::<PyBytes>().call1((data,))?;
    loads(py, copy.cast::<PyBytes>()?.as_bytes())
}

/// Puts the codec's functions into the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(json_dumps, module)?)?;
    module.add_function(wrap_pyfunction!(json_success, module)?)?;
    module.add_function(wrap_pyfunction!(json_loads, module)?)?;
    module.add_function(wrap_pyfunction!(hooks::set_json_fallback, module)?)
}
