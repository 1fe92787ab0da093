//! What is said to all workers, and what they must not forget.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::time::Duration;

use umbel_broker::{Control, Listener, Revocation, Revoked};
use umbel_protocol::{Destination, Message, Timestamp};

use crate::conformance::BrokerFixture;
use crate::conformance::steps::*;

fn control(fixture: &dyn BrokerFixture) -> Box<dyn Control> {
    fixture.broker().control().expect("a control handle")
}

fn listener(fixture: &dyn BrokerFixture, exchange: &str) -> Box<dyn Listener> {
    fixture.broker().listener(exchange).expect("a listener")
}

fn now(fixture: &dyn BrokerFixture) -> Timestamp {
    use umbel_broker::{Clock, SystemClock};
    fixture.clock().map_or_else(|| SystemClock.now(), |clock| clock.now())
}

fn task(id: &str, until: Timestamp) -> Revocation {
    Revocation { what: Revoked::Task(id.to_owned()), until }
}

fn kept(fixture: &dyn BrokerFixture) -> BTreeSet<Revoked> {
    control(fixture).revoked().expect("revocations").into_iter().map(|revocation| revocation.what).collect()
}

fn hear(listener: &mut dyn Listener) -> Vec<String> {
    bodies_of(&listener.next(PATIENCE).expect("heard"))
}

fn bodies_of(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
}

/// Exchanges of one test: channels of a server that tests share ignore the database's number.
fn own(name: &str) -> String {
    format!("{name}-{:016x}", std::collections::hash_map::RandomState::new().hash_one(name))
}

/// Revocations outlive every handle, each until its own end; there may be none.
pub fn revocations_are_kept_until_their_end(fixture: &dyn BrokerFixture) {
    let (soon, late) = (now(fixture).after(fixture.delay()), now(fixture).after(Duration::from_secs(86_400)));
    let stamp = Revoked::Stamp { header: "tenant".to_owned(), value: "acme \u{e9}".to_owned() };
    assert_eq!(kept(fixture), BTreeSet::new());
    let mut speaker = control(fixture);
    speaker.revoke(&[]).expect("nothing to do");
    speaker.revoke(&[task("a", soon), task("b", late)]).expect("revoked");
    speaker.revoke(&[Revocation { what: stamp.clone(), until: late }]).expect("revoked");
    drop(speaker);

    let all = BTreeSet::from([Revoked::Task("a".to_owned()), Revoked::Task("b".to_owned()), stamp.clone()]);
    assert_eq!(kept(fixture), all);

    fixture.advance(fixture.delay() + Duration::from_millis(5));
    assert_eq!(kept(fixture), BTreeSet::from([Revoked::Task("b".to_owned()), stamp]));
}

/// Revoking again never shortens a revocation.
pub fn the_later_end_of_a_revocation_counts(fixture: &dyn BrokerFixture) {
    let (soon, late) = (now(fixture).after(fixture.delay()), now(fixture).after(Duration::from_secs(86_400)));
    let mut speaker = control(fixture);
    speaker.revoke(&[task("a", soon), task("b", late)]).expect("revoked");
    speaker.revoke(&[task("a", late), task("b", soon)]).expect("revoked");

    fixture.advance(fixture.delay() + Duration::from_millis(5));

    assert_eq!(kept(fixture).len(), 2);
}

/// In the order it was said, whoever says it.
pub fn every_listener_hears_what_is_said(fixture: &dyn BrokerFixture) {
    let exchange = own("pidbox");
    let mut listeners = [listener(fixture, &exchange), listener(fixture, &exchange)];
    let (mut one, mut other) = (control(fixture), control(fixture));
    one.broadcast(&exchange, &message("1")).expect("said");
    other.broadcast(&exchange, &message("2")).expect("said");
    for listener in &mut listeners {
        let mut heard = Vec::new();
        while heard.len() < 2 {
            heard.extend(hear(&mut **listener));
        }
        assert_eq!(heard, ["1", "2"]);
    }
    one.broadcast(&exchange, &message("3")).expect("said");
    for listener in &mut listeners {
        let heard = listener.next(PATIENCE).expect("heard");
        assert_eq!((bodies_of(&heard), &heard[0].headers), (vec!["3".to_owned()], &message("3").headers));
    }
}

/// Not what was said before, nor on another exchange.
pub fn a_listener_hears_its_exchange_from_its_opening_on(fixture: &dyn BrokerFixture) {
    let (exchange, other) = (own("pidbox"), own("other"));
    let mut speaker = control(fixture);
    speaker.broadcast(&exchange, &message("early")).expect("said");
    let mut listener = listener(fixture, &exchange);
    speaker.broadcast(&other, &message("elsewhere")).expect("said");
    speaker.broadcast(&exchange, &message("now")).expect("said");
    assert_eq!(hear(&mut *listener), ["now"]);
}

