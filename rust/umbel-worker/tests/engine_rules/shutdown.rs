//! Ending, warm and cold.

use umbel_broker::Disposition;
use umbel_worker::engine::{ChildId, Input, JobId, Output, ShutdownKind, Verdict};

use crate::bench::{Bench, config, delivery, iso, message, only, task};

const BACK: Disposition = Disposition::Requeue { front: true, failed: false };

fn confirm(bench: &mut Bench) {
    let count = bench.take_settled().len();
    bench.feed(Input::Settled { count, lost: vec![], entered: vec![] });
}

/// An idle worker whose only fetch was answered.
fn idle(children: u32) -> Bench {
    let mut bench = Bench::new(children);
    bench.feed(Input::Delivered { deliveries: vec![], next_due: None });
    bench
}

fn running(children: u32) -> (Bench, ChildId, JobId) {
    let mut bench = idle(children);
    let (child, job) = bench.deliver_one("add", "a", "").unwrap();
    bench.start(child, job);
    (bench, child, job)
}

#[test]
fn an_idle_worker_stops_when_its_children_are_gone() {
    let mut bench = idle(2);
    bench.shut_down(ShutdownKind::Warm);
    assert!(
        bench.took(&Output::StopChild { child: ChildId(0) }) && bench.took(&Output::StopChild { child: ChildId(1) })
    );
    bench.gone(0, "exit code 0");
    assert!(!bench.took(&Output::Stopped));
    bench.gone(1, "exit code 0");
    assert!(bench.took(&Output::Stopped));
}

#[test]
fn a_worker_without_children_stops_at_once() {
    let mut bench = Bench::with(config(), vec![task("add")], 0);
    bench.shut_down(ShutdownKind::Warm);
    assert!(bench.took(&Output::Stopped));
    bench.feed(Input::PoolSize(4));
    assert!(!bench.took(&Output::Spawn { count: 4 }), "it is over");
}

#[test]
fn warm_lets_running_jobs_finish_and_returns_the_others_in_their_order() {
    let (mut bench, child, job) = running(1);
    let eta = format!("\"eta\": \"{}\"", iso(1.0));
    bench.deliver(vec![message("add", "b", ""), message("add", "c", ""), message("add", "d", &eta)]);
    bench.shut_down(ShutdownKind::Warm);
    let ends = bench.take_ends();
    let order: Vec<&str> = ends.iter().filter_map(|end| end.0.as_deref()).collect();
    assert_eq!(order, ["d", "c", "b"], "each in front of the one before");
    assert!(ends.iter().all(|end| end.1 == BACK));
    bench.feed(Input::Rang);
    bench.finish(child, job, Verdict::Success);
    assert_eq!(only(bench.take_ends()).1, Disposition::Ack);
    assert!(bench.took(&Output::StopChild { child }));
    bench.feed(Input::Settled { count: 4, lost: vec![], entered: vec![] }).gone(0, "exit code 0");
    assert!(bench.took(&Output::Stopped));
}

#[test]
fn what_was_sent_and_not_started_is_recalled() {
    let mut bench = idle(1);
    let (child, job) = bench.deliver_one("add", "a", "").unwrap();
    bench.shut_down(ShutdownKind::Warm);
    assert_eq!(bench.take_recalls(), [(child, vec![job])]);
    bench.feed(Input::Returned { child, jobs: vec![job] });
    assert_eq!(only(bench.take_ends()).1, BACK);
    assert!(bench.took(&Output::StopChild { child }));
}

#[test]
fn warm_turns_cold_after_its_time() {
    let (mut bench, child, _) = running(1);
    bench.shut_down(ShutdownKind::Warm).pass(24.0);
    assert!(!bench.took(&Output::Kill { child }));
    bench.pass(2.0);
    assert!(bench.took(&Output::Kill { child }));
    bench.gone(0, "signal 9 (SIGKILL)");
    assert_eq!(only(bench.take_ends()).1, BACK);
    assert!(!bench.took(&Output::Stopped), "not confirmed");
    bench.feed(Input::Settled { count: 1, lost: vec![], entered: vec![] });
    assert!(bench.took(&Output::Stopped));
}

#[test]
fn cold_kills_at_once_and_counts_nothing_as_failed() {
    let (mut bench, child, _) = running(2);
    bench.shut_down(ShutdownKind::Cold);
    assert!(bench.took(&Output::Kill { child }) && bench.took(&Output::Kill { child: ChildId(1) }));
    bench.gone(0, "signal 9 (SIGKILL)").gone(1, "signal 9 (SIGKILL)");
    assert_eq!(only(bench.take_ends()).1, BACK);
}

