//! Slots: how many tasks may run at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use umbel_broker::{Consumer, Disposition, GivenUp, Settlement, Slot, Tag};

use crate::conformance::BrokerFixture;
use crate::conformance::steps::*;

fn slot(name: &str, limit: u32) -> Slot {
    Slot { name: name.to_owned(), limit }
}

fn enter(tag: &Tag, slots: &[Slot]) -> Settlement {
    settle(tag, Disposition::Enter(slots.to_vec()))
}

fn leave(tag: &Tag, slots: &[Slot]) -> Vec<GivenUp> {
    slots.iter().map(|slot| GivenUp::Slot { slot: slot.clone(), holder: tag.clone() }).collect()
}

/// The end of a delivery that had slots.
fn done(tag: &Tag, slots: &[Slot]) -> Settlement {
    Settlement { gives_up: leave(tag, slots), ..ack(tag) }
}

/// Takes a message and asks for its slots; its tag, and whether it has entered.
fn take_and_enter(consumer: &mut dyn Consumer, slots: &[Slot]) -> (Tag, bool) {
    let tag = take_one(consumer).tag;
    let exchanged = finish(consumer, &[enter(&tag, slots)]);
    assert_eq!(exchanged.lost, []);
    (tag.clone(), exchanged.entered == [tag])
}

fn waiting(fixture: &dyn BrokerFixture) -> Vec<String> {
    let found = admin(fixture).peek("q", 100).expect("peek").into_iter();
    found.map(|waiting| String::from_utf8_lossy(&content(&waiting.payload).body).into_owned()).collect()
}

/// The others wait: they are held by nobody, and not in their queue.
pub fn no_more_enter_than_there_are_slots(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2", "3", "4"]);
    let (mut one, mut two) = (consumer(fixture, "one", &["q"]), consumer(fixture, "two", &["q"]));
    let pair = [slot("a", 2)];
    assert!(take_and_enter(&mut *one, &pair).1);
    assert!(take_and_enter(&mut *two, &pair).1);
    let (third, entered) = take_and_enter(&mut *one, &pair);
    assert!(!entered);
    assert!(take_and_enter(&mut *two, &[slot("b", 1)]).1, "other slots are not concerned");
    assert_eq!((length(fixture, "q"), waiting(fixture)), (0, vec!["3".to_owned()]));
    assert_eq!(finish(&mut *one, &[ack(&third)]).lost, [third], "it is not held any more");
    assert_eq!(waiting(fixture), ["3"], "whatever its former holder says");
}

/// It comes back in the step that gives up the slot, before what came later, as it was.
pub fn who_has_waited_longest_is_next(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2", "3"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let one = [slot("a", 1)];
    let (first, _) = take_and_enter(&mut *worker, &one);
    for _ in 0..2 {
        assert!(!take_and_enter(&mut *worker, &one).1);
    }
    publish(fixture, "q", &["4"]);

    let next = worker.exchange(&[done(&first, &one)], 10).expect("exchange").deliveries;

    assert_eq!(bodies(&next), ["2", "4"]);
    let properties = &content(&next[0].payload).properties;
    assert_eq!((properties.redelivered, properties.failed_deliveries), (false, 0));
    assert_eq!(finish(&mut *worker, &[enter(&next[0].tag, &one)]).entered, [next[0].tag.clone()]);
    assert_eq!(waiting(fixture), ["3"]);
}

/// One that waits keeps its priority.
pub fn waiting_keeps_the_priority(fixture: &dyn BrokerFixture) {
    publisher(fixture).publish(&[prioritized("q", "1", Some(0)), prioritized("q", "2", Some(9))]).expect("publish");
    let mut worker = consumer(fixture, "w", &["q"]);
    let one = [slot("a", 1)];
    let (first, _) = take_and_enter(&mut *worker, &one);
    assert!(!take_and_enter(&mut *worker, &one).1);
    publisher(fixture).publish(&[prioritized("q", "3", Some(0))]).expect("publish");
    assert_eq!(bodies(&worker.exchange(&[done(&first, &one)], 10).expect("exchange").deliveries), ["3", "2"]);
}

