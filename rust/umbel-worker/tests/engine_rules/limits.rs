//! Soft and hard time limits.

use std::time::Duration;

use umbel_broker::Disposition;
use umbel_worker::engine::{Cancel, ChildId, Input, JobId, Notice, Output, TaskOptions, Verdict};

use crate::bench::{Bench, config, message, only, task};

fn limited() -> TaskOptions {
    TaskOptions {
        time_limit: Some(Duration::from_secs(10)),
        soft_time_limit: Some(Duration::from_secs(5)),
        ..task("add")
    }
}

fn running(options: TaskOptions, more: &str) -> (Bench, ChildId, JobId) {
    let name = options.name.clone();
    let mut bench = Bench::with(config(), vec![options], 1);
    let (child, job) = bench.deliver_one(&name, "a", more).unwrap();
    bench.start(child, job);
    bench.take_ends();
    (bench, child, job)
}

#[test]
fn soft_comes_first_then_hard() {
    let (mut bench, child, job) = running(limited(), "");
    bench.pass(4.9);
    assert!(!bench.took(&Output::SoftLimit { child, job }));
    bench.pass(0.2);
    assert!(bench.took(&Output::SoftLimit { child, job }));
    bench.pass(4.8);
    assert!(!bench.took(&Output::SoftLimit { child, job }), "once");
    assert!(!bench.took(&Output::Kill { child }));
    bench.pass(0.2);
    assert!(bench.took(&Output::Kill { child }));
    bench.pass(5.0);
    assert!(!bench.took(&Output::Kill { child }), "once");
    let limits: Vec<(bool, f64)> = bench
        .take_notices()
        .into_iter()
        .filter_map(|notice| match notice {
            Notice::Limit { hard, seconds, .. } => Some((hard, seconds)),
            _ => None,
        })
        .collect();
    assert_eq!(limits, [(false, 5.0), (true, 10.0)]);
}

#[test]
fn the_headers_limits_win_over_the_tasks() {
    let (mut bench, child, job) = running(limited(), "\"timelimit\": [3, 1]");
    bench.pass(1.1);
    assert!(bench.took(&Output::SoftLimit { child, job }));
    bench.pass(2.0);
    assert!(bench.took(&Output::Kill { child }));
    let (mut bench, child, _) = running(limited(), "\"timelimit\": [null, null]");
    bench.pass(10.1);
    assert!(bench.took(&Output::Kill { child }));
}

#[test]
fn the_hooks_of_a_job_killed_at_its_limit_are_called_by_another() {
    let plain = TaskOptions { ignore_result: true, ..limited() };
    let (mut bench, _, _) = running(plain.clone(), "");
    bench.pass(10.1).gone(0, "signal 9 (SIGKILL)");
    assert!(only(bench.take_settled()).publish.is_empty(), "it has none");

    let (mut bench, _, _) = running(TaskOptions { tells_failures: true, ..plain }, "");
    bench.pass(10.1).gone(0, "signal 9 (SIGKILL)");
    let settlement = only(bench.take_settled());
    assert!(settlement.results.is_empty(), "it stores nothing");
    let headers = only(settlement.publish).message.headers;
    assert!(headers.contains("umbel.fail_dependents") && headers.contains("TimeLimitExceeded"), "{headers}");
}

#[test]
fn a_job_killed_at_its_limit_fails_with_time_limit_exceeded() {
    let (mut bench, _, _) = running(limited(), "");
    bench.pass(10.1).gone(0, "signal 9 (SIGKILL)");
    let settlement = only(bench.take_settled());
    assert_eq!(settlement.disposition, Disposition::Ack);
    let record = String::from_utf8(settlement.results[0].record.clone()).unwrap();
    assert!(record.contains("\"TimeLimitExceeded\"") && record.contains("[10]"), "{record}");
}

