//! Names of states, and what may be said of any state by its name.

/// Nothing is known.
pub const PENDING: &str = "PENDING";
/// A worker has it (events only).
pub const RECEIVED: &str = "RECEIVED";
/// It runs (stored only with `task_track_started`).
pub const STARTED: &str = "STARTED";
/// It returned.
pub const SUCCESS: &str = "SUCCESS";
/// It raised, or could not be run.
pub const FAILURE: &str = "FAILURE";
/// It was revoked or had expired.
pub const REVOKED: &str = "REVOKED";
/// It will be tried again.
pub const RETRY: &str = "RETRY";
/// Its message was refused (never stored).
pub const REJECTED: &str = "REJECTED";
/// It asked for nothing to be stored.
pub const IGNORED: &str = "IGNORED";

/// Whether a task in this state has come to its end. Unknown names are states of an application: not ready.
pub fn is_ready(state: &str) -> bool {
    matches!(state, SUCCESS | FAILURE | REVOKED)
}

/// The state of a JSON record, which its first bytes tell: Celery and Umbel write it first. `None` for other forms.
pub fn of_json(record: &[u8]) -> Option<&str> {
    let rest = record.strip_prefix(b"{\"status\": \"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()
}

/// Whether the result in this state is an exception.
pub fn is_exception(state: &str) -> bool {
    matches!(state, RETRY | FAILURE | REVOKED)
}

/// Whether that exception is raised at whoever waits for the result.
pub fn propagates(state: &str) -> bool {
    matches!(state, FAILURE | REVOKED)
}
