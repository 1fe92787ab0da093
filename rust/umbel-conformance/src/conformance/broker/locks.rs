//! Locks that messages take as they are published.

use std::time::Duration;

use umbel_broker::{Disposition, GivenUp, Lock, Outgoing, Settlement, Taken};

use crate::conformance::BrokerFixture;
use crate::conformance::steps::*;

fn lock(name: &str, owner: &str) -> Lock {
    Lock { name: name.to_owned(), owner: owner.to_owned(), life: Duration::from_secs(3600), replace: false }
}

fn once(fixture: &dyn BrokerFixture, body: &str, lock: &Lock) -> Taken {
    publisher(fixture).publish_once(&outgoing("q", body), lock).expect("published or refused")
}

fn given_up(locks: &[(&str, &str)]) -> Vec<GivenUp> {
    let given = |(name, owner): &(&str, &str)| GivenUp::Lock { name: (*name).to_owned(), owner: (*owner).to_owned() };
    locks.iter().map(given).collect()
}

/// As one says that has started or was acknowledged early.
fn release(fixture: &dyn BrokerFixture, locks: &[(&str, &str)]) {
    let settlement = Settlement { gives_up: given_up(locks), ..Settlement::of(None, Disposition::Ack) };
    finish(&mut *consumer(fixture, "w", &["none"]), &[settlement]);
}

fn published() -> Taken {
    Taken::Published { replaced: None }
}

fn refused(owner: &str) -> Taken {
    Taken::Refused { owner: owner.to_owned() }
}

fn waiting(fixture: &dyn BrokerFixture) -> Vec<String> {
    let waiting = admin(fixture).peek("q", 100).expect("peek").into_iter();
    waiting.map(|waiting| String::from_utf8_lossy(&content(&waiting.payload).body).into_owned()).collect()
}

/// Who comes later is told whose it is; other locks are not concerned.
pub fn one_of_many_that_are_the_same_is_published(fixture: &dyn BrokerFixture) {
    assert_eq!(once(fixture, "1", &lock("a", "one")), published());
    assert_eq!(once(fixture, "2", &lock("a", "two")), refused("one"));
    assert_eq!(once(fixture, "3", &lock("b", "two")), published());
    assert_eq!(waiting(fixture), ["1", "3"]);
}

/// By its owner, and by nobody else.
pub fn a_released_lock_can_be_taken_again(fixture: &dyn BrokerFixture) {
    once(fixture, "1", &lock("a", "one"));
    release(fixture, &[("a", "two"), ("none", "one")]);
    assert_eq!(once(fixture, "2", &lock("a", "two")), refused("one"));
    release(fixture, &[]);
    release(fixture, &[("b", "one"), ("a", "one")]);
    assert_eq!(once(fixture, "3", &lock("a", "two")), published());
    assert_eq!(waiting(fixture), ["1", "3"]);
}

/// Nobody may keep others out for ever.
pub fn a_lock_runs_out(fixture: &dyn BrokerFixture) {
    once(fixture, "1", &Lock { life: fixture.delay(), ..lock("a", "one") });
    once(fixture, "2", &lock("b", "one"));
    fixture.advance(fixture.delay() + Duration::from_millis(5));
    assert_eq!(once(fixture, "3", &lock("a", "two")), published());
    assert_eq!(once(fixture, "4", &lock("b", "two")), refused("one"));
}

/// The newer message is published, and its owner learns whom it replaces.
pub fn a_lock_may_change_hands(fixture: &dyn BrokerFixture) {
    once(fixture, "1", &lock("a", "one"));
    let taken = once(fixture, "2", &Lock { replace: true, ..lock("a", "two") });
    assert_eq!(taken, Taken::Published { replaced: Some("one".to_owned()) });
    assert_eq!(once(fixture, "3", &lock("a", "three")), refused("two"));
    assert_eq!(waiting(fixture), ["1", "2"]);
    release(fixture, &[("a", "one")]);
    assert_eq!(once(fixture, "4", &lock("a", "three")), refused("two"));
}

/// As after a lost reply.
pub fn a_publish_that_is_repeated_happens_once(fixture: &dyn BrokerFixture) {
    for _ in 0..2 {
        assert_eq!(once(fixture, "1", &lock("a", "one")), published());
        assert_eq!(once(fixture, "2", &Lock { replace: true, ..lock("b", "two") }), published());
    }
    assert_eq!(waiting(fixture), ["1", "2"]);
}

/// Nothing of it happens.
pub fn an_unroutable_message_takes_no_lock(fixture: &dyn BrokerFixture) {
    let lost = Outgoing { destination: exchange("nowhere", "key"), ..outgoing("q", "lost") };
    publisher(fixture).publish_once(&lost, &lock("a", "one")).expect_err("there is no such exchange");
    assert_eq!(once(fixture, "1", &lock("a", "two")), published());
}

/// A lock is given up in the step that ends its message, by whoever holds that: else it runs elsewhere.
pub fn a_lost_message_keeps_its_lock(fixture: &dyn BrokerFixture) {
    once(fixture, "1", &lock("a", "one"));
    let mut worker = consumer(fixture, "holder", &["q"]);
    let delivery = take_one(&mut *worker);
    let back = Settlement { gives_up: given_up(&[("a", "one")]), ..ack(&delivery.tag) };
    finish(&mut *worker, &[settle(&delivery.tag, requeue(true, false))]);
    assert_eq!(finish(&mut *worker, &[back]).lost, [delivery.tag]);
    assert_eq!(once(fixture, "2", &lock("a", "two")), refused("one"));
    let delivery = take_one(&mut *worker);
    finish(&mut *worker, &[Settlement { gives_up: given_up(&[("a", "one")]), ..ack(&delivery.tag) }]);
    assert_eq!(once(fixture, "2", &lock("a", "two")), published());
}
