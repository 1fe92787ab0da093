//! Inputs for every law: Celery's recordings and what Umbel makes of them, and a few forms that no recording has.

use std::sync::Arc;
use std::time::Duration;

use umbel_broker::{DeadReason, Outgoing};
use umbel_protocol::content::Serializer;
use umbel_protocol::{
    Limits, Message, ReadOptions, ResultWrite, TaskFacts, Timestamp, base64, envelope, json, msgpack,
};
use umbel_worker::engine::{Cancel, Job, JobId, Outcome, Verdict};
use umbel_worker::link::{PROTOCOL_VERSION, ToChild, ToMain};

#[path = "../../../umbel-protocol/tests/vectors/mod.rs"]
mod vectors;

#[path = "../../../umbel-amqp/tests/sessions/mod.rs"]
mod sessions;

use vectors::Vector;

type Seeds = Vec<(&'static str, Vec<u8>)>;

/// Every seed with the name of its target.
pub(crate) fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    for vector in vectors::starting_with("") {
        let envelopes = [vector.in_lists(), vector.pushed(), vector.events()].concat();
        for raw in envelopes {
            if let Ok(message) = envelope::decode(&raw, &Limits::default()) {
                of_message(&message, &mut seeds);
            }
            seeds.push(("envelope", raw));
        }
        for (_, record) in vector.records() {
            of_record(record, &mut seeds);
        }
        of_commands(&vector, &mut seeds);
    }
    of_sessions(&mut seeds);
    seeds.extend(frames());
    seeds.extend(REPLIES.map(|reply| ("resp", [b"\x07\x01", reply.as_bytes()].concat())));
    seeds.extend(TIMES.map(|time| ("time", [&120_i16.to_le_bytes(), time.as_bytes()].concat())));
    seeds.extend(URLS.map(|url| ("url", url.as_bytes().to_vec())));
    seeds
}

/// What RabbitMQ said in sessions of Celery, and the headers of messages.
fn of_sessions(seeds: &mut Seeds) {
    for (name, connection) in [("delay_simple", 1), ("confirm_delay_simple", 2), ("run_success", 4), ("run_success", 6)]
    {
        let frames = sessions::session(name, connection);
        let said = frames.iter().filter(|frame| frame.from_server).flat_map(|frame| frame.bytes.clone());
        seeds.push(("amqp", [b"\x07\x01".to_vec(), said.collect()].concat()));
    }
    for frame in sessions::all() {
        let Some((head, payload)) = frame.bytes.split_at_checked(7) else { continue };
        let payload = &payload[..payload.len().saturating_sub(1)];
        match head[0] {
            1 if !payload.is_empty() => seeds.push(("amqp-header", payload.to_vec())),
            2 => seeds.push(("amqp-header", payload[12..].to_vec())),
            _ => {}
        }
    }
}

fn of_message(message: &Message, seeds: &mut Seeds) {
    let choice = match Serializer::named(&message.content_type) {
        Some(Serializer::Json) => 0,
        Some(Serializer::Msgpack) => 1,
        Some(Serializer::Pickle) => 2,
        _ => 3,
    };
    seeds.push(("task", [&[choice], message.headers.as_bytes(), b"\0\0", &message.body].concat()));
    seeds.push(("json", message.headers.clone().into_bytes()));
    let mut text = Vec::new();
    base64::encode_into(&message.body, &mut text);
    seeds.push(("base64", text));
    match choice {
        0 => seeds.push(("json", message.body.clone())),
        1 => seeds.push(("msgpack", message.body.clone())),
        _ => {}
    }
    let headers = json::parse(message.headers.as_bytes(), &Limits::default()).unwrap_or_default();
    for name in ["eta", "expires"] {
        if let Some(time) = headers.get(name).and_then(json::Value::as_str) {
            seeds.push(("time", [b"\0\0", time.as_bytes()].concat()));
        }
    }
    if headers.get("compression").is_some_and(|codec| !codec.is_null()) {
        seeds.extend((0..3).map(|codec| ("compression", [&[codec], message.body.as_slice()].concat())));
    }
}

fn of_record(record: Vec<u8>, seeds: &mut Seeds) {
    if let Ok(value) = json::parse(&record, &Limits::default())
        && let Ok(packed) = msgpack::encode(&value)
    {
        seeds.push(("msgpack", packed.clone()));
        seeds.push(("result", packed));
    }
    seeds.push(("compression", [b"\x02", record.as_slice()].concat()));
    seeds.push(("result", record));
}

/// Commands have the form of replies.
fn of_commands(vector: &Vector, seeds: &mut Seeds) {
    for command in vector.commands().into_iter().take(4) {
        let mut reply = format!("\x03\x02*{}\r\n", command.len()).into_bytes();
        for argument in command {
            reply.extend(format!("${}\r\n", argument.len()).into_bytes());
            reply.extend([argument.as_slice(), b"\r\n"].concat());
        }
        seeds.push(("resp", reply));
    }
}

