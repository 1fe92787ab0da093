//! Reads what the engine needs of a message, once; what is no task of ours is refused with a reason.

use std::sync::Arc;
use std::time::Duration;

use umbel_broker::DeadReason;
use umbel_protocol::{Limits, Message, NeedsPython, ReadError, ReadOptions, ResultWrite, TaskFacts, Timestamp};

use super::config::EngineConfig;
use super::records;
use super::tasks::{Registered, TaskTable};
use super::tries::LastTry;

/// What the engine knows of a task message.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) task: Arc<Registered>,
    pub(super) headers: Arc<TaskFacts>,
    pub(super) time_limit: Option<Duration>,
    pub(super) soft_time_limit: Option<Duration>,
}

impl Facts {
    fn new(task: Arc<Registered>, headers: TaskFacts) -> Self {
        let time_limit = headers.time_limit.or(task.options.time_limit);
        let soft_time_limit = headers.soft_time_limit.or(task.options.soft_time_limit);
        Self { task, headers: Arc::new(headers), time_limit, soft_time_limit }
    }

    /// Registered name.
    pub(super) fn name(&self) -> &str {
        &self.headers.task
    }

    /// Task id.
    pub(super) fn id(&self) -> &str {
        &self.headers.id
    }

    /// When it is due.
    pub(super) fn eta(&self) -> Option<Timestamp> {
        self.headers.eta
    }

    /// Whether it is too late to start it.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.headers.expires.is_some_and(|expires| now > expires)
    }

    /// Whether a failure is stored.
    pub(super) fn stores_failures(&self) -> bool {
        let ignored = self.headers.ignore_result.unwrap_or(self.task.options.ignore_result);
        !ignored || self.task.options.store_errors_even_if_ignored
    }
}

/// Why a message does not become a job.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Task name, empty if unknown.
    pub(super) task: String,
    /// Task id, empty if unknown.
    pub(super) id: String,
    pub(super) reason: DeadReason,
    /// The failure of its task, of which those that wait for it are told. `None`: it may be what nobody waits for, or what
    /// can be read once the settings are mended.
    pub(super) record: Option<ResultWrite>,
    /// Whether that is stored.
    pub(super) is_stored: bool,
}

impl Refusal {
    /// A refusal of a message of which nothing is known.
    pub(super) fn new(kind: &str, detail: String) -> Self {
        let reason = DeadReason { kind: kind.into(), detail };
        Self { task: String::new(), id: String::new(), reason, record: None, is_stored: false }
    }

    /// A refusal of a message whose task is known by name and id.
    fn of(headers: &TaskFacts, kind: &str, detail: String) -> Box<Self> {
        let (task, id) = (headers.task.clone(), headers.id.clone());
        Box::new(Self { task, id, ..Self::new(kind, detail) })
    }
}

/// The rules by which messages are taken.
pub(super) struct Intake<'a> {
    config: &'a EngineConfig,
    tasks: &'a TaskTable,
}

impl<'a> Intake<'a> {
    /// The rules of this worker.
    pub(super) fn new(config: &'a EngineConfig, tasks: &'a TaskTable) -> Self {
        Self { config, tasks }
    }

    /// Reads a message, or says why it is a dead letter.
    pub(super) fn read(&self, message: &Message, now: Timestamp) -> Result<Facts, Box<Refusal>> {
        self.check_size(message)?;
        let headers = self.headers(message)?;
        let task = self.tasks.get(&headers.task).ok_or_else(|| self.unknown(&headers, now))?;
        if !self.accepts(message) {
            return Err(Refusal::of(&headers, "not-accepted", self.not_accepted(message)));
        }
        self.check_deliveries(message, Facts::new(task.clone(), headers), now)
    }

    fn check_size(&self, message: &Message) -> Result<(), Box<Refusal>> {
        let (size, most) = (message.body.len().saturating_add(message.headers.len()), self.config.max_message_bytes);
        if size <= most {
            return Ok(());
        }
        let detail = format!("it has {size} bytes and this worker takes {most} at most");
        Err(Box::new(Refusal::new("oversized", detail)))
    }

    fn headers(&self, message: &Message) -> Result<TaskFacts, Box<Refusal>> {
        let limits = Limits { max_bytes: self.config.max_message_bytes, ..Limits::default() };
        let options = ReadOptions { limits, ..ReadOptions::default() };
        TaskFacts::parse(message, &options).map_err(|error| {
            Box::new(match error {
                ReadError::NeedsPython(_) if !self.accepts(message) => {
                    Refusal::new("not-accepted", self.not_accepted(message))
                }
                ReadError::NeedsPython(format) => Refusal::new("undecodable", headers_in_body(&format)),
                ReadError::Malformed(error) => Refusal::new("undecodable", error.to_string()),
            })
        })
    }

    fn unknown(&self, headers: &TaskFacts, now: Timestamp) -> Box<Refusal> {
        let detail = format!(
            "no task named {:?} is registered in this worker: import the module that defines it (settings 'imports' \
             and 'include'), or look for a typo in the name",
            headers.task
        );
        let is_stored = headers.ignore_result != Some(true);
        let record = records::not_registered(headers, self.config.result_expires, now);
        Box::new(Refusal { record, is_stored, ..*Refusal::of(headers, "unknown-task", detail) })
    }

    fn accepts(&self, message: &Message) -> bool {
        self.config.accept_content.iter().any(|accepted| accepted.eq_ignore_ascii_case(&message.content_type))
    }

    fn not_accepted(&self, message: &Message) -> String {
        format!(
            "content type {:?} is not accepted by this worker, which takes {} (setting 'accept_content')",
            message.content_type,
            self.config.accept_content.join(", "),
        )
    }

    fn check_deliveries(&self, message: &Message, facts: Facts, now: Timestamp) -> Result<Facts, Box<Refusal>> {
        let (failed, most) = (message.properties.failed_deliveries, self.config.max_deliveries);
        if most == 0 || failed < most {
            return Ok(facts);
        }
        let detail = format!(
            "{failed} deliveries of it ended with a dead child process or worker, and 'task_max_deliveries' is {most}"
        );
        let last = LastTry { message, worker: &self.config.hostname, began: None };
        let record = records::worker_lost(&facts, &last, &detail, self.config.result_expires, now);
        let is_stored = facts.stores_failures();
        Err(Box::new(Refusal { record, is_stored, ..*Refusal::of(&facts.headers, "max-deliveries", detail) }))
    }
}

fn headers_in_body(format: &NeedsPython) -> String {
    format!("it has no 'task' header, and its body cannot be read for one: {format}")
}
