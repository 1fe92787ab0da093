//! Brokers and result stores that are Python objects. `umbel.brokers.base` and `umbel.backends.base` say what such
//! objects must do; here they become a [`umbel_broker::Broker`] and a [`umbel_backend::Backend`].
//!
//! A call attaches to the interpreter for as long as it takes, which is why whatever waits in Python must let go of the
//! GIL while it does.

mod backend;
mod broker;
mod conformance;
mod consumer;
mod messages;
mod substitutes;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyException, PyImportError};
use pyo3::prelude::*;

use umbel_broker::url::hide_password;
use umbel_broker::{BrokerError, Result};

pub(crate) use backend::PythonBackend;
pub(crate) use broker::PythonBroker;

/// Puts functions and classes into the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(backend::record_is_success, module)?)?;
    module.add_function(wrap_pyfunction!(broker::broker_schemes, module)?)?;
    module.add_function(wrap_pyfunction!(conformance::conformance_cases, module)?)?;
    module.add_function(wrap_pyfunction!(conformance::run_conformance_case, module)?)?;
    messages::register(module)
}

/// Calls of Python objects that have not returned.
static CALLS: AtomicUsize = AtomicUsize::new(0);
/// The process they are counted in: a forked child has none of its parent's.
static PROCESS: AtomicU32 = AtomicU32::new(0);
/// The interpreter is about to end.
static ENDING: AtomicBool = AtomicBool::new(false);

/// The longest wait for calls at the end of the interpreter.
const LAST_CALLS: Duration = Duration::from_secs(5);

/// A call of a Python object. A thread that is in one while the interpreter ends would take the process down with it.
struct Inside;

impl Inside {
    /// `None` once the interpreter is about to end.
    fn enter() -> Option<Self> {
        let process = std::process::id();
        if PROCESS.swap(process, Ordering::SeqCst) != process {
            CALLS.store(0, Ordering::SeqCst);
        }
        CALLS.fetch_add(1, Ordering::SeqCst);
        let inside = Self;
        (!ENDING.load(Ordering::SeqCst)).then_some(inside)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        CALLS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Lets no more calls begin, and waits for those there are. Called as the interpreter ends.
#[pyfunction]
fn end_calls(py: Python<'_>) {
    ENDING.store(true, Ordering::SeqCst);
    if PROCESS.load(Ordering::SeqCst) != std::process::id() {
        return;
    }
    py.detach(|| {
        let deadline = Instant::now() + LAST_CALLS;
        while CALLS.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    });
}

/// Has the interpreter call [`end_calls`], from the first object on.
fn watch_the_end(py: Python<'_>) -> PyResult<()> {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if !WATCHED.swap(true, Ordering::SeqCst) {
        py.import("atexit")?.call_method1("register", (wrap_pyfunction!(end_calls, py)?,))?;
    }
    Ok(())
}

/// What a Python object is to the core: its URL without password, and the setting that names it.
#[derive(Debug, Clone)]
struct Place {
    url: String,
    setting: &'static str,
}

impl Place {
    /// Runs `work` with the interpreter, if it still runs.
    fn attached<T>(&self, work: impl FnOnce(Python<'_>) -> PyResult<T>) -> Result<T> {
        let inside = Inside::enter();
        let outcome = inside
            .as_ref()
            .and_then(|_| Python::try_attach(|py| work(py).map_err(|error| self.broker_error(py, &error))));
        outcome.unwrap_or_else(|| {
            Err(BrokerError::Unavailable { url: self.url.clone(), detail: "the interpreter is ending".to_owned() })
        })
    }

    /// Calls the method without arguments that ends `object`, unless the interpreter is ending and does so anyway.
    fn end(&self, object: &Py<PyAny>, method: &str) {
        let Some(_inside) = Inside::enter() else { return };
        Python::try_attach(|py| {
            // Objects also go while an exception is on its way, which is not to meet another.
            let pending = PyErr::take(py);
            if let Err(error) = object.call_method0(py, method) {
                log::warn!("{}: cannot be closed: {error}", self.url);
            }
            if let Some(pending) = pending {
                pending.restore(py);
            }
        });
    }

    /// What an exception means: `OperationalError` may pass on another connection, `Unavailable` on the same one; a
    /// setting or module that is wrong will not; anything else is the fault of what was asked.
    fn broker_error(&self, py: Python<'_>, error: &PyErr) -> BrokerError {
        let (url, detail) = (self.url.clone(), hide_password(&error.value(py).to_string()));
        if !error.is_instance_of::<PyException>(py) {
            // Ctrl-C: whoever waits looks for signals before it tries again.
            let interrupted = py.import("_thread").and_then(|thread| thread.call_method0("interrupt_main"));
            drop(interrupted);
            return BrokerError::Unavailable { url, detail: error.to_string() };
        }
        let is = |name: &str| {
            let (module, name) = name.rsplit_once('.').unwrap_or_default();
            // A class whose module was not imported is not that of an exception.
            let loaded = py.import("sys").and_then(|sys| sys.getattr("modules")?.get_item(module));
            let class = loaded.and_then(|module| module.getattr(name));
            class.is_ok_and(|class| error.is_instance(py, &class))
        };
        if is("umbel.brokers.base.Unavailable") {
            BrokerError::Unavailable { url, detail }
        } else if is("umbel.brokers.base.AccessRefused") {
            BrokerError::Access { url, detail }
        } else if is("umbel.exceptions.OperationalError") {
            BrokerError::Connection { url, detail }
        } else if is("umbel.brokers.base.Unroutable") {
            let text = |name: &str| error.value(py).getattr(name).and_then(|name| name.extract()).unwrap_or_default();
            BrokerError::Unroutable { exchange: text("exchange"), routing_key: text("routing_key") }
        } else if is("umbel.exceptions.ImproperlyConfigured") || error.is_instance_of::<PyImportError>(py) {
            BrokerError::Config { setting: self.setting.to_owned(), detail }
        } else {
            BrokerError::Protocol { detail: format!("{url}: {error}") }
        }
    }
}
