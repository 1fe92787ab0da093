//! A process that publishes, works or forks, for tests of what happens between processes.
//!
//! ```text
//! queue_process publish URL QUEUE PREFIX COUNT BATCH   bodies PREFIX-0 … ; prints "ok N" when N are confirmed
//! queue_process work URL QUEUE WORKER LEASE_SECONDS    settles with a result and a follow-up to "done"; prints
//!                                                      "done BODY" when confirmed; ends when its input does
//! queue_process fork URL QUEUE CHILDREN COUNT          publishes from threads while forking children that publish
//! queue_process outlive URL QUEUE                      forks a child that publishes before and after its parent closes
//! ```

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use umbel_broker::{
    Broker, BrokerError, Consumer, ConsumerOptions, Delivery, Disposition, Outgoing, Payload, Settlement, SystemClock,
};
use umbel_protocol::{Destination, Message, ResultWrite};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["publish", url, queue, prefix, count, batch] => publish(url, queue, prefix, count.parse()?, batch.parse()?),
        ["work", url, queue, worker, lease] => work(url, queue, worker, Duration::from_secs_f64(lease.parse()?)),
        ["fork", url, queue, children, count] => fork(url, queue, children.parse()?, count.parse()?),
        ["outlive", url, queue] => outlive(url, queue),
        _ => Err("usage: queue_process publish|work|fork|outlive …".into()),
    }
}

fn open(url: &str) -> Outcome<Arc<dyn Broker>> {
    Ok(umbel_broker::open(url, &Default::default(), Arc::new(SystemClock))?)
}

fn outgoing(queue: &str, body: &str) -> Outgoing {
    let message = Message { headers: "{}".to_owned(), body: body.as_bytes().to_vec(), ..Message::default() };
    Outgoing { destination: Destination::queue(queue), message, eta: None, line: None, chord: None }
}

/// Prints a line at once, whole or not at all as far as a kill allows.
fn say(line: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes())?;
    Ok(out.flush()?)
}

fn publish(url: &str, queue: &str, prefix: &str, count: usize, batch: usize) -> Outcome<()> {
    let mut publisher = open(url)?.publisher()?;
    for start in (0..count).step_by(batch) {
        let end = count.min(start + batch);
        let messages: Vec<_> = (start..end).map(|number| outgoing(queue, &format!("{prefix}-{number}"))).collect();
        publisher.publish(&messages)?;
        say(&format!("ok {end}"))?;
    }
    Ok(())
}

fn work(url: &str, queue: &str, worker: &str, lease: Duration) -> Outcome<()> {
    let broker = open(url)?;
    let options =
        ConsumerOptions { worker_id: worker.to_owned(), queues: vec![queue.to_owned()], lease, stores_results: true };
    let mut consumer = broker.consumer(options)?;
    let mut bell = broker.doorbell(&[queue.to_owned()])?;
    let stop = stop_with_input();
    let (mut settlements, mut beat) = (Vec::new(), Instant::now());
    loop {
        let stopping = stop.load(Ordering::SeqCst);
        let want = if stopping { 0 } else { 16 };
        settlements = turn(&mut *consumer, &settlements, want)?;
        if stopping && settlements.is_empty() {
            return Ok(consumer.close()?);
        }
        if beat.elapsed() > lease / 4 {
            consumer.heartbeat()?;
            beat = Instant::now();
        }
        if settlements.is_empty() {
            bell.wait(lease / 8)?;
        }
    }
}

/// Settles and fetches, says what is settled, and makes the next settlements.
fn turn(
    consumer: &mut dyn Consumer,
    settlements: &[(String, Settlement)],
    want: usize,
) -> Outcome<Vec<(String, Settlement)>> {
    let batch: Vec<Settlement> = settlements.iter().map(|(_, settlement)| settlement.clone()).collect();
    let exchanged = consumer.exchange(&batch, want)?;
    for (body, settlement) in settlements {
        let lost = settlement.tag.as_ref().is_some_and(|tag| exchanged.lost.contains(tag));
        say(&format!("{} {body}", if lost { "lost" } else { "done" }))?;
    }
    Ok(exchanged.deliveries.into_iter().map(finished).collect())
}

fn finished(delivery: Delivery) -> (String, Settlement) {
    let body = match &delivery.payload {
        Payload::Message(message) => String::from_utf8_lossy(&message.body).into_owned(),
        Payload::Malformed { error, .. } => format!("malformed: {error}"),
    };
    let result = ResultWrite {
        task_id: body.clone(),
        state: "SUCCESS".to_owned(),
        record: body.clone().into_bytes(),
        expires: None,
        reply_to: None,
    };
    let settlement = Settlement {
        publish: vec![outgoing("done", &body)],
        results: vec![result],
        ..Settlement::of(Some(delivery.tag), Disposition::Ack)
    };
    (body, settlement)
}

/// A flag that is set when the standard input ends.
fn stop_with_input() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let setter = Arc::clone(&stop);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        setter.store(true, Ordering::SeqCst);
    });
    stop
}

