//! Locks that messages hold, and when they are given up.

use umbel_broker::{Disposition, GivenUp};
use umbel_worker::engine::{Input, ShutdownKind, TaskOptions, Verdict};

use crate::bench::{Bench, config, message, outcome, task};

fn bench() -> Bench {
    let early = TaskOptions { unique: true, acks_late: false, ..task("early") };
    Bench::with(config(), vec![TaskOptions { unique: true, ..task("add") }, early, task("plain")], 1)
}

fn header(until: &str) -> String {
    format!(r#""umbel_unique": "{until}:add:0f""#)
}

/// Locks given up by what was settled since the last look.
fn released(bench: &mut Bench) -> Vec<(String, String)> {
    let given = bench.take_settled().into_iter().flat_map(|settlement| settlement.gives_up);
    let name = |given| match given {
        GivenUp::Lock { name, owner } => (name, owner),
        GivenUp::Slot { .. } | GivenUp::Place { .. } => panic!("{given:?}"),
    };
    given.map(name).collect()
}

fn lock() -> Vec<(String, String)> {
    vec![("add:0f".to_owned(), "a".to_owned())]
}

#[test]
fn a_lock_is_held_until_the_task_has_ended() {
    for (name, verdict) in [("add", Verdict::Success), ("add", Verdict::Failure), ("early", Verdict::Ignored)] {
        let mut bench = bench();
        let (child, job) = bench.deliver_one(name, "a", &header("end")).expect("dispatched");
        bench.start(child, job);
        assert_eq!(released(&mut bench), [], "{name}");
        bench.finish(child, job, verdict);
        assert_eq!(released(&mut bench), lock(), "{name}");
    }
}

#[test]
fn or_until_it_starts() {
    let mut bench = bench();
    let (child, job) = bench.deliver_one("add", "a", &header("start")).expect("dispatched");
    bench.start(child, job);
    assert_eq!(released(&mut bench), lock());
    bench.finish(child, job, Verdict::Success);
    assert_eq!(released(&mut bench), [], "once");
}

#[test]
fn a_start_that_was_not_told_apart_from_the_end_counts() {
    let mut bench = bench();
    let (child, job) = bench.deliver_one("add", "a", &header("start")).expect("dispatched");
    bench.finish(child, job, Verdict::Success);
    assert_eq!(released(&mut bench), lock());
}

#[test]
fn who_runs_again_keeps_it() {
    let mut bench = bench();
    let (child, job) = bench.deliver_one("add", "a", &header("end")).expect("dispatched");
    bench.start(child, job).finish(child, job, Verdict::Retry);
    assert_eq!(released(&mut bench), []);
    let (child, job) = bench.deliver_one("add", "a", &header("end")).expect("dispatched");
    bench.start(child, job).finish(child, job, Verdict::Requeue);
    assert_eq!(released(&mut bench), []);
    let (child, job) = bench.deliver_one("add", "a", &header("end")).expect("dispatched");
    bench.start(child, job).gone(0, "signal 11 (SIGSEGV)");
    assert_eq!(released(&mut bench), [], "its message went back");
}

#[test]
fn what_will_not_run_gives_it_up() {
    let mut bench = bench();
    let expired = format!("{}, \"expires\": \"2001-01-01T00:00:00\"", header("end"));
    bench.deliver(vec![message("add", "a", &expired)]);
    assert_eq!(released(&mut bench), lock());
}

#[test]
fn who_has_lost_its_lease_has_no_say() {
    let mut bench = bench();
    let (child, job) = bench.deliver_one("add", "a", &header("end")).expect("dispatched");
    bench.start(child, job).feed(Input::Disconnected);
    bench.feed(Input::Reconnected { lost: vec![crate::bench::tag_of("a")] });
    bench.feed(Input::Finished { child, outcome: outcome(job, Verdict::Success) });
    assert_eq!(released(&mut bench), []);
}

#[test]
fn other_messages_have_none() {
    let mut bench = bench();
    for (name, more) in [
        ("plain", header("end")),
        ("add", String::new()),
        ("add", header("never")),
        ("add", "\"umbel_unique\": 7".into()),
    ] {
        let (child, job) = bench.deliver_one(name, "a", &more).expect("dispatched");
        bench.start(child, job).finish(child, job, Verdict::Success);
    }
    let ends = bench.take_settled();
    assert!(ends.iter().all(|end| end.disposition == Disposition::Ack && end.gives_up.is_empty()), "{ends:?}");
    bench.shut_down(ShutdownKind::Warm);
}
