//! Children that come, retire, die.

use umbel_broker::Disposition;
use umbel_worker::engine::{ChildId, Input, Notice, Output, TaskOptions, Verdict};

use crate::bench::{Bench, config, message, only, task};

fn spawned(bench: &mut Bench) -> usize {
    let counts = bench.out.iter().map(|output| if let Output::Spawn { count } = output { *count } else { 0 });
    let total = counts.sum();
    bench.out.retain(|output| !matches!(output, Output::Spawn { .. }));
    total
}

#[test]
fn a_dead_child_is_replaced_at_once() {
    let mut bench = Bench::new(3);
    spawned(&mut bench);
    bench.gone(1, "signal 9 (SIGKILL)");
    assert_eq!(spawned(&mut bench), 1);
    bench.feed(Input::Tick);
    assert_eq!(spawned(&mut bench), 0, "asked for once");
}

#[test]
fn children_that_never_get_ready_are_asked_for_ever_more_slowly() {
    let mut bench = Bench::new(0);
    bench.feed(Input::PoolSize(1));
    let mut asked = spawned(&mut bench);
    for child in 0..60 {
        bench.gone(child, "exit code 1");
        asked += spawned(&mut bench);
        bench.pass(1.0);
        asked += spawned(&mut bench);
    }
    assert!((6..20).contains(&asked), "{asked} in a minute");
}

#[test]
fn a_retiring_child_is_replaced_before_it_is_told_to_stop() {
    let mut bench = Bench::new(1);
    bench.out.clear();
    bench.feed(Input::Retiring { child: ChildId(0) });
    let of_interest: Vec<&Output> =
        bench.out.iter().filter(|output| matches!(output, Output::Spawn { .. } | Output::StopChild { .. })).collect();
    assert_eq!(of_interest, [&Output::Spawn { count: 1 }, &Output::StopChild { child: ChildId(0) }]);
    bench.gone(0, "exit code 0");
    assert_eq!(spawned(&mut bench), 1, "only the one asked for before");
    let expected = bench.take_notices().into_iter().find_map(|notice| match notice {
        Notice::ChildGone { expected, .. } => Some(expected),
        _ => None,
    });
    assert_eq!(expected, Some(true));
}

#[test]
fn a_child_that_wants_relief_takes_jobs_until_its_replacement_is_ready() {
    let mut bench = Bench::new(1);
    let (child, job) = bench.deliver_one("add", "a", "").unwrap();
    bench.start(child, job).out.clear();
    bench.feed(Input::WantsRelief { child }).feed(Input::WantsRelief { child });
    assert_eq!(spawned(&mut bench), 1, "once");
    bench.finish(child, job, Verdict::Success);
    assert_eq!(bench.deliver_one("add", "b", "").map(|(child, _)| child), Some(child));
    assert!(!bench.took(&Output::StopChild { child }));
    bench.ready(1);
    assert!(bench.took(&Output::StopChild { child }));
    assert!(!bench.took(&Output::StopChild { child: ChildId(1) }));
    assert_eq!(spawned(&mut bench), 0);
    bench.gone(0, "exit code 0");
    assert_eq!(spawned(&mut bench), 0);
}

#[test]
fn one_replacement_relieves_one_child() {
    let mut bench = Bench::new(2);
    bench.out.clear();
    bench.feed(Input::WantsRelief { child: ChildId(0) }).feed(Input::WantsRelief { child: ChildId(1) });
    assert_eq!(spawned(&mut bench), 2);
    bench.ready(2);
    assert!(bench.took(&Output::StopChild { child: ChildId(0) }));
    assert!(!bench.took(&Output::StopChild { child: ChildId(1) }));
    bench.gone(2, "exit code 1");
    assert_eq!(spawned(&mut bench), 1, "in place of the replacement that died");
}

#[test]
fn a_smaller_pool_needs_no_replacement() {
    let mut bench = Bench::new(2);
    bench.feed(Input::WantsRelief { child: ChildId(1) }).out.clear();
    bench.feed(Input::PoolSize(1));
    assert!(bench.took(&Output::StopChild { child: ChildId(1) }));
    bench.ready(2);
    assert!(bench.took(&Output::StopChild { child: ChildId(2) }));
}

#[test]
fn what_a_retiring_child_gives_back_runs_elsewhere() {
    let mut bench = Bench::new(1);
    let (child, job) = bench.deliver_one("add", "a", "").unwrap();
    bench.feed(Input::Retiring { child }).feed(Input::Returned { child, jobs: vec![job] });
    assert!(bench.take_dispatched().is_empty());
    bench.ready(1);
    let (other, again) = only(bench.take_dispatched());
    assert_eq!((other, again.id), (ChildId(1), job));
    assert!(bench.take_settled().is_empty(), "not counted, not returned");
}

