//! Real processes on one SQLite file: nothing lost, nothing given twice, whoever is killed when.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at what other processes do.
const PAUSE: Duration = Duration::from_millis(5);

struct File {
    folder: TempDir,
}

impl File {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self) -> String {
        self.folder.path().join("q.sqlite3").display().to_string()
    }

    fn url(&self) -> String {
        // A loaded machine may take its time; what a power cut leaves is not tested here.
        format!("sqlite:///{}?timeout=60&synchronous=normal", self.path())
    }

    fn start(&self, arguments: &[&str]) -> Process {
        let child = Command::new(env!("CARGO_BIN_EXE_queue_process"))
            .args([arguments[0], self.url().as_str()])
            .args(&arguments[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the process starts");
        Process::follow(child)
    }

    fn connection(&self) -> Connection {
        Connection::open(self.path()).expect("the file opens")
    }

    fn count(&self, sql: &str) -> i64 {
        self.connection().query_row(sql, [], |row| row.get(0)).expect(sql)
    }

    /// Bodies of the ready messages of a queue.
    fn bodies(&self, queue: &str) -> Vec<String> {
        let connection = self.connection();
        let mut select = connection
            .prepare(
                "SELECT CAST(body AS TEXT) FROM ready JOIN messages ON messages.id = message
                 WHERE queue = (SELECT id FROM queues WHERE name = ?1) ORDER BY position",
            )
            .expect("prepared");
        let rows = select.query_map([queue], |row| row.get(0)).expect("queried");
        rows.collect::<Result<_, _>>().expect("read")
    }

    fn wait_until_empty(&self, queue: &str) {
        let deadline = Instant::now() + PATIENCE;
        let sql = format!(
            "SELECT (SELECT count(*) FROM ready WHERE queue = (SELECT id FROM queues WHERE name = '{queue}'))
                    + (SELECT count(*) FROM held)"
        );
        while self.count(&sql) > 0 {
            assert!(Instant::now() < deadline, "{} messages are left", self.count(&sql));
            std::thread::sleep(PAUSE);
        }
    }

    /// The file is sound, and every message is in exactly one place.
    fn check(&self) {
        let verdict: String =
            self.connection().query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
        assert_eq!(verdict, "ok");
        let places = "SELECT message FROM ready UNION ALL SELECT message FROM held
                      UNION ALL SELECT message FROM delayed UNION ALL SELECT message FROM dead";
        let messages = self.count("SELECT count(*) FROM messages");
        assert_eq!(self.count(&format!("SELECT count(*) FROM ({places})")), messages);
        assert_eq!(self.count(&format!("SELECT count(DISTINCT message) FROM ({places})")), messages);
    }
}

/// A child process and what it has said.
struct Process {
    child: Child,
    lines: std::thread::JoinHandle<Vec<String>>,
}

impl Process {
    fn follow(mut child: Child) -> Self {
        let out = child.stdout.take().expect("its output");
        let lines = std::thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).collect());
        Self { child, lines }
    }

    /// Lets it finish; its lines.
    fn finish(mut self) -> Vec<String> {
        drop(self.child.stdin.take());
        let status = self.child.wait().expect("it ends");
        let lines = self.lines.join().expect("its output ends");
        assert!(status.success(), "{status}: {:?}", lines.last());
        lines
    }

    /// `kill -9`; its lines up to then.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("killed");
        self.child.wait().expect("it ends");
        self.lines.join().expect("its output ends")
    }

    fn signal(&self, signal: i32) {
        // SAFETY: a signal to a process that this test started and has not waited for yet.
        let sent = unsafe { libc::kill(self.child.id() as i32, signal) };
        assert_eq!(sent, 0);
    }
}

fn done(lines: &[String]) -> Vec<String> {
    lines.iter().filter_map(|line| line.strip_prefix("done ").map(str::to_owned)).collect()
}

/// How many messages a publisher was told are confirmed.
fn confirmed(lines: &[String]) -> usize {
    lines.iter().filter_map(|line| line.strip_prefix("ok ")?.parse().ok()).max().unwrap_or(0)
}

#[test]
fn processes_share_a_file() {
    let file = File::new();
    let workers = ["w1", "w2"].map(|worker| file.start(&["work", "q", worker, "30"]));
    let publishers = ["a", "b"].map(|prefix| file.start(&["publish", "q", prefix, "1000", "7"]));
    for publisher in publishers {
        assert_eq!(confirmed(&publisher.finish()), 1000);
    }
    file.wait_until_empty("q");
    let mut settled: Vec<String> = workers.into_iter().flat_map(|worker| done(&worker.finish())).collect();
    settled.sort();
    let mut expected: Vec<String> =
        ["a", "b"].iter().flat_map(|prefix| (0..1000).map(move |number| format!("{prefix}-{number}"))).collect();
    expected.sort();
    assert_eq!(settled, expected);
    let mut follow_ups = file.bodies("done");
    follow_ups.sort();
    assert_eq!(follow_ups, expected);
    assert_eq!(file.count("SELECT count(*) FROM results"), 2000);
    file.check();
}

