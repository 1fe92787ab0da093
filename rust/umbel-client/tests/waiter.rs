//! Waiting for results in a store whose connections break on command.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod faulty;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use faulty::{FaultyBackend, broken, refused, until};
use umbel_backend::Backend;
use umbel_client::{Call, CallError, ResultStream, RetryPolicy, Waiter};

const QUICK: RetryPolicy = RetryPolicy { first: Duration::from_millis(1), longest: Duration::from_millis(4) };

fn waiter(backend: &Arc<FaultyBackend>) -> Waiter {
    Waiter::new(Arc::clone(backend) as Arc<dyn Backend>, QUICK, Duration::from_secs(30))
}

/// The next records of a stream as text.
fn next(stream: &ResultStream) -> Vec<(String, String)> {
    let news = stream.next(&mut Call::new(Some(Duration::from_secs(10)))).unwrap();
    news.into_iter().map(|(id, record)| (id, String::from_utf8_lossy(&record).into_owned())).collect()
}

fn wait(waiter: &Waiter, task_id: &str, seen: Option<&str>) -> Option<String> {
    let mut call = Call::new(Some(Duration::from_secs(10)));
    let record = waiter.wait(task_id, seen.map(str::as_bytes), &mut call).unwrap();
    record.map(|record| String::from_utf8_lossy(&record).into_owned())
}

fn drained(waiter: &Waiter) -> Vec<(String, String)> {
    let text = |(id, record): (String, Arc<Vec<u8>>)| (id, String::from_utf8_lossy(&record).into_owned());
    waiter.drain().unwrap().into_iter().map(text).collect()
}

#[test]
fn a_record_that_was_there_and_one_that_comes() {
    let backend = FaultyBackend::new();
    let waiter = waiter(&backend);
    backend.write("a", "STARTED", "1");
    assert_eq!(wait(&waiter, "a", None).as_deref(), Some("1"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wait(&waiter, "a", Some("1")));
        until("it waits", || waiter.wanted() == 1);
        backend.write("a", "SUCCESS", "2");
        assert_eq!(waiting.join().unwrap().as_deref(), Some("2"));
    });
    assert_eq!(waiter.wanted(), 0, "what nobody waits for is forgotten");
}

#[test]
fn time_runs_out() {
    let backend = FaultyBackend::new();
    let waiter = waiter(&backend);
    let started = Instant::now();
    assert_eq!(waiter.wait("never", None, &mut Call::new(Some(Duration::from_millis(30)))), Ok(None));
    assert!(started.elapsed() >= Duration::from_millis(30));
    assert_eq!(waiter.wait("never", None, &mut Call::new(Some(Duration::ZERO))), Ok(None));
}

#[test]
fn a_pulse_ends_a_wait() {
    let backend = FaultyBackend::new();
    let waiter = waiter(&backend);
    let mut beats = 0;
    let mut pulse = || {
        beats += 1;
        beats < 2
    };
    let outcome = waiter.wait("never", None, &mut Call::interruptible(None, &mut pulse));
    assert_eq!(outcome, Err(CallError::Interrupted));
    assert_eq!(waiter.wanted(), 0);
}

#[test]
fn one_connection_serves_many_waits() {
    let backend = FaultyBackend::new();
    let waiter = waiter(&backend);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..40)
            .map(|number| {
                let waiter = &waiter;
                scope.spawn(move || (number, wait(waiter, &format!("task-{}", number % 20), None)))
            })
            .collect();
        until("all wait", || waiter.wanted() == 20);
        (0..20).for_each(|number| backend.write(&format!("task-{number}"), "SUCCESS", &number.to_string()));
        for waited in waiting {
            let (number, record) = waited.join().unwrap();
            assert_eq!(record, Some((number % 20).to_string()));
        }
    });
    assert_eq!(backend.faults.opened.load(Ordering::SeqCst), 1);
}

#[test]
fn what_is_written_while_the_connection_is_down_is_read_after() {
    let backend = FaultyBackend::new();
    let waiter = waiter(&backend);
    waiter.watch("watched").unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wait(&waiter, "a", None));
        until("both are subscribed", || backend.faults.subscribed.load(Ordering::SeqCst) == 2);
        let opened = backend.faults.opened.load(Ordering::SeqCst);
        backend.break_listener();
        until("it tries again", || backend.faults.opened.load(Ordering::SeqCst) > opened + 1);
        backend.write("a", "SUCCESS", "1");
        backend.write("watched", "SUCCESS", "2");
        backend.faults.set_down(false);
        assert_eq!(waiting.join().unwrap().as_deref(), Some("1"));
    });
    until("the watched one came too", || drained(&waiter) == [("watched".into(), "2".into())]);
}

