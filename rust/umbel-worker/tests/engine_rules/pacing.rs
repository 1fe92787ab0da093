//! Rate limits.

use std::time::Duration;

use umbel_broker::{Disposition, Turn};
use umbel_protocol::Timestamp;
use umbel_worker::engine::{ChildId, Input, JobId, Output, ShutdownKind, TaskOptions, Verdict};

use crate::bench::{Bench, START, config, message, only, task};

/// An engine that may start one `slow` every `pause` seconds.
fn bench(pause: f64, children: u32) -> Bench {
    Bench::with(config(), vec![slow(pause), task("add")], children)
}

fn slow(pause: f64) -> TaskOptions {
    TaskOptions { rate_limit: Some(1.0 / pause), ..task("slow") }
}

fn dispatched(bench: &mut Bench) -> Vec<String> {
    bench.take_dispatched().into_iter().map(|(_, job)| job.facts.id.clone()).collect()
}

fn messages(ids: &[&str]) -> Vec<umbel_protocol::Message> {
    ids.iter().map(|id| message("slow", id, "")).collect()
}

#[test]
fn jobs_of_a_limited_task_start_one_by_one() {
    let mut bench = bench(0.5, 4);
    bench.deliver(messages(&["a", "b", "c"]));
    assert_eq!(dispatched(&mut bench), ["a"]);
    bench.pass(0.49);
    assert_eq!(dispatched(&mut bench), [""; 0]);
    bench.pass(0.02);
    assert_eq!(dispatched(&mut bench), ["b"]);
    bench.pass(0.5);
    assert_eq!(dispatched(&mut bench), ["c"]);
    assert_eq!(bench.take_ends(), []);
}

#[test]
fn the_engine_asks_to_be_woken_for_the_next_turn() {
    let mut bench = bench(0.5, 1);
    bench.deliver(messages(&["a", "b"]));
    let (child, job) = only(bench.take_dispatched());
    bench.finish(child, job.id, Verdict::Success);
    // It had asked to be woken sooner, to see whether the first one takes long.
    bench.pass(0.1);
    assert_eq!(dispatched(&mut bench), [""; 0]);
    let at = Timestamp(START.0 + 500_000);
    assert!(bench.took(&Output::WakeAt(at)), "{:?}", bench.out);
}

#[test]
fn others_pass_those_that_wait() {
    let mut bench = bench(1.0, 3);
    bench.deliver(messages(&["a", "b", "c"]));
    bench.deliver(vec![message("add", "x", ""), message("add", "y", "")]);
    assert_eq!(dispatched(&mut bench), ["a", "x", "y"]);
    assert_eq!(bench.engine.stats().held, 5);
}

#[test]
fn what_would_wait_for_long_waits_in_the_broker() {
    let mut bench = bench(60.0, 4);
    bench.deliver(messages(&["a", "b", "c"]));
    assert_eq!(dispatched(&mut bench), ["a"]);
    let until = |seconds: i64| Disposition::Delay { until: Timestamp(START.0 + seconds * 1_000_000) };
    let ends: Vec<_> = bench.take_ends().into_iter().map(|(tag, end, _)| (tag.unwrap(), end)).collect();
    assert_eq!(ends, [("b".to_owned(), until(60)), ("c".to_owned(), until(120))]);
    bench.pass(60.0);
    bench.deliver(messages(&["b"]));
    assert_eq!(dispatched(&mut bench), ["b"]);
}

#[test]
fn a_turn_is_kept_by_a_job_that_is_taken_back() {
    let mut bench = bench(1.0, 1);
    let (child, job) = bench.deliver_one("slow", "a", "").expect("dispatched");
    bench.feed(Input::Returned { child, jobs: vec![job] });
    assert_eq!(dispatched(&mut bench), ["a"]);
    bench.gone(0, "signal 11 (SIGSEGV)");
    bench.ready(1);
    assert_eq!(dispatched(&mut bench), ["a"]);
}

#[test]
fn the_limit_may_change_while_jobs_wait() {
    let mut bench = bench(2.0, 2);
    bench.deliver(messages(&["a"]));
    assert_eq!(dispatched(&mut bench), ["a"]);
    bench.feed(Input::Tasks(vec![TaskOptions { rate_limit: None, ..task("slow") }]));
    bench.deliver(messages(&["b"]));
    assert_eq!(dispatched(&mut bench), ["b"]);
}