/// As after a lost reply: it still has its slots, and they count once. Likewise giving them up.
pub fn asking_for_slots_twice_is_harmless(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2", "3"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let pair = [slot("a", 2)];
    let (first, _) = take_and_enter(&mut *worker, &pair);
    assert_eq!(finish(&mut *worker, &[enter(&first, &pair)]).entered, std::slice::from_ref(&first));
    assert!(take_and_enter(&mut *worker, &pair).1);
    let (third, entered) = take_and_enter(&mut *worker, &pair);
    assert!(!entered);
    assert_eq!(
        finish(&mut *worker, &[enter(&first, &pair)]).entered,
        std::slice::from_ref(&first),
        "although another waits"
    );
    let again = finish(&mut *worker, &[enter(&third, &pair)]);
    assert_eq!((again.entered, again.lost), (vec![], vec![third]), "it waits already");
    finish(&mut *worker, &[done(&first, &pair)]);
    assert_eq!(finish(&mut *worker, &[done(&first, &pair)]).lost, [first]);
    assert!(take_and_enter(&mut *worker, &pair).1);
    assert_eq!(take(&mut *worker, 10), []);
}

/// Only what is held can have slots.
pub fn who_holds_nothing_gets_no_slot(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let one = [slot("a", 1)];
    let gone = take_one(&mut *worker).tag;
    finish(&mut *worker, &[ack(&gone)]);
    let foreign = Tag("nobody's".into());
    let exchanged = finish(&mut *worker, &[enter(&gone, &one), enter(&foreign, &one)]);
    assert_eq!((exchanged.entered, exchanged.lost), (vec![], vec![gone, foreign]));
    assert!(take_and_enter(&mut *worker, &one).1);
}

/// Slots taken and given up within one call count in order.
pub fn slots_change_hands_within_a_call(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let one = [slot("a", 1)];
    let tags = tags(&take(&mut *worker, 2));
    let all = [enter(&tags[0], &one), done(&tags[0], &one), enter(&tags[1], &one)];
    let exchanged = finish(&mut *worker, &all);
    assert_eq!((exchanged.entered, exchanged.lost), (tags, vec![]));
}

/// A task that is acknowledged as it starts has its slot until it says that it has ended.
pub fn a_slot_outlives_an_early_ack(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let one = [slot("a", 1)];
    let (first, _) = take_and_enter(&mut *worker, &one);
    finish(&mut *worker, &[ack(&first)]);
    assert!(!take_and_enter(&mut *worker, &one).1);
    let end = Settlement { gives_up: leave(&first, &one), ..Settlement::of(None, Disposition::Ack) };
    assert_eq!(bodies(&worker.exchange(&[end], 10).expect("exchange").deliveries), ["2"]);
}

/// All that it needs, or none.
pub fn several_slots_are_taken_together(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2", "3"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let (a, b) = (slot("a", 1), slot("b", 1));
    let (first, _) = take_and_enter(&mut *worker, std::slice::from_ref(&b));
    assert!(!take_and_enter(&mut *worker, &[a.clone(), b.clone()]).1);
    assert!(take_and_enter(&mut *worker, std::slice::from_ref(&a)).1, "the other slot is still free");
    let next = worker.exchange(&[done(&first, &[b])], 10).expect("exchange").deliveries;
    assert_eq!(bodies(&next), ["2"], "it waited for the slot that was not free");
}

/// A slot that one who was woken for it cannot use is offered to the next.
pub fn an_unused_chance_is_passed_on(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2", "both", "4"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let (a, b) = (slot("a", 1), slot("b", 1));
    let (first, _) = take_and_enter(&mut *worker, std::slice::from_ref(&a));
    assert!(take_and_enter(&mut *worker, std::slice::from_ref(&b)).1);
    assert!(!take_and_enter(&mut *worker, &[a.clone(), b]).1);
    assert!(!take_and_enter(&mut *worker, std::slice::from_ref(&a)).1);
    let woken = worker.exchange(&[done(&first, std::slice::from_ref(&a))], 10).expect("exchange").deliveries;
    assert_eq!(bodies(&woken), ["both"]);
    assert_eq!(finish(&mut *worker, &[enter(&woken[0].tag, &[a.clone(), slot("b", 1)])]).entered, []);
    let next = take_one(&mut *worker);
    assert_eq!(body(&next), "4");
    assert_eq!(finish(&mut *worker, &[enter(&next.tag, &[a])]).entered, [next.tag]);
}

