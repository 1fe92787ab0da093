//! Many histories on many threads, and what they came to together.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::{Counts, Options, Report, run};

/// What many histories came to.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// How many were run.
    pub histories: u64,
    /// Inputs handled by engines.
    pub steps: u64,
    /// Messages published.
    pub messages: u64,
    /// Runs begun.
    pub runs: u64,
    /// Faults injected.
    pub faults: u64,
    /// Histories in which nothing was made to go wrong.
    pub quiet: u64,
    /// What happened, by kind.
    pub counts: Counts,
    /// The lowest seed among those found to break an invariant, with the reason.
    pub violation: Option<(u64, String)>,
}

impl Summary {
    fn add(&mut self, seed: u64, report: Report) {
        self.histories += 1;
        self.steps += report.steps;
        self.messages += report.messages as u64;
        self.runs += report.runs as u64;
        self.faults += report.faults;
        self.quiet += u64::from(report.faults == 0);
        self.counts.merge(&report.counts);
        let violation = report.violation.map(|violation| (seed, violation));
        self.violation = [self.violation.take(), violation].into_iter().flatten().min();
    }

    fn merge(&mut self, other: Self) {
        self.histories += other.histories;
        self.steps += other.steps;
        self.messages += other.messages;
        self.runs += other.runs;
        self.faults += other.faults;
        self.quiet += other.quiet;
        self.counts.merge(&other.counts);
        self.violation = [self.violation.take(), other.violation].into_iter().flatten().min();
    }
}

/// Runs the histories of `seeds` on so many threads, until one of them breaks an invariant. Every thread calls
/// `progress` after each of its histories with the number run by all.
pub fn run_all(seeds: Range<u64>, threads: usize, options: Options, progress: &(dyn Fn(u64) + Sync)) -> Summary {
    let (next, done) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let is_over = AtomicBool::new(false);
    let total = Mutex::new(Summary::default());
    let work = || {
        let mut mine = Summary::default();
        while !is_over.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            mine.add(seed, run(seed, options));
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            if mine.violation.is_some() {
                is_over.store(true, Ordering::Relaxed);
            }
        }
        total.lock().unwrap_or_else(PoisonError::into_inner).merge(mine);
    };
    // A panic in a history ends them all when the scope is left.
    thread::scope(|scope| (0..threads.max(1)).for_each(|_| drop(scope.spawn(work))));
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}