#[test]
fn cold_after_warm_kills() {
    let (mut bench, child, _) = running(1);
    bench.shut_down(ShutdownKind::Warm).shut_down(ShutdownKind::Warm);
    assert!(!bench.took(&Output::Kill { child }));
    bench.shut_down(ShutdownKind::Cold);
    assert!(bench.took(&Output::Kill { child }));
}

#[test]
fn an_early_acked_job_killed_by_the_end_is_told_to_have_failed() {
    let mut bench = idle(1);
    let (child, job) = bench.deliver_one("early", "a", "").unwrap();
    bench.start(child, job);
    confirm(&mut bench);
    bench.shut_down(ShutdownKind::Cold).gone(0, "signal 9 (SIGKILL)");
    assert_eq!(only(bench.take_ends()).2, ["FAILURE"]);
}

#[test]
fn a_child_that_dies_by_itself_during_the_end_is_counted() {
    let (mut bench, _, _) = running(1);
    bench.out.clear();
    bench.shut_down(ShutdownKind::Warm).gone(0, "signal 11 (SIGSEGV)");
    assert_eq!(only(bench.take_ends()).1, Disposition::Requeue { front: true, failed: true });
    assert!(!bench.took(&Output::Spawn { count: 1 }));
}

#[test]
fn a_fetch_under_way_is_waited_for_and_returned() {
    let mut bench = Bench::with(config(), vec![task("add")], 1);
    assert_eq!(bench.take_fetches().len(), 1);
    bench.shut_down(ShutdownKind::Warm).gone(0, "exit code 0");
    assert!(!bench.took(&Output::Stopped));
    let deliveries = vec![delivery("a", message("add", "a", "")), delivery("b", message("add", "b", ""))];
    bench.feed(Input::Delivered { deliveries, next_due: None });
    let order: Vec<String> = bench.take_ends().into_iter().filter_map(|end| end.0).collect();
    assert_eq!(order, ["b", "a"]);
    bench.feed(Input::Settled { count: 2, lost: vec![], entered: vec![] });
    assert!(bench.took(&Output::Stopped));
}

#[test]
fn a_child_that_comes_late_is_sent_away() {
    let mut bench = idle(0);
    bench.feed(Input::PoolSize(1)).shut_down(ShutdownKind::Warm);
    assert!(!bench.took(&Output::Stopped), "one is on its way");
    bench.ready(0);
    assert!(bench.took(&Output::StopChild { child: ChildId(0) }));
    bench.gone(0, "exit code 0");
    assert!(bench.took(&Output::Stopped));
}

#[test]
fn a_child_that_ignores_the_end_is_killed() {
    let mut bench = idle(1);
    bench.shut_down(ShutdownKind::Warm).pass(11.0);
    assert!(bench.took(&Output::Kill { child: ChildId(0) }));
    bench.pass(60.0);
    assert!(bench.took(&Output::Stopped), "even if it outlives that");
}

#[test]
fn a_broker_that_does_not_come_back_is_not_waited_for_for_ever() {
    let (mut bench, child, job) = running(1);
    bench.feed(Input::Disconnected).shut_down(ShutdownKind::Warm);
    bench.finish(child, job, Verdict::Success).gone(0, "exit code 0");
    assert!(!bench.took(&Output::Stopped));
    bench.pass(11.0);
    assert!(bench.took(&Output::Stopped));
}

#[test]
fn a_pool_in_this_process_is_left_to_itself_after_the_time() {
    let mut bench = Bench::with(config(), vec![task("add")], 0);
    bench.feed(Input::PoolSize(1)).feed(Input::ChildReady { child: ChildId(0), slots: 2, killable: false });
    bench.feed(Input::Delivered { deliveries: vec![], next_due: None });
    let (child, job) = bench.deliver_one("add", "a", "").unwrap();
    bench.start(child, job).shut_down(ShutdownKind::Warm).pass(26.0);
    assert_eq!(only(bench.take_ends()).1, BACK);
    assert!(!bench.out.iter().any(|output| matches!(output, Output::Kill { .. })));
    bench.finish(child, job, Verdict::Success);
    assert!(bench.take_settled().is_empty(), "too late");
    bench.feed(Input::Settled { count: 1, lost: vec![], entered: vec![] });
    assert!(bench.took(&Output::Stopped));
}