/// A worker that falls silent loses its slots with its messages.
pub fn a_silent_workers_slots_are_given_up(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "early", "3"]);
    let mut silent = consumer(fixture, "silent", &["q"]);
    let pair = [slot("a", 2)];
    take_and_enter(&mut *silent, &pair);
    let (early, _) = take_and_enter(&mut *silent, &pair);
    finish(&mut *silent, &[ack(&early)]);
    let mut other = consumer(fixture, "other", &["q"]);
    assert!(!take_and_enter(&mut *other, &pair).1);
    fixture.advance(fixture.lease() + fixture.lease() / 4);
    // Who is late itself gives the others one more beat.
    other.heartbeat().expect("heartbeat");
    fixture.advance(fixture.lease() / 4);
    other.heartbeat().expect("heartbeat");
    let back = take(&mut *other, 10);
    let mut names = bodies(&back);
    names.sort();
    assert_eq!(names, ["1", "3"]);
    let asked: Vec<Settlement> = back.iter().map(|delivery| enter(&delivery.tag, &pair)).collect();
    assert_eq!(finish(&mut *other, &asked).entered.len(), 2);
}

/// Heartbeats keep them, however long.
pub fn heartbeats_keep_slots(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2"]);
    let (mut worker, mut other) = (consumer(fixture, "w", &["q"]), consumer(fixture, "other", &["q"]));
    let one = [slot("a", 1)];
    let (first, _) = take_and_enter(&mut *worker, &one);
    finish(&mut *worker, &[ack(&first)]);
    for _ in 0..4 {
        fixture.advance(fixture.lease() / 2);
        assert_eq!((worker.heartbeat(), other.heartbeat()), (Ok(0), Ok(0)));
    }
    assert!(!take_and_enter(&mut *other, &one).1);
}

/// A worker that leaves takes none along.
pub fn closing_gives_up_slots(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2"]);
    let (mut worker, mut other) = (consumer(fixture, "w", &["q"]), consumer(fixture, "other", &["q"]));
    let one = [slot("a", 1)];
    let (first, _) = take_and_enter(&mut *worker, &one);
    finish(&mut *worker, &[ack(&first)]);
    assert!(!take_and_enter(&mut *other, &one).1);
    worker.close().expect("close");
    assert_eq!(bodies(&take(&mut *other, 10)), ["2"]);
}

/// A new connection of the same worker: what it ran goes on, with its slot.
pub fn recovering_keeps_slots(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let one = [slot("a", 1)];
    let (first, _) = take_and_enter(&mut *worker, &one);
    assert_eq!(worker.recover(std::slice::from_ref(&first)), Ok(vec![]));
    assert!(!take_and_enter(&mut *worker, &one).1);
    assert_eq!(bodies(&worker.exchange(&[done(&first, &one)], 10).expect("exchange").deliveries), ["2"]);
}

/// More slots than before are found by a heartbeat, and so is one that nobody was woken for.
pub fn heartbeats_fill_free_slots(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2", "3", "4", "5"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let one = [slot("a", 1)];
    let (first, _) = take_and_enter(&mut *worker, &one);
    (0..4).for_each(|_| assert!(!take_and_enter(&mut *worker, &one).1));
    let three = [slot("a", 3)];
    let woken = worker.exchange(&[done(&first, &three)], 10).expect("exchange").deliveries;
    assert_eq!(bodies(&woken), ["2"]);
    finish(&mut *worker, &[enter(&woken[0].tag, &three)]);
    let mut back = Vec::new();
    for _ in 0..6 {
        if back.is_empty() {
            fixture.advance(fixture.lease() / 3);
            worker.heartbeat().expect("heartbeat");
            back = take(&mut *worker, 10);
        }
    }
    assert_eq!(bodies(&back)[..2], ["3", "4"]);
    let asked: Vec<Settlement> = back.iter().map(|delivery| enter(&delivery.tag, &three)).collect();
    assert_eq!(finish(&mut *worker, &asked).entered.len(), 2, "two of the three were free");
}

