//! What goes wrong with a Redis, made to go wrong.

use std::collections::HashSet;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use umbel_backend::{Backend, RedisBackend};
use umbel_broker::{
    Broker, BrokerError, Consumer, ConsumerOptions, Delivery, Disposition, NextStep, Outgoing, Payload, RedisBroker,
    Settlement, Tag, TransportOptions,
};
use umbel_protocol::{Destination, Message, ResultWrite};
use umbel_testkit::servers::{RedisServer, RedisSetup};

const PATIENCE: Duration = Duration::from_secs(30);

fn options(given: &[(&str, &str)]) -> TransportOptions {
    given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn broker_at(url: &str, given: &[(&str, &str)]) -> RedisBroker {
    RedisBroker::from_url(url, &options(given)).expect("a broker")
}

fn server(arguments: &[&str]) -> Option<RedisServer> {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    RedisServer::with(RedisSetup { arguments, ..RedisSetup::default() })
}

fn consumer(broker: &RedisBroker, worker: &str, lease: Duration) -> Box<dyn Consumer> {
    let queues = vec!["q".to_owned()];
    let options = ConsumerOptions { worker_id: worker.to_owned(), queues, lease, stores_results: true };
    broker.consumer(options).expect("a consumer")
}

fn outgoing(body: &str) -> Outgoing {
    let message = Message { headers: "{}".to_owned(), body: body.as_bytes().to_vec(), ..Message::default() };
    Outgoing { destination: Destination::queue("q"), message, eta: None, line: None, chord: None }
}

fn send(broker: &RedisBroker, bodies: &[&str]) {
    let batch: Vec<Outgoing> = bodies.iter().map(|body| outgoing(body)).collect();
    broker.publisher().and_then(|mut publisher| publisher.publish(&batch)).expect("publish");
}

fn ack(tag: &Tag) -> Settlement {
    Settlement::of(Some(tag.clone()), Disposition::Ack)
}

fn body(payload: &Payload) -> String {
    match payload {
        Payload::Message(message) => String::from_utf8_lossy(&message.body).into_owned(),
        Payload::Malformed { error, .. } => panic!("{error}"),
    }
}

/// Calls `attempt` until it succeeds.
fn eventually<T>(mut attempt: impl FnMut() -> Result<T, BrokerError>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "still {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_server_that_forgot_the_scripts_is_given_them_again() {
    let Some(server) = RedisServer::start() else { return };
    let (broker, mut client) = (broker_at(&server.url(0), &[]), server.client(0));
    let mut worker = consumer(&broker, "w", PATIENCE);
    let mut previous: Vec<Settlement> = Vec::new();
    for number in 0..3 {
        send(&broker, &[&number.to_string()]);
        let exchanged = worker.exchange(&previous, 5).expect("exchange");
        assert_eq!((exchanged.deliveries.len(), exchanged.lost), (1, vec![]));
        previous = vec![ack(&exchanged.deliveries[0].tag)];
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut client).expect("SCRIPT FLUSH");
        assert_eq!(worker.heartbeat(), Ok(0));
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut client).expect("SCRIPT FLUSH");
    }
    assert_eq!(worker.exchange(&previous, 5).expect("exchange").deliveries, []);
}

