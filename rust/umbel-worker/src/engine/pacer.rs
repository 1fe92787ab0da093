//! Rate limits: the jobs of a limited task start one by one, with a pause between them.
//!
//! A turn is given out when a child could run the job. One that comes soon is waited for here, blocking nothing; until
//! later ones the message goes back to the broker, where it waits in no worker's memory and other workers can have it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use umbel_broker::Disposition;

use super::Engine;
use super::job::JobId;
use super::ledger::{Place, Yield};
use super::steady::{Micros, Now};

/// Jobs that wait here for their turn at most.
const MOST: usize = 1_024;

/// Turns of limited tasks.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    lanes: HashMap<String, Lane>,
    waiting: BTreeSet<(Micros, JobId)>,
}

/// One task's turns.
#[derive(Debug)]
struct Lane {
    pause: Micros,
    /// The next turn.
    next: Micros,
    /// A turn that has been promised to none of those that were sent away.
    later: Micros,
}

/// When a job may start.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    At(Micros),
    /// Not soon: it is to ask again after that time.
    Later(Duration),
}

impl Pacer {
    /// The turn of a job of `task`, of which `rate` may start in a second.
    fn turn(&mut self, task: &str, rate: f64, patience: Micros, now: Now) -> Turn {
        let pause = ((1e6 / rate) as Micros).max(1);
        if !self.lanes.contains_key(task) {
            self.lanes.insert(task.to_owned(), Lane { pause, next: now.steady, later: now.steady });
        }
        let Some(lane) = self.lanes.get_mut(task) else { return Turn::Now };
        if lane.pause != pause {
            *lane = Lane { pause, next: now.steady, later: now.steady };
        }
        let at = lane.next.max(now.steady);
        if at - now.steady > patience || self.waiting.len() >= MOST {
            let until = lane.later.max(at);
            lane.later = until.saturating_add(pause);
            return Turn::Later(Duration::from_micros((until - now.steady).unsigned_abs()));
        }
        lane.next = at.saturating_add(pause);
        if at == now.steady { Turn::Now } else { Turn::At(at) }
    }

    /// Gives up all jobs, the next first.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = JobId> {
        std::mem::take(&mut self.waiting).into_iter().map(|(_, job)| job)
    }

    /// How many wait here.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl Engine {
    /// Whether a waiting job may start now. If it may not, it has been put where it comes from when it may.
    pub(super) fn has_its_turn(&mut self, job: JobId, now: Now) -> bool {
        let Some(held) = self.ledger.get_mut(job) else { return false };
        let limit = held.facts.task.options.rate_limit.filter(|rate| *rate > 0.0 && !held.has_turn);
        let Some(rate) = limit else { return true };
        let patience = Micros::try_from(self.config.delay_threshold.as_micros()).unwrap_or(Micros::MAX);
        match self.pacer.turn(held.facts.name(), rate, patience, now) {
            Turn::Now => {
                held.has_turn = true;
                true
            }
            Turn::At(at) => {
                held.has_turn = true;
                self.pacer.waiting.insert((at, job));
                false
            }
            Turn::Later(wait) => {
                let until = now.wall.after(wait);
                self.totals.delayed += 1;
                self.ledger.close(job, Disposition::Delay { until }, Yield::default());
                self.fetcher.freed();
                false
            }
        }
    }

    /// Jobs whose turn has come wait for a child, before all others.
    pub(super) fn release_paced(&mut self, now: Now) {
        let later = self.pacer.waiting.split_off(&(now.steady + 1, JobId(0)));
        let due = std::mem::replace(&mut self.pacer.waiting, later);
        for (_, job) in due.into_iter().rev() {
            if self.ledger.get(job).is_some_and(|held| held.place == Place::Waiting) {
                self.waiting.push_front(job);
            }
        }
    }

    /// Looks again when the next turn comes.
    pub(super) fn expect_turn(&mut self, now: Now) {
        if let Some(&(at, _)) = self.pacer.waiting.first() {
            self.alarm.at_steady(at, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use umbel_protocol::Timestamp;

    use super::*;

    fn at(seconds: f64) -> Now {
        let micros = (seconds * 1e6) as Micros;
        Now { wall: Timestamp(micros), steady: micros }
    }

    fn turns(pacer: &mut Pacer, rate: f64, count: usize, now: f64) -> Vec<Turn> {
        (0..count).map(|_| pacer.turn("add", rate, 3_000_000, at(now))).collect()
    }

    #[test]
    fn turns_are_apart_and_far_ones_are_sent_away_in_order() {
        let mut pacer = Pacer::default();
        let later = |seconds| Turn::Later(Duration::from_secs(seconds));
        let expected = [Turn::Now, Turn::At(2_000_000), later(4), later(6), later(8)];
        assert_eq!(turns(&mut pacer, 0.5, 5, 0.0), expected);
        assert_eq!(
            turns(&mut pacer, 0.5, 2, 4.0),
            [Turn::Now, Turn::At(6_000_000)],
            "those that come back have theirs"
        );
        assert_eq!(turns(&mut pacer, 0.5, 1, 4.0), [later(6)], "who comes anew is behind them");
    }

    #[test]
    fn an_idle_task_saves_nothing_up() {
        let mut pacer = Pacer::default();
        assert_eq!(turns(&mut pacer, 1.0, 1, 0.0), [Turn::Now]);
        assert_eq!(turns(&mut pacer, 1.0, 2, 100.0), [Turn::Now, Turn::At(101_000_000)]);
    }

    #[test]
    fn another_rate_holds_at_once() {
        let mut pacer = Pacer::default();
        turns(&mut pacer, 0.001, 3, 0.0);
        assert_eq!(turns(&mut pacer, 10.0, 2, 1.0), [Turn::Now, Turn::At(1_100_000)]);
    }
}
