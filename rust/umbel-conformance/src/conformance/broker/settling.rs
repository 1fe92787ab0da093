//! How deliveries end.

use std::collections::HashSet;

use umbel_broker::{BrokerError, Disposition, Settlement};

use crate::conformance::BrokerFixture;
use crate::conformance::steps::*;

fn is_redelivered(delivery: &umbel_broker::Delivery) -> (bool, u32) {
    let properties = &content(&delivery.payload).properties;
    (properties.redelivered, properties.failed_deliveries)
}

/// A held message is given to nobody else; acknowledged, it is gone.
pub fn ack_ends_a_message(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let (mut one, mut two) = (consumer(fixture, "w1", &["q"]), consumer(fixture, "w2", &["q"]));
    let delivery = take_one(&mut *one);
    assert_eq!(take(&mut *two, 10), [], "a held message was given to another");
    assert_eq!(take(&mut *one, 10), [], "a held message was given again");

    assert_eq!(finish(&mut *one, &[ack(&delivery.tag)]).lost, []);

    one.close().expect("close");
    assert_eq!(take(&mut *two, 10), []);
    assert_eq!(length(fixture, "q"), 0);
}

/// Every delivery has a tag of its own, also of the same message; it names the worker.
pub fn tags_are_unique(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2", "3"]);
    let mut worker = consumer(fixture, "worker-id", &["q"]);
    let mut seen = HashSet::new();
    for _ in 0..3 {
        let taken = take(&mut *worker, 3);
        assert!(taken.iter().all(|delivery| delivery.tag.0.contains("worker-id")), "{:?}", tags(&taken));
        assert!(tags(&taken).into_iter().all(|tag| seen.insert(tag)), "a tag was used twice");
        let back: Vec<_> = taken.iter().map(|delivery| settle(&delivery.tag, requeue(false, false))).collect();
        finish(&mut *worker, &back);
    }
    assert_eq!(seen.len(), 9);
}

/// A message that goes to the front is next in line and marked; one that was not handed out is not marked.
pub fn requeue_to_the_front_is_next(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2", "3"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let first = take_one(&mut *worker);
    assert_eq!(is_redelivered(&first), (false, 0));
    finish(&mut *worker, &[settle(&first.tag, requeue(true, false))]);

    let taken = take(&mut *worker, 10);

    assert_eq!(bodies(&taken), ["1", "2", "3"]);
    assert_eq!(taken.iter().map(is_redelivered).collect::<Vec<_>>(), [(true, 0), (false, 0), (false, 0)]);
}

/// A message that goes to the back comes after those that wait, and before those that come later.
pub fn requeue_to_the_back_is_last(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2", "3"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let taken = take(&mut *worker, 2);
    finish(&mut *worker, &[settle(&taken[1].tag, requeue(false, false)), settle(&taken[0].tag, requeue(false, false))]);
    publish(fixture, "q", &["4"]);
    assert_eq!(bodies(&take(&mut *worker, 10)), ["3", "2", "1", "4"]);
}

/// A message keeps its priority when it goes back, to either end.
pub fn requeue_keeps_the_priority(fixture: &dyn BrokerFixture) {
    let mut sender = publisher(fixture);
    sender.publish(&[prioritized("q", "0", None), prioritized("q", "9", Some(9))]).expect("publish");
    let mut worker = consumer(fixture, "w", &["q"]);
    for front in [true, false] {
        let taken = take(&mut *worker, 2);
        assert_eq!(bodies(&taken), ["0", "9"]);
        let back: Vec<_> = taken.iter().map(|delivery| settle(&delivery.tag, requeue(front, false))).collect();
        finish(&mut *worker, &back);
    }
    assert_eq!(bodies(&take(&mut *worker, 2)), ["0", "9"]);
}

/// Failed deliveries are counted, others are not.
pub fn failed_deliveries_are_counted(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let mut counts = Vec::new();
    for (front, failed) in [(true, true), (true, false), (false, true), (false, false), (true, true)] {
        let delivery = take_one(&mut *worker);
        finish(&mut *worker, &[settle(&delivery.tag, requeue(front, failed))]);
        counts.push(is_redelivered(&delivery));
    }
    assert_eq!(counts, [(false, 0), (true, 1), (true, 1), (true, 2), (true, 2)]);
    assert_eq!(is_redelivered(&take_one(&mut *worker)), (true, 3));
}