#[test]
fn a_restarted_server_loses_nothing_it_had_confirmed() {
    let Some(mut server) = server(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let broker = broker_at(&server.url(0), &[]);
    send(&broker, &["1", "2", "3"]);
    let mut publisher = broker.publisher().expect("a publisher");
    let mut worker = consumer(&broker, "w", PATIENCE);
    let taken = worker.exchange(&[], 2).expect("fetch").deliveries;

    server.restart();

    let error = worker.exchange(&[ack(&taken[0].tag)], 5).expect_err("the connection is gone");
    assert_eq!(error.next_step(), NextStep::Reconnect, "{error}");
    assert!(matches!(worker.heartbeat(), Err(BrokerError::Connection { .. })), "only recover goes on");
    let known = [taken[0].tag.clone()];
    assert_eq!(eventually(|| worker.recover(&known)), [], "what we hold is still ours");
    let exchanged = worker.exchange(&[ack(&taken[0].tag)], 5).expect("exchange");
    assert_eq!(exchanged.lost, []);
    let bodies: Vec<String> = exchanged.deliveries.iter().map(|delivery| body(&delivery.payload)).collect();
    assert_eq!(bodies, ["2", "3"], "what the caller did not know of came back to the front");
    // A publisher finds its new connection by itself, at the latest with the second call.
    eventually(|| publisher.publish(&[outgoing("4")]));
}

#[test]
fn killed_connections_are_noticed_and_replaced() {
    let Some(server) = RedisServer::start() else { return };
    let (broker, mut client) = (broker_at(&server.url(0), &[]), server.client(0));
    send(&broker, &["1", "2"]);
    let mut worker = consumer(&broker, "w", PATIENCE);
    let mut bell = broker.doorbell(&["q".to_owned()]).expect("a doorbell");
    let mut admin = broker.admin().expect("an admin");
    let taken = worker.exchange(&[], 1).expect("fetch").deliveries;

    redis::cmd("CLIENT").arg("KILL").arg("SKIPME").arg("yes").exec(&mut client).expect("CLIENT KILL");

    let error = worker.exchange(&[ack(&taken[0].tag)], 1).expect_err("the connection is gone");
    assert_eq!(error.next_step(), NextStep::Reconnect);
    assert_eq!(worker.recover(&[taken[0].tag.clone()]), Ok(vec![]));
    assert_eq!(worker.exchange(&[ack(&taken[0].tag)], 1).map(|exchanged| exchanged.deliveries.len()), Ok(1));
    assert_eq!(eventually(|| admin.length("q")), 0);
    assert!(!eventually(|| bell.wait(Duration::ZERO)));
    send(&broker, &["3"]);
    assert_eq!(bell.wait(PATIENCE), Ok(true));
}

#[test]
fn what_an_older_connection_still_says_moves_nothing() {
    let Some(server) = RedisServer::start() else { return };
    let broker = broker_at(&server.url(0), &[]);
    send(&broker, &["1"]);
    let mut older = consumer(&broker, "w", PATIENCE);
    let mut newer = consumer(&broker, "w", PATIENCE);

    let error = older.exchange(&[], 1).expect_err("fenced");

    assert!(matches!(&error, BrokerError::Protocol { detail } if detail.contains("\"w\"")), "{error}");
    assert!(older.heartbeat().is_err());
    assert_eq!(newer.exchange(&[], 1).expect("fetch").deliveries.len(), 1);
}

#[test]
fn a_full_server_refuses_new_messages_and_lets_old_ones_out() {
    let Some(server) = server(&["--maxmemory", "8mb", "--maxmemory-policy", "noeviction"]) else { return };
    let broker = broker_at(&server.url(0), &[]);
    let mut publisher = broker.publisher().expect("a publisher");
    let big = "x".repeat(100_000);
    let mut sent = 0;
    let error = loop {
        match publisher.publish(&[outgoing(&big)]) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 1000, "the server never fills up");
    };
    assert!(matches!(&error, BrokerError::Unavailable { .. }) && error.next_step() == NextStep::Retry, "{error}");

    let mut worker = consumer(&broker, "w", PATIENCE);
    let mut settlements = Vec::new();
    let mut taken = 0;
    while taken < sent {
        let exchanged = worker.exchange(&settlements, 8).expect("a full server can be drained");
        assert_eq!(exchanged.lost, []);
        assert!(!exchanged.deliveries.is_empty(), "{taken} of {sent} came");
        taken += exchanged.deliveries.len();
        settlements = exchanged.deliveries.iter().map(|delivery| ack(&delivery.tag)).collect();
        worker.heartbeat().expect("heartbeat");
    }
    worker.exchange(&settlements, 0).expect("settle");
    publisher.publish(&[outgoing("room again")]).expect("room again");
}

#[test]
fn wrong_passwords_are_refused_access_and_not_printed() {
    let setup = RedisSetup { password: Some("right".to_owned()), ..RedisSetup::default() };
    let Some(server) = RedisServer::with(setup) else { return };
    let port = server.port;
    for user in ["", ":sesame@", "nobody:sesame@"] {
        let broker = broker_at(&format!("redis://{user}127.0.0.1:{port}/0"), &[]);
        let errors = [
            broker.publisher().err().expect("refused"),
            broker.doorbell(&["q".to_owned()]).err().expect("refused"),
            broker.admin().err().expect("refused"),
        ];
        for error in errors {
            assert!(matches!(error, BrokerError::Access { .. }), "{user:?}: {error:?}");
            assert!(!format!("{error} {error:?} {}", broker.display_url()).contains("sesame"), "{error}");
        }
    }
    assert!(broker_at(&server.url(0), &[]).publisher().is_ok());
}

