//! One result record.

use super::{ExceptionRecord, states};
use crate::content::Serializer;
use crate::json::{self, Value};
use crate::{Limits, Malformed, NeedsPython, ReadError, Timestamp, Zone, iso8601, msgpack};

/// What is stored about a task, in the order it is written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Record {
    /// State name.
    pub status: String,
    /// Return value, details of the state, or an exception ([`ExceptionRecord`]).
    pub result: Value,
    /// Text of the traceback.
    pub traceback: Option<String>,
    /// Result tuples of what the task sent, or null when stored outside of a task.
    pub children: Value,
    /// ISO 8601 text; `None` until the state is final.
    pub date_done: Option<String>,
    /// Group of the task; written only if there is one.
    pub group_id: Option<String>,
    /// Parent of the task; written only if there is one.
    pub parent_id: Option<String>,
    /// What `result_extended` adds.
    pub extended: Option<Extended>,
    /// Other members (`stamped_headers` and one for each stamp, of extended records).
    pub extra: Vec<(String, Value)>,
    /// Task id.
    pub task_id: String,
}

/// What `result_extended` adds to a record; all null for a task that was never taken apart.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extended {
    /// The task's name.
    pub name: Option<String>,
    /// Its arguments.
    pub args: Value,
    /// Its keyword arguments.
    pub kwargs: Value,
    /// Node that ran it.
    pub worker: Option<String>,
    /// Retries so far.
    pub retries: Option<i64>,
    /// Routing key it came by.
    pub queue: Option<String>,
}

/// Members with a field of their own.
const KNOWN: [&str; 14] = [
    "status",
    "result",
    "traceback",
    "children",
    "date_done",
    "group_id",
    "parent_id",
    "name",
    "args",
    "kwargs",
    "worker",
    "retries",
    "queue",
    "task_id",
];

impl Record {
    /// A record of a task that sent nothing.
    pub fn new(task_id: impl Into<String>, status: impl Into<String>, result: Value) -> Self {
        let (task_id, status) = (task_id.into(), status.into());
        Self { status, result, children: Value::Array(Vec::new()), task_id, ..Self::default() }
    }

    /// A record a worker writes about a task that Python cannot report on: killed, lost, revoked, expired, unknown.
    /// Set `traceback`, `group_id`, `parent_id` and `extended` as known.
    pub fn of_exception(
        task_id: impl Into<String>,
        status: &str,
        exception: &ExceptionRecord,
        date_done: Timestamp,
        zone: &Zone,
    ) -> Self {
        let date_done = states::is_ready(status).then(|| iso8601::format(date_done, zone));
        Self { date_done, ..Self::new(task_id, status, exception.to_value()) }
    }

    /// As a value, in Celery's key order.
    pub fn to_value(&self) -> Value {
        let mut members: Vec<(String, Value)> = Vec::with_capacity(14 + self.extra.len());
        let mut put = |name: &str, value: Value| members.push((name.to_owned(), value));
        put("status", self.status.as_str().into());
        put("result", self.result.clone());
        put("traceback", self.traceback.clone().into());
        put("children", self.children.clone());
        put("date_done", self.date_done.clone().into());
        if let Some(group) = &self.group_id {
            put("group_id", group.as_str().into());
        }
        if let Some(parent) = &self.parent_id {
            put("parent_id", parent.as_str().into());
        }
        if let Some(extended) = &self.extended {
            put("name", extended.name.clone().into());
            put("args", extended.args.clone());
            put("kwargs", extended.kwargs.clone());
            put("worker", extended.worker.clone().into());
            put("retries", extended.retries.into());
            put("queue", extended.queue.clone().into());
        }
        self.extra.iter().for_each(|(name, value)| put(name, value.clone()));
        put("task_id", self.task_id.as_str().into());
        Value::Object(members)
    }

