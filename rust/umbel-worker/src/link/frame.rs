//! Frames between a worker's main process and a child, version 3.
//!
//! A frame is a `u32` payload length, a `u8` kind and the payload, little endian. Payloads that list things (jobs,
//! outcomes, numbers) have no count: items follow each other to the end, so a batch grows in place. The child speaks
//! first, with `Ready`, which carries the version; a main process that does not know it drops the link.

use umbel_protocol::{Malformed, ResultWrite};

use super::fields::{self, Fields};
use crate::engine::{Cancel, Job, JobId, Outcome};

/// Version of this codec. Both ends come from the same build; a mismatch means a child kept running across an upgrade.
pub const PROTOCOL_VERSION: u32 = 4;

/// The largest payload either end accepts or sends (bytes).
pub const MAX_PAYLOAD: usize = 1 << 30;

/// The largest job or outcome (bytes): one more of these fits into a frame that is not full yet.
pub(super) const MAX_ITEM: usize = MAX_PAYLOAD - BATCH;

/// Length and kind.
pub(super) const HEADER: usize = 5;

/// A batch is split into further frames beyond this size (bytes), so that neither end needs large buffers for it.
pub(super) const BATCH: usize = 256 << 10;

pub(super) const JOBS: u8 = 1;
pub(super) const RECALL: u8 = 2;
pub(super) const SOFT_LIMIT: u8 = 3;
pub(super) const STOP: u8 = 4;
pub(super) const CANCEL: u8 = 5;
pub(super) const READY: u8 = 16;
pub(super) const STARTED: u8 = 17;
pub(super) const PROGRESS: u8 = 18;
pub(super) const FINISHED: u8 = 19;
pub(super) const RETURNED: u8 = 20;
pub(super) const RETIRING: u8 = 21;
pub(super) const WANTS_RELIEF: u8 = 22;

/// What the main process tells a child.
#[derive(Debug, Clone, PartialEq)]
pub enum ToChild {
    /// Run these, in order.
    Jobs(Vec<Job>),
    /// Give back those of these that have not started; answered by one [`ToMain::Returned`].
    Recall(Vec<JobId>),
    /// Raise `SoftTimeLimitExceeded` in this job if it still runs.
    SoftLimit(JobId),
    /// Cancel this job if it still runs, and report its end.
    Cancel(JobId, Cancel),
    /// End once running jobs are done.
    Stop,
}

/// What a child tells the main process.
#[derive(Debug, Clone, PartialEq)]
pub enum ToMain {
    /// The child runs up to `slots` jobs at a time. The first frame on every link.
    Ready {
        /// [`PROTOCOL_VERSION`] of the child.
        version: u32,
        /// Threads or coroutines it runs jobs on.
        slots: usize,
    },
    /// It began these jobs.
    Started(Vec<JobId>),
    /// It stores a record while a job runs.
    Progress {
        /// Which job.
        job: JobId,
        /// The record.
        result: ResultWrite,
    },
    /// Jobs ended.
    Finished(Vec<Outcome>),
    /// Jobs it has not started and will not; may be empty when it answers a recall.
    Returned(Vec<JobId>),
    /// It wants no more jobs.
    Retiring,
    /// It wants to be replaced, and goes on until its replacement is there.
    WantsRelief,
}

/// Starts a frame of `kind` in `out`; [`close`] ends it.
pub(super) fn open(out: &mut Vec<u8>, kind: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind]);
    start
}

/// Writes the length of the frame that began at `start` and now ends where `out` ends.
pub(super) fn close(out: &mut [u8], start: usize) {
    let length = u32::try_from(out.len() - start - HEADER).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Writes a frame that lists job numbers.
pub(super) fn put_ids(out: &mut Vec<u8>, kind: u8, jobs: &[JobId]) {
    let start = open(out, kind);
    for job in jobs {
        fields::put_u64(out, job.0);
    }
    close(out, start);
}

/// Whether `job` fits in a frame.
pub(super) fn fits(job: &Job) -> bool {
    fields::job_size(job) <= MAX_ITEM
}

/// Writes jobs as one or more frames. Every job fits.
pub(super) fn put_jobs<'a>(out: &mut Vec<u8>, jobs: impl IntoIterator<Item = &'a Job>) {
    let mut start = None;
    for job in jobs {
        let at = *start.get_or_insert_with(|| open(out, JOBS));
        fields::put_job(out, job);
        if out.len() - at >= BATCH {
            close(out, at);
            start = None;
        }
    }
    if let Some(at) = start {
        close(out, at);
    }
}

