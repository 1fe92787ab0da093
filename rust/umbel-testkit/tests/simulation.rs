//! Thousands of seeded histories. `UMBEL_SIM_SEED=<n>` runs one of them again and prints every step.

use umbel_testkit::simulator::{Happening, Options, first_violation, run, run_all};
use umbel_worker::engine::Sabotage;

/// Histories per run of the suite; `UMBEL_SIM_SEEDS` asks for another number.
const SEEDS: u64 = 10_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn explain(seed: u64) -> String {
    let report = run(seed, Options { trace: true, ..Options::default() });
    let violation = report.violation.unwrap_or_else(|| "no invariant was broken".into());
    format!("{}\nseed {seed}: {violation}", report.trace.join("\n"))
}

#[test]
fn no_history_breaks_an_invariant() {
    if let Some(seed) = number("UMBEL_SIM_SEED") {
        let report = run(seed, Options::default());
        assert!(report.violation.is_none(), "{}", explain(seed));
        return;
    }
    let seeds = number("UMBEL_SIM_SEEDS").unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let summary = run_all(0..seeds, threads, Options::default(), &|_| {});
    if let Some((seed, violation)) = summary.violation {
        panic!(
            "seed {seed}: {violation}\nUMBEL_SIM_SEED={seed} cargo test -p umbel-testkit --test simulation prints every step"
        );
    }
    assert_eq!(summary.histories, seeds);
    if seeds >= SEEDS {
        let unseen: Vec<&str> =
            Happening::ALL.into_iter().filter(|kind| summary.counts.of(*kind) == 0).map(Happening::name).collect();
        assert!(unseen.is_empty(), "never seen: {unseen:?}");
    }
}

/// A simulator that finds nothing wrong with a broken engine would be worth nothing.
#[test]
fn every_sabotage_is_noticed() {
    for sabotage in [
        Sabotage::DropEntry,
        Sabotage::AckEarly,
        Sabotage::ForgetRequeue,
        Sabotage::ForgetUnconfirmed,
        Sabotage::DropFollowUps,
        Sabotage::DropResults,
        Sabotage::KeepLost,
        Sabotage::ForgetDependents,
    ] {
        let options = Options { sabotage: Some(sabotage), trace: false };
        let found = first_violation(0..500, options);
        assert!(found.is_some(), "500 histories pass with {sabotage:?}");
    }
}

#[test]
fn a_seed_replays_step_by_step() {
    let options = Options { trace: true, ..Options::default() };
    let (first, second) = (run(7, options), run(7, options));
    assert!(!first.trace.is_empty());
    assert_eq!(first.trace, second.trace);
}
