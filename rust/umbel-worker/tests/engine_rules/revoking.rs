//! Tasks that are not to run.

use umbel_broker::{Disposition, Revocation, Revoked};
use umbel_protocol::{Message, Timestamp};
use umbel_worker::engine::{Cancel, ChildId, Input, JobId, Notice, Output, ShutdownKind, Verdict};

use crate::bench::{Bench, START, config, iso, message, only, task};

const TERM: i32 = 15;
const KILL: i32 = 9;

fn until(seconds: i64) -> Timestamp {
    Timestamp(START.0 + seconds * 1_000_000)
}

fn revoke(id: &str, signal: Option<i32>) -> Input {
    let what = Revoked::Task(id.to_owned());
    Input::Revoke { revocations: vec![Revocation { what, until: until(3600) }], signal }
}

fn stamped(id: &str, tenant: &str) -> Message {
    message("add", id, &format!(r#""stamped_headers": ["tenant"], "stamps": {{"tenant": {tenant}}}"#))
}

/// Tags that ended as revoked: done with, with a record that says so.
fn revoked(bench: &mut Bench) -> Vec<String> {
    let ends = bench.take_ends().into_iter();
    let mut tags: Vec<String> = ends
        .map(|(tag, disposition, states)| {
            assert_eq!((disposition, states), (Disposition::Ack, vec!["REVOKED".to_owned()]));
            tag.expect("its message is settled")
        })
        .collect();
    tags.sort();
    tags
}

fn notices(bench: &mut Bench) -> Vec<Notice> {
    let all = bench.take_notices().into_iter();
    all.filter(|notice| !matches!(notice, Notice::Received(_) | Notice::ChildGone { .. })).collect()
}

fn running(children: u32, task: &str) -> (Bench, ChildId, JobId) {
    let mut bench = Bench::new(children);
    let (child, job) = bench.deliver_one(task, "a", "").expect("dispatched");
    bench.start(child, job);
    bench.take_ends();
    bench.take_notices();
    (bench, child, job)
}

#[test]
fn what_was_revoked_before_it_came_does_not_run() {
    let mut bench = Bench::new(1);
    bench.feed(revoke("a", None));
    let far = format!("\"eta\": \"{}\"", iso(600.0));
    assert_eq!(bench.deliver_one("add", "a", ""), None);
    assert_eq!(revoked(&mut bench), ["a"]);
    assert_eq!(bench.deliver_one("add", "a", &far), None, "nor is it put off");
    assert_eq!(revoked(&mut bench), ["a"]);
    let discarded = Notice::Discarded { task: "add".into(), id: "a".into(), why: "revoked" };
    assert_eq!(notices(&mut bench), [discarded.clone(), discarded]);
    assert!(bench.deliver_one("add", "b", "").is_some());
    assert_eq!(bench.engine.stats().totals.revoked, 2);
}

#[test]
fn a_revocation_ends_and_the_later_end_counts() {
    let mut bench = Bench::new(2);
    bench.feed(revoke("a", None));
    let sooner = Revocation { what: Revoked::Task("a".into()), until: until(1) };
    bench.feed(Input::Revoke { revocations: vec![sooner], signal: None });
    bench.pass(3599.0);
    assert_eq!(bench.engine.revoked(bench.now), ["a"]);
    assert_eq!(bench.deliver_one("add", "a", ""), None);
    bench.pass(1.0);
    assert_eq!(bench.engine.revoked(bench.now), [""; 0]);
    assert!(bench.deliver_one("add", "a", "").is_some());
}

#[test]
fn many_revocations_are_swept_when_they_have_ended() {
    let mut bench = Bench::new(1);
    for number in 0..3000 {
        let what = Revoked::Task(format!("id-{number}"));
        let end = until(if number < 2000 { 1 } else { 3600 });
        bench.feed(Input::Revoke { revocations: vec![Revocation { what, until: end }], signal: None });
    }
    bench.pass(2.0);
    assert_eq!(bench.engine.revoked(bench.now).len(), 1000);
}

#[test]
fn waiting_and_timed_jobs_end_at_once() {
    let mut bench = Bench::with(config(), vec![task("add")], 0);
    let soon = format!("\"eta\": \"{}\"", iso(1.0));
    bench.deliver(vec![message("add", "waits", ""), message("add", "timed", &soon), message("add", "other", "")]);
    bench.feed(revoke("waits", None)).feed(revoke("timed", Some(TERM)));
    assert_eq!(revoked(&mut bench), ["timed", "waits"]);
    bench.feed(Input::PoolSize(1)).ready(0).pass(2.0);
    let ran: Vec<String> = bench.take_dispatched().into_iter().map(|(_, job)| job.facts.id.clone()).collect();
    assert_eq!(ran, ["other"]);
}

#[test]
fn a_job_on_its_way_to_a_child_is_taken_back() {
    let mut bench = Bench::new(1);
    let (child, job) = bench.deliver_one("add", "a", "").expect("dispatched");
    bench.feed(revoke("a", None));
    assert_eq!(bench.take_recalls(), [(child, vec![job])]);
    bench.feed(Input::Returned { child, jobs: vec![job] });
    assert_eq!(revoked(&mut bench), ["a"]);
    assert_eq!(bench.take_dispatched(), []);
}

#[test]
fn one_that_had_started_by_then_runs_on() {
    let mut bench = Bench::new(1);
    let (child, job) = bench.deliver_one("add", "a", "").expect("dispatched");
    bench.feed(revoke("a", None)).start(child, job);
    assert!(!bench.took(&Output::Kill { child }));
    bench.finish(child, job, Verdict::Success);
    assert_eq!(only(bench.take_ends()).2, ["SUCCESS"]);
}

#[test]
fn one_that_had_started_by_then_is_terminated_if_that_was_asked() {
    let mut bench = Bench::new(1);
    let (child, job) = bench.deliver_one("add", "a", "").expect("dispatched");
    bench.feed(revoke("a", Some(TERM)));
    assert!(!bench.took(&Output::Signal { child, signal: TERM }), "not before it runs");
    bench.start(child, job);
    assert!(bench.took(&Output::Signal { child, signal: TERM }));
}

#[test]
fn a_running_task_is_left_alone_without_terminate() {
    let (mut bench, child, job) = running(1, "add");
    bench.feed(revoke("a", None));
    assert_eq!((bench.take_ends(), bench.took(&Output::Kill { child })), (vec![], false));
    bench.finish(child, job, Verdict::Success);
    assert_eq!(only(bench.take_ends()).2, ["SUCCESS"]);
}

#[test]
fn a_terminated_task_ends_with_its_process_and_is_done_with() {
    for (name, signal) in [("add", TERM), ("add", KILL), ("early", TERM)] {
        let (mut bench, child, _) = running(1, name);
        bench.feed(revoke("a", Some(signal)));
        let wanted = if signal == KILL { Output::Kill { child } } else { Output::Signal { child, signal } };
        assert!(bench.took(&wanted), "{wanted:?}");
        assert_eq!(bench.take_ends(), [], "not before the process is gone");
        bench.gone(0, "signal 15 (SIGTERM)");
        let (_, disposition, states) = only(bench.take_ends());
        assert_eq!((disposition, states), (Disposition::Ack, vec!["REVOKED".to_owned()]));
        let all = bench.take_notices();
        let terminated = Notice::Terminated { task: name.into(), id: "a".into(), signal };
        assert!(all.contains(&terminated), "{all:?}");
        assert!(all.iter().any(|notice| matches!(notice, Notice::ChildGone { expected: true, .. })), "{all:?}");
        assert!(bench.took(&Output::Spawn { count: 1 }), "the next one is asked for at once");
    }
}

#[test]
fn what_was_beside_a_terminated_task_goes_back_and_counts_no_failure() {
    let mut bench = Bench::with(config(), vec![task("add")], 0);
    bench.feed(Input::PoolSize(1));
    bench.feed(Input::ChildReady { child: ChildId(0), slots: 2, killable: true });
    bench.deliver(vec![message("add", "a", ""), message("add", "b", ""), message("add", "c", "")]);
    let jobs: Vec<JobId> = bench.take_dispatched().into_iter().map(|(_, job)| job.id).collect();
    bench.feed(Input::Started { child: ChildId(0), jobs: jobs[..2].to_vec() });
    bench.feed(revoke("a", Some(KILL)));
    bench.gone(0, "signal 9 (SIGKILL)");
    let back = Disposition::Requeue { front: true, failed: false };
    let ends: Vec<_> = bench.take_ends().into_iter().map(|(tag, end, _)| (tag.unwrap(), end)).collect();
    assert_eq!(ends, [("a".to_owned(), Disposition::Ack), ("b".to_owned(), back)]);
    bench.ready(1);
    assert_eq!(only(bench.take_dispatched()).1.facts.id, "c");
}

#[test]
fn a_task_beside_others_is_cancelled_alone() {
    let mut bench = Bench::with(config(), vec![task("add")], 0);
    bench.feed(Input::PoolSize(1));
    bench.feed(Input::ChildReady { child: ChildId(0), slots: 2, killable: true });
    bench.deliver(vec![message("add", "a", ""), message("add", "b", "")]);
    let jobs: Vec<JobId> = bench.take_dispatched().into_iter().map(|(_, job)| job.id).collect();
    bench.feed(Input::Started { child: ChildId(0), jobs: jobs.clone() });
    bench.feed(revoke("a", Some(TERM)));
    assert!(bench.took(&Output::Cancel { child: ChildId(0), job: jobs[0], why: Cancel::Revoked }));
    assert!(!bench.took(&Output::Signal { child: ChildId(0), signal: TERM }));
    bench.finish(ChildId(0), jobs[0], Verdict::Ignored);
    assert_eq!(only(bench.take_ends()).1, Disposition::Ack);
    bench.finish(ChildId(0), jobs[1], Verdict::Success);
    assert_eq!(only(bench.take_ends()).2, ["SUCCESS"]);
}

#[test]
fn a_child_that_was_sent_a_signal_gets_no_jobs_until_it_has_survived() {
    let (mut bench, child, job) = running(1, "add");
    bench.feed(revoke("a", Some(TERM)));
    bench.deliver(vec![message("add", "b", "")]);
    assert_eq!(bench.take_dispatched(), []);
    bench.finish(child, job, Verdict::Success);
    assert_eq!(only(bench.take_ends()).2, ["SUCCESS"], "it ended in spite of the signal");
    assert_eq!(only(bench.take_dispatched()).1.facts.id, "b");
    bench.gone(0, "signal 11 (SIGSEGV)");
    let failed = Disposition::Requeue { front: true, failed: true };
    assert!(bench.take_ends().iter().all(|(_, end, _)| *end == failed), "its later death is no doing of ours");
}

#[test]
fn a_pool_that_cannot_be_killed_says_so() {
    let mut bench = Bench::with(config(), vec![task("add")], 0);
    bench.feed(Input::PoolSize(1));
    bench.feed(Input::ChildReady { child: ChildId(0), slots: 1, killable: false });
    let (child, job) = bench.deliver_one("add", "a", "").expect("dispatched");
    bench.start(child, job);
    bench.take_notices();
    bench.feed(revoke("a", Some(TERM)));
    assert_eq!(notices(&mut bench), [Notice::Unkillable { task: "add".into(), id: "a".into() }]);
    bench.finish(child, job, Verdict::Success);
    assert_eq!(only(bench.take_ends()).2, ["SUCCESS"]);
}

#[test]
fn stamps_revoke_every_task_that_carries_them() {
    let stamp = |value: &str| Revoked::Stamp { header: "tenant".into(), value: value.into() };
    let mut bench = Bench::with(config(), vec![task("add")], 0);
    bench.deliver(vec![stamped("a", "\"acme\""), stamped("b", "[\"zeta\", \"acme\"]"), stamped("c", "\"zeta\"")]);
    bench.deliver(vec![stamped("d", "7"), message("add", "plain", "")]);
    let revocations = [stamp("acme"), stamp("7")].map(|what| Revocation { what, until: until(60) }).to_vec();
    bench.feed(Input::Revoke { revocations, signal: None });
    assert_eq!(revoked(&mut bench), ["a", "b", "d"]);
    bench.deliver(vec![stamped("e", "\"acme\""), stamped("f", "\"other\"")]);
    assert_eq!(revoked(&mut bench), ["e"]);
}

#[test]
fn a_worker_that_ends_gives_back_what_it_had_asked_for() {
    let mut bench = Bench::new(1);
    let (child, job) = bench.deliver_one("add", "a", "").expect("dispatched");
    bench.feed(revoke("a", None)).shut_down(ShutdownKind::Warm);
    bench.feed(Input::Returned { child, jobs: vec![job] });
    let back = Disposition::Requeue { front: true, failed: false };
    assert_eq!(only(bench.take_ends()).1, back, "the next worker reads the revocation from the broker");
}
