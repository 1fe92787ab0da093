//! The result store contract. `umbel_backend::backend` has the sentences these cases check.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use umbel_backend::{ResultListener, ResultStore};
use umbel_protocol::{ChordPart, ResultWrite};

use super::BackendFixture;
use super::steps::{PATIENCE, chord_part, names, recorded, write};

fn store(fixture: &dyn BackendFixture) -> Box<dyn ResultStore> {
    fixture.backend().store().expect("a result store")
}

fn listener(fixture: &dyn BackendFixture) -> Box<dyn ResultListener> {
    fixture.backend().listener().expect("a listener")
}

fn ids(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn read(fixture: &dyn BackendFixture, task_id: &str) -> Option<String> {
    let mut records = store(fixture).read(&ids(&[task_id])).expect("read");
    assert_eq!(records.len(), 1);
    records.remove(0).map(|record| String::from_utf8_lossy(&record).into_owned())
}

/// Collects what a listener hears until `count` different tasks were heard of.
fn hear(listener: &mut dyn ResultListener, count: usize) -> BTreeMap<String, String> {
    let mut heard = BTreeMap::new();
    let deadline = Instant::now() + PATIENCE;
    while heard.len() < count {
        assert!(Instant::now() < deadline, "only {} of {count} records were heard: {heard:?}", heard.len());
        for (task_id, record) in listener.next(Duration::from_secs(1)).expect("next") {
            heard.insert(task_id, String::from_utf8_lossy(&record).into_owned());
        }
    }
    heard
}

/// Hears what is there and asserts that `unwanted` is not among it, by writing a marker after it.
fn hear_nothing_of(fixture: &dyn BackendFixture, listener: &mut dyn ResultListener, unwanted: &str) {
    listener.subscribe(&ids(&["marker"])).expect("subscribe");
    store(fixture).write(&[write("marker", "STARTED", "marker")]).expect("write");
    let heard = hear(listener, 1);
    assert_eq!(heard.keys().collect::<Vec<_>>(), ["marker"], "{unwanted} was heard of");
}

/// Records come back as written, in the order asked for, and `None` stands for those that are not there.
pub fn records_are_read_in_the_order_asked(fixture: &dyn BackendFixture) {
    let bytes: Vec<u8> = (0..=255).collect();
    let binary = ResultWrite { record: bytes.clone(), ..write("b", "SUCCESS", "") };
    store(fixture).write(&[write("a", "SUCCESS", "1"), binary, write("c", "FAILURE", "")]).expect("write");
    let records = store(fixture).read(&ids(&["c", "none", "b", "a", "b", ""])).expect("read");
    assert_eq!(records, [Some(vec![]), None, Some(bytes.clone()), Some(b"1".to_vec()), Some(bytes), None]);
    assert_eq!(store(fixture).read(&[]), Ok(vec![]));
}

/// A saved group has a name of its own, and is no task's record.
pub fn saved_groups_are_records_too(fixture: &dyn BackendFixture) {
    let name = "celery-taskset-meta-g";
    let saved = r#"{"result": [["g", null], []]}"#;
    store(fixture).write(&[write(name, "", saved), write("g", "SUCCESS", &recorded("SUCCESS"))]).expect("write");
    assert_eq!(read(fixture, name).as_deref(), Some(saved));
    store(fixture).write(&[write(name, "", "again")]).expect("write");
    assert_eq!(read(fixture, name).as_deref(), Some("again"));
    assert_eq!(store(fixture).forget(&ids(&[name])), Ok(1));
    assert_eq!(read(fixture, name), None);
    assert_eq!(read(fixture, "g"), Some(recorded("SUCCESS")));
}

/// A later state replaces an earlier one, also within one batch.
pub fn later_states_replace_earlier_ones(fixture: &dyn BackendFixture) {
    let mut store = store(fixture);
    for state in ["STARTED", "PROGRESS", "RETRY", "FAILURE", "REVOKED", "my-own"] {
        store.write(&[write("t", state, state)]).expect("write");
        assert_eq!(read(fixture, "t").as_deref(), Some(state));
    }
    store.write(&[write("t", "STARTED", "first"), write("t", "SUCCESS", "second")]).expect("write");
    assert_eq!(read(fixture, "t").as_deref(), Some("second"));
}

/// A stored `SUCCESS` is final, for whatever comes later, in the same batch or from another handle.
pub fn success_is_final(fixture: &dyn BackendFixture) {
    store(fixture)
        .write(&[write("t", "SUCCESS", &recorded("SUCCESS")), write("t", "FAILURE", "second")])
        .expect("write");
    for state in ["SUCCESS", "FAILURE", "RETRY", "STARTED"] {
        store(fixture).write(&[write("t", state, "later"), write("u", state, "beside it")]).expect("write");
        assert_eq!(read(fixture, "t"), Some(recorded("SUCCESS")), "overwritten by {state}");
    }
    assert_eq!(read(fixture, "u").as_deref(), Some("beside it"));
}

/// Nobody hears of a write that was ignored.
pub fn ignored_writes_are_not_heard(fixture: &dyn BackendFixture) {
    store(fixture).write(&[write("t", "SUCCESS", &recorded("SUCCESS"))]).expect("write");
    let mut listener = listener(fixture);
    listener.subscribe(&ids(&["t"])).expect("subscribe");
    store(fixture).write(&[write("t", "FAILURE", "2")]).expect("write");
    hear_nothing_of(fixture, &mut *listener, "t");
}

/// Writing the same again is harmless.
pub fn writing_again_is_harmless(fixture: &dyn BackendFixture) {
    for _ in 0..3 {
        store(fixture).write(&[write("t", "SUCCESS", "1"), write("u", "FAILURE", "2")]).expect("write");
    }
    assert_eq!((read(fixture, "t").as_deref(), read(fixture, "u").as_deref()), (Some("1"), Some("2")));
    store(fixture).write(&[]).expect("write nothing");
}

/// Forgotten records are gone, and their number is told; `SUCCESS` then can be written anew.
pub fn forget_removes_records(fixture: &dyn BackendFixture) {
    let mut store = store(fixture);
    store.write(&[write("a", "SUCCESS", "1"), write("b", "FAILURE", "2"), write("c", "SUCCESS", "3")]).expect("write");
    assert_eq!(store.forget(&ids(&["a", "c", "none"])), Ok(2));
    assert_eq!(store.forget(&ids(&["a"])), Ok(0));
    assert_eq!(store.forget(&[]), Ok(0));
    assert_eq!(store.read(&ids(&["a", "b", "c"])), Ok(vec![None, Some(b"2".to_vec()), None]));
    store.write(&[write("a", "SUCCESS", "anew")]).expect("write");
    assert_eq!(read(fixture, "a").as_deref(), Some("anew"));
}

/// A record written after one was forgotten is heard, also when the forgotten one was the latest.
pub fn forgetting_the_latest_deafens_nobody(fixture: &dyn BackendFixture) {
    let mut listener = listener(fixture);
    listener.subscribe(&ids(&["a", "b", "c"])).expect("subscribe");
    for (task_id, forgotten) in [("a", "a"), ("b", "b"), ("c", "c")] {
        store(fixture).write(&[write(task_id, "SUCCESS", task_id)]).expect("write");
        assert_eq!(hear(&mut *listener, 1)[task_id], task_id);
        assert_eq!(store(fixture).forget(&ids(&[forgotten])), Ok(1));
    }
}

/// A record lives as long as it was given from its last write on; without an end it lives on.
pub fn records_expire(fixture: &dyn BackendFixture) {
    let short = |task_id, record| ResultWrite { expires: Some(fixture.life()), ..write(task_id, "FAILURE", record) };
    let forever = ResultWrite { expires: None, ..write("forever", "SUCCESS", "f") };
    let mut store = store(fixture);
    store.write(&[short("a", "a"), short("renewed", "1"), forever]).expect("write");
    fixture.advance(fixture.life().mul_f64(0.7));
    assert_eq!(read(fixture, "a").as_deref(), Some("a"));
    store.write(&[short("renewed", "2")]).expect("write");
    fixture.advance(fixture.life().mul_f64(0.7));
    let records = store.read(&ids(&["a", "renewed", "forever"])).expect("read");
    assert_eq!(records, [None, Some(b"2".to_vec()), Some(b"f".to_vec())]);
}

/// An expired `SUCCESS` is no record: it stops no write, and forgetting it finds nothing.
pub fn an_expired_success_is_no_record(fixture: &dyn BackendFixture) {
    let short = |task_id| ResultWrite { expires: Some(fixture.life()), ..write(task_id, "SUCCESS", "old") };
    let mut store = store(fixture);
    store.write(&[short("a"), short("b")]).expect("write");
    fixture.advance(fixture.life().mul_f64(1.5));
    store.write(&[write("a", "FAILURE", "new")]).expect("write");
    assert_eq!(read(fixture, "a").as_deref(), Some("new"));
    assert_eq!(store.forget(&ids(&["b"])), Ok(0));
}

/// Expired records are removed on request where the store keeps them until then; others stay.
pub fn remove_expired_removes_only_those(fixture: &dyn BackendFixture) {
    let short = |task_id| ResultWrite { expires: Some(fixture.life()), ..write(task_id, "SUCCESS", "old") };
    let mut store = store(fixture);
    store.write(&[short("a"), short("b"), write("c", "SUCCESS", "c")]).expect("write");
    assert_eq!(store.remove_expired(), Ok(0));
    fixture.advance(fixture.life().mul_f64(1.5));
    let removed = store.remove_expired().expect("remove");
    assert_eq!(removed, if fixture.removes_expired_on_request() { 2 } else { 0 });
    assert_eq!(store.remove_expired(), Ok(0));
    assert_eq!(read(fixture, "c").as_deref(), Some("c"));
}

/// A listener hears of what is written after it subscribed, from another handle; of every state, with the record.
pub fn listeners_hear_every_state(fixture: &dyn BackendFixture) {
    let mut listener = listener(fixture);
    listener.subscribe(&ids(&["t"])).expect("subscribe");
    let mut store = store(fixture);
    for state in ["STARTED", "PROGRESS", "RETRY", "SUCCESS"] {
        store.write(&[write("t", state, state)]).expect("write");
        assert_eq!(hear(&mut *listener, 1)["t"], state);
    }
}

/// A listener hears only of what it subscribed to.
pub fn listeners_hear_only_their_own(fixture: &dyn BackendFixture) {
    let (mut one, mut two) = (listener(fixture), listener(fixture));
    one.subscribe(&ids(&["a"])).expect("subscribe");
    two.subscribe(&ids(&["b", "a"])).expect("subscribe");
    store(fixture).write(&[write("a", "SUCCESS", "1"), write("b", "SUCCESS", "2")]).expect("write");
    assert_eq!(hear(&mut *two, 2).len(), 2);
    assert_eq!(hear(&mut *one, 1).into_keys().collect::<Vec<_>>(), ["a"]);
    hear_nothing_of(fixture, &mut *one, "b");
}

/// After unsubscribing nothing is heard; the rest goes on.
pub fn unsubscribed_is_unheard(fixture: &dyn BackendFixture) {
    let mut listener = listener(fixture);
    listener.subscribe(&ids(&["a", "b"])).expect("subscribe");
    listener.unsubscribe(&ids(&["a", "never subscribed"])).expect("unsubscribe");
    store(fixture).write(&[write("a", "SUCCESS", "1")]).expect("write");
    hear_nothing_of(fixture, &mut *listener, "a");
    store(fixture).write(&[write("b", "SUCCESS", "2")]).expect("write");
    assert_eq!(hear(&mut *listener, 1)["b"], "2");
}

/// A record written by another thread while the listener waits is heard at once.
pub fn listeners_hear_while_waiting(fixture: &dyn BackendFixture) {
    let mut listener = listener(fixture);
    let tasks = names("t", 30);
    listener.subscribe(&tasks).expect("subscribe");
    std::thread::scope(|scope| {
        let (ask, asked) = std::sync::mpsc::channel::<String>();
        scope.spawn(move || {
            let mut store = store(fixture);
            while let Ok(task_id) = asked.recv() {
                store.write(&[write(&task_id, "SUCCESS", &task_id)]).expect("write");
            }
        });
        for task_id in &tasks {
            ask.send(task_id.clone()).expect("the writer lives");
            let heard = hear(&mut *listener, 1);
            assert_eq!(heard.keys().collect::<Vec<_>>(), [task_id]);
        }
    });
}

/// With nothing to tell it returns after the timeout.
pub fn listeners_return_in_time(fixture: &dyn BackendFixture) {
    let mut listener = listener(fixture);
    listener.subscribe(&ids(&["t"])).expect("subscribe");
    let start = Instant::now();
    assert_eq!(listener.next(Duration::from_millis(50)), Ok(vec![]));
    assert!(start.elapsed() < PATIENCE);
}

/// A wake makes the next wait, or the present one, return soon.
pub fn a_waker_interrupts(fixture: &dyn BackendFixture) {
    let mut listener = listener(fixture);
    let waker = listener.waker();
    let start = Instant::now();
    waker.wake();
    assert_eq!(listener.next(PATIENCE * 2), Ok(vec![]), "the next");
    std::thread::scope(|scope| {
        let (told, waiting) = std::sync::mpsc::channel();
        let waiter = scope.spawn(move || {
            told.send(()).expect("the test lives");
            listener.next(PATIENCE * 2)
        });
        waiting.recv().expect("the waiter starts");
        waker.wake();
        assert_eq!(waiter.join().expect("the waiter ends"), Ok(vec![]), "the present");
    });
    assert!(start.elapsed() < PATIENCE, "interrupted only after {:?}", start.elapsed());
}

/// A waker outlives its listener harmlessly.
pub fn a_waker_outlives_its_listener(fixture: &dyn BackendFixture) {
    let listener = listener(fixture);
    let waker = listener.waker();
    drop(listener);
    waker.wake();
}

/// Thousands of ids at once: read, heard, forgotten.
pub fn many_ids_at_once(fixture: &dyn BackendFixture) {
    let tasks = names("task-", 3000);
    let mut listener = listener(fixture);
    listener.subscribe(&tasks).expect("subscribe");
    let mut store = store(fixture);
    let writes: Vec<_> = tasks.iter().map(|task_id| write(task_id, "SUCCESS", task_id)).collect();
    for batch in writes.chunks(500) {
        store.write(batch).expect("write");
    }
    let heard = hear(&mut *listener, tasks.len());
    assert!(heard.iter().all(|(task_id, record)| task_id == record));
    let records = store.read(&tasks).expect("read");
    assert!(records.iter().zip(&tasks).all(|(record, task_id)| record.as_deref() == Some(task_id.as_bytes())));
    assert_eq!(store.forget(&tasks), Ok(tasks.len() as u64));
}

/// Megabytes go through.
pub fn big_records_survive(fixture: &dyn BackendFixture) {
    let record: Vec<u8> = (0..5_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut listener = listener(fixture);
    listener.subscribe(&ids(&["t"])).expect("subscribe");
    store(fixture).write(&[ResultWrite { record: record.clone(), ..write("t", "SUCCESS", "") }]).expect("write");
    let deadline = Instant::now() + PATIENCE;
    let mut heard = Vec::new();
    while heard.is_empty() {
        assert!(Instant::now() < deadline, "nothing heard");
        heard = listener.next(Duration::from_secs(1)).expect("next");
    }
    assert!(heard[0].1 == record);
    assert!(store(fixture).read(&ids(&["t"])).expect("read")[0].as_ref() == Some(&record));
}

/// Who counts apart from the messages is told the members as long as the chord is complete, so that a crash between
/// the two steps loses nothing.
pub fn chords_are_counted_apart(fixture: &dyn BackendFixture) {
    let mut store = store(fixture);
    store.start_chord("g", 1, Some(fixture.life())).expect("start");
    store.extend_chord("g").expect("extend");
    assert_eq!(store.count_part(&chord_part("g", "b", Some(1))), Ok(None));
    assert_eq!(store.count_part(&chord_part("g", "b", Some(1))), Ok(None));
    let members = Some(r#"[[["a", null], null], [["b", null], null]]"#.to_owned());
    assert_eq!(store.count_part(&chord_part("g", "a", Some(0))), Ok(members.clone()));
    assert_eq!(store.count_part(&chord_part("g", "b", Some(1))), Ok(members));
    store.end_chord("g").expect("end");
    assert_eq!(store.count_part(&chord_part("g", "b", Some(1))), Ok(None));
    assert_eq!(store.chord_parts("g"), Ok(vec![]));
    assert_eq!(store.count_part(&chord_part("unknown", "a", Some(0))), Ok(None));
}

/// The same header may be applied again.
pub fn a_chord_begins_anew(fixture: &dyn BackendFixture) {
    let mut store = store(fixture);
    for _ in 0..2 {
        store.start_chord("g", 1, Some(fixture.life())).expect("start");
        assert_eq!(store.count_part(&chord_part("g", "a", None)).map(|members| members.is_some()), Ok(true));
        store.end_chord("g").expect("end");
    }
}

/// What is kept of a chord expires.
pub fn chords_expire(fixture: &dyn BackendFixture) {
    let mut store = store(fixture);
    store.start_chord("g", 2, Some(fixture.life())).expect("start");
    let part = ChordPart { expires: Some(fixture.life()), ..chord_part("g", "a", Some(0)) };
    store.count_part(&part).expect("count");
    assert_eq!(store.chord_parts("g").map(|parts| parts.len()), Ok(1));
    fixture.advance(fixture.life() * 2);
    store.start_chord("other", 1, None).expect("start");
    assert_eq!(store.chord_parts("g"), Ok(vec![]));
}

/// What people see.
pub fn backend_urls_and_identity_name_the_store(fixture: &dyn BackendFixture) {
    let (one, two) = (fixture.backend(), fixture.backend());
    assert!(one.display_url().contains("://"), "{:?} is no URL", one.display_url());
    assert_eq!(one.identity(), two.identity());
    assert!(!one.identity().is_empty());
}

/// Every case is for every engine.
#[doc(hidden)]
pub const fn applies(_case: &str, _fixture: &dyn BackendFixture) -> bool {
    true
}

/// One `#[test]` per case of the result store contract. The argument is a function that makes a
/// [`BackendFixture`](crate::conformance::BackendFixture).
#[macro_export]
macro_rules! backend_conformance {
    ($($make:tt)+) => {
        $crate::conformance_tests!(
            [$($make)+],
            backend,
            [
                records_are_read_in_the_order_asked,
                saved_groups_are_records_too,
                later_states_replace_earlier_ones,
                success_is_final,
                ignored_writes_are_not_heard,
                writing_again_is_harmless,
                forget_removes_records,
                forgetting_the_latest_deafens_nobody,
                records_expire,
                an_expired_success_is_no_record,
                remove_expired_removes_only_those,
                listeners_hear_every_state,
                listeners_hear_only_their_own,
                unsubscribed_is_unheard,
                listeners_hear_while_waiting,
                listeners_return_in_time,
                a_waker_interrupts,
                a_waker_outlives_its_listener,
                many_ids_at_once,
                big_records_survive,
                chords_are_counted_apart,
                a_chord_begins_anew,
                chords_expire,
                backend_urls_and_identity_name_the_store,
            ]
        );
    };
}

#[cfg(test)]
mod tests {
    use crate::conformance::{listed_cases, public_functions};

    #[test]
    fn every_case_is_listed() {
        let source = include_str!("backend.rs");
        assert_eq!(listed_cases(source), public_functions(&[source]));
    }
}
