//! The clock of this process, which tests can move.

use std::sync::atomic::{AtomicI64, Ordering};

use pyo3::prelude::*;
use umbel_broker::{Clock, SystemClock};
use umbel_protocol::Timestamp;

/// How far it has been moved, µs.
static MOVED: AtomicI64 = AtomicI64::new(0);

/// The machine's clock, and what tests have added to it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ProcessClock;

impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0.saturating_add(MOVED.load(Ordering::Relaxed)))
    }
}

/// Sets how far this process' clock is from the machine's (seconds).
#[pyfunction]
pub(crate) fn set_clock_offset(seconds: f64) {
    MOVED.store((seconds * 1e6) as i64, Ordering::SeqCst);
}
