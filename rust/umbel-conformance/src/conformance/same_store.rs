//! Broker and results in one store: a message leaves in the same step in which its result is written.

use std::sync::Arc;
use std::time::Duration;

use umbel_backend::Backend;
use umbel_broker::{BrokerError, Consumer, Disposition, Settlement};
use umbel_protocol::ChordStep;

use super::BrokerFixture;
use super::steps::*;

fn backend(fixture: &dyn BrokerFixture) -> Arc<dyn Backend> {
    fixture.backend_in_same_store().expect("the fixture has a result store beside its broker")
}

fn storing_consumer(fixture: &dyn BrokerFixture, worker: &str) -> Box<dyn Consumer> {
    let mut options = options(fixture, worker, &["q"]);
    options.stores_results = true;
    fixture.broker().consumer(options).expect("a consumer")
}

fn read(fixture: &dyn BrokerFixture, task_id: &str) -> Option<Vec<u8>> {
    backend(fixture).store().expect("a store").read(&[task_id.to_owned()]).expect("read").remove(0)
}

fn done(tag: &umbel_broker::Tag, task_id: &str, state: &str, record: &str) -> Settlement {
    Settlement { results: vec![write(task_id, state, record)], ..ack(tag) }
}

/// Broker and result store know that they are one.
pub fn both_have_one_identity(fixture: &dyn BrokerFixture) {
    assert_eq!(fixture.broker().identity(), backend(fixture).identity());
}

/// Acknowledgement, result and follow-up happen together, and who waits for the result hears of it.
pub fn results_come_with_the_ack(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = storing_consumer(fixture, "w");
    let delivery = take_one(&mut *worker);
    let mut listener = backend(fixture).listener().expect("a listener");
    listener.subscribe(&["t".to_owned()]).expect("subscribe");
    let mut settlement = done(&delivery.tag, "t", "SUCCESS", "5");
    settlement.publish.push(outgoing("q", "next"));

    let exchanged = worker.exchange(&[settlement], 10).expect("exchange");

    assert_eq!((bodies(&exchanged.deliveries), exchanged.lost), (vec!["next".to_owned()], vec![]));
    assert_eq!(read(fixture, "t").as_deref(), Some(&b"5"[..]));
    assert_eq!(listener.next(PATIENCE), Ok(vec![("t".to_owned(), b"5".to_vec())]));
}

/// Results are facts: written also for a lost tag, whose follow-ups are not published.
pub fn results_of_lost_tags_are_written(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut slow = storing_consumer(fixture, "slow");
    let delivery = take_one(&mut *slow);
    fixture.advance(fixture.lease() * 2);
    assert_eq!(consumer(fixture, "other", &["q"]).heartbeat(), Ok(1));
    let mut settlement = done(&delivery.tag, "t", "SUCCESS", "5");
    settlement.publish.push(outgoing("follow", "must not be"));

    assert_eq!(finish(&mut *slow, &[settlement]).lost, [delivery.tag]);

    assert_eq!(read(fixture, "t").as_deref(), Some(&b"5"[..]));
    assert_eq!(length(fixture, "follow"), 0);
}

/// `SUCCESS` is final here too: the second run of a task that was delivered twice changes nothing.
pub fn success_is_final_here_too(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2"]);
    let mut worker = storing_consumer(fixture, "w");
    let taken = tags(&take(&mut *worker, 2));
    finish(
        &mut *worker,
        &[done(&taken[0], "t", "SUCCESS", &recorded("SUCCESS")), done(&taken[1], "t", "FAILURE", "second")],
    );
    assert_eq!(read(fixture, "t"), Some(recorded("SUCCESS").into_bytes()));
}

/// A task acknowledged early leaves its result without a tag.
pub fn early_acked_work_still_stores(fixture: &dyn BrokerFixture) {
    let mut worker = storing_consumer(fixture, "w");
    let settlement = Settlement {
        publish: vec![outgoing("q", "next")],
        results: vec![write("t", "SUCCESS", "1"), write("u", "STARTED", "2")],
        ..Settlement::of(None, Disposition::Ack)
    };
    assert_eq!(bodies(&worker.exchange(&[settlement], 1).expect("exchange").deliveries), ["next"]);
    assert_eq!((read(fixture, "t"), read(fixture, "u")), (Some(b"1".to_vec()), Some(b"2".to_vec())));
}

