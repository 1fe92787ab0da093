//! Which child runs what: hands out waiting jobs, takes back what waits behind a long one.

use std::collections::VecDeque;

use super::Engine;
use super::batcher::Seat;
use super::input::ChildId;
use super::job::{Job, JobId};
use super::ledger::{Claim, Place};
use super::output::Output;
use super::pool::{State, UNKNOWN};
use super::steady::{Micros, Now};

/// A child that has been on one job for this long keeps the others from nobody. A busy one may be silent for 20 ms.
const STALL: Micros = 30_000;

impl Engine {
    /// Gives waiting jobs to children that want some.
    pub(super) fn dispatch(&mut self, now: Now, out: &mut Vec<Output>) {
        if !self.is_open() {
            return;
        }
        while !self.waiting.is_empty() {
            let Some((child, share)) = self.pool.neediest(self.waiting.len(), now) else { break };
            let mut jobs = Vec::new();
            while jobs.len() < share && self.pool.get(child).is_some_and(|child| child.has_room(now)) {
                let Some(job) = self.next_waiting(now, out) else { break };
                jobs.extend(self.assign(job, child, None, now));
            }
            if !jobs.is_empty() {
                send(child, jobs, out);
            }
        }
    }

    /// The next waiting job that has not expired or been revoked in the meantime, and has its slots and its turn. One
    /// that is to run with others gathers instead.
    fn next_waiting(&mut self, now: Now, out: &mut Vec<Output>) -> Option<JobId> {
        while let Some(job) = self.waiting.pop_front() {
            let Some(held) = self.ledger.get(job) else { continue };
            if held.place != Place::Waiting {
                continue;
            }
            let (is_limited, is_batched) = (held.pass.is_some(), held.facts.task.options.batch.is_some());
            if held.facts.is_expired(now.wall) {
                self.expire(job, now, out);
                continue;
            }
            if self.is_revoked(held, now) {
                self.discard_revoked(job, now, out);
                continue;
            }
            let may_start = (!is_limited || self.has_its_slots(job)) && self.has_its_turn(job, now, out);
            if may_start && !(is_batched && self.gathers(job, now)) {
                return Some(job);
            }
        }
        None
    }

    /// Enters a job with a child, in its seat if it is one of a batch.
    pub(super) fn assign(&mut self, job: JobId, to: ChildId, seat: Option<Seat>, now: Now) -> Option<Job> {
        let child = self.pool.get_mut(to)?;
        let held = self.ledger.get_mut(job)?;
        held.place = Place::Queued(to);
        held.since = now.steady;
        held.recalled = false;
        held.seat = seat;
        held.is_ripe = true;
        held.predicted = self.tasks.predict(&held.facts.task).unwrap_or(UNKNOWN);
        if child.assigned() == 0 {
            child.active_at = now.steady;
        }
        child.queued.push_back(job);
        child.load += held.predicted;
        child.companions += usize::from(seat.is_some_and(|seat| !seat.leads));
        self.queued += 1;
        let (queue, facts, message) = (held.queue.clone(), held.facts.headers.clone(), held.message.clone());
        Some(Job { id: job, queue, facts, message, batch: seat.map(|seat| seat.batch) })
    }

    /// When nothing waits here and a child is idle: takes back what is queued behind a job that has been running
    /// for long. Says when to look again if one might come to that.
    pub(super) fn rebalance(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.queued == 0 || !self.waiting.is_empty() {
            return;
        }
        let idle = self.pool.iter().filter(|(_, child)| child.is_idle()).count();
        if idle == 0 {
            return;
        }
        let mut stalled = Vec::new();
        for (id, child) in self.pool.iter() {
            let others_idle = idle > usize::from(child.is_idle());
            let has_some = child.state == State::Active && child.queued.iter().any(|&job| self.is_recallable(job));
            if !others_idle || !has_some {
                continue;
            }
            if child.stalled_for(now) >= STALL {
                stalled.push(id);
            } else {
                self.alarm.at_steady(child.active_at + STALL, now);
            }
        }
        for child in stalled {
            self.recall(child, out);
        }
    }

    /// Asks a child for everything it has not started.
    pub(super) fn recall(&mut self, from: ChildId, out: &mut Vec<Output>) {
        let Some(child) = self.pool.get(from) else { return };
        let jobs: Vec<JobId> = child.queued.iter().copied().filter(|&job| self.is_recallable(job)).collect();
        self.recall_jobs(from, jobs, out);
    }

    /// Asks a child for these jobs.
    pub(super) fn recall_jobs(&mut self, from: ChildId, jobs: Vec<JobId>, out: &mut Vec<Output>) {
        for &job in &jobs {
            if let Some(held) = self.ledger.get_mut(job) {
                held.recalled = true;
            }
        }
        if !jobs.is_empty() {
            out.push(Output::Recall { child: from, jobs });
        }
    }

    fn is_recallable(&self, job: JobId) -> bool {
        self.ledger.get(job).is_some_and(|held| !held.recalled)
    }

    /// A child gives jobs back: others get them, before what came later.
    pub(super) fn returned(&mut self, from: ChildId, jobs: &[JobId], out: &mut Vec<Output>) {
        let mut back = VecDeque::new();
        for &job in jobs {
            if self.ledger.get(job).is_some_and(|held| held.place == Place::Queued(from)) {
                self.take_from_queue(job, from);
                back.push_back(job);
            }
        }
        self.take_back(back, out);
    }

    /// Jobs that were not started are without a child: dispatched anew, or returned when the worker ends.
    pub(super) fn take_back(&mut self, jobs: VecDeque<JobId>, out: &mut Vec<Output>) {
        let open = self.is_open();
        for job in jobs.into_iter().rev() {
            let Some(held) = self.ledger.get_mut(job) else { continue };
            held.place = Place::Waiting;
            match held.claim {
                Claim::Lost => self.ledger.drop_lost(job),
                _ if open => self.waiting.push_front(job),
                _ => self.give_back(job, "the worker shuts down", out),
            }
        }
    }

    /// A job leaves the queue of its child: it started, or was given back.
    pub(super) fn take_from_queue(&mut self, job: JobId, child: ChildId) {
        let Some(child) = self.pool.get_mut(child) else { return };
        let Some(at) = child.queued.iter().position(|&queued| queued == job) else { return };
        child.queued.remove(at);
        self.queued -= 1;
        if let Some(held) = self.ledger.get(job) {
            child.load -= held.predicted;
            child.companions -= usize::from(held.seat.is_some_and(|seat| !seat.leads));
        }
    }
}

/// Jobs for a child that is given some already go in the same batch.
pub(super) fn send(to: ChildId, mut jobs: Vec<Job>, out: &mut Vec<Output>) {
    match out.last_mut() {
        Some(Output::Dispatch { child, jobs: batch }) if *child == to => batch.append(&mut jobs),
        _ => out.push(Output::Dispatch { child: to, jobs }),
    }
}
