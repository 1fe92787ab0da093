//! What the record of a task that no child can speak for tells of its tries: those in the header that the messages of
//! retries carry, deliveries that ended with a process, and the last one. `umbel.result.attempts` reads it.

use umbel_protocol::json::{self, Value};
use umbel_protocol::{Limits, Message, Timestamp, Zone, iso8601};

/// As many are kept, as by children.
const MOST: usize = 50;
/// The list of earlier tries.
const HEADER: &str = "umbel_attempts";
const LOST: &str = "the process or machine that ran it was lost";

/// The last try of a task.
pub(super) struct LastTry<'a> {
    pub(super) message: &'a Message,
    pub(super) worker: &'a str,
    /// When it began to run, if it did.
    pub(super) began: Option<Timestamp>,
}

impl LastTry<'_> {
    /// All tries, oldest first; the last ended now in `state`, as the try after `retries` retries. `None` if the task
    /// has never run.
    pub(super) fn told(&self, retries: u32, state: &str, why: &str, now: Timestamp) -> Option<Value> {
        let mut tries = earlier(&self.message.headers);
        let lost = usize::try_from(self.message.properties.failed_deliveries).unwrap_or(MOST).min(MOST);
        let entry = |members: Vec<(&str, Value)>| {
            Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
        };
        let retries = Value::from(i64::from(retries));
        tries.extend((0..lost).map(|_| {
            entry(vec![("retries", retries.clone()), ("state", Value::from("LOST")), ("why", Value::from(LOST))])
        }));
        if tries.is_empty() && self.began.is_none() {
            return None;
        }
        let moment = |moment: Timestamp| Value::from(iso8601::format(moment, &Zone::UTC));
        tries.push(entry(vec![
            ("retries", retries),
            ("state", Value::from(state)),
            ("worker", Value::from(self.worker)),
            ("started", self.began.map_or(Value::Null, moment)),
            ("ended", moment(now)),
            ("why", Value::from(why)),
        ]));
        let first = tries.len().saturating_sub(MOST);
        Some(Value::Array(tries.split_off(first)))
    }
}

/// The list in the header; empty if there is none, or something else.
fn earlier(headers: &str) -> Vec<Value> {
    let limits = Limits::default();
    let members = json::members(headers.as_bytes(), &limits).unwrap_or_default();
    let raw = members.iter().find(|member| member.name == HEADER).map(|member| member.raw);
    match raw.map(|raw| json::parse(raw.as_bytes(), &limits)) {
        Some(Ok(Value::Array(tries))) => tries.into_iter().filter(|one| one.as_object().is_some()).collect(),
        _ => Vec::new(),
    }
}
