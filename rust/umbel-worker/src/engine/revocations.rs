//! Tasks that are not to run: what has been revoked, and what becomes of a job that is.
//!
//! A job that has not started ends as soon as the engine hears of it, or finds it among what it fetches: its record says
//! REVOKED and its message is done with. One that runs goes on, unless it is to be terminated: then its process is sent a
//! signal, and when the process is gone the job ends in the same way, while what ran or waited beside it goes back.
//! Where many jobs share a process, this one alone is cancelled by its child, unless the signal is SIGKILL.
//! A job that ends in spite of the signal has ended as it says.

use std::collections::{HashMap, HashSet};

use umbel_broker::{Disposition, Revocation, Revoked};
use umbel_protocol::json::{self, Value};
use umbel_protocol::{Message, ReadOptions, TaskHeaders, Timestamp};

use super::Engine;
use super::input::ChildId;
use super::job::{Cancel, JobId};
use super::ledger::{Held, Place};
use super::output::{Notice, Output};
use super::pool::Cause;
use super::records;
use super::steady::Now;

/// `SIGKILL`, which no process survives.
const KILL: i32 = 9;

/// Entries before ended ones are looked for.
const FIRST_SWEEP: usize = 1_024;

/// What has been revoked, until when.
#[derive(Debug)]
pub(super) struct Revocations {
    tasks: HashMap<String, Timestamp>,
    /// By header and value.
    stamps: HashMap<(String, String), Timestamp>,
    sweep_at: usize,
}

impl Default for Revocations {
    fn default() -> Self {
        Self { tasks: HashMap::new(), stamps: HashMap::new(), sweep_at: FIRST_SWEEP }
    }
}

impl Revocations {
    fn add(&mut self, revocation: &Revocation, now: Timestamp) {
        if self.tasks.len() + self.stamps.len() >= self.sweep_at {
            self.tasks.retain(|_, until| *until > now);
            self.stamps.retain(|_, until| *until > now);
            self.sweep_at = FIRST_SWEEP.max(2 * (self.tasks.len() + self.stamps.len()));
        }
        let until = match &revocation.what {
            Revoked::Task(id) => self.tasks.entry(id.clone()).or_insert(revocation.until),
            Revoked::Stamp { header, value } => {
                self.stamps.entry((header.clone(), value.clone())).or_insert(revocation.until)
            }
        };
        *until = (*until).max(revocation.until);
    }

    /// Whether a task is revoked. Stamps are read only where there are revoked ones.
    pub(super) fn covers(&self, id: &str, message: &Message, now: Timestamp) -> bool {
        let by_id = !self.tasks.is_empty() && self.tasks.get(id).is_some_and(|until| *until > now);
        by_id || (!self.stamps.is_empty() && self.covers_stamps(message, now))
    }

    fn covers_stamps(&self, message: &Message, now: Timestamp) -> bool {
        let Ok(headers) = TaskHeaders::parse(message, &ReadOptions::default()) else { return false };
        let mut stamps =
            headers.stamps.iter().flat_map(|(header, value)| values(value).map(move |value| (header, value)));
        stamps.any(|(header, value)| self.stamps.get(&(header.clone(), value)).is_some_and(|until| *until > now))
    }

    /// Ids of tasks that are revoked now, sorted.
    pub(super) fn task_ids(&self, now: Timestamp) -> Vec<String> {
        let present = self.tasks.iter().filter(|(_, until)| **until > now);
        let mut ids: Vec<String> = present.map(|(id, _)| id.clone()).collect();
        ids.sort_unstable();
        ids
    }
}

/// A stamp's values as text: a list has several.
fn values(stamp: &Value) -> Box<dyn Iterator<Item = String> + '_> {
    match stamp {
        Value::Array(list) => Box::new(list.iter().flat_map(values)),
        Value::String(text) => Box::new(std::iter::once(text.clone())),
        other => Box::new(std::iter::once(json::to_string(other))),
    }
}

impl Engine {
    /// Something was revoked. With a signal, what runs is terminated.
    pub(super) fn revoke(&mut self, revocations: &[Revocation], signal: Option<i32>, now: Now, out: &mut Vec<Output>) {
        let mut fresh = Revocations::default();
        for revocation in revocations {
            self.revocations.add(revocation, now.wall);
            fresh.add(revocation, now.wall);
        }
        let is_meant = |held: &Held| fresh.covers(held.facts.id(), &held.message, now.wall);
        for job in self.ledger.find(is_meant) {
            self.end_revoked(job, signal, now, out);
        }
    }

