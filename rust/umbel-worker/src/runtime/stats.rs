//! A worker in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine;

/// A snapshot of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// The engine's view: messages, jobs, children, totals.
    pub engine: engine::Stats,
    /// Messages the broker handed out.
    pub fetched: u64,
    /// Settlements the broker confirmed.
    pub settled: u64,
    /// Exchanges with the broker, successful ones.
    pub exchanges: u64,
    /// Records written to a result store that is not the broker.
    pub stored: u64,
    /// Times the connection to the broker was lost.
    pub disconnects: u64,
    /// Jobs sent to children, repeated ones each time.
    pub dispatched: u64,
}

/// Counters the threads write.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) fetched: AtomicU64,
    pub(super) settled: AtomicU64,
    pub(super) exchanges: AtomicU64,
    pub(super) stored: AtomicU64,
    pub(super) disconnects: AtomicU64,
    pub(super) dispatched: AtomicU64,
}

impl Traffic {
    pub(super) fn snapshot(&self, engine: engine::Stats) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            engine,
            fetched: read(&self.fetched),
            settled: read(&self.settled),
            exchanges: read(&self.exchanges),
            stored: read(&self.stored),
            disconnects: read(&self.disconnects),
            dispatched: read(&self.dispatched),
        }
    }
}
