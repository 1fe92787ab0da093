//! Both ends of a link over a real socket pair.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use umbel_protocol::{Message, ResultWrite};
use umbel_worker::engine::{Cancel, Job, JobId, Outcome, Verdict};
use umbel_worker::link::parent::LinkBroken;
use umbel_worker::link::{ChildLink, LinkError, PROTOCOL_VERSION, ParentLink, ToMain};

const DEADLINE: Duration = Duration::from_secs(10);

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap()
}

fn linked(slots: usize) -> (Main, ChildLink) {
    let (ours, theirs) = pair();
    let child = ChildLink::new(theirs, slots).unwrap();
    let mut main = Main::new(ours);
    assert!(matches!(main.next(), ToMain::Ready { version: PROTOCOL_VERSION, slots: told } if told == slots));
    (main, child)
}

/// The main process's end, waiting with a deadline.
struct Main {
    link: ParentLink,
    frames: std::collections::VecDeque<ToMain>,
}

impl Main {
    fn new(socket: OwnedFd) -> Self {
        Self { link: ParentLink::new(socket).unwrap(), frames: Default::default() }
    }

    fn receive(&mut self) -> Result<(), LinkBroken> {
        let until = Instant::now() + DEADLINE;
        let mut frames = Vec::new();
        while frames.is_empty() {
            let rest = until.checked_duration_since(Instant::now()).expect("no frame came");
            let timeout = Timespec::try_from(rest).unwrap();
            rustix::event::poll(&mut [PollFd::new(&self.link, PollFlags::IN)], Some(&timeout)).unwrap();
            let received = self.link.receive(&mut frames);
            self.frames.extend(frames.drain(..));
            received?;
            if !self.frames.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn next(&mut self) -> ToMain {
        if self.frames.is_empty() {
            self.receive().unwrap();
        }
        self.frames.pop_front().unwrap()
    }

    /// The next frame that is not `Started`.
    fn report(&mut self) -> ToMain {
        loop {
            match self.next() {
                ToMain::Started(_) => {}
                frame => return frame,
            }
        }
    }

    fn dispatch(&mut self, ids: impl IntoIterator<Item = u64>) {
        assert!(self.link.send_jobs(ids.into_iter().map(job).collect()).is_empty());
        self.flush();
    }

    fn flush(&mut self) {
        while !self.link.flush().unwrap() {
            rustix::event::poll(&mut [PollFd::new(&self.link, PollFlags::OUT)], None).unwrap();
        }
    }

    fn finished(&mut self, count: usize) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while outcomes.len() < count {
            match self.report() {
                ToMain::Finished(more) => outcomes.extend(more),
                other => panic!("{other:?}"),
            }
        }
        outcomes
    }

    /// Reads until the link closes and returns what came.
    fn rest(mut self) -> Vec<ToMain> {
        loop {
            match self.receive() {
                Ok(()) => {}
                Err(LinkBroken::Closed) => return self.frames.into(),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn job(id: u64) -> Job {
    let message = Message { headers: format!("{{\"id\": \"{id}\"}}"), body: vec![b'x'; 100], ..Message::default() };
    Job { id: JobId(id), queue: Arc::from("celery"), facts: Arc::default(), message: Arc::new(message), batch: None }
}

fn outcome(job: &Job) -> Outcome {
    let result = ResultWrite {
        task_id: job.id.0.to_string(),
        state: "SUCCESS".into(),
        record: vec![1; 200],
        expires: None,
        reply_to: None,
    };
    Outcome { job: job.id, verdict: Verdict::Success, result: Some(result), publish: Vec::new() }
}

fn next(link: &ChildLink) -> Job {
    link.next(Some(DEADLINE)).expect("a job")
}

#[test]
fn a_job_goes_through_and_its_outcome_comes_back_at_once() {
    let (mut main, child) = linked(1);
    main.dispatch([7]);
    let taken = next(&child);
    assert_eq!(taken, job(7));
    child.finish(&outcome(&taken)).unwrap();
    assert_eq!(main.finished(1), [outcome(&taken)]);
}

#[test]
fn a_start_is_told_while_the_job_runs() {
    let (mut main, child) = linked(1);
    main.dispatch([1, 2]);
    let _running = next(&child);
    assert!(matches!(main.next(), ToMain::Started(ids) if ids == [JobId(1)]));
}

#[test]
fn an_outcome_does_not_wait_for_the_next_job_to_end() {
    let (mut main, child) = linked(1);
    main.dispatch([1, 2]);
    let first = next(&child);
    child.finish(&outcome(&first)).unwrap();
    let _running = next(&child);
    assert_eq!(main.finished(1)[0].job, JobId(1));
}

#[test]
fn outcomes_of_a_batch_share_frames() {
    let (mut main, child) = linked(1);
    main.dispatch(0..100);
    for _ in 0..100 {
        let job = next(&child);
        child.finish(&outcome(&job)).unwrap();
    }
    let (mut frames, mut done) = (0, 0);
    while done < 100 {
        if let ToMain::Finished(outcomes) = main.report() {
            frames += 1;
            done += outcomes.len();
        }
    }
    assert!(frames < 50, "{frames} frames for 100 outcomes");
}

#[test]
fn jobs_of_a_batch_start_together_and_end_apart() {
    let (mut main, child) = linked(2);
    let batched = |id, batch| Job { batch: Some(batch), ..job(id) };
    let jobs = vec![batched(1, 7), batched(2, 7), job(3), batched(4, 7), batched(5, 8)];
    assert!(main.link.send_jobs(jobs).is_empty());
    main.flush();
    let first = next(&child);
    assert_eq!(child.companions(first.id), [batched(2, 7), batched(4, 7)]);
    assert_eq!(child.companions(first.id), [], "once");
    assert_eq!((child.running(), next(&child)), (3, job(3)), "the others are in nobody's way");
    assert_eq!(child.companions(JobId(3)), []);
    assert_eq!((next(&child), child.companions(JobId(5))), (batched(5, 8), vec![]));
    for id in [4, 1] {
        child.finish(&outcome(&job(id))).unwrap();
    }
    assert_eq!(main.finished(2).iter().map(|outcome| outcome.job.0).collect::<Vec<_>>(), [4, 1]);
    assert_eq!(child.running(), 3);
}

#[test]
fn progress_precedes_the_outcome() {
    let (mut main, child) = linked(1);
    main.dispatch([1]);
    let taken = next(&child);
    let record =
        ResultWrite { task_id: "1".into(), state: "STARTED".into(), record: vec![2], expires: None, reply_to: None };
    child.progress(taken.id, &record).unwrap();
    child.finish(&outcome(&taken)).unwrap();
    assert!(matches!(main.report(), ToMain::Progress { job: JobId(1), result } if result == record));
    assert_eq!(main.finished(1).len(), 1);
}

#[test]
fn a_recall_is_answered_while_a_job_runs() {
    let (mut main, child) = linked(1);
    main.dispatch([1, 2, 3]);
    let running = next(&child);
    main.link.send_recall(&[JobId(1), JobId(3)]);
    main.flush();
    assert!(matches!(main.report(), ToMain::Returned(ids) if ids == [JobId(3)]));
    child.finish(&outcome(&running)).unwrap();
    assert_eq!(next(&child).id, JobId(2));
}

#[test]
fn retiring_returns_what_waits_and_what_still_comes() {
    let (mut main, child) = linked(1);
    main.dispatch([1, 2]);
    let running = next(&child);
    child.retire();
    assert!(matches!(main.report(), ToMain::Retiring));
    let mut returned = Vec::new();
    main.dispatch([3]);
    while returned.len() < 2 {
        match main.report() {
            ToMain::Returned(ids) => returned.extend(ids),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(returned, [JobId(2), JobId(3)]);
    assert_eq!(child.next(None), None);
    child.finish(&outcome(&running)).unwrap();
    assert_eq!(main.finished(1)[0].job, JobId(1));
}

#[test]
fn stop_ends_every_waiting_thread_and_lets_running_jobs_report() {
    let (mut main, child) = linked(2);
    main.dispatch([1]);
    let running = next(&child);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| child.next(None))).collect();
        main.link.send_stop();
        main.flush();
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), None);
        }
    });
    assert!(child.stopped());
    child.finish(&outcome(&running)).unwrap();
    assert_eq!(main.finished(1)[0].job, JobId(1));
}

