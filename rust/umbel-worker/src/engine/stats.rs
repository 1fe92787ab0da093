//! What the engine can tell about itself.

use super::job::Verdict;

/// A snapshot for monitors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages held that were neither settled nor acknowledged.
    pub held: usize,
    /// Jobs ready to be dispatched.
    pub waiting: usize,
    /// Jobs waiting here for their eta.
    pub timed: usize,
    /// There may be more messages in the queues than the worker has room for.
    pub more: bool,
    /// Jobs sent to a child, not known to have started.
    pub queued: usize,
    /// Jobs running.
    pub running: usize,
    /// Settlements the broker has not confirmed.
    pub unconfirmed: usize,
    /// Messages the engine wants to hold now.
    pub window: usize,
    /// Children that are there.
    pub children: usize,
    /// Slots of children that take jobs.
    pub slots: usize,
    /// Counted since the start.
    pub totals: Totals,
}

/// Counts since the worker started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Deliveries taken.
    pub received: u64,
    /// Jobs that returned.
    pub succeeded: u64,
    /// Jobs that raised, passed their hard limit or lost their child for good.
    pub failed: u64,
    /// Jobs that asked to be run again later.
    pub retried: u64,
    /// Jobs that raised `Ignore`.
    pub ignored: u64,
    /// Jobs that raised `Reject`, either way.
    pub rejected: u64,
    /// Messages put back into their queue.
    pub requeued: u64,
    /// Messages put into the broker's delayed set.
    pub delayed: u64,
    /// Messages put with the dead letters.
    pub dead: u64,
    /// Jobs that expired before they started.
    pub expired: u64,
    /// Jobs that were revoked, whether they had started or not.
    pub revoked: u64,
    /// Messages whose lease was lost.
    pub lost: u64,
}

impl Totals {
    /// Counts the end of a job.
    pub(super) fn count(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Success => self.succeeded += 1,
            Verdict::Failure => self.failed += 1,
            Verdict::Retry => self.retried += 1,
            Verdict::Ignored => self.ignored += 1,
            Verdict::Requeue | Verdict::Reject(_) => self.rejected += 1,
        }
    }
}
