//! A worker whose tasks are written in Rust: no Python anywhere.
//!
//! ```text
//! cargo run --release --example native_worker -- --broker redis://localhost --concurrency 2
//! cargo run --release --example native_publish -- --broker redis://localhost --count 100000
//! ```
//!
//! SIGTERM or Ctrl-C let running tasks finish; a second one does not wait.

#![allow(clippy::print_stdout, reason = "a program talks to its user")]

mod native;

use std::sync::Arc;
use std::time::Duration;

use native::{Arguments, Outcome, registry, worker_options};
use umbel_broker::SystemClock;
use umbel_worker::native::{NativeWorker, Runner, run};
use umbel_worker::runtime::{Worker, WorkerEvent};

fn main() -> Outcome {
    let arguments = Arguments::read(&["broker", "result-backend", "concurrency", "queues"])?;
    let (broker, backend) = arguments.stores()?;
    let concurrency = arguments.number("concurrency", std::thread::available_parallelism()?.get())?;
    let queues = arguments.text("queues", "celery");
    println!("native worker on {} for {queues}, results in {}", broker.display_url(), backend.display_url());
    let worker = Worker::new(broker, Some(backend), worker_options(&queues), Arc::new(SystemClock))?;
    let result_expires = Some(Duration::from_secs(86_400));
    let runner = Arc::new(Runner { registry: registry(), result_expires, clock: Arc::new(SystemClock) });
    run(NativeWorker { worker, runner, concurrency }, |event| match event {
        WorkerEvent::Spawn { .. } => {}
        event => println!("{event:?}"),
    })?;
    Ok(())
}
