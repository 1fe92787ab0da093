//! A whole worker over the memory broker: engine, threads, links and native handlers.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod runtime_bench;

use runtime_bench::{Bench, add, value_of};
use umbel_worker::engine::ShutdownKind;
use umbel_worker::runtime::WorkerEvent;

#[test]
fn five_thousand_tasks_run_and_their_results_are_right() {
    let bench = Bench::new();
    bench.publish((0..5_000).map(|n| add(n, n, 1)));
    let mut worker = bench.worker(2);
    bench.wait_for_results(0..5_000);
    for n in 0..5_000 {
        assert_eq!(value_of(&bench.result(n)), (n + 1) as f64);
    }
    worker.stop(ShutdownKind::Warm);
    let stats = worker.wait_stopped();
    assert_eq!(bench.left(), (0, 0));
    assert!(!stats.iter().any(|event| matches!(event, WorkerEvent::Failed { .. })), "{stats:?}");
}