/// The same settlements again (the reply was lost) change nothing.
pub fn repeating_with_results_is_harmless(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = storing_consumer(fixture, "w");
    let delivery = take_one(&mut *worker);
    let mut settlement = done(&delivery.tag, "t", "FAILURE", "x");
    settlement.publish.push(outgoing("follow", "once"));
    assert_eq!(finish(&mut *worker, std::slice::from_ref(&settlement)).lost, []);
    assert_eq!(finish(&mut *worker, &[settlement]).lost, [delivery.tag]);
    assert_eq!(read(fixture, "t").as_deref(), Some(&b"x"[..]));
    assert_eq!(length(fixture, "follow"), 1);
}

/// All or nothing: no result is written for a settlement that could not be carried out.
pub fn a_failed_settlement_stores_nothing(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = storing_consumer(fixture, "w");
    let delivery = take_one(&mut *worker);
    let mut lost = outgoing("", "lost");
    lost.destination = exchange("nowhere", "key");
    let settlement = Settlement { publish: vec![lost], ..done(&delivery.tag, "t", "SUCCESS", "5") };
    let error = worker.exchange(&[settlement], 0).expect_err("unroutable");
    assert!(matches!(error, BrokerError::Unroutable { .. }), "{error:?}");
    assert_eq!(read(fixture, "t"), None);
    assert_eq!(finish(&mut *worker, &[done(&delivery.tag, "t", "FAILURE", "unroutable")]).lost, []);
    assert_eq!(read(fixture, "t").as_deref(), Some(&b"unroutable"[..]));
}

fn begin_chord(fixture: &dyn BrokerFixture, group: &str, size: u64) {
    let mut store = backend(fixture).store().expect("a store");
    store.start_chord(group, size, Some(Duration::from_secs(3600))).expect("start");
}

fn counting(tag: Option<&umbel_broker::Tag>, task_id: &str, index: Option<i64>) -> Settlement {
    let mut settlement = Settlement::of(tag.cloned(), Disposition::Ack);
    settlement.publish.push(awaiting("unlock", chord_part("g", task_id, index)));
    settlement
}

