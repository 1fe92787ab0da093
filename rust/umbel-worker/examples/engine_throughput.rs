//! How many tasks a second the engine can decide about, reading their headers included, which is more than half of it:
//! `cargo run --release -p umbel-worker --example engine_throughput`.

#![allow(clippy::print_stdout, reason = "the figure is the point")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use umbel_broker::{Delivery, Payload, Tag};
use umbel_protocol::{Message, Properties, ResultWrite, Timestamp};
use umbel_worker::engine::{ChildId, Engine, EngineConfig, Input, JobId, Outcome, Output, TaskOptions, Verdict};

const TASKS: usize = 400_000;

fn engine(children: u32) -> (Engine, Vec<Output>) {
    let config = EngineConfig {
        hostname: "celery@bench".into(),
        accept_content: vec!["application/json".into()],
        prefetch_multiplier: None,
        max_deliveries: 5,
        delay_threshold: Duration::from_secs(2),
        shutdown_timeout: Duration::from_secs(25),
        result_expires: None,
        max_message_bytes: 1 << 20,
    };
    let add = TaskOptions {
        name: "proj.tasks.add".into(),
        acks_late: true,
        acks_on_failure: true,
        acks_on_timeout: true,
        reject_on_worker_lost: true,
        ignore_result: false,
        store_errors_even_if_ignored: false,
        time_limit: Some(Duration::from_secs(300)),
        soft_time_limit: None,
    };
    let (mut engine, mut out) = (Engine::new(config), Vec::new());
    engine.handle(Timestamp(0), Input::Tasks(vec![add]), &mut out);
    engine.handle(Timestamp(0), Input::PoolSize(children as usize), &mut out);
    for child in 0..children {
        let child = ChildId(child);
        engine.handle(Timestamp(0), Input::ChildReady { child, slots: 1, killable: true }, &mut out);
    }
    (engine, out)
}

/// Headers as Celery writes them.
fn message(number: usize) -> Message {
    let id = format!("8f0f1e0c-9d3c-4a57-8a6c-{number:012}");
    Message {
        headers: format!(
            "{{\"lang\": \"py\", \"task\": \"proj.tasks.add\", \"id\": \"{id}\", \"shadow\": null, \"eta\": null, \
             \"expires\": null, \"group\": null, \"group_index\": null, \"retries\": 0, \"timelimit\": [null, null], \
             \"root_id\": \"{id}\", \"parent_id\": null, \"argsrepr\": \"(2, 3)\", \"kwargsrepr\": \"{{}}\", \
             \"origin\": \"gen1@host\", \"ignore_result\": false, \"replaced_task_nesting\": 0, \
             \"stamped_headers\": null, \"stamps\": {{}}}}"
        ),
        body: b"[[2, 3], {}, {\"callbacks\": null, \"errbacks\": null, \"chain\": null, \"chord\": null}]".to_vec(),
        content_type: "application/json".into(),
        content_encoding: "utf-8".into(),
        properties: Properties { correlation_id: Some(id), ..Properties::default() },
    }
}

/// What happens between two of the engine's turns: everything it asked for is answered.
fn answer(outputs: &mut Vec<Output>, supply: &mut VecDeque<Delivery>, work: &mut Vec<(ChildId, JobId)>) -> Vec<Input> {
    let mut inputs = Vec::new();
    for output in outputs.drain(..) {
        match output {
            Output::Fetch { want } => {
                let deliveries = supply.drain(..want.min(supply.len())).collect();
                inputs.push(Input::Delivered { deliveries, next_due: None });
            }
            Output::Settle(batch) => inputs.push(Input::Settled { count: batch.len(), lost: Vec::new() }),
            Output::Dispatch { child, jobs } => work.extend(jobs.iter().map(|job| (child, job.id))),
            _ => {}
        }
    }
    for (child, job) in work.drain(..) {
        let result = ResultWrite {
            task_id: "8f0f1e0c-9d3c-4a57-8a6c-000000000000".into(),
            state: "SUCCESS".into(),
            record: vec![b' '; 160],
            expires: None,
        };
        let outcome = Outcome { job, verdict: Verdict::Success, result: Some(result), publish: Vec::new() };
        inputs.push(Input::Started { child, jobs: vec![job] });
        inputs.push(Input::Finished { child, outcome });
    }
    inputs
}

/// Processor time of this thread: what else the machine does must not count.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn main() {
    for children in [2, 64] {
        let (mut engine, mut out) = engine(children);
        let mut supply: VecDeque<Delivery> = (0..TASKS)
            .map(|number| Delivery {
                tag: Tag(Arc::from(format!("worker.1.{number}"))),
                queue: Arc::from("celery"),
                payload: Payload::Message(Box::new(message(number))),
            })
            .collect();
        let (mut work, mut now, mut busy) = (Vec::new(), 0, Duration::ZERO);
        while engine.stats().totals.succeeded < TASKS as u64 {
            let inputs = answer(&mut out, &mut supply, &mut work);
            assert!(!inputs.is_empty(), "it stands still: {:?}", engine.stats());
            let begun = cpu_time();
            for input in inputs {
                now += 3;
                engine.handle(Timestamp(now), input, &mut out);
            }
            busy += cpu_time() - begun;
        }
        let rate = TASKS as f64 / busy.as_secs_f64();
        println!("{rate:.0} tasks a second with {children} children");
    }
}