#[test]
fn a_dead_main_process_stops_the_child() {
    let (main, child) = linked(1);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| child.next(None));
        drop(main);
        assert_eq!(waiting.join().unwrap(), None);
    });
    assert!(child.stopped());
    child.finish(&outcome(&job(1))).unwrap();
    child.flush();
}

#[test]
fn garbage_from_the_main_process_stops_the_child() {
    let (ours, theirs) = pair();
    let child = ChildLink::new(theirs, 1).unwrap();
    rustix::io::write(&ours, &[0, 0, 0, 0, 99]).unwrap();
    assert_eq!(child.next(Some(DEADLINE)), None);
    assert!(child.stopped());
}

#[test]
fn dropping_the_link_writes_what_is_left() {
    let (mut main, child) = linked(1);
    main.dispatch(0..10);
    for _ in 0..5 {
        let job = next(&child);
        child.finish(&outcome(&job)).unwrap();
    }
    drop(child);
    let finished: usize =
        main.rest().iter().map(|frame| if let ToMain::Finished(outcomes) = frame { outcomes.len() } else { 0 }).sum();
    assert_eq!(finished, 5);
}

#[test]
fn next_gives_up_at_its_timeout() {
    let (_main, child) = linked(1);
    assert_eq!(child.next(Some(Duration::from_millis(1))), None);
    assert!(!child.stopped());
}

