//! Calls that gather until they are enough to be run as one.

use std::time::Duration;

use umbel_broker::Disposition;
use umbel_worker::engine::{BatchOptions, ChildId, Input, Job, JobId, ShutdownKind, TaskOptions, Verdict};

use crate::bench::{Bench, config, message, only, task};

fn batched() -> TaskOptions {
    let batch = BatchOptions { most: 3, patience: Duration::from_secs(5) };
    TaskOptions { batch: Some(batch), ..task("many") }
}

fn bench(children: u32) -> Bench {
    Bench::with(config(), vec![batched(), task("add")], children)
}

fn deliver(bench: &mut Bench, ids: &[&str]) {
    bench.deliver(ids.iter().map(|id| message("many", id, "")).collect());
}

/// Ids by batch, in order.
fn batches(bench: &mut Bench) -> Vec<Vec<String>> {
    by_batch(bench.take_dispatched())
}

fn by_batch(dispatched: Vec<(ChildId, Job)>) -> Vec<Vec<String>> {
    let mut found: Vec<(Option<u64>, Vec<String>)> = Vec::new();
    for (_, job) in dispatched {
        match found.last_mut() {
            Some((batch, ids)) if *batch == job.batch && job.batch.is_some() => ids.push(job.facts.id.clone()),
            _ => found.push((job.batch, vec![job.facts.id.clone()])),
        }
    }
    found.into_iter().map(|(_, ids)| ids).collect()
}

#[test]
fn they_run_once_they_are_enough() {
    let mut bench = bench(2);
    deliver(&mut bench, &["a", "b"]);
    assert_eq!(batches(&mut bench), [[""; 0]; 0]);
    deliver(&mut bench, &["c", "d"]);
    assert_eq!(batches(&mut bench), [["a", "b", "c"]]);
    bench.deliver(vec![message("add", "x", "")]);
    assert_eq!(batches(&mut bench), [["x"]], "others are not kept waiting");
}

#[test]
fn fewer_run_when_the_first_has_waited_for_long_enough() {
    let mut bench = bench(1);
    deliver(&mut bench, &["a"]);
    bench.pass(3.0);
    deliver(&mut bench, &["b"]);
    bench.pass(1.9);
    assert_eq!(batches(&mut bench), [[""; 0]; 0]);
    bench.pass(0.2);
    assert_eq!(batches(&mut bench), [["a", "b"]]);
    deliver(&mut bench, &["c"]);
    bench.pass(4.9);
    assert_eq!(batches(&mut bench), [[""; 0]; 0], "time begins anew");
}

fn started(bench: &mut Bench, ids: &[&str]) -> (ChildId, Vec<JobId>) {
    deliver(bench, ids);
    let dispatched = bench.take_dispatched();
    assert_eq!(dispatched.len(), ids.len());
    let (child, jobs) = (dispatched[0].0, dispatched.iter().map(|(_, job)| job.id).collect::<Vec<_>>());
    bench.feed(Input::Started { child, jobs: jobs.clone() });
    (child, jobs)
}

#[test]
fn each_is_settled_by_itself() {
    let mut bench = bench(1);
    let (child, jobs) = started(&mut bench, &["a", "b", "c"]);
    bench.finish(child, jobs[1], Verdict::Success).finish(child, jobs[0], Verdict::Requeue);
    let ends: Vec<_> = bench.take_ends().into_iter().map(|(tag, end, _)| (tag.unwrap(), end)).collect();
    let back = Disposition::Requeue { front: false, failed: false };
    assert_eq!(ends, [("b".to_owned(), Disposition::Ack), ("a".to_owned(), back)]);
    assert_eq!(bench.engine.stats().running, 1);
}

#[test]
fn a_batch_takes_one_slot() {
    let mut bench = Bench::with(config(), vec![batched(), task("add")], 0);
    bench.feed(Input::PoolSize(1));
    bench.feed(Input::ChildReady { child: ChildId(0), slots: 2, killable: true });
    let (child, jobs) = started(&mut bench, &["a", "b", "c"]);
    bench.pass(1.0);
    bench.deliver(vec![message("add", "x", "")]);
    assert_eq!(batches(&mut bench), [["x"]], "the other slot is free");
    for job in jobs {
        bench.finish(child, job, Verdict::Success);
    }
    assert_eq!(bench.engine.stats().running, 0);
}

#[test]
fn those_of_a_dead_child_come_back_and_run_by_themselves() {
    let mut bench = bench(1);
    started(&mut bench, &["a", "b", "c"]);
    bench.gone(0, "signal 11 (SIGSEGV)").ready(1);
    let ends = bench.take_ends();
    assert!(ends.iter().all(|(_, end, _)| *end == Disposition::Requeue { front: true, failed: true }), "{ends:?}");
    let mut again = message("many", "a", "");
    again.properties.failed_deliveries = 1;
    bench.deliver(vec![again]);
    assert_eq!(only(bench.take_dispatched()).1.batch, None);
}

#[test]
fn all_have_passed_the_limit_that_one_has_passed() {
    let limited = TaskOptions { time_limit: Some(Duration::from_secs(2)), ..batched() };
    let mut bench = Bench::with(config(), vec![limited], 1);
    started(&mut bench, &["a", "b", "c"]);
    bench.pass(2.1);
    bench.gone(0, "signal 9 (SIGKILL)");
    let states: Vec<_> = bench.take_ends().into_iter().flat_map(|(_, _, states)| states).collect();
    assert_eq!(states, ["FAILURE"; 3]);
}

#[test]
fn those_taken_back_from_a_child_do_not_gather_again_for_long() {
    let mut bench = bench(1);
    deliver(&mut bench, &["a", "b", "c"]);
    let dispatched = bench.take_dispatched();
    let jobs = dispatched.iter().map(|(_, job)| job.id).collect();
    bench.feed(Input::Returned { child: ChildId(0), jobs });
    assert_eq!(batches(&mut bench), [["a", "b", "c"]]);
}

#[test]
fn what_has_expired_meanwhile_does_not_run() {
    let mut bench = bench(1);
    let soon = format!("\"expires\": \"{}\"", crate::bench::iso(1.0));
    bench.deliver(vec![message("many", "a", &soon), message("many", "b", "")]);
    bench.pass(5.1);
    assert_eq!(batches(&mut bench), [["b"]]);
    assert_eq!(only(bench.take_ends()).0.as_deref(), Some("a"));
}

#[test]
fn what_gathers_goes_back_when_the_worker_ends() {
    let mut bench = bench(1);
    deliver(&mut bench, &["a", "b"]);
    bench.shut_down(ShutdownKind::Warm);
    let ends: Vec<_> = bench.take_ends().into_iter().map(|(tag, end, _)| (tag.unwrap(), end)).collect();
    let back = Disposition::Requeue { front: true, failed: false };
    assert_eq!(ends, [("b".to_owned(), back.clone()), ("a".to_owned(), back)]);
}

#[test]
fn what_no_child_has_room_for_is_given_to_others() {
    let mut bench = Bench::with(config(), vec![batched(), task("add")], 1);
    deliver(&mut bench, &["a", "b"]);
    bench.feed(Input::PoolSize(0));
    bench.pass(8.0);
    let ends: Vec<_> = bench.take_ends().into_iter().map(|(tag, end, _)| (tag.unwrap(), end)).collect();
    let back = Disposition::Requeue { front: true, failed: false };
    assert_eq!(ends, [("b".to_owned(), back.clone()), ("a".to_owned(), back)]);
}
