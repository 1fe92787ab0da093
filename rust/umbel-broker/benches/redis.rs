//! What the Redis broker takes to read what it fetched and to write what it settles, 64 messages at a time. No server.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use umbel_broker::redis::SettlementWriter;
use umbel_broker::redis::wire::{Buffered, Command, Pipeline};
use umbel_broker::{ConsumerOptions, Disposition, Outgoing, RedisOptions, Settlement, Tag, TransportOptions};
use umbel_protocol::{Destination, Limits, Message, ResultWrite, envelope};

#[path = "../../umbel-protocol/tests/vectors/mod.rs"]
mod vectors;

const BATCH: usize = 64;

fn main() {
    divan::main();
}

/// `add.delay(2, 3)` as Celery writes it.
fn envelope() -> Vec<u8> {
    vectors::named("msg_delay_simple").in_lists().swap_remove(0)
}

fn message() -> Message {
    envelope::decode(&envelope(), &Limits::default()).expect("a recorded message")
}

/// The same bytes again and again.
struct Repeated {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Repeated {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &self.bytes[self.at..];
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.at = (self.at + count) % self.bytes.len();
        Ok(count)
    }
}

/// Bytes of an array of bulk strings, which commands and replies are alike.
fn array(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// What `fetch.lua` answers: `ok`, the time, when the next message is due, then queue's place and envelope each.
#[divan::bench]
fn fetch_reply(bencher: Bencher) {
    let mut parts = vec![b"ok".to_vec(), b"1800000000.123456".to_vec(), Vec::new()];
    for _ in 0..BATCH {
        parts.extend([b"1".to_vec(), envelope()]);
    }
    let bytes = array(&parts);
    let length = bytes.len();
    let mut input = Buffered::new(Repeated { bytes, at: 0 });
    bencher
        .counter(BytesCount::new(length))
        .counter(ItemsCount::new(BATCH))
        .bench_local(|| input.value().expect("a reply"));
}

/// What `settle.lua` answers.
#[divan::bench]
fn settle_reply(bencher: Bencher) {
    let bytes = format!("*{BATCH}\r\n{}", ":1\r\n".repeat(BATCH)).into_bytes();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| Buffered::new(black_box(bytes.as_slice())).value());
}

fn settlement(number: usize, results: bool, follow_up: bool) -> Settlement {
    let message = message();
    let result = || ResultWrite {
        task_id: message.properties.correlation_id.clone().expect("an id"),
        state: "SUCCESS".into(),
        record: vec![b' '; 240],
        expires: Some(Duration::from_secs(86_400)),
        reply_to: None,
    };
    let outgoing = || Outgoing {
        destination: Destination::queue("celery"),
        eta: None,
        message: message.clone(),
        line: None,
        chord: None,
    };
    let tag = Tag(Arc::from(format!("umbel:celery@host:1800000000000000:{number:020}")));
    Settlement {
        publish: follow_up.then(outgoing).into_iter().collect(),
        results: results.then(result).into_iter().collect(),
        ..Settlement::of(Some(tag), Disposition::Ack)
    }
}

fn settle(bencher: Bencher, results: bool, follow_up: bool) {
    let options = RedisOptions::parse("redis://127.0.0.1:1/0", &TransportOptions::default()).expect("a URL");
    let worker = ConsumerOptions {
        worker_id: "celery@host".into(),
        queues: vec!["celery".into()],
        lease: Duration::from_secs(8),
        stores_results: true,
    };
    let mut writer = SettlementWriter::new(options, worker);
    let settlements: Vec<Settlement> = (0..BATCH).map(|number| settlement(number, results, follow_up)).collect();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| writer.write(black_box(&settlements)).expect("routable"));
}

#[divan::bench]
fn settle_acks(bencher: Bencher) {
    settle(bencher, false, false);
}

#[divan::bench]
fn settle_with_results(bencher: Bencher) {
    settle(bencher, true, false);
}

#[divan::bench]
fn settle_with_results_and_follow_ups(bencher: Bencher) {
    settle(bencher, true, true);
}

/// Commands as a publisher writes them.
#[divan::bench]
fn publish_pipeline(bencher: Bencher) {
    let envelope = envelope();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let mut pipeline = Pipeline::default();
        for _ in 0..BATCH {
            pipeline.add(&Command::new("LPUSH").arg("celery").arg(&envelope));
        }
        pipeline
    });
}