    /// From a value. Only `status` is required; members of a wrong type are errors that name them.
    pub fn from_value(value: &Value) -> Result<Self, Malformed> {
        let Some(members) = value.as_object() else {
            return Err(Malformed::new("result", format!("expected an object, found {}", value.kind())));
        };
        let missing = || Malformed::new("result's 'status'", "missing: this is no result record");
        let extra = members.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str()));
        Ok(Self {
            status: text(value, "status")?.ok_or_else(missing)?,
            result: value.get("result").cloned().unwrap_or_default(),
            traceback: text(value, "traceback")?,
            children: value.get("children").cloned().unwrap_or_default(),
            date_done: time(value)?,
            group_id: text(value, "group_id")?,
            parent_id: text(value, "parent_id")?,
            extended: Extended::from_value(value)?,
            extra: extra.cloned().collect(),
            task_id: text(value, "task_id")?.unwrap_or_default(),
        })
    }

    /// Encodes it in the configured result serializer.
    pub fn encode(&self, serializer: Serializer) -> Result<Vec<u8>, ReadError> {
        match serializer {
            Serializer::Json => Ok(json::to_vec(&self.to_value())),
            Serializer::Msgpack => Ok(msgpack::encode(&self.to_value())?),
            other => Err(NeedsPython::Serializer(other.content_type().to_owned()).into()),
        }
    }

    /// Decodes what [`super::unpack`] returned; a record does not say its serializer, so the setting has to.
    pub fn decode(record: &[u8], serializer: Serializer, limits: &Limits) -> Result<Self, ReadError> {
        let value = match serializer {
            Serializer::Json => json::parse(record, limits),
            Serializer::Msgpack => msgpack::decode(record, limits),
            other => return Err(NeedsPython::Serializer(other.content_type().to_owned()).into()),
        };
        Ok(Self::from_value(&value.map_err(|error| error.of("result"))?)?)
    }

    /// The `status` of a JSON record, without building the rest.
    pub fn status_of(record: &[u8], limits: &Limits) -> Result<String, Malformed> {
        let fields = crate::fields::Fields::read(record, "result", "result's", limits)?;
        fields.string("status")?.ok_or_else(|| fields.malformed("status", "missing: this is no result record"))
    }
}

impl Extended {
    fn from_value(value: &Value) -> Result<Option<Self>, Malformed> {
        if value.get("name").is_none() {
            return Ok(None);
        }
        let retries = value.get("retries").filter(|retries| !retries.is_null());
        let wrong = |found: &Value| wrong("retries", "an integer", found);
        Ok(Some(Self {
            name: text(value, "name")?,
            args: value.get("args").cloned().unwrap_or_default(),
            kwargs: value.get("kwargs").cloned().unwrap_or_default(),
            worker: text(value, "worker")?,
            retries: retries.map(|found| found.as_i64().ok_or_else(|| wrong(found))).transpose()?,
            queue: text(value, "queue")?,
        }))
    }
}

fn wrong(name: &str, expected: &str, found: &Value) -> Malformed {
    Malformed::new(format!("result's '{name}'"), format!("expected {expected}, found {}", found.kind()))
}

fn text(record: &Value, name: &str) -> Result<Option<String>, Malformed> {
    match record.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(wrong(name, "a string", other)),
    }
}

/// `date_done`, which other writers may have stored as a datetime of Celery's JSON.
fn time(record: &Value) -> Result<Option<String>, Malformed> {
    let Some(value @ Value::Object(_)) = record.get("date_done") else { return text(record, "date_done") };
    match crate::extended::recognise(value)? {
        Some((crate::extended::ExtendedType::DateTime, Value::String(text))) => Ok(Some(text.clone())),
        _ => Err(wrong("date_done", "a time", value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_worker_writes_the_records_celery_writes_for_it() {
        let at = Timestamp(1_795_374_359_705_384);
        let exception = ExceptionRecord::time_limit_exceeded(Duration::from_secs(1));
        let record = Record::of_exception("t-1", states::FAILURE, &exception, at, &Zone::UTC);
        let text = record.encode(Serializer::Json).expect("json");
        assert_eq!(
            String::from_utf8_lossy(&text),
            r#"{"status": "FAILURE", "result": {"exc_type": "TimeLimitExceeded", "exc_message": [1], "exc_module": "billiard.exceptions"}, "traceback": null, "children": [], "date_done": "2026-11-22T19:05:59.705384+00:00", "task_id": "t-1"}"#
        );
        let half = ExceptionRecord::time_limit_exceeded(Duration::from_millis(1500));
        assert_eq!(half.exc_message, Value::Array(vec![Value::Float(1.5)]));
    }

    #[test]
    fn errors_name_the_member() {
        for (text, error) in [
            ("[]", "result: expected an object, found an array"),
            ("{}", "result's 'status': missing: this is no result record"),
            (r#"{"status": "X", "traceback": 5}"#, "result's 'traceback': expected a string, found an integer"),
        ] {
            let found = Record::decode(text.as_bytes(), Serializer::Json, &Limits::default()).expect_err(text);
            assert_eq!(found.to_string(), error);
        }
        let found = Record::decode(b"\x80", Serializer::Pickle, &Limits::default());
        assert!(matches!(found, Err(ReadError::NeedsPython(_))));
    }
}
