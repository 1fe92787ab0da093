//! What the engine is told.

use umbel_broker::{Delivery, Revocation, Tag, Turn};
use umbel_protocol::{ResultWrite, Timestamp};

use super::job::JobId;

/// A child as the supervisor numbers it; never used twice in a worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChildId(pub u32);

/// One thing that happened. Every input comes with the time at which it is handled.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A fetch brought these; empty means the queues were.
    Delivered {
        /// The messages, in the order they should start.
        deliveries: Vec<Delivery>,
        /// When the broker's next delayed message is due.
        next_due: Option<Timestamp>,
    },
    /// The fetch that was asked for failed or was skipped; it brought nothing. Not needed after `Disconnected`.
    FetchFailed,
    /// The doorbell rang: a queue may have messages.
    Rang,
    /// Settlements were confirmed by the broker, in the order given out; `lost` were no longer ours.
    Settled {
        /// How many settlements, from the oldest unconfirmed on.
        count: usize,
        /// Tags whose lease had been lost.
        lost: Vec<Tag>,
        /// Tags that were to enter (`Disposition::Enter`) and have.
        entered: Vec<Tag>,
    },
    /// A child is ready to run `slots` jobs at a time.
    ChildReady {
        /// Which.
        child: ChildId,
        /// Threads or coroutines it runs jobs on; 1 for a prefork child.
        slots: usize,
        /// False for a pool inside this process: it cannot be killed.
        killable: bool,
    },
    /// A child began these jobs.
    Started {
        /// Which child.
        child: ChildId,
        /// Its jobs.
        jobs: Vec<JobId>,
    },
    /// A child stores a record while the job runs (`STARTED`, progress).
    Progress {
        /// Which job.
        job: JobId,
        /// The record.
        result: ResultWrite,
    },
    /// A child finished a job.
    Finished {
        /// Which child.
        child: ChildId,
        /// How it ended.
        outcome: super::job::Outcome,
    },
    /// A child answers a recall, or retires: these it has not started and will not.
    Returned {
        /// Which child.
        child: ChildId,
        /// Jobs it gives back.
        jobs: Vec<JobId>,
    },
    /// A child wants no more jobs (task or memory limit reached) and will end when told to.
    Retiring {
        /// Which child.
        child: ChildId,
    },
    /// A child wants to be replaced (memory limit reached) and goes on until its replacement is ready.
    WantsRelief {
        /// Which child.
        child: ChildId,
    },
    /// A child's process is gone, or its link is. Told exactly once for every child spawned, also for one that never
    /// became ready. What the child said before this is what happened; what arrives later is ignored.
    ChildGone {
        /// Which child.
        child: ChildId,
        /// In words, for logs and `WorkerLostError`: `signal 9 (SIGKILL)`, `exit code 1`, …
        how: String,
    },
    /// The broker connection broke; nothing given out since is confirmed.
    Disconnected,
    /// Connected again. The runtime has called `Consumer::recover` with [`super::Engine::held_tags`].
    Reconnected {
        /// Held tags that are no longer ours.
        lost: Vec<Tag>,
    },
    /// Tasks known to the children; replaces the former table.
    Tasks(Vec<super::config::TaskOptions>),
    /// How many children there should be.
    PoolSize(usize),
    /// Tasks are not to run. To be told of all that are kept in the broker before the first message is fetched.
    Revoke {
        /// Which, and until when.
        revocations: Vec<Revocation>,
        /// Number of the signal for the processes of those that run; `None` lets them finish.
        signal: Option<i32>,
    },
    /// The broker tells when a job may start under a rate limit that all workers share.
    Turn {
        /// Which job.
        job: JobId,
        /// Its turn; `None` if the broker could not be asked.
        turn: Option<Turn>,
    },
    /// Time passed; sent at or after the moment asked for with [`super::Output::WakeAt`].
    Tick,
    /// End. A second, harder one may follow the first.
    Shutdown(ShutdownKind),
}

/// How to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShutdownKind {
    /// Let running jobs finish within the shutdown timeout, return the rest.
    Warm,
    /// Kill children, return everything unfinished.
    Cold,
}
