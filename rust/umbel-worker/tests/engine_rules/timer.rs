//! Etas and expiries.

use umbel_broker::Disposition;
use umbel_protocol::Timestamp;
use umbel_worker::engine::{Input, Notice, Output, TaskOptions, Verdict};

use crate::bench::{Bench, START, config, iso, message, only, task};

fn eta(seconds: f64) -> String {
    format!("\"eta\": \"{}\"", iso(seconds))
}

fn expires(seconds: f64) -> String {
    format!("\"expires\": \"{}\"", iso(seconds))
}

#[test]
fn an_eta_far_away_goes_to_the_brokers_delayed_set() {
    let mut bench = Bench::new(1);
    bench.deliver(vec![message("add", "a", &eta(3_600.0))]);
    let (tag, disposition, states) = only(bench.take_ends());
    assert_eq!((tag.as_deref(), states.len()), (Some("a"), 0));
    assert_eq!(disposition, Disposition::Delay { until: Timestamp(START.0 + 3_600_000_000) });
}

#[test]
fn a_near_one_waits_here_and_a_past_one_does_not() {
    let mut bench = Bench::new(3);
    bench.deliver(vec![message("add", "past", &eta(-5.0)), message("add", "near", &eta(1.5))]);
    assert_eq!(bench.take_dispatched().len(), 1);
    assert!(bench.out.iter().any(|output| matches!(output, Output::WakeAt(_))));
    bench.pass(1.4);
    assert!(bench.take_dispatched().is_empty());
    bench.pass(0.2);
    assert_eq!(only(bench.take_dispatched()).1.message.properties.correlation_id.as_deref(), Some("near"));
    assert!(bench.take_settled().is_empty());
}

#[test]
fn jobs_start_in_the_order_of_their_etas() {
    let mut bench = Bench::new(3);
    bench.deliver(vec![message("add", "c", &eta(1.3)), message("add", "a", &eta(1.1)), message("add", "b", &eta(1.2))]);
    bench.now.0 += 2_000_000;
    bench.feed(Input::Tick);
    let order: Vec<_> = bench
        .take_dispatched()
        .into_iter()
        .filter_map(|(_, job)| job.message.properties.correlation_id.clone())
        .collect();
    assert_eq!(order, ["a", "b", "c"]);
}

#[test]
fn waiting_for_an_eta_blocks_no_fetch_and_is_bounded() {
    let mut bench = Bench::new(1);
    bench.take_fetches();
    let etas = (0..1_500).map(|number| message("add", &format!("m{number}"), &eta(1.0))).collect();
    bench.deliver(etas);
    assert_eq!(bench.take_fetches().len(), 1);
    let delayed = bench.take_ends().len();
    assert_eq!((delayed, bench.engine.stats().timed), (1_500 - 1_024, 1_024));
}

#[test]
fn the_wall_clock_decides_when_an_eta_has_come() {
    let mut bench = Bench::new(1);
    bench.deliver(vec![message("add", "a", &eta(1.5))]);
    bench.now.0 -= 3_600_000_000;
    bench.feed(Input::Tick);
    assert!(bench.take_dispatched().is_empty());
    bench.now.0 += 7_200_000_000;
    bench.feed(Input::Tick);
    assert_eq!(bench.take_dispatched().len(), 1);
}

#[test]
fn an_expired_message_is_discarded_with_a_record() {
    let mut bench = Bench::new(1);
    bench.deliver(vec![message("add", "a", &expires(-1.0))]);
    assert!(bench.take_dispatched().is_empty());
    let settlement = only(bench.take_settled());
    assert_eq!((settlement.disposition, settlement.results[0].state.as_str()), (Disposition::Ack, "REVOKED"));
    let record = String::from_utf8(settlement.results[0].record.clone()).unwrap();
    assert!(record.contains("\"TaskRevokedError\"") && record.contains("[\"expired\"]"), "{record}");
    let discarded = Notice::Discarded { task: "add".into(), id: "a".into(), why: "expired" };
    assert!(bench.take_notices().contains(&discarded));
}

#[test]
fn it_is_looked_at_again_before_it_starts() {
    let mut bench = Bench::new(1);
    bench.deliver(vec![message("add", "long", ""), message("add", "a", &expires(1.0))]);
    let (child, job) = only(bench.take_dispatched());
    bench.start(child, job.id).pass(1.5);
    bench.finish(child, job.id, Verdict::Success);
    assert!(bench.take_dispatched().is_empty());
    let ends = bench.take_ends();
    assert_eq!((ends.len(), ends[1].2.as_slice()), (2, ["REVOKED".to_owned()].as_slice()));
}

#[test]
fn an_expired_message_with_an_eta_does_not_wait_for_it() {
    let mut bench = Bench::new(1);
    bench.deliver(vec![message("add", "a", &format!("{}, {}", eta(60.0), expires(-1.0)))]);
    assert_eq!(only(bench.take_ends()).2, ["REVOKED"]);
}

#[test]
fn ignored_results_leave_no_record() {
    let quiet = TaskOptions { ignore_result: true, ..task("add") };
    let mut bench = Bench::with(config(), vec![quiet], 1);
    bench.deliver(vec![message("add", "a", &expires(-1.0))]);
    assert!(only(bench.take_ends()).2.is_empty());
    bench.deliver(vec![message("add", "b", &format!("{}, \"ignore_result\": false", expires(-1.0)))]);
    assert_eq!(only(bench.take_ends()).2, ["REVOKED"]);
}
