//! Concurrency limits: when the broker is asked for slots, and when they are given up.

use std::collections::HashMap;

use umbel_broker::{Disposition, GivenUp, Revocation, Revoked, Settlement, Slot};
use umbel_protocol::Timestamp;
use umbel_worker::engine::{EngineConfig, Input, ShutdownKind, TaskOptions, Verdict};

use crate::bench::{Bench, START, config, message, only, tag_of, task};

fn bench(children: u32) -> Bench {
    let few = TaskOptions { concurrency_limit: Some(2), ..task("few") };
    let early = TaskOptions { acks_late: false, concurrency_limit: Some(2), ..task("early") };
    let keyed = TaskOptions { concurrency_limit: Some(1), concurrency_keyed: true, ..task("keyed") };
    Bench::with(config(), vec![few, early, keyed, task("add")], children)
}

fn slot(name: &str, limit: u32) -> Slot {
    Slot { name: name.into(), limit }
}

fn gives_up(name: &str, limit: u32, tag: &str) -> Vec<GivenUp> {
    vec![GivenUp::Slot { slot: slot(name, limit), holder: tag_of(tag) }]
}

/// Tags and slots that the broker is asked for, in order; nothing else is settled.
fn asked(bench: &mut Bench) -> Vec<(String, Vec<Slot>)> {
    let question = |settlement: Settlement| match settlement.disposition {
        Disposition::Enter(slots) => (settlement.tag.unwrap().0.to_string(), slots),
        other => panic!("{other:?}"),
    };
    bench.take_settled().into_iter().map(question).collect()
}

fn answer(bench: &mut Bench, count: usize, entered: &[&str]) {
    let entered = entered.iter().map(|tag| tag_of(tag)).collect();
    bench.feed(Input::Settled { count, lost: vec![], entered });
}

fn dispatched(bench: &mut Bench) -> Vec<String> {
    bench.take_dispatched().into_iter().map(|(_, job)| job.facts.id.clone()).collect()
}

#[test]
fn the_broker_is_asked_and_others_go_on() {
    let mut bench = bench(4);
    bench.deliver(vec![message("few", "a", ""), message("few", "b", ""), message("few", "c", "")]);
    bench.deliver(vec![message("add", "x", "")]);
    assert_eq!(dispatched(&mut bench), ["x"]);
    let few = || vec![slot("task:few", 2)];
    assert_eq!(asked(&mut bench), [("a".into(), few()), ("b".into(), few()), ("c".into(), few())]);

    answer(&mut bench, 3, &["a", "b"]);

    assert_eq!(dispatched(&mut bench), ["a", "b"]);
    assert_eq!(bench.take_settled(), [], "what waits in the broker is no business of ours");
    let mut held = bench.engine.held_tags();
    held.sort();
    assert_eq!(held, ["a", "b", "x"].map(tag_of));
    assert_eq!(bench.engine.stats().totals.delayed, 1);
}

#[test]
fn slots_are_given_up_with_the_message() {
    for (verdict, front) in [(Verdict::Success, None), (Verdict::Retry, None), (Verdict::Requeue, Some(false))] {
        let mut bench = bench(1);
        bench.deliver(vec![message("few", "a", "")]);
        asked(&mut bench);
        answer(&mut bench, 1, &["a"]);
        let (child, job) = only(bench.take_dispatched());
        bench.start(child, job.id).finish(child, job.id, verdict);
        let end = only(bench.take_settled());
        let expected = front.map_or(Disposition::Ack, |front| Disposition::Requeue { front, failed: false });
        assert_eq!((end.disposition, end.gives_up), (expected, gives_up("task:few", 2, "a")));
    }
}

#[test]
fn one_acknowledged_early_has_its_slot_to_its_end() {
    let mut bench = bench(1);
    bench.deliver(vec![message("early", "a", "")]);
    asked(&mut bench);
    answer(&mut bench, 1, &["a"]);
    let (child, job) = only(bench.take_dispatched());
    bench.start(child, job.id);
    let ack = only(bench.take_settled());
    assert_eq!((ack.tag, ack.gives_up), (Some(tag_of("a")), vec![]));
    bench.finish(child, job.id, Verdict::Success);
    let end = only(bench.take_settled());
    assert_eq!((end.tag, end.gives_up), (None, gives_up("task:early", 2, "a")));
}

#[test]
fn a_job_that_lost_its_child_keeps_its_slot_or_gives_it_up() {
    let mut bench = bench(2);
    bench.deliver(vec![message("few", "a", ""), message("few", "b", "")]);
    asked(&mut bench);
    answer(&mut bench, 2, &["a", "b"]);
    let jobs = bench.take_dispatched();
    bench.start(jobs[0].0, jobs[0].1.id);
    bench.gone(jobs[1].0.0, "exit code 1").ready(2);
    assert_eq!(dispatched(&mut bench), ["b"], "it had not started, and has its slot");
    bench.gone(jobs[0].0.0, "signal 11 (SIGSEGV)");
    let end = only(bench.take_settled());
    assert_eq!((end.tag, end.gives_up), (Some(tag_of("a")), gives_up("task:few", 2, "a")));
}

