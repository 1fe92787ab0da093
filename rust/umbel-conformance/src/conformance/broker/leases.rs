//! Who holds what, and what becomes of it when the holder falls silent.

use umbel_broker::Consumer;

use crate::conformance::BrokerFixture;
use crate::conformance::steps::*;

fn pass_lease(fixture: &dyn BrokerFixture) {
    fixture.advance(fixture.lease() + fixture.lease() / 4);
}

fn redelivery(delivery: &umbel_broker::Delivery) -> (bool, u32) {
    let properties = &content(&delivery.payload).properties;
    (properties.redelivered, properties.failed_deliveries)
}

/// A silent worker's messages come back by another's heartbeat, marked, counted, in front, in their order.
pub fn a_silent_workers_messages_return(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2", "3", "4"]);
    let mut silent = consumer(fixture, "silent", &["q"]);
    assert_eq!(bodies(&take(&mut *silent, 3)), ["1", "2", "3"]);
    pass_lease(fixture);
    let mut other = consumer(fixture, "other", &["q"]);

    assert_eq!(other.heartbeat(), Ok(3));

    assert_eq!(other.heartbeat(), Ok(0), "they return once");
    let taken = take(&mut *other, 10);
    assert_eq!(bodies(&taken), ["1", "2", "3", "4"]);
    let marks: Vec<_> = taken.iter().map(redelivery).collect();
    assert_eq!(marks, [(true, 1), (true, 1), (true, 1), (false, 0)]);
}

/// What the silent worker says afterwards is too late: reported lost, and nothing published for it.
pub fn a_late_settlement_is_lost(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut silent = consumer(fixture, "silent", &["q"]);
    let delivery = take_one(&mut *silent);
    pass_lease(fixture);
    let mut other = consumer(fixture, "other", &["q"]);
    assert_eq!(other.heartbeat(), Ok(1));
    let mut settlement = ack(&delivery.tag);
    settlement.publish.push(outgoing("follow", "must not be"));

    assert_eq!(finish(&mut *silent, &[settlement]).lost, [delivery.tag]);

    assert_eq!(length(fixture, "follow"), 0);
    assert_eq!(bodies(&take(&mut *other, 10)), ["m"]);
}

/// A worker that was thought dead goes on: it can fetch, and what it fetches is its own.
pub fn a_worker_thought_dead_goes_on(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1"]);
    let mut slow = consumer(fixture, "slow", &["q"]);
    take_one(&mut *slow);
    pass_lease(fixture);
    let mut other = consumer(fixture, "other", &["q"]);
    assert_eq!(other.heartbeat(), Ok(1));

    slow.heartbeat().expect("heartbeat");
    let delivery = take_one(&mut *slow);

    assert_eq!(other.heartbeat(), Ok(0));
    assert_eq!(finish(&mut *slow, &[ack(&delivery.tag)]).lost, []);
}

/// A worker that says "alive" keeps what it holds, however long.
pub fn heartbeats_keep_messages(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let (mut worker, mut other) = (consumer(fixture, "w", &["q"]), consumer(fixture, "other", &["q"]));
    let delivery = take_one(&mut *worker);
    for _ in 0..6 {
        fixture.advance(fixture.lease() / 2);
        assert_eq!(worker.heartbeat(), Ok(0));
        assert_eq!(other.heartbeat(), Ok(0));
        assert_eq!(take(&mut *other, 1), []);
    }
    assert_eq!(finish(&mut *worker, &[ack(&delivery.tag)]).lost, []);
}

/// A lease that ran out unnoticed is no loss: who comes back first keeps what it holds.
pub fn a_lapse_nobody_saw_costs_nothing(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let delivery = take_one(&mut *worker);
    pass_lease(fixture);
    assert_eq!(worker.heartbeat(), Ok(0));
    assert_eq!(consumer(fixture, "other", &["q"]).heartbeat(), Ok(0));
    assert_eq!(finish(&mut *worker, &[ack(&delivery.tag)]).lost, []);
}

/// Closing gives everything back at once: in front, in order, marked, not counted as failed.
pub fn close_gives_everything_back(fixture: &dyn BrokerFixture) {
    publish(fixture, "a", &["1", "2", "3"]);
    publish(fixture, "b", &["4"]);
    let mut worker = consumer(fixture, "w", &["a", "b"]);
    let taken = take(&mut *worker, 3);
    assert_eq!(taken.len(), 3);

    worker.close().expect("close");

    assert_eq!((length(fixture, "a"), length(fixture, "b")), (3, 1));
    let mut other = consumer(fixture, "other", &["a"]);
    let again = take(&mut *other, 10);
    assert_eq!(bodies(&again), ["1", "2", "3"]);
    assert_eq!(redelivery(&again[0]), (true, 0));
    pass_lease(fixture);
    let mut third = consumer(fixture, "third", &["a"]);
    assert_eq!(third.heartbeat(), Ok(3), "the closed worker left nothing behind but what others hold");
}