/// Silence is no error.
pub fn a_listener_gives_up_in_time(fixture: &dyn BrokerFixture) {
    let mut listener = listener(fixture, &own("pidbox"));
    assert_eq!(listener.next(Duration::from_millis(10)).expect("silence"), []);
    assert_eq!(listener.next(Duration::ZERO).expect("silence"), []);
}

/// In the order they came; each box has its own.
pub fn answers_wait_in_an_open_box(fixture: &dyn BrokerFixture) {
    let (mine, theirs) = (exchange("reply.celery.pidbox", "mine"), exchange("reply.celery.pidbox", "theirs"));
    let mut asker = control(fixture);
    asker.open_box(&mine).expect("open");
    asker.open_box(&theirs).expect("open");
    let mut worker = control(fixture);
    for (address, body) in [(&mine, "1"), (&theirs, "x"), (&mine, "2")] {
        worker.answer(address, &message(body)).expect("answered");
    }
    assert_eq!(bodies_of(&asker.collect(&mine, Duration::ZERO).expect("answers")), ["1", "2"]);
    assert_eq!(asker.collect(&mine, Duration::ZERO).expect("answers"), []);
    assert_eq!(bodies_of(&asker.collect(&theirs, PATIENCE).expect("answers")), ["x"]);
    asker.close_box(&mine).expect("closed");
    asker.close_box(&theirs).expect("closed");
}

/// An answer ends a wait that began before it came.
pub fn an_answer_is_waited_for(fixture: &dyn BrokerFixture) {
    let address = Destination { exchange: "reply.celery.pidbox".to_owned(), routing_key: "me".to_owned() };
    let mut asker = control(fixture);
    asker.open_box(&address).expect("open");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            loop {
                let answers = asker.collect(&address, PATIENCE).expect("answers");
                if !answers.is_empty() {
                    return answers;
                }
            }
        });
        control(fixture).answer(&address, &message("late")).expect("answered");
        assert_eq!(bodies_of(&waiting.join().expect("a thread")), ["late"]);
    });
    asker.close_box(&address).expect("closed");
}

/// Nobody waits for them: they may not pile up.
pub fn answers_without_a_box_are_dropped(fixture: &dyn BrokerFixture) {
    let address = exchange("reply.celery.pidbox", "nobody");
    let mut worker = control(fixture);
    worker.answer(&address, &message("1")).expect("dropped");
    worker.open_box(&address).expect("open");
    worker.answer(&address, &message("2")).expect("answered");
    worker.close_box(&address).expect("closed");
    worker.answer(&address, &message("3")).expect("dropped");
    worker.open_box(&address).expect("open");
    assert_eq!(worker.collect(&address, Duration::ZERO).expect("answers"), []);
    worker.close_box(&address).expect("closed");
}

fn turn(fixture: &dyn BrokerFixture, limit: &str, pause: u64) -> umbel_broker::Turn {
    let turn = control(fixture).turn(limit, Duration::from_secs(pause), Duration::from_secs(1000));
    turn.expect("a turn")
}

/// The clock of a server goes on between two calls.
fn is_about(wait: Duration, seconds: u64) -> bool {
    let expected = Duration::from_secs(seconds);
    wait <= expected && wait + PATIENCE >= expected
}

/// Whoever asks; limits know nothing of each other.
pub fn turns_are_shared_and_apart(fixture: &dyn BrokerFixture) {
    for expected in [0, 100, 200] {
        let turn = turn(fixture, "add", 100);
        assert!(turn.granted && is_about(turn.wait, expected), "{turn:?}, expected {expected} s");
    }
    assert!(turn(fixture, "other", 100).wait.is_zero());
}

/// Who is to ask again is told when, each after the one before; turns of others are not taken by it.
pub fn far_turns_are_not_kept(fixture: &dyn BrokerFixture) {
    assert!(turn(fixture, "add", 2000).granted);
    for expected in [2000, 4000, 6000] {
        let turn = turn(fixture, "add", 2000);
        assert!(!turn.granted && is_about(turn.wait, expected), "{turn:?}, expected {expected} s");
    }
    let patient = control(fixture).turn("add", Duration::from_secs(2000), Duration::from_secs(5000));
    let patient = patient.expect("a turn");
    assert!(patient.granted && is_about(patient.wait, 2000), "{patient:?}");
}

/// A limit that was changed holds at once.
pub fn another_pause_begins_anew(fixture: &dyn BrokerFixture) {
    turn(fixture, "add", 900);
    turn(fixture, "add", 900);
    assert!(turn(fixture, "add", 100).wait.is_zero());
    assert!(is_about(turn(fixture, "add", 100).wait, 100));
}
