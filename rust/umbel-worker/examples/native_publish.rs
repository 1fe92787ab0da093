//! Sends calls of `tasks.add`, waits for all results, and prints rates. See `native_worker.rs`.

#![allow(clippy::print_stdout, reason = "a program talks to its user")]

mod native;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use native::{Arguments, Outcome, add};
use umbel_backend::{Backend, ResultListener};
use umbel_broker::Broker;

/// Messages per publish: what fits in a round trip without waiting for it long.
const BATCH: usize = 1_000;

/// How long nothing may arrive before this gives up.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Outcome {
    let arguments = Arguments::read(&["broker", "result-backend", "count", "queue"])?;
    let (broker, backend) = arguments.stores()?;
    let count = arguments.number("count", 10_000)?;
    let queue = arguments.text("queue", "celery");
    let run = fastrand::u64(..);
    let ids: Vec<String> = (0..count).map(|n| format!("{run:016x}-{n}")).collect();
    let mut listener = backend.listener()?;
    for chunk in ids.chunks(BATCH) {
        listener.subscribe(chunk)?;
    }
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| publish(&*broker, &ids, &queue).map_err(|error| error.to_string()));
        let received = receive(&mut *listener, &ids);
        sender.join().map_err(|_| "the publisher panicked")??;
        received
    })?;
    let took = begin.elapsed().as_secs_f64();
    println!("{count} tasks published, run and answered in {took:.2} s: {:.0} a second", count as f64 / took);
    check(&*backend, &ids)
}

fn publish(broker: &dyn Broker, ids: &[String], queue: &str) -> umbel_broker::Result<()> {
    let mut publisher = broker.publisher()?;
    let begin = Instant::now();
    for (number, chunk) in ids.chunks(BATCH).enumerate() {
        let message = |(index, id): (usize, &String)| add(id, queue, number * BATCH + index, 1);
        let batch: Vec<_> = chunk.iter().enumerate().map(message).collect();
        publisher.publish(&batch)?;
    }
    let took = begin.elapsed().as_secs_f64();
    println!("{} tasks published in {took:.2} s: {:.0} a second", ids.len(), ids.len() as f64 / took);
    Ok(())
}

fn receive(listener: &mut dyn ResultListener, ids: &[String]) -> Outcome {
    let mut missing: HashSet<&str> = ids.iter().map(String::as_str).collect();
    while !missing.is_empty() {
        let records = listener.next(PATIENCE)?;
        if records.is_empty() {
            return Err(format!("{} results are missing; does a worker run?", missing.len()).into());
        }
        for (id, _) in records {
            missing.remove(id.as_str());
        }
    }
    Ok(())
}

/// The results must be sums, not just there.
fn check(backend: &dyn Backend, ids: &[String]) -> Outcome {
    let mut store = backend.store()?;
    for (number, chunk) in ids.chunks(BATCH).enumerate() {
        for (index, record) in store.read(chunk)?.into_iter().enumerate() {
            let record = String::from_utf8(record.ok_or("a result is gone")?)?;
            let expected = format!(r#""result": {}"#, number * BATCH + index + 1);
            if !record.contains(&expected) {
                return Err(format!("expected {expected}, found {record}").into());
            }
        }
    }
    println!("all results are right");
    Ok(())
}