/// A count the producer sent along (a message moved from another broker) goes on from there.
pub fn failed_deliveries_may_come_with_the_message(fixture: &dyn BrokerFixture) {
    let mut sent = outgoing("q", "m");
    sent.message.properties.failed_deliveries = 2;
    publisher(fixture).publish(&[sent]).expect("publish");
    let mut worker = consumer(fixture, "w", &["q"]);
    let delivery = take_one(&mut *worker);
    assert_eq!(is_redelivered(&delivery).1, 2);
    finish(&mut *worker, &[settle(&delivery.tag, requeue(true, true))]);
    assert_eq!(is_redelivered(&take_one(&mut *worker)), (true, 3));
}

/// The same settlements again (the reply was lost) change nothing; their tags are reported.
pub fn settling_twice_is_harmless(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["acked", "requeued", "dead"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let taken = take(&mut *worker, 3);
    let mut settlements =
        vec![ack(&taken[0].tag), settle(&taken[1].tag, requeue(false, true)), settle(&taken[2].tag, dead("rejected"))];
    settlements[0].publish.push(outgoing("q", "follow-up"));

    assert_eq!(finish(&mut *worker, &settlements).lost, []);
    let mut lost = finish(&mut *worker, &settlements).lost;

    lost.sort();
    let mut expected = tags(&taken);
    expected.sort();
    assert_eq!(lost, expected);
    let mut left = take(&mut *worker, 10);
    left.sort_by_key(body);
    assert_eq!(bodies(&left), ["follow-up", "requeued"]);
    assert_eq!(is_redelivered(&left[1]), (true, 1));
    assert_eq!(admin(fixture).dead_letters(0, 10).expect("dead letters").len(), 1);
}

/// Also within one call.
pub fn a_tag_twice_in_one_call_counts_once(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let delivery = take_one(&mut *worker);
    let mut again = ack(&delivery.tag);
    again.publish.push(outgoing("q", "must not be"));
    assert_eq!(finish(&mut *worker, &[ack(&delivery.tag), again]).lost, [delivery.tag]);
    assert_eq!(take(&mut *worker, 10), []);
}

/// A message under a new tag cannot be ended with its old one.
pub fn an_old_tag_settles_nothing(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let old = take_one(&mut *worker);
    finish(&mut *worker, &[settle(&old.tag, requeue(true, false))]);
    let new = take_one(&mut *worker);
    assert_eq!(finish(&mut *worker, &[ack(&old.tag)]).lost, [old.tag]);
    assert_eq!(finish(&mut *worker, &[ack(&new.tag)]).lost, []);
}

/// Tags that never were, of every shape, are reported and harm nothing.
pub fn foreign_tags_are_lost(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let (mut worker, mut other) = (consumer(fixture, "w", &["q"]), consumer(fixture, "other", &["q"]));
    let held = take_one(&mut *other);
    for text in ["", "w", "w.1.1", "w.x.y", "other", "w.99999999999999999999.1", "ü.-1.-1", "a:b", "w.1.1.1"] {
        let tag = umbel_broker::Tag(text.into());
        assert_eq!(finish(&mut *worker, &[ack(&tag)]).lost, [tag]);
    }
    assert_eq!(finish(&mut *other, &[ack(&held.tag)]).lost, []);
}

/// Follow-ups are published with the acknowledgement, and the same call can fetch them.
pub fn follow_ups_come_with_the_ack(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let delivery = take_one(&mut *worker);
    let mut settlement = ack(&delivery.tag);
    settlement.publish = vec![outgoing("q", "next"), outgoing("elsewhere", "other")];

    let exchanged = worker.exchange(&[settlement], 10).expect("exchange");

    assert_eq!((bodies(&exchanged.deliveries), exchanged.lost), (vec!["next".to_owned()], vec![]));
    assert_eq!(length(fixture, "elsewhere"), 1);
}

/// All or nothing: a follow-up that cannot be routed leaves its message held, to be settled otherwise.
pub fn an_unroutable_follow_up_settles_nothing(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let delivery = take_one(&mut *worker);
    let mut settlement = ack(&delivery.tag);
    let mut lost = outgoing("", "lost");
    lost.destination = exchange("nowhere", "key");
    settlement.publish = vec![outgoing("q", "next"), lost];

    let error = worker.exchange(&[settlement], 10).expect_err("unroutable");

    assert!(matches!(error, BrokerError::Unroutable { .. }), "{error:?}");
    assert_eq!(length(fixture, "q"), 0, "half of a settlement was carried out");
    assert_eq!(finish(&mut *worker, &[settle(&delivery.tag, dead("unroutable"))]).lost, []);
}

/// Without a tag (acknowledged before) only the publishing is left to do.
pub fn early_acked_work_still_publishes(fixture: &dyn BrokerFixture) {
    let mut worker = consumer(fixture, "w", &["q"]);
    let settlement = Settlement { publish: vec![outgoing("q", "next")], ..Settlement::of(None, Disposition::Ack) };
    let exchanged = worker.exchange(&[settlement], 1).expect("exchange");
    assert_eq!((bodies(&exchanged.deliveries), exchanged.lost), (vec!["next".to_owned()], vec![]));
}

/// Results are refused by a consumer that was not opened to store them, before anything else happens.
pub fn results_need_permission(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let delivery = take_one(&mut *worker);
    let mut settlement = ack(&delivery.tag);
    settlement.results.push(write("t", "SUCCESS", "1"));
    let error = worker.exchange(&[settlement], 0).expect_err("refused");
    assert!(matches!(error, BrokerError::Protocol { .. }), "{error:?}");
    assert_eq!(finish(&mut *worker, &[ack(&delivery.tag)]).lost, []);
}

/// `want` of zero fetches nothing, however much there is.
pub fn want_zero_fetches_nothing(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    assert_eq!(take(&mut *worker, 0), []);
    assert_eq!(bodies(&take(&mut *worker, 1)), ["m"]);
}

/// A thousand settlements in one call, with a thousand follow-ups, and a fetch of all of them.
pub fn a_thousand_at_once(fixture: &dyn BrokerFixture) {
    let sent = names("m", 1000);
    publish(fixture, "q", &sent.iter().map(String::as_str).collect::<Vec<_>>());
    let mut worker = consumer(fixture, "w", &["q"]);
    let mut taken = Vec::new();
    while taken.len() < 1000 {
        let more = take(&mut *worker, 1000 - taken.len());
        assert!(!more.is_empty(), "only {} of 1000 came", taken.len());
        taken.extend(more);
    }
    assert_eq!(bodies(&taken), sent);
    let settlements: Vec<_> = taken
        .iter()
        .map(|delivery| Settlement {
            publish: vec![outgoing("q", &format!("+{}", body(delivery)))],
            ..ack(&delivery.tag)
        })
        .collect();

    let exchanged = worker.exchange(&settlements, 5).expect("exchange");

    assert_eq!(exchanged.lost, []);
    assert_eq!(bodies(&exchanged.deliveries), ["+m0", "+m1", "+m2", "+m3", "+m4"]);
    assert_eq!(length(fixture, "q"), 995);
}

/// Length counts what is ready, not what is held; purging removes what is ready, not what is held.
pub fn length_and_purge_are_of_ready_messages(fixture: &dyn BrokerFixture) {
    let mut sender = publisher(fixture);
    for priority in [0, 3, 6, 9] {
        let batch: Vec<_> = (0..3).map(|number| prioritized("q", &number.to_string(), Some(priority))).collect();
        sender.publish(&batch).expect("publish");
    }
    publish(fixture, "other", &["m"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let held = take_one(&mut *worker);
    let mut admin = admin(fixture);
    assert_eq!(admin.length("q"), Ok(11));
    assert_eq!(admin.length("nothing"), Ok(0));

    assert_eq!(admin.purge("q"), Ok(11));

    assert_eq!((admin.purge("q"), admin.length("q"), admin.length("other")), (Ok(0), Ok(0), Ok(1)));
    assert_eq!(finish(&mut *worker, &[settle(&held.tag, requeue(true, false))]).lost, []);
    assert_eq!(admin.length("q"), Ok(1));
}