/// Wherever it is put: it is there for others at once, marked and not counted.
pub fn closing_keeps_nothing_back(fixture: &dyn BrokerFixture) {
    publish(fixture, "a", &["1", "2", "3"]);
    let mut worker = consumer(fixture, "w", &["a"]);
    let taken = take(&mut *worker, 2);
    finish(&mut *worker, &[ack(&taken[0].tag)]);
    worker.close().expect("close");
    let mut again = take(&mut *consumer(fixture, "other", &["a"]), 10);
    again.sort_by_key(body);
    assert_eq!(bodies(&again), ["2", "3"]);
    assert_eq!(again.iter().map(redelivery).collect::<Vec<_>>(), [(true, 0), (false, 0)]);
}

/// Closing twice is fine.
pub fn closing_twice_is_fine(fixture: &dyn BrokerFixture) {
    let mut worker = consumer(fixture, "w", &["q"]);
    worker.close().expect("close");
    worker.close().expect("close again");
}

/// A handle that is dropped without a word is a silent worker.
pub fn a_dropped_consumer_is_silent(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    take_one(&mut *worker);
    drop(worker);
    let mut early = consumer(fixture, "early", &["q"]);
    assert_eq!((early.heartbeat(), take(&mut *early, 1)), (Ok(0), vec![]));
    pass_lease(fixture);
    let mut other = consumer(fixture, "other", &["q"]);
    assert_eq!(other.heartbeat(), Ok(1));
    assert_eq!(bodies(&take(&mut *other, 1)), ["m"]);
}

/// Recovery gives back what the caller does not know of (its reply was lost), keeps the rest, in front and in order.
pub fn recover_returns_what_is_unknown(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2", "3", "4", "5"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let taken = take(&mut *worker, 4);
    let known = [taken[0].tag.clone(), taken[2].tag.clone()];

    assert_eq!(worker.recover(&known), Ok(vec![]));

    assert_eq!(length(fixture, "q"), 3);
    let again = take(&mut *worker, 10);
    assert_eq!(bodies(&again), ["2", "4", "5"]);
    assert_eq!(redelivery(&again[0]), (true, 0), "nothing failed");
    assert_eq!(finish(&mut *worker, &[ack(&known[0]), ack(&known[1])]).lost, []);
}

/// Recovery says which tags are no longer held.
pub fn recover_reports_lost_tags(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let known = tags(&take(&mut *worker, 2));
    finish(&mut *worker, &[ack(&known[0])]);
    assert_eq!(worker.recover(&known), Ok(vec![known[0].clone()]));

    pass_lease(fixture);
    assert_eq!(consumer(fixture, "other", &["q"]).heartbeat(), Ok(1));
    let mut lost = worker.recover(&known).expect("recover");
    lost.sort();
    assert_eq!(lost, known);
}

/// Recovery leaves other workers' messages alone.
pub fn recover_is_about_one_worker(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2"]);
    let (mut one, mut two) = (consumer(fixture, "one", &["q"]), consumer(fixture, "one.1", &["q"]));
    let (held, _) = (take_one(&mut *two), take_one(&mut *one));
    assert_eq!(one.recover(&[]), Ok(vec![]));
    assert_eq!(length(fixture, "q"), 1);
    assert_eq!(finish(&mut *two, &[ack(&held.tag)]).lost, []);
}

/// A worker that starts anew under its old id (same process, new connection) can recover what it held.
pub fn a_new_handle_recovers_the_old_ones_messages(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2"]);
    let mut old = consumer(fixture, "w", &["q"]);
    let taken = take(&mut *old, 2);
    drop(old);
    let mut new = consumer(fixture, "w", &["q"]);
    assert_eq!(new.recover(&[taken[1].tag.clone()]), Ok(vec![]));
    assert_eq!(finish(&mut *new, &[ack(&taken[1].tag)]).lost, []);
    let again = take_one(&mut *new);
    assert_eq!(body(&again), "1");
    assert!(!tags(&taken).contains(&again.tag), "tags do not repeat over handles");
}

/// A heartbeat without anything to do is fine, and says so.
pub fn an_idle_heartbeat_returns_nothing(fixture: &dyn BrokerFixture) {
    let mut worker: Box<dyn Consumer> = consumer(fixture, "w", &["q"]);
    assert_eq!(worker.heartbeat(), Ok(0));
}
