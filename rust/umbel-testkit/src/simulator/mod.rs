//! The simulator: thousands of seeded histories of engines, children and a broker in which everything goes wrong.
//!
//! One [`umbel_worker::engine::Engine`] a worker, for real; around it models, small enough to be believed: a broker
//! ([`broker`]), children ([`child`]), a runtime that carries out what an engine asks for ([`runtime`]). Time is
//! virtual, chance is a seed, so that a failing history can be run again with a trace. Faults ([`faults`]): workers and
//! children die at any step or stand still ([`frozen`]), requests and replies are lost, late, torn or repeated,
//! connections break or fall silent for longer than a lease, the broker restarts, clocks jump, children are slow, deaf,
//! retire, or speak after their death, workers are shut down either way. Some messages are members of [`chords`]. Then
//! calm returns, and everything has to come to its end.
//!
//! What must hold is checked as it happens ([`checks`], [`rights`], [`slots`]).

mod broker;
mod checks;
mod child;
mod chords;
mod counts;
mod crowd;
mod faults;
mod frozen;
mod plan;
mod revoking;
mod rights;
mod runtime;
mod slots;
mod trace;
mod world;

pub use counts::{Counts, Happening};
pub use crowd::{Summary, run_all};
use umbel_worker::engine::Sabotage;

use world::World;

/// How a history is run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// A deliberate fault in the engine.
    pub sabotage: Option<Sabotage>,
    /// Keep a line for every step.
    pub trace: bool,
}

/// What a history came to.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Inputs handled by engines.
    pub steps: u64,
    /// Messages published.
    pub messages: usize,
    /// Runs begun.
    pub runs: usize,
    /// Faults injected.
    pub faults: u64,
    /// What happened, by kind.
    pub counts: Counts,
    /// A line for every step, if asked for.
    pub trace: Vec<String>,
    /// The invariant that was broken, if one was.
    pub violation: Option<String>,
}

/// Runs the history of a seed.
pub fn run(seed: u64, options: Options) -> Report {
    World::new(seed, options).run()
}

/// Runs the histories of `seeds` and returns the first seed that breaks an invariant, with the reason.
pub fn first_violation(seeds: impl Iterator<Item = u64>, options: Options) -> Option<(u64, String)> {
    seeds.into_iter().find_map(|seed| run(seed, options).violation.map(|violation| (seed, violation)))
}
