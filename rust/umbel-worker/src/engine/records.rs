//! Result records the engine writes itself, for tasks no child can speak for.

use std::time::Duration;

use umbel_protocol::{ResultWrite, TaskHeaders, Timestamp, Zone, iso8601};

use super::intake::Facts;

/// The module whose exceptions Celery clients catch for lost workers and time limits.
const BILLIARD: &str = "billiard.exceptions";

const CELERY: &str = "celery.exceptions";

/// An expired task.
pub(super) fn expired(facts: &Facts, expires: Option<Duration>, now: Timestamp) -> Option<ResultWrite> {
    facts
        .stores_failures()
        .then(|| record(&facts.headers, "REVOKED", ("TaskRevokedError", CELERY), "\"expired\"", expires, now))
}

/// A task nobody knows.
pub(super) fn not_registered(headers: &TaskHeaders, expires: Option<Duration>, now: Timestamp) -> ResultWrite {
    record(headers, "FAILURE", ("NotRegistered", CELERY), &format!("{:?}", headers.task), expires, now)
}

/// A task whose child died.
pub(super) fn worker_lost(facts: &Facts, how: &str, expires: Option<Duration>, now: Timestamp) -> Option<ResultWrite> {
    facts.stores_failures().then(|| {
        let text = format!("Worker exited prematurely: {how}.");
        record(&facts.headers, "FAILURE", ("WorkerLostError", BILLIARD), &format!("{text:?}"), expires, now)
    })
}

/// A task killed at its hard time limit.
pub(super) fn time_limit_exceeded(facts: &Facts, expires: Option<Duration>, now: Timestamp) -> Option<ResultWrite> {
    facts.stores_failures().then(|| {
        let seconds = facts.time_limit.unwrap_or_default().as_secs_f64();
        record(&facts.headers, "FAILURE", ("TimeLimitExceeded", BILLIARD), &format!("{seconds}"), expires, now)
    })
}

fn record(
    headers: &TaskHeaders,
    state: &str,
    (exception, module): (&str, &str),
    argument: &str,
    expires: Option<Duration>,
    now: Timestamp,
) -> ResultWrite {
    let done = iso8601::format(now, &Zone::UTC);
    let text = format!(
        "{{\"status\": \"{state}\", \"result\": {{\"exc_type\": \"{exception}\", \"exc_message\": [{argument}], \
         \"exc_module\": \"{module}\"}}, \"traceback\": null, \"children\": [], \"date_done\": \"{done}\", \
         \"task_id\": {:?}}}",
        headers.id
    );
    ResultWrite { task_id: headers.id.clone(), state: state.into(), record: text.into_bytes(), expires }
}
