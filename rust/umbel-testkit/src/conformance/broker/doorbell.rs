//! Waiting for work without missing any.

use std::time::{Duration, Instant};

use umbel_broker::Doorbell;

use crate::conformance::BrokerFixture;
use crate::conformance::steps::*;

fn bell(fixture: &dyn BrokerFixture, queues: &[&str]) -> Box<dyn Doorbell> {
    let queues: Vec<String> = queues.iter().map(|queue| (*queue).to_owned()).collect();
    fixture.broker().doorbell(&queues).expect("a doorbell")
}

/// Swallows rings for what happened before, so that the next one is about what comes.
fn settle_down(bell: &mut dyn Doorbell) {
    let deadline = Instant::now() + PATIENCE;
    while bell.wait(Duration::from_millis(20)).expect("wait") {
        assert!(Instant::now() < deadline, "the bell keeps ringing though there is nothing");
    }
}

/// Published before the bell was made.
pub fn the_bell_rings_for_what_was_there(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    assert_eq!(bell(fixture, &["q"]).wait(PATIENCE), Ok(true));
}

/// Published between two waits, to any of its queues and in any priority.
pub fn the_bell_rings_for_what_came_between(fixture: &dyn BrokerFixture) {
    let mut bell = bell(fixture, &["a", "b"]);
    let mut worker = consumer(fixture, "w", &["a", "b"]);
    for (queue, priority) in [("a", 0), ("b", 9), ("a", 3), ("b", 6)] {
        settle_down(&mut *bell);
        publisher(fixture).publish(&[prioritized(queue, "m", Some(priority))]).expect("publish");
        assert_eq!(bell.wait(PATIENCE), Ok(true));
        let delivery = take_one(&mut *worker);
        finish(&mut *worker, &[ack(&delivery.tag)]);
    }
}

/// Published by another thread while waiting: rings soon, every time.
pub fn the_bell_rings_while_waiting(fixture: &dyn BrokerFixture) {
    let (mut bell, mut worker) = (bell(fixture, &["q"]), consumer(fixture, "w", &["q"]));
    std::thread::scope(|scope| {
        let (ask, asked) = std::sync::mpsc::channel::<usize>();
        scope.spawn(move || {
            let mut sender = publisher(fixture);
            while let Ok(number) = asked.recv() {
                sender.publish(&[outgoing("q", &number.to_string())]).expect("publish");
            }
        });
        for number in 0..40 {
            ask.send(number).expect("the publisher lives");
            let deadline = Instant::now() + PATIENCE;
            loop {
                assert_eq!(bell.wait(PATIENCE), Ok(true), "message {number} was missed");
                let taken = take(&mut *worker, 1);
                if let Some(delivery) = taken.first() {
                    assert_eq!(body(delivery), number.to_string());
                    finish(&mut *worker, &[ack(&delivery.tag)]);
                    break;
                }
                assert!(Instant::now() < deadline, "rings without a message");
            }
        }
    });
}

/// What comes back rings too: requeued, given back at close, replayed.
pub fn the_bell_rings_for_returned_messages(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let mut bell = bell(fixture, &["q"]);

    let delivery = take_one(&mut *worker);
    settle_down(&mut *bell);
    finish(&mut *worker, &[settle(&delivery.tag, requeue(true, false))]);
    assert_eq!(bell.wait(PATIENCE), Ok(true), "requeued");

    take_one(&mut *worker);
    settle_down(&mut *bell);
    worker.close().expect("close");
    assert_eq!(bell.wait(PATIENCE), Ok(true), "given back");

    let mut worker = consumer(fixture, "w2", &["q"]);
    let delivery = take_one(&mut *worker);
    finish(&mut *worker, &[settle(&delivery.tag, dead("x"))]);
    settle_down(&mut *bell);
    let mut admin = admin(fixture);
    let letters = admin.dead_letters(0, 1).expect("dead letters");
    admin.dead_replay(&[letters[0].id.clone()]).expect("replay");
    assert_eq!(bell.wait(PATIENCE), Ok(true), "replayed");
}

/// With nothing to tell it gives up after the timeout, not before and not long after.
pub fn the_bell_gives_up_in_time(fixture: &dyn BrokerFixture) {
    let mut bell = bell(fixture, &["q"]);
    settle_down(&mut *bell);
    publish(fixture, "other", &["m"]);
    let (start, timeout) = (Instant::now(), Duration::from_millis(60));
    let rang = bell.wait(timeout).expect("wait");
    let took = start.elapsed();
    assert!(rang || took >= timeout, "gave up after {took:?}");
    assert!(took < PATIENCE, "gave up after {took:?}");
}

/// Every bell rings: two workers may wait for one queue.
pub fn every_bell_rings(fixture: &dyn BrokerFixture) {
    let mut bells = [bell(fixture, &["q"]), bell(fixture, &["q", "r"]), bell(fixture, &["q"])];
    for bell in &mut bells {
        settle_down(&mut **bell);
    }
    publish(fixture, "q", &["m"]);
    for bell in &mut bells {
        assert_eq!(bell.wait(PATIENCE), Ok(true));
    }
}
