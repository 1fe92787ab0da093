//! When messages are asked for, and how many.

use std::collections::VecDeque;

use umbel_protocol::Timestamp;
use umbel_worker::engine::{ChildId, EngineConfig, Input, Verdict};

use crate::bench::{Bench, START, config, message, outcome, task};

fn fixed(multiplier: usize, children: u32) -> Bench {
    let config = EngineConfig { prefetch_multiplier: Some(multiplier), ..config() };
    Bench::with(config, vec![task("add")], children)
}

fn messages(names: &[&str]) -> Vec<umbel_protocol::Message> {
    names.iter().map(|name| message("add", name, "")).collect()
}

fn nothing(bench: &mut Bench) -> &mut Bench {
    bench.feed(Input::Delivered { deliveries: vec![], next_due: None })
}

#[test]
fn a_multiplier_is_per_slot() {
    let mut bench = fixed(3, 2);
    assert_eq!(bench.take_fetches(), [3], "one child was ready first");
    nothing(&mut bench).feed(Input::Rang);
    assert_eq!(bench.take_fetches(), [6]);
}

#[test]
fn a_full_fetch_is_followed_at_once_while_there_is_room() {
    let mut bench = fixed(2, 1);
    assert_eq!(bench.take_fetches(), [2]);
    bench.deliver(messages(&["a", "b"]));
    assert_eq!(bench.take_fetches(), [] as [usize; 0], "no room");
    let job = bench.take_dispatched().pop().unwrap();
    bench.finish(job.0, job.1.id, Verdict::Success);
    assert_eq!(bench.take_fetches(), [1]);
    bench.deliver(messages(&["c"]));
    let job = bench.take_dispatched().pop().unwrap();
    bench.finish(job.0, job.1.id, Verdict::Success);
    assert_eq!(bench.take_fetches(), [1]);
}

#[test]
fn a_short_fetch_is_followed_when_jobs_move_on_and_an_empty_one_is_not() {
    let mut bench = fixed(4, 1);
    bench.take_fetches();
    bench.deliver(messages(&["a"]));
    assert_eq!(bench.take_fetches(), [] as [usize; 0]);
    let job = bench.take_dispatched().pop().unwrap();
    bench.finish(job.0, job.1.id, Verdict::Success);
    assert_eq!(bench.take_fetches(), [4]);
    nothing(&mut bench).feed(Input::Tick);
    assert_eq!(bench.take_fetches(), [] as [usize; 0]);
    bench.feed(Input::Rang);
    assert_eq!(bench.take_fetches(), [4]);
    bench.feed(Input::Rang);
    assert_eq!(bench.take_fetches(), [] as [usize; 0], "one at a time");
}

#[test]
fn a_ring_during_a_fetch_is_not_forgotten() {
    let mut bench = fixed(4, 1);
    bench.take_fetches();
    bench.feed(Input::Rang);
    nothing(&mut bench);
    assert_eq!(bench.take_fetches(), [4]);
}

#[test]
fn the_next_delayed_message_is_fetched_when_due() {
    let mut bench = fixed(4, 1);
    bench.take_fetches();
    bench.feed(Input::Delivered { deliveries: vec![], next_due: Some(Timestamp(START.0 + 2_500_000)) });
    bench.pass(2.4);
    assert_eq!(bench.take_fetches(), [] as [usize; 0]);
    bench.pass(0.2);
    assert_eq!(bench.take_fetches(), [4]);
}

#[test]
fn one_that_is_overdue_and_was_not_brought_does_not_make_it_spin() {
    let mut bench = fixed(4, 1);
    bench.take_fetches();
    let mut fetches = 0;
    for _ in 0..100 {
        bench.feed(Input::Delivered { deliveries: vec![], next_due: Some(START) });
        fetches += bench.take_fetches().len();
        bench.pass(0.01);
        fetches += bench.take_fetches().len();
    }
    assert!(fetches <= 11, "{fetches} in a second");
}

#[test]
fn queues_are_looked_at_now_and_then_even_if_nothing_rings() {
    let mut bench = fixed(4, 1);
    bench.take_fetches();
    nothing(&mut bench);
    bench.pass(6.0);
    assert_eq!(bench.take_fetches(), [4]);
}

