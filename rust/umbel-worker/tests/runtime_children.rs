//! Children with processes of their own that die, hang, or leave others behind.
//!
//! A child is this test program again, told by an environment variable to serve the link on its standard input.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod runtime_bench;

use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use runtime_bench::{Bench, Running, add, registry, task};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use umbel_broker::SystemClock;
use umbel_protocol::json::Value;
use umbel_worker::engine::{Job, Notice, ShutdownKind, TaskOptions};
use umbel_worker::link::ChildLink;
use umbel_worker::native::{Registry, Runner};
use umbel_worker::runtime::WorkerEvent;

const ROLE: &str = "UMBEL_TEST_CHILD";

/// Not a test, but what a child process runs.
#[test]
fn child_process() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    // SAFETY: the parent passed the socket as standard input, and nothing else here reads it.
    let socket = unsafe { OwnedFd::from_raw_fd(0) };
    let link = ChildLink::new(socket, 1).unwrap();
    let runner = Runner { registry: tasks(), result_expires: None, clock: std::sync::Arc::new(SystemClock) };
    while let Some(job) = link.next(None) {
        if job.message.properties.failed_deliveries == 0 {
            misbehave(&link, &job);
        }
        link.finish(&runner.run(&job)).unwrap();
    }
    std::process::exit(0);
}

