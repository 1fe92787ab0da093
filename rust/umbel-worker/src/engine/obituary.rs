//! Word of a task's end for those that wait for it, when no child could tell them: callbacks for errors, the later steps of
//! its chain, the chord it counts for. They are named in the body, which this process does not read; so the body goes out
//! again, in the step in which the failure is stored, as a message of a task that does nothing but fail as it did. So does
//! that of a task whose hooks are to be called.

use umbel_broker::Outgoing;
use umbel_protocol::json::{self, Value};
use umbel_protocol::{Destination, Limits, Message, ResultWrite};

use super::Engine;
use super::ledger::{Held, Yield};

/// Name of the task that fails in the place of another.
const TASK: &str = "umbel.fail_dependents";

/// In the headers of a message that sends the body of a chord: that is among its arguments.
const UNLOCK: &str = "\"celery.chord_unlock\"";

/// Where a body names others, as every producer known writes it; in the text of arguments its quotes would be escaped.
const NAMED: [&[u8]; 8] = [
    b"\"callbacks\": [",
    b"\"errbacks\": [",
    b"\"chain\": [{",
    b"\"chord\": {",
    b"\"callbacks\":[",
    b"\"errbacks\":[",
    b"\"chain\":[{",
    b"\"chord\":{",
];

impl Engine {
    /// The end of a job that no child speaks for: its record, if it stores any, and word of it to those that wait.
    pub(super) fn last_words(&self, held: &Held, record: Option<ResultWrite>) -> Yield {
        let failed = record.as_ref().is_some_and(|record| record.state == "FAILURE");
        let tells = failed && held.facts.task.options.tells_failures;
        let told = of(&held.message, &self.config.own_queue(&held.queue), record.as_ref(), tells);
        let stored = record.filter(|_| held.facts.stores_failures());
        Yield { publish: told.into_iter().collect(), ..Yield::record(stored) }
    }
}

/// The message, for a queue whose consumers all know that task. `None` if nobody waits (and `tells` is false, which is
/// whether the task itself has something to call), or that cannot be told.
pub(super) fn of(message: &Message, queue: &str, record: Option<&ResultWrite>, tells: bool) -> Option<Outgoing> {
    if !tells && !names_others(message) && !message.headers.contains(UNLOCK) {
        return None;
    }
    let limits = Limits::default();
    let Value::Object(mut headers) = json::parse(message.headers.as_bytes(), &limits).ok()? else { return None };
    let text = |name: &str| headers.iter().find(|(found, _)| found == name).and_then(|(_, value)| value.as_str());
    let (task, id) = (text("task")?.to_owned(), text("id")?.to_owned());
    if task == TASK {
        return None;
    }
    let record = record.and_then(|record| json::parse(&record.record, &limits).ok());
    let failure = Value::Object(vec![
        ("task".to_owned(), task.into()),
        ("id".to_owned(), id.as_str().into()),
        ("record".to_owned(), record.unwrap_or_default()),
    ]);
    // Under an id of its own: that of the task may be revoked.
    let changed = [
        ("task", Value::from(TASK)),
        ("id", format!("{id}.end").into()),
        ("eta", Value::Null),
        ("expires", Value::Null),
        ("timelimit", Value::Array(vec![Value::Null, Value::Null])),
        ("ignore_result", Value::Bool(true)),
        ("umbel_failure", failure),
    ];
    headers.retain(|(name, _)| changed.iter().all(|(replaced, _)| name != replaced) && name != "redelivered");
    headers.extend(changed.map(|(name, value)| (name.to_owned(), value)));
    let mut message = message.clone();
    message.headers = String::from_utf8(json::to_vec(&Value::Object(headers))).ok()?;
    message.properties.delivery_tag = None;
    message.properties.expiration = None;
    message.properties.redelivered = false;
    message.properties.failed_deliveries = 0;
    Some(Outgoing { destination: Destination::queue(queue), message, eta: None, line: None, chord: None })
}

/// Whether a message is one of these.
#[cfg(feature = "sabotage")]
pub(super) fn is_one(outgoing: &Outgoing) -> bool {
    outgoing.message.headers.contains(TASK)
}

/// A body in another form than plain JSON may name others as well as not.
fn names_others(message: &Message) -> bool {
    let plain = message.content_type == "application/json" && !message.headers.contains("\"compression\": \"");
    if !plain {
        return !message.body.is_empty();
    }
    let contains = |needle: &[u8]| message.body.windows(needle.len()).any(|window| window == needle);
    NAMED.iter().any(|needle| contains(needle))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(embed: &str) -> Message {
        Message {
            headers: r#"{"lang": "py", "task": "t", "id": "i", "expires": "2026-01-01", "group": "g"}"#.to_owned(),
            body: format!("[[\"\\\"chord\\\": {{\"], {{}}, {embed}]").into_bytes(),
            content_type: "application/json".to_owned(),
            content_encoding: "utf-8".to_owned(),
            ..Message::default()
        }
    }

    #[test]
    fn only_those_that_wait_are_told() {
        let none = r#"{"callbacks": null, "errbacks": null, "chain": [], "chord": null}"#;
        assert_eq!(of(&message(none), "q", None, false), None);
        assert_eq!(of(&message("null"), "q", None, false), None);
        let chord = r#"{"callbacks": null, "errbacks": null, "chain": [], "chord": {"task": "b"}}"#;
        let told = of(&message(chord), "q", None, false).expect("a message");
        assert_eq!(told.destination, Destination::queue("q"));
        assert_eq!(told.message.body, message(chord).body);
        assert_eq!(of(&told.message, "q", None, true), None, "it has none itself");
        assert!(of(&message(none), "q", None, true).is_some(), "the task's own hooks");
    }

    #[test]
    fn a_body_that_cannot_be_sent_is_told_of_it() {
        let mut unlock = message("null");
        unlock.headers = r#"{"task": "celery.chord_unlock", "id": "i"}"#.to_owned();
        assert_eq!(of(&unlock, "q", None, false).expect("a message").message.body, unlock.body);
    }

    #[test]
    fn it_says_who_failed_and_how() {
        let record = ResultWrite {
            task_id: "i".to_owned(),
            state: "FAILURE".to_owned(),
            record: br#"{"status": "FAILURE", "result": {"exc_type": "E"}}"#.to_vec(),
            expires: None,
            reply_to: None,
        };
        let chain = r#"{"callbacks": null, "errbacks": null, "chain": [{"task": "b"}], "chord": null}"#;
        let told = of(&message(chain), "q", Some(&record), false).expect("a message");
        assert_eq!(
            told.message.headers,
            r#"{"lang": "py", "group": "g", "task": "umbel.fail_dependents", "id": "i.end", "eta": null, "expires": null, "timelimit": [null, null], "ignore_result": true, "umbel_failure": {"task": "t", "id": "i", "record": {"status": "FAILURE", "result": {"exc_type": "E"}}}}"#
        );
    }
}
