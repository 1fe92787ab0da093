//! A whole worker over the memory broker: engine, threads, links and native handlers.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod runtime_bench;

use std::time::Duration;

use runtime_bench::{Bench, DEADLINE, Gate, QUEUE, add, hand_child, registry, task, value_of};
use umbel_broker::{Broker, Outgoing};
use umbel_protocol::json::Value;
use umbel_protocol::{Destination, ResultWrite};
use umbel_worker::engine::{Job, Notice, Outcome, ShutdownKind, Verdict};
use umbel_worker::link::ChildLink;
use umbel_worker::runtime::WorkerEvent;

fn finished(job: &Job, publish: Vec<Outgoing>) -> Outcome {
    let task_id = job.message.properties.correlation_id.clone().unwrap();
    let result =
        ResultWrite { task_id, state: "SUCCESS".into(), record: b"{}".to_vec(), expires: None, reply_to: None };
    Outcome { job: job.id, verdict: Verdict::Success, result: Some(result), publish }
}

fn next(link: &ChildLink) -> Job {
    link.next(Some(DEADLINE)).expect("a job")
}

/// Ends as a child does that was told to stop.
fn end(link: ChildLink) {
    assert_eq!(link.next(Some(DEADLINE)), None);
    assert!(link.stopped());
}

#[test]
fn five_thousand_tasks_run_and_their_results_are_right() {
    let bench = Bench::new();
    bench.publish((0..5_000).map(|n| add(n, n, 1)));
    let mut worker = bench.worker(2);
    bench.wait_for_results(0..5_000);
    for n in 0..5_000 {
        assert_eq!(value_of(&bench.result(n)), (n + 1) as f64);
    }
    bench.wait_until(|| worker.stats().engine.unconfirmed == 0);
    let stats = worker.stats();
    assert_eq!((stats.fetched, stats.settled, stats.engine.totals.succeeded), (5_000, 5_000, 5_000));
    assert!(stats.exchanges < 2_500, "{} exchanges for 5,000 tasks", stats.exchanges);
    worker.stop(ShutdownKind::Warm);
    let events = worker.wait_stopped();
    assert_eq!(bench.left(), (0, 0));
    assert!(!events.iter().any(|event| matches!(event, WorkerEvent::Failed { .. })), "{events:?}");
}

#[test]
fn tasks_published_while_the_worker_waits_are_taken_at_once() {
    let bench = Bench::new();
    let mut worker = bench.worker(1);
    for n in 0..20 {
        bench.publish([add(n, n, n)]);
        bench.wait_for_results([n]);
    }
    worker.stop(ShutdownKind::Warm);
    worker.wait_stopped();
}

#[test]
fn failures_are_stored_and_bad_messages_go_to_the_dead_letters() {
    let bench = Bench::new();
    let mut chained = task("add", 3, "[1, 2]");
    chained.message.body =
        br#"[[1, 2], {}, {"callbacks": null, "errbacks": null, "chain": [{"task": "add"}], "chord": null}]"#.to_vec();
    let mut broken = task("add", 4, "[1, 2]");
    broken.message.body = b"[[1, 2]".to_vec();
    bench.publish([task("fail", 0, "[]"), task("nobody", 1, "[]"), task("add", 2, "[1]"), chained, broken]);
    let mut worker = bench.worker(1);
    bench.wait_for_results([0, 2]);
    bench.wait_until(|| bench.left() == (0, 3));
    let record = bench.result(0);
    assert_eq!(record.get("status").and_then(Value::as_str), Some("FAILURE"));
    let message =
        record.get("result").and_then(|result| result.get("exc_message")).and_then(|args| args.at(0)).cloned();
    assert_eq!(message, Some(Value::from("as asked")));
    let kind = bench.result(2).get("result").and_then(|result| result.get("exc_type")).cloned();
    assert_eq!(kind, Some(Value::from("TypeError")));
    worker.stop(ShutdownKind::Warm);
    worker.wait_stopped();
}

#[test]
fn a_panicking_handler_fails_its_task_alone() {
    let bench = Bench::new();
    bench.publish([task("panic", 0, "[]"), add(1, 1, 1)]);
    let mut registry = registry();
    registry.register("panic", |_| panic!("on purpose"));
    let mut worker = bench.worker_with(1, registry, |_| {});
    worker.wait_for_pool();
    bench.wait_for_results([0, 1]);
    assert_eq!(bench.result(0).get("status").and_then(Value::as_str), Some("FAILURE"));
    worker.stop(ShutdownKind::Warm);
    worker.wait_stopped();
}

