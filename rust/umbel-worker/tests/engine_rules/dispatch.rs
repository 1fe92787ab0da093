//! Which child gets what.

use std::collections::{BTreeMap, VecDeque};

use umbel_worker::engine::{ChildId, Input, Verdict};

use crate::bench::{Bench, config, message, only, task};

fn many(count: usize) -> Vec<umbel_protocol::Message> {
    (0..count).map(|number| message("add", &format!("m{number}"), "")).collect()
}

fn shares(bench: &mut Bench) -> BTreeMap<u32, usize> {
    let mut shares = BTreeMap::new();
    for (child, _) in bench.take_dispatched() {
        *shares.entry(child.0).or_default() += 1;
    }
    shares
}

/// A bench on which `add` is known to take so long.
fn measured(children: u32, seconds: f64) -> Bench {
    let mut bench = Bench::new(children);
    for number in 0..64 {
        bench.deliver(vec![message("add", &format!("warm{number}"), "")]);
        for (child, job) in bench.take_dispatched() {
            bench.now.0 += (seconds * 1e6) as i64;
            bench.finish(child, job.id, Verdict::Success);
        }
    }
    let count = bench.take_settled().len();
    bench.feed(Input::Settled { count, lost: vec![], entered: vec![] });
    bench
}

#[test]
fn jobs_of_unknown_length_go_one_to_each_slot() {
    let mut bench = Bench::new(3);
    bench.deliver(many(10));
    assert_eq!(shares(&mut bench), BTreeMap::from([(0, 1), (1, 1), (2, 1)]));
}

#[test]
fn slots_count() {
    let mut bench = Bench::with(config(), vec![task("add")], 0);
    bench.feed(Input::PoolSize(1)).feed(Input::ChildReady { child: ChildId(0), slots: 4, killable: false });
    bench.deliver(many(10));
    assert_eq!(shares(&mut bench), BTreeMap::from([(0, 4)]));
}

#[test]
fn short_jobs_go_in_fair_batches() {
    let mut bench = measured(2, 20e-6);
    bench.deliver(many(100));
    assert_eq!(shares(&mut bench), BTreeMap::from([(0, 50), (1, 50)]));
}

#[test]
fn a_child_holds_no_more_than_it_can() {
    let mut bench = measured(1, 1e-6);
    bench.deliver(many(2_000));
    assert_eq!(shares(&mut bench), BTreeMap::from([(0, 256)]));
}

#[test]
fn long_jobs_are_never_queued_behind_another() {
    let mut bench = measured(2, 0.5);
    bench.deliver(many(10));
    assert_eq!(shares(&mut bench), BTreeMap::from([(0, 1), (1, 1)]));
}

#[test]
fn jobs_start_in_the_order_they_came() {
    let mut bench = Bench::new(1);
    bench.deliver(many(3));
    let mut order = Vec::new();
    let mut jobs: VecDeque<_> = bench.take_dispatched().into();
    while let Some((child, job)) = jobs.pop_front() {
        order.push(job.message.properties.correlation_id.clone().unwrap());
        bench.finish(child, job.id, Verdict::Success);
        jobs.extend(bench.take_dispatched());
    }
    assert_eq!(order, ["m0", "m1", "m2"]);
}

#[test]
fn what_waits_behind_a_long_job_is_recalled_for_an_idle_child() {
    let mut bench = measured(2, 20e-6);
    bench.deliver(many(8));
    let mut jobs: BTreeMap<ChildId, Vec<_>> = BTreeMap::new();
    for (child, job) in bench.take_dispatched() {
        jobs.entry(child).or_default().push(job.id);
    }
    // Child 0 turns out to be on a long one; child 1 does all of its own.
    let (long, quick) = (ChildId(0), ChildId(1));
    bench.start(long, jobs[&long][0]);
    for &job in &jobs[&quick] {
        bench.finish(quick, job, Verdict::Success);
    }
    assert!(bench.take_recalls().is_empty(), "not at once");
    bench.pass(0.031);
    assert_eq!(bench.take_recalls(), [(long, jobs[&long][1..].to_vec())]);
    bench.pass(0.031);
    assert!(bench.take_recalls().is_empty(), "asked once");
    bench.feed(Input::Returned { child: long, jobs: jobs[&long][1..].to_vec() });
    let moved: Vec<_> = bench.take_dispatched().into_iter().map(|(child, job)| (child, job.id)).collect();
    assert_eq!(moved, jobs[&long][1..].iter().map(|&job| (quick, job)).collect::<Vec<_>>());
}

#[test]
fn a_recalled_job_that_had_started_stays() {
    let mut bench = measured(2, 20e-6);
    bench.deliver(many(4));
    let dispatched = bench.take_dispatched();
    let (long, job) = (dispatched[0].0, dispatched[1].1.id);
    assert_eq!(dispatched[1].0, long);
    bench.start(long, job).feed(Input::Returned { child: long, jobs: vec![job] });
    assert!(bench.take_dispatched().is_empty());
    bench.finish(long, job, Verdict::Success);
    assert_eq!(bench.take_settled().len(), 1);
}

#[test]
fn the_same_message_is_shared_not_copied() {
    let mut bench = Bench::new(1);
    bench.deliver(many(1));
    let (_, job) = only(bench.take_dispatched());
    assert_eq!(&*job.queue, "celery");
    assert!(std::sync::Arc::strong_count(&job.message) >= 2);
}
