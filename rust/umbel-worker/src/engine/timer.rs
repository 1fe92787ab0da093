//! Jobs that are due soon, in order of their eta.

use std::collections::BTreeSet;

use umbel_protocol::Timestamp;

use super::job::JobId;

/// Jobs held here at most; further ones go to the broker's delayed set, however soon they are due.
const MOST: usize = 1_024;

/// Jobs waiting for their eta.
#[derive(Debug, Default)]
pub(super) struct Timer {
    due: BTreeSet<(Timestamp, JobId)>,
}

impl Timer {
    /// Whether there is room for another.
    pub(super) fn has_room(&self) -> bool {
        self.due.len() < MOST
    }

    /// Waits for `eta`.
    pub(super) fn insert(&mut self, eta: Timestamp, job: JobId) {
        self.due.insert((eta, job));
    }

    /// Waits no more for a job.
    pub(super) fn remove(&mut self, eta: Timestamp, job: JobId) {
        self.due.remove(&(eta, job));
    }

    /// The next job that is due, in order of eta.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<JobId> {
        let &(eta, job) = self.due.first()?;
        (eta <= now).then(|| {
            self.due.pop_first();
            job
        })
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|&(eta, _)| eta)
    }

    /// Gives up all jobs, earliest first.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = JobId> {
        std::mem::take(&mut self.due).into_iter().map(|(_, job)| job)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }
}
