//! Lines: fair sharing of a queue.

use umbel_broker::lines::{STALE, WINDOW};
use umbel_broker::{Consumer, Delivery, Disposition, GivenUp, Outgoing, Settlement};

use crate::conformance::BrokerFixture;
use crate::conformance::steps::*;

fn in_line(queue: &str, line: &str, body: &str) -> Outgoing {
    Outgoing { line: Some(line.to_owned()), ..outgoing(queue, body) }
}

fn publish_line(fixture: &dyn BrokerFixture, line: &str, count: usize) {
    let batch: Vec<Outgoing> = (0..count).map(|number| in_line("q", line, &format!("{line}{number}"))).collect();
    publisher(fixture).publish(&batch).expect("publish");
}

/// The end of a delivery, and the next of its line.
fn done(delivery: &Delivery) -> Settlement {
    let line = body(delivery).trim_end_matches(|letter: char| letter.is_ascii_digit()).to_owned();
    let place = GivenUp::Place { queue: delivery.queue.to_string(), line };
    Settlement { gives_up: vec![place], ..ack(&delivery.tag) }
}

/// Takes one after the other until the queue is empty.
fn work_off(consumer: &mut dyn Consumer) -> Vec<String> {
    let mut taken = Vec::new();
    while let Some(delivery) = take(consumer, 1).first() {
        taken.push(body(delivery));
        finish(consumer, &[done(delivery)]);
    }
    taken
}

fn of(line: &str, taken: &[String]) -> Vec<String> {
    taken.iter().filter(|body| body.starts_with(line)).cloned().collect()
}

/// However many stand in one line, those of another have their turn.
pub fn lines_are_served_in_turn(fixture: &dyn BrokerFixture) {
    publish_line(fixture, "a", 100);
    publish_line(fixture, "b", 20);
    let taken = work_off(&mut *consumer(fixture, "w", &["q"]));
    assert_eq!((of("a", &taken), of("b", &taken)), (names("a", 100), names("b", 20)), "each in its order");
    let window = WINDOW as usize;
    let last = taken.iter().rposition(|body| body.starts_with('b')).expect("there are some");
    assert!(last < window + 2 * 20, "the last b came after {last} others");
}

/// The others wait, held by nobody, and can be seen.
pub fn no_more_than_a_window_is_in_the_queue(fixture: &dyn BrokerFixture) {
    publish_line(fixture, "a", 40);
    publish(fixture, "q", &["plain"]);
    assert_eq!(length(fixture, "q"), u64::from(WINDOW) + 1);
    assert_eq!(admin(fixture).peek("q", 100).expect("peek").len(), 41);
}

/// A line in one queue has nothing to do with that in another.
pub fn each_queue_has_its_own_lines(fixture: &dyn BrokerFixture) {
    publish_line(fixture, "a", 40);
    publisher(fixture).publish(&[in_line("r", "a", "a40")]).expect("publish");
    assert_eq!(length(fixture, "r"), 1);
}

/// Messages that come with a settlement stand in line as well; those of a lost one do not.
pub fn follow_ups_stand_in_line(fixture: &dyn BrokerFixture) {
    publish_line(fixture, "a", 16);
    publish(fixture, "p", &["m"]);
    let mut worker = consumer(fixture, "w", &["p"]);
    let delivery = take_one(&mut *worker);
    let publish = vec![in_line("q", "a", "a16"), in_line("q", "b", "b0")];
    finish(&mut *worker, &[Settlement { publish, ..ack(&delivery.tag) }]);
    assert_eq!(length(fixture, "q"), u64::from(WINDOW) + 1);
    assert_eq!(work_off(&mut *consumer(fixture, "w2", &["q"])).len(), 18);
}

/// One that has lost its message has taken it all the same.
pub fn places_are_given_up_by_whoever_took_them(fixture: &dyn BrokerFixture) {
    publish_line(fixture, "a", 17);
    let mut worker = consumer(fixture, "w", &["q"]);
    let delivery = take_one(&mut *worker);
    finish(&mut *worker, &[ack(&delivery.tag)]);
    assert_eq!(length(fixture, "q"), u64::from(WINDOW) - 1);
    let exchanged = finish(&mut *worker, &[done(&delivery)]);
    assert_eq!((exchanged.lost, length(fixture, "q")), (vec![delivery.tag.clone()], u64::from(WINDOW)));
    let nobodys = GivenUp::Place { queue: "q".to_owned(), line: "nobody's".to_owned() };
    finish(&mut *worker, &[Settlement { gives_up: vec![nobodys], ..Settlement::of(None, Disposition::Ack) }]);
}

/// Where messages are taken by who knows nothing of lines, a line goes on after a while.
pub fn a_line_that_does_not_move_begins_anew(fixture: &dyn BrokerFixture) {
    publish_line(fixture, "a", 40);
    let mut stranger = consumer(fixture, "w", &["q"]);
    let taken = take(&mut *stranger, 100);
    let acks: Vec<Settlement> = taken.iter().map(|delivery| ack(&delivery.tag)).collect();
    finish(&mut *stranger, &acks);
    assert_eq!(length(fixture, "q"), 0);
    let mut left = STALE;
    while !left.is_zero() {
        let step = left.min(fixture.lease() / 2);
        fixture.advance(step);
        left -= step;
        stranger.heartbeat().expect("heartbeat");
    }
    assert_eq!(length(fixture, "q"), u64::from(WINDOW));
    assert_eq!(work_off(&mut *stranger).len(), 40 - WINDOW as usize);
}
