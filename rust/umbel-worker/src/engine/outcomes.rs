//! What children say of their jobs. Frames of a child that is gone, or of a job that ended, are ignored.

use umbel_broker::Disposition;
use umbel_protocol::ResultWrite;

use super::Engine;
use super::acks::{Loss, after_loss, after_run};
use super::input::ChildId;
use super::job::{JobId, Outcome, Verdict};
use super::ledger::{Claim, Place, Yield};
use super::limits::Deadlines;
use super::output::{Notice, Output};
use super::steady::{Micros, Now};

impl Engine {
    /// Jobs began: early acks are due, time limits run.
    pub(super) fn started(&mut self, from: ChildId, jobs: &[JobId], now: Now) {
        for &job in jobs {
            if self.ledger.get(job).is_none_or(|held| held.place != Place::Queued(from)) {
                continue;
            }
            self.take_from_queue(job, from);
            self.run(job, from, now);
            if self.acks_at_start(job) {
                self.ledger.acknowledge(job);
                self.fetcher.freed();
            }
        }
    }

    fn run(&mut self, job: JobId, at: ChildId, now: Now) {
        let (Some(held), Some(child)) = (self.ledger.get_mut(job), self.pool.get_mut(at)) else { return };
        held.place = Place::Running(at);
        if child.slots > 1 {
            held.since = now.steady;
        }
        if child.killable {
            held.deadlines = Deadlines::starting(now, held.facts.soft_time_limit, held.facts.time_limit);
            self.next_limit = self.next_limit.into_iter().chain(held.deadlines.next()).min();
        }
        child.running.push(job);
        child.load += held.predicted;
        child.companions += usize::from(held.seat.is_some_and(|seat| !seat.leads));
    }

    fn acks_at_start(&self, job: JobId) -> bool {
        #[cfg(feature = "sabotage")]
        if self.ledger.sabotage == Some(super::Sabotage::AckEarly) {
            return true;
        }
        self.ledger.get(job).is_some_and(|held| !held.facts.task.options.acks_late)
    }

    /// A running job has a record to store.
    pub(super) fn progress(&mut self, job: JobId, mut result: ResultWrite) {
        let at_child = |place| matches!(place, Place::Queued(_) | Place::Running(_));
        if let Some(held) = self.ledger.get(job).filter(|held| at_child(held.place)) {
            self.ledger.address(std::slice::from_mut(&mut result), &held.message);
            self.ledger.owe_record(result);
        }
    }

    /// A job ended. Its start may not have been told apart from its end.
    pub(super) fn finished(&mut self, from: ChildId, outcome: Outcome, now: Now, out: &mut Vec<Output>) {
        let job = outcome.job;
        let Some(held) = self.ledger.get(job) else { return };
        if held.place != Place::Queued(from) && held.place != Place::Running(from) {
            return;
        }
        self.measure(job, from, now);
        self.leave_child(job, from);
        self.survived(from);
        self.expect_to_leave(from);
        self.pool.prove(from);
        self.fetcher.freed();
        self.totals.count(&outcome.verdict);
        self.settle(outcome, out);
    }

    fn settle(&mut self, outcome: Outcome, out: &mut Vec<Output>) {
        let Outcome { job, verdict, result, publish } = outcome;
        let Some(held) = self.ledger.get(job) else { return };
        let (requeued, retried) = (verdict == Verdict::Requeue, verdict == Verdict::Retry);
        let started = matches!(held.place, Place::Running(_));
        let acknowledged = held.claim == Claim::Acknowledged;
        let overran = held.overran && verdict == Verdict::Failure;
        if overran && let Some(again) = after_loss(Loss::TimeLimit, acknowledged, &held.facts.task.options) {
            self.announce(job, &again, "its time limit passed", out);
            self.ledger.close(job, again, Yield::default());
            return;
        }
        let disposition = match overran {
            true => Disposition::Ack,
            false => after_run(verdict, started, &held.facts.task.options),
        };
        if held.claim != Claim::Lost {
            self.announce(job, &disposition, if requeued { "the task asked for it" } else { "" }, out);
        }
        if retried {
            self.keep_lock(job);
        }
        self.ledger.close(job, disposition, Yield { publish, ..Yield::record(result) });
    }

    /// A job is at its child no more.
    pub(super) fn leave_child(&mut self, job: JobId, at: ChildId) {
        let Some(held) = self.ledger.get(job) else { return };
        if held.place == Place::Queued(at) {
            return self.take_from_queue(job, at);
        }
        let Some(child) = self.pool.get_mut(at) else { return };
        let Some(index) = child.running.iter().position(|&running| running == job) else { return };
        child.running.swap_remove(index);
        child.load -= held.predicted;
        child.companions -= usize::from(held.seat.is_some_and(|seat| !seat.leads));
    }

    /// Outcomes come in batches, so that short jobs are measured by the time between two of them: the first of a batch
    /// gets all of it. A job whose start was told, where several run at a time, is measured by itself.
    fn measure(&mut self, job: JobId, at: ChildId, now: Now) {
        let (Some(held), Some(child)) = (self.ledger.get(job), self.pool.get_mut(at)) else { return };
        let took: Micros = match held.place {
            Place::Running(_) if child.slots > 1 => now.steady - held.since,
            _ => {
                let slots = child.slots.saturating_sub(child.running.len()).max(1);
                let slots = Micros::try_from(slots).unwrap_or(Micros::MAX);
                (now.steady - held.since.max(child.active_at)).saturating_mul(slots)
            }
        };
        child.active_at = now.steady;
        self.tasks.record(&held.facts.task, took);
        self.window.record(took, self.pool.slots());
    }

    /// Tells people where a message went, unless it just ended.
    pub(super) fn announce(&mut self, job: JobId, disposition: &Disposition, why: &str, out: &mut Vec<Output>) {
        let Some(held) = self.ledger.get(job) else { return };
        let names = || (held.facts.name().to_owned(), held.facts.id().to_owned());
        match disposition {
            Disposition::Requeue { .. } => {
                let (task, id) = names();
                self.totals.requeued += 1;
                out.push(Output::Notice(Notice::Requeued { task, id, why: why.to_owned() }));
            }
            Disposition::Dead(reason) => {
                let (task, id) = names();
                self.totals.dead += 1;
                out.push(Output::Notice(Notice::Dead { task, id, reason: reason.clone() }));
            }
            Disposition::Ack | Disposition::Delay { .. } | Disposition::Enter(_) => {}
        }
    }
}
