//! Messages that are due later.

use std::sync::Arc;
use std::time::Duration;

use umbel_broker::{Capability, Delivery, Disposition, SystemClock};
use umbel_protocol::Timestamp;

use crate::conformance::BrokerFixture;
use crate::conformance::steps::*;

/// The present moment as the fixture's broker sees it.
fn now(fixture: &dyn BrokerFixture) -> Timestamp {
    fixture.clock().unwrap_or_else(|| Arc::new(SystemClock)).now()
}

/// Lets the delay pass and fetches again.
fn fetch_when_due(fixture: &dyn BrokerFixture, worker: &mut dyn umbel_broker::Consumer) -> Vec<Delivery> {
    fixture.advance(fixture.delay() + fixture.delay() / 10);
    take(worker, 10)
}

/// Delayed: in nobody's hands until it is due, and the engine says when that is; then it comes back unmarked.
pub fn delay_hides_a_message_until_due(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let delivery = take_one(&mut *worker);
    let until = now(fixture).after(fixture.delay());

    let exchanged = worker.exchange(&[settle(&delivery.tag, Disposition::Delay { until })], 10).expect("exchange");

    assert_eq!(exchanged.deliveries, []);
    if fixture.can(Capability::Dues) {
        let due = exchanged.next_due.expect("a due time");
        assert!(due <= until.after(Duration::from_millis(2)), "{due:?} is after {until:?}");
    }
    assert_eq!(length(fixture, "q"), 0);
    let back = fetch_when_due(fixture, &mut *worker);
    assert_eq!(bodies(&back), ["m"]);
    let properties = &content(&back[0].payload).properties;
    assert_eq!((properties.redelivered, properties.failed_deliveries), (false, 0), "a delay is no attempt");
    assert_eq!(finish(&mut *worker, &[ack(&back[0].tag)]).next_due, None);
}

/// The old tag of a delayed message is worth nothing.
pub fn a_delayed_message_is_not_held(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let delivery = take_one(&mut *worker);
    let until = now(fixture).after(fixture.delay());
    finish(&mut *worker, &[settle(&delivery.tag, Disposition::Delay { until })]);
    assert_eq!(finish(&mut *worker, &[ack(&delivery.tag)]).lost, [delivery.tag]);
    worker.close().expect("close");
    let mut other = consumer(fixture, "other", &["q"]);
    assert_eq!(take(&mut *other, 10), []);
    assert_eq!(bodies(&fetch_when_due(fixture, &mut *other)), ["m"]);
}

/// A moment that has passed is now.
pub fn a_delay_into_the_past_is_none(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let delivery = take_one(&mut *worker);
    finish(&mut *worker, &[settle(&delivery.tag, Disposition::Delay { until: Timestamp(0) })]);
    worker.heartbeat().expect("heartbeat");
    assert_eq!(bodies(&take(&mut *worker, 10)), ["m"]);
}

/// Due messages come in the order of their due times, to the queues and priorities they are of.
pub fn delayed_messages_come_in_due_order(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["late", "early", "middle"]);
    publish(fixture, "other", &["other"]);
    let mut worker = consumer(fixture, "w", &["q", "other"]);
    let start = now(fixture);
    let settlements: Vec<_> = take(&mut *worker, 4)
        .iter()
        .map(|delivery| {
            let share = match body(delivery).as_str() {
                "late" => 1.0,
                "middle" => 0.9,
                "early" => 0.8,
                _ => 0.7,
            };
            let until = start.after(fixture.delay().mul_f64(share));
            settle(&delivery.tag, Disposition::Delay { until })
        })
        .collect();
    finish(&mut *worker, &settlements);

    let back = fetch_when_due(fixture, &mut *worker);

    let of_queue: Vec<_> = back.iter().filter(|delivery| &*delivery.queue == "q").map(body).collect();
    assert_eq!(of_queue, ["early", "middle", "late"]);
    assert_eq!(back.len(), 4);
}

/// A heartbeat moves what is due, so that a doorbell rings for it though nobody fetches.
pub fn heartbeats_move_due_messages(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let delivery = take_one(&mut *worker);
    let until = now(fixture).after(fixture.delay());
    finish(&mut *worker, &[settle(&delivery.tag, Disposition::Delay { until })]);
    worker.heartbeat().expect("heartbeat");
    assert_eq!(length(fixture, "q"), 0);
    fixture.advance(fixture.delay() + fixture.delay() / 10);

    worker.heartbeat().expect("heartbeat");

    assert_eq!(length(fixture, "q"), 1);
    let mut bell = fixture.broker().doorbell(&["q".to_owned()]).expect("a doorbell");
    assert_eq!(bell.wait(PATIENCE), Ok(true));
}