#[test]
fn a_server_that_is_not_there_or_says_nothing_is_no_reason_to_hang() {
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = mute.local_addr().expect("an address").port();
    let start = Instant::now();
    let broker = broker_at(&format!("redis://127.0.0.1:{port}"), &[("socket_timeout", "0.2")]);
    let error = broker.publisher().err().expect("no answer");
    assert!(matches!(&error, BrokerError::Connection { detail, .. } if detail.contains("0.2 s")), "{error}");
    drop(mute);
    let error = broker.publisher().err().expect("nobody there");
    assert_eq!(error.next_step(), NextStep::Reconnect, "{error}");
    assert!(start.elapsed() < PATIENCE);
}

/// Who only listens notices too, though nothing it asked for is overdue.
#[test]
fn a_listener_notices_a_server_that_hangs() {
    let Some(server) = RedisServer::start() else { return };
    let given = options(&[("health_check_interval", "0.1"), ("socket_timeout", "0.2")]);
    let backend = RedisBackend::from_url(&server.url(0), &given).expect("a result store");
    let mut listener = backend.listener().expect("a listener");
    listener.subscribe(&["t".to_owned()]).expect("subscribe");
    assert_eq!(listener.next(Duration::from_millis(300)), Ok(vec![]), "a healthy server answers");

    server.freeze();

    let start = Instant::now();
    let error = listener.next(PATIENCE).expect_err("nobody there");
    assert_eq!(error.next_step(), NextStep::Reconnect, "{error}");
    assert!(start.elapsed() < PATIENCE / 2);
}

#[test]
fn an_answer_that_comes_too_late_is_never_taken_for_another() {
    let Some(server) = RedisServer::start() else { return };
    let broker = broker_at(&server.url(0), &[("socket_timeout", "0.2")]);
    let mut admin = broker.admin().expect("an admin");
    let mut client = server.client(0);
    send(&broker, &["1", "2"]);
    redis::cmd("CLIENT").arg("PAUSE").arg("500").exec(&mut client).expect("CLIENT PAUSE");
    let error = admin.length("q").expect_err("too late");
    assert_eq!(error.next_step(), NextStep::Reconnect, "{error}");
    assert_eq!(eventually(|| admin.length("other")), 0);
    assert_eq!(admin.length("q"), Ok(2));
}

#[test]
fn a_replica_a_crowded_and_an_old_server_are_understood() {
    let Some(replica) = server(&["--replicaof", "127.0.0.1 1"]) else { return };
    let broker = broker_at(&replica.url(0), &[]);
    let error =
        broker.publisher().and_then(|mut publisher| publisher.publish(&[outgoing("m")])).expect_err("read-only");
    assert!(matches!(error, BrokerError::Unavailable { .. }), "{error:?}");

    let Some(crowded) = server(&["--maxclients", "2"]) else { return };
    let broker = broker_at(&crowded.url(0), &[]);
    let kept = (broker.publisher().expect("one"), broker.publisher().expect("two"));
    // The server says so and hangs up, and the second may overtake the first.
    let error = broker.publisher().err().expect("crowded");
    assert!(matches!(error, BrokerError::Unavailable { .. } | BrokerError::Connection { .. }), "{error:?}");
    drop(kept);

    // No RESP3: the doorbell polls.
    let Some(old) = server(&["--rename-command", "HELLO", ""]) else { return };
    let broker = broker_at(&old.url(0), &[]);
    let mut bell = broker.doorbell(&["q".to_owned()]).expect("a doorbell");
    assert_eq!(bell.wait(Duration::from_millis(1)), Ok(false));
    send(&broker, &["m"]);
    assert_eq!(bell.wait(PATIENCE), Ok(true));
}

#[test]
fn certificates_are_checked() {
    let Some(server) = RedisServer::with(RedisSetup { tls: true, ..RedisSetup::default() }) else { return };
    let Some(other) = RedisServer::with(RedisSetup { tls: true, ..RedisSetup::default() }) else { return };
    let (ca, foreign) = (server.authority(), other.authority());
    let (ca, foreign) = (ca.to_str().expect("UTF-8"), foreign.to_str().expect("UTF-8"));
    let by_name = server.url(0).replace("127.0.0.1", "localhost");
    let by_other_name = server.url(0).replace("127.0.0.1", "127.0.0.2");
    let open = |url: &str, given: &[(&str, &str)]| broker_at(url, given).publisher().map(drop);

    assert_eq!(open(&by_name, &[("ssl_ca_certs", ca)]), Ok(()));
    assert_eq!(open(&server.url(0), &[("ssl_cert_reqs", "none")]), Ok(()));
    for given in [&[("ssl_ca_certs", foreign)][..], &[]] {
        let error = open(&server.url(0), given).expect_err("not trusted");
        assert!(matches!(error, BrokerError::Access { .. }), "{error:?}");
    }
    let unnamed = open(&by_other_name, &[("ssl_ca_certs", ca)]).expect_err("another name, or not listening");
    assert!(matches!(unnamed, BrokerError::Access { .. } | BrokerError::Connection { .. }), "{unnamed:?}");
    let plain = server.url(0).replace("rediss", "redis");
    assert!(open(&plain, &[]).is_err());
    let missing = RedisBroker::from_url(&server.url(0), &options(&[("ssl_ca_certs", "/nowhere.pem")])).err();
    assert!(missing.is_some_and(|error| error.to_string().starts_with("ssl_ca_certs")));
}