#[test]
fn a_store_that_stays_away_is_an_error_when_time_or_patience_is_up() {
    let backend = FaultyBackend::new();
    backend.faults.set_down(true);
    let hasty = waiter(&backend);
    let mut call = Call::new(Some(Duration::from_millis(50)));
    assert_eq!(hasty.wait("a", None, &mut call), Err(CallError::Broker(broken())));
    let impatient = Waiter::new(Arc::clone(&backend) as Arc<dyn Backend>, QUICK, Duration::from_millis(50));
    assert_eq!(impatient.wait("a", None, &mut Call::new(None)), Err(CallError::Broker(broken())));
    impatient.watch("a").unwrap();
    until("a drain tells", || impatient.drain() == Err(broken()));
    backend.faults.set_down(false);
    backend.write("a", "SUCCESS", "1");
    assert_eq!(wait(&impatient, "a", None).as_deref(), Some("1"));
    until("the watched one came", || impatient.drain().is_ok_and(|records| records.len() == 1));
}

#[test]
fn a_store_that_refuses_is_an_error_at_once_and_is_asked_again_later() {
    let backend = FaultyBackend::new();
    let waiter = waiter(&backend);
    backend.faults.opens.lock().push_back(refused());
    assert_eq!(waiter.wait("a", None, &mut Call::new(None)), Err(CallError::Broker(refused())));
    backend.write("a", "SUCCESS", "1");
    assert_eq!(wait(&waiter, "a", None).as_deref(), Some("1"));
    backend.faults.calls.lock().push_back(refused());
    waiter.watch("b").unwrap();
    until("a drain tells it", || waiter.drain() == Err(refused()));
    assert_eq!(drained(&waiter), [], "once");
}

#[test]
fn forgotten_ids_are_unsubscribed_in_batches() {
    let backend = FaultyBackend::new();
    let waiter = waiter(&backend);
    for number in 0..200 {
        let id = format!("task-{number}");
        backend.write(&id, "SUCCESS", "1");
        wait(&waiter, &id, None).unwrap();
    }
    assert_eq!(waiter.wanted(), 0);
    until("most are unsubscribed", || backend.faults.unsubscribed.load(Ordering::SeqCst) >= 128);
    // Waiting again for one that may still be subscribed works.
    assert_eq!(wait(&waiter, "task-199", None).as_deref(), Some("1"));
}

#[test]
fn the_latest_record_of_each_watched_id_is_drained_once() {
    let backend = FaultyBackend::new();
    let waiter = waiter(&backend);
    backend.write("old", "SUCCESS", "0");
    waiter.watch("old").unwrap();
    waiter.watch("new").unwrap();
    waiter.watch("dropped").unwrap();
    until("all are subscribed", || backend.faults.subscribed.load(Ordering::SeqCst) == 3);
    waiter.unwatch("dropped");
    backend.write("new", "STARTED", "1");
    backend.write("new", "SUCCESS", "2");
    backend.write("dropped", "SUCCESS", "3");
    let mut seen = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !seen.contains(&("new".into(), "2".into())) || !seen.contains(&("old".into(), "0".into())) {
        assert!(Instant::now() < deadline, "only {seen:?}");
        seen.extend(drained(&waiter));
    }
    assert!(!seen.iter().any(|(id, _)| id == "dropped"));
    assert_eq!(drained(&waiter), []);
    // Whoever begins to wait for a watched id gets what is known.
    assert_eq!(wait(&waiter, "new", None).as_deref(), Some("2"));
}

/// As Celery's worker does when the last try is quicker than the one that asked for it.
#[test]
fn an_end_that_was_heard_is_not_taken_back() {
    let (ended, retried) = (r#"{"status": "FAILURE"}"#, r#"{"status": "RETRY"}"#);
    for before in [None, Some("1")] {
        let backend = FaultyBackend::new();
        let waiter = waiter(&backend);
        if let Some(record) = before {
            backend.write("a", "RETRY", record);
        }
        waiter.watch("a").unwrap();
        waiter.watch("b").unwrap();
        until("both are subscribed", || backend.faults.subscribed.load(Ordering::SeqCst) == 2);
        let mut seen = Vec::new();
        let mut hear = |id: &str, record: &str| {
            until(record, || {
                seen.extend(drained(&waiter));
                seen.contains(&(id.to_owned(), record.to_owned()))
            });
        };
        backend.write("a", "FAILURE", ended);
        hear("a", ended);
        backend.write("a", "RETRY", retried);
        backend.write("b", "SUCCESS", "last");
        hear("b", "last");
        assert_eq!(wait(&waiter, "a", None).as_deref(), Some(ended), "{seen:?}");
    }
}

#[test]
fn many_watches_and_writes_end_with_every_last_record() {
    let backend = FaultyBackend::new();
    let waiter = waiter(&backend);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..300 {
                backend.write(&format!("task-{number}"), "STARTED", "first");
                backend.write(&format!("task-{number}"), "SUCCESS", "last");
            }
        });
        scope.spawn(|| (0..300).for_each(|number| waiter.watch(&format!("task-{number}")).unwrap()));
        scope.spawn(|| {
            for _ in 0..5 {
                let opened = backend.faults.opened.load(Ordering::SeqCst);
                backend.faults.calls.lock().push_back(broken());
                until("it reconnects", || backend.faults.opened.load(Ordering::SeqCst) > opened);
            }
        });
        let mut last = std::collections::HashSet::new();
        let deadline = Instant::now() + Duration::from_secs(20);
        while last.len() < 300 {
            assert!(Instant::now() < deadline, "only {} of 300 came", last.len());
            for (id, record) in drained(&waiter) {
                assert!(record == "last" || !last.contains(&id), "{id} went back to an older record");
                if record == "last" {
                    last.insert(id);
                }
            }
        }
    });
}

