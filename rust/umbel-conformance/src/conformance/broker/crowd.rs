//! Many handles at once: nothing lost, nothing given twice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use umbel_broker::{Settlement, Tag};

use crate::conformance::BrokerFixture;
use crate::conformance::steps::*;

const PUBLISHERS: usize = 3;
const EACH: usize = 300;

/// Three publishers and three consumers at once: every message is given to exactly one consumer.
pub fn a_crowd_loses_and_repeats_nothing(fixture: &dyn BrokerFixture) {
    let received = AtomicUsize::new(0);
    let mut seen: HashMap<String, usize> = HashMap::new();
    std::thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            scope.spawn(move || publish_all(fixture, publisher));
        }
        let consumers: Vec<_> = (0..3)
            .map(|number| {
                let received = &received;
                scope.spawn(move || consume_until(fixture, &format!("w{number}"), received))
            })
            .collect();
        for consumer in consumers {
            for body in consumer.join().expect("a consumer finishes") {
                *seen.entry(body).or_default() += 1;
            }
        }
    });
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "given twice: {twice:?}");
    assert_eq!(seen.len(), PUBLISHERS * EACH, "some were lost");
    assert_eq!(length(fixture, "q"), 0);
    assert_eq!(length(fixture, "done"), (PUBLISHERS * EACH) as u64, "one follow-up per message");
}

fn publish_all(fixture: &dyn BrokerFixture, publisher_number: usize) {
    let mut sender = publisher(fixture);
    for start in (0..EACH).step_by(10) {
        let batch: Vec<_> =
            (start..start + 10).map(|number| outgoing("q", &format!("{publisher_number}-{number}"))).collect();
        sender.publish(&batch).expect("publish");
    }
}

fn consume_until(fixture: &dyn BrokerFixture, worker: &str, received: &AtomicUsize) -> Vec<String> {
    let mut options = options(fixture, worker, &["q"]);
    // Long: a crowded machine may not let a thread run for a while, and this case is not about leases.
    options.lease = Duration::from_secs(600);
    let mut consumer = fixture.broker().consumer(options).expect("a consumer");
    let mut bell = fixture.broker().doorbell(&["q".to_owned()]).expect("a doorbell");
    let (mut mine, mut held): (Vec<String>, Vec<Tag>) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + PATIENCE * 6;
    while received.load(Ordering::SeqCst) < PUBLISHERS * EACH || !held.is_empty() {
        assert!(Instant::now() < deadline, "{} of {} came", received.load(Ordering::SeqCst), PUBLISHERS * EACH);
        let settlements: Vec<Settlement> =
            held.drain(..).map(|tag| Settlement { publish: vec![outgoing("done", &tag.0)], ..ack(&tag) }).collect();
        let exchanged = consumer.exchange(&settlements, 7).expect("exchange");
        assert_eq!(exchanged.lost, []);
        received.fetch_add(exchanged.deliveries.len(), Ordering::SeqCst);
        held = tags(&exchanged.deliveries);
        mine.extend(bodies(&exchanged.deliveries));
        if held.is_empty() {
            bell.wait(Duration::from_millis(20)).expect("wait");
        }
    }
    mine
}

/// Many workers at one heartbeat: a dead worker's messages return once.
pub fn a_crowd_returns_messages_once(fixture: &dyn BrokerFixture) {
    let sent = names("m", 50);
    publish(fixture, "q", &sent.iter().map(String::as_str).collect::<Vec<_>>());
    let mut silent = consumer(fixture, "silent", &["q"]);
    assert_eq!(take(&mut *silent, 50).len(), 50);
    fixture.advance(fixture.lease() + fixture.lease() / 4);
    let returned: usize = std::thread::scope(|scope| {
        let beats: Vec<_> = (0..4)
            .map(|number| {
                scope.spawn(move || consumer(fixture, &format!("w{number}"), &["q"]).heartbeat().expect("heartbeat"))
            })
            .collect();
        beats.into_iter().map(|beat| beat.join().expect("a heartbeat returns")).sum()
    });
    assert_eq!(returned, 50);
    assert_eq!(length(fixture, "q"), 50);
}
