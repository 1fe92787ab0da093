//! What the core logs, handed to Python's `logging` (logger `umbel.native`).
//!
//! Threads of the core never wait for the interpreter: they put their lines into a short queue, and whoever crosses
//! into the extension next passes them on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;
use pyo3::prelude::*;

/// Lines kept while nobody passes them on; older ones go first.
const KEPT: usize = 256;

static WAITING: AtomicBool = AtomicBool::new(false);
static LINES: Mutex<VecDeque<(Level, String)>> = Mutex::new(VecDeque::new());

struct Queue;

impl Log for Queue {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = record.args().to_string();
        // In a forked child a thread that is not there may hold the lock; a lost line is better than a lost child.
        if let Some(mut lines) = LINES.try_lock_for(Duration::from_millis(100)) {
            if lines.len() == KEPT {
                lines.pop_front();
            }
            lines.push_back((record.level(), line));
            WAITING.store(true, Ordering::Release);
        }
    }

    fn flush(&self) {}
}

/// Collects warnings and errors of the core from now on.
pub(crate) fn start() {
    // An extension has its own copy of `log`: nobody else can have set a logger, except a former import of this one.
    if log::set_logger(&Queue).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

/// Passes on what was collected.
pub(crate) fn flush(py: Python<'_>) {
    if WAITING.load(Ordering::Acquire)
        && let Err(error) = pass_on(py)
    {
        error.write_unraisable(py, None);
    }
}

#[cold]
fn pass_on(py: Python<'_>) -> PyResult<()> {
    WAITING.store(false, Ordering::Release);
    let lines = LINES.try_lock_for(Duration::from_millis(100)).map(|mut lines| std::mem::take(&mut *lines));
    let logger = py.import("logging")?.call_method1("getLogger", ("umbel.native",))?;
    for (level, line) in lines.unwrap_or_default() {
        let method = if level == Level::Error { "error" } else { "warning" };
        logger.call_method1(method, ("%s", line))?;
    }
    Ok(())
}
