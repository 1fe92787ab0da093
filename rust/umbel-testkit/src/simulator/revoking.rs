//! Tasks are revoked: every worker in touch is told, and the broker remembers it for those that are not.

use std::collections::BTreeMap;

use umbel_broker::{Revocation, Revoked, Tag};
use umbel_protocol::Timestamp;
use umbel_worker::engine::{ChildId, Input};

use super::chords::{FAIL_DEPENDENTS, UNLOCK};
use super::counts::Happening;
use super::world::{Event, World};

/// Ids of revoked tasks, each with the signal for the process that runs it.
pub(super) type Revocations = BTreeMap<String, Option<i32>>;

/// `SIGKILL`.
const KILL: i32 = 9;

/// The end of every revocation: clocks jump, and it is not to end before the history.
const NEVER: Timestamp = Timestamp(i64::MAX);

fn input(ids: impl Iterator<Item = String>, signal: Option<i32>) -> Input {
    let revocations = ids.map(|id| Revocation { what: Revoked::Task(id), until: NEVER }).collect();
    Input::Revoke { revocations, signal }
}

impl World {
    /// Revokes a task that has been sent.
    pub(super) fn revoke(&mut self, signal: Option<i32>) {
        // Nobody knows the ids of the messages by which chords end.
        let known = self.plans.values().filter(|plan| !matches!(plan.task, UNLOCK | FAIL_DEPENDENTS));
        let ids: Vec<String> = known.map(|plan| plan.id.clone()).collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.rng.usize(..ids.len())].clone();
        self.note(|| format!("{id} is revoked, signal {signal:?}"));
        self.count(Happening::Revoked);
        self.revoked.insert(id.clone(), signal);
        let listening: Vec<usize> = self.living().filter(|&worker| self.workers[worker].is_in_touch()).collect();
        for worker in listening {
            let wait = self.rng.i64(10..2_000);
            self.after(wait, Event::ToEngine { worker, input: input(std::iter::once(id.clone()), signal) });
        }
    }

    /// A worker reads what the broker remembers.
    pub(super) fn remind(&mut self, worker: usize) {
        if !self.revoked.is_empty() {
            let ids: Vec<String> = self.revoked.keys().cloned().collect();
            self.feed(worker, input(ids.into_iter(), None));
        }
    }

    /// What an engine is told, so that it can be held to it.
    pub(super) fn told(&mut self, worker: usize, told: &Input) {
        let Input::Revoke { revocations, signal } = told else { return };
        for revocation in revocations {
            if let Revoked::Task(id) = &revocation.what {
                let known = self.workers[worker].told_revoked.entry(id.clone()).or_insert(*signal);
                *known = signal.or(*known);
            }
        }
    }

    /// A child is sent a signal: it must be able to die of it, and run a task that is to be terminated.
    pub(super) fn signal(&mut self, worker: usize, child: ChildId, signal: i32) {
        if !self.workers[worker].is_killable || self.terminated(worker, child).is_empty() || signal == KILL {
            self.violated(format!("w{worker} sends child {} signal {signal} without a reason", child.0));
        }
        self.count(Happening::KilledByEngine);
        if self.rng.u32(..4) > 0 {
            self.child_dies(worker, child, "signal 15 (SIGTERM)");
        }
    }

    /// Deliveries whose runs in a child are to be terminated, as far as its engine knows; noted as such.
    pub(super) fn terminated(&mut self, worker: usize, child: ChildId) -> Vec<Tag> {
        let told = &self.workers[worker].told_revoked;
        let runs = self.runs.iter().filter(|run| run.worker == worker && run.child == child);
        let meant = runs.filter(|run| run.start_heard && !run.end_heard).filter(|run| {
            let id = &self.broker.stored[run.message].plan.id;
            told.get(id).is_some_and(Option::is_some)
        });
        let tags: Vec<Tag> = meant.map(|run| run.tag.clone()).collect();
        for tag in &tags {
            self.handlings.entry(tag.clone()).or_default().terminated = true;
        }
        tags
    }
}
