//! What the broker is told at the end of a job.

use umbel_broker::{DeadReason, Disposition};
use umbel_worker::engine::{Input, JobId, Output, TaskOptions, Verdict};

use crate::bench::{Bench, config, follow_up, only, outcome, task};

fn reject() -> Verdict {
    Verdict::Reject(DeadReason { kind: "rejected".into(), detail: "no thanks".into() })
}

fn end_of(options: TaskOptions, verdict: Verdict) -> Vec<(Option<String>, Disposition, Vec<String>)> {
    let mut bench = Bench::with(config(), vec![options.clone()], 1);
    let (child, job) = bench.deliver_one(&options.name, "a", "").unwrap();
    bench.start(child, job).finish(child, job, verdict);
    bench.take_ends()
}

#[test]
fn a_late_ack_follows_the_verdict() {
    let back = Disposition::Requeue { front: false, failed: false };
    for (verdict, expected) in [
        (Verdict::Success, Disposition::Ack),
        (Verdict::Failure, Disposition::Ack),
        (Verdict::Retry, Disposition::Ack),
        (Verdict::Ignored, Disposition::Ack),
        (Verdict::Requeue, back),
        (reject(), Disposition::Dead(DeadReason { kind: "rejected".into(), detail: "no thanks".into() })),
    ] {
        let (tag, disposition, _) = only(end_of(task("add"), verdict.clone()));
        assert_eq!((tag.as_deref(), disposition), (Some("a"), expected), "{verdict:?}");
    }
}

#[test]
fn a_failure_is_rejected_when_acks_on_failure_is_off() {
    let strict = TaskOptions { acks_on_failure: false, ..task("strict") };
    let (_, disposition, states) = only(end_of(strict, Verdict::Failure));
    assert!(matches!(disposition, Disposition::Dead(reason) if reason.kind == "rejected"));
    assert_eq!(states, ["FAILURE"]);
}

#[test]
fn an_early_ack_goes_out_at_the_start_and_the_result_follows_alone() {
    let early = TaskOptions { acks_late: false, ..task("early") };
    for verdict in [Verdict::Success, Verdict::Failure, Verdict::Retry] {
        let ends = end_of(early.clone(), verdict);
        assert_eq!(ends[0], (Some("a".into()), Disposition::Ack, vec![]));
        assert_eq!((&ends[1].0, ends[1].2.len()), (&None, 1));
    }
    for verdict in [Verdict::Requeue, reject(), Verdict::Ignored] {
        assert_eq!(end_of(early.clone(), verdict).len(), 1, "nothing left to say");
    }
}

#[test]
fn an_end_without_a_start_is_one_settlement() {
    let mut bench = Bench::new(1);
    let (child, job) = bench.deliver_one("early", "a", "").unwrap();
    bench.finish(child, job, Verdict::Success);
    let (tag, disposition, states) = only(bench.take_ends());
    assert_eq!((tag.as_deref(), disposition, states), (Some("a"), Disposition::Ack, vec!["SUCCESS".to_owned()]));
}

#[test]
fn what_could_not_be_decoded_is_kept_even_with_early_acks() {
    let mut bench = Bench::new(1);
    let (child, job) = bench.deliver_one("early", "a", "").unwrap();
    bench.finish(child, job, reject());
    assert!(matches!(only(bench.take_ends()).1, Disposition::Dead(_)));
}

#[test]
fn follow_ups_go_with_the_ack() {
    let mut bench = Bench::new(1);
    let (child, job) = bench.deliver_one("add", "a", "").unwrap();
    let outcome = umbel_worker::engine::Outcome { publish: vec![follow_up()], ..outcome(job, Verdict::Success) };
    bench.feed(Input::Finished { child, outcome });
    assert_eq!(only(bench.take_settled()).publish, [follow_up()]);
}

#[test]
fn progress_is_stored_while_the_job_runs_and_not_after() {
    let mut bench = Bench::new(1);
    let (child, job) = bench.deliver_one("add", "a", "").unwrap();
    let started = outcome(job, Verdict::Success).result.unwrap();
    bench.start(child, job).feed(Input::Progress { job, result: started.clone() });
    let settlement = only(bench.take_settled());
    assert_eq!((settlement.tag, settlement.results), (None, vec![started.clone()]));
    bench.finish(child, job, Verdict::Success);
    bench.take_settled();
    bench.feed(Input::Progress { job, result: started });
    assert!(bench.take_settled().is_empty());
}

#[test]
fn an_end_is_told_once() {
    let mut bench = Bench::new(2);
    let (child, job) = bench.deliver_one("add", "a", "").unwrap();
    bench.start(child, job).finish(child, job, Verdict::Success);
    bench.take_settled();
    bench.finish(child, job, Verdict::Failure);
    bench.finish(child, JobId(99), Verdict::Success);
    assert!(bench.take_settled().is_empty());
}

#[test]
fn settlements_of_one_round_are_one_batch() {
    let mut bench = Bench::new(2);
    let (first, one) = bench.deliver_one("add", "a", "").unwrap();
    let (second, two) = bench.deliver_one("add", "b", "").unwrap();
    bench.out.clear();
    bench.finish(first, one, Verdict::Success).finish(second, two, Verdict::Success);
    let batches = bench.out.iter().filter(|output| matches!(output, Output::Settle(_))).count();
    assert_eq!((batches, bench.take_settled().len()), (1, 2));
}