#[test]
fn sentinels_lead_to_the_master_and_to_the_next_one() {
    let Some(master) = RedisServer::start() else { return };
    let replica_of = format!("127.0.0.1 {}", master.port);
    let Some(replica) = server(&["--replicaof", &replica_of]) else { return };
    let Some(sentinel) = RedisServer::sentinel_of(&master) else { return };
    let url = format!("sentinel://127.0.0.1:1/0;sentinel://127.0.0.1:{}/0", sentinel.port);
    let broker = broker_at(&url, &[("master_name", "umbel"), ("socket_connect_timeout", "1")]);
    let mut publisher = eventually(|| broker.publisher());
    let mut worker = consumer(&broker, "w", PATIENCE);
    publisher.publish(&[outgoing("1")]).expect("publish");
    assert_eq!(worker.exchange(&[], 1).expect("fetch").deliveries.len(), 1);
    let unknown = broker_at(&url, &[("master_name", "nobody")]).publisher().err().expect("unknown");
    assert!(unknown.to_string().contains("nobody"), "{unknown}");

    // The sentinel finds the replica by asking the master every ten seconds; spare the wait.
    let mut client = sentinel.client(0);
    eventually(|| {
        let moved: Result<String, _> = redis::cmd("SENTINEL").arg("FAILOVER").arg("umbel").query(&mut client);
        moved.map_err(|error| BrokerError::Protocol { detail: error.to_string() })
    });
    eventually(|| {
        let role: Vec<redis::Value> = redis::cmd("ROLE").query(&mut replica.client(0)).expect("ROLE");
        match redis::from_redis_value_ref::<String>(&role[0]).expect("a role").as_str() {
            "master" => Ok(()),
            role => Err(BrokerError::Protocol { detail: role.to_owned() }),
        }
    });

    eventually(|| publisher.publish(&[outgoing("2")]));
    eventually(|| worker.recover(&[]).map(drop));
    let taken = eventually(|| worker.exchange(&[], 5)).deliveries;
    assert!(taken.iter().any(|delivery| body(&delivery.payload) == "2"), "{taken:?}");
}

/// With the server's own clock: a worker that stops saying "alive" loses what it holds when its lease is over.
#[test]
fn leases_run_out_by_themselves() {
    let Some(server) = RedisServer::start() else { return };
    let broker = broker_at(&server.url(0), &[]);
    send(&broker, &["m"]);
    let mut silent = consumer(&broker, "silent", Duration::from_millis(300));
    assert_eq!(silent.exchange(&[], 1).expect("fetch").deliveries.len(), 1);
    let start = Instant::now();
    let mut other = consumer(&broker, "other", PATIENCE);
    let returned = eventually(|| match other.heartbeat()? {
        0 => Err(BrokerError::Protocol { detail: "nothing came back".to_owned() }),
        count => Ok(count),
    });
    assert_eq!(returned, 1);
    assert!(start.elapsed() > Duration::from_millis(100), "taken back while the lease ran");
}

/// Results that do not tell their state in their first bytes are read before they are replaced.
#[test]
fn success_is_final_in_every_serializer() {
    let Some(server) = RedisServer::start() else { return };
    let broker = broker_at(&server.url(0), &[]);
    let backend = RedisBackend::from_url(&server.url(0), &TransportOptions::new()).expect("a result store");
    let mut worker = consumer(&broker, "w", PATIENCE);
    let mut store = backend.store().expect("a store");
    let write = |record: &[u8]| {
        let expires = Some(PATIENCE);
        vec![ResultWrite {
            task_id: "t".into(),
            state: String::new(),
            record: record.to_vec(),
            expires,
            reply_to: None,
        }]
    };
    let (started, success) = (b"\x83\xa6status\xa7STARTED", b"\x83\xa6status\xa7SUCCESS");
    for through_the_broker in [true, false] {
        store.forget(&["t".to_owned()]).expect("forget");
        for record in [started, success, started] {
            if through_the_broker {
                let tag = None;
                let settlement = Settlement { results: write(record), ..Settlement::of(tag, Disposition::Ack) };
                worker.exchange(&[settlement], 0).expect("settle");
            } else {
                store.write(&write(record)).expect("write");
            }
        }
        assert_eq!(store.read(&["t".to_owned()]), Ok(vec![Some(success.to_vec())]));
    }
}