#[test]
fn a_slow_reader_holds_up_but_loses_nothing() {
    let (mut main, child) = linked(1);
    main.dispatch(0..64);
    std::thread::scope(|scope| {
        // 16 MiB of records cannot fit in the socket, so this thread must wait for the reader.
        scope.spawn(|| {
            for _ in 0..64 {
                let job = next(&child);
                let mut outcome = outcome(&job);
                outcome.result.as_mut().unwrap().record = vec![3; 256 << 10];
                child.finish(&outcome).unwrap();
            }
            child.flush();
        });
        let outcomes = main.finished(64);
        assert!(outcomes.iter().map(|outcome| outcome.job.0).eq(0..64));
    });
}

#[test]
fn many_threads_share_one_link() {
    let (mut main, child) = linked(8);
    let taken = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(job) = child.next(None) {
                    taken.fetch_add(1, Ordering::Relaxed);
                    child.finish(&outcome(&job)).unwrap();
                }
            });
        }
        for batch in 0..50 {
            main.dispatch(batch * 100..(batch + 1) * 100);
        }
        let mut ids: Vec<u64> = main.finished(5000).iter().map(|outcome| outcome.job.0).collect();
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..5000));
        main.link.send_stop();
        main.flush();
    });
    assert_eq!(taken.into_inner(), 5000);
}

#[test]
fn a_job_too_large_for_a_frame_is_handed_back() {
    let (ours, _theirs) = pair();
    let mut link = ParentLink::new(ours).unwrap();
    let body = vec![0; 1 << 30];
    let large = Job { message: Arc::new(Message { body, ..Message::default() }), ..job(1) };
    let back = link.send_jobs(vec![large, job(2)]);
    assert_eq!(back.iter().map(|job| job.id).collect::<Vec<_>>(), [JobId(1)]);
    assert!(link.unsent() > 0);
}

#[test]
fn an_outcome_too_large_for_a_frame_leaves_the_job_running() {
    let (mut main, child) = linked(1);
    main.dispatch([1]);
    let taken = next(&child);
    let mut large = outcome(&taken);
    large.result.as_mut().unwrap().record = vec![0; 1 << 30];
    assert!(matches!(child.finish(&large), Err(LinkError::TooLarge { .. })));
    assert_eq!(child.running(), 1);
    child.finish(&outcome(&taken)).unwrap();
    assert_eq!(main.finished(1).len(), 1);
}

