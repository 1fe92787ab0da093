//! Rate limits: the jobs of a limited task start one by one, with a pause between them.
//!
//! A turn is given out when a child could run the job. One that comes soon is waited for here, blocking nothing; until
//! later ones the message goes back to the broker, where it waits in no worker's memory and other workers can have it.
//! Where all workers share a limit, the broker is asked for the turn.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use umbel_broker::{Disposition, Lane, Turn};

use super::Engine;
use super::job::JobId;
use super::ledger::{Place, Yield};
use super::output::Output;
use super::steady::{Micros, Now};

/// Jobs that wait here for their turn at most.
const MOST: usize = 1_024;

/// How long to wait before asking again for a turn that could not be told.
const ASK_AGAIN: Micros = 1_000_000;

/// Turns of limited tasks.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    lanes: HashMap<String, Lane>,
    waiting: BTreeSet<(Micros, JobId)>,
    /// Jobs whose turn the broker has been asked for.
    asked: BTreeSet<JobId>,
}

impl Pacer {
    /// The turn of a job of `task`, in this worker.
    fn turn(&mut self, task: &str, pause: Micros, patience: Micros, now: Now) -> Turn {
        if !self.lanes.contains_key(task) {
            self.lanes.insert(task.to_owned(), Lane::default());
        }
        let patience = if self.waiting.len() < MOST { patience } else { 0 };
        match self.lanes.get_mut(task) {
            Some(lane) => lane.turn(pause, patience, now.steady),
            None => Turn { wait: Duration::ZERO, granted: true },
        }
    }

    /// Gives up all jobs, the next first.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = JobId> {
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|(_, job)| job);
        waiting.chain(std::mem::take(&mut self.asked))
    }

    /// How many wait here.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.asked.len()
    }
}

impl Engine {
    /// Whether a waiting job may start now. If it may not, it has been put where it comes from when it may.
    pub(super) fn has_its_turn(&mut self, job: JobId, now: Now, out: &mut Vec<Output>) -> bool {
        let Some(held) = self.ledger.get(job) else { return false };
        let options = &held.facts.task.options;
        let limit = options.rate_limit.filter(|rate| *rate > 0.0 && !held.has_turn);
        let Some(rate) = limit else { return true };
        let pause = ((1e6 / rate) as Micros).max(1);
        if options.rate_limit_shared {
            self.pacer.asked.insert(job);
            let pause = Duration::from_micros(pause.unsigned_abs());
            let limit = held.facts.name().to_owned();
            out.push(Output::AskTurn { job, limit, pause, patience: self.config.delay_threshold });
            return false;
        }
        let patience = Micros::try_from(self.config.delay_threshold.as_micros()).unwrap_or(Micros::MAX);
        let turn = self.pacer.turn(held.facts.name(), pause, patience, now);
        self.take_turn(job, turn, now)
    }

    /// The broker tells a turn, or could not.
    pub(super) fn turn_told(&mut self, job: JobId, turn: Option<Turn>, now: Now) {
        let is_waiting = self.ledger.get(job).is_some_and(|held| held.place == Place::Waiting);
        if !self.pacer.asked.remove(&job) || !is_waiting {
            return;
        }
        match turn {
            Some(turn) => {
                if self.take_turn(job, turn, now) {
                    self.waiting.push_front(job);
                }
            }
            None => {
                self.pacer.waiting.insert((now.steady + ASK_AGAIN, job));
            }
        }
    }

    /// True if it is now.
    fn take_turn(&mut self, job: JobId, turn: Turn, now: Now) -> bool {
        if !turn.granted {
            self.totals.delayed += 1;
            let until = now.wall.after(turn.wait);
            self.ledger.close(job, Disposition::Delay { until }, Yield::default());
            self.fetcher.freed();
            return false;
        }
        if let Some(held) = self.ledger.get_mut(job) {
            held.has_turn = true;
        }
        if turn.wait.is_zero() {
            return true;
        }
        let wait = Micros::try_from(turn.wait.as_micros()).unwrap_or(Micros::MAX);
        self.pacer.waiting.insert((now.steady.saturating_add(wait), job));
        false
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
