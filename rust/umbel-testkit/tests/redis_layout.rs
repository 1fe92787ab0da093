//! What lies in Redis is what kombu puts there and looks for; the other side is played by an independent client.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::Commands;
use umbel_backend::{Backend, RedisBackend};
use umbel_broker::{
    Broker, Consumer, ConsumerOptions, Disposition, ExchangeKind, Outgoing, Payload, RedisBroker, Settlement,
    TransportOptions,
};
use umbel_protocol::json::{self, Value};
use umbel_protocol::{ChordPart, ChordStep, Destination, Limits, Message, Timestamp, envelope};
use umbel_testkit::servers::RedisServer;

fn broker(server: &RedisServer, options: &[(&str, &str)]) -> RedisBroker {
    let options: TransportOptions = options.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    RedisBroker::from_url(&server.url(0), &options).expect("a broker")
}

fn consumer(broker: &RedisBroker, worker: &str, queues: &[&str]) -> Box<dyn Consumer> {
    let queues = queues.iter().map(|queue| (*queue).to_owned()).collect();
    let lease = Duration::from_secs(30);
    let options = ConsumerOptions { worker_id: worker.to_owned(), queues, lease, stores_results: false };
    broker.consumer(options).expect("a consumer")
}

fn message(body: &str) -> Message {
    Message { headers: r#"{"id": "x"}"#.to_owned(), body: body.as_bytes().to_vec(), ..Message::default() }
}

fn send(broker: &RedisBroker, queue: &str, body: &str) {
    let outgoing =
        Outgoing { destination: Destination::queue(queue), message: message(body), eta: None, line: None, chord: None };
    broker.publisher().and_then(|mut publisher| publisher.publish(&[outgoing])).expect("publish");
}

fn end(disposition: Disposition, tag: &umbel_broker::Tag) -> Settlement {
    Settlement::of(Some(tag.clone()), disposition)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64()
}

fn strings(reply: redis::RedisResult<Vec<String>>) -> BTreeSet<String> {
    reply.expect("an answer").into_iter().collect()
}

/// Key and envelope of every message in a recorded case, by the name of the case.
fn recorded_messages() -> Vec<(String, String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/wire/vectors");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the vectors") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        if !name.starts_with("msg_") {
            continue;
        }
        let text = std::fs::read(&path).expect("a vector");
        let case = json::parse(&text, &Limits::default()).expect("JSON");
        let lists = case.get("captured").and_then(|captured| captured.get("lists")).and_then(Value::as_array);
        for list in lists.unwrap_or_default() {
            let field = |name: &str| list.get(name).and_then(Value::as_str).map(str::to_owned);
            if let (Some(key), Some(raw)) = (field("key"), field("raw")) {
                found.push((name.clone(), key, raw));
            }
        }
    }
    assert!(found.len() > 50, "only {} recorded messages", found.len());
    found
}

/// What Celery's producers left is taken from where they left it, and published again lands there.
#[test]
fn recorded_messages_are_found_and_go_back_to_their_keys() {
    let Some(server) = RedisServer::start() else { return };
    let mut client = server.client(0);
    for (case, key, raw) in recorded_messages() {
        // Two cases were recorded with transport options.
        let (options, sep): (&[_], _) = match key.strip_prefix("pre:") {
            Some(_) => (&[("global_keyprefix", "pre:"), ("sep", ":"), ("priority_steps", "0,1,2,3,4,5,6,7,8,9")], ":"),
            None => (&[], "\u{6}\u{16}"),
        };
        let queue = key.trim_start_matches("pre:").split(sep).next().unwrap_or_default();
        let broker = broker(&server, options);
        client.lpush::<_, _, ()>(&key, &raw).expect("LPUSH");

        let mut worker = consumer(&broker, "w", &[queue]);
        let mut taken = worker.exchange(&[], 5).expect("fetch").deliveries;

        assert_eq!(taken.len(), 1, "{case}: nothing found in {key:?}");
        let delivery = taken.remove(0);
        let Payload::Message(received) = delivery.payload else { panic!("{case} does not decode") };
        let again =
            Outgoing { destination: Destination::queue(queue), message: *received, eta: None, line: None, chord: None };
        let settlement = Settlement { publish: vec![again], ..end(Disposition::Ack, &delivery.tag) };
        assert_eq!(worker.exchange(&[settlement], 0).expect("settle").lost, []);
        let there: Vec<Vec<u8>> = client.lrange(&key, 0, -1).expect("LRANGE");
        assert_eq!(there.len(), 1, "{case}: not back in {key:?}");
        let sent = envelope::decode(&there[0], &Limits::default()).expect("an envelope");
        let original = envelope::decode(raw.as_bytes(), &Limits::default()).expect("an envelope");
        assert_eq!((sent.headers, sent.body), (original.headers, original.body), "{case}");
        assert_eq!(sent.properties.destination, Destination::queue(queue));
        redis::cmd("FLUSHDB").exec(&mut client).expect("FLUSHDB");
    }
}