/// Forks; the child serves a link and never returns.
fn fork_serving(serve: fn(ChildLink)) -> (Main, libc::pid_t) {
    let (ours, theirs) = pair();
    // SAFETY: the child calls only code of this test and leaves by _exit; glibc makes malloc usable after fork.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        drop(ours);
        if let Ok(link) = ChildLink::new(theirs, 1) {
            serve(link);
        }
        // SAFETY: ends the child without running the parent's exit handlers.
        unsafe { libc::_exit(0) };
    }
    drop(theirs);
    let mut main = Main::new(ours);
    assert!(matches!(main.next(), ToMain::Ready { .. }));
    (main, pid)
}

fn reap(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is valid for writes.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    status
}

#[test]
fn outcomes_reported_before_a_kill_are_not_lost() {
    let (mut main, pid) = fork_serving(|link| {
        for _ in 0..20 {
            let Some(job) = link.next(Some(DEADLINE)) else { return };
            let _ = link.finish(&outcome(&job));
        }
        let _running = link.next(Some(DEADLINE));
        let _ = link.next(Some(DEADLINE));
        let _ = link.next(Some(DEADLINE));
        loop {
            std::thread::park();
        }
    });
    main.dispatch(0..23);
    // The link thread tells of the outcomes and of the start while the executor is stuck.
    let outcomes = main.finished(20);
    assert!(outcomes.iter().map(|outcome| outcome.job.0).eq(0..20));
    // SAFETY: a plain system call on our own child.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    assert!(libc::WIFSIGNALED(reap(pid)));
    assert!(main.rest().iter().all(|frame| matches!(frame, ToMain::Started(_))));
}

#[test]
fn a_kill_in_the_middle_of_a_frame_is_a_closed_link() {
    let (mut main, pid) = fork_serving(|link| {
        let Some(job) = link.next(Some(DEADLINE)) else { return };
        let mut outcome = outcome(&job);
        outcome.result.as_mut().unwrap().record = vec![5; 64 << 20];
        // Blocks: the reader takes only a part.
        let _ = link.finish(&outcome);
    });
    main.dispatch([1]);
    let started = main.next();
    assert!(matches!(started, ToMain::Started(_)), "{started:?}");
    // SAFETY: a plain system call on our own child.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    reap(pid);
    assert!(main.rest().is_empty());
}

static SIGNALLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_signal(_: libc::c_int) {
    SIGNALLED.fetch_add(1, Ordering::SeqCst);
}

/// Runs alone in a forked process, where the main thread is the executor: a first job overruns, a second does not.
fn serve_soft_limits(link: ChildLink) {
    // SAFETY: installs a handler that touches one atomic.
    unsafe { libc::signal(libc::SIGUSR1, count_signal as *const () as libc::sighandler_t) };
    let Some(first) = link.next(Some(DEADLINE)) else { return };
    while SIGNALLED.load(Ordering::SeqCst) == 0 {
        std::hint::spin_loop();
    }
    let told = link.soft_limit_job().is_some_and(|job| job.id == first.id) && link.soft_limit_job().is_none();
    let verdict = if told { Verdict::Failure } else { Verdict::Success };
    let _ = link.finish(&Outcome { verdict, ..outcome(&first) });
    let Some(second) = link.next(Some(DEADLINE)) else { return };
    // A limit for the first arrives again, late; the reply to the recall shows that it has been handled.
    let Some(_third) = link.next(Some(DEADLINE)) else { return };
    let verdict = if link.soft_limit_job().is_none() { Verdict::Success } else { Verdict::Failure };
    let _ = link.finish(&Outcome { verdict, ..outcome(&second) });
    link.flush();
}

#[test]
fn a_soft_limit_hits_its_job_and_never_the_next() {
    let (mut main, pid) = fork_serving(serve_soft_limits);
    main.dispatch([1]);
    assert!(matches!(main.next(), ToMain::Started(ids) if ids == [JobId(1)]));
    main.link.send_soft_limit(JobId(1));
    main.flush();
    assert_eq!(main.finished(1)[0].verdict, Verdict::Failure);
    main.dispatch([2]);
    main.link.send_soft_limit(JobId(1));
    main.dispatch([3]);
    assert_eq!(main.finished(1)[0].verdict, Verdict::Success);
    assert_eq!(reap(pid), 0);
}

