//! `ChildLink`: a child's end of the socket to the main process.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use umbel_broker::{DeadReason, Outgoing};
use umbel_protocol::ResultWrite;
use umbel_worker::engine::{Cancel, Outcome, Verdict};
use umbel_worker::link::{self, LinkError};

use crate::descriptor;
use crate::errors::NativeError;
use crate::gil;
use crate::job::Job;
use crate::logs;
use crate::message;
use crate::runtime::OneProcess;

/// How long `next` sleeps before it lets signal handlers run: at first, and once the child has been idle for a while.
const NAP: Duration = Duration::from_millis(100);
const LONG_NAP: Duration = Duration::from_millis(500);

/// A child's end of the socket to the main process. Many threads may call it.
#[pyclass(frozen, module = "umbel._native")]
pub(crate) struct ChildLink {
    link: OneProcess<link::ChildLink>,
}

#[pymethods]
impl ChildLink {
    #[new]
    #[pyo3(signature = (fd, slots = 1))]
    fn new(py: Python<'_>, fd: i32, slots: usize) -> PyResult<Self> {
        if slots == 0 {
            return Err(PyValueError::new_err("a child runs at least one job at a time"));
        }
        let socket = descriptor::take_over(fd)?;
        let link = py.detach(|| link::ChildLink::new(socket, slots)).map_err(link_error)?;
        Ok(Self { link: OneProcess::new("ChildLink", link) })
    }