/// Two workers wait at their doorbells while two producers send: everything comes, once.
#[test]
fn a_hammered_doorbell_misses_nothing() {
    const EACH: usize = 400;
    let Some(server) = RedisServer::start() else { return };
    let broker = broker_at(&server.url(0), &[]);
    let (seen, count) = (umbel_broker::sync::Mutex::new(HashSet::new()), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for producer in 0..2 {
            let broker = &broker;
            scope.spawn(move || {
                let mut publisher = broker.publisher().expect("a publisher");
                for number in 0..EACH {
                    publisher.publish(&[outgoing(&format!("{producer}-{number}"))]).expect("publish");
                }
            });
        }
        for name in ["a", "b"] {
            let (broker, seen, count) = (&broker, &seen, &count);
            scope.spawn(move || {
                let mut worker = consumer(broker, name, PATIENCE);
                let mut bell = broker.doorbell(&["q".to_owned()]).expect("a doorbell");
                let mut settlements = Vec::new();
                let deadline = Instant::now() + PATIENCE;
                while count.load(Ordering::SeqCst) < 2 * EACH {
                    assert!(Instant::now() < deadline, "{} of {} came", count.load(Ordering::SeqCst), 2 * EACH);
                    if settlements.is_empty() {
                        bell.wait(Duration::from_millis(200)).expect("wait");
                    }
                    let exchanged = worker.exchange(&settlements, 3).expect("exchange");
                    settlements = exchanged.deliveries.iter().map(|delivery| ack(&delivery.tag)).collect();
                    for delivery in exchanged.deliveries {
                        assert!(seen.lock().insert(body(&delivery.payload)), "a message came twice");
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                }
                worker.exchange(&settlements, 0).expect("settle");
            });
        }
    });
}

/// Fetches, listens for as long as it may, and takes what comes.
fn hears(worker: &mut dyn Consumer, broker: &RedisBroker) -> bool {
    let (silent, _open) = std::io::pipe().expect("a pipe");
    let taken = worker.exchange(&[], 5).expect("fetch").deliveries;
    finish(worker, &taken);
    let listens = worker.listens();
    while worker.listens() && worker.listen(Duration::ZERO, silent.as_fd()).expect("listen") {
        let taken = worker.exchange(&[], 5).expect("fetch").deliveries;
        finish(worker, &taken);
    }
    send(broker, &["m"]);
    assert!(!worker.listens() || worker.listen(PATIENCE, silent.as_fd()).expect("listen"));
    let taken = worker.exchange(&[], 5).expect("fetch").deliveries;
    assert_eq!(taken.len(), 1);
    finish(worker, &taken);
    listens
}

fn finish(worker: &mut dyn Consumer, taken: &[Delivery]) {
    let ends: Vec<Settlement> = taken.iter().map(|delivery| ack(&delivery.tag)).collect();
    worker.exchange(&ends, 0).expect("settle");
}

#[test]
fn a_user_who_may_not_track_fetches_all_the_same() {
    let Some(server) = RedisServer::start() else { return };
    let mut admin = server.client(0);
    let broker = broker_at(&server.url(0).replace("://", "://worker:secret@"), &[]);
    let mut allow = |rules: &[&str]| {
        redis::cmd("ACL").arg("SETUSER").arg("worker").arg(&["on", ">secret", "~*", "&*"]).arg(rules).exec(&mut admin)
    };
    for denied in ["-client|tracking", "-client|caching", "-client"] {
        allow(&["+@all", denied]).expect("ACL SETUSER");
        let mut worker = consumer(&broker, denied, PATIENCE);
        assert!(!hears(&mut *worker, &broker), "{denied}");
    }
    allow(&["+@all"]).expect("ACL SETUSER");
    let mut worker = consumer(&broker, "w", PATIENCE);
    assert!(hears(&mut *worker, &broker));
    allow(&["-client|caching"]).expect("ACL SETUSER");
    hears(&mut *worker, &broker);
    assert!(!worker.listens(), "it was told on the way that it may not");
}