#[test]
fn a_warm_stop_finishes_what_runs_and_returns_the_rest() {
    let bench = Bench::new();
    let gate = Gate::new();
    bench.publish((0..10).map(|n| task("gated", n, "[]")));
    let mut worker = bench.worker_with(2, gate.registry(), |_| {});
    worker.wait_for_pool();
    gate.wait_entered(2);
    worker.stop(ShutdownKind::Warm);
    bench.wait_until(|| bench.left().0 == 8);
    gate.open();
    worker.wait_stopped();
    assert_eq!(gate.entered(), 2);
    assert_eq!((0..10).filter(|n| bench.record(&n.to_string()).is_some()).count(), 2);
    assert_eq!(bench.left(), (8, 0));
}

#[test]
fn a_cold_stop_returns_what_runs() {
    let bench = Bench::new();
    let gate = Gate::new();
    bench.publish((0..4).map(|n| task("gated", n, "[]")));
    let mut worker = bench.worker_with(1, gate.registry(), |_| {});
    worker.wait_for_pool();
    gate.wait_entered(1);
    worker.stop(ShutdownKind::Warm);
    worker.stop(ShutdownKind::Cold);
    worker.worker.join();
    assert_eq!(bench.left(), (4, 0));
    gate.open();
    worker.wait_stopped();
}

#[test]
fn a_dropped_worker_gives_everything_back() {
    let bench = Bench::new();
    let gate = Gate::new();
    bench.publish((0..4).map(|n| task("gated", n, "[]")));
    let mut worker = bench.worker_with(1, gate.registry(), |_| {});
    worker.wait_for_pool();
    gate.wait_entered(1);
    drop(worker);
    bench.wait_until(|| bench.left() == (4, 0));
    gate.open();
}

#[test]
fn follow_ups_arrive_with_the_acknowledgement() {
    let bench = Bench::new();
    bench.publish([add(0, 1, 1)]);
    let mut worker = bench.worker_without_pool();
    let link = hand_child(&mut worker, 1);
    let first = next(&link);
    link.finish(&finished(&first, vec![add(1, 2, 2)])).unwrap();
    let second = next(&link);
    assert_eq!(second.message.properties.correlation_id.as_deref(), Some("1"));
    link.finish(&finished(&second, Vec::new())).unwrap();
    bench.wait_for_results([0, 1]);
    worker.stop(ShutdownKind::Warm);
    end(link);
    worker.wait_stopped();
    assert_eq!(bench.left(), (0, 0));
}

#[test]
fn an_unroutable_follow_up_costs_its_own_task_only() {
    let bench = Bench::new();
    bench.publish((0..3).map(|n| add(n, 1, 1)));
    let mut worker = bench.worker_without_pool();
    let link = hand_child(&mut worker, 1);
    for n in 0..3 {
        let job = next(&link);
        let lost = Destination { exchange: "nowhere".into(), routing_key: "nobody".into() };
        let publish = if n == 1 { vec![Outgoing { destination: lost, ..add(9, 1, 1) }] } else { Vec::new() };
        link.finish(&finished(&job, publish)).unwrap();
    }
    let refused = worker.wait_for(|event| matches!(event, WorkerEvent::Refused { .. }));
    let WorkerEvent::Refused { id, dead, .. } = refused else { unreachable!() };
    assert_eq!((id.as_str(), dead), ("1", true));
    bench.wait_for_results(0..3);
    bench.wait_until(|| worker.stats().engine.unconfirmed == 0);
    let dead = bench.store.admin().unwrap().dead_letters(0, 10).unwrap();
    assert_eq!(dead.iter().map(|letter| letter.reason.kind.as_str()).collect::<Vec<_>>(), ["unroutable"]);
    worker.stop(ShutdownKind::Warm);
    end(link);
    worker.wait_stopped();
}

#[test]
fn progress_is_stored_before_the_end() {
    let bench = Bench::new();
    bench.publish([add(0, 1, 1)]);
    let mut worker = bench.worker_without_pool();
    let link = hand_child(&mut worker, 1);
    let job = next(&link);
    let started = ResultWrite {
        task_id: "0".into(),
        state: "STARTED".into(),
        record: b"s".to_vec(),
        expires: None,
        reply_to: None,
    };
    link.progress(job.id, &started).unwrap();
    bench.wait_until(|| bench.record("0").as_deref() == Some(b"s"));
    link.finish(&finished(&job, Vec::new())).unwrap();
    bench.wait_until(|| bench.record("0").as_deref() == Some(b"{}"));
    worker.stop(ShutdownKind::Warm);
    end(link);
    worker.wait_stopped();
}