fn fork(url: &str, queue: &str, children: usize, count: usize) -> Outcome<()> {
    let broker = open(url)?;
    let mut publisher = broker.publisher()?;
    publisher.publish(&[outgoing(queue, "parent-first")])?;
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..2)
        .map(|number| {
            let (broker, stop, queue) = (Arc::clone(&broker), Arc::clone(&stop), queue.to_owned());
            std::thread::spawn(move || publish_until(&*broker, &stop, &queue, number))
        })
        .collect();
    let mut pids = Vec::new();
    for child in 0..children {
        // SAFETY: the child runs only what this file shows and leaves through `_exit`; other threads' locks are the
        // point of the test.
        match unsafe { libc::fork() } {
            0 => {
                let outcome = in_child(&*broker, &mut *publisher, queue, child, count);
                // SAFETY: ends the child without running the parent's destructors.
                unsafe { libc::_exit(i32::from(outcome.inspect_err(complain).is_err())) }
            }
            pid => pids.push(pid),
        }
    }
    let mut failed = 0;
    for pid in pids {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the child's status.
        unsafe { libc::waitpid(pid, &mut status, 0) };
        failed += i32::from(status != 0);
    }
    stop.store(true, Ordering::SeqCst);
    for thread in threads {
        let published = thread.join().map_err(|_| "a thread panicked")??;
        say(&format!("thread {published}"))?;
    }
    publisher.publish(&[outgoing(queue, "parent-last")])?;
    if failed > 0 { Err(format!("{failed} children failed").into()) } else { Ok(()) }
}

fn outlive(url: &str, queue: &str) -> Outcome<()> {
    let mut publisher = open(url)?.publisher()?;
    publisher.publish(&[outgoing(queue, "parent")])?;
    let ((mut from_child, to_parent), (mut from_parent, to_child)) = (std::io::pipe()?, std::io::pipe()?);
    // SAFETY: the child runs only what this function shows and leaves through `_exit`.
    let child = match unsafe { libc::fork() } {
        0 => {
            drop(to_child);
            let outcome = in_long_lived_child(url, queue, to_parent, &mut from_parent);
            // SAFETY: ends the child without running the parent's destructors.
            unsafe { libc::_exit(i32::from(outcome.inspect_err(complain).is_err())) }
        }
        pid => pid,
    };
    drop(to_parent);
    wait_for_end(&mut from_child)?;
    // The last handle as far as this process knows: SQLite would clear up unless the child's locks say otherwise.
    drop(publisher);
    drop(to_child);
    let mut status = 0;
    // SAFETY: `status` is a valid place for the child's status.
    unsafe { libc::waitpid(child, &mut status, 0) };
    if status == 0 { Ok(()) } else { Err("the child failed".into()) }
}

/// Publishes, tells the parent, waits for it to have closed, publishes again.
fn in_long_lived_child(
    url: &str,
    queue: &str,
    to_parent: std::io::PipeWriter,
    from_parent: &mut std::io::PipeReader,
) -> Outcome<()> {
    let mut publisher = open(url)?.publisher()?;
    publisher.publish(&[outgoing(queue, "child-before")])?;
    drop(to_parent);
    wait_for_end(from_parent)?;
    publisher.publish(&[outgoing(queue, "child-after")])?;
    // Leaves as a killed process does: nobody tidies up.
    std::mem::forget(publisher);
    Ok(())
}

/// Returns when the other end of a pipe is closed.
fn wait_for_end(pipe: &mut std::io::PipeReader) -> Outcome<()> {
    std::io::copy(pipe, &mut std::io::sink())?;
    Ok(())
}

fn publish_until(broker: &dyn Broker, stop: &AtomicBool, queue: &str, thread: usize) -> Result<usize, BrokerError> {
    let mut publisher = broker.publisher()?;
    let mut published = 0;
    while !stop.load(Ordering::SeqCst) {
        publisher.publish(&[outgoing(queue, &format!("thread{thread}-{published}"))])?;
        published += 1;
    }
    Ok(published)
}

/// The inherited handle is refused, a new one works.
fn in_child(
    broker: &dyn Broker,
    inherited: &mut dyn umbel_broker::Publisher,
    queue: &str,
    child: usize,
    count: usize,
) -> Outcome<()> {
    refused(inherited, queue)?;
    let mut own = broker.publisher()?;
    refused(inherited, queue)?;
    for number in 0..count {
        own.publish(&[outgoing(queue, &format!("child{child}-{number}"))])?;
    }
    Ok(())
}

fn refused(inherited: &mut dyn umbel_broker::Publisher, queue: &str) -> Outcome<()> {
    match inherited.publish(&[outgoing(queue, "must not be")]) {
        Err(BrokerError::Connection { .. }) => Ok(()),
        other => Err(format!("the inherited publisher said {other:?}").into()),
    }
}

#[expect(clippy::borrowed_box, reason = "the shape `inspect_err` asks for")]
fn complain(error: &Box<dyn Error>) {
    let _ = say(&format!("failed {error}"));
}
