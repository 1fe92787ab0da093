//! Batches: calls of a task that are run many at a time, by one call of its function.
//!
//! When a child could run a call, it is put to the others of its task here, and all go to one child together once they are
//! enough or the first has waited for long enough. They are held as all messages are, so that nothing is lost with this
//! process. One whose process died runs by itself afterwards: it may be the one that kills.

use std::collections::{BTreeMap, VecDeque};

use super::Engine;
use super::config::BatchOptions;
use super::dispatcher::send;
use super::job::JobId;
use super::ledger::Place;
use super::output::Output;
use super::steady::{Micros, Now};

/// A job's place in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) batch: u64,
    /// The first of them takes a slot of the child, the others run with it.
    pub(super) leads: bool,
}

/// The calls of one task.
#[derive(Debug)]
struct Gathering {
    jobs: VecDeque<JobId>,
    options: BatchOptions,
    /// When they are run however few they are.
    due: Micros,
}

impl Gathering {
    fn is_ready(&self, now: Now) -> bool {
        self.jobs.len() >= self.options.most || now.steady >= self.due
    }
}

/// Calls that wait for others, by task.
#[derive(Debug, Default)]
pub(super) struct Batcher {
    tasks: BTreeMap<String, Gathering>,
    batches: u64,
}

impl Batcher {
    fn add(&mut self, task: &str, job: JobId, options: BatchOptions, due: Micros) {
        if !self.tasks.contains_key(task) {
            self.tasks.insert(task.to_owned(), Gathering { jobs: VecDeque::new(), options, due });
        }
        if let Some(gathering) = self.tasks.get_mut(task) {
            gathering.options = options;
            gathering.due = gathering.due.min(due);
            gathering.jobs.push_back(job);
        }
    }

    /// Gives up all jobs.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = JobId> {
        std::mem::take(&mut self.tasks).into_values().flat_map(|gathering| gathering.jobs)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.tasks.values().map(|gathering| gathering.jobs.len()).sum()
    }
}

impl Engine {
    /// Whether a job that could run waits here for others instead.
    pub(super) fn gathers(&mut self, job: JobId, now: Now) -> bool {
        let Some(held) = self.ledger.get(job) else { return false };
        let Some(options) = held.facts.task.options.batch else { return false };
        if held.message.properties.failed_deliveries > 0 || held.suspicion > 0 {
            return false;
        }
        let patience = if held.is_ripe { 0 } else { micros(options) };
        self.batcher.add(held.facts.name(), job, options, now.steady.saturating_add(patience));
        true
    }

    /// Gives batches that are ready to children that want some.
    pub(super) fn dispatch_batches(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.batcher.tasks.is_empty() || !self.is_open() {
            return;
        }
        let ready = self.batcher.tasks.iter().filter(|(_, gathering)| gathering.is_ready(now));
        let ready: Vec<String> = ready.map(|(task, _)| task.clone()).collect();
        for task in ready {
            while self.batcher.tasks.get(&task).is_some_and(|gathering| gathering.is_ready(now)) {
                let Some((child, _)) = self.pool.neediest(1, now) else { return self.set_down(now) };
                let batch = self.next_batch(&task, now, out);
                let number = self.batcher.batches;
                self.batcher.batches += 1;
                let seat = |place: usize| Some(Seat { batch: number, leads: place == 0 });
                let seats = batch.into_iter().enumerate();
                let jobs: Vec<_> = seats.filter_map(|(place, job)| self.assign(job, child, seat(place), now)).collect();
                if !jobs.is_empty() {
                    send(child, jobs, out);
                }
            }
        }
    }

    /// Looks again when the next batch is to be run however small it is.
    pub(super) fn expect_batch(&mut self, now: Now) {
        if let Some(due) = self.batcher.tasks.values().map(|gathering| gathering.due).min() {
            self.alarm.at_steady(due, now);
        }
    }

    /// No child wants what is ready: it waits with all that waits, so that others can have it if that takes long.
    fn set_down(&mut self, now: Now) {
        let ready: Vec<String> =
            self.batcher.tasks.iter().filter(|(_, found)| found.is_ready(now)).map(|(task, _)| task.clone()).collect();
        for gathering in ready.iter().filter_map(|task| self.batcher.tasks.remove(task)).collect::<Vec<_>>() {
            for job in gathering.jobs.into_iter().rev() {
                let Some(held) = self.ledger.get_mut(job).filter(|held| held.place == Place::Waiting) else { continue };
                held.is_ripe = true;
                self.waiting.push_front(job);
            }
        }
    }

    /// Takes the next batch of a task; those that may not run any more are ended.
    fn next_batch(&mut self, task: &str, now: Now, out: &mut Vec<Output>) -> Vec<JobId> {
        let Some(gathering) = self.batcher.tasks.get_mut(task) else { return Vec::new() };
        let most = gathering.options.most.min(gathering.jobs.len());
        let taken: Vec<JobId> = gathering.jobs.drain(..most).collect();
        // What is left came later; unless it has waited before, it waits as if the first of it had come now.
        let next = gathering.jobs.front().and_then(|job| self.ledger.get(*job));
        if next.is_none_or(|held| !held.is_ripe) {
            gathering.due = now.steady.saturating_add(micros(gathering.options));
        }
        if gathering.jobs.is_empty() {
            self.batcher.tasks.remove(task);
        }
        let mut batch = Vec::with_capacity(taken.len());
        for job in taken {
            let Some(held) = self.ledger.get(job).filter(|held| held.place == Place::Waiting) else { continue };
            if held.facts.is_expired(now.wall) {
                self.expire(job, now, out);
            } else if self.is_revoked(held, now) {
                self.discard_revoked(job, now, out);
            } else {
                batch.push(job);
            }
        }
        batch
    }

    /// Whether two jobs are of the same batch.
    pub(super) fn run_as_one(&self, one: JobId, other: JobId) -> bool {
        let batch = |job| self.ledger.get(job).and_then(|held| held.seat).map(|seat| seat.batch);
        batch(one).is_some_and(|number| batch(other) == Some(number))
    }
}

fn micros(options: BatchOptions) -> Micros {
    Micros::try_from(options.patience.as_micros()).unwrap_or(Micros::MAX)
}
