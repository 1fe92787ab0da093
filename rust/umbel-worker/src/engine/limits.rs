//! Soft and hard time limits.

use std::time::Duration;

use super::Engine;
use super::input::ChildId;
use super::job::JobId;
use super::output::{Notice, Output};
use super::pool::{Cause, State};
use super::steady::{Micros, Now};

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
        let mut next = None;
        for (child, state) in self.pool.iter() {
            if matches!(state.state, State::Killed(_)) {
                continue;
            }
            for &job in &state.running {
                let Some(held) = self.ledger.get(job) else { continue };
                match held.deadlines {
                    Deadlines { hard: Some(at), .. } if at <= now.steady => passed.push((child, job, true)),
                    Deadlines { soft: Some(at), .. } if at <= now.steady => passed.push((child, job, false)),
                    _ => {}
                }
                let left = Deadlines { soft: held.deadlines.soft.filter(|&at| at > now.steady), ..held.deadlines };
                next = next.into_iter().chain(left.next()).min();
            }
        }
        self.next_limit = next.filter(|&at| at > now.steady);
        for (child, job, hard) in passed {
            self.limit_passed(child, job, hard, out);
        }
    }

    fn limit_passed(&mut self, child: ChildId, job: JobId, hard: bool, out: &mut Vec<Output>) {
        let Some(held) = self.ledger.get_mut(job) else { return };
        let limit = if hard { held.facts.time_limit } else { held.facts.soft_time_limit };
        out.push(Output::Notice(Notice::Limit {
            task: held.facts.name().to_owned(),
            id: held.facts.id().to_owned(),
            hard,
            seconds: limit.unwrap_or_default().as_secs_f64(),
        }));
        if hard {
            self.pool.kill(child, Cause::Limit(job), out);
        } else {
            held.deadlines.soft = None;
            out.push(Output::SoftLimit { child, job });
        }
    }
}
