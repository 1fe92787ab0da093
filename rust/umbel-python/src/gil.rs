//! The one door out of the interpreter: blocking calls go through here, so that other threads run meanwhile and
//! Ctrl-C works.

use std::time::Duration;

use pyo3::exceptions::{PyKeyboardInterrupt, PyValueError};
use pyo3::prelude::*;

use umbel_client::{Call, CallError};

use crate::errors::broker_error;
use crate::logs;

/// Runs a blocking call detached from the interpreter. While it waits, signal handlers run about every 100 ms; what
/// one of them raises ends the call.
pub(crate) fn call<T: Send>(
    py: Python<'_>,
    timeout: Option<Duration>,
    work: impl FnOnce(&mut Call<'_>) -> Result<T, CallError> + Send,
) -> PyResult<T> {
    patient_call(py, timeout, None, work)
}

/// [`call`] with an end to the patience with errors; see [`Call::with_patience`].
pub(crate) fn patient_call<T: Send>(
    py: Python<'_>,
    timeout: Option<Duration>,
    patience: Option<Duration>,
    work: impl FnOnce(&mut Call<'_>) -> Result<T, CallError> + Send,
) -> PyResult<T> {
    let mut raised = None;
    let outcome = py.detach(|| {
        let mut pulse = || match check_signals() {
            Ok(()) => true,
            Err(error) => {
                raised = Some(error);
                false
            }
        };
        work(&mut Call::interruptible(timeout, &mut pulse).with_patience(patience))
    });
    logs::flush(py);
    match outcome {
        Ok(value) => Ok(value),
        Err(CallError::Broker(error)) => Err(broker_error(error)),
        Err(CallError::Interrupted) => Err(raised.unwrap_or_else(|| PyKeyboardInterrupt::new_err(()))),
    }
}

/// Runs pending signal handlers, from a detached thread. Does nothing while the interpreter shuts down.
pub(crate) fn check_signals() -> PyResult<()> {
    Python::try_attach(|py| py.check_signals()).unwrap_or(Ok(()))
}

/// A number of seconds as a duration; None stays None, negative numbers are zero, and what is too large to count is
/// for ever.
pub(crate) fn seconds(timeout: Option<f64>) -> PyResult<Option<Duration>> {
    match timeout {
        Some(seconds) if seconds.is_nan() => {
            Err(PyValueError::new_err("a timeout must be a number of seconds, not NaN"))
        }
        Some(seconds) => Ok(Duration::try_from_secs_f64(seconds.max(0.0)).ok()),
        None => Ok(None),
    }
}
