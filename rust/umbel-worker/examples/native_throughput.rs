//! Fills queues, then measures how fast a worker with native handlers empties them: the ceiling of engine, links and
//! broker adapter, and what to run under a profiler.
//!
//! ```text
//! cargo run --release --example native_throughput -- --count 500000 --concurrency 1
//! ```

#![allow(clippy::print_stdout, reason = "a program talks to its user")]

mod native;

use std::sync::Arc;
use std::time::Instant;

use native::{Arguments, Outcome, add, registry, worker_options};
use umbel_broker::SystemClock;
use umbel_worker::engine::{ChildId, ShutdownKind};
use umbel_worker::native::{NativePool, Runner};
use umbel_worker::runtime::{Worker, WorkerEvent};

fn main() -> Outcome {
    let arguments = Arguments::read(&["broker", "result-backend", "concurrency", "count", "queue"])?;
    let (broker, backend) = match arguments.text("broker", "memory://") {
        url if url == "memory://" => {
            let broker = umbel_broker::MemoryBroker::new(Arc::new(SystemClock));
            let backend = umbel_backend::MemoryBackend::beside(&broker);
            (Arc::new(broker) as Arc<dyn umbel_broker::Broker>, Arc::new(backend) as Arc<dyn umbel_backend::Backend>)
        }
        _ => arguments.stores()?,
    };
    let (count, concurrency) = (arguments.number("count", 200_000)?, arguments.number("concurrency", 1)?);
    let queue = arguments.text("queue", "throughput");
    let mut publisher = broker.publisher()?;
    for start in (0..count).step_by(1_000) {
        let batch: Vec<_> = (start..count.min(start + 1_000)).map(|n| add(&n.to_string(), &queue, n, 1)).collect();
        publisher.publish(&batch)?;
    }
    let worker = Worker::new(broker, Some(backend), worker_options(&queue), Arc::new(SystemClock))?;
    let runner = Runner { registry: registry(), result_expires: None, clock: Arc::new(SystemClock) };
    worker.set_tasks(runner.registry.task_options());
    worker.set_pool_size(1);
    let (socket, pool) = NativePool::start(&Arc::new(runner), concurrency)?;
    let begin = Instant::now();
    worker.start()?;
    worker.add_child(ChildId(0), socket, None, concurrency);
    while worker.stats()?.settled < count as u64 {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let took = begin.elapsed().as_secs_f64();
    let stats = worker.stats()?;
    println!("{count} tasks in {took:.2} s: {:.0} a second, {} exchanges", count as f64 / took, stats.exchanges);
    worker.stop(ShutdownKind::Warm);
    worker.join();
    pool.join();
    let failed = worker.drain().into_iter().find(|event| matches!(event, WorkerEvent::Failed { .. }));
    failed.map_or(Ok(()), |event| Err(format!("{event:?}").into()))
}
