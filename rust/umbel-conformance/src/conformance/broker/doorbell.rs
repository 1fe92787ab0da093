//! Waiting for work without missing any, at a doorbell and, where a consumer listens itself, at one of those.

use std::io::PipeReader;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use umbel_broker::{Capability, Consumer, Doorbell};

use crate::conformance::BrokerFixture;
use crate::conformance::steps::*;

/// A doorbell, and a consumer of the same queues if it listens.
struct Bell {
    doorbell: Box<dyn Doorbell>,
    ear: Option<Box<dyn Consumer>>,
    waker: PipeReader,
    /// Keeps the waker silent.
    _open: std::io::PipeWriter,
}

fn bell(fixture: &dyn BrokerFixture, queues: &[&str]) -> Bell {
    let names: Vec<String> = queues.iter().map(|queue| (*queue).to_owned()).collect();
    let doorbell = fixture.broker().doorbell(&names).expect("a doorbell");
    // One that takes what it hears would take it away from the others.
    let ear =
        fixture.can(Capability::Overhearing).then(|| consumer(fixture, &format!("ear-{}", fastrand::u64(..)), queues));
    let ear = ear.filter(|ear| ear.listens());
    let (waker, open) = std::io::pipe().expect("a pipe");
    Bell { doorbell, ear, waker, _open: open }
}

impl Bell {
    /// Whether everybody heard of something in time.
    fn rings(&mut self, timeout: Duration) -> bool {
        let heard = self.listen(timeout).unwrap_or(true);
        self.doorbell.wait(timeout).expect("wait") && heard
    }

    fn listen(&mut self, timeout: Duration) -> Option<bool> {
        Some(self.ear.as_mut()?.listen(timeout, self.waker.as_fd()).expect("listen"))
    }

    /// Swallows rings for what happened before, so that the next one is about what comes.
    fn settle_down(&mut self) {
        let (deadline, moment) = (Instant::now() + PATIENCE, Duration::from_millis(20));
        loop {
            let heard = self.listen(moment).unwrap_or(false);
            if !self.doorbell.wait(moment).expect("wait") && !heard {
                return;
            }
            assert!(Instant::now() < deadline, "the bell keeps ringing though there is nothing");
        }
    }
}

/// Published before the bell was made.
pub fn the_bell_rings_for_what_was_there(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["m"]);
    assert!(bell(fixture, &["q"]).rings(PATIENCE));
}

/// Published between two waits, to any of its queues and in any priority.
pub fn the_bell_rings_for_what_came_between(fixture: &dyn BrokerFixture) {
    let mut bell = bell(fixture, &["a", "b"]);
    let mut worker = consumer(fixture, "w", &["a", "b"]);
    for (queue, priority) in [("a", 0), ("b", 9), ("a", 3), ("b", 6)] {
        bell.settle_down();
        publisher(fixture).publish(&[prioritized(queue, "m", Some(priority))]).expect("publish");
        assert!(bell.rings(PATIENCE));
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
                assert!(bell.rings(PATIENCE), "message {number} was missed");
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
    bell.settle_down();
    finish(&mut *worker, &[settle(&delivery.tag, requeue(true, false))]);
    assert!(bell.rings(PATIENCE), "requeued");

    take_one(&mut *worker);
    bell.settle_down();
    worker.close().expect("close");
    assert!(bell.rings(PATIENCE), "given back");

    let mut worker = consumer(fixture, "w2", &["q"]);
    let delivery = take_one(&mut *worker);
    finish(&mut *worker, &[settle(&delivery.tag, dead("x"))]);
    bell.settle_down();
    let mut admin = admin(fixture);
    let letters = admin.dead_letters(0, 1).expect("dead letters");
    admin.dead_replay(&[letters[0].id.clone()]).expect("replay");
    assert!(bell.rings(PATIENCE), "replayed");
}

/// With nothing to tell it gives up after the timeout, not before and not long after.
pub fn the_bell_gives_up_in_time(fixture: &dyn BrokerFixture) {
    let mut bell = bell(fixture, &["q"]);
    bell.settle_down();
    publish(fixture, "other", &["m"]);
    let (start, timeout) = (Instant::now(), Duration::from_millis(60));
    let rang = bell.rings(timeout);
    let took = start.elapsed();
    assert!(rang || took >= timeout, "gave up after {took:?}");
    assert!(took < PATIENCE, "gave up after {took:?}");
}

/// Who listens can be called away, and misses nothing by it.
pub fn a_listener_can_be_woken(fixture: &dyn BrokerFixture) {
    let mut bell = bell(fixture, &["q"]);
    let Some(mut ear) = bell.ear.take() else { return };
    while ear.listen(Duration::from_millis(20), bell.waker.as_fd()).expect("listen") {}
    let (waker, writer) = std::io::pipe().expect("a pipe");
    drop(writer);
    assert_eq!(ear.listen(PATIENCE, waker.as_fd()), Ok(false), "woken");
    publish(fixture, "q", &["m"]);
    assert_eq!(ear.listen(PATIENCE, bell.waker.as_fd()), Ok(true), "rang");
    assert_eq!(body(&take_one(&mut *ear)), "m");
    publish(fixture, "q", &["n"]);
    assert_eq!(ear.listen(PATIENCE, bell.waker.as_fd()), Ok(true), "rang again");
}

/// Every bell rings: two workers may wait for one queue.
pub fn every_bell_rings(fixture: &dyn BrokerFixture) {
    let mut bells = [bell(fixture, &["q"]), bell(fixture, &["q", "r"]), bell(fixture, &["q"])];
    for bell in &mut bells {
        bell.settle_down();
    }
    publish(fixture, "q", &["m"]);
    for bell in &mut bells {
        assert!(bell.rings(PATIENCE));
    }
}