#[test]
fn dropping_it_ends_the_thread() {
    let backend = FaultyBackend::new();
    let waiter = waiter(&backend);
    backend.write("a", "SUCCESS", "1");
    assert!(wait(&waiter, "a", None).is_some());
    let shared = Arc::strong_count(&backend);
    assert!(shared > 1);
    drop(waiter);
    until("the thread let go of the store", || Arc::strong_count(&backend) == 1);
}

#[test]
fn a_stream_hears_of_many_ids() {
    let backend = FaultyBackend::new();
    let waiter = Arc::new(waiter(&backend));
    backend.write("1", "SUCCESS", "one");
    let ids = (0..3000).map(|number| number.to_string()).collect();
    let stream = waiter.stream(ids).unwrap();
    assert_eq!(next(&stream), [("1".to_owned(), "one".to_owned())], "what was there");
    assert_eq!(waiter.wanted(), 3000);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| next(&stream));
        backend.write("2999", "SUCCESS", "last");
        assert_eq!(waiting.join().unwrap(), [("2999".to_owned(), "last".to_owned())]);
    });
    assert_eq!(stream.next(&mut Call::new(Some(Duration::ZERO))), Ok(Vec::new()));
    stream.remove(&["0".to_owned(), "no such".to_owned()]);
    assert_eq!(waiter.wanted(), 2999);
    drop(stream);
    assert_eq!(waiter.wanted(), 0, "what nobody waits for is forgotten");
}

#[test]
fn ids_are_added_to_a_stream_that_waits_and_closing_ends_it() {
    let backend = FaultyBackend::new();
    let waiter = Arc::new(waiter(&backend));
    let stream = waiter.stream(Vec::new()).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| next(&stream));
        stream.add(vec!["a".to_owned(), "a".to_owned()]).unwrap();
        backend.write("a", "STARTED", "1");
        assert_eq!(waiting.join().unwrap(), [("a".to_owned(), "1".to_owned())]);
    });
    let other = waiter.stream(vec!["a".to_owned()]).unwrap();
    assert_eq!(next(&other), [("a".to_owned(), "1".to_owned())], "each stream gets what is known");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| next(&stream));
        stream.close();
        assert_eq!(waiting.join().unwrap(), []);
    });
    stream.add(vec!["b".to_owned()]).unwrap();
    assert_eq!(waiter.wanted(), 1, "a closed stream takes no more");
}

#[test]
fn a_stream_outlives_a_broken_connection_and_a_refusal() {
    let backend = FaultyBackend::new();
    let waiter = Arc::new(waiter(&backend));
    let stream = waiter.stream(vec!["a".to_owned(), "b".to_owned()]).unwrap();
    until("both are subscribed", || backend.faults.subscribed.load(Ordering::SeqCst) == 2);
    let opened = backend.faults.opened.load(Ordering::SeqCst);
    backend.break_listener();
    until("it tries again", || backend.faults.opened.load(Ordering::SeqCst) > opened + 1);
    backend.write("b", "SUCCESS", "2");
    backend.faults.set_down(false);
    assert_eq!(next(&stream), [("b".to_owned(), "2".to_owned())]);
    backend.faults.calls.lock().push_back(refused());
    stream.add(vec!["c".to_owned()]).unwrap();
    backend.write("c", "SUCCESS", "3");
    // Whoever waits at that moment is told; the next wait asks the store again.
    let heard = loop {
        match stream.next(&mut Call::new(Some(Duration::from_secs(10)))) {
            Ok(news) => break news,
            Err(error) => assert_eq!(error, CallError::Broker(refused())),
        }
    };
    assert_eq!(heard[0].0, "c");
}
