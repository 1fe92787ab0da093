//! Python hooks for the types this codec does not know.

use pyo3::prelude::*;
use umbel_broker::sync::Mutex;

struct Hooks {
    default: Option<Py<PyAny>>,
    object_hook: Option<Py<PyAny>>,
}

static HOOKS: Mutex<Hooks> = Mutex::new(Hooks { default: None, object_hook: None });

/// Installs Python hooks: `default(obj)` for unknown types when writing, `object_hook(type, value)` for unknown
/// `__type__` names when reading. None removes one.
#[pyfunction]
#[pyo3(signature = (default, object_hook, /))]
pub(super) fn set_json_fallback(default: Option<Py<PyAny>>, object_hook: Option<Py<PyAny>>) {
    // The former hooks are dropped after the lock: their destructors may be Python code that comes back here.
    let _former = std::mem::replace(&mut *HOOKS.lock(), Hooks { default, object_hook });
}

/// The hook for writing.
pub(super) fn default<'py>(py: Python<'py>) -> Option<Bound<'py, PyAny>> {
    HOOKS.lock().default.as_ref().map(|hook| hook.bind(py).clone())
}

/// The hook for reading.
pub(super) fn object_hook<'py>(py: Python<'py>) -> Option<Bound<'py, PyAny>> {
    HOOKS.lock().object_hook.as_ref().map(|hook| hook.bind(py).clone())
}