/// A message published with an ETA is delayed from the start, unless the engine leaves that to its consumers.
pub fn a_published_eta_is_kept(fixture: &dyn BrokerFixture) {
    let mut later = outgoing("q", "later");
    let eta = now(fixture).after(fixture.delay());
    later.eta = Some(eta);
    let mut past = outgoing("q", "past");
    past.eta = Some(Timestamp(1));
    publisher(fixture).publish(&[later, past]).expect("publish");
    let mut worker = consumer(fixture, "w", &["q"]);

    let exchanged = worker.exchange(&[], 10).expect("fetch");

    if !fixture.can(Capability::PublishedDelays) {
        assert_eq!(bodies(&exchanged.deliveries), ["later", "past"]);
        return;
    }
    assert_eq!(bodies(&exchanged.deliveries), ["past"]);
    assert!(exchanged.next_due == Some(eta) || !fixture.can(Capability::Dues));
    assert_eq!(bodies(&fetch_when_due(fixture, &mut *worker)), ["later"]);
}

/// Who waits at the doorbell learns of a new delayed message, or could not know when to look.
pub fn a_new_delayed_message_is_noticed(fixture: &dyn BrokerFixture) {
    let mut bell = fixture.broker().doorbell(&["q".to_owned()]).expect("a doorbell");
    let mut later = outgoing("q", "later");
    later.eta = Some(now(fixture).after(fixture.delay()));
    publisher(fixture).publish(&[later]).expect("publish");
    assert_eq!(bell.wait(PATIENCE), Ok(true));
}

/// Purging leaves delayed messages alone.
pub fn purging_spares_delayed_messages(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let delivery = take_one(&mut *worker);
    let until = now(fixture).after(fixture.delay());
    finish(&mut *worker, &[settle(&delivery.tag, Disposition::Delay { until })]);
    assert_eq!(admin(fixture).purge("q"), Ok(0));
    assert_eq!(bodies(&fetch_when_due(fixture, &mut *worker)), ["m"]);
}

/// Ready messages in the order of service, then delayed ones by their time; held ones not.
pub fn peeking_shows_what_waits_and_takes_nothing(fixture: &dyn BrokerFixture) {
    let mut publisher = publisher(fixture);
    let batch = [outgoing("q", "held"), prioritized("q", "last", Some(9)), outgoing("q", "1"), outgoing("q", "2")];
    publisher.publish(&batch).expect("publish");
    publisher.publish(&[outgoing("other", "x")]).expect("publish");
    let mut worker = consumer(fixture, "w", &["q"]);
    assert_eq!(body(&take_one(&mut *worker)), "held");
    publish(fixture, "later", &["a", "b"]);
    let mut delayer = consumer(fixture, "d", &["later"]);
    let now = now(fixture);
    let due = [now.after(Duration::from_secs(7200)), now.after(Duration::from_secs(3600))];
    for until in due {
        let delivery = take_one(&mut *delayer);
        finish(&mut *delayer, &[settle(&delivery.tag, Disposition::Delay { until })]);
    }
    publish(fixture, "later", &["now"]);

    let mut admin = admin(fixture);
    let mut peek = |queue: &str, limit| {
        let waiting = admin.peek(queue, limit).expect("peek").into_iter();
        let seen = waiting.map(|waiting| (content(&waiting.payload).body.clone(), waiting.due.is_some()));
        seen.map(|(body, delayed)| (String::from_utf8(body).expect("text"), delayed)).collect::<Vec<_>>()
    };
    let ready = |body: &str| (body.to_owned(), false);
    let delayed = |body: &str| (body.to_owned(), true);
    assert_eq!(peek("q", 10), [ready("1"), ready("2"), ready("last")]);
    assert_eq!(peek("q", 2), [ready("1"), ready("2")]);
    assert_eq!(peek("q", 0), []);
    assert_eq!(peek("later", 10), [ready("now"), delayed("b"), delayed("a")]);
    assert_eq!(peek("later", 2), [ready("now"), delayed("b")]);
    assert_eq!(peek("none", 10), []);
    assert_eq!(length(fixture, "q"), 3);
}
