//! The prefetch window: how many messages to hold.
//!
//! With a multiplier it is slots × multiplier, as in Celery. Without one it follows measured task time, so that each
//! slot has [`WORK_AHEAD`] of work at hand: enough to bridge a round trip to the broker, and no more than other
//! workers can spare.

use super::pace::Pace;
use super::pool::{Pool, State};
use super::steady::{Micros, Now};

/// Work to hold for each slot.
const WORK_AHEAD: Micros = 75_000;

/// Tasks longer than this are taken one at a time: a round trip is nothing against them.
const LONG_TASK: Micros = 1_000_000;

/// Messages held for one slot at most, running one included.
const DEEPEST: usize = 512;

/// Messages held for one child at most, beyond one for each slot: its threads or coroutines share one interpreter. Enough
/// for a broker that is 5 ms away.
const DEEPEST_CHILD: usize = 2 * DEEPEST;

/// Messages per slot before anything was measured.
const FIRST: usize = 4;

/// What Celery's multiplier 0 (no limit) comes to here, in all.
const UNLIMITED: usize = 65_536;

/// Sizes the window.
#[derive(Debug)]
pub(super) struct Window {
    multiplier: Option<usize>,
    pace: Pace,
    /// Slow start: the depth may not exceed this, which doubles as tasks finish.
    ceiling: usize,
    finished: usize,
}

impl Window {
    /// A window with a fixed multiplier, or one that sizes itself.
    pub(super) fn new(multiplier: Option<usize>) -> Self {
        Self { multiplier, pace: Pace::default(), ceiling: FIRST, finished: 0 }
    }

    /// A task was measured.
    pub(super) fn record(&mut self, took: Micros, slots: usize) {
        self.pace.record(took);
        self.finished += 1;
        let measured = depth_for(self.pace.mean());
        if self.ceiling > measured * 2 {
            self.ceiling = (measured * 2).max(FIRST);
        }
        if self.ceiling < DEEPEST && self.finished >= self.ceiling * slots.max(1) {
            self.ceiling *= 2;
            self.finished = 0;
        }
    }

    /// Messages to hold for one slot.
    pub(super) fn depth(&self) -> usize {
        depth_for(self.pace.mean()).min(self.ceiling)
    }

    /// Messages to hold in all. A slot that has been on one job for longer than [`WORK_AHEAD`] counts for that job
    /// alone, whatever the mean says.
    pub(super) fn target(&self, pool: &Pool, now: Now) -> usize {
        let active = pool.iter().filter(|(_, child)| child.state == State::Active);
        match self.multiplier {
            Some(0) if pool.slots() > 0 => UNLIMITED,
            Some(multiplier) => pool.slots().saturating_mul(multiplier),
            None => active
                .map(|(_, child)| {
                    let depth = if child.stalled_for(now) > WORK_AHEAD { 1 } else { self.depth() };
                    (child.slots * depth).min(child.slots + DEEPEST_CHILD)
                })
                .sum(),
        }
    }

    /// When the window is next smaller by a child that nothing moves at, if it sizes itself: a moment to look again.
    pub(super) fn shrinks_at(&self, pool: &Pool, now: Now) -> Option<Micros> {
        if self.multiplier.is_some() {
            return None;
        }
        let busy = pool.iter().filter(|(_, child)| child.state == State::Active && child.assigned() > 0);
        busy.map(|(_, child)| child.active_at + WORK_AHEAD + 1).filter(|&at| at > now.steady).min()
    }
}

fn depth_for(mean: Option<Micros>) -> usize {
    match mean {
        None => FIRST,
        Some(mean) if mean >= LONG_TASK => 1,
        Some(mean) => (1 + usize::try_from(WORK_AHEAD / mean).unwrap_or(DEEPEST).max(1)).min(DEEPEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth_after(tasks: usize, took: Micros) -> usize {
        let mut window = Window::new(None);
        (0..tasks).for_each(|_| window.record(took, 1));
        window.depth()
    }

    #[test]
    fn depth_follows_task_time() {
        for (took, depth) in [(1, 512), (100, 512), (1_000, 76), (10_000, 8), (50_000, 2), (300_000, 2), (2_000_000, 1)]
        {
            assert_eq!(depth_after(5_000, took), depth, "tasks of {took} µs");
        }
    }

    #[test]
    fn grows_in_steps_and_shrinks_at_once() {
        assert_eq!(depth_after(0, 10), FIRST);
        assert_eq!(depth_after(4, 10), 8);
        assert_eq!(depth_after(4 + 8 + 16, 10), 32);
        let mut window = Window::new(None);
        (0..5_000).for_each(|_| window.record(10, 1));
        window.record(60_000_000, 1);
        assert_eq!(window.depth(), 1);
    }
}