    /// Whether a job is not to start.
    pub(super) fn is_revoked(&self, held: &Held, now: Now) -> bool {
        self.revocations.covers(held.facts.id(), &held.message, now.wall)
    }

    fn end_revoked(&mut self, job: JobId, signal: Option<i32>, now: Now, out: &mut Vec<Output>) {
        let Some(held) = self.ledger.get_mut(job) else { return };
        match held.place {
            Place::Waiting => self.discard_revoked(job, now, out),
            Place::Timed => {
                if let Some(eta) = held.facts.eta() {
                    self.timer.remove(eta, job);
                }
                self.discard_revoked(job, now, out);
            }
            Place::Queued(child) => {
                held.terminate = signal.or(held.terminate);
                if !held.recalled {
                    self.recall_jobs(child, vec![job], out);
                }
            }
            Place::Running(child) => {
                if let Some(signal) = signal {
                    self.terminate(job, child, signal, out);
                }
            }
        }
    }

    /// A job that has not started ends without being run.
    pub(super) fn discard_revoked(&mut self, job: JobId, now: Now, out: &mut Vec<Output>) {
        let Some(held) = self.ledger.get(job) else { return };
        let record = records::revoked(&held.facts, &self.last_try(held, None), self.config.result_expires, now.wall);
        let last_words = self.last_words(held, record);
        self.totals.revoked += 1;
        out.push(Output::Notice(Notice::Discarded {
            task: held.facts.name().to_owned(),
            id: held.facts.id().to_owned(),
            why: "revoked",
        }));
        self.ledger.close(job, Disposition::Ack, last_words);
        self.fetcher.freed();
    }

    /// A job that was revoked while it was on its way to its child has started there.
    pub(super) fn terminate_started(&mut self, child: ChildId, jobs: &[JobId], out: &mut Vec<Output>) {
        let doomed: HashSet<(JobId, i32)> = jobs
            .iter()
            .filter_map(|&job| Some((job, self.ledger.get(job).filter(|held| held.place == Place::Running(child))?)))
            .filter_map(|(job, held)| Some((job, held.terminate?)))
            .collect();
        for (job, signal) in doomed {
            self.terminate(job, child, signal, out);
        }
    }

    /// Sends a running job's process a signal, or has the job cancelled that runs there beside others.
    fn terminate(&mut self, job: JobId, at: ChildId, signal: i32, out: &mut Vec<Output>) {
        let (Some(held), Some(child)) = (self.ledger.get_mut(job), self.pool.get_mut(at)) else { return };
        held.terminate = Some(signal);
        if !child.killable {
            let (task, id) = (held.facts.name().to_owned(), held.facts.id().to_owned());
            out.push(Output::Notice(Notice::Unkillable { task, id }));
            return;
        }
        if child.slots > 1 && signal != KILL {
            out.push(Output::Cancel { child: at, job, why: Cancel::Revoked });
            return;
        }
        child.signalled = true;
        if signal == KILL {
            self.pool.kill(at, Cause::Revoked, out);
        } else {
            out.push(Output::Signal { child: at, signal });
        }
        self.recall(at, out);
    }

    /// A job has ended at its child: if that was to die for it and lives, it is as good as any.
    pub(super) fn survived(&mut self, at: ChildId) {
        let Some(child) = self.pool.get(at).filter(|child| child.signalled) else { return };
        let others = child.running.iter().filter_map(|&job| self.ledger.get(job));
        let still_meant = others.into_iter().any(|held| held.terminate.is_some());
        if let Some(child) = self.pool.get_mut(at).filter(|_| !still_meant) {
            child.signalled = false;
        }
    }

    /// A revoked job ended with its process.
    pub(super) fn end_terminated(&mut self, job: JobId, now: Now, out: &mut Vec<Output>) {
        let Some(held) = self.ledger.get(job) else { return };
        let record =
            records::terminated(&held.facts, &self.last_try(held, Some(now)), self.config.result_expires, now.wall);
        let last_words = self.last_words(held, record);
        self.totals.revoked += 1;
        out.push(Output::Notice(Notice::Terminated {
            task: held.facts.name().to_owned(),
            id: held.facts.id().to_owned(),
            signal: held.terminate.unwrap_or(KILL),
        }));
        self.ledger.close(job, Disposition::Ack, last_words);
    }
}
