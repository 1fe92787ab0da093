//! What a message says about the task it carries, read without touching the arguments.

mod read;
mod times;

use std::time::Duration;

use crate::json::Value;
use crate::{Limits, Timestamp, Zone};

pub use times::{read_time, read_time_limit};

/// How messages are read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReadOptions {
    /// On whose clocks an `eta` or `expires` without offset is meant. Celery 5.7's worker takes UTC for it, whatever
    /// its `timezone` says; so does the default.
    pub zone: Zone,
    /// Bounds for headers and, where the body must be read, for the body.
    pub limits: Limits,
}

/// The form a task message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// Everything is in the body, a map.
    One,
    /// A `task` header over a body as in protocol 1; headers win.
    Hybrid,
    /// Headers, and `[args, kwargs, embed]` in the body.
    #[default]
    Two,
}

/// What an engine must know of a task message to take, run and settle it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskFacts {
    /// The form it was in.
    pub protocol: Protocol,
    /// The task's registered name; not empty.
    pub task: String,
    /// Task id; not empty, of any form.
    pub id: String,
    /// Not to run before; `None`: at once.
    pub eta: Option<Timestamp>,
    /// Not to run after; `None`: never expires.
    pub expires: Option<Timestamp>,
    /// Group id.
    pub group: Option<String>,
    /// Id of the task that sent it.
    pub parent_id: Option<String>,
    /// Retries so far.
    pub retries: u32,
    /// Hard limit; `None`: the task's own.
    pub time_limit: Option<Duration>,
    /// Soft limit; `None`: the task's own.
    pub soft_time_limit: Option<Duration>,
    /// Whether to store no result; `None`: the task's own setting decides.
    pub ignore_result: Option<bool>,
    /// Codec of the body, by name or content type.
    pub compression: Option<String>,
}

/// A task message's headers, or the same facts from a protocol 1 body.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskHeaders {
    /// What an engine must know.
    pub facts: TaskFacts,
    /// Name to show instead of the task's.
    pub shadow: Option<String>,
    /// Place among the results of its chord.
    pub group_index: Option<i64>,
    /// Id of the task that began the workflow.
    pub root_id: Option<String>,
    /// Arguments as text for people.
    pub argsrepr: Option<String>,
    /// Keyword arguments as text for people.
    pub kwargsrepr: Option<String>,
    /// Who sent it.
    pub origin: Option<String>,
    /// How many times it was replaced.
    pub replaced_task_nesting: u32,
    /// Stamps by name, those without a value left out.
    pub stamps: Vec<(String, Value)>,
}
