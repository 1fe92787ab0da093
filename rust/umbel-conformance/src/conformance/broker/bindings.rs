//! Exchanges other than the anonymous one.

use umbel_broker::{BrokerError, ExchangeKind, Publisher};
use umbel_protocol::Destination;

use crate::conformance::BrokerFixture;
use crate::conformance::steps::*;

fn send(sender: &mut dyn Publisher, destination: &Destination, text: &str) -> Result<(), BrokerError> {
    let mut outgoing = outgoing("", text);
    outgoing.destination = destination.clone();
    sender.publish(&[outgoing])
}

fn received(fixture: &dyn BrokerFixture, queue: &str) -> Vec<String> {
    let mut worker = consumer(fixture, &format!("w-{queue}"), &[queue]);
    let taken = take(&mut *worker, 100);
    let settlements: Vec<_> = taken.iter().map(|delivery| ack(&delivery.tag)).collect();
    finish(&mut *worker, &settlements);
    bodies(&taken)
}

/// Direct: equal keys, every queue bound with the key, nobody else.
pub fn direct_compares_keys(fixture: &dyn BrokerFixture) {
    let mut sender = publisher(fixture);
    for (queue, key) in [("q1", "red"), ("q2", "red"), ("q3", "blue"), ("q3", "r*")] {
        sender.bind(queue, &exchange("colours", key), ExchangeKind::Direct).expect("bind");
    }
    send(&mut *sender, &exchange("colours", "red"), "r").expect("routed");
    send(&mut *sender, &exchange("colours", "blue"), "b").expect("routed");
    let green = send(&mut *sender, &exchange("colours", "green"), "g");
    assert!(matches!(green, Err(BrokerError::Unroutable { .. })), "{green:?}");
    assert_eq!(received(fixture, "q1"), ["r"]);
    assert_eq!(received(fixture, "q2"), ["r"]);
    assert_eq!(received(fixture, "q3"), ["b"]);
}

/// The message says where the producer sent it, not where it ended.
pub fn destination_is_kept(fixture: &dyn BrokerFixture) {
    let mut sender = publisher(fixture);
    sender.bind("q", &exchange("x", "key"), ExchangeKind::Direct).expect("bind");
    send(&mut *sender, &exchange("x", "key"), "m").expect("routed");
    let delivery = take_one(&mut *consumer(fixture, "w", &["q"]));
    assert_eq!(content(&delivery.payload).properties.destination, exchange("x", "key"));
    assert_eq!(&*delivery.queue, "q");
}

/// Topic: `*` is one word, `#` any number; a queue gets a message once however many of its patterns match.
pub fn topic_compares_words(fixture: &dyn BrokerFixture) {
    let mut sender = publisher(fixture);
    for (queue, pattern) in
        [("all", "#"), ("one", "log.*"), ("many", "log.#"), ("many", "#.error"), ("exact", "log.error")]
    {
        sender.bind(queue, &exchange("logs", pattern), ExchangeKind::Topic).expect("bind");
    }
    for key in ["log.error", "log.a.b", "other.thing", "logXerror"] {
        send(&mut *sender, &exchange("logs", key), key).expect("routed");
    }
    assert_eq!(received(fixture, "all"), ["log.error", "log.a.b", "other.thing", "logXerror"]);
    assert_eq!(received(fixture, "one"), ["log.error"]);
    assert_eq!(received(fixture, "many"), ["log.error", "log.a.b"]);
    assert_eq!(received(fixture, "exact"), ["log.error"]);
}

/// Fanout: every bound queue, whatever the key.
pub fn fanout_reaches_every_queue(fixture: &dyn BrokerFixture) {
    let mut sender = publisher(fixture);
    sender.bind("q1", &exchange("news", ""), ExchangeKind::Fanout).expect("bind");
    sender.bind("q2", &exchange("news", "ignored"), ExchangeKind::Fanout).expect("bind");
    send(&mut *sender, &exchange("news", "anything"), "m").expect("routed");
    assert_eq!(received(fixture, "q1"), ["m"]);
    assert_eq!(received(fixture, "q2"), ["m"]);
}

/// Binding again changes nothing.
pub fn binding_twice_is_harmless(fixture: &dyn BrokerFixture) {
    for _ in 0..2 {
        publisher(fixture).bind("q", &exchange("x", "key"), ExchangeKind::Direct).expect("bind");
    }
    let mut sender = publisher(fixture);
    sender.bind("q", &exchange("x", "key"), ExchangeKind::Direct).expect("bind");
    send(&mut *sender, &exchange("x", "key"), "m").expect("routed");
    assert_eq!(received(fixture, "q"), ["m"]);
}

/// A binding is the store's, not the handle's: other publishers route by it.
pub fn others_see_a_direct_binding(fixture: &dyn BrokerFixture) {
    publisher(fixture).bind("q", &exchange("x", "key"), ExchangeKind::Direct).expect("bind");
    send(&mut *publisher(fixture), &exchange("x", "key"), "m").expect("routed");
    assert_eq!(received(fixture, "q"), ["m"]);
}

/// The anonymous exchange needs no binding.
pub fn the_anonymous_exchange_names_queues(fixture: &dyn BrokerFixture) {
    send(&mut *publisher(fixture), &Destination::queue("never seen before"), "m").expect("routed");
    assert_eq!(received(fixture, "never seen before"), ["m"]);
}
