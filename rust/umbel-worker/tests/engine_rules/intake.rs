//! Messages that are no task of ours.

use std::sync::Arc;

use umbel_broker::{Delivery, Disposition, Payload};
use umbel_protocol::json::{self, Value};
use umbel_protocol::{Destination, Limits, Malformed, Message};
use umbel_worker::engine::{EngineConfig, Input, Notice};

use crate::bench::{Bench, config, message, only, tag_of};

/// Delivers one message and returns the dead letter's kind and detail, with the record stored, if any.
fn dead(message: Message) -> (String, String, Option<Value>) {
    let mut bench = Bench::new(1);
    let delivery =
        Delivery { tag: tag_of("a"), queue: Arc::from("celery"), payload: Payload::Message(Box::new(message)) };
    bench.feed(Input::Delivered { deliveries: vec![delivery], next_due: None });
    assert!(bench.take_dispatched().is_empty());
    let settlement = only(bench.take_settled());
    assert_eq!(settlement.tag, Some(tag_of("a")));
    let Disposition::Dead(reason) = settlement.disposition else { panic!("{:?}", settlement.disposition) };
    let record = settlement.results.first().map(|result| json::parse(&result.record, &Limits::default()).unwrap());
    let notice = bench.take_notices().into_iter().any(|notice| matches!(notice, Notice::Dead { .. }));
    assert!(notice, "people are told");
    (reason.kind, reason.detail, record)
}

fn with_headers(headers: &str) -> Message {
    Message { headers: headers.into(), ..message("add", "a", "") }
}

#[test]
fn headers_that_are_no_task() {
    for (headers, word) in [
        ("", "task"),
        ("{}", "task"),
        ("[]", "object"),
        ("{\"task\": \"add\"}", "id"),
        ("{\"task\": \"add\", \"id\": \"\"}", "id"),
        ("{\"task\": \"add\", \"id\": 5.5}", "id"),
        ("{\"task\": 3, \"id\": \"a\"}", "task"),
        ("{\"task\": \"add\", \"id\": \"a\", \"eta\": \"next Tuesday\"}", "eta"),
        ("{\"task\": \"add\", \"id\": \"a\", \"expires\": 12}", "expires"),
        ("{\"task\": \"add\", \"id\": \"a\", \"timelimit\": \"soon\"}", "timelimit"),
        ("{\"task\": \"add\", \"id\": \"a\"", ""),
    ] {
        let (kind, detail, record) = dead(with_headers(headers));
        assert_eq!((kind.as_str(), record), ("undecodable", None), "{headers}");
        assert!(detail.contains(word), "{headers}: {detail}");
    }
}

#[test]
fn bytes_that_are_no_message() {
    let mut bench = Bench::new(1);
    let payload = Payload::Malformed { raw: vec![0xff], error: Malformed::new("envelope", "not JSON") };
    let delivery = Delivery { tag: tag_of("a"), queue: Arc::from("celery"), payload };
    bench.feed(Input::Delivered { deliveries: vec![delivery], next_due: None });
    let (_, disposition, _) = only(bench.take_ends());
    assert!(
        matches!(disposition, Disposition::Dead(reason) if reason.kind == "undecodable" && reason.detail.contains("envelope"))
    );
}

#[test]
fn an_unknown_task_fails_for_whoever_waits() {
    let (kind, detail, record) = dead(message("ad", "a", ""));
    assert_eq!(kind, "unknown-task");
    assert!(detail.contains("\"ad\"") && detail.contains("import"), "{detail}");
    let record = record.unwrap();
    assert_eq!(record.get("status").and_then(Value::as_str), Some("FAILURE"));
    assert_eq!(record.get("task_id").and_then(Value::as_str), Some("a"));
    let exception = record.get("result").unwrap();
    assert_eq!(exception.get("exc_type").and_then(Value::as_str), Some("NotRegistered"));
    assert!(dead(message("ad", "a", "\"ignore_result\": true")).2.is_none());
}

/// In the queue that only workers like this one consume, whether results of the task are kept or not.
#[test]
fn those_that_wait_for_what_cannot_run_are_told() {
    for headers in ["", "\"ignore_result\": true"] {
        let unknown = message("ad", "a", headers);
        let mut killer = message("add", "a", headers);
        killer.properties.failed_deliveries = 5;
        for message in [unknown, killer] {
            let mut bench = Bench::new(1);
            let body = br#"[[], {}, {"chord": {"task": "b"}}]"#.to_vec();
            bench.deliver(vec![Message { body, ..message }]);
            let told = only(only(bench.take_settled()).publish);
            assert_eq!(told.destination, Destination::queue("celery.own"));
            assert!(told.message.headers.contains("umbel.fail_dependents"), "{}", told.message.headers);
        }
    }
}

#[test]
fn a_content_type_that_is_not_accepted() {
    let pickled = Message { content_type: "application/x-python-serialize".into(), ..message("add", "a", "") };
    let (kind, detail, record) = dead(pickled.clone());
    assert_eq!((kind.as_str(), record), ("not-accepted", None));
    assert!(detail.contains("application/x-python-serialize") && detail.contains("accept_content"), "{detail}");
    // Protocol 1, whose headers are in the body.
    assert_eq!(dead(Message { headers: "{}".into(), ..pickled }).0, "not-accepted");
}

#[test]
fn a_message_that_is_too_large() {
    let large = Message { body: vec![b' '; (1 << 20) + 1], ..message("add", "a", "") };
    assert_eq!(dead(large).0, "oversized");
    let verbose = message("add", "a", &format!("\"note\": \"{}\"", "x".repeat(1 << 20)));
    assert_eq!(dead(verbose).0, "oversized");
}

#[test]
fn a_message_that_has_killed_too_often() {
    let mut killer = message("add", "a", "");
    killer.properties.failed_deliveries = 5;
    let (kind, detail, record) = dead(killer.clone());
    assert_eq!(kind, "max-deliveries");
    assert!(detail.contains("task_max_deliveries"), "{detail}");
    let exception = record.unwrap().get("result").cloned().unwrap();
    assert_eq!(exception.get("exc_type").and_then(Value::as_str), Some("WorkerLostError"));

    killer.properties.failed_deliveries = 4;
    let mut bench = Bench::new(1);
    bench.deliver(vec![killer.clone()]);
    assert_eq!(bench.take_dispatched().len(), 1, "once more");

    killer.properties.failed_deliveries = 1_000;
    let mut bench = Bench::with(EngineConfig { max_deliveries: 0, ..config() }, vec![crate::bench::task("add")], 1);
    bench.deliver(vec![killer]);
    assert_eq!(bench.take_dispatched().len(), 1, "no bound");
}

#[test]
fn protocol_1_is_read_from_its_body() {
    let mut bench = Bench::new(1);
    let body = b"{\"task\": \"add\", \"id\": \"a\", \"args\": [1, 2], \"kwargs\": {}}".to_vec();
    bench.deliver(vec![Message { headers: "{}".into(), body, ..message("add", "a", "") }]);
    assert_eq!(bench.take_dispatched().len(), 1);
}

#[test]
fn a_task_that_was_taken_is_announced() {
    let mut bench = Bench::new(1);
    bench.deliver(vec![message("add", "a", "")]);
    let told = |notice: &Notice| matches!(notice, Notice::Received(facts) if facts.task == "add" && facts.id == "a");
    assert!(bench.take_notices().iter().any(told));
}