#[test]
fn without_a_result_store_results_are_dropped() {
    let bench = Bench { backend: None, ..Bench::new() };
    bench.publish((0..100).map(|n| add(n, n, n)));
    let mut worker = bench.worker(1);
    bench.wait_until(|| worker.stats().settled == 100);
    assert_eq!(bench.record("0"), None);
    worker.stop(ShutdownKind::Warm);
    worker.wait_stopped();
    assert_eq!(bench.left(), (0, 0));
}

#[test]
fn received_is_told_only_when_wanted() {
    let bench = Bench::new();
    let mut worker = bench.worker(1);
    bench.publish([add(0, 1, 1)]);
    bench.wait_for_results([0]);
    worker.worker.want_received(true);
    bench.publish([add(1, 1, 1)]);
    let told = worker.wait_for(|event| matches!(event, WorkerEvent::Notice(Notice::Received(_))));
    let WorkerEvent::Notice(Notice::Received(facts)) = told else { unreachable!() };
    assert_eq!((facts.task.as_str(), facts.id.as_str()), ("add", "1"));
    worker.stop(ShutdownKind::Warm);
    worker.wait_stopped();
}

#[test]
fn a_retiring_child_is_replaced_and_loses_nothing() {
    let bench = Bench::new();
    bench.publish((0..4).map(|n| add(n, 1, 1)));
    let mut worker = bench.worker_without_pool();
    let first = hand_child(&mut worker, 1);
    let job = next(&first);
    first.retire();
    worker.wait_for(|event| matches!(event, WorkerEvent::Retiring { .. }));
    worker.wait_for(|event| matches!(event, WorkerEvent::Spawn { count: 1 }));
    let second = hand_child(&mut worker, 1);
    first.finish(&finished(&job, Vec::new())).unwrap();
    drop(first);
    let gone = worker.wait_for(|event| matches!(event, WorkerEvent::ChildGone { .. }));
    assert!(matches!(gone, WorkerEvent::ChildGone { expected: true, .. }), "{gone:?}");
    for _ in 0..3 {
        let job = next(&second);
        second.finish(&finished(&job, Vec::new())).unwrap();
    }
    bench.wait_for_results(0..4);
    worker.stop(ShutdownKind::Warm);
    end(second);
    worker.wait_stopped();
    assert_eq!(bench.left(), (0, 0));
}

#[test]
fn a_closed_link_without_a_process_returns_its_jobs() {
    let bench = Bench::new();
    bench.publish([add(0, 1, 1)]);
    let mut worker = bench.worker_without_pool();
    let first = hand_child(&mut worker, 1);
    let _running = next(&first);
    // Its start must be known, for the failed delivery to be counted.
    bench.wait_until(|| worker.stats().engine.running == 1);
    drop(first);
    let gone = worker.wait_for(|event| matches!(event, WorkerEvent::ChildGone { .. }));
    let WorkerEvent::ChildGone { how, expected, running, pid, .. } = gone else { unreachable!() };
    assert_eq!((how.as_str(), expected, running, pid), ("its link closed", false, vec!["0".to_owned()], None));
    worker.wait_for(|event| matches!(event, WorkerEvent::Spawn { count: 1 }));
    let second = hand_child(&mut worker, 1);
    let again = next(&second);
    assert_eq!(again.message.properties.failed_deliveries, 1);
    second.finish(&finished(&again, Vec::new())).unwrap();
    bench.wait_for_results([0]);
    worker.stop(ShutdownKind::Warm);
    end(second);
    worker.wait_stopped();
}

#[test]
fn a_worker_starts_once() {
    let bench = Bench::new();
    let mut worker = bench.worker(1);
    assert!(worker.worker.start().is_err());
    worker.stop(ShutdownKind::Warm);
    worker.wait_stopped();
    assert!(worker.worker.stats().is_err());
    worker.worker.join();
}

#[test]
fn delayed_tasks_run_when_due() {
    let bench = Bench::new();
    let mut worker = bench.worker(1);
    let mut later = add(0, 1, 1);
    let due = umbel_broker::Clock::now(&umbel_broker::SystemClock).after(Duration::from_millis(60));
    let eta = umbel_protocol::iso8601::format(due, &umbel_protocol::Zone::default());
    later.message.headers = format!(r#"{{"lang": "py", "task": "add", "id": "0", "eta": "{eta}"}}"#);
    bench.publish([later, add(1, 1, 1)]);
    bench.wait_for_results([1]);
    assert_eq!(bench.record("0"), None);
    bench.wait_for_results([0]);
    assert!(umbel_broker::Clock::now(&umbel_broker::SystemClock) >= due);
    worker.stop(ShutdownKind::Warm);
    worker.wait_stopped();
    assert_eq!(bench.store.admin().unwrap().length(QUEUE), Ok(0));
}
