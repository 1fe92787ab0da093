//! Reads what the engine needs of a message, once; what is no task of ours is refused with a reason.

use std::sync::Arc;
use std::time::Duration;

use umbel_broker::DeadReason;
use umbel_protocol::{Limits, Malformed, Message, ResultWrite, Timestamp, Zone, iso8601, json};

use super::config::EngineConfig;
use super::records;
use super::tasks::{Registered, TaskTable};

#[derive(Debug, Default)]
pub(super) struct TaskHeaders {
    pub(super) task: String,
    pub(super) id: String,
    pub(super) eta: Option<Timestamp>,
    pub(super) expires: Option<Timestamp>,
    pub(super) time_limit: Option<f64>,
    pub(super) soft_time_limit: Option<f64>,
    pub(super) ignore_result: Option<bool>,
}

impl TaskHeaders {
    fn read(message: &Message) -> Result<Self, Malformed> {
        let members = json::members(message.headers.as_bytes(), &Limits::default())?;
        let raw = |name: &str| members.iter().rev().find(|m| m.name == name && m.raw != "null").map(|m| m.raw);
        let text = |name: &str| raw(name).and_then(json::text_of).map(|text| text.into_owned());
        let time = |name: &str| {
            text(name)
                .map(|text| iso8601::parse(&text).map(|at| at.moment(&Zone::UTC)))
                .transpose()
                .map_err(|error| Malformed::new(format!("header '{name}'"), error.detail))
        };
        let limits = match raw("timelimit") {
            Some(raw) => json::elements(raw.as_bytes(), &Limits::default())?,
            None => Vec::new(),
        };
        let limit = |at: usize| limits.get(at).and_then(|raw| raw.parse().ok());
        let missing = |name: &str| Malformed::new("headers", format!("there is no '{name}'"));
        Ok(Self {
            task: text("task").ok_or_else(|| missing("task"))?,
            id: text("id").ok_or_else(|| missing("id"))?,
            eta: time("eta")?,
            expires: time("expires")?,
            time_limit: limit(0),
            soft_time_limit: limit(1),
            ignore_result: raw("ignore_result").and_then(|raw| raw.parse().ok()),
        })
    }
}

/// What the engine knows of a task message.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) task: Arc<Registered>,
    pub(super) headers: TaskHeaders,
    pub(super) time_limit: Option<Duration>,
    pub(super) soft_time_limit: Option<Duration>,
}

impl Facts {
    fn new(task: Arc<Registered>, headers: TaskHeaders) -> Self {
        let time_limit = seconds(headers.time_limit).or(task.options.time_limit);
        let soft_time_limit = seconds(headers.soft_time_limit).or(task.options.soft_time_limit);
        Self { task, headers, time_limit, soft_time_limit }
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

/// A falsy limit means none of its own, as in Celery.
fn seconds(limit: Option<f64>) -> Option<Duration> {
    limit.filter(|&limit| limit > 0.0).and_then(|limit| Duration::try_from_secs_f64(limit).ok())
}

/// Why a message does not become a job.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Task name, empty if unknown.
    pub(super) task: String,
    /// Task id, empty if unknown.
    pub(super) id: String,
    pub(super) reason: DeadReason,
    /// The failure to store, if somebody may wait for the task.
    pub(super) record: Option<ResultWrite>,
}

impl Refusal {
    /// A refusal of a message of which nothing is known.
    pub(super) fn new(kind: &str, detail: String) -> Self {
        Self { task: String::new(), id: String::new(), reason: DeadReason { kind: kind.into(), detail }, record: None }
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

    /// Reads a message.
    pub(super) fn read(&self, message: &Message, now: Timestamp) -> Result<Facts, Box<Refusal>> {
        self.check_size(message)?;
        let headers = TaskHeaders::read(message).map_err(|error| Refusal::new("undecodable", error.to_string()))?;
        let refuse = |kind: &str, detail: String, record| {
            let (task, id) = (headers.task.clone(), headers.id.clone());
            Err(Box::new(Refusal { task, id, reason: DeadReason { kind: kind.into(), detail }, record }))
        };
        let expires = self.config.result_expires;
        let Some(task) = self.tasks.get(&headers.task) else {
            let record = (headers.ignore_result != Some(true)).then(|| records::not_registered(&headers, expires, now));
            let detail = format!(
                "no task named {:?} is registered in this worker: import the module that defines it (see the \
                 'imports' and 'include' settings), or check the name for typos",
                headers.task
            );
            return refuse("unknown-task", detail, record);
        };
        if !self.accepts(&message.content_type) {
            let detail = format!(
                "content type {:?} is not accepted by this worker, which accepts {}: see the 'accept_content' setting",
                message.content_type,
                self.config.accept_content.join(", "),
            );
            return refuse("not-accepted", detail, None);
        }
        let failed = message.properties.failed_deliveries;
        if self.config.max_deliveries > 0 && failed >= self.config.max_deliveries {
            let facts = Facts::new(task.clone(), headers);
            let detail = format!(
                "{failed} deliveries of it ended with a dead child process or worker; 'task_max_deliveries' is {}",
                self.config.max_deliveries
            );
            let record = records::worker_lost(&facts, &detail, expires, now);
            let (task, id) = (facts.headers.task, facts.headers.id);
            let reason = DeadReason { kind: "max-deliveries".into(), detail };
            return Err(Box::new(Refusal { task, id, reason, record }));
        }
        Ok(Facts::new(task.clone(), headers))
    }

    fn check_size(&self, message: &Message) -> Result<(), Box<Refusal>> {
        let (size, most) = (message.body.len(), self.config.max_message_bytes);
        if size <= most {
            return Ok(());
        }
        let detail = format!("its body has {size} bytes and this worker takes {most} at most");
        Err(Box::new(Refusal::new("oversized", detail)))
    }

    fn accepts(&self, content_type: &str) -> bool {
        self.config.accept_content.iter().any(|accepted| accepted.eq_ignore_ascii_case(content_type))
    }
}
