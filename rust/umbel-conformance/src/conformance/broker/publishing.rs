//! What is published arrives, unchanged and in order.

use umbel_broker::BrokerError;
use umbel_protocol::{Destination, Limits, Message, Properties, json};

use crate::conformance::BrokerFixture;
use crate::conformance::steps::*;

/// Every field of a message comes out as it went in; the engine fills in destination and delivery tag.
pub fn every_field_survives(fixture: &dyn BrokerFixture) {
    let properties = Properties {
        correlation_id: Some("3b7e…".to_owned()),
        reply_to: Some("reply.queue".to_owned()),
        delivery_mode: Some(2),
        priority: Some(12),
        expiration: Some("60000".to_owned()),
        destination: Destination::queue("elsewhere"),
        delivery_tag: None,
        redelivered: false,
        failed_deliveries: 0,
        extra: vec![
            ("message_id".to_owned(), r#""m \" 1""#.to_owned()),
            ("app_id".to_owned(), "null".to_owned()),
            ("nested".to_owned(), r#"{"a":[1,2,{"b":"ü, : }"}]}"#.to_owned()),
        ],
    };
    let sent = Message {
        headers: r#"{"id":"x","task":"tasks.ü","retries":0,"argsrepr":"('\u0007',)","none":null}"#.to_owned(),
        body: b"[[1, 2], {}, null]".to_vec(),
        content_type: "application/x-python-serialize".to_owned(),
        content_encoding: "binary".to_owned(),
        properties,
    };
    publisher(fixture).publish(&[to_queue("q", sent.clone())]).expect("publish");

    let delivery = take_one(&mut *consumer(fixture, "w", &["q"]));

    let mut received = content(&delivery.payload).clone();
    assert!(received.properties.delivery_tag.take().is_some_and(|tag| !tag.is_empty()), "the engine gives it a tag");
    let mut expected = sent;
    expected.properties.destination = Destination::queue("q");
    assert_eq!(received, expected);
    assert_eq!(&*delivery.queue, "q");
}

/// What a task message is made of comes out as it went in, be it written in another way.
pub fn a_task_message_survives(fixture: &dyn BrokerFixture) {
    let properties = Properties {
        correlation_id: Some("3b7e\u{e9}".to_owned()),
        reply_to: Some("reply.queue".to_owned()),
        delivery_mode: Some(2),
        expiration: Some("60000".to_owned()),
        ..Properties::default()
    };
    let headers = r#"{"lang": "py", "task": "tasks.\u00fc", "id": "x", "shadow": null, "group_index": 0, "retries": 3,
        "timelimit": [null, 1.5], "argsrepr": "('\u0007', 1)", "ignore_result": false, "stamps": {"a": [1, "\u20ac"]},
        "big": 9007199254740993, "small": -1, "nested": {"deep": {"deeper": []}}}"#;
    let sent = Message {
        headers: headers.to_owned(),
        body: b"[[1, 2], {}, null]".to_vec(),
        content_type: "application/x-python-serialize".to_owned(),
        content_encoding: "binary".to_owned(),
        properties,
    };
    publisher(fixture).publish(&[to_queue("q", sent.clone())]).expect("publish");

    let delivery = take_one(&mut *consumer(fixture, "w", &["q"]));

    let mut received = content(&delivery.payload).clone();
    let parsed = |text: &str| json::parse(text.as_bytes(), &Limits::default()).expect("headers are JSON");
    assert_eq!(parsed(&received.headers), parsed(headers));
    received.headers.clone_from(&sent.headers);
    received.properties.delivery_tag = None;
    received.properties.priority = received.properties.priority.filter(|priority| *priority != 0);
    let mut expected = sent;
    expected.properties.destination = Destination::queue("q");
    assert_eq!(received, expected);
}

/// A message with nothing optional arrives with nothing optional.
pub fn a_bare_message_survives(fixture: &dyn BrokerFixture) {
    let sent = Message { headers: "{}".to_owned(), ..Message::default() };
    publisher(fixture).publish(&[to_queue("q", sent.clone())]).expect("publish");

    let delivery = take_one(&mut *consumer(fixture, "w", &["q"]));

    let mut received = content(&delivery.payload).clone();
    received.properties.delivery_tag = None;
    // kombu always writes a priority.
    received.properties.priority = received.properties.priority.filter(|priority| *priority != 0);
    let mut expected = sent;
    expected.properties.destination = Destination::queue("q");
    assert_eq!(received, expected);
}

/// A body is bytes: zeros, invalid UTF-8, every value.
pub fn binary_bodies_survive(fixture: &dyn BrokerFixture) {
    let mut sent = message("");
    sent.body = (0..=255).chain([0, 0, 0xff, 0xfe, 0]).collect();
    publisher(fixture).publish(&[to_queue("q", sent.clone())]).expect("publish");
    let delivery = take_one(&mut *consumer(fixture, "w", &["q"]));
    assert_eq!(content(&delivery.payload).body, sent.body);
}

/// 5 MB go through, wherever they are on their way: queue, requeue, dead letters.
pub fn big_bodies_survive(fixture: &dyn BrokerFixture) {
    let mut sent = message("");
    sent.body = (0..5_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    publisher(fixture).publish(&[to_queue("q", sent.clone())]).expect("publish");

    let mut worker = consumer(fixture, "w", &["q"]);
    let first = take_one(&mut *worker);
    finish(&mut *worker, &[settle(&first.tag, requeue(true, false))]);
    let second = take_one(&mut *worker);
    finish(&mut *worker, &[settle(&second.tag, dead("big"))]);

    let letters = admin(fixture).dead_letters(0, 10).expect("dead letters");
    for payload in [&first.payload, &second.payload, &letters[0].payload] {
        assert!(content(payload).body == sent.body, "5 MB changed on their way");
    }
}

/// First in, first out, over several publishes of several messages, fetched in several bites.
pub fn first_in_first_out(fixture: &dyn BrokerFixture) {
    let sent = names("m", 230);
    let mut sender = publisher(fixture);
    for batch in sent.chunks(50) {
        let batch: Vec<_> = batch.iter().map(|body| outgoing("q", body)).collect();
        sender.publish(&batch).expect("publish");
    }
    let mut worker = consumer(fixture, "w", &["q"]);
    let mut received = Vec::new();
    for want in [1, 64, 100, 64, 64] {
        received.extend(bodies(&take(&mut *worker, want)));
    }
    assert_eq!(received, sent);
}

/// Publishing nothing is fine.
pub fn an_empty_batch_is_fine(fixture: &dyn BrokerFixture) {
    publisher(fixture).publish(&[]).expect("publish nothing");
}

/// One batch may go to many queues.
pub fn a_batch_may_have_many_queues(fixture: &dyn BrokerFixture) {
    let queues = ["q", "with space", "ünï", "a:b|c", "celery@host.pidbox", "{x}"];
    let batch: Vec<_> = queues.iter().map(|queue| outgoing(queue, queue)).collect();
    publisher(fixture).publish(&batch).expect("publish");
    for queue in queues {
        let delivery = take_one(&mut *consumer(fixture, "w", &[queue]));
        assert_eq!((&*delivery.queue, body(&delivery).as_str()), (queue, queue));
    }
}

/// Priority 0 first, 9 last, in kombu's four steps; first in first out within a step; the number itself is kept.
pub fn priorities_are_served_from_zero(fixture: &dyn BrokerFixture) {
    let given = [Some(9), Some(12), Some(6), Some(5), Some(3), Some(2), Some(0), Some(-4), None, Some(8), Some(1)];
    let batch: Vec<_> =
        given.iter().enumerate().map(|(number, priority)| prioritized("q", &number.to_string(), *priority)).collect();
    publisher(fixture).publish(&batch).expect("publish");

    let taken = take(&mut *consumer(fixture, "w", &["q"]), 20);

    assert_eq!(bodies(&taken), ["5", "6", "7", "8", "10", "3", "4", "2", "9", "0", "1"]);
    for delivery in &taken {
        let number: usize = body(delivery).parse().expect("a number");
        assert_eq!(content(&delivery.payload).properties.priority.unwrap_or(0), given[number].unwrap_or(0));
    }
}

/// Priority counts across queues: everything of step 0 comes before anything of step 3, whatever its queue.
pub fn priority_comes_before_fairness(fixture: &dyn BrokerFixture) {
    let batch = [
        prioritized("a", "a9", Some(9)),
        prioritized("a", "a3", Some(3)),
        prioritized("b", "b9", Some(9)),
        prioritized("b", "b0", Some(0)),
        prioritized("b", "b0 too", Some(0)),
    ];
    publisher(fixture).publish(&batch).expect("publish");
    let taken = bodies(&take(&mut *consumer(fixture, "w", &["a", "b"]), 10));
    assert_eq!(taken[..3], ["b0", "b0 too", "a3"]);
    assert_eq!(taken.len(), 5);
}

/// A full queue does not keep the others waiting, in one fetch or over many.
pub fn queues_are_served_alike(fixture: &dyn BrokerFixture) {
    let queues = ["a", "b", "c"];
    for queue in queues {
        publish(fixture, queue, &["1", "2", "3", "4", "5", "6"]);
    }
    let mut worker = consumer(fixture, "w", &queues);
    let in_one = take(&mut *worker, 6);
    let one_by_one: Vec<_> = (0..6).map(|_| take_one(&mut *worker)).collect();
    for (taken, how) in [(in_one, "in one fetch"), (one_by_one, "in six fetches")] {
        for queue in queues {
            let count = taken.iter().filter(|delivery| &*delivery.queue == queue).count();
            assert_eq!(count, 2, "{count} of 6 messages from queue {queue:?} {how}");
        }
    }
    // The rest comes too, each queue in its order.
    let rest = take(&mut *worker, 100);
    for queue in queues {
        let of_queue: Vec<_> = rest.iter().filter(|delivery| &*delivery.queue == queue).map(body).collect();
        assert_eq!(of_queue, ["5", "6"]);
    }
}

/// An empty queue costs its neighbours nothing: `want` is filled from those that have messages.
pub fn empty_queues_leave_room_for_others(fixture: &dyn BrokerFixture) {
    publish(fixture, "b", &["1", "2", "3", "4", "5"]);
    publish(fixture, "c", &["1"]);
    let taken = take(&mut *consumer(fixture, "w", &["a", "b", "c", "d"]), 6);
    assert_eq!(taken.len(), 6);
}

/// A message nobody takes is an error, and nothing of its batch is sent.
pub fn unroutable_sends_nothing(fixture: &dyn BrokerFixture) {
    let mut lost = outgoing("q", "lost");
    lost.destination = exchange("nowhere", "key");
    let error =
        publisher(fixture).publish(&[outgoing("q", "first"), lost, outgoing("q", "last")]).expect_err("unroutable");
    let BrokerError::Unroutable { exchange, routing_key } = &error else { panic!("{error:?} is not Unroutable") };
    assert_eq!((exchange.as_str(), routing_key.as_str()), ("nowhere", "key"));
    assert_eq!(length(fixture, "q"), 0);
    assert_eq!(take(&mut *consumer(fixture, "w", &["q"]), 10), []);
}

/// A consumer sees only its queues, and one without queues sees nothing.
pub fn other_queues_are_left_alone(fixture: &dyn BrokerFixture) {
    publish(fixture, "a", &["1"]);
    assert_eq!(take(&mut *consumer(fixture, "w1", &["b"]), 10), []);
    assert_eq!(take(&mut *consumer(fixture, "w2", &[]), 10), []);
    assert_eq!(length(fixture, "a"), 1);
}

/// What people see: a URL without password, and one identity per store.
pub fn urls_and_identity_name_the_store(fixture: &dyn BrokerFixture) {
    let (one, two) = (fixture.broker(), fixture.broker());
    assert!(one.display_url().contains("://"), "{:?} is no URL", one.display_url());
    assert_eq!(one.identity(), two.identity());
    assert!(!one.identity().is_empty());
}
