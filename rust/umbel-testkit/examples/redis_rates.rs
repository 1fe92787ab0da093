//! Rates of the Redis engine on a private server: publish, and drain with acknowledgements and results.
//!
//! `cargo run --release -p umbel-testkit --example redis_rates [messages]`

#![expect(clippy::print_stdout, reason = "a report is what it is for")]

use std::time::{Duration, Instant};

use umbel_broker::{Broker, ConsumerOptions, Disposition, Outgoing, RedisBroker, Settlement, TransportOptions};
use umbel_protocol::{Destination, Message, ResultWrite};
use umbel_testkit::servers::RedisServer;

fn message(number: usize) -> Message {
    let id = format!("{number:08x}-8d3c-4a6f-9c57-0123456789ab");
    Message {
        headers: format!(
            r#"{{"lang": "py", "task": "proj.add", "id": "{id}", "shadow": null, "eta": null, "expires": null, "group": null, "group_index": null, "retries": 0, "timelimit": [null, null], "root_id": "{id}", "parent_id": null, "argsrepr": "(1, 1)", "kwargsrepr": "{{}}", "origin": "gen1@host", "ignore_result": false, "replaced_task_nesting": 0, "stamped_headers": null, "stamps": {{}}}}"#
        ),
        body: br#"[[1, 1], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]"#.to_vec(),
        content_type: "application/json".to_owned(),
        content_encoding: "utf-8".to_owned(),
        ..Message::default()
    }
}

fn publish(broker: &RedisBroker, count: usize, batch: usize) -> (usize, Duration) {
    let mut publisher = broker.publisher().expect("a publisher");
    let sample: Vec<Outgoing> = (0..batch)
        .map(|number| Outgoing {
            destination: Destination::queue("celery"),
            message: message(number),
            eta: None,
            line: None,
            chord: None,
        })
        .collect();
    let start = Instant::now();
    for _ in 0..count / batch {
        publisher.publish(&sample).expect("publish");
    }
    (count / batch * batch, start.elapsed())
}

fn record(number: usize) -> Vec<u8> {
    format!(r#"{{"status": "SUCCESS", "result": {number}, "traceback": null, "children": [], "date_done": "2026-11-22T19:10:29.712105+00:00", "task_id": "x"}}"#).into_bytes()
}

fn drain(broker: &RedisBroker, want: usize, results: bool) -> (usize, Duration) {
    let options = ConsumerOptions {
        worker_id: format!("rates-{want}-{results}"),
        queues: vec!["celery".to_owned()],
        lease: Duration::from_secs(60),
        stores_results: true,
    };
    let mut consumer = broker.consumer(options).expect("a consumer");
    let mut settlements: Vec<Settlement> = Vec::new();
    let mut count = 0;
    let start = Instant::now();
    loop {
        let taken = consumer.exchange(&settlements, want).expect("exchange").deliveries;
        if taken.is_empty() {
            break;
        }
        settlements = taken
            .into_iter()
            .map(|delivery| {
                count += 1;
                let result = ResultWrite {
                    task_id: format!("{count:08x}-{want}"),
                    state: "SUCCESS".to_owned(),
                    record: record(count),
                    expires: Some(Duration::from_secs(86400)),
                    reply_to: None,
                };
                let results = if results { vec![result] } else { Vec::new() };
                Settlement { results, ..Settlement::of(Some(delivery.tag), Disposition::Ack) }
            })
            .collect();
    }
    let took = start.elapsed();
    consumer.close().expect("close");
    (count, took)
}

/// Seconds of processor time a process has used: says more than the clock on a busy machine.
fn cpu_seconds(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_ascii_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// Runs `work` over `count` messages and prints rate and processor time.
fn report(server: &RedisServer, what: &str, work: impl FnOnce() -> (usize, Duration)) {
    let server = server.pid().to_string();
    let before = (cpu_seconds("self"), cpu_seconds(&server));
    let (count, took) = work();
    let count = count as f64;
    let per_message = |used: f64| used * 1e6 / count;
    println!(
        "{what:40} {:9.0} messages/s; processor time a message: {:5.2} us here, {:5.2} us Redis",
        count / took.as_secs_f64(),
        per_message(cpu_seconds("self") - before.0),
        per_message(cpu_seconds(&server) - before.1),
    );
}

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let Some(server) = RedisServer::start() else { return };
    let broker = RedisBroker::from_url(&server.url(0), &TransportOptions::new()).expect("a broker");
    for batch in [1, 16, 100, 1000] {
        let name = format!("publish, batches of {batch:4}");
        report(&server, &name, || publish(&broker, count.min(batch * 20_000), batch));
    }
    drain(&broker, 256, false);
    for results in [false, true] {
        for want in [1, 16, 64, 256] {
            let sent = count.min(want * 10_000);
            publish(&broker, sent, 100);
            report(&server, &format!("drain, window {want:3}, results {results}"), || drain(&broker, want, results));
        }
    }
}