#[test]
fn what_waits_for_its_turn_goes_back_when_the_worker_ends() {
    let mut bench = bench(1.0, 1);
    bench.deliver(messages(&["a", "b", "c"]));
    let (child, job) = only(bench.take_dispatched());
    bench.start(child, job.id).finish(child, job.id, Verdict::Success);
    bench.take_ends();
    bench.shut_down(ShutdownKind::Warm);
    let back = Disposition::Requeue { front: true, failed: false };
    let ends: Vec<_> = bench.take_ends().into_iter().map(|(tag, end, _)| (tag.unwrap(), end)).collect();
    assert_eq!(ends, [("c".to_owned(), back.clone()), ("b".to_owned(), back)], "the last first: b is next in line");
    bench.gone(0, "exit code 0");
    assert_eq!(child, ChildId(0));
}

/// An engine whose `slow` has a limit that all workers share.
fn shared(children: u32) -> Bench {
    let options = TaskOptions { rate_limit_shared: true, ..slow(1.0) };
    Bench::with(config(), vec![options, task("add")], children)
}

fn asked(bench: &mut Bench) -> Vec<JobId> {
    let mut jobs = Vec::new();
    bench.out.retain(|output| match output {
        Output::AskTurn { job, limit, pause, .. } => {
            assert_eq!((limit.as_str(), pause.as_secs()), ("slow", 1));
            jobs.push(*job);
            false
        }
        _ => true,
    });
    jobs
}

fn granted(seconds: u64) -> Option<Turn> {
    Some(Turn { wait: Duration::from_secs(seconds), granted: true })
}

#[test]
fn the_broker_is_asked_for_turns_that_workers_share() {
    let mut bench = shared(3);
    bench.deliver(messages(&["a", "b", "c"]));
    bench.deliver(vec![message("add", "x", "")]);
    assert_eq!(dispatched(&mut bench), ["x"], "it waits for no turn of others");
    let jobs = asked(&mut bench);
    bench.feed(Input::Turn { job: jobs[0], turn: granted(0) });
    assert_eq!(dispatched(&mut bench), ["a"]);
    bench.feed(Input::Turn { job: jobs[1], turn: granted(1) });
    let far = Some(Turn { wait: Duration::from_secs(60), granted: false });
    bench.feed(Input::Turn { job: jobs[2], turn: far });
    assert_eq!(dispatched(&mut bench), [""; 0]);
    let (tag, end, _) = only(bench.take_ends());
    let until = Timestamp(START.0 + 60_000_000);
    assert_eq!((tag.as_deref(), end), (Some("c"), Disposition::Delay { until }));
    bench.pass(1.1);
    assert_eq!(dispatched(&mut bench), ["b"]);
    assert_eq!(asked(&mut bench), [], "once each");
}

#[test]
fn a_broker_that_does_not_answer_is_asked_again() {
    let mut bench = shared(1);
    bench.deliver(messages(&["a"]));
    let job = only(asked(&mut bench));
    bench.feed(Input::Turn { job, turn: None });
    assert_eq!(asked(&mut bench), []);
    bench.pass(1.1);
    assert_eq!(asked(&mut bench), [job]);
    bench.feed(Input::Turn { job, turn: granted(0) });
    assert_eq!(dispatched(&mut bench), ["a"]);
    bench.feed(Input::Turn { job, turn: granted(0) });
    assert_eq!(dispatched(&mut bench), [""; 0], "an answer that nobody waits for");
}

#[test]
fn who_waits_for_an_answer_goes_back_when_the_worker_ends() {
    let mut bench = shared(1);
    bench.deliver(messages(&["a"]));
    let job = only(asked(&mut bench));
    bench.shut_down(ShutdownKind::Warm);
    assert_eq!(only(bench.take_ends()).1, Disposition::Requeue { front: true, failed: false });
    bench.feed(Input::Turn { job, turn: granted(0) });
    assert_eq!(dispatched(&mut bench), [""; 0]);
}
