//! What a child's link knows: jobs that wait and run, and reports not yet written.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::engine::{Cancel, Job, JobId, Outcome};
use crate::link::{fields, frame};

/// How long a report may wait for company.
pub(super) const LINGER: Duration = Duration::from_millis(5);

/// The same, where jobs wait for longer than that before they start.
const LONGEST_LINGER: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(super) struct State {
    /// Jobs that have not started, and when they came.
    pub(super) waiting: VecDeque<(Instant, Job)>,
    /// How long the job that started last had waited here. What is said of it may wait as long, within bounds: that
    /// makes nobody's wait more than twice as long, and each report of a busy child costs the tasks time.
    waited: Duration,
    /// Threads that sleep in `next`.
    pub(super) sleepers: usize,
    /// A thread listens at the socket in `next`.
    pub(super) listening: bool,
    pub(super) running: HashMap<JobId, Job>,
    /// Jobs that run with another, by its number, until they are asked for.
    pub(super) companions: HashMap<JobId, Vec<Job>>,
    /// Running jobs whose soft limit has passed and who have not been told.
    pub(super) overdue: VecDeque<JobId>,
    /// Running jobs to be cancelled.
    pub(super) cancelled: VecDeque<(JobId, Cancel)>,

    /// Started and not yet told.
    pub(super) started: Vec<JobId>,
    /// Encoded frames not yet written; `open` is where its last one starts if that is a `Finished` that may grow.
    pub(super) out: Vec<u8>,
    pub(super) open: Option<usize>,
    /// When what is unsent is to be written.
    pub(super) due: Option<Instant>,
    /// A thread is writing; it looks again before it stops.
    pub(super) writing: bool,
    /// Buffers of the last write, for the next.
    pub(super) spare: (Vec<u8>, Vec<u8>),

    /// When the link thread will look at the buffer by itself.
    pub(super) looks_at: Option<Instant>,
    /// It is to write at once what is in the buffer.
    pub(super) hurried: bool,
    /// Something was reported since it last looked.
    pub(super) active: bool,

    pub(super) retiring: bool,
    pub(super) stopped: bool,
    /// The main process is gone: nothing can be written.
    pub(super) gone: bool,
    /// This end is being dropped.
    pub(super) closing: bool,
}

impl State {
    pub(super) fn has_unsent(&self) -> bool {
        !self.started.is_empty() || !self.out.is_empty()
    }

    /// The next of the waiting jobs, which starts now.
    pub(super) fn start(&mut self) -> Option<Job> {
        let (came, job) = self.waiting.pop_front()?;
        let now = Instant::now();
        self.waited = now.saturating_duration_since(came);
        self.started.push(job.id);
        self.write_by(now + self.linger());
        self.running.insert(job.id, job.clone());
        Some(job)
    }

    /// The waiting jobs of the same batch start with a job.
    pub(super) fn start_companions(&mut self, leader: &Job) {
        let of_batch = |(_, job): &(Instant, Job)| job.batch == leader.batch;
        let (companions, others) = self.waiting.drain(..).partition::<VecDeque<_>, _>(of_batch);
        self.waiting = others;
        let companions: Vec<Job> = companions.into_iter().map(|(_, job)| job).collect();
        for job in &companions {
            self.started.push(job.id);
            self.running.insert(job.id, job.clone());
        }
        self.companions.insert(leader.id, companions);
    }

    /// How long a report about a job may wait.
    pub(super) fn linger(&self) -> Duration {
        self.waited.clamp(LINGER, LONGEST_LINGER)
    }

    /// Something has come into the buffer.
    pub(super) fn write_soon(&mut self) {
        self.write_by(Instant::now() + LINGER);
    }

    fn write_by(&mut self, moment: Instant) {
        self.due = Some(self.due.map_or(moment, |due| due.min(moment)));
    }

    /// Ends a `Finished` frame that could have grown.
    pub(super) fn seal(&mut self) {
        if let Some(start) = self.open.take() {
            frame::close(&mut self.out, start);
        }
    }

    pub(super) fn put_outcome(&mut self, outcome: &Outcome) {
        if self.open.is_some_and(|start| self.out.len() - start >= frame::BATCH) {
            self.seal();
        }
        if self.open.is_none() {
            self.open = Some(frame::open(&mut self.out, frame::FINISHED));
        }
        fields::put_outcome(&mut self.out, outcome);
        if self.due.is_none() {
            self.write_by(Instant::now() + self.linger());
        }
    }

    /// Reports what waits as returned.
    pub(super) fn give_back(&mut self) {
        let jobs: Vec<JobId> = self.waiting.drain(..).map(|(_, job)| job.id).collect();
        self.put_returned(&jobs);
    }

    pub(super) fn put_returned(&mut self, jobs: &[JobId]) {
        self.seal();
        frame::put_ids(&mut self.out, frame::RETURNED, jobs);
        self.write_soon();
    }

    /// Everything unsent: a frame of what started, which precedes all else, and the other frames.
    pub(super) fn take_unsent(&mut self) -> (Vec<u8>, Vec<u8>) {
        self.seal();
        let (mut first, mut second) = std::mem::take(&mut self.spare);
        if !self.started.is_empty() {
            frame::put_ids(&mut first, frame::STARTED, &self.started);
            self.started.clear();
        }
        std::mem::swap(&mut self.out, &mut second);
        self.due = None;
        (first, second)
    }

    pub(super) fn keep_spare(&mut self, (mut first, mut second): (Vec<u8>, Vec<u8>)) {
        first.clear();
        second.clear();
        if second.capacity() <= 4 * frame::BATCH {
            self.spare = (first, second);
        }
    }

    /// Takes those of `jobs` that have not started out of the queue.
    pub(super) fn recall(&mut self, jobs: &[JobId]) -> Vec<JobId> {
        let wanted: HashSet<JobId> = jobs.iter().copied().collect();
        let mut back = Vec::new();
        self.waiting.retain(|(_, job)| {
            let recalled = wanted.contains(&job.id);
            if recalled {
                back.push(job.id);
            }
            !recalled
        });
        back
    }
}
