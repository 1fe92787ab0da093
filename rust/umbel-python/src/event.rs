//! What a worker's engine tells, as tuples that start with a word (see `Worker.drain` in `_native.pyi`).

use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;

use crate::control;
use umbel_worker::engine::Notice;
use umbel_worker::runtime::WorkerEvent;

/// The tuple for an event.
pub(crate) fn tuple(py: Python<'_>, event: WorkerEvent) -> PyResult<Bound<'_, PyAny>> {
    match event {
        WorkerEvent::Spawn { count } => ("spawn", count).into_bound_py_any(py),
        WorkerEvent::ChildGone { child, pid, how, expected, running } => {
            let how = if expected { "stopped" } else { how.as_str() };
            ("child-gone", child.0, pid, how, running).into_bound_py_any(py)
        }
        WorkerEvent::Retiring { child } => ("retiring", child.0).into_bound_py_any(py),
        WorkerEvent::Notice(notice) => notice_tuple(py, notice),
        WorkerEvent::Listening => ("listening",).into_bound_py_any(py),
        WorkerEvent::Request(message) => ("request", control::received(py, &message)?).into_bound_py_any(py),
        WorkerEvent::Connected { url } => ("connected", url).into_bound_py_any(py),
        WorkerEvent::Disconnected { url, error, retry_in } => {
            ("disconnected", url, error, retry_in.as_secs_f64()).into_bound_py_any(py)
        }
        WorkerEvent::Refused { id, error, dead: true } => ("dead", "", id, error).into_bound_py_any(py),
        WorkerEvent::Refused { id, error, dead: false } => ("refused", "", id, error).into_bound_py_any(py),
        WorkerEvent::Failed { error } => ("failed", error).into_bound_py_any(py),
        WorkerEvent::Stopped => ("stopped",).into_bound_py_any(py),
    }
}

fn notice_tuple(py: Python<'_>, notice: Notice) -> PyResult<Bound<'_, PyAny>> {
    match notice {
        Notice::Received(facts) => {
            ("received", &facts.task, &facts.id, facts.eta.map(|eta| eta.as_seconds())).into_bound_py_any(py)
        }
        Notice::Discarded { task, id, why } => (why, task, id, "").into_bound_py_any(py),
        Notice::Terminated { task, id, signal } => ("terminated", task, id, signal).into_bound_py_any(py),
        Notice::Unkillable { task, id } => ("unkillable", task, id, "").into_bound_py_any(py),
        Notice::Dead { task, id, reason } => {
            ("dead", task, id, format!("{}: {}", reason.kind, reason.detail)).into_bound_py_any(py)
        }
        Notice::Requeued { task, id, why } => ("requeued", task, id, why).into_bound_py_any(py),
        Notice::Limit { task, id, hard, seconds } => {
            ("limit", if hard { "hard" } else { "soft" }, task, id, seconds).into_bound_py_any(py)
        }
        // The runtime makes events of their own of these two.
        Notice::ChildGone { child, how, running, .. } => {
            ("child-gone", child.0, None::<i32>, how, running).into_bound_py_any(py)
        }
        Notice::Retiring { child } => ("retiring", child.0).into_bound_py_any(py),
    }
}