/// Whether a descriptor becomes readable in time.
fn is_readable(descriptor: BorrowedFd<'_>, wait: Duration) -> bool {
    let timeout = Timespec::try_from(wait).unwrap();
    rustix::event::poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&timeout)).unwrap() > 0
}

fn numbers(jobs: &[Job]) -> Vec<u64> {
    jobs.iter().map(|job| job.id.0).collect()
}

#[test]
fn an_event_loop_is_called_while_there_are_jobs_and_for_the_end() {
    let (mut main, link) = linked(10);
    let bell = link.bell().unwrap();
    assert!(is_readable(bell, DEADLINE), "it looks once");
    assert!(link.take(10).is_empty());
    assert!(!is_readable(bell, Duration::ZERO));
    main.dispatch(1..=5);
    assert!(is_readable(bell, DEADLINE));
    assert_eq!(numbers(&link.take(2)), [1, 2]);
    assert!(is_readable(bell, Duration::ZERO), "there are more");
    assert!(link.take(0).is_empty());
    assert!(!is_readable(bell, Duration::ZERO), "there is no room, and nothing to be called for");
    assert_eq!(numbers(&link.take(10)), [3, 4, 5]);
    assert!(matches!(main.next(), ToMain::Started(_)));
    assert!(!link.is_ending());
    main.link.send_stop();
    main.flush();
    assert!(is_readable(bell, DEADLINE));
    assert!(link.is_ending());
}

#[test]
fn interruptions_are_told_once_and_for_jobs_that_run() {
    let (mut main, link) = linked(10);
    let bell = link.bell().unwrap();
    main.dispatch([1, 2]);
    while link.running() == 0 {
        assert!(is_readable(bell, DEADLINE));
        link.take(1);
    }
    main.link.send_cancel(JobId(2), Cancel::Revoked);
    main.link.send_soft_limit(JobId(1));
    main.link.send_cancel(JobId(1), Cancel::TimeLimit);
    main.flush();
    let mut told = Vec::new();
    while told.len() < 2 {
        assert!(is_readable(bell, DEADLINE));
        link.take(0);
        told.extend(link.interruptions());
    }
    assert_eq!(told, [(JobId(1), None), (JobId(1), Some(Cancel::TimeLimit))]);
    assert!(link.interruptions().is_empty());
}

#[test]
fn an_event_loop_leaves_writing_to_the_link_thread() {
    let (mut main, link) = linked(10);
    link.bell().unwrap();
    main.dispatch([1]);
    let job = next(&link);
    assert!(link.report(&outcome(&job)).unwrap(), "it is the only one, and due");
    assert!(link.has_bell());
    link.write_soon();
    assert_eq!(main.finished(1)[0].job, JobId(1));
}

#[test]
fn a_child_that_wants_relief_takes_jobs() {
    let (mut main, link) = linked(1);
    link.ask_for_relief();
    assert!(matches!(main.report(), ToMain::WantsRelief));
    main.dispatch([1]);
    assert_eq!(next(&link).id, JobId(1));
}

#[test]
fn sockets_are_not_inherited_by_programs_a_task_starts() {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None).unwrap();
    let main = ParentLink::new(ours).unwrap();
    assert!(rustix::io::fcntl_getfd(&main).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    let _child = ChildLink::new(theirs, 1).unwrap();
    let high = high_descriptors();
    assert!(high.len() >= 2, "the child's end is out of the way of tasks that close descriptors: {high:?}");
    for number in high {
        // SAFETY: only asked about; it may be another test's, which closes it meanwhile.
        if let Ok(flags) = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) }) {
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "{number}");
        }
    }
}

/// Open descriptors under numbers that only links use here.
fn high_descriptors() -> Vec<i32> {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(|number| *number >= 600).collect()
}
