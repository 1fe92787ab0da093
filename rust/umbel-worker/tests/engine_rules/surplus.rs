//! Messages beyond the window are given back.

use umbel_broker::Disposition;
use umbel_protocol::Timestamp;
use umbel_worker::engine::{Input, Verdict};

use crate::bench::{Bench, message};

#[test]
fn a_pool_that_shrinks_to_nothing_gives_its_messages_back_in_their_order() {
    let mut bench = Bench::new(1);
    bench.deliver(["a", "b", "c"].map(|name| message("add", name, "")).to_vec());
    let (child, job) = bench.take_dispatched().pop().unwrap();
    bench.start(child, job.id).feed(Input::PoolSize(0));
    bench.pass(1.5);
    assert!(bench.take_ends().is_empty(), "a replacement may be on its way");
    bench.pass(1.0);
    let ends = bench.take_ends();
    let order: Vec<&str> = ends.iter().filter_map(|end| end.0.as_deref()).collect();
    assert_eq!(order, ["c", "b"]);
    assert!(ends.iter().all(|end| end.1 == Disposition::Requeue { front: true, failed: false }));
    bench.finish(child, job.id, Verdict::Success);
    assert_eq!(bench.take_ends().len(), 1);
}

#[test]
fn what_waits_behind_long_jobs_is_given_to_others() {
    let mut bench = Bench::new(1);
    bench.deliver((0..4).map(|number| message("add", &format!("m{number}"), "")).collect());
    let (child, job) = bench.take_dispatched().pop().unwrap();
    bench.start(child, job.id).pass(3.0);
    assert_eq!(bench.take_ends().len(), 3, "all but the one that runs");
    bench.pass(10.0);
    assert!(bench.take_fetches().len() <= 1, "and not asked for again");
    assert!(bench.take_ends().is_empty());
}

#[test]
fn a_worker_that_nothing_else_wakes_gives_its_surplus_back() {
    let mut bench = Bench::new(1);
    // As many as were asked for: there may be more in the queue, so that the doorbell need not ring again.
    bench.deliver((0..4).map(|number| message("add", &format!("m{number}"), "")).collect());
    let (child, job) = bench.take_dispatched().pop().unwrap();
    bench.start(child, job.id);
    let end = Timestamp(bench.now.0 + 5_000_000);
    while let Some(at) = bench.wake_at().filter(|at| *at < end) {
        bench.now = at;
        bench.feed(Input::Tick);
    }
    assert_eq!(bench.take_ends().len(), 3, "all but the one that runs");
}

#[test]
fn a_child_replaced_in_time_costs_nothing() {
    let mut bench = Bench::new(1);
    bench.deliver(vec![message("add", "a", "")]);
    bench.gone(0, "signal 9 (SIGKILL)").pass(1.0).ready(1).pass(3.0);
    assert!(bench.take_ends().is_empty());
    assert_eq!(bench.take_dispatched().len(), 2);
}