#[test]
fn a_failed_fetch_is_repeated_after_a_moment() {
    let mut bench = fixed(4, 1);
    bench.take_fetches();
    bench.feed(Input::FetchFailed);
    assert_eq!(bench.take_fetches(), [] as [usize; 0]);
    bench.pass(0.2);
    assert_eq!(bench.take_fetches(), [4]);
}

#[test]
fn nothing_is_fetched_without_tasks_children_or_connection() {
    let mut bench = Bench::with(config(), vec![task("add")], 0);
    bench.feed(Input::Rang);
    assert_eq!(bench.take_fetches(), [] as [usize; 0]);
    let mut bench = fixed(4, 1);
    bench.take_fetches();
    bench.feed(Input::Disconnected).feed(Input::Rang);
    assert_eq!(bench.take_fetches(), [] as [usize; 0]);
    bench.feed(Input::Reconnected { lost: vec![] });
    assert_eq!(bench.take_fetches(), [4]);
}

#[test]
fn a_broker_that_is_slow_to_confirm_is_not_asked_for_more() {
    let config = EngineConfig { prefetch_multiplier: Some(0), ..config() };
    let mut bench = Bench::with(config, vec![task("add")], 1);
    bench.take_fetches();
    bench.deliver((0..5_000).map(|number| message("add", &format!("m{number}"), "")).collect());
    let mut jobs: VecDeque<_> = bench.take_dispatched().into();
    while let Some((child, job)) = jobs.pop_front() {
        bench.finish(child, job.id, Verdict::Success);
        jobs.extend(bench.take_dispatched());
    }
    assert_eq!(bench.engine.stats().unconfirmed, 5_000);
    bench.take_fetches();
    nothing(&mut bench).feed(Input::Rang);
    assert_eq!(bench.take_fetches(), [] as [usize; 0]);
    let count = bench.take_settled().len();
    bench.feed(Input::Settled { count, lost: vec![], entered: vec![] });
    assert_eq!(bench.take_fetches().len(), 1);
}

#[test]
fn the_automatic_window_grows_for_short_tasks_and_shrinks_for_long_ones() {
    let mut bench = Bench::new(1);
    let held_window = |bench: &Bench| bench.engine.stats().window;
    assert_eq!(held_window(&bench), 4);
    let run = |bench: &mut Bench, count: usize, seconds: f64| {
        for number in 0..count {
            let (child, job) = bench.deliver_one("add", &format!("m{number}"), "").unwrap();
            bench.now.0 += (seconds * 1e6) as i64;
            bench.finish(child, job, Verdict::Success);
        }
    };
    run(&mut bench, 2_000, 50e-6);
    assert_eq!(held_window(&bench), 512);
    run(&mut bench, 1, 60.0);
    assert!(held_window(&bench) <= 2, "{}", held_window(&bench));
}

#[test]
fn waiting_at_a_child_of_several_slots_is_no_running_time() {
    let mut bench = Bench::with(config(), vec![task("add")], 0);
    bench.feed(Input::PoolSize(1)).feed(Input::ChildReady { child: ChildId(0), slots: 4, killable: false });
    let mut jobs = VecDeque::new();
    for round in 0..200 {
        let want: usize = bench.take_fetches().iter().sum();
        if want > 0 {
            bench.deliver((0..want).map(|number| message("add", &format!("{round}-{number}"), "")).collect());
        }
        jobs.extend(bench.take_dispatched());
        // 64 in a millisecond, as they do in a busy child, whose reports say nothing of starts.
        bench.now.0 += 1000;
        let done: Vec<_> = jobs.drain(..jobs.len().min(64)).collect();
        let ends =
            done.into_iter().map(|(child, job)| Input::Finished { child, outcome: outcome(job.id, Verdict::Success) });
        bench.engine.handle_all(bench.now, ends, &mut bench.out);
        let count = bench.take_settled().len();
        bench.feed(Input::Settled { count, lost: vec![], entered: vec![] });
    }
    assert_eq!(bench.engine.stats().window, 4 + 1024);
}