#[test]
fn its_record_tells_every_try() {
    let earlier = r#""retries": 1, "umbel_attempts": [{"retries": 0, "state": "RETRY", "why": "x"}, "no try"]"#;
    let (mut bench, _, _) = running(limited(), earlier);
    bench.pass(10.1).gone(0, "signal 9 (SIGKILL)");
    let settlement = only(bench.take_settled());
    let record = String::from_utf8(settlement.results[0].record.clone()).unwrap();
    let (_, tries) = record.split_once(r#""attempts": "#).unwrap();
    let known = r#"[{"retries": 0, "state": "RETRY", "why": "x"}, {"retries": 1, "state": "FAILURE", "worker": ""#;
    assert!(tries.starts_with(known), "{tries}");
    assert!(tries.contains(r#""why": "TimeLimitExceeded(10)"}], "task_id": "#), "{tries}");
    assert!(tries.contains(r#""started": ""#), "{tries}");
}

#[test]
fn or_goes_back_when_acks_on_timeout_is_off() {
    let (mut bench, _, _) = running(TaskOptions { acks_on_timeout: false, ..limited() }, "");
    bench.pass(10.1).gone(0, "signal 9 (SIGKILL)");
    let (_, disposition, states) = only(bench.take_ends());
    assert_eq!((disposition, states.len()), (Disposition::Requeue { front: false, failed: true }, 0));
}

#[test]
fn an_early_acked_job_fails_as_well() {
    let (mut bench, _, _) = running(TaskOptions { acks_late: false, ..limited() }, "");
    bench.pass(10.1).gone(0, "signal 9 (SIGKILL)");
    let (tag, _, states) = only(bench.take_ends());
    assert_eq!((tag, states), (None, vec!["FAILURE".to_owned()]));
}

#[test]
fn a_job_that_ends_before_its_child_dies_has_ended() {
    let (mut bench, child, job) = running(limited(), "");
    bench.pass(10.1).finish(child, job, Verdict::Success).gone(0, "signal 9 (SIGKILL)");
    let (_, disposition, states) = only(bench.take_ends());
    assert_eq!((disposition, states), (Disposition::Ack, vec!["SUCCESS".to_owned()]));
}

/// One job with limits and two without at a child with three slots; the last has not started.
fn among_others(limited: TaskOptions) -> (Bench, Vec<JobId>) {
    let mut bench = Bench::with(config(), vec![limited, task("other")], 0);
    bench.feed(Input::PoolSize(1)).feed(Input::ChildReady { child: ChildId(0), slots: 3, killable: true });
    bench.deliver(vec![message("add", "long", ""), message("other", "beside", ""), message("other", "queued", "")]);
    let jobs: Vec<JobId> = bench.take_dispatched().into_iter().map(|(_, job)| job.id).collect();
    bench.feed(Input::Started { child: ChildId(0), jobs: jobs[..2].to_vec() });
    (bench, jobs)
}

#[test]
fn a_job_among_others_is_cancelled_before_its_child_is_killed() {
    let (mut bench, jobs) = among_others(limited());
    let (child, job) = (ChildId(0), jobs[0]);
    bench.pass(10.1);
    assert!(bench.took(&Output::Cancel { child, job, why: Cancel::TimeLimit }));
    assert!(!bench.took(&Output::Kill { child }));
    bench.pass(4.8);
    assert!(!bench.took(&Output::Kill { child }));
    bench.pass(0.2);
    assert!(bench.took(&Output::Kill { child }));
    let told = bench.take_notices().into_iter().filter(|notice| matches!(notice, Notice::Limit { hard: true, .. }));
    assert_eq!(told.count(), 1);
}

#[test]
fn a_cancelled_job_fails_and_its_child_lives() {
    let (mut bench, jobs) = among_others(limited());
    bench.pass(10.1).finish(ChildId(0), jobs[0], Verdict::Failure);
    assert_eq!(only(bench.take_ends()).1, Disposition::Ack);
    bench.pass(60.0);
    assert!(!bench.took(&Output::Kill { child: ChildId(0) }));
}

#[test]
fn a_cancelled_job_follows_acks_on_timeout_and_not_acks_on_failure() {
    let (mut bench, jobs) = among_others(TaskOptions { acks_on_failure: false, ..limited() });
    bench.pass(10.1).finish(ChildId(0), jobs[0], Verdict::Failure);
    assert_eq!(only(bench.take_ends()).1, Disposition::Ack);
    let (mut bench, jobs) = among_others(TaskOptions { acks_on_timeout: false, ..limited() });
    bench.pass(10.1).finish(ChildId(0), jobs[0], Verdict::Failure);
    let (_, disposition, states) = only(bench.take_ends());
    assert_eq!((disposition, states.len()), (Disposition::Requeue { front: false, failed: true }, 0));
}

#[test]
fn a_job_that_ends_well_in_spite_of_being_cancelled_has_succeeded() {
    let (mut bench, jobs) = among_others(TaskOptions { acks_on_timeout: false, ..limited() });
    bench.pass(10.1).finish(ChildId(0), jobs[0], Verdict::Success);
    assert_eq!(only(bench.take_ends()).1, Disposition::Ack);
}

#[test]
fn jobs_beside_the_one_that_overran_are_not_blamed() {
    let (mut bench, jobs) = among_others(limited());
    bench.pass(10.1).pass(5.1).gone(0, "signal 9 (SIGKILL)");
    let ends = bench.take_ends();
    assert_eq!(ends.len(), 2, "{ends:?}");
    let beside = ends.iter().find(|end| end.0.as_deref() == Some("beside")).unwrap();
    assert_eq!(beside.1, Disposition::Requeue { front: true, failed: false });
    bench.ready(1);
    assert_eq!(only(bench.take_dispatched()).1.id, jobs[2]);
}

#[test]
fn many_limits_pass_in_their_order() {
    let mut bench = Bench::with(config(), vec![limited()], 3);
    for (name, limit) in [("a", 6), ("b", 2), ("c", 4)] {
        let (child, job) = bench.deliver_one("add", name, &format!("\"timelimit\": [{limit}, null]")).unwrap();
        bench.start(child, job);
    }
    let mut killed = Vec::new();
    for second in 1..8 {
        bench.pass(1.0);
        let kills =
            bench.out.iter().filter_map(|output| if let Output::Kill { child } = output { Some(*child) } else { None });
        killed.extend(kills.map(|child| (second, child.0)));
        bench.out.clear();
    }
    assert_eq!(killed, [(2, 1), (4, 2), (6, 0)]);
}

#[test]
fn a_pool_in_this_process_is_not_killed() {
    let mut bench = Bench::with(config(), vec![limited()], 0);
    bench.feed(Input::PoolSize(1)).feed(Input::ChildReady { child: ChildId(0), slots: 1, killable: false });
    let (child, job) = bench.deliver_one("add", "a", "").unwrap();
    bench.start(child, job).pass(60.0);
    assert!(!bench.out.iter().any(|output| matches!(output, Output::Kill { .. } | Output::SoftLimit { .. })));
}

#[test]
fn setting_the_clock_kills_nobody() {
    let (mut bench, child, _) = running(limited(), "");
    bench.now.0 += 4_000_000_000_000;
    bench.feed(Input::Tick);
    assert!(!bench.took(&Output::Kill { child }), "forward");
    bench.now.0 -= 8_000_000_000_000;
    bench.feed(Input::Tick);
    bench.pass(4.0);
    assert!(!bench.took(&Output::Kill { child }), "back");
    bench.pass(7.0);
    assert!(bench.took(&Output::Kill { child }), "its time still runs");
}
