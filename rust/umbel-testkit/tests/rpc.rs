//! Results that go to whoever asked, over every broker that needs no server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use umbel_backend::{Backend, ResultListener, ResultStore, RpcBackend, RpcOptions};
use umbel_broker::sqlite::Location;
use umbel_broker::{Broker, MemoryBroker, SqliteBroker, SystemClock, TransportOptions};
use umbel_client::{Call, RetryPolicy, Waiter};
use umbel_protocol::{Destination, ResultWrite};

const PATIENCE: Duration = Duration::from_secs(20);

fn brokers() -> (Vec<Arc<dyn Broker>>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(SystemClock);
    let url = format!("sqlite:///{}", folder.path().join("rpc.sqlite3").display());
    let location = Location::parse(&url, &TransportOptions::new(), "broker_url").expect("a location");
    (vec![Arc::new(MemoryBroker::new(clock.clone())), Arc::new(SqliteBroker::new(location, clock))], folder)
}

fn backend(broker: &Arc<dyn Broker>, reply_to: &str) -> RpcBackend {
    let options = RpcOptions {
        reply_to: reply_to.to_owned(),
        content_type: "application/x-python-serialize".to_owned(),
        content_encoding: "binary".to_owned(),
        persistent: false,
    };
    RpcBackend::new(Arc::clone(broker), options)
}

fn record(task_id: &str, state: &str, reply_to: Option<&str>) -> ResultWrite {
    ResultWrite {
        task_id: task_id.to_owned(),
        state: state.to_owned(),
        record: format!("{{\"status\": \"{state}\", \"result\": 5}}").into_bytes(),
        expires: None,
        reply_to: reply_to.map(str::to_owned),
    }
}

fn read(store: &mut dyn ResultStore, task_id: &str) -> Option<String> {
    let found = store.read(&[task_id.to_owned()]).expect("read").remove(0);
    found.map(|record| String::from_utf8(record).expect("text"))
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not come");
    }
}

#[test]
fn a_record_reaches_who_asked_and_nobody_else() {
    let (brokers, _folder) = brokers();
    for broker in &brokers {
        let (mine, theirs, worker) = (backend(broker, "mine"), backend(broker, "theirs"), backend(broker, "worker"));
        let (mut me, mut other) = (mine.store().expect("a store"), theirs.store().expect("a store"));
        me.prepare().expect("prepared");
        other.prepare().expect("prepared");
        let mut answering = worker.store().expect("a store");
        let batch =
            [record("t", "STARTED", Some("mine")), record("t", "SUCCESS", Some("mine")), record("u", "SUCCESS", None)];
        answering.write(&batch).expect("written");
        let found = until(|| read(&mut *me, "t").filter(|record| record.contains("SUCCESS")));
        assert!(found.contains("5"));
        assert_eq!(read(&mut *me, "t"), Some(found), "it can be read again");
        assert_eq!((read(&mut *me, "u"), read(&mut *other, "t")), (None, None));
        assert_eq!(me.forget(&["t".to_owned(), "none".to_owned()]), Ok(1));
        assert_eq!(read(&mut *me, "t"), None);
    }
}

#[test]
fn what_nobody_awaits_is_dropped() {
    let (brokers, _folder) = brokers();
    for broker in &brokers {
        let (mine, worker) = (backend(broker, "mine"), backend(broker, "worker"));
        let mut answering = worker.store().expect("a store");
        answering.write(&[record("early", "SUCCESS", Some("mine"))]).expect("dropped");
        let mut me = mine.store().expect("a store");
        me.prepare().expect("prepared");
        mine.close();
        answering.write(&[record("closed", "SUCCESS", Some("mine"))]).expect("dropped");
        me.prepare().expect("prepared again");
        answering.write(&[record("now", "SUCCESS", Some("mine"))]).expect("written");
        until(|| read(&mut *me, "now"));
        assert_eq!((read(&mut *me, "early"), read(&mut *me, "closed")), (None, None));
    }
}

#[test]
fn a_listener_hears_each_record_and_an_end_stays() {
    let (brokers, _folder) = brokers();
    for broker in &brokers {
        let (mine, worker) = (backend(broker, "mine"), backend(broker, "worker"));
        let mut listener: Box<dyn ResultListener> = mine.listener().expect("a listener");
        listener.subscribe(&["t".to_owned()]).expect("subscribed");
        let mut answering = worker.store().expect("a store");
        let mut heard = Vec::new();
        for state in ["STARTED", "SUCCESS", "RETRY"] {
            answering.write(&[record("t", state, Some("mine"))]).expect("written");
        }
        answering.write(&[record("last", "FAILURE", Some("mine"))]).expect("written");
        until(|| {
            heard.extend(listener.next(PATIENCE).expect("heard"));
            heard.iter().any(|(task_id, _)| task_id == "last").then_some(())
        });
        let last_of_t = heard.iter().rev().find(|(task_id, _)| task_id == "t").expect("heard of it");
        assert!(String::from_utf8_lossy(&last_of_t.1).contains("SUCCESS"), "{heard:?}");
    }
}

#[test]
fn what_was_heard_before_anybody_asked_is_at_hand() {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(Arc::new(SystemClock)));
    let mine: Arc<dyn Backend> = Arc::new(backend(&broker, "mine"));
    mine.store().expect("a store").prepare().expect("prepared");
    let waiter = Waiter::new(Arc::clone(&mine), RetryPolicy::default(), PATIENCE);
    let mut answering = backend(&broker, "worker").store().expect("a store");
    let batch = [record("early", "SUCCESS", Some("mine")), record("awaited", "SUCCESS", Some("mine"))];
    answering.write(&batch).expect("written");
    let wait = |task_id, timeout| waiter.wait(task_id, None, &mut Call::new(Some(timeout))).expect("a store");
    assert!(wait("awaited", PATIENCE).is_some());
    assert!(wait("early", Duration::ZERO).is_some(), "it was read with the other: nothing is left to wait for");
    assert_eq!((mine.at_hand("early").is_some(), mine.at_hand("none")), (true, None));
}

#[test]
fn replies_are_written_as_celery_writes_them() {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(Arc::new(SystemClock)));
    let address = Destination::queue("mine");
    let mut control = broker.control().expect("control");
    control.open_box(&address).expect("open");
    let mut pickled = record("p", "SUCCESS", Some("mine"));
    pickled.record = b"\x80\x04}".to_vec();
    let batch = [record("t", "SUCCESS", Some("mine")), pickled];
    backend(&broker, "worker").store().expect("a store").write(&batch).expect("written");
    let replies = control.collect(&address, PATIENCE).expect("replies");
    let seen: Vec<_> = replies
        .iter()
        .map(|reply| {
            let properties = &reply.properties;
            (properties.correlation_id.as_deref(), properties.delivery_mode, reply.content_type.as_str())
        })
        .collect();
    let python = "application/x-python-serialize";
    assert_eq!(seen, [(Some("t"), Some(1), "application/json"), (Some("p"), Some(1), python)]);
}

#[test]
fn chords_are_refused_with_advice() {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(Arc::new(SystemClock)));
    let error = backend(&broker, "mine").store().expect("a store").start_chord("g", 2, None).expect_err("refused");
    assert!(error.to_string().contains("use Redis"), "{error}");
}