    /// Blocks for the next job; None at the timeout or once `stopped`.
    #[pyo3(signature = (timeout = None))]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Job>> {
        let link = self.link.get()?;
        // While there is work the GIL stays here: to give it up and ask for it again costs more than a small task when
        // other threads want it too.
        if let Some(job) = link.next_waiting() {
            return Ok(Some(Job::new(job)));
        }
        let started = Instant::now();
        let deadline = gil::seconds(timeout)?.and_then(|timeout| started.checked_add(timeout));
        py.detach(|| {
            loop {
                let nap = if started.elapsed() < Duration::from_secs(1) { NAP } else { LONG_NAP };
                let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                if let Some(job) = link.next(Some(left.map_or(nap, |left| left.min(nap)))) {
                    return Ok(Some(Job::new(job)));
                }
                if link.is_ending() || left.is_some_and(|left| left <= nap) {
                    return Ok(None);
                }
                gil::check_signals()?;
            }
        })
    }

    /// The jobs of the same batch that have started with this one, once.
    fn companions(&self, job: &Job) -> PyResult<Vec<Job>> {
        Ok(self.link.get()?.companions(job.inner.id).into_iter().map(Job::new).collect())
    }

    /// For an event loop in place of `next`: readable while `take` or `interruptions` may have something, or
    /// `is_ending` has turned true.
    fn fileno(&self) -> PyResult<i32> {
        Ok(self.link.get()?.bell().map_err(link_error)?.as_raw_fd())
    }

    /// Up to `most` jobs that are here, which count as started. Never waits.
    fn take(&self, most: usize) -> PyResult<Vec<Job>> {
        Ok(self.link.get()?.take(most).into_iter().map(Job::new).collect())
    }

    /// Numbers of running jobs to be interrupted, with why: "soft" (limit), "hard" (limit) or "revoked".
    fn interruptions(&self) -> PyResult<Vec<(u64, &'static str)>> {
        let found = self.link.get()?.interruptions().into_iter();
        Ok(found
            .map(|(job, why)| match why {
                None => (job.0, "soft"),
                Some(Cancel::TimeLimit) => (job.0, "hard"),
                Some(Cancel::Revoked) => (job.0, "revoked"),
            })
            .collect())
    }

    /// True when no more jobs will come: this child retires, or `stopped`.
    #[getter]
    fn is_ending(&self) -> PyResult<bool> {
        Ok(self.link.get()?.is_ending())
    }

    /// True when the main process said stop, or is gone.
    #[getter]
    fn stopped(&self) -> PyResult<bool> {
        Ok(self.link.get()?.stopped())
    }

    /// Reports the outcome; see `_native.pyi`.
    #[pyo3(signature = (job, state, disposition, record = None, expires = None, publish = None, reason = "", kind = "rejected"), text_signature = "($self, job, state, disposition, record=None, expires=None, publish=(), reason='', kind='rejected')")]
    #[allow(clippy::too_many_arguments)] // They are Python's keyword arguments.
    fn finish(
        &self,
        py: Python<'_>,
        job: &Job,
        state: String,
        disposition: &str,
        record: Option<&[u8]>,
        expires: Option<f64>,
        publish: Option<&Bound<'_, PyAny>>,
        reason: &str,
        kind: &str,
    ) -> PyResult<()> {
        let link = self.link.get()?;
        let verdict = verdict(&state, disposition, DeadReason { kind: kind.to_owned(), detail: reason.to_owned() })?;
        let publish: Vec<Outgoing> = publish.map(message::outgoing).transpose()?.unwrap_or_default();
        let result = record.map(|record| result_write(job, state, record, expires)).transpose()?;
        let outcome = Outcome { job: job.inner.id, verdict, result, publish };
        match link.report(&outcome).map_err(link_error)? {
            true if link.has_bell() => link.write_soon(),
            true => py.detach(|| link.write()),
            false => {}
        }
        Ok(())
    }

    /// Stores a STARTED (or custom state) record while the job runs, in order with what `finish` will store.
    #[pyo3(signature = (job, record, expires, state = "STARTED", task_id = None))]
    fn started(
        &self,
        py: Python<'_>,
        job: &Job,
        record: &[u8],
        expires: Option<f64>,
        state: &str,
        task_id: Option<String>,
    ) -> PyResult<()> {
        let link = self.link.get()?;
        let mut write = result_write(job, state.to_owned(), record, expires)?;
        write.task_id = task_id.unwrap_or(write.task_id);
        py.detach(|| link.progress(job.inner.id, &write)).map_err(link_error)
    }

    /// Asks for no more jobs: those not started go back to the main process; `next` then returns None.
    fn retire(&self, py: Python<'_>) -> PyResult<()> {
        let link = self.link.get()?;
        py.detach(|| link.retire());
        Ok(())
    }

    /// Asks for a replacement, and takes jobs until that is there.
    fn ask_for_relief(&self) -> PyResult<()> {
        self.link.get()?.ask_for_relief();
        Ok(())
    }

    /// Called by the SIGUSR1 handler: the id of the running job whose soft limit passed, once; else None.
    fn soft_limit_job(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let link = self.link.get()?;
        let job = py.detach(|| link.soft_limit_job());
        Ok(job.map(|job| Job::new(job).id().to_owned()))
    }

    /// Blocks until all outcomes are written to the socket.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        let link = self.link.get()?;
        py.detach(|| link.flush());
        logs::flush(py);
        Ok(())
    }
}

fn result_write(job: &Job, state: String, record: &[u8], expires: Option<f64>) -> PyResult<ResultWrite> {
    let expires = gil::seconds(expires)?;
    Ok(ResultWrite { task_id: job.id().to_owned(), state, record: record.to_vec(), expires, reply_to: None })
}

fn verdict(state: &str, disposition: &str, reason: DeadReason) -> PyResult<Verdict> {
    match (disposition, state) {
        ("requeue", _) => Ok(Verdict::Requeue),
        ("reject", _) => Ok(Verdict::Reject(reason)),
        ("ack", "SUCCESS") => Ok(Verdict::Success),
        ("ack", "FAILURE") => Ok(Verdict::Failure),
        ("ack", "RETRY") => Ok(Verdict::Retry),
        ("ack", "IGNORED" | "REJECTED" | "REVOKED") => Ok(Verdict::Ignored),
        _ => Err(PyValueError::new_err(format!(
            "an outcome of state {state:?} and disposition {disposition:?}: expected SUCCESS, FAILURE, RETRY, REJECTED, \
             REVOKED or IGNORED, and ack, requeue or reject"
        ))),
    }
}

fn link_error(error: LinkError) -> PyErr {
    match error {
        LinkError::Io(error) => error.into(),
        LinkError::TooLarge { .. } => NativeError::new_err(error.to_string()),
    }
}
