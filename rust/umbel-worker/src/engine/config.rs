//! How an engine is set up.

use std::collections::HashMap;
use std::time::Duration;

/// What the engine must know of a registered task. Names are Celery's.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskOptions {
    /// Registered name.
    pub name: String,
    /// Acknowledge after the task has finished.
    pub acks_late: bool,
    /// With `acks_late`: acknowledge when it failed; else the message is rejected (dead letters).
    pub acks_on_failure: bool,
    /// With `acks_late`: acknowledge when its hard time limit passed; else it goes back to the queue.
    pub acks_on_timeout: bool,
    /// Return the message when its child died; else it fails with `WorkerLostError`.
    pub reject_on_worker_lost: bool,
    /// Store no result.
    pub ignore_result: bool,
    /// Store failures even so.
    pub store_errors_even_if_ignored: bool,
    /// Hard limit.
    pub time_limit: Option<Duration>,
    /// Soft limit.
    pub soft_time_limit: Option<Duration>,
    /// How many may start in a second, in this worker; `None` or 0 sets no limit.
    pub rate_limit: Option<f64>,
    /// The limit is that of all workers together.
    pub rate_limit_shared: bool,
    /// How many may run at a time, in all workers together.
    pub concurrency_limit: Option<u32>,
    /// That holds for each key, which the messages tell.
    pub concurrency_keyed: bool,
    /// Its calls are run many at a time.
    pub batch: Option<BatchOptions>,
    /// Its messages may stand in lines.
    pub fair: bool,
    /// Its messages may hold locks, which are given up when a task starts or ends.
    pub unique: bool,
    /// Code of the application is to be called when it fails, also where its child cannot do that any more.
    pub tells_failures: bool,
}

/// How calls of a task are gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    /// So many at most; as many are run at once.
    pub most: usize,
    /// Fewer are run this long after the first of them came.
    pub patience: Duration,
}

/// Settings of one worker's engine.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Node name for records (`celery@host`).
    pub hostname: String,
    /// MIME types that are accepted; other messages are dead letters.
    pub accept_content: Vec<String>,
    /// Messages held per slot; `None` follows measured task time.
    pub prefetch_multiplier: Option<usize>,
    /// Deliveries that may end with a dead child or worker before the message is a dead letter; 0 sets no bound.
    pub max_deliveries: u32,
    /// A message due later than this goes to the broker's delayed set; one due sooner waits here.
    pub delay_threshold: Duration,
    /// How long a warm shutdown lets running jobs go on.
    pub shutdown_timeout: Duration,
    /// Life of result records this engine writes itself.
    pub result_expires: Option<Duration>,
    /// How many tasks of a queue may run at a time, in all workers together.
    pub queue_limits: HashMap<String, u32>,
    /// Bodies larger than this are dead letters (bytes).
    pub max_message_bytes: usize,
    /// What follows the name of a queue in that of the one beside it, which only workers like this one consume; empty:
    /// all consumers of a queue are.
    pub own_queue_suffix: String,
}

impl EngineConfig {
    /// The queue for messages that only workers like this one can run, beside the one they belong to.
    pub(super) fn own_queue(&self, queue: &str) -> String {
        if queue.ends_with(&self.own_queue_suffix) {
            queue.to_owned()
        } else {
            queue.to_owned() + &self.own_queue_suffix
        }
    }
}
