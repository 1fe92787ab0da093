//! Messages held that others could run: given back when they have been too many for a while.
//!
//! The window shrinks at once when tasks turn out to be long or children go away, but what was fetched before is
//! still here. Behind a long task it would wait for minutes while another worker is idle.

use super::Engine;
use super::input::ChildId;
use super::ledger::Place;
use super::output::Output;
use super::steady::{Micros, Now};

/// More messages than the window are kept for this long: a child is replaced in much less.
const PATIENCE: Micros = 2_000_000;

/// A child that has been on one job for this long is asked for what waits behind it.
const STALL: Micros = 1_000_000;

impl Engine {
    /// Gives back what has been beyond the window for too long, the last fetched first.
    pub(super) fn release_surplus(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.waiting.is_empty() && self.queued == 0 {
            self.surplus_since = None;
            return;
        }
        let surplus = self.prefetched().saturating_sub(self.window.target(&self.pool, now));
        if surplus == 0 || !self.is_open() {
            self.surplus_since = None;
            // Nothing else may happen here for as long as a task takes.
            if let Some(at) = self.window.shrinks_at(&self.pool, now) {
                self.alarm.at_steady(at, now);
            }
            return;
        }
        let since = *self.surplus_since.get_or_insert(now.steady);
        if now.steady - since < PATIENCE {
            return self.alarm.at_steady(since + PATIENCE, now);
        }
        self.surplus_since = None;
        self.recall_stalled(now, out);
        for _ in 0..surplus {
            let Some(job) = self.waiting.pop_back() else { break };
            if self.ledger.get(job).is_some_and(|held| held.place == Place::Waiting) {
                self.give_back(job, "this worker is too busy to run it soon", out);
            }
        }
    }

    fn recall_stalled(&mut self, now: Now, out: &mut Vec<Output>) {
        let is_stalled = |child: &super::pool::Child| !child.queued.is_empty() && child.stalled_for(now) >= STALL;
        let stalled: Vec<ChildId> = self.pool.iter().filter(|(_, child)| is_stalled(child)).map(|(id, _)| id).collect();
        for child in stalled {
            self.recall(child, out);
        }
    }
}
