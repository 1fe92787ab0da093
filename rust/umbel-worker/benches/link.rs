//! What it takes to carry 64 jobs to a child and their outcomes back: the frames alone, and through a socket pair.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use umbel_protocol::{ReadOptions, TaskFacts};
use umbel_worker::engine::{Job, JobId, Outcome};
use umbel_worker::link::incoming::Incoming;
use umbel_worker::link::{ChildLink, ParentLink, ToChild, ToMain};

mod tasks;

const BATCH: usize = 64;

fn main() {
    divan::main();
}

fn jobs() -> Vec<Job> {
    let job = |number| Job {
        id: JobId(number as u64),
        queue: Arc::from("celery"),
        facts: Arc::new(TaskFacts::parse(&tasks::message(number), &ReadOptions::default()).expect("a task")),
        message: Arc::new(tasks::message(number)),
        batch: None,
    };
    (0..BATCH).map(job).collect()
}

fn outcomes() -> Vec<Outcome> {
    (0..BATCH).map(|number| tasks::outcome(JobId(number as u64))).collect()
}

fn encode(bencher: Bencher, write: impl Fn(&mut Vec<u8>) + Sync) {
    let mut out = Vec::new();
    write(&mut out);
    bencher.counter(ItemsCount::new(BATCH)).bench(|| {
        let mut out = Vec::with_capacity(1 << 16);
        write(&mut out);
        out
    });
}

#[divan::bench]
fn jobs_encode(bencher: Bencher) {
    let frame = ToChild::Jobs(jobs());
    encode(bencher, |out| black_box(&frame).encode(out));
}

#[divan::bench]
fn jobs_decode(bencher: Bencher) {
    let mut bytes = Vec::new();
    ToChild::Jobs(jobs()).encode(&mut bytes);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let mut incoming = Incoming::default();
        incoming.push(black_box(&bytes));
        let (kind, payload) = incoming.next_frame().expect("a frame").expect("whole");
        ToChild::decode(kind, payload).expect("jobs")
    });
}

#[divan::bench]
fn outcomes_encode(bencher: Bencher) {
    let frame = ToMain::Finished(outcomes());
    encode(bencher, |out| black_box(&frame).encode(out));
}

#[divan::bench]
fn outcomes_decode(bencher: Bencher) {
    let mut bytes = Vec::new();
    ToMain::Finished(outcomes()).encode(&mut bytes);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let mut incoming = Incoming::default();
        incoming.push(black_box(&bytes));
        let (kind, payload) = incoming.next_frame().expect("a frame").expect("whole");
        ToMain::decode(kind, payload).expect("outcomes")
    });
}

/// Both ends in one process: jobs sent, taken, finished, and the outcomes received.
#[divan::bench]
fn there_and_back(bencher: Bencher) {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a socket pair");
    let mut parent = ParentLink::new(ours).expect("the parent's end");
    let child = ChildLink::new(theirs, 4).expect("the child's end");
    let (jobs, outcomes) = (jobs(), outcomes());
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        assert!(parent.send_jobs(jobs.clone()).is_empty());
        let mut is_sent = parent.flush().expect("an open link");
        for outcome in &outcomes {
            assert!(child.next(Some(Duration::from_secs(5))).is_some(), "a job");
            child.finish(outcome).expect("it fits");
        }
        let (mut frames, mut finished) = (Vec::new(), 0);
        while finished < BATCH {
            is_sent = is_sent || parent.flush().expect("an open link");
            poll(&mut [PollFd::new(&parent.as_fd(), PollFlags::IN)], None).expect("a poll");
            parent.receive(&mut frames).expect("an open link");
            finished += frames
                .drain(..)
                .map(|frame| if let ToMain::Finished(ended) = frame { ended.len() } else { 0 })
                .sum::<usize>();
        }
    });
}
