//! A delivery on its way through a child.

use std::sync::Arc;

use umbel_broker::{DeadReason, Outgoing};
use umbel_protocol::{Message, ResultWrite, TaskFacts};

/// Number of a job within one worker process; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// What a child needs to run a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// Queue it came from.
    pub queue: Arc<str>,
    /// What the engine has read of it.
    pub facts: Arc<TaskFacts>,
    /// The message, unchanged.
    pub message: Arc<Message>,
    /// Jobs that are sent to a child under the same number run as one.
    pub batch: Option<u64>,
}

/// How a job ended, as its child tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Which job.
    pub job: JobId,
    /// What the task did.
    pub verdict: Verdict,
    /// Record to store, none if results are ignored.
    pub result: Option<ResultWrite>,
    /// Messages to publish in the same step: a retry, callbacks, the next chain step.
    pub publish: Vec<Outgoing>,
}

/// What the task did; the engine decides the acknowledgement from it and the task's options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Returned.
    Success,
    /// Raised.
    Failure,
    /// Asked to be run again; the retry is among `publish`.
    Retry,
    /// Raised `Ignore`.
    Ignored,
    /// Raised `Reject(requeue=True)`.
    Requeue,
    /// Raised `Reject(requeue=False)`, or its body could not be decoded.
    Reject(DeadReason),
}

/// Why a running job is to be cancelled by its child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cancel {
    /// Its hard time limit has passed: it fails with `TimeLimitExceeded`.
    TimeLimit,
    /// It was revoked.
    Revoked,
}