fn frames() -> Seeds {
    let raw = vectors::named("msg_extra_properties").in_lists().swap_remove(0);
    let message = envelope::decode(&raw, &Limits::default()).expect("a recorded message");
    let facts = Arc::new(TaskFacts::parse(&message, &ReadOptions::default()).expect("a task"));
    let job = |id| Job {
        id: JobId(id),
        queue: Arc::from("celery"),
        facts: facts.clone(),
        message: Arc::new(message.clone()),
        batch: None,
    };
    let result = || ResultWrite {
        task_id: "id".into(),
        state: "SUCCESS".into(),
        record: b"{}".to_vec(),
        expires: Some(Duration::from_secs(60)),
        reply_to: None,
    };
    let outgoing = Outgoing {
        destination: message.properties.destination.clone(),
        message: message.clone(),
        eta: Some(Timestamp(1)),
        line: None,
        chord: None,
    };
    let rejected = Verdict::Reject(DeadReason { kind: "rejected".into(), detail: "why".into() });
    let outcomes = vec![
        Outcome { job: JobId(1), verdict: Verdict::Success, result: Some(result()), publish: vec![outgoing] },
        Outcome { job: JobId(2), verdict: rejected, result: None, publish: Vec::new() },
    ];
    let to_child = [
        ToChild::Jobs(vec![job(1), job(2)]),
        ToChild::Recall(vec![JobId(1), JobId(2)]),
        ToChild::SoftLimit(JobId(3)),
        ToChild::Cancel(JobId(3), Cancel::TimeLimit),
        ToChild::Cancel(JobId(4), Cancel::Revoked),
        ToChild::Stop,
    ];
    let to_main = [
        ToMain::Ready { version: PROTOCOL_VERSION, slots: 4 },
        ToMain::Started(vec![JobId(1)]),
        ToMain::Progress { job: JobId(1), result: result() },
        ToMain::Finished(outcomes),
        ToMain::Returned(vec![JobId(4)]),
        ToMain::Retiring,
        ToMain::WantsRelief,
    ];
    let mut seeds = Seeds::new();
    for (count, _) in to_child.iter().enumerate() {
        let mut stream = vec![7];
        to_child[..=count].iter().for_each(|frame| frame.encode(&mut stream));
        seeds.push(("frames-to-child", stream));
    }
    for (count, _) in to_main.iter().enumerate() {
        let mut stream = vec![7];
        to_main[..=count].iter().for_each(|frame| frame.encode(&mut stream));
        seeds.push(("frames-to-main", stream));
    }
    seeds
}

const REPLIES: [&str; 10] = [
    "+OK\r\n-OOM command not allowed\r\n:-12\r\n",
    "$-1\r\n*-1\r\n_\r\n#t\r\n,1.5\r\n(12345678901234567890\r\n",
    "$3\r\na\r\n\r\n=7\r\ntxt:abc\r\n!5\r\nERR a\r\n",
    "*3\r\n$2\r\nok\r\n$17\r\n1800000000.123456\r\n$0\r\n\r\n",
    "%2\r\n+first\r\n:1\r\n+second\r\n~2\r\n+a\r\n+b\r\n:2\r\n",
    ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n:1\r\n",
    "|1\r\n+ttl\r\n:3600\r\n*1\r\n:5\r\n",
    "*1\r\n*1\r\n*1\r\n*1\r\n*0\r\n",
    "$536870912\r\n*16777216\r\n",
    "?\r\n",
];

const TIMES: [&str; 13] = [
    "2030",
    "2030-02",
    "20300203",
    "2030-W53-7",
    "2030W012",
    "2028366",
    "9999-12-31T23:59:59.999999-23:59",
    "0001-01-01T00:00:00+23:59",
    "20300102T030405,5",
    "2030-01-02T03:04:05.123456789Z",
    "2030-01-02T03:04:05-0230",
    "2030-01-02T24:00",
    "2030-01-02 03:04",
];

const URLS: [&str; 14] = [
    "redis://\0\0host:6379/0",
    "redis://user\0\0host:6379/0?socket_timeout=5&health_check_interval=30",
    "rediss://\0\0[::1]:6380/1?ssl_cert_reqs=none&ssl_ca_certs=/ca.pem",
    "redis+socket:///run/redis.sock?virtual_host=2",
    "unix:///run/redis.sock?db=1",
    "sentinel://\0\0h1:26379;sentinel://h2:26379/0?master_name=m&sentinel_password=p",
    "redis+sentinel://h1,h2,h3/2?master_name=m",
    "redis://h1:1,h2:2/0",
    "redis://%2Fa%41:b%40@h/0#x",
    "memory://name",
    "sqlite:////srv/umbel.sqlite3?synchronous=normal&timeout=2.5&network_filesystem=allow",
    "sqlite:///relative/umbel.sqlite3",
    "amqp://guest\0\0host//",
    ";;redis://h;redis://i",
];