/// What some tasks do in a child at their first delivery.
fn misbehave(link: &ChildLink, job: &Job) {
    // Its start must be known, for the failed delivery to be counted.
    link.flush();
    let headers = &job.message.headers;
    let asked = |what: &str| headers.contains(&format!(r#""task": "{what}""#));
    if asked("die") {
        die();
    } else if asked("exit") {
        std::process::exit(3);
    } else if asked("orphan") {
        leave_an_orphan();
        die();
    } else if asked("hang") {
        hang();
    } else if asked("close") {
        // SAFETY: breaks the link, wherever its descriptor is, as a task may; what is no socket is left as it is.
        (0..1024).for_each(|descriptor| _ = unsafe { libc::shutdown(descriptor, libc::SHUT_RDWR) });
        hang();
    }
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

fn die() -> ! {
    // SAFETY: a plain system call.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    hang()
}

/// Forks a process that keeps the socket open until the main process has closed its end.
fn leave_an_orphan() {
    // SAFETY: the forked process makes system calls only.
    unsafe {
        if libc::fork() == 0 {
            let mut byte = 0u8;
            while libc::read(0, (&raw mut byte).cast(), 1) > 0 {}
            libc::_exit(0);
        }
    }
}

/// The registry a worker is told of: what children really do is in `misbehave`.
fn tasks() -> Registry {
    let mut registry = registry();
    for name in ["die", "exit", "orphan", "hang", "close"] {
        registry.register(name, |_| Ok(Value::Null));
    }
    registry
}

struct Process(Child);

impl Process {
    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(socket: OwnedFd) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_process", "--nocapture"]).env(ROLE, "1");
    command.stdin(Stdio::from(socket)).stdout(Stdio::null());
    command
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap()
}

fn start_child(worker: &mut Running) -> Process {
    let (ours, theirs) = pair();
    let process = Process(program(theirs).spawn().unwrap());
    worker.add_child(ours, Some(process.pid()), 1);
    process
}

fn started(bench: &Bench) -> Running {
    let mut worker = bench.worker_with(0, tasks(), |_| {});
    worker.wait_for_pool();
    worker
}

/// Serves events until a child is gone: how it ended, what ran there, and whether it was told to go.
fn wait_gone(worker: &mut Running) -> (String, Vec<String>, bool) {
    let gone = worker.wait_for(|event| matches!(event, WorkerEvent::ChildGone { .. }));
    let WorkerEvent::ChildGone { how, running, expected, .. } = gone else { unreachable!() };
    (how, running, expected)
}

fn stop(worker: &mut Running) -> Vec<WorkerEvent> {
    worker.stop(ShutdownKind::Warm);
    worker.wait_stopped()
}

#[test]
fn a_killed_child_is_replaced_at_once_and_its_tasks_run_elsewhere() {
    let bench = Bench::new();
    let mut worker = started(&bench);
    let mut first = start_child(&mut worker);
    bench.publish([task("hang", 0, "[]"), add(1, 1, 1), add(2, 2, 2)]);
    bench.wait_until(|| worker.stats().engine.running == 1);
    let killed = Instant::now();
    first.kill();
    let (how, running, expected) = wait_gone(&mut worker);
    worker.wait_for(|event| matches!(event, WorkerEvent::Spawn { count: 1 }));
    let took = killed.elapsed();
    assert_eq!((how.as_str(), running, expected), ("signal 9 (SIGKILL)", vec!["0".to_owned()], false));
    assert!(took < Duration::from_millis(500), "a replacement was asked for after {took:?}");
    let _second = start_child(&mut worker);
    bench.wait_for_results(0..3);
    stop(&mut worker);
    assert_eq!(bench.left(), (0, 0));
}

#[test]
fn an_exit_code_is_told() {
    let bench = Bench::new();
    bench.publish([task("exit", 0, "[]")]);
    let mut worker = started(&bench);
    let _first = start_child(&mut worker);
    assert_eq!(wait_gone(&mut worker).0, "exit code 3");
    let _second = start_child(&mut worker);
    bench.wait_for_results([0]);
    stop(&mut worker);
}

#[test]
fn a_dead_child_is_noticed_although_a_grandchild_holds_its_socket() {
    let bench = Bench::new();
    bench.publish([task("orphan", 0, "[]")]);
    let mut worker = started(&bench);
    let _first = start_child(&mut worker);
    assert_eq!(wait_gone(&mut worker).0, "signal 9 (SIGKILL)");
    let _second = start_child(&mut worker);
    bench.wait_for_results([0]);
    stop(&mut worker);
}

#[test]
fn a_process_that_outlives_its_link_is_killed() {
    let bench = Bench::new();
    bench.publish([task("close", 0, "[]")]);
    let mut worker = started(&bench);
    let _first = start_child(&mut worker);
    assert_eq!(wait_gone(&mut worker).0, "signal 9 (SIGKILL)");
    let _second = start_child(&mut worker);
    bench.wait_for_results([0]);
    stop(&mut worker);
}

#[test]
fn a_cold_stop_kills_what_hangs() {
    let bench = Bench::new();
    bench.publish([task("hang", 0, "[]")]);
    let mut worker = started(&bench);
    let _first = start_child(&mut worker);
    bench.wait_until(|| worker.stats().engine.running == 1);
    worker.stop(ShutdownKind::Cold);
    let events = worker.wait_stopped();
    assert!(events.iter().any(|event| matches!(event, WorkerEvent::ChildGone { expected: true, .. })), "{events:?}");
    assert_eq!(bench.left(), (1, 0));
}

#[test]
fn a_hard_time_limit_kills_the_child() {
    let bench = Bench::new();
    bench.publish([task("hang", 0, "[]"), add(1, 1, 1)]);
    let mut worker = started(&bench);
    let limited = |options: TaskOptions| TaskOptions { time_limit: Some(Duration::from_millis(50)), ..options };
    worker.worker.set_tasks(tasks().task_options().into_iter().map(limited).collect());
    let _first = start_child(&mut worker);
    worker.wait_for(|event| matches!(event, WorkerEvent::Notice(Notice::Limit { hard: true, .. })));
    let (_, running, expected) = wait_gone(&mut worker);
    assert_eq!((running, expected), (vec!["0".to_owned()], true));
    let _second = start_child(&mut worker);
    bench.wait_for_results([0, 1]);
    let kind = bench.result(0).get("result").and_then(|result| result.get("exc_type")).cloned();
    assert_eq!(kind, Some(Value::from("TimeLimitExceeded")));
    stop(&mut worker);
}

#[test]
fn a_child_of_another_process_is_watched_too() {
    let bench = Bench::new();
    let mut worker = started(&bench);
    let (ours, theirs) = pair();
    let program = program(theirs);
    // Like a fork server: the shell starts the child, tells its number, and reaps it.
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(r#"exec 3<&0; "$0" --exact child_process --nocapture <&3 >/dev/null & echo $!; wait"#);
    shell.arg(program.get_program()).env(ROLE, "1").stdout(Stdio::piped());
    let (again, theirs) = pair();
    drop((ours, program));
    let mut shell = Process(shell.stdin(Stdio::from(theirs)).spawn().unwrap());
    let mut told = shell.0.stdout.take().unwrap();
    let (mut pid, mut byte) = (String::new(), [0]);
    while told.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        pid.push(char::from(byte[0]));
    }
    worker.add_child(again, Some(pid.parse().unwrap()), 1);
    bench.publish([add(0, 1, 1)]);
    bench.wait_for_results([0]);
    bench.publish([task("die", 1, "[]")]);
    assert_eq!(wait_gone(&mut worker).0, "signal 9 (SIGKILL)");
    let _second = start_child(&mut worker);
    bench.wait_for_results([1]);
    stop(&mut worker);
}

#[test]
fn a_process_that_is_no_more_is_gone() {
    let bench = Bench::new();
    let mut worker = started(&bench);
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let (ours, theirs) = pair();
    worker.add_child(ours, i32::try_from(ended.id()).ok(), 1);
    drop(theirs);
    wait_gone(&mut worker);
    let _second = start_child(&mut worker);
    bench.publish([add(0, 1, 1)]);
    bench.wait_for_results([0]);
    stop(&mut worker);
}

#[test]
fn kills_in_the_middle_of_a_batch_lose_nothing() {
    let bench = Bench::new();
    let mut worker = started(&bench);
    worker.worker.set_pool_size(2);
    let mut processes = [start_child(&mut worker), start_child(&mut worker)];
    bench.publish((0..2_000).map(|n| add(n, n, n)));
    for round in 0..6 {
        bench.wait_until(|| worker.stats().engine.totals.succeeded > round * 200);
        processes[(round % 2) as usize].kill();
        wait_gone(&mut worker);
        processes[(round % 2) as usize] = start_child(&mut worker);
    }
    bench.wait_for_results(0..2_000);
    for n in 0..2_000 {
        assert_eq!(runtime_bench::value_of(&bench.result(n)), (2 * n) as f64);
    }
    stop(&mut worker);
    assert_eq!(bench.left(), (0, 0));
}
