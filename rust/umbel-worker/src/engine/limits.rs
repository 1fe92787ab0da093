//! Time limits: soft and hard ones of jobs, and that of a child that was told to end.

use std::time::Duration;

use super::Engine;
use super::input::ChildId;
use super::job::{Cancel, JobId};
use super::output::{Notice, Output};
use super::pool::{Cause, Child, State};
use super::steady::{Micros, Now};

/// How long a job beside others has to end once it was cancelled, before its child is killed and they with it.
const TIME_TO_CANCEL: Micros = 5_000_000;

/// When a running job's limits pass, in steady time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Deadlines {
    soft: Option<Micros>,
    hard: Option<Micros>,
}

impl Deadlines {
    /// The deadlines of a job that starts now.
    pub(super) fn starting(now: Now, soft: Option<Duration>, hard: Option<Duration>) -> Self {
        let at = |limit: Duration| now.steady.saturating_add(i64::try_from(limit.as_micros()).unwrap_or(i64::MAX));
        Self { soft: soft.map(at), hard: hard.map(at) }
    }

    /// The earlier one.
    pub(super) fn next(&self) -> Option<Micros> {
        [self.soft, self.hard].into_iter().flatten().min()
    }
}

impl Engine {
    /// Raises soft limits and kills for hard ones that have passed. `next_limit` is never later than the earliest
    /// deadline, so most calls look at nothing.
    pub(super) fn enforce_limits(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.next_limit.is_none_or(|at| now.steady < at) {
            return;
        }
        let mut passed = Vec::new();
        let mut overdue = Vec::new();
        let mut next = None;
        for (child, state) in self.pool.iter() {
            if matches!(state.state, State::Killed(_)) {
                continue;
            }
            match state.overdue_at() {
                Some(at) if at <= now.steady => overdue.push(child),
                at => next = next.into_iter().chain(at).min(),
            }
            for &job in &state.running {
                let Some(held) = self.ledger.get(job) else { continue };
                let Deadlines { soft, hard } = held.deadlines;
                let is_over = |limit: Option<Micros>| limit.is_some_and(|at| at <= now.steady);
                if is_over(hard) {
                    passed.push((child, job, true));
                    continue;
                }
                if is_over(soft) {
                    passed.push((child, job, false));
                }
                next = next.into_iter().chain(soft.filter(|&at| at > now.steady)).chain(hard).min();
            }
        }
        self.next_limit = next;
        for child in overdue {
            self.pool.kill(child, Cause::Overdue, out);
        }
        for (child, job, hard) in passed {
            self.limit_passed(child, job, hard, now, out);
        }
    }

    /// Looks again no later than when a child that was told to end should be gone.
    pub(super) fn expect_to_leave(&mut self, child: ChildId) {
        let at = self.pool.get(child).and_then(Child::overdue_at);
        self.next_limit = self.next_limit.into_iter().chain(at).min();
    }

    fn limit_passed(&mut self, child: ChildId, job: JobId, hard: bool, now: Now, out: &mut Vec<Output>) {
        let Some(held) = self.ledger.get_mut(job) else { return };
        if held.overran {
            return self.pool.kill(child, Cause::Limit(job), out);
        }
        let limit = if hard { held.facts.time_limit } else { held.facts.soft_time_limit };
        out.push(Output::Notice(Notice::Limit {
            task: held.facts.name().to_owned(),
            id: held.facts.id().to_owned(),
            hard,
            seconds: limit.unwrap_or_default().as_secs_f64(),
        }));
        if hard && self.pool.get(child).is_some_and(|child| child.slots > 1) {
            held.overran = true;
            held.deadlines = Deadlines { soft: None, hard: Some(now.steady + TIME_TO_CANCEL) };
            self.next_limit = self.next_limit.into_iter().chain(held.deadlines.hard).min();
            out.push(Output::Cancel { child, job, why: Cancel::TimeLimit });
        } else if hard {
            self.pool.kill(child, Cause::Limit(job), out);
        } else {
            held.deadlines.soft = None;
            out.push(Output::SoftLimit { child, job });
        }
    }
}
