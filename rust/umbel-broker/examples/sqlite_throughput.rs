//! How fast the SQLite engine is on this disk:
//! `cargo run --release --example sqlite_throughput [MESSAGES] [FOLDER] [PART OF A SCENARIO'S NAME]`.
//!
//! Prints durable publishes a second (one by one, in batches), messages drained a second (fetch 64, settle 64 with a
//! result each, in one call), the round trip from publish through the doorbell to fetch, what a fetch costs with many
//! messages ready, and how long four processes that publish at once wait for each other. `synchronous=full`, as by default; messages of about 600 bytes, as Celery's are.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use umbel_broker::sqlite::Location;
use umbel_broker::{
    Broker, ConsumerOptions, Disposition, Outgoing, Settlement, SqliteBroker, SystemClock, TransportOptions,
};
use umbel_protocol::{Destination, Message, ResultWrite};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    if let Some(path) = std::env::var_os(WRITER) {
        return write_for_a_while(Path::new(&path));
    }
    let messages: usize = arguments.next().map_or(Ok(50_000), |count| count.parse())?;
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let wanted = arguments.next().unwrap_or_default();
    for (name, scenario) in SCENARIOS.into_iter().filter(|(name, _)| name.contains(&wanted)) {
        let broker = Scratch::open(&folder)?;
        println!("{name:<42} {}", scenario(&broker, messages)?);
    }
    Ok(())
}

type Scenario = fn(&Scratch, usize) -> Outcome<String>;

const SCENARIOS: [(&str, Scenario); 7] = [
    ("publish one by one", |scratch, messages| publish(scratch, messages / 50, 1)),
    ("publish in batches of 100", |scratch, messages| publish(scratch, messages, 100)),
    ("publish in batches of 1000", |scratch, messages| publish(scratch, messages, 1000)),
    ("drain: fetch 64 + settle 64 with results", drain),
    ("round trip: publish, doorbell, fetch", round_trip),
    ("fetch 16 + ack 16, with all ready", deep_fetch),
    ("four processes publish one by one", four_writers),
];

/// A broker whose file goes away with it.
struct Scratch {
    broker: SqliteBroker,
    path: PathBuf,
}

impl Scratch {
    fn open(folder: &Path) -> Outcome<Self> {
        let path = folder.join(format!("umbel-throughput-{}.sqlite3", std::process::id()));
        Ok(Self { broker: broker_at(&path)?, path })
    }

    fn fill(&self, messages: usize) -> Outcome<()> {
        let mut publisher = self.broker.publisher()?;
        for start in (0..messages).step_by(1000) {
            publisher.publish(&batch(start..messages.min(start + 1000)))?;
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm", "-turnstile"] {
            let _ = std::fs::remove_file(format!("{}{end}", self.path.display()));
        }
    }
}

fn broker_at(path: &Path) -> Outcome<SqliteBroker> {
    let location = Location::parse(&format!("sqlite:///{}", path.display()), &TransportOptions::new(), "broker_url")?;
    Ok(SqliteBroker::new(location, Arc::new(SystemClock)))
}

fn batch(numbers: std::ops::Range<usize>) -> Vec<Outgoing> {
    numbers.map(outgoing).collect()
}

fn outgoing(number: usize) -> Outgoing {
    let id = uuid::Uuid::new_v4().to_string();
    let headers = format!(
        r#"{{"lang":"py","task":"tasks.add","id":"{id}","shadow":null,"eta":null,"expires":null,"group":null,"group_index":null,"retries":0,"timelimit":[null,null],"root_id":"{id}","parent_id":null,"argsrepr":"({number}, 2)","kwargsrepr":"{{}}","origin":"gen4711@host","ignore_result":false,"replaced_task_nesting":0,"stamped_headers":null,"stamps":{{}}}}"#
    );
    let mut message = Message {
        headers,
        body: format!(
            r#"[[{number}, 2], {{}}, {{"callbacks": null, "errbacks": null, "chain": null, "chord": null}}]"#
        )
        .into_bytes(),
        content_type: "application/json".to_owned(),
        content_encoding: "utf-8".to_owned(),
        ..Message::default()
    };
    message.properties.correlation_id = Some(id);
    message.properties.delivery_mode = Some(2);
    message.properties.priority = Some(0);
    Outgoing { destination: Destination::queue("celery"), message, eta: None, line: None, chord: None }
}

fn rate(messages: usize, took: Duration) -> String {
    format!("{:>9.0} /s", messages as f64 / took.as_secs_f64())
}

fn publish(scratch: &Scratch, messages: usize, at_once: usize) -> Outcome<String> {
    let mut publisher = scratch.broker.publisher()?;
    let batches: Vec<_> =
        (0..messages).step_by(at_once).map(|start| batch(start..messages.min(start + at_once))).collect();
    let start = Instant::now();
    for batch in &batches {
        publisher.publish(batch)?;
    }
    Ok(rate(messages, start.elapsed()))
}

