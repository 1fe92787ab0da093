//! What the core logs, handed to Python's `logging` (logger `umbel.native`).
//!
//! Threads of the core never wait for the interpreter: they put their lines into a short queue, and whoever crosses
//! into the extension next passes them on.

use std::collections::VecDeque;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;
use umbel_broker::sync::Mutex;

/// Lines kept while nobody passes them on; older ones go first.
const KEPT: usize = 256;

/// In a forked child a thread that is not there may hold the lines; a lost line is better than a lost child.
const PATIENCE: Duration = Duration::from_millis(100);

static WAITING: AtomicBool = AtomicBool::new(false);
static LINES: Mutex<VecDeque<(Level, String)>> = Mutex::new(VecDeque::new());

struct Queue;

fn lines() -> Option<MutexGuard<'static, VecDeque<(Level, String)>>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match LINES.try_lock() {
            None if Instant::now() < deadline => std::thread::yield_now(),
            lines => return lines,
        }
    }
}

impl Log for Queue {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = record.args().to_string();
        if let Some(mut lines) = lines() {
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
    let lines = lines().map(|mut lines| std::mem::take(&mut *lines));
    let logger = py.import("logging")?.call_method1("getLogger", ("umbel.native",))?;
    for (level, line) in lines.unwrap_or_default() {
        let method = if level == Level::Error { "error" } else { "warning" };
        logger.call_method1(method, ("%s", line))?;
    }
    Ok(())
}
