//! Result records the engine writes itself, for tasks no child can speak for. Whether they are stored is another matter:
//! those that wait for a task are told of its end in any case.

use std::time::Duration;

use umbel_protocol::content::Serializer;
use umbel_protocol::json;
use umbel_protocol::result::{ExceptionRecord, Record};
use umbel_protocol::{ResultWrite, TaskFacts, Timestamp, Zone};

use super::intake::Facts;
use super::tries::LastTry;

/// An expired task.
pub(super) fn expired(
    facts: &Facts,
    last: &LastTry<'_>,
    expires: Option<Duration>,
    now: Timestamp,
) -> Option<ResultWrite> {
    let exception = ExceptionRecord::task_revoked("expired");
    write(&facts.headers, Some(last), "REVOKED", &exception, expires, now)
}

/// A task that was revoked before it started.
pub(super) fn revoked(
    facts: &Facts,
    last: &LastTry<'_>,
    expires: Option<Duration>,
    now: Timestamp,
) -> Option<ResultWrite> {
    let exception = ExceptionRecord::task_revoked("revoked");
    write(&facts.headers, Some(last), "REVOKED", &exception, expires, now)
}

/// A task that was revoked, and of which no message has been seen.
pub fn revoked_unseen(task_id: &str, expires: Option<Duration>, now: Timestamp) -> Option<ResultWrite> {
    let headers = TaskFacts { id: task_id.to_owned(), ..TaskFacts::default() };
    write(&headers, None, "REVOKED", &ExceptionRecord::task_revoked("revoked"), expires, now)
}

/// A task that was revoked while it ran, and ended with its process.
pub(super) fn terminated(
    facts: &Facts,
    last: &LastTry<'_>,
    expires: Option<Duration>,
    now: Timestamp,
) -> Option<ResultWrite> {
    let exception = ExceptionRecord::task_revoked("terminated");
    write(&facts.headers, Some(last), "REVOKED", &exception, expires, now)
}

/// A task nobody knows.
pub(super) fn not_registered(headers: &TaskFacts, expires: Option<Duration>, now: Timestamp) -> Option<ResultWrite> {
    write(headers, None, "FAILURE", &ExceptionRecord::not_registered(&headers.task), expires, now)
}

/// A task whose child died. It is told also of one that stores nothing.
pub(super) fn worker_lost(
    facts: &Facts,
    last: &LastTry<'_>,
    how: &str,
    expires: Option<Duration>,
    now: Timestamp,
) -> Option<ResultWrite> {
    let exception = ExceptionRecord::worker_lost(format!("Worker exited prematurely: {how}"));
    write(&facts.headers, Some(last), "FAILURE", &exception, expires, now)
}

/// A task killed at its hard time limit. It is told also of one that stores nothing.
pub(super) fn time_limit_exceeded(
    facts: &Facts,
    last: &LastTry<'_>,
    expires: Option<Duration>,
    now: Timestamp,
) -> Option<ResultWrite> {
    let exception = ExceptionRecord::time_limit_exceeded(facts.time_limit.unwrap_or_default());
    write(&facts.headers, Some(last), "FAILURE", &exception, expires, now)
}

/// `None` is for what cannot be: a record of text and numbers that JSON does not take.
fn write(
    headers: &TaskFacts,
    last: Option<&LastTry<'_>>,
    state: &str,
    exception: &ExceptionRecord,
    expires: Option<Duration>,
    now: Timestamp,
) -> Option<ResultWrite> {
    let mut record = Record::of_exception(&headers.id, state, exception, now, &Zone::UTC);
    record.group_id.clone_from(&headers.group);
    record.parent_id.clone_from(&headers.parent_id);
    if let Some(tries) = last.and_then(|last| last.told(headers.retries, state, &repr(exception), now)) {
        record.extra.push(("attempts".to_owned(), tries));
    }
    let record = record.encode(Serializer::Json).ok()?;
    Some(ResultWrite { task_id: headers.id.clone(), state: state.to_owned(), record, expires })
}

/// As Python shows an exception, nearly.
fn repr(exception: &ExceptionRecord) -> String {
    let args = exception.exc_message.as_array().unwrap_or_default();
    let args: Vec<String> = args.iter().map(json::to_string).collect();
    format!("{}({})", exception.exc_type, args.join(", "))
}