#[test]
fn a_smaller_pool_lets_idle_children_go_and_a_larger_one_asks_for_more() {
    let mut bench = Bench::new(3);
    let (busy, _) = bench.deliver_one("add", "a", "").unwrap();
    bench.out.clear();
    bench.feed(Input::PoolSize(1));
    let stopped = |bench: &Bench| bench.out.iter().filter(|output| matches!(output, Output::StopChild { .. })).count();
    assert_eq!(stopped(&bench), 2);
    assert!(!bench.took(&Output::StopChild { child: busy }));
    spawned(&mut bench);
    bench.feed(Input::PoolSize(2));
    assert_eq!(spawned(&mut bench), 1);
}

#[test]
fn a_child_that_does_not_leave_is_killed() {
    let mut bench = Bench::new(1);
    bench.feed(Input::Retiring { child: ChildId(0) });
    bench.pass(9.0);
    assert!(!bench.took(&Output::Kill { child: ChildId(0) }));
    bench.pass(2.0);
    assert!(bench.took(&Output::Kill { child: ChildId(0) }));
}

#[test]
fn a_child_that_came_too_many_is_sent_away() {
    let mut bench = Bench::new(1);
    bench.ready(7);
    assert!(bench.took(&Output::StopChild { child: ChildId(7) }));
}

/// What becomes of a started and of a queued job when their child dies.
fn deaths(options: TaskOptions) -> Vec<(Option<String>, Disposition, Vec<String>)> {
    let mut bench = Bench::with(config(), vec![options.clone()], 1);
    let (child, job) = bench.deliver_one(&options.name, "a", "").unwrap();
    bench.start(child, job);
    bench.take_ends();
    bench.gone(0, "signal 11 (SIGSEGV)");
    bench.take_ends()
}

#[test]
fn a_job_whose_child_died_goes_back_and_is_counted() {
    let (tag, disposition, states) = only(deaths(task("add")));
    assert_eq!(tag.as_deref(), Some("a"));
    assert_eq!((disposition, states), (Disposition::Requeue { front: true, failed: true }, vec![]));
}

#[test]
fn or_fails_if_its_task_says_so() {
    let (tag, disposition, states) = only(deaths(TaskOptions { reject_on_worker_lost: false, ..task("add") }));
    assert_eq!((tag.as_deref(), disposition, states), (Some("a"), Disposition::Ack, vec!["FAILURE".to_owned()]));
    let quiet = TaskOptions { reject_on_worker_lost: false, ignore_result: true, ..task("add") };
    assert_eq!(only(deaths(quiet.clone())).2, Vec::<String>::new());
    let errors = TaskOptions { store_errors_even_if_ignored: true, ..quiet };
    assert_eq!(only(deaths(errors)).2, ["FAILURE"]);
}

#[test]
fn an_early_acked_one_fails() {
    let (tag, _, states) = only(deaths(TaskOptions { acks_late: false, ..task("add") }));
    assert_eq!((tag, states), (None, vec!["FAILURE".to_owned()]));
}

#[test]
fn a_job_that_had_not_started_goes_to_another_child() {
    let mut bench = Bench::new(2);
    let (child, job) = bench.deliver_one("add", "a", "").unwrap();
    bench.gone(child.0, "signal 9 (SIGKILL)");
    let (other, again) = only(bench.take_dispatched());
    assert_eq!(again.id, job);
    assert_ne!(other, child);
    assert!(bench.take_settled().is_empty());
}

#[test]
fn a_job_that_children_die_of_before_they_can_tell_is_found_out() {
    let mut bench = Bench::new(1);
    bench.deliver(vec![message("add", "poison", "")]);
    for child in 0..2 {
        bench.gone(child, "signal 11 (SIGSEGV)");
        assert!(bench.take_ends().is_empty());
        bench.ready(child + 1);
    }
    bench.gone(2, "signal 11 (SIGSEGV)");
    assert_eq!(only(bench.take_ends()).1, Disposition::Requeue { front: true, failed: true });
}

#[test]
fn frames_of_a_child_that_is_gone_change_nothing() {
    let mut bench = Bench::new(2);
    let (child, job) = bench.deliver_one("add", "a", "").unwrap();
    bench.start(child, job).gone(child.0, "signal 9 (SIGKILL)");
    bench.out.clear();
    bench.start(child, job).finish(child, job, Verdict::Success);
    bench.feed(Input::Returned { child, jobs: vec![job] }).feed(Input::Retiring { child });
    assert!(bench.take_settled().is_empty() && bench.take_dispatched().is_empty());
    assert!(bench.take_notices().is_empty());
}

#[test]
fn what_a_child_said_before_it_died_stands() {
    let mut bench = Bench::new(1);
    let (child, job) = bench.deliver_one("add", "a", "").unwrap();
    bench.start(child, job).finish(child, job, Verdict::Success).gone(0, "signal 9 (SIGKILL)");
    assert_eq!(only(bench.take_ends()).1, Disposition::Ack);
}
