//! Exceptions in results.

use std::time::Duration;

use crate::Malformed;
use crate::json::Value;

/// An exception as every serializer but pickle stores it.
///
/// The modules are Celery's and billiard's, whoever raised it: a Celery client looks the class up there, and makes a
/// look-alike no `except` catches if it does not find it.
#[derive(Debug, Clone, PartialEq)]
pub struct ExceptionRecord {
    /// Class name, `__qualname__`.
    pub exc_type: String,
    /// Its `args` as a list; old records have a text.
    pub exc_message: Value,
    /// Module of the class.
    pub exc_module: Option<String>,
}

impl ExceptionRecord {
    /// Any exception.
    pub fn new(exc_module: &str, exc_type: &str, args: Vec<Value>) -> Self {
        Self { exc_type: exc_type.to_owned(), exc_message: Value::Array(args), exc_module: Some(exc_module.to_owned()) }
    }

    /// The hard time limit passed.
    pub fn time_limit_exceeded(limit: Duration) -> Self {
        let seconds = match (i64::try_from(limit.as_secs()), limit.subsec_nanos()) {
            (Ok(seconds), 0) => Value::Int(seconds),
            _ => Value::Float(limit.as_secs_f64()),
        };
        Self::new("billiard.exceptions", "TimeLimitExceeded", vec![seconds])
    }

    /// The process that ran the task died.
    pub fn worker_lost(text: impl Into<String>) -> Self {
        Self::new("billiard.exceptions", "WorkerLostError", vec![text.into().into()])
    }

    /// No task has that name here.
    pub fn not_registered(task: &str) -> Self {
        Self::new("celery.exceptions", "NotRegistered", vec![task.into()])
    }

    /// The task was revoked; the reason is `revoked`, `terminated` or `expired`.
    pub fn task_revoked(reason: &str) -> Self {
        Self::new("celery.exceptions", "TaskRevokedError", vec![reason.into()])
    }

    /// As a value, in Celery's key order.
    pub fn to_value(&self) -> Value {
        Value::Object(vec![
            ("exc_type".to_owned(), self.exc_type.as_str().into()),
            ("exc_message".to_owned(), self.exc_message.clone()),
            ("exc_module".to_owned(), self.exc_module.clone().into()),
        ])
    }

    /// From the `result` of a record in an exception state.
    pub fn from_value(value: &Value) -> Result<Self, Malformed> {
        let text = |name: &str| match value.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => {
                let detail = format!("expected a string, found {}", other.kind());
                Err(Malformed::new(format!("exception's '{name}'"), detail))
            }
        };
        let missing =
            || Malformed::new("exception", format!("expected an object with exc_type, found {}", value.kind()));
        Ok(Self {
            exc_type: text("exc_type")?.ok_or_else(missing)?,
            exc_message: value.get("exc_message").cloned().unwrap_or(Value::Array(Vec::new())),
            exc_module: text("exc_module")?,
        })
    }
}
