//! Odd messages have one defined outcome each.

mod vectors;

use umbel_protocol::body::BodyText;
use umbel_protocol::content::Accept;
use umbel_protocol::{Limits, Message, Protocol, ReadError, ReadOptions, TaskHeaders, envelope};

/// The message as it was sent to the worker.
fn sent(name: &str) -> Message {
    let pushed = vectors::named(name).pushed();
    envelope::decode(pushed.first().expect("a message"), &Limits::default()).expect(name)
}

fn parse(name: &str) -> Result<TaskHeaders, ReadError> {
    TaskHeaders::parse(&sent(name), &ReadOptions::default())
}

fn assert_refused(name: &str, because: &str) {
    match parse(name) {
        Err(ReadError::Malformed(error)) => assert_eq!(error.to_string(), because, "{name}"),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn what_is_no_task_is_refused_and_the_field_named() {
    assert_refused("edge_bad_eta", "header 'eta': \"tomorrow\" is no ISO 8601 date and time");
    assert_refused("edge_missing_id", "header 'id': missing; a task message must have a non-empty one");
    assert_refused("edge_not_a_task", "message: not a task: it has no 'task' header and its body is no protocol 1 map");
}

#[test]
fn the_smallest_messages_are_tasks() {
    for (name, id, args, protocol) in [
        ("edge_minimal_headers", "min-1", "[20, 22]", Protocol::Two),
        ("edge_minimal_headers_null_embed", "min-2", "[20, 22]", Protocol::Two),
        ("edge_plain_body_encoding", "min-3", "[20, 23]", Protocol::Two),
        ("edge_v1_minimal", "v1-1", "[20, 24]", Protocol::One),
        ("edge_unregistered", "unreg-1", "[1]", Protocol::Two),
    ] {
        let headers = parse(name).expect(name);
        assert_eq!((headers.facts.id.as_str(), headers.facts.protocol), (id, protocol), "{name}");
        let message = sent(name);
        let body = BodyText::split(&message.body, &Limits::default()).expect(name);
        assert_eq!((body.args, body.embed.chord), (args, None), "{name}");
    }
}

#[test]
fn a_body_that_is_none_is_found_out_by_whoever_reads_it() {
    assert!(parse("edge_undecodable").is_ok());
    assert!(BodyText::split(&sent("edge_undecodable").body, &Limits::default()).is_err());
}

#[test]
fn content_that_is_not_accepted_is_known_by_its_type() {
    let message = sent("edge_not_accepted");
    assert!(!Accept::default().allows(&message.content_type));
    assert!(Accept::of(["json", "pickle"]).allows(&message.content_type));
}

#[test]
fn a_message_that_came_back_is_marked_as_celery_marks_it() {
    let pushed = vectors::named("edge_missing_id").pushed();
    let fresh = envelope::decode(&pushed[0], &Limits::default()).expect("sent");
    let returned = envelope::decode(&pushed[1], &Limits::default()).expect("returned");
    assert!(!fresh.properties.redelivered && returned.properties.redelivered);
    let marked =
        Message { properties: umbel_protocol::Properties { redelivered: true, ..fresh.properties.clone() }, ..fresh };
    let again = envelope::decode(&envelope::encode(&marked, "noid-1"), &Limits::default()).expect("an envelope");
    assert_eq!(again.headers, returned.headers);
    assert_eq!(again.properties.priority, Some(0));
    assert_eq!(Message { properties: returned.properties.clone(), ..again }, returned);
}

#[test]
fn every_edge_has_a_test_here() {
    let tested = include_str!("golden_edges.rs");
    for vector in vectors::starting_with("edge_") {
        assert!(tested.contains(&format!("\"{}\"", vector.name)), "{} has no test", vector.name);
    }
}
