//! What becomes of the jobs of a child that is gone.

use std::collections::VecDeque;
use std::time::Duration;

use umbel_broker::Disposition;

use super::Engine;
use super::acks::{Loss, RETURNED, after_loss};
use super::input::ChildId;
use super::job::JobId;
use super::ledger::{Claim, Held, Yield};
use super::output::{Notice, Output};
use super::pool::{Cause, Child, State};
use super::records;
use super::steady::Now;
use super::tries::LastTry;

/// A job that was next in line when this many children died is taken for the one that kills them, although none
/// of them had said that it started.
const SUSPICIOUS: u8 = 3;

impl Engine {
    /// A child is gone. What it said before stands; what it had not started goes to others, not counted as failed.
    pub(super) fn child_gone(&mut self, id: ChildId, how: &str, now: Now, out: &mut Vec<Output>) {
        let Some(child) = self.pool.remove(id, now) else {
            let gone =
                Notice::ChildGone { child: id, how: how.to_owned(), expected: !self.is_open(), running: Vec::new() };
            out.push(Output::Notice(gone));
            return;
        };
        self.queued -= child.queued.len();
        self.announce_death(id, &child, how, out);
        // All known before the first of them is gone: those of a batch share its fate.
        let losses: Vec<(JobId, Loss)> = child.running.iter().map(|&job| (job, self.loss_of(&child, job))).collect();
        for (job, loss) in losses {
            self.lose(job, loss, how, now, out);
        }
        let queued = self.without_suspects(&child, how, now, out);
        self.take_back(queued, out);
    }

    pub(super) fn announce_death(&self, id: ChildId, child: &Child, how: &str, out: &mut Vec<Output>) {
        let running = child.running.iter().filter_map(|&job| self.ledger.get(job));
        out.push(Output::Notice(Notice::ChildGone {
            child: id,
            how: how.to_owned(),
            expected: child.state != State::Active || child.signalled,
            running: running.map(|held| held.facts.id().to_owned()).collect(),
        }));
    }

    fn loss_of(&self, child: &Child, job: JobId) -> Loss {
        match child.state {
            State::Killed(Cause::Limit(guilty)) if guilty == job || self.run_as_one(guilty, job) => Loss::TimeLimit,
            _ if child.signalled && self.ledger.get(job).is_some_and(|held| held.terminate.is_some()) => Loss::Revoked,
            _ if child.is_doomed() => Loss::Ours,
            _ => Loss::Died,
        }
    }

    /// The jobs that were queued at a child, less one that has now seen too many children die. A child that died
    /// of a job may not have come to say that it had started it.
    fn without_suspects(&mut self, child: &Child, how: &str, now: Now, out: &mut Vec<Output>) -> VecDeque<JobId> {
        let mut queued = child.queued.clone();
        if child.is_doomed() {
            return queued;
        }
        let next_in_line = child.slots.saturating_sub(child.running.len()).min(queued.len());
        let mut guilty = Vec::new();
        for &job in queued.iter().take(next_in_line) {
            let Some(held) = self.ledger.get_mut(job) else { continue };
            held.suspicion += 1;
            if held.suspicion >= SUSPICIOUS {
                guilty.push(job);
            }
        }
        queued.retain(|job| !guilty.contains(job));
        for job in guilty {
            self.lose(job, Loss::Died, how, now, out);
        }
        queued
    }

    /// A job's child is gone while it ran.
    pub(super) fn lose(&mut self, job: JobId, loss: Loss, how: &str, now: Now, out: &mut Vec<Output>) {
        let Some(held) = self.ledger.get(job) else { return };
        self.fetcher.freed();
        if held.claim == Claim::Lost {
            self.ledger.drop_lost(job);
            return;
        }
        if loss == Loss::Revoked {
            return self.end_terminated(job, now, out);
        }
        let acknowledged = held.claim == Claim::Acknowledged;
        match after_loss(loss, acknowledged, &held.facts.task.options) {
            Some(disposition) => {
                self.announce(job, &disposition, &why(loss, how), out);
                self.ledger.close(job, disposition, Yield::default());
            }
            None => {
                let record = self.failure(held, loss, how, now);
                let last_words = self.last_words(held, record);
                self.totals.failed += 1;
                self.ledger.close(job, Disposition::Ack, last_words);
            }
        }
    }

    fn failure(&self, held: &Held, loss: Loss, how: &str, now: Now) -> Option<umbel_protocol::ResultWrite> {
        let (expires, last) = (self.config.result_expires, self.last_try(held, Some(now)));
        match loss {
            Loss::TimeLimit => records::time_limit_exceeded(&held.facts, &last, expires, now.wall),
            Loss::Revoked | Loss::Ours | Loss::Died => records::worker_lost(&held.facts, &last, how, expires, now.wall),
        }
    }

    /// What is known of a job's try, which has run until `ran`, if it ran.
    pub(super) fn last_try<'a>(&'a self, held: &'a Held, ran: Option<Now>) -> LastTry<'a> {
        let began = ran.map(|now| {
            let took = u64::try_from(now.steady - held.since).unwrap_or(0);
            now.wall.before(Duration::from_micros(took))
        });
        LastTry { message: &held.message, worker: &self.config.hostname, began }
    }

    /// Puts a message that was not started back to the front of its queue. One under suspicion takes that along as a
    /// failed delivery: else it could kill children for ever, a few at each worker.
    pub(super) fn give_back(&mut self, job: JobId, why: &str, out: &mut Vec<Output>) {
        let suspected = self.ledger.get(job).is_some_and(|held| held.suspicion > 0);
        let disposition = if suspected { Disposition::Requeue { front: true, failed: true } } else { RETURNED };
        self.announce(job, &disposition, why, out);
        self.ledger.close(job, disposition, Yield::default());
    }
}

fn why(loss: Loss, how: &str) -> String {
    match loss {
        Loss::TimeLimit => "its time limit passed".to_owned(),
        Loss::Revoked => "it was revoked".to_owned(),
        Loss::Ours => "its child process was killed for another reason".to_owned(),
        Loss::Died => format!("its child process died: {how}"),
    }
}
