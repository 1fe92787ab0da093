//! What only a file can do wrong: be something else, be elsewhere, be locked, be gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tempfile::TempDir;
use umbel_backend::{Backend, SqliteBackend};
use umbel_broker::sqlite::Location;
use umbel_broker::{
    Broker, BrokerError, ConsumerOptions, NextStep, Outgoing, Payload, SqliteBroker, SystemClock, TransportOptions,
};
use umbel_protocol::{Destination, Message, ResultWrite};

struct File {
    folder: TempDir,
}

impl File {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("q.sqlite3")
    }

    fn location(&self, query: &str) -> Location {
        let url = format!("sqlite:///{}{query}", self.path().display());
        Location::parse(&url, &TransportOptions::new(), "broker_url").expect("a location")
    }

    fn broker(&self) -> SqliteBroker {
        SqliteBroker::new(self.location("?timeout=0.1"), Arc::new(SystemClock))
    }

    fn by_hand(&self) -> Connection {
        Connection::open(self.path()).expect("the file opens")
    }

    fn remove(&self) {
        for end in ["", "-wal", "-shm", "-turnstile"] {
            std::fs::remove_file(format!("{}{end}", self.path().display())).expect("removed");
        }
    }
}

fn outgoing(body: &str) -> Outgoing {
    let message = Message { headers: "{}".to_owned(), body: body.as_bytes().to_vec(), ..Message::default() };
    Outgoing { destination: Destination::queue("q"), message, eta: None, line: None, chord: None }
}

fn options(worker: &str) -> ConsumerOptions {
    ConsumerOptions {
        worker_id: worker.to_owned(),
        queues: vec!["q".to_owned()],
        lease: Duration::from_secs(10),
        stores_results: false,
    }
}

fn refusal(broker: &SqliteBroker) -> BrokerError {
    broker.publisher().err().expect("refused")
}

#[test]
fn a_file_of_an_older_version_gets_what_is_missing_and_keeps_what_it_has() {
    let file = File::new();
    file.broker().publisher().expect("a publisher").publish(&[outgoing("kept")]).expect("published");
    let added =
        ["revoked", "broadcasts", "boxes", "answers", "locks", "lanes", "slots", "waits", "woken", "limits", "lines"];
    for table in added {
        file.by_hand().execute_batch(&format!("DROP TABLE {table}")).expect("dropped");
    }
    file.by_hand().pragma_update(None, "user_version", 1).expect("set");

    let mut control = file.broker().control().expect("a control handle");
    assert_eq!(control.revoked().expect("read"), []);
    let exists = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    for table in added {
        let count: i64 = file.by_hand().query_row(exists, [table], |row| row.get(0)).expect("counted");
        assert_eq!(count, 1, "{table}");
    }
    assert_eq!(file.broker().admin().expect("an admin handle").length("q").expect("length"), 1);
}

#[test]
fn tables_of_a_newer_version_are_refused() {
    let file = File::new();
    let mut open = file.broker().publisher().expect("a publisher");
    open.publish(&[outgoing("m")]).expect("published");
    file.by_hand().pragma_update(None, "user_version", 99).expect("set");

    for error in [refusal(&file.broker()), open.publish(&[outgoing("n")]).expect_err("refused")] {
        assert_eq!(error.next_step(), NextStep::GiveUp);
        let text = error.to_string();
        assert!(text.contains("newer Umbel") && text.contains("version 99") && text.contains("upgrade"), "{text}");
    }
}

#[test]
fn other_peoples_databases_are_left_alone() {
    let file = File::new();
    file.by_hand().execute_batch("CREATE TABLE users (name TEXT)").expect("made");
    let before = std::fs::read(file.path()).expect("read");
    let text = refusal(&file.broker()).to_string();
    assert!(text.contains("something else"), "{text}");
    assert!(std::fs::read(file.path()).expect("read") == before, "the file was changed");
}

#[test]
fn files_that_are_no_database_are_refused() {
    let file = File::new();
    std::fs::write(file.path(), "Dear diary, today I was opened as a database. ".repeat(200)).expect("written");
    let error = refusal(&file.broker());
    assert_eq!(error.next_step(), NextStep::GiveUp);
    assert!(error.to_string().contains("not a SQLite database"), "{error}");
}

#[test]
fn an_empty_file_becomes_a_database() {
    let file = File::new();
    std::fs::write(file.path(), "").expect("written");
    file.broker().publisher().expect("a publisher").publish(&[outgoing("m")]).expect("published");
}