pub(super) fn put_ready(out: &mut Vec<u8>, slots: usize) {
    let start = open(out, READY);
    fields::put_u32(out, PROTOCOL_VERSION);
    fields::put_u32(out, u32::try_from(slots).unwrap_or(u32::MAX));
    close(out, start);
}

pub(super) fn put_cancel(out: &mut Vec<u8>, job: JobId, why: Cancel) {
    let start = open(out, CANCEL);
    fields::put_u64(out, job.0);
    out.push(match why {
        Cancel::TimeLimit => 0,
        Cancel::Revoked => 1,
    });
    close(out, start);
}

pub(super) fn put_progress(out: &mut Vec<u8>, job: JobId, result: &ResultWrite) {
    let start = open(out, PROGRESS);
    fields::put_u64(out, job.0);
    fields::put_result(out, result);
    close(out, start);
}

impl ToChild {
    /// Appends this as frames.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Jobs(jobs) => put_jobs(out, jobs),
            Self::Recall(jobs) => put_ids(out, RECALL, jobs),
            Self::SoftLimit(job) => put_ids(out, SOFT_LIMIT, &[*job]),
            Self::Cancel(job, why) => put_cancel(out, *job, *why),
            Self::Stop => put_ids(out, STOP, &[]),
        }
    }

    /// Reads the payload of a frame of `kind`.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<Self, Malformed> {
        match kind {
            JOBS => {
                let mut fields = Fields::new(payload, "jobs");
                let (mut jobs, mut queue) = (Vec::new(), None);
                while !fields.is_empty() {
                    jobs.push(fields.job(&mut queue)?);
                }
                Ok(Self::Jobs(jobs))
            }
            RECALL => Ok(Self::Recall(Fields::new(payload, "recall").job_ids()?)),
            SOFT_LIMIT => {
                let mut fields = Fields::new(payload, "soft limit");
                let job = fields.job_id()?;
                fields.finish()?;
                Ok(Self::SoftLimit(job))
            }
            CANCEL => {
                let mut fields = Fields::new(payload, "cancel");
                let job = fields.job_id()?;
                let why = match fields.u8()? {
                    0 => Cancel::TimeLimit,
                    1 => Cancel::Revoked,
                    other => return Err(Malformed::new("cancel", format!("reason {other} is none"))),
                };
                fields.finish()?;
                Ok(Self::Cancel(job, why))
            }
            STOP => Fields::new(payload, "stop").finish().map(|()| Self::Stop),
            other => Err(unknown(other)),
        }
    }
}

impl ToMain {
    /// Appends this as a frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ready { slots, .. } => put_ready(out, *slots),
            Self::Started(jobs) => put_ids(out, STARTED, jobs),
            Self::Progress { job, result } => put_progress(out, *job, result),
            Self::Finished(outcomes) => {
                let start = open(out, FINISHED);
                for outcome in outcomes {
                    fields::put_outcome(out, outcome);
                }
                close(out, start);
            }
            Self::Returned(jobs) => put_ids(out, RETURNED, jobs),
            Self::Retiring => put_ids(out, RETIRING, &[]),
            Self::WantsRelief => put_ids(out, WANTS_RELIEF, &[]),
        }
    }

    /// Reads the payload of a frame of `kind`.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<Self, Malformed> {
        match kind {
            READY => {
                let mut fields = Fields::new(payload, "ready");
                let (version, slots) = (fields.u32()?, fields.u32()? as usize);
                // A later version may add fields; whoever reads the version decides.
                Ok(Self::Ready { version, slots })
            }
            STARTED => Ok(Self::Started(Fields::new(payload, "started").job_ids()?)),
            PROGRESS => {
                let mut fields = Fields::new(payload, "progress");
                let (job, result) = (fields.job_id()?, fields.result()?);
                fields.finish()?;
                Ok(Self::Progress { job, result })
            }
            FINISHED => {
                let mut fields = Fields::new(payload, "finished");
                let mut outcomes = Vec::new();
                while !fields.is_empty() {
                    outcomes.push(fields.outcome()?);
                }
                Ok(Self::Finished(outcomes))
            }
            RETURNED => Ok(Self::Returned(Fields::new(payload, "returned").job_ids()?)),
            RETIRING => Fields::new(payload, "retiring").finish().map(|()| Self::Retiring),
            WANTS_RELIEF => Fields::new(payload, "relief").finish().map(|()| Self::WantsRelief),
            other => Err(unknown(other)),
        }
    }
}

fn unknown(kind: u8) -> Malformed {
    Malformed::new("frame", format!("unknown kind {kind}"))
}