fn options() -> ConsumerOptions {
    ConsumerOptions {
        worker_id: "bench".to_owned(),
        queues: vec!["celery".to_owned()],
        lease: Duration::from_secs(10),
        stores_results: true,
    }
}

fn done(delivery: umbel_broker::Delivery, with_result: bool) -> Settlement {
    let umbel_broker::Payload::Message(message) = delivery.payload else { unreachable!("only messages were sent") };
    let task_id = message.properties.correlation_id.unwrap_or_default();
    let record = format!(
        r#"{{"status": "SUCCESS", "result": 5, "traceback": null, "children": [], "date_done": "2026-11-22T19:10:29.712105+00:00", "task_id": "{task_id}"}}"#
    );
    let result = ResultWrite {
        task_id,
        state: "SUCCESS".to_owned(),
        record: record.into_bytes(),
        expires: Some(Duration::from_secs(86_400)),
        reply_to: None,
    };
    Settlement {
        results: if with_result { vec![result] } else { vec![] },
        ..Settlement::of(Some(delivery.tag), Disposition::Ack)
    }
}

fn drain(scratch: &Scratch, messages: usize) -> Outcome<String> {
    scratch.fill(messages)?;
    let mut consumer = scratch.broker.consumer(options())?;
    let (mut settlements, mut drained) = (Vec::new(), 0);
    let start = Instant::now();
    while drained < messages {
        drained += settlements.len();
        let exchanged = consumer.exchange(&settlements, 64)?;
        settlements = exchanged.deliveries.into_iter().map(|delivery| done(delivery, true)).collect();
    }
    Ok(rate(messages, start.elapsed()))
}

fn round_trip(scratch: &Scratch, messages: usize) -> Outcome<String> {
    let (mut consumer, mut publisher) = (scratch.broker.consumer(options())?, scratch.broker.publisher()?);
    let mut bell = scratch.broker.doorbell(&["celery".to_owned()])?;
    let rounds = (messages / 50).max(10);
    let (ask, asked) = std::sync::mpsc::channel::<Outgoing>();
    let sender = std::thread::spawn(move || -> Result<(), umbel_broker::BrokerError> {
        while let Ok(outgoing) = asked.recv() {
            publisher.publish(&[outgoing])?;
        }
        Ok(())
    });
    let mut times = Vec::with_capacity(rounds);
    let mut settlements = Vec::new();
    for number in 0..rounds {
        consumer.exchange(&settlements, 0)?;
        let start = Instant::now();
        ask.send(outgoing(number))?;
        settlements.clear();
        while settlements.is_empty() {
            bell.wait(Duration::from_secs(1))?;
            let taken = consumer.exchange(&[], 1)?.deliveries;
            settlements = taken.into_iter().map(|delivery| done(delivery, false)).collect();
        }
        times.push(start.elapsed());
    }
    drop(ask);
    sender.join().map_err(|_| "the publisher panicked")??;
    times.sort();
    Ok(format!("{:>9.0?} p50, {:.0?} p99", times[rounds / 2], times[rounds * 99 / 100]))
}

fn deep_fetch(scratch: &Scratch, messages: usize) -> Outcome<String> {
    scratch.fill(messages)?;
    let mut consumer = scratch.broker.consumer(options())?;
    let mut settlements = Vec::new();
    let mut times = Vec::new();
    for _ in 0..(messages / 32).min(300) {
        let start = Instant::now();
        let exchanged = consumer.exchange(&settlements, 16)?;
        times.push(start.elapsed());
        settlements = exchanged.deliveries.into_iter().map(|delivery| done(delivery, false)).collect();
    }
    times.sort();
    let worst = times.last().copied().unwrap_or_default();
    Ok(format!("{:>9.0?} p50, {worst:.0?} worst, of {messages}", times[times.len() / 2]))
}

/// Names the file to a child process of [`four_writers`].
const WRITER: &str = "UMBEL_THROUGHPUT_WRITER";

fn four_writers(scratch: &Scratch, _messages: usize) -> Outcome<String> {
    scratch.fill(1)?;
    let start = || {
        let mut command = std::process::Command::new(std::env::current_exe()?);
        command.env(WRITER, &scratch.path).stdout(std::process::Stdio::piped()).spawn()
    };
    let writers = [start()?, start()?, start()?, start()?];
    let mut report = String::new();
    for writer in writers {
        report.push_str("\n    ");
        report.push_str(String::from_utf8_lossy(&writer.wait_with_output()?.stdout).trim_end());
    }
    Ok(report)
}

fn write_for_a_while(path: &Path) -> Outcome<()> {
    let mut publisher = broker_at(path)?.publisher()?;
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < Duration::from_secs(3) {
        let message = [outgoing(times.len())];
        let call = Instant::now();
        publisher.publish(&message)?;
        times.push(call.elapsed());
    }
    times.sort();
    let worst = times.last().copied().unwrap_or_default();
    println!(
        "{} publishes, {:.1?} p50, {:.1?} p99, {worst:.1?} worst",
        times.len(),
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
    Ok(())
}