#[test]
fn missing_and_unwritable_folders_are_named() {
    for (url, word) in [
        ("sqlite:////nowhere/at/all/q.sqlite3", "create it"),
        ("sqlite:////proc/q.sqlite3", "/proc/q.sqlite3"),
        ("sqlite:////etc/hostname/q.sqlite3", "/etc/hostname"),
        ("sqlite:////tmp", "name a file in it"),
    ] {
        let location = Location::parse(url, &TransportOptions::new(), "broker_url").expect("a location");
        let error = refusal(&SqliteBroker::new(location, Arc::new(SystemClock)));
        assert_eq!(error.next_step(), NextStep::GiveUp, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_locked_file_is_told_in_time() {
    let file = File::new();
    let mut publisher = file.broker().publisher().expect("a publisher");
    let holder = file.by_hand();
    holder.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let start = Instant::now();
    let error = publisher.publish(&[outgoing("m")]).expect_err("locked");
    assert!(start.elapsed() < Duration::from_secs(10), "after {:?}", start.elapsed());
    assert_eq!(error.next_step(), NextStep::Retry);
    assert!(error.to_string().contains("locked"), "{error}");
    holder.execute_batch("COMMIT").expect("unlocked");
    publisher.publish(&[outgoing("m")]).expect("the same handle goes on");
}

#[test]
fn a_deleted_file_is_noticed_and_made_anew() {
    let file = File::new();
    let broker = file.broker();
    let mut publisher = broker.publisher().expect("a publisher");
    publisher.publish(&[outgoing("old")]).expect("published");
    let mut consumer = broker.consumer(options("w")).expect("a consumer");
    let held = consumer.exchange(&[], 1).expect("fetched").deliveries.remove(0).tag;
    let mut bell = broker.doorbell(&["q".to_owned()]).expect("a doorbell");
    let mut admin = broker.admin().expect("an admin handle");
    file.remove();

    let errors = [
        publisher.publish(&[outgoing("lost")]).expect_err("gone"),
        consumer.exchange(&[], 1).expect_err("gone"),
        consumer.heartbeat().expect_err("gone"),
        bell.wait(Duration::ZERO).expect_err("gone"),
        admin.length("q").expect_err("gone"),
    ];
    for error in errors {
        assert_eq!(error.next_step(), NextStep::Reconnect, "{error}");
    }

    assert_eq!(consumer.recover(std::slice::from_ref(&held)), Ok(vec![held]));
    broker.publisher().expect("a new publisher").publish(&[outgoing("new")]).expect("published");
    let fetched = consumer.exchange(&[], 10).expect("fetched").deliveries;
    let Payload::Message(message) = &fetched[0].payload else { panic!("{fetched:?}") };
    assert_eq!((fetched.len(), message.body.as_slice()), (1, &b"new"[..]));
}

#[test]
fn a_listener_goes_on_after_its_file_was_replaced() {
    let file = File::new();
    let backend = SqliteBackend::new(file.location(""), Arc::new(SystemClock));
    let mut listener = backend.listener().expect("a listener");
    listener.subscribe(&["t".to_owned()]).expect("subscribed");
    file.remove();
    let error = listener.next(Duration::ZERO).expect_err("gone");
    assert_eq!(error.next_step(), NextStep::Reconnect, "{error}");
    listener.subscribe(&["t".to_owned()]).expect("subscribed anew");
    let record = ResultWrite {
        task_id: "t".to_owned(),
        state: "SUCCESS".to_owned(),
        record: b"1".to_vec(),
        expires: None,
        reply_to: None,
    };
    backend.store().expect("a store").write(&[record]).expect("written");
    assert_eq!(listener.next(Duration::from_secs(20)), Ok(vec![("t".to_owned(), b"1".to_vec())]));
}

#[test]
fn messages_that_came_without_a_ring_are_found() {
    let file = File::new();
    let mut bell = file.broker().doorbell(&["q".to_owned()]).expect("a doorbell");
    let by_hand = file.by_hand();
    by_hand
        .execute_batch(
            "INSERT INTO messages (headers, body) VALUES ('{}', x'41');
             INSERT INTO ready (queue, step, position, message) SELECT id, 0, 1, 1 FROM queues WHERE name = 'q'",
        )
        .expect("inserted");
    assert_eq!(bell.wait(Duration::from_secs(20)), Ok(true));
}

#[test]
fn waiters_that_died_are_forgotten() {
    let file = File::new();
    let mut publisher = file.broker().publisher().expect("a publisher");
    publisher.publish(&[outgoing("first")]).expect("published");
    let by_hand = file.by_hand();
    by_hand
        .execute("INSERT INTO waiters (queue, address) SELECT id, 'umbel-nobody' FROM queues WHERE name = 'q'", [])
        .expect("inserted");
    publisher.publish(&[outgoing("second")]).expect("published, nobody there");
    publisher.publish(&[outgoing("third")]).expect("published");
    let left: i64 = by_hand.query_row("SELECT count(*) FROM waiters", [], |row| row.get(0)).expect("counted");
    assert_eq!(left, 0);
}

#[test]
fn bells_sign_off() {
    let file = File::new();
    let broker = file.broker();
    let bell = broker.doorbell(&["q".to_owned(), "r".to_owned()]).expect("a doorbell");
    let count =
        || -> i64 { file.by_hand().query_row("SELECT count(*) FROM waiters", [], |row| row.get(0)).expect("counted") };
    assert_eq!(count(), 2);
    drop(bell);
    assert_eq!(count(), 0);
}

#[test]
fn rows_written_by_a_clumsy_hand_stop_nobody() {
    let file = File::new();
    let broker = file.broker();
    broker.publisher().expect("a publisher").publish(&[outgoing("sound")]).expect("published");
    let insert = |message: &str| {
        file.by_hand()
            .execute_batch(&format!(
                "{message};
                 INSERT INTO ready (queue, step, position, message)
                 SELECT id, 0, (SELECT min(position) - 1 FROM ready), last_insert_rowid() FROM queues WHERE name = 'q'"
            ))
            .expect("inserted");
    };
    insert("INSERT INTO messages (headers, body, priority) VALUES ('{}', x'41', 'high')");
    insert("INSERT INTO messages (headers, body, extra) VALUES ('{}', x'42', '9:x')");
    insert("INSERT INTO messages (headers, body) VALUES (CAST(x'ff' AS TEXT), x'43')");
    insert("INSERT INTO messages (id) VALUES (77); DELETE FROM messages WHERE id = 77");
    let fetched = broker.consumer(options("w")).expect("a consumer").exchange(&[], 10).expect("fetched").deliveries;
    let raws: Vec<Option<&[u8]>> = fetched
        .iter()
        .map(|delivery| match &delivery.payload {
            Payload::Malformed { raw, .. } => Some(raw.as_slice()),
            Payload::Message(_) => None,
        })
        .collect();
    assert_eq!(raws, [Some(&b""[..]), Some(b"C"), Some(b"B"), Some(b"A"), None]);
}

#[test]
fn an_idle_exchange_writes_nothing() {
    let file = File::new();
    let mut consumer = file.broker().consumer(options("w")).expect("a consumer");
    let holder = file.by_hand();
    holder.execute_batch("BEGIN IMMEDIATE").expect("locked");
    assert_eq!(consumer.exchange(&[], 10).expect("needs no lock").deliveries, []);
}

#[test]
fn a_sleep_of_the_whole_machine_costs_nobody_messages() {
    // Two workers fall silent together, as when a laptop sleeps; the first to wake must not rob the second.
    let file = File::new();
    let clock = Arc::new(umbel_broker::ManualClock::new(umbel_protocol::Timestamp::from_seconds(1.7e9)));
    let broker = SqliteBroker::new(file.location(""), Arc::clone(&clock) as Arc<dyn umbel_broker::Clock>);
    broker.publisher().expect("a publisher").publish(&[outgoing("m")]).expect("published");
    let (mut one, mut two) =
        (broker.consumer(options("one")).expect("a consumer"), broker.consumer(options("two")).expect("a consumer"));
    assert_eq!(two.exchange(&[], 1).expect("fetched").deliveries.len(), 1);
    clock.advance(3600.0);
    assert_eq!(one.heartbeat(), Ok(0));
    assert_eq!(two.heartbeat(), Ok(0));
    clock.advance(3.0);
    assert_eq!(one.heartbeat(), Ok(0));
    clock.advance(8.0);
    assert_eq!(one.heartbeat(), Ok(1), "really silent now");
}

#[test]
fn a_clock_that_is_set_back_neither_keeps_a_dead_workers_messages_nor_takes_a_living_ones() {
    let file = File::new();
    let clock = Arc::new(umbel_broker::ManualClock::new(umbel_protocol::Timestamp::from_seconds(1.7e9)));
    let broker = SqliteBroker::new(file.location(""), Arc::clone(&clock) as Arc<dyn umbel_broker::Clock>);
    broker.publisher().expect("a publisher").publish(&[outgoing("m"), outgoing("n")]).expect("published");
    let consumer = |name| broker.consumer(options(name)).expect("a consumer");
    let (mut watching, mut living, mut dead) = (consumer("watching"), consumer("living"), consumer("dead"));
    assert_eq!(living.exchange(&[], 1).expect("fetched").deliveries.len(), 1);
    assert_eq!(dead.exchange(&[], 1).expect("fetched").deliveries.len(), 1);
    assert_eq!(watching.heartbeat(), Ok(0));
    drop(dead);
    clock.advance(-3600.0);
    let mut returned = Vec::new();
    for _ in 0..5 {
        clock.advance(3.0);
        living.heartbeat().expect("alive");
        returned.push(watching.heartbeat().expect("alive"));
    }
    assert_eq!(returned.iter().sum::<usize>(), 1, "{returned:?}");
    assert_eq!(returned[0], 0, "it had more time than that");
}