#[test]
fn killed_processes_lose_and_repeat_nothing() {
    let file = File::new();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..8 {
        let prefix = format!("p{round}");
        let publisher = file.start(&["publish", "q", &prefix, "100000", "5"]);
        let victims = ["x", "y"].map(|name| file.start(&["work", "q", &format!("{name}{round}"), "2"]));
        file.wait_for_work();
        std::thread::sleep(Duration::from_millis(random.u64(20..150)));
        for victim in victims {
            victim.kill();
        }
        sent.insert(prefix, confirmed(&publisher.kill()));
    }
    let survivor = file.start(&["work", "q", "survivor", "2"]);
    file.wait_until_empty("q");
    survivor.finish();
    file.check();
    let follow_ups = file.bodies("done");
    let unique: BTreeSet<&String> = follow_ups.iter().collect();
    assert_eq!(unique.len(), follow_ups.len(), "seed {seed}: an acknowledged message ran again");
    for (prefix, confirmed) in sent {
        let of_prefix = follow_ups.iter().filter(|body| body.starts_with(&format!("{prefix}-"))).count();
        assert!(of_prefix >= confirmed, "seed {seed}: {confirmed} of {prefix} were confirmed, {of_prefix} are there");
        assert_eq!(of_prefix % 5, 0, "seed {seed}: half a batch of {prefix} is there");
        assert!((0..of_prefix).all(|number| unique.contains(&format!("{prefix}-{number}"))));
    }
    assert_eq!(file.count("SELECT count(*) FROM results"), follow_ups.len() as i64, "seed {seed}");
}

impl File {
    /// Waits until something is in flight.
    fn wait_for_work(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !std::path::Path::new(&self.path()).exists()
            || self.connection().query_row("SELECT count(*) FROM held", [], |row| row.get(0)).unwrap_or(0) == 0
        {
            assert!(Instant::now() < deadline, "nobody works");
            std::thread::sleep(PAUSE);
        }
    }
}

#[test]
fn children_forked_in_full_flight_publish_too() {
    let file = File::new();
    let lines = file.start(&["fork", "q", "6", "40"]).finish();
    let threads: usize = lines.iter().filter_map(|line| line.strip_prefix("thread ")?.parse::<usize>().ok()).sum();
    let bodies = file.bodies("q");
    assert_eq!(bodies.len(), 2 + threads + 6 * 40);
    assert_eq!(bodies.iter().collect::<BTreeSet<_>>().len(), bodies.len());
    assert!(!bodies.contains(&"must not be".to_owned()));
    file.check();
}

#[test]
fn a_forked_child_outlives_its_parents_handles() {
    let file = File::new();
    file.start(&["outlive", "q"]).finish();
    assert_eq!(file.bodies("q"), ["parent", "child-before", "child-after"]);
    file.check();
}

#[test]
fn a_stopped_process_blocks_nobody_for_long() {
    let file = File::new();
    let stopped = file.start(&["publish", "q", "stopped", "100000000", "1"]);
    file.wait_for_messages();
    let url = format!("sqlite:///{}?timeout=0.2", file.path());
    let broker = umbel_broker::open(&url, &Default::default(), std::sync::Arc::new(umbel_broker::SystemClock))
        .expect("a broker");
    let mut publisher = broker.publisher().expect("a publisher");
    for _ in 0..10 {
        stopped.signal(libc::SIGSTOP);
        let start = Instant::now();
        // In the middle of a transaction it holds SQLite's lock, and we are told; anywhere else we get through.
        match publisher.publish(&[umbel_broker::Outgoing {
            destination: umbel_protocol::Destination::queue("mine"),
            message: umbel_protocol::Message { headers: "{}".to_owned(), ..Default::default() },
            eta: None,
            line: None,
            chord: None,
        }]) {
            Ok(()) | Err(umbel_broker::BrokerError::Unavailable { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
        assert!(start.elapsed() < Duration::from_secs(20), "waited {:?} for a stopped process", start.elapsed());
        stopped.signal(libc::SIGCONT);
    }
    stopped.kill();
    file.check();
}

impl File {
    fn wait_for_messages(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !std::path::Path::new(&self.path()).exists()
            || self.connection().query_row("SELECT count(*) FROM ready", [], |row| row.get(0)).unwrap_or(0) == 0
        {
            assert!(Instant::now() < deadline, "nothing was published");
            std::thread::sleep(PAUSE);
        }
    }
}