#[test]
fn keys_and_queues_have_limits_of_their_own() {
    let mut bench = bench(2);
    bench.deliver(vec![
        message("keyed", "a", r#""umbel_concurrency_key": "k1""#),
        message("keyed", "b", r#""umbel_concurrency_key": "k2""#),
        message("keyed", "c", ""),
        message("keyed", "d", r#""umbel_concurrency_key": 7"#),
    ]);
    let names: Vec<String> = asked(&mut bench).into_iter().map(|(_, slots)| only(slots).name).collect();
    assert_eq!(names, ["task:keyed:k1", "task:keyed:k2", "task:keyed", "task:keyed"]);

    let queue_limits = HashMap::from([("celery".to_owned(), 3)]);
    let few = TaskOptions { concurrency_limit: Some(2), ..task("few") };
    let mut bench = Bench::with(EngineConfig { queue_limits, ..config() }, vec![few, task("add")], 1);
    bench.deliver(vec![message("add", "a", "")]);
    assert_eq!(asked(&mut bench), [("a".into(), vec![slot("queue:celery", 3)])]);
    answer(&mut bench, 1, &[]);
    bench.deliver(vec![message("few", "b", "")]);
    assert_eq!(asked(&mut bench), [("b".into(), vec![slot("task:few", 2), slot("queue:celery", 3)])]);
}

#[test]
fn what_does_not_run_wakes_another() {
    let mut bench = bench(1);
    bench.deliver(vec![message("few", "a", r#""expires": "2001-01-01T00:00:00""#)]);
    let end = only(bench.take_settled());
    assert_eq!((end.disposition, end.gives_up), (Disposition::Ack, gives_up("task:few", 2, "a")));
}

#[test]
fn a_question_is_asked_again_after_a_lost_connection() {
    let mut bench = bench(3);
    bench.deliver(vec![message("few", "a", ""), message("few", "b", ""), message("few", "c", "")]);
    assert_eq!(asked(&mut bench).len(), 3);
    bench.feed(Input::Disconnected);
    assert_eq!(bench.engine.held_tags().len(), 3, "each once");
    // One of them waits already: it is not held any more.
    bench.feed(Input::Reconnected { lost: vec![tag_of("b")] });
    assert_eq!(asked(&mut bench).len(), 3);
    bench.feed(Input::Settled { count: 3, lost: vec![tag_of("b")], entered: vec![tag_of("a"), tag_of("c")] });
    assert_eq!(dispatched(&mut bench), ["a", "c"]);
}

#[test]
fn who_is_revoked_while_the_broker_is_asked_ends() {
    let mut bench = bench(1);
    bench.deliver(vec![message("few", "a", "")]);
    asked(&mut bench);
    let until = Timestamp(START.0 + 3_600_000_000);
    let revocations = vec![Revocation { what: Revoked::Task("a".into()), until }];
    bench.feed(Input::Revoke { revocations, signal: None });
    let end = only(bench.take_settled());
    assert_eq!((end.disposition, end.gives_up), (Disposition::Ack, gives_up("task:few", 2, "a")));
    answer(&mut bench, 1, &["a"]);
    assert_eq!(dispatched(&mut bench), [""; 0]);
}

#[test]
fn who_waits_for_the_answer_goes_back_when_the_worker_ends() {
    let mut bench = bench(1);
    bench.deliver(vec![message("few", "a", "")]);
    asked(&mut bench);
    bench.shut_down(ShutdownKind::Warm);
    let back = only(bench.take_settled());
    assert_eq!(back.disposition, Disposition::Requeue { front: true, failed: false });
    assert_eq!(back.gives_up, gives_up("task:few", 2, "a"));
    answer(&mut bench, 2, &["a"]);
    assert_eq!(dispatched(&mut bench), [""; 0]);
}

#[test]
fn a_slot_comes_before_the_turn_of_a_rate_limit() {
    let both = TaskOptions { concurrency_limit: Some(2), rate_limit: Some(1.0), ..task("both") };
    let mut bench = Bench::with(config(), vec![both], 2);
    bench.deliver(vec![message("both", "a", ""), message("both", "b", "")]);
    asked(&mut bench);
    answer(&mut bench, 2, &["a", "b"]);
    assert_eq!(dispatched(&mut bench), ["a"]);
    bench.pass(1.1);
    assert_eq!(dispatched(&mut bench), ["b"]);
    assert_eq!(bench.take_settled(), [], "it is asked once");
}
