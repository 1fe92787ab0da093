//! Ending: warm lets running jobs finish within a time, cold does not wait. Both return what was not done.

use super::Engine;
use super::acks::Loss;
use super::input::{ChildId, ShutdownKind};
use super::ledger::Place;
use super::output::Output;
use super::pool::Cause;
use super::steady::{Micros, Now};

/// How long the broker may take to confirm the last settlements, and children that never became ready to come or
/// go, once nothing runs. What is unsettled then comes back by its lease.
const GRACE: Micros = 10_000_000;

/// The same, if connections break and come back meanwhile.
const LAST_GRACE: Micros = 3 * GRACE;

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not ending.
    Open,
    /// Running jobs may finish until then.
    Warm { until: Micros },
    /// Children have been killed.
    Cold,
    /// Nothing runs; waiting for the children to go and for the broker's word until then.
    Closing { until: Micros, latest: Micros, killed: bool },
    /// Over.
    Stopped,
}

impl Engine {
    /// Whether jobs may start.
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Begins to end, or ends harder.
    pub(super) fn shutdown(&mut self, kind: ShutdownKind, now: Now, out: &mut Vec<Output>) {
        if self.is_open() {
            self.return_unstarted(out);
            let timeout = i64::try_from(self.config.shutdown_timeout.as_micros()).unwrap_or(i64::MAX);
            self.phase = Phase::Warm { until: now.steady.saturating_add(timeout) };
        }
        match self.phase {
            Phase::Warm { .. } if kind == ShutdownKind::Cold => self.kill_all(now, out),
            Phase::Closing { .. } if kind == ShutdownKind::Cold => self.kill_remaining(now, out),
            _ => {}
        }
    }

    /// Everything not started goes back, the last first, so that each ends up in front of the next.
    fn return_unstarted(&mut self, out: &mut Vec<Output>) {
        let timed: Vec<_> = self.timer.drain().collect();
        let waiting = std::mem::take(&mut self.waiting);
        let paced: Vec<_> = self.pacer.drain().collect();
        let asking = self.asking();
        let gathered: Vec<_> = self.batcher.drain().collect();
        for job in gathered.into_iter().chain(asking).chain(paced).chain(waiting).chain(timed).rev() {
            if self.ledger.get(job).is_some_and(|held| matches!(held.place, Place::Waiting | Place::Timed)) {
                self.give_back(job, "the worker shuts down", out);
            }
        }
        for child in self.child_ids() {
            self.recall(child, out);
        }
    }

    fn child_ids(&self) -> Vec<ChildId> {
        self.pool.iter().map(|(id, _)| id).collect()
    }

    /// Kills every child. One that cannot be killed is left to itself, and its jobs go back.
    fn kill_all(&mut self, now: Now, out: &mut Vec<Output>) {
        self.phase = Phase::Cold;
        for id in self.child_ids() {
            if self.pool.get(id).is_some_and(|child| child.killable) {
                self.pool.kill(id, Cause::Shutdown, out);
            } else {
                self.abandon(id, now, out);
            }
        }
    }

    /// Gives up on a pool inside this process: its threads cannot be ended, but the process is about to.
    fn abandon(&mut self, id: ChildId, now: Now, out: &mut Vec<Output>) {
        self.pool.stop(id, now, out);
        let Some(child) = self.pool.forget(id) else { return };
        self.announce_death(id, &child, "left to itself, for it cannot be killed", out);
        self.queued -= child.queued.len();
        for job in child.running {
            self.lose(job, Loss::Ours, "the worker shut down", now, out);
        }
        self.take_back(child.queued, out);
    }

    /// Takes the next step towards the end.
    pub(super) fn wind_down(&mut self, now: Now, out: &mut Vec<Output>) {
        match self.phase {
            Phase::Open | Phase::Stopped => {}
            Phase::Warm { until } if now.steady >= until => {
                self.kill_all(now, out);
                self.close_when_idle(now, out);
            }
            Phase::Warm { until } => {
                self.alarm.at_steady(until, now);
                for id in self.child_ids() {
                    if self.pool.get(id).is_some_and(|child| child.assigned() == 0) {
                        self.stop_child(id, now, out);
                    }
                }
                self.close_when_idle(now, out);
            }
            Phase::Cold => self.close_when_idle(now, out),
            Phase::Closing { .. } => self.stop_when_settled(now, out),
        }
    }

    fn close_when_idle(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.ledger.len() == 0 {
            let killed = self.phase == Phase::Cold;
            self.phase = Phase::Closing { until: now.steady + GRACE, latest: now.steady + LAST_GRACE, killed };
            self.stop_when_settled(now, out);
        }
    }

    fn stop_when_settled(&mut self, now: Now, out: &mut Vec<Output>) {
        let Phase::Closing { until, killed, .. } = self.phase else { return };
        let children = self.pool.len() + self.pool.pending();
        let is_settled = self.ledger.unconfirmed() == 0 && !self.fetcher.is_outstanding();
        if children == 0 && is_settled {
            self.phase = Phase::Stopped;
        } else if now.steady < until {
            return self.alarm.at_steady(until, now);
        } else if !killed && self.pool.len() > 0 {
            return self.kill_remaining(now, out);
        } else {
            self.phase = Phase::Stopped;
        }
        out.push(Output::Stopped);
    }

    /// Connected again at the last moment: there is something to wait for.
    pub(super) fn extend_grace(&mut self, now: Now) {
        if let Phase::Closing { until, latest, .. } = &mut self.phase {
            *until = (*until).max(now.steady + GRACE).min(*latest);
        }
    }

    /// Children that were told to end and did not, although they have nothing to do.
    fn kill_remaining(&mut self, now: Now, out: &mut Vec<Output>) {
        self.kill_all(now, out);
        let until = now.steady + GRACE;
        self.phase = Phase::Closing { until, latest: now.steady + LAST_GRACE, killed: true };
        self.alarm.at_steady(until, now);
    }

    /// A child that comes when the worker ends is sent away.
    pub(super) fn send_away(&mut self, id: ChildId, now: Now, out: &mut Vec<Output>) {
        match self.phase {
            Phase::Cold | Phase::Closing { killed: true, .. } => self.pool.kill(id, Cause::Shutdown, out),
            _ => self.stop_child(id, now, out),
        }
    }
}