/// Whoever waits for messages hears of one that is woken.
pub fn the_bell_rings_for_who_is_woken(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let one = [slot("a", 1)];
    let (first, _) = take_and_enter(&mut *worker, &one);
    assert!(!take_and_enter(&mut *worker, &one).1);
    let mut bell = fixture.broker().doorbell(&["q".to_owned()]).expect("a doorbell");
    while bell.wait(Duration::from_millis(20)).expect("wait") {}
    finish(&mut *worker, &[done(&first, &one)]);
    assert!(bell.wait(PATIENCE).expect("wait"));
}

/// Many at once: never more inside than the limit, and everybody gets in.
pub fn a_crowd_keeps_to_the_limit(fixture: &dyn BrokerFixture) {
    const MESSAGES: usize = 120;
    let sent = names("m", MESSAGES);
    publish(fixture, "q", &sent.iter().map(String::as_str).collect::<Vec<_>>());
    let (inside, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (inside, ended) = (&inside, &ended);
            scope.spawn(move || crowd_member(fixture, &format!("w{number}"), MESSAGES, inside, ended));
        }
    });
    assert_eq!(ended.load(Ordering::SeqCst), MESSAGES);
    assert_eq!(waiting(fixture), Vec::<String>::new());
}

fn crowd_member(fixture: &dyn BrokerFixture, worker: &str, all: usize, inside: &AtomicUsize, ended: &AtomicUsize) {
    let mut options = options(fixture, worker, &["q"]);
    options.lease = Duration::from_secs(600);
    let mut consumer = fixture.broker().consumer(options).expect("a consumer");
    let three = [slot("a", 3)];
    let deadline = Instant::now() + PATIENCE * 6;
    let mut settlements: Vec<Settlement> = Vec::new();
    while ended.load(Ordering::SeqCst) < all || !settlements.is_empty() {
        assert!(Instant::now() < deadline, "{} of {all} ended", ended.load(Ordering::SeqCst));
        let exchanged = consumer.exchange(&std::mem::take(&mut settlements), 3).expect("exchange");
        let now = inside.fetch_add(exchanged.entered.len(), Ordering::SeqCst) + exchanged.entered.len();
        assert!(now <= 3, "{now} inside");
        // They run for as long as this thread does something else.
        std::thread::yield_now();
        inside.fetch_sub(exchanged.entered.len(), Ordering::SeqCst);
        ended.fetch_add(exchanged.entered.len(), Ordering::SeqCst);
        settlements.extend(exchanged.entered.iter().map(|tag| done(tag, &three)));
        settlements.extend(exchanged.deliveries.iter().map(|delivery| enter(&delivery.tag, &three)));
    }
}

/// What comes anew waits behind those that wait, however early it asks.
pub fn who_comes_later_is_not_quicker(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2", "3"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let one = [slot("a", 1)];
    let (first, _) = take_and_enter(&mut *worker, &one);
    assert!(!take_and_enter(&mut *worker, &one).1);
    let newcomer = take_one(&mut *worker);
    let exchanged = finish(&mut *worker, &[done(&first, &one), enter(&newcomer.tag, &one)]);
    assert_eq!((exchanged.entered, exchanged.lost), (vec![], vec![]));
    let next = take_one(&mut *worker);
    assert_eq!(body(&next), "2");
    assert_eq!(finish(&mut *worker, &[enter(&next.tag, &one)]).entered, std::slice::from_ref(&next.tag));
    assert_eq!(bodies(&worker.exchange(&[done(&next.tag, &one)], 10).expect("exchange").deliveries), ["3"]);
}

/// A message that ends although a slot is kept for it lets the next have it.
pub fn a_slot_is_kept_no_longer_than_its_message_lives(fixture: &dyn BrokerFixture) {
    publish(fixture, "q", &["1", "2", "3"]);
    let mut worker = consumer(fixture, "w", &["q"]);
    let one = [slot("a", 1)];
    let (first, _) = take_and_enter(&mut *worker, &one);
    (0..2).for_each(|_| assert!(!take_and_enter(&mut *worker, &one).1));
    let woken = worker.exchange(&[done(&first, &one)], 10).expect("exchange").deliveries;
    assert_eq!(bodies(&woken), ["2"]);
    let next = worker.exchange(&[done(&woken[0].tag, &one)], 10).expect("exchange").deliveries;
    assert_eq!(bodies(&next), ["3"]);
    assert_eq!(finish(&mut *worker, &[enter(&next[0].tag, &one)]).entered.len(), 1);
}
