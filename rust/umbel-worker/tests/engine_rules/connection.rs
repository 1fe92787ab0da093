//! Broken connections, lost leases, late confirmations.

use umbel_broker::{Disposition, Tag};
use umbel_worker::engine::{Input, Outcome, Verdict};

use crate::bench::{Bench, follow_up, message, only, outcome, tag_of};

fn lost(tag: &str) -> Input {
    Input::Reconnected { lost: vec![tag_of(tag)] }
}

fn names(tags: Vec<Tag>) -> Vec<String> {
    let mut names: Vec<String> = tags.iter().map(|tag| tag.0.to_string()).collect();
    names.sort();
    names
}

#[test]
fn what_was_not_confirmed_is_given_out_again_in_order() {
    let mut bench = Bench::new(2);
    let (first, one) = bench.deliver_one("add", "a", "").unwrap();
    let (second, two) = bench.deliver_one("early", "b", "").unwrap();
    bench.finish(first, one, Verdict::Success).start(second, two).finish(second, two, Verdict::Success);
    let given = bench.take_settled();
    assert_eq!(given.len(), 3);
    bench.feed(Input::Settled { count: 1, lost: vec![], entered: vec![] }).feed(Input::Disconnected);
    assert_eq!(names(bench.engine.held_tags()), ["b"]);
    assert!(bench.take_settled().is_empty(), "nobody is there");
    bench.feed(Input::Reconnected { lost: vec![] });
    assert_eq!(bench.take_settled(), given[1..], "results alone are repeated as well");
    bench.feed(Input::Settled { count: 2, lost: vec![tag_of("b")], entered: vec![] });
    assert!(bench.engine.held_tags().is_empty());
}

#[test]
fn children_work_on_while_nobody_is_connected() {
    let mut bench = Bench::new(1);
    bench.deliver(vec![message("add", "a", ""), message("add", "b", "")]);
    bench.feed(Input::Disconnected);
    let (child, job) = only(bench.take_dispatched());
    bench.start(child, job.id).finish(child, job.id, Verdict::Success);
    let (child, job) = only(bench.take_dispatched());
    bench.finish(child, job.id, Verdict::Success);
    assert!(bench.take_settled().is_empty() && bench.engine.held_tags().len() == 2);
    bench.feed(Input::Reconnected { lost: vec![] });
    assert_eq!(bench.take_settled().len(), 2);
}

#[test]
fn a_lost_job_that_runs_stores_its_result_and_nothing_else() {
    let mut bench = Bench::new(1);
    let (child, job) = bench.deliver_one("add", "a", "").unwrap();
    bench.start(child, job).feed(Input::Disconnected).feed(lost("a"));
    assert!(bench.engine.held_tags().is_empty());
    bench.feed(Input::Finished {
        child,
        outcome: Outcome { publish: vec![follow_up()], ..outcome(job, Verdict::Success) },
    });
    let settlement = only(bench.take_settled());
    assert_eq!((settlement.tag, settlement.publish.len(), settlement.results.len()), (None, 0, 1));
}

#[test]
fn a_lost_job_whose_child_dies_is_nobodys_here() {
    let mut bench = Bench::new(1);
    let (child, job) = bench.deliver_one("add", "a", "").unwrap();
    bench.start(child, job).feed(Input::Disconnected).feed(lost("a")).gone(0, "signal 9 (SIGKILL)");
    assert!(bench.take_settled().is_empty());
}

#[test]
fn a_lost_job_that_has_not_started_will_not() {
    let mut bench = Bench::new(1);
    bench.deliver(vec![message("add", "a", ""), message("add", "b", ""), message("add", "c", &eta_soon())]);
    let (child, job) = only(bench.take_dispatched());
    bench.feed(Input::Disconnected);
    bench.feed(Input::Reconnected { lost: vec![tag_of("a"), tag_of("b"), tag_of("c")] });
    assert_eq!(bench.take_recalls(), [(child, vec![job.id])]);
    bench.feed(Input::Returned { child, jobs: vec![job.id] });
    bench.pass(3.0);
    assert!(bench.take_dispatched().is_empty() && bench.take_settled().is_empty());
    assert!(bench.engine.held_tags().is_empty());
}

fn eta_soon() -> String {
    format!("\"eta\": \"{}\"", crate::bench::iso(1.5))
}

#[test]
fn a_lost_job_that_started_before_it_could_be_recalled_runs_once() {
    let mut bench = Bench::new(1);
    let (child, job) = bench.deliver_one("add", "a", "").unwrap();
    bench.feed(Input::Disconnected).feed(lost("a"));
    bench.start(child, job).feed(Input::Returned { child, jobs: vec![] }).finish(child, job, Verdict::Success);
    assert_eq!(only(bench.take_settled()).tag, None);
}

#[test]
fn an_early_ack_that_came_too_late_takes_the_follow_ups_away() {
    let mut bench = Bench::new(1);
    let (child, job) = bench.deliver_one("early", "a", "").unwrap();
    bench.start(child, job);
    bench.take_settled();
    bench.feed(Input::Settled { count: 1, lost: vec![tag_of("a")], entered: vec![] });
    bench.feed(Input::Finished {
        child,
        outcome: Outcome { publish: vec![follow_up()], ..outcome(job, Verdict::Success) },
    });
    assert!(only(bench.take_settled()).publish.is_empty());
}

#[test]
fn but_not_when_the_broker_may_have_had_it_before() {
    let mut bench = Bench::new(1);
    let (child, job) = bench.deliver_one("early", "a", "").unwrap();
    bench.start(child, job).feed(Input::Disconnected).feed(lost("a"));
    bench.take_settled();
    bench.feed(Input::Settled { count: 1, lost: vec![tag_of("a")], entered: vec![] });
    bench.feed(Input::Finished {
        child,
        outcome: Outcome { publish: vec![follow_up()], ..outcome(job, Verdict::Success) },
    });
    assert_eq!(only(bench.take_settled()).publish.len(), 1);
}

#[test]
fn an_answer_after_the_break_confirms_nothing() {
    let mut bench = Bench::new(1);
    let (child, job) = bench.deliver_one("add", "a", "").unwrap();
    bench.finish(child, job, Verdict::Success).feed(Input::Disconnected);
    bench.feed(Input::Settled { count: 1, lost: vec![], entered: vec![] });
    assert_eq!(bench.engine.held_tags().len(), 1);
    bench.take_settled();
    bench.feed(Input::Reconnected { lost: vec![] });
    assert_eq!(only(bench.take_ends()).1, Disposition::Ack);
}