/// The record of a held message is kombu's: envelope, exchange, routing key; scored by the server's time.
#[test]
fn held_messages_are_kombus_unacked_records() {
    let Some(server) = RedisServer::start() else { return };
    let (broker, mut client) = (broker(&server, &[]), server.client(0));
    let queue = "qu\"eue ü";
    send(&broker, queue, "m");
    let raw: Vec<String> = client.lrange(queue, 0, -1).expect("LRANGE");
    let mut worker = consumer(&broker, "w", &[queue]);

    let taken = worker.exchange(&[], 1).expect("fetch").deliveries;

    let records: HashMap<String, String> = client.hgetall("unacked").expect("HGETALL");
    let scores: Vec<(String, f64)> = client.zrange_withscores("unacked_index", 0, -1).expect("ZRANGE");
    assert_eq!(records.keys().collect::<Vec<_>>(), [&*taken[0].tag.0]);
    assert_eq!(scores[0].0, *taken[0].tag.0);
    assert!((scores[0].1 - now()).abs() < 10.0, "{scores:?}");
    let record = &records[&*taken[0].tag.0];
    let parts = json::elements(record.as_bytes(), &Limits::default()).expect("a JSON array");
    assert_eq!(parts, [raw[0].as_str(), r#""""#, r#""qu\"eue \u00fc""#]);
    let heartbeat: i64 = client.pttl("umbel:worker:w").expect("PTTL");
    assert!(heartbeat > 0, "the heartbeat does not expire: {heartbeat}");
}

/// kombu's restore, played step by step: the message is back, and the first holder's acknowledgement changes nothing.
#[test]
fn a_celery_workers_sweep_restores_our_messages() {
    let Some(server) = RedisServer::start() else { return };
    let (broker, mut client) = (broker(&server, &[]), server.client(0));
    send(&broker, "q", "m");
    let mut worker = consumer(&broker, "w", &["q"]);
    let taken = worker.exchange(&[], 1).expect("fetch").deliveries;

    let tags: Vec<String> = client.zrange("unacked_index", 0, -1).expect("ZRANGE");
    let record: String = client.hget("unacked", &tags[0]).expect("HGET");
    let parts = json::elements(record.as_bytes(), &Limits::default()).expect("a JSON array");
    let queue = json::text_of(parts[2]).expect("text").into_owned();
    redis::pipe()
        .atomic()
        .zrem("unacked_index", &tags[0])
        .hdel("unacked", &tags[0])
        .rpush(&queue, parts[0])
        .exec(&mut client)
        .expect("the restore");

    let lost = worker.exchange(&[end(Disposition::Ack, &taken[0].tag)], 0).expect("settle").lost;
    assert_eq!(lost, [taken[0].tag.clone()]);
    assert_eq!(worker.exchange(&[], 1).expect("fetch").deliveries.len(), 1);
}

/// What a dead Celery worker held goes back to its queue, after the visibility timeout and not before.
#[test]
fn a_celery_workers_messages_are_restored() {
    let Some(server) = RedisServer::start() else { return };
    let broker = broker(&server, &[("visibility_timeout", "60")]);
    let mut client = server.client(0);
    let mut publisher = broker.publisher().expect("a publisher");
    let to_b = Destination { exchange: "ex".to_owned(), routing_key: "key".to_owned() };
    publisher.bind("b", &to_b, ExchangeKind::Direct).expect("bind");
    for (tag, age, exchange, key, priority) in [
        ("fresh", 30.0, "", "a", 0),
        ("old", 90.0, "", "a", 5),
        ("routed", 91.0, "ex", "key", 0),
        ("unroutable", 92.0, "gone", "key", 0),
    ] {
        let mut sent = message(tag);
        sent.properties.priority = Some(priority);
        let envelope = String::from_utf8(envelope::encode(&sent, tag)).expect("text");
        client.hset::<_, _, _, ()>("unacked", tag, format!(r#"[{envelope}, "{exchange}", "{key}"]"#)).expect("HSET");
        client.zadd::<_, _, _, ()>("unacked_index", tag, now() - age).expect("ZADD");
    }
    client.zadd::<_, _, _, ()>("unacked_index", "no record", now() - 99.0).expect("ZADD");
    let mut worker = consumer(&broker, "w", &["a", "b"]);

    assert_eq!(worker.heartbeat(), Ok(2));

    assert_eq!(strings(client.zrange("unacked_index", 0, -1)), BTreeSet::from(["fresh".to_owned()]));
    assert_eq!(client.llen::<_, i64>("a\u{6}\u{16}3"), Ok(1));
    let taken = worker.exchange(&[], 10).expect("fetch").deliveries;
    let marks: BTreeMap<&str, (bool, u32)> = taken
        .iter()
        .map(|delivery| match &delivery.payload {
            Payload::Message(message) => {
                (&*delivery.queue, (message.properties.redelivered, message.properties.failed_deliveries))
            }
            Payload::Malformed { error, .. } => panic!("{error}"),
        })
        .collect();
    assert_eq!(marks, BTreeMap::from([("a", (true, 0)), ("b", (true, 0))]));
    let letters = broker.admin().and_then(|mut admin| admin.dead_letters(0, 9)).expect("dead letters");
    assert_eq!(letters.iter().map(|letter| letter.reason.kind.as_str()).collect::<Vec<_>>(), ["unroutable"]);
}

/// Bindings are members of both of kombu's sets, with the pattern kombu matches by.
#[test]
fn bindings_are_kombus() {
    let Some(server) = RedisServer::start() else { return };
    let broker = broker(&server, &[]);
    let mut publisher = broker.publisher().expect("a publisher");
    let destination = |exchange: &str, key: &str| Destination { exchange: exchange.into(), routing_key: key.into() };
    publisher.bind("celery", &destination("celery", "celery"), ExchangeKind::Direct).expect("bind");
    publisher.bind("t", &destination("topics", "a.*.c.#"), ExchangeKind::Topic).expect("bind");
    let mut client = server.client(0);
    for (exchange, member) in [
        ("celery", "celery\u{6}\u{16}\u{6}\u{16}celery"),
        ("topics", "a.*.c.#\u{6}\u{16}^a\\.[^\\.]+\\.c\\..*?$\u{6}\u{16}t"),
    ] {
        for set in ["_kombu.binding", "_kombu.binding_permanent"] {
            let members = strings(client.smembers(format!("{set}.{exchange}")));
            assert_eq!(members, BTreeSet::from([member.to_owned()]));
        }
    }
}

/// Every key of ours begins with the prefix, and nothing is left when everything is done.
#[test]
fn prefixes_cover_all_and_nothing_is_left_behind() {
    let Some(server) = RedisServer::start() else { return };
    let broker = broker(&server, &[("global_keyprefix", "pre-")]);
    let mut client = server.client(0);
    let mut worker = consumer(&broker, "w", &["q"]);
    for body in ["acked", "delayed", "dead", "held"] {
        send(&broker, "q", body);
    }
    let taken = worker.exchange(&[], 4).expect("fetch").deliveries;
    let until = Timestamp::from_seconds(now() + 3600.0);
    let reason = umbel_broker::DeadReason { kind: "rejected".into(), detail: "no".into() };
    let ends = [
        end(Disposition::Ack, &taken[0].tag),
        end(Disposition::Delay { until }, &taken[1].tag),
        end(Disposition::Dead(reason), &taken[2].tag),
    ];
    let exchanged = worker.exchange(&ends, 1).expect("settle");
    assert_eq!(exchanged.lost, []);
    assert_eq!(exchanged.next_due.map(|due| (due.as_seconds() - until.as_seconds()).abs() < 0.001), Some(true));

    let keys = strings(client.keys("*"));
    let expected = [
        "unacked",
        "unacked_index",
        "umbel:dead",
        "umbel:dead_messages",
        "umbel:delayed",
        "umbel:delayed_messages",
        "umbel:worker:w",
        "umbel:workers",
    ];
    assert_eq!(keys, expected.iter().map(|key| format!("pre-{key}")).collect());

    worker.close().expect("close");
    let mut admin = broker.admin().expect("an admin");
    assert_eq!(admin.dead_purge(None), Ok(1));
    assert_eq!(admin.purge("q"), Ok(1));
    client.del::<_, ()>(&["pre-umbel:delayed", "pre-umbel:delayed_messages"]).expect("DEL");
    assert_eq!(strings(client.keys("*")), BTreeSet::new());
}

fn counting(task_id: &str, place: i64) -> Settlement {
    let part = ChordPart {
        group: "g".to_owned(),
        task_id: task_id.to_owned(),
        index: Some(place),
        part: format!(r#"[1, "{task_id}", "SUCCESS", 5]"#).into_bytes(),
        expires: None,
    };
    let chord = Some(Box::new(ChordStep::Count(part)));
    let message = message(r#"[["g"], {"result": "umbel:chord-members"}, null]"#);
    let waiting = Outgoing { destination: Destination::queue("unlock"), message, eta: None, line: None, chord };
    Settlement { publish: vec![waiting], ..Settlement::of(None, Disposition::Ack) }
}

/// Celery keeps the parts of chords in a list where `result_chord_ordered` is off; whoever is first decides.
#[test]
fn parts_of_chords_without_order_are_a_list() {
    let Some(server) = RedisServer::start() else { return };
    let off = [("result_chord_ordered".to_owned(), "false".to_owned())];
    let mut client = server.client(0);
    let store = |options: &[(String, String)]| {
        let options = options.iter().cloned().collect();
        RedisBackend::from_url(&server.url(0), &options).and_then(|backend| backend.store()).expect("a store")
    };
    let worker = |ordered: &str| {
        let options = ConsumerOptions {
            worker_id: format!("w{ordered}"),
            queues: vec!["q".to_owned()],
            lease: Duration::from_secs(30),
            stores_results: true,
        };
        broker(&server, &[("result_chord_ordered", ordered)]).consumer(options).expect("a consumer")
    };
    for (first, other, kind, members) in [("false", "true", "list", ["b", "a"]), ("true", "false", "zset", ["a", "b"])]
    {
        store(&off).start_chord("g", 2, None).expect("start");
        worker(first).exchange(&[counting("b", 1), counting("b", 1)], 0).expect("a part");
        let found: String = client.key_type("celery-taskset-meta-g.j").expect("a type");
        assert_eq!(found, kind);
        worker(other).exchange(&[counting("a", 0)], 0).expect("the last part");
        let parts = store(&[]).chord_parts("g").expect("parts");
        let expected = members.map(|id| format!(r#"[1, "{id}", "SUCCESS", 5]"#).into_bytes());
        assert_eq!(parts, expected);
        let raw: Vec<u8> = client.lpop("unlock", None).expect("a message");
        let [first, second] = members.map(|id| format!(r#"[[\"{id}\", null], null]"#));
        let text = String::from_utf8(raw).expect("text");
        assert!(text.contains(&format!("[{first}, {second}]")), "{text}");
    }
}
