//! Short words for what the cases do over and over.

use std::time::Duration;

use umbel_broker::{
    Admin, Consumer, ConsumerOptions, DeadReason, Delivery, Disposition, Exchanged, Outgoing, Payload, Publisher,
    Settlement, Tag,
};
use umbel_protocol::{ChordPart, ChordStep, Destination, Message, ResultWrite};

use super::BrokerFixture;

/// Longest time a case waits for something that should come at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn message(body: &str) -> Message {
    Message {
        headers: format!(r#"{{"id": "id-{body}", "task": "tests.add"}}"#),
        body: body.as_bytes().to_vec(),
        content_type: "application/json".to_owned(),
        content_encoding: "utf-8".to_owned(),
        ..Message::default()
    }
}

pub(super) fn to_queue(queue: &str, message: Message) -> Outgoing {
    Outgoing { destination: Destination::queue(queue), message, eta: None, line: None, chord: None }
}

pub(super) fn outgoing(queue: &str, body: &str) -> Outgoing {
    to_queue(queue, message(body))
}

pub(super) fn prioritized(queue: &str, body: &str, priority: Option<i64>) -> Outgoing {
    let mut outgoing = outgoing(queue, body);
    outgoing.message.properties.priority = priority;
    outgoing
}

pub(super) fn exchange(name: &str, routing_key: &str) -> Destination {
    Destination { exchange: name.to_owned(), routing_key: routing_key.to_owned() }
}

pub(super) fn publisher(fixture: &dyn BrokerFixture) -> Box<dyn Publisher> {
    fixture.broker().publisher().expect("a publisher")
}

pub(super) fn publish(fixture: &dyn BrokerFixture, queue: &str, bodies: &[&str]) {
    let batch: Vec<Outgoing> = bodies.iter().map(|body| outgoing(queue, body)).collect();
    publisher(fixture).publish(&batch).expect("publish");
}

pub(super) fn options(fixture: &dyn BrokerFixture, worker: &str, queues: &[&str]) -> ConsumerOptions {
    ConsumerOptions {
        worker_id: worker.to_owned(),
        queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
        lease: fixture.lease(),
        stores_results: false,
    }
}

pub(super) fn consumer(fixture: &dyn BrokerFixture, worker: &str, queues: &[&str]) -> Box<dyn Consumer> {
    fixture.broker().consumer(options(fixture, worker, queues)).expect("a consumer")
}

pub(super) fn admin(fixture: &dyn BrokerFixture) -> Box<dyn Admin> {
    fixture.broker().admin().expect("an admin handle")
}

pub(super) fn length(fixture: &dyn BrokerFixture, queue: &str) -> u64 {
    admin(fixture).length(queue).expect("length")
}

pub(super) fn take(consumer: &mut dyn Consumer, want: usize) -> Vec<Delivery> {
    consumer.exchange(&[], want).expect("fetch").deliveries
}

pub(super) fn take_one(consumer: &mut dyn Consumer) -> Delivery {
    let mut taken = take(consumer, 1);
    assert_eq!(taken.len(), 1, "one message should be ready");
    taken.remove(0)
}

pub(super) fn settle(tag: &Tag, disposition: Disposition) -> Settlement {
    Settlement::of(Some(tag.clone()), disposition)
}

pub(super) fn ack(tag: &Tag) -> Settlement {
    settle(tag, Disposition::Ack)
}

/// The end of a header member: `index` is its place.
pub(super) fn chord_part(group: &str, task_id: &str, index: Option<i64>) -> ChordPart {
    ChordPart {
        group: group.to_owned(),
        task_id: task_id.to_owned(),
        index,
        part: format!(r#"[1, "{task_id}", "SUCCESS", 5]"#).into_bytes(),
        expires: Some(Duration::from_secs(3600)),
    }
}

/// A message for `queue` that waits for a chord.
pub(super) fn awaiting(queue: &str, part: ChordPart) -> Outgoing {
    let body = format!(r#"[["{}"], {{"result": {}}}, null]"#, part.group, umbel_protocol::chord::MEMBERS);
    let mut waiting = outgoing(queue, "unlock");
    waiting.message.body = body.into_bytes();
    waiting.chord = Some(Box::new(ChordStep::Count(part)));
    waiting
}

/// Settles without fetching.
pub(super) fn finish(consumer: &mut dyn Consumer, settlements: &[Settlement]) -> Exchanged {
    let exchanged = consumer.exchange(settlements, 0).expect("settle");
    assert_eq!(exchanged.deliveries, [], "want=0 fetches nothing");
    exchanged
}

pub(super) fn requeue(front: bool, failed: bool) -> Disposition {
    Disposition::Requeue { front, failed }
}

pub(super) fn dead(kind: &str) -> Disposition {
    Disposition::Dead(DeadReason { kind: kind.to_owned(), detail: format!("because of {kind}") })
}

pub(super) fn content(payload: &Payload) -> &Message {
    match payload {
        Payload::Message(message) => message,
        Payload::Malformed { error, .. } => panic!("a message was expected, got malformed bytes: {error}"),
    }
}

pub(super) fn body(delivery: &Delivery) -> String {
    String::from_utf8_lossy(&content(&delivery.payload).body).into_owned()
}

pub(super) fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(body).collect()
}

pub(super) fn tags(deliveries: &[Delivery]) -> Vec<Tag> {
    deliveries.iter().map(|delivery| delivery.tag.clone()).collect()
}

pub(super) fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

/// A record that tells its state, for stores that look for it there.
pub(super) fn recorded(state: &str) -> String {
    format!(r#"{{"status": "{state}", "result": null}}"#)
}

pub(super) fn write(task_id: &str, state: &str, record: &str) -> ResultWrite {
    ResultWrite {
        task_id: task_id.to_owned(),
        state: state.to_owned(),
        record: record.as_bytes().to_vec(),
        expires: Some(Duration::from_secs(3600)),
        reply_to: None,
    }
}
