//! What the engine wants done.

use std::sync::Arc;
use std::time::Duration;

use umbel_broker::Settlement;
use umbel_protocol::{TaskFacts, Timestamp};

use super::input::ChildId;
use super::job::{Cancel, Job, JobId};

/// One thing to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Fetch up to `want` messages (one fetch at a time; answered by `Delivered` or `FetchFailed`).
    Fetch {
        /// At most this many.
        want: usize,
    },
    /// Give these to the broker and the result store, in order; answered by `Settled`. After `Reconnected` the
    /// engine gives out again whatever was not confirmed.
    Settle(Vec<Settlement>),
    /// Send jobs to a child.
    Dispatch {
        /// Which child.
        child: ChildId,
        /// The jobs, in order.
        jobs: Vec<Job>,
    },
    /// Ask a child to give back jobs it has not started.
    Recall {
        /// Which child.
        child: ChildId,
        /// Which jobs.
        jobs: Vec<JobId>,
    },
    /// Raise `SoftTimeLimitExceeded` in a job, if it still runs.
    SoftLimit {
        /// Which child.
        child: ChildId,
        /// Which job.
        job: JobId,
    },
    /// Cancel one of several jobs that run in a child, if it still runs. The child reports how it ended; a job that
    /// cannot be cancelled (it runs in a thread, or will not end) is not reported, and the engine goes on to kill.
    Cancel {
        /// Which child.
        child: ChildId,
        /// Which job.
        job: JobId,
        /// Why.
        why: Cancel,
    },
    /// Tell a child to end once its running jobs are done.
    StopChild {
        /// Which child.
        child: ChildId,
    },
    /// Kill a child's process (`SIGKILL`); answered by `ChildGone`.
    Kill {
        /// Which child.
        child: ChildId,
    },
    /// Send a child's process a signal, which may end it.
    Signal {
        /// Which child.
        child: ChildId,
        /// The signal's number.
        signal: i32,
    },
    /// Ask the broker when a job may start under a rate limit that all workers share; answered by `Turn`.
    AskTurn {
        /// Which job.
        job: JobId,
        /// The limit's name.
        limit: String,
        /// Between two starts.
        pause: Duration,
        /// A turn that comes later than this is not kept for it.
        patience: Duration,
    },
    /// Children are missing: start this many.
    Spawn {
        /// How many.
        count: usize,
    },
    /// Send `Tick` at this moment, unless another `WakeAt` replaces it. To be turned into a span of time when it is
    /// received: waiting for the wall clock itself to reach it could take for ever after the clock went back.
    WakeAt(Timestamp),
    /// Something people or monitors want to know.
    Notice(Notice),
    /// Everything is settled and every child is gone, or the time for that is over: close the broker and end. Children
    /// that never became ready or outlived being killed are the supervisor's to end.
    Stopped,
}

/// Something worth a log line or an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// A task was taken; what the engine has read of its message.
    Received(Arc<TaskFacts>),
    /// A task will not run: expired or revoked.
    Discarded {
        /// Task name.
        task: String,
        /// Task id.
        id: String,
        /// `expired` or `revoked`.
        why: &'static str,
    },
    /// A task was revoked while it ran, and ended with its process.
    Terminated {
        /// Task name.
        task: String,
        /// Task id.
        id: String,
        /// Number of the signal that was sent.
        signal: i32,
    },
    /// A task that is to be terminated runs in a pool inside this process, which no signal can end alone.
    Unkillable {
        /// Task name.
        task: String,
        /// Task id.
        id: String,
    },
    /// A message went to the dead letters.
    Dead {
        /// Task name, empty if unknown.
        task: String,
        /// Task id, empty if unknown.
        id: String,
        /// Kind and detail of the reason.
        reason: umbel_broker::DeadReason,
    },
    /// A message went back to its queue.
    Requeued {
        /// Task name.
        task: String,
        /// Task id.
        id: String,
        /// Why.
        why: String,
    },
    /// A time limit passed.
    Limit {
        /// Task name.
        task: String,
        /// Task id.
        id: String,
        /// True for the hard limit.
        hard: bool,
        /// The limit in seconds.
        seconds: f64,
    },
    /// A child is gone.
    ChildGone {
        /// Which.
        child: ChildId,
        /// In words.
        how: String,
        /// True if the engine had asked for it (limit, shutdown, retirement).
        expected: bool,
        /// Ids of the tasks that were running there.
        running: Vec<String>,
    },
    /// A child asked to be replaced.
    Retiring {
        /// Which.
        child: ChildId,
    },
}