/// The last part lets the message out that waits, with the members in the order of their places.
pub fn the_last_part_of_a_chord_lets_its_message_out(fixture: &dyn BrokerFixture) {
    begin_chord(fixture, "g", 3);
    publish(fixture, "q", &["1", "2", "3"]);
    let mut worker = storing_consumer(fixture, "w");
    let taken = tags(&take(&mut *worker, 3));
    let first = [counting(Some(&taken[0]), "c", None), counting(Some(&taken[1]), "b", Some(1))];
    assert_eq!(finish(&mut *worker, &first).lost, []);
    assert_eq!(length(fixture, "unlock"), 0);

    finish(&mut *worker, &[counting(Some(&taken[2]), "a", Some(0))]);

    let delivery = take_one(&mut *consumer(fixture, "v", &["unlock"]));
    assert_eq!(
        body(&delivery),
        r#"[["g"], {"result": [[["a", null], null], [["b", null], null], [["c", null], null]]}, null]"#
    );
    let parts = backend(fixture).store().expect("a store").chord_parts("g").expect("parts");
    let parts: Vec<_> = parts.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    assert_eq!(parts, ["a", "b", "c"].map(|id| format!(r#"[1, "{id}", "SUCCESS", 5]"#)));
}

/// A member counts once however often it runs, also after the chord is complete or over.
pub fn members_of_a_chord_count_once(fixture: &dyn BrokerFixture) {
    begin_chord(fixture, "g", 2);
    let mut worker = storing_consumer(fixture, "w");
    for _ in 0..3 {
        finish(&mut *worker, &[counting(None, "a", Some(0)), counting(None, "a", Some(0))]);
    }
    assert_eq!(length(fixture, "unlock"), 0);
    finish(&mut *worker, &[counting(None, "b", Some(1)), counting(None, "b", Some(1))]);
    assert_eq!(length(fixture, "unlock"), 1);
    let mut over = outgoing("body", "body");
    over.chord = Some(Box::new(ChordStep::End { group: "g".to_owned() }));
    let end = Settlement { publish: vec![over], ..counting(None, "", None) };
    finish(&mut *worker, &[end, counting(None, "b", Some(1)), counting(None, "late", Some(2))]);
    assert_eq!((length(fixture, "unlock"), length(fixture, "body")), (1, 1));
    assert_eq!(backend(fixture).store().expect("a store").chord_parts("g"), Ok(vec![]));
}

/// Whose message was lost to another worker is counted when it runs there.
pub fn members_whose_tag_was_lost_do_not_count(fixture: &dyn BrokerFixture) {
    begin_chord(fixture, "g", 1);
    publish(fixture, "q", &["m"]);
    let mut slow = storing_consumer(fixture, "slow");
    let delivery = take_one(&mut *slow);
    fixture.advance(fixture.lease() * 2);
    assert_eq!(consumer(fixture, "other", &["q"]).heartbeat(), Ok(1));

    assert_eq!(finish(&mut *slow, &[counting(Some(&delivery.tag), "a", Some(0))]).lost, [delivery.tag]);

    assert_eq!(length(fixture, "unlock"), 0);
    let mut other = storing_consumer(fixture, "other");
    let again = take_one(&mut *other);
    finish(&mut *other, &[counting(Some(&again.tag), "a", Some(0))]);
    assert_eq!(length(fixture, "unlock"), 1);
}

/// A chord is where the results are.
pub fn chords_need_a_consumer_that_stores_results(fixture: &dyn BrokerFixture) {
    let refused = consumer(fixture, "w", &["q"]).exchange(&[counting(None, "a", None)], 0);
    assert!(matches!(refused, Err(BrokerError::Protocol { .. })), "{refused:?}");
}

/// A thousand completions in one call.
pub fn a_thousand_results_at_once(fixture: &dyn BrokerFixture) {
    let sent = names("m", 1000);
    publish(fixture, "q", &sent.iter().map(String::as_str).collect::<Vec<_>>());
    let mut worker = storing_consumer(fixture, "w");
    let mut settlements = Vec::new();
    while settlements.len() < 1000 {
        let taken = take(&mut *worker, 1000 - settlements.len());
        assert!(!taken.is_empty(), "only {} of 1000 came", settlements.len());
        settlements
            .extend(taken.iter().map(|delivery| done(&delivery.tag, &body(delivery), "SUCCESS", &body(delivery))));
    }
    let mut listener = backend(fixture).listener().expect("a listener");
    listener.subscribe(&sent).expect("subscribe");

    assert_eq!(finish(&mut *worker, &settlements).lost, []);

    let records = backend(fixture).store().expect("a store").read(&sent).expect("read");
    assert!(records.iter().zip(&sent).all(|(record, body)| record.as_deref() == Some(body.as_bytes())));
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut heard = std::collections::HashSet::new();
    while heard.len() < 1000 {
        assert!(std::time::Instant::now() < deadline, "{} of 1000 heard", heard.len());
        heard.extend(listener.next(PATIENCE).expect("next").into_iter().map(|(task_id, _)| task_id));
    }
}

/// Every case is for every engine.
#[doc(hidden)]
pub const fn applies(_case: &str, _fixture: &dyn BrokerFixture) -> bool {
    true
}

/// One `#[test]` per case of broker and results in one store. The argument is a function that makes a
/// [`BrokerFixture`](crate::conformance::BrokerFixture).
#[macro_export]
macro_rules! same_store_conformance {
    ($($make:tt)+) => {
        $crate::conformance_tests!(
            [$($make)+],
            same_store,
            [
                both_have_one_identity,
                results_come_with_the_ack,
                results_of_lost_tags_are_written,
                success_is_final_here_too,
                early_acked_work_still_stores,
                repeating_with_results_is_harmless,
                a_failed_settlement_stores_nothing,
                the_last_part_of_a_chord_lets_its_message_out,
                members_of_a_chord_count_once,
                members_whose_tag_was_lost_do_not_count,
                chords_need_a_consumer_that_stores_results,
                a_thousand_results_at_once,
            ]
        );
    };
}

#[cfg(test)]
mod tests {
    use crate::conformance::{listed_cases, public_functions};

    #[test]
    fn every_case_is_listed() {
        let source = include_str!("same_store.rs");
        assert_eq!(listed_cases(source), public_functions(&[source]));
    }
}
